//! Pipelines: detections as people edit them, read from YAML and checked as a whole.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use serde::Deserialize;
use serde_saphyr::Spanned;
use uuid::Uuid;
use yagura_event::amounts;
use yagura_event::clock::{Micros, SECOND};
use yagura_event::vocabulary::context;
use yagura_event::{Kind, Queue, Severity};

use crate::asof;
use crate::condition::{Compiler, Condition, ConditionError, Expression};
use crate::index::Index;
use crate::needed::Needed;
use crate::operators::absence::AbsenceSpec;
use crate::operators::matched::MatchPlan;
use crate::operators::sequence::SequenceSpec;
use crate::operators::{OPERATORS, Plan, model, skew, window};
use crate::shelf::{Shelf, Texts};

/// The ATT&CK for ICS version that the technique ids of pipelines are of, unless they say another.
pub const MATRIX: &str = "18.1";

/// All detections of a run, checked and compiled.
pub struct Pipeline {
    /// In the order of files and of detections within them.
    pub detections: Vec<Detection>,
    /// The files that it was read from.
    pub texts: Texts,
    /// The version that these files are.
    pub version: Uuid,
    /// Where other versions are found.
    pub shelf: Arc<Shelf>,
    /// Which detections may take rows of a batch, by its words…
    pub(crate) rows: Index,
    /// …and which may by inputs of their own.
    pub(crate) inputs: Index,
    /// Those that judge the whole plant.
    pub(crate) plant_wide: Vec<usize>,
    /// Those whose limits a budget of all cells sets.
    pub(crate) budgeted: Vec<usize>,
    /// What of a record is looked at.
    pub(crate) needed: Needed,
}

/// Over which rows a detection's operator judges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// Those of one cell; each cell has a state of its own.
    #[default]
    Cell,
    /// Those of all cells: what each selects is passed on to one shard of the whole plant.
    Plant,
}

/// One detection, checked and compiled.
pub struct Detection {
    /// Unique.
    pub id: String,
    /// For people.
    pub title: String,
    /// Who handles its alerts.
    pub queue: Queue,
    /// How bad they are. An alert of a model is raised by one step when it comes far or lasts: see [`crate::alerts`].
    pub severity: Severity,
    /// `production`, `confidentiality`, `quality`.
    pub protects: Vec<String>,
    /// ATT&CK for ICS techniques.
    pub techniques: Vec<String>,
    /// The matrix version they are of.
    pub matrix: String,
    /// NIST CSF 2.0 and CPSF identifiers it supports.
    pub outcomes: Vec<String>,
    /// Over which rows it judges.
    pub scope: Scope,
    /// The kind of rows it reads.
    pub on: Kind,
    /// Contexts that are joined to its rows, as of each row's time, under their names.
    pub join: Vec<String>,
    /// Columns that are computed for its rows.
    pub compute: Vec<Computed>,
    /// The columns of its rows.
    pub schema: SchemaRef,
    /// Which rows; all without one.
    pub condition: Option<Arc<dyn Condition>>,
    /// Columns that make one alert.
    pub by: Vec<String>,
    /// How long the same key stays one alert after its last row.
    pub quiet: Micros,
    /// What happened, with `{column}` places.
    pub summary: String,
    /// What to do first.
    pub then: String,
    /// What judges.
    pub operator: Box<dyn Plan>,
    /// Changes when anything does that decides which rows it judges and how.
    pub fingerprint: u64,
    /// Its tests.
    pub tests: Vec<TestSpec>,
    /// The file it stands in.
    pub file: PathBuf,
}

/// A column that a detection computes.
pub struct Computed {
    /// Its name.
    pub name: String,
    /// What computes it.
    pub expression: Arc<dyn Expression>,
}

/// A problem in a pipeline file, as its author wants to read it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct PipelineError {
    /// File.
    pub file: PathBuf,
    /// Line, from 1; 0 when unknown.
    pub line: u64,
    /// Column, from 1.
    pub column: u64,
    /// What is wrong and what would be right.
    pub message: String,
}

impl fmt::Display for PipelineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file.display(), self.line, self.column, self.message)
    }
}

/// A test inside a pipeline file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestSpec {
    /// What it shows.
    pub name: String,
    /// A file of JSON lines, relative to the pipeline file: rows with their `kind`.
    pub input: PathBuf,
    /// The alerts of this detection, in order; each names the fields that must be so.
    pub expect: Spanned<Vec<Expected>>,
}

/// The fields of an alert that a test expects.
pub type Expected = BTreeMap<String, serde_json::Value>;

/// What the tests of a file expect, each with its detection and in the file's order; nothing else
/// of it is checked.
pub(crate) fn expectations(text: &str) -> Result<Vec<(String, TestSpec)>, String> {
    let spec: FileSpec = serde_saphyr::from_str(text).map_err(|e| e.without_snippet().to_string())?;
    let tests = spec.detections.into_iter().flat_map(|detection| {
        let id = detection.id.value;
        detection.tests.into_iter().map(move |test| (id.clone(), test))
    });
    Ok(tests.collect())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileSpec {
    version: Spanned<u32>,
    detections: Vec<DetectionSpec>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DetectionSpec {
    id: Spanned<String>,
    title: String,
    queue: Queue,
    severity: Severity,
    #[serde(default)]
    protects: Vec<Spanned<String>>,
    #[serde(default)]
    techniques: Vec<Spanned<String>>,
    #[serde(default)]
    matrix: Option<String>,
    #[serde(default)]
    outcomes: Vec<String>,
    on: Spanned<String>,
    #[serde(default)]
    scope: Option<Spanned<String>>,
    #[serde(default)]
    join: Vec<Spanned<String>>,
    #[serde(default)]
    compute: BTreeMap<String, Spanned<String>>,
    #[serde(default, rename = "where")]
    condition: Option<Spanned<String>>,
    #[serde(default)]
    by: Vec<Spanned<String>>,
    #[serde(default)]
    known: Option<Spanned<KnownSpec>>,
    #[serde(default)]
    model: Option<Spanned<ModelSpec>>,
    #[serde(default)]
    window: Option<Spanned<WindowSpec>>,
    #[serde(default)]
    sequence: Option<Spanned<SequenceSpec>>,
    #[serde(default)]
    absence: Option<Spanned<AbsenceSpec>>,
    #[serde(default)]
    skew: Option<Spanned<skew::SkewSpec>>,
    #[serde(default)]
    quiet: Option<Spanned<String>>,
    summary: Spanned<String>,
    then: String,
    #[serde(default)]
    tests: Vec<TestSpec>,
}

/// `known:` as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownSpec {
    /// Columns whose values together must be on the list.
    pub of: Vec<Spanned<String>>,
    /// Where the list comes from: `learning` or `releases`.
    pub from: Spanned<String>,
}

/// `model:` as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSpec {
    /// Name of the model.
    pub name: Spanned<String>,
    /// Context names that are part of the key: `recipe`, `step`, `lot`.
    #[serde(default)]
    pub context: Vec<Spanned<String>>,
    /// The findings that alert; all without any.
    #[serde(default)]
    pub findings: Vec<Spanned<String>>,
    /// Alarms a day of all cells together, which set the limits.
    #[serde(default)]
    pub budget: Option<Spanned<serde_json::Value>>,
    /// Parameters other than the model's defaults.
    #[serde(default)]
    pub parameters: Option<Spanned<serde_json::Value>>,
}

/// `window:` as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WindowSpec {
    /// Its length: the time that ends with the row at hand, or with each `every`.
    pub within: Option<Spanned<String>>,
    /// From the end of one to the end of the next.
    pub every: Option<Spanned<String>>,
    /// The pause that ends a session.
    pub gap: Option<Spanned<String>>,
    /// The longest session.
    pub longest: Option<Spanned<String>>,
    /// For how long after its end a window waits for rows that come late.
    pub lateness: Option<Spanned<String>>,
    /// Columns whose different values together are counted; rows without any.
    #[serde(default)]
    pub distinct: Vec<Spanned<String>>,
    /// A column of numbers: their sum, mean, min, max and percentiles.
    pub of: Option<Spanned<String>>,
    /// A column whose heaviest values are kept.
    pub top: Option<Spanned<String>>,
    /// What is compared with the limits: `count`, `rate`, `distinct`, `p99` and so on.
    pub measure: Option<Spanned<String>>,
    /// It is a hit when the measure is this or more…
    pub at_least: Option<Spanned<f64>>,
    /// …this or less…
    pub at_most: Option<Spanned<f64>>,
    /// …more than this…
    pub above: Option<Spanned<f64>>,
    /// …less than this…
    pub below: Option<Spanned<f64>>,
    /// …and this condition over its measures holds.
    pub having: Option<Spanned<String>>,
}

/// Where something stands in a file being read.
pub(crate) struct Place<'a> {
    file: &'a Path,
    compiler: &'a dyn Compiler,
}

impl Place<'_> {
    pub(crate) fn error<T>(&self, at: &Spanned<T>, message: String) -> PipelineError {
        self.error_at((at.referenced.line(), at.referenced.column()), message)
    }

    pub(crate) fn error_at(&self, (line, column): (u64, u64), message: String) -> PipelineError {
        PipelineError { file: self.file.to_path_buf(), line, column, message }
    }

    /// Compiles the condition that stands under `name` over the columns of `rows`, as people call them.
    pub(crate) fn condition(
        &self,
        rows: &str,
        schema: &SchemaRef,
        name: &str,
        sql: &Spanned<String>,
    ) -> Result<Arc<dyn Condition>, PipelineError> {
        self.compiler.compile_over(rows, schema, &sql.value).map_err(|e| self.complaint(name, sql, e))
    }

    /// Compiles the expression that stands under `name` over the columns of `rows`.
    fn expression(
        &self,
        rows: &str,
        schema: &SchemaRef,
        name: &str,
        sql: &Spanned<String>,
    ) -> Result<Arc<dyn Expression>, PipelineError> {
        self.compiler.expression_over(rows, schema, &sql.value).map_err(|e| self.complaint(name, sql, e))
    }

    fn complaint(&self, name: &str, sql: &Spanned<String>, wrong: ConditionError) -> PipelineError {
        let mut error = self.error(sql, format!("{name}: {}", wrong.message));
        if let Some((line, column)) = wrong.at {
            // A plain one-line value begins where YAML says; in a block the column is its own.
            if line == 1 {
                error.column += u64::from(column) - 1;
            } else {
                error.line += u64::from(line) - 1;
                error.column = u64::from(column);
            }
        }
        error
    }
}

impl Pipeline {
    pub(crate) fn new(
        detections: Vec<Detection>,
        texts: Texts,
        version: Uuid,
        shelf: Arc<Shelf>,
    ) -> Pipeline {
        let (mut rows, mut inputs) = (Index::default(), Index::default());
        for (at, detection) in detections.iter().enumerate() {
            if detection.operator.inputs().is_empty() {
                rows.enter(at as u32, detection.on, detection.condition.as_deref());
            }
            for input in detection.operator.inputs() {
                inputs.enter(at as u32, input.kind, Some(input.condition.as_ref()));
            }
        }
        let plant_wide = (0..detections.len()).filter(|&at| detections[at].scope == Scope::Plant).collect();
        let has_budget = |&at: &usize| detections[at].operator.budget().is_some();
        let budgeted = (0..detections.len()).filter(has_budget).collect();
        let needed = Needed::of(&detections);
        Pipeline { detections, texts, version, shelf, rows, inputs, plant_wide, budgeted, needed }
    }

    /// Reads and checks one file's text.
    pub fn read(
        file: &Path,
        text: &str,
        compiler: &dyn Compiler,
    ) -> Result<Vec<Detection>, Vec<PipelineError>> {
        let spec: FileSpec = match serde_saphyr::from_str(text) {
            Ok(spec) => spec,
            Err(e) => {
                let (line, column) = e.location().map_or((0, 0), |l| (l.line(), l.column()));
                // The rendered error draws a snippet; the first line says what is wrong.
                let plain = e.without_snippet().to_string();
                return Err(vec![PipelineError { file: file.into(), line, column, message: plain }]);
            }
        };
        let place = Place { file, compiler };
        if spec.version.value != 1 {
            let message =
                format!("version {} is not known; this program reads version 1", spec.version.value);
            return Err(vec![place.error(&spec.version, message)]);
        }
        let mut errors = Vec::new();
        let mut detections = Vec::new();
        for detection in spec.detections {
            if let Some(detection) = resolve(&place, detection, &mut errors) {
                detections.push(detection);
            }
        }
        if errors.is_empty() { Ok(detections) } else { Err(errors) }
    }
}

pub(crate) fn files(paths: &[PathBuf], errors: &mut Vec<PipelineError>) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for path in paths {
        if !path.is_dir() {
            out.push(path.clone());
            continue;
        }
        let entries = match std::fs::read_dir(path) {
            Ok(entries) => entries,
            Err(e) => {
                errors.push(no_place(path, format!("cannot be read: {e}")));
                continue;
            }
        };
        let mut inside: Vec<PathBuf> = entries.filter_map(|e| e.ok().map(|e| e.path())).collect();
        // Hidden ones are editors' or, in a folder that Kubernetes mounts, the same files again.
        let hidden = |p: &Path| p.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        inside.retain(|p| p.is_dir() || p.extension().is_some_and(|e| e == "yaml" || e == "yml"));
        inside.retain(|p| !hidden(p));
        inside.sort();
        out.extend(files(&inside, errors));
    }
    out
}

pub(crate) fn no_place(file: &Path, message: String) -> PipelineError {
    PipelineError { file: file.to_path_buf(), line: 0, column: 0, message }
}

fn resolve(place: &Place<'_>, spec: DetectionSpec, errors: &mut Vec<PipelineError>) -> Option<Detection> {
    let before = errors.len();
    let readable: Vec<&str> =
        Kind::ALL.iter().map(|k| k.name()).filter(|n| !["alert", "series"].contains(n)).collect();
    let on = match Kind::from_name(&spec.on.value).filter(|k| readable.contains(&k.name())) {
        Some(kind) => kind,
        None => {
            let message =
                format!("`{}` is no kind of record; there are: {}", spec.on.value, readable.join(", "));
            errors.push(place.error(&spec.on, message));
            return None;
        }
    };
    for (name, list, valid) in
        [("protects", &spec.protects, &["production", "confidentiality", "quality"][..])]
    {
        for entry in list.iter().filter(|e| !valid.contains(&e.value.as_str())) {
            errors.push(place.error(
                entry,
                format!("`{}` is nothing that {name} knows; there are: {}", entry.value, valid.join(", ")),
            ));
        }
    }
    for technique in &spec.techniques {
        let id = technique.value.as_str();
        let digits = id.strip_prefix('T').unwrap_or("");
        if digits.len() < 4 || !digits.chars().all(|c| c.is_ascii_digit() || c == '.') {
            errors.push(
                place.error(technique, format!("`{id}` is no ATT&CK technique id; they look like T0836")),
            );
        }
    }
    // What a sample is judged by is its series; its own columns are numbers alone.
    let columns_of = if on == Kind::Sample { Kind::Series } else { on };
    let join = joins(place, on, &spec.join, errors);
    let scope = scope(place, on, &spec, errors);
    let joined_schema = asof::joined_schema(columns_of, &join);
    let compute = computed(place, on, &spec, &joined_schema, errors);
    let schema = widened(&joined_schema, &compute);
    let condition = spec.condition.as_ref().and_then(|sql| {
        let compiled = place.condition(columns_of.name(), &schema, "where", sql);
        compiled.map_err(|error| errors.push(error)).ok()
    });
    let more: &[&str] = match (on, &spec.window) {
        _ if spec.absence.is_some() => &["last_seen", "returned"],
        _ if spec.skew.is_some() => &skew::SHOWN,
        _ if let Some(model) = &spec.model => model::shows(&model.value),
        (Kind::Sample, _) => &model::SHOWN,
        (_, Some(_)) => &["seen"],
        _ => &[],
    };
    let computed = compute.iter().map(|column| column.name.as_str());
    let joined: Vec<&str> = join.iter().map(String::as_str).chain(computed).collect();
    // What a model of rows finds, and the context of samples, may be part of the key: one alert each.
    let found: &[&str] = match (&spec.model, on) {
        (Some(_), Kind::Sample) => &model::CONTEXTS,
        (Some(_), _) => &["finding"],
        (None, _) => &[],
    };
    for column in &spec.by {
        check_column(place, columns_of, column, &[found, &joined].concat(), errors);
    }
    let more = &[more, &joined].concat();
    match spec.window.as_ref().and_then(|w| window::places(&w.value, &spec.by)) {
        Some(places) => check_places(place, &places, &spec.summary, errors),
        // A sequence shows rows of several steps, and checks this itself.
        None if spec.sequence.is_some() => {}
        None => check_template(place, columns_of, &spec.summary, more, errors),
    }
    let operator = operator_of(place, on, &spec, (&join, &joined, &schema), errors);
    let quiet = match &spec.quiet {
        None => 3600 * SECOND,
        Some(text) => duration(&text.value).unwrap_or_else(|| {
            errors.push(
                place.error(text, format!("`{}` is no duration; write 90s, 10m, 2h or 1d", text.value)),
            );
            0
        }),
    };
    if errors.len() > before {
        return None;
    }
    let operator = operator?;
    let by: Vec<String> = spec.by.into_iter().map(|c| c.value).collect();
    let judged = (on.name(), spec.condition.map(|c| c.value), &by, &join, quiet, operator.describe());
    let computes: BTreeMap<&str, &str> =
        spec.compute.iter().map(|(name, sql)| (name.as_str(), sql.value.as_str())).collect();
    let fingerprint = fingerprint(&serde_json::json!([judged, scope == Scope::Plant, computes]));
    Some(Detection {
        id: spec.id.value,
        title: spec.title,
        queue: spec.queue,
        severity: spec.severity,
        protects: spec.protects.into_iter().map(|p| p.value).collect(),
        techniques: spec.techniques.into_iter().map(|t| t.value).collect(),
        matrix: spec.matrix.unwrap_or_else(|| MATRIX.to_string()),
        outcomes: spec.outcomes,
        scope,
        on,
        join,
        compute,
        schema,
        condition,
        by,
        quiet,
        summary: spec.summary.value,
        then: spec.then,
        operator,
        fingerprint,
        tests: spec.tests,
        file: place.file.to_path_buf(),
    })
}

/// The columns that a detection computes, checked.
fn computed(
    place: &Place<'_>,
    on: Kind,
    spec: &DetectionSpec,
    schema: &SchemaRef,
    errors: &mut Vec<PipelineError>,
) -> Vec<Computed> {
    let Some((_, first)) = spec.compute.first_key_value() else { return Vec::new() };
    let refused = match (on, &spec.sequence) {
        (Kind::Sample | Kind::Series, _) => {
            Some("samples are numbers without names; `compute` is for other rows")
        }
        (_, Some(_)) => {
            Some("`compute` does not reach the steps of a `sequence`; compute within their conditions")
        }
        _ => None,
    };
    if let Some(message) = refused {
        errors.push(place.error(first, message.into()));
        return Vec::new();
    }
    let mut out = Vec::new();
    for (name, sql) in &spec.compute {
        let is_name = name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        if !is_name || schema.field_with_name(name).is_ok() {
            let what = if is_name { "there already" } else { "of small letters, digits and `_`" };
            let message = match is_name {
                true => format!("a column `{name}` is {what}; give what is computed another name"),
                false => format!("`{name}` is no name of a column; names are {what}"),
            };
            errors.push(place.error(sql, message));
            continue;
        }
        match place.expression(on.name(), schema, &format!("compute: {name}"), sql) {
            Ok(expression) => out.push(Computed { name: name.clone(), expression }),
            Err(error) => errors.push(error),
        }
    }
    out
}

/// Columns with those that are computed.
fn widened(schema: &SchemaRef, compute: &[Computed]) -> SchemaRef {
    if compute.is_empty() {
        return Arc::clone(schema);
    }
    let more = compute.iter().map(|c| Arc::new(Field::new(&c.name, c.expression.data_type(), true)));
    Arc::new(Schema::new(schema.fields().iter().cloned().chain(more).collect::<Vec<_>>()))
}

/// The same for the same text in every program and for good: baselines that people keep name it.
fn fingerprint(judged: &serde_json::Value) -> u64 {
    Uuid::new_v5(&Uuid::from_bytes(*b"yagura.detection"), judged.to_string().as_bytes()).as_u64_pair().0
}

/// The scope that a detection asks for, checked.
fn scope(place: &Place<'_>, on: Kind, spec: &DetectionSpec, errors: &mut Vec<PipelineError>) -> Scope {
    let Some(written) = &spec.scope else { return Scope::Cell };
    match written.value.as_str() {
        "cell" => return Scope::Cell,
        "plant" => {}
        other => {
            let message = format!("`{other}` is no scope; there are: cell, plant");
            errors.push(place.error(written, message));
            return Scope::Cell;
        }
    }
    if matches!(on, Kind::Sample | Kind::Control) {
        let message = format!("{} rows are judged within their cell; leave `scope` out", on.name());
        errors.push(place.error(written, message));
    }
    if let Some(first) = spec.join.first() {
        let message =
            "contexts hold within a cell; write `scope: plant` without `join`, or the other way round";
        errors.push(place.error(first, message.into()));
    }
    Scope::Plant
}

/// The contexts that a detection joins to its rows, checked.
fn joins(
    place: &Place<'_>,
    on: Kind,
    names: &[Spanned<String>],
    errors: &mut Vec<PipelineError>,
) -> Vec<String> {
    if let Some(first) = names.first()
        && asof::places_of(on).is_empty()
    {
        let message = match on {
            Kind::Sample => "samples take their context with `model: { context: … }`".to_string(),
            _ => format!("{} rows name no tool that a context could hold for", on.name()),
        };
        errors.push(place.error(first, message));
        return Vec::new();
    }
    let mut out: Vec<String> = Vec::new();
    for name in names {
        if !context::ALL.contains(&name.value.as_str()) {
            let message = format!("`{}` is no context; there are: {}", name.value, context::ALL.join(", "));
            errors.push(place.error(name, message));
        } else if !out.contains(&name.value) {
            out.push(name.value.clone());
        }
    }
    out
}

/// The operator that a detection asks for: the first registered one whose key it has.
fn operator_of(
    place: &Place<'_>,
    on: Kind,
    spec: &DetectionSpec,
    (join, more, schema): (&[String], &[&str], &SchemaRef),
    errors: &mut Vec<PipelineError>,
) -> Option<Box<dyn Plan>> {
    let mut found: Option<Box<dyn Plan>> = None;
    let written = Written {
        known: spec.known.as_ref(),
        model: spec.model.as_ref(),
        window: spec.window.as_ref(),
        sequence: spec.sequence.as_ref(),
        absence: spec.absence.as_ref(),
        condition: spec.condition.as_ref(),
        by: &spec.by,
        join,
        more,
        schema,
        skew: spec.skew.as_ref(),
        summary: &spec.summary,
    };
    for operator in OPERATORS {
        match (operator.read)(place, on, &written) {
            None => {}
            Some(Err(more)) => {
                errors.extend(more);
                return None;
            }
            Some(Ok(read)) => {
                if found.is_some() {
                    let names: Vec<&str> = OPERATORS.iter().map(|o| o.name).collect();
                    errors.push(place.error(
                        &spec.id,
                        format!(
                            "detection `{}` has two operators; it takes one of: {}",
                            spec.id.value,
                            names.join(", ")
                        ),
                    ));
                    return None;
                }
                found = Some(read);
            }
        }
    }
    match found {
        Some(found) => Some(found),
        None if on == Kind::Sample => {
            errors.push(place.error(
                &spec.on,
                "samples are judged by `model:`, `window:` or `skew:`; add one of them".into(),
            ));
            None
        }
        None => Some(Box::new(MatchPlan)),
    }
}

/// The operator keys of a detection, as written, and what stands beside them.
pub(crate) struct Written<'a> {
    pub(crate) known: Option<&'a Spanned<KnownSpec>>,
    pub(crate) model: Option<&'a Spanned<ModelSpec>>,
    pub(crate) window: Option<&'a Spanned<WindowSpec>>,
    pub(crate) sequence: Option<&'a Spanned<SequenceSpec>>,
    pub(crate) absence: Option<&'a Spanned<AbsenceSpec>>,
    /// What else an operator may have to look at.
    pub(crate) condition: Option<&'a Spanned<String>>,
    pub(crate) by: &'a [Spanned<String>],
    /// The contexts that are joined to the rows.
    pub(crate) join: &'a [String],
    /// The columns that they have beside those of their kind, and all columns.
    pub(crate) more: &'a [&'a str],
    pub(crate) schema: &'a SchemaRef,
    pub(crate) skew: Option<&'a Spanned<skew::SkewSpec>>,
    pub(crate) summary: &'a Spanned<String>,
}

pub(crate) fn check_column(
    place: &Place<'_>,
    kind: Kind,
    column: &Spanned<String>,
    more: &[&str],
    errors: &mut Vec<PipelineError>,
) {
    let schema = kind.schema();
    if schema.field_with_name(&column.value).is_ok() || more.contains(&column.value.as_str()) {
        return;
    }
    let names: Vec<&str> =
        schema.fields().iter().map(|f| f.name().as_str()).chain(more.iter().copied()).collect();
    errors.push(place.error(
        column,
        format!("`{}` is no column of {}; there are: {}", column.value, kind.name(), names.join(", ")),
    ));
}

/// Checks the `{column}` places of a summary; `more` are names that the operator adds.
fn check_template(
    place: &Place<'_>,
    kind: Kind,
    template: &Spanned<String>,
    more: &[&str],
    errors: &mut Vec<PipelineError>,
) {
    for name in crate::alerts::places(&template.value) {
        let column = Spanned::new(name.to_string(), template.referenced, template.defined);
        check_column(place, kind, &column, more, errors);
    }
}

/// A duration longer than nothing, or the complaint that it is none.
pub(crate) fn checked_duration(
    place: &Place<'_>,
    text: &Spanned<String>,
    errors: &mut Vec<PipelineError>,
) -> Micros {
    duration(&text.value).filter(|&d| d > 0).unwrap_or_else(|| {
        errors.push(place.error(text, format!("`{}` is no duration; write 90s, 10m, 2h or 1d", text.value)));
        1
    })
}

/// Checks the places of a summary of windows that close: there is no row of which more could be told.
fn check_places(
    place: &Place<'_>,
    names: &[String],
    template: &Spanned<String>,
    errors: &mut Vec<PipelineError>,
) {
    for name in crate::alerts::places(&template.value).filter(|name| !names.iter().any(|n| n == name)) {
        let message =
            format!("`{name}` is nothing that a window that closes knows; there are: {}", names.join(", "));
        errors.push(place.error(template, message));
    }
}

/// `90s`, `10m`, `2h`, `1d` in microseconds. The unit is never left out: a reader would have to guess it.
pub fn duration(text: &str) -> Option<Micros> {
    let unit = text.trim_end().ends_with(|c: char| c.is_ascii_alphabetic());
    unit.then(|| amounts::duration::read(text).ok()).flatten()
}
