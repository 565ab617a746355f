//! What must hold of every row, whatever the bytes were.

use std::fmt::Write;

use yagura_event::rows::{Row, RowSink};
use yagura_event::vocabulary::{operation, status};

/// Longest text of a column, in bytes. Rows are kept in memory by the thousand.
const TEXT_BYTES_MAX: usize = 64 << 10;

/// Takes rows and fails on one that is wrong.
#[derive(Debug, Default)]
pub struct Checked {
    /// How many there were.
    pub rows: u64,
    /// A digest of all of them, where it was asked for.
    pub digest: Option<u64>,
}

impl Checked {
    /// One that keeps a digest, to compare two readings.
    pub fn with_digest() -> Checked {
        Checked { rows: 0, digest: Some(0xcbf2_9ce4_8422_2325) }
    }
}

impl RowSink for Checked {
    fn push(&mut self, row: Row<'_>) {
        self.rows += 1;
        if let Some(digest) = &mut self.digest {
            let _ = write!(Digest(digest), "{row:?}");
        }
        match row {
            Row::Message(row) => {
                assert!(!row.function.is_empty(), "no function: {row:?}");
                assert!(operation::ALL.contains(&row.operation), "operation: {row:?}");
                assert!(status::ALL.contains(&row.status), "status: {row:?}");
                for text in [row.function, row.session, row.target, row.status_code] {
                    assert!(text.len() <= TEXT_BYTES_MAX, "{} bytes in a column: {text:.300}", text.len());
                }
                json("values", row.values);
                json("detail", row.detail);
            }
            Row::Identity(row) => json("detail", row.detail),
            Row::Measured(row) => {
                assert!(!row.signal.is_empty(), "no signal: {row:?}");
                assert!(row.signal.len() <= TEXT_BYTES_MAX, "{} bytes in a signal", row.signal.len());
            }
            Row::Coverage(row) => {
                assert!(!row.event.is_empty() && row.detail.len() <= TEXT_BYTES_MAX, "{row:?}")
            }
            Row::Context(_) | Row::Log(_) | Row::Flow(_) | Row::Control(_) => {}
        }
    }
}

fn json(column: &str, text: &str) {
    assert!(text.len() <= TEXT_BYTES_MAX, "{} bytes in {column}: {text:.300}", text.len());
    if !text.is_empty() {
        let read = serde_json::from_str::<serde::de::IgnoredAny>(text);
        assert!(
            read.is_ok(),
            "{column} is no JSON ({}): {text:.2000}",
            read.err().map_or_else(String::new, |e| e.to_string())
        );
    }
}

/// FNV-1a of what is written.
struct Digest<'a>(&'a mut u64);

impl Write for Digest<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        for byte in text.bytes() {
            *self.0 = (*self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        Ok(())
    }
}
