//! Rows to bytes and back.

use std::io::Cursor;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::ipc::CompressionType;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};

use crate::envelope::{Encoding, Envelope};
use crate::error::EventError;
use crate::schema::Kind;

/// An envelope and its rows, decoded.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// What they are and where they come from.
    pub envelope: Envelope,
    /// The rows, in the kind's schema.
    pub rows: RecordBatch,
}

/// Rows as one Arrow IPC stream with LZ4 buffers.
pub fn encode_arrow(rows: &RecordBatch) -> Result<Vec<u8>, EventError> {
    let fail = |e: arrow::error::ArrowError| EventError::Payload(e.to_string());
    let options = IpcWriteOptions::default()
        .try_with_compression(Some(CompressionType::LZ4_FRAME))
        .map_err(fail)?;
    let mut out = Vec::with_capacity(1024 + rows.get_array_memory_size() / 2);
    let mut writer =
        StreamWriter::try_new_with_options(&mut out, &rows.schema(), options).map_err(fail)?;
    writer.write(rows).map_err(fail)?;
    writer.finish().map_err(fail)?;
    drop(writer);
    Ok(out)
}

/// Rows of a record; checks number and columns against the envelope. A heartbeat has none.
pub fn decode(envelope: &Envelope, value: &[u8]) -> Result<RecordBatch, EventError> {
    let schema = envelope.kind.schema();
    if envelope.is_heartbeat() {
        return Ok(RecordBatch::new_empty(schema));
    }
    let rows = match envelope.encoding {
        Encoding::Arrow => decode_arrow(envelope.kind, value)?,
        Encoding::Json => decode_json(envelope.kind, value)?,
    };
    if rows.num_rows() != envelope.rows as usize {
        return Err(EventError::Payload(format!(
            "the envelope promises {} rows, the payload has {}",
            envelope.rows,
            rows.num_rows()
        )));
    }
    Ok(rows)
}

fn decode_arrow(kind: Kind, value: &[u8]) -> Result<RecordBatch, EventError> {
    let fail = |e: arrow::error::ArrowError| EventError::Payload(e.to_string());
    let mut reader = StreamReader::try_new(Cursor::new(value), None).map_err(fail)?;
    let rows = match reader.next() {
        Some(rows) => rows.map_err(fail)?,
        None => return Err(EventError::Payload("an Arrow stream without a batch".into())),
    };
    if rows.schema() == kind.schema() { Ok(rows) } else { conform(kind, &rows) }
}

/// Reads one JSON object a line. Times are RFC 3339 texts or microseconds; absent strings are
/// empty, absent numbers null (or 0 where the column has no null).
pub fn decode_json(kind: Kind, value: &[u8]) -> Result<RecordBatch, EventError> {
    let fail = |e: arrow::error::ArrowError| EventError::Payload(e.to_string());
    let plain: Vec<Field> = kind
        .schema()
        .fields()
        .iter()
        .map(|f| {
            let ty = match f.data_type() {
                DataType::Dictionary(_, value) => value.as_ref().clone(),
                other => other.clone(),
            };
            Field::new(f.name(), ty, true)
        })
        .collect();
    let mut decoder = arrow::json::ReaderBuilder::new(Arc::new(Schema::new(plain)))
        .with_batch_size(value.len().max(1))
        .build_decoder()
        .map_err(fail)?;
    let read = decoder.decode(value).map_err(fail)?;
    if read < value.len() {
        return Err(EventError::Payload("more rows than fit into a record".into()));
    }
    match decoder.flush().map_err(fail)? {
        Some(rows) => conform(kind, &rows),
        None => Ok(RecordBatch::new_empty(kind.schema())),
    }
}

/// Gives `rows` the kind's columns, order and types; a column that cannot is an error.
fn conform(kind: Kind, rows: &RecordBatch) -> Result<RecordBatch, EventError> {
    let bad = |column: &str, problem: String| EventError::Column {
        kind: kind.name(),
        column: column.to_string(),
        problem,
    };
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(kind.schema().fields().len());
    for field in kind.schema().fields() {
        let column = rows
            .column_by_name(field.name())
            .ok_or_else(|| bad(field.name(), "is missing".into()))?;
        let filled = if column.null_count() > 0 && !field.is_nullable() {
            fill_nulls(column).map_err(|p| bad(field.name(), p))?
        } else {
            Arc::clone(column)
        };
        let cast = cast(&filled, field.data_type()).map_err(|e| bad(field.name(), e.to_string()))?;
        columns.push(cast);
    }
    RecordBatch::try_new(kind.schema(), columns).map_err(|e| EventError::Payload(e.to_string()))
}

fn fill_nulls(column: &ArrayRef) -> Result<ArrayRef, String> {
    match column.data_type() {
        DataType::Utf8 => {
            let filled: StringArray =
                column.as_string::<i32>().iter().map(|v| Some(v.unwrap_or(""))).collect();
            Ok(Arc::new(filled))
        }
        DataType::Timestamp(..) => Err("is missing in some row; every row needs it".into()),
        _ => {
            let data = column.to_data().into_builder().nulls(None).build();
            data.map(arrow::array::make_array).map_err(|e| e.to_string())
        }
    }
}

/// Rows as JSON objects by column name: times as microseconds, nulls left out.
pub fn to_json_rows(rows: &RecordBatch) -> Vec<serde_json::Map<String, serde_json::Value>> {
    let schema = rows.schema();
    let mut out = vec![serde_json::Map::new(); rows.num_rows()];
    for (field, column) in schema.fields().iter().zip(rows.columns()) {
        for (index, object) in out.iter_mut().enumerate() {
            if let Some(value) = json_value(column, index) {
                object.insert(field.name().clone(), value);
            }
        }
    }
    out
}

/// One cell of a column as JSON; `None` for null.
pub fn json_value(column: &ArrayRef, row: usize) -> Option<serde_json::Value> {
    use arrow::datatypes::{
        Float64Type, Int32Type, Int64Type, TimestampMicrosecondType, UInt8Type, UInt16Type,
        UInt32Type, UInt64Type,
    };
    if column.is_null(row) {
        return None;
    }
    Some(match column.data_type() {
        DataType::Utf8 => column.as_string::<i32>().value(row).into(),
        DataType::Dictionary(..) => {
            let dictionary = column.as_dictionary_opt::<Int32Type>()?;
            let key = dictionary.keys().value(row) as usize;
            dictionary.values().as_string_opt::<i32>()?.value(key).into()
        }
        DataType::Timestamp(..) => {
            column.as_primitive_opt::<TimestampMicrosecondType>()?.value(row).into()
        }
        DataType::Float64 => column.as_primitive::<Float64Type>().value(row).into(),
        DataType::Int64 => column.as_primitive::<Int64Type>().value(row).into(),
        DataType::UInt8 => column.as_primitive::<UInt8Type>().value(row).into(),
        DataType::UInt16 => column.as_primitive::<UInt16Type>().value(row).into(),
        DataType::UInt32 => column.as_primitive::<UInt32Type>().value(row).into(),
        DataType::UInt64 => column.as_primitive::<UInt64Type>().value(row).into(),
        DataType::Boolean => column.as_boolean().value(row).into(),
        _ => return None,
    })
}
