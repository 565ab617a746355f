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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use yagura_respond::cases::CaseKey;

    use super::*;

    #[test]
    fn a_false_positive_is_told_to_the_detection_in_the_cell() {
        let key = BTreeMap::from([("tool".to_string(), "ETCH-07".to_string())]);
        let case = CaseKey { cell: "bay-3".into(), detection: "levels".into(), key };
        let topics = |to: Verdict| {
            let what = What::Case { case: case.clone(), to, seen: 5 };
            let decision = Decision { time: 9, by: "mori".into(), why: "a new recipe".into(), what };
            records(&decision, &Cases::default())
        };
        let resolved = topics(Verdict::Resolved);
        assert_eq!(resolved.iter().map(|(topic, _)| *topic).collect::<Vec<_>>(), [DECISIONS]);
        let [(_, _), (EVENTS, told)] = &topics(Verdict::FalsePositive)[..] else { panic!("not told") };
        let row: serde_json::Value = serde_json::from_slice(&told[0].value).expect("JSON");
        assert_eq!((told.len(), &told[0].key[..]), (1, &b"bay-3"[..]));
        assert_eq!(
            (&row["action"], &row["subject"], &row["author"]),
            (&"false-alarm".into(), &"levels".into(), &"mori".into())
        );
        assert_eq!(row["payload"], r#"{"tool":"ETCH-07"}"#);
    }
}
