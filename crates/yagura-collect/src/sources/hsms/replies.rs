//! Everything that the host may say: a few questions of stream 1, the replies that the standards demand, and the
//! control messages of HSMS. Nothing else leaves the collector.

use yagura_dissect::hsms::{HEADER, Header, PREFIX};
use yagura_dissect::secs2::Value;

/// Control messages (SEMI E37, SType).
pub mod control {
    #![expect(missing_docs, reason = "the names are the standard's")]
    pub const SELECT_REQ: u8 = 1;
    pub const SELECT_RSP: u8 = 2;
    pub const LINKTEST_REQ: u8 = 5;
    pub const LINKTEST_RSP: u8 = 6;
    pub const REJECT_REQ: u8 = 7;
    pub const SEPARATE_REQ: u8 = 9;
}

/// A question of the host: stream 1, read-only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// S1F1: are you there?
    AreYouThere,
    /// S1F13: establish communications.
    Establish,
    /// S1F3: values of status variables.
    Status,
    /// S1F11: names and units of status variables.
    StatusNames,
    /// S1F21: names and units of data variables.
    DataNames,
    /// S1F23: names of collection events.
    EventNames,
}

impl Question {
    /// All of them.
    pub const ALL: [Question; 6] = [
        Question::AreYouThere,
        Question::Establish,
        Question::Status,
        Question::StatusNames,
        Question::DataNames,
        Question::EventNames,
    ];

    /// Its function in stream 1.
    pub fn function(self) -> u8 {
        match self {
            Question::AreYouThere => 1,
            Question::Establish => 13,
            Question::Status => 3,
            Question::StatusNames => 11,
            Question::DataNames => 21,
            Question::EventNames => 23,
        }
    }

    /// Its text; `ids` are those that are asked for, none for all.
    pub fn text(self, ids: &[Value]) -> Vec<u8> {
        match self {
            Question::AreYouThere => Vec::new(),
            // A host has no model: an empty list (E5).
            Question::Establish => Value::List(Vec::new()).to_bytes(),
            _ => Value::List(ids.to_vec()).to_bytes(),
        }
    }
}

/// When a primary message of the equipment is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// It wants no answer.
    Never,
    /// At once: nothing is lost if the answer is.
    Now,
    /// When the rows of the message are durable: the equipment forgets what is acknowledged.
    Durable,
}

/// A reply: its function, 0 for an abort, and its text.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// When it is sent.
    pub when: When,
    /// The function, in the stream of the message.
    pub function: u8,
    /// The text.
    pub text: Option<Value>,
}

/// The reply to a primary message of the equipment. `time` is the answer to S2F17, where the host tells it.
pub fn reply(header: &Header, time: Option<&dyn Fn() -> String>) -> Reply {
    let (stream, function) = (header.stream(), header.function());
    let to = |when, text| Reply { when, function: function + 1, text };
    let accepted = || Some(Value::Binary(vec![0]));
    if !header.wants_reply() {
        return Reply { when: When::Never, function: 0, text: None };
    }
    match (stream, function) {
        (1, 1) => to(When::Now, Some(Value::List(Vec::new()))),
        (1, 13) => to(When::Now, Some(Value::List(vec![Value::Binary(vec![0]), Value::List(Vec::new())]))),
        // Without leave to tell the time it is not told: equipment sets its clock by it.
        (2, 17) if time.is_some() => to(When::Now, time.map(|time| Value::Ascii(time()))),
        // ACKC5, ACKC6: accepted.
        (5, 1) | (6, 1 | 3 | 9 | 11 | 13 | 25) => to(When::Durable, accepted()),
        // Exceptions are confirmed by a header alone.
        (5, 9 | 11 | 15) => to(When::Durable, None),
        // An inquiry about several blocks, which HSMS does not have, is granted.
        (6, 5) => to(When::Now, accepted()),
        _ => Reply { when: When::Now, function: 0, text: None },
    }
}

/// Appends a frame.
pub fn push_frame(out: &mut Vec<u8>, header: Header, text: &[u8]) {
    out.extend_from_slice(&((HEADER + text.len()) as u32).to_be_bytes());
    out.extend_from_slice(&header.to_bytes());
    out.extend_from_slice(text);
}

/// The header of a control message.
pub fn control_header(stype: u8, byte3: u8, system: u32) -> Header {
    Header { session: 0xffff, byte2: 0, byte3, ptype: 0, stype, system }
}

/// The header of a data message.
pub fn data_header(session: u16, stream: u8, function: u8, wait: bool, system: u32) -> Header {
    Header { session, byte2: stream | u8::from(wait) << 7, byte3: function, ptype: 0, stype: 0, system }
}

/// Appends the reply to a message.
pub fn push_reply(out: &mut Vec<u8>, to: &Header, reply: &Reply) {
    let header = data_header(to.session, to.stream(), reply.function, false, to.system);
    push_frame(out, header, &reply.text.as_ref().map(Value::to_bytes).unwrap_or_default());
}

/// The frames that a piece of a connection is made of.
pub fn frames(bytes: &[u8]) -> impl Iterator<Item = (Header, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let (prefix, after) = rest.split_first_chunk::<PREFIX>()?;
        let (frame, next) = after.split_at_checked(u32::from_be_bytes(*prefix) as usize)?;
        let (header, text) = frame.split_first_chunk::<HEADER>()?;
        rest = next;
        Some((Header::of(header), text))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn framing_and_reading_are_inverse(
            messages in prop::collection::vec((any::<[u8; 10]>(), prop::collection::vec(any::<u8>(), 0..40)), 0..8),
            cut in 0usize..400,
        ) {
            let mut out = Vec::new();
            let mut ends = Vec::new();
            for (header, text) in &messages {
                push_frame(&mut out, Header::of(header), text);
                ends.push(out.len());
            }
            let read: Vec<_> = frames(&out).map(|(header, text)| (header.to_bytes(), text.to_vec())).collect();
            prop_assert_eq!(&read, &messages);
            let cut = cut.min(out.len());
            prop_assert_eq!(frames(&out[..cut]).count(), ends.iter().filter(|end| **end <= cut).count());
        }

        #[test]
        fn any_bytes_are_taken_apart_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            for (header, _) in frames(&bytes) {
                let reply = reply(&header, None);
                let mut out = Vec::new();
                push_reply(&mut out, &header, &reply);
                prop_assert_eq!(frames(&out).count(), 1);
            }
        }
    }

    #[test]
    fn every_data_message_that_the_host_can_send() {
        let mut sent = BTreeSet::new();
        for question in Question::ALL {
            sent.insert((1, question.function()));
        }
        let time = || "2026112610000000".to_string();
        for stream in 1..128u8 {
            for function in (1..=255u8).step_by(2) {
                for wait in [false, true] {
                    let reply = reply(&data_header(1, stream, function, wait, 7), Some(&time));
                    assert_eq!(reply.when == When::Never, !wait, "S{stream}F{function}");
                    if wait && reply.function != 0 {
                        assert_eq!(reply.function, function + 1);
                        sent.insert((stream, reply.function));
                    }
                }
            }
        }
        // Beside these only SxF0, which aborts.
        let expected = [
            (1, 1),
            (1, 2),
            (1, 3),
            (1, 11),
            (1, 13),
            (1, 14),
            (1, 21),
            (1, 23),
            (2, 18),
            (5, 2),
            (5, 10),
            (5, 12),
            (5, 16),
            (6, 2),
            (6, 4),
            (6, 6),
            (6, 10),
            (6, 12),
            (6, 14),
            (6, 26),
        ];
        assert_eq!(sent.into_iter().collect::<Vec<_>>(), expected);
        let untold = reply(&data_header(1, 2, 17, true, 7), None);
        assert_eq!((untold.when, untold.function, untold.text), (When::Now, 0, None));
        assert_eq!(reply(&data_header(1, 9, 5, false, 7), None).when, When::Never);
    }

    #[test]
    fn what_is_acknowledged_waits_for_the_log() {
        for (stream, function) in [(5, 1), (6, 1), (6, 3), (6, 9), (6, 11), (6, 13)] {
            let reply = reply(&data_header(0, stream, function, true, 1), None);
            assert_eq!((reply.when, reply.text), (When::Durable, Some(Value::Binary(vec![0]))));
        }
    }

    #[test]
    fn frames_are_taken_apart_again() {
        let mut out = Vec::new();
        push_frame(&mut out, control_header(control::SELECT_REQ, 0, 1), &[]);
        push_reply(&mut out, &data_header(5, 1, 13, true, 9), &reply(&data_header(5, 1, 13, true, 9), None));
        let all: Vec<_> =
            frames(&out).map(|(h, text)| (h.session, h.stype, h.function(), text.len())).collect();
        assert_eq!(all, [(0xffff, 1, 0, 0), (5, 0, 14, 7)]);
        assert_eq!(frames(&out[..out.len() - 1]).count(), 1);
    }
}
