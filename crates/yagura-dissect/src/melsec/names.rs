//! Names: commands, devices, end codes.

use std::fmt::Write;

use yagura_event::vocabulary::operation;

/// What a command does, and its name (SLMP reference manual, chapter 5).
pub fn command(code: u16) -> Option<(&'static str, &'static str)> {
    Some(match code {
        0x0101 => (operation::DISCOVER, "read_type_name"),
        0x0401 => (operation::READ, "device_read"),
        0x0403 => (operation::READ, "device_read_random"),
        0x0406 => (operation::READ, "device_read_block"),
        0x041a => (operation::READ, "array_label_read"),
        0x041c => (operation::READ, "label_read_random"),
        0x0601 => (operation::READ, "extend_unit_read"),
        0x0613 => (operation::READ, "memory_read"),
        0x0619 => (operation::DIAGNOSE, "self_test"),
        0x0801 => (operation::CONFIGURE, "entry_monitor_device"),
        0x0802 => (operation::READ, "execute_monitor"),
        0x0e30 => (operation::DISCOVER, "node_search"),
        0x0e31 => (operation::CONFIGURE, "ip_address_set"),
        0x1001 => (operation::CONTROL, "remote_run"),
        0x1002 => (operation::CONTROL, "remote_stop"),
        0x1003 => (operation::CONTROL, "remote_pause"),
        0x1005 => (operation::CONTROL, "remote_latch_clear"),
        0x1006 => (operation::CONTROL, "remote_reset"),
        0x1401 => (operation::WRITE, "device_write"),
        0x1402 => (operation::WRITE, "device_write_random"),
        0x1406 => (operation::WRITE, "device_write_block"),
        0x141a => (operation::WRITE, "array_label_write"),
        0x141b => (operation::WRITE, "label_write_random"),
        0x1601 => (operation::WRITE, "extend_unit_write"),
        0x1613 => (operation::WRITE, "memory_write"),
        0x1617 => (operation::CONTROL, "clear_error"),
        0x1630 => (operation::AUTHENTICATE, "remote_password_unlock"),
        0x1631 => (operation::AUTHENTICATE, "remote_password_lock"),
        0x1810 => (operation::DISCOVER, "read_directory"),
        0x1811 => (operation::DISCOVER, "search_directory"),
        0x1820 => (operation::PROGRAM_WRITE, "new_file"),
        0x1822 => (operation::PROGRAM_WRITE, "delete_file"),
        0x1824 => (operation::PROGRAM_WRITE, "copy_file"),
        0x1825 => (operation::CONFIGURE, "change_file_state"),
        0x1826 => (operation::CONFIGURE, "change_file_date"),
        0x1827 => (operation::DISCOVER, "open_file"),
        0x1828 => (operation::PROGRAM_READ, "read_file"),
        0x1829 => (operation::PROGRAM_WRITE, "write_file"),
        0x182a => (operation::OTHER, "close_file"),
        0x2101 => (operation::REPORT, "on_demand"),
        _ => return None,
    })
}

/// A kind of device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    code: u8,
    /// As programmers write it.
    pub name: &'static str,
    /// Whether its numbers are written in hexadecimal digits.
    pub hexadecimal: bool,
    /// Whether it is a bit.
    pub bit: bool,
}

const fn kind(code: u8, name: &'static str, hexadecimal: bool, bit: bool) -> Kind {
    Kind { code, name, hexadecimal, bit }
}

const KINDS: [Kind; 39] = [
    kind(0xa8, "D", false, false),
    kind(0x90, "M", false, true),
    kind(0x9c, "X", true, true),
    kind(0x9d, "Y", true, true),
    kind(0xb4, "W", true, false),
    kind(0xa0, "B", true, true),
    kind(0xaf, "R", false, false),
    kind(0xb0, "ZR", false, false),
    kind(0x91, "SM", false, true),
    kind(0xa9, "SD", false, false),
    kind(0x92, "L", false, true),
    kind(0x93, "F", false, true),
    kind(0x94, "V", false, true),
    kind(0x98, "S", false, true),
    kind(0xc0, "TC", false, true),
    kind(0xc1, "TS", false, true),
    kind(0xc2, "TN", false, false),
    kind(0xc3, "CC", false, true),
    kind(0xc4, "CS", false, true),
    kind(0xc5, "CN", false, false),
    kind(0xc6, "SC", false, true),
    kind(0xc7, "SS", false, true),
    kind(0xc8, "SN", false, false),
    kind(0xa1, "SB", true, true),
    kind(0xb5, "SW", true, false),
    kind(0xa2, "DX", true, true),
    kind(0xa3, "DY", true, true),
    kind(0xcc, "Z", false, false),
    kind(0x62, "LZ", false, false),
    kind(0x2c, "RD", false, false),
    kind(0x50, "LTC", false, true),
    kind(0x51, "LTS", false, true),
    kind(0x52, "LTN", false, false),
    kind(0x54, "LCC", false, true),
    kind(0x55, "LCS", false, true),
    kind(0x56, "LCN", false, false),
    kind(0x58, "LSTC", false, true),
    kind(0x59, "LSTS", false, true),
    kind(0x5a, "LSTN", false, false),
];

/// The device of a binary code.
pub fn by_code(code: u16) -> Option<Kind> {
    KINDS.into_iter().find(|kind| u16::from(kind.code) == code)
}

/// The device of a code in ASCII, which stars fill up: `D*`, `ZR`, `D***`.
pub fn by_name(name: &[u8]) -> Option<Kind> {
    let length = name.iter().position(|&b| b == b'*').unwrap_or(name.len());
    KINDS.into_iter().find(|kind| kind.name.as_bytes() == &name[..length])
}

/// How one point is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Half a byte, or one character.
    Bit,
    /// Two bytes: one word device, or sixteen bit devices.
    Word,
    /// Four bytes.
    Double,
}

/// Points from a device on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub kind: Kind,
    pub number: u32,
    pub count: u16,
    pub unit: Unit,
}

impl Place {
    /// Writes the name of its point `index`: `D100`, `X1F`. A word of bits is named by the first.
    pub fn name(&self, index: u16, out: &mut String) {
        let step = match self.unit {
            Unit::Word if self.kind.bit => 16,
            Unit::Double => 2,
            _ => 1,
        };
        let number = self.number.wrapping_add(u32::from(index) * step);
        let _ = if self.kind.hexadecimal {
            write!(out, "{}{number:X}", self.kind.name)
        } else {
            write!(out, "{}{number}", self.kind.name)
        };
    }

    /// Writes all of it: `D100`, or `D100..D109`.
    pub fn range(&self, out: &mut String) {
        self.name(0, out);
        if self.count > 1 {
            out.push_str("..");
            self.name(self.count - 1, out);
        }
    }
}

/// An end code.
pub fn end_code(code: u16) -> Option<&'static str> {
    Some(match code {
        0x0055 => "online_change_disabled",
        0x4000 => "checksum_error",
        0x4001 => "unsupported_request",
        0x4002 => "unsupported_request_format",
        0x4003 => "command_cannot_be_executed",
        0x4004 => "format_or_data_error",
        0x4005 => "request_too_large",
        0x4006 => "not_initialised",
        0x4008 => "cpu_busy",
        0x4010 => "cannot_be_executed_in_run",
        0x4013 => "cannot_be_executed_unless_stopped",
        0x4021 => "drive_does_not_exist",
        0x4022 => "file_does_not_exist",
        0x4023 => "file_name_mismatch",
        0x4024 => "file_not_accessible",
        0x4025 => "file_in_use",
        0x4026 => "file_password_required",
        0x4027 => "range_exceeded",
        0x4028 => "file_exists",
        0x4029 => "no_free_space",
        0x4030 => "device_does_not_exist",
        0x4031 => "device_out_of_range",
        0x4080 => "request_data_abnormal",
        0x408b => "remote_request_cannot_be_executed",
        0xc035 => "no_response_confirmed",
        0xc050 => "ascii_code_cannot_be_converted",
        0xc051..=0xc054 => "too_many_points",
        0xc055 => "file_size_out_of_range",
        0xc056 => "address_exceeds_maximum",
        0xc057 => "length_does_not_match_data",
        0xc058 => "length_does_not_match_ascii_data",
        0xc059 => "command_not_available",
        0xc05a => "device_cannot_be_accessed",
        0xc05b => "device_cannot_be_accessed_by_module",
        0xc05c => "request_contents_wrong",
        0xc05d => "no_monitor_registration",
        0xc05e => "monitoring_timer_exceeded",
        0xc05f => "cannot_be_executed_on_target",
        0xc060 => "bit_data_wrong",
        0xc061 => "length_does_not_match_points",
        0xc06f => "ascii_and_binary_mixed",
        0xc070 => "device_extension_not_possible",
        0xc071 => "too_many_points",
        0xc0b5 => "data_cannot_be_used",
        0xc0d8 => "too_many_blocks",
        0xc200 => "remote_password_wrong",
        0xc201 => "remote_password_locked",
        0xc202 => "remote_password_cannot_be_unlocked",
        0xc203 => "remote_password_check_failed",
        0xc204 => "not_unlocked_by_this_device",
        0xc207 => "file_name_too_long",
        0xc810..=0xc815 => "remote_password_rejected",
        0xc816 => "remote_password_blocked",
        0xcee0 => "already_searching",
        0xcee1 => "request_too_long",
        0xcee2 => "response_too_long",
        _ => return None,
    })
}
