//! `query`: SQL over the history.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::json::writer::{LineDelimited, LineDelimitedWriter, WriterBuilder};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use clap::Args;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use yagura_archive::store;
use yagura_sql::history::{History, QueryError};

use crate::config::Config;
use crate::read::is_closed_pipe;
use crate::{Failure, Format};

/// Rows that a table on a terminal has unless more are asked for.
const LIMIT: usize = 1000;
/// Longest text of a cell in the table; the whole is in the other forms.
const CELL_CHARS: usize = 60;
/// Rows that a table is measured by.
const MEASURED_ROWS: usize = 1000;

/// Arguments of `query`.
#[derive(Args)]
#[command(after_help = HELP)]
pub struct Arguments {
    /// The query. Each kind of record is a table; `SHOW TABLES` and `DESCRIBE message` tell more.
    sql: String,
    /// The configuration file of the run whose history it is.
    #[arg(long, short, required_unless_present = "history")]
    config: Option<PathBuf>,
    /// The history itself: a folder, or s3://BUCKET/PREFIX.
    #[arg(long, conflicts_with = "config")]
    history: Option<String>,
    /// Write the answer to this file, as its name ends: .csv, .json (an object a line) or .parquet.
    #[arg(long, short)]
    output: Option<PathBuf>,
    /// End after so many rows; 1000 for a table on a terminal, else all.
    #[arg(long)]
    limit: Option<usize>,
    /// MiB of memory that the query may take.
    #[arg(long, default_value_t = 1024)]
    memory: usize,
}

const HELP: &str = help!(
    "  yagura query -c yagura.yaml \"SELECT time, tool, title FROM alert ORDER BY time DESC LIMIT 10\"
  yagura query -c yagura.yaml \"SELECT tool, operation, count(*) AS n FROM message
      WHERE date >= '2026-11-01' AND cell = 'etch-bay-2' GROUP BY tool, operation ORDER BY n DESC\"
  yagura query -c yagura.yaml \"SELECT time, value, unit FROM sample
      WHERE tool = 'ETCH-07' AND signal = 'chamber_pressure'\" --output pressure.csv
  yagura query --history data/history \"SELECT a.title, m.* FROM alert a JOIN message m
      ON m.cell = a.cell AND m.collector = a.cause_collector
      AND m.epoch = a.cause_epoch AND m.row = a.cause_row\" --format json
  yagura query --history data/history \"DESCRIBE sample\"

`date` is the day (UTC) on which a row was observed and `cell` where it belongs: a condition on them
leaves out whole folders. The query can only read."
);

/// Answers a query.
pub fn run(arguments: &Arguments, format: Format) -> Result<(), Failure> {
    let store = match (&arguments.history, &arguments.config) {
        (Some(place), _) => {
            if !store::is_remote(place) && !Path::new(place).is_dir() {
                return Err(Failure::Input(format!(
                    "{place}: there is no history; `yagura run` with an `archive:` writes it"
                )));
            }
            store::open(place).map_err(|e| Failure::Input(e.to_string()))?
        }
        (None, Some(file)) => {
            let config = Config::load(file)?;
            let archive = config.archive.as_ref().ok_or_else(|| {
                Failure::Input(format!(
                    "{}: there is no `archive`, so no history is kept; add `archive: {{ store: data/history }}`",
                    file.display()
                ))
            })?;
            archive.open()?
        }
        (None, None) => return Err(Failure::Input("name the history: --config or --history".into())),
    };
    let failed = |e: QueryError| match e {
        QueryError::Query(what) => Failure::Input(what),
        QueryError::Failed(what) => Failure::Failed(anyhow::Error::msg(what)),
    };
    let history = History::open(&store, arguments.memory.saturating_mul(1 << 20)).map_err(failed)?;
    let mut rows = history.query(&arguments.sql).map_err(failed)?;
    let mut out = Output::new(arguments.output.as_deref(), format, rows.schema())?;
    let short = arguments.output.is_none() && format == Format::Text && io::stdout().is_terminal();
    let limit = arguments.limit.unwrap_or(if short { LIMIT } else { usize::MAX });
    let (mut written, mut cut) = (0, false);
    let outcome = loop {
        let batch = match rows.next() {
            None => break Ok(()),
            Some(Err(cause)) => break Err(failed(cause)),
            Some(Ok(batch)) => batch,
        };
        let left = limit - written;
        cut = batch.num_rows() > left;
        let batch = if cut { batch.slice(0, left) } else { batch };
        written += batch.num_rows();
        if let Err(cause) = out.write(&batch) {
            break Err(cause.into());
        }
        if cut {
            break Ok(());
        }
    };
    let outcome = outcome.and_then(|()| Ok(out.finish()?));
    match outcome {
        // Whoever reads has seen enough.
        Err(Failure::Failed(cause)) if is_closed_pipe(&cause) => return Ok(()),
        Err(failure) => {
            if let Some(file) = &arguments.output {
                // Half an answer looks like a whole one.
                let _ = std::fs::remove_file(file);
            }
            return Err(failure);
        }
        Ok(()) => {}
    }
    tell(written, cut, arguments.limit.is_some());
    Ok(())
}

/// How many rows there were, on standard error: the rows are on standard output.
#[expect(clippy::print_stderr, reason = "beside the rows")]
fn tell(written: usize, cut: bool, asked: bool) {
    let rows = if written == 1 { "row" } else { "rows" };
    match (cut, asked) {
        (false, _) => eprintln!("{written} {rows}"),
        (true, true) => eprintln!("{written} {rows}; there are more"),
        (true, false) => eprintln!("{written} {rows}; there are more: --limit or --output gives them"),
    }
}

/// Where the answer goes.
enum Output {
    Table(Table<BufWriter<io::Stdout>>),
    Lines(LineDelimitedWriter<BufWriter<Box<dyn Write>>>),
    Csv(csv::Writer<File>),
    Parquet(Box<ArrowWriter<File>>),
}

impl Output {
    fn new(file: Option<&Path>, format: Format, schema: &SchemaRef) -> Result<Self, Failure> {
        let Some(path) = file else {
            let stdout = io::stdout();
            return Ok(match format {
                Format::Text => Output::Table(Table::new(BufWriter::new(stdout), schema)),
                Format::Json => Output::Lines(lines(Box::new(stdout))),
            });
        };
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        if !["csv", "json", "jsonl", "parquet"].contains(&ending) {
            let path = path.display();
            return Err(Failure::Input(format!(
                "{path}: the file's name says what to write: .csv, .json (an object a line) or .parquet"
            )));
        }
        let file = File::create(path)
            .map_err(|e| Failure::Input(format!("{}: cannot be written: {e}", path.display())))?;
        Ok(match ending {
            "csv" => {
                let mut out = csv::Writer::from_writer(file);
                out.write_record(schema.fields().iter().map(|field| field.name()))?;
                Output::Csv(out)
            }
            "parquet" => {
                let properties = WriterProperties::builder()
                    .set_compression(Compression::ZSTD(ZstdLevel::default()))
                    .build();
                let writer = ArrowWriter::try_new(file, SchemaRef::clone(schema), Some(properties))?;
                Output::Parquet(Box::new(writer))
            }
            _ => Output::Lines(lines(Box::new(file))),
        })
    }

    fn write(&mut self, rows: &RecordBatch) -> anyhow::Result<()> {
        match self {
            Output::Table(table) => table.write(rows)?,
            Output::Lines(out) => out.write(rows)?,
            Output::Csv(out) => {
                let options = options();
                let columns = formatters(rows, &options)?;
                for row in 0..rows.num_rows() {
                    for column in &columns {
                        out.write_field(column.value(row).try_to_string()?)?;
                    }
                    out.write_record(None::<&[u8]>)?;
                }
            }
            Output::Parquet(out) => out.write(rows)?,
        }
        Ok(())
    }

    fn finish(self) -> anyhow::Result<()> {
        match self {
            Output::Table(table) => table.finish()?,
            Output::Lines(mut out) => {
                out.finish()?;
                out.into_inner().flush()?;
            }
            Output::Csv(mut out) => out.flush()?,
            Output::Parquet(out) => {
                out.close().context("the Parquet file cannot be finished")?;
            }
        }
        Ok(())
    }
}

/// How times are written everywhere: RFC 3339 with microseconds.
const TIME: &str = "%Y-%m-%dT%H:%M:%S%.6fZ";

fn options() -> FormatOptions<'static> {
    FormatOptions::default().with_timestamp_tz_format(Some(TIME))
}

fn lines(out: Box<dyn Write>) -> LineDelimitedWriter<BufWriter<Box<dyn Write>>> {
    let builder = WriterBuilder::new().with_timestamp_tz_format(TIME.into());
    builder.build::<_, LineDelimited>(BufWriter::new(out))
}

fn formatters<'a>(
    rows: &'a RecordBatch,
    options: &'a FormatOptions<'a>,
) -> Result<Vec<ArrayFormatter<'a>>, arrow::error::ArrowError> {
    rows.columns().iter().map(|column| ArrayFormatter::try_new(column.as_ref(), options)).collect()
}

/// A line a row below the columns' names, as wide as the first rows need.
struct Table<W> {
    out: W,
    /// The names, then rows until there are enough to measure.
    waiting: Vec<Vec<String>>,
    /// Numbers stand at the right of their column.
    right: Vec<bool>,
    widths: Option<Vec<usize>>,
}

impl<W: Write> Table<W> {
    fn new(out: W, schema: &SchemaRef) -> Self {
        let names = schema.fields().iter().map(|field| field.name().clone()).collect();
        let right = schema.fields().iter().map(|field| field.data_type().is_numeric()).collect();
        Table { out, waiting: vec![names], right, widths: None }
    }

    fn write(&mut self, rows: &RecordBatch) -> anyhow::Result<()> {
        let options = options();
        let columns = formatters(rows, &options)?;
        for row in 0..rows.num_rows() {
            let mut line = Vec::with_capacity(columns.len());
            for column in &columns {
                line.push(cell(&column.value(row).try_to_string()?));
            }
            self.waiting.push(line);
            if self.waiting.len() > MEASURED_ROWS || self.widths.is_some() {
                self.print()?;
            }
        }
        Ok(())
    }

    fn finish(mut self) -> io::Result<()> {
        self.print()?;
        self.out.flush()
    }

    fn print(&mut self) -> io::Result<()> {
        let lines = std::mem::take(&mut self.waiting);
        let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
        let widths = self.widths.get_or_insert_with(|| (0..self.right.len()).map(width).collect());
        for line in &lines {
            let mut text = String::new();
            for ((cell, &width), &right) in line.iter().zip(widths.iter()).zip(&self.right) {
                let pad = " ".repeat(width.saturating_sub(cell.chars().count()));
                let (before, after) = if right { (pad.as_str(), "") } else { ("", pad.as_str()) };
                text.extend([before, cell, after, "  "]);
            }
            writeln!(self.out, "{}", text.trim_end())?;
        }
        Ok(())
    }
}

/// Names and values come from the wire: nothing of them may steer the terminal.
fn cell(text: &str) -> String {
    let safe = |c: char| if c.is_control() { '·' } else { c };
    if text.chars().count() <= CELL_CHARS {
        return text.chars().map(safe).collect();
    }
    text.chars().take(CELL_CHARS - 1).map(safe).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Float64Array, StringArray};
    use std::sync::Arc;

    #[test]
    fn a_table_has_its_columns_below_each_other() {
        let rows = RecordBatch::try_from_iter([
            ("tool", Arc::new(StringArray::from(vec!["ETCH-07", "a\x1b[2J"])) as _),
            ("value", Arc::new(Float64Array::from(vec![Some(1.5), None])) as _),
        ]);
        let rows = rows.unwrap();
        let mut out = Vec::new();
        let mut table = Table::new(&mut out, &rows.schema());
        table.write(&rows).unwrap();
        table.finish().unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "tool     value\nETCH-07    1.5\na·[2J\n");
    }
}
