//! The collector's thread: what the servers' tasks say becomes rows.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use yagura_event::clock::{self, Micros, SECOND};
use yagura_event::rows::{IdentityRow, Row};

use super::PATIENCE;
use super::link::{Link, Profile};
use super::nodes::{self, Node};
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

    fn begin(&mut self, _places: &Places) -> Result<(), SourceError> {
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

/// Connects to every server and looks for the variables; answers what was found, or what is wrong with the first.
pub(super) fn probe(profiles: Vec<Profile>, runtime: Handle) -> Result<String, SourceError> {
    let (answer, answers) = std::sync::mpsc::sync_channel(1);
    let count = profiles.len();
    // On a thread of the runtime: the caller may be on one of another.
    runtime.spawn(async move {
        let connecting = Arc::new(Semaphore::new(CONNECTING_MAX));
        let looks: Vec<_> = profiles
            .into_iter()
            .map(|profile| {
                let connecting = Arc::clone(&connecting);
                tokio::spawn(async move {
                    let _permit = connecting.acquire_owned().await;
                    look(&profile).await
                })
            })
            .collect();
        let mut out = Vec::with_capacity(looks.len());
        for look in looks {
            out.push(look.await);
        }
        let _ = answer.send(out);
    });
    let patience = PATIENCE * 4 * (count.div_ceil(CONNECTING_MAX) as u32);
    let defect = |cause: &str| SourceError::Peer {
        peer: "opcua".into(),
        cause: cause.into(),
        remedy: "look at the log of the server".into(),
    };
    let looks = answers.recv_timeout(patience).map_err(|_| defect("no answer in time"))?;
    let (mut found, mut failed, mut first) = (Vec::new(), 0, None);
    for look in looks {
        match look {
            Ok(Ok(line)) => found.push(line),
            Ok(Err(error)) => {
                failed += 1;
                first.get_or_insert(error);
            }
            Err(_) => {
                failed += 1;
                first.get_or_insert(defect("what the server sent could not be read"));
            }
        }
    }
    match first {
        None if count == 1 => Ok(found.pop().unwrap_or_default()),
        None => Ok(format!("{count} servers; {}", found.first().map_or("", String::as_str))),
        Some(SourceError::Peer { peer, cause, remedy }) if failed > 1 => Err(SourceError::Peer {
            peer,
            cause,
            remedy: format!("{remedy} (and {} of {count} servers more)", failed - 1),
        }),
        Some(error) => Err(error),
    }
}

async fn look(profile: &Profile) -> Result<String, SourceError> {
    let peer = |cause: String, remedy: String| SourceError::Peer {
        peer: profile.server.endpoint.clone(),
        cause,
        remedy,
    };
    let Link { session, mut events, detail } =
        profile.connect().await.map_err(|trouble| peer(trouble.cause, trouble.remedy))?;
    let work = async {
        let found = tokio::time::timeout(PATIENCE * 2, nodes::find(&session, profile)).await;
        let close = session.disconnect();
        let _ = tokio::time::timeout(Duration::from_secs(2), close).await;
        found
    };
    let drive = async {
        use futures::StreamExt;
        while events.next().await.is_some() {}
    };
    tokio::pin!(work, drive);
    let found = tokio::select! {
        found = &mut work => found,
        () = &mut drive => work.await,
    };
    let look_at = || "look at the server and at what the user may do there".to_string();
    let found = match found {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => return Err(peer(format!("does not let its nodes be read: {error}"), look_at())),
        Err(_) => return Err(peer("takes too long to tell its nodes".into(), "narrow `browse`".into())),
    };
    if found.missing.count > 0 {
        return Err(peer(
            format!("has no node {}", found.missing.list()),
            "look at `nodes`; `yagura discover opcua` lists what the server has".into(),
        ));
    }
    if found.nodes.is_empty() {
        return Err(peer("has no variable that `browse` asks for".into(), "look at its `include`".into()));
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
