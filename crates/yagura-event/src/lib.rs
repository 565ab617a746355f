//! Records, schemas, vocabulary, envelope and errors: what every other crate speaks.
//!
//! No I/O and no async. A *record* of the log is one [`Envelope`] and a batch of rows of one
//! [`Kind`], one cell and one collector. Rows are Arrow columns; [`codec`] turns them into bytes
//! (Arrow IPC with LZ4) and also accepts one JSON object a row.

pub mod alert;
pub mod amounts;
pub mod assets;
pub mod clock;
pub mod codec;
pub mod columns;
mod dictionary;
pub mod envelope;
pub mod error;
mod ipc;
mod lz4;
pub mod redact;
pub mod rows;
pub mod schema;
mod stream;
pub mod units;
pub mod vocabulary;

pub use alert::{Alert, Queue, Severity};
pub use assets::{Asset, AssetTable};
pub use codec::Batch;
pub use columns::Columns;
pub use dictionary::{DictionaryColumn, same_name};
pub use envelope::{Encoding, Envelope, HEADER, Origin, Place};
pub use error::{Domain, EventError};
pub use schema::Kind;
