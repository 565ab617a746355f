//! What is read here: a capture's rows.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use yagura_capture::{Engine, EngineOptions, Limits, read_file};
use yagura_dissect::{Protocol, Settings};
use yagura_event::AssetTable;
use yagura_event::rows::{OwnedRow, Row, RowSink};
use yagura_event::schema::Kind;

/// The folder of the captures; `None`, said on the screen, where they are not at hand.
pub fn folder() -> Option<PathBuf> {
    let shared = std::env::var_os("YAGURA_SHARED")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared"), PathBuf::from);
    let captures = shared.join("captures");
    if captures.join("expected").is_dir() {
        return Some(captures);
    }
    #[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
    {
        eprintln!("SKIPPED: there is no {} (set YAGURA_SHARED)", captures.join("expected").display());
    }
    None
}

/// Every capture of the manifest: folder and file, and the protocols that tshark sees.
pub fn manifest(captures: &Path) -> Vec<(String, String)> {
    let manifest = captures.join("MANIFEST.csv");
    let fail = |error: csv::Error| -> ! { panic!("{}: {error}", manifest.display()) };
    let mut lines = csv::ReaderBuilder::new().from_path(&manifest).unwrap_or_else(|e| fail(e));
    let entry = |line: csv::Result<csv::StringRecord>| {
        let line = line.unwrap_or_else(|e| fail(e));
        (format!("{}/{}", &line[0], &line[1]), line.iter().next_back().unwrap_or_default().to_string())
    };
    lines.records().map(entry).collect()
}

/// One capture and the rows that came out of it.
pub struct Capture {
    /// The file.
    pub path: PathBuf,
    /// Every row except measured values, in order.
    pub rows: Vec<OwnedRow>,
}

impl Capture {
    /// Reads a capture as the program does.
    pub fn read(path: &Path) -> Capture {
        let mut kept = Kept { rows: Vec::new(), samples: false };
        feed_into(path, &mut kept);
        Capture { path: path.to_path_buf(), rows: kept.rows }
    }

    /// The messages of a protocol, in order.
    pub fn messages<'a>(&'a self, protocol: &'a str) -> impl Iterator<Item = &'a OwnedRow> {
        self.rows.iter().filter(move |r| r.kind == Kind::Message && r.text("protocol") == protocol)
    }

    /// The measured values, for protocols that are compared by them. They are many: the capture is
    /// read again for them.
    pub fn samples(&self) -> Vec<OwnedRow> {
        let mut kept = Kept { rows: Vec::new(), samples: true };
        feed_into(&self.path, &mut kept);
        kept.rows.retain(|r| r.kind == Kind::Sample);
        kept.rows
    }

    /// The kinds of tunnels that were opened in it.
    pub fn tunnels(&self) -> Vec<&'static str> {
        let mut engine = Engine::new(options());
        feed(&self.path, &mut engine, &mut Kept { rows: Vec::new(), samples: false });
        engine.stats().tunnels.into_keys().collect()
    }

    /// The rows that other dissectors make of the capture, for instance one that keeps raw bytes.
    pub fn read_with(&self, protocols: &'static [Protocol], out: &mut dyn RowSink) {
        let mut engine = Engine::with_protocols(options(), protocols);
        feed(&self.path, &mut engine, out);
    }
}

/// Reads a capture as the program does, into `out`.
pub fn feed_into(path: &Path, out: &mut dyn RowSink) {
    feed(path, &mut Engine::new(options()), out);
}

fn options() -> EngineOptions {
    EngineOptions {
        assets: Arc::new(AssetTable::default()),
        settings: Arc::new(Settings { plant_key: b"key".to_vec(), ..Settings::default() }),
        limits: Limits::default(),
    }
}

fn feed(path: &Path, engine: &mut Engine, out: &mut dyn RowSink) {
    // A file that is cut is compared as far as it goes.
    read_file(path, engine, out, |_, _| {});
    engine.finish(out);
}

struct Kept {
    rows: Vec<OwnedRow>,
    samples: bool,
}

impl RowSink for Kept {
    fn push(&mut self, row: Row<'_>) {
        if self.samples || !matches!(row, Row::Measured(_)) {
            self.rows.push(OwnedRow::from(row));
        }
    }
}

/// What every module asks of a message's row.
pub trait MessageRow {
    /// `address:port` of the end that asked.
    fn client(&self) -> String;
    /// `address:port` of the end that was asked.
    fn server(&self) -> String;
    /// The members of the column `detail`; null when it is empty.
    fn detail(&self) -> serde_json::Value;
}

impl MessageRow for OwnedRow {
    fn client(&self) -> String {
        format!("{}:{}", self.text("client"), self.number("client_port").unwrap_or(0.0))
    }

    fn server(&self) -> String {
        format!("{}:{}", self.text("server"), self.number("server_port").unwrap_or(0.0))
    }

    fn detail(&self) -> serde_json::Value {
        serde_json::from_str(self.text("detail")).unwrap_or_default()
    }
}
