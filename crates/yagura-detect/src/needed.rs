//! Which columns of a record a pipeline looks at: what nobody reads is not decoded.
//!
//! Of a record of messages, connections, identities or logs the columns are decoded first by which its
//! rows are selected, and those that operators add up ([`Plan::reads`]). When the words in them show that
//! a detection may select rows that it has to show, the record is decoded as a whole; when none can, the
//! other columns come empty, and nobody looks at them. So the judgement is that over whole records. Other
//! kinds are small or read by the shard itself: they are always whole.
//!
//! A record whose bytes are damaged in a column that nobody looks at is judged by the others, as if it
//! were whole; damaged anywhere else it is unreadable.

use arrow::array::RecordBatch;
use yagura_event::{Columns, Envelope, EventError, Kind, codec};

use crate::asof::places_of;
use crate::index::Candidates;
use crate::operators::Reads;
use crate::pipeline::{Detection, Pipeline, Scope};

/// The kinds whose columns may be left out.
const KINDS: [Kind; 4] = [Kind::Message, Kind::Flow, Kind::Identity, Kind::Log];
/// The columns that are read of every row.
const TIMES: [&str; 2] = ["time", "observed"];

/// What a pipeline looks at.
pub(crate) struct Needed {
    /// Beside [`KINDS`], what is decoded at first.
    first: [Columns; KINDS.len()],
    /// By detection, whether it needs whole rows of what it may select.
    whole: Vec<bool>,
}

impl Needed {
    /// Of these detections.
    pub(crate) fn of(detections: &[Detection]) -> Needed {
        Needed {
            first: KINDS.map(|kind| first(detections, kind).unwrap_or_default()),
            whole: detections.iter().map(shows_rows).collect(),
        }
    }
}

impl Pipeline {
    /// The rows of a record as far as a detection may look at them, and which detections may.
    pub(crate) fn decode(
        &self,
        envelope: &Envelope,
        value: &[u8],
        candidates: &mut Candidates,
    ) -> Result<RecordBatch, EventError> {
        let at = KINDS.iter().position(|kind| *kind == envelope.kind);
        let columns = at.map(|at| &self.needed.first[at]).filter(|columns| !columns.are_all());
        let rows = match columns {
            Some(columns) => codec::decode_columns(envelope, value, columns)?,
            None => codec::decode(envelope, value)?,
        };
        // By the words of columns that are there in either case.
        self.candidates(envelope.kind, &rows, candidates);
        let mut may = candidates.rows.iter().chain(&candidates.inputs);
        if columns.is_some() && may.any(|&detection| self.needed.whole[detection as usize]) {
            return codec::decode(envelope, value);
        }
        Ok(rows)
    }

    /// Which detections may take rows of a batch.
    pub(crate) fn candidates(&self, kind: Kind, rows: &RecordBatch, candidates: &mut Candidates) {
        self.rows.candidates(kind, rows, &mut candidates.rows);
        self.inputs.candidates(kind, rows, &mut candidates.inputs);
    }
}

/// Whether a detection shows rows, keeps them to show them later, or passes them on.
fn shows_rows(detection: &Detection) -> bool {
    detection.scope == Scope::Plant || detection.operator.reads() == Reads::Rows
}

/// The columns of a kind that are decoded at first; `None` where that cannot be known, or where a
/// detection needs whole rows of every record.
fn first(detections: &[Detection], kind: Kind) -> Option<Columns> {
    let mut names: Vec<String> = TIMES.map(String::from).to_vec();
    for detection in detections {
        let inputs = detection.operator.inputs();
        for input in inputs.iter().filter(|input| input.kind == kind) {
            if input.condition.required().is_empty() && shows_rows(detection) {
                return None;
            }
            names.extend(input.condition.columns()?.iter().cloned());
        }
        if detection.on != kind || !inputs.is_empty() {
            continue;
        }
        let condition = detection.condition.as_deref();
        if condition.is_none_or(|c| c.required().is_empty()) && shows_rows(detection) {
            return None;
        }
        names.extend(condition.map_or(Some(&[][..]), |c| c.columns())?.iter().cloned());
        names.extend(detection.by.iter().cloned());
        for computed in &detection.compute {
            names.extend(computed.expression.columns()?.iter().cloned());
        }
        if !detection.join.is_empty() {
            names.extend(places_of(kind).iter().map(ToString::to_string));
        }
        if let Reads::Columns(more) = detection.operator.reads() {
            names.extend(more);
        }
    }
    Some(Columns::of(kind, names.iter().map(String::as_str)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operators::testing::{message, pipeline, record_of};

    /// The columns of a message that are not empty once it is decoded, other than the times.
    fn looked_at(body: &str, columns: &str) -> String {
        let pipeline = pipeline(body).expect("a pipeline");
        let (mut envelope, record) = record_of("c", 1, &[message(7, columns)], 0, 0);
        let whole = codec::decode(&envelope, &record.value).expect("rows");
        envelope.encoding = yagura_event::Encoding::Arrow;
        let arrow = codec::encode_arrow(&whole).expect("encodes");
        let rows = pipeline.decode(&envelope, &arrow, &mut Candidates::default()).expect("rows");
        let row = crate::columns::row_json(&rows, 0);
        let names = row.iter().filter(|(name, value)| !TIMES.contains(&name.as_str()) && **value != 0);
        names.map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(" ")
    }

    const ROW: &str = "operation=write protocol=modbus client=PC tool=T1 target=x function=f latency_us=9";

    #[test]
    fn windows_that_close_look_at_what_they_add_up_by_what_selects_it() {
        let window = "on: message\nwhere: operation = 'write'\nby: [client]\nsummary: '{client}'\n\
                      window: { every: 1m, of: latency_us, top: function, at_least: 1 }";
        assert_eq!(looked_at(window, ROW), "client function latency_us operation");
        assert_eq!(
            looked_at(&format!("{window}\njoin: [recipe]"), ROW),
            "client function latency_us operation tool"
        );
    }

    #[test]
    fn whole_rows_are_there_when_one_may_be_shown() {
        let all = "client function latency_us operation protocol target tool";
        let matched = "on: message\nwhere: operation = 'write'\nby: [client]\nsummary: '{client}'";
        assert_eq!(looked_at(matched, ROW), all);
        assert_eq!(looked_at(matched, &ROW.replace("write", "read")), "client operation");
        let sequence = "on: message\nby: [tool]\nsummary: '{client}'\nsequence:\n  within: 5s\n  steps:\n    \
                        - where: operation = 'write'\n    - where: operation = 'control'";
        assert_eq!(looked_at(sequence, ROW), all);
        assert_eq!(looked_at(sequence, &ROW.replace("write", "read")), "operation");
        let everything =
            "on: message\nby: [client]\nsummary: '{client}'\nknown: { of: [tool], from: learning }";
        assert_eq!(looked_at(everything, ROW), all);
    }
}
