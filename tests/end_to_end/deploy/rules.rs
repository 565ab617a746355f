//! Prometheus' rules: what promtool says of them, and what each alert must bring along.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

use super::{documents, each, shipped, word};
use crate::text;

fn file(name: &str) -> Vec<Value> {
    documents(&std::fs::read_to_string(shipped(name)).unwrap_or_else(|e| panic!("{name}: {e}")))
}

/// Every rule, recording ones too.
pub fn rules() -> Vec<Value> {
    let file = file("prometheus/rules.yaml").remove(0);
    each(&file["groups"]).flat_map(|group| each(&group["rules"])).cloned().collect()
}

#[test]
fn promtool_takes_the_rules_and_their_tests_pass() {
    for (command, name) in [("check", "rules.yaml"), ("test", "rules.test.yaml")] {
        let mut promtool = Command::new("promtool");
        promtool.args([command, "rules", name]).current_dir(shipped("prometheus"));
        let output = promtool.output().expect("promtool starts; install the package prometheus");
        assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    }
}

#[test]
fn every_alert_has_a_severity_a_summary_a_runbook_and_tests_of_both_kinds() {
    let tests = file("prometheus/rules.test.yaml").remove(0);
    let checks: Vec<&Value> = each(&tests["tests"]).flat_map(|test| each(&test["alert_rule_test"])).collect();
    let tested = |alert: &str, fires: bool| {
        let same = |check: &&&Value| check["alertname"] == alert;
        checks.iter().filter(same).any(|check| each(&check["exp_alerts"]).next().is_some() == fires)
    };
    let mut runbooks = BTreeSet::new();
    for rule in rules() {
        let Some(alert) = rule["alert"].as_str() else { continue };
        assert!(["critical", "warning", "none"].contains(&word(&rule["labels"]["severity"])), "{alert}");
        assert!(!word(&rule["annotations"]["summary"]).is_empty(), "{alert}");
        let runbook = word(&rule["annotations"]["runbook_url"]).to_string();
        let found =
            std::fs::read_to_string(shipped(&runbook)).unwrap_or_else(|e| panic!("{alert}: {runbook}: {e}"));
        assert!(["## Look", "## Do"].iter().all(|part| found.contains(part)), "{runbook}");
        runbooks.insert(runbook);
        assert!(tested(alert, true), "no test lets {alert} fire");
        assert!(tested(alert, false) || alert == "YaguraWatchdog", "no test keeps {alert} quiet");
    }
    let there = std::fs::read_dir(shipped("runbooks")).expect("runbooks").flatten();
    let there: BTreeSet<String> =
        there.filter_map(|file| Some(format!("runbooks/{}", file.file_name().to_str()?))).collect();
    assert_eq!(there, runbooks);
}
