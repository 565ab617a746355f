//! What of alerts and decisions leaves the fab, see [`yagura_event::redact`].

use yagura_event::Alert;

pub use yagura_event::redact::{Class, Redaction};

use crate::told::Decided;

/// An alert and what was decided about it, without what is left out.
pub(crate) fn both(redaction: &Redaction, mut alert: Alert, mut decided: Decided) -> (Alert, Decided) {
    let texts = vec![("decided_by", &mut decided.by), ("comment", &mut decided.why)];
    redaction.cover(&mut alert, texts);
    (alert, decided)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use yagura_event::alert::Queue;

    use super::*;
    use crate::cases::Verdict;
    use crate::fixtures;
    use crate::told::tests::decided;

    fn applied(redaction: &Redaction, evidence: Value, summary: &str) -> Alert {
        let mut alert = fixtures::alert(1);
        alert.evidence = evidence;
        alert.summary = summary.into();
        redaction.apply(alert)
    }

    #[test]
    fn what_the_shift_needs_stays_and_what_is_the_fabs_own_goes() {
        let alert = fixtures::alert(1);
        assert_eq!(Redaction::default().apply(alert.clone()), alert, "nothing in it is to be left out");
        let evidence = json!({
            "tool": "ETCH-07", "recipe": "OX-MAIN", "lot": "LOT4711", "user": "Suzuki", "values": "[31.7,42]",
            "value": 31.75, "mine": "x1", "client": "10.20.0.9", "count": 3, "flow": null,
        });
        let summary = "Suzuki wrote [31.7,42] into ETCH-07 with LOT4711 at 31.75 (3 times), LOT47110 stays";
        let out = applied(&Redaction::default(), evidence.clone(), summary);
        assert_eq!(
            out.evidence,
            json!({
                "tool": "ETCH-07", "recipe": "OX-MAIN", "lot": "[process]", "user": "[personal]", "values": "[secret]",
                "value": "[process]", "mine": "[process]", "client": "10.20.0.9", "count": 3, "flow": null,
            })
        );
        let left = "[left out] wrote [left out] into ETCH-07 with [left out] at [left out] (3 times), LOT47110 stays";
        assert_eq!(out.summary, left);
        let keeping: Redaction =
            serde_json::from_value(json!({ "classes": ["personal", "process"], "keep": ["lot"] }))
                .expect("settings");
        let out = applied(&keeping, evidence.clone(), summary);
        assert_eq!((&out.evidence["lot"], &out.evidence["values"]), (&json!("LOT4711"), &json!("[31.7,42]")));
        assert_eq!(out.evidence["user"], "[personal]");
        assert_eq!(applied(&Redaction::off(), evidence.clone(), summary).evidence, evidence);
    }

    #[test]
    fn rows_within_rows_signals_and_keys_are_found() {
        let evidence = json!({
            "logged_in": { "user": "Suzuki", "tool": "ETCH-07" },
            "signals": [{ "signal": "flow", "seen": 17.25, "score": 3 }, { "signal": "heat", "expected": [1, 2] }],
            "around": { "seen": [1.5, 2.5], "period_s": 1 },
            "signal": "flow", "seen": 17.25,
        });
        let mut alert = fixtures::alert(1);
        alert.evidence = evidence;
        alert.key = [("tool", "ETCH-07"), ("lot", "L9")].map(|(k, v)| (k.to_string(), v.to_string())).into();
        alert.summary = "flow reads 17.25 with L9".into();
        let out = Redaction::default().apply(alert);
        let text = serde_json::to_string(&out).expect("JSON");
        for secret in ["Suzuki", "17.25", "L9", "1.5", "2.5"] {
            assert!(!text.contains(secret), "{secret}: {text}");
        }
        assert_eq!(out.evidence["signals"][0]["score"], 3);
        assert_eq!(out.evidence["logged_in"]["tool"], "ETCH-07");
        assert_eq!(out.key["tool"], "ETCH-07");
        let counted = applied(&Redaction::default(), json!({ "seen": 12, "server": "10.0.0.1" }), "12 times");
        assert_eq!((counted.evidence["seen"].clone(), counted.summary.as_str()), (json!(12), "12 times"));
    }

    #[test]
    fn who_decided_and_why_stay_unless_they_are_to_leave() {
        let mut alert = fixtures::alert(1);
        alert.evidence = json!({ "lot": "LOT4711" });
        alert.summary = "LOT4711 waits".into();
        let mut made = decided(Verdict::Resolved);
        made.why = "LOT4711 is scrapped".into();
        let both = |redaction: &Redaction| super::both(redaction, alert.clone(), made.clone());
        let (shown, said) = both(&Redaction::default());
        assert_eq!((shown.summary.as_str(), said.by.as_str()), ("[left out] waits", "[personal]"));
        assert_eq!((said.why.as_str(), said.time, said.to), ("[secret]", made.time, made.to));
        let keeping: Redaction =
            serde_json::from_value(json!({ "keep": ["decided_by", "comment"] })).expect("settings");
        let (_, said) = both(&keeping);
        assert_eq!((said.by.as_str(), said.why.as_str()), ("mori", "[left out] is scrapped"));
        assert_eq!(both(&Redaction::off()).1, made);
    }

    #[test]
    fn what_collectors_say_of_their_own_work_stays() {
        let mut alert = fixtures::alert(1);
        alert.evidence = json!({ "subject": "eth1", "event": "drop", "detail": "at byte 7" });
        let secret = Redaction::default().apply(alert.clone());
        assert_eq!(secret.evidence["detail"], "[secret]");
        alert.queue = Queue::DataQuality;
        assert_eq!(Redaction::default().apply(alert).evidence["detail"], "at byte 7");
    }
}
