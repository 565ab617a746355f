//! Sparkplug B's payload: protocol buffers, read in place.
//!
//! The fields are those of `sparkplug_b.proto` of the Sparkplug specification 3.0. Nothing is copied: a metric is a
//! handful of numbers and slices of the message.

/// What is no payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// A payload whose frame was checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Payload<'a> {
    bytes: &'a [u8],
    /// Milliseconds since 1970.
    pub timestamp: Option<u64>,
    pub seq: Option<u64>,
    /// How many metrics it holds.
    pub count: u64,
    /// Its metrics are packed into the body, which is not read.
    pub compressed: bool,
}

/// One metric.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Metric<'a> {
    pub name: Option<&'a [u8]>,
    pub alias: Option<u64>,
    /// Milliseconds since 1970.
    pub timestamp: Option<u64>,
    /// 0 where it is not said.
    pub datatype: u32,
    pub historical: bool,
    pub null: bool,
    pub properties: Option<&'a [u8]>,
    pub value: Value<'a>,
}

/// A value as it is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum Value<'a> {
    #[default]
    None,
    Int(u32),
    Long(u64),
    Float(f32),
    Double(f64),
    Bool(bool),
    Text(&'a [u8]),
    /// Bytes, data sets, templates, extensions.
    Other,
}

/// What a value is, with its type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Meaning<'a> {
    Number(f64),
    /// A number that was not sent as its type wants.
    Unfit(f64),
    Text(&'a str),
    /// No value.
    Nothing,
    /// Neither a number nor a text.
    Unreadable,
}

impl<'a> Payload<'a> {
    /// Checks the frame.
    pub fn read(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut out = Payload { bytes, timestamp: None, seq: None, count: 0, compressed: false };
        let mut fields = Fields(bytes);
        while let Some(field) = fields.next()? {
            match field {
                (1, Field::Varint(timestamp)) => out.timestamp = Some(timestamp),
                (2, Field::Bytes(_)) => out.count += 1,
                (3, Field::Varint(seq)) => out.seq = Some(seq),
                (4, Field::Bytes(uuid)) => out.compressed = uuid == b"SPBV1.0_COMPRESSED",
                (1..=3, _) => return Err(Malformed),
                _ => {}
            }
        }
        Ok(out)
    }

    /// Its metrics; a broken one does not end them.
    pub fn metrics(&self) -> impl Iterator<Item = Result<Metric<'a>, Malformed>> + use<'a> {
        let mut fields = Fields(self.bytes);
        std::iter::from_fn(move || {
            while let Ok(Some(field)) = fields.next() {
                if let (2, Field::Bytes(metric)) = field {
                    return Some(Metric::read(metric));
                }
            }
            None
        })
    }
}

impl<'a> Metric<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut out = Metric::default();
        let mut fields = Fields(bytes);
        while let Some(field) = fields.next()? {
            match field {
                (1, Field::Bytes(name)) => out.name = Some(name),
                (2, Field::Varint(alias)) => out.alias = Some(alias),
                (3, Field::Varint(timestamp)) => out.timestamp = Some(timestamp),
                (4, Field::Varint(datatype)) => out.datatype = datatype as u32,
                (5, Field::Varint(historical)) => out.historical = historical != 0,
                (7, Field::Varint(null)) => out.null = null != 0,
                (9, Field::Bytes(properties)) => out.properties = Some(properties),
                (10, Field::Varint(value)) => out.value = Value::Int(value as u32),
                (11, Field::Varint(value)) => out.value = Value::Long(value),
                (12, Field::Fixed32(value)) => out.value = Value::Float(f32::from_bits(value)),
                (13, Field::Fixed64(value)) => out.value = Value::Double(f64::from_bits(value)),
                (14, Field::Varint(value)) => out.value = Value::Bool(value != 0),
                (15, Field::Bytes(value)) => out.value = Value::Text(value),
                (16..=19, _) => out.value = Value::Other,
                (1..=5 | 7 | 9..=15, _) => return Err(Malformed),
                _ => {}
            }
        }
        Ok(out)
    }

    /// Its value, where it is of this type.
    pub fn meaning(&self, datatype: u32) -> Meaning<'a> {
        if self.null {
            return Meaning::Nothing;
        }
        let number =
            |fits: bool, value: f64| if fits { Meaning::Number(value) } else { Meaning::Unfit(value) };
        match self.value {
            Value::Int(value) => match datatype {
                1 => number(true, f64::from(value as u8 as i8)),
                2 => number(true, f64::from(value as u16 as i16)),
                3 => number(true, f64::from(value as i32)),
                // Some write 64-bit integers as small ones.
                4 => number(true, f64::from(value as i32)),
                5..=8 | 13 => number(true, f64::from(value)),
                _ => number(false, f64::from(value)),
            },
            Value::Long(value) => match datatype {
                4 => number(true, value as i64 as f64),
                1..=3 => number(true, f64::from(value as i32)),
                5..=8 | 13 => number(true, value as f64),
                _ => number(false, value as f64),
            },
            Value::Float(value) => number(matches!(datatype, 9 | 10), f64::from(value)),
            Value::Double(value) => number(matches!(datatype, 9 | 10), value),
            Value::Bool(value) => number(datatype == 11, f64::from(u8::from(value))),
            Value::Text(value) => match (datatype, std::str::from_utf8(value)) {
                (12 | 14 | 15, Ok(value)) => Meaning::Text(value),
                _ => Meaning::Unreadable,
            },
            Value::None => Meaning::Nothing,
            Value::Other => Meaning::Unreadable,
        }
    }

    /// Its quality, where its properties tell one: 0 good, 1 uncertain, 2 bad.
    pub fn quality(&self) -> u8 {
        let Some(properties) = self.properties else { return 0 };
        match property(properties, |key| key == "Quality") {
            // 0 bad, 192 good, 500 stale; between them the classes of OPC.
            Some(Value::Int(0..=63)) | Some(Value::Long(0..=63)) => 2,
            Some(Value::Int(192..=255)) | Some(Value::Long(192..=255)) | None => 0,
            Some(_) => 1,
        }
    }

    /// Its engineering unit, where its properties tell one.
    pub fn unit(&self) -> Option<&'a str> {
        let named = |key: &str| {
            let letters = key.bytes().filter(u8::is_ascii_alphabetic).map(|b| b.to_ascii_lowercase());
            ["engunit", "engunits", "engineeringunit", "engineeringunits", "unit", "units"]
                .iter()
                .any(|name| name.bytes().eq(letters.clone()))
        };
        match property(self.properties?, named) {
            Some(Value::Text(unit)) if unit.len() <= 64 => std::str::from_utf8(unit).ok(),
            _ => None,
        }
    }
}

/// Properties that are looked at; further ones are left alone.
const PROPERTIES_MAX: usize = 64;

/// The property of which the key is asked for.
fn property<'a>(set: &'a [u8], is: impl Fn(&str) -> bool) -> Option<Value<'a>> {
    let (mut keys, mut found) = (0, None);
    let mut fields = Fields(set);
    while let Ok(Some(field)) = fields.next() {
        if let (1, Field::Bytes(key)) = field {
            if std::str::from_utf8(key).is_ok_and(&is) {
                found = Some(keys);
            }
            keys += 1;
            if keys > PROPERTIES_MAX {
                return None;
            }
        }
    }
    let (nth, mut values, mut fields) = (found?, 0, Fields(set));
    while let Ok(Some(field)) = fields.next() {
        if let (2, Field::Bytes(value)) = field {
            if values == nth {
                return property_value(value);
            }
            values += 1;
        }
    }
    None
}

fn property_value(bytes: &[u8]) -> Option<Value<'_>> {
    let mut fields = Fields(bytes);
    let mut out = None;
    while let Ok(Some(field)) = fields.next() {
        match field {
            (2, Field::Varint(1)) => return None,
            (3, Field::Varint(value)) => out = Some(Value::Int(value as u32)),
            (4, Field::Varint(value)) => out = Some(Value::Long(value)),
            (8, Field::Bytes(value)) => out = Some(Value::Text(value)),
            _ => {}
        }
    }
    out
}

/// The name of a type, for people.
pub(crate) fn type_name(datatype: u32) -> &'static str {
    const NAMES: [&str; 35] = [
        "Unknown",
        "Int8",
        "Int16",
        "Int32",
        "Int64",
        "UInt8",
        "UInt16",
        "UInt32",
        "UInt64",
        "Float",
        "Double",
        "Boolean",
        "String",
        "DateTime",
        "Text",
        "UUID",
        "DataSet",
        "Bytes",
        "File",
        "Template",
        "PropertySet",
        "PropertySetList",
        "Int8Array",
        "Int16Array",
        "Int32Array",
        "Int64Array",
        "UInt8Array",
        "UInt16Array",
        "UInt32Array",
        "UInt64Array",
        "FloatArray",
        "DoubleArray",
        "BooleanArray",
        "StringArray",
        "DateTimeArray",
    ];
    NAMES.get(datatype as usize).copied().unwrap_or(NAMES[0])
}

/// Whether values of a type are numbers or texts.
pub(crate) fn is_scalar(datatype: u32) -> bool {
    matches!(datatype, 1..=15)
}

enum Field<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
}

/// The fields of a message that are left.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    #[inline]
    fn next(&mut self) -> Result<Option<(u64, Field<'a>)>, Malformed> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let field = match tag & 7 {
            0 => Field::Varint(self.varint()?),
            1 => {
                let (value, rest) = self.0.split_first_chunk().ok_or(Malformed)?;
                self.0 = rest;
                Field::Fixed64(u64::from_le_bytes(*value))
            }
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| Malformed)?;
                let (value, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
                self.0 = rest;
                Field::Bytes(value)
            }
            5 => {
                let (value, rest) = self.0.split_first_chunk().ok_or(Malformed)?;
                self.0 = rest;
                Field::Fixed32(u32::from_le_bytes(*value))
            }
            _ => return Err(Malformed),
        };
        Ok(Some((tag >> 3, field)))
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, Malformed> {
        match self.0.split_first() {
            Some((&byte, rest)) if byte < 0x80 => {
                self.0 = rest;
                Ok(byte.into())
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for (nth, &byte) in self.0.iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * nth);
            if byte < 0x80 {
                self.0 = &self.0[nth + 1..];
                return Ok(value);
            }
        }
        Err(Malformed)
    }
}

/// Writes payloads, for tests.
#[cfg(test)]
pub(crate) mod build {
    pub fn varint(out: &mut Vec<u8>, field: u64, mut value: u64) {
        raw(out, field << 3);
        loop {
            let low = (value & 0x7f) as u8;
            value >>= 7;
            out.push(if value > 0 { low | 0x80 } else { low });
            if value == 0 {
                return;
            }
        }
    }

    fn raw(out: &mut Vec<u8>, mut value: u64) {
        while value >= 0x80 {
            out.push(value as u8 | 0x80);
            value >>= 7;
        }
        out.push(value as u8);
    }

    pub fn bytes(out: &mut Vec<u8>, field: u64, value: &[u8]) {
        raw(out, field << 3 | 2);
        raw(out, value.len() as u64);
        out.extend_from_slice(value);
    }

    pub fn double(out: &mut Vec<u8>, field: u64, value: f64) {
        raw(out, field << 3 | 1);
        out.extend_from_slice(&value.to_le_bytes());
    }

    /// A metric: name, alias, type, and its value as a double or as an integer.
    pub fn metric(name: &str, alias: u64, datatype: u64, value: f64) -> Vec<u8> {
        let mut out = Vec::new();
        if !name.is_empty() {
            bytes(&mut out, 1, name.as_bytes());
        }
        varint(&mut out, 2, alias);
        if datatype > 0 {
            varint(&mut out, 4, datatype);
        }
        match datatype {
            4 | 8 => varint(&mut out, 11, value as i64 as u64),
            1..=7 => varint(&mut out, 10, u64::from(value as i64 as u32)),
            _ => double(&mut out, 13, value),
        }
        out
    }

    pub fn payload(timestamp: u64, seq: Option<u64>, metrics: &[Vec<u8>]) -> Vec<u8> {
        let mut out = Vec::new();
        varint(&mut out, 1, timestamp);
        for metric in metrics {
            bytes(&mut out, 2, metric);
        }
        if let Some(seq) = seq {
            varint(&mut out, 3, seq);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_mean_what_their_type_says() {
        let metric = |value| Metric { value, ..Default::default() };
        let cases = [
            (1, Value::Int(0xff), Meaning::Number(-1.0)),
            (1, Value::Int(0xffff_ffff), Meaning::Number(-1.0)),
            (2, Value::Int(0x8000), Meaning::Number(-32768.0)),
            (3, Value::Int(0xffff_fffe), Meaning::Number(-2.0)),
            (4, Value::Long(u64::MAX), Meaning::Number(-1.0)),
            (7, Value::Int(u32::MAX), Meaning::Number(4_294_967_295.0)),
            (7, Value::Long(4_294_967_295), Meaning::Number(4_294_967_295.0)),
            (8, Value::Long(1 << 63), Meaning::Number(2f64.powi(63))),
            (9, Value::Float(0.5), Meaning::Number(0.5)),
            (10, Value::Int(3), Meaning::Unfit(3.0)),
            (11, Value::Bool(true), Meaning::Number(1.0)),
            (12, Value::Text(b"lot"), Meaning::Text("lot")),
            (12, Value::Text(b"\xff"), Meaning::Unreadable),
            (3, Value::Text(b"7"), Meaning::Unreadable),
            (13, Value::Long(1_700_000_000_000), Meaning::Number(1.7e12)),
            (19, Value::Other, Meaning::Unreadable),
            (10, Value::None, Meaning::Nothing),
        ];
        for (datatype, value, meaning) in cases {
            assert_eq!(metric(value).meaning(datatype), meaning, "{datatype} {value:?}");
        }
    }

    #[test]
    fn properties_tell_quality_and_unit() {
        let mut set = Vec::new();
        for key in ["engLow", "Quality", "engUnit"] {
            build::bytes(&mut set, 1, key.as_bytes());
        }
        let mut values = [Vec::new(), Vec::new(), Vec::new()];
        build::double(&mut values[0], 6, 0.0);
        build::varint(&mut values[1], 3, 500);
        build::bytes(&mut values[2], 8, b"Pa");
        for value in &values {
            build::bytes(&mut set, 2, value);
        }
        let metric = Metric { properties: Some(&set), ..Default::default() };
        assert_eq!((metric.quality(), metric.unit()), (1, Some("Pa")));
        assert_eq!((Metric::default().quality(), Metric::default().unit()), (0, None));
    }

    fn whole() -> Vec<u8> {
        let metrics =
            [build::metric("a", 1, 10, 0.5), build::metric("b", 300, 3, -7.0), build::metric("", 2, 4, -1.0)];
        build::payload(1_700_000_000_000, Some(255), &metrics)
    }

    #[test]
    fn what_was_written_is_read() {
        let bytes = whole();
        let payload = Payload::read(&bytes).expect("a payload");
        assert_eq!((payload.timestamp, payload.seq, payload.count), (Some(1_700_000_000_000), Some(255), 3));
        let metrics: Vec<_> = payload.metrics().map(|m| m.expect("a metric")).collect();
        assert_eq!(metrics[0].name, Some(&b"a"[..]));
        assert_eq!(metrics[1].alias, Some(300));
        let values: Vec<_> = metrics.iter().map(|m| m.meaning(m.datatype)).collect();
        assert_eq!(values, [0.5, -7.0, -1.0].map(Meaning::Number));
    }

    proptest! {
        #[test]
        fn no_bytes_are_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(payload) = Payload::read(&bytes) {
                for metric in payload.metrics().flatten() {
                    let _ = (metric.quality(), metric.unit(), metric.meaning(metric.datatype));
                }
            }
        }

        #[test]
        fn a_damaged_payload_is_malformed_or_another_one(
            at in 0usize..60, to in any::<u8>(), cut in 0usize..60,
        ) {
            let mut bytes = whole();
            let at = at % bytes.len();
            bytes[at] = to;
            bytes.truncate(bytes.len() - cut.min(bytes.len()));
            if let Ok(payload) = Payload::read(&bytes) {
                let read = payload.metrics().count() as u64;
                prop_assert_eq!(read, payload.count);
            }
        }
    }
}
