//! A worker among the group of detectors.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bytes::Bytes;
use yagura_log::{Log, LogError, Member, Pauses, Polled};

use super::{EVENTS, GROUP};
use crate::passing::Reach;

/// A worker's place in the group of detectors. It outlives the work that a refusing log ends: leaving
/// and joining again would make all others stop, too.
pub(super) struct Membership {
    pub(super) member: Box<dyn Member>,
    /// The partitions that are this worker's.
    pub(super) mine: BTreeSet<u32>,
    /// How far each cell has passed on to each shard of the plant: beginning again from a snapshot, it
    /// passes on the same, which need not go into the log anew. A full disk would fill for good.
    pub(super) passed: BTreeMap<(Bytes, Bytes), Reach>,
}

impl Membership {
    pub(super) fn join(log: &dyn Log) -> Result<Membership, LogError> {
        Ok(Membership { member: log.join(GROUP, EVENTS)?, mine: BTreeSet::new(), passed: BTreeMap::new() })
    }

    /// What happens next in the group; notes what is given and taken.
    pub(super) fn poll(&mut self, wait: Duration) -> Result<Polled, LogError> {
        let polled = self.member.poll(wait)?;
        match &polled {
            Polled::Assigned(partitions) => self.mine.extend(partitions),
            Polled::Revoked(partitions) => self.mine.retain(|partition| !partitions.contains(partition)),
            Polled::Records(..) | Polled::Idle => {}
        }
        Ok(polled)
    }

    /// Waits for the next pause as a member that reads nothing. One that the group does not keep, or that
    /// stood still for too long, joins again afterwards.
    pub(super) fn wait(membership: &mut Option<Membership>, pauses: &mut Pauses, stop: &AtomicBool) {
        pauses.wait_with(stop, |wait| {
            let stays = match membership.as_mut() {
                Some(membership) => membership.stand_by(wait),
                None => {
                    std::thread::park_timeout(wait);
                    return;
                }
            };
            if let Err(cause) = stays {
                tracing::debug!(%cause, "left the group of detectors while waiting");
                *membership = None;
            }
        });
    }

    /// Stays in the group; whatever is read comes again, from where the snapshot ends.
    fn stand_by(&mut self, wait: Duration) -> Result<(), LogError> {
        let Membership { member, mine, .. } = self;
        mine.iter().try_for_each(|&partition| member.pause(partition))?;
        self.poll(wait)?;
        self.member.lease().check(&"waiting")
    }
}
