//! `kill -9` at random points: nothing is lost, nothing is alerted twice.

use std::path::Path;

use yagura_kafka::{KafkaLog, KafkaOptions};
use yagura_testkit::kafka::Broker;

use crate::measure::{Plant, Random, kill, replay_agrees, sleep, times};
use crate::{embedded, run_to_the_end, start};

#[test]
fn killed_at_random_points_on_the_embedded_log() {
    let plant = Plant::get();
    let kills = times(20, 100);
    let config = plant.configure("killed", &format!("pace: {}", 4000 / kills));
    kill_often(&config, kills, 2500, &plant.path("killed/stderr"));
    run_to_the_end(&config);
    plant.compare("kills-embedded", kills, &embedded(&plant.path("killed"))).assert_exact();
    replay_agrees(&config);
}

#[test]
fn killed_at_random_points_on_kafka() {
    let plant = Plant::get();
    let broker = Broker::start().expect("a broker");
    let kills = times(20, 100);
    let log = format!("log: {{ kafka: {{ brokers: '{}', instance_id: yagura-1 }} }}", broker.address());
    let config = plant.configure("killed-kafka", &format!("pace: {}\n{log}", 4000 / kills));
    kill_often(&config, kills, 3000, &plant.path("killed-kafka/stderr"));
    run_to_the_end(&config);
    let log = KafkaLog::connect(KafkaOptions::new(broker.address())).expect("the broker answers");
    plant.compare("kills-kafka", kills, &log).assert_exact();
    replay_agrees(&config);
}

/// Starts a run and kills it after a random time, again and again.
fn kill_often(config: &Path, kills: u32, longest_ms: u64, stderr: &Path) {
    let mut random = Random::new(0x2026_1123);
    for _ in 0..kills {
        let mut child = start(config, stderr);
        sleep(random.wait(40, longest_ms));
        kill(&mut child, stderr);
    }
}
