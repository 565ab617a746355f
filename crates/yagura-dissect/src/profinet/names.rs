//! Names of options, states, alarms and errors (IEC 61158-6-10, tables of the coding sections).

use std::borrow::Cow;

use crate::json;

/// An option of the discovery protocol with its suboption.
pub(super) fn option(option: u8, suboption: u8) -> Cow<'static, str> {
    Cow::Borrowed(match (option, suboption) {
        (1, 1) => "mac",
        (1, 2) => "ip",
        (1, 3) => "ip_suite",
        (2, 1) => "type_of_station",
        (2, 2) => "name_of_station",
        (2, 3) => "device_id",
        (2, 4) => "device_role",
        (2, 5) => "device_options",
        (2, 6) => "alias_name",
        (2, 7) => "device_instance",
        (2, 8) => "oem_device_id",
        (2, 9) => "standard_gateway",
        (2, 10) => "rsi_properties",
        (3, 12) => "dhcp_host_name",
        (3, 43) => "dhcp_vendor_specific",
        (3, 54) => "dhcp_server",
        (3, 55) => "dhcp_parameters",
        (3, 60) => "dhcp_class",
        (3, 61) => "dhcp_client",
        (3, 81) => "dhcp_fqdn",
        (3, 97) => "dhcp_uuid",
        (5, 1) => "start_transaction",
        (5, 2) => "end_transaction",
        (5, 3) => "signal",
        (5, 4) => "response",
        (5, 5) => "factory_reset",
        (5, 6) => "reset_to_factory",
        (6, 1) => "device_initiative",
        (0xff, 0xff) => "all",
        (option, suboption) => return Cow::Owned(format!("option_{option}_{suboption}")),
    })
}

/// Why a block of a set request was not taken (BlockError).
pub(super) fn block_error(error: u8) -> &'static str {
    match error {
        1 => "option_not_supported",
        2 => "suboption_not_supported",
        3 => "suboption_not_set",
        4 => "resource_error",
        5 => "set_not_possible",
        6 => "in_operation_set_not_possible",
        _ => "block_error",
    }
}

/// The roles of a station.
pub(super) fn roles(role: u8) -> String {
    let all = [(1, "io_device"), (2, "io_controller"), (4, "io_multidevice"), (8, "supervisor")];
    let names: Vec<&str> = all.iter().filter(|(bit, _)| role & bit != 0).map(|(_, name)| *name).collect();
    names.join(",")
}

/// A maker by its number; the makers' list is kept by PROFIBUS & PROFINET International.
pub(super) fn vendor(id: u16) -> Cow<'static, str> {
    Cow::Borrowed(match id {
        0x001a => "ABB",
        0x002a => "Siemens",
        0x00b0 => "Phoenix Contact",
        0x0101 => "SICK",
        0x011d => "WAGO",
        0x011e => "Hilscher",
        0x0120 => "Beckhoff",
        0x012f => "Murrelektronik",
        0x014d => "Festo",
        other => return Cow::Owned(format!("0x{other:04x}")),
    })
}

/// A provider's data status, bit by bit.
pub(super) fn data_status(detail: &mut String, status: u8) {
    json::member_bool(detail, "primary", status & 1 != 0);
    json::member_bool(detail, "valid", status & 4 != 0);
    json::member_bool(detail, "run", status & 0x10 != 0);
    json::member_bool(detail, "problem", status & 0x20 == 0);
}

/// The type of an alarm.
pub(super) fn alarm(kind: u16) -> &'static str {
    match kind {
        0x01 => "alarm_diagnosis",
        0x02 => "alarm_process",
        0x03 => "alarm_pull",
        0x04 => "alarm_plug",
        0x05 => "alarm_status",
        0x06 => "alarm_update",
        0x07 => "alarm_redundancy",
        0x08 => "alarm_controlled_by_supervisor",
        0x09 => "alarm_released",
        0x0a => "alarm_plug_wrong_submodule",
        0x0b => "alarm_return_of_submodule",
        0x0c => "alarm_diagnosis_disappears",
        0x0d => "alarm_multicast_mismatch",
        0x0e => "alarm_port_data_change",
        0x0f => "alarm_sync_data_changed",
        0x10 => "alarm_isochronous_mode_problem",
        0x11 => "alarm_network_component_problem",
        0x12 => "alarm_time_data_changed",
        0x13 => "alarm_dynamic_frame_packing_problem",
        0x1e => "alarm_upload_and_retrieval",
        0x1f => "alarm_pull_module",
        0x20..=0x7f => "alarm_manufacturer_specific",
        0x100..=0x1ff => "alarm_profile_specific",
        _ => "alarm_reserved",
    }
}

/// What a control call commands.
pub(super) fn command(command: u16) -> &'static str {
    match command {
        c if c & 0x0001 != 0 => "parameter_end",
        c if c & 0x0002 != 0 => "application_ready",
        c if c & 0x0004 != 0 => "release",
        c if c & 0x0008 != 0 => "done",
        c if c & 0x0010 != 0 => "ready_for_companion",
        c if c & 0x0020 != 0 => "ready_for_rt_class_3",
        c if c & 0x0040 != 0 => "parameter_begin",
        _ => "no_command",
    }
}

/// The kind of an application relation.
pub(super) fn relation(kind: u16) -> &'static str {
    match kind {
        1 => "io_controller",
        3 => "io_controller_multicast",
        6 => "supervisor",
        0x10 => "io_controller_rt_class_3",
        0x20 => "io_controller_redundant",
        _ => "reserved",
    }
}

/// The kind of a communication relation for cyclic data.
pub(super) fn cyclic(kind: u16) -> &'static str {
    match kind {
        1 => "input",
        2 => "output",
        3 => "multicast_provider",
        4 => "multicast_consumer",
        _ => "reserved",
    }
}

/// A PNIO status that is not 0: where it was found, of what kind it is, and its last octet.
pub(super) fn status([code, decode, first, second]: [u8; 4]) -> Cow<'static, str> {
    let service = match code {
        0x20..=0x3f => "log_book",
        0x81 => "pnio",
        0xcf => "rta",
        0xda => "alarm_ack",
        0xdb => "connect",
        0xdc => "release",
        0xdd => "control",
        0xde => "read",
        0xdf => "write",
        _ => "reserved",
    };
    match decode {
        0x80 => Cow::Owned(format!("{service}:{}", access(first))),
        0x81 if first == 0xfd => Cow::Owned(format!("{service}:{}", abort(second))),
        0x81 => Cow::Owned(format!("{service}:{}:{second}", class(first))),
        _ => Cow::Owned(format!("{service}:0x{decode:02x}{first:02x}{second:02x}")),
    }
}

/// ErrorCode1 of a record access (PNIORW).
fn access(code: u8) -> &'static str {
    match code {
        0xa0 => "read_error",
        0xa1 => "write_error",
        0xa2 => "module_failure",
        0xa7 => "busy",
        0xa8 => "version_conflict",
        0xa9 => "feature_not_supported",
        0xb0 => "invalid_index",
        0xb1 => "write_length_error",
        0xb2 => "invalid_slot_or_subslot",
        0xb3 => "type_conflict",
        0xb4 => "invalid_area_or_api",
        0xb5 => "state_conflict",
        0xb6 => "access_denied",
        0xb7 => "invalid_range",
        0xb8 => "invalid_parameter",
        0xb9 => "invalid_type",
        0xba => "backup",
        0xc0 => "read_constrain_conflict",
        0xc1 => "write_constrain_conflict",
        0xc2 => "resource_busy",
        0xc3 => "resource_unavailable",
        _ => "user_specific",
    }
}

/// ErrorCode1 of the services (PNIO): the block or the protocol machine.
fn class(code: u8) -> &'static str {
    match code {
        1 => "faulty_ar_block",
        2 => "faulty_iocr_block",
        3 => "faulty_expected_submodule_block",
        4 => "faulty_alarm_cr_block",
        5 => "faulty_prm_server_block",
        6 => "faulty_mcr_block",
        7 => "faulty_ar_rpc_block",
        8 => "faulty_read_record",
        9 => "faulty_write_record",
        10 => "faulty_ir_info_block",
        11 => "faulty_sr_info_block",
        12 => "faulty_ar_fsu_block",
        14 => "faulty_rs_info_block",
        20..=23 => "faulty_control_block",
        40 => "faulty_release_block",
        60 => "alarm_ack",
        61 => "cmdev",
        62 => "cmctl",
        63 => "ctldina",
        64 => "cmrpc",
        65 => "alpmi",
        66 => "alpmr",
        67 => "lmpm",
        68 => "mac",
        69 => "rpc",
        70 => "apmr",
        71 => "apms",
        72 => "cpm",
        73 => "ppm",
        74 => "dcpucs",
        75 => "dcpucr",
        76 => "dcpmcs",
        77 => "dcpmcr",
        78 => "fspm",
        _ => "other",
    }
}

/// ErrorCode2 of what ends a relation (RTA_ERR_CLS_PROTOCOL).
fn abort(code: u8) -> &'static str {
    match code {
        1 => "sequence_error",
        2 => "instance_closed",
        3 => "out_of_memory",
        4 => "add_provider_or_consumer_failed",
        5 => "consumer_missing",
        6 => "cmi_timeout",
        7 => "alarm_open_failed",
        8 => "alarm_send_failed",
        9 => "alarm_ack_send_failed",
        10 => "alarm_data_too_long",
        11 => "alarm_indication_error",
        12 => "rpc_client_call_failed",
        13 => "connect_req_confirmed_negatively",
        14 => "release_req_confirmed_negatively",
        15 => "read_req_confirmed_negatively",
        16 => "write_req_confirmed_negatively",
        17 => "parameter_end_rejected",
        18 => "control_response_missing",
        19 => "duplicate_ip_address",
        20 => "duplicate_name_or_wrong_protocol_state",
        21 => "name_of_station_error",
        22 => "rt_class_3_not_activated",
        23 => "no_physical_connection",
        24 => "device_not_found",
        25 => "released_by_controller",
        26 => "local_device_reset",
        31 => "protocol_violation",
        32 => "changed_name_or_ip",
        _ => "aborted",
    }
}
