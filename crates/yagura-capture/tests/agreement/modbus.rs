//! Modbus/TCP beside Suricata, Zeek and tshark.
//!
//! A row is turned back into the PDUs that it stands for, and those are read by the rules of the
//! tool, so that every field that the tool writes is compared: addresses, quantities, values,
//! masks, exception codes. Rows keep no bodies of files and programs (functions 20, 21 and 90) and
//! of identification (43) no more than the texts: there the function alone is compared.

use std::collections::BTreeSet;

use serde_json::Value;
use yagura_event::rows::OwnedRow;
use yagura_event::schema::Kind;

use super::capture::{Capture, MessageRow};
use super::harness::{Facts, From, Protocol, Tool};
use super::reference::{Layer, Record, Reference, eve_bytes};

pub const PROTOCOL: Protocol = Protocol {
    name: "modbus",
    folders: &["modbus"],
    tshark: &["mbtcp"],
    decisions: include_str!("modbus.yaml"),
    tools: &[
        Tool { name: "suricata", from: From::File("suricata/eve.json.gz"), compare: suricata },
        Tool { name: "zeek", from: From::File("zeek/modbus.log"), compare: zeek_log },
        Tool { name: "tshark", from: From::Tshark(TSHARK), compare: tshark },
        Tool { name: "zeek-events", from: From::File("zeek/output"), compare: zeek_events },
    ],
};

/// Port 5020 is pymodbus's.
const TSHARK: &[&str] =
    &["-o", "mbtcp.tcp.port:502,5020", "-Y", "mbtcp", "-T", "ek", "-J", "mbtcp modbus tcp ip"];

/// One message on the wire, as far as a row tells.
struct Message {
    client: String,
    server: String,
    request: bool,
    transaction: u64,
    unit: String,
    /// With the highest bit for an exception.
    function: u8,
    /// What follows the function.
    body: Option<Vec<u8>>,
}

/// Every message that the rows stand for; rows of bytes that are no frame stand for none.
fn messages(capture: &Capture) -> Vec<Message> {
    let mut out = Vec::new();
    let mut identity = None;
    for row in &capture.rows {
        if row.kind == Kind::Identity {
            identity = hex(&row.detail()["server_id"]);
        }
        let is_message = row.kind == Kind::Message && row.text("protocol") == "modbus";
        if !is_message || row.text("function") == "unreadable" {
            continue;
        }
        let (detail, exchange) = (row.detail(), row.text("exchange"));
        let function = detail["function"].as_u64().unwrap_or(0) as u8;
        let message = |request, function, body| Message {
            client: row.client(),
            server: row.server(),
            request,
            transaction: detail["transaction"].as_u64().unwrap_or(0),
            unit: row.text("session").to_string(),
            function,
            body,
        };
        if exchange != "reply" {
            out.push(message(true, function, request(row, &detail, function)));
        }
        if exchange != "request" {
            let exception = detail["exception"].as_u64();
            let server_id = identity.take();
            out.push(match exception {
                Some(code) => message(false, function | 0x80, Some(vec![code as u8])),
                None => message(false, function, response(row, &detail, function, server_id)),
            });
        }
    }
    out
}

fn hex(value: &Value) -> Option<Vec<u8>> {
    let digits = value.as_str()?.strip_prefix("0x")?.as_bytes();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.chunks(2).map(byte).collect()
}

/// The first address and the quantity of a row's target: `coil 3..7`, `coil 3`.
fn place(row: &OwnedRow) -> Option<(u16, u16)> {
    let (_, range) = row.text("target").split_once(' ')?;
    let number = |text: &str| text.parse::<u32>().ok();
    match range.split_once("..") {
        Some((first, last)) => {
            let (first, last) = (number(first)?, number(last)?);
            Some((first as u16, (last + 1 - first) as u16))
        }
        None => Some((number(range)? as u16, row.number("count").unwrap_or(0.0) as u16)),
    }
}

fn values(row: &OwnedRow) -> Vec<u16> {
    serde_json::from_str(row.text("values")).unwrap_or_default()
}

fn words(numbers: &[u16]) -> Vec<u8> {
    numbers.iter().flat_map(|n| n.to_be_bytes()).collect()
}

fn packed(bits: &[u16]) -> Vec<u8> {
    let byte = |eight: &[u16]| eight.iter().enumerate().fold(0, |b, (i, bit)| b | (*bit as u8) << i);
    bits.chunks(8).map(byte).collect()
}

/// A byte count and the bytes.
fn counted(bytes: Vec<u8>) -> Vec<u8> {
    let mut out = vec![bytes.len() as u8];
    out.extend(bytes);
    out
}

fn number(detail: &Value, name: &str) -> u16 {
    detail[name].as_u64().unwrap_or(0) as u16
}

/// What a single write carries: FF00 or 0000 for a coil, a register's value.
fn single(row: &OwnedRow, function: u8) -> Option<u16> {
    let value = values(row).first().copied()?;
    Some(if function == 5 { value * 0xff00 } else { value })
}

fn request(row: &OwnedRow, detail: &Value, function: u8) -> Option<Vec<u8>> {
    let (first, many) = place(row).unwrap_or((0, 0));
    let mut body = words(&[first, many]);
    match function {
        1..=4 => {}
        5 | 6 => body = words(&[first, single(row, function)?]),
        15 => body.extend(counted(packed(&values(row)))),
        16 => body.extend(counted(words(&values(row)))),
        22 => body = words(&[first, number(detail, "and_mask"), number(detail, "or_mask")]),
        23 => {
            let read = [number(detail, "read_address"), number(detail, "read_quantity")];
            body = words(&[read[0], read[1], first, many]);
            let written = hex(&detail["written"]).unwrap_or_else(|| words(&values(row)));
            body.extend(counted(written));
        }
        24 => body = words(&[first]),
        8 => {
            body = words(&[number(detail, "sub_function")]);
            body.extend(hex(&detail["data"]).unwrap_or_default());
        }
        43 => {
            body = vec![number(detail, "mei") as u8];
            body.extend(hex(&detail["data"]).unwrap_or_default());
        }
        20 | 21 | 90 => return None,
        _ => body = hex(&detail["data"]).unwrap_or_default(),
    }
    Some(body)
}

fn response(row: &OwnedRow, detail: &Value, function: u8, server_id: Option<Vec<u8>>) -> Option<Vec<u8>> {
    let (first, many) = place(row).unwrap_or((0, 0));
    let alone = row.text("exchange") == "reply";
    Some(match function {
        1 | 2 if alone => counted(hex(&detail["data"]).unwrap_or_default()),
        1 | 2 => counted(packed(&values(row))),
        3 | 4 | 23 => counted(words(&values(row))),
        5 | 6 => words(&[first, single(row, function)?]),
        15 | 16 => words(&[first, many]),
        7 => values(row).iter().map(|v| *v as u8).collect(),
        8 => {
            let mut body = words(&[number(detail, "sub_function")]);
            match values(row).first() {
                Some(counter) => body.extend(words(&[*counter])),
                None => body.extend(hex(&detail["data"]).unwrap_or_default()),
            }
            body
        }
        11 => words(&[number(detail, "state"), single(row, 11)?]),
        17 => counted(server_id?),
        22 => words(&[first, number(detail, "and_mask"), number(detail, "or_mask")]),
        20 | 21 | 24 | 43 | 90 => return None,
        _ => hex(&detail["reply_data"]).unwrap_or_default(),
    })
}

/// What is said of a PDU, in the tools' words and as far as they and the rows tell.
#[derive(Default)]
struct Said(String);

impl Said {
    fn number(mut self, name: &str, value: impl std::fmt::Display) -> Said {
        self.0.push_str(&format!(" {name}={value}"));
        self
    }

    fn bytes(mut self, name: &str, bytes: &[u8]) -> Said {
        self.0.push_str(&format!(" {name}="));
        bytes.iter().for_each(|b| self.0.push_str(&format!("{b:02x}")));
        self
    }
}

/// Functions whose bodies the rows do not keep, in that direction.
fn kept_back(request: bool, function: u8) -> bool {
    matches!(function, 20 | 21 | 90) || (!request && matches!(function, 24 | 43))
}

/// Reads a PDU as Suricata does, which takes it for what its direction makes it.
fn as_suricata_reads(request: bool, function: u8, body: Option<&[u8]>) -> String {
    let word = |at: usize| body.and_then(|b| Some(u16::from_be_bytes([*b.get(at)?, *b.get(at + 1)?])));
    let rest = |at: usize| body.and_then(|b| b.get(at..)).unwrap_or_default();
    let said = Said::default();
    let two = |said: Said, second| {
        let address = word(0)?;
        Some(said.number("address", address).number(second, word(2)?))
    };
    let whole = || Said::default().bytes("data", rest(0));
    match function {
        _ if kept_back(request, function) => said,
        0x80.. => said.number("exception", rest(0).first().copied().unwrap_or(0)),
        1..=4 if request => two(said, "quantity").unwrap_or_else(whole),
        1..=4 => said.bytes("data", rest(1)),
        15 | 16 if request && rest(0).len() >= 5 => {
            two(said, "quantity").unwrap_or_else(whole).bytes("data", rest(5))
        }
        15 | 16 if request => whole(),
        5 | 6 | 15 | 16 => two(said, "data").unwrap_or_else(whole),
        8 => said.number("diagnostic", word(0).unwrap_or(0)).bytes("data", rest(2)),
        43 => said.number("mei", rest(0).first().copied().unwrap_or(0)).bytes("data", rest(1)),
        _ => whole(),
    }
    .0
}

fn line(from: &str, to: &str, request: bool, ids: (u64, &str), function: u8, said: &str) -> String {
    let kind = if request { "request" } else { "response" };
    format!("{from}>{to} {kind} {}/{}/{function}{said}", ids.0, ids.1)
}

/// Suricata names the end that it takes for the client as the source. Where the capture begins
/// midway that is the sender of the first packet: then its reading of a PDU is that of the other
/// direction. What it makes of it is still compared, and the mistake itself is one difference a
/// connection.
fn suricata(capture: &Capture, reference: &Reference) -> Facts {
    let mut facts = Facts::default();
    let mut ends = BTreeSet::new();
    for event in reference.eve("modbus") {
        let end = |ip, port| format!("{}:{}", event[ip].as_str().unwrap_or(""), event[port]);
        let (client, server) = (end("src_ip", "src_port"), end("dest_ip", "dest_port"));
        ends.insert((client.clone(), server.clone()));
        for (name, is_request) in [("request", true), ("response", false)] {
            let message = &event["modbus"][name];
            if message.is_object() {
                let function = number(message, "function_raw") as u8;
                let unit = message["unit_id"].to_string();
                let ids = (message["transaction_id"].as_u64().unwrap_or(0), &*unit);
                let said = suricata_says(message, is_request, function);
                facts.theirs.push(line(&client, &server, is_request, ids, function, &said));
            }
        }
    }
    let mut mistaken = BTreeSet::new();
    for m in messages(capture) {
        let turned = (m.server.clone(), m.client.clone());
        let reversed = ends.contains(&turned) && !ends.contains(&(m.client.clone(), m.server.clone()));
        let request = m.request != reversed;
        let said = as_suricata_reads(request, m.function, m.body.as_deref());
        let (from, to) = if reversed { (&turned.0, &turned.1) } else { (&m.client, &m.server) };
        facts.ours.push(line(from, to, request, (m.transaction, &m.unit), m.function, &said));
        if reversed {
            mistaken.insert(turned);
        }
    }
    for (server, client) in mistaken {
        facts.ours.push(format!("client is {client}, server {server}"));
        facts.theirs.push(format!("client is {server}, server {client}"));
    }
    facts
}

/// The fields of Suricata's event, in the words of [`as_suricata_reads`].
fn suricata_says(message: &Value, request: bool, function: u8) -> String {
    let mut said = Said::default();
    if kept_back(request, function) {
        return said.0;
    }
    if let Some(code) = message["exception"]["raw"].as_u64() {
        said = said.number("exception", code);
    }
    for part in ["read", "write", "diagnostic", "mei", "data"] {
        let fields = &message[part];
        if let Some(raw) = fields["raw"].as_u64() {
            said = said.number(part, raw);
        }
        for name in ["address", "quantity"] {
            if let Some(value) = fields[name].as_u64() {
                said = said.number(name, value);
            }
        }
        let data = if part == "data" { fields } else { &fields["data"] };
        match data {
            Value::String(text) => said = said.bytes("data", &eve_bytes(text)),
            Value::Number(value) => said = said.number("data", value),
            _ => {}
        }
    }
    said.0
}

/// tshark tells requests from responses by the port.
fn tshark(capture: &Capture, reference: &Reference) -> Facts {
    let ours = |m: Message| {
        let said = as_tshark_reads(m.request, m.function, m.body.as_deref().unwrap_or_default());
        line(&m.client, &m.server, m.request, (m.transaction, &m.unit), m.function, &said)
    };
    let theirs = |layer: Layer| {
        let (header, ip, tcp) = (layer.beside("mbtcp"), layer.beside("ip"), layer.beside("tcp"));
        let field = |name: &str| header.first(&format!("mbtcp_mbtcp_{name}"));
        let end = |which: &str| {
            let (ip, tcp) = (ip.first(&format!("ip_ip_{which}")), tcp.first(&format!("tcp_tcp_{which}port")));
            (format!("{ip}:{tcp}"), matches!(&*tcp, "502" | "5020"))
        };
        let ((source, answers), (destination, _)) = (end("src"), end("dst"));
        let (client, server) = if answers { (destination, source) } else { (source, destination) };
        let exception = layer.first("modbus_modbus_exception_code");
        let refused = if exception.is_empty() { 0 } else { 0x80 };
        let function = layer.first("modbus_modbus_func_code").parse().unwrap_or(0) | refused;
        let ids = (field("trans_id").parse().unwrap_or(0), &*field("unit_id"));
        line(&client, &server, !answers, ids, function, &tshark_says(&layer, !answers, function))
    };
    Facts {
        ours: messages(capture).into_iter().map(ours).collect(),
        theirs: reference.ek("modbus").into_iter().map(theirs).collect(),
    }
}

/// Reads a PDU into the fields that tshark has.
fn as_tshark_reads(request: bool, function: u8, body: &[u8]) -> String {
    let word = |at: usize| match body.get(at..at + 2) {
        Some(&[a, b]) => u16::from_be_bytes([a, b]),
        _ => 0,
    };
    let rest = |at: usize| body.get(at..).unwrap_or_default();
    let said = Said::default();
    match function {
        0x80.. => said.number("exception", rest(0).first().copied().unwrap_or(0)),
        1..=4 if request => said.number("reference", word(0)).number("count", word(2)),
        1..=4 => said.bytes("values", rest(1)),
        5 | 6 => said.number("reference", word(0)).bytes("values", &word(2).to_be_bytes()),
        15 | 16 if request => {
            said.number("reference", word(0)).number("count", word(2)).bytes("values", rest(5))
        }
        15 | 16 => said.number("reference", word(0)).number("count", word(2)),
        22 => said.number("reference", word(0)).number("and", word(2)).number("or", word(4)),
        23 if request => said
            .number("read", word(0))
            .number("count", word(2))
            .number("write", word(4))
            .number("count", word(6))
            .bytes("values", rest(9)),
        23 => said.bytes("values", rest(1)),
        8 => said.number("diagnostic", word(0)),
        43 if request => said.number("mei", rest(0).first().copied().unwrap_or(0)),
        7 | 11 | 12 | 17 | 20 | 21 | 24 | 43 | 90 => said,
        _ => said.bytes("data", body),
    }
    .0
}

/// The same fields of tshark's.
fn tshark_says(layer: &Layer, request: bool, function: u8) -> String {
    let all = |name: &str| layer.all(&format!("modbus_modbus_{name}"));
    let value = |name: &str| -> u16 {
        let text = all(name).into_iter().next().unwrap_or_default();
        let hex = text.strip_prefix("0x").map(|digits| u16::from_str_radix(digits, 16));
        hex.unwrap_or_else(|| text.parse()).unwrap_or(0)
    };
    let data = || -> Vec<u8> {
        let text = all("data").concat();
        text.split(':').filter_map(|digits| u8::from_str_radix(digits, 16).ok()).collect()
    };
    let registers = || words(&all("regval_uint16").iter().filter_map(|v| v.parse().ok()).collect::<Vec<_>>());
    let bits = || packed(&all("bitval").iter().map(|v| u16::from(v == "true")).collect::<Vec<_>>());
    let said = Said::default();
    match function {
        0x80.. => said.number("exception", value("exception_code")),
        1 | 2 if request => {
            said.number("reference", value("reference_num")).number("count", value("bit_cnt"))
        }
        3 | 4 if request => {
            said.number("reference", value("reference_num")).number("count", value("word_cnt"))
        }
        1 | 2 => said.bytes("values", &bits()),
        3 | 4 => said.bytes("values", &registers()),
        5 | 6 => {
            let data = data();
            said.number("reference", value("reference_num")).bytes("values", data.get(..2).unwrap_or(&[0, 0]))
        }
        15 if request => {
            let count = said.number("reference", value("reference_num")).number("count", value("bit_cnt"));
            count.bytes("values", &data())
        }
        16 if request => {
            let count = said.number("reference", value("reference_num")).number("count", value("word_cnt"));
            count.bytes("values", &registers())
        }
        15 => said.number("reference", value("reference_num")).number("count", value("bit_cnt")),
        16 => said.number("reference", value("reference_num")).number("count", value("word_cnt")),
        22 => said
            .number("reference", value("reference_num"))
            .number("and", value("and_mask"))
            .number("or", value("or_mask")),
        23 if request => said
            .number("read", value("read_reference_num"))
            .number("count", value("read_word_cnt"))
            .number("write", value("write_reference_num"))
            .number("count", value("write_word_cnt"))
            .bytes("values", &data()),
        23 => said.bytes("values", &data()),
        8 => said.number("diagnostic", value("diagnostic_code")),
        43 if request => said.number("mei", value("mei")),
        7 | 11 | 12 | 17 | 20 | 21 | 24 | 43 | 90 => said,
        _ => said.bytes("data", &data()),
    }
    .0
}

/// Zeek's log: transaction, unit, function, direction, exception.
fn zeek_log(capture: &Capture, reference: &Reference) -> Facts {
    let theirs = |r: Record| {
        let request = r.get("pdu_type") == "REQ";
        let tid = r.get("tid").parse().unwrap_or(0);
        let code = exception_code(r.get("exception"));
        let said = code.map_or_else(String::new, |c| format!(" exception={c}"));
        line(&r.client(), &r.server(), request, (tid, r.get("unit")), function_code(r.get("func")), &said)
    };
    let ours = |m: Message| {
        let code = m.body.as_ref().filter(|_| m.function >= 0x80).and_then(|b| b.first());
        let said = code.map_or_else(String::new, |c| format!(" exception={c}"));
        line(&m.client, &m.server, m.request, (m.transaction, &m.unit), m.function, &said)
    };
    Facts {
        ours: messages(capture).into_iter().map(ours).collect(),
        theirs: reference.zeek().into_iter().map(theirs).collect(),
    }
}

/// Zeek's names of functions.
fn function_code(name: &str) -> u8 {
    if let Some(plain) = name.strip_suffix("_EXCEPTION") {
        return function_code(plain) | 0x80;
    }
    match name {
        "READ_COILS" => 1,
        "READ_DISCRETE_INPUTS" => 2,
        "READ_HOLDING_REGISTERS" => 3,
        "READ_INPUT_REGISTERS" => 4,
        "WRITE_SINGLE_COIL" => 5,
        "WRITE_SINGLE_REGISTER" => 6,
        "READ_EXCEPTION_STATUS" => 7,
        "DIAGNOSTICS" => 8,
        "WRITE_MULTIPLE_COILS" => 15,
        "WRITE_MULTIPLE_REGISTERS" => 16,
        "REPORT_SLAVE_ID" => 17,
        "MASK_WRITE_REGISTER" => 22,
        "READ_WRITE_MULTIPLE_REGISTERS" => 23,
        other => match other.strip_prefix("unknown-").map(str::parse) {
            Some(Ok(code)) => code,
            _ => panic!("Zeek's function {name} has no number here: add it"),
        },
    }
}

fn exception_code(name: &str) -> Option<u8> {
    Some(match name {
        "" => return None,
        "ILLEGAL_FUNCTION" => 1,
        "ILLEGAL_DATA_ADDRESS" => 2,
        "ILLEGAL_DATA_VALUE" => 3,
        "SLAVE_DEVICE_FAILURE" => 4,
        _ => panic!("Zeek's exception {name} has no number here: add it"),
    })
}

/// What a Zeek script printed: every message's header, and the values of coils.
fn zeek_events(capture: &Capture, reference: &Reference) -> Facts {
    let mut facts = Facts::default();
    for m in messages(capture) {
        let ids = (m.transaction, &*m.unit);
        let length = m.body.as_ref().map_or(0, |b| b.len() + 2);
        let say = |said: &str| line(&m.client, &m.server, m.request, ids, m.function, said);
        facts.ours.push(say(&format!(" length={length}")));
        let body = m.body.as_deref().unwrap_or_default();
        let values = match (m.function, m.request, body) {
            (1, true, [a, b, c, d]) => {
                format!("{}, {}", u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d]))
            }
            (1, false, [_, bytes @ ..]) => {
                let bits = bytes.iter().flat_map(|b| (0..8).map(move |i| b >> i & 1 == 1));
                let flags: Vec<_> = bits.map(|bit| if bit { "T" } else { "F" }).collect();
                format!("[{}]", flags.join(", "))
            }
            (5, _, [a, b, on, _]) => {
                let flag = if *on == 0 { "F" } else { "T" };
                format!("{}, {flag}", u16::from_be_bytes([*a, *b]))
            }
            _ => continue,
        };
        facts.ours.push(say(&format!(" values {values}")));
    }
    facts.theirs = reference.text().lines().filter_map(zeek_event).collect();
    facts
}

/// `1 modbus_message, [orig_h=…, …], [tid=…, …, len=4], F` or, for instance,
/// `1 modbus_write_single_coil_request, […], […], 1, T`.
fn zeek_event(text: &str) -> Option<String> {
    let (event, rest) = text.strip_prefix("1 modbus_")?.split_once(", ")?;
    let field = |name: &str| {
        let at = rest.find(&format!("{name}="))? + name.len() + 1;
        rest[at..].split([',', ']', '/']).next()
    };
    let end = |host, port| Some(format!("{}:{}", field(host)?, field(port)?));
    let (client, server) = (end("orig_h", "orig_p")?, end("resp_h", "resp_p")?);
    let after = rest.split_once("len=")?.1;
    let (length, values) = after.split_once("], ")?;
    let (request, said) = match event {
        "message" => (values == "T", format!(" length={length}")),
        _ => (event.ends_with("_request"), format!(" values {values}")),
    };
    let ids = (field("tid")?.parse().ok()?, field("uid")?);
    Some(line(&client, &server, request, ids, field("function_code")?.parse().ok()?, &said))
}
