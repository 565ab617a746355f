//! IMAP (RFC 3501, RFC 9051): commands with their tagged replies.
//!
//! Mails and literals are passed over, credentials are dropped but for the user's name. After
//! STARTTLS the connection goes over to TLS.

use yagura_event::clock::{Micros, SECOND};
use yagura_event::rows::IdentityRow;
use yagura_event::vocabulary::{operation, status};

use crate::exchange::Exchanges;
use crate::lines::{self, Begins, TEXT_MAX};
use crate::talk::{self, Talk};
use crate::{Carrier, Cx, FlowInfo, Glimpse, Probe, Protocol, Side, json};

/// The registry's entry.
pub const PROTOCOL: Protocol = Protocol {
    name: NAME,
    carriers: &[Carrier::tcp(&[143])],
    probe,
    start: |_: &FlowInfo| talk::start(Imap::new()),
    buffer_bytes_max: talk::LINE_MAX,
    #[cfg(test)]
    sample: tests::sample,
};

const NAME: &str = "imap";
const TIMEOUT: Micros = 300 * SECOND;

/// Commands, and what they do.
#[rustfmt::skip]
const COMMANDS: &[(&str, &str)] = &[
    ("LOGIN", operation::AUTHENTICATE), ("AUTHENTICATE", operation::AUTHENTICATE),
    ("LOGOUT", operation::SESSION_CLOSE), ("NOOP", operation::SESSION_KEEP), ("IDLE", operation::SESSION_KEEP),
    ("CAPABILITY", operation::DISCOVER), ("ID", operation::DISCOVER), ("LIST", operation::DISCOVER),
    ("LSUB", operation::DISCOVER), ("XLIST", operation::DISCOVER), ("STATUS", operation::DISCOVER),
    ("NAMESPACE", operation::DISCOVER), ("FETCH", operation::READ), ("SEARCH", operation::READ),
    ("SORT", operation::READ), ("THREAD", operation::READ), ("UID", operation::READ),
    ("APPEND", operation::WRITE), ("STORE", operation::WRITE), ("COPY", operation::WRITE), ("MOVE", operation::WRITE),
    ("CREATE", operation::WRITE), ("DELETE", operation::WRITE), ("RENAME", operation::WRITE),
    ("EXPUNGE", operation::WRITE), ("SUBSCRIBE", operation::OTHER), ("UNSUBSCRIBE", operation::OTHER),
    ("SELECT", operation::OTHER), ("EXAMINE", operation::OTHER), ("CLOSE", operation::OTHER),
    ("CHECK", operation::OTHER), ("ENABLE", operation::OTHER), ("STARTTLS", operation::OTHER),
];

fn probe(glimpse: &Glimpse<'_>) -> Probe {
    let bytes = glimpse.bytes;
    let greetings = ["* OK ", "* PREAUTH ", "* BYE "].map(|begin| lines::begins(bytes, begin));
    if greetings.contains(&Begins::Yes) {
        return if lines::printable(bytes) { Probe::Yes } else { Probe::No };
    }
    if greetings.contains(&Begins::SoFar) {
        return Probe::More;
    }
    match bytes.iter().take(512).position(|b| *b == b'\n') {
        Some(end) => {
            let line = lines::text(&bytes[..end]);
            let known = command(&line).is_some();
            // On another port, what clients begin with.
            let opens = ["CAPABILITY", "LOGIN", "AUTHENTICATE", "STARTTLS"];
            let opens = command(&line).is_some_and(|(_, word, _)| opens.contains(&word));
            let untagged = glimpse.customary && line.starts_with("* ");
            if (known && (glimpse.customary || opens)) || untagged { Probe::Yes } else { Probe::No }
        }
        None if glimpse.customary && bytes.len() < 512 && lines::printable(bytes) => Probe::More,
        None => Probe::No,
    }
}

/// Tag, command and arguments of a line.
fn command(line: &str) -> Option<(&str, &'static str, &str)> {
    let (tag, rest) = lines::word(line.trim_end());
    let (word, arguments) = lines::word(rest);
    let (known, _) = COMMANDS.iter().find(|(known, _)| word.eq_ignore_ascii_case(known))?;
    is_tag(tag).then_some((tag, known, arguments))
}

fn is_tag(tag: &str) -> bool {
    (1..=32).contains(&tag.len())
        && tag.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'$'))
}

/// The length of the literal that follows a line (RFC 9051, 4.3).
fn literal(line: &str) -> u64 {
    let Some(inside) = line.strip_suffix('}') else { return 0 };
    let digits = inside.rsplit('{').next().unwrap_or_default();
    digits.trim_end_matches(['+', '-']).parse().unwrap_or(0)
}

/// The first argument, without quotes.
fn first(arguments: &str) -> &str {
    match arguments.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next().unwrap_or_default(),
        None => lines::word(arguments).0,
    }
}

struct Imap {
    exchanges: Exchanges<(String, &'static str)>,
    /// Bytes of a literal that come next, of each side.
    literals: [u64; 2],
    /// Whether the next line goes on with the one before the literal.
    goes_on: [bool; 2],
    /// The step of AUTHENTICATE whose answer comes next, and its mechanism.
    auth: Option<(u32, String)>,
    user: String,
    token: String,
    greeted: bool,
    over: bool,
}

impl Imap {
    fn new() -> Imap {
        Imap {
            exchanges: Exchanges::new(NAME, TIMEOUT),
            literals: [0; 2],
            goes_on: [false; 2],
            auth: None,
            user: String::new(),
            token: String::new(),
            greeted: false,
            over: false,
        }
    }

    fn request(&mut self, cx: &mut Cx<'_>, line: &str) {
        if let Some((step, mechanism)) = self.auth.take()
            && command(line).is_none()
        {
            if let Some(user) = lines::sasl_user(&mut self.token, &mechanism, step, line) {
                self.user = lines::clip(&user, TEXT_MAX).to_string();
            }
            self.auth = Some((step + 1, mechanism));
            return;
        }
        // What ends IDLE has no tag, nor have the lines within.
        let Some((tag, word, arguments)) = command(line) else { return };
        let operation = COMMANDS.iter().find(|(c, _)| *c == word).map_or(operation::OTHER, |(_, o)| o);
        let mut draft = self.exchanges.draft(cx, Side::Client, operation, word.to_ascii_lowercase());
        match word {
            "LOGIN" => draft.target.push_str(lines::clip(first(arguments), TEXT_MAX)),
            "AUTHENTICATE" => {
                let (mechanism, initial) = lines::word(arguments);
                json::member_text(&mut draft.detail, "mechanism", lines::clip(mechanism, 64));
                self.user.clear();
                self.token.clear();
                let some = !initial.is_empty();
                if some && let Some(user) = lines::sasl_user(&mut self.token, mechanism, 0, initial) {
                    self.user = lines::clip(&user, TEXT_MAX).to_string();
                }
                self.auth = Some((u32::from(some), mechanism.to_string()));
            }
            "UID" => {
                let (of, rest) = lines::word(arguments);
                draft.function = format!("uid_{}", of.to_ascii_lowercase()).into();
                draft.target.push_str(lines::clip(rest, 256));
            }
            "SELECT" | "EXAMINE" | "APPEND" | "CREATE" | "DELETE" | "STATUS" => {
                draft.target.push_str(lines::clip(first(arguments), TEXT_MAX));
            }
            _ => draft.target.push_str(lines::clip(arguments, 256)),
        }
        self.exchanges.ask(cx, (tag.to_string(), word), draft);
    }

    fn reply(&mut self, cx: &mut Cx<'_>, line: &str) {
        let (tag, rest) = lines::word(line);
        let (answer, text) = lines::word(rest);
        let answer = answer.to_ascii_uppercase();
        if tag == "+" {
            return;
        }
        if tag == "*" {
            let first = !std::mem::replace(&mut self.greeted, true);
            if first && matches!(&*answer, "OK" | "PREAUTH" | "BYE") {
                let row = IdentityRow { firmware: lines::clip(text, TEXT_MAX), ..IdentityRow::default() };
                cx.identity(NAME, Side::Server, row);
                let mut draft = self.exchanges.draft(cx, Side::Client, operation::SESSION_OPEN, "greeting");
                draft.status = status::ONE_WAY;
                draft.status_code = answer.into();
                json::member_text(&mut draft.detail, "reply", lines::clip(text, 256));
                self.exchanges.unasked(cx, draft);
            }
            return;
        }
        self.greeted = true;
        if !matches!(&*answer, "OK" | "NO" | "BAD") || !is_tag(tag) {
            return;
        }
        let found = self.exchanges.take_if(Side::Server, |(waits, _), _| waits == tag);
        let asked = found.is_some();
        let ((_, word), mut draft) = found.unwrap_or_else(|| {
            ((String::new(), ""), self.exchanges.draft(cx, Side::Client, operation::OTHER, "reply"))
        });
        if word == "AUTHENTICATE" {
            self.auth = None;
            lines::member_object(&mut draft.detail, "token", std::mem::take(&mut self.token));
            draft.target.push_str(&self.user);
        }
        if answer == "OK" {
            draft.status_code = "OK".into();
        } else {
            draft.deny(answer.clone());
        }
        if !text.is_empty() {
            json::member_text(&mut draft.detail, "reply", lines::clip(text, 256));
        }
        self.over |= word == "STARTTLS" && answer == "OK";
        if asked { self.exchanges.pair(cx, draft) } else { self.exchanges.unasked(cx, draft) }
    }
}

impl Talk for Imap {
    const PROTOCOL: &'static str = NAME;
    type Key = (String, &'static str);

    fn line(&mut self, cx: &mut Cx<'_>, side: Side, line: &str) {
        let place = side as usize;
        let follows = literal(line);
        self.literals[place] = follows;
        if std::mem::replace(&mut self.goes_on[place], follows > 0) {
            return;
        }
        match side {
            Side::Client => self.request(cx, line),
            Side::Server => self.reply(cx, line),
        }
    }

    fn fits(&self, side: Side, line: &str) -> bool {
        match side {
            Side::Client => command(line).is_some(),
            Side::Server => line.starts_with("* ") || is_tag(lines::word(line).0),
        }
    }

    fn exchanges(&mut self) -> &mut Exchanges<Self::Key> {
        &mut self.exchanges
    }

    fn content(&self, side: Side) -> u64 {
        self.literals[side as usize]
    }

    fn passed(&mut self, side: Side, length: u64) {
        let literal = &mut self.literals[side as usize];
        *literal = literal.saturating_sub(length);
    }

    fn over(&self) -> bool {
        self.over
    }

    fn lost(&mut self, side: Side) {
        self.literals[side as usize] = 0;
        self.goes_on[side as usize] = false;
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
            (S, "* OK IMAP4rev1 ready"),
            (C, "a1 LOGIN \"anna\" geheim"),
            (S, "a1 OK in"),
            (C, "a2 AUTHENTICATE PLAIN"),
            (S, "+ "),
            (C, "AHRpbQB0YW5zdGFhZnRhbnN0YWFm"),
            (S, "a2 NO failed"),
            (C, "a3 UID FETCH 1 BODY[]"),
            (S, "* 1 FETCH (BODY[] {8}\r\na3 OK\r\nx)\r\na3 OK done"),
            (C, "a4 LOGOUT"),
            (S, "* BYE\r\na4 OK"),
        ];
        Sample::tcp(said.iter().map(|(side, line)| (*side, format!("{line}\r\n").into_bytes())).collect())
    }

    #[test]
    fn commands_are_rows_by_their_tags() {
        let mut run = Run::new(&PROTOCOL);
        for (side, bytes) in sample().said {
            run.send(side, &bytes);
        }
        run.close();
        assert_eq!(
            run.table(&["function", "operation", "target", "status", "status_code"]),
            [
                "greeting|session.open||one_way|OK",
                "login|authenticate|anna|ok|OK",
                "authenticate|authenticate|tim|denied|NO",
                "uid_fetch|read|1 BODY[]|ok|OK",
                "logout|session.close||ok|OK",
            ]
        );
        assert!(!format!("{:?}", run.rows).contains("geheim"));
    }

    #[test]
    fn after_starttls_the_connection_is_handed_over() {
        let mut run = Run::new(&PROTOCOL);
        for (side, text) in
            [(S, "* OK x\r\n"), (C, "1 STARTTLS\r\n"), (S, "1 OK go\r\n"), (C, "\u{16}\u{3}\u{1}")]
        {
            run.send(side, text.as_bytes());
        }
        assert_eq!(run.rest[0], b"\x16\x03\x01");
    }
}
