//! Ethernet POWERLINK (IEEE 61158, EPSG DS 301, EtherType 88AB; SDO also over UDP 3819): a managing
//! node's cycle, the states of nodes, their identity, commands of network management, and access to
//! object dictionaries.
//!
//! What repeats in every cycle is counted. A node's state is a row when it changes.

use std::net::Ipv4Addr;

use yagura_event::clock::{Micros, SECOND};
use yagura_event::rows::IdentityRow;
use yagura_event::vocabulary::operation;

use crate::cursor::{Cursor, Cut};
use crate::cyclic::{Cyclic, Tally};
use crate::exchange::{Draft, Exchanges};
use crate::framing::{Frame, Framed, Framing};
use crate::{Carrier, Cx, Dissector, FlowInfo, Glimpse, Probe, Protocol, Side, Transport, json};

/// The registry's entry.
pub const PROTOCOL: Protocol = Protocol {
    name: NAME,
    carriers: &[Carrier::link(&[0x88ab]), Carrier::udp(&[3819])],
    probe,
    start,
    buffer_bytes_max: 65_535,
    #[cfg(test)]
    sample: tests::sample,
};

const NAME: &str = "powerlink";
const TIMEOUT: Micros = 15 * SECOND;
/// Most nodes of one pair of stations whose state is remembered; there are 254 numbers.
const NODES_MAX: usize = 256;

fn start(_flow: &FlowInfo) -> Box<dyn Dissector> {
    Box::new(Framing::new(Powerlink {
        exchanges: Exchanges::new(NAME, TIMEOUT),
        cyclic: Cyclic::new(),
        states: Vec::new(),
    }))
}

fn probe(glimpse: &Glimpse<'_>) -> Probe {
    let fits = match glimpse.transport {
        Transport::Udp => matches!(glimpse.bytes, [6, _, _, 5, _, _, 0, 0, ..]),
        _ => glimpse.bytes.len() >= 4 && glimpse.bytes.first().is_some_and(|kind| name(*kind).is_some()),
    };
    if fits && glimpse.customary { Probe::Yes } else { Probe::No }
}

fn name(kind: u8) -> Option<&'static str> {
    Some(match kind {
        1 => "SoC",
        3 => "PReq",
        4 => "PRes",
        5 => "SoA",
        6 => "ASnd",
        7 => "AMNI",
        13 => "AInv",
        _ => return None,
    })
}

/// Message type, destination, source, requested service: what is counted apart.
type Kind = (u8, u8, u8, u8);

struct Powerlink {
    /// Accesses to objects, by transaction.
    exchanges: Exchanges<u8>,
    cyclic: Cyclic<Kind>,
    /// The last state of each node.
    states: Vec<(u8, u8)>,
}

impl Framed for Powerlink {
    const PROTOCOL: &'static str = NAME;

    fn frame(&self, _side: Side, bytes: &[u8]) -> Frame {
        match bytes {
            [kind, _, _, _, ..] if name(*kind).is_some() => Frame::Of(bytes.len()),
            _ => Frame::Bad("message_type"),
        }
    }

    fn read(&mut self, cx: &mut Cx<'_>, side: Side, frame: &[u8]) -> Result<(), Cut> {
        let mut cursor = Cursor::new(frame);
        let kind = cursor.u8("message_type")?;
        let to = cursor.u8("destination")?;
        let from = cursor.u8("source")?;
        let mut service = 0;
        match kind {
            4 => self.state(cx, side, from, cursor.u8("nmt_status")?),
            5 => {
                self.state(cx, side, from, cursor.u8("nmt_status")?);
                cursor.skip(2, "flags")?;
                service = cursor.u8("requested_service")?;
                let target = cursor.u8("requested_target")?;
                if service != 0 {
                    let mut draft = self.draft(cx, side, (from, target), asked(service), operation::DISCOVER);
                    json::member_number(&mut draft.detail, "message_type", u64::from(kind));
                    json::member_number(&mut draft.detail, "service", u64::from(service));
                    if !matches!(service, 1 | 2) {
                        draft.operation = operation::SESSION_KEEP;
                    }
                    self.exchanges.one_way(cx, draft);
                    return Ok(());
                }
            }
            6 => return self.asnd(cx, side, (from, to), cursor),
            _ => {}
        }
        if let Some((kind, tally)) = self.cyclic.count(cx, (kind, to, from, service), side, frame.len()) {
            self.write(cx, kind, tally);
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
        while let Some((kind, tally)) = self.cyclic.any() {
            self.write(cx, kind, tally);
        }
        self.exchanges.close(cx);
    }
}

fn asked(service: u8) -> &'static str {
    match service {
        1 => "IdentRequest",
        2 => "StatusRequest",
        3 => "NMTRequestInvite",
        6 => "SyncRequest",
        255 => "UnspecifiedInvite",
        _ => "ManufacturerInvite",
    }
}

fn state_name(status: u8) -> &'static str {
    match status {
        0x00 => "NMT_GS_OFF",
        0x19 => "NMT_GS_INITIALISING",
        0x29 => "NMT_GS_RESET_APPLICATION",
        0x39 => "NMT_GS_RESET_COMMUNICATION",
        0x1c => "NOT_ACTIVE",
        0x1d => "PRE_OPERATIONAL_1",
        0x1e => "BASIC_ETHERNET",
        0x4d => "STOPPED",
        0x5d => "PRE_OPERATIONAL_2",
        0x6d => "READY_TO_OPERATE",
        0xfd => "OPERATIONAL",
        _ => "UNKNOWN",
    }
}

fn command(id: u8) -> (&'static str, &'static str) {
    match id {
        0x21 | 0x41 => ("NMTStartNode", operation::CONTROL),
        0x22 | 0x42 => ("NMTStopNode", operation::CONTROL),
        0x23 | 0x43 => ("NMTEnterPreOperational2", operation::CONTROL),
        0x24 | 0x44 => ("NMTEnableReadyToOperate", operation::CONTROL),
        0x28 | 0x48 => ("NMTResetNode", operation::CONTROL),
        0x29 | 0x49 => ("NMTResetCommunication", operation::CONTROL),
        0x2a | 0x4a => ("NMTResetConfiguration", operation::CONTROL),
        0x2b | 0x4b => ("NMTSwReset", operation::CONTROL),
        0x2d => ("NMTDNA", operation::CONFIGURE),
        0x62 => ("NMTNetHostNameSet", operation::CONFIGURE),
        0x63 => ("NMTFlushArpEntry", operation::CONFIGURE),
        0x80..=0xbf => ("NMTPublish", operation::REPORT),
        _ => ("NMTInvalidService", operation::OTHER),
    }
}

impl Powerlink {
    /// A draft of a message between two nodes.
    fn draft(
        &mut self,
        cx: &Cx<'_>,
        side: Side,
        (from, to): (u8, u8),
        name: &'static str,
        does: &'static str,
    ) -> Draft {
        let mut draft = self.exchanges.draft(cx, side, does, name);
        json::push_number(&mut draft.session, u64::from(from));
        draft.target.push_str("node ");
        json::push_number(&mut draft.target, u64::from(to));
        draft
    }

    fn write(&mut self, cx: &mut Cx<'_>, (kind, to, from, _): Kind, tally: Tally) {
        let does = match kind {
            3 => operation::WRITE,
            4 => operation::REPORT,
            _ => operation::SESSION_KEEP,
        };
        let name = name(kind).unwrap_or_default();
        let mut draft = self.draft(cx, tally.side, (from, to), name, does);
        draft.time = tally.since;
        if kind == 4 {
            draft.equipment = tally.side;
        }
        draft.set_count(tally.count);
        json::member_number(&mut draft.detail, "message_type", u64::from(kind));
        json::member_number(&mut draft.detail, "bytes", tally.bytes);
        self.exchanges.one_way(cx, draft);
    }

    /// A node says its state.
    fn state(&mut self, cx: &mut Cx<'_>, side: Side, node: u8, status: u8) {
        let full = self.states.len() == NODES_MAX;
        let before = match self.states.iter_mut().find(|(known, _)| *known == node) {
            Some((_, last)) if *last == status => return,
            Some((_, last)) => Some(std::mem::replace(last, status)),
            None if full => return,
            None => {
                self.states.push((node, status));
                None
            }
        };
        let mut draft = self.draft(cx, side, (node, node), "nmt_state", operation::REPORT);
        draft.equipment = side;
        draft.push_text(state_name(status));
        if let Some(before) = before {
            json::member_text(&mut draft.detail, "before", state_name(before));
        }
        self.exchanges.one_way(cx, draft);
    }

    fn asnd(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        (from, to): (u8, u8),
        mut body: Cursor<'_>,
    ) -> Result<(), Cut> {
        let service = body.u8("service")?;
        if service == 5 {
            return self.sdo(cx, side, (from, to), body);
        }
        let (name, does) = match service {
            1 => ("IdentResponse", operation::DISCOVER),
            2 => ("StatusResponse", operation::REPORT),
            3 => ("NMTRequest", operation::CONTROL),
            4 => ("NMTCommand", operation::CONTROL),
            _ => ("ManufacturerService", operation::OTHER),
        };
        let mut draft = self.draft(cx, side, (from, to), name, does);
        json::member_number(&mut draft.detail, "message_type", 6);
        json::member_number(&mut draft.detail, "service", u64::from(service));
        match service {
            1 => {
                draft.equipment = side;
                identity(cx, side, &mut body)?;
            }
            2 => {
                draft.equipment = side;
                errors(&mut body, &mut draft)?;
            }
            3 | 4 => {
                let id = body.u8("command")?;
                json::member_number(&mut draft.detail, "command", u64::from(id));
                let (name, does) = command(id);
                draft.function = name.into();
                draft.operation = does;
            }
            _ => {}
        }
        self.exchanges.one_way(cx, draft);
        Ok(())
    }

    /// Access to objects: sequence layer, command layer, data.
    fn sdo(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        (from, to): (u8, u8),
        mut body: Cursor<'_>,
    ) -> Result<(), Cut> {
        let connection = body.u8("receive_sequence")? & 3;
        body.skip(3, "sequence_layer")?;
        if body.remaining() < 8 || connection == 0 {
            // The connection alone.
            let (name, does) = match connection {
                0 => ("sdo_connection_close", operation::SESSION_CLOSE),
                1 => ("sdo_connection_open", operation::SESSION_OPEN),
                _ => ("sdo_acknowledge", operation::SESSION_KEEP),
            };
            let mut draft = self.draft(cx, side, (from, to), name, does);
            json::member_number(&mut draft.detail, "message_type", 6);
            json::member_number(&mut draft.detail, "service", 5);
            self.exchanges.one_way(cx, draft);
            return Ok(());
        }
        body.skip(1, "reserved")?;
        let transaction = body.u8("transaction")?;
        let flags = body.u8("flags")?;
        let id = body.u8("command")?;
        let size = usize::from(body.u16_le("segment_size")?);
        body.skip(2, "reserved")?;
        if flags & 0x30 == 0x10 {
            body.skip(4, "data_size")?;
        }
        let mut data = body.part(size.min(body.remaining()), "data")?;
        if flags & 0x80 != 0 {
            let found = self.exchanges.answered(side, &transaction);
            let paired = found.is_some();
            let mut draft = match found {
                Some(draft) => draft,
                None => self.draft(cx, side.other(), (to, from), "sdo_response", operation::OTHER),
            };
            if flags & 0x40 != 0 {
                let code = data.u32_le("abort_code").unwrap_or(0);
                draft.deny(abort(code));
                json::member_number(&mut draft.detail, "abort_code", u64::from(code));
            } else if draft.operation == operation::READ && !data.is_empty() {
                draft.push_bytes(data.rest());
            }
            if paired {
                self.exchanges.pair(cx, draft);
            } else {
                self.exchanges.unasked(cx, draft);
            }
            return Ok(());
        }
        let (name, does) = match id {
            0 => ("sdo_nil", operation::SESSION_KEEP),
            0x01 => ("WriteByIndex", operation::WRITE),
            0x02 => ("ReadByIndex", operation::READ),
            0x03 => ("WriteAllByIndex", operation::WRITE),
            0x04 => ("ReadAllByIndex", operation::READ),
            0x05 => ("WriteByName", operation::WRITE),
            0x06 => ("ReadByName", operation::READ),
            0x20 => ("FileWrite", operation::PROGRAM_WRITE),
            0x21 => ("FileRead", operation::PROGRAM_READ),
            0x31 => ("WriteMultipleByIndex", operation::WRITE),
            0x32 => ("ReadMultipleByIndex", operation::READ),
            _ => ("sdo_command", operation::OTHER),
        };
        let mut draft = self.draft(cx, side, (from, to), name, does);
        json::member_number(&mut draft.detail, "message_type", 6);
        json::member_number(&mut draft.detail, "service", 5);
        json::member_number(&mut draft.detail, "transaction", u64::from(transaction));
        if matches!(id, 1..=4) && flags & 0x30 != 0x20 && data.remaining() >= 4 {
            let index = data.u16_le("index")?;
            let sub = data.u8("sub_index")?;
            data.skip(1, "reserved")?;
            draft.target.push_str(&format!(" 0x{index:04x}/{sub}"));
            match index {
                // Program and configuration downloads.
                0x1f50 | 0x1f22 if does == operation::WRITE => {
                    draft.operation = operation::PROGRAM_WRITE;
                    draft.seal(&cx.settings.plant_key, data.rest());
                }
                0x1000..0x2000 if does == operation::WRITE => {
                    draft.operation = operation::CONFIGURE;
                    draft.push_bytes(data.rest());
                }
                _ if does == operation::WRITE => draft.push_bytes(data.rest()),
                _ => {}
            }
        } else if matches!(draft.operation, operation::PROGRAM_WRITE | operation::WRITE) {
            draft.seal(&cx.settings.plant_key, data.rest());
        }
        self.exchanges.ask(cx, transaction, draft);
        Ok(())
    }
}

fn abort(code: u32) -> &'static str {
    match code {
        0x0503_0000 => "reserved",
        0x0504_0001 => "unknown_command",
        0x0504_0005 => "out_of_memory",
        0x0601_0000 => "unsupported_access",
        0x0601_0001 => "read_of_write_only_object",
        0x0601_0002 => "write_to_read_only_object",
        0x0602_0000 => "object_does_not_exist",
        0x0607_0010 => "length_mismatch",
        0x0609_0011 => "sub_index_does_not_exist",
        0x0609_0030 => "value_range_exceeded",
        0x0800_0020 => "data_cannot_be_stored",
        0x0800_0021 => "local_control",
        0x0800_0022 => "device_state",
        _ => "abort",
    }
}

/// An IdentResponse, behind its service: who a node is.
fn identity(cx: &mut Cx<'_>, side: Side, body: &mut Cursor<'_>) -> Result<(), Cut> {
    body.skip(2, "flags")?;
    let status = body.u8("nmt_status")?;
    body.skip(1, "reserved")?;
    let version = body.u8("version")?;
    body.skip(1, "reserved")?;
    let features = body.u32_le("feature_flags")?;
    body.skip(12, "sizes")?;
    let device = body.u32_le("device_type")?;
    let (vendor, product) = (body.u32_le("vendor")?, body.u32_le("product")?);
    let (revision, serial) = (body.u32_le("revision")?, body.u32_le("serial")?);
    body.skip(24, "application")?;
    let address = Ipv4Addr::from(body.u32_le("address")?);
    body.skip(8, "mask_gateway")?;
    let host = body.take(32, "host_name")?;
    let host: String = host.iter().take_while(|b| **b != 0).map(|b| char::from(*b)).collect();
    let mut detail = String::new();
    json::member_text(&mut detail, "state", state_name(status));
    json::member_text(&mut detail, "version", &format!("{}.{}", version >> 4, version & 15));
    json::member_number(&mut detail, "feature_flags", u64::from(features));
    json::member_number(&mut detail, "device_type", u64::from(device));
    json::member_text(&mut detail, "address", &address.to_string());
    json::end(&mut detail);
    let row = IdentityRow {
        vendor: &format!("0x{vendor:08x}"),
        model: &format!("0x{product:08x}"),
        firmware: &format!("0x{revision:08x}"),
        serial: &format!("0x{serial:08x}"),
        name: &host,
        detail: &detail,
        ..IdentityRow::default()
    };
    cx.identity(NAME, side, row);
    Ok(())
}

/// A StatusResponse, behind its service: errors since the last one.
fn errors(body: &mut Cursor<'_>, draft: &mut Draft) -> Result<(), Cut> {
    body.skip(2, "flags")?;
    let status = body.u8("nmt_status")?;
    json::member_text(&mut draft.detail, "state", state_name(status));
    body.skip(3, "reserved")?;
    let fixed = body.array::<8>("error_bits")?;
    if fixed[0] != 0 {
        json::member_number(&mut draft.detail, "error_register", u64::from(fixed[0]));
    }
    while body.remaining() >= 20 {
        let kind = body.u16_le("entry_type")?;
        let code = body.u16_le("error_code")?;
        body.skip(16, "entry")?;
        if kind == 0 {
            break;
        }
        draft.operation = operation::ALARM;
        draft.push_text(&format!("0x{code:04x}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Run, Sample};
    use yagura_event::schema::Kind as RowKind;

    fn soa(status: u8, service: u8, target: u8) -> Vec<u8> {
        vec![5, 255, 240, status, 0, 0, service, target, 0x20]
    }

    fn sdo(to: u8, from: u8, flags: u8, command: u8, data: &[u8]) -> Vec<u8> {
        let mut out = vec![6, to, from, 5, 6, 6, 0, 0, 0, 9, flags, command, data.len() as u8, 0, 0, 0];
        out.extend(data);
        out
    }

    fn ident() -> Vec<u8> {
        let mut out = vec![6, 255, 17, 1, 0, 0, 0x1d, 0, 0x20, 0, 0xc7, 0, 0, 0];
        out.extend([0; 12]);
        out.extend(0x0107_0191_u32.to_le_bytes());
        for number in [0x0100_006c_u32, 0x1e37, 2, 77] {
            out.extend(number.to_le_bytes());
        }
        out.extend([0; 24]);
        out.extend([17, 100, 168, 192, 0, 255, 255, 255, 254, 100, 168, 192]);
        out.extend(b"EPL_034");
        out.extend([0; 25]);
        out
    }

    pub fn sample() -> Sample {
        let said = vec![
            (Side::Client, soa(0x1d, 1, 17)),
            (Side::Client, vec![1, 255, 240, 0, 0, 0, 0]),
            (Side::Client, vec![1, 255, 240, 0, 0, 0, 0]),
            (Side::Server, vec![4, 255, 17, 0xfd, 0, 0, 0, 0, 2, 0, 1, 2]),
            (Side::Client, vec![6, 17, 240, 4, 0x21, 0]),
            (Side::Client, sdo(17, 240, 0, 1, &[0, 0x60, 1, 0, 5])),
            (Side::Server, sdo(240, 17, 0xc0, 1, &[2, 0, 1, 6])),
        ];
        Sample { transport: Transport::Link, said, customary_only: true }
    }

    #[test]
    fn cycles_states_commands_and_objects() {
        let mut run = Run::over(&PROTOCOL, Transport::Link);
        for (side, bytes) in sample().said {
            run.send(side, &bytes);
        }
        run.send(Side::Server, &[4, 255, 17, 0x4d, 0, 0, 0, 0, 2, 0, 1, 2]);
        run.close();
        assert_eq!(
            run.table(&["operation", "function", "session", "target", "values", "status", "status_code"]),
            [
                "report|nmt_state|240|node 240|[\"PRE_OPERATIONAL_1\"]|one_way|",
                "discover|IdentRequest|240|node 17||one_way|",
                "report|nmt_state|17|node 17|[\"OPERATIONAL\"]|one_way|",
                "control|NMTStartNode|240|node 17||one_way|",
                "write|WriteByIndex|240|node 17 0x6000/1|[\"0x05\"]|denied|write_to_read_only_object",
                "report|nmt_state|17|node 17|[\"STOPPED\"]|one_way|",
                "report|PRes|17|node 255||one_way|",
                "session.keep|SoC|240|node 255||one_way|",
            ]
        );
        let counts: Vec<_> = run.messages().iter().rev().take(2).map(|row| row.number("count")).collect();
        assert_eq!(counts, [Some(2.0), Some(2.0)]);
        assert!(run.messages()[5].text("detail").contains("\"before\":\"OPERATIONAL\""));
    }

    #[test]
    fn who_a_node_is() {
        let mut run = Run::over(&PROTOCOL, Transport::Link);
        run.send(Side::Server, &ident());
        run.close();
        let identity = run.of(RowKind::Identity);
        assert_eq!(identity[0].text("vendor"), "0x0100006c");
        assert_eq!((identity[0].text("name"), identity[0].text("serial")), ("EPL_034", "0x0000004d"));
        assert!(identity[0].text("detail").contains("192.168.100.17"));
    }
}
