//! A baseline: what one detection has learned, as a file that people read, compare and sign.
//!
//! It is JSON lines, so that any tool for texts shows a difference by key:
//!
//! ```text
//! {"baseline":1,"detection":"signal-drift","fingerprint":"…","cell":"etch-bay","model":"guard",…}
//! {"key":["ETCH-07","A","CF4 flow"],"deviation":0.31,"level":50.2,…}        one a key, in their order
//! {"signature":{"key":"ed25519:…","value":"…"}}                            any number of them, or none
//! ```
//!
//! A signature is over all bytes before the first signature's line, so no rule says how JSON is to be
//! written again. An entry's values are the model's own; [`crate::operators::Operator`] gives and takes them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use yagura_event::clock::{self, Micros};

pub mod decision;
pub mod signature;

use signature::{KeyPair, PublicKey};

/// Version of the file's form.
pub const VERSION: u32 = 1;
/// The cell of a baseline that holds in each.
pub const ALL_CELLS: &str = "*";
/// The most bytes of a document.
pub const DOCUMENT_BYTES_MAX: usize = 32 << 20;
/// The most signatures of a document.
const SIGNATURES_MAX: usize = 16;

/// What stands in the first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// [`VERSION`].
    pub baseline: u32,
    /// The detection.
    pub detection: String,
    /// What decides its judgement, see [`crate::pipeline::Detection::fingerprint`]; hexadecimal.
    pub fingerprint: String,
    /// The cell, or [`ALL_CELLS`].
    pub cell: String,
    /// What learned.
    pub model: String,
    /// Version of what its values mean.
    pub model_version: u16,
    /// What an entry's key is made of.
    pub of: Vec<String>,
    /// When the first row was seen that it was learned from; empty without rows.
    pub from: String,
    /// And the last.
    pub until: String,
    /// How many rows there were.
    pub rows: u64,
    /// How many entries follow.
    pub entries: u64,
}

/// What is learned of one key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// See [`Header::of`].
    pub key: Vec<String>,
    /// What the model knows of it.
    #[serde(flatten)]
    pub values: Map<String, Value>,
}

/// What learned, and what its entries are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Form {
    /// Name of the model.
    pub model: &'static str,
    /// Version of what its values mean.
    pub version: u16,
    /// What an entry's key is made of.
    pub of: Vec<String>,
}

/// Nine digits: what people compare, and far finer than what is judged.
pub(crate) fn rounded(value: f64) -> f64 {
    format!("{value:.8e}").parse().unwrap_or(value)
}

/// What nobody reads, as text.
pub(crate) fn to_text(model: &impl Serialize) -> String {
    BASE64.encode(postcard::to_stdvec(model).unwrap_or_default())
}

/// The same back.
pub(crate) fn from_text<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let bytes = BASE64.decode(text).map_err(|cause| cause.to_string())?;
    postcard::from_bytes(&bytes).map_err(|cause| cause.to_string())
}

/// The same from a value of an entry; the error names it.
pub(crate) fn from_value<T: DeserializeOwned>(values: &Map<String, Value>, name: &str) -> Result<T, String> {
    let text = values.get(name).and_then(Value::as_str).ok_or_else(|| format!("`{name}` is no text"))?;
    from_text(text).map_err(|cause| format!("`{name}`: {cause}"))
}

impl Form {
    /// The places in an entry's key of these names, with the values wanted there; none when a name is not there.
    fn places<'a>(&self, wanted: &'a Map<String, Value>) -> Option<Vec<(usize, &'a str)>> {
        let place = |(name, value): (&String, &'a Value)| {
            Some((self.of.iter().position(|known| known == name)?, value.as_str()?))
        };
        wanted.iter().map(place).collect()
    }

    /// The places of the keys that have these values; none when a name is not there.
    pub fn meant<K: AsRef<[String]>>(
        &self,
        wanted: &Map<String, Value>,
        keys: impl Iterator<Item = (usize, K)>,
    ) -> Vec<usize> {
        let Some(wanted) = self.places(wanted) else { return Vec::new() };
        let has = |key: &[String]| wanted.iter().all(|(at, value)| key[*at] == *value);
        keys.filter(|(_, key)| has(key.as_ref())).map(|(place, _)| place).collect()
    }
}

/// Which rows something was learned from, by the clock of who collected them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// The first.
    pub from: Micros,
    /// The last.
    pub until: Micros,
    /// How many.
    pub rows: u64,
}

impl Default for Span {
    fn default() -> Self {
        Span { from: Micros::MAX, until: Micros::MIN, rows: 0 }
    }
}

impl Span {
    /// Adds rows that were observed within these times.
    pub fn add(&mut self, observed: (Micros, Micros), rows: u64) {
        if rows > 0 {
            self.from = self.from.min(observed.0);
            self.until = self.until.max(observed.1);
            self.rows += rows;
        }
    }
}

/// Why something was not put in force.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(pub String);

impl From<String> for Refusal {
    fn from(reason: String) -> Self {
        Refusal(reason)
    }
}

/// A baseline, read.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// What it is of.
    pub header: Header,
    /// In the order of their keys, each key once.
    pub entries: Vec<Entry>,
    /// The lines that are signed.
    body: String,
    /// Keys and signatures, as written.
    signatures: Vec<Signed>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signed {
    key: PublicKey,
    value: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SignatureLine {
    signature: Signed,
}

impl Document {
    /// Of these entries, without a signature. The header's count of entries is filled in.
    pub fn new(mut header: Header, mut entries: Vec<Entry>) -> Document {
        entries.sort_by(|one, other| one.key.cmp(&other.key));
        header.entries = entries.len() as u64;
        let mut body = serde_json::to_string(&header).unwrap_or_default();
        body.push('\n');
        for entry in &entries {
            body.push_str(&serde_json::to_string(entry).unwrap_or_default());
            body.push('\n');
        }
        Document { header, entries, body, signatures: Vec::new() }
    }

    /// Reads a file's text. It must be whole: a line too few is told.
    pub fn read(text: &str) -> Result<Document, Refusal> {
        let wrong = |line: usize, what: String| Refusal(format!("line {line}: {what}"));
        if text.len() > DOCUMENT_BYTES_MAX {
            let (bytes, most) = (text.len(), DOCUMENT_BYTES_MAX);
            return Err(format!("it has {bytes} bytes; the most is {most}: learn by fewer keys").into());
        }
        let mut lines = text.split_inclusive('\n').enumerate().map(|(at, line)| (at + 1, line));
        let (_, first) = lines.next().ok_or_else(|| Refusal("it is empty".into()))?;
        let header = header(first).map_err(|what| wrong(1, what))?;
        let (mut entries, mut body) = (Vec::<Entry>::new(), first.len());
        for (number, line) in lines.by_ref().take(usize::try_from(header.entries).unwrap_or(usize::MAX)) {
            let entry: Entry = serde_json::from_str(line)
                .map_err(|e| wrong(number, format!("no entry: {e}; the header says {}", header.entries)))?;
            if entry.key.len() != header.of.len() {
                return Err(wrong(number, format!("its key is not of: {}", header.of.join(", "))));
            }
            if entries.last().is_some_and(|before| before.key >= entry.key) {
                return Err(wrong(number, "keys stand in their order, each once".into()));
            }
            body += line.len();
            entries.push(entry);
        }
        if entries.len() as u64 != header.entries {
            let (seen, said) = (entries.len(), header.entries);
            return Err(format!("it ends after {seen} entries of {said}: it is not whole").into());
        }
        if !text[..body].ends_with('\n') {
            return Err(Refusal("its last line does not end: it is not whole".into()));
        }
        let mut signatures = Vec::new();
        for (number, line) in lines {
            let line: SignatureLine =
                serde_json::from_str(line).map_err(|e| wrong(number, format!("no signature: {e}")))?;
            if signatures.len() == SIGNATURES_MAX {
                return Err(wrong(number, format!("there are more than {SIGNATURES_MAX} signatures")));
            }
            signatures.push(line.signature);
        }
        Ok(Document { header, entries, body: text[..body].to_string(), signatures })
    }

    /// The file's text.
    pub fn text(&self) -> String {
        let mut text = self.body.clone();
        for signature in &self.signatures {
            let line = SignatureLine { signature: signature.clone() };
            let _ = writeln!(text, "{}", serde_json::to_string(&line).unwrap_or_default());
        }
        text
    }

    /// What is signed, as a hash: SHA-256, hexadecimal. Two files with the same one say the same.
    pub fn hash(&self) -> String {
        signature::hash(self.body.as_bytes())
    }

    /// Adds a signature.
    pub fn sign(&mut self, with: &KeyPair) {
        let key = with.public();
        self.signatures.retain(|signed| signed.key != key);
        self.signatures.push(Signed { key, value: with.sign(self.body.as_bytes()) });
    }

    /// Whose signatures it carries, none of which is checked.
    pub fn signers(&self) -> impl Iterator<Item = &PublicKey> {
        self.signatures.iter().map(|signed| &signed.key)
    }

    /// Who of the trusted signed it. Where nobody is trusted a signature is no condition, but one that
    /// is there and does not fit says that the file was changed.
    pub fn verify(&self, trust: &Trust) -> Result<Option<String>, Refusal> {
        for signed in &self.signatures {
            if !signed.key.verifies(self.body.as_bytes(), &signed.value) {
                let key = &signed.key;
                return Err(format!(
                    "the signature of {key} does not fit: the file was changed after it was signed; sign it again"
                )
                .into());
            }
        }
        let trusted = trust.trusted.iter().find(|one| self.signers().any(|key| *key == one.key));
        match (trusted, self.signatures.first()) {
            (Some(one), _) => Ok(Some(one.name.clone())),
            (None, None) if trust.demands() => Err(Refusal(
                "it carries no signature, and the configuration trusts only signed ones (`baselines`): sign it with `--key`".into(),
            )),
            (None, Some(signed)) if trust.demands() => {
                let key = &signed.key;
                Err(format!("it is signed by {key}, whom the configuration does not trust: add the key to `baselines.trusted`, or have it signed by one of those").into())
            }
            (None, other) => Ok(other.map(|signed| signed.key.to_string())),
        }
    }

    /// Whether it is meant for what learned here.
    pub fn fits(&self, detection: &str, fingerprint: u64, cell: &str, form: &Form) -> Result<(), Refusal> {
        let header = &self.header;
        let print = fingerprint_text(fingerprint);
        if header.detection != detection {
            return Err(format!("it is of the detection `{}`, not of `{detection}`", header.detection).into());
        }
        if header.cell != cell && header.cell != ALL_CELLS {
            let other = &header.cell;
            return Err(format!("it is of the cell `{other}`, not of `{cell}`: export it for this cell, or with `--cell '*'` for all").into());
        }
        if header.model != form.model {
            return Err(format!("it is of the model `{}`, not of `{}`", header.model, form.model).into());
        }
        if header.model_version > form.version {
            let (newer, known) = (header.model_version, form.version);
            return Err(format!("version {newer} of `{}` is newer than {known}, which this program knows: use the program that wrote it, or a newer one", form.model).into());
        }
        if header.fingerprint != print {
            return Err(format!("its fingerprint is {} and the detection's {print}: the detection judges otherwise now, so export and sign what it learned since", header.fingerprint).into());
        }
        if header.of != form.of {
            let (other, own) = (header.of.join(", "), form.of.join(", "));
            return Err(format!("its keys are of {other}, not of {own}").into());
        }
        Ok(())
    }

    /// One of several cells; the same key must say the same in each.
    pub fn merged(documents: Vec<Document>) -> Result<Document, Refusal> {
        let (mut entries, mut all) = (BTreeMap::<Vec<String>, Entry>::new(), documents.into_iter());
        let first = all.next().ok_or_else(|| Refusal("there is nothing to export".into()))?;
        let mut header = Header { cell: ALL_CELLS.into(), rows: 0, ..first.header.clone() };
        for document in std::iter::once(first).chain(all) {
            let other = document.header;
            if other.fingerprint != header.fingerprint || other.of != header.of {
                return Err(format!(
                    "cell `{}` judges by another version of it: choose one cell",
                    other.cell
                )
                .into());
            }
            header.from = least(&header.from, &other.from);
            header.until = header.until.max(other.until);
            header.rows += other.rows;
            for entry in document.entries {
                match entries.get(&entry.key) {
                    Some(before) if *before != entry => {
                        let key = entry.key.join(" ");
                        return Err(
                            format!("cells differ in what they know of {key}: choose one cell").into()
                        );
                    }
                    _ => {
                        entries.insert(entry.key.clone(), entry);
                    }
                }
            }
        }
        Ok(Document::new(header, entries.into_values().collect()))
    }
}

fn least(one: &str, other: &str) -> String {
    match (one.is_empty(), other.is_empty()) {
        (true, _) => other.to_string(),
        (_, true) => one.to_string(),
        _ => one.min(other).to_string(),
    }
}

/// The version is looked at first: another one may have any other fields.
fn header(line: &str) -> Result<Header, String> {
    let value: Value = serde_json::from_str(line).map_err(|e| format!("no header of a baseline: {e}"))?;
    match value.get("baseline").and_then(Value::as_u64) {
        None => return Err("no header of a baseline: it does not begin with {\"baseline\":1,…}".into()),
        Some(version) if version != u64::from(VERSION) => {
            return Err(format!(
                "version {version} of a baseline is not known; this program reads version {VERSION}: use the program that wrote it, or a newer one"
            ));
        }
        Some(_) => {}
    }
    serde_json::from_value(value).map_err(|e| format!("the header is wrong: {e}"))
}

/// A fingerprint as documents have it.
pub fn fingerprint_text(fingerprint: u64) -> String {
    format!("{fingerprint:016x}")
}

/// A time of a header.
pub fn time_text(time: Micros) -> String {
    if [Micros::MIN, Micros::MAX].contains(&time) { String::new() } else { clock::rfc3339(time) }
}

/// Who may approve baselines: part of a pipeline's version, so that a log that is judged again trusts
/// whom it trusted then.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Trust {
    /// Whose signatures count. With anybody here a baseline is put in force only with one of them.
    pub trusted: Vec<Trusted>,
    /// Refuses approvals that carry no document as well.
    pub signed_only: bool,
}

/// Somebody who is trusted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trusted {
    /// For people.
    pub name: String,
    /// The public key.
    pub key: PublicKey,
}

impl Trust {
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        *self == Trust::default()
    }

    /// Whether a document needs a signature.
    pub fn demands(&self) -> bool {
        self.signed_only || !self.trusted.is_empty()
    }
}

/// What differs between two lists of entries in their order.
#[derive(Debug, Default, PartialEq)]
pub struct Difference<'a> {
    /// Only in the second.
    pub added: Vec<&'a Entry>,
    /// Only in the first.
    pub removed: Vec<&'a Entry>,
    /// In both, with other values.
    pub changed: Vec<(&'a Entry, &'a Entry)>,
}

impl<'a> Difference<'a> {
    /// Between `before` and `after`.
    pub fn between(before: &'a [Entry], after: &'a [Entry]) -> Difference<'a> {
        let of = |entries: &'a [Entry]| entries.iter().map(|e| (&e.key, e)).collect::<BTreeMap<_, _>>();
        let (before, after) = (of(before), of(after));
        let keys: BTreeSet<_> = before.keys().chain(after.keys()).copied().collect();
        let mut out = Difference::default();
        for key in keys {
            match (before.get(key), after.get(key)) {
                (Some(one), Some(other)) if one != other => out.changed.push((one, other)),
                (Some(one), None) => out.removed.push(one),
                (None, Some(other)) => out.added.push(other),
                _ => {}
            }
        }
        out
    }
}

#[cfg(test)]
mod tests;
