//! What a decision writes into the log, whoever makes it: on the command line, over the interface, in a file.

use yagura_detect::baseline::decision::Decision as Recorded;
use yagura_detect::worker::{ALERTS, EVENTS};
use yagura_log::Record;
use yagura_respond::cases::{Cases, DECISIONS, Decision, Records, Verdict, What};

/// The records of a decision, by topic. Receivers hear of it in the topic of alerts. A false positive is also told to
/// the detection, in the cell's own log: how far the alarm came is usual for its key, so that the budget is spent on
/// others.
pub fn records(decision: &Decision, cases: &Cases) -> Vec<(&'static str, Vec<Record>)> {
    let Records { told, decision: record } = cases.records(decision);
    let mut out = vec![(ALERTS, told), (DECISIONS, vec![record])];
    if let What::Case { case, to: Verdict::FalsePositive, .. } = &decision.what {
        let told = Recorded::FalseAlarm { detection: &case.detection, keys: &case.key };
        out.push((EVENTS, told.records(&case.cell, &decision.by, decision.time)));
    }
    out.retain(|(_, records)| !records.is_empty());
    out
}
