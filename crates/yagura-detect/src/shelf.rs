//! Pipelines by their version, compiled once: where a shard finds the one that its log names.
//!
//! A version is the texts of a pipeline's files. The log carries them whole, so that a stretch of it is
//! judged by what was in force then, whatever the files say today.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::baseline::Trust;
use crate::condition::Compiler;
use crate::pipeline::{Detection, Pipeline, PipelineError, files, no_place};

/// The files of a pipeline, in the order in which they were read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Texts {
    /// Name and content of each.
    pub files: Vec<(PathBuf, String)>,
    /// Who may approve what the detections learn.
    #[serde(default)]
    pub trust: Trust,
}

impl Texts {
    /// The namespace of versions.
    const NAMESPACE: Uuid = Uuid::from_bytes(*b"yagura.pipelines");

    /// One file.
    pub fn one(name: &str, text: impl Into<String>) -> Texts {
        Texts { files: vec![(name.into(), text.into())], ..Texts::default() }
    }

    /// The version: a UUID of version 5 over what the files say; where they lie does not matter.
    pub fn version(&self) -> Uuid {
        let texts: Vec<&str> = self.files.iter().map(|(_, text)| text.as_str()).collect();
        let said = match self.trust.is_empty() {
            true => serde_json::json!(texts),
            false => serde_json::json!([texts, self.trust]),
        };
        Uuid::new_v5(&Self::NAMESPACE, said.to_string().as_bytes())
    }
}

/// Compiles pipelines, and knows those that are in use.
pub struct Shelf {
    compiler: Box<dyn Compiler>,
    in_use: Mutex<BTreeMap<Uuid, Weak<Pipeline>>>,
}

impl Shelf {
    /// An empty one.
    pub fn new(compiler: impl Compiler + 'static) -> Arc<Shelf> {
        Arc::new(Shelf { compiler: Box::new(compiler), in_use: Mutex::default() })
    }

    /// Reads and checks files (`.yaml`) and folders of them, in the order of their names.
    /// Answers every problem there is, not only the first.
    pub fn load(self: &Arc<Self>, paths: &[PathBuf]) -> Result<Arc<Pipeline>, Vec<PipelineError>> {
        self.load_trusting(paths, Trust::default())
    }

    /// The same, with who may approve what the detections learn.
    pub fn load_trusting(
        self: &Arc<Self>,
        paths: &[PathBuf],
        trust: Trust,
    ) -> Result<Arc<Pipeline>, Vec<PipelineError>> {
        let mut errors = Vec::new();
        let mut texts = Texts { trust, ..Texts::default() };
        for file in files(paths, &mut errors) {
            match std::fs::read_to_string(&file) {
                Ok(text) => texts.files.push((file, text)),
                Err(e) => errors.push(no_place(&file, format!("cannot be read: {e}"))),
            }
        }
        match self.read(texts) {
            Ok(pipeline) if errors.is_empty() => Ok(pipeline),
            Ok(_) => Err(errors),
            Err(more) => {
                errors.extend(more);
                Err(errors)
            }
        }
    }

    /// Reads and checks the texts of files; the same texts give the same pipeline.
    pub fn read(self: &Arc<Self>, texts: Texts) -> Result<Arc<Pipeline>, Vec<PipelineError>> {
        let version = texts.version();
        // Held while it compiles: whoever wants the same version waits for it.
        let mut in_use = self.in_use.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pipeline) = in_use.get(&version).and_then(Weak::upgrade) {
            return Ok(pipeline);
        }
        let detections = self.detections(&texts)?;
        let pipeline = Arc::new(Pipeline::new(detections, texts, version, Arc::clone(self)));
        in_use.retain(|_, pipeline| pipeline.strong_count() > 0);
        in_use.insert(version, Arc::downgrade(&pipeline));
        Ok(pipeline)
    }

    fn detections(&self, texts: &Texts) -> Result<Vec<Detection>, Vec<PipelineError>> {
        let mut errors = Vec::new();
        let mut detections: Vec<Detection> = Vec::new();
        for (file, text) in &texts.files {
            match Pipeline::read(file, text, self.compiler.as_ref()) {
                Ok(read) => detections.extend(read),
                Err(more) => errors.extend(more),
            }
        }
        for (index, detection) in detections.iter().enumerate() {
            if let Some(first) = detections[..index].iter().find(|d| d.id == detection.id) {
                errors.push(no_place(&detection.file, taken(&first.id, &first.file)));
            }
        }
        if errors.is_empty() { Ok(detections) } else { Err(errors) }
    }
}

fn taken(id: &str, file: &Path) -> String {
    format!("detection `{id}` stands in {} already; ids are unique", file.display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operators::testing::Equals;

    fn texts(name: &str, id: &str) -> Texts {
        let text = format!(
            "version: 1\ndetections:\n  - {{ id: {id}, title: T, queue: security, severity: low, on: flow, summary: s, then: Look. }}\n"
        );
        Texts::one(name, text)
    }

    #[test]
    fn a_version_is_what_the_files_say() {
        let shelf = Shelf::new(Equals);
        let one = shelf.read(texts("a.yaml", "one")).unwrap_or_else(|e| panic!("{e:?}"));
        let same = shelf.read(texts("b.yaml", "one")).unwrap_or_else(|e| panic!("{e:?}"));
        assert!(Arc::ptr_eq(&one, &same), "compiled once");
        let other = shelf.read(texts("a.yaml", "other")).unwrap_or_else(|e| panic!("{e:?}"));
        assert_ne!(one.version, other.version);
        let version = one.version;
        drop((one, same));
        let again = shelf.read(texts("a.yaml", "one")).unwrap_or_else(|e| panic!("{e:?}"));
        assert_eq!(again.version, version, "in every process");
    }
}
