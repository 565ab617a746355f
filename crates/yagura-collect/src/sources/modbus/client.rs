//! The only place that speaks to devices. What can be asked is [`Ask`]; nothing that writes can be expressed.

use std::io;
use std::time::Duration;

use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_modbus::client::{Client as _, Context, tcp};
use tokio_modbus::prelude::ReadCode;
use tokio_modbus::{Error, ProtocolError, Request, Response, Slave};

/// Answers that one identification may take.
const IDENTITY_ANSWERS_MAX: usize = 16;

/// The tables of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Table {
    /// Bits that can be written by others: function 1.
    Coil,
    /// Bits that are inputs: function 2.
    Discrete,
    /// Registers that can be written by others: function 3.
    Holding,
    /// Registers that are inputs: function 4.
    Input,
}

impl Table {
    /// What users write.
    pub fn name(self) -> &'static str {
        match self {
            Table::Coil => "coil",
            Table::Discrete => "discrete",
            Table::Holding => "holding",
            Table::Input => "input",
        }
    }

    /// Whether it holds bits.
    pub fn is_bits(self) -> bool {
        matches!(self, Table::Coil | Table::Discrete)
    }

    /// The first digit of its registers in the classic numbering.
    pub fn digit(self) -> u32 {
        match self {
            Table::Coil => 0,
            Table::Discrete => 1,
            Table::Holding => 4,
            Table::Input => 3,
        }
    }
}

/// A stretch of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// Which table.
    pub table: Table,
    /// The first, as it goes over the wire.
    pub start: u16,
    /// How many.
    pub count: u16,
}

impl Range {
    /// The one after the last.
    pub fn end(&self) -> u32 {
        u32::from(self.start) + u32::from(self.count)
    }
}

impl std::fmt::Display for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.count {
            1 => write!(f, "{} {}", self.table.name(), self.start),
            _ => write!(f, "{} {}..={}", self.table.name(), self.start, self.end().saturating_sub(1)),
        }
    }
}

/// All that a device can be asked.
#[derive(Clone, Copy, Debug)]
enum Ask {
    /// Functions 1 to 4.
    Read(Range),
    /// Function 43/14: who it is, from this object on.
    Identity(u8),
}

impl From<Ask> for Request<'static> {
    fn from(ask: Ask) -> Self {
        match ask {
            Ask::Read(Range { table: Table::Coil, start, count }) => Request::ReadCoils(start, count),
            Ask::Read(Range { table: Table::Discrete, start, count }) => {
                Request::ReadDiscreteInputs(start, count)
            }
            Ask::Read(Range { table: Table::Holding, start, count }) => {
                Request::ReadHoldingRegisters(start, count)
            }
            Ask::Read(Range { table: Table::Input, start, count }) => {
                Request::ReadInputRegisters(start, count)
            }
            Ask::Identity(object) => Request::ReadDeviceIdentification(ReadCode::Regular, object),
        }
    }
}

/// What a range holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// Registers.
    Words(Vec<u16>),
    /// Bits.
    Bits(Vec<bool>),
}

/// Why there is no answer of use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The device says no, by this exception.
    Exception(u8),
    /// The connection is of no more use: what comes on it may be the answer to something asked before.
    Lost(String),
}

/// Who a device says it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// VendorName.
    pub vendor: String,
    /// ProductCode.
    pub code: String,
    /// MajorMinorRevision.
    pub revision: String,
    /// VendorUrl, ProductName, ModelName, UserApplicationName, as far as it has them.
    pub more: [String; 4],
}

/// A connection to a device.
pub struct Client {
    context: Context,
    wait: Duration,
}

impl Client {
    /// Connects to `address` for a unit. Waits for it, and for each answer, at most for `wait`.
    pub async fn connect(address: &str, unit: u8, wait: Duration) -> Result<Client, String> {
        let stream = match timeout(wait, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(cause)) => return Err(format!("no connection: {cause}")),
            Err(_) => return Err(format!("no connection within {wait:?}")),
        };
        // Requests are small and each waits for its answer.
        stream.set_nodelay(true).map_err(|cause| format!("no connection: {cause}"))?;
        Ok(Client { context: tcp::attach_slave(stream, Slave(unit)), wait })
    }

    /// Reads a range.
    pub async fn read(&mut self, range: Range) -> Result<Held, Failure> {
        let count = usize::from(range.count);
        let held = match self.ask(Ask::Read(range)).await? {
            // The answer has whole bytes: what fills up the last one is cut off.
            Response::ReadCoils(mut bits) | Response::ReadDiscreteInputs(mut bits)
                if bits.len() >= count && bits.len() < count + 8 =>
            {
                bits.truncate(count);
                Held::Bits(bits)
            }
            Response::ReadHoldingRegisters(words) | Response::ReadInputRegisters(words)
                if words.len() == count =>
            {
                Held::Words(words)
            }
            _ => return Err(Failure::Lost(format!("the answer about {range} is of another size"))),
        };
        Ok(held)
    }

    /// Asks who it is; `None` when it does not say.
    pub async fn identify(&mut self) -> Result<Option<Identity>, Failure> {
        let mut identity = Identity::default();
        let mut next = 0;
        for _ in 0..IDENTITY_ANSWERS_MAX {
            let answer = match self.ask(Ask::Identity(next)).await {
                Ok(Response::ReadDeviceIdentification(answer)) => answer,
                Ok(_) => return Err(Failure::Lost("the answer is no identification".into())),
                Err(Failure::Exception(_)) => return Ok(None),
                Err(lost) => return Err(lost),
            };
            for object in answer.device_id_objects {
                let text = String::from_utf8_lossy(&object.value).trim_end_matches('\0').trim().to_string();
                match object.id {
                    0 => identity.vendor = text,
                    1 => identity.code = text,
                    2 => identity.revision = text,
                    id @ 3..=6 => identity.more[usize::from(id - 3)] = text,
                    _ => {}
                }
            }
            if !answer.more_follows {
                return Ok(Some(identity));
            }
            next = answer.next_object_id;
        }
        Err(Failure::Lost("the identification has no end".into()))
    }

    /// Sends one request and waits for its answer, which is known by its transaction.
    async fn ask(&mut self, ask: Ask) -> Result<Response, Failure> {
        match timeout(self.wait, self.context.call(ask.into())).await {
            Ok(Ok(Ok(answer))) => Ok(answer),
            Ok(Ok(Err(exception))) => Err(Failure::Exception(exception.into())),
            Ok(Err(error)) => Err(Failure::Lost(described(&error))),
            Err(_) => Err(Failure::Lost(format!("no answer within {:?}", self.wait))),
        }
    }
}

fn described(error: &Error) -> String {
    match error {
        Error::Protocol(ProtocolError::HeaderMismatch { .. }) => {
            "an answer to another request than the one that was sent".into()
        }
        Error::Protocol(ProtocolError::FunctionCodeMismatch { .. }) => {
            "an answer to another function than the one that was asked".into()
        }
        // The client takes the end of a connection for the last error of the system, which may be none.
        Error::Transport(cause) if cause.raw_os_error() == Some(0) => {
            "the device closed the connection".into()
        }
        Error::Transport(cause) if cause.kind() == io::ErrorKind::InvalidData => {
            format!("an answer that is not Modbus: {cause}")
        }
        Error::Transport(cause) => format!("the connection broke: {cause}"),
    }
}

/// What an exception means.
pub fn meaning(exception: u8) -> &'static str {
    match exception {
        1 => "illegal function: the device has no such table",
        2 => "illegal address: the map does not fit the device",
        3 => "illegal value: the device does not read so many at once",
        4 => "device failure: the device could not do it",
        5 => "acknowledge: the device works on it",
        6 => "busy: the device works on something else",
        8 => "parity error in the device's memory",
        10 => "the gateway has no path to the device",
        11 => "the device behind the gateway does not answer",
        _ => "an exception that the specification does not have",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_reading_can_be_sent() {
        let tables = [(Table::Coil, 1), (Table::Discrete, 2), (Table::Holding, 3), (Table::Input, 4)];
        let asked = tables.map(|(table, code)| (Ask::Read(Range { table, start: 7, count: 3 }), code));
        for (ask, code) in asked.into_iter().chain([(Ask::Identity(0), 43)]) {
            // A new way to ask has to be entered here.
            match ask {
                Ask::Read(Range {
                    table: Table::Coil | Table::Discrete | Table::Holding | Table::Input,
                    ..
                })
                | Ask::Identity(_) => {}
            }
            assert_eq!(Request::from(ask).function_code().value(), code, "{ask:?}");
        }
        // Requests are made from `Ask` alone, and nothing but this file can reach the library.
        let own = include_str!("client.rs").split("#[cfg(test)]").next().unwrap_or_default();
        assert_eq!(own.matches(".call(").count(), 1);
        for writing in ["Write", "Mask", "Custom", "Server"] {
            assert!(!own.contains(&format!("Request::{writing}")), "{writing}");
        }
        for (file, text) in [
            ("modbus.rs", include_str!("../modbus.rs")),
            ("device.rs", include_str!("device.rs")),
            ("map.rs", include_str!("map.rs")),
            ("plan.rs", include_str!("plan.rs")),
        ] {
            assert!(!text.contains("tokio_modbus"), "{file}");
        }
    }
}
