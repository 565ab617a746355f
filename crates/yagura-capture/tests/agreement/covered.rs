//! Every protocol that tshark sees in the captures: which of ours reads it, or why it is none of
//! its own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use yagura_event::rows::{Row, RowSink};

use super::capture::{self, feed_into};
use super::reference::Reference;

/// What stands for one of tshark's names.
#[derive(Clone, Copy)]
enum Covered {
    /// One of our protocols, or several for what they share.
    By(&'static [&'static str]),
    /// No protocol of its own, and why.
    Not(&'static str),
}

use Covered::{By, Not};

const LAYER: Covered = Not("a layer below, which the capture layer reads");
const TUNNEL: Covered = Not("a tunnel, which the capture layer opens");
const PART: Covered = Not("a part of another protocol's message, not a message of its own");
const CONTENT: Covered = Not("the content that another protocol transports");

/// tshark's names, in order.
#[rustfmt::skip]
static TABLE: &[(&str, Covered)] = &[
    ("_ws.malformed", Not("tshark's remark")), ("_ws.short", Not("tshark's remark")),
    ("_ws.unreassembled", Not("tshark's remark")),
    ("acse", PART), ("ams", By(&["ads"])), ("arp", By(&["arp"])),
    ("atmtcp", Not("DNP3 that tshark takes for another: its frames begin with 0x0564")), ("ayiya", TUNNEL),
    ("bacapp", By(&["bacnet"])), ("bacapp.fragments", PART), ("bacnet", By(&["bacnet"])),
    ("ber.encoding_boiler_plate", PART), ("browser", By(&["nbdgm"])),
    ("bssgp", By(&["gprs_ns"])), ("bvlc", By(&["bacnet"])),
    ("c1222", By(&["c1222"])), ("ccp", LAYER), ("cdp", By(&["cdp"])), ("cfp", LAYER), ("chdlc", LAYER),
    ("cip", By(&["enip"])), ("cipcls", By(&["enip"])), ("cipcm", By(&["enip"])), ("cipio", By(&["enip"])),
    ("cippccc", By(&["enip"])),
    ("classicstun", Not("DLMS that tshark takes for another: its wrapper begins with 0x0001")),
    ("clnp", By(&["iso_network"])), ("cnip", By(&["lontalk"])), ("coap", By(&["coap"])),
    ("cotp", By(&["s7comm", "mms", "rdp"])), ("cotp.segments", PART),
    ("data-text-lines", CONTENT), ("db-lsp-disc", Not("a program's own text at the port of Dropbox: it is no JSON with host_int")),
    ("dcerpc", By(&["dcerpc", "profinet", "smb"])), ("dcerpc.fragments", PART), ("dhcp", By(&["dhcp"])),
    ("dhcpv6", By(&["dhcpv6"])), ("dnp3", By(&["dnp3"])), ("dns", By(&["dns"])),
    ("drsuapi", By(&["dcerpc"])), ("dssetup", By(&["dcerpc"])), ("dtls", By(&["dtls"])), ("dtp", By(&["dtp"])),
    ("ecat", By(&["ethercat"])), ("ecat.subframe.pad_bytes", PART), ("ecatf", By(&["ethercat"])),
    ("enip", By(&["enip"])), ("epl", By(&["powerlink"])), ("epm", By(&["dcerpc"])), ("erspan", TUNNEL),
    ("esio", By(&["ether_sio"])), ("etag", LAYER), ("eth", LAYER),
    ("ftp", By(&["ftp"])), ("ftp.current-working-directory", PART),
    ("geneve", TUNNEL), ("goose", By(&["goose"])), ("gprs-ns", By(&["gprs_ns"])), ("gre", TUNNEL),
    ("gsm_a.dtap", PART), ("gtp", By(&["gtp"])),
    ("hart_ip", By(&["hart_ip"])), ("hislip", By(&["hislip"])), ("hsms", By(&["hsms"])), ("http", By(&["http"])),
    ("icmp", By(&["icmp"])), ("icmpv6", By(&["icmp"])), ("iec60870_104", By(&["iec104"])),
    ("iec60870_asdu", By(&["iec104"])), ("ieee8021ad", LAYER), ("igmp", By(&["igmp"])), ("image-gif", CONTENT),
    ("imap", By(&["imap"])), ("imf", CONTENT), ("ip", LAYER), ("ipcp", LAYER), ("irc", By(&["irc"])),
    ("isystemactivator", By(&["dcerpc"])), ("json", CONTENT),
    ("kafka", By(&["kafka"])), ("kerberos", By(&["kerberos", "smb", "ldap", "dcerpc"])), ("kip", By(&["knx"])),
    ("lanman", By(&["smb"])), ("lcp", LAYER), ("ldap", By(&["ldap"])), ("llcgprs", PART), ("lldp", By(&["lldp"])),
    ("llmnr", By(&["dns"])), ("lon", By(&["lontalk"])), ("loop", By(&["loop"])), ("lsarpc", By(&["dcerpc"])),
    ("m3ua", By(&["sctp"])), ("mailslot", By(&["nbdgm"])), ("mbtcp", By(&["modbus"])), ("mdns", By(&["dns"])),
    ("mdssvc", By(&["dcerpc"])), ("media", CONTENT), ("mgmt", By(&["dcerpc"])), ("mms", By(&["mms"])),
    ("modbus", By(&["modbus"])), ("mpls", LAYER), ("mqtt", By(&["mqtt"])),
    ("nbdgm", By(&["nbdgm"])), ("nbns", By(&["dns"])), ("nbss", By(&["smb"])), ("nfs", By(&["sunrpc"])),
    ("nsh", LAYER), ("ntp", By(&["ntp"])), ("null", LAYER),
    ("ocsp", CONTENT), ("omron", By(&["fins"])), ("opcua", By(&["opcua"])), ("ospf", Not("read as ospf, but here only within FabricPath frames, which are not opened")),
    ("pn_io_controller", By(&["profinet"])), ("pn_io_device", By(&["profinet"])), ("pn_rt", By(&["profinet"])),
    ("pn_rt.frag", By(&["profinet"])), ("pop", By(&["pop3"])), ("ppp", LAYER), ("pppoed", By(&["pppoe_discovery"])),
    ("pppoes", LAYER), ("pres", PART), ("ptp", By(&["ptp"])), ("pweth.cw", LAYER), ("pwethcw", LAYER),
    ("quic", By(&["quic"])),
    ("raw", LAYER), ("rdp", By(&["rdp"])), ("remunk2", By(&["dcerpc"])), ("rip", By(&["rip"])),
    ("rlogin", Not("sessions under way: single keystrokes, which tshark names by the port alone")), ("rpc", By(&["sunrpc"])), ("rpc_netlogon", By(&["dcerpc"])),
    ("rpcap", Not("DLMS that tshark takes for another: its wrapper begins with 0x0001")),
    ("rsh", Not("syslog over TCP at the port of the remote shell")), ("rtps", By(&["rtps"])),
    ("s7comm", By(&["s7comm"])), ("samr", By(&["dcerpc"])), ("sap", By(&["sap"])), ("sctp", By(&["sctp"])),
    ("sdp", By(&["sap"])), ("ses", PART), ("sflow", By(&["sflow"])), ("skinny", By(&["skinny"])), ("sll", LAYER),
    ("smb", By(&["smb"])), ("smb2", By(&["smb"])), ("smb2.fsctl.wait.name", PART),
    ("smb2.fsctl.wait.timeout", PART), ("smb_pipe", PART), ("smtp", By(&["smtp"])), ("snmp", By(&["snmp"])),
    ("socks", By(&["socks"])), ("sparkplugb", By(&["mqtt"])), ("spoolss", By(&["dcerpc"])),
    ("srvsvc", By(&["dcerpc"])), ("ssdp", By(&["ssdp"])), ("ssh", By(&["ssh"])), ("stp", By(&["stp"])),
    ("svcctl", By(&["dcerpc"])), ("synphasor", By(&["synchrophasor"])), ("syslog", By(&["syslog"])),
    ("t124", By(&["rdp"])), ("t125", By(&["rdp"])), ("telnet", By(&["telnet"])), ("teredo", TUNNEL),
    ("text", CONTENT), ("tls", By(&["tls"])), ("tpkt", By(&["s7comm", "mms", "rdp"])), ("typeinfo", By(&["dcerpc"])),
    ("vntag", LAYER), ("vrrp", By(&["vrrp"])), ("vxlan", TUNNEL),
    ("websocket", Not("what a connection becomes by an upgrade of HTTP")), ("wkssvc", By(&["dcerpc"])),
    ("wlan", LAYER), ("wlan_aggregate", LAYER), ("wpan", By(&["zep"])),
    ("zbee_aps", By(&["zep"])), ("zbee_nwk", By(&["zep"])), ("zbee_zcl", By(&["zep"])), ("zep", By(&["zep"])),
];

/// Protocols that are only identified and counted: none of their messages may come out of a capture
/// in which tshark does not see them, except where the bytes are theirs.
const COUNTED: &[&str] = &[
    "coap",
    "dtls",
    "quic",
    "stun",
    "gtp",
    "gprs_ns",
    "rip",
    "sflow",
    "sap",
    "zep",
    "dropbox_discovery",
    "dhcpv6",
    "igmp",
    "ospf",
    "vrrp",
    "pim",
    "sctp",
    "dtp",
    "loop",
    "eapol",
    "slow",
    "mvrp",
    "pppoe_discovery",
    "iso_network",
    "socks",
    "skinny",
    "mrp",
    "sunrpc",
    "kafka",
    "ptp",
    "rdp",
    "profinet",
];

/// Where they do: capture, protocol, and which bytes decide.
const THEIRS: &[(&str, &str, &str)] = &[
    (
        "l2l4_robustness/seladb__Tests_Packet++Test_PacketExamples_IPv4Frag.pcap",
        "sunrpc",
        "a reply of NFS in two fragments, from port 2049: its call is not in the capture",
    ),
    (
        "modbus/zeek__modbus_modbus-and-non-modbus-p502.pcap",
        "rdp",
        "62.122.184.123 sends a connection request with the cookie mstshash to port 502",
    ),
];

#[derive(Default)]
struct Names(BTreeSet<String>);

impl RowSink for Names {
    fn push(&mut self, row: Row<'_>) {
        if let Row::Message(message) = row
            && !self.0.contains(message.protocol)
        {
            self.0.insert(message.protocol.to_string());
        }
    }
}

/// tshark's names of a capture, as the manifest has them: `name:count`, with dots before what it
/// cut off.
fn names(seen: &str) -> impl Iterator<Item = &str> {
    seen.split_ascii_whitespace().filter_map(|one| Some(one.rsplit_once(':')?.0.trim_start_matches("...")))
}

/// Whether tshark sees a protocol in a capture after all: the manifest names only the commonest.
fn tshark_sees(capture: &Path, protocol: &str) -> bool {
    let by = |covered: &Covered| matches!(covered, By(protocols) if protocols.contains(&protocol));
    let filters: Vec<&str> = TABLE.iter().filter(|(_, covered)| by(covered)).map(|(name, _)| *name).collect();
    let filter = filters.join(" or ");
    let seen = Reference::tshark(capture, &["-Y", &filter, "-T", "fields", "-e", "frame.number"]);
    // Without tshark nothing can be said against it.
    seen.is_none_or(|seen| !seen.text().trim().is_empty())
}

#[test]
fn every_protocol_of_the_captures_is_read_or_is_none() {
    let Some(captures) = capture::folder() else { return };
    let table: BTreeMap<&str, Covered> = TABLE.iter().copied().collect();
    assert_eq!(table.len(), TABLE.len(), "a name stands twice");
    let ours: BTreeSet<&str> = yagura_dissect::protocols().iter().map(|p| p.name).collect();
    let manifest = captures.join("MANIFEST.csv");
    let mut lines = csv::ReaderBuilder::new()
        .from_path(&manifest)
        .unwrap_or_else(|e| panic!("{}: {e}", manifest.display()));
    let (mut problems, mut read) = (Vec::new(), BTreeSet::new());
    let mut seen_names = BTreeSet::new();
    for line in lines.records() {
        let line = line.unwrap_or_else(|e| panic!("{}: {e}", manifest.display()));
        let name = format!("{}/{}", &line[0], &line[1]);
        let seen: Vec<&str> = names(line.iter().next_back().unwrap_or_default()).collect();
        let mut found = Names::default();
        feed_into(&captures.join(&name), &mut found);
        let mut allowed = BTreeSet::<&str>::new();
        for tshark in seen {
            seen_names.insert(tshark.to_string());
            match table.get(tshark) {
                None => problems.push(format!("{name}: nothing is known of {tshark}")),
                Some(Not(why)) => assert!(!why.is_empty(), "{tshark}: say why"),
                Some(By(protocols)) => {
                    allowed.extend(*protocols);
                    if protocols.iter().any(|protocol| found.0.contains(*protocol)) {
                        read.insert(tshark.to_string());
                    }
                }
            }
        }
        for protocol in COUNTED.iter().filter(|p| found.0.contains(**p) && !allowed.contains(*p)) {
            let decided = THEIRS.iter().any(|(capture, theirs, _)| (*capture, theirs) == (&*name, protocol));
            if !decided && !tshark_sees(&captures.join(&name), protocol) {
                problems.push(format!("{name}: messages of {protocol}, which tshark does not see"));
            }
        }
    }
    for tshark in &seen_names {
        let Some(By(protocols)) = table.get(&**tshark) else { continue };
        // What the registry does not have cannot be looked for.
        let known = protocols.iter().any(|protocol| ours.contains(protocol));
        if known && !read.contains(tshark) {
            problems.push(format!("{tshark}: no capture that holds it gives messages of {protocols:?}"));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
