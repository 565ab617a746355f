//! Transactions of SMB 1 (MS-CIFS 2.2.4.33, 2.2.4.46, 2.2.4.62): what they do, and to what.

use yagura_event::vocabulary::operation;

use super::smb1::{Block, Message, Texts, command};
use super::smb2::{opening, set_file};
use super::{Key, Smb, names, names1};
use crate::cursor::{Cursor, Cut};
use crate::exchange::Draft;
use crate::{Cx, Side, json};

/// The subcommand that writes to a pipe and reads its answer.
pub(super) const TRANSACT_NMPIPE: u32 = 0x26;

/// Offsets and lengths of a transaction's parameters and data, from the message's beginning on.
#[derive(Default)]
struct Parts<'a> {
    parameters: &'a [u8],
    data: &'a [u8],
}

impl Smb {
    /// What a transaction does and to what.
    pub(super) fn transaction(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        message: &Message<'_>,
        block: Block<'_>,
        draft: &mut Draft,
        key: &mut Key,
    ) -> Result<(), Cut> {
        let mut w = block.words;
        let nt = block.command == command::NT_TRANSACT;
        let (parts, setup, function) = parts(message, &mut w, nt, false)?;
        let setup_words = Cursor::new(setup);
        key.kind = match (nt, setup.first_chunk()) {
            (true, _) => function.into(),
            (false, Some(word)) => u16::from_le_bytes(*word).into(),
            _ => u32::MAX,
        };
        let mut c = Cursor::new(parts.parameters);
        if nt {
            let (name, operation) = names1::nt_transaction(key.kind);
            (draft.function, draft.operation) = (name, operation);
            return self.nt_transaction(message, draft, key, setup_words, c);
        }
        if block.command == command::TRANSACTION {
            let name = message.texts(&block).next();
            self.named_transaction(draft, key, &name, setup_words, c)?;
            if key.kind == TRANSACT_NMPIPE {
                self.in_pipe(cx, side, key.session, &key.file, parts.data);
            }
            return Ok(());
        }
        let (name, operation) = names1::transaction2(key.kind);
        (draft.function, draft.operation) = (name, operation);
        let path = match key.kind {
            // Attributes, counts, flags and level come before the pattern.
            1 => {
                c.skip(6, "find_first")?;
                let level = c.u16_le("find_first")?;
                c.skip(4, "find_first")?;
                json::member_number(&mut draft.detail, "level", level.into());
                true
            }
            2 => {
                c.skip(12, "find_next")?;
                true
            }
            5 | 6 => {
                let level = c.u16_le("path_information")?;
                c.skip(4, "path_information")?;
                json::member_number(&mut draft.detail, "level", level.into());
                true
            }
            7 | 8 => {
                let number = c.u16_le("file_information")?;
                let level = c.u16_le("file_information")?;
                self.about1(draft, key, number);
                json::member_number(&mut draft.detail, "level", level.into());
                // Levels from 1000 on are information classes.
                if key.kind == 8 {
                    let class = match level {
                        0x102 => 13,
                        0x103 => 19,
                        0x104 => 20,
                        1000..1256 => (level - 1000) as u8,
                        _ => 0,
                    };
                    set_file(draft, class, Cursor::new(parts.data))?;
                }
                false
            }
            0 => {
                c.skip(28, "open2")?;
                true
            }
            13 => {
                c.skip(4, "create_directory")?;
                true
            }
            16 => {
                c.skip(2, "referral")?;
                draft.target.push_str(&text(message, c.rest()));
                false
            }
            _ => false,
        };
        if path {
            let name = text(message, c.rest());
            self.within(draft, message, &name);
        }
        Ok(())
    }

    /// What a pipe answers.
    pub(super) fn transacted(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        message: &Message<'_>,
        mut words: Cursor<'_>,
        key: &Key,
    ) -> Result<(), Cut> {
        let (parts, _, _) = parts(message, &mut words, false, true)?;
        self.in_pipe(cx, side, key.session, &key.file, parts.data);
        Ok(())
    }

    fn named_transaction(
        &mut self,
        draft: &mut Draft,
        key: &mut Key,
        name: &str,
        mut setup: Cursor<'_>,
        mut parameters: Cursor<'_>,
    ) -> Result<(), Cut> {
        if name.to_ascii_uppercase().ends_with("\\LANMAN") {
            // The remote administration protocol (MS-RAP 2.5.1).
            let code = parameters.u16_le("rap_function")?;
            draft.function = names1::rap(code);
            draft.operation = operation::DISCOVER;
            draft.target.push_str(name);
            return Ok(());
        }
        if key.kind == u32::MAX {
            draft.target.push_str(name);
            return Ok(());
        }
        draft.function = names1::pipe_transaction(key.kind);
        if let (Ok(_), Ok(number)) = (setup.skip(2, "setup"), setup.u16_le("file_id")) {
            self.about1(draft, key, number);
        }
        if draft.target.is_empty() {
            draft.target.push_str(name);
        }
        Ok(())
    }

    fn nt_transaction(
        &mut self,
        message: &Message<'_>,
        draft: &mut Draft,
        key: &mut Key,
        mut setup: Cursor<'_>,
        mut c: Cursor<'_>,
    ) -> Result<(), Cut> {
        match key.kind {
            1 => {
                c.skip(8, "flags")?;
                let access = c.u32_le("access")?;
                c.skip(16, "share_access")?;
                let (disposition, options) = (c.u32_le("disposition")?, c.u32_le("options")?);
                c.skip(8, "descriptor")?;
                let length = c.u32_le("name")? as usize;
                c.skip(5, "impersonation")?;
                if message.unicode && !c.is_empty() {
                    c.skip(1, "name")?;
                }
                let name = text(message, c.take(length.min(c.remaining()), "name")?);
                self.within(draft, message, &name);
                let pipe = self.state.of_pipes(0, message.tree.into());
                key.kind = opening(draft, pipe, access, disposition, options);
            }
            2 => {
                let code = setup.u32_le("control_code")?;
                let number = setup.u16_le("file_id")?;
                json::member_text(&mut draft.detail, "control", &names::control(code));
                self.about1(draft, key, number);
            }
            3 | 6 => {
                let number = c.u16_le("file_id")?;
                self.about1(draft, key, number);
            }
            4 => {
                setup.skip(4, "filter")?;
                let number = setup.u16_le("file_id")?;
                self.about1(draft, key, number);
            }
            _ => {}
        }
        Ok(())
    }
}

fn text(message: &Message<'_>, bytes: &[u8]) -> String {
    Texts { data: bytes, at: 0, unicode: message.unicode }.next()
}

/// Parameters, data and setup of a transaction's message; an NT transaction's function too.
fn parts<'a, 'w>(
    message: &Message<'a>,
    w: &mut Cursor<'w>,
    nt: bool,
    response: bool,
) -> Result<(Parts<'a>, &'w [u8], u16), Cut> {
    let number = |w: &mut Cursor<'w>| -> Result<usize, Cut> {
        if nt {
            w.u32_le("transaction").map(|n| n as usize)
        } else {
            w.u16_le("transaction").map(usize::from)
        }
    };
    match (nt, response) {
        (true, false) => w.skip(19, "transaction")?,
        (false, false) => w.skip(18, "transaction")?,
        (true, true) => w.skip(11, "transaction")?,
        (false, true) => w.skip(6, "transaction")?,
    }
    let (length, offset) = (number(w)?, number(w)?);
    let parameters = message.stretch(offset, length, "parameters")?;
    if response {
        number(w)?;
    }
    let (length, offset) = (number(w)?, number(w)?);
    let data = message.stretch(offset, length, "data")?;
    let parts = Parts { parameters, data };
    if response {
        return Ok((parts, &[], 0));
    }
    let setup = usize::from(w.u8("setup")?);
    let function = if nt {
        w.u16_le("function")?
    } else {
        w.skip(1, "reserved")?;
        0
    };
    // Some say two where there is none.
    Ok((parts, w.take((2 * setup).min(w.remaining()), "setup")?, function))
}

/// Whether a transaction's response is not its first part.
pub(super) fn displaced(w: &mut Cursor<'_>, nt: bool) -> bool {
    let mut later = || -> Result<bool, Cut> {
        if nt {
            w.skip(11 + 8, "transaction")?;
            let parameters = w.u32_le("displacement")?;
            w.skip(8, "transaction")?;
            return Ok(parameters > 0 || w.u32_le("displacement")? > 0);
        }
        w.skip(6 + 4, "transaction")?;
        let parameters = w.u16_le("displacement")?;
        w.skip(4, "transaction")?;
        Ok(parameters > 0 || w.u16_le("displacement")? > 0)
    };
    later().unwrap_or(false)
}
