//! What lies between the transport and MMS: units of the ISO session (X.225, 8.3), presentation
//! data values (X.226, 8.4), and ACSE's association (X.227, 9).

use super::ber::{Tlv, application, context, element, universal};
use super::{ISO_9506_2, is_apdu};
use crate::Probe;
use crate::cursor::{Cursor, Cut};
use crate::exchange::Draft;
use crate::json;

pub(super) const CONNECT: u8 = 13;
pub(super) const ACCEPT: u8 = 14;
pub(super) const REFUSE: u8 = 12;
pub(super) const FINISH: u8 = 9;
pub(super) const DISCONNECT: u8 = 10;
pub(super) const ABORT: u8 = 25;
/// Gives tokens and transfers data: one number for both.
const DATA: u8 = 1;
const PLEASE_TOKENS: u8 = 2;
const NOT_FINISHED: u8 = 8;
const ABORT_ACCEPT: u8 = 26;

/// The presentation's user data.
const USER_DATA: u32 = application(1);
/// Most values of one unit.
const VALUES_MAX: usize = 64;

/// One unit: its kind, and the presentation's bytes in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unit<'a> {
    pub kind: u8,
    pub user: &'a [u8],
}

impl<'a> Unit<'a> {
    /// Reads the units that a transport's unit holds; what comes before the data is passed.
    pub fn read(bytes: &'a [u8]) -> Result<Unit<'a>, Cut> {
        let mut cursor = Cursor::new(bytes);
        loop {
            let kind = cursor.u8("spdu_identifier")?;
            let length = length(&mut cursor)?;
            let mut parameters = cursor.part(length, "spdu_length")?;
            match kind {
                // A unit that gives or asks for tokens is followed by another.
                DATA | PLEASE_TOKENS if matches!(cursor.peek(), Some(DATA | PLEASE_TOKENS)) => {}
                DATA => return Ok(Unit { kind, user: cursor.take_rest() }),
                CONNECT | ACCEPT | REFUSE | FINISH | DISCONNECT | ABORT => {
                    let mut user: &[u8] = &[];
                    while !parameters.is_empty() {
                        let parameter = parameters.u8("session_parameter")?;
                        let length = self::length(&mut parameters)?;
                        let value = parameters.take(length, "session_parameter_length")?;
                        if matches!(parameter, 193 | 194) {
                            user = value;
                        }
                    }
                    return Ok(Unit { kind, user });
                }
                PLEASE_TOKENS | NOT_FINISHED | ABORT_ACCEPT => return Ok(Unit { kind, user: &[] }),
                _ => return Err(cursor.cut("spdu_identifier")),
            }
        }
    }
}

/// A length in one byte, or in two after a byte of ones.
fn length(cursor: &mut Cursor<'_>) -> Result<usize, Cut> {
    match cursor.u8("spdu_length")? {
        0xff => cursor.u16_be("spdu_length").map(usize::from),
        short => Ok(usize::from(short)),
    }
}

/// The values of a presentation's unit: what is not theirs (an empty or aborting unit) has none.
pub(super) fn values(user: &[u8]) -> Result<Vec<Tlv<'_>>, Cut> {
    let mut out = Vec::new();
    if user.is_empty() {
        return Ok(out);
    }
    let unit = element(&mut Cursor::new(user), "presentation_unit")?;
    let normal = |unit: &Tlv<'_>| unit.tag == universal(17) || unit.tag == universal(16);
    let data = if unit.tag == USER_DATA {
        Some(unit)
    } else if normal(&unit) || unit.tag == context(0) {
        let within = unit.child(USER_DATA);
        within.or_else(|| unit.child(context(2)).and_then(|mode| mode.child(USER_DATA)))
    } else {
        return Err(Cut { what: "presentation_unit", at: 0 });
    };
    for list in data.iter().flat_map(Tlv::children).take(VALUES_MAX) {
        if list.tag != universal(16) {
            return Err(Cut { what: "presentation_data_values", at: 0 });
        }
        let Some(value) = list.children().find(|v| v.tag == context(0) || v.tag == context(1)) else {
            continue;
        };
        out.push(element(&mut Cursor::new(value.body), "presentation_data_value")?);
    }
    Ok(out)
}

/// What an ACSE unit carries for the application: the `EXTERNAL` in its user information.
pub(super) fn user_information<'a>(apdu: &Tlv<'a>) -> Option<Tlv<'a>> {
    let external = apdu.child(context(30))?.child(universal(8))?;
    let value = external.children().find(|v| v.tag == context(0) || v.tag == context(1))?;
    element(&mut Cursor::new(value.body), "user_information").ok()
}

/// What is said when an association is opened (`AARQ`) or confirmed (`AARE`).
pub(super) fn association(draft: &mut Draft, apdu: &Tlv<'_>, asks: bool) {
    let oid = |draft: &mut Draft, name: &str, value: Option<Tlv<'_>>| {
        if let Some(value) = value {
            json::key(&mut draft.detail, name);
            draft.detail.push('"');
            crate::asn1::push_oid(&mut draft.detail, value.body);
            draft.detail.push('"');
        }
    };
    let inside = |number: u32| apdu.child(context(number)).and_then(|value| value.children().next());
    if asks {
        oid(draft, "application_context", inside(1));
        oid(draft, "called_ap_title", inside(2));
        oid(draft, "calling_ap_title", inside(6));
        authentication(draft, apdu, 11, 12, "authentication");
        return;
    }
    authentication(draft, apdu, 9, 10, "responder_authentication");
    let result = inside(2).and_then(|result| result.unsigned()).unwrap_or(0);
    if result != 0 {
        let source = inside(3);
        let diagnostic = source.and_then(|source| source.children().next()).and_then(|d| d.unsigned());
        let user = source.is_none_or(|source| source.tag == context(1));
        draft.deny(match (user, diagnostic) {
            (true, Some(2)) => "application_context_name_not_supported",
            (true, Some(3)) => "calling_ap_title_not_recognized",
            (true, Some(7)) => "called_ap_title_not_recognized",
            (true, Some(11)) => "authentication_mechanism_name_not_recognized",
            (true, Some(12)) => "authentication_mechanism_name_required",
            (true, Some(13)) => "authentication_failure",
            (true, Some(14)) => "authentication_required",
            _ if result == 1 => "rejected_permanent",
            _ => "rejected_transient",
        });
    }
}

/// Whether credentials are presented, and by which mechanism; never the credentials.
fn authentication(draft: &mut Draft, apdu: &Tlv<'_>, mechanism: u32, value: u32, name: &str) {
    if let Some(mechanism) = apdu.child(context(mechanism)) {
        json::key(&mut draft.detail, &format!("{name}_mechanism"));
        draft.detail.push('"');
        crate::asn1::push_oid(&mut draft.detail, mechanism.body);
        draft.detail.push('"');
    }
    if let Some(value) = apdu.child(context(value)) {
        let kind = match value.children().next().and_then(|value| value.choice()) {
            Some(0) => "password",
            Some(1) => "bit_string",
            Some(2) => "external",
            _ => "other",
        };
        json::member_text(&mut draft.detail, name, kind);
    }
}

/// Whether a first unit of a session is MMS'. One that opens a session names MMS among its
/// contexts; one that transfers data has a value with the tag of one of its PDUs.
pub(super) fn probe(data: &[u8], customary: bool) -> Probe {
    let names_mms = || data.windows(ISO_9506_2.len()).any(|window| window == ISO_9506_2);
    match *data {
        [CONNECT | ACCEPT, length, parameter, ..]
            if length as usize + 2 == data.len() || length == 0xff || matches!(parameter, 5 | 193) =>
        {
            match Unit::read(data) {
                Ok(unit) if names_mms() || carries(unit.user) == Some(true) => Probe::Yes,
                // What accepts repeats no names: in the middle of a connection its port decides.
                Ok(_) if customary && data[0] == ACCEPT => Probe::Yes,
                Ok(_) => Probe::No,
                Err(_) if names_mms() => Probe::Yes,
                Err(_) if data.len() < 1024 => Probe::More,
                Err(_) => Probe::No,
            }
        }
        [DATA, ..] | [PLEASE_TOKENS, ..] => {
            // Short data is told by its beginning: two empty units and the presentation's tag.
            let begins = data.iter().zip([1, 0, 1, 0, 0x61]).all(|(byte, fixed)| *byte == fixed);
            if !begins {
                return Probe::No;
            }
            match Unit::read(data).map(|unit| values(unit.user)) {
                Ok(Ok(values)) if !values.is_empty() && values.iter().all(is_apdu) => Probe::Yes,
                Ok(Ok(_)) => Probe::No,
                _ if data.len() < 24 => Probe::More,
                // Of a unit in several parts the first has the tag: `61 .. 30 .. 02 01 03 a0 .. a1`.
                _ => match head(data) {
                    true => Probe::Yes,
                    false => Probe::No,
                },
            }
        }
        [0xa8 | 0xa9, ..] => match left_out(data) {
            Some(apdu) if initiates(&apdu) => Probe::Yes,
            Some(_) => Probe::No,
            None if data.len() < 64 => Probe::More,
            None => Probe::No,
        },
        [] | [CONNECT | ACCEPT] | [CONNECT | ACCEPT, _] => Probe::More,
        _ => Probe::No,
    }
}

/// The PDU that a transport's unit is when session and presentation are left out.
pub(super) fn left_out(data: &[u8]) -> Option<Tlv<'_>> {
    let mut cursor = Cursor::new(data);
    let apdu = element(&mut cursor, "mms_pdu").ok()?;
    (apdu.tag >= context(0) && is_apdu(&apdu) && cursor.is_empty()).then_some(apdu)
}

/// Whether a PDU is an `Initiate` with both of its mandatory numbers and what follows them (ISO
/// 9506-2, 8.2).
fn initiates(apdu: &Tlv<'_>) -> bool {
    let number = |tag: u32| apdu.child(context(tag)).is_some_and(|n| matches!(n.body.len(), 1..=4));
    let within =
        |tag: u32| apdu.child(context(4)).is_some_and(|details| details.child(context(tag)).is_some());
    number(1) && number(2) && (0..=2).all(within)
}

/// Whether what a connection's opening carries is MMS' own `Initiate`.
fn carries(user: &[u8]) -> Option<bool> {
    let values = values(user).ok()?;
    let inner = values.first().and_then(user_information)?;
    Some(matches!(inner.choice(), Some(8..=10)))
}

/// Whether data that is not whole begins like a value with one of MMS' PDUs.
fn head(data: &[u8]) -> bool {
    let mut cursor = Cursor::new(data);
    let mut enter = |tag: u8| -> Option<()> {
        (cursor.u8("").ok()? == tag).then_some(())?;
        let length = cursor.u8("").ok()?;
        if length > 0x80 { cursor.skip(usize::from(length & 0x7f), "").ok() } else { Some(()) }
    };
    let read = (|| {
        enter(1)?;
        enter(1)?;
        enter(0x61)?;
        enter(0x30)
    })();
    if read.is_none() || element(&mut cursor, "").map(|context| context.tag) != Ok(universal(2)) {
        return false;
    }
    let mut enter = || -> Option<u8> {
        let tag = cursor.u8("").ok()?;
        let length = cursor.u8("").ok()?;
        if length > 0x80 {
            cursor.skip(usize::from(length & 0x7f), "").ok()?;
        }
        Some(tag)
    };
    enter() == Some(0xa0) && enter().is_some_and(|tag| matches!(tag, 0xa0..=0xa4))
}
