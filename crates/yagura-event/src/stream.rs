//! Records of rows as collectors write them, read column by column.
//!
//! Arrow's own reader decodes all that is in a stream. This one looks at each message once, takes
//! the columns that are asked for, and decompresses with a decoder made for columns ([`lz4`]). It reads
//! what [`crate::codec::encode_arrow`] writes: a schema that is the kind's, dictionaries, one batch.
//! Whatever else a stream may be, it answers nothing and leaves it to Arrow's reader, which also
//! says what is wrong with one. Arrays are built with all of Arrow's checks.

use std::sync::LazyLock;

use arrow::array::{Array, ArrayData, ArrayRef, RecordBatch, make_array};
use arrow::buffer::Buffer;
use arrow::datatypes::DataType;
use arrow::ipc::{CompressionType, Message, MetadataVersion, root_as_message};

use crate::codec::encode_arrow;
use crate::columns::{Columns, empty};
use crate::ipc::{CONTINUATION, DECODED_BYTES_MAX, LZ4_RATIO_MAX, UNCOMPRESSED, u32_at};
use crate::lz4;
use crate::schema::Kind;

/// The rows of a stream; `None` for one that Arrow's reader must look at.
pub(crate) fn read(kind: Kind, stream: &[u8], columns: &Columns) -> Option<RecordBatch> {
    // Arrow's builders take some lengths for granted. Nothing is shared that could be left half done.
    let read = std::panic::AssertUnwindSafe(|| read_messages(kind, stream, columns));
    std::panic::catch_unwind(read).ok().flatten()
}

fn read_messages(kind: Kind, stream: &[u8], columns: &Columns) -> Option<RecordBatch> {
    let mut rest = stream;
    let ids = dictionaries(kind, &mut rest)?;
    let mut words: Vec<Option<ArrayRef>> = vec![None; ids.len()];
    let mut decoded = 0;
    let rows = loop {
        let (message, body) = next(&mut rest)?;
        if message.version() != MetadataVersion::V5 {
            return None;
        }
        if let Some(dictionary) = message.header_as_dictionary_batch() {
            let place = ids.iter().position(|id| *id == Some(dictionary.id()))?;
            if dictionary.isDelta() || words[place].is_some() {
                return None;
            }
            if columns.holds(place) {
                let mut parts = Parts::new(dictionary.data()?, body, &mut decoded)?;
                words[place] = Some(parts.array(&DataType::Utf8, None)?);
            }
        } else {
            break batch(kind, message, body, columns, &words, &mut decoded)?;
        }
    };
    // Nothing follows but the mark of the end.
    let end = matches!(rest, [] | [255, 255, 255, 255, 0, 0, 0, 0]);
    end.then_some(rows)
}

fn batch(
    kind: Kind,
    message: Message<'_>,
    body: &[u8],
    columns: &Columns,
    words: &[Option<ArrayRef>],
    decoded: &mut u64,
) -> Option<RecordBatch> {
    let batch = message.header_as_record_batch()?;
    let rows = usize::try_from(batch.length()).ok()?;
    let mut parts = Parts::new(batch, body, decoded)?;
    let schema = kind.schema();
    let mut arrays = Vec::with_capacity(schema.fields().len());
    for (place, field) in schema.fields().iter().enumerate() {
        let left_out = if columns.holds(place) { None } else { empty(kind, place, rows) };
        match left_out {
            Some(array) => {
                parts.skip(field.data_type());
                arrays.push(array);
            }
            None => arrays.push(parts.array(field.data_type(), words[place].as_ref())?),
        }
    }
    RecordBatch::try_new(schema, arrays).ok()
}

/// The parts of a batch that are not read yet.
struct Parts<'a> {
    batch: arrow::ipc::RecordBatch<'a>,
    body: &'a [u8],
    compressed: bool,
    node: usize,
    buffer: usize,
    /// Bytes that the whole stream had before it was compressed.
    decoded: &'a mut u64,
}

impl<'a> Parts<'a> {
    fn new(batch: arrow::ipc::RecordBatch<'a>, body: &'a [u8], decoded: &'a mut u64) -> Option<Self> {
        let compression = batch.compression();
        if compression.is_some_and(|c| c.codec() != CompressionType::LZ4_FRAME) {
            return None;
        }
        Some(Parts { batch, body, compressed: compression.is_some(), node: 0, buffer: 0, decoded })
    }

    fn skip(&mut self, of: &DataType) {
        self.node += 1;
        self.buffer += buffers(of);
    }

    /// The next column; of one of words, with the words.
    fn array(&mut self, of: &DataType, words: Option<&ArrayRef>) -> Option<ArrayRef> {
        let nodes = self.batch.nodes().filter(|nodes| self.node < nodes.len())?;
        let node = nodes.get(self.node);
        self.node += 1;
        let length = usize::try_from(node.length()).ok()?;
        let mut array = ArrayData::builder(of.clone())
            .len(length)
            .null_count(usize::try_from(node.null_count()).ok()?)
            .align_buffers(true);
        let nulls = self.next()?;
        if node.null_count() > 0 {
            // Arrow takes for granted that there is a bit for each.
            if nulls.len() < length.div_ceil(8) {
                return None;
            }
            array = array.null_bit_buffer(Some(nulls));
        }
        for _ in 1..buffers(of) {
            array = array.add_buffer(self.next()?);
        }
        if let DataType::Dictionary(..) = of {
            array = array.add_child_data(words?.to_data());
        }
        array.build().ok().map(make_array)
    }

    fn next(&mut self) -> Option<Buffer> {
        let buffers = self.batch.buffers().filter(|buffers| self.buffer < buffers.len())?;
        let buffer = buffers.get(self.buffer);
        self.buffer += 1;
        let from = usize::try_from(buffer.offset()).ok()?;
        let bytes = self.body.get(from..)?.get(..usize::try_from(buffer.length()).ok()?)?;
        if bytes.is_empty() || !self.compressed {
            return Some(Buffer::from(bytes));
        }
        let (prefix, bytes) = bytes.split_first_chunk()?;
        match i64::from_le_bytes(*prefix) {
            UNCOMPRESSED => Some(Buffer::from(bytes)),
            prefix => {
                let length = u64::try_from(prefix).ok()?;
                *self.decoded = self.decoded.checked_add(length)?;
                if *self.decoded > DECODED_BYTES_MAX || length > LZ4_RATIO_MAX * bytes.len() as u64 {
                    return None;
                }
                lz4::decode(bytes, usize::try_from(length).ok()?).map(Buffer::from_vec)
            }
        }
    }
}

/// How many buffers a column has.
fn buffers(of: &DataType) -> usize {
    if *of == DataType::Utf8 { 3 } else { 2 }
}

/// The next message of a stream and its body.
fn next<'a>(rest: &mut &'a [u8]) -> Option<(Message<'a>, &'a [u8])> {
    let (bytes, after) = metadata(rest)?;
    let message = root_as_message(bytes).ok()?;
    let (body, after) = after.split_at_checked(usize::try_from(message.bodyLength()).ok()?)?;
    *rest = after;
    Some((message, body))
}

/// The bytes of the next message, and what follows them.
fn metadata(stream: &[u8]) -> Option<(&[u8], &[u8])> {
    if u32_at(stream, 0)? != CONTINUATION {
        return None;
    }
    stream.get(8..)?.split_at_checked(u32_at(stream, 4)? as usize)
}

/// By column, the number of its dictionary; `None` where the stream's schema is not, byte by byte, the
/// one that this program writes for the kind.
fn dictionaries(kind: Kind, rest: &mut &[u8]) -> Option<&'static [Option<i64>]> {
    /// The message, and what it says.
    type Written = (Vec<u8>, Vec<Option<i64>>);
    static WRITTEN: LazyLock<Vec<Option<Written>>> = LazyLock::new(|| {
        let written = |kind: Kind| {
            let stream = encode_arrow(&RecordBatch::new_empty(kind.schema())).ok()?;
            let fields = next(&mut &stream[..])?.0.header_as_schema()?.fields()?;
            let ids = fields.iter().map(|field| field.dictionary().map(|dictionary| dictionary.id()));
            Some((metadata(&stream)?.0.to_vec(), ids.collect()))
        };
        Kind::ALL.into_iter().map(written).collect()
    });
    let (bytes, after) = metadata(rest)?;
    let (written, ids) = WRITTEN[kind as usize].as_ref()?;
    *rest = after;
    (written == bytes).then_some(ids)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::rows::{MessageBuilder, MessageRow};

    fn rows() -> RecordBatch {
        let mut builder = MessageBuilder::default();
        for row in 0..1000 {
            builder.push(&MessageRow {
                time: row,
                observed: row / 2,
                tool: ["ETCH-07", "", "櫓"][row as usize % 3],
                operation: "read",
                detail: ["", "a"][row as usize / 500],
                value: (row % 5 == 0).then_some(row as f64 * 0.37),
                latency_us: Some(row * 7919 % 1000),
                client_port: row as u16,
                ..Default::default()
            });
        }
        builder.finish()
    }

    #[test]
    fn all_columns_are_as_arrow_reads_them() {
        let rows = rows();
        let stream = encode_arrow(&rows).expect("encodes");
        assert_eq!(read(Kind::Message, &stream, &Columns::all()), Some(rows));
        let none = RecordBatch::new_empty(Kind::Message.schema());
        let stream = encode_arrow(&none).expect("encodes");
        assert_eq!(read(Kind::Message, &stream, &Columns::all()), Some(none));
        assert_eq!(read(Kind::Flow, &stream, &Columns::all()), None, "another kind's");
    }

    #[test]
    fn a_column_that_is_left_out_is_empty_and_the_others_are_not() {
        let rows = rows();
        let stream = encode_arrow(&rows).expect("encodes");
        let names = ["tool", "value", "client_port"];
        let read = read(Kind::Message, &stream, &Columns::of(Kind::Message, names)).expect("reads");
        for (place, field) in rows.schema().fields().iter().enumerate() {
            let column = match names.contains(&field.name().as_str()) {
                true => Some(Arc::clone(rows.column(place))),
                false => empty(Kind::Message, place, rows.num_rows()),
            };
            assert_eq!(Some(read.column(place)), column.as_ref(), "{field}");
        }
    }

    #[test]
    fn what_is_damaged_is_left_to_arrow() {
        let whole = encode_arrow(&rows()).expect("encodes");
        for at in 0..whole.len() {
            // The last eight bytes are the mark of the end, which may be missing.
            let cut = read(Kind::Message, &whole[..at], &Columns::all());
            assert!(cut.is_none() || at == whole.len() - 8, "{at}");
        }
        let mut longer = whole.clone();
        longer.push(0);
        assert_eq!(read(Kind::Message, &longer, &Columns::all()), None);
    }

    #[test]
    fn a_flipped_bit_is_read_as_arrow_reads_it_or_left_to_it() {
        let whole = encode_arrow(&rows()).expect("encodes");
        let (mut same, mut left) = (0, 0);
        for at in (0..whole.len()).step_by(3) {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            let Some(rows) = read(Kind::Message, &bytes, &Columns::all()) else {
                left += 1;
                continue;
            };
            // Arrow's reader may give up on what it reads; where it does not, it reads the same.
            let arrows = std::panic::catch_unwind(|| crate::codec::decode_any_arrow(&bytes));
            if let Ok(Ok(arrows)) = arrows {
                assert_eq!(rows, arrows, "{at}");
                same += 1;
            }
        }
        assert!(same > 100 && left > 100, "{same} {left}");
    }
}
