//! Packet files, flows and TCP reassembly.
//!
//! A [`PacketFile`] gives packets, an [`Engine`] turns packets into rows: it decodes the headers,
//! joins IP fragments, follows connections in a bounded table, puts TCP streams in order, finds
//! the protocol by content and lets its dissector read. Everything that was not seen or not
//! understood is counted or is a `coverage` row of its own. What comes out depends on the packets
//! alone: no wall clock is read, and time-outs follow the packets' time.
//!
//! Tunnels are opened to the innermost packet: the outer layers are counted, and only the virtual
//! network's number (VXLAN, GENEVE) tells equal inner addresses apart.
//!
//! What is deliberately absent: checksums are not verified, since a mirror port sees the packets of
//! cards that compute them later.

mod application;
mod clock;
mod engine;
mod file;
mod fragments;
mod headers;
mod lanes;
pub mod limits;
pub mod live;
mod notices;
mod registry;
mod ring;
mod stream;
mod table;
mod tunnels;

pub use engine::{Engine, EngineOptions, Packet, Stats};
pub use file::{FileError, FileProblem, FileSummary, PacketFile, read_file, read_packets};
pub use limits::Limits;
pub use ring::{Origin, Ring, RingOptions};
