//! Alerts to the SIEM, and to a person's terminal.
//!
//! The topic `alerts` is the durable queue: a [`Forwarder`] reads it as one group for each sink,
//! sends every alert in one of the [`formats`] over one of the [`sinks`] and commits an offset only when the
//! receiver has acknowledged everything before it. No alert is lost; after a crash a receiver may get some a second
//! time, under the same revision id.
//!
//! Plain syslog is the exception and says so: a receiver that dies takes with it what TCP had accepted,
//! and nobody knows what that was. `README.md` says what each receiver's acknowledgement is worth.

pub mod cases;
pub mod formats;
pub mod message;
pub mod picture;
pub mod sinks;
pub mod syslog;
pub mod techniques;
pub mod text;
pub mod told;
pub mod undelivered;

mod batch;
mod decisions;
mod delivery;
mod forward;
mod http;
mod metrics;
mod probe;
mod reader;
mod record;
mod redact;
mod resend;
mod sink;
mod tls;
mod window;

#[cfg(test)]
mod fixtures;

pub use decisions::Decisions;
pub use delivery::{Delivery, When};
pub use forward::{ForwardError, Forwarder};
pub use metrics::Metrics;
pub use probe::{Probed, probe};
pub use reader::Progress;
pub use record::{RecordError, alerts_of};
pub use redact::{Class, Redaction};
pub use resend::{resend, to_resend};
pub use sink::{Answer, Boxed, ConfigError, Connection, Meaning, Sink, SinkError, Verdict};
pub use sinks::SinkConfig;
