//! Protocols of text lines beside tshark: every command and every reply. Where commands and replies
//! are in one row here, they are two facts.

use super::capture::{Capture, MessageRow};
use super::harness::{Facts, From, Protocol, Tool};
use super::reference::Reference;

pub const FTP: Protocol = Protocol {
    name: "ftp",
    folders: &["modbus", "l2l4_robustness"],
    tshark: &["ftp"],
    decisions: "",
    tools: &[
        Tool { name: "suricata", from: From::File("suricata/eve.json.gz"), compare: ftp_suricata },
        Tool { name: "tshark", from: From::TsharkWhereSeen(FTP_FIELDS), compare: ftp },
    ],
};

pub const SMTP: Protocol = Protocol {
    name: "smtp",
    folders: &["rtps_dds"],
    tshark: &["smtp"],
    decisions: "",
    tools: &[Tool { name: "tshark", from: From::TsharkWhereSeen(SMTP_FIELDS), compare: smtp }],
};

pub const POP3: Protocol = Protocol {
    name: "pop3",
    folders: &["tls"],
    tshark: &["pop"],
    decisions: "",
    tools: &[Tool { name: "tshark", from: From::TsharkWhereSeen(POP3_FIELDS), compare: pop3 }],
};

pub const IMAP: Protocol = Protocol {
    name: "imap",
    folders: &["l2l4_robustness"],
    tshark: &["imap"],
    decisions: "",
    tools: &[Tool { name: "tshark", from: From::TsharkWhereSeen(IMAP_FIELDS), compare: imap }],
};

pub const IRC: Protocol = Protocol {
    name: "irc",
    folders: &["tls"],
    tshark: &["irc"],
    decisions: "",
    tools: &[Tool { name: "tshark", from: From::TsharkWhereSeen(IRC_FIELDS), compare: irc }],
};

pub const SSDP: Protocol = Protocol {
    name: "ssdp",
    folders: &["beckhoff_ads", "bsap", "dnp3", "iec104", "lldp_cdp", "s7comm", "synchrophasor"],
    tshark: &["ssdp"],
    decisions: include_str!("ssdp.yaml"),
    tools: &[Tool { name: "tshark", from: From::TsharkWhereSeen(SSDP_FIELDS), compare: ssdp }],
};

pub const TELNET: Protocol = Protocol {
    name: "telnet",
    folders: &["telnet"],
    tshark: &["telnet"],
    decisions: "",
    tools: &[Tool { name: "tshark", from: From::TsharkWhereSeen(TELNET_FIELDS), compare: telnet }],
};

#[rustfmt::skip]
const FTP_FIELDS: &[&str] = &[
    "-Y", "ftp", "-T", "fields", "-e", "tcp.srcport", "-e", "ftp.request.command", "-e", "ftp.request.arg",
    "-e", "ftp.response.code",
];
#[rustfmt::skip]
const SMTP_FIELDS: &[&str] = &[
    "-Y", "smtp", "-T", "fields", "-e", "tcp.srcport", "-e", "smtp.req.command", "-e", "smtp.response.code",
];
#[rustfmt::skip]
const POP3_FIELDS: &[&str] = &[
    "-Y", "pop", "-T", "fields", "-e", "tcp.srcport", "-e", "pop.request.command", "-e", "pop.response.indicator",
];
#[rustfmt::skip]
const IMAP_FIELDS: &[&str] = &[
    "-Y", "imap", "-T", "fields", "-e", "tcp.srcport", "-e", "imap.request_tag", "-e", "imap.request.command",
    "-e", "imap.response_tag", "-e", "imap.response.status",
];
#[rustfmt::skip]
const IRC_FIELDS: &[&str] = &[
    "-Y", "irc", "-T", "fields", "-e", "tcp.srcport", "-e", "irc.request.command", "-e", "irc.response.command",
];
#[rustfmt::skip]
const SSDP_FIELDS: &[&str] = &[
    "-Y", "ssdp", "-T", "fields", "-e", "udp.srcport", "-e", "http.request.method", "-e", "http.response.code",
    "-e", "http.server",
];
const TELNET_FIELDS: &[&str] = &["-Y", "telnet.cmd", "-T", "fields", "-e", "tcp.srcport", "-e", "telnet.cmd"];

/// The columns of each of tshark's lines.
fn lines(reference: &Reference) -> Vec<Vec<String>> {
    reference.text().lines().map(|line| line.split('\t').map(str::to_string).collect()).collect()
}

fn port(row: &yagura_event::rows::OwnedRow, column: &str) -> String {
    row.number(column).unwrap_or(0.0).to_string()
}

/// A protocol's commands and codes: each of our rows is a command, a code, or both.
fn ours(capture: &Capture, protocol: &'static str, target: bool) -> Vec<String> {
    let mut facts = Vec::new();
    for row in capture.messages(protocol) {
        let (client, server) = (port(row, "client_port"), port(row, "server_port"));
        if row.text("exchange") != "reply" {
            let target = if target { row.text("target") } else { "" };
            facts.push(format!("{client} {} {target}", row.text("function").to_uppercase()));
        }
        let untagged = protocol == "imap" && row.text("function") == "greeting";
        if row.text("exchange") != "request" && !row.text("status_code").is_empty() && !untagged {
            facts.push(format!("{server} {}", row.text("status_code")));
        }
    }
    facts
}

fn ftp(capture: &Capture, reference: &Reference) -> Facts {
    let mut theirs = Vec::new();
    for line in lines(reference) {
        let [port, commands, arguments, codes] = &line[..] else { continue };
        if !commands.is_empty() {
            // A password is in no fact.
            let arguments = if commands == "PASS" { "" } else { arguments };
            theirs.push(format!("{port} {commands} {arguments}"));
        }
        let codes = codes.split(',').filter(|code| !code.is_empty() && !code.starts_with('1'));
        theirs.extend(codes.map(|code| format!("{port} {code}")));
    }
    let mut ours = ours(capture, "ftp", true);
    for fact in &mut ours {
        let (begin, _) = fact.split_once(" PASS ").unwrap_or((fact, ""));
        if begin.len() < fact.len() {
            *fact = format!("{begin} PASS ");
        }
    }
    Facts { ours, theirs }
}

fn ftp_suricata(capture: &Capture, reference: &Reference) -> Facts {
    let theirs: Vec<String> = reference
        .eve("ftp")
        .into_iter()
        .map(|event| {
            let ftp = &event["ftp"];
            let command = ftp["command"].as_str().unwrap_or_default().to_string();
            let data = ftp["command_data"].as_str().filter(|_| command != "PASS").unwrap_or_default();
            format!("{command} {data} {}", ftp["completion_code"][0].as_str().unwrap_or_default())
        })
        .collect();
    let ours = capture.messages("ftp").filter(|_| !theirs.is_empty()).map(|row| {
        let command = if row.text("exchange") == "reply" { "" } else { row.text("function") }.to_uppercase();
        let target = if command == "PASS" { "" } else { row.text("target") };
        format!("{command} {target} {}", row.text("status_code"))
    });
    Facts { ours: ours.collect(), theirs }
}

fn smtp(capture: &Capture, reference: &Reference) -> Facts {
    let mut theirs = Vec::new();
    for line in lines(reference) {
        let [port, commands, codes] = &line[..] else { continue };
        theirs.extend(
            commands.split(',').filter(|c| !c.is_empty()).map(|c| format!("{port} {} ", c.to_uppercase())),
        );
        let intermediate = ["334", "354"];
        let mut codes: Vec<&str> =
            codes.split(',').filter(|code| !code.is_empty() && !intermediate.contains(code)).collect();
        // Each line of a reply has its code there.
        codes.dedup();
        theirs.extend(codes.iter().map(|code| format!("{port} {code}")));
    }
    Facts { ours: ours(capture, "smtp", false), theirs }
}

fn pop3(capture: &Capture, reference: &Reference) -> Facts {
    let mut theirs = Vec::new();
    for line in lines(reference) {
        let [port, commands, indicators] = &line[..] else { continue };
        theirs.extend(
            commands.split(',').filter(|c| !c.is_empty()).map(|c| format!("{port} {} ", c.to_uppercase())),
        );
        theirs.extend(indicators.split(',').filter(|i| i.len() > 1).map(|i| format!("{port} {i}")));
    }
    Facts { ours: ours(capture, "pop3", false), theirs }
}

fn imap(capture: &Capture, reference: &Reference) -> Facts {
    let mut theirs = Vec::new();
    for line in lines(reference) {
        let [port, _, commands, tags, statuses] = &line[..] else { continue };
        let known = commands.split(',').filter(|c| !c.is_empty());
        theirs.extend(known.map(|c| format!("{port} {} ", c.to_uppercase())));
        let tagged = tags.split(',').zip(statuses.split(','));
        theirs.extend(
            tagged
                .filter(|(tag, _)| *tag != "*" && !tag.is_empty())
                .map(|(_, status)| format!("{port} {status}")),
        );
    }
    let mut ours = ours(capture, "imap", false);
    for fact in &mut ours {
        if let Some((begin, _)) = fact.split_once(" UID_") {
            *fact = format!("{begin} UID ");
        }
    }
    Facts { ours, theirs }
}

fn irc(capture: &Capture, reference: &Reference) -> Facts {
    let ours = capture
        .messages("irc")
        .map(|row| format!("{} {}", port(row, "client_port"), row.text("function").to_uppercase()));
    let mut theirs = Vec::new();
    for line in lines(reference) {
        let [port, requests, responses] = &line[..] else { continue };
        let all = [requests, responses].into_iter().flat_map(|list| list.split(','));
        // tshark goes on to read lines after STARTTLS.
        let is_word =
            |c: &&str| c.len() >= 3 && c.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
        theirs.extend(all.filter(is_word).map(|c| format!("{port} {c}")));
    }
    Facts { ours: ours.collect(), theirs }
}

fn ssdp(capture: &Capture, reference: &Reference) -> Facts {
    let ours = capture.messages("ssdp").map(|row| {
        let detail = row.detail();
        let server = detail["server"].as_str().unwrap_or_default();
        match row.text("function") {
            "search_response" => format!("{} 200 {server}", port(row, "server_port")),
            "search" => format!("{} M-SEARCH {server}", port(row, "client_port")),
            _ => format!("{} NOTIFY {server}", port(row, "client_port")),
        }
    });
    let theirs = lines(reference).into_iter().filter_map(|line| {
        let [port, method, code, server] = &line[..] else { return None };
        Some(format!("{port} {method}{code} {server}"))
    });
    Facts { ours: ours.collect(), theirs: theirs.collect() }
}

fn telnet(capture: &Capture, reference: &Reference) -> Facts {
    let verbs = [("will", "251"), ("wont", "252"), ("do", "253"), ("dont", "254")];
    let mut ours = Vec::new();
    for row in capture.messages("telnet").filter(|row| row.text("function") == "session") {
        let values: Vec<String> = serde_json::from_str(row.text("values")).unwrap_or_default();
        for value in values {
            let mut words = value.split(' ');
            let side = if words.next() == Some("client") { "client_port" } else { "server_port" };
            let verb = words.next().and_then(|verb| verbs.iter().find(|(name, _)| *name == verb));
            ours.push(format!("{} {}", port(row, side), verb.map_or("", |(_, number)| number)));
        }
    }
    let mut theirs = Vec::new();
    for line in lines(reference) {
        let [port, commands] = &line[..] else { continue };
        let negotiations = commands.split(',').filter(|c| verbs.iter().any(|(_, number)| number == c));
        theirs.extend(negotiations.map(|c| format!("{port} {c}")));
    }
    Facts { ours, theirs }
}
