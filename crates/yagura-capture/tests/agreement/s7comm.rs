//! S7comm beside ICSNPP's logs and tshark: who, kind of PDU, reference, function and error of every
//! message; identification lists; blocks.

use yagura_event::rows::OwnedRow;
use yagura_event::schema::Kind;

use super::capture::{Capture, MessageRow};
use super::harness::{Facts, From, Protocol, Tool};
use super::reference::Reference;

pub const PROTOCOL: Protocol = Protocol {
    name: "s7comm",
    folders: &["s7comm"],
    tshark: &["s7comm"],
    decisions: include_str!("s7comm.yaml"),
    tools: &[
        Tool { name: "icsnpp", from: From::File("icsnpp/s7comm.log"), compare: icsnpp },
        Tool { name: "icsnpp-szl", from: From::File("icsnpp/s7comm_read_szl.log"), compare: lists },
        Tool { name: "tshark", from: From::Tshark(TSHARK), compare: tshark },
    ],
};

const TSHARK: &[&str] = &["-Y", "s7comm", "-T", "ek", "-J", "s7comm ip tcp"];

/// One PDU as far as a row tells: sender, receiver, user data or not, whether it answers,
/// reference, function or group with subfunction.
struct Message {
    from: String,
    to: String,
    userdata: bool,
    answers: bool,
    reference: u64,
    function: u64,
    subfunction: u64,
}

fn messages(capture: &Capture) -> Vec<Message> {
    let mut out = Vec::new();
    for row in &capture.rows {
        if row.kind != Kind::Message || row.text("protocol") != "s7comm" {
            continue;
        }
        let detail = row.detail();
        let Some(reference) = detail["pdu_reference"].as_u64() else {
            continue;
        };
        let group = detail["group"].as_u64();
        for answers in [false, true] {
            if row.text("exchange") == if answers { "request" } else { "reply" } {
                continue;
            }
            let (from, to) =
                if answers { (row.server(), row.client()) } else { (row.client(), row.server()) };
            out.push(Message {
                from,
                to,
                userdata: group.is_some(),
                answers,
                reference,
                function: group.or(detail["function"].as_u64()).unwrap_or(0),
                subfunction: detail["subfunction"].as_u64().unwrap_or(0),
            });
        }
    }
    out
}

fn line(m: &Message) -> String {
    let kind = match (m.userdata, m.answers) {
        (false, false) => "job",
        (false, true) => "ack",
        (true, false) => "userdata",
        (true, true) => "userdata response",
    };
    let sub = if m.userdata { format!("/{}", m.subfunction) } else { String::new() };
    format!("{}>{} {kind} {} {}{sub}", m.from, m.to, m.reference, m.function)
}

fn ours(capture: &Capture) -> Vec<String> {
    messages(capture).iter().map(line).collect()
}

fn number(text: &str) -> u64 {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    }
    .unwrap_or(0)
}

/// ICSNPP writes the PDU reference with its low byte first; the wire has the high one first.
fn swapped(text: &str) -> u64 {
    u64::from((number(text) as u16).swap_bytes())
}

fn icsnpp(capture: &Capture, reference: &Reference) -> Facts {
    let theirs = |r: super::reference::Record| {
        let userdata = r.get("rosctr_code") == "7";
        let function = number(r.get("function_code"));
        line(&Message {
            from: format!("{}:{}", r.get("source_h"), r.get("source_p")),
            to: format!("{}:{}", r.get("destination_h"), r.get("destination_p")),
            userdata,
            answers: if userdata { function >> 4 == 8 } else { r.get("rosctr_code") != "1" },
            reference: swapped(r.get("pdu_reference")),
            function: if userdata { function & 15 } else { function },
            subfunction: number(r.get("subfunction_code")),
        })
    };
    Facts { ours: ours(capture), theirs: reference.zeek().into_iter().map(theirs).collect() }
}

fn tshark(capture: &Capture, reference: &Reference) -> Facts {
    let theirs = |layer: super::reference::Layer| {
        let (ip, tcp) = (layer.beside("ip"), layer.beside("tcp"));
        let end = |which: &str| {
            format!("{}:{}", ip.first(&format!("ip_ip_{which}")), tcp.first(&format!("tcp_tcp_{which}port")))
        };
        let field = |name: &str| number(&layer.first(&format!("s7comm_s7comm_{name}")));
        let userdata = field("header_rosctr") == 7;
        line(&Message {
            from: end("src"),
            to: end("dst"),
            userdata,
            answers: if userdata { field("param_userdata_type") == 8 } else { field("header_rosctr") != 1 },
            reference: field("header_pduref"),
            function: if userdata { field("param_userdata_funcgroup") } else { field("param_func") },
            subfunction: subfunction(&layer),
        })
    };
    Facts { ours: ours(capture), theirs: reference.ek("s7comm").into_iter().map(theirs).collect() }
}

/// tshark names the field by the group.
fn subfunction(layer: &super::reference::Layer) -> u64 {
    ["prog", "cyclic", "block", "cpu", "sec", "time"]
        .into_iter()
        .map(|group| layer.first(&format!("s7comm_s7comm_param_userdata_subfunc_{group}")))
        .chain([layer.first("s7comm_s7comm_param_userdata_subfunc")])
        .find(|text| !text.is_empty())
        .map_or(0, |text| number(&text))
}

/// Reads of lists: who asked, which list, which part.
fn lists(capture: &Capture, reference: &Reference) -> Facts {
    let place = |row: &&OwnedRow| {
        row.kind == Kind::Message && row.text("function") == "read_szl" && !row.text("target").is_empty()
    };
    let ours = capture
        .rows
        .iter()
        .filter(place)
        .map(|row| format!("{} {} {}", row.client(), row.detail()["pdu_reference"], row.text("target")));
    let theirs = reference.zeek().into_iter().filter(|r| r.get("method") == "Request").map(|r| {
        let hex = |name| number(r.get(name));
        format!(
            "{} {} SZL 0x{:04x}/0x{:04x}",
            r.client(),
            swapped(r.get("pdu_reference")),
            hex("szl_id"),
            hex("szl_index")
        )
    });
    Facts { ours: ours.collect(), theirs: theirs.collect() }
}
