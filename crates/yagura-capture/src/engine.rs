//! Packets in, rows out.

use std::collections::BTreeMap;
use std::sync::Arc;

use yagura_dissect::{Protocol, Settings, Side, Transport};
use yagura_event::AssetTable;
use yagura_event::clock::{Micros, SECOND};
use yagura_event::rows::{FlowRow, Row, RowSink};

use crate::application::{Cause, Identity, Shared, customary, transport_name};
use crate::clock::Clock;
use crate::fragments::Fragments;
use crate::headers::{
    self, Address, Datagram, Frame, Network, Outer, Segment, Tcp, Udp, Unread, address_text, mac_address,
    mac_text,
};
use crate::lanes::Lanes;
use crate::limits::Limits;
use crate::notices::{Notice, Notices};
use crate::registry::Registry;
use crate::stream::{Fate, Treatment};
use crate::table::{Activity, Flow, Key, Table};
use crate::tunnels::{self, Inner};

/// Malformed packets and limits that were reached are reported together, at most this often.
const REPORT: Micros = 60 * SECOND;
/// EtherType of EtherCAT.
const ETHERCAT: u16 = 0x88a4;
/// The bit of a hardware address that its owner, and not its maker, gave it.
const LOCAL: u8 = 2;

/// One packet as it was captured.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// When it was on the wire; nanoseconds are cut.
    pub time: Micros,
    /// The collector's clock: the same as `time` for a recorded file.
    pub observed: Micros,
    /// Link type of the capture file formats (`LINKTYPE_…`): 1 is Ethernet.
    pub link: u16,
    /// Length on the wire in bytes.
    pub original: u32,
    /// What was captured of it.
    pub data: &'a [u8],
}

/// What an engine needs to know.
#[derive(Clone)]
pub struct EngineOptions {
    /// Names of addresses.
    pub assets: Arc<AssetTable>,
    /// What dissectors need.
    pub settings: Arc<Settings>,
    /// Memory and time.
    pub limits: Limits,
}

/// A message that comes whole: a datagram, the payload of an IP packet or of a frame.
struct Letter<'a> {
    transport: Transport,
    /// Sender and receiver: address and port, IP protocol or EtherType.
    ends: [(Address, u16); 2],
    macs: [[u8; 6]; 2],
    vlan: u16,
    network: u32,
    /// What was captured of it.
    data: &'a [u8],
    /// Its length on the wire.
    length: u32,
    /// IP identification, where a second copy from a mirror must be told from a repetition.
    copy: Option<u16>,
}

/// Counts since the engine's start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Packets of any kind.
    pub packets: u64,
    /// Their bytes on the wire.
    pub bytes: u64,
    /// Packets whose headers the snap length cut.
    pub cut: u64,
    /// Frames that are neither IP nor of a known protocol, by EtherType or what
    /// [`yagura_dissect::Carrier::link`] says stands for it; 0 stands for a loopback frame of
    /// another family.
    pub not_ip: BTreeMap<u16, u64>,
    /// IP packets that are neither TCP nor UDP nor of a known protocol, by IP protocol.
    pub not_transport: BTreeMap<u8, u64>,
    /// Tunnels that were opened, by their kind: each layer of a packet counts.
    pub tunnels: BTreeMap<&'static str, u64>,
    /// Packets in more tunnels than are opened.
    pub tunnels_unopened: u64,
    /// Packets of link layers that are not read, by link type.
    pub not_link: BTreeMap<u16, u64>,
    /// Packets whose headers contradict themselves.
    pub malformed: u64,
    /// IP fragments.
    pub fragments: u64,
    /// Fragmented datagrams that never became whole.
    pub fragments_lost: u64,
    /// TCP segments and UDP datagrams without anything new: retransmissions, keep-alives,
    /// a mirror's second copies.
    pub repeated: u64,
    /// TCP segments that belong to no window of their connection.
    pub strays: u64,
    /// TCP segments that repeat bytes with another content: the first copy counts.
    pub overlaps: u64,
    /// Flows that began.
    pub flows: u64,
    /// Flows that are in the table.
    pub flows_open: u64,
    /// Flows that had to go before their time because the table was full.
    pub flows_evicted: u64,
    /// Gaps in the streams of known protocols.
    pub gaps: u64,
    /// Bytes missing in them.
    pub gap_bytes: u64,
    /// Bytes of unfinished messages that were dropped for want of memory.
    pub dropped_bytes: u64,
    /// Streams of known protocols that could not be read to their end.
    pub malformed_streams: u64,
    /// Messages by protocol.
    pub messages: BTreeMap<&'static str, u64>,
}

/// Turns packets into rows. What comes out depends on the packets and the options alone.
pub struct Engine {
    shared: Shared,
    table: Table,
    fragments: Fragments,
    lanes: Lanes,
    clock: Clock,
    reported: Micros,
    /// The collector's clock at the last packet.
    observed: Micros,
}

impl Engine {
    /// An engine for all protocols.
    pub fn new(options: EngineOptions) -> Engine {
        Engine::with_protocols(options, yagura_dissect::protocols())
    }

    /// An engine for these protocols only.
    pub fn with_protocols(options: EngineOptions, protocols: &'static [Protocol]) -> Engine {
        Engine {
            table: Table::new(options.limits.flows_max),
            shared: Shared {
                assets: options.assets,
                settings: options.settings,
                limits: options.limits,
                registry: Registry::new(protocols),
                stats: Stats::default(),
                notices: Notices::default(),
                messages: vec![0; protocols.len()],
                unread: 0,
                held: 0,
            },
            fragments: Fragments::default(),
            lanes: Lanes::default(),
            clock: Clock::default(),
            reported: 0,
            observed: 0,
        }
    }

    /// Takes one packet; rows that become complete go to `out`.
    pub fn packet(&mut self, packet: &Packet<'_>, out: &mut dyn RowSink) {
        self.shared.stats.packets += 1;
        self.shared.stats.bytes += u64::from(packet.original);
        self.observed = packet.observed;
        if self.clock.advance(packet.time) {
            self.tick(packet.observed, out);
        }
        if let Err(unread) = self.read(packet, out) {
            self.not_read(unread, packet);
        }
    }

    /// No packet came until `time`: what has waited for too long becomes rows. A source that is
    /// read to its end has no use for it; a live one may be silent for hours.
    pub fn idle(&mut self, time: Micros, observed: Micros, out: &mut dyn RowSink) {
        self.observed = observed;
        if self.clock.advance(time) {
            self.tick(observed, out);
        }
    }

    /// The source ended: everything that still waits becomes rows.
    pub fn finish(&mut self, out: &mut dyn RowSink) {
        let observed = self.observed;
        let mut from = 0;
        while let Some(at) = self.table.any(from) {
            self.end(at, "end", observed, out);
            from = at + 1;
        }
        self.fragments.finish();
        self.note_fragments();
        self.shared.notices.report(observed, out);
    }

    /// The counts so far.
    pub fn stats(&self) -> Stats {
        let shared = &self.shared;
        let named = shared.registry.protocols().iter().zip(&shared.messages);
        Stats {
            flows_open: self.table.len() as u64,
            fragments_lost: self.fragments.lost,
            messages: named.filter(|(_, n)| **n > 0).map(|(p, n)| (p.name, *n)).collect(),
            ..shared.stats.clone()
        }
    }

    fn read(&mut self, packet: &Packet<'_>, out: &mut dyn RowSink) -> Result<(), Unread> {
        let network = headers::network(packet.link, packet.data, packet.original)?;
        self.network(packet, network, 0, out)
    }

    /// A frame or an IP packet in `depth` tunnels.
    fn network(
        &mut self,
        packet: &Packet<'_>,
        network: Network<'_>,
        depth: u8,
        out: &mut dyn RowSink,
    ) -> Result<(), Unread> {
        let datagram = match network {
            Network::Ip(datagram) => datagram,
            Network::Link(frame) => {
                return match tunnels::in_frame(frame.ethertype, frame.payload, frame.length)? {
                    Some(inner) => {
                        let outer = Outer {
                            macs: [frame.source_mac, frame.target_mac],
                            vlan: frame.vlan,
                            network: frame.network,
                        };
                        self.tunnel(packet, &inner, outer, depth, out)
                    }
                    None => self.frame(packet, &frame, out),
                };
            }
        };
        if datagram.fragment.is_none() {
            return self.datagram(packet, &datagram, depth, out);
        }
        self.shared.stats.fragments += 1;
        let whole = self.fragments.take(&datagram, &self.shared.limits, self.clock.elapsed());
        self.note_fragments();
        if let Some((protocol, payload)) = whole? {
            let (protocol, payload) = headers::unwrapped(protocol, &payload)?;
            let length = payload.len();
            let whole = Datagram { protocol, payload, length, fragment: None, ..datagram };
            self.datagram(packet, &whole, depth, out)?;
        }
        Ok(())
    }

    /// A whole IP packet.
    fn datagram(
        &mut self,
        packet: &Packet<'_>,
        datagram: &Datagram<'_>,
        depth: u8,
        out: &mut dyn RowSink,
    ) -> Result<(), Unread> {
        let Datagram { protocol, payload, length, .. } = *datagram;
        let segment = headers::segment(protocol, payload, length)?;
        let inner = match &segment {
            Segment::Tcp(_) => None,
            Segment::Udp(udp) => tunnels::in_udp([udp.source, udp.target], udp.data, udp.length)?,
            Segment::Other(_) => tunnels::in_ip(protocol, payload, length)?,
        };
        match inner {
            Some(inner) => {
                let outer = Outer {
                    macs: [datagram.source_mac, datagram.target_mac],
                    vlan: datagram.vlan,
                    network: datagram.network,
                };
                self.tunnel(packet, &inner, outer, depth, out)
            }
            None => {
                self.segment(packet, datagram, segment, out);
                Ok(())
            }
        }
    }

    /// Opens a tunnel's packet.
    fn tunnel(
        &mut self,
        packet: &Packet<'_>,
        inner: &Inner<'_>,
        mut outer: Outer,
        depth: u8,
        out: &mut dyn RowSink,
    ) -> Result<(), Unread> {
        if depth >= self.shared.limits.tunnels_max {
            return Err(Unread::Tunnels);
        }
        *self.shared.stats.tunnels.entry(inner.tunnel).or_default() += 1;
        if let Some(number) = inner.network.filter(|_| self.shared.limits.vni_separates) {
            outer.network = number + 1;
        }
        let network = headers::inner(inner)?.within(&outer);
        self.network(packet, network, depth + 1, out)
    }

    /// Says which incomplete datagrams were given up.
    fn note_fragments(&mut self) {
        let (time, number) = (self.clock.time(), self.shared.stats.packets);
        for (count, notice) in
            [(&mut self.fragments.late, Notice::Incomplete), (&mut self.fragments.crowded, Notice::Fragments)]
        {
            let count = std::mem::take(count);
            if count > 0 {
                self.shared.notices.add(notice, count, time, number);
            }
        }
    }

    fn not_read(&mut self, unread: Unread, packet: &Packet<'_>) {
        let stats = &mut self.shared.stats;
        match unread {
            Unread::Ethertype(ethertype) => *stats.not_ip.entry(ethertype).or_default() += 1,
            Unread::Link(link) => *stats.not_link.entry(link).or_default() += 1,
            Unread::Cut => stats.cut += 1,
            Unread::Tunnels => {
                stats.tunnels_unopened += 1;
                self.shared.notices.add(Notice::Tunnels, 1, packet.time, stats.packets);
            }
            Unread::Malformed(how) => {
                stats.malformed += 1;
                self.shared.notices.add(Notice::Malformed(how), 1, packet.time, stats.packets);
            }
        }
    }

    fn segment(
        &mut self,
        packet: &Packet<'_>,
        datagram: &Datagram<'_>,
        segment: Segment<'_>,
        out: &mut dyn RowSink,
    ) {
        match segment {
            Segment::Tcp(tcp) => self.tcp(packet, datagram, &tcp, out),
            Segment::Udp(udp) => self.udp(packet, datagram, &udp, out),
            Segment::Other(other) => {
                let number = u16::from(other.protocol);
                if self.shared.reads(Transport::Ip, number) {
                    let letter = Letter {
                        transport: Transport::Ip,
                        ends: [(datagram.source, number), (datagram.target, number)],
                        macs: [datagram.source_mac, datagram.target_mac],
                        vlan: datagram.vlan,
                        network: datagram.network,
                        data: other.data,
                        length: other.length,
                        copy: None,
                    };
                    self.letter(packet, &letter, out);
                } else {
                    *self.shared.stats.not_transport.entry(other.protocol).or_default() += 1;
                }
            }
        }
    }

    fn tcp(&mut self, packet: &Packet<'_>, datagram: &Datagram<'_>, tcp: &Tcp<'_>, out: &mut dyn RowSink) {
        let (source, target) = ((datagram.source, tcp.source), (datagram.target, tcp.target));
        let vlan = self.vlan(datagram.vlan);
        let (key, from_low) = Key::new(source, target, Transport::Tcp, vlan, datagram.network);
        let opens = tcp.syn() && !tcp.has_ack();
        let mut found = self.table.find(&key);
        if found.is_none() && !opens {
            found = self.lanes.find(&mut self.table, &key, vlan, from_low);
        }
        if let Some(at) = found.filter(|_| opens)
            && let Some(flow) = self.table.get(at)
            && !flow.halves[flow.side(from_low) as usize].admits(tcp.seq)
        {
            // The ports are used again: what was there is over.
            self.end(at, "closed", packet.observed, out);
            found = None;
        }
        let at = match found {
            Some(at) => at,
            None => {
                let client = if tcp.syn() {
                    opens
                } else {
                    self.looks_like_client(source.1, target.1, Transport::Tcp)
                };
                let flow = Flow::new(key, from_low == client, !tcp.syn(), packet.time);
                self.begin(flow, datagram.vlan, packet.observed, out)
            }
        };
        let Some(flow) = self.table.get(at) else {
            return;
        };
        let side = flow.side(from_low);
        note_packet(flow, side, packet, [datagram.source_mac, datagram.target_mac]);
        let treatment = Treatment {
            now: self.clock.elapsed(),
            keep: flow.application.wants(side),
            held_bytes_max: self.shared.held_bytes_max(flow.halves[side as usize].held_bytes()),
            held_segments_max: self.shared.limits.held_segments_flow_max,
        };
        exchange(flow, side, tcp, treatment, packet, &mut self.shared, out);
        let activity = if flow.reset || flow.closed {
            Activity::Ending
        } else if flow.halves.iter().all(|half| half.is_started()) {
            Activity::Open
        } else {
            Activity::Brief
        };
        tell_open(&self.shared, flow, packet, out);
        let known = flow.application.is_known();
        self.table.touch(at, activity, self.clock.elapsed());
        if known {
            self.table.watch(at);
        }
    }

    fn udp(&mut self, packet: &Packet<'_>, datagram: &Datagram<'_>, udp: &Udp<'_>, out: &mut dyn RowSink) {
        let letter = Letter {
            transport: Transport::Udp,
            ends: [(datagram.source, udp.source), (datagram.target, udp.target)],
            macs: [datagram.source_mac, datagram.target_mac],
            vlan: datagram.vlan,
            network: datagram.network,
            data: udp.data,
            length: udp.length,
            copy: Some(datagram.id),
        };
        self.letter(packet, &letter, out);
    }

    fn frame(&mut self, packet: &Packet<'_>, frame: &Frame<'_>, out: &mut dyn RowSink) -> Result<(), Unread> {
        if !self.shared.reads(Transport::Link, frame.ethertype) {
            return Err(Unread::Ethertype(frame.ethertype));
        }
        let [mut source, mut target] = [frame.source_mac, frame.target_mac];
        // EtherCAT: the master's own frame comes back with its source marked as local. It is what
        // the other end says.
        if frame.ethertype == ETHERCAT && source[0] & LOCAL != 0 {
            source[0] &= !LOCAL;
            std::mem::swap(&mut source, &mut target);
        }
        let letter = Letter {
            transport: Transport::Link,
            ends: [source, target].map(|mac| (mac_address(mac), frame.ethertype)),
            macs: [source, target],
            vlan: frame.vlan,
            network: frame.network,
            data: frame.payload,
            length: frame.length as u32,
            copy: None,
        };
        self.letter(packet, &letter, out);
        Ok(())
    }

    fn letter(&mut self, packet: &Packet<'_>, letter: &Letter<'_>, out: &mut dyn RowSink) {
        let [source, target] = letter.ends;
        let vlan = self.vlan(letter.vlan);
        let (key, from_low) = Key::new(source, target, letter.transport, vlan, letter.network);
        let found = self.table.find(&key);
        let found = found.or_else(|| self.lanes.find(&mut self.table, &key, vlan, from_low));
        let found = found.map(|at| (at, from_low));
        let (at, from_low) = match found.or_else(|| self.asked_elsewhere(letter, vlan)) {
            Some(found) => found,
            None => {
                let client = self.looks_like_client(source.1, target.1, letter.transport);
                let flow = Flow::new(key, from_low == client, false, packet.time);
                (self.begin(flow, letter.vlan, packet.observed, out), from_low)
            }
        };
        let now = self.clock.elapsed();
        let Some(flow) = self.table.get(at) else {
            return;
        };
        let side = flow.side(from_low);
        note_packet(flow, side, packet, letter.macs);
        if let Some(id) = letter.copy.filter(|_| flow.application.wants(side)) {
            let digest = digest(id, letter.data);
            let (last, when) = std::mem::replace(&mut flow.recent[side as usize], (digest, now));
            if last == digest && now - when < self.shared.limits.copy_wait && when != Micros::MIN {
                self.shared.stats.repeated += 1;
                return;
            }
        }
        let half = &mut flow.halves[side as usize];
        half.bytes += letter.data.len() as u64;
        half.missing += u64::from(letter.length) - letter.data.len() as u64;
        let mut cause = cause(flow_identity(flow), packet, &self.shared, out);
        flow.application.datagram(&mut self.shared, &mut cause, side, letter.data, letter.length);
        tell_open(&self.shared, flow, packet, out);
        let known = flow.application.is_known();
        self.table.touch(at, Activity::Brief, now);
        if known {
            self.table.watch(at);
        }
    }

    /// The conversation that a call's datagram belongs to which goes to, or comes from, another port
    /// than the one where the conversation began; and whether the sender is its lower end.
    fn asked_elsewhere(&mut self, letter: &Letter<'_>, vlan: u16) -> Option<(u32, bool)> {
        if letter.transport != Transport::Udp {
            return None;
        }
        yagura_dissect::roving().iter().find_map(|roving| {
            let [source, target] = letter.ends;
            let (source, target) = match (roving.sender)(letter.data)? {
                Side::Client => (source, (target.0, roving.port)),
                Side::Server => ((source.0, roving.port), target),
            };
            let (key, from_low) = Key::new(source, target, Transport::Udp, vlan, letter.network);
            let at = self.table.find(&key)?;
            let known = self.table.get(at)?.application.protocol(&self.shared) == roving.protocol;
            known.then_some((at, from_low))
        })
    }

    fn vlan(&self, vlan: u16) -> u16 {
        if self.shared.limits.vlan_separates { vlan } else { 0 }
    }

    /// Whether the sender of a packet in the middle of a connection is its client: the other
    /// port is a known protocol's, or (TCP) the lower of the two; else whoever speaks first.
    fn looks_like_client(&self, source: u16, target: u16, transport: Transport) -> bool {
        if matches!(transport, Transport::Ip | Transport::Link) {
            return true;
        }
        let customary = |port: u16| self.shared.reads(transport, port);
        match (customary(source), customary(target)) {
            (true, false) => false,
            (false, true) => true,
            _ => transport == Transport::Udp || source >= target,
        }
    }

    fn begin(&mut self, mut flow: Flow, vlan: u16, observed: Micros, out: &mut dyn RowSink) -> u32 {
        if let Some(surplus) = self.table.surplus() {
            self.shared.stats.flows_evicted += 1;
            let (time, number) = (self.clock.time(), self.shared.stats.packets);
            self.shared.notices.add(Notice::Flows, 1, time, number);
            self.end(surplus, "evicted", observed, out);
        }
        self.shared.stats.flows += 1;
        flow.vlan = vlan;
        self.lanes.begins(&flow.key, self.vlan(vlan));
        self.table.insert(flow, Activity::Brief, self.clock.elapsed())
    }

    /// Takes a flow out of the table and writes its rows.
    fn end(&mut self, at: u32, why: &str, observed: Micros, out: &mut dyn RowSink) {
        let Some(mut flow) = self.table.remove(at) else {
            return;
        };
        let identity = flow_identity(&flow);
        let mut cause =
            Cause { identity, time: self.clock.time(), observed, number: self.shared.stats.packets, out };
        let Flow { halves, application, .. } = &mut flow;
        for side in [Side::Client, Side::Server] {
            let half = &mut halves[side as usize];
            self.shared.held -= half.held_bytes();
            half.flush(0, &mut |piece| application.piece(&mut self.shared, &mut cause, side, piece));
        }
        application.close(&mut self.shared, &mut cause);
        let state = match (flow.reset, flow.closed) {
            (true, _) => "reset",
            (false, true) => "closed",
            (false, false) => why,
        };
        push_flow(&self.shared, &flow, state, out);
    }

    /// A second of packet time passed.
    fn tick(&mut self, observed: Micros, out: &mut dyn RowSink) {
        let now = self.clock.elapsed();
        let limits = &self.shared.limits;
        let idle = [
            (Activity::Ending, limits.linger),
            (Activity::Brief, limits.idle_brief),
            (Activity::Open, limits.idle_tcp),
        ];
        let hole_wait = limits.hole_wait;
        for place in 0.. {
            let Some(at) = self.table.watched(place) else {
                break;
            };
            let Some(flow) = self.table.get(at) else {
                break;
            };
            let mut cause = Cause {
                identity: flow_identity(flow),
                time: self.clock.time(),
                observed,
                number: self.shared.stats.packets,
                out: &mut *out,
            };
            let Flow { halves, application, .. } = flow;
            for side in [Side::Client, Side::Server] {
                let half = &mut halves[side as usize];
                while half.hole_since().is_some_and(|since| now - since > hole_wait) {
                    self.shared.held -= half.held_bytes();
                    half.skip_hole(now, &mut |piece| {
                        application.piece(&mut self.shared, &mut cause, side, piece);
                    });
                    self.shared.held += half.held_bytes();
                }
            }
            application.expire(&mut self.shared, &mut cause);
        }
        self.fragments.expire(self.shared.limits.fragment_wait, now);
        self.note_fragments();
        for (activity, wait) in idle {
            while let Some(at) = self.table.idle(activity, now, wait) {
                self.end(at, "timeout", observed, out);
            }
        }
        if now - self.reported >= REPORT {
            self.reported = now;
            self.shared.notices.report(observed, out);
        }
    }
}

/// What one TCP segment does to its connection.
fn exchange(
    flow: &mut Flow,
    side: Side,
    tcp: &Tcp<'_>,
    treatment: Treatment,
    packet: &Packet<'_>,
    shared: &mut Shared,
    out: &mut dyn RowSink,
) {
    let mut cause = cause(flow_identity(flow), packet, shared, out);
    let Flow { halves, application, .. } = flow;
    let held_before = halves[0].held_bytes() + halves[1].held_bytes();
    let (own, other) = (side as usize, side.other() as usize);
    let mut seq = tcp.seq;
    if tcp.syn() {
        halves[own].start(seq);
        seq = seq.wrapping_add(1);
    }
    if tcp.has_ack() && tcp.length > 0 && !tcp.rst() && !tcp.syn() && halves[own].is_near(seq) {
        halves[other].chosen(tcp.ack);
    }
    // An acknowledgement says what the other side sent before this packet was made. That of a
    // reset may be anything.
    if tcp.has_ack() && !tcp.rst() && halves[own].is_near(seq) {
        let went_on = tcp.length > 0 || tcp.fin();
        let plausible = halves[other].acked(tcp.ack, went_on, treatment.now, &mut |piece| {
            application.piece(shared, &mut cause, side.other(), piece);
        });
        shared.stats.strays += u64::from(!plausible);
    }
    // The lone byte of a keep-alive does not say where a stream found under way begins.
    let begins = halves[own].is_started() || tcp.length > 1;
    if tcp.length > 0 && begins && !tcp.rst() {
        let pushed = halves[own].push(seq, tcp.data, tcp.length, treatment, &mut |piece| {
            application.piece(shared, &mut cause, side, piece);
        });
        for (happened, notice) in [(pushed.full, Notice::Held), (pushed.conflict, Notice::Overlap)] {
            if happened {
                shared.notices.add(notice, 1, cause.time, cause.number);
            }
        }
        shared.stats.overlaps += u64::from(pushed.conflict);
        match pushed.fate {
            Fate::New => {}
            Fate::Repeated => shared.stats.repeated += 1,
            Fate::Stray => shared.stats.strays += 1,
        }
    }
    if tcp.fin() {
        halves[own].finish(seq.wrapping_add(tcp.length));
    }
    // After both ends have closed, a reset says only that somebody does not listen any more.
    let over = halves[0].is_finished() && halves[1].is_finished();
    if tcp.rst() && halves[own].is_near(seq) && !over {
        flow.reset = true;
    }
    for half in &mut *halves {
        if half.held_bytes() > 0 && application.is_ignored() {
            half.forget_data();
        }
    }
    let held_after = halves[0].held_bytes() + halves[1].held_bytes();
    shared.held = shared.held + held_after - held_before;
    if !flow.closed && halves[0].is_finished() && halves[1].is_finished() {
        flow.closed = true;
        application.close(shared, &mut cause);
    }
}

fn note_packet(flow: &mut Flow, side: Side, packet: &Packet<'_>, macs: [[u8; 6]; 2]) {
    flow.last = packet.observed;
    let half = &mut flow.halves[side as usize];
    half.packets += 1;
    if half.packets == 1 {
        let [source, target] = macs;
        flow.macs[side as usize] = source;
        if flow.macs[side.other() as usize] == [0; 6] {
            flow.macs[side.other() as usize] = target;
        }
    }
}

/// Says once of a connection that lasts that it is there: some are never seen to end.
fn tell_open(shared: &Shared, flow: &mut Flow, packet: &Packet<'_>, out: &mut dyn RowSink) {
    let over = flow.reset || flow.closed;
    if !flow.told && !over && packet.time - flow.first >= shared.limits.open_after {
        flow.told = true;
        push_flow(shared, flow, "open", out);
    }
}

fn push_flow(shared: &Shared, flow: &Flow, state: &str, out: &mut dyn RowSink) {
    let protocol = flow.application.protocol(shared);
    let identity = flow_identity(flow);
    let text = |address: Address| address_text(identity.transport, address);
    let port = |port: u16| match identity.transport {
        Transport::Tcp | Transport::Udp => port,
        Transport::Ip | Transport::Link => 0,
    };
    let [client_mac, server_mac] = flow.macs.map(mac_text);
    let [client, server] = &flow.halves;
    out.push(Row::Flow(&FlowRow {
        time: flow.first,
        observed: flow.last,
        flow: flow.id,
        transport: transport_name(identity.transport),
        protocol,
        customary: customary(&shared.registry, &identity, protocol),
        client: &text(identity.client.0),
        client_port: port(identity.client.1),
        server: &text(identity.server.0),
        server_port: port(identity.server.1),
        client_mac: &client_mac,
        server_mac: &server_mac,
        vlan: flow.vlan,
        client_packets: client.packets,
        server_packets: server.packets,
        client_bytes: client.bytes,
        server_bytes: server.bytes,
        missing_bytes: client.missing + server.missing,
        state,
        ..FlowRow::default()
    }));
}

fn flow_identity(flow: &Flow) -> Identity {
    Identity {
        flow: flow.id,
        transport: flow.key.transport(),
        client: flow.key.end(flow.client_is_low),
        server: flow.key.end(!flow.client_is_low),
    }
}

fn cause<'a>(
    identity: Identity,
    packet: &Packet<'_>,
    shared: &Shared,
    out: &'a mut dyn RowSink,
) -> Cause<'a> {
    Cause { identity, time: packet.time, observed: packet.observed, number: shared.stats.packets, out }
}

/// Tells datagrams of one side apart: IP identification, length and content.
fn digest(id: u16, data: &[u8]) -> u64 {
    use std::hash::Hasher;
    let mut hasher = rustc_hash::FxHasher::default();
    hasher.write_u16(id);
    hasher.write(data);
    hasher.finish()
}
