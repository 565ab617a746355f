//! Packets in tunnels: read as if there were none, and told apart where the tunnels say so.
#![allow(clippy::print_stderr, reason = "tests say what they skip and what they met")]

#[allow(unused, reason = "shared by the tests")]
mod common;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use common::{Bench, tcp_frame};
use etherparse::PacketBuilder;
use yagura_capture::{Engine, Limits, read_file};
use yagura_event::Kind;
use yagura_event::rows::{Row, RowSink};

/// `payload` in a UDP datagram between two tunnel ends.
fn udp(port: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2([6; 6], [8; 6])
        .ipv4([192, 0, 2, 1], [192, 0, 2, 2], 64)
        .udp(50_000, port)
        .write(&mut frame, payload)
        .unwrap_or_else(|e| panic!("{e}"));
    frame
}

/// `payload` in an IP packet of that protocol.
fn ip(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2([6; 6], [8; 6])
        .ipv4([192, 0, 2, 1], [192, 0, 2, 2], 64)
        .write(&mut frame, etherparse::IpNumber(protocol), payload)
        .unwrap_or_else(|e| panic!("{e}"));
    frame
}

fn vxlan(network: u32, frame: &[u8]) -> Vec<u8> {
    let header = [&[8, 0, 0, 0][..], &(network << 8).to_be_bytes()].concat();
    udp(4789, &[&header, frame].concat())
}

fn line(text: &'static [u8]) -> Vec<u8> {
    tcp_frame(true, 9, 1000, Some(1), "", text)
}

#[test]
fn a_connection_reads_the_same_in_every_tunnel() {
    let frame = line(b"LN one\n");
    let packet = &frame[14..];
    let gre = |kind: u16, header: &[u8], inner: &[u8]| {
        let flags: u16 = if header.is_empty() { 0 } else { 0x1000 };
        let start = [flags.to_be_bytes(), kind.to_be_bytes()].concat();
        ip(47, &[&start, header, inner].concat())
    };
    let ethertype = |kind: u16, body: &[u8]| [&[2u8; 12][..], &kind.to_be_bytes(), body].concat();
    let cases: [(&str, Vec<u8>); 10] = [
        ("vxlan", vxlan(7, &frame)),
        ("geneve", udp(6081, &[&[0, 0, 0x65, 0x58, 0, 0, 7, 0][..], &frame].concat())),
        ("ip", ip(4, packet)),
        ("gre", gre(0x0800, &[], packet)),
        ("gre", gre(0x6558, &[0, 0, 0, 9], &frame)),
        ("erspan", gre(0x88be, &[], &frame)),
        ("erspan", gre(0x88be, &[0, 0, 0, 9, 0x10, 1, 0, 1, 0, 0, 0, 0], &frame)),
        ("mpls", ethertype(0x8847, &[&[0, 1, 0, 64, 0, 2, 1, 64][..], packet].concat())),
        (
            "pppoe",
            ethertype(0x8864, &[&[0x11, 0, 0, 1, 0, packet.len() as u8 + 2, 0, 0x21][..], packet].concat()),
        ),
        ("nsh", ethertype(0x894f, &[&[0, 2, 2, 3, 0, 0, 0, 0][..], &frame].concat())),
    ];
    for (name, tunnel) in cases {
        let mut bench = Bench::new(Limits::default());
        bench.frame(&tunnel);
        for captured in 0..tunnel.len() {
            bench.cut_frame(&tunnel, captured);
        }
        bench.finish();
        assert_eq!(bench.seen().first().map(String::as_str), Some("c:LN one"), "{name}");
        let flows = bench.of(Kind::Flow);
        assert!(flows.iter().any(|f| f.text("client") == "10.0.0.1" && f.text("server") == "10.0.0.2"));
        let stats = bench.engine.stats();
        assert!(stats.tunnels[name] > 1 && stats.malformed == 0, "{name}: {stats:?}");
    }
}

#[test]
fn virtual_networks_separate_equal_addresses_unless_told_otherwise() {
    for (vni_separates, flows) in [(true, 3), (false, 1)] {
        let mut bench = Bench::new(Limits { vni_separates, ..Limits::default() });
        bench.frame(&vxlan(0, &tcp_frame(true, 9, 1000, None, "S", b"")));
        bench.frame(&vxlan(5, &tcp_frame(true, 9, 1000, None, "S", b"")));
        bench.frame(&tcp_frame(true, 9, 1000, None, "S", b""));
        bench.finish();
        let ids: BTreeSet<String> =
            bench.of(Kind::Flow).iter().map(|f| format!("{:?}", f.columns["flow"])).collect();
        assert_eq!(ids.len(), flows);
    }
}

#[test]
fn tunnels_in_tunnels_end_at_the_limit_which_is_said() {
    let mut bench = Bench::new(Limits { tunnels_max: 3, ..Limits::default() });
    let mut frame = line(b"LN deep\n");
    for depth in 1..=5 {
        frame = vxlan(depth, &frame);
        bench.frame(&frame);
    }
    bench.finish();
    let stats = bench.engine.stats();
    assert_eq!((stats.tunnels_unopened, stats.tunnels["vxlan"], stats.flows), (2, 12, 1));
    let coverage = bench.of(Kind::Coverage);
    assert_eq!(coverage.len(), 1);
    assert_eq!(["event", "subject"].map(|c| coverage[0].text(c)), ["drop", "tunnels_max"]);
    assert_eq!(coverage[0].number("count"), Some(2.0));
}

#[test]
fn what_only_shares_a_tunnels_port_stays_what_it_is() {
    let mut bench = Bench::new(Limits::default());
    bench.frame(&udp(4789, b"LN plain\n"));
    bench.frame(&udp(6081, b"\xff\xffplain\n"));
    bench.finish();
    assert_eq!(bench.seen(), ["c:LN plain", "close"]);
    assert!(bench.engine.stats().tunnels.is_empty());
}

/// Transport and both ends of flows, the ends in order.
type Ends = BTreeSet<(String, [String; 2])>;

#[derive(Default)]
struct Flows(Ends);

impl RowSink for Flows {
    fn push(&mut self, row: Row<'_>) {
        if let Row::Flow(f) = row
            && matches!(f.transport, "tcp" | "udp")
        {
            let ends = [(f.client, f.client_port), (f.server, f.server_port)];
            self.0.insert(ordered(f.transport, ends.map(|(a, p)| format!("{a} {p}"))));
        }
    }
}

fn ordered(transport: &str, mut ends: [String; 2]) -> (String, [String; 2]) {
    ends.sort();
    (transport.to_string(), ends)
}

/// The innermost TCP and UDP ends that tshark sees.
fn judged(path: &Path) -> Option<Ends> {
    const FIELDS: [&str; 9] = [
        "frame.protocols",
        "ip.src",
        "ip.dst",
        "ipv6.src",
        "ipv6.dst",
        "tcp.srcport",
        "tcp.dstport",
        "udp.srcport",
        "udp.dstport",
    ];
    let mut command = Command::new("tshark");
    // Reassembled fragments are shown in the frame that completes them; checksums are no matter.
    command.arg("-r").arg(path).args(["-T", "fields", "-E", "occurrence=l", "-o", "ip.defragment:TRUE"]);
    for field in FIELDS {
        command.args(["-e", field]);
    }
    let output = command.output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut ends = Ends::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [protocols, v4a, v4b, v6a, v6b, tcp_a, tcp_b, udp_a, udp_b] = fields[..] else {
            continue;
        };
        let layers: Vec<&str> = protocols.split(':').collect();
        let Some(at) = layers.iter().rposition(|l| *l == "tcp" || *l == "udp") else {
            continue;
        };
        // What an ICMP message quotes is no packet, and the carrier of a tunnel no connection.
        if layers.get(at + 1).is_some_and(|l| ["vxlan", "geneve"].contains(l)) {
            continue;
        }
        if layers.iter().any(|l| l.starts_with("icmp")) || layers[at + 1..].contains(&"_ws.malformed") {
            continue;
        }
        let v6 = layers[..at].iter().rfind(|l| **l == "ip" || **l == "ipv6") == Some(&"ipv6");
        let addresses = if v6 { [v6a, v6b] } else { [v4a, v4b] };
        let ports = if layers[at] == "tcp" { [tcp_a, tcp_b] } else { [udp_a, udp_b] };
        let both = [0, 1].map(|n| format!("{} {}", addresses[n], ports[n]));
        ends.insert(ordered(layers[at], both));
    }
    Some(ends)
}

#[test]
fn inner_flows_of_real_tunnels_are_those_of_tshark() {
    let Some(captures) = common::captures() else {
        return;
    };
    if Command::new("tshark").arg("--version").output().is_err() {
        eprintln!("SKIPPED: tshark is not installed");
        return;
    }
    let (mut compared, mut wrong) = (0, Vec::new());
    for file in [
        "OISF__bug-5633-gre-01_gre-udp",
        "OISF__decode-erspan-typeII-01_input",
        "OISF__decode-nsh-type1_input",
        "OISF__decode-etag-01_input",
        "OISF__vxlan-non-zero-reserved-fields_input",
        "seladb__Tests_Packet++Test_PacketExamples_GrePackets",
        "seladb__Tests_Packet++Test_PacketExamples_MplsPackets",
        "zeek__erspan",
        "zeek__erspanII",
        "zeek__erspanIII",
        "zeek__mpls-in-vlan",
        "zeek__pppoe",
        "zeek__pppoe-over-qinq",
        "zeek__tunnels_4in4",
        "zeek__tunnels_4in6",
        "zeek__tunnels_6in4",
        "zeek__tunnels_6in6",
        "zeek__tunnels_6in6in6",
        "zeek__tunnels_geneve",
        "zeek__tunnels_geneve-many-options",
        "zeek__tunnels_gre-erspan3-dot1q",
        "zeek__tunnels_gre-pptp",
        "zeek__tunnels_gre-sample",
        "zeek__tunnels_gre-within-gre",
        "zeek__tunnels_vxlan",
        "zeek__tunnels_vxlan-triple-v2",
        "zeek__vntag_vlan_sandwich_clean",
    ] {
        let path = captures.join(format!("l2l4_robustness/{file}.pcap"));
        let mut engine = Engine::new(common::options(Limits::default()));
        let mut flows = Flows::default();
        let summary = read_file(&path, &mut engine, &mut flows, |_, _| {});
        engine.finish(&mut flows);
        assert!(summary.error.is_none(), "{file}: {:?}", summary.error);
        let Some(judged) = judged(&path) else {
            continue;
        };
        if flows.0 != judged {
            let ours: Vec<_> = flows.0.difference(&judged).collect();
            let theirs: Vec<_> = judged.difference(&flows.0).collect();
            wrong.push(format!("{file}: only here {ours:?}, only tshark {theirs:?}, {:?}", engine.stats()));
        }
        compared += judged.len();
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    eprintln!("{compared} inner flows compared");
    assert!(compared >= 30, "{compared}");
}
