//! Online models over slices. No I/O and no async.
//!
//! Whoever calls resolves keys to dense numbers beforehand, so that no loop touches a string or a hash map. A model
//! is one file, and one line in the table of those that pipelines may name (`yagura_detect::operators::model`).

pub mod alarm;
pub mod conversation;
pub mod covariance;
pub mod fleet;
pub mod group;
pub mod guard;
pub mod incident;
pub mod kernel;
pub mod linear;
mod logarithm;
pub mod repeat;
pub mod series;
pub mod steps;
#[cfg(test)]
mod testing;
