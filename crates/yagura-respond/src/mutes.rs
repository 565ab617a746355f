//! The mutes that hold, as the log has them.

use std::sync::Arc;

use yagura_log::{Log, LogError, Whole};

use crate::cases::{Cases, DECISIONS, Decision, Mute, What};

/// Follows the topic of decisions; of those about cases nothing is kept.
pub struct Mutes {
    topic: Whole,
    read: Cases,
}

impl Default for Mutes {
    fn default() -> Self {
        Mutes { topic: Whole::of(DECISIONS), read: Cases::default() }
    }
}

impl Mutes {
    /// Reads what was decided until now.
    pub fn read(&mut self, log: &dyn Log) -> Result<&Cases, LogError> {
        let read = &mut self.read;
        self.topic.read(log, |partition, stored| match Decision::of_record(&stored.record) {
            Ok(decision) if !matches!(decision.what, What::Case { .. }) => read.decide(decision),
            Ok(_) => {}
            Err(cause) => {
                tracing::warn!(partition, offset = stored.offset, %cause, "a decision is passed over");
            }
        })?;
        Ok(&self.read)
    }

    /// Those that were decided until now.
    pub(crate) fn now(&mut self, log: &dyn Log) -> Result<Arc<[Mute]>, LogError> {
        Ok(self.read(log)?.mutes().map(|(mute, _)| mute.clone()).collect())
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
