//! A look at an Arrow stream before it is decoded.
//!
//! The decoder allocates what lengths in the stream say before it reads a byte of it, and a
//! process whose allocation fails ends. So every such length is compared first with the bytes that
//! there are. Everything else in a stream is the decoder's own to check.

use arrow::ipc::{Message, root_as_message};

/// The most bytes that the buffers of one record may have when they are no longer compressed.
pub(crate) const DECODED_BYTES_MAX: u64 = 1 << 30;
/// LZ4 makes at most this of a byte.
pub(crate) const LZ4_RATIO_MAX: u64 = 255;

/// What introduces a message since version 0.15 of the format.
pub(crate) const CONTINUATION: u32 = u32::MAX;
/// A prefix that says that a buffer is not compressed.
pub(crate) const UNCOMPRESSED: i64 = -1;

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
        let message = root_as_message(message).map_err(|e| format!("a message is none: {e}"))?;
        let size = message.bodyLength() as u64;
        let Some((body, after)) = usize::try_from(size).ok().and_then(|size| after.split_at_checked(size))
        else {
            return Err(short("a body", size, after.len()));
        };
        decoded += decoded_bytes(message, body)?;
        if decoded > DECODED_BYTES_MAX {
            return Err(format!("it would take {decoded} bytes or more when it is no longer compressed"));
        }
        rest = after;
    }
    Ok(())
}

/// The bytes that the compressed buffers of a message say they have.
fn decoded_bytes(message: Message<'_>, body: &[u8]) -> Result<u64, String> {
    // A dictionary's values are a batch of their own.
    let dictionary = message.header_as_dictionary_batch().and_then(|dictionary| dictionary.data());
    let batch = dictionary.or_else(|| message.header_as_record_batch());
    let Some(batch) = batch.filter(|batch| batch.compression().is_some()) else { return Ok(0) };
    let mut total: u64 = 0;
    for buffer in batch.buffers().into_iter().flatten() {
        let bytes = usize::try_from(buffer.offset()).ok().and_then(|from| body.get(from..));
        let prefix = bytes.filter(|_| buffer.length() > 0).and_then(|bytes| bytes.first_chunk());
        let Some(prefix) = prefix.map(|prefix| i64::from_le_bytes(*prefix)) else { continue };
        if prefix == UNCOMPRESSED {
            continue;
        }
        let (prefix, length) = (prefix as u64, buffer.length() as u64);
        if prefix > length.saturating_mul(LZ4_RATIO_MAX) {
            return Err(format!("{length} compressed bytes are said to be {prefix}"));
        }
        total = total.saturating_add(prefix);
    }
    Ok(total)
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_le_bytes)
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
        (0..bytes.len() - 8).filter(|&at| bytes[at..at + 8] == number.to_le_bytes()).collect()
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
