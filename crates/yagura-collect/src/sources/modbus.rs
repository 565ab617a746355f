//! Modbus/TCP devices, polled by a register map.
//!
//! Each device has one connection and a steady schedule. Its map is read in the fewest requests; a request that it
//! refuses is taken apart until the entries are known that do not fit, which are told once and asked for seldom.
//! An answer that is late never passes for another one: the connection goes with it. Nothing but reading can be
//! sent ([`client`]).

mod client;
mod device;
mod map;
mod plan;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use yagura_event::clock::{self, Micros, SECOND};
use yagura_event::rows::{IdentityRow, Row};
use yagura_event::vocabulary::coverage;

use crate::feed::{self, Feed, Outlet};
use crate::names::{Given, Reading, Signals};
use crate::places::{PlacedSink, Places};
use crate::reports::Reports;
use crate::source::{LiveSource, Opened, Opening, Seen, Settings, SourceError};
use yagura_event::amounts::Time;

use client::{Held, Identity, meaning};
use device::{Device, News, Pace, RANGES_TOLD, Target, What};
use map::{Base, Entry, Line, Value};
use plan::Limits;

pub use client::{Range, Table};

/// Devices of one collector.
const DEVICES_MAX: usize = 10_000;

/// The most often that a device may be read.
const EVERY_MIN: Micros = SECOND / 100;

/// Answers that wait for the collector's thread.
const QUEUE_BYTES: usize = 8 << 20;

/// What the collector's thread takes at once.
const STEP_BYTES: usize = 1 << 20;

/// The most registers and bits of one request (Modbus Application Protocol 1.1b3, 6.1 and 6.3).
const REGISTERS_MAX: u16 = 125;
const BITS_MAX: u16 = 2000;

/// Settings of `kind: modbus`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModbusDevices {
    /// What is polled.
    devices: Vec<DeviceSettings>,
    /// How long a connection, and each answer, may take. After that the connection is made anew, so that what
    /// comes late is not taken for another answer.
    #[serde(default = "timeout")]
    timeout: Time,
    /// The most requests a second to one address, over all units behind it.
    #[serde(default = "max_requests_per_second")]
    max_requests_per_second: u32,
    /// So many registers that nobody wants (for bits: 16 times as many) are read along rather than asking twice.
    #[serde(default = "gap")]
    gap: u16,
    /// The most registers of one request, for devices that give fewer than 125.
    #[serde(default = "registers_max")]
    registers_max: u16,
    /// How long a range that a device refuses is left alone.
    #[serde(default = "refused_again")]
    refused_again: Time,
    /// Whether devices are asked who they are (function 43/14) when they are connected.
    #[serde(default = "yes")]
    identify: bool,
    /// A device of which nothing came for so long is told as silent; three polls, or ten seconds, without it.
    #[serde(default)]
    silence: Option<Time>,
    /// Rows are handed to the log after this much time.
    #[serde(default = "batch")]
    batch: Time,
}

/// One device.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeviceSettings {
    /// Its name; its signals are called `NAME/SIGNAL`.
    name: String,
    /// `HOST` or `HOST:PORT`; port 502 without one.
    address: String,
    /// The unit behind the address: 255 or 0 for the device itself, others for those behind a gateway.
    #[serde(default = "unit")]
    unit_id: u8,
    /// How often its map is read.
    #[serde(default = "every")]
    every: Time,
    /// What the numbers of registers are: `zero`, `one` or `4xxxx`.
    base: Base,
    /// The signals: a CSV file with the columns name, register, kind, and as needed type, order, scale, offset,
    /// unit, class, tool, chamber; or a list of entries with these fields.
    map: MapSettings,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum MapSettings {
    File(PathBuf),
    Lines(Vec<Line>),
}

fn timeout() -> Time {
    Time(SECOND)
}

fn max_requests_per_second() -> u32 {
    50
}

fn gap() -> u16 {
    8
}

fn registers_max() -> u16 {
    REGISTERS_MAX
}

fn refused_again() -> Time {
    Time(600 * SECOND)
}

fn yes() -> bool {
    true
}

fn batch() -> Time {
    Time(SECOND)
}

fn unit() -> u8 {
    255
}

fn every() -> Time {
    Time(SECOND)
}

impl Settings for ModbusDevices {
    const KIND: &'static str = "modbus";
    const READS: &'static str = "Modbus/TCP devices, polled by a register map";

    fn open(self, at: &Opening<'_>) -> Result<Opened, SourceError> {
        let (batch, silence) = (self.batch.0, self.silence);
        let devices = self.devices(at)?;
        let signals = Signals::new(at.collector, &at.plant.names);
        let source = Modbus::new(at.collector, batch, silence, devices, signals, at.plant.runtime.clone());
        Ok(Opened::Live(Box::new(source)))
    }

    fn probe(self, at: &Opening<'_>) -> Result<String, SourceError> {
        let devices = self.devices(at)?;
        // Whoever asks may be on a thread of the runtime: the devices are asked there, and waited for here.
        let (done, answers) = std::sync::mpsc::sync_channel(devices.len());
        let names: Vec<(String, String, Arc<[Entry]>)> = devices
            .into_iter()
            .map(|(name, target)| {
                let (number, done) = (target.number, done.clone());
                let known = (name, target.address.clone(), Arc::clone(&target.map));
                at.plant.runtime.spawn(async move {
                    // The other end may be gone already.
                    let _ = done.send((number, Device::new(target, None).probe().await));
                });
                known
            })
            .collect();
        drop(done);
        let mut answers: Vec<_> = answers.into_iter().collect();
        answers.sort_by_key(|(number, _)| *number);
        let mut said = Vec::new();
        for (number, answer) in answers {
            let (name, address, map) = &names[number as usize];
            let peer = format!("{name} at {address}");
            let (identity, refused) = answer.map_err(|cause| SourceError::Peer {
                peer: peer.clone(),
                cause,
                remedy:
                    "check `address`, `unit_id`, the firewall, and that the device admits one more connection"
                        .into(),
            })?;
            if !refused.is_empty() {
                return Err(SourceError::Peer {
                    peer,
                    cause: format!("refuses {}", listed(&refused, map)),
                    remedy: "correct `register`, `kind` or `base` of its map".into(),
                });
            }
            let who = identity.map(|who| format!(" ({} {})", who.vendor, who.code)).unwrap_or_default();
            said.push(format!("{peer}{who} answers all {} signals", map.len()));
        }
        Ok(said.join("; "))
    }
}

/// Which entries are refused, and why.
fn listed(refused: &[(u8, Arc<plan::Block>)], map: &[Entry]) -> String {
    let mut parts: Vec<String> = refused
        .iter()
        .take(RANGES_TOLD)
        .map(|(code, block)| {
            let names: Vec<&str> = block.entries.iter().map(|n| map[*n as usize].name.as_str()).collect();
            format!("{} ({}): {}", block.range, shortened(&names), meaning(*code))
        })
        .collect();
    if refused.len() > RANGES_TOLD {
        parts.push(format!("and {} further ranges", refused.len() - RANGES_TOLD));
    }
    parts.join("; ")
}

/// The first few names.
fn shortened(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [first, second, third, _, ..] => format!("{first}, {second}, {third} and {} more", names.len() - 3),
        few => few.join(", "),
    }
}

impl ModbusDevices {
    /// Reads the maps and checks what the types cannot.
    fn devices(self, at: &Opening<'_>) -> Result<Vec<(String, Target)>, SourceError> {
        if self.devices.is_empty() || self.devices.len() > DEVICES_MAX {
            return Err(at.wrong(format!("`devices` names between 1 and {DEVICES_MAX} devices")));
        }
        if self.max_requests_per_second == 0 {
            return Err(at.wrong("`max_requests_per_second` is at least 1"));
        }
        if !(1..=REGISTERS_MAX).contains(&self.registers_max) {
            return Err(at.wrong("`registers_max` is between 1 and 125"));
        }
        if self.timeout.0 <= 0 || self.batch.0 <= 0 {
            return Err(at.wrong("`timeout` and `batch` are longer than 0"));
        }
        let limits = Limits { gap: self.gap, registers: self.registers_max, bits: BITS_MAX };
        let (total, mut out) = (self.devices.len() as u32, Vec::new());
        let mut paces: BTreeMap<String, (Arc<Pace>, f64)> = BTreeMap::new();
        let mut names = std::collections::BTreeSet::new();
        for (number, device) in (0..).zip(self.devices) {
            let name = device.name;
            if name.is_empty() || !names.insert(name.clone()) {
                return Err(at.wrong(format!("each device has a name of its own, unlike `{name}`")));
            }
            if device.every.0 < EVERY_MIN {
                return Err(at.wrong(format!("{name}: `every` is at least 10ms")));
            }
            let map = match device.map {
                MapSettings::File(file) => map::read(&at.path(&file), device.base),
                MapSettings::Lines(lines) => map::inline(lines, device.base),
            };
            let map: Arc<[Entry]> = map.map_err(|e| at.wrong(format!("{name}: map: {e}")))?.into();
            let address = with_port(&device.address);
            let requests = plan::plan(&map, 0..map.len() as u32, limits).len() as f64;
            let pace = paces
                .entry(address.clone())
                .or_insert_with(|| (Pace::new(self.max_requests_per_second), 0.0));
            pace.1 += requests / device.every.duration().as_secs_f64();
            let every = device.every.duration();
            out.push((
                name,
                Target {
                    number,
                    address,
                    unit: device.unit_id,
                    every,
                    phase: every * number / total,
                    wait: self.timeout.duration(),
                    again: self.refused_again.duration(),
                    identify: self.identify,
                    map,
                    limits,
                    pace: Arc::clone(&pace.0),
                },
            ));
        }
        for (address, (_, needed)) in paces {
            if needed > f64::from(self.max_requests_per_second) {
                return Err(at.wrong(format!(
                    "{address} would get {needed:.1} requests a second, and `max_requests_per_second` is {}: raise it, poll less often (`every`), or read more along (`gap`)",
                    self.max_requests_per_second
                )));
            }
        }
        Ok(out)
    }
}

fn with_port(address: &str) -> String {
    // An IPv6 address has colons of its own; in brackets it may have a port.
    match address.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && (!host.contains(':') || host.ends_with(']')) => {
            address.into()
        }
        _ if address.contains(':') && !address.starts_with('[') => format!("[{address}]:502"),
        _ => format!("{}:502", address.trim_end_matches(':')),
    }
}

/// Devices being polled.
struct Modbus {
    collector: String,
    batch: Micros,
    signals: Signals,
    seats: Vec<Seat>,
    outlet: Outlet<News>,
    runtime: Handle,
    /// Until polling begins.
    waiting: Option<(Feed<News>, Vec<Target>)>,
    tasks: Vec<AbortHandle>,
    taken: Vec<News>,
    /// No row observed before will follow.
    promised: Micros,
    looked: Micros,
}

/// What the collector's thread keeps of a device.
struct Seat {
    name: String,
    address: String,
    reports: Reports,
    map: Arc<[Entry]>,
    /// The signals' numbers, by entry.
    numbers: Vec<u32>,
    /// Texts are told when they change: by entry, if it is one.
    texts: BTreeMap<u32, String>,
    identity: Option<Box<Identity>>,
}

impl Modbus {
    fn new(
        collector: &str,
        batch: Micros,
        silence: Option<Time>,
        devices: Vec<(String, Target)>,
        mut signals: Signals,
        runtime: Handle,
    ) -> Self {
        let (feed, outlet) = feed::feed(QUEUE_BYTES);
        let mut seats = Vec::with_capacity(devices.len());
        let mut targets = Vec::with_capacity(devices.len());
        for (name, target) in devices {
            let numbers = target.map.iter().map(|entry| {
                let full = format!("{name}/{}", entry.name);
                let tool = if entry.tool.is_empty() { &name } else { &entry.tool };
                let (chamber, unit, class) = (&entry.chamber, &entry.unit, &entry.class);
                signals.number(&Given { name: &full, tool, chamber, unit, class, ..Given::default() })
            });
            let numbers = numbers.collect();
            let usual = (3 * target.every.as_micros() as Micros).max(10 * SECOND);
            let silence = silence.map_or(usual, |silence| silence.0);
            seats.push(Seat {
                reports: Reports::new(&name, Some(silence)),
                address: target.address.clone(),
                map: Arc::clone(&target.map),
                name,
                numbers,
                texts: BTreeMap::new(),
                identity: None,
            });
            targets.push(target);
        }
        Modbus {
            collector: collector.into(),
            batch,
            signals,
            seats,
            outlet,
            runtime,
            waiting: Some((feed, targets)),
            tasks: Vec::new(),
            taken: Vec::new(),
            promised: Micros::MIN,
            looked: 0,
        }
    }

    /// Puts out what came. Answers come in the order in which they were observed, but for what happens between
    /// looking at the clock and queueing: that little is added.
    fn put_out(&mut self, out: &mut dyn PlacedSink) {
        for news in self.taken.drain(..) {
            let now = news.observed.max(self.promised);
            let Some(seat) = self.seats.get_mut(news.device as usize) else { continue };
            match news.what {
                What::Values(block, held) => seat.values(&self.signals, &block, &held, now, out),
                what => seat.event(what, now, out),
            }
        }
    }
}

impl Seat {
    fn values(
        &mut self,
        signals: &Signals,
        block: &plan::Block,
        held: &Held,
        now: Micros,
        out: &mut dyn PlacedSink,
    ) {
        self.reports.heard(now);
        for number in &block.entries {
            let entry = &self.map[*number as usize];
            let at = usize::from(entry.start - block.range.start);
            let value = match held {
                Held::Words(words) => words.get(at..at + usize::from(entry.count)).map(|w| entry.of_words(w)),
                Held::Bits(bits) => bits.get(at).map(|bit| entry.of_bit(*bit)),
            };
            let signal = self.numbers[*number as usize];
            let reading = |quality| Reading { time: now, observed: now, quality };
            match value {
                Some(Value::Number(value)) => {
                    let quality = if value.is_finite() { 0 } else { 2 };
                    signals.value(signal, reading(quality), value, out);
                }
                Some(Value::Text(text)) if self.texts.get(number) != Some(&text) => {
                    signals.text(signal, reading(0), &text, out);
                    self.texts.insert(*number, text);
                }
                Some(Value::Text(_)) | None => {}
            }
        }
    }

    fn event(&mut self, what: What, now: Micros, out: &mut dyn PlacedSink) {
        let Seat { reports, address, map, .. } = self;
        match what {
            What::Up => reports.up(now, &format!("{address} answers"), out),
            What::Down(cause) => reports.down(now, &format!("{address}: {cause}"), out),
            What::Identity(identity) => self.identity(identity, now, out),
            What::Refused(code, blocks) => {
                let count = blocks.iter().map(|block| block.entries.len() as u64).sum();
                let refused: Vec<_> = blocks.into_iter().map(|block| (code, block)).collect();
                let detail = format!("refused: {}; asked for again now and then", listed(&refused, map));
                reports.say(coverage::GAP, (now, now), now, count, &detail, out);
            }
            What::Accepted(block, since) => {
                let detail = format!("{} is given now", block.range);
                let count = block.entries.len() as u64;
                reports.say(coverage::GAP, (since, now), now, count, &detail, out);
            }
            What::Trouble(code, block) => {
                let detail = format!("{}: {}", block.range, meaning(code));
                reports.say(coverage::GAP, (now, now), now, block.entries.len() as u64, &detail, out);
            }
            What::Late(count, since) => {
                let detail = "polls were left out: reading the map took longer than `every`";
                reports.say(coverage::GAP, (since, now), now, count, detail, out);
            }
            What::Values(..) => {}
        }
    }

    fn identity(&mut self, identity: Box<Identity>, now: Micros, out: &mut dyn PlacedSink) {
        if self.identity.as_ref() == Some(&identity) {
            return;
        }
        let [url, product, model, application] = &identity.more;
        let known = [("url", url), ("product", product), ("model", model), ("application", application)];
        let detail: BTreeMap<&str, &String> =
            known.into_iter().filter(|(_, text)| !text.is_empty()).collect();
        let detail = match detail.is_empty() {
            true => String::new(),
            false => serde_json::to_string(&detail).unwrap_or_default(),
        };
        out.push(Row::Identity(&IdentityRow {
            time: now,
            observed: now,
            address: host(&self.address),
            tool: &self.name,
            protocol: "modbus",
            vendor: &identity.vendor,
            model: &identity.code,
            firmware: &identity.revision,
            name: product,
            detail: &detail,
            ..Default::default()
        }));
        self.identity = Some(identity);
    }
}

/// The address without its port.
fn host(address: &str) -> &str {
    address.rsplit_once(':').map_or(address, |(host, _)| host.trim_matches(['[', ']']))
}

impl LiveSource for Modbus {
    fn collector(&self) -> &str {
        &self.collector
    }

    fn batch(&self) -> Micros {
        self.batch
    }

    fn begin(&mut self, _places: &Places, _notes: &Path) -> Result<(), SourceError> {
        if let Some((feed, targets)) = self.waiting.take() {
            self.tasks = targets
                .into_iter()
                .map(|target| {
                    self.runtime.spawn(Device::new(target, Some(feed.clone())).run()).abort_handle()
                })
                .collect();
        }
        Ok(())
    }

    fn advance(&mut self, wait: Duration, out: &mut dyn PlacedSink) -> Micros {
        let before = clock::now();
        self.outlet.take(wait, STEP_BYTES, &mut self.taken);
        // When more waits than one step takes, the promise goes no further than what was taken.
        let last = self.taken.last().map(|news| news.observed);
        self.put_out(out);
        let reached = last.map_or(before, |last| before.min(last).max(self.promised));
        self.promised = self.promised.max(reached);
        if self.promised - self.looked >= SECOND {
            self.looked = self.promised;
            for seat in &mut self.seats {
                seat.reports.look(self.promised, out);
            }
            self.signals.report(self.promised, out);
        }
        self.promised
    }

    fn finish(&mut self, out: &mut dyn PlacedSink) {
        self.outlet.close();
        for task in self.tasks.drain(..) {
            task.abort();
        }
        self.outlet.take(Duration::ZERO, usize::MAX, &mut self.taken);
        self.put_out(out);
        let now = clock::now().max(self.promised);
        for seat in &mut self.seats {
            seat.reports.stop(now, "polling ends", out);
        }
    }

    fn seen(&self) -> Seen {
        Seen::default()
    }
}

impl Drop for Modbus {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_port_of_their_own_or_the_usual_one() {
        for (written, meant) in [
            ("10.0.0.1", "10.0.0.1:502"),
            ("pump:1502", "pump:1502"),
            ("fe80::1", "[fe80::1]:502"),
            ("[fe80::1]", "[fe80::1]:502"),
            ("[fe80::1]:1502", "[fe80::1]:1502"),
        ] {
            assert_eq!(with_port(written), meant);
        }
        assert_eq!((host("[fe80::1]:502"), host("10.0.0.1:502")), ("fe80::1", "10.0.0.1"));
    }
}
