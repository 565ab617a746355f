//! PTP, the precision time protocol (IEEE 1588-2002, -2008 and -2019) over UDP and Ethernet.
//!
//! Time messages come every second or oftener and are counted. What a grandmaster announces is a
//! row when it is new or changes, and an identity; management messages are rows, requests paired
//! with their responses where both are seen between the same stations.

use std::borrow::Cow;
use std::fmt::Write;

use yagura_event::clock::{Micros, SECOND};
use yagura_event::rows::IdentityRow;
use yagura_event::vocabulary::operation;

use crate::cursor::{Cursor, Cut};
use crate::cyclic::{Cyclic, Tally};
use crate::exchange::Exchanges;
use crate::framing::{Frame, Framed, Framing};
use crate::{Carrier, Cx, Glimpse, Probe, Protocol, Side, json};

/// The registry's entry.
pub const PROTOCOL: Protocol = Protocol {
    name: NAME,
    carriers: &[Carrier::udp(&[319, 320]), Carrier::link(&[0x88f7])],
    probe,
    start: |_| {
        Box::new(Framing::new(Ptp {
            exchanges: Exchanges::new(NAME, TIMEOUT),
            cyclic: Cyclic::new(),
            announced: Vec::new(),
        }))
    },
    buffer_bytes_max: 2048,
    #[cfg(test)]
    sample: tests::sample,
};

const NAME: &str = "ptp";
const TIMEOUT: Micros = 5 * SECOND;
/// The common header of version 2 (13.3), and that of version 1 (Annex D.1 of IEEE 1588-2002).
const HEADER: usize = 34;
const HEADER_OLD: usize = 40;
/// Most clocks of one conversation whose announcements are remembered.
const CLOCKS_MAX: usize = 32;

/// Messages of version 2 (table of messageType).
mod message {
    pub const ANNOUNCE: u8 = 11;
    pub const MANAGEMENT: u8 = 13;
}

/// The structure is short: it is believed on its ports and EtherType only.
fn probe(glimpse: &Glimpse<'_>) -> Probe {
    let fits = glimpse.customary && (current(glimpse.bytes).is_some() || old(glimpse.bytes).is_some());
    if fits { Probe::Yes } else { Probe::No }
}

/// The length of a message of version 2, which is at least what its type needs.
fn current(bytes: &[u8]) -> Option<usize> {
    let [kind, version, high, low, _, _, _, _, ..] = *bytes else { return None };
    let length = usize::from(high) << 8 | usize::from(low);
    let least = match kind & 15 {
        0 | 1 | 8 | 12 => 44,
        2 | 3 | 9 | 10 => 54,
        message::ANNOUNCE => 64,
        message::MANAGEMENT => 48,
        _ => return None,
    };
    (version & 15 == 2 && length >= least && length <= bytes.len()).then_some(length)
}

/// The control field of a message of version 1.
fn old(bytes: &[u8]) -> Option<u8> {
    let header = bytes.get(..HEADER_OLD)?;
    let [0, 1, 0, network] = header[..4] else { return None };
    let (kind, technology, control) = (header[20], header[21], header[32]);
    (network <= 1 && matches!(kind, 1 | 2) && technology <= 15 && control <= 4).then_some(control)
}

struct Ptp {
    exchanges: Exchanges<u16>,
    cyclic: Cyclic<(&'static str, u8)>,
    /// What each clock announced last.
    announced: Vec<([u8; 8], Grandmaster)>,
}

/// What an announcement says of the grandmaster (13.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Grandmaster {
    identity: [u8; 8],
    priorities: [u8; 2],
    class: u8,
    accuracy: u8,
    steps: u16,
    source: u8,
}

/// A clock's identity as text.
fn clock(identity: [u8; 8]) -> String {
    let mut out = String::new();
    for byte in identity {
        let _ = write!(out, "{}{byte:02x}", if out.is_empty() { "" } else { ":" });
    }
    out
}

fn named(kind: u8) -> &'static str {
    match kind {
        0 => "sync",
        1 => "delay_request",
        2 => "peer_delay_request",
        3 => "peer_delay_response",
        8 => "follow_up",
        9 => "delay_response",
        10 => "peer_delay_response_follow_up",
        message::ANNOUNCE => "announce",
        12 => "signaling",
        _ => "management",
    }
}

fn action(code: u8) -> &'static str {
    match code {
        0 => "get",
        1 => "set",
        2 => "response",
        3 => "command",
        4 => "acknowledge",
        _ => "reserved",
    }
}

/// What management is about (table of managementId).
fn managed(id: u16) -> Cow<'static, str> {
    Cow::Borrowed(match id {
        0x0000 => "NULL_MANAGEMENT",
        0x0001 => "CLOCK_DESCRIPTION",
        0x0002 => "USER_DESCRIPTION",
        0x0003 => "SAVE_IN_NON_VOLATILE_STORAGE",
        0x0004 => "RESET_NON_VOLATILE_STORAGE",
        0x0005 => "INITIALIZE",
        0x0006 => "FAULT_LOG",
        0x0007 => "FAULT_LOG_RESET",
        0x2000 => "DEFAULT_DATA_SET",
        0x2001 => "CURRENT_DATA_SET",
        0x2002 => "PARENT_DATA_SET",
        0x2003 => "TIME_PROPERTIES_DATA_SET",
        0x2004 => "PORT_DATA_SET",
        0x2005 => "PRIORITY1",
        0x2006 => "PRIORITY2",
        0x2007 => "DOMAIN",
        0x2008 => "SLAVE_ONLY",
        0x2009 => "LOG_ANNOUNCE_INTERVAL",
        0x200a => "ANNOUNCE_RECEIPT_TIMEOUT",
        0x200b => "LOG_SYNC_INTERVAL",
        0x200c => "VERSION_NUMBER",
        0x200d => "ENABLE_PORT",
        0x200e => "DISABLE_PORT",
        0x200f => "TIME",
        0x2010 => "CLOCK_ACCURACY",
        0x2011 => "UTC_PROPERTIES",
        0x2012 => "TRACEABILITY_PROPERTIES",
        0x2013 => "TIMESCALE_PROPERTIES",
        0x2014 => "UNICAST_NEGOTIATION_ENABLE",
        0x2015 => "PATH_TRACE_LIST",
        0x2016 => "PATH_TRACE_ENABLE",
        0x2017 => "GRANDMASTER_CLUSTER_TABLE",
        0x2018 => "UNICAST_MASTER_TABLE",
        0x6000 => "DELAY_MECHANISM",
        0x6001 => "LOG_MIN_PDELAY_REQ_INTERVAL",
        _ => return Cow::Owned(format!("0x{id:04x}")),
    })
}

/// A text with its length before it (PTPText).
fn text(c: &mut Cursor<'_>) -> Result<String, Cut> {
    let length = usize::from(c.u8("text_length")?);
    Ok(String::from_utf8_lossy(c.take(length, "text")?).trim_end_matches('\0').to_string())
}

impl Ptp {
    fn count(&mut self, cx: &mut Cx<'_>, side: Side, kind: (&'static str, u8), bytes: usize) {
        if let Some((kind, tally)) = self.cyclic.count(cx, kind, side, bytes) {
            self.write(cx, kind, tally);
        }
    }

    fn write(&mut self, cx: &mut Cx<'_>, (name, domain): (&'static str, u8), tally: Tally) {
        let mut draft = self.exchanges.draft(cx, tally.side, operation::SESSION_KEEP, name);
        draft.time = tally.since;
        draft.equipment = tally.side;
        draft.session = domain.to_string();
        draft.set_count(tally.count);
        json::member_number(&mut draft.detail, "bytes", tally.bytes);
        self.exchanges.one_way(cx, draft);
    }

    fn announce(&mut self, cx: &mut Cx<'_>, side: Side, domain: u8, c: &mut Cursor<'_>) -> Result<(), Cut> {
        let mut sender = Cursor::new(c.take(HEADER, "header")?);
        sender.skip(20, "header")?;
        let sender = sender.array::<8>("source_clock")?;
        c.skip(10, "origin_timestamp")?;
        let offset = c.i16_be("utc_offset")?;
        c.skip(1, "reserved")?;
        let first = c.u8("priority_1")?;
        let (class, accuracy) = (c.u8("clock_class")?, c.u8("clock_accuracy")?);
        c.skip(2, "clock_variance")?;
        let second = c.u8("priority_2")?;
        let identity = c.array::<8>("grandmaster")?;
        let (steps, source) = (c.u16_be("steps_removed")?, c.u8("time_source")?);
        let said = Grandmaster { identity, priorities: [first, second], class, accuracy, steps, source };
        let before = self.announced.iter_mut().find(|(clock, _)| *clock == sender);
        let before = match before {
            Some((_, last)) if *last == said => return Ok(()),
            Some((_, last)) => Some(std::mem::replace(last, said)),
            None => {
                if self.announced.len() == CLOCKS_MAX {
                    self.announced.remove(0);
                }
                self.announced.push((sender, said));
                None
            }
        };
        let mut facts = String::new();
        json::member_text(&mut facts, "clock", &clock(sender));
        json::member_number(&mut facts, "domain", domain.into());
        json::member_text(&mut facts, "grandmaster", &clock(identity));
        json::member_number(&mut facts, "priority_1", first.into());
        json::member_number(&mut facts, "priority_2", second.into());
        json::member_number(&mut facts, "clock_class", class.into());
        json::member_number(&mut facts, "clock_accuracy", accuracy.into());
        json::member_number(&mut facts, "steps_removed", steps.into());
        json::member_number(&mut facts, "time_source", source.into());
        let mut draft = self.exchanges.draft(cx, side, operation::REPORT, "grandmaster");
        draft.equipment = side;
        draft.session = domain.to_string();
        draft.target = clock(identity);
        draft.detail = facts.clone();
        let _ = write!(draft.detail, ",\"utc_offset\":{offset}");
        if let Some(before) = before {
            json::member_text(&mut draft.detail, "grandmaster_was", &clock(before.identity));
        }
        self.exchanges.one_way(cx, draft);
        json::end(&mut facts);
        cx.identity(NAME, side, IdentityRow { detail: &facts, ..IdentityRow::default() });
        Ok(())
    }

    fn manage(&mut self, cx: &mut Cx<'_>, side: Side, domain: u8, c: &mut Cursor<'_>) -> Result<(), Cut> {
        c.skip(20, "header")?;
        let sender = c.array::<8>("source_clock")?;
        c.skip(2, "source_port")?;
        let sequence = c.u16_be("sequence")?;
        c.skip(2, "control")?;
        let to = c.array::<8>("target_clock")?;
        c.skip(4, "target_port")?;
        let code = c.u8("action")? & 15;
        c.skip(1, "reserved")?;
        let answers = matches!(code, 2 | 4);
        let found = if answers { self.exchanges.answered(side, &sequence) } else { None };
        let paired = found.is_some();
        let mut draft = found.unwrap_or_else(|| {
            let does = match code {
                1 => operation::CONFIGURE,
                3 => operation::CONTROL,
                _ => operation::DISCOVER,
            };
            let mut draft =
                self.exchanges.draft(cx, if answers { side.other() } else { side }, does, action(code));
            draft.session = domain.to_string();
            json::member_number(&mut draft.detail, "sequence", sequence.into());
            json::member_text(&mut draft.detail, "from", &clock(sender));
            json::member_text(&mut draft.detail, "to", &clock(to));
            draft
        });
        while c.remaining() >= 4 {
            let kind = c.u16_be("tlv")?;
            let length = usize::from(c.u16_be("tlv_length")?);
            let mut b = c.part(length, "tlv_length")?;
            match kind {
                1 => {
                    let id = b.u16_be("management_id")?;
                    if draft.target.is_empty() {
                        draft.target.push_str(&managed(id));
                    }
                    if id == 1 && answers && !b.is_empty() {
                        if let Err(cut) = describe(cx, side, sender, b) {
                            draft.wrong(cut);
                        }
                    } else if !b.is_empty() {
                        draft.push_bytes(b.rest());
                    }
                }
                2 => {
                    let error = b.u16_be("management_error")?;
                    let id = b.u16_be("management_id")?;
                    if draft.target.is_empty() {
                        draft.target.push_str(&managed(id));
                    }
                    draft.deny(refusal(error));
                }
                _ => {}
            }
        }
        match (answers, paired) {
            (true, true) => self.exchanges.pair(cx, draft),
            (true, false) => self.exchanges.unasked(cx, draft),
            // To all: whoever answers does so in another conversation.
            (false, _) if to == [0xff; 8] => self.exchanges.one_way(cx, draft),
            (false, _) => self.exchanges.ask(cx, sequence, draft),
        }
        Ok(())
    }
}

fn refusal(code: u16) -> Cow<'static, str> {
    Cow::Borrowed(match code {
        1 => "response_too_big",
        2 => "no_such_id",
        3 => "wrong_length",
        4 => "wrong_value",
        5 => "not_setable",
        6 => "not_supported",
        0xfffe => "general_error",
        other => return Cow::Owned(format!("0x{other:04x}")),
    })
}

/// CLOCK_DESCRIPTION (15.5.3.1.2): what a clock is.
fn describe(cx: &mut Cx<'_>, side: Side, sender: [u8; 8], mut b: Cursor<'_>) -> Result<(), Cut> {
    b.skip(2, "clock_type")?;
    text(&mut b)?;
    let length = usize::from(b.u16_be("physical_address_length")?);
    b.skip(length, "physical_address")?;
    b.skip(2, "protocol")?;
    let length = usize::from(b.u16_be("protocol_address_length")?);
    b.skip(length, "protocol_address")?;
    b.skip(4, "manufacturer")?;
    let (product, revision, user) = (text(&mut b)?, text(&mut b)?, text(&mut b)?);
    // Maker, model and instance; hardware, firmware and software: separated by semicolons.
    let mut product = product.split(';');
    let (vendor, model, serial) =
        (product.next().unwrap_or(""), product.next().unwrap_or(""), product.next().unwrap_or(""));
    let mut facts = String::new();
    json::member_text(&mut facts, "clock", &clock(sender));
    json::member_text(&mut facts, "revision", &revision);
    json::end(&mut facts);
    let firmware = revision.split(';').filter(|part| !part.is_empty()).nth(1).unwrap_or(&revision);
    let row = IdentityRow {
        vendor,
        model,
        serial,
        firmware,
        name: &user,
        detail: &facts,
        ..IdentityRow::default()
    };
    cx.identity(NAME, side, row);
    Ok(())
}

impl Framed for Ptp {
    const PROTOCOL: &'static str = NAME;

    fn frame(&self, _side: Side, bytes: &[u8]) -> Frame {
        // What a frame or a transport adds behind a message is padding.
        match current(bytes).is_some() || old(bytes).is_some() {
            true => Frame::Of(bytes.len()),
            false => Frame::Bad("header"),
        }
    }

    fn read(&mut self, cx: &mut Cx<'_>, side: Side, frame: &[u8]) -> Result<(), Cut> {
        let Some(length) = current(frame) else {
            let names = ["sync", "delay_request", "follow_up", "delay_response", "management"];
            let control = usize::from(old(frame).unwrap_or(0));
            self.count(cx, side, (names.get(control).unwrap_or(&"other"), 0), frame.len());
            return Ok(());
        };
        let mut c = Cursor::new(&frame[..length]);
        let (kind, domain) = (frame[0] & 15, frame[4]);
        if kind == message::MANAGEMENT {
            return self.manage(cx, side, domain, &mut c);
        }
        self.count(cx, side, (named(kind), domain), length);
        if kind == message::ANNOUNCE {
            return self.announce(cx, side, domain, &mut c);
        }
        Ok(())
    }

    fn lost(&mut self, _cx: &mut Cx<'_>, _side: Side) {}

    fn expire(&mut self, cx: &mut Cx<'_>) {
        self.exchanges.expire(cx);
        while let Some((kind, tally)) = self.cyclic.over(cx) {
            self.write(cx, kind, tally);
        }
    }

    fn close(&mut self, cx: &mut Cx<'_>) {
        self.exchanges.close(cx);
        while let Some((kind, tally)) = self.cyclic.any() {
            self.write(cx, kind, tally);
        }
    }
}

#[cfg(test)]
mod tests {
    use yagura_event::schema::Kind;

    use super::*;
    use crate::testing::{Run, Sample};

    fn header(kind: u8, length: u8) -> Vec<u8> {
        let mut out = vec![kind, 2, 0, length, 0, 0, 0, 0];
        out.extend([0; 12]);
        out.extend([0, 0x1b, 0x1b, 0xff, 0xfe, 1, 2, 3, 0, 1, 0, 7, 5, 1]);
        out
    }

    fn sync() -> Vec<u8> {
        [header(0, 44), vec![0; 10]].concat()
    }

    fn announce(grandmaster: u8) -> Vec<u8> {
        let mut out = header(11, 64);
        out.extend([0; 10]);
        out.extend([
            0,
            37,
            0,
            128,
            6,
            0x21,
            0,
            0,
            128,
            0,
            0x1b,
            0x1b,
            0xff,
            0xfe,
            0,
            0,
            grandmaster,
            0,
            0,
            0x20,
        ]);
        out
    }

    fn management(code: u8, tlv: &[u8]) -> Vec<u8> {
        let mut out = header(13, 48 + tlv.len() as u8);
        out.extend([0, 0x1b, 0x1b, 0xff, 0xfe, 9, 9, 9, 0, 1, 1, 1, code, 0]);
        out.extend_from_slice(tlv);
        out
    }

    fn description() -> Vec<u8> {
        let mut data = vec![0x80, 0, 4];
        data.extend(b"eth0");
        data.extend([0, 2, 1, 1, 0, 1, 0, 0, 0, 0, 0, 0]);
        data.extend([11]);
        data.extend(b"Maker;M1;S7");
        data.extend([6]);
        data.extend(b"H1;F2;");
        data.extend([0]);
        [&[0, 1, 0, data.len() as u8 + 2, 0, 1][..], &data].concat()
    }

    pub fn sample() -> Sample {
        use Side::{Client, Server};
        let said = vec![
            (Client, sync()),
            (Client, announce(1)),
            (Client, announce(1)),
            (Client, announce(2)),
            (Client, management(1, &[0, 1, 0, 4, 0x20, 5, 100, 0])),
            (Server, management(2, &[0, 2, 0, 6, 0, 5, 0x20, 5, 0, 0])),
            (Client, management(0, &[0, 1, 0, 2, 0, 1])),
            (Server, management(2, &description())),
        ];
        Sample { customary_only: true, ..Sample::udp(said) }
    }

    #[test]
    fn grandmasters_are_said_and_time_is_counted() {
        let mut run = Run::over(&PROTOCOL, crate::Transport::Udp);
        for (side, bytes) in sample().said {
            run.send(side, &bytes);
        }
        run.close();
        let mut rows = run.table(&["operation", "function", "target", "status", "status_code", "exchange"]);
        rows.sort();
        assert_eq!(
            rows,
            [
                "configure|set|PRIORITY1|denied|not_setable|pair",
                "discover|get|CLOCK_DESCRIPTION|ok||pair",
                "report|grandmaster|00:1b:1b:ff:fe:00:00:01|one_way||request",
                "report|grandmaster|00:1b:1b:ff:fe:00:00:02|one_way||request",
                "session.keep|announce||one_way||request",
                "session.keep|sync||one_way||request",
            ]
        );
        let identity = run.of(Kind::Identity)[2];
        assert_eq!(
            ["vendor", "model", "serial", "firmware"].map(|column| identity.text(column)),
            ["Maker", "M1", "S7", "F2"]
        );
    }
}
