//! Encoded paths (CIP volume 1, appendix C-1.4), padded.

use std::fmt::Write;

use super::names;
use crate::cursor::{Cursor, Cut};

/// Longest path text.
const TEXT_BYTES_MAX: usize = 200;

/// What a path leads to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Target {
    /// Class of the first logical segment; none for symbols.
    pub class: Option<u32>,
    /// Its first instance.
    pub instance: Option<u32>,
    /// Its first attribute.
    pub attribute: Option<u32>,
}

/// Reads a path and appends it to `text`: `identity/1/7`, a tag's name with its indices, ports
/// of a route as `port 1.0`.
pub(super) fn read(mut cursor: Cursor<'_>, text: &mut String) -> Result<Target, Cut> {
    let mut target = Target::default();
    while !cursor.is_empty() {
        let segment = cursor.u8("path_segment")?;
        let room = text.len() < TEXT_BYTES_MAX;
        match segment >> 5 {
            0 => {
                let mut port = u16::from(segment & 15);
                let long = if segment & 0x10 != 0 { cursor.u8("path_port")? } else { 0 };
                if port == 15 {
                    port = cursor.u16_le("path_port")?;
                }
                if room {
                    separate(text, ',');
                    let _ = write!(text, "port {port}.");
                }
                if long > 0 {
                    let link = cursor.take(usize::from(long), "path_port")?;
                    if long % 2 == 1 && !cursor.is_empty() {
                        cursor.skip(1, "path_port")?;
                    }
                    if room {
                        text.push_str(&String::from_utf8_lossy(link));
                    }
                } else {
                    let link = cursor.u8("path_port")?;
                    if room {
                        let _ = write!(text, "{link}");
                    }
                }
            }
            1 => {
                let value = logical(&mut cursor, segment)?;
                let Some(value) = value else { continue };
                let kind = segment >> 2 & 7;
                match kind {
                    0 => target.class = target.class.or(Some(value)),
                    1 => target.instance = target.instance.or(Some(value)),
                    4 => target.attribute = target.attribute.or(Some(value)),
                    _ => {}
                }
                if room {
                    show(text, kind, value);
                }
            }
            2 => {
                // Network segments: one byte, or as many words as the next byte says.
                let length =
                    if segment & 0x10 != 0 { usize::from(cursor.u8("path_network")?) * 2 } else { 1 };
                cursor.skip(length, "path_network")?;
            }
            3 => {
                cursor.skip(usize::from(cursor.peek().unwrap_or(0)) + 1, "path_symbol")?;
            }
            4 if segment == 0x91 => {
                let length = cursor.u8("path_symbol")?;
                let symbol = cursor.take(usize::from(length), "path_symbol")?;
                if length % 2 == 1 && !cursor.is_empty() {
                    cursor.skip(1, "path_symbol")?;
                }
                if room {
                    separate(text, '.');
                    text.push_str(&String::from_utf8_lossy(symbol));
                }
            }
            4 => {
                let words = cursor.u8("path_data")?;
                cursor.skip(usize::from(words) * 2, "path_data")?;
            }
            _ => return Err(cursor.cut("path_segment")),
        }
    }
    Ok(target)
}

/// The value of a logical segment; none for an electronic key.
fn logical(cursor: &mut Cursor<'_>, segment: u8) -> Result<Option<u32>, Cut> {
    const WHAT: &str = "path_logical";
    if segment == 0x34 {
        cursor.skip(1, WHAT)?;
        cursor.skip(8, WHAT)?;
        return Ok(None);
    }
    Ok(Some(match segment & 3 {
        0 => u32::from(cursor.u8(WHAT)?),
        1 => {
            cursor.skip(1, WHAT)?;
            u32::from(cursor.u16_le(WHAT)?)
        }
        2 => {
            cursor.skip(1, WHAT)?;
            cursor.u32_le(WHAT)?
        }
        _ => return Err(cursor.cut("path_segment")),
    }))
}

fn separate(text: &mut String, with: char) {
    if !text.is_empty() {
        text.push(with);
    }
}

fn show(text: &mut String, kind: u8, value: u32) {
    match kind {
        0 => {
            separate(text, ',');
            match names::class(value) {
                Some(name) => text.push_str(name),
                None => {
                    let _ = write!(text, "class {value:#x}");
                }
            }
        }
        2 => {
            let _ = write!(text, "[{value}]");
        }
        3 => {
            let _ = write!(text, "/point {value}");
        }
        _ => {
            let _ = write!(text, "/{value}");
        }
    }
}
