//! For the person on shift: how much is wrong, and whether Yagura sees. Where and what is in the history.

use super::{Dashboard, Panel, Query, Row, Shown};

pub fn dashboard() -> Dashboard {
    Dashboard {
        name: "shift",
        title: "Yagura: shift",
        description: "Alerts of the last eight hours, and whether anything is not watched.",
        from: "now-8h",
        rows: vec![now(), places(), alerts()],
    }
}

fn now() -> Row {
    let number = |title, description, limits, query| Panel {
        title,
        description,
        shown: Shown::Number,
        unit: "short",
        limits: Some(limits),
        queries: vec![Query(query, "")],
    };
    Row {
        title: "Now",
        panels: vec![
            number(
                "Security alerts in eight hours",
                "With their revisions.",
                (1.0, 10.0),
                r#"sum(increase(yagura_detection_alerts_total{queue="security"}[8h]))"#,
            ),
            number(
                "Sources that cannot be read",
                "Interfaces, servers and files; what happens there is not seen.",
                (1.0, 1.0),
                "sum(max by (collector) (yagura_collect_down_subjects))",
            ),
            number(
                "Receivers that have not all alerts",
                "Alerts wait for them in the log.",
                (1.0, 1.0),
                "count(max by (sink) (yagura_sink_lag_records) > 0) or vector(0)",
            ),
            Panel {
                title: "Yagura's own alarms",
                description: "What is wrong with Yagura itself; each has a runbook.",
                shown: Shown::Bars,
                unit: "short",
                limits: Some((1.0, 1.0)),
                queries: vec![Query(
                    r#"count by (alertname) (ALERTS{alertname=~"Yagura.+", alertname!="YaguraWatchdog", alertstate="firing"})"#,
                    "{{alertname}}",
                )],
            },
        ],
    }
}

/// Where, what and since when: Prometheus may not know.
fn places() -> Row {
    Row {
        title: "Where and since when",
        panels: vec![Panel::table(
            "What is wrong, and where",
            "Alerts of security and equipment, by place; the worst and newest first.",
            "SELECT severity, tool, cell, title, min(time) AS since, max(last_time) AS last, count(DISTINCT uid) AS alerts \
                 FROM alert WHERE $__timeFilter(observed) AND queue IN ('security', 'equipment') \
                 GROUP BY severity, tool, cell, title ORDER BY CASE severity WHEN 'critical' THEN 0 WHEN 'high' THEN 1 \
                 WHEN 'medium' THEN 2 WHEN 'low' THEN 3 ELSE 4 END, last DESC LIMIT 200",
        )],
    }
}

fn alerts() -> Row {
    Row {
        title: "Alerts",
        panels: vec![
            Panel {
                title: "Alerts in ten minutes",
                description: "By queue.",
                shown: Shown::Course,
                unit: "short",
                limits: None,
                queries: vec![Query(
                    "sum by (queue) (increase(yagura_detection_alerts_total[10m]))",
                    "{{queue}}",
                )],
            },
            Panel::bars(
                "By detection in eight hours",
                "The twenty with most alerts.",
                "topk(20, sum by (detection) (increase(yagura_detection_alerts_total[8h])) > 0)",
                "{{detection}}",
            ),
        ],
    }
}
