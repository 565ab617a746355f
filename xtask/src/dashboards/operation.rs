//! For whoever runs Yagura.

use super::{Dashboard, Panel, Query, Row, Shown};

pub fn dashboard() -> Dashboard {
    Dashboard {
        name: "operation",
        title: "Yagura: operation",
        description: "Whether Yagura runs, keeps up and sees everything.",
        from: "now-6h",
        rows: vec![
            running(),
            amount(),
            delay(),
            spool(),
            unseen(),
            detections(),
            learning(),
            budget(),
            out(),
        ],
    }
}

fn running() -> Row {
    let number = |title, description, unit, limits, query| Panel {
        title,
        description,
        shown: Shown::Number,
        unit,
        limits: Some(limits),
        queries: vec![Query(query, "")],
    };
    Row {
        title: "Does it run?",
        panels: vec![
            number(
                "Processes that answer",
                "Of those that Prometheus knows.",
                "short",
                (1.0, 0.5),
                r#"sum(up{job="yagura"})"#,
            ),
            number(
                "Longest standstill",
                "For how long a component has had work and made no progress.",
                "s",
                (15.0, 60.0),
                "max(yagura_stalled_seconds)",
            ),
            number(
                "Restarts of detecting in a day",
                "Detecting began again, because the log refused.",
                "short",
                (1.0, 4.0),
                "sum(increase(yagura_detect_restarts_total[1d]))",
            ),
            number(
                "Next certificate ends in",
                "Of those that the configuration names.",
                "s",
                (21.0 * 86_400.0, 3.0 * 86_400.0),
                "min(yagura_certificate_expires_timestamp_seconds) - time()",
            ),
            Panel {
                title: "Nodes last heard",
                description: "Processes that nobody scrapes report through the log every ten seconds.",
                shown: Shown::Bars,
                unit: "s",
                limits: Some((30.0, 120.0)),
                queries: vec![Query(
                    "time() - max by (node) (yagura_node_reported_timestamp_seconds)",
                    "{{node}}",
                )],
            },
        ],
    }
}

fn course(
    title: &'static str,
    description: &'static str,
    unit: &'static str,
    query: &'static str,
    legend: &'static str,
) -> Panel {
    Panel {
        title,
        description,
        shown: Shown::Course,
        unit,
        limits: None,
        queries: vec![Query(query, legend)],
    }
}

fn amount() -> Row {
    Row {
        title: "How much?",
        panels: vec![
            course(
                "Records collected",
                "Batches that a collector handed over; heartbeats are some.",
                "cps",
                "max by (collector) (rate(yagura_collect_records_total[$__rate_interval]))",
                "{{collector}}",
            ),
            course(
                "Rows judged",
                "By cell.",
                "cps",
                "sum by (cell) (rate(yagura_detect_rows_total[$__rate_interval]))",
                "{{cell}}",
            ),
            course(
                "Alerts written",
                "With their revisions, of all cells.",
                "cps",
                "sum(rate(yagura_detect_alerts_total[$__rate_interval]))",
                "alerts",
            ),
        ],
    }
}

fn delay() -> Row {
    Row {
        title: "How late?",
        panels: vec![
            course(
                "From seeing to judging",
                "By the collector's clock, of the last record; large while a spool or a recording comes in.",
                "s",
                "max by (instance) (yagura_detect_latency_seconds)",
                "{{instance}}",
            ),
            course(
                "Records that wait to be judged",
                "By partition.",
                "short",
                "max by (partition) (yagura_detect_lag_records)",
                "{{partition}}",
            ),
            course(
                "Standstill for a snapshot",
                "How long judging stood still while the last one was taken.",
                "s",
                "max by (instance) (yagura_detect_snapshot_pause_seconds)",
                "{{instance}}",
            ),
        ],
    }
}

fn spool() -> Row {
    Row {
        title: "Before the log",
        panels: vec![
            course(
                "Age of what waits in a spool",
                "Zero while the log takes what comes.",
                "s",
                "max by (node) (yagura_spool_age_seconds)",
                "{{node}}",
            ),
            course(
                "Spool filled",
                "When it is full, sources are pushed back; what cannot be pushed back is dropped.",
                "percentunit",
                "max by (node) (yagura_spool_bytes / yagura_spool_limit_bytes)",
                "{{node}}",
            ),
            course(
                "Records moved into the log",
                "Out of the spool.",
                "cps",
                "max by (node) (rate(yagura_spool_moved_records_total[$__rate_interval]))",
                "{{node}}",
            ),
        ],
    }
}

fn unseen() -> Row {
    let bars = |title, description, unit, query, legend| Panel {
        title,
        description,
        shown: Shown::Bars,
        unit,
        limits: Some((1.0, 60.0)),
        queries: vec![Query(query, legend)],
    };
    Row {
        title: "What was not seen?",
        panels: vec![
            bars(
                "Blind time in an hour",
                "Gaps, links that were down, drops, told when they are over.",
                "s",
                "max by (collector) (increase(yagura_collect_blind_seconds_total[1h]))",
                "{{collector}}",
            ),
            bars(
                "Cannot be read now",
                "Interfaces, servers, files.",
                "short",
                "max by (collector) (yagura_collect_down_subjects)",
                "{{collector}}",
            ),
            bars(
                "Dropped in an hour",
                "Packets and messages that came faster than they could be kept.",
                "short",
                "max by (collector) (increase(yagura_collect_dropped_packets_total[1h]))",
                "{{collector}}",
            ),
            bars(
                "Rows missing in a day",
                "Numbered by a collector, and never in the log.",
                "short",
                "sum by (cell) (increase(yagura_detect_missing_rows_total[1d]))",
                "{{cell}}",
            ),
            bars(
                "Dead letters in a day",
                "Records that nobody could read; `yagura dead` lists them.",
                "short",
                "sum(increase(yagura_detect_dead_letters_total[1d]))",
                "dead letters",
            ),
        ],
    }
}

fn detections() -> Row {
    Row {
        title: "What detections do",
        panels: vec![
            course(
                "Time that detections take",
                "The ten that take most, as a share of one processor.",
                "percentunit",
                "topk(10, sum by (detection) (rate(yagura_detection_seconds_total[$__rate_interval])))",
                "{{detection}}",
            ),
            course(
                "Hits in an hour",
                "Rows that the ten busiest detections objected to, before they became alerts.",
                "short",
                r#"topk(10, sum by (detection) (increase(yagura_detection_rows_total{stage="hit"}[1h])))"#,
                "{{detection}}",
            ),
            course(
                "Alerts in an hour",
                "By queue.",
                "short",
                "sum by (queue) (increase(yagura_detection_alerts_total[1h]))",
                "{{queue}}",
            ),
        ],
    }
}

fn learning() -> Row {
    Row {
        title: "What is learned",
        panels: vec![
            course(
                "Keys known",
                "By whether somebody approved them.",
                "short",
                "sum by (state) (yagura_detect_keys)",
                "{{state}}",
            ),
            course(
                "Keys that could be approved",
                "They have seen enough, or are approved.",
                "short",
                "sum by (detection) (yagura_detect_ready_keys)",
                "{{detection}}",
            ),
            course(
                "State",
                "Of a cell, in its last snapshot.",
                "bytes",
                "max by (cell) (yagura_detect_state_bytes)",
                "{{cell}}",
            ),
        ],
    }
}

fn budget() -> Row {
    Row {
        title: "Budget",
        panels: vec![
            Panel::bars(
                "Alarms a day allowed",
                "What the plant gave a detection.",
                "max by (detection) (yagura_budget_alarms_per_day)",
                "{{detection}}",
            ),
            Panel::bars(
                "Alarms today",
                "In the cells' time.",
                "max by (detection) (yagura_budget_alarms_today)",
                "{{detection}}",
            ),
            Panel::bars(
                "Alarms a day realised",
                "In the days that are over, up to 29.",
                "max by (detection) (yagura_budget_alarms_realised)",
                "{{detection}}",
            ),
        ],
    }
}

fn out() -> Row {
    Row {
        title: "On to people and into the history",
        panels: vec![
            course(
                "Alerts that wait for their receiver",
                "Records in the log that it has not acknowledged.",
                "short",
                "max by (sink) (yagura_sink_lag_records)",
                "{{sink}}",
            ),
            course(
                "Alerts acknowledged in an hour",
                "By the receiver.",
                "short",
                "max by (sink) (increase(yagura_sink_acknowledged_total[1h]))",
                "{{sink}}",
            ),
            course(
                "Failures of sinks in an hour",
                "By reason; what was refused is tried again.",
                "short",
                "max by (sink, reason) (increase(yagura_sink_errors_total[1h]))",
                "{{sink}} {{reason}}",
            ),
            course(
                "Records that are not in the history",
                "About as many as come in a `flush_every`.",
                "short",
                "max by (topic) (yagura_archive_lag_records)",
                "{{topic}}",
            ),
        ],
    }
}
