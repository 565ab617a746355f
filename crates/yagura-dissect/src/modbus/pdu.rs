//! What a PDU says (Modbus Application Protocol Specification V1.1b3): names, places, values.
//!
//! Addresses are those of the protocol: they count from 0. `holding_register 100` is what some
//! vendors print as 40101.

use yagura_event::clock::Micros;
use yagura_event::rows::{IdentityRow, MeasuredRow, Row};
use yagura_event::vocabulary::{operation, status};

use crate::{Cx, Side, json};

/// Most bytes of `values`; `detail` says when there were more.
const VALUES_BYTES_MAX: usize = 4096;

/// Which of the two a PDU may be, by its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Whether the function has a known shape.
    pub known: bool,
    /// May be a request.
    pub request: bool,
    /// May be a response.
    pub response: bool,
}

/// Judges a PDU of `length` bytes by its function and the byte after that.
pub fn shape(function: u8, length: usize, second: Option<u8>) -> Shape {
    let counted = second.is_some_and(|n| length == 2 + usize::from(n));
    let (request, response) = match function {
        1 | 2 => (length == 5, counted && length > 2),
        3 | 4 => (length == 5, counted && length > 2 && length.is_multiple_of(2)),
        5 | 6 => (length == 5, length == 5),
        7 => (length == 1, length == 2),
        8 => (length >= 5, length >= 5),
        11 => (length == 1, length == 5),
        12 => (length == 1, counted),
        15 => (length >= 7, length == 5),
        16 => (length >= 8, length == 5),
        17 => (length == 1, counted),
        20 => (counted && length >= 9, counted),
        21 => (counted && length >= 9, counted && length >= 9),
        22 => (length == 7, length == 7),
        23 => (length >= 12, counted),
        24 => (length == 3, length >= 5),
        43 => (matches!(second, Some(13 | 14)), matches!(second, Some(13 | 14))),
        0x80.. => (false, length == 2),
        _ => {
            return Shape { known: false, request: true, response: true };
        }
    };
    Shape { known: true, request, response }
}

/// The protocol's own name of a function; empty for one that the standard does not name.
fn name(function: u8) -> &'static str {
    match function {
        1 => "read_coils",
        2 => "read_discrete_inputs",
        3 => "read_holding_registers",
        4 => "read_input_registers",
        5 => "write_single_coil",
        6 => "write_single_register",
        7 => "read_exception_status",
        8 => "diagnostics",
        11 => "get_comm_event_counter",
        12 => "get_comm_event_log",
        15 => "write_multiple_coils",
        16 => "write_multiple_registers",
        17 => "report_server_id",
        20 => "read_file_record",
        21 => "write_file_record",
        22 => "mask_write_register",
        23 => "read_write_multiple_registers",
        24 => "read_fifo_queue",
        43 => "encapsulated_interface",
        90 => "vendor_program_transfer",
        _ => "",
    }
}

/// What a request does. Function 90 is Schneider's: its third byte tells reading from writing.
fn operation_of(pdu: &[u8]) -> &'static str {
    match pdu {
        [1..=4 | 24, ..] => operation::READ,
        [5 | 6 | 15 | 16 | 22 | 23, ..] => operation::WRITE,
        [7 | 8 | 11 | 12, ..] => operation::DIAGNOSE,
        [17, ..] | [43, 14, ..] => operation::DISCOVER,
        [20, ..] => operation::PROGRAM_READ,
        [21, ..] => operation::PROGRAM_WRITE,
        [90, _, 0x21 | 0x23 | 0x29..=0x32 | 0x36, ..] => operation::PROGRAM_WRITE,
        [90, _, 0x40 | 0x41, ..] => operation::CONTROL,
        [90, ..] => operation::PROGRAM_READ,
        _ => operation::OTHER,
    }
}

fn exception(code: u8) -> &'static str {
    match code {
        1 => "illegal_function",
        2 => "illegal_data_address",
        3 => "illegal_data_value",
        4 => "server_device_failure",
        5 => "acknowledge",
        6 => "server_device_busy",
        7 => "negative_acknowledge",
        8 => "memory_parity_error",
        10 => "gateway_path_unavailable",
        11 => "gateway_target_device_failed_to_respond",
        _ => "exception_outside_the_standard",
    }
}

fn diagnostic(sub: u16) -> &'static str {
    match sub {
        0 => "return_query_data",
        1 => "restart_communications",
        2 => "return_diagnostic_register",
        3 => "change_ascii_input_delimiter",
        4 => "force_listen_only_mode",
        10 => "clear_counters",
        11 => "return_bus_message_count",
        12 => "return_bus_communication_error_count",
        13 => "return_bus_exception_error_count",
        14 => "return_server_message_count",
        15 => "return_server_no_response_count",
        16 => "return_server_nak_count",
        17 => "return_server_busy_count",
        18 => "return_bus_character_overrun_count",
        20 => "clear_overrun_counter",
        _ => "reserved",
    }
}

fn table(function: u8) -> &'static str {
    match function {
        1 | 5 | 15 => "coil",
        2 => "discrete_input",
        4 => "input_register",
        24 => "fifo",
        _ => "holding_register",
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

/// Strings that rows are made of, kept from row to row.
#[derive(Default)]
pub struct Texts {
    function: String,
    session: String,
    target: String,
    values: String,
    detail: String,
    code: String,
    signal: String,
    source: String,
    /// What the numbers of an exchange are; kept for its space.
    numbers: Vec<u16>,
    count: u32,
    problem: String,
}

impl Texts {
    /// The row of a request, with its response or without one.
    pub fn exchange(
        &mut self,
        cx: &mut Cx<'_>,
        asker: Side,
        ids: (u16, u8),
        request: Option<(&[u8], Micros)>,
        response: Option<&[u8]>,
    ) {
        let Some((asked, time)) = request else { return };
        self.clear(ids, asked[0]);
        self.name(asked);
        self.request(asked);
        let mut state = status::NO_REPLY;
        if let Some(reply) = response {
            state = self.reply(asked, reply);
            if self.problem.is_empty() && reply[0] < 0x80 {
                self.read_values(cx, asker, ids.1, asked, time);
                self.identity(cx, asker, reply);
            }
        }
        let exchange = if response.is_some() { "pair" } else { "request" };
        let latency = response.map(|_| cx.time - time);
        self.emit(cx, asker, operation_of(asked), state, exchange, (time, latency));
    }

    /// The row of a response whose request was not seen; `other` is the function of the request
    /// that does wait under its transaction.
    pub fn unasked(&mut self, cx: &mut Cx<'_>, asker: Side, ids: (u16, u8), pdu: &[u8], other: Option<u8>) {
        let function = pdu[0] & 0x7f;
        self.clear(ids, function);
        self.name(pdu);
        let mut state = status::UNASKED;
        if let Some(other) = other {
            self.problem = format!("response of function {function} to a request of function {other}");
        }
        if pdu[0] >= 0x80 {
            self.exception(pdu);
        } else {
            self.reply_alone(pdu);
            self.identity(cx, asker, pdu);
        }
        if !self.problem.is_empty() {
            state = status::MALFORMED;
        }
        self.emit(cx, asker, operation_of(&[function]), state, "reply", (cx.time, None));
    }

    fn clear(&mut self, (transaction, unit): (u16, u8), function: u8) {
        for text in [
            &mut self.function,
            &mut self.session,
            &mut self.target,
            &mut self.values,
            &mut self.detail,
            &mut self.code,
            &mut self.problem,
        ] {
            text.clear();
        }
        self.numbers.clear();
        self.count = 0;
        json::push_number(&mut self.session, u64::from(unit));
        json::member_number(&mut self.detail, "transaction", u64::from(transaction));
        json::member_number(&mut self.detail, "function", u64::from(function));
    }

    fn name(&mut self, pdu: &[u8]) {
        let function = pdu[0] & 0x7f;
        match (name(function), pdu.get(1)) {
            ("", _) => {
                self.function.push_str("function_");
                json::push_number(&mut self.function, u64::from(function));
            }
            (_, Some(14)) if pdu[0] == 43 => self.function.push_str("read_device_identification"),
            (_, Some(13)) if pdu[0] == 43 => self.function.push_str("canopen_general_reference"),
            (known, _) => self.function.push_str(known),
        }
    }

    fn place(&mut self, function: u8, first: u16, count: u16) {
        self.target.push_str(table(function));
        self.target.push(' ');
        json::push_number(&mut self.target, u64::from(first));
        if count > 1 {
            self.target.push_str("..");
            // The specification's addresses end at 65535; a request may still claim more.
            json::push_number(&mut self.target, u64::from(first) + u64::from(count) - 1);
        }
        self.count = u32::from(count);
    }

    fn wrong(&mut self, problem: &str) {
        if self.problem.is_empty() {
            self.problem.push_str(problem);
        }
    }

    /// Reads a request: what it is about, and the values that it writes.
    fn request(&mut self, pdu: &[u8]) {
        let function = pdu[0];
        if !shape(function, pdu.len(), pdu.get(1).copied()).request {
            self.wrong("the request's length does not fit its function");
        }
        match (function, word(pdu, 1), word(pdu, 3)) {
            (1..=4, Some(first), Some(count)) => {
                self.place(function, first, count);
                let most = if function <= 2 { 2000 } else { 125 };
                self.check_range(first, count, most);
            }
            (5, Some(first), Some(value)) => {
                self.place(function, first, 1);
                self.numbers.push(u16::from(value == 0xff00));
                if value != 0xff00 && value != 0 {
                    self.wrong("a coil is written with neither FF00 nor 0000");
                }
            }
            (6, Some(first), Some(value)) => {
                self.place(function, first, 1);
                self.numbers.push(value);
            }
            (15, Some(first), Some(count)) => {
                self.place(function, first, count);
                self.check_range(first, count, 1968);
                let bytes = pdu.get(6..).unwrap_or_default();
                self.check_bytes(pdu.get(5), bytes, usize::from(count).div_ceil(8));
                self.push_bits(bytes, count);
            }
            (16, Some(first), Some(count)) => {
                self.place(function, first, count);
                self.check_range(first, count, 123);
                let bytes = pdu.get(6..).unwrap_or_default();
                self.check_bytes(pdu.get(5), bytes, 2 * usize::from(count));
                self.push_words(bytes);
            }
            (22, Some(first), Some(and)) => {
                self.place(function, first, 1);
                json::member_number(&mut self.detail, "and_mask", u64::from(and));
                json::member_number(&mut self.detail, "or_mask", u64::from(word(pdu, 5).unwrap_or(0)));
            }
            (23, Some(first), Some(count)) => {
                let (to, many) = (word(pdu, 5).unwrap_or(0), word(pdu, 7).unwrap_or(0));
                self.place(function, to, many);
                self.check_range(to, many, 121);
                self.check_range(first, count, 125);
                json::member_number(&mut self.detail, "read_address", u64::from(first));
                json::member_number(&mut self.detail, "read_quantity", u64::from(count));
                let bytes = pdu.get(10..).unwrap_or_default();
                self.check_bytes(pdu.get(9), bytes, 2 * usize::from(many));
                self.push_words(bytes);
            }
            (24, Some(first), _) => self.place(function, first, 1),
            (8, Some(sub), _) => {
                json::member_number(&mut self.detail, "sub_function", u64::from(sub));
                json::member_text(&mut self.detail, "sub_function_name", diagnostic(sub));
                self.target.push_str(diagnostic(sub));
                self.data(&pdu[3..]);
            }
            (20 | 21, ..) => self.files(pdu),
            (43, ..) => {
                json::member_number(&mut self.detail, "mei", u64::from(pdu.get(1).copied().unwrap_or(0)));
                self.data(pdu.get(2..).unwrap_or_default());
            }
            (90, ..) => {
                json::member_number(
                    &mut self.detail,
                    "vendor_code",
                    u64::from(pdu.get(2).copied().unwrap_or(0)),
                );
                self.count = pdu.len() as u32;
            }
            (7 | 11 | 12 | 17, ..) => {}
            _ => self.data(&pdu[1..]),
        }
    }

    /// Bytes without a meaning of their own, in `detail`.
    fn data(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            json::key(&mut self.detail, "data");
            json::push_hex(&mut self.detail, bytes);
        }
    }

    fn check_range(&mut self, first: u16, count: u16, most: u16) {
        if count == 0 || count > most {
            self.wrong("the quantity is outside the function's range");
        } else if u32::from(first) + u32::from(count) > 65536 {
            self.wrong("the range ends beyond address 65535");
        }
    }

    fn check_bytes(&mut self, said: Option<&u8>, bytes: &[u8], expected: usize) {
        if said.map(|&n| usize::from(n)) != Some(expected) || bytes.len() != expected {
            self.wrong("the byte count does not fit the quantity");
        }
    }

    fn push_bits(&mut self, bytes: &[u8], count: u16) {
        let bits = bytes.iter().flat_map(|b| (0..8).map(move |i| u16::from(b >> i & 1)));
        self.numbers.extend(bits.take(usize::from(count)));
    }

    fn push_words(&mut self, bytes: &[u8]) {
        self.numbers.extend(bytes.as_chunks::<2>().0.iter().map(|b| u16::from_be_bytes(*b)));
    }

    /// File, record and length of each sub-request of functions 20 and 21.
    fn files(&mut self, pdu: &[u8]) {
        let mut rest = pdu.get(2..).unwrap_or_default();
        while let [kind, f1, f0, r1, r0, l1, l0, after @ ..] = rest {
            if *kind != 6 {
                self.wrong("a file record's reference type is not 6");
            }
            if !self.target.is_empty() {
                self.target.push(',');
            }
            self.target.push_str("file ");
            json::push_number(&mut self.target, u64::from(u16::from_be_bytes([*f1, *f0])));
            self.target.push('/');
            json::push_number(&mut self.target, u64::from(u16::from_be_bytes([*r1, *r0])));
            self.count += u32::from(u16::from_be_bytes([*l1, *l0]));
            let data = if pdu[0] == 21 { 2 * usize::from(u16::from_be_bytes([*l1, *l0])) } else { 0 };
            rest = match after.get(data..) {
                Some(rest) => rest,
                None => {
                    self.wrong("a file record ends early");
                    &[]
                }
            };
        }
        if !rest.is_empty() {
            self.wrong("a file record ends early");
        }
    }

    /// Reads a response beside its request; gives the exchange's status.
    fn reply(&mut self, asked: &[u8], reply: &[u8]) -> &'static str {
        if reply[0] >= 0x80 {
            self.exception(reply);
            // The device has taken it and is at work: the one exception that refuses nothing.
            let taken = reply.get(1) == Some(&5);
            return match (self.problem.is_empty(), taken) {
                (false, _) => status::MALFORMED,
                (_, true) => status::OK,
                _ => status::DENIED,
            };
        }
        if !shape(reply[0], reply.len(), reply.get(1).copied()).response {
            self.wrong("the response's length does not fit its function");
        }
        let count = word(asked, 3).unwrap_or(0);
        let bytes = reply.get(2..).unwrap_or_default();
        match reply[0] {
            1 | 2 => {
                self.check_reply_bytes(bytes, usize::from(count).div_ceil(8));
                self.push_bits(bytes, count);
            }
            3 | 4 => {
                self.check_reply_bytes(bytes, 2 * usize::from(count));
                self.push_words(bytes);
            }
            23 => {
                self.check_reply_bytes(bytes, 2 * usize::from(count));
                self.numbers.clear();
                self.push_words(bytes);
                // What was read are the row's values; what was written stands beside them.
                if let Some(written) = asked.get(10..) {
                    json::key(&mut self.detail, "written");
                    json::push_hex(&mut self.detail, written);
                }
            }
            5 | 6 | 15 | 16 => {
                if reply.get(1..5) != asked.get(1..5) {
                    self.wrong("the response does not repeat the request's address and value");
                }
            }
            22 if reply != asked => self.wrong("the response does not repeat the request"),
            8 if reply.get(1..3) != asked.get(1..3) => self.wrong("the response is of another sub-function"),
            // Counters and the diagnostic register; the other sub-functions repeat the request.
            8 if matches!(word(reply, 1), Some(2 | 11..=18)) => self.numbers.extend(word(reply, 3)),
            8 | 22 => {}
            _ => self.reply_alone(reply),
        }
        if self.problem.is_empty() { status::OK } else { status::MALFORMED }
    }

    fn check_reply_bytes(&mut self, bytes: &[u8], expected: usize) {
        if bytes.len() != expected {
            self.wrong("the response's byte count does not fit the quantity asked for");
        }
    }

    fn exception(&mut self, reply: &[u8]) {
        if let Some(&code) = reply.get(1) {
            self.code.push_str(exception(code));
            json::member_number(&mut self.detail, "exception", u64::from(code));
        }
        if reply.len() != 2 {
            self.wrong("an exception response has not two bytes");
        }
    }

    /// What a response says without its request.
    fn reply_alone(&mut self, reply: &[u8]) {
        let bytes = reply.get(2..).unwrap_or_default();
        match (reply[0], word(reply, 1), word(reply, 3)) {
            (1 | 2, ..) => self.data(bytes),
            (3 | 4 | 23, ..) => {
                self.push_words(bytes);
                self.count = self.numbers.len() as u32;
            }
            (5, Some(first), Some(value)) => {
                self.place(5, first, 1);
                self.numbers.push(u16::from(value == 0xff00));
            }
            (6, Some(first), Some(value)) => {
                self.place(6, first, 1);
                self.numbers.push(value);
            }
            (15 | 16, Some(first), Some(count)) => self.place(reply[0], first, count),
            (7, ..) => self.numbers.extend(reply.get(1).map(|&b| u16::from(b))),
            (11, Some(state), Some(events)) => {
                json::member_number(&mut self.detail, "state", u64::from(state));
                self.numbers.push(events);
            }
            (24, _, Some(count)) => {
                let words = reply.get(5..).unwrap_or_default();
                if words.len() != 2 * usize::from(count) {
                    self.wrong("the queue's byte count does not fit its length");
                }
                self.push_words(words);
                self.count = self.numbers.len() as u32;
            }
            (8, Some(sub), _) => {
                self.target.push_str(diagnostic(sub));
                json::member_number(&mut self.detail, "sub_function", u64::from(sub));
            }
            // Bodies of files and programs are the plant's secrets: their length is enough.
            (20 | 21 | 90, ..) => json::member_number(&mut self.detail, "reply_bytes", reply.len() as u64),
            (17 | 43, ..) => {}
            _ => {
                json::key(&mut self.detail, "reply_data");
                json::push_hex(&mut self.detail, &reply[1..]);
            }
        }
    }

    /// What was read, one value a row.
    fn read_values(&mut self, cx: &mut Cx<'_>, asker: Side, unit: u8, asked: &[u8], time: Micros) {
        if !matches!(asked[0], 1..=4 | 23) {
            return;
        }
        let Some(first) = word(asked, 1) else { return };
        let device = cx.flow.end(asker.other());
        self.source.clear();
        self.source.push_str("modbus ");
        self.source.push_str(&device.address);
        self.source.push(':');
        json::push_number(&mut self.source, u64::from(device.port));
        self.source.push('/');
        json::push_number(&mut self.source, u64::from(unit));
        self.signal.clear();
        self.signal.push_str(table(asked[0]));
        self.signal.push(' ');
        let stem = self.signal.len();
        // The value held when the device answered.
        let at = cx.time.max(time);
        for (offset, &number) in self.numbers.iter().enumerate() {
            self.signal.truncate(stem);
            json::push_number(&mut self.signal, u64::from(first) + offset as u64);
            cx.out.push(Row::Measured(&MeasuredRow {
                tool: device.name(),
                signal: &self.signal,
                source: &self.source,
                time: at,
                observed: cx.observed,
                value: f64::from(number),
                ..MeasuredRow::default()
            }));
        }
    }

    /// What functions 17 and 43/14 say of the device.
    fn identity(&mut self, cx: &mut Cx<'_>, asker: Side, reply: &[u8]) {
        let device = cx.flow.end(asker.other());
        let mut row = IdentityRow {
            time: cx.time,
            observed: cx.observed,
            address: &device.address,
            tool: device.name(),
            protocol: "modbus",
            ..IdentityRow::default()
        };
        let mut detail = String::new();
        match reply {
            [17, count, data @ ..] if usize::from(*count) == data.len() => {
                // Id and run indicator have no lengths of their own: the text is what is printable.
                let from = data.iter().rposition(|b| !(0x20..0x7f).contains(b)).map_or(0, |i| i + 1);
                row.model = std::str::from_utf8(&data[from..]).unwrap_or_default();
                json::key(&mut detail, "server_id");
                json::push_hex(&mut detail, data);
                json::end(&mut detail);
                row.detail = &detail;
                cx.out.push(Row::Identity(&row));
            }
            [43, 14, _, _, _, _, objects, list @ ..] => {
                let mut rest = list;
                for _ in 0..*objects {
                    let [id, length, after @ ..] = rest else {
                        self.wrong("an identification object ends early");
                        break;
                    };
                    let Some((text, after)) = after.split_at_checked(usize::from(*length)) else {
                        self.wrong("an identification object ends early");
                        break;
                    };
                    rest = after;
                    let readable = std::str::from_utf8(text).unwrap_or_default();
                    match id {
                        0 => row.vendor = readable,
                        1 => row.serial = readable,
                        2 => row.firmware = readable,
                        4 => row.name = readable,
                        5 => row.model = readable,
                        _ => {}
                    }
                    let mut name = String::from("object_");
                    json::push_number(&mut name, u64::from(*id));
                    json::member_text(&mut detail, &name, &String::from_utf8_lossy(text));
                    self.count += 1;
                }
                // The product code is no serial number: it names what the model name does not.
                if row.model.is_empty() {
                    row.model = row.serial;
                }
                row.serial = "";
                self.values.push_str(&detail);
                json::end(&mut self.values);
                json::end(&mut detail);
                row.detail = &detail;
                cx.out.push(Row::Identity(&row));
            }
            _ => {}
        }
    }

    fn emit(
        &mut self,
        cx: &mut Cx<'_>,
        asker: Side,
        operation: &str,
        state: &str,
        exchange: &str,
        (time, latency): (Micros, Option<Micros>),
    ) {
        if !self.numbers.is_empty() {
            self.values.push('[');
            for (index, &number) in self.numbers.iter().enumerate() {
                if self.values.len() > VALUES_BYTES_MAX - 8 {
                    json::member_bool(&mut self.detail, "values_cut", true);
                    break;
                }
                if index > 0 {
                    self.values.push(',');
                }
                json::push_number(&mut self.values, u64::from(number));
            }
            self.values.push(']');
            // What a request names stands: function 23 reads more or fewer registers than it writes.
            if self.count == 0 {
                self.count = self.numbers.len() as u32;
            }
        }
        if !self.problem.is_empty() {
            json::member_text(&mut self.detail, "problem", &self.problem);
        }
        json::end(&mut self.detail);
        // A request that breaks the protocol is malformed, whether or not anybody answered.
        let state = if self.problem.is_empty() { state } else { status::MALFORMED };
        let mut row = cx.flow.message("modbus", asker, asker.other());
        row.time = time;
        row.observed = cx.observed;
        row.operation = operation;
        row.function = &self.function;
        row.session = &self.session;
        row.target = &self.target;
        row.value = if let [one] = self.numbers[..] { Some(f64::from(one)) } else { None };
        row.values = &self.values;
        row.count = self.count;
        row.status = state;
        row.status_code = &self.code;
        row.latency_us = latency;
        row.exchange = exchange;
        row.detail = &self.detail;
        cx.out.push(Row::Message(&row));
    }
}
