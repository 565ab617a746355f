//! RDP beside Zeek's log of connections.

use std::collections::BTreeMap;

use super::capture::{Capture, MessageRow};
use super::harness::{Facts, From, Protocol, Tool};
use super::reference::Reference;

pub const PROTOCOL: Protocol = Protocol {
    name: "rdp",
    folders: &["rdp"],
    tshark: &["rdp", "t124", "t125"],
    decisions: include_str!("rdp.yaml"),
    tools: &[
        Tool { name: "zeek", from: From::File("zeek/rdp.log"), compare },
        Tool { name: "tshark", from: From::Tshark(ARGUMENTS), compare: settings },
    ],
};

#[rustfmt::skip]
const ARGUMENTS: &[&str] = &[
    "-Y", "rdp.clientData or rdp.serverData or rdp.neg_type", "-T", "fields", "-E", "separator=/t", "-E", "occurrence=f",
    "-e", "ip.src", "-e", "tcp.srcport", "-e", "ip.dst", "-e", "tcp.dstport",
    "-e", "rdp.client.build", "-e", "rdp.desktop.width", "-e", "rdp.desktop.height", "-e", "rdp.client.name",
    "-e", "rdp.encryptionMethod", "-e", "rdp.neg_type",
];

/// What is known of one connection: what Zeek writes in a row.
#[derive(Default)]
struct Connection {
    cookie: String,
    result: String,
    protocol: String,
    settings: String,
}

fn compare(capture: &Capture, reference: &Reference) -> Facts {
    let mut connections = BTreeMap::<String, Connection>::new();
    for row in capture.messages("rdp") {
        let detail = row.detail();
        let text = |member: &str| detail[member].as_str().unwrap_or_default().to_string();
        // How a connection ends, and who logs in, is not in the log.
        if !matches!(row.text("function"), "connection_request" | "mcs_connect") {
            continue;
        }
        let connection = connections.entry(row.client()).or_default();
        match row.text("function") {
            "connection_request" => {
                connection.cookie = text("cookie");
                let selected = text("selected_protocol").to_uppercase();
                if row.text("status") == "denied" {
                    connection.result = row.text("status_code").to_uppercase();
                } else if !selected.is_empty() {
                    connection.result = if selected == "RDP" { String::new() } else { "encrypted".into() };
                    connection.protocol = selected;
                }
            }
            "mcs_connect" => {
                let answered = row.text("exchange") == "pair" && row.text("status") == "ok";
                connection.result = if answered { "Success".into() } else { String::new() };
                connection.protocol = "RDP".into();
                let certificate = match text("certificate").as_str() {
                    "rsa" => "RSA",
                    "x509" => "X.509",
                    _ => "",
                };
                connection.settings = format!(
                    "{} {} {} {}x{} {}bit {certificate} {} {} {} {}",
                    text("channels"),
                    text("client_name"),
                    text("client_dig_product_id"),
                    detail["desktop_width"],
                    detail["desktop_height"],
                    detail["color_depth"],
                    detail["certificate_count"].as_u64().unwrap_or(0),
                    detail["certificate_permanent"].as_bool().map_or("", |kept| if kept { "T" } else { "F" }),
                    text("encryption_level"),
                    text("encryption_method"),
                );
            }
            _ => {}
        }
    }
    let ours = connections.into_iter().map(|(client, connection)| {
        let Connection { cookie, result, protocol, settings } = connection;
        format!("{client} {} {result} {protocol} {settings}", cookie.trim())
    });
    let theirs = reference.zeek().into_iter().map(|record| {
        let settings = if record.get("client_name").is_empty() {
            String::new()
        } else {
            format!(
                "{} {} {} {}x{} {} {} {} {} {} {}",
                record.get("client_channels"),
                record.get("client_name"),
                record.get("client_dig_product_id"),
                record.get("desktop_width"),
                record.get("desktop_height"),
                record.get("requested_color_depth"),
                record.get("cert_type"),
                record.get("cert_count"),
                record.get("cert_permanent"),
                record.get("encryption_level").to_lowercase().replace(' ', "_"),
                record.get("encryption_method").to_lowercase(),
            )
        };
        let cookie = record.get("cookie").replace("\\\\", "\\");
        let protocol = record.get("security_protocol");
        format!("{} {} {} {protocol} {settings}", record.client(), cookie.trim(), record.get("result"))
    });
    Facts { ours: ours.collect(), theirs: theirs.collect() }
}

fn settings(capture: &Capture, reference: &Reference) -> Facts {
    let mut ours = Vec::new();
    for row in capture.messages("rdp") {
        let detail = row.detail();
        let text = |member: &str| detail[member].as_str().unwrap_or_default().to_string();
        match row.text("function") {
            "connection_request" => {
                if !text("requested_protocols").is_empty() {
                    ours.push(format!("{} negotiates 1", row.client()));
                }
                if row.text("status") == "denied" {
                    ours.push(format!("{} negotiates 3", row.server()));
                } else if row.text("exchange") == "pair" && !text("requested_protocols").is_empty() {
                    ours.push(format!("{} negotiates 2", row.server()));
                }
            }
            "mcs_connect" => {
                let (build, name) = (&detail["client_build"], text("client_name"));
                let (width, height) = (&detail["desktop_width"], &detail["desktop_height"]);
                ours.push(format!("{} {build} {width}x{height} {name}", row.client()));
                if !text("encryption_method").is_empty() {
                    ours.push(format!("{} {}", row.server(), text("encryption_method")));
                }
            }
            _ => {}
        }
    }
    let mut theirs = Vec::new();
    for line in reference.text().lines() {
        let columns: Vec<&str> = line.split('\t').collect();
        let [source, port, _, _, build, width, height, name, method, negotiation] = columns[..] else {
            continue;
        };
        let sender = format!("{source}:{port}");
        let number = |text: &str| match text.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16).unwrap_or_default(),
            None => text.parse().unwrap_or_default(),
        };
        if !build.is_empty() {
            theirs.push(format!("{sender} {} {}x{} {name}", number(build), number(width), number(height)));
        } else if !method.is_empty() {
            let name = match number(method) {
                0 => "none",
                1 => "40bit",
                2 => "128bit",
                8 => "56bit",
                _ => "fips",
            };
            theirs.push(format!("{sender} {name}"));
        }
        if !negotiation.is_empty() {
            theirs.push(format!("{sender} negotiates {}", number(negotiation)));
        }
    }
    Facts { ours, theirs }
}
