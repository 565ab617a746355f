//! The flow table: bounded, found by key, ordered by activity.

use std::hash::{BuildHasher, Hash, Hasher, RandomState};

use hashbrown::HashTable;
use yagura_dissect::{Side, Transport};
use yagura_event::clock::Micros;

use crate::application::Application;
use crate::headers::Address;
use crate::stream::Half;

pub(crate) const NONE: u32 = u32::MAX;
/// Flows change places in the order of activity at most this often: precise enough for
/// time-outs of seconds, and packets of busy flows touch no neighbour.
const TOUCH: Micros = 100_000;

/// Which connection a packet belongs to, whatever its direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    low: Address,
    high: Address,
    /// Lower end's port (IP protocol, EtherType), higher end's, VLAN and transport.
    rest: u64,
    /// One more than the virtual network's number; 0 for none.
    network: u32,
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for word in self.words() {
            state.write_u64(word);
        }
        state.write_u64(u64::from(self.network));
    }
}

impl Key {
    /// The key, and whether the sender is its lower end.
    pub(crate) fn new(
        source: (Address, u16),
        target: (Address, u16),
        transport: Transport,
        vlan: u16,
        network: u32,
    ) -> (Key, bool) {
        let from_low = source <= target;
        let (low, high) = if from_low { (source, target) } else { (target, source) };
        let rest = (u64::from(low.1) << 48)
            | (u64::from(high.1) << 32)
            | (u64::from(vlan & 0x0fff) << 8)
            | transport as u64;
        (Key { low: low.0, high: high.0, rest, network }, from_low)
    }

    /// The key of the same ends on another VLAN.
    pub(crate) fn on_vlan(&self, vlan: u16) -> Key {
        Key { rest: (self.rest & !0x000f_ff00) | (u64::from(vlan & 0x0fff) << 8), ..*self }
    }

    /// The lower or the higher end.
    pub(crate) fn end(&self, low: bool) -> (Address, u16) {
        if low { (self.low, (self.rest >> 48) as u16) } else { (self.high, (self.rest >> 32) as u16) }
    }

    pub(crate) fn transport(&self) -> Transport {
        const ALL: [Transport; 4] = [Transport::Tcp, Transport::Udp, Transport::Ip, Transport::Link];
        ALL[(self.rest & 3) as usize]
    }

    /// An id that depends on nothing but the connection and its first packet.
    pub(crate) fn flow_id(&self, first: Micros) -> u64 {
        self.words()
            .into_iter()
            .chain([first as u64])
            .chain((self.network != 0).then_some(u64::from(self.network)))
            .fold(0x5961_6775_7261_0001, |id, word| {
                // The finaliser of SplitMix64: every bit of the input reaches every bit of the id.
                let mut x = (id ^ word).wrapping_add(0x9e37_79b9_7f4a_7c15);
                x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                x ^ (x >> 31)
            })
    }

    fn words(&self) -> [u64; 5] {
        [self.low[0], self.low[1], self.high[0], self.high[1], self.rest]
    }
}

/// How long a flow may be idle, by what is going on in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activity {
    /// A TCP connection with data or a completed handshake.
    Open = 0,
    /// UDP, or a SYN that nobody answered.
    Brief = 1,
    /// Closed or reset: late packets still find it.
    Ending = 2,
}

/// One connection.
pub(crate) struct Flow {
    pub(crate) key: Key,
    pub(crate) id: u64,
    pub(crate) client_is_low: bool,
    /// Outermost VLAN id of the first packet.
    pub(crate) vlan: u16,
    pub(crate) reset: bool,
    pub(crate) closed: bool,
    /// A row said that it is open.
    pub(crate) told: bool,
    pub(crate) first: Micros,
    pub(crate) last: Micros,
    /// By [`Side`].
    pub(crate) halves: [Half; 2],
    pub(crate) macs: [[u8; 6]; 2],
    pub(crate) application: Application,
    /// UDP: a digest of the last datagram of each side, and when it came.
    pub(crate) recent: [(u64, Micros); 2],
    touched: Micros,
    activity: Activity,
    before: u32,
    after: u32,
    watched: u32,
}

impl Flow {
    pub(crate) fn new(key: Key, client_is_low: bool, midway: bool, time: Micros) -> Flow {
        Flow {
            key,
            id: key.flow_id(time),
            client_is_low,
            vlan: 0,
            reset: false,
            closed: false,
            told: false,
            first: time,
            last: time,
            halves: [Half::default(), Half::default()],
            macs: [[0; 6]; 2],
            application: Application::new(midway),
            recent: [(0, Micros::MIN); 2],
            touched: 0,
            activity: Activity::Brief,
            before: NONE,
            after: NONE,
            watched: NONE,
        }
    }

    /// Which side sends when the lower end does, or does not.
    pub(crate) fn side(&self, from_low: bool) -> Side {
        if from_low == self.client_is_low { Side::Client } else { Side::Server }
    }
}

/// The flows.
pub(crate) struct Table {
    /// Places in `flows`, found by key.
    index: HashTable<u32>,
    seed: Seeded,
    flows: Vec<Option<Flow>>,
    free: Vec<u32>,
    /// Least and most recently active, by [`Activity`].
    ends: [(u32, u32); 3],
    /// Flows that an application dissects.
    watched: Vec<u32>,
    flows_max: usize,
}

impl Table {
    pub(crate) fn new(flows_max: usize) -> Table {
        Table {
            index: HashTable::new(),
            seed: Seeded::random(),
            flows: Vec::new(),
            free: Vec::new(),
            ends: [(NONE, NONE); 3],
            watched: Vec::new(),
            flows_max: flows_max.clamp(1, NONE as usize),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    pub(crate) fn find(&self, key: &Key) -> Option<u32> {
        let is_it = |at: &u32| self.peek(*at).is_some_and(|flow| flow.key == *key);
        self.index.find(self.seed.hash_one(key), is_it).copied()
    }

    pub(crate) fn get(&mut self, at: u32) -> Option<&mut Flow> {
        self.flows.get_mut(at as usize)?.as_mut()
    }

    /// The flow that must go before another fits: the least recently active one.
    pub(crate) fn surplus(&self) -> Option<u32> {
        if self.index.len() < self.flows_max {
            return None;
        }
        self.ends
            .iter()
            .filter_map(|&(first, _)| Some((self.peek(first)?.touched, first)))
            .min()
            .map(|(_, first)| first)
    }

    /// The least recently active flow of that kind, if it was idle for longer than `idle`.
    pub(crate) fn idle(&self, activity: Activity, now: Micros, idle: Micros) -> Option<u32> {
        let first = self.ends[activity as usize].0;
        (now - self.peek(first)?.touched > idle).then_some(first)
    }

    /// Any flow, in the order of the table's places.
    pub(crate) fn any(&self, from: u32) -> Option<u32> {
        (from..self.flows.len() as u32).find(|&at| self.flows[at as usize].is_some())
    }

    pub(crate) fn insert(&mut self, mut flow: Flow, activity: Activity, now: Micros) -> u32 {
        flow.touched = now;
        flow.activity = activity;
        let key = flow.key;
        let at = match self.free.pop() {
            Some(at) => {
                self.flows[at as usize] = Some(flow);
                at
            }
            None => {
                self.flows.push(Some(flow));
                (self.flows.len() - 1) as u32
            }
        };
        let (flows, seed) = (&self.flows, self.seed);
        let hash = |at: &u32| flows[*at as usize].as_ref().map_or(0, |flow| seed.hash_one(flow.key));
        self.index.insert_unique(seed.hash_one(key), at, hash);
        self.append(at);
        at
    }

    /// The flow was active at `now`.
    pub(crate) fn touch(&mut self, at: u32, activity: Activity, now: Micros) {
        let Some(flow) = self.get(at) else { return };
        if flow.activity == activity && now - flow.touched < TOUCH {
            return;
        }
        self.unlink(at);
        if let Some(flow) = self.get(at) {
            flow.touched = now;
            flow.activity = activity;
        }
        self.append(at);
    }

    pub(crate) fn remove(&mut self, at: u32) -> Option<Flow> {
        self.unlink(at);
        self.unwatch(at);
        let flow = self.flows.get_mut(at as usize)?.take()?;
        if let Ok(entry) = self.index.find_entry(self.seed.hash_one(flow.key), |found| *found == at) {
            entry.remove();
        }
        self.free.push(at);
        Some(flow)
    }

    /// An application dissects it from now on.
    pub(crate) fn watch(&mut self, at: u32) {
        let place = self.watched.len() as u32;
        if let Some(flow) = self.get(at).filter(|flow| flow.watched == NONE) {
            flow.watched = place;
            self.watched.push(at);
        }
    }

    /// The flow at a place in the list of watched ones.
    pub(crate) fn watched(&self, place: usize) -> Option<u32> {
        self.watched.get(place).copied()
    }

    fn unwatch(&mut self, at: u32) {
        let Some(place) = self.peek(at).map(|flow| flow.watched).filter(|&p| p != NONE) else {
            return;
        };
        self.watched.swap_remove(place as usize);
        if let Some(&moved) = self.watched.get(place as usize)
            && let Some(flow) = self.get(moved)
        {
            flow.watched = place;
        }
    }

    fn peek(&self, at: u32) -> Option<&Flow> {
        self.flows.get(at as usize)?.as_ref()
    }

    fn append(&mut self, at: u32) {
        let Some(activity) = self.peek(at).map(|flow| flow.activity as usize) else {
            return;
        };
        let last = self.ends[activity].1;
        if let Some(flow) = self.get(at) {
            flow.before = last;
            flow.after = NONE;
        }
        match self.get(last) {
            Some(neighbour) => neighbour.after = at,
            None => self.ends[activity].0 = at,
        }
        self.ends[activity].1 = at;
    }

    fn unlink(&mut self, at: u32) {
        let Some(flow) = self.peek(at) else { return };
        let (before, after, activity) = (flow.before, flow.after, flow.activity as usize);
        match self.get(before) {
            Some(neighbour) => neighbour.after = after,
            None => self.ends[activity].0 = after,
        }
        match self.get(after) {
            Some(neighbour) => neighbour.before = before,
            None => self.ends[activity].1 = before,
        }
    }
}

/// A hash under a seed that is new in every process, so that nobody on the network can make
/// keys collide. Nothing that leaves the table depends on its order.
#[derive(Clone, Copy)]
struct Seeded {
    start: u64,
    factor: u64,
}

impl Seeded {
    fn random() -> Seeded {
        let random = RandomState::new();
        Seeded { start: random.hash_one(1u8), factor: random.hash_one(2u8) | 1 }
    }
}

impl BuildHasher for Seeded {
    type Hasher = Folding;

    fn build_hasher(&self) -> Folding {
        Folding { state: self.start, factor: self.factor }
    }
}

struct Folding {
    state: u64,
    factor: u64,
}

impl Hasher for Folding {
    fn finish(&self) -> u64 {
        self.state
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u64(&mut self, word: u64) {
        let product = u128::from(self.state ^ word) * u128::from(self.factor ^ self.state.rotate_left(32));
        self.state = self.factor.wrapping_add(product as u64 ^ (product >> 64) as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u64) -> Key {
        Key::new(([0, n], 1), ([0, 0], 2), Transport::Tcp, 0, 0).0
    }

    fn flow(n: u64) -> Flow {
        Flow::new(key(n), true, false, 0)
    }

    #[test]
    fn the_least_recently_active_flow_is_the_surplus_one() {
        let mut table = Table::new(3);
        let places: Vec<u32> = (1..=3).map(|n| table.insert(flow(n), Activity::Open, n as Micros)).collect();
        table.touch(places[0], Activity::Open, 1_000_000);
        assert_eq!(table.surplus(), Some(places[1]));
        table.touch(places[1], Activity::Ending, 2_000_000);
        assert_eq!(table.surplus(), Some(places[2]));
        assert_eq!(table.idle(Activity::Open, 3_000_000, 2_999_990), Some(places[2]));
        assert_eq!(table.idle(Activity::Ending, 3_000_000, 2_000_000), None);
        assert!(table.remove(places[2]).is_some());
        assert!(table.remove(places[2]).is_none());
        assert_eq!((table.len(), table.surplus()), (2, None));
        assert_eq!(table.find(&key(3)), None);
        assert_eq!(table.find(&key(1)), Some(places[0]));
        assert_eq!(table.insert(flow(9), Activity::Open, 3_000_000), places[2]);
    }

    #[test]
    fn watched_flows_are_found_after_others_left() {
        let mut table = Table::new(9);
        for n in 0..4 {
            let at = table.insert(flow(n), Activity::Open, 0);
            table.watch(at);
            table.watch(at);
        }
        table.remove(1);
        let mut left: Vec<u32> = (0..).map_while(|place| table.watched(place)).collect();
        left.sort_unstable();
        assert_eq!(left, [0, 2, 3]);
        for at in left {
            table.remove(at);
        }
        assert_eq!(table.watched(0), None);
    }

    #[test]
    fn a_key_ignores_direction_and_an_id_depends_on_every_part() {
        let a = ([0, 5], 80);
        let b = ([0, 4], 9000);
        let (forth, low) = Key::new(a, b, Transport::Tcp, 7, 0);
        let (back, high) = Key::new(b, a, Transport::Tcp, 7, 0);
        assert_eq!((forth, low, high), (back, false, true));
        assert_eq!((forth.end(true), forth.end(false)), (b, a));
        let others = [
            Key::new(a, b, Transport::Udp, 7, 0).0.flow_id(1),
            Key::new(a, b, Transport::Tcp, 8, 0).0.flow_id(1),
            Key::new(a, b, Transport::Tcp, 7, 1).0.flow_id(1),
            Key::new(([0, 5], 81), b, Transport::Tcp, 7, 0).0.flow_id(1),
            forth.flow_id(2),
        ];
        assert!(!others.contains(&forth.flow_id(1)));
        // Fixed for ever: ids stand in logs and archives.
        assert_eq!(forth.flow_id(1), back.flow_id(1));
    }
}
