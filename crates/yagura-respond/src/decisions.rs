//! What people have decided until now, as the log has it.

use std::sync::Arc;

use yagura_log::{Log, LogError, Whole};

use crate::cases::{Cases, DECISIONS, Decision};

/// Follows the topic of decisions; of the alerts that they are about nothing is kept.
pub struct Decisions {
    topic: Whole,
    read: Arc<Cases>,
}

impl Default for Decisions {
    fn default() -> Self {
        Decisions { topic: Whole::of(DECISIONS), read: Arc::default() }
    }
}

impl Decisions {
    /// Reads what was decided until now.
    pub fn read(&mut self, log: &dyn Log) -> Result<&Arc<Cases>, LogError> {
        let read = &mut self.read;
        self.topic.read(log, |partition, stored| match Decision::of_record(&stored.record) {
            // Copied where somebody still looks at what there was before: people decide seldom.
            Ok(decision) => Arc::make_mut(read).decide(decision),
            Err(cause) => {
                tracing::warn!(partition, offset = stored.offset, %cause, "a decision is passed over");
            }
        })?;
        Ok(&self.read)
    }
}

#[cfg(test)]
mod tests {
    use yagura_log::embedded::Options;
    use yagura_log::{Record, memory};

    use super::*;
    use crate::cases::{Mute, What};

    #[test]
    fn what_is_decided_is_known_at_the_next_look() {
        let log = memory::open(Options::default()).expect("a log");
        let mut decisions = Decisions::default();
        assert_eq!(decisions.read(&log).expect("none").mutes().count(), 0, "there is no topic yet");
        log.ensure_topic(DECISIONS, 3).expect("a topic");
        let mut appender = log.appender(DECISIONS).expect("an appender");
        let mut decide = |what: What| {
            let decision = Decision { time: 5, by: "ito".into(), why: "work".into(), what };
            appender.append(decision.to_record()).and_then(|()| appender.flush()).expect("durable");
        };
        for id in ["a", "b", "c"] {
            decide(What::Mute(Mute { id: id.into(), until: 9, ..Mute::default() }));
        }
        let before = Arc::clone(decisions.read(&log).expect("mutes"));
        assert_eq!(before.mutes().count(), 3);
        decide(What::Unmute { id: "b".into() });
        let mut noise = log.appender(DECISIONS).expect("an appender");
        noise.append(Record { value: "none".into(), ..Record::default() }).expect("room");
        noise.flush().expect("durable");
        let ends = |cases: &Cases| cases.mutes().map(|(mute, _)| mute.until).collect::<Vec<_>>();
        assert_eq!(ends(decisions.read(&log).expect("mutes")), [9, 5, 9]);
        assert_eq!(ends(&before), [9, 9, 9], "who looked before sees what there was");
    }
}
