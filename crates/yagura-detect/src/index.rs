//! Which detections may select rows of a batch, found by the words in it: a thousand detections that
//! cannot match cost nothing.
//!
//! A condition says which columns must have one of some words for any row to hold
//! ([`Condition::required`]). Each is entered under the words of one of these columns, the operation
//! before the protocol before others, and a batch looks up the words of its dictionaries.

use std::collections::HashMap;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int32Type;
use yagura_event::Kind;

use crate::condition::Condition;

/// Columns by which conditions are entered first, the most telling one in front.
const TELLING: [&str; 2] = ["operation", "protocol"];

/// Entries (numbers that the maker of the index chose) by kind and words.
#[derive(Default)]
pub struct Index {
    kinds: Vec<(Kind, OfKind)>,
}

/// The detections that may take rows of a batch: those that select with their own condition, and those
/// with inputs of their own. Looked up once a record, and used again for the next.
#[derive(Default)]
pub(crate) struct Candidates {
    pub(crate) rows: Vec<u32>,
    pub(crate) inputs: Vec<u32>,
}

#[derive(Default)]
struct OfKind {
    /// Entries whose condition demands no word.
    always: Vec<u32>,
    columns: Vec<(String, HashMap<String, Vec<u32>>)>,
}

impl Index {
    /// Enters a condition over rows of a kind; all rows without one.
    pub fn enter(&mut self, entry: u32, kind: Kind, condition: Option<&dyn Condition>) {
        let at = match self.kinds.iter().position(|(known, _)| *known == kind) {
            Some(at) => at,
            None => {
                self.kinds.push((kind, OfKind::default()));
                self.kinds.len() - 1
            }
        };
        let of_kind = &mut self.kinds[at].1;
        let required = condition.map_or(&[][..], |condition| condition.required());
        let rank = |column: &str| TELLING.iter().position(|t| *t == column).unwrap_or(TELLING.len());
        let Some((column, words)) = required.iter().min_by_key(|(column, _)| rank(column)) else {
            of_kind.always.push(entry);
            return;
        };
        let at = match of_kind.columns.iter().position(|(known, _)| known == column) {
            Some(at) => at,
            None => {
                of_kind.columns.push((column.clone(), HashMap::new()));
                of_kind.columns.len() - 1
            }
        };
        for word in words {
            of_kind.columns[at].1.entry(word.clone()).or_default().push(entry);
        }
    }

    /// The entries that may select rows of a batch of this kind, in their order. Those left out select
    /// none; those answered may still select none.
    pub fn candidates(&self, kind: Kind, rows: &RecordBatch, out: &mut Vec<u32>) {
        out.clear();
        let Some((_, of_kind)) = self.kinds.iter().find(|(known, _)| *known == kind) else { return };
        out.extend(&of_kind.always);
        for (column, by_word) in &of_kind.columns {
            let dictionary = rows.column_by_name(column).and_then(|c| c.as_dictionary_opt::<Int32Type>());
            match dictionary.and_then(|d| d.values().as_string_opt::<i32>()) {
                Some(words) => {
                    out.extend(words.iter().flatten().filter_map(|word| by_word.get(word)).flatten());
                }
                // No dictionary: nothing can be ruled out.
                None => out.extend(by_word.values().flatten()),
            }
        }
        out.sort_unstable();
        out.dedup();
    }
}

#[cfg(test)]
mod tests {
    use yagura_event::rows::{MessageBuilder, MessageRow};

    use super::*;
    use crate::Compiler;
    use crate::operators::testing::Equals;

    #[test]
    fn what_cannot_match_is_left_out() {
        let conditions = [
            None,
            Some("operation = 'start'"),
            Some("protocol = 'modbus'"),
            Some("protocol = 'modbus' AND operation = 'stop'"),
            Some("tool = 'T1'"),
        ];
        let mut index = Index::default();
        for (entry, sql) in conditions.iter().enumerate() {
            let compiled = sql.map(|sql| Equals.compile(Kind::Message, sql).expect("compiles"));
            index.enter(entry as u32, Kind::Message, compiled.as_deref());
        }
        index.enter(9, Kind::Flow, None);
        let candidates = |rows: &[(&str, &str, &str)]| {
            let mut builder = MessageBuilder::default();
            for (protocol, operation, tool) in rows {
                builder.push(&MessageRow { protocol, operation, tool, ..Default::default() });
            }
            let mut out = vec![77];
            index.candidates(Kind::Message, &builder.finish(), &mut out);
            out
        };
        assert_eq!(candidates(&[("hsms", "start", "")]), [0, 1]);
        assert_eq!(candidates(&[("modbus", "start", "T1"), ("modbus", "read", "T2")]), [0, 1, 2, 4]);
        assert_eq!(candidates(&[("modbus", "stop", "")]), [0, 2, 3]);
    }
}
