//! The asset table: which address is which tool, in which cell and area.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// One asset of the plant, as the asset file names it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asset {
    /// Its name: `ETCH-07`.
    pub name: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Its hardware addresses (`00:1b:1b:aa:00:07`), for protocols below IP.
    #[serde(default)]
    pub macs: Vec<String>,
    /// The cell whose history it belongs to.
    pub cell: String,
    /// See [`crate::vocabulary::area`].
    pub area: String,
    /// Whether it is production equipment or a controller (and not a host that talks to some).
    #[serde(default)]
    pub equipment: bool,
}

/// Finds assets by address.
#[derive(Clone, Debug, Default)]
pub struct AssetTable {
    assets: Vec<Asset>,
    by_address: BTreeMap<IpAddr, usize>,
    by_mac: BTreeMap<String, usize>,
    by_name: BTreeMap<String, usize>,
    /// The cell of rows that no asset places.
    pub default_cell: String,
}

impl AssetTable {
    /// A table; an address that stands twice belongs to the asset that names it last.
    pub fn new(assets: Vec<Asset>, default_cell: &str) -> Self {
        let by_address = assets
            .iter()
            .enumerate()
            .flat_map(|(index, asset)| asset.addresses.iter().map(move |a| (*a, index)))
            .collect();
        let by_mac = assets
            .iter()
            .enumerate()
            .flat_map(|(index, asset)| asset.macs.iter().map(move |mac| (mac.to_lowercase(), index)))
            .collect();
        // The first of a name counts.
        let by_name =
            assets.iter().enumerate().rev().map(|(index, asset)| (asset.name.clone(), index)).collect();
        AssetTable { assets, by_address, by_mac, by_name, default_cell: default_cell.to_string() }
    }

    /// The asset with that address.
    pub fn find(&self, address: &IpAddr) -> Option<&Asset> {
        self.by_address.get(address).map(|&index| &self.assets[index])
    }

    /// The asset with that hardware address, written in lower case with colons.
    pub fn find_mac(&self, mac: &str) -> Option<&Asset> {
        self.by_mac.get(mac).map(|&index| &self.assets[index])
    }

    /// The asset with that name.
    pub fn named(&self, name: &str) -> Option<&Asset> {
        self.by_name.get(name).map(|&index| &self.assets[index])
    }

    /// The cell of a tool; the default cell when the table does not know it.
    pub fn cell_of(&self, tool: &str) -> &str {
        self.named(tool).map_or(&self.default_cell, |a| &a.cell)
    }

    /// All assets.
    pub fn assets(&self) -> &[Asset] {
        &self.assets
    }
}
