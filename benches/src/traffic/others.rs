//! Beside the labelled attacks: forged writes, traffic that was never seen, and tables of flows.

use std::collections::HashSet;
use std::sync::Arc;

use anyhow::{Context, Result};
use yagura_detect::Pipeline;
use yagura_event::clock::{Micros, SECOND};

use super::rows::{Row, Stretch, captures, read, repeated};
use super::{DAY, HOUR, LEARNED, Learned, START, Tally};
use crate::report::Figure;

/// Forged writes of each kind.
const FORGED: usize = 20;

/// Writes that the plant itself sends: once more at a wrong moment, and with a value that nobody wrote.
pub(super) fn forged(
    name: &str,
    stretches: &[&Stretch],
    learned: &Learned,
    figures: &mut Vec<Figure>,
) -> Result<()> {
    let writes: Vec<&Row> =
        stretches.iter().flat_map(|stretch| &stretch.0).filter(|row| row.operation == "write").collect();
    let mut random = fastrand::Rng::with_seed(3);
    let (from, length) = (START + LEARNED, 2 * HOUR);
    let benign = repeated(stretches, (from, from + length), &mut random);
    let (mut again, mut other) = (Tally::default(), Tally::default());
    for _ in 0..FORGED {
        let write = writes[random.usize(0..writes.len())];
        let time = from + HOUR + random.i64(0..60 * SECOND);
        let count = |tally: &mut Tally, value: Option<f64>, values: &str| -> Result<()> {
            let forged = Row { value, values: values.into(), ..write.clone() };
            let mut rows = benign.clone();
            rows.insert(rows.partition_point(|(other, _)| *other <= time), (time, &forged));
            tally.count(&learned.judge(&rows)?, Some((time, time)), length);
            Ok(())
        };
        count(&mut again, write.value, &write.values)?;
        count(&mut other, write.value.map(|value| value + 17.0), "[17,17]")?;
    }
    again.figures(&format!("{name}, forged: a known write once more"), figures);
    other.figures(&format!("{name}, forged: a known write with a new value"), figures);
    Ok(())
}

/// Folders of plants' protocols.
const FOLDERS: [&str; 10] = [
    "beckhoff_ads",
    "dnp3",
    "enip_cip",
    "iec104",
    "mms",
    "modbus",
    "opcua",
    "s7comm",
    "s7comm_plus",
    "melsec",
];
/// A capture with fewer messages teaches nothing.
const MESSAGES_MIN: usize = 300;

/// Two thirds of each capture learned, the rest judged as it is.
pub(super) fn never_seen(ours: &Arc<Pipeline>, figures: &mut Vec<Figure>) -> Result<()> {
    let (mut tally, mut judged) = (Tally::default(), 0);
    for folder in FOLDERS {
        let folder = captures().join(folder);
        let mut files: Vec<_> = std::fs::read_dir(&folder)
            .with_context(|| folder.display().to_string())?
            .map(|file| file.map(|file| file.path()))
            .collect::<Result<_, _>>()?;
        files.sort();
        for file in files {
            let name = file.file_name().map(|name| name.to_string_lossy().to_string()).unwrap_or_default();
            if name.starts_with("antoine-lemay") {
                continue;
            }
            let Ok(rows) = read(&file, &HashSet::new()) else { continue };
            let messages = rows.iter().filter(|row| !row.flow).count();
            if messages < MESSAGES_MIN {
                continue;
            }
            let rows: Vec<(Micros, &Row)> = rows.iter().map(|row| (START + row.time, row)).collect();
            let (learned, rest) = rows.split_at(rows.len() * 2 / 3);
            let learned = Learned::from(ours, learned)?;
            // In some captures nothing is heard for years: of a pause, a minute counts.
            let pauses = rest.windows(2).map(|two| (two[1].0 - two[0].0).min(60 * SECOND));
            let length = pauses.sum();
            let alerts = learned.judge(rest)?;
            let before = tally.false_alerts;
            tally.count(&alerts, None, length);
            judged += 1;
            figures.push(Figure::new(
                format!("never seen: {name}, {} messages", messages),
                (tally.false_alerts - before) as f64,
                "",
            ));
        }
    }
    figures.push(Figure::new("never seen: captures", f64::from(judged), ""));
    figures.push(Figure::new("never seen: alerts in all", tally.false_alerts as f64, ""));
    figures.push(Figure::new("never seen: hours judged", tally.days * 24.0, "h"));
    for (by, count) in &tally.by {
        figures.push(Figure::new(format!("never seen:   of which {by}"), *count as f64, ""));
    }
    Ok(())
}

/// IEC 104 and MMS as tables of flows.
pub(super) fn tables(ours: &Arc<Pipeline>, figures: &mut Vec<Figure>) -> Result<()> {
    let folder = captures().join("../datasets/mms_gics");
    let table = |name: &str| -> Result<Vec<Row>> {
        let file = folder.join(name);
        let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let mms = name.starts_with("gics");
        Ok(text.lines().skip(1).filter_map(|line| table_row(line, mms)).collect())
    };
    // IEC 104: a third learned, the rest judged.
    let rows = table("mega104-14-12-18.csv")?;
    let rows: Vec<(Micros, &Row)> = rows.iter().map(|row| (START + row.time, row)).collect();
    let (learned, rest) = rows.split_at(rows.len() / 3);
    let learned = Learned::from(ours, learned)?;
    let mut tally = Tally::default();
    let length = rest.last().map_or(0, |last| last.0) - rest.first().map_or(0, |first| first.0);
    tally.count(&learned.judge(rest)?, None, length);
    tally.figures("table of IEC 104 (mega104), benign", figures);
    // MMS: the normal table is learned, then each other one is judged, which is the same with an attack in it.
    let normal = table("gics-normal.csv")?;
    let normal: Vec<(Micros, &Row)> = normal.iter().map(|row| (START + row.time, row)).collect();
    let learned = Learned::from(ours, &normal)?;
    let mut tally = Tally::default();
    tally.count(&learned.judge(&later(&normal))?, None, 95 * 60 * SECOND);
    tally.figures("table of MMS (gics), normal once more", figures);
    for (name, spans) in MMS {
        let rows = table(name)?;
        let rows: Vec<(Micros, &Row)> = rows.iter().map(|row| (START + row.time, row)).collect();
        let alerts = learned.judge(&later(&rows))?;
        let spans: Vec<(Micros, Micros)> =
            spans.iter().map(|&(from, to)| (from * SECOND, to * SECOND)).collect();
        // The first packet came at 7:08:31.
        let at = |time: Micros| time - START - DAY + 25_711 * SECOND;
        let inside =
            |time: Micros, span: &(Micros, Micros)| (span.0..=span.1 + 60 * SECOND).contains(&at(time));
        let found = spans.iter().filter(|span| alerts.iter().any(|alert| inside(alert.time, span))).count();
        let outside =
            alerts.iter().filter(|alert| !spans.iter().any(|span| inside(alert.time, span))).count();
        figures.push(Figure::new(
            format!("table of MMS, {name}: found of {}", spans.len()),
            found as f64,
            "",
        ));
        figures.push(Figure::new(format!("table of MMS, {name}: alerts outside"), outside as f64, ""));
    }
    Ok(())
}

fn later<'a>(rows: &[(Micros, &'a Row)]) -> Vec<(Micros, &'a Row)> {
    rows.iter().map(|(time, row)| (time + DAY, *row)).collect()
}

/// Attacks as the set describes them, in seconds of the day.
type Spans = &'static [(Micros, Micros)];
const MMS: [(&str, Spans); 3] = [
    // Write requests at 7:26:31 and 7:27:11; cancel requests from 8:10:51 to 8:13:51.
    ("gics-modified.csv", &[(26_791, 26_791), (26_831, 26_831), (29_451, 29_631)]),
    // From 7:50:41 to 7:53:01.
    ("gics-scanning.csv", &[(28_241, 28_381)]),
    // Spoofed errors and conclusions between 7:16:51 and 8:19:41.
    ("gics-interrupt.csv", &[(26_211, 29_981)]),
];

/// A line of a table: each packet's message a row, from its sender to its receiver.
fn table_row(line: &str, mms: bool) -> Option<Row> {
    let cells: Vec<&str> = line.split(';').map(str::trim).collect();
    let time = (cells.get(1)?.parse::<f64>().ok()? * 1e6) as Micros;
    let cell = |at: usize| cells.get(at).copied().unwrap_or_default();
    let (protocol, operation, function, target) = match mms {
        true => ("mms", cell(7), cell(8), format!("{} {} {}", cell(10), cell(11), cell(12))),
        false => ("iec104", cell(8), cell(10), format!("{} {} {}", cell(9), cell(12), cell(14))),
    };
    Some(Row {
        time,
        protocol: protocol.into(),
        operation: operation.into(),
        function: function.into(),
        target: target.trim().into(),
        client: cell(2).into(),
        server: cell(3).into(),
        status: "ok".into(),
        ..Row::default()
    })
}
