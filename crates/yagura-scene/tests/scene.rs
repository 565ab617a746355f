//! The whole scene: the same each time, and what an independent program reads in it.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use yagura_event::clock::{SECOND, parse_rfc3339};
use yagura_scene::{Scene, SceneOptions, detection};

fn scene(folder: &Path, incidents: bool) -> Scene {
    yagura_scene::write(folder, &SceneOptions { incidents, ..SceneOptions::default() }).expect("a scene")
}

/// The rows that tshark finds with these fields, split into columns.
fn tshark(packets: &Path, filter: &str, fields: &[&str]) -> Vec<Vec<String>> {
    let mut command = Command::new("tshark");
    command.args(["-n", "-d", "tcp.port==5000,hsms", "-d", "tcp.port==5010,hsms"]);
    for preference in [
        "tcp.reassemble_out_of_order:TRUE",
        "tcp.check_checksum:TRUE",
        "ip.check_checksum:TRUE",
        "mbtcp.tcp.port:502",
    ] {
        command.args(["-o", preference]);
    }
    command.arg("-r").arg(packets).args(["-Y", filter, "-T", "fields", "-E", "separator=|"]);
    for field in fields {
        command.args(["-e", field]);
    }
    let output = command.output().expect(
        "these tests need the program tshark: install the package tshark (Debian, Ubuntu) or wireshark-cli",
    );
    assert!(output.status.success(), "tshark: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines().map(|line| line.split('|').map(str::to_string).collect()).collect()
}

#[test]
fn a_seed_gives_the_same_files_again_and_another_one_others() {
    let (a, b, c) = [2026, 2026, 7]
        .map(|seed| {
            let folder = tempfile::tempdir().expect("a folder");
            let scene =
                yagura_scene::write(folder.path(), &SceneOptions { seed, incidents: true }).expect("a scene");
            [
                &scene.packets,
                &scene.telemetry,
                &scene.badges,
                &scene.releases,
                &scene.control,
                &scene.coverage,
                &scene.dictionary,
            ]
            .map(|path| std::fs::read(path).expect("a file"))
        })
        .into();
    assert!(a == b, "the same seed gave different files");
    assert!(a[0] != c[0] && a[1] != c[1] && a[3] != c[3]);
}

#[test]
fn tshark_finds_every_frame_well_formed_and_every_message_of_the_script() {
    let folder = tempfile::tempdir().expect("a folder");
    let scene = scene(folder.path(), true);
    // Severity: 8388608 is an error, 6291456 a warning.
    let bad = tshark(
        &scene.packets,
        "_ws.malformed || _ws.expert.severity >= 8388608 || hsms.header.ptype.unknown || mbtcp.cannot_classify \
         || ip.checksum.status == 0 || tcp.checksum.status == 0 || tcp.analysis.ack_lost_segment",
        &["frame.number", "_ws.expert.message"],
    );
    assert!(bad.is_empty(), "{} bad frames, first {:?}", bad.len(), &bad[..bad.len().min(5)]);

    // Several messages may end in one frame: tshark joins their values by commas.
    let mut found: BTreeMap<String, u64> = BTreeMap::new();
    let fields = ["hsms.header.stype", "hsms.header.stream", "hsms.header.function"];
    for row in tshark(&scene.packets, "hsms", &fields) {
        let (mut streams, mut functions) = (row[1].split(','), row[2].split(','));
        for stype in row[0].split(',') {
            let name = match stype {
                "0" => format!(
                    "S{}F{}",
                    streams.next().expect("a stream"),
                    functions.next().expect("a function")
                ),
                "1" => "Select.req".into(),
                "2" => "Select.rsp".into(),
                "5" => "Linktest.req".into(),
                "6" => "Linktest.rsp".into(),
                "9" => "Separate.req".into(),
                other => panic!("SType {other}"),
            };
            *found.entry(name).or_default() += 1;
        }
    }
    for row in tshark(&scene.packets, "modbus && tcp.dstport == 502", &["modbus.func_code"]) {
        *found.entry(format!("modbus {}", row[0])).or_default() += 1;
    }
    assert_eq!(found, scene.messages);
    assert_eq!(found["Select.req"], 4 + 2 + 1, "four tools, two reconnections, one laptop");
    assert_eq!(found["S7F3"], found["S2F41"]);

    let troubled = |filter| tshark(&scene.packets, filter, &["frame.number"]).len();
    assert!(troubled("tcp.analysis.retransmission") > 0, "no retransmission");
    // A segment that overtakes another looks like a hole until that one comes.
    let overtaken = troubled("tcp.analysis.out_of_order");
    assert!(overtaken > 0, "no segment out of order");
    assert_eq!(troubled("tcp.analysis.lost_segment"), overtaken);
    assert_eq!(troubled("frame"), scene.frames);
}

#[test]
fn incidents_are_on_the_wire_when_and_where_the_script_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let scene = scene(folder.path(), true);
    let time = |row: &[String]| (row[0].parse::<f64>().expect("a time") * SECOND as f64) as i64;
    let act = |id: &str| scene.script.iter().find(|act| act.expected == Some(id)).expect("an act");
    let near = |at: i64, id: &str| (0..5 * SECOND).contains(&(at - act(id).time));

    let rogue = tshark(
        &scene.packets,
        "hsms.header.stype == 1 && ip.src != 10.20.1.11",
        &["frame.time_epoch", "ip.dst"],
    );
    assert_eq!(rogue.len(), 1);
    assert!(near(time(&rogue[0]), detection::ROGUE_HOST) && rogue[0][1] == "10.21.4.8");

    // The watchdog is written in ordinary life; the set-point never.
    let writes = tshark(
        &scene.packets,
        "modbus.func_code == 6 && tcp.dstport == 502",
        &["frame.time_epoch", "ip.src", "modbus.reference_num"],
    );
    let strange: Vec<_> = writes.iter().filter(|row| row[1] != "10.20.1.31").collect();
    assert!(writes.len() > 30 && strange.len() == 1);
    assert!(near(time(strange[0]), detection::CONTROLLER_WRITE) && strange[0][2] == "1");

    let starts = tshark(
        &scene.packets,
        "hsms.header.stream == 2 && hsms.header.function == 41 && ip.dst == 10.21.4.7",
        &["frame.time_epoch"],
    );
    assert!(starts.iter().any(|row| near(time(row), detection::RECIPE_START)));
    let downloads = tshark(
        &scene.packets,
        "hsms.header.stream == 7 && hsms.header.function == 3 && ip.dst == 10.21.4.7",
        &["frame.time_epoch"],
    );
    assert!(downloads.iter().any(|row| near(time(row), detection::RECIPE_BODY)));
}

#[test]
fn the_record_files_hold_no_recipe_and_the_packets_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let scene = scene(folder.path(), true);
    let holds = |path: &Path, text: &str| {
        std::fs::read(path).expect("a file").windows(text.len()).any(|window| window == text.as_bytes())
    };
    for secret in &scene.secrets {
        assert!(holds(&scene.packets, secret), "{secret} is not in a recipe");
        for path in [
            &scene.telemetry,
            &scene.badges,
            &scene.releases,
            &scene.control,
            &scene.coverage,
            &scene.dictionary,
        ] {
            assert!(!holds(path, secret), "{secret} in {}", path.display());
        }
    }
    let releases = std::fs::read_to_string(&scene.releases).expect("releases");
    assert_eq!(releases.lines().count(), scene.secrets.len());
    assert!(releases.lines().all(|line| {
        let row: serde_json::Value = serde_json::from_str(line).expect("JSON");
        row["body_hmac"].as_str().is_some_and(|hash| hash.len() == 64)
    }));
}

/// Every value of one signal with its second of the scene.
fn values(scene: &Scene, tool: &str, chamber: &str, signal: &str) -> Vec<(i64, f64)> {
    std::fs::read_to_string(&scene.telemetry)
        .expect("telemetry")
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"))
        .filter(|row| row["tool"] == tool && row["chamber"] == chamber && row["signal"] == signal)
        .map(|row| {
            let time = row["time"].as_str().and_then(parse_rfc3339).expect("a time");
            ((time - scene.start) / SECOND, row["value"].as_f64().expect("a value"))
        })
        .collect()
}

#[test]
fn telemetry_drifts_and_is_missing_where_the_script_says_and_only_with_incidents() {
    let folder = tempfile::tempdir().expect("a folder");
    let scene = scene(&folder.path().join("with"), true);
    let mean = |values: &[(i64, f64)], seconds: std::ops::Range<i64>| {
        let found: Vec<f64> = values.iter().filter(|(s, _)| seconds.contains(s)).map(|(_, v)| *v).collect();
        found.iter().sum::<f64>() / found.len() as f64
    };
    let flow = values(&scene, "CVD-03", "A", "CarrierN2Flow");
    assert_eq!(flow.len(), scene.duration_s as usize);
    assert!((mean(&flow, 0..1_800) - 2_000.0).abs() < 0.5);
    // 0.05 of 4 sccm a second for 590 seconds.
    assert!((mean(&flow, 2_380..2_400) - (2_000.0 - 0.2 * 590.0)).abs() < 4.0);
    assert!((mean(&values(&scene, "CVD-03", "B", "CarrierN2Flow"), 2_380..2_400) - 2_000.0).abs() < 4.0);

    let lost = values(&scene, "ETCH-09", "B", "RFForward");
    assert_eq!(lost.len(), scene.duration_s as usize - 90);
    assert!(lost.iter().all(|(second, _)| !(2_070..2_160).contains(second)));

    let quiet = self::scene(&folder.path().join("without"), false);
    assert!((mean(&values(&quiet, "CVD-03", "A", "CarrierN2Flow"), 2_380..2_400) - 2_000.0).abs() < 4.0);
    assert_eq!(values(&quiet, "ETCH-09", "B", "RFForward").len(), quiet.duration_s as usize);
    assert_eq!(quiet.messages["Select.req"], 6);
    assert!(!quiet.messages.contains_key("Separate.req"));
    assert!(quiet.script.iter().all(|act| act.expected.is_none()));
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    std::fs::write(&file, "").expect("a file");
    let error = yagura_scene::write(&file.join("under"), &SceneOptions::default()).expect_err("no folder");
    assert!(error.to_string().contains("under") && error.to_string().contains("folder that can be written"));
}
