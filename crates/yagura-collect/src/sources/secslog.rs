//! Logs of SECS messages as an EAP or a gateway writes them: SML text, tailed. What stands before a message (time,
//! tool, direction) is declared or one of the known heads. Messages go through the dissector of the wire, so that
//! rows are the same as those of a mirror port.
//!
//! A row stands where the first line of the message stands that completed it. After a restart some of what was read
//! before is read again without rows, so that questions, definitions and names of before are known.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::FixedOffset;
use regex::Regex;
use serde::Deserialize;
use yagura_dissect::hsms as wire;
use yagura_dissect::{Cx, Dissector, Endpoint, FlowInfo, Side, Transport};
use yagura_event::amounts::{Bytes as Size, Time};
use yagura_event::clock::{self, Micros, SECOND};
use yagura_event::rows::{Row, RowSink};
use yagura_event::vocabulary::coverage;

use crate::complaints::Complaints;
use crate::places::{PlacedSink, Places};
use crate::reports::Reports;
use crate::source::{LiveSource, Opened, Opening, Plant, Seen, Settings, SourceError};

use super::hsms::replies::{data_header, push_frame};

mod head;
mod lines;
mod sml;

use head::{Head, PRESETS, Pattern};
use lines::{LINE_BYTES_MAX, Lines, Tailed};
use sml::{Extent, Message};

/// Tools that are told apart in one log; further ones are one.
const TOOLS_MAX: usize = 1024;

/// Messages of one tool that wait for a reply.
const WAITING_MAX: usize = 256;

/// Bytes that are read again after a restart.
const WARM_UP_BYTES: u64 = 8 << 20;

/// Lines that are read between two looks at the time.
const ADVANCE_LINES: usize = 4096;

/// How long an unended message may be the last of a log before it is taken as it is.
const SETTLE: Micros = SECOND;

/// A device's clock may be ahead by this much.
const AHEAD_MAX: Micros = 5 * SECOND;

/// Settings of `kind: secslog`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecsLog {
    /// The file.
    path: PathBuf,
    /// A head that is known: `secsgem`, `secs4net`, `log4net`.
    #[serde(default)]
    preset: Option<String>,
    /// What stands before a message, in its line or in one before: `{time} {tool} {direction} {system} {device}`, and
    /// `{*}` for anything.
    #[serde(default)]
    head: Option<String>,
    /// The same as a regular expression with groups of these names.
    #[serde(default)]
    head_regex: Option<String>,
    /// How times are written, as `strftime` has it, where it is none of the usual ways.
    #[serde(default)]
    time_format: Option<String>,
    /// What the log's times are ahead of UTC, `+09:00`, where they do not say it.
    #[serde(default)]
    utc_offset: Option<String>,
    /// The tool, where no head names it.
    #[serde(default)]
    tool: Option<String>,
    /// Who wrote the log: `host` (an EAP) or `equipment`. Directions are as he saw them.
    #[serde(default)]
    written_by: Writer,
    /// Words by which the writer says that he received a message, beside the usual ones.
    #[serde(default)]
    received: Vec<String>,
    /// Words by which he says that he sent one.
    #[serde(default)]
    sent: Vec<String>,
    /// The largest message that is read, as text.
    #[serde(default = "message_size")]
    message_size: Size,
    /// How often rows are handed to the log.
    #[serde(default = "batch")]
    batch: Time,
    /// A log to which nothing was written for this long is called silent.
    #[serde(default)]
    silence: Option<Time>,
}

/// See [`SecsLog::written_by`].
#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Writer {
    #[default]
    Host,
    Equipment,
}

fn message_size() -> Size {
    Size(16 << 20)
}

fn batch() -> Time {
    Time(SECOND)
}

impl Settings for SecsLog {
    const KIND: &'static str = "secslog";
    const READS: &'static str = "a log of SECS messages as text (SML) that an EAP or gateway writes";

    fn open(self, at: &Opening<'_>) -> Result<Opened, SourceError> {
        Ok(Opened::Live(Box::new(self.read(at)?)))
    }

    fn probe(self, at: &Opening<'_>) -> Result<String, SourceError> {
        let path = at.path(&self.path);
        let length = std::fs::metadata(&path).map_err(|e| at.unreadable(&path, e))?.len();
        let mut log = self.read(at)?;
        let mut rows = Vec::new();
        for _ in 0..16 {
            log.advance(Duration::ZERO, &mut rows);
        }
        if log.messages == 0 && length > 0 {
            return Err(SourceError::Open {
                file: path.display().to_string(),
                cause: "has no message that can be read; look at `preset` or `head`".into(),
            });
        }
        Ok(format!(
            "{} messages at its beginning, {} could not be read",
            log.messages,
            log.complaints.malformed()
        ))
    }
}

impl SecsLog {
    fn read(self, at: &Opening<'_>) -> Result<Log, SourceError> {
        let regex = match (&self.preset, &self.head, &self.head_regex) {
            (Some(name), None, None) => match PRESETS.iter().find(|(known, _)| known == name) {
                Some((_, regex)) => Regex::new(regex).map_err(|e| at.wrong(e.to_string()))?,
                None => {
                    let all: Vec<&str> = PRESETS.iter().map(|(name, _)| *name).collect();
                    return Err(at.wrong(format!("`{name}` is no preset; there are: {}", all.join(", "))));
                }
            },
            (None, Some(head), None) => Pattern::declared(head).map_err(|e| at.wrong(e))?,
            (None, None, Some(regex)) => {
                Regex::new(regex).map_err(|e| at.wrong(format!("`head_regex`: {e}")))?
            }
            _ => return Err(at.wrong("say one of `preset`, `head` and `head_regex`")),
        };
        let offset: FixedOffset = match &self.utc_offset {
            Some(text) => text
                .parse()
                .map_err(|_| at.wrong(format!("`utc_offset: {text}` is none; write it as `+09:00`")))?,
            None => FixedOffset::east_opt(0).ok_or_else(|| at.wrong("no offset"))?,
        };
        if self.message_size.is_empty() || self.message_size.0 > 64 << 20 {
            return Err(at.wrong("`message_size` must be 1 byte to 64MiB"));
        }
        let path = at.path(&self.path);
        Ok(Log {
            collector: at.collector.to_string(),
            batch: self.batch.0,
            plant: at.plant.clone(),
            pattern: Pattern::new(regex, self.time_format, offset, &self.received, &self.sent),
            tool: self.tool.unwrap_or_else(|| at.collector.to_string()),
            written_by: self.written_by,
            message_bytes_max: self.message_size.len(),
            lines: Box::new(Tailed::new(&path)),
            reports: Reports::new(&path.display().to_string(), self.silence.map(|time| time.0)),
            head: Head::default(),
            head_at: None,
            begun: None,
            tools: BTreeMap::new(),
            places: Places::default(),
            last: Micros::MIN,
            looked: Micros::MIN,
            heard: 0,
            messages: 0,
            complaints: Complaints::default(),
            up: false,
        })
    }
}

/// The running source.
struct Log {
    collector: String,
    batch: Micros,
    plant: Plant,
    pattern: Pattern,
    tool: String,
    written_by: Writer,
    message_bytes_max: usize,
    lines: Box<dyn Lines>,
    reports: Reports,
    /// The head that was read last, and where it stands, as long as no message followed it.
    head: Head,
    head_at: Option<u64>,
    begun: Option<Begun>,
    tools: BTreeMap<String, Tool>,
    places: Places,
    /// The latest time of a message.
    last: Micros,
    looked: Micros,
    /// When a line came last, by the steady clock.
    heard: Micros,
    messages: u64,
    complaints: Complaints,
    up: bool,
}

/// A message of which lines are still to come.
struct Begun {
    stream: String,
    position: u64,
    text: String,
    extent: Extent,
    head: Head,
}

/// One tool of the log.
struct Tool {
    flow: FlowInfo,
    dissector: Box<dyn Dissector>,
    /// Primary messages that wait for a reply: system bytes, stream, function, sender.
    waiting: Vec<(u32, u8, u8, Side)>,
    next_system: u32,
    ahead: bool,
}

impl LiveSource for Log {
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
        self.lines.resume(&|stream| places.of(stream), WARM_UP_BYTES);
        Ok(())
    }

    fn advance(&mut self, wait: Duration, out: &mut dyn PlacedSink) -> Micros {
        let now = clock::now();
        let mut read = 0;
        while read < ADVANCE_LINES && self.line(now, out) {
            read += 1;
        }
        if read == 0 {
            self.settle(now, out);
            std::thread::park_timeout(wait.min(Duration::from_millis(50)));
        }
        self.complaints.tell(self.reports.subject(), now, out);
        if now >= self.looked.saturating_add(SECOND) {
            self.looked = now;
            out.nowhere();
            self.reports.look(now, out);
        }
        now
    }

    fn finish(&mut self, out: &mut dyn PlacedSink) {
        let now = clock::now();
        self.complaints.finish(self.reports.subject(), now, out);
        out.nowhere();
        self.reports.stop(now, "the collector stops", out);
    }

    fn seen(&self) -> Seen {
        Seen::default()
    }
}

impl Log {
    /// Reads a line; `false` when there is none.
    fn line(&mut self, now: Micros, out: &mut dyn PlacedSink) -> bool {
        let line = match self.lines.next() {
            Ok(Some(line)) => line,
            Ok(None) => return false,
            Err(cause) => {
                out.nowhere();
                self.reports.down(now, &cause, out);
                self.up = false;
                return false;
            }
        };
        self.heard = clock::steady();
        self.reports.heard(now);
        let (stream, position, cut) = (line.stream.to_string(), line.position, line.cut);
        let text = String::from_utf8_lossy(line.text).into_owned();
        if !std::mem::replace(&mut self.up, true) {
            out.nowhere();
            self.reports.up(now, &format!("read from byte {position}"), out);
        }
        if cut > 0 {
            self.begun = None;
            self.complain(position, &format!("a line is longer than {LINE_BYTES_MAX} bytes"));
            return true;
        }
        self.take(now, &stream, position, &text, out);
        true
    }

    fn take(&mut self, now: Micros, stream: &str, position: u64, text: &str, out: &mut dyn PlacedSink) {
        let head = self.pattern.find(text);
        let begins = match (&head, &self.begun) {
            // Within a message, a name in a text is none of a message.
            (None, Some(begun)) if !begun.extent.whole => None,
            _ => sml::begins(text),
        };
        if head.is_some() || begins.is_some() {
            self.complete(now, out);
        }
        if let Some(head) = head {
            if let Some(time) = &head.bad_time {
                let problem = format!("the time `{time}` cannot be read; look at `time_format`");
                self.complain(position, &problem);
            }
            self.head = head;
            self.head_at = Some(position);
        }
        if let Some(at) = begins {
            let rest = &text[at..];
            let mut extent = Extent::default();
            extent.line(rest);
            self.begun = Some(Begun {
                stream: stream.to_string(),
                position: self.head_at.take().unwrap_or(position),
                text: format!("{rest}\n"),
                extent,
                head: self.head.clone(),
            });
        } else if let Some(begun) = &mut self.begun {
            begun.extent.line(text);
            begun.text.push_str(text);
            begun.text.push('\n');
            if begun.text.len() > self.message_bytes_max {
                let problem = format!("a message is larger than {} bytes", self.message_bytes_max);
                let position = begun.position;
                self.begun = None;
                self.complain(position, &problem);
                return;
            }
        }
        if self.begun.as_ref().is_some_and(|begun| begun.extent.ended) {
            self.complete(now, out);
        }
    }

    /// A message that lacks its dot is taken as it is when nothing follows for a while.
    fn settle(&mut self, now: Micros, out: &mut dyn PlacedSink) {
        if self.begun.as_ref().is_some_and(|begun| begun.extent.whole)
            && clock::steady() > self.heard + SETTLE
        {
            self.complete(now, out);
        }
    }

    /// What was begun is all that there is of the message.
    fn complete(&mut self, now: Micros, out: &mut dyn PlacedSink) {
        let Some(begun) = self.begun.take() else { return };
        match sml::parse(&begun.text) {
            Ok(message) => self.message(now, &begun, &message, out),
            Err(problem) => self.complain(begun.position, &problem.to_string()),
        }
    }

    fn message(&mut self, now: Micros, begun: &Begun, message: &Message, out: &mut dyn PlacedSink) {
        self.messages += 1;
        let head = &begun.head;
        let time = head.time.unwrap_or(if self.last == Micros::MIN { now } else { self.last });
        self.last = self.last.max(time);
        let named = if head.tool.is_empty() { &self.tool } else { &head.tool };
        let named = match self.tools.contains_key(named) || self.tools.len() < TOOLS_MAX {
            true => named.clone(),
            false => self.tool.clone(),
        };
        let plant = &self.plant;
        let tool = self.tools.entry(named).or_insert_with_key(|name| Tool::new(name, plant));
        let received = match self.written_by {
            Writer::Host => head.received,
            Writer::Equipment => head.received.map(|received| !received),
        };
        let side = match received {
            Some(true) => Side::Server,
            Some(false) => Side::Client,
            None => tool.sender(message),
        };
        let system = head.system.unwrap_or_else(|| tool.system(message, side));
        let header = data_header(
            head.device.unwrap_or(0) & 0x7fff,
            message.stream,
            message.function,
            message.wait,
            system,
        );
        let mut frame = Vec::new();
        let text = message.item.as_ref().map(|item| item.to_bytes()).unwrap_or_default();
        push_frame(&mut frame, header, &text);
        // What the log holds of the log is known already: it is read for what it defines.
        let again = self.places.of(&begun.stream).is_some_and(|from| begun.position < from);
        let mut nothing = Nowhere;
        let sink: &mut dyn PlacedSink = if again { &mut nothing } else { out };
        sink.at(&begun.stream, begun.position);
        let out: &mut dyn RowSink = sink;
        let mut cx = Cx { flow: &tool.flow, time, observed: now, settings: &plant.dissect, out };
        tool.dissector.expire(&mut cx);
        tool.dissector.parse(&mut cx, side, &frame);
        let ahead = time > now + AHEAD_MAX;
        if ahead && !tool.ahead && !again {
            sink.nowhere();
            let detail = format!("{}: the log's time is ahead of the collector's", tool.flow.server.asset);
            self.reports.say(coverage::SKEW, (now, time), now, 1, &detail, sink);
        }
        tool.ahead = ahead;
    }

    fn complain(&self, position: u64, problem: &str) {
        self.complaints.add(self.reports.subject(), || format!("at byte {position}: {problem}"));
    }
}

impl Tool {
    fn new(name: &str, plant: &Plant) -> Self {
        let known = plant.assets.named(name);
        let server = Endpoint {
            address: known.and_then(|a| a.addresses.first()).map_or(name.into(), |a| a.to_string()),
            port: 0,
            asset: name.into(),
            area: known.map(|a| a.area.as_str().into()).unwrap_or_default(),
            equipment: true,
        };
        let flow = FlowInfo { flow: 0, transport: Transport::Tcp, client: Endpoint::default(), server };
        let dissector = (wire::PROTOCOL.start)(&flow);
        Tool { flow, dissector, waiting: Vec::new(), next_system: 0, ahead: false }
    }

    /// Who sent a message of which the log does not say it.
    fn sender(&self, message: &Message) -> Side {
        let asked = message.function.is_multiple_of(2).then(|| {
            let asked = |(_, stream, function, side): &(u32, u8, u8, Side)| {
                (*stream == message.stream && function + 1 == message.function).then_some(side.other())
            };
            self.waiting.iter().find_map(asked)
        });
        let function =
            message.function - u8::from(message.function.is_multiple_of(2) && message.function > 0);
        let from_tool = match (message.stream, function) {
            (5, 1 | 9 | 11 | 15) | (6, 1 | 3 | 5 | 9 | 11 | 13 | 25) | (9, _) | (10, 1) => true,
            (1, 13) => {
                message.function == 13
                    && matches!(&message.item, Some(yagura_dissect::secs2::Value::List(l)) if l.len() == 2)
            }
            _ => false,
        };
        let primary = if from_tool { Side::Server } else { Side::Client };
        match asked {
            None => primary,
            Some(found) => found.unwrap_or(primary.other()),
        }
    }

    /// System bytes where the log has none: a reply has those of the oldest message that it can answer.
    fn system(&mut self, message: &Message, side: Side) -> u32 {
        if message.function.is_multiple_of(2) {
            let fits = |(_, stream, function, asker): &(u32, u8, u8, Side)| {
                *stream == message.stream
                    && *asker != side
                    && (message.function == 0 || function + 1 == message.function)
            };
            if let Some(index) = self.waiting.iter().position(fits) {
                return self.waiting.remove(index).0;
            }
        }
        self.next_system = self.next_system.wrapping_add(1);
        if message.wait {
            if self.waiting.len() == WAITING_MAX {
                self.waiting.remove(0);
            }
            self.waiting.push((self.next_system, message.stream, message.function, side));
        }
        self.next_system
    }
}

/// Takes rows and forgets them.
struct Nowhere;

impl RowSink for Nowhere {
    fn push(&mut self, _row: Row<'_>) {}
}

impl PlacedSink for Nowhere {}

#[cfg(test)]
mod tests;
