//! LZ4 frames, as Arrow's writers make them.
//!
//! A column mostly repeats itself: a run of one value is a match that overlaps what it writes. A
//! general decoder copies it byte by byte; this one writes the pattern, and then doubles what is
//! there. What it does not know (checksums, dictionaries, several frames) and what is damaged is
//! none of its business: it answers nothing, and the general decoder has its say.
//!
//! The formats: `lz4_Frame_format.md` and `lz4_Block_format.md` of LZ4 1.10.

/// What a frame begins with.
const MAGIC: [u8; 4] = 0x184d_2204_u32.to_le_bytes();
/// Of the first byte of flags: the version, and what may be set besides (independent blocks, size).
const VERSION: u8 = 0b0100_0000;
const KNOWN: u8 = 0b0010_1000;
const HAS_SIZE: u8 = 0b0000_1000;
/// Of a block's length: it is not compressed.
const UNCOMPRESSED: u32 = 1 << 31;
/// Bytes that are copied at once, and how many may be written behind the end for it.
const STEP: usize = 16;

/// Decodes a frame of `length` bytes; `None` where it is not exactly that, or not understood.
pub(crate) fn decode(frame: &[u8], length: usize) -> Option<Vec<u8>> {
    let (magic, rest) = frame.split_first_chunk::<4>()?;
    let (&[flags, _block_size], rest) = rest.split_first_chunk::<2>()?;
    if *magic != MAGIC || flags & !KNOWN != VERSION {
        return None;
    }
    let size = if flags & HAS_SIZE != 0 { 8 } else { 0 };
    // Behind the size stands one byte, a checksum of the flags.
    let mut rest = rest.get(size + 1..)?;
    let mut out = Output { bytes: vec![0; length.checked_add(STEP)?], at: 0, end: length };
    loop {
        let (header, after) = rest.split_first_chunk::<4>()?;
        let header = u32::from_le_bytes(*header);
        if header == 0 {
            rest = after;
            break;
        }
        let (block, after) = after.split_at_checked((header & !UNCOMPRESSED) as usize)?;
        if header & UNCOMPRESSED == 0 {
            out.block(block)?;
        } else {
            out.literals(block, 0, block.len())?;
        }
        rest = after;
    }
    if !rest.is_empty() || out.at != length {
        return None;
    }
    out.bytes.truncate(length);
    Some(out.bytes)
}

/// What has been decoded: room for all of it, and [`STEP`] bytes more.
struct Output {
    bytes: Vec<u8>,
    at: usize,
    end: usize,
}

impl Output {
    fn block(&mut self, block: &[u8]) -> Option<()> {
        let mut at = 0;
        loop {
            let token = *block.get(at)?;
            at += 1;
            let literals = length(block, &mut at, token >> 4)?;
            self.literals(block, at, literals)?;
            at += literals;
            if at == block.len() {
                return Some(());
            }
            let offset = u16::from_le_bytes(*block.get(at..)?.first_chunk()?);
            at += 2;
            let repeated = length(block, &mut at, token & 15)?.checked_add(4)?;
            self.repeat(usize::from(offset), repeated)?;
        }
    }

    /// Copies bytes of a block.
    #[inline]
    fn literals(&mut self, block: &[u8], from: usize, count: usize) -> Option<()> {
        if count > self.end - self.at {
            return None;
        }
        if count <= STEP
            && let Some(step) = block.get(from..from + STEP)
        {
            self.bytes[self.at..self.at + STEP].copy_from_slice(step);
        } else {
            let bytes = block.get(from..from.checked_add(count)?)?;
            self.bytes[self.at..self.at + count].copy_from_slice(bytes);
        }
        self.at += count;
        Some(())
    }

    /// Copies bytes that stand `offset` before, which may be some that it writes.
    #[inline]
    fn repeat(&mut self, offset: usize, count: usize) -> Option<()> {
        if count > self.end - self.at || offset == 0 {
            return None;
        }
        let from = self.at.checked_sub(offset)?;
        if count <= STEP && offset >= STEP {
            self.bytes.copy_within(from..from + STEP, self.at);
        } else if count <= 4 * STEP && STEP.is_multiple_of(offset) {
            self.pattern(offset, count);
        } else {
            let (mut to, end) = (self.at, self.at + count);
            while to < end {
                let there = (to - from).min(end - to);
                self.bytes.copy_within(from..from + there, to);
                to += there;
            }
        }
        self.at += count;
        Some(())
    }

    /// Writes the last `offset` bytes, a divisor of [`STEP`], again and again.
    fn pattern(&mut self, offset: usize, count: usize) {
        let last = &self.bytes[self.at - offset..self.at];
        let mut step = [0; STEP];
        step.chunks_exact_mut(offset).for_each(|part| part.copy_from_slice(last));
        let mut to = self.at;
        while to < self.at + count {
            self.bytes[to..to + STEP].copy_from_slice(&step);
            to += STEP;
        }
    }
}

/// A length of which four bits are known: 15 of them say that bytes are to be added.
#[inline]
fn length(block: &[u8], at: &mut usize, four_bits: u8) -> Option<usize> {
    let mut length = usize::from(four_bits);
    if four_bits == 15 {
        loop {
            let more = *block.get(*at)?;
            *at += 1;
            length = length.checked_add(usize::from(more))?;
            if more != u8::MAX {
                break;
            }
        }
    }
    Some(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames of the columns that Arrow's writer makes of numbers, each with what it was made of.
    fn frames() -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut random = 7_u64;
        let mut next = |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % below
        };
        let mut frames = Vec::new();
        for below in [1, 2, 50, 70_000, u64::MAX >> 40] {
            for count in [3, 100, 1_000, 30_000] {
                let numbers: Vec<u64> = (0..count).map(|n| next(below) * (n % 7).min(1)).collect();
                frames.push(frame_of(&numbers));
                frames.push(frame_of(&(0..count).map(|n| n * below / 3).collect::<Vec<_>>()));
            }
        }
        frames
    }

    fn frame_of(numbers: &[u64]) -> (Vec<u8>, Vec<u8>) {
        use arrow::array::{RecordBatch, UInt64Array};
        let column: arrow::array::ArrayRef = std::sync::Arc::new(UInt64Array::from(numbers.to_vec()));
        let rows = RecordBatch::try_from_iter([("n", column)]).expect("a batch");
        let stream = crate::codec::encode_arrow(&rows).expect("encodes");
        let plain: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
        let at = stream.windows(4).position(|bytes| bytes == MAGIC);
        let mut frame = at.map_or(Vec::new(), |at| stream[at..].to_vec());
        // What follows the frame in the stream is cut off where its last block ends.
        let mut end = 7;
        while let Some(header) = frame.get(end..end + 4).map(|h| u32::from_le_bytes(h.try_into().unwrap())) {
            end += 4 + (header & !UNCOMPRESSED) as usize;
            if header == 0 {
                break;
            }
        }
        frame.truncate(end);
        (frame, plain)
    }

    #[test]
    fn what_arrow_compresses_comes_back() {
        let mut compressed = 0;
        for (frame, plain) in frames().into_iter().filter(|(frame, _)| !frame.is_empty()) {
            compressed += 1;
            assert!(decode(&frame, plain.len()).as_ref() == Some(&plain), "{} bytes", plain.len());
            assert!(decode(&frame, plain.len() + 1).is_none(), "longer than it is");
            assert!(decode(&frame, plain.len() - 1).is_none(), "shorter than it is");
        }
        assert!(compressed > 20, "{compressed}");
    }

    #[test]
    fn matches_of_any_offset_and_length_repeat() {
        for offset in 1..40_usize {
            for count in (4..150).chain([1_000]) {
                let mut out = Output { bytes: vec![0; offset + count + STEP], at: 0, end: offset + count };
                let begin: Vec<u8> = (1..=offset as u8).collect();
                out.literals(&begin, 0, offset).expect("room");
                out.repeat(offset, count).expect("room");
                let expected: Vec<u8> = begin.iter().copied().cycle().take(offset + count).collect();
                assert_eq!(out.bytes[..offset + count], expected, "{offset} {count}");
                assert!(out.repeat(1, 1).is_none(), "no room any more");
            }
        }
    }

    #[test]
    fn no_flipped_bit_and_no_cut_makes_it_panic_or_write_more() {
        for (frame, plain) in frames().into_iter().filter(|(frame, _)| frame.len() < 5_000) {
            for at in 0..frame.len() {
                let mut bytes = frame.clone();
                bytes[at] ^= 1 << (at % 8);
                assert!(decode(&bytes, plain.len()).is_none_or(|out| out.len() == plain.len()));
                assert!(decode(&frame[..at], plain.len()).is_none());
            }
        }
    }
}
