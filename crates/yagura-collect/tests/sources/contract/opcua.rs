//! A counter of asyncua. A server acknowledges nothing that it says; what it did not say is told.

use std::path::Path;

use serde_json::{Value, json};
use yagura_event::Kind;

use super::{ALL, Fault, Promise, Subject};
use crate::peers::{Network, Peer, python};
use crate::rig::{Row, free_port};

/// A server that counts. Another one in its place goes on with greater numbers.
pub struct Server {
    port: u16,
    begin: u64,
    network: Network,
    peer: Option<Peer>,
}

impl Server {
    pub fn new(_folder: &Path) -> Self {
        let port = free_port();
        Server { port, begin: 0, network: Network::before(port), peer: None }
    }
}

impl Subject for Server {
    fn settings(&self) -> Value {
        json!({
            "name": "ua", "kind": "opcua", "endpoint": format!("opc.tcp://127.0.0.1:{}/", self.network.port),
            "security": "None", "sampling": "10ms", "publishing": "100ms", "queue_size": 1000, "batch": "50ms",
            "browse": {"include": ["Objects/Tool/Count"], "rate": 100_000},
        })
    }

    fn faults(&self) -> &'static [Fault] {
        ALL
    }

    fn promise(&self) -> Promise {
        Promise::Told
    }

    fn speak(&mut self) {
        let settings = json!({"port": self.port, "tick": 0.01, "begin": self.begin});
        self.begin += 100_000;
        let mut peer = Peer::start(python("opcua.py").arg(settings.to_string()));
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
        let is = row.kind == Kind::Sample && row.text("signal").ends_with("Count");
        is.then(|| row.number("value")).flatten().map(|value| value as u64)
    }
}
