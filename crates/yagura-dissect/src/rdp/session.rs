//! From the connection's opening to its settings (MS-RDPBCGR, 1.3.1.1).

use yagura_event::clock::SECOND;
use yagura_event::rows::IdentityRow;
use yagura_event::vocabulary::{operation, status};

use super::{NAME, names, settings};
use crate::cursor::{Cursor, Cut};
use crate::exchange::{Draft, Exchanges};
use crate::tpkt::{Connect, Upper};
use crate::{Cx, Side, json, wide};

/// PDUs of the multipoint communication service (T.125) by their first octet.
mod mcs {
    pub const CONNECT_INITIAL: [u8; 2] = [0x7f, 0x65];
    pub const CONNECT_RESPONSE: [u8; 2] = [0x7f, 0x66];
    pub const DISCONNECT: u8 = 0x20;
    pub const SEND_DATA_REQUEST: u8 = 0x64;
}

/// Flags of a security header (2.2.8.1.1.2.1).
const ENCRYPTED: u16 = 0x0008;
const CLIENT_INFO: u16 = 0x0040;

/// One connection.
pub(super) struct Session {
    exchanges: Exchanges<()>,
    /// The protocol that the server chose.
    selected: Option<u32>,
    connected: bool,
    encrypted: bool,
}

impl Default for Session {
    fn default() -> Self {
        let exchanges = Exchanges::new(NAME, 30 * SECOND);
        Session { exchanges, selected: None, connected: false, encrypted: false }
    }
}

impl Session {
    /// Whether what comes next is TLS.
    pub fn goes_over_to_tls(&self) -> bool {
        self.selected.is_some_and(|protocol| protocol != 0)
    }

    /// Whether the conference is open, so that other frames may come.
    pub fn is_connected(&self) -> bool {
        self.connected
    }

    fn initial(&mut self, cx: &mut Cx<'_>, side: Side, bytes: &[u8]) {
        let mut draft = self.exchanges.draft(cx, side, operation::SESSION_OPEN, "mcs_connect");
        match settings::client(&mut draft, bytes) {
            Ok(client) => {
                draft.target.push_str(&client.name);
                let mut facts = String::new();
                json::member_number(&mut facts, "client_build", client.build.into());
                if !client.product.is_empty() {
                    json::member_text(&mut facts, "product_id", &client.product);
                }
                json::end(&mut facts);
                let row = IdentityRow { name: &client.name, detail: &facts, ..IdentityRow::default() };
                cx.identity(NAME, side, row);
            }
            Err(cut) => draft.wrong(cut),
        }
        self.exchanges.ask(cx, (), draft);
    }

    fn response(&mut self, cx: &mut Cx<'_>, side: Side, bytes: &[u8]) {
        let found = self.exchanges.answered(side, &());
        let paired = found.is_some();
        let mut draft = found.unwrap_or_else(|| {
            self.exchanges.draft(cx, side.other(), operation::SESSION_OPEN, "mcs_connect")
        });
        // Its length may take several octets: the result stands behind it.
        let result = bytes.windows(3).take(8).find_map(|three| match three {
            [0x0a, 1, result] => Some(*result),
            _ => None,
        });
        match (result, settings::server(&mut draft, bytes)) {
            (Some(code), _) if code != 0 => draft.deny(names::result(code)),
            (_, Err(cut)) if draft.status != status::MALFORMED => draft.wrong(cut),
            (_, encrypts) => self.encrypted = encrypts.unwrap_or(false),
        }
        self.connected = true;
        if self.encrypted {
            cx.opaque(NAME, "the desktop is encrypted by RDP itself");
        }
        if paired {
            self.exchanges.pair(cx, draft);
        } else {
            self.exchanges.unasked(cx, draft);
        }
    }

    /// What a user sends where nothing is encrypted: his name, never his password.
    fn client_info(&mut self, cx: &mut Cx<'_>, side: Side, c: &mut Cursor<'_>) -> Result<(), Cut> {
        c.skip(6, "send_data")?;
        if c.u8("send_data_length")? & 0x80 != 0 {
            c.skip(1, "send_data_length")?;
        }
        let flags = c.u16_le("security_flags")?;
        if flags & ENCRYPTED != 0 || flags & CLIENT_INFO == 0 {
            return Ok(());
        }
        c.skip(2, "security_flags")?;
        c.skip(8, "client_info")?;
        let domain = usize::from(c.u16_le("domain_length")?);
        let user = usize::from(c.u16_le("user_length")?);
        c.skip(6, "client_info")?;
        let domain = wide::text(c.take(domain + 2, "domain")?, 128);
        let user = wide::text(c.take(user + 2, "user")?, 128);
        let mut draft = self.exchanges.draft(cx, side, operation::AUTHENTICATE, "client_info");
        draft.target.push_str(&user);
        if !domain.is_empty() {
            json::member_text(&mut draft.detail, "domain", &domain);
        }
        self.exchanges.one_way(cx, draft);
        Ok(())
    }
}

impl Upper for Session {
    const PROTOCOL: &'static str = NAME;
    const PARAMETERS: bool = false;

    fn connect(&mut self, cx: &mut Cx<'_>, draft: &mut Draft, connect: &Connect<'_>) -> Result<(), Cut> {
        draft.function = "connection_request".into();
        let opening = names::opening(connect.variable).unwrap_or_default();
        if !opening.cookie.is_empty() {
            let cookie = text(opening.cookie);
            json::member_text(
                &mut draft.detail,
                if opening.is_token { "routing_token" } else { "cookie" },
                &cookie,
            );
            if !opening.is_token {
                draft.target = cookie;
            }
        }
        let Some((kind, flags, value)) = opening.negotiation else {
            // Servers from before the negotiation confirm without a choice.
            if connect.confirms {
                json::member_text(&mut draft.detail, "selected_protocol", names::selected(0));
            }
            return Ok(());
        };
        match kind {
            1 => {
                json::member_text(&mut draft.detail, "requested_protocols", &names::requested(value));
                if flags & 1 != 0 {
                    json::member_bool(&mut draft.detail, "restricted_admin", true);
                }
            }
            2 => {
                self.selected = Some(value);
                json::member_text(&mut draft.detail, "selected_protocol", names::selected(value));
                if value != 0 {
                    cx.opaque(NAME, "the desktop is inside TLS");
                }
            }
            _ => draft.deny(names::failure(value)),
        }
        Ok(())
    }

    fn data(&mut self, cx: &mut Cx<'_>, side: Side, data: &[u8]) -> Result<(), Cut> {
        match data.split_first_chunk::<2>() {
            Some((&mcs::CONNECT_INITIAL, rest)) => self.initial(cx, side, rest),
            Some((&mcs::CONNECT_RESPONSE, rest)) => self.response(cx, side, rest),
            // DisconnectProviderUltimatum: its reason is three bits over the border of two octets.
            Some(([first, second], _)) if first & 0xfc == mcs::DISCONNECT => {
                let mut draft = self.exchanges.draft(cx, side, operation::SESSION_CLOSE, "mcs_disconnect");
                draft.equipment = Side::Server;
                draft.status_code = names::reason((first & 3) << 1 | second >> 7).into();
                self.exchanges.one_way(cx, draft);
            }
            Some((&[mcs::SEND_DATA_REQUEST, _], _)) if !self.encrypted && side == Side::Client => {
                return self.client_info(cx, side, &mut Cursor::new(data)).or(Ok(()));
            }
            _ => {}
        }
        Ok(())
    }

    fn lost(&mut self, _cx: &mut Cx<'_>, _side: Side) {
        // What follows may be a session that is long open.
        self.connected = true;
    }

    fn expire(&mut self, cx: &mut Cx<'_>) {
        self.exchanges.expire(cx);
    }

    fn close(&mut self, cx: &mut Cx<'_>) {
        self.exchanges.close(cx);
    }
}

/// Text of one octet a character, without the zeros that fill it up.
pub(super) fn text(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(255)]);
    text.trim_end_matches('\0').to_string()
}
