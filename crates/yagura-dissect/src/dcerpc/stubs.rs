//! Names within the parameters of some operations: which service, key, account, share, task, file,
//! class a call is about. Parameters are in NDR (C706, 14), the low byte first.

use super::interfaces::{self, Uuid};
use super::{Order, push_uuid};
use crate::cursor::{Cursor, Cut};
use crate::exchange::Draft;
use crate::{json, wide};

/// Longest name that is shown, in characters.
const NAME_MAX: usize = 256;
/// Most properties of an activation that are passed over.
const PROPERTIES_MAX: usize = 16;

/// What comes before the name, and the name.
enum Step {
    /// A context handle.
    Handle,
    /// Four octets.
    Number,
    /// A pointer that may be null, and the text it points to.
    Pointer,
    /// A text.
    Text,
    /// A text with its length, in a structure.
    Counted,
    /// What every call of COM begins with (MS-DCOM 2.2.13.3), without extensions.
    This,
}

use Step::{Counted, Handle, Number, Pointer, Text, This};

/// Where the name is; the last text is taken.
fn steps(interface: &str, operation: u16) -> &'static [Step] {
    match (interface, operation) {
        ("svcctl", 16) => &[Handle, Text],
        ("svcctl", 20 | 21) => &[Handle, Text],
        ("winreg", 6 | 7 | 8 | 15 | 17 | 20 | 22 | 31 | 35) => &[Handle, Counted],
        ("samr", 5 | 10 | 12 | 14 | 50) => &[Handle, Counted],
        ("lsarpc", 28 | 16 | 42 | 43 | 31) => &[Handle, Counted],
        ("netlogon", 4) => &[Pointer, Text],
        ("netlogon", 5 | 6 | 15 | 26 | 30) => &[Pointer, Text],
        ("srvsvc", 16..=19) => &[Pointer, Text],
        ("ITaskSchedulerService", 1) => &[Pointer],
        ("ITaskSchedulerService", 2 | 3 | 4 | 5 | 7 | 12 | 13 | 19) => &[Text],
        ("spoolss", 1 | 69) => &[Pointer],
        ("eventlog", 7) => &[Number, Number, Counted],
        ("efsrpc", 4..=7) => &[Text],
        ("IOPCServer", 3 | 5) => &[This, Text],
        ("IOPCGroupStateMgt" | "IOPCGroupStateMgt2", 5 | 6) => &[This, Text],
        ("IOPCCommon", 7) => &[This, Text],
        ("IOPCServerList" | "IOPCServerList2", 5) => &[This, Text],
        ("IOPCBrowse", 4) => &[This, Text],
        ("IOPCBrowseServerAddressSpace", 6) => &[This, Text],
        ("IOPCItemProperties", 3) => &[This, Text],
        _ => &[],
    }
}

/// Adds what a call is about to its target: `svcctl:PSEXESVC`.
pub(super) fn name(draft: &mut Draft, interface: &'static str, operation: u16, stub: &[u8]) {
    let mut name = String::new();
    let read = match (interface, operation) {
        ("epmapper", 3) => tower(&mut name, stub),
        ("ISystemActivator", 3 | 4) => activation(&mut name, stub),
        ("IActivation", 0) => class(&mut name, stub),
        ("samr", 34) => account(&mut name, stub),
        ("svcctl", 12 | 45) => service(draft, &mut name, stub),
        ("atsvc", 0) => job(&mut name, stub),
        _ => texts(&mut name, steps(interface, operation), stub),
    };
    // A stub of another layout has no name.
    if read.is_ok() && !name.is_empty() {
        draft.target.push(':');
        draft.target.push_str(&name);
    }
}

fn texts(name: &mut String, steps: &[Step], stub: &[u8]) -> Result<(), Cut> {
    let mut c = Cursor::new(stub);
    for step in steps {
        align(&mut c, 4)?;
        match step {
            Handle => c.skip(20, "handle")?,
            Number => c.skip(4, "number")?,
            Pointer => {
                if c.u32_le("pointer")? != 0 {
                    text(name, &mut c)?;
                }
            }
            Text => text(name, &mut c)?,
            This => this(&mut c)?,
            Counted => {
                c.skip(4, "length")?;
                if c.u32_le("pointer")? != 0 {
                    text(name, &mut c)?;
                }
            }
        }
    }
    Ok(())
}

/// Passes what comes before a number of that many octets.
pub(super) fn align(c: &mut Cursor<'_>, to: usize) -> Result<(), Cut> {
    c.skip((to - c.at() % to) % to, "alignment")
}

/// A conformant and varying string of two octets a character.
pub(super) fn text(name: &mut String, c: &mut Cursor<'_>) -> Result<(), Cut> {
    let most = c.u32_le("text")?;
    let (offset, count) = (c.u32_le("text")?, c.u32_le("text")?);
    c.check(offset == 0 && count <= most, "text")?;
    let bytes = c.take((count as usize).saturating_mul(2), "text")?;
    name.clear();
    wide::push(name, bytes, NAME_MAX);
    Ok(())
}

/// Version, flags, causality, no extensions.
pub(super) fn this(c: &mut Cursor<'_>) -> Result<(), Cut> {
    c.skip(28, "orpc_this")?;
    let extensions = c.u32_le("extensions")?;
    c.check(extensions == 0, "extensions")
}

/// A service that is created: its name, and the program that it starts.
fn service(draft: &mut Draft, name: &mut String, stub: &[u8]) -> Result<(), Cut> {
    let mut c = Cursor::new(stub);
    c.skip(20, "handle")?;
    text(name, &mut c)?;
    let mut other = String::new();
    align(&mut c, 4)?;
    if c.u32_le("display_name")? != 0 {
        text(&mut other, &mut c)?;
        align(&mut c, 4)?;
    }
    c.skip(16, "service")?;
    text(&mut other, &mut c)?;
    json::member_text(&mut draft.detail, "program", &other);
    Ok(())
}

/// A job for a time: the command.
fn job(name: &mut String, stub: &[u8]) -> Result<(), Cut> {
    let mut c = Cursor::new(stub);
    if c.u32_le("server")? != 0 {
        text(name, &mut c)?;
        name.clear();
        align(&mut c, 4)?;
    }
    c.skip(12, "job")?;
    let command = c.u32_le("command")?;
    c.check(command != 0, "command")?;
    text(name, &mut c)
}

/// Handle, access, relative id of the account.
fn account(name: &mut String, stub: &[u8]) -> Result<(), Cut> {
    let mut c = Cursor::new(stub);
    c.skip(24, "handle")?;
    name.push_str("rid ");
    json::push_number(name, c.u32_le("rid")?.into());
    Ok(())
}

fn push_interface(name: &mut String, uuid: Uuid) {
    match interfaces::known(uuid) {
        Some(interface) => name.push_str(interface.name),
        None => push_uuid(name, uuid),
    }
}

const LITTLE: Order = Order { little: true };

/// The interface whose endpoint is looked for: the first floor of a tower (C706, appendix L).
fn tower(name: &mut String, stub: &[u8]) -> Result<(), Cut> {
    let mut c = Cursor::new(stub);
    if c.u32_le("object")? != 0 {
        c.skip(16, "object")?;
    }
    let tower = c.u32_le("tower")?;
    c.check(tower != 0, "tower")?;
    c.skip(8, "tower")?;
    let floors = c.u16_le("floors")?;
    let (length, kind) = (c.u16_le("floor")?, c.u8("floor")?);
    c.check(floors > 0 && length == 19 && kind == 13, "floor")?;
    push_interface(name, LITTLE.uuid(&mut c, "floor")?);
    Ok(())
}

/// The class of a remote activation of old: this, then the class.
fn class(name: &mut String, stub: &[u8]) -> Result<(), Cut> {
    let mut c = Cursor::new(stub);
    this(&mut c)?;
    push_uuid(name, LITTLE.uuid(&mut c, "class")?);
    Ok(())
}

/// The class of an activation: within the properties (MS-DCOM 2.2.22) of a custom marshalled
/// object.
fn activation(name: &mut String, stub: &[u8]) -> Result<(), Cut> {
    const CUSTOM: u32 = 4;
    const INSTANTIATION: Uuid = 0x000001ab_0000_0000_c000_000000000046;
    let wrong = Cut { what: "activation", at: 0 };
    let at = stub.windows(4).position(|four| four == b"MEOW").ok_or(wrong)?;
    let mut c = Cursor::new(&stub[at + 4..]);
    let flags = c.u32_le("flags")?;
    c.check(flags == CUSTOM, "flags")?;
    c.skip(32, "identifiers")?;
    c.skip(8, "extension")?;
    c.skip(8, "size")?;
    // From here on places are those of the custom header.
    let mut c = Cursor::new(c.rest());
    let whole = c.rest();
    c.skip(16, "header")?;
    c.skip(4, "total")?;
    let head = c.u32_le("header_size")? as usize;
    c.skip(8, "context")?;
    let count = c.u32_le("properties")? as usize;
    c.check(count <= PROPERTIES_MAX, "properties")?;
    c.skip(16 + 12, "class_info")?;
    let listed = c.u32_le("classes")? as usize;
    c.check(listed == count, "classes")?;
    let mut classes = c.part(16 * count, "classes")?;
    let listed = c.u32_le("sizes")? as usize;
    c.check(listed == count, "sizes")?;
    let mut place = head;
    for _ in 0..count {
        let property = LITTLE.uuid(&mut classes, "property")?;
        let size = c.u32_le("size")? as usize;
        if property == INSTANTIATION {
            let mut property = Cursor::new(whole.get(place..).unwrap_or_default());
            property.skip(16, "header")?;
            push_uuid(name, LITTLE.uuid(&mut property, "class")?);
            return Ok(());
        }
        place = place.saturating_add(size);
    }
    Err(wrong)
}
