//! How long it takes from a record's append to the alert that somebody else can read, at a million samples a
//! second over a hundred cells with all detections that ship, beside the throughput of the same batches.
//!
//! One thread appends what is due and makes it durable, again and again; the worker runs on its own thread as
//! it does in `yagura run`, snapshots included; a third thread reads the alerts as a sink does. Operators that
//! wait are measured from the record that passed what they waited for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use yagura_detect::worker::{self, ALERTS, EVENTS, LATE, Progress};
use yagura_detect::{Pipeline, snapshot};
use yagura_event::Alert;
use yagura_event::clock::{Micros, SECOND};
use yagura_kafka::{KafkaLog, KafkaOptions};
use yagura_log::embedded::{Embedded, Options};
use yagura_log::{Log, LogError, Polled};
use yagura_testkit::kafka::Broker;

use crate::fab::{self, CELLS, Events, Fab, SAMPLES_A_SECOND, SERIES};
use crate::report::{Figure, Report};

/// Rows of a batch of samples.
const BATCHES: [usize; 2] = [1_000, 8_192];
/// How long samples are paced, unless `YAGURA_LATENCY_SECONDS` says another.
const SECONDS: u64 = 60;
/// Samples that are judged as fast as can be.
const THROUGHPUT_SAMPLES: u64 = 20_000_000;
/// As many as `yagura run` makes without a setting.
const PARTITIONS: u32 = 4;
const MINUTE: Micros = 60 * SECOND;

/// What is measured: a detection, its operator, and from when on its alert is due.
static MEASURED: [(&str, &str, Due); 8] = [
    ("match", "controller-stopped", Due::Row),
    ("known", "controller-writer-not-listed", Due::Row),
    ("model", "signal-drift", Due::Row),
    ("window that slides", "refused-logins", Due::Row),
    ("window that closes", "slow-answers", Due::Window { lateness: 10 * SECOND }),
    ("sequence", "controller-left-stopped", Due::After(10 * MINUTE)),
    ("sequence of 30 minutes", "alarms-left-disabled", Due::After(30 * MINUTE)),
    ("absence", "tool-reports-nothing", Due::After(30 * MINUTE)),
];

#[derive(Clone, Copy)]
enum Due {
    /// With its row.
    Row,
    /// When a watermark is later than the row by more than this.
    After(Micros),
    /// When a watermark has reached the end of the row's five minutes and this.
    Window { lateness: Micros },
}

/// A record that was appended.
#[derive(Clone, Copy)]
struct Appended {
    end_row: u64,
    /// In the load's time, and its cell's watermark from then on.
    due: Micros,
    /// On this program's clock.
    at: Micros,
}

/// An alert that was read.
struct Seen {
    alert: Alert,
    at: Micros,
}

/// On the embedded log.
pub fn embedded() -> Result<Report> {
    measure(|| {
        let folder = tempfile::tempdir()?;
        let log = Embedded::open(folder.path(), Options::default())?;
        Ok((Box::new(log), Box::new(folder)))
    })
}

/// Through a Kafka broker on the same machine.
pub fn kafka() -> Result<Report> {
    measure(|| {
        let broker = Broker::start()?;
        Ok((Box::new(KafkaLog::connect(KafkaOptions::new(broker.address()))?), Box::new(broker)))
    })
}

/// A log, and what must live as long.
type Opened = (Box<dyn Log>, Box<dyn std::any::Any>);

fn measure(open: impl Fn() -> Result<Opened>) -> Result<Report> {
    let seconds = std::env::var("YAGURA_LATENCY_SECONDS").ok().map_or(Ok(SECONDS), |text| text.parse())?;
    ensure!(seconds > 40, "a window closes after 30 s: take more than 40 s");
    let pipeline = fab::pack()?;
    let mut figures = Vec::new();
    let mut cell_line = String::new();
    for batch_rows in BATCHES {
        let (log, _alive) = open()?;
        cell_line = log.describe();
        figures.extend(run(&*log, &pipeline, batch_rows, seconds)?);
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Ok(Report {
        input: format!(
            "{SAMPLES_A_SECOND} samples and 10,000 messages a second for {seconds} s, {CELLS} cells of {SERIES} series, \
             {} detections, {PARTITIONS} partitions, {cores} cores for all, {cell_line}",
            pipeline.detections.len()
        ),
        figures,
    })
}

fn run(log: &dyn Log, pipeline: &Arc<Pipeline>, batch_rows: usize, seconds: u64) -> Result<Vec<Figure>> {
    for topic in [EVENTS, ALERTS, LATE, snapshot::TOPIC] {
        log.ensure_topic(topic, PARTITIONS)?;
    }
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
    let clock = Instant::now();
    let now = || clock.elapsed().as_micros() as Micros;
    let mut fab = Fab::new(batch_rows);
    let mut appender = log.appender(EVENTS)?;
    for record in fab.history(seconds)? {
        appender.append(record)?;
    }
    appender.flush()?;

    let progress = Progress::default();
    let (stop, stop_reading) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        // What fails ends both threads, too.
        let _ends = Ends([&stop, &stop_reading]);
        let work = |stop| {
            let progress = &progress;
            move || worker::run(log, pipeline, &worker::Options::default(), stop, progress)
        };
        let judging = scope.spawn(work(&stop));
        let reading = scope.spawn(|| read(log, &stop_reading, now));
        caught_up(log, &progress)?;

        let paced = pace(&mut fab, &mut *appender, seconds, &now)?;
        let events = fab.events;
        caught_up(log, &progress)?;
        std::thread::park_timeout(Duration::from_millis(500));
        stop.store(true, Ordering::Release);
        joined(judging.join())?;
        stop_reading.store(true, Ordering::Release);
        let alerts = joined(reading.join())?;
        let pauses = progress.snapshot_pause_us.load(Ordering::Relaxed);
        let snapshots = progress.snapshots.load(Ordering::Relaxed);

        // The same goes on as fast as it can, first into the log, then out of it.
        let samples = (THROUGHPUT_SAMPLES / batch_rows as u64) * batch_rows as u64;
        let end = fab.next_due() + samples as Micros;
        while fab.next_due() < end {
            appender.append(fab.next_record()?.record)?;
        }
        appender.flush()?;
        let (progress, stop) = (Progress::default(), AtomicBool::new(false));
        let rate = std::thread::scope(|scope| {
            let _ends = Ends([&stop, &stop]);
            let judging =
                scope.spawn(|| worker::run(log, pipeline, &worker::Options::default(), &stop, &progress));
            while progress.done().len() < PARTITIONS as usize {
                std::thread::park_timeout(Duration::from_millis(1));
            }
            let began = now();
            caught_up(log, &progress)?;
            let rate = samples as f64 / (now() - began) as f64 * 1e6;
            stop.store(true, Ordering::Release);
            joined(judging.join())?;
            anyhow::Ok(rate)
        })?;

        let mut figures = latencies(&fab, batch_rows, &paced, &alerts, events)?;
        let name = |what: &str| format!("{batch_rows} rows: {what}");
        figures.extend([
            Figure::new(name("samples a second, paced"), paced.rate, "1/s"),
            Figure::new(name("behind the pace at most"), paced.behind as f64 / 1e3, "ms"),
            Figure::new(name("snapshots while paced"), snapshots as f64, ""),
            Figure::new(name("judging stood still for the last"), pauses as f64 / 1e3, "ms"),
            Figure::new(name("samples a second, log to alerts, one thread"), rate, "1/s"),
        ]);
        Ok(figures)
    })
}

/// Ends threads when it goes.
struct Ends<'a>([&'a AtomicBool; 2]);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.iter().for_each(|stop| stop.store(true, Ordering::Release));
    }
}

fn joined<T>(ended: std::thread::Result<Result<T, LogError>>) -> Result<T> {
    Ok(ended.map_err(|_| anyhow!("a thread panicked"))??)
}

/// Waits until the worker has judged all that is in the log; what it passes on itself comes behind.
fn caught_up(log: &dyn Log, progress: &Progress) -> Result<()> {
    let ends: BTreeMap<u32, u64> =
        (0..PARTITIONS).map(|p| Ok((p, log.held(EVENTS, p)?.end))).collect::<Result<_>>()?;
    let level = |done: &BTreeMap<u32, u64>| ends.iter().all(|(p, end)| done.get(p).is_some_and(|d| d >= end));
    while !level(&progress.done()) {
        std::thread::park_timeout(Duration::from_millis(1));
    }
    Ok(())
}

/// What was appended at which time.
struct Paced {
    by_cell: Vec<Vec<Appended>>,
    /// The rows of each cell before.
    before: Vec<u64>,
    /// From each append to when it was durable.
    durable: Vec<Micros>,
    rate: f64,
    /// The longest that an append came after it was due.
    behind: Micros,
}

fn pace(
    fab: &mut Fab,
    appender: &mut dyn yagura_log::Appender,
    seconds: u64,
    now: &dyn Fn() -> Micros,
) -> Result<Paced> {
    let mut paced = Paced {
        by_cell: vec![Vec::new(); CELLS],
        before: (0..CELLS).map(|cell| fab.rows(cell)).collect(),
        durable: Vec::new(),
        rate: 0.0,
        behind: 0,
    };
    let began = now();
    let end = seconds as Micros * SECOND;
    let mut waiting: Vec<Micros> = Vec::new();
    while fab.next_due() <= end {
        let elapsed = now() - began;
        if fab.next_due() > elapsed {
            let wait = (fab.next_due() - elapsed) as u64;
            std::thread::park_timeout(Duration::from_micros(wait));
            continue;
        }
        // All that is due goes in one group.
        while fab.next_due() <= now() - began && fab.next_due() <= end {
            let loaded = fab.next_record()?;
            let at = now();
            appender.append(loaded.record)?;
            waiting.push(at);
            paced.behind = paced.behind.max(at - began - loaded.due);
            paced.by_cell[loaded.cell].push(Appended { end_row: loaded.end_row, due: loaded.due, at });
        }
        appender.flush()?;
        let durable = now();
        paced.durable.extend(waiting.drain(..).map(|at| durable - at));
    }
    paced.rate = (SAMPLES_A_SECOND * seconds) as f64 / (now() - began) as f64 * 1e6;
    Ok(paced)
}

/// Reads alerts as a sink does, until it is told to stop.
fn read(log: &dyn Log, stop: &AtomicBool, now: impl Fn() -> Micros) -> Result<Vec<Seen>, LogError> {
    let mut member = log.join("bench.sink", ALERTS)?;
    let mut seen = Vec::new();
    while !stop.load(Ordering::Acquire) {
        if let Polled::Records(_, records) = member.poll(Duration::from_millis(100))? {
            let at = now();
            let alerts =
                records.iter().filter_map(|stored| serde_json::from_slice(&stored.record.value).ok());
            seen.extend(alerts.map(|alert| Seen { alert, at }));
        }
    }
    Ok(seen)
}

fn latencies(
    fab: &Fab,
    batch_rows: usize,
    paced: &Paced,
    alerts: &[Seen],
    events: Events,
) -> Result<Vec<Figure>> {
    let cells: BTreeMap<&str, usize> = (0..CELLS).map(|cell| (fab.cell(cell), cell)).collect();
    let mut figures = Vec::new();
    let mut all = |what: &str, mut times: Vec<Micros>| {
        times.sort_unstable();
        let at = |part: f64| {
            times[((times.len() as f64 * part).ceil() as usize).clamp(1, times.len()) - 1] as f64 / 1e3
        };
        figures.push(Figure::new(format!("{batch_rows} rows: {what}: how many"), times.len() as f64, ""));
        for (name, part) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)] {
            figures.push(Figure::new(format!("{batch_rows} rows: {what}: {name}"), at(part), "ms"));
        }
    };
    for (operator, detection, due) in MEASURED {
        let mut times = Vec::new();
        for Seen { alert, at } in
            alerts.iter().filter(|s| s.alert.detection == detection && s.alert.revision == 1)
        {
            let cell = *cells.get(alert.cell.as_str()).ok_or_else(|| anyhow!("a cell `{}`", alert.cell))?;
            let (appended, observed) = (&paced.by_cell[cell], fab::since_begin(alert.observed));
            let record = match due {
                Due::Row if alert.cause.row < paced.before[cell] => None,
                Due::Row => appended.get(appended.partition_point(|a| a.end_row <= alert.cause.row)),
                Due::After(time) => appended.get(appended.partition_point(|a| a.due <= observed + time)),
                Due::Window { lateness } => {
                    let over = fab::since_begin(fab::window_end(alert.observed)) + lateness;
                    appended.get(appended.partition_point(|a| a.due < over))
                }
            };
            times.extend(record.map(|record| at - record.at));
        }
        let expected = match detection {
            "controller-stopped" => events.stopped,
            "controller-writer-not-listed" => events.written,
            "signal-drift" => events.drifted,
            "refused-logins" => events.refused,
            _ => CELLS as u64 * 10,
        };
        // What would be over with the very last records may not be.
        let found = times.len() as u64;
        ensure!(
            found <= expected && found * 100 >= expected * 99,
            "{detection}: {found} alerts of {expected}"
        );
        all(&format!("{operator} ({detection})"), times);
    }
    all("append until durable", paced.durable.clone());
    Ok(figures)
}
