use super::*;
use crate::ntlm::tests::{authenticate_message, challenge_message, negotiate_message, utf16};
use crate::testing::{OTHERS, Run, Sample};
use yagura_event::schema::Kind;

const SESSION: u64 = 0x4800_0000_0001;
const FILE: [u8; 16] = [7; 16];

/// A session's packet.
pub(super) fn packet(message: &[u8]) -> Vec<u8> {
    let mut out = (message.len() as u32).to_be_bytes().to_vec();
    out.extend_from_slice(message);
    out
}

/// A message of SMB 2; `flags` 1 makes it a response.
fn smb2(command: u16, id: u64, flags: u32, status: u32, tree: u32, body: &[u8]) -> Vec<u8> {
    let mut out = b"\xfeSMB\x40\0\0\0".to_vec();
    out.extend(status.to_le_bytes());
    out.extend(command.to_le_bytes());
    out.extend(1u16.to_le_bytes());
    out.extend(flags.to_le_bytes());
    out.extend(0u32.to_le_bytes());
    out.extend(id.to_le_bytes());
    out.extend(0u32.to_le_bytes());
    out.extend(tree.to_le_bytes());
    out.extend(if command == 0 { 0 } else { SESSION }.to_le_bytes());
    out.extend([0; 16]);
    out.extend_from_slice(body);
    out
}

fn asks(command: u16, id: u64, tree: u32, body: &[u8]) -> (Side, Vec<u8>) {
    (Side::Client, packet(&smb2(command, id, 0, 0, tree, body)))
}

fn answers(command: u16, id: u64, tree: u32, status: u32, body: &[u8]) -> (Side, Vec<u8>) {
    (Side::Server, packet(&smb2(command, id, 1, status, tree, body)))
}

fn error() -> Vec<u8> {
    vec![9, 0, 0, 0, 0, 0, 0, 0, 0]
}

fn negotiate() -> Vec<u8> {
    let mut body = vec![36, 0, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0];
    body.extend([0x11; 16]);
    body.extend([0; 8]);
    body.extend([2, 2, 0, 3]);
    body
}

fn negotiated(token: &[u8]) -> Vec<u8> {
    let mut body = vec![65, 0, 3, 0, 0, 3, 0, 0];
    body.extend([0x22; 16]);
    body.extend([0; 32]);
    body.extend([128, 0]);
    body.extend((token.len() as u16).to_le_bytes());
    body.extend([0; 4]);
    body.extend_from_slice(token);
    body
}

fn set_up(token: &[u8]) -> Vec<u8> {
    let mut body = vec![25, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 88, 0];
    body.extend((token.len() as u16).to_le_bytes());
    body.extend([0; 8]);
    body.extend_from_slice(token);
    body
}

fn is_set_up(token: &[u8]) -> Vec<u8> {
    let mut body = vec![9, 0, 0, 0, 72, 0];
    body.extend((token.len() as u16).to_le_bytes());
    body.extend_from_slice(token);
    body
}

fn connect(share: &str) -> Vec<u8> {
    let path = utf16(share);
    let mut body = vec![9, 0, 0, 0, 72, 0];
    body.extend((path.len() as u16).to_le_bytes());
    body.extend(path);
    body
}

fn connected(kind: u8) -> Vec<u8> {
    [&[16, 0, kind, 0][..], &[0; 12]].concat()
}

fn create(name: &str, disposition: u32, options: u32) -> Vec<u8> {
    let name = utf16(name);
    let mut body = vec![57, 0];
    body.extend([0; 22]);
    body.extend(0x0012_0089_u32.to_le_bytes());
    body.extend([0; 8]);
    body.extend(disposition.to_le_bytes());
    body.extend(options.to_le_bytes());
    body.extend([120, 0]);
    body.extend((name.len() as u16).to_le_bytes());
    body.extend([0; 8]);
    body.extend(name);
    body
}

fn created(action: u32, size: u64) -> Vec<u8> {
    let mut body = vec![89, 0, 0, 0];
    body.extend(action.to_le_bytes());
    body.extend([0; 40]);
    body.extend(size.to_le_bytes());
    body.extend([0; 8]);
    body.extend(FILE);
    body.extend([0; 8]);
    body
}

fn write(offset: u64, data: &[u8]) -> Vec<u8> {
    let mut body = vec![49, 0, 112, 0];
    body.extend((data.len() as u32).to_le_bytes());
    body.extend(offset.to_le_bytes());
    body.extend(FILE);
    body.extend([0; 16]);
    body.extend_from_slice(data);
    body
}

fn written(count: u32) -> Vec<u8> {
    let mut body = vec![17, 0, 0, 0];
    body.extend(count.to_le_bytes());
    body.extend([0; 8]);
    body
}

fn read(offset: u64, length: u32) -> Vec<u8> {
    let mut body = vec![49, 0, 80, 0];
    body.extend(length.to_le_bytes());
    body.extend(offset.to_le_bytes());
    body.extend(FILE);
    body.extend([0; 17]);
    body
}

fn data(bytes: &[u8]) -> Vec<u8> {
    let mut body = vec![17, 0, 80, 0];
    body.extend((bytes.len() as u32).to_le_bytes());
    body.extend([0; 8]);
    body.extend_from_slice(bytes);
    body
}

fn close(file: [u8; 16]) -> Vec<u8> {
    [&[24, 0, 0, 0, 0, 0, 0, 0][..], &file].concat()
}

fn closed() -> Vec<u8> {
    [&[60, 0][..], &[0; 58]].concat()
}

fn set_info(class: u8, buffer: &[u8]) -> Vec<u8> {
    let mut body = vec![33, 0, 1, class];
    body.extend((buffer.len() as u32).to_le_bytes());
    body.extend([96, 0, 0, 0, 0, 0, 0, 0]);
    body.extend(FILE);
    body.extend_from_slice(buffer);
    body
}

fn opening_of_a_session() -> Vec<(Side, Vec<u8>)> {
    vec![
        asks(0, 0, 0, &negotiate()),
        answers(0, 0, 0, 0, &negotiated(&[])),
        asks(1, 1, 0, &set_up(&negotiate_message())),
        answers(1, 1, 0, names::MORE_PROCESSING_REQUIRED, &is_set_up(&challenge_message())),
        asks(1, 2, 0, &set_up(&authenticate_message(40))),
        answers(1, 2, 0, 0, &is_set_up(&[])),
        asks(3, 3, 0, &connect("\\\\tool7\\recipes")),
        answers(3, 3, 5, 0, &connected(1)),
    ]
}

pub(super) fn sample() -> Sample {
    let mut said = opening_of_a_session();
    said.extend([
        asks(5, 4, 5, &create("etch\\a.rcp", 2, 0)),
        answers(5, 4, 5, 0, &created(2, 0)),
        asks(9, 5, 5, &write(0, b"step 1")),
        answers(9, 5, 5, 0, &written(6)),
        asks(6, 6, 5, &close(FILE)),
        answers(6, 6, 5, 0, &closed()),
    ]);
    let (bind, bound) = bind_of_services();
    // Version 1 in the same connection, so that both are tried.
    let (words, data, answer_words) = transact_of_old(&bind, &bound);
    said.extend([asks1(0x25, 3, &words, &data), answers1(0x25, 3, 0, &answer_words, &bound)]);
    Sample::tcp(said)
}

fn said(extra: Vec<(Side, Vec<u8>)>) -> Run {
    let mut run = Run::new(&PROTOCOL);
    for (side, bytes) in opening_of_a_session().into_iter().chain(extra) {
        run.send(side, &bytes);
    }
    run
}

/// The rows after the opening.
fn rows(extra: Vec<(Side, Vec<u8>)>, columns: &[&str]) -> Vec<String> {
    let mut run = said(extra);
    run.close();
    run.table(columns).split_off(4)
}

#[test]
fn a_session_says_who_opened_it_and_what_it_uses() {
    let run = said(vec![]);
    assert_eq!(
        run.table(&["operation", "function", "target", "status", "status_code"]),
        [
            "session.open|negotiate||ok|",
            "authenticate|session_setup||ok|STATUS_MORE_PROCESSING_REQUIRED",
            "authenticate|session_setup|FAB\\ope|ok|",
            "session.open|tree_connect|\\\\tool7\\recipes|ok|",
        ]
    );
    let detail = run.messages()[0].text("detail").to_string();
    assert!(detail.contains(r#""dialects":["2.0.2","3.0"],"dialect":"3.0""#), "{detail}");
    assert!(detail.contains(r#""server_signing":"required""#), "{detail}");
    assert!(detail.contains("11111111-1111-1111-1111-111111111111"), "{detail}");
    assert_eq!(run.messages()[3].text("session"), "0x480000000001");
    assert!(run.messages()[3].text("detail").contains(r#""user":"FAB\\ope""#));
    let identity = run.of(Kind::Identity)[0];
    assert_eq!((identity.text("name"), identity.text("firmware")), ("TOOL7", "10.0.17763"));
}

#[test]
fn a_file_that_is_written_is_known_by_its_hash_alone() {
    let mut run = said(vec![
        asks(5, 4, 5, &create("etch\\a.rcp", 5, 0)),
        answers(5, 4, 5, 0, &created(2, 0)),
        asks(9, 5, 5, &write(0, b"SECRET")),
        answers(9, 5, 5, 0, &written(6)),
        asks(9, 6, 5, &write(6, b"STEPS")),
        answers(9, 6, 5, 0, &written(5)),
        asks(6, 7, 5, &close(FILE)),
        answers(6, 7, 5, 0, &closed()),
    ]);
    assert_eq!(
        run.table(&["operation", "function", "target", "status"]).split_off(4),
        [
            r"program.write|create|\\tool7\recipes\etch\a.rcp|ok",
            r"program.write|write|\\tool7\recipes\etch\a.rcp|ok",
            r"program.write|write|\\tool7\recipes\etch\a.rcp|ok",
            r"session.close|close|\\tool7\recipes\etch\a.rcp|ok",
        ]
    );
    let messages = run.messages();
    assert_eq!(messages[5].number("body_bytes"), Some(6.0));
    let closing = messages[7];
    let mac = <hmac::Hmac<sha2::Sha256> as hmac::KeyInit>::new_from_slice(b"key").unwrap();
    let expected = hmac::Mac::finalize(hmac::Mac::chain_update(mac, b"SECRETSTEPS")).into_bytes();
    let mut digits = String::new();
    json::push_hex_digits(&mut digits, &expected);
    assert_eq!((closing.text("body_hmac"), closing.number("body_bytes")), (&*digits, Some(11.0)));
    assert!(!format!("{:?}", run.rows).contains("SECRET"));
    run.close();
}

#[test]
fn a_file_that_is_read_out_of_order_has_no_hash() {
    for (second, hashed) in [(4, true), (9, false)] {
        let run = said(vec![
            asks(5, 4, 5, &create("a", 1, 0)),
            answers(5, 4, 5, 0, &created(1, 8)),
            asks(8, 5, 5, &read(0, 4)),
            answers(8, 5, 5, 0, &data(b"abcd")),
            asks(8, 6, 5, &read(second, 4)),
            answers(8, 6, 5, 0, &data(b"efgh")),
            asks(6, 7, 5, &close(FILE)),
            answers(6, 7, 5, 0, &closed()),
        ]);
        let closing = run.messages()[7];
        assert_eq!(!closing.text("body_hmac").is_empty(), hashed, "{closing:?}");
        assert_eq!(run.messages()[5].number("body_bytes"), Some(4.0));
    }
}

#[test]
fn renaming_and_deleting_name_the_file() {
    let mut rename = vec![1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10, 0, 0, 0];
    rename.extend(utf16("b.rcp"));
    let opened = [asks(5, 4, 5, &create("a.rcp", 1, 0)), answers(5, 4, 5, 0, &created(1, 8))];
    for (class, buffer, expected) in [
        (10, &rename[..], r#""class":"rename","new_name":"b.rcp","replace":true}"#),
        (13, &[1], r#""class":"disposition","delete":true}"#),
        (20, &[0; 8], r#""class":"end_of_file","size":0}"#),
    ] {
        let mut extra = opened.to_vec();
        extra.push(asks(17, 5, 5, &set_info(class, buffer)));
        extra.push(answers(17, 5, 5, 0, &[2, 0]));
        let rows = rows(extra, &["operation", "target", "detail"]);
        assert!(rows[1].starts_with(r"program.write|\\tool7\recipes\a.rcp|"), "{rows:?}");
        assert!(rows[1].ends_with(expected), "{rows:?}");
    }
}

#[test]
fn a_compound_names_its_file_once() {
    let mut first = smb2(5, 4, 0, 0, 5, &create("a", 1, 0x1000));
    first.resize(first.len().next_multiple_of(8), 0);
    let length = first.len() as u32;
    first[20..24].copy_from_slice(&length.to_le_bytes());
    first.extend(smb2(6, 5, 4, 0, 5, &close([0xff; 16])));
    let mut second = smb2(5, 4, 1, 0, 5, &created(1, 0));
    let length = second.len() as u32;
    second[20..24].copy_from_slice(&length.to_le_bytes());
    second.extend(smb2(6, 5, 5, 0, 5, &closed()));
    let rows = rows(
        vec![(Side::Client, packet(&first)), (Side::Server, packet(&second))],
        &["operation", "function", "target", "exchange"],
    );
    assert_eq!(
        rows,
        [r"program.write|create|\\tool7\recipes\a|pair", r"session.close|close|\\tool7\recipes\a|pair"]
    );
}

#[test]
fn what_takes_long_is_paired_with_its_last_response() {
    let mut run = said(vec![
        asks(15, 9, 5, &[&[32, 0, 0, 0, 0, 0, 0, 0][..], &FILE, &[0; 8]].concat()),
        (Side::Server, packet(&smb2(15, 9, 3, names::PENDING, 0, &error()))),
    ]);
    run.pass(3600 * SECOND);
    run.send(Side::Server, &packet(&smb2(15, 9, 3, 0xc000_0120, 0, &error())));
    let rows = run.table(&["function", "status", "status_code", "exchange"]).split_off(4);
    assert_eq!(rows, ["change_notify|denied|STATUS_CANCELLED|pair"]);
    assert!(run.messages()[4].text("detail").contains(r#""pending":true"#));
}

#[test]
fn refusals_have_their_names() {
    let rows = rows(
        vec![
            asks(5, 4, 5, &create("a", 1, 0)),
            answers(5, 4, 5, 0xc000_0022, &error()),
            asks(3, 5, 0, &connect("\\\\tool7\\c$")),
            answers(3, 5, 0, 0xc000_00cc, &error()),
            asks(1, 6, 0, &set_up(&authenticate_message(24))),
            answers(1, 6, 0, 0xc000_006d, &error()),
            asks(13, 7, 0, &[4, 0, 0, 0]),
        ],
        &["function", "target", "status", "status_code"],
    );
    assert_eq!(
        rows,
        [
            r"create|\\tool7\recipes\a|denied|STATUS_ACCESS_DENIED",
            r"tree_connect|\\tool7\c$|denied|STATUS_BAD_NETWORK_NAME",
            r"session_setup|FAB\ope|denied|STATUS_LOGON_FAILURE",
            "echo||no_reply|",
        ]
    );
}

#[test]
fn large_contents_are_passed_over() {
    let content = vec![9; 100_000];
    let mut run = said(vec![
        asks(5, 4, 5, &create("a", 1, 0)),
        answers(5, 4, 5, 0, &created(1, 100_000)),
        asks(8, 5, 5, &read(0, 100_000)),
    ]);
    let (side, bytes) = answers(8, 5, 5, 0, &data(&content));
    for piece in bytes.chunks(1460) {
        run.send(side, piece);
        assert!(run.held(side) <= HEADER + HEAD);
    }
    for (side, bytes) in [asks(6, 6, 5, &close(FILE)), answers(6, 6, 5, 0, &closed())] {
        run.send(side, &bytes);
    }
    let messages = run.messages();
    assert_eq!(messages[5].number("body_bytes"), Some(100_000.0));
    assert_eq!((messages[6].text("function"), messages[6].text("body_hmac")), ("close", ""));
}

#[test]
fn encrypted_messages_are_said_once() {
    let mut run = said(vec![]);
    let encrypted = [b"\xfdSMB".to_vec(), vec![5; 100]].concat();
    for side in [Side::Client, Side::Server, Side::Client] {
        run.send(side, &packet(&encrypted));
    }
    run.close();
    assert_eq!((run.messages().len(), run.of(Kind::Coverage).len()), (4, 1));
    assert_eq!(run.of(Kind::Coverage)[0].text("event"), "opaque");
}

#[test]
fn netbios_sessions_name_both_ends() {
    let name = |text: &str, suffix: u8| {
        let mut padded = [b' '; 16];
        padded[..text.len()].copy_from_slice(text.as_bytes());
        padded[15] = suffix;
        let letters = padded.iter().flat_map(|b| [b'A' + (b >> 4), b'A' + (b & 15)]);
        [vec![32], letters.collect(), vec![0]].concat()
    };
    let mut request = vec![0x81, 0, 0, 68];
    request.extend([name("TOOL7", 0x20), name("HOST1", 0)].concat());
    let mut run = Run::new(&PROTOCOL);
    run.send(Side::Client, &request);
    run.send(Side::Server, &[0x83, 0, 0, 1, 0x82]);
    run.send(Side::Client, &[0x85, 0, 0, 0]);
    assert_eq!(
        run.table(&["function", "target", "status", "status_code", "detail"]),
        [
            r#"session_request|TOOL7<20>|denied|called_name_not_present|{"calling":"HOST1<00>"}"#,
            "session_keep_alive||one_way||"
        ]
    );
    let probed = |bytes: &[u8]| {
        probe(&Glimpse { transport: crate::Transport::Tcp, side: Side::Client, customary: false, bytes })
    };
    assert_eq!(probed(&request), Probe::Yes);
    assert_eq!(probed(&request[..50]), Probe::More);
    request[10] = b'z';
    assert_eq!(probed(&request), Probe::No);
}

#[test]
fn what_breaks_the_protocol_says_where() {
    let mut wrong_size = create("a", 1, 0);
    wrong_size[0] = 58;
    let mut far = connect("\\\\tool7\\x");
    far[4] = 200;
    let rows = rows(
        vec![asks(5, 4, 5, &wrong_size), asks(3, 5, 0, &far), asks(9, 6, 5, &write(0, b"abc")[..49])],
        &["function", "status", "status_code"],
    );
    assert_eq!(
        rows,
        ["create|malformed|structure_size", "tree_connect|malformed|path", "write|malformed|data"]
    );
    let mut run = Run::new(&PROTOCOL);
    let mut looping = smb2(13, 1, 0, 0, 0, &[4, 0, 0, 0]);
    looping[20] = 8;
    run.send(Side::Client, &packet(&looping));
    assert_eq!(run.table(&["function", "status_code"]), ["unreadable|next_command"]);
}

#[test]
fn the_probe_takes_smb_and_nothing_else() {
    for (name, bytes) in OTHERS {
        let glimpse =
            Glimpse { transport: crate::Transport::Tcp, side: Side::Client, customary: true, bytes };
        let expected = if name.starts_with("SMB") { Probe::Yes } else { Probe::No };
        assert_eq!(probe(&glimpse), expected, "{name}");
    }
}

/// A message of SMB 1 with one command: words and data.
fn smb1(command: u8, multiplex: u16, response: bool, status: u32, words: &[u8], data: &[u8]) -> Vec<u8> {
    let mut out = b"\xffSMB".to_vec();
    out.push(command);
    out.extend(status.to_le_bytes());
    out.push(if response { 0x88 } else { 8 });
    out.extend(0xc801_u16.to_le_bytes());
    out.extend([0; 12]);
    for number in [5, 99, 7, multiplex] {
        out.extend(u16::to_le_bytes(number));
    }
    out.push((words.len() / 2) as u8);
    out.extend_from_slice(words);
    out.extend((data.len() as u16).to_le_bytes());
    out.extend_from_slice(data);
    out
}

fn asks1(command: u8, multiplex: u16, words: &[u8], data: &[u8]) -> (Side, Vec<u8>) {
    (Side::Client, packet(&smb1(command, multiplex, false, 0, words, data)))
}

fn answers1(command: u8, multiplex: u16, status: u32, words: &[u8], data: &[u8]) -> (Side, Vec<u8>) {
    (Side::Server, packet(&smb1(command, multiplex, true, status, words, data)))
}

const LAST: [u8; 4] = [0xff, 0, 0, 0];

/// Text at an odd place of the message: aligned by one octet.
fn padded(text: &str) -> Vec<u8> {
    [vec![0], utf16(text), vec![0, 0]].concat()
}

fn share_of_old() -> Vec<(Side, Vec<u8>)> {
    let mut path = utf16("\\\\TOOL7\\C$");
    path.extend(b"\0\0?????\0");
    vec![
        asks1(0x75, 1, &[&LAST[..], &[0, 0, 1, 0]].concat(), &[vec![0], path].concat()),
        answers1(0x75, 1, 0, &[&LAST[..], &[0; 2]].concat(), b"A:\0\0N\0T\0F\0S\0\0\0"),
    ]
}

fn create_of_old(name: &str, multiplex: u16) -> Vec<(Side, Vec<u8>)> {
    let name = padded(name);
    let mut words = LAST.to_vec();
    words.extend([0, (name.len() - 3) as u8, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    words.extend(1u32.to_le_bytes());
    words.extend([0; 16]);
    words.extend(5u32.to_le_bytes());
    words.extend([0; 9]);
    let mut answer = LAST.to_vec();
    answer.extend([0, 0x34, 0x12, 2, 0, 0, 0]);
    answer.extend([0; 44]);
    answer.extend(77u64.to_le_bytes());
    answer.extend([0; 5]);
    vec![asks1(0xa2, multiplex, &words, &name), answers1(0xa2, multiplex, 0, &answer, &[])]
}

fn play(said: Vec<(Side, Vec<u8>)>) -> Run {
    let mut run = Run::new(&PROTOCOL);
    for (side, bytes) in said {
        run.send(side, &bytes);
    }
    run
}

#[test]
fn version_1_names_shares_and_files() {
    let mut write = LAST.to_vec();
    write.extend([0x34, 0x12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 59, 0]);
    let mut run = play(
        [
            share_of_old(),
            create_of_old("\\etch.rcp", 2),
            vec![
                asks1(0x2f, 3, &write, b"steps"),
                answers1(0x2f, 3, 0, &[&LAST[..], &[5, 0, 0, 0, 0, 0, 0, 0]].concat(), &[]),
                asks1(0x04, 4, &[0x34, 0x12, 0, 0, 0, 0], &[]),
                answers1(0x04, 4, 0, &[], &[]),
                asks1(0x06, 5, &[0, 0], &[vec![4], utf16("\\old.rcp"), vec![0, 0]].concat()[..]),
                answers1(0x06, 5, 0xc000_0022, &[], &[]),
                asks1(0xa4, 6, &[], &[]),
            ],
        ]
        .concat(),
    );
    run.close();
    assert_eq!(
        run.table(&["operation", "function", "target", "status", "status_code"]),
        [
            r"session.open|tree_connect_andx|\\TOOL7\C$|ok|",
            r"program.write|nt_create_andx|\\TOOL7\C$\etch.rcp|ok|",
            r"program.write|write_andx|\\TOOL7\C$\etch.rcp|ok|",
            r"session.close|close|\\TOOL7\C$\etch.rcp|ok|",
            r"program.write|delete|\\TOOL7\C$\old.rcp|denied|STATUS_ACCESS_DENIED",
            "other|nt_cancel||one_way|",
        ]
    );
    assert_eq!(run.messages()[3].number("body_bytes"), Some(5.0));
    assert_eq!(run.messages()[3].text("body_hmac").len(), 64);
    assert!(run.messages()[0].text("detail").contains(r#""share_type":"disk""#));
}

#[test]
fn a_chain_of_commands_is_a_row_each() {
    // Session setup without the security extension, then the tree.
    let mut words = vec![0x75, 0, 0, 0];
    words.extend([0; 10]);
    words.extend([0, 0, 24, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let mut data = vec![0xee; 24];
    data.extend(padded("ope"));
    for text in ["FAB", "Windows 5.1", "LAN"] {
        data.extend(utf16(text));
        data.extend([0, 0]);
    }
    let mut message = smb1(0x73, 9, false, 0, &words, &data);
    let second = message.len() as u16;
    message[35..37].copy_from_slice(&second.to_le_bytes());
    message.push(4);
    message.extend([0xff, 0, 0, 0, 0, 0, 1, 0]);
    let mut path = vec![0];
    if (message.len() + 3) % 2 == 1 {
        path.push(0);
    }
    path.extend(utf16("\\\\TOOL7\\IPC$"));
    path.extend(b"\0\0IPC\0");
    message.extend((path.len() as u16).to_le_bytes());
    message.extend(path);
    let mut run = play(vec![(Side::Client, packet(&message)), answers1(0x73, 9, 0xc000_006d, &[], &[])]);
    run.close();
    assert_eq!(
        run.table(&["function", "target", "status", "status_code"]),
        [
            r"session_setup_andx|FAB\ope|denied|STATUS_LOGON_FAILURE",
            r"tree_connect_andx|\\TOOL7\IPC$|denied|STATUS_LOGON_FAILURE",
        ]
    );
    let detail = run.messages()[0].text("detail");
    assert!(detail.contains(r#""user":"ope","domain":"FAB","password_empty":false,"ntlm_version":"1""#));
    assert!(detail.contains(r#""client_os":"Windows 5.1""#), "{detail}");
    // A chain that does not advance ends.
    message[35..37].copy_from_slice(&[32, 0]);
    let run = play(vec![(Side::Client, packet(&message))]);
    assert_eq!(run.table(&["function", "status_code"]), ["unreadable|andx_offset"]);
}

/// What Windows 2000 answers: 42 words by its count, and the volume, the file's id and the rights
/// behind the usual 34, which make 50.
#[test]
fn an_extended_answer_to_a_create_has_more_words_than_it_says() {
    let mut said = [share_of_old(), create_of_old("\\mailbox.PAB", 2)].concat();
    let mut words = LAST.to_vec();
    words.extend([2, 6, 0xc0, 1, 0, 0, 0]);
    words.extend([0; 44]);
    words.extend(77u64.to_le_bytes());
    words.extend([0; 5]);
    let more = b"\0\0a\0i\0l\0b\0o\0x\0.\0P\0A\0B\0\0\xbf\x01\x13\0\0\0\0";
    words.extend(more);
    words.resize(100, 0);
    let mut answer = smb1(0xa2, 2, true, 0, &words, &[]);
    answer[32] = 42;
    let count = answer.len() - 2;
    answer[count..].copy_from_slice(b"\\i");
    let last = said.len() - 1;
    said[last] = (Side::Server, packet(&answer));
    let run = play(said);
    assert_eq!(run.table(&["function", "status"]), ["tree_connect_andx|ok", "nt_create_andx|ok"]);
    assert!(run.messages()[1].text("detail").contains("\"size\":77"), "{:?}", run.messages()[1]);
}

/// Words of a transaction with one word of setup and parameters right behind the data's count.
fn transaction(setup: u16, parameters: usize, data: usize) -> Vec<u8> {
    let mut words = vec![0; 18];
    for number in [parameters as u16, 68, data as u16, 68 + parameters as u16, 1, setup] {
        words.extend(number.to_le_bytes());
    }
    words
}

#[test]
fn transactions_are_named_by_what_they_do() {
    let path = [&[0x07, 1, 0, 0, 0, 0][..], &utf16("\\etch.rcp"), &[0, 0]].concat();
    let find = [&[0x16, 0, 1, 0, 6, 0, 4, 1, 0, 0, 0, 0][..], &utf16("\\*"), &[0, 0]].concat();
    let delete = [0x34, 0x12, 0x02, 0x01, 0, 0];
    let mut said = [share_of_old(), create_of_old("\\a", 2)].concat();
    for (multiplex, setup, parameters, data) in
        [(3, 5, &path[..], &[][..]), (4, 1, &find, &[]), (5, 8, &delete, &[1])]
    {
        // Three octets align the parameters.
        let words = transaction(setup, parameters.len(), data.len());
        let bytes = [&[0; 3][..], parameters, data].concat();
        said.push(asks1(0x32, multiplex, &words, &bytes));
        said.push(answers1(0x32, multiplex, 0, &[], &[]));
        said.push(answers1(0x32, multiplex, 0, &[0; 20], &[]));
    }
    let run = play(said);
    assert_eq!(
        run.table(&["operation", "function", "target", "exchange"]).split_off(2),
        [
            r"discover|trans2_query_path_information|\\TOOL7\C$\etch.rcp|pair",
            r"discover|trans2_find_first2|\\TOOL7\C$\*|pair",
            r"program.write|trans2_set_file_information|\\TOOL7\C$\a|pair",
        ]
    );
    assert!(run.messages()[4].text("detail").contains(r#""delete":true"#));
}

#[test]
fn a_negotiation_may_begin_in_version_1_and_go_on_in_2() {
    let dialects = b"\x02NT LM 0.12\0\x02SMB 2.002\0\x02SMB 2.???\0";
    let run = play(vec![asks1(0x72, 0, &[], dialects), answers(0, 0, 0, 0, &negotiated(&[]))]);
    assert_eq!(run.table(&["function", "exchange"]), ["negotiate|pair"]);
    let detail = run.messages()[0].text("detail");
    assert!(
        detail.contains(r#""dialects":["NT LM 0.12","SMB 2.002","SMB 2.???"],"dialect":"3.0""#),
        "{detail}"
    );
    let mut words = vec![0, 0, 3];
    words.extend([0; 31]);
    let run = play(vec![asks1(0x72, 0, &[], dialects), answers1(0x72, 0, 0, &words, &utf16("FAB\0TOOL7\0"))]);
    let detail = run.messages()[0].text("detail");
    assert!(
        detail.ends_with(r#""server_signing":"disabled","server_domain":"FAB","server_host":"TOOL7"}"#),
        "{detail}"
    );
}

/// A request of DCE-RPC to bind to the service control manager, and its answer.
fn bind_of_services() -> (Vec<u8>, Vec<u8>) {
    let head = |kind, length| vec![5, 0, kind, 3, 0x10, 0, 0, 0, length, 0, 0, 0, 1, 0, 0, 0];
    let mut ask = head(11, 72);
    ask.extend([0xd0, 0x16, 0xd0, 0x16, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0]);
    ask.extend([0x81, 0xbb, 0x7a, 0x36, 0x44, 0x98, 0xf1, 0x35, 0xad, 0x32, 0x98, 0xf0, 0x38, 0, 0x10, 3]);
    ask.extend([2, 0, 0, 0]);
    ask.extend([0; 20]);
    let mut answer = head(12, 56);
    answer.extend([0xd0, 0x16, 0xd0, 0x16, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
    answer.extend([0; 24]);
    (ask, answer)
}

fn ioctl(code: u32, input: &[u8], output: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let mut ask = vec![57, 0, 0, 0];
    ask.extend(code.to_le_bytes());
    ask.extend(FILE);
    ask.extend([120, 0, 0, 0]);
    ask.extend((input.len() as u32).to_le_bytes());
    ask.extend([0; 24]);
    ask.extend_from_slice(input);
    let mut answer = vec![49, 0, 0, 0];
    answer.extend(code.to_le_bytes());
    answer.extend(FILE);
    answer.extend([0; 8]);
    answer.extend([112, 0, 0, 0]);
    answer.extend((output.len() as u32).to_le_bytes());
    answer.extend([0; 8]);
    answer.extend_from_slice(output);
    (ask, answer)
}

fn calls(run: &Run) -> Vec<String> {
    let rows = run.messages().into_iter().filter(|row| row.text("protocol") == "dcerpc");
    rows.map(|row| format!("{} {} {}", row.text("function"), row.text("target"), row.text("exchange")))
        .collect()
}

#[test]
fn calls_in_pipes_are_read() {
    let (bind, bound) = bind_of_services();
    let pipe = [
        asks(3, 10, 0, &connect("\\\\tool7\\IPC$")),
        answers(3, 10, 9, 0, &connected(2)),
        asks(5, 11, 9, &create("svcctl", 1, 0)),
        answers(5, 11, 9, 0, &created(1, 0)),
    ];
    let (ask, answer) = ioctl(names::PIPE_TRANSCEIVE, &bind, &bound);
    let transceived = [asks(11, 12, 9, &ask), answers(11, 12, 9, 0, &answer)];
    let run = said([&pipe[..], &transceived].concat());
    assert_eq!(calls(&run), ["bind svcctl pair"]);
    let row = run.messages().into_iter().find(|row| row.text("protocol") == "dcerpc").unwrap();
    assert!(row.text("detail").contains(r#""pipe":"svcctl""#));
    // In pieces: what is written and read is one stream each.
    let pieces = [
        asks(9, 12, 9, &write(0, &bind[..20])),
        asks(9, 13, 9, &write(0, &bind[20..])),
        asks(8, 14, 9, &read(0, 30)),
        answers(8, 14, 9, names::BUFFER_OVERFLOW, &data(&bound[..30])),
        asks(8, 15, 9, &read(0, 99)),
        answers(8, 15, 9, 0, &data(&bound[30..])),
    ];
    assert_eq!(calls(&said([&pipe[..], &pieces].concat())), ["bind svcctl pair"]);
    // A pipe of which the share is not known, and one that carries something else.
    let unknown = [
        asks(9, 12, 77, &write(0, &bind)),
        asks(8, 14, 77, &read(0, 99)),
        answers(8, 14, 77, 0, &data(&bound)),
    ];
    assert_eq!(calls(&said(unknown.to_vec())), ["bind svcctl pair"]);
    let other = [asks(9, 12, 9, &write(0, b"PSEXEC")), asks(9, 13, 9, &write(0, &bind))];
    assert_eq!(calls(&said([&pipe[..], &other].concat())), [""; 0]);
    // A file that looks like it is none.
    let file = [
        asks(5, 4, 5, &create("a", 1, 0)),
        answers(5, 4, 5, 0, &created(1, 0)),
        asks(9, 5, 5, &write(0, &bind)),
    ];
    assert_eq!(calls(&said(file.to_vec())), [""; 0]);
}

/// Words and data of a transaction in a pipe, and words of its answer.
fn transact_of_old(ask: &[u8], answered: &[u8]) -> (Vec<u8>, Vec<u8>, Vec<u8>) {
    let mut words = transaction(0x26, 0, ask.len());
    words[26] = 2;
    words.extend([0x34, 0x12]);
    // The name, then the data four octets further on.
    let name = [utf16("\\PIPE\\"), vec![0, 0]].concat();
    let place = 32 + 1 + 32 + 2 + 1 + name.len() as u16;
    words[24..26].copy_from_slice(&place.to_le_bytes());
    let request = [&[0][..], &name, ask].concat();
    let mut answer = vec![0; 20];
    answer[12..14].copy_from_slice(&(answered.len() as u16).to_le_bytes());
    answer[14..16].copy_from_slice(&(32 + 1 + 20 + 2_u16).to_le_bytes());
    (words, request, answer)
}

#[test]
fn calls_in_pipes_of_version_1_are_read() {
    let (bind, bound) = bind_of_services();
    let (words, request, answer) = transact_of_old(&bind, &bound);
    let run = play(vec![asks1(0x25, 3, &words, &request), answers1(0x25, 3, 0, &answer, &bound)]);
    assert_eq!(calls(&run), ["bind svcctl pair"]);
    let row = run.messages().into_iter().find(|row| row.text("protocol") == "smb").unwrap();
    assert_eq!((row.text("function"), row.text("target")), ("trans_transact_nmpipe", "\\PIPE\\"));
}
