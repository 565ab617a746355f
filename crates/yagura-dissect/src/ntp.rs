//! NTP (RFC 5905, versions 1 to 4) with its control messages (mode 6, RFC 9327) and private ones
//! (mode 7 of the reference implementation).

use std::net::Ipv4Addr;

use yagura_event::clock::{Micros, SECOND};
use yagura_event::vocabulary::operation;

use crate::cursor::{Cursor, Cut};
use crate::exchange::{Draft, Exchanges};
use crate::framing::{Frame, Framed, Framing};
use crate::{Carrier, Cx, Dissector, FlowInfo, Glimpse, Probe, Protocol, Side, json};

/// The registry's entry.
pub const PROTOCOL: Protocol = Protocol {
    name: NAME,
    carriers: &[Carrier::udp(&[123])],
    probe,
    start,
    buffer_bytes_max: 65_535,
    #[cfg(test)]
    sample: tests::sample,
};

const NAME: &str = "ntp";
const TIMEOUT: Micros = 15 * SECOND;
const TIME_LENGTH: usize = 48;

fn start(_flow: &FlowInfo) -> Box<dyn Dissector> {
    Box::new(Framing::new(Ntp { exchanges: Exchanges::new(NAME, TIMEOUT) }))
}

/// The structure has no mark of its own: it is believed on its port only.
fn probe(glimpse: &Glimpse<'_>) -> Probe {
    let fits = match glimpse.bytes {
        [first, ..] => {
            let (version, mode) = (first >> 3 & 7, first & 7);
            let length = glimpse.bytes.len();
            (1..=4).contains(&version)
                && match mode {
                    6 => length >= 12,
                    7 => length >= 8,
                    _ => length >= TIME_LENGTH,
                }
        }
        [] => false,
    };
    if fits && glimpse.customary { Probe::Yes } else { Probe::No }
}

struct Ntp {
    /// By the time that the reply repeats, or the sequence number of modes 6 and 7.
    exchanges: Exchanges<(u8, u64)>,
}

impl Framed for Ntp {
    const PROTOCOL: &'static str = NAME;

    fn frame(&self, _side: Side, bytes: &[u8]) -> Frame {
        Frame::Of(bytes.len().max(1))
    }

    fn read(&mut self, cx: &mut Cx<'_>, side: Side, frame: &[u8]) -> Result<(), Cut> {
        let mut cursor = Cursor::new(frame);
        let first = cursor.u8("mode")?;
        cursor.check((1..=4).contains(&(first >> 3 & 7)), "version")?;
        match first & 7 {
            6 => self.control(cx, side, first, cursor),
            7 => self.private(cx, side, first, cursor),
            _ => self.time(cx, side, first, cursor),
        }
    }

    fn lost(&mut self, _cx: &mut Cx<'_>, _side: Side) {}

    fn expire(&mut self, cx: &mut Cx<'_>) {
        self.exchanges.expire(cx);
    }

    fn close(&mut self, cx: &mut Cx<'_>) {
        self.exchanges.close(cx);
    }
}

impl Ntp {
    fn time(&mut self, cx: &mut Cx<'_>, side: Side, first: u8, mut cursor: Cursor<'_>) -> Result<(), Cut> {
        let stratum = cursor.u8("stratum")?;
        let poll = cursor.u8("poll")?;
        cursor.skip(1, "precision")?;
        let delay = cursor.u32_be("root_delay")?;
        let dispersion = cursor.u32_be("root_dispersion")?;
        let reference = cursor.array::<4>("reference_id")?;
        cursor.skip(8, "reference_timestamp")?;
        let origin = cursor.u64_be("origin_timestamp")?;
        cursor.skip(8, "receive_timestamp")?;
        let transmit = cursor.u64_be("transmit_timestamp")?;
        let mode = first & 7;
        let function = match mode {
            1 => "symmetric_active",
            2 => "symmetric_passive",
            3 => "client",
            4 => "server",
            5 => "broadcast",
            _ => "reserved_mode",
        };
        let answers = matches!(mode, 2 | 4);
        let found = if answers { self.exchanges.answered(side, &(0, origin)) } else { None };
        let paired = found.is_some();
        let mut draft = found.unwrap_or_else(|| {
            let asker = if answers { side.other() } else { side };
            let mut draft = self.exchanges.draft(cx, asker, operation::READ, function);
            json::member_number(&mut draft.detail, "version", u64::from(first >> 3 & 7));
            draft
        });
        if mode != 3 {
            let detail = &mut draft.detail;
            json::member_number(detail, "stratum", u64::from(stratum));
            json::member_number(detail, "leap", u64::from(first >> 6));
            json::member_number(detail, "poll", u64::from(poll));
            for (name, fixed) in [("root_delay", delay), ("root_dispersion", dispersion)] {
                json::key(detail, name);
                json::push_float(detail, f64::from(fixed) / 65536.0);
            }
            let letters = reference.iter().all(|b| b.is_ascii_graphic() || *b == 0);
            let text = if stratum <= 1 && letters {
                String::from_utf8_lossy(&reference).trim_end_matches('\0').to_string()
            } else {
                Ipv4Addr::from(reference).to_string()
            };
            json::member_text(detail, "reference_id", &text);
            if stratum == 0 && answers {
                // The kiss-o'-death (RFC 5905, 7.4).
                draft.deny(text);
            }
        }
        if cursor.remaining() >= 16 && !paired {
            json::member_bool(&mut draft.detail, "authenticated", true);
        }
        match (mode, paired) {
            (2 | 4, true) => self.exchanges.pair(cx, draft),
            (2 | 4, false) => self.exchanges.unasked(cx, draft),
            (1 | 3, _) => self.exchanges.ask(cx, (0, transmit), draft),
            _ => self.exchanges.one_way(cx, draft),
        }
        Ok(())
    }

    fn control(&mut self, cx: &mut Cx<'_>, side: Side, first: u8, mut cursor: Cursor<'_>) -> Result<(), Cut> {
        let second = cursor.u8("operation_code")?;
        let sequence = cursor.u16_be("sequence")?;
        let state = cursor.u16_be("status")?;
        let association = cursor.u16_be("association")?;
        let offset = cursor.u16_be("offset")?;
        let count = cursor.u16_be("count")?;
        let function = match second & 31 {
            1 => "read_status",
            2 => "read_variables",
            3 => "write_variables",
            4 => "read_clock_variables",
            5 => "write_clock_variables",
            6 => "set_trap",
            7 => "asynchronous_message",
            8 => "configure",
            9 => "save_configuration",
            10 => "read_most_recently_used",
            11 => "read_ordered_list",
            12 => "request_nonce",
            31 => "unset_trap",
            _ => "reserved_operation",
        };
        let does = match second & 31 {
            3 | 5 | 6 | 8 | 9 | 31 => operation::CONFIGURE,
            _ => operation::DIAGNOSE,
        };
        let key = (6, u64::from(sequence));
        let (mut draft, reply, paired) = self.begin(cx, side, (second & 0x80 != 0, does, function), key);
        let detail = &mut draft.detail;
        if !paired {
            json::member_number(detail, "version", u64::from(first >> 3 & 7));
            json::member_number(detail, "sequence", u64::from(sequence));
            json::member_number(detail, "association", u64::from(association));
        }
        if reply {
            json::member_number(detail, "status", u64::from(state));
            json::member_number(detail, "reply_bytes", u64::from(count));
            json::member_bool(detail, "more", second & 0x20 != 0);
            if offset > 0 {
                json::member_number(detail, "offset", u64::from(offset));
            }
            if second & 0x40 != 0 {
                draft.deny(match state >> 8 {
                    1 => "authentication_failure",
                    2 => "invalid_message_length_or_format",
                    3 => "invalid_operation_code",
                    4 => "unknown_association",
                    5 => "unknown_variable",
                    6 => "invalid_variable_value",
                    7 => "administratively_prohibited",
                    _ => "unspecified",
                });
            }
        }
        let data = cursor.take(usize::from(count).min(cursor.remaining()), "data")?;
        if !data.is_empty() && !reply {
            draft.push_text(&String::from_utf8_lossy(data));
        }
        self.end(cx, draft, (reply, paired), key);
        Ok(())
    }

    fn private(&mut self, cx: &mut Cx<'_>, side: Side, first: u8, mut cursor: Cursor<'_>) -> Result<(), Cut> {
        let second = cursor.u8("sequence")?;
        let implementation = cursor.u8("implementation")?;
        let request = cursor.u8("request_code")?;
        let rest = cursor.u16_be("items")?;
        // 20 and 42 list the clients: the answers that floods are amplified with.
        let function = match request {
            0 => "peer_list",
            1 => "peer_list_summary",
            2 => "peer_info",
            4 => "system_info",
            16 => "reset_statistics",
            20 => "monitor_list",
            42 => "monitor_list_1",
            _ => "private_request",
        };
        let does = if request == 16 { operation::CONFIGURE } else { operation::DIAGNOSE };
        let key = (7, u64::from(request));
        let (mut draft, reply, paired) = self.begin(cx, side, (first & 0x80 != 0, does, function), key);
        let detail = &mut draft.detail;
        if paired {
            json::member_number(detail, "reply_items", u64::from(rest & 0x0fff));
        } else {
            json::member_number(detail, "version", u64::from(first >> 3 & 7));
            json::member_number(detail, "request_code", u64::from(request));
            json::member_number(detail, "implementation", u64::from(implementation));
            json::member_number(detail, "sequence", u64::from(second & 0x7f));
            json::member_bool(detail, "authenticated", second & 0x80 != 0);
        }
        if reply && rest >> 12 != 0 {
            draft.deny(format!("error_{}", rest >> 12));
        }
        self.end(cx, draft, (reply, paired), key);
        Ok(())
    }

    fn begin(
        &mut self,
        cx: &Cx<'_>,
        side: Side,
        (reply, does, function): (bool, &'static str, &'static str),
        key: (u8, u64),
    ) -> (Draft, bool, bool) {
        let found = if reply { self.exchanges.answered(side, &key) } else { None };
        let paired = found.is_some();
        let asker = if reply { side.other() } else { side };
        let draft = found.unwrap_or_else(|| self.exchanges.draft(cx, asker, does, function));
        (draft, reply, paired)
    }

    fn end(&mut self, cx: &mut Cx<'_>, draft: Draft, (reply, paired): (bool, bool), key: (u8, u64)) {
        match (reply, paired) {
            (true, true) => self.exchanges.pair(cx, draft),
            (true, false) => self.exchanges.unasked(cx, draft),
            (false, _) => self.exchanges.ask(cx, key, draft),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Transport;
    use crate::testing::{Run, Sample};

    fn time(mode: u8, stratum: u8, origin: u8, transmit: u8) -> Vec<u8> {
        let mut out = vec![0; TIME_LENGTH];
        out[0] = 4 << 3 | mode;
        out[1] = stratum;
        out[12..16].copy_from_slice(b"GPS\0");
        out[31] = origin;
        out[47] = transmit;
        out
    }

    pub fn sample() -> Sample {
        let said = vec![
            (Side::Client, time(3, 0, 0, 5)),
            (Side::Server, time(4, 1, 5, 6)),
            (Side::Client, vec![0x16, 2, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0]),
            (Side::Server, vec![0x16, 0xc2, 0, 9, 7, 0, 0, 0, 0, 0, 0, 0]),
            (Side::Client, vec![0x17, 0, 3, 42, 0, 0, 0, 0]),
        ];
        Sample { transport: Transport::Udp, said, customary_only: true }
    }

    #[test]
    fn times_are_paired_and_queries_are_diagnosis() {
        let mut run = Run::over(&PROTOCOL, Transport::Udp);
        for (side, bytes) in sample().said {
            run.send(side, &bytes);
        }
        run.close();
        assert_eq!(
            run.table(&["operation", "function", "status", "status_code"]),
            [
                "read|client|ok|",
                "diagnose|read_variables|denied|administratively_prohibited",
                "diagnose|monitor_list_1|no_reply|"
            ]
        );
        assert!(run.messages()[0].text("detail").contains("\"reference_id\":\"GPS\""));
    }

    #[test]
    fn a_kiss_of_death_is_a_refusal() {
        let mut run = Run::over(&PROTOCOL, Transport::Udp);
        run.send(Side::Client, &time(3, 0, 0, 5));
        let mut reply = time(4, 0, 5, 6);
        reply[12..16].copy_from_slice(b"RATE");
        run.send(Side::Server, &reply);
        assert_eq!(run.table(&["status", "status_code"]), ["denied|RATE"]);
    }
}
