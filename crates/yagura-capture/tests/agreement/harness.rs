//! Runs every comparison, counts agreement, prints the table.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use super::capture::{self, Capture};
use super::decisions::{self, Decision, digest};
use super::reference::{Reference, tshark_is_here};

/// The share of messages that must agree, in per cent, for each protocol over all its captures.
const FLOOR: f64 = 99.0;

/// Facts and how often each occurs.
pub type Multiset = BTreeMap<String, usize>;

/// A protocol's comparisons.
pub struct Protocol {
    /// The name, as in the column `protocol`.
    pub name: &'static str,
    /// Folders of captures (`modbus`) whose references are looked at.
    pub folders: &'static [&'static str],
    /// tshark's names of it, as in the captures' manifest.
    pub tshark: &'static [&'static str],
    /// The text of `NAME.yaml` beside the module ("" where nothing was to decide).
    pub decisions: &'static str,
    /// What is compared.
    pub tools: &'static [Tool],
}

/// One comparison with one tool's file.
pub struct Tool {
    /// Its name in the table and in the decisions: `suricata`, `zeek`.
    pub name: &'static str,
    /// Where its reading comes from.
    pub from: From,
    /// Turns the capture and the tool's file into facts.
    pub compare: fn(&Capture, &Reference) -> Facts,
}

/// Where a tool's reading comes from.
pub enum From {
    /// The file beneath `expected/<folder>/<capture>/`: `zeek/modbus.log`. A `*` stands for any
    /// text within a name.
    File(&'static str),
    /// tshark on this machine, with these arguments beside the capture; left out, said on the
    /// screen, where it is not installed.
    Tshark(&'static [&'static str]),
    /// The same, only on captures in which the manifest says that tshark sees the protocol, or out
    /// of which messages of it are read here: for protocols that are looked for in many folders.
    TsharkWhereSeen(&'static [&'static str]),
}

/// What both say of a capture: one text a message.
#[derive(Debug, Default)]
pub struct Facts {
    /// What we read.
    pub ours: Vec<String>,
    /// What the tool reads.
    pub theirs: Vec<String>,
}

/// A line of the table.
struct Line {
    protocol: &'static str,
    capture: String,
    tool: &'static str,
    ours: usize,
    theirs: usize,
    agreed: usize,
    /// Messages of either side that differ and were decided.
    decided: usize,
    /// Messages of either side that differ.
    open: usize,
}

impl Line {
    /// Agreement as measured: common messages of all messages, in per cent.
    fn measured(&self) -> f64 {
        share(self.agreed, self.ours + self.theirs - self.agreed)
    }

    /// The same without what was decided.
    fn judged(&self) -> f64 {
        share(self.agreed, self.agreed + self.open)
    }
}

fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 { 100.0 } else { 100.0 * part as f64 / whole as f64 }
}

/// Compares everything, prints the table, and panics where a protocol is below the floor or a
/// decision does not fit.
pub fn run(protocols: &[Protocol]) {
    let Some(captures) = capture::folder() else {
        return;
    };
    let only = std::env::var("YAGURA_AGREEMENT_ONLY").unwrap_or_default();
    let wanted = |p: &&Protocol| only.is_empty() || only.split(',').any(|name| name == p.name);
    let chosen: Vec<&Protocol> = protocols.iter().filter(wanted).collect();
    assert!(!chosen.is_empty(), "YAGURA_AGREEMENT_ONLY={only} names no protocol");
    let (mut lines, mut problems) = (Vec::new(), Vec::new());
    for protocol in &chosen {
        let decisions = decisions::of(protocol.name, protocol.decisions).differences;
        let mut used = vec![false; decisions.len()];
        for folder in protocol.folders {
            compare_folder(protocol, &captures, folder, &decisions, &mut used, &mut lines, &mut problems);
        }
        for (decision, used) in decisions.iter().zip(&used) {
            let tool = protocol.tools.iter().find(|t| t.name == decision.tool);
            let absent = tool.is_some_and(|t| matches!(t.from, From::Tshark(_) | From::TsharkWhereSeen(_)))
                && !tshark_is_here();
            if !used && !absent {
                problems.push(format!(
                    "{}.yaml: {} {} was compared nowhere",
                    protocol.name, decision.capture, decision.tool
                ));
            }
        }
        let mine = || lines.iter().filter(|l: &&Line| l.protocol == protocol.name);
        let (agreed, open) = mine().fold((0, 0), |(a, o), l| (a + l.agreed, o + l.open));
        if mine().next().is_none() {
            problems.push(format!("{}: no reference was found", protocol.name));
        } else if share(agreed, agreed + open) < FLOOR {
            problems.push(format!(
                "{}: {:.2} % agree, the floor is {FLOOR} %",
                protocol.name,
                share(agreed, agreed + open)
            ));
        }
    }
    #[expect(clippy::print_stderr, reason = "the table is what the test is run for")]
    {
        eprintln!("{}", table(&lines));
    }
    if let Some(path) = std::env::var_os("YAGURA_AGREEMENT_JSON") {
        // A relative path is one of the repository's, wherever the test runs.
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
        let written = std::fs::write(&path, json(&lines));
        assert!(written.is_ok(), "{}: {written:?}", path.display());
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

fn compare_folder(
    protocol: &Protocol,
    captures: &Path,
    folder: &str,
    decisions: &[Decision],
    used: &mut [bool],
    lines: &mut Vec<Line>,
    problems: &mut Vec<String>,
) {
    for name in names(&captures.join(folder)) {
        let file = captures.join(folder).join(&name);
        if !file.is_file() {
            continue;
        }
        let mut capture = None;
        for tool in protocol.tools {
            if matches!(tool.from, From::TsharkWhereSeen(_))
                && !seen(&format!("{folder}/{name}"), protocol.tshark)
            {
                let capture = capture.get_or_insert_with(|| Capture::read(&file));
                if capture.messages(protocol.name).next().is_none() {
                    continue;
                }
            }
            for reference in
                references(&captures.join("expected").join(folder).join(&name), &file, &tool.from)
            {
                let capture = capture.get_or_insert_with(|| Capture::read(&file));
                let facts = (tool.compare)(capture, &reference);
                let mut difference = Difference::of(facts);
                let mut line = Line {
                    protocol: protocol.name,
                    capture: name.clone(),
                    tool: tool.name,
                    ours: difference.counts.0,
                    theirs: difference.counts.1,
                    agreed: difference.agreed,
                    decided: 0,
                    open: 0,
                };
                for (decision, used) in decisions.iter().zip(used.iter_mut()) {
                    if (&*decision.capture, &*decision.tool) == (&*name, tool.name) {
                        *used = true;
                        match decision.settle(&mut difference.ours, &mut difference.theirs) {
                            Ok((ours, theirs)) => line.decided += ours + theirs,
                            Err(problem) => problems
                                .push(format!("{}.yaml: {name} {}: {problem}", protocol.name, tool.name)),
                        }
                    }
                }
                line.open = difference.open();
                difference.show(&line);
                lines.push(line);
            }
        }
    }
}

/// What one side has and the other has not.
struct Difference {
    ours: Multiset,
    theirs: Multiset,
    agreed: usize,
    counts: (usize, usize),
}

impl Difference {
    fn of(facts: Facts) -> Difference {
        let counts = (facts.ours.len(), facts.theirs.len());
        let (mut ours, mut theirs) = (tally(facts.ours), tally(facts.theirs));
        let mut agreed = 0;
        ours.retain(|fact, count| {
            let Some(other) = theirs.get_mut(fact) else {
                return true;
            };
            let common = (*count).min(*other);
            agreed += common;
            *count -= common;
            *other -= common;
            if *other == 0 {
                theirs.remove(fact);
            }
            *count > 0
        });
        Difference { ours, theirs, agreed, counts }
    }

    fn open(&self) -> usize {
        self.ours.values().chain(self.theirs.values()).sum()
    }

    /// Shows the first differences that nobody decided.
    #[expect(clippy::print_stderr, reason = "differences are what the test is run for")]
    fn show(&self, line: &Line) {
        let most = std::env::var("YAGURA_AGREEMENT_SHOW").ok().and_then(|n| n.parse().ok()).unwrap_or(6);
        for (side, facts) in [("ours", &self.ours), ("theirs", &self.theirs)] {
            let count: usize = facts.values().sum();
            if count > 0 {
                let (capture, tool) = (&line.capture, line.tool);
                eprintln!("{capture}, {tool}: {count} only {side}, digest {}", digest(facts));
            }
            if facts.len() > most {
                let mut groups = BTreeMap::<&str, Multiset>::new();
                for (fact, count) in facts {
                    let first = fact.split_inclusive(' ').next().unwrap_or_default();
                    groups.entry(first).or_default().insert(fact.clone(), *count);
                }
                for (begin, facts) in groups {
                    let (count, digest) = (facts.values().sum::<usize>(), digest(&facts));
                    eprintln!("  - {{ begin: \"{begin}\", count: {count}, digest: \"{digest}\" }}");
                }
            }
            for (fact, count) in facts.iter().take(most) {
                eprintln!("    {count} x {}", fact.chars().take(240).collect::<String>());
            }
        }
    }
}

fn tally(facts: Vec<String>) -> Multiset {
    let mut out = Multiset::new();
    for fact in facts {
        *out.entry(fact).or_default() += 1;
    }
    out
}

/// What is in a folder, by name; nothing where there is no folder.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|e| e.file_name().into_string().ok()).collect();
    names.sort();
    names
}

fn references(folder: &Path, capture: &Path, from: &From) -> Vec<Reference> {
    match from {
        From::File(path) => files(folder, path).into_iter().map(Reference::file).collect(),
        From::Tshark(arguments) | From::TsharkWhereSeen(arguments) => {
            Reference::tshark(capture, arguments).into_iter().collect()
        }
    }
}

/// Whether the manifest says that tshark sees one of these protocols in a capture.
fn seen(capture: &str, tshark: &[&str]) -> bool {
    static MANIFEST: LazyLock<BTreeMap<String, String>> = LazyLock::new(|| {
        let captures = capture::folder().map(|folder| capture::manifest(&folder));
        captures.into_iter().flatten().collect()
    });
    let protocols = MANIFEST.get(capture).map_or("", String::as_str);
    protocols.split(' ').any(|p| p.split(':').next().is_some_and(|name| tshark.contains(&name)))
}

/// The files beneath `folder` whose path fits: `*` stands for any text within a name.
fn files(folder: &Path, path: &str) -> Vec<PathBuf> {
    let mut found = vec![folder.to_path_buf()];
    for part in path.split('/') {
        let inside = |f: PathBuf| names(&f).into_iter().filter(|n| fits(part, n)).map(move |n| f.join(n));
        found = found.into_iter().flat_map(inside).collect();
    }
    found.retain(|f| f.is_file());
    found
}

fn fits(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((begin, end)) => {
            name.len() >= begin.len() + end.len() && name.starts_with(begin) && name.ends_with(end)
        }
    }
}

fn table(lines: &[Line]) -> String {
    let width = lines.iter().map(|l| l.capture.len()).max().unwrap_or(0);
    let mut out = String::new();
    let _ = writeln!(
        out,
        "{:<12} {:<width$} {:<14} {:>7} {:>7} {:>7} {:>8} {:>7} {:>6} {:>8}",
        "protocol", "capture", "tool", "ours", "theirs", "agreed", "measured", "decided", "open", "judged"
    );
    for l in lines {
        let _ = writeln!(
            out,
            "{:<12} {:<width$} {:<14} {:>7} {:>7} {:>7} {:>7.2}% {:>7} {:>6} {:>7.2}%",
            l.protocol,
            l.capture,
            l.tool,
            l.ours,
            l.theirs,
            l.agreed,
            l.measured(),
            l.decided,
            l.open,
            l.judged()
        );
    }
    out
}

fn json(lines: &[Line]) -> String {
    let line = |l: &Line| {
        serde_json::json!({
            "protocol": l.protocol, "capture": l.capture, "tool": l.tool,
            "ours": l.ours, "theirs": l.theirs, "agreed": l.agreed,
            "measured_percent": l.measured(),
            "decided": l.decided, "open": l.open, "judged_percent": l.judged(),
        })
    };
    let all: Vec<_> = lines.iter().map(line).collect();
    format!("{:#}\n", serde_json::Value::Array(all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agreement_is_the_common_part_of_all_messages() {
        let facts = |list: &[&str]| list.iter().map(|f| f.to_string()).collect::<Vec<_>>();
        let difference =
            Difference::of(Facts { ours: facts(&["a", "a", "b"]), theirs: facts(&["a", "c", "b", "c"]) });
        assert_eq!((difference.agreed, difference.open()), (2, 3));
        assert_eq!(difference.ours, tally(facts(&["a"])));
        assert_eq!(difference.theirs, tally(facts(&["c", "c"])));
    }

    #[test]
    fn patterns_fit_names() {
        assert!(fits("modbus.log", "modbus.log") && !fits("modbus.log", "modbus_detailed.log"));
        assert!(fits("*.ek.json.gz", "a_port1.ek.json.gz") && !fits("ab*ba", "aba"));
    }
}
