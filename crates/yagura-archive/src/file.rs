//! Parquet files in a store.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::{Buf as _, Bytes};
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, ParquetMetaData};
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{ChunkReader, Length};
use yagura_event::Kind;

use crate::columns;
use crate::store::{Store, StoreError};

/// Rows of a row group: what a reader skips or reads as one.
const GROUP_ROWS: usize = 1 << 18;
/// Rows that a reader gets at a time.
const BATCH_ROWS: usize = 8192;
/// What is read of a file's end at once: its description, of most files all of it.
const TAIL_BYTES: u64 = 64 << 10;
/// Parts of a file that are this close are read as one.
const GAP_BYTES: u64 = 256 << 10;

/// Writes a Parquet file in memory.
pub struct Writer {
    writer: ArrowWriter<Vec<u8>>,
    schema: SchemaRef,
}

impl Writer {
    /// A file of rows of one kind, without any yet.
    pub fn new(kind: Kind) -> Result<Self, ParquetError> {
        let about = vec![
            KeyValue::new("yagura.kind".into(), kind.name().to_string()),
            KeyValue::new("yagura.version".into(), kind.version().to_string()),
        ];
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
            .set_max_row_group_row_count(Some(GROUP_ROWS))
            .set_created_by(concat!("yagura ", env!("CARGO_PKG_VERSION")).into())
            .set_key_value_metadata(Some(about))
            .build();
        let schema = columns::schema(kind);
        let writer = ArrowWriter::try_new(Vec::new(), Arc::clone(&schema), Some(properties))?;
        Ok(Writer { writer, schema })
    }

    /// Adds rows, of this version's columns or an older one's.
    pub fn write(&mut self, rows: &RecordBatch) -> Result<(), ParquetError> {
        self.writer.write(&columns::conform(rows, &self.schema)?)
    }

    /// The file.
    pub fn finish(self) -> Result<Bytes, ParquetError> {
        Ok(self.writer.into_inner()?.into())
    }
}

/// A file whose description has been read.
pub struct Opened {
    store: Arc<dyn Store>,
    path: String,
    size: u64,
    about: ArrowReaderMetadata,
}

impl Opened {
    /// Reads the description of a file.
    pub fn open(store: &Arc<dyn Store>, path: &str, size: u64) -> Result<Self, ParquetError> {
        let (store, path) = (Arc::clone(store), path.to_string());
        let mut file = StoredFile { store: Arc::clone(&store), path: path.clone(), size, held: Vec::new() };
        let tail = size.saturating_sub(TAIL_BYTES);
        file.held = vec![(tail, file.fetch(tail..size)?)];
        let about = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new())?;
        Ok(Opened { store, path, size, about })
    }

    /// What the file says of itself: rows, row groups and their statistics.
    pub fn about(&self) -> &ParquetMetaData {
        self.about.metadata()
    }

    /// The columns that the file has.
    pub fn schema(&self) -> &SchemaRef {
        self.about.schema()
    }

    /// The file's row groups.
    pub fn groups(&self) -> Range<usize> {
        0..self.about().num_row_groups()
    }

    /// Reads a row group, in some columns or in all without any named; those that the file does not
    /// have are left out. What is read is in memory as it is compressed.
    pub fn read(
        &self,
        group: usize,
        wanted: Option<&[&str]>,
    ) -> Result<ParquetRecordBatchReader, ParquetError> {
        let columns: Vec<usize> = match wanted {
            None => (0..self.schema().fields().len()).collect(),
            Some(wanted) => wanted.iter().filter_map(|name| self.schema().index_of(name).ok()).collect(),
        };
        // No column holds others, so that a column of rows is one of the file.
        let range = |&column: &usize| {
            let (start, length) = self.about().row_group(group).column(column).byte_range();
            start..start + length
        };
        let (store, path) = (Arc::clone(&self.store), self.path.clone());
        let mut file = StoredFile { store, path, size: self.size, held: Vec::new() };
        file.hold(columns.iter().map(range).collect())?;
        let mask = ProjectionMask::roots(self.about.parquet_schema(), columns);
        ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.about.clone())
            .with_row_groups(vec![group])
            .with_projection(mask)
            .with_batch_size(BATCH_ROWS)
            .build()
    }

    /// Reads all rows, in all columns.
    pub fn rows(&self) -> impl Iterator<Item = Result<RecordBatch, ParquetError>> {
        self.groups().flat_map(|group| {
            let (rows, failed) = match self.read(group, None) {
                Ok(rows) => (Some(rows), None),
                Err(cause) => (None, Some(Err(cause))),
            };
            failed.into_iter().chain(rows.into_iter().flatten().map(|rows| rows.map_err(Into::into)))
        })
    }
}

/// Whether a file cannot be read because it is not there any more.
pub fn is_missing(error: &ParquetError) -> bool {
    match error {
        ParquetError::External(cause) => {
            cause.downcast_ref::<StoreError>().is_some_and(|cause| cause.missing)
        }
        _ => false,
    }
}

/// A file of a store as the Parquet reader wants it: what is needed is fetched in few, large parts.
struct StoredFile {
    store: Arc<dyn Store>,
    path: String,
    size: u64,
    /// Parts by where they begin.
    held: Vec<(u64, Bytes)>,
}

impl StoredFile {
    /// Fetches parts, in place of those held before.
    fn hold(&mut self, mut ranges: Vec<Range<u64>>) -> Result<(), ParquetError> {
        ranges.sort_by_key(|range| range.start);
        let mut joined: Vec<Range<u64>> = Vec::new();
        for range in ranges {
            match joined.last_mut() {
                Some(last) if range.start <= last.end + GAP_BYTES => last.end = last.end.max(range.end),
                _ => joined.push(range),
            }
        }
        let mut held = Vec::new();
        for range in joined {
            let start = range.start;
            held.push((start, self.fetch(range)?));
        }
        self.held = held;
        Ok(())
    }

    fn fetch(&self, range: Range<u64>) -> Result<Bytes, ParquetError> {
        if range.end > self.size {
            return Err(ParquetError::EOF(format!("{} ends before byte {}", self.path, range.end)));
        }
        self.store.read(&self.path, range).map_err(|cause| ParquetError::External(Box::new(cause)))
    }
}

impl Length for StoredFile {
    fn len(&self) -> u64 {
        self.size
    }
}

impl ChunkReader for StoredFile {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        for (begin, bytes) in &self.held {
            if let Some(at) = start.checked_sub(*begin)
                && at < bytes.len() as u64
            {
                return Ok(bytes.slice(at as usize..).reader());
            }
        }
        Ok(self.fetch(start..self.size)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        for (begin, bytes) in &self.held {
            if let Some(at) = start.checked_sub(*begin)
                && at + length as u64 <= bytes.len() as u64
            {
                return Ok(bytes.slice(at as usize..at as usize + length));
            }
        }
        self.fetch(start..start + length as u64)
    }
}
