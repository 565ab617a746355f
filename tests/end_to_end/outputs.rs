//! Alerts at a real rsyslog, metrics in a real Prometheus, from the program itself.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Stdio};

use yagura_testkit::certificates::Certificates;
use yagura_testkit::prometheus::{Prometheus, check_metrics, get};
use yagura_testkit::rsyslog::{Rsyslog, event, lines};

use crate::{alerts_of, command, configure, embedded, folder, run_to_the_end, scene, wait_for};

/// (alert, its revision) of every line that rsyslog wrote.
fn received(rsyslog: &Rsyslog) -> Vec<(String, String)> {
    lines(&rsyslog.file())
        .iter()
        .map(|line| {
            let event = event(line).expect("an OCSF event");
            let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_string();
            (text(&event["finding_info"]["uid"]), text(&event["metadata"]["uid"]))
        })
        .collect()
}

#[test]
fn alerts_reach_rsyslog_through_its_restart_and_metrics_reach_prometheus() {
    let folder = folder();
    let scene = scene(folder.path());
    let tls = folder.path().join("tls");
    let certificates = Certificates::make(&tls).expect("certificates");
    let received_in = folder.path().join("rsyslog");
    std::fs::create_dir_all(&received_in).expect("a folder");
    let mut rsyslog = Rsyslog::start(&received_in, Some(&certificates)).expect("rsyslog starts");
    let sink = format!(
        "sinks: [{{ name: siem, kind: relp, address: '{}', tls: {{ ca: '{}', certificate: '{}', key: '{}', server_name: localhost }} }}]",
        rsyslog.address(),
        certificates.file("ca.pem"),
        certificates.file("yagura.pem"),
        certificates.file("yagura.key"),
    );
    let config = configure(
        &folder.path().join("run"),
        &scene,
        &format!("pace: 400\narchive: {{ store: history }}\n{sink}"),
    );

    let mut child = command(&["run", "--format", "json", "--config", &config.display().to_string()])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("yagura starts");
    let address = metrics_address(&mut child);
    let prometheus = Prometheus::start(&address.to_string()).expect("prometheus starts");
    wait_for("the first alert", || !received(&rsyslog).is_empty());
    rsyslog.kill().expect("it is killed");
    let rows = prometheus.sample("yagura_detect_rows_total").expect("a sample");
    assert!(rows.contains("etch-bay-2"), "{rows}");
    let metrics = get(address, "/metrics").expect("metrics");
    assert_eq!(check_metrics(&metrics).expect("promtool"), "", "promtool complains");
    assert!(metrics.contains("yagura_sink_lag_records{sink=\"siem\"}"), "{metrics}");
    rsyslog.restart().expect("it starts again");
    child.kill().expect("it is killed");
    child.wait().expect("it ended");

    run_to_the_end(&config);
    let got: BTreeSet<(String, String)> = received(&rsyslog).into_iter().collect();
    assert_eq!(got, ids_of(&folder.path().join("run")));
}

/// `--until-done` means that the receiver has everything, not that nothing is known to be missing.
#[test]
fn until_done_waits_for_a_receiver_that_is_away() {
    let folder = folder();
    let scene = scene(folder.path());
    let whole = folder.path().join("whole");
    run_to_the_end(&configure(&whole, &scene, ""));
    let expected = ids_of(&whole);
    let received_in = folder.path().join("rsyslog");
    std::fs::create_dir_all(&received_in).expect("a folder");
    let mut rsyslog = Rsyslog::start(&received_in, None).expect("rsyslog starts");
    rsyslog.kill().expect("it is killed");

    let sink = format!("sinks: [{{ name: siem, kind: relp, address: '{}', tls: false }}]", rsyslog.address());
    let config = configure(&folder.path().join("run"), &scene, &sink);
    let mut child =
        command(&["run", "--until-done", "--format", "json", "--config", &config.display().to_string()])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("yagura starts");
    let address = metrics_address(&mut child);
    let written = format!("yagura_detect_alerts_total {}\n", expected.len());
    wait_for("all alerts", || get(address, "/metrics").expect("it runs").contains(&written));
    // It looks twenty times a second whether it is done; here it looks at least twenty times.
    for _ in 0..20 {
        std::thread::park_timeout(std::time::Duration::from_millis(50));
        assert!(child.try_wait().expect("a process").is_none(), "it ended, and the receiver has nothing");
    }
    rsyslog.restart().expect("it starts again");
    assert!(child.wait().expect("it ended").success());
    // No connection broke, so nothing came twice.
    let mut got = received(&rsyslog);
    got.sort();
    assert_eq!(got, expected.into_iter().collect::<Vec<_>>());
}

/// Where a run that prints JSON serves its metrics.
pub fn metrics_address(child: &mut Child) -> SocketAddr {
    metrics_of(&announced(child))
}

/// What a run says first, with `--format json`.
pub fn announced(child: &mut Child) -> serde_json::Value {
    let mut first = String::new();
    BufReader::new(child.stdout.take().expect("its output")).read_line(&mut first).expect("a line");
    serde_json::from_str(&first).expect("JSON")
}

/// Where its metrics are.
pub fn metrics_of(said: &serde_json::Value) -> SocketAddr {
    let url = said["metrics"].as_str().expect("an address");
    url.trim_start_matches("http://").trim_end_matches("/metrics").parse().expect("an address")
}

/// (alert, its revision) of every alert in the log of a run, as OCSF names them.
fn ids_of(run: &Path) -> BTreeSet<(String, String)> {
    let alerts = alerts_of(&embedded(run));
    alerts.keys().map(|(uid, revision)| (uid.clone(), format!("{uid}-r{revision}"))).collect()
}
