//! Captures of other protocols: none of their messages may be taken for one of these.

use std::collections::BTreeMap;

use yagura_event::rows::{Row, RowSink};

use super::capture::{self, feed_into};
use super::harness::Protocol;

/// Captures in which we find a protocol that tshark does not name there, and why we are right:
/// folder and file, protocol, how many messages, the bytes that decide.
const DECIDED: &[(&str, &str, usize, &str)] = &[
    (
        "opcua/icsnpp-opcua-binary__open62541_client-server_mainloop-not-localhost-non-standard-port.pcap",
        "opcua",
        35,
        "The server's port is 48010. Each connection begins with HELF and a size; ICSNPP, and tshark \
         when told the port, read the same 64 services.",
    ),
    (
        "mixed/EmreEkin__Mergecap_kokteyl.pcap",
        "mqtt",
        12,
        "the capture's manifest names the most frequent protocols only: packet 857 to port 1883 is 10 25 00 06 MQIsdp",
    ),
    (
        "mqtt/ntop__coap_mqtt.pcap",
        "mqtt",
        23,
        "tshark looks on port 1883; packet 31 to port 17501 is 10 11 00 04 MQTT",
    ),
];

/// Counts the messages of each protocol.
#[derive(Default)]
struct Counts(BTreeMap<String, usize>);

impl RowSink for Counts {
    fn push(&mut self, row: Row<'_>) {
        if let Row::Message(m) = row {
            match self.0.get_mut(m.protocol) {
                Some(count) => *count += 1,
                None => {
                    self.0.insert(m.protocol.to_string(), 1);
                }
            }
        }
    }
}

/// Reads every capture; panics where messages of one of the protocols come out of a capture in
/// which tshark sees none.
pub fn run(protocols: &[Protocol]) {
    let Some(captures) = capture::folder() else {
        return;
    };
    let manifest = captures.join("MANIFEST.csv");
    let mut lines = csv::ReaderBuilder::new()
        .from_path(&manifest)
        .unwrap_or_else(|e| panic!("{}: {e}", manifest.display()));
    let (mut wrong, mut found, mut read) = (Vec::new(), BTreeMap::new(), 0);
    for line in lines.records() {
        let line = line.unwrap_or_else(|e| panic!("{}: {e}", manifest.display()));
        let (folder, file) = (&line[0], &line[1]);
        let seen = line.iter().next_back().unwrap_or_default();
        let has = |name: &str| seen.split(' ').any(|s| s.split(':').next() == Some(name));
        let mut counts = Counts::default();
        feed_into(&captures.join(folder).join(file), &mut counts);
        read += 1;
        for protocol in protocols {
            let count = counts.0.get(protocol.name).copied().unwrap_or(0);
            let name = format!("{folder}/{file}");
            let decided = DECIDED
                .iter()
                .find(|d| (d.0, d.1) == (&*name, protocol.name));
            let foreseen = decided.map_or(0, |d| d.2);
            let held = protocol.tshark.iter().any(|t| has(t));
            *found.entry(protocol.name).or_insert(0) += if held { count } else { 0 };
            if !held && count != foreseen {
                wrong.push(format!(
                    "{name}: {count} messages of {}, not {foreseen}",
                    protocol.name
                ));
            }
        }
    }
    assert!(read > 100, "{read} captures in {}", manifest.display());
    assert!(found.values().all(|count| *count > 0), "{found:?}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
