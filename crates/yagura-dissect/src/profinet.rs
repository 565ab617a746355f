//! PROFINET IO (IEC 61158-6-10): discovery and configuration (DCP), real-time data and alarms on
//! Ethernet, precision time (PTCP), and the context manager in connectionless DCE-RPC.
//!
//! Frames of EtherType 0x8892 are told by their frame identifier. Cyclic data comes every few
//! milliseconds: it is counted, and a row of its own says when a provider's status changes. The
//! context manager is asked at port 34964 and answers from another: the capture layer keeps the
//! two together. Media redundancy (MRP, IEC 62439-2) is a protocol of its own, in [`mrp`].

use yagura_event::clock::{Micros, SECOND};

use crate::framing::Framing;
use crate::{Carrier, Dissector, FlowInfo, Glimpse, Probe, Protocol, Roving, Side, Transport};

mod blocks;
mod context;
mod dcp;
mod frames;
mod mrp;
mod names;
mod records;
#[cfg(test)]
mod tests;

pub use mrp::PROTOCOL as MRP;

/// The registry's entry.
pub const PROTOCOL: Protocol = Protocol {
    name: NAME,
    carriers: &[Carrier::udp(&[PORT]), Carrier::link(&[0x8892])],
    probe,
    start,
    buffer_bytes_max: 0xffff,
    #[cfg(test)]
    sample: tests::sample,
};

/// The context manager answers from another port than the one at which it is asked.
pub const ROVING: Roving = Roving { protocol: NAME, port: PORT, sender };

const NAME: &str = "profinet";
/// UDP port at which the context manager is asked (IEC 61158-6-10).
const PORT: u16 = 34964;
/// A request of the discovery protocol without a response for that long gets a row of its own.
const REPLY_TIMEOUT: Micros = 10 * SECOND;

fn probe(glimpse: &Glimpse<'_>) -> Probe {
    let fits = match glimpse.transport {
        Transport::Link => glimpse.customary && frames::is_known(glimpse.bytes),
        _ => context::header(glimpse.bytes, glimpse.customary).is_some(),
    };
    if fits { Probe::Yes } else { Probe::No }
}

/// Connectionless DCE-RPC (C706, 12.5): its version, and which end sends that type.
fn sender(datagram: &[u8]) -> Option<Side> {
    match datagram {
        [4, 0 | 1 | 7 | 8, ..] => Some(Side::Client),
        [4, 2..=6 | 9 | 10, ..] => Some(Side::Server),
        _ => None,
    }
}

fn start(flow: &FlowInfo) -> Box<dyn Dissector> {
    match flow.transport {
        Transport::Link => Box::new(Framing::new(frames::Frames::new())),
        _ => Box::new(Framing::new(context::Context::new())),
    }
}

/// Visible text without the blanks and zeros that fill a field up.
fn text(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(TEXT_MAX)]);
    text.trim_matches(|c: char| c == '\0' || c.is_whitespace()).to_string()
}

/// Most bytes of a text that are shown.
const TEXT_MAX: usize = 255;
