//! `test`: the tests inside pipeline files.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};
use yagura_detect::Pipeline;
use yagura_detect::baseline::Trust;
use yagura_detect::meter::monotonic;
use yagura_detect::selftest::bless::{self, Change};
use yagura_detect::selftest::{self, Difference, DifferenceKind, Outcome};

use crate::say::say;
use crate::{Failure, Format, mutes, plant};

/// Arguments of `test`.
#[derive(Args)]
#[command(after_help = HELP)]
pub struct Arguments {
    /// Pipeline files and folders, and files of mutes.
    #[arg(default_value = "pipelines")]
    pipelines: Vec<PathBuf>,
    /// Only the tests of this detection; may be given more than once.
    #[arg(long, value_name = "ID")]
    only: Vec<String>,
    /// Rewrite the `expect:` lists that differ to what was found, in the files themselves.
    #[arg(long)]
    bless: bool,
    /// Exit with 1 when a detection has no test.
    #[arg(long)]
    strict: bool,
}

const HELP: &str = help!(
    "  yagura test                                      all of pipelines/
  yagura test pipelines/fab/recipe.yaml            one file
  yagura test --only controller-stopped            one detection
  yagura test --strict                             a detection without a test is a failure
  yagura test mutes.yaml                           mutes, with theirs
  yagura test --bless pipelines/fab/recipe.yaml    take what was found for right; read the changes"
);

/// Runs the tests, prints how each went.
pub fn run(arguments: &Arguments, format: Format) -> Result<(), Failure> {
    let clock = monotonic();
    let (of_mutes, pipelines): (Vec<PathBuf>, Vec<PathBuf>) =
        arguments.pipelines.iter().cloned().partition(|path| mutes::is_one(path));
    if !of_mutes.is_empty() {
        let all = mutes::read(&of_mutes).map_err(|problem| Failure::Failed(anyhow::Error::msg(problem)))?;
        match format {
            Format::Json => say!("{}", json!({"mutes": all.len(), "failed": 0})),
            Format::Text => say!("{} mutes, and their tests pass", all.len()),
        }
        if pipelines.is_empty() {
            return Ok(());
        }
    }
    let pipeline = plant::pipeline(&pipelines, &Trust::default())?;
    if let Some(unknown) = arguments.only.iter().find(|id| !pipeline.detections.iter().any(|d| d.id == **id))
    {
        let ids: Vec<&str> = pipeline.detections.iter().map(|d| d.id.as_str()).collect();
        return Err(Failure::Input(format!(
            "there is no detection `{unknown}`; there are: {}",
            ids.join(", ")
        )));
    }
    let outcomes = selftest::run(&pipeline, &arguments.only);
    let changes = if arguments.bless { write_blessed(&pipeline, &outcomes)? } else { Vec::new() };
    let mut untested = selftest::untested(&pipeline);
    untested.retain(|id| arguments.only.is_empty() || arguments.only.iter().any(|only| only == id));
    let milliseconds = clock() as f64 * 1e-6;
    let failed = |o: &&Outcome| !o.passed() && (o.failure.is_some() || !arguments.bless);
    let failures = outcomes.iter().filter(failed).count();
    match format {
        Format::Json => say!(
            "{}",
            json!({
                "tests": outcomes, "failed": failures, "untested": untested, "blessed": changes,
                "milliseconds": milliseconds,
            })
        ),
        Format::Text => {
            let paint = Paint { colour: std::io::stdout().is_terminal() };
            for outcome in &outcomes {
                show(outcome, paint);
            }
            for change in &changes {
                show_change(change, paint);
            }
            say!("{} passed, {failures} failed, {milliseconds:.0} ms", outcomes.len() - failures);
            if !untested.is_empty() {
                say!("without a test: {}", untested.join(", "));
            }
        }
    }
    if failures > 0 {
        return Err(anyhow::anyhow!("{failures} of {} pipeline tests failed", outcomes.len()).into());
    }
    if arguments.strict && !untested.is_empty() {
        return Err(anyhow::anyhow!("{} detections have no test", untested.len()).into());
    }
    Ok(())
}

/// Colours on a terminal.
#[derive(Clone, Copy)]
struct Paint {
    colour: bool,
}

impl Paint {
    fn red(self, text: &str) -> String {
        if self.colour { format!("\x1b[31m{text}\x1b[0m") } else { text.to_string() }
    }

    fn green(self, text: &str) -> String {
        if self.colour { format!("\x1b[32m{text}\x1b[0m") } else { text.to_string() }
    }
}

fn show(outcome: &Outcome, paint: Paint) {
    let word = if outcome.passed() { paint.green("ok  ") } else { paint.red("FAIL") };
    say!("{word} {}: {}  ({:.1} ms)", outcome.detection, outcome.test, outcome.milliseconds);
    if let Some(failure) = &outcome.failure {
        say!("       {failure}");
    }
    for difference in &outcome.differences {
        for line in side_by_side(difference) {
            let line = if line.starts_with('≠') { paint.red(&line) } else { line };
            say!("     {line}");
        }
    }
}

/// A difference as lines: what was expected beside what came, a field a line; `≠` where they differ.
fn side_by_side(difference: &Difference) -> Vec<String> {
    let number = difference.alert;
    let title = match difference.kind {
        DifferenceKind::Changed => format!("alert {number}"),
        DifferenceKind::Missing => format!("alert {number} did not come"),
        DifferenceKind::More => format!("alert {number} of those found was not expected"),
    };
    let shown = |value: &Option<Value>| match value {
        None => "–".to_string(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    let rows: Vec<[String; 3]> =
        difference.fields.iter().map(|f| [f.name.clone(), shown(&f.expected), shown(&f.found)]).collect();
    let head = ["".to_string(), "expected".to_string(), "found".to_string()];
    let width =
        |column: usize| rows.iter().chain([&head]).map(|row| row[column].chars().count()).max().unwrap_or(0);
    let (names, values) = (width(0), width(1));
    let line = |mark: char, row: &[String; 3]| {
        let [name, expected, found] = row;
        format!("{mark} {name:names$}  {expected:values$}  {found}")
    };
    let mut out = vec![format!("  {title}"), line(' ', &head)];
    for (row, field) in rows.iter().zip(&difference.fields) {
        out.push(line(if field.expected == field.found { ' ' } else { '≠' }, row));
    }
    out
}

fn show_change(change: &Change, paint: Paint) {
    say!("blessed {}: {}", change.detection, change.test);
    for line in change.before.trim().lines() {
        say!("     {}", paint.red(&format!("- {}", line.trim())));
    }
    for line in change.after.trim().lines() {
        say!("     {}", paint.green(&format!("+ {}", line.trim())));
    }
}

/// Rewrites the files whose tests differ; answers what changed.
fn write_blessed(pipeline: &Pipeline, outcomes: &[Outcome]) -> Result<Vec<Change>, Failure> {
    let mut by_file: BTreeMap<&Path, Vec<&Outcome>> = BTreeMap::new();
    for outcome in outcomes.iter().filter(|o| !o.passed() && o.failure.is_none()) {
        by_file.entry(&outcome.file).or_default().push(outcome);
    }
    let mut all = Vec::new();
    for (file, outcomes) in by_file {
        let fail = |cause: String| Failure::Input(format!("{}: {cause}", file.display()));
        let text = std::fs::read_to_string(file).map_err(|e| fail(format!("cannot be read: {e}")))?;
        let detections: Vec<_> = pipeline.detections.iter().filter(|d| d.file == file).collect();
        let (after, changes) = bless::rewrite(&text, &detections, &outcomes).map_err(fail)?;
        // Beside it first: a full disk must not leave half a pipeline.
        let fresh = file.with_extension("yaml.new");
        std::fs::write(&fresh, after)
            .and_then(|()| std::fs::rename(&fresh, file))
            .map_err(|e| fail(format!("cannot be written: {e}")))?;
        all.extend(changes);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use yagura_detect::selftest::FieldDifference;

    use super::*;

    #[test]
    fn a_difference_stands_side_by_side() {
        let field = |name: &str, expected: Value, found: Value| FieldDifference {
            name: name.into(),
            expected: Some(expected),
            found: Some(found),
        };
        let difference = Difference {
            kind: DifferenceKind::Changed,
            alert: 2,
            fields: vec![
                field("at", "00:03:10".into(), "00:03:12".into()),
                field("tool", "ETCH-07".into(), "ETCH-07".into()),
                field("seen", 5.into(), Value::Null),
            ],
        };
        assert_eq!(
            side_by_side(&difference),
            [
                "  alert 2",
                "        expected  found",
                "≠ at    00:03:10  00:03:12",
                "  tool  ETCH-07   ETCH-07",
                "≠ seen  5         null",
            ]
        );
    }
}
