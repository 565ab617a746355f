//! MRP, the ring redundancy of IEC 62439-2: test frames are counted, and a row says when a ring
//! opens or closes, a link comes or goes, or another manager appears.

use yagura_event::vocabulary::operation;

use crate::cursor::{Cursor, Cut};
use crate::cyclic::{Cyclic, Tally};
use crate::exchange::Exchanges;
use crate::framing::{Frame, Framed, Framing};
use crate::{Carrier, Cx, Probe, Protocol, Side, json};

/// The registry's entry.
pub const PROTOCOL: Protocol = Protocol {
    name: NAME,
    carriers: &[Carrier::link(&[0x88e3])],
    probe: |glimpse| if glimpse.customary && header(glimpse.bytes) { Probe::Yes } else { Probe::No },
    start: |_| {
        Box::new(Framing::new(Mrp { exchanges: Exchanges::new(NAME, 0), cyclic: Cyclic::new(), ring: None }))
    },
    buffer_bytes_max: 1500,
    #[cfg(test)]
    sample: tests::sample,
};

const NAME: &str = "mrp";

/// Version 1 and a first block whose length fits its type.
fn header(bytes: &[u8]) -> bool {
    matches!(
        bytes,
        [0, 1, 2, 18 | 20, ..] | [0, 1, 3, 10, ..] | [0, 1, 4 | 5, 12, ..] | [0, 1, 6 | 7, 18, ..]
    ) || matches!(bytes, [0, 1, 0x7f, 4..=255, ..] | [0, 1, 1, 18, ..])
}

struct Mrp {
    exchanges: Exchanges<()>,
    cyclic: Cyclic<&'static str>,
    /// The manager's state of the ring and how often it changed.
    ring: Option<(u16, u16)>,
}

impl Mrp {
    fn write(&mut self, cx: &mut Cx<'_>, name: &'static str, tally: Tally) {
        let mut draft = self.exchanges.draft(cx, tally.side, operation::SESSION_KEEP, name);
        draft.time = tally.since;
        draft.equipment = tally.side;
        draft.set_count(tally.count);
        json::member_number(&mut draft.detail, "bytes", tally.bytes);
        self.exchanges.one_way(cx, draft);
    }

    fn tell(&mut self, cx: &mut Cx<'_>, side: Side, name: &'static str, detail: String) {
        let mut draft = self.exchanges.draft(cx, side, operation::REPORT, name);
        draft.equipment = side;
        draft.detail = detail;
        self.exchanges.one_way(cx, draft);
    }
}

impl Framed for Mrp {
    const PROTOCOL: &'static str = NAME;

    fn frame(&self, _side: Side, bytes: &[u8]) -> Frame {
        if bytes.starts_with(&[0, 1]) { Frame::Of(bytes.len()) } else { Frame::Bad("version") }
    }

    fn read(&mut self, cx: &mut Cx<'_>, side: Side, frame: &[u8]) -> Result<(), Cut> {
        let mut c = Cursor::new(frame);
        c.skip(2, "version")?;
        while !c.is_empty() {
            let kind = c.u8("block_type")?;
            if kind == 0 {
                break;
            }
            let length = usize::from(c.u8("block_length")?);
            let mut b = c.part(length, "block_length")?;
            match kind {
                2 => {
                    b.skip(2, "priority")?;
                    let manager = crate::mac_text(b.array("manager")?);
                    b.skip(2, "port_role")?;
                    let (state, transitions) = (b.u16_be("ring_state")?, b.u16_be("transitions")?);
                    let before = self.ring.replace((state, transitions));
                    if before != Some((state, transitions)) {
                        let mut detail = String::new();
                        json::member_text(&mut detail, "manager", &manager);
                        json::member_number(&mut detail, "transitions", transitions.into());
                        let name = if state == 0 { "ring_open" } else { "ring_closed" };
                        self.tell(cx, side, name, detail);
                    }
                    if let Some((name, tally)) = self.cyclic.count(cx, "test", side, frame.len()) {
                        self.write(cx, name, tally);
                    }
                }
                3 => {
                    let mut detail = String::new();
                    json::member_number(&mut detail, "priority", b.u16_be("priority")?.into());
                    json::member_text(&mut detail, "manager", &crate::mac_text(b.array("manager")?));
                    json::member_number(&mut detail, "interval_ms", b.u16_be("interval")?.into());
                    self.tell(cx, side, "topology_change", detail);
                }
                4 | 5 => {
                    let mut detail = String::new();
                    json::member_text(&mut detail, "station", &crate::mac_text(b.array("station")?));
                    json::member_number(&mut detail, "port_role", b.u16_be("port_role")?.into());
                    json::member_number(&mut detail, "interval_ms", b.u16_be("interval")?.into());
                    json::member_number(&mut detail, "blocked", b.u16_be("blocked")?.into());
                    self.tell(cx, side, if kind == 4 { "link_down" } else { "link_up" }, detail);
                }
                6 | 7 => {
                    let mut detail = String::new();
                    json::member_number(&mut detail, "priority", b.u16_be("priority")?.into());
                    json::member_text(&mut detail, "manager", &crate::mac_text(b.array("manager")?));
                    let name = if kind == 6 { "test_manager_nack" } else { "test_propagate" };
                    self.tell(cx, side, name, detail);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn lost(&mut self, _cx: &mut Cx<'_>, _side: Side) {}

    fn expire(&mut self, cx: &mut Cx<'_>) {
        while let Some((name, tally)) = self.cyclic.over(cx) {
            self.write(cx, name, tally);
        }
    }

    fn close(&mut self, cx: &mut Cx<'_>) {
        while let Some((name, tally)) = self.cyclic.any() {
            self.write(cx, name, tally);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Transport;
    use crate::testing::{Run, Sample};

    fn test(state: u8, transitions: u8) -> Vec<u8> {
        let mut out = vec![0, 1, 2, 18, 0x80, 0, 0, 0x1b, 0x1b, 1, 2, 3, 0, 0, 0, state, 0, transitions];
        out.extend([0, 0, 1, 0]);
        out.extend([1, 18, 0, 9]);
        out.extend([0xff; 16]);
        out.extend([0, 0, 0, 0]);
        out
    }

    fn link(kind: u8) -> Vec<u8> {
        let mut out = vec![0, 1, kind, 12, 0, 0x1b, 0x1b, 9, 9, 9, 0, 1, 0, 20, 0, 1];
        out.extend([0; 30]);
        out
    }

    pub fn sample() -> Sample {
        let said = [test(1, 0), test(1, 0), link(4), test(0, 1), link(5)].map(|bytes| (Side::Client, bytes));
        Sample { transport: Transport::Link, said: said.into(), customary_only: true }
    }

    #[test]
    fn a_ring_that_opens_is_said() {
        let mut run = Run::over(&PROTOCOL, Transport::Link);
        for (side, bytes) in sample().said {
            run.send(side, &bytes);
        }
        run.close();
        let told: Vec<String> = run.table(&["operation", "function"]);
        assert_eq!(
            told,
            [
                "report|ring_closed",
                "report|link_down",
                "report|ring_open",
                "report|link_up",
                "session.keep|test"
            ]
        );
        assert_eq!(run.messages()[4].number("count"), Some(3.0));
    }
}
