//! RTPS (OMG DDSI-RTPS 2.x, and 1.x before it), the wire protocol of DDS: participants, writers and readers announce
//! themselves, then exchange samples of topics.
//!
//! Submessages repeat and are counted by kind and writer; an announcement is a row of its own when
//! it is new.

use std::hash::{DefaultHasher, Hash, Hasher};

use yagura_event::clock::{Micros, SECOND};
use yagura_event::rows::IdentityRow;
use yagura_event::vocabulary::operation;

use crate::cursor::{Cursor, Cut};
use crate::cyclic::{Cyclic, Tally};
use crate::exchange::Exchanges;
use crate::framing::{Frame, Framed, Framing};
use crate::{Carrier, Cx, Dissector, FlowInfo, Glimpse, Probe, Protocol, Side, json};

/// The registry's entry.
pub const PROTOCOL: Protocol = Protocol {
    name: NAME,
    carriers: &[Carrier::udp(&[7400, 7401, 7410, 7411, 7412, 7413, 7414, 7415, 7416, 7417])],
    probe,
    start,
    buffer_bytes_max: 65_535,
    #[cfg(test)]
    sample: tests::sample,
};

const NAME: &str = "rtps";
const TIMEOUT: Micros = 60 * SECOND;
/// Magic, version, vendor, prefix of the participant.
const HEADER: usize = 20;
/// The same before version 2, whose prefix is a host and an application.
const HEADER_1: usize = 16;
/// A maker's datagram that keeps paths open.
const PING: &[u8] = b"NDDSPING";
/// Most announcements of one connection that are remembered.
const ANNOUNCED_MAX: usize = 256;
/// Most parameters of an announcement that are read.
const PARAMETERS_MAX: usize = 128;

fn start(_flow: &FlowInfo) -> Box<dyn Dissector> {
    Box::new(Framing::new(Rtps {
        exchanges: Exchanges::new(NAME, TIMEOUT),
        cyclic: Cyclic::new(),
        announced: Vec::new(),
        opaque: false,
    }))
}

fn probe(glimpse: &Glimpse<'_>) -> Probe {
    if known(glimpse.bytes) { Probe::Yes } else { Probe::No }
}

fn known(bytes: &[u8]) -> bool {
    matches!(bytes, [b'R', b'T', b'P', b'S', major @ (1 | 2), 0..=9, _, _, rest @ ..]
        if rest.starts_with(PING) || bytes.len() >= if *major == 1 { HEADER_1 } else { HEADER })
}

/// Samples of version 1.
const VAR: u8 = 0x02;
const ISSUE: u8 = 0x03;
const DATA: u8 = 0x15;

fn name(kind: u8) -> &'static str {
    match kind {
        0x01 => "PAD",
        VAR => "VAR",
        ISSUE => "ISSUE",
        0x06 => "ACKNACK",
        0x07 => "HEARTBEAT",
        0x08 => "GAP",
        0x09 => "INFO_TS",
        0x0c => "INFO_SRC",
        0x0d => "INFO_REPLY_IP4",
        0x0e => "INFO_DST",
        0x0f => "INFO_REPLY",
        0x12 => "NACK_FRAG",
        0x13 => "HEARTBEAT_FRAG",
        DATA => "DATA",
        0x16 => "DATA_FRAG",
        0x30 => "SEC_BODY",
        0x31 => "SEC_PREFIX",
        0x32 => "SEC_POSTFIX",
        0x33 => "SRTPS_PREFIX",
        0x34 => "SRTPS_POSTFIX",
        0x80.. => "VENDOR_SPECIFIC",
        _ => "unknown_submessage",
    }
}

/// The protocol's own writers.
fn writer_name(writer: u32) -> Option<&'static str> {
    Some(match writer {
        0x0001_00c2 => "participant_announcement",
        0x0000_02c2 => "topic_announcement",
        0x0000_03c2 => "publication_announcement",
        0x0000_04c2 => "subscription_announcement",
        0x0002_00c2 => "liveliness",
        0x0002_01c3 | 0x0002_02c3 => "security_handshake",
        0xff01_01c2 => "secure_participant_announcement",
        0xff00_03c2 => "secure_publication_announcement",
        0xff00_04c2 => "secure_subscription_announcement",
        _ => return None,
    })
}

struct Rtps {
    exchanges: Exchanges<()>,
    /// By submessage and writer.
    cyclic: Cyclic<(u8, u32)>,
    /// Digests of the announcements that were written.
    announced: Vec<u64>,
    opaque: bool,
}

impl Framed for Rtps {
    const PROTOCOL: &'static str = NAME;

    fn frame(&self, _side: Side, bytes: &[u8]) -> Frame {
        if known(bytes) { Frame::Of(bytes.len()) } else { Frame::Bad("header") }
    }

    fn read(&mut self, cx: &mut Cx<'_>, side: Side, frame: &[u8]) -> Result<(), Cut> {
        let mut cursor = Cursor::new(frame);
        cursor.skip(4, "magic")?;
        let version = cursor.array::<2>("version")?;
        let vendor = cursor.u16_be("vendor")?;
        if cursor.rest().starts_with(PING) {
            self.count(cx, side, (0, 0), frame.len());
            return Ok(());
        }
        let mut prefix = [0; 12];
        let length = if version[0] == 1 { HEADER_1 } else { HEADER } - cursor.at();
        prefix[..length].copy_from_slice(cursor.take(length, "guid_prefix")?);
        while cursor.remaining() >= 4 {
            let kind = cursor.u8("submessage")?;
            let flags = cursor.u8("flags")?;
            let little = flags & 1 == 1;
            let length = number(&mut cursor, little, "length")?;
            // No length: up to the end.
            let open = length == 0 && !matches!(kind, 0x01 | 0x09);
            let length = if open { cursor.remaining() } else { usize::from(length) };
            let body = cursor.part(length, "length")?;
            let sender = Sender { version, vendor, prefix };
            self.submessage(cx, side, &sender, (kind, flags), body)?;
        }
        Ok(())
    }

    fn lost(&mut self, _cx: &mut Cx<'_>, _side: Side) {}

    fn expire(&mut self, cx: &mut Cx<'_>) {
        while let Some((kind, tally)) = self.cyclic.over(cx) {
            self.write(cx, kind, tally);
        }
    }

    fn close(&mut self, cx: &mut Cx<'_>) {
        while let Some((kind, tally)) = self.cyclic.any() {
            self.write(cx, kind, tally);
        }
        self.exchanges.close(cx);
    }
}

/// Who sends a message.
struct Sender {
    version: [u8; 2],
    vendor: u16,
    prefix: [u8; 12],
}

fn number(cursor: &mut Cursor<'_>, little: bool, what: &'static str) -> Result<u16, Cut> {
    if little { cursor.u16_le(what) } else { cursor.u16_be(what) }
}

fn long(cursor: &mut Cursor<'_>, little: bool, what: &'static str) -> Result<u32, Cut> {
    if little { cursor.u32_le(what) } else { cursor.u32_be(what) }
}

impl Rtps {
    fn count(&mut self, cx: &mut Cx<'_>, side: Side, kind: (u8, u32), bytes: usize) {
        if let Some((kind, tally)) = self.cyclic.count(cx, kind, side, bytes) {
            self.write(cx, kind, tally);
        }
    }

    fn write(&mut self, cx: &mut Cx<'_>, (kind, writer): (u8, u32), tally: Tally) {
        let built_in = writer & 0xc0 == 0xc0;
        let (function, does) = match kind {
            0 => ("ping", operation::SESSION_KEEP),
            VAR | ISSUE => (name(kind), operation::REPORT),
            DATA | 0x16 if !built_in => (name(kind), operation::REPORT),
            DATA | 0x16 => (writer_name(writer).unwrap_or(name(kind)), operation::DISCOVER),
            _ => (name(kind), operation::SESSION_KEEP),
        };
        let mut draft = self.exchanges.draft(cx, tally.side, does, function);
        draft.time = tally.since;
        draft.equipment = tally.side;
        if writer != 0 {
            draft.target = format!("writer 0x{writer:08x}");
        }
        draft.set_count(tally.count);
        json::member_number(&mut draft.detail, "submessage", u64::from(kind));
        json::member_number(&mut draft.detail, "bytes", tally.bytes);
        self.exchanges.one_way(cx, draft);
    }

    fn submessage(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        sender: &Sender,
        (kind, flags): (u8, u8),
        mut body: Cursor<'_>,
    ) -> Result<(), Cut> {
        let (bytes, little) = (body.remaining(), flags & 1 == 1);
        let mut writer = 0;
        match kind {
            VAR | ISSUE | 0x06..=0x08 | 0x12 | 0x13 => {
                body.skip(4, "reader")?;
                writer = body.u32_be("writer")?;
            }
            DATA | 0x16 => {
                body.skip(2, "extra_flags")?;
                let to_qos = usize::from(number(&mut body, little, "octets_to_inline_qos")?);
                let mut rest = body;
                body.skip(4, "reader")?;
                writer = body.u32_be("writer")?;
                rest.skip(to_qos, "octets_to_inline_qos")?;
                if kind == DATA && writer_name(writer).is_some_and(|name| name.ends_with("announcement")) {
                    self.announcement(cx, side, sender, (writer, flags), rest)?;
                }
            }
            0x30..=0x34 if !std::mem::replace(&mut self.opaque, true) => {
                cx.opaque(NAME, "DDS Security: submessages are encrypted or signed");
            }
            _ => {}
        }
        // Time, source and destination belong to what follows them.
        if !matches!(kind, 0x01 | 0x09 | 0x0c..=0x0f) {
            self.count(cx, side, (kind, writer), bytes);
        }
        Ok(())
    }

    /// An announcement, which is a row when it is new.
    fn announcement(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        sender: &Sender,
        (writer, flags): (u32, u8),
        mut body: Cursor<'_>,
    ) -> Result<(), Cut> {
        let little = flags & 1 == 1;
        let mut told = Told::default();
        if flags & 2 != 0 {
            told.parameters(&mut body, little)?;
        }
        // With data, or with the key of what goes away.
        if flags & 12 != 0 {
            let encapsulation = body.u16_be("encapsulation")?;
            body.skip(2, "encapsulation")?;
            if matches!(encapsulation, 2 | 3) {
                told.parameters(&mut body, encapsulation == 3)?;
            }
        }
        let mut hasher = DefaultHasher::new();
        (sender.prefix, writer, &told).hash(&mut hasher);
        let digest = hasher.finish();
        if self.announced.contains(&digest) {
            return Ok(());
        }
        if self.announced.len() == ANNOUNCED_MAX {
            self.announced.remove(0);
        }
        self.announced.push(digest);
        let function = writer_name(writer).unwrap_or_default();
        let mut draft = self.exchanges.draft(cx, side, operation::DISCOVER, function);
        draft.equipment = side;
        json::push_hex_digits(&mut draft.session, &sender.prefix);
        draft.target.push_str(if told.topic.is_empty() { &told.name } else { &told.topic });
        let [high, low] = sender.version;
        let detail = &mut draft.detail;
        json::member_bool(detail, "new", true);
        json::member_text(detail, "version", &format!("{high}.{low}"));
        json::member_text(detail, "vendor", vendor(sender.vendor));
        if !told.kind.is_empty() {
            json::member_text(detail, "type", &told.kind);
        }
        if let Some(domain) = told.domain {
            json::member_number(detail, "domain", u64::from(domain));
        }
        if told.gone {
            json::member_bool(detail, "gone", true);
        }
        if told.secured {
            json::member_bool(detail, "security_tokens", true);
        }
        for (name, value) in &told.properties {
            json::member_text(detail, name, value);
        }
        self.exchanges.one_way(cx, draft);
        if writer == 0x0001_00c2 && !told.gone {
            let mut facts = String::new();
            json::key(&mut facts, "guid_prefix");
            json::push_hex(&mut facts, &sender.prefix);
            for (name, value) in &told.properties {
                json::member_text(&mut facts, name, value);
            }
            json::end(&mut facts);
            let row = IdentityRow {
                vendor: vendor(sender.vendor),
                firmware: &told.product,
                name: &told.name,
                detail: &facts,
                ..IdentityRow::default()
            };
            cx.identity(NAME, side, row);
        }
        Ok(())
    }
}

fn vendor(code: u16) -> &'static str {
    match code {
        0x0101 => "RTI Connext",
        0x0102 => "OpenSplice",
        0x0103 => "OpenDDS",
        0x0105 => "InterCOM",
        0x0106 => "CoreDX",
        0x010f => "eProsima Fast DDS",
        0x0110 => "Eclipse Cyclone DDS",
        0x0112 => "RustDDS",
        _ => "unknown",
    }
}

/// What an announcement says.
#[derive(Default, Hash)]
struct Told {
    topic: String,
    kind: String,
    name: String,
    product: String,
    domain: Option<u32>,
    /// An endpoint or participant goes away.
    gone: bool,
    secured: bool,
    properties: Vec<(&'static str, String)>,
}

impl Told {
    /// A parameter list, up to its sentinel.
    fn parameters(&mut self, body: &mut Cursor<'_>, little: bool) -> Result<(), Cut> {
        for _ in 0..PARAMETERS_MAX {
            let id = number(body, little, "parameter")?;
            let length = usize::from(number(body, little, "parameter_length")?);
            if id == 1 {
                return Ok(());
            }
            let mut value = body.part(length, "parameter_length")?;
            match id {
                0x0005 => self.topic = text(&mut value, little)?,
                0x0007 => self.kind = text(&mut value, little)?,
                0x0062 => self.name = text(&mut value, little)?,
                0x000f | 0x800f => self.domain = long(&mut value, little, "domain").ok(),
                0x0059 => self.properties(&mut value, little)?,
                // Always in network order.
                0x0071 => self.gone |= value.u32_be("status_info")? & 3 != 0,
                0x1001..=0x1007 => self.secured = true,
                0x8000 => {
                    let version = value.rest().iter().take(4).map(u8::to_string).collect::<Vec<_>>();
                    self.product = version.join(".");
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Properties of a participant: those that say where it runs.
    fn properties(&mut self, value: &mut Cursor<'_>, little: bool) -> Result<(), Cut> {
        const KEPT: [(&str, &str); 8] = [
            ("dds.sys_info.hostname", "host"),
            ("dds.sys_info.process_id", "process"),
            ("dds.sys_info.username", "user"),
            ("dds.sys_info.executable_filepath", "executable"),
            ("dds.sys_info.target", "target"),
            ("fastdds.physical_data.host", "host"),
            ("fastdds.physical_data.user", "user"),
            ("fastdds.physical_data.process", "process"),
        ];
        let count = long(value, little, "properties")?;
        for _ in 0..count.min(64) {
            let (name, text) = (text(value, little)?, text(value, little)?);
            if let Some((_, kept)) = KEPT.iter().find(|(known, _)| *known == name)
                && self.properties.len() < KEPT.len()
            {
                self.properties.push((kept, text));
            }
        }
        Ok(())
    }
}

/// A string: its length with the final zero, its bytes, and padding to four.
fn text(value: &mut Cursor<'_>, little: bool) -> Result<String, Cut> {
    let length = long(value, little, "string_length")? as usize;
    let bytes = value.take(length, "string")?;
    let padding = length.next_multiple_of(4) - length;
    value.skip(padding.min(value.remaining()), "padding")?;
    let bytes = bytes.strip_suffix(&[0]).unwrap_or(bytes);
    Ok(String::from_utf8_lossy(&bytes[..bytes.len().min(256)]).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Transport;
    use crate::testing::{Run, Sample};
    use yagura_event::schema::Kind;

    fn string(text: &str) -> Vec<u8> {
        let mut out = (text.len() as u32 + 1).to_le_bytes().to_vec();
        out.extend(text.bytes());
        out.push(0);
        out.resize(out.len().next_multiple_of(4), 0);
        out
    }

    fn parameters(list: &[(u16, Vec<u8>)]) -> Vec<u8> {
        let mut out = Vec::new();
        for (id, value) in list {
            out.extend(id.to_le_bytes());
            out.extend((value.len() as u16).to_le_bytes());
            out.extend(value);
        }
        out.extend([1, 0, 0, 0]);
        out
    }

    fn data(writer: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
        let mut body = vec![0, 0, 16, 0, 0, 0, 0, 0];
        body.extend(writer.to_be_bytes());
        body.extend([0, 0, 0, 0, 1, 0, 0, 0]);
        body.extend(payload);
        let mut out = vec![DATA, flags];
        out.extend((body.len() as u16).to_le_bytes());
        out.extend(body);
        out
    }

    fn message(submessages: &[Vec<u8>]) -> Vec<u8> {
        let mut out = b"RTPS\x02\x02\x01\x01".to_vec();
        out.extend([7; 12]);
        out.extend([9, 1, 8, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
        out.extend(submessages.concat());
        out
    }

    fn announced(list: &[(u16, Vec<u8>)]) -> Vec<u8> {
        [vec![0, 3, 0, 0], parameters(list)].concat()
    }

    pub fn sample() -> Sample {
        let host = [1_u32.to_le_bytes().to_vec(), string("dds.sys_info.hostname"), string("cell7")].concat();
        let participant = announced(&[(0x62, string("robot")), (0x59, host), (0x8000, vec![5, 2, 0, 0])]);
        let writer = announced(&[(5, string("Square")), (7, string("ShapeType"))]);
        Sample::udp(vec![
            (Side::Client, b"RTPS\x02\x02\x01\x01NDDSPING".to_vec()),
            (Side::Client, message(&[data(0x0001_00c2, 5, &participant)])),
            (Side::Client, message(&[data(0x0001_00c2, 5, &participant)])),
            (Side::Client, message(&[data(0x0000_03c2, 5, &writer)])),
            (Side::Client, message(&[data(0x8000_0002, 5, &[0, 1, 0, 0, 1, 2, 3, 4])])),
        ])
    }

    #[test]
    fn announcements_are_told_once_and_samples_are_counted() {
        let mut run = Run::over(&PROTOCOL, Transport::Udp);
        for (side, bytes) in sample().said {
            run.send(side, &bytes);
        }
        let before = run.rows.len();
        run.close();
        let rows = run.table(&["operation", "function", "target"]);
        assert_eq!(
            rows[..2],
            ["discover|participant_announcement|robot", "discover|publication_announcement|Square"]
        );
        assert!(run.messages()[1].text("detail").contains("\"type\":\"ShapeType\""));
        let identity = run.of(Kind::Identity);
        assert_eq!(identity.len(), 1);
        assert_eq!((identity[0].text("name"), identity[0].text("firmware")), ("robot", "5.2.0.0"));
        assert!(identity[0].text("detail").contains("\"host\":\"cell7\""));
        let counted: Vec<_> = run.rows[before..]
            .iter()
            .map(|row| format!("{} {} {:?}", row.text("function"), row.text("target"), row.number("count")))
            .collect();
        assert!(counted.contains(&"DATA writer 0x80000002 Some(1.0)".to_string()), "{counted:?}");
        assert!(counted.contains(&"participant_announcement writer 0x000100c2 Some(2.0)".to_string()));
        assert_eq!(counted.len(), 4, "{counted:?}");
    }

    #[test]
    fn version_1_has_a_shorter_header() {
        let mut run = Run::over(&PROTOCOL, Transport::Udp);
        let issue = b"RTPS\x01\x02\x01\x01\x0a\x00\x00\x01\x00\x00\x09\x01\
            \x09\x01\x08\x00\x01\x02\x03\x04\x05\x06\x07\x08\
            \x03\x01\x10\x00\x00\x00\x00\x00\x80\x00\x00\x01\x00\x00\x00\x00\x01\x00\x00\x00";
        run.send(Side::Client, issue);
        run.close();
        assert_eq!(run.table(&["function", "target", "status"]), ["ISSUE|writer 0x80000001|one_way"]);
    }

    #[test]
    fn who_goes_away_and_what_is_secured() {
        let mut run = Run::over(&PROTOCOL, Transport::Udp);
        let gone = parameters(&[(0x71, vec![0, 0, 0, 3])]);
        run.send(Side::Client, &message(&[data(0x0001_00c2, 3, &gone)]));
        run.send(Side::Client, &message(&[vec![0x33, 1, 4, 0, 1, 2, 3, 4]]));
        run.send(Side::Client, &message(&[vec![0x33, 1, 4, 0, 1, 2, 3, 4]]));
        run.send(Side::Client, &message(&[vec![0x15, 1, 200, 0, 1, 2, 3, 4]]));
        run.close();
        assert!(run.messages()[0].text("detail").contains("\"gone\":true"));
        assert_eq!(run.of(Kind::Coverage).len(), 1);
        assert_eq!(run.messages()[1].text("status_code"), "length");
    }
}
