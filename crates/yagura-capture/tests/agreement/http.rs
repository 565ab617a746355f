//! HTTP beside Zeek, Suricata and tshark: every request and response with who, what and how it ended.

use serde_json::Value;
use yagura_event::rows::OwnedRow;

use super::capture::{Capture, MessageRow};
use super::harness::{Facts, From, Protocol, Tool};
use super::reference::Reference;

pub const PROTOCOL: Protocol = Protocol {
    name: "http",
    folders: &["dhcp", "l2l4_robustness", "modbus", "mqtt", "smb_dcerpc_ntlm", "ssh", "synchrophasor", "tls"],
    tshark: &["http"],
    decisions: include_str!("http.yaml"),
    tools: &[
        Tool { name: "zeek", from: From::File("zeek/http.log"), compare: zeek },
        Tool { name: "suricata", from: From::File("suricata/eve.json.gz"), compare: suricata },
        Tool { name: "tshark", from: From::TsharkWhereSeen(MESSAGES), compare: tshark },
    ],
};

const MESSAGES: &[&str] = &["-Y", "http and tcp", "-T", "ek", "-J", "http tcp"];

fn text(detail: &Value, name: &str) -> String {
    detail[name].as_str().unwrap_or_default().to_string()
}

fn method(row: &OwnedRow, detail: &Value) -> String {
    if row.text("exchange") == "reply" { String::new() } else { text(detail, "method") }
}

/// Zeek shows paths without their escapes.
fn unescaped(path: &str) -> String {
    let mut parts = path.split('%');
    let mut out = parts.next().unwrap_or_default().to_string();
    for part in parts {
        match part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte @ b' '..=b'~') => {
                out.push(char::from(byte));
                out.push_str(&part[2..]);
            }
            _ => {
                out.push('%');
                out.push_str(part);
            }
        }
    }
    out
}

fn zeek(capture: &Capture, reference: &Reference) -> Facts {
    let records = reference.zeek();
    // A part of the logs leaves columns out.
    let has = |column: &str| records.iter().any(|record| !record.get(column).is_empty());
    let (ports, lengths) = (has("id.orig_p"), has("response_body_len"));
    let theirs = records.iter().map(|record| {
        let client = if ports { record.client() } else { record.get("id.orig_h").to_string() };
        let coded = has_coding(capture, record.get("uri"));
        let length = |name| if lengths && !coded { record.get(name).to_string() } else { String::new() };
        format!(
            "{client} {} {} {} agent={} {} {} {}+{}",
            record.get("method"),
            record.get("host"),
            unescaped(record.get("uri")),
            if ports { record.get("user_agent") } else { "" },
            record.get("status_code"),
            // A reason of no letters.
            record.get("status_msg").replace("<empty>", ""),
            length("request_body_len"),
            length("response_body_len"),
        )
    });
    let ours = capture.messages("http").map(|row| {
        let detail = row.detail();
        let client = if ports { row.client() } else { row.text("client").to_string() };
        let coded = has_coding(capture, row.text("target"));
        let length = |name: &str| match lengths && !coded {
            true => detail[name].as_u64().unwrap_or(0).to_string(),
            false => String::new(),
        };
        format!(
            "{client} {} {} {} agent={} {} {} {}+{}",
            method(row, &detail),
            text(&detail, "host"),
            unescaped(row.text("target")),
            if ports { text(&detail, "user_agent") } else { String::new() },
            row.text("status_code"),
            text(&detail, "reason"),
            length("request_bytes"),
            length("response_bytes"),
        )
    });
    Facts { ours: ours.collect(), theirs: theirs.collect() }
}

/// Zeek counts what is unpacked, and we what is sent.
fn has_coding(capture: &Capture, target: &str) -> bool {
    capture
        .messages("http")
        .any(|row| row.text("target") == target && !row.detail()["content_encoding"].is_null())
}

fn suricata(capture: &Capture, reference: &Reference) -> Facts {
    let theirs =
        reference.eve("http").into_iter().filter(|event| event["event_type"] == "http").map(|event| {
            let http = &event["http"];
            format!(
                "{}:{} {} {} agent={} {}",
                event["src_ip"].as_str().unwrap_or_default(),
                event["src_port"],
                text(http, "hostname"),
                text(http, "url"),
                text(http, "http_user_agent"),
                text(http, "http_content_type"),
            )
        });
    let ours = capture.messages("http").map(|row| {
        let detail = row.detail();
        let host = text(&detail, "host");
        let host = host.rsplit_once(':').map_or(&*host, |(host, _)| host);
        format!(
            "{} {host} {} agent={} {}",
            row.client(),
            row.text("target"),
            text(&detail, "user_agent"),
            text(&detail, "response_content_type"),
        )
    });
    let theirs: Vec<String> = theirs.collect();
    // Suricata's files are of tests that look at other protocols: some have HTTP switched off.
    let ours = if theirs.is_empty() { Vec::new() } else { ours.collect() };
    Facts { ours, theirs }
}

fn tshark(capture: &Capture, reference: &Reference) -> Facts {
    let mut facts = Facts::default();
    for row in capture.messages("http") {
        let detail = row.detail();
        let (client, server) =
            (row.number("client_port").unwrap_or(0.0), row.number("server_port").unwrap_or(0.0));
        if row.text("exchange") != "reply" {
            facts.ours.push(format!(
                "{client} request {} {} {}",
                method(row, &detail),
                row.text("target"),
                text(&detail, "host")
            ));
        }
        if let Some(code) = detail["interim"].as_u64() {
            facts.ours.push(format!("{server} response {code}"));
        }
        if !row.text("status_code").is_empty() {
            facts.ours.push(format!(
                "{server} response {} {}",
                row.text("status_code"),
                text(&detail, "server")
            ));
        }
    }
    for layer in reference.ek("http") {
        let ports = super::reference::texts_of(&layer.frame["tcp"], "tcp_tcp_srcport");
        let port = ports.last().cloned().unwrap_or_default();
        let (method, code) =
            (layer.first("http_http_request_method"), layer.first("http_http_response_code"));
        if !method.is_empty() {
            let uri = layer.first("http_http_request_uri");
            facts.theirs.push(format!("{port} request {method} {uri} {}", layer.first("http_http_host")));
        } else if !code.is_empty() {
            facts.theirs.push(format!("{port} response {code} {}", layer.first("http_http_server")));
        }
    }
    facts
}
