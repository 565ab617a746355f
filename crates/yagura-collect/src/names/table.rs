//! The plant's tables of names: reading, and finding the line of a name.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use rustc_hash::{FxHashMap, FxHashSet};
use yagura_event::vocabulary::{area, context};
use yagura_event::{Asset, units};

use super::pattern::{Anchor, Pattern, Template};
use crate::source::SourceError;

/// The most lines of all tables.
const LINES_MAX: usize = 1 << 20;
/// The largest file, in bytes.
const BYTES_MAX: usize = 256 << 20;
/// With how many earlier lines one is compared, to tell that it can never match.
const COMPARED_MAX: usize = 1000;

/// The columns; any may be missing but `name`, in any order.
const COLUMNS: [&str; 12] = [
    "source",
    "name",
    "site",
    "area",
    "cell",
    "tool",
    "chamber",
    "signal",
    "unit",
    "from_unit",
    "class",
    "context",
];

/// The plant's tables of names.
///
/// CSV files with a header. `source` is a pattern of the collector's name (all of them where it is empty) and
/// `name` one of the source's own name: `*` stands for any text within a segment (between two `/`), `**` for any
/// text, `{word}` for at least one character of a segment, which the other columns may use by that word
/// (`ETCH-{nn}`), as they may use `{site}`; a backslash before one of `*{}\` takes its meaning away. A column that
/// is empty is the word of its own name if the pattern captures one (`{tool}`), else what the source says. The
/// first line that matches wins, in the order of files and lines.
///
/// ```csv
/// source,name,site,cell,tool,chamber,signal,unit,class
/// opc-*,Etch/E{nn}/PM{chamber}/Gas1/Flow,F12,{site}-etch,ETCH-{nn},,cf4_flow,sccm,flow
/// ```
///
/// `unit` is the unit that the plant wants; values are converted from the one that the source says, or from
/// `from_unit` where it says none. `context` is for texts: `lot`, `recipe` or another name of
/// [`yagura_event::vocabulary::context`].
#[derive(Debug, Default)]
pub struct NameTable {
    files: Vec<PathBuf>,
    /// Patterns of collectors' names, each once.
    sources: Vec<Pattern>,
    lines: Vec<Line>,
    index: Index,
    covered: Vec<Covered>,
}

/// A line of a table.
#[derive(Debug)]
pub(super) struct Line {
    file: u32,
    line: u32,
    source: u32,
    name: Pattern,
    pub(super) columns: Columns,
}

#[derive(Debug, Default)]
pub(super) struct Columns {
    pub(super) site: Template,
    pub(super) area: Template,
    pub(super) cell: Template,
    pub(super) tool: Template,
    pub(super) chamber: Template,
    pub(super) signal: Template,
    pub(super) unit: Template,
    pub(super) from_unit: Template,
    pub(super) class: Template,
    pub(super) context: Template,
}

/// Where a line stands.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct LinePlace {
    /// The file.
    pub file: PathBuf,
    /// Its line, from 1 on.
    pub line: u32,
}

impl std::fmt::Display for LinePlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// A line that can never match, because an earlier one matches all that it would.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Covered {
    /// The line.
    pub line: LinePlace,
    /// The earlier one.
    pub by: LinePlace,
}

/// How the plant calls a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Named {
    /// Which line says so.
    pub(super) line: u32,
    pub(super) area: String,
    pub(super) cell: String,
    pub(super) tool: String,
    pub(super) chamber: String,
    pub(super) signal: String,
    pub(super) unit: String,
    pub(super) from_unit: String,
    pub(super) class: String,
    pub(super) context: String,
}

impl NameTable {
    /// Reads tables. Lines that can never match are no error: see [`NameTable::covered`].
    pub fn read(files: &[PathBuf]) -> Result<NameTable, SourceError> {
        let mut table = NameTable::default();
        let mut sources = FxHashMap::default();
        for file in files {
            table.files.push(file.clone());
            table.read_file(file, &mut sources)?;
        }
        table.place_tools()?;
        Ok(table)
    }

    /// How many lines there are.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Lines that can never match. Each is compared with at most a thousand earlier ones that begin or end alike.
    pub fn covered(&self) -> &[Covered] {
        &self.covered
    }

    /// The tools that lines name literally and put into a cell, each once, in the order of the lines: for the
    /// asset table, whose own entries win. Tools out of captures are placed when they are first seen.
    pub fn assets(&self) -> Vec<Asset> {
        let mut seen = FxHashSet::default();
        let placed = self.lines.iter().filter_map(|line| Some((line, line.placed_tool()?)));
        placed
            .filter(|(_, (tool, _))| seen.insert(*tool))
            .map(|(line, (tool, cell))| Asset {
                name: tool.into(),
                cell: cell.into(),
                area: match line.columns.area.literal() {
                    Some(area) if !area.is_empty() => area.into(),
                    _ => area::FAB.into(),
                },
                equipment: true,
                ..Asset::default()
            })
            .collect()
    }

    /// Whose lines hold for a collector, by the number of their source.
    pub(super) fn sources_of(&self, collector: &str) -> Box<[bool]> {
        self.sources.iter().map(|source| source.matches(collector)).collect()
    }

    /// The lines of a collector.
    pub(super) fn lines_of<'a>(&'a self, sources: &'a [bool]) -> impl Iterator<Item = (u32, LinePlace)> + 'a {
        let numbered = (0..).zip(&self.lines).filter(|(_, line)| sources[line.source as usize]);
        numbered.map(|(at, line)| (at, self.place(line)))
    }

    /// How the plant calls a name of a collector; `None` where no line of the collector matches.
    pub(super) fn find(&self, sources: &[bool], name: &str) -> Option<Named> {
        let mut best: Option<(u32, Vec<(u32, u32)>)> = None;
        self.index.about(name, name, &mut name.split('/').zip(0..).map(|(text, at)| (at, text)), |lines| {
            for &at in lines {
                if best.as_ref().is_some_and(|(best, _)| at > *best) {
                    break;
                }
                let line = &self.lines[at as usize];
                if sources[line.source as usize]
                    && let Some(captured) = line.name.captures(name)
                {
                    best = Some((at, captured));
                    break;
                }
            }
            true
        });
        let (at, captured) = best?;
        Some(self.lines[at as usize].named(at, name, &captured))
    }

    fn place(&self, line: &Line) -> LinePlace {
        LinePlace { file: self.files[line.file as usize].clone(), line: line.line }
    }

    fn read_file(&mut self, file: &Path, sources: &mut FxHashMap<String, u32>) -> Result<(), SourceError> {
        let fail = |cause: String| SourceError::Table(format!("{}: {cause}", file.display()));
        let wrong =
            |line: u32, cause: String| SourceError::Table(format!("{}:{line}: {cause}", file.display()));
        let text = std::fs::read(file).map_err(|e| {
            fail(format!("cannot be read: {e}; correct the path, which begins in the configuration's folder"))
        })?;
        if text.len() > BYTES_MAX {
            let cause = format!("has {} bytes; a table has at most {BYTES_MAX}", text.len());
            return Err(fail(format!("{cause}: let patterns say what many lines do")));
        }
        let mut counted = Counted { text: &text, line: 1, at: 0 };
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(&*text);
        let places =
            reader.headers().map_err(|e| e.to_string()).and_then(header).map_err(|cause| wrong(1, cause))?;
        let mut record = csv::StringRecord::new();
        loop {
            let line = |counted: &mut Counted<'_>, at: Option<&csv::Position>| {
                counted.to(at.map_or(0, |at| at.byte() as usize))
            };
            match reader.read_record(&mut record) {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(e) => {
                    let number = line(&mut counted, e.position());
                    let cause = match e.kind() {
                        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => format!(
                            "has {len} columns where the header has {expected_len}; put texts with commas into \
                             quotation marks"
                        ),
                        csv::ErrorKind::Utf8 { .. } => "is not UTF-8; save the file as UTF-8".into(),
                        _ => format!("{e}; write it as CSV with a header"),
                    };
                    return Err(wrong(number, cause));
                }
            }
            let number = line(&mut counted, record.position());
            if self.lines.len() >= LINES_MAX {
                let cause =
                    format!("there are more than {LINES_MAX} lines; let patterns say what many lines do");
                return Err(wrong(number, cause));
            }
            let cells = places.map(|place| place.and_then(|at| record.get(at)).unwrap_or(""));
            self.add(&cells, number, sources).map_err(|cause| wrong(number, cause))?;
        }
    }

    fn add(
        &mut self,
        cells: &[&str; COLUMNS.len()],
        line: u32,
        sources: &mut FxHashMap<String, u32>,
    ) -> Result<(), String> {
        let [source, name, site, area, cell, tool, chamber, signal, unit, from_unit, class, held] = *cells;
        if name.is_empty() {
            return Err("`name` is empty; write the source's own name, or `**` for all of them".into());
        }
        let source = match sources.get(source) {
            Some(known) => *known,
            None => {
                let number = self.sources.len() as u32;
                self.sources.push(Pattern::parse(if source.is_empty() { "**" } else { source })?);
                sources.insert(source.to_string(), number);
                number
            }
        };
        let name = Pattern::parse(name)?;
        let mut words = name.words().to_vec();
        let site = Template::parse(site, &words)?;
        if site != Template::Empty && !words.iter().any(|word| **word == *"site") {
            words.push("site".into());
        }
        let template = |column: &str, text: &str| match text {
            "" => match words.iter().any(|word| **word == *column) {
                true => Template::parse(&format!("{{{column}}}"), &words),
                false => Ok(Template::Empty),
            },
            text => Template::parse(text, &words),
        };
        let columns = Columns {
            area: template("area", area)?,
            cell: template("cell", cell)?,
            tool: template("tool", tool)?,
            chamber: template("chamber", chamber)?,
            signal: template("signal", signal)?,
            unit: template("unit", unit)?,
            from_unit: template("from_unit", from_unit)?,
            class: template("class", class)?,
            context: template("context", held)?,
            site,
        };
        if !held.is_empty() && !context::ALL.contains(&held) {
            return Err(format!(
                "`{held}` in `context` is none; there are: {} (and empty for what is no context)",
                context::ALL.join(", ")
            ));
        }
        if let (Some(from), Some(to)) = (columns.from_unit.literal(), columns.unit.literal())
            && units::conversion(from, to).is_none()
        {
            return Err(format!(
                "values in `{from}` (`from_unit`) do not become values in `{to}` (`unit`); correct one of them"
            ));
        }
        let (file, at) = (self.files.len() as u32 - 1, self.lines.len() as u32);
        let line = Line { file, line, source, name, columns };
        if let Some(by) = self.covering(&line) {
            self.covered.push(Covered { line: self.place(&line), by: self.place(&self.lines[by as usize]) });
        }
        self.index.add(line.name.anchor(), at);
        self.lines.push(line);
        Ok(())
    }

    /// An earlier line that matches all that `line` would.
    fn covering(&self, line: &Line) -> Option<u32> {
        let (prefix, suffix) = line.name.ends();
        let segments: Vec<_> = line.name.segments().collect();
        let (mut found, mut compared) = (None, 0);
        let mut segments = segments.iter().map(|(at, text)| (*at, &**text));
        self.index.about(&prefix, &suffix, &mut segments, |lines| {
            for &at in lines {
                compared += 1;
                let earlier = &self.lines[at as usize];
                let [wide, own] = [earlier.source, line.source].map(|source| source as usize);
                let same_source = wide == own || self.sources[wide].covers(&self.sources[own]);
                if same_source && earlier.name.covers(&line.name) {
                    found = Some(found.map_or(at, |found: u32| found.min(at)));
                    break;
                }
                if compared >= COMPARED_MAX {
                    return false;
                }
            }
            true
        });
        found
    }

    /// Sees to it that nothing is in two cells.
    fn place_tools(&self) -> Result<(), SourceError> {
        let mut cells: FxHashMap<&str, (&str, &Line)> = FxHashMap::default();
        for line in &self.lines {
            let Some((tool, cell)) = line.placed_tool() else { continue };
            let (known, first) = *cells.entry(tool).or_insert((cell, line));
            if known != cell {
                return Err(SourceError::Table(format!(
                    "{}: `{tool}` is in cell `{cell}` here and in `{known}` at {}; a tool is in one cell",
                    self.place(line),
                    self.place(first)
                )));
            }
        }
        Ok(())
    }
}

/// Counts lines, also those that are empty.
struct Counted<'a> {
    text: &'a [u8],
    line: u32,
    at: usize,
}

impl Counted<'_> {
    /// The line of the record that begins at a place, or after ends of lines there. Places do not go back.
    fn to(&mut self, place: usize) -> u32 {
        let ends = self.text.iter().skip(place).take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        let upto = (place + ends).min(self.text.len());
        let passed = self.text.get(self.at..upto).unwrap_or_default();
        self.line += passed.iter().filter(|byte| **byte == b'\n').count() as u32;
        self.at = self.at.max(upto);
        self.line
    }
}

/// Columns that a discovery adds for whoever completes the table; they mean nothing here.
const REMARKS: [&str; 2] = ["datatype", "example"];

/// Where each column stands.
fn header(names: &csv::StringRecord) -> Result<[Option<usize>; COLUMNS.len()], String> {
    let mut places = [None; COLUMNS.len()];
    for (at, name) in names.iter().enumerate() {
        let name = name.trim_start_matches('\u{feff}');
        if REMARKS.contains(&name) {
            continue;
        }
        let Some(column) = COLUMNS.iter().position(|column| *column == name) else {
            return Err(format!("`{name}` is no column; there are: {}", COLUMNS.join(", ")));
        };
        if places[column].replace(at).is_some() {
            return Err(format!("the column `{name}` stands twice; remove one"));
        }
    }
    match places[1] {
        Some(_) => Ok(places),
        None => Err(format!("the header has no column `name`; there are: {}", COLUMNS.join(", "))),
    }
}

impl Line {
    /// Tool and cell, where both are literal.
    fn placed_tool(&self) -> Option<(&str, &str)> {
        let (tool, cell) = (self.columns.tool.literal()?, self.columns.cell.literal()?);
        (!tool.is_empty() && !cell.is_empty()).then_some((tool, cell))
    }

    fn named(&self, line: u32, name: &str, captured: &[(u32, u32)]) -> Named {
        let own = |at: usize| captured.get(at).map_or("", |&(from, to)| &name[from as usize..to as usize]);
        let columns = &self.columns;
        let site = columns.site.fill(own);
        // The word after those of the pattern is `site`.
        let word = |at: usize| if at < captured.len() { own(at) } else { &*site };
        Named {
            line,
            area: columns.area.fill(word),
            cell: columns.cell.fill(word),
            tool: columns.tool.fill(word),
            chamber: columns.chamber.fill(word),
            signal: columns.signal.fill(word),
            unit: columns.unit.fill(word),
            from_unit: columns.from_unit.fill(word),
            class: columns.class.fill(word),
            context: columns.context.fill(word),
        }
    }
}

/// Lines by what is fixed in their patterns. Those of one list are in their order.
#[derive(Debug, Default)]
struct Index {
    whole: FxHashMap<Box<str>, Vec<u32>>,
    prefixes: FxHashMap<Box<str>, Vec<u32>>,
    suffixes: FxHashMap<Box<str>, Vec<u32>>,
    /// By length, so that only those lengths are looked up that there are.
    prefix_lengths: Vec<usize>,
    suffix_lengths: Vec<usize>,
    segments: FxHashMap<u16, FxHashMap<Box<str>, Vec<u32>>>,
}

impl Index {
    fn add(&mut self, anchor: Anchor, line: u32) {
        fn note(lengths: &mut Vec<usize>, length: usize) {
            if let Err(at) = lengths.binary_search(&length) {
                lengths.insert(at, length);
            }
        }
        let lines = match anchor {
            Anchor::Whole(name) => self.whole.entry(name).or_default(),
            Anchor::Prefix(prefix) => {
                note(&mut self.prefix_lengths, prefix.len());
                self.prefixes.entry(prefix).or_default()
            }
            Anchor::Suffix(suffix) => {
                note(&mut self.suffix_lengths, suffix.len());
                self.suffixes.entry(suffix).or_default()
            }
            Anchor::Segment(at, segment) => self.segments.entry(at).or_default().entry(segment).or_default(),
        };
        lines.push(line);
    }

    /// Hands over the lines that may match something that begins and ends so and has these segments, until
    /// `take` has seen enough.
    fn about(
        &self,
        prefix: &str,
        suffix: &str,
        segments: &mut dyn Iterator<Item = (u16, &str)>,
        mut take: impl FnMut(&[u32]) -> bool,
    ) {
        let mut offer = |lines: Option<&Vec<u32>>| lines.is_none_or(|lines| take(lines));
        if !offer(self.whole.get(prefix)) {
            return;
        }
        for &length in self.prefix_lengths.iter().take_while(|length| **length <= prefix.len()) {
            if prefix.is_char_boundary(length) && !offer(self.prefixes.get(&prefix[..length])) {
                return;
            }
        }
        for &length in self.suffix_lengths.iter().take_while(|length| **length <= suffix.len()) {
            let at = suffix.len() - length;
            if suffix.is_char_boundary(at) && !offer(self.suffixes.get(&suffix[at..])) {
                return;
            }
        }
        if self.segments.is_empty() {
            return;
        }
        for (at, text) in segments {
            if !offer(self.segments.get(&at).and_then(|texts| texts.get(text))) {
                return;
            }
        }
    }
}

/// What the tables say of names that a source has.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct Report {
    /// Names that a line has, and what they become.
    pub mapped: Vec<Mapped>,
    /// Names that no line has.
    pub unmapped: Vec<String>,
    /// Lines for this collector that match none of the names.
    pub unused: Vec<LinePlace>,
    /// Lines that can never match.
    pub covered: Vec<Covered>,
}

/// A name and how the plant calls it.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[expect(missing_docs, reason = "the columns of the table")]
pub struct Mapped {
    pub name: String,
    pub cell: String,
    pub tool: String,
    pub chamber: String,
    pub signal: String,
    pub unit: String,
    pub class: String,
    pub context: String,
    /// What is wrong with it, or empty: a unit that does not become the plant's.
    pub problem: String,
}

/// Looks up the names that a collector's source has, as [`super::Signals`] would.
pub fn check<'a>(
    table: &NameTable,
    collector: &str,
    names: impl IntoIterator<Item = super::Given<'a>>,
) -> Report {
    let sources = table.sources_of(collector);
    let mut report = Report { covered: table.covered.clone(), ..Report::default() };
    let mut used = FxHashSet::default();
    for given in names {
        match table.find(&sources, given.name) {
            None => report.unmapped.push(given.name.into()),
            Some(named) => {
                used.insert(named.line);
                let resolved = super::resolve(collector, &given, Some(named));
                report.mapped.push(Mapped {
                    name: given.name.into(),
                    cell: resolved.cell,
                    tool: resolved.tool,
                    chamber: resolved.chamber,
                    signal: resolved.signal,
                    problem: match resolved.conversion {
                        Some(_) => String::new(),
                        None => format!(
                            "values in `{}` do not become values in `{}`",
                            resolved.from, resolved.unit
                        ),
                    },
                    unit: resolved.unit,
                    class: resolved.class,
                    context: resolved.context,
                });
            }
        }
    }
    let unused = table.lines_of(&sources).filter(|(at, _)| !used.contains(at));
    report.unused = unused.map(|(_, place)| place).collect();
    report
}

impl std::fmt::Display for Report {
    /// A paragraph for people: what is missing first.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut out = String::new();
        let _ = writeln!(out, "{} names mapped, {} not", self.mapped.len(), self.unmapped.len());
        for name in &self.unmapped {
            let _ = writeln!(out, "not mapped: {name}");
        }
        for mapped in self.mapped.iter().filter(|mapped| !mapped.problem.is_empty()) {
            let _ = writeln!(out, "{}: {}", mapped.name, mapped.problem);
        }
        for covered in &self.covered {
            let _ =
                writeln!(out, "{}: can never match: {} matches all that it would", covered.line, covered.by);
        }
        for place in &self.unused {
            let _ = writeln!(out, "{place}: matches no name");
        }
        f.write_str(&out)
    }
}
