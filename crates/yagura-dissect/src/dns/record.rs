//! Names and resource records (RFC 1035, 3.2 and 4.1).

use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::names::push_type;
use crate::cursor::{Cursor, Cut};
use crate::exchange::Draft;
use crate::json;

/// Longest name (RFC 1035, 2.3.4).
const NAME_BYTES_MAX: usize = 255;
/// Most pointers that one name follows; each must go further back.
const POINTERS_MAX: usize = 32;

/// Reads a name at the cursor into `out`. Pointers lead only backwards, so that none is a loop.
pub fn name<'a>(
    cursor: &mut Cursor<'a>,
    message: &'a [u8],
    netbios: bool,
    out: &mut String,
) -> Result<(), Cut> {
    out.clear();
    let mut length = cursor.u8("name")?;
    let mut here = *cursor;
    let (mut jumps, mut total, mut first) = (0, 0, true);
    // The lowest place that was read: pointers go below it.
    let mut lowest = cursor.at() - 1;
    loop {
        match length {
            0 => break,
            0xc0.. => {
                let low = here.u8("name_pointer")?;
                let target = usize::from(u16::from_be_bytes([length & 0x3f, low]));
                jumps += 1;
                if jumps == 1 {
                    *cursor = here;
                }
                here.check(target < lowest && jumps <= POINTERS_MAX, "name_pointer")?;
                lowest = target;
                here = Cursor::new(message);
                here.skip(target, "name_pointer")?;
            }
            1..=63 => {
                let label = here.take(usize::from(length), "name_label")?;
                total += label.len() + 1;
                here.check(total <= NAME_BYTES_MAX, "name_length")?;
                if !first {
                    out.push('.');
                }
                if netbios && first && label.len() == 32 {
                    netbios_name(label, out);
                } else {
                    push_label(label, out);
                }
                first = false;
            }
            _ => return Err(here.cut("name_label")),
        }
        length = here.u8("name")?;
    }
    if jumps == 0 {
        *cursor = here;
    }
    if out.is_empty() {
        out.push('.');
    }
    Ok(())
}

fn push_label(label: &[u8], out: &mut String) {
    let Ok(text) = std::str::from_utf8(label) else {
        for byte in label {
            match byte {
                0x21..=0x7e => out.push(char::from(*byte)),
                other => {
                    let _ = write!(out, "\\x{other:02x}");
                }
            }
        }
        return;
    };
    out.push_str(text);
}

/// The first-level encoding of RFC 1001, 14.1: fifteen characters and a suffix.
fn netbios_name(label: &[u8], out: &mut String) {
    let mut bytes =
        label.chunks_exact(2).map(|p| p[0].wrapping_sub(b'A') << 4 | (p[1].wrapping_sub(b'A') & 15));
    let begun = out.len();
    for byte in bytes.by_ref().take(15) {
        match byte {
            0x20..=0x7e => out.push(char::from(byte)),
            0 => {}
            other => {
                let _ = write!(out, "\\x{other:02x}");
            }
        }
    }
    out.truncate(begun + out[begun..].trim_end().len());
    let _ = write!(out, "<{:02x}>", bytes.next().unwrap_or(0));
}

/// What the records of a message add up to.
#[derive(Default)]
pub struct Texts {
    name: String,
    text: String,
    types: String,
    ttls: String,
    /// Bytes in TXT and NULL records, in which tunnels hide.
    hidden: u64,
    longest_name: usize,
}

impl Texts {
    /// Writes the sums.
    pub fn finish(&self, draft: &mut Draft) {
        for (name, list) in [("answer_types", &self.types), ("ttls", &self.ttls)] {
            if !list.is_empty() {
                json::key(&mut draft.detail, name);
                let _ = write!(draft.detail, "[{list}]");
            }
        }
        if self.hidden > 0 {
            json::member_number(&mut draft.detail, "text_bytes", self.hidden);
        }
        if self.longest_name > 0 {
            json::member_number(&mut draft.detail, "longest_name", self.longest_name as u64);
        }
    }
}

/// Reads one record. Answers (section 1) go into the row's values, of others only what matters.
pub fn record<'a>(
    cursor: &mut Cursor<'a>,
    message: &'a [u8],
    netbios: bool,
    section: usize,
    draft: Option<&mut Draft>,
    texts: &mut Texts,
) -> Result<(), Cut> {
    name(cursor, message, netbios, &mut texts.name)?;
    let kind = cursor.u16_be("record_type")?;
    let class = cursor.u16_be("record_class")?;
    let ttl = cursor.u32_be("record_ttl")?;
    let length = usize::from(cursor.u16_be("record_length")?);
    let from = cursor.at();
    let body = cursor.take(length, "record_data")?;
    let Some(draft) = draft else { return Ok(()) };
    if kind == 41 {
        let mut object = String::new();
        json::member_number(&mut object, "payload", u64::from(class));
        json::member_number(&mut object, "version", u64::from(ttl >> 16 & 0xff));
        json::member_bool(&mut object, "do", ttl & 0x8000 != 0);
        if ttl >> 24 != 0 {
            json::member_number(&mut object, "extended_rcode", u64::from(ttl >> 24));
        }
        let mut options = Cursor::new(body);
        json::key(&mut object, "options");
        object.push('[');
        let mut many = 0;
        while let (Ok(code), Ok(size)) = (options.u16_be("option"), options.u16_be("option")) {
            if options.skip(usize::from(size), "option").is_err() || many == 16 {
                break;
            }
            if many > 0 {
                object.push(',');
            }
            json::push_number(&mut object, u64::from(code));
            many += 1;
        }
        object.push(']');
        json::end(&mut object);
        let which = if draft.detail.contains("\"edns\":") { "reply_edns" } else { "edns" };
        json::key(&mut draft.detail, which);
        draft.detail.push_str(&object);
        return Ok(());
    }
    if matches!(kind, 10 | 16) {
        texts.hidden += length as u64;
    }
    if section != 1 {
        return Ok(());
    }
    if draft.target.is_empty() {
        draft.target.push_str(&texts.name);
    }
    texts.longest_name = texts.longest_name.max(texts.name.len());
    if texts.types.len() < 512 {
        for list in [&mut texts.types, &mut texts.ttls] {
            if !list.is_empty() {
                list.push(',');
            }
        }
        push_type(&mut texts.types, kind, netbios);
        json::push_number(&mut texts.ttls, u64::from(ttl));
    }
    answer(message, netbios, kind, (from, body), texts)?;
    draft.push_text(&texts.text);
    Ok(())
}

/// An answer's content as text.
fn answer(
    message: &[u8],
    netbios: bool,
    kind: u16,
    (from, body): (usize, &[u8]),
    texts: &mut Texts,
) -> Result<(), Cut> {
    let mut inside = Cursor::new(&message[..from + body.len()]);
    inside.skip(from, "record_data")?;
    texts.text.clear();
    let out = &mut texts.text;
    if body.is_empty() {
        // An update deletes with records without data (RFC 2136, 2.5).
        return Ok(());
    }
    match (kind, body) {
        (1, &[a, b, c, d]) => {
            let _ = write!(out, "{}", Ipv4Addr::new(a, b, c, d));
        }
        (1, _) => return Err(inside.cut("record_length")),
        (28, _) => {
            let octets: [u8; 16] = body.try_into().map_err(|_| inside.cut("record_length"))?;
            let _ = write!(out, "{}", Ipv6Addr::from(octets));
        }
        (32, &[_, _, a, b, c, d, ..]) if netbios => {
            let _ = write!(out, "{}", Ipv4Addr::new(a, b, c, d));
        }
        (33, _) if netbios => {
            let many = inside.u8("node_names")?;
            for at in 0..many {
                let bytes = inside.take(18, "node_names")?;
                let label = String::from_utf8_lossy(&bytes[..15]);
                let _ =
                    write!(out, "{}{}<{:02x}>", if at > 0 { " " } else { "" }, label.trim_end(), bytes[15]);
            }
        }
        (2 | 5 | 12 | 39, _) => name(&mut inside, message, false, out)?,
        (15, _) => {
            inside.skip(2, "preference")?;
            name(&mut inside, message, false, out)?;
        }
        (33, _) => {
            inside.skip(4, "priority")?;
            let port = inside.u16_be("port")?;
            name(&mut inside, message, false, out)?;
            let _ = write!(out, ":{port}");
        }
        (6, _) => name(&mut inside, message, false, out)?,
        (16 | 99 | 13, _) => {
            while !inside.is_empty() {
                let length = inside.u8("text")?;
                let text = inside.take(usize::from(length), "text")?;
                if !out.is_empty() {
                    out.push(' ');
                }
                out.push_str(&String::from_utf8_lossy(text));
            }
        }
        _ => {
            let _ = write!(out, "{} bytes", body.len());
        }
    }
    Ok(())
}
