//! Names of objects (ISO 9506-2, 7.5.2), and what IEC 61850-8-1 says by them: a logical node, a
//! functional constraint and a path, `MMXU1$MX$TotW$mag$f`.

use yagura_event::vocabulary::operation;

use super::ber::{Tlv, context, universal};

/// Most names of one message that are kept.
pub(super) const NAMES_MAX: usize = 256;

/// Appends an object's name: `domain/item`, `item` of the device, `@/item` of the association.
pub(super) fn push(out: &mut String, name: &Tlv<'_>) {
    match name.choice() {
        Some(1) => {
            for (at, part) in name.children().take(2).enumerate() {
                if at > 0 {
                    out.push('/');
                }
                out.push_str(&part.text());
            }
        }
        Some(2) => {
            out.push_str("@/");
            out.push_str(&name.text());
        }
        _ => out.push_str(&name.text()),
    }
}

/// An object's name as a text of its own.
pub(super) fn of(name: &Tlv<'_>) -> String {
    let mut out = String::new();
    push(&mut out, name);
    out
}

/// What an access is about: its variables, or the list that names them.
#[derive(Clone, Debug, Default)]
pub(super) struct Accessed {
    /// The variables; one name of a list where there is no telling which it has.
    pub names: Vec<String>,
    /// How many there are.
    pub count: u32,
    /// Whether it is one list's name.
    pub list: bool,
}

/// Reads a `VariableAccessSpecification`; `None` when it is none.
pub(super) fn accessed(specification: &Tlv<'_>) -> Option<Accessed> {
    let mut found = Accessed::default();
    match specification.choice()? {
        0 => {
            for variable in specification.children() {
                found.count = found.count.saturating_add(1);
                if found.names.len() < NAMES_MAX {
                    found.names.push(variable_name(&variable));
                }
            }
        }
        1 => {
            found.names.push(specification.children().next().map(|name| of(&name)).unwrap_or_default());
            found.count = 1;
            found.list = true;
        }
        _ => return None,
    }
    Some(found)
}

/// One variable's name with the part of it that is meant.
fn variable_name(variable: &Tlv<'_>) -> String {
    let mut out = String::new();
    let mut children = variable.children();
    if let Some(specification) = children.next() {
        match (specification.choice(), specification.children().next()) {
            (Some(0), Some(name)) => push(&mut out, &name),
            (Some(1), Some(address)) => {
                out.push_str("address ");
                match address.choice() {
                    Some(1) => out.push_str(&address.text()),
                    _ => address.body.iter().take(16).for_each(|b| out.push_str(&format!("{b:02x}"))),
                }
            }
            _ => {}
        }
    }
    if let Some(access) = children.find(|child| child.tag == context(5)) {
        component(&mut out, &access, 0);
    }
    out
}

/// Appends what an alternate access selects: components by name, elements by index.
fn component(out: &mut String, access: &Tlv<'_>, depth: usize) {
    for child in access.children().take(8) {
        match child.choice() {
            // selectAccess.component, or component of selectAlternateAccess.
            Some(1) if !child.constructed => {
                out.push('$');
                out.push_str(&child.text());
            }
            Some(2) if !child.constructed => {
                if let Some(index) = child.unsigned() {
                    out.push_str(&format!("[{index}]"));
                }
            }
            _ if depth < 6 && (child.constructed || child.tag == universal(16)) => {
                component(out, &child, depth + 1);
            }
            _ => {}
        }
    }
}

/// The functional constraint of a name (IEC 61850-7-2, annex B): `CO` of `LD/XCBR1$CO$Pos$Oper`.
pub(super) fn constraint(name: &str) -> &str {
    name.split('$').nth(1).unwrap_or_default()
}

/// The step of a control that a name stands for (IEC 61850-8-1, clause 20).
pub(super) fn control(name: &str) -> Option<&'static str> {
    let item = name.rsplit('/').next().unwrap_or(name);
    let mut parts = item.split('$').skip(1);
    if parts.next() != Some("CO") {
        return None;
    }
    let found = parts.find_map(|part| match part {
        "Oper" => Some("operate"),
        "SBO" => Some("select"),
        "SBOw" => Some("select_with_value"),
        "Cancel" => Some("cancel"),
        _ => None,
    });
    Some(found.unwrap_or("control"))
}

/// What writing to an object does.
pub(super) fn written(name: &str) -> &'static str {
    match constraint(name) {
        "CO" => operation::CONTROL,
        // Report, log and GOOSE controls, configuration and description.
        "RP" | "BR" | "LG" | "GO" | "GS" | "MS" | "US" | "CF" | "DC" => operation::CONFIGURE,
        _ => operation::WRITE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_say() {
        assert_eq!(control("LD0CTRL/XCBR1$CO$Pos$Oper"), Some("operate"));
        assert_eq!(control("LD0CTRL/XCBR1$CO$Pos$SBOw$ctlVal"), Some("select_with_value"));
        assert_eq!(control("LD0/MMXU1$MX$TotW"), None);
        assert_eq!(written("LD0/LLN0$BR$brcb01$RptEna"), operation::CONFIGURE);
        assert_eq!(written("LD0/PTOC1$SP$StrVal$setMag$f"), operation::WRITE);
        assert_eq!(written("plain"), operation::WRITE);
    }
}
