//! SSH (RFC 4253): versions, key exchange and host key are read; what follows is encrypted.
//!
//! A connection's opening is one row, written when both sides have taken their new keys into use
//! or when the connection ends before.

use md5::{Digest, Md5};
use sha2::Sha256;
use yagura_event::clock::{Micros, SECOND};
use yagura_event::rows::IdentityRow;
use yagura_event::vocabulary::{operation, status};

use crate::cursor::{Cursor, Cut};
use crate::exchange::{Draft, Exchanges};
use crate::framing::{Frame, Framed, Framing};
use crate::{Carrier, Cx, Dissector, FlowInfo, Glimpse, Probe, Protocol, Side, json};

/// The registry's entry.
pub const PROTOCOL: Protocol = Protocol {
    name: NAME,
    carriers: &[Carrier::tcp(&[22])],
    probe,
    start,
    buffer_bytes_max: 4 + PACKET_MAX,
    #[cfg(test)]
    sample: tests::sample,
};

const NAME: &str = "ssh";
/// The largest packet: all must take 35,000 bytes (RFC 4253, 6.1), OpenSSH takes this much.
const PACKET_MAX: usize = 1 << 18;
/// Most names of a list that are compared with the other side's.
const NAMES_MAX: usize = 256;
/// Longest line before and of the identification (RFC 4253, 4.2).
const LINE_MAX: usize = 1024;
/// Most lines that a server sends before it.
const LINES_MAX: u16 = 1024;
const TIMEOUT: Micros = 120 * SECOND;

/// SSH_MSG_KEXINIT, which either side sends first.
const KEXINIT: u8 = 20;
/// Its name-lists, in order.
const KEX: usize = 0;
const HOST_KEY: usize = 1;
const CIPHER: usize = 2;
const MAC: usize = 4;
const COMPRESSION: usize = 6;

fn start(_flow: &FlowInfo) -> Box<dyn Dissector> {
    Box::new(Framing::new(Ssh {
        exchanges: Exchanges::new(NAME, TIMEOUT),
        opening: None,
        directions: Default::default(),
        kex: String::new(),
        old: false,
        either: false,
        over: false,
    }))
}

/// RFC 4253, 6.
fn packet(bytes: &[u8]) -> Frame {
    let [a, b, c, d, padding, ..] = *bytes else { return Frame::More };
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    if !(5..=PACKET_MAX).contains(&length) || usize::from(padding) + 2 > length {
        Frame::Bad("packet_length")
    } else {
        Frame::Of(4 + length)
    }
}

fn probe(glimpse: &Glimpse<'_>) -> Probe {
    const BEGIN: &[u8] = b"SSH-";
    match *glimpse.bytes {
        [b'S', b'S', b'H', b'-', b'1' | b'2', ..] => Probe::Yes,
        [] => Probe::More,
        _ if BEGIN.starts_with(&glimpse.bytes[..glimpse.bytes.len().min(4)]) && glimpse.bytes.len() < 5 => {
            Probe::More
        }
        // A server may greet before it names itself: believed on the customary port.
        _ if glimpse.customary
            && glimpse.side == Side::Server
            && glimpse.bytes.windows(6).any(|w| w == b"\nSSH-2" || w == b"\nSSH-1") =>
        {
            Probe::Yes
        }
        _ => Probe::No,
    }
}

#[derive(Default)]
struct Direction {
    named: bool,
    opaque: bool,
    lines: u16,
    /// Name-lists of KEXINIT.
    lists: Option<Box<[String; 8]>>,
}

struct Ssh {
    exchanges: Exchanges<()>,
    opening: Option<Draft>,
    directions: [Direction; 2],
    kex: String,
    /// SSH 1: its packets are not read.
    old: bool,
    /// The server speaks both (RFC 4253, 5.1): its first packet tells which.
    either: bool,
    over: bool,
}

impl Framed for Ssh {
    const PROTOCOL: &'static str = NAME;

    fn frame(&self, side: Side, bytes: &[u8]) -> Frame {
        let direction = &self.directions[side as usize];
        if direction.opaque || (self.old && direction.named) {
            return Frame::Of(bytes.len().max(1));
        }
        if !direction.named {
            let line = bytes.iter().take(LINE_MAX).position(|b| *b == b'\n');
            return match line {
                _ if direction.lines > LINES_MAX => Frame::Bad("lines_before_identification"),
                Some(end) => Frame::Of(end + 1),
                None if bytes.len() >= LINE_MAX => Frame::Bad("identification"),
                None => Frame::More,
            };
        }
        match *bytes {
            [_, _, _, _, _, ..] if self.either && direction.lists.is_none() => match bytes.get(5) {
                None => Frame::More,
                Some(&first) if first != KEXINIT => Frame::Of(bytes.len()),
                Some(_) => packet(bytes),
            },
            _ => packet(bytes),
        }
    }

    fn read(&mut self, cx: &mut Cx<'_>, side: Side, frame: &[u8]) -> Result<(), Cut> {
        let direction = &mut self.directions[side as usize];
        if direction.opaque || (self.old && direction.named) {
            return Ok(());
        }
        if !direction.named {
            if !frame.starts_with(b"SSH-") {
                direction.lines += 1;
                return Ok(());
            }
            direction.named = true;
            self.identification(cx, side, frame);
            return Ok(());
        }
        if self.either && direction.lists.is_none() && frame.get(5) != Some(&KEXINIT) {
            self.is_old(cx);
            return Ok(());
        }
        let payload = &frame[5..frame.len() - usize::from(frame[4])];
        let Some((number, body)) = payload.split_first() else {
            return Err(Cut { what: "packet_length", at: 4 });
        };
        match number {
            &KEXINIT => self.kexinit(side, body),
            21 => {
                self.directions[side as usize].opaque = true;
                if self.directions.iter().all(|d| d.opaque) {
                    self.finish(cx, true);
                }
                Ok(())
            }
            31 | 33 if side == Side::Server => self.host_key(*number, body),
            1 => {
                if let Some(opening) = &mut self.opening {
                    let mut cursor = Cursor::new(body);
                    opening.deny(disconnect(cursor.u32_be("reason")?));
                    self.finish(cx, false);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn lost(&mut self, _cx: &mut Cx<'_>, side: Side) {
        // Where encryption begins cannot be told any more.
        self.directions[side as usize].opaque = true;
    }

    fn expire(&mut self, cx: &mut Cx<'_>) {
        if self.opening.as_ref().is_some_and(|o| cx.time - o.time > TIMEOUT) {
            self.finish(cx, false);
        }
    }

    fn close(&mut self, cx: &mut Cx<'_>) {
        self.finish(cx, false);
    }
}

fn names(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').take(NAMES_MAX)
}

impl Ssh {
    /// `SSH-2.0-software comments`.
    fn identification(&mut self, cx: &mut Cx<'_>, side: Side, line: &[u8]) {
        let text = String::from_utf8_lossy(line);
        let text = text.trim_end();
        if self.opening.is_none() && !self.over {
            self.opening =
                Some(self.exchanges.draft(cx, Side::Client, operation::SESSION_OPEN, "key_exchange"));
        }
        let Some(opening) = &mut self.opening else { return };
        let name = if side == Side::Client { "client_version" } else { "server_version" };
        json::member_text(&mut opening.detail, name, text);
        let mut parts = text.splitn(3, '-').skip(1);
        let (protocol, software) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
        if side == Side::Server {
            let row = IdentityRow { firmware: software, ..IdentityRow::default() };
            cx.identity(NAME, side, row);
        }
        self.either |= protocol == "1.99";
        let old = protocol.starts_with("1.") && protocol != "1.99";
        if self.old || old {
            self.old = true;
            if self.directions.iter().all(|d| d.named) {
                self.is_old(cx);
            }
        }
    }

    /// The connection is SSH 1, which is not read further.
    fn is_old(&mut self, cx: &mut Cx<'_>) {
        self.old = true;
        if let Some(opening) = &mut self.opening {
            json::member_number(&mut opening.detail, "version", 1);
        }
        self.finish(cx, true);
    }

    /// RFC 4253, 7.1.
    fn kexinit(&mut self, side: Side, body: &[u8]) -> Result<(), Cut> {
        let mut cursor = Cursor::new(body);
        cursor.skip(16, "cookie")?;
        let mut lists: Box<[String; 8]> = Box::default();
        for list in lists.iter_mut() {
            let length = cursor.u32_be("name_list")?;
            *list = String::from_utf8_lossy(cursor.take(length as usize, "name_list")?).into_owned();
        }
        // The fingerprints are of a side's own direction.
        let own = usize::from(side == Side::Server);
        let text = [KEX, CIPHER + own, MAC + own, COMPRESSION + own].map(|at| lists[at].as_str()).join(";");
        let mut print = String::new();
        json::push_hex_digits(&mut print, &Md5::digest(text.as_bytes()));
        self.directions[side as usize].lists = Some(lists);
        let Some(opening) = &mut self.opening else { return Ok(()) };
        json::member_text(&mut opening.detail, if own == 0 { "hassh" } else { "hassh_server" }, &print);
        let [Direction { lists: Some(client), .. }, Direction { lists: Some(server), .. }] = &self.directions
        else {
            return Ok(());
        };
        for (name, at) in [
            ("kex", KEX),
            ("host_key", HOST_KEY),
            ("cipher", CIPHER),
            ("cipher_to_client", CIPHER + 1),
            ("mac", MAC),
            ("mac_to_client", MAC + 1),
            ("compression", COMPRESSION),
            ("compression_to_client", COMPRESSION + 1),
        ] {
            // The client's first that the server has too.
            let chosen = names(&client[at]).find(|c| names(&server[at]).any(|s| s == *c)).unwrap_or("");
            json::member_text(&mut opening.detail, name, chosen);
            if at == KEX {
                self.kex = chosen.to_string();
            }
        }
        Ok(())
    }

    /// The server's reply of all key exchanges begins with its host key.
    fn host_key(&mut self, number: u8, body: &[u8]) -> Result<(), Cut> {
        // In a group exchange 31 is the group.
        if number == 31 && self.kex.contains("group-exchange") {
            return Ok(());
        }
        let mut cursor = Cursor::new(body);
        let mut read = || {
            let length = cursor.u32_be("host_key")?;
            let key = cursor.take(length as usize, "host_key")?;
            let mut inside = Cursor::new(key);
            let length = inside.u32_be("host_key")?;
            Ok((key, inside.take(length as usize, "host_key")?))
        };
        let (key, kind) = match read() {
            // It may still be a group, where the client's lists were not seen.
            Err(_) if number == 31 && self.kex.is_empty() => return Ok(()),
            read => read?,
        };
        let Some(opening) = &mut self.opening else { return Ok(()) };
        json::member_text(&mut opening.detail, "host_key_type", &String::from_utf8_lossy(kind));
        let mut print = String::from("SHA256:");
        push_base64(&mut print, &Sha256::digest(key));
        json::member_text(&mut opening.detail, "host_key_fingerprint", &print);
        Ok(())
    }

    fn finish(&mut self, cx: &mut Cx<'_>, encrypted: bool) {
        let Some(mut opening) = self.opening.take() else { return };
        self.over = true;
        if !self.old {
            json::member_number(&mut opening.detail, "version", 2);
        }
        json::member_bool(&mut opening.detail, "encrypted", encrypted);
        if encrypted || opening.status == status::DENIED {
            self.exchanges.pair(cx, opening);
        } else {
            opening.status = status::NO_REPLY;
            self.exchanges.one_way(cx, opening);
        }
        if encrypted {
            let detail = if self.old { "SSH 1" } else { &self.kex };
            cx.opaque(NAME, detail);
        }
    }
}

/// RFC 4250, 4.2.2.
fn disconnect(reason: u32) -> &'static str {
    match reason {
        1 => "host_not_allowed_to_connect",
        2 => "protocol_error",
        3 => "key_exchange_failed",
        5 => "mac_error",
        6 => "compression_error",
        7 => "service_not_available",
        8 => "protocol_version_not_supported",
        9 => "host_key_not_verifiable",
        10 => "connection_lost",
        11 => "by_application",
        12 => "too_many_connections",
        13 => "auth_cancelled_by_user",
        14 => "no_more_auth_methods_available",
        15 => "illegal_user_name",
        _ => "disconnect_reason_outside_the_standard",
    }
}

/// Base 64 without padding, as OpenSSH prints fingerprints.
fn push_base64(out: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().enumerate().fold(0_u32, |sum, (at, b)| sum | u32::from(*b) << (16 - 8 * at));
        for at in 0..=chunk.len() {
            out.push(char::from(DIGITS[(group >> (18 - 6 * at) & 63) as usize]));
        }
    }
}

#[cfg(test)]
mod tests {
    use yagura_event::schema::Kind;

    use super::*;
    use crate::testing::{Run, Sample};

    fn packet(payload: &[u8]) -> Vec<u8> {
        let padding = 4 + (16 - (payload.len() + 9) % 16) % 16;
        let mut out = ((payload.len() + padding + 1) as u32).to_be_bytes().to_vec();
        out.push(padding as u8);
        out.extend(payload);
        out.extend(vec![0; padding]);
        out
    }

    fn text(text: &str) -> Vec<u8> {
        let mut out = (text.len() as u32).to_be_bytes().to_vec();
        out.extend(text.as_bytes());
        out
    }

    fn kexinit(kex: &str) -> Vec<u8> {
        let mut out = vec![20];
        out.extend([5; 16]);
        for list in
            [kex, "ssh-ed25519", "aes128-ctr", "aes256-ctr", "hmac-sha1", "hmac-sha1", "none", "none", "", ""]
        {
            out.extend(text(list));
        }
        out.extend([0; 5]);
        packet(&out)
    }

    pub fn sample() -> Sample {
        let key = [text("ssh-ed25519"), text("0123456789abcdef0123456789abcdef")].concat();
        let mut reply = vec![31];
        reply.extend((key.len() as u32).to_be_bytes());
        reply.extend(key);
        Sample::tcp(vec![
            (Side::Server, b"SSH-2.0-OpenSSH_9.6 fab\r\n".to_vec()),
            (Side::Client, b"SSH-2.0-PuTTY_0.8\r\n".to_vec()),
            (Side::Client, kexinit("sntrup,curve25519-sha256")),
            (Side::Server, kexinit("curve25519-sha256,sntrup2")),
            (Side::Client, packet(&[30, 0, 0, 0, 1, 9])),
            (Side::Server, packet(&reply)),
            (Side::Server, packet(&[21])),
            (Side::Client, packet(&[21])),
            (Side::Client, vec![0xaa; 64]),
        ])
    }

    #[test]
    fn an_opening_is_one_row() {
        let mut run = Run::new(&PROTOCOL);
        for (side, bytes) in sample().said {
            run.send(side, &bytes);
        }
        run.close();
        assert_eq!(run.table(&["function", "status", "exchange"]), ["key_exchange|ok|pair"]);
        let detail: serde_json::Value = serde_json::from_str(run.messages()[0].text("detail")).unwrap();
        assert_eq!(detail["kex"], "curve25519-sha256");
        assert_eq!(detail["cipher_to_client"], "aes256-ctr");
        assert_eq!(detail["host_key_type"], "ssh-ed25519");
        assert_eq!(detail["hassh"].as_str().unwrap().len(), 32);
        assert_ne!(detail["hassh"], detail["hassh_server"]);
        assert_eq!(run.of(Kind::Identity)[0].text("firmware"), "OpenSSH_9.6 fab");
        assert_eq!(run.of(Kind::Coverage).len(), 1);
    }

    /// One direction only: whether 31 is a group or a host key cannot be known beforehand.
    #[test]
    fn a_server_alone_sends_its_group() {
        let mut run = Run::new(&PROTOCOL);
        run.send(Side::Server, b"SSH-1.99-OpenSSH_6.6.1\r\n");
        run.send(Side::Server, &kexinit("diffie-hellman-group-exchange-sha256"));
        // A prime of 129 bytes, then a generator.
        let mut group = vec![31, 0, 0, 0, 129, 0, 0xd9, 0x27];
        group.extend([0x7a; 126]);
        group.extend([0, 0, 0, 1, 2]);
        run.send(Side::Server, &packet(&group));
        run.send(
            Side::Server,
            &packet(&[33, 0, 0, 0, 11, 0, 0, 0, 7, b's', b's', b'h', b'-', b'r', b's', b'a']),
        );
        run.send(Side::Server, &packet(&[21]));
        run.close();
        assert_eq!(run.table(&["function", "status"]), ["key_exchange|no_reply"]);
        assert!(run.messages()[0].text("detail").contains("\"host_key_type\":\"ssh-rsa\""));
    }

    #[test]
    fn a_server_that_speaks_both_is_taken_up_on_the_old_version() {
        let mut run = Run::new(&PROTOCOL);
        run.send(Side::Server, b"SSH-1.99-OpenSSH_6.6.1\r\n");
        // SSH_SMSG_PUBLIC_KEY (2) behind five bytes of padding.
        run.send(Side::Server, &[0, 0, 1, 11, 9, 9, 9, 9, 9, 2, 1, 2, 3, 4]);
        run.send(Side::Server, &[0x65, 0, 0, 0, 5, 0xf9, 0xcb]);
        run.close();
        assert_eq!(run.table(&["function", "status"]), ["key_exchange|ok"]);
        assert!(run.messages()[0].text("detail").contains("\"version\":1"));
    }

    #[test]
    fn long_lists_of_algorithms() {
        let list = (0..9_000).map(|n| format!("I{n}")).collect::<Vec<_>>().join(",");
        let mut run = Run::new(&PROTOCOL);
        run.send(Side::Client, b"SSH-2.0-a\r\n");
        run.send(Side::Client, &kexinit(&list));
        run.close();
        assert_eq!(run.table(&["function", "status"]), ["key_exchange|no_reply"]);
    }

    #[test]
    fn base_64_as_the_field_prints_it() {
        let mut out = String::new();
        push_base64(&mut out, b"any carnal pleas");
        assert_eq!(out, "YW55IGNhcm5hbCBwbGVhcw");
    }

    #[test]
    fn an_opening_that_ends_early_is_no_reply() {
        let mut run = Run::new(&PROTOCOL);
        run.send(Side::Client, b"SSH-2.0-scan\r\n");
        run.close();
        assert_eq!(run.table(&["status"]), ["no_reply"]);
    }
}
