//! FTP's control connection (RFC 959; RFC 2228 security, RFC 2428 EPRT and EPSV, RFC 3659).
//!
//! A command and its last reply are one row. Files that go to the device or leave it are programs
//! written and read. Data connections are announced in `detail`; their bytes are in no row. After
//! AUTH TLS the connection goes over to TLS.

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
    carriers: &[Carrier::tcp(&[21, 2121])],
    probe,
    start: |_: &FlowInfo| talk::start(Ftp::new()),
    buffer_bytes_max: talk::LINE_MAX,
    #[cfg(test)]
    sample: tests::sample,
};

const NAME: &str = "ftp";
/// Transfers take their time, and the last reply comes behind them.
const TIMEOUT: Micros = 600 * SECOND;

/// Commands, and what they do.
#[rustfmt::skip]
const COMMANDS: &[(&str, &str)] = &[
    ("USER", operation::AUTHENTICATE), ("PASS", operation::AUTHENTICATE), ("ACCT", operation::AUTHENTICATE),
    ("AUTH", operation::AUTHENTICATE), ("ADAT", operation::AUTHENTICATE),
    ("RETR", operation::PROGRAM_READ),
    ("STOR", operation::PROGRAM_WRITE), ("STOU", operation::PROGRAM_WRITE), ("APPE", operation::PROGRAM_WRITE),
    ("DELE", operation::WRITE), ("RMD", operation::WRITE), ("XRMD", operation::WRITE), ("MKD", operation::WRITE),
    ("XMKD", operation::WRITE), ("RNFR", operation::WRITE), ("RNTO", operation::WRITE), ("MFMT", operation::WRITE),
    ("SITE", operation::CONTROL), ("ABOR", operation::CONTROL), ("REIN", operation::CONTROL),
    ("LIST", operation::DISCOVER), ("NLST", operation::DISCOVER), ("MLSD", operation::DISCOVER),
    ("MLST", operation::DISCOVER), ("STAT", operation::DISCOVER), ("SYST", operation::DISCOVER),
    ("FEAT", operation::DISCOVER), ("HELP", operation::DISCOVER), ("SIZE", operation::DISCOVER),
    ("MDTM", operation::DISCOVER), ("PWD", operation::DISCOVER), ("XPWD", operation::DISCOVER),
    ("CWD", operation::OTHER), ("XCWD", operation::OTHER), ("CDUP", operation::OTHER), ("XCUP", operation::OTHER),
    ("TYPE", operation::OTHER), ("MODE", operation::OTHER), ("STRU", operation::OTHER), ("PORT", operation::OTHER),
    ("PASV", operation::OTHER), ("EPRT", operation::OTHER), ("EPSV", operation::OTHER), ("LPRT", operation::OTHER),
    ("LPSV", operation::OTHER), ("REST", operation::OTHER), ("ALLO", operation::OTHER), ("SMNT", operation::OTHER),
    ("OPTS", operation::OTHER), ("LANG", operation::OTHER), ("HOST", operation::OTHER), ("CLNT", operation::OTHER),
    ("PBSZ", operation::OTHER), ("PROT", operation::OTHER), ("CCC", operation::OTHER), ("MIC", operation::OTHER),
    ("CONF", operation::OTHER), ("ENC", operation::OTHER), ("CSID", operation::OTHER),
    ("NOOP", operation::SESSION_KEEP), ("QUIT", operation::SESSION_CLOSE),
];

fn probe(glimpse: &Glimpse<'_>) -> Probe {
    let bytes = glimpse.bytes;
    let end = bytes.iter().take(talk::LINE_MAX).position(|b| *b == b'\n');
    if bytes.first().is_none_or(u8::is_ascii_digit) {
        let codes = ["220", "120"].map(|code| lines::begins(bytes, code));
        if !glimpse.customary && codes == [Begins::No; 2] {
            return Probe::No;
        }
        let Some(end) = end else {
            return if bytes.len() < 512 { Probe::More } else { Probe::No };
        };
        // The greeting: that of a mail server looks the same.
        let line = lines::text(&bytes[..end]);
        let greeting = String::from_utf8_lossy(lines::clip_bytes(bytes, 2048)).to_ascii_lowercase();
        let mail = greeting.contains("smtp") || greeting.contains(" mail");
        let named = greeting.contains("ftp");
        let fits = lines::reply(&line).is_some() && !mail;
        return if fits && (named || glimpse.customary) { Probe::Yes } else { Probe::No };
    }
    if !glimpse.customary {
        return Probe::No;
    }
    let known =
        COMMANDS.iter().map(|(command, _)| lines::begins(bytes, command)).max_by_key(|b| *b == Begins::Yes);
    match end {
        Some(end) => {
            let line = lines::text(&bytes[..end]);
            if command(&line).is_some() { Probe::Yes } else { Probe::No }
        }
        None if known == Some(Begins::Yes) && bytes.len() < 512 => Probe::More,
        None if COMMANDS.iter().any(|(c, _)| lines::begins(bytes, c) == Begins::SoFar) => Probe::More,
        None => Probe::No,
    }
}

/// The known command that a line has, and what it does.
fn command(line: &str) -> Option<(&'static str, &'static str)> {
    let (word, _) = lines::word(line);
    COMMANDS.iter().find(|(command, _)| word.eq_ignore_ascii_case(command)).copied()
}

struct Ftp {
    exchanges: Exchanges<Asked>,
    replies: Replies,
    user: String,
    directory: String,
    greeted: bool,
    over: bool,
}

/// What a reply is read with.
struct Asked {
    command: String,
    argument: String,
}

impl Ftp {
    fn new() -> Ftp {
        Ftp {
            exchanges: Exchanges::new(NAME, TIMEOUT),
            replies: Replies::default(),
            user: String::new(),
            directory: String::new(),
            greeted: false,
            over: false,
        }
    }

    fn command(&mut self, cx: &mut Cx<'_>, line: &str) {
        // What Telnet needs before ABOR.
        let line = line.trim_start_matches(|c: char| !c.is_ascii_alphabetic());
        let (word, argument) = lines::word(line);
        if word.is_empty() || word.len() > 12 || !word.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return;
        }
        let operation = command(line).map_or(operation::OTHER, |(_, operation)| operation);
        let word = word.to_ascii_lowercase();
        let mut draft = self.exchanges.draft(cx, Side::Client, operation, word.clone());
        let argument = lines::clip(argument.trim_end(), TEXT_MAX);
        match &*word {
            "pass" | "acct" | "adat" => draft.target.clone_from(&self.user),
            "user" => {
                self.user = argument.to_string();
                draft.target.push_str(argument);
            }
            _ => draft.target.push_str(argument),
        }
        if !self.user.is_empty() && draft.operation != operation::OTHER {
            json::member_text(&mut draft.detail, "user", &self.user);
        }
        let relative = !argument.starts_with('/') && !self.directory.is_empty();
        if relative
            && matches!(&*word, "retr" | "stor" | "stou" | "appe" | "dele" | "rnfr" | "rnto" | "mkd" | "rmd")
        {
            json::member_text(&mut draft.detail, "directory", &self.directory);
        }
        let announced = match &*word {
            "port" => port(argument),
            "eprt" => extended_port(argument, &cx.flow.client.address),
            _ => None,
        };
        announce(&mut draft, announced);
        let argument =
            if draft.operation == operation::AUTHENTICATE && word != "auth" { "" } else { argument };
        self.exchanges.ask(cx, Asked { command: word, argument: argument.to_string() }, draft);
    }

    fn reply(&mut self, cx: &mut Cx<'_>, code: u16, text: &str) {
        let greeting = code == 220 && !std::mem::replace(&mut self.greeted, true);
        // Preliminary: the last one follows.
        if code < 200 {
            return;
        }
        let found = if greeting { None } else { self.exchanges.take_if(Side::Server, |_, _| true) };
        let Some((asked, mut draft)) = found else {
            let (operation, function) = match code {
                220 => (operation::SESSION_OPEN, "greeting"),
                421 => (operation::SESSION_CLOSE, "closing"),
                _ => (operation::OTHER, "reply"),
            };
            let mut draft = self.exchanges.draft(cx, Side::Client, operation, function);
            complete(&mut draft, code, text);
            if greeting {
                draft.status = status::ONE_WAY;
                let row = IdentityRow { firmware: lines::clip(text, TEXT_MAX), ..IdentityRow::default() };
                cx.identity(NAME, Side::Server, row);
            }
            self.exchanges.unasked(cx, draft);
            return;
        };
        complete(&mut draft, code, text);
        let good = (200..300).contains(&code);
        match &*asked.command {
            "pasv" | "epsv" | "lpsv" if good => {
                let announced = match code {
                    227 => text.find(|c: char| c.is_ascii_digit()).and_then(|at| port(&text[at..])),
                    229 => {
                        text.split(['(', ')']).nth(1).and_then(|t| extended_port(t, &cx.flow.server.address))
                    }
                    _ => None,
                };
                announce(&mut draft, announced);
            }
            "pwd" | "xpwd" | "mkd" if code == 257 => {
                if let Some(path) = text.split('"').nth(1).filter(|_| asked.command != "mkd") {
                    self.directory = path.to_string();
                }
            }
            "cwd" | "xcwd" if good => {
                if asked.argument.starts_with('/') {
                    self.directory = asked.argument;
                } else if !self.directory.is_empty() {
                    let between = if self.directory.ends_with('/') { "" } else { "/" };
                    self.directory =
                        lines::clip(&format!("{}{between}{}", self.directory, asked.argument), TEXT_MAX)
                            .to_string();
                }
            }
            "cdup" | "xcup" if good => self.directory.clear(),
            "syst" if code == 215 => {
                let mut detail = String::new();
                json::member_text(&mut detail, "system", lines::clip(text, TEXT_MAX));
                json::end(&mut detail);
                cx.identity(NAME, Side::Server, IdentityRow { detail: &detail, ..IdentityRow::default() });
            }
            "auth" if code == 234 => self.over = true,
            _ => {}
        }
        self.exchanges.pair(cx, draft);
    }
}

impl Talk for Ftp {
    const PROTOCOL: &'static str = NAME;
    type Key = Asked;

    fn line(&mut self, cx: &mut Cx<'_>, side: Side, line: &str) {
        match side {
            Side::Client => self.command(cx, line),
            Side::Server => {
                if let Some((code, text)) = self.replies.line(line) {
                    self.reply(cx, code, &text);
                }
            }
        }
    }

    fn fits(&self, side: Side, line: &str) -> bool {
        match side {
            Side::Client => command(line).is_some(),
            Side::Server => lines::reply(line).is_some(),
        }
    }

    fn exchanges(&mut self) -> &mut Exchanges<Asked> {
        &mut self.exchanges
    }

    fn over(&self) -> bool {
        self.over
    }

    fn lost(&mut self, side: Side) {
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

fn announce(draft: &mut Draft, address: Option<String>) {
    if let Some(address) = address {
        json::member_text(&mut draft.detail, "data_connection", &address);
    }
}

/// `h1,h2,h3,h4,p1,p2` (RFC 959, 4.1.2).
fn port(text: &str) -> Option<String> {
    let mut numbers = [0_u8; 6];
    let mut parts = text.split(',');
    for number in &mut numbers {
        let part = parts.next()?.trim();
        let end = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
        *number = part[..end].parse().ok()?;
    }
    let [a, b, c, d, high, low] = numbers;
    Some(format!("{a}.{b}.{c}.{d}:{}", u16::from_be_bytes([high, low])))
}

/// `|protocol|address|port|` (RFC 2428, 2 and 3), the address left out for that of the sender.
fn extended_port(text: &str, sender: &str) -> Option<String> {
    let between = text.chars().next().filter(|c| !c.is_alphanumeric())?;
    let mut parts = text.split(between).skip(2);
    let address = parts.next()?;
    let port: u16 = parts.next()?.parse().ok()?;
    let address = if address.is_empty() { sender } else { address };
    Some(if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") })
}

#[cfg(test)]
mod tests {
    use yagura_event::schema::Kind;

    use super::*;
    use crate::testing::{Run, Sample};

    fn said(lines: &[(Side, &str)]) -> Vec<(Side, Vec<u8>)> {
        lines.iter().map(|(side, line)| (*side, format!("{line}\r\n").into_bytes())).collect()
    }

    const C: Side = Side::Client;
    const S: Side = Side::Server;

    pub fn sample() -> Sample {
        Sample::tcp(said(&[
            (S, "220-Robot 7\r\n 220 is not yet all\r\n220 FTP server ready"),
            (C, "USER anna"),
            (S, "331 Password required"),
            (C, "PASS geheim"),
            (S, "230 Logged in"),
            (C, "SYST"),
            (S, "215 VxWorks 5.5"),
            (C, "CWD /prog"),
            (S, "250 ok"),
            (C, "PASV"),
            (S, "227 Entering Passive Mode (10,0,0,2,4,1)"),
            (C, "STOR main.prg"),
            (S, "150 here it goes\r\n226 done"),
            (C, "RETR x"),
            (S, "550 no"),
            (C, "QUIT"),
            (S, "221 bye"),
        ]))
    }

    #[test]
    fn commands_are_rows_with_their_last_replies() {
        let mut run = Run::new(&PROTOCOL);
        for (side, bytes) in sample().said {
            run.send(side, &bytes);
        }
        run.close();
        assert_eq!(
            run.table(&["function", "operation", "target", "status", "status_code"]),
            [
                "greeting|session.open||one_way|220",
                "user|authenticate|anna|ok|331",
                "pass|authenticate|anna|ok|230",
                "syst|discover||ok|215",
                "cwd|other|/prog|ok|250",
                "pasv|other||ok|227",
                "stor|program.write|main.prg|ok|226",
                "retr|program.read|x|denied|550",
                "quit|session.close||ok|221",
            ]
        );
        assert!(!format!("{:?}", run.rows).contains("geheim"));
        assert!(run.messages()[5].text("detail").contains("10.0.0.2:1025"));
        assert!(run.messages()[6].text("detail").contains("\"directory\":\"/prog\""));
        assert_eq!(run.of(Kind::Identity)[0].text("firmware"), "Robot 7");
    }

    #[test]
    fn after_auth_the_connection_is_handed_over() {
        let mut run = Run::new(&PROTOCOL);
        for (side, bytes) in said(&[(S, "220 FTP"), (C, "AUTH TLS"), (S, "234 go")]) {
            run.send(side, &bytes);
        }
        run.send(C, b"\x16\x03\x01");
        run.close();
        assert_eq!(run.rest[0], b"\x16\x03\x01");
        assert_eq!(run.table(&["function", "target"]), ["greeting|", "auth|TLS"]);
    }

    #[test]
    fn data_connections_are_announced() {
        assert_eq!(port("192,168,1,9,200,10"), Some("192.168.1.9:51210".into()));
        assert_eq!(port("192,168,1,9,200"), None);
        assert_eq!(extended_port("|2|fe80::1|6446|", "x"), Some("[fe80::1]:6446".into()));
        assert_eq!(extended_port("|||6446|", "10.0.0.2"), Some("10.0.0.2:6446".into()));
        assert_eq!(extended_port("", ""), None);
    }
}
