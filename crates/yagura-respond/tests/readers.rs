//! CEF and LEEF as others read them: PyPI's `pycef`, npm's `nsyslog-parser`. `cargo xtask setup` installs both.
//!
//! Neither reads all of its format: `pycef` refuses a header with `=` or `\` in it and leaves escapes as they
//! are, `nsyslog-parser` cuts a value of LEEF at its first `=` and takes the first `|` in one for the end of all. What they do read must be what the alert says.

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use yagura_event::Alert;
use yagura_respond::formats::Format;
use yagura_respond::message::Message;
use yagura_respond::syslog::Formatter;
use yagura_testkit::peers;

#[path = "../src/fixtures.rs"]
#[expect(dead_code, reason = "other tests use the rest")]
mod fixtures;

const PYCEF: &str = "
import json, sys, pycef
print(json.dumps([pycef.parse(line) for line in json.load(sys.stdin)]))
";

const NSYSLOG: &str = "
const parse = require('nsyslog-parser');
const lines = JSON.parse(require('fs').readFileSync(0, 'utf8'));
console.log(JSON.stringify(lines.map(line => parse(line))));
";

/// What a program makes of lines.
fn read_by(command: &mut Command, lines: &[String]) -> Vec<Value> {
    let mut program = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
    program.stdin.take().expect("a pipe").write_all(json!(lines).to_string().as_bytes()).expect("written");
    let output = program.wait_with_output().expect("it ends");
    assert!(output.status.success(), "has `cargo xtask setup` run?");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn alerts() -> Vec<Alert> {
    let mut alerts: Vec<Alert> = (0..4).map(fixtures::alert).collect();
    alerts[1].summary = "two\nlines, a = b, C:\\fab\\x | y".into();
    alerts[1].tool = "ETCH 07 (bay 3)".into();
    alerts[2].title = "one | two".into();
    alerts[2].then = "ask^the~shift`".into();
    alerts[3].revision = 2;
    alerts[3].summary = "レシピ本体 'OX-MAIN'".into();
    alerts
}

/// What stood before it was escaped.
fn unescaped(text: &str) -> String {
    text.replace("\\n", "\n").replace("\\=", "=").replace("\\\\", "\\")
}

#[test]
fn pycef_reads_what_the_alert_says() {
    let alerts = alerts();
    let lines: Vec<String> = alerts
        .iter()
        .map(|alert| Format::named("cef").expect("cef").line(&Message::of(alert), 60_000))
        .collect();
    let python = peers::readers(&yagura_testkit::build_folder()).join("bin/python");
    let read = read_by(Command::new(python).args(["-c", PYCEF]), &lines);
    for (alert, read) in alerts.iter().zip(&read) {
        let text = |name: &str| unescaped(read[name].as_str().unwrap_or_default());
        if alert.title.contains('|') {
            // It takes `one \` for the end of the header.
            continue;
        }
        assert_eq!(text("CEFVersion"), "0");
        assert_eq!(text("DeviceEventClassID"), alert.detection);
        assert_eq!(text("Name"), alert.title);
        assert_eq!(text("Severity"), "8");
        assert_eq!(text("externalId"), alert.uid.to_string());
        assert_eq!(text("revisionId"), format!("{}-r{}", alert.uid, alert.revision));
        assert_eq!(text("act"), if alert.revision == 1 { "create" } else { "update" });
        assert_eq!(text("sequence"), alert.sequence.to_string());
        assert_eq!(text("msg"), alert.summary);
        assert_eq!(text("dhost"), alert.tool);
        assert_eq!(text("doFirst"), alert.then);
        assert_eq!(
            (text("src"), text("spt"), text("dst")),
            ("10.20.0.9".into(), "51000".into(), "10.20.3.7".into())
        );
        assert_eq!(serde_json::from_str::<Value>(&text("evidence")).expect("JSON"), alert.evidence);
    }
}

#[test]
fn nsyslog_reads_leef_and_cef_in_syslog() {
    let mut alerts = alerts();
    for alert in &mut alerts {
        alert.title = alert.title.replace('|', "/");
        alert.summary = alert.summary.replace('|', "/");
    }
    let of = |name: &str| -> Vec<String> {
        let formatter = Formatter::new(Format::named(name).expect("a format"));
        alerts.iter().map(|alert| formatter.line(&Message::of(alert))).collect()
    };
    let mut node = Command::new("node");
    node.args(["-e", NSYSLOG]).current_dir(peers::reader_node(&yagura_testkit::build_folder()));
    let read = read_by(&mut node, &of("leef"));
    for (alert, read) in alerts.iter().zip(&read) {
        assert_eq!(read["type"], "LEEF", "{read}");
        assert_eq!(read["leef"]["leefVersion"], "LEEF:2.0");
        assert_eq!(read["leef"]["eventID"], alert.detection);
        assert_eq!(read["leef"]["delimiter"], if alert.then.contains('^') { "!" } else { "^" });
        let fields = &read["fields"];
        assert_eq!(fields["alertId"], alert.uid.to_string());
        assert_eq!(fields["revisionId"], format!("{}-r{}", alert.uid, alert.revision));
        assert_eq!(fields["sequence"], alert.sequence.to_string());
        assert_eq!(fields["sev"], "8");
        assert_eq!(fields["resource"], alert.tool);
        assert_eq!(fields["policy"], alert.title);
        assert_eq!(fields["doFirst"], alert.then);
        let summary = alert.summary.replace('\n', " ");
        assert_eq!(fields["summary"], summary.split('=').next().expect("a part"), "cut at its first `=`");
        assert_eq!(
            fields["evidence"].as_str().map(|e| serde_json::from_str(e).expect("JSON")),
            Some(alert.evidence.clone())
        );
    }
    let mut node = Command::new("node");
    node.args(["-e", NSYSLOG]).current_dir(peers::reader_node(&yagura_testkit::build_folder()));
    for (alert, read) in alerts.iter().zip(read_by(&mut node, &of("cef"))) {
        assert_eq!(read["type"], "CEF", "{read}");
        assert_eq!(read["cef"]["deviceEventClassID"], alert.detection);
        assert_eq!(read["fields"]["externalId"], alert.uid.to_string());
    }
}
