//! Records of foreign topics; their log is in memory here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arrow::array::{Array, ArrayRef, Float64Array, RecordBatch, StringArray, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::ipc::writer::StreamWriter;
use serde_json::{Value, json};
use yagura_event::{Asset, AssetTable, Kind};

use crate::foreign::{Elsewhere, Foreign};
use crate::rig::Rig;

/// A plant that can read somebody else's log.
fn beside(foreign: &Arc<Foreign>) -> Rig {
    let asset = |name: &str, cell: &str| Asset { name: name.into(), cell: cell.into(), ..Asset::default() };
    let mut rig = Rig::of(AssetTable::new(vec![asset("D1", "north"), asset("D2", "south")], "bay"));
    let foreign = Arc::clone(foreign);
    rig.plant.open_log = Arc::new(move |settings, _| {
        assert_eq!(settings["brokers"], "k:9092");
        foreign.there()?;
        Ok(Arc::new(Elsewhere(Arc::clone(&foreign))))
    });
    rig
}

/// The descriptions of all `log` rows, sorted.
fn descriptions(rig: &Rig) -> Vec<String> {
    let mut all = rig.rows().table(Kind::Log, &["description"]);
    all.sort();
    all
}

fn bridge(from: &str, topics: Value) -> Value {
    json!({"name": "bridge", "kind": "kafka", "kafka": {"brokers": "k:9092"}, "from": from, "batch": "20ms",
           "record_bytes_max": "4KiB", "topics": topics})
}

fn doors() -> Value {
    json!([{"topic": "doors", "format": {"json": {"as": "log", "columns": {
        "tool": "${door}", "category": "badge", "event": "${kafka.key}", "description": "${id}"}}}}])
}

#[test]
fn killed_anywhere_and_started_again_a_bridge_misses_nothing_and_repeats_nothing() {
    let foreign = Foreign::new(7);
    foreign.inner().ensure_topic("doors", 3).expect("a topic");
    let rig = beside(&foreign);
    let mut random = fastrand::Rng::with_seed(7);
    let (mut expected, mut id) = (Vec::new(), 0);
    let mut offsets: BTreeMap<u32, u64> = BTreeMap::new();
    let mut produce = |random: &mut fastrand::Rng| {
        let key = format!("key-{}", random.u32(..20));
        let at = offsets.entry(yagura_log::partition_of(key.as_bytes(), 3)).or_insert(0);
        let left_out = at.is_multiple_of(7);
        *at += 1;
        let left = random.u32(..5);
        let mut one = || {
            id += 1;
            if !left_out {
                expected.push(format!("{id:06}"));
            }
            json!({"door": format!("D{}", random.u32(1..4)), "id": format!("{id:06}"), "time": "2026-11-02T22:00:01Z"})
        };
        let value = match left {
            0 => one(),
            _ => Value::Array((1..left).map(|_| one()).chain([json!("no object")]).collect()),
        };
        foreign.produce("doors", &key, value.to_string());
    };
    for _ in 0..200 {
        produce(&mut random);
    }
    let (mut killed, mut rounds) = (0, 0);
    while killed < 15 {
        rounds += 1;
        assert!(rounds < 300, "only {killed} of {rounds} were killed");
        rig.mood.die_after(random.u64(1..25));
        let run = rig.collect(&bridge("start", doors()));
        for _ in 0..40 {
            produce(&mut random);
            std::thread::park_timeout(Duration::from_millis(random.u64(..4)));
        }
        run.ask_to_stop();
        killed += u32::from(run.ended().is_err());
        rig.mood.recover();
    }
    let run = rig.collect(&bridge("start", doors()));
    expected.sort();
    rig.until("all rows", || descriptions(&rig).len() >= expected.len());
    run.stop();
    let found = descriptions(&rig);
    let missing: Vec<_> = expected.iter().filter(|id| found.binary_search(id).is_err()).collect();
    assert_eq!(missing, [] as [&String; 0], "missing");
    assert_eq!(found.len(), expected.len(), "some came twice");
    assert!(rig.rows().kind(Kind::Log).all(|row| row.text("event").starts_with("key-")));
}

#[test]
fn deleted_offsets_and_topics_made_anew_are_gaps() {
    let foreign = Foreign::new(0);
    let rig = beside(&foreign);
    let door =
        |n: u32| json!({"door": "D1", "id": n.to_string(), "time": "2026-11-02T22:00:01Z"}).to_string();
    let mut run = rig.collect(&bridge("start", doors()));
    rig.until("an unknown topic is told", || rig.told("down", "doors", "there is no topic doors") == 1);
    foreign.inner().ensure_topic("doors", 1).expect("a topic");
    foreign.produce("doors", "", door(0));
    rig.until("it is read", || descriptions(&rig) == ["0"]);
    assert_eq!(rig.told("gap", "doors", "1 partitions"), 1);
    run.stop();
    // While nobody reads, half of what comes is deleted.
    (1..10).for_each(|n| foreign.produce("doors", "", door(n)));
    foreign.floor.store(5, Ordering::Relaxed);
    run = rig.collect(&bridge("start", doors()));
    rig.until("the rest is read", || descriptions(&rig) == ["0", "5", "6", "7", "8", "9"]);
    run.stop();
    let gap = |detail: &str| rig.told("gap", "doors/0", detail);
    // The one that was read last is asked for again after a start: it is safe that some cell has all of it.
    assert_eq!(
        gap("were deleted before they were read"),
        1,
        "{:#?}",
        rig.rows().table(Kind::Coverage, &["event", "subject", "detail"])
    );
    // Made anew, with fewer records: a stream of its own, from its beginning, also after a restart.
    let fresh = Foreign::empty();
    fresh.ensure_topic("doors", 1).expect("a topic");
    foreign.floor.store(0, Ordering::Relaxed);
    run = rig.collect(&bridge("start", doors()));
    *foreign.inner.lock().expect("a lock") = fresh;
    (20..22).for_each(|n| foreign.produce("doors", "", door(n)));
    rig.until("the new topic is read", || descriptions(&rig).len() == 8);
    assert_eq!(gap("the topic was made anew"), 1);
    run.stop();
    foreign.produce("doors", "", door(22));
    run = rig.collect(&bridge("start", doors()));
    rig.until("what came is read", || descriptions(&rig).len() == 9);
    // Away, and back.
    foreign.away.store(true, Ordering::Relaxed);
    rig.until("it is down", || rig.told("down", "doors/0", "it is away") == 1);
    foreign.away.store(false, Ordering::Relaxed);
    foreign.produce("doors", "", door(23));
    rig.until("it is back", || descriptions(&rig).len() == 10);
    run.stop();
    assert_eq!(descriptions(&rig), ["0", "20", "21", "22", "23", "5", "6", "7", "8", "9"]);
}

#[test]
fn what_begins_now_goes_on_where_it_began() {
    let foreign = Foreign::new(0);
    foreign.inner().ensure_topic("doors", 4).expect("a topic");
    let rig = beside(&foreign);
    let door = |n: u32| json!({"door": "D1", "id": format!("{n:03}"), "time": 1_760_000_000 + n}).to_string();
    // Some partitions have something, some have nothing.
    (0..3).for_each(|n| foreign.produce("doors", "one", door(n)));
    let run = rig.collect(&bridge("now", doors()));
    rig.until("it is read", || rig.told("start", "doors", "4 partitions") == 1);
    foreign.produce("doors", "one", door(100));
    rig.until("the first row", || descriptions(&rig) == ["100"]);
    run.stop();
    (101..140).for_each(|n| foreign.produce("doors", &n.to_string(), door(n)));
    let run = rig.collect(&bridge("now", doors()));
    rig.until("all rows", || descriptions(&rig).len() == 40);
    run.stop();
    assert!(descriptions(&rig).into_iter().eq((100..140).map(|n| n.to_string())));
}

#[test]
fn what_cannot_be_read_is_told_with_its_offset() {
    let foreign = Foreign::new(0);
    for topic in ["doors", "traces"] {
        foreign.inner().ensure_topic(topic, 1).expect("a topic");
    }
    let rig = beside(&foreign);
    let topics =
        json!([doors()[0], {"topic": "traces", "format": {"arrow": {"tool": "ETCH-07", "time": "${time}"}}}]);
    let probe = |what: &str| match rig.probe(&bridge("start", topics.clone())) {
        Ok(said) => assert!(said.contains(what), "{said}"),
        Err(error) => assert!(error.contains(what), "{error}"),
    };
    probe("doors has 1 partitions and about 0 records");
    foreign.produce("doors", "k", "{\"door\": ");
    probe("doors: the record at offset 0 cannot be read: the value is no JSON");
    foreign.produce("doors", "k", "");
    foreign.produce("doors", "k", "[1, {\"door\": \"D1\", \"id\": \"good\"}, {\"time\": \"soon\"}]");
    foreign.produce("doors", "k", " ".repeat(5000));
    foreign.produce("traces", "", "no Arrow");
    foreign.produce("traces", "", stream(&[("pressure", vec![Some(1.0)])], None));
    foreign.produce("doors", "k", "{\"door\": \"D1\", \"id\": \"last\"}");
    let run = rig.collect(&bridge("start", topics.clone()));
    rig.until("the good ones", || descriptions(&rig) == ["good", "last"]);
    for (topic, words) in [
        ("doors", "doors/0 offset 0: the value is no JSON"),
        ("doors", "doors/0 offset 2: element 0 is no JSON object"),
        ("doors", "doors/0 offset 2: element 2 has no readable time"),
        ("doors", "doors/0 offset 3: 5000 bytes are more than `record_bytes_max`"),
        ("traces", "traces/0 offset 0: "),
    ] {
        rig.until(words, || rig.told("malformed", topic, words) == 1);
    }
    run.stop();
    // The sixth of a second is counted at the next one's end only.
    let told = rig.told("malformed", "", "");
    assert!(
        (5..=6).contains(&told),
        "{:#?}",
        rig.rows().table(Kind::Coverage, &["event", "subject", "detail"])
    );
    let mut unknown = bridge("start", doors());
    unknown["topics"][0]["topic"] = json!("dors");
    let error = rig.probe(&unknown).expect_err("no such topic");
    assert!(error.contains("there is no topic dors") && error.contains("correct `topic`"), "{error}");
    foreign.away.store(true, Ordering::Relaxed);
    probe("it is away; check the address");
    let mut wrong = bridge("start", doors());
    wrong["topics"][0]["format"] = json!({"arrow": {"tool": "${a}-${b}"}});
    assert!(rig.refused(&wrong).contains("one `${COLUMN}`"));
}

/// An Arrow stream with a column of tools, of milliseconds, and of values.
fn stream(columns: &[(&str, Vec<Option<f64>>)], time: Option<i64>) -> Vec<u8> {
    let rows = columns[0].1.len();
    let tools = (0..rows).map(|row| if row % 2 == 0 { "ETCH-1" } else { "ETCH-2" });
    let mut all: Vec<(Field, ArrayRef)> =
        vec![(Field::new("tool", DataType::Utf8, false), Arc::new(StringArray::from_iter_values(tools)))];
    if let Some(time) = time {
        let times = TimestampMillisecondArray::from_iter_values((0..rows as i64).map(|row| time + row));
        all.push((Field::new("time", times.data_type().clone(), false), Arc::new(times)));
    }
    for (name, values) in columns {
        let unit = std::collections::HashMap::from([("unit".to_string(), "Pa".to_string())]);
        let field = Field::new(*name, DataType::Float64, true).with_metadata(unit);
        all.push((field, Arc::new(Float64Array::from(values.clone()))));
    }
    let (fields, arrays): (Vec<_>, Vec<_>) = all.into_iter().unzip();
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).expect("a batch");
    let mut out = Vec::new();
    let mut writer = StreamWriter::try_new(&mut out, &batch.schema()).expect("a writer");
    writer.write(&batch).expect("room");
    writer.write(&batch).expect("room");
    writer.finish().expect("an end");
    drop(writer);
    out
}

#[test]
fn arrow_is_read_in_its_wide_and_its_long_form() {
    let foreign = Foreign::new(0);
    for topic in ["wide", "long"] {
        foreign.inner().ensure_topic(topic, 1).expect("a topic");
    }
    let rig = beside(&foreign);
    let values =
        [("flow", vec![Some(1.0), Some(2.0), None]), ("power", vec![Some(10.0), Some(20.0), Some(30.0)])];
    foreign.produce("wide", "", stream(&values, Some(1_760_000_000_000)));
    foreign.produce("long", "", stream(&[("v", vec![Some(5.0), None, Some(7.0)])], None));
    let run = rig.collect(&bridge("start", json!([
        {"topic": "wide", "format": {"arrow": {"time": "${time}", "tool": "${tool}", "chamber": "A"}}},
        {"topic": "long", "format": {"arrow": {"tool": "ASH-3", "signal": "${tool}", "value": "${v}", "unit": "W"}}},
    ])));
    rig.until("all values", || rig.rows().count(Kind::Sample) == 14);
    run.stop();
    // Each batch twice.
    assert_eq!(rig.values("ETCH-1/flow"), [1.0, 1.0]);
    assert_eq!(rig.values("ETCH-2/flow"), [2.0, 2.0]);
    assert_eq!(rig.values("ETCH-1/power"), [10.0, 30.0, 10.0, 30.0]);
    assert_eq!(rig.values("ETCH-1"), [5.0, 7.0, 5.0, 7.0]);
    assert_eq!(rig.told("malformed", "", ""), 0);
    let rows = rig.rows();
    let find = |signal: &str| {
        &rows.kind(Kind::Sample).find(|row| row.text("signal") == signal).expect("a value").columns
    };
    let flow = find("ETCH-2/flow");
    assert_eq!(
        (&flow["tool"], &flow["chamber"], &flow["unit"]),
        (&json!("ETCH-2"), &json!("A"), &json!("Pa"))
    );
    assert_eq!(flow["time"], 1_760_000_000_001_000_i64);
    let long = find("ETCH-1");
    assert_eq!((&long["tool"], &long["unit"]), (&json!("ASH-3"), &json!("W")));
}
