//! Names and sizes of IEEE 1815: function codes, internal indications, status codes, objects.

use yagura_event::vocabulary::operation;

/// Name and operation of an application function code (clause 4.2.2.5).
pub(super) fn function(code: u8) -> Option<(&'static str, &'static str)> {
    Some(match code {
        0 => ("confirm", operation::SESSION_KEEP),
        1 => ("read", operation::READ),
        2 => ("write", operation::WRITE),
        3 => ("select", operation::CONTROL),
        4 => ("operate", operation::CONTROL),
        5 => ("direct_operate", operation::CONTROL),
        6 => ("direct_operate_nr", operation::CONTROL),
        7 => ("immed_freeze", operation::CONTROL),
        8 => ("immed_freeze_nr", operation::CONTROL),
        9 => ("freeze_clear", operation::CONTROL),
        10 => ("freeze_clear_nr", operation::CONTROL),
        11 => ("freeze_at_time", operation::CONTROL),
        12 => ("freeze_at_time_nr", operation::CONTROL),
        13 => ("cold_restart", operation::DIAGNOSE),
        14 => ("warm_restart", operation::DIAGNOSE),
        15 => ("initialize_data", operation::CONFIGURE),
        16 => ("initialize_appl", operation::CONTROL),
        17 => ("start_appl", operation::CONTROL),
        18 => ("stop_appl", operation::CONTROL),
        19 => ("save_config", operation::CONFIGURE),
        20 => ("enable_unsolicited", operation::CONFIGURE),
        21 => ("disable_unsolicited", operation::CONFIGURE),
        22 => ("assign_class", operation::CONFIGURE),
        23 => ("delay_measure", operation::DIAGNOSE),
        24 => ("record_current_time", operation::DIAGNOSE),
        25 => ("open_file", operation::PROGRAM_READ),
        26 => ("close_file", operation::SESSION_CLOSE),
        27 => ("delete_file", operation::PROGRAM_WRITE),
        28 => ("get_file_info", operation::DISCOVER),
        29 => ("authenticate_file", operation::AUTHENTICATE),
        30 => ("abort_file", operation::CONTROL),
        31 => ("activate_config", operation::CONFIGURE),
        32 => ("authenticate_req", operation::AUTHENTICATE),
        33 => ("auth_req_no_ack", operation::AUTHENTICATE),
        129 => ("response", operation::OTHER),
        130 => ("unsolicited_response", operation::REPORT),
        131 => ("authenticate_resp", operation::AUTHENTICATE),
        _ => return None,
    })
}

/// Whether an outstation stays silent after that function.
pub(super) fn without_response(function: u8) -> bool {
    matches!(function, 0 | 6 | 8 | 10 | 12 | 33)
}

/// Whether the objects of a request carry their data, or only say which are meant.
pub(super) fn request_has_data(function: u8) -> bool {
    matches!(function, 2..=6 | 25..=33)
}

/// Internal indications (clause 4.2.2.6), IIN1 in the low byte.
pub(super) const INDICATIONS: [(u16, &str); 14] = [
    (0x0001, "broadcast"),
    (0x0002, "class_1_events"),
    (0x0004, "class_2_events"),
    (0x0008, "class_3_events"),
    (0x0010, "need_time"),
    (0x0020, "local_control"),
    (0x0040, "device_trouble"),
    (0x0080, "device_restart"),
    (0x0100, "no_func_code_support"),
    (0x0200, "object_unknown"),
    (0x0400, "parameter_error"),
    (0x0800, "event_buffer_overflow"),
    (0x1000, "already_executing"),
    (0x2000, "config_corrupt"),
];

/// Those of them that refuse the request.
pub(super) const REFUSALS: u16 = 0x1700;

/// Status of a control (clause 11.9.7).
pub(super) fn control_status(code: u8) -> &'static str {
    match code {
        0 => "success",
        1 => "timeout",
        2 => "no_select",
        3 => "format_error",
        4 => "not_supported",
        5 => "already_active",
        6 => "hardware_error",
        7 => "local",
        8 => "too_many_objs",
        9 => "not_authorized",
        10 => "automation_inhibit",
        11 => "processing_limited",
        12 => "out_of_range",
        13 => "downstream_local",
        14 => "already_complete",
        15 => "blocked",
        16 => "cancelled",
        17 => "blocked_other_master",
        18 => "downstream_fail",
        126 => "non_participating",
        127 => "undefined",
        _ => "reserved",
    }
}

/// Status of a file command or transfer (group 70).
pub(super) fn file_status(code: u8) -> &'static str {
    match code {
        0 => "success",
        1 => "permission_denied",
        2 => "invalid_mode",
        3 => "file_not_found",
        4 => "file_locked",
        5 => "too_many_open",
        6 => "invalid_handle",
        7 => "write_block_size",
        8 => "comm_lost",
        9 => "cannot_abort",
        16 => "file_not_open",
        17 => "handle_expired",
        18 => "buffer_overrun",
        19 => "fatal_error",
        20 => "block_sequence",
        _ => "undefined",
    }
}

/// What a point of a group is called in a sample; none for what is no process value.
pub(super) fn point(group: u8) -> Option<&'static str> {
    Some(match group {
        1 | 2 => "binary_input",
        3 | 4 => "double_bit_binary_input",
        10 | 11 => "binary_output",
        20 | 22 => "counter",
        21 | 23 => "frozen_counter",
        30 | 32 => "analog_input",
        31 | 33 => "frozen_analog_input",
        40 | 42 => "analog_output",
        101 => "bcd",
        _ => return None,
    })
}

/// The number in a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Number {
    /// None.
    None,
    /// State in the flags' highest bit.
    State,
    /// State in the flags' two highest bits.
    DoubleState,
    U8,
    U16,
    U32,
    I16,
    I32,
    F32,
    F64,
    /// Packed decimal digits, that many bytes.
    Bcd(u8),
}

/// A time in a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stamp {
    None,
    /// Milliseconds since 1970, 48 bits.
    Absolute,
    /// Milliseconds since the last common time of occurrence.
    Relative,
}

/// How one object of a group and variation looks (Annex A of the standard).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// So many bits a point, packed.
    Bits(u8),
    /// Flags, a number and a time, each if it has one.
    Point { flags: bool, number: Number, stamp: Stamp },
    /// A number with the status of a control after it (`true`) or before it.
    Control { number: Number, stamp: Stamp, status_last: bool },
    /// Control relay output block.
    Crob,
    /// Time of that many bytes, of which the first six are one.
    Time(u8),
    /// So many bytes that are not looked into.
    Opaque(usize),
    /// Device attribute: type, length, value.
    Attribute,
    /// Without data of its own.
    Nothing,
    /// Only together with its size.
    Sized,
}

/// The shape of an object; none when the standard does not have it.
pub(super) fn shape(group: u8, variation: u8) -> Option<Shape> {
    use Number::*;
    use Shape::*;
    use Stamp::{Absolute, Relative};
    let plain = |number| Point { flags: false, number, stamp: Stamp::None };
    let flagged = |number| Point { flags: true, number, stamp: Stamp::None };
    let timed = |number| Point { flags: true, number, stamp: Absolute };
    let control = |number, stamp, status_last| Control { number, stamp, status_last };
    Some(match (group, variation) {
        (60, _) => Nothing,
        (0, 1..) => Attribute,
        (1 | 10 | 80, 1) | (12, 3) => Bits(1),
        (3, 1) => Bits(2),
        (1 | 10, 2) | (2 | 11, 1) => flagged(State),
        (2 | 11, 2) => timed(State),
        (2, 3) => Point { flags: true, number: State, stamp: Relative },
        (3, 2) | (4, 1) => flagged(DoubleState),
        (4, 2) => timed(DoubleState),
        (4, 3) => Point { flags: true, number: DoubleState, stamp: Relative },
        (12, 1 | 2) => Crob,
        (13, 1) => control(None, Stamp::None, false),
        (13, 2) => control(None, Absolute, false),
        (20..=23, 1 | 3) => flagged(U32),
        (20..=23, 2 | 4) => flagged(U16),
        (20, 5 | 7) | (21, 9 | 11) => plain(U32),
        (20, 6 | 8) | (21, 10 | 12) => plain(U16),
        (21..=23, 5 | 7) => timed(U32),
        (21..=23, 6 | 8) => timed(U16),
        (30..=33 | 40 | 42, 1) => flagged(I32),
        (30..=33 | 40 | 42, 2) => flagged(I16),
        (30, 3) | (31, 5) => plain(I32),
        (30, 4) | (31, 6) => plain(I16),
        (31 | 32 | 33 | 42, 3) => timed(I32),
        (31 | 32 | 33 | 42, 4) => timed(I16),
        (30 | 32 | 33 | 42, 5) | (31, 7) | (40, 3) => flagged(F32),
        (30 | 32 | 33 | 42, 6) | (31, 8) | (40, 4) => flagged(F64),
        (32 | 33 | 42, 7) => timed(F32),
        (32 | 33 | 42, 8) => timed(F64),
        (34, 1) => plain(U16),
        (34, 2) => plain(U32),
        (34, 3) => plain(F32),
        (41, 1) => control(I32, Stamp::None, true),
        (41, 2) => control(I16, Stamp::None, true),
        (41, 3) => control(F32, Stamp::None, true),
        (41, 4) => control(F64, Stamp::None, true),
        (43, 1) => control(I32, Stamp::None, false),
        (43, 2) => control(I16, Stamp::None, false),
        (43, 3) => control(I32, Absolute, false),
        (43, 4) => control(I16, Absolute, false),
        (43, 5) => control(F32, Stamp::None, false),
        (43, 6) => control(F64, Stamp::None, false),
        (43, 7) => control(F32, Absolute, false),
        (43, 8) => control(F64, Absolute, false),
        (50, 1 | 3) | (51, 1 | 2) => Time(6),
        (50, 2) => Time(10),
        (50, 4) => Time(11),
        (52, 1 | 2) => plain(U16),
        (81, 1) => Opaque(3),
        (101, 1) => plain(Bcd(2)),
        (101, 2) => plain(Bcd(4)),
        (101, 3) => plain(Bcd(8)),
        (102, 1) => plain(U8),
        (110..=113, _) => Opaque(variation as usize),
        (120, 3) => Opaque(6),
        (120, 4) => Opaque(2),
        (121 | 122, 1) => Opaque(7),
        (122, 2) => Opaque(13),
        (70, 1..=8) | (82 | 83 | 85 | 86 | 87 | 88 | 90 | 91 | 120, _) => Sized,
        _ => return Option::None,
    })
}
