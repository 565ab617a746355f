//! `read`: what captures hold, as a table, JSON lines or Parquet.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use anyhow::Context;
use arrow::array::{
    ArrayRef, Float64Builder, RecordBatch, StringBuilder, StringDictionaryBuilder,
    TimestampMicrosecondBuilder, UInt8Builder,
};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, Int32Type, Schema, SchemaRef};
use clap::{Args, ValueEnum};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use yagura_capture::live::LiveOptions;
use yagura_capture::{
    Engine, EngineOptions, FileSummary, Limits, PacketFile, Stats, read_file, read_packets,
};
use yagura_collect::sources::interface;
use yagura_collect::{PlacedSink, dictionary};
use yagura_detect::{Compiler, Condition};
use yagura_dissect::Settings;
use yagura_event::rows::{
    ContextBuilder, CoverageBuilder, FlowBuilder, IdentityBuilder, LogBuilder, MeasuredRow, MessageBuilder,
    Row, RowSink,
};
use yagura_event::schema::{dictionary_type, timestamp_type};
use yagura_event::{AssetTable, Kind, clock, codec};
use yagura_sql::SqlCompiler;

use crate::run::listen_for_signals;
use crate::{Failure, Format};

/// Rows at which a batch of a file's rows is written.
const BATCH_ROWS: usize = 8192;
/// Longest text of a cell in the table; the whole is in JSON lines.
const CELL_CHARS: usize = 60;

/// Arguments of `read`.
#[derive(Args)]
#[command(after_help = HELP)]
pub struct Arguments {
    /// Capture files (pcap, pcapng); `-` is standard input.
    #[arg(required_unless_present = "interface")]
    files: Vec<PathBuf>,
    /// Read packets of this network interface as they come, until SIGINT or the limit; may be given
    /// again for another one. For a program that was built with `--features pcap`.
    #[arg(long, short, conflicts_with = "files")]
    interface: Vec<String>,
    /// Only packets for which this filter holds, in the language of pcap-filter(7).
    #[arg(long, requires = "interface")]
    filter: Option<String>,
    /// What to print.
    #[arg(long, value_enum, default_value = "message")]
    kind: Shown,
    /// Only rows for which this SQL condition over the kind's columns holds.
    #[arg(long = "where")]
    condition: Option<String>,
    /// These columns only, in this order.
    #[arg(long, value_delimiter = ',')]
    columns: Vec<String>,
    /// End after so many rows.
    #[arg(long)]
    limit: Option<u64>,
    /// Write the rows to this Parquet file instead of printing them.
    #[arg(long)]
    parquet: Option<PathBuf>,
    /// File with the names of variables, events and alarms: an equipment data dictionary (SEDD,
    /// SEMI E172) or CSV; may be given several times.
    #[arg(long)]
    dictionary: Vec<PathBuf>,
    /// File with the plant's key for hashes of recipe bodies; without it they have an empty key.
    #[arg(long)]
    plant_key_file: Option<PathBuf>,
}

const HELP: &str = help!(
    "  yagura read cell.pcap
  yagura read day-*.pcapng --where \"operation LIKE 'recipe.%'\" --format json
  yagura read cell.pcap --kind flow --columns client,server,server_port,protocol
  yagura read cell.pcap --kind sample --parquet values.parquet
  tcpdump -w - -i eth1 | yagura read -
  yagura read --interface eth1 --interface eth2 --filter 'not port 22'"
);

/// What can be printed.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Shown {
    /// Exchanges of application protocols.
    Message,
    /// Connections and conversations.
    Flow,
    /// Process values on the wire.
    Sample,
    /// What devices say they are.
    Identity,
    /// Log events.
    Log,
    /// Lot, recipe and step in process.
    Context,
    /// What was not seen or could not be read.
    Coverage,
}

impl Shown {
    fn schema(self) -> SchemaRef {
        match self {
            Shown::Message => Kind::Message.schema(),
            Shown::Flow => Kind::Flow.schema(),
            Shown::Sample => values_schema(),
            Shown::Identity => Kind::Identity.schema(),
            Shown::Log => Kind::Log.schema(),
            Shown::Context => Kind::Context.schema(),
            Shown::Coverage => Kind::Coverage.schema(),
        }
    }

    /// The columns of the table unless others are asked for.
    fn table(self) -> &'static [&'static str] {
        match self {
            Shown::Message => &[
                "time",
                "protocol",
                "client",
                "server",
                "operation",
                "function",
                "target",
                "values",
                "status",
                "status_code",
            ],
            Shown::Flow => &[
                "time",
                "transport",
                "protocol",
                "client",
                "client_port",
                "server",
                "server_port",
                "client_bytes",
                "server_bytes",
                "state",
            ],
            Shown::Sample => &["time", "tool", "chamber", "signal", "value", "unit"],
            Shown::Identity => {
                &["time", "address", "protocol", "vendor", "model", "firmware", "serial", "name"]
            }
            Shown::Log => &["time", "tool", "category", "event", "user", "description"],
            Shown::Context => &["time", "tool", "chamber", "name", "value", "source"],
            Shown::Coverage => &["time", "event", "subject", "count", "detail"],
        }
    }
}

/// Reads the files and prints.
pub fn run(arguments: &Arguments, format: Format) -> Result<(), Failure> {
    let mut printer = Printer::new(arguments, format)?;
    let dictionary = dictionary::read(&arguments.dictionary).map_err(|e| Failure::Input(e.to_string()))?;
    let mut settings = Settings { dictionary, ..Settings::default() };
    if let Some(file) = &arguments.plant_key_file {
        settings.plant_key = std::fs::read(file).map_err(|e| {
            Failure::Input(format!("{}: the plant's key cannot be read: {e}", file.display()))
        })?;
    }
    let options = EngineOptions {
        assets: Arc::new(AssetTable::default()),
        settings: Arc::new(settings),
        limits: Limits::default(),
    };
    if !arguments.interface.is_empty() {
        return follow(arguments, options, printer);
    }
    let mut engine = Engine::new(options);
    let mut broken = Vec::new();
    for file in &arguments.files {
        let summary = read_one(file, &mut engine, &mut printer)?;
        broken.extend(summary.error.map(|error| error.to_string()));
        if printer.is_done() {
            break;
        }
    }
    engine.finish(&mut printer);
    let written = printer.finish()?;
    tell(&engine.stats(), written, &broken);
    match broken.is_empty() {
        true => Ok(()),
        false => Err(anyhow::anyhow!(
            "{} of {} files could not be read to the end",
            broken.len(),
            arguments.files.len()
        )
        .into()),
    }
}

/// Prints what interfaces show, until a signal or until nothing more is wanted.
fn follow(arguments: &Arguments, options: EngineOptions, mut printer: Printer) -> Result<(), Failure> {
    let wanted = LiveOptions {
        interfaces: arguments.interface.clone(),
        filter: arguments.filter.clone().unwrap_or_default(),
        ..LiveOptions::default()
    };
    let mut source = interface::open("read", wanted, options).map_err(|e| Failure::Input(e.to_string()))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let signal = Arc::new(AtomicBool::new(false));
    listen_for_signals(&runtime, Arc::clone(&signal));
    while !signal.load(Ordering::Acquire) && !printer.is_done() {
        source.advance(Duration::from_millis(200), &mut printer);
    }
    source.finish(&mut printer);
    let written = printer.finish()?;
    let seen = source.seen();
    let lost = match seen.dropped {
        0 => Vec::new(),
        dropped => vec![format!("{dropped} packets were dropped; `--kind coverage` says where")],
    };
    tell(&seen.stats, written, &lost);
    Ok(())
}

fn read_one(file: &Path, engine: &mut Engine, printer: &mut Printer) -> Result<FileSummary, Failure> {
    let progress = io::stderr().is_terminal() && (printer.is_parquet() || !io::stdout().is_terminal());
    let name = file.display().to_string();
    let told = |position: u64, size: u64| {
        if progress && size > 0 {
            show_progress(&name, position * 100 / size);
        }
    };
    if file.as_os_str() == "-" {
        return match PacketFile::from_reader("standard input", Box::new(io::stdin()), 0) {
            Ok(packets) => Ok(read_packets("standard input", packets, engine, printer, told)),
            Err(error) => Err(Failure::Input(error.to_string())),
        };
    }
    if let Err(cause) = File::open(file) {
        return Err(Failure::Input(format!("{}: cannot be opened: {cause}", file.display())));
    }
    Ok(read_file(file, engine, printer, told))
}

#[expect(clippy::print_stderr, reason = "progress for people")]
fn show_progress(name: &str, percent: u64) {
    eprint!("\r\x1b[K{name}: {percent} %");
}

/// What was read, and what was not, on standard error: the rows are on standard output.
#[expect(clippy::print_stderr, reason = "beside the rows")]
fn tell(stats: &Stats, written: u64, broken: &[String]) {
    let named: Vec<String> = stats.messages.iter().map(|(name, n)| format!("{name} {n}")).collect();
    let clear = if io::stderr().is_terminal() { "\r\x1b[K" } else { "" };
    eprintln!(
        "{clear}{written} rows of {} packets, {} connections; messages: {}",
        stats.packets,
        stats.flows,
        match named.is_empty() {
            true => "none".to_string(),
            false => named.join(", "),
        }
    );
    if stats.malformed + stats.gaps + stats.malformed_streams > 0 {
        eprintln!(
            "not read: {} malformed packets, {} gaps of {} bytes, {} streams given up; `--kind coverage` says where",
            stats.malformed, stats.gaps, stats.gap_bytes, stats.malformed_streams
        );
    }
    for error in broken {
        eprintln!("{error}");
    }
}

/// Takes rows of one kind and writes them where they are wanted.
struct Printer {
    shown: Shown,
    condition: Option<Arc<dyn Condition>>,
    /// Positions of the columns to write; all without any.
    columns: Vec<usize>,
    left: u64,
    written: u64,
    /// Rows at which a batch is written: one where somebody may watch a pipe.
    batch_rows: usize,
    output: Output,
    error: Option<anyhow::Error>,
    message: MessageBuilder,
    flow: FlowBuilder,
    value: Values,
    identity: IdentityBuilder,
    log: LogBuilder,
    context: ContextBuilder,
    coverage: CoverageBuilder,
}

enum Output {
    Table(BufWriter<io::Stdout>),
    Lines(BufWriter<io::Stdout>),
    Parquet(Box<ArrowWriter<File>>),
}

impl Printer {
    fn new(arguments: &Arguments, format: Format) -> Result<Self, Failure> {
        let schema = arguments.kind.schema();
        let name = arguments.kind.to_possible_value().map(|v| v.get_name().to_string()).unwrap_or_default();
        let condition = match &arguments.condition {
            None => None,
            Some(sql) => Some(
                SqlCompiler::default()
                    .compile_over(&name, &schema, sql)
                    .map_err(|e| Failure::Input(format!("--where: {e}")))?,
            ),
        };
        let to_table = arguments.parquet.is_none() && format == Format::Text;
        let wanted: Vec<&str> = match (arguments.columns.is_empty(), to_table) {
            (false, _) => arguments.columns.iter().map(String::as_str).collect(),
            (true, true) => arguments.kind.table().to_vec(),
            (true, false) => Vec::new(),
        };
        let mut columns = Vec::new();
        for column in wanted {
            columns.push(schema.index_of(column).map_err(|_| {
                let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
                Failure::Input(format!(
                    "--columns: `{column}` is no column of {name}; there are: {}",
                    names.join(", ")
                ))
            })?);
        }
        let output = match &arguments.parquet {
            Some(path) => {
                let schema = match columns.is_empty() {
                    true => schema,
                    false => Arc::new(schema.project(&columns)?),
                };
                let file = File::create(path)
                    .map_err(|e| Failure::Input(format!("{}: cannot be written: {e}", path.display())))?;
                let properties = WriterProperties::builder()
                    .set_compression(Compression::ZSTD(ZstdLevel::default()))
                    .build();
                Output::Parquet(Box::new(ArrowWriter::try_new(file, schema, Some(properties))?))
            }
            None if to_table => Output::Table(BufWriter::new(io::stdout())),
            None => Output::Lines(BufWriter::new(io::stdout())),
        };
        Ok(Printer {
            shown: arguments.kind,
            condition,
            columns,
            left: arguments.limit.unwrap_or(u64::MAX),
            written: 0,
            batch_rows: match arguments.files.iter().all(|f| f.as_os_str() != "-") {
                true if arguments.interface.is_empty() => BATCH_ROWS,
                _ => 1,
            },
            output,
            error: None,
            message: MessageBuilder::default(),
            flow: FlowBuilder::default(),
            value: Values::default(),
            identity: IdentityBuilder::default(),
            log: LogBuilder::default(),
            context: ContextBuilder::default(),
            coverage: CoverageBuilder::default(),
        })
    }

    fn is_parquet(&self) -> bool {
        matches!(self.output, Output::Parquet(_))
    }

    /// Writes what is gathered; answers how many rows there were in all.
    fn finish(mut self) -> Result<u64, Failure> {
        self.flush();
        match self.error {
            // Whoever reads has seen enough.
            Some(error) if is_closed_pipe(&error) => return Ok(self.written),
            Some(error) => return Err(error.into()),
            None => {}
        }
        match self.output {
            Output::Table(mut out) | Output::Lines(mut out) => match out.flush() {
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error.into()),
                _ => {}
            },
            Output::Parquet(writer) => {
                writer.close().context("the Parquet file cannot be finished")?;
            }
        }
        Ok(self.written)
    }

    fn gathered(&self) -> usize {
        match self.shown {
            Shown::Message => self.message.len(),
            Shown::Flow => self.flow.len(),
            Shown::Sample => self.value.rows,
            Shown::Identity => self.identity.len(),
            Shown::Log => self.log.len(),
            Shown::Context => self.context.len(),
            Shown::Coverage => self.coverage.len(),
        }
    }

    fn flush(&mut self) {
        if self.gathered() == 0 || self.is_done() {
            return;
        }
        if let Err(error) = self.write() {
            self.error = Some(error);
        }
    }

    fn write(&mut self) -> anyhow::Result<()> {
        let mut rows = match self.shown {
            Shown::Message => self.message.finish(),
            Shown::Flow => self.flow.finish(),
            Shown::Sample => self.value.finish()?,
            Shown::Identity => self.identity.finish(),
            Shown::Log => self.log.finish(),
            Shown::Context => self.context.finish(),
            Shown::Coverage => self.coverage.finish(),
        };
        if let Some(condition) = &self.condition {
            let selected = condition.select(&rows).map_err(anyhow::Error::msg)?;
            rows = filter_record_batch(&rows, &selected)?;
        }
        if rows.num_rows() as u64 > self.left {
            rows = rows.slice(0, self.left as usize);
        }
        if !self.columns.is_empty() {
            rows = rows.project(&self.columns)?;
        }
        self.left -= rows.num_rows() as u64;
        self.written += rows.num_rows() as u64;
        match &mut self.output {
            Output::Table(out) => write_table(out, &rows)?,
            Output::Lines(out) => {
                for row in codec::to_json_rows(&rows) {
                    serde_json::to_writer(&mut *out, &row)?;
                    out.write_all(b"\n")?;
                }
            }
            Output::Parquet(writer) => writer.write(&rows)?,
        }
        match &mut self.output {
            Output::Table(out) | Output::Lines(out) if self.batch_rows == 1 => out.flush()?,
            _ => {}
        }
        Ok(())
    }
}

impl PlacedSink for Printer {}

impl RowSink for Printer {
    /// Nothing more is wanted, or nothing more can be written.
    fn is_done(&self) -> bool {
        self.left == 0 || self.error.is_some()
    }

    fn push(&mut self, row: Row<'_>) {
        match (row, self.shown) {
            (Row::Message(row), Shown::Message) => self.message.push(row),
            (Row::Flow(row), Shown::Flow) => self.flow.push(row),
            (Row::Measured(row), Shown::Sample) => self.value.push(row),
            (Row::Identity(row), Shown::Identity) => self.identity.push(row),
            (Row::Log(row), Shown::Log) => self.log.push(row),
            (Row::Context(row), Shown::Context) => self.context.push(row),
            (Row::Coverage(row), Shown::Coverage) => self.coverage.push(row),
            _ => return,
        }
        if self.gathered() >= self.batch_rows {
            self.flush();
        }
    }
}

/// Whether something failed because nobody reads the output any more.
pub fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let io = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        let json = cause.downcast_ref::<serde_json::Error>().and_then(serde_json::Error::io_error_kind);
        io.or(json) == Some(io::ErrorKind::BrokenPipe)
    })
}

/// One line a row, cells two spaces apart; columns are as wide as this batch needs.
fn write_table(out: &mut impl Write, rows: &RecordBatch) -> io::Result<()> {
    let cells: Vec<Vec<String>> = rows
        .columns()
        .iter()
        .zip(rows.schema().fields())
        .map(|(column, field)| (0..rows.num_rows()).map(|row| cell(column, field, row)).collect())
        .collect();
    let widths: Vec<usize> =
        cells.iter().map(|column| column.iter().map(|c| c.chars().count()).max().unwrap_or(0)).collect();
    for row in 0..rows.num_rows() {
        let mut line = String::new();
        for (column, &width) in cells.iter().zip(&widths) {
            line.push_str(&column[row]);
            let pad = width + 2 - column[row].chars().count();
            line.extend(std::iter::repeat_n(' ', pad));
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

fn cell(column: &ArrayRef, field: &Field, row: usize) -> String {
    let text = match codec::json_value(column, row) {
        None => String::new(),
        Some(serde_json::Value::Number(n)) if matches!(field.data_type(), DataType::Timestamp(..)) => {
            clock::rfc3339(n.as_i64().unwrap_or(0))
        }
        Some(serde_json::Value::String(text)) => text,
        Some(other) => other.to_string(),
    };
    // Names and values come from the wire: nothing of them may steer the terminal.
    let safe = |c: char| if c.is_control() { '·' } else { c };
    if text.chars().count() <= CELL_CHARS {
        return text.chars().map(safe).collect();
    }
    text.chars().take(CELL_CHARS - 1).map(safe).chain(['…']).collect()
}

/// Process values with their names.
#[derive(Default)]
struct Values {
    rows: usize,
    time: TimestampMicrosecondBuilder,
    observed: TimestampMicrosecondBuilder,
    tool: StringDictionaryBuilder<Int32Type>,
    chamber: StringDictionaryBuilder<Int32Type>,
    signal: StringDictionaryBuilder<Int32Type>,
    unit: StringDictionaryBuilder<Int32Type>,
    class: StringDictionaryBuilder<Int32Type>,
    source: StringBuilder,
    value: Float64Builder,
    quality: UInt8Builder,
}

/// The columns of process values with their names.
fn values_schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        let name = |name: &str| Field::new(name, dictionary_type(), false);
        Arc::new(Schema::new(vec![
            Field::new("time", timestamp_type(), false),
            Field::new("observed", timestamp_type(), false),
            name("tool"),
            name("chamber"),
            name("signal"),
            name("unit"),
            name("class"),
            Field::new("source", DataType::Utf8, false),
            Field::new("value", DataType::Float64, false),
            Field::new("quality", DataType::UInt8, false),
        ]))
    });
    Arc::clone(&SCHEMA)
}

impl Values {
    fn push(&mut self, row: &MeasuredRow<'_>) {
        self.rows += 1;
        self.time.append_value(row.time);
        self.observed.append_value(row.observed);
        for (builder, text) in [
            (&mut self.tool, row.tool),
            (&mut self.chamber, row.chamber),
            (&mut self.signal, row.signal),
            (&mut self.unit, row.unit),
            (&mut self.class, row.class),
        ] {
            builder.append_value(text);
        }
        self.source.append_value(row.source);
        self.value.append_value(row.value);
        self.quality.append_value(row.quality);
    }

    fn finish(&mut self) -> anyhow::Result<RecordBatch> {
        self.rows = 0;
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.time.finish().with_timezone("UTC")),
            Arc::new(self.observed.finish().with_timezone("UTC")),
            Arc::new(self.tool.finish()),
            Arc::new(self.chamber.finish()),
            Arc::new(self.signal.finish()),
            Arc::new(self.unit.finish()),
            Arc::new(self.class.finish()),
            Arc::new(self.source.finish()),
            Arc::new(self.value.finish()),
            Arc::new(self.quality.finish()),
        ];
        Ok(RecordBatch::try_new(values_schema(), columns)?)
    }
}
