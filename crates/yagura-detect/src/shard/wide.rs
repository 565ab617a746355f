//! Rows with the columns that a detection adds to them.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, DictionaryArray, RecordBatch, new_null_array};
use arrow::datatypes::{DataType, Int32Type};
use yagura_event::Kind;

use super::Stats;
use crate::asof::{Contexts, joined_schema, places_of};
use crate::pipeline::{Computed, Detection};

/// The rows of a kind with the contexts that a detection joins to that kind and the columns that it computes, if there
/// are any; each context's column is made once a record. What cannot be computed is empty, and counted.
pub(super) fn widen<'a>(
    held: &Contexts,
    stats: &mut Stats,
    detection: &'a Detection,
    kind: Kind,
    rows: &RecordBatch,
    joined: &mut BTreeMap<&'a str, ArrayRef>,
) -> Option<RecordBatch> {
    let join = if places_of(kind).is_empty() { &[][..] } else { &detection.join };
    let own = kind == detection.on;
    if join.is_empty() && (detection.compute.is_empty() || !own) {
        return None;
    }
    let mut columns = rows.columns().to_vec();
    for name in join {
        let column = joined.entry(name).or_insert_with(|| held.column(kind, rows, name));
        columns.push(Arc::clone(column));
    }
    let schema = joined_schema(kind, join);
    if !own || detection.compute.is_empty() {
        return RecordBatch::try_new(if own { Arc::clone(&detection.schema) } else { schema }, columns).ok();
    }
    let narrow = RecordBatch::try_new(schema, columns.clone()).ok()?;
    for Computed { expression, .. } in &detection.compute {
        columns.push(expression.evaluate(&narrow).unwrap_or_else(|_| {
            stats.failed_conditions += 1;
            nothing(&expression.data_type(), rows.num_rows())
        }));
    }
    RecordBatch::try_new(Arc::clone(&detection.schema), columns).ok()
}

/// Empty texts, or missing numbers.
fn nothing(of: &DataType, rows: usize) -> ArrayRef {
    match of {
        DataType::Dictionary(..) => {
            let empty: DictionaryArray<Int32Type> = std::iter::repeat_n("", rows).collect();
            Arc::new(empty)
        }
        other => new_null_array(other, rows),
    }
}
