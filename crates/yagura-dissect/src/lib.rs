//! Bytes to messages, one file a protocol. No I/O and no unsafe.
//!
//! A [`Dissector`] is the state of one connection for one protocol. The capture layer gives it
//! each direction's bytes in order, says where bytes are missing, and takes the rows that come
//! out. Extension is one file and two adjacent lines here: the module and its [`Protocol`] entry.

use yagura_event::clock::Micros;
use yagura_event::rows::RowSink;

mod asn1;
#[cfg(test)]
mod contract;
mod cursor;
mod cyclic;
mod ends;
mod exchange;
mod framing;
mod json;
mod lines;
mod ntlm;
mod ntstatus;
pub mod secs2;
mod settings;
mod talk;
#[cfg(test)]
mod testing;
mod tpkt;
mod wide;

// The protocols: a module here, and its entry in `PROTOCOLS`.
mod ads;
mod arp;
mod bacnet;
mod bsap;
mod c1222;
mod dcerpc;
mod dhcp;
mod dlms;
mod dnp3;
mod dns;
mod enip;
mod ethercat;
mod fins;
mod fox;
mod ftp;
mod genisys;
mod goose;
mod hart_ip;
mod hislip;
pub mod hsms;
mod http;
mod icmp;
mod iec104;
mod imap;
mod irc;
mod kafka;
mod kerberos;
mod knx;
mod ldap;
mod lldp;
mod lontalk;
mod melsec;
mod mms;
mod modbus;
mod mqtt;
mod nbdgm;
mod ntp;
mod opcua;
mod others;
mod pop3;
mod powerlink;
mod profinet;
mod ptp;
mod rdp;
mod rlogin;
mod roc;
mod rtps;
mod s7comm;
mod s7comm_plus;
mod sbus;
mod sip;
mod smb;
mod smtp;
mod snmp;
mod ssdp;
mod ssh;
mod stp;
mod sunrpc;
mod sv;
mod synchrophasor;
mod syslog;
mod telnet;
mod tls;

pub use ends::mac_text;
pub use settings::{ContextName, Dictionary, Settings, ToolNames, Variable};

/// Every protocol that is understood, in the order in which the capture layer probes those whose
/// customary port is not in use: structures that are harder to mistake come first.
static PROTOCOLS: &[Protocol] = &[
    dnp3::PROTOCOL,
    hsms::PROTOCOL,
    synchrophasor::PROTOCOL,
    enip::PROTOCOL,
    ethercat::PROTOCOL,
    ads::PROTOCOL,
    fins::PROTOCOL,
    hart_ip::PROTOCOL,
    melsec::PROTOCOL,
    iec104::PROTOCOL,
    modbus::PROTOCOL,
    s7comm::PROTOCOL,
    rdp::PROTOCOL,
    s7comm_plus::PROTOCOL,
    mms::PROTOCOL,
    goose::PROTOCOL,
    sv::PROTOCOL,
    bacnet::PROTOCOL,
    mqtt::PROTOCOL,
    kafka::PROTOCOL,
    opcua::PROTOCOL,
    knx::PROTOCOL,
    fox::PROTOCOL,
    bsap::PROTOCOL,
    roc::PROTOCOL,
    c1222::PROTOCOL,
    dlms::PROTOCOL,
    genisys::PROTOCOL,
    hislip::PROTOCOL,
    lontalk::PROTOCOL,
    powerlink::PROTOCOL,
    rtps::PROTOCOL,
    sbus::SBUS,
    sbus::ESIO,
    profinet::PROTOCOL,
    profinet::MRP,
    ptp::PROTOCOL,
    dcerpc::PROTOCOL,
    smb::PROTOCOL,
    snmp::PROTOCOL,
    kerberos::PROTOCOL,
    ldap::PROTOCOL,
    nbdgm::PROTOCOL,
    sunrpc::PROTOCOL,
    ssh::PROTOCOL,
    tls::PROTOCOL,
    http::PROTOCOL,
    ftp::PROTOCOL,
    smtp::PROTOCOL,
    pop3::PROTOCOL,
    imap::PROTOCOL,
    irc::PROTOCOL,
    sip::SIP,
    sip::RTSP,
    ssdp::PROTOCOL,
    syslog::PROTOCOL,
    rlogin::RLOGIN,
    rlogin::RSH,
    rlogin::REXEC,
    telnet::PROTOCOL,
    dns::PROTOCOL,
    dhcp::PROTOCOL,
    ntp::PROTOCOL,
    arp::PROTOCOL,
    lldp::LLDP,
    lldp::CDP,
    stp::PROTOCOL,
    icmp::PROTOCOL,
    others::COAP,
    others::DTLS,
    others::QUIC,
    others::STUN,
    others::GTP,
    others::GPRS_NS,
    others::RIP,
    others::SFLOW,
    others::SAP,
    others::ZEP,
    others::DROPBOX,
    others::DHCPV6,
    others::IGMP,
    others::OSPF,
    others::VRRP,
    others::PIM,
    others::SCTP,
    others::DTP,
    others::LOOP,
    others::EAPOL,
    others::SLOW,
    others::MVRP,
    others::PPPOE,
    others::CLNP,
    others::SOCKS,
    others::SKINNY,
];

/// The protocols whose answers come from other ports than the one that was asked.
static ROVING: &[Roving] = &[profinet::ROVING];

/// A protocol on UDP that is asked at one port and answers from another.
#[derive(Clone, Copy, Debug)]
pub struct Roving {
    /// The protocol's name.
    pub protocol: &'static str,
    /// The port at which it is asked.
    pub port: u16,
    /// Who sends a datagram with that content: the client, who asks, or the server; `None` when it
    /// cannot be the protocol's.
    pub sender: fn(&[u8]) -> Option<Side>,
}

/// The protocols whose conversations do not stay at the port where they began.
pub fn roving() -> &'static [Roving] {
    ROVING
}

/// Every protocol that is understood.
pub fn protocols() -> &'static [Protocol] {
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
    /// The payload of an IP packet that is neither.
    Ip,
    /// The payload of a frame that is not IP.
    Link,
}

/// A transport that a protocol runs on.
#[derive(Clone, Copy, Debug)]
pub struct Carrier {
    /// The transport.
    pub transport: Transport,
    /// TCP and UDP: ports by custom, tried first and never believed alone. IP: protocol numbers,
    /// link: EtherTypes; there the number decides who is asked.
    pub numbers: &'static [u16],
}

impl Carrier {
    /// Runs on TCP, by custom on these ports.
    pub const fn tcp(ports: &'static [u16]) -> Carrier {
        Carrier { transport: Transport::Tcp, numbers: ports }
    }

    /// Runs on UDP, by custom on these ports.
    pub const fn udp(ports: &'static [u16]) -> Carrier {
        Carrier { transport: Transport::Udp, numbers: ports }
    }

    /// Runs on IP under these protocol numbers.
    pub const fn ip(protocols: &'static [u16]) -> Carrier {
        Carrier { transport: Transport::Ip, numbers: protocols }
    }

    /// Runs on the link under these EtherTypes. Frames of IEEE 802.2 without an EtherType come
    /// under [`LLC`] plus their DSAP, those with a SNAP header of another organisation under
    /// their SNAP protocol number.
    pub const fn link(ethertypes: &'static [u16]) -> Carrier {
        Carrier { transport: Transport::Link, numbers: ethertypes }
    }
}

/// Stands for IEEE 802.2 frames among EtherTypes, which begin at 0x600: the DSAP is added.
pub const LLC: u16 = 0x0100;

/// One end of a connection, named. There are two for each connection, of which there may be a
/// million: texts without spare capacity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// Address as text.
    pub address: String,
    /// Port; 0 where the transport has none.
    pub port: u16,
    /// Name in the asset table; empty when it has none.
    pub asset: Box<str>,
    /// Area in the asset table; empty when it has none.
    pub area: Box<str>,
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

/// The first bytes of one direction, to tell the protocol by.
#[derive(Clone, Copy, Debug)]
pub struct Glimpse<'a> {
    /// The transport.
    pub transport: Transport,
    /// Who sent them.
    pub side: Side,
    /// Whether the connection uses one of the protocol's customary numbers. A structure that other
    /// bytes may have too is believed only then.
    pub customary: bool,
    /// The bytes: all unread ones of a stream, or one datagram.
    pub bytes: &'a [u8],
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
    /// That many bytes are done with (0 or more), and what follows on both sides is another protocol:
    /// STARTTLS, HTTP's CONNECT. The dissector is closed, and the rest of the connection is told by
    /// its content anew. Datagrams have no rest: for them it is the same as having read them.
    HandOver(usize),
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
    /// What it runs on.
    pub carriers: &'static [Carrier],
    /// Whether the first bytes look like it.
    pub probe: fn(&Glimpse<'_>) -> Probe,
    /// A fresh state.
    pub start: fn(flow: &FlowInfo) -> Box<dyn Dissector>,
    /// The most unread bytes of one direction that the capture layer must hold for it: the
    /// largest frame it accepts.
    pub buffer_bytes_max: usize,
    /// A short conversation for the contract that every protocol keeps.
    #[cfg(test)]
    sample: fn() -> testing::Sample,
}

impl Protocol {
    /// Whether it runs on a transport, and by custom under that number.
    pub fn runs_on(&self, transport: Transport, number: u16) -> (bool, bool) {
        let mut on = self.carriers.iter().filter(|c| c.transport == transport).peekable();
        (on.peek().is_some(), on.any(|c| c.numbers.contains(&number)))
    }
}
