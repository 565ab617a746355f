//! LDAP beside tshark and Zeek: every message with its id and operation, who binds and how, what is
//! searched with which filter and how much is found, results. Passwords are in nobody's facts.

use super::capture::{Capture, MessageRow};
use super::harness::{Facts, From, Protocol, Tool};
use super::reference::Reference;

pub const PROTOCOL: Protocol = Protocol {
    name: "ldap",
    folders: &["ldap", "kerberos"],
    tshark: &["ldap", "cldap"],
    decisions: "",
    tools: &[
        Tool { name: "tshark", from: From::Tshark(MESSAGES), compare: messages },
        Tool { name: "tshark-search", from: From::Tshark(SEARCHES), compare: searches },
        Tool { name: "zeek", from: From::File("zeek/ldap.log"), compare: zeek },
        Tool {
            name: "zeek-krb",
            from: From::File("zeek/krb.ldap.log"),
            compare: |c, r| of_both(c, r, false, zeek),
        },
        Tool {
            name: "zeek-ntlm",
            from: From::File("zeek/ntlm.ldap.log"),
            compare: |c, r| of_both(c, r, true, zeek),
        },
        Tool { name: "zeek-search", from: From::File("zeek/ldap_search.log"), compare: zeek_searches },
        Tool {
            name: "zeek-krb-search",
            from: From::File("zeek/krb.ldap_search.log"),
            compare: |c, r| of_both(c, r, false, zeek_searches),
        },
        Tool {
            name: "zeek-ntlm-search",
            from: From::File("zeek/ntlm.ldap_search.log"),
            compare: |c, r| of_both(c, r, true, zeek_searches),
        },
    ],
};

#[rustfmt::skip]
const MESSAGES: &[&str] = &[
    "-Y", "ldap || cldap", "-d", "tcp.port==32681,ldap", "-E", "aggregator=|", "-T", "fields",
    "-e", "ip.src", "-e", "ipv6.src", "-e", "tcp.srcport", "-e", "udp.srcport",
    "-e", "ldap.messageID", "-e", "ldap.protocolOp", "-e", "ldap.resultCode",
];

#[rustfmt::skip]
const SEARCHES: &[&str] = &[
    "-Y", "ldap.protocolOp", "-d", "tcp.port==32681,ldap", "-E", "aggregator=|", "-T", "fields",
    "-e", "ip.src", "-e", "ipv6.src", "-e", "tcp.srcport", "-e", "udp.srcport",
    "-e", "ldap.name", "-e", "ldap.baseObject", "-e", "ldap.scope", "-e", "ldap.derefAliases",
    "-e", "ldap.object", "-e", "ldap.entry", "-e", "ldap.requestName", "-e", "ldap.mechanism",
];

/// Result codes, by name.
#[rustfmt::skip]
const RESULTS: &[(&str, u64)] = &[
    ("", 0), ("operationsError", 1), ("protocolError", 2), ("timeLimitExceeded", 3),
    ("sizeLimitExceeded", 4), ("compareFalse", 5), ("compareTrue", 6), ("authMethodNotSupported", 7),
    ("strongerAuthRequired", 8), ("referral", 10), ("unavailableCriticalExtension", 12),
    ("confidentialityRequired", 13), ("saslBindInProgress", 14), ("noSuchAttribute", 16),
    ("constraintViolation", 19), ("noSuchObject", 32), ("invalidDNSyntax", 34),
    ("invalidCredentials", 49), ("insufficientAccessRights", 50), ("busy", 51), ("unavailable", 52),
    ("unwillingToPerform", 53), ("entryAlreadyExists", 68), ("other", 80),
];

/// Numbers of an operation and of its result.
fn operation(function: &str) -> (u64, u64) {
    match function {
        "bind" => (0, 1),
        "unbind" => (2, 99),
        "search" => (3, 5),
        "modify" => (6, 7),
        "add" => (8, 9),
        "delete" => (10, 11),
        "modify_dn" => (12, 13),
        "compare" => (14, 15),
        "abandon" => (16, 99),
        _ => (23, 24),
    }
}

fn result(name: &str) -> u64 {
    RESULTS.iter().find(|(known, _)| *known == name).map_or(999, |(_, code)| *code)
}

fn messages(capture: &Capture, reference: &Reference) -> Facts {
    let mut facts = Facts::default();
    for row in capture.messages("ldap") {
        let (detail, exchange) = (row.detail(), row.text("exchange"));
        let (asked, answered) = operation(row.text("function"));
        let id = &detail["message"];
        if exchange != "reply" {
            facts.ours.push(format!("{} {id} {asked}", row.client()));
        }
        let found = row.number("count").unwrap_or(0.0) as usize;
        if asked == 3 {
            for _ in 0..found {
                facts.ours.push(format!("{} {id} 4", row.server()));
            }
            for _ in 0..detail["references"].as_u64().unwrap_or(0) {
                facts.ours.push(format!("{} {id} 19", row.server()));
            }
        }
        if exchange != "request" {
            let code = match row.text("status") {
                "malformed" => detail["result"].as_str().unwrap_or(""),
                _ => row.text("status_code"),
            };
            facts.ours.push(format!("{} {id} {answered} {}", row.server(), result(code)));
        }
    }
    for line in reference.text().lines() {
        let columns: Vec<&str> = line.split('\t').collect();
        let column = |at: usize| columns.get(at).copied().unwrap_or_default();
        let source = source(&columns);
        let mut codes = column(6).split('|');
        for (id, number) in column(4).split('|').zip(column(5).split('|')) {
            if id.is_empty() {
                continue;
            }
            let answers = matches!(number, "1" | "5" | "7" | "9" | "11" | "13" | "15" | "24");
            let code = if answers { format!(" {}", codes.next().unwrap_or("")) } else { String::new() };
            facts.theirs.push(format!("{source} {id} {number}{code}"));
        }
    }
    facts
}

fn source(columns: &[&str]) -> String {
    let column = |at: usize| columns.get(at).copied().unwrap_or_default();
    let either = |a: usize, b: usize| if column(a).is_empty() { column(b) } else { column(a) };
    format!("{}:{}", either(0, 1), either(2, 3))
}

/// What requests are about: names, bases with scope and aliases, identifiers, mechanisms.
fn searches(capture: &Capture, reference: &Reference) -> Facts {
    let mut facts = Facts::default();
    for row in capture.messages("ldap").filter(|row| row.text("exchange") != "reply") {
        let (detail, target, client) = (row.detail(), row.text("target"), row.client());
        match row.text("function") {
            "bind" => {
                let mechanism = detail["sasl"].as_str().unwrap_or("");
                // A name that only the token has is not the request's.
                let account = detail["user"].is_string() && target.contains('\\');
                let name = if account { "" } else { target };
                facts.ours.push(format!("{client} bind {name} {mechanism}"));
            }
            "search" => {
                let scope = ["base_object", "single_level", "whole_subtree"];
                let scope = scope.iter().position(|s| detail["scope"] == *s).unwrap_or(9);
                let aliases = ["never", "in_searching", "finding_base", "always"];
                let aliases = aliases.iter().position(|s| detail["dereference"] == *s).unwrap_or(9);
                facts.ours.push(format!("{client} search {target} {scope} {aliases}"));
            }
            "unbind" | "abandon" => {}
            _ => facts.ours.push(format!("{client} other {target}")),
        }
    }
    for line in reference.text().lines() {
        let columns: Vec<&str> = line.split('\t').collect();
        let column = |at: usize| columns.get(at).copied().unwrap_or_default();
        let source = source(&columns);
        let list = |at: usize| column(at).split('|').collect::<Vec<_>>();
        if !column(6).is_empty() {
            let (bases, scopes, aliases) = (list(5), list(6), list(7));
            for (at, scope) in scopes.iter().enumerate() {
                let (base, aliases) = (bases.get(at).unwrap_or(&""), aliases.get(at).unwrap_or(&""));
                facts.theirs.push(format!("{source} search {base} {scope} {aliases}"));
            }
        }
        for at in [8, 9, 10] {
            for name in list(at).iter().filter(|name| !name.is_empty()) {
                facts.theirs.push(format!("{source} other {name}"));
            }
        }
        for name in list(4).iter().filter(|name| !name.is_empty()) {
            facts.theirs.push(format!("{source} bind {name} {}", column(11)));
        }
    }
    // The other tool leaves empty names out, and with them what they belong to.
    facts.ours.retain(|fact| !fact.contains(" bind  "));
    facts.theirs.retain(|fact| !fact.contains(" bind  "));
    facts
}

/// The logs of two captures lie beside each: those that bind by NTLM are of the one of that name.
fn of_both(
    capture: &Capture,
    reference: &Reference,
    ntlm: bool,
    compare: fn(&Capture, &Reference) -> Facts,
) -> Facts {
    let own = capture.path.ends_with("zeek__ldap_aduser1-ntlm.pcap") == ntlm;
    if own { compare(capture, reference) } else { Facts::default() }
}

/// Zeek's name of a result.
fn zeek_result(code: &str) -> String {
    match code {
        "" => "success".to_string(),
        "saslBindInProgress" => "SASL bind in progress".to_string(),
        other => {
            let mut out = String::new();
            for c in other.chars() {
                if c.is_ascii_uppercase() {
                    out.push(' ');
                }
                out.push(c.to_ascii_lowercase());
            }
            out
        }
    }
}

fn zeek(capture: &Capture, reference: &Reference) -> Facts {
    let records = reference.zeek();
    // Each of their files is of one connection of the capture's.
    let clients: Vec<String> = records.iter().map(|record| record.client()).collect();
    let ours = capture.messages("ldap").filter(|row| {
        let wanted = clients.contains(&row.client()) && row.text("function") != "search";
        wanted && (row.text("exchange") == "pair" || row.text("function") != "abandon")
    });
    let ours = ours.map(|row| {
        let detail = row.detail();
        let function = match (row.text("function"), detail["authentication"].as_str()) {
            ("bind", Some("simple")) => "bind simple".to_string(),
            ("bind", Some("sasl")) => "bind SASL".to_string(),
            ("bind", Some(sicily)) => sicily.to_string(),
            ("who_am_i" | "start_tls", _) => "extended".to_string(),
            (other, _) => other.to_string(),
        };
        let result = match row.text("exchange") {
            "pair" => zeek_result(row.text("status_code")),
            _ => String::new(),
        };
        let name = detail["sasl"].as_str().unwrap_or("");
        let target = row.text("target");
        let object = if target.contains('\\') { "" } else { target };
        format!("{} {} {function} {result} {object} {name}", row.client(), detail["message"])
    });
    let theirs = records.iter().map(|record| {
        let argument = match record.get("argument") {
            "REDACTED" | "NTLMSSP" => "",
            other => other,
        };
        let object = record.get("object").split(' ').next().unwrap_or("");
        // What is added is not in their log where nobody answered.
        format!(
            "{} {} {} {} {object} {argument}",
            record.client(),
            record.get("message_id"),
            record.get("opcode"),
            record.get("result")
        )
    });
    let theirs: Vec<String> = theirs.collect();
    let without = |fact: String| if fact.contains(" add ") { trimmed(&fact) } else { fact };
    Facts { ours: ours.map(without).collect(), theirs: theirs.into_iter().map(without).collect() }
}

/// A fact up to its operation.
fn trimmed(fact: &str) -> String {
    fact.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

fn zeek_searches(capture: &Capture, reference: &Reference) -> Facts {
    let records = reference.zeek();
    let clients: Vec<String> = records.iter().map(|record| record.client()).collect();
    let ours = capture
        .messages("ldap")
        .filter(|row| row.text("function") == "search" && clients.contains(&row.client()));
    let ours = ours.map(|row| {
        let detail = row.detail();
        let scope = match detail["scope"].as_str() {
            Some("base_object") => "base",
            Some("single_level") => "single",
            Some("whole_subtree") => "tree",
            _ => "?",
        };
        let found = row.number("count").unwrap_or(0.0);
        format!(
            "{} {} {scope} {} {} {found} {} {}",
            row.client(),
            detail["message"],
            detail["dereference"].as_str().unwrap_or(""),
            row.text("target"),
            zeek_result(row.text("status_code")),
            leaves(detail["filter"].as_str().unwrap_or(""))
        )
    });
    let theirs = records.iter().map(|record| {
        format!(
            "{} {} {} {} {} {} {} {}",
            record.client(),
            record.get("message_id"),
            record.get("scope"),
            record.get("deref_aliases"),
            record.get("base_object"),
            record.get("result_count"),
            record.get("result"),
            leaves(record.get("filter"))
        )
    });
    Facts { ours: ours.collect(), theirs: theirs.collect() }
}

/// A filter without its conjunctions: Zeek writes one of three as one of two within another.
fn leaves(filter: &str) -> String {
    filter
        .split('(')
        .filter(|part| !matches!(*part, "" | "&" | "|"))
        .collect::<Vec<_>>()
        .join("(")
        .replace(')', "")
}
