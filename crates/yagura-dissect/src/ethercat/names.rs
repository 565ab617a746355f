//! Names: commands, registers, states, abort codes.

use std::fmt::Write;

use yagura_event::vocabulary::operation;

use super::Datagram;
use crate::exchange::Draft;

/// Commands of datagrams.
pub mod command {
    pub const APWR: u8 = 2;
    pub const FPRD: u8 = 4;
    pub const FPWR: u8 = 5;
    pub const APRW: u8 = 3;
    pub const FPRW: u8 = 6;
    pub const LRD: u8 = 10;
    pub const ARMW: u8 = 13;
    pub const FRMW: u8 = 14;

    /// Whether the address is a position, which every slave counts up.
    pub fn by_position(code: u8) -> bool {
        matches!(code, 1..=APRW | 7..=9 | ARMW)
    }

    /// Whether one slave is meant.
    pub fn physical(code: u8) -> bool {
        matches!(code, 1..=FPRW | ARMW | FRMW)
    }

    /// Whether all slaves are.
    pub fn broadcast(code: u8) -> bool {
        matches!(code, 7..=9)
    }

    /// Whether the slave's memory is written.
    pub fn writes(code: u8) -> bool {
        matches!(code, APWR | FPWR | 8)
    }

    /// Whether data changes with every cycle: process data and the distributed clock.
    pub fn cyclic(code: u8) -> bool {
        matches!(code, LRD..=FRMW)
    }
}

/// Registers that are told apart.
pub mod register {
    pub const AL_CONTROL: u16 = 0x0120;
    pub const AL_STATUS: u16 = 0x0130;
    pub const SII_CONTROL: u16 = 0x0502;
    pub const SII_DATA: u16 = 0x0508;
    /// Memory begins here.
    pub const MEMORY: u16 = 0x1000;
}

/// What a datagram does, and its command's name.
pub fn named(code: u8, offset: u16, data: &[u8]) -> (&'static str, &'static str) {
    const NAMES: [&str; 15] = [
        "no_operation",
        "auto_increment_read",
        "auto_increment_write",
        "auto_increment_read_write",
        "configured_address_read",
        "configured_address_write",
        "configured_address_read_write",
        "broadcast_read",
        "broadcast_write",
        "broadcast_read_write",
        "logical_memory_read",
        "logical_memory_write",
        "logical_memory_read_write",
        "auto_increment_read_multiple_write",
        "configured_address_read_multiple_write",
    ];
    let name = NAMES.get(usize::from(code)).copied().unwrap_or("command");
    let operation = match code {
        0 => operation::OTHER,
        1 | 4 | 7 if offset < register::MEMORY => operation::DIAGNOSE,
        1 | 4 | 7 | 10 => operation::READ,
        13 | 14 => operation::DIAGNOSE,
        11 | 12 => operation::WRITE,
        _ if offset >= register::MEMORY => operation::WRITE,
        _ => match offset {
            register::AL_CONTROL => operation::CONTROL,
            // The second byte says what the slave's memory of itself is to do: 1 is a read.
            register::SII_CONTROL if data.get(1).is_some_and(|&b| b & 7 == 1) => operation::DISCOVER,
            _ => operation::CONFIGURE,
        },
    };
    (operation, name)
}

/// Writes a register's name, or an address of memory.
pub fn register(out: &mut String, offset: u16) {
    let name = match offset {
        0x0000 => "type",
        0x0010 => "station_address",
        0x0012 => "station_alias",
        0x0100 | 0x0101 | 0x0103 => "dl_control",
        0x0110 => "dl_status",
        register::AL_CONTROL => "al_control",
        register::AL_STATUS => "al_status",
        0x0134 => "al_status_code",
        0x0200..=0x0223 => "event",
        0x0300..=0x0313 => "error_counters",
        0x0400..=0x0443 => "watchdog",
        0x0500 => "sii_configuration",
        register::SII_CONTROL => "sii_control",
        0x0504 => "sii_address",
        register::SII_DATA => "sii_data",
        0x0600..=0x06ff => "fmmu",
        0x0800..=0x087f => "sync_manager",
        0x0900..=0x09ff => "distributed_clock",
        _ => "",
    };
    let _ = match name {
        "fmmu" => write!(out, "fmmu {} (0x{offset:04x})", offset >> 4 & 15),
        "sync_manager" => write!(out, "sync_manager {} (0x{offset:04x})", offset >> 3 & 15),
        "" => write!(out, "0x{offset:04x}"),
        name => write!(out, "{name} (0x{offset:04x})"),
    };
}

/// A state of the application layer, in the low half of a byte.
pub fn state(code: u8) -> &'static str {
    match code & 15 {
        1 => "init",
        2 => "pre_operational",
        3 => "bootstrap",
        4 => "safe_operational",
        8 => "operational",
        // What all slaves say together, when they do not agree.
        _ => "mixed",
    }
}

/// Adds a datagram's data to its row.
pub fn show(draft: &mut Draft, datagram: &Datagram<'_>, most: usize) {
    let state_register = matches!(datagram.offset, register::AL_CONTROL | register::AL_STATUS);
    match datagram.data {
        &[code, ..] if state_register && datagram.command < command::LRD => {
            draft.push_text(state(code));
            // Set by a slave for an error, and by its master to acknowledge it.
            if code & 0x10 != 0 {
                crate::json::member_bool(&mut draft.detail, "error", true);
            }
        }
        [] => {}
        data => draft.push_bytes(&data[..data.len().min(most)]),
    }
}

/// Why a slave broke off an SDO transfer (ETG.1000.6, table 41).
pub fn abort(code: u32) -> Option<&'static str> {
    Some(match code {
        0x0503_0000 => "toggle_bit_not_changed",
        0x0504_0000 => "timeout",
        0x0504_0001 => "command_specifier_not_valid",
        0x0504_0005 => "out_of_memory",
        0x0601_0000 => "unsupported_access",
        0x0601_0001 => "write_only",
        0x0601_0002 => "read_only",
        0x0601_0003 => "subindex_cannot_be_written",
        0x0601_0004 => "complete_access_not_supported",
        0x0602_0000 => "object_does_not_exist",
        0x0604_0041 => "object_cannot_be_mapped",
        0x0604_0042 => "pdo_length_exceeded",
        0x0604_0043 => "parameter_incompatible",
        0x0604_0047 => "internal_incompatibility",
        0x0606_0000 => "hardware_error",
        0x0607_0010 => "length_mismatch",
        0x0607_0012 => "length_too_high",
        0x0607_0013 => "length_too_low",
        0x0609_0011 => "subindex_does_not_exist",
        0x0609_0030 => "value_out_of_range",
        0x0609_0031 => "value_too_high",
        0x0609_0032 => "value_too_low",
        0x0609_0036 => "maximum_below_minimum",
        0x0800_0000 => "general_error",
        0x0800_0020 => "cannot_be_stored",
        0x0800_0021 => "local_control",
        0x0800_0022 => "wrong_device_state",
        0x0800_0023 => "no_object_dictionary",
        _ => return None,
    })
}

/// Why a slave refused a file.
pub fn file_error(code: u32) -> Option<&'static str> {
    Some(match code {
        0x8000 => "not_defined",
        0x8001 => "not_found",
        0x8002 => "access_denied",
        0x8003 => "disk_full",
        0x8004 => "illegal",
        0x8005 => "packet_number_wrong",
        0x8006 => "already_exists",
        0x8007 => "no_user",
        0x8008 => "bootstrap_only",
        0x8009 => "not_bootstrap",
        0x800a => "no_rights",
        0x800b => "program_error",
        _ => return None,
    })
}
