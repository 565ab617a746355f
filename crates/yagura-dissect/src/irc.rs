//! IRC (RFC 1459, RFC 2812), by which machines are remotely controlled more often than people chat.
//!
//! Every line is a row: commands with whom or what they are about, and the server's numerics. What
//! is said is not kept. After STARTTLS the connection goes over to TLS.

use yagura_event::clock::SECOND;
use yagura_event::vocabulary::{operation, status};

use crate::exchange::Exchanges;
use crate::lines::{self, TEXT_MAX};
use crate::talk::{self, Talk};
use crate::{Carrier, Cx, FlowInfo, Glimpse, Probe, Protocol, Side, json};

/// The registry's entry.
pub const PROTOCOL: Protocol = Protocol {
    name: NAME,
    carriers: &[Carrier::tcp(&[6667, 6660, 6661, 6662, 6663, 6664, 6665, 6666, 6668, 6669, 7000, 194])],
    probe,
    start: |_: &FlowInfo| talk::start(Irc { exchanges: Exchanges::new(NAME, SECOND), over: false }),
    buffer_bytes_max: talk::LINE_MAX,
    #[cfg(test)]
    sample: tests::sample,
};

const NAME: &str = "irc";

/// Commands, and what they do.
#[rustfmt::skip]
const COMMANDS: &[(&str, &str)] = &[
    ("PASS", operation::AUTHENTICATE), ("OPER", operation::AUTHENTICATE), ("AUTHENTICATE", operation::AUTHENTICATE),
    ("NICK", operation::SESSION_OPEN), ("USER", operation::SESSION_OPEN), ("SERVER", operation::SESSION_OPEN),
    ("QUIT", operation::SESSION_CLOSE), ("SQUIT", operation::SESSION_CLOSE),
    ("PING", operation::SESSION_KEEP), ("PONG", operation::SESSION_KEEP),
    ("JOIN", operation::OTHER), ("PART", operation::OTHER), ("PRIVMSG", operation::OTHER),
    ("NOTICE", operation::OTHER), ("INVITE", operation::OTHER), ("AWAY", operation::OTHER), ("CAP", operation::OTHER),
    ("STARTTLS", operation::OTHER), ("WALLOPS", operation::OTHER), ("ISON", operation::DISCOVER),
    ("MODE", operation::CONFIGURE), ("TOPIC", operation::CONFIGURE),
    ("KICK", operation::CONTROL), ("KILL", operation::CONTROL), ("RESTART", operation::CONTROL),
    ("DIE", operation::CONTROL), ("REHASH", operation::CONTROL),
    ("LIST", operation::DISCOVER), ("NAMES", operation::DISCOVER), ("WHO", operation::DISCOVER),
    ("WHOIS", operation::DISCOVER), ("WHOWAS", operation::DISCOVER), ("MOTD", operation::DISCOVER),
    ("LUSERS", operation::DISCOVER), ("VERSION", operation::DISCOVER), ("STATS", operation::DISCOVER),
    ("LINKS", operation::DISCOVER), ("TIME", operation::DISCOVER), ("ADMIN", operation::DISCOVER),
    ("INFO", operation::DISCOVER), ("USERHOST", operation::DISCOVER), ("ERROR", operation::ERROR),
];

/// One line: who says it, what, and to what end.
struct Line<'a> {
    prefix: &'a str,
    command: &'a str,
    parameters: &'a str,
}

fn read(line: &str) -> Option<Line<'_>> {
    // Tags of a message stand before it (IRCv3).
    let line = if line.starts_with('@') { lines::word(line).1 } else { line };
    let (prefix, rest) = match line.strip_prefix(':') {
        Some(rest) => lines::word(rest),
        None => ("", line),
    };
    let (command, parameters) = lines::word(rest.trim_end());
    let numeric = command.len() == 3 && command.bytes().all(|b| b.is_ascii_digit()) && !prefix.is_empty();
    let known = COMMANDS.iter().any(|(known, _)| command.eq_ignore_ascii_case(known));
    (numeric || known).then_some(Line { prefix, command, parameters })
}

fn probe(glimpse: &Glimpse<'_>) -> Probe {
    let bytes = glimpse.bytes;
    let Some(end) = bytes.iter().take(600).position(|b| *b == b'\n') else {
        let begins = matches!(bytes, [] | [b':' | b'N' | b'U' | b'C' | b'P' | b'A' | b'S' | b'@', ..]);
        let fits = begins && bytes.len() < 600 && (glimpse.customary || bytes.len() < 80);
        return if fits && lines::printable(bytes) { Probe::More } else { Probe::No };
    };
    let text = lines::text(&bytes[..end]);
    let Some(line) = read(&text) else { return Probe::No };
    let shape = match &*line.command.to_ascii_uppercase() {
        _ if glimpse.customary => true,
        "NICK" => is_nick(line.parameters.trim_start_matches(':')),
        // USER has a name, a mode, something unused and a text; that of FTP has one word.
        "USER" => line.parameters.split(' ').count() >= 4 && line.parameters.contains(" :"),
        "NOTICE" => line.parameters.starts_with("AUTH :") || line.parameters.starts_with("* :"),
        "CAP" => line.parameters.starts_with("LS") || line.parameters.starts_with("REQ"),
        "001" => true,
        _ => false,
    };
    if shape { Probe::Yes } else { Probe::No }
}

fn is_nick(text: &str) -> bool {
    (1..=32).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"[]\\`_^{|}-".contains(&b))
}

struct Irc {
    exchanges: Exchanges<()>,
    over: bool,
}

impl Talk for Irc {
    const PROTOCOL: &'static str = NAME;
    type Key = ();

    fn line(&mut self, cx: &mut Cx<'_>, side: Side, line: &str) {
        let Some(Line { prefix, command, parameters }) = read(line) else { return };
        let upper = command.to_ascii_uppercase();
        let operation = COMMANDS.iter().find(|(c, _)| *c == upper).map_or(operation::OTHER, |(_, o)| o);
        let numeric = upper.as_bytes()[0].is_ascii_digit();
        let mut draft = self.exchanges.draft(cx, side, operation, upper.to_ascii_lowercase());
        draft.equipment = Side::Server;
        if !prefix.is_empty() {
            json::member_text(&mut draft.detail, "from", lines::clip(prefix, 256));
        }
        // What is said stands behind a colon, and secrets stand first.
        let (about, said) = match parameters.strip_prefix(':') {
            Some(text) => (text, ""),
            None => parameters.split_once(" :").unwrap_or((parameters, "")),
        };
        match &*upper {
            "PASS" | "AUTHENTICATE" => {}
            "OPER" | "JOIN" => draft.target.push_str(lines::clip(lines::word(about).0, TEXT_MAX)),
            _ => draft.target.push_str(lines::clip(about, TEXT_MAX)),
        }
        if !said.is_empty() {
            json::member_number(&mut draft.detail, "text_bytes", said.len() as u64);
        }
        if numeric {
            draft.status_code = upper.clone().into();
            if matches!(upper.as_bytes()[0], b'4' | b'5') {
                draft.status = status::DENIED;
            }
        }
        self.over |= upper == "670" && side == Side::Server;
        self.exchanges.one_way(cx, draft);
    }

    fn fits(&self, _side: Side, line: &str) -> bool {
        read(line).is_some()
    }

    fn exchanges(&mut self) -> &mut Exchanges<()> {
        &mut self.exchanges
    }

    fn over(&self) -> bool {
        self.over
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
            (C, "PASS geheim\r\nNICK bot7"),
            (C, "USER bot7 0 * :a bot"),
            (S, ":irc.fab 001 bot7 :Welcome"),
            (C, "JOIN #orders key"),
            (S, ":irc.fab 475 bot7 #orders :Cannot join"),
            (C, "PRIVMSG #orders :secret words"),
            (S, "PING :irc.fab"),
            (C, "PONG irc.fab"),
        ];
        let mut sample = Sample::tcp(
            said.iter().map(|(side, line)| (*side, format!("{line}\r\n").into_bytes())).collect(),
        );
        // `PASS` alone is other protocols' too.
        sample.customary_only = false;
        sample.said[0].1.drain(..13);
        sample
    }

    #[test]
    fn lines_are_rows_without_what_is_said() {
        let mut run = Run::new(&PROTOCOL);
        run.send(C, b"PASS geheim\r\n");
        for (side, bytes) in sample().said {
            run.send(side, &bytes);
        }
        run.close();
        assert_eq!(
            run.table(&["function", "operation", "target", "status"]),
            [
                "pass|authenticate||one_way",
                "nick|session.open|bot7|one_way",
                "user|session.open|bot7 0 *|one_way",
                "001|other|bot7|one_way",
                "join|other|#orders|one_way",
                "475|other|bot7 #orders|denied",
                "privmsg|other|#orders|one_way",
                "ping|session.keep|irc.fab|one_way",
                "pong|session.keep|irc.fab|one_way",
            ]
        );
        let all = format!("{:?}", run.rows);
        assert!(!all.contains("geheim") && !all.contains("secret words"));
    }

    #[test]
    fn after_starttls_the_connection_is_handed_over() {
        let mut run = Run::new(&PROTOCOL);
        for (side, text) in [(C, "STARTTLS\r\n"), (S, ":irc 670 * :go\r\n"), (C, "\u{16}\u{3}\u{1}")] {
            run.send(side, text.as_bytes());
        }
        assert_eq!(run.rest[0], b"\x16\x03\x01");
    }
}
