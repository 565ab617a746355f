//! Topics of a Kafka that others write: each record becomes rows by a declared mapping.
//!
//! A partition is a stream and a record's offset its position: a restart goes on exactly there, and what the log
//! holds already is left out row by row. Nothing is written, no offset is committed, no group is joined. Offsets
//! that were deleted before they were read are told as a gap; a topic that was made anew goes on as a stream of
//! its own.

mod columns;
mod format;
mod partition;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use yagura_event::clock::{self, Micros, SECOND};
use yagura_event::vocabulary::coverage;
use yagura_log::{Log, LogError};

use crate::backoff::Backoff;
use crate::complaints::Complaints;
use crate::names::Signals;
use crate::places::{PlacedSink, Places};
use crate::reports::Reports;
use crate::source::{LiveSource, OpenLog, Opened, Opening, Seen, Settings, SourceError};
use yagura_event::amounts::{self, Time};

use format::{Format, FormatSettings};
use partition::{Partition, Reading};

/// Topics of one collector.
const TOPICS_MAX: usize = 256;

/// Partitions of one collector: each has a reader, which holds up to four times the `fetch_bytes` of the settings
/// `kafka`, 4 MiB unless set.
const PARTITIONS_MAX: usize = 256;

/// What is read of a partition at once, and in one step in all.
const STEP_BYTES: usize = 1 << 20;

/// How long one of the partitions is waited for while there is nothing in any.
const IDLE: Duration = Duration::from_millis(20);

/// How often it is looked whether topics have further partitions.
const LOOK_EVERY: Micros = 60 * SECOND;

/// The pauses before a broker that does not answer, or a topic that is not there, is tried again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// Settings of `kind: kafka`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForeignTopics {
    /// How to reach the brokers: `brokers`, `security` and the other settings of a Kafka log.
    kafka: serde_json::Value,
    /// What is read.
    topics: Vec<TopicSettings>,
    /// Where reading begins in a partition of which the log knows nothing.
    #[serde(default)]
    from: From,
    /// The largest record that is looked into.
    #[serde(default = "record_bytes_max")]
    record_bytes_max: amounts::Bytes,
    /// A topic of which nothing came for so long is told as silent.
    #[serde(default)]
    silence: Option<Time>,
    /// Rows are handed to the log after this much time.
    #[serde(default = "batch")]
    batch: Time,
}

/// One topic.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TopicSettings {
    /// Its name.
    topic: String,
    /// What its records' values are: `json` with a mapping, or `arrow` with what the columns are.
    format: FormatSettings,
}

/// Where reading begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum From {
    /// With the first record that there is.
    #[default]
    Start,
    /// With what comes next.
    Now,
}

fn record_bytes_max() -> amounts::Bytes {
    amounts::Bytes(4 << 20)
}

fn batch() -> Time {
    Time(SECOND)
}

impl Settings for ForeignTopics {
    const KIND: &'static str = "kafka";
    const READS: &'static str = "records of topics that others write, as JSON or Arrow, with a mapping";

    fn open(self, at: &Opening<'_>) -> Result<Opened, SourceError> {
        Ok(Opened::Live(Box::new(Bridge::new(self, at)?)))
    }

    fn probe(self, at: &Opening<'_>) -> Result<String, SourceError> {
        Bridge::new(self, at)?.probe()
    }
}

/// Topics being read.
struct Bridge {
    collector: String,
    batch: Micros,
    from: From,
    record_bytes_max: usize,
    signals: Signals,
    reports: Reports,
    complaints: Complaints,
    topics: Vec<Topic>,
    /// All partitions, by topic and place in it; and which of them comes first in the next step.
    order: Vec<(usize, usize)>,
    next: usize,
    open: OpenLog,
    kafka: serde_json::Value,
    folder: PathBuf,
    log: Option<Arc<dyn Log>>,
    /// When a broker that did not answer is asked again.
    again: Micros,
    backoff: Backoff,
    places: Places,
    /// No row observed before will follow.
    promised: Micros,
    looked: Micros,
}

/// One topic being read.
struct Topic {
    name: String,
    reports: Reports,
    format: Format,
    partitions: Vec<Partition>,
    /// That it has more than are read was told.
    crowded: bool,
    /// When it is looked at again how many partitions there are.
    look: Micros,
    backoff: Backoff,
}

impl Bridge {
    fn new(settings: ForeignTopics, at: &Opening<'_>) -> Result<Self, SourceError> {
        if settings.topics.is_empty() || settings.topics.len() > TOPICS_MAX {
            return Err(at.wrong(format!("`topics` names between 1 and {TOPICS_MAX} topics")));
        }
        if settings.batch.0 <= 0 {
            return Err(at.wrong("`batch` is longer than 0"));
        }
        let mut topics: BTreeMap<String, Topic> = BTreeMap::new();
        for TopicSettings { topic: name, format } in settings.topics {
            let format = format.open().map_err(|e| at.wrong(format!("topic {name}: {e}")))?;
            let topic = Topic {
                reports: Reports::new(&name, settings.silence.map(|time| time.0)),
                name: name.clone(),
                format,
                partitions: Vec::new(),
                crowded: false,
                look: 0,
                backoff: Backoff::new(PAUSES.0, PAUSES.1),
            };
            if name.is_empty() || topics.insert(name.clone(), topic).is_some() {
                return Err(at.wrong(format!("each topic stands once and has a name, unlike `{name}`")));
            }
        }
        let subject = match settings.kafka.get("brokers").and_then(|brokers| brokers.as_str()) {
            Some(brokers) => brokers.to_string(),
            None => return Err(at.wrong("`kafka` needs `brokers`: host:port, separated by commas")),
        };
        Ok(Bridge {
            collector: at.collector.into(),
            batch: settings.batch.0,
            from: settings.from,
            record_bytes_max: settings.record_bytes_max.len(),
            signals: Signals::new(at.collector, &at.plant.names),
            reports: Reports::new(&subject, None),
            complaints: Complaints::default(),
            topics: topics.into_values().collect(),
            order: Vec::new(),
            next: 0,
            open: Arc::clone(&at.plant.open_log),
            kafka: settings.kafka,
            folder: at.folder.to_path_buf(),
            log: None,
            again: 0,
            backoff: Backoff::new(PAUSES.0, PAUSES.1),
            places: Places::default(),
            promised: 0,
            looked: 0,
        })
    }

    /// The log, once it answers.
    fn connected(&mut self, now: Micros, out: &mut dyn PlacedSink) -> Option<Arc<dyn Log>> {
        if self.log.is_none() && now >= self.again {
            out.nowhere();
            match (self.open)(&self.kafka, &self.folder) {
                Ok(log) => {
                    self.reports.up(clock::now(), &log.describe(), out);
                    self.log = Some(log);
                }
                Err(cause) => {
                    self.reports.down(now, &cause.to_string(), out);
                    self.again = clock::now() + self.backoff.pause().as_micros() as Micros;
                }
            }
        }
        self.log.clone()
    }

    /// Looks which partitions there are now.
    fn look(&mut self, log: &dyn Log, now: Micros, out: &mut dyn PlacedSink) {
        for (at, topic) in self.topics.iter_mut().enumerate().filter(|(_, topic)| now >= topic.look) {
            out.nowhere();
            let partitions = match log.partitions(&topic.name) {
                Ok(partitions) => partitions,
                Err(cause) => {
                    topic.look = clock::now() + topic.backoff.pause().as_micros() as Micros;
                    topic.reports.down(now, &cause.to_string(), out);
                    continue;
                }
            };
            topic.look = now + LOOK_EVERY;
            topic.backoff.reset();
            let known = topic.partitions.len() as u32;
            if known == 0 || topic.reports.is_down() {
                topic.reports.up(now, &format!("{partitions} partitions"), out);
            }
            // Where the log knows some partition of a topic, others came into being later: they are read whole.
            let now_only =
                self.from == From::Now && known == 0 && !partition::known(&self.places, &topic.name);
            for number in known..partitions {
                if self.order.len() >= PARTITIONS_MAX {
                    if !std::mem::replace(&mut topic.crowded, true) {
                        let detail = format!(
                            "partition {number} and further ones are not read: a collector reads at most {PARTITIONS_MAX}; give some topics to another"
                        );
                        topic.reports.say(coverage::GAP, (now, now), now, 1, &detail, out);
                    }
                    break;
                }
                self.order.push((at, topic.partitions.len()));
                topic.partitions.push(Partition::new(&topic.name, number, now_only, &self.places));
            }
        }
    }

    /// Reads one partition; answers how many bytes came.
    fn read(
        &mut self,
        log: &dyn Log,
        (topic, place): (usize, usize),
        wait: Duration,
        out: &mut dyn PlacedSink,
    ) -> usize {
        let topic = &mut self.topics[topic];
        let partition = &mut topic.partitions[place];
        if !partition.is_open() {
            if clock::now() < self.again {
                return 0;
            }
            out.nowhere();
            match partition.open(log, clock::now(), out) {
                Ok(()) if partition.is_open() => self.backoff.reset(),
                Ok(()) => return 0,
                // One broker that does not answer is not asked for each partition.
                Err(cause) => {
                    if cause.retriable() {
                        self.again = clock::now() + self.backoff.pause().as_micros() as Micros;
                    }
                    return 0;
                }
            }
        }
        let records = match partition.read(STEP_BYTES, wait, out) {
            Reading::Records(records) => records,
            Reading::Nothing => return 0,
        };
        let observed = clock::now().max(self.promised);
        topic.reports.heard(observed);
        let mut bytes = 0;
        for stored in &records {
            let (offset, record) = (stored.offset, &stored.record);
            bytes += record.size();
            out.at(partition.stream(), offset);
            let complaints = &self.complaints;
            let mut bad = |what: String| {
                complaints.add(&topic.name, || format!("{} offset {offset}: {what}", partition.stream()));
            };
            match record.value.len() {
                // A key that a compacted topic forgets.
                0 => {}
                size if size > self.record_bytes_max => {
                    bad(format!("{size} bytes are more than `record_bytes_max`, {}", self.record_bytes_max));
                }
                _ => {
                    let content: (&Bytes, &Bytes) = (&record.key, &record.value);
                    topic.format.rows(content, observed, &mut self.signals, out, &mut bad);
                }
            }
        }
        // Framing of empty records counts, so that no step is endless.
        bytes + records.len()
    }

    /// Tells what there is to tell about itself.
    fn tell(&mut self, out: &mut dyn PlacedSink) {
        out.nowhere();
        let now = self.promised;
        self.complaints.tell(self.reports.subject(), now, out);
        if now - self.looked >= SECOND {
            self.looked = now;
            for topic in &mut self.topics {
                topic.reports.look(now, out);
            }
            self.signals.report(now, out);
        }
    }

    /// Connects, and reads the newest record of each topic.
    fn probe(mut self) -> Result<String, SourceError> {
        let subject = self.reports.subject().to_string();
        let peer = |cause: String, remedy: &str| SourceError::Peer {
            peer: subject.clone(),
            cause,
            remedy: remedy.into(),
        };
        let unreachable = "correct `kafka`, its `brokers` and `security`";
        let log = (self.open)(&self.kafka, &self.folder).map_err(|e| peer(e.to_string(), unreachable))?;
        let mut said = Vec::new();
        for topic in &mut self.topics {
            let name = &topic.name;
            let failed =
                |e: LogError| peer(e.to_string(), "correct `topic`, or let this user describe and read it");
            let partitions = log.partitions(name).map_err(failed)?;
            let (mut records, mut newest) = (0, None);
            for number in 0..partitions {
                let held = log.held(name, number).map_err(failed)?;
                records += held.end - held.start;
                if newest.is_none() && held.end > held.start {
                    let mut reader = log.reader(name, number, held.end - 1).map_err(failed)?;
                    newest = reader.read(1, Duration::from_secs(5)).map_err(failed)?.pop();
                }
            }
            if let Some(stored) = newest {
                let (mut rows, mut wrong): (Vec<yagura_event::rows::OwnedRow>, Option<String>) =
                    (Vec::new(), None);
                let content = (&stored.record.key, &stored.record.value);
                let mut bad = |what: String| wrong = Some(what);
                topic.format.rows(content, clock::now(), &mut self.signals, &mut rows, &mut bad);
                if let Some(what) = wrong {
                    let cause =
                        format!("{name}: the record at offset {} cannot be read: {what}", stored.offset);
                    return Err(peer(cause, "correct the topic's `format`"));
                }
            }
            said.push(format!("{name} has {partitions} partitions and about {records} records"));
        }
        Ok(format!("{}: {}", log.describe(), said.join("; ")))
    }
}

impl LiveSource for Bridge {
    fn collector(&self) -> &str {
        &self.collector
    }

    fn batch(&self) -> Micros {
        self.batch
    }

    fn placed(&self) -> bool {
        true
    }

    fn begin(&mut self, places: &Places, _notes: &Path) -> Result<(), SourceError> {
        self.places = places.clone();
        Ok(())
    }

    fn advance(&mut self, wait: Duration, out: &mut dyn PlacedSink) -> Micros {
        let now = clock::now();
        match self.connected(now, out) {
            Some(log) => {
                self.look(log.as_ref(), now, out);
                let (count, mut taken) = (self.order.len(), 0);
                for _ in 0..count {
                    let at = self.order[self.next % count];
                    self.next = (self.next + 1) % count;
                    taken += self.read(log.as_ref(), at, Duration::ZERO, out);
                    if taken >= STEP_BYTES {
                        break;
                    }
                }
                if taken == 0 {
                    let open = |at: &&(usize, usize)| self.topics[at.0].partitions[at.1].is_open();
                    // One after the other is waited for.
                    match self.order.iter().cycle().skip(self.next).take(count).find(open).copied() {
                        Some(at) => {
                            self.next = (self.next + 1) % count;
                            self.read(log.as_ref(), at, wait.min(IDLE), out);
                        }
                        None => std::thread::park_timeout(wait),
                    }
                }
            }
            None => std::thread::park_timeout(wait),
        }
        self.promised = self.promised.max(clock::now());
        self.tell(out);
        self.promised
    }

    fn finish(&mut self, out: &mut dyn PlacedSink) {
        self.promised = self.promised.max(clock::now());
        self.tell(out);
        self.reports.stop(self.promised, "reading ends", out);
    }

    fn seen(&self) -> Seen {
        Seen::default()
    }
}
