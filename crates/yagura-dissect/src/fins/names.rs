//! Names and notations: commands, memory areas, end codes.

use std::fmt::Write;

use yagura_event::vocabulary::operation;

/// What a command does, and its name.
pub fn command(code: u16) -> Option<(&'static str, &'static str)> {
    Some(match code {
        0x0101 => (operation::READ, "memory_area_read"),
        0x0102 => (operation::WRITE, "memory_area_write"),
        0x0103 => (operation::WRITE, "memory_area_fill"),
        0x0104 => (operation::READ, "multiple_memory_area_read"),
        0x0105 => (operation::WRITE, "memory_area_transfer"),
        0x0201 => (operation::DISCOVER, "parameter_area_read"),
        0x0202 => (operation::CONFIGURE, "parameter_area_write"),
        0x0203 => (operation::CONFIGURE, "parameter_area_clear"),
        0x0220 => (operation::DISCOVER, "data_link_table_read"),
        0x0221 => (operation::CONFIGURE, "data_link_table_write"),
        0x0304 => (operation::CONFIGURE, "program_area_protect"),
        0x0305 => (operation::AUTHENTICATE, "program_area_protect_clear"),
        0x0306 => (operation::PROGRAM_READ, "program_area_read"),
        0x0307 => (operation::PROGRAM_WRITE, "program_area_write"),
        0x0308 => (operation::PROGRAM_WRITE, "program_area_clear"),
        0x0401 => (operation::CONTROL, "run"),
        0x0402 => (operation::CONTROL, "stop"),
        0x0403 => (operation::CONTROL, "reset"),
        0x0501 => (operation::DISCOVER, "controller_data_read"),
        0x0502 => (operation::DISCOVER, "connection_data_read"),
        0x0601 => (operation::DIAGNOSE, "controller_status_read"),
        0x0602 => (operation::DIAGNOSE, "network_status_read"),
        0x0603 => (operation::DIAGNOSE, "data_link_status_read"),
        0x0620 => (operation::DIAGNOSE, "cycle_time_read"),
        0x0701 => (operation::DIAGNOSE, "clock_read"),
        0x0702 => (operation::CONFIGURE, "clock_write"),
        0x0801 => (operation::DIAGNOSE, "loop_back_test"),
        0x0802 => (operation::DIAGNOSE, "broadcast_test_results_read"),
        0x0803 => (operation::DIAGNOSE, "broadcast_test_data_send"),
        0x0920 => (operation::DIAGNOSE, "message_read"),
        0x0c01 => (operation::SESSION_OPEN, "access_right_acquire"),
        0x0c02 => (operation::CONTROL, "access_right_forced_acquire"),
        0x0c03 => (operation::SESSION_CLOSE, "access_right_release"),
        0x2101 => (operation::CONTROL, "error_clear"),
        0x2102 => (operation::DIAGNOSE, "error_log_read"),
        0x2103 => (operation::CONTROL, "error_log_clear"),
        0x2140 => (operation::DIAGNOSE, "fins_write_access_log_read"),
        0x2141 => (operation::CONTROL, "fins_write_access_log_clear"),
        0x2201 => (operation::DISCOVER, "file_name_read"),
        0x2202 => (operation::PROGRAM_READ, "single_file_read"),
        0x2203 => (operation::PROGRAM_WRITE, "single_file_write"),
        0x2204 => (operation::CONTROL, "file_memory_format"),
        0x2205 => (operation::PROGRAM_WRITE, "file_delete"),
        0x2206 => (operation::CONFIGURE, "volume_label_create_delete"),
        0x2207 => (operation::PROGRAM_WRITE, "file_copy"),
        0x2208 => (operation::PROGRAM_WRITE, "file_name_change"),
        0x2209 => (operation::DIAGNOSE, "file_data_check"),
        0x220a => (operation::PROGRAM_WRITE, "memory_area_file_transfer"),
        0x220b => (operation::PROGRAM_WRITE, "parameter_area_file_transfer"),
        0x220c => (operation::PROGRAM_WRITE, "program_area_file_transfer"),
        0x220f => (operation::DISCOVER, "file_memory_index_read"),
        0x2210 => (operation::PROGRAM_READ, "file_memory_read"),
        0x2211 => (operation::PROGRAM_WRITE, "file_memory_write"),
        0x2215 => (operation::PROGRAM_WRITE, "directory_create_delete"),
        0x2220 => (operation::PROGRAM_WRITE, "memory_cassette_transfer"),
        0x2301 => (operation::CONTROL, "forced_set_reset"),
        0x2302 => (operation::CONTROL, "forced_set_reset_cancel"),
        0x230a => (operation::DIAGNOSE, "multiple_forced_status_read"),
        0x2601 => (operation::CONFIGURE, "name_set"),
        0x2602 => (operation::CONFIGURE, "name_delete"),
        0x2603 => (operation::DISCOVER, "name_read"),
        _ => return None,
    })
}

/// How one element of a memory area is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// A bit of a word, in a byte.
    Bit,
    /// A flag with a number of its own, in a byte.
    Flag,
    /// Two bytes.
    Word,
    /// Four bytes: a double word.
    Double,
    /// Four bytes: a word and which of its bits are forced.
    Forced,
}

impl Element {
    /// Its length.
    pub fn bytes(self) -> usize {
        match self {
            Element::Bit | Element::Flag => 1,
            Element::Word => 2,
            Element::Double | Element::Forced => 4,
        }
    }

    /// Its value; `bytes` are as many as it has.
    pub fn value(self, bytes: &[u8]) -> f64 {
        match (self, bytes) {
            (Element::Bit | Element::Flag, &[byte, ..]) => f64::from(byte & 1),
            (Element::Word | Element::Forced, &[high, low, ..]) => f64::from(u16::from_be_bytes([high, low])),
            (Element::Double, &[a, b, c, d, ..]) => f64::from(u32::from_be_bytes([a, b, c, d])),
            _ => f64::NAN,
        }
    }
}

/// A place in the memory, and how many elements from there on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    pub area: u8,
    pub word: u16,
    pub bit: u8,
    pub count: u16,
}

impl Place {
    /// How its elements are sent; nothing for areas that no manual names.
    pub fn element(self) -> Option<Element> {
        Some(match self.area {
            0x00 | 0x02 | 0x05 | 0x0a | 0x20..=0x2f | 0x30..=0x33 | 0x40 | 0x70..=0x73 | 0xe0..=0xe8 => {
                Element::Bit
            }
            0x01 | 0x03 | 0x04 | 0x06 | 0x07 | 0x09 | 0x1b | 0x41 | 0x43 | 0x44 | 0x46 | 0x49 => {
                Element::Flag
            }
            0x60..=0x68 | 0x80..=0x85 | 0x89 | 0x90..=0x98 | 0xa0..=0xaf | 0xb0..=0xb3 | 0xbc => {
                Element::Word
            }
            0x9c | 0xdc => Element::Double,
            0xc0 | 0xf0..=0xf3 => Element::Forced,
            _ => return None,
        })
    }

    /// Writes the name of its element `index` the way programmers do: `D100`, `CIO3.07`, `T5`.
    pub fn name(self, index: u16, out: &mut String) {
        let bit = if self.element() == Some(Element::Bit) { u32::from(self.bit & 15) } else { 0 };
        let (word, bit) = match self.element() {
            Some(Element::Bit) => {
                let at = bit + u32::from(index);
                (self.word.wrapping_add((at / 16) as u16), Some(at % 16))
            }
            _ => (self.word.wrapping_add(index), None),
        };
        let _ = match self.area {
            0x00 | 0x40 | 0x30 | 0x70 | 0x80 | 0xb0 | 0xc0 | 0xf0 => write!(out, "CIO{word}"),
            0x31 | 0x71 | 0xb1 | 0xf1 => write!(out, "W{word}"),
            0x32 | 0x72 | 0xb2 | 0xf2 => write!(out, "H{word}"),
            0x33 | 0x73 | 0xb3 | 0xf3 => write!(out, "A{word}"),
            0x02 | 0x82 => write!(out, "D{word}"),
            // Counters begin at 0x8000 (CS, CJ), those of the older series at 0x0800.
            0x09 | 0x49 | 0x89 if word >= 0x8000 => write!(out, "C{}", word & 0x7fff),
            0x01 | 0x41 | 0x81 if word >= 0x0800 => write!(out, "C{}", word & 0x07ff),
            0x01 | 0x41 | 0x81 | 0x09 | 0x49 | 0x89 => write!(out, "T{word}"),
            0x03 | 0x43 | 0x83 => write!(out, "TN{word}"),
            0x04 | 0x44 | 0x84 => write!(out, "ST{word}"),
            0x05 | 0x85 => write!(out, "FORCED{word}"),
            0x06 | 0x46 => write!(out, "TK{word}"),
            0x07 => write!(out, "FLAG{word}"),
            0x1b => write!(out, "AC{word}"),
            0x0a | 0x98 => write!(out, "EM{word}"),
            0x20..=0x2f | 0xa0..=0xaf => write!(out, "E{:X}_{word}", self.area & 15),
            0x90..=0x97 => write!(out, "E{:X}_{word}", self.area & 7),
            0x60..=0x68 | 0xe0..=0xe8 => write!(out, "E1{:X}_{word}", self.area & 15),
            0xbc => write!(out, "DR{word}"),
            0xdc | 0x9c => write!(out, "IR{word}"),
            area => write!(out, "0x{area:02x}:{word}"),
        };
        if let Some(bit) = bit {
            let _ = write!(out, ".{bit:02}");
        }
        if matches!(self.area, 0x01 | 0x41 | 0x09 | 0x49) {
            out.push_str(" flag");
        }
    }

    /// Writes all of it: `D100`, or `D100..D109`.
    pub fn range(self, out: &mut String) {
        self.name(0, out);
        if self.count > 1 {
            out.push_str("..");
            self.name(self.count - 1, out);
        }
    }
}

/// A parameter area.
pub fn parameter(code: u16) -> &'static str {
    match code {
        0x8000 => "all",
        0x8002 => "cpu_bus_unit_settings",
        0x8010 => "plc_setup",
        0x8011 => "peripheral_device_settings",
        0x8012 => "io_table",
        0x8013 => "routing_tables",
        _ => "other",
    }
}

/// A controller's mode.
pub fn mode(code: u8) -> &'static str {
    match code {
        0 => "program",
        1 => "debug",
        2 => "monitor",
        4 => "run",
        _ => "other",
    }
}

/// What a forced set or reset does.
pub fn force(code: u16) -> &'static str {
    match code {
        0x0000 => "force_reset",
        0x0001 => "force_set",
        0x8000 => "release_off",
        0x8001 => "release_on",
        0xffff => "release",
        _ => "other",
    }
}

/// An end code: main code and subcode, without the flags.
pub fn end_code(code: u16) -> Option<&'static str> {
    Some(match code {
        0x0001 => "service_canceled",
        0x0101 => "local_node_not_in_network",
        0x0102 => "token_timeout",
        0x0103 => "retries_failed",
        0x0104 => "too_many_send_frames",
        0x0105 => "node_address_range_error",
        0x0106 => "node_address_duplication",
        0x0201 => "destination_node_not_in_network",
        0x0202 => "unit_missing",
        0x0203 => "third_node_missing",
        0x0204 => "destination_node_busy",
        0x0205 => "response_timeout",
        0x0301 => "communications_controller_error",
        0x0302 => "cpu_unit_error",
        0x0303 => "controller_error",
        0x0304 => "unit_number_error",
        0x0401 => "undefined_command",
        0x0402 => "not_supported_by_model_version",
        0x0501 => "destination_address_setting_error",
        0x0502 => "no_routing_tables",
        0x0503 => "routing_table_error",
        0x0504 => "too_many_relays",
        0x1001 => "command_too_long",
        0x1002 => "command_too_short",
        0x1003 => "elements_and_data_do_not_match",
        0x1004 => "command_format_error",
        0x1005 => "header_error",
        0x1101 => "area_classification_missing",
        0x1102 => "access_size_error",
        0x1103 => "address_range_error",
        0x1104 => "address_range_exceeded",
        0x1106 => "program_missing",
        0x1109 => "relational_error",
        0x110a => "duplicate_data_access",
        0x110b => "response_too_long",
        0x110c => "parameter_error",
        0x2002 => "read_protected",
        0x2003 => "table_missing",
        0x2004 => "data_missing",
        0x2005 => "program_missing",
        0x2006 => "file_missing",
        0x2007 => "data_mismatch",
        0x2101 => "read_only",
        0x2102 => "write_protected",
        0x2103 => "cannot_register",
        0x2105 => "program_missing",
        0x2106 => "file_missing",
        0x2107 => "file_name_exists",
        0x2108 => "cannot_change",
        0x2201 => "not_possible_during_execution",
        0x2202 => "not_possible_while_running",
        0x2203 => "wrong_mode_program",
        0x2204 => "wrong_mode_debug",
        0x2205 => "wrong_mode_monitor",
        0x2206 => "wrong_mode_run",
        0x2207 => "node_is_not_polling_node",
        0x2208 => "step_cannot_be_executed",
        0x2301 => "file_device_missing",
        0x2302 => "memory_missing",
        0x2303 => "clock_missing",
        0x2401 => "table_missing",
        0x2502 => "memory_error",
        0x2503 => "io_setting_error",
        0x2504 => "too_many_io_points",
        0x2505 => "cpu_bus_error",
        0x2506 => "io_duplication",
        0x2507 => "io_bus_error",
        0x2509 => "sysmac_bus_2_error",
        0x250a => "cpu_bus_unit_error",
        0x250d => "sysmac_bus_number_duplication",
        0x250f => "internal_memory_error",
        0x2510 => "sysmac_bus_terminator_missing",
        0x2601 => "no_protection",
        0x2602 => "incorrect_password",
        0x2604 => "protected",
        0x2605 => "service_already_executing",
        0x2606 => "service_stopped",
        0x2607 => "no_execution_right",
        0x2608 => "settings_required",
        0x2609 => "required_items_not_set",
        0x260a => "number_already_defined",
        0x260b => "error_cannot_be_cleared",
        0x3001 => "no_access_right",
        0x4001 => "service_aborted",
        _ => return None,
    })
}

/// Errors of the TCP header.
pub fn tcp_error(code: u32) -> Option<&'static str> {
    Some(match code {
        0x01 => "header_is_not_fins",
        0x02 => "data_too_long",
        0x03 => "command_not_supported",
        0x20 => "all_connections_in_use",
        0x21 => "node_already_connected",
        0x22 => "address_not_allowed",
        0x23 => "client_node_address_out_of_range",
        0x24 => "same_node_address",
        0x25 => "all_node_addresses_used",
        _ => return None,
    })
}
