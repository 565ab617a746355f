//! From a message to a `log` row.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use chrono::{DateTime, Datelike, FixedOffset};
use rustc_hash::FxHashMap;
use syslog_loose::{
    IncompleteDate, Message, ProcId, SyslogFacility, SyslogSeverity, Variant, decompose_pri,
    parse_message_with_year_exact_tz,
};
use yagura_event::AssetTable;
use yagura_event::clock::Micros;
use yagura_event::rows::{LogRow, Row};

use crate::places::PlacedSink;

/// Hosts whose tools are known at a time; their names come from outside.
const HOSTS_MAX: usize = 1 << 16;

/// Parameters of structured data that name a user.
const USERS: &[&str] = &["user", "username", "user_name", "suser", "account"];

/// Reads messages; keeps what it needs again and again.
pub(super) struct Rows {
    /// The zone of times that have none.
    zone: FixedOffset,
    tools: Tools,
    category: String,
    detail: Vec<u8>,
    user: String,
}

/// What is to be told of a message, beside its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Read {
    /// It begins with no priority.
    pub(super) malformed: bool,
    /// How far its time is from the collector's.
    pub(super) skew: Option<Micros>,
}

impl Rows {
    pub(super) fn new(assets: &Arc<AssetTable>, zone: FixedOffset, relays: Vec<IpAddr>) -> Self {
        Rows {
            zone,
            tools: Tools { assets: Arc::clone(assets), relays, hosts: FxHashMap::default() },
            category: String::new(),
            detail: Vec::new(),
            user: String::new(),
        }
    }

    /// Puts a message out as a row. Whatever it is, it is one.
    pub(super) fn put_out(
        &mut self,
        bytes: &[u8],
        cut: bool,
        peer: IpAddr,
        observed: Micros,
        out: &mut dyn PlacedSink,
    ) -> Read {
        let text = String::from_utf8_lossy(bytes);
        let (message, understood) = self.read(&text, observed);
        let time = message.timestamp.map(|time| time.timestamp_micros());
        let malformed = message.facility.is_none();
        self.category.clear();
        self.category.push_str(message.facility.map_or("syslog", SyslogFacility::as_str));
        if let Some(app) = message.appname {
            self.category.push('/');
            self.category.push_str(app);
        }
        self.fill(&message, Notes { cut, lossy: matches!(text, Cow::Owned(_)), understood });
        let host = message.hostname.unwrap_or("");
        let address;
        let tool = match self.tools.of(host, peer) {
            Some(tool) => tool,
            None if host.is_empty() => {
                address = peer.to_string();
                &address
            }
            None => host,
        };
        out.push(Row::Log(&LogRow {
            time: time.unwrap_or(observed),
            observed,
            tool,
            category: &self.category,
            event: message.msgid.unwrap_or(""),
            user: &self.user,
            description: message.msg.strip_prefix('\u{feff}').unwrap_or(message.msg),
            detail: std::str::from_utf8(&self.detail).unwrap_or_default(),
            ..Default::default()
        }));
        Read { malformed, skew: time.map(|time| time - observed) }
    }

    /// The message, and whether it follows one of the two RFCs.
    fn read<'a>(&self, text: &'a str, observed: Micros) -> (Message<&'a str>, bool) {
        let today = DateTime::from_timestamp_micros(observed).unwrap_or_default().with_timezone(&self.zone);
        let year = move |(month, ..): IncompleteDate| nearest_year(month, today);
        if let Ok(message) = parse_message_with_year_exact_tz(text, year, Some(self.zone), Variant::Either) {
            return (message, true);
        }
        // What follows a priority is a message all the same.
        let (facility, severity, msg) = priority(text).unwrap_or((None, None, text));
        let message = Message {
            protocol: syslog_loose::Protocol::RFC3164,
            facility,
            severity,
            timestamp: None,
            hostname: None,
            appname: None,
            procid: None,
            msgid: None,
            structured_data: Vec::new(),
            msg,
        };
        (message, false)
    }

    /// Writes what has no column of its own, as a JSON object, and finds the user.
    fn fill(&mut self, message: &Message<&str>, notes: Notes) {
        let out = &mut self.detail;
        out.clear();
        self.user.clear();
        out.push(b'{');
        let pair = |out: &mut Vec<u8>, name: &str, value: &str| {
            if out.last() != Some(&b'{') {
                out.push(b',');
            }
            string(out, name);
            out.push(b':');
            string(out, value);
        };
        if let Some(severity) = message.severity {
            pair(out, "severity", severity.as_str());
        }
        if let Some(host) = message.hostname {
            pair(out, "host", host);
        }
        match &message.procid {
            Some(ProcId::PID(pid)) => pair(out, "procid", &pid.to_string()),
            Some(ProcId::Name(name)) => pair(out, "procid", name),
            None => {}
        }
        let notes = [
            (notes.cut, "cut", "longer than the source's `message`, or broken off"),
            (notes.lossy, "bytes", "not UTF-8; what is none stands as U+FFFD"),
            (!notes.understood, "form", "neither RFC 5424 nor RFC 3164"),
        ];
        for (_, name, value) in notes.iter().filter(|(holds, ..)| *holds) {
            pair(out, name, value);
        }
        if !message.structured_data.is_empty() {
            out.extend_from_slice(if out.last() == Some(&b'{') { b"\"data\":{" } else { b",\"data\":{" });
            for element in &message.structured_data {
                if out.last() != Some(&b'{') {
                    out.push(b',');
                }
                string(out, element.id);
                out.extend_from_slice(b":{");
                for (name, value) in element.params() {
                    pair(out, name, &value);
                    if self.user.is_empty() && USERS.iter().any(|user| name.eq_ignore_ascii_case(user)) {
                        self.user.push_str(&value);
                    }
                }
                out.push(b'}');
            }
            out.push(b'}');
        }
        out.push(b'}');
    }
}

/// Which tool a message is from.
struct Tools {
    assets: Arc<AssetTable>,
    /// Senders that pass on what others wrote: their own address says nothing.
    relays: Vec<IpAddr>,
    /// Tools by the host's name; `None` where the table has none.
    hosts: FxHashMap<String, Option<String>>,
}

impl Tools {
    /// The asset that a message is from: by the host's name, by its address, or by the sender's.
    fn of(&mut self, host: &str, peer: IpAddr) -> Option<&str> {
        if !host.is_empty() {
            if !self.hosts.contains_key(host) {
                if self.hosts.len() >= HOSTS_MAX {
                    self.hosts.clear();
                }
                let found = self.of_host(host);
                self.hosts.insert(host.to_string(), found);
            }
            if let Some(Some(tool)) = self.hosts.get(host) {
                return Some(tool);
            }
            if self.relays.contains(&peer) {
                return None;
            }
        }
        self.assets.find(&peer).map(|asset| asset.name.as_str())
    }

    fn of_host(&self, host: &str) -> Option<String> {
        let short = host.split('.').next().unwrap_or(host);
        let by_address = || host.parse().ok().and_then(|address| self.assets.find(&address));
        let same =
            |name: &str| self.assets.assets().iter().find(move |asset| asset.name.eq_ignore_ascii_case(name));
        same(host).or_else(by_address).or_else(|| same(short)).map(|asset| asset.name.clone())
    }
}

/// What is unusual about a message.
struct Notes {
    cut: bool,
    lossy: bool,
    understood: bool,
}

type Priority<'a> = (Option<SyslogFacility>, Option<SyslogSeverity>, &'a str);

/// The priority that a text begins with, and what follows it.
fn priority(text: &str) -> Option<Priority<'_>> {
    let (number, rest) = text.strip_prefix('<')?.split_once('>')?;
    let short = number.len() <= 3 && number.bytes().all(|byte| byte.is_ascii_digit());
    let number: u8 = number.parse().ok().filter(|number| short && *number < 192)?;
    let (facility, severity) = decompose_pri(number);
    Some((facility, severity, rest))
}

/// RFC 3164 leaves the year out: the one that brings a month nearest to now.
fn nearest_year(month: u32, today: DateTime<FixedOffset>) -> i32 {
    match i64::from(month) - i64::from(today.month()) {
        7.. => today.year() - 1,
        ..=-7 => today.year() + 1,
        _ => today.year(),
    }
}

/// A JSON string.
fn string(out: &mut Vec<u8>, text: &str) {
    // Writing to memory does not fail.
    let _ = serde_json::to_writer(out, text);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};
    use yagura_event::clock;
    use yagura_event::rows::OwnedRow;

    use super::*;

    fn reader() -> Rows {
        let asset = |name: &str, address: &str| {
            serde_json::from_value(
                json!({ "name": name, "addresses": [address], "cell": "bay-3", "area": "fab" }),
            )
            .expect("an asset")
        };
        let all = vec![asset("ETCH-07", "10.0.0.7"), asset("LITHO-02", "10.0.0.2")];
        let tokyo = FixedOffset::east_opt(9 * 3600).expect("a zone");
        Rows::new(
            &Arc::new(AssetTable::new(all, "bay")),
            tokyo,
            vec!["10.0.0.99".parse().expect("an address")],
        )
    }

    fn read_from(text: &[u8], peer: &str) -> (OwnedRow, Value, Read) {
        let observed = clock::parse_rfc3339("2026-01-02T00:00:00Z").expect("a time");
        let mut rows: Vec<OwnedRow> = Vec::new();
        let peer = peer.parse().expect("an address");
        let read = reader().put_out(text, false, peer, observed, &mut rows);
        let detail = serde_json::from_str(rows[0].text("detail")).expect("JSON");
        (rows.remove(0), detail, read)
    }

    #[test]
    fn a_message_of_rfc_5424_is_a_row() {
        let text = br#"<165>1 2026-01-01T22:14:15.003Z etch-07.fab.example gateway 4711 ID47 [a@1 x="1\"\]" User="op7"][b@1 y="2"] recipe loaded"#;
        let (row, detail, read) = read_from(text, "10.0.0.99");
        let texts = ["tool", "category", "event", "user", "description"].map(|column| row.text(column));
        assert_eq!(texts, ["ETCH-07", "local4/gateway", "ID47", "op7", "recipe loaded"]);
        assert_eq!(row.number("time"), Some(1_767_305_655_003_000.0));
        let expected = json!({ "severity": "notice", "host": "etch-07.fab.example", "procid": "4711",
            "data": { "a@1": { "x": "1\"]", "User": "op7" }, "b@1": { "y": "2" } } });
        assert_eq!(detail, expected);
        assert_eq!(read, Read { malformed: false, skew: Some(-6_344_997_000) });
    }

    #[test]
    fn a_message_of_rfc_3164_has_the_nearest_year_and_the_settings_zone() {
        let (row, detail, _) =
            read_from(b"<34>Dec 31 22:14:15 mymachine su[231]: 'su root' failed for op7", "10.0.0.99");
        let texts = ["tool", "category", "description"].map(|column| row.text(column));
        assert_eq!(texts, ["mymachine", "auth/su", "'su root' failed for op7"]);
        let expected = clock::parse_rfc3339("2025-12-31T22:14:15+09:00").map(|time| time as f64);
        assert_eq!((row.number("time"), &detail["severity"]), (expected, &json!("crit")));
        // Not through a relay: the sender's own address says which tool it is.
        assert_eq!(read_from(b"<34>Dec 31 22:14:15 localhost su: x", "10.0.0.2").0.text("tool"), "LITHO-02");
        assert_eq!(read_from(b"<34>Dec 31 22:14:15 10.0.0.7 su: x", "10.0.0.2").0.text("tool"), "ETCH-07");
    }

    #[test]
    fn what_is_neither_is_a_row_too() {
        let (row, detail, read) = read_from(b"<34>Nov 31 25:00:00 x y \xff\xfe", "10.0.0.7");
        assert_eq!((row.text("tool"), row.text("category")), ("ETCH-07", "auth"));
        assert_eq!(row.text("description"), "Nov 31 25:00:00 x y \u{fffd}\u{fffd}");
        assert!(!read.malformed && detail["form"].is_string() && detail["bytes"].is_string(), "{detail}");
        for text in ["", "no priority at all", "<192>too much", "<-1>x", "<34"] {
            let (row, detail, read) = read_from(text.as_bytes(), "192.0.2.1");
            assert!(read.malformed && row.text("tool") == "192.0.2.1", "{text}: {row:?} {detail}");
            assert_eq!(row.text("description"), text);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_row(bytes in proptest::collection::vec(any::<u8>(), 0..300), begin in 0_usize..4) {
            let begin = ["", "<34>", "<165>1 2026-01-01T22:14:15Z h a p m [x y=\"", "<34>Dec 31 22:14:15 "][begin];
            let (row, _, _) = read_from(&[begin.as_bytes(), &bytes].concat(), "10.0.0.7");
            prop_assert!(row.number("observed").is_some());
        }
    }
}
