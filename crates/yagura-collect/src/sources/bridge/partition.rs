//! One partition: where it is read, and what its log no longer holds.

use std::time::Duration;

use yagura_event::clock::{self, Micros, SECOND};
use yagura_event::vocabulary::coverage;
use yagura_log::{Log, LogError, Reader, Stored};

use super::PAUSES;
use crate::backoff::Backoff;
use crate::places::{PlacedSink, Places};
use crate::reports::Reports;

/// A partition that ends before where it was read to is not believed sooner: after a change of its leader that may
/// pass.
const AHEAD: Micros = 3 * SECOND;

/// A partition being read.
pub struct Partition {
    topic: String,
    number: u32,
    /// How often the topic was made anew while it was read: offsets began again then.
    generation: u32,
    stream: String,
    reports: Reports,
    reader: Option<Box<dyn Reader>>,
    /// The offset that comes next; without one its beginning, or its end.
    position: Option<u64>,
    from_now: bool,
    /// Since when it ends before where it was read to.
    ahead: Option<Micros>,
    again: Micros,
    backoff: Backoff,
}

/// What a look brought.
pub enum Reading {
    /// Records, at least one.
    Records(Vec<Stored>),
    /// None, for now.
    Nothing,
}

/// The stream of a partition. A topic's name has neither `/` nor `@`.
fn stream(topic: &str, partition: u32, generation: u32) -> String {
    match generation {
        0 => format!("{topic}/{partition}"),
        n => format!("{topic}/{partition}@{n}"),
    }
}

/// Whether the log knows any partition of a topic.
pub fn known(places: &Places, topic: &str) -> bool {
    places.streams().any(|stream| stream.strip_prefix(topic).is_some_and(|rest| rest.starts_with('/')))
}

impl Partition {
    /// A partition that goes on where the log says.
    pub fn new(topic: &str, number: u32, from_now: bool, places: &Places) -> Self {
        let first = stream(topic, number, 0);
        let later = places
            .streams()
            .filter_map(|known| known.strip_prefix(first.as_str())?.strip_prefix('@')?.parse::<u32>().ok());
        let generation = later.max().unwrap_or(0);
        let stream = stream(topic, number, generation);
        Partition {
            topic: topic.into(),
            number,
            generation,
            reports: Reports::new(&first, None),
            reader: None,
            position: places.of(&stream),
            stream,
            from_now,
            ahead: None,
            again: 0,
            backoff: Backoff::new(PAUSES.0, PAUSES.1),
        }
    }

    /// Its name as a stream.
    pub fn stream(&self) -> &str {
        &self.stream
    }

    /// Whether it is being read.
    pub fn is_open(&self) -> bool {
        self.reader.is_some()
    }

    /// Begins reading where it stands, or at the first offset after that which there still is.
    pub fn open(&mut self, log: &dyn Log, now: Micros, out: &mut dyn PlacedSink) -> Result<(), LogError> {
        if now < self.again {
            return Ok(());
        }
        let held = match log.held(&self.topic, self.number) {
            Ok(held) => held,
            Err(cause) => {
                self.down(&cause, out);
                return Err(cause);
            }
        };
        let from = match self.position {
            None if self.from_now => {
                // What is there already counts as read, also after a restart.
                if let Some(last) = held.end.checked_sub(1) {
                    out.at(&self.stream, last);
                    out.nowhere();
                }
                held.end
            }
            None => held.start,
            Some(position) if position > held.end => {
                if now - *self.ahead.get_or_insert(now) < AHEAD {
                    self.again = now + SECOND / 2;
                    return Ok(());
                }
                self.begin_anew(position, held.end, now, out);
                held.start
            }
            Some(position) if position < held.start => {
                let detail =
                    format!("offsets {position} to {} were deleted before they were read", held.start - 1);
                self.reports.say(coverage::GAP, (now, now), now, held.start - position, &detail, out);
                held.start
            }
            Some(position) => position,
        };
        (self.position, self.ahead) = (Some(from), None);
        match log.reader(&self.topic, self.number, from) {
            Ok(reader) => {
                self.reader = Some(reader);
                Ok(())
            }
            Err(cause) => {
                self.down(&cause, out);
                Err(cause)
            }
        }
    }

    /// The topic was deleted and made anew: its offsets are those of another stream.
    fn begin_anew(&mut self, position: u64, end: u64, now: Micros, out: &mut dyn PlacedSink) {
        self.generation += 1;
        self.stream = stream(&self.topic, self.number, self.generation);
        let detail = format!(
            "offset {position} was to come next and the last one is before {end}: the topic was made anew, and is read from its beginning"
        );
        self.reports.say(coverage::GAP, (now, now), now, 1, &detail, out);
    }

    /// The next records, waiting for the first at most for `wait`.
    pub fn read(&mut self, bytes_max: usize, wait: Duration, out: &mut dyn PlacedSink) -> Reading {
        let Some(reader) = &mut self.reader else { return Reading::Nothing };
        match reader.read(bytes_max, wait) {
            Ok(records) => {
                self.position = Some(reader.position());
                if self.reports.is_down() {
                    out.nowhere();
                    self.reports.up(clock::now(), "it is read again", out);
                }
                self.backoff.reset();
                if records.is_empty() { Reading::Nothing } else { Reading::Records(records) }
            }
            // Opening it again finds what is left.
            Err(LogError::OffsetGone { .. }) => {
                self.reader = None;
                Reading::Nothing
            }
            Err(cause) => {
                out.nowhere();
                self.down(&cause, out);
                Reading::Nothing
            }
        }
    }

    fn down(&mut self, cause: &LogError, out: &mut dyn PlacedSink) {
        let now = clock::now();
        self.reader = None;
        self.again = now + self.backoff.pause().as_micros() as Micros;
        self.reports.down(now, &cause.to_string(), out);
    }
}
