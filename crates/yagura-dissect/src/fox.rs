//! Tridium Niagara Fox (ports 1911 and, over TLS, 4911): text frames between workbench, supervisor
//! and station. The protocol is its maker's own; what is read here is what stations send in the
//! clear: `fox TYPE SEQUENCE REPLY-TO CHANNEL COMMAND`, then `name=type:value` lines in braces.
//!
//! Values are kept of the greeting only, which says what both ends are. Of other commands the
//! names of the arguments are kept, and of a login the account.

use yagura_event::clock::{Micros, SECOND};
use yagura_event::rows::IdentityRow;
use yagura_event::vocabulary::operation;

use crate::cursor::Cut;
use crate::exchange::Exchanges;
use crate::framing::{Frame, Framed, Framing};
use crate::{Carrier, Cx, Dissector, FlowInfo, Glimpse, Probe, Protocol, Side, json};

/// The registry's entry.
pub const PROTOCOL: Protocol = Protocol {
    name: NAME,
    carriers: &[Carrier::tcp(&[1911, 3011])],
    probe,
    start,
    buffer_bytes_max: FRAME_MAX + HEADER_MAX,
    #[cfg(test)]
    sample: tests::sample,
};

const NAME: &str = "fox";
const TIMEOUT: Micros = 60 * SECOND;
/// Longest first line.
const HEADER_MAX: usize = 256;
/// Longest frame that is read; a longer one is searched through for the next.
const FRAME_MAX: usize = 256 * 1024;
/// How a frame ends.
const END: &[u8] = b"};;";

fn start(_flow: &FlowInfo) -> Box<dyn Dissector> {
    Box::new(Framing::new(Fox { exchanges: Exchanges::new(NAME, TIMEOUT) }))
}

fn probe(glimpse: &Glimpse<'_>) -> Probe {
    match header(glimpse.bytes) {
        Ok(Some(_)) => Probe::Yes,
        Ok(None) => Probe::More,
        Err(_) => Probe::No,
    }
}

/// A frame's first line.
#[derive(Clone, Copy)]
struct Header<'a> {
    kind: u8,
    sequence: i64,
    reply_to: i64,
    channel: &'a str,
    command: &'a str,
    /// Its length with the line's end.
    length: usize,
}

/// The first line, `None` while it is not whole.
fn header(bytes: &[u8]) -> Result<Option<Header<'_>>, &'static str> {
    const MARK: &[u8] = b"fox ";
    let common = bytes.len().min(MARK.len());
    if bytes[..common] != MARK[..common] {
        return Err("header");
    }
    let window = &bytes[..bytes.len().min(HEADER_MAX)];
    let Some(length) = window.iter().position(|b| *b == b'\n') else {
        let printable = window.iter().all(|b| matches!(b, b' '..=b'~'));
        return if window.len() < HEADER_MAX && printable { Ok(None) } else { Err("header") };
    };
    let line = std::str::from_utf8(&window[..length]).map_err(|_| "header")?;
    let mut words = line.trim_end().split(' ').skip(1);
    let mut word = || words.next().filter(|w| !w.is_empty()).ok_or("header");
    let kind = match word()?.as_bytes() {
        [letter @ b'a'..=b'z'] => *letter,
        _ => return Err("frame_type"),
    };
    let number = |text: &str| text.parse::<i64>().map_err(|_| "sequence");
    let (sequence, reply_to) = (number(word()?)?, number(word()?)?);
    let (channel, command) = (word()?, word()?);
    Ok(Some(Header { kind, sequence, reply_to, channel, command, length: length + 1 }))
}

/// One line of a frame's body.
enum Line<'a> {
    /// `name=type:value`, and the length with the line's end.
    Member(&'a str, &'a [u8], usize),
    /// The body's end.
    End(usize),
    /// Braces and what is no member.
    Other(usize),
}

/// The line that `bytes` begin with, `None` while it is not whole. A value of bytes says how many
/// it has, and may hold line ends.
fn line(bytes: &[u8]) -> Option<Line<'_>> {
    let rest = bytes.strip_prefix(END);
    if let Some(rest) = rest {
        // The end's own line end is there only when the next frame follows.
        return Some(Line::End(END.len() + usize::from(rest.first() == Some(&b'\n'))));
    }
    let end = bytes.iter().position(|b| *b == b'\n');
    let first = &bytes[..end.unwrap_or(bytes.len())];
    let Some(equals) = first.iter().position(|b| *b == b'=') else {
        return end.map(|end| Line::Other(end + 1));
    };
    let name = std::str::from_utf8(&first[..equals]).unwrap_or_default();
    let value = &first[equals + 1..];
    // `b:44[…]`, `o:bog 61[…]`: the number before the bracket counts the bytes within.
    if matches!(value, [b'b' | b'o', b':', ..])
        && let Some(bracket) = value.iter().take(64).position(|b| *b == b'[')
    {
        let digits = value[2..bracket].rsplit(|b| !b.is_ascii_digit()).next().unwrap_or_default();
        let count = std::str::from_utf8(digits).ok().and_then(|d| d.parse::<usize>().ok());
        if let Some(count) = count.filter(|count| *count <= FRAME_MAX) {
            let closing = equals + 1 + bracket + 1 + count;
            return match bytes.get(closing..) {
                Some([b']', b'\n', ..]) => Some(Line::Member(name, &value[..bracket], closing + 2)),
                Some([b']'] | []) | None => None,
                Some(_) => end.map(|end| Line::Other(end + 1)),
            };
        }
    }
    end.map(|end| Line::Member(name, value, end + 1))
}

struct Fox {
    /// By channel's greeting (-2) or by the sequence number that the reply names.
    exchanges: Exchanges<i64>,
}

const GREETING: i64 = -2;

impl Framed for Fox {
    const PROTOCOL: &'static str = NAME;

    fn frame(&self, _side: Side, bytes: &[u8]) -> Frame {
        // Line ends may stand between frames.
        if let [b'\n' | b'\r', ..] = bytes {
            return Frame::Of(1);
        }
        let mut at = match header(bytes) {
            Ok(Some(header)) => header.length,
            Ok(None) => return Frame::More,
            Err(what) => return Frame::Bad(what),
        };
        loop {
            if at > FRAME_MAX {
                return Frame::Bad("frame_length");
            }
            match bytes.get(at..).and_then(line) {
                Some(Line::End(length)) => return Frame::Of(at + length),
                Some(Line::Member(_, _, length) | Line::Other(length)) => at += length,
                None if bytes.len() > FRAME_MAX => return Frame::Bad("frame_length"),
                None => return Frame::More,
            }
        }
    }

    fn read(&mut self, cx: &mut Cx<'_>, side: Side, frame: &[u8]) -> Result<(), Cut> {
        let Ok(Some(header)) = header(frame) else {
            return Ok(());
        };
        let mut about = About::default();
        let mut at = header.length;
        while let Some(line) = frame.get(at..).and_then(line) {
            match line {
                Line::Member(name, value, length) => {
                    about.member(name, value);
                    at += length;
                }
                Line::Other(length) => at += length,
                Line::End(_) => break,
            }
        }
        let greeting = header.channel == "fox" && header.command == "hello";
        if greeting {
            about.identity(cx, side);
        }
        let refused = header.kind == b'e' || matches!(header.command, "rejected" | "error");
        let key = if greeting { GREETING } else { header.reply_to };
        let found = if key == -1 { None } else { self.exchanges.answered(side, &key) };
        let paired = found.is_some();
        let reply = header.reply_to >= 0;
        let mut draft = found.unwrap_or_else(|| {
            let asker = if reply { side.other() } else { side };
            let (channel, command) = (header.channel, header.command);
            let mut draft = self.exchanges.draft(cx, asker, does(channel, command), command.to_string());
            draft.target.push_str(channel);
            json::member_number(&mut draft.detail, "sequence", header.sequence.max(0) as u64);
            draft
        });
        let names = if paired { "reply_names" } else { "names" };
        about.tell(&mut draft.detail, names, if paired { "reply_version" } else { "fox_version" });
        if refused {
            draft.deny(header.command.to_string());
        }
        match () {
            () if paired => self.exchanges.pair(cx, draft),
            () if reply => self.exchanges.unasked(cx, draft),
            () if greeting && side == Side::Client => self.exchanges.ask(cx, GREETING, draft),
            // Asynchronous frames need no reply.
            () if header.kind == b'a' || refused => self.exchanges.one_way(cx, draft),
            () => self.exchanges.ask(cx, header.sequence, draft),
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

/// What a command does, by the words that stations use.
fn does(channel: &str, command: &str) -> &'static str {
    let word = |list: &[&str]| {
        let lower = command.to_ascii_lowercase();
        list.iter().any(|word| lower.starts_with(word))
    };
    match (channel, command) {
        ("fox", "hello") => operation::SESSION_OPEN,
        ("fox", "goodbye" | "close" | "logout" | "rejected") => operation::SESSION_CLOSE,
        ("fox", "keepAlive" | "ping") => operation::SESSION_KEEP,
        ("fox", "challenge" | "login" | "loginOk" | "welcome") => operation::AUTHENTICATE,
        ("fox", _) if word(&["auth", "credential"]) => operation::AUTHENTICATE,
        ("file", _) if word(&["write", "put", "make", "delete", "move", "rename"]) => {
            operation::PROGRAM_WRITE
        }
        ("file", _) if word(&["read", "get", "open"]) => operation::PROGRAM_READ,
        ("alarm", _) => operation::ALARM,
        _ if word(&["invoke", "action", "restart", "kill", "start", "stop"]) => operation::CONTROL,
        _ if word(&["add", "remove", "reorder", "setfacets", "setflags", "install"]) => operation::CONFIGURE,
        _ if word(&["set", "write", "override"]) => operation::WRITE,
        _ if word(&["event", "sync", "change"]) => operation::REPORT,
        _ if word(&["get", "read", "load", "resolve", "list", "query", "sub", "unsub"]) => operation::READ,
        _ => operation::OTHER,
    }
}

/// What the members say.
#[derive(Default)]
struct About {
    names: Vec<String>,
    user: Option<String>,
    secret: bool,
    greeting: Vec<(&'static str, String)>,
}

/// Most names of members that are kept.
const NAMES_MAX: usize = 32;
/// Most bytes of a kept text.
const TEXT_MAX: usize = 128;
/// The members of a greeting that are kept.
const GREETS: [&str; 13] = [
    "fox.version",
    "hostName",
    "hostAddress",
    "app.name",
    "app.version",
    "vm.name",
    "vm.version",
    "os.name",
    "os.version",
    "station.name",
    "hostId",
    "brandId",
    "method",
];

impl About {
    fn member(&mut self, name: &str, value: &[u8]) {
        let text = value.get(2..).unwrap_or_default();
        let text = String::from_utf8_lossy(&text[..text.len().min(TEXT_MAX)]);
        if let Some(name) = GREETS.iter().find(|known| **known == name) {
            if self.greeting.len() < GREETS.len() {
                self.greeting.push((name, text.into_owned()));
            }
        } else if name.eq_ignore_ascii_case("username") || name == "user" {
            self.user = Some(text.into_owned());
        } else if self.names.len() < NAMES_MAX {
            let lower = name.to_ascii_lowercase();
            self.secret |= ["password", "response", "cred"].iter().any(|word| lower.contains(word));
            self.names.push(name.chars().take(TEXT_MAX).collect());
        }
    }

    fn get(&self, name: &str) -> &str {
        self.greeting.iter().find(|(known, _)| *known == name).map_or("", |(_, text)| text)
    }

    fn tell(&self, detail: &mut String, names: &str, version: &str) {
        for (name, text) in [(version, self.get("fox.version")), ("method", self.get("method"))] {
            if !text.is_empty() {
                json::member_text(detail, name, text);
            }
        }
        if let Some(user) = &self.user {
            json::member_text(detail, "user", user);
        }
        if self.secret {
            json::member_bool(detail, "credentials_presented", true);
        }
        if !self.names.is_empty() {
            json::key(detail, names);
            for (at, name) in self.names.iter().enumerate() {
                detail.push(if at == 0 { '[' } else { ',' });
                json::push_text(detail, name);
            }
            detail.push(']');
        }
    }

    fn identity(&self, cx: &mut Cx<'_>, side: Side) {
        let mut detail = String::new();
        for name in ["hostAddress", "vm.name", "vm.version", "os.name", "os.version", "station.name"] {
            if !self.get(name).is_empty() {
                json::member_text(&mut detail, name, self.get(name));
            }
        }
        json::end(&mut detail);
        let row = IdentityRow {
            vendor: self.get("brandId"),
            model: self.get("app.name"),
            firmware: self.get("app.version"),
            serial: self.get("hostId"),
            name: self.get("hostName"),
            detail: &detail,
            ..IdentityRow::default()
        };
        cx.identity(NAME, side, row);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Run, Sample};
    use yagura_event::schema::Kind;

    fn hello(id: u8, app: &str) -> Vec<u8> {
        let text = format!(
            "fox a {id} -1 fox hello\n{{\nfox.version=s:1.0\nid=i:{id}\nhostName=s:plc-gw\napp.name=s:{app}\n\
             app.version=s:3.8.1\nos.name=s:QNX\nhostId=s:Qnx-1\nbrandId=s:vykon\nsysInfo=o:bog 10[<a>\n}};;\n</]\n}};;\n"
        );
        text.into_bytes()
    }

    pub fn sample() -> Sample {
        let set = b"fox s 4 -1 point write\n{\npath=s:/Drivers/Pump\nvalue=d:1.5\n};;\n".to_vec();
        Sample::tcp(vec![
            (Side::Client, hello(1, "Workbench")),
            (Side::Server, hello(0, "Station")),
            (Side::Server, b"fox a 1 -1 fox challenge\n{\nmethod=s:basic\n};;\n".to_vec()),
            (Side::Client, b"fox a 2 -1 fox login\n{\nusername=s:admin\npassword=s:Secret1\n};;\n".to_vec()),
            (Side::Client, set),
            (Side::Server, b"fox r 5 4 point write\n{\n};;\n".to_vec()),
        ])
    }

    #[test]
    fn a_login_and_a_write() {
        let mut run = Run::new(&PROTOCOL);
        for (side, bytes) in sample().said {
            run.send(side, &bytes);
        }
        run.send(Side::Client, b"fox s 6 -1 station invoke\n{\n};;\n");
        run.send(Side::Server, b"fox e 7 6 station invoke\n{\n};;\n");
        run.close();
        assert_eq!(
            run.table(&["operation", "function", "target", "status", "exchange"]),
            [
                "session.open|hello|fox|ok|pair",
                "authenticate|challenge|fox|one_way|request",
                "authenticate|login|fox|one_way|request",
                "write|write|point|ok|pair",
                "control|invoke|station|denied|pair",
            ]
        );
        let login = run.messages()[2].text("detail");
        assert!(login.contains("\"user\":\"admin\"") && login.contains("\"credentials_presented\":true"));
        assert!(run.rows.iter().all(|row| !format!("{row:?}").contains("Secret1")));
        let identities = run.of(Kind::Identity);
        assert_eq!((identities[1].text("model"), identities[1].text("firmware")), ("Station", "3.8.1"));
    }

    #[test]
    fn values_of_bytes_may_hold_what_ends_a_frame() {
        let bytes = hello(1, "Workbench");
        let fox = Fox { exchanges: Exchanges::new(NAME, TIMEOUT) };
        assert_eq!(fox.frame(Side::Client, &bytes), Frame::Of(bytes.len()));
        assert_eq!(fox.frame(Side::Client, &bytes[..bytes.len() - 6]), Frame::More);
        assert_eq!(fox.frame(Side::Client, b"foxtrot"), Frame::Bad("header"));
    }
}
