use std::sync::Arc;

use proptest::prelude::*;
use yagura_event::clock::Micros;
use yagura_event::rows::{ContextRow, LogRow, Row};
use yagura_event::{Asset, AssetTable, codec};
use yagura_log::Record;

use super::*;
use crate::writer::RowWriter;

const TOOLS: [&str; 3] = ["A", "B", "C"];

fn assets() -> Arc<AssetTable> {
    let asset = |name: &str, cell: &str| Asset { name: name.into(), cell: cell.into(), ..Asset::default() };
    Arc::new(AssetTable::new(vec![asset("A", "one"), asset("B", "two")], "rest"))
}

/// An entry of a stream: of which tools it has rows, a context among them where it is marked.
type Entry = Vec<(usize, bool)>;

/// A crash: after so many batches that were acknowledged; of the next, so many records of each cell are durable.
type Crash = (usize, [usize; 3]);

/// Reads the streams from where `held` says on, in batches of `every` entries; answers the records that are durable.
fn read(
    streams: &[Vec<Entry>],
    held: &Places,
    every: usize,
    begun: Micros,
    crash: Option<Crash>,
) -> Vec<Record> {
    let mut writer = RowWriter::new("c", begun as u64, assets()).resume(held.clone());
    let mut now = begun;
    let mut entries: Vec<(String, usize, &Entry)> = Vec::new();
    for at in 0..streams.iter().map(Vec::len).max().unwrap_or(0) {
        for (number, stream) in streams.iter().enumerate() {
            let name = format!("s{number}");
            if let Some(entry) = stream.get(at)
                && held.of(&name).is_none_or(|from| at as u64 >= from)
            {
                entries.push((name, at, entry));
            }
        }
    }
    let mut durable = Vec::new();
    for (batch, entries) in entries.chunks(every).chain([[].as_slice()]).enumerate() {
        for (name, at, entry) in entries {
            now += 1;
            writer.at(name, *at as u64);
            for (row, &(tool, context)) in entry.iter().enumerate() {
                push(&mut writer, now, TOOLS[tool], context, &format!("{name}/{at}/{row}"));
            }
        }
        writer.close(now);
        let records = writer.take().expect("rows encode");
        match crash {
            Some((batches, left)) if batches == batch => {
                // Each cell is in a partition of its own: of each, a beginning is left.
                let mut left: BTreeMap<_, usize> = ["one", "two", "rest"].into_iter().zip(left).collect();
                durable.extend(records.into_iter().filter(|record| {
                    let cell = std::str::from_utf8(&record.key).expect("a name");
                    let left = left.get_mut(cell).expect("a cell");
                    *left = left.saturating_sub(1);
                    *left > 0
                }));
                return durable;
            }
            _ => durable.extend(records),
        }
        writer.acknowledged();
    }
    durable
}

fn push(writer: &mut RowWriter, now: Micros, tool: &str, context: bool, text: &str) {
    let (time, observed) = (now, now);
    match context {
        true => {
            writer.push(Row::Context(&ContextRow { time, observed, tool, value: text, ..Default::default() }))
        }
        false => {
            writer.push(Row::Log(&LogRow { time, observed, tool, description: text, ..Default::default() }))
        }
    }
}

fn texts(record: &Record) -> Vec<String> {
    let envelope = Envelope::from_header(&record.header).expect("an envelope");
    let column = match envelope.kind {
        Kind::Log => "description",
        Kind::Context => "value",
        _ => return Vec::new(),
    };
    let rows = codec::decode(&envelope, &record.value).expect("rows");
    codec::to_json_rows(&rows).iter().filter_map(|row| row[column].as_str().map(str::to_string)).collect()
}

proptest! {
    /// Whatever part of the records a crash leaves, reading on from their places writes every row once.
    #[test]
    fn a_restart_loses_nothing_and_repeats_nothing(
        streams in prop::collection::vec(
            prop::collection::vec(prop::collection::vec((0..3usize, any::<bool>()), 0..4), 0..12), 1..3),
        every in 1..5usize,
        crashes in prop::collection::vec((0..6usize, prop::array::uniform3(0..8usize)), 2),
    ) {
        let mut expected: Vec<String> = Vec::new();
        for (number, stream) in streams.iter().enumerate() {
            for (at, entry) in stream.iter().enumerate() {
                expected.extend((0..entry.len()).map(|row| format!("s{number}/{at}/{row}")));
            }
        }
        expected.sort();
        let mut kept: Vec<Record> = Vec::new();
        let mut held = Places::default();
        for (start, crash) in crashes.into_iter().map(Some).chain([None]).enumerate() {
            let durable = read(&streams, &held, every, 1_000_000 * (start as Micros + 1), crash);
            for record in &durable {
                held.note(&Envelope::from_header(&record.header).expect("an envelope"));
            }
            kept.extend(durable);
        }
        let mut found: Vec<String> = kept.iter().flat_map(texts).collect();
        found.sort();
        prop_assert_eq!(found, expected);
    }
}
