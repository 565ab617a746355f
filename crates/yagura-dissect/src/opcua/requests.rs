//! Requests of OPC 10000-4, clause 5, in the encoding of OPC 10000-6.

use std::borrow::Cow;

use crate::cursor::{Cursor, Cut};
use crate::exchange::Draft;
use crate::json;

use super::services::{Known, NODES_MAX, Node, Service, push_node};
use super::types::{
    array, bytes, data_value, extension, localized_text, node_id, qualified_name, shown, text, variant,
};

/// The attribute that is meant when a node is named alone.
const VALUE: u32 = 13;
/// Attributes of OPC 10000-3 by number.
const ATTRIBUTES: [&str; 27] = [
    "node_id",
    "node_class",
    "browse_name",
    "display_name",
    "description",
    "write_mask",
    "user_write_mask",
    "is_abstract",
    "symmetric",
    "inverse_name",
    "contains_no_loops",
    "event_notifier",
    "value",
    "data_type",
    "value_rank",
    "array_dimensions",
    "access_level",
    "user_access_level",
    "minimum_sampling_interval",
    "historizing",
    "executable",
    "user_executable",
    "data_type_definition",
    "role_permissions",
    "user_role_permissions",
    "access_restrictions",
    "access_level_ex",
];

/// Reads a request's header and parameters into a draft.
pub(super) fn read(
    known: &mut Known,
    service: &Service,
    request: u32,
    c: &mut Cursor<'_>,
    draft: &mut Draft,
) -> Result<(), Cut> {
    header(c, draft)?;
    match service.name {
        "open_secure_channel" => {
            c.skip(4, "protocol_version")?;
            let renews = c.u32_le("request_type")? == 1;
            json::member_text(&mut draft.detail, "request_type", if renews { "renew" } else { "issue" });
            let mode = security_mode(c.u32_le("security_mode")?);
            json::member_text(&mut draft.detail, "security_mode", mode);
        }
        "find_servers" | "get_endpoints" => draft.target.push_str(&text(c, "endpoint_url")?),
        "register_server" | "register_server2" => {
            draft.target.push_str(&text(c, "server_uri")?);
            json::member_text(&mut draft.detail, "product_uri", &text(c, "product_uri")?);
        }
        "create_session" => {
            let (uri, name) = application(c)?;
            json::member_text(&mut draft.detail, "client_uri", &uri);
            json::member_text(&mut draft.detail, "client_name", &name);
            bytes(c, "server_uri")?;
            draft.target.push_str(&text(c, "endpoint_url")?);
            json::member_text(&mut draft.detail, "session_name", &text(c, "session_name")?);
        }
        "activate_session" => activate(c, draft)?,
        "browse" => {
            node_id(c, &mut String::new())?;
            c.skip(16, "view")?;
            each_node(c, draft, |c, _, name| {
                node_id(c, name)?;
                c.skip(4, "browse_direction")?;
                node_id(c, &mut String::new())?;
                c.skip(9, "browse_masks")
            })?;
        }
        "read" => {
            c.skip(12, "read_parameters")?;
            let mut nodes = Vec::new();
            each_node(c, draft, |c, _, name| {
                read_value_id(c, name)?;
                push_node(&mut nodes, name, 0);
                Ok(())
            })?;
            known.keep(request, nodes);
        }
        "history_read" => {
            let (kind, body) = extension(c)?;
            let details = match kind {
                646 | 649 if body.len() > 16 => {
                    if kind == 646 {
                        "events"
                    } else {
                        "raw"
                    }
                }
                652 => "processed",
                655 => "at_time",
                _ => "other",
            };
            json::member_text(&mut draft.detail, "history", details);
            c.skip(5, "history_parameters")?;
            each_node(c, draft, |c, _, name| {
                node_id(c, name)?;
                bytes(c, "index_range")?;
                qualified_name(c)?;
                bytes(c, "continuation_point").map(drop)
            })?;
        }
        "write" => write(c, draft)?,
        "call" => call(c, draft)?,
        "create_subscription" => {
            json::key(&mut draft.detail, "publishing_interval_ms");
            json::push_float(&mut draft.detail, c.f64_le("publishing_interval")?);
        }
        "modify_subscription" => {
            subscription(c, draft)?;
            json::key(&mut draft.detail, "publishing_interval_ms");
            json::push_float(&mut draft.detail, c.f64_le("publishing_interval")?);
        }
        "create_monitored_items" => monitored(known, request, c, draft)?,
        "modify_monitored_items"
        | "set_monitoring_mode"
        | "set_triggering"
        | "delete_monitored_items"
        | "republish" => drop(subscription(c, draft)?),
        "delete_subscriptions" => {
            for _ in 0..array(c, "subscription_ids")? {
                let id = c.u32_le("subscription_id")?;
                known.forget(id);
                draft.push_value(f64::from(id));
            }
        }
        "add_nodes" => add_nodes(c, draft)?,
        "delete_nodes" => each_node(c, draft, |c, _, name| {
            node_id(c, name)?;
            c.skip(1, "delete_target_references")
        })?,
        "register_nodes" | "unregister_nodes" => each_node(c, draft, |c, _, name| node_id(c, name))?,
        _ => {}
    }
    Ok(())
}

/// Clause 7.33. The authentication token is a secret of the session and stays out.
fn header(c: &mut Cursor<'_>, draft: &mut Draft) -> Result<(), Cut> {
    node_id(c, &mut String::new())?;
    c.skip(8, "timestamp")?;
    let handle = c.u32_le("request_handle")?;
    json::member_number(&mut draft.detail, "request_handle", u64::from(handle));
    c.skip(4, "return_diagnostics")?;
    let audit = text(c, "audit_entry_id")?;
    if !audit.is_empty() {
        json::member_text(&mut draft.detail, "audit_entry_id", &audit);
    }
    c.skip(4, "timeout_hint")?;
    extension(c).map(drop)
}

/// Reads a list of nodes: the first is the target, the number of all is the count.
fn each_node<'a>(
    c: &mut Cursor<'a>,
    draft: &mut Draft,
    mut node: impl FnMut(&mut Cursor<'a>, &mut Draft, &mut String) -> Result<(), Cut>,
) -> Result<(), Cut> {
    let count = array(c, "nodes")?;
    let mut name = String::new();
    for index in 0..count {
        name.clear();
        node(c, draft, &mut name)?;
        if index == 0 {
            draft.target.push_str(&name);
        }
    }
    if draft.count() == 0 {
        draft.set_count(u32::try_from(count).unwrap_or(u32::MAX));
    }
    Ok(())
}

/// Clause 7.29: a node, with its attribute where it is not the value.
fn read_value_id(c: &mut Cursor<'_>, name: &mut String) -> Result<(), Cut> {
    attribute_of_node(c, name)?;
    bytes(c, "index_range")?;
    qualified_name(c).map(drop)
}

fn attribute_of_node(c: &mut Cursor<'_>, name: &mut String) -> Result<(), Cut> {
    node_id(c, name)?;
    let attribute = c.u32_le("attribute_id")?;
    if attribute != VALUE {
        name.push('#');
        match ATTRIBUTES.get((attribute as usize).wrapping_sub(1)) {
            Some(known) => name.push_str(known),
            None => json::push_number(name, u64::from(attribute)),
        }
    }
    Ok(())
}

/// Clause 7.2, ApplicationDescription: its URI and name.
pub(super) fn application<'a>(c: &mut Cursor<'a>) -> Result<(Cow<'a, str>, Cow<'a, str>), Cut> {
    let uri = text(c, "application_uri")?;
    bytes(c, "product_uri")?;
    let name = localized_text(c)?;
    c.skip(4, "application_type")?;
    bytes(c, "gateway_server_uri")?;
    bytes(c, "discovery_profile_uri")?;
    for _ in 0..array(c, "discovery_urls")? {
        bytes(c, "discovery_url")?;
    }
    Ok((uri, name))
}

/// Clause 7.20.
pub(super) fn security_mode(mode: u32) -> &'static str {
    match mode {
        1 => "None",
        2 => "Sign",
        3 => "SignAndEncrypt",
        _ => "Invalid",
    }
}

/// Clause 5.7.3: which kind of user, by name, never by secret.
fn activate(c: &mut Cursor<'_>, draft: &mut Draft) -> Result<(), Cut> {
    bytes(c, "signature_algorithm")?;
    bytes(c, "signature")?;
    for _ in 0..array(c, "certificates")? {
        bytes(c, "certificate")?;
        bytes(c, "signature")?;
    }
    for _ in 0..array(c, "locale_ids")? {
        bytes(c, "locale_id")?;
    }
    let (kind, body) = extension(c)?;
    let name = match kind {
        321 => "anonymous",
        324 => "user_name",
        327 => "certificate",
        940 => "issued",
        _ => "other",
    };
    json::member_text(&mut draft.detail, "user_token", name);
    if kind == 324 {
        let mut token = Cursor::new(body);
        bytes(&mut token, "policy_id")?;
        let user = text(&mut token, "user_name")?;
        draft.target.push_str(&user);
        json::member_text(&mut draft.detail, "user", &user);
        let password = bytes(&mut token, "password")?;
        json::member_bool(&mut draft.detail, "password_empty", password.is_empty());
        let encrypted = !bytes(&mut token, "encryption_algorithm")?.is_empty();
        json::member_bool(&mut draft.detail, "password_encrypted", encrypted);
    }
    Ok(())
}

/// Clause 5.11.4.
fn write(c: &mut Cursor<'_>, draft: &mut Draft) -> Result<(), Cut> {
    let mut value = String::new();
    each_node(c, draft, |c, draft, name| {
        attribute_of_node(c, name)?;
        bytes(c, "index_range")?;
        value.clear();
        let reading = data_value(c, &mut value)?;
        push(draft, reading.number, &value);
        Ok(())
    })
}

/// Adds a value that was read as JSON.
pub(super) fn push(draft: &mut Draft, number: Option<f64>, value: &str) {
    match number {
        Some(number) => draft.push_value(number),
        None => draft.push_json(value),
    }
}

/// Clause 5.12.2: `object/method`, and the arguments as values.
fn call(c: &mut Cursor<'_>, draft: &mut Draft) -> Result<(), Cut> {
    let mut value = String::new();
    each_node(c, draft, |c, draft, name| {
        node_id(c, name)?;
        name.push('/');
        node_id(c, name)?;
        for _ in 0..array(c, "input_arguments")? {
            value.clear();
            let number = variant(c, &mut value)?;
            push(draft, number, &value);
        }
        Ok(())
    })
}

fn subscription(c: &mut Cursor<'_>, draft: &mut Draft) -> Result<u32, Cut> {
    let id = c.u32_le("subscription_id")?;
    json::member_number(&mut draft.detail, "subscription", u64::from(id));
    Ok(id)
}

/// Clause 5.13.2.
fn monitored(known: &mut Known, request: u32, c: &mut Cursor<'_>, draft: &mut Draft) -> Result<(), Cut> {
    let id = subscription(c, draft)?;
    c.skip(4, "timestamps_to_return")?;
    let mut nodes: Vec<Node> = Vec::new();
    each_node(c, draft, |c, _, name| {
        read_value_id(c, name)?;
        c.skip(4, "monitoring_mode")?;
        let handle = c.u32_le("client_handle")?;
        push_node(&mut nodes, name, handle);
        c.skip(8, "sampling_interval")?;
        extension(c)?;
        c.skip(5, "queue_size")
    })?;
    debug_assert!(nodes.len() <= NODES_MAX);
    known.keep(request, nodes);
    known.keep_subscription(request, id);
    Ok(())
}

/// Clause 5.8.2.
fn add_nodes(c: &mut Cursor<'_>, draft: &mut Draft) -> Result<(), Cut> {
    each_node(c, draft, |c, draft, name| {
        node_id(c, &mut String::new())?;
        node_id(c, &mut String::new())?;
        node_id(c, name)?;
        draft.push_text(&shown(qualified_name(c)?.as_bytes()));
        c.skip(4, "node_class")?;
        extension(c)?;
        node_id(c, &mut String::new())
    })
}
