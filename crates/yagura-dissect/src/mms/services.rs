//! Names of services and errors (ISO 9506-2), and what a service does.

use std::borrow::Cow;

use yagura_event::vocabulary::operation;

/// The confirmed services by their tags: name and operation.
#[rustfmt::skip]
const CONFIRMED: [(&str, &str); 79] = [
    ("status", operation::DIAGNOSE),
    ("get_name_list", operation::DISCOVER),
    ("identify", operation::DISCOVER),
    ("rename", operation::CONFIGURE),
    ("read", operation::READ),
    ("write", operation::WRITE),
    ("get_variable_access_attributes", operation::DISCOVER),
    ("define_named_variable", operation::CONFIGURE),
    ("define_scattered_access", operation::CONFIGURE),
    ("get_scattered_access_attributes", operation::DISCOVER),
    ("delete_variable_access", operation::CONFIGURE),
    ("define_named_variable_list", operation::CONFIGURE),
    ("get_named_variable_list_attributes", operation::DISCOVER),
    ("delete_named_variable_list", operation::CONFIGURE),
    ("define_named_type", operation::CONFIGURE),
    ("get_named_type_attributes", operation::DISCOVER),
    ("delete_named_type", operation::CONFIGURE),
    ("input", operation::READ),
    ("output", operation::WRITE),
    ("take_control", operation::CONTROL),
    ("relinquish_control", operation::CONTROL),
    ("define_semaphore", operation::CONFIGURE),
    ("delete_semaphore", operation::CONFIGURE),
    ("report_semaphore_status", operation::DISCOVER),
    ("report_pool_semaphore_status", operation::DISCOVER),
    ("report_semaphore_entry_status", operation::DISCOVER),
    ("initiate_download_sequence", operation::PROGRAM_WRITE),
    ("download_segment", operation::PROGRAM_WRITE),
    ("terminate_download_sequence", operation::PROGRAM_WRITE),
    ("initiate_upload_sequence", operation::PROGRAM_READ),
    ("upload_segment", operation::PROGRAM_READ),
    ("terminate_upload_sequence", operation::PROGRAM_READ),
    ("request_domain_download", operation::PROGRAM_WRITE),
    ("request_domain_upload", operation::PROGRAM_READ),
    ("load_domain_content", operation::PROGRAM_WRITE),
    ("store_domain_content", operation::PROGRAM_READ),
    ("delete_domain", operation::PROGRAM_WRITE),
    ("get_domain_attributes", operation::DISCOVER),
    ("create_program_invocation", operation::CONFIGURE),
    ("delete_program_invocation", operation::CONFIGURE),
    ("start", operation::CONTROL),
    ("stop", operation::CONTROL),
    ("resume", operation::CONTROL),
    ("reset", operation::CONTROL),
    ("kill", operation::CONTROL),
    ("get_program_invocation_attributes", operation::DISCOVER),
    ("obtain_file", operation::PROGRAM_WRITE),
    ("define_event_condition", operation::CONFIGURE),
    ("delete_event_condition", operation::CONFIGURE),
    ("get_event_condition_attributes", operation::DISCOVER),
    ("report_event_condition_status", operation::DISCOVER),
    ("alter_event_condition_monitoring", operation::CONFIGURE),
    ("trigger_event", operation::CONTROL),
    ("define_event_action", operation::CONFIGURE),
    ("delete_event_action", operation::CONFIGURE),
    ("get_event_action_attributes", operation::DISCOVER),
    ("report_event_action_status", operation::DISCOVER),
    ("define_event_enrollment", operation::CONFIGURE),
    ("delete_event_enrollment", operation::CONFIGURE),
    ("alter_event_enrollment", operation::CONFIGURE),
    ("report_event_enrollment_status", operation::DISCOVER),
    ("get_event_enrollment_attributes", operation::DISCOVER),
    ("acknowledge_event_notification", operation::CONTROL),
    ("get_alarm_summary", operation::DISCOVER),
    ("get_alarm_enrollment_summary", operation::DISCOVER),
    ("read_journal", operation::READ),
    ("write_journal", operation::WRITE),
    ("initialize_journal", operation::CONFIGURE),
    ("report_journal_status", operation::DISCOVER),
    ("create_journal", operation::CONFIGURE),
    ("delete_journal", operation::CONFIGURE),
    ("get_capability_list", operation::DISCOVER),
    ("file_open", operation::PROGRAM_READ),
    ("file_read", operation::PROGRAM_READ),
    ("file_close", operation::PROGRAM_READ),
    ("file_rename", operation::PROGRAM_WRITE),
    ("file_delete", operation::PROGRAM_WRITE),
    ("file_directory", operation::DISCOVER),
    ("additional_service", operation::OTHER),
];

/// Tags of the services that are read beyond their target.
pub(crate) mod tag {
    pub const STATUS: u32 = 0;
    pub const GET_NAME_LIST: u32 = 1;
    pub const IDENTIFY: u32 = 2;
    pub const READ: u32 = 4;
    pub const WRITE: u32 = 5;
    pub const GET_VARIABLE_ACCESS_ATTRIBUTES: u32 = 6;
    pub const DEFINE_NAMED_VARIABLE_LIST: u32 = 11;
    pub const GET_NAMED_VARIABLE_LIST_ATTRIBUTES: u32 = 12;
    pub const DELETE_NAMED_VARIABLE_LIST: u32 = 13;
    pub const INITIATE_DOWNLOAD_SEQUENCE: u32 = 26;
    pub const DOWNLOAD_SEGMENT: u32 = 27;
    pub const TERMINATE_DOWNLOAD_SEQUENCE: u32 = 28;
    pub const INITIATE_UPLOAD_SEQUENCE: u32 = 29;
    pub const UPLOAD_SEGMENT: u32 = 30;
    pub const TERMINATE_UPLOAD_SEQUENCE: u32 = 31;
    pub const OBTAIN_FILE: u32 = 46;
    pub const FILE_OPEN: u32 = 72;
    pub const FILE_READ: u32 = 73;
    pub const FILE_CLOSE: u32 = 74;
    pub const FILE_RENAME: u32 = 75;
    pub const FILE_DELETE: u32 = 76;
    pub const FILE_DIRECTORY: u32 = 77;
}

/// A confirmed service's operation and name.
pub(super) fn confirmed(tag: u32) -> (&'static str, Cow<'static, str>) {
    match CONFIRMED.get(tag as usize) {
        Some((name, operation)) => (operation, Cow::Borrowed(name)),
        None => (operation::OTHER, format!("service_{tag}").into()),
    }
}

/// An unconfirmed service's operation and name.
pub(super) fn unconfirmed(tag: u32) -> (&'static str, Cow<'static, str>) {
    match tag {
        0 => (operation::REPORT, "information_report".into()),
        1 => (operation::REPORT, "unsolicited_status".into()),
        2 => (operation::ALARM, "event_notification".into()),
        _ => (operation::OTHER, format!("unconfirmed_service_{tag}").into()),
    }
}

/// Why a value could not be had (ISO 9506-2, `DataAccessError`).
pub(super) fn access_error(code: u64) -> Cow<'static, str> {
    const NAMES: [&str; 12] = [
        "object_invalidated",
        "hardware_fault",
        "temporarily_unavailable",
        "object_access_denied",
        "object_undefined",
        "invalid_address",
        "type_unsupported",
        "type_inconsistent",
        "object_attribute_inconsistent",
        "object_access_unsupported",
        "object_non_existent",
        "object_value_invalid",
    ];
    match usize::try_from(code).ok().and_then(|code| NAMES.get(code)) {
        Some(name) => Cow::Borrowed(name),
        None => format!("data_access_error_{code}").into(),
    }
}

/// An error's class and code (ISO 9506-2, `ServiceError`).
pub(super) fn service_error(class: u32, code: u64) -> Cow<'static, str> {
    const CLASSES: [&str; 13] = [
        "vmd_state",
        "application_reference",
        "definition",
        "resource",
        "service",
        "service_preempt",
        "time_resolution",
        "access",
        "initiate",
        "conclude",
        "cancel",
        "file",
        "others",
    ];
    const DEFINITION: &[&str] = &[
        "",
        "object_undefined",
        "invalid_address",
        "type_unsupported",
        "type_inconsistent",
        "object_exists",
        "object_attribute_inconsistent",
    ];
    const ACCESS: &[&str] = &[
        "",
        "object_access_unsupported",
        "object_non_existent",
        "object_access_denied",
        "object_invalidated",
    ];
    const SERVICE: &[&str] = &[
        "",
        "primitives_out_of_sequence",
        "object_state_conflict",
        "pdu_size",
        "continuation_invalid",
        "object_constraint_conflict",
    ];
    const FILE: &[&str] = &[
        "",
        "filename_ambiguous",
        "file_busy",
        "filename_syntax_error",
        "content_type_invalid",
        "position_invalid",
        "file_access_denied",
        "file_non_existent",
        "duplicate_filename",
        "insufficient_space_in_filestore",
    ];
    let names = match class {
        2 => DEFINITION,
        4 => SERVICE,
        7 => ACCESS,
        11 => FILE,
        _ => &[],
    };
    let place = usize::try_from(code).unwrap_or(usize::MAX);
    match (CLASSES.get(class as usize), names.get(place)) {
        (_, Some(name)) if !name.is_empty() => Cow::Borrowed(name),
        (Some(class), _) => format!("{class}_{code}").into(),
        (None, _) => format!("error_{class}_{code}").into(),
    }
}

/// Why a PDU was rejected (ISO 9506-2, `RejectPDU`).
pub(super) fn reject(kind: u32, code: u64) -> Cow<'static, str> {
    const REQUEST: &[&str] = &[
        "other",
        "unrecognized_service",
        "unrecognized_modifier",
        "invalid_invoke_id",
        "invalid_argument",
        "invalid_modifier",
        "max_serv_outstanding_exceeded",
        "",
        "max_recursion_exceeded",
        "value_out_of_range",
    ];
    const PDU: &[&str] = &["unknown_pdu_type", "invalid_pdu", "illegal_acse_mapping"];
    let names = match kind {
        1 => REQUEST,
        5 => PDU,
        _ => &[],
    };
    match names.get(usize::try_from(code).unwrap_or(usize::MAX)) {
        Some(name) if !name.is_empty() => Cow::Borrowed(name),
        _ => format!("reject_{kind}_{code}").into(),
    }
}
