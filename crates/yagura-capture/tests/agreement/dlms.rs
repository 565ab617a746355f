//! DLMS/COSEM beside the bytes: tshark has no dissector of it, so frames are cut out of its payload
//! again, by their lengths alone, and the tags of the application's PDUs compared.

use super::capture::{Capture, MessageRow};
use super::harness::{Facts, From, Protocol, Tool};
use super::reference::Reference;

pub const PROTOCOL: Protocol = Protocol {
    name: "dlms",
    folders: &["dlms"],
    tshark: &[],
    decisions: include_str!("dlms.yaml"),
    tools: &[Tool { name: "payload", from: From::Tshark(PAYLOAD), compare: payload }],
};

const PAYLOAD: &[&str] =
    &["-Y", "tcp.payload and not tcp.analysis.retransmission", "-T", "fields", "-e", "tcp.payload"];

fn payload(capture: &Capture, reference: &Reference) -> Facts {
    let mut theirs = Vec::new();
    for line in reference.text().lines() {
        let digit = |at: usize| u8::from_str_radix(line.get(2 * at..2 * at + 2)?, 16).ok();
        let bytes: Vec<u8> = (0..line.len() / 2).filter_map(digit).collect();
        let mut rest = &bytes[..];
        loop {
            let (length, tag) = match rest {
                [0x7e, high, low, ..] if high >> 4 == 10 => {
                    let length = 2 + (usize::from(high & 7) << 8 | usize::from(*low));
                    // One byte each of address: the information begins behind eight bytes.
                    let begins = rest.get(8..10).is_some_and(|llc| llc[0] == 0xe6);
                    (length, rest.get(11).filter(|_| begins && length > 12))
                }
                [0, 1, _, _, _, _, high, low, tag, ..] => {
                    (8 + (usize::from(*high) << 8 | usize::from(*low)), Some(tag))
                }
                _ => break,
            };
            if rest.len() < length {
                break;
            }
            theirs.extend(tag.map(|tag| format!("apdu {tag}")));
            rest = rest.get(length..).unwrap_or_default();
        }
    }
    let ours = capture.messages("dlms").flat_map(|row| {
        let detail = row.detail();
        let tag = |name: &str| detail[name].as_u64().map(|tag| format!("apdu {tag}"));
        [tag("apdu"), tag("reply_apdu")].into_iter().flatten().collect::<Vec<_>>()
    });
    Facts { ours: ours.collect(), theirs }
}
