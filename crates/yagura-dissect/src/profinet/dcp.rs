//! DCP, the discovery and basic configuration protocol (IEC 61158-6-10, 4.3): who is there, and
//! names, addresses, signals and factory resets that are given to stations.
//!
//! A request to all is a row of its own: its answers come from stations that were not known before.

use std::borrow::Cow;
use std::net::Ipv4Addr;

use yagura_event::rows::IdentityRow;
use yagura_event::vocabulary::{operation, status};

use super::{NAME, names, text};
use crate::cursor::{Cursor, Cut};
use crate::exchange::{Draft, Exchanges};
use crate::{Cx, Side, json};

/// Services (table of ServiceID).
pub(super) mod service {
    pub const GET: u8 = 3;
    pub const SET: u8 = 4;
    pub const IDENTIFY: u8 = 5;
    pub const HELLO: u8 = 6;
}

/// Most bytes of a block that are shown where its meaning is not known.
const SHOWN_MAX: usize = 32;

/// What a station says of itself in one message.
#[derive(Default)]
struct Station {
    name: String,
    kind: String,
    vendor: Option<u16>,
    /// The inside of a JSON object.
    more: String,
}

/// One message behind its frame identifier. Keys are the service and the exchange's number.
pub(super) fn read(
    cx: &mut Cx<'_>,
    side: Side,
    exchanges: &mut Exchanges<(u8, u32)>,
    cursor: &mut Cursor<'_>,
) -> Result<(), Cut> {
    let service = cursor.u8("service_id")?;
    let kind = cursor.u8("service_type")?;
    cursor.check((service::GET..=service::HELLO).contains(&service), "service_id")?;
    let xid = cursor.u32_be("xid")?;
    let delay = cursor.u16_be("response_delay")?;
    let length = usize::from(cursor.u16_be("data_length")?);
    let mut blocks = cursor.part(length, "data_length")?;
    let response = kind & 1 != 0;
    let found = if response { exchanges.answered(side, &(service, xid)) } else { None };
    let paired = found.is_some();
    let mut draft = match found {
        Some(draft) => draft,
        None => {
            let asker = if response { side.other() } else { side };
            let (does, function) = named(service);
            let mut draft = exchanges.draft(cx, asker, does, function);
            json::member_number(&mut draft.detail, "xid", xid.into());
            draft
        }
    };
    if service == service::HELLO {
        draft.equipment = side;
    }
    let asks_all = service == service::IDENTIFY && !response;
    if asks_all {
        json::member_number(&mut draft.detail, "response_delay", delay.into());
    }
    let mut station = Station::default();
    let read = match (service, response) {
        (service::GET, false) => wanted(&mut draft, &mut blocks),
        (service::SET, true) => outcome(&mut draft, &mut blocks),
        _ => each(&mut draft, &mut blocks, (service, response), &mut station),
    };
    if let Err(cut) = read {
        draft.wrong(cut);
    } else if response && kind & 4 != 0 {
        draft.deny("service_not_supported");
    }
    if response && service != service::SET || service == service::HELLO {
        say(cx, side, station);
    }
    match (response, paired) {
        (true, true) => exchanges.pair(cx, draft),
        (true, false) if service == service::IDENTIFY => {
            // Its request went to all, which is another conversation.
            if draft.status == status::OK {
                draft.status = status::ONE_WAY;
            }
            exchanges.unasked(cx, draft);
        }
        (true, false) => exchanges.unasked(cx, draft),
        (false, _) if asks_all || service == service::HELLO => exchanges.one_way(cx, draft),
        (false, _) => exchanges.ask(cx, (service, xid), draft),
    }
    Ok(())
}

fn named(service: u8) -> (&'static str, &'static str) {
    match service {
        service::GET => (operation::DISCOVER, "dcp_get"),
        service::SET => (operation::CONFIGURE, "dcp_set"),
        service::IDENTIFY => (operation::DISCOVER, "dcp_identify"),
        _ => (operation::REPORT, "dcp_hello"),
    }
}

fn add_target(draft: &mut Draft, name: &str) {
    if !draft.target.is_empty() {
        draft.target.push(',');
    }
    draft.target.push_str(name);
}

/// What a get request wants to know: pairs of option and suboption.
fn wanted(draft: &mut Draft, blocks: &mut Cursor<'_>) -> Result<(), Cut> {
    while blocks.remaining() >= 2 {
        let (option, suboption) = (blocks.u8("option")?, blocks.u8("suboption")?);
        add_target(draft, &names::option(option, suboption));
    }
    Ok(())
}

/// What became of each block of a set request.
fn outcome(draft: &mut Draft, blocks: &mut Cursor<'_>) -> Result<(), Cut> {
    while !blocks.is_empty() {
        let (option, suboption) = (blocks.u8("option")?, blocks.u8("suboption")?);
        let length = usize::from(blocks.u16_be("block_length")?);
        let mut body = blocks.part(length, "block_length")?;
        pad(blocks, length);
        if (option, suboption) != (5, 4) {
            continue;
        }
        let about = (body.u8("option")?, body.u8("suboption")?);
        let error = body.u8("block_error")?;
        if draft.target.is_empty() {
            draft.target.push_str(&names::option(about.0, about.1));
        }
        if error != 0 && draft.status == status::OK {
            draft.deny(names::block_error(error));
        }
    }
    Ok(())
}

/// Blocks fill up to an even length; the last one may not.
fn pad(blocks: &mut Cursor<'_>, length: usize) {
    if length % 2 == 1 && !blocks.is_empty() {
        let _ = blocks.skip(1, "padding");
    }
}

/// The blocks of every other message.
fn each(
    draft: &mut Draft,
    blocks: &mut Cursor<'_>,
    (service, response): (u8, bool),
    station: &mut Station,
) -> Result<(), Cut> {
    while !blocks.is_empty() {
        let (option, suboption) = (blocks.u8("option")?, blocks.u8("suboption")?);
        let length = usize::from(blocks.u16_be("block_length")?);
        let mut body = blocks.part(length, "block_length")?;
        pad(blocks, length);
        // What is set has a qualifier, what is answered some information; filters have neither.
        let marked = response || service != service::IDENTIFY;
        let word = if marked && length >= 2 { Some(body.u16_be("block_information")?) } else { None };
        let value = value(option, suboption, body.rest());
        match (service, response) {
            (service::SET, _) => {
                add_target(draft, &names::option(option, suboption));
                let (does, function) = set(option, suboption);
                if draft.function == "dcp_set" || does == operation::CONTROL {
                    (draft.operation, draft.function) = (does, Cow::Borrowed(function));
                }
                if option != 5 {
                    let kept = word.is_some_and(|word| word & 1 != 0);
                    json::member_bool(&mut draft.detail, "permanent", kept);
                } else if let (6, Some(word)) = (suboption, word) {
                    json::member_number(&mut draft.detail, "reset_mode", u64::from(word >> 1));
                }
            }
            _ if response || service == service::HELLO => {
                learn(station, (option, suboption), word.unwrap_or(0), body.rest());
                if (option, suboption) == (2, 2) && service != service::GET {
                    draft.target.clear();
                    draft.target.push_str(&value);
                }
            }
            _ => add_target(draft, &names::option(option, suboption)),
        }
        if !value.is_empty() {
            draft.push_json(&member(&names::option(option, suboption), &value));
        }
    }
    Ok(())
}

fn member(name: &str, value: &str) -> String {
    let mut out = String::new();
    json::member_text(&mut out, name, value);
    json::end(&mut out);
    out
}

/// What setting an option does.
fn set(option: u8, suboption: u8) -> (&'static str, &'static str) {
    match (option, suboption) {
        (1, _) => (operation::CONFIGURE, "dcp_set_ip"),
        (2, 2) => (operation::CONFIGURE, "dcp_set_name"),
        (5, 3) => (operation::DIAGNOSE, "dcp_signal"),
        (5, 5) => (operation::CONTROL, "dcp_factory_reset"),
        (5, 6) => (operation::CONTROL, "dcp_reset_to_factory"),
        _ => (operation::CONFIGURE, "dcp_set"),
    }
}

/// A block's value as text.
fn value(option: u8, suboption: u8, body: &[u8]) -> String {
    let address = |bytes: &[u8]| -> Option<String> {
        let (four, rest) = bytes.split_first_chunk::<4>()?;
        let mut out = Ipv4Addr::from(*four).to_string();
        if let Some((mask, rest)) = rest.split_first_chunk::<4>() {
            out += &format!("/{}", Ipv4Addr::from(*mask));
            if let Some(gateway) = rest.first_chunk::<4>() {
                out += &format!(" via {}", Ipv4Addr::from(*gateway));
            }
        }
        Some(out)
    };
    let known = match (option, suboption) {
        (1, 1) => body.first_chunk::<6>().map(|bytes| crate::mac_text(*bytes)),
        (1, 2 | 3) => address(body),
        (2, 1 | 2 | 6) | (3, 12) => Some(text(body)),
        (2, 3 | 8) => body.first_chunk::<4>().map(|b| {
            let [a, b, c, d] = *b;
            format!("0x{a:02x}{b:02x}/0x{c:02x}{d:02x}")
        }),
        (2, 4) => body.first().map(|role| names::roles(*role)),
        (2, 5) => Some(
            body.chunks_exact(2).take(64).map(|p| names::option(p[0], p[1])).collect::<Vec<_>>().join(","),
        ),
        (2, 7) => body.first_chunk::<2>().map(|[high, low]| format!("{high}.{low}")),
        (2, 9) => body.first_chunk::<4>().map(|four| Ipv4Addr::from(*four).to_string()),
        _ => None,
    };
    known.unwrap_or_else(|| {
        let mut out = String::new();
        json::push_hex_digits(&mut out, &body[..body.len().min(SHOWN_MAX)]);
        out
    })
}

fn learn(station: &mut Station, (option, suboption): (u8, u8), information: u16, body: &[u8]) {
    let value = value(option, suboption, body);
    let more = &mut station.more;
    match (option, suboption) {
        (2, 1) => station.kind = value,
        (2, 2) => station.name = value,
        (2, 3) => {
            if let Some([a, b, c, d]) = body.first_chunk::<4>() {
                station.vendor = Some(u16::from_be_bytes([*a, *b]));
                json::member_number(more, "vendor_id", u16::from_be_bytes([*a, *b]).into());
                json::member_number(more, "device_id", u16::from_be_bytes([*c, *d]).into());
            }
        }
        (2, 4) => json::member_text(more, "role", &value),
        (2, 6) => json::member_text(more, "alias", &value),
        (2, 7) => json::member_text(more, "instance", &value),
        (1, 1) => json::member_text(more, "mac", &value),
        (1, 2 | 3) => {
            json::member_text(more, "ip", value.split(['/', ' ']).next().unwrap_or_default());
            json::member_text(more, "network", &value);
            if information & 0x80 != 0 {
                json::member_bool(more, "ip_conflict", true);
            }
        }
        _ => {}
    }
}

fn say(cx: &mut Cx<'_>, side: Side, mut station: Station) {
    if station.name.is_empty() && station.kind.is_empty() && station.more.is_empty() {
        return;
    }
    json::end(&mut station.more);
    let vendor = station.vendor.map(names::vendor).unwrap_or_default();
    let row = IdentityRow {
        vendor: &vendor,
        model: &station.kind,
        name: &station.name,
        detail: &station.more,
        ..IdentityRow::default()
    };
    cx.identity(NAME, side, row);
}
