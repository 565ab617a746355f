//! Consumer groups within the process: who owns which partition, and what they committed.
//!
//! Cooperative: a partition that is to move stays with its owner until that member has been told
//! [`Polled::Revoked`] and has polled once more; only then is it assigned to the other one. What
//! need not move does not.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crc32c::crc32c;

use super::disk::Disk;
use super::reader::PartitionReader;
use super::recover::{damaged, read_small, replace};
use super::{Shared, Topic};
use crate::{LogError, Member, Polled, Reader as _};

/// The consumers of one topic under one name.
pub(super) struct Group {
    name: String,
    topic: Arc<Topic>,
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    fetch_bytes: usize,
    state: Mutex<GroupState>,
}

struct GroupState {
    /// For each partition: who has it, and who is to have it.
    owners: Vec<Option<u64>>,
    wanted: Vec<Option<u64>>,
    committed: Vec<Option<u64>>,
    /// Members in the order in which they joined.
    members: Vec<u64>,
    next_member: u64,
}

impl Group {
    /// Reads what the group committed earlier.
    pub fn open(
        disk: Arc<dyn Disk>,
        folder: PathBuf,
        fetch_bytes: usize,
        name: &str,
        topic: Arc<Topic>,
    ) -> Result<Self, LogError> {
        let count = topic.partitions.len();
        let mut committed = vec![None; count];
        let path = folder.join(&topic.name);
        if let Some(bytes) = read_small(&*disk, &path)? {
            let body = bytes.len().saturating_sub(4);
            if bytes[body..] != crc32c(&bytes[..body]).to_le_bytes() {
                let what = "the committed offsets do not match their CRC; delete the file to begin at the first record".to_owned();
                return Err(damaged(&path, 0, what));
            }
            for (slot, word) in committed.iter_mut().zip(bytes[..body].chunks_exact(8)) {
                let plus_one = word.try_into().map_or(0, u64::from_le_bytes);
                *slot = plus_one.checked_sub(1);
            }
        }
        let state = GroupState {
            owners: vec![None; count],
            wanted: vec![None; count],
            committed,
            members: Vec::new(),
            next_member: 0,
        };
        Ok(Group { name: name.to_owned(), topic, disk, folder, fetch_bytes, state: Mutex::new(state) })
    }

    /// A new member, which is told its partitions as it polls.
    pub fn join(self: &Arc<Self>, shared: Arc<Shared>) -> GroupMember {
        let mut state = self.state();
        let id = state.next_member;
        state.next_member += 1;
        state.members.push(id);
        state.balance();
        drop(state);
        self.topic.signal.bump();
        GroupMember {
            group: self.clone(),
            id,
            revoking: Vec::new(),
            readers: BTreeMap::new(),
            last: 0,
            _shared: shared,
        }
    }

    fn leave(&self, id: u64) {
        let mut state = self.state();
        state.members.retain(|member| *member != id);
        for owner in &mut state.owners {
            if *owner == Some(id) {
                *owner = None;
            }
        }
        state.balance();
        drop(state);
        self.topic.signal.bump();
    }

    /// Stores all committed offsets, each plus one so that 0 is none, with a CRC.
    fn store(&self, committed: &[Option<u64>]) -> Result<(), LogError> {
        let mut bytes = Vec::with_capacity(committed.len() * 8 + 4);
        for offset in committed {
            bytes.extend_from_slice(&offset.map_or(0, |offset| offset.saturating_add(1)).to_le_bytes());
        }
        let crc = crc32c(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        replace(&*self.disk, &self.folder, &self.topic.name, &bytes)
    }

    fn state(&self) -> MutexGuard<'_, GroupState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl GroupState {
    /// Shares the partitions evenly, moving as few as possible.
    fn balance(&mut self) {
        let (count, members) = (self.wanted.len(), self.members.len());
        let alive = |member: &Option<u64>| member.filter(|member| self.members.contains(member));
        let mut wanted: Vec<Option<u64>> = self.wanted.iter().map(alive).collect();
        if let Some(share) = count.checked_div(members) {
            // The first `rest` members get one more than the others.
            let rest = count % members;
            let mut have = BTreeMap::new();
            for slot in &mut wanted {
                if let Some(member) = *slot {
                    let place = self.members.iter().position(|other| *other == member).unwrap_or(0);
                    let held = have.entry(member).or_insert(0);
                    if *held < share + usize::from(place < rest) {
                        *held += 1;
                    } else {
                        *slot = None;
                    }
                }
            }
            let mut free = wanted.iter_mut().filter(|slot| slot.is_none());
            for (place, member) in self.members.iter().enumerate() {
                let missing = share + usize::from(place < rest) - have.get(member).copied().unwrap_or(0);
                free.by_ref().take(missing).for_each(|slot| *slot = Some(*member));
            }
        }
        self.wanted = wanted;
    }
}

/// One member; dropping it is leaving.
pub(super) struct GroupMember {
    group: Arc<Group>,
    id: u64,
    /// What it was told is revoked, and gives up with its next poll.
    revoking: Vec<u32>,
    readers: BTreeMap<u32, (PartitionReader, bool)>,
    /// The partition that was read last, so that all get their turn.
    last: u32,
    /// Keeps the log's lock for as long as commits may be written.
    _shared: Arc<Shared>,
}

impl GroupMember {
    /// Changes of what this member owns.
    fn rebalance(&mut self) -> Result<Option<Polled>, LogError> {
        let mut state = self.group.state();
        if !self.revoking.is_empty() {
            for partition in self.revoking.drain(..) {
                state.owners[partition as usize] = None;
                self.readers.remove(&partition);
            }
            self.group.topic.signal.bump();
        }
        let me = Some(self.id);
        let slots = || (0u32..).zip(state.owners.iter().zip(&state.wanted));
        let lose = slots().filter(|(_, (owner, wanted))| **owner == me && **wanted != me);
        self.revoking = lose.map(|(partition, _)| partition).collect();
        if !self.revoking.is_empty() {
            return Ok(Some(Polled::Revoked(self.revoking.clone())));
        }
        let win = slots().filter(|(_, (owner, wanted))| owner.is_none() && **wanted == me);
        let fresh: Vec<u32> = win.map(|(partition, _)| partition).collect();
        for &partition in &fresh {
            state.owners[partition as usize] = me;
            let from = state.committed[partition as usize].unwrap_or(0);
            let partition_log = self.group.topic.partitions[partition as usize].clone();
            self.readers.insert(partition, (PartitionReader::new(partition_log, from), false));
        }
        Ok((!fresh.is_empty()).then_some(Polled::Assigned(fresh)))
    }

    /// Records of the next partition that has some.
    fn fetch(&mut self) -> Result<Option<Polled>, LogError> {
        let bytes = self.group.fetch_bytes;
        let after = self.readers.range(self.last + 1..).map(|(partition, _)| *partition);
        let order: Vec<u32> =
            after.chain(self.readers.range(..=self.last).map(|(partition, _)| *partition)).collect();
        for partition in order {
            if let Some((reader, false)) = self.readers.get_mut(&partition) {
                self.last = partition;
                let records = reader.read(bytes, Duration::ZERO)?;
                if !records.is_empty() {
                    return Ok(Some(Polled::Records(partition, records)));
                }
            }
        }
        Ok(None)
    }

    fn owned(&mut self, partition: u32) -> Result<&mut (PartitionReader, bool), LogError> {
        let (group, topic) = (&self.group.name, &self.group.topic.name);
        self.readers.get_mut(&partition).ok_or_else(|| LogError::Client {
            what: format!("partition {partition} of {topic} in group {group}"),
            cause: "it is not assigned to this member".to_owned(),
            retry: false,
        })
    }
}

impl Member for GroupMember {
    fn poll(&mut self, wait: Duration) -> Result<Polled, LogError> {
        let group = self.group.clone();
        let mut wait = wait;
        loop {
            let seen = group.topic.signal.seen();
            if let Some(polled) = self.rebalance()? {
                return Ok(polled);
            }
            if let Some(polled) = self.fetch()? {
                return Ok(polled);
            }
            match group.topic.signal.wait(seen, wait) {
                Some(left) => wait = left,
                None => return Ok(Polled::Idle),
            }
        }
    }

    fn seek(&mut self, partition: u32, offset: u64) -> Result<(), LogError> {
        self.owned(partition)?.0.seek(offset);
        Ok(())
    }

    fn commit(&mut self, partition: u32, next: u64) -> Result<(), LogError> {
        self.owned(partition)?;
        let mut state = self.group.state();
        let mut committed = state.committed.clone();
        committed[partition as usize] = Some(next);
        self.group.store(&committed)?;
        state.committed = committed;
        Ok(())
    }

    fn committed(&self, partition: u32) -> Result<Option<u64>, LogError> {
        Ok(self.group.state().committed.get(partition as usize).copied().flatten())
    }

    fn pause(&mut self, partition: u32) -> Result<(), LogError> {
        self.owned(partition)?.1 = true;
        Ok(())
    }

    fn resume(&mut self, partition: u32) -> Result<(), LogError> {
        self.owned(partition)?.1 = false;
        Ok(())
    }
}

impl Drop for GroupMember {
    fn drop(&mut self) {
        self.group.leave(self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(partitions: usize) -> GroupState {
        GroupState {
            owners: vec![None; partitions],
            wanted: vec![None; partitions],
            committed: vec![None; partitions],
            members: Vec::new(),
            next_member: 0,
        }
    }

    #[test]
    fn partitions_are_shared_evenly_and_only_those_that_must_move_do() {
        let mut state = state(10);
        let mut before = state.wanted.clone();
        for members in [vec![0], vec![0, 1], vec![0, 1, 2], vec![1, 2], vec![1, 2, 3, 4], vec![4]] {
            state.members = members.clone();
            state.balance();
            let counts: Vec<usize> = members
                .iter()
                .map(|member| state.wanted.iter().filter(|w| **w == Some(*member)).count())
                .collect();
            assert_eq!(counts.iter().sum::<usize>(), 10);
            assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{counts:?}");
            // A partition changes hands only if its owner left or had more than its new share.
            let most = 10usize.div_ceil(members.len());
            for member in &members {
                let had: Vec<usize> = (0..10).filter(|p| before[*p] == Some(*member)).collect();
                let kept = had.iter().filter(|p| state.wanted[**p] == Some(*member)).count();
                assert!(kept >= had.len().min(10 / members.len()), "{members:?} {most}");
            }
            before = state.wanted.clone();
        }
    }
}
