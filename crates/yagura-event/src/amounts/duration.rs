//! Times: `90`, `0.5`, `10ms`, `90s`, `5m`, `2h`, `30d`; for `#[serde(with)]`.

use serde::de::{Error, Visitor};
use serde::{Deserializer, Serializer};

use super::parts;
use crate::clock::{Micros, SECOND};

const UNITS: [(&str, Micros); 6] = [
    ("us", 1),
    ("ms", 1000),
    ("s", SECOND),
    ("m", 60 * SECOND),
    ("h", 3600 * SECOND),
    ("d", 24 * 3600 * SECOND),
];

const WRITTEN: &str = "a number of seconds, or a number with us, ms, s, m, h or d, such as `90s`";

/// Reads a time with its unit; without one it is seconds.
pub fn read(text: &str) -> Result<Micros, String> {
    let (number, unit) = parts(text);
    let unit = match unit {
        "" => Some(SECOND),
        name => UNITS.into_iter().find(|(unit, _)| *unit == name).map(|(_, unit)| unit),
    };
    match (number.parse(), unit) {
        (Ok(number), Some(unit)) => micros(number, unit),
        _ => Err(format!("`{text}` is no time; a time is {WRITTEN}")),
    }
}

fn micros(number: f64, unit: Micros) -> Result<Micros, String> {
    const CENTURY: f64 = 36_525.0 * 24.0 * 3600e6;
    let time = number * unit as f64;
    if !(0.0..=CENTURY).contains(&time) {
        return Err("a time is between 0 and a century".into());
    }
    Ok(time.round() as Micros)
}

/// Writes a time with the largest unit that it is a whole number of.
pub fn serialize<S: Serializer>(time: &Micros, to: S) -> Result<S::Ok, S::Error> {
    let (name, unit) = UNITS.into_iter().rev().find(|(_, unit)| time % unit == 0).unwrap_or(UNITS[0]);
    to.serialize_str(&format!("{}{name}", time / unit))
}

/// Reads a time with its unit.
pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Micros, D::Error> {
    from.deserialize_any(Reader)
}

struct Reader;

impl Visitor<'_> for Reader {
    type Value = Micros;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a time: {WRITTEN}")
    }

    fn visit_u64<E: Error>(self, seconds: u64) -> Result<Micros, E> {
        self.visit_f64(seconds as f64)
    }

    fn visit_i64<E: Error>(self, seconds: i64) -> Result<Micros, E> {
        self.visit_f64(seconds as f64)
    }

    fn visit_f64<E: Error>(self, seconds: f64) -> Result<Micros, E> {
        micros(seconds, SECOND).map_err(E::custom)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Micros, E> {
        read(text).map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_their_units() {
        let times = ["250ms", "60s", "5m", "4h", "7", "2 d", "0.5", "10us"].map(read);
        let micros =
            [250_000, 60_000_000, 300_000_000, 14_400_000_000, 7_000_000, 172_800_000_000, 500_000, 10];
        assert_eq!(times, micros.map(Ok));
        for wrong in ["x", "5 weeks", "", "s", "nan", "inf", "-1s", "40000d", "99999999999999999999h"] {
            read(wrong).expect_err(wrong);
        }
    }
}
