//! Tests of KNXnet/IP.

use super::*;
use crate::testing::{Run, Sample};
use yagura_event::schema::Kind as RowKind;

fn service(code: u16, body: &[u8]) -> Vec<u8> {
    let mut out = vec![6, 0x10];
    out.extend(code.to_be_bytes());
    out.extend((HEADER as u16 + body.len() as u16).to_be_bytes());
    out.extend(body);
    out
}

const HPAI: [u8; 8] = [8, 1, 10, 0, 0, 1, 0x0e, 0x57];

fn device() -> Vec<u8> {
    let mut out = vec![54, 1, 2, 1, 0x11, 0x05, 0, 0, 0, 0xc5, 1, 2, 3, 4];
    out.extend([224, 0, 23, 12, 0, 0x24, 0x6d, 1, 2, 3]);
    let mut name = b"IP Interface N148".to_vec();
    name.resize(30, 0);
    out.extend(name);
    out
}

fn write(sequence: u8, value: u8) -> Vec<u8> {
    // Group 1/2/3 from 1.1.5.
    let cemi = [0x11, 0, 0xbc, 0xe0, 0x11, 0x05, 0x0a, 0x03, 1, 0, 0x80 | value];
    service(0x0420, &[&[4, 21, sequence, 0][..], &cemi].concat())
}

pub fn sample() -> Sample {
    let connect = [&HPAI[..], &HPAI, &[4, 4, 2, 0]].concat();
    let accepted = [&[21, 0][..], &HPAI, &[4, 4, 0x11, 0x0a]].concat();
    Sample::udp(vec![
        (Side::Client, service(0x0203, &HPAI)),
        (Side::Server, service(0x0204, &[device(), vec![4, 2, 2, 1]].concat())),
        (Side::Client, service(0x0205, &connect)),
        (Side::Server, service(0x0206, &accepted)),
        (Side::Client, write(0, 1)),
        (Side::Server, service(0x0421, &[4, 21, 0, 0])),
        (Side::Client, service(0x0209, &[&[21, 0][..], &HPAI].concat())),
        (Side::Server, service(0x020a, &[21, 0])),
    ])
}

#[test]
fn a_tunnel_with_its_telegrams() {
    let mut run = Run::over(&PROTOCOL, Transport::Udp);
    for (side, bytes) in sample().said {
        run.send(side, &bytes);
    }
    run.close();
    assert_eq!(
        run.table(&["operation", "function", "target", "session", "status", "exchange"]),
        [
            "discover|description_request|1.1.5||ok|pair",
            "session.open|connect_request|tunnel|21|ok|pair",
            "write|group_value_write|1/2/3|21|ok|pair",
            "session.close|disconnect_request||21|ok|pair",
        ]
    );
    let identities = run.of(RowKind::Identity);
    assert_eq!(identities[0].text("name"), "IP Interface N148");
    assert_eq!(identities[0].text("serial"), "00c501020304");
    let samples = run.of(RowKind::Sample);
    assert_eq!((samples[0].text("signal"), samples[0].number("value")), ("1/2/3", Some(1.0)));
}

#[test]
fn refusals_and_programming() {
    let mut run = Run::over(&PROTOCOL, Transport::Udp);
    run.send(Side::Client, &service(0x0205, &[&HPAI[..], &HPAI, &[4, 4, 2, 0]].concat()));
    run.send(Side::Server, &service(0x0206, &[0, 0x24]));
    let memory = [0x11, 0, 0xb0, 0x60, 0, 0, 0x11, 0x07, 4, 0x02, 0x81, 1, 0, 7];
    run.send(Side::Client, &service(0x0420, &[&[4, 1, 9, 0][..], &memory].concat()));
    run.send(Side::Server, &service(0x0421, &[4, 1, 9, 0x21]));
    let indication = [0x29, 0, 0xbc, 0xe0, 0x11, 0x05, 0x0a, 0x03, 3, 0, 0x80, 0x0c, 0x33];
    run.send(Side::Server, &service(0x0530, &indication));
    run.send(Side::Client, &service(0x0950, &[0, 5, 1, 2, 3]));
    run.send(Side::Client, &service(0x0950, &[0, 5, 1, 2, 3]));
    run.close();
    assert_eq!(
        run.table(&["operation", "function", "target", "values", "status", "status_code"]),
        [
            "session.open|connect_request|tunnel||denied|E_NO_MORE_CONNECTIONS",
            "program.write|memory_write|1.1.7||denied|E_CONNECTION_ID",
            "report|group_value_write|1/2/3|[\"0x0c33\"]|one_way|",
            "other|secure_wrapper|||one_way|",
            "other|secure_wrapper|||one_way|",
        ]
    );
    assert_eq!(run.messages()[1].number("body_bytes"), Some(1.0));
    assert_eq!(run.of(RowKind::Coverage).len(), 1);
}
