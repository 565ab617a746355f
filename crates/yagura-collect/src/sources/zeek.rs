//! Zeek's logs, as JSON lines and as tab-separated values with Zeek's header, ICSNPP's included.
//!
//! Records of `conn` become `flow` rows, all others `log` rows: the category is `zeek:` and the log's path, the
//! event of a notice its note, of a weird its name, else the path; the detail is the whole record as JSON.

use std::path::Path;

use serde::Deserialize;
use yagura_event::clock::Micros;
use yagura_event::rows::{FlowRow, LogRow, Row};

use crate::places::PlacedSink;
use crate::sensors::{Hosts, Loose, flow_of};
use crate::source::{Opened, Opening, Settings, SourceError};
use crate::tail::{Lines, Tail, TailSettings};

mod tsv;

use tsv::Header;

/// Settings of `kind: zeek`.
#[derive(Deserialize)]
#[serde(transparent)]
pub struct ZeekSettings(TailSettings);

impl Settings for ZeekSettings {
    const KIND: &'static str = "zeek";
    const READS: &'static str = "logs of Zeek (JSON lines or tab-separated), followed through rotation";

    fn open(self, at: &Opening<'_>) -> Result<Opened, SourceError> {
        let tail = Tail::new(at.collector, self.0.options(at)?, Zeek::new(Hosts::new(&at.plant.assets)));
        Ok(Opened::Live(Box::new(tail)))
    }

    fn probe(self, at: &Opening<'_>) -> Result<String, SourceError> {
        self.0.options(at)?.probe()
    }
}

/// Understands Zeek's records.
struct Zeek {
    hosts: Hosts,
    /// The record as JSON, of a log that is not.
    detail: String,
    category: String,
    description: String,
}

/// What columns need of a record; what is unset is empty or 0.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Record<'a> {
    #[serde(borrow)]
    ts: Loose<'a>,
    #[serde(rename = "_path")]
    path: Loose<'a>,
    uid: Loose<'a>,
    #[serde(rename = "id.orig_h")]
    orig_h: Loose<'a>,
    #[serde(rename = "id.orig_p")]
    orig_p: Loose<'a>,
    #[serde(rename = "id.resp_h")]
    resp_h: Loose<'a>,
    #[serde(rename = "id.resp_p")]
    resp_p: Loose<'a>,
    proto: Loose<'a>,
    service: Loose<'a>,
    conn_state: Loose<'a>,
    orig_bytes: Loose<'a>,
    resp_bytes: Loose<'a>,
    orig_pkts: Loose<'a>,
    resp_pkts: Loose<'a>,
    missed_bytes: Loose<'a>,
    orig_l2_addr: Loose<'a>,
    resp_l2_addr: Loose<'a>,
    vlan: Loose<'a>,
    note: Loose<'a>,
    name: Loose<'a>,
    msg: Loose<'a>,
    sub: Loose<'a>,
    addl: Loose<'a>,
    host: Loose<'a>,
    src: Loose<'a>,
    dst: Loose<'a>,
    user: Loose<'a>,
    username: Loose<'a>,
}

impl Lines for Zeek {
    type Head = Header;

    fn head(&self, path: &Path, header: &mut Header, line: &[u8]) -> Result<bool, String> {
        header.named(path);
        if line.first() != Some(&b'#') {
            return Ok(false);
        }
        header.read(std::str::from_utf8(line).map_err(|e| format!("has a header that is no text: {e}"))?)?;
        Ok(true)
    }

    fn line(
        &mut self,
        header: &mut Header,
        line: &[u8],
        now: Micros,
        out: &mut dyn PlacedSink,
    ) -> Result<(), String> {
        let text = std::str::from_utf8(line).map_err(|e| format!("is no text: {e}"))?;
        if text.starts_with('#') {
            // `#close`, or the header of a log that goes on.
            return header.read(text);
        }
        self.hosts.begin();
        if text.starts_with('{') {
            return self.record(text, &header.path, now, out);
        }
        let mut detail = std::mem::take(&mut self.detail);
        detail.clear();
        let read =
            header.to_json(text, &mut detail).and_then(|()| self.record(&detail, &header.path, now, out));
        self.detail = detail;
        read
    }
}

impl Zeek {
    fn new(hosts: Hosts) -> Self {
        Zeek { hosts, detail: String::new(), category: String::new(), description: String::new() }
    }

    fn record(
        &mut self,
        json: &str,
        path: &str,
        now: Micros,
        out: &mut dyn PlacedSink,
    ) -> Result<(), String> {
        let record: Record<'_> =
            serde_json::from_str(json).map_err(|e| format!("is no record of Zeek's: {e}"))?;
        let time = match &record.ts {
            Loose::None => now,
            ts => ts.time().ok_or_else(|| format!("has no readable `ts`: `{:.40}`", ts.text()))?,
        };
        let path = if record.path.text().is_empty() { path } else { record.path.text() };
        if path == "conn" && !record.orig_h.text().is_empty() && !record.resp_h.text().is_empty() {
            self.flow(&record, time, now, out);
        } else {
            self.log(&record, path, json, time, now, out);
        }
        Ok(())
    }

    fn flow(&mut self, record: &Record<'_>, time: Micros, now: Micros, out: &mut dyn PlacedSink) {
        let client = self.hosts.number(record.orig_h.text());
        let server = self.hosts.number(record.resp_h.text());
        out.push(Row::Flow(&FlowRow {
            time,
            observed: now,
            flow: flow_of(record.uid.text()),
            transport: match record.proto.text() {
                "tcp" => "tcp",
                "udp" => "udp",
                _ => "ip",
            },
            protocol: protocol(record.service.text()),
            client: self.hosts.address(client),
            client_port: record.orig_p.whole(),
            server: self.hosts.address(server),
            server_port: record.resp_p.whole(),
            client_mac: record.orig_l2_addr.text(),
            server_mac: record.resp_l2_addr.text(),
            vlan: record.vlan.whole(),
            client_packets: record.orig_pkts.whole(),
            server_packets: record.resp_pkts.whole(),
            client_bytes: record.orig_bytes.whole(),
            server_bytes: record.resp_bytes.whole(),
            missing_bytes: record.missed_bytes.whole(),
            state: match record.conn_state.text() {
                "SF" => "closed",
                "REJ" | "RSTO" | "RSTR" | "RSTOS0" | "RSTRH" => "reset",
                _ => "timeout",
            },
            ..Default::default()
        }));
    }

    fn log(
        &mut self,
        record: &Record<'_>,
        path: &str,
        json: &str,
        time: Micros,
        now: Micros,
        out: &mut dyn PlacedSink,
    ) {
        self.category.clear();
        self.category.push_str("zeek:");
        self.category.push_str(path);
        let event = match path {
            "notice" => record.note.text(),
            "weird" => record.name.text(),
            _ => "",
        };
        self.description.clear();
        for part in [&record.msg, &record.sub, &record.addl]
            .map(Loose::text)
            .into_iter()
            .filter(|part| !part.is_empty())
        {
            if !self.description.is_empty() {
                self.description.push_str("; ");
            }
            self.description.push_str(part);
        }
        let Record { resp_h, dst, host, orig_h, src, user, username, .. } = record;
        out.push(Row::Log(&LogRow {
            time,
            observed: now,
            tool: self.hosts.tool(&[resp_h, dst, host, orig_h, src].map(Loose::text)),
            category: &self.category,
            event: if event.is_empty() { path } else { event },
            user: if user.text().is_empty() { username.text() } else { user.text() },
            description: &self.description,
            detail: json,
            ..Default::default()
        }));
    }
}

/// What Yagura calls the first of a connection's services.
fn protocol(service: &str) -> &str {
    match service.split(',').next().unwrap_or("") {
        "dnp3_tcp" | "dnp3_udp" => "dnp3",
        "ssl" => "tls",
        "enip" | "cip" | "enip_tcp" | "enip_udp" => "enip_cip",
        name => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use yagura_event::AssetTable;
    use yagura_event::rows::OwnedRow;

    fn read(file: &str, text: &str) -> (Vec<OwnedRow>, Vec<String>) {
        let mut zeek = Zeek::new(Hosts::new(&Arc::new(AssetTable::default())));
        let (mut header, mut rows, mut problems) = (Header::default(), Vec::new(), Vec::new());
        let mut in_head = true;
        for line in text.lines() {
            in_head = in_head && zeek.head(Path::new(file), &mut header, line.as_bytes()).expect("a header");
            if !in_head && let Err(problem) = zeek.line(&mut header, line.as_bytes(), 7, &mut rows) {
                problems.push(problem);
            }
        }
        (rows, problems)
    }

    const CONN: &str = "#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n#path\tconn\n\
        #fields\tts\tuid\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tproto\tservice\torig_bytes\tconn_state\ttunnel_parents\n\
        #types\ttime\tstring\taddr\tport\taddr\tport\tenum\tstring\tcount\tstring\tset[string]\n\
        1700000000.250000\tCh1\t10.0.0.1\t5000\t10.0.0.2\t502\ttcp\tmodbus\t12\tSF\t(empty)\n\
        1700000001.250000\tCh2\t10.0.0.1\t5001\t10.0.0.2\t502\ttcp\t-\t-\tREJ\ta,b\n\
        -\tCh3\t10.0.0.1\n\
        #close\t2026-01-01-00-00-00\n";

    #[test]
    fn connections_are_flow_rows_from_both_forms() {
        let (rows, problems) = read("conn.log", CONN);
        assert_eq!(problems, ["has 3 columns, and its header 11"]);
        let columns = ["transport", "protocol", "client", "server", "state"];
        assert_eq!(
            columns.map(|column| rows[0].text(column)),
            ["tcp", "modbus", "10.0.0.1", "10.0.0.2", "closed"]
        );
        assert_eq!(rows[0].columns["time"], 1_700_000_000_250_000_i64);
        assert_eq!((rows[0].number("client_bytes"), rows[1].number("client_bytes")), (Some(12.0), Some(0.0)));
        assert_eq!((rows[1].text("state"), rows.len()), ("reset", 2));
        let json = r#"{"ts":1700000000.25,"uid":"Ch1","id.orig_h":"10.0.0.1","id.orig_p":5000,"id.resp_h":"10.0.0.2","id.resp_p":502,"proto":"tcp","service":"modbus","orig_bytes":12,"conn_state":"SF"}"#;
        assert_eq!(read("conn.2023-11-14-22-00-00.log", json).0[0], rows[0]);
    }

    #[test]
    fn notices_and_others_are_log_rows() {
        let notice = r#"{"ts":"2026-11-02T22:00:01.5Z","note":"SSH::Password_Guessing","msg":"10.0.0.9 \"guesses\"","sub":"often","src":"10.0.0.9"}"#;
        let (rows, _) = read("notice.log", notice);
        let columns = ["tool", "category", "event", "description", "detail"];
        assert_eq!(
            columns.map(|column| rows[0].text(column)),
            ["10.0.0.9", "zeek:notice", "SSH::Password_Guessing", "10.0.0.9 \"guesses\"; often", notice]
        );
        let modbus = "#separator \\x09\n#path\tmodbus_detailed\n#fields\tts\tid.resp_h\tvalues\tnetwork\tok\n\
            #types\ttime\taddr\tvector[count]\tstring\tbool\n1700000000.0\t10.0.0.2\t1,2\ta\\x09\"b\\xff\tT\n";
        let (rows, problems) = read("m.log", modbus);
        assert_eq!(problems, [""; 0]);
        assert_eq!(
            (rows[0].text("category"), rows[0].text("event")),
            ("zeek:modbus_detailed", "modbus_detailed")
        );
        assert_eq!(
            rows[0].text("detail"),
            r#"{"ts":1700000000.0,"id.resp_h":"10.0.0.2","values":[1,2],"network":"a\t\"b\\xff","ok":true}"#
        );
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        let (rows, problems) = read("weird.log", "ts\tuid\n1\t2\n{\"ts\":\"X\"}\n{\n");
        assert!(rows.is_empty());
        assert_eq!(problems[0], "stands in no JSON and no header with `#fields` was before it");
        assert!(problems[2].starts_with("has no readable `ts`: `X`"), "{problems:?}");
        assert!(problems[3].starts_with("is no record of Zeek's"));
    }
}
