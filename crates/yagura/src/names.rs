//! `discover` and `names`: how sources call their signals, and how the plant does.

use std::io::{BufRead as _, Write as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use serde_json::{Map, Value, json};
use yagura_collect::discover::{self, Found};
use yagura_collect::names::{self, Given};
use yagura_collect::sources::CollectorConfig;

use crate::config::Config;
use crate::say::say;
use crate::{Failure, Format, plant};

/// Arguments of `discover`.
#[derive(Args)]
#[command(after_help = DISCOVER_HELP)]
pub struct DiscoverArguments {
    /// A collector of the configuration, or a kind: opcua, secs, mqtt.
    what: String,
    /// Settings of the source, where a kind is given: `endpoint=opc.tcp://etch-01:4840`. Values are YAML.
    #[arg(value_name = "KEY=VALUE")]
    settings: Vec<Setting>,
    /// The configuration file, where a collector is given.
    #[arg(long, short)]
    config: Option<PathBuf>,
    /// How long to listen to a source that cannot be asked, in seconds.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Write the table there, and not to standard output.
    #[arg(long, short)]
    output: Option<PathBuf>,
    /// Write there what numbers in messages are called, for `dictionaries`.
    #[arg(long)]
    dictionary: Option<PathBuf>,
}

const DISCOVER_HELP: &str = help!(
    "  yagura discover -c yagura.yaml etch-bay -o names.csv       what a collector's source offers
  yagura discover opcua endpoint=opc.tcp://etch-01:4840 security=None browse={}
  yagura discover mqtt brokers='[{address: \"broker:1883\"}]' --seconds 120
  yagura discover secs exclusive_session=true equipment='[{name: ETCH-07, address: \"etch-07:5000\"}]' --dictionary etch.csv

Nothing is written to the source; questions are few and slow."
);

/// One `KEY=VALUE`.
#[derive(Clone)]
struct Setting(String, Value);

impl FromStr for Setting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (key, value) = text.split_once('=').ok_or("write KEY=VALUE")?;
        let value = serde_saphyr::from_str(value).map_err(|e| format!("{key}: {}", e.without_snippet()))?;
        Ok(Setting(key.to_string(), value))
    }
}

/// Asks a source for its names and writes a first table of them.
pub fn discover(arguments: &DiscoverArguments, format: Format) -> Result<(), Failure> {
    let (config, collector) = match &arguments.config {
        Some(file) => {
            let config = Config::load(file)?;
            let collector = of_config(&config, &arguments.what)?;
            (Some(config), collector)
        }
        None => (None, of_kind(&arguments.what, &arguments.settings)?),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let plant = plant::plant(&config.clone().unwrap_or_default(), runtime.handle())?;
    let folder = config.as_ref().map_or(Path::new(""), |config| &config.folder);
    let wait = Duration::from_secs(arguments.seconds);
    let found = discover::run(&collector, wait, folder, &plant).map_err(|e| Failure::Input(e.to_string()))?;
    write(&found, &collector.name, arguments, format)
}

fn write(
    found: &Found,
    collector: &str,
    arguments: &DiscoverArguments,
    format: Format,
) -> Result<(), Failure> {
    if let Some(file) = &arguments.dictionary {
        let mut csv = Vec::new();
        found.write_dictionary(&mut csv)?;
        save(file, &csv)?;
    }
    let mut csv = Vec::new();
    found.write(collector, &mut csv)?;
    match (&arguments.output, format) {
        (Some(file), _) => {
            save(file, &csv)?;
            let said = format!("{} signals of {collector} in {}", found.lines.len(), file.display());
            match format {
                Format::Text => say!("{said}"),
                Format::Json => say!("{}", json!({"signals": found.lines.len(), "notes": found.notes})),
            }
        }
        (None, Format::Text) => std::io::stdout().write_all(&csv)?,
        (None, Format::Json) => {
            for line in &found.lines {
                say!("{}", serde_json::to_value(line)?);
            }
        }
    }
    for note in &found.notes {
        tell(note);
    }
    Ok(())
}

fn save(file: &Path, text: &[u8]) -> Result<(), Failure> {
    std::fs::write(file, text)
        .map_err(|e| Failure::Input(format!("{}: cannot be written: {e}", file.display())))
}

#[expect(clippy::print_stderr, reason = "what stands beside the table")]
fn tell(note: &str) {
    eprintln!("{note}");
}

fn of_config(config: &Config, name: &str) -> Result<CollectorConfig, Failure> {
    let found = config.collectors.iter().find(|collector| collector.name == name);
    found.cloned().ok_or_else(|| {
        let all: Vec<&str> = config.collectors.iter().map(|c| c.name.as_str()).collect();
        Failure::Input(format!("there is no collector `{name}`; the configuration has: {}", all.join(", ")))
    })
}

fn of_kind(kind: &str, settings: &[Setting]) -> Result<CollectorConfig, Failure> {
    // What people call it.
    let kind = if kind == "secs" { "hsms" } else { kind };
    let mut all: Map<String, Value> =
        settings.iter().map(|Setting(key, value)| (key.clone(), value.clone())).collect();
    all.insert("name".into(), kind.into());
    all.insert("kind".into(), kind.into());
    CollectorConfig::new(Value::Object(all)).map_err(Failure::Input)
}

/// Arguments of `names`.
#[derive(Args)]
#[command(after_help = NAMES_HELP)]
pub struct NamesArguments {
    /// The collector whose source has the names.
    collector: String,
    /// The configuration file; its `names` are the tables.
    #[arg(long, short)]
    config: PathBuf,
    /// A file of names, one a line, with the unit after a tab; standard input without one.
    file: Option<PathBuf>,
}

const NAMES_HELP: &str = help!(
    "  yagura names -c yagura.yaml etch-bay names.txt     what each name becomes, and which no table has
  yagura tap events -c yagura.yaml --kind coverage --where \"event = 'unknown'\"   those that came without a name"
);

/// Looks names up in the configuration's tables.
pub fn check(arguments: &NamesArguments, format: Format) -> Result<(), Failure> {
    let config = Config::load(&arguments.config)?;
    let table = plant::names(&config)?;
    let input: Box<dyn std::io::BufRead> = match &arguments.file {
        None => Box::new(std::io::stdin().lock()),
        Some(file) => Box::new(std::io::BufReader::new(
            std::fs::File::open(file)
                .map_err(|e| Failure::Input(format!("{}: cannot be read: {e}", file.display())))?,
        )),
    };
    let lines: Vec<String> = input.lines().collect::<Result<_, _>>()?;
    let given = lines.iter().filter(|line| !line.is_empty()).map(|line| {
        let (name, unit) = line.split_once('\t').unwrap_or((line, ""));
        Given { name, unit, ..Given::default() }
    });
    let report = names::check(&table, &arguments.collector, given);
    match format {
        Format::Text => say!("{report}"),
        Format::Json => say!("{}", serde_json::to_value(&report)?),
    }
    Ok(())
}
