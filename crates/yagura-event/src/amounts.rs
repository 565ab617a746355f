//! Times and sizes as people write them in settings, arguments and pipelines: one way to read them.

use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;

use crate::clock::Micros;

pub mod duration;
pub mod size;

/// A time: `100ms`, `90s`, `2h`; a number alone is seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(transparent)]
pub struct Time(#[serde(with = "duration")] pub Micros);

impl Time {
    /// For what takes the standard library's.
    pub fn duration(self) -> Duration {
        Duration::from_micros(self.0.max(0) as u64)
    }
}

/// A time longer than nothing: how often something is done, or for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "Time")]
pub struct Period(Time);

impl Period {
    /// In microseconds.
    pub fn micros(self) -> Micros {
        self.0.0
    }

    /// For what takes the standard library's.
    pub fn duration(self) -> Duration {
        self.0.duration()
    }
}

impl TryFrom<Time> for Period {
    type Error = String;

    fn try_from(time: Time) -> Result<Self, String> {
        if time.0 > 0 { Ok(Period(time)) } else { Err("it must be longer than nothing".into()) }
    }
}

impl FromStr for Period {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Time(duration::read(text)?).try_into()
    }
}

/// An amount of bytes: `65536`, `64MiB`, `1GB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(transparent)]
pub struct Bytes(#[serde(with = "size")] pub u64);

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

/// A number with its unit behind it, whose name may be missing.
fn parts(text: &str) -> (&str, &str) {
    let text = text.trim();
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    (number.trim_end(), &text[number.len()..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_is_longer_than_nothing() {
        assert_eq!("90s".parse::<Period>().map(Period::micros), Ok(90_000_000));
        assert_eq!("1.5m".parse::<Period>().map(Period::duration), Ok(Duration::from_secs(90)));
        assert_eq!("0s".parse::<Period>(), Err("it must be longer than nothing".into()));
        let error = "soon".parse::<Period>().expect_err("no time");
        assert!(error.contains("`soon`") && error.contains("such as `90s`"), "{error}");
        let error = serde_json::from_str::<Period>("0").expect_err("no time").to_string();
        assert!(error.contains("longer than nothing"), "{error}");
    }
}
