//! Which columns of a record are read.

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, DictionaryArray, StringArray, make_array, new_null_array};
use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, Field, Int32Type};

use crate::schema::Kind;

/// The columns of one kind that somebody wants. The others come as if nothing stood in them: texts
/// are empty, numbers null or 0. All columns keep their places.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Columns {
    /// By place; all when there is no list.
    wanted: Option<Vec<bool>>,
}

impl Columns {
    /// All of them.
    pub fn all() -> Columns {
        Columns::default()
    }

    /// Those of these names; names that are none of the kind's columns are passed over.
    pub fn of<'a>(kind: Kind, names: impl IntoIterator<Item = &'a str>) -> Columns {
        let schema = kind.schema();
        let mut wanted = vec![false; schema.fields().len()];
        for place in names.into_iter().filter_map(|name| schema.index_of(name).ok()) {
            wanted[place] = true;
        }
        Columns { wanted: Some(wanted) }
    }

    /// Whether all are wanted.
    pub fn are_all(&self) -> bool {
        self.wanted.as_ref().is_none_or(|wanted| wanted.iter().all(|&wanted| wanted))
    }

    /// Whether the column at a place is wanted.
    pub fn holds(&self, place: usize) -> bool {
        self.wanted.as_ref().is_none_or(|wanted| wanted.get(place).copied().unwrap_or(false))
    }
}

/// The most rows of a batch whose columns are left out.
const ROWS_MAX: usize = 1 << 16;

/// A column in which nothing stands; `None` where it would have too many rows.
pub(crate) fn empty(kind: Kind, place: usize, rows: usize) -> Option<ArrayRef> {
    static EMPTY: LazyLock<Vec<Vec<Option<ArrayRef>>>> = LazyLock::new(|| {
        // All columns of numbers and codes share these.
        let zeros = Buffer::from_vec(vec![0_u64; ROWS_MAX]);
        let of = |kind: Kind| kind.schema().fields().iter().map(|f| nothing(f, &zeros)).collect();
        Kind::ALL.into_iter().map(of).collect()
    });
    let column = EMPTY[kind as usize].get(place)?.as_ref()?;
    (rows <= ROWS_MAX).then(|| column.slice(0, rows))
}

fn nothing(field: &Field, zeros: &Buffer) -> Option<ArrayRef> {
    let zeros_of = |of: &DataType| {
        let array = arrow::array::ArrayData::builder(of.clone()).len(ROWS_MAX).add_buffer(zeros.clone());
        array.build().ok().map(make_array)
    };
    match field.data_type() {
        DataType::Dictionary(..) => {
            let codes = zeros_of(&DataType::Int32)?.to_data().into();
            let words = Arc::new(StringArray::from(vec![""]));
            Some(Arc::new(DictionaryArray::<Int32Type>::try_new(codes, words).ok()?))
        }
        DataType::Utf8 => Some(Arc::new(StringArray::from(vec![""; ROWS_MAX]))),
        of if field.is_nullable() => Some(new_null_array(of, ROWS_MAX)),
        of if of.is_primitive() => zeros_of(of),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_wanted_by_name_and_keep_their_places() {
        let columns = Columns::of(Kind::Message, ["operation", "colour", "time"]);
        let schema = Kind::Message.schema();
        let wanted = (0..schema.fields().len()).filter(|&place| columns.holds(place));
        assert_eq!(
            wanted.map(|p| schema.field(p).name().as_str()).collect::<Vec<_>>(),
            ["time", "operation"]
        );
        assert!(Columns::all().holds(99) && Columns::all().are_all() && !columns.are_all());
    }

    #[test]
    fn nothing_stands_in_an_empty_column_of_any_kind() {
        for kind in Kind::ALL {
            for (place, field) in kind.schema().fields().iter().enumerate() {
                let Some(column) = empty(kind, place, 3) else { panic!("{field} has no empty column") };
                assert_eq!((column.len(), column.data_type()), (3, field.data_type()));
                assert_eq!(column.null_count(), if field.is_nullable() { 3 } else { 0 }, "{field}");
                assert!(empty(kind, place, ROWS_MAX + 1).is_none());
            }
        }
    }
}
