//! `learn` and `score`: a model tried on a table.

use std::fmt::Write as _;

use serde_json::Value;

use crate::{folder, text, yagura};

/// A drive: a current, a speed that follows it, a temperature by itself. In the rows of `broken` the speed is held at
/// an ordinary value, labelled.
fn table(rows: usize, broken: std::ops::Range<usize>) -> String {
    let mut state = 3_u64;
    let mut noise = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 11) as f64 / (1_u64 << 53) as f64 - 0.5
    };
    let mut out = String::from("time,current,speed,temperature,note,wrong\n");
    let mut current = 0.0;
    for row in 0..rows {
        current = 0.9 * current + noise();
        let is_broken = broken.contains(&row);
        let speed = if is_broken { 1500.5 } else { 1500.0 + 30.0 * current + noise() };
        let (current, temperature) = (40.0 + 5.0 * current, 60.0 + noise());
        let wrong = u8::from(is_broken);
        writeln!(
            out,
            "2026-11-02T22:{:02}:{:02}Z,{current:.3},{speed:.3},{temperature:.3},ok,{wrong}",
            row / 60,
            row % 60
        )
        .expect("a text");
    }
    out
}

#[test]
fn a_table_is_judged_by_its_beginning_and_explained() {
    let folder = folder();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("run.csv"), table(1000, 800..860)).expect("a file");
    let asked = ["score", &path("run.csv"), "--first", "500", "--label", "wrong"];
    let more = ["--report", &path("run.html"), "--scores", &path("scores.csv"), "--format", "json"];
    let out = yagura(&[&asked[..], &more].concat());
    assert!(out.status.success(), "{}", text(&out.stderr));
    let found: Value = serde_json::from_slice(&out.stdout).expect("JSON");
    assert_eq!(found["rows"], 500);
    let incidents = found["incidents"].as_array().expect("incidents");
    let worst =
        incidents.iter().max_by(|a, b| a["score"].as_f64().unwrap().total_cmp(&b["score"].as_f64().unwrap()));
    let worst = worst.expect("an incident");
    assert_eq!(worst["signals"][0]["signal"], "speed");
    assert!(worst["first"].as_str().unwrap() >= "2026-11-02T22:13:20Z", "{worst}");
    assert!(found["measures"]["detection_rate"].as_f64().unwrap() > 0.7, "{found}");
    assert!(found["measures"]["false_alarm_rate"].as_f64().unwrap() < 0.10, "{found}");

    let page = std::fs::read_to_string(path("run.html")).expect("the page");
    assert!(page.contains("<svg ") && page.contains("speed") && !page.contains("<script"));
    let scores = std::fs::read_to_string(path("scores.csv")).expect("the scores");
    assert_eq!(scores.lines().count(), 501);

    let out = yagura(&asked);
    assert!(
        text(&out.stdout).contains('▁') && text(&out.stdout).contains("speed: 150"),
        "{}",
        text(&out.stdout)
    );
}

#[test]
fn a_model_is_kept_and_says_what_it_lacks() {
    let folder = folder();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("normal.csv"), table(600, 0..0)).expect("a file");
    std::fs::write(path("today.csv"), table(300, 200..260)).expect("a file");
    let out = yagura(&["learn", &path("normal.csv"), "--ignore", "wrong", "-o", &path("model.json")]);
    assert!(text(&out.stdout).contains("3 signals, 600 rows"), "{}{}", text(&out.stdout), text(&out.stderr));
    let out = yagura(&["score", &path("today.csv"), "--model", &path("model.json")]);
    assert!(text(&out.stdout).contains("speed"), "{}{}", text(&out.stdout), text(&out.stderr));

    std::fs::write(path("other.csv"), "time,current,speed\n1,2,3\n").expect("a file");
    let out = yagura(&["score", &path("other.csv"), "--model", &path("model.json")]);
    assert_eq!(out.status.code(), Some(2));
    assert!(text(&out.stderr).contains("no column `temperature`; there are: time, current, speed"));
    std::fs::write(path("model.json"), "{\"version\":99}").expect("a file");
    let out = yagura(&["score", &path("today.csv"), "--model", &path("model.json")]);
    assert_eq!(out.status.code(), Some(2));
    assert!(text(&out.stderr).contains("a model of version 99"), "{}", text(&out.stderr));
    let out = yagura(&["score", &path("other.csv"), "--first", "1"]);
    assert_eq!(out.status.code(), Some(2));
    assert!(text(&out.stderr).contains("too few to learn from"), "{}", text(&out.stderr));
}
