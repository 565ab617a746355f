//! The names behind the dense numbers of samples.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, DictionaryArray, Int32Array, RecordBatch, StringArray};
use arrow::datatypes::{Int32Type, UInt32Type, UInt64Type};
use rustc_hash::FxHashMap;

/// The columns of names, in the order of [`Names::columns`].
const COLUMNS: [&str; 5] = ["tool", "chamber", "signal", "unit", "class"];

/// The most series of one collector's start; beyond, samples have no names.
const SERIES_MAX: usize = 4_000_000;

const NONE: u32 = u32::MAX;

/// The names of the series of one cell, collector and epoch: 20 bytes a series, and each distinct
/// word once.
#[derive(Default)]
pub struct Names {
    words: Vec<Arc<str>>,
    numbers: FxHashMap<Arc<str>, u32>,
    /// By series number, the words of its columns.
    series: Vec<[u32; 5]>,
}

impl Names {
    /// Learns from rows of kind `series`; all of them, or those of one collector and epoch out of
    /// rows of the history.
    pub fn learn(&mut self, rows: &RecordBatch, only: Option<(&str, u64)>) {
        let column = |name: &str| rows.column_by_name(name);
        let Some(numbers) = column("series").and_then(|c| c.as_primitive_opt::<UInt32Type>()) else { return };
        let texts = COLUMNS.map(|name| column(name).and_then(|c| arrow::compute::cast(c, &TEXT).ok()));
        let [Some(tool), Some(chamber), Some(signal), Some(unit), Some(class)] = texts else { return };
        let texts = [tool, chamber, signal, unit, class];
        let texts = texts.each_ref().map(|column| column.as_string::<i32>());
        let collectors = column("collector").and_then(|c| arrow::compute::cast(c, &TEXT).ok());
        let epochs = column("epoch").and_then(|c| c.as_primitive_opt::<UInt64Type>());
        for row in 0..rows.num_rows() {
            if let Some((collector, epoch)) = only {
                let of = collectors.as_ref().map(|c| c.as_string::<i32>().value(row));
                if of != Some(collector) || epochs.map(|e| e.value(row)) != Some(epoch) {
                    continue;
                }
            }
            let number = numbers.value(row) as usize;
            if number >= SERIES_MAX {
                continue;
            }
            if self.series.len() <= number {
                self.series.resize(number + 1, [NONE; 5]);
            }
            self.series[number] = texts.map(|column| self.word(column.value(row)));
        }
    }

    fn word(&mut self, word: &str) -> u32 {
        if let Some(&number) = self.numbers.get(word) {
            return number;
        }
        let number = self.words.len() as u32;
        let word: Arc<str> = word.into();
        self.words.push(Arc::clone(&word));
        self.numbers.insert(word, number);
        number
    }

    /// How many of these series have no name.
    pub fn unknown(&self, series: &[u32]) -> usize {
        series.iter().filter(|&&n| self.of(n).is_none()).count()
    }

    fn of(&self, series: u32) -> Option<&[u32; 5]> {
        self.series.get(series as usize).filter(|words| words[0] != NONE)
    }

    /// For samples of these series: tool, chamber, signal, unit and class; null where nobody said.
    ///
    /// A word is copied once a batch, not once a row.
    pub fn columns(&self, series: &[u32]) -> Vec<ArrayRef> {
        let mut place = vec![NONE; self.words.len()];
        (0..COLUMNS.len())
            .map(|column| {
                let mut used: Vec<u32> = Vec::new();
                let keys = series.iter().map(|&number| {
                    let word = self.of(number)?[column];
                    let slot = &mut place[word as usize];
                    if *slot == NONE {
                        *slot = used.len() as u32;
                        used.push(word);
                    }
                    Some(*slot as i32)
                });
                let keys: Int32Array = keys.collect();
                let words = StringArray::from_iter_values(used.iter().map(|&n| &*self.words[n as usize]));
                used.iter().for_each(|&word| place[word as usize] = NONE);
                Arc::new(DictionaryArray::<Int32Type>::new(keys, Arc::new(words))) as ArrayRef
            })
            .collect()
    }
}

const TEXT: arrow::datatypes::DataType = arrow::datatypes::DataType::Utf8;

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::Array as _;
    use yagura_event::rows::{SeriesBuilder, SeriesRow};

    #[test]
    fn samples_get_the_names_of_their_series_and_null_for_unknown_ones() {
        let mut builder = SeriesBuilder::default();
        for (series, signal) in [(0, "pressure"), (3, "flow")] {
            builder.push(&SeriesRow { series, tool: "T", signal, unit: "Pa", ..Default::default() });
        }
        let mut names = Names::default();
        names.learn(&builder.finish(), None);
        let columns = names.columns(&[3, 1, 0, 3, 99]);
        let read = |column: usize| -> Vec<Option<String>> {
            let column = arrow::compute::cast(&columns[column], &TEXT).unwrap();
            column.as_string::<i32>().iter().map(|word| word.map(str::to_string)).collect()
        };
        let some = |word: &str| Some(word.to_string());
        assert_eq!(read(2), [some("flow"), None, some("pressure"), some("flow"), None]);
        assert_eq!(read(0), [some("T"), None, some("T"), some("T"), None]);
        assert_eq!(read(1), [some(""), None, some(""), some(""), None]);
        assert_eq!(names.unknown(&[3, 1, 0, 3, 99]), 2);
        assert_eq!(Names::default().columns(&[1, 2])[4].null_count(), 2);
    }
}
