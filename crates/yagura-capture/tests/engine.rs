//! What packets of every kind become.

#[allow(unused, reason = "shared by the tests")]
mod common;

use common::{Bench, options, tcp_frame};
use etherparse::{PacketBuilder, SingleVlanHeader, VlanId};
use yagura_capture::{Engine, Limits};
use yagura_event::Kind;

const C: u32 = 1000;
const S: u32 = 5000;

fn handshake(bench: &mut Bench, port: u16) {
    bench.frame(&tcp_frame(true, port, C, None, "S", b""));
    bench.frame(&tcp_frame(false, port, S, Some(C + 1), "S", b""));
    bench.frame(&tcp_frame(true, port, C + 1, Some(S + 1), "", b""));
}

#[test]
fn a_connection_on_any_port_gives_its_messages_and_one_flow_row() {
    let mut bench = Bench::new(Limits::default());
    handshake(&mut bench, 6543);
    // Ethernet pads the last frame; the padding is no payload.
    bench.frame(&tcp_frame(true, 6543, C + 1, Some(S + 1), "", b"L"));
    bench.frame(&tcp_frame(true, 6543, C + 2, Some(S + 1), "", b"N one\ntw"));
    bench.frame(&tcp_frame(false, 6543, S + 1, Some(C + 10), "", b"yes\n"));
    let mut padded = tcp_frame(true, 6543, C + 10, Some(S + 5), "", b"o\n");
    padded.extend([0; 4]);
    bench.frame(&padded);
    bench.frame(&tcp_frame(true, 6543, C + 12, Some(S + 5), "F", b""));
    bench.frame(&tcp_frame(false, 6543, S + 5, Some(C + 13), "F", b""));
    assert_eq!(bench.seen(), ["c:LN one", "s:yes", "c:two", "close"]);
    bench.frame(&tcp_frame(true, 6543, C + 13, Some(S + 6), "", b""));
    bench.finish();
    let flows = bench.of(Kind::Flow);
    assert_eq!(flows.len(), 1);
    let flow = flows[0];
    assert_eq!(
        ["transport", "protocol", "client", "server", "client_mac", "server_mac", "state"]
            .map(|c| flow.text(c)),
        ["tcp", "lines", "10.0.0.1", "10.0.0.2", "02:00:00:00:00:01", "02:00:00:00:00:02", "closed"]
    );
    let counts = [
        "client_port",
        "server_port",
        "client_packets",
        "server_packets",
        "client_bytes",
        "server_bytes",
        "missing_bytes",
    ];
    assert_eq!(counts.map(|c| flow.number(c).unwrap_or(-1.0)), [4000.0, 6543.0, 7.0, 3.0, 11.0, 4.0, 0.0]);
    let stats = bench.engine.stats();
    assert_eq!((stats.packets, stats.flows, stats.gaps, stats.malformed), (10, 1, 0, 0));
    assert_eq!(stats.messages.get("lines"), Some(&3));
    assert_eq!(bench.of(Kind::Coverage).len(), 0);
}

#[test]
fn a_connection_that_goes_over_to_another_protocol_is_told_by_its_content_anew() {
    let mut bench = Bench::new(Limits::default());
    handshake(&mut bench, 6543);
    bench.frame(&tcp_frame(true, 6543, C + 1, Some(S + 1), "", b"LN one\nover\nsomething else\n"));
    assert_eq!(bench.seen(), ["c:LN one", "c:over", "close"]);
    bench.frame(&tcp_frame(false, 6543, S + 1, Some(C + 28), "", b"LN tw"));
    bench.frame(&tcp_frame(false, 6543, S + 6, Some(C + 28), "", b"o\n"));
    assert_eq!(bench.seen(), ["c:LN one", "c:over", "close", "s:LN two"]);
    bench.finish();
    assert_eq!(bench.of(Kind::Flow)[0].text("protocol"), "lines");
    assert_eq!(bench.of(Kind::Coverage).len(), 0);
}

#[test]
fn a_connection_that_goes_over_without_end_is_let_go() {
    let mut bench = Bench::new(Limits::default());
    handshake(&mut bench, 6543);
    bench.frame(&tcp_frame(true, 6543, C + 1, Some(S + 1), "", &b"LN\nover\n".repeat(9)));
    assert_eq!(bench.seen().iter().filter(|line| *line == "close").count(), 5);
    bench.finish();
    assert_eq!(bench.of(Kind::Flow)[0].text("protocol"), "lines");
}

#[test]
fn after_other_first_bytes_only_what_is_customary_there_is_found() {
    for (port, found) in [(7777, 1), (6543, 0)] {
        let mut bench = Bench::new(Limits::default());
        handshake(&mut bench, port);
        let mut seq = C + 1;
        for said in ["??", "??", "??", "LN one\n"] {
            bench.frame(&tcp_frame(true, port, seq, Some(S + 1), "", said.as_bytes()));
            seq += said.len() as u32;
        }
        bench.finish();
        assert_eq!(bench.seen().iter().filter(|s| *s == "c:LN one").count(), found, "port {port}");
    }
}

#[test]
fn a_connection_that_turns_to_tls_is_found() {
    let mut bench = Bench::new(Limits::default());
    bench.engine = Engine::new(options(Limits::default()));
    handshake(&mut bench, 3333);
    let mut seqs = [C + 1, S + 1];
    let hello =
        [&b"\x16\x03\x01\x00\x2d\x01\x00\x00\x29\x03\x03"[..], &[7; 32], b"\0\0\x02\x13\x01\x01\0"].concat();
    let said: [(bool, &[u8]); 5] =
        [(false, b"?ready"), (true, b"?more"), (false, b"?turn"), (true, b"?yes"), (true, &hello)];
    for (client, bytes) in said {
        let [mine, other] = if client { [0, 1] } else { [1, 0] };
        bench.frame(&tcp_frame(client, 3333, seqs[mine], Some(seqs[other]), "", bytes));
        seqs[mine] += bytes.len() as u32;
    }
    bench.finish();
    assert_eq!(bench.of(Kind::Flow)[0].text("protocol"), "tls");
}

#[test]
fn a_mirror_that_shows_everything_twice_gives_nothing_twice() {
    let mut once = Bench::new(Limits::default());
    let mut twice = Bench::new(Limits::default());
    let frames = [
        tcp_frame(true, 9, C, None, "S", b""),
        tcp_frame(false, 9, S, Some(C + 1), "S", b""),
        tcp_frame(true, 9, C + 1, Some(S + 1), "", b"LN a\n"),
        tcp_frame(false, 9, S + 1, Some(C + 6), "", b"b\n"),
        tcp_frame(true, 9, C + 6, Some(S + 3), "F", b""),
        tcp_frame(false, 9, S + 3, Some(C + 7), "F", b""),
    ];
    for frame in &frames {
        once.frame(frame);
        twice.frame(frame);
        twice.frame(frame);
    }
    once.finish();
    twice.finish();
    assert_eq!(once.seen(), ["c:LN a", "s:b", "close"]);
    assert_eq!(twice.seen(), once.seen());
    assert_eq!(twice.of(Kind::Flow).len(), 1);
    assert_eq!(twice.of(Kind::Coverage).len(), 0);
    assert_eq!(twice.engine.stats().repeated, 2);
}

#[test]
fn copies_of_datagrams_are_told_from_repeated_questions_by_time() {
    let mut bench = Bench::new(Limits::default());
    let mut frame = Vec::new();
    PacketBuilder::ethernet2([2; 6], [4; 6])
        .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
        .udp(4000, 7777)
        .write(&mut frame, b"LN q\n")
        .unwrap_or_else(|e| panic!("{e}"));
    bench.frame(&frame);
    bench.frame(&frame);
    bench.time += 50_000;
    bench.frame(&frame);
    assert_eq!(bench.seen(), ["c:LN q", "c:LN q"]);
}

#[test]
fn lost_bytes_are_a_gap_for_the_dissector_a_coverage_row_and_a_count() {
    let mut bench = Bench::new(Limits::default());
    handshake(&mut bench, 9);
    bench.frame(&tcp_frame(true, 9, C + 1, Some(S + 1), "", b"LN a\nhalf"));
    bench.frame(&tcp_frame(true, 9, C + 30, Some(S + 1), "", b"tail\n"));
    assert_eq!(bench.seen(), ["c:LN a"]);
    bench.frame(&tcp_frame(false, 9, S + 1, Some(C + 35), "", b"answer\n"));
    // 20 bytes were lost; the 4 unread ones before them cannot be completed either.
    assert_eq!(bench.seen(), ["c:LN a", "c:gap 24", "c:tail", "s:answer"]);
    bench.finish();
    let coverage = bench.of(Kind::Coverage);
    assert_eq!(coverage.len(), 1);
    assert_eq!(coverage[0].text("event"), "gap");
    assert_eq!(coverage[0].number("count"), Some(20.0));
    assert_eq!(coverage[0].text("subject"), "tcp 10.0.0.1:4000 > 10.0.0.2:9");
    assert_eq!(bench.of(Kind::Flow)[0].number("missing_bytes"), Some(20.0));
}

#[test]
fn a_connection_found_under_way_has_its_server_at_the_known_or_lower_port() {
    for (port, client) in [(7777, "10.0.0.1"), (502, "10.0.0.1"), (50_000, "10.0.0.2")] {
        let mut bench = Bench::new(Limits::default());
        // The middle of a message comes first.
        bench.frame(&tcp_frame(false, port, S, Some(C), "", b"ddle\n"));
        bench.frame(&tcp_frame(true, port, C, Some(S + 5), "", b"LN now\n"));
        bench.finish();
        let side = if client == "10.0.0.1" { "c" } else { "s" };
        assert_eq!(bench.seen(), [format!("{side}:LN now"), "close".to_string()]);
        assert_eq!(bench.of(Kind::Flow)[0].text("client"), client, "port {port}");
        assert_eq!(bench.of(Kind::Flow)[0].text("state"), "end");
    }
}

#[test]
fn ports_used_again_are_another_flow_and_a_repeated_syn_is_not() {
    let mut bench = Bench::new(Limits::default());
    handshake(&mut bench, 9);
    bench.frame(&tcp_frame(true, 9, C, None, "S", b""));
    bench.frame(&tcp_frame(true, 9, C + 1, Some(S + 1), "", b"LN a\n"));
    assert_eq!(bench.engine.stats().flows, 1);
    bench.frame(&tcp_frame(true, 9, 777, None, "S", b""));
    bench.frame(&tcp_frame(false, 9, 888, Some(778), "S", b""));
    bench.frame(&tcp_frame(true, 9, 778, Some(889), "", b"LN b\n"));
    bench.frame(&tcp_frame(false, 9, 889, Some(783), "R", b""));
    bench.finish();
    assert_eq!(bench.seen(), ["c:LN a", "close", "c:LN b", "close"]);
    let states: Vec<&str> = bench.of(Kind::Flow).iter().map(|r| r.text("state")).collect();
    assert_eq!(states, ["closed", "reset"]);
    let ids: Vec<_> = bench.of(Kind::Flow).iter().map(|r| r.columns["flow"].clone()).collect();
    assert_ne!(ids[0], ids[1]);
}

/// A client's message of `length` bytes, in segments of a thousand; the sequence number after it.
fn long_message(bench: &mut Bench, seq: u32, length: u32) -> u32 {
    for at in (0..length).step_by(1000) {
        bench.frame(&tcp_frame(true, 9, seq + at, Some(S + 1), "", &[b'x'; 1000]));
    }
    seq + length
}

#[test]
fn a_message_of_many_segments_is_read_whole_and_its_memory_given_back() {
    let mut bench = Bench::new(Limits { unread_bytes_max: 150_100, ..Limits::default() });
    handshake(&mut bench, 9);
    let mut next = C + 6;
    bench.frame(&tcp_frame(true, 9, C + 1, Some(S + 1), "", b"LN a\n"));
    for _ in 0..3 {
        next = long_message(&mut bench, next, 150_000);
        bench.frame(&tcp_frame(true, 9, next, Some(S + 1), "", b"\n"));
        next += 1;
    }
    let lengths: Vec<usize> = bench.seen().iter().map(|s| s.len()).collect();
    assert_eq!(lengths, [6, 150_002, 150_002, 150_002]);
    assert_eq!(bench.of(Kind::Coverage).len(), 0);
}

#[test]
fn memory_for_unfinished_messages_is_bounded_and_its_loss_is_said() {
    let mut bench = Bench::new(Limits { unread_bytes_max: 50_000, ..Limits::default() });
    handshake(&mut bench, 9);
    bench.frame(&tcp_frame(true, 9, C + 1, Some(S + 1), "", b"LN a\n"));
    let next = long_message(&mut bench, C + 6, 60_000);
    bench.frame(&tcp_frame(true, 9, next, Some(S + 1), "", b"\nb\n"));
    assert_eq!(bench.seen()[..2], ["c:LN a", "c:gap 51000"]);
    assert_eq!(bench.seen().last().map(String::as_str), Some("c:b"));
    bench.finish();
    let coverage = bench.of(Kind::Coverage);
    assert_eq!(coverage.len(), 1);
    assert_eq!(["event", "subject"].map(|c| coverage[0].text(c)), ["drop", "unread_bytes_max"]);
    assert_eq!(coverage[0].number("count"), Some(51_000.0));
    assert_eq!(bench.engine.stats().dropped_bytes, 51_000);
}

#[test]
fn a_broken_stream_and_an_endless_message_are_said_once_and_not_read_on() {
    for endless in [false, true] {
        let mut bench = Bench::new(Limits::default());
        handshake(&mut bench, 9);
        bench.frame(&tcp_frame(true, 9, C + 1, Some(S + 1), "", b"LN a\n"));
        let next = if endless {
            long_message(&mut bench, C + 6, 210_000)
        } else {
            bench.frame(&tcp_frame(true, 9, C + 6, Some(S + 1), "", b"!\nmore\n"));
            C + 13
        };
        bench.frame(&tcp_frame(true, 9, next, Some(S + 1), "", b"b\n"));
        bench.frame(&tcp_frame(false, 9, S + 1, Some(next + 2), "", b"other\n"));
        assert_eq!(bench.seen(), ["c:LN a", "s:other"]);
        let events: Vec<&str> = bench.of(Kind::Coverage).iter().map(|r| r.text("event")).collect();
        assert_eq!(events, ["malformed"]);
        assert_eq!(bench.engine.stats().malformed_streams, 1);
    }
}

#[test]
fn the_table_is_bounded_and_the_least_recently_active_flow_goes() {
    let mut bench = Bench::new(Limits { flows_max: 3, ..Limits::default() });
    for port in 1..=5 {
        bench.time += 1_000_000;
        bench.frame(&tcp_frame(true, port, C, None, "S", b""));
        assert!(bench.engine.stats().flows_open <= 3);
    }
    let gone: Vec<_> = bench.of(Kind::Flow).iter().map(|r| r.number("server_port")).collect();
    assert_eq!(gone, [Some(1.0), Some(2.0)]);
    assert!(bench.of(Kind::Flow).iter().all(|r| r.text("state") == "evicted"));
    assert_eq!(bench.engine.stats().flows_evicted, 2);
    assert_eq!(bench.of(Kind::Coverage).len(), 0);
    bench.finish();
    let coverage = bench.of(Kind::Coverage);
    assert_eq!(coverage.len(), 1);
    assert_eq!(["event", "subject"].map(|c| coverage[0].text(c)), ["drop", "flows_max"]);
    assert_eq!(coverage[0].number("count"), Some(2.0));
}

#[test]
fn time_outs_follow_the_packets_time() {
    let mut bench = Bench::new(Limits::default());
    handshake(&mut bench, 9);
    bench.frame(&tcp_frame(true, 9, C + 1, Some(S + 1), "", b"LN a\n"));
    bench.frame(&tcp_frame(true, 10, C, None, "S", b""));
    bench.time += 61_000_000;
    bench.frame(&tcp_frame(true, 11, C, None, "S", b""));
    let expired = bench.rows.iter().filter(|r| r.text("event") == "expire").count();
    assert_eq!(expired, 1);
    let ended: Vec<_> = bench.of(Kind::Flow).iter().map(|r| r.number("server_port")).collect();
    assert_eq!(ended, [Some(10.0)]);
    bench.time += 2 * 3600 * 1_000_000;
    bench.frame(&tcp_frame(true, 12, C, None, "S", b""));
    let states: Vec<&str> = bench.of(Kind::Flow).iter().map(|r| r.text("state")).collect();
    assert_eq!(states, ["timeout"; 3]);
    assert_eq!(bench.seen(), ["c:LN a", "close"]);
}

#[test]
fn a_connection_that_lasts_has_a_row_while_it_is_open() {
    let mut bench = Bench::new(Limits::default());
    handshake(&mut bench, 9);
    bench.frame(&tcp_frame(true, 9, C + 1, Some(S + 1), "", b"LN a\n"));
    assert_eq!(bench.of(Kind::Flow).len(), 0);
    for _ in 0..3 {
        bench.time += 9_999_000;
        bench.frame(&tcp_frame(true, 9, C + 6, Some(S + 1), "", b""));
    }
    bench.frame(&tcp_frame(true, 9, C + 6, Some(S + 1), "R", b""));
    bench.finish();
    let rows = bench.of(Kind::Flow);
    let facts: Vec<_> = rows.iter().map(|r| (r.text("state"), r.text("protocol"))).collect();
    let protocol = facts[0].1;
    assert_eq!(facts, [("open", protocol), ("reset", protocol)]);
    assert_ne!(protocol, "");
    assert_eq!(rows[0].number("flow"), rows[1].number("flow"));
}

#[test]
fn a_hole_that_nobody_acknowledges_is_a_gap_after_a_while() {
    let mut bench = Bench::new(Limits::default());
    handshake(&mut bench, 9);
    bench.frame(&tcp_frame(true, 9, C + 1, Some(S + 1), "", b"LN a\n"));
    bench.frame(&tcp_frame(true, 9, C + 16, Some(S + 1), "", b"b\n"));
    bench.time += 11_000_000;
    bench.frame(&tcp_frame(true, 10, C, None, "S", b""));
    assert_eq!(bench.seen(), ["c:LN a", "c:gap 10", "c:b"]);
}

#[test]
fn a_snap_length_makes_gaps_and_nothing_malformed() {
    let mut bench = Bench::new(Limits::default());
    handshake(&mut bench, 9);
    bench.cut_frame(&tcp_frame(true, 9, C + 1, Some(S + 1), "", b"LN a\nsecond line\n"), 54 + 8);
    bench.frame(&tcp_frame(true, 9, C + 18, Some(S + 1), "", b"third\n"));
    bench.cut_frame(&tcp_frame(true, 9, C + 24, Some(S + 1), "", b"x"), 40);
    bench.cut_frame(&tcp_frame(true, 9, C + 24, Some(S + 1), "", b"x"), 10);
    assert_eq!(bench.seen(), ["c:LN a", "c:gap 12", "c:third"]);
    let stats = bench.engine.stats();
    assert_eq!((stats.malformed, stats.cut, stats.gap_bytes), (0, 2, 9));
}

/// A datagram of a conversation on port 7777 with a tag.
fn tagged(vlan: u16, client: bool, text: &str) -> Vec<u8> {
    let vlan_id = VlanId::try_new(vlan).unwrap_or(VlanId::ZERO);
    let tag = SingleVlanHeader { vlan_id, ..SingleVlanHeader::default() };
    let (ends, ports) = if client { ([1, 2], [4000, 7777]) } else { ([2, 1], [7777, 4000]) };
    let mut frame = Vec::new();
    PacketBuilder::ethernet2([2; 6], [4; 6])
        .vlan(etherparse::VlanHeader::Single(tag))
        .ipv6([ends[0]; 16], [ends[1]; 16], 64)
        .udp(ports[0], ports[1])
        .write(&mut frame, text.as_bytes())
        .unwrap_or_else(|e| panic!("{e}"));
    frame
}

#[test]
fn the_same_addresses_on_two_vlans_are_two_flows_unless_told_otherwise() {
    for (vlan_separates, flows) in [(true, 2), (false, 1)] {
        let mut bench = Bench::new(Limits { vlan_separates, ..Limits::default() });
        for vlan in [5u16, 6] {
            bench.frame(&tagged(vlan, true, &format!("LN {vlan}\n")));
        }
        bench.finish();
        assert_eq!(bench.of(Kind::Flow).len(), flows);
        assert_eq!(bench.of(Kind::Flow)[0].number("vlan"), Some(5.0));
        assert_eq!(bench.of(Kind::Flow)[0].text("client"), "101:101:101:101:101:101:101:101");
    }
}

#[test]
fn two_directions_on_two_vlans_are_one_flow_and_two_conversations_stay_two() {
    let mut bench = Bench::new(Limits::default());
    bench.frame(&tagged(5, true, "LN a\n"));
    bench.frame(&tagged(6, false, "LN b\n"));
    bench.frame(&tagged(5, true, "LN c\n"));
    bench.frame(&tagged(6, false, "LN d\n"));
    bench.finish();
    assert_eq!(bench.seen(), ["c:LN a", "s:LN b", "c:LN c", "s:LN d", "close"]);
    assert_eq!(bench.of(Kind::Flow).len(), 1);
    let mut bench = Bench::new(Limits::default());
    for (vlan, client) in [(5, true), (6, true), (6, false), (5, false), (6, true)] {
        bench.frame(&tagged(vlan, client, "LN\n"));
    }
    bench.finish();
    let flows = bench.of(Kind::Flow);
    let packets: Vec<_> =
        flows.iter().map(|f| (f.number("client_packets"), f.number("server_packets"))).collect();
    assert_eq!(packets, [(Some(1.0), Some(1.0)), (Some(2.0), Some(1.0))]);
}

#[test]
fn what_is_not_read_is_counted_and_malformed_packets_are_reported_together() {
    let mut bench = Bench::new(Limits::default());
    let mut arp = vec![2; 60];
    arp[12..14].copy_from_slice(&[0x08, 0x06]);
    bench.frame(&arp);
    arp[12..14].copy_from_slice(&[0x00, 0x26]);
    bench.frame(&arp);
    let good = tcp_frame(true, 9, C, None, "S", b"");
    let mut bad = good.clone();
    bad[14] = 0x41;
    bench.frame(&bad);
    bench.frame(&bad);
    let mut icmp = good;
    icmp[23] = 1;
    bench.frame(&icmp);
    bench.frame(&[1, 2, 3]);
    bench.finish();
    let stats = bench.engine.stats();
    assert_eq!((stats.malformed, stats.flows), (3, 0));
    assert_eq!((stats.not_ip[&0x0806], stats.not_transport[&1]), (1, 1));
    let rows: Vec<_> = bench
        .of(Kind::Coverage)
        .iter()
        .map(|r| (r.text("event"), r.number("count"), r.text("detail")))
        .collect();
    assert_eq!(
        rows,
        [
            ("malformed", Some(1.0), "the frame ends within its link header; the first is packet 6"),
            ("malformed", Some(2.0), "no such IP version or header length; the first is packet 3"),
        ]
    );
}

#[test]
fn fragmented_datagrams_are_joined() {
    let mut whole = Vec::new();
    PacketBuilder::ethernet2([2; 6], [4; 6])
        .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
        .udp(4000, 7777)
        .write(&mut whole, b"LN a fragmented line\n")
        .unwrap_or_else(|e| panic!("{e}"));
    let (header, payload) = whole.split_at(34);
    let mut bench = Bench::new(Limits::default());
    for (offset, end, more) in [(16, 29, 0), (0, 16, 0x20u8)] {
        let mut frame = [header, &payload[offset..end]].concat();
        frame[16..18].copy_from_slice(&((20 + end - offset) as u16).to_be_bytes());
        frame[20] = more;
        frame[21] = (offset / 8) as u8;
        bench.frame(&frame);
    }
    assert_eq!(bench.seen(), ["c:LN a fragmented line"]);
    assert_eq!(bench.engine.stats().fragments, 2);
}

#[test]
fn a_full_memory_for_early_segments_and_forged_repetitions_are_said() {
    let mut bench = Bench::new(Limits { held_segments_flow_max: 3, ..Limits::default() });
    handshake(&mut bench, 9);
    bench.frame(&tcp_frame(true, 9, C + 1, Some(S + 1), "", b"LN a\n"));
    bench.frame(&tcp_frame(true, 9, C + 1, Some(S + 1), "", b"LN X\n"));
    for n in 0..4 {
        bench.frame(&tcp_frame(true, 9, C + 100 + n * 10, Some(S + 1), "", b"b\n"));
    }
    bench.finish();
    assert_eq!(bench.seen()[..3], ["c:LN a", "c:gap 94", "c:b"]);
    let mut subjects: Vec<_> = bench
        .of(Kind::Coverage)
        .iter()
        .filter(|r| r.text("event") != "gap")
        .map(|r| (r.text("event").to_string(), r.text("subject").to_string(), r.number("count")))
        .collect();
    subjects.sort_by(|a, b| a.0.cmp(&b.0));
    let expected = [("drop", "held_bytes_max"), ("malformed", "overlaps")];
    assert_eq!(subjects, expected.map(|(e, s)| (e.to_string(), s.to_string(), Some(1.0))));
    assert_eq!(bench.engine.stats().overlaps, 1);
}

#[test]
fn fragments_that_never_become_whole_are_said() {
    let mut bench = Bench::new(Limits { fragments_max: 2, ..Limits::default() });
    for id in 0..5u8 {
        let mut frame = tcp_frame(true, 9, C, None, "", b"LN a\n");
        frame[19] = id;
        // More fragments follow, and the lengths that say so.
        frame[20] = 0x20;
        frame[16..18].copy_from_slice(&44u16.to_be_bytes());
        bench.frame(&frame);
    }
    bench.finish();
    let coverage: Vec<_> =
        bench.of(Kind::Coverage).iter().map(|r| (r.text("event").to_string(), r.number("count"))).collect();
    assert_eq!(coverage, [("drop".to_string(), Some(3.0)), ("gap".to_string(), Some(2.0))]);
    assert_eq!(bench.engine.stats().fragments_lost, 5);
}

#[test]
fn an_ethercat_frame_that_comes_back_is_the_other_ends() {
    let mut bench = Bench::new(Limits::default());
    bench.engine = yagura_capture::Engine::new(common::options(Limits::default()));
    // A broadcast read of the slaves' state, which five of them count and answer.
    for (first, counter, state) in [(0, 0, 0), (2, 5, 8)] {
        let mut frame = vec![0xff; 6];
        frame.extend([first, 1, 2, 3, 4, 5, 0x88, 0xa4, 14, 0x10]);
        frame.extend([7, 1, 0, 0, 0x30, 1, 2, 0, 0, 0, state, 0, counter, 0]);
        frame.resize(60, 0);
        bench.frame(&frame);
    }
    bench.finish();
    let flows = bench.of(Kind::Flow);
    assert_eq!(flows.len(), 1);
    assert_eq!(["protocol", "client"].map(|c| flows[0].text(c)), ["ethercat", "00:01:02:03:04:05"]);
    assert_eq!(["client_packets", "server_packets"].map(|c| flows[0].number(c)), [Some(1.0), Some(1.0)]);
    let message = bench.of(Kind::Message)[0];
    assert_eq!((message.text("exchange"), message.number("latency_us")), ("pair", Some(1000.0)));
}
