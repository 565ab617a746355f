//! What people decided, as receivers of alerts hear of it.
//!
//! Receivers know alerts and no cases. So beside a decision about a case, which is a record of
//! [`crate::cases::DECISIONS`], the topic of alerts gets records that name the case's alerts and say what was decided.
//! They stand in the partition of the alerts' cell, behind the alerts that the decision is about and before what these
//! do later, so that each sink hears everything in the order in which it happened, whenever its receiver is there.
//! They have no rows: whoever reads alerts passes over them.

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use yagura_event::alert::{Alert, Severity};
use yagura_event::clock::Micros;
use yagura_event::{Encoding, Envelope, Kind};
use yagura_log::Record;

use crate::cases::{AUTHOR, Verdict};

/// What somebody decided about an alert.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decided {
    /// What.
    pub to: Verdict,
    /// When.
    pub time: Micros,
    /// Who.
    pub by: String,
    /// Why.
    pub why: String,
}

/// A decision and the alerts that it is about, which are of one case.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Told {
    /// The decision.
    pub decided: Decided,
    /// The case's newest alert: what all of them have in common. Its evidence goes to no receiver again, but says
    /// what is to be left out of its texts.
    pub alert: Alert,
    /// The alerts, in the revisions that were known.
    pub of: Vec<Named>,
}

/// One alert of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Row", into = "Row")]
pub struct Named {
    /// Its id.
    pub uid: Uuid,
    /// Its newest revision.
    pub revision: u32,
    /// Rows counted by that.
    pub count: u64,
    /// How bad it is.
    pub severity: Severity,
    /// Collector clock of its causing row.
    pub observed: Micros,
}

/// There may be very many, so that names of fields would be most of a record.
type Row = (Uuid, u32, u64, Severity, Micros);

impl From<Row> for Named {
    fn from((uid, revision, count, severity, observed): Row) -> Self {
        Named { uid, revision, count, severity, observed }
    }
}

impl From<Named> for Row {
    fn from(named: Named) -> Self {
        (named.uid, named.revision, named.count, named.severity, named.observed)
    }
}

impl Named {
    /// Makes the case's newest alert this one.
    pub(crate) fn put_into(self, alert: &mut Alert) {
        alert.uid = self.uid;
        alert.revision = self.revision;
        alert.count = self.count;
        alert.severity = self.severity;
        alert.observed = self.observed;
    }
}

/// Alerts that a record names: with a large alert it stays under a megabyte, which is what Kafka takes.
pub(crate) const NAMED_MAX: usize = 500;

/// The longest alert in a record, in bytes of its text.
const ALERT_BYTES_MAX: usize = 512 << 10;

/// The longest reason, and the longest name of a person, in bytes.
const WORDS_BYTES_MAX: usize = 4096;

impl Told {
    /// One that a record has room for.
    pub(crate) fn new(mut decided: Decided, mut alert: Alert, of: Vec<Named>) -> Told {
        for text in [&mut decided.why, &mut decided.by] {
            text.truncate(text.floor_char_boundary(WORDS_BYTES_MAX));
        }
        if serde_json::to_vec(&alert).is_ok_and(|text| text.len() > ALERT_BYTES_MAX) {
            // Without evidence nobody knows what the summary is to hide.
            alert.evidence = serde_json::Value::Null;
            alert.summary.clone_from(&alert.title);
        }
        Told { decided, alert, of }
    }

    /// Its record, for the topic of alerts.
    pub fn to_record(&self) -> Record {
        let (cell, time) = (&self.alert.cell, self.decided.time);
        let envelope = Envelope {
            kind: Kind::Alert,
            version: Kind::Alert.version(),
            cell: cell.clone(),
            collector: AUTHOR.into(),
            epoch: time.max(0) as u64,
            first_row: 0,
            rows: 0,
            observed: (time, time),
            promise: time,
            encoding: Encoding::Json,
            origin: None,
            places: Vec::new(),
        };
        Record {
            key: cell.clone().into(),
            header: envelope.to_header().into(),
            // A struct of texts and numbers always serialises.
            value: serde_json::to_vec(self).unwrap_or_default().into(),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::fixtures;
    use crate::record::{Entry, alerts_of, read};

    /// What `mori` decided a minute after the alerts of the fixtures began.
    pub(crate) fn decided(to: Verdict) -> Decided {
        Decided { to, time: 1_795_403_107_250_000, by: "mori".into(), why: "the cable is replaced".into() }
    }

    /// A decision about the alerts with these sequences, all of them new.
    pub(crate) fn told(to: Verdict, sequences: std::ops::Range<u64>) -> Told {
        let newest = fixtures::alert(sequences.end - 1);
        let named = sequences.map(fixtures::alert).map(|alert| Named {
            uid: alert.uid,
            revision: alert.revision,
            count: alert.count,
            severity: alert.severity,
            observed: alert.observed,
        });
        Told::new(decided(to), newest, named.collect())
    }

    #[test]
    fn a_record_comes_back_and_holds_no_alert_for_those_who_read_alerts() {
        let told = told(Verdict::FalsePositive, 3..6);
        let record = told.to_record();
        assert_eq!(alerts_of(&record).expect("no alerts"), []);
        assert!(serde_json::from_slice::<Alert>(&record.value).is_err());
        match read(&record).expect("readable") {
            Entry::Told(read) => assert_eq!(*read, told),
            Entry::Alerts(_) => panic!("no decision"),
        }
        let broken = Record { value: record.value.slice(1..), ..record };
        assert!(read(&broken).is_err());
    }

    #[test]
    fn each_alert_keeps_what_is_its_own() {
        let told = told(Verdict::Resolved, 3..5);
        let mut alert = told.alert.clone();
        let named = Named { severity: Severity::Low, count: 9, ..told.of[0] };
        named.put_into(&mut alert);
        assert_eq!((alert.uid, alert.severity, alert.count), (fixtures::alert(3).uid, Severity::Low, 9));
        assert_eq!((alert.observed, &alert.key), (fixtures::alert(3).observed, &told.alert.key));
    }
}
