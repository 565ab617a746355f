//! For the security analyst: which alerts, by which techniques, and how far what they rest on has been learned.

use super::{Dashboard, Panel, Row};

pub fn dashboard() -> Dashboard {
    Dashboard {
        name: "analyst",
        title: "Yagura: analyst",
        description: "Alerts with what they say, techniques, and the state of the baselines. Cases are decided about with `yagura alerts` or over the interface.",
        from: "now-24h",
        rows: vec![alerts(), techniques(), baselines()],
    }
}

/// The newest revision of each alert in the time that is looked at.
macro_rules! newest {
    ($columns:literal, $rest:literal) => {
        concat!(
            "WITH newest AS (SELECT *, row_number() OVER (PARTITION BY uid ORDER BY revision DESC) AS place",
            " FROM alert WHERE $__timeFilter(observed)) SELECT ",
            $columns,
            " FROM newest WHERE place = 1 AND queue = 'security' ",
            $rest
        )
    };
}

fn alerts() -> Row {
    Row {
        title: "Alerts",
        panels: vec![Panel::table(
            "Security alerts",
            "The newest revision of each; the id is what `yagura alerts show` takes.",
            newest!(
                "time, severity, tool, cell, title, summary, techniques, count, uid",
                "ORDER BY time DESC LIMIT 500"
            ),
        )],
    }
}

fn techniques() -> Row {
    Row {
        title: "Techniques and causes",
        panels: vec![
            Panel::table(
                "Techniques",
                "Of MITRE ATT&CK for ICS 18.1, with their alerts and equipment.",
                "SELECT technique, count(DISTINCT uid) AS alerts, count(DISTINCT tool) AS tools FROM \
                 (SELECT uid, tool, unnest(string_to_array(techniques, ' ')) AS technique FROM alert \
                 WHERE $__timeFilter(observed) AND queue = 'security' AND techniques <> '') \
                 GROUP BY technique ORDER BY alerts DESC, technique",
            ),
            Panel::table(
                "Who did what",
                "Detections by equipment, the busiest first.",
                newest!(
                    "detection, tool, count(*) AS alerts, sum(count) AS rows, max(last_time) AS last",
                    "GROUP BY detection, tool ORDER BY alerts DESC, detection, tool LIMIT 100"
                ),
            ),
        ],
    }
}

fn baselines() -> Row {
    Row {
        title: "Baselines",
        panels: vec![
            Panel::bars(
                "Keys by state",
                "What alerts rest on: approved, proposed, or still learning.",
                "sum by (state) (yagura_detect_keys)",
                "{{state}}",
            ),
            Panel::bars(
                "Keys ready for approval",
                "Learned for long enough: `yagura baseline show` and `approve`.",
                "sum by (detection) (yagura_detect_ready_keys) > 0",
                "{{detection}}",
            ),
            Panel::table(
                "What people decided about baselines",
                "Approvals, roll-backs and maintenance, as the log has them.",
                "SELECT DISTINCT time, author, action, subject FROM control WHERE $__timeFilter(observed) AND action IN \
                 ('approve', 'baseline', 'rollback', 'maintenance', 'false-alarm') ORDER BY time DESC LIMIT 100",
            ),
        ],
    }
}
