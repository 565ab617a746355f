//! Sources, and the writer that numbers their rows and puts them into the log.
//!
//! A [`Source`] is read in the order of its own time; [`run::collect`] merges the recorded ones by
//! that time, so that the log of a recording is the same whenever it is made. A new source is one
//! file, its `mod` line and one line in [`SOURCES`]. A [`LiveSource`] has no end: [`live::collect`]
//! writes what it brings within about a second.

pub mod cursor;
pub mod dictionary;
pub mod interface;
pub mod jsonl;
pub mod live;
pub mod packets;
pub mod run;
mod series;
pub mod writer;

use std::time::Duration;

use yagura_event::clock::Micros;
use yagura_event::rows::RowSink;

/// The kinds of sources there are, with what each reads.
pub const SOURCES: &[(&str, &str)] = &[
    ("packets", "a pcap or pcapng file"),
    ("jsonl", "a file of JSON objects, one a line, with a mapping to a kind's columns"),
    ("interface", "packets of network interfaces, as they come (built with `--features pcap`)"),
];

/// Something that is read.
pub trait Source: Send {
    /// Name of its collector.
    fn collector(&self) -> &str;

    /// A fingerprint of what is read: the same content has the same, so that reading it again
    /// gives rows the same numbers.
    fn epoch(&self) -> u64;

    /// The time of what comes next; `None` at the end.
    fn next_time(&mut self) -> Option<Micros>;

    /// Reads what comes next.
    fn advance(&mut self, out: &mut dyn RowSink);

    /// The end was reached: whatever still waits becomes rows.
    fn finish(&mut self, out: &mut dyn RowSink);

    /// Bytes read so far, and in all.
    fn progress(&self) -> (u64, u64);
}

/// Something that is read as it happens.
pub trait LiveSource: Send {
    /// Name of its collector.
    fn collector(&self) -> &str;

    /// When it was opened, in microseconds of UTC: each start numbers its rows anew.
    fn epoch(&self) -> u64;

    /// Rows are handed to the log after this much of the collector's clock.
    fn batch(&self) -> Micros;

    /// Reads what came, or waits for something, at most for `wait`. Answers the collector's clock:
    /// no row observed before will follow.
    fn advance(&mut self, wait: Duration, out: &mut dyn RowSink) -> Micros;

    /// Stops, and reads what came before.
    fn finish(&mut self, out: &mut dyn RowSink);

    /// What it has read and lost so far.
    fn seen(&self) -> Seen;
}

/// What a live source has read and lost.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// What its packets were.
    pub stats: yagura_capture::Stats,
    /// Packets that were lost, wherever.
    pub dropped: u64,
}

/// Why a source cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The file cannot be opened.
    #[error("{file}: {cause}")]
    Open {
        /// The file.
        file: String,
        /// Why not, and what to do.
        cause: String,
    },
    /// Packets cannot be captured.
    #[error(transparent)]
    Live(#[from] yagura_capture::live::LiveError),
    /// The mapping names something that does not exist.
    #[error("{0}")]
    Mapping(String),
}
