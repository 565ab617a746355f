//! Alerts to the SIEM, and to a person's terminal.
//!
//! The topic `alerts` is the durable queue: a [`Forwarder`] reads it as one group for each sink,
//! sends every alert as an OCSF event ([`ocsf`]) and commits an offset only when the receiver has
//! acknowledged everything before it. No alert is lost; after a crash a receiver may get some a second
//! time, under the same `metadata.uid`.
//!
//! Deliberately absent: plain syslog. A receiver that dies takes with it what TCP had accepted,
//! and nobody knows what that was.

pub mod cases;
pub mod ocsf;
pub mod picture;
pub mod sinks;
pub mod syslog;
pub mod techniques;
pub mod text;

mod forward;
mod metrics;
mod reader;
mod record;
mod sink;
mod window;

#[cfg(test)]
mod fixtures;

pub use forward::{ForwardError, Forwarder};
pub use metrics::Metrics;
pub use reader::Progress;
pub use record::{RecordError, alerts_of};
pub use sink::{Boxed, ConfigError, Connection, Sink, SinkError};
pub use sinks::SinkConfig;
