//! Names: commands, index groups, states, errors.

use yagura_event::vocabulary::operation;

/// ADS commands.
pub mod command {
    pub const READ_DEVICE_INFO: u16 = 1;
    pub const READ: u16 = 2;
    pub const WRITE: u16 = 3;
    pub const READ_STATE: u16 = 4;
    pub const WRITE_CONTROL: u16 = 5;
    pub const ADD_NOTIFICATION: u16 = 6;
    pub const DELETE_NOTIFICATION: u16 = 7;
    pub const NOTIFICATION: u16 = 8;
    pub const READ_WRITE: u16 = 9;
}

/// Index groups whose content is read.
pub mod group {
    pub const FILE_READ: u32 = 122;
    pub const FILE_WRITE: u32 = 123;
    pub const HANDLE_BY_NAME: u32 = 0xf003;
    pub const VALUE_BY_NAME: u32 = 0xf004;
    pub const VALUE_BY_HANDLE: u32 = 0xf005;
    pub const RELEASE_HANDLE: u32 = 0xf006;
    pub const INFO_BY_NAME: u32 = 0xf007;
    pub const INFO_BY_NAME_EX: u32 = 0xf009;
    pub const UPLOAD: u32 = 0xf00b;
    pub const SUM_READ: u32 = 0xf080;
    pub const SUM_WRITE: u32 = 0xf081;
    pub const SUM_READ_WRITE: u32 = 0xf082;
    pub const SUM_READ_EX: u32 = 0xf083;
    pub const SUM_READ_EX_2: u32 = 0xf084;
}

/// What a command does, and its name.
pub fn named(code: u16) -> (&'static str, &'static str) {
    match code {
        command::READ_DEVICE_INFO => (operation::DISCOVER, "read_device_info"),
        command::READ => (operation::READ, "read"),
        command::WRITE => (operation::WRITE, "write"),
        command::READ_STATE => (operation::DIAGNOSE, "read_state"),
        command::WRITE_CONTROL => (operation::CONTROL, "write_control"),
        command::ADD_NOTIFICATION => (operation::READ, "add_device_notification"),
        command::DELETE_NOTIFICATION => (operation::OTHER, "delete_device_notification"),
        command::NOTIFICATION => (operation::REPORT, "device_notification"),
        command::READ_WRITE => (operation::READ, "read_write"),
        _ => (operation::OTHER, "command"),
    }
}

/// What reading and writing an index group does, where it is more than values, and its name.
pub fn index_group(code: u32) -> Option<(&'static str, &'static str, &'static str)> {
    use operation::{CONFIGURE, CONTROL, DISCOVER, PROGRAM_READ, PROGRAM_WRITE, READ, WRITE};
    Some(match code {
        120 => (DISCOVER, PROGRAM_WRITE, "FOPEN"),
        121 => (DISCOVER, DISCOVER, "FCLOSE"),
        group::FILE_READ => (PROGRAM_READ, PROGRAM_READ, "FREAD"),
        group::FILE_WRITE => (PROGRAM_WRITE, PROGRAM_WRITE, "FWRITE"),
        124 => (DISCOVER, DISCOVER, "FSEEK"),
        125 => (DISCOVER, DISCOVER, "FTELL"),
        126 => (PROGRAM_READ, PROGRAM_READ, "FGETS"),
        127 => (PROGRAM_WRITE, PROGRAM_WRITE, "FPUTS"),
        130 => (DISCOVER, DISCOVER, "FEOF"),
        131 => (PROGRAM_WRITE, PROGRAM_WRITE, "FDELETE"),
        132 => (PROGRAM_WRITE, PROGRAM_WRITE, "FRENAME"),
        133 => (DISCOVER, DISCOVER, "FFIND"),
        138 => (PROGRAM_WRITE, PROGRAM_WRITE, "MKDIR"),
        139 => (PROGRAM_WRITE, PROGRAM_WRITE, "RMDIR"),
        200 => (DISCOVER, CONFIGURE, "REG_HKEYLOCALMACHINE"),
        300 => (CONTROL, CONTROL, "SENDEMAIL"),
        400 => (DISCOVER, CONFIGURE, "TIMESERVICES"),
        500 => (CONTROL, CONTROL, "STARTPROCESS"),
        600 => (CONFIGURE, CONFIGURE, "CHANGENETID"),
        700 => (DISCOVER, CONFIGURE, "SYSTEM_INFORMATION"),
        701 => (DISCOVER, CONFIGURE, "IPHELPERAPI"),
        702 => (DISCOVER, DISCOVER, "IPHOSTNAME"),
        801 => (CONFIGURE, CONFIGURE, "ADDREMOTE"),
        802 => (CONFIGURE, CONFIGURE, "DELREMOTE"),
        803 => (DISCOVER, DISCOVER, "ENUMREMOTE"),
        0x4000 => (READ, WRITE, "PLC_RW_I"),
        0x4010 => (READ, WRITE, "PLC_RW_Q"),
        0x4020 => (READ, WRITE, "PLC_RW_M"),
        0x4021 => (READ, WRITE, "PLC_RW_MX"),
        0x4030 => (READ, WRITE, "PLC_RW_R"),
        0x4040 => (READ, WRITE, "PLC_RW_DB"),
        0xf000 => (DISCOVER, DISCOVER, "SYM_TAB"),
        0xf001 => (DISCOVER, DISCOVER, "SYM_NAME"),
        0xf002 => (READ, WRITE, "SYM_VAL"),
        group::HANDLE_BY_NAME => (DISCOVER, DISCOVER, "SYM_HNDBYNAME"),
        group::VALUE_BY_NAME => (READ, READ, "SYM_VALBYNAME"),
        group::VALUE_BY_HANDLE => (READ, WRITE, "SYM_VALBYHND"),
        group::RELEASE_HANDLE => (DISCOVER, DISCOVER, "SYM_RELEASEHND"),
        group::INFO_BY_NAME => (DISCOVER, DISCOVER, "SYM_INFOBYNAME"),
        0xf008 => (DISCOVER, DISCOVER, "SYM_VERSION"),
        group::INFO_BY_NAME_EX => (DISCOVER, DISCOVER, "SYM_INFOBYNAMEEX"),
        0xf00a => (CONFIGURE, CONFIGURE, "SYM_DOWNLOAD"),
        group::UPLOAD => (DISCOVER, DISCOVER, "SYM_UPLOAD"),
        0xf00c => (DISCOVER, DISCOVER, "SYM_UPLOADINFO"),
        0xf00e => (DISCOVER, DISCOVER, "SYM_DT_UPLOAD"),
        0xf00f => (DISCOVER, DISCOVER, "SYM_UPLOADINFO2"),
        0xf010 => (DISCOVER, DISCOVER, "SYMNOTE"),
        0xf020 => (READ, WRITE, "IOIMAGE_RWIB"),
        0xf021 => (READ, WRITE, "IOIMAGE_RWIX"),
        0xf025 => (DISCOVER, DISCOVER, "IOIMAGE_RISIZE"),
        0xf030 => (READ, WRITE, "IOIMAGE_RWOB"),
        0xf031 => (READ, WRITE, "IOIMAGE_RWOX"),
        0xf035 => (DISCOVER, DISCOVER, "IOIMAGE_ROSIZE"),
        0xf040 => (CONTROL, CONTROL, "IOIMAGE_CLEARI"),
        0xf050 => (CONTROL, CONTROL, "IOIMAGE_CLEARO"),
        0xf060 => (READ, WRITE, "IOIMAGE_RWIOB"),
        group::SUM_READ => (READ, READ, "SUMUP_READ"),
        group::SUM_WRITE => (WRITE, WRITE, "SUMUP_WRITE"),
        group::SUM_READ_WRITE => (READ, WRITE, "SUMUP_READWRITE"),
        group::SUM_READ_EX => (READ, READ, "SUMUP_READEX"),
        group::SUM_READ_EX_2 => (READ, READ, "SUMUP_READEX2"),
        0xf085 => (READ, READ, "SUMUP_ADDDEVNOTE"),
        0xf086 => (operation::OTHER, operation::OTHER, "SUMUP_DELDEVNOTE"),
        0xf100 => (operation::DIAGNOSE, CONTROL, "DEVICE_DATA"),
        _ => return None,
    })
}

/// Whether a group holds process values.
pub fn values(code: u32) -> bool {
    matches!(code, 0x4000..=0xefff | 0xf002 | 0xf004 | 0xf005 | 0xf020..=0xf024 | 0xf030..=0xf034 | 0xf060)
}

/// Whether what is written to a group, to be answered, is a name: of a variable, file or key.
pub fn named_by_text(code: u32) -> bool {
    let variable = matches!(
        code,
        group::HANDLE_BY_NAME | group::VALUE_BY_NAME | group::INFO_BY_NAME | group::INFO_BY_NAME_EX
    );
    variable || matches!(code, 120 | 131..=133 | 200)
}

/// An ADS state.
pub fn state(code: u16) -> &'static str {
    const NAMES: [&str; 17] = [
        "invalid",
        "idle",
        "reset",
        "init",
        "start",
        "run",
        "stop",
        "save_config",
        "load_config",
        "power_failure",
        "power_good",
        "error",
        "shutdown",
        "suspend",
        "resume",
        "config",
        "reconfig",
    ];
    NAMES.get(usize::from(code)).copied().unwrap_or("other")
}

/// How notifications are sent.
pub fn transmission(code: u32) -> &'static str {
    match code {
        1 => "client_cycle",
        2 => "client_on_change",
        3 => "cyclic",
        4 => "on_change",
        5 => "cyclic_in_context",
        6 => "on_change_in_context",
        _ => "other",
    }
}

/// An error of the router or of a device.
pub fn error(code: u32) -> Option<&'static str> {
    Some(match code {
        0x01 => "internal_error",
        0x02 => "no_real_time",
        0x06 => "target_port_not_found",
        0x07 => "target_machine_not_found",
        0x08 => "unknown_command",
        0x0c => "port_not_connected",
        0x18 => "ams_error",
        0x700 => "device_error",
        0x701 => "service_not_supported",
        0x702 => "invalid_index_group",
        0x703 => "invalid_index_offset",
        0x704 => "invalid_access",
        0x705 => "invalid_size",
        0x706 => "invalid_data",
        0x707 => "not_ready",
        0x708 => "busy",
        0x709 => "invalid_context",
        0x70a => "out_of_memory",
        0x70b => "invalid_parameter",
        0x70c => "not_found",
        0x70d => "syntax_error",
        0x70e => "incompatible",
        0x70f => "exists",
        0x710 => "symbol_not_found",
        0x711 => "symbol_version_invalid",
        0x712 => "invalid_state",
        0x713 => "transmission_mode_not_supported",
        0x714 => "invalid_notification_handle",
        0x715 => "client_unknown",
        0x716 => "no_more_handles",
        0x717 => "notification_too_large",
        0x718 => "not_initialised",
        0x719 => "timeout",
        0x71a => "no_interface",
        0x71e => "pending",
        0x71f => "aborted",
        0x720 => "warning",
        0x721 => "invalid_array_index",
        0x722 => "symbol_not_active",
        0x723 => "access_denied",
        0x724 => "licence_missing",
        0x725 => "licence_expired",
        0x740 => "client_error",
        0x741 => "client_invalid_parameter",
        0x745 => "client_timeout",
        0x748 => "client_port_not_open",
        _ => return None,
    })
}
