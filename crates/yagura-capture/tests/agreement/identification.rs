//! Captures of other protocols: none of their messages may be taken for one of these.

use std::collections::BTreeMap;
use std::path::Path;

use yagura_event::rows::{Row, RowSink};

use super::capture::{self, feed_into};
use super::decisions;
use super::harness::Protocol;
use super::reference::Reference;

/// Counts the messages of each protocol.
#[derive(Default)]
struct Counts(BTreeMap<String, usize>);

impl RowSink for Counts {
    fn push(&mut self, row: Row<'_>) {
        if let Row::Message(m) = row {
            match self.0.get_mut(m.protocol) {
                Some(count) => *count += 1,
                None => {
                    self.0.insert(m.protocol.to_string(), 1);
                }
            }
        }
    }
}

/// Reads every capture; panics where messages of one of the protocols come out of a capture in
/// which tshark sees none.
pub fn run(protocols: &[Protocol]) {
    let Some(captures) = capture::folder() else {
        return;
    };
    let manifest = captures.join("MANIFEST.csv");
    let mut lines = csv::ReaderBuilder::new()
        .from_path(&manifest)
        .unwrap_or_else(|e| panic!("{}: {e}", manifest.display()));
    // Flows are no protocol that a capture could hold or not.
    let protocols: Vec<&Protocol> = protocols.iter().filter(|p| !p.tshark.is_empty()).collect();
    let decided: Vec<_> = protocols.iter().map(|p| decisions::of(p.name, p.decisions).identified).collect();
    let (mut wrong, mut found, mut read) = (Vec::new(), BTreeMap::new(), 0);
    for line in lines.records() {
        let line = line.unwrap_or_else(|e| panic!("{}: {e}", manifest.display()));
        let (folder, file) = (&line[0], &line[1]);
        let seen = line.iter().next_back().unwrap_or_default();
        let has = |name: &str| seen.split(' ').any(|s| s.split(':').next() == Some(name));
        let mut counts = Counts::default();
        feed_into(&captures.join(folder).join(file), &mut counts);
        read += 1;
        for (protocol, decided) in protocols.iter().zip(&decided) {
            let count = counts.0.get(protocol.name).copied().unwrap_or(0);
            let name = format!("{folder}/{file}");
            let decided = decided.iter().find(|d| d.capture == name);
            let foreseen = decided.map_or(0, |d| d.messages);
            // The manifest names the six most frequent protocols of a capture: for others tshark is asked.
            let held = protocol.tshark.iter().any(|t| has(t))
                || (count != foreseen && tshark_sees(&captures.join(folder).join(file), protocol.tshark));
            *found.entry(protocol.name).or_insert(0) += if held || decided.is_some() { count } else { 0 };
            if !held && count != foreseen {
                wrong.push(format!("{name}: {count} messages of {}, not {foreseen}", protocol.name));
            }
        }
    }
    assert!(read > 100, "{read} captures in {}", manifest.display());
    assert!(found.values().all(|count| *count > 0), "{found:?}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn tshark_sees(capture: &Path, protocols: &[&str]) -> bool {
    let filter = protocols.join(" or ");
    let frames = Reference::tshark(capture, &["-Y", &filter, "-T", "fields", "-e", "frame.number"]);
    frames.is_none_or(|frames| !frames.text().is_empty())
}
