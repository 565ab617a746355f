//! `baseline`: what detections have learned, shown, compared, signed and approved.
//!
//! The state is that of the newest snapshots and of what the log holds after them; a decision is a record
//! in the cell. Before one is written the cell's shard is offered it here: what would be refused is refused
//! with its reason, and nothing is written.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};
use yagura_detect::baseline::decision::Decision;
use yagura_detect::baseline::signature::KeyPair;
use yagura_detect::baseline::{ALL_CELLS, Document};
use yagura_detect::operators::Which;
use yagura_detect::worker::EVENTS;
use yagura_event::clock;

use crate::config::Config;
use crate::say::say;
use crate::{Failure, Format, handed};

mod cells;
mod shown;

use cells::{Cell, Cells};

/// Arguments of `baseline`.
#[derive(Args)]
#[command(after_help = HELP)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const HELP: &str = help!(
    "  yagura baseline keygen fab.key                       make a key; name its public half in `baselines`
  yagura baseline list -c yagura.yaml                  how far learning has got, and what is in force
  yagura baseline diff -c yagura.yaml -d drift         what approving would change
  yagura baseline approve -c yagura.yaml -d drift -k fab.key    sign it and put it in force
  yagura baseline rollback -c yagura.yaml -d drift --to 2       version 2 is in force again
  yagura baseline export -c yagura.yaml -d drift -o drift.jsonl
  yagura baseline import -c yagura.yaml drift.jsonl -k fab.key  sign a file and put it in force
  yagura baseline maintain -c yagura.yaml tool=ETCH-07          its levels are learned anew"
);

#[derive(Subcommand)]
enum Command {
    /// Make a signing key (Ed25519, PKCS#8 in PEM) and print its public half.
    Keygen {
        /// The file to make; it must not be there.
        file: PathBuf,
    },
    /// How far each detection's learning has got in each cell, and its versions.
    List(Of),
    /// Print the entries of a version.
    Show {
        #[command(flatten)]
        of: One,
        /// `proposed`, `in-force` or a version's number.
        #[arg(long, default_value = "in-force")]
        version: At,
    },
    /// What differs between two versions: what approving would change, without a choice.
    Diff {
        #[command(flatten)]
        of: One,
        /// `proposed`, `in-force` or a version's number.
        #[arg(long, default_value = "in-force")]
        from: At,
        /// `proposed`, `in-force` or a version's number.
        #[arg(long, default_value = "proposed")]
        to: At,
        /// Leave out levels and deviations that moved by fewer deviations than this.
        #[arg(long, default_value_t = 0.5)]
        least: f64,
    },
    /// Put what was learned in force.
    Approve {
        #[command(flatten)]
        of: One,
        #[command(flatten)]
        by: By,
    },
    /// Put an earlier version in force again.
    Rollback {
        #[command(flatten)]
        of: One,
        /// The version's number.
        #[arg(long)]
        to: u32,
        #[command(flatten)]
        by: By,
    },
    /// Write a version as a file.
    Export {
        #[command(flatten)]
        of: One,
        /// `proposed`, `in-force` or a version's number.
        #[arg(long, default_value = "proposed")]
        version: At,
        /// Sign it with this key.
        #[arg(long, short)]
        key: Option<PathBuf>,
        /// The file; standard output without one.
        #[arg(long, short)]
        output: Option<PathBuf>,
    },
    /// Put a file's baseline in force.
    Import {
        /// The configuration file.
        #[arg(long, short)]
        config: PathBuf,
        /// The file.
        file: PathBuf,
        /// In this cell; without one in the file's, or in all that there are.
        #[arg(long)]
        cell: Option<String>,
        #[command(flatten)]
        by: By,
    },
    /// Record maintenance: the levels of these keys are learned anew.
    Maintain {
        #[command(flatten)]
        of: Of,
        /// What a key is of, as NAME=VALUE: tool=ETCH-07 chamber=A.
        #[arg(required = true, value_parser = crate::pair)]
        keys: Vec<(String, String)>,
        #[command(flatten)]
        by: By,
    },
}

#[derive(Args)]
struct Of {
    /// The configuration file of the run whose log it is.
    #[arg(long, short)]
    config: PathBuf,
    /// Only this detection.
    #[arg(long, short)]
    detection: Option<String>,
    /// Only this cell.
    #[arg(long)]
    cell: Option<String>,
}

#[derive(Args)]
struct One {
    /// The configuration file of the run whose log it is.
    #[arg(long, short)]
    config: PathBuf,
    /// The detection.
    #[arg(long, short)]
    detection: String,
    /// The cell; all that have learned something without one.
    #[arg(long)]
    cell: Option<String>,
}

#[derive(Args)]
struct By {
    /// Sign with this key.
    #[arg(long, short)]
    key: Option<PathBuf>,
    /// Who decides it, for the record.
    #[arg(long, env = "USER", default_value = "unknown")]
    author: String,
}

/// Which state of a baseline.
#[derive(Clone, Copy)]
enum At {
    Proposed,
    InForce,
    Number(u32),
}

impl std::str::FromStr for At {
    type Err = String;

    fn from_str(text: &str) -> Result<At, String> {
        match text {
            "proposed" => Ok(At::Proposed),
            "in-force" => Ok(At::InForce),
            number => number.parse().map(At::Number).map_err(|_| {
                format!("`{text}` is no version; write proposed, in-force or a number of `baseline list`")
            }),
        }
    }
}

/// Does what is asked.
pub fn run(arguments: &Arguments, format: Format) -> Result<(), Failure> {
    match &arguments.command {
        Command::Keygen { file } => keygen(file, format),
        Command::List(of) => {
            let cells = Cells::read(&Config::load(&of.config)?)?;
            let chosen = cells.chosen(of.detection.as_deref(), of.cell.as_deref())?;
            shown::list(&chosen, of.detection.as_deref(), format)
        }
        Command::Show { of, version } => {
            let cells = Cells::read(&Config::load(&of.config)?)?;
            for cell in cells.chosen(Some(&of.detection), of.cell.as_deref())? {
                shown::document(&document(cell, &of.detection, *version)?, format)?;
            }
            Ok(())
        }
        Command::Diff { of, from, to, least } => {
            let cells = Cells::read(&Config::load(&of.config)?)?;
            for cell in cells.chosen(Some(&of.detection), of.cell.as_deref())? {
                let (from, to) = (document(cell, &of.detection, *from)?, document(cell, &of.detection, *to)?);
                shown::difference(&from, &to, *least, format);
            }
            Ok(())
        }
        Command::Approve { of, by } => approve(of, by, format),
        Command::Rollback { of, to, by } => {
            let config = Config::load(&of.config)?;
            let mut cells = Cells::read(&config)?;
            let names = cells.names(Some(&of.detection), of.cell.as_deref())?;
            let decision = Decision::BackTo { detection: &of.detection, version: *to };
            decide(&config, &mut cells, names.iter().map(|name| (name.as_str(), &decision)), by, format)
        }
        Command::Export { of, version, key, output } => {
            export(of, *version, key.as_deref(), output.as_deref())
        }
        Command::Import { config, file, cell, by } => import(config, file, cell.as_deref(), by, format),
        Command::Maintain { of, keys, by } => {
            let config = Config::load(&of.config)?;
            let mut cells = Cells::read(&config)?;
            let names = cells.names(of.detection.as_deref(), of.cell.as_deref())?;
            let keys: Map<String, Value> = keys.iter().map(|(n, v)| (n.clone(), v.as_str().into())).collect();
            let detection = of.detection.as_deref().unwrap_or("*");
            let decision = Decision::Maintenance { detection, keys: &keys };
            decide(&config, &mut cells, names.iter().map(|name| (name.as_str(), &decision)), by, format)
        }
    }
}

fn keygen(file: &Path, format: Format) -> Result<(), Failure> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let wrong = |e: std::io::Error| {
        let file = file.display();
        Failure::Input(format!("{file}: cannot be made: {e}; name a file that is not there yet"))
    };
    let (pair, pem) = KeyPair::generate().map_err(|e| Failure::Failed(anyhow::anyhow!(e)))?;
    let made = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    let mut made = made.map_err(wrong)?;
    made.write_all(pem.as_bytes()).and_then(|()| made.sync_all()).map_err(wrong)?;
    let public = pair.public().to_string();
    match format {
        Format::Json => say!("{}", json!({"file": file, "public": public})),
        Format::Text => say!(
            "{}: keep it secret\nbaselines:\n  trusted:\n    - {{ name: somebody, key: \"{public}\" }}",
            file.display()
        ),
    }
    Ok(())
}

fn read_key(file: &Path) -> Result<KeyPair, Failure> {
    let wrong = |e: String| Failure::Input(format!("{}: {e}", file.display()));
    let pem = std::fs::read_to_string(file)
        .map_err(|e| wrong(format!("cannot be read: {e}; `yagura baseline keygen` makes one")))?;
    KeyPair::read(&pem).map_err(wrong)
}

/// A version of a detection's baseline in a cell.
fn document(cell: &Cell, detection: &str, at: At) -> Result<Document, Failure> {
    let wrong = |what: String| Failure::Input(format!("{} {detection}: {what}", cell.shard.cell()));
    let learned = |which| {
        let learned = cell.shard.learned(detection, which);
        learned.ok_or_else(|| wrong("nothing is learned here; `yagura baseline list` says where".into()))
    };
    let number = match at {
        At::Proposed => return learned(Which::Proposed),
        At::InForce => {
            // As it was signed, unless maintenance moved a level since.
            let history = cell.history(detection);
            match history.in_force() {
                Some(version) if version.document.is_some() => version.number,
                _ => return learned(Which::InForce),
            }
        }
        At::Number(number) => number,
    };
    let history = cell.history(detection);
    let version = history.version(number);
    let text = version.and_then(|version| version.document.as_ref()).ok_or_else(|| {
        wrong(format!(
            "version {number} is not kept, or has no document; `yagura baseline list` shows those that are"
        ))
    })?;
    Document::read(text.as_str()).map_err(|e| wrong(format!("version {number}: {e}")))
}

fn approve(of: &One, by: &By, format: Format) -> Result<(), Failure> {
    let key = by.key.as_deref().map(read_key).transpose()?;
    let config = Config::load(&of.config)?;
    let mut cells = Cells::read(&config)?;
    let mut documents = BTreeMap::new();
    for cell in cells.chosen(Some(&of.detection), of.cell.as_deref())? {
        let mut document = document(cell, &of.detection, At::Proposed)?;
        if let Some(key) = &key {
            document.sign(key);
        }
        if !document.entries.is_empty() {
            documents.insert(cell.shard.cell().to_string(), document);
        }
    }
    if documents.is_empty() {
        let detection = &of.detection;
        return Err(Failure::Input(format!(
            "{detection}: there is nothing to approve: no key has its warm-up samples yet; `yagura baseline list` says how far it is"
        )));
    }
    let decisions: Vec<_> =
        documents.iter().map(|(cell, document)| (cell.as_str(), Decision::PutInForce(document))).collect();
    let all = decisions.iter().map(|(cell, decision)| (*cell, decision));
    decide(&config, &mut cells, all, by, format)
}

fn export(of: &One, at: At, key: Option<&Path>, output: Option<&Path>) -> Result<(), Failure> {
    let key = key.map(read_key).transpose()?;
    let cells = Cells::read(&Config::load(&of.config)?)?;
    let wanted = of.cell.as_deref().filter(|cell| *cell != ALL_CELLS);
    let mut documents = Vec::new();
    for cell in cells.chosen(Some(&of.detection), wanted)? {
        documents.push(document(cell, &of.detection, at)?);
    }
    let one = documents.len() == 1 && of.cell.as_deref() != Some(ALL_CELLS);
    let mut document = match (one, documents.pop()) {
        (true, Some(document)) => document,
        (_, last) => Document::merged(documents.into_iter().chain(last).collect())
            .map_err(|e| Failure::Input(format!("{}: {e} with --cell", of.detection)))?,
    };
    if let Some(key) = &key {
        document.sign(key);
    }
    let text = document.text();
    match output {
        None => say!("{}", text.trim_end()),
        Some(file) => {
            std::fs::write(file, text)
                .map_err(|e| Failure::Input(format!("{}: cannot be written: {e}", file.display())))?;
        }
    }
    Ok(())
}

fn import(config: &Path, file: &Path, cell: Option<&str>, by: &By, format: Format) -> Result<(), Failure> {
    let wrong = |e: String| Failure::Input(format!("{}: {e}", file.display()));
    let key = by.key.as_deref().map(read_key).transpose()?;
    let text = std::fs::read_to_string(file)
        .map_err(|e| wrong(format!("cannot be read: {e}; `yagura baseline export` writes one")))?;
    let mut document = Document::read(&text).map_err(|e| wrong(e.to_string()))?;
    if let Some(key) = &key {
        document.sign(key);
    }
    let config = Config::load(config)?;
    let mut cells = Cells::read(&config)?;
    let own = Some(document.header.cell.as_str()).filter(|cell| *cell != ALL_CELLS);
    let names = match cell.or(own) {
        Some(cell) => {
            cells.welcome(cell);
            vec![cell.to_string()]
        }
        None => cells.names(Some(&document.header.detection), None)?,
    };
    let decision = Decision::PutInForce(&document);
    decide(&config, &mut cells, names.iter().map(|name| (name.as_str(), &decision)), by, format)
}

/// Offers the decisions to the cells; writes them if none is refused.
fn decide<'a>(
    config: &Config,
    cells: &mut Cells,
    decisions: impl Iterator<Item = (&'a str, &'a Decision<'a>)>,
    by: &By,
    format: Format,
) -> Result<(), Failure> {
    let now = clock::now();
    let (mut records, mut touched, mut refused) = (Vec::new(), Vec::new(), Vec::new());
    for (name, decision) in decisions {
        let Some(cell) = cells.get_mut(name) else { continue };
        let before = cell.summary();
        for record in decision.records(name, &by.author, now) {
            let offset = cell.shard.next_offset().max(cell.end);
            let refusals = cell.shard.step(offset, &record).refused;
            refused.extend(refusals.into_iter().map(|r| format!("{name} {}: {}", r.detection, r.reason)));
            records.push(record);
        }
        touched.push((name.to_string(), before));
    }
    if !refused.is_empty() {
        refused.push("nothing was written; what was in force stays so".into());
        return Err(Failure::Input(refused.join("\n")));
    }
    let changes: Vec<(&Cell, String)> = touched
        .iter()
        .filter_map(|(name, before)| cells.get(name).map(|cell| (cell, before)))
        .flat_map(|(cell, before)| cell.changed_since(before).into_iter().map(move |id| (cell, id)))
        .collect();
    if changes.is_empty() {
        return Err(Failure::Input(
            "nothing is judged that this would change, so nothing was written; `yagura baseline list` shows what there is".into(),
        ));
    }
    let waits = handed::write(config, &[(EVENTS, &records)])?;
    shown::decided(&changes, waits, format);
    Ok(())
}
