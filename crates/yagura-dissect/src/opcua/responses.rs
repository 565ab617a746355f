//! Responses of OPC 10000-4, clause 5, in the encoding of OPC 10000-6.

use yagura_event::rows::IdentityRow;
use yagura_event::vocabulary::{operation, status};

use crate::cursor::{Cursor, Cut};
use crate::exchange::Draft;
use crate::{Cx, Side, json};

use super::requests::{application, push, security_mode};
use super::services::{FAULT, Known, Service};
use super::types::{
    array, bytes, data_value, diagnostic, extension, localized_text, node_id, qualified_name, status_name,
    text, variant,
};

/// Severity bits of a status code that is bad.
const BAD: u32 = 0x8000_0000;
/// Node of the product's name, and of its version, maker and build: Server_ServerStatus_BuildInfo.
const BUILD_INFO: [(&str, Fact); 5] = [
    ("i=2261", Fact::Model),
    ("i=2262", Fact::Other),
    ("i=2263", Fact::Vendor),
    ("i=2264", Fact::Firmware),
    ("i=2265", Fact::Other),
];

#[derive(Clone, Copy)]
enum Fact {
    Vendor,
    Model,
    Firmware,
    Other,
}

/// Reads a response's header and parameters into the draft of its request.
pub(super) fn read(
    known: &mut Known,
    scratch: &mut String,
    cx: &mut Cx<'_>,
    side: Side,
    (service, request): (&'static Service, u32),
    c: &mut Cursor<'_>,
    draft: &mut Draft,
) -> Result<(), Cut> {
    let nodes = known.take(request);
    let subscription = known.take_subscription(request);
    let result = header(c)?;
    if service.name == FAULT.name {
        json::member_text(&mut draft.detail, "reply", FAULT.name);
    }
    if result & BAD != 0 || service.name == FAULT.name {
        draft.deny(status_name(result));
        return Ok(());
    }
    match service.name {
        "open_secure_channel" => {
            c.skip(4, "protocol_version")?;
            draft.session.clear();
            json::push_number(&mut draft.session, u64::from(c.u32_le("secure_channel_id")?));
            c.skip(12, "token")?;
            json::member_number(&mut draft.detail, "lifetime_ms", u64::from(c.u32_le("lifetime")?));
        }
        "find_servers" => {
            for index in 0..array(c, "servers")? {
                let (uri, name) = application(c)?;
                draft.push_text(&uri);
                if index == 0 {
                    identity(cx, side, &uri, &name);
                }
            }
        }
        "get_endpoints" => endpoints(c, cx, side, draft)?,
        "create_session" => {
            node_id(c, &mut String::new())?;
            node_id(c, &mut String::new())?;
            c.skip(8, "session_timeout")?;
            bytes(c, "server_nonce")?;
            bytes(c, "server_certificate")?;
            endpoints(c, cx, side, draft)?;
        }
        "browse" | "browse_next" => browsed(c, draft)?,
        "read" => {
            let mut verdict = Verdict::default();
            let source = source(cx, side);
            for index in 0..array(c, "results")? {
                scratch.clear();
                let reading = data_value(c, scratch)?;
                verdict.add(reading.status);
                push(draft, reading.number, scratch);
                let name = nodes.get(index).map_or("", |n| n.name.as_str());
                if let Some(number) = reading.number
                    && !name.is_empty()
                    && !name.contains('#')
                {
                    cx.measured(side, name, &source, number, reading.quality());
                }
                build_info(cx, side, name, scratch);
            }
            verdict.note(draft);
        }
        "history_read" => {
            let mut verdict = Verdict::default();
            for _ in 0..array(c, "results")? {
                verdict.add(c.u32_le("status_code")?);
                bytes(c, "continuation_point")?;
                extension(c)?;
            }
            verdict.note(draft);
        }
        "write"
        | "delete_nodes"
        | "delete_references"
        | "add_references"
        | "delete_subscriptions"
        | "delete_monitored_items"
        | "set_monitoring_mode"
        | "activate_session" => {
            if service.name == "activate_session" {
                bytes(c, "server_nonce")?;
            }
            let mut verdict = Verdict::default();
            for _ in 0..array(c, "results")? {
                verdict.add(c.u32_le("status_code")?);
            }
            verdict.note(draft);
        }
        "add_nodes" => {
            let mut verdict = Verdict::default();
            for _ in 0..array(c, "results")? {
                verdict.add(c.u32_le("status_code")?);
                node_id(c, &mut String::new())?;
            }
            verdict.note(draft);
        }
        "call" => called(c, scratch, draft)?,
        "create_subscription" => {
            let id = c.u32_le("subscription_id")?;
            json::member_number(&mut draft.detail, "subscription", u64::from(id));
        }
        "create_monitored_items" => {
            let mut verdict = Verdict::default();
            let mut nodes = nodes.into_iter();
            for _ in 0..array(c, "results")? {
                let status = c.u32_le("status_code")?;
                verdict.add(status);
                c.skip(16, "monitored_item")?;
                extension(c)?;
                if let (Some(node), Some(id)) = (nodes.next(), subscription)
                    && status & BAD == 0
                {
                    known.monitor(id, node);
                }
            }
            verdict.note(draft);
        }
        "publish" => publish(known, scratch, cx, side, c, draft)?,
        _ => {}
    }
    Ok(())
}

/// Clause 7.34: the service's result.
fn header(c: &mut Cursor<'_>) -> Result<u32, Cut> {
    c.skip(12, "timestamp")?;
    let result = c.u32_le("service_result")?;
    diagnostic(c)?;
    for _ in 0..array(c, "string_table")? {
        bytes(c, "string_table")?;
    }
    extension(c)?;
    Ok(result)
}

/// What became of a request's operations together.
#[derive(Default)]
struct Verdict {
    good: u32,
    bad: u32,
    first: u32,
}

impl Verdict {
    fn add(&mut self, status: u32) {
        if status & BAD == 0 {
            self.good += 1;
        } else {
            self.first = if self.bad == 0 { status } else { self.first };
            self.bad += 1;
        }
    }

    /// Refused when all were; the first bad code is said in any case.
    fn note(&self, draft: &mut Draft) {
        if self.bad == 0 {
            return;
        }
        json::member_number(&mut draft.detail, "bad_results", u64::from(self.bad));
        if self.good == 0 {
            draft.deny(status_name(self.first));
        } else if draft.status == status::OK {
            draft.status_code = status_name(self.first);
        }
    }
}

fn source(cx: &Cx<'_>, side: Side) -> String {
    let end = cx.flow.end(side);
    format!("opcua {}:{}", end.address, end.port)
}

fn identity(cx: &mut Cx<'_>, side: Side, uri: &str, name: &str) {
    let mut detail = String::new();
    json::member_text(&mut detail, "application_uri", uri);
    json::end(&mut detail);
    cx.identity("opcua", side, IdentityRow { name, detail: &detail, ..IdentityRow::default() });
}

/// What the server says of its product when its BuildInfo is read.
fn build_info(cx: &mut Cx<'_>, side: Side, node: &str, value: &str) {
    let Some((_, fact)) = BUILD_INFO.iter().find(|(id, _)| *id == node) else { return };
    let Ok(said) = serde_json::from_str::<String>(value) else { return };
    let mut row = IdentityRow::default();
    match fact {
        Fact::Vendor => row.vendor = &said,
        Fact::Model => row.model = &said,
        Fact::Firmware => row.firmware = &said,
        Fact::Other => return,
    }
    cx.identity("opcua", side, row);
}

/// Clause 7.14: what an endpoint demands, as values `mode policy url`.
fn endpoints(c: &mut Cursor<'_>, cx: &mut Cx<'_>, side: Side, draft: &mut Draft) -> Result<(), Cut> {
    for index in 0..array(c, "endpoints")? {
        let url = text(c, "endpoint_url")?;
        let (uri, name) = application(c)?;
        bytes(c, "server_certificate")?;
        let mode = security_mode(c.u32_le("security_mode")?);
        let policy = text(c, "security_policy_uri")?;
        for _ in 0..array(c, "user_identity_tokens")? {
            bytes(c, "policy_id")?;
            c.skip(4, "token_type")?;
            for what in ["issued_token_type", "issuer_endpoint_url", "security_policy_uri"] {
                bytes(c, what)?;
            }
        }
        bytes(c, "transport_profile_uri")?;
        c.skip(1, "security_level")?;
        draft.push_text(&format!("{mode} {} {url}", policy.rsplit('#').next().unwrap_or("")));
        if index == 0 {
            identity(cx, side, &uri, &name);
        }
    }
    Ok(())
}

/// Clauses 5.9.2 and 5.9.3: the names of what was found.
fn browsed(c: &mut Cursor<'_>, draft: &mut Draft) -> Result<(), Cut> {
    let mut verdict = Verdict::default();
    let mut more = false;
    for _ in 0..array(c, "results")? {
        verdict.add(c.u32_le("status_code")?);
        more |= !bytes(c, "continuation_point")?.is_empty();
        for _ in 0..array(c, "references")? {
            node_id(c, &mut String::new())?;
            c.skip(1, "is_forward")?;
            node_id(c, &mut String::new())?;
            draft.push_text(&qualified_name(c)?);
            localized_text(c)?;
            c.skip(4, "node_class")?;
            node_id(c, &mut String::new())?;
        }
    }
    if more {
        json::member_bool(&mut draft.detail, "continues", true);
    }
    verdict.note(draft);
    Ok(())
}

/// Clause 5.12.2: the outputs, beside the inputs that are the values.
fn called(c: &mut Cursor<'_>, scratch: &mut String, draft: &mut Draft) -> Result<(), Cut> {
    let mut verdict = Verdict::default();
    let mut outputs = 0;
    for _ in 0..array(c, "results")? {
        verdict.add(c.u32_le("status_code")?);
        let arguments = array(c, "input_argument_results")?;
        c.skip(4 * arguments, "input_argument_results")?;
        for _ in 0..array(c, "diagnostic_infos")? {
            diagnostic(c)?;
        }
        for _ in 0..array(c, "output_arguments")? {
            scratch.clear();
            variant(c, scratch)?;
            outputs += 1;
        }
    }
    json::member_number(&mut draft.detail, "outputs", outputs);
    verdict.note(draft);
    Ok(())
}

/// Clause 5.14.5 with the notifications of clause 7.25: data changes, events, states.
fn publish(
    known: &Known,
    scratch: &mut String,
    cx: &mut Cx<'_>,
    side: Side,
    c: &mut Cursor<'_>,
    draft: &mut Draft,
) -> Result<(), Cut> {
    let id = c.u32_le("subscription_id")?;
    json::member_number(&mut draft.detail, "subscription", u64::from(id));
    let available = array(c, "available_sequence_numbers")?;
    c.skip(4 * available, "available_sequence_numbers")?;
    c.skip(1, "more_notifications")?;
    let sequence = c.u32_le("sequence_number")?;
    json::member_number(&mut draft.detail, "sequence", u64::from(sequence));
    c.skip(8, "publish_time")?;
    let notifications = array(c, "notification_data")?;
    if notifications == 0 {
        draft.operation = operation::SESSION_KEEP;
    }
    let source = source(cx, side);
    for _ in 0..notifications {
        let (kind, body) = extension(c)?;
        let mut body = Cursor::new(body);
        match kind {
            811 => {
                for _ in 0..array(&mut body, "monitored_items")? {
                    let handle = body.u32_le("client_handle")?;
                    scratch.clear();
                    let reading = data_value(&mut body, scratch)?;
                    push(draft, reading.number, scratch);
                    let Some(name) = known.item(id, handle) else { continue };
                    if draft.target.is_empty() {
                        draft.target.push_str(name);
                    }
                    if let Some(number) = reading.number
                        && !name.is_empty()
                        && !name.contains('#')
                    {
                        cx.measured(side, name, &source, number, reading.quality());
                    }
                }
            }
            916 => {
                draft.operation = operation::ALARM;
                for _ in 0..array(&mut body, "events")? {
                    body.skip(4, "client_handle")?;
                    for _ in 0..array(&mut body, "event_fields")? {
                        scratch.clear();
                        let number = variant(&mut body, scratch)?;
                        push(draft, number, scratch);
                    }
                }
            }
            820 => draft.status_code = status_name(body.u32_le("status")?),
            _ => json::member_number(&mut draft.detail, "notification", u64::from(kind)),
        }
    }
    Ok(())
}
