//! SMB 2 and 3 (MS-SMB2 2.2): commands, one row each with its response, also in compounds.

use std::fmt::Write;

use yagura_event::vocabulary::operation;

use super::state::{FileId, SAME_FILE};
use super::{Key, Smb, names, outcome, wrong};
use crate::cursor::{Cursor, Cut};
use crate::dcerpc::is_pdu;
use crate::exchange::Draft;
use crate::{Cx, Side, json, wide};

const HEADER: usize = 64;
/// Most messages of one compound.
const COMPOUND_MAX: usize = 64;
/// The message id of what a server says on its own.
const UNASKED: u64 = u64::MAX;
/// Longest name of a file, in characters.
const NAME_MAX: usize = 512;
/// Most dialects and contexts of a negotiation.
const LIST_MAX: usize = 16;

/// Flags of a header.
mod flag {
    pub const RESPONSE: u32 = 1;
    pub const ASYNC: u32 = 2;
    pub const RELATED: u32 = 4;
    pub const SIGNED: u32 = 8;
}

/// Statuses with which a response's body is whole.
const WITH_BODY: [u32; 3] = [0, names::BUFFER_OVERFLOW, names::MORE_PROCESSING_REQUIRED];

/// One message of a compound.
struct Message<'a> {
    status: u32,
    command: u16,
    flags: u32,
    id: u64,
    tree: u32,
    session: u64,
    /// From its header on.
    bytes: &'a [u8],
    /// Whether all of it is there.
    whole: bool,
}

impl<'a> Message<'a> {
    fn body(&self) -> Cursor<'a> {
        Cursor::new(&self.bytes[HEADER..])
    }

    /// A stretch that offset and length, from the header on, give; empty where it was passed over.
    fn stretch(&self, offset: usize, length: usize, what: &'static str) -> Result<&'a [u8], Cut> {
        let end = offset.checked_add(length);
        match end.and_then(|end| self.bytes.get(offset..end)) {
            _ if length == 0 => Ok(&[]),
            Some(stretch) => Ok(stretch),
            None if !self.whole => Ok(&[]),
            None => Err(Cut { what, at: offset }),
        }
    }

    /// The same of data that was perhaps passed over.
    fn data(&self, offset: usize, length: usize) -> Option<&'a [u8]> {
        self.bytes.get(offset..offset.checked_add(length)?)
    }
}

/// What a compound's messages take over from those before.
#[derive(Default)]
struct Chain {
    session: u64,
    tree: u32,
    file: Option<FileId>,
    name: String,
}

fn header<'a>(bytes: &'a [u8], whole: bool) -> Result<(Message<'a>, usize), Cut> {
    let mut cursor = Cursor::new(bytes);
    cursor.skip(4, "header")?;
    let size = cursor.u16_le("header")?;
    cursor.check(size as usize == HEADER, "header_size")?;
    cursor.skip(2, "header")?;
    let status = cursor.u32_le("header")?;
    let command = cursor.u16_le("header")?;
    cursor.skip(2, "header")?;
    let flags = cursor.u32_le("header")?;
    let next = cursor.u32_le("header")? as usize;
    let id = cursor.u64_le("header")?;
    cursor.skip(4, "header")?;
    let tree = cursor.u32_le("header")?;
    let session = cursor.u64_le("header")?;
    cursor.skip(16, "header")?;
    cursor.check(command <= 18, "command")?;
    let (bytes, whole) = match next {
        0 => (bytes, whole),
        HEADER.. => match bytes.get(..next) {
            Some(part) => (part, true),
            None if !whole => (bytes, false),
            None => return Err(Cut { what: "next_command", at: 20 }),
        },
        _ => return Err(Cut { what: "next_command", at: 20 }),
    };
    let tree = if flags & flag::ASYNC != 0 { 0 } else { tree };
    Ok((Message { status, command, flags, id, tree, session, bytes, whole }, next))
}

impl Smb {
    /// The messages of one packet.
    pub(super) fn smb2(&mut self, cx: &mut Cx<'_>, side: Side, bytes: &[u8], whole: bool) -> Result<(), Cut> {
        let mut chain = Chain::default();
        let mut at = 0;
        for _ in 0..COMPOUND_MAX {
            let (mut message, next) = header(&bytes[at..], whole)?;
            if message.flags & flag::RELATED != 0 {
                // Both are those of the message before; some say so with ones.
                if message.session == u64::MAX {
                    message.session = chain.session;
                }
                if message.tree == u32::MAX {
                    message.tree = chain.tree;
                }
            }
            (chain.session, chain.tree) = (message.session, message.tree);
            if message.flags & flag::RESPONSE == 0 {
                self.request2(cx, side, &message, &mut chain);
            } else {
                self.response2(cx, side, &message, &mut chain);
            }
            at += next;
            if next == 0 || at >= bytes.len() {
                return Ok(());
            }
        }
        Err(Cut { what: "compound", at })
    }

    fn draft2(&mut self, cx: &Cx<'_>, asker: Side, message: &Message<'_>) -> Draft {
        let (name, operation) = names::command2(message.command);
        let mut draft = self.exchanges.draft(cx, asker, operation, name);
        if message.session != 0 {
            let _ = write!(draft.session, "0x{:x}", message.session);
        }
        json::member_number(&mut draft.detail, "version", 2);
        json::member_number(&mut draft.detail, "message", message.id);
        let sets_up = message.command == names::SESSION_SETUP;
        if message.tree != 0 && message.command != names::TREE_CONNECT {
            json::member_number(&mut draft.detail, "tree", u64::from(message.tree));
        }
        if let Some(user) = self.state.user(message.session).filter(|_| !sets_up) {
            json::member_text(&mut draft.detail, "user", user);
        }
        draft
    }

    fn request2(&mut self, cx: &mut Cx<'_>, side: Side, message: &Message<'_>, chain: &mut Chain) {
        let mut draft = self.draft2(cx, side, message);
        let mut key = Key {
            version: 2,
            id: message.id,
            command: message.command,
            session: message.session,
            tree: message.tree,
            ..Key::default()
        };
        if message.command == names::CREATE {
            chain.name.clear();
        }
        if let Err(cut) = self.request_body(cx, side, message, &mut draft, &mut key) {
            wrong(&mut draft, Cut { at: HEADER + cut.at, ..cut });
        }
        if message.command == names::CREATE {
            chain.name.push_str(&draft.target);
        } else if key.file == SAME_FILE && draft.target.is_empty() {
            draft.target.push_str(&chain.name);
        }
        if message.command == names::CANCEL {
            self.exchanges.one_way(cx, draft);
        } else {
            self.exchanges.ask(cx, key, draft);
        }
    }

    /// The file that a request is about.
    fn about(&mut self, draft: &mut Draft, key: &mut Key, file: FileId) {
        key.file = file;
        if let Some((name, pipe)) = self.state.file(&file) {
            draft.target.push_str(name);
            if pipe && matches!(key.command, names::READ | names::WRITE) {
                draft.operation = operation::OTHER;
            }
        }
    }

    fn request_body(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        message: &Message<'_>,
        draft: &mut Draft,
        key: &mut Key,
    ) -> Result<(), Cut> {
        let mut c = message.body();
        let size = c.u16_le("structure_size")?;
        let expected = names::request_size(message.command);
        let lease = message.command == names::OPLOCK_BREAK && size == 36;
        c.check(size == expected || lease, "structure_size")?;
        match message.command {
            names::NEGOTIATE => negotiate_request(message, draft, c)?,
            names::SESSION_SETUP => {
                let flags = c.u8("flags")?;
                security(draft, u16::from(c.u8("security_mode")?));
                c.skip(8, "capabilities")?;
                let (offset, length) = (c.u16_le("token")?, c.u16_le("token")?);
                if flags & 1 != 0 {
                    json::member_bool(&mut draft.detail, "binding", true);
                }
                let token = message.stretch(offset.into(), length.into(), "token")?;
                let account = self.credentials(cx, side, draft, token);
                self.state.present(message.id, account);
            }
            names::TREE_CONNECT => {
                c.skip(2, "flags")?;
                let (offset, length) = (c.u16_le("path")?, c.u16_le("path")?);
                let path = message.stretch(offset.into(), length.into(), "path")?;
                wide::push(&mut draft.target, path, NAME_MAX);
                if message.flags & flag::SIGNED != 0 {
                    json::member_bool(&mut draft.detail, "signed", true);
                }
            }
            names::TREE_DISCONNECT => {
                self.state.name(&mut draft.target, message.session, message.tree, "");
            }
            names::CREATE => self.create_request(message, draft, key, c)?,
            names::CLOSE | names::FLUSH => {
                c.skip(6, "flags")?;
                self.about(draft, key, c.array("file_id")?);
            }
            names::READ => {
                c.skip(2, "padding")?;
                let length = c.u32_le("length")?;
                key.offset = c.u64_le("offset")?;
                self.about(draft, key, c.array("file_id")?);
                json::member_number(&mut draft.detail, "offset", key.offset);
                json::member_number(&mut draft.detail, "length", length.into());
            }
            names::WRITE => {
                let start = usize::from(c.u16_le("data_offset")?);
                let length = c.u32_le("length")?;
                key.offset = c.u64_le("offset")?;
                self.about(draft, key, c.array("file_id")?);
                json::member_number(&mut draft.detail, "offset", key.offset);
                json::member_number(&mut draft.detail, "length", length.into());
                draft.body_bytes = Some(length.into());
                let data = message.data(start, length as usize);
                if data.is_none() && message.whole {
                    return Err(c.cut("data"));
                }
                self.state.content(cx, &key.file, true, key.offset, data);
                self.in_known_pipe(cx, side, key, data);
            }
            names::LOCK => {
                c.skip(6, "locks")?;
                self.about(draft, key, c.array("file_id")?);
            }
            names::IOCTL => {
                c.skip(2, "reserved")?;
                key.kind = c.u32_le("control_code")?;
                self.about(draft, key, c.array("file_id")?);
                let (offset, length) = (c.u32_le("input")?, c.u32_le("input")?);
                let input = message.stretch(offset as usize, length as usize, "input")?;
                json::member_text(&mut draft.detail, "control", &names::control(key.kind));
                json::member_number(&mut draft.detail, "length", length.into());
                control_input(draft, key.kind, input)?;
                if key.kind == names::PIPE_TRANSCEIVE {
                    self.in_pipe(cx, side, key.session, &key.file, input);
                }
            }
            names::QUERY_DIRECTORY => {
                let class = c.u8("information_class")?;
                c.skip(5, "flags")?;
                self.about(draft, key, c.array("file_id")?);
                let (offset, length) = (c.u16_le("pattern")?, c.u16_le("pattern")?);
                let pattern = message.stretch(offset.into(), length.into(), "pattern")?;
                json::member_text(&mut draft.detail, "class", &names::class(1, class));
                if !pattern.is_empty() {
                    json::member_text(&mut draft.detail, "pattern", &wide::text(pattern, NAME_MAX));
                }
            }
            names::CHANGE_NOTIFY => {
                c.skip(6, "flags")?;
                self.about(draft, key, c.array("file_id")?);
            }
            names::QUERY_INFO => {
                let (kind, class) = (c.u8("information_type")?, c.u8("information_class")?);
                c.skip(20, "input")?;
                self.about(draft, key, c.array("file_id")?);
                json::member_text(&mut draft.detail, "class", &names::class(kind, class));
            }
            names::SET_INFO => self.set_info(message, draft, key, c)?,
            names::OPLOCK_BREAK if !lease => {
                let level = c.u8("oplock_level")?;
                c.skip(5, "reserved")?;
                self.about(draft, key, c.array("file_id")?);
                json::member_number(&mut draft.detail, "level", level.into());
            }
            names::LOGOFF | names::ECHO | names::CANCEL | names::OPLOCK_BREAK => {}
            _ => return Err(c.cut("command")),
        }
        Ok(())
    }

    /// Contents of a file, if that is a pipe; where its tree is not known, its content says so.
    pub(super) fn in_known_pipe(&mut self, cx: &mut Cx<'_>, side: Side, key: &Key, data: Option<&[u8]>) {
        let Some(data) = data else { return };
        // Trees of version 1 belong to the connection.
        let session = if key.version == 1 { 0 } else { key.session };
        let pipe = match self.state.file(&key.file) {
            Some((_, true)) => true,
            Some((_, false)) if self.state.knows(session, key.tree) => false,
            _ => self.rpc.knows(&key.file) || is_pdu(data),
        };
        if pipe {
            self.in_pipe(cx, side, key.session, &key.file, data);
        }
    }

    fn create_request(
        &mut self,
        message: &Message<'_>,
        draft: &mut Draft,
        key: &mut Key,
        mut c: Cursor<'_>,
    ) -> Result<(), Cut> {
        c.skip(22, "oplock")?;
        let access = c.u32_le("access")?;
        c.skip(8, "share_access")?;
        let disposition = c.u32_le("disposition")?;
        let options = c.u32_le("options")?;
        let (offset, length) = (c.u16_le("name")?, c.u16_le("name")?);
        let name = message.stretch(offset.into(), length.into(), "name")?;
        let name = wide::text(name, NAME_MAX);
        self.state.name(&mut draft.target, message.session, message.tree, &name);
        let pipe = self.state.of_pipes(message.session, message.tree);
        key.kind = opening(draft, pipe, access, disposition, options);
        Ok(())
    }

    fn set_info(
        &mut self,
        message: &Message<'_>,
        draft: &mut Draft,
        key: &mut Key,
        mut c: Cursor<'_>,
    ) -> Result<(), Cut> {
        let (kind, class) = (c.u8("information_type")?, c.u8("information_class")?);
        let length = c.u32_le("buffer")?;
        let offset = c.u16_le("buffer")?;
        c.skip(6, "additional")?;
        self.about(draft, key, c.array("file_id")?);
        json::member_text(&mut draft.detail, "class", &names::class(kind, class));
        let buffer = message.stretch(offset.into(), length as usize, "buffer")?;
        if kind == 1 {
            set_file(draft, class, Cursor::new(buffer))?;
        }
        Ok(())
    }

    fn response2(&mut self, cx: &mut Cx<'_>, side: Side, message: &Message<'_>, chain: &mut Chain) {
        let unsolicited = message.id == UNASKED && message.command == names::OPLOCK_BREAK;
        let asked = if unsolicited {
            None
        } else {
            self.asked(side, |key| key.version == 2 && (key.id, key.command) == (message.id, message.command))
        };
        // The first request may be one of SMB 1 that offers version 2.
        let asked = match asked {
            None if message.command == names::NEGOTIATE => {
                self.asked(side, |key| key.version == 1 && key.command == names::NEGOTIATE_1)
            }
            other => other,
        };
        if unsolicited {
            let mut draft = self.draft2(cx, side, message);
            draft.equipment = side;
            self.exchanges.one_way(cx, draft);
            return;
        }
        let was_asked = asked.is_some();
        let (mut key, mut draft) = asked.unwrap_or_else(|| {
            let draft = self.draft2(cx, side.other(), message);
            (Key { session: message.session, tree: message.tree, ..Key::default() }, draft)
        });
        if message.status == names::PENDING && was_asked {
            if !std::mem::replace(&mut key.interim, true) {
                json::member_bool(&mut draft.detail, "pending", true);
            }
            self.pending.ask(cx, key, draft);
            return;
        }
        if key.file == SAME_FILE
            && let Some(file) = chain.file
        {
            key.file = file;
        }
        outcome(&mut draft, message.status);
        if draft.session.is_empty() && message.session != 0 {
            let _ = write!(draft.session, "0x{:x}", message.session);
        }
        if WITH_BODY.contains(&message.status) {
            if let Err(cut) = self.response_body(cx, side, message, &mut draft, &key, chain) {
                wrong(&mut draft, Cut { at: HEADER + cut.at, ..cut });
            }
        } else if message.command == names::SESSION_SETUP {
            self.state.set_up(key.id, message.session, false);
        }
        if was_asked {
            self.exchanges.pair(cx, draft);
        } else {
            self.exchanges.unasked(cx, draft);
        }
    }

    fn response_body(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        message: &Message<'_>,
        draft: &mut Draft,
        key: &Key,
        chain: &mut Chain,
    ) -> Result<(), Cut> {
        let mut c = message.body();
        let size = c.u16_le("structure_size")?;
        let lease = message.command == names::OPLOCK_BREAK && matches!(size, 36 | 44);
        // A server may answer with an error's body whatever its status.
        if size == 9 && names::response_size(message.command) != 9 {
            return Ok(());
        }
        c.check(size == names::response_size(message.command) || lease, "structure_size")?;
        match message.command {
            names::NEGOTIATE => self.negotiate_response(cx, side, message, draft, c)?,
            names::SESSION_SETUP => {
                let flags = c.u16_le("session_flags")?;
                let (offset, length) = (c.u16_le("token")?, c.u16_le("token")?);
                for (bit, name) in [(1, "guest"), (2, "null_session"), (4, "encrypted")] {
                    if flags & bit != 0 {
                        json::member_bool(&mut draft.detail, name, true);
                    }
                }
                if message.status == 0 {
                    self.state.set_up(key.id, message.session, true);
                } else {
                    let token = message.stretch(offset.into(), length.into(), "token")?;
                    self.credentials(cx, side, draft, token);
                }
            }
            names::LOGOFF => self.state.log_off(key.session),
            names::TREE_CONNECT => {
                let kind = c.u8("share_type")?;
                c.skip(1, "reserved")?;
                let flags = c.u32_le("share_flags")?;
                json::member_text(&mut draft.detail, "share_type", names::share(kind));
                if flags & 0x8000 != 0 {
                    json::member_bool(&mut draft.detail, "encrypted", true);
                }
                json::member_number(&mut draft.detail, "tree", message.tree.into());
                self.state.connect(message.session, message.tree, &draft.target, kind == 2);
            }
            names::TREE_DISCONNECT => self.state.disconnect(key.session, key.tree),
            names::CREATE => {
                c.skip(2, "oplock")?;
                let action = c.u32_le("create_action")?;
                c.skip(40, "times")?;
                let bytes = c.u64_le("end_of_file")?;
                c.skip(8, "attributes")?;
                let file: FileId = c.array("file_id")?;
                opened(draft, action, bytes, key.kind);
                let pipe = self.state.of_pipes(key.session, key.tree);
                self.state.open(file, &draft.target, pipe);
                chain.file = Some(file);
            }
            names::CLOSE => {
                self.state.shut(draft, &key.file);
                self.rpc.shut(&key.file);
            }
            names::READ => {
                let offset = usize::from(c.u8("data_offset")?);
                c.skip(1, "reserved")?;
                let length = c.u32_le("length")?;
                draft.body_bytes = Some(length.into());
                let data = message.data(offset, length as usize);
                if data.is_none() && message.whole {
                    return Err(c.cut("data"));
                }
                self.state.content(cx, &key.file, false, key.offset, data);
                self.in_known_pipe(cx, side, key, data);
            }
            names::WRITE => {
                c.skip(2, "reserved")?;
                draft.body_bytes = Some(c.u32_le("count")?.into());
            }
            names::IOCTL => {
                c.skip(30, "output")?;
                let (offset, length) = (c.u32_le("output")?, c.u32_le("output")?);
                if key.kind == names::PIPE_TRANSCEIVE {
                    let output = message.stretch(offset as usize, length as usize, "output")?;
                    self.in_pipe(cx, side, key.session, &key.file, output);
                }
                json::member_number(&mut draft.detail, "output_length", length.into());
            }
            _ => {}
        }
        Ok(())
    }

    fn negotiate_response(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        message: &Message<'_>,
        draft: &mut Draft,
        mut c: Cursor<'_>,
    ) -> Result<(), Cut> {
        let mode = c.u16_le("security_mode")?;
        let dialect = c.u16_le("dialect")?;
        let contexts = c.u16_le("contexts")?;
        let guid: [u8; 16] = c.array("guid")?;
        c.skip(32, "capabilities")?;
        let (offset, length) = (c.u16_le("token")?, c.u16_le("token")?);
        let place = c.u32_le("contexts")?;
        json::member_text(&mut draft.detail, "dialect", &names::dialect(dialect));
        security_of(&mut draft.detail, "server_signing", mode);
        json::member_text(&mut draft.detail, "server_guid", &names::guid(&guid));
        let token = message.stretch(offset.into(), length.into(), "token")?;
        self.credentials(cx, side, draft, token);
        if dialect == 0x311 {
            let chosen = ["hash", "cipher", "compression", "signing_algorithm"];
            negotiate_contexts(&mut draft.detail, message, place as usize, contexts, chosen)?;
        }
        Ok(())
    }
}

fn negotiate_request(message: &Message<'_>, draft: &mut Draft, mut c: Cursor<'_>) -> Result<(), Cut> {
    let count = c.u16_le("dialects")?;
    security(draft, c.u16_le("security_mode")?);
    c.skip(6, "capabilities")?;
    let guid: [u8; 16] = c.array("guid")?;
    json::member_text(&mut draft.detail, "client_guid", &names::guid(&guid));
    let (place, contexts) = (c.u32_le("contexts")?, c.u16_le("contexts")?);
    c.skip(2, "reserved")?;
    json::key(&mut draft.detail, "dialects");
    draft.detail.push('[');
    let mut newest = 0;
    for at in 0..usize::from(count) {
        let dialect = match c.u16_le("dialects") {
            Ok(dialect) => dialect,
            Err(cut) => {
                draft.detail.push(']');
                return Err(cut);
            }
        };
        newest = newest.max(dialect);
        if at < LIST_MAX {
            if at > 0 {
                draft.detail.push(',');
            }
            json::push_text(&mut draft.detail, &names::dialect(dialect));
        }
    }
    draft.detail.push(']');
    if newest == 0x311 {
        let offered = ["hashes", "ciphers", "compressions", "signing_algorithms"];
        negotiate_contexts(&mut draft.detail, message, place as usize, contexts, offered)?;
    }
    Ok(())
}

/// What SMB 3.1.1 adds to a negotiation (2.2.3.1).
fn negotiate_contexts(
    detail: &mut String,
    message: &Message<'_>,
    place: usize,
    count: u16,
    members: [&str; 4],
) -> Result<(), Cut> {
    let mut place = place;
    for _ in 0..usize::from(count).min(LIST_MAX) {
        let mut c = Cursor::new(message.bytes.get(place..).unwrap_or_default());
        let kind = c.u16_le("context")?;
        let length = usize::from(c.u16_le("context")?);
        c.skip(4, "context")?;
        let mut body = c.part(length, "context")?;
        place += 8 + length.next_multiple_of(8);
        let member = match kind {
            1 => members[0],
            2 => members[1],
            3 => members[2],
            8 => members[3],
            5 => {
                json::member_text(detail, "server_name", &wide::text(body.rest(), 128));
                continue;
            }
            _ => continue,
        };
        let listed = usize::from(body.u16_le("context")?);
        // Salts and flags come before some lists.
        match kind {
            1 => body.skip(2, "context")?,
            3 => body.skip(6, "context")?,
            _ => {}
        }
        json::key(detail, member);
        detail.push('[');
        for at in 0..listed.min(LIST_MAX) {
            let Ok(id) = body.u16_le("context") else { break };
            if at > 0 {
                detail.push(',');
            }
            json::push_text(detail, &names::algorithm(kind, id));
        }
        detail.push(']');
    }
    Ok(())
}

fn security(draft: &mut Draft, mode: u16) {
    security_of(&mut draft.detail, "signing", mode);
}

fn security_of(detail: &mut String, name: &str, mode: u16) {
    let signing = match mode & 3 {
        0 => "disabled",
        1 => "enabled",
        _ => "required",
    };
    json::member_text(detail, name, signing);
}

/// What a file is opened for. Gives what its answer has to know.
pub(super) fn opening(draft: &mut Draft, pipe: bool, access: u32, disposition: u32, options: u32) -> u32 {
    let (directory, delete) = (options & 1 != 0, options & 0x1000 != 0);
    json::member_text(&mut draft.detail, "disposition", names::disposition(disposition));
    json::key(&mut draft.detail, "access");
    let _ = write!(draft.detail, "\"0x{access:08x}\"");
    if directory {
        json::member_bool(&mut draft.detail, "directory", true);
    }
    if delete {
        json::member_bool(&mut draft.detail, "delete_on_close", true);
    }
    // Reads data, or everything.
    let reads = access & 0x9000_0001 != 0 && !directory;
    draft.operation = match disposition {
        _ if pipe => operation::SESSION_OPEN,
        _ if delete => operation::PROGRAM_WRITE,
        0 | 2 | 4 | 5 => operation::PROGRAM_WRITE,
        _ if reads => operation::PROGRAM_READ,
        _ => operation::DISCOVER,
    };
    u32::from(pipe)
}

/// What became of it.
pub(super) fn opened(draft: &mut Draft, action: u32, bytes: u64, pipe: u32) {
    let action_name = match action {
        0 => "superseded",
        1 => "opened",
        2 => "created",
        3 => "overwritten",
        _ => "unknown",
    };
    json::member_text(&mut draft.detail, "action", action_name);
    json::member_number(&mut draft.detail, "size", bytes);
    if pipe == 0 && matches!(action, 0 | 2 | 3) {
        draft.operation = operation::PROGRAM_WRITE;
    }
}

/// A file's own settings: only what renames, deletes and cuts is told.
pub(super) fn set_file(draft: &mut Draft, class: u8, mut c: Cursor<'_>) -> Result<(), Cut> {
    match class {
        10 | 11 | 65 => {
            draft.operation = operation::PROGRAM_WRITE;
            let replace = c.u8("rename")? & 1 != 0;
            c.skip(15, "rename")?;
            let length = c.u32_le("rename")? as usize;
            let name = wide::text(c.take(length, "rename")?, NAME_MAX);
            json::member_text(&mut draft.detail, "new_name", &name);
            if replace {
                json::member_bool(&mut draft.detail, "replace", true);
            }
        }
        13 | 64 => {
            draft.operation = operation::PROGRAM_WRITE;
            json::member_bool(&mut draft.detail, "delete", c.u8("disposition")? & 1 != 0);
        }
        19 | 20 => {
            draft.operation = operation::PROGRAM_WRITE;
            json::member_number(&mut draft.detail, "size", c.u64_le("size")?);
        }
        _ => {}
    }
    Ok(())
}

/// What a control code asks for, where it names something.
fn control_input(draft: &mut Draft, code: u32, input: &[u8]) -> Result<(), Cut> {
    let mut c = Cursor::new(input);
    match code {
        names::PIPE_WAIT => {
            c.skip(8, "pipe_wait")?;
            let length = c.u32_le("pipe_wait")? as usize;
            c.skip(2, "pipe_wait")?;
            wide::push(&mut draft.target, c.take(length, "pipe_wait")?, NAME_MAX);
        }
        names::DFS_GET_REFERRALS => {
            c.skip(2, "referral")?;
            wide::push(&mut draft.target, c.rest(), NAME_MAX);
            draft.operation = operation::DISCOVER;
        }
        // Resume keys of both files, then how much is copied.
        names::COPYCHUNK | names::COPYCHUNK_WRITE => draft.operation = operation::PROGRAM_WRITE,
        _ => {}
    }
    Ok(())
}
