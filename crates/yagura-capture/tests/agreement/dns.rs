//! DNS beside Zeek (questions, codes, answers) and tshark (every message with its types, names
//! and addresses; multicast and link-local ones, too).

use super::capture::{Capture, MessageRow};
use super::harness::{Facts, From, Protocol, Tool};
use super::reference::Reference;

pub const PROTOCOL: Protocol = Protocol {
    name: "dns",
    folders: &["dns", "l2l4_robustness"],
    tshark: &["dns", "mdns", "llmnr", "nbns"],
    decisions: include_str!("dns.yaml"),
    tools: &[
        Tool { name: "zeek", from: From::File("zeek/dns.log"), compare: zeek },
        Tool { name: "zeek-ed25519", from: From::File("zeek/dns.ed25519.log"), compare: zeek_answers },
        Tool { name: "tshark", from: From::TsharkWhereSeen(TSHARK), compare: tshark },
    ],
};

#[rustfmt::skip]
const TSHARK: &[&str] = &[
    "-Y", "(dns or mdns or llmnr) and not icmp and not icmpv6", "-T", "fields", "-E", "occurrence=a", "-E", "aggregator=|",
    "-e", "dns.id", "-e", "dns.flags.response", "-e", "dns.qry.name", "-e", "dns.qry.type",
    "-e", "dns.flags.rcode", "-e", "dns.count.answers", "-e", "dns.resp.type", "-e", "dns.a", "-e", "dns.aaaa",
    "-e", "dns.cname", "-e", "dns.ns", "-e", "dns.ptr.domain_name", "-e", "dns.mx.mail_exchange",
    "-e", "dns.soa.mname", "-e", "dns.flags.authoritative", "-e", "dns.flags.truncated", "-e", "dns.flags.opcode",
];

/// Types whose answers are one name or one address, in the order of tshark's columns above.
const SHOWN: [(&str, &str); 7] =
    [("A", "1"), ("AAAA", "28"), ("CNAME", "5"), ("NS", "2"), ("PTR", "12"), ("MX", "15"), ("SOA", "6")];

#[rustfmt::skip]
const TYPES: &[(&str, &str)] = &[
    ("A", "1"), ("NS", "2"), ("CNAME", "5"), ("SOA", "6"), ("NULL", "10"), ("PTR", "12"), ("HINFO", "13"), ("MX", "15"),
    ("TXT", "16"), ("AAAA", "28"), ("LOC", "29"), ("SRV", "33"), ("NAPTR", "35"), ("DNAME", "39"), ("OPT", "41"),
    ("DS", "43"), ("SSHFP", "44"), ("RRSIG", "46"), ("NSEC", "47"), ("DNSKEY", "48"), ("NSEC3", "50"), ("NSEC3PARAM", "51"),
    ("TLSA", "52"), ("SVCB", "64"), ("HTTPS", "65"), ("SPF", "99"), ("TKEY", "249"), ("TSIG", "250"), ("IXFR", "251"),
    ("AXFR", "252"), ("ANY", "255"), ("CAA", "257"),
];

fn number_of(name: &str) -> &str {
    TYPES.iter().find(|(known, _)| *known == name).map_or(name.trim_start_matches("TYPE"), |(_, n)| n)
}

fn list(json: &str) -> Vec<String> {
    let values: Vec<serde_json::Value> = serde_json::from_str(json).unwrap_or_default();
    values.iter().map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_string)).collect()
}

/// Types and texts of a row's answers.
fn answers(row: &yagura_event::rows::OwnedRow) -> Vec<(String, String)> {
    let types = list(&row.detail()["answer_types"].to_string());
    types.into_iter().zip(list(row.text("values"))).collect()
}

/// Notifications and updates have records of their own in the request, which their rows keep.
fn carries_answers(row: &yagura_event::rows::OwnedRow) -> bool {
    !matches!(row.text("function"), "update" | "notify")
}

fn is_shown(kind: &str) -> bool {
    SHOWN.iter().any(|(name, _)| *name == kind)
}

fn zeek(capture: &Capture, reference: &Reference) -> Facts {
    let ours = capture.messages("dns").map(|row| {
        let detail = row.detail();
        let replied = row.text("exchange") != "request";
        let code = match (replied, row.text("status_code")) {
            (false, _) => "",
            (true, "") => "NOERROR",
            (true, code) => code,
        };
        let query = if detail["type"].is_null() { "" } else { row.text("target") };
        // Zeek takes the flags of a response that has an answer.
        let answered = replied && !answers(row).is_empty() && carries_answers(row);
        let flag = |name: &str| if answered && detail[name] == true { 'T' } else { 'F' };
        let texts: Vec<String> = answers(row)
            .into_iter()
            .filter(|(kind, text)| is_shown(kind) && !text.is_empty() && answered)
            .map(|(_, text)| text.to_lowercase())
            .collect();
        format!(
            "{} {} {} {code} {}{}{} {}",
            row.client(),
            detail["id"],
            query.to_lowercase(),
            flag("aa"),
            flag("tc"),
            flag("ra"),
            texts.join(",")
        )
    });
    let theirs = reference.zeek().into_iter().map(|record| {
        let plain = |text: &&str| {
            !text.contains(' ') && !text.contains(':') || text.parse::<std::net::Ipv6Addr>().is_ok()
        };
        let flag = |name: &str| if record.get("answers").is_empty() { "F" } else { record.get(name) };
        let texts: Vec<String> =
            record.get("answers").split(',').filter(plain).map(str::to_lowercase).collect();
        format!(
            "{} {} {} {} {}{}{} {}",
            record.client(),
            record.get("trans_id"),
            record.get("query").to_lowercase(),
            record.get("rcode_name"),
            flag("AA"),
            flag("TC"),
            flag("RA"),
            texts.join(",")
        )
    });
    Facts { ours: ours.collect(), theirs: theirs.collect() }
}

/// A log that was cut down to names, types and answers.
fn zeek_answers(capture: &Capture, reference: &Reference) -> Facts {
    let ours = capture.messages("dns").map(|row| {
        let kind = row.detail()["type"].as_str().unwrap_or_default().to_string();
        let shown = answers(row).into_iter().filter(|(kind, _)| is_shown(kind));
        let texts: Vec<String> = shown.map(|(_, text)| text).collect();
        format!("{} {kind} {} {}", row.text("client"), row.text("target"), texts.join(","))
    });
    let theirs = reference.zeek().into_iter().map(|record| {
        let named = |text: &&str| text.contains('.') && !text.contains(' ');
        let texts: Vec<&str> = record.get("answers").split(',').filter(named).collect();
        format!(
            "{} {} {} {}",
            record.get("id.orig_h"),
            record.get("qtype_name"),
            record.get("query"),
            texts.join(",")
        )
    });
    Facts { ours: ours.collect(), theirs: theirs.collect() }
}

fn tshark(capture: &Capture, reference: &Reference) -> Facts {
    let mut facts = Facts::default();
    for row in capture.messages("dns") {
        if row.text("function").starts_with("nbns") {
            continue;
        }
        let detail = row.detail();
        let kind = detail["type"].as_str().map_or("", number_of);
        let name = if kind.is_empty() { "" } else { row.text("target") };
        let id = detail["id"].as_u64().unwrap_or(0);
        if row.text("exchange") != "reply" {
            facts.ours.push(format!("{id:04x} query {name} {kind}"));
        }
        if row.text("exchange") != "request" {
            let all = if carries_answers(row) { answers(row) } else { Vec::new() };
            let types: Vec<&str> = all.iter().map(|(kind, _)| number_of(kind)).collect();
            let shown = all.iter().filter(|(kind, _)| is_shown(kind));
            let texts: Vec<&str> = shown.map(|(_, text)| text.as_str()).collect();
            let flag = |name: &str| u8::from(detail[name] == true);
            let code = row.text("status_code");
            let code = if code.is_empty() { "NOERROR" } else { code };
            facts.ours.push(format!(
                "{id:04x} response {name} {kind} {code} {}{} {} {}",
                flag("aa"),
                flag("tc"),
                types.join(","),
                texts.join(",")
            ));
        }
    }
    for line in reference.text().lines() {
        let column: Vec<&str> = line.split('\t').collect();
        let first = |at: usize| column[at].split('|').next().unwrap_or_default();
        let id = u16::from_str_radix(first(0).trim_start_matches("0x"), 16).unwrap_or(0);
        let name = if first(2) == "<Root>" { "." } else { first(2) };
        let kind = first(3);
        if !matches!(first(1), "1" | "True") {
            facts.theirs.push(format!("{id:04x} query {name} {kind}"));
            continue;
        }
        // Records of updates and notifications are the request's.
        let own = !matches!(first(16), "4" | "5");
        let count: usize = if own { first(5).parse().unwrap_or(0) } else { 0 };
        let types: Vec<&str> = column[6].split('|').take(count).collect();
        let mut texts: Vec<_> = (0..SHOWN.len()).map(|at| column[7 + at].split('|')).collect();
        let mut shown = Vec::new();
        for kind in &types {
            if let Some(at) = SHOWN.iter().position(|(_, number)| number == kind) {
                shown.push(texts[at].next().unwrap_or_default().replace("<Root>", "."));
            }
        }
        facts.theirs.push(format!(
            "{id:04x} response {name} {kind} {} {}{} {} {}",
            code(first(4)),
            first(14),
            first(15),
            types.join(","),
            shown.join(",")
        ));
    }
    facts
}

fn code(number: &str) -> &'static str {
    const CODES: [&str; 12] = [
        "NOERROR",
        "FORMERR",
        "SERVFAIL",
        "NXDOMAIN",
        "NOTIMP",
        "REFUSED",
        "YXDOMAIN",
        "YXRRSET",
        "NXRRSET",
        "NOTAUTH",
        "NOTZONE",
        "DSOTYPENI",
    ];
    number.parse().ok().and_then(|at: usize| CODES.get(at)).copied().unwrap_or("unassigned_rcode")
}
