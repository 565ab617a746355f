//! The remote commands of BSD: rlogin (RFC 1282), rsh and rexec. Who logs in, as whom, and which
//! command is run; what follows is passed over, and passwords are dropped.

use yagura_event::clock::{Micros, SECOND};
use yagura_event::vocabulary::operation;

use crate::cursor::{Cursor, Cut};
use crate::exchange::Exchanges;
use crate::framing::{Frame, Framed, Framing};
use crate::lines::{self, TEXT_MAX};
use crate::{Carrier, Cx, Dissector, Glimpse, Probe, Protocol, Side, json};

/// The registry's entry of rlogin.
pub const RLOGIN: Protocol = Protocol {
    name: "rlogin",
    carriers: &[Carrier::tcp(&[513])],
    probe: |glimpse| probe::<LOGIN>(glimpse),
    start: |_| start::<LOGIN>(),
    buffer_bytes_max: OPENING_MAX,
    #[cfg(test)]
    sample: tests::login,
};

/// The registry's entry of rsh.
pub const RSH: Protocol = Protocol {
    name: "rsh",
    carriers: &[Carrier::tcp(&[514])],
    probe: |glimpse| probe::<SHELL>(glimpse),
    start: |_| start::<SHELL>(),
    buffer_bytes_max: OPENING_MAX,
    #[cfg(test)]
    sample: tests::shell,
};

/// The registry's entry of rexec.
pub const REXEC: Protocol = Protocol {
    name: "rexec",
    carriers: &[Carrier::tcp(&[512])],
    probe: |glimpse| probe::<EXEC>(glimpse),
    start: |_| start::<EXEC>(),
    buffer_bytes_max: OPENING_MAX,
    #[cfg(test)]
    sample: tests::exec,
};

const LOGIN: u8 = 0;
const SHELL: u8 = 1;
const EXEC: u8 = 2;
const TIMEOUT: Micros = 60 * SECOND;
/// Longest opening: four texts.
const OPENING_MAX: usize = 4096;

const fn name(kind: u8) -> &'static str {
    match kind {
        LOGIN => "rlogin",
        SHELL => "rsh",
        _ => "rexec",
    }
}

/// The four texts that a client begins with, and their length with their ends.
fn opening(kind: u8, bytes: &[u8]) -> Frame {
    let bytes = &bytes[..bytes.len().min(OPENING_MAX)];
    let mut at = 0;
    for place in 0..4 {
        let Some(length) = bytes[at..].iter().position(|b| *b == 0) else {
            let fits = fits(kind, place, &bytes[at..], false);
            return if fits && bytes.len() < OPENING_MAX { Frame::More } else { Frame::Bad("opening") };
        };
        if !fits(kind, place, &bytes[at..at + length], true) {
            return Frame::Bad("opening");
        }
        at += length + 1;
    }
    Frame::Of(at)
}

fn fits(kind: u8, place: usize, text: &[u8], whole: bool) -> bool {
    let plain = text.iter().all(|b| b.is_ascii_graphic());
    match (kind, place) {
        (LOGIN, 0) => text.is_empty(),
        // Terminal and speed.
        (LOGIN, 3) => plain && text.len() <= 64 && (!whole || text.contains(&b'/')),
        (_, 0) => text.len() <= 5 && text.iter().all(u8::is_ascii_digit),
        (_, 3) => (!whole || !text.is_empty()) && lines::printable(text),
        (EXEC, 2) => text.len() <= 128,
        _ => plain && text.len() <= 64 && (!whole || kind == LOGIN || !text.is_empty()),
    }
}

fn probe<const KIND: u8>(glimpse: &Glimpse<'_>) -> Probe {
    if glimpse.side == Side::Server || glimpse.bytes.is_empty() {
        return if glimpse.bytes.is_empty() { Probe::More } else { Probe::No };
    }
    // The other two begin like too many others.
    if !glimpse.customary && KIND != LOGIN {
        return Probe::No;
    }
    match opening(KIND, glimpse.bytes) {
        Frame::Of(_) => Probe::Yes,
        Frame::More => Probe::More,
        _ => Probe::No,
    }
}

fn start<const KIND: u8>() -> Box<dyn Dissector> {
    Box::new(Framing::new(Remote::<KIND> {
        exchanges: Exchanges::new(name(KIND), TIMEOUT),
        opened: false,
        answered: false,
    }))
}

struct Remote<const KIND: u8> {
    exchanges: Exchanges<()>,
    opened: bool,
    answered: bool,
}

impl<const KIND: u8> Framed for Remote<KIND> {
    const PROTOCOL: &'static str = name(KIND);

    fn frame(&self, side: Side, bytes: &[u8]) -> Frame {
        match side {
            Side::Client if !self.opened => opening(KIND, bytes),
            // The reply is a byte; a refusal has a text behind it.
            Side::Server if !self.answered && bytes.first().is_some_and(|b| *b == 0) => Frame::Of(1),
            Side::Server if !self.answered => match bytes.iter().take(512).position(|b| *b == b'\n') {
                Some(end) => Frame::Of(end + 1),
                None if bytes.len() < 512 => Frame::More,
                None => Frame::Of(bytes.len()),
            },
            _ => Frame::Of(bytes.len().max(1)),
        }
    }

    fn read(&mut self, cx: &mut Cx<'_>, side: Side, frame: &[u8]) -> Result<(), Cut> {
        if side == Side::Server {
            if !std::mem::replace(&mut self.answered, true)
                && let Some(mut draft) = self.exchanges.answered(Side::Server, &())
            {
                if frame[0] != 0 {
                    draft.deny("refused");
                    let text = lines::text(&frame[1..]);
                    json::member_text(&mut draft.detail, "reply", lines::clip(text.trim(), 256));
                }
                self.exchanges.pair(cx, draft);
            }
            return Ok(());
        }
        if std::mem::replace(&mut self.opened, true) {
            return Ok(());
        }
        let mut cursor = Cursor::new(frame);
        let mut next = || cursor.until(0, "opening").map(String::from_utf8_lossy);
        let (first, second, third, fourth) = (next()?, next()?, next()?, next()?);
        let (operation, function) = match KIND {
            LOGIN => (operation::AUTHENTICATE, "login"),
            SHELL => (operation::CONTROL, "shell"),
            _ => (operation::CONTROL, "execute"),
        };
        let mut draft = self.exchanges.draft(cx, Side::Client, operation, function);
        let detail = &mut draft.detail;
        match KIND {
            LOGIN | SHELL => {
                json::member_text(detail, "local_user", &second);
                json::member_text(detail, "user", &third);
            }
            _ => json::member_text(detail, "user", &second),
        }
        if KIND == LOGIN {
            let (terminal, speed) = fourth.split_once('/').unwrap_or((&fourth, ""));
            json::member_text(detail, "terminal_type", terminal);
            json::member_text(detail, "speed", speed);
            draft.target.push_str(&third);
        } else {
            if !first.is_empty() && first != "0" {
                json::member_text(detail, "error_port", &first);
            }
            draft.target.push_str(lines::clip(&fourth, TEXT_MAX));
        }
        self.exchanges.ask(cx, (), draft);
        Ok(())
    }

    fn lost(&mut self, _cx: &mut Cx<'_>, side: Side) {
        match side {
            Side::Client => self.opened = true,
            Side::Server => self.answered = true,
        }
    }

    fn expire(&mut self, cx: &mut Cx<'_>) {
        self.exchanges.expire(cx);
    }

    fn close(&mut self, cx: &mut Cx<'_>) {
        self.exchanges.close(cx);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Run, Sample};

    const C: Side = Side::Client;
    const S: Side = Side::Server;

    fn said(said: &[(Side, &[u8])]) -> Sample {
        Sample::tcp(said.iter().map(|(side, bytes)| (*side, bytes.to_vec())).collect())
    }

    pub fn login() -> Sample {
        said(&[(C, b"\0anna\0root\0xterm/38400\0"), (S, b"\0"), (S, b"Password: "), (C, b"geheim\r")])
    }

    pub fn shell() -> Sample {
        let mut sample =
            said(&[(C, b"1022\0anna\0root\0cat /etc/passwd\0"), (S, b"\0"), (S, b"root:x:0:0\n")]);
        sample.customary_only = true;
        sample
    }

    pub fn exec() -> Sample {
        let mut sample =
            said(&[(C, b"0\0anna\0geheim\0reboot\0"), (S, b"\x01Login incorrect.\n"), (S, b"x")]);
        sample.customary_only = true;
        sample
    }

    #[test]
    fn who_runs_what_is_a_row() {
        for (protocol, sample, row) in [
            (RLOGIN, login(), "login|authenticate|root|ok"),
            (RSH, shell(), "shell|control|cat /etc/passwd|ok"),
            (REXEC, exec(), "execute|control|reboot|denied"),
        ] {
            let mut run = Run::new(&protocol);
            for (side, bytes) in sample.said {
                run.send(side, &bytes);
            }
            run.close();
            assert_eq!(run.table(&["function", "operation", "target", "status"]), [row]);
            assert!(run.messages()[0].text("detail").contains("anna"));
            assert!(!format!("{:?}", run.rows).contains("geheim"));
        }
    }
}
