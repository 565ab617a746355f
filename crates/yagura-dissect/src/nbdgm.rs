//! NetBIOS datagrams (RFC 1002 clause 4.4) with what Windows sends in them: mailslots (MS-MAIL),
//! among them the announcements and elections of the browser service (MS-BRWS) and the search for
//! a logon server (MS-ADTS 6.3.5). A host that announces itself says its name, its system's version
//! and its roles.

use std::fmt::Write;

use yagura_event::rows::IdentityRow;
use yagura_event::vocabulary::operation;

use crate::cursor::{Cursor, Cut};
use crate::exchange::{Draft, Exchanges};
use crate::framing::{Frame, Framed, Framing};
use crate::{Carrier, Cx, Dissector, FlowInfo, Glimpse, Probe, Protocol, Side, json};

/// The registry's entry.
pub const PROTOCOL: Protocol = Protocol {
    name: NAME,
    carriers: &[Carrier::udp(&[138])],
    probe,
    start,
    buffer_bytes_max: 1500,
    #[cfg(test)]
    sample: tests::sample,
};

const NAME: &str = "nbdgm";
/// What precedes the names: type, flags, number, sender, length, offset.
const HEADER: usize = 14;
/// Bytes of a name on the wire, without a scope.
const NAME_BYTES: usize = 34;
/// Most labels of a name's scope.
const SCOPE_MAX: usize = 8;
/// Most hosts of a conversation whose announcements are remembered.
const HOSTS_MAX: usize = 16;

fn probe(glimpse: &Glimpse<'_>) -> Probe {
    let fits = match glimpse.bytes {
        // Both names are there, and the length is that of the names and what follows; some count
        // the header too.
        [0x10..=0x12, flags, _, _, _, _, _, _, _, _, high, low, 0, 0, 32, rest @ ..] => {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            let whole = glimpse.bytes.len();
            flags & 0xf0 == 0
                && (length == whole - HEADER || length == whole)
                && rest.len() >= 2 * NAME_BYTES
                && rest[..32].iter().all(|b| matches!(b, b'A'..=b'P'))
        }
        // The rest of a datagram, an error, and the distribution server's queries.
        [0x10..=0x16, flags, ..] => glimpse.customary && flags & 0xf0 == 0,
        _ => false,
    };
    if fits { Probe::Yes } else { Probe::No }
}

fn start(_flow: &FlowInfo) -> Box<dyn Dissector> {
    Box::new(Framing::new(Datagrams { exchanges: Exchanges::new(NAME, 0), hosts: Vec::new() }))
}

struct Datagrams {
    exchanges: Exchanges<()>,
    /// Hosts whose identity was written.
    hosts: Vec<(String, [u8; 2])>,
}

/// A NetBIOS name with its last byte, the service: `CELL7<20>`.
fn name(cursor: &mut Cursor<'_>, what: &'static str) -> Result<String, Cut> {
    let length = cursor.u8(what)?;
    cursor.check(length == 32, what)?;
    let letters = cursor.array::<32>(what)?;
    cursor.check(letters.iter().all(|b| matches!(b, b'A'..=b'P')), what)?;
    for _ in 0..SCOPE_MAX {
        let length = cursor.u8(what)?;
        if length == 0 {
            break;
        }
        cursor.skip(usize::from(length), what)?;
    }
    let mut bytes = [0; 16];
    for (byte, pair) in bytes.iter_mut().zip(letters.chunks_exact(2)) {
        *byte = (pair[0] - b'A') << 4 | (pair[1] - b'A');
    }
    let [text @ .., service] = bytes;
    let mut out = String::new();
    for byte in text.trim_ascii_end() {
        match byte {
            b' '..=b'~' => out.push(char::from(*byte)),
            0 => {}
            byte => {
                let _ = write!(out, "<{byte:02x}>");
            }
        }
    }
    let _ = write!(out, "<{service:02x}>");
    Ok(out)
}

/// Text up to a zero, or all of it.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end.min(256)]).into_owned()
}

impl Framed for Datagrams {
    const PROTOCOL: &'static str = NAME;

    fn frame(&self, _side: Side, bytes: &[u8]) -> Frame {
        if matches!(bytes, [0x10..=0x16, ..]) { Frame::Of(bytes.len()) } else { Frame::Bad("message_type") }
    }

    fn read(&mut self, cx: &mut Cx<'_>, side: Side, frame: &[u8]) -> Result<(), Cut> {
        let mut cursor = Cursor::new(frame);
        let kind = cursor.u8("message_type")?;
        let flags = cursor.u8("flags")?;
        let number = cursor.u16_be("datagram_id")?;
        let (function, does) = match kind {
            0x10 => ("direct_unique_datagram", operation::OTHER),
            0x11 => ("direct_group_datagram", operation::OTHER),
            0x12 => ("broadcast_datagram", operation::OTHER),
            0x13 => ("datagram_error", operation::ERROR),
            0x14 => ("datagram_query", operation::DISCOVER),
            0x15 => ("datagram_query_positive", operation::DISCOVER),
            _ => ("datagram_query_negative", operation::DISCOVER),
        };
        let mut draft = self.exchanges.draft(cx, side, does, function);
        draft.equipment = side;
        json::member_number(&mut draft.detail, "type", u64::from(kind));
        json::member_number(&mut draft.detail, "datagram_id", u64::from(number));
        if let Err(cut) = self.content(cx, side, &mut draft, (kind, flags), cursor) {
            draft.wrong(cut);
        }
        self.exchanges.one_way(cx, draft);
        Ok(())
    }

    fn lost(&mut self, _cx: &mut Cx<'_>, _side: Side) {}

    fn expire(&mut self, _cx: &mut Cx<'_>) {}

    fn close(&mut self, _cx: &mut Cx<'_>) {}
}

impl Datagrams {
    fn content(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        draft: &mut Draft,
        (kind, flags): (u8, u8),
        mut cursor: Cursor<'_>,
    ) -> Result<(), Cut> {
        cursor.skip(6, "source")?;
        match kind {
            0x13 => {
                let code = cursor.u8("error_code")?;
                draft.deny(match code {
                    0x82 => "destination_name_not_present",
                    0x83 => "invalid_source_name",
                    0x84 => "invalid_destination_name",
                    _ => "error",
                });
                return Ok(());
            }
            0x14.. => {
                draft.target = name(&mut cursor, "destination_name")?;
                return Ok(());
            }
            _ => {}
        }
        let length = usize::from(cursor.u16_be("datagram_length")?);
        let offset = cursor.u16_be("packet_offset")?;
        let mut cursor = cursor.part(length.min(cursor.remaining()), "datagram_length")?;
        if offset > 0 {
            json::member_number(&mut draft.detail, "packet_offset", u64::from(offset));
            return Ok(());
        }
        let source = name(&mut cursor, "source_name")?;
        draft.target = name(&mut cursor, "destination_name")?;
        json::member_text(&mut draft.detail, "source", &source);
        if flags & 1 != 0 {
            // The content goes on in another datagram.
            json::member_bool(&mut draft.detail, "more_follows", true);
            return Ok(());
        }
        let content = cursor.rest();
        let Some((slot, body)) = mailslot(content)? else {
            json::member_number(&mut draft.detail, "bytes", content.len() as u64);
            return Ok(());
        };
        json::member_text(&mut draft.detail, "mailslot", &slot);
        match &*slot.to_ascii_uppercase() {
            "\\MAILSLOT\\BROWSE" | "\\MAILSLOT\\LANMAN" => self.browser(cx, side, draft, body),
            "\\MAILSLOT\\NET\\NETLOGON" | "\\MAILSLOT\\TEMP\\NETLOGON" => netlogon(draft, body),
            _ => {
                draft.function = "mailslot_write".into();
                json::member_number(&mut draft.detail, "bytes", body.remaining() as u64);
                Ok(())
            }
        }
    }

    /// The browser service (MS-BRWS 2.2).
    fn browser(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        draft: &mut Draft,
        mut body: Cursor<'_>,
    ) -> Result<(), Cut> {
        let command = body.u8("browser_command")?;
        json::member_number(&mut draft.detail, "command", u64::from(command));
        let (function, does) = match command {
            1 => ("host_announcement", operation::REPORT),
            2 => ("request_announcement", operation::DISCOVER),
            8 => ("browser_election", operation::SESSION_KEEP),
            9 => ("get_backup_list_request", operation::DISCOVER),
            10 => ("get_backup_list_response", operation::DISCOVER),
            11 => ("become_backup_browser", operation::CONTROL),
            12 => ("domain_announcement", operation::REPORT),
            13 => ("master_announcement", operation::REPORT),
            14 => ("reset_browser_state", operation::CONTROL),
            15 => ("local_master_announcement", operation::REPORT),
            _ => {
                draft.function = format!("browser_command_{command}").into();
                return Ok(());
            }
        };
        draft.function = function.into();
        draft.operation = does;
        match command {
            1 | 12 | 15 => self.announcement(cx, side, draft, command, body)?,
            2 => {
                body.skip(1, "flags")?;
                json::member_text(&mut draft.detail, "answer_to", &text(body.rest()));
            }
            8 => {
                let version = body.u8("election_version")?;
                let criteria = body.u32_le("election_criteria")?;
                let up = body.u32_le("election_uptime")?;
                body.skip(4, "election_unused")?;
                json::member_number(&mut draft.detail, "version", u64::from(version));
                json::member_number(&mut draft.detail, "criteria", u64::from(criteria));
                json::member_number(&mut draft.detail, "uptime_ms", u64::from(up));
                json::member_text(&mut draft.detail, "server", &text(body.rest()));
            }
            10 => {
                let count = body.u8("backup_count")?;
                body.skip(4, "backup_token")?;
                for _ in 0..count {
                    draft.push_text(&text(body.until(0, "backup_server")?));
                }
            }
            11 | 13 => json::member_text(&mut draft.detail, "server", &text(body.rest())),
            _ => {}
        }
        Ok(())
    }

    /// Who is there: a host, a domain's master, or the master of a segment.
    fn announcement(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        draft: &mut Draft,
        command: u8,
        mut body: Cursor<'_>,
    ) -> Result<(), Cut> {
        body.skip(1, "update_count")?;
        let period = body.u32_le("period")?;
        let server = text(body.take(16, "server_name")?);
        let version = body.array::<2>("os_version")?;
        let kind = body.u32_le("server_type")?;
        // The browser's own version and a signature, which are always the same.
        body.skip(4, "browser_version")?;
        let comment = text(body.rest());
        let [major, minor] = version;
        let detail = &mut draft.detail;
        json::member_text(detail, if command == 12 { "domain" } else { "server" }, &server);
        json::member_number(detail, "period_ms", u64::from(period));
        json::member_text(detail, "os_version", &format!("{major}.{minor}"));
        json::member_number(detail, "server_type", u64::from(kind));
        if !comment.is_empty() {
            json::member_text(detail, if command == 12 { "master" } else { "comment" }, &comment);
        }
        if command == 12 || server.is_empty() || self.hosts.iter().any(|(s, v)| *s == server && *v == version)
        {
            return Ok(());
        }
        let mut facts = String::new();
        json::key(&mut facts, "roles");
        let mut separator = '[';
        for (_, role) in ROLES.iter().filter(|(bit, _)| kind & bit != 0) {
            facts.push(separator);
            json::push_text(&mut facts, role);
            separator = ',';
        }
        facts.push_str(if separator == '[' { "[]" } else { "]" });
        if !comment.is_empty() {
            json::member_text(&mut facts, "comment", &comment);
        }
        json::end(&mut facts);
        let firmware = format!("{major}.{minor}");
        let row =
            IdentityRow { name: &server, firmware: &firmware, detail: &facts, ..IdentityRow::default() };
        cx.identity(NAME, side, row);
        if self.hosts.len() == HOSTS_MAX {
            self.hosts.remove(0);
        }
        self.hosts.push((server, version));
        Ok(())
    }
}

/// Roles of an announced host (MS-BRWS 2.2.1, the type of a server).
const ROLES: [(u32, &str); 14] = [
    (0x1, "workstation"),
    (0x2, "server"),
    (0x4, "sql_server"),
    (0x8, "domain_controller"),
    (0x10, "backup_domain_controller"),
    (0x20, "time_source"),
    (0x200, "print_server"),
    (0x400, "dial_in_server"),
    (0x800, "unix"),
    (0x1000, "nt_workstation"),
    (0x8000, "nt_server"),
    (0x2_0000, "backup_browser"),
    (0x4_0000, "master_browser"),
    (0x8_0000, "domain_master_browser"),
];

/// A write to a mailslot, which is an SMB transaction: the slot's name and what is written.
fn mailslot(content: &[u8]) -> Result<Option<(String, Cursor<'_>)>, Cut> {
    const SMB_TRANSACTION: &[u8] = b"\xffSMB\x25";
    const SMB_HEADER: usize = 32;
    if !content.starts_with(SMB_TRANSACTION) {
        return Ok(None);
    }
    let mut cursor = Cursor::new(content);
    cursor.skip(SMB_HEADER, "smb_header")?;
    let words = usize::from(cursor.u8("word_count")?);
    let mut words = cursor.part(2 * words, "word_count")?;
    words.skip(22, "transaction")?;
    let length = usize::from(words.u16_le("data_count")?);
    let offset = usize::from(words.u16_le("data_offset")?);
    cursor.skip(2, "byte_count")?;
    let slot = text(cursor.rest());
    let mut whole = Cursor::new(content);
    whole.skip(offset, "data_offset")?;
    Ok(Some((slot, whole.part(length, "data_count")?)))
}

/// The search for a logon server and its answers (MS-ADTS 6.3.1.4 to 6.3.1.9).
fn netlogon(draft: &mut Draft, mut body: Cursor<'_>) -> Result<(), Cut> {
    let code = body.u16_le("netlogon_operation")?;
    json::member_number(&mut draft.detail, "command", u64::from(code));
    let function = match code {
        7 => "netlogon_query_for_primary",
        12 => "netlogon_primary_response",
        0 => "netlogon_logon_request",
        18 => "netlogon_sam_logon_request",
        19 | 23 => "netlogon_sam_logon_response",
        20 | 24 => "netlogon_sam_pause_response",
        21 | 25 => "netlogon_sam_user_unknown",
        other => {
            draft.function = format!("netlogon_{other}").into();
            draft.operation = operation::DISCOVER;
            return Ok(());
        }
    };
    draft.function = function.into();
    draft.operation = operation::DISCOVER;
    match code {
        7 => json::member_text(&mut draft.detail, "computer", &text(body.rest())),
        18 => {
            body.skip(2, "request_count")?;
            let computer = unicode(&mut body)?;
            let user = unicode(&mut body)?;
            json::member_text(&mut draft.detail, "computer", &computer);
            if !user.is_empty() {
                json::member_text(&mut draft.detail, "user", &user);
            }
        }
        _ => {}
    }
    Ok(())
}

/// Characters of two bytes up to a zero.
fn unicode(body: &mut Cursor<'_>) -> Result<String, Cut> {
    let mut units = Vec::new();
    loop {
        match body.u16_le("unicode")? {
            0 => return Ok(String::from_utf16_lossy(&units)),
            unit if units.len() < 256 => units.push(unit),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use yagura_event::schema::Kind;

    use super::*;
    use crate::Transport;
    use crate::testing::{OTHERS, Run, Sample};

    fn encoded(text: &str, service: u8) -> Vec<u8> {
        let mut bytes = text.as_bytes().to_vec();
        bytes.resize(15, b' ');
        bytes.push(service);
        let letters = bytes.iter().flat_map(|b| [b'A' + (b >> 4), b'A' + (b & 15)]);
        std::iter::once(32).chain(letters).chain([0]).collect()
    }

    fn datagram(kind: u8, slot: &str, body: &[u8]) -> Vec<u8> {
        let mut smb = b"\xffSMB\x25".to_vec();
        smb.resize(32, 0);
        let offset = 32 + 1 + 34 + 2 + slot.len() + 1;
        smb.push(17);
        smb.extend([0, 0, body.len() as u8, 0]);
        smb.extend([0; 18]);
        smb.extend([body.len() as u8, 0, offset as u8, 0, 3, 0, 1, 0, 1, 0, 2, 0]);
        smb.extend(((slot.len() + 1 + body.len()) as u16).to_le_bytes());
        smb.extend(slot.bytes());
        smb.push(0);
        smb.extend(body);
        let content = [encoded("CELL7", 0), encoded("FAB", 0x1e), smb].concat();
        let mut out = vec![kind, 0x0a, 0x0e, 0x11, 10, 0, 0, 1, 0, 138];
        out.extend((content.len() as u16).to_be_bytes());
        out.extend([0, 0]);
        out.extend(content);
        out
    }

    fn announced(command: u8) -> Vec<u8> {
        let mut body = vec![command, 1, 0x80, 0xfc, 0x0a, 0];
        body.extend(b"CELL7\0\0\0\0\0\0\0\0\0\0\0");
        body.extend([10, 0, 0x03, 0x90, 0, 0, 15, 1, 0x55, 0xaa]);
        body.extend(b"etcher\0");
        datagram(0x11, "\\MAILSLOT\\BROWSE", &body)
    }

    pub fn sample() -> Sample {
        let election = [&[8, 1, 3, 9, 0x20, 0, 0xe8, 3, 0, 0, 0, 0, 0, 0][..], b"CELL7\0"].concat();
        let search = b"\x12\0\0\0C\x007\0\0\0\0\0\\\0".to_vec();
        Sample::udp(vec![
            (Side::Client, announced(1)),
            (Side::Client, announced(15)),
            (Side::Client, datagram(0x11, "\\MAILSLOT\\BROWSE", &election)),
            (Side::Client, datagram(0x10, "\\MAILSLOT\\NET\\NETLOGON", &search)),
            (Side::Client, datagram(0x10, "\\MAILSLOT\\ALERT", b"text")),
        ])
    }

    #[test]
    fn announcements_and_elections_are_named() {
        let mut run = Run::over(&PROTOCOL, Transport::Udp);
        for (side, bytes) in sample().said {
            run.send(side, &bytes);
        }
        assert_eq!(
            run.table(&["operation", "function", "target", "status"]),
            [
                "report|host_announcement|FAB<1e>|one_way",
                "report|local_master_announcement|FAB<1e>|one_way",
                "session.keep|browser_election|FAB<1e>|one_way",
                "discover|netlogon_sam_logon_request|FAB<1e>|one_way",
                "other|mailslot_write|FAB<1e>|one_way",
            ]
        );
        let identities = run.of(Kind::Identity);
        assert_eq!(identities.len(), 1);
        assert_eq!((identities[0].text("name"), identities[0].text("firmware")), ("CELL7", "10.0"));
        assert_eq!(
            identities[0].text("detail"),
            r#"{"roles":["workstation","server","nt_workstation","nt_server"],"comment":"etcher"}"#
        );
        let details: Vec<_> = run.messages().iter().map(|r| r.text("detail")).collect();
        assert!(details[2].contains("\"uptime_ms\":1000"), "{}", details[2]);
        assert!(details[3].contains("\"computer\":\"C7\""), "{}", details[3]);
    }

    #[test]
    fn errors_fragments_and_what_is_cut() {
        let mut run = Run::over(&PROTOCOL, Transport::Udp);
        run.send(Side::Server, b"\x13\x02\0\x01\x0a\0\0\x02\0\x8a\x82");
        let mut whole = announced(1);
        whole[13] = 9;
        run.send(Side::Client, &whole);
        run.send(Side::Client, &announced(1)[..60]);
        assert_eq!(
            run.table(&["function", "status", "status_code"]),
            [
                "datagram_error|denied|destination_name_not_present",
                "direct_group_datagram|one_way|",
                "direct_group_datagram|malformed|destination_name",
            ]
        );
    }

    #[test]
    fn the_probe_takes_nothing_else() {
        for (name, bytes) in OTHERS {
            let glimpse = Glimpse { transport: Transport::Udp, side: Side::Client, customary: false, bytes };
            assert_eq!(probe(&glimpse), Probe::No, "{name}");
        }
    }
}
