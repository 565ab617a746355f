//! Sparkplug B: births say what edge nodes and their devices have, data brings values by alias, deaths end them.
//!
//! A birth is looked up by name once; from then on a value goes from its alias to its signal's number by an index.
//! Messages of a node are numbered from 0 to 255: a hole is told, and what was delivered again is recognised and left
//! out. Nothing is ever sent: a node whose birth was missed is told as unknown until its next one.

use rustc_hash::FxHashMap;
use yagura_event::clock::{Micros, SECOND};
use yagura_event::rows::{IdentityRow, LogRow, Row};
use yagura_event::vocabulary::coverage;

use super::payload::{Malformed, Meaning, Metric, Payload, Value, is_scalar, type_name};
use super::plain::clip;
use super::wire::Message;
use crate::complaints::Complaints;
use crate::names::{Given, Reading, Signals};
use crate::places::PlacedSink;
use crate::reports::Reports;

/// How far a node's clock may be from the collector's.
const SKEW_MAX: Micros = 60 * SECOND;

/// The longest name of a metric.
const NAME_BYTES_MAX: usize = 1024;

/// Texts of births that are kept as context or identity.
const TEXT_BYTES_MAX: usize = 4096;

/// Nothing stands here.
const NONE: u32 = u32::MAX;

/// How much is kept of what comes from outside.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub nodes: usize,
    pub devices: usize,
    pub metrics: usize,
}

/// Where rows go, and what they need.
pub(super) struct Out<'a> {
    pub signals: &'a mut Signals,
    pub told: &'a Complaints,
    pub rows: &'a mut dyn PlacedSink,
    /// The collector's clock.
    pub now: Micros,
}

/// The nodes that were heard of.
pub(super) struct Sparkplug {
    limits: Limits,
    /// By broker, where each topic leads.
    topics: Vec<FxHashMap<Box<str>, Route>>,
    /// By broker and `GROUP/NODE`.
    named: FxHashMap<(usize, Box<str>), u32>,
    nodes: Vec<Node>,
    devices: usize,
    metrics: usize,
}

/// What a message of a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Birth,
    Data,
    Death,
    Command,
}

#[derive(Clone, Copy)]
struct Route {
    kind: Kind,
    node: u32,
    /// 0 for the node itself.
    device: u32,
}

struct Node {
    /// `GROUP/NODE`.
    name: String,
    /// The number of its last message, and when that came.
    last: Option<u8>,
    heard: Micros,
    /// Checksums of the last message of each number.
    prints: Box<[Option<u32>; 256]>,
    /// Of the birth.
    number: Option<u64>,
    skewed: bool,
    doubt: Doubt,
    /// Its births come with QoS 1 or 2.
    kept: bool,
    /// Itself, then its devices.
    devices: Vec<Device>,
    named: FxHashMap<Box<str>, u32>,
}

struct Device {
    /// `GROUP/NODE` or `GROUP/NODE/DEVICE`.
    name: String,
    /// Its own name, which stands for the tool where no table says another.
    tool: String,
    reports: Reports,
    born: bool,
    /// Births so far: which metrics are of the last one.
    births: u32,
    /// Checksum of the last birth.
    print: Option<u32>,
    metrics: Vec<Known>,
    named: FxHashMap<Box<str>, u32>,
    /// By alias, positions in `metrics`.
    dense: Vec<u32>,
    sparse: FxHashMap<u64, u32>,
}

struct Known {
    /// [`NONE`] for what is neither a number nor a text.
    signal: u32,
    datatype: u32,
    birth: u32,
}

/// Whether a birth may have been missed, after which aliases would mean something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doubt {
    None,
    /// The next number tells.
    Open,
    /// Messages are missing: values are uncertain until the next birth.
    Held,
}

/// How a message stands to those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Next,
    Repeated,
    /// So many are missing before it.
    Gap(u64),
}

impl Sparkplug {
    pub fn new(limits: Limits, brokers: usize) -> Self {
        Sparkplug {
            limits,
            topics: (0..brokers).map(|_| FxHashMap::default()).collect(),
            named: FxHashMap::default(),
            nodes: Vec::new(),
            devices: 0,
            metrics: 0,
        }
    }

    /// Takes a message; answers whether it defines something that a restart must know.
    pub fn message(&mut self, broker: usize, message: &Message, out: &mut Out<'_>) -> bool {
        let Some(route) = self.route(broker, message.topic(), message, out) else { return false };
        let payload = match Payload::read(&message.payload) {
            Ok(payload) => payload,
            Err(Malformed) => {
                let detail = || format!("{}: the payload is not Sparkplug B", message.topic());
                let node = &self.nodes[route.node as usize];
                out.tell(coverage::MALFORMED, &node.name, 1, detail);
                return false;
            }
        };
        let free = self.limits.metrics.saturating_sub(self.metrics);
        let node = &mut self.nodes[route.node as usize];
        if payload.compressed {
            out.tell(coverage::UNKNOWN, &node.name, 1, || "compressed payloads are not read".into());
            return false;
        }
        match route.kind {
            Kind::Command => node.command(route.device, message, &payload, out),
            Kind::Death if route.device == 0 => node.death(&payload, out),
            _ => {
                let print = crc32c::crc32c(&message.payload);
                if !node.in_order(route, &payload, print, message, out) {
                    return false;
                }
                node.skew(&payload, message.qos == 0, out);
                let device = route.device as usize;
                match route.kind {
                    Kind::Birth => {
                        self.metrics += node.birth(device, &payload, print, free, out);
                        return true;
                    }
                    Kind::Data => {
                        let doubt = u8::from(node.doubt == Doubt::Held);
                        node.devices[device].data(&payload, doubt, out);
                    }
                    _ => {
                        node.devices[device].born = false;
                        let detail = "the device died".to_string();
                        node.devices[device].reports.down(out.now, &detail, out.rows);
                    }
                }
            }
        }
        false
    }

    /// Nobody was there for a while. A broker that kept the session has kept births with QoS 1 and 2 alone.
    pub fn interrupted(&mut self, broker: usize, resumed: bool) {
        for ((of, _), node) in &self.named {
            let node = &mut self.nodes[*node as usize];
            if *of == broker && !(resumed && node.kept) && node.doubt == Doubt::None {
                node.doubt = Doubt::Open;
            }
        }
    }

    /// Learns a birth of an earlier run. The numbers of messages begin anew.
    pub fn restore(&mut self, broker: usize, message: &Message, out: &mut Out<'_>) {
        self.message(broker, message, out);
        if let Some(route) = self.topics.get(broker).and_then(|topics| topics.get(message.topic())) {
            let node = &mut self.nodes[route.node as usize];
            node.last = None;
            *node.prints = [None; 256];
        }
    }

    fn route(&mut self, broker: usize, topic: &str, message: &Message, out: &mut Out<'_>) -> Option<Route> {
        if let Some(route) = self.topics.get(broker)?.get(topic) {
            return Some(*route);
        }
        let mut levels = topic.split('/');
        let first = levels.next().unwrap_or_default();
        let parts: Vec<&str> = levels.collect();
        let (kind, group, node, device) = match (first, parts.as_slice()) {
            ("spBv1.0", ["STATE", host]) | ("STATE", [host]) => {
                state(host, message, out);
                return None;
            }
            ("spBv1.0", [group, kind, node]) => (kind, group, node, ""),
            ("spBv1.0", [group, kind, node, device]) => (kind, group, node, *device),
            _ => {
                let detail = || format!("{}: no topic of Sparkplug B", clip(topic));
                out.tell(coverage::UNKNOWN, "", 1, detail);
                return None;
            }
        };
        let found = match (*kind, device.is_empty()) {
            ("NBIRTH", true) | ("DBIRTH", false) => Some(Kind::Birth),
            ("NDATA", true) | ("DDATA", false) => Some(Kind::Data),
            ("NDEATH", true) | ("DDEATH", false) => Some(Kind::Death),
            ("NCMD", true) | ("DCMD", false) => Some(Kind::Command),
            _ => None,
        };
        let Some(kind) = found else {
            let detail = || format!("{}: no type of message of Sparkplug B", clip(topic));
            out.tell(coverage::UNKNOWN, "", 1, detail);
            return None;
        };
        let node = self.node(broker, &format!("{group}/{node}"), node, out)?;
        let device = self.device(node, device, out)?;
        let route = Route { kind, node, device };
        self.topics[broker].insert(topic.into(), route);
        Some(route)
    }

    fn node(&mut self, broker: usize, name: &str, tool: &str, out: &mut Out<'_>) -> Option<u32> {
        if let Some(node) = self.named.get(&(broker, Box::from(name))) {
            return Some(*node);
        }
        if self.nodes.len() >= self.limits.nodes {
            let most = self.limits.nodes;
            out.tell(coverage::DROP, name, 1, || {
                format!("more than {most} nodes; `nodes_max` of the collector says how many there may be")
            });
            return None;
        }
        let index = self.nodes.len() as u32;
        self.nodes.push(Node {
            name: name.into(),
            last: None,
            heard: out.now,
            prints: Box::new([None; 256]),
            number: None,
            skewed: false,
            doubt: Doubt::None,
            kept: false,
            devices: vec![Device::new(name, tool)],
            named: FxHashMap::default(),
        });
        self.named.insert((broker, name.into()), index);
        Some(index)
    }

    fn device(&mut self, node: u32, name: &str, out: &mut Out<'_>) -> Option<u32> {
        let node = &mut self.nodes[node as usize];
        if name.is_empty() {
            return Some(0);
        }
        if let Some(device) = node.named.get(name) {
            return Some(*device);
        }
        let full = format!("{}/{name}", node.name);
        if self.devices >= self.limits.devices {
            let most = self.limits.devices;
            out.tell(coverage::DROP, &full, 1, || {
                format!("more than {most} devices; `devices_max` of the collector says how many there may be")
            });
            return None;
        }
        self.devices += 1;
        let index = node.devices.len() as u32;
        node.devices.push(Device::new(&full, name));
        node.named.insert(name.into(), index);
        Some(index)
    }
}

impl Out<'_> {
    /// Tells of something at this moment; of the collector itself where the subject is empty.
    pub fn tell(&mut self, event: &'static str, subject: &str, count: u64, detail: impl FnOnce() -> String) {
        self.told.say(event, subject, None, count, detail);
    }
}

impl Node {
    /// Checks a message's number; `false` for one that came before.
    fn in_order(
        &mut self,
        route: Route,
        payload: &Payload<'_>,
        print: u32,
        message: &Message,
        out: &mut Out<'_>,
    ) -> bool {
        let of_node = route.kind == Kind::Birth && route.device == 0;
        let order = match (of_node, payload.seq.and_then(|seq| u8::try_from(seq).ok())) {
            (_, None) => {
                let detail = || format!("{}: no number (seq) from 0 to 255", message.topic());
                out.tell(coverage::MALFORMED, &self.name, 1, detail);
                Order::Next
            }
            (true, Some(_)) if self.devices[0].print == Some(print) => Order::Repeated,
            (true, Some(seq)) => {
                *self.prints = [None; 256];
                self.doubt = Doubt::None;
                self.kept = message.qos > 0;
                self.took(seq, print);
                Order::Next
            }
            (false, Some(seq)) => {
                let order = order(self.last, &self.prints, seq, print);
                if order != Order::Repeated {
                    self.resolve(order);
                    self.took(seq, print);
                }
                order
            }
        };
        match order {
            Order::Next => {}
            Order::Repeated => {
                let detail = || format!("{}: delivered again and left out", message.topic());
                out.tell(coverage::REPEATED, &self.name, 1, detail);
                return false;
            }
            Order::Gap(missing) => {
                let since = Some(self.heard);
                let detail = || {
                    format!(
                        "messages are missing before number {} of the node",
                        payload.seq.unwrap_or_default()
                    )
                };
                out.told.say(coverage::GAP, &self.name, since, missing, detail);
            }
        }
        self.heard = out.now;
        true
    }

    fn resolve(&mut self, order: Order) {
        if self.doubt == Doubt::Open {
            let whole = order == Order::Next && self.last.is_some();
            self.doubt = if whole { Doubt::None } else { Doubt::Held };
        }
    }

    fn took(&mut self, seq: u8, print: u32) {
        self.last = Some(seq);
        self.prints[usize::from(seq)] = Some(print);
    }

    /// Looks at the node's clock. What the broker kept for a while is older for a good reason.
    fn skew(&mut self, payload: &Payload<'_>, fresh: bool, out: &mut Out<'_>) {
        let Some(time) = payload.timestamp.and_then(micros) else { return };
        let ahead = time - out.now;
        let skewed = ahead > SKEW_MAX || (fresh && ahead < -SKEW_MAX);
        if skewed && !self.skewed {
            let (seconds, how) = (ahead.abs() / SECOND, if ahead > 0 { "ahead" } else { "behind" });
            out.tell(coverage::SKEW, &self.name, 1, || format!("the node's clock is {seconds} s {how}"));
        }
        self.skewed = skewed;
    }

    /// Takes a birth of the node or of a device; answers how many names are new.
    fn birth(
        &mut self,
        device: usize,
        payload: &Payload<'_>,
        print: u32,
        free: usize,
        out: &mut Out<'_>,
    ) -> usize {
        if device == 0 {
            self.number = birth_number(payload);
            for device in &mut self.devices {
                device.born = false;
            }
        }
        self.devices[device].print = Some(print);
        self.devices[device].birth(payload, free, out)
    }

    fn death(&mut self, payload: &Payload<'_>, out: &mut Out<'_>) {
        let number = birth_number(payload);
        if let (Some(born), Some(died)) = (self.number, number)
            && born != died
        {
            let detail = || format!("a death of birth {died} (bdSeq) while birth {born} holds: left out");
            out.tell(coverage::UNKNOWN, &self.name, 1, detail);
            return;
        }
        for device in &mut self.devices {
            device.born = false;
        }
        let detail = format!("the node died, and {} devices with it", self.devices.len() - 1);
        self.devices[0].reports.down(out.now, &detail, out.rows);
        self.last = None;
    }

    /// Somebody else writes to the plant.
    fn command(&self, device: u32, message: &Message, payload: &Payload<'_>, out: &mut Out<'_>) {
        let device = &self.devices[device as usize];
        let mut description = String::new();
        for metric in payload.metrics().flatten().take(8) {
            let name = metric.name.and_then(|name| std::str::from_utf8(name).ok()).unwrap_or_default();
            let value = match metric.meaning(metric.datatype) {
                Meaning::Number(value) | Meaning::Unfit(value) => value.to_string(),
                Meaning::Text(text) => clip(text).to_string(),
                Meaning::Nothing | Meaning::Unreadable => String::new(),
            };
            if !description.is_empty() {
                description.push_str(", ");
            }
            description.push_str(&format!("{} = {value}", clip(name)));
        }
        out.rows.push(Row::Log(&LogRow {
            time: payload.timestamp.and_then(micros).unwrap_or(out.now),
            observed: out.now,
            tool: &device.tool,
            category: "command",
            event: if message.topic().contains("/NCMD/") { "NCMD" } else { "DCMD" },
            description: &description,
            ..Default::default()
        }));
    }
}

/// How a message with this number and checksum stands to the last ones.
fn order(last: Option<u8>, prints: &[Option<u32>; 256], seq: u8, print: u32) -> Order {
    let Some(last) = last else { return Order::Next };
    let expected = last.wrapping_add(1);
    if seq == expected {
        Order::Next
    } else if prints[usize::from(seq)] == Some(print) {
        Order::Repeated
    } else {
        Order::Gap(seq.wrapping_sub(expected).into())
    }
}

impl Device {
    fn new(name: &str, tool: &str) -> Self {
        Device {
            name: name.into(),
            tool: tool.into(),
            reports: Reports::new(name, None),
            born: false,
            births: 0,
            print: None,
            metrics: Vec::new(),
            named: FxHashMap::default(),
            dense: Vec::new(),
            sparse: FxHashMap::default(),
        }
    }

    /// Learns the metrics and puts out their values; answers how many names are new.
    fn birth(&mut self, payload: &Payload<'_>, free: usize, out: &mut Out<'_>) -> usize {
        self.births += 1;
        self.dense.clear();
        self.sparse.clear();
        let (mut new, mut over, mut odd) = (0, 0, Odd::default());
        let mut identity = Identity::default();
        for metric in payload.metrics() {
            let Ok(metric) = metric else {
                odd.bad += 1;
                continue;
            };
            let name = match metric.name.map(std::str::from_utf8) {
                Some(Ok(name)) if !name.is_empty() && name.len() <= NAME_BYTES_MAX => name,
                _ => {
                    odd.bad += 1;
                    continue;
                }
            };
            let at = match self.named.get(name) {
                Some(at) => *at,
                None if new >= free => {
                    over += 1;
                    continue;
                }
                None => {
                    new += 1;
                    let at = self.metrics.len() as u32;
                    self.metrics.push(Known { signal: NONE, datatype: 0, birth: 0 });
                    self.named.insert(name.into(), at);
                    at
                }
            };
            let signal = match name {
                "bdSeq" => NONE,
                _ if is_scalar(metric.datatype) => {
                    let full = format!("{}/{name}", self.name);
                    let given = Given {
                        name: &full,
                        tool: &self.tool,
                        unit: metric.unit().unwrap_or_default(),
                        ..Default::default()
                    };
                    out.signals.number(&given)
                }
                _ => {
                    odd.other(name, metric.datatype);
                    NONE
                }
            };
            self.metrics[at as usize] = Known { signal, datatype: metric.datatype, birth: self.births };
            if let Some(alias) = metric.alias {
                self.alias(alias, at, payload.count);
            }
            identity.note(name, &metric);
            if signal != NONE {
                put(&self.metrics[at as usize], &metric, payload.timestamp, 0, &mut odd, out);
            }
        }
        self.born = true;
        let detail = format!("born with {} metrics", payload.count);
        self.reports.up(out.now, &detail, out.rows);
        identity.put(self, payload.timestamp.and_then(micros).unwrap_or(out.now), out);
        odd.tell(&self.name, out);
        if over > 0 {
            out.tell(coverage::DROP, &self.name, over, || {
                "more metrics than `metrics_max` of the collector".into()
            });
        }
        new
    }

    /// Puts out values of metrics that were born.
    fn data(&mut self, payload: &Payload<'_>, doubt: u8, out: &mut Out<'_>) {
        let mut odd = Odd::default();
        for metric in payload.metrics() {
            let Ok(metric) = metric else {
                odd.bad += 1;
                continue;
            };
            let at = match (metric.alias, metric.name) {
                (Some(alias), _) if (alias as usize) < self.dense.len() => self.dense[alias as usize],
                (Some(alias), None) => self.sparse.get(&alias).copied().unwrap_or(NONE),
                (alias, Some(name)) => {
                    let by_alias = alias.and_then(|alias| self.sparse.get(&alias));
                    let by_name = || std::str::from_utf8(name).ok().and_then(|name| self.named.get(name));
                    by_alias.or_else(by_name).copied().unwrap_or(NONE)
                }
                (None, None) => NONE,
            };
            match self.metrics.get(at as usize) {
                Some(known) if known.birth == self.births && self.born => {
                    if known.signal == NONE {
                        odd.other += 1;
                    } else {
                        put(known, &metric, payload.timestamp, doubt, &mut odd, out);
                    }
                }
                _ => odd.unknown += 1,
            }
        }
        if odd.unknown > 0 {
            let born = self.born;
            out.tell(coverage::UNKNOWN, &self.name, odd.unknown, || match born {
                true => "values of metrics that the birth did not have".into(),
                false => "values without a birth: nothing is known of them until the next one".into(),
            });
        }
        // Told by the birth.
        odd.other = 0;
        odd.tell(&self.name, out);
    }

    fn alias(&mut self, alias: u64, at: u32, count: u64) {
        // Aliases are mostly numbered one by one: then they are an index.
        if alias < 4 * count + 1024 {
            let alias = alias as usize;
            if self.dense.len() <= alias {
                self.dense.resize(alias + 1, NONE);
            }
            self.dense[alias] = at;
        } else {
            self.sparse.insert(alias, at);
        }
    }
}

/// What could not be read of a message.
#[derive(Default)]
struct Odd {
    bad: u64,
    unknown: u64,
    unfit: u64,
    other: u64,
    example: String,
}

impl Odd {
    fn other(&mut self, name: &str, datatype: u32) {
        self.other += 1;
        if self.example.is_empty() {
            self.example = format!("{} of type {}", clip(name), type_name(datatype));
        }
    }

    fn tell(&self, subject: &str, out: &mut Out<'_>) {
        if self.bad > 0 {
            out.tell(coverage::MALFORMED, subject, self.bad, || "metrics that cannot be read".into());
        }
        if self.unfit > 0 {
            let detail = || "values that are not of the type that their birth says".into();
            out.tell(coverage::MALFORMED, subject, self.unfit, detail);
        }
        if self.other > 0 {
            let detail = || format!("metrics that are neither numbers nor texts, as {}", self.example);
            out.tell(coverage::UNKNOWN, subject, self.other, detail);
        }
    }
}

/// Puts out a value.
#[inline]
fn put(
    known: &Known,
    metric: &Metric<'_>,
    timestamp: Option<u64>,
    doubt: u8,
    odd: &mut Odd,
    out: &mut Out<'_>,
) {
    let datatype = if metric.datatype == 0 { known.datatype } else { metric.datatype };
    let time = metric.timestamp.or(timestamp).and_then(micros).unwrap_or(out.now);
    let quality = if metric.properties.is_some() { metric.quality() } else { 0 };
    let reading = |least: u8| Reading { time, observed: out.now, quality: quality.max(least) };
    match metric.meaning(datatype) {
        Meaning::Number(value) => out.signals.value(known.signal, reading(doubt), value, out.rows),
        Meaning::Unfit(value) => {
            odd.unfit += 1;
            out.signals.value(known.signal, reading(1), value, out.rows);
        }
        Meaning::Text(text) if text.len() <= TEXT_BYTES_MAX => {
            out.signals.text(known.signal, reading(doubt), text, out.rows);
        }
        Meaning::Nothing => out.signals.value(known.signal, reading(2), f64::NAN, out.rows),
        Meaning::Text(_) | Meaning::Unreadable => odd.unfit += 1,
    }
}

/// What a birth's properties say of the equipment.
#[derive(Default)]
struct Identity<'a> {
    vendor: &'a str,
    model: &'a str,
    firmware: &'a str,
    serial: &'a str,
    system: &'a str,
}

impl<'a> Identity<'a> {
    fn note(&mut self, name: &str, metric: &Metric<'a>) {
        let Value::Text(text) = metric.value else { return };
        let Ok(text) = std::str::from_utf8(text) else { return };
        if text.len() > TEXT_BYTES_MAX {
            return;
        }
        let field = match name.strip_prefix("Properties/").unwrap_or(name) {
            "Hardware Make" => &mut self.vendor,
            "Hardware Model" => &mut self.model,
            "FW" | "Firmware" | "Firmware Version" => &mut self.firmware,
            "Serial Number" | "Hardware Serial" => &mut self.serial,
            "OS" => &mut self.system,
            _ => return,
        };
        *field = text;
    }

    fn put(&self, device: &Device, time: Micros, out: &mut Out<'_>) {
        let Identity { vendor, model, firmware, serial, system } = *self;
        if [vendor, model, firmware, serial, system].iter().all(|text| text.is_empty()) {
            return;
        }
        let detail = match system {
            "" => String::new(),
            system => serde_json::json!({ "os": system }).to_string(),
        };
        out.rows.push(Row::Identity(&IdentityRow {
            time,
            observed: out.now,
            tool: &device.tool,
            protocol: "sparkplug",
            vendor,
            model,
            firmware,
            serial,
            name: &device.name,
            detail: &detail,
            ..Default::default()
        }));
    }
}

/// A host application is there, or not.
fn state(host: &str, message: &Message, out: &mut Out<'_>) {
    let json = serde_json::from_slice::<serde_json::Value>(&message.payload).ok();
    let online = match &json {
        Some(json) => json.get("online").and_then(serde_json::Value::as_bool),
        // Before version 3.
        None => match &message.payload[..] {
            b"ONLINE" => Some(true),
            b"OFFLINE" => Some(false),
            _ => None,
        },
    };
    let Some(online) = online else {
        let detail = || format!("{}: it does not say whether the host is online", clip(message.topic()));
        return out.tell(coverage::MALFORMED, "", 1, detail);
    };
    let said = json.as_ref().and_then(|json| json.get("timestamp")).and_then(serde_json::Value::as_u64);
    let event = if online { "online" } else { "offline" };
    out.rows.push(Row::Log(&LogRow {
        time: said.and_then(micros).unwrap_or(out.now),
        observed: out.now,
        category: "state",
        event,
        description: &format!("host application {} is {event}", clip(host)),
        ..Default::default()
    }));
}

fn birth_number(payload: &Payload<'_>) -> Option<u64> {
    payload.metrics().flatten().find(|metric| metric.name == Some(b"bdSeq")).and_then(|metric| {
        match metric.value {
            Value::Int(number) => Some(number.into()),
            Value::Long(number) => Some(number),
            _ => None,
        }
    })
}

/// Milliseconds since 1970 that a clock can show: until the year 9999.
fn micros(milliseconds: u64) -> Option<Micros> {
    (1..253_402_300_800_000).contains(&milliseconds).then_some(milliseconds as Micros * 1000)
}

#[cfg(test)]
mod tests;
