use serde_json::json;
use yagura_event::clock::SECOND;
use yagura_event::{Alert, Encoding, Envelope, Kind};
use yagura_log::Record;

use super::*;
use crate::baseline::decision::Decision;
use crate::baseline::signature::KeyPair;
use crate::baseline::{Difference, Entry, Trust, Trusted};
use crate::operators::testing::Equals;
use crate::pipeline::Pipeline;
use crate::shelf::{Shelf, Texts};

const TEXT: &str = "version: 1
detections:
  - { id: drift, title: D, queue: security, severity: low, on: sample, by: [tool, signal], quiet: 0s,
      model: { name: guard, findings: [shift, drift], parameters: { settle_samples: 0 } }, summary: '{finding}', then: Look. }
  - { id: peer, title: P, queue: security, severity: low, on: message, by: [client], quiet: 0s,
      known: { of: [client, tool], from: learning }, summary: '{client}', then: Look. }
";

fn pipeline(trust: Trust) -> Arc<Pipeline> {
    let texts = Texts { trust, ..Texts::one("p.yaml", TEXT) };
    Shelf::new(Equals).read(texts).unwrap_or_else(|errors| panic!("{}", errors[0]))
}

/// A cell's log as it grows, and the shard that judges it.
struct Bay {
    shard: Shard,
    log: Vec<Record>,
    alerts: Vec<Alert>,
    refused: Vec<String>,
    next_row: u64,
    second: i64,
    noise: u64,
}

impl Bay {
    fn new(pipeline: &Arc<Pipeline>) -> Bay {
        let shard = Shard::new("bay", Arc::clone(pipeline));
        let mut bay =
            Bay { shard, log: vec![], alerts: vec![], refused: vec![], next_row: 0, second: 0, noise: 7 };
        let series = |(number, tool): (usize, &str)| json!({"series": number, "tool": tool, "signal": "flow", "unit": "sccm"});
        let rows: Vec<Value> = ["ETCH-07", "ETCH-08"].into_iter().enumerate().map(series).collect();
        bay.rows(Kind::Series, &rows);
        bay
    }

    fn take(&mut self, record: Record) {
        let stepped = self.shard.step(self.log.len() as u64, &record);
        assert!(stepped.unreadable.is_none(), "{:?}", stepped.unreadable);
        self.alerts.extend(stepped.alerts);
        self.refused.extend(stepped.refused.into_iter().map(|refused| refused.reason));
        self.log.push(record);
    }

    fn rows(&mut self, kind: Kind, rows: &[Value]) {
        let at = self.second * SECOND;
        let envelope = Envelope {
            kind,
            version: kind.version(),
            cell: "bay".into(),
            collector: "tap".into(),
            epoch: 1,
            first_row: self.next_row,
            rows: rows.len() as u32,
            observed: (at, at),
            promise: at,
            encoding: Encoding::Json,
            origin: None,
            places: Vec::new(),
        };
        self.next_row += rows.len() as u64;
        let lines: Vec<String> = rows.iter().map(Value::to_string).collect();
        let value = lines.join("\n").into();
        self.take(Record { key: "bay".into(), header: envelope.to_header().into(), value });
    }

    /// A second of each: two signals about these levels.
    fn samples(&mut self, levels: impl Iterator<Item = f64>) -> Vec<Alert> {
        let before = self.alerts.len();
        for level in levels {
            self.second += 1;
            let mut noise = || {
                self.noise = self.noise.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                (self.noise >> 11) as f64 / (1_u64 << 53) as f64 - 0.5
            };
            let at = self.second * SECOND;
            let row = |series: u32, value: f64| json!({"series": series, "time": at, "observed": at, "value": value, "quality": 0});
            let rows = [row(0, level + noise()), row(1, 20.0 + noise())];
            self.rows(Kind::Sample, &rows);
        }
        self.alerts[before..].to_vec()
    }

    fn messages(&mut self, clients: &[&str]) -> Vec<String> {
        let before = self.alerts.len();
        self.second += 1;
        let at = self.second * SECOND;
        let rows: Vec<Value> =
            clients.iter().map(|c| json!({"time": at, "observed": at, "client": c, "tool": "PLC"})).collect();
        self.rows(Kind::Message, &rows);
        self.alerts[before..].iter().map(|alert| alert.summary.clone()).collect()
    }

    fn decide(&mut self, decision: &Decision<'_>) -> Vec<String> {
        let before = self.refused.len();
        self.second += 1;
        for record in decision.records("bay", "ann", self.second * SECOND) {
            self.take(record);
        }
        self.refused[before..].to_vec()
    }

    fn approve_plainly(&mut self) {
        let at = self.second * SECOND;
        self.rows(Kind::Control, &[json!({"time": at, "observed": at, "action": "approve", "subject": "*"})]);
    }

    fn proposed(&self, detection: &str) -> Document {
        self.shard.learned(detection, Which::Proposed).expect("something is learned")
    }

    fn history(&self, detection: &str) -> History {
        self.shard.baselines().find(|(d, _)| d.id == detection).expect("it learns").1
    }

    fn in_force(&self, detection: &str) -> Option<u32> {
        self.history(detection).in_force().map(|version| version.number)
    }

    fn restart(&mut self, pipeline: &Arc<Pipeline>) {
        let saved = self.shard.save()();
        self.shard = Shard::restore(&saved, Arc::clone(pipeline)).expect("own state");
        assert!(self.shard.save()() == saved, "the same bytes again");
    }

    /// The same log again gives the same alerts and the same state, with a restart anywhere.
    fn replayed(&self, pipeline: &Arc<Pipeline>) {
        for restart in [usize::MAX, self.log.len() / 3, self.log.len() / 2, self.log.len() - 1] {
            let mut shard = Shard::new("bay", Arc::clone(pipeline));
            let mut alerts = Vec::new();
            for (offset, record) in self.log.iter().enumerate() {
                if offset == restart {
                    shard = Shard::restore(&shard.save()(), Arc::clone(pipeline)).expect("own state");
                }
                alerts.extend(shard.step(offset as u64, record).alerts);
            }
            assert!(alerts == self.alerts, "restarted at {restart}");
            assert!(shard.save()() == self.shard.save()(), "restarted at {restart}");
        }
    }
}

fn findings(alerts: &[Alert]) -> Vec<&str> {
    let mut out: Vec<&str> = alerts.iter().map(|alert| alert.summary.as_str()).collect();
    out.dedup();
    out
}

fn level(document: &Document, tool: &str) -> f64 {
    let entry = document.entries.iter().find(|entry| entry.key[0] == tool).expect("an entry");
    entry.values["level"].as_f64().expect("a level")
}

#[test]
fn a_signed_baseline_in_the_middle_is_judged_by_and_replayed() {
    let key = KeyPair::generate().unwrap().0;
    let trust = Trust { trusted: vec![Trusted { name: "ann".into(), key: key.public() }], signed_only: true };
    let pipeline = pipeline(trust);
    let mut bay = Bay::new(&pipeline);
    assert_eq!(bay.samples((0..200).map(|_| 50.0)), []);
    assert_eq!((bay.in_force("drift"), bay.proposed("drift").entries.len()), (None, 2));
    // An approval without a document does nothing here.
    bay.approve_plainly();
    assert!(bay.refused[0].contains("signed_only"), "{:?}", bay.refused);
    assert_eq!(bay.shard.learned("drift", Which::InForce).map(|d| d.entries), Some(vec![]));
    let mut first = bay.proposed("drift");
    assert!(bay.decide(&Decision::PutInForce(&first))[0].contains("no signature"));
    first.sign(&key);
    assert_eq!(bay.decide(&Decision::PutInForce(&first)), [""; 0]);
    let version = bay.history("drift").in_force().cloned().unwrap();
    assert_eq!((version.number, version.signer.as_deref(), version.entries), (1, Some("ann"), 2));
    assert_eq!(version.document.unwrap().as_str(), first.text(), "as it was signed");
    bay.restart(&pipeline);
    assert!(findings(&bay.samples((0..200).map(|_| 58.0))).contains(&"drift"));
    bay.replayed(&pipeline);
    assert_eq!(bay.shard.stats().refused_baselines, 2);
}

#[test]
fn what_is_refused_leaves_the_last_good_one_in_force() {
    let (key, other) = (KeyPair::generate().unwrap().0, KeyPair::generate().unwrap().0);
    let trusted = vec![Trusted { name: "ann".into(), key: key.public() }];
    let pipeline = pipeline(Trust { trusted, signed_only: false });
    let mut bay = Bay::new(&pipeline);
    bay.samples((0..200).map(|_| 50.0));
    let mut good = bay.proposed("drift");
    good.sign(&key);
    assert_eq!(bay.decide(&Decision::PutInForce(&good)), [""; 0]);
    let in_force = bay.shard.learned("drift", Which::InForce);
    let mut refuse = |text: String, reason: &str, key: Option<&KeyPair>| {
        let mut document = Document::read(&text).expect("a document");
        document.header.detection = "drift".into();
        if let Some(key) = key {
            document.sign(key);
        }
        let refused = bay.decide(&Decision::PutInForce(&document));
        assert!(refused.len() == 1 && refused[0].contains(reason), "{refused:?} is not about {reason}");
        assert_eq!(bay.shard.learned("drift", Which::InForce), in_force, "{reason}");
        assert_eq!(bay.in_force("drift"), Some(1), "{reason}");
    };
    let body: String = good.text().lines().take(3).map(|line| format!("{line}\n")).collect();
    refuse(good.text().replace("\"level\":", "\"level\":1"), "changed after it was signed", None);
    refuse(body.clone(), "does not trust", Some(&other));
    refuse(body.replace("\"model_version\":1", "\"model_version\":9"), "newer", Some(&key));
    refuse(body.replace("\"detection\":\"drift\"", "\"detection\":\"gone\""), "detection `gone`", Some(&key));
    let print = &good.header.fingerprint;
    refuse(body.replace(print, "00000000000000ff"), "fingerprint", Some(&key));
    refuse(body.replace("\"cell\":\"bay\"", "\"cell\":\"other\""), "cell `other`", Some(&key));
    refuse(body.replace("sccm", "slm"), "comes in sccm", Some(&key));
    refuse(body.replace("\"deviation\":", "\"deviation\":-"), "deviation", Some(&key));
    // A detection that is not there, parts that are missing, and a version that this program does not know.
    let mut unknown = Document::new(Header { detection: "gone".into(), ..good.header.clone() }, vec![]);
    unknown.sign(&key);
    assert!(bay.decide(&Decision::PutInForce(&unknown))[0].contains("no detection `gone` learns"));
    let mut record = Decision::PutInForce(&good).records("bay", "ann", 999 * SECOND).remove(0);
    let text = String::from_utf8(record.value.to_vec())
        .unwrap()
        .replace("\\\"part\\\":0,\\\"parts\\\":1", "\\\"part\\\":1,\\\"parts\\\":2");
    record.value = text.into();
    bay.take(record);
    assert!(bay.refused.last().unwrap().contains("parts of the document are missing"), "{:?}", bay.refused);
    assert!(bay.decide(&Decision::BackTo { detection: "drift", version: 9 })[0].contains("not kept"));
    assert_eq!(bay.shard.learned("drift", Which::InForce), in_force);
    assert_eq!(bay.shard.stats().refused_baselines, 11);
    bay.replayed(&pipeline);
}

#[test]
fn an_earlier_version_comes_back_and_old_ones_are_kept_in_number() {
    let pipeline = pipeline(Trust::default());
    let mut bay = Bay::new(&pipeline);
    bay.samples((0..200).map(|_| 50.0));
    bay.approve_plainly();
    assert_eq!(bay.in_force("drift"), Some(1));
    bay.approve_plainly();
    assert_eq!(bay.history("peer").versions.len(), 0, "nothing was seen");
    bay.samples((0..400).map(|_| 52.0));
    let second = bay.proposed("drift");
    assert_eq!(bay.decide(&Decision::PutInForce(&second)), [""; 0]);
    let last = bay.history("drift").versions.len();
    assert!((level(&bay.shard.learned("drift", Which::InForce).unwrap(), "ETCH-07") - 52.0).abs() < 0.3);
    assert_eq!(bay.decide(&Decision::BackTo { detection: "drift", version: 1 }), [""; 0]);
    assert_eq!(bay.in_force("drift"), Some(1));
    assert_eq!(bay.history("drift").versions.len(), last, "none is lost");
    assert!((level(&bay.shard.learned("drift", Which::InForce).unwrap(), "ETCH-07") - 50.0).abs() < 0.3);
    assert!(findings(&bay.samples((0..60).map(|_| 52.0))).contains(&"drift"));
    for n in 0..2 * VERSIONS_MAX as i64 {
        bay.second += n;
        bay.samples((0..2).map(|_| 52.0));
        bay.decide(&Decision::PutInForce(&bay.proposed("drift")));
    }
    let history = bay.history("drift");
    assert_eq!(history.versions.len(), VERSIONS_MAX);
    assert_eq!(history.versions.iter().filter(|version| version.in_force).count(), 1);
    bay.replayed(&pipeline);
}

#[test]
fn a_baseline_that_comes_first_is_judged_by_from_the_first_sample() {
    let pipeline = pipeline(Trust::default());
    let mut teacher = Bay::new(&pipeline);
    teacher.samples((0..200).map(|_| 50.0));
    let document = teacher.proposed("drift");
    let mut shard = Shard::new("bay", Arc::clone(&pipeline));
    for (offset, record) in Decision::PutInForce(&document).records("bay", "ann", 0).iter().enumerate() {
        assert_eq!(shard.step(offset as u64, record).refused, []);
    }
    assert_eq!(shard.watermark(), Micros::MIN, "a decision promises nothing about rows");
    assert_eq!(shard.learned("drift", Which::InForce).unwrap().entries, document.entries);
    let mut bay = Bay { shard, ..Bay::new(&pipeline) };
    let series = bay.log.remove(0);
    bay.log = Decision::PutInForce(&document).records("bay", "ann", 0);
    bay.take(series);
    assert!(findings(&bay.samples((0..60).map(|_| 58.0))).contains(&"drift"));
    assert_eq!(bay.in_force("drift"), Some(1));
    bay.replayed(&pipeline);
}

#[test]
fn a_slow_walk_is_caught_and_cannot_be_approved_unseen() {
    let pipeline = pipeline(Trust::default());
    let mut bay = Bay::new(&pipeline);
    bay.samples((0..300).map(|_| 50.0));
    bay.decide(&Decision::PutInForce(&bay.proposed("drift")));
    let before = bay.shard.learned("drift", Which::InForce).unwrap();
    // A two-hundredth of the noise a second: the running level follows, the approved one stands still.
    let alerts = bay.samples((0..1200).map(|second| 50.0 + f64::from(second) * 0.0015));
    assert_eq!(findings(&alerts), ["drift"]);
    assert!(alerts.iter().all(|alert| alert.tool == "ETCH-07"));
    assert_eq!(bay.shard.learned("drift", Which::InForce).unwrap().entries, before.entries);
    let proposed = bay.proposed("drift");
    let difference = Difference::between(&before.entries, &proposed.entries);
    let moved = |(one, other): &&(&Entry, &Entry)| {
        let of = |entry: &Entry, name: &str| entry.values[name].as_f64().unwrap();
        (of(other, "level") - of(one, "level")).abs() > 3.0 * of(one, "deviation")
    };
    let moved: Vec<&str> = difference.changed.iter().filter(moved).map(|(e, _)| e.key[0].as_str()).collect();
    assert_eq!(moved, ["ETCH-07"], "what approving would change is plain to see");
    bay.replayed(&pipeline);
}

#[test]
fn a_new_peer_is_caught_however_slowly_it_comes() {
    let pipeline = pipeline(Trust::default());
    let mut bay = Bay::new(&pipeline);
    assert_eq!(bay.messages(&["HMI", "MES"]), [""; 0]);
    bay.decide(&Decision::PutInForce(&bay.proposed("peer")));
    for n in 0..20 {
        bay.second += 3600 * n;
        assert_eq!(bay.messages(&["HMI", "MES"]), [""; 0]);
    }
    assert_eq!(bay.messages(&["HMI", "GUEST"]), ["GUEST"]);
    bay.restart(&pipeline);
    let (now, proposed) = (bay.shard.learned("peer", Which::InForce).unwrap(), bay.proposed("peer"));
    let difference = Difference::between(&now.entries, &proposed.entries);
    assert_eq!(difference.added.iter().map(|e| e.key.join(" ")).collect::<Vec<_>>(), ["GUEST PLC"]);
    // An approval as it stands admits nobody.
    bay.approve_plainly();
    assert_eq!(bay.messages(&["GUEST"]), ["GUEST"]);
    // A signed look at the difference does, and going back undoes it.
    bay.decide(&Decision::PutInForce(&proposed));
    assert_eq!(bay.messages(&["GUEST"]), [""; 0]);
    let first = bay.history("peer").versions[0].number;
    bay.decide(&Decision::BackTo { detection: "peer", version: first });
    assert_eq!(bay.messages(&["GUEST", "HMI"]), ["GUEST"]);
    bay.replayed(&pipeline);
}

#[test]
fn recorded_maintenance_moves_a_level_within_its_limit_and_is_listed() {
    let pipeline = pipeline(Trust::default());
    let mut bay = Bay::new(&pipeline);
    bay.samples((0..300).map(|_| 50.0));
    bay.decide(&Decision::PutInForce(&bay.proposed("drift")));
    let Value::Object(keys) = json!({"tool": "ETCH-07"}) else { unreachable!() };
    let maintenance = Decision::Maintenance { detection: "*", keys: &keys };
    bay.decide(&maintenance);
    let history = bay.history("drift");
    let told: Vec<_> = history.versions.iter().map(|v| (v.in_force, v.entries, v.why.clone())).collect();
    let why = Why::Maintenance(json!({"tool": "ETCH-07"}).to_string());
    assert_eq!(told, [(false, 2, Why::Document), (true, 1, why)]);
    assert_eq!(bay.samples((0..600).map(|_| 51.0)), [], "a new level within the limit");
    // The sister's level stays, and so does the limit, however often maintenance is recorded.
    for _ in 0..4 {
        bay.decide(&maintenance);
        bay.samples((0..70).map(|_| 70.0));
    }
    let level = level(&bay.shard.learned("drift", Which::InForce).unwrap(), "ETCH-07");
    assert!(level < 53.0, "{level}");
    assert!(findings(&bay.samples((0..60).map(|_| 70.0))).contains(&"drift"));
    let Value::Object(none) = json!({"tool": "ETCH-99"}) else { unreachable!() };
    let versions = bay.history("drift").versions.len();
    bay.decide(&Decision::Maintenance { detection: "*", keys: &none });
    assert_eq!(bay.history("drift").versions.len(), versions, "it concerns nothing");
    assert_eq!(bay.decide(&Decision::BackTo { detection: "drift", version: 1 }), [""; 0]);
    bay.replayed(&pipeline);
}

#[test]
fn another_pipeline_version_trusts_whom_it_names_from_its_record_on() {
    let key = KeyPair::generate().unwrap().0;
    let (open, closed) = (pipeline(Trust::default()), Trust { signed_only: true, ..Trust::default() });
    let closed =
        open.shelf.read(Texts { trust: closed, ..open.texts.clone() }).unwrap_or_else(|e| panic!("{e:?}"));
    assert_ne!(open.version, closed.version);
    let mut bay = Bay::new(&open);
    bay.samples((0..100).map(|_| 50.0));
    let mut document = bay.proposed("drift");
    assert_eq!(bay.decide(&Decision::PutInForce(&document)), [""; 0]);
    let payload = serde_json::to_string(&closed.texts).unwrap();
    let row = json!({"time": 0, "observed": 0, "action": "pipeline", "subject": closed.version.to_string(), "payload": payload});
    bay.rows(Kind::Control, &[row]);
    assert_eq!(bay.in_force("drift"), Some(1), "what was in force stays so");
    assert!(bay.decide(&Decision::PutInForce(&document))[0].contains("no signature"));
    document.sign(&key);
    assert!(bay.decide(&Decision::PutInForce(&document))[0].contains("does not trust"));
    bay.replayed(&open);
}

#[test]
fn what_alerts_before_it_is_approved_says_that_it_is_provisional() {
    let text = TEXT
        .replace("[shift, drift]", "[shift, drift, range]")
        .replace("settle_samples: 0", "settle_samples: 0, provisional_sigma: 24");
    let read = Shelf::new(Equals).read(Texts::one("p.yaml", text));
    let pipeline = read.unwrap_or_else(|errors| panic!("{}", errors[0]));
    let mut bay = Bay::new(&pipeline);
    assert_eq!(bay.samples((0..200).map(|_| 50.0)), []);
    let alerts = bay.samples((0..5).map(|_| 90.0));
    assert_eq!(findings(&alerts), ["range"]);
    assert_eq!((&alerts[0].evidence["provisional"], alerts[0].tool.as_str()), (&json!(true), "ETCH-07"));
    bay.samples((0..400).map(|_| 50.0));
    bay.decide(&Decision::PutInForce(&bay.proposed("drift")));
    let alerts = bay.samples((0..5).map(|_| 90.0));
    assert!(alerts[0].evidence.get("provisional").is_none(), "{alerts:?}");
    bay.replayed(&pipeline);
}
