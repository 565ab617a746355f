//! Events of an equipment of secsgem; S6F12 is the acknowledgement.

use std::path::Path;

use serde_json::{Value, json};
use yagura_event::Kind;

use super::{ALL, Fault, Promise, Subject};
use crate::peers::{Network, Peer, python};
use crate::rig::{Row, free_port};

/// A passive equipment that numbers its events, and says each until it is acknowledged.
pub struct Equipment {
    port: u16,
    network: Network,
    peer: Option<Peer>,
    taken: Vec<u64>,
}

impl Equipment {
    pub fn new(_folder: &Path) -> Self {
        let port = free_port();
        Equipment { port, network: Network::before(port), peer: None, taken: Vec::new() }
    }
}

impl Subject for Equipment {
    fn settings(&self) -> Value {
        json!({
            "name": "spare", "kind": "hsms", "exclusive_session": true, "batch": "20ms",
            "timers": {"t5": "200ms", "communication_delay": "1s"},
            "equipment": [{
                "name": "ETCH-07", "address": format!("127.0.0.1:{}", self.network.port), "device_id": 3,
                "reports": {"1000": [20, 21]},
            }],
        })
    }

    fn faults(&self) -> &'static [Fault] {
        ALL
    }

    fn promise(&self) -> Promise {
        Promise::Kept
    }

    fn speak(&mut self) {
        let first = self.taken.iter().max().map_or(0, |last| last + 1);
        let numbers = [self.port.to_string(), first.to_string(), "1.0".into()];
        let mut peer = Peer::start(python("secs.py").arg("passive").args(numbers));
        peer.wait_for("enabled");
        peer.tell("run");
        self.peer = Some(peer);
    }

    fn hush(&mut self) {
        if let Some(peer) = self.peer.take() {
            self.taken.extend(acked(&peer.kill()));
        }
    }

    fn cut(&self) {
        self.network.cut();
    }

    fn taken(&self) -> Vec<u64> {
        let now = self.peer.iter().flat_map(|peer| acked(&peer.said()));
        self.taken.iter().copied().chain(now).collect()
    }

    fn number(&self, row: &Row) -> Option<u64> {
        let is = row.kind == Kind::Sample && row.text("signal") == "VID 20";
        is.then(|| row.number("value")).flatten().map(|value| value as u64)
    }
}

fn acked(lines: &[String]) -> Vec<u64> {
    lines.iter().filter_map(|line| line.strip_prefix("acked ")?.parse().ok()).collect()
}
