//! What a notification says, as numbers and texts.

use std::borrow::Cow;

use opcua_types::{DataValue, DateTime, Variant};
use yagura_event::clock::{Micros, rfc3339};

/// A text is cut after this many bytes.
const TEXT_BYTES_MAX: usize = 1024;

/// Types of a value, a bit for each number of a built-in type.
pub(crate) type Types = u32;

/// Any type.
pub(super) const ANY: Types = !0;

const INTEGERS: Types = (1 << 2) | (1 << 4) | (1 << 6) | (1 << 8);
const UNSIGNED: Types = (1 << 3) | (1 << 5) | (1 << 7) | (1 << 9);
const NUMBERS: Types = INTEGERS | UNSIGNED | (1 << 10) | (1 << 11);

/// A number, of which a signal has a new one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Number {
    /// The device's time; none where neither it nor the server says one.
    pub time: Option<Micros>,
    pub value: f64,
    /// The place of the node in its server's list.
    pub node: u32,
    /// 0 good, 1 uncertain, 2 bad.
    pub quality: u8,
}

/// A text, of which a signal has a new one.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Text {
    pub time: Option<Micros>,
    pub value: String,
    pub node: u32,
    pub quality: u8,
}

/// A value by what becomes of it.
#[derive(Debug, PartialEq)]
pub(super) enum Content<'a> {
    Number(f64),
    Text(Cow<'a, str>),
    /// There is none: the server says why in its status.
    Nothing,
    /// An array, a structure, bytes.
    Other,
}

/// What types the values of a variable have by its data type of namespace 0; `None` for a type that says nothing
/// about it, as one that a maker derived, and 0 for structures, which are not subscribed to.
pub(super) fn of_data_type(number: u32) -> Option<Types> {
    match number {
        22 | 25 => Some(0),
        23 => Some(0),
        1..=21 => Some(1 << number),
        24 => Some(ANY),
        26 => Some(NUMBERS),
        27 => Some(INTEGERS | UNSIGNED),
        28 => Some(UNSIGNED),
        29 => Some(1 << 6),
        _ => None,
    }
}

/// Whether values of these types are numbers that a deadband can hold for.
pub(super) fn are_numbers(types: Types) -> bool {
    types != 0 && types & !NUMBERS == 0
}

/// A value's type, by its number, and what becomes of it.
pub(super) fn content(value: &Variant) -> (u32, Content<'_>) {
    use Content::{Nothing, Number, Other, Text};
    match value {
        Variant::Boolean(value) => (1, Number(f64::from(u8::from(*value)))),
        Variant::SByte(value) => (2, Number(f64::from(*value))),
        Variant::Byte(value) => (3, Number(f64::from(*value))),
        Variant::Int16(value) => (4, Number(f64::from(*value))),
        Variant::UInt16(value) => (5, Number(f64::from(*value))),
        Variant::Int32(value) => (6, Number(f64::from(*value))),
        Variant::UInt32(value) => (7, Number(f64::from(*value))),
        Variant::Int64(value) => (8, Number(*value as f64)),
        Variant::UInt64(value) => (9, Number(*value as f64)),
        Variant::Float(value) => (10, Number(f64::from(*value))),
        Variant::Double(value) => (11, Number(*value)),
        Variant::String(value) => (12, Text(cut(value.as_ref()))),
        Variant::DateTime(value) => (13, Text(micros(value).map(rfc3339).unwrap_or_default().into())),
        Variant::Guid(value) => (14, Text(value.to_string().into())),
        Variant::ByteString(_) => (15, Other),
        Variant::XmlElement(_) => (16, Other),
        Variant::NodeId(value) => (17, Text(value.to_string().into())),
        Variant::ExpandedNodeId(value) => (18, Text(value.to_string().into())),
        Variant::StatusCode(value) => (19, Number(f64::from(value.bits()))),
        Variant::QualifiedName(value) => (20, Text(cut(value.name.as_ref()))),
        Variant::LocalizedText(value) => (21, Text(cut(value.text.as_ref()))),
        Variant::ExtensionObject(_) => (22, Other),
        Variant::DataValue(_) => (23, Other),
        Variant::Variant(inner) => match inner.as_ref() {
            Variant::Variant(_) => (24, Other),
            inner => content(inner),
        },
        Variant::DiagnosticInfo(_) => (25, Other),
        Variant::Array(_) => (31, Other),
        Variant::Empty => (0, Nothing),
    }
}

/// The type's name, for people.
pub(super) fn type_name(number: u32) -> &'static str {
    const NAMES: [&str; 26] = [
        "nothing",
        "Boolean",
        "SByte",
        "Byte",
        "Int16",
        "UInt16",
        "Int32",
        "UInt32",
        "Int64",
        "UInt64",
        "Float",
        "Double",
        "String",
        "DateTime",
        "Guid",
        "ByteString",
        "XmlElement",
        "NodeId",
        "ExpandedNodeId",
        "StatusCode",
        "QualifiedName",
        "LocalizedText",
        "a structure",
        "DataValue",
        "any type",
        "DiagnosticInfo",
    ];
    NAMES.get(number as usize).copied().unwrap_or("an array")
}

/// The names of types, for people.
pub(crate) fn names(types: Types) -> String {
    match types {
        ANY => String::new(),
        NUMBERS => "Number".into(),
        types => {
            (1..26).filter(|number| types & (1 << number) != 0).map(type_name).collect::<Vec<_>>().join("|")
        }
    }
}

/// 0 good, 1 uncertain, 2 bad.
pub(super) fn quality(value: &DataValue) -> u8 {
    match value.status {
        Some(status) if status.is_bad() => 2,
        Some(status) if status.is_uncertain() => 1,
        _ => 0,
    }
}

/// The device's time, or the server's where the device says none.
pub(super) fn time(value: &DataValue) -> Option<Micros> {
    let of = |time: &Option<DateTime>| time.as_ref().and_then(micros);
    of(&value.source_timestamp).or_else(|| of(&value.server_timestamp))
}

/// From 1601-01-01 to 1970-01-01.
const EPOCHS_APART: Micros = 11_644_473_600_000_000;

/// A time of the protocol; `None` where it says that there is none.
pub(super) fn micros(time: &DateTime) -> Option<Micros> {
    let ticks = time.ticks();
    (ticks > 0).then(|| ticks / 10 - EPOCHS_APART)
}

fn cut(text: &str) -> Cow<'_, str> {
    Cow::Borrowed(&text[..text.floor_char_boundary(TEXT_BYTES_MAX)])
}

#[cfg(test)]
mod tests {
    use opcua_types::{StatusCode, UAString};

    use super::*;

    #[test]
    fn numbers_texts_and_the_rest() {
        assert_eq!(content(&Variant::Boolean(true)), (1, Content::Number(1.0)));
        assert_eq!(content(&Variant::Int64(-3)), (8, Content::Number(-3.0)));
        assert_eq!(content(&Variant::Variant(Box::new(Variant::Double(2.5)))), (11, Content::Number(2.5)));
        assert_eq!(content(&Variant::String(UAString::from("idle"))), (12, Content::Text("idle".into())));
        assert_eq!(content(&Variant::Empty), (0, Content::Nothing));
        let long = "ü".repeat(TEXT_BYTES_MAX);
        let long = Variant::String(UAString::from(long.as_str()));
        let Content::Text(cut) = content(&long).1 else { panic!("a text") };
        assert_eq!(cut.len(), TEXT_BYTES_MAX);
    }

    #[test]
    fn what_types_a_declared_type_permits() {
        let permits = |declared: u32, value: Variant| {
            of_data_type(declared).is_some_and(|types| types & (1 << content(&value).0) != 0)
        };
        assert!(permits(11, Variant::Double(1.0)) && !permits(11, Variant::Float(1.0)));
        assert!(permits(26, Variant::Byte(1)) && !permits(26, Variant::Boolean(true)));
        assert!(permits(29, Variant::Int32(1)) && permits(24, Variant::String(UAString::null())));
        assert_eq!((of_data_type(22), of_data_type(290)), (Some(0), None));
        assert!(are_numbers(1 << 11) && !are_numbers(ANY) && !are_numbers(1 << 1));
    }

    #[test]
    fn times_and_qualities() {
        let mut value = DataValue::value_only(1.5f64);
        assert_eq!((time(&value), quality(&value)), (None, 0));
        value.server_timestamp = Some(DateTime::from(EPOCHS_APART * 10 + 20));
        assert_eq!(time(&value), Some(2));
        value.source_timestamp = Some(DateTime::null());
        assert_eq!(time(&value), Some(2));
        value.status = Some(StatusCode::UncertainInitialValue);
        assert_eq!(quality(&value), 1);
        value.status = Some(StatusCode::BadSensorFailure);
        assert_eq!(quality(&value), 2);
    }
}
