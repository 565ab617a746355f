//! Synchrophasors over TCP and UDP (IEEE C37.118.2-2011 clause 6): configuration, header, command
//! and data frames.
//!
//! The protocol is known by its synchronisation word and the CRC of its first frame, on any port.
//! Data frames come up to 240 times a second: their values are samples, named by the
//! configuration that came before, and the frames themselves are counted.

use std::hash::Hasher;

use yagura_event::clock::{Micros, SECOND};
use yagura_event::rows::IdentityRow;
use yagura_event::vocabulary::{coverage, operation};

use crate::cursor::{Cursor, Cut};
use crate::exchange::{Draft, Exchanges};
use crate::framing::{Frame, Framed, Framing};
use crate::{Carrier, Cx, Dissector, FlowInfo, Glimpse, Probe, Protocol, Side, Transport, json};

mod configuration;

use configuration::Configuration;

/// The registry's entry.
pub const PROTOCOL: Protocol = Protocol {
    name: "synchrophasor",
    carriers: &[Carrier::tcp(&[4712]), Carrier::udp(&[4712, 4713])],
    probe,
    start,
    buffer_bytes_max: FRAME_MAX,
    #[cfg(test)]
    sample: tests::sample,
};

/// A request for a frame that does not come for that long gets a row of its own.
const REPLY_TIMEOUT: Micros = 10 * SECOND;
/// Synchronisation, size, stream, second, fraction.
const HEADER: usize = 14;
/// A header and a CRC.
const FRAME_MIN: usize = HEADER + 2;
/// What the size field can say.
const FRAME_MAX: usize = 65_535;
/// What the capture layer holds before a protocol is decided on.
const PROBED_MAX: usize = 4096;
/// Data frames of one stream are counted over that time.
const DATA_PERIOD: Micros = 10 * SECOND;
/// Most streams of one connection whose configuration is kept.
const STREAMS_MAX: usize = 8;
/// Most stations of one configuration that become identities.
const IDENTITIES_MAX: usize = 32;

/// Frame types (clause 6.2).
mod kind {
    pub const DATA: u8 = 0;
    pub const HEADER: u8 = 1;
    pub const CONFIGURATION_1: u8 = 2;
    pub const CONFIGURATION_2: u8 = 3;
    pub const COMMAND: u8 = 4;
    pub const CONFIGURATION_3: u8 = 5;
}

fn probe(glimpse: &Glimpse<'_>) -> Probe {
    let bytes = glimpse.bytes;
    let length = match Synchrophasor::frame_of(bytes) {
        Frame::Of(length) => length,
        Frame::More => return Probe::More,
        Frame::Bad(_) | Frame::Head(..) => return Probe::No,
    };
    match bytes.get(..length) {
        Some(frame) if checked(frame) => Probe::Yes,
        Some(_) => Probe::No,
        None if glimpse.transport == Transport::Udp => Probe::No,
        None if length <= PROBED_MAX => Probe::More,
        // Too long to be seen whole before the decision.
        None if glimpse.customary => Probe::Yes,
        None => Probe::No,
    }
}

fn start(_flow: &FlowInfo) -> Box<dyn Dissector> {
    Box::new(Framing::new(Synchrophasor {
        exchanges: Exchanges::new(PROTOCOL.name, REPLY_TIMEOUT),
        streams: Vec::new(),
        unknown: false,
    }))
}

/// A stream of data frames: what is known of it, and what was counted.
struct Stream {
    side: Side,
    id: u16,
    configuration: Option<Configuration>,
    /// Of the configuration's bytes, to know it again.
    hash: u64,
    since: Micros,
    count: u32,
    bytes: u64,
    /// Frames whose stations reported an error or lost synchronisation.
    doubtful: u32,
}

/// The state of a connection.
struct Synchrophasor {
    exchanges: Exchanges<(u16, u8)>,
    streams: Vec<Stream>,
    /// Whether it was said that data came without a configuration.
    unknown: bool,
}

impl Synchrophasor {
    fn frame_of(bytes: &[u8]) -> Frame {
        match bytes {
            [] | [0xaa] => Frame::More,
            [0xaa, word, rest @ ..] => {
                let (kind, version) = (word >> 4, word & 15);
                if kind > kind::CONFIGURATION_3 || !(1..=3).contains(&version) {
                    return Frame::Bad("frame_type");
                }
                let Some([high, low]) = rest.first_chunk() else { return Frame::More };
                let length = usize::from(u16::from_be_bytes([*high, *low]));
                let least = FRAME_MIN + if kind == kind::COMMAND { 2 } else { 0 };
                if length < least { Frame::Bad("frame_size") } else { Frame::Of(length) }
            }
            _ => Frame::Bad("synchronization_word"),
        }
    }

    fn command(&mut self, cx: &mut Cx<'_>, side: Side, id: u16, mut cursor: Cursor<'_>) -> Result<(), Cut> {
        let code = cursor.u16_be("command")?;
        let (operation, function, reply) = match code {
            1 => (operation::CONTROL, "turn_off_transmission", None),
            2 => (operation::CONTROL, "turn_on_transmission", None),
            3 => (operation::DISCOVER, "send_header_frame", Some(kind::HEADER)),
            4 => (operation::DISCOVER, "send_configuration_frame_1", Some(kind::CONFIGURATION_1)),
            5 => (operation::DISCOVER, "send_configuration_frame_2", Some(kind::CONFIGURATION_2)),
            6 => (operation::DISCOVER, "send_configuration_frame_3", Some(kind::CONFIGURATION_3)),
            8 => (operation::CONTROL, "extended_frame", None),
            _ => (operation::CONTROL, "command", None),
        };
        let mut draft = self.exchanges.draft(cx, side, operation, function);
        json::push_number(&mut draft.session, u64::from(id));
        json::member_number(&mut draft.detail, "command", u64::from(code));
        if !cursor.is_empty() {
            json::member_number(&mut draft.detail, "extension_bytes", cursor.remaining() as u64);
        }
        match reply {
            Some(reply) => self.exchanges.ask(cx, (id, reply), draft),
            None => self.exchanges.one_way(cx, draft),
        }
        Ok(())
    }

    /// Writes what a device says, to the request for it if there is one.
    fn answer(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        id: u16,
        kind: u8,
        fill: impl FnOnce(&mut Cx<'_>, &mut Draft),
    ) {
        if let Some(mut draft) = self.exchanges.answered(side, &(id, kind)) {
            fill(cx, &mut draft);
            self.exchanges.pair(cx, draft);
            return;
        }
        let function = match kind {
            kind::HEADER => "header_frame",
            kind::CONFIGURATION_1 => "configuration_frame_1",
            kind::CONFIGURATION_2 => "configuration_frame_2",
            _ => "configuration_frame_3",
        };
        let mut draft = self.exchanges.draft(cx, side, operation::REPORT, function);
        draft.equipment = side;
        json::push_number(&mut draft.session, u64::from(id));
        fill(cx, &mut draft);
        self.exchanges.one_way(cx, draft);
    }

    fn configure(&mut self, cx: &mut Cx<'_>, side: Side, id: u16, kind: u8, mut cursor: Cursor<'_>) {
        let mut hasher = rustc_hash::FxHasher::default();
        hasher.write(cursor.rest());
        let hash = hasher.finish();
        let bytes = cursor.remaining();
        let end = cx.flow.end(side);
        let source = format!("synchrophasor {}:{}/{id}", end.address, end.port);
        let read = Configuration::read(kind == kind::CONFIGURATION_3, &source, &mut cursor);
        let mut changed = false;
        if let Ok(Some(configuration)) = &read {
            // Configuration 1 says what a device can do, 2 and 3 what it sends.
            if kind != kind::CONFIGURATION_1 {
                let at = self.stream(cx, side, id);
                changed = self.streams.get(at).is_some_and(|s| s.hash != hash);
                if let Some(stream) = self.streams.get_mut(at) {
                    stream.hash = hash;
                    stream.configuration = Some(configuration.clone());
                }
            } else {
                changed = true;
            }
        }
        self.answer(cx, side, id, kind, |cx, draft| match read {
            Ok(Some(configuration)) => {
                for station in &configuration.stations {
                    draft.push_text(&station.name);
                }
                json::member_number(&mut draft.detail, "channels", configuration.channels() as u64);
                json::member_number(&mut draft.detail, "time_base", u64::from(configuration.time_base));
                json::key(&mut draft.detail, "data_rate");
                json::push_float(&mut draft.detail, f64::from(configuration.rate));
                json::member_number(&mut draft.detail, "bytes", bytes as u64);
                for station in configuration.stations.iter().take(IDENTITIES_MAX).filter(|_| changed) {
                    let mut detail = String::new();
                    json::member_number(&mut detail, "stream", u64::from(id));
                    json::member_number(&mut detail, "station", u64::from(station.id));
                    json::member_number(&mut detail, "configuration_changes", u64::from(station.changes));
                    json::end(&mut detail);
                    let row = IdentityRow { name: &station.name, detail: &detail, ..IdentityRow::default() };
                    cx.identity(PROTOCOL.name, side, row);
                }
            }
            Ok(None) => json::member_bool(&mut draft.detail, "fragment", true),
            Err(cut) => draft.wrong(cut),
        });
    }

    /// The place of a stream, which begins if need be.
    fn stream(&mut self, cx: &mut Cx<'_>, side: Side, id: u16) -> usize {
        if let Some(at) = self.streams.iter().position(|s| s.side == side && s.id == id) {
            return at;
        }
        if self.streams.len() == STREAMS_MAX {
            self.counted(cx, 0);
            self.streams.remove(0);
        }
        self.streams.push(Stream {
            side,
            id,
            configuration: None,
            hash: 0,
            since: cx.time,
            count: 0,
            bytes: 0,
            doubtful: 0,
        });
        self.streams.len() - 1
    }

    fn data(&mut self, cx: &mut Cx<'_>, side: Side, id: u16, mut cursor: Cursor<'_>) -> Result<(), Cut> {
        let at = self.stream(cx, side, id);
        if self.streams[at].count > 0 && cx.time - self.streams[at].since >= DATA_PERIOD {
            self.counted(cx, at);
        }
        let stream = &mut self.streams[at];
        if stream.count == 0 {
            stream.since = cx.time;
        }
        stream.count += 1;
        stream.bytes += cursor.remaining() as u64;
        match &stream.configuration {
            Some(configuration) => {
                let doubtful = configuration.data(cx, side, &mut cursor)?;
                stream.doubtful += u32::from(doubtful);
                cursor.check(cursor.is_empty(), "data_length")
            }
            None => {
                if !std::mem::replace(&mut self.unknown, true) {
                    let detail = "data frames without a configuration frame before them are counted only";
                    cx.cover(PROTOCOL.name, coverage::UNKNOWN, 1, detail);
                }
                Ok(())
            }
        }
    }

    /// Writes what was counted of one stream.
    fn counted(&mut self, cx: &mut Cx<'_>, at: usize) {
        let Some(stream) = self.streams.get_mut(at).filter(|s| s.count > 0) else { return };
        let mut draft = self.exchanges.draft(cx, stream.side, operation::REPORT, "data_frame");
        draft.equipment = stream.side;
        draft.time = stream.since;
        json::push_number(&mut draft.session, u64::from(stream.id));
        draft.set_count(std::mem::take(&mut stream.count));
        json::member_number(&mut draft.detail, "bytes", std::mem::take(&mut stream.bytes));
        json::member_number(&mut draft.detail, "doubtful", u64::from(std::mem::take(&mut stream.doubtful)));
        self.exchanges.one_way(cx, draft);
    }
}

impl Framed for Synchrophasor {
    const PROTOCOL: &'static str = PROTOCOL.name;

    fn frame(&self, _side: Side, bytes: &[u8]) -> Frame {
        Synchrophasor::frame_of(bytes)
    }

    fn read(&mut self, cx: &mut Cx<'_>, side: Side, frame: &[u8]) -> Result<(), Cut> {
        if !checked(frame) {
            return Err(Cut { what: "checksum", at: frame.len() - 2 });
        }
        let id = u16::from_be_bytes([frame[4], frame[5]]);
        let body = &frame[HEADER..frame.len() - 2];
        let cursor = Cursor::new(body);
        match frame[1] >> 4 {
            kind::DATA => self.data(cx, side, id, cursor)?,
            kind::COMMAND => self.command(cx, side, id, cursor)?,
            kind::HEADER => self.answer(cx, side, id, kind::HEADER, |_, draft| {
                draft.push_text(String::from_utf8_lossy(body).trim_end_matches(['\0', ' ']));
            }),
            kind => self.configure(cx, side, id, kind, cursor),
        }
        Ok(())
    }

    fn lost(&mut self, _cx: &mut Cx<'_>, _side: Side) {}

    fn expire(&mut self, cx: &mut Cx<'_>) {
        self.exchanges.expire(cx);
        for at in 0..self.streams.len() {
            if cx.time - self.streams[at].since >= DATA_PERIOD {
                self.counted(cx, at);
            }
        }
    }

    fn close(&mut self, cx: &mut Cx<'_>) {
        self.exchanges.close(cx);
        for at in 0..self.streams.len() {
            self.counted(cx, at);
        }
    }
}

/// Whether a whole frame ends in its CRC (CCITT, from all ones, annex B).
fn checked(frame: &[u8]) -> bool {
    let Some((body, check)) = frame.split_last_chunk::<2>() else { return false };
    crc(body).to_be_bytes() == *check
}

fn crc(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0xffff, |sum, byte| sum << 8 ^ CRC_TABLE[usize::from((sum >> 8) as u8 ^ byte)])
}

const CRC_TABLE: [u16; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut sum = (index as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            sum = if sum & 0x8000 != 0 { sum << 1 ^ 0x1021 } else { sum << 1 };
            bit += 1;
        }
        table[index] = sum;
        index += 1;
    }
    table
};

#[cfg(test)]
mod tests;
