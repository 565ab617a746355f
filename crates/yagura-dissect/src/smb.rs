//! SMB over TCP (MS-SMB2, MS-SMB, MS-CIFS) and in NetBIOS sessions (RFC 1002, 4.3): who logs on,
//! which shares and files are used, and how the server answers. Contents are not shown.
//!
//! A message's framing is read here; [`smb1`] and [`smb2`] read versions 1 and 2 with 3, [`state`] keeps the names
//! behind the numbers of a connection. What is encrypted (SMB 3) is said once a connection.

use std::cell::Cell;

use yagura_event::clock::{Micros, SECOND};
use yagura_event::rows::IdentityRow;
use yagura_event::vocabulary::{operation, status};

use crate::cursor::Cut;
use crate::dcerpc::Rpc;
use crate::exchange::{Draft, Exchanges};
use crate::framing::{Frame, Framed, Framing};
use crate::ntlm::{self, Presented};
use crate::{Carrier, Cx, Dissector, FlowInfo, Glimpse, Probe, Protocol, Side, json};

mod names;
mod names1;
mod smb1;
mod smb2;
mod state;
#[cfg(test)]
mod tests;
mod transactions;

use state::{FileId, State};

/// The registry's entry.
pub const PROTOCOL: Protocol = Protocol {
    name: NAME,
    carriers: &[Carrier::tcp(&[445, 139])],
    probe,
    start,
    buffer_bytes_max: HEADER + WHOLE_MAX,
    #[cfg(test)]
    sample: tests::sample,
};

const NAME: &str = "smb";
/// Type and length of a NetBIOS session's packet.
const HEADER: usize = 4;
/// The longest message that is read whole: what a pipe carries, and a file's 64 KiB.
const WHOLE_MAX: usize = (64 << 10) + 4096;
/// That much is read of longer ones.
const HEAD: usize = 4096;
/// A request without a response for that long gets a row of its own.
const REPLY_TIMEOUT: Micros = 60 * SECOND;
/// The same where the server said that it may take long: changes of a folder are waited for.
const PENDING_TIMEOUT: Micros = 24 * 3600 * SECOND;

/// Types of a NetBIOS session's packets.
mod session {
    pub const MESSAGE: u8 = 0;
    pub const REQUEST: u8 = 0x81;
    pub const POSITIVE: u8 = 0x82;
    pub const NEGATIVE: u8 = 0x83;
    pub const RETARGET: u8 = 0x84;
    pub const KEEP_ALIVE: u8 = 0x85;
}

/// First octets of messages: which header follows.
mod header {
    pub const SMB1: u8 = 0xff;
    pub const SMB2: u8 = 0xfe;
    pub const ENCRYPTED: u8 = 0xfd;
    pub const COMPRESSED: u8 = 0xfc;
}

/// What unread bytes begin with. The name of the protocol within each message makes it strict.
fn frame_of(bytes: &[u8]) -> Frame {
    let Some(&kind) = bytes.first() else { return Frame::More };
    let [_, high, middle, low, ..] = *bytes else {
        let known = matches!(kind, session::MESSAGE | session::REQUEST..=session::KEEP_ALIVE);
        return if known { Frame::More } else { Frame::Bad("session_packet") };
    };
    let length = u32::from_be_bytes([0, high, middle, low]) as usize;
    let fits = match kind {
        session::MESSAGE => {
            return match message(&bytes[HEADER..], length) {
                Some(true) if length <= WHOLE_MAX => Frame::Of(HEADER + length),
                Some(true) => Frame::Head(HEADER + HEAD, (length - HEAD) as u64),
                Some(false) => Frame::Bad("message_header"),
                None => Frame::More,
            };
        }
        // Two encoded names, perhaps with a scope.
        session::REQUEST => {
            (68..=512).contains(&length) && bytes.get(HEADER).is_none_or(|first| *first == 32)
        }
        session::POSITIVE | session::KEEP_ALIVE => length == 0,
        session::NEGATIVE => length == 1,
        session::RETARGET => length == 6,
        _ => false,
    };
    if fits { Frame::Of(HEADER + length) } else { Frame::Bad("session_packet") }
}

/// Whether a message of that length begins like one; `None` when too few bytes are there to say.
fn message(bytes: &[u8], length: usize) -> Option<bool> {
    let least = match *bytes.first()? {
        header::SMB1 => 35,
        header::SMB2 => 64,
        header::ENCRYPTED => 52,
        header::COMPRESSED => 16,
        _ => return Some(false),
    };
    let begins = [bytes[0], b'S', b'M', b'B'];
    if !begins.starts_with(&bytes[..bytes.len().min(4)]) || length < least {
        return Some(false);
    }
    match (bytes[0], bytes.get(4..6)) {
        (header::SMB2, Some(size)) => Some(size == [64, 0]),
        (header::SMB2, None) => None,
        (_, _) if bytes.len() < 4 => None,
        _ => Some(true),
    }
}

fn probe(glimpse: &Glimpse<'_>) -> Probe {
    let bytes = glimpse.bytes;
    match (bytes.first(), frame_of(bytes)) {
        (None, _) | (Some(_), Frame::More) => Probe::More,
        (Some(&session::MESSAGE), Frame::Of(_) | Frame::Head(..)) => Probe::Yes,
        (Some(&session::REQUEST), Frame::Of(length)) => match bytes.get(HEADER..length) {
            Some(names) if state::netbios_name(names).is_some() => Probe::Yes,
            Some(_) => Probe::No,
            None => Probe::More,
        },
        // A keep-alive or an answer says little: what follows decides.
        (Some(_), Frame::Of(length)) => match bytes.get(length..) {
            Some([]) | None => Probe::More,
            Some(next) => match (next[0], frame_of(next)) {
                (session::MESSAGE, Frame::Of(_) | Frame::Head(..)) => Probe::Yes,
                (_, Frame::More) => Probe::More,
                _ => Probe::No,
            },
        },
        _ => Probe::No,
    }
}

fn start(_flow: &FlowInfo) -> Box<dyn Dissector> {
    Box::new(Framing::new(Smb {
        exchanges: Exchanges::new(NAME, REPLY_TIMEOUT),
        pending: Exchanges::new(NAME, PENDING_TIMEOUT),
        state: State::default(),
        rpc: Rpc::new(),
        said_opaque: false,
    }))
}

/// What a response must have in common with its request, and what completes the two.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Key {
    /// 0 a NetBIOS session, 1 SMB, 2 SMB 2 and 3.
    version: u8,
    /// Message id; SMB 1: process and multiplex id.
    id: u64,
    command: u16,
    session: u64,
    tree: u32,
    file: FileId,
    offset: u64,
    /// SMB 1: a transaction's function; else what the request asked for beyond its command.
    kind: u32,
    /// The server said that more is to come, or that it takes long.
    interim: bool,
}

/// The state of a connection.
struct Smb {
    exchanges: Exchanges<Key>,
    /// Requests of which the server said that they take long.
    pending: Exchanges<Key>,
    state: State,
    /// What is called in pipes.
    rpc: Rpc,
    said_opaque: bool,
}

impl Smb {
    /// The request that a message from `side` answers, with its key.
    fn asked(&mut self, side: Side, fits: impl Fn(&Key) -> bool) -> Option<(Key, Draft)> {
        let found = Cell::new(Key::default());
        let one = |key: &Key, _: &Draft| {
            let fits = fits(key);
            if fits {
                found.set(*key);
            }
            fits
        };
        let draft = self.exchanges.answered_if(side, one).or_else(|| self.pending.answered_if(side, one))?;
        Some((found.get(), draft))
    }

    /// A session packet that is no message.
    fn session(&mut self, cx: &mut Cx<'_>, side: Side, kind: u8, body: &[u8]) -> Result<(), Cut> {
        match kind {
            session::REQUEST => {
                let called = state::netbios_name(body).ok_or(Cut { what: "called_name", at: HEADER })?;
                let rest = body.get(34..).unwrap_or_default();
                let calling = state::netbios_name(rest).ok_or(Cut { what: "calling_name", at: 38 })?;
                let mut draft = self.exchanges.draft(cx, side, operation::SESSION_OPEN, "session_request");
                draft.target.push_str(&called);
                json::member_text(&mut draft.detail, "calling", &calling);
                self.exchanges.ask(cx, Key::default(), draft);
            }
            session::KEEP_ALIVE => {
                let draft = self.exchanges.draft(cx, side, operation::SESSION_KEEP, "session_keep_alive");
                self.exchanges.one_way(cx, draft);
            }
            _ => {
                let asked = self.asked(side, |key| key.version == 0);
                let was_asked = asked.is_some();
                let mut draft = match asked {
                    Some((_, draft)) => draft,
                    None => {
                        let side = side.other();
                        self.exchanges.draft(cx, side, operation::SESSION_OPEN, "session_request")
                    }
                };
                match (kind, body) {
                    (session::NEGATIVE, [code]) => draft.deny(names::session_error(*code)),
                    (session::RETARGET, _) => draft.status_code = "retarget".into(),
                    _ => {}
                }
                if was_asked {
                    self.exchanges.pair(cx, draft);
                } else {
                    self.exchanges.unasked(cx, draft);
                }
            }
        }
        Ok(())
    }

    /// Credentials in either direction; gives the account that is presented.
    fn credentials(&mut self, cx: &mut Cx<'_>, side: Side, draft: &mut Draft, token: &[u8]) -> String {
        let answer = side != draft.asker;
        let describe = if answer { ntlm::describe_answer } else { ntlm::describe };
        let Presented { account, computer, version } = describe(&mut draft.detail, token);
        if !computer.is_empty() {
            let row = IdentityRow { name: &computer, firmware: &version, ..IdentityRow::default() };
            cx.identity(NAME, side, row);
        }
        if draft.target.is_empty() {
            draft.target.push_str(&account);
        }
        account
    }

    /// What is written to or read from a pipe.
    fn in_pipe(&mut self, cx: &mut Cx<'_>, side: Side, session: u64, file: &FileId, bytes: &[u8]) {
        let name = self.state.file(file).map_or("", |(name, _)| name.rsplit('\\').next().unwrap_or(""));
        let user = self.state.user(session).unwrap_or("");
        self.rpc.stream(cx, side, *file, (name, user), bytes);
    }

    fn opaque(&mut self, cx: &mut Cx<'_>, what: &str) {
        if !std::mem::replace(&mut self.said_opaque, true) {
            cx.opaque(NAME, what);
        }
    }
}

/// Notes where a message breaks the protocol, unless another place is noted already.
fn wrong(draft: &mut Draft, cut: Cut) {
    if draft.status != status::MALFORMED {
        draft.wrong(cut);
    }
}

/// Writes what became of a request, by its NTSTATUS (MS-ERREF 2.3).
fn outcome(draft: &mut Draft, code: u32) {
    if code == 0 {
        return;
    }
    let name = names::status(code);
    if draft.status == status::MALFORMED {
        json::member_text(&mut draft.detail, "answer", &name);
    } else if code >> 30 == 3 && code != names::MORE_PROCESSING_REQUIRED {
        draft.deny(name);
    } else {
        draft.status_code = name;
    }
}

impl Framed for Smb {
    const PROTOCOL: &'static str = NAME;

    fn frame(&self, _side: Side, bytes: &[u8]) -> Frame {
        frame_of(bytes)
    }

    fn read(&mut self, cx: &mut Cx<'_>, side: Side, frame: &[u8]) -> Result<(), Cut> {
        let (packet, body) = frame.split_at(HEADER);
        if packet[0] != session::MESSAGE {
            return self.session(cx, side, packet[0], body);
        }
        let length = u32::from_be_bytes([0, packet[1], packet[2], packet[3]]) as usize;
        match body[0] {
            header::SMB2 => return self.smb2(cx, side, body, body.len() == length),
            header::ENCRYPTED => self.opaque(cx, "SMB 3 messages are encrypted"),
            header::COMPRESSED => self.opaque(cx, "SMB 3 messages are compressed"),
            _ => return self.smb1(cx, side, body, body.len() == length),
        }
        Ok(())
    }

    fn lost(&mut self, _cx: &mut Cx<'_>, _side: Side) {
        self.state.lost();
        self.rpc.lost();
    }

    fn expire(&mut self, cx: &mut Cx<'_>) {
        self.rpc.expire(cx);
        self.exchanges.expire(cx);
        self.pending.expire(cx);
    }

    fn close(&mut self, cx: &mut Cx<'_>) {
        self.rpc.close(cx);
        self.exchanges.close(cx);
        self.pending.close(cx);
    }
}
