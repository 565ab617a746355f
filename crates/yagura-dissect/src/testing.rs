//! What the tests of all protocols share: a connection that is fed like the capture layer does.

use yagura_event::clock::{Micros, SECOND};
use yagura_event::rows::OwnedRow;
use yagura_event::schema::Kind;

use crate::{Cx, Dissector, Endpoint, FlowInfo, Outcome, Protocol, Settings, Side, Transport};

/// A short conversation of a protocol, as a real pair of programs would have it: requests with
/// their replies, at least three frames, something of each important kind.
pub struct Sample {
    pub transport: Transport,
    /// What is said in turn. One entry is one frame of a stream or one datagram.
    pub said: Vec<(Side, Vec<u8>)>,
    /// Whether the first bytes may be taken for the protocol's on its customary numbers only.
    pub customary_only: bool,
}

impl Sample {
    pub fn tcp(said: Vec<(Side, Vec<u8>)>) -> Sample {
        Sample { transport: Transport::Tcp, said, customary_only: false }
    }

    pub fn udp(said: Vec<(Side, Vec<u8>)>) -> Sample {
        Sample { transport: Transport::Udp, said, customary_only: false }
    }
}

/// A connection under test.
pub struct Run {
    pub flow: FlowInfo,
    pub settings: Settings,
    pub rows: Vec<OwnedRow>,
    pub time: Micros,
    dissector: Box<dyn Dissector>,
    unread: [Vec<u8>; 2],
    done: [bool; 2],
    /// What came after the dissector was done.
    pub rest: [Vec<u8>; 2],
}

impl Run {
    pub fn new(protocol: &Protocol) -> Run {
        Run::over(protocol, Transport::Tcp)
    }

    pub fn over(protocol: &Protocol, transport: Transport) -> Run {
        let end = |address: &str, port| Endpoint { address: address.into(), port, ..Endpoint::default() };
        let flow =
            FlowInfo { flow: 7, transport, client: end("10.0.0.1", 40000), server: end("10.0.0.2", 5000) };
        Run {
            dissector: (protocol.start)(&flow),
            flow,
            settings: Settings { plant_key: b"key".to_vec(), ..Settings::default() },
            rows: Vec::new(),
            time: 1_000 * SECOND,
            unread: [Vec::new(), Vec::new()],
            done: [false; 2],
            rest: [Vec::new(), Vec::new()],
        }
    }

    fn with<T>(&mut self, f: impl FnOnce(&mut dyn Dissector, &mut Cx<'_>) -> T) -> T {
        let mut cx = Cx {
            flow: &self.flow,
            time: self.time,
            observed: self.time,
            settings: &self.settings,
            out: &mut self.rows,
        };
        f(self.dissector.as_mut(), &mut cx)
    }

    pub fn send(&mut self, side: Side, bytes: &[u8]) {
        if self.done[side as usize] {
            self.rest[side as usize].extend_from_slice(bytes);
            return;
        }
        let mut unread = std::mem::take(&mut self.unread[side as usize]);
        unread.extend_from_slice(bytes);
        match self.with(|d, cx| d.parse(cx, side, &unread)) {
            Outcome::Consumed(n) => {
                assert!(n <= unread.len());
                unread.drain(..n);
                self.unread[side as usize] = unread;
            }
            Outcome::HandOver(n) => {
                assert!(n <= unread.len());
                self.rest[side as usize].extend_from_slice(&unread[n..]);
                self.done = [true; 2];
            }
            Outcome::Unrecoverable => self.done[side as usize] = true,
        }
    }

    /// Bytes that wait for more.
    pub fn held(&self, side: Side) -> usize {
        self.unread[side as usize].len()
    }

    /// Loses `missing` bytes after those that were sent.
    pub fn lose(&mut self, side: Side, missing: usize) {
        let held = std::mem::take(&mut self.unread[side as usize]).len();
        self.with(|d, cx| d.gap(cx, side, (held + missing) as u64));
    }

    pub fn pass(&mut self, time: Micros) {
        self.time += time;
        self.with(|d, cx| d.expire(cx));
    }

    pub fn close(&mut self) {
        self.with(|d, cx| d.close(cx));
    }

    pub fn of(&self, kind: Kind) -> Vec<&OwnedRow> {
        self.rows.iter().filter(|r| r.kind == kind).collect()
    }

    pub fn messages(&self) -> Vec<&OwnedRow> {
        self.of(Kind::Message)
    }

    /// Those columns of all messages, joined.
    pub fn table(&self, columns: &[&str]) -> Vec<String> {
        self.messages()
            .iter()
            .map(|r| columns.iter().map(|c| r.text(c)).collect::<Vec<_>>().join("|"))
            .collect()
    }
}

/// First bytes of other protocols, which no probe may take for its own.
pub const OTHERS: [(&str, &[u8]); 12] = [
    ("TLS", b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"),
    ("HTTP", b"GET /index.html HTTP/1.1\r\nHost: tool\r\n\r\n"),
    ("S7/TPKT", b"\x03\x00\x00\x16\x11\xe0\x00\x00\x00\x01\x00\xc0\x01\x0a\xc1\x02\x01\x00\xc2\x02\x01\x02"),
    ("DNP3", b"\x05\x64\x05\xc9\x01\x00\x00\x04\x0f\x1d\x05\x64\x05\xc9\x01\x00\x00\x04\x0f\x1d"),
    ("OPC UA", b"HELF\x38\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x01\x00"),
    ("MQTT", b"\x10\x10\x00\x04MQTT\x04\x02\x00\x3c\x00\x04tool"),
    ("SMB", b"\x00\x00\x00\x55\xffSMB\x72\x00\x00\x00\x00\x18\x53\xc8\x00\x00\x00\x00\x00\x00"),
    ("SMB2", b"\x00\x00\x00\x6a\xfeSMB\x40\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00"),
    ("SSH", b"SSH-2.0-OpenSSH_9.6\r\n"),
    ("EtherNet/IP", b"\x65\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00"),
    ("IEC 104", b"\x68\x0e\x00\x00\x00\x00\x64\x01\x06\x00\x01\x00\x00\x00\x00\x14"),
    ("DNS over TCP", b"\x00\x1d\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x04tool\x03fab\x00\x00\x01\x00\x01"),
];
