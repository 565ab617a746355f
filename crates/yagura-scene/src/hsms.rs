//! SECS-II items (SEMI E5) and HSMS messages (SEMI E37), and a conversation of them.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;

use yagura_event::clock::Micros;

use crate::wire::{Conn, Recording, Side, Trouble};

/// A SECS-II item.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the variants are the item formats of E5 and hold their elements")]
pub enum Item {
    List(Vec<Item>),
    Binary(Vec<u8>),
    Boolean(Vec<bool>),
    Ascii(String),
    I1(Vec<i8>),
    I2(Vec<i16>),
    I4(Vec<i32>),
    I8(Vec<i64>),
    F4(Vec<f32>),
    F8(Vec<f64>),
    U1(Vec<u8>),
    U2(Vec<u16>),
    U4(Vec<u32>),
    U8(Vec<u64>),
}

impl Item {
    /// A text. E5 allows ASCII only; anything else goes out as `?`.
    pub fn text(text: &str) -> Item {
        Item::Ascii(text.chars().map(|c| if c.is_ascii() { c } else { '?' }).collect())
    }

    /// One byte, as acknowledge codes are.
    pub fn code(byte: u8) -> Item {
        Item::Binary(vec![byte])
    }

    /// One unsigned number of four bytes, as ids are.
    pub fn id(number: u32) -> Item {
        Item::U4(vec![number])
    }

    /// A list.
    pub fn list(items: impl IntoIterator<Item = Item>) -> Item {
        Item::List(items.into_iter().collect())
    }

    /// Appends the item's bytes.
    ///
    /// # Panics
    /// When a list has, or another item's data take, more than the 16,777,215 that three length
    /// bytes can say.
    pub fn encode(&self, out: &mut Vec<u8>) {
        fn numbers<const N: usize>(
            code: u8,
            bytes: impl ExactSizeIterator<Item = [u8; N]>,
            out: &mut Vec<u8>,
        ) {
            head(code, bytes.len() * N, out);
            out.extend(bytes.flatten());
        }
        match self {
            Item::List(items) => {
                head(0o00, items.len(), out);
                items.iter().for_each(|item| item.encode(out));
            }
            Item::Binary(v) => numbers(0o10, v.iter().map(|b| [*b]), out),
            Item::Boolean(v) => numbers(0o11, v.iter().map(|b| [u8::from(*b)]), out),
            Item::Ascii(v) => numbers(0o20, v.as_bytes().iter().map(|b| [*b]), out),
            Item::I8(v) => numbers(0o30, v.iter().map(|n| n.to_be_bytes()), out),
            Item::I1(v) => numbers(0o31, v.iter().map(|n| n.to_be_bytes()), out),
            Item::I2(v) => numbers(0o32, v.iter().map(|n| n.to_be_bytes()), out),
            Item::I4(v) => numbers(0o34, v.iter().map(|n| n.to_be_bytes()), out),
            Item::F8(v) => numbers(0o40, v.iter().map(|n| n.to_be_bytes()), out),
            Item::F4(v) => numbers(0o44, v.iter().map(|n| n.to_be_bytes()), out),
            Item::U8(v) => numbers(0o50, v.iter().map(|n| n.to_be_bytes()), out),
            Item::U1(v) => numbers(0o51, v.iter().map(|n| n.to_be_bytes()), out),
            Item::U2(v) => numbers(0o52, v.iter().map(|n| n.to_be_bytes()), out),
            Item::U4(v) => numbers(0o54, v.iter().map(|n| n.to_be_bytes()), out),
        }
    }
}

/// Format byte and as many length bytes as are needed, at least one.
fn head(code: u8, length: usize, out: &mut Vec<u8>) {
    assert!(length <= 0xff_ffff, "an item of length {length} does not fit into three length bytes");
    let bytes = (length as u32).to_be_bytes();
    let skip = bytes.iter().position(|b| *b != 0).unwrap_or(3);
    out.push(code << 2 | (4 - skip) as u8);
    out.extend(&bytes[skip..]);
}

/// An HSMS message.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// A SECS-II message.
    Data {
        /// Stream.
        stream: u8,
        /// Function.
        function: u8,
        /// Body; `None` for a message of the header alone.
        body: Option<Item>,
    },
    /// A control message.
    Control {
        /// Session type.
        stype: u8,
        /// Header byte 3: a status or reason, otherwise 0.
        status: u8,
    },
}

impl Message {
    /// `Linktest.req`.
    pub const LINKTEST: Message = Message::Control { stype: 5, status: 0 };
    /// `Linktest.rsp`.
    pub const LINKTEST_REPLY: Message = Message::Control { stype: 6, status: 0 };
    /// `Select.req`.
    pub const SELECT: Message = Message::Control { stype: 1, status: 0 };
    /// `Separate.req`.
    pub const SEPARATE: Message = Message::Control { stype: 9, status: 0 };

    /// A SECS-II message with a body.
    pub fn data(stream: u8, function: u8, body: Item) -> Message {
        Message::Data { stream, function, body: Some(body) }
    }

    /// `Select.rsp` with its status: 0 established, 1 already active, 2 not ready, 3 exhausted.
    pub fn selected(status: u8) -> Message {
        Message::Control { stype: 2, status }
    }

    /// Its name: `S7F3`, `Select.req`.
    pub fn name(&self) -> String {
        match self {
            Message::Data { stream, function, .. } => format!("S{stream}F{function}"),
            Message::Control { stype, .. } => match stype {
                1 => "Select.req".into(),
                2 => "Select.rsp".into(),
                3 => "Deselect.req".into(),
                4 => "Deselect.rsp".into(),
                5 => "Linktest.req".into(),
                6 => "Linktest.rsp".into(),
                7 => "Reject.req".into(),
                9 => "Separate.req".into(),
                other => format!("SType {other}"),
            },
        }
    }

    /// The message's bytes with the length in front. `session` is the device id of data messages
    /// (control messages carry 0xFFFF, E37.1), `wait` sets the W-bit of data messages.
    ///
    /// # Panics
    /// As [`Item::encode`] does.
    pub fn encode(&self, session: u16, system: u32, wait: bool) -> Vec<u8> {
        let mut out = vec![0; 4];
        match self {
            Message::Data { stream, function, body } => {
                out.extend(session.to_be_bytes());
                out.extend([stream & 0x7f | u8::from(wait) << 7, *function, 0, 0]);
                out.extend(system.to_be_bytes());
                if let Some(body) = body {
                    body.encode(&mut out);
                }
            }
            Message::Control { stype, status } => {
                out.extend([0xff, 0xff, 0, *status, 0, *stype]);
                out.extend(system.to_be_bytes());
            }
        }
        let length = (out.len() - 4) as u32;
        out[..4].copy_from_slice(&length.to_be_bytes());
        out
    }
}

/// A message and what is answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Exchange {
    /// When it is sent.
    pub at: Micros,
    /// Who sends it; the host is the client of the TCP connection.
    pub from: Side,
    /// The message.
    pub message: Message,
    /// The answer, if one comes.
    pub reply: Option<Message>,
    /// Whether a data message asks for an answer (W-bit).
    pub wait: bool,
    /// How long the answer takes.
    pub latency: Micros,
    /// What goes wrong with the message on its way.
    pub trouble: Trouble,
}

impl Exchange {
    /// A message that is answered after 4 ms.
    pub fn asked(at: Micros, from: Side, message: Message, reply: Message) -> Exchange {
        Exchange { at, from, message, reply: Some(reply), wait: true, latency: 4_000, trouble: Trouble::None }
    }

    /// A message that needs no answer and gets none.
    pub fn told(at: Micros, from: Side, message: Message) -> Exchange {
        Exchange { at, from, message, reply: None, wait: false, latency: 0, trouble: Trouble::None }
    }

    /// The same with another latency.
    pub fn after(mut self, latency: Micros) -> Exchange {
        self.latency = latency;
        self
    }

    /// The same with something going wrong.
    pub fn troubled(mut self, trouble: Trouble) -> Exchange {
        self.trouble = trouble;
        self
    }
}

/// One HSMS connection of a host (the TCP client) and a tool.
#[derive(Debug)]
pub struct Line {
    conn: Conn,
    session: u16,
    /// The last system bytes of each side: each counts for itself.
    system: [u32; 2],
    /// How often each message was sent, by [`Message::name`].
    pub counts: BTreeMap<String, u64>,
}

impl Line {
    /// Connects without selecting.
    pub fn connect(recording: &mut Recording, host: SocketAddrV4, tool: SocketAddrV4, at: Micros) -> Line {
        let conn = recording.tcp_connect(host, tool, at);
        Line { conn, session: 0, system: [0; 2], counts: BTreeMap::new() }
    }

    /// Connects and selects with success.
    pub fn open(recording: &mut Recording, host: SocketAddrV4, tool: SocketAddrV4, at: Micros) -> Line {
        let mut line = Line::connect(recording, host, tool, at);
        line.exchange(
            recording,
            &Exchange::asked(at + 2_000, Side::Client, Message::SELECT, Message::selected(0)),
        );
        line
    }

    /// Plays an exchange; answers when its last frame stands. Exchanges of one line follow each
    /// other: one that should begin before the last has ended begins right after it.
    pub fn exchange(&mut self, recording: &mut Recording, exchange: &Exchange) -> Micros {
        let system = &mut self.system[exchange.from as usize];
        *system = system.wrapping_add(1);
        let system = *system;
        let bytes = exchange.message.encode(self.session, system, exchange.wait);
        self.count(&exchange.message);
        let mut at =
            recording.send_in_trouble(self.conn, exchange.from, &bytes, exchange.at, exchange.trouble);
        if let Some(reply) = &exchange.reply {
            let bytes = reply.encode(self.session, system, false);
            self.count(reply);
            at = recording.send(self.conn, exchange.from.other(), &bytes, at + exchange.latency);
        }
        at
    }

    /// Closes the TCP connection, the host first.
    pub fn close(&self, recording: &mut Recording, at: Micros) {
        recording.close(self.conn, Side::Client, at);
    }

    fn count(&mut self, message: &Message) {
        *self.counts.entry(message.name()).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(item: &Item) -> Vec<u8> {
        let mut out = Vec::new();
        item.encode(&mut out);
        out
    }

    #[test]
    fn items_are_those_of_e5() {
        assert_eq!(bytes(&Item::list([])), [0x01, 0]);
        assert_eq!(bytes(&Item::text("ABC")), [0x41, 3, b'A', b'B', b'C']);
        assert_eq!(bytes(&Item::text("é")), [0x41, 1, b'?']);
        assert_eq!(bytes(&Item::code(0)), [0x21, 1, 0]);
        assert_eq!(bytes(&Item::Boolean(vec![true])), [0x25, 1, 1]);
        assert_eq!(bytes(&Item::id(258)), [0xb1, 4, 0, 0, 1, 2]);
        assert_eq!(bytes(&Item::U4(vec![])), [0xb1, 0]);
        assert_eq!(bytes(&Item::U1(vec![7])), [0xa5, 1, 7]);
        assert_eq!(bytes(&Item::U2(vec![7])), [0xa9, 2, 0, 7]);
        assert_eq!(bytes(&Item::U8(vec![7])), [0xa1, 8, 0, 0, 0, 0, 0, 0, 0, 7]);
        assert_eq!(bytes(&Item::I1(vec![-1])), [0x65, 1, 0xff]);
        assert_eq!(bytes(&Item::I2(vec![-1])), [0x69, 2, 0xff, 0xff]);
        assert_eq!(bytes(&Item::I4(vec![-1])), [0x71, 4, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(bytes(&Item::I8(vec![1]))[..2], [0x61, 8]);
        assert_eq!(bytes(&Item::F4(vec![1.0])), [0x91, 4, 0x3f, 0x80, 0, 0]);
        assert_eq!(bytes(&Item::F8(vec![1.0]))[..4], [0x81, 8, 0x3f, 0xf0]);
        assert_eq!(bytes(&Item::list([Item::code(1), Item::id(2)])), [1, 2, 0x21, 1, 1, 0xb1, 4, 0, 0, 0, 2]);
    }

    #[test]
    fn lengths_take_as_many_bytes_as_they_need() {
        assert_eq!(bytes(&Item::Binary(vec![0; 255]))[..2], [0x21, 255]);
        assert_eq!(bytes(&Item::Binary(vec![0; 256]))[..3], [0x22, 1, 0]);
        assert_eq!(bytes(&Item::Binary(vec![0; 65_536]))[..4], [0x23, 1, 0, 0]);
    }

    #[test]
    fn headers_are_those_of_e37() {
        assert_eq!(Message::SELECT.encode(0, 1, true), [0, 0, 0, 10, 0xff, 0xff, 0, 0, 0, 1, 0, 0, 0, 1]);
        assert_eq!(Message::selected(1).encode(0, 1, false)[4..10], [0xff, 0xff, 0, 1, 0, 2]);
        let s1f1 = Message::Data { stream: 1, function: 1, body: None };
        assert_eq!(s1f1.encode(3, 9, true), [0, 0, 0, 10, 0, 3, 0x81, 1, 0, 0, 0, 0, 0, 9]);
        assert_eq!(s1f1.name(), "S1F1");
    }
}
