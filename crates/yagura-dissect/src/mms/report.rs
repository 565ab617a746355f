//! What a device sends on its own: information reports, among them those of IEC 61850-8-1
//! (clause 17.2), whose values say by a bit string which of them are there.

use yagura_event::vocabulary::operation;

use super::ber::{Tlv, context};
use super::data::{self, kind};
use super::{PROTOCOL, names, services};
use crate::exchange::Draft;
use crate::{Cx, Side, json};

/// Most samples of one message.
pub(super) const SAMPLES_MAX: usize = 256;

/// The optional fields of a report, by their bits.
mod field {
    pub const SEQUENCE_NUMBER: usize = 1;
    pub const TIME: usize = 2;
    pub const REASON: usize = 3;
    pub const DATA_SET: usize = 4;
    pub const DATA_REFERENCE: usize = 5;
    pub const OVERFLOW: usize = 6;
    pub const ENTRY: usize = 7;
    pub const REVISION: usize = 8;
    pub const SEGMENTATION: usize = 9;
}

/// Fills a row from an information report.
pub(super) fn read(cx: &mut Cx<'_>, side: Side, draft: &mut Draft, service: &Tlv<'_>) {
    let mut children = service.children();
    let Some(accessed) = children.next().and_then(|specification| names::accessed(&specification)) else {
        return;
    };
    let values: Vec<Tlv<'_>> =
        children.next().map(|list| list.children().take(4096).collect()).unwrap_or_default();
    let first = accessed.names.first().map_or("", String::as_str);
    if accessed.list && first == "RPT" && iec61850(cx, side, draft, &values) {
        return;
    }
    targets(draft, &accessed);
    if first.rsplit('/').next() == Some("LastApplError") {
        // Why a control was refused (IEC 61850-8-1, table 110).
        draft.operation = operation::ERROR;
    } else if names::control(first).is_some() {
        json::member_text(&mut draft.detail, "control", "termination");
    }
    results(cx, side, draft, &accessed, &values);
}

/// A report: whether the values are those of one.
fn iec61850(cx: &mut Cx<'_>, side: Side, draft: &mut Draft, values: &[Tlv<'_>]) -> bool {
    let [id, options, rest @ ..] = values else { return false };
    if id.choice() != Some(kind::VISIBLE_STRING) || options.choice() != Some(kind::BIT_STRING) {
        return false;
    }
    let has = |field: usize| data::bit(options.body, field);
    let mut rest = rest.iter();
    draft.target.push_str(&id.text());
    json::member_text(&mut draft.detail, "report_id", &id.text());
    let mut data_set = String::new();
    if has(field::SEQUENCE_NUMBER) {
        member(draft, "sequence_number", rest.next());
    }
    if has(field::TIME) {
        member(draft, "time_of_entry", rest.next());
    }
    if has(field::DATA_SET) {
        let name = rest.next();
        data_set = name.map(|name| name.text().into_owned()).unwrap_or_default();
        member(draft, "data_set", name);
    }
    if has(field::OVERFLOW) {
        member(draft, "buffer_overflow", rest.next());
    }
    if has(field::ENTRY) {
        member(draft, "entry_id", rest.next());
    }
    if has(field::REVISION) {
        member(draft, "configuration_revision", rest.next());
    }
    if has(field::SEGMENTATION) {
        member(draft, "sub_sequence_number", rest.next());
        member(draft, "more_segments", rest.next());
    }
    let Some(inclusion) = rest.next().filter(|i| i.choice() == Some(kind::BIT_STRING)) else {
        return true;
    };
    let included: Vec<usize> =
        (0..data::bits(inclusion.body)).filter(|at| data::bit(inclusion.body, *at)).collect();
    let references: Vec<String> = if has(field::DATA_REFERENCE) {
        rest.by_ref().take(included.len()).map(|reference| reference.text().into_owned()).collect()
    } else {
        Vec::new()
    };
    let source = source(cx, side);
    let name = if data_set.is_empty() { id.text().into_owned() } else { data_set };
    let mut room = SAMPLES_MAX;
    let (mut text, mut signal) = (String::new(), String::new());
    for (at, member) in included.iter().enumerate() {
        let Some(value) = rest.next() else { break };
        text.clear();
        data::push(&mut text, value);
        draft.push_json(&text);
        signal.clear();
        match references.get(at) {
            Some(reference) => signal.push_str(reference),
            None => {
                signal.push_str(&name);
                data::push_place(&mut signal, *member);
            }
        }
        data::numbers(value, &mut signal, &mut room, &mut |signal, number| {
            cx.measured(side, signal, &source, number, 0);
        });
    }
    if has(field::REASON) {
        let reasons: Vec<&Tlv<'_>> = rest.take(included.len()).collect();
        if let Some(first) = reasons.first() {
            json::key(&mut draft.detail, "reason");
            data::push(&mut draft.detail, first);
        }
    }
    true
}

fn member(draft: &mut Draft, name: &str, value: Option<&Tlv<'_>>) {
    if let Some(value) = value {
        json::key(&mut draft.detail, name);
        data::push(&mut draft.detail, value);
    }
}

/// Writes what was accessed as a row's target.
pub(super) fn targets(draft: &mut Draft, accessed: &names::Accessed) {
    for (at, name) in accessed.names.iter().enumerate() {
        if draft.target.len() > 1024 {
            draft.target.push_str(", …");
            break;
        }
        if at > 0 {
            draft.target.push_str(", ");
        }
        draft.target.push_str(name);
    }
}

/// Adds the results of an access, values or errors, and their samples.
pub(super) fn results(
    cx: &mut Cx<'_>,
    side: Side,
    draft: &mut Draft,
    accessed: &names::Accessed,
    results: &[Tlv<'_>],
) {
    let source = source(cx, side);
    let mut room = SAMPLES_MAX;
    let (mut text, mut signal) = (String::new(), String::new());
    let mut failed = 0;
    for (at, result) in results.iter().enumerate() {
        if result.tag == context(0) {
            let error = services::access_error(result.unsigned().unwrap_or(0));
            failed += 1;
            text.clear();
            json::member_text(&mut text, "error", &error);
            json::end(&mut text);
            draft.push_json(&text);
            draft.status_code = error;
            continue;
        }
        match data::number(result) {
            Some(number) if result.choice() != Some(kind::BOOLEAN) => draft.push_value(number),
            _ => {
                text.clear();
                data::push(&mut text, result);
                draft.push_json(&text);
            }
        }
        signal.clear();
        match accessed.names.get(at) {
            Some(name) if !accessed.list => signal.push_str(name),
            _ => {
                signal.push_str(accessed.names.first().map_or("", String::as_str));
                data::push_place(&mut signal, at);
            }
        }
        data::numbers(result, &mut signal, &mut room, &mut |signal, number| {
            cx.measured(side, signal, &source, number, 0);
        });
    }
    if failed > 0 && failed == results.len() {
        let code = std::mem::take(&mut draft.status_code);
        draft.deny(code);
    }
}

fn source(cx: &Cx<'_>, side: Side) -> String {
    let end = cx.flow.end(side);
    format!("{} {}:{}", PROTOCOL.name, end.address, end.port)
}
