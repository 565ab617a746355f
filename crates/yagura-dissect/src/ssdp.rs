//! SSDP (UPnP Device Architecture 2.0, 1): devices that announce themselves and are searched for.
//! What a device says it is becomes its identity.

use yagura_event::clock::SECOND;
use yagura_event::rows::IdentityRow;
use yagura_event::vocabulary::{operation, status};

use crate::cursor::Cut;
use crate::exchange::Exchanges;
use crate::framing::{Frame, Framed, Framing};
use crate::lines::{self, TEXT_MAX};
use crate::{Carrier, Cx, FlowInfo, Glimpse, Probe, Protocol, Side, json};

/// The registry's entry.
pub const PROTOCOL: Protocol = Protocol {
    name: NAME,
    carriers: &[Carrier::udp(&[1900])],
    probe,
    start: |_: &FlowInfo| {
        Box::new(Framing::new(Ssdp { exchanges: Exchanges::new(NAME, SECOND), said: Default::default() }))
    },
    buffer_bytes_max: 64 << 10,
    #[cfg(test)]
    sample: tests::sample,
};

const NAME: &str = "ssdp";

fn probe(glimpse: &Glimpse<'_>) -> Probe {
    let bytes = glimpse.bytes;
    let search = bytes.starts_with(b"M-SEARCH * HTTP/1.") || bytes.starts_with(b"NOTIFY * HTTP/1.");
    let answer = bytes.starts_with(b"HTTP/1.1 200");
    let named = || {
        let head = String::from_utf8_lossy(bytes).to_ascii_lowercase();
        head.contains("\nst:") || head.contains("\nusn:")
    };
    if search || (answer && (glimpse.customary || named())) { Probe::Yes } else { Probe::No }
}

struct Ssdp {
    exchanges: Exchanges<()>,
    /// The software and device that each side named last.
    said: [String; 2],
}

impl Framed for Ssdp {
    const PROTOCOL: &'static str = NAME;

    fn frame(&self, _side: Side, bytes: &[u8]) -> Frame {
        Frame::Of(bytes.len().max(1))
    }

    fn read(&mut self, cx: &mut Cx<'_>, side: Side, frame: &[u8]) -> Result<(), Cut> {
        let head = String::from_utf8_lossy(frame);
        let mut all = head.lines();
        let first = all.next().unwrap_or_default();
        let fields: Vec<(String, &str)> = all
            .take_while(|line| !line.is_empty())
            .take(64)
            .map(lines::field)
            .map(|(name, value)| (name.to_ascii_lowercase(), value))
            .collect();
        let field = |name: &str| fields.iter().find(|(n, _)| n == name).map_or("", |(_, value)| *value);
        let answer = first.starts_with("HTTP/");
        let (operation, function) = match lines::word(first).0 {
            _ if answer => (operation::DISCOVER, "search_response"),
            "M-SEARCH" => (operation::DISCOVER, "search"),
            "NOTIFY" if field("nts").ends_with("byebye") => (operation::REPORT, "bye"),
            "NOTIFY" => (operation::REPORT, "notify"),
            _ => return Err(Cut { what: "first_line", at: 0 }),
        };
        let mut draft =
            self.exchanges.draft(cx, if answer { side.other() } else { side }, operation, function);
        let target = if field("st").is_empty() { field("nt") } else { field("st") };
        draft.target.push_str(lines::clip(target, TEXT_MAX));
        for (name, from) in [
            ("usn", "usn"),
            ("location", "location"),
            ("server", "server"),
            ("user_agent", "user-agent"),
            ("sub_type", "nts"),
            ("host", "host"),
        ] {
            let value = field(from);
            if !value.is_empty() {
                json::member_text(&mut draft.detail, name, lines::clip(value, TEXT_MAX));
            }
        }
        let software = if field("server").is_empty() { field("user-agent") } else { field("server") };
        let device = field("usn").split("::").next().unwrap_or_default();
        let said = format!("{software} {device}");
        if said.len() > 1 && self.said[side as usize] != said {
            self.said[side as usize] = said;
            let mut facts = String::new();
            for (name, value) in [("location", field("location")), ("usn", device)] {
                if !value.is_empty() {
                    json::member_text(&mut facts, name, lines::clip(value, TEXT_MAX));
                }
            }
            json::end(&mut facts);
            let row = IdentityRow {
                firmware: lines::clip(software, TEXT_MAX),
                detail: &facts,
                ..IdentityRow::default()
            };
            cx.identity(NAME, side, row);
        }
        draft.status = status::ONE_WAY;
        if answer {
            // Its question went to all, which is another conversation.
            self.exchanges.unasked(cx, draft);
        } else {
            self.exchanges.one_way(cx, draft);
        }
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
    use yagura_event::schema::Kind;

    use super::*;
    use crate::Transport;
    use crate::testing::{Run, Sample};

    pub fn sample() -> Sample {
        let said = [
            (Side::Client, "M-SEARCH * HTTP/1.1\r\nST: ssdp:all\r\nMX: 3\r\n\r\n"),
            (
                Side::Server,
                "HTTP/1.1 200 OK\r\nST: upnp:rootdevice\r\nUSN: uuid:7::upnp:rootdevice\r\nSERVER: Linux UPnP/1.0 Cam/2\r\n\r\n",
            ),
            (Side::Client, "NOTIFY * HTTP/1.1\r\nNT: uuid:8\r\nNTS: ssdp:byebye\r\nUSN: uuid:8\r\n\r\n"),
        ];
        Sample::udp(said.iter().map(|(side, text)| (*side, text.as_bytes().to_vec())).collect())
    }

    #[test]
    fn searches_and_announcements_are_rows() {
        let mut run = Run::over(&PROTOCOL, Transport::Udp);
        for (side, bytes) in sample().said {
            run.send(side, &bytes);
        }
        assert_eq!(
            run.table(&["function", "operation", "target", "status", "exchange"]),
            [
                "search|discover|ssdp:all|one_way|request",
                "search_response|discover|upnp:rootdevice|one_way|reply",
                "bye|report|uuid:8|one_way|request",
            ]
        );
        assert_eq!(run.of(Kind::Identity)[0].text("firmware"), "Linux UPnP/1.0 Cam/2");
    }
}
