//! A score for each message, by the model alone, and what scores are worth.

use std::collections::HashMap;

use yagura_event::clock::Micros;
use yagura_models::conversation::{Event, Model, NONE, Parameters, Written};

use super::rows::Row;

/// The model with its keys, made as the operator makes them.
#[derive(Clone, Default)]
pub struct Scorer {
    model: Model,
    keys: [HashMap<String, u32>; 3],
}

impl Scorer {
    /// The scores of messages, in order; connections have none.
    pub fn messages(&mut self, rows: &[(Micros, &Row)]) -> Vec<f32> {
        let events: Vec<Event> =
            rows.iter().filter(|(_, row)| !row.flow).map(|&(time, row)| self.event(time, row)).collect();
        let (mut hits, mut scores) = (Vec::new(), Vec::new());
        self.model.judge(&events, &Parameters::default(), &mut hits, &mut scores);
        scores
    }

    pub fn approve(&mut self) {
        self.model.approve();
    }

    fn event(&mut self, time: Micros, row: &Row) -> Event {
        let station = match ["modbus", "dnp3", "iec104"].contains(&row.protocol.as_str()) {
            true => row.session.as_str(),
            false => "",
        };
        let conversation = [&*row.protocol, &row.client, &row.server].join("\n");
        let command = [&*conversation, &row.operation, &row.function, &row.target, station].join("\n");
        let place = [&*row.protocol, &row.server, &row.target, station].join("\n");
        let (conversation, new) = number(&mut self.keys[0], conversation);
        if new {
            self.model.begin_conversation(conversation);
        }
        let (command, new) = number(&mut self.keys[1], command);
        if new {
            self.model.begin_command(command);
        }
        let begins = row.operation == "session.open";
        let writes = ["write", "control", "configure"].contains(&&*row.operation) && !row.target.is_empty();
        if !writes {
            return Event { conversation, command, place: NONE, time, written: Written::Nothing, begins };
        }
        let (place, new) = number(&mut self.keys[2], place);
        if new {
            self.model.begin_place(place);
        }
        let written = match row.value {
            Some(value) => Written::Number(value),
            None if row.values.is_empty() => Written::Nothing,
            None => {
                let bytes = row.values.bytes();
                Written::Word(
                    bytes.fold(0, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)),
                )
            }
        };
        Event { conversation, command, place, time, written, begins }
    }
}

fn number(keys: &mut HashMap<String, u32>, key: String) -> (u32, bool) {
    let next = keys.len() as u32;
    let number = *keys.entry(key).or_insert(next);
    (number, number == next)
}

/// Area under the curve of true over false positives: how often an attack's score is above a benign one's,
/// equal ones counted half.
pub fn auroc(scores: &[(f32, bool)]) -> f64 {
    let mut sorted = scores.to_vec();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut below, mut wins, mut attacks) = (0.0, 0.0, 0.0);
    for equal in sorted.chunk_by(|a, b| a.0 == b.0) {
        let hits = equal.iter().filter(|(_, attack)| *attack).count() as f64;
        let benign = equal.len() as f64 - hits;
        wins += hits * (below + benign / 2.0);
        below += benign;
        attacks += hits;
    }
    wins / (attacks * below).max(1.0)
}

/// The part of attacks whose score is above all but one in a thousand of the benign.
pub fn tpr_at_one_in_a_thousand(scores: &[(f32, bool)]) -> f64 {
    let mut benign: Vec<f32> = scores.iter().filter(|s| !s.1).map(|s| s.0).collect();
    benign.sort_by(|a, b| b.total_cmp(a));
    let limit = benign.get(benign.len() / 1_000).copied().unwrap_or(0.0);
    let attacks: Vec<f32> = scores.iter().filter(|s| s.1).map(|s| s.0).collect();
    attacks.iter().filter(|&&score| score > limit).count() as f64 / attacks.len().max(1) as f64
}
