//! Syslog beside Zeek: every message with facility, severity and text.

use super::capture::{Capture, MessageRow};
use super::harness::{Facts, From, Protocol, Tool};
use super::reference::Reference;

pub const PROTOCOL: Protocol = Protocol {
    name: "syslog",
    folders: &["syslog", "l2l4_robustness"],
    tshark: &["syslog"],
    decisions: include_str!("syslog.yaml"),
    tools: &[Tool { name: "zeek", from: From::File("zeek/syslog.log"), compare: zeek }],
};

/// What Zeek calls the facilities and severities that have other names in the standard.
fn name(of: &str) -> String {
    match of {
        "warning" => "WARNING".into(),
        "emerg" => "EMERG".into(),
        other => other.to_uppercase(),
    }
}

fn zeek(capture: &Capture, reference: &Reference) -> Facts {
    let ours = capture.messages("syslog").map(|row| {
        let detail = row.detail();
        let text = |name: &str| detail[name].as_str().unwrap_or_default().to_string();
        // Zeek's message is all that follows the priority.
        let process = text("process");
        let process = if process.is_empty() { String::new() } else { format!("[{process}]") };
        let tag = if row.text("target").is_empty() {
            String::new()
        } else {
            format!("{}{process}:", row.text("target"))
        };
        let parts = [text("timestamp"), text("host"), tag, text("message")];
        let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        let message = parts.join(" ");
        format!("{} {} {} {message}", row.client(), name(&text("facility")), name(&text("severity")))
    });
    let theirs = reference.zeek().into_iter().map(|record| {
        let message = record.get("message").trim_end_matches(['\0', '\n', ' ']);
        format!("{} {} {} {message}", record.client(), record.get("facility"), record.get("severity"))
    });
    Facts { ours: ours.collect(), theirs: theirs.collect() }
}
