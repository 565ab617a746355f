//! Raw packets in a ring of files.
#![allow(clippy::print_stderr, reason = "tests say what they skip and what is left behind")]

#[allow(unused, reason = "shared by the tests")]
mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use yagura_capture::{Packet, PacketFile, Ring, RingOptions};

const START: i64 = 1_700_000_000_000_000;

/// A folder of its own, gone at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("yagura-ring-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap_or_else(|e| panic!("{e}"));
        Folder(path)
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("{}: {error}", self.0.display());
        }
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{e}"));
    let mut files: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
    files.sort();
    files
}

/// Times and lengths of all packets in the folder.
fn packets(folder: &Path) -> Vec<(i64, u16, Vec<u8>, u32)> {
    let mut all = Vec::new();
    for path in files(folder) {
        let mut file = PacketFile::open(&path).unwrap_or_else(|e| panic!("{e}"));
        while let Some(p) = file.next_packet().unwrap_or_else(|e| panic!("{e}")) {
            all.push((p.time, p.link, p.data.to_vec(), p.original));
        }
    }
    all
}

fn add(ring: &mut Ring, n: i64, link: u16, length: usize) {
    let data = vec![n as u8; length];
    let packet =
        Packet { time: START + n * 1000, observed: 0, link, original: length as u32 + 5, data: &data };
    ring.packet(&packet).unwrap_or_else(|e| panic!("{e}"));
}

fn open(folder: &Path, options: RingOptions) -> Ring {
    Ring::open(folder, options).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn packets_come_back_as_they_went_in_also_after_a_restart() {
    let folder = Folder::new("restart");
    let mut expected = Vec::new();
    for run in 0..2 {
        let mut ring = open(folder.path(), RingOptions::default());
        for n in run * 100..run * 100 + 100 {
            let (link, length) = (if n % 3 == 0 { 101 } else { 1 }, n as usize % 67);
            add(&mut ring, n, link, length);
            expected.push((START + n * 1000, link, vec![n as u8; length], length as u32 + 5));
        }
    }
    assert_eq!(files(folder.path()).len(), 2);
    assert_eq!(packets(folder.path()), expected);
    for path in files(folder.path()) {
        match Command::new("tshark").arg("-r").arg(&path).args(["-T", "fields", "-e", "frame.len"]).output() {
            Ok(output) => {
                assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 100);
                assert!(output.status.success());
            }
            Err(_) => eprintln!("SKIPPED: tshark is not installed"),
        }
    }
}

#[test]
fn size_and_age_bound_the_ring_and_other_files_stay() {
    let folder = Folder::new("bounds");
    let other = folder.path().join("notes.txt");
    std::fs::write(&other, "mine").unwrap_or_else(|e| panic!("{e}"));
    let options =
        RingOptions { bytes_max: 100_000, file_bytes_max: 20_000, age_max: 3600 * 1_000_000, flush_after: 0 };
    let mut ring = open(folder.path(), options);
    for n in 0..1000 {
        add(&mut ring, n, 1, 1000);
    }
    let bytes: u64 = files(folder.path()).iter().filter_map(|p| Some(p.metadata().ok()?.len())).sum();
    assert!((60_000..=100_004).contains(&bytes), "{bytes}");
    assert!(files(folder.path()).len() >= 4);
    // An hour later only the file that is being written is young enough.
    let last = 1000 + 3601 * 1000;
    for n in last..last + 30 {
        add(&mut ring, n, 1, 1000);
    }
    drop(ring);
    std::fs::remove_file(&other).unwrap_or_else(|e| panic!("{e}"));
    let times: Vec<i64> = packets(folder.path()).iter().map(|p| p.0).collect();
    assert_eq!(times.last(), Some(&(START + (last + 29) * 1000)));
    assert!(files(folder.path()).len() <= 3, "{:?}", files(folder.path()));
}
