//! What every dissector says alike: who asked whom, what was measured, what was not seen.

use yagura_event::rows::{CoverageRow, IdentityRow, MeasuredRow, MessageRow, Row};
use yagura_event::vocabulary::coverage;

use crate::{Cx, Endpoint, FlowInfo, Side, json};

/// A hardware address as text: `00:0e:cf:01:02:03`.
pub fn mac_text(mac: [u8; 6]) -> String {
    let mut out = String::with_capacity(17);
    for (at, byte) in mac.into_iter().enumerate() {
        if at > 0 {
            out.push(':');
        }
        json::push_hex_digits(&mut out, &[byte]);
    }
    out
}

impl FlowInfo {
    /// One end.
    pub(crate) fn end(&self, side: Side) -> &Endpoint {
        match side {
            Side::Client => &self.client,
            Side::Server => &self.server,
        }
    }

    /// A message row with the columns of this connection, asked by the end `asker`, about the
    /// equipment at the end `equipment`.
    pub(crate) fn message<'a>(&'a self, protocol: &'a str, asker: Side, equipment: Side) -> MessageRow<'a> {
        let (client, server) = (self.end(asker), self.end(asker.other()));
        MessageRow {
            flow: self.flow,
            protocol,
            tool: self.end(equipment).name(),
            client: &client.address,
            client_port: client.port,
            server: &server.address,
            server_port: server.port,
            client_area: &client.area,
            server_area: &server.area,
            initiator: if asker == Side::Client { "client" } else { "server" },
            ..MessageRow::default()
        }
    }
}

impl Endpoint {
    /// The asset's name, or the address of an end that is no known asset.
    pub(crate) fn name(&self) -> &str {
        if self.asset.is_empty() { &self.address } else { &self.asset }
    }
}

impl Cx<'_> {
    /// Writes what was and was not seen of this connection.
    pub(crate) fn cover(&mut self, protocol: &str, event: &str, count: u64, detail: &str) {
        let flow = self.flow;
        let subject = format!(
            "{protocol} {}:{} {}:{}",
            flow.client.address, flow.client.port, flow.server.address, flow.server.port
        );
        self.out.push(Row::Coverage(&CoverageRow {
            time: self.time,
            until: self.time,
            observed: self.observed,
            event,
            subject: &subject,
            count,
            detail,
            ..CoverageRow::default()
        }));
    }

    /// Writes that content is encrypted from here on: seen, not understood. Once a connection.
    pub(crate) fn opaque(&mut self, protocol: &str, detail: &str) {
        self.cover(protocol, coverage::OPAQUE, 1, detail);
    }

    /// Writes one value that the device at the end `device` has: `signal` names it within the
    /// device, `source` says where it comes from. What has no name is no signal.
    pub(crate) fn measured(&mut self, device: Side, signal: &str, source: &str, value: f64, quality: u8) {
        if signal.is_empty() {
            return;
        }
        let flow = self.flow;
        self.out.push(Row::Measured(&MeasuredRow {
            tool: flow.end(device).name(),
            signal,
            source,
            time: self.time,
            observed: self.observed,
            value,
            quality,
            ..MeasuredRow::default()
        }));
    }

    /// Writes what the device at the end `device` says it is; `row` has the facts.
    pub(crate) fn identity(&mut self, protocol: &str, device: Side, row: IdentityRow<'_>) {
        let flow = self.flow;
        let end = flow.end(device);
        self.out.push(Row::Identity(&IdentityRow {
            time: self.time,
            observed: self.observed,
            address: &end.address,
            tool: end.name(),
            protocol,
            ..row
        }));
    }
}
