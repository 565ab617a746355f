//! What each equipment said last, over connections and restarts. One that was not told that a message had arrived says
//! it again, under another number: it is told that the rows may stand twice.

use std::fs::{File, OpenOptions};
use std::hash::{Hash, Hasher};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustc_hash::FxHasher;
use yagura_dissect::hsms::Header;

/// Messages of an equipment that are known again. Each may be under way when its connection ends.
const KNOWN: usize = 15;

/// An equipment's place in the file: a hash of its name, then those of its messages, the oldest first.
const SLOT: usize = 8 * (KNOWN + 1);

/// The last messages of all equipment of a collector.
#[derive(Default)]
pub(super) struct Said {
    /// Without one nothing is known after a restart.
    file: Option<File>,
    tools: Vec<Last>,
}

struct Last {
    name: u64,
    messages: [u64; KNOWN],
    /// What it had said when its connection began, as far as it may still come again.
    expected: Vec<u64>,
    changed: bool,
}

impl Said {
    /// Of equipment that has these names, in this order.
    pub fn of<'a>(names: impl Iterator<Item = &'a str>) -> Said {
        let last = |name: &str| Last {
            name: hash(&name),
            messages: [0; KNOWN],
            expected: Vec::new(),
            changed: true,
        };
        Said { file: None, tools: names.map(last).collect() }
    }

    /// Reads what they said before the restart, and goes on writing there.
    pub fn keep(&mut self, file: &Path) -> io::Result<()> {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(file)?;
        let mut held = Vec::new();
        file.read_to_end(&mut held)?;
        for slot in held.chunks_exact(SLOT) {
            let (words, _) = slot.as_chunks::<8>();
            let mut words = words.iter().map(|word| u64::from_le_bytes(*word));
            let name = words.next();
            if let Some(tool) = self.tools.iter_mut().find(|tool| Some(tool.name) == name) {
                tool.messages.iter_mut().zip(words).for_each(|(message, held)| *message = held);
            }
        }
        file.set_len((self.tools.len() * SLOT) as u64)?;
        self.file = Some(file);
        self.tools.iter_mut().for_each(|tool| tool.changed = true);
        self.write()
    }

    /// A connection begins: what was said before may come again.
    pub fn connected(&mut self, tool: usize) {
        if let Some(tool) = self.tools.get_mut(tool) {
            tool.expected = tool.messages.iter().copied().filter(|message| *message != 0).collect();
        }
    }

    /// Notes a message that wants to be acknowledged; answers whether it came before, and may not have been.
    pub fn again(&mut self, tool: usize, header: &Header, text: &[u8]) -> bool {
        let Some(tool) = self.tools.get_mut(tool) else { return false };
        // 0 is none.
        let message = hash(&(header.stream(), header.function(), text)) | 1;
        let before = tool.expected.iter().position(|expected| *expected == message);
        match before {
            Some(place) => drop(tool.expected.drain(..=place)),
            // What is new says that the equipment repeats nothing more.
            None => tool.expected.clear(),
        }
        tool.messages.copy_within(1.., 0);
        tool.messages[KNOWN - 1] = message;
        tool.changed = true;
        before.is_some()
    }

    /// Writes what changed, before the rows of the messages are in the log: a message that was noted and then lost is
    /// told as a repeat when it comes again, which is the better mistake.
    pub fn write(&mut self) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        for (place, tool) in self.tools.iter_mut().enumerate().filter(|(_, tool)| tool.changed) {
            let words = std::iter::once(tool.name).chain(tool.messages);
            let slot: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
            file.write_all_at(&slot, (place * SLOT) as u64)?;
            tool.changed = false;
        }
        Ok(())
    }
}

fn hash(what: &impl Hash) -> u64 {
    let mut hasher = FxHasher::default();
    what.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::super::replies::data_header;
    use super::*;

    #[test]
    fn what_comes_again_is_known_until_something_new_comes() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("said");
        let event = |system: u32| data_header(3, 6, 11, true, system);
        let mut said = Said::of(["A", "B"].into_iter());
        said.keep(&file).expect("a file");
        for text in [b"1", b"2", b"3"] {
            assert!(!said.again(0, &event(7), text));
        }
        assert!(!said.again(0, &event(7), b"3"), "within a connection it is another one");
        said.write().expect("written");
        // Another order, another start.
        let mut said = Said::of(["C", "B", "A"].into_iter());
        said.keep(&file).expect("a file");
        said.connected(2);
        said.connected(1);
        assert!(!said.again(1, &event(8), b"2"), "it is another equipment");
        assert!(said.again(2, &event(8), b"2") && said.again(2, &event(9), b"3"));
        assert!(!said.again(2, &event(10), b"4") && !said.again(2, &event(11), b"3"), "something new came");
        said.connected(2);
        assert!(!said.again(2, &event(12), b"5"));
    }
}
