use yagura_event::schema::Kind;

use super::{PROTOCOL, header};
use crate::Side;
use crate::Side::{Client, Server};
use crate::framing::Frame;
use crate::testing::{Run, Sample};

fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()
}

fn null() -> Vec<u8> {
    vec![0xff; 4]
}

fn chunk(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
    [&kind[..], &(8 + body.len() as u32).to_le_bytes(), body].concat()
}

/// A chunk of a channel: channel 5, token 1, sequence number and request id the same.
fn message(kind: &[u8; 4], request: u32, body: &[u8]) -> Vec<u8> {
    let ids = [5, 1, request, request].map(u32::to_le_bytes).concat();
    chunk(kind, &[ids, body.to_vec()].concat())
}

fn open(policy: &str, certificate: &[u8], request: u32, body: &[u8]) -> Vec<u8> {
    let policy = string(&format!("http://opcfoundation.org/UA/SecurityPolicy#{policy}"));
    let certificate = [&(certificate.len() as u32).to_le_bytes()[..], certificate].concat();
    let ids = [request, request].map(u32::to_le_bytes).concat();
    chunk(b"OPNF", &[vec![5, 0, 0, 0], policy, certificate, null(), ids, body.to_vec()].concat())
}

/// A request: type, header with a secret token, parameters.
fn request(kind: u16, parameters: &[Vec<u8>]) -> Vec<u8> {
    let kind = kind.to_le_bytes();
    let head = [vec![1, 0, kind[0], kind[1], 2, 0, 0, 0x39, 0x30, 0, 0], vec![0; 8], vec![9, 0, 0, 0]];
    [head.concat(), vec![0; 4], null(), vec![0; 4], vec![0, 0, 0], parameters.concat()].concat()
}

fn response(kind: u16, result: u32, parameters: &[Vec<u8>]) -> Vec<u8> {
    let kind = kind.to_le_bytes();
    let head = [vec![1, 0, kind[0], kind[1]], vec![0; 8], vec![9, 0, 0, 0]].concat();
    [head, result.to_le_bytes().to_vec(), vec![0], null(), vec![0, 0, 0], parameters.concat()].concat()
}

fn count(n: u32) -> Vec<u8> {
    n.to_le_bytes().to_vec()
}

/// `ns=2;s=Tool.Pressure`.
fn pressure() -> Vec<u8> {
    [vec![3, 2, 0], string("Tool.Pressure")].concat()
}

fn value_attribute() -> Vec<u8> {
    [count(13), null()].concat()
}

/// A DataValue that is a double of a status.
fn double(value: f64, status: u32) -> Vec<u8> {
    [&[3, 11][..], &value.to_le_bytes(), &status.to_le_bytes()].concat()
}

fn read_request(id: u32) -> (Side, Vec<u8>) {
    let parameters = [vec![0; 12], count(1), pressure(), value_attribute(), vec![0, 0], null()];
    (Client, message(b"MSGF", id, &request(631, &parameters)))
}

fn read_response(id: u32, value: f64) -> (Side, Vec<u8>) {
    (Server, message(b"MSGF", id, &response(634, 0, &[count(1), double(value, 0), count(0)])))
}

fn write_request(id: u32) -> (Side, Vec<u8>) {
    let parameters = [count(1), pressure(), value_attribute(), double(7.5, 0)];
    (Client, message(b"MSGF", id, &request(673, &parameters)))
}

pub(super) fn sample() -> Sample {
    let hello = [count(0), count(65535), count(65535), count(0), count(0), string("opc.tcp://tool:4840")];
    let opens = request(446, &[count(0), count(0), count(1), null(), count(60_000)]);
    let opened = response(449, 0, &[count(0), count(5), count(1), vec![0; 8], count(60_000), null()]);
    Sample::tcp(vec![
        (Client, chunk(b"HELF", &hello.concat())),
        (Server, chunk(b"ACKF", &[count(0), count(65535), count(65535), count(0), count(0)].concat())),
        (Client, open("None", b"", 1, &opens)),
        (Server, open("None", b"", 1, &opened)),
        read_request(2),
        read_response(2, 1.5),
        write_request(3),
        (Server, message(b"MSGF", 3, &response(676, 0, &[count(1), count(0x803b_0000), count(0)]))),
        (Client, message(b"CLOF", 4, &request(452, &[]))),
    ])
}

fn play(said: &[(Side, Vec<u8>)]) -> Run {
    let mut run = Run::new(&PROTOCOL);
    for (side, bytes) in said {
        run.time += 1_000;
        run.send(*side, bytes);
    }
    run
}

#[test]
fn a_session_is_read_from_hello_to_close() {
    let run = play(&sample().said);
    assert_eq!(
        run.table(&["operation", "function", "target", "values", "status", "status_code", "session"]),
        [
            "session.open|hello|opc.tcp://tool:4840||ok||",
            "session.open|open_secure_channel|||ok||5",
            "read|read|ns=2;s=Tool.Pressure|[1.5]|ok||5",
            "write|write|ns=2;s=Tool.Pressure|[7.5]|denied|BadNotWritable|5",
            "session.close|close_secure_channel|||one_way||5",
        ]
    );
    let samples = run.of(Kind::Sample);
    assert_eq!(samples.len(), 1);
    assert_eq!(samples[0].text("signal"), "ns=2;s=Tool.Pressure");
    assert_eq!(samples[0].number("value"), Some(1.5));
    assert!(run.messages()[1].text("detail").contains("\"security_mode\":\"None\""));
    // The session's secret, i=12345, is in no row.
    assert!(!format!("{:?}", run.rows).contains("12345"));
}

#[test]
fn data_changes_are_samples_of_the_monitored_nodes() {
    let item = [pressure(), value_attribute(), vec![0, 0], null(), count(2), count(77), vec![0; 8]];
    let create = [count(4), count(2), count(1), item.concat(), vec![0, 0, 0], vec![0; 5]];
    let created = [count(1), count(0), vec![0; 16], vec![0, 0, 0], count(0)];
    let change = [count(1), count(77), double(2.25, 0x4000_0000), count(0)].concat();
    let notification = [vec![1, 0, 0x2b, 3, 1], count(change.len() as u32), change].concat();
    let published = |data: &[Vec<u8>]| {
        let parts = [count(4), count(0), vec![0], count(8), vec![0; 8], count(data.len() as u32)];
        response(829, 0, &[parts.concat(), data.concat(), count(0), count(0)])
    };
    let run = play(&[
        (Client, message(b"MSGF", 1, &request(751, &create))),
        (Server, message(b"MSGF", 1, &response(754, 0, &created))),
        (Client, message(b"MSGF", 2, &request(826, &[count(0)]))),
        (Client, message(b"MSGF", 3, &request(826, &[count(0)]))),
        (Server, message(b"MSGF", 2, &published(&[notification]))),
        (Server, message(b"MSGF", 3, &published(&[]))),
    ]);
    assert_eq!(
        run.table(&["operation", "function", "target", "values", "status"]),
        [
            "configure|create_monitored_items|ns=2;s=Tool.Pressure||ok",
            "report|publish|ns=2;s=Tool.Pressure|[2.25]|ok",
            "session.keep|publish|||ok",
        ]
    );
    let sample = run.of(Kind::Sample)[0];
    assert_eq!((sample.number("value"), sample.number("quality")), (Some(2.25), Some(1.0)));
}

#[test]
fn chunks_are_put_together_and_aborted_ones_say_why() {
    let (_, whole) = write_request(6);
    let body = &whole[24..];
    let mut said: Vec<_> = body.chunks(20).map(|part| (Client, message(b"MSGC", 6, part))).collect();
    if let Some((_, last)) = said.last_mut() {
        last[3] = b'F';
    }
    said.insert(2, read_response(1, 0.0));
    said.push((Server, message(b"MSGA", 6, &[count(0x8080_0000), string("too much")].concat())));
    let run = play(&said);
    assert_eq!(
        run.table(&["function", "target", "values", "status", "status_code"]),
        ["read||[0]|unasked|", "write|ns=2;s=Tool.Pressure|[7.5]|denied|BadTcpMessageTooLarge",]
    );
}

#[test]
fn after_a_gap_the_rest_of_a_message_is_passed_over() {
    let (_, whole) = write_request(6);
    let mut run = play(&[write_request(5)]);
    run.lose(Client, 100);
    run.send(Client, &message(b"MSGF", 6, &whole[60..]));
    run.send(Client, &write_request(7).1);
    run.close();
    assert_eq!(run.table(&["function", "status"]), ["write|no_reply", "write|no_reply"]);
    assert!(run.of(Kind::Coverage).iter().all(|r| r.text("event") != "opaque"));
}

#[test]
fn users_are_named_and_their_passwords_are_not() {
    let token = [string("p"), string("operator"), string("hunter2"), null()].concat();
    let parameters = [
        null(),
        null(),
        count(0),
        count(0),
        vec![1, 0, 0x44, 1, 1],
        count(token.len() as u32),
        token,
        null(),
        null(),
    ];
    let run = play(&[
        (Client, message(b"MSGF", 1, &request(467, &parameters))),
        (Server, message(b"MSGF", 1, &response(397, 0x801f_0000, &[]))),
    ]);
    assert_eq!(
        run.table(&["operation", "target", "status", "status_code"]),
        ["authenticate|operator|denied|BadUserAccessDenied"]
    );
    let rows = format!("{:?}", run.rows);
    assert!(run.messages()[0].text("detail").contains("\"password_encrypted\":false"));
    assert!(!rows.contains("hunter2") && !rows.contains("68756e74657232"));
}

#[test]
fn encrypted_channels_are_said_to_be_so_once() {
    let run = play(&[
        (Client, open("Basic256Sha256", b"\x30\x00", 1, &[0x5a; 64])),
        (Server, open("Basic256Sha256", b"\x30\x00", 1, &[0xa5; 64])),
        (Client, message(b"MSGF", 0xdead_beef, &[0x77; 80])),
        (Server, message(b"MSGF", 0xbeef_dead, &[0x99; 80])),
    ]);
    let rows = run.messages();
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].text("exchange"), rows[0].text("status")), ("pair", "ok"));
    assert!(rows[0].text("detail").contains("Basic256Sha256"));
    assert!(rows[0].text("detail").contains("server_certificate_sha256"));
    assert_eq!(run.of(Kind::Coverage).iter().filter(|r| r.text("event") == "opaque").count(), 1);
}

#[test]
fn signed_messages_are_read() {
    let (_, mut write) = write_request(2);
    write.extend([0x5a; 32]);
    let length = (write.len() as u32).to_le_bytes();
    write[4..8].copy_from_slice(&length);
    let mut run = play(&[(Client, open("Basic256Sha256", b"", 1, &[0x5a; 64])), (Client, write)]);
    run.close();
    assert_eq!(
        run.table(&["function", "values", "status"]),
        ["open_secure_channel||no_reply", "write|[7.5]|no_reply"]
    );
}

#[test]
fn methods_and_what_is_malformed() {
    let nest = |depth: usize| {
        let value = [vec![24_u8; depth], vec![1, 1]].concat();
        [count(1), vec![0, 85], vec![1, 1, 7, 0], count(1), value].concat()
    };
    let mut run = play(&[
        (Client, message(b"MSGF", 1, &request(712, &[nest(3)]))),
        (Server, message(b"MSGF", 1, &response(715, 0, &[count(1), count(0), count(0), count(0), count(0)]))),
        (Client, message(b"MSGF", 2, &request(712, &[nest(60)]))),
    ]);
    run.close();
    assert_eq!(
        run.table(&["operation", "function", "target", "status", "status_code"]),
        ["control|call|i=85/ns=1;i=7|ok|", "control|call||malformed|depth"]
    );
}

#[test]
fn headers_are_strict() {
    assert_eq!(header(b"HELF\x20\0\0\0"), Frame::Of(32));
    assert_eq!(header(b"MSG"), Frame::More);
    for bad in [&b"GET /"[..], b"HELC", b"MSGX", b"MSGF\x08\0\0\0", b"MSGF\xff\xff\xff\xff"] {
        assert!(matches!(header(bad), Frame::Bad(_)), "{bad:?}");
    }
}
