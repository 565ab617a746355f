use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::*;

/// What a consumer saw: bytes with `None` for each missing one.
#[derive(Default)]
struct Seen(Vec<Option<u8>>);

impl Seen {
    fn take(&mut self, piece: Piece<'_>) {
        match piece {
            Piece::Bytes(bytes) => self.0.extend(bytes.iter().map(|b| Some(*b))),
            Piece::Gap(missing) => self.0.extend((0..missing).map(|_| None)),
        }
    }
}

fn treatment() -> Treatment {
    Treatment { now: 0, keep: true, held_bytes_max: 1 << 20, held_segments_max: 512 }
}

fn push(half: &mut Half, seen: &mut Seen, seq: u32, data: &[u8]) -> Fate {
    pushed(half, seen, seq, data).fate
}

fn pushed(half: &mut Half, seen: &mut Seen, seq: u32, data: &[u8]) -> Pushed {
    half.push(seq, data, data.len() as u32, treatment(), &mut |p| seen.take(p))
}

fn text(seen: &Seen) -> String {
    seen.0.iter().map(|b| b.map_or('?', char::from)).collect()
}

#[test]
fn segments_come_out_in_order_across_the_wrap_of_sequence_numbers() {
    let (mut half, mut seen) = (Half::default(), Seen::default());
    half.start(u32::MAX - 3);
    assert_eq!(push(&mut half, &mut seen, 2, b"efgh"), Fate::New);
    assert_eq!(push(&mut half, &mut seen, u32::MAX - 2, b"abc"), Fate::New);
    assert_eq!(text(&seen), "abc");
    assert_eq!(push(&mut half, &mut seen, 0, b"12"), Fate::New);
    assert_eq!(text(&seen), "abc12efgh");
    assert_eq!((half.bytes, half.missing, half.held_bytes()), (9, 0, 0));
}

#[test]
fn the_first_copy_of_a_byte_counts() {
    let (mut half, mut seen) = (Half::default(), Seen::default());
    half.start(99);
    push(&mut half, &mut seen, 104, b"EF");
    push(&mut half, &mut seen, 102, b"cdxxxxgh");
    assert_eq!(push(&mut half, &mut seen, 103, b"yyyy"), Fate::Repeated);
    push(&mut half, &mut seen, 100, b"abzz");
    assert_eq!(text(&seen), "abcdEFxxgh");
}

#[test]
fn repetitions_with_another_content_are_told_from_honest_ones() {
    let (mut half, mut seen) = (Half::default(), Seen::default());
    half.start(99);
    let mut conflict = |seq, data: &[u8]| pushed(&mut half, &mut seen, seq, data).conflict;
    assert!(!conflict(100, b"abcd"));
    assert!(!conflict(100, b"abcd"));
    assert!(conflict(100, b"abcX"));
    // Behind a hole: the same, longer, shorter and other bytes.
    assert!(!conflict(108, b"ijkl"));
    assert!(!conflict(108, b"ijkl"));
    assert!(!conflict(107, b"hijklm"));
    assert!(!conflict(109, b"jk"));
    assert!(conflict(109, b"jX"));
    assert!(conflict(106, b"gXi"));
    assert!(!conflict(104, b"ef"));
    assert!(!conflict(112, b"\0"));
    assert_eq!(text(&seen), "abcdefghijklm");
}

#[test]
fn too_many_segments_behind_a_hole_give_it_up() {
    let (mut half, mut seen) = (Half::default(), Seen::default());
    half.start(99);
    for n in 0..512 {
        assert!(!pushed(&mut half, &mut seen, 200 + n * 2, b"x").full);
    }
    assert!(pushed(&mut half, &mut seen, 200 + 512 * 2, b"x").full);
    assert_eq!(half.missing, 100);
}

#[test]
fn keep_alives_and_copies_are_repeated_and_nothing_more() {
    let (mut half, mut seen) = (Half::default(), Seen::default());
    half.start(99);
    push(&mut half, &mut seen, 100, b"abc");
    assert_eq!(push(&mut half, &mut seen, 102, b"\0"), Fate::Repeated);
    assert_eq!(push(&mut half, &mut seen, 100, b"abc"), Fate::Repeated);
    assert_eq!(text(&seen), "abc");
}

#[test]
fn an_acknowledgement_makes_a_hole_a_gap_of_just_its_size() {
    let (mut half, mut seen) = (Half::default(), Seen::default());
    half.start(99);
    push(&mut half, &mut seen, 105, b"fg");
    assert!(half.acked(103, true, 0, &mut |p| seen.take(p)));
    assert_eq!(text(&seen), "???");
    assert!(half.acked(107, true, 0, &mut |p| seen.take(p)));
    assert_eq!(text(&seen), "?????fg");
    assert!(half.acked(110, true, 0, &mut |p| seen.take(p)));
    assert_eq!((text(&seen).as_str(), half.missing), ("?????fg???", 8));
    // Late data fill nothing any more.
    assert_eq!(push(&mut half, &mut seen, 100, b"abcde"), Fate::Repeated);
}

#[test]
fn an_acknowledgement_may_overtake_its_data_unless_the_receiver_went_on() {
    let (mut half, mut seen) = (Half::default(), Seen::default());
    half.start(99);
    assert!(half.acked(103, false, 0, &mut |p| seen.take(p)));
    push(&mut half, &mut seen, 100, b"abc");
    assert_eq!(text(&seen), "abc");
    assert!(half.acked(106, false, 0, &mut |p| seen.take(p)));
    push(&mut half, &mut seen, 106, b"ghi");
    assert!(half.acked(109, false, 0, &mut |p| seen.take(p)));
    assert_eq!((text(&seen).as_str(), half.missing), ("abc???ghi", 3));
}

#[test]
fn the_acknowledgement_of_a_fin_misses_nothing() {
    let (mut half, mut seen) = (Half::default(), Seen::default());
    half.start(99);
    push(&mut half, &mut seen, 100, b"abc");
    half.finish(103);
    assert!(half.is_finished());
    assert!(half.acked(104, true, 0, &mut |p| seen.take(p)));
    assert_eq!((text(&seen).as_str(), half.missing), ("abc", 0));
}

#[test]
fn a_forged_acknowledgement_skips_nothing() {
    let (mut half, mut seen) = (Half::default(), Seen::default());
    half.start(99);
    push(&mut half, &mut seen, 100, b"abc");
    assert!(!half.acked(100 + (1 << 24), true, 0, &mut |p| seen.take(p)));
    push(&mut half, &mut seen, 103, b"def");
    assert_eq!(text(&seen), "abcdef");
}

#[test]
fn what_was_not_captured_of_a_segment_is_a_gap() {
    let (mut half, mut seen) = (Half::default(), Seen::default());
    half.start(99);
    half.push(104, b"ef", 4, treatment(), &mut |p| seen.take(p));
    half.push(100, b"ab", 4, treatment(), &mut |p| seen.take(p));
    push(&mut half, &mut seen, 108, b"ij");
    assert_eq!((text(&seen).as_str(), half.bytes, half.missing), ("ab??ef??ij", 6, 4));
}

#[test]
fn waiting_memory_is_bounded_and_overflow_gives_the_hole_up() {
    let (mut half, mut seen) = (Half::default(), Seen::default());
    half.start(99);
    let limits = Treatment { held_bytes_max: 10_000, ..treatment() };
    for n in 0..100u32 {
        half.push(200 + n * 200, &[b'x'; 100], 100, limits, &mut |p| seen.take(p));
        assert!(half.held_bytes() <= 10_000);
    }
    half.flush(0, &mut |p| seen.take(p));
    assert_eq!((half.bytes, half.missing), (10_000, 100 * 100));
    assert_eq!(seen.0.len(), 20_000);
}

#[test]
fn after_a_jump_out_of_every_window_the_stream_begins_anew() {
    let (mut half, mut seen) = (Half::default(), Seen::default());
    half.start(99);
    push(&mut half, &mut seen, 100, b"abc");
    let far = 100u32.wrapping_add(3 << 29);
    let mut fates = Vec::new();
    half.push(far, b"zz", 2, treatment(), &mut |_| {});
    for n in 1..8 {
        let fate = half.push(far + n * 2, b"zz", 2, treatment(), &mut |_| {});
        fates.push(fate.fate);
    }
    assert_eq!(fates.last(), Some(&Fate::New));
    assert!(fates[..6].iter().all(|f| *f == Fate::Stray));
    assert_eq!(push(&mut half, &mut seen, far + 16, b"next"), Fate::New);
}

/// Cuts, overlaps, copies and shuffles a stream within a window; some segments may be lost.
fn scattered() -> impl Strategy<Value = (Vec<u8>, u32, Vec<(usize, usize)>)> {
    (prop::collection::vec(any::<u8>(), 1..600), any::<u32>()).prop_flat_map(|(stream, isn)| {
        let len = stream.len();
        let cuts = prop::collection::vec((0..len, 1..60usize, 0..12usize), 1..80);
        (Just(stream), Just(isn), cuts).prop_map(move |(stream, isn, cuts)| {
            let mut segments: Vec<(usize, (usize, usize))> = cuts
                .into_iter()
                .map(|(start, n, jitter)| (start / 20 + jitter, (start, (start + n).min(len))))
                .collect();
            segments.sort_by_key(|(order, _)| *order);
            (stream, isn, segments.into_iter().map(|(_, range)| range).collect())
        })
    })
}

#[test]
fn any_scattering_gives_the_stream_back_and_gaps_exactly_where_bytes_were_lost() {
    let mut runner = TestRunner::new(Config { cases: 2_000, failure_persistence: None, ..Config::default() });
    runner
        .run(&scattered(), |(stream, isn, segments)| {
            let (mut half, mut seen) = (Half::default(), Seen::default());
            half.start(isn);
            let mut expected: Vec<Option<u8>> = vec![None; stream.len()];
            for (start, end) in segments {
                for (place, byte) in (start..end).zip(&stream[start..end]) {
                    expected[place] = Some(*byte);
                }
                let seq = isn.wrapping_add(1).wrapping_add(start as u32);
                push(&mut half, &mut seen, seq, &stream[start..end]);
            }
            // Everything was acknowledged, and the acknowledgement comes again.
            let end = isn.wrapping_add(1).wrapping_add(stream.len() as u32);
            for _ in 0..2 {
                prop_assert!(half.acked(end, true, 0, &mut |p| seen.take(p)));
            }
            let lost = expected.iter().filter(|b| b.is_none()).count() as u64;
            prop_assert_eq!(&seen.0, &expected);
            prop_assert_eq!((half.missing, half.bytes), (lost, stream.len() as u64 - lost));
            prop_assert_eq!(half.held_bytes(), 0);
            Ok(())
        })
        .unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn places_alone_count_the_same_bytes_as_data() {
    let mut runner = TestRunner::new(Config { cases: 500, failure_persistence: None, ..Config::default() });
    runner
        .run(&scattered(), |(stream, isn, segments)| {
            let (mut with, mut without) = (Half::default(), Half::default());
            with.start(isn);
            without.start(isn);
            for (start, end) in segments {
                let seq = isn.wrapping_add(1).wrapping_add(start as u32);
                for (half, keep) in [(&mut with, true), (&mut without, false)] {
                    let how = Treatment { keep, ..treatment() };
                    let len = (end - start) as u32;
                    half.push(seq, &stream[start..end], len, how, &mut |_| {});
                }
            }
            with.flush(0, &mut |_| {});
            without.flush(0, &mut |_| {});
            prop_assert_eq!((with.bytes, with.missing), (without.bytes, without.missing));
            Ok(())
        })
        .unwrap_or_else(|failure| panic!("{failure}"));
}
