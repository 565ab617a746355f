//! What holds of every format: its lines say what the alert says, whatever the alert's texts are.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};
use yagura_event::alert::Alert;

use super::*;
use crate::cases::Verdict;
use crate::fixtures;
use crate::message::{Beat, test_alert};
use crate::told::tests::decided;

/// A reader of CEF by its specification: the header's seven fields and the extension.
fn read_cef(line: &str) -> (Vec<String>, BTreeMap<String, String>) {
    let mut header = vec![String::new()];
    let mut chars = line.chars();
    while header.len() < 8 {
        match chars.next().expect("a whole header") {
            '\\' => header.last_mut().expect("one").push(chars.next().expect("an escaped character")),
            '|' => header.push(String::new()),
            c => header.last_mut().expect("one").push(c),
        }
    }
    header.pop();
    let mut fields: Vec<(String, String)> = Vec::new();
    let mut text = String::new();
    let mut chars = chars.peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => text.push(match chars.next().expect("an escaped character") {
                'n' => '\n',
                'r' => '\r',
                c => c,
            }),
            // The name of a field is the word before an equals sign; what stands before it belongs to the last value.
            '=' => {
                let at = text.rfind(' ').map_or(0, |at| at + 1);
                let name = text.split_off(at);
                if let Some((_, value)) = fields.last_mut() {
                    text.pop();
                    *value = std::mem::take(&mut text);
                }
                fields.push((name, String::new()));
            }
            c => text.push(c),
        }
    }
    if let Some((_, value)) = fields.last_mut() {
        *value = text;
    }
    (header, fields.into_iter().collect())
}

/// A reader of LEEF 2.0.
fn read_leef(line: &str) -> (Vec<String>, BTreeMap<String, String>) {
    let mut parts = line.splitn(7, '|');
    let header: Vec<String> = parts.by_ref().take(6).map(str::to_string).collect();
    let delimiter = header[5].chars().next().expect("a delimiter");
    let attributes = parts.next().expect("attributes").split(delimiter);
    let pairs = attributes.map(|pair| {
        let (name, value) = pair.split_once('=').expect("a name and a value");
        (name.to_string(), value.to_string())
    });
    (header, pairs.collect())
}

fn texts() -> impl Strategy<Value = Vec<String>> {
    let hostile = "[a-c =|\\\\\\^\"\n\r\t\u{0}\u{1b}\u{2028}櫓~`!]{0,24}";
    proptest::collection::vec(prop_oneof![hostile, any::<String>()], 9)
}

/// An alert with these texts in all its fields.
fn alert_with(texts: &[String]) -> Alert {
    let [cell, detection, title, tool, summary, then, collector, key, evidence] = texts else {
        unreachable!("nine texts")
    };
    let mut alert = fixtures::alert(5);
    alert.cell.clone_from(cell);
    alert.detection.clone_from(detection);
    alert.title.clone_from(title);
    alert.tool.clone_from(tool);
    alert.summary.clone_from(summary);
    alert.then.clone_from(then);
    alert.cause.collector.clone_from(collector);
    alert.key = BTreeMap::from([(key.clone(), evidence.clone())]);
    alert.evidence = json!({ "protocol": "hsms", "target": evidence, "n": 1.5 });
    alert
}

/// The text as CEF keeps it: control characters other than line breaks are spaces.
fn cef_keeps(text: &str) -> String {
    text.chars().map(|c| if is_separator(c) && !matches!(c, '\n' | '\r') { ' ' } else { c }).collect()
}

proptest! {
    #[test]
    fn any_text_is_read_back_from_cef(texts in texts()) {
        let alert = alert_with(&texts);
        let line = Format::named("cef").expect("cef").line(&Message::of(&alert), 1 << 20);
        prop_assert!(!line.chars().any(is_separator), "{line:?}");
        let (header, fields) = read_cef(&line);
        prop_assert_eq!(&header[4], &spaced(&alert.detection));
        prop_assert_eq!(&header[5], &spaced(&alert.title));
        prop_assert_eq!(&header[6], "8");
        let field = |name: &str| fields.get(name).cloned().unwrap_or_default();
        prop_assert_eq!(field("msg"), cef_keeps(&alert.summary));
        prop_assert_eq!(field("dhost"), cef_keeps(&alert.tool));
        prop_assert_eq!(field("dvchost"), cef_keeps(&alert.cause.collector));
        prop_assert_eq!(field("cs2"), cef_keeps(&alert.cell));
        prop_assert_eq!(field("cs4"), cef_keeps(&alert.then));
        prop_assert_eq!(field("externalId"), alert.uid.to_string());
        prop_assert_eq!(field("cs1"), format!("{}-r1", alert.uid));
        prop_assert_eq!(field("cn1"), "5");
        // JSON escapes control characters, so that these come back as they were, but for what JSON leaves as it is.
        let evidence: Value = serde_json::from_str(&field("cs6")).expect("JSON");
        prop_assert_eq!(cef_keeps(evidence["target"].as_str().expect("text")), cef_keeps(&texts[8]));
    }

    #[test]
    fn any_text_is_read_back_from_leef(texts in texts()) {
        let alert = alert_with(&texts);
        let line = Format::named("leef").expect("leef").line(&Message::of(&alert), 1 << 20);
        prop_assert!(!line.chars().any(is_separator), "{line:?}");
        let (header, fields) = read_leef(&line);
        prop_assert_eq!(&header[0], "LEEF:2.0");
        let field = |name: &str| fields.get(name).cloned().unwrap_or_default();
        prop_assert_eq!(field("summary"), spaced(&alert.summary));
        prop_assert_eq!(field("detection"), spaced(&alert.detection));
        prop_assert_eq!(field("policy"), spaced(&alert.title));
        prop_assert_eq!(field("resource"), spaced(&alert.tool));
        prop_assert_eq!(field("cell"), spaced(&alert.cell));
        prop_assert_eq!(field("doFirst"), spaced(&alert.then));
        prop_assert_eq!(field("alertId"), alert.uid.to_string());
        prop_assert_eq!(field("revisionId"), format!("{}-r1", alert.uid));
        prop_assert_eq!(field("sequence"), "5");
    }

    #[test]
    fn any_text_is_read_back_from_json(texts in texts()) {
        let alert = alert_with(&texts);
        let message = Message::of(&alert);
        for format in Format::all().filter(|format| format.is_json()) {
            let line = format.line(&message, 1 << 20);
            prop_assert!(!line.contains(['\n', '\r']));
            let read: Value = serde_json::from_str(&line).expect("JSON");
            let (summary, title) = match format.name() {
                "ocsf" => (&read["message"], &read["finding_info"]["title"]),
                _ => (&read["message"], &read["rule"]["name"]),
            };
            prop_assert_eq!(summary, &json!(alert.summary));
            prop_assert_eq!(title, &json!(alert.title));
        }
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn too_long_a_message_is_cut_and_keeps_its_ids(texts in texts(), times in 1usize..4000) {
        let long: Vec<String> = texts.iter().map(|text| text.repeat(times)).collect();
        let mut alert = alert_with(&long);
        alert.techniques = vec![texts[0].repeat(times); 9];
        for format in Format::all() {
            let mut decided = decided(Verdict::Resolved);
            (decided.by, decided.why) = (long[0].clone(), long[1].clone());
            for bytes_max in [if format.is_json() { 16_000 } else { 3_800 }, 62_000] {
                for decided in [None, Some(&decided)] {
                    let message = Message { decided, ..Message::of(&alert) };
                    let line = format.line(&message, bytes_max);
                    prop_assert!(line.len() <= bytes_max, "{}: {} of {bytes_max}", format.name(), line.len());
                    prop_assert!(!line.contains(['\n', '\r']));
                    prop_assert!(line.contains(&message.revision_uid()));
                }
            }
        }
    }
}

#[test]
fn every_message_says_what_it_is_in_every_format() {
    let alert = fixtures::alert(7);
    let mut revised = alert.clone();
    revised.revision = 3;
    let beat =
        Beat { sink: "siem", start: 1, number: 41, acknowledged: 2, refused: 0, lag: 0 }.alert(5_000_000);
    let test = test_alert("siem", 5_000_000);
    let resolved = decided(Verdict::Resolved);
    let close = Message { decided: Some(&resolved), ..Message::of(&revised) };
    for format in Format::all() {
        let line = |message: &Message<'_>| format.line(message, 1 << 20);
        let name = format.name();
        let (created, updated, closed) =
            (line(&Message::of(&alert)), line(&Message::of(&revised)), line(&close));
        for (line, revision) in [(&created, "r1"), (&updated, "r3"), (&closed, "d1795403107250000")] {
            assert!(line.contains(&format!("{}-{revision}", alert.uid)), "{name}");
        }
        for said in ["resolved", "mori", "the cable is replaced"] {
            assert!(closed.contains(said), "{name}: {said}");
        }
        assert!(!closed.contains("body_bytes"), "{name}: evidence is told once");
        let word = |line: &str, word: &str| line.to_lowercase().contains(word);
        assert!(word(&created, "create") && !word(&created, "update") && !word(&created, "close"), "{name}");
        assert!(word(&updated, "update") && !word(&updated, "create\""), "{name}");
        assert!(word(&closed, "close"), "{name}");
        let beat = line(&Message::of(&beat));
        assert!(beat.contains("yagura.heartbeat") && beat.contains("41"), "{name}: {beat}");
        let test = line(&Message::of(&test));
        assert!(test.contains("yagura.test") && test.contains("TEST"), "{name}");
        let mut large = alert.clone();
        large.evidence = json!({ "values": "x".repeat(100_000) });
        let cut = line(&Message::of(&large)).len();
        let short = format.line(&Message::of(&large), 60_000);
        assert!(short.len() <= 60_000 && short.contains("runcated"), "{name}: {cut}");
        assert!(
            short.contains(&alert.summary) || name == "leef" && short.contains("no release list"),
            "{name}"
        );
    }
}

#[test]
fn leef_takes_the_first_delimiter_that_no_value_has() {
    let mut alert = fixtures::alert(1);
    let line = |alert: &Alert| leef::line(&Message::of(alert));
    assert!(line(&alert).starts_with(concat!(
        "LEEF:2.0|Yagura|Yagura|",
        env!("CARGO_PKG_VERSION"),
        "|recipe-body-not-released|^|cat=security^sev=8^"
    )));
    alert.summary = "a^b".into();
    assert!(line(&alert).contains("|~|cat=security~sev=8~"));
    alert.summary = "^~`!#;@$%&*+?<>".into();
    alert.detection = "a|b\\c\nd".into();
    let all = line(&alert);
    assert!(all.contains("|a_b_c d|^|"), "{all}");
    assert!(all.contains("^summary= ~`!#;@$%&*+?<>^"), "{all}");
}
