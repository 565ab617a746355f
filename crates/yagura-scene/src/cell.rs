//! The cell: who stands where, what the tools measure, and the recipes they run.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddrV4};

use yagura_event::Asset;
use yagura_event::vocabulary::area;

use crate::random::Random;

/// The cell's name.
pub const CELL: &str = "etch-bay-2";

/// The host: equipment automation of the bay.
pub(crate) const EAP: Ipv4Addr = Ipv4Addr::new(10, 20, 1, 11);
/// Facility monitoring, which polls the gas cabinet.
pub(crate) const FMCS: Ipv4Addr = Ipv4Addr::new(10, 20, 1, 31);
/// The engineering workstation, which normally does nothing here.
pub(crate) const ENGINEERING: Ipv4Addr = Ipv4Addr::new(10, 20, 1, 45);
/// The gas cabinet's controller.
pub(crate) const GAS_CABINET: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 21, 4, 21), 502);
/// A laptop that no asset table knows.
pub(crate) const LAPTOP: Ipv4Addr = Ipv4Addr::new(10, 21, 4, 66);

/// Equipment of one make.
pub(crate) struct Model {
    /// MDLN.
    pub name: &'static str,
    /// SOFTREV.
    pub revision: &'static str,
    /// What each chamber measures, [`SIGNALS`] of them.
    pub signals: [Signal; SIGNALS],
    /// Alarms: id, code (bit 128 off) and text. All harmless.
    pub alarms: [(u32, u8, &'static str); 2],
}

/// Signals of a chamber.
pub(crate) const SIGNALS: usize = 6;
/// The chambers of every tool.
pub(crate) const CHAMBERS: [&str; 2] = ["A", "B"];

/// One signal of a chamber.
pub(crate) struct Signal {
    pub name: &'static str,
    pub unit: &'static str,
    pub class: &'static str,
    /// Standard deviation of its noise, in its unit.
    pub sigma: f64,
    /// Level while nothing runs.
    pub idle: f64,
}

const fn signal(
    name: &'static str,
    unit: &'static str,
    class: &'static str,
    sigma: f64,
    idle: f64,
) -> Signal {
    Signal { name, unit, class, sigma, idle }
}

pub(crate) static ETCHER: Model = Model {
    name: "KE-340",
    revision: "4.2.1",
    signals: [
        signal("CF4Flow", "sccm", "flow", 0.5, 0.5),
        signal("ChamberPressure", "mTorr", "pressure", 0.15, 2.0),
        signal("RFForward", "W", "power", 1.5, 0.0),
        signal("RFReflected", "W", "power", 0.25, 1.5),
        signal("ESCTemperature", "degC", "temperature", 0.05, 20.0),
        signal("HeBackside", "Torr", "pressure", 0.04, 0.3),
    ],
    alarms: [(5021, 3, "He backside flow near its limit"), (5107, 6, "Chiller filter due for replacement")],
};

pub(crate) static DEPOSITER: Model = Model {
    name: "KD-120",
    revision: "2.9.0",
    signals: [
        signal("PrecursorFlow", "mgm", "flow", 1.5, 0.5),
        // The carrier flows whatever happens: it keeps the lines clean.
        signal("CarrierN2Flow", "sccm", "flow", 4.0, 2_000.0),
        signal("ChamberPressure", "Torr", "pressure", 0.01, 0.5),
        signal("RFForward", "W", "power", 1.5, 0.0),
        signal("RFReflected", "W", "power", 0.25, 1.5),
        signal("HeaterTemperature", "degC", "temperature", 0.15, 400.0),
    ],
    alarms: [(6012, 3, "Precursor ampoule below 20 %"), (6055, 6, "Throttle valve cleaning due")],
};

/// Index of the signal that drifts, in [`DEPOSITER`].
pub(crate) const CARRIER_FLOW: usize = 1;

/// A tool of the cell.
pub(crate) struct Tool {
    pub name: &'static str,
    pub model: &'static Model,
    pub address: SocketAddrV4,
    /// The host's port of the first connection.
    pub host_port: u16,
    /// Start of the first lot, in seconds; the others follow every [`crate::plan::LOT_PERIOD_S`].
    pub first_lot_s: u32,
    /// Its recipes by turns, as indices of [`RECIPES`].
    pub recipes: &'static [usize],
    /// Whether the host has it send trace data (S2F23).
    pub traced: bool,
}

pub(crate) static TOOLS: [Tool; 4] = [
    Tool {
        name: "ETCH-07",
        model: &ETCHER,
        address: SocketAddrV4::new(Ipv4Addr::new(10, 21, 4, 7), 5000),
        host_port: 49_207,
        first_lot_s: 30,
        // The eighth is the released recipe after the approval, the ninth the changed one.
        recipes: &[0, 1, 2, 0, 1, 2, 1, 0, 0, 1, 2],
        traced: true,
    },
    Tool {
        name: "ETCH-08",
        model: &ETCHER,
        address: SocketAddrV4::new(Ipv4Addr::new(10, 21, 4, 8), 5000),
        host_port: 49_208,
        first_lot_s: 60,
        recipes: &[1, 2, 0],
        traced: false,
    },
    Tool {
        name: "ETCH-09",
        model: &ETCHER,
        address: SocketAddrV4::new(Ipv4Addr::new(10, 21, 4, 9), 5010),
        host_port: 49_209,
        first_lot_s: 95,
        recipes: &[2, 0, 1],
        traced: false,
    },
    Tool {
        name: "CVD-03",
        model: &DEPOSITER,
        address: SocketAddrV4::new(Ipv4Addr::new(10, 21, 4, 103), 5000),
        host_port: 49_303,
        first_lot_s: 120,
        recipes: &[3, 4],
        traced: true,
    },
];

/// A recipe.
pub(crate) struct Recipe {
    pub name: &'static str,
    /// The group of tools that it is released for.
    pub group: &'static str,
    /// Length of its body.
    pub bytes: usize,
    pub steps: &'static [Step],
}

/// One step of a recipe: name, seconds, and the level of each of the model's signals.
pub(crate) struct Step(pub &'static str, pub u32, pub [f64; SIGNALS]);

/// The recipe that is tampered with, its step and by how many seconds that grows. The levels stay
/// as they are: nothing but the body's hash tells.
pub(crate) const TAMPERED: (usize, &str, u32) = (0, "OverEtch", 12);

pub(crate) static RECIPES: [Recipe; 5] = [
    Recipe {
        name: "OX-MAIN-31",
        group: "ETCH",
        bytes: 30_000,
        steps: &[
            Step("Stabilise", 15, [120.0, 35.0, 0.0, 1.5, 20.0, 10.0]),
            Step("Breakthrough", 20, [120.0, 35.0, 400.0, 3.0, 20.4, 15.0]),
            Step("MainEtch", 70, [180.0, 45.0, 800.0, 5.0, 21.2, 20.0]),
            Step("OverEtch", 40, [150.0, 40.0, 600.0, 4.0, 20.8, 20.0]),
            Step("Purge", 15, [300.0, 60.0, 0.0, 1.5, 20.2, 5.0]),
        ],
    },
    Recipe {
        name: "OX-MAIN-32",
        group: "ETCH",
        bytes: 12_400,
        steps: &[
            Step("Stabilise", 15, [110.0, 30.0, 0.0, 1.5, 20.0, 10.0]),
            Step("MainEtch", 90, [160.0, 40.0, 750.0, 5.0, 21.0, 20.0]),
            Step("OverEtch", 30, [140.0, 38.0, 550.0, 4.0, 20.6, 20.0]),
            Step("Purge", 15, [300.0, 60.0, 0.0, 1.5, 20.2, 5.0]),
        ],
    },
    Recipe {
        name: "POLY-GATE-12",
        group: "ETCH",
        bytes: 8_200,
        steps: &[
            Step("Stabilise", 10, [60.0, 10.0, 0.0, 1.5, 20.0, 8.0]),
            Step("Breakthrough", 15, [80.0, 12.0, 300.0, 3.0, 20.2, 12.0]),
            Step("MainEtch", 80, [90.0, 15.0, 450.0, 4.0, 20.6, 14.0]),
            Step("Landing", 35, [70.0, 20.0, 250.0, 3.0, 20.3, 14.0]),
            Step("Purge", 15, [300.0, 60.0, 0.0, 1.5, 20.2, 5.0]),
        ],
    },
    Recipe {
        name: "TEOS-DEP-04",
        group: "CVD",
        bytes: 18_700,
        steps: &[
            Step("Heat", 20, [0.5, 2_000.0, 5.0, 0.0, 1.5, 402.0]),
            Step("Deposit", 95, [420.0, 2_000.0, 8.2, 650.0, 5.0, 405.0]),
            Step("Purge", 25, [0.5, 2_000.0, 3.0, 0.0, 1.5, 401.0]),
        ],
    },
    Recipe {
        name: "SIN-CAP-09",
        group: "CVD",
        bytes: 9_900,
        steps: &[
            Step("Heat", 25, [0.5, 2_000.0, 4.0, 0.0, 1.5, 401.0]),
            Step("Deposit", 80, [250.0, 2_000.0, 4.8, 500.0, 4.0, 403.0]),
            Step("Purge", 25, [0.5, 2_000.0, 3.0, 0.0, 1.5, 401.0]),
        ],
    },
];

impl Recipe {
    /// The body: what nobody outside of the fab may ever read. Settings as text, then a table,
    /// as tools' own formats have them. A changed body differs in one step's time only.
    pub fn body(&self, seed: u64, tampered: bool) -> Vec<u8> {
        let mut random = Random::named(seed, self.name);
        let mut text = self.secret(seed);
        text.push('\n');
        for Step(name, seconds, levels) in self.steps {
            let seconds = seconds + if tampered && *name == TAMPERED.1 { TAMPERED.2 } else { 0 };
            let _ = writeln!(text, "STEP={name};TIME={seconds:03};SET={levels:?}");
        }
        let mut body = text.into_bytes();
        body.resize_with(self.bytes.max(body.len()), || random.word() as u8);
        body
    }

    /// A text at the head of the body that appears nowhere else.
    pub fn secret(&self, seed: u64) -> String {
        format!("KEEP-IN-FAB-{:016X}", Random::named(seed ^ 0x5ec2, self.name).word())
    }
}

/// The variables that reports and polls name (SVID).
pub(crate) mod svid {
    pub const LOT: u32 = 1001;
    pub const RECIPE: u32 = 1002;
    pub const STEP: u32 = 1003;
    pub const CHAMBER: u32 = 1004;
    pub const STATE: u32 = 1005;
    pub const WAFERS: u32 = 3001;

    /// The variable of a chamber's signal.
    pub const fn of(chamber: usize, signal: usize) -> u32 {
        2001 + 100 * chamber as u32 + signal as u32
    }
}

/// The events that tools send (CEID).
pub(crate) mod ceid {
    pub const PROCESS_STARTED: u32 = 101;
    pub const PROCESS_COMPLETED: u32 = 102;
    pub const STEP_STARTED: u32 = 111;
    pub const LOT_COMPLETED: u32 = 120;
    pub const ALL: [u32; 4] = [PROCESS_STARTED, PROCESS_COMPLETED, STEP_STARTED, LOT_COMPLETED];
}

/// A model's variables: id, name, unit, context, class, chamber.
pub(crate) fn variables(model: &Model) -> Vec<(u32, String, &str, &str, &str, &'static str)> {
    let mut out = vec![
        (svid::LOT, "LotID".to_string(), "", "lot", "", ""),
        (svid::RECIPE, "PPID".to_string(), "", "recipe", "", ""),
        (svid::STEP, "StepID".to_string(), "", "step", "", ""),
        (svid::CHAMBER, "Chamber".to_string(), "", "chamber", "", ""),
        (svid::STATE, "ProcessState".to_string(), "", "", "state", ""),
    ];
    for (c, chamber) in CHAMBERS.into_iter().enumerate() {
        for (s, signal) in model.signals.iter().enumerate() {
            let name = format!("{}_{chamber}", signal.name);
            out.push((svid::of(c, s), name, signal.unit, "", signal.class, chamber));
        }
    }
    out.push((svid::WAFERS, "WafersProcessed".to_string(), "", "", "count", ""));
    out
}

/// `dictionary.csv`.
pub(crate) fn dictionary() -> String {
    let mut out = String::from("model,kind,id,name,unit,context,class,chamber\n");
    for model in [&ETCHER, &DEPOSITER] {
        let name = model.name;
        for (id, variable, unit, context, class, chamber) in variables(model) {
            let _ = writeln!(out, "{name},svid,{id},{variable},{unit},{context},{class},{chamber}");
        }
        for (id, event) in [
            (ceid::PROCESS_STARTED, "ProcessStarted"),
            (ceid::PROCESS_COMPLETED, "ProcessCompleted"),
            (ceid::STEP_STARTED, "StepStarted"),
            (ceid::LOT_COMPLETED, "LotCompleted"),
        ] {
            let _ = writeln!(out, "{name},ceid,{id},{event},,,,");
        }
        for (id, _, text) in model.alarms {
            let _ = writeln!(out, "{name},alid,{id},{text},,,,");
        }
    }
    out
}

/// The asset table: everything but the laptop.
pub(crate) fn assets() -> Vec<Asset> {
    let asset = |name: &str, address: Ipv4Addr, place: &str, equipment| Asset {
        name: name.to_string(),
        addresses: vec![address.into()],
        cell: CELL.to_string(),
        area: place.to_string(),
        macs: Vec::new(),
        equipment,
    };
    let mut out: Vec<Asset> = TOOLS.iter().map(|t| asset(t.name, *t.address.ip(), area::FAB, true)).collect();
    out.push(asset("GC-21", *GAS_CABINET.ip(), area::FAB, true));
    out.push(asset("EAP-01", EAP, area::FAB_SYSTEM, false));
    out.push(asset("FMCS-01", FMCS, area::FAB_SYSTEM, false));
    out.push(asset("ENG-05", ENGINEERING, area::FAB_SYSTEM, false));
    out
}
