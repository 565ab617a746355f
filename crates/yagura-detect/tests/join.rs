//! Contexts joined to rows: what a pipeline file may say of them, and what it is told when it errs.

use std::path::Path;

use yagura_detect::Pipeline;
use yagura_sql::SqlCompiler;

fn read(
    on: &str,
    join: &str,
    condition: &str,
    by: &str,
) -> Result<Vec<yagura_detect::pipeline::Detection>, String> {
    let text = format!(
        "version: 1\ndetections:\n  - id: j\n    title: J\n    queue: security\n    severity: low\n    \
         on: {on}\n    join: {join}\n    where: {condition}\n    by: {by}\n    summary: '{{maintenance}}'\n    then: Look.\n"
    );
    Pipeline::read(Path::new("j.yaml"), &text, &SqlCompiler::default())
        .map_err(|errors| errors[0].to_string())
}

#[test]
fn joined_contexts_are_columns() {
    let read_one =
        read("message", "[maintenance, badge]", "maintenance = '' AND badge <> tool", "[tool, badge]");
    let detection = read_one.map(|mut d| d.remove(0)).expect("a detection");
    assert_eq!(detection.join, ["maintenance", "badge"]);
    let names: Vec<String> = detection.schema.fields().iter().map(|f| f.name().clone()).collect();
    assert_eq!(names[names.len() - 2..], ["maintenance", "badge"]);
    let other =
        read("message", "[maintenance]", "maintenance = '' AND tool = 'x'", "[tool]").expect("another");
    assert_ne!(detection.fingerprint, other[0].fingerprint);
}

#[test]
fn mistakes_are_explained() {
    let wrong = |on: &str, join: &str, condition: &str, by: &str| {
        read(on, join, condition, by).err().unwrap_or_default()
    };
    let typo = wrong("message", "[maintenence]", "tool = 'x'", "[tool]");
    assert_eq!(
        typo,
        "j.yaml:8:12: `maintenence` is no context; there are: lot, recipe, step, badge, maintenance"
    );
    let sample = wrong("sample", "[maintenance]", "tool = 'x'", "[tool]");
    assert!(sample.contains("j.yaml:8:12: samples take their context"), "{sample}");
    assert!(wrong("coverage", "[maintenance]", "count > 1", "[subject]").contains("name no tool"));
    let column = wrong("message", "[maintenance]", "badge = 'x'", "[tool]");
    assert!(
        column.starts_with("j.yaml:9:12: where: `badge` is no column of message; there are: time"),
        "{column}"
    );
    assert!(column.ends_with("detail, maintenance"), "{column}");
    assert!(
        wrong("message", "[maintenance]", "tool = 'x'", "[badge]")
            .contains("`badge` is no column of message")
    );
}
