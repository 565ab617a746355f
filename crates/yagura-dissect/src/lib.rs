//! Bytes to messages, one file a protocol. No I/O and no unsafe.
//!
//! A [`Dissector`] is the state of one connection for one protocol. The capture layer gives it
//! each direction's bytes in order, says where bytes are missing, and takes the rows that come
//! out. Extension is one file and two adjacent lines here: the module and its [`Protocol`] entry.

use yagura_event::clock::Micros;
use yagura_event::rows::RowSink;

mod ends;
mod hsms;
mod json;
mod modbus;
pub mod secs2;
mod settings;
#[cfg(test)]
mod testing;

pub use settings::{ContextName, Dictionary, Settings, ToolNames, Variable};

/// Every protocol that is understood, in the order in which the capture layer probes those whose
/// customary port is not in use: structures that are harder to mistake come first.
pub fn protocols() -> &'static [Protocol] {
    static PROTOCOLS: &[Protocol] = &[hsms::PROTOCOL, modbus::PROTOCOL];
    PROTOCOLS
}

/// Which end of a connection a byte came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The end that opened the connection.
    Client,
    /// The other end.
    Server,
}

impl Side {
    /// The other end.
    pub fn other(self) -> Side {
        match self {
            Side::Client => Side::Server,
            Side::Server => Side::Client,
        }
    }
}

/// The transport below.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// A reassembled byte stream.
    Tcp,
    /// Datagrams.
    Udp,
}

/// One end of a connection, named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// Address as text.
    pub address: String,
    /// Port.
    pub port: u16,
    /// Name in the asset table; empty when it has none.
    pub asset: String,
    /// Area in the asset table; empty when it has none.
    pub area: String,
    /// Whether the asset table calls it equipment.
    pub equipment: bool,
}

/// What is known of a connection before its bytes are read.
#[derive(Clone, Debug)]
pub struct FlowInfo {
    /// Stable id.
    pub flow: u64,
    /// Transport.
    pub transport: Transport,
    /// The end that opened it.
    pub client: Endpoint,
    /// The other end.
    pub server: Endpoint,
}

/// One call's surroundings: the connection, the packet's times, and where rows go.
pub struct Cx<'a> {
    /// The connection.
    pub flow: &'a FlowInfo,
    /// When the bytes were on the wire.
    pub time: Micros,
    /// The collector's clock: the same as `time` for a recorded file.
    pub observed: Micros,
    /// The plant's settings.
    pub settings: &'a Settings,
    /// Where rows go.
    pub out: &'a mut dyn RowSink,
}

/// Whether bytes look like a protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// They do.
    Yes,
    /// They do not.
    No,
    /// Too few to say.
    More,
}

/// What became of a stretch of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// That many bytes are done with (0 or more); call again when there are more.
    Consumed(usize),
    /// Nothing more can be read from this direction.
    Unrecoverable,
}

/// The state of one connection for one protocol.
pub trait Dissector: Send {
    /// Reads `bytes`, the unread bytes of one direction in order (TCP), or one datagram (UDP).
    /// Emits rows into `cx.out` and tells how many bytes it is done with.
    fn parse(&mut self, cx: &mut Cx<'_>, side: Side, bytes: &[u8]) -> Outcome;

    /// `missing` bytes of one direction will never come; the next `parse` begins after them.
    fn gap(&mut self, cx: &mut Cx<'_>, side: Side, missing: u64);

    /// Time passed: requests that waited too long become rows without a reply.
    fn expire(&mut self, cx: &mut Cx<'_>);

    /// The connection ended: whatever still waits becomes rows.
    fn close(&mut self, cx: &mut Cx<'_>);
}

/// A protocol as the capture layer sees it.
pub struct Protocol {
    /// Its name in the `protocol` column.
    pub name: &'static str,
    /// The transports it runs on.
    pub transports: &'static [Transport],
    /// Ports by custom: tried first, never believed alone.
    pub ports: &'static [u16],
    /// Whether the first bytes of `side` look like it.
    pub probe: fn(side: Side, bytes: &[u8]) -> Probe,
    /// A fresh state.
    pub start: fn(flow: &FlowInfo) -> Box<dyn Dissector>,
    /// The most unread bytes of one direction that the capture layer must hold for it: the
    /// largest frame it accepts.
    pub buffer_bytes_max: usize,
}
