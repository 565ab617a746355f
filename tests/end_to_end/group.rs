//! Detectors that share a plant: members come, are killed, and stand still for longer than their
//! group waits. One that wakes up after its cells went to others must not say anything twice.

use std::path::PathBuf;
use std::process::Child;
use std::time::Duration;

use yagura_kafka::{KafkaLog, KafkaOptions};
use yagura_testkit::kafka::Broker;

use crate::measure::{
    Plant, Random, ended_well, kill, long, pause, replay_agrees, said, signal, sleep, times,
};
use crate::start;

/// What a member says when it finds that it stood still.
const STOOD: &str = "this process stood still for so long";

struct Member {
    config: PathBuf,
    stderr: PathBuf,
    child: Child,
}

impl Member {
    fn start(plant: &Plant, name: &str, config: PathBuf) -> Self {
        let stderr = plant.path(name).join("stderr");
        let child = start(&config, &stderr);
        Member { config, stderr, child }
    }

    fn kill(&mut self) {
        kill(&mut self.child, &self.stderr);
    }

    fn restart(&mut self) {
        self.child = start(&self.config, &self.stderr);
    }
}

#[test]
fn members_come_are_killed_and_stand_still() {
    let plant = Plant::get();
    let broker = Broker::start().expect("a broker");
    // Standing still for ten minutes is longer than the customary session; so is the short form
    // with a session of four seconds.
    let still = Duration::from_secs(pause(7, 600).into());
    let settings = if still > Duration::from_secs(60) {
        String::new()
    } else {
        "settings: { session.timeout.ms: '4000', heartbeat.interval.ms: '800' }".to_owned()
    };
    let (rounds, between) = (times(2, 6), if long() { 30_000 } else { 2500 });
    // Standing still as often as being killed; the plant runs on all the while.
    let lasts = rounds * (still.as_secs() as u32 + between as u32 / 500) + 10;
    let pace = f64::from(2400 / lasts.max(1)).max(0.5);
    let log = |id: &str| {
        let id = if id.is_empty() { String::new() } else { format!("instance_id: {id}, ") };
        format!("log: {{ kafka: {{ brokers: '{}', {id}{settings} }} }}", broker.address())
    };
    // The first one collects. The last one is no static member.
    let mut members = vec![
        Member::start(&plant, "first", plant.configure("first", &format!("pace: {pace}\n{}", log("first")))),
        Member::start(&plant, "second", plant.configure_member("second", &log("second"))),
    ];
    let mut random = Random::new(0x2026_1125);
    sleep(Duration::from_secs(4));
    members.push(Member::start(&plant, "third", plant.configure_member("third", &log(""))));
    for round in 0..rounds as usize {
        sleep(random.wait(between / 2, between));
        let stands = 1 + round % 2;
        signal(&members[stands].child, "STOP");
        // While one stands still, another dies and comes back.
        let dies = (stands + 1 + round / 2) % 3;
        let dies = if dies == stands { 0 } else { dies };
        let before = random.wait(0, still.as_millis() as u64 / 2);
        sleep(before);
        members[dies].kill();
        let away = random.wait(0, 2000);
        sleep(away);
        members[dies].restart();
        sleep(still.saturating_sub(before + away));
        signal(&members[stands].child, "CONT");
    }
    let kafka = KafkaLog::connect(KafkaOptions::new(broker.address())).expect("the broker answers");
    plant.wait_for_all(&kafka, 120 + 2 * lasts);
    // Whoever wakes up late and writes again does so by now.
    sleep(Duration::from_secs(5));
    for member in &mut members {
        assert!(member.child.try_wait().expect("a process").is_none(), "{}", said(&member.stderr));
        signal(&member.child, "TERM");
    }
    for member in &mut members {
        ended_well(&mut member.child, &member.stderr);
    }
    plant.compare("group", 2 * rounds, &kafka).assert_exact();
    replay_agrees(&members[0].config);
    let stood = |member: &&Member| std::fs::read_to_string(&member.stderr).is_ok_and(|t| t.contains(STOOD));
    assert!(members[1..].iter().any(|member| stood(&member)), "nobody noticed that it stood still");
}
