//! Values of OPC Data Access (OPC DA 2.05 and 3.0): items that are added to groups, what is read and
//! written of them, and what a server reports. Values are VARIANTs as MS-OAUT 2.2.29 has them on
//! the wire.
//!
//! Items are known by handles. Those of one association are remembered with their names; a
//! report comes over another connection and has the numbers of its group and items only.

use std::fmt::Write;

use super::stubs::{align, text, this};
use crate::cursor::{Cursor, Cut};
use crate::exchange::Draft;
use crate::{Cx, Side, json, wide};

/// Most items of one association whose names are remembered; the oldest are forgotten first.
const ITEMS_MAX: usize = 1024;
/// Longest name of an item that is remembered, and longest text that is shown, in characters.
const TEXT_MAX: usize = 128;
/// Most names that a row lists.
const LISTED_MAX: usize = 32;

/// An item of some group.
struct Item {
    /// The server's handle, the client's handle.
    server: u32,
    client: u32,
    /// Empty when two groups give the same handle to different items.
    name: String,
}

/// The items of one association.
#[derive(Default)]
pub(super) struct Items {
    known: Vec<Item>,
    /// Handles and names that a call adds, until it is answered.
    adding: Option<(u32, Vec<(u32, String)>)>,
}

/// A value.
#[derive(Debug, PartialEq)]
enum Value {
    Number(f64),
    Text(String),
    /// Empty, null, or of a kind that is no single value.
    None,
}

impl Value {
    fn push(&self, draft: &mut Draft) {
        match self {
            Value::Number(number) => draft.push_value(*number),
            Value::Text(text) => draft.push_text(text),
            Value::None => draft.push_json("null"),
        }
    }
}

/// Whether an interface's parameters are looked into here.
pub(super) fn concerns(interface: &str) -> bool {
    interface.starts_with("IOPC")
}

impl Items {
    /// The parameters of a call.
    pub fn request(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        draft: &mut Draft,
        (interface, number, call): (&str, u16, u32),
        stub: &[u8],
    ) -> Result<(), Cut> {
        let mut c = Cursor::new(stub);
        match (interface, number) {
            ("IOPCItemMgt", 3 | 4) => {
                let items = definitions(draft, &mut c)?;
                if number == 3 {
                    self.adding = Some((call, items));
                }
            }
            ("IOPCSyncIO" | "IOPCSyncIO2" | "IOPCAsyncIO2" | "IOPCAsyncIO3", 3 | 4) => {
                this(&mut c)?;
                let synchronous = interface.starts_with("IOPCSync");
                if synchronous && number == 3 {
                    let source = c.u16_le("source")?;
                    json::member_text(&mut draft.detail, "source", source_name(source));
                    align(&mut c, 4)?;
                }
                let count = c.u32_le("items")? as usize;
                let handles = handles(&mut c, count)?;
                self.list(draft, handles, |item| item.server);
                if number == 4 {
                    for value in variants(&mut c, count)? {
                        value.push(draft);
                    }
                }
            }
            ("IOPCDataCallback", 3 | 4) => report(cx, side, draft, &mut c)?,
            _ => {}
        }
        Ok(())
    }

    /// The parameters of its answer, which comes from `side`.
    pub fn response(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        draft: &mut Draft,
        (interface, number, call): (&str, u16, u32),
        stub: &[u8],
    ) -> Result<(), Cut> {
        let mut c = Cursor::new(stub);
        match (interface, number) {
            ("IOPCItemMgt", 3) => self.added(call, &mut c),
            ("IOPCSyncIO" | "IOPCSyncIO2", 3) => self.states(cx, side, draft, &mut c),
            _ => Ok(()),
        }
    }

    /// Items that a server has taken into a group.
    fn added(&mut self, call: u32, c: &mut Cursor<'_>) -> Result<(), Cut> {
        let Some((_, items)) = self.adding.take().filter(|(adding, _)| *adding == call) else {
            return Ok(());
        };
        that(c)?;
        let listed = c.u32_le("results")? as usize;
        c.check(listed == items.len(), "results")?;
        for (client, name) in items {
            let server = c.u32_le("result")?;
            c.skip(16, "result")?;
            // No handle where the item was refused.
            if server != 0 || client != 0 {
                self.learn(server, client, name);
            }
        }
        Ok(())
    }

    fn learn(&mut self, server: u32, client: u32, name: String) {
        for item in &mut self.known {
            if (item.server == server || item.client == client) && item.name != name {
                item.name.clear();
            }
        }
        let twice = |item: &Item| item.server == server || item.client == client;
        let name = if self.known.iter().any(|item| twice(item) && item.name.is_empty()) {
            String::new()
        } else {
            name
        };
        self.known.retain(|item| (item.server, item.client) != (server, client));
        if self.known.len() >= ITEMS_MAX {
            self.known.remove(0);
        }
        self.known.push(Item { server, client, name });
    }

    fn name(&self, handle: u32, of: impl Fn(&Item) -> u32) -> &str {
        self.known.iter().find(|item| of(item) == handle).map_or("", |item| &item.name)
    }

    /// Names what a call is about.
    fn list(&self, draft: &mut Draft, handles: Cursor<'_>, of: impl Fn(&Item) -> u32 + Copy) {
        let mut rest = handles;
        let count = handles.remaining() / 4;
        let mut listed = String::new();
        let mut last = "";
        for _ in 0..count.min(LISTED_MAX) {
            let Ok(handle) = rest.u32_le("handle") else { break };
            last = self.name(handle, of);
            listed.push(if listed.is_empty() { '[' } else { ',' });
            match last {
                "" => json::push_number(&mut listed, handle.into()),
                name => json::push_text(&mut listed, name),
            }
        }
        if count == 1 && !last.is_empty() {
            draft.target.push(':');
            draft.target.push_str(last);
        } else if !listed.is_empty() {
            listed.push(']');
            json::key(&mut draft.detail, "items");
            draft.detail.push_str(&listed);
        }
        draft.set_count(count as u32);
    }

    /// What a server answers to a read.
    fn states(&self, cx: &mut Cx<'_>, side: Side, draft: &mut Draft, c: &mut Cursor<'_>) -> Result<(), Cut> {
        that(c)?;
        let count = c.u32_le("states")? as usize;
        // Of each: handle, time, quality, value.
        let mut fixed = c.part(count.saturating_mul(20), "states")?;
        draft.set_count(0);
        let source = source(cx, side);
        while !fixed.is_empty() {
            let handle = fixed.u32_le("state")?;
            fixed.skip(8, "state")?;
            let quality = fixed.u16_le("state")?;
            fixed.skip(2, "state")?;
            let value = if fixed.u32_le("state")? != 0 { variant(c)? } else { Value::None };
            value.push(draft);
            let name = self.name(handle, |item| item.client);
            if let Value::Number(number) = value
                && !name.is_empty()
            {
                cx.measured(side, name, &source, number, grade(quality));
            }
        }
        Ok(())
    }
}

/// What a server reports on its own, or as the end of an asynchronous read.
fn report(cx: &mut Cx<'_>, side: Side, draft: &mut Draft, c: &mut Cursor<'_>) -> Result<(), Cut> {
    this(c)?;
    draft.equipment = side;
    c.skip(4, "transaction")?;
    let group = c.u32_le("group")?;
    c.skip(8, "master")?;
    let count = c.u32_le("items")? as usize;
    let mut handles = handles(c, count)?;
    let _ = write!(draft.target, ":group {group}");
    let values = variants(c, count)?;
    align(c, 4)?;
    let listed = c.u32_le("qualities")? as usize;
    c.check(listed == count, "qualities")?;
    let source = source(cx, side);
    let mut signal = String::new();
    for value in values {
        let (handle, quality) = (handles.u32_le("handle")?, c.u16_le("quality")?);
        value.push(draft);
        if let Value::Number(number) = value {
            signal.clear();
            let _ = write!(signal, "group {group}/item {handle}");
            cx.measured(side, &signal, &source, number, grade(quality));
        }
    }
    Ok(())
}

fn source(cx: &Cx<'_>, side: Side) -> String {
    let end = cx.flow.end(side);
    format!("opc-da {}", end.address)
}

fn source_name(source: u16) -> &'static str {
    match source {
        1 => "cache",
        2 => "device",
        _ => "unknown",
    }
}

/// Good, uncertain, bad (OPC DA 2.05, 6.8).
fn grade(quality: u16) -> u8 {
    match quality & 0xc0 {
        0xc0 => 0,
        0x40 => 1,
        _ => 2,
    }
}

/// What every answer of COM begins with (MS-DCOM 2.2.13.4), and the pointer to its first result.
fn that(c: &mut Cursor<'_>) -> Result<(), Cut> {
    c.skip(4, "orpc_that")?;
    let (extensions, results) = (c.u32_le("extensions")?, c.u32_le("results")?);
    c.check(extensions == 0 && results != 0, "orpc_that")
}

/// An array of handles.
fn handles<'a>(c: &mut Cursor<'a>, count: usize) -> Result<Cursor<'a>, Cut> {
    let listed = c.u32_le("handles")? as usize;
    c.check(listed == count, "handles")?;
    c.part(count.saturating_mul(4), "handles")
}

/// An array of values.
fn variants(c: &mut Cursor<'_>, count: usize) -> Result<Vec<Value>, Cut> {
    let listed = c.u32_le("values")? as usize;
    c.check(listed == count, "values")?;
    let mut pointers = c.part(count.saturating_mul(4), "values")?;
    let mut values = Vec::new();
    while !pointers.is_empty() {
        let pointer = pointers.u32_le("value")?;
        values.push(if pointer != 0 { variant(c)? } else { Value::None });
    }
    Ok(values)
}

/// One value.
fn variant(c: &mut Cursor<'_>) -> Result<Value, Cut> {
    align(c, 8)?;
    let begin = c.at();
    let units = c.u32_le("value")? as usize;
    c.skip(4, "value")?;
    let kind = c.u16_le("value")?;
    c.skip(6 + 4, "value")?;
    let value = match kind {
        0 | 1 => Value::None,
        2 => Value::Number(c.i16_le("value")?.into()),
        3 | 10 | 22 => Value::Number(c.i32_le("value")?.into()),
        4 => Value::Number(c.f32_le("value")?.into()),
        5 => {
            align(c, 8)?;
            Value::Number(c.f64_le("value")?)
        }
        8 => {
            let mut shown = String::new();
            if c.u32_le("value")? != 0 {
                c.skip(8, "value")?;
                let length = c.u32_le("value")? as usize;
                wide::push(&mut shown, c.take(length.saturating_mul(2), "value")?, TEXT_MAX);
            }
            Value::Text(shown)
        }
        11 => Value::Number(if c.i16_le("value")? == 0 { 0.0 } else { 1.0 }),
        16 => Value::Number((c.u8("value")? as i8).into()),
        17 => Value::Number(c.u8("value")?.into()),
        18 => Value::Number(c.u16_le("value")?.into()),
        19 | 23 => Value::Number(c.u32_le("value")?.into()),
        20 => {
            align(c, 8)?;
            Value::Number(c.i64_le("value")? as f64)
        }
        21 => {
            align(c, 8)?;
            Value::Number(c.u64_le("value")? as f64)
        }
        // Times, money and arrays are passed over by their size.
        _ => {
            let read = c.at() - begin;
            c.skip(units.saturating_mul(8).saturating_sub(read), "value")?;
            Value::None
        }
    };
    Ok(value)
}

/// The items that are added to a group: their names become values. Gives the client's handles.
fn definitions(draft: &mut Draft, c: &mut Cursor<'_>) -> Result<Vec<(u32, String)>, Cut> {
    this(c)?;
    let (count, listed) = (c.u32_le("items")?, c.u32_le("items")?);
    c.check(count == listed, "items")?;
    // Of each: access path, name, active, handle, size of a blob, blob, type.
    let mut fixed = c.part((count as usize).saturating_mul(28), "items")?;
    let mut items = Vec::new();
    let mut name = String::new();
    while !fixed.is_empty() {
        let (path, item) = (fixed.u32_le("item")?, fixed.u32_le("item")?);
        fixed.skip(4, "item")?;
        let handle = fixed.u32_le("item")?;
        fixed.skip(4, "item")?;
        let blob = fixed.u32_le("item")?;
        fixed.skip(4, "item")?;
        name.clear();
        for pointer in [path, item] {
            if pointer != 0 {
                align(c, 4)?;
                text(&mut name, c)?;
            }
        }
        if item != 0 {
            draft.push_text(&name);
        }
        if items.len() < ITEMS_MAX {
            items.push((handle, name.chars().take(TEXT_MAX).collect()));
        }
        if blob != 0 {
            align(c, 4)?;
            let length = c.u32_le("blob")? as usize;
            c.skip(length, "blob")?;
        }
    }
    Ok(items)
}
