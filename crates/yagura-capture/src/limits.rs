//! How much memory and time the engine may spend: every bound is a setting.

use serde::{Deserialize, Serialize};
use yagura_event::amounts::duration;
use yagura_event::clock::{Micros, SECOND};

/// How much memory and time the engine may spend. What goes over a limit is dropped and said in
/// a `coverage` row that names the setting.
///
/// Times are written as seconds or with their unit: `90`, `0.5`, `10ms`, `90s`, `5m`, `2h`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// The most flows at once; the least recently active goes first.
    pub flows_max: usize,
    /// The most bytes of one direction that wait behind a hole.
    pub held_bytes_flow_max: usize,
    /// The most segments of one direction that wait behind a hole.
    pub held_segments_flow_max: usize,
    /// The most bytes that wait behind holes, all flows together.
    pub held_bytes_max: usize,
    /// The most bytes that wait for the rest of their message, all flows together.
    pub unread_bytes_max: usize,
    /// The most bytes of one direction that wait for a protocol to recognise itself.
    pub probe_bytes_max: usize,
    /// The most incomplete IP datagrams at once; the oldest goes first.
    pub fragments_max: usize,
    /// The most bytes of incomplete IP datagrams; the oldest goes first.
    pub fragment_bytes_max: usize,
    /// An IP datagram that is not complete after this time is given up. RFC 8200, 4.5 allows
    /// 60 s; hosts give up after 30 s.
    #[serde(with = "duration")]
    pub fragment_wait: Micros,
    /// The most tunnels within each other that are opened.
    pub tunnels_max: u8,
    /// A connection that lasts longer than this has a row while it is open, and another at its end.
    #[serde(with = "duration")]
    pub open_after: Micros,
    /// A silent TCP connection ends after this time.
    #[serde(with = "duration")]
    pub idle_tcp: Micros,
    /// A silent UDP conversation or an unanswered SYN ends after this time.
    #[serde(with = "duration")]
    pub idle_brief: Micros,
    /// A closed connection still takes late packets for this time.
    #[serde(with = "duration")]
    pub linger: Micros,
    /// A hole that stays open for this time is a gap.
    #[serde(with = "duration")]
    pub hole_wait: Micros,
    /// A copy of a datagram within this time is a mirror's, not the sender's.
    #[serde(with = "duration")]
    pub copy_wait: Micros,
    /// Whether the same addresses on two VLANs are two connections. Two directions of one connection
    /// on two VLANs, as some mirrors show them, are joined all the same.
    pub vlan_separates: bool,
    /// Whether the same addresses in two virtual networks (VXLAN, GENEVE) are two connections.
    pub vni_separates: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            flows_max: 1 << 18,
            held_bytes_flow_max: 1 << 20,
            held_segments_flow_max: 512,
            held_bytes_max: 64 << 20,
            unread_bytes_max: 256 << 20,
            probe_bytes_max: 4096,
            fragments_max: 256,
            fragment_bytes_max: 8 << 20,
            fragment_wait: 30 * SECOND,
            tunnels_max: 8,
            open_after: 10 * SECOND,
            idle_tcp: 2 * 3600 * SECOND,
            idle_brief: 60 * SECOND,
            linger: 5 * SECOND,
            hole_wait: 10 * SECOND,
            copy_wait: 10_000,
            vlan_separates: true,
            vni_separates: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_they_are_written_and_mistakes_are_named() {
        let written = serde_json::to_string(&Limits::default()).unwrap_or_default();
        assert!(
            written.contains(r#""idle_tcp":"2h""#) && written.contains(r#""copy_wait":"10ms""#),
            "{written}"
        );
        assert_eq!(serde_json::from_str(&written).ok(), Some(Limits::default()));
        let some = r#"{"flows_max": 7, "linger": 0.5, "idle_brief": "1.5m", "hole_wait": 3}"#;
        let expected = Limits {
            flows_max: 7,
            linger: 500_000,
            idle_brief: 90 * SECOND,
            hole_wait: 3 * SECOND,
            ..Limits::default()
        };
        assert_eq!(serde_json::from_str(some).ok(), Some(expected));
        for (wrong, part) in [
            (r#"{"flow_max": 7}"#, "flow_max"),
            (r#"{"linger": "5 weeks"}"#, "5 weeks"),
            (r#"{"linger": -1}"#, "between 0 and a century"),
        ] {
            let error = serde_json::from_str::<Limits>(wrong).err().map(|e| e.to_string());
            assert!(error.as_deref().is_some_and(|e| e.contains(part)), "{error:?}");
        }
    }
}
