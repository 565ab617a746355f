//! Other stream engines and libraries of models, which benchmarks run beside this one.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::maven;

/// Apache Flink's version.
pub const FLINK: &str = "2.3.0";
/// river's version.
pub const RIVER: &str = "0.26.1";
/// Bytewax's version.
pub const BYTEWAX: &str = "0.21.1";
/// PyOD's version.
pub const PYOD: &str = "3.6.7";
/// What the collectors' tests talk to, as `pip` names it.
pub const EQUIPMENT: &[&str] =
    &["secsgem==0.3.0", "asyncua==2.1.0", "pymodbus==3.16.1", "pysparkplug==0.6.1"];
/// The second OPC UA server that collectors' tests talk to, as `npm` names it.
pub const OPCUA_NODE: &str = "node-opcua-server@2.186.4";
/// What reads what others get of Yagura, as `pip` names it: a parser of CEF, a client of PostgreSQL.
pub const READERS: &[&str] = &["pycef==1.11", "pg8000==1.31.6"];
/// What reads the sinks' formats, as `npm` names it: a parser of syslog, CEF and LEEF.
pub const READER_NODE: &str = "nsyslog-parser@0.10.1";
/// The file of a Python environment that is written when it is set up: the packages, one a line.
pub const INSTALLED: &str = "installed";

/// Fetches Apache Flink unless it is there; answers the folder that holds its jars.
pub fn flink(build_dir: &Path) -> Result<PathBuf> {
    maven::fetch(build_dir, "flink", &[("org.apache.flink", "flink-clients", FLINK)])
}

/// The folder of the Python environment that holds river and Bytewax once it is set up.
pub fn python(build_dir: &Path) -> PathBuf {
    build_dir.join("peers")
}

/// The folder of the Python environment that holds [`EQUIPMENT`] once it is set up.
pub fn equipment(build_dir: &Path) -> PathBuf {
    build_dir.join("equipment")
}

/// The folder that holds [`OPCUA_NODE`] once it is installed.
pub fn opcua_node(build_dir: &Path) -> PathBuf {
    build_dir.join("opcua-node")
}

/// The folder in which Telegraf is built once it is wanted.
pub fn telegraf(build_dir: &Path) -> PathBuf {
    build_dir.join("telegraf")
}

/// The folder of the Python environment that holds [`READERS`] once it is set up.
pub fn readers(build_dir: &Path) -> PathBuf {
    build_dir.join("readers")
}

/// The folder that holds [`READER_NODE`] once it is installed.
pub fn reader_node(build_dir: &Path) -> PathBuf {
    build_dir.join("reader-node")
}

/// The folder of the Python environment that holds river and PyOD once it is set up.
pub fn python_models(build_dir: &Path) -> PathBuf {
    build_dir.join("model-peers")
}
