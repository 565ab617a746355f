//! MQTT's packets, as much of 3.1.1 and of 5.0 as a client needs that only receives.
//!
//! Payloads are slices of what was read. A broker may send anything: lengths are checked, nothing is trusted.

use bytes::{Buf, Bytes, BytesMut};
use serde::Deserialize;

/// A version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Protocol {
    /// MQTT 3.1.1.
    #[serde(rename = "3.1.1")]
    V3,
    /// MQTT 5.0.
    #[serde(rename = "5")]
    V5,
}

/// What a client says first.
pub(crate) struct Connect<'a> {
    pub protocol: Protocol,
    pub client_id: &'a str,
    /// How long the broker keeps what comes while nobody is there, in seconds; 0 for not at all.
    pub session: u32,
    pub keep_alive: u16,
    pub user: Option<&'a str>,
    pub password: Option<&'a str>,
    /// Messages that may wait for their acknowledgement (5.0 only).
    pub inflight: u16,
    /// The largest packet that the broker may send (5.0 only).
    pub packet_max: u32,
}

/// A message of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    topic: Bytes,
    pub payload: Bytes,
    /// The payload was larger than it may be, so large, and was passed over.
    pub oversize: Option<usize>,
    pub qos: u8,
    /// 0 where it has none, with QoS 0.
    pub id: u16,
    /// The broker has sent it before.
    pub again: bool,
    /// What the broker kept, not what was sent just now.
    pub retained: bool,
}

impl Message {
    /// The topic.
    pub fn topic(&self) -> &str {
        // `message` let nothing else in.
        std::str::from_utf8(&self.topic).unwrap_or_default()
    }

    /// The memory that it takes, about.
    pub fn size(&self) -> usize {
        self.topic.len() + self.payload.len() + MESSAGE_BYTES
    }

    /// A message that was not read from a broker.
    pub fn new(topic: &str, payload: &[u8]) -> Self {
        Message {
            topic: Bytes::copy_from_slice(topic.as_bytes()),
            payload: Bytes::copy_from_slice(payload),
            oversize: None,
            qos: 0,
            id: 0,
            again: false,
            retained: false,
        }
    }
}

/// What a broker says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Packet {
    /// The answer to the connection.
    Connected {
        /// The broker knows the session.
        resumed: bool,
        /// 0, or why not.
        code: u8,
        /// In the broker's words.
        reason: String,
        /// What the broker wants instead of the keep-alive that was asked for, in seconds.
        keep_alive: Option<u16>,
    },
    /// The answer to the subscription: a code for each topic.
    Subscribed(Vec<u8>),
    Message(Message),
    /// The second half of QoS 2.
    Release(u16),
    /// The broker ends the connection, with a code and its words.
    Disconnected(u8, String),
    /// Anything that needs no answer.
    Other,
}

/// What is no MQTT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed(pub &'static str);

const ENDS_EARLY: Malformed = Malformed("a packet ends early");

/// First bytes of answers.
pub(crate) const PUBACK: u8 = 0x40;
pub(crate) const PUBREC: u8 = 0x50;
pub(crate) const PUBCOMP: u8 = 0x70;
pub(crate) const PING: [u8; 2] = [0xc0, 0];
pub(crate) const DISCONNECT: [u8; 2] = [0xe0, 0];

/// Memory that a message takes beside its bytes.
pub(crate) const MESSAGE_BYTES: usize = 128;

/// The longest fixed header, topic and packet identifier together.
const HEAD_MAX: usize = 5 + 2 + u16::MAX as usize + 2;

/// Writes the first packet.
pub(crate) fn connect(out: &mut Vec<u8>, with: &Connect<'_>) {
    let mut body = Vec::new();
    text(&mut body, "MQTT");
    body.push(if with.protocol == Protocol::V3 { 4 } else { 5 });
    let mut flags = if with.session == 0 { 0b10 } else { 0 };
    flags |= if with.user.is_some() { 0x80 } else { 0 };
    flags |= if with.password.is_some() { 0x40 } else { 0 };
    body.push(flags);
    body.extend_from_slice(&with.keep_alive.to_be_bytes());
    if with.protocol == Protocol::V5 {
        let mut properties = Vec::new();
        properties.push(0x11);
        properties.extend_from_slice(&with.session.to_be_bytes());
        properties.push(0x21);
        properties.extend_from_slice(&with.inflight.max(1).to_be_bytes());
        properties.push(0x27);
        properties.extend_from_slice(&with.packet_max.to_be_bytes());
        length(&mut body, properties.len());
        body.extend_from_slice(&properties);
    }
    text(&mut body, with.client_id);
    for given in [with.user, with.password].into_iter().flatten() {
        text(&mut body, given);
    }
    packet(out, 0x10, &body);
}

/// Writes the subscription to topics, each with its QoS.
pub(crate) fn subscribe<'a>(
    out: &mut Vec<u8>,
    protocol: Protocol,
    topics: impl Iterator<Item = (&'a str, u8)>,
) {
    let mut body = vec![0, 1];
    if protocol == Protocol::V5 {
        body.push(0);
    }
    for (topic, qos) in topics {
        text(&mut body, topic);
        // What is retained comes only with a new subscription.
        body.push(if protocol == Protocol::V5 { qos | 0x10 } else { qos });
    }
    packet(out, 0x82, &body);
}

/// Writes an answer that holds nothing but a packet identifier.
pub(crate) fn answer(out: &mut Vec<u8>, first: u8, id: u16) {
    let [high, low] = id.to_be_bytes();
    out.extend_from_slice(&[first, 2, high, low]);
}

/// Cuts packets out of what was read.
pub(crate) struct Reader {
    protocol: Protocol,
    /// The largest packet that is kept.
    packet_max: usize,
    /// Bytes of a larger one that are still to be passed over.
    skip: usize,
}

impl Reader {
    pub fn new(protocol: Protocol, packet_max: usize) -> Self {
        Reader { protocol, packet_max, skip: 0 }
    }

    /// The next packet, if it is there whole.
    pub fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Packet>, Malformed> {
        let passed = self.skip.min(buffer.len());
        buffer.advance(passed);
        self.skip -= passed;
        if self.skip > 0 {
            return Ok(None);
        }
        let Some((head, body)) = frame(buffer)? else { return Ok(None) };
        let first = buffer[0];
        let whole = head + body;
        if whole > self.packet_max {
            if first >> 4 != 3 {
                return Err(Malformed("a packet that is no message is larger than messages may be"));
            }
            return self.oversize(buffer, first, head, whole);
        }
        if buffer.len() < whole {
            buffer.reserve(whole - buffer.len());
            return Ok(None);
        }
        let mut frame = buffer.split_to(whole).freeze();
        frame.advance(head);
        decode(self.protocol, first, frame).map(Some)
    }

    /// A message that is too large: what names it is read, the rest passed over.
    fn oversize(
        &mut self,
        buffer: &mut BytesMut,
        first: u8,
        head: usize,
        whole: usize,
    ) -> Result<Option<Packet>, Malformed> {
        if buffer.len() < HEAD_MAX.min(whole) {
            return Ok(None);
        }
        let mut start = Bytes::copy_from_slice(&buffer[head..HEAD_MAX.min(whole)]);
        let topic = take_bytes(&mut start)?;
        let qos = first >> 1 & 3;
        let id = if qos > 0 { take_u16(&mut start)? } else { 0 };
        let passed = whole.min(buffer.len());
        buffer.advance(passed);
        self.skip = whole - passed;
        let message = message(first, topic, qos, id, Bytes::new(), Some(whole))?;
        Ok(Some(Packet::Message(message)))
    }
}

/// Lengths of a packet's fixed header and of what follows it.
fn frame(buffer: &[u8]) -> Result<Option<(usize, usize)>, Malformed> {
    let mut length = 0;
    for (nth, byte) in buffer.iter().skip(1).take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * nth);
        if byte & 0x80 == 0 {
            return Ok(Some((nth + 2, length)));
        }
    }
    if buffer.len() >= 5 { Err(Malformed("a packet's length has more than four bytes")) } else { Ok(None) }
}

fn decode(protocol: Protocol, first: u8, mut body: Bytes) -> Result<Packet, Malformed> {
    let v5 = protocol == Protocol::V5;
    Ok(match first >> 4 {
        2 => {
            let resumed = take_u8(&mut body)? & 1 == 1;
            let code = take_u8(&mut body)?;
            let mut said = Properties::default();
            // A broker that speaks another version answers in its own.
            if v5 && !body.is_empty() {
                said = properties(&mut body)?;
            }
            Packet::Connected { resumed, code, reason: said.reason, keep_alive: said.keep_alive }
        }
        3 => {
            let topic = take_bytes(&mut body)?;
            let qos = first >> 1 & 3;
            let id = if qos > 0 { take_u16(&mut body)? } else { 0 };
            if v5 {
                let length = take_length(&mut body)?;
                take(&mut body, length)?;
            }
            Packet::Message(message(first, topic, qos, id, body, None)?)
        }
        6 => Packet::Release(take_u16(&mut body)?),
        9 => {
            take_u16(&mut body)?;
            if v5 {
                properties(&mut body)?;
            }
            Packet::Subscribed(body.to_vec())
        }
        14 => {
            let code = if body.is_empty() { 0 } else { take_u8(&mut body)? };
            let said = if body.is_empty() { Properties::default() } else { properties(&mut body)? };
            Packet::Disconnected(code, said.reason)
        }
        _ => Packet::Other,
    })
}

fn message(
    first: u8,
    topic: Bytes,
    qos: u8,
    id: u16,
    payload: Bytes,
    oversize: Option<usize>,
) -> Result<Message, Malformed> {
    if qos > 2 {
        return Err(Malformed("a message has QoS 3"));
    }
    if qos > 0 && id == 0 {
        return Err(Malformed("a message with QoS 1 or 2 has no packet identifier"));
    }
    if topic.is_empty() || std::str::from_utf8(&topic).is_err() {
        return Err(Malformed("a message's topic is no text"));
    }
    let (again, retained) = (first & 8 != 0, first & 1 != 0);
    Ok(Message { topic, payload, oversize, qos, id, again, retained })
}

/// The properties of MQTT 5 that matter here.
#[derive(Default)]
struct Properties {
    reason: String,
    keep_alive: Option<u16>,
}

fn properties(body: &mut Bytes) -> Result<Properties, Malformed> {
    let length = take_length(body)?;
    let mut rest = take(body, length)?;
    let mut out = Properties::default();
    while !rest.is_empty() {
        match take_u8(&mut rest)? {
            0x13 => out.keep_alive = Some(take_u16(&mut rest)?),
            0x1f => out.reason = String::from_utf8_lossy(&take_bytes(&mut rest)?).into_owned(),
            0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28 | 0x29 | 0x2a => drop(take(&mut rest, 1)?),
            0x21..=0x23 => drop(take(&mut rest, 2)?),
            0x02 | 0x11 | 0x18 | 0x27 => drop(take(&mut rest, 4)?),
            0x03 | 0x08 | 0x09 | 0x12 | 0x15 | 0x16 | 0x1a | 0x1c => drop(take_bytes(&mut rest)?),
            0x0b => drop(take_length(&mut rest)?),
            0x26 => {
                take_bytes(&mut rest)?;
                take_bytes(&mut rest)?;
            }
            _ => return Err(Malformed("a packet has a property that MQTT 5 does not know")),
        }
    }
    Ok(out)
}

fn take(from: &mut Bytes, length: usize) -> Result<Bytes, Malformed> {
    if from.len() < length { Err(ENDS_EARLY) } else { Ok(from.split_to(length)) }
}

fn take_u8(from: &mut Bytes) -> Result<u8, Malformed> {
    from.try_get_u8().map_err(|_| ENDS_EARLY)
}

fn take_u16(from: &mut Bytes) -> Result<u16, Malformed> {
    from.try_get_u16().map_err(|_| ENDS_EARLY)
}

fn take_bytes(from: &mut Bytes) -> Result<Bytes, Malformed> {
    let length = take_u16(from)?;
    take(from, length.into())
}

fn take_length(from: &mut Bytes) -> Result<usize, Malformed> {
    let mut length = 0;
    for nth in 0..4 {
        let byte = take_u8(from)?;
        length |= usize::from(byte & 0x7f) << (7 * nth);
        if byte & 0x80 == 0 {
            return Ok(length);
        }
    }
    Err(Malformed("a length has more than four bytes"))
}

fn packet(out: &mut Vec<u8>, first: u8, body: &[u8]) {
    out.push(first);
    length(out, body.len());
    out.extend_from_slice(body);
}

fn length(out: &mut Vec<u8>, mut length: usize) {
    loop {
        let low = (length & 0x7f) as u8;
        length >>= 7;
        out.push(if length > 0 { low | 0x80 } else { low });
        if length == 0 {
            return;
        }
    }
}

/// A text with its length before it; settings are checked to be no longer.
fn text(out: &mut Vec<u8>, text: &str) {
    let bytes = &text.as_bytes()[..text.len().min(u16::MAX.into())];
    out.extend_from_slice(&(bytes.len() as u16).to_be_bytes());
    out.extend_from_slice(bytes);
}

/// Why a broker lets nobody in, and what to do.
pub(crate) fn refusal(protocol: Protocol, code: u8) -> (String, &'static str) {
    let (cause, remedy) = match (protocol, code) {
        (Protocol::V3, 1) | (_, 0x84) => {
            ("it does not speak this version of MQTT", "set `protocol` to the other one")
        }
        (Protocol::V3, 2) | (_, 0x85) => ("it does not accept the client id", "set another `client_id`"),
        (Protocol::V3, 3) | (_, 0x88 | 0x89) => ("it is not available", "try again later"),
        (Protocol::V3, 4) | (_, 0x86) => {
            ("the user or the password is wrong", "set `user` and `password_file` as the broker knows them")
        }
        (Protocol::V3, 5) | (_, 0x87) => (
            "it does not authorise this client",
            "set `user` and `password_file`, or let the broker permit the client",
        ),
        (_, 0x8a) => ("it has banned this client", "ask who runs it"),
        (_, 0x8c) => ("it wants another way of authentication", "let it accept a user and a password"),
        (_, 0x9c | 0x9d) => ("it sends clients to another server", "set that one's `address`"),
        (_, 0x97 | 0x9f) => ("it has too many connections", "try again later, or raise its limits"),
        _ => ("it refuses the connection", "look at the broker's log"),
    };
    (format!("{cause} (code {code})"), remedy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(reader: &mut Reader, bytes: &[u8], step: usize) -> Result<Vec<Packet>, Malformed> {
        let (mut buffer, mut out) = (BytesMut::new(), Vec::new());
        for part in bytes.chunks(step.max(1)) {
            buffer.extend_from_slice(part);
            while let Some(packet) = reader.next(&mut buffer)? {
                out.push(packet);
            }
        }
        Ok(out)
    }

    fn publish(first: u8, topic: &str, id: Option<u16>, payload: &[u8]) -> Vec<u8> {
        let (mut body, mut out) = (Vec::new(), Vec::new());
        text(&mut body, topic);
        if let Some(id) = id {
            body.extend_from_slice(&id.to_be_bytes());
        }
        body.extend_from_slice(payload);
        packet(&mut out, first, &body);
        out
    }

    #[test]
    fn packets_come_out_however_they_are_cut() {
        let mut bytes = vec![0x20, 2, 1, 0, 0x90, 4, 0, 1, 1, 0x80];
        bytes.extend(publish(0x3b, "a/b", Some(7), b"twelve"));
        bytes.extend([0x62, 2, 0, 9, 0xd0, 0]);
        for step in 1..bytes.len() {
            let packets = all(&mut Reader::new(Protocol::V3, 1000), &bytes, step).expect("MQTT");
            assert_eq!(
                packets[0],
                Packet::Connected { resumed: true, code: 0, reason: String::new(), keep_alive: None }
            );
            assert_eq!(packets[1], Packet::Subscribed(vec![1, 0x80]));
            let Packet::Message(message) = &packets[2] else { panic!("{packets:?}") };
            assert_eq!((message.topic(), &message.payload[..]), ("a/b", &b"twelve"[..]));
            assert_eq!((message.qos, message.id, message.again, message.retained), (1, 7, true, true));
            assert_eq!(packets[3..], [Packet::Release(9), Packet::Other]);
        }
    }

    #[test]
    fn what_is_too_large_is_passed_over_and_can_be_acknowledged() {
        let mut bytes = publish(0x32, "big", Some(3), &vec![0x30; 300_000]);
        let whole = bytes.len();
        bytes.extend(publish(0x30, "small", None, b"1"));
        for step in [1000, 4096, bytes.len()] {
            let packets = all(&mut Reader::new(Protocol::V3, 200_000), &bytes, step).expect("MQTT");
            let topics: Vec<_> = packets
                .iter()
                .filter_map(|packet| match packet {
                    Packet::Message(message) => Some((message.topic(), message.id, message.oversize)),
                    _ => None,
                })
                .collect();
            assert_eq!(topics, [("big", 3, Some(whole)), ("small", 0, None)]);
        }
    }

    proptest! {
        #[test]
        fn nothing_that_a_broker_sends_is_a_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..400), step in 1usize..50, five: bool,
        ) {
            let protocol = if five { Protocol::V5 } else { Protocol::V3 };
            let _ = all(&mut Reader::new(protocol, 100), &bytes, step);
        }
    }
}
