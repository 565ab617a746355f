//! Names of the Common Industrial Protocol: classes, services, statuses.

use yagura_event::vocabulary::operation;

/// Name of an object class (CIP volume 1 chapter 5; from 0x64 on as publicly known of Logix
/// controllers).
pub(super) fn class(code: u32) -> Option<&'static str> {
    Some(match code {
        0x01 => "identity",
        0x02 => "message_router",
        0x03 => "devicenet",
        0x04 => "assembly",
        0x05 => "connection",
        0x06 => "connection_manager",
        0x07 => "register",
        0x0f => "parameter",
        0x37 => "file",
        0x43 => "time_sync",
        0x47 => "device_level_ring",
        0x48 => "qos",
        0x4e => "base_energy",
        0x5d => "cip_security",
        0x5e => "ethernet_ip_security",
        0x5f => "certificate_management",
        0x64 => "controller",
        0x67 => "pccc",
        0x68 => "program",
        0x69 => "program_name",
        0x6a => "map",
        0x6b => "symbol",
        0x6c => "template",
        0x70 => "task",
        0x72 => "data_access",
        0x8b => "wall_clock_time",
        0x8e => "controller_mode",
        0xa1 => "nonvolatile_storage",
        0xf4 => "port",
        0xf5 => "tcp_ip_interface",
        0xf6 => "ethernet_link",
        _ => return None,
    })
}

/// Name and operation of a service of a class; class `None` for symbols.
pub(super) fn service(code: u8, class: Option<u32>) -> Option<(&'static str, &'static str)> {
    use operation as op;
    let special = match (class, code) {
        (Some(0x06), 0x4e) => ("forward_close", op::SESSION_CLOSE),
        (Some(0x06), 0x52) => ("unconnected_send", op::OTHER),
        (Some(0x06), 0x54) => ("forward_open", op::SESSION_OPEN),
        (Some(0x06), 0x56) => ("get_connection_data", op::DISCOVER),
        (Some(0x06), 0x57) => ("search_connection_data", op::DISCOVER),
        (Some(0x06), 0x5a) => ("get_connection_owner", op::DISCOVER),
        (Some(0x06), 0x5b) => ("large_forward_open", op::SESSION_OPEN),
        (Some(0x37), 0x4b) => ("initiate_upload", op::PROGRAM_READ),
        (Some(0x37), 0x4c) => ("initiate_download", op::PROGRAM_WRITE),
        (Some(0x37), 0x4d) => ("initiate_partial_read", op::PROGRAM_READ),
        (Some(0x37), 0x4e) => ("initiate_partial_write", op::PROGRAM_WRITE),
        (Some(0x37), 0x4f) => ("upload_transfer", op::PROGRAM_READ),
        (Some(0x37), 0x50) => ("download_transfer", op::PROGRAM_WRITE),
        (Some(0x37), 0x51) => ("clear_file", op::PROGRAM_WRITE),
        (Some(0x67), 0x4b) => ("execute_pccc", op::OTHER),
        (Some(0x67), 0x4c) => ("execute_dh_plus", op::OTHER),
        (Some(0xa1), 0x4b) => ("update", op::PROGRAM_WRITE),
        (Some(0xa1), 0x4d) => ("transfer", op::PROGRAM_WRITE),
        (Some(0x8e), 0x06) => ("start", op::CONTROL),
        (Some(0x8e), 0x07) => ("stop", op::CONTROL),
        (Some(0x6b), 0x55) => ("get_instance_attribute_list", op::DISCOVER),
        (Some(0x6c), 0x4c) => ("read_template", op::DISCOVER),
        (None | Some(0x6b), 0x4c) => ("read_tag", op::READ),
        (None | Some(0x6b), 0x4d) => ("write_tag", op::WRITE),
        (None | Some(0x6b), 0x4e) => ("read_modify_write_tag", op::WRITE),
        (None | Some(0x6b), 0x52) => ("read_tag_fragmented", op::READ),
        (None | Some(0x6b), 0x53) => ("write_tag_fragmented", op::WRITE),
        (Some(0x04), 0x0e) => ("get_attribute_single", op::READ),
        (Some(0x04), 0x10) => ("set_attribute_single", op::WRITE),
        (Some(0x64 | 0x68..=0x6a | 0x6d | 0x70), 0x08) => ("create", op::PROGRAM_WRITE),
        (Some(0x64 | 0x68..=0x6a | 0x6d | 0x70), 0x09) => ("delete", op::PROGRAM_WRITE),
        _ => ("", op::OTHER),
    };
    if !special.0.is_empty() {
        return Some(special);
    }
    Some(match code {
        0x01 => ("get_attributes_all", op::DISCOVER),
        0x02 => ("set_attributes_all", op::CONFIGURE),
        0x03 => ("get_attribute_list", op::DISCOVER),
        0x04 => ("set_attribute_list", op::CONFIGURE),
        0x05 => ("reset", op::CONTROL),
        0x06 => ("start", op::CONTROL),
        0x07 => ("stop", op::CONTROL),
        0x08 => ("create", op::CONFIGURE),
        0x09 => ("delete", op::CONFIGURE),
        0x0a => ("multiple_service_packet", op::OTHER),
        0x0d => ("apply_attributes", op::CONFIGURE),
        0x0e => ("get_attribute_single", op::DISCOVER),
        0x10 => ("set_attribute_single", op::CONFIGURE),
        0x11 => ("find_next_object_instance", op::DISCOVER),
        0x15 => ("restore", op::CONTROL),
        0x16 => ("save", op::CONTROL),
        0x17 => ("no_operation", op::SESSION_KEEP),
        0x18 => ("get_member", op::READ),
        0x19 => ("set_member", op::WRITE),
        0x1a => ("insert_member", op::WRITE),
        0x1b => ("remove_member", op::WRITE),
        0x1c => ("group_sync", op::DIAGNOSE),
        _ => return None,
    })
}

/// Name of a general status (CIP volume 1, appendix B).
pub(super) fn status(code: u8) -> Option<&'static str> {
    Some(match code {
        0x00 => "success",
        0x01 => "connection_failure",
        0x02 => "resource_unavailable",
        0x03 => "invalid_parameter_value",
        0x04 => "path_segment_error",
        0x05 => "path_destination_unknown",
        0x06 => "partial_transfer",
        0x07 => "connection_lost",
        0x08 => "service_not_supported",
        0x09 => "invalid_attribute_value",
        0x0a => "attribute_list_error",
        0x0b => "already_in_requested_mode",
        0x0c => "object_state_conflict",
        0x0d => "object_already_exists",
        0x0e => "attribute_not_settable",
        0x0f => "privilege_violation",
        0x10 => "device_state_conflict",
        0x11 => "reply_data_too_large",
        0x12 => "fragmentation_of_primitive_value",
        0x13 => "not_enough_data",
        0x14 => "attribute_not_supported",
        0x15 => "too_much_data",
        0x16 => "object_does_not_exist",
        0x17 => "fragmentation_sequence_not_in_progress",
        0x18 => "no_stored_attribute_data",
        0x19 => "store_operation_failure",
        0x1a => "routing_failure_request_too_large",
        0x1b => "routing_failure_response_too_large",
        0x1c => "missing_attribute_list_entry",
        0x1d => "invalid_attribute_value_list",
        0x1e => "embedded_service_error",
        0x1f => "vendor_specific_error",
        0x20 => "invalid_parameter",
        0x21 => "write_once_already_written",
        0x22 => "invalid_reply_received",
        0x25 => "key_failure_in_path",
        0x26 => "path_size_invalid",
        0x27 => "unexpected_attribute_in_list",
        0x28 => "invalid_member_id",
        0x29 => "member_not_settable",
        _ => return None,
    })
}

/// Name of an encapsulation status.
pub(super) fn encapsulation_status(code: u32) -> Option<&'static str> {
    Some(match code {
        0x00 => "success",
        0x01 => "invalid_command",
        0x02 => "insufficient_memory",
        0x03 => "incorrect_data",
        0x64 => "invalid_session_handle",
        0x65 => "invalid_length",
        0x69 => "unsupported_protocol_version",
        0x6a => "encapsulated_cip_service_not_allowed",
        _ => return None,
    })
}

/// What a PCCC command and function do (as publicly described for PLC-5, SLC 500 and
/// MicroLogix).
pub(super) fn pccc(command: u8, function: u8) -> (&'static str, &'static str) {
    use operation as op;
    match (command & 0x4f, function) {
        (0x06, 0x00) => ("pccc_echo", op::DIAGNOSE),
        (0x06, 0x03) => ("pccc_diagnostic_status", op::DISCOVER),
        (0x0f, 0x00) => ("pccc_word_range_write", op::WRITE),
        (0x0f, 0x01) => ("pccc_word_range_read", op::READ),
        (0x0f, 0x02) => ("pccc_bit_write", op::WRITE),
        (0x0f, 0x11) => ("pccc_get_edit_resource", op::SESSION_OPEN),
        (0x0f, 0x12) => ("pccc_return_edit_resource", op::SESSION_CLOSE),
        (0x0f, 0x26) => ("pccc_read_modify_write", op::WRITE),
        (0x0f, 0x3a) => ("pccc_set_cpu_mode", op::CONTROL),
        (0x0f, 0x50) => ("pccc_download_all_request", op::PROGRAM_WRITE),
        (0x0f, 0x52) => ("pccc_download_completed", op::PROGRAM_WRITE),
        (0x0f, 0x53) => ("pccc_upload_all_request", op::PROGRAM_READ),
        (0x0f, 0x55) => ("pccc_upload_completed", op::PROGRAM_READ),
        (0x0f, 0x57) => ("pccc_initialize_memory", op::PROGRAM_WRITE),
        (0x0f, 0x67) => ("pccc_typed_write", op::WRITE),
        (0x0f, 0x68) => ("pccc_typed_read", op::READ),
        (0x0f, 0x80) => ("pccc_change_mode", op::CONTROL),
        (0x0f, 0x88) => ("pccc_execute_multiple_commands", op::CONTROL),
        (0x0f, 0x8f) => ("pccc_apply_port_configuration", op::CONFIGURE),
        (0x0f, 0xa1) => ("pccc_protected_typed_logical_read_2", op::READ),
        (0x0f, 0xa2) => ("pccc_protected_typed_logical_read_3", op::READ),
        (0x0f, 0xa7) => ("pccc_protected_typed_file_read", op::PROGRAM_READ),
        (0x0f, 0xa9) => ("pccc_protected_typed_logical_write_2", op::WRITE),
        (0x0f, 0xaa) => ("pccc_protected_typed_logical_write_3", op::WRITE),
        (0x0f, 0xab) => ("pccc_protected_typed_logical_masked_write", op::WRITE),
        (0x0f, 0xaf) => ("pccc_protected_typed_file_write", op::PROGRAM_WRITE),
        _ => ("execute_pccc", op::OTHER),
    }
}
