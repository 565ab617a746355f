use std::fs;
use std::io::Write;
use std::path::PathBuf;

use yagura_event::rows::{LogRow, OwnedRow, Row, RowSink};

use super::*;

/// Each line is the event of a row; `# …` at the beginning is its head.
struct Plain;

impl Lines for Plain {
    type Head = String;

    fn head(&self, _: &Path, head: &mut String, line: &[u8]) -> Result<bool, String> {
        if line == b"# wrong" {
            return Err("is wrong".into());
        }
        let is = line.starts_with(b"#");
        if is {
            *head = String::from_utf8_lossy(line).into_owned();
        }
        Ok(is)
    }

    fn line(
        &mut self,
        head: &mut String,
        line: &[u8],
        now: Micros,
        out: &mut dyn PlacedSink,
    ) -> Result<(), String> {
        let event = std::str::from_utf8(line).map_err(|_| "is no text".to_string())?;
        out.push(Row::Log(&LogRow { time: now, observed: now, event, detail: head, ..Default::default() }));
        Ok(())
    }
}

/// Rows with their places.
#[derive(Default)]
struct Placed {
    rows: Vec<OwnedRow>,
    streams: Vec<(String, u64)>,
    place: Option<(String, u64)>,
}

impl RowSink for Placed {
    fn push(&mut self, row: Row<'_>) {
        let row = OwnedRow::from(row);
        match (&self.place, row.kind) {
            (Some(place), yagura_event::Kind::Log) => self.streams.push(place.clone()),
            (None, yagura_event::Kind::Coverage) => {}
            (place, kind) => panic!("a {} row stands at {place:?}", kind.name()),
        }
        self.rows.push(row);
    }
}

impl PlacedSink for Placed {
    fn at(&mut self, stream: &str, position: u64) {
        self.place = Some((stream.into(), position));
    }
    fn nowhere(&mut self) {
        self.place = None;
    }
}

impl Placed {
    fn events(&mut self) -> Vec<String> {
        let log = self.rows.iter().filter(|row| row.kind == yagura_event::Kind::Log);
        log.map(|row| row.text("event").to_string()).collect()
    }

    fn told(&self, event: &str) -> Vec<String> {
        let told = self.rows.iter().filter(|row| row.kind == yagura_event::Kind::Coverage);
        told.filter(|row| row.text("event") == event).map(|row| row.text("detail").to_string()).collect()
    }
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Folder(tempfile::tempdir().expect("a folder"))
    }
    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.path(name), text).expect("a file");
    }
    fn add(&self, name: &str, text: &str) {
        let mut file =
            fs::OpenOptions::new().append(true).create(true).open(self.path(name)).expect("a file");
        file.write_all(text.as_bytes()).expect("written");
    }
    fn tail(&self, change: impl FnOnce(&mut Options)) -> Tail<Plain> {
        let mut options = Options::new(vec![self.path("*.log*").display().to_string()]);
        options.poll = Duration::ZERO;
        change(&mut options);
        Tail::new("plain", options, Plain)
    }
}

/// Reads what is there, through several looks.
fn read(tail: &mut Tail<Plain>, out: &mut Placed) {
    for _ in 0..4 {
        tail.advance(Duration::ZERO, out);
    }
}

#[test]
fn lines_come_when_they_are_whole_and_a_renamed_file_keeps_its_stream() {
    let (folder, mut out) = (Folder::new(), Placed::default());
    let mut tail = folder.tail(|_| {});
    read(&mut tail, &mut out);
    assert_eq!(out.told(coverage::DOWN), ["no file matches"]);
    folder.add("a.log", "one\r\ntwo\n\nthr");
    read(&mut tail, &mut out);
    assert_eq!(out.events(), ["one", "two"]);
    fs::rename(folder.path("a.log"), folder.path("a.log.1")).expect("renamed");
    folder.add("a.log.1", "ee\nfour\n");
    folder.add("a.log", "five\n");
    read(&mut tail, &mut out);
    assert_eq!(out.events(), ["one", "two", "three", "four", "five"]);
    let streams: std::collections::BTreeSet<_> = out.streams.iter().map(|(stream, _)| stream).collect();
    assert_eq!(streams.len(), 2);
    assert_eq!(out.streams.iter().map(|(_, at)| *at).collect::<Vec<_>>(), [0, 5, 10, 16, 0]);
}

#[test]
fn a_large_file_that_is_alone_is_read_on_without_a_pause() {
    let (folder, mut out) = (Folder::new(), Placed::default());
    let lines = 3 * TURN_BYTES / (1 << 19);
    folder.write("a.log", vec![vec![b'x'; (1 << 19) - 1]; lines].join(&b'\n'));
    let mut tail = folder.tail(|_| {});
    tail.advance(Duration::ZERO, &mut out);
    while tail.files[0].mark.at + (1 << 19) < tail.files[0].size {
        assert!(tail.read_some(&mut out) > 0, "it waits at byte {}", tail.files[0].mark.at);
        out.rows.clear();
    }
}

#[test]
fn a_copy_before_its_original_is_cut_short_goes_on_as_the_original() {
    let (folder, mut out) = (Folder::new(), Placed::default());
    let mut tail = folder.tail(|_| {});
    folder.add("a.log", "one\ntwo\n");
    read(&mut tail, &mut out);
    for round in 0..3 {
        folder.add("a.log", &format!("seen {round}\n"));
        read(&mut tail, &mut out);
        folder.add("a.log", &format!("unseen {round}\n"));
        fs::copy(folder.path("a.log"), folder.path(&format!("a.log.{round}"))).expect("copied");
        if round == 1 {
            // The copy is looked at before its original is cut short.
            read(&mut tail, &mut out);
        }
        folder.write("a.log", "");
        folder.add("a.log", &format!("after {round}\n"));
        read(&mut tail, &mut out);
    }
    let mut events = out.events();
    events.sort();
    let mut expected = vec!["one".to_string(), "two".into()];
    expected.extend((0..3).flat_map(|n| ["seen", "unseen", "after"].map(|what| format!("{what} {n}"))));
    expected.sort();
    assert_eq!(events, expected);
    assert_eq!(out.told(coverage::GAP).len() + out.told(coverage::CORRUPT).len(), 0);
}

#[test]
fn what_shrinks_or_is_overwritten_is_told_and_read_anew() {
    let (folder, mut out) = (Folder::new(), Placed::default());
    let mut tail = folder.tail(|_| {});
    folder.add("a.log", "one\ntwo\n");
    folder.add("b.log", "other\n");
    read(&mut tail, &mut out);
    folder.write("a.log", "one\n");
    read(&mut tail, &mut out);
    assert!(
        out.told(coverage::GAP)[0].starts_with("shrank from 8 bytes or more to 4"),
        "{:?}",
        out.told("gap")
    );
    folder.write("a.log", "eins\nzwei\n");
    read(&mut tail, &mut out);
    assert!(out.told(coverage::CORRUPT)[0].starts_with("does not begin as it did"));
    folder.add("b.log", "more\n");
    read(&mut tail, &mut out);
    assert_eq!(out.events(), ["one", "two", "other", "one", "eins", "zwei", "more"]);
    // The same beginning is another stream all the same.
    assert!(out.streams[0].0 != out.streams[3].0);
}

#[test]
fn long_lines_binary_and_compressed_files_are_told_and_others_go_on() {
    let (folder, mut out) = (Folder::new(), Placed::default());
    let mut tail = folder.tail(|options| options.line_bytes_max = 100);
    folder.write("a.log", [&vec![b'x'; 64 << 20][..], b"\nafter\n", &[b'y'; 101], b"\nlast\n"].concat());
    folder.write("b.log", [&[0xff, 0xfe, 0x00][..], b"\ntext\n"].concat());
    folder.write("c.log.gz", [0x1f, 0x8b, 8, 0]);
    folder.write("d.log", "# wrong\nnever\n");
    folder.write("e.log", "# head\nrow\n");
    for _ in 0..20 {
        read(&mut tail, &mut out);
    }
    let mut events = out.events();
    events.sort();
    assert_eq!(events, ["after", "last", "row", "text"]);
    assert!(out.rows.iter().any(|row| row.text("event") == "row" && row.text("detail") == "# head"));
    let mut told = out.told(coverage::MALFORMED);
    told.sort();
    assert_eq!(
        told,
        [
            "byte 0: is no text",
            "byte 0: the line has 67108864 bytes and is passed over; `line_max` is 100",
            "byte 67108871: the line has 101 bytes and is passed over; `line_max` is 100",
            "is compressed; give a pattern that leaves it out",
            "is wrong",
        ]
    );
    assert_eq!(tail.seen().dropped, 3);
}

#[test]
fn once_reads_in_time_order_to_the_end_and_stops() {
    let (folder, mut out) = (Folder::new(), Placed::default());
    folder.write("a.log", "three\nfour, without an end");
    folder.write("a.log.2", "one\n");
    folder.write("a.log.1", "two\n");
    let mut tail = folder.tail(|options| options.once = true);
    read(&mut tail, &mut out);
    folder.add("a.log", "\nmore\n");
    read(&mut tail, &mut out);
    tail.finish(&mut out);
    assert_eq!(out.events(), ["one", "two", "three", "four, without an end"]);
    assert_eq!(out.told(coverage::STOP), ["everything that was there is read"]);
}

#[test]
fn a_file_that_goes_with_a_line_without_an_end_gives_that_line() {
    let (folder, mut out) = (Folder::new(), Placed::default());
    folder.write("a.log", "one\ntwo");
    let mut tail = folder.tail(|options| options.gone_after = 0);
    read(&mut tail, &mut out);
    fs::rename(folder.path("a.log"), folder.path("elsewhere")).expect("renamed");
    read(&mut tail, &mut out);
    assert_eq!(out.events(), ["one", "two"]);
    assert!(tail.files.is_empty());
}

#[test]
fn many_bad_lines_are_a_few_rows() {
    let (folder, mut out) = (Folder::new(), Placed::default());
    folder.write("a.log", b"\xff\n".repeat(100_000));
    let mut tail = folder.tail(|options| options.once = true);
    read(&mut tail, &mut out);
    let told = out.rows.iter().filter(|row| row.text("event") == coverage::MALFORMED);
    assert_eq!(told.clone().filter_map(|row| row.number("count")).sum::<f64>(), 100_000.0);
    assert!(told.count() < 50);
}
