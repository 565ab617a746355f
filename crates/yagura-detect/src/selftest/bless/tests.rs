use serde_json::json;

use super::super::{Difference, DifferenceKind};
use super::*;

fn alert(fields: Value) -> Expected {
    fields.as_object().cloned().unwrap_or_default().into_iter().collect()
}

fn outcome(test: &str, found: &[Value], passed: bool) -> Outcome {
    let difference = Difference { kind: DifferenceKind::More, alert: 1, fields: Vec::new() };
    Outcome {
        detection: "d".into(),
        test: test.into(),
        file: "t.yaml".into(),
        failure: None,
        differences: if passed { Vec::new() } else { vec![difference] },
        milliseconds: 0.0,
        found: found.iter().cloned().map(alert).collect(),
    }
}

const HEAD: &str = "version: 1 # of this form
detections:
  - id: d   # an id
    title: 'A title'
    queue: security
    severity: low
    on: message
    by: [tool]
    summary: \"{tool}\"
    then: Look.

    # What follows is tested.
    tests:
";

struct NoSql;

impl crate::Compiler for NoSql {
    fn compile_over(
        &self,
        _: &str,
        _: &arrow::datatypes::SchemaRef,
        _: &str,
    ) -> Result<std::sync::Arc<dyn crate::Condition>, crate::ConditionError> {
        Err(crate::ConditionError { at: None, message: String::new() })
    }
}

fn blessed(tests: &str, outcomes: &[Outcome]) -> Result<(String, Vec<Change>), String> {
    let text = format!("{HEAD}{tests}");
    let detections = match crate::Pipeline::read("t.yaml".as_ref(), &text, &NoSql) {
        Ok(detections) => detections,
        Err(errors) => panic!("{errors:?}"),
    };
    let (after, changes) =
        rewrite(&text, &detections.iter().collect::<Vec<_>>(), &outcomes.iter().collect::<Vec<_>>())?;
    let after = after.strip_prefix(HEAD).expect("what stands before is kept");
    Ok((after.to_string(), changes))
}

fn becomes(before: &str, outcomes: &[Outcome], after: &str) {
    match blessed(before, outcomes) {
        Ok((text, _)) => assert_eq!(text, after),
        Err(cause) => panic!("{cause}\n{before}"),
    }
}

#[test]
fn only_the_lists_that_differ_change() {
    let a = json!({"at": "00:00:01", "tool": "A-1", "client": "10.0.0.1", "seen": 3, "summary": "s"});
    let b = json!({"at": "00:00:09", "tool": "B 2", "client": "10.0.0.2", "seen": 4, "summary": "s"});
    becomes(
        "      - name: one  # keep
        input: a.jsonl
        # before the list
        expect:   # behind the key
          # the first comes early
          - { at: \"00:00:01\",   tool: A-1 } # as it stood
          - tool: B
            at: '00:00:02'
          # behind the last
      # between
      - name: two
        expect: [ ] # none
        input: b.jsonl
      - { name: three, expect: [], input: c.jsonl }
      - name: four
        input: d.jsonl
        expect: [{ at: x }]

# the end
",
        &[
            outcome("one", &[a.clone(), b.clone()], false),
            outcome("two", std::slice::from_ref(&b), false),
            outcome("three", std::slice::from_ref(&b), false),
            outcome("four", &[json!({"at": "x"})], true),
        ],
        "      - name: one  # keep
        input: a.jsonl
        # before the list
        expect:   # behind the key
          # the first comes early
          - { at: \"00:00:01\",   tool: A-1 } # as it stood
          - { at: \"00:00:09\", tool: \"B 2\" }
          # behind the last
      # between
      - name: two
        expect:
          - { at: \"00:00:09\", tool: \"B 2\" } # none
        input: b.jsonl
      - { name: three, expect: [{ at: \"00:00:09\", tool: \"B 2\" }], input: c.jsonl }
      - name: four
        input: d.jsonl
        expect: [{ at: x }]

# the end
",
    );
}

#[test]
fn lists_grow_shrink_and_keep_their_form() {
    let found =
        |n: u32| json!({"at": format!("00:00:{n:02}"), "tool": "T", "seen": n, "on": true, "v": "1.5"});
    let lead = "      - name: t\n        input: a\n        expect:";
    let one = [found(1)];
    becomes(
        &format!("{lead}\n        - {{ at: y, seen: 1 }}\n        - {{ at: z }}\n"),
        &[outcome("t", &one, false)],
        &format!("{lead}\n        - {{ at: \"00:00:01\", seen: 1 }}\n"),
    );
    becomes(
        &format!("{lead}\n          - {{ at: y }}\n"),
        &[outcome("t", &[], false)],
        &format!("{lead} []\n"),
    );
    becomes(
        &format!("{lead} [{{ at: 'a ] }}', v: \"1\" }}]\n"),
        &[outcome("t", &one, false)],
        &format!("{lead} [{{ at: \"00:00:01\", v: \"1.5\" }}]\n"),
    );
    let many: Vec<Value> = (1..6).map(found).collect();
    let lines: String =
        (1..6).map(|n| format!("\n          - {{ at: \"00:00:{n:02}\", on: true }}")).collect();
    becomes(
        &format!("{lead} [{{ at: q, on: true }}]\n"),
        &[outcome("t", &many, false)],
        &format!("{lead}{}\n", lines.replace("on:", "\"on\":")),
    );
}

#[test]
fn a_test_that_could_not_run_keeps_its_list() {
    let text = "      - name: t\n        input: a\n        expect: [{ at: x }]\n";
    let failed = Outcome { failure: Some("no file".into()), ..outcome("t", &[], false) };
    assert_eq!(blessed(text, &[failed]), Ok((text.to_string(), Vec::new())));
    let (_, changes) = blessed(text, &[outcome("t", &[], false)]).expect("rewrites");
    assert_eq!(changes.len(), 1);
    assert_eq!((changes[0].before.as_str(), changes[0].after.as_str()), ("[{ at: x }]", "[]"));
}

#[test]
fn scalars_read_back_as_what_they_were() {
    for value in [
        json!("ETCH-07"),
        json!("10.20.9.66"),
        json!("00:01:00"),
        json!("502"),
        json!("1e5"),
        json!("0x10"),
        json!("yes"),
        json!("null"),
        json!(""),
        json!("a: b # c"),
        json!("- x"),
        json!("V3.2.17"),
        json!("tab\t\"quote\" \\ 文"),
        json!(7),
        json!(-0.25),
        json!(true),
        json!(null),
        json!("2026-11-02"),
        json!("1_000"),
        json!(".5"),
        json!("inf"),
        json!("nan"),
    ] {
        let read: Result<Vec<Value>, _> = serde_saphyr::from_str(&format!("[{}, 1]", scalar(&value)));
        assert_eq!(read.map(|read| read[0].clone()).ok(), Some(value.clone()), "{}", scalar(&value));
    }
}
