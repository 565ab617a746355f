//! What messages mean (SEMI E5 for their structure, E30 for their use): operation, target, status.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use yagura_event::vocabulary::{operation, status};

use super::Exchange;
use crate::secs2::Item;
use crate::{Settings, json};

/// Most bytes of a target that lists ids.
const TARGET_BYTES_MAX: usize = 256;

/// Which part of a message must not be shown: recipe bodies stay where they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hide {
    /// Everything may be shown.
    Nothing,
    /// That element of the outermost list is a body.
    Child(usize),
    /// The whole text is, or may be, a body.
    All,
}

/// What of a message must not be shown. A message that should carry a body but is built otherwise
/// is hidden whole.
pub fn hide(stream: u8, function: u8, item: Option<Item<'_>>) -> Hide {
    let body = match (stream, function) {
        (7, 3 | 6) => Some((2, 1)),
        (7, 23 | 26) => Some((4, 3)),
        (13, 6) => Some((4, 3)),
        (15, 13 | 27) => Some((5, 4)),
        // Sections and attributes of E42 recipes, items of S21, control programs of S2 and S8.
        (15, 15 | 18 | 32) | (21, 3 | 6) | (2, 3 | 6) | (8, 2 | 4) => return Hide::All,
        _ => None,
    };
    match (body, item) {
        (None, _) => Hide::Nothing,
        (Some((count, index)), Some(item)) if item.is_list() && item.count() == count => Hide::Child(index),
        // No such recipe: an empty list.
        (_, Some(item)) if item.is_list() && item.count() == 0 => Hide::Nothing,
        _ => Hide::All,
    }
}

/// The operation of a primary message; `from_equipment` tells who sent it. The direction in which
/// a body goes decides between reading and writing: what the tool asks for is written to it.
pub fn operation(stream: u8, function: u8, from_equipment: bool) -> &'static str {
    let body = |goes_to_tool| {
        if goes_to_tool { operation::RECIPE_WRITE } else { operation::RECIPE_READ }
    };
    let program = |goes_to_tool| {
        if goes_to_tool { operation::PROGRAM_WRITE } else { operation::PROGRAM_READ }
    };
    match (stream, function) {
        (1, 1 | 11 | 19..=24) => operation::DISCOVER,
        (1, 3..=10) => operation::READ,
        (1, 13) => operation::SESSION_OPEN,
        (1, 15 | 17) => operation::CONTROL,
        (2, 3) => program(!from_equipment),
        (2, 5) => program(from_equipment),
        (2, 7 | 9 | 19 | 21 | 27 | 41 | 49) => operation::CONTROL,
        (2, 13 | 17 | 47) => operation::READ,
        (2, 15 | 23 | 31 | 33 | 35 | 37 | 43 | 45) => operation::CONFIGURE,
        (2, 25) => operation::DIAGNOSE,
        (2, 29) => operation::DISCOVER,
        (3, 17 | 19 | 21 | 23 | 25 | 27) => operation::CONTROL,
        (5, 1 | 9 | 11 | 15) => operation::ALARM,
        (5, 3) => operation::CONFIGURE,
        (5, 5 | 7) => operation::DISCOVER,
        (5, 13 | 17) => operation::CONTROL,
        (6, 1 | 3 | 9 | 11 | 13 | 25 | 27) => operation::REPORT,
        (6, 7 | 15..=21) => operation::READ,
        (6, 23) => operation::CONTROL,
        (7, 3 | 23 | 37 | 39) => body(!from_equipment),
        (7, 5 | 25 | 41 | 43) => body(from_equipment),
        (7, 17) => operation::RECIPE_DELETE,
        (7, 19 | 33 | 35) => operation::RECIPE_LIST,
        (8, 1 | 3) => program(from_equipment),
        (9, _) => operation::ERROR,
        (13, 1 | 3) => operation::OTHER,
        (13, 5) => body(from_equipment),
        (14, 1) => operation::READ,
        (14, 3) => operation::WRITE,
        (14, 5 | 7) => operation::DISCOVER,
        (14, 9..=28) => operation::CONTROL,
        (15, 13 | 15 | 27) => body(!from_equipment),
        (15, 17 | 31) => body(from_equipment),
        (15, 9) => operation::RECIPE_LIST,
        (15, 35) => operation::RECIPE_DELETE,
        (16, 7 | 9) => operation::REPORT,
        (16, 19 | 21) => operation::READ,
        (16, 23) => operation::WRITE,
        (16, _) => operation::CONTROL,
        (17, 1..=12) => operation::CONFIGURE,
        (18, 1 | 5 | 9) => operation::READ,
        (18, 3 | 7 | 11) => operation::WRITE,
        (18, 13) => operation::CONTROL,
        (21, 3) => body(!from_equipment),
        (21, 5) => body(from_equipment),
        _ => operation::OTHER,
    }
}

/// Whether the sender of a message must be the equipment (or must be the host), as far as the
/// message tells: alarms and reports come from tools, commands and definitions from hosts, and
/// only a tool has a model and a software revision.
pub fn sender_is_equipment(stream: u8, function: u8, item: Option<Item<'_>>) -> Option<bool> {
    let names_itself =
        |item: Item<'_>| item.is_list() && item.count() == 2 && item.children().all(|i| i.text().is_some());
    match (stream, function) {
        (5, 1 | 9 | 11 | 15) | (6, 1 | 3 | 9 | 11 | 13) | (9, _) | (10, 1) => Some(true),
        (1, 2 | 13) => item.is_some_and(names_itself).then_some(true),
        (1, 14) => item.and_then(|i| i.child(1)).is_some_and(names_itself).then_some(true),
        (1, 3 | 11 | 15 | 17) | (2, 13 | 15 | 21 | 23 | 29 | 33 | 35 | 37 | 41 | 43 | 45 | 49) => Some(false),
        (5, 3 | 5 | 7) | (6, 15 | 17 | 19 | 23) | (7, 17 | 19) | (10, 3 | 5) | (16, 11 | 15) => Some(false),
        _ => None,
    }
}

/// Reads a primary message into its exchange.
pub(super) fn request(
    exchange: &mut Exchange,
    stream: u8,
    function: u8,
    from_equipment: bool,
    item: Option<Item<'_>>,
    settings: &Settings,
) {
    exchange.operation = operation(stream, function, from_equipment);
    let Some(item) = item else {
        if (stream, function) == (5, 3) || (stream, function) == (2, 37) {
            exchange.target.push_str("all");
        }
        return;
    };
    exchange.count = item.count() as u32;
    // What is hidden whole has no place for a name that could be told from the body.
    if hide(stream, function, Some(item)) != Hide::All {
        target(exchange, stream, function, item);
    }
    if matches!((stream, function), (7, 3 | 23) | (13, 6) | (15, 13 | 15 | 27) | (21, 3)) {
        body(exchange, hide(stream, function, Some(item)), item, settings);
    }
}

fn target(exchange: &mut Exchange, stream: u8, function: u8, item: Item<'_>) {
    let child = |index| item.child(index);
    match (stream, function) {
        (1, 3 | 11 | 21 | 23) | (2, 13 | 29) | (7, 17) => ids(&mut exchange.target, item),
        (2, 15) => {
            firsts(&mut exchange.target, Some(item));
            if let (Some(pair), 1) = (child(0), item.count()) {
                exchange.value = pair.child(1).and_then(single);
            }
        }
        (2, 33 | 35) => {
            firsts(&mut exchange.target, child(1));
            exchange.count = child(1).map_or(0, |list| list.count() as u32);
            if exchange.target.is_empty() {
                exchange.target.push_str("all");
            }
        }
        (2, 37) => switch(exchange, child(0).and_then(|i| i.code()).map(|c| c != 0), child(1)),
        (5, 3) => switch(exchange, child(0).and_then(|i| i.code()).map(|c| c & 0x80 != 0), child(1)),
        (2, 41) => named(exchange, child(0)),
        (2, 49) => {
            named(exchange, child(2));
            note(exchange, "object", child(1));
        }
        (2, 21) | (7, 5 | 25) | (6, 15 | 19) | (5, 5) if !item.is_list() => named(exchange, Some(item)),
        (5, 5) => ids(&mut exchange.target, item),
        (2, 23) => named(exchange, child(0)),
        (2, 43) => firsts(&mut exchange.target, Some(item)),
        (2, 45) => firsts(&mut exchange.target, child(1)),
        (3, 17) => {
            named(exchange, child(1));
            note(exchange, "carrier", child(2));
        }
        (5, 1) => alarm(exchange, item),
        (6, 1) => {
            named(exchange, child(0));
            exchange.count = child(3).map_or(0, |list| list.count() as u32);
        }
        (6, 11 | 13) => named(exchange, child(1)),
        (7, 1 | 3 | 23 | 37 | 39 | 41 | 43) | (10, 1 | 3 | 5) => named(exchange, child(0).or(Some(item))),
        (13, 1 | 3) => named(exchange, child(usize::from(function == 3)).or(Some(item))),
        (13, 5) => named(exchange, child(0)),
        (14, 1 | 3 | 9 | 11) => {
            let object = usize::from(function != 11);
            named(exchange, child(object).filter(|i| !i.is_list()));
            note(exchange, "object", child(0));
        }
        (15, 13 | 15 | 17 | 27 | 31) => {
            named(exchange, child(if matches!(function, 13 | 27) { 2 } else { 1 }))
        }
        (16, 5) => {
            named(exchange, child(2));
            note(exchange, "job", child(1));
        }
        (16, 11) => job(exchange, child(1), child(4)),
        (16, 15) => {
            for one in child(1).into_iter().flat_map(|list| list.children()) {
                job(exchange, one.child(0), one.child(3));
            }
        }
        (16, 27) => {
            named(exchange, child(1));
            note(exchange, "job", child(0));
        }
        _ => {}
    }
}

/// A process job: its recipe is the target, its name stands in `detail`.
fn job(exchange: &mut Exchange, name: Option<Item<'_>>, method: Option<Item<'_>>) {
    if let Some(recipe) = method.and_then(|m| m.child(1)) {
        push_id(&mut exchange.target, recipe);
    }
    note(exchange, "job", name);
}

fn named(exchange: &mut Exchange, item: Option<Item<'_>>) {
    if let Some(item) = item {
        push_id(&mut exchange.target, item);
    }
}

fn note(exchange: &mut Exchange, name: &str, item: Option<Item<'_>>) {
    // Several jobs of one message: the first one's name is kept.
    let taken = exchange.detail.contains(&format!("\"{name}\":"));
    if let Some(item) = item.filter(|i| !i.is_list() && !taken) {
        json::member_text(&mut exchange.detail, name, &item.id());
    }
}

/// Enabling or disabling of alarms or events.
fn switch(exchange: &mut Exchange, on: Option<bool>, which: Option<Item<'_>>) {
    if let Some(on) = on {
        json::member_bool(&mut exchange.detail, "enable", on);
    }
    match which {
        Some(list) if list.is_list() => ids(&mut exchange.target, list),
        Some(one) => named(exchange, Some(one)),
        None => {}
    }
    if exchange.target.is_empty() {
        exchange.target.push_str("all");
    }
}

/// S5F1: ALCD's highest bit says set or cleared, the others the category (E5).
fn alarm(exchange: &mut Exchange, item: Item<'_>) {
    named(exchange, item.child(1));
    let Some(code) = item.child(0).and_then(|i| i.code()) else {
        return;
    };
    let category = match code & 0x7f {
        1 => "personal safety",
        2 => "equipment safety",
        3 => "parameter control warning",
        4 => "parameter control error",
        5 => "irrecoverable error",
        6 => "equipment status warning",
        7 => "attention flags",
        8 => "data integrity",
        _ => "other",
    };
    json::member_bool(&mut exchange.detail, "set", code & 0x80 != 0);
    json::member_number(&mut exchange.detail, "category", u64::from(code & 0x7f));
    json::member_text(&mut exchange.detail, "category_name", category);
    if let Some(text) = item.child(2).and_then(|i| i.text()) {
        json::member_text(&mut exchange.detail, "text", &text);
    }
}

/// Adds the dictionary's name of the alarm that the exchange is about.
pub(super) fn name_alarm(exchange: &mut Exchange, settings: &Settings, asset: &str, model: &str) {
    let known = settings.dictionary.of(asset, model).find_map(|t| t.alarms.get(&exchange.target));
    if let Some(name) = known {
        json::member_text(&mut exchange.detail, "name", name);
    }
}

/// Adds the dictionary's name of the event that the exchange is about.
pub(super) fn name_event(exchange: &mut Exchange, settings: &Settings, asset: &str, model: &str) {
    let known = settings.dictionary.of(asset, model).find_map(|t| t.events.get(&exchange.target));
    if let Some(name) = known {
        json::member_text(&mut exchange.detail, "name", name);
    }
}

fn single(item: Item<'_>) -> Option<f64> {
    if item.count() == 1 { item.number(0).filter(|n| n.is_finite()) } else { None }
}

/// The ids of a list, or of an array of numbers.
fn ids(target: &mut String, item: Item<'_>) {
    if item.is_list() {
        for one in item.children() {
            if !push_id(target, one) {
                return;
            }
        }
    } else if item.count() > 1 && item.text().is_none() {
        for index in 0..item.count() {
            if target.len() > TARGET_BYTES_MAX - 24 {
                target.push_str(",…");
                return;
            }
            if index > 0 {
                target.push(',');
            }
            json::push_float(target, item.number(index).unwrap_or(f64::NAN));
        }
    } else {
        push_id(target, item);
    }
}

/// The first element of each element.
fn firsts(target: &mut String, list: Option<Item<'_>>) {
    for one in list.into_iter().flat_map(|l| l.children()) {
        let Some(id) = one.child(0) else { continue };
        if !push_id(target, id) {
            return;
        }
    }
}

/// Appends an id to a list of them; `false` when it is full.
fn push_id(target: &mut String, item: Item<'_>) -> bool {
    if target.len() >= TARGET_BYTES_MAX {
        if !target.ends_with('…') {
            target.push_str(",…");
        }
        return false;
    }
    if !target.is_empty() {
        target.push(',');
    }
    item.push_id(target);
    if target.len() > TARGET_BYTES_MAX {
        target.truncate(target.floor_char_boundary(TARGET_BYTES_MAX));
    }
    true
}

/// Hashes a recipe's body under the plant's key, and takes its length.
fn body(exchange: &mut Exchange, hide: Hide, item: Item<'_>, settings: &Settings) {
    let bytes = match hide {
        Hide::Nothing => return,
        Hide::All => item.data(),
        Hide::Child(index) => match item.child(index) {
            Some(child) => child.data(),
            None => return,
        },
    };
    exchange.body_bytes = Some(bytes.len() as u64);
    // A key of any length is a key (RFC 2104), but none is: everybody could try bodies against such a hash.
    if settings.plant_key.is_empty() {
        return;
    }
    if let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&settings.plant_key) {
        mac.update(bytes);
        exchange.hmac.clear();
        json::push_hex_digits(&mut exchange.hmac, &mac.finalize().into_bytes());
    }
}

/// Reads the reply to the primary message `stream`, `function` into their exchange.
pub(super) fn reply(
    exchange: &mut Exchange,
    stream: u8,
    function: u8,
    item: Option<Item<'_>>,
    settings: &Settings,
) {
    let Some(item) = item else { return };
    if matches!((stream, function), (7, 5 | 25) | (13, 5) | (15, 17 | 31) | (21, 5)) {
        let hidden = hide(stream, function + 1, Some(item));
        if hidden == Hide::Nothing {
            refuse(exchange, "no such recipe");
            return;
        }
        body(exchange, hidden, item, settings);
        if exchange.target.is_empty() && stream == 7 && hidden != Hide::All {
            named(exchange, item.child(0));
        }
    }
    if exchange.count == 0 {
        exchange.count = item.count() as u32;
    }
    if matches!((stream, function), (1, 3) | (2, 13)) && item.count() == 1 {
        exchange.value = item.child(0).and_then(single);
    }
    let Some((name, accepted)) = acknowledge(stream, function) else {
        object_status(exchange, stream, function, item);
        return;
    };
    let place = if (stream, function) == (13, 5) { 1 } else { 0 };
    let code = if item.is_list() { item.child(place).and_then(|i| i.code()) } else { item.code() };
    match code {
        Some(code) => {
            if code != 0 {
                exchange.code.push_str(name);
                exchange.code.push('=');
                json::push_number(&mut exchange.code, u64::from(code));
            }
            exchange.status = if accepted.contains(&code) { status::OK } else { status::DENIED };
        }
        None => exchange.wrong("the reply has no acknowledge code"),
    }
}

fn refuse(exchange: &mut Exchange, code: &str) {
    exchange.status = status::DENIED;
    exchange.code.push_str(code);
}

/// The acknowledge code of a reply: its name, and which values mean "accepted". Where a code means
/// that what was asked for holds already, or will be done, nothing was refused.
fn acknowledge(stream: u8, function: u8) -> Option<(&'static str, &'static [u8])> {
    Some(match (stream, function) {
        (1, 13) => ("COMMACK", &[0]),
        (1, 15) => ("OFLACK", &[0]),
        (1, 17) => ("ONLACK", &[0, 2]),
        (2, 15) => ("EAC", &[0]),
        (2, 21 | 27) => ("CMDA", &[0]),
        (2, 23) => ("TIAACK", &[0]),
        (2, 31) => ("TIACK", &[0]),
        (2, 33) => ("DRACK", &[0]),
        (2, 35) => ("LRACK", &[0]),
        (2, 37) => ("ERACK", &[0]),
        (2, 39) => ("GRANT", &[0]),
        // 4: accepted, to be finished later; 5: rejected because it is in the condition already.
        (2, 41 | 49) => ("HCACK", &[0, 4, 5]),
        (2, 43) => ("RSPACK", &[0]),
        (2, 45) => ("VLAACK", &[0]),
        (3, 17 | 25 | 27) => ("CAACK", &[0, 4]),
        (5, 1 | 3) => ("ACKC5", &[0]),
        (6, 1 | 3 | 9 | 11 | 13) => ("ACKC6", &[0]),
        (6, 5) => ("GRANT6", &[0]),
        (6, 23) => ("RSDA", &[0]),
        (7, 1 | 29) => ("PPGNT", &[0]),
        (7, 3 | 17 | 23 | 31 | 37 | 39 | 41 | 43) => ("ACKC7", &[0]),
        (10, 1 | 3 | 5) => ("ACKC10", &[0]),
        (13, 5) => ("ACKC13", &[0]),
        _ => return None,
    })
}

/// Objects and jobs answer with a list whose last element begins with the code: OBJACK of S14
/// and RMACK of S15 (0 is success), ACKA of S16 (true is success).
fn object_status(exchange: &mut Exchange, stream: u8, function: u8, item: Item<'_>) {
    let name = match (stream, function) {
        (14, 1 | 3 | 9 | 11 | 13 | 15 | 17 | 19) => "OBJACK",
        (15, _) => "RMACK",
        (16, 5 | 11 | 13 | 15 | 17 | 23 | 25 | 27) => "ACKA",
        _ => return,
    };
    let last = item.count().checked_sub(1).and_then(|last| item.child(last));
    let from = if last.is_some_and(|l| l.is_list() && l.child(0).is_some_and(|c| !c.is_list())) {
        last
    } else {
        Some(item)
    };
    let Some(code) = from.and_then(|l| l.child(0)).filter(|c| c.text().is_none()).and_then(|c| c.code())
    else {
        return;
    };
    let good = if name == "ACKA" { code != 0 } else { code == 0 };
    if !good {
        exchange.status = status::DENIED;
        exchange.code.push_str(name);
        exchange.code.push('=');
        json::push_number(&mut exchange.code, u64::from(code));
    }
}
