//! Records the demonstration's fab cell: forty minutes of an etch bay as packets and records.
//!
//! [`write()`] makes the same files for the same seed on every machine, reads no clock and asks
//! nothing of anybody. The packets are whole: Ethernet, IPv4, TCP with its handshakes,
//! acknowledgements, a few retransmissions and segments out of order, and on top HSMS with SECS-II
//! and Modbus/TCP. [`wire`], [`hsms`] and [`modbus`] make little scenes for tests, [`load`] makes
//! samples in bulk for benchmarks, [`storm`] rows of one cause or of very many.
//!
//! The cell is `etch-bay-2`: three etchers and a deposition tool with their host, a gas cabinet
//! with its monitoring, an engineering workstation. It produces for 25 minutes, then what was
//! learned is approved, then things happen ([`Scene::script`]).

mod cell;
mod gas;
mod gem;
pub mod hsms;
pub mod load;
pub mod modbus;
mod plan;
pub mod random;
mod records;
pub mod storm;
pub mod wire;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use yagura_event::Asset;
use yagura_event::clock::Micros;

pub use cell::CELL;
pub use plan::{Act, START, detection};
pub use records::body_hmac;

/// What scene to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SceneOptions {
    /// Decides every random number.
    pub seed: u64,
    /// Whether attacks and faults happen; without them the same production goes on undisturbed,
    /// and no detection may raise anything.
    pub incidents: bool,
}

impl Default for SceneOptions {
    fn default() -> Self {
        SceneOptions { seed: 2026, incidents: true }
    }
}

/// A scene that was written.
#[derive(Clone, Debug)]
pub struct Scene {
    /// Packets: `cell.pcap`.
    pub packets: PathBuf,
    /// Equipment signals: `telemetry.jsonl` (`time`, `tool`, `chamber`, `signal`, `unit`, `class`, `value`).
    pub telemetry: PathBuf,
    /// Doors: `badge.jsonl` (`time`, `door`, `holder`, `event`).
    pub badges: PathBuf,
    /// Released recipes: `releases.jsonl` (`time`, `recipe`, `tool_group`, `body_hmac`, `author`).
    pub releases: PathBuf,
    /// The approval: `control.jsonl`, in the columns of a control record.
    pub control: PathBuf,
    /// What the telemetry's collector did not see: `coverage.jsonl`, in the columns of a coverage record.
    pub coverage: PathBuf,
    /// Names of variables, events and alarms: `dictionary.csv` (`model`, `kind` (`svid`, `ceid`,
    /// `alid`), `id`, `name`, `unit`, `context`, `class`, `chamber`).
    pub dictionary: PathBuf,
    /// The asset table.
    pub assets: Vec<Asset>,
    /// The cell that everything belongs to.
    pub cell: &'static str,
    /// When it begins: [`START`].
    pub start: Micros,
    /// How long it lasts, in seconds.
    pub duration_s: u32,
    /// When what was learned is approved.
    pub approval: Micros,
    /// What happens when, in order.
    pub script: Vec<Act>,
    /// The key of the recipe hashes.
    pub plant_key: Vec<u8>,
    /// Texts in the recipe bodies that no output of Yagura may contain.
    pub secrets: Vec<String>,
    /// How often each message was sent: `S7F3`, `Select.req`, `modbus 6` (requests).
    pub messages: BTreeMap<String, u64>,
    /// How many frames `cell.pcap` has.
    pub frames: usize,
}

/// Why a scene could not be written.
#[derive(Debug, thiserror::Error)]
pub enum SceneError {
    /// The operating system refused.
    #[error("cannot write {path}: {cause}; give a folder that can be written to and has 30 MB of room")]
    Write {
        /// What was to be written.
        path: PathBuf,
        /// Why not.
        cause: io::Error,
    },
}

/// Makes the scene and writes its files into `folder`, which is created if need be.
pub fn write(folder: &Path, options: &SceneOptions) -> Result<Scene, SceneError> {
    let SceneOptions { seed, incidents } = *options;
    let fail = |path: &Path| {
        let path = path.to_path_buf();
        move |cause| SceneError::Write { path, cause }
    };
    std::fs::create_dir_all(folder).map_err(fail(folder))?;
    let save = |name: &str, text: String| {
        let path = folder.join(name);
        std::fs::write(&path, text).map_err(fail(&path)).map(|()| path)
    };

    let lots: Vec<Vec<plan::Lot>> =
        cell::TOOLS.iter().map(|tool| plan::lots(tool, seed, incidents)).collect();
    let mut recording = wire::Recording::new(START);
    let mut messages = BTreeMap::new();
    for (tool, lots) in cell::TOOLS.iter().zip(&lots) {
        gem::host_and_tool(&mut recording, tool, lots, seed, &mut messages);
    }
    gas::cabinet(&mut recording, seed, incidents, &mut messages);
    if incidents {
        gem::laptop(&mut recording, seed, &mut messages);
    }
    let packets = folder.join("cell.pcap");
    recording.write_pcap(&packets).map_err(fail(&packets))?;

    let mut random = random::Random::named(seed, "plant key");
    let plant_key: Vec<u8> = (0..4).flat_map(|_| random.word().to_be_bytes()).collect();
    Ok(Scene {
        packets,
        telemetry: save("telemetry.jsonl", records::telemetry(&lots, seed, incidents))?,
        badges: save("badge.jsonl", records::badges(seed))?,
        releases: save("releases.jsonl", records::releases(seed, &plant_key))?,
        control: save("control.jsonl", records::control())?,
        coverage: save("coverage.jsonl", records::coverage(incidents))?,
        dictionary: save("dictionary.csv", cell::dictionary())?,
        assets: cell::assets(),
        cell: CELL,
        start: START,
        duration_s: plan::DURATION_S,
        approval: plan::second_of(plan::APPROVAL_S),
        script: plan::script(incidents),
        plant_key,
        secrets: cell::RECIPES.iter().map(|recipe| recipe.secret(seed)).collect(),
        messages,
        frames: recording.frames(),
    })
}
