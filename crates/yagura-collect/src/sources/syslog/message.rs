//! From a message to a `log` row.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use chrono::FixedOffset;
use rustc_hash::FxHashMap;
use yagura_event::AssetTable;
use yagura_event::clock::Micros;
use yagura_event::rows::{LogRow, Row};

use super::parse::{Item, Message, parse, structured_data, unescaped};
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
    /// The last sender, and its address as a text.
    from: (Option<IpAddr>, String),
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
            from: (None, String::new()),
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
        // Some end even a counted message like a line.
        let ends = bytes.iter().rev().take_while(|byte| matches!(byte, b'\n' | b'\r' | 0)).count();
        let text = String::from_utf8_lossy(&bytes[..bytes.len() - ends]);
        let message = parse(&text, self.zone, observed);
        if self.from.0 != Some(peer) {
            self.from = (Some(peer), peer.to_string());
        }
        self.category.clear();
        self.category.push_str(message.facility.map_or("syslog", |facility| facility.as_str()));
        if !message.app.is_empty() {
            self.category.push('/');
            self.category.push_str(message.app);
        }
        self.fill(&message, cut, matches!(text, Cow::Owned(_)));
        let tool = match self.tools.of(message.host, peer) {
            Some(tool) => tool,
            None if message.host.is_empty() => &self.from.1,
            None => message.host,
        };
        out.push(Row::Log(&LogRow {
            time: message.time.unwrap_or(observed),
            observed,
            tool,
            category: &self.category,
            event: message.msgid,
            user: &self.user,
            description: message.text,
            detail: std::str::from_utf8(&self.detail).unwrap_or_default(),
            ..Default::default()
        }));
        Read { malformed: message.facility.is_none(), skew: message.time.map(|time| time - observed) }
    }

    /// Writes what has no column of its own, as a JSON object, and finds the user.
    fn fill(&mut self, message: &Message<'_>, cut: bool, lossy: bool) {
        let (out, user) = (&mut self.detail, &mut self.user);
        out.clear();
        user.clear();
        out.push(b'{');
        let severity = message.severity.map_or("", |severity| severity.as_str());
        for (name, value) in [
            ("severity", severity),
            // Anybody may write any host's name: who sent it is kept beside.
            ("host", message.host),
            ("from", &self.from.1),
            ("procid", message.procid),
            ("cut", if cut { "longer than the source's `message`, or broken off" } else { "" }),
            ("bytes", if lossy { "not UTF-8; what is none stands as U+FFFD" } else { "" }),
            ("form", if message.understood { "" } else { "neither RFC 5424 nor RFC 3164" }),
        ] {
            if !value.is_empty() {
                pair(out, name, value);
            }
        }
        if !message.data.is_empty() {
            member(out, "data");
            out.push(b'{');
            let _ = structured_data(message.data, |item| match item {
                Item::Element(id) => {
                    member(out, id);
                    out.push(b'{');
                }
                Item::Parameter(name, value) => {
                    let value = unescaped(value);
                    if user.is_empty() && USERS.iter().any(|user| name.eq_ignore_ascii_case(user)) {
                        user.push_str(&value);
                    }
                    pair(out, name, &value);
                }
                Item::End => out.push(b'}'),
            });
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

/// A member of a JSON object that is a text.
fn pair(out: &mut Vec<u8>, name: &str, value: &str) {
    member(out, name);
    string(out, value);
}

/// The name of a member of a JSON object.
fn member(out: &mut Vec<u8>, name: &str) {
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
    string(out, name);
    out.push(b':');
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
        let expected = json!({ "severity": "notice", "host": "etch-07.fab.example", "from": "10.0.0.99", "procid": "4711",
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
