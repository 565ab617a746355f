//! The form of an input for one connection.
//!
//! One byte of [`Setup`], then steps: a byte (bit 0 the side, bits 1 and 2 what happens, the others
//! how the bytes are split), a length of two bytes (the low one first), and the bytes. Every
//! sequence of bytes is an input, and what is cut off at the end is left out.

use yagura_dissect::Side;

/// What stands before the steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setup(pub u8);

impl Setup {
    /// Which of a protocol's carriers it is, modulo their number.
    pub fn carrier(self) -> usize {
        usize::from(self.0 & 3)
    }

    /// Whether the customary port is used.
    pub fn customary(self) -> bool {
        self.0 & 4 == 0
    }

    /// Whether the client is the equipment.
    pub fn client_is_equipment(self) -> bool {
        self.0 & 8 != 0
    }

    /// Whether everything is read twice: the rows must be the same.
    pub fn twice(self) -> bool {
        self.0 & 16 != 0
    }
}

/// One thing that happens to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// Bytes of one side come in pieces of that many (0: in one), or as one datagram.
    Bytes(Side, usize, &'a [u8]),
    /// That many bytes of one side will never come.
    Gap(Side, u64),
    /// That many tenths of a second pass.
    Pass(u64),
}

const BYTES: u8 = 0;
const GAP: u8 = 2;
const PASS: u8 = 3;

/// Reads the setup; the steps follow.
pub fn read(input: &[u8]) -> (Setup, Steps<'_>) {
    match input.split_first() {
        Some((setup, rest)) => (Setup(*setup), Steps(rest)),
        None => (Setup(0), Steps(&[])),
    }
}

/// The steps of an input.
#[derive(Clone, Copy, Debug)]
pub struct Steps<'a>(&'a [u8]);

impl<'a> Iterator for Steps<'a> {
    type Item = Step<'a>;

    fn next(&mut self) -> Option<Step<'a>> {
        let (&[what, low, high], rest) = self.0.split_first_chunk::<3>()?;
        self.0 = rest;
        let side = if what & 1 == 0 { Side::Client } else { Side::Server };
        let length = u16::from_le_bytes([low, high]);
        Some(match what >> 1 & 3 {
            GAP => Step::Gap(side, u64::from(length)),
            PASS => Step::Pass(u64::from(length)),
            _ => {
                let (bytes, rest) = rest.split_at(rest.len().min(usize::from(length)));
                self.0 = rest;
                Step::Bytes(side, usize::from(what >> 3), bytes)
            }
        })
    }
}

/// Writes one step.
pub fn push(input: &mut Vec<u8>, step: &Step<'_>) {
    let mut head = |what: u8, length: u64| {
        input.push(what);
        input.extend_from_slice(&(length.min(0xffff) as u16).to_le_bytes());
    };
    match step {
        Step::Bytes(side, split, bytes) => {
            for part in bytes.chunks(0xffff) {
                input.push(*side as u8 | BYTES << 1 | (*split as u8) << 3);
                input.extend_from_slice(&(part.len() as u16).to_le_bytes());
                input.extend_from_slice(part);
            }
        }
        Step::Gap(side, missing) => head(*side as u8 | GAP << 1, *missing),
        Step::Pass(tenths) => head(PASS << 1, *tenths),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let steps = [
            Step::Bytes(Side::Client, 0, b"ask"),
            Step::Gap(Side::Server, 700),
            Step::Bytes(Side::Server, 31, b"answer"),
            Step::Pass(9),
        ];
        let mut input = vec![5];
        steps.iter().for_each(|step| push(&mut input, step));
        let (setup, read) = read(&input);
        assert_eq!(setup, Setup(5));
        assert_eq!(read.collect::<Vec<_>>(), steps);
    }
}
