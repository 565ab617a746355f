//! A wall clock that jumps while a run is under way: it neither hangs, nor loses anything, nor
//! alerts twice; and no collector is taken for silent.

use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use yagura_detect::worker::OWNER;
use yagura_event::Envelope;
use yagura_kafka::{KafkaLog, KafkaOptions};
use yagura_log::Log;
use yagura_testkit::kafka::Broker;

use crate::measure::{Plant, Random, replay_agrees, said, sleep, times};
use crate::{command, each_record, embedded};

#[test]
fn the_clock_jumps_on_the_embedded_log() {
    let plant = Plant::get();
    let jumps = times(3, 60);
    let config = plant.configure(
        "clock",
        &format!("pace: {}\narchive: {{ store: history, flush_every: 2s }}", pace(jumps)),
    );
    jump(&plant, &config, "clock", jumps);
    let log = embedded(&plant.path("clock"));
    nobody_was_silent(&log);
    plant.compare("clock-embedded", jumps, &log).assert_exact();
    replay_agrees(&config);
}

#[test]
fn the_clock_jumps_on_kafka() {
    let plant = Plant::get();
    let broker = Broker::start().expect("a broker");
    let jumps = times(2, 60);
    let log = format!("log: {{ kafka: {{ brokers: '{}' }} }}", broker.address());
    let config = plant.configure("clock-kafka", &format!("pace: {}\n{log}", pace(jumps)));
    jump(&plant, &config, "clock-kafka", jumps);
    let log = KafkaLog::connect(KafkaOptions::new(broker.address())).expect("the broker answers");
    nobody_was_silent(&log);
    plant.compare("clock-kafka", jumps, &log).assert_exact();
    replay_agrees(&config);
}

/// How fast the scene's forty minutes are played, so that they outlast the jumps, of which each takes five seconds
/// at most.
fn pace(jumps: u32) -> u32 {
    2400 / (5 * jumps + 7)
}

/// Lets a run see a clock that is set by two hours and back, both ways, until it ends.
fn jump(plant: &Plant, config: &Path, name: &str, jumps: u32) {
    let (stderr, clock) = (plant.path(name).join("stderr"), plant.path(name).join("clock"));
    std::fs::write(&clock, "+0\n").expect("a clock");
    let mut child = start_under(&clock, config, &stderr);
    let mut random = Random::new(0x2026_1129);
    for offset in ["+2h\n", "-2h\n", "+0\n"].iter().cycle().take(jumps as usize) {
        sleep(random.wait(2500, 5000));
        let ended = child.try_wait().expect("a process");
        assert!(ended.is_none(), "it ended before, {ended:?}: {}", said(&stderr));
        // As a file system replaces a file: the clock is never half set.
        let fresh = clock.with_extension("new");
        std::fs::write(&fresh, offset).and_then(|()| std::fs::rename(&fresh, &clock)).expect("a clock");
    }
    // The scene ends soon; some minutes are far less than any jump.
    for _ in 0..1200 + 30 * jumps {
        if child.try_wait().expect("a process").is_some() {
            break;
        }
        sleep(Duration::from_millis(100));
    }
    if child.try_wait().expect("a process").is_none() {
        child.kill().expect("it is killed");
        panic!("it hangs: {}", said(&stderr));
    }
    assert!(child.wait().expect("it ended").success(), "{}", said(&stderr));
}

/// No tick and no blind time: nothing was written that only a jump can have caused.
fn nobody_was_silent(log: &dyn Log) {
    each_record(log, "yagura.events", |stored| {
        let envelope = Envelope::from_header(&stored.record.header).expect("an envelope");
        assert_ne!(envelope.collector, OWNER, "{envelope:?}");
    });
    let snapshots: u64 = (0..4).map(|p| log.held("yagura.snapshots", p).expect("held").end).sum();
    assert!(snapshots > 20, "only {snapshots} snapshots: they waited for the clock to come back");
}

fn start_under(clock: &Path, config: &Path, stderr: &Path) -> Child {
    command(&["run", "--until-done", "--config", &config.display().to_string()])
        .env("LD_PRELOAD", faketime())
        .env("FAKETIME_TIMESTAMP_FILE", clock)
        .env("FAKETIME_NO_CACHE", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .stdout(std::process::Stdio::null())
        .stderr(std::fs::File::create(stderr).expect("a file"))
        .spawn()
        .expect("yagura starts")
}

/// libfaketime for programs with threads, wherever this machine's kind keeps it.
fn faketime() -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib").expect("/usr/lib").flatten();
    let found = folders.map(|f| f.path().join("faketime/libfaketimeMT.so.1")).find(|path| path.exists());
    found.expect("libfaketime; `cargo xtask setup` installs it")
}
