//! What goes wrong around the program: files, disks, brokers, signals.

use std::process::Command;

use serde_json::Value;
use yagura_event::Kind;
use yagura_kafka::{KafkaLog, KafkaOptions};
use yagura_log::embedded::{Embedded, Options};
use yagura_testkit::kafka::Broker;

use crate::measure::Plant;
use crate::{
    alerts_of, command, configure, embedded, folder, rows_of, run_to_the_end, scene, start, text, wait_for,
    yagura,
};

#[test]
fn a_second_run_on_the_same_log_is_refused_with_the_reason() {
    let folder = folder();
    let scene = scene(folder.path());
    let config = configure(folder.path(), &scene, "");
    let owner = Embedded::open(folder.path().join("data/log"), Options::default()).expect("the log opens");
    let out = yagura(&["run", "--until-done", "--config", &config.display().to_string()]);
    assert_eq!(out.status.code(), Some(1));
    assert!(text(&out.stderr).contains("in use by another process"), "{}", text(&out.stderr));
    drop(owner);
}

#[test]
fn a_cut_capture_is_read_as_far_as_it_goes_and_said() {
    let folder = folder();
    let scene = scene(folder.path());
    let bytes = std::fs::read(&scene.packets).expect("the packets");
    std::fs::write(&scene.packets, &bytes[..bytes.len() / 2 + 7]).expect("half of them");
    let config = configure(folder.path(), &scene, "");
    let out = yagura(&["run", "--until-done", "--config", &config.display().to_string()]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    assert!(text(&out.stderr).contains("cell.pcap"), "{}", text(&out.stderr));
    let rows = rows_of(&embedded(folder.path()));
    let corrupt: Vec<&Value> = rows
        .values()
        .filter(|(kind, row)| *kind == Kind::Coverage && row["event"] == "corrupt")
        .map(|(_, r)| r)
        .collect();
    assert_eq!(corrupt.len(), 1);
    assert!(corrupt[0]["detail"].as_str().is_some_and(|d| d.contains("byte")), "{corrupt:?}");
    assert!(rows.values().filter(|(kind, _)| *kind == Kind::Message).count() > 1_000);
}

#[test]
fn an_unreachable_broker_is_said_within_seconds() {
    let folder = folder();
    let file = folder.path().join("yagura.yaml");
    std::fs::write(&file, "version: 1\nlog: { kafka: { brokers: '127.0.0.1:1' } }\n").expect("a file");
    let out = yagura(&["run", "--config", &file.display().to_string()]);
    assert_eq!(out.status.code(), Some(1));
    assert!(text(&out.stderr).contains("no Kafka broker answers at 127.0.0.1:1"), "{}", text(&out.stderr));
}

#[test]
fn a_run_that_is_told_to_stop_goes_on_where_it_ended() {
    let folder = folder();
    let scene = scene(folder.path());
    let whole = folder.path().join("whole");
    run_to_the_end(&configure(&whole, &scene, ""));
    let stopped = folder.path().join("stopped");
    let config = configure(&stopped, &scene, "pace: 1200");
    for signal in ["-TERM", "-INT"] {
        let mut child = start(&config, &stopped.join("stderr"));
        wait_for("some of the log", || stopped.join("data/collect.cursor").exists());
        std::thread::park_timeout(std::time::Duration::from_millis(400));
        let sent = Command::new("kill").args([signal, &child.id().to_string()]).status().expect("kill");
        assert!(sent.success());
        wait_for("the end", || child.try_wait().expect("a process").is_some());
        assert_eq!(child.wait().expect("it ended").code(), Some(0), "after {signal}");
    }
    run_to_the_end(&config);
    assert!(rows_of(&embedded(&stopped)) == rows_of(&embedded(&whole)));
    assert!(alerts_of(&embedded(&stopped)) == alerts_of(&embedded(&whole)));
}

#[test]
fn a_broker_that_goes_away_is_waited_for() {
    let folder = folder();
    let scene = scene(folder.path());
    let whole = folder.path().join("whole");
    run_to_the_end(&configure(&whole, &scene, ""));
    let mut broker = Broker::start().expect("a broker");
    let away = folder.path().join("away");
    let log = format!("log: {{ kafka: {{ brokers: '{}', instance_id: yagura-1 }} }}", broker.address());
    let config = configure(&away, &scene, &format!("pace: 600\n{log}"));
    let mut child = command(&["run", "--until-done", "--config", &config.display().to_string()])
        .stderr(std::fs::File::create(away.join("stderr")).expect("a file"))
        .spawn()
        .expect("yagura starts");
    wait_for("some of the log", || away.join("data/collect.cursor").exists());
    broker.kill().expect("it is killed");
    assert!(child.try_wait().expect("a process").is_none(), "it ended before the broker went");
    std::thread::park_timeout(std::time::Duration::from_secs(3));
    broker.restart().expect("it starts again");
    let ended = child.wait().expect("it ended");
    let said = std::fs::read_to_string(away.join("stderr")).expect("what it said");
    assert!(ended.success(), "{said}");
    assert!(said.contains("a connection to Kafka is troubled; what waits is kept"), "{said}");
    // Said, not shouted: many clients hear many times a second that the broker is away.
    assert!(said.lines().count() <= 20, "{said}");
    let log = KafkaLog::connect(KafkaOptions::new(broker.address())).expect("the broker answers");
    assert!(rows_of(&log) == rows_of(&embedded(&whole)), "the log does not hold what the sources sent");
    assert!(alerts_of(&log) == alerts_of(&embedded(&whole)), "the alerts differ");
}

/// A folder of one megabyte that fills, and is made larger while the run waits.
#[test]
fn a_full_disk_is_said_and_waited_out() {
    let namespace: &[&str] = match Command::new("id").arg("-u").output() {
        Ok(out) if out.stdout == b"0\n" => &["--mount"],
        _ => &["--user", "--map-root-user", "--mount"],
    };
    let allowed = Command::new("unshare").args(namespace).arg("true").output();
    if !allowed.is_ok_and(|out| out.status.success()) {
        #[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
        {
            eprintln!("skipped: this machine allows no mount namespaces, so no small disk can be made");
        }
        return;
    }
    let plant = Plant::get();
    let full = plant.path("full");
    let config = plant.configure("full", "");
    std::fs::create_dir_all(full.join("data")).expect("a folder");
    std::fs::create_dir_all(full.join("kept")).expect("a folder");
    // The run's disk exists only in the namespace, so what it holds is copied out at the end.
    let script = format!(
        "set -e; mount -t tmpfs -o size=1m none {data}
         timeout 300 {yagura} run --until-done --config {config} 2> {errors} & run=$!
         for i in $(seq 600); do grep -q 'no space left' {errors} && break; sleep 0.1; done
         mount -o remount,size=128m {data}
         wait $run
         cp -r {data} {kept}",
        data = full.join("data").display(),
        kept = full.join("kept").display(),
        yagura = env!("CARGO_BIN_EXE_yagura"),
        config = config.display(),
        errors = full.join("stderr").display(),
    );
    let out =
        Command::new("unshare").args(namespace).args(["sh", "-c", &script]).output().expect("unshare starts");
    let said = std::fs::read_to_string(full.join("stderr")).unwrap_or_default();
    assert!(out.status.success(), "{}{said}", text(&out.stderr));
    assert!(said.contains("no space left") && said.contains("nothing acknowledged is lost"), "{said}");
    plant.compare("full-disk", 1, &embedded(&full.join("kept"))).assert_exact();
}
