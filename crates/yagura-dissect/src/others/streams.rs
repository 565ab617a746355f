//! Protocols whose opening is read, and whose session is passed over.

use yagura_event::vocabulary::operation;

use super::Said;
use crate::Side;
use crate::framing::Frame;

/// The longest name in an opening.
const TEXT_MAX: usize = 255;

/// Passes over everything that follows `head` bytes.
fn then_all(head: usize) -> Frame {
    Frame::Head(head, u64::MAX / 4)
}

fn visible(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| matches!(byte, 0x20..=0x7e))
}

/// How long the request of version 4 is, or the greeting of version 5.
fn socks_opening(bytes: &[u8]) -> Option<usize> {
    match bytes {
        [4, 1 | 2, _, _, _, _, _, _, rest @ ..] => {
            let user = rest.iter().position(|byte| *byte == 0)?;
            (user <= TEXT_MAX && visible(&rest[..user])).then_some(9 + user)
        }
        [5, count @ 1..=9, methods @ ..] => {
            let known =
                methods.iter().take(usize::from(*count)).all(|method| *method <= 9 || *method >= 0x80);
            (known && methods.len() >= usize::from(*count)).then_some(2 + usize::from(*count))
        }
        _ => None,
    }
}

pub(super) fn socks(side: Side, bytes: &[u8], first: bool) -> Option<Said> {
    match (bytes, socks_opening(bytes)) {
        ([4, command, high, low, a, b, c, d, ..], Some(length)) if !first || length == bytes.len() => {
            let function = if *command == 1 { "connect" } else { "bind" };
            let port = u16::from_be_bytes([*high, *low]);
            let target = format!("{a}.{b}.{c}.{d}:{port}");
            Some(Said::new(operation::SESSION_OPEN, function).about(target))
        }
        ([5, ..], Some(length)) if !first || length == bytes.len() => {
            Some(Said::new(operation::SESSION_OPEN, "greeting"))
        }
        _ if !first && side == Side::Server => Some(Said::new(operation::SESSION_OPEN, "reply")),
        _ => None,
    }
}

pub(super) fn socks_frame(side: Side, bytes: &[u8]) -> Frame {
    if side == Side::Server {
        return then_all(1);
    }
    match socks_opening(bytes) {
        Some(length) => then_all(length),
        None if matches!(bytes, [4, 1 | 2, ..] | [4] | [5, 1..=9, ..] | [5]) && bytes.len() < TEXT_MAX => {
            Frame::More
        }
        None => then_all(1),
    }
}

/// Length, version of the header (0, or the device's), then the message's number.
pub(super) fn skinny_frame(_side: Side, bytes: &[u8]) -> Frame {
    let Some(&[a, b, 0, 0, version, 0, 0, 0]) = bytes.first_chunk::<8>() else {
        return if bytes.len() < 8 { Frame::More } else { Frame::Bad("header") };
    };
    let length = usize::from(u16::from_le_bytes([a, b]));
    match (version, length) {
        (0 | 0x0a..=0x17, 4..=4096) => Frame::Of(8 + length),
        _ => Frame::Bad("header"),
    }
}

pub(super) fn skinny(side: Side, bytes: &[u8], first: bool) -> Option<Said> {
    let Frame::Of(length) = skinny_frame(side, bytes) else { return None };
    let number = u32::from_le_bytes(*bytes.get(8..12)?.first_chunk()?);
    // Whole messages fill the first bytes.
    let fits = number <= 0x0160
        && (!first
            || bytes.len() == length
            || matches!(skinny_frame(side, bytes.get(length..)?), Frame::Of(_)));
    fits.then(|| match number {
        0x0000 => Said::keeps("keep_alive"),
        0x0100 => Said::keeps("keep_alive_ack"),
        0x0001 | 0x0081 => Said::new(operation::SESSION_OPEN, "register"),
        0x0111 => Said::new(operation::REPORT, "call_state"),
        _ => Said::new(operation::OTHER, "message").about(format!("0x{number:04x}")),
    })
}
