//! What a decision writes into the log, whoever makes it: on the command line or over the interface.

use yagura_detect::baseline;
use yagura_detect::worker::EVENTS;
use yagura_log::Record;
use yagura_respond::cases::{DECISIONS, Decision, Verdict, What};

/// The records of a decision, by topic. A false positive is also told to the detection, in the cell's own log: how far
/// the alarm came is usual for its key, so that the budget is spent on others.
pub fn records(decision: &Decision) -> Vec<(&'static str, Vec<Record>)> {
    let mut out = vec![(DECISIONS, vec![decision.to_record()])];
    if let What::Case { case, to: Verdict::FalsePositive, .. } = &decision.what {
        let told = baseline::Decision::FalseAlarm { detection: &case.detection, keys: &case.key };
        out.push((EVENTS, told.records(&case.cell, &decision.by, decision.time)));
    }
    out
}
