//! The settings that client and server exchange within the opening of a conference
//! (MS-RDPBCGR, 2.2.1.3 and 2.2.1.4; T.124; T.125).

use crate::cursor::{Cursor, Cut};
use crate::exchange::Draft;
use crate::{json, wide};

use super::names;

/// The key of the settings stands within that many bytes of a conference's opening.
pub(super) const KEY_BYTES_MAX: usize = 512;
/// Most channels that are shown.
const CHANNELS_MAX: usize = 31;

/// What the client says of itself.
#[derive(Debug, Default)]
pub(super) struct Client {
    pub name: String,
    pub build: u32,
    pub product: String,
}

/// The blocks behind the key of the side that speaks: `Duca` is the client's, `McDn` the server's.
fn blocks<'a>(bytes: &'a [u8], key: &[u8; 4]) -> Result<Cursor<'a>, Cut> {
    let beginning = &bytes[..bytes.len().min(KEY_BYTES_MAX)];
    let at =
        beginning.windows(4).position(|four| four == key).ok_or(Cut { what: "conference_key", at: 0 })?;
    let mut c = Cursor::new(&bytes[at + 4..]);
    // PER: one octet, or two of which the first has its highest bit set.
    let first = c.u8("settings_length")?;
    let length = if first & 0x80 == 0 {
        usize::from(first)
    } else {
        usize::from(first & 0x3f) << 8 | usize::from(c.u8("settings_length")?)
    };
    c.part(length.min(c.remaining()), "settings_length")
}

/// The next block: its type and what it holds.
fn block<'a>(c: &mut Cursor<'a>) -> Result<Option<(u16, Cursor<'a>)>, Cut> {
    if c.remaining() < 4 {
        return Ok(None);
    }
    let kind = c.u16_le("settings_type")?;
    let length = usize::from(c.u16_le("settings_block_length")?);
    c.check(length >= 4, "settings_block_length")?;
    Ok(Some((kind, c.part(length - 4, "settings_block_length")?)))
}

/// The client's settings.
pub(super) fn client(draft: &mut Draft, bytes: &[u8]) -> Result<Client, Cut> {
    let mut client = Client::default();
    let mut c = blocks(bytes, b"Duca")?;
    while let Some((kind, mut b)) = block(&mut c)? {
        match kind {
            0xc001 => core(draft, &mut client, &mut b)?,
            0xc002 => {
                let methods = b.u32_le("encryption_methods")?;
                json::member_number(&mut draft.detail, "encryption_methods", methods.into());
            }
            0xc003 => {
                let count = b.u32_le("channels")?;
                let mut names = Vec::new();
                for _ in 0..(count as usize).min(CHANNELS_MAX) {
                    let name = b.take(8, "channel")?;
                    b.skip(4, "channel")?;
                    names.push(super::session::text(name));
                }
                json::member_text(&mut draft.detail, "channels", &names.join(","));
            }
            _ => {}
        }
    }
    Ok(client)
}

/// TS_UD_CS_CORE (2.2.1.3.2). What stands behind the colour depth is optional.
fn core(draft: &mut Draft, client: &mut Client, b: &mut Cursor<'_>) -> Result<(), Cut> {
    let version = b.u32_le("version")?;
    let (width, height) = (b.u16_le("desktop_width")?, b.u16_le("desktop_height")?);
    b.skip(4, "color_depth")?;
    let keyboard = b.u32_le("keyboard_layout")?;
    client.build = b.u32_le("client_build")?;
    client.name = wide::text(b.take(32, "client_name")?, 16);
    let detail = &mut draft.detail;
    json::member_text(detail, "client_name", &client.name);
    json::member_text(detail, "client_version", &format!("0x{version:08x}"));
    json::member_number(detail, "client_build", client.build.into());
    json::member_number(detail, "keyboard_layout", keyboard.into());
    json::member_number(detail, "desktop_width", width.into());
    json::member_number(detail, "desktop_height", height.into());
    let mut more = || -> Result<(), Cut> {
        b.skip(12 + 64, "keyboard")?;
        b.skip(8, "color_depth")?;
        let depth = b.u16_le("color_depth")?;
        b.skip(2, "supported_depths")?;
        let capabilities = b.u16_le("capabilities")?;
        let depth = if capabilities & 2 != 0 { 32 } else { depth };
        json::member_number(detail, "color_depth", depth.into());
        client.product = wide::text(b.take(64, "product")?, 32);
        if !client.product.is_empty() {
            json::member_text(detail, "client_dig_product_id", &client.product);
        }
        b.skip(2, "connection_type")?;
        let protocol = b.u32_le("selected_protocol")?;
        json::member_text(detail, "selected_protocol", names::selected(protocol));
        Ok(())
    };
    let _ = more();
    Ok(())
}

/// The server's settings: whether it encrypts.
pub(super) fn server(draft: &mut Draft, bytes: &[u8]) -> Result<bool, Cut> {
    let mut encrypts = false;
    let mut c = blocks(bytes, b"McDn")?;
    while let Some((kind, mut b)) = block(&mut c)? {
        match kind {
            0x0c01 => {
                let version = b.u32_le("version")?;
                json::member_text(&mut draft.detail, "server_version", &format!("0x{version:08x}"));
            }
            0x0c02 => {
                let method = b.u32_le("encryption_method")?;
                let level = b.u32_le("encryption_level")?;
                encrypts = method != 0;
                json::member_text(&mut draft.detail, "encryption_method", names::method(method));
                json::member_text(&mut draft.detail, "encryption_level", names::level(level));
                let _ = certificate(draft, &mut b);
            }
            _ => {}
        }
    }
    Ok(encrypts)
}

/// The server's certificate (2.2.1.4.3.1): its own format, or a chain of X.509.
fn certificate(draft: &mut Draft, b: &mut Cursor<'_>) -> Result<(), Cut> {
    let random = b.u32_le("random_length")? as usize;
    let length = b.u32_le("certificate_length")? as usize;
    b.skip(random, "random")?;
    let mut b = b.part(length, "certificate")?;
    let version = b.u32_le("certificate_version")?;
    let (name, count) = match version & 0x7fff_ffff {
        1 => ("rsa", 1),
        2 => ("x509", b.u32_le("certificate_count")?),
        _ => return Ok(()),
    };
    json::member_text(&mut draft.detail, "certificate", name);
    json::member_number(&mut draft.detail, "certificate_count", count.into());
    json::member_bool(&mut draft.detail, "certificate_permanent", version >> 31 == 0);
    Ok(())
}
