//! What held at a time: lot, recipe, step, badge and maintenance of tools and chambers, joined to
//! rows as columns.
//!
//! A row has a value for what holds at its own time, not for what was said last: a context that
//! arrives late, or a row out of a spool, meets what held then. The last [`HELD_MAX`] values of each
//! name are kept, so that a row older than the oldest of them has none. Memory of a place (a tool or
//! a chamber) and name: at most [`HELD_MAX`] times 40 bytes and the value; of a cell,
//! [`PLACES_MAX`] places.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, DictionaryArray, Int32Array, RecordBatch, StringArray};
use arrow::datatypes::{Field, Int32Type, Schema, SchemaRef};
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use yagura_event::Kind;
use yagura_event::clock::Micros;
use yagura_event::schema::dictionary_type;
use yagura_event::vocabulary::context;

use crate::columns::times_of;

/// The most values of a name that are kept for a place.
pub const HELD_MAX: usize = 16;
/// The most places of a cell; of those beyond nothing is known, which is counted.
pub const PLACES_MAX: usize = 100_000;

/// The columns of a kind that name the place which a row is about, the first that has a value first.
pub fn places_of(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Message | Kind::Log | Kind::Identity => &["tool"],
        // A connection is known by its addresses; contexts of a tool without a name are, too.
        Kind::Flow => &["server", "client"],
        _ => &[],
    }
}

/// The columns of a kind and those that are joined to them; none are to a kind that names no place.
pub fn joined_schema(kind: Kind, names: &[String]) -> SchemaRef {
    if names.is_empty() || places_of(kind).is_empty() {
        return kind.schema();
    }
    let own = kind.schema();
    let more = names.iter().map(|name| Arc::new(Field::new(name, dictionary_type(), false)));
    Arc::new(Schema::new(own.fields().iter().cloned().chain(more).collect::<Vec<_>>()))
}

/// What held when, by place and name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contexts {
    /// By tool and chamber (empty for the tool as a whole), by name.
    places: BTreeMap<(String, String), BTreeMap<String, Vec<Held>>>,
}

/// A value and the times for which it was stated; it holds until the next one's first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Held {
    from: Micros,
    /// The last time that it was stated again.
    stated: Micros,
    value: String,
}

impl Contexts {
    /// Notes that a value holds from a time on; an empty one ends it. Answers whether there was room.
    pub fn note(&mut self, tool: &str, chamber: &str, name: &str, value: &str, time: Micros) -> bool {
        if !context::ALL.contains(&name) {
            return true;
        }
        let place = (tool.to_string(), chamber.to_string());
        if self.places.len() >= PLACES_MAX && !self.places.contains_key(&place) {
            return false;
        }
        let held = self.places.entry(place).or_default().entry(name.to_string()).or_default();
        let after = held.partition_point(|h| h.from <= time);
        let fresh = Held { from: time, stated: time, value: value.to_string() };
        match after.checked_sub(1).map(|at| &mut held[at]) {
            Some(before) if before.value == value => before.stated = before.stated.max(time),
            Some(before) if before.from == time => *before = Held { stated: before.stated, ..fresh },
            Some(before) if before.stated > time => {
                // It was stated again after this one: it holds again from then on.
                let again = Held { from: before.stated, ..before.clone() };
                before.stated = before.from;
                held.splice(after..after, [fresh, again]);
            }
            _ => held.insert(after, fresh),
        }
        if held.len() > HELD_MAX {
            held.drain(..held.len() - HELD_MAX);
        }
        true
    }

    /// The values of a name for the rows of a batch, each at the time of its row.
    pub fn column(&self, kind: Kind, rows: &RecordBatch, name: &str) -> ArrayRef {
        let times = times_of(rows, "time");
        let mut words = vec![""];
        let mut numbers: FxHashMap<&str, i32> = FxHashMap::default();
        let mut codes = vec![0_i32; rows.num_rows()];
        for place in places_of(kind) {
            let Some(places) = rows.column_by_name(place).and_then(|c| c.as_dictionary_opt::<Int32Type>())
            else {
                continue;
            };
            let Some(tools) = places.values().as_string_opt::<i32>() else { continue };
            let known: Vec<Vec<&[Held]>> =
                tools.iter().map(|tool| self.held(tool.unwrap_or(""), name)).collect();
            if known.iter().all(Vec::is_empty) {
                continue;
            }
            for (row, &tool) in places.keys().values().iter().enumerate() {
                let time = times.map_or(Micros::MAX, |times| times[row]);
                if codes[row] != 0 {
                    continue;
                }
                // What holds for the tool, or else for a chamber of it.
                let value = known[tool as usize].iter().map(|held| at(held, time)).find(|v| !v.is_empty());
                if let Some(value) = value {
                    codes[row] = *numbers.entry(value).or_insert_with(|| {
                        words.push(value);
                        (words.len() - 1) as i32
                    });
                }
            }
        }
        let words = Arc::new(StringArray::from(words));
        // Every code is below the number of words.
        match DictionaryArray::<Int32Type>::try_new(Int32Array::from(codes), words) {
            Ok(column) => Arc::new(column),
            Err(_) => arrow::array::new_null_array(&dictionary_type(), rows.num_rows()),
        }
    }

    /// What is known of a tool and its chambers, the tool first.
    fn held(&self, tool: &str, name: &str) -> Vec<&[Held]> {
        if tool.is_empty() {
            return Vec::new();
        }
        let from = (tool.to_string(), String::new());
        let of_tool = self.places.range(from..).take_while(|((t, _), _)| t == tool);
        of_tool.filter_map(|(_, names)| names.get(name).map(Vec::as_slice)).collect()
    }
}

/// The value that holds at a time; empty for none.
fn at(held: &[Held], time: Micros) -> &str {
    held.iter().rev().find(|h| h.from <= time).map_or("", |h| &h.value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::columns::text_at;
    use yagura_event::rows::{FlowBuilder, FlowRow, MessageBuilder, MessageRow};

    fn badge(contexts: &Contexts, tool: &str, time: Micros) -> String {
        let mut builder = MessageBuilder::default();
        builder.push(&MessageRow { tool, time, ..Default::default() });
        let column = contexts.column(Kind::Message, &builder.finish(), "badge");
        text_at(&column, 0).into_owned()
    }

    #[test]
    fn a_row_has_what_held_at_its_time() {
        let mut contexts = Contexts::default();
        contexts.note("ETCH-07", "", "badge", "kato", 100);
        contexts.note("ETCH-07", "", "badge", "", 200);
        contexts.note("ETCH-07", "", "badge", "mori", 300);
        let at = |time| badge(&contexts, "ETCH-07", time);
        assert_eq!(
            [at(99), at(100), at(199), at(200), at(300), at(9999)],
            ["", "kato", "kato", "", "mori", "mori"]
        );
        assert_eq!(badge(&contexts, "ETCH-08", 150), "");
        contexts.note("ETCH-07", "", "badge", "abe", 150);
        contexts.note("ETCH-07", "", "nonsense", "x", 150);
        assert_eq!(badge(&contexts, "ETCH-07", 160), "abe", "what came late counts from its time on");
        assert_eq!(badge(&contexts, "ETCH-07", 120), "kato");
    }

    #[test]
    fn a_value_that_is_stated_again_takes_one_place_and_holds_on() {
        let mut contexts = Contexts::default();
        assert!((0..100).all(|t| contexts.note("T", "", "badge", "kato", t)));
        assert_eq!(contexts.held("T", "badge")[0].len(), 1);
        contexts.note("T", "", "badge", "mori", 50);
        let at = |time| badge(&contexts, "T", time);
        assert_eq!([at(49), at(50), at(98), at(99), at(500)], ["kato", "mori", "mori", "kato", "kato"]);
        let mut contexts = Contexts::default();
        assert!((0..100).all(|t| contexts.note("T", "", "badge", &format!("b{t}"), t)));
        assert_eq!(contexts.held("T", "badge")[0].len(), HELD_MAX);
        assert_eq!([badge(&contexts, "T", 83), badge(&contexts, "T", 84)], ["", "b84"]);
    }

    #[test]
    fn chambers_stand_in_for_their_tool_and_flows_go_by_address() {
        let mut contexts = Contexts::default();
        contexts.note("CVD-1", "B", "badge", "second", 0);
        contexts.note("CVD-1", "A", "badge", "first", 0);
        assert_eq!(badge(&contexts, "CVD-1", 10), "first");
        contexts.note("CVD-1", "", "badge", "whole", 5);
        assert_eq!([badge(&contexts, "CVD-1", 4), badge(&contexts, "CVD-1", 5)], ["first", "whole"]);
        assert_eq!(badge(&contexts, "CVD-10", 5), "");

        contexts.note("10.0.0.1", "", "maintenance", "pm", 0);
        let mut flows = FlowBuilder::default();
        for (client, server) in [("10.0.0.9", "10.0.0.1"), ("10.0.0.1", "10.0.0.9"), ("10.0.0.9", "10.0.0.8")]
        {
            flows.push(&FlowRow { client, server, time: 1, ..Default::default() });
        }
        let column = contexts.column(Kind::Flow, &flows.finish(), "maintenance");
        assert_eq!(
            (0..3).map(|row| text_at(&column, row).into_owned()).collect::<Vec<_>>(),
            ["pm", "pm", ""]
        );
    }

    #[test]
    fn places_are_bounded() {
        let mut contexts = Contexts::default();
        assert!((0..PLACES_MAX).all(|n| contexts.note(&format!("T{n}"), "", "badge", "kato", 0)));
        assert!(!contexts.note("one more", "", "badge", "kato", 0));
        assert!(contexts.note("T7", "", "badge", "mori", 1), "one that is known");
    }
}
