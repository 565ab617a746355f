//! Requests and responses of ADS.

use std::fmt::Write;

use yagura_event::rows::IdentityRow;
use yagura_event::vocabulary::operation;

use super::names::{self, command, group};
use super::symbols::{self, Place, Symbol, Symbols};
use super::{Address, Ads, Header, Item, Key, PROTOCOL, address, flag};
use crate::cursor::{Cursor, Cut};
use crate::exchange::Draft;
use crate::{Cx, Side, json};

/// Most places of a sum command that are read.
const ITEMS_MAX: u32 = 512;

impl Ads {
    pub(super) fn request(&mut self, cx: &mut Cx<'_>, side: Side, header: &Header, mut c: Cursor<'_>) {
        let (operation, name) = names::named(header.command);
        let mut draft = self.exchanges.draft(cx, side, operation, name);
        describe(&mut draft, header, header.target, header.source);
        let mut key = Key {
            command: header.command,
            invoke: header.invoke,
            asker: header.source,
            asked: header.target,
            ..Key::default()
        };
        if let Err(cut) = self.parameters(cx, side, &mut draft, header, &mut c, &mut key) {
            draft.wrong(cut);
        }
        if header.command == command::NOTIFICATION {
            draft.equipment = side;
            self.exchanges.one_way(cx, draft);
        } else if header.flags & flag::NO_RETURN != 0 {
            self.exchanges.one_way(cx, draft);
        } else {
            self.exchanges.ask(cx, key, draft);
        }
    }

    fn parameters(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        draft: &mut Draft,
        header: &Header,
        c: &mut Cursor<'_>,
        key: &mut Key,
    ) -> Result<(), Cut> {
        match header.command {
            command::READ | command::WRITE | command::READ_WRITE | command::ADD_NOTIFICATION => {
                key.group = c.u32_le("index_group")?;
                key.offset = c.u32_le("index_offset")?;
                json::member_number(&mut draft.detail, "index_group", u64::from(key.group));
                json::member_number(&mut draft.detail, "index_offset", u64::from(key.offset));
                if let (Some((reads, writes, _)), false) =
                    (names::index_group(key.group), header.command == command::ADD_NOTIFICATION)
                {
                    draft.operation = if header.command == command::WRITE { writes } else { reads };
                }
                self.symbols.target(&mut draft.target, (header.target, key.group, key.offset));
            }
            _ => {}
        }
        match header.command {
            command::READ => {
                let length = c.u32_le("length")?;
                json::member_number(&mut draft.detail, "length", u64::from(length));
            }
            command::WRITE => {
                let data = data(c, header.partial)?;
                json::member_number(&mut draft.detail, "length", data.len() as u64);
                match key.group {
                    group::RELEASE_HANDLE => {
                        if let &[a, b, c, d] = data {
                            let handle = u32::from_le_bytes([a, b, c, d]);
                            draft.target.clear();
                            self.symbols
                                .target(&mut draft.target, (header.target, group::VALUE_BY_HANDLE, handle));
                            self.symbols.release(header.target, handle);
                        }
                    }
                    code if names::values(code) => {
                        let place = (header.target, key.group, key.offset);
                        let kind = self.symbols.at(&place).map_or(0, |symbol| symbol.kind);
                        symbols::value(cx, None, draft, "", kind, data);
                    }
                    _ => draft.seal(&cx.settings.plant_key, data),
                }
            }
            command::READ_WRITE => {
                let length = c.u32_le("read_length")?;
                let data = data(c, header.partial)?;
                json::member_number(&mut draft.detail, "length", u64::from(length));
                json::member_number(&mut draft.detail, "written", data.len() as u64);
                self.read_write(cx, draft, header, data, key)?;
            }
            command::WRITE_CONTROL => {
                let (state, device) = (c.u16_le("ads_state")?, c.u16_le("device_state")?);
                draft.push_text(names::state(state));
                json::member_number(&mut draft.detail, "ads_state", u64::from(state));
                json::member_number(&mut draft.detail, "device_state", u64::from(device));
                let data = data(c, header.partial)?;
                json::member_number(&mut draft.detail, "length", data.len() as u64);
            }
            command::ADD_NOTIFICATION => {
                let length = c.u32_le("length")?;
                let mode = c.u32_le("transmission_mode")?;
                let (delay, cycle) = (c.u32_le("maximum_delay")?, c.u32_le("cycle_time")?);
                json::member_number(&mut draft.detail, "length", u64::from(length));
                json::member_text(&mut draft.detail, "mode", names::transmission(mode));
                // Both in units of 100 ns.
                json::member_number(&mut draft.detail, "maximum_delay_us", u64::from(delay) / 10);
                json::member_number(&mut draft.detail, "cycle_time_us", u64::from(cycle) / 10);
            }
            command::DELETE_NOTIFICATION => {
                let handle = c.u32_le("notification_handle")?;
                json::member_number(&mut draft.detail, "notification_handle", u64::from(handle));
                if let Some(place) = self.symbols.notified(header.target, handle) {
                    self.symbols.target(&mut draft.target, place);
                }
                self.symbols.quiet(header.target, handle);
            }
            command::NOTIFICATION => self.notification(cx, side, draft, header, c)?,
            _ => {}
        }
        Ok(())
    }

    /// What is written to be answered: names, or a list of places.
    fn read_write(
        &mut self,
        cx: &mut Cx<'_>,
        draft: &mut Draft,
        header: &Header,
        data: &[u8],
        key: &mut Key,
    ) -> Result<(), Cut> {
        let mut c = Cursor::new(data);
        match key.group {
            code if names::named_by_text(code) => {
                // What opens a file says how in the offset: bit 1 writes.
                if key.group == 120 && key.offset & 2 != 0 {
                    draft.operation = operation::PROGRAM_WRITE;
                }
                draft.target.clear();
                draft.target.push_str(&text(data));
            }
            group::FILE_WRITE => draft.seal(&cx.settings.plant_key, data),
            group::SUM_READ | group::SUM_WRITE | group::SUM_READ_EX | group::SUM_READ_EX_2 => {
                self.items(draft, header.target, &mut c, key)?;
                if key.group == group::SUM_WRITE {
                    for item in &key.items {
                        let bytes = c.take(item.length as usize, "data")?;
                        let symbol = self.symbols.at(&(header.target, item.group, item.offset));
                        symbols::value(cx, None, draft, "", symbol.map_or(0, |s| s.kind), bytes);
                    }
                }
            }
            group::SUM_READ_WRITE => {
                self.items(draft, header.target, &mut c, key)?;
                draft.target.clear();
                for (index, item) in key.items.iter_mut().enumerate() {
                    let bytes = c.take(item.written as usize, "data")?;
                    if index > 0 {
                        draft.target.push(',');
                    }
                    if names::named_by_text(item.group) {
                        item.name = text(bytes);
                        draft.target.push_str(&item.name);
                    } else {
                        self.symbols.target(&mut draft.target, (header.target, item.group, item.offset));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The places of a sum command: the offset says how many.
    fn items(
        &mut self,
        draft: &mut Draft,
        device: Address,
        c: &mut Cursor<'_>,
        key: &mut Key,
    ) -> Result<(), Cut> {
        draft.set_count(key.offset);
        if key.offset > ITEMS_MAX {
            return Ok(());
        }
        draft.target.clear();
        for index in 0..key.offset {
            let (group, offset) = (c.u32_le("index_group")?, c.u32_le("index_offset")?);
            let length = c.u32_le("length")?;
            let written = if key.group == group::SUM_READ_WRITE { c.u32_le("write_length")? } else { 0 };
            if index > 0 {
                draft.target.push(',');
            }
            self.symbols.target(&mut draft.target, (device, group, offset));
            key.items.push(Item { group, offset, length, written, name: String::new() });
        }
        Ok(())
    }

    fn notification(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        draft: &mut Draft,
        header: &Header,
        c: &mut Cursor<'_>,
    ) -> Result<(), Cut> {
        c.skip(4, "length")?;
        let mut name = String::new();
        for _ in 0..c.u32_le("stamps")? {
            c.skip(8, "timestamp")?;
            for _ in 0..c.u32_le("samples")? {
                let (handle, length) = (c.u32_le("notification_handle")?, c.u32_le("length")?);
                let data = c.take(length as usize, "sample")?;
                let (mut kind, mut from) = (0, None);
                name.clear();
                if let Some(place) = self.symbols.notified(header.source, handle) {
                    self.symbols.target(&mut name, place);
                    kind = self.symbols.at(&place).map_or(0, |symbol| symbol.kind);
                    from = names::values(place.1).then_some(side);
                } else {
                    let _ = write!(name, "notification {handle}");
                }
                if !draft.target.is_empty() {
                    draft.target.push(',');
                }
                if draft.target.len() < 4096 {
                    draft.target.push_str(&name);
                }
                symbols::value(cx, from, draft, &name, kind, data);
            }
        }
        Ok(())
    }

    pub(super) fn response(&mut self, cx: &mut Cx<'_>, side: Side, header: &Header, mut c: Cursor<'_>) {
        let same = |k: &Key| {
            let ids = (k.invoke, k.command) == (header.invoke, header.command);
            ids && !k.router && (k.asker, k.asked) == (header.target, header.source)
        };
        let found = self.exchanges.take_if(side, |key, _| same(key));
        let paired = found.is_some();
        let (key, mut draft) = found.unwrap_or_else(|| {
            let (operation, name) = names::named(header.command);
            let mut draft = self.exchanges.draft(cx, side.other(), operation, name);
            describe(&mut draft, header, header.source, header.target);
            (Key { command: header.command, asked: header.source, ..Key::default() }, draft)
        });
        let read = if header.error != 0 {
            refuse(&mut draft, header.error);
            Ok(())
        } else {
            self.result(cx, side, &mut draft, header, &mut c, &key)
        };
        if let Err(cut) = read {
            draft.wrong(cut);
        }
        if paired {
            self.exchanges.pair(cx, draft);
        } else {
            self.exchanges.unasked(cx, draft);
        }
    }

    fn result(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        draft: &mut Draft,
        header: &Header,
        c: &mut Cursor<'_>,
        key: &Key,
    ) -> Result<(), Cut> {
        let result = c.u32_le("result")?;
        json::member_number(&mut draft.detail, "result", u64::from(result));
        if result != 0 {
            // Below the devices' own codes are those of the operating system behind the service.
            if result < 0x700 {
                draft.deny(format!("0x{result:x}"));
            } else {
                refuse(draft, result);
            }
            return Ok(());
        }
        match header.command {
            command::READ_DEVICE_INFO => {
                let (major, minor) = (c.u8("version")?, c.u8("version")?);
                let build = c.u16_le("version")?;
                let name = text(c.take(16, "device_name")?);
                draft.push_text(&name);
                let firmware = format!("{major}.{minor}.{build}");
                json::member_text(&mut draft.detail, "version", &firmware);
                let said = format!("{name} {firmware} {:?}", key.asked);
                if self.identity != said {
                    self.identity = said;
                    let mut detail = String::new();
                    json::key(&mut detail, "ams_address");
                    detail.push('"');
                    address(&mut detail, key.asked);
                    detail.push('"');
                    json::end(&mut detail);
                    let row = IdentityRow {
                        vendor: "Beckhoff",
                        model: &name,
                        firmware: &firmware,
                        detail: &detail,
                        ..IdentityRow::default()
                    };
                    cx.identity(PROTOCOL.name, side, row);
                }
            }
            command::READ_STATE => {
                let (state, device) = (c.u16_le("ads_state")?, c.u16_le("device_state")?);
                draft.push_text(names::state(state));
                json::member_number(&mut draft.detail, "ads_state", u64::from(state));
                json::member_number(&mut draft.detail, "device_state", u64::from(device));
            }
            command::ADD_NOTIFICATION => {
                let handle = c.u32_le("notification_handle")?;
                json::member_number(&mut draft.detail, "notification_handle", u64::from(handle));
                self.symbols.notify(key.asked, handle, (key.asked, key.group, key.offset));
            }
            command::READ | command::READ_WRITE => {
                let data = data(c, header.partial)?;
                self.answer(cx, side, draft, header, data, key)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// The data of a read.
    fn answer(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        draft: &mut Draft,
        header: &Header,
        data: &[u8],
        key: &Key,
    ) -> Result<(), Cut> {
        let mut c = Cursor::new(data);
        match key.group {
            group::HANDLE_BY_NAME => {
                let handle = c.u32_le("symbol_handle")?;
                json::member_number(&mut draft.detail, "symbol_handle", u64::from(handle));
                self.symbols.handle(key.asked, handle, &draft.target);
            }
            group::VALUE_BY_NAME => {
                let name = std::mem::take(&mut draft.target);
                let kind = self.symbols.kind(&name);
                symbols::value(cx, Some(side), draft, &name, kind, data);
                draft.target = name;
            }
            group::INFO_BY_NAME_EX | group::UPLOAD => {
                match self.symbols.entries(key.asked, data) {
                    Ok(count) => draft.set_count(count),
                    Err(_) if header.partial => {}
                    Err(cut) => return Err(cut),
                }
                json::member_number(&mut draft.detail, "bytes", data.len() as u64);
            }
            group::FILE_READ | 126 => draft.seal(&cx.settings.plant_key, data),
            group::SUM_READ..=group::SUM_READ_EX_2 if !key.items.is_empty() => {
                draft.set_count(0);
                match self.sum(cx, side, draft, &mut c, key) {
                    Err(cut) if !header.partial => return Err(cut),
                    _ => {}
                }
            }
            code if names::values(code) => {
                let place = (key.asked, key.group, key.offset);
                let mut name = String::new();
                self.symbols.target(&mut name, place);
                let kind = self.symbols.at(&place).map_or(0, |symbol| symbol.kind);
                symbols::value(cx, Some(side), draft, &name, kind, data);
            }
            _ => json::member_number(&mut draft.detail, "bytes", data.len() as u64),
        }
        Ok(())
    }

    /// The results of a sum command, and what was read.
    fn sum(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        draft: &mut Draft,
        c: &mut Cursor<'_>,
        key: &Key,
    ) -> Result<(), Cut> {
        let own_lengths = matches!(key.group, group::SUM_READ_WRITE..=group::SUM_READ_EX_2);
        let mut results = Cursor::new(c.take(key.items.len() * if own_lengths { 8 } else { 4 }, "results")?);
        let (mut name, mut failed) = (String::new(), 0u64);
        for item in &key.items {
            let result = results.u32_le("results")?;
            let length = if own_lengths { results.u32_le("results")? } else { item.length };
            if result != 0 {
                failed += 1;
                if failed == 1 {
                    refuse(draft, result);
                }
            }
            if key.group == group::SUM_WRITE {
                continue;
            }
            // Reads that fail take their place all the same, unless lengths are said.
            let bytes = c.take(length as usize, "data")?;
            if result != 0 {
                draft.push_json("null");
                continue;
            }
            let place = (key.asked, item.group, item.offset);
            name.clear();
            let kind = match item.group {
                group::HANDLE_BY_NAME => {
                    if let &[a, b, c, d] = bytes {
                        let handle = u32::from_le_bytes([a, b, c, d]);
                        self.symbols.handle(key.asked, handle, &item.name);
                        draft.push_value(f64::from(handle));
                    }
                    continue;
                }
                group::INFO_BY_NAME_EX => {
                    self.symbols.entries(key.asked, bytes)?;
                    draft.push_text(&item.name);
                    continue;
                }
                group::VALUE_BY_NAME => {
                    name.push_str(&item.name);
                    self.symbols.kind(&name)
                }
                _ => {
                    self.symbols.target(&mut name, place);
                    self.symbols.at(&place).map_or(0, |symbol| symbol.kind)
                }
            };
            let from = names::values(item.group).then_some(side);
            symbols::value(cx, from, draft, &name, kind, bytes);
        }
        if failed > 0 {
            json::member_number(&mut draft.detail, "failed", failed);
        }
        Ok(())
    }
}

impl Symbols {
    /// Writes a variable's name, or its place where no name is known.
    fn target(&self, out: &mut String, place: Place) {
        if let Some(Symbol { name, .. }) = self.at(&place) {
            out.push_str(name);
            return;
        }
        let _ = match names::index_group(place.1) {
            Some((_, _, name)) => write!(out, "{name}:{}", place.2),
            None => write!(out, "0x{:x}:{}", place.1, place.2),
        };
    }
}

/// A length, and as many bytes; of a frame that is not whole, those that are here.
fn data<'a>(c: &mut Cursor<'a>, partial: bool) -> Result<&'a [u8], Cut> {
    let length = c.u32_le("length")? as usize;
    if partial { c.take(length.min(c.remaining()), "data") } else { c.take(length, "data") }
}

/// A text that a zero ends.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

fn describe(draft: &mut Draft, header: &Header, asked: Address, asker: Address) {
    address(&mut draft.session, asked);
    json::key(&mut draft.detail, "asker");
    draft.detail.push('"');
    address(&mut draft.detail, asker);
    draft.detail.push('"');
    json::member_number(&mut draft.detail, "command", u64::from(header.command));
    json::member_number(&mut draft.detail, "invoke_id", u64::from(header.invoke));
}

fn refuse(draft: &mut Draft, code: u32) {
    match names::error(code) {
        Some(name) => draft.deny(name),
        None => draft.deny(format!("0x{code:x}")),
    }
}
