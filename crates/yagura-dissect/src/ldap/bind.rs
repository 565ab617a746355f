//! Binds (RFC 4511, 4.2): by a password, by SASL (RFC 4513), and by Windows' own way before it
//! (MS-ADTS 5.1.1.1.3).

use yagura_event::rows::IdentityRow;

use super::{Ldap, NAME, octets, plain};
use crate::asn1;
use crate::cursor::{Cursor, Cut};
use crate::exchange::Draft;
use crate::ntlm::{self, Presented};
use crate::{Cx, Side, json};

impl Ldap {
    pub(super) fn bind(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        draft: &mut Draft,
        fields: &mut Cursor<'_>,
    ) -> Result<(), Cut> {
        let version = asn1::integer(asn1::expect(fields, asn1::INTEGER, "version")?.body);
        json::member_number(&mut draft.detail, "version", version.unwrap_or_default().unsigned_abs());
        draft.target = plain(octets(fields, "bind_name")?);
        let choice = asn1::element(fields, "authentication")?;
        let kind = match choice.tag {
            0x80 => "simple",
            0xa3 => "sasl",
            0x89 => "sicily_package_discovery",
            0x8a => "sicily_negotiate",
            0x8b => "sicily_response",
            _ => "outside_the_standard",
        };
        json::member_text(&mut draft.detail, "authentication", kind);
        match choice.tag {
            0x80 if choice.body.is_empty() => {
                // Without a password nobody is authenticated, whatever the name (RFC 4513, 5.1.2).
                let what = if draft.target.is_empty() { "anonymous" } else { "unauthenticated" };
                json::member_bool(&mut draft.detail, what, true);
            }
            0xa3 => {
                let mut inside = choice.inside();
                let mechanism = plain(octets(&mut inside, "sasl_mechanism")?);
                json::member_text(&mut draft.detail, "sasl", &mechanism);
                let token = asn1::optional(&mut inside, asn1::OCTET_STRING, "sasl_credentials")?;
                if let Some(token) = token {
                    self.token(cx, side, draft, token.body);
                }
            }
            0x8a | 0x8b => self.token(cx, side, draft, choice.body),
            _ => {}
        }
        Ok(())
    }

    /// Credentials in either direction.
    pub(super) fn token(&mut self, cx: &mut Cx<'_>, side: Side, draft: &mut Draft, token: &[u8]) {
        let answer = side != draft.asker;
        let describe = if answer { ntlm::describe_answer } else { ntlm::describe };
        let Presented { account, computer, version } = describe(&mut draft.detail, token);
        if !computer.is_empty() {
            let row = IdentityRow { name: &computer, firmware: &version, ..IdentityRow::default() };
            cx.identity(NAME, side, row);
        }
        if draft.target.is_empty() {
            draft.target = account;
        }
    }
}
