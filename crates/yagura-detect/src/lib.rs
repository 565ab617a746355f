//! Shards, operators, watermarks, snapshots: the fold from a cell's records to its alerts.
//!
//! [`shard::Shard`] is pure: the same records in the same order give the same alerts, bit for
//! bit, whatever the fetch sizes. [`worker`] gives it records from a log and takes its alerts to
//! another topic; [`snapshot`] keeps its state in the log, and [`dead`] what nobody could read.
//! [`pipeline`] is what people edit, [`selftest`] runs the tests in it.

pub mod alerts;
pub mod asof;
pub mod baseline;
pub mod blocks;
pub mod columns;
pub mod condition;
pub mod dead;
pub mod holes;
pub mod index;
pub mod late;
pub mod meter;
mod needed;
pub mod operators;
pub mod packed;
pub mod passing;
pub mod pipeline;
pub mod resume;
pub mod selftest;
pub mod shard;
pub mod shelf;
pub mod snapshot;
pub mod worker;

pub use condition::{Compiler, Condition, ConditionError, Expression};
pub use late::LateRow;
pub use pipeline::{Pipeline, PipelineError};
pub use shard::{Shard, Stats};
pub use shelf::Shelf;
