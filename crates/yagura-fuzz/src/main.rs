//! The program that libFuzzer drives. `YAGURA_FUZZ` says what it is for: a protocol's name,
//! `packets`, `list` (prints the targets) or `seeds` (writes inputs of the captures in
//! `YAGURA_CAPTURES` into `YAGURA_SEEDS`). `cargo xtask fuzz` builds it and knows how to call it.
#![no_main]
#![allow(unsafe_code, reason = "libFuzzer calls functions of this program by their names")]
#![allow(
    missing_docs,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "it is a program of the command line"
)]

use std::path::PathBuf;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use yagura_dissect::{Protocol, protocols};
use yagura_fuzz::{connection, packets, seeds};

/// What is fuzzed; `None` stands for whole packets.
static TARGET: OnceLock<Option<&'static Protocol>> = OnceLock::new();

fuzz_target!(
    init: {
        let wanted = std::env::var("YAGURA_FUZZ").unwrap_or_default();
        match wanted.as_str() {
            "list" => {
                protocols().iter().for_each(|p| println!("{}", p.name));
                println!("packets");
                std::process::exit(0);
            }
            "seeds" => {
                let folder = |name| PathBuf::from(std::env::var_os(name).unwrap_or_default());
                let written = seeds::write(&folder("YAGURA_CAPTURES"), &folder("YAGURA_SEEDS"));
                if let Err(error) = &written {
                    eprintln!("seeds: {error}");
                }
                std::process::exit(i32::from(written.is_err()));
            }
            "packets" => drop(TARGET.set(None)),
            name => match protocols().iter().find(|p| p.name == name) {
                Some(protocol) => drop(TARGET.set(Some(protocol))),
                None => {
                    eprintln!("YAGURA_FUZZ: no protocol `{name}`");
                    std::process::exit(2);
                }
            },
        }
    },
    |data: &[u8]| {
        match TARGET.get() {
            Some(Some(protocol)) => connection::run(protocol, data),
            _ => packets::run(data),
        }
    }
);
