//! Frames of EtherType 0x8892: cyclic data (IEC 61158-6-10, 4.7), acyclic alarms (4.8), precision
//! time (4.6) and fragments, by their frame identifier.

use yagura_event::vocabulary::operation;

use super::{NAME, REPLY_TIMEOUT, blocks, dcp, names};
use crate::cursor::{Cursor, Cut};
use crate::cyclic::{Cyclic, Tally};
use crate::exchange::Exchanges;
use crate::framing::{Frame, Framed};
use crate::{Cx, Side, json};

/// Most frame identifiers of one pair of stations whose counters are followed.
const STREAMS_MAX: usize = 64;
/// Cycle counter, data status, transfer status.
const TRAILER: usize = 4;

/// What a frame identifier stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Cyclic data.
    Data(&'static str),
    /// An alarm or its acknowledgement; whether it has the high priority.
    Alarm(bool),
    Dcp,
    /// Time, and what else only counts.
    Counted(&'static str),
}

/// The class of a frame identifier (table of FrameID).
pub(super) fn class(id: u16) -> Option<Class> {
    Some(match id {
        0x0020 | 0x0021 | 0x0080 | 0x0081 => Class::Counted("ptcp_sync"),
        0x0100..=0x0fff => Class::Data("rt_class_3"),
        0x3400..=0x37ff => Class::Data("rt_class_stream"),
        // The second half is that of older devices, and of data over UDP.
        0x8000..=0xfbff => Class::Data("rt_class_1"),
        0xfc01 => Class::Alarm(true),
        0xfe01 => Class::Alarm(false),
        0xfc41 | 0xfe02 => Class::Counted("remote_service"),
        0xfefc..=0xfeff => Class::Dcp,
        0xff00 | 0xff01 => Class::Counted("ptcp_announce"),
        0xff20 | 0xff21 => Class::Counted("ptcp_follow_up"),
        0xff40 => Class::Counted("ptcp_delay_request"),
        0xff41..=0xff43 => Class::Counted("ptcp_delay_response"),
        0xff80..=0xff8f => Class::Counted("fragment"),
        _ => return None,
    })
}

/// Whether a frame has a known identifier, and what comes behind it room.
pub(super) fn is_known(bytes: &[u8]) -> bool {
    let Some((id, rest)) = bytes.split_first_chunk::<2>() else { return false };
    let id = u16::from_be_bytes(*id);
    match class(id) {
        Some(Class::Dcp) => {
            let kinds = match id {
                0xfefc => &[(6, 0)][..],
                0xfefd => &[(3, 0), (3, 1), (3, 5), (4, 0), (4, 1), (4, 5)],
                0xfefe => &[(5, 0)],
                _ => &[(5, 1)],
            };
            rest.first_chunk::<2>().is_some_and(|[service, kind]| kinds.contains(&(*service, *kind)))
        }
        Some(Class::Alarm(_)) => rest.get(4).is_some_and(|kind| matches!(kind, 0x11..=0x16 | 0x21..=0x26)),
        Some(_) => rest.len() >= TRAILER,
        None => false,
    }
}

/// A provider's cyclic data: what its frames say beside the data.
struct Stream {
    id: u16,
    side: Side,
    status: u8,
    counter: u16,
    /// The counter's step from frame to frame; 0 until two were seen.
    step: u16,
    missed: u64,
}

/// What is counted apart.
type Kind = (u16, &'static str);

/// The frames between two stations.
pub(super) struct Frames {
    requests: Exchanges<(u8, u32)>,
    alarms: Exchanges<(u16, u16, u16, u16)>,
    cyclic: Cyclic<Kind>,
    streams: Vec<Stream>,
}

impl Frames {
    pub fn new() -> Frames {
        Frames {
            requests: Exchanges::new(NAME, REPLY_TIMEOUT),
            alarms: Exchanges::new(NAME, REPLY_TIMEOUT),
            cyclic: Cyclic::new(),
            streams: Vec::new(),
        }
    }

    fn count(&mut self, cx: &mut Cx<'_>, side: Side, kind: Kind, bytes: usize) {
        if let Some((kind, tally)) = self.cyclic.count(cx, kind, side, bytes) {
            self.write(cx, kind, tally);
        }
    }

    /// Writes what was counted.
    fn write(&mut self, cx: &mut Cx<'_>, (id, name): Kind, tally: Tally) {
        let does = if name.starts_with("rt_class") { operation::REPORT } else { operation::SESSION_KEEP };
        let mut draft = self.requests.draft(cx, tally.side, does, name);
        draft.time = tally.since;
        draft.equipment = tally.side;
        draft.target = format!("0x{id:04x}");
        draft.set_count(tally.count);
        json::member_number(&mut draft.detail, "bytes", tally.bytes);
        if let Some(stream) = self.streams.iter_mut().find(|s| (s.id, s.side) == (id, tally.side)) {
            json::member_number(&mut draft.detail, "data_status", stream.status.into());
            names::data_status(&mut draft.detail, stream.status);
            json::member_number(&mut draft.detail, "cycle_counter_step", stream.step.into());
            let missed = std::mem::take(&mut stream.missed);
            if missed > 0 {
                json::member_number(&mut draft.detail, "missed", missed);
            }
        }
        self.requests.one_way(cx, draft);
    }

    /// Cyclic data: its provider's status and counter stand at the frame's end.
    fn data(&mut self, cx: &mut Cx<'_>, side: Side, (id, name): Kind, body: &[u8]) -> Result<(), Cut> {
        let Some(&[high, low, data_status, transfer]) = body.last_chunk::<TRAILER>() else {
            return Err(Cut { what: "rt_trailer", at: body.len() });
        };
        let counter = u16::from_be_bytes([high, low]);
        self.count(cx, side, (id, name), body.len());
        // Not 0 where a bridge that cuts through found the frame damaged.
        if transfer != 0 {
            self.count(cx, side, (id, "transfer_error"), body.len());
        }
        let Some(at) = self.streams.iter().position(|s| (s.id, s.side) == (id, side)) else {
            if self.streams.len() == STREAMS_MAX {
                self.streams.remove(0);
            }
            self.streams.push(Stream { id, side, status: data_status, counter, step: 0, missed: 0 });
            return Ok(());
        };
        let stream = &mut self.streams[at];
        let step = counter.wrapping_sub(stream.counter);
        if step != 0 && step < 0x8000 {
            if stream.step == 0 || step < stream.step {
                stream.step = step;
            } else {
                stream.missed += u64::from(step / stream.step) - 1;
            }
        }
        stream.counter = counter;
        let before = std::mem::replace(&mut stream.status, data_status);
        if before != data_status {
            let mut draft = self.requests.draft(cx, side, operation::REPORT, "data_status");
            draft.equipment = side;
            draft.target = format!("0x{id:04x}");
            draft.push_value(data_status.into());
            names::data_status(&mut draft.detail, data_status);
            json::member_number(&mut draft.detail, "was", before.into());
            self.requests.one_way(cx, draft);
        }
        Ok(())
    }

    /// An RTA-PDU: an alarm, its acknowledgement, or an error that ends the relation.
    fn alarm(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        high: bool,
        c: &mut Cursor<'_>,
        bytes: usize,
    ) -> Result<(), Cut> {
        let id = if high { 0xfc01 } else { 0xfe01 };
        let (to, from) = (c.u16_be("alarm_endpoint")?, c.u16_be("alarm_endpoint")?);
        let kind = c.u8("rta_type")?;
        c.skip(1, "rta_flags")?;
        let (sent, acknowledged) = (c.u16_be("rta_sequence")?, c.u16_be("rta_sequence")?);
        let length = usize::from(c.u16_be("rta_length")?);
        let mut body = c.part(length, "rta_length")?;
        match kind & 15 {
            1 => {}
            2 => {
                self.count(cx, side, (id, "rta_nack"), bytes);
                return Ok(());
            }
            3 => {
                self.count(cx, side, (id, "rta_ack"), bytes);
                return Ok(());
            }
            4 => {
                let mut draft = self.requests.draft(cx, side, operation::ERROR, "rta_error");
                draft.equipment = side;
                draft.deny(names::status(body.array("pnio_status")?));
                json::member_number(&mut draft.detail, "endpoint", from.into());
                json::member_number(&mut draft.detail, "peer_endpoint", to.into());
                self.requests.one_way(cx, draft);
                return Ok(());
            }
            _ => {
                self.count(cx, side, (id, "rta_other"), bytes);
                return Ok(());
            }
        }
        let alarm = blocks::Alarm::read(&mut body)?;
        let key = (alarm.kind, alarm.slot, alarm.subslot, alarm.specifier & 0x7ff);
        let found = if alarm.acknowledges { self.alarms.answered(side, &key) } else { None };
        let paired = found.is_some();
        let mut draft = found.unwrap_or_else(|| {
            let asker = if alarm.acknowledges { side.other() } else { side };
            let mut draft = self.alarms.draft(cx, asker, operation::ALARM, names::alarm(alarm.kind));
            draft.equipment = asker;
            alarm.describe(&mut draft);
            json::member_text(&mut draft.detail, "priority", if high { "high" } else { "low" });
            json::member_number(
                &mut draft.detail,
                "endpoint",
                if alarm.acknowledges { to } else { from }.into(),
            );
            json::member_number(&mut draft.detail, "send_sequence", sent.into());
            json::member_number(&mut draft.detail, "ack_sequence", acknowledged.into());
            draft
        });
        if alarm.acknowledges && alarm.status != [0; 4] {
            draft.deny(names::status(alarm.status));
        }
        match (alarm.acknowledges, paired) {
            (true, true) => self.alarms.pair(cx, draft),
            (true, false) => self.alarms.unasked(cx, draft),
            (false, _) => self.alarms.ask(cx, key, draft),
        }
        Ok(())
    }
}

impl Framed for Frames {
    const PROTOCOL: &'static str = NAME;

    fn frame(&self, _side: Side, bytes: &[u8]) -> Frame {
        let id = bytes.first_chunk::<2>().map(|id| u16::from_be_bytes(*id));
        match id.and_then(class) {
            Some(_) => Frame::Of(bytes.len()),
            None => Frame::Bad("frame_id"),
        }
    }

    fn read(&mut self, cx: &mut Cx<'_>, side: Side, frame: &[u8]) -> Result<(), Cut> {
        let mut c = Cursor::new(frame);
        let id = c.u16_be("frame_id")?;
        match class(id) {
            Some(Class::Data(name)) => self.data(cx, side, (id, name), c.rest()),
            Some(Class::Alarm(high)) => self.alarm(cx, side, high, &mut c, frame.len()),
            Some(Class::Dcp) => dcp::read(cx, side, &mut self.requests, &mut c),
            Some(Class::Counted(name)) => {
                // Each fragment has another identifier: they are counted together.
                let id = if name == "fragment" { 0xff80 } else { id };
                self.count(cx, side, (id, name), frame.len());
                Ok(())
            }
            None => Err(c.cut("frame_id")),
        }
    }

    fn lost(&mut self, _cx: &mut Cx<'_>, _side: Side) {}

    fn expire(&mut self, cx: &mut Cx<'_>) {
        self.requests.expire(cx);
        self.alarms.expire(cx);
        while let Some((kind, tally)) = self.cyclic.over(cx) {
            self.write(cx, kind, tally);
        }
    }

    fn close(&mut self, cx: &mut Cx<'_>) {
        self.requests.close(cx);
        self.alarms.close(cx);
        while let Some((kind, tally)) = self.cyclic.any() {
            self.write(cx, kind, tally);
        }
    }
}
