//! What the logs of network sensors (Zeek, Suricata) have in common: addresses, flow ids, times.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use yagura_event::AssetTable;
use yagura_event::clock::Micros;

use crate::times;

/// Addresses known at a time. They come from outside; beyond it all are learned again.
const ADDRESSES_MAX: usize = 1 << 16;

/// The plant's names of addresses, each looked up once.
pub(crate) struct Hosts {
    assets: Arc<AssetTable>,
    numbers: FxHashMap<String, u32>,
    known: Vec<Host>,
}

struct Host {
    /// As [`IpAddr`] writes it: sensors write IPv6 addresses in full.
    address: String,
    /// The asset's name, or the address.
    tool: String,
    asset: bool,
}

impl Hosts {
    pub(crate) fn new(assets: &Arc<AssetTable>) -> Self {
        Hosts { assets: Arc::clone(assets), numbers: FxHashMap::default(), known: Vec::new() }
    }

    /// The number of an address, until [`Hosts::begin`] is called.
    pub(crate) fn number(&mut self, text: &str) -> u32 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let parsed = text.parse::<IpAddr>().ok();
        let address = parsed.map_or_else(|| text.to_string(), |address| address.to_string());
        let asset = parsed.and_then(|address| self.assets.find(&address));
        let tool = asset.map_or_else(|| address.clone(), |asset| asset.name.clone());
        let number = self.known.len() as u32;
        self.known.push(Host { address, tool, asset: asset.is_some() });
        self.numbers.insert(text.into(), number);
        number
    }

    /// A record begins: numbers may be given anew.
    pub(crate) fn begin(&mut self) {
        if self.known.len() >= ADDRESSES_MAX {
            self.known.clear();
            self.numbers.clear();
        }
    }

    /// The address as Yagura writes it.
    pub(crate) fn address(&self, number: u32) -> &str {
        self.known.get(number as usize).map_or("", |host| &host.address)
    }

    /// The plant's name of the first of the addresses that has one; else the first address.
    pub(crate) fn tool(&mut self, addresses: &[&str]) -> &str {
        let mut chosen = None;
        for address in addresses.iter().filter(|address| !address.is_empty()) {
            let number = self.number(address);
            if self.known.get(number as usize).is_some_and(|host| host.asset) {
                chosen = Some(number);
                break;
            }
            chosen = chosen.or(Some(number));
        }
        chosen.and_then(|number| self.known.get(number as usize)).map_or("", |host| &host.tool)
    }
}

/// A stable number for a connection's id (FNV-1a).
pub(crate) fn flow_of(id: &str) -> u64 {
    id.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// A value of a JSON object whose type is not certain: what a script of the sensor's user made of it.
#[derive(Default)]
pub(crate) enum Loose<'a> {
    /// Null, or something that is neither text nor number.
    #[default]
    None,
    Text(Cow<'a, str>),
    Whole(u64),
    Number(f64),
}

impl Loose<'_> {
    /// The text; empty where it is none.
    pub(crate) fn text(&self) -> &str {
        match self {
            Loose::Text(text) => text,
            _ => "",
        }
    }

    /// The whole number, 0 where it is none or too large.
    pub(crate) fn whole<N: TryFrom<u64> + Default>(&self) -> N {
        match self {
            Loose::Whole(number) => N::try_from(*number).unwrap_or_default(),
            _ => N::default(),
        }
    }

    /// The time; `None` where it is none that can be read.
    pub(crate) fn time(&self) -> Option<Micros> {
        match self {
            Loose::Text(text) => time_of(text),
            Loose::Whole(number) => times::since_1970(i64::try_from(*number).ok()?),
            // Exact to the microsecond until the year 2255.
            Loose::Number(seconds) => times::seconds(*seconds),
            _ => None,
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Loose<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(LooseVisitor)
    }
}

struct LooseVisitor;

impl<'de> Visitor<'de> for LooseVisitor {
    type Value = Loose<'de>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a value")
    }
    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Loose<'de>, E> {
        Ok(Loose::Text(Cow::Borrowed(text)))
    }
    fn visit_str<E>(self, text: &str) -> Result<Loose<'de>, E> {
        Ok(Loose::Text(Cow::Owned(text.into())))
    }
    fn visit_u64<E>(self, number: u64) -> Result<Loose<'de>, E> {
        Ok(Loose::Whole(number))
    }
    fn visit_i64<E>(self, number: i64) -> Result<Loose<'de>, E> {
        Ok(Loose::Number(number as f64))
    }
    fn visit_f64<E>(self, number: f64) -> Result<Loose<'de>, E> {
        Ok(Loose::Number(number))
    }
    fn visit_bool<E>(self, _: bool) -> Result<Loose<'de>, E> {
        Ok(Loose::None)
    }
    fn visit_unit<E>(self) -> Result<Loose<'de>, E> {
        Ok(Loose::None)
    }
    /// The first of several.
    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Loose<'de>, A::Error> {
        let first = from.next_element()?.unwrap_or_default();
        while from.next_element::<IgnoredAny>()?.is_some() {}
        Ok(first)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Loose<'de>, A::Error> {
        while from.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Loose::None)
    }
}

/// A time as sensors write it: RFC 3339, its zone without a colon too (`+0200`).
pub(crate) fn time_of(text: &str) -> Option<Micros> {
    let bytes = text.as_bytes();
    match bytes.split_last_chunk::<5>() {
        Some((clock, [sign @ (b'+' | b'-'), a, b, c, d])) if clock.len() <= 32 => {
            let mut whole = [0; 38];
            whole[..clock.len()].copy_from_slice(clock);
            whole[clock.len()..clock.len() + 6].copy_from_slice(&[*sign, *a, *b, b':', *c, *d]);
            times::rfc3339(&whole[..clock.len() + 6])
        }
        _ => times::rfc3339(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use yagura_event::clock::parse_rfc3339;

    #[test]
    fn times_are_read_as_loggers_write_them() {
        for text in
            ["2026-01-30T13:00:05.000001+00:00", "2024-02-29T23:59:59.5+05:30", "1969-07-20T20:17:40-01:00"]
        {
            let expected = parse_rfc3339(text);
            assert!(expected.is_some());
            assert_eq!(time_of(text), expected, "{text}");
            let (rest, minutes) = text.rsplit_once(':').expect("a zone");
            assert_eq!(time_of(&format!("{rest}{minutes}")), expected);
        }
        let read = |json: &str| serde_json::from_str::<Loose<'_>>(json).expect("a value").time();
        assert_eq!(read("1700000000.123456"), Some(1_700_000_000_123_456));
        assert_eq!(read("1700000000123"), Some(1_700_000_000_123_000));
        assert_eq!(read("\"2026-01-30T13:00:05Z\""), Some(1_769_778_005_000_000));
        for wrong in
            ["\"XXXXXXXXXX.XXXXXX\"", "true", "\"2026-01-01T00:00:00+1\"", "\"+0000\"", "1e300", "[]"]
        {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn hosts_have_the_plants_names() {
        let asset = yagura_event::Asset {
            name: "ETCH-07".into(),
            addresses: vec!["10.0.0.7".parse().expect("an address"), "::1".parse().expect("an address")],
            ..Default::default()
        };
        let mut hosts = Hosts::new(&Arc::new(AssetTable::new(vec![asset], "bay")));
        assert_eq!(hosts.tool(&["10.0.0.1", "10.0.0.7"]), "ETCH-07");
        assert_eq!(hosts.tool(&["", "10.0.0.1", "10.0.0.2"]), "10.0.0.1");
        assert_eq!(hosts.tool(&["0000:0000:0000:0000:0000:0000:0000:0001"]), "ETCH-07");
        let number = hosts.number("0000:0000:0000:0000:0000:0000:0000:0002");
        assert_eq!(hosts.address(number), "::2");
        assert_eq!(hosts.tool(&[]), "");
    }
}
