//! What every registered protocol keeps, whatever it reads.

use proptest::prelude::*;
use yagura_event::clock::SECOND;
use yagura_event::rows::OwnedRow;
use yagura_event::schema::Kind;
use yagura_event::vocabulary::status;

use crate::exchange::WAITING_MAX;
use crate::testing::{Run, Sample};
use crate::{Glimpse, Probe, Protocol, Side, Transport, protocols};

/// A conversation's rows, each entry fed in the pieces that `cut` makes of it.
fn rows(protocol: &Protocol, sample: &Sample, cut: impl Fn(usize, &[u8]) -> Vec<usize>) -> Vec<OwnedRow> {
    let mut run = Run::over(protocol, sample.transport);
    for (index, (side, bytes)) in sample.said.iter().enumerate() {
        run.time += 1_000;
        let mut from = 0;
        for to in cut(index, bytes).into_iter().chain([bytes.len()]) {
            run.send(*side, &bytes[from..to]);
            from = to;
        }
        assert!(run.held(*side) <= protocol.buffer_bytes_max, "{}: holds too much", protocol.name);
    }
    run.close();
    run.rows
}

fn good(rows: &[OwnedRow]) -> usize {
    rows.iter().filter(|r| r.kind == Kind::Message && r.text("status") != status::MALFORMED).count()
}

#[test]
fn a_conversation_gives_messages_and_nothing_malformed() {
    for protocol in protocols() {
        let sample = (protocol.sample)();
        let rows = rows(protocol, &sample, |_, _| vec![]);
        let bad: Vec<_> = rows.iter().filter(|r| r.text("status") == status::MALFORMED).collect();
        assert!(bad.is_empty(), "{}: {bad:?}", protocol.name);
        assert!(good(&rows) > 0, "{}: {rows:?}", protocol.name);
        for row in rows.iter().filter(|r| r.kind == Kind::Message) {
            assert!(!row.text("function").is_empty(), "{}: {row:?}", protocol.name);
            assert!(yagura_event::vocabulary::operation::ALL.contains(&row.text("operation")), "{row:?}");
            assert!(status::ALL.contains(&row.text("status")), "{row:?}");
            for column in ["values", "detail"] {
                let text = row.text(column);
                let read = serde_json::from_str::<serde_json::Value>(text);
                assert!(text.is_empty() || read.is_ok(), "{}: {column} is no JSON: {text}", protocol.name);
            }
        }
    }
}

#[test]
fn any_split_of_a_stream_gives_the_same_rows() {
    for protocol in protocols() {
        let sample = (protocol.sample)();
        if sample.transport != Transport::Tcp {
            continue;
        }
        let whole = rows(protocol, &sample, |_, _| vec![]);
        for (index, (_, bytes)) in sample.said.iter().enumerate() {
            for at in 1..bytes.len() {
                let split = rows(protocol, &sample, |i, _| if i == index { vec![at] } else { vec![] });
                assert_eq!(split, whole, "{}: message {index} split at {at}", protocol.name);
            }
        }
        let single = rows(protocol, &sample, |_, bytes| (1..bytes.len()).collect());
        assert_eq!(single, whole, "{}: byte by byte", protocol.name);
        // Both of a side's messages in one piece, too.
        let mut run = Run::over(protocol, sample.transport);
        for side in [Side::Client, Side::Server] {
            let all: Vec<u8> =
                sample.said.iter().filter(|(s, _)| *s == side).flat_map(|(_, b)| b.iter().copied()).collect();
            run.send(side, &all);
        }
        run.close();
        assert!(good(&run.rows) > 0, "{}: each side in one piece", protocol.name);
    }
}

#[test]
fn truncations_and_flipped_bits_give_rows_or_nothing() {
    for protocol in protocols() {
        let sample = (protocol.sample)();
        for index in 0..sample.said.len() {
            let length = sample.said[index].1.len();
            for at in 0..length {
                let mut cut = (protocol.sample)();
                cut.said[index].1.truncate(at);
                rows(protocol, &cut, |_, _| vec![]);
            }
            for bit in (0..length * 8).step_by(1 + length / 256) {
                let mut flipped = (protocol.sample)();
                flipped.said[index].1[bit / 8] ^= 1 << (bit % 8);
                rows(protocol, &flipped, |_, _| vec![]);
            }
        }
    }
}

#[test]
fn after_a_gap_the_next_frames_are_read_again() {
    for protocol in protocols() {
        let sample = (protocol.sample)();
        for missing in 0..sample.said.len() {
            let mut run = Run::over(protocol, sample.transport);
            for (index, (side, bytes)) in sample.said.iter().enumerate() {
                if index == missing {
                    run.lose(*side, bytes.len());
                } else {
                    run.send(*side, bytes);
                }
            }
            // Encrypted sessions stay unreadable: that the state survives is all they owe.
            run.close();
        }
        let mut run = Run::over(protocol, sample.transport);
        let (side, bytes) = &sample.said[0];
        run.send(*side, bytes);
        run.lose(*side, 5);
        let before = good(&run.rows);
        for _ in 0..3 {
            run.time += SECOND;
            for (side, bytes) in &sample.said {
                run.send(*side, bytes);
            }
        }
        run.close();
        assert!(good(&run.rows) > before, "{}: nothing is read after a gap", protocol.name);
    }
}

#[test]
fn requests_that_are_never_answered_take_bounded_memory() {
    for protocol in protocols() {
        let sample = (protocol.sample)();
        let first = sample.said[0].0;
        let mut run = Run::over(protocol, sample.transport);
        for _ in 0..3_000 {
            for (side, bytes) in sample.said.iter().filter(|(side, _)| *side == first) {
                run.send(*side, bytes);
            }
        }
        let before = run.rows.len();
        run.close();
        let waited = run.rows.len() - before;
        assert!(waited <= 2 * WAITING_MAX, "{}: {waited} rows at the end", protocol.name);
    }
}

/// Writes the conversations into the folder `YAGURA_SEEDS` in the form that the fuzzer reads
/// (`input.rs` of `yagura-fuzz`), a folder for each protocol.
#[test]
fn samples_are_seeds() {
    let Some(seeds) = std::env::var_os("YAGURA_SEEDS").map(std::path::PathBuf::from) else { return };
    for protocol in protocols() {
        let sample = (protocol.sample)();
        let carrier = protocol.carriers.iter().position(|c| c.transport == sample.transport);
        let mut input = vec![carrier.unwrap_or(0) as u8];
        for (side, bytes) in &sample.said {
            input.push(*side as u8);
            input.extend_from_slice(&(bytes.len() as u16).to_le_bytes());
            input.extend_from_slice(bytes);
        }
        let folder = seeds.join(protocol.name);
        let written =
            std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(folder.join("sample"), input));
        assert!(written.is_ok(), "{}: {written:?}", folder.display());
    }
}

/// Which protocol the capture layer would take a conversation for.
fn identified(sample: &Sample, number: Option<u16>) -> Option<&'static str> {
    let mut unread = [Vec::new(), Vec::new()];
    for (side, bytes) in &sample.said {
        let place = &mut unread[*side as usize];
        if sample.transport != Transport::Tcp {
            place.clear();
        }
        place.extend_from_slice(bytes);
        for customary in [true, false] {
            let mut more = false;
            for protocol in protocols() {
                let (on, by_custom) = protocol.runs_on(sample.transport, number.unwrap_or(0));
                if !on || by_custom != customary {
                    continue;
                }
                let glimpse = Glimpse { transport: sample.transport, side: *side, customary, bytes: place };
                match (protocol.probe)(&glimpse) {
                    Probe::Yes => return Some(protocol.name),
                    Probe::More => more = true,
                    Probe::No => {}
                }
            }
            if more {
                break;
            }
        }
    }
    None
}

#[test]
fn a_conversation_is_identified_by_its_content() {
    for protocol in protocols() {
        let sample = (protocol.sample)();
        let carrier = protocol.carriers.iter().find(|c| c.transport == sample.transport);
        let number = carrier.and_then(|c| c.numbers.first().copied());
        assert_eq!(identified(&sample, number), Some(protocol.name), "by custom");
        if matches!(sample.transport, Transport::Tcp | Transport::Udp) {
            let elsewhere = identified(&sample, None);
            let expected = (!sample.customary_only).then_some(protocol.name);
            assert_eq!(elsewhere, expected, "{} on a port of another", protocol.name);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn noise_is_never_a_panic(
        pieces in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..300), 0..40_usize), 1..12)
    ) {
        for protocol in protocols() {
            for carrier in protocol.carriers {
                let mut run = Run::over(protocol, carrier.transport);
                for (client, bytes, lost) in &pieces {
                    let side = if *client { Side::Client } else { Side::Server };
                    let glimpse = Glimpse { transport: carrier.transport, side, customary: true, bytes };
                    let _ = (protocol.probe)(&glimpse);
                    run.send(side, bytes);
                    if *lost > 30 {
                        run.lose(side, *lost);
                    }
                }
                run.pass(3_600 * SECOND);
                run.close();
            }
        }
    }

    /// Noise that begins like the real thing gets deeper.
    #[test]
    fn damaged_conversations_are_never_a_panic(
        seed in any::<u64>(),
        changes in prop::collection::vec((any::<u16>(), any::<u16>(), any::<u8>()), 1..8),
    ) {
        for protocol in protocols() {
            let mut sample = (protocol.sample)();
            for (message, place, byte) in &changes {
                let index = usize::from(*message) % sample.said.len();
                let bytes = &mut sample.said[index].1;
                if !bytes.is_empty() {
                    let at = usize::from(*place) % bytes.len();
                    bytes[at] = *byte;
                    if seed % 3 == 0 {
                        bytes.remove(at);
                    } else if seed % 3 == 1 {
                        bytes.insert(at, *byte);
                    }
                }
            }
            rows(protocol, &sample, |_, _| vec![]);
        }
    }
}
