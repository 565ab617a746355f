//! The contract suite against the embedded log on real files and in memory.

use std::sync::Arc;

use yagura_log::contract::{Subject, run};
use yagura_log::embedded::disk::{Disk, RealDisk};
use yagura_log::embedded::{Embedded, Options};
use yagura_log::memory::RamDisk;
use yagura_log::{Log, LogError};

struct Local {
    disk: Arc<dyn Disk>,
    folder: std::path::PathBuf,
    options: Options,
    log: Option<Arc<Embedded>>,
}

impl Local {
    fn new(disk: Arc<dyn Disk>, folder: std::path::PathBuf) -> Self {
        let options = Options { segment_bytes: 64 << 10, record_bytes_max: 1 << 20, ..Options::default() };
        let mut local = Local { disk, folder, options, log: None };
        local.reopen();
        local
    }
}

impl Subject for Local {
    fn log(&self) -> Arc<dyn Log> {
        self.log.clone().expect("open")
    }

    fn reopen(&mut self) {
        self.log = None;
        let log = Embedded::open_on(self.disk.clone(), &self.folder, self.options.clone()).expect("open");
        self.log = Some(Arc::new(log));
    }

    fn forget(&mut self, topic: &str, partition: u32) {
        let before = self.options.clone();
        self.options.retain_bytes = Some(100 << 10);
        self.reopen();
        self.log.as_ref().expect("open").retain().expect("retain");
        assert!(self.log().held(topic, partition).expect("held").start > 0);
        self.options = before;
        self.reopen();
    }

    fn record_bytes_max(&self) -> usize {
        self.options.record_bytes_max
    }
}

#[test]
fn the_embedded_log_keeps_the_contract() {
    let folder = tempfile::tempdir().expect("folder");
    let mut subject = Local::new(Arc::new(RealDisk), folder.path().join("log"));
    run(&mut subject);
    assert!(matches!(
        Embedded::open(folder.path().join("log"), Options::default()),
        Err(LogError::Locked { .. })
    ));
}

#[test]
fn the_log_in_memory_keeps_the_contract() {
    run(&mut Local::new(Arc::new(RamDisk::default()), "memory".into()));
}
