//! Which cases somebody wants to see, and how a program reads them.

use std::cmp::Reverse;

use serde_json::{Value, json};
use yagura_event::alert::{Queue, Severity};
use yagura_event::clock;

use super::{Case, Cases, State};
use crate::redact::Redaction;

/// Which cases: those for which all of this holds.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Those that stand so; those that are open without any.
    pub states: Vec<State>,
    /// Of this queue.
    pub queue: Option<Queue>,
    /// Of this severity, or worse.
    pub severity: Option<Severity>,
    /// Of this equipment.
    pub tool: Option<String>,
    /// Of this cell.
    pub cell: Option<String>,
    /// Those that are muted, too.
    pub muted: bool,
}

impl Selection {
    /// The cases, the worst and newest first, and how many more there are that are muted.
    pub fn of<'a>(&self, cases: &'a Cases) -> (Vec<(&'a Case, State)>, usize) {
        let mut chosen: Vec<_> = cases.iter().filter(|(case, state)| self.holds(case, *state)).collect();
        let before = chosen.len();
        chosen.retain(|(case, _)| self.muted || cases.muted(case).is_none());
        let hidden = before - chosen.len();
        chosen.sort_by_key(|(case, state)| (Reverse(case.alert.severity), *state, Reverse(case.last)));
        (chosen, hidden)
    }

    fn holds(&self, case: &Case, state: State) -> bool {
        let is = |wanted: &Option<String>, value: &str| wanted.as_ref().is_none_or(|wanted| wanted == value);
        (match self.states.is_empty() {
            true => state.is_open(),
            false => self.states.contains(&state),
        }) && self.queue.is_none_or(|queue| queue == case.alert.queue)
            && self.severity.is_none_or(|severity| case.alert.severity >= severity)
            && is(&self.tool, &case.alert.tool)
            && is(&self.cell, &case.alert.cell)
    }
}

/// A case as a program reads it, without what is left out for whoever asks.
pub fn document(cases: &Cases, case: &Case, state: State, redact: &Redaction) -> Value {
    let muted = cases
        .muted(case)
        .map(|(mute, decision)| json!({"mute": mute, "by": decision.by, "why": decision.why}));
    json!({
        "id": case.id, "state": state, "count": case.count(), "alerts": case.alerts(),
        "first": clock::rfc3339(case.first), "last": clock::rfc3339(case.last), "muted": muted,
        "decisions": cases.decisions(case), "alert": redact.apply(case.alert.clone()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases::{CaseKey, Decision, Mute, Verdict, What};
    use crate::fixtures;

    #[test]
    fn open_ones_come_first_by_severity_and_muted_ones_are_counted() {
        let mut cases = Cases::default();
        let tool = |number: u64, tool: &str, severity| {
            let mut alert = fixtures::alert(number);
            alert.key.insert("tool".into(), tool.into());
            (alert.tool, alert.severity) = (tool.into(), severity);
            alert
        };
        for alert in
            [tool(1, "A", Severity::Low), tool(2, "B", Severity::Critical), tool(3, "C", Severity::High)]
        {
            cases.alert(alert);
        }
        let tools = |selection: &Selection, cases: &Cases| {
            let (chosen, hidden) = selection.of(cases);
            (chosen.iter().map(|(case, _)| case.alert.tool.clone()).collect::<Vec<_>>(), hidden)
        };
        let all = Selection::default();
        assert_eq!(tools(&all, &cases), (vec!["B".into(), "C".into(), "A".into()], 0));
        let severe = Selection { severity: Some(Severity::High), ..Selection::default() };
        assert_eq!(tools(&severe, &cases).0, ["B", "C"]);
        let (case, _) = cases.iter().find(|(case, _)| case.alert.tool == "C").expect("a case");
        let about = |what| Decision { time: 9, by: "mori".into(), why: "seen".into(), what };
        let resolved =
            What::Case { case: CaseKey::of(&case.alert), to: Verdict::Resolved, seen: case.seen() };
        let until = case.alert.observed + 1;
        cases.decide(about(resolved));
        let mute = Mute { id: "pm".into(), until, tool: Some("A".into()), ..Mute::default() };
        cases.decide(about(What::Mute(mute)));
        assert_eq!(tools(&all, &cases), (vec!["B".into()], 1));
        let resolved = Selection { states: vec![State::Resolved], muted: true, ..Selection::default() };
        assert_eq!(tools(&resolved, &cases), (vec!["C".into()], 0));
    }
}
