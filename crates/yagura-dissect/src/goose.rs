//! GOOSE (IEC 61850-8-1, clause 18 and annex A): states that devices publish by multicast, on the
//! link and over UDP (IEC TR 61850-90-5); and GSE management.
//!
//! A state is repeated until it changes: each state is a message, its repetitions are counted.
//! Numbers of states and sequences that jump tell of loss, of a device that began again, or of
//! someone else who publishes in its name.

use std::fmt::Write;

use yagura_event::clock::{Micros, SECOND, rfc3339};
use yagura_event::vocabulary::operation;

use crate::cursor::{Cursor, Cut};
use crate::cyclic::{Cyclic, Tally};
use crate::exchange::{Draft, Exchanges, unreadable};
use crate::mms::ber::{Tlv, application, context, element};
use crate::mms::data;
use crate::{Carrier, Cx, Dissector, FlowInfo, Glimpse, Outcome, Probe, Protocol, Side, Transport, json};

pub(crate) mod routed;

/// The registry's entry.
pub const PROTOCOL: Protocol = Protocol {
    name: "goose",
    carriers: &[Carrier::link(&[0x88b8, 0x88b9]), Carrier::udp(&[102])],
    probe,
    start,
    buffer_bytes_max: 0xffff,
    #[cfg(test)]
    sample: tests::sample,
};

/// Application, length and two reserved words.
pub(crate) const HEADER: usize = 8;
/// Most publishers of one flow that are followed.
const STREAMS_MAX: usize = 128;
/// Most samples of one message.
const SAMPLES_MAX: usize = 256;
/// GSE management waits that long for its response.
const REPLY_TIMEOUT: Micros = 10 * SECOND;

fn probe(glimpse: &Glimpse<'_>) -> Probe {
    if glimpse.transport == Transport::Udp {
        return routed::probe(glimpse, routed::payload::GOOSE);
    }
    match header(glimpse.bytes) {
        Ok((_, _, [0x60 | 0x61, ..])) => Probe::Yes,
        _ => Probe::No,
    }
}

fn start(_flow: &FlowInfo) -> Box<dyn Dissector> {
    Box::new(Goose {
        exchanges: Exchanges::new(PROTOCOL.name, REPLY_TIMEOUT),
        streams: Vec::new(),
        repeated: Cyclic::new(),
        opaque: false,
    })
}

/// A frame's header (IEC 61850-8-1, C.2): application, whether it is simulated, and the APDU.
pub(crate) fn header(bytes: &[u8]) -> Result<(u16, bool, &[u8]), Cut> {
    let mut cursor = Cursor::new(bytes);
    let id = cursor.u16_be("appid")?;
    let length = usize::from(cursor.u16_be("length")?);
    let reserved = cursor.u16_be("reserved")?;
    cursor.skip(2, "reserved")?;
    cursor.check(length > HEADER && length <= bytes.len(), "length")?;
    Ok((id, reserved & 0x8000 != 0, &bytes[HEADER..length]))
}

/// A published state.
#[derive(Default)]
struct State<'a> {
    control_block: &'a [u8],
    data_set: &'a [u8],
    id: &'a [u8],
    /// Milliseconds after which the next message must be there.
    lives: u64,
    time: &'a [u8],
    state: u64,
    sequence: u64,
    test: bool,
    revision: u64,
    commissioning: bool,
    entries: u64,
    values: Option<Tlv<'a>>,
    signed: bool,
}

impl<'a> State<'a> {
    fn read(pdu: &Tlv<'a>) -> Result<State<'a>, Cut> {
        let mut state = State::default();
        let mut cursor = Cursor::new(pdu.body);
        while !cursor.is_empty() {
            let field = element(&mut cursor, "goose_pdu")?;
            let number = || field.unsigned().unwrap_or(0);
            match field.choice() {
                Some(0) => state.control_block = field.body,
                Some(1) => state.lives = number(),
                Some(2) => state.data_set = field.body,
                Some(3) => state.id = field.body,
                Some(4) => state.time = field.body,
                Some(5) => state.state = number(),
                Some(6) => state.sequence = number(),
                Some(7) => state.test = number() != 0,
                Some(8) => state.revision = number(),
                Some(9) => state.commissioning = number() != 0,
                Some(10) => state.entries = number(),
                Some(11) => state.values = Some(field),
                Some(12) => state.signed = true,
                _ => {}
            }
        }
        Ok(state)
    }
}

/// What is known of a publisher.
struct Stream {
    side: Side,
    application: u16,
    control_block: Vec<u8>,
    state: u64,
    sequence: u64,
    revision: u64,
    /// Test, simulated, needs commissioning.
    flags: [bool; 3],
    /// Sequence numbers left out, and seen before, since the last row that counts.
    gaps: u32,
    repeats: u32,
}

/// The state of a flow.
struct Goose {
    exchanges: Exchanges<()>,
    streams: Vec<Stream>,
    /// Repetitions, by the place of their publisher.
    repeated: Cyclic<usize>,
    opaque: bool,
}

impl Dissector for Goose {
    fn parse(&mut self, cx: &mut Cx<'_>, side: Side, bytes: &[u8]) -> Outcome {
        let mut opaque = self.opaque;
        let what = (PROTOCOL.name, routed::payload::GOOSE);
        let read = routed::each(cx, what, &mut opaque, bytes, |cx, payload| {
            self.apdu(cx, side, payload.id, payload.simulated, payload.apdu)
        });
        self.opaque = opaque;
        if let Err(cut) = read {
            unreadable(cx, PROTOCOL.name, side, cut, bytes);
        }
        Outcome::Consumed(bytes.len())
    }

    fn gap(&mut self, _cx: &mut Cx<'_>, _side: Side, _missing: u64) {}

    fn expire(&mut self, cx: &mut Cx<'_>) {
        while let Some((at, tally)) = self.repeated.over(cx) {
            self.counted(cx, at, tally);
        }
        self.exchanges.expire(cx);
    }

    fn close(&mut self, cx: &mut Cx<'_>) {
        while let Some((at, tally)) = self.repeated.any() {
            self.counted(cx, at, tally);
        }
        self.exchanges.close(cx);
    }
}

impl Goose {
    fn apdu(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        application_id: u16,
        simulated: bool,
        apdu: &[u8],
    ) -> Result<(), Cut> {
        let pdu = element(&mut Cursor::new(apdu), "goose_pdu_length")?;
        if pdu.tag == application(0) {
            self.management(cx, side, application_id, &pdu);
            return Ok(());
        }
        if pdu.tag != application(1) {
            return Err(Cut { what: "goose_pdu", at: 0 });
        }
        let state = State::read(&pdu)?;
        let flags = [state.test, simulated, state.commissioning];
        let known = self.streams.iter().position(|s| {
            s.side == side && s.application == application_id && s.control_block == state.control_block
        });
        let Some(at) = known else {
            self.flush_oldest(cx);
            self.streams.push(Stream {
                side,
                application: application_id,
                control_block: state.control_block.to_vec(),
                state: state.state,
                sequence: state.sequence,
                revision: state.revision,
                flags,
                gaps: 0,
                repeats: 0,
            });
            self.published(cx, side, application_id, &state, simulated, None);
            return Ok(());
        };
        let stream = &mut self.streams[at];
        let before = (stream.state, stream.revision, stream.flags);
        if before == (state.state, state.revision, flags) {
            // The number goes on from 1 when it is used up.
            let next = stream.sequence.wrapping_add(1) & 0xffff_ffff;
            if state.sequence <= stream.sequence && !(state.sequence <= 1 && next <= 1) {
                stream.repeats = stream.repeats.saturating_add(1);
            } else if state.sequence > next {
                stream.gaps = stream.gaps.saturating_add(1);
            }
            stream.sequence = state.sequence;
            if let Some((at, tally)) = self.repeated.count(cx, at, side, apdu.len()) {
                self.counted(cx, at, tally);
            }
            return Ok(());
        }
        let known = (stream.state, stream.sequence, stream.revision);
        stream.state = state.state;
        stream.sequence = state.sequence;
        stream.revision = state.revision;
        stream.flags = flags;
        self.published(cx, side, application_id, &state, simulated, Some(known));
        Ok(())
    }

    /// Makes room for another publisher: all are counted anew when there are too many.
    fn flush_oldest(&mut self, cx: &mut Cx<'_>) {
        if self.streams.len() == STREAMS_MAX {
            while let Some((at, tally)) = self.repeated.any() {
                self.counted(cx, at, tally);
            }
            self.streams.clear();
        }
    }

    /// Writes a new state; `known` are the state, sequence and revision before it.
    fn published(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        application_id: u16,
        state: &State<'_>,
        simulated: bool,
        known: Option<(u64, u64, u64)>,
    ) {
        let mut draft = self.exchanges.draft(cx, side, operation::REPORT, "goose_state");
        draft.equipment = side;
        let _ = write!(draft.session, "0x{application_id:04x}");
        let control_block = String::from_utf8_lossy(state.control_block);
        draft.target.push_str(&control_block);
        for (name, text) in [("data_set", state.data_set), ("go_id", state.id)] {
            json::member_text(&mut draft.detail, name, &String::from_utf8_lossy(text));
        }
        for (name, number) in [
            ("state_number", state.state),
            ("sequence_number", state.sequence),
            ("configuration_revision", state.revision),
            ("time_allowed_to_live_ms", state.lives),
            ("entries", state.entries),
        ] {
            json::member_number(&mut draft.detail, name, number);
        }
        if let Some(time) = data::utc_time(state.time) {
            json::member_text(&mut draft.detail, "event_time", &rfc3339(time));
        }
        for (name, flag) in [
            ("test", state.test),
            ("simulated", simulated),
            ("needs_commissioning", state.commissioning),
            ("signed", state.signed),
        ] {
            if flag {
                json::member_bool(&mut draft.detail, name, true);
            }
        }
        if let Some((before, _, revision)) = known {
            if state.state != before && state.state != before.wrapping_add(1) {
                let name = if state.state < before { "state_back_from" } else { "state_jump_from" };
                json::member_number(&mut draft.detail, name, before);
            } else if state.state != before && state.sequence > 1 {
                json::member_bool(&mut draft.detail, "begin_missed", true);
            }
            if revision != state.revision {
                json::member_number(&mut draft.detail, "revision_before", revision);
            }
        }
        if let Some(values) = &state.values {
            let (mut text, mut signal) = (String::new(), String::new());
            let source = format!("goose {control_block}");
            let mut room = SAMPLES_MAX;
            for (at, value) in values.children().enumerate() {
                push(&mut draft, &mut text, &value);
                signal.clear();
                signal.push_str(&control_block);
                data::push_place(&mut signal, at);
                data::numbers(&value, &mut signal, &mut room, &mut |signal, number| {
                    cx.measured(side, signal, &source, number, u8::from(state.test || simulated));
                });
            }
        }
        self.exchanges.one_way(cx, draft);
    }

    /// Writes how often a state was repeated in a while.
    fn counted(&mut self, cx: &mut Cx<'_>, at: usize, tally: Tally) {
        let Some(stream) = self.streams.get_mut(at) else { return };
        let mut draft = self.exchanges.draft(cx, tally.side, operation::REPORT, "goose_repetition");
        draft.time = tally.since;
        draft.equipment = tally.side;
        let _ = write!(draft.session, "0x{:04x}", stream.application);
        draft.target.push_str(&String::from_utf8_lossy(&stream.control_block));
        draft.set_count(tally.count);
        json::member_number(&mut draft.detail, "repeated", u64::from(tally.count));
        json::member_number(&mut draft.detail, "bytes", tally.bytes);
        json::member_number(&mut draft.detail, "state_number", stream.state);
        json::member_number(&mut draft.detail, "sequence_number", stream.sequence);
        let (gaps, repeats) = (std::mem::take(&mut stream.gaps), std::mem::take(&mut stream.repeats));
        for (name, number) in [("sequence_gaps", gaps), ("sequence_repeats", repeats)] {
            if number > 0 {
                json::member_number(&mut draft.detail, name, u64::from(number));
            }
        }
        self.exchanges.one_way(cx, draft);
    }

    /// GSE management (IEC 61850-8-1, 18.2): references and element numbers are asked for.
    fn management(&mut self, cx: &mut Cx<'_>, side: Side, application_id: u16, pdu: &Tlv<'_>) {
        let number = pdu.child(context(0)).and_then(|id| id.unsigned());
        let asks = pdu.child(context(1));
        let service = asks.or(pdu.child(context(2))).and_then(|within| {
            within.children().find_map(|service| service.choice().filter(|choice| (1..=5).contains(choice)))
        });
        let name = match service {
            Some(1) => "get_go_reference",
            Some(2) => "get_goose_element_number",
            Some(3) => "get_gs_reference",
            Some(4) => "get_gsse_data_offset",
            Some(5) => "not_supported",
            _ => "gse_management",
        };
        let asker = if asks.is_some() { side } else { side.other() };
        let mut draft = self.exchanges.draft(cx, asker, operation::DISCOVER, name);
        let _ = write!(draft.session, "0x{application_id:04x}");
        json::member_number(&mut draft.detail, "state_id", number.unwrap_or(0));
        if asks.is_some() {
            self.exchanges.one_way(cx, draft);
        } else {
            self.exchanges.unasked(cx, draft);
        }
    }
}

/// Adds a value to a row: a number, or anything else as it is written.
fn push(draft: &mut Draft, text: &mut String, value: &Tlv<'_>) {
    match data::number(value) {
        Some(number) if value.choice() != Some(data::kind::BOOLEAN) => draft.push_value(number),
        _ => {
            text.clear();
            data::push(text, value);
            draft.push_json(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use yagura_event::schema::Kind;

    use super::*;
    use crate::testing::{Run, Sample};

    fn pdu(state: u8, sequence: u8, on: bool) -> Vec<u8> {
        let mut body =
            b"\x80\x09LD/GO$gcb\x81\x02\x07\xd0\x82\x02ds\x83\x02id\x84\x08\0\0\0\x01\0\0\0\0".to_vec();
        body.extend_from_slice(&[0x85, 1, state, 0x86, 1, sequence, 0x87, 1, 0, 0x88, 1, 1, 0x89, 1, 0]);
        body.extend_from_slice(&[0x8a, 1, 2, 0xab, 6, 0x83, 1, u8::from(on), 0x85, 1, 9]);
        let mut out = vec![0x61, body.len() as u8];
        out.extend_from_slice(&body);
        out
    }

    fn frame(state: u8, sequence: u8, on: bool) -> Vec<u8> {
        let pdu = pdu(state, sequence, on);
        let mut out = vec![0, 3, 0, (HEADER + pdu.len()) as u8, 0, 0, 0, 0];
        out.extend_from_slice(&pdu);
        out
    }

    fn routed(pdu: &[u8]) -> Vec<u8> {
        let mut user = vec![0x81, 0, 0, 3];
        user.extend_from_slice(&(pdu.len() as u16).to_be_bytes());
        user.extend_from_slice(pdu);
        let mut out = vec![1, 0x40, 0xa1, 24, 0x80, 22];
        out.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        out.extend_from_slice(&(user.len() as u32).to_be_bytes());
        out.extend_from_slice(&user);
        out
    }

    pub(crate) fn sample() -> Sample {
        let said = vec![
            (Side::Client, frame(1, 0, false)),
            (Side::Client, frame(1, 1, false)),
            (Side::Client, frame(2, 0, true)),
        ];
        Sample { transport: Transport::Link, said, customary_only: false }
    }

    #[test]
    fn states_are_messages_and_repetitions_are_counted() {
        let mut run = Run::over(&PROTOCOL, Transport::Link);
        for (state, sequence, on) in [(1, 5, false), (1, 6, false), (1, 8, false), (2, 0, true), (9, 0, true)]
        {
            run.send(Side::Client, &[&frame(state, sequence, on)[..], &[0; 4]].concat());
        }
        run.close();
        assert_eq!(
            run.table(&["function", "session", "target", "values", "status"]),
            [
                "goose_state|0x0003|LD/GO$gcb|[false,9]|one_way",
                "goose_state|0x0003|LD/GO$gcb|[true,9]|one_way",
                "goose_state|0x0003|LD/GO$gcb|[true,9]|one_way",
                "goose_repetition|0x0003|LD/GO$gcb||one_way",
            ]
        );
        assert!(run.messages()[2].text("detail").contains("\"state_jump_from\":2"));
        assert!(run.messages()[3].text("detail").contains("\"sequence_gaps\":1"));
        assert_eq!(run.messages()[3].number("count"), Some(2.0));
        assert_eq!(run.of(Kind::Sample).len(), 6);
    }

    #[test]
    fn the_same_over_udp() {
        let datagram = routed(&pdu(1, 0, true));
        let glimpse =
            Glimpse { transport: Transport::Udp, side: Side::Client, customary: false, bytes: &datagram };
        assert_eq!(probe(&glimpse), Probe::Yes);
        let mut run = Run::over(&PROTOCOL, Transport::Udp);
        run.send(Side::Client, &datagram);
        // A relay whose key identifier is a byte shorter.
        let changed = routed(&pdu(2, 0, false));
        run.send(Side::Client, &[&[1, 0x40, 0xa1, 23, 0x80, 21], &changed[7..]].concat());
        assert_eq!(run.messages()[1].text("values"), "[false,9]");
    }
}
