//! Protocols directly on the link.

use yagura_event::vocabulary::operation;

use super::Said;
use crate::Side;

pub(super) fn dtp(_side: Side, bytes: &[u8], _first: bool) -> Option<Said> {
    // Version 1, then the domain: type 1 with its length.
    let [1, 0, 1, high, low, rest @ ..] = bytes else { return None };
    let length = (usize::from(*high) << 8 | usize::from(*low)).checked_sub(4)?;
    let domain = rest.get(..length)?;
    let domain = String::from_utf8_lossy(domain).trim_end_matches('\0').to_string();
    Some(Said::keeps("advertisement").about(domain))
}

pub(super) fn looped(_side: Side, bytes: &[u8], _first: bool) -> Option<Said> {
    let (skip, rest) = bytes.split_first_chunk::<2>()?;
    let at = usize::from(u16::from_le_bytes(*skip));
    match rest.get(at..at + 2)? {
        [1, 0] => Some(Said::keeps("reply")),
        [2, 0] => Some(Said::keeps("forward")),
        _ => None,
    }
}

pub(super) fn eapol(_side: Side, bytes: &[u8], _first: bool) -> Option<Said> {
    let [1..=3, kind @ 0..=8, high, low, body @ ..] = bytes else { return None };
    let body = body.get(..usize::from(*high) << 8 | usize::from(*low))?;
    let said = |function| Said::new(operation::AUTHENTICATE, function);
    Some(match kind {
        0 => match body {
            [1, _, _, _, kind, ..] => said(if *kind == 1 { "eap_identity_request" } else { "eap_request" }),
            [2, _, _, _, 1, name @ ..] => {
                said("eap_identity").about(String::from_utf8_lossy(&name[..name.len().min(253)]))
            }
            [2, ..] => said("eap_response"),
            [3, ..] => said("eap_success"),
            [4, ..] => said("eap_failure"),
            _ => return None,
        },
        1 => said("start"),
        2 => Said::new(operation::SESSION_CLOSE, "logoff"),
        3 => said("key"),
        4 => said("alert"),
        5 => said("mka"),
        _ => said("announcement"),
    })
}

pub(super) fn slow(_side: Side, bytes: &[u8], _first: bool) -> Option<Said> {
    Some(Said::keeps(match bytes {
        [1, 1, 1, 20, ..] => "lacp",
        [2, 1, 1 | 2, 16, ..] => "marker",
        [3, _, _, _, ..] => "oam",
        [10, 0, 0x19, 0xa7, ..] => "synchronization_status",
        [10, ..] => "organization_specific",
        _ => return None,
    }))
}

pub(super) fn mvrp(_side: Side, bytes: &[u8], _first: bool) -> Option<Said> {
    matches!(bytes, [0, 1 | 2, 2 | 6, ..]).then(|| Said::keeps("registration"))
}

pub(super) fn pppoe(_side: Side, bytes: &[u8], _first: bool) -> Option<Said> {
    let [0x11, code, _, _, high, low, tags @ ..] = bytes else { return None };
    tags.get(..usize::from(*high) << 8 | usize::from(*low))?;
    Some(match code {
        0x09 => Said::new(operation::DISCOVER, "initiation"),
        0x07 => Said::new(operation::DISCOVER, "offer"),
        0x19 => Said::new(operation::SESSION_OPEN, "session_request"),
        0x65 => Said::new(operation::SESSION_OPEN, "session_confirmation"),
        0xa7 => Said::new(operation::SESSION_CLOSE, "termination"),
        _ => return None,
    })
}

pub(super) fn clnp(_side: Side, bytes: &[u8], _first: bool) -> Option<Said> {
    // Its identifier, and a header whose length fits. Below 802.2 the control field comes first.
    let bytes = match bytes {
        [3, rest @ ..] => rest,
        all => all,
    };
    let [identifier, length, ..] = bytes else { return None };
    let fits = usize::from(*length) <= bytes.len() && *length >= 8;
    fits.then_some(())?;
    Some(Said::keeps(match identifier {
        0x81 => "clnp",
        0x82 => "es_is",
        0x83 => "is_is",
        _ => return None,
    }))
}
