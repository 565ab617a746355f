//! Reads the data sets.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use arrow::array::Array;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use ndarray::Array2;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

/// A table of numbers and its columns' names.
pub struct Table {
    pub names: Vec<String>,
    pub rows: Array2<f64>,
}

impl Table {
    /// These columns of the rows.
    pub fn columns(&self, choose: impl Fn(&str) -> bool) -> Array2<f64> {
        let chosen: Vec<usize> = (0..self.names.len()).filter(|&i| choose(&self.names[i])).collect();
        self.rows.select(ndarray::Axis(1), &chosen)
    }

    /// A column that says which rows are labelled: by the number 1.
    pub fn labels(&self, name: &str) -> Result<Vec<bool>> {
        let at = self.names.iter().position(|n| n == name).with_context(|| format!("no column `{name}`"))?;
        Ok(self.rows.column(at).iter().map(|&label| label == 1.0).collect())
    }
}

/// The folder of data sets.
pub fn folder() -> Result<PathBuf> {
    let shared = std::env::var_os("YAGURA_SHARED").map_or_else(|| PathBuf::from("../shared"), PathBuf::from);
    let folder = shared.join("datasets");
    ensure!(folder.is_dir(), "{} is not there; YAGURA_SHARED names the folder above it", folder.display());
    Ok(folder)
}

/// The files of a folder that end so, by name.
pub fn files(folder: &Path, end: &str) -> Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .with_context(|| folder.display().to_string())?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.to_string_lossy().ends_with(end))
        .collect();
    files.sort();
    Ok(files)
}

/// A file with a line of names; what is not a number is missing.
pub fn separated(path: &Path, separator: char) -> Result<Table> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let mut lines = text.lines();
    let names: Vec<String> =
        lines.next().unwrap_or_default().split(separator).map(|name| name.trim().to_string()).collect();
    let lines: Vec<&str> = lines.filter(|line| !line.trim().is_empty()).collect();
    let mut rows = Array2::from_elem((lines.len(), names.len()), f64::NAN);
    for (line, mut row) in lines.iter().zip(rows.rows_mut()) {
        for (text, value) in line.split(separator).zip(row.iter_mut()) {
            *value = text.trim().parse().unwrap_or(f64::NAN);
        }
    }
    Ok(Table { names, rows })
}

/// Numbers between blanks, a line a row.
pub fn blanks(path: &Path) -> Result<Array2<f64>> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let rows: Vec<Vec<f64>> = text
        .lines()
        .map(|line| line.split_whitespace().map(|value| value.parse().unwrap_or(f64::NAN)).collect())
        .filter(|row: &Vec<f64>| !row.is_empty())
        .collect();
    let width = rows.first().map_or(0, Vec::len);
    Array2::from_shape_vec((rows.len(), width), rows.concat()).with_context(|| path.display().to_string())
}

/// A Parquet file of numbers.
pub fn parquet(path: &Path) -> Result<Table> {
    let file = File::open(path).with_context(|| path.display().to_string())?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(file)?;
    let names: Vec<String> = reader.schema().fields().iter().map(|field| field.name().clone()).collect();
    let mut columns: Vec<Vec<f64>> = vec![Vec::new(); names.len()];
    for batch in reader.build()? {
        for (into, column) in columns.iter_mut().zip(batch?.columns()) {
            let numbers = cast(column, &DataType::Float64)?;
            let numbers = arrow::array::AsArray::as_primitive::<Float64Type>(numbers.as_ref());
            into.extend(
                (0..numbers.len()).map(|i| if numbers.is_null(i) { f64::NAN } else { numbers.value(i) }),
            );
        }
    }
    let rows = columns.first().map_or(0, Vec::len);
    let rows = Array2::from_shape_fn((rows, columns.len()), |(t, i)| columns[i][t]);
    Ok(Table { names, rows })
}
