//! Whole packets, read by an engine for all protocols.
//!
//! An input is a byte that names the link layer, then packets: milliseconds since the last (two
//! bytes, the low one first), length (two bytes), and the bytes.

use std::sync::Arc;

use yagura_capture::{Engine, EngineOptions, Limits, Packet};
use yagura_dissect::Settings;
use yagura_event::AssetTable;

use crate::check::Checked;

/// The link layers that are read, and one that is not: null, Ethernet, raw IP, Linux cooked.
const LINKS: [u16; 8] = [1, 0, 101, 113, 276, 1, 12, 105];
/// Most rows for each byte of packets.
const ROWS_PER_BYTE_MAX: u64 = 16;
/// Rows that few bytes may give.
const ROWS_SPARE: u64 = 2048;

/// Lets an engine read an input.
///
/// # Panics
/// When a promise is broken; that is what it is for.
pub fn run(input: &[u8]) {
    // Small enough that an input reaches them.
    let limits = Limits {
        flows_max: 16,
        held_bytes_max: 64 << 10,
        held_bytes_flow_max: 16 << 10,
        unread_bytes_max: 64 << 10,
        ..Limits::default()
    };
    let mut engine = Engine::new(EngineOptions {
        assets: Arc::new(AssetTable::default()),
        settings: Arc::new(Settings::default()),
        limits,
    });
    let mut out = Checked::default();
    let Some((&link, mut rest)) = input.split_first() else { return };
    let link = LINKS[usize::from(link) % LINKS.len()];
    let mut time = 1_700_000_000_000_000;
    while let Some((&[later, much_later, low, high], after)) = rest.split_first_chunk::<4>() {
        time += i64::from(u16::from_le_bytes([later, much_later])) * 1000;
        let length = usize::from(u16::from_le_bytes([low, high])).min(after.len());
        let data;
        (data, rest) = after.split_at(length);
        engine.packet(&Packet { time, observed: time, link, original: length as u32, data }, &mut out);
        assert!(engine.stats().flows_open <= 16);
    }
    engine.finish(&mut out);
    let most = input.len() as u64 * ROWS_PER_BYTE_MAX + ROWS_SPARE;
    assert!(out.rows <= most, "{} rows of {} bytes", out.rows, input.len());
}

/// Adds a packet to an input, which begins with [`link`].
pub fn push(input: &mut Vec<u8>, milliseconds: u16, data: &[u8]) {
    let data = &data[..data.len().min(0xffff)];
    input.extend_from_slice(&milliseconds.to_le_bytes());
    input.extend_from_slice(&(data.len() as u16).to_le_bytes());
    input.extend_from_slice(data);
}

/// The byte that names a link layer.
pub fn link(link: u16) -> Option<u8> {
    LINKS.iter().position(|l| *l == link).map(|at| at as u8)
}
