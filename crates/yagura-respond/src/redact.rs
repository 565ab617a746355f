//! What of an alert leaves the fab. Every column of evidence has a class; a sink leaves out the classes that its
//! receiver has no business with: by default process values, lots and wafers (`process`), names of people
//! (`personal`), and what may hold parts of recipes (`secret`).
//!
//! A column that this table does not know is left out as `process`: pipelines and mappings make columns of their
//! own, and nobody has said yet that theirs may leave. A sink's `redact: { keep: [column] }` says so.
//!
//! Values that are left out are also left out of the summary and of the alert's key, where templates put them. Of a
//! decision, who made it is the column `decided_by` and why is `comment`.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::Value;
use yagura_event::alert::{Alert, Queue, reading};

use crate::told::Decided;

/// What may be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// Process values, lots, wafers, carriers.
    Process,
    /// Names of people.
    Personal,
    /// Recipe parameters, and texts that may hold anything.
    Secret,
}

impl Class {
    /// What stands where a value was.
    fn mark(self) -> &'static str {
        match self {
            Class::Process => "[process]",
            Class::Personal => "[personal]",
            Class::Secret => "[secret]",
        }
    }
}

/// Columns that may leave, whatever the sink: addresses, names of equipment and of recipes, codes, counts, times.
/// `seen` is a count unless it is of a signal, see [`class_of`].
const INTERNAL: &[&str] = &[
    "address",
    "at",
    "body_bytes",
    "body_hmac",
    "category",
    "chamber",
    "class",
    "client",
    "client_area",
    "client_bytes",
    "client_mac",
    "client_packets",
    "client_port",
    "collector",
    "count",
    "customary",
    "event",
    "exchange",
    "factor",
    "feature",
    "finding",
    "firmware",
    "flow",
    "from",
    "function",
    "initiator",
    "last_seen",
    "late",
    "latency_us",
    "learned",
    "left_out",
    "missing_bytes",
    "model",
    "name",
    "observed",
    "operation",
    "protocol",
    "provisional",
    "quality",
    "raised",
    "recipe",
    "returned",
    "score",
    "seen",
    "series",
    "serial",
    "server",
    "server_area",
    "server_bytes",
    "server_mac",
    "server_packets",
    "server_port",
    "session",
    "severity",
    "signal",
    "since",
    "state",
    "status",
    "status_code",
    "step",
    "subject",
    "target",
    "time",
    "to",
    "tool",
    "transport",
    "unit",
    "until",
    "vendor",
    "vlan",
    "why",
];

/// Columns that hold what no sink gets unless it is said.
const CLASSES: &[(&str, Class)] = &[
    ("author", Class::Personal),
    ("badge", Class::Personal),
    ("decided_by", Class::Personal),
    ("holder", Class::Personal),
    ("operator", Class::Personal),
    ("user", Class::Personal),
    ("comment", Class::Secret),
    ("description", Class::Secret),
    ("detail", Class::Secret),
    ("payload", Class::Secret),
    ("parameters", Class::Secret),
    ("values", Class::Secret),
    ("top_values", Class::Secret),
];

/// The class of a column; none for what may leave. `signal` says that the row is about a signal.
fn class_of(column: &str, signal: bool, queue: Queue) -> Option<Class> {
    if let Some((_, class)) = CLASSES.iter().find(|(name, _)| *name == column) {
        // What a collector says of its own work, in words and with the place.
        return (queue != Queue::DataQuality || column != "detail").then_some(*class);
    }
    let internal = INTERNAL.contains(&column) && !(signal && column == "seen");
    (!internal).then_some(Class::Process)
}

/// What a sink leaves out: all three classes without a setting.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Redaction {
    /// Which classes.
    pub classes: BTreeSet<Class>,
    /// Columns that leave all the same.
    pub keep: BTreeSet<String>,
}

impl Default for Redaction {
    fn default() -> Self {
        let classes = BTreeSet::from([Class::Process, Class::Personal, Class::Secret]);
        Self { classes, keep: BTreeSet::new() }
    }
}

impl Redaction {
    /// Nothing is left out.
    pub fn off() -> Self {
        Self { classes: BTreeSet::new(), keep: BTreeSet::new() }
    }

    /// The alert without what is left out.
    pub fn apply(&self, mut alert: Alert) -> Alert {
        self.cover(&mut alert, None);
        alert
    }

    /// An alert and what was decided about it, without what is left out.
    pub(crate) fn apply_both(&self, mut alert: Alert, mut decided: Decided) -> (Alert, Decided) {
        self.cover(&mut alert, Some(&mut decided));
        (alert, decided)
    }

    fn cover(&self, alert: &mut Alert, decided: Option<&mut Decided>) {
        if self.classes.is_empty() {
            return;
        }
        let mut found = Found { redaction: self, queue: alert.queue, hidden: BTreeSet::new() };
        found.walk("", &mut alert.evidence, false);
        let signal = alert.key.contains_key("signal");
        for (column, value) in &mut alert.key {
            if let Some(class) = found.class(column, signal) {
                found.hide(value);
                *value = class.mark().into();
            }
        }
        let mut fields = vec![&mut alert.summary, &mut alert.title, &mut alert.then];
        if let Some(Decided { by, why, .. }) = decided {
            for (column, text) in [("decided_by", by), ("comment", why)] {
                match found.class(column, false) {
                    Some(class) => *text = class.mark().into(),
                    None => fields.push(text),
                }
            }
        }
        // The longer first, so that none is cut into by a shorter one.
        let mut hidden: Vec<&String> = found.hidden.iter().collect();
        hidden.sort_by_key(|text| std::cmp::Reverse(text.len()));
        for text in hidden {
            for field in &mut fields {
                **field = without(field, text);
            }
        }
    }
}

struct Found<'a> {
    redaction: &'a Redaction,
    queue: Queue,
    /// Texts of what is left out.
    hidden: BTreeSet<String>,
}

impl Found<'_> {
    fn class(&self, column: &str, signal: bool) -> Option<Class> {
        let class = class_of(column, signal, self.queue)?;
        (self.redaction.classes.contains(&class) && !self.redaction.keep.contains(column)).then_some(class)
    }

    fn hide(&mut self, text: &str) {
        if !text.is_empty() {
            self.hidden.insert(text.to_string());
        }
    }

    /// Objects within are rows of their own; a list is of what its column is.
    fn walk(&mut self, column: &str, value: &mut Value, signal: bool) {
        match value {
            Value::Object(fields) if column.is_empty() || !is_known(column) || column == "signals" => {
                let signal = signal || fields.contains_key("signal");
                fields.iter_mut().for_each(|(column, value)| self.walk(column, value, signal));
            }
            Value::Array(items) if items.iter().all(Value::is_object) => {
                items.iter_mut().for_each(|item| self.walk("", item, signal));
            }
            Value::Null => {}
            _ => {
                let Some(class) = self.class(column, signal) else { return };
                match &*value {
                    Value::String(text) => self.hide(text),
                    Value::Number(number) => {
                        self.hide(&number.to_string());
                        self.hide(&number.as_f64().map(reading).unwrap_or_default());
                    }
                    other => self.hide(&other.to_string()),
                }
                *value = class.mark().into();
            }
        }
    }
}

/// Whether the table has the column.
fn is_known(column: &str) -> bool {
    INTERNAL.contains(&column) || CLASSES.iter().any(|(name, _)| *name == column)
}

/// A text without another, where that stands as a word of its own.
fn without(text: &str, hidden: &str) -> String {
    let joins = |a: Option<char>, b: Option<char>| {
        a.zip(b).is_some_and(|(a, b)| a.is_alphanumeric() && b.is_alphanumeric())
    };
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(hidden) {
        let (before, after) = (&rest[..at], &rest[at + hidden.len()..]);
        let last = before.chars().next_back().or_else(|| out.chars().next_back());
        let inside =
            joins(last, hidden.chars().next()) || joins(hidden.chars().next_back(), after.chars().next());
        out.push_str(before);
        out.push_str(if inside { hidden } else { "[left out]" });
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

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
        let both = |redaction: &Redaction| redaction.apply_both(alert.clone(), made.clone());
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
