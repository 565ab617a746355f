//! `top`: what a running instance does now, read from its metrics.
//!
//! Plain text drawn again and again: a terminal library would add its crates to every cold build
//! for one table.

mod busiest;
mod scrape;
mod terminal;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use yagura_detect::meter::monotonic;

use crate::config::Config;
use crate::say::say;
use crate::tap::plain;
use crate::{Failure, Format, plant};
use busiest::{Busiest, Busy};
use scrape::{Address, Metrics};
use terminal::Terminal;

/// Arguments of `top`.
#[derive(Args)]
#[command(after_help = HELP)]
pub struct Arguments {
    /// The instance's console: what its configuration calls `console`.
    #[arg(long, default_value = "http://127.0.0.1:9600", value_parser = Address::parse)]
    url: Address,
    /// The instance's configuration file: shows the busiest keys, too, which are read from its log.
    #[arg(long, short)]
    config: Option<PathBuf>,
    /// Print one look and end; its rates are over one interval.
    #[arg(long)]
    once: bool,
    /// Seconds between two looks.
    #[arg(long, default_value_t = 1.0, value_parser = seconds)]
    interval: f64,
}

const HELP: &str = help!(
    "  yagura top                                     the instance of this machine; q ends it
  yagura top -c yagura.yaml                      and the keys that raise most within the hour
  yagura top --url http://10.20.0.5:9600         another one
  yagura top --once --format json                one look, for programs
  yagura top --interval 10 > log.txt             a look every ten seconds, without colours"
);

/// How many of the busiest keys are shown.
const KEYS_SHOWN: usize = 10;

fn seconds(text: &str) -> Result<f64, String> {
    let wrong = || format!("`{text}` is no number of seconds between 0.1 and 3600");
    text.parse().ok().filter(|seconds| (0.1..=3600.0).contains(seconds)).ok_or_else(wrong)
}

/// Looks, and looks again.
pub fn run(arguments: &Arguments, format: Format) -> Result<(), Failure> {
    let mut busiest = match &arguments.config {
        Some(file) => {
            Some(Busiest::of(&plant::following(&Config::load(file)?)?).map_err(anyhow::Error::from)?)
        }
        None => None,
    };
    let clock = monotonic();
    let interval = Duration::from_secs_f64(arguments.interval);
    let mut before = Look::take(&arguments.url, clock()).map_err(|error| {
        anyhow::anyhow!("{}: {error}; `yagura run` answers there, or where its `console` says", arguments.url)
    })?;
    let drawn = !arguments.once && format == Format::Text && std::io::stdout().is_terminal();
    let mut terminal = if drawn { Some(Terminal::open()?) } else { None };
    let mut shown = String::from("looking…\n");
    loop {
        let quit = match &mut terminal {
            Some(terminal) => {
                terminal.draw(&shown)?;
                terminal.quit_within(interval)
            }
            None => {
                std::thread::park_timeout(interval);
                false
            }
        };
        if quit {
            return Ok(());
        }
        match Look::take(&arguments.url, clock()) {
            Ok(now) => {
                let mut view = View::of(&arguments.url, &before, &now);
                if let Some(busiest) = &mut busiest {
                    view.busiest_keys = busiest.look(KEYS_SHOWN).map_err(anyhow::Error::from)?;
                }
                before = now;
                match (format, drawn) {
                    (Format::Json, _) => say!("{}", serde_json::to_string(&view)?),
                    (Format::Text, true) => shown = view.text(true),
                    (Format::Text, false) => say!("{}", view.text(false)),
                }
            }
            // It may be starting again.
            Err(error) if drawn => shown = format!("{}: {error}\nq ends this\n", arguments.url),
            Err(error) => return Err(anyhow::anyhow!("{}: {error}", arguments.url).into()),
        }
        if arguments.once {
            return Ok(());
        }
    }
}

/// What an instance said at one time.
struct Look {
    nanos: u64,
    metrics: Metrics,
    live: String,
    ready: String,
}

impl Look {
    fn take(address: &Address, nanos: u64) -> std::io::Result<Look> {
        let (status, text) = address.get("/metrics")?;
        if status != 200 {
            return Err(std::io::Error::other(format!("it answers /metrics with {status}")));
        }
        let verdict = |resource| match address.get(resource) {
            Ok((200, _)) => "yes".to_string(),
            Ok((_, problems)) => problems.trim().replace('\n', "; "),
            Err(error) => error.to_string(),
        };
        Ok(Look { nanos, metrics: Metrics::parse(&text), live: verdict("/live"), ready: verdict("/ready") })
    }
}

/// A count and how fast it grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
struct Count {
    total: f64,
    per_second: f64,
}

/// One cell.
#[derive(Clone, Debug, Serialize)]
struct Cell {
    cell: String,
    rows: Count,
    late_rows: f64,
    missing_rows: f64,
    unreadable_records: f64,
    state_bytes: f64,
}

/// One detection.
#[derive(Clone, Debug, Serialize)]
struct Detection {
    detection: String,
    /// Of one processor.
    busy: f64,
    offered: Count,
    selected: Count,
    hits: Count,
    alerts: f64,
    keys: f64,
}

/// Everything that is shown.
#[derive(Clone, Debug, Serialize)]
struct View {
    url: String,
    version: String,
    live: String,
    ready: String,
    rows: Count,
    read_bytes: Count,
    alerts: Count,
    latency_seconds: f64,
    restarts: f64,
    snapshots: f64,
    dead_letters: f64,
    dropped_packets: f64,
    /// Records that wait, by partition.
    lag: BTreeMap<String, f64>,
    alerts_by_queue: BTreeMap<String, f64>,
    /// Alerts that a sink's receiver has not acknowledged.
    sink_lag: BTreeMap<String, f64>,
    /// Busiest first.
    cells: Vec<Cell>,
    /// Those that took most time first.
    detections: Vec<Detection>,
    /// Most hits first.
    busiest_keys: Vec<Busy>,
}

impl View {
    fn of(address: &Address, before: &Look, now: &Look) -> View {
        let seconds = (now.nanos.saturating_sub(before.nanos)).max(1) as f64 * 1e-9;
        let (old, new) = (&before.metrics, &now.metrics);
        // A counter that fell belongs to a process that began again.
        let rate = |was: f64, is: f64| if is < was { is / seconds } else { (is - was) / seconds };
        let count =
            |name: &str| Count { total: new.sum(name), per_second: rate(old.sum(name), new.sum(name)) };
        let counts = |name: &str, label: &str, with: &[(&str, &str)]| -> BTreeMap<String, Count> {
            let was = old.by(name, label, with);
            new.by(name, label, with)
                .into_iter()
                .map(|(of, total)| {
                    let per_second = rate(was.get(&of).copied().unwrap_or(0.0), total);
                    (of, Count { total, per_second })
                })
                .collect()
        };
        let version =
            new.of("yagura_build_info").first().and_then(|(labels, _)| labels.get("version")).cloned();
        let mut view = View {
            url: address.to_string(),
            version: version.unwrap_or_default(),
            live: now.live.clone(),
            ready: now.ready.clone(),
            rows: count("yagura_detect_rows_total"),
            read_bytes: count("yagura_collect_read_bytes_total"),
            alerts: count("yagura_detect_alerts_total"),
            latency_seconds: new.sum("yagura_detect_latency_seconds"),
            restarts: new.sum("yagura_detect_restarts_total"),
            snapshots: new.sum("yagura_detect_snapshots_total"),
            dead_letters: new.sum("yagura_detect_dead_letters_total"),
            dropped_packets: new.sum("yagura_collect_dropped_packets_total"),
            lag: new.by("yagura_detect_lag_records", "partition", &[]),
            alerts_by_queue: new.by("yagura_detection_alerts_total", "queue", &[]),
            sink_lag: new.by("yagura_sink_lag_records", "sink", &[]),
            cells: Vec::new(),
            detections: Vec::new(),
            busiest_keys: Vec::new(),
        };
        let by_cell = |name: &str| new.by(name, "cell", &[]);
        let (late, missing) =
            (by_cell("yagura_detect_late_rows_total"), by_cell("yagura_detect_missing_rows_total"));
        let unreadable = by_cell("yagura_detect_unreadable_records_total");
        let state = by_cell("yagura_detect_state_bytes");
        let value = |of: &BTreeMap<String, f64>, key: &str| of.get(key).copied().unwrap_or(0.0);
        for (cell, rows) in counts("yagura_detect_rows_total", "cell", &[]) {
            view.cells.push(Cell {
                rows,
                late_rows: value(&late, &cell),
                missing_rows: value(&missing, &cell),
                unreadable_records: value(&unreadable, &cell),
                state_bytes: value(&state, &cell),
                cell,
            });
        }
        view.cells.sort_by(|a, b| b.rows.per_second.total_cmp(&a.rows.per_second));
        let stage = |stage: &str| counts("yagura_detection_rows_total", "detection", &[("stage", stage)]);
        let (offered, selected, hits) = (stage("offered"), stage("selected"), stage("hit"));
        let alerts = new.by("yagura_detection_alerts_total", "detection", &[]);
        let keys = new.by("yagura_detect_keys", "detection", &[]);
        let rows = |of: &BTreeMap<String, Count>, key: &str| of.get(key).copied().unwrap_or_default();
        let spent = counts("yagura_detection_seconds_total", "detection", &[]);
        let mut order: Vec<(String, Count)> = spent.into_iter().collect();
        order.sort_by(|(_, a), (_, b)| {
            (b.per_second, b.total).partial_cmp(&(a.per_second, a.total)).unwrap_or(std::cmp::Ordering::Equal)
        });
        for (detection, spent) in order {
            view.detections.push(Detection {
                busy: spent.per_second,
                offered: rows(&offered, &detection),
                selected: rows(&selected, &detection),
                hits: rows(&hits, &detection),
                alerts: value(&alerts, &detection),
                keys: value(&keys, &detection),
                detection,
            });
        }
        view
    }

    fn text(&self, colour: bool) -> String {
        let mut out = String::new();
        let paint = |code: &str, text: &str| match colour {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_string(),
        };
        let told = |word: &str, said: &str| match said {
            "yes" => paint("32", word),
            other => paint("31", &format!("not {word} ({})", plain(other))),
        };
        let title = format!("yagura {}  {}", plain(&self.version), self.url);
        let _ = writeln!(
            out,
            "{}  {}  {}",
            paint("1", &title),
            told("live", &self.live),
            told("ready", &self.ready)
        );
        let _ = writeln!(
            out,
            "rows {}/s ({})   read {}/s   alerts {} ({}/s)   latency {}",
            short(self.rows.per_second),
            short(self.rows.total),
            bytes(self.read_bytes.per_second),
            short(self.alerts.total),
            short(self.alerts.per_second),
            duration(self.latency_seconds),
        );
        let troubles = [
            ("restarts", self.restarts),
            ("dead letters", self.dead_letters),
            ("dropped packets", self.dropped_packets),
        ];
        let troubles = troubles.map(|(name, value)| {
            let text = format!("{name} {}", short(value));
            if value > 0.0 { paint("33", &text) } else { text }
        });
        let _ = writeln!(out, "{}   snapshots {}", troubles.join("   "), short(self.snapshots));
        for (name, values) in
            [("lag", &self.lag), ("queues", &self.alerts_by_queue), ("sinks behind", &self.sink_lag)]
        {
            if !values.is_empty() {
                let shown: Vec<String> = values
                    .iter()
                    .take(16)
                    .map(|(of, value)| format!("{} {}", plain(of), short(*value)))
                    .collect();
                let _ = writeln!(out, "{name}: {}", shown.join("  "));
            }
        }
        table(
            &mut out,
            &paint,
            &["CELL", "ROWS/S", "ROWS", "LATE", "MISSING", "UNREADABLE", "STATE"],
            self.cells.iter().map(|c| {
                let numbers = [
                    c.rows.per_second,
                    c.rows.total,
                    c.late_rows,
                    c.missing_rows,
                    c.unreadable_records,
                    c.state_bytes,
                ];
                std::iter::once(plain(&c.cell)).chain(numbers.map(short)).collect()
            }),
        );
        table(
            &mut out,
            &paint,
            &["DETECTION", "BUSY %", "OFFERED/S", "SELECTED/S", "HITS", "ALERTS", "KEYS"],
            self.detections.iter().map(|d| {
                let numbers = [d.offered.per_second, d.selected.per_second, d.hits.total, d.alerts, d.keys];
                [plain(&d.detection), format!("{:.2}", d.busy * 100.0)]
                    .into_iter()
                    .chain(numbers.map(short))
                    .collect()
            }),
        );
        if !self.busiest_keys.is_empty() {
            let rows = self.busiest_keys.iter().map(|busy| {
                vec![format!("{}  {}", plain(&busy.detection), plain(&busy.key)), short(busy.hits as f64)]
            });
            table(&mut out, &paint, &["BUSIEST KEYS OF THE LAST HOUR", "HITS"], rows);
        }
        out
    }
}

/// Rows under a head: the first column to the left, numbers to the right.
fn table(
    out: &mut String,
    paint: &dyn Fn(&str, &str) -> String,
    head: &[&str],
    rows: impl Iterator<Item = Vec<String>>,
) {
    let rows: Vec<Vec<String>> = rows.collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([head[column].len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: &[String]| {
        let pad = |(column, cell): (usize, &String)| match column {
            0 => format!("{cell:0$}", widths[0]),
            _ => format!("{cell:>0$}", widths[column]),
        };
        cells.iter().enumerate().map(pad).collect::<Vec<_>>().join("  ")
    };
    let head: Vec<String> = head.iter().map(ToString::to_string).collect();
    let _ = writeln!(out, "\n{}", paint("7", &line(&head)));
    for row in rows {
        let _ = writeln!(out, "{}", line(&row).trim_end());
    }
}

/// `12`, `1.5 k`, `3.20 M`: at most four digits.
fn short(value: f64) -> String {
    let (scaled, unit) = match value.abs() {
        size if size < 10_000.0 => (value, ""),
        size if size < 1e6 => (value / 1e3, " k"),
        size if size < 1e9 => (value / 1e6, " M"),
        _ => (value / 1e9, " G"),
    };
    let decimals = match scaled.abs() {
        size if size.fract() == 0.0 && unit.is_empty() => 0,
        size if size < 10.0 => 2,
        size if size < 100.0 => 1,
        _ => 0,
    };
    format!("{scaled:.decimals$}{unit}")
}

/// `512 B`, `1.50 MB`.
fn bytes(value: f64) -> String {
    let number = short(value);
    if number.contains(' ') { format!("{number}B") } else { format!("{number} B") }
}

fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 1.0 => format!("{:.1} ms", s * 1e3),
        s if s < 120.0 => format!("{s:.1} s"),
        s if s < 2.0 * 86_400.0 => format!("{:.1} h", s / 3600.0),
        s => format!("{:.0} days", s / 86_400.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(nanos: u64, rows: u64, seconds: f64) -> Look {
        let text = format!(
            "yagura_build_info{{version=\"0.1.0\"}} 1
yagura_detect_rows_total{{cell=\"bay\"}} {rows}
yagura_detect_rows_total{{cell=\"busy\"}} {}
yagura_detection_seconds_total{{detection=\"a\"}} 0.5
yagura_detection_seconds_total{{detection=\"b\"}} {seconds}
yagura_detection_rows_total{{detection=\"b\",stage=\"offered\"}} {rows}
yagura_detection_rows_total{{detection=\"b\",stage=\"hit\"}} 4
yagura_detection_alerts_total{{detection=\"b\",queue=\"security\"}} 2
yagura_detect_lag_records{{partition=\"0\"}} 7
yagura_detect_latency_seconds 0.012\n",
            rows * 3
        );
        Look { nanos, metrics: Metrics::parse(&text), live: "yes".into(), ready: "yes".into() }
    }

    #[test]
    fn rates_are_over_the_time_between_two_looks() {
        let address = Address::parse("http://h:1").expect("an address");
        let view = View::of(&address, &look(0, 1000, 0.25), &look(2_000_000_000, 3000, 0.75));
        assert_eq!(view.rows, Count { total: 12_000.0, per_second: 4000.0 });
        assert_eq!(view.cells.iter().map(|c| c.cell.as_str()).collect::<Vec<_>>(), ["busy", "bay"]);
        let first = &view.detections[0];
        assert_eq!((first.detection.as_str(), first.busy, first.offered.per_second), ("b", 0.25, 1000.0));
        assert_eq!((first.hits.total, first.alerts, view.lag["0"]), (4.0, 2.0, 7.0));
        let text = view.text(false);
        assert!(
            !text.contains('\x1b') && text.contains("lag: 0 7") && text.contains("latency 12.0 ms"),
            "{text}"
        );
        assert!(text.contains("b           25.00"), "{text}");
        let again = View::of(&address, &look(0, 3000, 1.0), &look(1_000_000_000, 100, 0.1));
        assert_eq!(again.rows.per_second, 400.0, "it began again");
    }

    #[test]
    fn numbers_are_short() {
        let shown = [0.0, 12.0, 0.256, 9999.0, 12_345.0, 1_234_567.0, 3e10].map(short);
        assert_eq!(shown, ["0", "12", "0.26", "9999", "12.3 k", "1.23 M", "30.0 G"]);
    }
}
