//! Measured values in Arrow's columns: long (a row a value) or wide (a column a signal).

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType};
use serde::Deserialize;
use yagura_event::clock::Micros;
use yagura_event::codec;
use yagura_event::rows::{MeasuredRow, Row, RowSink};

use crate::names::{Given, Reading, Signals};
use crate::places::PlacedSink;
use crate::series::SeriesNumbers;
use crate::times;

/// Signals of wide columns that are known; their names come from outside.
const SIGNALS_MAX: u32 = 1 << 16;

/// The number of a signal over [`SIGNALS_MAX`].
const NONE: u32 = u32::MAX;

/// What the columns of a topic's Arrow streams are: `${COLUMN}` for what stands in a column, or a text for all rows.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColumnsSettings {
    /// When a value was measured: a timestamp, a number since 1970, or an RFC 3339 text; at its reception without it.
    #[serde(default)]
    time: Option<String>,
    /// The tool.
    tool: String,
    /// The chamber.
    #[serde(default)]
    chamber: String,
    /// The long form: the signal. Without it each other column of numbers is a signal: the wide form, whose signals
    /// are looked up in the plant's names.
    #[serde(default)]
    signal: Option<String>,
    /// The long form: the value.
    #[serde(default)]
    value: Option<String>,
    /// The unit, in the long form. A wide column has it in its metadata, as `unit`.
    #[serde(default)]
    unit: String,
    /// What kind of value it is.
    #[serde(default)]
    class: String,
}

/// A text for all rows, or one of each row's own.
#[derive(Debug)]
enum Text {
    Fixed(String),
    Column(String),
}

impl Text {
    fn of(text: &str) -> Result<Self, String> {
        match text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')) {
            Some(column) if !column.contains(['{', '}']) => Ok(Text::Column(column.into())),
            _ if text.contains("${") => {
                Err(format!("`{text}`: one `${{COLUMN}}`, or a text without any, stands here"))
            }
            _ => Ok(Text::Fixed(text.into())),
        }
    }

    fn column(&self) -> Option<&str> {
        match self {
            Text::Fixed(_) => None,
            Text::Column(name) => Some(name),
        }
    }
}

/// Reads the streams of a topic.
pub struct Columns {
    time: Option<String>,
    tool: Text,
    chamber: Text,
    unit: Text,
    class: Text,
    long: Option<(Text, String)>,
    wide: Wide,
}

/// The signals of the wide form.
#[derive(Default)]
struct Wide {
    /// By tool, chamber and column,
    series: SeriesNumbers,
    /// and their numbers among the collector's.
    numbers: Vec<u32>,
    known: u32,
    /// Whether tool and chamber are columns: then they are part of a signal's name.
    named: [bool; 2],
    class: String,
}

/// One text of each row.
enum Texts<'a> {
    Fixed(&'a str),
    Column(StringArray),
}

impl Texts<'_> {
    /// Empty where there is none.
    fn at(&self, row: usize) -> &str {
        match self {
            Texts::Fixed(text) => text,
            Texts::Column(column) if column.is_null(row) => "",
            Texts::Column(column) => column.value(row),
        }
    }
}

impl Columns {
    /// Checks the settings.
    pub fn new(settings: &ColumnsSettings) -> Result<Self, String> {
        let column = |text: &String| match Text::of(text)? {
            Text::Column(name) => Ok(name),
            Text::Fixed(text) => Err(format!("`{text}`: a column is written as `${{{text}}}`")),
        };
        let long = match (&settings.signal, &settings.value) {
            (Some(signal), Some(value)) => Some((Text::of(signal)?, column(value)?)),
            (None, None) => None,
            _ => return Err("`signal` and `value` stand together, or neither for the wide form".into()),
        };
        let (tool, chamber) = (Text::of(&settings.tool)?, Text::of(&settings.chamber)?);
        let class = Text::of(&settings.class)?;
        let mut wide =
            Wide { named: [&tool, &chamber].map(|text| text.column().is_some()), ..Wide::default() };
        match (&class, &long) {
            (Text::Fixed(class), _) => wide.class.clone_from(class),
            (Text::Column(_), Some(_)) => {}
            (Text::Column(_), None) => return Err("in the wide form `class` is a text".into()),
        }
        let time = settings.time.as_ref().map(column).transpose()?;
        Ok(Columns { time, tool, chamber, unit: Text::of(&settings.unit)?, class, long, wide })
    }

    /// Puts out the values of a stream; `bad` is told what of it cannot be read.
    pub fn rows(
        &mut self,
        value: &[u8],
        observed: Micros,
        signals: &mut Signals,
        out: &mut dyn PlacedSink,
        bad: &mut dyn FnMut(String),
    ) {
        let batches = match codec::batches(value) {
            Ok(batches) => batches,
            Err(cause) => return bad(cause.to_string()),
        };
        for batch in batches {
            let done = batch.map_err(|e| e.to_string()).and_then(|batch| match self.long {
                Some(_) => self.long(&batch, observed, &mut signals.naming(out)),
                None => self.wide(&batch, observed, signals, out),
            });
            match done {
                Ok(0) => {}
                Ok(left) => bad(format!("{left} values without a time, or of too many signals")),
                // What follows in a damaged stream cannot be trusted.
                Err(cause) => return bad(cause),
            }
        }
    }

    /// Answers how many values were left out.
    fn long(&self, batch: &RecordBatch, observed: Micros, out: &mut dyn RowSink) -> Result<u64, String> {
        let Some((signal, value)) = &self.long else { return Ok(0) };
        let times = self.times(batch)?;
        let [tool, chamber, signal, unit, class] = [
            texts(batch, &self.tool)?,
            texts(batch, &self.chamber)?,
            texts(batch, signal)?,
            texts(batch, &self.unit)?,
            texts(batch, &self.class)?,
        ];
        let values = numbers(found(batch, value)?).map_err(|e| format!("column `{value}`: {e}"))?;
        let values = values.as_primitive::<Float64Type>();
        let mut left_out = 0;
        for row in 0..batch.num_rows() {
            let Some(time) = times.at(row, observed) else {
                left_out += 1;
                continue;
            };
            if values.is_null(row) {
                continue;
            }
            out.push(Row::Measured(&MeasuredRow {
                tool: tool.at(row),
                chamber: chamber.at(row),
                signal: signal.at(row),
                unit: unit.at(row),
                class: class.at(row),
                source: "",
                time,
                observed,
                value: values.value(row),
                quality: 0,
            }));
        }
        Ok(left_out)
    }

    fn wide(
        &mut self,
        batch: &RecordBatch,
        observed: Micros,
        signals: &mut Signals,
        out: &mut dyn PlacedSink,
    ) -> Result<u64, String> {
        let times = self.times(batch)?;
        let (tool, chamber) = (texts(batch, &self.tool)?, texts(batch, &self.chamber)?);
        let schema = batch.schema();
        let special = [self.time.as_deref(), self.tool.column(), self.chamber.column()];
        let mut columns = Vec::new();
        for (field, column) in schema.fields().iter().zip(batch.columns()) {
            let number = field.data_type().is_numeric() || *field.data_type() == DataType::Boolean;
            if number && !special.contains(&Some(field.name().as_str())) {
                let values = numbers(column).map_err(|e| format!("column `{}`: {e}", field.name()))?;
                let unit = field.metadata().get("unit").map_or("", String::as_str);
                columns.push((field.name().as_str(), unit, values));
            }
        }
        let columns: Vec<_> = columns
            .iter()
            .map(|(name, unit, values)| (*name, *unit, values.as_primitive::<Float64Type>()))
            .collect();
        let mut left_out = 0;
        for row in 0..batch.num_rows() {
            let time = times.at(row, observed);
            let (tool, chamber) = (tool.at(row), chamber.at(row));
            for (name, unit, values) in &columns {
                if values.is_null(row) {
                    continue;
                }
                let number = self.wide.signal([tool, chamber, name], unit, signals);
                match time {
                    Some(time) if number != NONE => {
                        let value = values.value(row);
                        let quality = if value.is_finite() { 0 } else { 2 };
                        signals.value(number, Reading { time, observed, quality }, value, out);
                    }
                    _ => left_out += 1,
                }
            }
        }
        Ok(left_out)
    }

    fn times(&self, batch: &RecordBatch) -> Result<Times, String> {
        let Some(name) = &self.time else { return Ok(Times::Reception) };
        let column = found(batch, name)?;
        let failed = |e: arrow::error::ArrowError| format!("column `{name}`: {e}");
        Ok(match column.data_type() {
            DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => {
                let micros =
                    cast(column, &DataType::Timestamp(TimeUnit::Microsecond, None)).map_err(failed)?;
                Times::Micros(micros)
            }
            kind if kind.is_integer() => Times::Numbers(cast(column, &DataType::Int64).map_err(failed)?),
            kind if kind.is_numeric() => Times::Seconds(cast(column, &DataType::Float64).map_err(failed)?),
            _ => Times::Texts(cast(column, &DataType::Utf8).map_err(failed)?),
        })
    }
}

impl Wide {
    /// The collector's number of a signal. Mostly no name is hashed.
    fn signal(&mut self, name: [&str; 3], unit: &str, signals: &mut Signals) -> u32 {
        let (series, new) = self.series.number(name);
        let series = series as usize;
        if !new && let Some(number) = self.numbers.get(series) {
            return *number;
        }
        let number = match self.known < SIGNALS_MAX {
            true => self.add(name, unit, signals),
            false => NONE,
        };
        if self.numbers.len() <= series {
            self.numbers.resize(series + 1, NONE);
        }
        self.numbers[series] = number;
        number
    }

    fn add(&mut self, [tool, chamber, column]: [&str; 3], unit: &str, signals: &mut Signals) -> u32 {
        self.known += 1;
        // What the column itself does not tell apart is put before it.
        let mut full = String::new();
        for (named, part) in self.named.into_iter().zip([tool, chamber]) {
            if named && !part.is_empty() {
                full.push_str(part);
                full.push('/');
            }
        }
        full.push_str(column);
        signals.number(&Given { name: &full, tool, chamber, unit, class: &self.class, ..Given::default() })
    }
}

/// The time of each row.
enum Times {
    Reception,
    Micros(ArrayRef),
    Numbers(ArrayRef),
    Seconds(ArrayRef),
    Texts(ArrayRef),
}

impl Times {
    fn at(&self, row: usize, observed: Micros) -> Option<Micros> {
        let there = |column: &ArrayRef| column.is_valid(row);
        match self {
            Times::Reception => Some(observed),
            Times::Micros(column) if there(column) => {
                Some(column.as_primitive::<TimestampMicrosecondType>().value(row))
            }
            Times::Numbers(column) if there(column) => {
                times::since_1970(column.as_primitive::<Int64Type>().value(row))
            }
            Times::Seconds(column) if there(column) => {
                times::seconds(column.as_primitive::<Float64Type>().value(row))
            }
            Times::Texts(column) if there(column) => times::read(column.as_string::<i32>().value(row)),
            _ => None,
        }
    }
}

fn found<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef, String> {
    batch.column_by_name(name).ok_or_else(|| {
        let schema = batch.schema();
        let names: Vec<&str> = schema.fields().iter().take(20).map(|field| field.name().as_str()).collect();
        format!("there is no column `{name}`; there are: {}", names.join(", "))
    })
}

fn texts<'a>(batch: &RecordBatch, text: &'a Text) -> Result<Texts<'a>, String> {
    Ok(match text {
        Text::Fixed(text) => Texts::Fixed(text),
        Text::Column(name) => {
            let column =
                cast(found(batch, name)?, &DataType::Utf8).map_err(|e| format!("column `{name}`: {e}"))?;
            Texts::Column(column.as_string::<i32>().clone())
        }
    })
}

/// Numbers as doubles; truth as 1.
fn numbers(column: &ArrayRef) -> Result<ArrayRef, String> {
    match column.data_type() {
        DataType::Float64 => Ok(Arc::clone(column)),
        DataType::Boolean => {
            let bytes = cast(column, &DataType::UInt8).map_err(|e| e.to_string())?;
            cast(&bytes, &DataType::Float64).map_err(|e| e.to_string())
        }
        _ => cast(column, &DataType::Float64).map_err(|e| e.to_string()),
    }
}
