//! Spanning tree (IEEE 802.1D, 802.1Q: STP, RSTP, MSTP) in IEEE 802.2 frames.
//!
//! A bridge repeats its view every two seconds: a message is written when the view is new or
//! changes, and for each notice of a topology change.

use std::fmt::Write;

use yagura_event::vocabulary::operation;

use crate::cursor::{Cursor, Cut};
use crate::exchange::Exchanges;
use crate::framing::{Frame, Framed, Framing};
use crate::{Carrier, Cx, LLC, Probe, Protocol, Side, json};

/// The registry's entry.
pub const PROTOCOL: Protocol = Protocol {
    name: NAME,
    carriers: &[Carrier::link(&[LLC + 0x42])],
    probe: |glimpse| {
        let fits = glimpse.customary && known(glimpse.bytes);
        if fits { Probe::Yes } else { Probe::No }
    },
    start: |_| Box::new(Framing::new(Stp { exchanges: Exchanges::new(NAME, 0), last: [None, None] })),
    buffer_bytes_max: 1500,
    #[cfg(test)]
    sample: tests::sample,
};

const NAME: &str = "stp";

/// The BPDU: spanning tree's protocol identifier, a version and a type that exist.
fn known(bytes: &[u8]) -> bool {
    matches!(bytes, [0, 0, 0 | 2 | 3, 0 | 2 | 0x80, ..])
}

/// What a bridge says: root, its cost, bridge, port.
type View = ([u8; 8], u32, [u8; 8], u16);

struct Stp {
    exchanges: Exchanges<()>,
    last: [Option<View>; 2],
}

fn bridge(id: [u8; 8]) -> String {
    let [high, low, a, b, c, d, e, f] = id;
    let mut out = String::new();
    let _ =
        write!(out, "{}/{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}", u16::from_be_bytes([high, low]));
    out
}

impl Framed for Stp {
    const PROTOCOL: &'static str = NAME;

    fn frame(&self, _side: Side, bytes: &[u8]) -> Frame {
        if known(bytes) { Frame::Of(bytes.len()) } else { Frame::Bad("protocol_identifier") }
    }

    fn read(&mut self, cx: &mut Cx<'_>, side: Side, frame: &[u8]) -> Result<(), Cut> {
        let mut cursor = Cursor::new(frame);
        cursor.skip(2, "protocol_identifier")?;
        let version = cursor.u8("version")?;
        if cursor.u8("bpdu_type")? == 0x80 {
            let mut draft = self.exchanges.draft(cx, side, operation::REPORT, "topology_change_notification");
            draft.equipment = side;
            self.exchanges.one_way(cx, draft);
            return Ok(());
        }
        let flags = cursor.u8("flags")?;
        let view: View = (
            cursor.array("root")?,
            cursor.u32_be("root_path_cost")?,
            cursor.array("bridge")?,
            cursor.u16_be("port")?,
        );
        let last = self.last[side as usize].replace(view);
        let topology_change = flags & 1 != 0;
        if last == Some(view) && !topology_change {
            return Ok(());
        }
        let mut draft = self.exchanges.draft(cx, side, operation::REPORT, "configuration");
        draft.equipment = side;
        draft.target = bridge(view.0);
        let detail = &mut draft.detail;
        json::member_number(detail, "version", u64::from(version));
        json::member_text(detail, "root", &bridge(view.0));
        json::member_number(detail, "root_path_cost", u64::from(view.1));
        json::member_text(detail, "bridge", &bridge(view.2));
        json::member_number(detail, "port", u64::from(view.3));
        json::member_bool(detail, "topology_change", topology_change);
        if let Some(before) = last.filter(|l| l.0 != view.0) {
            json::member_text(detail, "root_was", &bridge(before.0));
        }
        self.exchanges.one_way(cx, draft);
        Ok(())
    }

    fn lost(&mut self, _cx: &mut Cx<'_>, _side: Side) {}

    fn expire(&mut self, _cx: &mut Cx<'_>) {}

    fn close(&mut self, _cx: &mut Cx<'_>) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Transport;
    use crate::testing::{Run, Sample};

    fn bpdu(root: u8, flags: u8) -> Vec<u8> {
        let mut out = vec![0, 0, 2, 2, flags, 0x80, 1, 0, 0, 0, 0, 0, root, 0, 0, 0, 4];
        out.extend([0x80, 1, 0, 0, 0, 0, 0, 9, 0x80, 2, 0, 0, 20, 0, 2, 0, 15, 0, 0]);
        out
    }

    pub fn sample() -> Sample {
        let said = [bpdu(1, 0), bpdu(1, 0), bpdu(2, 1)].map(|bytes| (Side::Client, bytes));
        Sample { transport: Transport::Link, said: said.into(), customary_only: true }
    }

    #[test]
    fn a_new_root_is_a_message_and_a_repetition_none() {
        let mut run = Run::over(&PROTOCOL, Transport::Link);
        for (side, bytes) in sample().said {
            run.send(side, &bytes);
        }
        assert_eq!(run.table(&["target"]), ["32769/00:00:00:00:00:01", "32769/00:00:00:00:00:02"]);
        assert!(run.messages()[1].text("detail").contains("\"root_was\":\"32769/00:00:00:00:00:01\""));
        run.send(Side::Client, &[0, 0, 0, 0x80]);
        assert_eq!(run.messages()[2].text("function"), "topology_change_notification");
    }
}
