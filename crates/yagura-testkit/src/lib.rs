//! Real third-party servers for tests: fetched once, started on loopback with free ports, ended
//! with the handle. Nothing that ships uses this crate.

pub mod alertmanager;
pub mod apiserver;
pub mod certificates;
pub mod helm;
pub mod hook;
pub mod http;
pub mod kafka;
pub mod maven;
pub mod namespace;
pub mod opensearch;
pub mod peers;
mod ports;
pub mod prometheus;
pub mod rsyslog;
pub mod way;

pub use ports::free_port;

use std::path::PathBuf;

/// Where fetched programs are kept: `target/testkit` of this workspace.
pub fn build_folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/testkit")
}
