//! TLS beside Zeek (handshakes and certificates) and tshark (hellos with the fingerprints of
//! client and server).

use std::collections::BTreeSet;

use yagura_event::rows::OwnedRow;
use yagura_event::schema::Kind;

use super::capture::{Capture, MessageRow};
use super::harness::{Facts, From, Protocol, Tool};
use super::reference::Reference;

pub const PROTOCOL: Protocol = Protocol {
    name: "tls",
    folders: &["tls", "l2l4_robustness"],
    tshark: &["tls"],
    decisions: include_str!("tls.yaml"),
    tools: &[
        Tool { name: "zeek", from: From::File("zeek/ssl.log"), compare: handshakes },
        Tool { name: "zeek-all", from: From::File("zeek/ssl-all.log"), compare: handshakes },
        Tool { name: "zeek-out", from: From::File("zeek/ssl-out.log"), compare: handshakes },
        Tool { name: "zeek-digicert", from: From::File("zeek/ssl-digicert.log"), compare: handshakes },
        Tool { name: "zeek-twimg", from: From::File("zeek/ssl-twimg.log"), compare: handshakes },
        Tool { name: "zeek-x509", from: From::File("zeek/x509.log"), compare: certificates },
        Tool { name: "tshark", from: From::TsharkWhereSeen(HELLOS), compare: hellos },
    ],
};

#[rustfmt::skip]
const HELLOS: &[&str] = &[
    "-Y", "tcp and (tls.handshake.type == 1 or tls.handshake.type == 2)", "-T", "fields", "-E", "occurrence=a", "-E", "aggregator=|",
    "-e", "tls.handshake.type", "-e", "tls.handshake.ja3", "-e", "tls.handshake.ja3s",
    "-e", "tls.handshake.extensions_server_name", "-e", "tls.handshake.ciphersuite",
];

fn text<'a>(value: &'a serde_json::Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

fn handshake_rows(capture: &Capture) -> impl Iterator<Item = &OwnedRow> {
    capture.messages("tls").filter(|row| row.text("function") == "handshake")
}

/// Some of Zeek's logs are of several captures: theirs are those of connections that are here.
fn clients(capture: &Capture) -> BTreeSet<String> {
    let flows = capture.rows.iter().filter(|row| row.kind == Kind::Flow);
    flows.map(|row| row.client()).collect()
}

fn handshakes(capture: &Capture, reference: &Reference) -> Facts {
    let ours = handshake_rows(capture).map(|row| {
        let detail = row.detail();
        let version =
            text(&detail, "version").replace("TLS ", "TLSv").replace('.', "").replace("SSL ", "SSLv");
        let chain: Vec<&str> =
            detail["server_chain"].as_array().into_iter().flatten().filter_map(|f| f.as_str()).collect();
        let flag = |name: &str| if detail[name] == true { 'T' } else { 'F' };
        format!(
            "{} {version} {} {} {} {}{} {} {}",
            row.client(),
            text(&detail, "cipher"),
            text(&detail, "group"),
            row.text("target"),
            flag("resumed"),
            flag("established"),
            text(&detail, "alpn"),
            chain.join(",")
        )
    });
    let here = clients(capture);
    let theirs =
        reference.zeek().into_iter().filter(|record| here.contains(&record.client())).map(|record| {
            // A number that Zeek has no name for.
            let version =
                match record.get("version").strip_prefix("unknown-").and_then(|n| n.parse::<u16>().ok()) {
                    Some(number) => format!("{number:#06x}"),
                    None => record.get("version").to_string(),
                };
            format!(
                "{} {version} {} {} {} {}{} {} {}",
                record.client(),
                record.get("cipher"),
                record.get("curve"),
                record.get("server_name"),
                record.get("resumed"),
                record.get("established"),
                record.get("next_protocol"),
                record.get("cert_chain_fps")
            )
        });
    let (ours, theirs): (Vec<_>, Vec<_>) = (ours.collect(), theirs.collect());
    if theirs.is_empty() {
        // The log is about another capture.
        return Facts::default();
    }
    Facts { ours, theirs }
}

fn certificates(capture: &Capture, reference: &Reference) -> Facts {
    let mut ours = Vec::new();
    for row in handshake_rows(capture) {
        let detail = row.detail();
        for (of, chain) in [("server_certificate", "server_chain"), ("client_certificate", "client_chain")] {
            let certificate = &detail[of];
            if !certificate.is_object() {
                continue;
            }
            let names: Vec<&str> =
                certificate["names"].as_array().into_iter().flatten().filter_map(|n| n.as_str()).collect();
            ours.push(format!(
                "{} {} {} {} {} {} {} {} {} {}",
                detail[chain][0].as_str().unwrap_or_default(),
                text(certificate, "serial").to_uppercase(),
                text(certificate, "subject"),
                text(certificate, "issuer"),
                text(certificate, "not_before"),
                text(certificate, "not_after"),
                text(certificate, "key"),
                certificate["key_bits"],
                text(certificate, "signature"),
                names.join(",")
            ));
        }
    }
    // What only signs others has no row of its own here.
    let theirs =
        reference.zeek().into_iter().filter(|r| r.get("host_cert") == "T" || r.get("client_cert") == "T");
    let theirs = theirs.map(|record| {
        let names =
            [record.get("san.dns"), record.get("san.uri"), record.get("san.email"), record.get("san.ip")];
        let names: Vec<&str> = names.into_iter().filter(|n| !n.is_empty()).collect();
        format!(
            "{} {} {} {} {} {} {} {} {} {}",
            record.get("fingerprint"),
            record.get("certificate.serial"),
            record.get("certificate.subject"),
            record.get("certificate.issuer"),
            time(record.get("certificate.not_valid_before")),
            time(record.get("certificate.not_valid_after")),
            record.get("certificate.key_type").to_lowercase(),
            record.get("certificate.key_length"),
            record.get("certificate.sig_alg").replace("ML-DSA", "ml-dsa"),
            names.join(",")
        )
    });
    let once = |facts: Vec<String>| facts.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
    Facts { ours: once(ours), theirs: once(theirs.collect()) }
}

/// Seconds since 1970 as a date (after Howard Hinnant's civil_from_days).
fn time(seconds: &str) -> String {
    let seconds = seconds.split('.').next().and_then(|s| s.parse::<i64>().ok()).unwrap_or_default();
    let (days, rest) = (seconds.div_euclid(86_400) + 719_468, seconds.rem_euclid(86_400));
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

fn hellos(capture: &Capture, reference: &Reference) -> Facts {
    let mut facts = Facts::default();
    for row in handshake_rows(capture) {
        let detail = row.detail();
        if detail["ja3"].is_string() {
            facts.ours.push(format!("client {} {}", text(&detail, "ja3"), row.text("target")));
        }
        if detail["ja3s"].is_string() {
            facts.ours.push(format!("server {}", text(&detail, "ja3s")));
        }
    }
    for line in reference.text().lines() {
        let column: Vec<&str> = line.split('\t').collect();
        let mut clients = column[1].split('|').filter(|s| !s.is_empty());
        let mut servers = column[2].split('|').filter(|s| !s.is_empty());
        let mut names = column[3].split('|');
        for kind in column[0].split('|') {
            match kind {
                "1" => {
                    let (print, name) = (clients.next().unwrap_or(""), names.next().unwrap_or(""));
                    facts.theirs.push(format!("client {print} {name}"));
                }
                "2" => facts.theirs.push(format!("server {}", servers.next().unwrap_or(""))),
                _ => {}
            }
        }
    }
    facts
}
