//! The columns that every dissector fills alike: who asked whom, and who opened the connection.

use yagura_event::rows::MessageRow;

use crate::{Endpoint, FlowInfo, Side};

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
    pub(crate) fn message<'a>(
        &'a self,
        protocol: &'a str,
        asker: Side,
        equipment: Side,
    ) -> MessageRow<'a> {
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
            initiator: if asker == Side::Client {
                "client"
            } else {
                "server"
            },
            ..MessageRow::default()
        }
    }
}

impl Endpoint {
    /// The asset's name, or the address of an end that is no known asset.
    pub(crate) fn name(&self) -> &str {
        if self.asset.is_empty() {
            &self.address
        } else {
            &self.asset
        }
    }
}
