//! C12.22 beside tshark: which services and responses there are, under which invocation.

use super::capture::{Capture, MessageRow};
use super::harness::{Facts, From, Protocol, Tool};
use super::reference::Reference;

pub const PROTOCOL: Protocol = Protocol {
    name: "c1222",
    folders: &["c1222"],
    tshark: &["c1222"],
    decisions: "",
    tools: &[Tool { name: "tshark", from: From::Tshark(TSHARK), compare: tshark }],
};

const TSHARK: &[&str] = &[
    "-Y",
    "c1222",
    "-T",
    "fields",
    "-e",
    "c1222.epsem.flags.security",
    "-e",
    "c1222.cmd",
    "-e",
    "c1222.called_AP_invocation_id",
    "-e",
    "c1222.calling_AP_invocation_id",
    "-e",
    "c1222.err",
];

fn tshark(capture: &Capture, reference: &Reference) -> Facts {
    let mut theirs = Vec::new();
    for line in reference.text().lines() {
        let [security, services, called, calling, responses] = line.split('\t').collect::<Vec<_>>()[..]
        else {
            panic!("{line}");
        };
        if security.ends_with('2') {
            // Encrypted: which of the two it is the called invocation tells.
            theirs.push(if called.is_empty() {
                format!("request {calling}")
            } else {
                format!("reply {called}")
            });
            continue;
        }
        let codes = services.split(',').chain(responses.split(',')).filter(|code| !code.is_empty());
        for code in codes {
            let code = u8::from_str_radix(code.trim_start_matches("0x"), 16).unwrap_or(0xff);
            let id = if code < 0x20 && !called.is_empty() { called } else { calling };
            theirs.push(format!("{id} {code}"));
        }
    }
    let ours = capture.messages("c1222").flat_map(|row| {
        let detail = row.detail();
        let (id, exchange) = (&detail["invocation_id"], row.text("exchange"));
        let encrypted = detail["security_mode"] == "ciphertext_authenticated";
        let fact = |code: &str, role: &str| {
            if encrypted { format!("{role} {id}") } else { format!("{id} {}", detail[code]) }
        };
        let request = (exchange != "reply").then(|| fact("service", "request"));
        let reply = (exchange != "request").then(|| fact("response", "reply"));
        [request, reply].into_iter().flatten()
    });
    Facts { ours: ours.collect(), theirs }
}
