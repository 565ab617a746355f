//! SMB 1 (MS-CIFS 2.2, MS-SMB 2.2): commands, alone and in AndX chains, and transactions' names.

use std::fmt::Write;

use yagura_event::rows::IdentityRow;
use yagura_event::vocabulary::{operation, status};

use super::smb2::{opened, opening};
use super::state::FileId;
use super::transactions::{TRANSACT_NMPIPE, displaced};
use super::{Key, NAME, Smb, names, names1, outcome, wrong};
use crate::cursor::{Cursor, Cut};
use crate::exchange::Draft;
use crate::{Cx, Side, json, wide};

const HEADER: usize = 32;
/// Most commands of one chain.
const CHAIN_MAX: usize = 16;
/// Longest name, in characters.
const NAME_MAX: usize = 512;
/// Most dialects that are shown.
const DIALECTS_MAX: usize = 16;
/// The command that ends a chain.
const NO_MORE: u8 = 0xff;

/// Commands (MS-CIFS 2.2.2.1) that are looked into.
pub(super) mod command {
    pub const CREATE_DIRECTORY: u8 = 0x00;
    pub const DELETE_DIRECTORY: u8 = 0x01;
    pub const OPEN: u8 = 0x02;
    pub const CREATE: u8 = 0x03;
    pub const CLOSE: u8 = 0x04;
    pub const FLUSH: u8 = 0x05;
    pub const DELETE: u8 = 0x06;
    pub const RENAME: u8 = 0x07;
    pub const QUERY_INFORMATION: u8 = 0x08;
    pub const SET_INFORMATION: u8 = 0x09;
    pub const READ: u8 = 0x0a;
    pub const WRITE: u8 = 0x0b;
    pub const CHECK_DIRECTORY: u8 = 0x10;
    pub const TRANSACTION: u8 = 0x25;
    pub const TRANSACTION_SECONDARY: u8 = 0x26;
    pub const WRITE_AND_CLOSE: u8 = 0x2c;
    pub const OPEN_ANDX: u8 = 0x2d;
    pub const READ_ANDX: u8 = 0x2e;
    pub const WRITE_ANDX: u8 = 0x2f;
    pub const TRANSACTION2: u8 = 0x32;
    pub const TRANSACTION2_SECONDARY: u8 = 0x33;
    pub const NEGOTIATE: u8 = super::names::NEGOTIATE_1 as u8;
    pub const SESSION_SETUP: u8 = 0x73;
    pub const LOGOFF: u8 = 0x74;
    pub const TREE_CONNECT: u8 = 0x75;
    pub const TREE_DISCONNECT: u8 = 0x71;
    pub const NT_TRANSACT: u8 = 0xa0;
    pub const NT_TRANSACT_SECONDARY: u8 = 0xa1;
    pub const NT_CREATE: u8 = 0xa2;
    pub const NT_CANCEL: u8 = 0xa4;
    pub const NT_RENAME: u8 = 0xa5;
}

/// A message's header, and the message itself.
pub(super) struct Message<'a> {
    command: u8,
    status: u32,
    response: bool,
    pub unicode: bool,
    /// Whether the status is an NTSTATUS.
    nt: bool,
    id: u64,
    pub tree: u16,
    user: u16,
    bytes: &'a [u8],
    whole: bool,
}

/// One command of a chain.
pub(super) struct Block<'a> {
    pub command: u8,
    pub words: Cursor<'a>,
    word_bytes: usize,
    /// Where its data begins in the message.
    at: usize,
    data: &'a [u8],
}

/// Reads texts, which are aligned within the message when they are of two octets a character.
pub(super) struct Texts<'a> {
    pub data: &'a [u8],
    /// Where they begin in the message.
    pub at: usize,
    pub unicode: bool,
}

impl Texts<'_> {
    pub fn next(&mut self) -> String {
        if self.unicode {
            self.skip(self.at % 2);
            let length = wide::span(self.data);
            let text = wide::text(self.data, NAME_MAX);
            self.skip(length);
            return text;
        }
        self.plain()
    }

    fn plain(&mut self) -> String {
        let length = self.data.iter().position(|b| *b == 0).unwrap_or(self.data.len());
        let text = String::from_utf8_lossy(&self.data[..length.min(NAME_MAX)]).into_owned();
        self.skip(length + 1);
        text
    }

    fn skip(&mut self, length: usize) {
        let length = length.min(self.data.len());
        self.data = &self.data[length..];
        self.at += length;
    }
}

impl<'a> Message<'a> {
    fn new(bytes: &'a [u8], whole: bool) -> Result<Message<'a>, Cut> {
        let mut c = Cursor::new(bytes);
        c.skip(4, "header")?;
        let command = c.u8("header")?;
        let status = c.u32_le("header")?;
        let flags = c.u8("header")?;
        let flags2 = c.u16_le("header")?;
        let high = c.u16_le("header")?;
        c.skip(10, "header")?;
        let tree = c.u16_le("header")?;
        let process = c.u16_le("header")?;
        let user = c.u16_le("header")?;
        let multiplex = c.u16_le("header")?;
        let id = u64::from(high) << 32 | u64::from(process) << 16 | u64::from(multiplex);
        let (response, unicode, nt) = (flags & 0x80 != 0, flags2 & 0x8000 != 0, flags2 & 0x4000 != 0);
        Ok(Message { command, status, response, unicode, nt, id, tree, user, bytes, whole })
    }

    fn block(&self, command: u8, at: usize) -> Result<Block<'a>, Cut> {
        let mut c = Cursor::new(self.bytes.get(at..).unwrap_or_default());
        let wrong = |what| Cut { what, at };
        let count = c.u8("word_count").map_err(|_| wrong("word_count"))?;
        // Servers say 42 of an extended response that has 50 (MS-SMB, 2.2.4.9.2); some leave what was
        // in memory where the count of data stands, of which there is none.
        let extended = command == command::NT_CREATE && self.response && count == 42 && c.remaining() >= 102;
        let word_bytes = if extended { 100 } else { 2 * usize::from(count) };
        let words = c.part(word_bytes, "words").map_err(|_| wrong("words"))?;
        let length = usize::from(c.u16_le("byte_count").map_err(|_| wrong("byte_count"))?);
        let place = at + c.at();
        let data = match c.rest().get(..length) {
            Some(data) => data,
            // Contents may be longer than the count can say, and are perhaps passed over.
            None if !self.whole || matches!(command, command::READ_ANDX | command::WRITE_ANDX) => c.rest(),
            None if extended => &[],
            // A transaction's parts are found by their offsets.
            None if names1::is_transaction(command) => c.rest(),
            None => return Err(wrong("byte_count")),
        };
        Ok(Block { command, words, word_bytes, at: place, data })
    }

    pub fn texts(&self, block: &Block<'a>) -> Texts<'a> {
        Texts { data: block.data, at: block.at, unicode: self.unicode }
    }

    pub fn stretch(&self, offset: usize, length: usize, what: &'static str) -> Result<&'a [u8], Cut> {
        let end = offset + length;
        match self.bytes.get(offset..end) {
            Some(stretch) => Ok(stretch),
            None if length == 0 || !self.whole => Ok(&[]),
            None => Err(Cut { what, at: offset }),
        }
    }
}

/// A file's number as SMB 2 has it.
fn file_id(number: u16) -> FileId {
    let mut id = [0xfd; 16];
    id[..2].copy_from_slice(&number.to_le_bytes());
    id
}

impl Smb {
    /// The commands of one message.
    pub(super) fn smb1(&mut self, cx: &mut Cx<'_>, side: Side, bytes: &[u8], whole: bool) -> Result<(), Cut> {
        let message = Message::new(bytes, whole)?;
        let (mut command, mut at) = (message.command, HEADER);
        for index in 0..CHAIN_MAX {
            let block = message.block(command, at)?;
            let mut words = block.words;
            if message.response {
                self.response1(cx, side, &message, block, index);
            } else {
                self.request1(cx, side, &message, block, index);
            }
            if !names1::chained(command) || words.remaining() < 4 {
                break;
            }
            command = words.u8("andx_command")?;
            words.skip(1, "andx_command")?;
            let next = usize::from(words.u16_le("andx_offset")?);
            if command == NO_MORE {
                break;
            }
            if next <= at {
                return Err(Cut { what: "andx_offset", at });
            }
            at = next;
        }
        if message.response && message.status != 0 && message.nt {
            self.fail_rest(cx, side, &message);
        }
        Ok(())
    }

    /// Commands of a chain after the one that failed are not answered themselves.
    fn fail_rest(&mut self, cx: &mut Cx<'_>, side: Side, message: &Message<'_>) {
        let rest = |key: &Key| key.version == 1 && key.id == message.id && key.offset == u64::MAX;
        while let Some((_, mut draft)) = self.asked(side, rest) {
            outcome(&mut draft, message.status);
            self.exchanges.pair(cx, draft);
        }
    }

    fn draft1(&mut self, cx: &Cx<'_>, asker: Side, message: &Message<'_>, command: u8) -> Draft {
        let (name, operation) = names1::command1(command);
        let mut draft = self.exchanges.draft(cx, asker, operation, name);
        if name.is_empty() {
            draft.function = format!("command_0x{command:02x}").into();
        }
        if message.user != 0 {
            let _ = write!(draft.session, "0x{:x}", message.user);
        }
        json::member_number(&mut draft.detail, "version", 1);
        json::member_number(&mut draft.detail, "command", command.into());
        json::member_number(&mut draft.detail, "message", message.id);
        if !matches!(message.tree, 0 | 0xffff) && command != command::TREE_CONNECT {
            json::member_number(&mut draft.detail, "tree", message.tree.into());
        }
        let sets_up = command == command::SESSION_SETUP;
        if let Some(user) = self.state.user(message.user.into()).filter(|_| !sets_up) {
            json::member_text(&mut draft.detail, "user", user);
        }
        draft
    }

    fn request1(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        message: &Message<'_>,
        block: Block<'_>,
        index: usize,
    ) {
        let mut draft = self.draft1(cx, side, message, block.command);
        let mut key = Key {
            version: 1,
            id: message.id,
            command: block.command.into(),
            session: message.user.into(),
            tree: message.tree.into(),
            ..Key::default()
        };
        let command = block.command;
        if let Err(cut) = self.request1_body(cx, side, message, block, &mut draft, &mut key) {
            wrong(&mut draft, cut);
        }
        if index > 0 {
            json::member_bool(&mut draft.detail, "chained", true);
            if !matches!(command, command::READ_ANDX | command::WRITE_ANDX) {
                key.offset = u64::MAX;
            }
        }
        if names1::without_response(command) {
            self.exchanges.one_way(cx, draft);
        } else {
            self.exchanges.ask(cx, key, draft);
        }
    }

    /// The file that a request is about.
    pub(super) fn about1(&mut self, draft: &mut Draft, key: &mut Key, number: u16) {
        key.file = file_id(number);
        json::member_number(&mut draft.detail, "file", number.into());
        if let Some((name, pipe)) = self.state.file(&key.file) {
            draft.target.push_str(name);
            if pipe && matches!(draft.operation, operation::PROGRAM_READ | operation::PROGRAM_WRITE) {
                draft.operation = operation::OTHER;
            }
        }
    }

    /// Names something within the message's tree.
    pub(super) fn within(&self, draft: &mut Draft, message: &Message<'_>, name: &str) {
        self.state.name(&mut draft.target, 0, message.tree.into(), name);
    }

    fn request1_body(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        message: &Message<'_>,
        block: Block<'_>,
        draft: &mut Draft,
        key: &mut Key,
    ) -> Result<(), Cut> {
        let mut w = block.words;
        let mut texts = message.texts(&block);
        if names1::chained(block.command) {
            w.skip(4, "andx")?;
        }
        match block.command {
            command::NEGOTIATE => dialects(draft, block.data)?,
            command::SESSION_SETUP => self.set_up_request(cx, side, message, &block, draft)?,
            command::TREE_CONNECT => {
                w.skip(2, "flags")?;
                let password = usize::from(w.u16_le("password")?);
                json::member_bool(&mut draft.detail, "password_empty", password <= 1);
                texts.skip(password);
                draft.target.push_str(&texts.next());
                json::member_text(&mut draft.detail, "service", &texts.plain());
            }
            command::TREE_DISCONNECT => self.within(draft, message, ""),
            command::NT_CREATE => {
                w.skip(1, "reserved")?;
                let length = usize::from(w.u16_le("name")?);
                w.skip(8, "flags")?;
                let access = w.u32_le("access")?;
                w.skip(16, "share_access")?;
                let (disposition, options) = (w.u32_le("disposition")?, w.u32_le("options")?);
                let name = texts.next();
                if length > 0 && name.is_empty() && block.data.len() > length {
                    return Err(w.cut("name"));
                }
                self.within(draft, message, &name);
                let pipe = self.state.of_pipes(0, message.tree.into());
                key.kind = opening(draft, pipe, access, disposition, options);
            }
            command::OPEN_ANDX => {
                w.skip(12, "flags")?;
                let action = w.u16_le("open_function")?;
                if action & 0x12 != 0 {
                    draft.operation = operation::PROGRAM_WRITE;
                }
                let name = texts.next();
                self.within(draft, message, &name);
            }
            command::CLOSE | command::FLUSH => {
                let number = w.u16_le("file_id")?;
                self.about1(draft, key, number);
            }
            command::READ_ANDX => {
                let number = w.u16_le("file_id")?;
                let low = w.u32_le("offset")?;
                let length = w.u16_le("length")?;
                w.skip(2, "length")?;
                let high_length = w.u32_le("length")?;
                w.skip(2, "remaining")?;
                let high = if w.remaining() >= 4 { w.u32_le("offset")? } else { 0 };
                key.offset = u64::from(high) << 32 | u64::from(low);
                self.about1(draft, key, number);
                json::member_number(&mut draft.detail, "offset", key.offset);
                // Ones mean a timeout, not a length.
                let high_length = if high_length == u32::MAX { 0 } else { high_length & 0xffff };
                let length = u64::from(high_length) << 16 | u64::from(length);
                json::member_number(&mut draft.detail, "length", length);
            }
            command::WRITE_ANDX => {
                let number = w.u16_le("file_id")?;
                let low = w.u32_le("offset")?;
                w.skip(8, "write_mode")?;
                let (high_length, length) = (w.u16_le("length")?, w.u16_le("length")?);
                let start = usize::from(w.u16_le("data_offset")?);
                let high = if w.remaining() >= 4 { w.u32_le("offset")? } else { 0 };
                let length = usize::from(high_length) << 16 | usize::from(length);
                key.offset = u64::from(high) << 32 | u64::from(low);
                self.about1(draft, key, number);
                json::member_number(&mut draft.detail, "offset", key.offset);
                json::member_number(&mut draft.detail, "length", length as u64);
                draft.body_bytes = Some(length as u64);
                let data = message.bytes.get(start..start + length);
                self.state.content(cx, &key.file, true, key.offset, data);
                self.in_known_pipe(cx, side, key, data);
            }
            command::READ | command::WRITE | command::WRITE_AND_CLOSE => {
                let number = w.u16_le("file_id")?;
                let length = w.u16_le("length")?;
                let offset = w.u32_le("offset")?;
                self.about1(draft, key, number);
                json::member_number(&mut draft.detail, "offset", offset.into());
                json::member_number(&mut draft.detail, "length", length.into());
                // These old commands are not followed: the file's hash would be of a part.
                self.state.content(cx, &key.file, block.command != command::READ, 0, None);
            }
            command::CREATE_DIRECTORY
            | command::DELETE_DIRECTORY
            | command::OPEN
            | command::CREATE
            | command::DELETE
            | command::QUERY_INFORMATION
            | command::SET_INFORMATION
            | command::CHECK_DIRECTORY => {
                texts.skip(1);
                let name = texts.next();
                self.within(draft, message, &name);
            }
            command::RENAME | command::NT_RENAME => {
                texts.skip(1);
                let name = texts.next();
                self.within(draft, message, &name);
                texts.skip(1);
                json::member_text(&mut draft.detail, "new_name", &texts.next());
            }
            command::TRANSACTION | command::TRANSACTION2 | command::NT_TRANSACT => {
                self.transaction(cx, side, message, block, draft, key)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn set_up_request(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        message: &Message<'_>,
        block: &Block<'_>,
        draft: &mut Draft,
    ) -> Result<(), Cut> {
        let mut w = block.words;
        let mut texts = message.texts(block);
        w.skip(14, "session")?;
        match block.word_bytes {
            // The security extension's token.
            24 => {
                let length = usize::from(w.u16_le("token")?);
                let token = block.data.get(..length).ok_or(w.cut("token"))?;
                let account = self.credentials(cx, side, draft, token);
                self.state.present(message.id, account);
                texts.skip(length);
            }
            26 => {
                let (plain, wide) = (usize::from(w.u16_le("password")?), usize::from(w.u16_le("password")?));
                texts.skip(plain + wide);
                let (user, domain) = (texts.next(), texts.next());
                if user.is_empty() {
                    json::member_bool(&mut draft.detail, "anonymous", true);
                } else {
                    json::member_text(&mut draft.detail, "user", &user);
                    json::member_text(&mut draft.detail, "domain", &domain);
                    json::member_bool(&mut draft.detail, "password_empty", plain.max(wide) <= 1);
                    // Answers to the challenge have 24 octets, or more in version 2.
                    let version = match (plain, wide) {
                        (_, 25..) => "2",
                        (_, 24) => "1",
                        (24, _) => "lm",
                        _ => "none",
                    };
                    json::member_text(&mut draft.detail, "ntlm_version", version);
                    if !domain.is_empty() {
                        draft.target.push_str(&domain);
                        draft.target.push('\\');
                    }
                    draft.target.push_str(&user);
                    self.state.present(message.id, draft.target.clone());
                }
            }
            _ => return Ok(()),
        }
        for member in ["client_os", "client_lanman"] {
            let text = texts.next();
            if !text.is_empty() {
                json::member_text(&mut draft.detail, member, &text);
            }
        }
        Ok(())
    }

    fn response1(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        message: &Message<'_>,
        block: Block<'_>,
        index: usize,
    ) {
        let command = u16::from(block.command);
        // Only says that the request's further parts may come.
        let interim = names1::is_transaction(block.command) && block.word_bytes == 0 && message.status == 0;
        let asked = self.asked(side, |key| {
            (key.version, key.id, key.command) == (1, message.id, command) && !(interim && key.interim)
        });
        let was_asked = asked.is_some();
        if names1::is_transaction(block.command) {
            let mut words = block.words;
            let later = !was_asked && displaced(&mut words, block.command == command::NT_TRANSACT);
            if later {
                // A further part of a response that has its row.
                return;
            }
        }
        let (mut key, mut draft) = asked.unwrap_or_else(|| {
            let mut draft = self.draft1(cx, side.other(), message, block.command);
            if index > 0 {
                json::member_bool(&mut draft.detail, "chained", true);
            }
            (Key { tree: message.tree.into(), ..Key::default() }, draft)
        });
        if was_asked && interim {
            key.interim = true;
            json::member_bool(&mut draft.detail, "interim", true);
            self.exchanges.ask(cx, key, draft);
            return;
        }
        if message.nt || message.status == 0 {
            outcome(&mut draft, message.status);
        } else {
            let [class, _, low, high] = message.status.to_le_bytes();
            let name = names1::dos_error(class, u16::from_le_bytes([low, high]));
            if draft.status == status::MALFORMED {
                json::member_text(&mut draft.detail, "answer", &name);
            } else {
                draft.deny(name);
            }
        }
        let more = message.nt && message.status == names::MORE_PROCESSING_REQUIRED;
        let fails = message.nt && message.status >> 30 == 3 && !more;
        if block.command == command::SESSION_SETUP && fails {
            self.state.set_up(key.id, message.user.into(), false);
        }
        if block.word_bytes > 0 || matches!(block.command, command::CLOSE | command::TREE_DISCONNECT) {
            let read =
                if fails { Ok(()) } else { self.response1_body(cx, side, message, block, &mut draft, &key) };
            if let Err(cut) = read {
                wrong(&mut draft, cut);
            }
        }
        if was_asked {
            self.exchanges.pair(cx, draft);
        } else {
            self.exchanges.unasked(cx, draft);
        }
    }

    fn response1_body(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        message: &Message<'_>,
        block: Block<'_>,
        draft: &mut Draft,
        key: &Key,
    ) -> Result<(), Cut> {
        let mut w = block.words;
        let mut texts = message.texts(&block);
        if names1::chained(block.command) {
            w.skip(4, "andx")?;
        }
        match block.command {
            command::NEGOTIATE => self.negotiated1(cx, side, message, &block, draft)?,
            command::SESSION_SETUP => {
                if w.u16_le("action")? & 1 != 0 {
                    json::member_bool(&mut draft.detail, "guest", true);
                }
                if draft.session.is_empty() && message.user != 0 {
                    let _ = write!(draft.session, "0x{:x}", message.user);
                }
                if block.word_bytes == 8 {
                    let length = usize::from(w.u16_le("token")?);
                    let token = block.data.get(..length).ok_or(w.cut("token"))?;
                    self.credentials(cx, side, draft, token);
                    texts.skip(length);
                }
                if message.status == 0 {
                    self.state.set_up(key.id, message.user.into(), true);
                }
                let (os, lanman) = (texts.next(), texts.next());
                if !os.is_empty() {
                    json::member_text(&mut draft.detail, "server_os", &os);
                    let row = IdentityRow { firmware: &os, model: &lanman, ..IdentityRow::default() };
                    cx.identity(NAME, side, row);
                }
            }
            command::LOGOFF => self.state.log_off(key.session),
            command::TREE_CONNECT => {
                let service = texts.plain();
                let kind = match &*service {
                    "IPC" => 2,
                    "LPT1:" => 3,
                    _ => 1,
                };
                json::member_text(&mut draft.detail, "share_type", names::share(kind));
                json::member_number(&mut draft.detail, "tree", message.tree.into());
                let system = texts.next();
                if !system.is_empty() {
                    json::member_text(&mut draft.detail, "file_system", &system);
                }
                self.state.connect(0, message.tree.into(), &draft.target, kind == 2);
            }
            command::TREE_DISCONNECT => self.state.disconnect(0, key.tree),
            command::NT_CREATE => {
                w.skip(1, "oplock")?;
                let number = w.u16_le("file_id")?;
                let action = w.u32_le("create_action")?;
                w.skip(44, "times")?;
                let bytes = w.u64_le("end_of_file")?;
                // Types 1 and 2 are pipes, whatever is known of the tree.
                let pipe = matches!(w.u16_le("resource_type")?, 1 | 2);
                opened(draft, action, bytes, pipe.into());
                json::member_number(&mut draft.detail, "file", number.into());
                self.state.open(file_id(number), &draft.target, pipe);
            }
            command::OPEN | command::CREATE | command::OPEN_ANDX => {
                let number = w.u16_le("file_id")?;
                json::member_number(&mut draft.detail, "file", number.into());
                let pipe = self.state.of_pipes(0, key.tree);
                self.state.open(file_id(number), &draft.target, pipe);
            }
            command::CLOSE => {
                self.state.shut(draft, &key.file);
                self.rpc.shut(&key.file);
            }
            command::TRANSACTION if key.kind == TRANSACT_NMPIPE => {
                self.transacted(cx, side, message, w, key)?;
            }
            command::READ_ANDX => {
                w.skip(6, "available")?;
                let length = usize::from(w.u16_le("length")?);
                let offset = usize::from(w.u16_le("data_offset")?);
                let length = usize::from(w.u16_le("length")?) << 16 | length;
                draft.body_bytes = Some(length as u64);
                let data = message.bytes.get(offset..offset + length);
                self.state.content(cx, &key.file, false, key.offset, data);
                self.in_known_pipe(cx, side, key, data);
            }
            command::WRITE_ANDX => {
                let low = w.u16_le("count")?;
                w.skip(2, "available")?;
                let high = w.u16_le("count")?;
                draft.body_bytes = Some(u64::from(high) << 16 | u64::from(low));
            }
            _ => {}
        }
        Ok(())
    }

    fn negotiated1(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        message: &Message<'_>,
        block: &Block<'_>,
        draft: &mut Draft,
    ) -> Result<(), Cut> {
        let mut w = block.words;
        let chosen = w.u16_le("dialect")?;
        json::member_number(&mut draft.detail, "dialect_index", chosen.into());
        if block.word_bytes < 34 {
            return Ok(());
        }
        let mode = w.u8("security_mode")?;
        w.skip(16, "sizes")?;
        let capabilities = w.u32_le("capabilities")?;
        w.skip(10, "time")?;
        let challenge = usize::from(w.u8("challenge")?);
        let signing = match mode & 12 {
            0 => "disabled",
            4 => "enabled",
            _ => "required",
        };
        json::member_text(&mut draft.detail, "server_signing", signing);
        if mode & 2 == 0 {
            json::member_bool(&mut draft.detail, "plaintext_passwords", true);
        }
        let mut texts = message.texts(block);
        if capabilities & 0x8000_0000 != 0 {
            let guid = block.data.first_chunk::<16>().ok_or(w.cut("guid"))?;
            json::member_text(&mut draft.detail, "server_guid", &names::guid(guid));
            self.credentials(cx, side, draft, &block.data[16..]);
        } else {
            texts.skip(challenge);
            // Not aligned here, whatever the message's beginning says.
            texts.at = 0;
            let (domain, server) = (texts.next(), texts.next());
            for (member, text) in [("server_domain", domain), ("server_host", server)] {
                if !text.is_empty() {
                    json::member_text(&mut draft.detail, member, &text);
                }
            }
        }
        Ok(())
    }
}

fn dialects(draft: &mut Draft, mut data: &[u8]) -> Result<(), Cut> {
    json::key(&mut draft.detail, "dialects");
    draft.detail.push('[');
    let mut problem = Ok(());
    for at in 0..DIALECTS_MAX {
        let [format, rest @ ..] = data else { break };
        let Some(end) = rest.iter().position(|b| *b == 0).filter(|_| *format == 2) else {
            problem = Err(Cut { what: "dialects", at: HEADER });
            break;
        };
        if at > 0 {
            draft.detail.push(',');
        }
        let shown = &rest[..end.min(64)];
        json::push_text(&mut draft.detail, &String::from_utf8_lossy(shown));
        data = &rest[end + 1..];
    }
    draft.detail.push(']');
    problem
}
