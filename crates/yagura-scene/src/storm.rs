//! A storm: rows of a minute, all of which are objected to, of one cause or of very many. With a configuration for
//! them, so that tests and benchmarks say of the same storm whether it is told right and what it costs.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use serde_json::json;
use yagura_event::clock::{Micros, SECOND, rfc3339};

use crate::START;

/// Each of a tool's rows within ten minutes is of one alert.
const PIPELINE: &str = "version: 1
detections:
  - { id: trouble, title: Trouble at a door, queue: security, severity: high, on: log, where: event = 'trouble',
      by: [tool], quiet: 10m, summary: 'trouble at {tool}', then: Look. }
";

/// What the alerts go to, in the folder.
pub const ALERTS: &str = "alerts.jsonl";

/// Writes so many rows of so many tools, who take turns, and what judges them into a folder; answers the configuration.
pub fn write(folder: &Path, rows: u64, tools: u64) -> io::Result<PathBuf> {
    let at = |name: &str| folder.join(name);
    let mut file = BufWriter::new(File::create(at("rows.jsonl"))?);
    for number in 0..rows {
        let time = rfc3339(START + (number * 60 * SECOND as u64 / rows) as Micros);
        let tool = number % tools;
        writeln!(file, r#"{{"time":"{time}","tool":"T-{tool}","category":"door","event":"trouble"}}"#)?;
    }
    file.flush()?;
    std::fs::write(at("storm.yaml"), PIPELINE)?;
    let config = json!({
        "version": 1, "data": "data", "console": "none", "default_cell": "bay", "pipelines": ["storm.yaml"],
        "collectors": [{ "name": "doors", "kind": "jsonl", "path": "rows.jsonl", "mapping": { "as": "log" } }],
        "sinks": [{ "name": "out", "kind": "file", "path": ALERTS, "heartbeat": "off" }],
    });
    std::fs::write(at("yagura.yaml"), config.to_string())?;
    Ok(at("yagura.yaml"))
}
