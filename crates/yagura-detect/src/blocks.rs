//! A vector that is copied in no time, so that a snapshot never stops what it is of.

use std::sync::Arc;

use serde::de::{SeqAccess, Visitor};
use serde::ser::SerializeSeq;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Entries of a block.
const BLOCK: usize = 1024;

/// A vector in blocks that copies share: a block is copied when one of them changes it. Copying a
/// million entries costs a thousand counters; the first change of a block afterwards, its entries.
#[derive(Clone, Debug)]
pub struct Blocks<T> {
    /// All of them are full but the last.
    blocks: Vec<Arc<Vec<T>>>,
}

impl<T> Default for Blocks<T> {
    fn default() -> Self {
        Blocks { blocks: Vec::new() }
    }
}

impl<T> Blocks<T> {
    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.blocks.last().map_or(0, |last| (self.blocks.len() - 1) * BLOCK + last.len())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// The entry at a place.
    pub fn get(&self, at: usize) -> Option<&T> {
        self.blocks.get(at / BLOCK)?.get(at % BLOCK)
    }

    /// All entries in order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.blocks.iter().flat_map(|block| block.iter())
    }
}

impl<T: Clone> Blocks<T> {
    /// Adds an entry at the end.
    pub fn push(&mut self, entry: T) {
        match self.blocks.last_mut() {
            Some(last) if last.len() < BLOCK => Arc::make_mut(last).push(entry),
            _ => self.blocks.push(Arc::new(vec![entry])),
        }
    }

    /// The entry at a place, to be changed.
    pub fn get_mut(&mut self, at: usize) -> Option<&mut T> {
        let block = self.blocks.get_mut(at / BLOCK)?;
        if at % BLOCK >= block.len() {
            return None;
        }
        Arc::make_mut(block).get_mut(at % BLOCK)
    }
}

impl<T: Clone> FromIterator<T> for Blocks<T> {
    fn from_iter<I: IntoIterator<Item = T>>(entries: I) -> Self {
        let mut blocks = Blocks::default();
        entries.into_iter().for_each(|entry| blocks.push(entry));
        blocks
    }
}

impl<T: Serialize> Serialize for Blocks<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut sequence = serializer.serialize_seq(Some(self.len()))?;
        self.iter().try_for_each(|entry| sequence.serialize_element(entry))?;
        sequence.end()
    }
}

impl<'de, T: Deserialize<'de> + Clone> Deserialize<'de> for Blocks<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<T>(std::marker::PhantomData<T>);

        impl<'de, T: Deserialize<'de> + Clone> Visitor<'de> for Entries<T> {
            type Value = Blocks<T>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a sequence")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Blocks<T>, A::Error> {
                let mut blocks = Blocks::default();
                while let Some(entry) = sequence.next_element()? {
                    blocks.push(entry);
                }
                Ok(blocks)
            }
        }

        deserializer.deserialize_seq(Entries(std::marker::PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_keeps_what_it_was() {
        let mut blocks: Blocks<u32> = (0..2_500).collect();
        let copy = blocks.clone();
        *blocks.get_mut(7).unwrap() = 70;
        *blocks.get_mut(2_499).unwrap() = 71;
        blocks.push(72);
        assert!(copy.iter().copied().eq(0..2_500));
        assert_eq!((copy.len(), blocks.len()), (2_500, 2_501));
        assert_eq!([blocks.get(7), blocks.get(2_499), blocks.get(2_500)], [Some(&70), Some(&71), Some(&72)]);
        assert_eq!((blocks.get_mut(2_501), copy.get(2_500)), (None, None));
        // Only the blocks that were changed were copied.
        assert!(Arc::ptr_eq(&copy.blocks[1], &blocks.blocks[1]));
        assert!(!Arc::ptr_eq(&copy.blocks[0], &blocks.blocks[0]));
    }

    #[test]
    fn it_is_saved_as_a_plain_vector() {
        for count in [0_u32, 1, 1024, 1025, 3000] {
            let blocks: Blocks<u32> = (0..count).collect();
            let saved = postcard::to_stdvec(&blocks).unwrap();
            assert_eq!(saved, postcard::to_stdvec(&(0..count).collect::<Vec<u32>>()).unwrap());
            let read: Blocks<u32> = postcard::from_bytes(&saved).unwrap();
            assert!(read.iter().copied().eq(0..count));
            assert_eq!((read.len(), read.is_empty()), (count as usize, count == 0));
        }
    }
}
