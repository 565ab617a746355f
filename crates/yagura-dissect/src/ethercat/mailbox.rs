//! Mailboxes: objects (CoE) and files (FoE).
//!
//! A mailbox is a stretch of a slave's memory. It is told from process data by its header, which
//! must fit the datagram, and by what the header announces.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use yagura_event::clock::{Micros, SECOND};
use yagura_event::vocabulary::operation;

use super::names::{self, command, register};
use super::slaves::Slaves;
use super::{Datagram, slave_name};
use crate::cursor::{Cursor, Cut};
use crate::exchange::{Draft, Exchanges};
use crate::{Cx, Side, json};

/// A request without a response for that long gets a row of its own.
const REPLY_TIMEOUT: Micros = 10 * SECOND;
/// Most files that are on their way at once.
const FILES_MAX: usize = 16;
/// Length, address, channel, type.
const HEADER: usize = 6;
/// Most bytes of an object that a row shows.
const SHOWN_MAX: usize = 128;

/// Kinds of mailboxes.
mod kind {
    pub const AOE: u8 = 1;
    pub const EOE: u8 = 2;
    pub const COE: u8 = 3;
    pub const FOE: u8 = 4;
    pub const SOE: u8 = 5;
}

/// Services of CoE.
mod service {
    pub const EMERGENCY: u16 = 1;
    pub const REQUEST: u16 = 2;
    pub const RESPONSE: u16 = 3;
    pub const INFORMATION: u16 = 8;
}

/// What tells requests apart: the slave, and whether information is asked for. A slave answers
/// one at a time.
#[derive(PartialEq)]
struct Key {
    station: u16,
    information: bool,
    index: u16,
    sub: u8,
    /// A piece of a transfer.
    segment: bool,
}

/// A file on its way.
struct File {
    station: u16,
    draft: Draft,
    mac: Option<Hmac<Sha256>>,
    bytes: u64,
    /// The longest piece so far.
    longest: usize,
}

/// All mailboxes of a segment.
pub struct Mailboxes {
    /// The end that the master's frames come from.
    pub master: Side,
    exchanges: Exchanges<Key>,
    files: Vec<File>,
    /// The object whose pieces come: station, index, subindex.
    pieces: Vec<(u16, u16, u8)>,
}

impl Mailboxes {
    pub fn new(protocol: &'static str) -> Self {
        Mailboxes {
            master: Side::Client,
            exchanges: Exchanges::new(protocol, REPLY_TIMEOUT),
            files: Vec::new(),
            pieces: Vec::new(),
        }
    }

    /// Reads a datagram that holds a mailbox; whether it does.
    pub fn take(&mut self, cx: &mut Cx<'_>, datagram: &Datagram<'_>, slaves: &mut Slaves) -> bool {
        let by_master = command::writes(datagram.command);
        if datagram.offset < register::MEMORY || !(by_master || matches!(datagram.command, 1 | command::FPRD))
        {
            return false;
        }
        let Some((header, body)) = datagram.data.split_first_chunk::<HEADER>() else { return false };
        let [low, high, _, _, channel, kind] = *header;
        let length = usize::from(u16::from_le_bytes([low, high]));
        let fits = kind & 0x80 == 0 && channel & 0x3f == 0 && length >= 2;
        let Some(body) = body.get(..length).filter(|_| fits) else { return false };
        let room = datagram.data.len() - HEADER;
        let said = match kind & 15 {
            kind::COE => self.objects(cx, datagram, by_master, body, slaves),
            kind::FOE => self.files(cx, datagram, by_master, body, room),
            kind::AOE | kind::EOE | kind::SOE => {
                let name = match kind & 15 {
                    kind::AOE => "ads_over_ethercat",
                    kind::EOE => "ethernet_over_ethercat",
                    _ => "servo_drive_over_ethercat",
                };
                let mut draft = self.draft(cx, datagram, by_master, operation::OTHER, name);
                draft.set_count(1);
                json::member_number(&mut draft.detail, "bytes", length as u64);
                self.exchanges.one_way(cx, draft);
                return true;
            }
            _ => return false,
        };
        match said {
            Ok(known) => known,
            Err(cut) => {
                let mut draft = self.draft(cx, datagram, by_master, operation::OTHER, "mailbox");
                draft.wrong(cut);
                self.exchanges.one_way(cx, draft);
                true
            }
        }
    }

    fn draft(
        &mut self,
        cx: &Cx<'_>,
        datagram: &Datagram<'_>,
        by_master: bool,
        operation: &'static str,
        name: &'static str,
    ) -> Draft {
        let asker = if by_master { self.master } else { self.master.other() };
        let mut draft = self.exchanges.draft(cx, asker, operation, name);
        draft.equipment = self.master.other();
        slave_name(&mut draft.session, datagram, true);
        draft
    }

    fn objects(
        &mut self,
        cx: &mut Cx<'_>,
        datagram: &Datagram<'_>,
        by_master: bool,
        body: &[u8],
        slaves: &mut Slaves,
    ) -> Result<bool, Cut> {
        let mut c = Cursor::new(body);
        let word = c.u16_le("coe_header")?;
        match word >> 12 {
            // The reserved bits tell process data that looks like a mailbox.
            _ if word & 0x0e00 != 0 => Ok(false),
            service::EMERGENCY => {
                let mut draft = self.draft(cx, datagram, by_master, operation::ALARM, "emergency");
                let code = c.u16_le("error_code")?;
                draft.target.push_str(&format!("0x{code:04x}"));
                json::member_number(&mut draft.detail, "error_register", u64::from(c.u8("error_register")?));
                self.exchanges.one_way(cx, draft);
                Ok(true)
            }
            service::REQUEST if by_master => self.sdo_request(cx, datagram, c).map(|()| true),
            // A master that breaks off says so in a request too.
            service::REQUEST | service::RESPONSE => {
                self.sdo_response(cx, datagram, by_master, c, slaves).map(|()| true)
            }
            service::INFORMATION => self.information(cx, datagram, by_master, c).map(|()| true),
            _ => Ok(false),
        }
    }

    fn sdo_request(
        &mut self,
        cx: &mut Cx<'_>,
        datagram: &Datagram<'_>,
        mut c: Cursor<'_>,
    ) -> Result<(), Cut> {
        const ABORT: u8 = 4;
        let specifier = c.u8("sdo_command")?;
        let (operation, name) = match specifier >> 5 {
            0 => (operation::WRITE, "sdo_download_segment"),
            1 => (operation::WRITE, "sdo_download"),
            2 => (operation::READ, "sdo_upload"),
            3 => (operation::READ, "sdo_upload_segment"),
            ABORT => (operation::OTHER, "sdo_abort"),
            _ => return Err(c.cut("sdo_command")),
        };
        let station = datagram.slave;
        let mut draft = self.draft(cx, datagram, true, operation, name);
        let segment = matches!(specifier >> 5, 0 | 3);
        let (index, sub) = if segment {
            self.pieces.iter().find(|piece| piece.0 == station).map_or((0, 0), |piece| (piece.1, piece.2))
        } else {
            let place = (c.u16_le("index")?, c.u8("subindex")?);
            self.pieces.retain(|piece| piece.0 != station);
            if self.pieces.len() == FILES_MAX {
                self.pieces.remove(0);
            }
            self.pieces.push((station, place.0, place.1));
            place
        };
        object(&mut draft, index, sub);
        if operation == operation::WRITE && index < 0x2000 {
            draft.operation = operation::CONFIGURE;
        }
        match specifier >> 5 {
            0 => {
                json::member_bool(&mut draft.detail, "last", specifier & 1 != 0);
                let data = c.take_rest();
                let unused = if data.len() == 7 { usize::from(specifier >> 1 & 7) } else { 0 };
                draft.seal(&cx.settings.plant_key, &data[..data.len().saturating_sub(unused)]);
            }
            1 => {
                if specifier & 0x10 != 0 {
                    json::member_bool(&mut draft.detail, "complete", true);
                }
                let data = contents(&mut draft, specifier, &mut c)?;
                value(&mut draft, data);
            }
            ABORT => {
                let code = c.u32_le("abort_code")?;
                abort(&mut draft, code);
                self.exchanges.one_way(cx, draft);
                return Ok(());
            }
            _ => {}
        }
        self.exchanges.ask(cx, Key { station, information: false, index, sub, segment }, draft);
        Ok(())
    }

    fn sdo_response(
        &mut self,
        cx: &mut Cx<'_>,
        datagram: &Datagram<'_>,
        by_master: bool,
        mut c: Cursor<'_>,
        slaves: &mut Slaves,
    ) -> Result<(), Cut> {
        const ABORT: u8 = 4;
        let specifier = c.u8("sdo_command")?;
        let segment = matches!(specifier >> 5, 0 | 1);
        let station = datagram.slave;
        let (index, sub) = if segment {
            self.pieces.iter().find(|piece| piece.0 == station).map_or((0, 0), |piece| (piece.1, piece.2))
        } else {
            (c.u16_le("index")?, c.u8("subindex")?)
        };
        let aborts = specifier >> 5 == ABORT;
        let fits = |k: &Key| {
            let same = (k.station, k.index, k.sub) == (station, index, sub) && !k.information;
            same && (aborts || k.segment == segment)
        };
        let found = self.exchanges.take_if(self.master.other(), |key, _| fits(key));
        let paired = found.is_some();
        let mut draft = match found {
            Some((_, draft)) => draft,
            None => {
                let name = match specifier >> 5 {
                    0 => "sdo_upload_segment",
                    1 => "sdo_download_segment",
                    2 => "sdo_upload",
                    3 => "sdo_download",
                    _ => "sdo_abort",
                };
                let mut draft = self.draft(cx, datagram, !by_master, operation::READ, name);
                object(&mut draft, index, sub);
                draft
            }
        };
        match specifier >> 5 {
            0 => {
                json::member_bool(&mut draft.detail, "last", specifier & 1 != 0);
                let data = c.take_rest();
                let unused = if data.len() == 7 { usize::from(specifier >> 1 & 7) } else { 0 };
                draft.seal(&cx.settings.plant_key, &data[..data.len().saturating_sub(unused)]);
            }
            2 => {
                let data = contents(&mut draft, specifier, &mut c)?;
                slaves.object(cx, station, index, sub, data);
                let number = value(&mut draft, data);
                if let Some(number) = number.filter(|_| index >= 0x2000) {
                    let signal = format!("{} {}", draft.session, draft.target);
                    let end = cx.flow.end(self.master.other());
                    let source = format!("ethercat {}", end.address);
                    cx.measured(self.master.other(), &signal, &source, number, 0);
                }
            }
            ABORT => abort(&mut draft, c.u32_le("abort_code")?),
            _ => {}
        }
        if paired {
            self.exchanges.pair(cx, draft);
        } else {
            self.exchanges.unasked(cx, draft);
        }
        Ok(())
    }

    /// SDO information: which objects a slave has.
    fn information(
        &mut self,
        cx: &mut Cx<'_>,
        datagram: &Datagram<'_>,
        by_master: bool,
        mut c: Cursor<'_>,
    ) -> Result<(), Cut> {
        const ERROR: u8 = 7;
        let code = c.u8("opcode")? & 0x7f;
        c.skip(3, "fragments_left")?;
        let key = Key { station: datagram.slave, information: true, index: 0, sub: 0, segment: false };
        let name = match code {
            1 | 2 => "get_object_dictionary_list",
            3 | 4 => "get_object_description",
            5 | 6 => "get_entry_description",
            _ => "sdo_information",
        };
        if by_master {
            let mut draft = self.draft(cx, datagram, true, operation::DISCOVER, name);
            if matches!(code, 3 | 5) {
                draft.target.push_str(&format!("0x{:04x}", c.u16_le("index")?));
            }
            self.exchanges.ask(cx, key, draft);
            return Ok(());
        }
        let found = self.exchanges.answered(self.master.other(), &key);
        let paired = found.is_some();
        let mut draft = match found {
            Some(draft) => draft,
            None => self.draft(cx, datagram, true, operation::DISCOVER, name),
        };
        match code {
            4 => {
                c.skip(6, "object")?;
                draft.push_text(&String::from_utf8_lossy(c.take_rest()));
            }
            ERROR => abort(&mut draft, c.u32_le("abort_code")?),
            _ => json::member_number(&mut draft.detail, "bytes", c.remaining() as u64),
        }
        if paired {
            self.exchanges.pair(cx, draft);
        } else {
            self.exchanges.unasked(cx, draft);
        }
        Ok(())
    }

    fn files(
        &mut self,
        cx: &mut Cx<'_>,
        datagram: &Datagram<'_>,
        by_master: bool,
        body: &[u8],
        room: usize,
    ) -> Result<bool, Cut> {
        let mut c = Cursor::new(body);
        let (code, station) = (c.u8("foe_opcode")?, datagram.slave);
        c.skip(1, "foe_opcode")?;
        let number = c.u32_le("foe_number")?;
        match code {
            1 | 2 if by_master => {
                let (operation, name) = match code {
                    1 => (operation::PROGRAM_READ, "foe_read"),
                    _ => (operation::PROGRAM_WRITE, "foe_write"),
                };
                self.give_up(cx, |file| file.station == station);
                if self.files.len() == FILES_MAX {
                    let oldest = self.files[0].station;
                    self.give_up(cx, |file| file.station == oldest);
                }
                let mut draft = self.draft(cx, datagram, true, operation, name);
                let file = c.take_rest();
                draft.target.push_str(String::from_utf8_lossy(file).trim_end_matches('\0'));
                json::member_bool(&mut draft.detail, "password", number != 0);
                let key = &cx.settings.plant_key;
                let mac = if key.is_empty() { None } else { Hmac::<Sha256>::new_from_slice(key).ok() };
                self.files.push(File { station, draft, mac, bytes: 0, longest: 0 });
            }
            3 => {
                let data = c.take_rest();
                let Some(at) = self.files.iter().position(|file| file.station == station) else {
                    return Ok(true);
                };
                let file = &mut self.files[at];
                file.bytes += data.len() as u64;
                if let Some(mac) = &mut file.mac {
                    mac.update(data);
                }
                // A piece that does not fill the mailbox is the last one; a gateway does not say how
                // large that is, so the pieces before it tell.
                let full = room.max(file.longest);
                file.longest = file.longest.max(body.len());
                if body.len() < full {
                    let file = self.files.remove(at);
                    self.finish(cx, file);
                }
            }
            5 => {
                let Some(at) = self.files.iter().position(|file| file.station == station) else {
                    return Ok(true);
                };
                let mut file = self.files.remove(at);
                match names::file_error(number) {
                    Some(name) => file.draft.deny(name),
                    None => file.draft.deny(format!("0x{number:x}")),
                }
                self.finish(cx, file);
            }
            4 | 6 => {}
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Writes a file that is through.
    fn finish(&mut self, cx: &mut Cx<'_>, file: File) {
        let draft = file.sealed();
        self.exchanges.pair(cx, draft);
    }

    /// Writes files that did not end.
    fn give_up(&mut self, cx: &mut Cx<'_>, which: impl Fn(&File) -> bool) {
        while let Some(at) = self.files.iter().position(&which) {
            let mut draft = self.files.remove(at).sealed();
            draft.status = yagura_event::vocabulary::status::NO_REPLY;
            self.exchanges.one_way(cx, draft);
        }
    }

    pub fn expire(&mut self, cx: &mut Cx<'_>) {
        self.exchanges.expire(cx);
    }

    pub fn close(&mut self, cx: &mut Cx<'_>) {
        self.give_up(cx, |_| true);
        self.exchanges.close(cx);
    }
}

impl File {
    /// The row of what has come: its length and its HMAC.
    fn sealed(self) -> Draft {
        let mut draft = self.draft;
        if self.bytes > 0 {
            draft.body_bytes = Some(self.bytes);
            if let Some(mac) = self.mac {
                json::push_hex_digits(&mut draft.body_hmac, &mac.finalize().into_bytes());
            }
        }
        draft
    }
}

fn object(draft: &mut Draft, index: u16, sub: u8) {
    draft.target.push_str(&format!("0x{index:04x}:{sub:02x}"));
}

/// The data of an initiating download or upload: four bytes or fewer at once, or a length and
/// what there is room for.
fn contents<'a>(draft: &mut Draft, specifier: u8, c: &mut Cursor<'a>) -> Result<&'a [u8], Cut> {
    const EXPEDITED: u8 = 2;
    const SIZE_SAID: u8 = 1;
    if specifier & EXPEDITED != 0 {
        let unused = if specifier & SIZE_SAID != 0 { usize::from(specifier >> 2 & 3) } else { 0 };
        let data = c.take(4, "sdo_data")?;
        return Ok(&data[..4 - unused]);
    }
    let size = c.u32_le("sdo_size")?;
    json::member_number(&mut draft.detail, "size", u64::from(size));
    Ok(c.take((size as usize).min(c.remaining()), "sdo_data").unwrap_or_default())
}

/// A number of up to four bytes, a text, or bytes.
fn value(draft: &mut Draft, data: &[u8]) -> Option<f64> {
    let text = data.iter().position(|&b| b == 0).map_or(data, |end| &data[..end]);
    match data {
        [] => None,
        data if data.len() <= 4 => {
            let number = data.iter().rev().fold(0u32, |sum, &byte| sum << 8 | u32::from(byte));
            draft.push_value(f64::from(number));
            Some(f64::from(number))
        }
        _ if !text.is_empty() && text.iter().all(|b| (0x20..0x7f).contains(b)) => {
            draft.push_text(&String::from_utf8_lossy(text));
            None
        }
        data => {
            draft.push_bytes(&data[..data.len().min(SHOWN_MAX)]);
            None
        }
    }
}

fn abort(draft: &mut Draft, code: u32) {
    match names::abort(code) {
        Some(name) => draft.deny(name),
        None => draft.deny(format!("0x{code:08x}")),
    }
}
