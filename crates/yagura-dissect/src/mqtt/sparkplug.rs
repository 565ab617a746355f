//! Sparkplug B: topics `spBv1.0/group/type/node[/device]` and their payloads, which are messages of
//! Protocol Buffers (`sparkplug_b.proto`; wire format of protobuf's encoding).
//!
//! Births name the metrics and give them aliases; data carries aliases alone. A node's sequence
//! number counts its messages modulo 256, so that a hole is seen.

use std::collections::BTreeMap;

use yagura_event::rows::IdentityRow;
use yagura_event::vocabulary::operation;

use crate::cursor::{Cursor, Cut};
use crate::exchange::Draft;
use crate::{Cx, Side, json};

const PREFIX: &str = "spBv1.0/";

/// Most nodes and devices, and most metrics of all of them, that a connection remembers.
const NODES_MAX: usize = 1024;
const METRICS_MAX: usize = 65_536;

/// What births said.
#[derive(Default)]
pub(super) struct Nodes {
    /// By `group/node[/device]`.
    nodes: BTreeMap<String, Node>,
    metrics: usize,
}

#[derive(Default)]
struct Node {
    /// By alias: name and data type.
    aliases: BTreeMap<u64, (String, u64)>,
    sequence: Option<u64>,
}

/// One metric of a payload.
#[derive(Default)]
struct Metric<'a> {
    name: &'a [u8],
    alias: Option<u64>,
    datatype: u64,
    null: bool,
    value: Value<'a>,
}

#[derive(Default)]
enum Value<'a> {
    #[default]
    None,
    Bits(u64),
    Number(f64),
    Bool(bool),
    Text(&'a [u8]),
    Other,
}

impl Nodes {
    /// Reads a payload into the draft when its topic is of Sparkplug; answers whether it was.
    pub(super) fn read(&mut self, cx: &mut Cx<'_>, side: Side, payload: &[u8], draft: &mut Draft) -> bool {
        let topic = draft.target.clone();
        let Some(path) = topic.strip_prefix(PREFIX) else { return false };
        let mut parts = path.splitn(4, '/');
        let (Some(group), Some(kind), Some(node)) = (parts.next(), parts.next(), parts.next()) else {
            return false;
        };
        let (function, operation) = match kind {
            "NBIRTH" => ("nbirth", operation::REPORT),
            "NDEATH" => ("ndeath", operation::REPORT),
            "NDATA" => ("ndata", operation::REPORT),
            "DBIRTH" => ("dbirth", operation::REPORT),
            "DDEATH" => ("ddeath", operation::REPORT),
            "DDATA" => ("ddata", operation::REPORT),
            "NCMD" => ("ncmd", operation::WRITE),
            "DCMD" => ("dcmd", operation::WRITE),
            _ => return false,
        };
        draft.function = function.into();
        draft.operation = operation;
        let name = match parts.next() {
            Some(device) => format!("{group}/{node}/{device}"),
            None => format!("{group}/{node}"),
        };
        json::member_text(&mut draft.detail, "sparkplug", &name);
        if let Err(cut) = self.payload(cx, side, &name, &format!("{group}/{node}"), payload, draft) {
            draft.wrong(cut);
        }
        true
    }

    fn payload(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        name: &str,
        node: &str,
        payload: &[u8],
        draft: &mut Draft,
    ) -> Result<(), Cut> {
        let birth = draft.function.ends_with("birth");
        let command = draft.function.ends_with("cmd");
        if birth && let Some(old) = self.nodes.remove(name) {
            self.metrics -= old.aliases.len();
        }
        let mut facts = Facts::default();
        let mut cursor = Cursor::new(payload);
        while !cursor.is_empty() {
            match field(&mut cursor)? {
                (2, Field::Bytes(bytes)) => {
                    let metric = metric(bytes)?;
                    self.metric(cx, side, name, &metric, (birth, command), draft, &mut facts);
                }
                (3, Field::Varint(sequence)) if !command => self.sequence(node, sequence, draft),
                _ => {}
            }
        }
        if birth && !facts.is_empty() {
            let row = IdentityRow {
                vendor: &facts.vendor,
                model: &facts.model,
                firmware: &facts.firmware,
                name,
                ..IdentityRow::default()
            };
            cx.identity(super::NAME, side, row);
        }
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "one metric and all that it may change")]
    fn metric(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        of: &str,
        metric: &Metric<'_>,
        (birth, command): (bool, bool),
        draft: &mut Draft,
        facts: &mut Facts,
    ) {
        let given = String::from_utf8_lossy(metric.name);
        if birth
            && let Some(alias) = metric.alias
            && self.metrics < METRICS_MAX
            && let Some(node) = self.node(of)
            && node.aliases.insert(alias, (given.clone().into_owned(), metric.datatype)).is_none()
        {
            self.metrics += 1;
        }
        let known = metric.alias.and_then(|alias| self.nodes.get(of)?.aliases.get(&alias));
        let (name, datatype) = match (given.is_empty(), known) {
            (true, Some((name, datatype))) => (name.clone(), *datatype),
            (true, None) => (format!("alias {}", metric.alias.unwrap_or(0)), metric.datatype),
            (false, _) => (given.into_owned(), metric.datatype),
        };
        let datatype = if metric.datatype > 0 { metric.datatype } else { datatype };
        let number = match metric.value {
            Value::Bits(bits) => Some(signed(bits, datatype)),
            Value::Number(number) => Some(number),
            Value::Bool(value) => Some(f64::from(u8::from(value))),
            _ => None,
        };
        let mut shown = String::new();
        json::key(&mut shown, &name);
        match (&metric.value, number) {
            (_, Some(number)) => json::push_float(&mut shown, number),
            (Value::Text(text), _) => json::push_text(&mut shown, &String::from_utf8_lossy(text)),
            _ => shown.push_str("null"),
        }
        json::end(&mut shown);
        draft.push_json(&shown);
        if let Some(number) = number.filter(|_| !command && side == Side::Client) {
            let signal = format!("{of}/{name}");
            cx.measured(side, &signal, "sparkplug", number, if metric.null { 2 } else { 0 });
        }
        if birth && let Value::Text(text) = metric.value {
            facts.note(&name, &String::from_utf8_lossy(text));
        }
    }

    fn sequence(&mut self, node: &str, sequence: u64, draft: &mut Draft) {
        let Some(state) = self.node(node) else { return };
        let expected = state.sequence.map(|last| (last + 1) % 256);
        state.sequence = Some(sequence % 256);
        if let Some(expected) = expected.filter(|&e| e != sequence && draft.function != "nbirth") {
            json::member_number(&mut draft.detail, "sequence_gap", (sequence + 256 - expected) % 256);
        }
    }

    fn node(&mut self, name: &str) -> Option<&mut Node> {
        if self.nodes.len() >= NODES_MAX && !self.nodes.contains_key(name) {
            return None;
        }
        Some(self.nodes.entry(name.to_string()).or_default())
    }
}

/// What births say of the hardware, in the properties that the specification recommends.
#[derive(Default)]
struct Facts {
    vendor: String,
    model: String,
    firmware: String,
}

impl Facts {
    fn note(&mut self, name: &str, text: &str) {
        let last = name.rsplit('/').next().unwrap_or(name).to_lowercase();
        let place = match last.as_str() {
            "hardware make" | "make" | "manufacturer" | "hw_make" => &mut self.vendor,
            "hardware model" | "model" | "hw_model" => &mut self.model,
            "fw" | "firmware" | "firmware version" | "os version" | "os_version" => &mut self.firmware,
            _ => return,
        };
        *place = text.chars().take(128).collect();
    }

    fn is_empty(&self) -> bool {
        self.vendor.is_empty() && self.model.is_empty() && self.firmware.is_empty()
    }
}

/// An integer of one of the signed data types (Int8 to Int64 are 1 to 4).
fn signed(bits: u64, datatype: u64) -> f64 {
    match datatype {
        1 => f64::from(bits as u8 as i8),
        2 => f64::from(bits as u16 as i16),
        3 => f64::from(bits as u32 as i32),
        4 => bits as i64 as f64,
        _ => bits as f64,
    }
}

fn metric(bytes: &[u8]) -> Result<Metric<'_>, Cut> {
    let mut metric = Metric::default();
    let mut cursor = Cursor::new(bytes);
    while !cursor.is_empty() {
        match field(&mut cursor)? {
            (1, Field::Bytes(name)) => metric.name = name,
            (2, Field::Varint(alias)) => metric.alias = Some(alias),
            (4, Field::Varint(datatype)) => metric.datatype = datatype,
            (7, Field::Varint(null)) => metric.null = null != 0,
            (10 | 11, Field::Varint(bits)) => metric.value = Value::Bits(bits),
            (12, Field::Fixed32(bits)) => metric.value = Value::Number(f64::from(f32::from_bits(bits))),
            (13, Field::Fixed64(bits)) => metric.value = Value::Number(f64::from_bits(bits)),
            (14, Field::Varint(value)) => metric.value = Value::Bool(value != 0),
            (15, Field::Bytes(text)) => metric.value = Value::Text(text),
            (16..=19, Field::Bytes(_)) => metric.value = Value::Other,
            _ => {}
        }
    }
    Ok(metric)
}

enum Field<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
}

/// One field of a message: its number and its value.
fn field<'a>(cursor: &mut Cursor<'a>) -> Result<(u64, Field<'a>), Cut> {
    let tag = varint(cursor)?;
    let value = match tag & 7 {
        0 => Field::Varint(varint(cursor)?),
        1 => Field::Fixed64(cursor.u64_le("protobuf_fixed64")?),
        2 => {
            let length = varint(cursor)?;
            let length = usize::try_from(length).map_err(|_| cursor.cut("protobuf_length"))?;
            Field::Bytes(cursor.take(length, "protobuf_bytes")?)
        }
        5 => Field::Fixed32(cursor.u32_le("protobuf_fixed32")?),
        _ => return Err(cursor.cut("protobuf_wire_type")),
    };
    Ok((tag >> 3, value))
}

fn varint(cursor: &mut Cursor<'_>) -> Result<u64, Cut> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = cursor.u8("protobuf_varint")?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(cursor.cut("protobuf_varint"))
}
