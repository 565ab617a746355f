//! The collector's thread: what the servers' tasks say becomes rows.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use yagura_event::clock::{self, Micros, SECOND};
use yagura_event::rows::{IdentityRow, Row};

use super::PATIENCE;
use super::link::{Link, Profile};
use super::nodes::{self, Found, Node};
use super::subscription::{Durable, Event, Message, Task, Up};
use crate::feed::{Feed, Outlet, feed};
use crate::names::{Given, Reading, Signals};
use crate::places::{PlacedSink, Places};
use crate::reports::Reports;
use crate::source::{LiveSource, Opening, Seen, SourceError};

/// Servers that are connected to at once.
const CONNECTING_MAX: usize = 32;
/// Bytes of notifications that one step takes.
const STEP_BYTES: usize = 1 << 20;
/// How long sessions may take to end.
const FAREWELL: Duration = Duration::from_secs(4);

/// OPC UA servers being read.
pub(super) struct Servers {
    collector: String,
    batch: Micros,
    runtime: Handle,
    feed: Feed<Message>,
    outlet: Outlet<Message>,
    servers: Vec<Server>,
    signals: Signals,
    tasks: Vec<JoinHandle<()>>,
    stop: watch::Sender<bool>,
    taken: Vec<Message>,
    looked: Micros,
}

struct Server {
    profile: Arc<Profile>,
    reports: Reports,
    /// It was up once.
    began: bool,
    /// By variable, the number of its signal.
    numbers: Vec<u32>,
    durable: Arc<Durable>,
    /// Messages whose rows are not durable yet.
    written: Vec<(u32, u32)>,
}

impl Servers {
    pub fn new(at: &Opening<'_>, profiles: Vec<Profile>, batch: Micros, queue: usize) -> Self {
        let (feed, outlet) = feed(queue);
        let server = |profile: Profile| Server {
            reports: Reports::new(&profile.server.endpoint, None),
            profile: Arc::new(profile),
            began: false,
            numbers: Vec::new(),
            durable: Arc::default(),
            written: Vec::new(),
        };
        Servers {
            collector: at.collector.into(),
            batch,
            runtime: at.plant.runtime.clone(),
            feed,
            outlet,
            servers: profiles.into_iter().map(server).collect(),
            signals: Signals::new(at.collector, &at.plant.names),
            tasks: Vec::new(),
            stop: watch::Sender::new(false),
            taken: Vec::new(),
            looked: 0,
        }
    }

    fn write(&mut self, bytes_max: usize, wait: Duration, out: &mut dyn PlacedSink) {
        let mut taken = std::mem::take(&mut self.taken);
        self.outlet.take(wait, bytes_max, &mut taken);
        for message in taken.drain(..) {
            let Some(server) = self.servers.get_mut(message.server) else { continue };
            server.write(message, &mut self.signals, out);
        }
        self.taken = taken;
    }
}

impl Server {
    fn write(&mut self, message: Message, signals: &mut Signals, out: &mut dyn PlacedSink) {
        let now = message.observed;
        match message.event {
            Event::Values { subscription, sequence, numbers, texts } => {
                for number in numbers {
                    let time = number.time.unwrap_or(now);
                    let reading = Reading { time, observed: now, quality: number.quality };
                    if let Some(signal) = self.numbers.get(number.node as usize) {
                        signals.value(*signal, reading, number.value, out);
                    }
                }
                for text in texts {
                    let reading =
                        Reading { time: text.time.unwrap_or(now), observed: now, quality: text.quality };
                    if let Some(signal) = self.numbers.get(text.node as usize) {
                        signals.text(*signal, reading, &text.value, out);
                    }
                }
                self.written.push((subscription, sequence));
            }
            Event::Up(Up { nodes, continued, detail }) => {
                if let Some(nodes) = nodes {
                    let tool = &self.profile.server.name;
                    self.numbers = nodes.iter().map(|node| signals.number(&given(node, tool))).collect();
                }
                match continued && self.began {
                    true => self.reports.resumed(now, &detail, out),
                    false => self.reports.up(now, &detail, out),
                }
                self.began = true;
            }
            Event::Down(why) => self.reports.down(now, &why, out),
            Event::Said { event, from, count, detail } => {
                self.reports.say(event, (from, now), now, count, &detail, out);
            }
            Event::Identity(info) => {
                let firmware = match info.build_number.as_ref() {
                    "" => info.software_version.as_ref().to_string(),
                    build => format!("{} ({build})", info.software_version),
                };
                out.push(Row::Identity(&IdentityRow {
                    time: now,
                    observed: now,
                    address: self.profile.server.address(),
                    tool: &self.profile.server.name,
                    protocol: "opcua",
                    vendor: info.manufacturer_name.as_ref(),
                    model: info.product_name.as_ref(),
                    firmware: &firmware,
                    detail: &serde_json::json!({ "product_uri": info.product_uri.as_ref() }).to_string(),
                    ..Default::default()
                }));
            }
        }
    }
}

fn given<'a>(node: &'a Node, tool: &'a str) -> Given<'a> {
    Given { name: &node.name, tool, unit: &node.unit, ..Given::default() }
}

impl LiveSource for Servers {
    fn collector(&self) -> &str {
        &self.collector
    }

    fn batch(&self) -> Micros {
        self.batch
    }

    fn begin(&mut self, _places: &Places, _notes: &Path) -> Result<(), SourceError> {
        let connecting = Arc::new(Semaphore::new(CONNECTING_MAX));
        for (server, known) in self.servers.iter().enumerate() {
            let task = Task {
                server,
                profile: Arc::clone(&known.profile),
                feed: self.feed.clone(),
                durable: Arc::clone(&known.durable),
                stop: self.stop.subscribe(),
                connecting: Arc::clone(&connecting),
            };
            self.tasks.push(self.runtime.spawn(task.run()));
        }
        Ok(())
    }

    fn advance(&mut self, wait: Duration, out: &mut dyn PlacedSink) -> Micros {
        // Before anything is taken: what comes later was observed later.
        let now = clock::now();
        self.write(STEP_BYTES, wait, out);
        if now - self.looked >= SECOND {
            self.looked = now;
            self.signals.report(now, out);
        }
        now
    }

    fn durable(&mut self) {
        for server in &mut self.servers {
            if !server.written.is_empty() {
                server.durable.add(server.written.drain(..));
            }
        }
    }

    fn finish(&mut self, out: &mut dyn PlacedSink) {
        self.stop.send_replace(true);
        let end = clock::steady() + FAREWELL.as_micros() as Micros;
        while clock::steady() < end && self.tasks.iter().any(|task| !task.is_finished()) {
            self.write(STEP_BYTES, Duration::from_millis(20), out);
        }
        self.outlet.close();
        self.write(usize::MAX, Duration::ZERO, out);
        for task in &self.tasks {
            task.abort();
        }
        let now = clock::now();
        for server in &mut self.servers {
            server.reports.stop(now, "", out);
        }
    }

    fn seen(&self) -> Seen {
        Seen { dropped: self.outlet.dropped(), ..Seen::default() }
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// What servers offer: of each, its settings, its variables, and what protects the connection; or what is wrong.
pub(crate) struct Offered {
    pub profile: Profile,
    pub found: Result<(Found, String), SourceError>,
}

/// Connects to every server and looks for the variables.
pub(crate) fn offered(profiles: Vec<Profile>, runtime: &Handle) -> Result<Vec<Offered>, SourceError> {
    let (answer, answers) = std::sync::mpsc::sync_channel(1);
    let waves = profiles.len().div_ceil(CONNECTING_MAX) as u32;
    // On a thread of the runtime: the caller may be on one of another.
    runtime.spawn(async move {
        let connecting = Arc::new(Semaphore::new(CONNECTING_MAX));
        let looks: Vec<_> = profiles
            .into_iter()
            .map(|profile| {
                let connecting = Arc::clone(&connecting);
                tokio::spawn(async move {
                    let _permit = connecting.acquire_owned().await;
                    let found = look(&profile).await;
                    Offered { profile, found }
                })
            })
            .collect();
        let mut out = Vec::with_capacity(looks.len());
        for look in looks {
            out.extend(look.await);
        }
        let _ = answer.send(out);
    });
    answers.recv_timeout(PATIENCE * 5 * waves).map_err(|_| SourceError::Peer {
        peer: "opcua".into(),
        cause: "no answer in time".into(),
        remedy: "try fewer servers at a time".into(),
    })
}

/// Says in a line what was found, or what is wrong with the first server that something is wrong with.
pub(super) fn probe(profiles: Vec<Profile>, runtime: &Handle) -> Result<String, SourceError> {
    let count = profiles.len();
    let offered = offered(profiles, runtime)?;
    let read = offered.len();
    let (mut lines, mut failed) = (Vec::new(), Vec::new());
    for Offered { profile, found } in offered {
        match found.and_then(|(found, detail)| complete(&profile, &found, &detail)) {
            Ok(line) => lines.push(line),
            Err(error) => failed.push(error),
        }
    }
    let others = failed.len().saturating_sub(1);
    match failed.into_iter().next() {
        None if read < count => Err(SourceError::Peer {
            peer: "opcua".into(),
            cause: format!("what {} of {count} servers sent could not be read", count - read),
            remedy: "look at their versions".into(),
        }),
        None if count == 1 => Ok(lines.pop().unwrap_or_default()),
        None => Ok(format!("{count} servers; {}", lines.first().map_or("", String::as_str))),
        Some(SourceError::Peer { peer, cause, remedy }) if others > 0 => {
            let remedy = format!("{remedy} (and something is wrong with {others} more of {count} servers)");
            Err(SourceError::Peer { peer, cause, remedy })
        }
        Some(error) => Err(error),
    }
}

/// Whether everything that the settings ask for is there.
fn complete(profile: &Profile, found: &Found, detail: &str) -> Result<String, SourceError> {
    let wrong = |cause: String, remedy: &str| {
        Err(SourceError::Peer { peer: profile.server.endpoint.clone(), cause, remedy: remedy.into() })
    };
    if found.missing.count > 0 {
        return wrong(
            format!("has no node {}", found.missing.list()),
            "look at `nodes`; `yagura discover opcua` lists what the server has",
        );
    }
    if found.nodes.is_empty() {
        return wrong("has no variable that `browse` asks for".into(), "look at its `include`");
    }
    let mut line = format!("{} variables; {detail}", found.nodes.len());
    if found.passed_over.count > 0 {
        line.push_str(&format!("; {} arrays and structures are not read", found.passed_over.count));
    }
    if found.more {
        line.push_str("; there are more than `max_nodes`");
    }
    Ok(line)
}

async fn look(profile: &Profile) -> Result<(Found, String), SourceError> {
    let peer = |cause: String, remedy: String| SourceError::Peer {
        peer: profile.server.endpoint.clone(),
        cause,
        remedy,
    };
    let link = profile.connect().await.map_err(|trouble| peer(trouble.cause, trouble.remedy))?;
    let Link { session, mut events, detail } = link;
    let work = async {
        let found = tokio::time::timeout(PATIENCE * 2, nodes::find(&session, profile)).await;
        let close = session.disconnect();
        let _ = tokio::time::timeout(Duration::from_secs(2), close).await;
        found
    };
    // The session lives as long as its events are asked for.
    let drive = async { while events.next().await.is_some() {} };
    tokio::pin!(work, drive);
    let found = tokio::select! {
        found = &mut work => found,
        () = &mut drive => work.await,
    };
    match found {
        Ok(Ok(found)) => Ok((found, detail)),
        Ok(Err(error)) => Err(peer(
            format!("does not let its nodes be read: {error}"),
            "look at the server and at what the user may do there".into(),
        )),
        Err(_) => Err(peer(
            "takes too long to tell its nodes".into(),
            "narrow `browse`, or raise its `rate`".into(),
        )),
    }
}
