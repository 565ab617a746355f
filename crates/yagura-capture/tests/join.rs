//! An HSMS connection that is joined at any byte is read right after at most three messages: what
//! follows gives the rows that the whole connection gives.
//!
//! Joined are places a prime apart; `YAGURA_JOIN_STRIDE=1` joins at every byte. That nothing else is
//! taken for HSMS is what `identification` in `agreement` checks.
#![allow(clippy::print_stderr, reason = "the test says what it skips and what it read")]

#[allow(unused, reason = "shared by the tests")]
mod common;

use std::collections::BTreeMap;
use std::path::Path;

use etherparse::{SlicedPacket, TransportSlice};
use yagura_capture::{Engine, Limits, Packet, PacketFile};
use yagura_event::Kind;
use yagura_event::rows::OwnedRow;

/// Time of a segment by its place, so that a row's time says what it was made of.
const START: i64 = 1_700_000_000_000_000;
const STEP: i64 = 1000;
/// Messages after which everything must be right.
const LOCK: usize = 3;
/// Messages that are then compared.
const COMPARED: usize = 12;
/// Inside of a long message (a recipe), one place is much like the next.
const LONG: usize = 20_000;
const LONG_STRIDE: usize = 4001;

/// A TCP segment with data.
struct Part {
    client: bool,
    seq: u32,
    data: Vec<u8>,
}

/// A connection so far: the port of its client, the next sequence number of each side, its segments.
type Begun = (u16, [Option<u32>; 2], Vec<Part>);

/// A message's place: the segment and byte where it begins, and the segment where it ends.
struct Place {
    begins: (usize, usize),
    ends: usize,
    size: usize,
}

/// The segments with data of every connection, in order and each once.
fn connections(path: &Path) -> Vec<Vec<Part>> {
    let mut file = PacketFile::open(path).unwrap_or_else(|e| panic!("{e}"));
    let mut all: BTreeMap<(u16, u16), Begun> = BTreeMap::new();
    while let Ok(Some(packet)) = file.next_packet() {
        let Ok(sliced) = SlicedPacket::from_ethernet(packet.data) else { continue };
        let Some(TransportSlice::Tcp(tcp)) = sliced.transport else { continue };
        let ports = (tcp.source_port(), tcp.destination_port());
        let key = (ports.0.min(ports.1), ports.0.max(ports.1));
        let (client, next, parts) = all.entry(key).or_insert((ports.0, [None; 2], Vec::new()));
        let side = ports.0 == *client;
        let (next, data) = (&mut next[usize::from(side)], tcp.payload());
        let seq = tcp.sequence_number();
        if tcp.syn() {
            *next = Some(seq.wrapping_add(1));
        } else if !data.is_empty() && next.is_none_or(|n| n == seq) {
            *next = Some(seq.wrapping_add(data.len() as u32));
            parts.push(Part { client: side, seq, data: data.to_vec() });
        }
    }
    all.into_values().map(|(.., parts)| parts).filter(|parts| !parts.is_empty()).collect()
}

/// Where messages are: those of both sides, in the order of their ends.
fn places(parts: &[Part]) -> Vec<Place> {
    let mut places = Vec::new();
    for client in [true, false] {
        let bytes = || {
            let own = parts.iter().enumerate().filter(|(_, p)| p.client == client);
            own.flat_map(|(part, p)| p.data.iter().enumerate().map(move |(at, b)| ((part, at), *b)))
        };
        let mut bytes = bytes();
        loop {
            let head: Vec<_> = bytes.by_ref().take(4).collect();
            let [(begins, a), (_, b), (_, c), (_, d)] = head[..] else { break };
            let size = u32::from_be_bytes([a, b, c, d]) as usize;
            let Some(((ends, _), _)) = bytes.by_ref().take(size).last() else { break };
            places.push(Place { begins, ends, size });
        }
    }
    places.sort_by_key(|p| (p.ends, p.begins));
    places
}

/// The rows of the segments from `(part, byte)` up to and with `until`.
fn read(parts: &[Part], from: (usize, usize), until: usize) -> Vec<OwnedRow> {
    let mut engine = Engine::new(common::options(Limits::default()));
    let mut rows: Vec<OwnedRow> = Vec::new();
    for (index, part) in parts.iter().enumerate().take(until + 1).skip(from.0) {
        let skipped = if index == from.0 { from.1 } else { 0 };
        let seq = part.seq.wrapping_add(skipped as u32);
        // What the other side has sent before is known from the segment itself: nothing is missing.
        let frame = common::tcp_frame(part.client, 5000, seq, None, "", &part.data[skipped..]);
        let time = START + index as i64 * STEP;
        let original = frame.len() as u32;
        engine.packet(&Packet { time, observed: time, link: 1, original, data: &frame }, &mut rows);
    }
    engine.finish(&mut rows);
    rows.retain(|row| row.kind == Kind::Message);
    rows
}

fn time(part: usize) -> i64 {
    START + part as i64 * STEP
}

/// What the messages say, of those that were asked after `after` and answered by `until`.
fn said(rows: &[OwnedRow], after: usize, until: usize) -> Vec<String> {
    let mut said: Vec<String> = rows
        .iter()
        .filter(|row| row.number("time").is_some_and(|t| t as i64 > time(after)))
        .filter(|row| {
            let answered =
                row.number("time").unwrap_or(0.0) + row.number("latency_us").unwrap_or(f64::INFINITY);
            answered as i64 <= time(until)
        })
        .map(|row| {
            // A start names the body that was downloaded for it, perhaps before: not compared.
            let columns = ["protocol", "function", "session", "values", "status", "exchange"];
            let texts = columns.map(|column| row.text(column));
            format!("{} {}", row.number("time").unwrap_or(0.0) as i64 - START, texts.join("|"))
        })
        .collect();
    said.sort();
    said
}

/// What [`said`] has of a message but its time.
fn content(said: &str) -> String {
    said.split_once(' ').map_or(said, |(_, content)| content).to_string()
}

#[test]
fn a_connection_joined_at_any_byte_is_read_right_after_three_messages() {
    let Some(captures) = common::captures() else { return };
    let stride = std::env::var("YAGURA_JOIN_STRIDE").map_or(101, |s| s.parse().unwrap_or(101));
    let mut files: Vec<_> = common::manifest(&captures)
        .into_iter()
        .map(|(path, _)| path)
        .filter(|p| p.parent().is_some_and(|f| f.ends_with("hsms")))
        .collect();
    files.sort();
    let (mut joined, mut compared) = (0, 0);
    for file in files {
        for parts in connections(&file) {
            let (places, whole) = (places(&parts), read(&parts, (0, 0), parts.len()));
            let mut next = 0;
            let mut passed = 0;
            for (part, p) in parts.iter().enumerate() {
                let long = places.iter().any(|l| {
                    l.size > LONG && l.begins.0 < part && part < l.ends && parts[l.ends].client == p.client
                });
                while next < passed + p.data.len() {
                    let from = (part, next - passed);
                    next += if long { LONG_STRIDE } else { stride };
                    let after: Vec<&Place> = places.iter().filter(|l| l.begins >= from).collect();
                    let Some(last) = after.get(LOCK + COMPARED).or(after.last()) else { continue };
                    let Some(lock) = after.get(LOCK - 1) else { continue };
                    let rows = read(&parts, from, last.ends);
                    let (mut found, expected) =
                        (said(&rows, lock.ends, last.ends), said(&whole, lock.ends, last.ends));
                    // A message from before may be found late, with the frame that makes it sure.
                    let early: Vec<String> =
                        said(&whole, 0, last.ends).iter().map(|said| content(said)).collect();
                    found.retain(|f| expected.contains(f) || !early.contains(&content(f)));
                    assert_eq!(
                        found,
                        expected,
                        "{}: joined at byte {} of segment {part}",
                        file.display(),
                        from.1
                    );
                    joined += 1;
                    compared += expected.len();
                }
                passed += p.data.len();
            }
        }
    }
    eprintln!("joined at {joined} places, {compared} exchanges compared");
    assert!(joined > 100 && compared > joined, "{joined} {compared}");
}
