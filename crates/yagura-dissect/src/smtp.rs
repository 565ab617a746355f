//! SMTP (RFC 5321; RFC 3030 BDAT, RFC 3207 STARTTLS, RFC 4954 AUTH).
//!
//! A command and its reply are one row. Mails are counted and not kept, credentials are dropped
//! but for the user's name. After STARTTLS the connection goes over to TLS.

use yagura_event::clock::{Micros, SECOND};
use yagura_event::rows::IdentityRow;
use yagura_event::vocabulary::{operation, status};

use crate::exchange::{Draft, Exchanges};
use crate::lines::{self, Begins, Replies, TEXT_MAX};
use crate::talk::{self, Talk};
use crate::{Carrier, Cx, FlowInfo, Glimpse, Probe, Protocol, Side, json};

/// The registry's entry.
pub const PROTOCOL: Protocol = Protocol {
    name: NAME,
    carriers: &[Carrier::tcp(&[25, 587, 2525])],
    probe,
    start: |_: &FlowInfo| talk::start(Smtp::new()),
    buffer_bytes_max: talk::LINE_MAX,
    #[cfg(test)]
    sample: tests::sample,
};

const NAME: &str = "smtp";
/// RFC 5321, 4.5.3.2.
const TIMEOUT: Micros = 300 * SECOND;

/// Commands, and what they do.
#[rustfmt::skip]
const COMMANDS: &[(&str, &str)] = &[
    ("EHLO", operation::SESSION_OPEN), ("HELO", operation::SESSION_OPEN), ("LHLO", operation::SESSION_OPEN),
    ("MAIL", operation::OTHER), ("RCPT", operation::OTHER), ("DATA", operation::OTHER), ("BDAT", operation::OTHER),
    ("RSET", operation::OTHER), ("STARTTLS", operation::OTHER), ("ETRN", operation::OTHER),
    ("AUTH", operation::AUTHENTICATE), ("VRFY", operation::DISCOVER), ("EXPN", operation::DISCOVER),
    ("HELP", operation::DISCOVER), ("NOOP", operation::SESSION_KEEP), ("QUIT", operation::SESSION_CLOSE),
];

fn probe(glimpse: &Glimpse<'_>) -> Probe {
    let bytes = glimpse.bytes;
    if bytes.first().is_none_or(u8::is_ascii_digit) {
        let codes = ["220", "554"].map(|code| lines::begins(bytes, code));
        if !glimpse.customary && codes == [Begins::No; 2] {
            return Probe::No;
        }
        let Some(end) = bytes.iter().take(512).position(|b| *b == b'\n') else {
            return if bytes.len() < 512 { Probe::More } else { Probe::No };
        };
        let line = lines::text(&bytes[..end]);
        let greeting = String::from_utf8_lossy(lines::clip_bytes(bytes, 2048)).to_ascii_lowercase();
        let named = greeting.contains("smtp") || greeting.contains(" mail");
        let fits = lines::reply(&line).is_some() && !greeting.contains("ftp");
        return if fits && (named || glimpse.customary) { Probe::Yes } else { Probe::No };
    }
    let opens = ["EHLO ", "HELO ", "LHLO "].map(|word| lines::begins(bytes, word));
    if opens.contains(&Begins::Yes) {
        return Probe::Yes;
    }
    if opens.contains(&Begins::SoFar) || (glimpse.customary && !bytes.contains(&b'\n') && bytes.len() < 12) {
        return Probe::More;
    }
    if glimpse.customary && is_command(&lines::text(bytes)) { Probe::Yes } else { Probe::No }
}

fn is_command(line: &str) -> bool {
    let (word, _) = lines::word(line.trim_end());
    COMMANDS.iter().any(|(command, _)| word.eq_ignore_ascii_case(command))
}

/// What the client's lines are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Commands,
    /// DATA was sent; a mail follows once the server says so.
    DataAsked,
    Mail,
    /// AUTH was sent: answers to challenges follow, the `n`th from 0.
    Auth(u32),
}

struct Smtp {
    exchanges: Exchanges<String>,
    replies: Replies,
    mode: Mode,
    mechanism: String,
    /// The user that AUTH named, and what its tokens say.
    user: String,
    token: String,
    content: u64,
    mail_bytes: u64,
    greeted: bool,
    over: bool,
}

impl Smtp {
    fn new() -> Smtp {
        Smtp {
            exchanges: Exchanges::new(NAME, TIMEOUT),
            replies: Replies::default(),
            mode: Mode::Commands,
            mechanism: String::new(),
            user: String::new(),
            token: String::new(),
            content: 0,
            mail_bytes: 0,
            greeted: false,
            over: false,
        }
    }

    fn client(&mut self, cx: &mut Cx<'_>, line: &str) {
        match self.mode {
            Mode::Mail if line == "." => self.mode = Mode::Commands,
            Mode::Mail => self.mail_bytes += line.len() as u64 + 2,
            Mode::DataAsked if !is_command(line) => {
                self.mode = Mode::Mail;
                self.client(cx, line);
            }
            Mode::Auth(step) if !is_command(line) => {
                self.credentials(step, line);
                self.mode = Mode::Auth(step + 1);
            }
            _ => self.command(cx, line),
        }
    }

    fn credentials(&mut self, step: u32, response: &str) {
        if let Some(user) = lines::sasl_user(&mut self.token, &self.mechanism, step, response) {
            self.user = lines::clip(&user, TEXT_MAX).to_string();
        }
    }

    fn command(&mut self, cx: &mut Cx<'_>, line: &str) {
        let (word, argument) = lines::word(line);
        let word = word.to_ascii_uppercase();
        if word.is_empty() || word.len() > 12 || !word.bytes().all(|b| b.is_ascii_alphabetic()) {
            return;
        }
        self.mode = Mode::Commands;
        let operation = COMMANDS.iter().find(|(c, _)| *c == word).map_or(operation::OTHER, |(_, o)| o);
        let mut draft = self.exchanges.draft(cx, Side::Client, operation, word.to_ascii_lowercase());
        match &*word {
            "AUTH" => {
                let (mechanism, initial) = lines::word(argument);
                self.mechanism = mechanism.to_ascii_uppercase();
                json::member_text(&mut draft.detail, "mechanism", lines::clip(&self.mechanism, 64));
                (self.user, self.token) = (String::new(), String::new());
                let first = !initial.is_empty();
                if first {
                    self.credentials(0, initial);
                }
                self.mode = Mode::Auth(u32::from(first));
            }
            "MAIL" | "RCPT" => {
                let address = argument.split_once(':').map_or(argument, |(_, address)| address.trim());
                let (address, _) = lines::word(address);
                draft.target.push_str(lines::clip(address.trim_matches(['<', '>']), TEXT_MAX));
            }
            "BDAT" => self.content = lines::word(argument).0.parse().unwrap_or(0),
            "DATA" => {
                self.mode = Mode::DataAsked;
                self.mail_bytes = 0;
            }
            _ => draft.target.push_str(lines::clip(argument.trim_end(), TEXT_MAX)),
        }
        if matches!(&*word, "EHLO" | "HELO" | "LHLO") {
            let row = IdentityRow { name: lines::clip(argument.trim_end(), 255), ..IdentityRow::default() };
            cx.identity(NAME, Side::Client, row);
        }
        self.exchanges.ask(cx, word, draft);
    }

    fn reply(&mut self, cx: &mut Cx<'_>, code: u16, text: &str) {
        match code {
            354 => return self.mode = Mode::Mail,
            // A challenge: its answer is the client's next line.
            334 => return,
            _ => {}
        }
        let greeting = matches!(code, 220 | 554) && !self.greeted;
        self.greeted = true;
        let found = if greeting { None } else { self.exchanges.take_if(Side::Server, |_, _| true) };
        let Some((command, mut draft)) = found else {
            let (operation, function) = match code {
                220 | 554 => (operation::SESSION_OPEN, "greeting"),
                421 => (operation::SESSION_CLOSE, "closing"),
                _ => (operation::OTHER, "reply"),
            };
            let mut draft = self.exchanges.draft(cx, Side::Client, operation, function);
            complete(&mut draft, code, text);
            if greeting {
                draft.status = if code == 220 { status::ONE_WAY } else { draft.status };
                let row = IdentityRow { firmware: lines::clip(text, TEXT_MAX), ..IdentityRow::default() };
                cx.identity(NAME, Side::Server, row);
            }
            return self.exchanges.unasked(cx, draft);
        };
        match &*command {
            "AUTH" => {
                self.mode = Mode::Commands;
                lines::member_object(&mut draft.detail, "token", std::mem::take(&mut self.token));
                draft.target.push_str(&self.user);
            }
            "DATA" => {
                self.mode = Mode::Commands;
                json::member_number(&mut draft.detail, "mail_bytes", std::mem::take(&mut self.mail_bytes));
            }
            "STARTTLS" if code == 220 => self.over = true,
            _ => {}
        }
        complete(&mut draft, code, text);
        self.exchanges.pair(cx, draft);
    }
}

impl Talk for Smtp {
    const PROTOCOL: &'static str = NAME;
    type Key = String;

    fn line(&mut self, cx: &mut Cx<'_>, side: Side, line: &str) {
        match side {
            Side::Client => self.client(cx, line),
            Side::Server => {
                if let Some((code, text)) = self.replies.line(line) {
                    self.reply(cx, code, &text);
                }
            }
        }
    }

    fn fits(&self, side: Side, line: &str) -> bool {
        match side {
            Side::Client => is_command(line) || line == ".",
            Side::Server => lines::reply(line).is_some(),
        }
    }

    fn exchanges(&mut self) -> &mut Exchanges<String> {
        &mut self.exchanges
    }

    fn content(&self, side: Side) -> u64 {
        if side == Side::Client { self.content } else { 0 }
    }

    fn passed(&mut self, side: Side, length: u64) {
        if side == Side::Client {
            self.content = self.content.saturating_sub(length);
            self.mail_bytes += length;
        }
    }

    fn over(&self) -> bool {
        self.over
    }

    fn lost(&mut self, side: Side) {
        self.content = 0;
        if side == Side::Server {
            self.replies.forget();
        }
    }
}

fn complete(draft: &mut Draft, code: u16, text: &str) {
    if code >= 400 {
        draft.deny(code.to_string());
    } else {
        draft.status_code = code.to_string().into();
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
            (S, "220 mail.fab ESMTP Postfix"),
            (C, "EHLO tool7"),
            (S, "250-mail.fab\r\n250-SIZE 1000\r\n250 AUTH LOGIN"),
            (C, "AUTH LOGIN"),
            (S, "334 VXNlcm5hbWU6"),
            (C, "YW5uYQ=="),
            (S, "334 UGFzc3dvcmQ6"),
            (C, "Z2VoZWlt"),
            (S, "235 ok"),
            (C, "MAIL FROM:<a@fab> SIZE=10"),
            (S, "250 ok"),
            (C, "RCPT TO:<b@fab>"),
            (S, "550 no"),
            (C, "DATA"),
            (S, "354 go"),
            (C, "Subject: x\r\n\r\nQUIT\r\n."),
            (S, "250 queued"),
            (C, "QUIT"),
            (S, "221 bye"),
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
            run.table(&["function", "operation", "target", "status", "status_code"]),
            [
                "greeting|session.open||one_way|220",
                "ehlo|session.open|tool7|ok|250",
                "auth|authenticate|anna|ok|235",
                "mail|other|a@fab|ok|250",
                "rcpt|other|b@fab|denied|550",
                "data|other||ok|250",
                "quit|session.close||ok|221",
            ]
        );
        assert!(run.messages()[5].text("detail").contains("\"mail_bytes\":20"));
        let all = format!("{:?}", run.rows);
        assert!(!all.contains("Z2VoZWlt") && !all.contains("geheim"));
    }

    #[test]
    fn after_starttls_the_connection_is_handed_over() {
        let mut run = Run::new(&PROTOCOL);
        for (side, text) in
            [(S, "220 x\r\n"), (C, "STARTTLS\r\n"), (S, "220 go\r\n"), (C, "\u{16}\u{3}\u{1}")]
        {
            run.send(side, text.as_bytes());
        }
        assert_eq!(run.rest[0], b"\x16\x03\x01");
    }
}
