//! RDP (MS-RDPBCGR): who asks for a desktop, how it is protected, and what the client says of
//! itself.
//!
//! The connection opens over TPKT and X.224, whose variable part carries a cookie with the user's
//! name and the protocols that are asked for. When TLS is chosen, the rest is handed over to it;
//! with RDP's own encryption the settings are read and the rest is opaque.

use crate::framing::{Frame, Framed, Framing};
use crate::tpkt::{self, First, Over};
use crate::{Carrier, Cx, Dissector, FlowInfo, Glimpse, Outcome, Probe, Protocol, Side, tls};

mod names;
mod session;
mod settings;
#[cfg(test)]
mod tests;

use session::Session;

/// The registry's entry.
pub const PROTOCOL: Protocol = Protocol {
    name: NAME,
    carriers: &[Carrier::tcp(&[3389])],
    probe,
    start,
    buffer_bytes_max: tpkt::FRAME_MAX,
    #[cfg(test)]
    sample: tests::sample,
};

const NAME: &str = "rdp";
/// What precedes the variable part of a connection request: TPKT, length, code, references, class.
const OPENING: usize = 11;

fn probe(glimpse: &Glimpse<'_>) -> Probe {
    let bytes = glimpse.bytes;
    let Frame::Of(length) = tpkt::frame(bytes) else {
        return if tpkt::frame(bytes) == Frame::More { Probe::More } else { Probe::No };
    };
    if matches!(bytes.get(5), Some(0xe0 | 0xd0)) {
        let Some(whole) = bytes.get(..length) else { return Probe::More };
        let variable = whole.get(OPENING..).unwrap_or_default();
        if names::opening(variable).is_some() {
            return Probe::Yes;
        }
        // Some clients end a cookie that they leave out.
        if !variable.is_empty() && variable != b"\r\n" {
            return Probe::No;
        }
    }
    match tpkt::first_data(bytes) {
        First::More | First::Data([] | [0x7f]) => Probe::More,
        First::Data([0x7f, 0x65, rest @ ..]) => told(rest, b"Duca"),
        First::Data([0x7f, 0x66, rest @ ..]) => told(rest, b"McDn"),
        First::No | First::Data(_) => Probe::No,
    }
}

/// Whether the key of RDP's settings stands in the opening of a conference.
fn told(bytes: &[u8], key: &[u8; 4]) -> Probe {
    let beginning = &bytes[..bytes.len().min(settings::KEY_BYTES_MAX)];
    if beginning.windows(4).any(|four| four == key) {
        Probe::Yes
    } else if beginning.len() < settings::KEY_BYTES_MAX {
        Probe::More
    } else {
        Probe::No
    }
}

fn start(_flow: &FlowInfo) -> Box<dyn Dissector> {
    Box::new(Rdp { plain: Framing::new(Frames(Over::new(Session::default()))), tls: None })
}

/// The state of a connection: what is not encrypted, then TLS.
struct Rdp {
    plain: Framing<Frames>,
    tls: Option<Box<dyn Dissector>>,
}

impl Dissector for Rdp {
    fn parse(&mut self, cx: &mut Cx<'_>, side: Side, bytes: &[u8]) -> Outcome {
        // The client speaks first over TLS, and only when the server has chosen it.
        let begins = |bytes: &[u8]| matches!(bytes, [22, 3, ..]);
        if self.tls.is_none() && begins(bytes) && self.plain.inner().session().goes_over_to_tls() {
            self.tls = Some(tls::start(cx.flow));
        }
        match &mut self.tls {
            Some(tls) => tls.parse(cx, side, bytes),
            None => self.plain.parse(cx, side, bytes),
        }
    }

    fn gap(&mut self, cx: &mut Cx<'_>, side: Side, missing: u64) {
        match &mut self.tls {
            Some(tls) => tls.gap(cx, side, missing),
            None => self.plain.gap(cx, side, missing),
        }
    }

    fn expire(&mut self, cx: &mut Cx<'_>) {
        self.plain.expire(cx);
        if let Some(tls) = &mut self.tls {
            tls.expire(cx);
        }
    }

    fn close(&mut self, cx: &mut Cx<'_>) {
        self.plain.close(cx);
        if let Some(tls) = &mut self.tls {
            tls.close(cx);
        }
    }
}

/// Frames of X.224, and those of the fast path beside them.
struct Frames(Over<Session>);

impl Frames {
    fn session(&self) -> &Session {
        self.0.upper()
    }
}

impl Framed for Frames {
    const PROTOCOL: &'static str = NAME;

    fn frame(&self, _side: Side, bytes: &[u8]) -> Frame {
        let session = self.session();
        match *bytes {
            [3, ..] => tpkt::frame(bytes),
            // The server chose TLS before its packets were seen, or in a part that is missing.
            [20..=23, 3, ..] if session.goes_over_to_tls() => Frame::Of(bytes.len()),
            // Fast-path (MS-RDPBCGR, 2.2.8.1.2 and 2.2.9.1.2): input and output of a session.
            [first, ..] if first & 3 != 0 => Frame::Bad("fast_path_action"),
            _ if !session.is_connected() => Frame::Bad("tpkt_version"),
            [_, high, low, ..] if high & 0x80 != 0 => {
                match usize::from(high & 0x7f) << 8 | usize::from(low) {
                    0..=3 => Frame::Bad("fast_path_length"),
                    length => Frame::Of(length),
                }
            }
            [_, length, ..] if length & 0x80 == 0 => match length {
                0..=2 => Frame::Bad("fast_path_length"),
                _ => Frame::Of(usize::from(length)),
            },
            _ => Frame::More,
        }
    }

    fn read(&mut self, cx: &mut Cx<'_>, side: Side, frame: &[u8]) -> Result<(), crate::cursor::Cut> {
        if frame.first() == Some(&3) { self.0.read(cx, side, frame) } else { Ok(()) }
    }

    fn lost(&mut self, cx: &mut Cx<'_>, side: Side) {
        self.0.lost(cx, side);
    }

    fn expire(&mut self, cx: &mut Cx<'_>) {
        self.0.expire(cx);
    }

    fn close(&mut self, cx: &mut Cx<'_>) {
        self.0.close(cx);
    }
}
