//! The keys that raise most: read from the log's alerts, because the console says nothing of the plant.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use uuid::Uuid;
use yagura_detect::worker::ALERTS;
use yagura_event::Alert;
use yagura_event::clock::{Micros, SECOND};
use yagura_log::{Log, LogError, Reader};

/// How far back in a partition of alerts it begins to read.
const RECORDS_BACK: u64 = 10_000;
/// Alerts whose last row is older are left out.
const RECENT: Micros = 3600 * SECOND;
/// The most alerts that are remembered; beyond, the oldest are forgotten.
const ALERTS_MAX: usize = 20_000;

/// One key of a detection.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Busy {
    /// The detection's id.
    pub detection: String,
    /// The key's columns and values, as people read them.
    pub key: String,
    /// Rows that it objected to within the last hour; as alerts are revised: at powers of ten, and when they have been quiet.
    pub hits: u64,
}

/// By alert, its newest revision: detection, key, how many rows, the last one's time at the collector.
type Seen = BTreeMap<Uuid, (String, String, u64, Micros)>;

/// Follows the alerts of a log.
pub struct Busiest {
    readers: Vec<Box<dyn Reader>>,
    seen: Seen,
}

impl Busiest {
    /// Begins with the newest alerts of each partition.
    pub fn of(log: &Arc<dyn Log>) -> Result<Busiest, LogError> {
        let mut readers = Vec::new();
        for partition in 0..log.partitions(ALERTS)? {
            let held = log.held(ALERTS, partition)?;
            let from = held.end.saturating_sub(RECORDS_BACK).max(held.start);
            readers.push(log.reader(ALERTS, partition, from)?);
        }
        Ok(Busiest { readers, seen: BTreeMap::new() })
    }

    /// The keys with the most hits now, at most so many.
    pub fn look(&mut self, most: usize) -> Result<Vec<Busy>, LogError> {
        for reader in &mut self.readers {
            loop {
                let records = reader.read(1 << 20, Duration::ZERO)?;
                if records.is_empty() {
                    break;
                }
                for stored in records {
                    if let Ok(alert) = serde_json::from_slice::<Alert>(&stored.record.value) {
                        note(&mut self.seen, alert);
                    }
                }
            }
        }
        self.forget();
        Ok(busiest(&self.seen, most))
    }

    /// Leaves out what is older than an hour before the newest: recordings are of another time than ours.
    fn forget(&mut self) {
        let now = self.seen.values().map(|(.., observed)| *observed).max().unwrap_or(0);
        self.seen.retain(|_, (.., observed)| now - *observed < RECENT);
        while self.seen.len() > ALERTS_MAX {
            let oldest = self.seen.iter().min_by_key(|(_, (.., observed))| *observed).map(|(uid, _)| *uid);
            oldest.and_then(|uid| self.seen.remove(&uid));
        }
    }
}

fn note(seen: &mut Seen, alert: Alert) {
    let key: Vec<String> = alert.key.iter().map(|(name, value)| format!("{name} {value}")).collect();
    // A revision names its first row; the last one came as much later as the device says.
    let last = alert.observed.saturating_add(alert.last_time.saturating_sub(alert.time).max(0));
    seen.insert(alert.uid, (alert.detection, key.join(", "), alert.count, last));
}

fn busiest(seen: &Seen, most: usize) -> Vec<Busy> {
    let mut keys: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for (detection, key, count, _) in seen.values() {
        *keys.entry((detection, key)).or_default() += count;
    }
    let mut keys: Vec<Busy> = keys
        .into_iter()
        .map(|((detection, key), hits)| Busy { detection: detection.into(), key: key.into(), hits })
        .collect();
    // Those with as many stay in the order of their names.
    keys.sort_by_key(|busy| std::cmp::Reverse(busy.hits));
    keys.truncate(most);
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revisions_replace_and_alerts_of_a_key_add_up() {
        let mut seen = Seen::new();
        let at = |uid: u128| Uuid::from_u128(uid);
        let mut put = |uid, key: &str, count| seen.insert(at(uid), ("d".into(), key.into(), count, 0));
        put(1, "client A", 1);
        put(1, "client A", 10);
        put(2, "client A", 1);
        put(3, "client B", 100);
        put(4, "client C", 1);
        let told: Vec<(String, u64)> = busiest(&seen, 2).into_iter().map(|b| (b.key, b.hits)).collect();
        assert_eq!(told, [("client B".to_string(), 100), ("client A".to_string(), 11)]);
    }
}
