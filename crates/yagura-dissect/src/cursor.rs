//! Reads numbers and stretches out of a message, and says by name what was cut off.

/// A message ended, or contradicted itself, in the middle of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    /// What was being read, as `status_code` shows it: `apdu_length`, `node_id`.
    pub what: &'static str,
    /// Where, in bytes from the cursor's beginning.
    pub at: usize,
}

/// A place in a message. Every read moves it on, or fails and leaves it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

macro_rules! numbers {
    ($($(#[$meta:meta])* $name:ident: $ty:ty = $from:ident;)*) => {
        $($(#[$meta])*
        pub fn $name(&mut self, what: &'static str) -> Result<$ty, Cut> {
            self.array(what).map(<$ty>::$from)
        })*
    };
}

impl<'a> Cursor<'a> {
    /// At the beginning of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Cursor { bytes, at: 0 }
    }

    /// How far it has come.
    pub fn at(&self) -> usize {
        self.at
    }

    /// How many bytes are left.
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// Whether none is left.
    pub fn is_empty(&self) -> bool {
        self.remaining() == 0
    }

    /// The bytes that are left; the cursor stays.
    pub fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    /// The bytes that are left; the cursor goes to the end.
    pub fn take_rest(&mut self) -> &'a [u8] {
        let rest = self.rest();
        self.at = self.bytes.len();
        rest
    }

    /// The next byte; the cursor stays.
    pub fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// A stretch of `length` bytes.
    pub fn take(&mut self, length: usize, what: &'static str) -> Result<&'a [u8], Cut> {
        let rest = self.rest();
        let Some(taken) = rest.get(..length) else { return Err(self.cut(what)) };
        self.at += length;
        Ok(taken)
    }

    /// A cursor over the next `length` bytes, which this one passes.
    pub fn part(&mut self, length: usize, what: &'static str) -> Result<Cursor<'a>, Cut> {
        self.take(length, what).map(Cursor::new)
    }

    /// Passes `length` bytes.
    pub fn skip(&mut self, length: usize, what: &'static str) -> Result<(), Cut> {
        self.take(length, what).map(|_| ())
    }

    /// The next bytes as an array.
    pub fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Cut> {
        let Some(taken) = self.rest().first_chunk::<N>() else { return Err(self.cut(what)) };
        self.at += N;
        Ok(*taken)
    }

    /// Up to and without the next `end`, which is passed too.
    pub fn until(&mut self, end: u8, what: &'static str) -> Result<&'a [u8], Cut> {
        let rest = self.rest();
        let Some(length) = rest.iter().position(|&b| b == end) else { return Err(self.cut(what)) };
        self.at += length + 1;
        Ok(&rest[..length])
    }

    /// A failure here: something is not what it must be.
    pub fn cut(&self, what: &'static str) -> Cut {
        Cut { what, at: self.at }
    }

    /// Fails unless `holds`.
    pub fn check(&self, holds: bool, what: &'static str) -> Result<(), Cut> {
        if holds { Ok(()) } else { Err(self.cut(what)) }
    }

    /// One byte.
    pub fn u8(&mut self, what: &'static str) -> Result<u8, Cut> {
        self.array::<1>(what).map(|[byte]| byte)
    }

    /// Three bytes, the high one first.
    pub fn u24_be(&mut self, what: &'static str) -> Result<u32, Cut> {
        self.array(what).map(|[a, b, c]| u32::from_be_bytes([0, a, b, c]))
    }

    /// Three bytes, the low one first.
    pub fn u24_le(&mut self, what: &'static str) -> Result<u32, Cut> {
        self.array(what).map(|[a, b, c]| u32::from_le_bytes([a, b, c, 0]))
    }

    numbers! {
        /// Two bytes, the high one first.
        u16_be: u16 = from_be_bytes;
        /// Two bytes, the low one first.
        u16_le: u16 = from_le_bytes;
        /// Four bytes, the high one first.
        u32_be: u32 = from_be_bytes;
        /// Four bytes, the low one first.
        u32_le: u32 = from_le_bytes;
        /// Eight bytes, the high one first.
        u64_be: u64 = from_be_bytes;
        /// Eight bytes, the low one first.
        u64_le: u64 = from_le_bytes;
        /// Two bytes with a sign, the high one first.
        i16_be: i16 = from_be_bytes;
        /// Two bytes with a sign, the low one first.
        i16_le: i16 = from_le_bytes;
        /// Four bytes with a sign, the high one first.
        i32_be: i32 = from_be_bytes;
        /// Four bytes with a sign, the low one first.
        i32_le: i32 = from_le_bytes;
        /// Eight bytes with a sign, the high one first.
        i64_be: i64 = from_be_bytes;
        /// Eight bytes with a sign, the low one first.
        i64_le: i64 = from_le_bytes;
        /// IEEE 754 single, the high byte first.
        f32_be: f32 = from_be_bytes;
        /// IEEE 754 single, the low byte first.
        f32_le: f32 = from_le_bytes;
        /// IEEE 754 double, the high byte first.
        f64_be: f64 = from_be_bytes;
        /// IEEE 754 double, the low byte first.
        f64_le: f64 = from_le_bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_that_fails_names_what_and_where_and_moves_nothing() {
        let mut cursor = Cursor::new(&[1, 2, 3, 4, 0, 9]);
        assert_eq!(cursor.u16_be("a"), Ok(0x0102));
        assert_eq!(cursor.u24_le("b"), Ok(0x0403));
        assert_eq!(cursor.u16_le("c"), Err(Cut { what: "c", at: 5 }));
        assert_eq!(cursor.take(2, "d"), Err(Cut { what: "d", at: 5 }));
        assert_eq!(cursor.take(usize::MAX, "d"), Err(Cut { what: "d", at: 5 }));
        assert_eq!(cursor.u8("e"), Ok(9));
        assert!(cursor.is_empty());
        let mut cursor = Cursor::new(b"name\0rest");
        assert_eq!(cursor.until(0, "name"), Ok(&b"name"[..]));
        assert_eq!(cursor.until(0, "rest"), Err(Cut { what: "rest", at: 5 }));
        assert_eq!(cursor.part(4, "rest").map(|p| p.rest()), Ok(&b"rest"[..]));
    }
}
