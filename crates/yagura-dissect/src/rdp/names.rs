//! Names of protocols, versions, failures (MS-RDPBCGR, 2.2.1).

use std::borrow::Cow;

/// The variable part of a connection's opening or confirmation: cookie and negotiation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Opening<'a> {
    /// What stands in the line of the cookie or routing token, without its name.
    pub cookie: &'a [u8],
    pub is_token: bool,
    /// Type, flags and value of the negotiation (2.2.1.1.1, 2.2.1.2.1, 2.2.1.2.2).
    pub negotiation: Option<(u8, u8, u32)>,
}

/// Reads it; `None` where it is nothing of RDP's.
pub(super) fn opening(mut variable: &[u8]) -> Option<Opening<'_>> {
    let mut out = Opening::default();
    if variable.starts_with(b"Cookie: ") {
        let end = variable.windows(2).position(|two| two == b"\r\n")?;
        let line = &variable[8..end];
        variable = &variable[end + 2..];
        match line.strip_prefix(b"mstshash=") {
            Some(cookie) => out.cookie = cookie,
            None => (out.cookie, out.is_token) = (line, true),
        }
    }
    if let Some(&[kind @ 1..=3, flags, 8, 0, a, b, c, d]) = variable.first_chunk() {
        out.negotiation = Some((kind, flags, u32::from_le_bytes([a, b, c, d])));
    }
    (out != Opening::default()).then_some(out)
}

/// Protocols that are asked for, as bits.
pub(super) fn requested(bits: u32) -> String {
    let all = [(1, "ssl"), (2, "hybrid"), (4, "rdstls"), (8, "hybrid_ex"), (16, "rdsaad")];
    let names: Vec<&str> = all.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, name)| *name).collect();
    if names.is_empty() { "rdp".into() } else { names.join(",") }
}

/// The protocol that the server chose.
pub(super) fn selected(protocol: u32) -> &'static str {
    match protocol {
        0 => "rdp",
        1 => "ssl",
        2 => "hybrid",
        4 => "rdstls",
        8 => "hybrid_ex",
        16 => "rdsaad",
        _ => "unknown",
    }
}

/// Why the server chose none.
pub(super) fn failure(code: u32) -> Cow<'static, str> {
    Cow::Borrowed(match code {
        1 => "ssl_required_by_server",
        2 => "ssl_not_allowed_by_server",
        3 => "ssl_cert_not_on_server",
        4 => "inconsistent_flags",
        5 => "hybrid_required_by_server",
        6 => "ssl_with_user_auth_required_by_server",
        _ => return Cow::Owned(format!("failure_{code}")),
    })
}

/// The methods of RDP's own encryption.
pub(super) fn method(method: u32) -> &'static str {
    match method {
        0 => "none",
        1 => "40bit",
        2 => "128bit",
        8 => "56bit",
        0x10 => "fips",
        _ => "unknown",
    }
}

/// Its levels.
pub(super) fn level(level: u32) -> &'static str {
    match level {
        0 => "none",
        1 => "low",
        2 => "client_compatible",
        3 => "high",
        4 => "fips",
        _ => "unknown",
    }
}

/// What became of the conference (T.125, Result).
pub(super) fn result(code: u8) -> &'static str {
    match code {
        0 => "successful",
        1 => "domain_merging",
        2 => "domain_not_hierarchical",
        3 => "no_such_channel",
        4 => "no_such_domain",
        5 => "no_such_user",
        6 => "not_admitted",
        7 => "other_user_id",
        8 => "parameters_unacceptable",
        9 => "token_not_available",
        10 => "token_not_possessed",
        11 => "too_many_channels",
        12 => "too_many_tokens",
        13 => "too_many_users",
        14 => "unspecified_failure",
        15 => "user_rejected",
        _ => "unknown_result",
    }
}

/// Why a provider ends the conference (T.125, Reason).
pub(super) fn reason(code: u8) -> &'static str {
    match code {
        0 => "domain_disconnected",
        1 => "provider_initiated",
        2 => "token_purged",
        3 => "user_requested",
        4 => "channel_purged",
        _ => "unknown_reason",
    }
}
