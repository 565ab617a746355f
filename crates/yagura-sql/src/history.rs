//! Queries over the history: each kind of record is a table, its Parquet files are read in place.
//!
//! DataFusion's own reader of Parquet would bring brotli, snappy, LZ4 and zlib, and a listing that
//! knows nothing of files that a larger one replaced. The `parquet` crate does the work in either
//! case; what is needed around it is here: which files and row groups a condition can leave out.

use std::collections::HashSet;
use std::future::poll_fn;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, RecordBatch, RecordBatchOptions, StringArray, UInt64Array,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::{Column, DFSchema, DataFusionError, Result, SchemaError};
use datafusion::datasource::TableType;
use datafusion::execution::context::SQLOptions;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_optimizer::pruning::{PruningPredicate, PruningPredicateBuilder};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion::scalar::ScalarValue;
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use yagura_archive::Store;
use yagura_archive::columns;
use yagura_archive::file::{Opened, is_missing};
use yagura_archive::history::{HistoryFile, files};
use yagura_archive::names::cell_from_path;
use yagura_event::Kind;

/// The column of a row's folder: the day on which its record was observed.
const DATE: &str = "date";

/// Why a query has no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// It is wrong.
    #[error("{0}")]
    Query(String),
    /// It could not be carried out.
    #[error("{0}")]
    Failed(String),
}

/// The tables of a history.
pub struct History {
    session: SessionContext,
    runtime: tokio::runtime::Runtime,
}

/// The catalogue of the tables, which PostgreSQL's clients call a database.
pub(crate) const CATALOG: &str = "yagura";

/// A session over the tables of a store.
pub(crate) fn session(
    store: &Arc<dyn Store>,
    memory: usize,
    threads: usize,
) -> Result<SessionContext, QueryError> {
    let failed = |cause: DataFusionError| QueryError::Failed(cause.to_string());
    let limits = RuntimeEnvBuilder::new().with_memory_limit(memory, 1.0).build_arc().map_err(failed)?;
    let config = SessionConfig::new()
        .with_information_schema(true)
        .with_default_catalog_and_schema(CATALOG, "public")
        .with_target_partitions(threads);
    let session = SessionContext::new_with_config_rt(config, limits);
    for kind in Kind::ALL {
        let table = Table { kind, store: Arc::clone(store), schema: table(kind) };
        session.register_table(kind.name(), Arc::new(table)).map_err(failed)?;
    }
    Ok(session)
}

/// The columns of a kind's table: those of its files, and `date`.
pub fn table(kind: Kind) -> SchemaRef {
    let mut fields: Vec<_> = columns::schema(kind).fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new(DATE, DataType::Date32, false)));
    Arc::new(Schema::new(fields))
}

impl History {
    /// Over a store, whose files need not exist; `memory` bounds what a query may take, in bytes.
    pub fn open(store: &Arc<dyn Store>, memory: usize) -> Result<Self, QueryError> {
        let failed = |cause: &dyn std::fmt::Display| QueryError::Failed(cause.to_string());
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .enable_all()
            .build()
            .map_err(|cause| failed(&cause))?;
        let session = session(store, memory, threads)?;
        Ok(History { session, runtime })
    }

    /// Begins a query. It may read and nothing else.
    pub fn query(&self, sql: &str) -> Result<Rows<'_>, QueryError> {
        let reads_only =
            SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        let planned = self.runtime.block_on(async {
            let frame = self.session.sql_with_options(sql, reads_only).await?;
            frame.execute_stream().await
        });
        let stream = planned.map_err(|cause| explain(sql, cause))?;
        Ok(Rows { history: self, sql: sql.to_string(), schema: stream.schema(), stream })
    }
}

/// The answer to a query, batch by batch.
pub struct Rows<'a> {
    history: &'a History,
    sql: String,
    schema: SchemaRef,
    stream: SendableRecordBatchStream,
}

impl Rows<'_> {
    /// Its columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }
}

impl Iterator for Rows<'_> {
    type Item = Result<RecordBatch, QueryError>;

    fn next(&mut self) -> Option<Self::Item> {
        let stream = &mut self.stream;
        let next = self.history.runtime.block_on(poll_fn(|context| stream.as_mut().poll_next(context)));
        Some(next?.map_err(|cause| explain(&self.sql, cause)))
    }
}

/// DataFusion's complaint in the words of whoever asked.
fn explain(sql: &str, error: DataFusionError) -> QueryError {
    let wrong = |what: String| QueryError::Query(what);
    match error.find_root() {
        DataFusionError::SchemaError(cause, _) => match cause.as_ref() {
            SchemaError::FieldNotFound { field, valid_fields } => {
                let mut names: Vec<&str> = valid_fields.iter().map(Column::name).collect();
                names.sort_unstable();
                names.dedup();
                let place = crate::place_of(sql, field.name())
                    .map_or(String::new(), |(line, column)| format!("line {line}, column {column}: "));
                wrong(format!(
                    "{place}there is no column `{}`; there are: {}",
                    field.name(),
                    names.join(", ")
                ))
            }
            other => wrong(other.to_string()),
        },
        DataFusionError::SQL(cause, _) => wrong(cause.to_string().replace("sql parser error: ", "")),
        DataFusionError::Plan(text) => {
            match text.strip_prefix("table '").and_then(|t| t.split_once("' not found")) {
                Some((name, _)) => {
                    let tables: Vec<&str> = Kind::ALL.into_iter().map(Kind::name).collect();
                    let name = name.rsplit('.').next().unwrap_or(name);
                    wrong(format!("there is no table `{name}`; there are: {}", tables.join(", ")))
                }
                None if text.contains(" not supported: ") => {
                    wrong(format!("the history is read only: {}", text.lines().next().unwrap_or_default()))
                }
                None => wrong(text.lines().next().unwrap_or_default().to_string()),
            }
        }
        DataFusionError::ResourcesExhausted(text) => QueryError::Failed(format!(
            "the query needs more memory than it may have: {}; ask for less (fewer days, fewer columns), or give it more with --memory",
            text.lines().next().unwrap_or_default()
        )),
        other => QueryError::Failed(other.to_string().lines().next().unwrap_or_default().to_string()),
    }
}

/// A kind's rows.
struct Table {
    kind: Kind,
    store: Arc<dyn Store>,
    schema: SchemaRef,
}

impl std::fmt::Debug for Table {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "the history of {}", self.kind.name())
    }
}

#[async_trait]
impl TableProvider for Table {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        // They leave out files and row groups; rows are judged above.
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let (store, kind) = (Arc::clone(&self.store), self.kind);
        let listed = tokio::task::spawn_blocking(move || files(&*store, kind)).await;
        let mut found = listed
            .map_err(|cause| DataFusionError::External(Box::new(cause)))?
            .map_err(|cause| DataFusionError::External(Box::new(cause)))?;
        let predicate = match conjunction(filters.to_vec()) {
            None => None,
            Some(filter) => {
                let columns = DFSchema::try_from(self.schema.as_ref().clone())?;
                let physical = state.create_physical_expr(filter, &columns)?;
                // A condition that says nothing of single columns leaves nothing out.
                let builder = PruningPredicateBuilder::new().with_file_schema(Arc::clone(&self.schema));
                builder.try_build(physical).ok().map(Arc::new)
            }
        };
        if let Some(predicate) = &predicate {
            let wanted = predicate.prune(&Folders(&found))?;
            let mut wanted = wanted.into_iter();
            found.retain(|_| wanted.next().unwrap_or(true));
        }
        let schema = match projection {
            Some(columns) => Arc::new(self.schema.project(columns)?),
            None => Arc::clone(&self.schema),
        };
        let threads = state.config().target_partitions().max(1).min(found.len().max(1));
        let mut shares: Vec<Vec<HistoryFile>> = vec![Vec::new(); threads];
        for (nth, file) in found.into_iter().enumerate() {
            shares[nth % threads].push(file);
        }
        let share = |files| -> Arc<dyn PartitionStream> {
            Arc::new(Share {
                store: Arc::clone(&self.store),
                files,
                table: Arc::clone(&self.schema),
                schema: Arc::clone(&schema),
                predicate: predicate.clone(),
            })
        };
        let shares = shares.into_iter().map(share).collect();
        Ok(Arc::new(StreamingTableExec::try_new(Arc::clone(&schema), shares, None, [], false, limit)?))
    }
}

/// What the folders of files say of the rows in them.
struct Folders<'a>(&'a [HistoryFile]);

impl Folders<'_> {
    fn values(&self, column: &Column) -> Option<ArrayRef> {
        match column.name() {
            DATE => Some(Arc::new(Date32Array::from_iter_values(self.0.iter().map(|f| f.name.place.day)))),
            "cell" => {
                let cells = self.0.iter().map(|file| cell_from_path(&file.name.place.cell));
                Some(Arc::new(cells.collect::<StringArray>()))
            }
            _ => None,
        }
    }
}

impl PruningStatistics for Folders<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.values(column)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.values(column)
    }

    fn num_containers(&self) -> usize {
        self.0.len()
    }

    fn null_counts(&self, _: &Column) -> Option<ArrayRef> {
        None
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        None
    }

    fn contained(&self, _: &Column, _: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}

/// The files that one thread reads.
struct Share {
    store: Arc<dyn Store>,
    files: Vec<HistoryFile>,
    table: SchemaRef,
    schema: SchemaRef,
    predicate: Option<Arc<PruningPredicate>>,
}

impl std::fmt::Debug for Share {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} files", self.files.len())
    }
}

impl PartitionStream for Share {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut builder = RecordBatchReceiverStream::builder(Arc::clone(&self.schema), 2);
        let out = builder.tx();
        let share = Share {
            store: Arc::clone(&self.store),
            files: self.files.clone(),
            table: Arc::clone(&self.table),
            schema: Arc::clone(&self.schema),
            predicate: self.predicate.clone(),
        };
        // Reading blocks.
        builder.spawn_blocking(move || {
            for file in &share.files {
                let more = share.read(file, |rows| out.blocking_send(Ok(rows)).is_ok())?;
                if !more {
                    // Whoever asked has enough.
                    break;
                }
            }
            Ok(())
        });
        builder.build()
    }
}

impl Share {
    /// Gives the rows of a file away, batch by batch; `false` when no more are wanted.
    fn read(&self, file: &HistoryFile, mut out: impl FnMut(RecordBatch) -> bool) -> Result<bool> {
        let path = file.name.path();
        let failed = |cause: parquet::errors::ParquetError| {
            let what = match is_missing(&cause) {
                true => format!("{path} was deleted while the query ran; ask again"),
                false => format!("{path}: {cause}"),
            };
            DataFusionError::Execution(what)
        };
        let opened = Opened::open(&self.store, &path, file.size).map_err(failed)?;
        let wanted = match &self.predicate {
            None => vec![true; opened.groups().len()],
            Some(predicate) => predicate.prune(&Groups { opened: &opened, file, table: &self.table })?,
        };
        let names: Vec<&str> = self.schema.fields().iter().map(|f| f.name().as_str()).collect();
        let stored: Vec<&str> = names.iter().copied().filter(|name| *name != DATE).collect();
        let stored_schema = self.stored_schema(&stored);
        for group in opened.groups().filter(|&group| wanted[group]) {
            for rows in opened.read(group, Some(&stored)).map_err(failed)? {
                let rows = columns::conform(&rows?, &stored_schema)?;
                if !out(self.with_date(&names, &rows, file.name.place.day)?) {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    fn with_date(&self, names: &[&str], rows: &RecordBatch, day: i32) -> Result<RecordBatch> {
        let count = rows.num_rows();
        let columns = names.iter().filter_map(|name| match *name {
            DATE => Some(Arc::new(Date32Array::from(vec![day; count])) as ArrayRef),
            name => rows.column_by_name(name).cloned(),
        });
        // Without columns, as for count(*), the number of rows would be lost.
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns.collect(), &options)?)
    }

    fn stored_schema(&self, names: &[&str]) -> SchemaRef {
        let fields = names.iter().filter_map(|name| self.schema.field_with_name(name).ok().cloned());
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }
}

/// What a file's row groups say of the rows in them.
struct Groups<'a> {
    opened: &'a Opened,
    file: &'a HistoryFile,
    table: &'a SchemaRef,
}

impl Groups<'_> {
    fn values(
        &self,
        column: &Column,
        of: impl Fn(&StatisticsConverter<'_>) -> parquet::errors::Result<ArrayRef>,
    ) -> Option<ArrayRef> {
        if column.name() == DATE {
            return Some(Arc::new(Date32Array::from(vec![self.file.name.place.day; self.num_containers()])));
        }
        // A column that came later has no statistics in an older file, which then is read.
        self.table.field_with_name(column.name()).ok()?;
        let parquet = self.opened.about().file_metadata().schema_descr();
        let converter = StatisticsConverter::try_new(column.name(), self.opened.schema(), parquet).ok()?;
        converter.parquet_column_index()?;
        of(&converter).ok()
    }
}

impl PruningStatistics for Groups<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.values(column, |of| of.row_group_mins(self.opened.about().row_groups()))
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.values(column, |of| of.row_group_maxes(self.opened.about().row_groups()))
    }

    fn num_containers(&self) -> usize {
        self.opened.about().num_row_groups()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        if column.name() == DATE {
            return Some(Arc::new(UInt64Array::from(vec![0; self.num_containers()])));
        }
        self.values(column, |of| {
            of.row_group_null_counts(self.opened.about().row_groups()).map(|n| Arc::new(n) as ArrayRef)
        })
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        let groups = self.opened.about().row_groups().iter();
        Some(Arc::new(UInt64Array::from_iter_values(groups.map(|group| group.num_rows() as u64))))
    }

    fn contained(&self, _: &Column, _: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ops::Range;
    use std::sync::Mutex;
    use yagura_archive::StoreError;
    use yagura_archive::file::Writer;
    use yagura_archive::names::{Name, Place, date_of};
    use yagura_archive::store::{Entry, Folder};
    use yagura_event::rows::{MessageBuilder, MessageRow};
    use yagura_event::{Encoding, Envelope, codec};

    /// A store that notes which files are read.
    struct Watched(Folder, Mutex<Vec<String>>);

    impl Store for Watched {
        fn describe(&self) -> String {
            self.0.describe()
        }
        fn list(&self, folder: &str) -> Result<Vec<Entry>, StoreError> {
            self.0.list(folder)
        }
        fn read(&self, path: &str, range: Range<u64>) -> Result<bytes::Bytes, StoreError> {
            self.1.lock().unwrap().push(path.into());
            self.0.read(path, range)
        }
        fn put(&self, path: &str, bytes: bytes::Bytes) -> Result<(), StoreError> {
            self.0.put(path, bytes)
        }
        fn create(&self, path: &str, bytes: bytes::Bytes) -> Result<bool, StoreError> {
            self.0.create(path, bytes)
        }
        fn remove(&self, path: &str) -> Result<(), StoreError> {
            self.0.remove(path)
        }
    }

    const DAY: i64 = 86_400_000_000;

    fn put(store: &dyn Store, day: i32, cell: &str, offset: u64, values: Range<u32>) {
        let mut builder = MessageBuilder::default();
        for value in values.clone() {
            let value = f64::from(value);
            builder.push(&MessageRow { tool: "T", value: Some(value), ..Default::default() });
        }
        let envelope = Envelope {
            kind: Kind::Message,
            version: 1,
            cell: cell.into(),
            collector: "c".into(),
            epoch: 1,
            first_row: u64::from(values.start),
            rows: values.len() as u32,
            observed: (0, 0),
            promise: 0,
            encoding: Encoding::Arrow,
            origin: None,
            places: Vec::new(),
        };
        let value = codec::encode_arrow(&builder.finish()).unwrap();
        let place = Place::new(Kind::Message, i64::from(day) * DAY, cell);
        let name = Name { place, partition: 0, first: offset, last: offset };
        let mut writer = Writer::new(Kind::Message).unwrap();
        writer
            .write(
                &columns::rows(&envelope, &value, 0, None, &yagura_event::redact::Redaction::off()).unwrap(),
            )
            .unwrap();
        store.put(&name.path(), writer.finish().unwrap()).unwrap();
    }

    fn answer(history: &History, sql: &str) -> Vec<serde_json::Map<String, serde_json::Value>> {
        let batches: Vec<_> = history.query(sql).unwrap().map(|rows| rows.unwrap()).collect();
        batches.iter().flat_map(codec::to_json_rows).collect()
    }

    #[test]
    fn conditions_leave_out_files_and_row_groups() {
        let folder = tempfile::tempdir().unwrap();
        let watched = Arc::new(Watched(Folder::new(folder.path()), Mutex::default()));
        let store: Arc<dyn Store> = watched.clone();
        for (day, cell, offset) in [(100, "a", 0), (100, "b c", 1), (101, "a", 2), (102, "a", 3)] {
            let offset32 = offset as u32 * 10;
            put(&*store, day, cell, offset, offset32..offset32 + 10);
        }
        let history = History::open(&store, 64 << 20).unwrap();
        let read = |sql: &str, count: i64| {
            watched.1.lock().unwrap().clear();
            assert_eq!(answer(&history, sql)[0]["n"], count, "{sql}");
            let mut read = watched.1.lock().unwrap().clone();
            read.sort();
            let twice = read.len();
            read.dedup();
            (read.len(), twice)
        };
        let count = "SELECT count(*) AS n FROM message";
        assert_eq!(read(count, 40).0, 4);
        assert_eq!(read(&format!("{count} WHERE date = '{}'", date_of(101)), 10).0, 1);
        assert_eq!(read(&format!("{count} WHERE date > '{}' AND cell = 'a'", date_of(100)), 20).0, 2);
        assert_eq!(read(&format!("{count} WHERE cell IN ('b c', 'x')"), 10).0, 1);
        assert_eq!(read(&format!("{count} WHERE cell = 'x'"), 0).0, 0);
        // The description of every file is read, and the rows of one.
        let (files, reads) = read(&format!("{count} WHERE value >= 32.5"), 7);
        assert_eq!((files, reads), (4, 5));
        assert_eq!(read(&format!("{count} WHERE upper(tool) = 'T' OR random() < 2"), 40).0, 4);
    }

    #[test]
    fn every_column_comes_back_with_the_day() {
        let folder = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(Folder::new(folder.path()));
        put(&*store, 100, "a", 0, 0..3);
        let history = History::open(&store, 64 << 20).unwrap();
        let rows = history.query("SELECT * FROM message").unwrap();
        assert_eq!(rows.schema().fields(), table(Kind::Message).fields());
        assert_eq!(rows.map(|rows| rows.unwrap().num_rows()).sum::<usize>(), 3);
        let day = answer(&history, "SELECT CAST(date AS VARCHAR) AS d, row FROM message WHERE row = 2");
        assert_eq!(day[0]["row"], 2);
    }

    #[test]
    fn a_query_that_needs_too_much_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(Folder::new(folder.path()));
        put(&*store, 100, "a", 0, 0..5000);
        let history = History::open(&store, 20_000).unwrap();
        let outcome = history
            .query("SELECT value, count(*) FROM message GROUP BY value")
            .and_then(|rows| rows.collect::<Result<Vec<_>, _>>());
        let told = outcome.err().unwrap().to_string();
        assert!(told.contains("--memory"), "{told}");
    }
}
