//! What a power cut leaves: a snapshot that is not whole, and a log without what was never
//! acknowledged.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use yagura_detect::snapshot;
use yagura_kafka::{KafkaLog, KafkaOptions};
use yagura_log::{Log, partition_of};
use yagura_testkit::kafka::Broker;

use crate::measure::{Plant, Random, build_library, kill, replay_agrees, sleep, times};
use crate::{command, embedded, run_to_the_end, start};

/// Bytes of a segment file's own header, which is safe before the file has its name.
const SEGMENT_HEADER: u64 = 40;

#[test]
fn torn_snapshots_on_the_embedded_log() {
    let plant = Plant::get();
    let faults = times(8, 50);
    let config = plant.configure("torn", &format!("pace: {}", 3000 / faults));
    let (stderr, mut random) = (plant.path("torn/stderr"), Random::new(0x2026_1126));
    for _ in 0..faults {
        let mut child = start(&config, &stderr);
        sleep(random.wait(1200, 2500));
        kill(&mut child, &stderr);
        for file in last_segments(&plant.path("torn/data/log/topics/yagura.snapshots")) {
            let size = size(&file);
            cut(&file, SEGMENT_HEADER + random.below(size - SEGMENT_HEADER + 1));
        }
    }
    run_to_the_end(&config);
    plant.compare("torn-embedded", faults, &embedded(&plant.path("torn"))).assert_exact();
    replay_agrees(&config);
}

#[test]
fn torn_snapshots_on_kafka() {
    let plant = Plant::get();
    let broker = Broker::start().expect("a broker");
    let faults = times(4, 30);
    let log = format!("log: {{ kafka: {{ brokers: '{}', instance_id: yagura-1 }} }}", broker.address());
    let config = plant.configure("torn-kafka", &format!("pace: {}\n{log}", 1600 / faults));
    let (stderr, mut random) = (plant.path("torn-kafka/stderr"), Random::new(0x2026_1127));
    let kafka = KafkaLog::connect(KafkaOptions::new(broker.address())).expect("the broker answers");
    for _ in 0..faults {
        let mut child = start(&config, &stderr);
        sleep(random.wait(1500, 4000));
        kill(&mut child, &stderr);
        // A generation of every cell that covers all there is, whose last chunk never came.
        let mut appender = kafka.appender(snapshot::TOPIC).expect("an appender");
        for cell in plant.cells() {
            let events = partition_of(cell.as_bytes(), 4);
            let next = kafka.held("yagura.events", events).expect("held").end;
            let mut chunks = snapshot::records(&cell, next, &vec![7; 1_200_000], 1);
            assert_eq!(chunks.len(), 3);
            chunks.truncate(1 + random.below(2) as usize);
            chunks.into_iter().for_each(|chunk| appender.append(chunk).expect("appends"));
        }
        appender.flush().expect("durable");
    }
    run_to_the_end(&config);
    plant.compare("torn-kafka", faults, &kafka).assert_exact();
    replay_agrees(&config);
}

/// The run's syncs are noted and made slow; after each kill every file of the log loses some or all
/// of what no sync had covered.
#[test]
fn what_was_not_acknowledged_is_lost() {
    let plant = Plant::get();
    let faults = times(10, 100);
    let config = plant.configure("unsynced", &format!("pace: {}", 3000 / faults));
    let library = build_library("synced", &plant.path("unsynced"));
    let (stderr, mut random) = (plant.path("unsynced/stderr"), Random::new(0x2026_1128));
    let synced = plant.path("unsynced/synced");
    let mut lost = 0;
    for _ in 0..faults {
        let mut child = command(&["run", "--config", &config.display().to_string()])
            .env("LD_PRELOAD", &library)
            .env("YAGURA_SYNCED", &synced)
            .stdout(std::process::Stdio::null())
            .stderr(std::fs::OpenOptions::new().create(true).append(true).open(&stderr).expect("a file"))
            .spawn()
            .expect("yagura starts");
        sleep(random.wait(700, 2200));
        kill(&mut child, &stderr);
        let durable = durable_bytes(&synced);
        for topic in std::fs::read_dir(plant.path("unsynced/data/log/topics")).expect("topics") {
            for file in last_segments(&topic.expect("a topic").path()) {
                let (size, inode) = (size(&file), std::fs::metadata(&file).expect("a file").ino());
                let safe = durable.get(&inode).copied().unwrap_or(0).max(SEGMENT_HEADER).min(size);
                let kept = safe + random.below(size - safe + 1);
                lost += size - kept;
                cut(&file, kept);
                if random.below(2) == 0 {
                    // Blocks that were assigned and never written.
                    cut(&file, size);
                }
            }
        }
    }
    assert!(lost > 0, "no kill came between a write and its sync");
    run_to_the_end(&config);
    plant.compare("unsynced", faults, &embedded(&plant.path("unsynced"))).assert_exact();
    replay_agrees(&config);
}

/// The newest segment file of each partition of a topic.
fn last_segments(topic: &Path) -> Vec<PathBuf> {
    let folders = std::fs::read_dir(topic).into_iter().flatten().flatten();
    let newest = |folder: std::fs::DirEntry| {
        let files = std::fs::read_dir(folder.path()).into_iter().flatten().flatten();
        let logs = files.map(|file| file.path()).filter(|path| path.extension().is_some_and(|e| e == "log"));
        logs.max()
    };
    folders.filter_map(newest).collect()
}

fn size(file: &Path) -> u64 {
    std::fs::metadata(file).expect("a file").len()
}

/// Sets a file's length.
fn cut(file: &Path, size: u64) {
    let open = std::fs::OpenOptions::new().write(true).open(file);
    open.and_then(|file| file.set_len(size)).expect("it is cut");
}

/// By inode, the bytes that the last sync covered.
fn durable_bytes(notes: &Path) -> BTreeMap<u64, u64> {
    let text = std::fs::read_to_string(notes).expect("notes of syncs");
    let numbers = text.lines().filter_map(|line| {
        let (inode, size) = line.split_once(' ')?;
        Some((inode.parse().ok()?, size.parse().ok()?))
    });
    numbers.collect()
}
