//! Sampled values (IEC 61850-9-2, clause 8): currents and voltages, thousands of times a second, on
//! the link and over UDP (IEC TR 61850-90-5).
//!
//! A stream is a message when it begins and when its configuration or synchronisation changes;
//! what comes between is counted, with the lowest and highest value of each channel.

use std::fmt::Write;

use yagura_event::clock::{Micros, SECOND};
use yagura_event::vocabulary::operation;

use crate::cursor::{Cursor, Cut};
use crate::cyclic::{Cyclic, Tally};
use crate::exchange::{Exchanges, unreadable};
use crate::goose::{header, routed};
use crate::mms::ber::{application, context, element, universal};
use crate::{Carrier, Cx, Dissector, FlowInfo, Glimpse, Outcome, Probe, Protocol, Side, Transport, json};

/// The registry's entry.
pub const PROTOCOL: Protocol = Protocol {
    name: "sv",
    carriers: &[Carrier::link(&[0x88ba]), Carrier::udp(&[102])],
    probe,
    start,
    buffer_bytes_max: 0xffff,
    #[cfg(test)]
    sample: tests::sample,
};

/// Most streams of one flow that are followed.
const STREAMS_MAX: usize = 128;
/// Most data units of one message.
const UNITS_MAX: usize = 64;
/// Most channels of a stream whose values are kept.
const CHANNELS_MAX: usize = 32;
/// A value and its quality (the implementation guideline "9-2LE", 7.1).
const CHANNEL_BYTES: usize = 8;
const REPLY_TIMEOUT: Micros = 10 * SECOND;

fn probe(glimpse: &Glimpse<'_>) -> Probe {
    if glimpse.transport == Transport::Udp {
        return routed::probe(glimpse, routed::payload::SAMPLED_VALUES);
    }
    match header(glimpse.bytes) {
        Ok((_, _, [0x60, ..])) => Probe::Yes,
        _ => Probe::No,
    }
}

fn start(_flow: &FlowInfo) -> Box<dyn Dissector> {
    Box::new(SampledValues {
        exchanges: Exchanges::new(PROTOCOL.name, REPLY_TIMEOUT),
        streams: Vec::new(),
        counted: Cyclic::new(),
        opaque: false,
    })
}

/// An application's service data unit.
#[derive(Default)]
struct Unit<'a> {
    id: &'a [u8],
    data_set: &'a [u8],
    counter: u16,
    revision: u64,
    synchronised: u64,
    rate: Option<u64>,
    sample: &'a [u8],
}

impl<'a> Unit<'a> {
    fn read(body: &'a [u8]) -> Result<Unit<'a>, Cut> {
        let mut unit = Unit::default();
        let mut cursor = Cursor::new(body);
        while !cursor.is_empty() {
            let field = element(&mut cursor, "asdu")?;
            let number = || field.unsigned().unwrap_or(0);
            match field.choice() {
                Some(0) => unit.id = field.body,
                Some(1) => unit.data_set = field.body,
                Some(2) => unit.counter = number() as u16,
                Some(3) => unit.revision = number(),
                Some(5) => unit.synchronised = number(),
                Some(6) => unit.rate = Some(number()),
                Some(7) => unit.sample = field.body,
                _ => {}
            }
        }
        Ok(unit)
    }

    /// Values and qualities, where the sample is made of channels.
    fn channels(&self) -> impl Iterator<Item = (i32, u32)> {
        let whole = self.sample.len().is_multiple_of(CHANNEL_BYTES);
        let channels = self.sample.chunks_exact(CHANNEL_BYTES).take(if whole { CHANNELS_MAX } else { 0 });
        channels.filter_map(|channel| {
            let (value, quality) = (channel.first_chunk::<4>()?, channel.last_chunk::<4>()?);
            Some((i32::from_be_bytes(*value), u32::from_be_bytes(*quality)))
        })
    }
}

/// What is known of a stream.
struct Stream {
    side: Side,
    application: u16,
    id: Vec<u8>,
    counter: u16,
    revision: u64,
    synchronised: u64,
    simulated: bool,
    /// Since the last row that counts: counters left out, and counters seen before.
    gaps: u32,
    repeats: u32,
    /// Lowest and highest value of each channel.
    ranges: Vec<(i32, i32)>,
}

impl Stream {
    fn count(&mut self, unit: &Unit<'_>) {
        let next = self.counter.wrapping_add(1);
        // It begins again each second.
        if unit.counter != next && unit.counter != 0 {
            if unit.counter == self.counter {
                self.repeats = self.repeats.saturating_add(1);
            } else {
                self.gaps = self.gaps.saturating_add(1);
            }
        }
        self.counter = unit.counter;
        self.range(unit);
    }

    fn range(&mut self, unit: &Unit<'_>) {
        for (at, (value, _)) in unit.channels().enumerate() {
            match self.ranges.get_mut(at) {
                Some((low, high)) => {
                    *low = (*low).min(value);
                    *high = (*high).max(value);
                }
                None => self.ranges.push((value, value)),
            }
        }
    }
}

/// The state of a flow.
struct SampledValues {
    exchanges: Exchanges<()>,
    streams: Vec<Stream>,
    /// Data units, by the place of their stream.
    counted: Cyclic<usize>,
    opaque: bool,
}

impl Dissector for SampledValues {
    fn parse(&mut self, cx: &mut Cx<'_>, side: Side, bytes: &[u8]) -> Outcome {
        let mut opaque = self.opaque;
        let what = (PROTOCOL.name, routed::payload::SAMPLED_VALUES);
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
        while let Some((at, tally)) = self.counted.over(cx) {
            self.over(cx, at, tally);
        }
    }

    fn close(&mut self, cx: &mut Cx<'_>) {
        while let Some((at, tally)) = self.counted.any() {
            self.over(cx, at, tally);
        }
    }
}

impl SampledValues {
    fn apdu(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        application_id: u16,
        simulated: bool,
        apdu: &[u8],
    ) -> Result<(), Cut> {
        let pdu = element(&mut Cursor::new(apdu), "sv_pdu_length")?;
        if pdu.tag != application(0) {
            return Err(Cut { what: "sv_pdu", at: 0 });
        }
        let units = pdu.child(context(2)).ok_or(Cut { what: "asdu_sequence", at: 0 })?;
        for unit in units.children().take(UNITS_MAX).filter(|unit| unit.tag == universal(16)) {
            self.unit(cx, side, application_id, simulated, &Unit::read(unit.body)?);
        }
        Ok(())
    }

    fn unit(&mut self, cx: &mut Cx<'_>, side: Side, application_id: u16, simulated: bool, unit: &Unit<'_>) {
        let known = self
            .streams
            .iter()
            .position(|s| s.side == side && s.application == application_id && s.id == unit.id);
        let Some(at) = known else {
            if self.streams.len() == STREAMS_MAX {
                self.close(cx);
                self.streams.clear();
            }
            self.streams.push(Stream {
                side,
                application: application_id,
                id: unit.id.to_vec(),
                counter: unit.counter,
                revision: unit.revision,
                synchronised: unit.synchronised,
                simulated,
                gaps: 0,
                repeats: 0,
                ranges: Vec::new(),
            });
            return self.configured(cx, side, application_id, simulated, unit, None);
        };
        let stream = &mut self.streams[at];
        let before = (stream.revision, stream.synchronised, stream.simulated);
        stream.count(unit);
        if before == (unit.revision, unit.synchronised, simulated) {
            if let Some((at, tally)) = self.counted.count(cx, at, side, unit.sample.len()) {
                self.over(cx, at, tally);
            }
            return;
        }
        (stream.revision, stream.synchronised, stream.simulated) =
            (unit.revision, unit.synchronised, simulated);
        self.configured(cx, side, application_id, simulated, unit, Some((before.0, before.1)));
    }

    /// Writes that a stream begins or changes.
    fn configured(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        application_id: u16,
        simulated: bool,
        unit: &Unit<'_>,
        before: Option<(u64, u64)>,
    ) {
        let mut draft = self.exchanges.draft(cx, side, operation::REPORT, "sampled_values");
        draft.equipment = side;
        let _ = write!(draft.session, "0x{application_id:04x}");
        let id = String::from_utf8_lossy(unit.id);
        draft.target.push_str(&id);
        if !unit.data_set.is_empty() {
            json::member_text(&mut draft.detail, "data_set", &String::from_utf8_lossy(unit.data_set));
        }
        json::member_number(&mut draft.detail, "sample_count", u64::from(unit.counter));
        json::member_number(&mut draft.detail, "configuration_revision", unit.revision);
        let synchronised = match unit.synchronised {
            0 => "none",
            1 => "local",
            _ => "global",
        };
        json::member_text(&mut draft.detail, "synchronised", synchronised);
        if let Some(rate) = unit.rate {
            json::member_number(&mut draft.detail, "sample_rate", rate);
        }
        if simulated {
            json::member_bool(&mut draft.detail, "simulated", true);
        }
        if let Some((revision, synchronised)) = before {
            json::member_number(&mut draft.detail, "revision_before", revision);
            json::member_number(&mut draft.detail, "synchronised_before", synchronised);
        }
        let source = format!("sv {id}");
        let mut qualities = 0;
        for (at, (value, quality)) in unit.channels().enumerate() {
            draft.push_value(f64::from(value));
            qualities |= quality;
            // Validity: two bits of quality (IEC 61850-7-3, 6.2).
            let quality = if quality & 3 == 0 { 0 } else { 2 };
            cx.measured(side, &format!("{id}[{at}]"), &source, f64::from(value), quality);
        }
        if draft.count() == 0 {
            draft.push_bytes(unit.sample);
        } else if qualities != 0 {
            json::member_number(&mut draft.detail, "qualities", u64::from(qualities));
        }
        self.exchanges.one_way(cx, draft);
    }

    /// Writes what came in a while.
    fn over(&mut self, cx: &mut Cx<'_>, at: usize, tally: Tally) {
        let Some(stream) = self.streams.get_mut(at) else { return };
        let mut draft = self.exchanges.draft(cx, tally.side, operation::REPORT, "sampled_values_repetition");
        draft.time = tally.since;
        draft.equipment = tally.side;
        let _ = write!(draft.session, "0x{:04x}", stream.application);
        draft.target.push_str(&String::from_utf8_lossy(&stream.id));
        draft.set_count(tally.count);
        json::member_number(&mut draft.detail, "repeated", u64::from(tally.count));
        json::member_number(&mut draft.detail, "bytes", tally.bytes);
        json::member_number(&mut draft.detail, "sample_count", u64::from(stream.counter));
        let (gaps, repeats) = (std::mem::take(&mut stream.gaps), std::mem::take(&mut stream.repeats));
        for (name, number) in [("sample_gaps", gaps), ("sample_repeats", repeats)] {
            if number > 0 {
                json::member_number(&mut draft.detail, name, u64::from(number));
            }
        }
        json::key(&mut draft.detail, "ranges");
        for (at, (low, high)) in stream.ranges.drain(..).enumerate() {
            let _ = write!(draft.detail, "{}[{low},{high}]", if at == 0 { '[' } else { ',' });
        }
        if draft.detail.ends_with(':') {
            draft.detail.push('[');
        }
        draft.detail.push(']');
        self.exchanges.one_way(cx, draft);
    }
}

#[cfg(test)]
mod tests {
    use yagura_event::schema::Kind;

    use super::*;
    use crate::testing::{Run, Sample};

    fn frame(counter: u8, synchronised: u8, value: u8) -> Vec<u8> {
        let mut unit = b"\x80\x04MU01\x82\x02\0".to_vec();
        unit.extend_from_slice(&[counter, 0x83, 4, 0, 0, 0, 1, 0x85, 1, synchronised]);
        unit.extend_from_slice(&[0x87, 8, 0, 0, 0, value, 0, 0, 0, 0]);
        let mut pdu =
            vec![0x60, unit.len() as u8 + 7, 0x80, 1, 1, 0xa2, unit.len() as u8 + 2, 0x30, unit.len() as u8];
        pdu.extend_from_slice(&unit);
        let mut out = vec![0x40, 0, 0, pdu.len() as u8 + 8, 0, 0, 0, 0];
        out.extend_from_slice(&pdu);
        out
    }

    pub(crate) fn sample() -> Sample {
        let said = (0..3).map(|counter| (Side::Client, frame(counter, 2, counter))).collect();
        Sample { transport: Transport::Link, said, customary_only: false }
    }

    #[test]
    fn a_stream_is_counted_and_its_gaps_are_told() {
        let mut run = Run::over(&PROTOCOL, Transport::Link);
        for (counter, synchronised, value) in [(1, 2, 5), (2, 2, 7), (4, 2, 3), (5, 0, 9)] {
            run.send(Side::Client, &frame(counter, synchronised, value));
        }
        run.close();
        assert_eq!(
            run.table(&["function", "session", "target", "values"]),
            [
                "sampled_values|0x4000|MU01|[5]",
                "sampled_values|0x4000|MU01|[9]",
                "sampled_values_repetition|0x4000|MU01|",
            ]
        );
        let detail = run.messages()[2].text("detail").to_string();
        assert!(detail.contains("\"sample_gaps\":1") && detail.contains("\"ranges\":[[3,9]]"), "{detail}");
        assert_eq!(run.messages()[2].number("count"), Some(2.0));
        assert_eq!(run.of(Kind::Sample).len(), 2);
    }
}
