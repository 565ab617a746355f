use super::*;
use crate::testing::{OTHERS, Run, Sample};
use crate::tpkt::tests::{dt, tpdu};
use yagura_event::schema::Kind;

fn opening(code: u8, variable: &[u8]) -> Vec<u8> {
    let mut header = vec![6 + variable.len() as u8, code, 0, 0, 0, 1, 0];
    header.extend_from_slice(variable);
    tpdu(&header, &[])
}

fn negotiation(kind: u8, value: u8) -> Vec<u8> {
    vec![kind, 0, 8, 0, value, 0, 0, 0]
}

fn request(protocols: u8) -> Vec<u8> {
    opening(0xe0, &[&b"Cookie: mstshash=operator\r\n"[..], &negotiation(1, protocols)].concat())
}

fn wide(text: &str, length: usize) -> Vec<u8> {
    let mut out: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    out.resize(length, 0);
    out
}

fn block(kind: u16, body: &[u8]) -> Vec<u8> {
    [&kind.to_le_bytes()[..], &(body.len() as u16 + 4).to_le_bytes(), body].concat()
}

/// A conference's opening with settings behind their key.
fn conference(tag: u8, key: &[u8; 4], settings: &[u8]) -> Vec<u8> {
    let mut out = vec![0x7f, tag, 0x82, 1, 0x90];
    if tag == 0x66 {
        out.extend([0x0a, 1, 0, 2, 1, 0]);
    }
    out.extend([0x04, 0x82, 1, 0, 0, 5, 0, 0x14, 0x7c, 0, 1, 0, 8, 0, 0x10, 0, 1, 0xc0, 0]);
    out.extend_from_slice(key);
    out.extend([0x80 | (settings.len() >> 8) as u8, settings.len() as u8]);
    out.extend_from_slice(settings);
    dt(&out)
}

fn initial() -> Vec<u8> {
    let mut core = vec![4, 0, 8, 0, 0x80, 7, 0x38, 4, 1, 0xca, 3, 0xaa, 9, 4, 0, 0, 0x80, 0x25, 0, 0];
    core.extend(wide("HMI-7", 32));
    core.extend([0; 76]);
    core.extend([1, 0xca, 1, 0, 0, 0, 0, 0, 16, 0, 7, 0, 1, 0]);
    core.extend(wide("3c571ed0", 64));
    core.extend([0; 6]);
    let net = [&[2, 0, 0, 0][..], b"rdpdr\0\0\0", &[0; 4], b"cliprdr\0", &[0; 4]].concat();
    let settings = [block(0xc001, &core), block(0xc002, &[3, 0, 0, 0, 0, 0, 0, 0]), block(0xc003, &net)];
    conference(0x65, b"Duca", &settings.concat())
}

fn response(method: u8) -> Vec<u8> {
    let security = [&[method, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0][..], &[2, 0, 0, 0x80, 2, 0, 0, 0]];
    let settings = [block(0x0c01, &[4, 0, 8, 0]), block(0x0c02, &security.concat())];
    conference(0x66, b"McDn", &settings.concat())
}

fn info(user: &str) -> Vec<u8> {
    let mut out = vec![0x64, 0, 1, 3, 0xeb, 0x70, 0x80, 0x80, 0x40, 0, 0, 0];
    out.extend([0; 8]);
    out.extend([8, 0, user.len() as u8 * 2, 0, 6, 0, 0, 0, 0, 0]);
    out.extend(wide("FAB1\0", 10));
    out.extend(wide(user, user.len() * 2 + 2));
    out.extend(wide("pw", 6));
    dt(&out)
}

pub(super) fn sample() -> Sample {
    use Side::{Client, Server};
    Sample::tcp(vec![
        (Client, request(0)),
        (Server, opening(0xd0, &negotiation(2, 0))),
        (Client, initial()),
        (Server, response(0)),
        (Client, info("alice")),
        (Server, vec![0, 6, 1, 2, 3, 4]),
        (Client, vec![0x44, 4, 1, 0x1c]),
        (Server, dt(&[0x21, 0x80])),
    ])
}

#[test]
fn a_connection_is_read_up_to_its_desktop() {
    let mut run = Run::new(&PROTOCOL);
    for (side, bytes) in sample().said {
        run.send(side, &bytes);
    }
    assert_eq!(
        run.table(&["operation", "function", "target", "status", "status_code", "exchange"]),
        [
            "session.open|connection_request|operator|ok||pair",
            "session.open|mcs_connect|HMI-7|ok||pair",
            "authenticate|client_info|alice|one_way||request",
            "session.close|mcs_disconnect||one_way|user_requested|request",
        ]
    );
    let connected = run.messages()[1].text("detail");
    for said in [
        "\"client_build\":9600",
        "\"desktop_width\":1920",
        "\"color_depth\":16",
        "\"client_dig_product_id\":\"3c571ed0\"",
        "\"channels\":\"rdpdr,cliprdr\"",
        "\"encryption_method\":\"none\"",
        "\"certificate\":\"x509\"",
    ] {
        assert!(connected.contains(said), "{said} in {connected}");
    }
    assert!(!run.rows.iter().any(|row| format!("{row:?}").contains("pw")));
    assert_eq!(run.of(Kind::Identity)[0].text("name"), "HMI-7");
    assert!(run.of(Kind::Coverage).is_empty());
}

#[test]
fn what_is_encrypted_is_opaque() {
    let mut run = Run::new(&PROTOCOL);
    run.send(Side::Client, &request(0));
    run.send(Side::Server, &opening(0xd0, &[]));
    run.send(Side::Client, &initial());
    run.send(Side::Server, &response(2));
    run.send(Side::Client, &info("alice"));
    run.close();
    assert_eq!(run.messages().len(), 2);
    assert_eq!(run.of(Kind::Coverage)[0].text("event"), "opaque");
}

#[test]
fn refusals_and_tls() {
    let mut run = Run::new(&PROTOCOL);
    run.send(Side::Client, &request(3));
    run.send(Side::Server, &opening(0xd0, &negotiation(3, 2)));
    assert_eq!(run.table(&["status", "status_code"]), ["denied|ssl_not_allowed_by_server"]);
    let mut run = Run::new(&PROTOCOL);
    run.send(Side::Client, &request(3));
    run.send(Side::Server, &opening(0xd0, &negotiation(2, 2)));
    run.send(Side::Client, &[22, 3, 1, 0, 5, 1, 0, 0, 1, 0]);
    run.send(Side::Server, &[23, 3, 3, 0, 3, 1, 2, 3]);
    run.close();
    assert!(run.messages()[0].text("detail").contains("\"requested_protocols\":\"ssl,hybrid\""));
    assert!(!run.messages().iter().any(|m| m.text("protocol") == "rdp" && m.text("status") == "malformed"));
}

#[test]
fn it_is_told_by_its_opening() {
    let probed = |bytes: &[u8]| {
        (PROTOCOL.probe)(&Glimpse {
            transport: crate::Transport::Tcp,
            side: Side::Client,
            customary: false,
            bytes,
        })
    };
    assert_eq!(probed(&request(0)), Probe::Yes);
    assert_eq!(probed(&initial()), Probe::Yes);
    assert_eq!(probed(&opening(0xe0, &[])), Probe::More);
    for (name, bytes) in OTHERS {
        assert_ne!(probed(bytes), Probe::Yes, "{name}");
    }
}

#[test]
fn a_client_that_ends_a_cookie_it_leaves_out_is_read() {
    let said =
        [opening(0xe0, b"\r\n"), conference(0x65, b"Duca", &block(0xc001, &[4, 0, 8, 0, 0x20, 3, 0x58, 2]))];
    let glimpse = |bytes: &[u8]| {
        probe(&Glimpse { transport: crate::Transport::Tcp, side: Side::Client, customary: true, bytes })
    };
    assert_eq!(glimpse(&said[0]), Probe::More);
    assert_eq!(glimpse(&said.concat()), Probe::Yes);
    assert_eq!(glimpse(&opening(0xe0, b"\r\r")), Probe::No);
    let mut run = Run::new(&PROTOCOL);
    run.send(Side::Client, &said.concat());
    run.close();
    assert_eq!(run.table(&["function"]), ["connection_request", "mcs_connect"]);
}
