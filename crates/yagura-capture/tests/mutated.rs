//! Packets that were tampered with are read without a panic or a hang, in bounded memory. The
//! long form, through the row writer too:
//! `cargo run --release -p yagura-collect --example mutate -- 10000000`.
#![allow(clippy::print_stderr, reason = "tests say what they skip and what they met")]

#[allow(unused, reason = "shared by the tests")]
mod common;
#[path = "common/mutate.rs"]
mod mutate;

use common::{options, tcp_frame};
use yagura_capture::Limits;
use yagura_event::rows::{Row, RowSink};

/// Takes rows and does nothing with them.
struct Nothing;

impl RowSink for Nothing {
    fn push(&mut self, _: Row<'_>) {}
}

#[test]
fn a_hundred_thousand_tampered_packets_are_survived() {
    let files: Vec<_> = common::captures()
        .map(|captures| common::manifest(&captures).into_iter().map(|(path, _)| path).collect())
        .unwrap_or_default();
    let originals = mutate::originals(&files, 40);
    let limits =
        Limits { flows_max: 1000, held_bytes_max: 1 << 20, unread_bytes_max: 1 << 20, ..Limits::default() };
    let run = |count, seed| mutate::run(&originals, count, seed, limits.clone(), &mut Nothing, |_| {});
    let outcome = run(100_000, 1);
    eprintln!(
        "{} packets of {} originals, {} flows, {} rows, the slowest took {:?}",
        outcome.packets,
        originals.len(),
        outcome.flows,
        outcome.rows,
        outcome.slowest
    );
    assert_eq!(outcome.packets, 100_000);
    assert!(outcome.slowest.as_secs() < 5, "{:?}", outcome.slowest);
    // The same seed gives the same.
    let (one, two) = (run(5000, 2), run(5000, 2));
    assert_eq!((one.rows, one.flows), (two.rows, two.flows));
}
