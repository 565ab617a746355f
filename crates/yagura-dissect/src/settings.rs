//! What the plant tells dissectors: its key, and the names of its tools' variables.

use std::collections::BTreeMap;

use serde::Deserialize;

/// Settings that dissectors need.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The plant's key: recipe bodies leave a collector only as HMAC-SHA-256 under it.
    pub plant_key: Vec<u8>,
    /// Names of variables, events and alarms, where the plant has them.
    pub dictionary: Dictionary,
}

/// Names that a plant gives to the numbers its tools send (from a SEDD file, SEMI E172, or CSV).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dictionary {
    /// By tool model (MDLN, as the tool reports it) or by asset name; `*` holds for every tool.
    /// An asset's own entry wins over its model's, and that over `*`.
    pub tools: BTreeMap<String, ToolNames>,
}

/// The names of one tool model, by id. Ids are texts, because a tool may use numbers or texts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ToolNames {
    /// Variables (SVID, DVID, ECID: one number space in GEM, SEMI E30).
    pub variables: BTreeMap<String, Variable>,
    /// Collection events (CEID).
    pub events: BTreeMap<String, String>,
    /// Alarms (ALID).
    pub alarms: BTreeMap<String, String>,
}

/// One variable of a tool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Variable {
    /// Its name; empty for "only the number is known".
    pub name: String,
    /// Its unit.
    pub unit: String,
    /// Its class: `flow`, `pressure`, `temperature`, ….
    pub class: String,
    /// The chamber or module that it belongs to.
    pub chamber: String,
    /// What it says about the tool's state, when it does.
    pub context: Option<ContextName>,
}

/// What a variable may say about the tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ContextName {
    /// The lot in process.
    Lot,
    /// The recipe in use (PPID).
    Recipe,
    /// The recipe's step.
    Step,
    /// The chamber that the other values of the same report are about.
    Chamber,
}

impl Dictionary {
    /// Adds another dictionary's entries, which win over those of the same id.
    pub fn extend(&mut self, other: Dictionary) {
        for (tool, names) in other.tools {
            let own = self.tools.entry(tool).or_default();
            own.variables.extend(names.variables);
            own.events.extend(names.events);
            own.alarms.extend(names.alarms);
        }
    }

    /// The entries that hold for a tool, the closest first.
    pub fn of<'a>(&'a self, asset: &str, model: &str) -> impl Iterator<Item = &'a ToolNames> {
        [asset, model, "*"].map(|key| self.tools.get(key)).into_iter().flatten()
    }

    /// The variable `id` of a tool.
    pub fn variable(&self, asset: &str, model: &str, id: &str) -> Option<&Variable> {
        self.of(asset, model).find_map(|t| t.variables.get(id))
    }
}
