//! Genisys (Union Switch & Signal's code line protocol, carried in TCP): an office polls stations of
//! a railway for indications and sends them controls. Frames begin with a byte from F1 to FE and end
//! with F6; between them bytes from F0 on are escaped. Most frames carry a CRC-16.

use yagura_event::clock::{Micros, SECOND};
use yagura_event::vocabulary::operation;

use crate::cursor::Cut;
use crate::exchange::Exchanges;
use crate::framing::{Frame, Framed, Framing};
use crate::{Carrier, Cx, Dissector, FlowInfo, Glimpse, Probe, Protocol, Side, json};

/// The registry's entry.
pub const PROTOCOL: Protocol = Protocol {
    name: NAME,
    carriers: &[Carrier::tcp(&[10001])],
    probe,
    start,
    buffer_bytes_max: FRAME_MAX,
    #[cfg(test)]
    sample: tests::sample,
};

const NAME: &str = "genisys";
const TIMEOUT: Micros = 10 * SECOND;
const END: u8 = 0xf6;
const ESCAPE: u8 = 0xf0;
/// 256 pairs of address and value, every byte escaped, with header and CRC.
const FRAME_MAX: usize = 1100;
const ACKNOWLEDGE: u8 = 0xf1;
const INDICATION: u8 = 0xf2;
const CHECKBACK: u8 = 0xf3;
const POLL: u8 = 0xfb;
/// Addresses from here on are the protocol's own: E0 is the mode.
const MODE: u8 = 0xe0;

fn start(_flow: &FlowInfo) -> Box<dyn Dissector> {
    Box::new(Framing::new(Genisys { exchanges: Exchanges::new(NAME, TIMEOUT), plain: Vec::new() }))
}

/// A frame with a right CRC decides; a bare acknowledgement may be followed by one.
fn probe(glimpse: &Glimpse<'_>) -> Probe {
    let mut rest = glimpse.bytes;
    while let [header, ..] = rest {
        match frame(rest) {
            Frame::Of(length) if length > 3 => return Probe::Yes,
            Frame::Of(length) if matches!(*header, ACKNOWLEDGE | POLL) => rest = &rest[length..],
            Frame::More => return Probe::More,
            _ => return Probe::No,
        }
    }
    Probe::More
}

fn name(header: u8) -> Option<(&'static str, &'static str)> {
    Some(match header {
        ACKNOWLEDGE => ("acknowledge_client", operation::SESSION_KEEP),
        INDICATION => ("indication_data", operation::READ),
        CHECKBACK => ("control_data_checkback", operation::WRITE),
        0xf9 => ("common_control_data", operation::CONTROL),
        0xfa => ("acknowledge_and_poll", operation::READ),
        POLL => ("poll", operation::READ),
        0xfc => ("control_data", operation::WRITE),
        0xfd => ("recall_header", operation::READ),
        0xfe => ("execute_controls", operation::CONTROL),
        _ => return None,
    })
}

fn frame(bytes: &[u8]) -> Frame {
    let Some(&header) = bytes.first() else {
        return Frame::More;
    };
    if name(header).is_none() {
        return Frame::Bad("header");
    }
    let window = &bytes[..bytes.len().min(FRAME_MAX)];
    let mut plain = Vec::new();
    let mut ends = window.iter().enumerate().skip(1).filter(|(_, byte)| **byte == END).map(|(at, _)| at);
    let Some(first) = ends.next() else {
        return if window.len() < FRAME_MAX { Frame::More } else { Frame::Bad("no_end") };
    };
    // The CRC may itself hold the byte that ends a frame: some senders do not escape it.
    for end in std::iter::once(first).chain(ends).take_while(|end| *end <= first + 2) {
        if unescaped(&window[..end], &mut plain) {
            return Frame::Of(end + 1);
        }
    }
    if window.len() <= first + 2 { Frame::More } else { Frame::Bad("crc") }
}

/// Takes out the escapes, and the CRC behind the last byte; whether it is right. Acknowledgements
/// and polls that are not secured have none.
fn unescaped(frame: &[u8], plain: &mut Vec<u8>) -> bool {
    if let [ACKNOWLEDGE | POLL, station] = frame {
        plain.clear();
        plain.extend([frame[0], *station]);
        return *station < ESCAPE;
    }
    // With the CRC escaped like the rest, and without.
    for raw in [0, 2] {
        let Some((body, tail)) = frame.split_at_checked(frame.len().saturating_sub(raw)) else {
            continue;
        };
        plain.clear();
        let mut escaped = false;
        for (at, byte) in body.iter().enumerate() {
            match *byte {
                low if escaped => {
                    plain.push(ESCAPE | low);
                    escaped = false;
                }
                ESCAPE if at > 0 => escaped = true,
                plain_byte => plain.push(plain_byte),
            }
        }
        plain.extend(tail);
        let Some((body, [low, high])) = plain.split_last_chunk::<2>() else {
            continue;
        };
        let crc = body.iter().fold(0xffff, |crc, byte| checked(crc, *byte));
        if crc == u16::from_le_bytes([*low, *high]) && body.len() >= 2 {
            let length = body.len();
            plain.truncate(length);
            return true;
        }
    }
    false
}

/// CRC-16, low bit first.
fn checked(crc: u16, byte: u8) -> u16 {
    (0..8).fold(crc ^ u16::from(byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xa001 } else { crc >> 1 })
}

struct Genisys {
    /// By station.
    exchanges: Exchanges<u8>,
    /// A frame without escapes.
    plain: Vec<u8>,
}

impl Framed for Genisys {
    const PROTOCOL: &'static str = NAME;

    fn frame(&self, _side: Side, bytes: &[u8]) -> Frame {
        frame(bytes)
    }

    fn read(&mut self, cx: &mut Cx<'_>, side: Side, frame: &[u8]) -> Result<(), Cut> {
        let mut plain = std::mem::take(&mut self.plain);
        if unescaped(&frame[..frame.len() - 1], &mut plain)
            && let [header, station, pairs @ ..] = &plain[..]
            && let Some((function, does)) = name(*header)
        {
            let (header, station) = (*header, *station);
            let reply = matches!(header, ACKNOWLEDGE | INDICATION | CHECKBACK);
            let found = if reply { self.exchanges.answered(side, &station) } else { None };
            let paired = found.is_some();
            let mut draft = found.unwrap_or_else(|| {
                let asker = if reply { side.other() } else { side };
                let mut draft = self.exchanges.draft(cx, asker, does, function);
                json::push_number(&mut draft.session, u64::from(station));
                if !reply && frame.len() == 3 {
                    json::member_bool(&mut draft.detail, "secure", false);
                }
                draft
            });
            if reply {
                json::member_text(&mut draft.detail, "reply", function);
            }
            for pair in pairs.chunks_exact(2) {
                let (address, value) = (pair[0], pair[1]);
                if address == MODE {
                    json::member_number(&mut draft.detail, "mode", u64::from(value));
                    continue;
                }
                // What comes back is what is told of; controls are repeated by their checkback.
                if header != CHECKBACK || !paired {
                    draft.push_json(&format!("\"{address}={value}\""));
                }
                if header == INDICATION {
                    let signal = format!("{station}/{address}");
                    cx.measured(side, &signal, "genisys indication", f64::from(value), 0);
                }
            }
            match (reply, paired) {
                (true, true) => self.exchanges.pair(cx, draft),
                (true, false) => self.exchanges.unasked(cx, draft),
                // To all stations: nobody answers.
                (false, _) if header == 0xf9 => self.exchanges.one_way(cx, draft),
                (false, _) => self.exchanges.ask(cx, station, draft),
            }
        }
        self.plain = plain;
        Ok(())
    }

    fn lost(&mut self, _cx: &mut Cx<'_>, _side: Side) {}

    fn expire(&mut self, cx: &mut Cx<'_>) {
        self.exchanges.expire(cx);
    }

    fn close(&mut self, cx: &mut Cx<'_>) {
        self.exchanges.close(cx);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Run, Sample};
    use yagura_event::schema::Kind;

    fn message(body: &[u8], escape_crc: bool) -> Vec<u8> {
        let crc = body.iter().fold(0xffff, |crc, byte| checked(crc, *byte)).to_le_bytes();
        let escaped = |byte: &u8| if *byte < ESCAPE { vec![*byte] } else { vec![ESCAPE, byte & 15] };
        let mut out = vec![body[0]];
        out.extend(body[1..].iter().flat_map(escaped));
        if escape_crc {
            out.extend(crc.iter().flat_map(escaped));
        } else {
            out.extend(crc);
        }
        out.push(END);
        out
    }

    pub fn sample() -> Sample {
        Sample::tcp(vec![
            (Side::Client, message(&[POLL, 1], true)),
            (Side::Server, vec![ACKNOWLEDGE, 1, END]),
            (Side::Client, message(&[0xfd, 1], true)),
            (Side::Server, message(&[INDICATION, 1, 0, 5, 1, 0xf6, MODE, 1], true)),
            (Side::Client, message(&[0xfc, 1, 3, 9], true)),
            (Side::Server, message(&[CHECKBACK, 1, 3, 9], true)),
            (Side::Client, message(&[0xfe, 1], true)),
            (Side::Server, vec![ACKNOWLEDGE, 1, END]),
        ])
    }

    #[test]
    fn polls_indications_and_controls() {
        let mut run = Run::new(&PROTOCOL);
        for (side, bytes) in sample().said {
            run.send(side, &bytes);
        }
        run.close();
        assert_eq!(
            run.table(&["operation", "function", "session", "values", "status"]),
            [
                "read|poll|1||ok",
                "read|recall_header|1|[\"0=5\",\"1=246\"]|ok",
                "write|control_data|1|[\"3=9\"]|ok",
                "control|execute_controls|1||ok",
            ]
        );
        assert_eq!(run.of(Kind::Sample).len(), 2);
    }

    #[test]
    fn a_check_may_hold_what_ends_a_frame() {
        let holds = |body: &[u8]| {
            let crc = body.iter().fold(0xffff, |crc, byte| checked(crc, *byte)).to_le_bytes();
            crc.contains(&END) || crc.contains(&ESCAPE)
        };
        let bodies = (0..=255).flat_map(|a| (0..0xf0).map(move |v| [INDICATION, 1, a, v]));
        let mut seen = 0;
        for body in bodies.filter(|body| body[2] < 0xe0 && holds(body)).take(500) {
            let bytes = message(&body, false);
            assert_eq!(frame(&bytes), Frame::Of(bytes.len()), "{bytes:02x?}");
            seen += 1;
        }
        assert_eq!(seen, 500);
        let mut broken = message(&[INDICATION, 1, 2, 3], true);
        broken[3] = 4;
        broken.extend([1, 2, 3]);
        assert_eq!(frame(&broken), Frame::Bad("crc"));
    }
}
