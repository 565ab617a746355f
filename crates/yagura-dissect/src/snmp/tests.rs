use yagura_event::schema::Kind;

use super::*;
use crate::testing::{Run, Sample};

fn element(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    if body.len() < 128 {
        out.push(body.len() as u8);
    } else {
        out.push(0x82);
        out.extend((body.len() as u16).to_be_bytes());
    }
    out.extend_from_slice(body);
    out
}

fn integer(n: i32) -> Vec<u8> {
    element(2, &n.to_be_bytes())
}

/// 1.3.6.1.2.1.1.N.0
fn system(n: u8) -> Vec<u8> {
    element(6, &[0x2b, 6, 1, 2, 1, 1, n, 0])
}

fn variable(name: Vec<u8>, value: Vec<u8>) -> Vec<u8> {
    element(0x30, &[name, value].concat())
}

fn unit(tag: u8, request: i32, error: i32, index: i32, variables: &[Vec<u8>]) -> Vec<u8> {
    let list = element(0x30, &variables.concat());
    element(tag, &[integer(request), integer(error), integer(index), list].concat())
}

fn message(version: u8, community: &[u8], unit: Vec<u8>) -> Vec<u8> {
    element(0x30, &[vec![2, 1, version], element(4, community), unit].concat())
}

const ENGINE: [u8; 11] = [0x80, 0, 0, 9, 3, 0, 0x1b, 0x1b, 1, 2, 3];

fn secured(id: i32, flags: u8, engine: &[u8], user: &[u8], data: Vec<u8>) -> Vec<u8> {
    let header = element(0x30, &[integer(id), integer(65507), element(4, &[flags]), vec![2, 1, 3]].concat());
    let usm = [
        element(4, engine),
        integer(2),
        integer(77),
        element(4, user),
        element(4, &[1; 12]),
        element(4, &[2; 8]),
    ];
    let usm = element(4, &element(0x30, &usm.concat()));
    element(0x30, &[vec![2, 1, 3], header, usm, data].concat())
}

fn scoped(unit: Vec<u8>) -> Vec<u8> {
    element(0x30, &[element(4, &ENGINE), element(4, b""), unit].concat())
}

pub fn sample() -> Sample {
    let (client, server) = (Side::Client, Side::Server);
    let none = || vec![5, 0];
    let set = vec![variable(system(5), element(4, b"tool7"))];
    Sample::udp(vec![
        (client, message(1, b"public", unit(0xa0, -77, 0, 0, &[variable(system(1), none())]))),
        (
            server,
            message(
                1,
                b"public",
                unit(0xa2, -77, 0, 0, &[variable(system(1), element(4, b"Switch, Version 1.2"))]),
            ),
        ),
        (client, message(0, b"s3cret", unit(0xa3, 78, 0, 0, &set))),
        (server, message(0, b"s3cret", unit(0xa2, 78, 4, 1, &set))),
        (client, secured(9, 4, b"", b"", scoped(unit(0xa0, 5, 0, 0, &[])))),
        (
            server,
            secured(
                9,
                0,
                &ENGINE,
                b"",
                scoped(unit(
                    0xa8,
                    5,
                    0,
                    0,
                    &[variable(element(6, &[0x2b, 6, 1, 6, 3, 15, 1, 1, 4, 0]), element(0x41, &[0x12]))],
                )),
            ),
        ),
        (client, secured(10, 7, &ENGINE, b"ope", element(4, &[7; 40]))),
        (server, secured(10, 3, &ENGINE, b"ope", element(4, &[8; 50]))),
    ])
}

fn table(said: &[(Side, Vec<u8>)], columns: &[&str]) -> (Vec<String>, Run) {
    let mut run = Run::over(&PROTOCOL, Transport::Udp);
    for (side, bytes) in said {
        run.time += 500;
        run.send(*side, bytes);
    }
    run.close();
    (run.table(columns), run)
}

#[test]
fn a_conversation_reads_sets_discovers_and_goes_dark() {
    let (rows, run) = table(
        &sample().said,
        &["operation", "function", "target", "values", "status", "status_code", "exchange", "detail"],
    );
    assert_eq!(
        rows,
        [
            r#"read|get_request|1.3.6.1.2.1.1.1.0|["Switch, Version 1.2"]|ok||pair|{"version":"2c","default_community":"public","request":-77}"#,
            r#"write|set_request|1.3.6.1.2.1.1.5.0|["tool7"]|denied|readOnly|pair|{"version":"1","request":78,"error_index":1}"#,
            r#"discover|get_request|||ok|usmStatsUnknownEngineIDs|pair|{"version":"3","message":9,"level":"noAuthNoPriv","engine_boots":2,"request":5,"report":"1.3.6.1.6.3.15.1.1.4.0"}"#,
            r#"other|encrypted_pdu|||ok||pair|{"version":"3","message":10,"level":"authPriv","user":"ope","engine_boots":2,"answer_bytes":50}"#,
        ]
    );
    let coverage = run.of(Kind::Coverage);
    assert_eq!((coverage.len(), coverage[0].text("event")), (1, "opaque"));
    let said = run.of(Kind::Identity);
    assert_eq!((said[0].text("firmware"), said[0].text("address")), ("1.2", "10.0.0.2"));
    assert_eq!(said[1].text("vendor"), "Cisco");
    assert!(said[1].text("detail").contains(r#""mac":"00:1b:1b:01:02:03""#));
    assert!(run.rows.iter().all(|row| !format!("{row:?}").contains("s3cret")));
}

#[test]
fn the_session_is_the_engine_that_was_discovered() {
    let (rows, _) = table(&sample().said, &["session"]);
    assert_eq!(rows, ["", "", "8000000903001b1b010203", "8000000903001b1b010203"]);
}

#[test]
fn values_of_all_kinds() {
    let types: [(&[u8], &str); 13] = [
        (&[2, 1, 0xff], "-1"),
        (&[0x41, 4, 0xff, 0xff, 0xff, 0xff], "4294967295"),
        (&[0x42, 5, 0, 0xff, 0xff, 0xff, 0xff], "4294967295"),
        (&[0x43, 1, 9], "9"),
        (&[0x46, 9, 0, 255, 255, 255, 255, 255, 255, 255, 255], "18446744073709551615"),
        (&[0x40, 4, 10, 0, 0, 1], r#""10.0.0.1""#),
        (&[6, 1, 0x2b], r#""1.3""#),
        (&[4, 3, 0xff, 0, 1], r#""0xff0001""#),
        (&[4, 2, b'a', b'\n'], r#""a\n""#),
        (&[0x44, 7, 0x9f, 0x78, 4, 0x41, 0x40, 0, 0], "12"),
        (&[0x42, 0], "null"),
        (&[0x81, 0], "null"),
        (&[5, 0], "null"),
    ];
    for (value, expected) in types {
        let bytes = message(1, b"x", unit(0xa2, 1, 0, 0, &[variable(system(3), value.to_vec())]));
        let (rows, _) = table(&[(Side::Server, bytes)], &["function", "values", "status"]);
        assert_eq!(rows, [format!("response|[{expected}]|unasked")]);
    }
}

#[test]
fn a_bad_variable_ends_the_list_and_keeps_what_was_read() {
    let list = [variable(system(3), vec![2, 1, 5]), variable(system(4), vec![0xa5, 0])];
    let (rows, _) = table(
        &[(Side::Server, message(1, b"x", unit(0xa2, 1, 0, 0, &list)))],
        &["values", "status", "status_code"],
    );
    assert_eq!(rows, ["[5]|malformed|variable_value"]);
}

#[test]
fn notifications_are_about_the_end_that_sends_them() {
    let agent = element(0x40, &[10, 0, 0, 9]);
    let body = [
        element(6, &[0x2b, 6, 1, 4, 1, 9]),
        agent,
        integer(2),
        integer(0),
        element(0x43, &[1, 0]),
        element(0x30, &variable(system(3), vec![2, 1, 5])),
    ];
    let old = message(0, b"x", element(0xa4, &body.concat()));
    let down =
        variable(element(6, &[0x2b, 6, 1, 6, 3, 1, 1, 4, 1, 0]), element(6, &[0x2b, 6, 1, 6, 3, 1, 1, 5, 5]));
    let new = message(1, b"x", unit(0xa7, 4, 0, 0, std::slice::from_ref(&down)));
    let inform = message(1, b"x", unit(0xa6, 5, 0, 0, std::slice::from_ref(&down)));
    let response = message(1, b"x", unit(0xa2, 5, 0, 0, &[down]));
    let client = Side::Client;
    let (rows, _) = table(
        &[(client, old), (client, new), (client, inform), (Side::Server, response)],
        &["operation", "function", "target", "tool", "status", "exchange"],
    );
    assert_eq!(
        rows,
        [
            "report|trap|1.3.6.1.6.3.1.1.5.3|10.0.0.1|one_way|request",
            "report|trap|1.3.6.1.6.3.1.1.5.5|10.0.0.1|one_way|request",
            "report|inform_request|1.3.6.1.6.3.1.1.5.5|10.0.0.1|ok|pair",
        ]
    );
}

#[test]
fn credentials_that_are_refused_are_a_denied_authentication() {
    let wrong = variable(element(6, &[0x2b, 6, 1, 6, 3, 15, 1, 1, 5, 0]), element(0x41, &[1]));
    let (rows, _) = table(
        &[
            (Side::Client, secured(3, 5, &ENGINE, b"ope", scoped(unit(0xa1, 7, 0, 0, &[])))),
            (Side::Server, secured(3, 0, &ENGINE, b"ope", scoped(unit(0xa8, 7, 0, 0, &[wrong])))),
        ],
        &["operation", "function", "status", "status_code"],
    );
    assert_eq!(rows, ["authenticate|get_next_request|denied|usmStatsWrongDigests"]);
}

#[test]
fn a_stream_is_read_too() {
    let mut run = Run::over(&PROTOCOL, Transport::Tcp);
    for (side, bytes) in sample().said {
        for byte in bytes {
            run.send(side, &[byte]);
        }
    }
    run.close();
    assert_eq!(run.messages().len(), 4);
}

#[test]
fn names_of_several_variables_are_listed_once() {
    let asked = [variable(system(1), vec![5, 0]), variable(system(3), vec![5, 0])];
    let told = [variable(system(1), element(4, b"a")), variable(system(3), vec![0x43, 1, 7])];
    let (rows, run) = table(
        &[
            (Side::Client, message(1, b"x", unit(0xa0, 1, 0, 0, &asked))),
            (Side::Server, message(1, b"x", unit(0xa2, 1, 0, 0, &told))),
        ],
        &["values", "detail"],
    );
    assert_eq!(
        rows,
        [r#"["a",7]|{"version":"2c","request":1,"asked":["1.3.6.1.2.1.1.1.0","1.3.6.1.2.1.1.3.0"]}"#]
    );
    assert_eq!(run.messages()[0].number("count"), Some(2.0));
}

#[test]
fn a_notification_says_who_sends_it() {
    let name = variable(system(5), element(4, b"ups3"));
    let trap = secured(8, 1, &ENGINE, b"ope", scoped(unit(0xa7, 4, 0, 0, &[name])));
    let (_, run) = table(&[(Side::Client, trap)], &[]);
    let said = run.of(Kind::Identity);
    assert_eq!(
        (said[0].text("name"), said[0].text("vendor"), said[0].text("address")),
        ("ups3", "Cisco", "10.0.0.1")
    );
}
