//! Confirmed services (ISO 9506-2, clauses 10 to 19 and annex D): requests and their answers.

use std::borrow::Cow;

use yagura_event::rows::IdentityRow;
use yagura_event::vocabulary::operation;

use super::ber::{Tlv, context, universal};
use super::names::{self, Accessed};
use super::services::{self, tag};
use super::{Asked, Key, Mms, PROTOCOL, broken, report};
use crate::cursor::Cut;
use crate::exchange::Draft;
use crate::{Cx, Side, json};

/// Most names of a list that are written; they are counted beyond.
const LISTED_MAX: usize = 512;
/// Most bytes of a text.
const TEXT_MAX: usize = 256;

impl Mms {
    pub(super) fn request(&mut self, cx: &mut Cx<'_>, side: Side, apdu: &Tlv<'_>) -> Result<(), Cut> {
        let (id, service) = parts(apdu)?;
        let Some(service) = service else {
            let mut draft = self.draft(cx, side, operation::OTHER, "request");
            json::member_number(&mut draft.detail, "invoke_id", id);
            self.exchanges.ask(cx, Key::Invoke(id, Asked { service: u32::MAX, ..Asked::default() }), draft);
            return Ok(());
        };
        let number = service.choice().unwrap_or(u32::MAX);
        let (operation, name) = services::confirmed(number);
        let mut draft = self.draft(cx, side, operation, name);
        json::member_number(&mut draft.detail, "invoke_id", id);
        json::member_number(&mut draft.detail, "service", u64::from(number));
        let mut asked = Asked { service: number, ..Asked::default() };
        self.ask(cx, &mut draft, &mut asked, &service);
        self.exchanges.ask(cx, Key::Invoke(id, asked), draft);
        Ok(())
    }

    fn ask(&mut self, cx: &mut Cx<'_>, draft: &mut Draft, asked: &mut Asked, service: &Tlv<'_>) {
        match asked.service {
            tag::READ => {
                let accessed = service.child(context(1)).and_then(|s| s.children().next());
                let Some(accessed) = accessed.and_then(|s| names::accessed(&s)) else {
                    return broken(draft, "variable_access_specification");
                };
                draft.set_count(accessed.count);
                report::targets(draft, &accessed);
                // Selecting before operating is a read (IEC 61850-8-1, 20.3).
                if let Some(step @ "select") = accessed.names.first().and_then(|name| names::control(name)) {
                    draft.operation = operation::CONTROL;
                    json::member_text(&mut draft.detail, "control", step);
                }
                asked.accessed = accessed;
            }
            tag::WRITE => {
                let mut children = service.children();
                let Some(accessed) = children.next().and_then(|s| names::accessed(&s)) else {
                    return broken(draft, "variable_access_specification");
                };
                report::targets(draft, &accessed);
                let values: Vec<Tlv<'_>> =
                    children.next().map(|list| list.children().take(4096).collect()).unwrap_or_default();
                write_values(draft, &values);
                let first = accessed.names.first().map_or("", String::as_str);
                draft.operation = names::written(first);
                if let Some(step) = names::control(first) {
                    json::member_text(&mut draft.detail, "control", step);
                    origin(draft, values.first());
                }
            }
            tag::FILE_READ | tag::FILE_CLOSE | tag::UPLOAD_SEGMENT | tag::TERMINATE_UPLOAD_SEQUENCE => {
                let number = service.unsigned().unwrap_or(0);
                let files = matches!(asked.service, tag::FILE_READ | tag::FILE_CLOSE);
                let (kind, key) = if files { ("frsm_id", "file") } else { ("ulsm_id", "upload") };
                json::member_number(&mut draft.detail, kind, number);
                asked.transfer = format!("{key} {number}");
                draft.target.push_str(self.bodies.name(&asked.transfer));
            }
            tag::INITIATE_DOWNLOAD_SEQUENCE => {
                any_name(&mut draft.target, service);
                let name = draft.target.clone();
                self.bodies.open(cx, format!("download {name}"), name);
            }
            tag::DOWNLOAD_SEGMENT | tag::TERMINATE_DOWNLOAD_SEQUENCE => {
                any_name(&mut draft.target, service);
                asked.transfer = format!("download {}", draft.target);
                if asked.service == tag::TERMINATE_DOWNLOAD_SEQUENCE {
                    self.bodies.finish(&asked.transfer, draft);
                }
            }
            _ => about(draft, asked.service, service),
        }
    }

    pub(super) fn response(&mut self, cx: &mut Cx<'_>, side: Side, apdu: &Tlv<'_>) -> Result<(), Cut> {
        let (id, service) = parts(apdu)?;
        let Some(service) = service else {
            // Some devices answer with the id alone.
            let mut draft = self.draft(cx, side.other(), operation::OTHER, "response");
            json::member_number(&mut draft.detail, "invoke_id", id);
            self.exchanges.unasked(cx, draft);
            return Ok(());
        };
        let number = service.choice().unwrap_or(u32::MAX);
        let found = self.exchanges.take_if(
            side,
            |key, _| matches!(key, Key::Invoke(known, asked) if *known == id && asked.service == number),
        );
        if let Some((Key::Invoke(_, asked), mut draft)) = found {
            self.answered(cx, side, &mut draft, &asked, &service);
            self.exchanges.pair(cx, draft);
            return Ok(());
        }
        let (operation, name) = services::confirmed(number);
        let mut draft = self.draft(cx, side.other(), operation, name);
        json::member_number(&mut draft.detail, "invoke_id", id);
        json::member_number(&mut draft.detail, "service", u64::from(number));
        let asked = Asked { service: number, ..Asked::default() };
        self.answered(cx, side, &mut draft, &asked, &service);
        self.exchanges.unasked(cx, draft);
        Ok(())
    }

    fn answered(&mut self, cx: &mut Cx<'_>, side: Side, draft: &mut Draft, asked: &Asked, service: &Tlv<'_>) {
        match asked.service {
            tag::READ => {
                let Some(found) = service.child(context(1)) else {
                    return broken(draft, "list_of_access_result");
                };
                let found: Vec<Tlv<'_>> = found.children().take(4096).collect();
                draft.set_count(0);
                if asked.accessed.names.is_empty()
                    && let Some(said) = service.child(context(0)).and_then(|s| s.children().next())
                    && let Some(accessed) = names::accessed(&said)
                {
                    report::targets(draft, &accessed);
                    return report::results(cx, side, draft, &accessed, &found);
                }
                report::results(cx, side, draft, &asked.accessed, &found);
            }
            tag::WRITE => {
                for result in service.children().filter(|result| result.tag == context(0)) {
                    draft.deny(services::access_error(result.unsigned().unwrap_or(0)));
                }
            }
            tag::STATUS => device_status(draft, service),
            tag::GET_NAME_LIST => {
                if let Some(found) = service.child(context(0)) {
                    list(draft, found.children(), Tlv::text);
                }
                more(draft, service.child(context(1)));
            }
            tag::IDENTIFY => {
                let text = |number| service.child(context(number)).map(|t| cut(t.text().into_owned()));
                let [vendor, model, firmware] = [0, 1, 2].map(|n| text(n).unwrap_or_default());
                for said in [&vendor, &model, &firmware] {
                    draft.push_text(said);
                }
                let row = IdentityRow {
                    vendor: &vendor,
                    model: &model,
                    firmware: &firmware,
                    ..IdentityRow::default()
                };
                cx.identity(PROTOCOL.name, side, row);
            }
            tag::GET_NAMED_VARIABLE_LIST_ATTRIBUTES => {
                // The variables stand under their own tag here.
                if let Some(found) = service.child(context(1)) {
                    let found = Tlv { tag: context(0), ..found };
                    if let Some(accessed) = names::accessed(&found) {
                        list(draft, accessed.names.iter(), |name| name.as_str().into());
                    }
                }
                deletable(draft, service);
            }
            tag::GET_VARIABLE_ACCESS_ATTRIBUTES => deletable(draft, service),
            tag::DELETE_NAMED_VARIABLE_LIST => {
                for (number, name) in [(0, "matched"), (1, "deleted")] {
                    if let Some(n) = service.child(context(number)).and_then(|n| n.unsigned()) {
                        json::member_number(&mut draft.detail, name, n);
                    }
                }
            }
            tag::FILE_OPEN => {
                let id = service.child(context(0)).and_then(|id| id.unsigned()).unwrap_or(0);
                json::member_number(&mut draft.detail, "frsm_id", id);
                if let Some(attributes) = service.child(context(1)) {
                    let size = attributes.child(context(0)).and_then(|size| size.unsigned());
                    if let Some(size) = size {
                        json::member_number(&mut draft.detail, "file_bytes", size);
                    }
                    if let Some(modified) = attributes.child(context(1)) {
                        json::member_text(&mut draft.detail, "last_modified", &modified.text());
                    }
                }
                self.bodies.open(cx, format!("file {id}"), draft.target.clone());
            }
            tag::INITIATE_UPLOAD_SEQUENCE => {
                let id = service.child(context(0)).and_then(|id| id.unsigned()).unwrap_or(0);
                json::member_number(&mut draft.detail, "ulsm_id", id);
                self.bodies.open(cx, format!("upload {id}"), draft.target.clone());
            }
            tag::FILE_READ => {
                if let Some(part) = service.child(context(0)) {
                    draft.body_bytes = Some(part.body.len() as u64);
                    self.bodies.add(&asked.transfer, part.body);
                }
                more(draft, service.child(context(1)));
            }
            tag::UPLOAD_SEGMENT | tag::DOWNLOAD_SEGMENT => {
                let mut children = service.children();
                // Data that is coded, or not: the first element in any case.
                let part = match children.next() {
                    Some(part) if part.constructed => part.children().next().or(Some(part)),
                    part => part,
                };
                if let Some(part) = part {
                    draft.body_bytes = Some(part.body.len() as u64);
                    self.bodies.add(&asked.transfer, part.body);
                }
                more(draft, children.next());
            }
            tag::FILE_CLOSE | tag::TERMINATE_UPLOAD_SEQUENCE => self.bodies.finish(&asked.transfer, draft),
            tag::FILE_DIRECTORY => {
                if let Some(entries) = service.child(context(0)) {
                    // A sequence within, though the standard's tag is implicit in some devices.
                    let entries = match entries.children().next() {
                        Some(inner) if inner.tag == universal(16) && inner.child(universal(16)).is_some() => {
                            inner
                        }
                        _ => entries,
                    };
                    list(draft, entries.children(), |entry| {
                        let mut name = String::new();
                        if let Some(parts) = entry.child(context(0)) {
                            file_name(&mut name, &parts);
                        }
                        name.into()
                    });
                }
                more(draft, service.child(context(1)));
            }
            _ => {}
        }
    }
}

/// What a request of a service without further state is about.
fn about(draft: &mut Draft, number: u32, service: &Tlv<'_>) {
    match number {
        tag::GET_NAME_LIST => {
            if let Some(class) = service.child(context(0)).and_then(|class| class.children().next()) {
                let class = class.unsigned().unwrap_or(0);
                json::member_text(&mut draft.detail, "object_class", object_class(class));
            }
            if let Some(scope) = service.child(context(1)).and_then(|scope| scope.children().next()) {
                let scope_name = match scope.choice() {
                    Some(0) => "vmd",
                    Some(1) => "domain",
                    _ => "association",
                };
                json::member_text(&mut draft.detail, "scope", scope_name);
                draft.target.push_str(&scope.text());
            }
            if let Some(after) = service.child(context(2)) {
                json::member_text(&mut draft.detail, "continue_after", &after.text());
            }
        }
        tag::GET_VARIABLE_ACCESS_ATTRIBUTES | tag::GET_NAMED_VARIABLE_LIST_ATTRIBUTES => {
            let Some(name) = service.children().next() else { return broken(draft, "object_name") };
            // The name of a variable is one choice deeper than that of a list.
            if number == tag::GET_NAMED_VARIABLE_LIST_ATTRIBUTES {
                names::push(&mut draft.target, &name);
            } else if let (Some(0), Some(name)) = (name.choice(), name.children().next()) {
                names::push(&mut draft.target, &name);
            }
        }
        tag::DEFINE_NAMED_VARIABLE_LIST => {
            let mut children = service.children();
            if let Some(name) = children.next() {
                names::push(&mut draft.target, &name);
            }
            if let Some(accessed) = children.next().and_then(|list| names::accessed(&list)) {
                list(draft, accessed.names.iter(), |name| name.as_str().into());
            }
        }
        tag::DELETE_NAMED_VARIABLE_LIST => {
            let lists = service.child(context(1));
            let lists = lists.iter().flat_map(Tlv::children).take(names::NAMES_MAX);
            let names: Vec<String> = lists.map(|name| names::of(&name)).collect();
            let count = names.len() as u32;
            report::targets(draft, &Accessed { names, count, list: false });
            draft.set_count(count);
        }
        tag::FILE_OPEN => {
            if let Some(name) = service.child(context(0)) {
                file_name(&mut draft.target, &name);
            }
            if let Some(at) = service.child(context(1)).and_then(|at| at.unsigned()).filter(|at| *at > 0) {
                json::member_number(&mut draft.detail, "position", at);
            }
        }
        tag::FILE_RENAME => {
            if let Some(name) = service.child(context(0)) {
                file_name(&mut draft.target, &name);
            }
            if let Some(name) = service.child(context(1)) {
                let mut new = String::new();
                file_name(&mut new, &name);
                json::member_text(&mut draft.detail, "new_name", &new);
            }
        }
        tag::FILE_DELETE => file_name(&mut draft.target, service),
        tag::FILE_DIRECTORY => {
            if let Some(name) = service.child(context(0)) {
                file_name(&mut draft.target, &name);
            }
        }
        tag::OBTAIN_FILE => {
            if let Some(name) = service.child(context(1)) {
                let mut source = String::new();
                file_name(&mut source, &name);
                json::member_text(&mut draft.detail, "source_file", &source);
            }
            if let Some(name) = service.child(context(2)) {
                file_name(&mut draft.target, &name);
            }
        }
        tag::STATUS | tag::IDENTIFY => {}
        _ => any_name(&mut draft.target, service),
    }
}

/// The invoke id and the service of a confirmed PDU, which some leave out.
fn parts<'a>(apdu: &Tlv<'a>) -> Result<(u64, Option<Tlv<'a>>), Cut> {
    let mut children = apdu.children();
    let id = children.next().filter(|id| id.tag == universal(2)).and_then(|id| id.unsigned());
    let id = id.ok_or(Cut { what: "invoke_id", at: 0 })?;
    // Modifiers come before the service, under a universal tag.
    Ok((id, children.find(|child| child.choice().is_some())))
}

/// What a device says of its state (`Status`, `UnsolicitedStatus`).
pub(super) fn device_status(draft: &mut Draft, service: &Tlv<'_>) {
    const LOGICAL: [&str; 4] = [
        "state_changes_allowed",
        "no_state_changes_allowed",
        "limited_services_permitted",
        "support_services_allowed",
    ];
    const PHYSICAL: [&str; 4] = ["operational", "partially_operational", "inoperable", "needs_commissioning"];
    for (number, name, names) in [(0, "logical_status", LOGICAL), (1, "physical_status", PHYSICAL)] {
        let state = service.child(context(number)).and_then(|state| state.unsigned());
        if let Some(state) = state.and_then(|state| names.get(usize::try_from(state).ok()?)) {
            json::member_text(&mut draft.detail, name, state);
        }
    }
}

fn write_values(draft: &mut Draft, values: &[Tlv<'_>]) {
    let mut text = String::new();
    for value in values {
        match super::data::number(value) {
            Some(number) if value.choice() != Some(super::data::kind::BOOLEAN) => draft.push_value(number),
            _ => {
                text.clear();
                super::data::push(&mut text, value);
                draft.push_json(&text);
            }
        }
    }
}

/// Who operates: the category and name within a control's value (IEC 61850-7-3, `Originator`).
fn origin(draft: &mut Draft, value: Option<&Tlv<'_>>) {
    use super::data::kind;
    let Some(value) = value.filter(|value| value.choice() == Some(kind::STRUCTURE)) else { return };
    let structure = value.children().skip(1).find(|part| part.choice() == Some(kind::STRUCTURE));
    let Some(structure) = structure else { return };
    let mut parts = structure.children();
    let category = parts.next().and_then(|category| category.signed());
    if let (Some(category @ 0..), Some(name)) = (category, parts.next()) {
        json::member_number(&mut draft.detail, "origin_category", category as u64);
        if name.choice() == Some(kind::OCTET_STRING) && !name.body.is_empty() {
            json::member_text(&mut draft.detail, "origin", &cut(name.text().into_owned()));
        }
    }
}

/// Adds a list's names to the values.
fn list<'a, T>(draft: &mut Draft, names: impl Iterator<Item = T>, text: impl Fn(&T) -> Cow<'a, str>) {
    draft.set_count(0);
    let mut count = 0;
    for name in names {
        count += 1;
        if count <= LISTED_MAX && !draft.is_cut() {
            draft.push_text(&text(&name));
        }
    }
    draft.set_count(count as u32);
}

/// Whether more follows, which is so when nothing is said.
fn more(draft: &mut Draft, said: Option<Tlv<'_>>) {
    let more = said.is_none_or(|said| said.body.iter().any(|b| *b != 0));
    json::member_bool(&mut draft.detail, "more_follows", more);
}

fn deletable(draft: &mut Draft, service: &Tlv<'_>) {
    if let Some(deletable) = service.child(context(0)) {
        json::member_bool(&mut draft.detail, "deletable", deletable.body.iter().any(|b| *b != 0));
    }
}

/// A file's name: the parts of its path.
fn file_name(out: &mut String, parts: &Tlv<'_>) {
    for (at, part) in parts.children().take(16).enumerate() {
        if at > 0 {
            out.push('/');
        }
        out.push_str(&part.text());
    }
}

/// The name that a service is about, whose place differs: itself, or the first that it has.
fn any_name(out: &mut String, service: &Tlv<'_>) {
    if !service.constructed {
        if service.body.iter().all(|b| b.is_ascii_graphic()) {
            out.push_str(&service.text());
        }
        return;
    }
    let Some(first) = service.children().next() else { return };
    if !first.constructed {
        if !first.body.is_empty() && first.body.iter().all(|b| b.is_ascii_graphic()) {
            out.push_str(&first.text());
        }
    } else if first.child(universal(26)).is_some() {
        names::push(out, &first);
    } else if let Some(name) = first.children().next() {
        names::push(out, &name);
    }
}

fn cut(mut text: String) -> String {
    let mut end = text.len().min(TEXT_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

fn object_class(class: u64) -> &'static str {
    const NAMES: [&str; 12] = [
        "named_variable",
        "scattered_access",
        "named_variable_list",
        "named_type",
        "semaphore",
        "event_condition",
        "event_action",
        "event_enrollment",
        "journal",
        "domain",
        "program_invocation",
        "operator_station",
    ];
    usize::try_from(class).ok().and_then(|class| NAMES.get(class)).copied().unwrap_or("other")
}
