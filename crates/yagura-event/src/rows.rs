//! One struct and one columnar builder for each kind of row.
//!
//! The structs borrow: a dissector fills one from the packet's bytes and pushes it, and only
//! the builder copies. [`Row`] is what a dissector or collector emits, [`RowSink`] takes it.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Builder, Int64Builder, RecordBatch, StringBuilder, TimestampMicrosecondBuilder,
    UInt8Builder, UInt16Builder, UInt32Builder, UInt64Builder,
};
use arrow::datatypes::{DataType, Field};

use crate::clock::Micros;
use crate::dictionary::DictionaryColumn;
use crate::schema::{Kind, dictionary_type, timestamp_type};

/// Where dissectors and collectors put what they found.
pub trait RowSink {
    /// Takes one row. Order is kept.
    fn push(&mut self, row: Row<'_>);

    /// Whether nothing more is wanted: a source may stop.
    fn is_done(&self) -> bool {
        false
    }
}

impl RowSink for Vec<OwnedRow> {
    fn push(&mut self, row: Row<'_>) {
        self.push(OwnedRow::from(row));
    }
}

/// Declares a row's struct, its Arrow fields and its builder from one list of columns.
macro_rules! row {
    (
        $(#[$meta:meta])*
        $row:ident, $builder:ident, $kind:expr, { $( $(#[$fmeta:meta])* $name:ident : $ty:tt ),* $(,)? }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq)]
        pub struct $row<'a> {
            $( $(#[$fmeta])* pub $name: row!(@rust $ty), )*
            #[doc(hidden)]
            pub _borrow: std::marker::PhantomData<&'a ()>,
        }

        impl $row<'_> {
            /// The Arrow fields of this kind, in order.
            pub fn fields() -> Vec<Field> {
                vec![ $( Field::new(stringify!($name), row!(@arrow $ty), row!(@null $ty)), )* ]
            }
        }

        #[doc = concat!("Columns for [`", stringify!($row), "`]s.")]
        #[derive(Default)]
        pub struct $builder {
            rows: usize,
            /// Rows of the batch before: the next has room for as many from its first row on.
            before: usize,
            $( $name: row!(@builder $ty), )*
        }

        impl $builder {
            /// Adds one row.
            pub fn push(&mut self, row: &$row<'_>) {
                if self.rows == 0 && self.before > 0 {
                    $( row!(@reserve $ty, self.$name, self.before); )*
                }
                self.rows += 1;
                $( row!(@append $ty, self.$name, row.$name); )*
            }

            /// How many rows there are.
            pub fn len(&self) -> usize { self.rows }

            /// Whether there is none.
            pub fn is_empty(&self) -> bool { self.rows == 0 }

            /// The rows so far as one batch; the builder is empty afterwards.
            pub fn finish(&mut self) -> RecordBatch {
                self.before = std::mem::take(&mut self.rows);
                let columns: Vec<ArrayRef> = vec![ $( row!(@finish $ty, self.$name), )* ];
                RecordBatch::try_new($kind.schema(), columns)
                    .unwrap_or_else(|_| RecordBatch::new_empty($kind.schema()))
            }
        }
    };
    (@rust time) => { Micros };
    (@rust dict) => { &'a str };
    (@rust text) => { &'a str };
    (@rust f64) => { f64 };
    (@rust u8) => { u8 };
    (@rust u16) => { u16 };
    (@rust u32) => { u32 };
    (@rust u64) => { u64 };
    (@rust (f64)) => { Option<f64> };
    (@rust (i64)) => { Option<i64> };
    (@rust (u64)) => { Option<u64> };
    (@arrow time) => { timestamp_type() };
    (@arrow dict) => { dictionary_type() };
    (@arrow text) => { DataType::Utf8 };
    (@arrow f64) => { DataType::Float64 };
    (@arrow u8) => { DataType::UInt8 };
    (@arrow u16) => { DataType::UInt16 };
    (@arrow u32) => { DataType::UInt32 };
    (@arrow u64) => { DataType::UInt64 };
    (@arrow (f64)) => { DataType::Float64 };
    (@arrow (i64)) => { DataType::Int64 };
    (@arrow (u64)) => { DataType::UInt64 };
    (@null ($ty:tt)) => { true };
    (@null $ty:tt) => { false };
    (@builder time) => { TimestampMicrosecondBuilder };
    (@builder dict) => { DictionaryColumn };
    (@builder text) => { StringBuilder };
    (@builder f64) => { Float64Builder };
    (@builder u8) => { UInt8Builder };
    (@builder u16) => { UInt16Builder };
    (@builder u32) => { UInt32Builder };
    (@builder u64) => { UInt64Builder };
    (@builder (f64)) => { Float64Builder };
    (@builder (i64)) => { Int64Builder };
    (@builder (u64)) => { UInt64Builder };
    (@reserve dict, $b:expr, $n:expr) => { $b.reserve($n) };
    (@reserve text, $b:expr, $n:expr) => { $b = StringBuilder::with_capacity($n, 16 * $n) };
    (@reserve time, $b:expr, $n:expr) => { $b = TimestampMicrosecondBuilder::with_capacity($n) };
    (@reserve f64, $b:expr, $n:expr) => { $b = Float64Builder::with_capacity($n) };
    (@reserve u8, $b:expr, $n:expr) => { $b = UInt8Builder::with_capacity($n) };
    (@reserve u16, $b:expr, $n:expr) => { $b = UInt16Builder::with_capacity($n) };
    (@reserve u32, $b:expr, $n:expr) => { $b = UInt32Builder::with_capacity($n) };
    (@reserve u64, $b:expr, $n:expr) => { $b = UInt64Builder::with_capacity($n) };
    (@reserve (f64), $b:expr, $n:expr) => { $b = Float64Builder::with_capacity($n) };
    (@reserve (i64), $b:expr, $n:expr) => { $b = Int64Builder::with_capacity($n) };
    (@reserve (u64), $b:expr, $n:expr) => { $b = UInt64Builder::with_capacity($n) };
    (@append dict, $b:expr, $v:expr) => { $b.append($v) };
    (@append (f64), $b:expr, $v:expr) => { $b.append_option($v) };
    (@append (i64), $b:expr, $v:expr) => { $b.append_option($v) };
    (@append (u64), $b:expr, $v:expr) => { $b.append_option($v) };
    (@append $ty:tt, $b:expr, $v:expr) => { $b.append_value($v) };
    (@finish time, $b:expr) => { Arc::new($b.finish().with_timezone("UTC")) };
    (@finish $ty:tt, $b:expr) => { Arc::new($b.finish()) };
}

row! {
    /// One exchange of an application protocol: a request with its reply, or the one of the two
    /// that was seen. It is emitted when it is complete (reply, time-out or end of the flow), so
    /// a write and its answer are one row and raise one alert.
    MessageRow, MessageBuilder, Kind::Message, {
        /// When the request (or the only message) was on the wire.
        time: time,
        /// The collector's clock when the row became complete.
        observed: time,
        /// Stable id of the connection: the same in every record about it.
        flow: u64,
        /// `hsms`, `modbus`, …
        protocol: dict,
        /// See [`crate::vocabulary::operation`].
        operation: dict,
        /// The protocol's own name: `S7F3`, `write_multiple_registers`, `Select.req`.
        function: dict,
        /// The equipment's name from the asset table; its address where the table has none.
        tool: dict,
        /// Who asked: address.
        client: dict,
        /// Who asked: port.
        client_port: u16,
        /// Who was asked: address.
        server: dict,
        /// Who was asked: port.
        server_port: u16,
        /// Area of the asker, see [`crate::vocabulary::area`].
        client_area: dict,
        /// Area of the asked.
        server_area: dict,
        /// Who opened the connection, when that differs in meaning: `client` or `server`.
        initiator: dict,
        /// Device or session id of the protocol (Modbus unit, HSMS session).
        session: dict,
        /// What it is about: recipe name, register range, remote command, alarm id.
        target: dict,
        /// The value, where there is exactly one number.
        value: (f64),
        /// All values as compact JSON, cut at 4 KiB (`detail` says so).
        values: text,
        /// How many values or items.
        count: u32,
        /// See [`crate::vocabulary::status`].
        status: dict,
        /// The protocol's own code for the status: `HCACK=2`, `illegal_data_address`.
        status_code: dict,
        /// From request to reply, in microseconds.
        latency_us: (i64),
        /// `pair`, `request` (no reply seen) or `reply` (no request seen).
        exchange: dict,
        /// HMAC-SHA-256 of a recipe body under the plant's key, hexadecimal. The body itself is not kept.
        body_hmac: text,
        /// Length of that body in bytes.
        body_bytes: (u64),
        /// Anything else worth keeping, as a compact JSON object.
        detail: text,
    }
}

row! {
    /// A connection's (TCP) or conversation's (UDP) life, emitted at its end; of one that lasts, also
    /// once while it is open.
    FlowRow, FlowBuilder, Kind::Flow, {
        /// First packet.
        time: time,
        /// Last packet.
        observed: time,
        /// Stable id.
        flow: u64,
        /// `tcp`, `udp`, `ip` (another protocol on IP) or `link` (a frame that is not IP).
        transport: dict,
        /// The application protocol found in it; empty when unknown.
        protocol: dict,
        /// The protocol that is customary on the server's port; empty for none. Where it is another
        /// one than `protocol`, something runs where it is not expected.
        customary: dict,
        /// Who opened it.
        client: dict,
        /// Its port.
        client_port: u16,
        /// The other end.
        server: dict,
        /// Its port.
        server_port: u16,
        /// Hardware address of the opener, if seen.
        client_mac: dict,
        /// Hardware address of the other end.
        server_mac: dict,
        /// Outermost VLAN id; 0 for none.
        vlan: u16,
        /// Packets from the opener.
        client_packets: u64,
        /// Packets from the other end.
        server_packets: u64,
        /// Payload bytes from the opener.
        client_bytes: u64,
        /// Payload bytes from the other end.
        server_bytes: u64,
        /// Payload bytes known to be missing.
        missing_bytes: u64,
        /// `open`, `closed`, `reset`, `timeout`, `end` (the source ended), `evicted`.
        state: dict,
    }
}

row! {
    /// The names behind a dense series number of one (collector, epoch).
    SeriesRow, SeriesBuilder, Kind::Series, {
        /// The dense number.
        series: u32,
        /// Equipment.
        tool: dict,
        /// Chamber or module; empty for none.
        chamber: dict,
        /// Signal.
        signal: text,
        /// Unit, empty when unknown.
        unit: dict,
        /// Class of the signal (`flow`, `pressure`, `temperature`, …); empty when unknown.
        class: dict,
        /// Where it comes from: `modbus 10.1.2.3:502/1 holding 40001`.
        source: text,
    }
}

row! {
    /// One value of one signal. No string is touched for it.
    SampleRow, SampleBuilder, Kind::Sample, {
        /// The dense number that a series row defined.
        series: u32,
        /// The device's time.
        time: time,
        /// The value; NaN where the device said that it has none.
        value: f64,
        /// 0 good, 1 uncertain, 2 bad.
        quality: u8,
    }
}

impl SampleBuilder {
    /// Adds values of one series that are equally good. As many times as values.
    pub fn extend(&mut self, series: u32, quality: u8, times: &[Micros], values: &[f64]) {
        const CHUNK: usize = 256;
        let (numbers, qualities) = ([series; CHUNK], [quality; CHUNK]);
        for (times, values) in times.chunks(CHUNK).zip(values.chunks(CHUNK)) {
            self.series.append_slice(&numbers[..times.len()]);
            self.quality.append_slice(&qualities[..times.len()]);
            self.time.append_slice(times);
            self.value.append_slice(values);
        }
        self.rows += times.len();
    }
}

row! {
    /// What a device says it is.
    IdentityRow, IdentityBuilder, Kind::Identity, {
        /// When it said so.
        time: time,
        /// The collector's clock.
        observed: time,
        /// The device's address.
        address: dict,
        /// Its name in the asset table.
        tool: dict,
        /// By which protocol.
        protocol: dict,
        /// Maker.
        vendor: dict,
        /// Model (GEM: MDLN).
        model: dict,
        /// Firmware or software revision (GEM: SOFTREV).
        firmware: dict,
        /// Serial number.
        serial: text,
        /// Host or user-given name.
        name: text,
        /// Anything else as JSON.
        detail: text,
    }
}

row! {
    /// A log event with the four fields of SEMI E187 RQ-00012 (event type, description, user, time).
    LogRow, LogBuilder, Kind::Log, {
        /// The source's time.
        time: time,
        /// The collector's clock.
        observed: time,
        /// Equipment, host or door.
        tool: dict,
        /// Which log: `badge`, `access`, `configuration`, `error`, ….
        category: dict,
        /// Event type.
        event: dict,
        /// User account or badge holder.
        user: dict,
        /// Description.
        description: text,
        /// Anything else as JSON.
        detail: text,
    }
}

row! {
    /// What holds for a tool from a time on.
    ContextRow, ContextBuilder, Kind::Context, {
        /// From when on.
        time: time,
        /// The collector's clock.
        observed: time,
        /// Equipment.
        tool: dict,
        /// Chamber; empty for the whole tool.
        chamber: dict,
        /// `lot`, `recipe`, `step`, `badge`, `maintenance`.
        name: dict,
        /// The value; empty when it ends.
        value: dict,
        /// How it is known: `S6F11 CEID=…`, `badge log`.
        source: text,
    }
}

row! {
    /// What a collector did and did not see.
    CoverageRow, CoverageBuilder, Kind::Coverage, {
        /// From when on.
        time: time,
        /// Until when; the same as `time` for a moment.
        until: time,
        /// The collector's clock.
        observed: time,
        /// See [`crate::vocabulary::coverage`].
        event: dict,
        /// What it concerns: a file, an interface, a connection, a tool.
        subject: text,
        /// How many packets, bytes or frames.
        count: u64,
        /// In words, with the place (file and byte offset, frame number).
        detail: text,
    }
}

row! {
    /// A record that changes results, effective at its offset.
    ControlRow, ControlBuilder, Kind::Control, {
        /// When it was decided.
        time: time,
        /// The clock of who wrote it.
        observed: time,
        /// See [`crate::vocabulary::control`].
        action: dict,
        /// A detection, a collector, or `*`.
        subject: text,
        /// JSON.
        payload: text,
        /// Who.
        author: text,
    }
}

/// A value found on the wire, named; the writer gives it its series number.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MeasuredRow<'a> {
    /// Equipment (asset name or address).
    pub tool: &'a str,
    /// Chamber or module; empty for none.
    pub chamber: &'a str,
    /// Signal.
    pub signal: &'a str,
    /// Unit; empty when unknown.
    pub unit: &'a str,
    /// Class; empty when unknown.
    pub class: &'a str,
    /// Where it comes from.
    pub source: &'a str,
    /// The device's time.
    pub time: Micros,
    /// The collector's clock.
    pub observed: Micros,
    /// The value.
    pub value: f64,
    /// 0 good, 1 uncertain, 2 bad.
    pub quality: u8,
}

/// A row of any kind that a dissector or collector emits. Samples come as [`MeasuredRow`]s.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Row<'a> {
    /// An exchange.
    Message(&'a MessageRow<'a>),
    /// A connection.
    Flow(&'a FlowRow<'a>),
    /// A named value.
    Measured(&'a MeasuredRow<'a>),
    /// What a device says it is.
    Identity(&'a IdentityRow<'a>),
    /// A log event.
    Log(&'a LogRow<'a>),
    /// What holds from now on.
    Context(&'a ContextRow<'a>),
    /// What was and was not seen.
    Coverage(&'a CoverageRow<'a>),
    /// What changes results.
    Control(&'a ControlRow<'a>),
}

/// A [`Row`] that owns its strings, for tests: kind and columns as JSON.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnedRow {
    /// Kind; [`Kind::Sample`] for measured values.
    pub kind: Kind,
    /// The columns, by name.
    pub columns: serde_json::Map<String, serde_json::Value>,
}

impl OwnedRow {
    /// A column as text; empty when there is none.
    pub fn text(&self, column: &str) -> &str {
        self.columns.get(column).and_then(|v| v.as_str()).unwrap_or("")
    }

    /// A column as a number.
    pub fn number(&self, column: &str) -> Option<f64> {
        self.columns.get(column).and_then(|v| v.as_f64())
    }
}

impl From<Row<'_>> for OwnedRow {
    fn from(row: Row<'_>) -> Self {
        macro_rules! via {
            ($kind:expr, $builder:ident, $row:expr) => {{
                let mut builder = $builder::default();
                builder.push($row);
                let rows = crate::codec::to_json_rows(&builder.finish());
                OwnedRow { kind: $kind, columns: rows.into_iter().next().unwrap_or_default() }
            }};
        }
        match row {
            Row::Message(r) => via!(Kind::Message, MessageBuilder, r),
            Row::Flow(r) => via!(Kind::Flow, FlowBuilder, r),
            Row::Identity(r) => via!(Kind::Identity, IdentityBuilder, r),
            Row::Log(r) => via!(Kind::Log, LogBuilder, r),
            Row::Context(r) => via!(Kind::Context, ContextBuilder, r),
            Row::Coverage(r) => via!(Kind::Coverage, CoverageBuilder, r),
            Row::Control(r) => via!(Kind::Control, ControlBuilder, r),
            Row::Measured(r) => {
                let columns = serde_json::json!({
                    "tool": r.tool, "chamber": r.chamber, "signal": r.signal, "unit": r.unit,
                    "class": r.class, "source": r.source, "time": r.time, "observed": r.observed,
                    "value": r.value, "quality": r.quality,
                });
                let serde_json::Value::Object(columns) = columns else {
                    return OwnedRow { kind: Kind::Sample, columns: Default::default() };
                };
                OwnedRow { kind: Kind::Sample, columns }
            }
        }
    }
}
