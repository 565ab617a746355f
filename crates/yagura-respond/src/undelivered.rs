//! Alerts that a receiver refused for good, kept with its words in a topic of their own, so that one that a
//! receiver cannot take holds no other back and is lost nowhere.
//!
//! A record's key is the sink's name and the revision's id, its header says why, its value is the alert as the
//! log's topic of alerts has it, so that any Kafka tool shows it. A crash may write one twice.

use serde::{Deserialize, Serialize};
use yagura_event::alert::Alert;
use yagura_event::clock::Micros;
use yagura_log::Record;

use crate::message::Message;
use crate::told::Decided;

/// The topic. It has one partition: refusals are rare, and their order is one.
pub const UNDELIVERED: &str = "yagura.undelivered";

/// Version of a letter's header.
const VERSION: u16 = 1;

/// An alert that a receiver refused for good.
#[derive(Clone, Debug, PartialEq)]
pub struct Letter {
    /// The sink's name.
    pub sink: String,
    /// The receiver's words.
    pub reason: String,
    /// When that was.
    pub time: Micros,
    /// The alert.
    pub alert: Alert,
    /// What was decided about it, where that is what was refused.
    pub decided: Option<Decided>,
}

#[derive(Serialize, Deserialize)]
struct Header {
    version: u16,
    sink: String,
    revision_uid: String,
    reason: String,
    time: Micros,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    decided: Option<Decided>,
}

impl Letter {
    /// What was refused.
    pub fn message(&self) -> Message<'_> {
        Message { decided: self.decided.as_ref(), ..Message::of(&self.alert) }
    }

    /// The record to write.
    pub fn to_record(&self) -> Record {
        let revision_uid = self.message().revision_uid();
        let key = format!("{}/{revision_uid}", self.sink);
        let header = Header {
            version: VERSION,
            sink: self.sink.clone(),
            revision_uid,
            reason: self.reason.clone(),
            time: self.time,
            decided: self.decided.clone(),
        };
        Record {
            key: key.into(),
            header: serde_json::to_vec(&header).unwrap_or_default().into(),
            value: serde_json::to_vec(&self.alert).unwrap_or_default().into(),
        }
    }

    /// Reads a record of the topic; `None` when it is no letter.
    pub fn of(record: &Record) -> Option<Self> {
        let header: Header = serde_json::from_slice(&record.header).ok()?;
        let alert = serde_json::from_slice(&record.value).ok()?;
        let Header { version, sink, reason, time, decided, .. } = header;
        let letter = Letter { sink, reason, time, alert, decided };
        (version == VERSION).then_some(letter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases::Verdict;
    use crate::fixtures;
    use crate::told::tests::decided;

    #[test]
    fn a_letter_comes_back() {
        let alert = fixtures::alert(3);
        let letter = Letter { sink: "siem".into(), reason: "400 no".into(), time: 7, alert, decided: None };
        let record = letter.to_record();
        assert_eq!(record.key, format!("siem/{}-r1", letter.alert.uid));
        assert_eq!(Letter::of(&record).as_ref(), Some(&letter));
        let decided = Some(decided(Verdict::Resolved));
        let letter = Letter { decided, ..Letter::of(&record).expect("a letter") };
        assert_eq!(Letter::of(&letter.to_record()), Some(letter.clone()));
        assert_ne!(letter.to_record().key, record.key);
        assert_eq!(Letter::of(&fixtures::record(&[fixtures::alert(3)])), None);
        assert_eq!(Letter::of(&Record::default()), None);
    }
}
