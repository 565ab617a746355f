//! The router's own datagrams on port 48899: who is there, and routes that are added.

use yagura_event::rows::IdentityRow;
use yagura_event::vocabulary::operation;

use super::{Ads, Key, PROTOCOL, address, names};
use crate::cursor::{Cursor, Cut};
use crate::{Cx, Side, json};

/// What every datagram begins with.
pub const COOKIE: [u8; 4] = [0x03, 0x66, 0x14, 0x71];
/// The service of a response has it.
const RESPONSE: u32 = 0x8000_0000;
/// Most tags of one datagram that are read.
const TAGS_MAX: u32 = 64;

fn service(code: u32) -> (&'static str, &'static str) {
    match code {
        1 => (operation::DISCOVER, "server_info"),
        6 => (operation::CONFIGURE, "add_route"),
        _ => (operation::OTHER, "router_service"),
    }
}

/// What the tags of a response say of the router.
#[derive(Default)]
struct Facts {
    status: u32,
    host: String,
    version: String,
    system: String,
}

impl Ads {
    pub(super) fn datagram(&mut self, cx: &mut Cx<'_>, side: Side, bytes: &[u8]) -> Result<(), Cut> {
        let mut c = Cursor::new(bytes);
        let cookie = c.array::<4>("cookie")?;
        c.check(cookie == COOKIE, "cookie")?;
        let (invoke, code) = (c.u32_le("invoke_id")?, c.u32_le("service")?);
        let sender = c.array::<8>("net_id")?;
        let response = code & RESPONSE != 0;
        let (operation, name) = service(code & !RESPONSE);
        let key = |k: &Key| k.router && k.invoke == invoke && k.group == code & !RESPONSE;
        let found = if response { self.exchanges.take_if(side, |k, _| key(k)) } else { None };
        let paired = found.is_some();
        let mut draft = match found {
            Some((_, draft)) => draft,
            None => {
                let asker = if response { side.other() } else { side };
                let mut draft = self.exchanges.draft(cx, asker, operation, name);
                json::member_number(&mut draft.detail, "service", u64::from(code & !RESPONSE));
                json::member_number(&mut draft.detail, "invoke_id", u64::from(invoke));
                draft
            }
        };
        json::key(&mut draft.detail, if response { "responder" } else { "requester" });
        draft.detail.push('"');
        address(&mut draft.detail, sender);
        draft.detail.push('"');
        let mut facts = Facts::default();
        let mut read = || -> Result<(), Cut> {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end_matches('\0').to_string();
            for _ in 0..c.u32_le("tags")?.min(TAGS_MAX) {
                let (tag, length) = (c.u16_le("tag")?, c.u16_le("tag_length")?);
                let data = c.take(usize::from(length), "tag_length")?;
                match (tag, data) {
                    (1, &[a, b, c, d]) => facts.status = u32::from_le_bytes([a, b, c, d]),
                    (2, password) => {
                        json::member_bool(&mut draft.detail, "password", true);
                        let empty = password.iter().all(|&b| b == 0);
                        json::member_bool(&mut draft.detail, "password_empty", empty);
                    }
                    (3, &[major, minor, low, high, ..]) => {
                        facts.version = format!("{major}.{minor}.{}", u16::from_le_bytes([low, high]));
                    }
                    (4, data) => {
                        let mut os = Cursor::new(data);
                        os.skip(4, "os_version")?;
                        let (major, minor) = (os.u32_le("os_version")?, os.u32_le("os_version")?);
                        let (build, platform) = (os.u32_le("os_version")?, os.u32_le("os_version")?);
                        let platform = match platform {
                            2 => "Windows",
                            3 => "Windows CE",
                            8 => "TwinCAT/BSD",
                            _ => "other",
                        };
                        facts.system = format!("{platform} {major}.{minor}.{build}");
                    }
                    (5, data) => {
                        facts.host = text(data);
                        if !response {
                            json::member_text(&mut draft.detail, "host", &facts.host);
                        }
                    }
                    (7, data) => {
                        if let Ok(id) = <[u8; 6]>::try_from(data) {
                            json::key(&mut draft.detail, "net_id");
                            draft.detail.push('"');
                            super::net_id(&mut draft.detail, id);
                            draft.detail.push('"');
                        }
                    }
                    (12, data) => draft.target.push_str(&text(data)),
                    (13, data) => json::member_text(&mut draft.detail, "user", &text(data)),
                    _ => {}
                }
            }
            Ok(())
        };
        if let Err(cut) = read() {
            draft.wrong(cut);
        }
        if !response {
            let key = Key { router: true, invoke, group: code, ..Key::default() };
            self.exchanges.ask(cx, key, draft);
            return Ok(());
        }
        if facts.status != 0 {
            match names::error(facts.status) {
                Some(name) => draft.deny(name),
                None => draft.deny(format!("0x{:x}", facts.status)),
            }
        }
        if !facts.host.is_empty() && code & !RESPONSE == 1 {
            draft.push_text(&facts.host);
            let mut id = String::new();
            address(&mut id, sender);
            let mut detail = String::new();
            json::member_text(&mut detail, "ams_address", &id);
            json::member_text(&mut detail, "system", &facts.system);
            json::end(&mut detail);
            let row = IdentityRow {
                vendor: "Beckhoff",
                name: &facts.host,
                firmware: &facts.version,
                detail: &detail,
                ..IdentityRow::default()
            };
            cx.identity(PROTOCOL.name, side, row);
        }
        if paired {
            self.exchanges.pair(cx, draft);
        } else {
            self.exchanges.unasked(cx, draft);
        }
        Ok(())
    }
}
