//! What arrives while receivers are killed, ways are cut and the forwarding process is killed, all at random with one
//! seed: at a rsyslog over RELP and TLS, an OpenSearch, a webhook and a file, and at two over plain TCP, which
//! promise nothing; one of these is sent the last messages again after a break, as is usual.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use prometheus::Registry;
use serde_json::{Value, json};
use yagura_event::Alert;
use yagura_log::Log;
use yagura_log::embedded::{Embedded, Options};
use yagura_respond::cases::{CaseKey, Cases, Decision, Verdict, What};
use yagura_respond::{Forwarder, Metrics, SinkConfig};
use yagura_testkit::certificates::Certificates;
use yagura_testkit::hook::Hook;
use yagura_testkit::http::ask;
use yagura_testkit::opensearch::OpenSearch;
use yagura_testkit::rsyslog::{Rsyslog, event, lines};
use yagura_testkit::way::Way;

use super::fixtures;
use crate::report::Figure;

/// Alerts in the log.
pub const ALERTS: u64 = 10_000;

/// Things that break.
pub const FAULTS: usize = 60;

/// The alert before it is resolved after so many.
const DECIDED_EVERY: u64 = 100;

/// Records that are appended together, and the pause after them.
const TOGETHER: u64 = 20;
const PAUSE: Duration = Duration::from_millis(20);

/// How often an OpenSearch is killed, which takes a quarter of a minute to start.
const OPENSEARCH_KILLS: u32 = 2;

const SEED: u64 = 0x2026_1126;
const TOPIC: &str = "alerts";

/// The receivers; the last two promise nothing.
const RECEIVERS: [&str; 6] = ["relp", "opensearch", "webhook", "file", "syslog", "syslog without replay"];

struct Plant {
    folder: tempfile::TempDir,
    relp: Rsyslog,
    /// With a replay, and without.
    syslog: [Rsyslog; 2],
    opensearch: OpenSearch,
    hook: Hook,
    ways: Vec<Way>,
}

/// The forwarding process; dropping it ends it.
struct Forwarding(Child);

impl Forwarding {
    fn kill(&mut self) -> Result<()> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }
}

impl Drop for Forwarding {
    fn drop(&mut self) {
        // It has ended by itself when all is well.
        let _ = self.kill();
    }
}

impl Plant {
    fn start() -> Result<Plant> {
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("allowed"), "0")?;
        let sub = |name: &str| -> Result<std::path::PathBuf> {
            let sub = folder.path().join(name);
            std::fs::create_dir(&sub)?;
            Ok(sub)
        };
        let certificates = Certificates::make(&folder.path().join("tls"))?;
        let relp = Rsyslog::start(&sub("relp")?, Some(&certificates))?;
        let syslog = [
            Rsyslog::start_syslog(&sub("syslog")?, None)?,
            Rsyslog::start_syslog(&sub("syslog-without")?, None)?,
        ];
        let opensearch = OpenSearch::start(&sub("opensearch")?)?;
        let hook = Hook::start()?;
        let [with, without] = &syslog;
        let (web, hooked) = (opensearch.web.to_string(), hook.address.to_string());
        let to = [relp.address(), with.address(), web, hooked, without.address()];
        let ways: Vec<Way> = to.iter().map(|to| Way::to(to)).collect::<Result<_>>()?;
        let at = |way: usize| ways[way].address.to_string();
        std::fs::write(folder.path().join("secret"), "0123456789abcdef")?;
        let sinks = json!([
            { "name": "relp", "kind": "relp", "address": at(0), "tls": {
                "ca": certificates.file("ca.pem"), "certificate": certificates.file("yagura.pem"),
                "key": certificates.file("yagura.key"), "server_name": "localhost",
            } },
            { "name": "syslog", "kind": "syslog", "address": at(1), "tls": false },
            { "name": "opensearch", "kind": "elasticsearch", "url": format!("http://{}", at(2)), "tls": false,
              "index": "alerts" },
            { "name": "webhook", "kind": "webhook", "url": format!("http://{}", at(3)), "tls": false,
              "secret_file": "secret" },
            { "name": "file", "kind": "file", "path": "told" },
            { "name": "without", "kind": "syslog", "address": at(4), "tls": false, "replay": 0 },
        ]);
        std::fs::write(folder.path().join("sinks"), sinks.to_string())?;
        Ok(Plant { folder, relp, syslog, opensearch, hook, ways })
    }

    fn forwarding(&self) -> Result<Forwarding> {
        let said =
            std::fs::File::options().create(true).append(true).open(self.folder.path().join("said"))?;
        let this = std::env::current_exe().context("this program's place")?;
        Command::new(this)
            .args(["respond", "forward"])
            .arg(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(said)
            .spawn()
            .map(Forwarding)
            .context("the forwarding process cannot be started")
    }

    /// Lets the forwarding process append alerts up to a number.
    fn allow(&self, alerts: u64) -> Result<()> {
        let unfinished = self.folder.path().join("allowed.part");
        std::fs::write(&unfinished, alerts.to_string())?;
        Ok(std::fs::rename(unfinished, self.folder.path().join("allowed"))?)
    }

    /// Ids in the order in which they came to a receiver.
    fn received(&self, name: &str) -> Result<Vec<String>> {
        let id = |event: Value| event["metadata"]["uid"].as_str().unwrap_or_default().to_string();
        let by_syslog = |rsyslog: &Rsyslog| -> Result<Vec<String>> {
            // A line that was cut off with its connection is none.
            Ok(lines(&rsyslog.file()).iter().filter_map(|line| event(line).ok()).map(id).collect())
        };
        match name {
            "relp" => by_syslog(&self.relp),
            "syslog" => by_syslog(&self.syslog[0]),
            "syslog without replay" => by_syslog(&self.syslog[1]),
            "webhook" => Ok(self.hook.keys()),
            "file" => {
                let text = std::fs::read_to_string(self.folder.path().join("told"))?;
                Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).map(id).collect())
            }
            _ => self.indexed(),
        }
    }

    /// What the index holds; documents have no order.
    fn indexed(&self) -> Result<Vec<String>> {
        ask(self.opensearch.web, "POST", "/alerts/_refresh", "")?;
        let mut ids = Vec::new();
        for kind in ["alert", "event"] {
            let query = json!({
                "size": 10_000, "_source": ["event.id"], "query": { "term": { "event.kind.keyword": kind } },
            });
            let answer = ask(self.opensearch.web, "POST", "/alerts/_search", &query.to_string())?;
            let answer: Value = serde_json::from_str(&answer)?;
            let hits = answer["hits"]["hits"].as_array().context("hits")?;
            ids.extend(
                hits.iter().filter_map(|hit| hit["_source"]["event"]["id"].as_str().map(str::to_string)),
            );
        }
        Ok(ids)
    }
}

/// Breaks things, and counts what arrived.
pub fn delivery() -> Result<Vec<Figure>> {
    let mut plant = Plant::start()?;
    let mut random = fastrand::Rng::with_seed(SEED);
    let wait = |random: &mut fastrand::Rng, longest: u64| {
        std::thread::park_timeout(Duration::from_millis(random.u64(0..longest)));
    };
    let mut child = plant.forwarding()?;
    let (mut killed, mut cut, mut died, mut indexes) = (0_u32, 0_u32, 0_u32, 0);
    for fault in 1..=FAULTS {
        // Whatever a fault takes, there are alerts on their way when the next one comes.
        plant.allow(ALERTS * fault as u64 / FAULTS as u64)?;
        wait(&mut random, 300);
        match random.u8(0..10) {
            0..3 => {
                killed += 1;
                child.kill()?;
                wait(&mut random, 200);
                child = plant.forwarding()?;
            }
            3..7 => {
                cut += 1;
                let way = &plant.ways[random.usize(0..plant.ways.len())];
                way.cut();
                wait(&mut random, 400);
                way.mend();
            }
            7 if indexes < OPENSEARCH_KILLS => {
                (died, indexes) = (died + 1, indexes + 1);
                plant.opensearch.kill()?;
                plant.opensearch.restart()?;
            }
            number => {
                died += 1;
                let rsyslog =
                    if number == 8 { &mut plant.syslog[random.usize(0..2)] } else { &mut plant.relp };
                if random.bool() {
                    // It hangs first, as on a full disk.
                    rsyslog.pause()?;
                    wait(&mut random, 300);
                }
                rsyslog.kill()?;
                wait(&mut random, 300);
                rsyslog.restart()?;
            }
        }
    }
    let done = (0..3000).find_map(|_| {
        std::thread::park_timeout(Duration::from_millis(100));
        child.0.try_wait().transpose()
    });
    let said = || std::fs::read_to_string(plant.folder.path().join("said")).unwrap_or_default();
    match done.transpose()? {
        Some(status) => ensure!(status.success(), "forwarding ended with {status}: {}", said()),
        None => bail!("not everything was acknowledged within 300 s: {}", said()),
    }
    let mut figures = vec![
        Figure::new("kills of the forwarding process", f64::from(killed), ""),
        Figure::new("cuts of a way", f64::from(cut), ""),
        Figure::new("kills of receivers", f64::from(died), ""),
    ];
    let expected = expected();
    for name in RECEIVERS {
        let received = plant.received(name)?;
        let once: BTreeSet<&str> = received.iter().map(String::as_str).collect();
        let missing = expected.iter().filter(|id| !once.contains(id.as_str())).count();
        figures.push(Figure::new(format!("{name}, missing of {}", expected.len()), missing as f64, ""));
        let again = (received.len() - once.len()) as f64;
        if name == "opensearch" {
            figures.push(Figure::new(format!("{name}, stored more than once"), again, ""));
            continue;
        }
        figures.push(Figure::new(format!("{name}, came again under the same id"), again, ""));
        let last: BTreeMap<&str, &str> = received.iter().map(|id| (&id[..36], id.as_str())).collect();
        let decided = expected.iter().filter(|id| id[36..].starts_with("-d") && once.contains(id.as_str()));
        let open = decided.filter(|id| last[&id[..36]] != id.as_str()).count();
        figures.push(Figure::new(format!("{name}, open although resolved"), open as f64, ""));
    }
    Ok(figures)
}

/// Appends what is not there yet and forwards it to every sink, in a process that is killed now and then; ends when
/// everything is acknowledged.
pub fn forward(folder: &Path) -> Result<()> {
    let log: Arc<dyn Log> = Arc::new(Embedded::open(folder.join("log"), Options::default())?);
    log.ensure_topic(TOPIC, 1)?;
    let sinks: Vec<SinkConfig> = serde_json::from_str(&std::fs::read_to_string(folder.join("sinks"))?)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let metrics = Metrics::register(&Registry::new())?;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let (mut running, mut all) = (Vec::new(), Vec::new());
    for config in sinks {
        let sink = config.build(folder).map_err(|e| anyhow!("{e}"))?;
        let forwarder = Forwarder::new(&config.name, sink, Arc::clone(&log), TOPIC, &metrics);
        let forwarder = forwarder.delivering(config.delivery);
        all.push(forwarder.progress());
        let mut stopped = stopped.clone();
        running.push(runtime.spawn(forwarder.run(async move {
            // The sender lives as long as this.
            let _ = stopped.wait_for(|stop| *stop).await;
        })));
    }
    append(log.as_ref(), &folder.join("allowed"))?;
    let end = log.held(TOPIC, 0)?.end;
    while !all.iter().all(|progress| progress.committed().get(&0).is_some_and(|next| *next >= end)) {
        ensure!(running.iter().all(|one| !one.is_finished()), "a forwarder ended by itself");
        std::thread::park_timeout(Duration::from_millis(20));
    }
    stop.send_replace(true);
    running.into_iter().try_for_each(|one| Ok(runtime.block_on(one)??))
}

/// Appends the records of the log that it does not hold, as far and as soon as the file `allowed` says: alerts, and
/// decisions between them.
fn append(log: &dyn Log, allowed: &Path) -> Result<()> {
    let mut appender = log.appender(TOPIC)?;
    let held = log.held(TOPIC, 0)?.end;
    let (mut record, mut may) = (0, 0);
    for number in 0..ALERTS {
        let alert = fixtures::alert(number);
        let decided = is_decided(number).then(|| decision(&alert, number));
        for one in std::iter::once(fixtures::record(&[alert])).chain(decided.into_iter().flatten()) {
            record += 1;
            if record <= held {
                continue;
            }
            while number >= may || record.is_multiple_of(TOGETHER) {
                appender.flush()?;
                std::thread::park_timeout(PAUSE);
                may = std::fs::read_to_string(allowed)?.parse()?;
                if number < may {
                    break;
                }
            }
            appender.append(one)?;
        }
    }
    Ok(appender.flush()?)
}

fn is_decided(number: u64) -> bool {
    (number + 1).is_multiple_of(DECIDED_EVERY)
}

fn decision(alert: &Alert, number: u64) -> Vec<yagura_log::Record> {
    let mut cases = Cases::default();
    cases.alert(alert.clone());
    let seen = alert.observed.max(alert.last_time);
    let what = What::Case { case: CaseKey::of(alert), to: Verdict::Resolved, seen };
    cases.records(&Decision { time: number as i64, by: "mori".into(), why: "replaced".into(), what }).told
}

/// The ids of everything that [`append`] appends.
fn expected() -> Vec<String> {
    let ids = (0..ALERTS).flat_map(|number| {
        let uid = fixtures::alert(number).uid;
        [Some(format!("{uid}-r1")), is_decided(number).then(|| format!("{uid}-d{number}"))]
    });
    ids.flatten().collect()
}
