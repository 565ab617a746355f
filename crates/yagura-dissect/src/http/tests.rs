use serde_json::Value;
use yagura_event::schema::Kind;

use super::*;
use crate::testing::{Run, Sample};

fn frame(side: Side, text: &str) -> (Side, Vec<u8>) {
    (side, text.as_bytes().to_vec())
}

pub fn sample() -> Sample {
    Sample::tcp(vec![
        frame(
            Side::Client,
            "GET /portal/home.asp?x=1 HTTP/1.1\r\nHost: plc-7\r\nUser-Agent: Viewer/2.0\r\n\r\n",
        ),
        frame(
            Side::Server,
            "HTTP/1.1 200 OK\r\nServer: IndySoft/3\r\nContent-Type: text/html\r\nContent-Length: 5\r\n\r\nhello",
        ),
        frame(Side::Client, "POST /form HTTP/1.1\r\nHost: plc-7\r\nContent-Length: 3\r\n\r\na=1"),
        frame(
            Side::Server,
            "HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n4;x=y\r\nwiki\r\n0\r\nEtag: 1\r\n\r\n",
        ),
        frame(Side::Client, "HEAD / HTTP/1.0\r\n\r\n"),
        frame(Side::Server, "HTTP/1.0 200 OK\r\nContent-Length: 500\r\n\r\n"),
        frame(Side::Client, "GET /last HTTP/1.1\r\n\r\n"),
        frame(Side::Server, "HTTP/1.1 200 OK\r\n\r\nuntil the end"),
    ])
}

fn run(said: &[(Side, &str)]) -> Run {
    let mut run = Run::new(&PROTOCOL);
    for (side, text) in said {
        run.time += 1_000;
        run.send(*side, text.as_bytes());
    }
    run.close();
    run
}

fn detail(run: &Run, at: usize) -> Value {
    serde_json::from_str(run.messages()[at].text("detail")).unwrap()
}

const C: Side = Side::Client;
const S: Side = Side::Server;

#[test]
fn requests_and_responses_are_rows() {
    let mut run = Run::new(&PROTOCOL);
    for (side, bytes) in sample().said {
        run.time += 1_000;
        run.send(side, &bytes);
    }
    run.close();
    assert_eq!(
        run.table(&["function", "operation", "target", "status", "status_code", "exchange"]),
        [
            "get|read|/portal/home.asp?x=1|ok|200|pair",
            "post|write|/form|denied|404|pair",
            "head|read|/|ok|200|pair",
            "get|read|/last|ok|200|pair",
        ]
    );
    let first = detail(&run, 0);
    assert_eq!((&first["host"], &first["reason"]), (&"plc-7".into(), &"OK".into()));
    assert_eq!((&first["response_bytes"], &first["response_content_type"]), (&5.into(), &"text/html".into()));
    assert_eq!(
        (&detail(&run, 1)["request_bytes"], &detail(&run, 1)["response_bytes"]),
        (&3.into(), &4.into())
    );
    assert_eq!(detail(&run, 2)["response_bytes"], 0);
    assert_eq!(detail(&run, 3)["response_bytes"], 13);
    let software: Vec<_> = run.of(Kind::Identity).iter().map(|r| r.text("firmware").to_string()).collect();
    assert_eq!(software, ["Viewer/2.0", "IndySoft/3"]);
    assert_eq!(run.messages()[0].number("latency_us"), Some(1_000.0));
}

#[test]
fn requests_sent_ahead_are_answered_in_turn() {
    let ahead = "GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n\r\nGET /3 HTTP/1.1\r\n\r\n";
    let answers = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n";
    let run = run(&[(C, ahead), (S, answers)]);
    assert_eq!(run.table(&["target", "status_code", "status"]), ["/1|200|ok", "/2|304|ok", "/3||no_reply"]);
    assert_eq!(detail(&run, 0)["interim"], 100);
}

#[test]
fn users_are_told_and_passwords_are_not() {
    let run = run(&[
        (C, "GET /?password=geheim HTTP/1.1\r\nAuthorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n\r\n"),
        (S, "HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm=\"PLC 7\"\r\nContent-Length: 0\r\n\r\n"),
    ]);
    assert_eq!(run.table(&["operation", "target", "status"]), ["authenticate|/?password=*|denied"]);
    let detail = detail(&run, 0);
    assert_eq!((&detail["user"], &detail["realm"]), (&"Aladdin".into(), &"PLC 7".into()));
    assert!(!format!("{:?}", run.rows).contains("sesame"));
}

#[test]
fn soap_requests_are_named_by_their_action() {
    let body = "<E><Body><e:GetUnitsRequest/></Body></E>";
    let run = run(&[
        (
            C,
            "POST /eda HTTP/1.1\r\nSOAPAction: \"urn:semi-org:ws.E134-1.V0305:DefinePlan\"\r\nContent-Length: 1\r\n\r\n<",
        ),
        (S, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        (
            C,
            &format!(
                "POST /eda HTTP/1.1\r\nSOAPAction: \"\"\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            ),
        ),
        (S, "HTTP/1.1 500 Error\r\nContent-Length: 0\r\n\r\n"),
    ]);
    assert_eq!(
        run.table(&["function", "operation", "status"]),
        ["DefinePlan|configure|ok", "GetUnits|read|denied"]
    );
}

#[test]
fn files_that_are_sent_are_programs_written() {
    let body =
        "--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"fw 2.bin\"\r\n\r\n12345\r\n--b--\r\n";
    let run = run(&[
        (
            C,
            &format!(
                "POST /up HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            ),
        ),
        (S, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ]);
    assert_eq!(run.table(&["operation"]), ["program.write"]);
    assert_eq!(detail(&run, 0)["file"], "fw 2.bin");
    assert_eq!(run.messages()[0].number("body_bytes"), Some(body.len() as f64));
}

#[test]
fn tunnels_and_upgrades_are_handed_over() {
    let run_of = run(&[
        (C, "CONNECT plc:443 HTTP/1.1\r\nHost: plc\r\n\r\n"),
        (S, "HTTP/1.1 200 Connection established\r\n\r\nrest"),
        (C, "hello"),
    ]);
    assert_eq!(
        run_of.table(&["function", "operation", "target", "status"]),
        ["connect|session.open|plc:443|ok"]
    );
    assert_eq!((&run_of.rest[0][..], &run_of.rest[1][..]), (&b"hello"[..], &b"rest"[..]));
    let upgrade = "HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n\r\n\x01\x02";
    let socket = run(&[
        (C, "GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n"),
        (S, upgrade),
        (C, "GET / HTTP/1.1\r\n\r\n"),
    ]);
    assert_eq!(socket.table(&["target", "status_code"]), ["/ws|101"]);
    assert_eq!(socket.of(Kind::Coverage)[0].text("event"), "opaque");
}

#[test]
fn bodies_survive_gaps_and_heads_are_found_again() {
    let mut run = Run::new(&PROTOCOL);
    run.send(C, b"GET /1 HTTP/1.1\r\n\r\n");
    run.send(S, b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789");
    run.lose(S, 80);
    run.send(S, b"0123456789");
    run.send(C, b"GET /2 HTTP/1.1\r\n\r\n");
    run.lose(S, 50);
    run.send(C, b"GET /3 HTTP/1.1\r\n\r\n");
    run.send(S, b"of a body\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    run.close();
    assert_eq!(run.table(&["target", "status"]), ["/1|ok", "/2|no_reply", "/3|ok"], "{:?}", run.rows);
    assert_eq!(
        (&detail(&run, 0)["response_bytes"], &detail(&run, 0)["missing_bytes"]),
        (&20.into(), &80.into())
    );
}

#[test]
fn responses_alone_are_rows_and_need_no_bodies() {
    let run = run(&[(
        S,
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nHTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n",
    )]);
    assert_eq!(
        run.table(&["function", "status", "status_code"]),
        ["response|unasked|200", "response|denied|503"]
    );
}

#[test]
fn the_oldest_version_is_answered_by_a_body() {
    let run = run(&[(C, "GET /status\r\n"), (S, "<html>fine</html>")]);
    assert_eq!(run.table(&["target", "status"]), ["/status|ok"]);
    assert_eq!(detail(&run, 0)["response_bytes"], 17);
}

#[test]
fn chunks_without_a_size_are_malformed() {
    let run = run(&[
        (C, "GET / HTTP/1.1\r\n\r\n"),
        (S, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
    ]);
    assert_eq!(run.table(&["status"]), ["malformed"]);
    assert_eq!(detail(&run, 0)["problem"], "chunk_size");
}

#[test]
fn a_line_without_end_is_survived() {
    let mut run = Run::new(&PROTOCOL);
    let mut long = b"GET /".to_vec();
    long.extend(vec![b'a'; 3 * LINE_MAX]);
    run.send(C, &long);
    run.send(C, b" HTTP/1.1\r\n\r\nGET /x HTTP/1.1\r\n\r\n");
    run.close();
    assert_eq!(run.table(&["target"]), ["/x"]);
}

#[test]
fn a_request_that_was_given_up_does_not_take_the_next_ones_response() {
    let mut run = Run::new(&PROTOCOL);
    run.send(C, b"GET /1 HTTP/1.1\r\n\r\n");
    run.pass(REPLY_TIMEOUT + SECOND);
    run.send(C, b"GET /2 HTTP/1.1\r\n\r\n");
    run.send(S, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    run.close();
    assert_eq!(run.table(&["target", "status"]), ["/1|no_reply", "/2|ok"]);
}
