//! Three brokers, of which two must have a record: leaders are killed in turn, and nothing is lost
//! or alerted twice.

use yagura_kafka::{KafkaLog, KafkaOptions};
use yagura_testkit::kafka::Cluster;

use crate::measure::{Plant, Random, replay_agrees, said, sleep, times};
use crate::start_until_done;

#[test]
fn leaders_are_killed_under_load() {
    let plant = Plant::get();
    let mut cluster = Cluster::start().expect("three brokers");
    let wanted = times(2, 20);
    // A broker takes some fifteen seconds to die, come back and catch up.
    let log = format!("log: {{ kafka: {{ brokers: '{}', instance_id: yagura-1 }} }}", cluster.address());
    let config = plant.configure("leaders", &format!("pace: {}\n{log}", 120 / wanted));
    let stderr = plant.path("leaders/stderr");
    let mut child = start_until_done(&config, &stderr);
    let mut random = Random::new(0x2026_1124);
    sleep(random.wait(3000, 4000));
    let (mut killed, mut partition) = (0, 0);
    while killed < wanted && child.try_wait().expect("a process").is_none() {
        // Of events and of alerts in turn, whoever leads the next partition.
        let topic = ["yagura.events", "yagura.alerts"][killed as usize % 2];
        if let Some(node) = cluster.leader(topic, partition).expect("an answer") {
            cluster.kill(node).expect("it is killed");
            killed += 1;
            sleep(random.wait(500, 4000));
            cluster.restart(node).expect("it is back");
        }
        partition = (partition + 1) % 4;
        sleep(random.wait(100, 1500));
    }
    let ended = child.wait().expect("it ended");
    assert!(ended.success(), "{}", said(&stderr));
    assert!(killed * 2 >= wanted, "{killed} of {wanted} while it ran");
    let log = KafkaLog::connect(KafkaOptions::new(cluster.address())).expect("the brokers answer");
    plant.compare("leaders", killed, &log).assert_exact();
    replay_agrees(&config);
}
