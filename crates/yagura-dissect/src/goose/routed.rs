//! GOOSE and sampled values over UDP (IEC TR 61850-90-5, clause 8): a connectionless transport's
//! header, the session's, and one or more payloads.

use super::header;
use crate::cursor::{Cursor, Cut};
use crate::{Cx, Glimpse, Probe, Transport};

/// What a payload is.
pub(crate) mod payload {
    pub const GOOSE: u8 = 0x81;
    pub const SAMPLED_VALUES: u8 = 0x82;
}

/// Session identifiers: tunnelled, GOOSE, sampled values, management.
const SESSIONS: std::ops::RangeInclusive<u8> = 0xa0..=0xa3;
/// Lengths, numbers, key times and algorithms of the common header: 22, but some relays write a byte
/// less of the key's identifier, which is the last.
const COMMON: usize = 21;

/// A session's unit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Session<'a> {
    /// Whether the payloads are encrypted.
    pub encrypted: bool,
    user: Cursor<'a>,
}

/// A payload: what Ethernet's header says in a frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Payload<'a> {
    pub kind: u8,
    pub simulated: bool,
    pub id: u16,
    pub apdu: &'a [u8],
}

impl<'a> Session<'a> {
    /// Reads the headers of a datagram.
    pub fn read(bytes: &'a [u8]) -> Result<Session<'a>, Cut> {
        let mut cursor = Cursor::new(bytes);
        let transport: [u8; 2] = cursor.array("transport")?;
        cursor.check(transport == [1, 0x40], "transport")?;
        let kind = cursor.u8("session_identifier")?;
        cursor.check(SESSIONS.contains(&kind), "session_identifier")?;
        let length = usize::from(cursor.u8("session_length")?);
        let mut header = cursor.part(length, "session_length")?;
        let common = header.u8("common_header")?;
        header.check(common == 0x80, "common_header")?;
        let length = usize::from(header.u8("common_header_length")?);
        header.check(length >= COMMON, "common_header_length")?;
        let mut common = header.part(length, "common_header_length")?;
        common.skip(8, "spdu_number")?;
        common.skip(8, "key_times")?;
        let encrypted = common.u8("encryption")? != 0;
        let length = cursor.u32_be("user_length")? as usize;
        let user = cursor.part(length.min(cursor.remaining()), "user_length")?;
        Ok(Session { encrypted, user })
    }

    /// The next payload.
    pub fn next(&mut self) -> Result<Option<Payload<'a>>, Cut> {
        let c = &mut self.user;
        // What follows the payloads is the signature.
        if !matches!(c.peek(), Some(payload::GOOSE | payload::SAMPLED_VALUES)) {
            return Ok(None);
        }
        let kind = c.u8("payload")?;
        let simulated = c.u8("simulation")? != 0;
        let id = c.u16_be("appid")?;
        let length = usize::from(c.u16_be("apdu_length")?);
        let apdu = c.take(length, "apdu_length")?;
        Ok(Some(Payload { kind, simulated, id, apdu }))
    }
}

/// Hands on every payload of that kind: the one of a frame, those of a datagram. That a session is
/// encrypted is said once, which `opaque` remembers.
pub(crate) fn each(
    cx: &mut Cx<'_>,
    (protocol, kind): (&'static str, u8),
    opaque: &mut bool,
    bytes: &[u8],
    mut read: impl FnMut(&mut Cx<'_>, &Payload<'_>) -> Result<(), Cut>,
) -> Result<(), Cut> {
    if cx.flow.transport != Transport::Udp {
        let (id, simulated, apdu) = header(bytes)?;
        return read(cx, &Payload { kind, simulated, id, apdu });
    }
    let mut session = Session::read(bytes)?;
    if session.encrypted {
        if !std::mem::replace(opaque, true) {
            cx.opaque(protocol, "the session is encrypted");
        }
        return Ok(());
    }
    while let Some(payload) = session.next()? {
        if payload.kind == kind {
            read(cx, &payload)?;
        }
    }
    Ok(())
}

/// Whether a datagram is a session that carries this kind of payload.
pub(crate) fn probe(glimpse: &Glimpse<'_>, kind: u8) -> Probe {
    let Ok(mut session) = Session::read(glimpse.bytes) else { return Probe::No };
    match session.next() {
        Ok(Some(payload)) if payload.kind == kind => Probe::Yes,
        // Encrypted ones are told by the session alone.
        Ok(None) if session.encrypted && glimpse.bytes.get(2) == Some(&(kind + 0x20)) => Probe::Yes,
        _ => Probe::No,
    }
}
