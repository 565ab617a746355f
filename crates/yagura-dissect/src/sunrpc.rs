//! ONC RPC (RFC 5531) over UDP and TCP: who calls which program and procedure, and what becomes of
//! it. Port mapper, mount and NFS are named; their arguments are not looked into.

use std::borrow::Cow;

use yagura_event::clock::{Micros, SECOND};
use yagura_event::vocabulary::operation;

use crate::cursor::{Cursor, Cut};
use crate::exchange::Exchanges;
use crate::framing::{Frame, Framed, Framing, WAIT_BYTES_MAX};
use crate::{Carrier, Cx, Glimpse, Probe, Protocol, Side, Transport, json};

/// The registry's entry.
pub const PROTOCOL: Protocol = Protocol {
    name: NAME,
    carriers: &[Carrier::udp(&[111, 2049]), Carrier::tcp(&[111, 2049])],
    probe,
    start: |flow| {
        let marked = flow.transport == Transport::Tcp;
        Box::new(Framing::new(SunRpc { exchanges: Exchanges::new(NAME, TIMEOUT), marked }))
    },
    buffer_bytes_max: WAIT_BYTES_MAX,
    #[cfg(test)]
    sample: tests::sample,
};

const NAME: &str = "sunrpc";
const TIMEOUT: Micros = 30 * SECOND;
/// Of a record that many bytes are read: more than its header and credentials have.
const HEAD_MAX: usize = 1024;
/// The longest fragment of a record that is believed.
const FRAGMENT_MAX: usize = 16 << 20;
/// Credentials and verifiers are at most that long (RFC 5531, 8.2).
const AUTHENTICATION_MAX: usize = 400;

/// A message's beginning: its number and whether it calls.
fn header(bytes: &[u8]) -> Option<(u32, bool)> {
    let number = |at: usize| Some(u32::from_be_bytes(*bytes.get(at..at + 4)?.first_chunk()?));
    let xid = number(0)?;
    match number(4)? {
        0 => {
            let (version, program, revision, procedure) = (number(8)?, number(12)?, number(16)?, number(20)?);
            let flavors = number(24)? <= 6 && number(28)? as usize <= AUTHENTICATION_MAX;
            let known = (100_000..200_000).contains(&program) || program >> 29 == 1 || program >> 28 == 4;
            // Scanners call procedure 0 of versions that do not exist.
            let usual = revision <= 64 && procedure < 1000 || procedure == 0;
            (version == 2 && known && usual && flavors).then_some((xid, true))
        }
        1 => match number(8)? {
            // Accepted: a verifier, then its state; or denied for one of two reasons.
            0 => {
                let verifier = number(16)? as usize;
                let fits = number(12)? <= 6 && verifier <= AUTHENTICATION_MAX && verifier.is_multiple_of(4);
                (fits && number(20 + verifier)? <= 5).then_some((xid, false))
            }
            1 => (number(12)? <= 1).then_some((xid, false)),
            _ => None,
        },
        _ => None,
    }
}

/// What precedes a fragment in a stream (RFC 5531, 11), and the fragment.
fn marked(bytes: &[u8]) -> Option<(usize, bool, &[u8])> {
    let (mark, rest) = bytes.split_first_chunk::<4>()?;
    let mark = u32::from_be_bytes(*mark);
    Some(((mark & 0x7fff_ffff) as usize, mark >> 31 != 0, rest))
}

fn probe(glimpse: &Glimpse<'_>) -> Probe {
    if glimpse.transport != Transport::Tcp {
        let calls = header(glimpse.bytes).is_some_and(|(_, calls)| calls || glimpse.customary);
        return if calls { Probe::Yes } else { Probe::No };
    }
    let Some((length, _, body)) = marked(glimpse.bytes) else { return Probe::More };
    if !(24..=FRAGMENT_MAX).contains(&length) {
        return Probe::No;
    }
    // The least that tells a call, or a reply.
    if body.len() < 36.min(length) {
        let other = body.get(4..8).is_some_and(|kind| !matches!(kind, [0, 0, 0, 0 | 1]));
        return if other { Probe::No } else { Probe::More };
    }
    match header(body) {
        Some((_, calls)) if calls || glimpse.customary => Probe::Yes,
        _ => Probe::No,
    }
}

struct SunRpc {
    exchanges: Exchanges<u32>,
    /// Whether records are marked, as in streams.
    marked: bool,
}

/// A program's name.
fn program(number: u32) -> Cow<'static, str> {
    Cow::Borrowed(match number {
        100_000 => "portmap",
        100_003 => "nfs",
        100_005 => "mount",
        100_021 => "nlm",
        100_024 => "status",
        100_227 => "nfs_acl",
        395_183 => "vxi11_core",
        other => return Cow::Owned(other.to_string()),
    })
}

/// A procedure's name, and what it does.
fn procedure(program: u32, version: u32, number: u32) -> (&'static str, Cow<'static, str>) {
    const NFS_3: [&str; 22] = [
        "null",
        "getattr",
        "setattr",
        "lookup",
        "access",
        "readlink",
        "read",
        "write",
        "create",
        "mkdir",
        "symlink",
        "mknod",
        "remove",
        "rmdir",
        "rename",
        "link",
        "readdir",
        "readdirplus",
        "fsstat",
        "fsinfo",
        "pathconf",
        "commit",
    ];
    const NFS_2: [&str; 18] = [
        "null",
        "getattr",
        "setattr",
        "root",
        "lookup",
        "readlink",
        "read",
        "writecache",
        "write",
        "create",
        "remove",
        "rename",
        "link",
        "symlink",
        "mkdir",
        "rmdir",
        "readdir",
        "statfs",
    ];
    const MOUNT: [&str; 6] = ["null", "mount", "dump", "unmount", "unmount_all", "export"];
    const PORTMAP: [&str; 6] = ["null", "set", "unset", "getport", "dump", "callit"];
    let list: &[&'static str] = match (program, version) {
        (100_000, _) => &PORTMAP,
        (100_003, 2) => &NFS_2,
        (100_003, 3) => &NFS_3,
        (100_003, _) => &["null", "compound"],
        (100_005, _) => &MOUNT,
        _ => &["null"],
    };
    let Some(name) = list.get(number as usize) else {
        return (operation::OTHER, Cow::Owned(format!("procedure_{number}")));
    };
    let does = match *name {
        "read" | "readlink" => operation::READ,
        "write" | "create" | "mkdir" | "symlink" | "mknod" | "remove" | "rmdir" | "rename" | "link" => {
            operation::WRITE
        }
        "setattr" | "set" | "unset" => operation::CONFIGURE,
        "mount" => operation::SESSION_OPEN,
        "unmount" | "unmount_all" => operation::SESSION_CLOSE,
        "null" => operation::SESSION_KEEP,
        "compound" => operation::OTHER,
        _ => operation::DISCOVER,
    };
    (does, Cow::Borrowed(name))
}

impl Framed for SunRpc {
    const PROTOCOL: &'static str = NAME;

    fn frame(&self, _side: Side, bytes: &[u8]) -> Frame {
        if !self.marked {
            return if header(bytes).is_some() { Frame::Of(bytes.len()) } else { Frame::Bad("header") };
        }
        let Some((length, _, _)) = marked(bytes) else { return Frame::More };
        if length > FRAGMENT_MAX {
            return Frame::Bad("fragment_length");
        }
        let whole = 4 + length;
        if whole <= HEAD_MAX { Frame::Of(whole) } else { Frame::Head(HEAD_MAX, (whole - HEAD_MAX) as u64) }
    }

    fn read(&mut self, cx: &mut Cx<'_>, side: Side, frame: &[u8]) -> Result<(), Cut> {
        let message = if self.marked { frame.get(4..).unwrap_or_default() } else { frame };
        // A further fragment of a record says nothing of its own.
        let Some((xid, calls)) = header(message) else { return Ok(()) };
        let mut c = Cursor::new(message);
        c.skip(8, "header")?;
        if calls {
            c.skip(4, "rpc_version")?;
            let (number, version) = (c.u32_be("program")?, c.u32_be("version")?);
            let (does, name) = procedure(number, version, c.u32_be("procedure")?);
            let mut draft = self.exchanges.draft(cx, side, does, name);
            draft.target.push_str(&program(number));
            json::member_number(&mut draft.detail, "xid", xid.into());
            json::member_number(&mut draft.detail, "program", number.into());
            json::member_number(&mut draft.detail, "version", version.into());
            if c.u32_be("credentials")? == 1 {
                let _ = station(&mut draft.detail, &mut c);
            }
            self.exchanges.ask(cx, xid, draft);
            return Ok(());
        }
        let found = self.exchanges.answered(side, &xid);
        let paired = found.is_some();
        let mut draft = found.unwrap_or_else(|| {
            let mut draft = self.exchanges.draft(cx, side.other(), operation::OTHER, "reply");
            json::member_number(&mut draft.detail, "xid", xid.into());
            draft
        });
        if c.u32_be("reply_state")? == 1 {
            draft.deny(if c.u32_be("reject_state")? == 0 { "rpc_mismatch" } else { "authentication_error" });
        } else {
            c.skip(4, "verifier")?;
            let length = c.u32_be("verifier")? as usize;
            c.skip(length, "verifier")?;
            let states = [
                "",
                "program_unavailable",
                "program_mismatch",
                "procedure_unavailable",
                "garbage_arguments",
                "system_error",
            ];
            let state = states.get(c.u32_be("accept_state")? as usize).copied().unwrap_or("unknown_state");
            if !state.is_empty() {
                draft.deny(state);
            }
        }
        if paired {
            self.exchanges.pair(cx, draft);
        } else {
            self.exchanges.unasked(cx, draft);
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

/// AUTH_SYS (RFC 5531, appendix A): the caller's machine and user.
fn station(detail: &mut String, c: &mut Cursor<'_>) -> Result<(), Cut> {
    let length = c.u32_be("credentials")? as usize;
    let mut c = c.part(length, "credentials")?;
    c.skip(4, "stamp")?;
    let length = c.u32_be("machine")? as usize;
    c.check(length <= 255, "machine")?;
    let machine = c.take(length, "machine")?;
    json::member_text(detail, "machine", &String::from_utf8_lossy(machine));
    c.skip((4 - length % 4) % 4, "machine")?;
    json::member_number(detail, "uid", c.u32_be("uid")?.into());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{OTHERS, Run, Sample};

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    fn call(xid: u32, program: u32, version: u32, procedure: u32) -> Vec<u8> {
        let mut out = words(&[xid, 0, 2, program, version, procedure, 1, 24, 7, 3]);
        out.extend(b"hmi\0");
        out.extend(words(&[1000, 100, 0, 0, 0]));
        out
    }

    fn reply(xid: u32, state: u32) -> Vec<u8> {
        words(&[xid, 1, 0, 0, 0, state, 0, 0])
    }

    fn mark(bytes: Vec<u8>) -> Vec<u8> {
        [words(&[0x8000_0000 | bytes.len() as u32]), bytes].concat()
    }

    pub fn sample() -> Sample {
        use Side::{Client, Server};
        Sample::udp(vec![
            (Client, call(1, 100_000, 2, 3)),
            (Server, reply(1, 0)),
            (Client, call(2, 100_003, 3, 7)),
            (Server, reply(2, 1)),
        ])
    }

    #[test]
    fn calls_are_named_and_paired_over_both_transports() {
        let expected = ["discover|getport|portmap|ok|", "write|write|nfs|denied|program_unavailable"];
        let columns = ["operation", "function", "target", "status", "status_code"];
        let mut run = Run::over(&PROTOCOL, Transport::Udp);
        let mut stream = Run::over(&PROTOCOL, Transport::Tcp);
        for (side, bytes) in sample().said {
            run.send(side, &bytes);
            stream.send(side, &mark(bytes));
        }
        assert_eq!(run.table(&columns), expected);
        assert_eq!(stream.table(&columns), expected);
        assert!(run.messages()[0].text("detail").contains("\"machine\":\"hmi\",\"uid\":1000"));
    }

    #[test]
    fn it_is_told_by_a_call() {
        let probed = |transport, bytes: &[u8]| {
            (PROTOCOL.probe)(&Glimpse { transport, side: Side::Client, customary: false, bytes })
        };
        assert_eq!(probed(Transport::Tcp, &mark(call(1, 100_003, 3, 1))), Probe::Yes);
        assert_eq!(probed(Transport::Udp, &reply(1, 0)), Probe::No);
        for (name, bytes) in OTHERS {
            assert_ne!(probed(Transport::Tcp, bytes), Probe::Yes, "{name}");
            assert_ne!(probed(Transport::Udp, bytes), Probe::Yes, "{name}");
        }
    }
}
