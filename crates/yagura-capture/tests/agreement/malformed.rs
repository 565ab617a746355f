//! What is called malformed here, over all captures: tshark calls it so too, or the file beside
//! this one says why, with the bytes that decide.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use yagura_event::rows::{Row, RowSink};
use yagura_event::vocabulary::{coverage, status};

use super::capture::{self, feed_into};
use super::reference::{Reference, tshark_is_here};

/// tshark's words for it: a dissector ran out of bytes, or reports a fault of the protocol.
/// 0x07000000 is the group "malformed", 0x00800000 the severity "error".
const MALFORMED: &[&str] =
    &["-Y", "_ws.malformed || (_ws.expert.group == 0x07000000 && _ws.expert.severity == 0x00800000)"];

/// What was decided about a capture that tshark does not call malformed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Decided {
    /// Folder and file.
    capture: String,
    /// Which records, as [`Findings`] names them, and how many of each.
    records: BTreeMap<String, usize>,
    /// Why they are right.
    why: String,
    /// Packet number and bytes that decide it.
    bytes: String,
}

/// The malformed records of a capture: `protocol reason` for messages; for streams and packets
/// `coverage` and what they are about.
#[derive(Default)]
struct Findings(BTreeMap<String, usize>);

impl RowSink for Findings {
    fn push(&mut self, row: Row<'_>) {
        let what = match row {
            Row::Message(m) if m.status == status::MALFORMED => format!("{} {}", m.protocol, m.status_code),
            Row::Coverage(c) if c.event == coverage::MALFORMED => {
                let about = c.subject.split([' ', ':']).next().unwrap_or_default();
                format!("coverage {about}")
            }
            _ => return,
        };
        *self.0.entry(what).or_default() += 1;
    }
}

/// Reads every capture; panics where something is malformed and neither tshark nor the file says so.
pub fn run(decisions: &str) {
    let Some(captures) = capture::folder() else {
        return;
    };
    let decided: Vec<Decided> = if decisions.trim().is_empty() {
        Vec::new()
    } else {
        serde_saphyr::from_str(decisions).unwrap_or_else(|e| panic!("malformed.yaml: {e}"))
    };
    let unexplained = decided.iter().find(|d| d.why.is_empty() || d.bytes.is_empty());
    assert!(unexplained.is_none(), "malformed.yaml: say why, and which bytes decide: {unexplained:?}");
    let mut wrong = Vec::new();
    for (name, _) in capture::manifest(&captures) {
        let path = captures.join(&name);
        let mut found = Findings::default();
        feed_into(&path, &mut found);
        match decided.iter().find(|d| d.capture == name) {
            Some(d) if d.records == found.0 => {}
            Some(d) => wrong.push(format!("{name}: {:?} was decided, {:?} is found", d.records, found.0)),
            None if found.0.is_empty() || tshark_says_so(&path) => {}
            None => wrong.push(format!("{name}: {:?}", found.0)),
        }
    }
    assert!(wrong.is_empty(), "malformed, and tshark does not say so:\n{}", wrong.join("\n"));
}

/// Whether tshark calls something in the capture malformed; taken for granted where it is not
/// installed.
fn tshark_says_so(capture: &Path) -> bool {
    !tshark_is_here() || Reference::tshark(capture, MALFORMED).is_some_and(|r| !r.text().is_empty())
}
