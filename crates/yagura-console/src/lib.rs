//! HTTP for those who run Yagura: `/metrics` for Prometheus, `/live` and `/ready` for whoever
//! starts and stops it, and `/` for a person with a browser.
//!
//! Read-only, and bound to loopback unless the configuration says otherwise. Deliberately absent: alerts and
//! anything else about the plant; those go through the log and its sinks.

mod health;
mod server;
mod standing;

pub use health::{Component, Gate, Health};
pub use server::{ADDRESS, Bound, ConsoleError, bind};
