//! One interface: opening it, and the thread that empties its kernel buffer.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pcap::{Active, Capture, Device, Error, Linktype, Precision, Stat};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use yagura_event::clock::{self, Micros, SECOND};

use super::queue::{Batch, Change, Queue};
use super::{LiveError, LiveOptions, Tuning};

/// Packets that are taken before anything else is looked at.
const DISPATCH_PACKETS: usize = 4096;
/// An interface that is down is tried again after this time, then after twice as long, and so on.
const RETRY_MILLIS: [u64; 6] = [100, 200, 500, 1000, 2000, 5000];
/// How long a thread waits at most before it looks whether it should end.
const STEP: Micros = SECOND / 10;
/// How long a thread goes on reading when it should end.
const DRAIN_MAX: Micros = 2 * SECOND;

/// The names of the interfaces that there are.
fn there_are() -> Vec<String> {
    let names = std::fs::read_dir("/sys/class/net")
        .map(|folder| folder.filter_map(|e| e.ok()?.file_name().into_string().ok()).collect())
        .unwrap_or_default();
    let mut names: Vec<String> = names;
    if names.is_empty() {
        names = Device::list().unwrap_or_default().into_iter().map(|device| device.name).collect();
    }
    names.sort();
    names
}

/// Whether there is an interface of this name. Where /sys shows another network namespace, and for
/// what is no network interface, libpcap knows.
fn is_there(name: &str) -> bool {
    let known = || Device::list().is_ok_and(|devices| devices.iter().any(|device| device.name == name));
    Path::new("/sys/class/net").join(name).exists() || known()
}

/// Opens an interface and sets its filter.
pub(super) fn open(name: &str, options: &LiveOptions) -> Result<Capture<Active>, LiveError> {
    let Tuning { promiscuous, snap_bytes, kernel_bytes, wait, immediate, nanoseconds, .. } = options.tuning;
    let fail = |error: Error| refused(name, error);
    let capture = Capture::from_device(name)
        .map_err(fail)?
        // `any` stands for all interfaces, and cannot change how they receive.
        .promisc(promiscuous && name != "any")
        .snaplen(snap_bytes as i32)
        .buffer_size(kernel_bytes as i32)
        .timeout((wait / 1000) as i32)
        .immediate_mode(immediate)
        .precision(if nanoseconds { Precision::Nano } else { Precision::Micro })
        .open()
        .and_then(Capture::setnonblock);
    let mut capture = capture.map_err(fail)?;
    if !options.filter.is_empty() {
        capture
            .filter(&options.filter, true)
            .map_err(|error| LiveError::Filter { filter: options.filter.clone(), cause: words(error) })?;
    }
    Ok(capture)
}

/// Checks a filter without an interface; one for Ethernet, which most are.
pub(super) fn check_filter(filter: &str) -> Result<(), LiveError> {
    let fail = |error| LiveError::Filter { filter: filter.to_string(), cause: words(error) };
    let nowhere = Capture::dead(Linktype::ETHERNET).map_err(fail)?;
    nowhere.compile(filter, true).map(drop).map_err(fail)
}

/// Why an interface could not be opened, and what to do.
fn refused(name: &str, error: Error) -> LiveError {
    let (name, cause) = (name.to_string(), words(error));
    if ["not permitted", "ermission", "CAP_NET_RAW"].iter().any(|part| cause.contains(part)) {
        let program = std::env::current_exe().map_or_else(|_| "yagura".into(), |p| p.display().to_string());
        LiveError::NotPermitted { name, cause, program }
    } else if !is_there(&name) {
        LiveError::NoInterface { name, there_are: there_are().join(", ") }
    } else if cause.contains("not up") || cause.contains("is down") {
        LiveError::Down { name }
    } else {
        LiveError::Other { name, cause }
    }
}

fn words(error: Error) -> String {
    match error {
        Error::PcapError(words) => words,
        other => other.to_string(),
    }
}

/// The link type as capture files number it: that of raw IP differs from the system's.
fn file_link(link: Linktype) -> u16 {
    match link.0 {
        12 | 14 => 101,
        other => u16::try_from(other).unwrap_or(u16::MAX),
    }
}

/// The thread of one interface.
pub(super) struct Worker {
    pub number: usize,
    pub name: String,
    pub options: Arc<LiveOptions>,
    pub queue: Arc<Queue>,
    pub stop: Arc<AtomicBool>,
}

/// An open interface.
struct Open {
    capture: Capture<Active>,
    batch: Batch,
    /// The kernel's counts when they were read last, and when that was.
    counted: Stat,
    counted_at: Micros,
    /// When the last packet came.
    heard: Micros,
    /// Since when it has no link.
    down: Option<Micros>,
}

impl Worker {
    /// Captures until it should stop. `capture` is the interface if it is up.
    pub fn run(self, capture: Option<Capture<Active>>) {
        let _ended = Ended(&self);
        let mut open = capture.map(|capture| self.opened(capture));
        let mut down_since = None;
        if open.is_none() {
            let now = clock::now();
            down_since = Some(now);
            self.tell(Change::Down(now, LiveError::Down { name: self.name.clone() }.to_string()));
        }
        let mut tries = 0;
        while !self.stop.load(Ordering::Acquire) {
            match &mut open {
                Some(at) => {
                    if let Err(cause) = self.read(at) {
                        // It may still say what was dropped before.
                        self.count(at);
                        let since = at.down.unwrap_or_else(clock::now);
                        if at.down.is_none() {
                            self.tell(Change::Down(since, words(cause)));
                        }
                        (open, down_since, tries) = (None, Some(since), 0);
                    }
                }
                None => {
                    self.pause(Duration::from_millis(RETRY_MILLIS[tries.min(RETRY_MILLIS.len() - 1)]));
                    tries += 1;
                    if let Ok(capture) = super::interface::open(&self.name, &self.options) {
                        if let Some(since) = down_since.take() {
                            self.tell(Change::Back(since, clock::now()));
                        }
                        open = Some(self.opened(capture));
                    }
                }
            }
        }
        if let Some(at) = &mut open {
            self.drain(at);
        }
    }

    fn opened(&self, capture: Capture<Active>) -> Open {
        let link = capture.get_datalink();
        let words = format!(
            "link type {}, at most {} bytes a packet, {} MiB of the kernel's{}",
            link.get_name().unwrap_or_else(|_| link.0.to_string()),
            self.options.tuning.snap_bytes,
            self.options.tuning.kernel_bytes >> 20,
            match self.options.filter.as_str() {
                "" => String::new(),
                filter => format!(", filter `{filter}`"),
            }
        );
        let now = clock::now();
        self.tell(Change::Open(now, words));
        Open {
            capture,
            batch: Batch::new(file_link(link)),
            counted: Stat { received: 0, dropped: 0, if_dropped: 0 },
            counted_at: now,
            heard: now,
            down: None,
        }
    }

    /// Waits for packets, at most a step, and hands over what there is.
    fn read(&self, at: &mut Open) -> Result<(), Error> {
        let step = Timespec { tv_sec: STEP / SECOND, tv_nsec: STEP % SECOND * 1000 };
        // Whatever is wrong, libpcap finds it as well and has the words for it.
        let _ = poll(&mut [PollFd::new(&at.capture, PollFlags::IN)], Some(&step));
        let taken = self.dispatch(at)?;
        let now = at.batch.observed;
        if taken > 0 {
            at.heard = now;
        }
        if now - at.counted_at >= SECOND || now < at.counted_at {
            self.count(at);
            self.look(at, now);
        }
        Ok(())
    }

    /// Takes what the kernel has, without waiting.
    fn dispatch(&self, at: &mut Open) -> Result<usize, Error> {
        let Open { capture, batch, .. } = at;
        batch.observed = clock::now();
        let nanoseconds = self.options.tuning.nanoseconds;
        let taken = capture.dispatch(Some(DISPATCH_PACKETS), |packet| {
            let fraction = packet.header.ts.tv_usec as i64;
            let (micros, nanos) =
                if nanoseconds { (fraction / 1000, fraction % 1000) } else { (fraction, 0) };
            let time = packet.header.ts.tv_sec as i64 * SECOND + micros;
            if batch.push(time, nanos as u16, packet.header.len, packet.data) {
                self.queue.hand_over(self.number, batch);
            }
        });
        self.queue.hand_over(self.number, batch);
        taken
    }

    /// Says what the kernel and the interface have dropped since the last time.
    fn count(&self, at: &mut Open) {
        let Ok(now) = at.capture.stats() else { return };
        let (from, until) = (at.counted_at, clock::now());
        let kernel = now.dropped.wrapping_sub(at.counted.dropped);
        let interface = now.if_dropped.wrapping_sub(at.counted.if_dropped);
        (at.counted, at.counted_at) = (now, until);
        if kernel > 0 || interface > 0 {
            let news = &mut self.queue.lock().news[self.number];
            news.kernel.add(kernel.into(), from, until);
            news.interface.add(interface.into(), from, until);
        }
    }

    /// An interface that says nothing may have lost its link: libpcap waits silently then.
    fn look(&self, at: &mut Open, now: Micros) {
        let up = now - at.heard < SECOND || has_link(&self.name);
        match (up, at.down) {
            (false, None) => {
                at.down = Some(now);
                self.tell(Change::Down(now, format!("{} has no link, or is down", self.name)));
            }
            (true, Some(since)) => {
                at.down = None;
                self.tell(Change::Back(since, now));
            }
            _ => {}
        }
    }

    /// Takes what is still in the kernel's buffer; what comes later is not seen.
    fn drain(&self, at: &mut Open) {
        let began = clock::now();
        // A block that is not full is handed over after `wait`.
        let quiet = 2 * self.options.tuning.wait + STEP;
        at.heard = began;
        while self.read(at).is_ok() {
            let now = at.batch.observed;
            if now - at.heard > quiet || now - began > DRAIN_MAX.max(quiet) || now < began {
                break;
            }
        }
        self.count(at);
    }

    /// Waits, in steps short enough for a stop.
    fn pause(&self, pause: Duration) {
        let mut left = pause;
        while !left.is_zero() && !self.stop.load(Ordering::Acquire) {
            let step = left.min(Duration::from_micros(STEP as u64));
            std::thread::park_timeout(step);
            left = left.saturating_sub(step);
        }
    }

    fn tell(&self, change: Change) {
        self.queue.lock().news[self.number].change(change);
    }
}

/// Says that a thread ends, however it does.
struct Ended<'a>(&'a Worker);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0
                .tell(Change::Down(clock::now(), "its thread ended with a panic: a defect of Yagura".into()));
        }
        self.0.queue.ended();
    }
}

/// Whether an interface has a link; true where nothing says that it has none.
fn has_link(name: &str) -> bool {
    let state = std::fs::read_to_string(format!("/sys/class/net/{name}/operstate"));
    !state.is_ok_and(|state| matches!(state.trim(), "down" | "lowerlayerdown" | "notpresent"))
}
