//! Random SECS-II trees from a third party's encoder (secsgem) are read back exactly: every
//! format, empty items, arrays, nested lists, lengths of one to three bytes, numbers by their bits.
//! (secsgem does not write the format of localised text; `secs2` tests that itself.)
//!
//! `cargo xtask setup` installs secsgem. `cargo xtask trees` reads a million.
#![allow(clippy::print_stderr, reason = "the test says what it skips and what it read")]

use std::fmt::Write;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use yagura_dissect::secs2::{Format, Item};

/// A tree in the words of `trees.py`, from what is read: numbers and texts as rows show them.
fn words(item: &Item<'_>, out: &mut String) {
    if item.is_list() {
        let _ = write!(out, " L{}", item.count());
        let mut children = 0;
        for child in item.children() {
            words(&child, out);
            children += 1;
        }
        assert_eq!(children, item.count());
        return;
    }
    let mut shown = String::new();
    assert!(!item.push_json(&mut shown, 1 << 24, None), "cut");
    let name = match item.format() {
        Format::Binary => "B",
        Format::Boolean => "BOOLEAN",
        Format::Ascii => "A",
        Format::Jis8 => "J",
        Format::I1 => "I1",
        Format::I2 => "I2",
        Format::I4 => "I4",
        Format::I8 => "I8",
        Format::U1 => "U1",
        Format::U2 => "U2",
        Format::U4 => "U4",
        Format::U8 => "U8",
        Format::F4 => "F4",
        Format::F8 => "F8",
        Format::List | Format::Unicode => panic!("{:?}", item.format()),
    };
    let _ = write!(out, " {name}:");
    match item.format() {
        Format::Binary => {
            let digits = shown.strip_prefix("\"0x").and_then(|s| s.strip_suffix('"'));
            out.push_str(digits.unwrap_or_else(|| panic!("{shown}")));
        }
        Format::Ascii | Format::Jis8 => {
            let text: String = serde_json::from_str(&shown).unwrap_or_else(|e| panic!("{e}: {shown}"));
            for byte in text.bytes() {
                let _ = write!(out, "{byte:02x}");
            }
        }
        format => {
            let inner = shown.strip_prefix('[').and_then(|s| s.strip_suffix(']')).unwrap_or(&shown);
            let values = inner.split(',').filter(|v| !v.is_empty());
            for (index, value) in values.enumerate() {
                if index > 0 {
                    out.push(',');
                }
                let number = item.number(index).unwrap_or_else(|| panic!("no number {index}: {shown}"));
                let float = || value.parse::<f64>().unwrap_or_else(|e| panic!("{e}: {value}"));
                let _ = match format {
                    Format::Boolean => write!(out, "{}", u8::from(value == "true")),
                    Format::F4 => {
                        let bits = (float() as f32).to_bits();
                        assert_eq!(bits, (number as f32).to_bits(), "{value}");
                        write!(out, "{bits:08x}")
                    }
                    Format::F8 => {
                        assert_eq!(float().to_bits(), number.to_bits(), "{value}");
                        write!(out, "{:016x}", float().to_bits())
                    }
                    _ => write!(out, "{value}"),
                };
            }
        }
    }
}

fn bytes(digits: &str, into: &mut Vec<u8>) {
    let digit = |d: u8| (d as char).to_digit(16).unwrap_or_else(|| panic!("no digit: {d}")) as u8;
    into.clear();
    into.extend(digits.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])));
}

#[test]
fn trees_of_another_encoder_are_read_back_exactly() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join("../../target/testkit/secsgem/bin/python");
    if !python.exists() {
        eprintln!("SKIPPED: secsgem is not installed; `cargo xtask setup` does it");
        return;
    }
    let number = |name, or| {
        std::env::var(name).ok().map_or(or, |v| v.parse().unwrap_or_else(|e| panic!("{name}: {e}")))
    };
    let (count, seed): (u64, u64) = (number("YAGURA_TREES", 20_000), number("YAGURA_TREES_SEED", 1));
    let mut command = Command::new(python);
    command.arg(root.join("tests/secsgem/trees.py")).arg(count.to_string()).arg(seed.to_string());
    let mut encoder = command.stdout(Stdio::piped()).spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let output = encoder.stdout.take().unwrap_or_else(|| panic!("no output"));
    let (mut lines, mut line) = (BufReader::new(output), String::new());
    let (mut read, mut text, mut found) = (0, Vec::new(), String::new());
    let mut size = 0;
    while lines.read_line(&mut line).unwrap_or_else(|e| panic!("{e}")) > 0 {
        let (digits, expected) = line.trim_end().split_at(line.find(' ').unwrap_or(0));
        bytes(digits, &mut text);
        size += text.len();
        let item = Item::message(&text).unwrap_or_else(|e| panic!("{e}: {digits:.200}"));
        found.clear();
        words(&item.unwrap_or_else(|| panic!("no item")), &mut found);
        assert!(found == expected, "tree {read}:\n{expected:.2000}\n{found:.2000}\n{digits:.2000}");
        read += 1;
        line.clear();
    }
    let ended = encoder.wait().unwrap_or_else(|e| panic!("{e}"));
    assert!(ended.success() && read == count, "{ended}, {read} trees");
    eprintln!("{read} trees of {size} bytes");
}
