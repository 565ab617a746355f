//! The cells of a log as they are now.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use yagura_detect::resume::resume;
use yagura_detect::shard::baselines::History;
use yagura_detect::snapshot::Wanted;
use yagura_detect::worker::EVENTS;
use yagura_detect::{Pipeline, Shard};
use yagura_log::partition_of;

use crate::config::Config;
use crate::{Failure, plant};

/// A cell.
pub(super) struct Cell {
    /// Its state.
    pub(super) shard: Shard,
    /// Where its partition ends.
    pub(super) end: u64,
}

/// By detection, what tells one state of its baselines from another.
pub(super) type Summary = BTreeMap<String, History>;

impl Cell {
    pub(super) fn history(&self, detection: &str) -> History {
        let found = self.shard.baselines().find(|(d, _)| d.id == detection);
        found.map(|(_, history)| history).unwrap_or_default()
    }

    pub(super) fn summary(&self) -> Summary {
        self.shard.baselines().map(|(detection, history)| (detection.id.clone(), history)).collect()
    }

    /// The detections of which something else is in force.
    pub(super) fn changed_since(&self, before: &Summary) -> Vec<String> {
        let now = self.summary().into_iter();
        now.filter(|(id, history)| before.get(id) != Some(history)).map(|(id, _)| id).collect()
    }
}

/// All of them.
pub(super) struct Cells {
    pipeline: Arc<Pipeline>,
    partitions: u32,
    ends: Vec<u64>,
    by_name: BTreeMap<String, Cell>,
}

impl Cells {
    /// From the newest snapshots and what came after them.
    pub(super) fn read(config: &Config) -> Result<Cells, Failure> {
        let pipeline = plant::pipeline(&config.pipelines, &config.baselines)?;
        let log = plant::following(config)?;
        let partitions = log.partitions(EVENTS)?;
        let mut cells = Cells { pipeline, partitions, ends: Vec::new(), by_name: BTreeMap::new() };
        for partition in 0..partitions {
            let held = log.held(EVENTS, partition)?;
            let mut resumed = resume(log.as_ref(), &cells.pipeline, partition, &held, Wanted::Newest)?;
            let from = resumed.next.max(held.start);
            if from < held.end {
                let mut reader = log.reader(EVENTS, partition, from)?;
                while reader.position() < held.end {
                    let records = reader.read(8 << 20, Duration::from_secs(30))?;
                    if records.is_empty() {
                        let at = reader.position();
                        return Err(Failure::Failed(anyhow::anyhow!(
                            "{EVENTS}/{partition} ends at {at} and not at {}",
                            held.end
                        )));
                    }
                    for stored in records {
                        resumed.step(&cells.pipeline, stored.offset, &stored.record);
                    }
                }
            }
            cells.ends.push(held.end);
            // A cell that moved since the number of partitions changed is where its records come now.
            let own =
                resumed.shards.into_iter().filter(|(key, _)| partition_of(key, partitions) == partition);
            cells
                .by_name
                .extend(own.map(|(_, shard)| (shard.cell().to_string(), Cell { shard, end: held.end })));
        }
        Ok(cells)
    }

    pub(super) fn get(&self, name: &str) -> Option<&Cell> {
        self.by_name.get(name)
    }

    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut Cell> {
        self.by_name.get_mut(name)
    }

    /// A cell that the log has no records of is one that begins with a baseline.
    pub(super) fn welcome(&mut self, name: &str) {
        let partition = partition_of(name.as_bytes(), self.partitions);
        let end = self.ends.get(partition as usize).copied().unwrap_or_default();
        let fresh = || Cell { shard: Shard::new(name, Arc::clone(&self.pipeline)), end };
        self.by_name.entry(name.to_string()).or_insert_with(fresh);
    }

    /// The cells in which a detection learns, or any does.
    pub(super) fn names(&self, detection: Option<&str>, cell: Option<&str>) -> Result<Vec<String>, Failure> {
        let all =
            || self.by_name.iter().filter(|(_, cell)| learns(cell, detection)).map(|(name, _)| name.clone());
        let chosen: Vec<String> = all().filter(|name| cell.is_none_or(|cell| cell == name)).collect();
        if !chosen.is_empty() || (cell.is_none() && detection.is_none()) {
            return Ok(chosen);
        }
        let what = detection.map_or("nothing".to_string(), |detection| format!("no detection `{detection}`"));
        let place = cell.map_or("in any cell".to_string(), |cell| format!("in a cell `{cell}`"));
        let mut there = all().map(|name| format!("cell `{name}`")).collect::<Vec<_>>();
        if there.is_empty() {
            let ids = self.by_name.values().flat_map(|cell| cell.summary().into_keys());
            there = ids.collect::<std::collections::BTreeSet<_>>().into_iter().collect();
        }
        Err(Failure::Input(format!("{what} learns {place}; there are: {}", there.join(", "))))
    }

    /// The same as the cells themselves.
    pub(super) fn chosen(&self, detection: Option<&str>, cell: Option<&str>) -> Result<Vec<&Cell>, Failure> {
        let names = self.names(detection, cell)?;
        Ok(names.iter().filter_map(|name| self.by_name.get(name)).collect())
    }
}

fn learns(cell: &Cell, detection: Option<&str>) -> bool {
    cell.shard.baselines().any(|(d, _)| detection.is_none_or(|detection| d.id == detection))
}
