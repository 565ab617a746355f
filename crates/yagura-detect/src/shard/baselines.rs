//! The baselines of a cell: which were put in force, by whom, and what is refused.
//!
//! Everything here is decided by records of the log: the signatures are checked with the keys that the
//! pipeline version in force brought, so a log that is judged again trusts whom it trusted then.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};
use yagura_event::clock::Micros;

use super::Shard;
use crate::baseline::{self, DOCUMENT_BYTES_MAX, Document, Header, Refusal, fingerprint_text, time_text};
use crate::operators::Which;
use crate::pipeline::Detection;

/// The most versions that are kept of a detection.
pub const VERSIONS_MAX: usize = 8;
/// The most bytes of documents that are kept beside the one in force.
const RETIRED_BYTES_MAX: usize = DOCUMENT_BYTES_MAX;
/// An approval without a document is written down when it has no more keys.
const WRITTEN_KEYS_MAX: usize = 100_000;

/// The baselines of one detection in one cell.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// Those that are kept, the oldest first.
    pub versions: Vec<Version>,
    /// When something was refused last, and why.
    pub refusal: Option<(Micros, String)>,
    /// How many there have been.
    count: u32,
    /// One of which parts are missing.
    partial: Option<Partial>,
}

/// One version of a baseline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// From 1.
    pub number: u32,
    /// Whether it is judged by; otherwise it is retired.
    pub in_force: bool,
    /// When it was put in force last, by the clock of who decided it.
    pub at: Micros,
    /// Who decided it.
    pub author: String,
    /// Whose signature counted, if it carries one.
    pub signer: Option<String>,
    /// What it came from.
    pub why: Why,
    /// How many keys it is of.
    pub entries: u64,
    /// See [`Document::hash`]; empty without a document.
    pub hash: String,
    /// The document; none of a maintenance, and none of an approval of too many keys.
    pub document: Option<Text>,
}

/// What a version came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Why {
    /// A document was put in force.
    Document,
    /// What had been learned was approved as it stood.
    Approval,
    /// Maintenance of these keys was recorded (JSON): the one before, but for their levels.
    Maintenance(String),
}

/// A text that copies of a state share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text(Arc<str>);

impl Text {
    /// It.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Text(String::deserialize(deserializer)?.into()))
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Partial {
    hash: String,
    parts: u32,
    next: u32,
    text: String,
}

/// One part of a document, as a control record's payload has it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// [`Document::hash`] of the whole.
    pub document: String,
    /// From 0.
    pub part: u32,
    /// How many there are.
    pub parts: u32,
    /// Of the document's text.
    pub text: String,
}

/// An earlier version that is to be in force again, as a control record's payload has it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Back {
    /// [`Version::number`].
    pub version: u32,
}

/// Something about a baseline that was not done; what was in force stays so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The detection that it named.
    pub detection: String,
    /// Who wanted it.
    pub author: String,
    /// Why not.
    pub reason: String,
}

/// Who decided something, and when.
#[derive(Clone, Copy)]
pub(super) struct Decided<'a> {
    pub(super) at: Micros,
    pub(super) author: &'a str,
}

impl History {
    /// The version in force.
    pub fn in_force(&self) -> Option<&Version> {
        self.versions.iter().find(|version| version.in_force)
    }

    /// A version that is kept.
    pub fn version(&self, number: u32) -> Option<&Version> {
        self.versions.iter().find(|version| version.number == number)
    }

    fn retire(&mut self) {
        self.versions.iter_mut().for_each(|version| version.in_force = false);
    }

    fn push(&mut self, version: Version) {
        self.retire();
        self.count += 1;
        self.versions.push(Version { number: self.count, in_force: true, ..version });
        let bytes = |version: &Version| version.document.as_ref().map_or(0, |text| text.0.len());
        let retired = |versions: &[Version]| versions[..versions.len() - 1].iter().map(bytes).sum::<usize>();
        while self.versions.len() > VERSIONS_MAX || retired(&self.versions) > RETIRED_BYTES_MAX {
            self.versions.remove(0);
        }
    }

    /// Takes a part; answers the document's text when it was the last.
    fn take(&mut self, part: Part) -> Result<Option<String>, Refusal> {
        let before = self.partial.take();
        let Part { document, part, parts, text } = part;
        let mut partial = match before {
            _ if part == 0 => Partial { hash: document, parts, next: 0, text: String::new() },
            Some(before) if (before.next, before.parts) == (part, parts) && before.hash == document => before,
            _ => return Err(Refusal("parts of the document are missing: put it in force again".into())),
        };
        if partial.text.len() + text.len() > DOCUMENT_BYTES_MAX {
            return Err(format!("the document has more than {DOCUMENT_BYTES_MAX} bytes").into());
        }
        partial.text.push_str(&text);
        partial.next += 1;
        if partial.next < partial.parts {
            self.partial = Some(partial);
            return Ok(None);
        }
        Ok(Some(partial.text))
    }
}

impl Shard {
    /// The baselines of each detection that is judged here and learns.
    pub fn baselines(&self) -> impl Iterator<Item = (&Detection, History)> {
        let all = self.pipeline.detections.iter().zip(&self.operators).zip(&self.here);
        all.filter(|((_, operator), here)| **here && operator.form().is_some()).map(|((detection, _), _)| {
            (detection, self.saved.baselines.get(&detection.id).cloned().unwrap_or_default())
        })
    }

    /// What a detection has learned, as a document without a signature; none when it learns nothing here.
    pub fn learned(&self, detection: &str, which: Which) -> Option<Document> {
        let index = self.learning_here(detection).ok()?;
        Some(self.document(index, which))
    }

    fn document(&self, index: usize, which: Which) -> Document {
        let (detection, operator) = (&self.pipeline.detections[index], &self.operators[index]);
        let (span, entries) = operator.learned(which, &self.saved.series);
        let (model, model_version, of) = operator
            .form()
            .map_or((String::new(), 0, Vec::new()), |f| (f.model.to_string(), f.version, f.of));
        let header = Header {
            baseline: baseline::VERSION,
            detection: detection.id.clone(),
            fingerprint: fingerprint_text(detection.fingerprint),
            cell: self.saved.cell.clone(),
            model,
            model_version,
            of,
            from: time_text(span.from),
            until: time_text(span.until),
            rows: span.rows,
            entries: 0,
        };
        Document::new(header, entries)
    }

    fn learning_here(&self, detection: &str) -> Result<usize, Refusal> {
        let learns = |at: &usize| self.here[*at] && self.operators[*at].form().is_some();
        match self.pipeline.detections.iter().position(|d| d.id == detection).filter(learns) {
            Some(index) => Ok(index),
            None => {
                let all = (0..self.pipeline.detections.len()).filter(learns);
                let names: Vec<&str> = all.map(|at| self.pipeline.detections[at].id.as_str()).collect();
                let (cell, names) = (&self.saved.cell, names.join(", "));
                Err(format!("no detection `{detection}` learns in the cell `{cell}`; there are: {names}")
                    .into())
            }
        }
    }

    /// What was learned so far is approved as it stands.
    pub(super) fn approve(&mut self, subject: &str, decided: Decided<'_>) {
        if self.pipeline.texts.trust.signed_only {
            let reason = "it carries no document, and the configuration takes only signed ones (`baselines.signed_only`): use `yagura baseline approve`";
            return self.refuse(subject, decided, reason.to_string());
        }
        for index in 0..self.operators.len() {
            if !meant(subject, &self.pipeline.detections[index]) {
                continue;
            }
            self.operators[index].approve();
            let approved = self.operators[index].learning().approved;
            if self.here[index] && self.operators[index].form().is_some() && approved > 0 {
                self.write_down(index, approved, decided);
            }
        }
    }

    /// Keeps what an approval without a document put in force, so that it can be shown and come back.
    fn write_down(&mut self, index: usize, approved: usize, decided: Decided<'_>) {
        let document = (approved <= WRITTEN_KEYS_MAX).then(|| self.document(index, Which::InForce));
        let document = document.map(|document| (document.hash(), document.text()));
        let document = document.filter(|(_, text)| text.len() <= DOCUMENT_BYTES_MAX);
        let id = &self.pipeline.detections[index].id;
        let history = self.saved.baselines.entry(id.clone()).or_default();
        let entries_of = |text: &str| text.split_once('\n').map(|(_, entries)| entries.to_string());
        let same = |version: &Version| match (&version.document, &document) {
            (Some(old), Some((_, new))) => entries_of(old.as_str()) == entries_of(new),
            _ => false,
        };
        if history.in_force().is_some_and(same) {
            return;
        }
        let (hash, text) = document.unzip();
        history.push(Version {
            number: 0,
            in_force: true,
            at: decided.at,
            author: decided.author.to_string(),
            signer: None,
            why: Why::Approval,
            entries: approved as u64,
            hash: hash.unwrap_or_default(),
            document: text.map(|text| Text(text.into())),
        });
    }

    /// A part of a document came; the last one puts it in force.
    pub(super) fn baseline(&mut self, detection: &str, payload: &str, decided: Decided<'_>) {
        if let Err(refusal) = self.take_part(detection, payload, decided) {
            self.refuse(detection, decided, refusal.0);
        }
    }

    fn take_part(&mut self, detection: &str, payload: &str, decided: Decided<'_>) -> Result<(), Refusal> {
        let part: Part = serde_json::from_str(payload).map_err(|e| format!("no part of a baseline: {e}"))?;
        let index = self.learning_here(detection)?;
        let hash = part.document.clone();
        let Some(text) = self.saved.baselines.entry(detection.to_string()).or_default().take(part)? else {
            return Ok(());
        };
        let document = self.checked(index, &text)?;
        if document.0.hash() != hash {
            return Err(Refusal("it is not the document that its records name".into()));
        }
        let (document, signer) = document;
        self.operators[index].put_in_force(&document.entries, &self.saved.series)?;
        self.saved.baselines.entry(detection.to_string()).or_default().push(Version {
            number: 0,
            in_force: true,
            at: decided.at,
            author: decided.author.to_string(),
            signer,
            why: Why::Document,
            entries: document.header.entries,
            hash,
            document: Some(Text(text.into())),
        });
        Ok(())
    }

    /// A document that may be put in force now, and who of the trusted signed it.
    fn checked(&self, index: usize, text: &str) -> Result<(Document, Option<String>), Refusal> {
        let document = Document::read(text)?;
        let signer = document.verify(&self.pipeline.texts.trust)?;
        let detection = &self.pipeline.detections[index];
        if let Some(form) = self.operators[index].form() {
            document.fits(&detection.id, detection.fingerprint, &self.saved.cell, &form)?;
        }
        Ok((document, signer))
    }

    /// An earlier version is in force again, if it would be taken now as well.
    pub(super) fn roll_back(&mut self, detection: &str, payload: &str, decided: Decided<'_>) {
        if let Err(refusal) = self.go_back(detection, payload, decided) {
            self.refuse(detection, decided, refusal.0);
        }
    }

    fn go_back(&mut self, detection: &str, payload: &str, decided: Decided<'_>) -> Result<(), Refusal> {
        let Back { version } = serde_json::from_str(payload).map_err(|e| format!("no version: {e}"))?;
        let index = self.learning_here(detection)?;
        let kept = self.saved.baselines.get(detection).and_then(|history| history.version(version));
        let Some(kept) = kept else {
            return Err(format!(
                "version {version} is not kept; `yagura baseline list` shows those that are"
            )
            .into());
        };
        let Some(text) = kept.document.clone() else {
            return Err(
                format!("version {version} has no document of its own: go back to one that has").into()
            );
        };
        let (document, signer) = self.checked(index, text.as_str())?;
        self.operators[index].put_in_force(&document.entries, &self.saved.series)?;
        let history = self.saved.baselines.entry(detection.to_string()).or_default();
        history.retire();
        if let Some(kept) = history.versions.iter_mut().find(|kept| kept.number == version) {
            kept.in_force = true;
            kept.at = decided.at;
            kept.author = decided.author.to_string();
            kept.signer = signer;
        }
        Ok(())
    }

    /// Maintenance was recorded: those keys learn their level anew.
    pub(super) fn maintenance(&mut self, subject: &str, payload: &str, decided: Decided<'_>) {
        let keys: Map<String, Value> = match serde_json::from_str(payload) {
            Ok(keys) => keys,
            Err(e) => return self.refuse(subject, decided, format!("maintenance names no keys: {e}")),
        };
        for index in 0..self.operators.len() {
            if !meant(subject, &self.pipeline.detections[index]) || !self.here[index] {
                continue;
            }
            let concerned = self.operators[index].maintain(&keys, &self.saved.series);
            if concerned > 0 {
                let id = self.pipeline.detections[index].id.clone();
                self.saved.baselines.entry(id).or_default().push(Version {
                    number: 0,
                    in_force: true,
                    at: decided.at,
                    author: decided.author.to_string(),
                    signer: None,
                    why: Why::Maintenance(payload.to_string()),
                    entries: concerned as u64,
                    hash: String::new(),
                    document: None,
                });
            }
        }
    }

    /// An alarm of these keys was false. Of an alert's key counts what models tell keys apart by: it may name a finding,
    /// or a step, beside that.
    pub(super) fn called_false(&mut self, subject: &str, payload: &str) {
        let Ok(mut keys) = serde_json::from_str::<Map<String, Value>>(payload) else {
            self.saved.stats.unreadable_records += 1;
            return;
        };
        for (detection, operator) in self.pipeline.detections.iter().zip(&mut self.operators) {
            if detection.id == subject
                && let Some(form) = operator.form()
            {
                keys.retain(|name, _| form.of.contains(name));
                if !keys.is_empty() {
                    operator.called_false(&keys, &self.saved.series);
                }
            }
        }
    }

    /// Detections without a state have nothing in force.
    pub(super) fn retire_baselines(&mut self, detections: &[usize]) {
        for &index in detections {
            if let Some(history) = self.saved.baselines.get_mut(&self.pipeline.detections[index].id) {
                history.retire();
            }
        }
        let ids = &self.pipeline.detections;
        self.saved.baselines.retain(|id, _| ids.iter().any(|detection| detection.id == *id));
    }

    fn refuse(&mut self, detection: &str, decided: Decided<'_>, reason: String) {
        self.saved.stats.refused_baselines += 1;
        if self.pipeline.detections.iter().any(|d| d.id == detection) {
            let history = self.saved.baselines.entry(detection.to_string()).or_default();
            history.refusal = Some((decided.at, reason.clone()));
        }
        let (detection, author) = (detection.to_string(), decided.author.to_string());
        self.refused.push(Refused { detection, author, reason });
    }
}

/// Whether a decision is about a detection.
pub(super) fn meant(subject: &str, detection: &Detection) -> bool {
    subject == "*" || detection.id == subject
}

/// By detection.
pub(super) type Baselines = BTreeMap<String, History>;

#[cfg(test)]
mod tests;
