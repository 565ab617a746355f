//! The mutes that hold, as the log has them.

use std::sync::Arc;
use std::time::Duration;

use yagura_event::clock::{self, SECOND};
use yagura_log::{Log, LogError, Reader};

use crate::cases::{Cases, DECISIONS, Decision, Mute, What};

/// How long a look may wait for decisions that the log says it has.
const PATIENCE: Duration = Duration::from_secs(5);

/// Follows the topic of decisions.
#[derive(Default)]
pub(crate) struct Mutes {
    readers: Vec<Box<dyn Reader>>,
    read: Cases,
}

impl Mutes {
    /// Those that were decided until now.
    pub fn now(&mut self, log: &dyn Log) -> Result<Arc<[Mute]>, LogError> {
        if self.readers.is_empty() {
            let partitions = match log.partitions(DECISIONS) {
                // Nobody decided anything so far.
                Err(LogError::NoTopic(_)) => 0,
                known => known?,
            };
            for partition in 0..partitions {
                let start = log.held(DECISIONS, partition)?.start;
                self.readers.push(log.reader(DECISIONS, partition, start)?);
            }
        }
        let until = clock::steady() + PATIENCE.as_secs() as i64 * SECOND;
        for (partition, reader) in (0..).zip(&mut self.readers) {
            let end = log.held(DECISIONS, partition)?.end;
            while reader.position() < end && clock::steady() < until {
                for stored in reader.read(1 << 20, PATIENCE)? {
                    match Decision::of_record(&stored.record) {
                        Ok(decision) if !matches!(decision.what, What::Case { .. }) => {
                            self.read.decide(decision);
                        }
                        Ok(_) => {}
                        Err(cause) => {
                            tracing::warn!(partition, offset = stored.offset, %cause, "a decision is passed over");
                        }
                    }
                }
            }
        }
        Ok(self.read.mutes().map(|(mute, _)| mute.clone()).collect())
    }
}

#[cfg(test)]
mod tests {
    use yagura_log::embedded::Options;
    use yagura_log::{Record, memory};

    use super::*;

    #[test]
    fn what_is_decided_is_known_at_the_next_look() {
        let log = memory::open(Options::default()).expect("a log");
        let mut mutes = Mutes::default();
        assert!(mutes.now(&log).expect("none").is_empty(), "there is no topic yet");
        log.ensure_topic(DECISIONS, 3).expect("a topic");
        let mut appender = log.appender(DECISIONS).expect("an appender");
        let mut decide = |what: What| {
            let decision = Decision { time: 5, by: "ito".into(), why: "work".into(), what };
            appender.append(decision.to_record()).and_then(|()| appender.flush()).expect("durable");
        };
        for id in ["a", "b", "c"] {
            decide(What::Mute(Mute { id: id.into(), until: 9, ..Mute::default() }));
        }
        assert_eq!(mutes.now(&log).expect("mutes").len(), 3);
        decide(What::Unmute { id: "b".into() });
        let mut noise = log.appender(DECISIONS).expect("an appender");
        noise.append(Record { value: "none".into(), ..Record::default() }).expect("room");
        noise.flush().expect("durable");
        let ends: Vec<i64> = mutes.now(&log).expect("mutes").iter().map(|mute| mute.until).collect();
        assert_eq!(ends, [9, 5, 9]);
    }
}
