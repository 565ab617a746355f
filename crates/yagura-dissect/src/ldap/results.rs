//! What servers answer (RFC 4511, 4.1.9 and 4.5.2): entries, references, results; what the root
//! says of the server (RFC 4512, 5.1), and domain controllers without a connection (MS-ADTS 6.3.1.9).

use yagura_event::rows::IdentityRow;
use yagura_event::vocabulary::{operation, status};

use super::{Key, Ldap, NAME, Parts, enumerated, names, octets, op, plain};
use crate::cursor::{Cursor, Cut};
use crate::exchange::Draft;
use crate::{Cx, Side, asn1, json, tls};

/// Most attributes of an entry that are looked at, and values of each.
const ATTRIBUTES_MAX: usize = 256;
/// Most labels and pointers of a name in a controller's answer.
const LABELS_MAX: usize = 64;

/// What a server says of itself.
#[derive(Default)]
struct Said {
    name: String,
    vendor: String,
    version: String,
    domain: String,
}

impl Ldap {
    /// The request that a message answers; a new draft for one that was not seen.
    fn asked(&mut self, cx: &Cx<'_>, side: Side, id: u32, function: &'static str) -> (Key, Draft) {
        if let Some(found) = self.exchanges.take_if(side, |key, _| key.id == id) {
            return found;
        }
        let operation = match function {
            "bind" => operation::AUTHENTICATE,
            "search" | "compare" => operation::READ,
            "extended" => operation::OTHER,
            _ => operation::CONFIGURE,
        };
        let mut draft = self.exchanges.draft(cx, side.other(), operation, function);
        json::member_number(&mut draft.detail, "message", u64::from(id));
        draft.status = status::UNASKED;
        (Key { id, ..Key::default() }, draft)
    }

    pub(super) fn entry(&mut self, cx: &mut Cx<'_>, side: Side, parts: &Parts<'_>) {
        let (key, mut draft) = self.asked(cx, side, parts.id, "search");
        let mut fields = parts.op.inside();
        match octets(&mut fields, "entry_name") {
            Ok(name) => draft.push_text(&plain(name)),
            Err(cut) if parts.whole => wrong(&mut draft, cut),
            Err(_) => draft.push_text(""),
        }
        if key.root && parts.whole {
            let mut said = Said::default();
            match attributes(&mut fields, &mut said) {
                Ok(()) => self.say(cx, side, &said),
                Err(cut) => wrong(&mut draft, cut),
            }
        }
        self.exchanges.ask(cx, key, draft);
    }

    pub(super) fn reference(&mut self, cx: &mut Cx<'_>, side: Side, parts: &Parts<'_>) {
        let (mut key, draft) = self.asked(cx, side, parts.id, "search");
        key.references = key.references.saturating_add(1);
        self.exchanges.ask(cx, key, draft);
    }

    pub(super) fn result(&mut self, cx: &mut Cx<'_>, side: Side, parts: &Parts<'_>) {
        let function = match parts.op.tag {
            op::BIND_RESULT => "bind",
            op::SEARCH_RESULT => "search",
            op::MODIFY_RESULT => "modify",
            op::ADD_RESULT => "add",
            op::DELETE_RESULT => "delete",
            op::MODIFY_DN_RESULT => "modify_dn",
            op::COMPARE_RESULT => "compare",
            _ => "extended",
        };
        let (key, mut draft) = self.asked(cx, side, parts.id, function);
        let seen = draft.status != status::UNASKED;
        if key.references > 0 {
            json::member_number(&mut draft.detail, "references", u64::from(key.references));
        }
        let read = self.outcome(cx, side, &mut draft, parts);
        if let Err(cut) = read
            && parts.whole
        {
            wrong(&mut draft, cut);
        }
        if seen {
            self.exchanges.pair(cx, draft);
        } else if draft.function == "notice_of_disconnection" {
            draft.status = status::ONE_WAY;
            self.exchanges.unasked(cx, draft);
        } else {
            self.exchanges.unasked(cx, draft);
        }
    }

    fn outcome(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        draft: &mut Draft,
        parts: &Parts<'_>,
    ) -> Result<(), Cut> {
        let mut fields = parts.op.inside();
        let code = enumerated(&mut fields, "result_code")?;
        if code != 0 {
            let name = names::result(code);
            if draft.status == status::MALFORMED {
                json::member_text(&mut draft.detail, "result", &name);
            } else if names::is_good(code) {
                draft.status_code = name;
            } else {
                draft.deny(name);
            }
        }
        let matched = octets(&mut fields, "matched_dn")?;
        let diagnostic = octets(&mut fields, "diagnostic_message")?;
        if matched.starts_with(b"NTLMSSP\0") {
            // Windows' own way of binding has its challenge here.
            self.token(cx, side, draft, matched);
        } else if !matched.is_empty() {
            json::member_text(&mut draft.detail, "matched", &plain(matched));
        }
        if !diagnostic.is_empty() {
            let text = plain(diagnostic);
            json::member_text(&mut draft.detail, "diagnostic", text.trim_end_matches('\0'));
        }
        while !fields.is_empty() {
            let field = asn1::element(&mut fields, "result")?;
            match (parts.op.tag, field.tag) {
                (op::BIND_RESULT, 0x87) => self.token(cx, side, draft, field.body),
                (op::EXTENDED_RESULT, 0x8a) if draft.target.is_empty() => {
                    let identifier = plain(field.body);
                    super::name_extended(draft, &identifier);
                    draft.target = identifier;
                }
                (op::EXTENDED_RESULT, 0x8b) if draft.function == "who_am_i" => {
                    json::member_text(&mut draft.detail, "identity", &plain(field.body));
                }
                (_, 0xa3) => {
                    if let Ok(first) = octets(&mut field.inside(), "referral") {
                        json::member_text(&mut draft.detail, "referral", &plain(first));
                    }
                }
                _ => {}
            }
        }
        match &*draft.function {
            "bind" => self.layer |= code == 0 && draft.detail.contains("\"sasl\":"),
            "start_tls" if code == 0 => {
                let flow = cx.flow;
                self.tls.get_or_insert_with(|| tls::start(flow));
            }
            "start_tls" => self.tls_asked = false,
            _ => {}
        }
        Ok(())
    }

    /// Writes what the server says it is, when it is new.
    fn say(&mut self, cx: &mut Cx<'_>, side: Side, said: &Said) {
        let mut detail = String::new();
        if !said.domain.is_empty() {
            json::member_text(&mut detail, "domain", &said.domain);
        }
        json::end(&mut detail);
        let all = [&*said.name, &said.vendor, &said.version, &detail].join("\n");
        if all.trim().is_empty() || self.said == all {
            return;
        }
        self.said = all;
        cx.identity(
            NAME,
            side,
            IdentityRow {
                vendor: &said.vendor,
                firmware: &said.version,
                name: &said.name,
                detail: &detail,
                ..IdentityRow::default()
            },
        );
    }
}

fn wrong(draft: &mut Draft, cut: Cut) {
    if draft.status != status::MALFORMED {
        draft.wrong(cut);
    }
}

/// Reads the root's attributes.
fn attributes(fields: &mut Cursor<'_>, said: &mut Said) -> Result<(), Cut> {
    let mut list = asn1::expect(fields, asn1::SEQUENCE, "attributes")?.inside();
    for _ in 0..ATTRIBUTES_MAX {
        if list.is_empty() {
            break;
        }
        let mut attribute = asn1::expect(&mut list, asn1::SEQUENCE, "attribute")?.inside();
        let name = octets(&mut attribute, "attribute_type")?;
        let mut values = asn1::expect(&mut attribute, asn1::SET, "attribute_values")?.inside();
        if values.is_empty() {
            continue;
        }
        let value = octets(&mut values, "attribute_value")?;
        match name.to_ascii_lowercase().as_slice() {
            b"dnshostname" => said.name = plain(value),
            b"vendorname" => said.vendor = plain(value),
            b"vendorversion" => said.version = plain(value),
            b"defaultnamingcontext" => said.domain = plain(value),
            b"netlogon" => controller(value, said),
            _ => {}
        }
    }
    Ok(())
}

/// A domain controller's answer to the question who it is: after its flags and its domain's id,
/// names of the forest, the domain and itself, compressed as in DNS.
fn controller(value: &[u8], said: &mut Said) {
    let (Some(code), Some(_)) = (value.first(), value.get(24..)) else { return };
    // Found, and user unknown, in the extended form.
    if !matches!(code, 23 | 25) {
        return;
    }
    let mut at = 24;
    let _forest = compressed(value, &mut at);
    said.domain = compressed(value, &mut at);
    said.name = compressed(value, &mut at);
}

fn compressed(value: &[u8], at: &mut usize) -> String {
    let mut out = String::new();
    let (mut place, mut jumped) = (*at, false);
    for _ in 0..LABELS_MAX {
        let Some(&length) = value.get(place) else { break };
        match length {
            0 => {
                place += 1;
                break;
            }
            0xc0.. => {
                let Some(&low) = value.get(place + 1) else { break };
                if !jumped {
                    *at = place + 2;
                    jumped = true;
                }
                place = usize::from(length & 0x3f) << 8 | usize::from(low);
                continue;
            }
            _ => {}
        }
        let Some(label) = value.get(place + 1..place + 1 + usize::from(length)) else { break };
        if !out.is_empty() {
            out.push('.');
        }
        out.push_str(&String::from_utf8_lossy(label));
        place += 1 + usize::from(length);
    }
    if !jumped {
        *at = place;
    }
    out
}
