//! The services of OPC 10000-4 and what of one message is needed to understand a later one.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;
use yagura_event::vocabulary::operation;

use crate::Side;

/// Most requests whose nodes are kept until the response.
const REQUESTS_MAX: usize = 64;
/// Most nodes of one request that are kept.
pub(super) const NODES_MAX: usize = 256;
/// Longest name of a node that is kept; what is longer gives no samples.
const NAME_BYTES_MAX: usize = 128;
/// Most monitored items of one connection whose nodes are kept.
const ITEMS_MAX: usize = 4096;

/// A service: its name and the encodings' numbers of request and response.
#[derive(Debug, PartialEq)]
pub(super) struct Service {
    /// The name in its clause.
    pub name: &'static str,
    /// What it does.
    pub operation: &'static str,
    request: u32,
    response: u32,
}

/// Which message of a service.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Role {
    /// It asks.
    Request,
    /// It answers, or refuses.
    Response,
}

/// Ends a channel without a response.
pub(super) const CLOSE_SECURE_CHANNEL: &str = "close_secure_channel";

const fn service(name: &'static str, operation: &'static str, request: u32) -> Service {
    Service { name, operation, request, response: request + 3 }
}

/// Answers any request that the server refuses as a whole.
pub(super) static FAULT: Service =
    Service { name: "service_fault", operation: operation::ERROR, request: 0, response: 397 };

/// In ascending order of numbers.
static SERVICES: &[Service] = &[
    service("find_servers", operation::DISCOVER, 422),
    service("get_endpoints", operation::DISCOVER, 428),
    service("register_server", operation::CONFIGURE, 437),
    service("open_secure_channel", operation::SESSION_OPEN, 446),
    service(CLOSE_SECURE_CHANNEL, operation::SESSION_CLOSE, 452),
    service("create_session", operation::SESSION_OPEN, 461),
    service("activate_session", operation::AUTHENTICATE, 467),
    service("close_session", operation::SESSION_CLOSE, 473),
    service("cancel", operation::OTHER, 479),
    service("add_nodes", operation::CONFIGURE, 488),
    service("add_references", operation::CONFIGURE, 494),
    service("delete_nodes", operation::CONFIGURE, 500),
    service("delete_references", operation::CONFIGURE, 506),
    service("browse", operation::DISCOVER, 527),
    service("browse_next", operation::DISCOVER, 533),
    service("translate_browse_paths_to_node_ids", operation::DISCOVER, 554),
    service("register_nodes", operation::OTHER, 560),
    service("unregister_nodes", operation::OTHER, 566),
    service("query_first", operation::READ, 615),
    service("query_next", operation::READ, 621),
    service("read", operation::READ, 631),
    service("history_read", operation::READ, 664),
    service("write", operation::WRITE, 673),
    service("history_update", operation::WRITE, 700),
    service("call", operation::CONTROL, 712),
    service("create_monitored_items", operation::CONFIGURE, 751),
    service("modify_monitored_items", operation::CONFIGURE, 763),
    service("set_monitoring_mode", operation::CONFIGURE, 769),
    service("set_triggering", operation::CONFIGURE, 775),
    service("delete_monitored_items", operation::CONFIGURE, 781),
    service("create_subscription", operation::CONFIGURE, 787),
    service("modify_subscription", operation::CONFIGURE, 793),
    service("set_publishing_mode", operation::CONFIGURE, 799),
    service("publish", operation::REPORT, 826),
    service("republish", operation::REPORT, 832),
    service("transfer_subscriptions", operation::CONFIGURE, 841),
    service("delete_subscriptions", operation::CONFIGURE, 847),
    Service {
        name: "find_servers_on_network",
        operation: operation::DISCOVER,
        request: 12208,
        response: 12209,
    },
    Service { name: "register_server2", operation: operation::CONFIGURE, request: 12211, response: 12212 },
];

/// The service of an encoding's number.
pub(super) fn find(id: u32) -> Option<(&'static Service, Role)> {
    if id == FAULT.response {
        return Some((&FAULT, Role::Response));
    }
    let service = &SERVICES[SERVICES.partition_point(|s| s.request <= id).checked_sub(1)?];
    if id == service.request {
        Some((service, Role::Request))
    } else if id == service.response {
        Some((service, Role::Response))
    } else {
        None
    }
}

/// A node that a request names.
#[derive(Debug, Default)]
pub(super) struct Node {
    /// Its name, the attribute added when it is not the value.
    pub name: String,
    /// The client's number for it, of a monitored item.
    pub handle: u32,
}

/// What of earlier messages later ones refer to.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// The end that asks.
    pub client: Option<Side>,
    nodes: VecDeque<(u32, Vec<Node>)>,
    items: FxHashMap<(u32, u32), String>,
    subscriptions: VecDeque<(u32, u32)>,
}

impl Known {
    /// Keeps a request's nodes until its response.
    pub fn keep(&mut self, request: u32, nodes: Vec<Node>) {
        if self.nodes.len() == REQUESTS_MAX {
            self.nodes.pop_front();
        }
        self.nodes.push_back((request, nodes));
    }

    /// The nodes of the request that is answered.
    pub fn take(&mut self, request: u32) -> Vec<Node> {
        let at = self.nodes.iter().position(|(id, _)| *id == request);
        at.and_then(|at| self.nodes.remove(at)).map(|(_, nodes)| nodes).unwrap_or_default()
    }

    /// Keeps which subscription a request is about.
    pub fn keep_subscription(&mut self, request: u32, subscription: u32) {
        if self.subscriptions.len() == REQUESTS_MAX {
            self.subscriptions.pop_front();
        }
        self.subscriptions.push_back((request, subscription));
    }

    /// The subscription that an answered request is about.
    pub fn take_subscription(&mut self, request: u32) -> Option<u32> {
        let at = self.subscriptions.iter().position(|(id, _)| *id == request)?;
        self.subscriptions.remove(at).map(|(_, subscription)| subscription)
    }

    /// A client's number for an item of a subscription begins to stand for a node.
    pub fn monitor(&mut self, subscription: u32, node: Node) {
        if self.items.len() < ITEMS_MAX || self.items.contains_key(&(subscription, node.handle)) {
            self.items.insert((subscription, node.handle), node.name);
        }
    }

    /// A subscription ends.
    pub fn forget(&mut self, subscription: u32) {
        self.items.retain(|(of, _), _| *of != subscription);
    }

    /// The node that a client's number stands for.
    pub fn item(&self, subscription: u32, handle: u32) -> Option<&str> {
        self.items.get(&(subscription, handle)).map(String::as_str)
    }
}

/// Adds a node to those that are kept.
pub(super) fn push_node(nodes: &mut Vec<Node>, name: &str, handle: u32) {
    if nodes.len() < NODES_MAX {
        let name = if name.len() <= NAME_BYTES_MAX { name.to_owned() } else { String::new() };
        nodes.push(Node { name, handle });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_ascend_and_find_their_services() {
        assert!(SERVICES.is_sorted_by_key(|s| s.request));
        assert_eq!(find(631).map(|(s, role)| (s.name, role)), Some(("read", Role::Request)));
        assert_eq!(find(634).map(|(s, role)| (s.name, role)), Some(("read", Role::Response)));
        assert_eq!(find(12212).map(|(s, role)| (s.name, role)), Some(("register_server2", Role::Response)));
        assert_eq!(find(397).map(|(s, role)| (s.name, role)), Some(("service_fault", Role::Response)));
        assert_eq!(find(632), None);
        assert_eq!(find(0), None);
    }
}
