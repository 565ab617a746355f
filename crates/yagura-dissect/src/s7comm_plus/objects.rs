//! Objects and their attributes, and what the known ones mean.

use std::fmt::Write;

use yagura_event::vocabulary::operation;

use super::values::{self, vlq};
use crate::cursor::{Cursor, Cut};
use crate::exchange::Draft;
use crate::json;

/// Most elements of an object's tree.
const ELEMENTS_MAX: usize = 4096;

/// Ids of classes, objects and attributes.
pub(super) mod id {
    pub const NAME: u32 = 233;
    pub const SERVER_SESSION: u32 = 287;
    pub const SESSION_CHALLENGE: u32 = 303;
    pub const SESSION_RESPONSE: u32 = 304;
    pub const SESSION_KEY: u32 = 305;
    pub const SESSION_VERSION: u32 = 306;
    pub const SYSTEM: u32 = 319;
    pub const SUBSCRIPTION: u32 = 1001;
    pub const LEGITIMATE: u32 = 1846;
    pub const STATE_REQUEST: u32 = 2167;
    pub const VALUE_INITIAL: u32 = 2548;
    pub const VALUE_ACTUAL: u32 = 2550;
    pub const CODE: u32 = 2580;
    pub const PROGRAM: u32 = 3;
    pub const EXECUTION_UNIT: u32 = 52;
}

/// Whether a class is one of blocks: a program is made of them.
pub(super) fn block_class(class: u32) -> Option<&'static str> {
    match class {
        2574 => Some("DB"),
        2578 => Some("FB"),
        2579 => Some("FC"),
        2610 => Some("OB"),
        3932 => Some("UDT"),
        2520 => Some("program"),
        _ => None,
    }
}

/// Whether an object is a block, or the program that they belong to.
pub(super) fn is_program(object: u32) -> bool {
    object == id::PROGRAM || object >> 24 == 0x8a
}

/// Appends an object's name.
pub(super) fn push_object(out: &mut String, object: u32) {
    let name = match object {
        1 => "as_root",
        id::PROGRAM => "plc_program",
        49 => "cpu_proxy",
        50 => "cpu_common",
        id::EXECUTION_UNIT => "cpu_execution_unit",
        80 => "I",
        81 => "Q",
        82 => "M",
        83 => "C",
        84 => "T",
        285 => "session_container",
        288 => "null_session",
        _ if object >> 16 == 0x8a0e => {
            let _ = write!(out, "DB{}", object & 0xffff);
            return;
        }
        _ => {
            let _ = write!(out, "0x{object:x}");
            return;
        }
    };
    out.push_str(name);
}

/// Appends an attribute's name.
pub(super) fn push_attribute(out: &mut String, attribute: u32) {
    let name = match attribute {
        id::NAME => "name",
        id::SESSION_CHALLENGE => "session_challenge",
        id::SESSION_RESPONSE => "session_response",
        id::SESSION_KEY => "session_key",
        id::SESSION_VERSION => "session_version",
        1053 => "credit_limit",
        1842 => "effective_protection_level",
        1843 => "active_protection_level",
        id::LEGITIMATE => "legitimate",
        id::STATE_REQUEST => "operating_state_request",
        id::VALUE_INITIAL => "value_initial",
        id::VALUE_ACTUAL => "value_actual",
        id::CODE => "code",
        _ => {
            json::push_number(out, u64::from(attribute));
            return;
        }
    };
    out.push_str(name);
}

/// Whether an attribute's value proves who asks: it is never shown.
pub(super) fn secret(attribute: u32) -> bool {
    matches!(attribute, id::SESSION_CHALLENGE | id::SESSION_RESPONSE | id::SESSION_KEY | id::LEGITIMATE)
}

/// What is known of an object's tree.
#[derive(Debug, Default)]
pub(super) struct Tree {
    /// Class of the first object.
    pub class: u32,
    /// Its name, or that of the last that has one.
    pub name: String,
    /// How many objects there are.
    pub objects: usize,
    /// Names of the objects.
    pub names: Vec<String>,
    /// Version strings of the system.
    pub systems: Vec<String>,
    /// Bytes of code and data.
    pub body: usize,
}

/// Elements of a tree.
mod element {
    pub const OBJECT: u8 = 0xa1;
    pub const END: u8 = 0xa2;
    pub const ATTRIBUTE: u8 = 0xa3;
    pub const RELATION: u8 = 0xa4;
}

/// Reads an object's tree, up to what is no element of one.
pub(super) fn tree(cursor: &mut Cursor<'_>, draft: &mut Draft) -> Result<Tree, Cut> {
    let mut tree = Tree::default();
    let mut text = String::new();
    for _ in 0..ELEMENTS_MAX {
        match cursor.peek() {
            Some(element::OBJECT) => {
                cursor.skip(1, "element")?;
                cursor.skip(4, "relation_id")?;
                let class = vlq(cursor)?;
                if tree.objects == 0 {
                    tree.class = class;
                }
                tree.objects += 1;
                vlq(cursor)?;
                vlq(cursor)?;
            }
            Some(element::END) => cursor.skip(1, "element")?,
            Some(element::ATTRIBUTE) => {
                cursor.skip(1, "element")?;
                let attribute = vlq(cursor)?;
                text.clear();
                let value = values::read(cursor, &mut text)?;
                tree.body += value.body;
                for (element, said) in value.texts {
                    if element == id::SYSTEM {
                        tree.systems.push(said);
                    } else if attribute == id::NAME && !said.is_empty() {
                        if tree.name.is_empty() {
                            tree.name.clone_from(&said);
                        }
                        if tree.names.len() < 256 {
                            tree.names.push(said);
                        }
                    } else if element == 0 && tree.objects == 1 && !said.is_empty() && !secret(attribute) {
                        let mut name = String::new();
                        push_attribute(&mut name, attribute);
                        json::member_text(&mut draft.detail, &name, said.get(..128).unwrap_or(&said));
                    }
                }
            }
            Some(element::RELATION) => {
                cursor.skip(1, "element")?;
                vlq(cursor)?;
                cursor.skip(4, "relation")?;
            }
            _ => break,
        }
    }
    Ok(tree)
}

/// One address of a list: `DB1.value_actual.9`, `M.3451`.
pub(super) struct Address {
    pub area: u32,
    pub first: u32,
    pub text: String,
}

/// Reads an address: a checksum of the symbol, the area, and the path within.
pub(super) fn address(cursor: &mut Cursor<'_>) -> Result<Address, Cut> {
    vlq(cursor)?;
    let area = vlq(cursor)?;
    let count = vlq(cursor)?;
    cursor.check(count as usize <= cursor.remaining(), "address_length")?;
    let mut address = Address { area, first: 0, text: String::new() };
    push_object(&mut address.text, area);
    for at in 0..count {
        let part = vlq(cursor)?;
        if at == 0 {
            address.first = part;
        }
        address.text.push('.');
        // What is at hand is the value as it is now: no word is needed for it.
        if at == 0 && part == id::VALUE_ACTUAL && count > 1 {
            address.text.pop();
        } else if at == 0 {
            push_attribute(&mut address.text, part);
        } else {
            json::push_number(&mut address.text, u64::from(part));
        }
    }
    Ok(address)
}

/// What setting an attribute of an object does.
pub(super) fn set(object: u32, attribute: u32) -> &'static str {
    match attribute {
        id::STATE_REQUEST => operation::CONTROL,
        id::SESSION_RESPONSE | id::SESSION_KEY | id::LEGITIMATE => operation::AUTHENTICATE,
        id::SESSION_VERSION => operation::SESSION_OPEN,
        1002..=1083 => operation::CONFIGURE,
        id::VALUE_ACTUAL => operation::WRITE,
        _ if is_program(object) => operation::PROGRAM_WRITE,
        _ => operation::WRITE,
    }
}
