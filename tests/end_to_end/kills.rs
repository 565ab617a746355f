//! `kill -9` at random points: nothing is lost, nothing is alerted twice.

use std::path::Path;
use std::time::Duration;

use yagura_kafka::{KafkaLog, KafkaOptions};
use yagura_log::Log;
use yagura_testkit::kafka::Broker;

use crate::{alerts_of, configure, embedded, folder, rows_of, run_to_the_end, scene, start, text, yagura};

#[test]
fn killed_at_twenty_points_on_the_embedded_log() {
    let folder = folder();
    let (whole, killed) = (folder.path().join("whole"), folder.path().join("killed"));
    let scene = scene(folder.path());
    run_to_the_end(&configure(&whole, &scene, ""));
    let config = configure(&killed, &scene, "pace: 1600");
    kill_twenty_times(&config, &killed.join("stderr"), 1500);
    run_to_the_end(&config);
    same(&embedded(&whole), &embedded(&killed));
    replay_agrees(&config);
}

#[test]
fn killed_at_twenty_points_on_kafka() {
    let folder = folder();
    let whole = folder.path().join("whole");
    let scene = scene(folder.path());
    run_to_the_end(&configure(&whole, &scene, ""));
    let broker = Broker::start().expect("a broker");
    let killed = folder.path().join("killed");
    let more =
        format!("pace: 800\nlog: {{ kafka: {{ brokers: '{}', instance_id: yagura-1 }} }}", broker.address());
    let config = configure(&killed, &scene, &more);
    kill_twenty_times(&config, &killed.join("stderr"), 3000);
    run_to_the_end(&config);
    let log = KafkaLog::connect(KafkaOptions::new(broker.address())).expect("the broker answers");
    same(&embedded(&whole), &log);
    replay_agrees(&config);
}

/// Starts a run and kills it after a random time, twenty times.
fn kill_twenty_times(config: &Path, stderr: &Path, longest_ms: u64) {
    let mut random = 0x2026_1123_u64;
    for _ in 0..20 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let wait = Duration::from_millis(40 + (random >> 33) % longest_ms);
        let mut child = start(config, stderr);
        std::thread::park_timeout(wait);
        let ended = child.try_wait().expect("a process");
        assert!(
            ended.is_none(),
            "it ended by itself: {}",
            std::fs::read_to_string(stderr).unwrap_or_default()
        );
        child.kill().expect("it is killed");
        child.wait().expect("it ended");
    }
}

/// The log of an interrupted run holds the rows and the alerts of one that was not.
fn same(whole: &dyn Log, killed: &dyn Log) {
    let (sent, held) = (rows_of(whole), rows_of(killed));
    assert_eq!(held.len(), sent.len());
    assert!(held == sent, "the log does not hold what the sources sent");
    let (expected, found) = (alerts_of(whole), alerts_of(killed));
    assert!(!expected.is_empty());
    let ids =
        |alerts: &std::collections::BTreeMap<(String, u32), _>| alerts.keys().cloned().collect::<Vec<_>>();
    assert_eq!(ids(&found), ids(&expected));
    assert!(found == expected, "an alert differs");
}

fn replay_agrees(config: &Path) {
    let out = yagura(&["replay", "--check", "--format", "json", "--config", &config.display().to_string()]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    let new = text(&out.stdout).lines().filter(|line| line.contains("\"revision\":1,")).count();
    assert_eq!(new, 7, "{}", text(&out.stdout));
}
