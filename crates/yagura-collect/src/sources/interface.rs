//! Network interfaces as a source.

use serde::Deserialize;
use yagura_capture::live::{LiveOptions, RingAt, Tuning};
use yagura_capture::{EngineOptions, Limits};

use crate::source::{LiveSource, Opened, Opening, Settings, SourceError};

/// Settings of `kind: interface`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InterfaceSettings {
    /// Names of interfaces.
    interfaces: Vec<String>,
    /// Which packets, in the language of pcap-filter(7).
    #[serde(default)]
    filter: String,
    /// Where raw packets are kept, and how many.
    #[serde(default)]
    ring: Option<RingAt>,
    /// How packets are captured.
    #[serde(default)]
    capture: Tuning,
    /// How much memory and time reading may take.
    #[serde(default)]
    limits: Option<Limits>,
}

impl Settings for InterfaceSettings {
    const KIND: &'static str = "interface";
    const READS: &'static str = "packets of network interfaces, as they come (built with `--features pcap`)";

    fn open(self, at: &Opening<'_>) -> Result<Opened, SourceError> {
        let ring = self.ring.map(|ring| RingAt { folder: at.path(&ring.folder), ..ring });
        let options =
            LiveOptions { interfaces: self.interfaces, filter: self.filter, tuning: self.capture, ring };
        Ok(Opened::Live(open(at.collector, options, at.plant.engine(self.limits))?))
    }
}

/// Opens interfaces; capturing begins when they are first read. Without the feature `pcap` this is
/// an error that says how to have it.
#[cfg(not(feature = "pcap"))]
pub fn open(_: &str, options: LiveOptions, _: EngineOptions) -> Result<Box<dyn LiveSource>, SourceError> {
    options.check()?;
    Err(yagura_capture::live::LiveError::NotBuilt.into())
}

/// Opens interfaces; capturing begins when they are first read.
#[cfg(feature = "pcap")]
pub fn open(
    collector: &str,
    options: LiveOptions,
    engine: EngineOptions,
) -> Result<Box<dyn LiveSource>, SourceError> {
    Ok(Box::new(captured::Interfaces::open(collector, options, engine)?))
}

#[cfg(feature = "pcap")]
mod captured {
    use std::time::Duration;

    use yagura_capture::live::{Live, LiveError, LiveOptions};
    use yagura_capture::{Engine, EngineOptions};
    use yagura_event::clock::Micros;

    use crate::places::PlacedSink;
    use crate::source::{LiveSource, Seen};

    pub struct Interfaces {
        collector: String,
        batch: Micros,
        live: Live,
        engine: Engine,
    }

    impl Interfaces {
        pub fn open(collector: &str, options: LiveOptions, engine: EngineOptions) -> Result<Self, LiveError> {
            Ok(Interfaces {
                collector: collector.to_string(),
                batch: options.tuning.batch,
                live: Live::open(options)?,
                engine: Engine::new(engine),
            })
        }
    }

    impl LiveSource for Interfaces {
        fn collector(&self) -> &str {
            &self.collector
        }

        fn batch(&self) -> Micros {
            self.batch
        }

        fn advance(&mut self, wait: Duration, out: &mut dyn PlacedSink) -> Micros {
            self.live.read(wait, &mut self.engine, out)
        }

        fn finish(&mut self, out: &mut dyn PlacedSink) {
            self.live.finish(&mut self.engine, out);
        }

        fn seen(&self) -> Seen {
            let counts = self.live.counts();
            Seen { stats: self.engine.stats(), dropped: counts.kernel + counts.interface + counts.queue }
        }
    }
}
