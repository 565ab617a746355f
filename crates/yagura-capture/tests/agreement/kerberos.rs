//! Kerberos beside tshark and Zeek: every message with its type, names, encryption and error; what
//! tickets are presented in the tokens of SMB and LDAP.

use super::capture::{Capture, MessageRow};
use super::harness::{Facts, From, Protocol, Tool};
use super::reference::Reference;

pub const PROTOCOL: Protocol = Protocol {
    name: "kerberos",
    folders: &["kerberos", "ldap"],
    tshark: &["kerberos"],
    decisions: "",
    tools: &[
        Tool { name: "tshark", from: From::Tshark(MESSAGES), compare: messages },
        Tool { name: "zeek", from: From::File("zeek/kerberos.log"), compare: zeek },
        Tool { name: "zeek-ldap", from: From::File("zeek/krb.kerberos.log"), compare: zeek_ldap },
    ],
};

#[rustfmt::skip]
const MESSAGES: &[&str] = &[
    "-Y", "kerberos && (tcp.port == 88 || udp.port == 88)", "-E", "aggregator=|", "-T", "fields",
    "-e", "ip.src", "-e", "ipv6.src", "-e", "udp.srcport", "-e", "tcp.srcport",
    "-e", "kerberos.msg_type", "-e", "kerberos.error_code", "-e", "kerberos.CNameString",
    "-e", "kerberos.SNameString", "-e", "kerberos.realm", "-e", "kerberos.crealm",
];

/// Types of a request and of its answer.
fn kinds(function: &str) -> (u64, u64) {
    match function {
        "as_req" => (10, 11),
        "tgs_req" => (12, 13),
        "ap_req" => (14, 15),
        _ => (0, 30),
    }
}

fn messages(capture: &Capture, reference: &Reference) -> Facts {
    let mut facts = Facts::default();
    for row in capture.messages("kerberos") {
        let (detail, exchange) = (row.detail(), row.text("exchange"));
        let (asked, answered) = kinds(row.text("function"));
        let text = |name: &str| detail[name].as_str().unwrap_or("").to_string();
        let (client, service, realm) = (text("client"), row.text("target"), text("realm"));
        if exchange != "reply" {
            // Who asks for a service is in the answer only.
            let client = if asked == 12 { "" } else { &*client };
            facts.ours.push(format!("{} {asked} {client} {service} {realm}", row.client()));
        }
        if exchange != "request" {
            match detail["error"].as_u64() {
                Some(error) => facts.ours.push(format!("{} 30 {error}", row.server())),
                None if answered == 13 => facts.ours.push(format!("{} 13 {client}", row.server())),
                None => facts.ours.push(format!("{} {answered}", row.server())),
            }
        }
    }
    for line in reference.text().lines() {
        let columns: Vec<&str> = line.split('\t').collect();
        let column = |at: usize| columns.get(at).copied().unwrap_or_default();
        let either = |a: usize, b: usize| if column(a).is_empty() { column(b) } else { column(a) };
        let source = format!("{}:{}", either(0, 1), either(2, 3));
        let first = |at: usize| column(at).split('|').next().unwrap_or("");
        match first(4) {
            "" => {}
            "30" => facts.theirs.push(format!("{source} 30 {}", first(5))),
            "13" => facts.theirs.push(format!("{source} 13 {}", column(6).replace('|', "/"))),
            kind @ ("11" | "15") => facts.theirs.push(format!("{source} {kind}")),
            kind => {
                // A request for a service has the ticket that it presents before its own names,
                // which has two parts.
                let names: Vec<&str> = column(7).split('|').collect();
                let own = if kind == "12" { names.get(2..).unwrap_or_default() } else { &names[..] };
                let realm = column(8).split('|').next_back().unwrap_or("");
                let client = column(6).replace('|', "/");
                facts.theirs.push(format!("{source} {kind} {client} {} {realm}", own.join("/")));
            }
        }
    }
    facts
}

/// Zeek's names of errors.
#[rustfmt::skip]
const ERRORS: &[(&str, &str)] = &[
    ("KDC_ERR_NAME_EXP", "CLIENT EXPIRED"), ("KDC_ERR_C_PRINCIPAL_UNKNOWN", "CLIENT_NOT_FOUND"),
    ("KDC_ERR_S_PRINCIPAL_UNKNOWN", "SERVER_NOT_FOUND"), ("KDC_ERR_CLIENT_REVOKED", "LOCKED_OUT"),
    ("KDC_ERR_BADOPTION", "TICKET NOT RENEWABLE"), ("KDC_ERR_ETYPE_NOSUPP", "CANT_FIND_CLIENT_KEY"),
    ("KDC_ERR_KEY_EXPIRED", "CLIENT KEY EXPIRED"), ("KRB_AP_ERR_BAD_INTEGRITY", "PREAUTH_FAILED"),
];

fn zeek(capture: &Capture, reference: &Reference) -> Facts {
    let records = reference.zeek();
    let clients: Vec<String> = records.iter().map(|record| record.client()).collect();
    let mut facts = Facts::default();
    for row in capture.messages("kerberos").filter(|row| clients.contains(&row.client())) {
        let detail = row.detail();
        let text = |name: &str| detail[name].as_str().unwrap_or("").to_string();
        let kind = match row.text("function") {
            "as_req" => "AS",
            "tgs_req" => "TGS",
            _ => "AP",
        };
        let (success, error) = match (row.text("exchange"), detail["error"].is_u64()) {
            ("request", _) => ("", ""),
            (_, true) => {
                let code = row.text("status_code");
                ("F", ERRORS.iter().find(|(ours, _)| *ours == code).map_or(code, |(_, theirs)| theirs))
            }
            _ => ("T", ""),
        };
        // Zeek leaves out that pre-authentication is required.
        if error == "KDC_ERR_PREAUTH_REQUIRED" {
            continue;
        }
        let client = text("client");
        let client = if client.is_empty() { String::new() } else { format!("{client}/{}", text("realm")) };
        let options: Vec<&str> =
            detail["options"].as_array().into_iter().flatten().filter_map(|o| o.as_str()).collect();
        let flag = |name: &str| if options.contains(&name) { "T" } else { "F" };
        facts.ours.push(format!(
            "{} {kind} {client} {} {success} {error} {} {} {} {} {}",
            row.client(),
            row.text("target"),
            seconds(&text("from")),
            seconds(&text("till")),
            text("ticket_cipher"),
            flag("forwardable"),
            flag("renewable"),
        ));
    }
    // Tickets that other protocols present.
    for protocol in ["smb", "ldap"] {
        let rows = capture.messages(protocol).filter(|row| clients.contains(&row.client()));
        for row in rows {
            let detail = row.detail();
            if detail["mechanism"] == "kerberos" && detail["service"].is_string() {
                let text = |name: &str| detail[name].as_str().unwrap_or("").to_string();
                facts.ours.push(format!(
                    "{} AP /{} {} {}",
                    row.client(),
                    text("realm"),
                    text("service"),
                    text("ticket_cipher")
                ));
            }
        }
    }
    for record in &records {
        let client = record.client();
        if record.get("request_type") == "AP" {
            facts.theirs.push(format!(
                "{client} AP {} {} {}",
                record.get("client"),
                record.get("service"),
                record.get("cipher")
            ));
            continue;
        }
        let whole = |column: &str| record.get(column).split('.').next().unwrap_or("").to_string();
        facts.theirs.push(format!(
            "{client} {} {} {} {} {} {} {} {} {} {}",
            record.get("request_type"),
            record.get("client"),
            record.get("service"),
            record.get("success"),
            record.get("error_msg"),
            whole("from"),
            whole("till"),
            record.get("cipher"),
            record.get("forwardable"),
            record.get("renewable"),
        ));
    }
    facts
}

/// The log lies beside two captures and is of the one that binds with Kerberos.
fn zeek_ldap(capture: &Capture, reference: &Reference) -> Facts {
    if capture.path.ends_with("zeek__ldap_aduser1-ntlm.pcap") {
        return Facts::default();
    }
    zeek(capture, reference)
}

/// Seconds since 1970 of a moment as it is shown.
fn seconds(moment: &str) -> String {
    let numbers: Vec<i64> =
        moment.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect();
    let [year, month, day, hour, minute, second] = numbers[..] else {
        return String::new();
    };
    // Days of the civil calendar, counted in years that begin in March.
    let year = if month <= 2 { year - 1 } else { year };
    let shifted = (month + 9) % 12;
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * shifted + 2) / 5 + day - 1 - 719_468;
    (((days * 24 + hour) * 60 + minute) * 60 + second).to_string()
}
