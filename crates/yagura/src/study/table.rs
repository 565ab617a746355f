//! Tables of readings from files: CSV (with a line of names) and Parquet. A column each signal.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use ndarray::Array2;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use yagura_event::clock;

use crate::Failure;

/// A table as it is written.
pub struct Table {
    names: Vec<String>,
    columns: Vec<Column>,
}

/// A column's values in the order of the lines.
enum Column {
    /// NaN where there is none.
    Numbers(Vec<f64>),
    Texts(Vec<String>),
}

impl Column {
    /// Of fields: numbers if each is one, or nothing, and some are.
    fn of(fields: Vec<String>) -> Column {
        let is_number = |field: &String| field.is_empty() || number(field).is_some();
        let some = fields.iter().any(|field| !field.is_empty());
        match some && fields.iter().all(is_number) {
            true => Column::Numbers(fields.iter().map(|field| number(field).unwrap_or(f64::NAN)).collect()),
            false => Column::Texts(fields),
        }
    }

    fn len(&self) -> usize {
        match self {
            Column::Numbers(numbers) => numbers.len(),
            Column::Texts(texts) => texts.len(),
        }
    }

    fn number(&self, line: usize) -> f64 {
        match self {
            Column::Numbers(numbers) => numbers[line],
            Column::Texts(texts) => number(&texts[line]).unwrap_or(f64::NAN),
        }
    }

    fn text(&self, line: usize) -> Cow<'_, str> {
        match self {
            Column::Numbers(numbers) if numbers[line].is_nan() => "".into(),
            Column::Numbers(numbers) => numbers[line].to_string().into(),
            Column::Texts(texts) => texts[line].as_str().into(),
        }
    }

    fn texts(&self) -> Vec<String> {
        (0..self.len()).map(|line| self.text(line).into_owned()).collect()
    }
}

/// Columns of a table that has a line for each value, as the history has them.
const LONG: [&str; 2] = ["signal", "value"];
/// What tells signals of one name apart there.
const PLACES: [&str; 2] = ["tool", "chamber"];

/// Which columns are what.
#[derive(Clone, Default)]
pub struct Roles {
    /// Microseconds between rows that are made of lines with one value each; equal times are one row without it.
    pub period: Option<i64>,
    pub time: Option<String>,
    pub context: Option<String>,
    pub label: Option<String>,
    pub ignored: Vec<String>,
    /// These alone are signals, in this order; all others that hold numbers when there is none.
    pub signals: Vec<String>,
}

/// Readings in order.
pub struct Readings {
    pub signals: Vec<String>,
    /// `rows[[t, i]]`: signal i in row t; NaN where there is none.
    pub rows: Array2<f64>,
    /// As written; the row's number where no column tells a time.
    pub times: Vec<String>,
    /// Empty texts without such a column.
    pub contexts: Vec<String>,
    /// Empty without such a column.
    pub labels: Vec<bool>,
}

impl Table {
    /// Reads a file, as its name ends.
    pub fn read(path: &Path) -> Result<Table, Failure> {
        let end = path.extension().map(|end| end.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
        match end.as_str() {
            "parquet" | "pq" => {
                parquet(path).map_err(|cause| Failure::Input(format!("{}: {cause:#}", path.display())))
            }
            "csv" | "tsv" | "txt" | "dat" => separated(path),
            _ => Err(Failure::Input(format!(
                "{}: not a table that can be read; name a .csv or a .parquet file",
                path.display()
            ))),
        }
    }

    /// A table with a line for each value becomes one with a column for each signal.
    fn widened(self, period: Option<i64>) -> Table {
        let at = |name: &str| self.names.iter().position(|n| n.eq_ignore_ascii_case(name));
        let ([Some(signal), Some(value)], Some(time)) =
            (LONG.map(at), self.names.iter().position(|n| is_time(n)))
        else {
            return self;
        };
        // A place that is the same in all lines names nothing.
        let count = self.columns[time].len();
        let several = |&column: &usize| {
            (1..count).any(|line| self.columns[column].text(line) != self.columns[column].text(0))
        };
        let places: Vec<usize> = PLACES.iter().filter_map(|name| at(name)).filter(several).collect();
        let (mut rows, mut columns) = (BTreeMap::new(), BTreeMap::new());
        let mut cells = Vec::new();
        for line in 0..count {
            let written = self.columns[time].text(line);
            let key = match (period, clock::parse_rfc3339(&written)) {
                (Some(period), Some(time)) => clock::rfc3339(time.div_euclid(period) * period),
                _ => written.into_owned(),
            };
            let name = places.iter().chain([&signal]).map(|&column| self.columns[column].text(line));
            let name = name.collect::<Vec<_>>().join(" ");
            rows.entry(key.clone()).or_insert(0);
            columns.entry(name.clone()).or_insert(0);
            cells.push((key, name, self.columns[value].number(line)));
        }
        rows.values_mut().zip(0..).for_each(|(row, number)| *row = number);
        columns.values_mut().zip(0..).for_each(|(column, number)| *column = number);
        let mut numbers = vec![vec![f64::NAN; rows.len()]; columns.len()];
        for (key, name, value) in cells {
            // Of several values of a row the last one counts.
            numbers[columns[&name]][rows[&key]] = value;
        }
        Table {
            names: ["time".to_string()].into_iter().chain(columns.into_keys()).collect(),
            columns: [Column::Texts(rows.into_keys().collect())]
                .into_iter()
                .chain(numbers.into_iter().map(Column::Numbers))
                .collect(),
        }
    }

    /// The readings in it.
    pub fn readings(self, path: &Path, roles: &Roles) -> Result<Readings, Failure> {
        let place = path.display();
        let table = self.widened(roles.period);
        table.wide(&place.to_string(), roles)
    }

    fn wide(self, place: &str, roles: &Roles) -> Result<Readings, Failure> {
        let find = |name: &str| {
            self.names.iter().position(|n| n == name).ok_or_else(|| {
                Failure::Input(format!(
                    "{place}: there is no column `{name}`; there are: {}",
                    self.names.join(", ")
                ))
            })
        };
        let at = |name: &Option<String>| name.as_deref().map(find).transpose();
        let (context, label) = (at(&roles.context)?, at(&roles.label)?);
        let time = match at(&roles.time)? {
            Some(at) => Some(at),
            None => self.names.iter().position(|name| is_time(name)),
        };
        let ignored = roles.ignored.iter().map(|name| find(name)).collect::<Result<Vec<_>, _>>()?;
        let count = self.columns.first().map_or(0, Column::len);
        let chosen: Vec<usize> = if roles.signals.is_empty() {
            let taken = |i: &usize| [time, context, label].contains(&Some(*i)) || ignored.contains(i);
            let holds = |&i: &usize| (0..count).any(|line| self.columns[i].number(line).is_finite());
            (0..self.names.len()).filter(|i| !taken(i) && holds(i)).collect()
        } else {
            roles.signals.iter().map(|name| find(name)).collect::<Result<_, _>>()?
        };
        if chosen.is_empty() || count == 0 {
            return Err(Failure::Input(format!(
                "{place}: no column holds numbers; there are: {}",
                self.names.join(", ")
            )));
        }
        let text = |column: Option<usize>| column.map(|i| self.columns[i].texts());
        Ok(Readings {
            signals: chosen.iter().map(|&i| self.names[i].clone()).collect(),
            rows: Array2::from_shape_fn((count, chosen.len()), |(t, i)| self.columns[chosen[i]].number(t)),
            times: text(time).unwrap_or_else(|| (1..=count).map(|row| row.to_string()).collect()),
            contexts: text(context).unwrap_or_else(|| vec![String::new(); count]),
            labels: label
                .map(|i| (0..count).map(|line| self.columns[i].number(line) > 0.0).collect())
                .unwrap_or_default(),
        })
    }
}

/// Whether a column of that name tells times.
fn is_time(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["time", "timestamp", "datetime", "date", "ts", "observed"].contains(&name.as_str())
}

fn number(text: &str) -> Option<f64> {
    match text.trim() {
        "true" | "TRUE" | "True" => Some(1.0),
        "false" | "FALSE" | "False" => Some(0.0),
        text => text.parse().ok(),
    }
}

fn separated(path: &Path) -> Result<Table, Failure> {
    let place = path.display();
    let text = std::fs::read(path)
        .with_context(|| place.to_string())
        .map_err(|e| Failure::Input(format!("{e:#}")))?;
    let text = String::from_utf8_lossy(&text);
    let first = text.lines().next().unwrap_or_default();
    // The separator that parts the line of names most.
    let separator =
        [b',', b';', b'\t'].into_iter().max_by_key(|&c| first.bytes().filter(|b| *b == c).count());
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(separator.unwrap_or(b','))
        .trim(csv::Trim::All)
        .from_reader(text.as_bytes());
    let wrong = |cause: csv::Error| Failure::Input(format!("{place}: {cause}"));
    let names: Vec<String> = reader.headers().map_err(wrong)?.iter().map(str::to_string).collect();
    let mut texts = vec![Vec::new(); names.len()];
    for record in reader.records() {
        let record = record.map_err(wrong)?;
        texts.iter_mut().zip(record.iter()).for_each(|(column, text)| column.push(text.to_string()));
    }
    Ok(Table { names, columns: texts.into_iter().map(Column::of).collect() })
}

fn parquet(path: &Path) -> anyhow::Result<Table> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path)?)?;
    let names: Vec<String> = reader.schema().fields().iter().map(|field| field.name().clone()).collect();
    let numeric =
        |field: &Arc<Field>| field.data_type().is_numeric() || *field.data_type() == DataType::Boolean;
    let empty = |field| if numeric(field) { Column::Numbers(Vec::new()) } else { Column::Texts(Vec::new()) };
    let mut columns: Vec<Column> = reader.schema().fields().iter().map(empty).collect();
    let options = FormatOptions::default();
    for batch in reader.build()? {
        for (into, column) in columns.iter_mut().zip(batch?.columns()) {
            match (into, column.data_type()) {
                (Column::Numbers(into), _) => {
                    let numbers = cast(column, &DataType::Float64)?;
                    let numbers = numbers.as_primitive::<Float64Type>();
                    into.extend(numbers.iter().map(|value| value.unwrap_or(f64::NAN)));
                }
                (Column::Texts(into), DataType::Timestamp(TimeUnit::Microsecond, _)) => {
                    let times = cast(column, &DataType::Int64)?;
                    let times = times.as_primitive::<Int64Type>();
                    into.extend(times.iter().map(|time| time.map_or_else(String::new, clock::rfc3339)));
                }
                (Column::Texts(into), _) => {
                    let shown = ArrayFormatter::try_new(column, &options)?;
                    into.extend((0..column.len()).map(|i| shown.value(i).to_string()));
                }
            }
        }
    }
    Ok(Table { names, columns })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, roles: &Roles) -> Result<Readings, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.csv");
        std::fs::write(&path, text).unwrap();
        let readings = Table::read(&path).and_then(|table| table.readings(&path, roles));
        readings.map_err(|failure| match failure {
            Failure::Input(text) => text,
            Failure::Failed(cause) => cause.to_string(),
        })
    }

    #[test]
    fn columns_find_their_roles() {
        let text = "time;flow;note;step;attack\n10:00;1.5;x;4;0\n10:01;;y;5;1\n";
        let roles = Roles { context: Some("step".into()), label: Some("attack".into()), ..Roles::default() };
        let readings = read(text, &roles).unwrap();
        assert_eq!(
            (readings.signals, readings.contexts),
            (vec!["flow".to_string()], vec!["4".to_string(), "5".into()])
        );
        assert_eq!(
            (readings.times, readings.labels),
            (vec!["10:00".to_string(), "10:01".into()], vec![false, true])
        );
        assert!(readings.rows[[0, 0]] == 1.5 && readings.rows[[1, 0]].is_nan());
    }

    #[test]
    fn lines_of_one_value_become_rows() {
        let text = "time,tool,signal,value\n2026-11-02T22:00:00.1Z,A,flow,1\n2026-11-02T22:00:00.4Z,A,power,2\n\
                    2026-11-02T22:00:01.2Z,A,flow,3\n";
        let readings = read(text, &Roles { period: Some(1_000_000), ..Roles::default() }).unwrap();
        assert_eq!(readings.signals, ["flow", "power"]);
        assert_eq!(readings.rows.dim(), (2, 2));
        assert_eq!((readings.rows[[0, 0]], readings.rows[[0, 1]], readings.rows[[1, 0]]), (1.0, 2.0, 3.0));
        assert!(readings.rows[[1, 1]].is_nan() && readings.times[1].starts_with("2026-11-02T22:00:01"));
        let both = read(&text.replace("1.2Z,A", "1.2Z,B"), &Roles::default()).unwrap();
        assert_eq!((both.signals.len(), both.signals[0].as_str(), both.rows.nrows()), (3, "A flow", 3));
    }

    #[test]
    fn what_is_wrong_is_said_with_what_there_is() {
        let roles = Roles { time: Some("when".into()), ..Roles::default() };
        let wrong = read("a,b\n1,2\n", &roles).err().unwrap();
        assert!(wrong.ends_with("there is no column `when`; there are: a, b"), "{wrong}");
        let wrong = read("a,b\nx,y\n", &Roles::default()).err().unwrap();
        assert!(wrong.contains("no column holds numbers"), "{wrong}");
    }
}
