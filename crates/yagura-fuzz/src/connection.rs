//! One connection, read by one protocol's dissector the way the capture layer lets it read.

use yagura_dissect::{
    Cx, Dissector, Endpoint, FlowInfo, Glimpse, Outcome, Protocol, Settings, Side, Transport,
};
use yagura_event::clock::{Micros, SECOND};

use crate::check::Checked;
use crate::input::{self, Setup, Step};

/// Most rows for each byte: a coil of Modbus is a bit of its own.
const ROWS_PER_BYTE_MAX: u64 = 16;
/// Rows that few bytes may give, those at the connection's end included.
const ROWS_SPARE: u64 = 1024;

/// Lets a protocol read an input.
///
/// # Panics
/// When a promise is broken; that is what it is for.
pub fn run(protocol: &Protocol, input: &[u8]) {
    let (setup, _) = input::read(input);
    if setup.twice() {
        let (one, two) = (read(protocol, input, true), read(protocol, input, true));
        assert_eq!((one.rows, one.digest), (two.rows, two.digest), "the same bytes gave other rows");
    } else {
        read(protocol, input, false);
    }
}

fn read(protocol: &Protocol, input: &[u8], digest: bool) -> Checked {
    let (setup, steps) = input::read(input);
    let mut connection = Connection::new(protocol, setup);
    if digest {
        connection.out = Checked::with_digest();
    }
    for step in steps {
        match step {
            Step::Bytes(side, split, bytes) => connection.bytes(side, split, bytes),
            Step::Gap(side, missing) => connection.gap(side, missing),
            Step::Pass(tenths) => {
                connection.time += tenths as Micros * SECOND / 10;
                connection.with(|dissector, cx| dissector.expire(cx));
            }
        }
    }
    connection.with(|dissector, cx| dissector.close(cx));
    let most = input.len() as u64 * ROWS_PER_BYTE_MAX + ROWS_SPARE;
    assert!(connection.out.rows <= most, "{} rows of {} bytes", connection.out.rows, input.len());
    connection.out
}

struct Connection<'a> {
    protocol: &'a Protocol,
    customary: bool,
    flow: FlowInfo,
    settings: Settings,
    time: Micros,
    dissector: Box<dyn Dissector>,
    unread: [Vec<u8>; 2],
    done: [bool; 2],
    out: Checked,
}

impl<'a> Connection<'a> {
    fn new(protocol: &'a Protocol, setup: Setup) -> Connection<'a> {
        let carrier = &protocol.carriers[setup.carrier() % protocol.carriers.len()];
        let numbered = matches!(carrier.transport, Transport::Ip | Transport::Link);
        let port = carrier.numbers.first().copied().filter(|_| setup.customary()).unwrap_or(4999);
        let end = |address: &str, port, equipment| Endpoint {
            address: address.into(),
            port: if numbered { 0 } else { port },
            equipment,
            ..Endpoint::default()
        };
        let flow = FlowInfo {
            flow: 7,
            transport: carrier.transport,
            client: end("10.0.0.1", 40_000, setup.client_is_equipment()),
            server: end("10.0.0.2", port, !setup.client_is_equipment()),
        };
        Connection {
            protocol,
            customary: numbered || setup.customary(),
            settings: Settings { plant_key: b"key".to_vec(), ..Settings::default() },
            time: 1_700_000_000 * SECOND,
            dissector: (protocol.start)(&flow),
            flow,
            unread: [Vec::new(), Vec::new()],
            done: [false; 2],
            out: Checked::default(),
        }
    }

    fn with<T>(&mut self, f: impl FnOnce(&mut dyn Dissector, &mut Cx<'_>) -> T) -> T {
        let mut cx = Cx {
            flow: &self.flow,
            time: self.time,
            observed: self.time,
            settings: &self.settings,
            out: &mut self.out,
        };
        f(self.dissector.as_mut(), &mut cx)
    }

    fn bytes(&mut self, side: Side, split: usize, bytes: &[u8]) {
        self.time += 1000;
        let transport = self.flow.transport;
        let _ = (self.protocol.probe)(&Glimpse { transport, side, customary: self.customary, bytes });
        if transport != Transport::Tcp {
            if !self.done[side as usize] {
                let outcome = self.with(|dissector, cx| dissector.parse(cx, side, bytes));
                self.done[side as usize] = outcome == Outcome::Unrecoverable;
            }
            return;
        }
        for piece in bytes.chunks(if split == 0 { usize::MAX } else { split }) {
            self.piece(side, piece);
        }
    }

    fn piece(&mut self, side: Side, piece: &[u8]) {
        if self.done[side as usize] {
            return;
        }
        let mut unread = std::mem::take(&mut self.unread[side as usize]);
        unread.extend_from_slice(piece);
        let mut used = 0;
        while used < unread.len() {
            match self.with(|dissector, cx| dissector.parse(cx, side, &unread[used..])) {
                Outcome::Consumed(0) => break,
                Outcome::Consumed(n) => {
                    used += n;
                    assert!(used <= unread.len(), "{n} bytes are done with, and there are fewer");
                }
                Outcome::HandOver(n) => {
                    assert!(n <= unread.len() - used, "{n} bytes are done with, and there are fewer");
                    // What follows on both sides is another protocol's.
                    self.done = [true; 2];
                    return;
                }
                Outcome::Unrecoverable => {
                    self.done[side as usize] = true;
                    return;
                }
            }
        }
        unread.drain(..used);
        let most = self.protocol.buffer_bytes_max;
        assert!(unread.len() <= most, "{} bytes wait for more; it says {most} at most", unread.len());
        self.unread[side as usize] = unread;
    }

    fn gap(&mut self, side: Side, missing: u64) {
        if self.done[side as usize] || missing == 0 {
            return;
        }
        let held = std::mem::take(&mut self.unread[side as usize]).len() as u64;
        self.with(|dissector, cx| dissector.gap(cx, side, held + missing));
    }
}
