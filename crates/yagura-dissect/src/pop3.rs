//! POP3 (RFC 1939; RFC 2449 CAPA, RFC 2595 STLS, RFC 5034 AUTH).
//!
//! A command and its reply are one row. Mails are counted and not kept, credentials are dropped but
//! for the user's name. After STLS the connection goes over to TLS.

use yagura_event::clock::{Micros, SECOND};
use yagura_event::rows::IdentityRow;
use yagura_event::vocabulary::{operation, status};

use crate::exchange::{Draft, Exchanges};
use crate::lines::{self, Begins, TEXT_MAX};
use crate::talk::{self, Talk};
use crate::{Carrier, Cx, FlowInfo, Glimpse, Probe, Protocol, Side, json};

/// The registry's entry.
pub const PROTOCOL: Protocol = Protocol {
    name: NAME,
    carriers: &[Carrier::tcp(&[110])],
    probe,
    start: |_: &FlowInfo| talk::start(Pop3::new()),
    buffer_bytes_max: talk::LINE_MAX,
    #[cfg(test)]
    sample: tests::sample,
};

const NAME: &str = "pop3";
const TIMEOUT: Micros = 120 * SECOND;

/// Commands, and what they do.
#[rustfmt::skip]
const COMMANDS: &[(&str, &str)] = &[
    ("USER", operation::AUTHENTICATE), ("PASS", operation::AUTHENTICATE), ("APOP", operation::AUTHENTICATE),
    ("AUTH", operation::AUTHENTICATE), ("STAT", operation::DISCOVER), ("LIST", operation::DISCOVER),
    ("UIDL", operation::DISCOVER), ("CAPA", operation::DISCOVER), ("RETR", operation::READ), ("TOP", operation::READ),
    ("DELE", operation::WRITE), ("RSET", operation::OTHER), ("STLS", operation::OTHER), ("UTF8", operation::OTHER),
    ("NOOP", operation::SESSION_KEEP), ("QUIT", operation::SESSION_CLOSE),
];

fn probe(glimpse: &Glimpse<'_>) -> Probe {
    let bytes = glimpse.bytes;
    // Redis says `+OK` and no more.
    match lines::begins(bytes, if glimpse.customary { "+OK" } else { "+OK " }) {
        Begins::Yes if bytes.contains(&b'\n') && lines::printable(bytes) => return Probe::Yes,
        Begins::Yes | Begins::SoFar if bytes.len() < 512 && lines::printable(bytes) => return Probe::More,
        _ => {}
    }
    if !glimpse.customary {
        return Probe::No;
    }
    match bytes.iter().take(512).position(|b| *b == b'\n') {
        Some(end) if is_command(&lines::text(&bytes[..end])) || bytes.starts_with(b"-ERR") => Probe::Yes,
        None if bytes.len() < 512 && lines::printable(bytes) => Probe::More,
        _ => Probe::No,
    }
}

fn is_command(line: &str) -> bool {
    let (word, _) = lines::word(line.trim_end());
    COMMANDS.iter().any(|(command, _)| word.eq_ignore_ascii_case(command))
}

struct Pop3 {
    exchanges: Exchanges<Asked>,
    /// The reply of several lines that is not whole yet, and its bytes.
    open: Option<(Draft, u64)>,
    user: String,
    /// The step of AUTH whose answer comes next, and its mechanism.
    auth: Option<(u32, String)>,
    token: String,
    greeted: bool,
    over: bool,
}

struct Asked {
    command: String,
    several_lines: bool,
}

impl Pop3 {
    fn new() -> Pop3 {
        Pop3 {
            exchanges: Exchanges::new(NAME, TIMEOUT),
            open: None,
            user: String::new(),
            auth: None,
            token: String::new(),
            greeted: false,
            over: false,
        }
    }

    fn credentials(&mut self, step: u32, mechanism: &str, response: &str) {
        if let Some(user) = lines::sasl_user(&mut self.token, mechanism, step, response) {
            self.user = lines::clip(&user, TEXT_MAX).to_string();
        }
    }

    fn command(&mut self, cx: &mut Cx<'_>, line: &str) {
        if let Some((step, mechanism)) = self.auth.take()
            && !is_command(line)
        {
            self.credentials(step, &mechanism, line);
            self.auth = Some((step + 1, mechanism));
            return;
        }
        let (word, argument) = lines::word(line);
        let word = word.to_ascii_uppercase();
        if word.is_empty() || word.len() > 8 || !word.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return;
        }
        let argument = argument.trim_end();
        let operation = COMMANDS.iter().find(|(c, _)| *c == word).map_or(operation::OTHER, |(_, o)| o);
        let mut draft = self.exchanges.draft(cx, Side::Client, operation, word.to_ascii_lowercase());
        match &*word {
            "USER" | "APOP" => {
                self.user = lines::clip(lines::word(argument).0, TEXT_MAX).to_string();
                draft.target.clone_from(&self.user);
            }
            "PASS" => draft.target.clone_from(&self.user),
            "AUTH" if !argument.is_empty() => {
                let (mechanism, initial) = lines::word(argument);
                json::member_text(&mut draft.detail, "mechanism", lines::clip(mechanism, 64));
                self.user.clear();
                let first = !initial.is_empty();
                if first {
                    self.credentials(0, mechanism, initial);
                }
                self.auth = Some((u32::from(first), mechanism.to_string()));
            }
            _ => draft.target.push_str(lines::clip(argument, TEXT_MAX)),
        }
        let several_lines = matches!(
            (&*word, argument.is_empty()),
            ("RETR" | "TOP" | "CAPA", _) | ("LIST" | "UIDL" | "AUTH", true)
        );
        self.exchanges.ask(cx, Asked { command: word, several_lines }, draft);
    }

    fn reply(&mut self, cx: &mut Cx<'_>, line: &str) {
        if let Some((mut draft, bytes)) = self.open.take() {
            if line == "." {
                json::member_number(&mut draft.detail, "reply_bytes", bytes);
                self.exchanges.pair(cx, draft);
            } else {
                self.open = Some((draft, bytes + line.len() as u64 + 2));
            }
            return;
        }
        let good = line.starts_with("+OK");
        if !good && !line.starts_with("-ERR") {
            // `+ ` asks for the next answer of AUTH.
            return;
        }
        let text = line.split_once(' ').map_or("", |(_, text)| text);
        let greeting = !std::mem::replace(&mut self.greeted, true) && good;
        let Some((asked, mut draft)) = self.exchanges.take_if(Side::Server, |_, _| true) else {
            let (operation, function) =
                if greeting { (operation::SESSION_OPEN, "greeting") } else { (operation::OTHER, "reply") };
            let mut draft = self.exchanges.draft(cx, Side::Client, operation, function);
            complete(&mut draft, good, text);
            if greeting {
                draft.status = status::ONE_WAY;
                let row = IdentityRow { firmware: lines::clip(text, TEXT_MAX), ..IdentityRow::default() };
                cx.identity(NAME, Side::Server, row);
            }
            return self.exchanges.unasked(cx, draft);
        };
        complete(&mut draft, good, text);
        match &*asked.command {
            "AUTH" if draft.target.is_empty() => {
                self.auth = None;
                lines::member_object(&mut draft.detail, "token", std::mem::take(&mut self.token));
                draft.target.push_str(&self.user);
            }
            "STLS" if good => self.over = true,
            _ => {}
        }
        if good && asked.several_lines {
            self.open = Some((draft, 0));
        } else {
            self.exchanges.pair(cx, draft);
        }
    }
}

impl Talk for Pop3 {
    const PROTOCOL: &'static str = NAME;
    type Key = Asked;

    fn line(&mut self, cx: &mut Cx<'_>, side: Side, line: &str) {
        match side {
            Side::Client => self.command(cx, line),
            Side::Server => self.reply(cx, line),
        }
    }

    fn fits(&self, side: Side, line: &str) -> bool {
        match side {
            Side::Client => is_command(line),
            Side::Server => line.starts_with("+OK") || line.starts_with("-ERR") || line == ".",
        }
    }

    fn exchanges(&mut self) -> &mut Exchanges<Asked> {
        &mut self.exchanges
    }

    fn passed(&mut self, side: Side, length: u64) {
        if let (Side::Server, Some((_, bytes))) = (side, &mut self.open) {
            *bytes += length;
        }
    }

    fn over(&self) -> bool {
        self.over
    }

    fn end(&mut self, cx: &mut Cx<'_>) {
        if let Some((draft, _)) = self.open.take() {
            self.exchanges.pair(cx, draft);
        }
    }
}

fn complete(draft: &mut Draft, good: bool, text: &str) {
    if good {
        draft.status_code = "+OK".into();
    } else {
        draft.deny("-ERR");
    }
    if !text.is_empty() {
        json::member_text(&mut draft.detail, "reply", lines::clip(text, 256));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Run, Sample};

    const C: Side = Side::Client;
    const S: Side = Side::Server;

    pub fn sample() -> Sample {
        let said = [
            (S, "+OK Dovecot ready"),
            (C, "USER anna"),
            (S, "+OK"),
            (C, "PASS geheim"),
            (S, "-ERR no"),
            (C, "AUTH PLAIN"),
            (S, "+ "),
            (C, "AHRpbQB0YW5zdGFhZnRhbnN0YWFm"),
            (S, "+OK in"),
            (C, "RETR 1"),
            (S, "+OK 5 octets\r\nhello\r\n."),
            (C, "QUIT"),
            (S, "+OK bye"),
        ];
        Sample::tcp(said.iter().map(|(side, line)| (*side, format!("{line}\r\n").into_bytes())).collect())
    }

    #[test]
    fn commands_are_rows_and_mails_are_counted() {
        let mut run = Run::new(&PROTOCOL);
        for (side, bytes) in sample().said {
            run.send(side, &bytes);
        }
        run.close();
        assert_eq!(
            run.table(&["function", "operation", "target", "status"]),
            [
                "greeting|session.open||one_way",
                "user|authenticate|anna|ok",
                "pass|authenticate|anna|denied",
                "auth|authenticate|tim|ok",
                "retr|read|1|ok",
                "quit|session.close||ok",
            ]
        );
        assert!(run.messages()[4].text("detail").contains("\"reply_bytes\":7"));
        assert!(!format!("{:?}", run.rows).contains("geheim"));
    }

    #[test]
    fn after_stls_the_connection_is_handed_over() {
        let mut run = Run::new(&PROTOCOL);
        for (side, text) in [(S, "+OK x\r\n"), (C, "STLS\r\n"), (S, "+OK go\r\n"), (C, "\u{16}\u{3}\u{1}")] {
            run.send(side, text.as_bytes());
        }
        assert_eq!(run.rest[0], b"\x16\x03\x01");
    }
}
