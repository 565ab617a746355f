//! DLMS/COSEM (IEC 62056-5-3, -6-1, -6-2, -8-3): meters. The application's PDUs come behind the
//! wrapper of IEC 62056-4-7 or in HDLC frames (IEC 62056-46) on a stream.
//!
//! Acknowledgements of the HDLC layer are not messages and make no row.

use yagura_event::clock::{Micros, SECOND};
use yagura_event::vocabulary::operation;

use crate::cursor::{Cursor, Cut};
use crate::exchange::{Draft, Exchanges};
use crate::framing::{Frame, Framed, Framing};
use crate::{Carrier, Cx, Dissector, FlowInfo, Glimpse, Probe, Protocol, Side, Transport, json};

mod apdu;

/// The registry's entry.
pub const PROTOCOL: Protocol = Protocol {
    name: NAME,
    carriers: &[Carrier::tcp(&[4059]), Carrier::udp(&[4059])],
    probe,
    start,
    buffer_bytes_max: WRAPPER + 65_535,
    #[cfg(test)]
    sample: tests::sample,
};

const NAME: &str = "dlms";
const TIMEOUT: Micros = 60 * SECOND;
/// Version, source and destination wrapper port, length.
const WRAPPER: usize = 8;
const FLAG: u8 = 0x7e;
/// Longest APDU that is put together from HDLC segments.
const APDU_MAX: usize = 64 * 1024;

fn start(_flow: &FlowInfo) -> Box<dyn Dissector> {
    Box::new(Framing::new(Dlms {
        exchanges: Exchanges::new(NAME, TIMEOUT),
        segments: Default::default(),
        opaque: false,
        framing: None,
    }))
}

fn probe(glimpse: &Glimpse<'_>) -> Probe {
    let bytes = glimpse.bytes;
    let stream = glimpse.transport == Transport::Tcp;
    match frame(bytes) {
        Frame::Of(length) if length <= bytes.len() => {
            let one = &bytes[..length];
            let (rest, apdu) = (&bytes[length..], if one[0] == FLAG { None } else { one.get(WRAPPER..) });
            let follows = rest.is_empty() || stream && !matches!(frame(rest), Frame::Bad(_));
            if apdu.is_none_or(apdu::plausible) && follows { Probe::Yes } else { Probe::No }
        }
        Frame::Of(_) | Frame::More if stream => match bytes {
            // What is there must be an application's PDU, too.
            [0, 1, _, _, _, _, _, _, tag, ..] if !apdu::known(*tag) => Probe::No,
            _ => Probe::More,
        },
        _ => Probe::No,
    }
}

fn frame(bytes: &[u8]) -> Frame {
    match *bytes {
        [FLAG, format, low, ..] if format & 0xf0 == 0xa0 => {
            let length = usize::from(format & 7) << 8 | usize::from(low);
            if length < 7 {
                return Frame::Bad("hdlc_length");
            }
            let Some(frame) = bytes.get(1..=length) else {
                return Frame::Of(length + 2);
            };
            match bytes.get(length + 1) {
                Some(&FLAG) | None if checksum(frame) == 0xf0b8 => Frame::Of(length + 2),
                _ => Frame::Bad("hdlc_check"),
            }
        }
        [FLAG, format] if format & 0xf0 == 0xa0 => Frame::More,
        [FLAG] | [] | [0] => Frame::More,
        [0, 1, _, _, _, _, high, low, ..] => match usize::from(u16::from_be_bytes([high, low])) {
            0 | 1 => Frame::Bad("wrapper_length"),
            length => Frame::Of(WRAPPER + length),
        },
        [0, 1, ..] => Frame::More,
        _ => Frame::Bad("header"),
    }
}

/// The frame check sequence of ISO/IEC 13239 over a frame with its own: always the same.
fn checksum(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0xffff, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0x8408 } else { crc >> 1 })
    })
}

/// What answers what: the association, its release, the link, and services by invoke identifier.
type Key = (u8, u8);

const LINK: u8 = 0x93;

struct Dlms {
    exchanges: Exchanges<Key>,
    /// An APDU that comes in HDLC segments.
    segments: [Vec<u8>; 2],
    opaque: bool,
    /// The first byte of the frames of this connection, once one was read.
    framing: Option<u8>,
}

impl Framed for Dlms {
    const PROTOCOL: &'static str = NAME;

    fn frame(&self, _side: Side, bytes: &[u8]) -> Frame {
        match (self.framing, bytes.first()) {
            (Some(known), Some(first)) if known != *first => Frame::Bad("header"),
            _ => frame(bytes),
        }
    }

    fn read(&mut self, cx: &mut Cx<'_>, side: Side, frame: &[u8]) -> Result<(), Cut> {
        let mut cursor = Cursor::new(frame);
        self.framing = cursor.peek();
        if cursor.peek() == Some(FLAG) {
            return self.hdlc(cx, side, cursor);
        }
        cursor.skip(2, "version")?;
        let (source, destination) = (cursor.u16_be("source")?, cursor.u16_be("destination")?);
        cursor.skip(2, "length")?;
        self.apdu(cx, side, (u32::from(source), u32::from(destination)), cursor)
    }

    fn lost(&mut self, _cx: &mut Cx<'_>, side: Side) {
        self.segments[side as usize].clear();
    }

    fn expire(&mut self, cx: &mut Cx<'_>) {
        self.exchanges.expire(cx);
    }

    fn close(&mut self, cx: &mut Cx<'_>) {
        self.exchanges.close(cx);
    }
}

/// An HDLC address: seven bits a byte, the last one has its low bit set.
fn address(cursor: &mut Cursor<'_>) -> Result<u32, Cut> {
    let mut value = 0;
    for _ in 0..4 {
        let byte = cursor.u8("address")?;
        value = value << 7 | u32::from(byte >> 1);
        if byte & 1 == 1 {
            return Ok(value);
        }
    }
    Err(cursor.cut("address"))
}

impl Dlms {
    fn hdlc(&mut self, cx: &mut Cx<'_>, side: Side, mut cursor: Cursor<'_>) -> Result<(), Cut> {
        cursor.skip(1, "flag")?;
        let segmented = cursor.u16_be("format")? & 0x0800 != 0;
        let destination = address(&mut cursor)?;
        let source = address(&mut cursor)?;
        let control = cursor.u8("control")?;
        // Two checks when there is information, one when there is none, and the flag.
        let information = match cursor.remaining() {
            ..=3 => &[],
            long => {
                cursor.skip(2, "header_check")?;
                cursor.take(long.saturating_sub(5), "information")?
            }
        };
        let ends = (source, destination);
        match control & 0xef {
            0x83 | 0x43 => {
                let opens = control & 0xef == 0x83;
                let (does, name) = if opens {
                    (operation::SESSION_OPEN, "snrm")
                } else {
                    (operation::SESSION_CLOSE, "disc")
                };
                let mut draft = self.draft(cx, side, ends, does, name);
                json::member_text(&mut draft.detail, "framing", "hdlc");
                self.exchanges.ask(cx, (LINK, 0), draft);
            }
            answer @ (0x63 | 0x0f) => {
                let Some(mut draft) = self.exchanges.answered(side, &(LINK, 0)) else {
                    let draft = self.draft(cx, side, ends, operation::SESSION_OPEN, "ua");
                    self.exchanges.unasked(cx, draft);
                    return Ok(());
                };
                if answer == 0x0f {
                    draft.deny("disconnected_mode");
                }
                self.exchanges.pair(cx, draft);
            }
            0x87 => {
                let mut draft = self.draft(cx, side, ends, operation::ERROR, "frame_reject");
                draft.deny("frame_reject");
                self.exchanges.one_way(cx, draft);
            }
            frame if frame & 1 == 0 || frame == 0x03 => {
                let buffer = &mut self.segments[side as usize];
                if buffer.len() + information.len() > APDU_MAX {
                    buffer.clear();
                    return Err(cursor.cut("segments_too_long"));
                }
                buffer.extend_from_slice(information);
                if segmented {
                    return Ok(());
                }
                let whole = std::mem::take(buffer);
                let read = match &whole[..] {
                    [0xe6, 0xe6 | 0xe7, _, apdu @ ..] => self.apdu(cx, side, ends, Cursor::new(apdu)),
                    [] => Ok(()),
                    _ => Err(Cut { what: "llc", at: 0 }),
                };
                let buffer = &mut self.segments[side as usize];
                *buffer = whole;
                buffer.clear();
                read?;
            }
            // Receive ready and receive not ready.
            _ => {}
        }
        Ok(())
    }

    /// A draft of a request whose two ends have these addresses.
    fn draft(
        &mut self,
        cx: &Cx<'_>,
        side: Side,
        (source, destination): (u32, u32),
        does: &'static str,
        name: &'static str,
    ) -> Draft {
        let mut draft = self.exchanges.draft(cx, side, does, name);
        draft.session = format!("{source}/{destination}");
        draft
    }

    fn apdu(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        ends: (u32, u32),
        mut cursor: Cursor<'_>,
    ) -> Result<(), Cut> {
        let tag = cursor.u8("apdu")?;
        let Some(kind) = apdu::kind(tag, &cursor) else {
            return Err(cursor.cut("apdu"));
        };
        if kind.ciphered && !std::mem::replace(&mut self.opaque, true) {
            cx.opaque(NAME, "DLMS: services are ciphered");
        }
        if !kind.reply {
            let mut draft = self.draft(cx, side, ends, kind.does, kind.name);
            json::member_number(&mut draft.detail, "apdu", u64::from(tag));
            if let Err(cut) = apdu::request(cx, tag, cursor, &mut draft) {
                draft.wrong(cut);
            }
            match kind.key {
                Some(key) => self.exchanges.ask(cx, key, draft),
                None => {
                    draft.equipment = side;
                    self.exchanges.one_way(cx, draft);
                }
            }
            return Ok(());
        }
        let found = match kind.key {
            Some(key) => self.exchanges.answered(side, &key),
            None => self.exchanges.answered_if(side, |_, _| true),
        };
        let paired = found.is_some();
        let mut draft =
            found.unwrap_or_else(|| self.draft(cx, side.other(), (ends.1, ends.0), kind.does, kind.name));
        json::member_number(&mut draft.detail, "reply_apdu", u64::from(tag));
        if let Err(cut) = apdu::response(cx, side, tag, cursor, &mut draft) {
            draft.wrong(cut);
        }
        if paired {
            self.exchanges.pair(cx, draft);
        } else {
            self.exchanges.unasked(cx, draft);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
