//! Text as Windows sends it: UTF-16, the low byte first.

/// Appends text up to its first zero, at most `max` characters of it; unpaired halves are replaced.
pub(crate) fn push(out: &mut String, bytes: &[u8], max: usize) {
    let units = bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    let characters = char::decode_utf16(units.take_while(|unit| *unit != 0));
    out.extend(characters.take(max).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)));
}

/// The same as a text of its own.
pub(crate) fn text(bytes: &[u8], max: usize) -> String {
    let mut out = String::new();
    push(&mut out, bytes, max);
    out
}

/// How many bytes a text with its zero takes; all of them where no zero ends it.
pub(crate) fn span(bytes: &[u8]) -> usize {
    bytes.chunks_exact(2).position(|pair| pair == [0, 0]).map_or(bytes.len(), |at| 2 * at + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_ends_at_its_zero_or_its_limit() {
        let bytes = [b'a', 0, 0x3d, 0xd8, 0x00, 0xde, 0x00, 0xdc, b'b', 0, 0, 0, b'c', 0];
        assert_eq!(text(&bytes, 9), "a\u{1f600}\u{fffd}b");
        assert_eq!(text(&bytes, 1), "a");
        assert_eq!(span(&bytes), 12);
        assert_eq!(span(&bytes[..5]), 5);
    }
}
