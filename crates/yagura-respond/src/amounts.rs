//! Times and sizes as people write them in settings.

use std::time::Duration;

use serde::de::{self, Deserialize, Deserializer, Visitor};

/// A time: `60s`, `5m`, `4h`; a number alone is seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Time(pub Duration);

/// An amount of bytes: `65536`, `64KiB`, `100MiB`, `1GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bytes(pub u64);

/// Units and how many of the smallest they are, the longer names first.
const TIMES: &[(&str, u64)] = &[("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("", 1_000)];
const SIZES: &[(&str, u64)] = &[("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("B", 1), ("", 1)];

fn read(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let (_, each) = units.iter().find(|(name, _)| *name == unit.trim())?;
    number.parse::<u64>().ok()?.checked_mul(*each)
}

struct Amount {
    units: &'static [(&'static str, u64)],
    expected: &'static str,
}

impl Visitor<'_> for Amount {
    type Value = u64;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<u64, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<u64, E> {
        let expected = self.expected;
        read(text, self.units).ok_or_else(|| E::custom(format!("`{text}` is not {expected}")))
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let amount = Amount { units: TIMES, expected: "a time such as 60s, 5m or 4h" };
        deserializer.deserialize_any(amount).map(Duration::from_millis).map(Time)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let amount = Amount { units: SIZES, expected: "a size such as 64KiB or 100MiB" };
        deserializer.deserialize_any(amount).map(Bytes)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn times_and_sizes_have_units() {
        let time = |text: Value| serde_json::from_value::<Time>(text).map(|time| time.0.as_millis()).ok();
        assert_eq!(
            [json!("250ms"), json!("60s"), json!("5m"), json!("4h"), json!(7), json!("7")].map(time),
            [Some(250), Some(60_000), Some(300_000), Some(14_400_000), Some(7_000), Some(7_000)]
        );
        let size = |text: Value| serde_json::from_value::<Bytes>(text).map(|size| size.0).ok();
        assert_eq!(
            [json!("64KiB"), json!("2 MiB"), json!(9)].map(size),
            [Some(65_536), Some(2 << 20), Some(9)]
        );
        for wrong in
            [json!("x"), json!("5 days"), json!(-1), json!("99999999999999999999h"), json!(""), json!(true)]
        {
            assert_eq!((time(wrong.clone()), size(wrong.clone())), (None, None), "{wrong}");
        }
    }
}
