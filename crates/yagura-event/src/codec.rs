//! Rows to bytes and back.

use std::io::Cursor;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::ipc::CompressionType;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};

use crate::columns::Columns;
use crate::envelope::{Encoding, Envelope};
use crate::error::EventError;
use crate::schema::Kind;
use crate::{ipc, stream};

/// The most rows of a record: many times what collectors put into one.
const ROWS_MAX: usize = 1 << 20;
/// The most lines of a record of JSON, for each of which the decoder takes a kilobyte or two.
const JSON_LINES_MAX: usize = 1 << 17;

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
    let options =
        IpcWriteOptions::default().try_with_compression(Some(CompressionType::LZ4_FRAME)).map_err(fail)?;
    let mut out = Vec::with_capacity(1024 + rows.get_array_memory_size() / 2);
    let mut writer = StreamWriter::try_new_with_options(&mut out, &rows.schema(), options).map_err(fail)?;
    writer.write(rows).map_err(fail)?;
    writer.finish().map_err(fail)?;
    drop(writer);
    Ok(out)
}

/// Rows of a record; checks number and columns against the envelope. A heartbeat has none.
pub fn decode(envelope: &Envelope, value: &[u8]) -> Result<RecordBatch, EventError> {
    decode_columns(envelope, value, &Columns::all())
}

/// As [`decode`], where somebody wants some columns only: the others may come empty. A stream that is
/// damaged where nobody looks, in the bytes of a column that is left out, is as good as a whole one.
pub fn decode_columns(
    envelope: &Envelope,
    value: &[u8],
    columns: &Columns,
) -> Result<RecordBatch, EventError> {
    let schema = envelope.kind.schema();
    if envelope.is_heartbeat() {
        return Ok(RecordBatch::new_empty(schema));
    }
    let rows = match envelope.encoding {
        Encoding::Arrow => decode_arrow(envelope.kind, value, columns)?,
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

fn decode_arrow(kind: Kind, value: &[u8], columns: &Columns) -> Result<RecordBatch, EventError> {
    let rows = match stream::read(kind, value, columns) {
        Some(rows) => rows,
        None => decode_any_arrow(value)?,
    };
    if rows.num_rows() > ROWS_MAX {
        let found = rows.num_rows();
        return Err(EventError::Payload(format!("{found} rows are more than a record may have, {ROWS_MAX}")));
    }
    if rows.schema() == kind.schema() { Ok(rows) } else { conform(kind, &rows) }
}

/// The first batch of any stream.
pub(crate) fn decode_any_arrow(value: &[u8]) -> Result<RecordBatch, EventError> {
    match batches(value)?.next() {
        Some(rows) => rows,
        None => Err(EventError::Payload("an Arrow stream without a batch".into())),
    }
}

/// The batches of an Arrow stream with whatever columns. No length in it is believed before it was compared with
/// the bytes that there are.
pub fn batches(value: &[u8]) -> Result<impl Iterator<Item = Result<RecordBatch, EventError>>, EventError> {
    let fail = |e: arrow::error::ArrowError| EventError::Payload(e.to_string());
    ipc::check(value).map_err(EventError::Payload)?;
    let reader = StreamReader::try_new(Cursor::new(value), None).map_err(fail)?;
    Ok(reader.map(move |rows| match rows.map_err(fail)? {
        rows if rows.num_rows() > ROWS_MAX => {
            let found = rows.num_rows();
            Err(EventError::Payload(format!("{found} rows are more than a batch may have, {ROWS_MAX}")))
        }
        rows => Ok(rows),
    }))
}

/// Reads one JSON object a line. Times are RFC 3339 texts or microseconds; absent strings are
/// empty, absent numbers null (or 0 where the column has no null).
pub fn decode_json(kind: Kind, value: &[u8]) -> Result<RecordBatch, EventError> {
    let fail = |e: arrow::error::ArrowError| EventError::Payload(e.to_string());
    // The decoder makes room for every row beforehand.
    let lines = value.iter().filter(|&&byte| byte == b'\n').count() + 1;
    if lines > JSON_LINES_MAX {
        return Err(EventError::Payload(format!(
            "{lines} lines are more than a record may have, {JSON_LINES_MAX}"
        )));
    }
    let plain: Vec<Field> = kind
        .schema()
        .fields()
        .iter()
        .map(|f| {
            let ty = match f.data_type() {
                DataType::Dictionary(_, value) => value.as_ref().clone(),
                // The JSON reader knows offsets only; the same instants.
                DataType::Timestamp(unit, Some(_)) => DataType::Timestamp(*unit, Some("+00:00".into())),
                other => other.clone(),
            };
            Field::new(f.name(), ty, true)
        })
        .collect();
    let mut decoder = arrow::json::ReaderBuilder::new(Arc::new(Schema::new(plain)))
        .with_batch_size(lines)
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
        let column =
            rows.column_by_name(field.name()).ok_or_else(|| bad(field.name(), "is missing".into()))?;
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
        Float64Type, Int32Type, Int64Type, TimestampMicrosecondType, UInt8Type, UInt16Type, UInt32Type,
        UInt64Type,
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
        DataType::Timestamp(..) => column.as_primitive_opt::<TimestampMicrosecondType>()?.value(row).into(),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::rows::{MessageBuilder, MessageRow};

    fn envelope(kind: Kind, rows: u32, encoding: Encoding) -> Envelope {
        Envelope {
            kind,
            version: 1,
            cell: "bay".into(),
            collector: "c".into(),
            epoch: 7,
            first_row: 3,
            rows,
            observed: (1, 2),
            promise: 2,
            encoding,
            origin: None,
            places: Vec::new(),
        }
    }

    #[test]
    fn arrow_and_json_give_the_same_rows() {
        let time = clock::parse_rfc3339("2026-11-02T22:00:01.5Z").expect("a time");
        let mut builder = MessageBuilder::default();
        builder.push(&MessageRow {
            time,
            observed: time,
            protocol: "modbus",
            operation: "write",
            value: Some(7.5),
            client_port: 1024,
            ..Default::default()
        });
        let rows = builder.finish();
        let bytes = encode_arrow(&rows).expect("encodes");
        assert_eq!(decode(&envelope(Kind::Message, 1, Encoding::Arrow), &bytes).expect("decodes"), rows);
        let line = br#"{"time":"2026-11-02T22:00:01.5Z","observed":"2026-11-02T23:00:01.5+01:00","protocol":"modbus","operation":"write","value":7.5,"client_port":1024}"#;
        let read = decode(&envelope(Kind::Message, 1, Encoding::Json), line).expect("decodes");
        assert_eq!(to_json_rows(&read), to_json_rows(&rows));
        assert_eq!(read.schema(), rows.schema());
    }

    #[test]
    fn what_is_not_as_promised_is_an_error() {
        let one = |kind, rows, encoding, value: &[u8]| decode(&envelope(kind, rows, encoding), value);
        assert!(one(Kind::Message, 1, Encoding::Arrow, b"nonsense").is_err());
        assert!(
            one(Kind::Log, 2, Encoding::Json, br#"{"time":1,"observed":1}"#).is_err(),
            "one row is not two"
        );
        let error = one(Kind::Log, 1, Encoding::Json, br#"{"event":"x"}"#).expect_err("no time");
        assert!(error.to_string().contains("`time`"), "{error}");
        assert_eq!(one(Kind::Log, 0, Encoding::Json, b"").expect("a heartbeat").num_rows(), 0);
    }

    #[test]
    fn what_a_record_of_json_takes_is_bounded_by_its_lines() {
        let one = |rows, value: &[u8]| decode(&envelope(Kind::Log, rows, Encoding::Json), value);
        // One row of many megabytes: room for a row a byte would be more than a machine has.
        let long = format!(r#"{{"time":1,"observed":1,"detail":"{}"}}"#, "x".repeat(15 << 20));
        assert_eq!(one(1, long.as_bytes()).expect("a row").num_rows(), 1);
        let row = br#"{"time":1,"observed":1}"#.to_vec();
        assert_eq!(one(2, &[&row[..], b"\n", &row[..], b"\n"].concat()).expect("two rows").num_rows(), 2);
        assert!(one(2, &[&row[..], &row[..]].concat()).is_err(), "a row a line");
        assert!(one(1, &vec![b'\n'; JSON_LINES_MAX]).is_err());
    }

    #[test]
    fn envelopes_of_a_newer_schema_are_refused() {
        let mut newer = envelope(Kind::Log, 0, Encoding::Arrow);
        assert_eq!(Envelope::from_header(&newer.to_header()).expect("its own"), newer);
        newer.version = 2;
        assert!(matches!(Envelope::from_header(&newer.to_header()), Err(EventError::Newer { found: 2, .. })));
        assert!(Envelope::from_header(b"{}").is_err());
    }
}
