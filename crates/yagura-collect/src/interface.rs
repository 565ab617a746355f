//! Network interfaces as a source.

use yagura_capture::EngineOptions;
use yagura_capture::live::LiveOptions;

use crate::{LiveSource, SourceError};

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
    use yagura_event::clock::{self, Micros};
    use yagura_event::rows::RowSink;

    use crate::{LiveSource, Seen};

    pub struct Interfaces {
        collector: String,
        epoch: u64,
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
                epoch: clock::now().max(0) as u64,
            })
        }
    }

    impl LiveSource for Interfaces {
        fn collector(&self) -> &str {
            &self.collector
        }

        fn epoch(&self) -> u64 {
            self.epoch
        }

        fn batch(&self) -> Micros {
            self.batch
        }

        fn advance(&mut self, wait: Duration, out: &mut dyn RowSink) -> Micros {
            self.live.read(wait, &mut self.engine, out)
        }

        fn finish(&mut self, out: &mut dyn RowSink) {
            self.live.finish(&mut self.engine, out);
        }

        fn seen(&self) -> Seen {
            let counts = self.live.counts();
            Seen { stats: self.engine.stats(), dropped: counts.kernel + counts.interface + counts.queue }
        }
    }
}
