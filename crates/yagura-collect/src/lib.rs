//! Sources, and the writer that numbers their rows and puts them into the log.
//!
//! A [`Source`] is read in the order of its own time; [`run::collect`] merges the recorded ones by
//! that time, so that the log of a recording is the same whenever it is made. A [`LiveSource`] has no
//! end: [`live::collect`] writes what it brings within about a second. The kinds that there are stand
//! in [`sources`]; a new one is one file and two lines there.

pub mod backoff;
pub mod blind;
pub mod complaints;
pub mod cursor;
pub mod dictionary;
pub mod discover;
pub mod feed;
pub mod live;
pub mod mapping;
pub mod names;
pub mod places;
pub mod reports;
pub mod run;
mod sensors;
mod series;
pub mod source;
pub mod sources;
pub mod spool;
pub mod tail;
pub mod times;
pub mod tls;
pub mod writer;

pub use places::{PlacedSink, Places, SeriesOf};
pub use yagura_event::units;

pub use source::{LiveSource, Opened, Opening, Plant, Seen, Settings, Source, SourceError};
