//! File objects (IEEE 1815 group 70). File bodies are hashed under the plant's key, never kept.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use yagura_event::vocabulary::operation;

use super::names;
use super::objects::u48;
use crate::cursor::{Cursor, Cut};
use crate::exchange::Draft;
use crate::{Cx, json};

/// Most files of one connection that are followed at a time; the oldest is forgotten first.
const FILES_MAX: usize = 8;
/// Longest file name that is shown.
const NAME_BYTES_MAX: usize = 200;
/// Set in the block number of the last block.
const LAST_BLOCK: u32 = 1 << 31;

/// A file that is open.
struct File {
    handle: u32,
    name: String,
    mac: Option<Hmac<Sha256>>,
    bytes: u64,
    next_block: u32,
}

/// The files that are open.
#[derive(Default)]
pub(super) struct Files(Vec<File>);

impl Files {
    /// One object of group 70 in a request or, `response`, in what answers it.
    pub fn object(
        &mut self,
        cx: &Cx<'_>,
        draft: &mut Draft,
        variation: u8,
        response: bool,
        mut body: Cursor<'_>,
    ) -> Result<(), Cut> {
        match variation {
            2 => authentication(draft, &mut body, response),
            3 => command(draft, body),
            4 => self.command_status(cx, draft, response, &mut body),
            5 => self.block(draft, &mut body),
            6 => {
                body.skip(8, "file_transport")?;
                refused(draft, body.u8("file_status")?);
                Ok(())
            }
            7 => descriptor(draft, body),
            8 => {
                name(draft, body.rest());
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn command_status(
        &mut self,
        cx: &Cx<'_>,
        draft: &mut Draft,
        response: bool,
        body: &mut Cursor<'_>,
    ) -> Result<(), Cut> {
        let handle = body.u32_le("file_handle")?;
        let size = body.u32_le("file_size")?;
        body.skip(4, "file_block_size")?;
        let code = body.u8("file_status")?;
        if response {
            refused(draft, code);
            if draft.function == "open_file" && code == 0 {
                json::member_number(&mut draft.detail, "file_size", u64::from(size));
                json::member_number(&mut draft.detail, "handle", u64::from(handle));
                self.open(cx, handle, &draft.target);
            }
        } else {
            json::member_number(&mut draft.detail, "handle", u64::from(handle));
            self.finish(handle, draft);
        }
        Ok(())
    }

    fn open(&mut self, cx: &Cx<'_>, handle: u32, name: &str) {
        self.0.retain(|file| file.handle != handle);
        if self.0.len() == FILES_MAX {
            self.0.remove(0);
        }
        let key = &cx.settings.plant_key;
        let mac = if key.is_empty() { None } else { Hmac::<Sha256>::new_from_slice(key).ok() };
        self.0.push(File { handle, name: name.to_string(), mac, bytes: 0, next_block: 0 });
    }

    /// A block of a file that is read or written.
    fn block(&mut self, draft: &mut Draft, body: &mut Cursor<'_>) -> Result<(), Cut> {
        let handle = body.u32_le("file_handle")?;
        let number = body.u32_le("file_block")?;
        let data = body.take_rest();
        let file = self.0.iter_mut().find(|file| file.handle == handle);
        if draft.target.is_empty() {
            if let Some(file) = &file {
                draft.target.push_str(&file.name);
            }
            json::member_number(&mut draft.detail, "handle", u64::from(handle));
            json::member_number(&mut draft.detail, "block", u64::from(number & !LAST_BLOCK));
        }
        if data.is_empty() {
            return Ok(());
        }
        draft.body_bytes = Some(data.len() as u64);
        if let Some(file) = file {
            if number & !LAST_BLOCK == file.next_block {
                file.next_block += 1;
                file.bytes += data.len() as u64;
                if let Some(mac) = &mut file.mac {
                    mac.update(data);
                }
            } else if number & !LAST_BLOCK > file.next_block {
                // Blocks are missing: a hash of the rest would be of another file.
                file.mac = None;
            }
        }
        Ok(())
    }

    /// A file is closed: the row says what it was.
    fn finish(&mut self, handle: u32, draft: &mut Draft) {
        let Some(at) = self.0.iter().position(|file| file.handle == handle) else { return };
        let file = self.0.remove(at);
        draft.target.push_str(&file.name);
        if file.bytes > 0 {
            draft.body_bytes = Some(file.bytes);
            if let Some(mac) = file.mac {
                json::push_hex_digits(&mut draft.body_hmac, &mac.finalize().into_bytes());
            }
        }
    }
}

/// User name and password before a file is opened; the reply has the key.
fn authentication(draft: &mut Draft, body: &mut Cursor<'_>, response: bool) -> Result<(), Cut> {
    if response {
        return Ok(());
    }
    let whole = body.rest();
    let mut stretch = || -> Result<&[u8], Cut> {
        let offset = usize::from(body.u16_le("file_user")?);
        let size = usize::from(body.u16_le("file_user")?);
        whole.get(offset..offset + size).ok_or(body.cut("file_user"))
    };
    let (user, password) = (stretch()?, stretch()?);
    json::member_text(&mut draft.detail, "user", &String::from_utf8_lossy(user));
    json::member_bool(&mut draft.detail, "password_empty", password.is_empty());
    Ok(())
}

/// Open or delete.
fn command(draft: &mut Draft, mut body: Cursor<'_>) -> Result<(), Cut> {
    let whole = body.rest();
    let offset = usize::from(body.u16_le("file_name")?);
    let size = usize::from(body.u16_le("file_name")?);
    u48(&mut body)?;
    let permissions = body.u16_le("file_permissions")?;
    body.skip(4, "file_key")?;
    let length = body.u32_le("file_size")?;
    let mode = body.u16_le("file_mode")?;
    body.skip(4, "file_block_size")?;
    name(draft, whole.get(offset..offset + size).ok_or(body.cut("file_name"))?);
    let mode_name = match mode {
        0 => "none",
        1 => "read",
        2 => "write",
        3 => "append",
        _ => "reserved",
    };
    if draft.function == "open_file" && matches!(mode, 2 | 3) {
        draft.operation = operation::PROGRAM_WRITE;
    }
    json::member_text(&mut draft.detail, "mode", mode_name);
    json::member_number(&mut draft.detail, "permissions", u64::from(permissions));
    json::member_number(&mut draft.detail, "size", u64::from(length));
    Ok(())
}

fn descriptor(draft: &mut Draft, mut body: Cursor<'_>) -> Result<(), Cut> {
    let whole = body.rest();
    let offset = usize::from(body.u16_le("file_name")?);
    let size = usize::from(body.u16_le("file_name")?);
    body.skip(2, "file_type")?;
    let length = body.u32_le("file_size")?;
    let shown = whole.get(offset..offset + size).ok_or(body.cut("file_name"))?;
    if draft.target.is_empty() {
        name(draft, shown);
    }
    json::member_number(&mut draft.detail, "size", u64::from(length));
    Ok(())
}

fn name(draft: &mut Draft, bytes: &[u8]) {
    draft.target.push_str(&String::from_utf8_lossy(&bytes[..bytes.len().min(NAME_BYTES_MAX)]));
}

fn refused(draft: &mut Draft, code: u8) {
    if code != 0 {
        draft.deny(names::file_status(code));
    }
}
