use std::sync::Arc;

use yagura_event::Kind;

use crate::Pipeline;
use crate::operators::testing::{Cell, Line, message, pipeline, row};

const LEARNED: &str = "
on: message
where: operation = 'report'
by: [tool]
summary: '{tool} {client} {last_seen} {returned}'
absence: { every: 10s }";

const LISTED: &str = "
on: message
where: operation = 'report'
by: [tool]
summary: '{tool} {client}'
absence: { every: 10s, expect: [A, B] }";

fn checked(body: &str) -> Arc<Pipeline> {
    pipeline(body).unwrap_or_else(|errors| panic!("{}", errors[0]))
}

fn report(at: i64, tool: &str) -> Line {
    message(at, &format!("operation=report tool={tool} client=c{at}"))
}

fn control(at: i64, columns: &str) -> Line {
    row(at, Kind::Control, columns)
}

#[test]
fn listed_keys_are_told_once_until_they_return() {
    let mut cell = Cell::new(&checked(LISTED));
    let other = |at| message(at, "operation=read tool=A client=x");
    assert_eq!(cell.told(&[report(0, "A"), report(3, "X"), other(5), other(10)]), [""; 0]);
    let alerts = cell.record("c", &[other(11)], 11);
    assert_eq!(alerts.len(), 1);
    assert_eq!((alerts[0].summary.as_str(), alerts[0].cause.row, alerts[0].time), ("A c0", 0, 0));
    assert_eq!(cell.told(&[other(40), other(80)]), [""; 0], "told once; B was never here");
    assert_eq!(cell.told(&[report(90, "A"), report(95, "A"), report(100, "B"), other(105)]), [""; 0]);
    assert_eq!(cell.told(&[other(106), other(111)]), ["106: A c95", "111: B c100"]);
    assert_eq!(cell.shard.learning().next().map(|(_, l)| l.keys), Some(2), "X is not on the list");
}

#[test]
fn learned_keys_are_those_that_came_regularly_until_the_approval() {
    let mut cell = Cell::new(&checked(LEARNED));
    let mut lines: Vec<Line> = (0..10).map(|n| report(n * 5, "REGULAR")).collect();
    lines.extend([report(45, "GUEST"), report(46, "GONE"), report(60, "GUEST"), report(60, "REGULAR")]);
    lines.extend([message(65, "operation=x"), control(65, "action=approve subject=*")]);
    assert_eq!(cell.told(&lines), [""; 0], "what is learned is not judged");
    assert_eq!(
        cell.told(&[report(66, "LATER"), message(200, "operation=x")]),
        [""; 0],
        "none was regular to the end"
    );

    let mut cell = Cell::new(&checked(LEARNED));
    let mut lines: Vec<Line> = (0..10).map(|n| report(n * 5, "REGULAR")).collect();
    lines.extend([report(46, "GUEST"), report(47, "GUEST"), control(48, "action=approve subject=it")]);
    lines.extend([report(50, "NEW"), report(53, "GUEST"), message(56, "operation=x")]);
    let told = cell.told(&lines);
    assert_eq!(told, ["56: REGULAR c45 1970-01-01T00:00:45.000000Z –"]);
    let told = cell.told(&[report(60, "REGULAR"), message(64, "operation=x"), message(71, "operation=x")]);
    assert_eq!(
        told,
        [
            "64: GUEST c53 1970-01-01T00:00:53.000000Z –",
            "71: REGULAR c60 1970-01-01T00:01:00.000000Z 1970-01-01T00:01:00.000000Z"
        ]
    );
    let release = "action=release subject=it payload={\"tool\":\"NEW\"}";
    let told = cell.told(&[control(80, release), report(81, "NEW"), message(92, "operation=x")]);
    assert_eq!(told, ["92: NEW c81 1970-01-01T00:01:21.000000Z –"]);
}

#[test]
fn a_silent_collector_is_not_waited_for_and_the_silence_of_all_is_no_absence() {
    let tick = control(60, "action=tick subject=c");
    let mut cell = Cell::new(&checked(LISTED));
    cell.record("c", &[report(0, "A")], 0);
    assert!(cell.record("d", &[], 300).is_empty());
    assert_eq!(cell.record("yagura.owner", std::slice::from_ref(&tick), i64::MAX).len(), 1);
    let mut cell = Cell::new(&checked(LISTED));
    cell.record("c", &[report(0, "A")], 0);
    assert!(cell.record("yagura.owner", &[tick], i64::MAX).is_empty());
}

#[test]
fn a_saved_state_goes_on_as_the_other_would() {
    for body in [LISTED, LEARNED] {
        let pipeline = checked(body);
        let lines: Vec<Line> = (0..60)
            .map(|n| match n {
                20 => control(n * 2, "action=approve subject=*"),
                _ => report(n * 2, ["A", "B", "C"][(n * n / 9 % 3) as usize]),
            })
            .collect();
        let whole = Cell::new(&pipeline).told(&lines);
        assert!(!whole.is_empty());
        for at in 0..lines.len() {
            let mut cell = Cell::new(&pipeline);
            let mut told = cell.told(&lines[..at]);
            cell.restart(&pipeline);
            told.extend(cell.told(&lines[at..]));
            assert_eq!(told, whole, "begun again at {at}");
        }
    }
}

#[test]
fn records_of_any_size_tell_the_same() {
    let lines: Vec<Line> = (0..300).map(|n| report(n, ["A", "B", "C"][(n / 14 % 3) as usize])).collect();
    let facts = |size: usize| {
        let mut cell = Cell::new(&checked(LISTED));
        let mut facts: Vec<String> = Vec::new();
        for chunk in lines.chunks(size) {
            let promise = chunk[chunk.len() - 1].0 + 1;
            facts.extend(
                cell.record("c", chunk, promise).iter().map(|a| format!("{} {}", a.cause.row, a.summary)),
            );
        }
        facts.sort();
        facts
    };
    assert!(facts(1).len() > 5);
    // A record longer than the silence does not hide it: its rows are judged by their own times.
    assert_eq!(facts(1), facts(7));
    assert_eq!(facts(1), facts(60));
}

#[test]
fn samples_have_the_keys_of_their_series() {
    let body = "
on: sample
where: source = 'trace'
by: [tool, chamber]
summary: '{tool} {chamber} {signal}'
absence: { every: 10s }";
    let mut cell = Cell::new(&checked(body));
    let series = |number: u8, tool: &str, source: &str| {
        row(0, Kind::Series, &format!("series={number} tool={tool} chamber=A signal=P source={source}"))
    };
    let sample = |at, number: u8| row(at, Kind::Sample, &format!("series={number} value=1 quality=0"));
    cell.told(&[series(1, "T1", "trace"), series(2, "T2", "trace"), series(3, "T3", "other")]);
    let mut lines: Vec<Line> = (0..20).flat_map(|at| [sample(at, 1), sample(at, 2), sample(at, 3)]).collect();
    lines.push(control(20, "action=approve subject=*"));
    lines.extend((21..40).map(|at| sample(at, 2)));
    assert_eq!(cell.told(&lines), ["30: T1 A P"]);
    cell.restart(&checked(body));
    assert_eq!(cell.told(&[sample(41, 1), sample(50, 1), sample(52, 1)]), ["50: T2 A P"]);
}

#[test]
fn mistakes_are_told_with_their_place() {
    let complaint = |body: &str| match pipeline(body) {
        Ok(_) => panic!("{body} was accepted"),
        Err(errors) => errors[0].to_string(),
    };
    let of = |by: &str, absence: &str| format!("on: message\nby: [{by}]\nsummary: x\nabsence: {absence}");
    assert!(complaint(&of("tool", "{ every: soon }")).contains("12:23: `soon` is no duration"));
    assert!(complaint(&of("", "{ every: 10s }")).contains("say with `by:` which columns"));
    assert!(complaint(&of("tool", "{ every: 10s, expect: [] }")).contains("lists at least one value"));
    assert!(
        complaint(&of("tool, client", "{ every: 10s, expect: [A] }"))
            .contains("10:16: `expect` lists values of one column")
    );
    assert!(
        complaint(&of("tool", "{ every: 10s }").replace("summary: x", "summary: '{seen}'"))
            .contains("last_seen")
    );
}
