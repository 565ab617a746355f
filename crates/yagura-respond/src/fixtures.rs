//! One alert and its record, for this crate's tests.

use serde_json::json;
use yagura_event::alert::{Alert, Cause, Queue, Severity};
use yagura_event::{Encoding, Envelope, Kind};
use yagura_log::Record;

/// An alert of cell `bay-3` with this sequence, which is also the number of its causing row.
pub(crate) fn alert(sequence: u64) -> Alert {
    let key = [("tool", "ETCH-07"), ("target", "OX-MAIN")]
        .map(|(name, value)| (name.to_string(), value.to_string()))
        .into();
    let cause = Cause { collector: "mirror-1".into(), epoch: 12, row: sequence };
    let time = 1_795_403_047_250_000 + sequence as i64 * 1_000_000;
    Alert {
        uid: Alert::uid_of("bay-3", "recipe-body-not-released", &key, &cause),
        revision: 1,
        cell: "bay-3".into(),
        sequence,
        detection: "recipe-body-not-released".into(),
        title: "A recipe body that was never released went to a tool".into(),
        queue: Queue::Security,
        severity: Severity::High,
        protects: vec!["quality".into(), "production".into()],
        techniques: vec!["T0836".into(), "T0831".into()],
        matrix: "18.1".into(),
        outcomes: vec!["DE.CM-09".into(), "CPS.AE-1".into()],
        time,
        observed: time + 40_000,
        last_time: time,
        count: 1,
        key,
        tool: "ETCH-07".into(),
        summary: "ETCH-07 took a body of recipe OX-MAIN that is on no release list.".into(),
        then: "Hold the lot; compare with the recipe master before the next start.".into(),
        evidence: json!({
            "client": "10.20.0.9", "client_port": 51_000, "server": "10.20.3.7", "server_port": 5000,
            "protocol": "hsms", "function": "S7F3", "operation": "recipe.write", "target": "OX-MAIN",
            "body_bytes": 2048,
        }),
        cause,
        late: false,
    }
}

/// The record of the topic `alerts` that carries them.
pub(crate) fn record(alerts: &[Alert]) -> Record {
    let cell = alerts.first().map_or("bay-3", |alert| &alert.cell);
    let observed = alerts.iter().map(|alert| alert.observed);
    let envelope = Envelope {
        kind: Kind::Alert,
        version: Kind::Alert.version(),
        cell: cell.to_string(),
        collector: "detect".into(),
        epoch: 0,
        first_row: alerts.first().map_or(0, |alert| alert.sequence),
        rows: alerts.len() as u32,
        observed: (observed.clone().min().unwrap_or(0), observed.max().unwrap_or(0)),
        promise: 0,
        encoding: Encoding::Json,
        origin: None,
        places: Vec::new(),
    };
    let lines: Vec<String> =
        alerts.iter().map(|alert| serde_json::to_string(alert).expect("an alert is JSON")).collect();
    Record {
        key: cell.to_string().into(),
        header: envelope.to_header().into(),
        value: lines.join("\n").into(),
    }
}
