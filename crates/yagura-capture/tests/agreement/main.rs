//! Message by message: what is read out of captures here, beside what other tools read.
//!
//! The captures and the other tools' files are no part of the repository: they are read in the
//! folder that `YAGURA_SHARED` names (by default `../shared` beside the repository), and the tests
//! say so when it is absent. `YAGURA_AGREEMENT_ONLY=modbus` runs one protocol (or several, with
//! commas), `YAGURA_AGREEMENT_JSON=target/agreement.json` writes the table as JSON,
//! `YAGURA_AGREEMENT_SHOW=40` shows that many of a comparison's differences instead of 6.
//!
//! # To add a protocol
//!
//! 1. Write `NAME.rs` with a `pub const PROTOCOL: Protocol` (see [`harness::Protocol`]): the folders
//!    of its captures, tshark's names of it and, for each file that another tool wrote, a
//!    [`harness::Tool`]: `From::File("zeek/dnp3.log")`, or `From::Tshark(ARGUMENTS)` to run the
//!    tshark of this machine on every capture of those folders. A tool's `compare` gets the
//!    capture's rows and the tool's file and gives two lists of facts, ours and theirs. A fact is a text that says all that both know of one message, as
//!    `10.0.0.1:4000>10.0.0.2:502 request 7/1/3 address=100 quantity=2`: who, direction,
//!    transaction, unit, function, place, values. Leave out what the tool's file does not say, and
//!    nothing else. Their order does not matter, how often each occurs does.
//! 2. Read the file with [`reference::Reference`]: `.zeek()` for Zeek and ICSNPP logs (TSV or
//!    JSON), `.eve("modbus")` for Suricata, `.ek("hsms")` for tshark, `.text()` for anything else;
//!    ours are `capture.messages("modbus")`, `capture.rows`, or `capture.samples()`.
//! 3. Add the module and its entry below: two adjacent lines each.
//! 4. Run it. Look up every difference that remains in the packets. A fault here is mended here;
//!    a tool's fault is written into `NAME.yaml` beside the module, with the bytes that decide it
//!    ([`decisions::Decisions`] says which keys there are). A decision covers exactly the differences that it lists, and one that covers nothing fails the test.

mod capture;
mod covered;
mod decisions;
mod harness;
mod identification;
mod malformed;
mod reference;

// The protocols: a module, and its entry in `PROTOCOLS`.
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
mod flow;
mod fox;
mod genisys;
mod goose;
mod hart_ip;
mod hislip;
mod hsms;
mod http;
mod icmp;
mod iec104;
mod kafka;
mod kerberos;
mod knx;
mod ldap;
mod lines;
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
mod powerlink;
mod profinet;
mod ptp;
mod rdp;
mod roc;
mod rtps;
mod s7comm;
mod s7comm_plus;
mod sbus;
mod smb;
mod snmp;
mod ssh;
mod sunrpc;
mod synchrophasor;
mod syslog;
mod tls;

/// Every protocol that is compared.
#[rustfmt::skip]
static PROTOCOLS: &[harness::Protocol] = &[
    ads::PROTOCOL,
    arp::PROTOCOL,
    bacnet::PROTOCOL,
    bsap::PROTOCOL,
    c1222::PROTOCOL,
    dcerpc::PROTOCOL,
    dhcp::PROTOCOL,
    dlms::PROTOCOL,
    dnp3::PROTOCOL,
    dns::PROTOCOL,
    enip::PROTOCOL,
    ethercat::PROTOCOL,
    fins::PROTOCOL,
    flow::PROTOCOL,
    fox::PROTOCOL,
    lines::FTP,
    genisys::PROTOCOL,
    goose::PROTOCOL,
    hart_ip::PROTOCOL,
    hislip::PROTOCOL,
    hsms::PROTOCOL,
    kerberos::PROTOCOL,
    http::PROTOCOL,
    lines::IMAP,
    lines::IRC,
    kafka::PROTOCOL,
    knx::PROTOCOL,
    ldap::PROTOCOL,
    icmp::PROTOCOL,
    iec104::PROTOCOL,
    lldp::CDP,
    lldp::LLDP,
    lontalk::PROTOCOL,
    melsec::PROTOCOL,
    mms::PROTOCOL,
    modbus::PROTOCOL,
    mqtt::PROTOCOL,
    nbdgm::PROTOCOL,
    ntp::PROTOCOL,
    opcua::PROTOCOL,
    lines::POP3,
    others::PROTOCOL,
    powerlink::PROTOCOL,
    profinet::PROTOCOL,
    ptp::PROTOCOL,
    rdp::PROTOCOL,
    roc::PROTOCOL,
    rtps::PROTOCOL,
    s7comm::PROTOCOL,
    s7comm_plus::PROTOCOL,
    sbus::PROTOCOL,
    smb::PROTOCOL,
    snmp::PROTOCOL,
    lines::SMTP,
    lines::SSDP,
    sunrpc::PROTOCOL,
    synchrophasor::PROTOCOL,
    syslog::PROTOCOL,
    lines::TELNET,
    ssh::PROTOCOL,
    tls::PROTOCOL,
];

#[test]
fn messages_are_those_that_other_tools_read() {
    harness::run(PROTOCOLS);
}

#[test]
fn no_capture_has_messages_of_a_protocol_that_it_does_not_hold() {
    identification::run(PROTOCOLS);
}

#[test]
fn what_is_malformed_is_so_to_tshark_or_is_decided() {
    malformed::run(include_str!("malformed.yaml"));
}
