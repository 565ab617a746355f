//! Mirrors that show the two directions of a connection on different VLANs.
//!
//! Private VLANs and some switches' mirrors tag each direction with another number. What would be
//! two connections that nobody answers is joined when the second direction appears: a packet of
//! no known connection belongs to one with the same ends on another VLAN of which only the other
//! direction was seen. Nothing here is asked for packets whose connection is found at once.

use rustc_hash::FxHashMap;

use crate::table::{Key, Table};

/// Most connections that are remembered; beyond, all are forgotten and learned anew.
const REMEMBERED_MAX: usize = 1 << 16;

/// VLANs of directions.
#[derive(Default)]
pub(crate) struct Lanes {
    /// The VLAN that a tagged connection was first seen on, by its ends.
    first: FxHashMap<Key, u16>,
    /// The VLAN that a connection is kept under, by its ends and the VLAN of its other direction.
    joined: FxHashMap<Key, u16>,
}

impl Lanes {
    /// A connection begins on a VLAN.
    pub(crate) fn begins(&mut self, key: &Key, vlan: u16) {
        if vlan != 0 {
            remember(&mut self.first, key.on_vlan(0), vlan);
        }
    }

    /// The connection on another VLAN that a packet of none belongs to: `from_low` tells its sender.
    pub(crate) fn find(&mut self, table: &mut Table, key: &Key, vlan: u16, from_low: bool) -> Option<u32> {
        if let Some(other) = self.joined.get(key) {
            return table.find(&key.on_vlan(*other));
        }
        // Untagged ones are kept under 0 and need no remembering.
        let other = self.first.get(&key.on_vlan(0)).copied().unwrap_or(0);
        if other == vlan {
            return None;
        }
        let at = table.find(&key.on_vlan(other))?;
        let flow = table.get(at)?;
        let side = flow.side(from_low);
        let halves = &flow.halves;
        if halves[side as usize].packets > 0 || halves[side.other() as usize].packets == 0 {
            return None;
        }
        remember(&mut self.joined, *key, other);
        Some(at)
    }
}

fn remember(map: &mut FxHashMap<Key, u16>, key: Key, vlan: u16) {
    if map.len() >= REMEMBERED_MAX {
        map.clear();
    }
    map.insert(key, vlan);
}
