//! A model file: a group of signals for each context.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use ndarray::{Array2, Axis, concatenate, s};
use serde::{Deserialize, Serialize};
use yagura_models::group::{Group, Parameters, Unfit, Verdict, Work};

use super::table::Readings;
use crate::Failure;

/// Version of the file's form.
const VERSION: u32 = 2;

/// What was learned, by context.
#[derive(Serialize, Deserialize)]
pub struct Model {
    version: u32,
    /// The columns that it judges, in order.
    pub signals: Vec<String>,
    parameters: Parameters,
    groups: BTreeMap<String, Group>,
}

impl Readings {
    /// The first rows.
    pub fn first(&self, count: usize) -> Readings {
        Readings {
            signals: self.signals.clone(),
            rows: self.rows.slice(s![..count, ..]).to_owned(),
            times: self.times[..count].to_vec(),
            contexts: self.contexts[..count].to_vec(),
            labels: Vec::new(),
        }
    }

    /// Stretches of one context, in order.
    fn stretches(&self, from: usize) -> Vec<std::ops::Range<usize>> {
        let mut out: Vec<std::ops::Range<usize>> = Vec::new();
        for row in from..self.contexts.len() {
            match out.last_mut() {
                Some(last) if self.contexts[last.start] == self.contexts[row] => last.end = row + 1,
                _ => out.push(row..row + 1),
            }
        }
        out
    }
}

impl Model {
    /// Learns each context from all its rows; contexts that are too small are left out, with the reason.
    pub fn learn(
        tables: &[Readings],
        parameters: Parameters,
    ) -> Result<(Model, Vec<(String, String)>), Unfit> {
        let mut rows_of: BTreeMap<&str, Vec<ndarray::ArrayView2<'_, f64>>> = BTreeMap::new();
        for table in tables {
            for stretch in table.stretches(0) {
                let rows = table.rows.slice(s![stretch.clone(), ..]);
                rows_of.entry(&table.contexts[stretch.start]).or_default().push(rows);
            }
        }
        let (mut groups, mut left_out, mut first) = (BTreeMap::new(), Vec::new(), None);
        for (context, rows) in rows_of {
            // Parts of one width always fit.
            let rows = concatenate(Axis(0), &rows).unwrap_or_else(|_| Array2::zeros((0, 0)));
            match Group::fit(rows.view(), &parameters) {
                Ok(group) => {
                    groups.insert(context.to_string(), group);
                }
                Err(why) => {
                    left_out.push((context.to_string(), why.to_string()));
                    first.get_or_insert(why);
                }
            }
        }
        if groups.is_empty() {
            return Err(first.unwrap_or(Unfit::Few { rows: 0 }));
        }
        let signals = tables.first().map(|table| table.signals.clone()).unwrap_or_default();
        Ok((Model { version: VERSION, signals, parameters, groups }, left_out))
    }

    /// Judges rows; those of a context that was not learned are passed over.
    pub fn judge(&self, readings: &Readings, from: usize, mut each: impl FnMut(usize, Verdict, &Group)) {
        let (mut groups, mut work) = (self.groups.clone(), Work::default());
        for stretch in readings.stretches(from) {
            if let Some(group) = groups.get_mut(&readings.contexts[stretch.start]) {
                // Where judging goes on behind the rows that were learned, the past counts.
                if stretch.start != from || from == 0 {
                    group.begin();
                }
                let rows = readings.rows.slice(s![stretch.clone(), ..]);
                group.judge(rows, &self.parameters, &mut work, |row, verdict, group| {
                    each(stretch.start + row, verdict, group)
                });
            }
        }
    }

    pub fn contexts(&self) -> Vec<&str> {
        self.groups.keys().map(String::as_str).collect()
    }

    pub fn write(&self, path: &Path) -> Result<(), Failure> {
        let text = serde_json::to_vec(self)?;
        Ok(std::fs::write(path, text).with_context(|| path.display().to_string())?)
    }

    pub fn read(path: &Path) -> Result<Model, Failure> {
        let place = path.display();
        let wrong = |why: String| Failure::Input(format!("{place}: {why}"));
        let text = std::fs::read(path).map_err(|cause| wrong(cause.to_string()))?;
        #[derive(Deserialize)]
        struct Head {
            version: u32,
        }
        let head: Head = serde_json::from_slice(&text)
            .map_err(|e| wrong(format!("no model: {e}; `yagura learn` writes one")))?;
        if head.version != VERSION {
            return Err(wrong(format!(
                "a model of version {}, this program reads {VERSION}; learn it again",
                head.version
            )));
        }
        serde_json::from_slice(&text).map_err(|cause| wrong(format!("damaged: {cause}")))
    }
}
