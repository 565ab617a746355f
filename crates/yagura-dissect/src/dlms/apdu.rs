//! The application's PDUs (IEC 62056-5-3, 8 and annex A): associations, get, set, action, and their
//! data.

use yagura_event::rows::IdentityRow;
use yagura_event::vocabulary::operation;

use super::{Key, NAME};
use crate::asn1;
use crate::cursor::{Cursor, Cut};
use crate::exchange::Draft;
use crate::{Cx, Side, json};

/// Most elements of one response's data that are read.
const ELEMENTS_MAX: usize = 512;

/// What an APDU is.
pub(super) struct Kind {
    pub name: &'static str,
    pub does: &'static str,
    pub reply: bool,
    pub ciphered: bool,
    /// What pairs it; `None` for what stands alone, and for refusals of whatever waits.
    pub key: Option<Key>,
}

const ASSOCIATION: u8 = 0x60;
const RELEASE: u8 = 0x62;
const GET: u8 = 0xc0;
const SET: u8 = 0xc1;
const ACTION: u8 = 0xc3;
const READ: u8 = 0x05;
const WRITE: u8 = 0x06;

/// Whether a byte is the tag of an APDU.
pub(super) fn known(tag: u8) -> bool {
    named(tag).is_some()
}

/// Whether bytes are an APDU by their tag and what must follow it.
pub(super) fn plausible(bytes: &[u8]) -> bool {
    match bytes {
        [0x60..=0x63, length, rest @ ..] if *length < 0x80 => rest.len() == usize::from(*length),
        [0x60..=0x63, 0x81, length, rest @ ..] => rest.len() == usize::from(*length),
        [0xc0, 1..=3, _, ..] | [0xc1, 1..=5, _, ..] | [0xc3, 1..=6, _, ..] => bytes.len() >= 7,
        [0xc4, 1..=3, _, _, ..] | [0xc5, 1..=5, _, _, ..] | [0xc7, 1..=4, _, _, ..] => true,
        [0xd8, state, service] => *state < 6 && *service < 8,
        [0xc8..=0xd7, length, rest @ ..] if *length < 0x80 => rest.len() == usize::from(*length),
        [0xc8..=0xd7, 0x81, length, rest @ ..] => rest.len() == usize::from(*length),
        [0xdb | 0xdc, 8, ..] => bytes.len() > 14,
        [0x0f, _, _, _, _, ..] | [0xc2, 0 | 1, ..] => bytes.len() > 10,
        _ => false,
    }
}

/// Name, operation, the request's tag, whether it is a response, whether it is ciphered.
fn named(tag: u8) -> Option<(&'static str, &'static str, u8, bool, bool)> {
    Some(match tag {
        0x60 => ("aarq", operation::SESSION_OPEN, ASSOCIATION, false, false),
        0x61 => ("aare", operation::SESSION_OPEN, ASSOCIATION, true, false),
        0x62 => ("rlrq", operation::SESSION_CLOSE, RELEASE, false, false),
        0x63 => ("rlre", operation::SESSION_CLOSE, RELEASE, true, false),
        0x05 => ("read_request", operation::READ, READ, false, false),
        0x06 => ("write_request", operation::WRITE, WRITE, false, false),
        0x0c => ("read_response", operation::READ, READ, true, false),
        0x0d => ("write_response", operation::WRITE, WRITE, true, false),
        0x0e => ("confirmed_service_error", operation::ERROR, 0, true, false),
        0x0f => ("data_notification", operation::REPORT, 0, false, false),
        0x18 => ("information_report", operation::REPORT, 0, false, false),
        0xc0 => ("get_request", operation::READ, GET, false, false),
        0xc1 => ("set_request", operation::WRITE, SET, false, false),
        0xc2 => ("event_notification", operation::REPORT, 0, false, false),
        0xc3 => ("action_request", operation::CONTROL, ACTION, false, false),
        0xc4 => ("get_response", operation::READ, GET, true, false),
        0xc5 => ("set_response", operation::WRITE, SET, true, false),
        0xc7 => ("action_response", operation::CONTROL, ACTION, true, false),
        0xc8 | 0xd0 => ("ciphered_get_request", operation::READ, 0xc8, false, true),
        0xc9 | 0xd1 => ("ciphered_set_request", operation::WRITE, 0xc9, false, true),
        0xca | 0xd2 => ("ciphered_event_notification", operation::REPORT, 0, false, true),
        0xcb | 0xd3 => ("ciphered_action_request", operation::CONTROL, 0xcb, false, true),
        0xcc | 0xd4 => ("ciphered_get_response", operation::READ, 0xc8, true, true),
        0xcd | 0xd5 => ("ciphered_set_response", operation::WRITE, 0xc9, true, true),
        0xcf | 0xd7 => ("ciphered_action_response", operation::CONTROL, 0xcb, true, true),
        0xd8 => ("exception_response", operation::ERROR, 0, true, false),
        0xdb..=0xdd => ("general_ciphering", operation::OTHER, 0, false, true),
        0xdf => ("general_signing", operation::OTHER, 0, false, false),
        0xe0 => ("general_block_transfer", operation::OTHER, 0, false, false),
        _ => return None,
    })
}

pub(super) fn kind(tag: u8, body: &Cursor<'_>) -> Option<Kind> {
    let (name, does, pairs, reply, ciphered) = named(tag)?;
    // Get, set and action repeat the low bits of the invoke identifier.
    let invoke = match pairs {
        GET | SET | ACTION => body.rest().get(1).copied().unwrap_or(0) & 15,
        _ => 0,
    };
    let name = match (tag, body.peek()) {
        (0xc0, Some(2)) => "get_request_next",
        (0xc0, Some(3)) => "get_request_with_list",
        (0xc1, Some(2)) => "set_request_with_first_datablock",
        (0xc1, Some(3)) => "set_request_with_datablock",
        (0xc1, Some(4 | 5)) => "set_request_with_list",
        (0xc3, Some(2)) => "action_request_next_pblock",
        (0xc3, Some(3)) => "action_request_with_list",
        (0xc3, Some(4..=6)) => "action_request_with_pblock",
        _ => name,
    };
    Some(Kind { name, does, reply, ciphered, key: (pairs != 0).then_some((pairs, invoke)) })
}

pub(super) fn request(cx: &Cx<'_>, tag: u8, mut body: Cursor<'_>, draft: &mut Draft) -> Result<(), Cut> {
    match tag {
        0x60 => association(body, draft),
        0xc0 | 0xc1 | 0xc3 => {
            let choice = body.u8("choice")?;
            let invoke = body.u8("invoke_id")?;
            json::member_number(&mut draft.detail, "invoke_id", u64::from(invoke & 15));
            match (tag, choice) {
                (_, 1) => {}
                (0xc0, 2) => {
                    let block = body.u32_be("block_number")?;
                    json::member_number(&mut draft.detail, "block", u64::from(block));
                    return Ok(());
                }
                (_, 3 | 4) if tag != 0xc1 || choice == 4 => {
                    // A list: how many, and the first.
                    draft.set_count(u32::from(body.u8("count")?));
                    return descriptor(tag, &mut body, draft).map(|_| ());
                }
                (0xc1, 2) | (0xc3, 4) => {}
                _ => return Ok(()),
            }
            let (class, member) = descriptor(tag, &mut body, draft)?;
            if tag == 0xc0 {
                let selective = body.peek() == Some(1);
                if selective {
                    json::member_bool(&mut draft.detail, "selective_access", true);
                }
                return Ok(());
            }
            // A set's selection or an action's optional parameters.
            let present = body.u8("selection")? != 0;
            if tag == 0xc1 && present {
                return Ok(());
            }
            if tag == 0xc3 && !present {
                return Ok(());
            }
            content(cx, tag, class, member, body, draft);
            Ok(())
        }
        0x0f | 0xc2 => Ok(()),
        _ => Ok(()),
    }
}

/// What is written: values, except firmware, which leaves its seal, and secrets, which leave nothing.
fn content(cx: &Cx<'_>, tag: u8, class: u16, member: u8, mut body: Cursor<'_>, draft: &mut Draft) {
    match class {
        // Image transfer; association and security objects hold secrets and keys.
        18 if tag == 0xc3 => draft.seal(&cx.settings.plant_key, body.rest()),
        12 | 15 | 64 => json::member_bool(&mut draft.detail, "secret_presented", member > 0),
        _ => {
            elements(&mut body, draft);
        }
    }
}

/// Class, instance (OBIS) and attribute or method: the target.
fn descriptor(tag: u8, body: &mut Cursor<'_>, draft: &mut Draft) -> Result<(u16, u8), Cut> {
    let class = body.u16_be("class_id")?;
    let [a, b, c, d, e, f] = body.array("instance_id")?;
    let member = body.u8("attribute_id")?;
    let what = if tag == ACTION { "method" } else { "attribute" };
    draft.target = format!("{a}-{b}:{c}.{d}.{e}*{f} {what} {member}");
    json::member_number(&mut draft.detail, "class", u64::from(class));
    draft.operation = match (tag, class) {
        (GET, _) => operation::READ,
        (ACTION, 18) => operation::PROGRAM_WRITE,
        (ACTION, 15) => operation::AUTHENTICATE,
        (_, 12 | 15 | 17 | 64 | 8 | 40..=48) => operation::CONFIGURE,
        (SET, _) => operation::WRITE,
        _ => operation::CONTROL,
    };
    Ok((class, member))
}

/// An association's request: context, mechanism, and that a secret came with it.
fn association(mut outer: Cursor<'_>, draft: &mut Draft) -> Result<(), Cut> {
    let mut body = length(&mut outer)?;
    while !body.is_empty() {
        let element = asn1::element(&mut body, "element")?;
        let last = element.body.last().copied().unwrap_or(0);
        let detail = &mut draft.detail;
        match element.tag {
            0xa1 => json::member_text(
                detail,
                "context",
                match last {
                    1 => "logical_names",
                    2 => "short_names",
                    3 => "logical_names_ciphered",
                    4 => "short_names_ciphered",
                    _ => "unknown",
                },
            ),
            0x8b => {
                let mechanism = match last {
                    0 => "lowest",
                    1 => "low",
                    2 => "high",
                    3 => "high_md5",
                    4 => "high_sha1",
                    5 => "high_gmac",
                    6 => "high_sha256",
                    7 => "high_ecdsa",
                    _ => "unknown",
                };
                json::member_text(detail, "mechanism", mechanism);
            }
            0xa6 => {
                json::key(detail, "system_title");
                json::push_hex(detail, element.body.get(2..).unwrap_or_default());
            }
            0xac => {
                let secret = element.body.get(2..).unwrap_or_default();
                json::member_bool(detail, "password_presented", !secret.is_empty());
                draft.operation = operation::AUTHENTICATE;
            }
            _ => {}
        }
    }
    Ok(())
}

/// A length in BER, and what it counts.
fn length<'a>(cursor: &mut Cursor<'a>) -> Result<Cursor<'a>, Cut> {
    let length = match cursor.u8("length")? {
        0x81 => usize::from(cursor.u8("length")?),
        0x82 => usize::from(cursor.u16_be("length")?),
        short if short < 0x80 => usize::from(short),
        _ => return Err(cursor.cut("length")),
    };
    cursor.part(length, "length")
}

pub(super) fn response(
    cx: &mut Cx<'_>,
    side: Side,
    tag: u8,
    mut body: Cursor<'_>,
    draft: &mut Draft,
) -> Result<(), Cut> {
    match tag {
        0x61 => accepted(body, draft),
        0xc4 => {
            let choice = body.u8("choice")?;
            body.skip(1, "invoke_id")?;
            match choice {
                1 => match body.u8("result")? {
                    0 => values(cx, side, body, draft),
                    _ => refuse(body.u8("result")?, draft),
                },
                2 => {
                    let last = body.u8("last_block")? != 0;
                    json::member_bool(&mut draft.detail, "last_block", last);
                    let block = body.u32_be("block_number")?;
                    json::member_number(&mut draft.detail, "reply_block", u64::from(block));
                    if body.u8("result")? != 0 {
                        refuse(body.u8("result")?, draft);
                    }
                }
                _ => {}
            }
            Ok(())
        }
        0xc5 | 0xc7 => {
            let choice = body.u8("choice")?;
            body.skip(1, "invoke_id")?;
            if choice == 1 {
                refuse(body.u8("result")?, draft);
            }
            Ok(())
        }
        0x0e => {
            draft.deny("confirmed_service_error");
            Ok(())
        }
        0xd8 => {
            let state = body.u8("state_error")?;
            let service = body.u8("service_error")?;
            draft.deny(match (state, service) {
                (1, _) => "service_not_allowed",
                (2, _) => "service_unknown",
                (_, 1) => "operation_not_possible",
                (_, 2) => "service_not_supported",
                (_, 5) => "deciphering_error",
                _ => "exception_response",
            });
            Ok(())
        }
        _ => Ok(()),
    }
}

fn accepted(mut outer: Cursor<'_>, draft: &mut Draft) -> Result<(), Cut> {
    let mut body = length(&mut outer)?;
    let (mut result, mut diagnostic) = (0, 0);
    while !body.is_empty() {
        let element = asn1::element(&mut body, "element")?;
        let last = element.body.last().copied().unwrap_or(0);
        match element.tag {
            0xa2 => result = last,
            0xa3 => diagnostic = last,
            0xa4 => {
                json::key(&mut draft.detail, "server_system_title");
                json::push_hex(&mut draft.detail, element.body.get(2..).unwrap_or_default());
            }
            _ => {}
        }
    }
    match (result, diagnostic) {
        (0, 14) => json::member_bool(&mut draft.detail, "authentication_required", true),
        (0, _) => {}
        (_, 2) => draft.deny("application_context_name_not_supported"),
        (_, 11) => draft.deny("authentication_mechanism_name_not_recognised"),
        (_, 12) => draft.deny("authentication_mechanism_name_required"),
        (_, 13) => draft.deny("authentication_failure"),
        (_, 14) => draft.deny("authentication_required"),
        (1, _) => draft.deny("rejected_permanent"),
        _ => draft.deny("rejected_transient"),
    }
    Ok(())
}

fn refuse(result: u8, draft: &mut Draft) {
    match result {
        0 => {}
        1 => draft.deny("hardware_fault"),
        2 => draft.deny("temporary_failure"),
        3 => draft.deny("read_write_denied"),
        4 => draft.deny("object_undefined"),
        9 => draft.deny("object_class_inconsistent"),
        11 => draft.deny("object_unavailable"),
        12 => draft.deny("type_unmatched"),
        13 => draft.deny("scope_of_access_violated"),
        14 => draft.deny("data_block_unavailable"),
        15 => draft.deny("long_get_aborted"),
        16 => draft.deny("no_long_get_in_progress"),
        17 => draft.deny("long_set_aborted"),
        18 => draft.deny("no_long_set_in_progress"),
        19 => draft.deny("data_block_number_invalid"),
        _ => draft.deny("other_reason"),
    }
}

/// The data of a get: a register's number is a sample, a name is an identity.
fn values(cx: &mut Cx<'_>, side: Side, mut body: Cursor<'_>, draft: &mut Draft) {
    let secret = ["\"class\":12,", "\"class\":15,", "\"class\":64,"].iter().any(|c| draft.detail.contains(c));
    if secret && !draft.target.ends_with("attribute 1") {
        return;
    }
    let Leaf { number, text } = elements(&mut body, draft);
    let Some(signal) = draft.target.strip_suffix(" attribute 2") else {
        return;
    };
    if let Some(value) = number.filter(|_| draft.count() == 1) {
        cx.measured(side, signal, "dlms get", value, 0);
    }
    let text = text.as_deref().unwrap_or_default();
    let row = match signal {
        _ if text.is_empty() => return,
        // Logical device name; device identifiers; firmware.
        "0-0:42.0.0*255" => {
            IdentityRow { name: text, vendor: text.get(..3).unwrap_or(""), ..Default::default() }
        }
        "0-0:96.1.0*255" => IdentityRow { serial: text, ..Default::default() },
        "1-0:0.2.0*255" | "0-0:0.2.0*255" => IdentityRow { firmware: text, ..Default::default() },
        _ => return,
    };
    cx.identity(NAME, side, row);
}

/// The last number and text of a run of data.
#[derive(Default)]
struct Leaf {
    number: Option<f64>,
    text: Option<String>,
}

/// Data with its types: arrays and structures are passed into, so that their elements come in turn.
fn elements(body: &mut Cursor<'_>, draft: &mut Draft) -> Leaf {
    let mut leaf = Leaf::default();
    for _ in 0..ELEMENTS_MAX {
        if body.is_empty() {
            return leaf;
        }
        match element(body) {
            Ok(Value::Inside) => {}
            Ok(Value::Number(number)) => {
                draft.push_value(number);
                leaf.number = Some(number);
            }
            Ok(Value::Text(text)) => {
                draft.push_text(&text);
                leaf.text = Some(text);
            }
            Ok(Value::Bytes(bytes)) => draft.push_bytes(bytes),
            Ok(Value::Null) => draft.push_json("null"),
            Err(_) => break,
        }
    }
    json::member_bool(&mut draft.detail, "data_cut", true);
    leaf
}

enum Value<'a> {
    Null,
    Inside,
    Number(f64),
    Text(String),
    Bytes(&'a [u8]),
}

fn element<'a>(body: &mut Cursor<'a>) -> Result<Value<'a>, Cut> {
    Ok(match body.u8("type")? {
        0 => Value::Null,
        1 | 2 => {
            let count = body.u8("count")?;
            if count >= 0x80 {
                body.skip(usize::from(count & 0x7f), "count")?;
            }
            Value::Inside
        }
        0x03 => Value::Number(f64::from(u8::from(body.u8("boolean")? != 0))),
        0x04 => {
            let bits = usize::from(body.u8("bit_string")?);
            Value::Bytes(body.take(bits.div_ceil(8), "bit_string")?)
        }
        0x05 => Value::Number(f64::from(body.i32_be("integer")?)),
        0x06 => Value::Number(f64::from(body.u32_be("integer")?)),
        0x09 => {
            let octets = length(body)?.take_rest();
            // Names are octet strings as often as visible ones.
            let letters = octets.len() > 2 && octets.iter().all(|b| matches!(b, b' '..=b'~'));
            if letters {
                Value::Text(String::from_utf8_lossy(octets).into_owned())
            } else {
                Value::Bytes(octets)
            }
        }
        0x0a | 0x0c => Value::Text(String::from_utf8_lossy(length(body)?.take_rest()).into_owned()),
        0x0d => Value::Number(f64::from(body.u8("bcd")?)),
        0x0f => Value::Number(f64::from(body.array::<1>("integer").map(i8::from_be_bytes)?)),
        0x10 => Value::Number(f64::from(body.i16_be("integer")?)),
        0x11 | 0x16 => Value::Number(f64::from(body.u8("integer")?)),
        0x12 => Value::Number(f64::from(body.u16_be("integer")?)),
        0x14 => Value::Number(body.i64_be("integer")? as f64),
        0x15 => Value::Number(body.u64_be("integer")? as f64),
        0x17 => Value::Number(f64::from(body.f32_be("float")?)),
        0x18 => Value::Number(body.f64_be("float")?),
        0x19 => Value::Bytes(body.take(12, "date_time")?),
        0x1a => Value::Bytes(body.take(5, "date")?),
        0x1b => Value::Bytes(body.take(4, "time")?),
        _ => return Err(body.cut("type")),
    })
}
