//! Alerts that a receiver refused for good, kept with its words in a topic of their own, so that one that a
//! receiver cannot take holds no other back and is lost nowhere.
//!
//! A record's key is the sink's name and the revision's id, its header says why, its value is the alert as the
//! log's topic of alerts has it, so that any Kafka tool shows it. A crash may write one twice. A record under the same
//! key without a value says that the receiver has taken it since: it was sent again.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use yagura_event::alert::Alert;
use yagura_event::clock::Micros;
use yagura_log::{Log, LogError, Record, Whole};

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

/// What the header of a record without a value says.
#[derive(Serialize, Deserialize)]
struct TakenHeader {
    version: u16,
    sink: String,
    revision_uid: String,
    taken: Micros,
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

    /// The record that says that the receiver has taken it at `time`.
    pub fn taken_record(&self, time: Micros) -> Record {
        let revision_uid = self.message().revision_uid();
        let key = self.key();
        let header = TakenHeader { version: VERSION, sink: self.sink.clone(), revision_uid, taken: time };
        let header = serde_json::to_vec(&header).unwrap_or_default().into();
        Record { key: key.into(), header, ..Record::default() }
    }

    fn key(&self) -> String {
        format!("{}/{}", self.sink, self.message().revision_uid())
    }

    /// The record to write.
    pub fn to_record(&self) -> Record {
        let revision_uid = self.message().revision_uid();
        let key = self.key();
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

/// The letters of a log, each once, in the order in which they were refused first.
#[derive(Default)]
pub struct Letters {
    /// With when the receiver took it after all.
    all: Vec<(Letter, Option<Micros>)>,
    places: HashMap<String, usize>,
}

impl Letters {
    /// Those that the log holds.
    pub fn of(log: &dyn Log) -> Result<Self, LogError> {
        let mut letters = Letters::default();
        Whole::of(UNDELIVERED).read(log, |_, stored| letters.take(&stored.record))?;
        Ok(letters)
    }

    fn take(&mut self, record: &Record) {
        if let Some(letter) = Letter::of(record) {
            match self.places.get(&letter.key()) {
                // Refused once more.
                Some(&place) => self.all[place] = (letter, None),
                None => {
                    self.places.insert(letter.key(), self.all.len());
                    self.all.push((letter, None));
                }
            }
        } else if let Ok(header) = serde_json::from_slice::<TakenHeader>(&record.header)
            && header.version == VERSION
            && let Some(&place) = self.places.get(&format!("{}/{}", header.sink, header.revision_uid))
        {
            self.all[place].1 = Some(header.taken);
        }
    }

    /// All of them, with when the receiver took them after all.
    pub fn iter(&self) -> impl Iterator<Item = (&Letter, Option<Micros>)> {
        self.all.iter().map(|(letter, taken)| (letter, *taken))
    }

    /// Those that no receiver has.
    pub fn standing(&self) -> impl Iterator<Item = &Letter> {
        self.iter().filter(|(_, taken)| taken.is_none()).map(|(letter, _)| letter)
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
    #[test]
    fn a_letter_stands_until_its_receiver_has_it_and_again_when_it_is_refused_again() {
        let letter = |number, sink: &str, reason: &str| Letter {
            sink: sink.into(),
            reason: reason.into(),
            time: 7,
            alert: fixtures::alert(number),
            decided: None,
        };
        let mut letters = Letters::default();
        let standing = |letters: &Letters| -> Vec<String> {
            letters.standing().map(|letter| format!("{} {}", letter.sink, letter.reason)).collect()
        };
        for (number, sink) in [(1, "siem"), (1, "hook"), (2, "siem"), (1, "siem")] {
            letters.take(&letter(number, sink, &format!("{number}")).to_record());
        }
        letters.take(&Record::default());
        assert_eq!(standing(&letters), ["siem 1", "hook 1", "siem 2"]);
        assert_eq!(Letter::of(&letter(1, "siem", "").taken_record(9)), None, "no letter to older versions");
        letters.take(&letter(1, "siem", "").taken_record(9));
        letters.take(&letter(5, "siem", "").taken_record(9));
        assert_eq!(standing(&letters), ["hook 1", "siem 2"]);
        assert_eq!(letters.iter().map(|(_, taken)| taken).collect::<Vec<_>>(), [Some(9), None, None]);
        letters.take(&letter(1, "siem", "again").to_record());
        assert_eq!(standing(&letters), ["siem again", "hook 1", "siem 2"]);
    }
}
