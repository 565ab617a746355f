//! A look at an Arrow stream before it is decoded.
//!
//! The decoder allocates what lengths in the stream say before it reads a byte of it, and a
//! process whose allocation fails ends. So every such length is compared first with the bytes that
//! there are. Everything else in a stream is the decoder's own to check.

/// The most bytes that the buffers of one record may have when they are no longer compressed.
const DECODED_BYTES_MAX: u64 = 1 << 30;
/// LZ4 makes at most this of a byte.
const LZ4_RATIO_MAX: u64 = 255;

/// What introduces a message since version 0.15 of the format.
const CONTINUATION: u32 = u32::MAX;
/// A prefix that says that a buffer is not compressed.
const UNCOMPRESSED: i64 = -1;

/// Checks the lengths of every message of a stream; an error says which does not fit.
pub(crate) fn check(stream: &[u8]) -> Result<(), String> {
    let mut rest = stream;
    let mut decoded = 0;
    while let Some(mut length) = u32_at(rest, 0) {
        rest = &rest[4..];
        if length == CONTINUATION {
            let Some(next) = u32_at(rest, 0) else { break };
            length = next;
            rest = &rest[4..];
        }
        if length == 0 {
            break;
        }
        let short = |what: &str, length: u64, left: usize| {
            format!("{what} of {length} bytes is announced where {left} are left")
        };
        let Some((message, after)) = rest.split_at_checked(length as usize) else {
            return Err(short("a message", length.into(), rest.len()));
        };
        let table = Table::root(message).ok_or("a message is no table")?;
        let size = table.i64(3).unwrap_or(0) as u64;
        let Some((body, after)) = usize::try_from(size).ok().and_then(|size| after.split_at_checked(size))
        else {
            return Err(short("a body", size, after.len()));
        };
        decoded += decoded_bytes(&table, body)?;
        if decoded > DECODED_BYTES_MAX {
            return Err(format!("it would take {decoded} bytes or more when it is no longer compressed"));
        }
        rest = after;
    }
    Ok(())
}

/// The bytes that the compressed buffers of a message say they have.
fn decoded_bytes(message: &Table<'_>, body: &[u8]) -> Result<u64, String> {
    let batch = match message.u8(1) {
        // A dictionary's values are a batch of their own.
        Some(2) => message.table(2).and_then(|dictionary| dictionary.table(1)),
        Some(3) => message.table(2),
        _ => None,
    };
    let Some(batch) = batch.filter(|batch| batch.has(3)) else { return Ok(0) };
    let mut total: u64 = 0;
    for (offset, length) in batch.pairs(2) {
        let buffer = usize::try_from(offset).ok().and_then(|from| body.get(from..));
        let Some(prefix) = buffer.filter(|_| length > 0).and_then(|buffer| i64_at(buffer, 0)) else {
            continue;
        };
        if prefix == UNCOMPRESSED {
            continue;
        }
        let (prefix, length) = (prefix as u64, length as u64);
        if prefix > length.saturating_mul(LZ4_RATIO_MAX) {
            return Err(format!("{length} compressed bytes are said to be {prefix}"));
        }
        total = total.saturating_add(prefix);
    }
    Ok(total)
}

/// A table of a flatbuffer, every step within its bytes.
struct Table<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Table<'a> {
    fn root(bytes: &'a [u8]) -> Option<Self> {
        let at = u32_at(bytes, 0)? as usize;
        bytes.get(at..)?;
        Some(Table { bytes, at })
    }

    /// The place of a field; `None` when it is absent.
    fn field(&self, number: usize) -> Option<usize> {
        let back = u32_at(self.bytes, self.at)? as i32;
        let vtable = usize::try_from(self.at as i64 - i64::from(back)).ok()?;
        let entry = 4 + 2 * number;
        let within = entry < usize::from(u16_at(self.bytes, vtable)?);
        let offset = within.then(|| u16_at(self.bytes, vtable + entry))??;
        (offset > 0).then_some(self.at + usize::from(offset))
    }

    fn has(&self, number: usize) -> bool {
        self.field(number).is_some()
    }

    fn u8(&self, number: usize) -> Option<u8> {
        self.bytes.get(self.field(number)?).copied()
    }

    fn i64(&self, number: usize) -> Option<i64> {
        i64_at(self.bytes, self.field(number)?)
    }

    fn table(&self, number: usize) -> Option<Table<'a>> {
        Some(Table { bytes: self.bytes, at: self.follow(number)? })
    }

    /// A vector of pairs of 64-bit numbers.
    fn pairs(&self, number: usize) -> impl Iterator<Item = (i64, i64)> + use<'a> {
        let bytes = self.bytes;
        let begin = self.follow(number).unwrap_or(bytes.len());
        let count = u32_at(bytes, begin).unwrap_or(0) as usize;
        let pair = move |index: usize| {
            let at = begin + 4 + index * 16;
            Some((i64_at(bytes, at)?, i64_at(bytes, at + 8)?))
        };
        (0..count).map_while(pair)
    }

    fn follow(&self, number: usize) -> Option<usize> {
        let at = self.field(number)?;
        Some(at + u32_at(self.bytes, at)? as usize)
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().copied().map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_le_bytes)
}

fn i64_at(bytes: &[u8], at: usize) -> Option<i64> {
    bytes.get(at..)?.first_chunk().copied().map(i64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::encode_arrow;
    use crate::rows::{MessageBuilder, MessageRow};

    fn stream() -> Vec<u8> {
        let mut builder = MessageBuilder::default();
        for row in 0..1000 {
            let tool = format!("tool-{row}");
            builder.push(&MessageRow { time: row, observed: row, tool: &tool, ..Default::default() });
        }
        encode_arrow(&builder.finish()).expect("encodes")
    }

    /// Places at which eight bytes read as `number`.
    fn places(bytes: &[u8], number: i64) -> Vec<usize> {
        (0..bytes.len() - 8).filter(|&at| i64_at(bytes, at) == Some(number)).collect()
    }

    #[test]
    fn what_a_collector_writes_passes() {
        assert_eq!(check(&stream()), Ok(()));
        assert_eq!(check(b""), Ok(()));
    }

    #[test]
    fn a_length_over_what_there_is_is_refused() {
        let whole = stream();
        assert!(check(&whole[..whole.len() - 50]).is_err(), "cut short");
        let mut long = whole.clone();
        long[4..8].copy_from_slice(&0x7fff_fff8_u32.to_le_bytes());
        assert!(check(&long).is_err_and(|said| said.starts_with("a message of 2147483640 bytes")));
        // The times of a thousand rows, before they were compressed.
        let claims = places(&whole, 8000);
        assert!(!claims.is_empty());
        for at in claims {
            let mut bomb = whole.clone();
            bomb[at..at + 8].copy_from_slice(&(1_i64 << 36).to_le_bytes());
            let said = check(&bomb);
            assert!(said.clone().is_err_and(|said| said.contains("68719476736")), "{said:?}");
        }
    }

    #[test]
    fn no_flipped_bit_makes_it_panic() {
        let whole = stream();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            let _ = check(&bytes);
        }
    }
}
