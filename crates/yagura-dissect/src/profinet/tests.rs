use super::*;
use crate::Side;
use crate::testing::{Run, Sample};
use yagura_event::schema::Kind;

/// The interface of devices, and that of controllers, as little-endian PDUs have them.
fn interface(number: u8) -> Vec<u8> {
    let mut out = vec![number, 0, 0xa0, 0xde, 0x97, 0x6c, 0xd1, 0x11, 0x82, 0x71];
    out.extend([0x00, 0xa0, 0x24, 0x42, 0xdf, 0x7d]);
    out
}

fn pdu(kind: u8, (flags, fragment): (u8, u8), (call, operation): (u8, u8), body: &[u8]) -> Vec<u8> {
    let mut out = vec![4, kind, flags, 0, 0x10, 0, 0, 0];
    out.extend([0, 0, 0xa0, 0xde, 0x97, 0x6c, 0xd1, 0x11, 0x82, 0x71, 0, 1, 3, 1, 0, 0x2a]);
    out.extend(interface(1));
    out.extend([0x80, 0xd3, 0xc4, 0xca, 0x3a, 0, 0x10, 0x10, 0xac, 0, 0, 0x12, 0x34, 0x12, 0x34, 1]);
    out.extend([0, 0, 0, 0, 1, 0, 0, 0, call, 0, 0, 0, operation, 0, 0xff, 0xff, 0xff, 0xff]);
    out.extend((body.len() as u16).to_le_bytes());
    out.extend([fragment, 0, 0, 0]);
    out.extend_from_slice(body);
    out
}

fn call(call: u8, operation: u8, blocks: &[u8]) -> Vec<u8> {
    let length = (blocks.len() as u32).to_le_bytes();
    let body = [&[0, 16, 0, 0][..], &length, &length, &[0; 4], &length, blocks].concat();
    pdu(0, (0x20, 0), (call, operation), &body)
}

fn answer(call: u8, operation: u8, status: [u8; 4], blocks: &[u8]) -> Vec<u8> {
    let length = (blocks.len() as u32).to_le_bytes();
    let status = [status[3], status[2], status[1], status[0]];
    let body = [&status[..], &length, &length, &[0; 4], &length, blocks].concat();
    pdu(2, (0x08, 0), (call, operation), &body)
}

fn block(kind: u16, body: &[u8]) -> Vec<u8> {
    let mut out = kind.to_be_bytes().to_vec();
    out.extend((body.len() as u16 + 2).to_be_bytes());
    out.extend([1, 0]);
    out.extend_from_slice(body);
    out
}

const RELATION: [u8; 16] = [9; 16];

fn relation(name: &[u8]) -> Vec<u8> {
    let mut body = vec![0, 1];
    body.extend(RELATION);
    body.extend([0, 3, 0, 0x1b, 0x1b, 1, 2, 3]);
    body.extend([7; 16]);
    body.extend([0x60, 0, 0, 0x11, 2, 0x58, 0x88, 0x92, 0, name.len() as u8]);
    body.extend_from_slice(name);
    block(0x0101, &body)
}

fn cyclic(kind: u8) -> Vec<u8> {
    let mut body = vec![0, kind, 0, kind, 0x88, 0x92, 0, 0, 0, 1, 0, 40, 0x80, 0x20, 0, 32, 0, 4];
    body.extend([0; 24]);
    block(0x0102, &body)
}

fn expected() -> Vec<u8> {
    let mut body = vec![0, 1, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0x22, 0, 0, 0, 1];
    body.extend([0, 1, 0, 0, 0, 5, 0, 3, 0, 1, 0, 2, 1, 1, 0, 2, 0, 4, 1, 1]);
    block(0x0104, &body)
}

fn control(kind: u16, command: u8) -> Vec<u8> {
    let mut body = vec![0, 0];
    body.extend(RELATION);
    body.extend([0, 3, 0, 0, 0, command, 0, 0]);
    block(kind, &body)
}

/// A record's header; `rest` is what differs between the four.
fn record(kind: u16, (slot, subslot, index): (u8, u16, u16), length: u8, rest: &[u8]) -> Vec<u8> {
    let mut body = vec![0, 1];
    body.extend(RELATION);
    body.extend([0, 0, 0, 0, 0, slot]);
    body.extend(subslot.to_be_bytes());
    body.extend([0, 0]);
    body.extend(index.to_be_bytes());
    body.extend([0, 0, 0, length]);
    body.extend_from_slice(rest);
    body.resize(58, 0);
    block(kind, &body)
}

fn maintenance() -> Vec<u8> {
    let mut body = vec![0, 0x2a];
    body.extend(b"6ES7 155-6AU01-0BN0 ");
    body.extend(b"S C-J5XB12342018");
    body.extend([0, 2, b'V', 4, 2, 1, 0, 0, 0, 0, 0, 3, 1, 1, 0, 0x0e]);
    block(0x0020, &body)
}

/// A relation's life: connected, parameters written, identification read, a record refused, released.
fn conversation() -> Vec<(Side, Vec<u8>)> {
    use Side::{Client, Server};
    let written = [record(0x0008, (2, 1, 5), 3, &[]), vec![1, 2, 3]].concat();
    let many = [
        record(0x0008, (0, 0, 0xe040), 200, &[]),
        record(0x0008, (1, 1, 0x802f), 3, &[]),
        vec![1, 2, 3, 0],
        record(0x0008, (1, 2, 7), 2, &[]),
        vec![1, 2],
    ];
    let identity = [record(0x8009, (0, 1, 0xaff0), 60, &[]), maintenance()].concat();
    let server = block(0x8106, &[&[0, 3][..], b"io3", &[0; 3]].concat());
    let connect = [relation(b"plc-1"), cyclic(1), cyclic(2), expected()].concat();
    let refused = record(0x8008, (2, 1, 5), 0, &[0, 0, 0, 0, 0xdf, 0x80, 0xb0, 0]);
    let many_done = [
        record(0x8008, (0, 0, 0xe040), 0, &[0; 8]),
        record(0x8008, (1, 1, 0x802f), 0, &[0, 0, 0, 0, 0xdf, 0x80, 0xb6, 0]),
    ];
    let confirmed = block(0x8102, &[0, 1, 0, 1, 0x80, 0x21]);
    vec![
        (Client, call(0, 0, &connect)),
        (Server, answer(0, 0, [0; 4], &[confirmed, server].concat())),
        (Client, call(1, 3, &many.concat())),
        (Server, answer(1, 3, [0; 4], &many_done.concat())),
        (Client, call(2, 4, &control(0x0110, 1))),
        (Server, answer(2, 4, [0; 4], &control(0x8110, 8))),
        (Client, call(3, 2, &record(0x0009, (0, 1, 0xaff0), 0, &[]))),
        (Server, answer(3, 2, [0; 4], &identity)),
        (Client, call(4, 3, &written)),
        (Server, answer(4, 3, [0xdf, 0x80, 0xb0, 0], &refused)),
        (Client, call(5, 1, &control(0x0114, 4))),
        (Server, answer(5, 1, [0; 4], &control(0x8114, 8))),
    ]
}

pub(super) fn sample() -> Sample {
    // The whole is long; the contract cuts it at every byte.
    let all = conversation();
    Sample::udp([&all[..2], &all[6..10]].concat())
}

#[test]
fn a_relation_is_followed_from_connect_to_release() {
    let mut run = Run::over(&PROTOCOL, Transport::Udp);
    for (side, bytes) in conversation() {
        run.send(side, &bytes);
    }
    assert_eq!(
        run.table(&["operation", "function", "target", "status", "status_code", "exchange"]),
        [
            "session.open|connect|io3|ok||pair",
            "write|write|0/0x0/MultipleWrite|denied|write:access_denied|pair",
            "session.open|control|parameter_end|ok||pair",
            "discover|read|0/0x1/I&M0|ok||pair",
            "write|write|2/0x1/0x0005|denied|write:invalid_index|pair",
            "session.close|release|release|ok||pair",
        ]
    );
    let first = run.messages()[0];
    assert_eq!(first.text("session"), "09090909-0909-0909-0909-090909090909");
    assert!(first.text("values").contains("\"slot\":2,\"subslot\":1,\"module\":\"0x00000022\""), "{first:?}");
    assert!(first.text("values").contains("\"input_bytes\":2,\"output_bytes\":4"), "{first:?}");
    assert!(first.text("detail").contains("\"iocrs\":[{\"type\":\"input\",\"rt_class\":1,\"bytes\":40"));
    assert!(first.text("detail").contains("\"cycle_us\":4000"), "{first:?}");
    assert!(run.messages()[1].text("values").contains("\"record\":\"PDPortDataAdjust\",\"bytes\":3"));
    let identities: Vec<String> = run
        .of(Kind::Identity)
        .iter()
        .map(|r| ["address", "vendor", "model", "firmware", "serial", "name"].map(|c| r.text(c)).join("|"))
        .collect();
    assert_eq!(
        identities,
        [
            "10.0.0.1|||||plc-1",
            "10.0.0.2|||||io3",
            "10.0.0.2|Siemens|6ES7 155-6AU01-0BN0|V4.2.1|S C-J5XB12342018|",
        ]
    );
}

#[test]
fn fragments_are_put_together() {
    let mut run = Run::over(&PROTOCOL, Transport::Udp);
    let whole = call(1, 3, &[record(0x0008, (2, 1, 5), 3, &[]), vec![1, 2, 3]].concat());
    let (first, second) = whole[80..].split_at(50);
    run.send(Side::Client, &pdu(0, (0x24, 0), (1, 3), first));
    run.send(Side::Client, &pdu(0, (0x26, 1), (1, 3), second));
    run.send(Side::Server, &answer(1, 3, [0; 4], &record(0x8008, (2, 1, 5), 0, &[])));
    assert_eq!(run.table(&["function", "target", "status"]), ["write|2/0x1/0x0005|ok"]);
    assert!(run.messages()[0].text("detail").contains("\"request_fragments\":2"));
    // One that is missing: nothing is made up.
    run.send(Side::Client, &pdu(0, (0x24, 0), (2, 3), first));
    run.send(Side::Client, &pdu(0, (0x26, 2), (2, 3), second));
    run.close();
    assert_eq!(run.messages().len(), 1);
}

fn dcp(frame: u16, service: u8, kind: u8, blocks: &[u8]) -> Vec<u8> {
    let mut out = frame.to_be_bytes().to_vec();
    out.extend([service, kind, 1, 0, 0, 7, 0, 1]);
    out.extend((blocks.len() as u16).to_be_bytes());
    out.extend_from_slice(blocks);
    out.resize(out.len().max(46), 0);
    out
}

/// What an identification's answer holds: type, name, device, role, address.
fn station() -> Vec<u8> {
    let mut out = vec![2, 1, 0, 8, 0, 0];
    out.extend(b"S7-300");
    out.extend([2, 2, 0, 7, 0, 0]);
    out.extend(b"plc-2\0");
    out.extend([2, 3, 0, 6, 0, 0, 0, 0x2a, 1, 1, 2, 4, 0, 4, 0, 0, 2, 0]);
    out.extend([1, 2, 0, 14, 0, 0x81, 10, 0, 0, 9, 255, 255, 255, 0, 10, 0, 0, 1]);
    out
}

#[test]
fn stations_are_found_named_and_reset() {
    let mut run = Run::over(&PROTOCOL, Transport::Link);
    run.send(Side::Client, &dcp(0xfefe, 5, 0, &[0xff, 0xff, 0, 0]));
    run.send(Side::Server, &dcp(0xfeff, 5, 1, &station()));
    run.send(Side::Client, &dcp(0xfefd, 4, 0, &[2, 2, 0, 7, 0, 1, b'p', b'l', b'c', b'-', b'3', 0]));
    run.send(Side::Server, &dcp(0xfefd, 4, 1, &[5, 4, 0, 3, 2, 2, 0, 0]));
    run.send(Side::Client, &dcp(0xfefd, 4, 0, &[5, 5, 0, 2, 0, 0]));
    run.send(Side::Server, &dcp(0xfefd, 4, 1, &[5, 4, 0, 3, 5, 5, 6, 0]));
    run.send(Side::Client, &dcp(0xfefd, 3, 0, &[1, 2, 2, 2]));
    run.send(Side::Server, &dcp(0xfefd, 3, 1, &station()[12..]));
    assert_eq!(
        run.table(&["operation", "function", "target", "status", "status_code", "exchange"]),
        [
            "discover|dcp_identify|all|one_way||request",
            "discover|dcp_identify|plc-2|one_way||reply",
            "configure|dcp_set_name|name_of_station|ok||pair",
            "control|dcp_factory_reset|factory_reset|denied|in_operation_set_not_possible|pair",
            "discover|dcp_get|ip,name_of_station|ok||pair",
        ]
    );
    let set = run.messages()[2];
    assert_eq!(set.text("values"), "[{\"name_of_station\":\"plc-3\"}]");
    assert!(set.text("detail").contains("\"permanent\":true"));
    let found = run.of(Kind::Identity)[0];
    assert_eq!(
        (found.text("vendor"), found.text("model"), found.text("name")),
        ("Siemens", "S7-300", "plc-2")
    );
    let detail = found.text("detail");
    for said in
        ["\"device_id\":257", "\"role\":\"io_controller\"", "\"ip\":\"10.0.0.9\"", "\"ip_conflict\":true"]
    {
        assert!(detail.contains(said), "{said} in {detail}");
    }
}

fn data(counter: u16, status: u8) -> Vec<u8> {
    let mut out = vec![0x80, 0x20];
    out.extend([0; 40]);
    out.extend(counter.to_be_bytes());
    out.extend([status, 0]);
    out
}

#[test]
fn cyclic_data_is_counted_and_a_stop_is_said() {
    let mut run = Run::over(&PROTOCOL, Transport::Link);
    for counter in [0, 128, 256, 640, 768] {
        run.send(Side::Client, &data(counter, 0x35));
    }
    run.send(Side::Client, &data(896, 0x25));
    run.close();
    assert_eq!(
        run.table(&["operation", "function", "target", "status"]),
        ["report|data_status|0x8020|one_way", "report|rt_class_1|0x8020|one_way"]
    );
    assert!(run.messages()[0].text("detail").contains("\"run\":false"));
    let counted = run.messages()[1];
    assert_eq!(counted.number("count"), Some(6.0));
    assert!(counted.text("detail").contains("\"missed\":2"), "{counted:?}");
}

fn alarm(kind: u16, data: &[u8]) -> Vec<u8> {
    let block = block(kind, data);
    let mut out = vec![0xfc, 1, 0, 2, 0, 1, 0x11, 0x11, 0xff, 0xff, 0xff, 0xfe, 0, block.len() as u8];
    out.extend(block);
    out
}

#[test]
fn an_alarm_is_paired_with_its_acknowledgement() {
    let mut run = Run::over(&PROTOCOL, Transport::Link);
    let said = [0, 1, 0, 0, 0, 0, 0, 3, 0, 1, 0, 0, 0, 0x22, 0, 0, 0, 5, 0x88, 4, 0x80, 2, 1, 2];
    run.send(Side::Server, &alarm(0x0001, &said));
    run.send(Side::Client, &[0xfc, 1, 0, 1, 0, 2, 0x13, 1, 0xff, 0xfe, 0xff, 0xff, 0, 0]);
    run.send(Side::Client, &alarm(0x8001, &[0, 1, 0, 0, 0, 0, 0, 3, 0, 1, 0x88, 4, 0, 0, 0, 0]));
    run.send(Side::Client, &[0xfe, 1, 0, 1, 0, 2, 0x14, 1, 0, 0, 0, 0, 0, 4, 0xcf, 0x81, 0xfd, 5]);
    run.close();
    assert_eq!(
        run.table(&["operation", "function", "target", "status", "status_code", "exchange"]),
        [
            "report.alarm|alarm_diagnosis|3/0x1|ok||pair",
            "error|rta_error||denied|rta:consumer_missing|request",
            "session.keep|rta_ack|0xfc01|one_way||request",
        ]
    );
    assert_eq!(run.messages()[0].text("tool"), "10.0.0.2");
}

#[test]
fn frames_that_are_cut_or_changed_are_rows_and_no_panic() {
    let frames = [
        dcp(0xfeff, 5, 1, &station()),
        dcp(0xfefd, 4, 0, &[2, 2, 0, 7, 0, 1, b'p', b'l', b'c', b'-', b'3', 0]),
        alarm(0x0001, &[0; 24]),
        data(1, 0x35),
    ];
    for frame in frames {
        let mut run = Run::over(&PROTOCOL, Transport::Link);
        for length in 0..frame.len() {
            run.send(Side::Server, &frame[..length]);
        }
        for bit in 0..frame.len() * 8 {
            let mut changed = frame.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            run.send(Side::Client, &changed);
        }
        run.close();
    }
}
