//! A column of repeated words in the making.

use std::hash::Hasher;
use std::sync::Arc;

use arrow::array::{DictionaryArray, PrimitiveArray, StringArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::Int32Type;
use hashbrown::HashTable;
use rustc_hash::FxHasher;

/// Builds a dictionary of words and the numbers of those that rows have, in order of appearance.
///
/// Arrow's own builder hashes each row's word with a keyed hash. A message has fourteen such
/// columns, and most rows have the word of the row before: that is looked at first, and the rest
/// goes through a quicker hash without a key. What words that were made to collide can cost is
/// bounded by a batch's rows.
#[derive(Default)]
pub struct DictionaryColumn {
    /// The number of each row's word.
    rows: Vec<i32>,
    /// All words, one after the other.
    text: Vec<u8>,
    /// Where each word ends.
    ends: Vec<i32>,
    /// Word numbers by the word's hash.
    numbers: HashTable<i32>,
}

impl DictionaryColumn {
    /// Adds a row.
    pub fn append(&mut self, word: &str) {
        let number = match self.rows.last() {
            Some(&last) if same(self.word(last), word.as_bytes()) => last,
            _ => self.number(word),
        };
        self.rows.push(number);
    }

    /// Makes room for so many rows more.
    pub fn reserve(&mut self, rows: usize) {
        self.rows.reserve(rows);
    }

    /// The rows so far as a column; there are none afterwards.
    pub fn finish(&mut self) -> DictionaryArray<Int32Type> {
        self.numbers.clear();
        let mut offsets = Vec::with_capacity(self.ends.len() + 1);
        offsets.push(0);
        offsets.append(&mut self.ends);
        let text = std::mem::take(&mut self.text);
        let words = StringArray::new(OffsetBuffer::new(offsets.into()), text.into(), None);
        let rows = PrimitiveArray::from(std::mem::take(&mut self.rows));
        DictionaryArray::new(rows, Arc::new(words))
    }

    fn word(&self, number: i32) -> &[u8] {
        word(&self.text, &self.ends, number)
    }

    fn number(&mut self, new: &str) -> i32 {
        let new = new.as_bytes();
        let DictionaryColumn { text, ends, numbers, .. } = self;
        let hash = hash(new);
        if let Some(number) = numbers.find(hash, |number| same(word(text, ends, *number), new)) {
            return *number;
        }
        let number = ends.len() as i32;
        text.extend_from_slice(new);
        ends.push(text.len() as i32);
        numbers.insert_unique(hash, number, |number| self::hash(word(text, ends, *number)));
        number
    }
}

#[inline]
fn word<'a>(text: &'a [u8], ends: &[i32], number: i32) -> &'a [u8] {
    let number = number as usize;
    let begin = if number == 0 { 0 } else { ends[number - 1] as usize };
    &text[begin..ends[number] as usize]
}

/// Whether two names are the same. Most are shorter than 32 bytes, for which a call to compare
/// memory costs more than the comparison.
#[inline]
pub fn same_name(a: &str, b: &str) -> bool {
    same(a.as_bytes(), b.as_bytes())
}

#[inline]
fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    match a.len() {
        0 => true,
        1 => a[0] == b[0],
        2..4 => ends_of::<2>(a) == ends_of::<2>(b),
        4..8 => ends_of::<4>(a) == ends_of::<4>(b),
        8..16 => ends_of::<8>(a) == ends_of::<8>(b),
        16..=32 => ends_of::<16>(a) == ends_of::<16>(b),
        _ => a == b,
    }
}

/// The first and the last `N` bytes, which overlap in a text shorter than twice that.
#[inline]
fn ends_of<const N: usize>(text: &[u8]) -> Option<(&[u8; N], &[u8; N])> {
    Some((text.first_chunk()?, text.last_chunk()?))
}

fn hash(word: &[u8]) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write(word);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_back_in_order_and_are_kept_once() {
        let mut column = DictionaryColumn::default();
        for _ in 0..2 {
            let rows = ["", "b", "b", "", "櫓", "b", "a"];
            rows.iter().for_each(|word| column.append(word));
            let built = column.finish();
            let read: Vec<_> = built.downcast_dict::<StringArray>().unwrap().into_iter().flatten().collect();
            assert_eq!(read, rows);
            assert_eq!(built.values().len(), 4);
        }
        assert!(column.finish().is_empty());
    }

    #[test]
    fn names_of_any_length_are_the_same_or_not() {
        let text = "abcdefghijklmnopqrstuvwxyz0123456789";
        for length in 0..=text.len() {
            let word = &text[..length];
            assert!(same_name(word, &String::from(word)));
            assert!(!same_name(word, &text[..length.saturating_sub(1)]) || length == 0);
            for at in 0..length {
                let other: String =
                    word.chars().enumerate().map(|(n, c)| if n == at { '_' } else { c }).collect();
                assert!(!same_name(word, &other), "{word} {other}");
            }
        }
    }

    #[test]
    fn many_words_are_told_apart() {
        let mut column = DictionaryColumn::default();
        let words: Vec<String> = (0..10_000).map(|n| format!("word-{}", n % 3000)).collect();
        words.iter().for_each(|word| column.append(word));
        let built = column.finish();
        assert_eq!(built.values().len(), 3000);
        assert!(built.downcast_dict::<StringArray>().unwrap().into_iter().flatten().eq(words.iter()));
    }
}
