//! SIP (RFC 3261) over UDP and TCP and RTSP (RFC 2326, RFC 7826): telephones, door stations and
//! cameras. Requests and their last responses are rows; bodies are counted.

use yagura_event::clock::{Micros, SECOND};
use yagura_event::rows::IdentityRow;
use yagura_event::vocabulary::operation;

use crate::cursor::Cut;
use crate::exchange::Exchanges;
use crate::framing::{Frame, Framed, Framing};
use crate::lines::{self, TEXT_MAX};
use crate::{Carrier, Cx, Dissector, FlowInfo, Glimpse, Probe, Protocol, Side, Transport, json};

/// The registry's entry of SIP.
pub const SIP: Protocol = Protocol {
    name: "sip",
    carriers: &[Carrier::udp(&[5060]), Carrier::tcp(&[5060])],
    probe: |glimpse| probe(glimpse, "SIP/2.0"),
    start: |flow| start::<false>(flow),
    buffer_bytes_max: HEAD_MAX,
    #[cfg(test)]
    sample: tests::sip,
};

/// The registry's entry of RTSP.
pub const RTSP: Protocol = Protocol {
    name: "rtsp",
    carriers: &[Carrier::tcp(&[554, 8554])],
    probe: |glimpse| probe(glimpse, "RTSP/1.0"),
    start: |flow| start::<true>(flow),
    buffer_bytes_max: HEAD_MAX,
    #[cfg(test)]
    sample: tests::rtsp,
};

const HEAD_MAX: usize = 64 << 10;
/// A ringing telephone is answered late.
const TIMEOUT: Micros = 180 * SECOND;

fn probe(glimpse: &Glimpse<'_>, version: &str) -> Probe {
    let bytes = glimpse.bytes;
    match bytes.iter().take(1024).position(|b| *b == b'\n') {
        Some(end) if first_line(&lines::text(&bytes[..=end]), version).is_some() => Probe::Yes,
        None if glimpse.transport == Transport::Tcp && bytes.len() < 1024 => {
            let begins = bytes.iter().all(|b| (0x20..0x7f).contains(b))
                && bytes
                    .iter()
                    .take(16)
                    .take_while(|b| **b != b' ')
                    .all(|b| b.is_ascii_uppercase() || matches!(b, b'_' | b'/' | b'.' | b'0'..=b'9'));
            if begins { Probe::More } else { Probe::No }
        }
        _ => Probe::No,
    }
}

enum First<'a> {
    Request(&'a str, &'a str),
    Response(u16, &'a str),
}

fn first_line<'a>(line: &'a str, version: &str) -> Option<First<'a>> {
    if let Some(rest) = line.strip_prefix(version) {
        let (code, reason) = lines::word(rest.strip_prefix(' ')?);
        let code: u16 = code.parse().ok().filter(|code| (100..700).contains(code))?;
        return Some(First::Response(code, reason.trim_end()));
    }
    let (method, rest) = line.split_once(' ')?;
    let target = rest.trim_end().strip_suffix(version)?.strip_suffix(' ')?;
    let fits =
        (2..=24).contains(&method.len()) && method.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
    fits.then_some(First::Request(method, target))
}

/// The end of the head, its empty line included.
fn head_end(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let length = bytes[at..].iter().position(|b| *b == b'\n')?;
        at += length + 1;
        if matches!(bytes[at - length - 1..at], [b'\n'] | [b'\r', b'\n']) {
            return Some(at);
        }
    }
}

fn start<const RTSP: bool>(flow: &FlowInfo) -> Box<dyn Dissector> {
    let name = if RTSP { "rtsp" } else { "sip" };
    Box::new(Framing::new(Messages::<RTSP> {
        exchanges: Exchanges::new(name, TIMEOUT),
        datagrams: flow.transport != Transport::Tcp,
        software: [String::new(), String::new()],
    }))
}

struct Messages<const RTSP: bool> {
    /// By the call and its sequence.
    exchanges: Exchanges<(String, String)>,
    datagrams: bool,
    software: [String; 2],
}

/// The fields that are looked at.
#[derive(Default)]
struct Fields<'a> {
    call: &'a str,
    sequence: &'a str,
    from: &'a str,
    to: &'a str,
    software: &'a str,
    length: u64,
    user: String,
    kind: &'a str,
}

impl<'a> Fields<'a> {
    fn read(head: &'a str) -> Fields<'a> {
        let mut fields = Fields::default();
        for line in head.lines().skip(1) {
            let (name, value) = lines::field(line);
            match &*name.to_ascii_lowercase() {
                "call-id" | "i" => fields.call = value,
                "cseq" => fields.sequence = value,
                "from" | "f" => fields.from = value,
                "to" | "t" => fields.to = value,
                "user-agent" | "server" => fields.software = value,
                "content-length" | "l" => fields.length = value.parse().unwrap_or(0),
                "content-type" | "c" => fields.kind = value,
                "authorization" | "proxy-authorization" => {
                    let (scheme, rest) = lines::word(value);
                    fields.user = match scheme.eq_ignore_ascii_case("basic") {
                        true => lines::basic_user(rest).unwrap_or_default(),
                        false => {
                            let list = format!(";{}", rest.replace(',', ";"));
                            lines::parameter(&list, "username").unwrap_or_default().to_string()
                        }
                    };
                }
                _ => {}
            }
        }
        fields
    }
}

fn operation_of(method: &str) -> &'static str {
    match method {
        "REGISTER" | "INVITE" | "SETUP" => operation::SESSION_OPEN,
        "BYE" | "CANCEL" | "TEARDOWN" => operation::SESSION_CLOSE,
        "OPTIONS" | "DESCRIBE" => operation::DISCOVER,
        "MESSAGE" | "NOTIFY" | "PUBLISH" | "ANNOUNCE" => operation::REPORT,
        "SUBSCRIBE" => operation::CONFIGURE,
        "PLAY" | "PAUSE" | "RECORD" => operation::CONTROL,
        "GET_PARAMETER" => operation::READ,
        "SET_PARAMETER" => operation::WRITE,
        _ => operation::OTHER,
    }
}

impl<const RTSP: bool> Framed for Messages<RTSP> {
    const PROTOCOL: &'static str = if RTSP { "rtsp" } else { "sip" };

    fn frame(&self, _side: Side, bytes: &[u8]) -> Frame {
        if self.datagrams {
            return Frame::Of(bytes.len().max(1));
        }
        match *bytes {
            // What keeps a connection alive (RFC 5626, 3.5.1).
            [b'\r' | b'\n', ..] => return Frame::Of(1),
            // Media between the messages (RFC 2326, 10.12).
            [b'$', _, high, low, ..] if RTSP => {
                return Frame::Head(4, u64::from(u16::from_be_bytes([high, low])));
            }
            [b'$', ..] if RTSP => return Frame::More,
            [b'A'..=b'Z', ..] | [] => {}
            _ => return Frame::Bad("first_line"),
        }
        let version = if RTSP { "RTSP/1.0" } else { "SIP/2.0" };
        if let Some(end) = bytes.iter().take(HEAD_MAX).position(|b| *b == b'\n')
            && first_line(&lines::text(&bytes[..=end]), version).is_none()
        {
            return Frame::Bad("first_line");
        }
        match head_end(&bytes[..bytes.len().min(HEAD_MAX)]) {
            Some(end) => {
                let head = String::from_utf8_lossy(&bytes[..end]);
                Frame::Head(end, Fields::read(&head).length)
            }
            None if bytes.len() < HEAD_MAX => Frame::More,
            None => Frame::Bad("head_length"),
        }
    }

    fn read(&mut self, cx: &mut Cx<'_>, side: Side, frame: &[u8]) -> Result<(), Cut> {
        let version = if RTSP { "RTSP/1.0" } else { "SIP/2.0" };
        let end = head_end(frame).unwrap_or(frame.len());
        let head = String::from_utf8_lossy(&frame[..end]);
        let line = head.lines().next().unwrap_or_default();
        let Some(first) = first_line(line, version) else {
            let passed =
                frame.first() == Some(&b'$') || frame.iter().all(|b| matches!(b, b'\r' | b'\n' | 0 | b' '));
            return if passed { Ok(()) } else { Err(Cut { what: "first_line", at: 0 }) };
        };
        let fields = Fields::read(&head);
        if !fields.software.is_empty() && self.software[side as usize] != fields.software {
            self.software[side as usize] = lines::clip(fields.software, TEXT_MAX).to_string();
            let row = IdentityRow { firmware: &self.software[side as usize], ..IdentityRow::default() };
            cx.identity(Self::PROTOCOL, side, row);
        }
        let key = (lines::clip(fields.call, 256).to_string(), lines::clip(fields.sequence, 64).to_string());
        match first {
            First::Request(method, target) => {
                let mut draft =
                    self.exchanges.draft(cx, side, operation_of(method), method.to_ascii_lowercase());
                draft.target.push_str(lines::clip(&without_password(target), TEXT_MAX));
                let detail = &mut draft.detail;
                for (name, value) in [
                    ("from", fields.from),
                    ("to", fields.to),
                    ("call", fields.call),
                    ("user", &fields.user),
                    ("user_agent", fields.software),
                    ("content_type", fields.kind),
                ] {
                    if !value.is_empty() {
                        json::member_text(detail, name, lines::clip(value, 512));
                    }
                }
                if fields.length > 0 {
                    json::member_number(detail, "request_bytes", fields.length);
                }
                if method == "ACK" {
                    self.exchanges.one_way(cx, draft);
                } else {
                    self.exchanges.ask(cx, key, draft);
                }
            }
            First::Response(code, reason) => {
                if code < 200 {
                    return Ok(());
                }
                let found = self.exchanges.answered(side, &key);
                let asked = found.is_some();
                let method = lines::word(fields.sequence).1.to_ascii_lowercase();
                let mut draft = found.unwrap_or_else(|| {
                    let function = if method.is_empty() { "response".to_string() } else { method };
                    self.exchanges.draft(cx, side.other(), operation::OTHER, function)
                });
                json::member_text(&mut draft.detail, "reason", lines::clip(reason, 128));
                if !fields.software.is_empty() {
                    json::member_text(&mut draft.detail, "server", lines::clip(fields.software, 512));
                }
                if fields.length > 0 {
                    json::member_number(&mut draft.detail, "response_bytes", fields.length);
                }
                if code < 400 {
                    draft.status_code = code.to_string().into();
                } else {
                    draft.deny(code.to_string());
                    // What presented credentials and was refused.
                    if matches!(code, 401 | 403 | 407) && draft.detail.contains("\"user\":") {
                        draft.operation = operation::AUTHENTICATE;
                    }
                }
                if asked { self.exchanges.pair(cx, draft) } else { self.exchanges.unasked(cx, draft) }
            }
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

/// `sip:user:password@host` without the password.
fn without_password(target: &str) -> String {
    let target = lines::without_secrets(target);
    let (scheme, rest) = target.split_once(':').unwrap_or(("", &target));
    match rest.split_once('@').and_then(|(user, host)| Some((user.split_once(':')?.0, host))) {
        Some((user, host)) if !rest.starts_with("//") => format!("{scheme}:{user}@{host}"),
        _ => target.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use yagura_event::schema::Kind;

    use super::*;
    use crate::testing::{Run, Sample};

    const C: Side = Side::Client;
    const S: Side = Side::Server;

    fn said(said: &[(Side, &str)]) -> Vec<(Side, Vec<u8>)> {
        said.iter().map(|(side, text)| (*side, text.replace('\n', "\r\n").into_bytes())).collect()
    }

    pub fn sip() -> Sample {
        Sample::udp(said(&[
            (
                C,
                "REGISTER sip:pbx SIP/2.0\nCall-ID: 1\nCSeq: 1 REGISTER\nFrom: <sip:7@pbx>\nUser-Agent: Door/2\nAuthorization: Digest username=\"7\", nonce=\"\"\n\n",
            ),
            (S, "SIP/2.0 100 Trying\nCall-ID: 1\nCSeq: 1 REGISTER\n\n"),
            (S, "SIP/2.0 403 Forbidden\nCall-ID: 1\nCSeq: 1 REGISTER\nServer: PBX/1\n\n"),
            (C, "OPTIONS sip:a:geheim@pbx SIP/2.0\nCall-ID: 2\nCSeq: 2 OPTIONS\n\n"),
            (S, "SIP/2.0 200 OK\nCall-ID: 2\nCSeq: 2 OPTIONS\n\n"),
        ]))
    }

    pub fn rtsp() -> Sample {
        Sample::tcp(said(&[
            (C, "DESCRIBE rtsp://10.0.0.2/cam RTSP/1.0\nCSeq: 1\n\n"),
            (S, "RTSP/1.0 200 OK\nCSeq: 1\nServer: Cam/3\nContent-Length: 4\n\nv=0\n"),
            (C, "PLAY rtsp://10.0.0.2/cam RTSP/1.0\nCSeq: 2\n\n"),
            (S, "RTSP/1.0 454 Session Not Found\nCSeq: 2\n\n"),
        ]))
    }

    #[test]
    fn requests_are_rows_with_their_last_responses() {
        let mut run = Run::over(&SIP, Transport::Udp);
        for (side, bytes) in sip().said {
            run.send(side, &bytes);
        }
        run.close();
        assert_eq!(
            run.table(&["function", "operation", "target", "status", "status_code"]),
            ["register|authenticate|sip:pbx|denied|403", "options|discover|sip:a@pbx|ok|200"]
        );
        assert_eq!(run.of(Kind::Identity).len(), 2);
        let mut run = Run::new(&RTSP);
        for (side, bytes) in rtsp().said {
            run.send(side, &bytes);
            run.send(side, b"$\x00\x00\x02xx");
        }
        run.close();
        assert_eq!(
            run.table(&["function", "operation", "status", "status_code"]),
            ["describe|discover|ok|200", "play|control|denied|454"]
        );
    }
}
