//! The columns of the history, and a record's rows in them.

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, DictionaryArray, Int32Array, RecordBatch, StringArray,
    TimestampMicrosecondArray, UInt32Array, UInt64Array,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt32Type};
use yagura_event::redact::Redaction;
use yagura_event::schema::{dictionary_type, timestamp_type};
use yagura_event::{Alert, Envelope, EventError, Kind, codec};

use crate::series::Names;

/// Columns that every kind has beside its own: a row's identity. An alert's `cause_…` columns say
/// which row caused it in these terms.
const IDENTITY: [&str; 4] = ["cell", "collector", "epoch", "row"];

/// The names of a sample's series, put beside it: its dense number means nothing later. Null where
/// the series was never defined.
const SAMPLE_NAMES: [&str; 5] = ["tool", "chamber", "signal", "unit", "class"];

/// The columns of a kind in the history: the kind's own, then the row's cell, collector, epoch and
/// number. Samples have the names of their series too, alerts what stands in their JSON document.
pub fn schema(kind: Kind) -> SchemaRef {
    static SCHEMAS: LazyLock<Vec<SchemaRef>> =
        LazyLock::new(|| Kind::ALL.into_iter().map(|kind| Arc::new(Schema::new(fields(kind)))).collect());
    Arc::clone(&SCHEMAS[kind as usize])
}

fn fields(kind: Kind) -> Vec<Field> {
    let mut fields: Vec<Field> = match kind {
        Kind::Alert => alert_fields(),
        kind => kind.schema().fields().iter().map(|field| field.as_ref().clone()).collect(),
    };
    if kind == Kind::Sample {
        fields.extend(SAMPLE_NAMES.map(|name| Field::new(name, dictionary_type(), true)));
    }
    fields.extend(IDENTITY.map(|name| match name {
        "cell" | "collector" => Field::new(name, dictionary_type(), false),
        _ => Field::new(name, DataType::UInt64, false),
    }));
    fields
}

fn alert_fields() -> Vec<Field> {
    let word = |name: &str| Field::new(name, dictionary_type(), false);
    let text = |name: &str| Field::new(name, DataType::Utf8, false);
    let time = |name: &str| Field::new(name, timestamp_type(), false);
    let number = |name: &str| Field::new(name, DataType::UInt64, false);
    vec![
        time("time"),
        time("observed"),
        time("last_time"),
        text("uid"),
        Field::new("revision", DataType::UInt32, false),
        word("detection"),
        word("title"),
        word("queue"),
        word("severity"),
        word("tool"),
        text("summary"),
        text("techniques"),
        text("outcomes"),
        number("count"),
        text("key"),
        Field::new("late", DataType::Boolean, false),
        word("cause_collector"),
        number("cause_epoch"),
        number("cause_row"),
        text("alert"),
    ]
}

/// The rows of a record from row `from` on, in the columns of the history. `names` are those of the
/// record's collector, for samples.
pub fn rows(
    envelope: &Envelope,
    value: &[u8],
    from: usize,
    names: Option<&Names>,
    redact: &Redaction,
) -> Result<RecordBatch, EventError> {
    let mut columns = match envelope.kind {
        Kind::Alert => alerts(envelope, value, redact)?,
        _ => redacted(&codec::decode(envelope, value)?, envelope.kind, redact),
    };
    let count = envelope.rows as usize;
    if envelope.kind == Kind::Sample {
        let numbers = columns.first().and_then(|column| column.as_primitive_opt::<UInt32Type>());
        let numbers = numbers.map_or(&[][..], |numbers| numbers.values());
        columns.extend(match names {
            Some(names) => names.columns(numbers),
            None => Names::default().columns(numbers),
        });
    }
    columns.push(one_word(&envelope.cell, count));
    columns.push(one_word(&envelope.collector, count));
    columns.push(Arc::new(UInt64Array::from(vec![envelope.epoch; count])));
    columns.push(Arc::new(UInt64Array::from_iter_values(envelope.first_row..envelope.end_row())));
    let rows = RecordBatch::try_new(schema(envelope.kind), columns)
        .map_err(|e| EventError::Payload(e.to_string()))?;
    Ok(if from == 0 { rows } else { rows.slice(from, count - from) })
}

/// The columns of rows without what is left out.
fn redacted(rows: &RecordBatch, kind: Kind, redact: &Redaction) -> Vec<ArrayRef> {
    if redact.is_off() {
        return rows.columns().to_vec();
    }
    let named = |(field, column): (&Arc<Field>, &ArrayRef)| {
        if kind == Kind::Context
            && field.name() == "value"
            && let Some(names) = rows.column_by_name("name").and_then(texts_of)
        {
            return masked(column, |row| redact.mark_of_context(names.value(row)));
        }
        match redact.mark_of(field.name()) {
            Some(mark) => masked(column, |_| Some(mark)),
            None => Arc::clone(column),
        }
    };
    rows.schema().fields().iter().zip(rows.columns()).map(named).collect()
}

/// A column of texts with marks where there are some; what is empty stays so, and what is no text.
fn masked(column: &ArrayRef, mark: impl Fn(usize) -> Option<&'static str>) -> ArrayRef {
    let Some(texts) = texts_of(column) else { return Arc::clone(column) };
    let shown = (0..texts.len()).map(|row| match texts.value(row) {
        "" => "",
        text => mark(row).unwrap_or(text),
    });
    let shown: ArrayRef = Arc::new(StringArray::from_iter_values(shown));
    // Both are texts: the type that it had.
    arrow::compute::cast(&shown, column.data_type()).unwrap_or(shown)
}

fn texts_of(column: &ArrayRef) -> Option<StringArray> {
    let plain = arrow::compute::cast(column, &DataType::Utf8).ok();
    let is_text = matches!(column.data_type(), DataType::Utf8 | DataType::Dictionary(..));
    plain.filter(|_| is_text)?.as_any().downcast_ref::<StringArray>().cloned()
}

/// A column in which every row has the same word.
fn one_word(word: &str, rows: usize) -> ArrayRef {
    let keys = Int32Array::from(vec![0; rows]);
    Arc::new(DictionaryArray::new(keys, Arc::new(StringArray::from(vec![word]))))
}

/// Alerts are one JSON document a line.
fn alerts(envelope: &Envelope, value: &[u8], redact: &Redaction) -> Result<Vec<ArrayRef>, EventError> {
    let bad = |problem: String| EventError::Payload(format!("an alert cannot be read: {problem}"));
    let lines = value.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let mut read: Vec<(Alert, Cow<'_, str>)> = Vec::new();
    for line in lines {
        let text = std::str::from_utf8(line).map_err(|e| bad(e.to_string()))?;
        let alert: Alert = serde_json::from_str(text).map_err(|e| bad(e.to_string()))?;
        if redact.is_off() {
            read.push((alert, text.into()));
        } else {
            let alert = redact.apply(alert);
            let text = serde_json::to_string(&alert).map_err(|e| bad(e.to_string()))?;
            read.push((alert, text.into()));
        }
    }
    if read.len() != envelope.rows as usize {
        return Err(bad(format!("the envelope promises {}, there are {}", envelope.rows, read.len())));
    }
    let all = || read.iter().map(|(alert, _)| alert);
    let words = |of: fn(&Alert) -> &str| -> ArrayRef {
        Arc::new(all().map(of).collect::<DictionaryArray<arrow::datatypes::Int32Type>>())
    };
    let times = |of: fn(&Alert) -> i64| -> ArrayRef {
        Arc::new(TimestampMicrosecondArray::from_iter_values(all().map(of)).with_timezone("UTC"))
    };
    let numbers =
        |of: fn(&Alert) -> u64| -> ArrayRef { Arc::new(UInt64Array::from_iter_values(all().map(of))) };
    let texts = |of: &dyn Fn(&Alert) -> String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(all().map(of)))
    };
    Ok(vec![
        times(|a| a.time),
        times(|a| a.observed),
        times(|a| a.last_time),
        texts(&|a| a.uid.to_string()),
        Arc::new(UInt32Array::from_iter_values(all().map(|a| a.revision))),
        words(|a| &a.detection),
        words(|a| &a.title),
        words(|a| a.queue.name()),
        words(|a| a.severity.name()),
        words(|a| &a.tool),
        texts(&|a| a.summary.clone()),
        texts(&|a| a.techniques.join(" ")),
        texts(&|a| a.outcomes.join(" ")),
        numbers(|a| a.count),
        texts(&|a| serde_json::to_string(&a.key).unwrap_or_default()),
        Arc::new(all().map(|a| Some(a.late)).collect::<BooleanArray>()),
        words(|a| &a.cause.collector),
        numbers(|a| a.cause.epoch),
        numbers(|a| a.cause.row),
        Arc::new(StringArray::from_iter_values(read.iter().map(|(_, text)| text.as_ref()))),
    ])
}

/// Gives rows of a file the columns of today: one that the file does not have is null, or empty
/// where the kind has no nulls.
pub fn conform(rows: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, arrow::error::ArrowError> {
    if rows.schema().fields() == schema.fields() {
        return Ok(rows.clone());
    }
    let columns = schema.fields().iter().map(|field| match rows.column_by_name(field.name()) {
        Some(column) if column.data_type() == field.data_type() => Ok(Arc::clone(column)),
        Some(column) => arrow::compute::cast(column, field.data_type()),
        None if field.is_nullable() => Ok(arrow::array::new_null_array(field.data_type(), rows.num_rows())),
        None => empty(field.data_type(), rows.num_rows()),
    });
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    // Without columns the number of rows would be lost.
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
}

/// Empty texts and zeros.
fn empty(ty: &DataType, rows: usize) -> Result<ArrayRef, arrow::error::ArrowError> {
    match ty {
        DataType::Utf8 => Ok(Arc::new(StringArray::from(vec![""; rows]))),
        DataType::Dictionary(..) => Ok(one_word("", rows)),
        DataType::Boolean => Ok(Arc::new(BooleanArray::from(vec![false; rows]))),
        other => arrow::compute::cast(&UInt64Array::from(vec![0; rows]), &DataType::Int64)
            .and_then(|zeros| arrow::compute::cast(&zeros, other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn every_kind_keeps_its_columns_and_gets_the_rows_identity() {
        for kind in Kind::ALL {
            let schema = schema(kind);
            for field in kind.schema().fields() {
                assert!(schema.field_with_name(field.name()).is_ok(), "{kind:?} {}", field.name());
            }
            for name in IDENTITY {
                assert_eq!(schema.fields().iter().filter(|f| f.name() == name).count(), 1, "{kind:?} {name}");
            }
        }
    }

    #[test]
    fn rows_have_their_numbers_and_those_known_already_are_left_out() {
        let (envelope, value) = testing::messages("bay", 7, 10, &["a", "b", "c"]);
        let rows = rows(&envelope, &value, 1, None, &Redaction::off()).unwrap();
        let numbers = rows.column_by_name("row").unwrap();
        assert_eq!(numbers.as_primitive::<arrow::datatypes::UInt64Type>().values(), &[11, 12]);
        let targets = codec::to_json_rows(&rows);
        assert_eq!((targets[0]["target"].as_str(), targets[0]["cell"].as_str()), (Some("b"), Some("bay")));
        assert_eq!(targets[1]["epoch"], 7);
    }

    #[test]
    fn an_alert_says_which_row_caused_it() {
        let (envelope, value) = testing::alert("bay", 4);
        let rows = codec::to_json_rows(&rows(&envelope, &value, 0, None, &Redaction::off()).unwrap());
        assert_eq!((&rows[0]["cause_collector"], &rows[0]["cause_row"]), (&"c".into(), &9.into()));
        assert_eq!((&rows[0]["row"], &rows[0]["severity"]), (&4.into(), &"high".into()));
        let bytes = &value[..value.len() - 1];
        assert!(super::rows(&envelope, bytes, 0, None, &Redaction::off()).is_err());
    }

    #[test]
    fn what_is_left_out_is_marked_and_the_rest_stays() {
        let everything = Redaction::default();
        let (envelope, value) = testing::alert("bay", 4);
        let plain = codec::to_json_rows(&rows(&envelope, &value, 0, None, &Redaction::off()).unwrap());
        let shown = codec::to_json_rows(&rows(&envelope, &value, 0, None, &everything).unwrap());
        assert_eq!((&shown[0]["uid"], &shown[0]["detection"]), (&plain[0]["uid"], &plain[0]["detection"]));
        let mut builder = yagura_event::rows::ContextBuilder::default();
        for (name, value) in [("lot", "L-1"), ("badge", "mori"), ("recipe", "OX"), ("lot", "")] {
            builder.push(&yagura_event::rows::ContextRow { name, value, tool: "T", ..Default::default() });
        }
        let contexts = builder.finish();
        let values = |redact: &Redaction| {
            let columns = redacted(&contexts, Kind::Context, redact);
            let batch = RecordBatch::try_new(contexts.schema(), columns).unwrap();
            let rows = codec::to_json_rows(&batch);
            rows.iter().map(|row| row["value"].as_str().unwrap_or("").to_string()).collect::<Vec<_>>()
        };
        assert_eq!(values(&Redaction::off()), ["L-1", "mori", "OX", ""]);
        assert_eq!(values(&everything), ["[process]", "[personal]", "OX", ""]);
    }

    #[test]
    fn a_file_of_an_older_form_gets_the_columns_of_today() {
        let (envelope, value) = testing::messages("bay", 7, 10, &["a"]);
        let rows = rows(&envelope, &value, 0, None, &Redaction::off()).unwrap();
        let old = rows.project(&[0, 15]).unwrap();
        let now = conform(&old, &schema(Kind::Message)).unwrap();
        let read = codec::to_json_rows(&now);
        assert_eq!(
            (&read[0]["target"], &read[0]["protocol"], read[0].get("value")),
            (&"a".into(), &"".into(), None)
        );
    }
}
