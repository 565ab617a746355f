use yagura_event::Kind;

use super::*;
use crate::operators::testing::{Alone, Cell, Line, message, pipeline, row};

const BODY: &str = "
on: message
by: [client, finding]
model: { name: conversation }
summary: '{finding}: {why}'
";

/// A client that reads two things of a controller each ten seconds and writes a third now and then, for a
/// number of rounds from a second on.
fn rounds(from: i64, rounds: i64) -> Vec<Line> {
    let words = |function: &str, target: &str| {
        format!(
            "protocol=modbus client=10.0.0.1 server=10.0.0.9 session=1 operation=read function={function} target={target}"
        )
    };
    let mut lines = Vec::new();
    for round in 0..rounds {
        let second = from + 10 * round;
        lines.push(message(second, &words("read_coils", "coil0")));
        lines.push(message(second + 1, &words("read_registers", "reg1")));
        if round % 3 == 0 {
            lines.push(write(second + 2, "10.0.0.1", &format!("values=[{}]", round % 2)));
        }
    }
    lines
}

fn write(second: i64, client: &str, value: &str) -> Line {
    message(
        second,
        &format!(
            "protocol=modbus client={client} server=10.0.0.9 session=1 operation=write function=write_coil target=coil7 {value}"
        ),
    )
}

fn learned() -> Cell {
    let pipeline = pipeline(BODY).expect("a pipeline");
    let mut cell = Cell::new(&pipeline);
    assert!(cell.record("c", &rounds(0, 200), 2_000).is_empty());
    cell.record("c", &[row(2_000, Kind::Control, "action=approve subject=*")], 2_000);
    cell
}

#[test]
fn what_was_learned_is_silent_and_what_was_not_is_explained() {
    let mut cell = learned();
    assert_eq!(cell.told(&rounds(2_000, 200)), [] as [String; 0]);
    let stranger = cell.told(&[write(4_000, "10.0.0.66", "values=[1]")]);
    let peer =
        "peer: these two were not heard to speak modbus with one another in 467 messages that were learned";
    assert_eq!(stranger, [format!("4000: {peer}")]);
    let unknown = cell.record("c", &[write(4_000, "10.0.0.67", "values=[1]")], 4_000);
    assert_eq!(unknown[0].evidence["known"], "nothing of these two");
    let strange = message(
        4_001,
        "protocol=modbus client=10.0.0.1 server=10.0.0.9 session=1 operation=write function=write_coil target=coil8",
    );
    let command = "command: write_coil coil8 is new between them, after 467 messages that were learned";
    assert_eq!(cell.told(&[strange]), [format!("4001: {command}")]);
    let value = cell.told(&[write(4_012, "10.0.0.1", "values=[9]")]);
    assert_eq!(value.len(), 1);
    assert!(value[0].contains("value: what is written there is none of what was in 67 writes"), "{value:?}");
    let value = &cell.record("c", &[write(4_020, "10.0.0.1", "values=[8]")], 4_020)[0].evidence;
    assert_eq!(
        value["known"],
        "467 messages, most often read_coils coil0 (200 times), read_registers reg1 (200 times), write_coil coil7 \
         (67 times); at 00:00 to 00:59 UTC; written there: 2 different values"
    );
    assert_eq!(value["since"], "1970-01-01T01:07:00.000000Z");
}

#[test]
fn another_station_behind_the_same_address_is_another_one() {
    let mut cell = learned();
    let (second, kind, mut columns) = rounds(4_000, 1).remove(0);
    columns.insert("session", "2".into());
    let told = cell.told(&[(second, kind, columns)]);
    assert_eq!(told.len(), 1);
    assert!(told[0].starts_with("4000: command: read_coils coil0"), "{told:?}");
}

#[test]
fn restarted_at_any_time_it_goes_on_the_same() {
    let pipeline = pipeline(BODY).expect("a pipeline");
    let mut lines = rounds(2_000, 20);
    lines.push(write(2_201, "10.0.0.66", "values=[1]"));
    lines.extend(rounds(2_210, 3));
    lines.push(write(2_245, "10.0.0.1", "values=[7]"));
    let told = |restarts: bool| {
        let mut cell = learned();
        let mut told = Vec::new();
        for line in &lines {
            if restarts {
                cell.restart(&pipeline);
            }
            told.extend(cell.told(std::slice::from_ref(line)));
        }
        (told, cell.shard.save()())
    };
    let (through, restarted) = (told(false), told(true));
    assert!(!through.0.is_empty());
    assert_eq!(through, restarted);
    // Before anything is approved, too.
    let mut alone = Alone::new(&pipeline);
    alone.record(&rounds(0, 5), 100);
    alone.restart();
}

#[test]
fn findings_are_chosen_and_complaints_are_at_their_place() {
    let only = BODY.replace("name: conversation", "name: conversation, findings: [value]");
    let mut cell = Cell::new(&pipeline(&only).expect("a pipeline"));
    cell.record("c", &rounds(0, 200), 2_000);
    cell.record("c", &[row(2_000, Kind::Control, "action=approve subject=*")], 2_000);
    assert_eq!(cell.told(&[write(4_000, "10.0.0.66", "values=[1]")]), [] as [String; 0]);

    let wrong = |from: &str, to: &str| match pipeline(&BODY.replace(from, to)) {
        Ok(_) => "it was taken".to_string(),
        Err(errors) => errors.iter().map(|e| format!("{}\n", e.message)).collect(),
    };
    assert_eq!(
        wrong("name: conversation", "name: conversation, findings: [stuck]"),
        "`stuck` is no finding; there are: peer, command, value, sequence, rhythm, rate, mix\n"
    );
    assert!(wrong("on: message", "on: log").contains("write `on: message` or `on: flow`"));
    let parameters = wrong("name: conversation", "name: conversation, parameters: { novelty: 3 }");
    assert!(parameters.starts_with("parameters of `conversation`: unknown field `novelty`"), "{parameters}");
    assert_eq!(
        wrong("name: conversation", "name: talk"),
        "`talk` is no model; there are: guard, group, series, repeat, steps, conversation\n"
    );
}

#[test]
fn connections_have_conversations_too() {
    let body = BODY.replace("on: message", "on: flow");
    let mut cell = Cell::new(&pipeline(&body).expect("a pipeline"));
    let flow = |second: i64, client: &str| {
        row(second, Kind::Flow, &format!("transport=tcp client={client} server=10.0.0.9 protocol=modbus"))
    };
    let lines: Vec<Line> = (0..100).map(|n| flow(n, "10.0.0.1")).collect();
    cell.record("c", &lines, 100);
    cell.record("c", &[row(100, Kind::Control, "action=approve subject=*")], 100);
    let told = cell.told(&[flow(101, "10.0.0.1"), flow(102, "10.0.0.66")]);
    assert_eq!(told.len(), 1);
    assert!(told[0].starts_with("102: peer"), "{told:?}");
}

#[test]
fn numbers_are_bounded_and_the_approved_stay() {
    let mut numbers = Numbers::default();
    for hash in 0..10 {
        assert_eq!(numbers.number(hash, 8).0, if hash < 8 { hash as u32 } else { hash as u32 - 8 });
    }
    assert_eq!((numbers.hashes.len(), numbers.left), (8, 2));
    numbers.approved = 8;
    for hash in 100..100 + 3 * CANDIDATES_MAX as u64 {
        assert!(numbers.number(hash, 8).1);
    }
    assert_eq!(numbers.hashes.len(), 8 + CANDIDATES_MAX);
    for hash in 2..10 {
        assert!(!numbers.number(hash, 8).1, "{hash} was approved");
    }
}
