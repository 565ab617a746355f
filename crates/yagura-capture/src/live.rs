//! Live capture from network interfaces, through libpcap.
//!
//! One thread an interface takes packets out of the kernel's buffer into batches; a bounded queue
//! hands these over to whoever reads them with [`Live::read`]. A queue that is full drops its oldest
//! batch and counts it, so that the kernel's buffer is emptied whatever the reader does. Whatever was
//! not seen is a `coverage` row: drops of the queue, of the kernel and of the interface, and the time
//! that an interface was down.
//!
//! libpcap comes with the cargo feature `pcap`; the options are there without it.

#[cfg(feature = "pcap")]
mod interface;
#[cfg(any(feature = "pcap", test))]
#[cfg_attr(not(feature = "pcap"), allow(dead_code, reason = "its tests run without libpcap as well"))]
mod queue;
#[cfg(feature = "pcap")]
mod reader;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use yagura_event::amounts::{duration, size};
use yagura_event::clock::{Micros, SECOND};

use crate::ring::RingOptions;

#[cfg(feature = "pcap")]
pub use reader::Live;

/// The most interfaces of one collector.
const INTERFACES_MAX: usize = 64;

/// What to capture.
#[derive(Clone, Debug, Default)]
pub struct LiveOptions {
    /// Names of interfaces, as `ip link` shows them.
    pub interfaces: Vec<String>,
    /// A filter in the language of pcap-filter(7); empty for everything.
    pub filter: String,
    /// How to capture.
    pub tuning: Tuning,
    /// Where raw packets are kept, if they are.
    pub ring: Option<RingAt>,
}

/// How to capture. Sizes and times are written with their units: `64MiB`, `100ms`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tuning {
    /// Whether to take frames for other hosts as well: what a mirror port shows is all of that kind.
    pub promiscuous: bool,
    /// The most bytes that are captured of a packet.
    #[serde(with = "size")]
    pub snap_bytes: u64,
    /// The kernel's buffer for each interface.
    #[serde(with = "size")]
    pub kernel_bytes: u64,
    /// The most bytes that wait to be read, all interfaces together; the oldest go first.
    #[serde(with = "size")]
    pub queue_bytes: u64,
    /// The kernel hands packets over after this time at the latest.
    #[serde(with = "duration")]
    pub wait: Micros,
    /// Rows are handed to the log after this time: sooner, for smaller records.
    #[serde(with = "duration")]
    pub batch: Micros,
    /// Whether each packet is handed over at once: sooner, for more work a packet.
    pub immediate: bool,
    /// Whether times are in nanoseconds, which the ring keeps; rows have microseconds.
    pub nanoseconds: bool,
}

impl Default for Tuning {
    fn default() -> Self {
        Tuning {
            promiscuous: true,
            snap_bytes: 256 << 10,
            kernel_bytes: 64 << 20,
            queue_bytes: 64 << 20,
            wait: SECOND / 10,
            batch: SECOND,
            immediate: false,
            nanoseconds: false,
        }
    }
}

/// A ring of raw packets and its folder.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RingAt {
    /// The folder, which nothing else writes to.
    pub folder: PathBuf,
    /// How much it keeps; written beside the folder.
    #[serde(flatten)]
    pub options: RingOptions,
}

/// Why live capture cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// This program was built without it.
    #[error(
        "live capture is not part of this program; build it with `cargo build --release --features pcap`, \
         which needs libpcap (Debian: libpcap-dev)"
    )]
    NotBuilt,
    /// An option contradicts itself or its bounds.
    #[error("{0}")]
    Options(String),
    /// No interface has this name.
    #[error("there is no interface {name}; there are: {there_are}")]
    NoInterface {
        /// What was asked for.
        name: String,
        /// The names that there are.
        there_are: String,
    },
    /// The interface is there and down.
    #[error("{name} is down; `ip link set {name} up` starts it")]
    Down {
        /// The interface.
        name: String,
    },
    /// The process has not the right to capture.
    #[error(
        "packets of {name} may not be captured: {cause}; give the program the capability with \
         `setcap cap_net_raw=ep {program}` (systemd: AmbientCapabilities=CAP_NET_RAW), or run it as root"
    )]
    NotPermitted {
        /// The interface.
        name: String,
        /// What the kernel said.
        cause: String,
        /// This program's file.
        program: String,
    },
    /// The filter is no filter.
    #[error("the filter `{filter}` cannot be used: {cause}; pcap-filter(7) has the language")]
    Filter {
        /// The filter.
        filter: String,
        /// What libpcap said.
        cause: String,
    },
    /// The ring's folder cannot be used.
    #[error("{folder}: raw packets cannot be kept there: {cause}")]
    Ring {
        /// The folder.
        folder: String,
        /// Why not.
        cause: std::io::Error,
    },
    /// Something else.
    #[error("packets of {name} cannot be captured: {cause}")]
    Other {
        /// The interface.
        name: String,
        /// What libpcap said.
        cause: String,
    },
}

/// Packets since the start, all interfaces together. What was not lost and not read yet waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Taken out of the kernel's buffer.
    pub captured: u64,
    /// Given to the engine.
    pub read: u64,
    /// Dropped by the kernel, since its buffer was full.
    pub kernel: u64,
    /// Dropped by the interface or its driver.
    pub interface: u64,
    /// Dropped by the queue, since nobody read for too long.
    pub queue: u64,
    /// Not kept in the ring, since its disk refused.
    pub ring: u64,
}

impl LiveOptions {
    /// What can be said against the options without opening anything.
    pub fn check(&self) -> Result<(), LiveError> {
        let wrong = |what: String| Err(LiveError::Options(what));
        if self.interfaces.is_empty() || self.interfaces.len() > INTERFACES_MAX {
            return wrong(format!("`interfaces` has 1 to {INTERFACES_MAX} names, such as `[eth1, eth2]`"));
        }
        for (index, name) in self.interfaces.iter().enumerate() {
            if name.is_empty() || self.interfaces[..index].contains(name) {
                return wrong(format!("`{name}` stands twice in `interfaces`, or is empty"));
            }
        }
        let Tuning { snap_bytes, kernel_bytes, queue_bytes, wait, batch, .. } = self.tuning;
        for (name, value, least, most) in [
            ("snap_bytes", snap_bytes, 64, 256 << 10),
            ("kernel_bytes", kernel_bytes, 1 << 20, i32::MAX as u64),
            ("queue_bytes", queue_bytes, 1 << 20, 1 << 40),
            ("wait", wait.max(0) as u64, 1000, 10 * SECOND as u64),
            ("batch", batch.max(0) as u64, 1000, 60 * SECOND as u64),
        ] {
            if !(least..=most).contains(&value) {
                let unit = if ["wait", "batch"].contains(&name) { "microseconds" } else { "bytes" };
                return wrong(format!("`{name}` is {value} {unit}; it can be {least} to {most}"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_is_its_folder_and_how_much_it_keeps() {
        let text = r#"{"folder": "ring", "bytes_max": "2GiB", "age_max": "3d"}"#;
        let ring: RingAt = serde_json::from_str(text).expect("a ring");
        let options =
            RingOptions { bytes_max: 2 << 30, age_max: 3 * 24 * 3600 * SECOND, ..RingOptions::default() };
        assert_eq!((ring.folder, ring.options), (PathBuf::from("ring"), options));
        let error =
            serde_json::from_str::<RingAt>(r#"{"folder": "ring", "byte_max": 1}"#).expect_err("a mistake");
        assert!(error.to_string().contains("byte_max"), "{error}");
    }

    #[test]
    fn options_that_cannot_be_are_named() {
        let some = |names: &[&str], tuning: Tuning| {
            let interfaces = names.iter().map(|n| n.to_string()).collect();
            let options = LiveOptions { interfaces, tuning, ..LiveOptions::default() };
            options.check().map_err(|e| e.to_string())
        };
        assert_eq!(some(&["eth1", "eth2"], Tuning::default()), Ok(()));
        for (names, tuning, part) in [
            (&[][..], Tuning::default(), "`interfaces`"),
            (&["a", "a"], Tuning::default(), "`a` stands twice"),
            (&["a"], Tuning { snap_bytes: 1 << 30, ..Tuning::default() }, "`snap_bytes`"),
            (&["a"], Tuning { kernel_bytes: 1 << 40, ..Tuning::default() }, "`kernel_bytes`"),
            (&["a"], Tuning { wait: 0, ..Tuning::default() }, "`wait`"),
            (&["a"], Tuning { batch: 61 * SECOND, ..Tuning::default() }, "`batch`"),
        ] {
            let error = some(names, tuning).expect_err(part);
            assert!(error.contains(part), "{error}");
        }
    }
}
