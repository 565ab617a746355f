//! Labelled attacks on plants' protocols: how many are found, and what it costs in false alerts.
//!
//! How it is made. The captures go through the collector's own engine and dissectors; a row is an attack where
//! the packet that it begins with is labelled so (Modbus), or where the attacker's machine is one of its ends
//! (S7, whose attacks are captures of their own). The rest is benign. One plant each:
//!
//! - **Modbus**: six controllers and their master (`antoine-lemay__*`). There are two captures of it, of six
//!   and three minutes; the benign part of both is the plant's traffic. Beside it, in the same cell, the traffic
//!   of three others (`ITI__ModbusTCP_Modbus_modbus_test*`, `idaholab__*_Modicon`). Attacks: the scan of a controller from another one, and the
//!   two connections between controllers over which files are moved; their later bursts come on the same
//!   connections, of which there is no row then.
//! - **S7**: a controller and its panel (`qut-infosec__*`). Ten of twelve attacks are one or two messages without
//!   any other traffic. What the panel sent during the two floods (its own two captures, 75 and 83 s) is the
//!   plant's traffic, with what the attacker's machine heard in eight hours (`qut-infosec__attacker`) and another
//!   plant's polling (`ITI__s7_S7Comm_s7comm_clean`).
//!
//! The plant's traffic is repeated, each message up to 2 ms early or late, each repetition up to half a second
//! later, one message in ten thousand lost, all by a seeded generator. Six hours are learned and approved. Then
//! comes a day with one attack at noon, anew for each attack. An attack is found when something alerts between
//! its first message and a minute after its last; any other alert of that day is false. That benign traffic
//! repeats makes it easy to be silent; so, apart:
//!
//! - *learned on the other capture alone*: what the operators did in the one is unknown in the other;
//! - *from the master's address*: the same attacks as if the master had sent them;
//! - *forged*: writes that the plant itself sends, once more at a wrong moment, or with a value that nobody wrote;
//! - *never seen*: every other capture of ten protocols with 300 messages or more, two thirds learned, the last
//!   third judged as it is;
//! - IEC 104 and MMS from tables of flows (`mms_gics`), not from packets.
//!
//! The configuration is what ships: `pipelines/ot/behaviour.yaml`.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, anyhow, ensure};
use yagura_detect::{Pipeline, Shard, Shelf};
use yagura_event::clock::{Micros, SECOND};
use yagura_event::{Alert, Kind};
use yagura_log::Record;
use yagura_sql::SqlCompiler;

use self::rows::{Row, Stretch, captures, labelled, read, records, repeated};
use self::score::{Scorer, auroc, tpr_at_one_in_a_thousand};
use crate::common;
use crate::report::{Figure, Report};

mod others;
mod rows;
mod score;
mod speed;

const HOUR: Micros = 3_600 * SECOND;
const DAY: Micros = 24 * HOUR;
const LEARNED: Micros = 6 * HOUR;
/// An attack is found up to so long after its last message.
const GRACE: Micros = 60 * SECOND;
/// Messages of an attack with a longer pause between them are two attacks.
const APART: Micros = 10 * SECOND;
/// The day on which it begins.
const START: Micros = 1_760_000_000 * SECOND;
/// The shipped detections that the model judges.
const BEHAVIOUR: &str = "pipelines/ot/behaviour.yaml";

/// One plant: its traffic, whose traffic beside it, and what was done to it.
struct Plant {
    name: &'static str,
    master: &'static str,
    /// Its own captures' benign parts.
    own: Vec<Vec<Row>>,
    beside: Vec<Stretch>,
    attacks: Vec<Vec<Row>>,
}

/// Measures all of it.
pub fn traffic() -> Result<Report> {
    let ours = pipeline(&[BEHAVIOUR])?;
    let all = pipeline(&["pipelines/ot"])?;
    let mut figures = Vec::new();
    for plant in [modbus()?, s7()?] {
        embedded(&plant, &ours, &all, &mut figures)?;
    }
    others::never_seen(&ours, &mut figures)?;
    others::tables(&ours, &mut figures)?;
    speed::speed(&ours, &mut figures)?;
    Ok(Report {
        input: "labelled captures, one attack a day in repeated benign traffic, the shipped configuration"
            .into(),
        figures,
    })
}

fn pipeline(files: &[&str]) -> Result<Arc<Pipeline>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let files: Vec<_> = files.iter().map(|file| root.join(file)).collect();
    Shelf::new(SqlCompiler::default()).load(&files).map_err(|errors| anyhow!("{}", errors[0]))
}

/// Other plants' traffic, beside the one that is attacked.
const BESIDE_MODBUS: [&str; 3] = [
    "ITI__ModbusTCP_Modbus_modbus_test.pcap",
    "ITI__ModbusTCP_Modbus_modbus_test_2.pcap",
    "idaholab__pcap_other_Digital_Bond_S4_Modicon.pcap",
];

fn modbus() -> Result<Plant> {
    let folder = captures().join("modbus");
    let (mut own, mut attacks) = (Vec::new(), Vec::new());
    for name in ["moving_two_files_modbus_6RTU", "characterization_modbus_6RTU_with_operate"] {
        let file = folder.join(format!("antoine-lemay__{name}.pcap"));
        let labels = captures().join(format!("expected/modbus/labels/{name}_labeled.csv"));
        let rows = read(&file, &labelled(&file, &labels)?)?;
        let (attack, benign): (Vec<Row>, Vec<Row>) = rows.into_iter().partition(|row| row.attack);
        attacks.extend(attack.chunk_by(|a, b| b.time - a.time <= APART).map(begun));
        own.push(benign);
    }
    let other = |name: &str| Ok(Stretch(read(&folder.join(name), &HashSet::new())?));
    let beside: Result<Vec<Stretch>> = BESIDE_MODBUS.into_iter().map(other).collect();
    Ok(Plant { name: "modbus", master: "192.168.1.100", own, beside: beside?, attacks })
}

fn s7() -> Result<Plant> {
    const ATTACKER: &str = "10.10.10.66";
    let folder = captures().join("attack_s7_labelled");
    let list = std::fs::read_to_string(captures().join("expected/attack_s7_labelled/attacks.csv"))?;
    let mut attacks = Vec::new();
    for line in list.lines().skip(1) {
        let file = line.split([',', ' ']).find(|word| word.ends_with(".master.pcap"));
        let file = file.ok_or_else(|| anyhow!("no capture at the controller: {line}"))?;
        let rows = read(&folder.join(file), &HashSet::new())?;
        let mut rows: Vec<Row> =
            rows.into_iter().filter(|row| row.client == ATTACKER || row.server == ATTACKER).collect();
        rows.iter_mut().for_each(|row| row.attack = true);
        attacks.push(begun(&rows));
    }
    let benign = |file: &str| -> Result<Vec<Row>> {
        let rows = read(&folder.join(file), &HashSet::new())?;
        Ok(rows.into_iter().filter(|row| row.client != ATTACKER && row.server != ATTACKER).collect())
    };
    let own = vec![
        benign("qut-infosec__20161215191717.ChangeUpperThreshold_Flooding.hmi.pcap")?,
        benign("qut-infosec__20161215190548.WaterTankOnManu_Flooding.hmi.pcap")?,
    ];
    let clean = captures().join("s7comm/ITI__s7_S7Comm_s7comm_clean.pcap");
    let beside =
        vec![Stretch(benign("qut-infosec__attacker.pcap")?), Stretch(read(&clean, &HashSet::new())?)];
    Ok(Plant { name: "s7", master: "10.10.10.20", own, beside, attacks })
}

/// Rows from the time of the first on.
fn begun(rows: &[Row]) -> Vec<Row> {
    let first = rows.first().map_or(0, |row| row.time);
    rows.iter().map(|row| Row { time: row.time - first, ..row.clone() }).collect()
}

/// Stretches one after the other.
fn joined(parts: &[Vec<Row>]) -> Stretch {
    let mut out: Vec<Row> = Vec::new();
    for part in parts {
        let after = out.last().map_or(0, |row| row.time + SECOND);
        out.extend(part.iter().map(|row| Row { time: row.time + after, ..row.clone() }));
    }
    Stretch(out)
}

/// A cell that has learned.
struct Learned {
    pipeline: Arc<Pipeline>,
    state: Vec<u8>,
    number: u64,
}

impl Learned {
    fn from(pipeline: &Arc<Pipeline>, rows: &[(Micros, &Row)]) -> Result<Learned> {
        let mut shard = Shard::new("bench", Arc::clone(pipeline));
        let mut number = 0;
        for record in records(rows, &mut number)? {
            shard.step(shard.next_offset(), &record);
        }
        let last = rows.last().map_or(START, |(time, _)| *time);
        let approval = common::record(Kind::Control, &mut number, &common::approval(), (last, last))?;
        shard.step(shard.next_offset(), &approval);
        Ok(Learned { pipeline: Arc::clone(pipeline), state: shard.save()(), number })
    }

    /// The new alerts on what comes next.
    fn judge(&self, rows: &[(Micros, &Row)]) -> Result<Vec<Alert>> {
        self.judge_records(&records(rows, &mut self.number.clone())?)
    }

    fn judge_records(&self, records: &[Record]) -> Result<Vec<Alert>> {
        let mut shard = Shard::restore(&self.state, Arc::clone(&self.pipeline)).map_err(|e| anyhow!(e))?;
        let mut alerts = Vec::new();
        for record in records {
            let stepped = shard.step(shard.next_offset(), record);
            ensure!(stepped.unreadable.is_none(), "{:?}", stepped.unreadable);
            alerts.extend(stepped.alerts.into_iter().filter(|alert| alert.revision == 1));
        }
        Ok(alerts)
    }
}

/// How often attacks were found, and what else alerted.
#[derive(Default)]
struct Tally {
    attacks: usize,
    found: usize,
    false_alerts: usize,
    days: f64,
    by: BTreeMap<String, usize>,
}

impl Tally {
    fn count(&mut self, alerts: &[Alert], attack: Option<(Micros, Micros)>, length: Micros) {
        let within =
            |alert: &&Alert| attack.is_some_and(|(from, to)| (from..=to + GRACE).contains(&alert.time));
        self.attacks += usize::from(attack.is_some());
        self.found += usize::from(alerts.iter().any(|alert| within(&alert)));
        self.days += length as f64 / DAY as f64;
        for alert in alerts.iter().filter(|alert| !within(alert)) {
            self.false_alerts += 1;
            let finding = alert.evidence["finding"].as_str().unwrap_or_default();
            *self.by.entry(format!("{} {finding}", alert.detection)).or_default() += 1;
        }
    }

    fn figures(&self, name: &str, figures: &mut Vec<Figure>) {
        if self.attacks > 0 {
            let of = format!("{name}: attacks found of {}", self.attacks);
            figures.push(Figure::new(of, self.found as f64, ""));
        }
        let rate = self.false_alerts as f64 / self.days;
        figures.push(Figure::new(
            format!("{name}: false alerts a day, over {:.2} days", self.days),
            rate,
            "1/d",
        ));
        for (by, count) in &self.by {
            figures.push(Figure::new(format!("{name}:   of which {by}"), *count as f64, ""));
        }
    }
}

/// A day with an attack at noon; when it was.
fn day<'a>(benign: &[(Micros, &'a Row)], attack: &'a [Row]) -> (Vec<(Micros, &'a Row)>, (Micros, Micros)) {
    let noon = START + LEARNED + DAY / 2;
    let mut rows = benign.to_vec();
    rows.extend(attack.iter().map(|row| (noon + row.time, row)));
    rows.sort_by_key(|(time, _)| *time);
    (rows, (noon, noon + attack.last().map_or(0, |row| row.time)))
}

fn embedded(
    plant: &Plant,
    ours: &Arc<Pipeline>,
    all: &Arc<Pipeline>,
    figures: &mut Vec<Figure>,
) -> Result<()> {
    let name = plant.name;
    let own = joined(&plant.own);
    let stretches: Vec<&Stretch> = std::iter::once(&own).chain(&plant.beside).collect();
    let mut random = fastrand::Rng::with_seed(1);
    let learned = repeated(&stretches, (START, START + LEARNED), &mut random);
    let today = (START + LEARNED, START + LEARNED + DAY);
    let (alone, with_all) = (Learned::from(ours, &learned)?, Learned::from(all, &learned)?);
    let mut scorer = Scorer::default();
    scorer.messages(&learned);
    scorer.approve();

    let (mut tally, mut whole, mut masked) = (Tally::default(), Tally::default(), Tally::default());
    let (mut scores, mut masked_scores, mut messages) = (Vec::new(), Vec::new(), 0);
    for attack in &plant.attacks {
        let benign = repeated(&stretches, today, &mut random);
        messages += benign.len();
        let (rows, when) = day(&benign, attack);
        let records = records(&rows, &mut alone.number.clone())?;
        tally.count(&alone.judge_records(&records)?, Some(when), DAY);
        whole.count(&with_all.judge_records(&records)?, Some(when), DAY);
        scored(&scorer, &rows, &mut scores);
        let mask = |row: &Row| Row { client: plant.master.into(), ..row.clone() };
        let attack: Vec<Row> = attack.iter().filter(|row| !row.flow).map(mask).collect();
        if !attack.is_empty() && attack.iter().all(|row| row.server != plant.master) {
            let (rows, when) = day(&benign, &attack);
            masked.count(&alone.judge(&rows)?, Some(when), DAY);
            scored(&scorer, &rows, &mut masked_scores);
        }
    }
    let alert_all = messages as f64 / plant.attacks.len() as f64;
    figures.push(Figure::new(format!("{name}: attacks found, always-on"), plant.attacks.len() as f64, ""));
    figures.push(Figure::new(format!("{name}: false alerts a day, always-on"), alert_all, "1/d"));
    figures.push(Figure::new(format!("{name}: attacks found, and false alerts, never-on"), 0.0, ""));
    tally.figures(&format!("{name}, conversations alone"), figures);
    whole.figures(&format!("{name}, all shipped detections"), figures);
    masked.figures(&format!("{name}, from the master's address"), figures);
    for (what, scores) in [("", &scores), (", from the master's address", &masked_scores)] {
        let name = format!("{name}{what}: AUROC of messages, beside the prototype's");
        figures.push(Figure::new(name, 100.0 * auroc(scores), "%").beside(99.9));
        let name = format!("{}{what}: TPR at FPR 1e-3, beside the prototype's", plant.name);
        figures.push(Figure::new(name, 100.0 * tpr_at_one_in_a_thousand(scores), "%").beside(84.0));
    }
    others::forged(plant.name, &stretches, &alone, figures)?;
    apart(plant, ours, figures)
}

fn scored(scorer: &Scorer, rows: &[(Micros, &Row)], scores: &mut Vec<(f32, bool)>) {
    let of = scorer.clone().messages(rows);
    let attacks = rows.iter().filter(|(_, row)| !row.flow).map(|(_, row)| row.attack);
    scores.extend(of.into_iter().zip(attacks));
}

/// Learned on one capture, judged on another of the same plant.
fn apart(plant: &Plant, ours: &Arc<Pipeline>, figures: &mut Vec<Figure>) -> Result<()> {
    let mut random = fastrand::Rng::with_seed(2);
    let parts: Vec<Stretch> = plant.own.iter().map(|part| joined(std::slice::from_ref(part))).collect();
    let mut tally = Tally::default();
    let [one, other] = parts.as_slice() else { return Ok(()) };
    let beside = || plant.beside.iter();
    let learned: Vec<&Stretch> = std::iter::once(one).chain(beside()).collect();
    let judged: Vec<&Stretch> = std::iter::once(other).chain(beside()).collect();
    let alone = Learned::from(ours, &repeated(&learned, (START, START + LEARNED), &mut random))?;
    let today = (START + LEARNED, START + LEARNED + DAY);
    for attack in plant.attacks.iter().take(3) {
        let benign = repeated(&judged, today, &mut random);
        let (rows, when) = day(&benign, attack);
        tally.count(&alone.judge(&rows)?, Some(when), DAY);
    }
    tally.figures(&format!("{}, learned on the other capture alone", plant.name), figures);
    Ok(())
}
