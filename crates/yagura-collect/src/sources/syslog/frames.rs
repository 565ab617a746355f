//! Messages of a TCP stream (RFC 6587): counted octets, or one a line.

/// The most digits of a count.
const DIGITS_MAX: usize = 9;

/// Cuts a stream into messages; whatever comes is some message.
pub(super) struct Frames {
    message_max: usize,
    buffer: Vec<u8>,
    /// Where the part of the buffer begins that was not given out.
    at: usize,
    /// The rest of a message that was too long.
    skip: Skip,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Skip {
    Nothing,
    Octets(usize),
    Line,
}

/// What one step finds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame<'a> {
    Message(&'a [u8]),
    /// The beginning of a message that is longer than allowed; its rest is passed over.
    Cut(&'a [u8]),
}

impl Frames {
    pub(super) fn new(message_max: usize) -> Self {
        Frames { message_max, buffer: Vec::new(), at: 0, skip: Skip::Nothing }
    }

    /// Takes what came. The buffer holds at most one unfinished message and what is given here.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..std::mem::take(&mut self.at));
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message.
    pub(super) fn next(&mut self) -> Option<Frame<'_>> {
        self.pass_over();
        if self.skip != Skip::Nothing {
            return None;
        }
        let rest = &self.buffer[self.at..];
        match count(rest) {
            Count::More => None,
            Count::Octets { begin, bytes } if bytes > self.message_max => {
                // The count is not waited for: its beginning is as good when it is full.
                let end = begin + self.message_max;
                if rest.len() < end {
                    return None;
                }
                let from = self.at + begin;
                self.at += end;
                self.skip = Skip::Octets(bytes - self.message_max);
                Some(Frame::Cut(&self.buffer[from..self.at]))
            }
            Count::Octets { begin, bytes } => {
                if rest.len() < begin + bytes {
                    return None;
                }
                let from = self.at + begin;
                self.at = from + bytes;
                Some(Frame::Message(&self.buffer[from..self.at]))
            }
            Count::None => {
                let from = self.at;
                let within = &rest[..rest.len().min(self.message_max + 1)];
                match memchr::memchr2(b'\n', 0, within) {
                    Some(end) => {
                        self.at += end + 1;
                        Some(Frame::Message(without_return(&self.buffer[from..from + end])))
                    }
                    None if within.len() > self.message_max => {
                        self.at += self.message_max;
                        self.skip = Skip::Line;
                        Some(Frame::Cut(&self.buffer[from..self.at]))
                    }
                    None => None,
                }
            }
        }
    }

    /// What is left when the stream has ended: a line without an end, or the part of a counted message that came.
    pub(super) fn rest(&mut self) -> Option<Frame<'_>> {
        self.pass_over();
        let rest = &self.buffer[self.at..];
        if rest.is_empty() || self.skip != Skip::Nothing {
            return None;
        }
        let from = self.at;
        self.at = self.buffer.len();
        let rest = &self.buffer[from..];
        Some(match count(rest) {
            Count::Octets { begin, .. } => Frame::Cut(&rest[begin..]),
            _ => Frame::Message(without_return(rest)),
        })
    }

    /// Passes over the rest of what was too long, and over ends of lines between messages.
    fn pass_over(&mut self) {
        let rest = &self.buffer[self.at..];
        match self.skip {
            Skip::Nothing => {}
            Skip::Octets(left) => {
                let passed = left.min(rest.len());
                self.at += passed;
                self.skip = if passed == left { Skip::Nothing } else { Skip::Octets(left - passed) };
            }
            Skip::Line => match memchr::memchr2(b'\n', 0, rest) {
                Some(end) => {
                    self.at += end + 1;
                    self.skip = Skip::Nothing;
                }
                None => self.at = self.buffer.len(),
            },
        }
        if self.skip == Skip::Nothing {
            let ends = self.buffer[self.at..].iter().take_while(|byte| matches!(byte, b'\n' | b'\r' | 0));
            self.at += ends.count();
        }
    }
}

enum Count {
    /// It begins with a count: where the message begins, and how long it is.
    Octets {
        begin: usize,
        bytes: usize,
    },
    /// It may become one.
    More,
    None,
}

fn count(rest: &[u8]) -> Count {
    let digits = rest.iter().take(DIGITS_MAX + 1).take_while(|byte| byte.is_ascii_digit()).count();
    match (digits, rest.get(digits)) {
        (0, Some(_)) => Count::None,
        (1..=DIGITS_MAX, Some(b' ')) if rest[0] != b'0' => {
            let bytes = rest[..digits].iter().fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0'));
            Count::Octets { begin: digits + 1, bytes }
        }
        (0..=DIGITS_MAX, None) => Count::More,
        _ => Count::None,
    }
}

fn without_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cut(parts: &[&[u8]], most: usize) -> Vec<(bool, Vec<u8>)> {
        let mut frames = Frames::new(most);
        let mut out = Vec::new();
        let owned = |frame: Frame<'_>| match frame {
            Frame::Message(bytes) => (true, bytes.to_vec()),
            Frame::Cut(bytes) => (false, bytes.to_vec()),
        };
        for part in parts {
            frames.push(part);
            while let Some(frame) = frames.next() {
                out.push(owned(frame));
            }
            assert!(frames.buffer.len() - frames.at <= most + DIGITS_MAX + 2, "a message at most waits");
        }
        out.extend(frames.rest().map(owned));
        out
    }

    #[test]
    fn counts_and_lines_may_alternate() {
        let all = cut(&[b"5 <1>ab\n<2>c\r\n7 <3>\nde\n\0\n<4>f"], 100);
        let texts: Vec<&[u8]> = all.iter().map(|(_, text)| text.as_slice()).collect();
        assert_eq!(texts, [&b"<1>ab"[..], b"<2>c", b"<3>\nde\n", b"<4>f"]);
        assert!(all.iter().all(|(whole, _)| *whole));
    }

    #[test]
    fn what_is_too_long_is_cut_and_the_next_message_is_whole() {
        let all = cut(&[b"12 <1>abcdefghi<2>x\n<3>abcdefgh\n5 <4>no9 <5>"], 6);
        let expected: [(bool, &[u8]); 5] =
            [(false, b"<1>abc"), (true, b"<2>x"), (false, b"<3>abc"), (true, b"<4>no"), (false, b"<5>")];
        assert_eq!(all, expected.map(|(whole, text)| (whole, text.to_vec())));
    }

    proptest! {
        #[test]
        fn where_a_stream_is_split_changes_nothing(
            stream in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b' '), Just(b'1'), Just(b'9'), any::<u8>()], 0..200),
            splits in proptest::collection::vec(0_usize..200, 0..6),
        ) {
            let mut splits: Vec<usize> = splits.into_iter().map(|at| at.min(stream.len())).collect();
            splits.extend([0, stream.len()]);
            splits.sort_unstable();
            let parts: Vec<&[u8]> = splits.windows(2).map(|pair| &stream[pair[0]..pair[1]]).collect();
            // The whole stream at once waits in the buffer: only the parts are looked at.
            let mut whole = Frames::new(20);
            whole.push(&stream);
            let mut expected = Vec::new();
            while let Some(frame) = whole.next() {
                expected.push(match frame {
                    Frame::Message(bytes) => (true, bytes.to_vec()),
                    Frame::Cut(bytes) => (false, bytes.to_vec()),
                });
            }
            expected.extend(whole.rest().map(|frame| match frame {
                Frame::Message(bytes) => (true, bytes.to_vec()),
                Frame::Cut(bytes) => (false, bytes.to_vec()),
            }));
            prop_assert_eq!(cut(&parts, 20), expected);
        }
    }
}
