//! What Mitsubishi's programming tools speak with a controller (by custom on port 5562): a frame
//! of the same family that no manual describes. Read here is what captures show beyond doubt:
//! framing, sequence, reads and writes of devices. Devices keep their numeric codes.

use std::fmt::Write;

use yagura_event::vocabulary::operation;

use super::{Asked, Melsec};
use crate::cursor::{Cursor, Cut};
use crate::framing::Frame;
use crate::{Cx, Side, json};

/// Subheader, serial number, route, length.
const HEADER: usize = 21;
/// More than any frame has.
const BODY_MAX: usize = 8192;
/// What precedes the command of a request, and of a response.
const BEFORE: (usize, usize) = (24, 26);
/// Most devices of a random read.
const DEVICES_MAX: usize = 256;

/// What unread bytes begin with that begin with 57 or D7.
pub fn frame(bytes: &[u8]) -> Frame {
    let fixed = [None, Some(0), None, None, None, Some(0x11), Some(0x11)];
    if bytes.iter().zip(fixed).any(|(&byte, fixed)| fixed.is_some_and(|fixed| fixed != byte)) {
        return Frame::Bad("subheader");
    }
    let Some(&[low, high]) = bytes.get(HEADER - 2..HEADER) else { return Frame::More };
    let length = usize::from(u16::from_le_bytes([low, high]));
    if (BEFORE.0 + 4..=BODY_MAX).contains(&length) {
        Frame::Of(HEADER + length)
    } else {
        Frame::Bad("length")
    }
}

fn named(command: u16) -> (&'static str, &'static str) {
    match command {
        0x0410 => (operation::READ, "melsoft_device_read"),
        0x0411 => (operation::READ, "melsoft_device_read_random"),
        0x1410 => (operation::WRITE, "melsoft_device_write"),
        _ => (operation::OTHER, "melsoft_command"),
    }
}

impl Melsec {
    /// A whole frame of that kind.
    pub(super) fn melsoft(&mut self, cx: &mut Cx<'_>, side: Side, bytes: &[u8]) -> Result<(), Cut> {
        let mut c = Cursor::new(bytes);
        c.skip(HEADER, "header")?;
        let response = bytes[0] & 0x80 != 0;
        c.skip(if response { BEFORE.1 } else { BEFORE.0 }, "header")?;
        let (command, sequence) = (c.u16_be("command")?, c.u16_le("sequence")?);
        let (operation, name) = named(command);
        let asked = Asked { melsoft: true, command, serial: Some(sequence), ..Asked::default() };
        if !response {
            let mut draft = self.exchanges.draft(cx, side, operation, name);
            json::member_number(&mut draft.detail, "command", u64::from(command));
            json::member_number(&mut draft.detail, "serial", u64::from(sequence));
            let read = (|| {
                match command {
                    0x0410 | 0x1410 => {
                        c.skip(12, "header")?;
                        device(&mut c, &mut draft.target)?;
                        let count = c.u16_le("device_points")?;
                        if count > 1 {
                            let _ = write!(draft.target, "+{count}");
                        }
                        draft.set_count(u32::from(count));
                        if command == 0x1410 {
                            draft.set_count(0);
                            while !c.is_empty() {
                                draft.push_value(f64::from(c.u16_le("device_data")?));
                            }
                        }
                    }
                    0x0411 => {
                        c.skip(12, "header")?;
                        let count = c.u16_le("device_points")?;
                        c.skip(8, "header")?;
                        for index in 0..usize::from(count).min(DEVICES_MAX) {
                            if index > 0 {
                                draft.target.push(',');
                            }
                            device(&mut c, &mut draft.target)?;
                        }
                        draft.set_count(u32::from(count));
                    }
                    _ => draft.set_count(0),
                }
                Ok(())
            })();
            if let Err(cut) = read {
                draft.wrong(cut);
            }
            self.exchanges.ask(cx, asked, draft);
            return Ok(());
        }
        let same = |a: &Asked| a.melsoft && a.command == command && a.serial == Some(sequence);
        let found = self.exchanges.take_if(side, |asked, _| same(asked));
        let paired = found.is_some();
        let mut draft = match found {
            Some((_, draft)) => draft,
            None => {
                let mut draft = self.exchanges.draft(cx, side.other(), operation, name);
                json::member_number(&mut draft.detail, "command", u64::from(command));
                json::member_number(&mut draft.detail, "serial", u64::from(sequence));
                draft
            }
        };
        let status = c.u16_le("status")?;
        if status != 0 {
            draft.deny(format!("0x{status:04x}"));
        } else if matches!(command, 0x0410 | 0x0411) {
            draft.set_count(0);
            if command == 0x0411 {
                c.skip(2, "device_data")?;
            }
            while let Ok(word) = c.u16_le("device_data") {
                draft.push_value(f64::from(word));
            }
        }
        if paired {
            self.exchanges.pair(cx, draft);
        } else {
            self.exchanges.unasked(cx, draft);
        }
        Ok(())
    }
}

/// Code, number, and what is always 0.
fn device(c: &mut Cursor<'_>, out: &mut String) -> Result<(), Cut> {
    let (code, number) = (c.u16_le("device_code")?, c.u32_le("device_number")?);
    c.skip(4, "device_number")?;
    let _ = write!(out, "0x{code:02x}:{number}");
    Ok(())
}
