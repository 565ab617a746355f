//! The records that do not travel as packets: telemetry, badges, releases, approval, coverage.
//! One JSON object a line, in the order of time.

use std::fmt::Write as _;

use hmac::{Hmac, KeyInit, Mac};
use serde_json::json;
use sha2::Sha256;
use yagura_event::clock::{Micros, SECOND, rfc3339};
use yagura_event::vocabulary::{control, coverage};

use crate::cell::{CARRIER_FLOW, CHAMBERS, RECIPES, SIGNALS, TOOLS};
use crate::plan::{
    APPROVAL_S, DRIFT_S, DRIFT_SIGMAS_PER_S, DURATION_S, GAP_S, Lot, START, second_of, step_at,
};
use crate::random::Random;

/// The tool that the collector loses.
const GAP_TOOL: &str = "ETCH-09";

/// `telemetry.jsonl`: every signal of every chamber once a second.
pub(crate) fn telemetry(lots: &[Vec<Lot>], seed: u64, incidents: bool) -> String {
    let mut random = Random::named(seed, "telemetry");
    let mut out = String::with_capacity(20 << 20);
    // What stays the same in each line is written once.
    let middles: Vec<String> = TOOLS
        .iter()
        .flat_map(|tool| {
            CHAMBERS.iter().flat_map(move |chamber| {
                tool.model.signals.iter().map(move |signal| {
                    format!(
                        r#"","tool":"{}","chamber":"{chamber}","signal":"{}","unit":"{}","class":"{}","value":"#,
                        tool.name, signal.name, signal.unit, signal.class
                    )
                })
            })
        })
        .collect();
    for second in 0..DURATION_S {
        for (t, tool) in TOOLS.iter().enumerate() {
            let time = second_of(second) + 50_000 + 10_000 * t as Micros + random.below(5_000) as Micros;
            let stamp = rfc3339(time);
            let blind = incidents && tool.name == GAP_TOOL && GAP_S.contains(&second);
            for chamber in 0..CHAMBERS.len() {
                let step = step_at(&lots[t], chamber, time);
                let mut flow_noise = 0.0;
                for (s, signal) in tool.model.signals.iter().enumerate() {
                    let mut noise = random.normal();
                    match signal.class {
                        "flow" => flow_noise = noise,
                        // More gas, more pressure: signals of a chamber move together.
                        "pressure" => noise = 0.4 * flow_noise + 0.916_515 * noise,
                        _ => {}
                    }
                    let drifts = incidents && tool.name == "CVD-03" && chamber == 0 && s == CARRIER_FLOW;
                    if drifts && second >= DRIFT_S {
                        noise += DRIFT_SIGMAS_PER_S * f64::from(second - DRIFT_S);
                    }
                    let level = step.map_or(signal.idle, |step| step.2[s]);
                    if blind {
                        continue;
                    }
                    let middle = &middles[(t * CHAMBERS.len() + chamber) * SIGNALS + s];
                    let value = level + noise * signal.sigma;
                    // Writing into a string does not fail.
                    let _ = writeln!(out, r#"{{"time":"{stamp}{middle}{value:.3}}}"#);
                }
            }
        }
    }
    out
}

/// `coverage.jsonl`, in the columns of a coverage record: the telemetry collector begins, and
/// later does not see a tool for a while.
pub(crate) fn coverage(incidents: bool) -> String {
    let row = |time: Micros, until: Micros, event: &str, subject: &str, count: u32, detail: &str| {
        json!({
            "time": rfc3339(time), "until": rfc3339(until), "observed": rfc3339(until),
            "event": event, "subject": subject, "count": count, "detail": detail,
        })
    };
    let mut rows =
        vec![row(START, START, coverage::START, "fdc-collector", 0, "telemetry of four tools begins")];
    if incidents {
        let lost = (GAP_S.end - GAP_S.start) * (CHAMBERS.len() * SIGNALS) as u32;
        rows.push(row(
            second_of(GAP_S.start),
            second_of(GAP_S.end),
            coverage::GAP,
            GAP_TOOL,
            lost,
            "the equipment's data port did not answer: samples of 90 s are missing",
        ));
    }
    lines(rows)
}

/// `badge.jsonl`: people come and go. Nobody does anything that they have not done before the
/// approval.
pub(crate) fn badges(seed: u64) -> String {
    const PEOPLE: [&str; 5] = ["E1042", "E1077", "E1103", "E1188", "V2210"];
    const DOORS: [&str; 3] = ["ETCH-BAY-2 airlock", "GAS-ROOM-4", "ENG-OFFICE-1"];
    let mut random = Random::named(seed, "badges");
    let mut rows = Vec::new();
    let mut second = 12;
    let mut visit = 0_usize;
    while second + 90 < DURATION_S {
        let (door, holder) = (DOORS[visit % DOORS.len()], PEOPLE[visit % PEOPLE.len()]);
        for (second, event) in [(second, "entered"), (second + 45 + random.below(40) as u32, "left")] {
            rows.push((
                second,
                json!({"time": rfc3339(second_of(second)), "door": door, "holder": holder, "event": event}),
            ));
        }
        second += 60 + random.below(30) as u32;
        visit += 1;
    }
    rows.sort_by_key(|(second, _)| *second);
    lines(rows.into_iter().map(|(_, row)| row))
}

/// `releases.jsonl`: the recipe master's list. The bodies stay away: a keyed hash stands for each.
pub(crate) fn releases(seed: u64, plant_key: &[u8]) -> String {
    lines(RECIPES.iter().enumerate().map(|(index, recipe)| {
        let time = START - (20 - index as Micros) * 60 * SECOND;
        json!({
            "time": rfc3339(time), "recipe": recipe.name, "tool_group": recipe.group,
            "body_hmac": body_hmac(plant_key, &recipe.body(seed, false)), "author": "recipe-master",
        })
    }))
}

/// `control.jsonl`, in the columns of a control record: the approval.
pub(crate) fn control() -> String {
    let time = rfc3339(second_of(APPROVAL_S));
    lines([json!({
        "time": time, "observed": time, "action": control::APPROVE, "subject": "*",
        "payload": "{}", "author": "shift-engineer",
    })])
}

/// HMAC-SHA-256 (RFC 2104) of a recipe body (the data bytes of PPBODY, without the item's header)
/// in lower-case hexadecimal.
pub fn body_hmac(plant_key: &[u8], body: &[u8]) -> String {
    // A key of any length is taken.
    let mut mac = match Hmac::<Sha256>::new_from_slice(plant_key) {
        Ok(mac) => mac,
        Err(_) => unreachable!("HMAC takes keys of any length"),
    };
    mac.update(body);
    mac.finalize().into_bytes().iter().fold(String::with_capacity(64), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

fn lines(rows: impl IntoIterator<Item = serde_json::Value>) -> String {
    rows.into_iter().fold(String::new(), |mut out, row| {
        let _ = writeln!(out, "{row}");
        out
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use yagura_event::Kind;
    use yagura_event::clock::parse_rfc3339;

    use super::*;

    #[test]
    fn the_hash_is_hmac_sha_256() {
        // RFC 4231, test case 2.
        assert_eq!(
            body_hmac(b"Jefe", b"what do ya want for nothing?"),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn control_and_coverage_have_the_columns_of_their_kinds() {
        for (kind, text, rows) in [
            (Kind::Control, control(), 1),
            (Kind::Coverage, coverage(true), 2),
            (Kind::Coverage, coverage(false), 1),
        ] {
            assert_eq!(text.lines().count(), rows);
            let mut wanted: Vec<String> =
                kind.schema().fields().iter().map(|field| field.name().clone()).collect();
            wanted.sort();
            for line in text.lines() {
                let row: BTreeMap<String, serde_json::Value> = serde_json::from_str(line).expect("an object");
                assert!(row.keys().eq(&wanted), "{line}");
                assert!(row["time"].as_str().and_then(parse_rfc3339).is_some(), "{line}");
            }
        }
    }
}
