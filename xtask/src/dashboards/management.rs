//! For those who answer for the plant: how much was watched, and what came of it.

use super::{Dashboard, Panel, Query, Row, Shown};

pub fn dashboard() -> Dashboard {
    Dashboard {
        name: "management",
        title: "Yagura: management",
        description: "A month: how much was watched, what was found, whether people were drowned.",
        from: "now-30d",
        rows: vec![watched(), found(), covered()],
    }
}

fn watched() -> Row {
    let number = |title, description, unit, limits, query| Panel {
        title,
        description,
        shown: Shown::Number,
        unit,
        limits: Some(limits),
        queries: vec![Query(query, "")],
    };
    Row {
        title: "How much was watched",
        panels: vec![
            number(
                "Yagura ran",
                "Share of thirty days in which its processes answered.",
                "percentunit",
                (0.999, 0.99),
                r#"avg(avg_over_time(up{job="yagura"}[30d]))"#,
            ),
            number(
                "Blind time in thirty days",
                "Of all sources together.",
                "s",
                (3600.0, 86_400.0),
                "sum(max by (collector) (increase(yagura_collect_blind_seconds_total[30d])))",
            ),
            number(
                "What was learned and approved",
                "Share of the keys that detections know.",
                "percentunit",
                (0.9, 0.5),
                r#"sum(yagura_detect_keys{state="approved"}) / sum(yagura_detect_keys)"#,
            ),
            number(
                "Cells watched",
                "Bays, lines, tool groups.",
                "short",
                (1.0, 0.5),
                "count(max by (cell) (yagura_detect_rows_total))",
            ),
        ],
    }
}

fn found() -> Row {
    Row {
        title: "What came of it",
        panels: vec![
            Panel {
                title: "Alerts a day",
                description: "By queue.",
                shown: Shown::Course,
                unit: "short",
                limits: None,
                queries: vec![Query(
                    "sum by (queue) (increase(yagura_detection_alerts_total[1d]))",
                    "{{queue}}",
                )],
            },
            Panel {
                title: "Alarms beside their budget",
                description: "Realised a day, as a share of what was allowed.",
                shown: Shown::Bars,
                unit: "percentunit",
                limits: Some((1.2, 1.5)),
                queries: vec![Query(
                    "max by (detection) (yagura_budget_alarms_realised) / max by (detection) (yagura_budget_alarms_per_day)",
                    "{{detection}}",
                )],
            },
            Panel::bars(
                "Alerts that receivers have",
                "Acknowledged in thirty days.",
                "max by (sink) (increase(yagura_sink_acknowledged_total[30d]))",
                "{{sink}}",
            ),
        ],
    }
}

/// Of the guideline's six practices, what Yagura supports is the watching and what it feeds; outcomes are those that
/// detections name.
fn covered() -> Row {
    Row {
        title: "What was watched for",
        panels: vec![
            Panel::table(
                "Outcomes that alerts supported",
                "Of NIST CSF 2.0 and of the CPSF, as the detections name them. Yagura supports them; it proves nothing.",
                "SELECT outcome, CASE WHEN outcome LIKE 'CPS.%' THEN 'CPSF' ELSE 'NIST CSF 2.0' END AS of, \
                     count(DISTINCT uid) AS alerts, count(DISTINCT detection) AS detections, count(DISTINCT cell) AS cells FROM \
                     (SELECT uid, detection, cell, unnest(string_to_array(outcomes, ' ')) AS outcome FROM alert \
                     WHERE $__timeFilter(observed) AND outcomes <> '') GROUP BY outcome ORDER BY outcome",
            ),
            Panel::table(
                "The six practices",
                "Of the guidelines for semiconductor device factories, with what Yagura recorded for each in the time that is looked at.",
                "SELECT 1 AS practice, 'know your assets: devices that said what they are' AS supported, \
                     count(DISTINCT address) AS recorded FROM identity WHERE $__timeFilter(observed) \
                     UNION ALL SELECT 2, 'know their weaknesses: devices whose firmware is known', count(DISTINCT address) \
                     FROM identity WHERE $__timeFilter(observed) AND firmware <> '' \
                     UNION ALL SELECT 3, 'limit the damage: alerts about what crosses between areas', count(DISTINCT uid) \
                     FROM alert WHERE $__timeFilter(observed) AND outcomes LIKE '%CPS.AE-1%' \
                     UNION ALL SELECT 4, 'watch continuously: cells that were seen', count(DISTINCT cell) \
                     FROM coverage WHERE $__timeFilter(observed) \
                     UNION ALL SELECT 5, 'be ready to respond and recover: alerts with evidence', count(DISTINCT uid) \
                     FROM alert WHERE $__timeFilter(observed) AND queue = 'security' \
                     UNION ALL SELECT 6, 'guard the doors: entries and log-ins that were recorded', count(*) \
                     FROM log WHERE $__timeFilter(observed) AND category IN ('badge', 'access') \
                     ORDER BY practice",
            ),
        ],
    }
}
