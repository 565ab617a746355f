use super::*;
use crate::Glimpse;
use crate::testing::{OTHERS, Run, Sample};

use Side::{Client, Server};

/// A conversation of each, in bytes.
pub(super) fn sample(name: &str, customary_only: bool) -> Sample {
    let long = |mut bytes: Vec<u8>, length| {
        bytes.resize(length, 0);
        bytes
    };
    let said: Vec<(Side, Vec<u8>)> = match name {
        "coap" => vec![
            (Client, b"\x41\x01\x05\xca\x72\xb4temp\xff".to_vec()),
            (Server, b"\x61\x45\x05\xca\x72\xff21".to_vec()),
        ],
        "dtls" => vec![
            (Client, b"\x16\xfe\xff\0\0\0\0\0\0\0\0\0\x02\x01\x00".to_vec()),
            (Server, b"\x16\xfe\xfd\0\0\0\0\0\0\0\0\0\x02\x02\x00".to_vec()),
            (Client, b"\x17\xfe\xfd\0\x01\0\0\0\0\0\0\0\x02\xaa\xbb".to_vec()),
        ],
        "quic" => vec![
            (Client, long(b"\xc3\0\0\0\x01\x08\x01\x02\x03\x04\x05\x06\x07\x08\0".to_vec(), 1200)),
            (Server, b"\x45\x01\x02\x03\x04\x05".to_vec()),
        ],
        "stun" => vec![
            (Client, long(b"\0\x01\0\0\x21\x12\xa4\x42".to_vec(), 20)),
            (Server, long(b"\x01\x01\0\0\x21\x12\xa4\x42".to_vec(), 20)),
        ],
        "gtp" => vec![
            (Client, b"\x32\x01\0\x04\0\0\0\0\0\x01\0\0".to_vec()),
            (Server, b"\x48\x20\0\x08\0\0\0\0\0\0\x01\0".to_vec()),
        ],
        "gprs_ns" => vec![(Client, vec![10]), (Server, vec![11])],
        "rip" => vec![
            (Client, long(vec![1, 1, 0, 0], 24)),
            (Server, long(vec![2, 2, 0, 0, 0, 2, 0, 0, 10, 0, 0, 0], 24)),
        ],
        "sflow" => vec![(Client, long(b"\0\0\0\x05\0\0\0\x01\x0a\0\0\x01".to_vec(), 28))],
        "sap" => vec![(Client, b"\x20\0\x12\x34\x0a\0\0\x01application/sdp\0v=0\r\ns=camera 1\r\n".to_vec())],
        "zep" => vec![(Client, b"EX\x02\x01\x0b\0\x01".to_vec()), (Server, b"EX\x02\x02\0\0\0\x01".to_vec())],
        "dropbox_discovery" => vec![(Client, b"{\"host_int\": 1, \"version\": [2, 0]}".to_vec())],
        "dhcpv6" => vec![
            (Client, b"\x01\x10\x20\x30\0\x01\0\x04\0\x01\0\x01".to_vec()),
            (Server, b"\x02\x10\x20\x30\0\x01\0\0".to_vec()),
        ],
        "igmp" => {
            vec![(Client, b"\x16\0\0\0\xe0\0\0\x05".to_vec()), (Client, b"\x17\0\0\0\xe0\0\0\x05".to_vec())]
        }
        "ospf" => vec![(Client, long(b"\x02\x01\0\x2c\x0a\0\0\x01".to_vec(), 44))],
        "vrrp" => vec![(Client, long(b"\x31\x07\x64\x01\0\x64\0\0\x0a\0\0\xfe".to_vec(), 12))],
        "pim" => vec![(Client, b"\x20\0\0\0\0\x01\0\x02\0\x69".to_vec())],
        "sctp" => vec![
            (Client, long(b"\x0b\x59\x0b\x59\0\0\0\0\0\0\0\0\x01\0\0\x14".to_vec(), 32)),
            (
                Server,
                b"\x0b\x59\x0b\x59\0\0\0\x01\0\0\0\0\0\x03\0\x12\0\0\0\x01\0\0\0\0\0\0\0\x03ab".to_vec(),
            ),
        ],
        "dtp" => vec![(Client, b"\x01\0\x01\0\x08fab\0\0\x02\0\x05\x04".to_vec())],
        "loop" => vec![(Client, b"\0\0\x01\0\0\0\0\0".to_vec())],
        "eapol" => vec![
            (Client, b"\x01\x01\0\0".to_vec()),
            (Server, b"\x01\0\0\x05\x01\x01\0\x05\x01".to_vec()),
            (Client, b"\x01\0\0\x0a\x02\x01\0\x0a\x01robot".to_vec()),
            (Server, b"\x01\0\0\x04\x03\x02\0\x04".to_vec()),
        ],
        "slow" => vec![(Client, long(b"\x01\x01\x01\x14".to_vec(), 110))],
        "mvrp" => vec![(Client, b"\0\x01\x02\0\x01\0\x01\x10\0\0\0\0".to_vec())],
        "pppoe_discovery" => vec![
            (Client, b"\x11\x09\0\0\0\x04\x01\x01\0\0".to_vec()),
            (Server, b"\x11\x07\0\0\0\x04\x01\x01\0\0".to_vec()),
        ],
        "iso_network" => vec![(Client, long(b"\x03\x82\x0e\x01\0\x02".to_vec(), 20))],
        "socks" => vec![
            (Client, b"\x04\x01\0\x50\x0a\0\0\x09\0".to_vec()),
            (Server, b"\0\x5a\0\0\0\0\0\0".to_vec()),
            (Client, b"GET / HTTP/1.1\r\n".to_vec()),
        ],
        _ => vec![
            (Client, b"\x04\0\0\0\0\0\0\0\0\0\0\0".to_vec()),
            (Server, b"\x04\0\0\0\0\0\0\0\0\x01\0\0".to_vec()),
            (Server, b"\x08\0\0\0\0\0\0\0\x11\x01\0\0\0\0\0\0".to_vec()),
        ],
    };
    let entry = ALL.iter().find(|p| p.name == name);
    let transport = entry.map_or(crate::Transport::Udp, |p| p.carriers[0].transport);
    Sample { transport, said, customary_only }
}

/// The functions and targets of a protocol's conversation.
fn read(name: &str) -> Vec<String> {
    let protocol = ALL.iter().find(|p| p.name == name).expect("a protocol of that name");
    let sample = (protocol.sample)();
    let mut run = Run::over(protocol, sample.transport);
    for (side, bytes) in sample.said {
        run.send(side, &bytes);
    }
    run.close();
    let mut rows = run.table(&["function", "target"]);
    rows.sort();
    rows
}

#[test]
fn messages_are_named() {
    for (name, expected) in [
        ("coap", &["get|/temp", "success|2.05"][..]),
        ("dtls", &["client_hello|", "protected|", "server_hello|"]),
        ("quic", &["initial|1", "protected|"]),
        ("stun", &["binding|request", "binding|success"]),
        ("gtp", &["create_session_request|", "echo_request|"]),
        ("rip", &["request|version 1", "response|version 2"]),
        ("sflow", &["datagram|10.0.0.1"]),
        ("sap", &["announcement|camera 1"]),
        ("dhcpv6", &["advertise|", "solicit|"]),
        ("igmp", &["leave|224.0.0.5", "report_2|224.0.0.5"]),
        ("ospf", &["hello|10.0.0.1"]),
        ("vrrp", &["advertisement|7"]),
        ("sctp", &["data|m3ua", "init|2905"]),
        ("dtp", &["advertisement|fab"]),
        ("eapol", &["eap_identity_request|", "eap_identity|robot", "eap_success|", "start|"]),
        ("iso_network", &["es_is|"]),
        ("socks", &["connect|10.0.0.9:80", "reply|"]),
        ("skinny", &["call_state|", "keep_alive_ack|", "keep_alive|"]),
    ] {
        assert_eq!(read(name), expected, "{name}");
    }
}

#[test]
fn quic_of_its_inventor_with_tls_is_quic() {
    let said = |version: &[u8]| {
        let mut bytes = [b"\xc5", version, b"\x08\x55\x5f\x32\xd3\x5f\x29\xd8\x63\0\0"].concat();
        bytes.resize(1350, 0);
        internet::quic(Client, &bytes, true).is_some()
    };
    assert!(said(b"T050") && said(b"T051") && said(b"Q046"));
    assert!(!said(b"T900"));
}

#[test]
fn none_takes_anothers_bytes_for_its_own() {
    for protocol in ALL {
        for (name, bytes) in OTHERS {
            for carrier in protocol.carriers {
                let transport = carrier.transport;
                let glimpse = Glimpse { transport, side: Side::Client, customary: false, bytes };
                assert_ne!((protocol.probe)(&glimpse), Probe::Yes, "{name} for {}", protocol.name);
            }
        }
    }
}
