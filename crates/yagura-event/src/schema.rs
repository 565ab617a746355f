//! The kinds of records and their Arrow schemas.

use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use serde::{Deserialize, Serialize};

use crate::rows;

/// What the rows of a record are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// One exchange of an application protocol (a request and its reply, or what there was of them).
    Message,
    /// A connection's life.
    Flow,
    /// The names behind a dense series number.
    Series,
    /// One value of one signal.
    Sample,
    /// What a device says it is.
    Identity,
    /// A security or other log event, with the four fields of SEMI E187.
    Log,
    /// Lot, recipe, step, badge, maintenance: what holds from a time on.
    Context,
    /// What a collector did and did not see.
    Coverage,
    /// Whatever changes a result: pipeline versions, approvals, releases, ticks.
    Control,
    /// An alert or a revision of one.
    Alert,
}

impl Kind {
    /// All kinds, in the order of the manual.
    pub const ALL: [Kind; 10] = [
        Kind::Message,
        Kind::Flow,
        Kind::Series,
        Kind::Sample,
        Kind::Identity,
        Kind::Log,
        Kind::Context,
        Kind::Coverage,
        Kind::Control,
        Kind::Alert,
    ];

    /// The name that users write.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Message => "message",
            Kind::Flow => "flow",
            Kind::Series => "series",
            Kind::Sample => "sample",
            Kind::Identity => "identity",
            Kind::Log => "log",
            Kind::Context => "context",
            Kind::Coverage => "coverage",
            Kind::Control => "control",
            Kind::Alert => "alert",
        }
    }

    /// The kind of that name.
    pub fn from_name(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|k| k.name() == name)
    }

    /// The version of the kind's schema that this program writes, and the newest it reads.
    pub fn version(self) -> u16 {
        1
    }

    /// The columns of the kind. Strings are never null (absent is empty); numbers may be.
    pub fn schema(self) -> SchemaRef {
        static SCHEMAS: LazyLock<Vec<SchemaRef>> =
            LazyLock::new(|| Kind::ALL.into_iter().map(|kind| Arc::new(Schema::new(fields(kind)))).collect());
        Arc::clone(&SCHEMAS[self as usize])
    }
}

fn fields(kind: Kind) -> Vec<Field> {
    match kind {
        Kind::Message => rows::MessageRow::fields(),
        Kind::Flow => rows::FlowRow::fields(),
        Kind::Series => rows::SeriesRow::fields(),
        Kind::Sample => rows::SampleRow::fields(),
        Kind::Identity => rows::IdentityRow::fields(),
        Kind::Log => rows::LogRow::fields(),
        Kind::Context => rows::ContextRow::fields(),
        Kind::Coverage => rows::CoverageRow::fields(),
        Kind::Control => rows::ControlRow::fields(),
        // An alert is one JSON document: few, read by people and by other programs.
        Kind::Alert => vec![Field::new("alert", DataType::Utf8, false)],
    }
}

/// Microseconds of UTC.
pub fn timestamp_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// A string that repeats: each distinct one is written once a batch.
pub fn dictionary_type() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}
