//! HSMS and SECS-II beside tshark.
//!
//! The rows give the headers: session, system bytes, stream and function, whether a reply is
//! wanted, how control messages ended. The items are compared one by one, as the SECS-II reader
//! finds them in the reassembled stream: format, length and every value. The same items must stand
//! in the row, which shows them as JSON: that is compared as a third fact, wherever the row shows
//! a message whole (recipe bodies are hidden, long messages cut).

use std::collections::HashMap;

use serde_json::Value;
use yagura_dissect::secs2::{Format, Item};
use yagura_dissect::{Carrier, Cx, Dissector, FlowInfo, Outcome, Probe, Side};
use yagura_event::rows::{LogRow, OwnedRow, Row};
use yagura_event::schema::Kind;

use super::capture::{self, Capture, MessageRow};
use super::harness::{Facts, From, Protocol, Tool};
use super::reference::{Layer, Reference};

pub const PROTOCOL: Protocol = Protocol {
    name: "hsms",
    folders: &["hsms"],
    tshark: &["hsms"],
    decisions: include_str!("hsms.yaml"),
    tools: &[
        Tool { name: "tshark-headers", from: From::File("tshark/*.ek.json.gz"), compare: headers },
        Tool { name: "tshark-items", from: From::File("tshark/*.ek.json.gz"), compare: items },
        Tool { name: "tshark-values", from: From::File("tshark/*.ek.json.gz"), compare: shown },
    ],
};

/// A Reject's session: its row has that of the message that it rejects.
const UNKNOWN: &str = "-";

/// What identifies a message in both: `S1F13`, session and system bytes.
fn name(header: &str, session: &str, system: &str) -> String {
    format!("{header} {session}/{system}")
}

/// Headers: the rows' beside tshark's.
fn headers(capture: &Capture, reference: &Reference) -> Facts {
    let mut facts = Facts::default();
    for row in capture.messages("hsms") {
        row_headers(row, &mut facts.ours);
    }
    facts.theirs = reference.ek("hsms").iter().map(layer_header).collect();
    facts
}

fn layer_header(layer: &Layer) -> String {
    let first = |field: &str| layer.first(&format!("hsms_hsms_header_{field}"));
    let (session, system) = (first("sessionid"), first("system"));
    match first("stype").as_str() {
        "0" => {
            let header = format!("S{}F{}", first("stream"), first("function"));
            format!("{} wbit={}", name(&header, &session, &system), first("wbit") == "true")
        }
        stype => {
            let header = control_name(stype);
            let says = stype == "7" || header.ends_with(".rsp");
            let status = if says { first("statusbyte3") } else { "0".into() };
            let session = if stype == "7" { UNKNOWN } else { &session };
            format!("{} status={status}", name(header, session, &system))
        }
    }
}

fn control_name(stype: &str) -> &'static str {
    match stype {
        "1" => "Select.req",
        "2" => "Select.rsp",
        "3" => "Deselect.req",
        "4" => "Deselect.rsp",
        "5" => "Linktest.req",
        "6" => "Linktest.rsp",
        "7" => "Reject.req",
        "9" => "Separate.req",
        _ => "unknown",
    }
}

/// The one or two messages that a row stands for.
fn row_headers(row: &OwnedRow, out: &mut Vec<String>) {
    let (detail, function) = (row.detail(), row.text("function"));
    let system = detail["system"].to_string();
    let session = row.text("session");
    let code = row.text("status_code").rsplit('=').next().unwrap_or("");
    let status = if code.is_empty() || code.parse::<u8>().is_err() { "0" } else { code };
    let rejected = detail["reply"] == "Reject.req";
    let reject = || format!("{} status={status}", name("Reject.req", UNKNOWN, &system));
    let data = stream_and_function(function);
    match (row.text("exchange"), data) {
        (exchange @ ("pair" | "request"), Some((stream, number))) => {
            let wanted = exchange == "pair" || row.text("status") != "one_way";
            out.push(format!("{} wbit={wanted}", name(function, session, &system)));
            if exchange == "pair" && rejected {
                out.push(reject());
            } else if exchange == "pair" {
                let answer = if detail["reply"] == "F0" { 0 } else { number + 1 };
                let reply = format!("S{stream}F{answer}");
                out.push(format!("{} wbit=false", name(&reply, session, &system)));
            }
        }
        (_, Some(_)) => out.push(format!("{} wbit=false", name(function, session, &system))),
        ("pair", None) => {
            out.push(format!("{} status=0", name(function, session, &system)));
            if rejected {
                out.push(reject());
            } else {
                let reply = function.replace(".req", ".rsp");
                out.push(format!("{} status={status}", name(&reply, session, &system)));
            }
        }
        (_, None) if function == "Reject.req" => out.push(reject()),
        (_, None) => out.push(format!("{} status={status}", name(function, session, &system))),
    }
}

fn stream_and_function(function: &str) -> Option<(u8, u16)> {
    let (stream, function) = function.strip_prefix('S')?.split_once('F')?;
    Some((stream.parse().ok()?, function.parse().ok()?))
}

/// Items: those of the SECS-II reader beside tshark's.
fn items(capture: &Capture, reference: &Reference) -> Facts {
    Facts {
        ours: texts(capture)
            .into_iter()
            .map(|(name, text)| format!("{name} {}", tree(read(&text).as_ref())))
            .collect(),
        theirs: data_layers(reference)
            .map(|(name, layer)| format!("{name} {}", tree(layer_node(&layer).as_ref())))
            .collect(),
    }
}

fn data_layers(reference: &Reference) -> impl Iterator<Item = (String, Layer)> {
    let data = reference.ek("hsms").into_iter();
    data.filter(|l| l.first("hsms_hsms_header_stype") == "0").map(|layer| {
        let first = |field: &str| layer.first(&format!("hsms_hsms_header_{field}"));
        let header = format!("S{}F{}", first("stream"), first("function"));
        (name(&header, &first("sessionid"), &first("system")), layer)
    })
}

/// Keeps every data message's name and text, cut out of the stream at the lengths alone.
static WHOLE: &[yagura_dissect::Protocol] = &[yagura_dissect::Protocol {
    name: "whole",
    carriers: &[Carrier::tcp(&[])],
    probe: |_| Probe::Yes,
    start: |_: &FlowInfo| Box::new(Whole),
    buffer_bytes_max: 16 << 20,
}];

struct Whole;

impl Dissector for Whole {
    fn parse(&mut self, cx: &mut Cx<'_>, _: Side, bytes: &[u8]) -> Outcome {
        let mut at = 0;
        while let Some((length, rest)) = bytes[at..].split_first_chunk::<4>() {
            let Some(message) = rest.get(..u32::from_be_bytes(*length) as usize) else {
                break;
            };
            at += 4 + message.len();
            let [s1, s0, stream, function, _, stype, y3, y2, y1, y0, text @ ..] = message else {
                continue;
            };
            if *stype != 0 {
                continue;
            }
            let header = format!("S{}F{function}", stream & 0x7f);
            let session = u16::from_be_bytes([*s1, *s0]).to_string();
            let system = u32::from_be_bytes([*y3, *y2, *y1, *y0]).to_string();
            let text: String = text.iter().map(|b| format!("{b:02x}")).collect();
            cx.out.push(Row::Log(&LogRow {
                event: &name(&header, &session, &system),
                description: &text,
                ..LogRow::default()
            }));
        }
        Outcome::Consumed(at)
    }

    fn gap(&mut self, _: &mut Cx<'_>, _: Side, _: u64) {}
    fn expire(&mut self, _: &mut Cx<'_>) {}
    fn close(&mut self, _: &mut Cx<'_>) {}
}

/// Every data message of the capture with its text.
fn texts(capture: &Capture) -> Vec<(String, Vec<u8>)> {
    let mut rows: Vec<OwnedRow> = Vec::new();
    capture.read_with(WHOLE, &mut rows);
    let byte = |pair: &[u8]| std::str::from_utf8(pair).ok().and_then(|p| u8::from_str_radix(p, 16).ok());
    rows.iter()
        .filter(|r| r.kind == Kind::Log)
        .map(|r| {
            let digits = r.text("description").as_bytes();
            (r.text("event").to_string(), digits.chunks(2).filter_map(byte).collect())
        })
        .collect()
}

/// One item: what both the reader and tshark say of it.
struct Node {
    /// The format code.
    code: u8,
    /// Elements of a list, bytes of everything else.
    length: usize,
    /// Its values; none of a list.
    values: Vec<String>,
    children: Vec<Node>,
}

/// A number as exactly as tshark writes it: 6 digits of an F4, 15 of an F8, all of an integer.
fn number(code: u8, value: f64) -> String {
    match code {
        // From the four bytes, not from the shorter text that stands for them.
        0o44 => format!("{:.5e}", f64::from(value as f32)),
        _ => format!("{value:.14e}"),
    }
}

fn is_float(code: u8) -> bool {
    matches!(code, 0o40 | 0o44)
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// tshark ends a text at its first NUL and shows what is not ASCII as a replacement.
fn as_tshark_shows(text: impl Iterator<Item = char>) -> String {
    let until = text.take_while(|c| *c != '\0');
    until.map(|c| if c.is_ascii() { c } else { char::REPLACEMENT_CHARACTER }).collect()
}

/// A message's items as the SECS-II reader finds them.
fn read(text: &[u8]) -> Option<Node> {
    Item::message(text).unwrap_or_else(|e| panic!("{e}")).map(node)
}

fn node(item: Item<'_>) -> Node {
    let code = item.format().code();
    let values = match item.format() {
        Format::List => Vec::new(),
        Format::Binary => vec![hexadecimal(item.data())],
        Format::Ascii | Format::Jis8 | Format::Unicode => {
            vec![as_tshark_shows(item.data().iter().map(|b| char::from(*b)))]
        }
        Format::Boolean => item.data().iter().map(|b| (*b != 0).to_string()).collect(),
        // An array's values one by one: the whole numbers from the bytes, so that none is rounded.
        format => (0..item.count())
            .map(|index| match item.data().chunks(format.width()).nth(index) {
                Some(_) if is_float(code) => number(code, item.number(index).unwrap_or(f64::NAN)),
                Some(bytes) => whole(format, bytes),
                None => String::new(),
            })
            .collect(),
    };
    let length = if item.is_list() { item.count() } else { item.data().len() };
    Node { code, length, values, children: item.children().map(node).collect() }
}

fn whole(format: Format, bytes: &[u8]) -> String {
    let raw = bytes.iter().fold(0u64, |n, b| n << 8 | u64::from(*b));
    match format {
        Format::I1 | Format::I2 | Format::I4 | Format::I8 => {
            let shift = 64 - 8 * bytes.len() as u32;
            (((raw << shift) as i64) >> shift).to_string()
        }
        _ => raw.to_string(),
    }
}

/// tshark's items: formats and lengths in the message's order, values by type in the same order.
fn layer_node(layer: &Layer) -> Option<Node> {
    let field = |name: &str| layer.all(&format!("hsms_hsms_data_item_{name}")).into_iter();
    let (mut formats, mut lengths) = (field("format"), field("length"));
    let mut values = HashMap::new();
    let mut next = || -> Option<(u8, usize, Vec<String>)> {
        let (code, length) = (formats.next()?.parse().ok()?, lengths.next()?.parse().ok()?);
        let (kind, width) = match code {
            0o00 => return Some((code, length, Vec::new())),
            0o10 => ("binary", 0),
            0o11 => ("boolean", 1),
            0o20..=0o22 => ("string", 0),
            0o30 => ("int64", 8),
            0o31 => ("int8", 1),
            0o32 => ("int16", 2),
            0o34 => ("int32", 4),
            0o40 => ("double", 8),
            0o44 => ("float", 4),
            0o50 => ("uint64", 8),
            0o51 => ("uint8", 1),
            0o52 => ("uint16", 2),
            _ => ("uint32", 4),
        };
        let all = values.entry(kind).or_insert_with(|| field(&format!("value_{kind}")));
        // Texts and binary are one value of any length.
        let count = length.checked_div(width).unwrap_or(1);
        let some = all.take(count).map(|v| match code {
            0o10 => v.replace(':', ""),
            _ if is_float(code) => number(code, v.parse().unwrap_or(f64::NAN)),
            _ => v,
        });
        Some((code, length, some.collect()))
    };
    build(&mut next)
}

fn build(next: &mut dyn FnMut() -> Option<(u8, usize, Vec<String>)>) -> Option<Node> {
    let (code, length, values) = next()?;
    let many = if code == 0 { length } else { 0 };
    let children = (0..many).map_while(|_| build(next)).collect();
    Some(Node { code, length, values, children })
}

/// The items as one text: format code, length, values.
fn tree(node: Option<&Node>) -> String {
    let Some(node) = node else {
        return "none".into();
    };
    let children: Vec<String> = node.children.iter().map(|c| tree(Some(c))).collect();
    format!("{:o}:{}{:?}{}", node.code, node.length, node.values, children.concat())
}

/// Values: what the rows show, beside tshark's items.
fn shown(capture: &Capture, reference: &Reference) -> Facts {
    let nodes: HashMap<String, Option<Node>> =
        texts(capture).into_iter().map(|(name, text)| (name, read(&text))).collect();
    let mut facts = Facts::default();
    for row in capture.messages("hsms") {
        let mut names = Vec::new();
        row_headers(row, &mut names);
        let values: Value = serde_json::from_str(row.text("values")).unwrap_or_default();
        let parts: &[&str] = match row.text("exchange") {
            "pair" => &["request", "reply"],
            "request" => &["request"],
            _ => &["reply"],
        };
        for (name, part) in names.iter().zip(parts) {
            let Some((name, _)) = name.split_once(" wbit=") else {
                continue;
            };
            let node = nodes.get(name).and_then(Option::as_ref);
            facts.ours.push(format!("{name} {}", json_values(&values[part], node)));
        }
    }
    let theirs = data_layers(reference);
    facts.theirs =
        theirs.map(|(name, layer)| format!("{name} {}", node_values(layer_node(&layer).as_ref()))).collect();
    facts
}

/// The values of an item as the rows' JSON shows them.
fn node_values(node: Option<&Node>) -> String {
    let Some(node) = node else {
        return "nothing".into();
    };
    match (node.code, &node.values[..]) {
        (0, _) => {
            let children: Vec<String> = node.children.iter().map(|c| node_values(Some(c))).collect();
            format!("[{}]", children.join(","))
        }
        (0o10, [hex]) => format!("0x{hex}"),
        (0o10, _) => "0x".into(),
        (0o20..=0o22, [text]) => format!("{text:?}"),
        (0o20..=0o22, _) => "\"\"".into(),
        (_, [one]) => one.clone(),
        (_, many) => format!("[{}]", many.join(",")),
    }
}

/// The JSON that a row shows for an item, whose formats say how exactly numbers are compared.
fn json_values(value: &Value, node: Option<&Node>) -> String {
    let code = node.map_or(0, |n| n.code);
    match value {
        Value::Null if node.is_none() => "nothing".into(),
        Value::Null => "hidden".into(),
        Value::Array(elements) => {
            let child = |i: usize| node.and_then(|n| if n.code == 0 { n.children.get(i) } else { Some(n) });
            let texts = elements.iter().enumerate().map(|(i, e)| json_values(e, child(i)));
            format!("[{}]", texts.collect::<Vec<_>>().join(","))
        }
        Value::Number(n) if is_float(code) => number(code, n.as_f64().unwrap_or(f64::NAN)),
        Value::String(text) if code == 0o10 => text.clone(),
        Value::String(text) => format!("{:?}", as_tshark_shows(text.chars())),
        other => other.to_string(),
    }
}

#[test]
fn recipes_have_a_direction_a_length_and_a_hash() {
    let Some(captures) = capture::folder() else {
        return;
    };
    let capture = Capture::read(&captures.join("hsms/secsgem_eqActive_700kBrecipe_reject_deselect.pcap"));
    // A start command carries its recipe's hash as well; only a body has a length.
    let bodies: Vec<_> = capture.messages("hsms").filter(|r| r.number("body_bytes").is_some()).collect();
    assert_eq!(bodies.len(), 3, "two S7F3 and one S7F6");
    for row in &bodies {
        let written = row.text("function") == "S7F3";
        let expected = if written { "recipe.write" } else { "recipe.read" };
        assert_eq!((row.text("operation"), row.text("body_hmac").len()), (expected, 64));
    }
    assert!(bodies.iter().any(|r| r.number("body_bytes") == Some(700_000.0)));
}
