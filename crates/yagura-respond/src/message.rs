//! What goes to a receiver: one revision of an alert, or what was decided about it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;
use yagura_event::alert::{Alert, Cause, Queue, Severity};
use yagura_event::clock::Micros;

use crate::cases::Verdict;
use crate::told::Decided;

/// What happened to the alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// It is new.
    Create,
    /// It was known: it counts further rows, or somebody looks after it or opens it again.
    Update,
    /// Nobody needs to look at it any more.
    Close,
}

impl Activity {
    /// As texts say it.
    pub fn name(self) -> &'static str {
        match self {
            Activity::Create => "create",
            Activity::Update => "update",
            Activity::Close => "close",
        }
    }
}

/// Whether somebody has to look at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An alert.
    Alert,
    /// A sign of life of the sink.
    Heartbeat,
}

/// One message to a receiver, which a format turns into text.
///
/// A heartbeat is shaped like an alert, so that it takes the same way through every format and
/// every receiver; what reads it goes by the detection [`HEARTBEAT`].
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// The alert.
    pub alert: &'a Alert,
    /// What was decided about it, if that is what is told. Then its evidence is not told again, and of its times and
    /// numbers only the revision and the count are its own.
    pub decided: Option<&'a Decided>,
    /// What people had made of the alert before this revision of it, where that still holds.
    pub stands: Option<Verdict>,
    /// Whether it is one.
    pub kind: Kind,
    /// The length in bytes of the text before it was cut, where it had to be cut.
    pub untruncated: Option<usize>,
}

/// The detection of a sign of life.
pub const HEARTBEAT: &str = "yagura.heartbeat";

/// The detection of what `yagura sink test` sends.
pub const TEST: &str = "yagura.test";

impl<'a> Message<'a> {
    /// The message of an alert.
    pub fn of(alert: &'a Alert) -> Self {
        let kind = if alert.detection == HEARTBEAT { Kind::Heartbeat } else { Kind::Alert };
        Self { alert, decided: None, stands: None, kind, untruncated: None }
    }

    /// What happened: the first revision creates, each further one updates, a decision updates or closes.
    pub fn activity(&self) -> Activity {
        match self.decided {
            Some(decided) if decided.to.closes() => Activity::Close,
            None if self.alert.revision <= 1 => Activity::Create,
            _ => Activity::Update,
        }
    }

    /// What people made of the alert, as of this message.
    pub fn verdict(&self) -> Option<Verdict> {
        self.decided.map(|decided| decided.to).or(self.stands)
    }

    /// When it happened: when the collector had the causing row, or when it was decided.
    pub fn time(&self) -> Micros {
        self.decided.map_or(self.alert.observed, |decided| decided.time)
    }

    /// The identifier of this message: `<uid>-r<revision>`, or `<uid>-d<time>` of a decision. A receiver that keys by
    /// it stores each once, however often it comes.
    pub fn revision_uid(&self) -> String {
        match self.decided {
            Some(decided) => format!("{}-d{}", self.alert.uid, decided.time),
            None => format!("{}-r{}", self.alert.uid, self.alert.revision),
        }
    }
}

/// What a message is made of, while it waits for its answer.
#[derive(Clone, Debug, PartialEq)]
pub struct News {
    /// The alert.
    pub alert: Alert,
    /// What was decided about it, if that is what is told.
    pub decided: Option<Arc<Decided>>,
    /// What people had made of it before, see [`Message::stands`].
    pub stands: Option<Verdict>,
}

impl News {
    /// The message.
    pub fn message(&self) -> Message<'_> {
        Message { decided: self.decided.as_deref(), stands: self.stands, ..Message::of(&self.alert) }
    }
}

impl From<Alert> for News {
    fn from(alert: Alert) -> Self {
        News { alert, decided: None, stands: None }
    }
}

/// What a sign of life says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beat<'a> {
    /// The sink's name.
    pub sink: &'a str,
    /// When the forwarder started, which numbers its beats from 0 anew.
    pub start: Micros,
    /// The number of this beat since then.
    pub number: u64,
    /// Alerts that the receiver has acknowledged since then.
    pub acknowledged: u64,
    /// Alerts that it has refused for good since then.
    pub refused: u64,
    /// Records of the log that wait for it.
    pub lag: u64,
}

impl Beat<'_> {
    /// The beat as an alert at the time `now`. Its cell is the sink, its sequence the beat's number, so
    /// that a receiver sees a gap; its row's epoch is the start.
    pub fn alert(&self, now: Micros) -> Alert {
        let summary = format!(
            "The sink {} is alive: beat {}, {} alerts acknowledged and {} refused since its start, {} records waiting.",
            self.sink, self.number, self.acknowledged, self.refused, self.lag
        );
        let evidence = json!({
            "sink": self.sink, "start": self.start, "beat": self.number, "acknowledged": self.acknowledged,
            "refused": self.refused, "lag": self.lag,
        });
        Alert { summary, evidence, ..notice(HEARTBEAT, self.sink, self.start, self.number, now) }
    }
}

/// The one alert of `yagura sink test`: marked in its title, its summary and its detection.
pub fn test_alert(sink: &str, now: Micros) -> Alert {
    Alert {
        title: "TEST: an alert of Yagura that means nothing".into(),
        summary: format!("TEST of the sink {sink}: nothing happened in the plant, nothing is to be done."),
        then: "Nothing: somebody ran `yagura sink test`.".into(),
        evidence: json!({ "sink": sink, "test": true }),
        ..notice(TEST, sink, now, 0, now)
    }
}

/// What the program says in its own name, for one sink.
fn notice(detection: &str, sink: &str, epoch: Micros, number: u64, now: Micros) -> Alert {
    let key = BTreeMap::from([("sink".to_string(), sink.to_string())]);
    let cause = Cause { collector: "yagura".into(), epoch: epoch.unsigned_abs(), row: number };
    Alert {
        uid: Alert::uid_of(sink, detection, &key, &cause),
        revision: 1,
        cell: sink.into(),
        sequence: number,
        detection: detection.into(),
        title: "Sign of life of a sink of Yagura".into(),
        queue: Queue::DataQuality,
        severity: Severity::Informational,
        protects: Vec::new(),
        techniques: Vec::new(),
        matrix: String::new(),
        outcomes: Vec::new(),
        time: now,
        observed: now,
        last_time: now,
        count: 1,
        key,
        tool: String::new(),
        summary: String::new(),
        then: String::new(),
        evidence: serde_json::Value::Null,
        cause,
        late: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;
    use crate::told::tests::decided;

    #[test]
    fn revisions_have_ids_of_their_own_and_the_first_creates() {
        let mut alert = fixtures::alert(3);
        assert_eq!(Message::of(&alert).activity(), Activity::Create);
        assert_eq!(Message::of(&alert).revision_uid(), format!("{}-r1", alert.uid));
        alert.revision = 2;
        assert_eq!(Message::of(&alert).activity(), Activity::Update);
        assert_eq!(Message::of(&alert).revision_uid(), format!("{}-r2", alert.uid));
        let resolved = decided(Verdict::Resolved);
        let message = Message { decided: Some(&resolved), ..Message::of(&alert) };
        assert_eq!((message.activity(), message.time()), (Activity::Close, resolved.time));
        assert_eq!(message.revision_uid(), format!("{}-d{}", alert.uid, resolved.time));
        let acknowledged = decided(Verdict::Acknowledged);
        let message = Message { decided: Some(&acknowledged), ..Message::of(&alert) };
        assert_eq!(message.activity(), Activity::Update);
    }

    #[test]
    fn beats_are_numbered_and_told_apart() {
        let beat = Beat { sink: "siem", start: 5, number: 0, acknowledged: 7, refused: 1, lag: 2 };
        let first = beat.alert(100);
        let second = Beat { number: 1, ..beat }.alert(200);
        assert_ne!(first.uid, second.uid);
        assert_ne!(first.uid, Beat { start: 6, ..beat }.alert(100).uid, "another start");
        assert_eq!((first.sequence, second.sequence), (0, 1));
        assert_eq!(Message::of(&first).kind, Kind::Heartbeat);
        assert_eq!(Message::of(&test_alert("siem", 100)).kind, Kind::Alert);
        assert_eq!(first.evidence["acknowledged"], 7);
    }
}
