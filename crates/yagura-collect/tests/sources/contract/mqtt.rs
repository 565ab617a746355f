//! Numbers that paho publishes through mosquitto. The broker, stopped in order, keeps its sessions.

use std::path::Path;

use serde_json::{Value, json};
use yagura_event::Kind;

use super::{ALL, Fault, Promise, Subject};
use crate::peers::{Mosquitto, Network, Peer, python};
use crate::rig::Row;

/// Numbers of one publisher, and how many a second.
const EACH: u64 = 1 << 20;
const RATE: u64 = 300;

/// mosquitto, and a publisher beside it.
pub struct Broker {
    version: u8,
    qos: u8,
    network: Network,
    broker: Mosquitto,
    publisher: Option<Peer>,
    publishers: u64,
    taken: Vec<u64>,
}

/// MQTT 5, at least once.
pub fn version_5(folder: &Path) -> Broker {
    Broker::new(folder, 5, 1)
}

/// MQTT 3.1.1, at least once.
pub fn version_3(folder: &Path) -> Broker {
    Broker::new(folder, 3, 1)
}

/// MQTT 3.1.1, exactly once.
pub fn exactly_once(folder: &Path) -> Broker {
    Broker::new(folder, 3, 2)
}

impl Broker {
    fn new(folder: &Path, version: u8, qos: u8) -> Self {
        let broker = Mosquitto::start(folder, "allow_anonymous true");
        let network = Network::before(broker.port);
        Broker { version, qos, network, broker, publisher: None, publishers: 0, taken: Vec::new() }
    }
}

impl Subject for Broker {
    fn settings(&self) -> Value {
        json!({
            "name": "line", "kind": "mqtt", "brokers": [{"address": format!("127.0.0.1:{}", self.network.port)}],
            "format": "value", "protocol": if self.version == 5 { "5" } else { "3.1.1" },
            "topics": [{"topic": "plant/#", "qos": self.qos}], "batch": "20ms",
        })
    }

    fn faults(&self) -> &'static [Fault] {
        match self.qos {
            1 => ALL,
            // paho does not get over a restart of mosquitto with QoS 2 messages on their way.
            _ => &[Fault::CollectorKilled, Fault::CollectorStopped, Fault::NetworkCut, Fault::LogRefuses],
        }
    }

    fn promise(&self) -> Promise {
        Promise::Kept
    }

    fn speak(&mut self) {
        if self.publishers > 0 {
            self.broker.run();
        }
        let first = self.publishers * EACH;
        self.publishers += 1;
        let broker = [u64::from(self.broker.port), self.version.into(), self.qos.into()];
        let numbers = broker.into_iter().chain([first, first + EACH, RATE]).map(|n| n.to_string());
        self.publisher = Some(Peer::start(python("mqtt.py").arg("numbers").args(numbers)));
    }

    fn hush(&mut self) {
        self.end();
        self.broker.stop();
    }

    fn end(&mut self) {
        if let Some(publisher) = self.publisher.take() {
            self.taken.extend(numbers(&publisher.kill()));
        }
    }

    fn cut(&self) {
        self.network.cut();
    }

    fn taken(&self) -> Vec<u64> {
        let now = self.publisher.iter().flat_map(|publisher| numbers(&publisher.said()));
        self.taken.iter().copied().chain(now).collect()
    }

    fn number(&self, row: &Row) -> Option<u64> {
        let is = row.kind == Kind::Sample && row.text("signal") == "plant/numbers";
        is.then(|| row.number("value")).flatten().map(|value| value as u64)
    }
}

fn numbers(lines: &[String]) -> Vec<u64> {
    lines.iter().filter_map(|line| line.parse().ok()).collect()
}
