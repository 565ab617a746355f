//! The protocols, found by transport and number.

use rustc_hash::FxHashMap;
use yagura_dissect::{Protocol, Transport};

/// Protocols that connections turn to after a beginning of another protocol (STARTTLS).
const TURNED_TO: &[&str] = &["tls"];

/// The protocols and who of them is asked: looked up by number for each packet, so that what a
/// packet costs does not grow with the protocols that run on something else.
pub(crate) struct Registry {
    protocols: &'static [Protocol],
    /// Positions of those on a transport, in the order in which they are asked.
    on: FxHashMap<Transport, Vec<usize>>,
    /// Of those, the ones that are customary under a number.
    customary: FxHashMap<(Transport, u16), Vec<usize>>,
    /// Those that connections turn to.
    turned_to: Vec<usize>,
}

impl Registry {
    pub(crate) fn new(protocols: &'static [Protocol]) -> Registry {
        let mut registry = Registry {
            protocols,
            on: FxHashMap::default(),
            customary: FxHashMap::default(),
            turned_to: Vec::new(),
        };
        let note = |list: &mut Vec<usize>, index| {
            if list.last() != Some(&index) {
                list.push(index);
            }
        };
        for (index, protocol) in protocols.iter().enumerate() {
            if TURNED_TO.contains(&protocol.name) {
                registry.turned_to.push(index);
            }
            for carrier in protocol.carriers {
                note(registry.on.entry(carrier.transport).or_default(), index);
                for &number in carrier.numbers {
                    note(registry.customary.entry((carrier.transport, number)).or_default(), index);
                }
            }
        }
        registry
    }

    /// All of them.
    pub(crate) fn protocols(&self) -> &'static [Protocol] {
        self.protocols
    }

    /// The protocol at a position.
    pub(crate) fn get(&self, index: usize) -> &'static Protocol {
        &self.protocols[index]
    }

    /// Positions of the protocols on a transport.
    pub(crate) fn on(&self, transport: Transport) -> &[usize] {
        self.on.get(&transport).map_or(&[], Vec::as_slice)
    }

    /// Positions of those of them that connections turn to after another protocol's beginning.
    pub(crate) fn turned_to(&self, transport: Transport) -> impl Iterator<Item = usize> {
        self.turned_to.iter().copied().filter(move |&index| self.get(index).runs_on(transport, 0).0)
    }

    /// Positions of the protocols that are customary under a number.
    pub(crate) fn customary(&self, transport: Transport, number: u16) -> &[usize] {
        self.customary.get(&(transport, number)).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_find_what_a_search_finds() {
        let protocols = yagura_dissect::protocols();
        let registry = Registry::new(protocols);
        for transport in [Transport::Tcp, Transport::Udp, Transport::Ip, Transport::Link] {
            let all: Vec<usize> =
                (0..protocols.len()).filter(|&at| protocols[at].runs_on(transport, 0).0).collect();
            assert_eq!(registry.on(transport), all);
            for number in 0..=u16::MAX {
                let found: Vec<usize> =
                    all.iter().copied().filter(|&at| protocols[at].runs_on(transport, number).1).collect();
                assert_eq!(registry.customary(transport, number), found, "{transport:?} {number}");
            }
        }
    }
}
