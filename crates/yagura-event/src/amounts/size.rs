//! Amounts of bytes: `65536`, `512KiB`, `64MiB`, `16GiB`, `100MB`; for `#[serde(with)]`.

use serde::de::{Error, Visitor};
use serde::{Deserializer, Serializer};

use super::parts;

const UNITS: [(&str, u64); 8] = [
    ("B", 1),
    ("kB", 1000),
    ("KiB", 1 << 10),
    ("MB", 1_000_000),
    ("MiB", 1 << 20),
    ("GB", 1_000_000_000),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// Writes an amount with the largest unit that it is a whole number of.
pub fn serialize<S: Serializer>(bytes: &u64, to: S) -> Result<S::Ok, S::Error> {
    let binary = UNITS.into_iter().rev().filter(|(name, _)| name.len() != 2);
    let (name, unit) = binary.into_iter().find(|(_, unit)| bytes.is_multiple_of(*unit)).unwrap_or(UNITS[0]);
    to.serialize_str(&format!("{}{name}", bytes / unit))
}

/// Reads an amount with its unit.
pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    from.deserialize_any(Reader)
}

struct Reader;

impl Visitor<'_> for Reader {
    type Value = u64;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an amount of bytes: a number, or a number with kB, KiB, MB, MiB, GB, GiB or TiB, such as `64MiB`")
    }

    fn visit_u64<E: Error>(self, bytes: u64) -> Result<u64, E> {
        Ok(bytes)
    }

    fn visit_i64<E: Error>(self, bytes: i64) -> Result<u64, E> {
        u64::try_from(bytes).map_err(|_| E::invalid_value(serde::de::Unexpected::Signed(bytes), &self))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<u64, E> {
        let (number, unit) = parts(text);
        let unit = match unit {
            "" => Some(1),
            name => UNITS.iter().find(|(unit, _)| *unit == name).map(|(_, unit)| *unit),
        };
        let number: Option<u64> = number.parse().ok();
        number
            .zip(unit)
            .and_then(|(number, unit)| number.checked_mul(unit))
            .ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    #[derive(Serialize, Deserialize)]
    struct Holder(#[serde(with = "super")] u64);

    fn read(text: &str) -> Result<u64, String> {
        serde_json::from_str::<Holder>(text).map(|h| h.0).map_err(|e| e.to_string())
    }

    #[test]
    fn sizes_are_read_as_they_are_written_and_mistakes_are_named() {
        for (text, bytes) in [
            ("4096", 4096),
            (r#""4096""#, 4096),
            (r#""64MiB""#, 64 << 20),
            (r#""16 GiB""#, 16 << 30),
            (r#""100MB""#, 100_000_000),
        ] {
            assert_eq!(read(text), Ok(bytes), "{text}");
        }
        for wrong in [r#""16 gigs""#, "-1", r#""99999999TiB""#, r#""GiB""#] {
            let error = read(wrong).expect_err(wrong);
            assert!(error.contains("such as `64MiB`"), "{error}");
        }
        for bytes in [0, 1, 1500, 1 << 20, 3 << 30] {
            let written = serde_json::to_string(&Holder(bytes)).expect("text");
            assert_eq!(read(&written), Ok(bytes), "{written}");
        }
    }
}
