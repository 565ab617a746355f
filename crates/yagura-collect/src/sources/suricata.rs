//! Suricata's EVE logs: one JSON object a line.
//!
//! Alerts and the records of applications become `log` rows, flows become `flow` rows. Suricata counts bytes of
//! flows with all headers. Of an object only what columns need is decoded; the whole line is the detail.

use std::borrow::Cow;
use std::fmt::Write;

use serde::Deserialize;
use yagura_event::clock::Micros;
use yagura_event::rows::{FlowRow, LogRow, Row};

use crate::places::PlacedSink;
use crate::sensors::{Hosts, time_of};
use crate::source::{Opened, Opening, Settings, SourceError};
use crate::tail::{Lines, Tail, TailSettings};

/// Settings of `kind: suricata`.
#[derive(Deserialize)]
#[serde(transparent)]
pub struct SuricataSettings(TailSettings);

impl Settings for SuricataSettings {
    const KIND: &'static str = "suricata";
    const READS: &'static str = "EVE logs of Suricata, followed through rotation";

    fn open(self, at: &Opening<'_>) -> Result<Opened, SourceError> {
        let hosts = Hosts::new(&at.plant.assets);
        let tail = Tail::new(at.collector, self.0.options(at)?, Eve::new(hosts));
        Ok(Opened::Live(Box::new(tail)))
    }

    fn probe(self, at: &Opening<'_>) -> Result<String, SourceError> {
        self.0.options(at)?.probe()
    }
}

/// Understands EVE records.
struct Eve {
    hosts: Hosts,
    description: String,
    category: String,
}

/// What columns need of a record.
#[derive(Deserialize)]
struct Record<'a> {
    #[serde(borrow, default)]
    timestamp: Cow<'a, str>,
    #[serde(borrow)]
    event_type: Cow<'a, str>,
    #[serde(default)]
    flow_id: u64,
    #[serde(borrow, default)]
    src_ip: Cow<'a, str>,
    #[serde(default)]
    src_port: u16,
    #[serde(borrow, default)]
    dest_ip: Cow<'a, str>,
    #[serde(default)]
    dest_port: u16,
    #[serde(borrow, default)]
    proto: Cow<'a, str>,
    #[serde(borrow, default)]
    app_proto: Cow<'a, str>,
    #[serde(default)]
    vlan: Option<Vec<u16>>,
    #[serde(borrow)]
    alert: Option<Alert<'a>>,
    #[serde(borrow)]
    flow: Option<Flow<'a>>,
    #[serde(borrow)]
    netflow: Option<Flow<'a>>,
    tcp: Option<Tcp>,
}

#[derive(Deserialize)]
struct Alert<'a> {
    #[serde(default)]
    signature_id: u64,
    #[serde(borrow, default)]
    signature: Cow<'a, str>,
    severity: Option<u8>,
    #[serde(borrow, default)]
    action: Cow<'a, str>,
}

/// A flow, or (`pkts`, `bytes`) one direction of it.
#[derive(Deserialize)]
struct Flow<'a> {
    #[serde(default, alias = "pkts")]
    pkts_toserver: u64,
    #[serde(default)]
    pkts_toclient: u64,
    #[serde(default, alias = "bytes")]
    bytes_toserver: u64,
    #[serde(default)]
    bytes_toclient: u64,
    #[serde(borrow, default)]
    start: Cow<'a, str>,
    #[serde(borrow, default)]
    state: Cow<'a, str>,
    #[serde(borrow, default)]
    reason: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Tcp {
    #[serde(default)]
    rst: bool,
}

impl Lines for Eve {
    type Head = ();

    fn line(&mut self, _: &mut (), line: &[u8], now: Micros, out: &mut dyn PlacedSink) -> Result<(), String> {
        let text = std::str::from_utf8(line).map_err(|e| format!("is no text: {e}"))?;
        let record: Record<'_> = serde_json::from_str(text).map_err(|e| format!("is no EVE record: {e}"))?;
        if record.event_type == "stats" {
            // Suricata's own counters.
            return Ok(());
        }
        let time = match record.timestamp.as_ref() {
            "" => now,
            text => time_of(text).ok_or_else(|| format!("has no readable `timestamp`: `{text:.40}`"))?,
        };
        self.hosts.begin();
        match record.event_type.as_ref() {
            "flow" if record.flow.is_some() => self.flow(&record, time, now, out),
            "netflow" if record.netflow.is_some() => self.flow(&record, time, now, out),
            _ => self.log(&record, text, time, now, out),
        }
        Ok(())
    }
}

impl Eve {
    fn new(hosts: Hosts) -> Self {
        Eve { hosts, description: String::new(), category: String::new() }
    }

    fn log(&mut self, record: &Record<'_>, text: &str, time: Micros, now: Micros, out: &mut dyn PlacedSink) {
        let mut number = Number::default();
        self.description.clear();
        self.category.clear();
        self.category.push_str("suricata:");
        self.category.push_str(&record.event_type);
        let event = match &record.alert {
            Some(alert) => {
                self.description.push_str(&alert.signature);
                if let Some(severity) = alert.severity {
                    // Writing to a string does not fail.
                    let _ = write!(self.description, " (severity {severity}");
                    let comma = if alert.action.is_empty() { "" } else { ", " };
                    let _ = write!(self.description, "{comma}{})", alert.action);
                }
                number.text(alert.signature_id)
            }
            None => record.event_type.as_ref(),
        };
        out.push(Row::Log(&LogRow {
            time,
            observed: now,
            tool: self.hosts.tool(&[&record.dest_ip, &record.src_ip]),
            category: &self.category,
            event,
            description: &self.description,
            detail: text,
            ..Default::default()
        }));
    }

    fn flow(&mut self, record: &Record<'_>, time: Micros, now: Micros, out: &mut dyn PlacedSink) {
        let Some(flow) = record.flow.as_ref().or(record.netflow.as_ref()) else { return };
        let (client, server) = (self.hosts.number(&record.src_ip), self.hosts.number(&record.dest_ip));
        let reset = record.tcp.as_ref().is_some_and(|tcp| tcp.rst);
        out.push(Row::Flow(&FlowRow {
            time: time_of(&flow.start).unwrap_or(time),
            observed: now,
            flow: record.flow_id,
            transport: match record.proto.as_ref() {
                "TCP" => "tcp",
                "UDP" => "udp",
                _ => "ip",
            },
            protocol: protocol(&record.app_proto),
            client: self.hosts.address(client),
            client_port: record.src_port,
            server: self.hosts.address(server),
            server_port: record.dest_port,
            vlan: record.vlan.as_ref().and_then(|vlan| vlan.first().copied()).unwrap_or(0),
            client_packets: flow.pkts_toserver,
            server_packets: flow.pkts_toclient,
            client_bytes: flow.bytes_toserver,
            server_bytes: flow.bytes_toclient,
            state: match (flow.state.as_ref(), flow.reason.as_ref()) {
                ("closed", _) if reset => "reset",
                ("closed", _) => "closed",
                (_, "timeout") => "timeout",
                _ => "end",
            },
            ..Default::default()
        }));
    }
}

/// What Yagura calls a protocol.
fn protocol(name: &str) -> &str {
    match name {
        "failed" | "unknown" => "",
        "enip" => "enip_cip",
        name => name,
    }
}

/// A number as text, without an allocation.
#[derive(Default)]
struct Number([u8; 20]);

impl Number {
    fn text(&mut self, mut number: u64) -> &str {
        let mut at = self.0.len();
        loop {
            at -= 1;
            self.0[at] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                return std::str::from_utf8(&self.0[at..]).unwrap_or("");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use yagura_event::AssetTable;
    use yagura_event::clock::parse_rfc3339;
    use yagura_event::rows::OwnedRow;

    fn read(line: &str) -> Result<Vec<OwnedRow>, String> {
        let mut rows = Vec::new();
        let hosts = Hosts::new(&Arc::new(AssetTable::default()));
        let mut eve = Eve::new(hosts);
        eve.line(&mut (), line.as_bytes(), 7, &mut rows)?;
        Ok(rows)
    }

    #[test]
    fn an_alert_is_a_log_row_with_the_whole_record() {
        let line = r#"{"timestamp":"2026-11-02T22:00:01.000002+0100","flow_id":9,"event_type":"alert","src_ip":"10.0.0.1","src_port":5,"dest_ip":"10.0.0.2","dest_port":502,"proto":"TCP","alert":{"action":"allowed","signature_id":2250001,"signature":"SURICATA \"Modbus\"","severity":2}}"#;
        let rows = read(line).expect("a row");
        let texts = ["tool", "category", "event", "description", "detail"].map(|column| rows[0].text(column));
        assert_eq!(
            texts,
            ["10.0.0.2", "suricata:alert", "2250001", "SURICATA \"Modbus\" (severity 2, allowed)", line]
        );
        assert_eq!(rows[0].columns["time"], parse_rfc3339("2026-11-02T21:00:01.000002Z").expect("a time"));
    }

    #[test]
    fn a_flow_is_a_flow_row() {
        let line = r#"{"timestamp":"2026-11-02T22:00:09.0+0000","flow_id":18446744073709551615,"event_type":"flow","src_ip":"fe80:0000:0000:0000:0000:0000:0000:0001","src_port":5,"dest_ip":"10.0.0.2","dest_port":502,"proto":"TCP","app_proto":"modbus","vlan":[7],"flow":{"pkts_toserver":3,"pkts_toclient":2,"bytes_toserver":300,"bytes_toclient":200,"start":"2026-11-02T22:00:01.0+0000","end":"2026-11-02T22:00:05.0+0000","state":"closed","reason":"timeout"},"tcp":{"rst":true}}"#;
        let rows = read(line).expect("a row");
        let texts = ["transport", "protocol", "client", "server", "state"].map(|c| rows[0].text(c));
        assert_eq!(texts, ["tcp", "modbus", "fe80::1", "10.0.0.2", "reset"]);
        assert_eq!(rows[0].columns["time"], parse_rfc3339("2026-11-02T22:00:01Z").expect("a time"));
        let numbers = ["vlan", "client_packets", "server_bytes", "server_port"].map(|c| rows[0].number(c));
        assert_eq!(numbers, [7, 3, 200, 502].map(|n| Some(f64::from(n))));
        let netflow = line
            .replace("\"flow\",", "\"netflow\",")
            .replace("\"flow\":{\"pkts_toserver\"", "\"netflow\":{\"pkts\"");
        assert_eq!(read(&netflow).expect("a row")[0].number("client_packets"), Some(3.0));
    }

    #[test]
    fn what_is_no_record_says_why() {
        assert!(read("{\"event_type\":\"stats\",\"stats\":{\"uptime\":1}}").expect("nothing").is_empty());
        assert!(read("{\"timestamp\":1}").expect_err("wrong").starts_with("is no EVE record"));
        let late = "{\"timestamp\":\"yesterday\",\"event_type\":\"dns\"}";
        assert!(read(late).expect_err("wrong").contains("no readable `timestamp`: `yesterday`"));
        assert_eq!(read("{\"event_type\":\"dns\"}").expect("a row")[0].text("category"), "suricata:dns");
    }
}
