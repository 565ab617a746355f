//! The parts of a message: versions 1 and 2c (RFC 1157, RFC 3416, RFC 1901), version 3 (RFC 3412
//! with the user-based security of RFC 3414).

use crate::asn1::{self, Element};
use crate::cursor::{Cursor, Cut};

/// Tags of data units (RFC 3416, 3).
pub mod pdu {
    pub const GET: u8 = 0xa0;
    pub const GET_NEXT: u8 = 0xa1;
    pub const RESPONSE: u8 = 0xa2;
    pub const SET: u8 = 0xa3;
    pub const TRAP_1: u8 = 0xa4;
    pub const GET_BULK: u8 = 0xa5;
    pub const INFORM: u8 = 0xa6;
    pub const TRAP_2: u8 = 0xa7;
    pub const REPORT: u8 = 0xa8;
}

/// Tags of values (RFC 2578, 2).
mod tag {
    pub const IP_ADDRESS: u8 = 0x40;
    pub const COUNTER: u8 = 0x41;
    pub const GAUGE: u8 = 0x42;
    pub const TIME_TICKS: u8 = 0x43;
    pub const OPAQUE: u8 = 0x44;
    pub const COUNTER_64: u8 = 0x46;
    pub const UNSIGNED: u8 = 0x47;
    pub const NULL: u8 = 0x05;
}

/// One message up to its data unit.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// 0, 1 or 3 (versions 1, 2c and 3).
    pub version: i64,
    /// Versions 1 and 2c: the community.
    pub community: &'a [u8],
    /// Version 3: how the message is secured.
    pub secured: Option<Secured<'a>>,
    /// The data unit; `None` where it is encrypted.
    pub pdu: Option<Element<'a>>,
    /// Bytes of the datagram behind the message.
    pub after: usize,
}

/// The header of version 3 with the user-based security parameters.
#[derive(Clone, Copy, Debug, Default)]
pub struct Secured<'a> {
    pub message: i64,
    pub authenticated: bool,
    pub encrypted: bool,
    pub reportable: bool,
    /// 3 is the user-based one; of others the parameters are not read.
    pub model: i64,
    pub engine: &'a [u8],
    pub boots: i64,
    pub seconds: i64,
    pub user: &'a [u8],
    pub context: &'a [u8],
    /// Octets of the encrypted data unit.
    pub encrypted_bytes: usize,
}

fn number(cursor: &mut Cursor<'_>, what: &'static str) -> Result<i64, Cut> {
    let at = cursor.cut(what);
    let element = asn1::expect(cursor, asn1::INTEGER, what)?;
    asn1::integer(element.body).ok_or(at)
}

fn octets<'a>(cursor: &mut Cursor<'a>, what: &'static str) -> Result<&'a [u8], Cut> {
    asn1::expect(cursor, asn1::OCTET_STRING, what).map(|element| element.body)
}

impl<'a> Message<'a> {
    /// Reads a message's beginning, strictly: whatever the grammar fixes is checked.
    pub fn read(bytes: &'a [u8]) -> Result<Message<'a>, Cut> {
        let mut whole = Cursor::new(bytes);
        let mut fields = asn1::expect(&mut whole, asn1::SEQUENCE, "message")?.inside();
        let version = number(&mut fields, "version")?;
        let after = whole.remaining();
        if version == 3 {
            let (secured, pdu) = secured(&mut fields)?;
            return Ok(Message { version, community: &[], secured: Some(secured), pdu, after });
        }
        fields.check(matches!(version, 0 | 1), "version")?;
        let community = octets(&mut fields, "community")?;
        fields.check(fields.peek().is_some_and(|tag| (pdu::GET..=pdu::REPORT).contains(&tag)), "pdu_type")?;
        let pdu = asn1::element(&mut fields, "pdu")?;
        Ok(Message { version, community, secured: None, pdu: Some(pdu), after })
    }
}

fn secured<'a>(fields: &mut Cursor<'a>) -> Result<(Secured<'a>, Option<Element<'a>>), Cut> {
    let mut header = asn1::expect(fields, asn1::SEQUENCE, "header_data")?.inside();
    let mut secured = Secured { message: number(&mut header, "message_id")?, ..Secured::default() };
    number(&mut header, "message_size")?;
    let flags = octets(&mut header, "message_flags")?;
    header.check(flags.len() == 1, "message_flags")?;
    let flags = flags.first().copied().unwrap_or_default();
    secured.authenticated = flags & 1 != 0;
    secured.encrypted = flags & 2 != 0;
    secured.reportable = flags & 4 != 0;
    secured.model = number(&mut header, "security_model")?;
    let parameters = octets(fields, "security_parameters")?;
    if secured.model == 3 {
        let mut inside = Cursor::new(parameters);
        let mut usm = asn1::expect(&mut inside, asn1::SEQUENCE, "usm")?.inside();
        secured.engine = octets(&mut usm, "engine_id")?;
        secured.boots = number(&mut usm, "engine_boots")?;
        secured.seconds = number(&mut usm, "engine_time")?;
        secured.user = octets(&mut usm, "user_name")?;
        octets(&mut usm, "authentication_parameters")?;
        octets(&mut usm, "privacy_parameters")?;
    }
    if secured.encrypted {
        secured.encrypted_bytes = octets(fields, "encrypted_pdu")?.len();
        return Ok((secured, None));
    }
    let mut scoped = asn1::expect(fields, asn1::SEQUENCE, "scoped_pdu")?.inside();
    let engine = octets(&mut scoped, "context_engine_id")?;
    if secured.engine.is_empty() {
        secured.engine = engine;
    }
    secured.context = octets(&mut scoped, "context_name")?;
    scoped.check(scoped.peek().is_some_and(|tag| (pdu::GET..=pdu::REPORT).contains(&tag)), "pdu_type")?;
    Ok((secured, Some(asn1::element(&mut scoped, "pdu")?)))
}

/// The numbers before a data unit's variables.
#[derive(Clone, Copy, Debug)]
pub struct Numbers {
    pub request: i64,
    /// Error status; of a bulk request the count of variables that are asked for once.
    pub first: i64,
    /// Error index; of a bulk request how often the others are asked for.
    pub second: i64,
}

/// What precedes the variables of a version 1 trap (RFC 1157, 4.1.6).
#[derive(Clone, Copy, Debug)]
pub struct Trap<'a> {
    pub enterprise: &'a [u8],
    pub agent: &'a [u8],
    pub generic: i64,
    pub specific: i64,
    pub ticks: u64,
}

/// Reads the beginning of any data unit but a version 1 trap; the cursor stays at its variables.
pub fn numbers(fields: &mut Cursor<'_>) -> Result<Numbers, Cut> {
    Ok(Numbers {
        request: number(fields, "request_id")?,
        first: number(fields, "error_status")?,
        second: number(fields, "error_index")?,
    })
}

/// Reads the beginning of a version 1 trap.
pub fn trap<'a>(fields: &mut Cursor<'a>) -> Result<Trap<'a>, Cut> {
    let enterprise = asn1::expect(fields, asn1::OBJECT_IDENTIFIER, "enterprise")?.body;
    let agent = asn1::expect(fields, tag::IP_ADDRESS, "agent_address")?.body;
    let generic = number(fields, "generic_trap")?;
    let specific = number(fields, "specific_trap")?;
    let at = fields.cut("time_stamp");
    let ticks = asn1::expect(fields, tag::TIME_TICKS, "time_stamp")?.body;
    Ok(Trap { enterprise, agent, generic, specific, ticks: asn1::unsigned(ticks).ok_or(at)? })
}

/// The list of variables, which ends a data unit.
pub fn variables<'a>(fields: &mut Cursor<'a>) -> Result<Cursor<'a>, Cut> {
    Ok(asn1::expect(fields, asn1::SEQUENCE, "variables")?.inside())
}

/// The next variable: its name and its value.
pub fn variable<'a>(list: &mut Cursor<'a>) -> Result<(&'a [u8], Value<'a>), Cut> {
    let mut fields = asn1::expect(list, asn1::SEQUENCE, "variable")?.inside();
    let name = asn1::expect(&mut fields, asn1::OBJECT_IDENTIFIER, "variable_name")?.body;
    let at = fields.cut("variable_value");
    let value = asn1::element(&mut fields, "variable_value")?;
    Ok((name, Value::of(value).ok_or(at)?))
}

/// A variable's value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// Not given: in requests, and where an old agent answers nothing.
    None,
    Signed(i64),
    Unsigned(u64),
    Ticks(u64),
    Float(f64),
    Octets(&'a [u8]),
    Name(&'a [u8]),
    Address([u8; 4]),
    /// Why there is no value (RFC 3416, 2.5).
    Exception(&'static str),
}

impl<'a> Value<'a> {
    /// `None` for what is no value, whatever its length.
    fn of(element: Element<'a>) -> Option<Value<'a>> {
        let body = element.body;
        Some(match element.tag {
            tag::NULL => Value::None,
            0x80 => Value::Exception("noSuchObject"),
            0x81 => Value::Exception("noSuchInstance"),
            0x82 => Value::Exception("endOfMibView"),
            asn1::OBJECT_IDENTIFIER => Value::Name(body),
            asn1::OCTET_STRING => Value::Octets(body),
            // Some agents give nothing where they have nothing.
            asn1::INTEGER | tag::IP_ADDRESS..=tag::UNSIGNED if body.is_empty() => Value::None,
            asn1::INTEGER => asn1::integer(body).map_or(Value::Octets(body), Value::Signed),
            tag::COUNTER | tag::GAUGE | tag::COUNTER_64 | tag::UNSIGNED => {
                asn1::unsigned(body).map_or(Value::Octets(body), Value::Unsigned)
            }
            tag::TIME_TICKS => asn1::unsigned(body).map_or(Value::Octets(body), Value::Ticks),
            tag::IP_ADDRESS => match *body {
                [a, b, c, d] => Value::Address([a, b, c, d]),
                _ => Value::Octets(body),
            },
            // Floating-point numbers are wrapped twice, as UCD-SNMP began to do.
            tag::OPAQUE => match *body {
                [0x9f, 0x78, 4, a, b, c, d] => Value::Float(f64::from(f32::from_be_bytes([a, b, c, d]))),
                [0x9f, 0x79, 8, a, b, c, d, e, f, g, h] => {
                    Value::Float(f64::from_be_bytes([a, b, c, d, e, f, g, h]))
                }
                _ => Value::Octets(body),
            },
            // Other simple types are shown as they are.
            0x01..=0x1e | 0x45 | 0x48..=0x4f => Value::Octets(body),
            _ => return None,
        })
    }

    /// The value as a number, where it is one that a device measures or counts.
    pub fn number(&self) -> Option<f64> {
        match *self {
            Value::Signed(n) => Some(n as f64),
            Value::Unsigned(n) => Some(n as f64),
            Value::Float(n) => Some(n),
            _ => None,
        }
    }
}
