use yagura_event::schema::Kind;

use super::*;
use crate::testing::{OTHERS, Run, Sample};

fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![0xaa, kind << 4 | 1];
    out.extend((body.len() as u16 + 16).to_be_bytes());
    out.extend([0, 7, 0x60, 0, 0, 0, 0, 0, 0, 1]);
    out.extend_from_slice(body);
    out.extend(crc(&out).to_be_bytes());
    out
}

fn name(text: &str) -> Vec<u8> {
    format!("{text:<16}").into_bytes()
}

/// One station with a phasor in polar integers, an analog and a digital word.
fn configuration() -> Vec<u8> {
    let mut body = vec![0, 0x0f, 0x42, 0x40, 0, 1];
    body.extend(name("North"));
    body.extend([0, 9, 0, 1, 0, 1, 0, 1, 0, 1]);
    body.extend(name("VA"));
    body.extend(name("Power"));
    for bit in 0..16 {
        body.extend(name(&format!("bit {bit}")));
    }
    // 0.5 V a step (50,000 times 10 µV), an analog of scale 1, a digital mask, 50 Hz, changed twice, 30 a second.
    body.extend([0, 0, 0xc3, 0x50, 0, 0, 0, 1, 0, 0, 0xff, 0xff, 0, 1, 0, 2, 0, 30]);
    body
}

fn configuration_3() -> Vec<u8> {
    let mut body = vec![0, 0, 0, 0x0f, 0x42, 0x40, 0, 1, 5];
    body.extend_from_slice(b"North");
    body.extend([0, 9]);
    body.extend([0; 16]);
    body.extend([0, 1, 0, 1, 0, 1, 0, 0, 2, b'V', b'A', 5]);
    body.extend_from_slice(b"Power");
    body.extend([0, 0, 8, 0]);
    body.extend(0.5f32.to_be_bytes());
    body.extend([0; 4]);
    body.extend(2f32.to_be_bytes());
    body.extend([0; 4]);
    body.extend([0; 21]);
    body.extend([0, 0, 0, 2, 0, 30]);
    body
}

/// 200 steps at 1 rad, 20 mHz above nominal, 0.05 Hz/s, analog -3, digital 5.
const DATA: [u8; 14] = [0, 0, 0, 200, 0x27, 0x10, 0, 20, 0, 5, 0xff, 0xfd, 0, 5];

pub(crate) fn sample() -> Sample {
    Sample::tcp(vec![
        (Side::Client, frame(kind::COMMAND, &[0, 5])),
        (Side::Server, frame(kind::CONFIGURATION_2, &configuration())),
        (Side::Client, frame(kind::COMMAND, &[0, 3])),
        (Side::Server, frame(kind::HEADER, b"a unit of the north")),
        (Side::Client, frame(kind::COMMAND, &[0, 2])),
        (Side::Server, frame(kind::DATA, &DATA)),
        (Side::Server, frame(kind::DATA, &DATA)),
    ])
}

fn samples(run: &Run) -> Vec<(String, f64, String, f64)> {
    let mut out = Vec::new();
    for row in run.of(Kind::Sample) {
        let (value, quality) = (row.number("value").unwrap(), row.number("quality").unwrap());
        out.push((
            row.text("signal").to_string(),
            (value * 1e6).round() / 1e6,
            row.text("unit").to_string(),
            quality,
        ));
    }
    out
}

#[test]
fn the_crc_is_that_of_the_standard() {
    // The check value of CRC-16/CCITT from all ones.
    assert_eq!(crc(b"123456789"), 0x29b1);
}

#[test]
fn a_configuration_names_the_samples_of_the_data() {
    let mut run = Run::new(&PROTOCOL);
    for (side, bytes) in sample().said {
        run.send(side, &bytes);
    }
    run.close();
    assert_eq!(
        run.table(&["operation", "function", "session", "values", "status", "tool"]),
        [
            "discover|send_configuration_frame_2|7|[\"North\"]|ok|10.0.0.2",
            "discover|send_header_frame|7|[\"a unit of the north\"]|ok|10.0.0.2",
            "control|turn_on_transmission|7||one_way|10.0.0.2",
            "report|data_frame|7||one_way|10.0.0.2",
        ]
    );
    assert_eq!(run.messages()[3].number("count"), Some(2.0));
    let expected = [
        ("North VA", 100.0, "V"),
        ("North VA angle", 1.0, "rad"),
        ("North frequency", 50.02, "Hz"),
        ("North rocof", 0.05, "Hz/s"),
        ("North Power", -3.0, ""),
        ("North digital 0", 5.0, ""),
    ];
    let expected = expected.map(|(signal, value, unit)| (signal.to_string(), value, unit.to_string(), 0.0));
    assert_eq!(samples(&run)[..6], expected);
    assert_eq!(run.of(Kind::Sample)[0].text("source"), "synchrophasor 10.0.0.2:5000/7");
    assert_eq!(run.of(Kind::Identity)[0].text("name"), "North");
}

#[test]
fn a_configuration_3_scales_its_analogs() {
    let mut run = Run::new(&PROTOCOL);
    run.send(Side::Server, &frame(kind::CONFIGURATION_3, &configuration_3()));
    run.send(Side::Server, &frame(kind::DATA, &[0x80, 0, 0, 200, 0x27, 0x10, 0, 20, 0, 5, 0xff, 0xfd]));
    let samples = samples(&run);
    assert_eq!(samples[0], ("North VA".into(), 100.0, "A".into(), 2.0));
    assert_eq!(samples[2].1, 60.02);
    assert_eq!(samples[4], ("North Power".into(), -6.0, String::new(), 2.0));
    assert_eq!(run.table(&["operation", "function", "status"]), ["report|configuration_frame_3|one_way"]);
    // A part of several is said, not read.
    run.send(Side::Server, &frame(kind::CONFIGURATION_3, &[0, 1, 0, 0]));
    assert_eq!(run.messages()[1].text("detail"), "{\"fragment\":true}");
}

#[test]
fn data_is_counted_over_time_and_unknown_data_is_said_once() {
    let mut run = Run::over(&PROTOCOL, Transport::Udp);
    for _ in 0..25 {
        run.send(Side::Server, &frame(kind::DATA, &DATA));
        run.pass(SECOND);
    }
    run.close();
    let counts: Vec<_> = run.messages().iter().map(|r| r.number("count").unwrap()).collect();
    assert_eq!(counts.iter().sum::<f64>(), 25.0);
    assert_eq!(counts.len(), 3);
    assert_eq!(run.of(Kind::Coverage).len(), 1);
    assert!(run.of(Kind::Sample).is_empty());
}

#[test]
fn what_breaks_the_protocol_is_malformed() {
    let mut damaged = frame(kind::COMMAND, &[0, 2]);
    damaged[15] ^= 1;
    let with =
        |body: &[u8]| [frame(kind::CONFIGURATION_2, &configuration()), frame(kind::DATA, body)].concat();
    for (bytes, code) in [
        (damaged, "checksum"),
        (with(&DATA[..12]), "data_length"),
        (with(&[&DATA[..], &[0, 0]].concat()), "data_length"),
        (frame(kind::CONFIGURATION_2, &configuration()[..40]), "channel_name"),
        (frame(kind::CONFIGURATION_2, &[&configuration()[..], &[0]].concat()), "configuration_length"),
        (vec![0xaa, 0x61, 0, 18], "frame_type"),
        (vec![0xaa, 0x41, 0, 16], "frame_size"),
        (vec![0xab, 0x41, 0, 18], "synchronization_word"),
    ] {
        let mut run = Run::new(&PROTOCOL);
        run.send(Side::Server, &bytes);
        let last = run.messages().into_iter().next_back().unwrap();
        assert_eq!(last.text("status"), "malformed", "{code}");
        assert_eq!(last.text("status_code"), code);
    }
}

#[test]
fn the_probe_takes_nothing_else() {
    for (name, bytes) in OTHERS {
        let glimpse = Glimpse { transport: Transport::Tcp, side: Side::Client, customary: true, bytes };
        assert_eq!(probe(&glimpse), Probe::No, "{name}");
    }
    let mut damaged = frame(kind::COMMAND, &[0, 2]);
    damaged[15] ^= 1;
    let glimpse = Glimpse { transport: Transport::Tcp, side: Side::Client, customary: true, bytes: &damaged };
    assert_eq!(probe(&glimpse), Probe::No);
}
