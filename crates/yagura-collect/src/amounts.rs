//! Times and sizes as people write them in settings.

use std::time::Duration;

use serde::Deserialize;
use yagura_capture::{limits, sizes};
use yagura_event::clock::Micros;

/// A time: `100ms`, `90s`, `2h`; a number alone is seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(transparent)]
pub struct Time(#[serde(with = "limits::duration")] pub Micros);

impl Time {
    /// For what takes the standard library's.
    pub fn duration(self) -> Duration {
        Duration::from_micros(self.0.max(0) as u64)
    }
}

/// An amount of bytes: `65536`, `64MiB`, `1GB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(transparent)]
pub struct Bytes(#[serde(with = "sizes")] pub u64);

impl Bytes {
    /// For what counts in memory.
    pub fn len(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    /// Whether it is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}
