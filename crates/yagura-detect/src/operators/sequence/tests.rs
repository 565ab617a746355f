use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::BooleanArray;
use proptest::prelude::*;
use yagura_event::Kind;

use crate::Pipeline;
use crate::alerts::Hit;
use crate::operators::testing::{Alone, Cell, Line, message, pipeline, row};

const WRITE_STOP: &str = "
on: message
by: [server]
summary: '{first.client} {first.target} {client} {target}'
sequence:
  within: 10s
  steps:
    - where: operation = 'write'
    - where: operation = 'stop'";

const STOP_NO_START: &str = "
on: message
by: [server]
summary: '{client} {target}'
sequence:
  within: 10s
  steps:
    - where: operation = 'stop'
    - not: operation = 'start'";

fn checked(body: &str) -> Arc<Pipeline> {
    pipeline(body).unwrap_or_else(|errors| panic!("{}", errors[0]))
}

fn told(body: &str, lines: &[Line]) -> Vec<String> {
    Cell::new(&checked(body)).told(lines)
}

#[test]
fn one_thing_follows_another_in_time_and_by_key() {
    let lines = [
        message(0, "server=A operation=write client=x"),
        message(1, "server=B operation=stop client=y"),
        message(2, "server=A operation=read client=z"),
        message(10, "server=A operation=stop client=y"),
        message(10, "server=A operation=stop client=y"),
        message(20, "server=A operation=write client=x"),
        message(31, "server=A operation=stop client=y"),
        message(40, "server=A operation=stop client=y"),
        message(41, "server=A operation=write client=x"),
    ];
    assert_eq!(told(WRITE_STOP, &lines), ["10: x – y –"], "ten seconds are within, eleven are not");
}

#[test]
fn of_several_beginnings_the_last_counts_and_a_row_is_used_once() {
    let lines = [
        message(0, "server=A operation=write client=old"),
        message(9, "server=A operation=write client=new"),
        message(19, "server=A operation=stop client=y"),
        message(19, "server=A operation=stop client=z"),
    ];
    assert_eq!(told(WRITE_STOP, &lines), ["19: new – y –"]);
}

#[test]
fn times_count_rows_of_a_step_within_the_whole() {
    let body = "
on: message
by: [server]
summary: '{client}'
sequence:
  within: 10s
  steps:
    - { where: \"operation = 'refused'\", times: 3 }
    - { where: \"operation = 'accepted'\", times: 2 }";
    let refused = |at| message(at, "server=A operation=refused client=r");
    let accepted = |at| message(at, "server=A operation=accepted client=a");
    assert_eq!(told(body, &[refused(0), refused(1), accepted(2), accepted(3)]), [""; 0]);
    assert_eq!(told(body, &[refused(0), refused(1), refused(2), accepted(3), accepted(4)]), ["4: a"]);
    // The last three are near enough, the first three are not.
    let late = [refused(0), refused(5), refused(6), refused(7), accepted(14), accepted(15)];
    assert_eq!(told(body, &late), ["15: a"]);
    let too_late = [refused(0), refused(5), refused(6), refused(7), accepted(14), accepted(16)];
    assert_eq!(told(body, &too_late), [""; 0]);
    // What begins anew does not take away what had gone on.
    let mixed = [refused(0), refused(0), refused(0), accepted(1), refused(2), accepted(3)];
    assert_eq!(told(body, &mixed), ["3: a"]);
}

#[test]
fn what_must_not_come_between_breaks_it() {
    let body = "
on: message
by: [server]
summary: '{client} {first.client} {second.client}'
sequence:
  within: 10s
  steps:
    - where: operation = 'write'
    - not: operation = 'release'
    - where: operation = 'select'
    - where: operation = 'start'
      within: 2s";
    let of =
        |at, operation: &str| message(at, &format!("server=A client={operation}{at} operation={operation}"));
    assert_eq!(
        told(body, &[of(0, "write"), of(1, "select"), of(2, "release"), of(3, "start")]),
        ["3: start3 write0 select1"],
        "only before the step that it stands before"
    );
    assert_eq!(told(body, &[of(0, "write"), of(1, "release"), of(2, "select"), of(3, "start")]), [""; 0]);
    assert_eq!(
        told(body, &[of(0, "write"), of(1, "release"), of(2, "write"), of(3, "select"), of(4, "start")]),
        ["4: start4 write2 select3"]
    );
    assert_eq!(told(body, &[of(0, "write"), of(1, "select"), of(4, "start")]), [""; 0], "its own time");
    assert_eq!(
        told(body, &[of(0, "write"), of(1, "select"), of(3, "select"), of(5, "start")]),
        ["5: start5 write0 select3"],
        "the later of two fits"
    );
}

#[test]
fn what_does_not_follow_is_told_when_the_time_has_passed() {
    let of = |at, operation: &str| message(at, &format!("server=A client=c{at} operation={operation}"));
    let mut cell = Cell::new(&checked(STOP_NO_START));
    assert_eq!(cell.told(&[of(0, "stop"), of(5, "stop"), of(10, "x")]), [""; 0]);
    let alerts = cell.record("c", &[of(11, "x")], 11);
    assert_eq!(alerts.len(), 1, "a stop that is repeated puts nothing off");
    assert_eq!(alerts[0].summary, "c0 –");
    assert_eq!((alerts[0].cause.row, alerts[0].cause.collector.as_str(), alerts[0].time), (0, "c", 0));
    assert_eq!(alerts[0].key["server"], "A");
    assert_eq!(cell.told(&[of(40, "x")]), [""; 0], "told once");
    assert_eq!(cell.told(&[of(50, "stop"), of(60, "start"), of(80, "x")]), [""; 0], "at the last moment");
    assert_eq!(cell.told(&[of(100, "stop"), of(111, "start"), of(112, "x")]), ["111: c100 –"]);
}

#[test]
fn silence_of_all_judges_nothing_and_heartbeats_do() {
    let pipeline = checked(STOP_NO_START);
    let stop = [message(0, "server=A operation=stop client=c")];
    let tick = |subject: &str, at| row(at, Kind::Control, &format!("action=tick subject={subject}"));
    let mut cell = Cell::new(&pipeline);
    cell.record("c", &stop, 0);
    assert!(cell.record("yagura.owner", &[tick("c", 60)], i64::MAX).is_empty(), "all are silent");
    assert!(cell.record("c", &[], 60).is_empty(), "it is back");
    assert_eq!(cell.record("c", &[], 61).len(), 1, "and saw nothing until now");
    let mut cell = Cell::new(&pipeline);
    cell.record("c", &stop, 0);
    assert!(cell.record("d", &[], 300).is_empty(), "the first collector is waited for");
    assert_eq!(cell.record("yagura.owner", &[tick("c", 60)], i64::MAX).len(), 1, "until it is silent");
    let mut cell = Cell::new(&pipeline);
    cell.record("c", &stop, 0);
    assert_eq!(cell.record("c", &[], 11).len(), 1, "a heartbeat is enough");
    let mut cell = Cell::new(&pipeline);
    cell.record("c", &stop, 0);
    assert!(cell.record("c", &[], i64::MAX).is_empty(), "the end of a recording is no time that passed");
}

#[test]
fn a_collector_that_crashed_does_not_hold_the_time() {
    let mut cell = Cell::new(&checked(STOP_NO_START));
    cell.record("c", &[message(0, "server=A operation=stop client=c")], 0);
    cell.new_epoch();
    assert!(cell.record("c", &[], 9).is_empty());
    assert_eq!(cell.record("c", &[], 11).len(), 1, "its last promise was of another epoch");
}

#[test]
fn columns_are_compared_with_the_first_step() {
    let body = "
on: message
by: [server]
summary: '{first.client} {client} {target}'
sequence:
  within: 10s
  steps:
    - where: operation = 'write'
    - where: operation = 'start'
      same: [target]
      differ: [client]";
    let of = |at, operation: &str, client: &str, target: &str| {
        message(at, &format!("server=A operation={operation} client={client} target={target}"))
    };
    let lines = [
        of(0, "write", "x", "R1"),
        of(1, "write", "y", "R2"),
        of(2, "start", "x", "R1"),
        of(3, "start", "y", "R3"),
        of(4, "start", "z", "R1"),
        of(5, "start", "z", "R1"),
        of(6, "start", "z", "R2"),
    ];
    assert_eq!(told(body, &lines), ["4: x z R1", "6: y z R2"]);
    let many: Vec<Line> = (0..200).map(|n| of(1, "write", "x", &format!("R{n}"))).collect();
    let mut cell = Cell::new(&checked(body));
    cell.told(&many);
    let (_, state) = cell.shard.learning().next().expect("a detection");
    assert_eq!((state.keys, state.refused), (64, 136), "the oldest of a key leave");
    assert_eq!(cell.told(&[of(2, "start", "z", "R0"), of(2, "start", "z", "R199")]), ["2: x z R199"]);
}

#[test]
fn steps_may_be_of_other_kinds_and_name_their_keys() {
    let body = "
on: message
by: [client]
summary: '{first.user} at {first.tool}: {function} of {client}'
sequence:
  within: 10s
  steps:
    - on: log
      by: [tool]
      where: event = 'login'
    - where: operation = 'write'
    - not: event = 'ticket'
      on: log
      by: [tool]
      within: 5s";
    let login = row(0, Kind::Log, "tool=jump event=login user=eve");
    let write = message(3, "client=jump server=A operation=write function=fc6");
    let later = message(9, "client=x server=A operation=read");
    let alerts = told(body, &[login.clone(), write.clone(), later.clone()]);
    assert_eq!(alerts, ["9: eve at jump: fc6 of jump"], "five seconds after the write");
    let ticket = row(8, Kind::Log, "tool=jump event=ticket user=eve");
    assert_eq!(told(body, &[login, write, ticket, later]), [""; 0]);
}

#[test]
fn late_rows_follow_what_they_were_observed_after() {
    let stop = |at| message(at, "server=A operation=stop client=y");
    let write = |at| message(at, "server=A operation=write client=x");
    let mut cell = Cell::new(&checked(WRITE_STOP));
    cell.record("c", &[write(100)], 100);
    assert!(cell.record("d", &[stop(99)], 99).is_empty(), "observed before");
    assert_eq!(cell.record("d", &[stop(101)], 101).len(), 1);
    // A spool that arrives hours later hides nothing.
    let mut cell = Cell::new(&checked(WRITE_STOP));
    cell.record("c", &[message(9_000, "server=B operation=read")], 9_000);
    assert_eq!(cell.record("d", &[write(100)], 100).len(), 0);
    let alerts = cell.record("d", &[stop(105)], 105);
    assert_eq!((alerts.len(), alerts[0].late), (1, false), "the watermark waited for it");
}

#[test]
fn state_is_bounded_and_the_oldest_leave() {
    let rules = super::Rules {
        within: 1_000_000,
        comes: vec![
            super::matches::Comes { step: 0, times: 1, within: None },
            super::matches::Comes { step: 1, times: 1, within: None },
        ],
        guards: vec![0, 0, 0],
        quiet: None,
    };
    let mut matches = super::Matches::new(rules, 100);
    for key in 0..1_000 {
        assert!(matches.take(key, &Seen(key as i64, 1)).is_none());
        assert!(matches.len() <= 100);
    }
    assert_eq!(matches.len() as u64 + matches.left(), 1_000);
    assert!(matches.take(0, &Seen(2_000, 2)).is_none(), "left long ago");
    assert!(matches.take(999, &Seen(2_000, 2)).is_some());
    let saved = matches.save()();
    assert!(saved.len() < 100 * 64, "{}", saved.len());
}

/// A row without columns: its time and the steps that select it.
struct Seen(i64, u32);

impl super::Row for Seen {
    fn observed(&self) -> i64 {
        self.0
    }
    fn steps(&self) -> u32 {
        self.1
    }
    fn agrees(&self, _: usize, _: &[u64]) -> bool {
        true
    }
    fn bound(&self, _: &mut Vec<u64>) {}
    fn pack(&self, take: impl FnOnce(&[u8])) {
        take(&[]);
    }
    fn ending(&self) -> super::Ending {
        unreachable!("nothing is waited for")
    }
}

#[test]
fn an_unknown_answer_of_a_condition_selects_nothing() {
    let mask: BooleanArray = vec![Some(true), None, Some(false), Some(true)].into();
    assert_eq!(super::holding(&mask).set_indices().collect::<Vec<_>>(), [0, 3]);
    assert_eq!(super::holding(&mask.slice(1, 3)).set_indices().collect::<Vec<_>>(), [2]);
}

#[test]
fn rows_that_were_judged_before_are_passed_over() {
    let pipeline = checked(WRITE_STOP);
    let mut cell = Cell::new(&pipeline);
    let write = message(0, "server=A operation=write client=x");
    let stop = message(1, "server=A operation=stop client=y");
    cell.record("c", &[write.clone(), stop.clone()], 1);
    cell.again("c", 2);
    let alerts = cell.record("c", &[write, stop, message(2, "server=A operation=stop client=z")], 2);
    assert!(alerts.is_empty(), "the first two are old, and what began is used up");
}

#[test]
fn mistakes_are_told_with_their_place() {
    let complaint = |steps: &str| {
        let body = format!(
            "on: message\nby: [server]\nsummary: '{{client}}'\nsequence:\n  within: 10s\n  steps:\n{steps}"
        );
        match pipeline(&body) {
            Ok(_) => panic!("{steps} was accepted"),
            Err(errors) => errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
        }
    };
    let write = "    - where: operation = 'write'\n";
    for (steps, expected) in [
        (write.to_string(), "it.yaml:13:7: a sequence has 2 to 8 steps, not 1"),
        (
            format!("    - not: operation = 'x'\n{write}"),
            "it.yaml:15:16: a sequence begins with something that comes",
        ),
        (
            format!("{write}    - same: [client]\n"),
            "16:11: a step has either `where:` (it must come) or `not:`",
        ),
        (format!("{write}    - where: colour = 'red'\n"), "16:18: where: `colour = 'red'` is not understood"),
        (format!("{write}    - not: colour = 'red'\n"), "16:16: not: `colour = 'red'`"),
        (format!("{write}{write}      times: 0\n"), "17:18: `times` is between 1 and 1000, not 0"),
        (
            format!("{write}    - not: operation = 'x'\n      times: 2\n"),
            "17:18: `times` counts what must come",
        ),
        (format!("{write}{write}      within: soon\n"), "17:19: `soon` is no duration; write 90s"),
        (
            format!("{write}      within: 5s\n{write}"),
            "16:19: `within` of a step is the time from the step before",
        ),
        (
            format!("{write}    - not: operation = 'x'\n      within: 5s\n{write}"),
            "17:19: only the last `not:` has a time",
        ),
        (format!("{write}      same: [client]\n{write}"), "16:18: the first step has nothing before it"),
        (
            format!("{write}{write}      same: [colour]\n"),
            "17:18: `colour` is no column of message; there are: time",
        ),
        (
            format!("{write}    - where: subject = 'x'\n      on: coverage\n"),
            "17:15: coverage has no column `server`",
        ),
        (
            format!("{write}    - where: tool = 'x'\n      on: sample\n"),
            "17:15: `sample` is no kind of record with names; there are: message, flow",
        ),
        (
            format!("{write}{write}      by: [client, tool]\n"),
            "17:16: the detection is `by` 1 columns (server)",
        ),
        (format!("{write}{write}      tmes: 3\n"), "tmes"),
    ] {
        let found = complaint(&steps);
        assert!(found.contains(expected), "{steps}\n{found}\nwanted: {expected}");
    }
    let summary = |text: &str| match pipeline(
        &WRITE_STOP.replace("{first.client} {first.target} {client} {target}", text),
    ) {
        Ok(_) => panic!("{text} was accepted"),
        Err(errors) => errors[0].to_string(),
    };
    assert!(summary("{colour}").contains("`colour` is no column of message"));
    assert!(summary("{second.client}").contains("`second` is no step before the last row; there are: first"));
    assert!(summary("{first.colour}").contains("`colour` is no column of message"));
    let both = format!("where: operation = 'x'\n{}", WRITE_STOP.trim_start());
    assert!(pipeline(&both).is_err_and(|e| e[0].message.contains("a condition of its own")));
}

#[test]
fn the_fingerprint_is_of_all_that_decides() {
    let print = |body: &str| checked(body).detections[0].fingerprint;
    let changes = [
        ("10s", "11s"),
        ("'stop'", "'halt'"),
        ("- where: operation = 'stop'", "- not: operation = 'stop'"),
        ("- where: operation = 'stop'", "- where: operation = 'stop'\n      times: 2"),
        ("- where: operation = 'stop'", "- where: operation = 'stop'\n      within: 5s"),
        ("- where: operation = 'stop'", "- where: operation = 'stop'\n      same: [client]"),
        ("- where: operation = 'stop'", "- where: operation = 'stop'\n      differ: [client]"),
        ("- where: operation = 'stop'", "- where: operation = 'stop'\n      by: [client]"),
        ("- where: operation = 'stop'", "- where: tool = 'stop'\n      on: identity\n      by: [tool]"),
    ];
    let mut prints: BTreeSet<u64> = changes
        .iter()
        .map(|(from, to)| {
            let body = WRITE_STOP.replace(from, to).replace("{client} {target}", "").replace("{first.", "{");
            print(&body.replace("'{client} {target} '", "x"))
        })
        .collect();
    prints.insert(print(WRITE_STOP));
    assert_eq!(prints.len(), changes.len() + 1);
    assert_eq!(print(WRITE_STOP), print(&format!("\n{WRITE_STOP}")), "the place in the file does not");
}

#[test]
fn all_at_once_is_hit_too() {
    let of = |at, operation: &str, client: &str| {
        message(at, &format!("server=s operation={operation} client={client}"))
    };
    let lines = [
        of(0, "a", "x"),
        of(1, "a", "x"),
        of(2, "b", "x"),
        of(3, "c", "y"),
        of(4, "c", "x"),
        of(5, "c", "z"),
        of(10, "r", "x"),
    ];
    assert_eq!(told(EVERYTHING, &lines), ["10: x x z"]);
}

#[test]
fn rows_that_are_gathered_count_after_the_first_of_them_is_over() {
    let of = |at, operation: &str, client: &str| {
        message(at, &format!("server=s operation={operation} client={client}"))
    };
    let lines = [
        of(0, "a", "x"),
        of(11, "a", "x"),
        // The row of 0 is over; those of 11 and 13 are two within the time.
        of(13, "a", "x"),
        of(13, "b", "x"),
        of(13, "c", "y"),
        of(13, "c", "y"),
    ];
    for size in [1, lines.len()] {
        let hits = judged(EVERYTHING, &lines, &[size], usize::MAX);
        assert_eq!(hits.iter().map(|hit| hit.cause.row).collect::<Vec<_>>(), [5], "records of {size}");
    }
}

/// All that a detection can have at once.
const EVERYTHING: &str = "
on: message
by: [server]
summary: '{first.client} {second.client} {client}'
sequence:
  within: 12s
  steps:
    - { where: \"operation = 'a'\", times: 2 }
    - { not: \"operation = 'n'\", same: [client] }
    - { where: \"operation = 'b'\", same: [client], within: 6s }
    - { where: \"operation = 'c'\", differ: [client], times: 2 }
    - { not: \"operation = 'd'\", within: 4s }";

fn rows() -> impl Strategy<Value = Vec<Line>> {
    let step = (0_i64..3, prop::sample::select(vec!["a", "b", "c", "d", "n"]), 0..2_u8, 0..2_u8);
    prop::collection::vec(step, 1..120).prop_map(|steps| {
        let mut at = 0;
        let of = |(after, operation, server, client): (i64, &str, u8, u8)| {
            at += after;
            message(at, &format!("operation={operation} server=s{server} client=c{client}"))
        };
        steps.into_iter().map(of).collect()
    })
}

/// What is hit, whatever the order within a record.
fn facts(hits: Vec<Hit>) -> BTreeSet<(u64, String)> {
    hits.into_iter().map(|hit| (hit.cause.row, format!("{:?} {:?}", hit.key, hit.evidence))).collect()
}

/// The rows in records of these sizes, promising what is true; after `restart_at` records the
/// operator begins again from its saved state.
fn judged(body: &str, lines: &[Line], sizes: &[usize], restart_at: usize) -> Vec<Hit> {
    let mut operator = Alone::new(&checked(body));
    let (mut hits, mut rest, mut sizes) = (Vec::new(), lines, sizes.iter().cycle().enumerate());
    while !rest.is_empty() {
        let (number, &size) = sizes.next().expect("a cycle");
        if number == restart_at {
            operator.restart();
        }
        let (record, after) = rest.split_at(size.min(rest.len()));
        let promise = after.first().map_or(record[record.len() - 1].0 + 100, |next| next.0);
        hits.extend(operator.record(record, promise));
        rest = after;
    }
    hits
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_splitting_into_records_gives_the_same_hits(
        lines in rows(),
        sizes in prop::collection::vec(1_usize..30, 1..10),
        restart_at in 0_usize..20,
    ) {
        for body in [EVERYTHING, WRITE_STOP_AB, STOP_NO_START_AD] {
            let one_by_one = facts(judged(body, &lines, &[1], usize::MAX));
            prop_assert_eq!(&facts(judged(body, &lines, &[lines.len()], usize::MAX)), &one_by_one);
            let in_order = judged(body, &lines, &sizes, usize::MAX);
            let begun_again = judged(body, &lines, &sizes, restart_at);
            prop_assert_eq!(format!("{begun_again:?}"), format!("{in_order:?}"), "begun again");
            prop_assert_eq!(&facts(in_order), &one_by_one);
        }
    }

    /// Two steps, by key and time, against the definition itself.
    #[test]
    fn a_row_is_told_if_a_beginning_fits_it(lines in rows()) {
        let of = |line: &Line, operation: &str| line.2["operation"] == operation;
        let mut used = BTreeSet::new();
        let mut expected = BTreeSet::new();
        for (end, line) in lines.iter().enumerate().filter(|(_, line)| of(line, "b")) {
            let begin = lines[..end].iter().enumerate().rev()
                .find(|(_, first)| of(first, "a") && first.2["server"] == line.2["server"]);
            if let Some((begin, first)) = begin
                && line.0 - first.0 <= 5
                && used.insert(begin)
            {
                expected.insert(end as u64);
            }
        }
        let found: BTreeSet<u64> = judged(WRITE_STOP_AB, &lines, &[7], usize::MAX).iter().map(|hit| hit.cause.row).collect();
        prop_assert_eq!(found, expected);
    }
}

const WRITE_STOP_AB: &str = "
on: message
by: [server]
summary: '{first.client} {client}'
sequence:
  within: 5s
  steps:
    - where: operation = 'a'
    - where: operation = 'b'";

const STOP_NO_START_AD: &str = "
on: message
by: [server]
summary: '{client}'
sequence:
  within: 5s
  steps:
    - where: operation = 'a'
    - not: operation = 'd'";
