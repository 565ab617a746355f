use std::sync::Arc;

use proptest::prelude::*;
use yagura_event::Kind;
use yagura_event::rows::OwnedRow;

use super::super::payload::build::{bytes, metric, payload, varint};
use super::*;

const NOW: Micros = 1_700_000_000_000_000;
const STAMP: u64 = 1_699_999_999_000;

struct Plant {
    sparkplug: Sparkplug,
    signals: Signals,
    told: Complaints,
    now: Micros,
}

impl Plant {
    fn new() -> Self {
        Self::limited(Limits { nodes: 10, devices: 10, metrics: 100 })
    }

    fn limited(limits: Limits) -> Self {
        Plant {
            sparkplug: Sparkplug::new(limits, 1),
            signals: Signals::new("c", &Arc::default()),
            told: Complaints::default(),
            now: NOW,
        }
    }

    fn send(&mut self, topic: &str, payload: &[u8]) -> Vec<OwnedRow> {
        self.now += SECOND / 20;
        let mut rows = Vec::new();
        let (signals, told) = (&mut self.signals, &self.told);
        let mut out = Out { signals, told, rows: &mut rows, now: self.now };
        self.sparkplug.message(0, &Message::new(topic, payload), &mut out);
        self.told.finish("c", self.now, &mut rows);
        rows
    }

    /// A node with a device, each with two metrics.
    fn born(&mut self) {
        self.send("spBv1.0/G/NBIRTH/N", &node_birth(7));
        self.send("spBv1.0/G/DBIRTH/N/D", &device_birth(1));
    }
}

fn node_birth(number: u64) -> Vec<u8> {
    payload(
        STAMP,
        Some(0),
        &[metric("bdSeq", 0, 8, number as f64), metric("load", 1, 10, 0.5), metric("count", 2, 3, 4.0)],
    )
}

fn device_birth(seq: u64) -> Vec<u8> {
    payload(STAMP, Some(seq), &[metric("pressure", 10, 10, 1.5), metric("far", 1 << 40, 3, -1.0)])
}

fn data(seq: u64, alias: u64, value: f64) -> Vec<u8> {
    let mut body = Vec::new();
    varint(&mut body, 2, alias);
    super::super::payload::build::double(&mut body, 13, value);
    payload(STAMP + seq, Some(seq), &[body])
}

fn values(rows: &[OwnedRow]) -> Vec<(&str, f64, f64)> {
    let samples = rows.iter().filter(|row| row.kind == Kind::Sample);
    samples
        .map(|row| {
            let value = row.number("value").unwrap_or(f64::NAN);
            (row.text("signal"), value, row.number("quality").expect("a quality"))
        })
        .collect()
}

fn coverage_of(rows: &[OwnedRow]) -> Vec<(&str, &str, u64)> {
    let rows = rows.iter().filter(|row| row.kind == Kind::Coverage);
    rows.map(|row| (row.text("event"), row.text("subject"), row.number("count").expect("a count") as u64))
        .collect()
}

#[test]
fn births_name_what_data_brings_by_alias() {
    let mut plant = Plant::new();
    let rows = plant.send("spBv1.0/G/NBIRTH/N", &node_birth(7));
    assert_eq!(values(&rows), [("G/N/load", 0.5, 0.0), ("G/N/count", 4.0, 0.0)]);
    assert_eq!(coverage_of(&rows), [("start", "G/N", 1)]);
    let rows = plant.send("spBv1.0/G/DBIRTH/N/D", &device_birth(1));
    assert_eq!(values(&rows), [("G/N/D/pressure", 1.5, 0.0), ("G/N/D/far", -1.0, 0.0)]);
    assert_eq!(rows.iter().find(|row| row.kind == Kind::Sample).expect("a sample").text("tool"), "D");
    let rows = plant.send("spBv1.0/G/DDATA/N/D", &data(2, 10, 2.5));
    assert_eq!(values(&rows), [("G/N/D/pressure", 2.5, 0.0)]);
    assert_eq!(rows[0].number("time"), Some((STAMP + 2) as f64 * 1000.0));
    // A value that is not of its type is uncertain, and told.
    let rows = plant.send("spBv1.0/G/DDATA/N/D", &data(3, 1 << 40, 9.5));
    assert_eq!(values(&rows), [("G/N/D/far", 9.5, 1.0)]);
    assert_eq!(coverage_of(&rows), [("malformed", "G/N/D", 1)]);
    let rows = plant.send("spBv1.0/G/NDATA/N", &data(4, 99, 1.0));
    assert_eq!(coverage_of(&rows), [("unknown", "G/N", 1)]);
}

#[test]
fn holes_are_gaps_and_what_comes_again_is_left_out() {
    let mut plant = Plant::new();
    plant.born();
    for seq in 2..5 {
        assert_eq!(values(&plant.send("spBv1.0/G/NDATA/N", &data(seq, 1, 1.0))).len(), 1);
    }
    for (topic, again) in [
        ("spBv1.0/G/NBIRTH/N", node_birth(7)),
        ("spBv1.0/G/DBIRTH/N/D", device_birth(1)),
        ("spBv1.0/G/NDATA/N", data(3, 1, 1.0)),
        ("spBv1.0/G/NDATA/N", data(4, 1, 1.0)),
    ] {
        let rows = plant.send(topic, &again);
        assert_eq!((values(&rows), coverage_of(&rows)), (vec![], vec![("repeated", "G/N", 1)]), "{topic}");
    }
    let rows = plant.send("spBv1.0/G/DDATA/N/D", &data(8, 10, 3.0));
    assert_eq!(values(&rows).len(), 1);
    assert_eq!(coverage_of(&rows), [("gap", "G/N", 3)]);
    for seq in 9..600 {
        let rows = plant.send("spBv1.0/G/NDATA/N", &data(seq % 256, 1, seq as f64));
        assert_eq!((values(&rows).len(), coverage_of(&rows)), (1, vec![]), "{seq}");
    }
}

#[test]
fn a_death_holds_for_its_own_birth_alone() {
    let mut plant = Plant::new();
    plant.born();
    let death = |number: f64| payload(STAMP, None, &[metric("bdSeq", 0, 8, number)]);
    assert_eq!(coverage_of(&plant.send("spBv1.0/G/NDEATH/N", &death(6.0))), [("unknown", "G/N", 1)]);
    assert_eq!(values(&plant.send("spBv1.0/G/NDATA/N", &data(2, 1, 1.0))).len(), 1);
    assert_eq!(coverage_of(&plant.send("spBv1.0/G/NDEATH/N", &death(7.0))), [("down", "G/N", 1)]);
    let rows = plant.send("spBv1.0/G/DDATA/N/D", &data(3, 10, 1.0));
    assert_eq!((values(&rows), coverage_of(&rows)), (vec![], vec![("unknown", "G/N/D", 1)]));
    let rows = plant.send("spBv1.0/G/NBIRTH/N", &node_birth(8));
    assert_eq!(coverage_of(&rows), [("gap", "G/N", 1)]);
    assert_eq!(values(&plant.send("spBv1.0/G/NDATA/N", &data(1, 2, 1.0))).len(), 1);
    // The device has no birth since.
    assert!(values(&plant.send("spBv1.0/G/DDATA/N/D", &data(2, 10, 1.0))).is_empty());
    plant.send("spBv1.0/G/DBIRTH/N/D", &device_birth(3));
    let rows = plant.send("spBv1.0/G/DDEATH/N/D", &payload(STAMP, Some(4), &[]));
    assert_eq!(coverage_of(&rows), [("down", "G/N/D", 1)]);
}

#[test]
fn a_birth_that_may_have_been_missed_leaves_doubt() {
    let mut plant = Plant::new();
    plant.born();
    let quality = |plant: &mut Plant, seq| values(&plant.send("spBv1.0/G/NDATA/N", &data(seq, 1, 1.0)))[0].2;
    plant.sparkplug.interrupted(0, true);
    assert_eq!(quality(&mut plant, 2), 0.0, "the number follows: nothing was missed");
    plant.sparkplug.interrupted(0, true);
    assert_eq!(quality(&mut plant, 5), 1.0);
    assert_eq!(quality(&mut plant, 6), 1.0);
    plant.send("spBv1.0/G/NBIRTH/N", &node_birth(8));
    assert_eq!(quality(&mut plant, 1), 0.0);
}

#[test]
fn births_of_an_earlier_run_explain_aliases() {
    let mut plant = Plant::new();
    let mut rows = Vec::<OwnedRow>::new();
    for (topic, payload) in [("spBv1.0/G/NBIRTH/N", node_birth(7)), ("spBv1.0/G/DBIRTH/N/D", device_birth(1))]
    {
        let (signals, told) = (&mut plant.signals, &plant.told);
        let mut out = Out { signals, told, rows: &mut rows, now: NOW };
        plant.sparkplug.restore(0, &Message::new(topic, &payload), &mut out);
    }
    let rows = plant.send("spBv1.0/G/DDATA/N/D", &data(77, 10, 2.0));
    assert_eq!((values(&rows), coverage_of(&rows)), (vec![("G/N/D/pressure", 2.0, 0.0)], vec![]));
}

#[test]
fn identity_units_nulls_and_odd_types() {
    let mut plant = Plant::new();
    let text = |name: &str, value: &str| {
        let mut out = Vec::new();
        bytes(&mut out, 1, name.as_bytes());
        varint(&mut out, 4, 12);
        bytes(&mut out, 15, value.as_bytes());
        out
    };
    let mut null = metric("empty", 3, 0, 0.0);
    null.truncate(null.len() - 9);
    varint(&mut null, 4, 10);
    varint(&mut null, 7, 1);
    let mut template = metric("shape", 4, 0, 0.0);
    template.truncate(template.len() - 9);
    varint(&mut template, 4, 19);
    bytes(&mut template, 18, b"");
    let mut united = metric("pressure", 5, 10, 1.0);
    let (mut set, mut unit) = (Vec::new(), Vec::new());
    bytes(&mut unit, 8, b"Pa");
    bytes(&mut set, 1, b"engUnit");
    bytes(&mut set, 2, &unit);
    bytes(&mut united, 9, &set);
    let birth = payload(
        STAMP,
        Some(0),
        &[
            text("Properties/Hardware Make", "Maker"),
            text("Properties/FW", "1.2"),
            text("Recipe", "R7"),
            null,
            template,
            united,
        ],
    );
    let rows = plant.send("spBv1.0/G/NBIRTH/N", &birth);
    let identity = rows.iter().find(|row| row.kind == Kind::Identity).expect("an identity");
    let said = ["tool", "protocol", "vendor", "firmware", "name"].map(|column| identity.text(column));
    assert_eq!(said, ["N", "sparkplug", "Maker", "1.2", "G/N"]);
    assert_eq!(values(&rows)[0].2, 2.0, "a null is bad");
    let pressure = rows.iter().find(|row| row.text("signal") == "G/N/pressure").expect("a sample");
    assert_eq!(pressure.text("unit"), "Pa");
    assert!(rows.iter().any(|row| row.kind == Kind::Context && row.text("value") == "R7"));
    let odd = rows.iter().find(|row| row.text("event") == "unknown").expect("told");
    assert!(odd.text("detail").contains("shape of type Template"), "{odd:?}");
}

#[test]
fn what_comes_from_outside_is_bounded() {
    let mut plant = Plant::limited(Limits { nodes: 1, devices: 1, metrics: 3 });
    plant.born();
    assert_eq!(coverage_of(&plant.send("spBv1.0/G/NBIRTH/O", &node_birth(1))), [("drop", "G/O", 1)]);
    let rows = plant.send("spBv1.0/G/DBIRTH/N/E", &device_birth(2));
    assert_eq!(coverage_of(&rows), [("drop", "G/N/E", 1)]);
    assert_eq!(plant.sparkplug.metrics, 3);
    for topic in ["spBv1.0/G", "spBv1.0/G/XDATA/N", "a", "spBv1.0/G/NDATA/N/D", "spBv1.0/G/NDATA/N/D/E"] {
        assert_eq!(coverage_of(&plant.send(topic, b"")), [("unknown", "c", 1)], "{topic}");
    }
    let rows = plant.send("spBv1.0/G/NDATA/N", &[0x12, 0xff]);
    assert_eq!(coverage_of(&rows), [("malformed", "G/N", 1)]);
}

#[test]
fn hosts_and_commands_are_told() {
    let mut plant = Plant::new();
    plant.born();
    let rows = plant.send("spBv1.0/STATE/scada", br#"{"online":true,"timestamp":1699999999000}"#);
    assert_eq!((rows[0].text("category"), rows[0].text("event")), ("state", "online"));
    let rows = plant.send("spBv1.0/G/DCMD/N/D", &payload(STAMP, None, &[metric("setpoint", 1, 10, 5.0)]));
    assert_eq!((rows[0].text("event"), rows[0].text("description")), ("DCMD", "setpoint = 5"));
    // A node's clock that is wrong.
    let ahead = payload(STAMP + 3_600_000, Some(2), &[]);
    assert_eq!(coverage_of(&plant.send("spBv1.0/G/NDATA/N", &ahead)), [("skew", "G/N", 1)]);
}

proptest! {
    #[test]
    fn damaged_messages_leave_the_next_birth_whole(
        damage in proptest::collection::vec((0usize..6, 0usize..100, any::<u8>(), 0usize..100), 1..20),
    ) {
        let mut plant = Plant::new();
        plant.born();
        for (what, at, byte, cut) in damage {
            let (topic, mut bytes) = match what {
                0 => ("spBv1.0/G/NBIRTH/N", node_birth(9)),
                1 => ("spBv1.0/G/DBIRTH/N/D", device_birth(3)),
                2 => ("spBv1.0/G/NDATA/N", data(4, 1, 1.0)),
                3 => ("spBv1.0/G/DDATA/N/D", data(5, 10, 1.0)),
                4 => ("spBv1.0/G/NDEATH/N", node_birth(9)),
                _ => ("spBv1.0/G/NCMD/N", node_birth(9)),
            };
            let length = bytes.len();
            bytes[at % length] = byte;
            bytes.truncate(length - cut % length);
            plant.send(topic, &bytes);
        }
        plant.now += 2 * SECOND;
        plant.send("spBv1.0/G/NBIRTH/N", &node_birth(77));
        let rows = plant.send("spBv1.0/G/NDATA/N", &data(1, 1, 8.5));
        prop_assert_eq!(values(&rows), vec![("G/N/load", 8.5, 0.0)]);
    }
}
