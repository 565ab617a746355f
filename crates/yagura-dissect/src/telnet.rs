//! Telnet (RFC 854, RFC 855): what is negotiated, who logs in and whether it succeeds.
//!
//! What is typed and shown is looked at only for prompts and is never kept, but for the name that
//! is typed at one. A session is a row, written when it ends or after a minute; a login is another.

use yagura_event::clock::{Micros, SECOND};
use yagura_event::vocabulary::{operation, status};

use crate::cursor::Cut;
use crate::exchange::{Draft, Exchanges};
use crate::framing::{Frame, Framed, Framing};
use crate::lines;
use crate::{Carrier, Cx, FlowInfo, Glimpse, Probe, Protocol, Side, json};

/// The registry's entry.
pub const PROTOCOL: Protocol = Protocol {
    name: NAME,
    carriers: &[Carrier::tcp(&[23, 2323])],
    probe,
    start: |_: &FlowInfo| Box::new(Framing::new(Telnet::new())),
    buffer_bytes_max: 4096,
    #[cfg(test)]
    sample: tests::sample,
};

const NAME: &str = "telnet";
/// A session that lasts is told after that long.
const TELL_AFTER: Micros = 60 * SECOND;
/// Longest line of the server's that is looked at.
const LINE_MAX: usize = 160;
/// Longest user name.
const USER_MAX: usize = 64;
/// Most bytes of a subnegotiation that are looked at.
const SUBNEGOTIATION_MAX: usize = 256;
/// Most negotiations that a row names.
const NEGOTIATIONS_MAX: u32 = 200;

const IAC: u8 = 255;
const SB: u8 = 250;
const SE: u8 = 240;
const TERMINAL_TYPE: u8 = 24;
const ENVIRONMENTS: [u8; 2] = [36, 39];

fn probe(glimpse: &Glimpse<'_>) -> Probe {
    let bytes = glimpse.bytes;
    match *bytes {
        [] | [IAC] | [IAC, 251..=254] => Probe::More,
        [IAC, 251..=254, option, ref rest @ ..] if is_option(option) => match *rest {
            [IAC, 251..=254, option, ..] if is_option(option) => Probe::Yes,
            [IAC, SB, option, ..] if is_option(option) => Probe::Yes,
            _ if glimpse.customary => Probe::Yes,
            [] | [IAC] | [IAC, SB | 251..=254] => Probe::More,
            _ => Probe::No,
        },
        [IAC, SB, option, ..] if glimpse.customary && is_option(option) => Probe::Yes,
        // Without any negotiation, what a server asks for.
        _ if glimpse.customary && glimpse.side == Side::Server => {
            let text = bytes.iter().all(|b| matches!(b, 0 | 7..=13 | 27 | 32..=126 | 160..=255));
            let lower = String::from_utf8_lossy(bytes).to_ascii_lowercase();
            match ["login", "user", "password"].iter().any(|word| lower.contains(word)) {
                true if text => Probe::Yes,
                false if text && bytes.len() < 1024 => Probe::More,
                _ => Probe::No,
            }
        }
        _ => Probe::No,
    }
}

fn is_option(option: u8) -> bool {
    option <= 49 || matches!(option, 138..=140 | 255)
}

/// Options (registry of the IANA), as far as they have short names.
fn option_name(option: u8) -> String {
    let name = match option {
        0 => "binary",
        1 => "echo",
        3 => "suppress_go_ahead",
        5 => "status",
        6 => "timing_mark",
        23 => "send_location",
        24 => "terminal_type",
        25 => "end_of_record",
        31 => "window_size",
        32 => "terminal_speed",
        33 => "remote_flow_control",
        34 => "line_mode",
        35 => "x_display_location",
        36 => "environment",
        37 => "authentication",
        38 => "encryption",
        39 => "new_environment",
        40 => "tn3270e",
        44 => "com_port_control",
        46 => "start_tls",
        47 => "kermit",
        other => return format!("option_{other}"),
    };
    name.into()
}

/// What a direction's next byte is.
#[derive(Clone, Copy, Default)]
enum At {
    #[default]
    Text,
    Command,
    Negotiation(u8),
    Subnegotiation,
    SubnegotiationCommand,
}

#[derive(Default)]
struct Direction {
    at: At,
    subnegotiation: Vec<u8>,
    bytes: u64,
}

/// What the client is typing.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Typing {
    #[default]
    Nothing,
    User,
    Secret,
    Other,
}

struct Telnet {
    exchanges: Exchanges<()>,
    session: Option<Draft>,
    told: bool,
    directions: [Direction; 2],
    negotiations: u32,
    terminal: String,
    /// The server's line as far as it has come, in lower case.
    shown: String,
    typing: Typing,
    /// What is typed at a prompt for a name.
    user: String,
    /// A password was typed: what the server says next decides.
    login: Option<Draft>,
    attempts: u64,
}

impl Telnet {
    fn new() -> Telnet {
        Telnet {
            exchanges: Exchanges::new(NAME, TELL_AFTER),
            session: None,
            told: false,
            directions: Default::default(),
            negotiations: 0,
            terminal: String::new(),
            shown: String::new(),
            typing: Typing::Nothing,
            user: String::new(),
            login: None,
            attempts: 0,
        }
    }

    fn byte(&mut self, cx: &mut Cx<'_>, side: Side, byte: u8) {
        let direction = &mut self.directions[side as usize];
        match (direction.at, byte) {
            (At::Text, IAC) => direction.at = At::Command,
            (At::Text, _) => self.text(cx, side, byte),
            (At::Command, IAC) => {
                direction.at = At::Text;
                self.text(cx, side, byte);
            }
            (At::Command, 251..=254) => direction.at = At::Negotiation(byte),
            (At::Command, SB) => {
                direction.subnegotiation.clear();
                direction.at = At::Subnegotiation;
            }
            (At::Command, _) => direction.at = At::Text,
            (At::Negotiation(verb), option) => {
                direction.at = At::Text;
                self.negotiation(side, verb, option);
            }
            (At::Subnegotiation, IAC) => direction.at = At::SubnegotiationCommand,
            (At::Subnegotiation, _) => direction.keep(byte),
            (At::SubnegotiationCommand, SE) => {
                direction.at = At::Text;
                let said = std::mem::take(&mut direction.subnegotiation);
                self.subnegotiation(side, &said);
            }
            (At::SubnegotiationCommand, IAC) => {
                direction.at = At::Subnegotiation;
                direction.keep(byte);
            }
            (At::SubnegotiationCommand, _) => direction.at = At::Text,
        }
    }

    fn negotiation(&mut self, side: Side, verb: u8, option: u8) {
        self.negotiations += 1;
        let Some(session) = self.session.as_mut().filter(|_| self.negotiations <= NEGOTIATIONS_MAX) else {
            return;
        };
        let who = if side == Side::Client { "client" } else { "server" };
        let verb = ["will", "wont", "do", "dont"][usize::from(verb - 251)];
        session.push_text(&format!("{who} {verb} {}", option_name(option)));
    }

    fn subnegotiation(&mut self, side: Side, said: &[u8]) {
        match *said {
            // IS (RFC 1091)
            [TERMINAL_TYPE, 0, ref name @ ..] if side == Side::Client => {
                self.terminal = String::from_utf8_lossy(lines::clip_bytes(name, USER_MAX)).into_owned();
            }
            // IS VAR "USER" VALUE … (RFC 1572)
            [option, 0, ref list @ ..] if ENVIRONMENTS.contains(&option) => {
                for variable in list.split(|b| matches!(b, 0 | 3)) {
                    if let Some(user) = variable.strip_prefix(b"USER\x01") {
                        self.user = String::from_utf8_lossy(lines::clip_bytes(user, USER_MAX)).into_owned();
                    }
                }
            }
            _ => {}
        }
    }

    fn text(&mut self, cx: &mut Cx<'_>, side: Side, byte: u8) {
        match side {
            Side::Server => self.shows(cx, byte),
            Side::Client => self.types(cx, byte),
        }
    }

    fn shows(&mut self, cx: &mut Cx<'_>, byte: u8) {
        match byte {
            b'\n' | b'\r' => {
                let line = std::mem::take(&mut self.shown);
                self.judge(cx, &line);
            }
            8 | 127 => drop(self.shown.pop()),
            0..=31 => {}
            _ if self.shown.len() < LINE_MAX => self.shown.push(char::from(byte).to_ascii_lowercase()),
            _ => {}
        }
    }

    fn types(&mut self, cx: &mut Cx<'_>, byte: u8) {
        if self.typing == Typing::Nothing {
            if matches!(byte, 0 | b'\n') {
                return;
            }
            let line = std::mem::take(&mut self.shown);
            self.typing = prompt(&line);
            if self.typing != Typing::Other {
                // Asked again.
                self.finish(cx, status::DENIED);
            } else {
                self.judge(cx, &line);
                if !line.trim().is_empty() {
                    self.finish(cx, status::OK);
                }
            }
            if self.typing == Typing::User {
                self.user.clear();
            }
        }
        match byte {
            b'\r' | b'\n' => {
                if self.typing == Typing::Secret {
                    self.attempts += 1;
                    let mut draft = self.exchanges.draft(cx, Side::Client, operation::AUTHENTICATE, "login");
                    draft.target.push_str(self.user.trim());
                    json::member_number(&mut draft.detail, "attempt", self.attempts);
                    self.login = Some(draft);
                }
                self.typing = Typing::Nothing;
                self.shown.clear();
            }
            8 | 127 if self.typing == Typing::User => drop(self.user.pop()),
            32..=126 if self.typing == Typing::User && self.user.len() < USER_MAX => {
                self.user.push(char::from(byte));
            }
            _ => {}
        }
    }

    /// Whether the server's line says how the login ended.
    fn judge(&mut self, cx: &mut Cx<'_>, line: &str) {
        if self.login.is_none() || line.trim().is_empty() {
            return;
        }
        let says = |words: &[&str]| words.iter().any(|word| line.contains(word));
        let bad =
            ["incorrect", "fail", "denied", "invalid", "bad password", "wrong", "not authorized", "reject"];
        if says(&bad) {
            self.finish(cx, status::DENIED);
        } else if says(&["last login", "welcome", "logged in", "login successful", "successful"]) {
            self.finish(cx, status::OK);
        }
    }

    fn finish(&mut self, cx: &mut Cx<'_>, ended: &'static str) {
        let Some(mut draft) = self.login.take() else { return };
        draft.status = ended;
        if ended == status::NO_REPLY {
            self.exchanges.one_way(cx, draft);
        } else {
            self.exchanges.pair(cx, draft);
        }
    }

    fn tell(&mut self, cx: &mut Cx<'_>) {
        let Some(mut session) = self.session.take() else { return };
        self.told = true;
        let [client, server] = &self.directions;
        let (both, none) = (client.bytes > 0 && server.bytes > 0, server.bytes == 0);
        let detail = &mut session.detail;
        json::member_number(detail, "negotiations", u64::from(self.negotiations));
        json::member_number(detail, "client_bytes", client.bytes);
        json::member_number(detail, "server_bytes", server.bytes);
        if !self.terminal.is_empty() {
            json::member_text(detail, "terminal_type", &self.terminal);
        }
        if !self.user.is_empty() {
            json::member_text(detail, "user", self.user.trim());
        }
        if none {
            session.status = status::NO_REPLY;
        }
        if both { self.exchanges.pair(cx, session) } else { self.exchanges.one_way(cx, session) }
    }
}

impl Direction {
    fn keep(&mut self, byte: u8) {
        if self.subnegotiation.len() < SUBNEGOTIATION_MAX {
            self.subnegotiation.push(byte);
        }
    }
}

/// What a client types at a prompt.
fn prompt(line: &str) -> Typing {
    let line = line.trim_end().trim_end_matches([':', '>', '=', '?']).trim_end();
    let ends = |words: &[&str]| words.iter().any(|word| line.ends_with(word));
    if ends(&["password", "passwd", "passcode", "passphrase", "pin", "secret", "kennwort"])
        || line.contains("password for")
    {
        Typing::Secret
    } else if ends(&[
        "login",
        "username",
        "user name",
        "user",
        "user id",
        "userid",
        "logon",
        "account",
        "login name",
    ]) {
        Typing::User
    } else {
        Typing::Other
    }
}

impl Framed for Telnet {
    const PROTOCOL: &'static str = NAME;

    fn frame(&self, _side: Side, bytes: &[u8]) -> Frame {
        Frame::Of(bytes.len().max(1))
    }

    fn read(&mut self, cx: &mut Cx<'_>, side: Side, frame: &[u8]) -> Result<(), Cut> {
        if self.session.is_none() && !self.told {
            self.session = Some(self.exchanges.draft(cx, Side::Client, operation::SESSION_OPEN, "session"));
        }
        self.directions[side as usize].bytes += frame.len() as u64;
        for byte in frame {
            self.byte(cx, side, *byte);
        }
        Ok(())
    }

    fn lost(&mut self, _cx: &mut Cx<'_>, side: Side) {
        self.directions[side as usize].at = At::Text;
        self.shown.clear();
        // What is typed may be the rest of a password.
        self.typing = Typing::Other;
    }

    fn expire(&mut self, cx: &mut Cx<'_>) {
        if self.session.as_ref().is_some_and(|session| cx.time - session.time > TELL_AFTER) {
            self.tell(cx);
        }
        if self.login.as_ref().is_some_and(|login| cx.time - login.time > TELL_AFTER) {
            self.finish(cx, status::NO_REPLY);
        }
    }

    fn close(&mut self, cx: &mut Cx<'_>) {
        self.finish(cx, status::NO_REPLY);
        self.tell(cx);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Run, Sample};

    const C: Side = Side::Client;
    const S: Side = Side::Server;

    pub fn sample() -> Sample {
        let said: [(Side, &[u8]); 11] = [
            (S, b"\xff\xfd\x18\xff\xfd\x27\xff\xfb\x01"),
            (C, b"\xff\xfb\x18\xff\xfb\x27"),
            (C, b"\xff\xfa\x18\x00vt100\xff\xf0"),
            (S, b"Robot 7\r\nlogin: "),
            (C, b"anmb\x7f\x7fna\r\0"),
            (S, b"anna\r\nPassword: "),
            (C, b"geheim\r\0"),
            (S, b"\r\nLogin incorrect\r\nlogin: "),
            (C, b"root\r\0"),
            (S, b"root\r\nPassword: "),
            (C, b"toor\r\0"),
        ];
        let mut said: Vec<_> = said.iter().map(|(side, bytes)| (*side, bytes.to_vec())).collect();
        said.push((S, b"\r\n# ".to_vec()));
        said.push((C, b"ls\r\0".to_vec()));
        Sample::tcp(said)
    }

    #[test]
    fn logins_are_rows_with_their_outcome() {
        let mut run = Run::new(&PROTOCOL);
        for (side, bytes) in sample().said {
            run.send(side, &bytes);
        }
        run.close();
        assert_eq!(
            run.table(&["function", "operation", "target", "status", "exchange"]),
            [
                "login|authenticate|anna|denied|pair",
                "login|authenticate|root|ok|pair",
                "session|session.open||ok|pair"
            ]
        );
        let session = run.messages()[2];
        assert!(session.text("values").contains("\"server do terminal_type\""));
        assert!(session.text("detail").contains("\"terminal_type\":\"vt100\""));
        let all = format!("{:?}", run.rows);
        assert!(!all.contains("geheim") && !all.contains("toor"));
    }

    #[test]
    fn the_environment_names_the_user_and_a_session_that_lasts_is_told() {
        let mut run = Run::new(&PROTOCOL);
        run.send(C, b"\xff\xfb\x27\xff\xfa\x27\x00\x00USER\x01otto\x03X\x01y\xff\xf0");
        run.pass(61 * SECOND);
        run.close();
        assert_eq!(run.table(&["function", "status"]), ["session|no_reply"]);
        assert!(run.messages()[0].text("detail").contains("\"user\":\"otto\""));
    }
}
