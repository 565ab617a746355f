//! A register of pymodbus that counts how often it was read: each answer that the device gave is a row, or it is told.

use std::path::Path;

use serde_json::{Value, json};
use yagura_event::Kind;

use super::{ALL, Fault, Promise, Subject};
use crate::peers::{Network, Peer, python};
use crate::rig::{Row, free_port};

/// A device. Another one in its place goes on with greater numbers.
pub struct Device {
    port: u16,
    begin: u16,
    network: Network,
    peer: Option<Peer>,
}

impl Device {
    pub fn new(_folder: &Path) -> Self {
        let port = free_port();
        Device { port, begin: 0, network: Network::before(port), peer: None }
    }
}

impl Subject for Device {
    fn settings(&self) -> Value {
        json!({
            "name": "plc", "kind": "modbus", "timeout": "400ms", "batch": "20ms", "max_requests_per_second": 100,
            "devices": [{
                "name": "pump-3", "address": format!("127.0.0.1:{}", self.network.port), "unit_id": 1, "every": "20ms",
                "base": "zero", "map": [{"name": "reads", "register": 400, "kind": "holding"}],
            }],
        })
    }

    fn faults(&self) -> &'static [Fault] {
        ALL
    }

    fn promise(&self) -> Promise {
        Promise::Told
    }

    fn speak(&mut self) {
        let arguments = [self.port.to_string(), "0".into(), self.begin.to_string()];
        self.begin += 10_000;
        let mut peer = Peer::start(python("modbus.py").args(arguments));
        peer.wait_for("ready");
        self.peer = Some(peer);
    }

    fn hush(&mut self) {
        self.peer = None;
    }

    fn cut(&self) {
        self.network.cut();
    }

    fn taken(&self) -> Vec<u64> {
        Vec::new()
    }

    fn number(&self, row: &Row) -> Option<u64> {
        let is = row.kind == Kind::Sample && row.text("signal").ends_with("reads");
        is.then(|| row.number("value")).flatten().map(|value| value as u64)
    }
}
