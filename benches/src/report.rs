//! What a benchmark found: a table for people, the same figures in `target/bench/NAME.json`.

use std::path::PathBuf;

use anyhow::Result;
use serde::Serialize;

/// One benchmark's outcome.
pub struct Report {
    /// What was measured on what, in a line.
    pub input: String,
    /// The figures, in order.
    pub figures: Vec<Figure>,
}

/// One figure, beside a peer's where there is one.
#[derive(Serialize)]
pub struct Figure {
    /// What it is of.
    pub name: String,
    /// In its unit.
    pub value: f64,
    unit: &'static str,
    /// The peer's figure for the same input, measured in the same run.
    peer: Option<f64>,
    /// Ours over the peer's.
    ratio: Option<f64>,
}

impl Figure {
    /// A figure of our own.
    pub fn new(name: impl Into<String>, value: f64, unit: &'static str) -> Figure {
        Figure { name: name.into(), value, unit, peer: None, ratio: None }
    }

    /// Whether it has that name.
    pub fn is(&self, name: &str) -> bool {
        self.name == name
    }

    /// The same under another name.
    pub fn of(&self, name: &str) -> Figure {
        Figure::new(name, self.value, self.unit)
    }

    /// The same with a peer's.
    pub fn beside(self, peer: f64) -> Figure {
        Figure { peer: Some(peer), ratio: Some(self.value / peer), ..self }
    }
}

impl Report {
    /// Prints the table and writes the file.
    #[expect(clippy::print_stdout, reason = "the benchmark's table")]
    pub fn publish(&self, name: &str) -> Result<()> {
        let cpu = std::fs::read_to_string("/proc/cpuinfo")
            .ok()
            .and_then(|text| text.lines().find_map(|l| l.strip_prefix("model name\t: ").map(str::to_string)))
            .unwrap_or_else(|| "an unknown processor".into());
        println!("{cpu}; {}", self.input);
        for Figure { name, value, unit, peer, ratio } in &self.figures {
            let beside = match (peer, ratio) {
                (Some(peer), Some(ratio)) => format!("  peer {peer:>14.2}  ratio {ratio:>8.2}"),
                _ => String::new(),
            };
            // Shares and scores need their third decimal, millions do not.
            let decimals = if value.abs() < 10.0 { 3 } else { 2 };
            println!("{name:60} {value:>16.decimals$} {unit:4}{beside}");
        }
        let file = PathBuf::from("target/bench").join(format!("{name}.json"));
        std::fs::create_dir_all("target/bench")?;
        std::fs::write(&file, serde_json::to_string_pretty(&self.figures)?)?;
        Ok(())
    }
}
