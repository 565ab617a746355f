//! More partitions: cells move, each with its state.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use yagura_detect::shelf::Texts;
use yagura_detect::worker::{self, ALERTS, EVENTS, LATE, Progress};
use yagura_detect::{Pipeline, Shelf, snapshot};
use yagura_event::clock::SECOND;
use yagura_event::{Encoding, Envelope, Kind};
use yagura_kafka::{KafkaLog, KafkaOptions};
use yagura_log::{Log, Record};
use yagura_sql::SqlCompiler;
use yagura_testkit::kafka::Broker;

use crate::{alerts_of, text};

const TOPICS: [&str; 4] = [EVENTS, ALERTS, LATE, snapshot::TOPIC];
const CELLS: [&str; 6] = ["bay-1", "bay-2", "bay-3", "bay-4", "bay-5", "bay-6"];

fn pipeline() -> Arc<Pipeline> {
    let text = "version: 1
detections:
  - { id: third, title: T, queue: security, severity: low, on: message, by: [client], quiet: 0s,
      window: { within: 1h, at_least: 3 }, summary: '{seen}', then: Look. }
";
    let read = Shelf::new(SqlCompiler::default()).read(Texts::one("p.yaml", text));
    read.unwrap_or_else(|errors| panic!("{}", errors[0]))
}

fn message(cell: &str, row: u64) -> Record {
    let at = row as i64 * SECOND;
    let envelope = Envelope {
        kind: Kind::Message,
        version: 1,
        cell: cell.into(),
        collector: "tap".into(),
        epoch: 1,
        first_row: row,
        rows: 1,
        observed: (at, at),
        promise: at,
        encoding: Encoding::Json,
        origin: None,
        places: Vec::new(),
    };
    let value = serde_json::json!({"time": at, "observed": at, "client": "A"}).to_string();
    let key = cell.as_bytes().to_vec().into();
    Record { key, header: envelope.to_header().into(), value: value.into() }
}

fn append(log: &dyn Log, records: impl IntoIterator<Item = Record>) {
    let mut appender = log.appender(EVENTS).expect("an appender");
    records.into_iter().for_each(|record| appender.append(record).expect("appends"));
    appender.flush().expect("durable");
}

/// Runs a worker until all is judged.
fn judge_all(log: &dyn Log) {
    let (stop, progress, pipeline) = (AtomicBool::new(false), Progress::default(), pipeline());
    std::thread::scope(|scope| {
        let worker =
            scope.spawn(|| worker::run(log, &pipeline, &worker::Options::default(), &stop, &progress));
        let level = || {
            let done = progress.done();
            (0..log.partitions(EVENTS).expect("partitions"))
                .all(|p| done.get(&p) == Some(&log.held(EVENTS, p).expect("held").end))
        };
        crate::wait_for("all is judged", || worker.is_finished() || level());
        stop.store(true, Ordering::Release);
        worker.join().expect("no panic").expect("no error");
    });
}

#[test]
fn more_partitions_take_cells_with_their_state() {
    let broker = Broker::start().expect("a broker");
    let connect = || KafkaLog::connect(KafkaOptions::new(broker.address())).expect("the broker answers");
    let log = connect();
    for topic in TOPICS {
        log.ensure_topic(topic, 1).expect("a topic");
    }
    append(&log, CELLS.iter().flat_map(|cell| [message(cell, 0), message(cell, 1)]));
    judge_all(&log);
    assert!(alerts_of(&log).is_empty());
    // The third of one cell still waits in the old partition when the number changes.
    append(&log, [message("bay-1", 2), message("bay-4", 2)]);
    for topic in TOPICS {
        let arguments =
            ["--bootstrap-server", &broker.address(), "--alter", "--topic", topic, "--partitions", "4"];
        let out = broker.java("org.apache.kafka.tools.TopicCommand", &arguments).output().expect("java");
        assert!(out.status.success(), "{}", text(&out.stderr));
    }
    let log = connect();
    append(&log, CELLS.iter().filter(|cell| !["bay-1", "bay-4"].contains(cell)).map(|cell| message(cell, 2)));
    for _ in 0..2 {
        judge_all(&log);
        let found = alerts_of(&log);
        let cells: BTreeMap<&str, u64> = found.values().map(|a| (a.cell.as_str(), a.sequence)).collect();
        assert_eq!(cells, CELLS.iter().map(|cell| (*cell, 0)).collect());
        assert_eq!(found.len(), CELLS.len(), "each once");
    }
    // The window goes on where it was.
    append(&log, CELLS.iter().map(|cell| message(cell, 3)));
    judge_all(&log);
    assert_eq!(alerts_of(&log).len(), CELLS.len());
    append(&log, CELLS.iter().map(|cell| message(cell, 7_200)));
    append(&log, CELLS.iter().flat_map(|cell| [message(cell, 7_201), message(cell, 7_202)]));
    judge_all(&log);
    assert_eq!(alerts_of(&log).len(), 2 * CELLS.len());
}
