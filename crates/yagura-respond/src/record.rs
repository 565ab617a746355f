//! Alerts as the log's topic `alerts` carries them.

use yagura_event::alert::Alert;
use yagura_event::{Encoding, Envelope, EventError, Kind};
use yagura_log::Record;

use crate::told::Told;

/// Why a record holds no alerts.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The envelope.
    #[error(transparent)]
    Envelope(#[from] EventError),
    /// Something else than alerts.
    #[error("a record of kind `{0}` among the alerts")]
    Kind(&'static str),
    /// Alerts are written as JSON only.
    #[error("alerts are one JSON object a line, and this record's are not")]
    Encoding,
    /// The envelope promises another number.
    #[error("the envelope promises {promised} alerts, the record has {found}")]
    Rows {
        /// What the envelope says.
        promised: u32,
        /// How many lines there are.
        found: usize,
    },
    /// A line that is not an alert.
    #[error("line {line} is not an alert: {problem}")]
    Alert {
        /// From 1.
        line: usize,
        /// What is wrong with it.
        problem: serde_json::Error,
    },
    /// Without rows, and no decision.
    #[error("it has no rows and is no decision: {0}")]
    Told(serde_json::Error),
}

/// What a record of the topic holds.
#[derive(Debug)]
pub(crate) enum Entry {
    /// Alerts; none where a collector only says that it lives.
    Alerts(Vec<Alert>),
    /// What was decided about some.
    Told(Box<Told>),
}

/// Reads a record of the topic.
pub(crate) fn read(record: &Record) -> Result<Entry, RecordError> {
    let alerts = alerts_of(record)?;
    match alerts.is_empty() && !record.value.is_empty() {
        true => serde_json::from_slice(&record.value).map(Entry::Told).map_err(RecordError::Told),
        false => Ok(Entry::Alerts(alerts)),
    }
}

/// The alerts of one record: an [`Envelope`] of kind `alert` in the header, and one JSON object
/// of [`Alert`] a line in the value; none of a record without rows.
pub fn alerts_of(record: &Record) -> Result<Vec<Alert>, RecordError> {
    let envelope = Envelope::from_header(&record.header)?;
    if envelope.kind != Kind::Alert {
        return Err(RecordError::Kind(envelope.kind.name()));
    }
    if envelope.is_heartbeat() {
        return Ok(Vec::new());
    }
    if envelope.encoding != Encoding::Json {
        return Err(RecordError::Encoding);
    }
    let mut alerts = Vec::new();
    for (index, line) in record.value.split(|byte| *byte == b'\n').enumerate() {
        if !line.is_empty() {
            let alert = serde_json::from_slice(line);
            alerts.push(alert.map_err(|problem| RecordError::Alert { line: index + 1, problem })?);
        }
    }
    if alerts.len() != envelope.rows as usize {
        return Err(RecordError::Rows { promised: envelope.rows, found: alerts.len() });
    }
    Ok(alerts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    #[test]
    fn a_record_gives_its_alerts_back() {
        let alerts = vec![fixtures::alert(4), fixtures::alert(5)];
        assert_eq!(alerts_of(&fixtures::record(&alerts)).expect("alerts"), alerts);
        assert_eq!(alerts_of(&fixtures::record(&[])).expect("a heartbeat"), []);
    }

    #[test]
    fn bytes_that_are_no_alerts_are_an_error() {
        let good = fixtures::record(&[fixtures::alert(4)]);
        let mut cases = vec![Record::default()];
        for (from, to) in [("\"alert\"", "\"sample\""), ("json", "arrow"), ("\"rows\":1", "\"rows\":2")] {
            let header = String::from_utf8(good.header.to_vec()).expect("text").replace(from, to);
            cases.push(Record { header: header.into(), ..good.clone() });
        }
        for cut in [1, 10, good.value.len() / 2, good.value.len() - 1] {
            cases.push(Record { value: good.value.slice(..cut.min(good.value.len() - 2)), ..good.clone() });
        }
        for case in cases {
            assert!(alerts_of(&case).is_err(), "{case:?}");
        }
    }
}
