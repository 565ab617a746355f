use super::*;
use crate::ntlm::tests::{authenticate_message, challenge_message, negotiate_message, utf16};
use crate::testing::{OTHERS, Run, Sample};
use yagura_event::schema::Kind;

const SVCCTL: Uuid = 0x367abb81_9844_35f1_ad32_98f038001003;
const SYNC_IO: Uuid = 0x39c13a52_011e_11d0_9675_0020afd8adb3;

fn little(uuid: Uuid) -> Vec<u8> {
    let b = uuid.to_be_bytes();
    [&[b[3], b[2], b[1], b[0], b[5], b[4], b[7], b[6]][..], &b[8..]].concat()
}

/// A PDU with its verifier.
fn pdu(kind: u8, flags: u8, call: u32, body: &[u8], verifier: &[u8]) -> Vec<u8> {
    let mut out = vec![5, 0, kind, flags, 0x10, 0, 0, 0];
    out.extend(((16 + body.len() + verifier.len()) as u16).to_le_bytes());
    out.extend((verifier.len().saturating_sub(8) as u16).to_le_bytes());
    out.extend(call.to_le_bytes());
    out.extend_from_slice(body);
    out.extend_from_slice(verifier);
    out
}

fn bind(interfaces: &[Uuid]) -> Vec<u8> {
    let mut body = vec![0xd0, 0x16, 0xd0, 0x16, 0, 0, 0, 0, interfaces.len() as u8, 0, 0, 0];
    for (id, uuid) in interfaces.iter().enumerate() {
        body.extend([id as u8, 0, 1, 0]);
        body.extend(little(*uuid));
        body.extend([2, 0, 0, 0]);
        body.extend(little(interfaces::NDR));
        body.extend([2, 0, 0, 0]);
    }
    body
}

fn bound(results: &[u16]) -> Vec<u8> {
    let mut body = vec![0xd0, 0x16, 0xd0, 0x16, 1, 0, 0, 0, 4, 0];
    body.extend(b"135\0");
    body.extend([0, 0]);
    body.extend([results.len() as u8, 0, 0, 0]);
    for result in results {
        body.extend(result.to_le_bytes());
        body.extend([1, 0]);
        body.extend([0; 20]);
    }
    body
}

fn request(context: u16, number: u16, stub: &[u8]) -> Vec<u8> {
    let mut body = vec![0; 4];
    body.extend(context.to_le_bytes());
    body.extend(number.to_le_bytes());
    body.extend_from_slice(stub);
    body
}

fn response(context: u16, stub: &[u8]) -> Vec<u8> {
    request(context, 0, stub)
}

/// A string as parameters have it.
fn string(text: &str) -> Vec<u8> {
    let count = text.len() as u32 + 1;
    let mut out = count.to_le_bytes().to_vec();
    out.extend([0; 4]);
    out.extend(count.to_le_bytes());
    out.extend(utf16(text));
    out.extend([0, 0]);
    out
}

const WHOLE: u8 = 3;

fn client(bytes: Vec<u8>) -> (Side, Vec<u8>) {
    (Side::Client, bytes)
}

fn server(bytes: Vec<u8>) -> (Side, Vec<u8>) {
    (Side::Server, bytes)
}

/// A service is opened and cannot be started.
fn services() -> Vec<(Side, Vec<u8>)> {
    let service = [vec![0; 20], string("PSEXESVC")].concat();
    vec![
        client(pdu(kind::BIND, WHOLE, 1, &bind(&[SVCCTL]), &[])),
        server(pdu(kind::BIND_ACK, WHOLE, 1, &bound(&[0]), &[])),
        client(pdu(kind::REQUEST, WHOLE, 2, &request(0, 16, &service), &[])),
        server(pdu(kind::RESPONSE, WHOLE, 2, &response(0, &[0; 24]), &[])),
        client(pdu(kind::REQUEST, WHOLE, 3, &request(0, 19, &[0; 28]), &[])),
        server(pdu(kind::FAULT, WHOLE, 3, &[0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0], &[])),
    ]
}

pub(super) fn sample() -> Sample {
    Sample::tcp([services(), opc_session(2)].concat())
}

fn play(said: Vec<(Side, Vec<u8>)>) -> Run {
    let mut run = Run::new(&PROTOCOL);
    for (side, bytes) in said {
        run.send(side, &bytes);
    }
    run
}

#[test]
fn calls_are_named_by_their_interface() {
    let mut run = play(services());
    run.close();
    assert_eq!(
        run.table(&["operation", "function", "target", "status", "status_code", "exchange"]),
        [
            "session.open|bind|svcctl|ok||pair",
            "session.open|OpenServiceW|svcctl:PSEXESVC|ok||pair",
            "control|StartServiceW|svcctl|denied|access_denied|pair",
        ]
    );
    let detail = run.messages()[0].text("detail");
    assert!(
        detail.contains(r#""uuid":"367abb81-9844-35f1-ad32-98f038001003","version":"2.0","context":0}]"#),
        "{detail}"
    );
    assert!(detail.contains(r#""address":"135","accepted":1"#), "{detail}");
}

#[test]
fn what_an_operation_returns_is_its_status() {
    let returns = |interface, number, code: u32| {
        let run = play(vec![
            client(pdu(kind::BIND, WHOLE, 1, &bind(&[interface]), &[])),
            server(pdu(kind::BIND_ACK, WHOLE, 1, &bound(&[0]), &[])),
            client(pdu(kind::REQUEST, WHOLE, 2, &request(0, number, &[]), &[])),
            server(pdu(kind::RESPONSE, WHOLE, 2, &response(0, &code.to_le_bytes()), &[])),
        ]);
        run.table(&["function", "status", "status_code"]).remove(1)
    };
    assert_eq!(returns(SVCCTL, 15, 5), "OpenSCManagerW|denied|ERROR_ACCESS_DENIED");
    assert_eq!(returns(SVCCTL, 14, 234), "EnumServicesStatusW|ok|ERROR_MORE_DATA");
    assert_eq!(returns(SYNC_IO, 4, 0xc004_0006), "Write|denied|OPC_E_BADRIGHTS");
    assert_eq!(returns(SYNC_IO, 3, 1), "Read|ok|S_FALSE");
    assert_eq!(
        returns(0x12345778_1234_abcd_ef00_0123456789ac, 5, 0xc000_0022),
        "SamrLookupDomainInSamServer|denied|STATUS_ACCESS_DENIED"
    );
    // What is not known may return anything.
    assert_eq!(returns(0x11111111_2222_3333_8444_555555555555, 5, 5), "opnum_5|ok|");
}

#[test]
fn opc_reads_and_writes_are_process_values() {
    let run = play(vec![
        client(pdu(kind::ALTER, WHOLE, 7, &bind(&[SVCCTL, SYNC_IO]), &[])),
        server(pdu(kind::ALTER_ACK, WHOLE, 7, &bound(&[2, 0]), &[])),
        client(pdu(
            kind::REQUEST,
            WHOLE | 0x80,
            8,
            &[request(1, 4, &little(0xabcd)), vec![0; 40]].concat(),
            &[],
        )),
    ]);
    assert_eq!(run.table(&["function", "target", "status"]), ["alter_context|svcctl,IOPCSyncIO|ok"]);
    let mut run = run;
    run.close();
    let row = run.messages()[1];
    assert_eq!(
        (row.text("operation"), row.text("target"), row.text("status")),
        ("write", "IOPCSyncIO", "no_reply")
    );
    assert!(row.text("detail").contains(r#""object":"00000000-0000-0000-0000-00000000abcd""#));
}

fn verifier(level: u8, token: &[u8]) -> Vec<u8> {
    [&[10, level, 0, 0, 0, 0, 0, 0][..], token].concat()
}

#[test]
fn users_are_named_and_encrypted_parameters_said_once() {
    let run = play(vec![
        client(pdu(kind::BIND, WHOLE, 1, &bind(&[SVCCTL]), &verifier(6, &negotiate_message()))),
        server(pdu(kind::BIND_ACK, WHOLE, 1, &bound(&[0]), &verifier(6, &challenge_message()))),
        client(pdu(kind::AUTH3, WHOLE, 1, &[0; 4], &verifier(6, &authenticate_message(60)))),
        client(pdu(kind::REQUEST, WHOLE, 2, &request(0, 12, &[7; 40]), &verifier(6, &[1; 16]))),
        server(pdu(kind::RESPONSE, WHOLE, 2, &response(0, &[7; 8]), &verifier(6, &[1; 16]))),
        client(pdu(kind::REQUEST, WHOLE, 3, &request(0, 19, &[7; 40]), &verifier(6, &[1; 16]))),
    ]);
    assert_eq!(
        run.table(&["operation", "function", "target", "status"]),
        [
            "session.open|bind|svcctl|ok",
            "authenticate|auth3|FAB\\ope|one_way",
            "program.write|CreateServiceW|svcctl|ok"
        ]
    );
    assert!(run.messages()[0].text("detail").contains(r#""auth":"ntlm","level":"privacy""#));
    assert!(run.messages()[2].text("detail").contains(r#""user":"FAB\\ope""#));
    assert_eq!(run.of(Kind::Coverage).len(), 1);
    assert_eq!(run.of(Kind::Identity)[0].text("name"), "TOOL7");
}

#[test]
fn a_refused_bind_says_why() {
    let run = play(vec![
        client(pdu(kind::BIND, WHOLE, 1, &bind(&[SVCCTL]), &[])),
        server(pdu(kind::BIND_ACK, WHOLE, 1, &bound(&[2]), &[])),
        client(pdu(kind::BIND, WHOLE, 2, &bind(&[SVCCTL]), &[])),
        server(pdu(kind::BIND_NAK, WHOLE, 2, &[2, 0, 1, 5], &[])),
    ]);
    assert_eq!(
        run.table(&["function", "status", "status_code"]),
        ["bind|denied|abstract_syntax_not_supported", "bind|denied|local_limit_exceeded"]
    );
}

#[test]
fn a_call_of_several_fragments_is_one_row() {
    let run = play(vec![
        client(pdu(kind::BIND, WHOLE, 1, &bind(&[SVCCTL]), &[])),
        server(pdu(kind::BIND_ACK, WHOLE, 1, &bound(&[0]), &[])),
        client(pdu(kind::REQUEST, 1, 2, &request(0, 14, &[0; 30]), &[])),
        client(pdu(kind::REQUEST, 2, 2, &request(0, 14, &[0; 30]), &[])),
        server(pdu(kind::RESPONSE, 1, 2, &response(0, &[9; 30]), &[])),
        server(pdu(kind::RESPONSE, 0, 2, &response(0, &[9; 30]), &[])),
        server(pdu(kind::RESPONSE, 2, 2, &response(0, &[5, 0, 0, 0]), &[])),
    ]);
    assert_eq!(
        run.table(&["function", "status", "status_code", "exchange"]).split_off(1),
        ["EnumServicesStatusW|denied|ERROR_ACCESS_DENIED|pair"]
    );
}

#[test]
fn endpoints_and_classes_are_asked_for_by_name() {
    let epmapper = 0xe1af8308_5d1f_11c9_91a4_08002b14a0fa;
    let activator = 0x000001a0_0000_0000_c000_000000000046;
    let class = 0xdeadbeef_1111_2222_8333_444444444444;
    let tower = [
        vec![0; 4],
        vec![1, 0, 0, 0, 75, 0, 0, 0, 75, 0, 0, 0, 5, 0, 19, 0, 13],
        little(0x000001a0_0000_0000_c000_000000000046),
        vec![0; 40],
    ]
    .concat();
    let properties: Vec<Uuid> =
        [0x1b9, 0x1ab].map(|n| (n << 96) + 0x00000000_0000_0000_c000_000000000046).to_vec();
    let mut custom = vec![0; 32];
    custom.extend(b"MEOW");
    custom.extend([4, 0, 0, 0]);
    custom.extend([0; 32 + 8 + 8]);
    let begin = custom.len();
    custom.extend([0; 16 + 4]);
    let head = 16 + 4 + 4 + 8 + 4 + 28 + 4 + 32 + 4 + 8;
    custom.extend((head as u32).to_le_bytes());
    custom.extend([0; 8]);
    custom.extend([2, 0, 0, 0]);
    custom.extend([0; 28]);
    custom.extend([2, 0, 0, 0]);
    custom.extend(properties.iter().flat_map(|uuid| little(*uuid)));
    custom.extend([2, 0, 0, 0, 24, 0, 0, 0, 40, 0, 0, 0]);
    assert_eq!(custom.len() - begin, head);
    custom.extend([0; 24 + 16]);
    custom.extend(little(class));
    let mut run = play(vec![
        client(pdu(kind::BIND, WHOLE, 1, &bind(&[epmapper, activator]), &[])),
        client(pdu(kind::REQUEST, WHOLE, 2, &request(0, 3, &tower), &[])),
        client(pdu(kind::REQUEST, WHOLE, 3, &request(1, 4, &custom), &[])),
    ]);
    run.close();
    assert_eq!(
        run.table(&["operation", "function", "target"]).split_off(1),
        [
            "discover|ept_map|epmapper:ISystemActivator",
            "session.open|RemoteCreateInstance|ISystemActivator:deadbeef-1111-2222-8333-444444444444",
        ]
    );
    // Cut anywhere, there is a row without the name.
    for length in 0..custom.len() {
        let mut run = play(vec![
            client(pdu(kind::BIND, WHOLE, 1, &bind(&[activator]), &[])),
            client(pdu(kind::REQUEST, WHOLE, 2, &request(0, 4, &custom[..length]), &[])),
        ]);
        run.close();
        assert_eq!(run.messages()[1].text("target"), "ISystemActivator");
    }
}

#[test]
fn what_a_new_service_or_job_starts_is_told() {
    let atsvc = 0x1ff70682_0a51_30e8_076d_740be8cee98b;
    let ask = |interface, number, stub: &[u8]| {
        let mut run = play(vec![
            client(pdu(kind::BIND, WHOLE, 1, &bind(&[interface]), &[])),
            client(pdu(kind::REQUEST, WHOLE, 2, &request(0, number, stub), &[])),
        ]);
        run.close();
        run
    };
    // Texts of an odd number of characters are padded.
    let mut create =
        [vec![0; 20], string("UPDATER"), vec![1, 0, 0, 0], string("Updater"), vec![0; 16]].concat();
    create.extend(string("C:\\u.exe"));
    create.extend([0; 40]);
    let run = ask(SVCCTL, 12, &create);
    assert_eq!(run.table(&["operation", "target"]).remove(1), "program.write|svcctl:UPDATER");
    assert!(run.messages()[1].text("detail").contains(r#""program":"C:\\u.exe""#));
    let mut add = [vec![1, 0, 0, 0], string("\\\\T"), vec![0; 12], vec![1, 0, 0, 0]].concat();
    add.extend(string("cmd /c x"));
    let run = ask(atsvc, 0, &add);
    assert_eq!(run.table(&["operation", "target"]).remove(1), "program.write|atsvc:cmd /c x");
}

#[test]
fn opc_groups_and_items_are_named() {
    let this = vec![0; 32];
    let said = |uuid, number, stub: &[u8]| {
        let mut run = play(vec![
            client(pdu(kind::BIND, WHOLE, 1, &bind(&[uuid]), &[])),
            client(pdu(kind::REQUEST, WHOLE, 2, &request(0, number, stub), &[])),
        ]);
        run.close();
        run.table(&["operation", "function", "target", "values"]).remove(1)
    };
    let da = |number: Uuid| 0x39c13a00_011e_11d0_9675_0020afd8adb3 + (number << 96);
    assert_eq!(
        said(da(0x4d), 3, &[this.clone(), string("Trend"), vec![0; 40]].concat()),
        "configure|AddGroup|IOPCServer:Trend|"
    );
    // The first item has an access path, the second a blob; texts of an odd length are padded.
    let mut add = this.clone();
    add.extend([2, 0, 0, 0, 2, 0, 0, 0]);
    for (path, blob) in [(1, 0), (0, 1)] {
        add.extend([
            path, 0, 0, 0, 9, 0, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, blob, 0, 0, 0, 5, 0, 0, 0,
        ]);
    }
    add.extend(string("pa"));
    add.extend([0; 2]);
    add.extend(string("Etch.Pressure"));
    add.extend(string("Etch.RF"));
    add.extend([3, 0, 0, 0, 1, 2, 3]);
    assert_eq!(said(da(0x54), 3, &add), r#"configure|AddItems|IOPCItemMgt|["Etch.Pressure","Etch.RF"]"#);
    add.truncate(60);
    assert_eq!(said(da(0x54), 3, &add), "configure|AddItems|IOPCItemMgt|");
    assert_eq!(
        said(0x13486d50_4821_11d2_a494_3cb306c10000, 5, &[this, string("Vendor.Server.1")].concat()),
        "discover|CLSIDFromProgID|IOPCServerList:Vendor.Server.1|"
    );
}

/// Values behind their pointers; each begins at a multiple of eight octets.
fn variants(stub: &mut Vec<u8>, values: &[(u16, &[u8])]) {
    for (kind, value) in values {
        stub.resize(stub.len().next_multiple_of(8), 0);
        // Eights and texts are aligned behind the discriminant.
        let padded = if matches!(kind, 5 | 20 | 21) { 24 } else { 20 };
        let units = (padded + value.len()).div_ceil(8) as u32;
        stub.extend(units.to_le_bytes());
        stub.extend([0; 4]);
        stub.extend(kind.to_le_bytes());
        stub.extend([0; 6]);
        stub.extend(u32::from(*kind).to_le_bytes());
        stub.extend(vec![0; padded - 20]);
        stub.extend_from_slice(value);
        if *kind > 31 {
            stub.resize(stub.len().next_multiple_of(8), 0);
        }
    }
}

fn bstr(text: &str) -> Vec<u8> {
    let length = text.len() as u32;
    let mut out = vec![7, 0, 0, 0];
    for number in [length, 2 * length, length] {
        out.extend(number.to_le_bytes());
    }
    out.extend(utf16(text));
    out
}

const USER: &[u8] = b"User";

/// A session that adds two items and reads them; the answer is made of `fragments`.
fn opc_session(fragments: usize) -> Vec<(Side, Vec<u8>)> {
    let da = |number: Uuid| 0x39c13a00_011e_11d0_9675_0020afd8adb3 + (number << 96);
    let this = vec![0; 32];
    let mut add = [this.clone(), vec![2, 0, 0, 0, 2, 0, 0, 0]].concat();
    for client in [7, 8] {
        add.extend([0, 0, 0, 0, 9, 0, 0, 0, 1, 0, 0, 0, client, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0]);
    }
    add.extend(string("Etch.Pressure"));
    add.extend(string("Etch.RF"));
    let mut added = vec![0; 8];
    added.extend([1, 0, 2, 0, 2, 0, 0, 0]);
    for server in [71, 72] {
        added.extend([server, 0, 0, 0, 5, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
    added.extend([2, 0, 2, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let ask = [this, vec![1, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 71, 0, 0, 0, 72, 0, 0, 0]].concat();
    let mut states = vec![0; 8];
    states.extend([1, 0, 2, 0, 2, 0, 0, 0]);
    for (client, quality) in [(7, 0xc0), (8, 0x40)] {
        states.extend([client, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, quality, 0, 0, 0]);
        states.extend(USER);
    }
    variants(&mut states, &[(4, &2.5_f32.to_le_bytes()), (5, &1e6_f64.to_le_bytes())]);
    states.extend([2, 0, 2, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
    let mut said = vec![
        client(pdu(kind::BIND, WHOLE, 1, &bind(&[da(0x54), da(0x52)]), &[])),
        server(pdu(kind::BIND_ACK, WHOLE, 1, &bound(&[0, 0]), &[])),
        client(pdu(kind::REQUEST, WHOLE, 2, &request(0, 3, &add), &[])),
        server(pdu(kind::RESPONSE, WHOLE, 2, &response(0, &added), &[])),
        client(pdu(kind::REQUEST, WHOLE, 3, &request(1, 3, &ask), &[])),
    ];
    let size = states.len().div_ceil(fragments);
    for (at, part) in states.chunks(size).enumerate() {
        let flags = u8::from(at == 0) | if at + 1 == fragments { 2 } else { 0 };
        said.push(server(pdu(kind::RESPONSE, flags, 3, &response(1, part), &[])));
    }
    said
}

#[test]
fn opc_values_that_are_read_are_samples_of_their_items() {
    for fragments in [1, 3] {
        let run = play(opc_session(fragments));
        assert_eq!(
            run.table(&["operation", "function", "values", "status", "status_code"]).split_off(1),
            [r#"configure|AddItems|["Etch.Pressure","Etch.RF"]|ok|"#, "read|Read|[2.5,1000000]|ok|S_FALSE",]
        );
        let detail = run.messages()[2].text("detail");
        assert!(detail.contains(r#""source":"cache","items":["Etch.Pressure","Etch.RF"]"#), "{detail}");
        let samples: Vec<_> = run.of(Kind::Sample);
        let said = |row: &yagura_event::rows::OwnedRow| {
            (row.text("signal").to_string(), row.number("value"), row.number("quality"))
        };
        assert_eq!(
            samples.into_iter().map(said).collect::<Vec<_>>(),
            [("Etch.Pressure".into(), Some(2.5), Some(0.0)), ("Etch.RF".into(), Some(1e6), Some(1.0))]
        );
    }
}

#[test]
fn opc_writes_and_reports_have_their_values() {
    let da = |number: Uuid| 0x39c13a00_011e_11d0_9675_0020afd8adb3 + (number << 96);
    let said = |uuid, number, stub: &[u8]| {
        let mut run = play(vec![
            client(pdu(kind::BIND, WHOLE, 1, &bind(&[uuid]), &[])),
            client(pdu(kind::REQUEST, WHOLE, 2, &request(0, number, stub), &[])),
        ]);
        run.close();
        run
    };
    let values: &[(u16, &[u8])] = &[
        (2, &[0xff, 0xff]),
        (8, &bstr("idle")),
        (0, &[]),
        (11, &[0xff, 0xff]),
        (0x2003, &[1; 28]),
        (3, &[5, 0, 0, 0]),
    ];
    let mut write = vec![0; 32];
    write.extend([6, 0, 0, 0, 6, 0, 0, 0]);
    write.extend((0..6).flat_map(|handle| [handle, 0, 0, 0]));
    write.extend([6, 0, 0, 0]);
    write.extend(USER.repeat(6));
    let mut report = vec![0; 32];
    report.extend([1, 0, 0, 0, 42, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    report.extend_from_slice(&write[32..]);
    variants(&mut write, values);
    variants(&mut report, values);
    report.resize(report.len().next_multiple_of(4), 0);
    report.extend([6, 0, 0, 0]);
    report.extend([0xc0, 0].repeat(6));
    let shown = r#"[-1,"idle",null,1,null,5]"#;
    let run = said(da(0x52), 4, &write);
    assert_eq!(run.table(&["operation", "target", "values"]).remove(1), format!("write|IOPCSyncIO|{shown}"));
    assert!(run.messages()[1].text("detail").contains(r#""items":[0,1,2,3,4,5]"#));
    let run = said(da(0x70), 3, &report);
    let row = run.messages()[1];
    assert_eq!(row.text("operation"), "report");
    assert_eq!((row.text("target"), row.text("values")), ("IOPCDataCallback:group 42", shown));
    // The caller is the equipment.
    assert_eq!(row.text("tool"), row.text("client"));
    let samples = run.of(Kind::Sample);
    assert_eq!(samples.len(), 3);
    assert_eq!((samples[2].text("signal"), samples[2].number("value")), ("group 42/item 5", Some(5.0)));
    for length in 0..report.len() {
        said(da(0x70), 3, &report[..length]);
    }
}

/// A datagram of that kind.
fn datagram_of(kind: u8, interface: Uuid, flags: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![4, kind, flags, 0, 0x10, 0, 0, 0];
    out.extend([0; 16]);
    out.extend(little(interface));
    out.extend(little(0x12345678_1111_4222_8333_444444444444));
    out.extend([0; 4]);
    out.extend(1u32.to_le_bytes());
    out.extend(9u32.to_le_bytes());
    out.extend([0, 0, 0xff, 0xff, 0xff, 0xff]);
    out.extend((body.len() as u16).to_le_bytes());
    out.extend([0; 4]);
    out.extend_from_slice(body);
    out
}

#[test]
fn datagrams_are_calls_without_an_association() {
    let mut run = Run::over(&PROTOCOL, Transport::Udp);
    for (side, kind, flags, body) in [
        (Side::Client, kind::REQUEST, 0, &[0; 8][..]),
        (Side::Server, kind::RESPONSE, 0, &[0; 4]),
        (Side::Client, kind::REQUEST, 0, &[]),
        (Side::Server, kind::FAULT, 0, &[2, 0, 1, 0x1c]),
        (Side::Client, kind::REQUEST, 0x20 | 0x10, &[]),
        (Side::Client, 7, 0, &[]),
    ] {
        run.send(side, &datagram_of(kind, SVCCTL, flags, body));
    }
    assert_eq!(
        run.table(&["function", "target", "status", "status_code", "exchange"]),
        [
            "CloseServiceHandle|svcctl|ok||pair",
            "CloseServiceHandle|svcctl|denied|nca_s_op_rng_error|pair",
            "CloseServiceHandle|svcctl|one_way||request",
        ]
    );
    let probed = |bytes: &[u8]| {
        probe(&Glimpse { transport: Transport::Udp, side: Side::Client, customary: false, bytes })
    };
    let good = datagram_of(0, SVCCTL, 0, &[1, 2, 3]);
    assert_eq!(probed(&good), Probe::Yes);
    assert_eq!(probed(&good[..82]), Probe::No);
    let profinet = 0xdea00001_6c97_11d1_8271_00a02442df7d;
    assert_eq!(probed(&datagram_of(0, profinet, 0, &[])), Probe::No);
    assert_eq!(probed(&[&[4][..], &[0; 79]].concat()), Probe::No);
}

#[test]
fn other_orders_of_bytes_are_read() {
    let mut body = vec![0x16, 0xd0, 0x16, 0xd0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 4, 1, 0];
    body.extend(SVCCTL.to_be_bytes());
    body.extend([0, 0, 0, 2]);
    body.extend(interfaces::NDR.to_be_bytes());
    body.extend([0, 0, 0, 2]);
    let mut bytes = vec![5, 0, 11, 3, 0, 0, 0, 0, 0, (16 + body.len()) as u8, 0, 0, 0, 0, 0, 9];
    bytes.extend(body);
    let mut run = play(vec![client(bytes)]);
    run.close();
    let row = run.messages()[0];
    assert_eq!(row.text("target"), "svcctl");
    assert!(row.text("detail").contains(r#""call":9,"interfaces":[{"interface":"svcctl""#));
    assert!(row.text("detail").contains(r#""version":"2.0","context":4"#));
}

#[test]
fn the_probe_takes_rpc_and_nothing_else() {
    for (name, bytes) in OTHERS {
        let glimpse = Glimpse { transport: Transport::Tcp, side: Side::Client, customary: true, bytes };
        assert_eq!(probe(&glimpse), Probe::No, "{name}");
    }
    for socks in [&[5, 1, 0][..], &[5, 1, 0, 1, 10, 0, 0, 1, 0, 80]] {
        let glimpse =
            Glimpse { transport: Transport::Tcp, side: Side::Client, customary: false, bytes: socks };
        assert_ne!(probe(&glimpse), Probe::Yes);
    }
}
