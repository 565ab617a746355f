//! What of an alert leaves the fab, and what of rows the history keeps. Every column of evidence has a class; a sink
//! leaves out the classes that its receiver has no business with: by default process values, lots and wafers
//! (`process`), names of people (`personal`), and what may hold parts of recipes (`secret`).
//!
//! A column that this table does not know is left out as `process`: pipelines and mappings make columns of their
//! own, and nobody has said yet that theirs may leave. A sink's `redact: { keep: [column] }` says so.
//!
//! Values that are left out are also left out of the summary and of the alert's key, where templates put them. Of a
//! decision, who made it is the column `decided_by` and why is `comment`.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::Value;

use crate::alert::{Alert, Queue, reading};
use crate::vocabulary::context;

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

    /// Whether nothing is left out.
    pub fn is_off(&self) -> bool {
        self.classes.is_empty()
    }

    /// The alert without what is left out.
    pub fn apply(&self, mut alert: Alert) -> Alert {
        self.cover(&mut alert, Vec::new());
        alert
    }

    /// The same in place, and of texts that go with the alert, each by the column that it would be: those that are not
    /// left out as a whole are without what the alert hides.
    pub fn cover(&self, alert: &mut Alert, more: Vec<(&str, &mut String)>) {
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
        for (column, text) in more {
            match found.class(column, false) {
                Some(class) => *text = class.mark().into(),
                None => fields.push(text),
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

    /// What stands in the history instead of the texts of a column; `None` where they stay. Only what the table names
    /// is left out there: nobody outside the fab reads it.
    pub fn mark_of(&self, column: &str) -> Option<&'static str> {
        let (_, class) = CLASSES.iter().find(|(name, _)| *name == column)?;
        (self.classes.contains(class) && !self.keep.contains(column)).then(|| class.mark())
    }

    /// The same of what holds for a tool (`lot`, `badge`, …), by its name.
    pub fn mark_of_context(&self, name: &str) -> Option<&'static str> {
        let class = match name {
            context::LOT => Class::Process,
            context::BADGE => Class::Personal,
            _ => return None,
        };
        (self.classes.contains(&class) && !self.keep.contains(name)).then(|| class.mark())
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
