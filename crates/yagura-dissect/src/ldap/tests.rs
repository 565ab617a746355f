use yagura_event::schema::Kind;

use super::*;
use crate::ntlm::tests::{authenticate_message, challenge_message, negotiate_message};
use crate::testing::{Run, Sample};

fn element(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![tag, 0x82];
    out.extend((body.len() as u16).to_be_bytes());
    out.extend_from_slice(body);
    out
}

fn text(t: &str) -> Vec<u8> {
    [&[4, t.len() as u8], t.as_bytes()].concat()
}

fn message(id: u8, op: Vec<u8>) -> Vec<u8> {
    element(0x30, &[vec![2, 1, id], op].concat())
}

fn bind(name: &str, choice: Vec<u8>) -> Vec<u8> {
    element(op::BIND, &[vec![2, 1, 3], text(name), choice].concat())
}

fn sasl(mechanism: &str, token: &[u8]) -> Vec<u8> {
    element(0xa3, &[text(mechanism), element(4, token)].concat())
}

fn result(tag: u8, code: u8, diagnostic: &str, more: &[u8]) -> Vec<u8> {
    element(tag, &[vec![10, 1, code], text(""), text(diagnostic), more.to_vec()].concat())
}

fn search(base: &str, scope: u8, filter: &[u8], attributes: &[&str]) -> Vec<u8> {
    let list: Vec<u8> = attributes.iter().flat_map(|a| text(a)).collect();
    let limits = [2, 1, 100, 2, 1, 0, 1, 1, 0];
    let body =
        [text(base), vec![10, 1, scope, 10, 1, 0], limits.to_vec(), filter.to_vec(), element(0x30, &list)];
    element(op::SEARCH, &body.concat())
}

fn attribute(name: &str, values: &[&str]) -> Vec<u8> {
    let values: Vec<u8> = values.iter().flat_map(|v| text(v)).collect();
    element(0x30, &[text(name), element(0x31, &values)].concat())
}

fn entry(name: &str, attributes: &[Vec<u8>]) -> Vec<u8> {
    element(op::ENTRY, &[text(name), element(0x30, &attributes.concat())].concat())
}

fn equal(attribute: &str, value: &str) -> Vec<u8> {
    element(0xa3, &[text(attribute), text(value)].concat())
}

const PRESENT: &[u8] = b"\x87\x0bobjectclass";

pub fn sample() -> Sample {
    let (client, server) = (Side::Client, Side::Server);
    let name = "cn=ope,dc=fab";
    Sample::tcp(vec![
        (client, message(1, search("", 0, PRESENT, &["+"]))),
        (server, message(1, entry("", &[attribute("dnsHostName", &["dc1.fab.test"]), attribute("x", &[])]))),
        (server, message(1, result(op::SEARCH_RESULT, 0, "", &[]))),
        (client, message(2, bind(name, element(0x80, b"s3cret")))),
        (server, message(2, result(op::BIND_RESULT, 49, "data 52e", &[]))),
        (client, message(3, bind("", sasl("GSS-SPNEGO", &negotiate_message())))),
        (server, message(3, result(op::BIND_RESULT, 14, "", &element(0x87, &challenge_message())))),
        (client, message(4, bind("", sasl("GSS-SPNEGO", &authenticate_message(60))))),
        (server, message(4, result(op::BIND_RESULT, 0, "", &[]))),
        (client, message(5, search("dc=fab", 2, &equal("cn", "a*"), &["cn", "mail"]))),
        (server, message(5, entry("cn=a,dc=fab", &[]))),
        (server, message(5, entry("cn=b,dc=fab", &[]))),
        (server, message(5, element(op::REFERENCE, &text("ldap://other")))),
        (server, message(5, result(op::SEARCH_RESULT, 0, "", &[]))),
        (client, message(6, vec![op::UNBIND, 0])),
    ])
}

fn run(said: &[(Side, Vec<u8>)]) -> Run {
    let mut run = Run::new(&PROTOCOL);
    for (side, bytes) in said {
        run.time += 500;
        run.send(*side, bytes);
    }
    run.close();
    run
}

const COLUMNS: [&str; 7] = ["operation", "function", "target", "values", "status", "status_code", "detail"];

#[test]
fn binds_and_searches() {
    let run = run(&sample().said);
    assert_eq!(
        run.table(&COLUMNS),
        [
            r#"discover|search||[""]|ok||{"message":1,"scope":"base_object","dereference":"never","size_limit":100,"filter":"(objectclass=*)","attributes":["+"]}"#,
            r#"authenticate|bind|cn=ope,dc=fab||denied|invalidCredentials|{"message":2,"version":3,"authentication":"simple","diagnostic":"data 52e"}"#,
            r#"authenticate|bind|||ok|saslBindInProgress|{"message":3,"version":3,"authentication":"sasl","sasl":"GSS-SPNEGO","mechanism":"ntlm","ntlm":"negotiate","answer_token":{"mechanism":"ntlm","ntlm":"challenge","server_target":"FAB","server_domain":"FAB","server_host":"TOOL7","server_dns_host":"tool7.fab.test","server_version":"10.0.17763"}}"#,
            r#"authenticate|bind|FAB\ope||ok||{"message":4,"version":3,"authentication":"sasl","sasl":"GSS-SPNEGO","mechanism":"ntlm","ntlm":"authenticate","user":"ope","domain":"FAB","host":"HOST1","ntlm_version":"2"}"#,
            r#"read|search|dc=fab|["cn=a,dc=fab","cn=b,dc=fab"]|ok||{"message":5,"scope":"whole_subtree","dereference":"never","size_limit":100,"filter":"(cn=a\\2a)","attributes":["cn","mail"],"references":1}"#,
            r#"session.close|unbind|||one_way||{"message":6}"#,
        ]
    );
    let said = run.of(Kind::Identity);
    assert_eq!((said[0].text("name"), said[1].text("name")), ("dc1.fab.test", "TOOL7"));
    assert!(run.rows.iter().all(|row| !format!("{row:?}").contains("s3cret")));
}

#[test]
fn changes_are_named_and_secrets_are_not_shown() {
    let change = |kind: u8, attribute: Vec<u8>| element(0x30, &[vec![10, 1, kind], attribute].concat());
    let changes =
        [change(2, attribute("mail", &["a@b", "c@d"])), change(0, attribute("unicodePwd", &["s3cret"]))];
    let modify = element(op::MODIFY, &[text("cn=a"), element(0x30, &changes.concat())].concat());
    let add = entry("cn=b", &[attribute("userPassword", &["s3cret"])]);
    let add = [&[op::ADD], &add[1..]].concat();
    let rename =
        element(op::MODIFY_DN, &[text("cn=a"), text("cn=z"), vec![1, 1, 0xff, 0x80, 2, b'o', b'u']].concat());
    let assertion = element(0x30, &[text("cn"), text("a")].concat());
    let compare = element(op::COMPARE, &[text("cn=a"), assertion].concat());
    let client = Side::Client;
    let run = run(&[
        (client, message(1, modify)),
        (client, message(2, add)),
        (client, message(3, element(op::DELETE, b"cn=c"))),
        (client, message(4, rename)),
        (client, message(5, compare)),
        (Side::Server, message(5, result(op::COMPARE_RESULT, 6, "", &[]))),
    ]);
    assert_eq!(
        run.table(&COLUMNS),
        [
            r#"read|compare|cn=a|["a"]|ok|compareTrue|{"message":5,"attribute":"cn"}"#,
            r#"configure|modify|cn=a|[{"change":"replace","attribute":"mail","values":["a@b","c@d"]},{"change":"add","attribute":"unicodePwd","values":[],"count":1}]|no_reply||{"message":1}"#,
            r#"configure|add|cn=b|[{"attribute":"userPassword","values":[],"count":1}]|no_reply||{"message":2}"#,
            r#"configure|delete|cn=c||no_reply||{"message":3}"#,
            r#"configure|modify_dn|cn=a||no_reply||{"message":4,"new_rdn":"cn=z","delete_old":true,"new_superior":"ou"}"#,
        ]
    );
}

fn filter_text(bytes: &[u8]) -> (String, Result<(), Cut>) {
    let mut out = String::new();
    let read = filter::push(&mut out, &mut Cursor::new(bytes));
    (out, read)
}

#[test]
fn filters_are_shown_as_text() {
    let both = element(0xa0, &[PRESENT.to_vec(), element(0xa2, &equal("cn", "x(y)"))].concat());
    assert_eq!(filter_text(&both).0, "(&(objectclass=*)(!(cn=x\\28y\\29)))");
    let parts = [&[0x80, 1, b'a'][..], &[0x81, 1, b'b'], &[0x82, 1, b'c']].concat();
    let begins = |parts: &[u8]| element(0xa4, &[text("cn"), element(0x30, parts)].concat());
    assert_eq!(filter_text(&begins(&parts)).0, "(cn=a*b*c)");
    assert_eq!(filter_text(&begins(&parts[..3])).0, "(cn=a*)");
    assert_eq!(filter_text(&begins(&parts[3..6])).0, "(cn=*b*)");
    assert_eq!(filter_text(&begins(&parts[6..])).0, "(cn=*c)");
    let mask = [&b"\x81\x011"[..], b"\x82\x03uac", b"\x83\x012", b"\x84\x01\xff"].concat();
    assert_eq!(filter_text(&element(0xa9, &mask)).0, "(uac:dn:1:=2)");
    assert_eq!(filter_text(&equal("unicodePwd", "s3cret")).0, "(unicodePwd=<not shown>)");
    let umlaut = element(0xa3, &[text("cn"), vec![4, 3, 0xc3, 0xb6, 0xf6]].concat());
    assert_eq!(filter_text(&umlaut).0, "(cn=ö\\f6)");
}

#[test]
fn deep_filters_end_somewhere() {
    let mut deep = PRESENT.to_vec();
    for _ in 0..5_000 {
        deep = element(0xa2, &deep);
    }
    assert_eq!(filter_text(&deep).1.map_err(|cut| cut.what), Err("filter_depth"));
    let mut wide = Vec::new();
    for _ in 0..4_000 {
        wide.extend(equal("cn", "abcdef"));
    }
    let (text, read) = filter_text(&element(0xa1, &wide));
    assert!(read.is_ok() && text.len() < 2200);
}

/// Buffers whose messages are only signed: by Kerberos with the checksum behind or before, by NTLM.
#[test]
fn signed_messages_are_read_and_encrypted_ones_are_counted_as_blind() {
    let unbind = message(9, vec![op::UNBIND, 0]);
    let header = |flags: u8, rotated: u8| vec![5, 4, flags, 0xff, 0, 12, 0, rotated, 0, 0, 0, 0, 0, 0, 0, 1];
    let buffer = |token: Vec<u8>| [&(token.len() as u32).to_be_bytes()[..], &token].concat();
    let behind = buffer([header(0, 0), unbind.clone(), vec![7; 12]].concat());
    let before = buffer([header(0, 12), vec![7; 12], unbind.clone()].concat());
    let ntlm = buffer([vec![1, 0, 0, 0], vec![8; 12], unbind].concat());
    let closed = buffer([header(2, 28), vec![9; 40]].concat());
    let client = Side::Client;
    let mut said = sample().said;
    said.extend([
        (client, behind),
        (client, before),
        (client, ntlm),
        (client, closed.clone()),
        (client, closed),
    ]);
    let run = run(&said);
    assert_eq!(run.messages().iter().filter(|m| m.text("function") == "unbind").count(), 4);
    assert_eq!(run.of(Kind::Coverage).len(), 1);
}

#[test]
fn after_start_tls_the_connection_is_tls() {
    let asked = element(op::EXTENDED, b"\x80\x161.3.6.1.4.1.1466.20037");
    let hello = {
        let body = [&[3, 3][..], &[5; 32], &[0, 0, 2, 0x13, 1, 1, 0]].concat();
        let message = [&[1, 0, 0, body.len() as u8][..], &body].concat();
        [&[22, 3, 1, 0, message.len() as u8][..], &message].concat()
    };
    let run = run(&[
        (Side::Client, message(1, asked)),
        (Side::Server, message(1, result(op::EXTENDED_RESULT, 0, "", &[]))),
        (Side::Client, hello),
    ]);
    assert_eq!(run.table(&["protocol", "function", "status"])[0], "ldap|start_tls|ok");
    assert_eq!(run.messages()[1].text("protocol"), "tls");
}

#[test]
fn what_is_found_without_a_request_is_one_row() {
    let server = Side::Server;
    let run = run(&[
        (server, message(7, entry("cn=a", &[]))),
        (server, message(7, entry("cn=b", &[]))),
        (server, message(7, result(op::SEARCH_RESULT, 4, "", &[]))),
    ]);
    assert_eq!(
        run.table(&["function", "values", "status", "status_code", "initiator"]),
        [r#"search|["cn=a","cn=b"]|denied|sizeLimitExceeded|client"#]
    );
}

#[test]
fn a_controller_answers_in_one_datagram() {
    let mut netlogon = vec![23, 0, 0, 0, 0xfd, 0xf3, 0, 0];
    netlogon.extend([7; 16]);
    netlogon.extend(b"\x03fab\x04test\0\xc0\x18\x03dc1\xc0\x18");
    let value = element(0x31, &element(4, &netlogon));
    let attribute = element(0x30, &[text("netlogon"), value].concat());
    let mut run = Run::over(&PROTOCOL, Transport::Udp);
    run.send(Side::Client, &message(1, search("", 0, PRESENT, &["netlogon"])));
    let found = [message(1, entry("", &[attribute])), message(1, result(op::SEARCH_RESULT, 0, "", &[]))];
    run.send(Side::Server, &found.concat());
    assert_eq!(run.table(&["operation", "status", "exchange"]), ["discover|ok|pair"]);
    let said = run.of(Kind::Identity);
    assert_eq!(said[0].text("name"), "dc1.fab.test");
    assert!(said[0].text("detail").contains("fab.test"));
}

#[test]
fn a_long_entry_is_counted_by_its_beginning() {
    let picture = vec![b'x'; WHOLE_MAX + 10];
    let mut value = vec![4, 0x83];
    value.extend(&(picture.len() as u32).to_be_bytes()[1..]);
    value.extend(&picture);
    let long = |tag: u8, body: Vec<u8>| {
        let mut out = vec![tag, 0x83];
        out.extend(&(body.len() as u32).to_be_bytes()[1..]);
        out.extend(body);
        out
    };
    let attribute = long(0x30, [text("jpegPhoto"), long(0x31, value)].concat());
    let entry = long(op::ENTRY, [text("cn=a"), long(0x30, attribute)].concat());
    let whole = long(0x30, [vec![2, 1, 5], entry].concat());
    let run = run(&[
        (Side::Client, message(5, search("dc=fab", 2, PRESENT, &[]))),
        (Side::Server, whole),
        (Side::Server, message(5, result(op::SEARCH_RESULT, 0, "", &[]))),
    ]);
    assert_eq!(run.table(&["values", "status"]), [r#"["cn=a"]|ok"#]);
}
