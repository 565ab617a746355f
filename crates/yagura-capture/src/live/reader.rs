//! The reading end: packets of all interfaces in the order of their time, and what was not seen.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use pcap::{Active, Capture};
use yagura_event::clock::{self, Micros, SECOND};
use yagura_event::rows::{CoverageRow, Row, RowSink};
use yagura_event::vocabulary::coverage;

use super::interface::{self, Worker};
use super::queue::{Batch, Change, Lost, News, Queue};
use super::{Counts, LiveError, LiveOptions};
use crate::engine::{Engine, Packet};
use crate::ring::{Origin, Ring};

/// The most packets that one [`Live::read`] gives to the engine.
const READ_PACKETS_MAX: usize = 4096;

/// Interfaces that are being captured.
///
/// Packets of one interface come in the order in which the kernel hands them over. Those of several
/// are merged by their time, since the two directions of a tap arrive on two interfaces: a packet
/// waits until every other interface has one as well, or until none can be older.
pub struct Live {
    options: Arc<LiveOptions>,
    queue: Arc<Queue>,
    stop: Arc<AtomicBool>,
    /// Interfaces that are open and whose threads have not begun; `None` for one that is down.
    opened: Vec<Option<Capture<Active>>>,
    threads: Vec<JoinHandle<()>>,
    /// By interface, the batch that is being read, and the next packet in it.
    current: Vec<Option<(Batch, usize)>>,
    ring: Option<Ring>,
    /// Why the ring refused last, and when its losses were told last.
    ring_cause: String,
    ring_told: Micros,
    observed: Micros,
    counts: Counts,
    /// Packets read by interface.
    read: Vec<u64>,
}

impl Live {
    /// Opens all interfaces and the ring. Capturing begins with the first [`Live::read`].
    pub fn open(options: LiveOptions) -> Result<Live, LiveError> {
        options.check()?;
        if !options.filter.is_empty() {
            interface::check_filter(&options.filter)?;
        }
        let mut opened = Vec::new();
        for name in &options.interfaces {
            opened.push(match interface::open(name, &options) {
                Ok(capture) => Some(capture),
                // It may come up.
                Err(LiveError::Down { .. }) => None,
                Err(error) => return Err(error),
            });
        }
        let ring = options.ring.as_ref().map(|ring| {
            Ring::open(&ring.folder, ring.options.clone())
                .map_err(|cause| LiveError::Ring { folder: ring.folder.display().to_string(), cause })
        });
        let interfaces = opened.len();
        Ok(Live {
            queue: Arc::new(Queue::new(interfaces, options.tuning.queue_bytes as usize)),
            options: Arc::new(options),
            stop: Arc::default(),
            opened,
            threads: Vec::new(),
            current: (0..interfaces).map(|_| None).collect(),
            ring: ring.transpose()?,
            ring_cause: String::new(),
            ring_told: 0,
            observed: 0,
            counts: Counts::default(),
            read: vec![0; interfaces],
        })
    }

    /// Gives the engine the packets that came, or waits for some, at most for `wait`. Answers the
    /// collector's clock: no row observed before will follow.
    pub fn read(&mut self, wait: Duration, engine: &mut Engine, out: &mut dyn RowSink) -> Micros {
        self.start();
        self.report(out);
        let mut taken = self.take(engine, out);
        if taken == 0 {
            // Packets that wait for those of other interfaces are due soon.
            let waiting = self.current.iter().any(Option::is_some);
            let wait = if waiting { wait.min(Duration::from_millis(10)) } else { wait };
            match waiting {
                true => std::thread::park_timeout(wait),
                false => self.queue.wait(wait),
            }
            taken = self.take(engine, out);
        }
        if taken == 0 && self.current.iter().all(Option::is_none) {
            self.idle(engine, out);
        }
        self.observed
    }

    /// Stops capturing, and reads what was captured.
    pub fn finish(&mut self, engine: &mut Engine, out: &mut dyn RowSink) {
        self.start();
        self.stop.store(true, Ordering::Release);
        loop {
            self.report(out);
            if self.take(engine, out) > 0 {
                continue;
            }
            if self.queue.lock().threads == 0 {
                break;
            }
            self.queue.wait(Duration::from_millis(20));
        }
        for thread in self.threads.drain(..) {
            // One that panicked has said so where it counts: its interface is down.
            let _ = thread.join();
        }
        while self.take(engine, out) > 0 {}
        engine.finish(out);
        let flushed = self.ring.as_mut().map(Ring::flush);
        self.ring_refused(flushed.and_then(Result::err));
        self.ring_told = 0;
        self.report(out);
        let at = self.now();
        self.observed = at;
        for (index, name) in self.options.interfaces.iter().enumerate() {
            let detail = format!("{} packets read", self.read[index]);
            say(out, coverage::STOP, name, (at, at), self.observed, self.read[index], &detail);
        }
    }

    /// What came and what was lost so far.
    pub fn counts(&self) -> Counts {
        Counts { captured: self.queue.lock().captured, ..self.counts }
    }

    /// Starts the threads, once.
    fn start(&mut self) {
        for (number, capture) in std::mem::take(&mut self.opened).into_iter().enumerate() {
            let name = self.options.interfaces[number].clone();
            let worker = Worker {
                number,
                name: name.clone(),
                options: Arc::clone(&self.options),
                queue: Arc::clone(&self.queue),
                stop: Arc::clone(&self.stop),
            };
            self.queue.lock().threads += 1;
            let thread = std::thread::Builder::new().name(format!("capture-{name}"));
            match thread.spawn(move || worker.run(capture)) {
                Ok(thread) => self.threads.push(thread),
                Err(error) => {
                    let now = clock::now();
                    let mut state = self.queue.lock();
                    state.threads -= 1;
                    state.news[number]
                        .change(Change::Down(now, format!("no thread can be started: {error}")));
                }
            }
        }
    }

    /// Gives the engine what is due; how many packets that were.
    fn take(&mut self, engine: &mut Engine, out: &mut dyn RowSink) -> usize {
        let stopping = self.stop.load(Ordering::Acquire);
        // The kernel may hold a packet back for `wait`, and its thread sleeps once more.
        let hold = 2 * self.options.tuning.wait + SECOND / 20;
        let due = if stopping { Micros::MAX } else { clock::now() - hold };
        let mut taken = 0;
        while taken < READ_PACKETS_MAX && !out.is_done() {
            let mut first: Option<(Micros, usize)> = None;
            let mut all = true;
            for index in 0..self.current.len() {
                match self.head(index) {
                    Some(time) => first = Some(first.map_or((time, index), |f| f.min((time, index)))),
                    None => all = false,
                }
            }
            match first {
                Some((time, index)) if all || time <= due => self.packet(index, engine, out),
                _ => break,
            }
            taken += 1;
        }
        taken
    }

    /// Time of an interface's next packet.
    fn head(&mut self, index: usize) -> Option<Micros> {
        let current = &mut self.current[index];
        let read = current.as_ref().is_none_or(|(batch, next)| *next >= batch.packets.len());
        if read {
            let back = current.take().map(|(batch, _)| batch);
            *current = self.queue.take(index, back).map(|batch| (batch, 0));
        }
        let (batch, next) = current.as_ref()?;
        batch.packets.get(*next).map(|packet| packet.time)
    }

    fn packet(&mut self, index: usize, engine: &mut Engine, out: &mut dyn RowSink) {
        let Some((batch, next)) = &mut self.current[index] else { return };
        let held = batch.packets[*next];
        self.observed = self.observed.max(batch.observed);
        let packet = Packet {
            time: held.time,
            observed: self.observed,
            link: batch.link,
            original: held.original,
            data: batch.data(*next),
        };
        *next += 1;
        self.read[index] += 1;
        self.counts.read += 1;
        engine.packet(&packet, out);
        if let Some(ring) = &mut self.ring {
            let name = &self.options.interfaces[index];
            let origin = Origin { interface: index as u16, name, nanoseconds: held.nanoseconds };
            let refused = ring.packet_from(origin, &packet).err();
            self.ring_refused(refused);
        }
    }

    /// Nothing came: time passes all the same.
    fn idle(&mut self, engine: &mut Engine, out: &mut dyn RowSink) {
        let now = self.now();
        self.observed = now;
        // What the kernel holds back may be older than now.
        engine.idle(now - 2 * self.options.tuning.wait - SECOND, now, out);
        let refused = self.ring.as_mut().and_then(|ring| ring.idle(now).err());
        self.ring_refused(refused);
    }

    /// The collector's clock, which does not run backwards.
    fn now(&self) -> Micros {
        clock::now().max(self.observed)
    }

    /// Writes a row for everything that is new.
    fn report(&mut self, out: &mut dyn RowSink) {
        self.report_ring(out);
        let news: Vec<News> = self.queue.lock().news.iter_mut().map(std::mem::take).collect();
        for (name, news) in self.options.interfaces.iter().zip(news) {
            let observed = clock::now().max(self.observed);
            for change in &news.changes {
                let (event, from, until, detail) = match change {
                    Change::Open(at, how) => (coverage::START, *at, *at, how.as_str()),
                    Change::Down(at, why) => (coverage::DOWN, *at, *at, why.as_str()),
                    Change::Back(from, until) => (coverage::GAP, *from, *until, "the interface was down"),
                };
                self.observed = observed;
                say(out, event, name, (from, until), observed, 0, detail);
            }
            for (Lost { count, from, until }, detail) in [
                (
                    news.queue,
                    "packets waited too long to be read; raise `queue_bytes`, or give Yagura more of the processor or a faster log",
                ),
                (news.kernel, "the kernel's buffer was full; raise `kernel_bytes`"),
                (
                    news.interface,
                    "the interface or its driver dropped packets; `ethtool -S` shows which, `ethtool -G` gives it more room",
                ),
            ] {
                if count > 0 {
                    self.observed = observed;
                    say(out, coverage::DROP, name, (from, until), observed, count, detail);
                }
            }
            self.counts.queue += news.queue.count;
            self.counts.kernel += news.kernel.count;
            self.counts.interface += news.interface.count;
        }
    }

    fn ring_refused(&mut self, refused: Option<std::io::Error>) {
        if let Some(cause) = refused {
            self.ring_cause = cause.to_string();
        }
    }

    /// Writes a row for packets that the ring lost, at most one a second.
    fn report_ring(&mut self, out: &mut dyn RowSink) {
        let (Some(ring), Some(at)) = (&self.ring, &self.options.ring) else { return };
        let (lost, now) = (ring.lost(), self.now());
        if lost == self.counts.ring || now - self.ring_told < SECOND {
            return;
        }
        let count = lost - self.counts.ring;
        let from = if self.ring_told == 0 { now } else { self.ring_told };
        let detail = format!("raw packets could not be kept: {}", self.ring_cause);
        (self.counts.ring, self.ring_told, self.observed) = (lost, now, now);
        say(out, coverage::DROP, &at.folder.display().to_string(), (from, now), now, count, &detail);
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

fn say(
    out: &mut dyn RowSink,
    event: &str,
    subject: &str,
    (time, until): (Micros, Micros),
    observed: Micros,
    count: u64,
    detail: &str,
) {
    out.push(Row::Coverage(&CoverageRow {
        time,
        until,
        observed,
        event,
        subject,
        count,
        detail,
        ..CoverageRow::default()
    }));
}
