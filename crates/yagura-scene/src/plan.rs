//! What happens when: the lots, the phases that chambers go through, and the script.

use serde::Serialize;
use yagura_event::Queue;
use yagura_event::clock::{Micros, SECOND};

use crate::cell::{CHAMBERS, RECIPES, Recipe, Step, TAMPERED, TOOLS, Tool};
use crate::random::Random;

/// 2026-11-02T22:00:00Z, the night shift's beginning.
pub const START: Micros = 1_793_656_800 * SECOND;
/// How long the scene lasts, in seconds.
pub const DURATION_S: u32 = 2_400;
/// From one lot of a tool to its next, in seconds.
pub(crate) const LOT_PERIOD_S: u32 = 215;

/// Everything learned until here is approved.
pub(crate) const APPROVAL_S: u32 = 1_500;
/// The host connects to CVD-03 anew: once while it is learned, once as a control.
pub(crate) const RECONNECTS_S: [u32; 2] = [520, 1_595];
/// The laptop talks to ETCH-08.
pub(crate) const ROGUE_S: u32 = 1_680;
/// The lot of ETCH-07 whose recipe is a changed one, and the last one before it with that recipe.
pub(crate) const TAMPERED_LOT: usize = 8;
/// The carrier flow of CVD-03, chamber A, begins to drift, and by how many standard deviations.
pub(crate) const DRIFT_S: u32 = 1_800;
pub(crate) const DRIFT_SIGMAS_PER_S: f64 = -0.05;
/// The engineering workstation writes to the gas cabinet.
pub(crate) const GAS_WRITE_S: u32 = 1_920;
/// The collector of ETCH-09's telemetry sees nothing.
pub(crate) const GAP_S: std::ops::Range<u32> = 2_070..2_160;

/// The ids of the detections that the script expects alerts of.
pub mod detection {
    /// Scenario 2: a peer that is not on the list opens a SECS session.
    pub const ROGUE_HOST: &str = "secs-host-not-listed";
    /// Scenario 3: a recipe body that was never released.
    pub const RECIPE_BODY: &str = "recipe-body-not-released";
    /// Scenario 3: a start with such a recipe.
    pub const RECIPE_START: &str = "unreleased-recipe-started";
    /// Scenario 10: a client that is not on the list writes to a controller.
    pub const CONTROLLER_WRITE: &str = "controller-writer-not-listed";
    /// Scenario 10: a value of the gas cabinet leaves its range.
    pub const GAS_SHIFT: &str = "gas-value-shift";
    /// Scenario 15: a signal drifts.
    pub const DRIFT: &str = "signal-drift";
    /// Scenario 15: a collector did not see.
    pub const GAP: &str = "collector-gap";
}

/// One thing that happens, and what is to be said about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Act {
    /// When it begins.
    pub time: Micros,
    /// What happens, in words for people.
    pub title: &'static str,
    /// The number in the list of scenarios; 0 for ordinary life.
    pub scenario: u8,
    /// The tool that an alert names.
    pub tool: &'static str,
    /// The detection that must raise an alert, see [`detection`]; `None` where all must stay silent.
    pub expected: Option<&'static str>,
    /// The queue that the alert belongs to.
    pub queue: Option<Queue>,
    /// By how many seconds after `time` the cause of the alert must lie.
    pub within_s: u32,
}

/// The script in the order of time; without the incidents only what must stay silent.
pub(crate) fn script(incidents: bool) -> Vec<Act> {
    let silent = |second: u32, tool, title| Act {
        time: second_of(second),
        title,
        scenario: 0,
        tool,
        expected: None,
        queue: None,
        within_s: 0,
    };
    let alert = |second: u32, scenario, tool, expected, queue, within_s, title| Act {
        time: second_of(second),
        title,
        scenario,
        tool,
        expected: Some(expected),
        queue: Some(queue),
        within_s,
    };
    let etch_07 = TOOLS[0].first_lot_s;
    let lot = |number: usize| etch_07 + LOT_PERIOD_S * number as u32;
    let mut out = vec![
        silent(0, "", "ordinary production: lots, recipes, events, alarms and polls; Yagura learns"),
        silent(RECONNECTS_S[0], "CVD-03", "the host drops its line to CVD-03 and connects again"),
        silent(APPROVAL_S, "", "the shift engineer approves what was learned"),
        silent(
            lot(TAMPERED_LOT - 1) - DOWNLOAD_LEAD_S,
            "ETCH-07",
            "the released OX-MAIN-31 goes to ETCH-07 once more",
        ),
        silent(RECONNECTS_S[1], "CVD-03", "the host connects to CVD-03 again, as it has done before"),
    ];
    if incidents {
        use Queue::{DataQuality, Equipment, Security};
        let changed = lot(TAMPERED_LOT);
        out.extend([
            alert(ROGUE_S, 2, "ETCH-08", detection::ROGUE_HOST, Security, 5, "a laptop that nobody knows opens a SECS session with ETCH-08 and asks what it is"),
            alert(changed - DOWNLOAD_LEAD_S, 3, "ETCH-07", detection::RECIPE_BODY, Security, 5, "the host sends ETCH-07 a body of OX-MAIN-31 that was never released"),
            alert(changed - START_LEAD_S, 3, "ETCH-07", detection::RECIPE_START, Security, 5, "a lot is started with it"),
            alert(DRIFT_S, 15, "CVD-03", detection::DRIFT, Equipment, 600, "the carrier flow of CVD-03, chamber A, begins to drift by 0.05 standard deviations a second; no command was sent"),
            alert(GAS_WRITE_S, 10, "GC-21", detection::CONTROLLER_WRITE, Security, 5, "the engineering workstation writes the NF3 delivery set-point of gas cabinet GC-21"),
            alert(GAS_WRITE_S, 10, "GC-21", detection::GAS_SHIFT, Equipment, 120, "the NF3 delivery pressure leaves its range"),
            alert(GAP_S.start, 15, "ETCH-09", detection::GAP, DataQuality, GAP_S.end - GAP_S.start + 5, "the collector loses ETCH-09 for 90 seconds"),
        ]);
    }
    out.sort_by_key(|act| act.time);
    out
}

/// Seconds from the download of a lot's recipe to its first step, and from its start command.
pub(crate) const DOWNLOAD_LEAD_S: u32 = 7;
pub(crate) const START_LEAD_S: u32 = 2;
/// Chamber B begins that much later than chamber A.
const CHAMBER_LAG_S: u32 = 25;

/// One lot on one tool.
pub(crate) struct Lot {
    pub id: String,
    pub recipe: &'static Recipe,
    /// Whether the recipe's body is the changed one.
    pub tampered: bool,
    /// Nominal start, in seconds.
    pub start_s: u32,
    /// The chambers' runs, by chamber.
    pub runs: Vec<Run>,
}

/// One lot's wafer in one chamber.
pub(crate) struct Run {
    /// When each step begins.
    pub steps: Vec<(Micros, &'static Step)>,
    /// When the last one ends.
    pub end: Micros,
}

/// The lots of a tool that end within the scene.
pub(crate) fn lots(tool: &'static Tool, seed: u64, incidents: bool) -> Vec<Lot> {
    let mut random = Random::named(seed, tool.name);
    let mut out = Vec::new();
    loop {
        let number = out.len();
        let start_s = tool.first_lot_s + LOT_PERIOD_S * number as u32;
        let recipe = &RECIPES[tool.recipes[number % tool.recipes.len()]];
        let tampered = incidents && tool.name == "ETCH-07" && number == TAMPERED_LOT;
        let runs: Vec<Run> = (0..CHAMBERS.len() as u32)
            .map(|chamber| run(recipe, tampered, start_s + chamber * CHAMBER_LAG_S, &mut random))
            .collect();
        if runs.iter().any(|run| run.end > second_of(DURATION_S - 10)) {
            return out;
        }
        let id = format!("LT2611{}{:03}", &tool.name[tool.name.len() - 2..], number + 1);
        out.push(Lot { id, recipe, tampered, start_s, runs });
    }
}

fn run(recipe: &'static Recipe, tampered: bool, start_s: u32, random: &mut Random) -> Run {
    let mut second = start_s;
    let mut steps = Vec::new();
    // Steps begin between 0.3 and 0.5 of a second and telemetry is sampled before 0.1: a sample
    // belongs clearly to one step, and a valve has half a second to settle.
    let mut moment = |second| second_of(second) + 300_000 + random.below(200_000) as Micros;
    for step in recipe.steps {
        steps.push((moment(second), step));
        second += step.1 + if tampered && step.0 == TAMPERED.1 { TAMPERED.2 } else { 0 };
    }
    Run { steps, end: moment(second) }
}

/// The step that a chamber is in; `None` while it idles.
pub(crate) fn step_at(lots: &[Lot], chamber: usize, time: Micros) -> Option<&'static Step> {
    let after = lots.partition_point(|lot| lot.runs[chamber].steps[0].0 <= time);
    let run = &lots[after.checked_sub(1)?].runs[chamber];
    if time >= run.end {
        return None;
    }
    run.steps.iter().rev().find(|(begin, _)| *begin <= time).map(|(_, step)| *step)
}

/// The level of a chamber's signal.
pub(crate) fn level(tool: &Tool, lots: &[Lot], chamber: usize, signal: usize, time: Micros) -> f64 {
    match step_at(lots, chamber, time) {
        Some(Step(_, _, levels)) => levels[signal],
        None => tool.model.signals[signal].idle,
    }
}

/// The time of a second of the scene.
pub(crate) fn second_of(second: u32) -> Micros {
    START + Micros::from(second) * SECOND
}

#[cfg(test)]
mod tests {
    use yagura_event::clock::rfc3339;

    use super::*;

    #[test]
    fn the_scene_begins_with_the_night_shift() {
        assert_eq!(rfc3339(START), "2026-11-02T22:00:00.000000Z");
    }

    #[test]
    fn every_recipe_of_a_tool_runs_at_least_twice_before_the_approval() {
        for tool in &TOOLS {
            let lots = lots(tool, 1, true);
            for &recipe in tool.recipes {
                let name = RECIPES[recipe].name;
                let runs =
                    lots.iter().filter(|l| l.recipe.name == name && l.runs[1].end < second_of(APPROVAL_S));
                assert!(runs.count() >= 2, "{} on {}", name, tool.name);
            }
            for pair in lots.windows(2) {
                let next = second_of(pair[1].start_s - DOWNLOAD_LEAD_S - 2);
                assert!(pair[0].runs.iter().all(|r| r.end < next), "lots of {} overlap", tool.name);
            }
        }
    }

    #[test]
    fn the_changed_lot_differs_from_the_released_one_before_it_only_in_one_steps_time() {
        let with = lots(&TOOLS[0], 1, true);
        let (before, changed) = (&with[TAMPERED_LOT - 1], &with[TAMPERED_LOT]);
        assert_eq!(before.recipe.name, "OX-MAIN-31");
        assert_eq!(changed.recipe.name, "OX-MAIN-31");
        assert!(changed.tampered && !before.tampered);
        let (a, b) = (before.recipe.body(1, false), before.recipe.body(1, true));
        assert_eq!((a.len(), b.len()), (30_000, 30_000));
        assert_eq!(a.iter().zip(&b).filter(|(a, b)| a != b).count(), 2, "040 and 052");
        assert!(!lots(&TOOLS[0], 1, false)[TAMPERED_LOT].tampered);
    }

    #[test]
    fn steps_follow_the_recipe_and_chambers_idle_in_between() {
        let tool = &TOOLS[0];
        let lots = lots(tool, 1, true);
        let at =
            |second: u32, chamber| step_at(&lots, chamber, second_of(second)).map_or("idle", |step| step.0);
        assert_eq!(at(30, 0), "idle");
        assert_eq!(at(31, 0), "Stabilise");
        assert_eq!(at(31, 1), "idle");
        assert_eq!(at(31 + 35, 0), "MainEtch");
        assert_eq!(at(31 + 160, 0), "idle");
        assert_eq!(level(tool, &lots, 0, 2, second_of(70)), 800.0);
        assert_eq!(level(tool, &lots, 0, 2, second_of(5)), 0.0);
    }

    #[test]
    fn the_script_is_in_order_and_quiet_without_incidents() {
        assert!(script(true).is_sorted_by_key(|act| act.time));
        assert_eq!(script(true).iter().filter(|act| act.expected.is_some()).count(), 7);
        assert!(script(false).iter().all(|act| act.expected.is_none()));
    }
}
