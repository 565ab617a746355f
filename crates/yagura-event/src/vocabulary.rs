//! One vocabulary above all protocols, so that one detection on "recipe written" covers every
//! route by which a recipe travels.

/// What a message does, whatever the protocol. `family.detail`; a condition may test either with
/// `operation = 'recipe.write'` or `operation LIKE 'recipe.%'`.
pub mod operation {
    /// Read process values.
    pub const READ: &str = "read";
    /// Write process values or parameters.
    pub const WRITE: &str = "write";
    /// A command: start, stop, abort, remote command.
    pub const CONTROL: &str = "control";
    /// A recipe body goes to the tool.
    pub const RECIPE_WRITE: &str = "recipe.write";
    /// A recipe body leaves the tool.
    pub const RECIPE_READ: &str = "recipe.read";
    /// The list of recipes is asked for.
    pub const RECIPE_LIST: &str = "recipe.list";
    /// Recipes are deleted.
    pub const RECIPE_DELETE: &str = "recipe.delete";
    /// Controller logic or a file goes to the device.
    pub const PROGRAM_WRITE: &str = "program.write";
    /// Controller logic or a file leaves the device.
    pub const PROGRAM_READ: &str = "program.read";
    /// Settings of the device or of its reporting change (constants, report definitions, limits).
    pub const CONFIGURE: &str = "configure";
    /// The device is asked what it is or what it has.
    pub const DISCOVER: &str = "discover";
    /// Credentials are presented.
    pub const AUTHENTICATE: &str = "authenticate";
    /// A session is opened (select, establish communication, connect).
    pub const SESSION_OPEN: &str = "session.open";
    /// A session is closed.
    pub const SESSION_CLOSE: &str = "session.close";
    /// A session is kept alive.
    pub const SESSION_KEEP: &str = "session.keep";
    /// The device reports on its own: events, traces.
    pub const REPORT: &str = "report";
    /// An alarm is set or cleared.
    pub const ALARM: &str = "report.alarm";
    /// Diagnostics, among them restarts and listen-only.
    pub const DIAGNOSE: &str = "diagnose";
    /// The protocol's own error report.
    pub const ERROR: &str = "error";
    /// Terminal text and what has no better name.
    pub const OTHER: &str = "other";

    /// All of them, in the order of the manual.
    pub const ALL: &[&str] = &[
        READ,
        WRITE,
        CONTROL,
        RECIPE_WRITE,
        RECIPE_READ,
        RECIPE_LIST,
        RECIPE_DELETE,
        PROGRAM_WRITE,
        PROGRAM_READ,
        CONFIGURE,
        DISCOVER,
        AUTHENTICATE,
        SESSION_OPEN,
        SESSION_CLOSE,
        SESSION_KEEP,
        REPORT,
        ALARM,
        DIAGNOSE,
        ERROR,
        OTHER,
    ];
}

/// How a message ended.
pub mod status {
    /// Accepted.
    pub const OK: &str = "ok";
    /// Refused by the device; `status_code` says how.
    pub const DENIED: &str = "denied";
    /// No reply within the protocol's time, or the flow ended first.
    pub const NO_REPLY: &str = "no_reply";
    /// Needs no reply.
    pub const ONE_WAY: &str = "one_way";
    /// A reply whose request was not seen.
    pub const UNASKED: &str = "unasked";
    /// The bytes break the protocol; `detail` says where.
    pub const MALFORMED: &str = "malformed";

    /// All of them.
    pub const ALL: &[&str] = &[OK, DENIED, NO_REPLY, ONE_WAY, UNASKED, MALFORMED];
}

/// Purdue-like areas of the guideline's reference model.
pub mod area {
    /// Purdue level 0 to 2.
    pub const FAB: &str = "fab";
    /// Level 3: MES, host, recipe server, FDC.
    pub const FAB_SYSTEM: &str = "fab-system";
    /// Between plant and office.
    pub const DMZ: &str = "dmz";
    /// Vendors and clouds.
    pub const EXTERNAL: &str = "external";
}

/// What a `context` row names: what holds for a tool or a chamber from a time on.
pub mod context {
    /// The lot in process.
    pub const LOT: &str = "lot";
    /// The recipe that runs.
    pub const RECIPE: &str = "recipe";
    /// Its step.
    pub const STEP: &str = "step";
    /// Whose badge was shown.
    pub const BADGE: &str = "badge";
    /// The maintenance that is under way: a work order, or what it is called.
    pub const MAINTENANCE: &str = "maintenance";

    /// All of them.
    pub const ALL: &[&str] = &[LOT, RECIPE, STEP, BADGE, MAINTENANCE];
}

/// What a `coverage` row says.
pub mod coverage {
    /// The source begins.
    pub const START: &str = "start";
    /// The source ended in order.
    pub const STOP: &str = "stop";
    /// Bytes, packets or time that were not seen.
    pub const GAP: &str = "gap";
    /// An interface is down or gone: nothing is seen until it is back.
    pub const DOWN: &str = "down";
    /// Dropped by the collector itself, or before it by the kernel or an interface.
    pub const DROP: &str = "drop";
    /// The source is damaged from here on.
    pub const CORRUPT: &str = "corrupt";
    /// A device's clock is far from the collector's.
    pub const SKEW: &str = "skew";
    /// Encrypted: seen, not understood.
    pub const OPAQUE: &str = "opaque";
    /// A collector sends nothing any more.
    pub const SILENT: &str = "silent";
    /// Delivered again: either left out, or in the log twice, as the row says.
    pub const REPEATED: &str = "repeated";
    /// A frame or packet that could not be read.
    pub const MALFORMED: &str = "malformed";
    /// A value or report that no dictionary explains.
    pub const UNKNOWN: &str = "unknown";
    /// A signal comes in another unit than before, or in one that does not become the plant's.
    pub const UNIT: &str = "unit";
}

/// What a `control` row does.
pub mod control {
    /// A pipeline version (`subject`) becomes effective; `payload` are its files.
    pub const PIPELINE: &str = "pipeline";
    /// What was learned so far is approved for a detection (`subject`), or for all (`*`).
    pub const APPROVE: &str = "approve";
    /// One allow-list entry is approved (`subject` a detection, `payload` the entry's JSON).
    pub const RELEASE: &str = "release";
    /// A part of an approved baseline of a detection (`subject`); the last one puts it in force.
    pub const BASELINE: &str = "baseline";
    /// An earlier baseline of a detection (`subject`) is in force again; `payload` names it.
    pub const ROLLBACK: &str = "rollback";
    /// Maintenance was recorded: the level of these keys (`payload`) is learned anew, for a detection
    /// (`subject`) or for all (`*`).
    pub const MAINTENANCE: &str = "maintenance";
    /// An alarm of these keys (`payload`) was false: how far they came then is usual for them, in a detection
    /// (`subject`).
    pub const FALSE_ALARM: &str = "false-alarm";
    /// How far a cell's incidents of a detection (`subject`) came, on its way to whoever holds the budget.
    pub const TAIL: &str = "tail";
    /// What the limits of a detection (`subject`) are multiplied by from now on, to hold its budget.
    pub const FACTORS: &str = "factors";
    /// The shard's owner has not heard a collector (`subject`) for a while.
    pub const TICK: &str = "tick";
}
