//! Grafana's dashboards, from short descriptions: `cargo xtask dashboards` writes them to `deploy/grafana`.

mod analyst;
mod management;
mod operation;
mod shift;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// A page of panels.
struct Dashboard {
    /// Of its file, and in Grafana's addresses.
    name: &'static str,
    title: &'static str,
    description: &'static str,
    /// What is shown at first, as Grafana writes it: `now-6h`.
    from: &'static str,
    rows: Vec<Row>,
}

/// Panels side by side under a heading.
struct Row {
    title: &'static str,
    panels: Vec<Panel>,
}

/// What is shown of some queries.
struct Panel {
    title: &'static str,
    description: &'static str,
    shown: Shown,
    /// As Grafana calls it; `short` for plain numbers.
    unit: &'static str,
    /// From which value on it is yellow, and red; upside down where less is worse.
    limits: Option<(f64, f64)>,
    queries: Vec<Query>,
}

impl Panel {
    /// Plain numbers as bars, one query.
    fn bars(
        title: &'static str,
        description: &'static str,
        query: &'static str,
        legend: &'static str,
    ) -> Self {
        let (shown, queries) = (Shown::Bars, vec![Query(query, legend)]);
        Panel { title, description, shown, unit: "short", limits: None, queries }
    }

    /// Rows of the history.
    fn table(title: &'static str, description: &'static str, sql: &'static str) -> Self {
        Panel { shown: Shown::Table, ..Panel::bars(title, description, sql, "") }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Shown {
    /// The last value, large.
    Number,
    /// The course over the time that is looked at.
    Course,
    /// The last values as bars, one below the other.
    Bars,
    /// Rows of the history.
    Table,
}

/// PromQL and what a line of it is called, or the SQL of a table.
struct Query(&'static str, &'static str);

/// What Grafana calls its source of PostgreSQL.
const HISTORY: &str = "grafana-postgresql-datasource";

/// The columns of Grafana's grid, and how many rows a panel is high.
const WIDTH: usize = 24;
const HEIGHT: usize = 7;

fn all() -> Vec<Dashboard> {
    vec![operation::dashboard(), shift::dashboard(), analyst::dashboard(), management::dashboard()]
}

/// Writes every dashboard.
#[expect(clippy::print_stdout, reason = "a command line tool")]
pub fn write() -> Result<()> {
    for dashboard in all() {
        let file = folder().join(format!("{}.json", dashboard.name));
        std::fs::write(&file, text(&dashboard)?).with_context(|| file.display().to_string())?;
        println!("{}", file.display());
    }
    Ok(())
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/grafana")
}

fn text(dashboard: &Dashboard) -> Result<String> {
    Ok(serde_json::to_string_pretty(&shown(dashboard))? + "\n")
}

fn shown(dashboard: &Dashboard) -> Value {
    let (mut panels, mut y) = (Vec::new(), 0);
    for row in &dashboard.rows {
        let place = json!({ "h": 1, "w": WIDTH, "x": 0, "y": y });
        let id = panels.len() + 1;
        panels.push(json!({ "id": id, "type": "row", "title": row.title, "gridPos": place, "collapsed": false, "panels": [] }));
        y += 1;
        // Numbers are narrow.
        let share = |panel: &Panel| if panel.shown == Shown::Number { 1 } else { 2 };
        let shares: usize = row.panels.iter().map(share).sum();
        let mut x = 0;
        for panel in &row.panels {
            let w = WIDTH * share(panel) / shares;
            let place = json!({ "h": HEIGHT, "w": w, "x": x, "y": y });
            panels.push(drawn(panel, panels.len() + 1, &place));
            x += w;
        }
        y += HEIGHT;
    }
    let source = |name: &str, label: &str, query: &str| json!({ "name": name, "label": label, "type": "datasource", "query": query });
    let mut sources = vec![source("datasource", "Prometheus", "prometheus")];
    if dashboard.rows.iter().flat_map(|row| &row.panels).any(|panel| panel.shown == Shown::Table) {
        sources.push(source("history", "Yagura's history", HISTORY));
    }
    json!({
        "uid": format!("yagura-{}", dashboard.name),
        "title": dashboard.title,
        "description": dashboard.description,
        "tags": ["yagura"],
        "schemaVersion": 39,
        "editable": false,
        "timezone": "browser",
        "refresh": "30s",
        "time": { "from": dashboard.from, "to": "now" },
        "templating": { "list": sources },
        "panels": panels,
    })
}

fn drawn(panel: &Panel, id: usize, place: &Value) -> Value {
    let source = match panel.shown {
        Shown::Table => json!({ "type": HISTORY, "uid": "${history}" }),
        _ => json!({ "type": "prometheus", "uid": "${datasource}" }),
    };
    let target = |(letter, Query(text, legend)): (char, &Query)| {
        let mut target = match panel.shown {
            Shown::Table => {
                json!({ "rawSql": text, "format": "table", "rawQuery": true, "editorMode": "code" })
            }
            shown => json!({
                "expr": text,
                "legendFormat": legend,
                "instant": shown != Shown::Course,
                "range": shown == Shown::Course,
            }),
        };
        (target["refId"], target["datasource"]) = (letter.to_string().into(), source.clone());
        target
    };
    let targets: Vec<Value> = ('A'..='Z').zip(&panel.queries).map(target).collect();
    let reduce = json!({ "calcs": ["lastNotNull"], "fields": "", "values": false });
    let (kind, options) = match panel.shown {
        Shown::Number => {
            ("stat", json!({ "reduceOptions": reduce, "colorMode": "background", "graphMode": "none" }))
        }
        Shown::Bars => (
            "bargauge",
            json!({ "reduceOptions": reduce, "orientation": "horizontal", "displayMode": "basic" }),
        ),
        Shown::Table => ("table", json!({ "showHeader": true, "cellHeight": "sm" })),
        Shown::Course => (
            "timeseries",
            json!({ "legend": { "displayMode": "list", "placement": "bottom" }, "tooltip": { "mode": "multi", "sort": "desc" } }),
        ),
    };
    json!({
        "id": id,
        "type": kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": source,
        "gridPos": place,
        "targets": targets,
        "options": options,
        "fieldConfig": { "defaults": { "unit": panel.unit, "min": 0, "thresholds": thresholds(panel.limits) }, "overrides": [] },
    })
}

fn thresholds(limits: Option<(f64, f64)>) -> Value {
    let steps = match limits {
        None => json!([{ "color": "green", "value": null }]),
        Some((warn, bad)) if warn <= bad => {
            json!([{ "color": "green", "value": null }, { "color": "yellow", "value": warn }, { "color": "red", "value": bad }])
        }
        Some((warn, bad)) => {
            json!([{ "color": "red", "value": null }, { "color": "yellow", "value": bad }, { "color": "green", "value": warn }])
        }
    };
    json!({ "mode": "absolute", "steps": steps })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_committed_files_are_what_the_command_makes() {
        for dashboard in all() {
            let file = folder().join(format!("{}.json", dashboard.name));
            let committed = std::fs::read_to_string(&file).unwrap_or_default();
            assert_eq!(committed, text(&dashboard).expect("JSON"), "`cargo xtask dashboards` makes it anew");
        }
        let made: BTreeSet<String> = all().iter().map(|d| format!("{}.json", d.name)).collect();
        let there = std::fs::read_dir(folder()).expect("dashboards").flatten();
        let there: BTreeSet<String> = there.filter_map(|file| file.file_name().into_string().ok()).collect();
        assert_eq!(there, made);
    }

    #[test]
    fn panels_fill_their_rows_and_say_what_they_mean() {
        for dashboard in all() {
            let mut titles = BTreeSet::new();
            for panel in dashboard.rows.iter().flat_map(|row| &row.panels) {
                assert!(titles.insert(panel.title), "{} comes twice", panel.title);
                assert!(!panel.description.is_empty() && !panel.queries.is_empty(), "{}", panel.title);
            }
            let drawn = shown(&dashboard);
            for panel in drawn["panels"].as_array().expect("panels") {
                let of = |name: &str| panel["gridPos"][name].as_u64().expect("a number");
                assert!(of("x") + of("w") <= WIDTH as u64 && of("w") >= 3, "{panel}");
            }
        }
    }
}
