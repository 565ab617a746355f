//! In how few requests a map can be read.

use super::client::{Range, Table};
use super::map::Entry;

/// One request and the entries that its answer holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// What is asked for.
    pub range: Range,
    /// Numbers of entries in their map, in the order of their registers.
    pub entries: Vec<u32>,
}

/// What holds for the requests to a device.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// So many registers that nobody wants are read along rather than asking twice.
    pub gap: u16,
    /// The most registers of one request.
    pub registers: u16,
    /// The most bits of one request.
    pub bits: u16,
}

impl Limits {
    /// The most of a table.
    fn most(&self, table: Table) -> u32 {
        u32::from(if table.is_bits() { self.bits } else { self.registers })
    }

    /// What may be read along.
    fn along(&self, table: Table) -> u32 {
        u32::from(self.gap) * if table.is_bits() { 16 } else { 1 }
    }
}

/// The fewest requests that read the given entries: from the lowest register that is still wanted as far as one
/// request goes. An entry is never cut.
pub fn plan(map: &[Entry], wanted: impl Iterator<Item = u32>, limits: Limits) -> Vec<Block> {
    let mut sorted: Vec<u32> = wanted.collect();
    sorted.sort_by_key(|number| {
        let entry = &map[*number as usize];
        (entry.table, entry.start, entry.count, *number)
    });
    let mut out: Vec<Block> = Vec::new();
    for number in sorted {
        let entry = &map[number as usize];
        let end = u32::from(entry.start) + u32::from(entry.count);
        if let Some(Block { range, entries }) = out.last_mut()
            && range.table == entry.table
            && u32::from(entry.start) <= range.end() + limits.along(entry.table)
            && end.max(range.end()) - u32::from(range.start) <= limits.most(entry.table)
        {
            range.count = (end.max(range.end()) - u32::from(range.start)) as u16;
            entries.push(number);
            continue;
        }
        let range = Range { table: entry.table, start: entry.start, count: entry.count };
        out.push(Block { range, entries: vec![number] });
    }
    out
}

/// A request that a device refuses, in two or more that ask for less: first without what nobody wants, then in
/// halves. `None` when it is about one entry.
pub fn split(map: &[Entry], block: &Block, limits: Limits) -> Option<Vec<Block>> {
    if block.entries.len() < 2 {
        return None;
    }
    let tight = Limits { gap: 0, ..limits };
    let parts = plan(map, block.entries.iter().copied(), tight);
    if parts.len() > 1 {
        return Some(parts);
    }
    let (low, high) = block.entries.split_at(block.entries.len() / 2);
    Some([low, high].into_iter().flat_map(|half| plan(map, half.iter().copied(), tight)).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sources::modbus::map::{self, Base};

    const LIMITS: Limits = Limits { gap: 4, registers: 125, bits: 2000 };

    fn entries(lines: &[(u32, &str, &str)]) -> Vec<Entry> {
        let line = |(number, (register, kind, form)): (usize, &(u32, &str, &str))| {
            let settings = serde_json::json!({"name": format!("s{number}"), "register": register, "kind": kind, "type": form});
            serde_json::from_value(settings).expect("a line")
        };
        map::inline(lines.iter().enumerate().map(line).collect(), Base::Zero).expect("a map")
    }

    fn ranges(blocks: &[Block]) -> Vec<(Table, u16, u16)> {
        blocks.iter().map(|b| (b.range.table, b.range.start, b.range.count)).collect()
    }

    #[test]
    fn neighbours_are_read_together_and_long_ways_are_not() {
        let map = entries(&[
            (9, "holding", "f32"),
            (0, "holding", "u16"),
            (4, "holding", "u16"),
            (130, "holding", "u16"),
            (0, "input", "u16"),
            (100, "coil", "bool"),
            (163, "coil", "bool"),
            (300, "coil", "bool"),
        ]);
        let blocks = plan(&map, 0..8, LIMITS);
        assert_eq!(
            ranges(&blocks),
            [
                (Table::Coil, 100, 64),
                (Table::Coil, 300, 1),
                (Table::Holding, 0, 11),
                (Table::Holding, 130, 1),
                (Table::Input, 0, 1)
            ]
        );
        let parts = split(&map, &blocks[2], LIMITS).expect("parts");
        assert_eq!(ranges(&parts), [(Table::Holding, 0, 1), (Table::Holding, 4, 1), (Table::Holding, 9, 2)]);
        assert_eq!(split(&map, &blocks[3], LIMITS), None);
    }

    /// The fewest by trying every way to cut the sorted entries.
    fn fewest(map: &[Entry], limits: Limits) -> usize {
        let mut sorted: Vec<&Entry> = map.iter().collect();
        sorted.sort_by_key(|e| (e.table, e.start, e.count));
        let mut best = vec![0; sorted.len() + 1];
        for end in 1..=sorted.len() {
            best[end] = (0..end)
                .filter(|from| {
                    let part = &sorted[*from..end];
                    let reach = |entry: &Entry| u32::from(entry.start) + u32::from(entry.count);
                    let mut until = reach(part[0]);
                    part.iter().all(|entry| {
                        let near = u32::from(entry.start) <= until + u32::from(limits.gap);
                        until = until.max(reach(entry));
                        near && entry.table == part[0].table
                    }) && until - u32::from(part[0].start) <= u32::from(limits.registers)
                })
                .map(|from| best[from] + 1)
                .min()
                .expect("each entry alone");
        }
        best[sorted.len()]
    }

    proptest! {
        #[test]
        fn there_is_no_way_with_fewer_requests(
            lines in prop::collection::vec((0_u32..400, 0_usize..4), 1..40),
            gap in 0_u16..20,
        ) {
            let forms = ["u16", "f32", "f64", "string:60"];
            let lines: Vec<_> = lines.iter().map(|(at, form)| (*at, "holding", forms[*form])).collect();
            let map = entries(&lines);
            let limits = Limits { gap, ..LIMITS };
            let blocks = plan(&map, 0..map.len() as u32, limits);
            prop_assert_eq!(blocks.len(), fewest(&map, limits));
            let mut seen = Vec::new();
            for block in &blocks {
                prop_assert!(block.range.count <= 125);
                for number in &block.entries {
                    let entry = &map[*number as usize];
                    prop_assert!(entry.start >= block.range.start);
                    prop_assert!(u32::from(entry.start) + u32::from(entry.count) <= block.range.end());
                    seen.push(*number);
                }
            }
            seen.sort_unstable();
            prop_assert!(seen.into_iter().eq(0..map.len() as u32));
        }
    }
}
