//! HTTP for those who run Yagura: `/metrics` for Prometheus, `/live` and `/ready` for whoever
//! starts and stops it, and `/` for a person with a browser; read-only, and bound to loopback unless the
//! configuration says otherwise.
//!
//! [`alerts`] is for other programs, on an address of its own, with tokens. Deliberately absent there: events,
//! which the history answers.

pub mod alerts;
mod health;
mod server;
mod standing;

pub use health::{Component, Gate, Health};
pub use server::{ADDRESS, Bound, ConsoleError, bind};
