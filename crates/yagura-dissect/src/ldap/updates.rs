//! Requests that change or compare entries (RFC 4511, 4.6 to 4.10).

use super::{names, octets, plain, push_shown};
use crate::asn1;
use crate::cursor::{Cursor, Cut};
use crate::exchange::Draft;
use crate::json;

/// Most values of an attribute that are shown.
const VALUES_MAX: usize = 16;

/// Changes of an entry: one value of the row each.
pub fn modify(draft: &mut Draft, fields: &mut Cursor<'_>) -> Result<(), Cut> {
    draft.target = plain(octets(fields, "object")?);
    let mut changes = asn1::expect(fields, asn1::SEQUENCE, "changes")?.inside();
    while !changes.is_empty() {
        let mut change = asn1::expect(&mut changes, asn1::SEQUENCE, "change")?.inside();
        let kind = super::enumerated(&mut change, "change_operation")?;
        let attribute = asn1::expect(&mut change, asn1::SEQUENCE, "modification")?;
        let mut text = String::new();
        json::member_text(&mut text, "change", names::change(kind));
        push_attribute(draft, text, attribute.inside())?;
    }
    Ok(())
}

/// A new entry: one value of the row for each attribute.
pub fn add(draft: &mut Draft, fields: &mut Cursor<'_>) -> Result<(), Cut> {
    draft.target = plain(octets(fields, "entry")?);
    let mut attributes = asn1::expect(fields, asn1::SEQUENCE, "attributes")?.inside();
    while !attributes.is_empty() {
        let attribute = asn1::expect(&mut attributes, asn1::SEQUENCE, "attribute")?;
        push_attribute(draft, String::new(), attribute.inside())?;
    }
    Ok(())
}

/// Another name for an entry.
pub fn modify_dn(draft: &mut Draft, fields: &mut Cursor<'_>) -> Result<(), Cut> {
    draft.target = plain(octets(fields, "entry")?);
    json::member_text(&mut draft.detail, "new_rdn", &plain(octets(fields, "new_rdn")?));
    let delete = asn1::expect(fields, 0x01, "delete_old_rdn")?.body;
    json::member_bool(&mut draft.detail, "delete_old", delete.iter().any(|octet| *octet != 0));
    if let Some(superior) = asn1::optional(fields, 0x80, "new_superior")? {
        json::member_text(&mut draft.detail, "new_superior", &plain(superior.body));
    }
    Ok(())
}

/// Whether an entry has a value.
pub fn compare(draft: &mut Draft, fields: &mut Cursor<'_>) -> Result<(), Cut> {
    draft.target = plain(octets(fields, "entry")?);
    let mut assertion = asn1::expect(fields, asn1::SEQUENCE, "assertion")?.inside();
    let attribute = octets(&mut assertion, "attribute")?;
    json::member_text(&mut draft.detail, "attribute", &plain(attribute));
    let value = octets(&mut assertion, "assertion_value")?;
    if !names::is_secret(attribute) {
        let mut text = String::new();
        push_shown(&mut text, value);
        draft.push_json(&text);
    }
    Ok(())
}

/// An attribute with its values, as an object whose inside `text` begins.
fn push_attribute(draft: &mut Draft, mut text: String, mut fields: Cursor<'_>) -> Result<(), Cut> {
    let attribute = octets(&mut fields, "attribute_type")?;
    json::member_text(&mut text, "attribute", &plain(attribute));
    let mut values = asn1::expect(&mut fields, asn1::SET, "attribute_values")?.inside();
    json::key(&mut text, "values");
    text.push('[');
    let (mut count, secret) = (0, names::is_secret(attribute));
    while !values.is_empty() {
        let value = octets(&mut values, "attribute_value")?;
        if count < VALUES_MAX && !secret {
            if count > 0 {
                text.push(',');
            }
            push_shown(&mut text, value);
        }
        count += 1;
    }
    text.push(']');
    if count > VALUES_MAX || secret {
        json::member_number(&mut text, "count", count as u64);
    }
    text.push('}');
    draft.push_json(&text);
    Ok(())
}
