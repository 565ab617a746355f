//! Names of SMB 1: commands, transactions, the errors of old.

use std::borrow::Cow;

use yagura_event::vocabulary::operation;

use super::smb1::command;

/// Name and operation of a command (MS-CIFS 2.2.2.1); no name for one that is not assigned.
pub(super) fn command1(code: u8) -> (&'static str, &'static str) {
    match code {
        command::CREATE_DIRECTORY => ("create_directory", operation::PROGRAM_WRITE),
        command::DELETE_DIRECTORY => ("delete_directory", operation::PROGRAM_WRITE),
        command::OPEN => ("open", operation::PROGRAM_READ),
        command::CREATE => ("create", operation::PROGRAM_WRITE),
        command::CLOSE => ("close", operation::SESSION_CLOSE),
        command::FLUSH => ("flush", operation::OTHER),
        command::DELETE => ("delete", operation::PROGRAM_WRITE),
        command::RENAME => ("rename", operation::PROGRAM_WRITE),
        command::QUERY_INFORMATION => ("query_information", operation::DISCOVER),
        command::SET_INFORMATION => ("set_information", operation::CONFIGURE),
        command::READ => ("read", operation::PROGRAM_READ),
        command::WRITE => ("write", operation::PROGRAM_WRITE),
        0x0c => ("lock_byte_range", operation::OTHER),
        0x0d => ("unlock_byte_range", operation::OTHER),
        0x0e => ("create_temporary", operation::PROGRAM_WRITE),
        0x0f => ("create_new", operation::PROGRAM_WRITE),
        command::CHECK_DIRECTORY => ("check_directory", operation::DISCOVER),
        0x11 => ("process_exit", operation::SESSION_CLOSE),
        0x12 => ("seek", operation::OTHER),
        0x13 => ("lock_and_read", operation::PROGRAM_READ),
        0x14 => ("write_and_unlock", operation::PROGRAM_WRITE),
        0x1a => ("read_raw", operation::PROGRAM_READ),
        0x1d => ("write_raw", operation::PROGRAM_WRITE),
        0x22 => ("set_information2", operation::CONFIGURE),
        0x23 => ("query_information2", operation::DISCOVER),
        0x24 => ("locking_andx", operation::OTHER),
        command::TRANSACTION => ("transaction", operation::OTHER),
        command::TRANSACTION_SECONDARY => ("transaction_secondary", operation::OTHER),
        0x27 => ("ioctl", operation::OTHER),
        0x29 => ("copy", operation::PROGRAM_WRITE),
        0x2a => ("move", operation::PROGRAM_WRITE),
        0x2b => ("echo", operation::SESSION_KEEP),
        command::WRITE_AND_CLOSE => ("write_and_close", operation::PROGRAM_WRITE),
        command::OPEN_ANDX => ("open_andx", operation::PROGRAM_READ),
        command::READ_ANDX => ("read_andx", operation::PROGRAM_READ),
        command::WRITE_ANDX => ("write_andx", operation::PROGRAM_WRITE),
        command::TRANSACTION2 => ("transaction2", operation::OTHER),
        command::TRANSACTION2_SECONDARY => ("transaction2_secondary", operation::OTHER),
        0x34 => ("find_close2", operation::OTHER),
        0x70 => ("tree_connect", operation::SESSION_OPEN),
        command::TREE_DISCONNECT => ("tree_disconnect", operation::SESSION_CLOSE),
        command::NEGOTIATE => ("negotiate", operation::SESSION_OPEN),
        command::SESSION_SETUP => ("session_setup_andx", operation::AUTHENTICATE),
        command::LOGOFF => ("logoff_andx", operation::SESSION_CLOSE),
        command::TREE_CONNECT => ("tree_connect_andx", operation::SESSION_OPEN),
        0x80 => ("query_information_disk", operation::DISCOVER),
        0x81 => ("search", operation::DISCOVER),
        0x82 => ("find", operation::DISCOVER),
        command::NT_TRANSACT => ("nt_transact", operation::OTHER),
        command::NT_TRANSACT_SECONDARY => ("nt_transact_secondary", operation::OTHER),
        command::NT_CREATE => ("nt_create_andx", operation::OTHER),
        command::NT_CANCEL => ("nt_cancel", operation::OTHER),
        command::NT_RENAME => ("nt_rename", operation::PROGRAM_WRITE),
        0xc0 => ("open_print_file", operation::OTHER),
        _ => ("", operation::OTHER),
    }
}

/// Whether a command's words begin with the next command.
pub(super) fn chained(code: u8) -> bool {
    matches!(
        code,
        0x24 | command::OPEN_ANDX
            | command::READ_ANDX
            | command::WRITE_ANDX
            | command::SESSION_SETUP
            | command::LOGOFF
            | command::TREE_CONNECT
            | command::NT_CREATE
    )
}

pub(super) fn without_response(code: u8) -> bool {
    matches!(
        code,
        command::NT_CANCEL
            | command::TRANSACTION_SECONDARY
            | command::TRANSACTION2_SECONDARY
            | command::NT_TRANSACT_SECONDARY
    )
}

pub(super) fn is_transaction(code: u8) -> bool {
    matches!(code, command::TRANSACTION | command::TRANSACTION2 | command::NT_TRANSACT)
}

/// Subcommands of the second transaction (MS-CIFS 2.2.2.2).
pub(super) fn transaction2(code: u32) -> (Cow<'static, str>, &'static str) {
    let (name, operation) = match code {
        0 => ("trans2_open2", operation::PROGRAM_READ),
        1 => ("trans2_find_first2", operation::DISCOVER),
        2 => ("trans2_find_next2", operation::DISCOVER),
        3 => ("trans2_query_fs_information", operation::DISCOVER),
        4 => ("trans2_set_fs_information", operation::CONFIGURE),
        5 => ("trans2_query_path_information", operation::DISCOVER),
        6 => ("trans2_set_path_information", operation::CONFIGURE),
        7 => ("trans2_query_file_information", operation::DISCOVER),
        8 => ("trans2_set_file_information", operation::CONFIGURE),
        13 => ("trans2_create_directory", operation::PROGRAM_WRITE),
        14 => ("trans2_session_setup", operation::AUTHENTICATE),
        16 => ("trans2_get_dfs_referral", operation::DISCOVER),
        17 => ("trans2_report_dfs_inconsistency", operation::OTHER),
        other => return (Cow::Owned(format!("trans2_0x{other:04x}")), operation::OTHER),
    };
    (Cow::Borrowed(name), operation)
}

pub(super) fn nt_transaction(code: u32) -> (Cow<'static, str>, &'static str) {
    let (name, operation) = match code {
        1 => ("nt_transact_create", operation::OTHER),
        2 => ("nt_transact_ioctl", operation::OTHER),
        3 => ("nt_transact_set_security_desc", operation::CONFIGURE),
        4 => ("nt_transact_notify_change", operation::DISCOVER),
        5 => ("nt_transact_rename", operation::PROGRAM_WRITE),
        6 => ("nt_transact_query_security_desc", operation::DISCOVER),
        7 => ("nt_transact_get_user_quota", operation::DISCOVER),
        8 => ("nt_transact_set_user_quota", operation::CONFIGURE),
        other => return (Cow::Owned(format!("nt_transact_0x{other:04x}")), operation::OTHER),
    };
    (Cow::Borrowed(name), operation)
}

/// Subcommands of the first transaction, which are about pipes.
pub(super) fn pipe_transaction(code: u32) -> Cow<'static, str> {
    Cow::Borrowed(match code {
        0x01 => "trans_set_nmpipe_state",
        0x11 => "trans_raw_read_nmpipe",
        0x21 => "trans_query_nmpipe_state",
        0x22 => "trans_query_nmpipe_info",
        0x23 => "trans_peek_nmpipe",
        0x26 => "trans_transact_nmpipe",
        0x31 => "trans_raw_write_nmpipe",
        0x36 => "trans_read_nmpipe",
        0x37 => "trans_write_nmpipe",
        0x53 => "trans_wait_nmpipe",
        0x54 => "trans_call_nmpipe",
        other => return Cow::Owned(format!("trans_0x{other:04x}")),
    })
}

/// Functions of the remote administration protocol (MS-RAP 2.5).
pub(super) fn rap(code: u16) -> Cow<'static, str> {
    Cow::Borrowed(match code {
        0 => "NetShareEnum",
        1 => "NetShareGetInfo",
        13 => "NetServerGetInfo",
        56 => "NetUserGetInfo",
        63 => "NetWkstaGetInfo",
        69 => "NetPrintQEnum",
        70 => "NetPrintQGetInfo",
        104 => "NetServerEnum2",
        115 => "NetUserPasswordSet2",
        132 => "NetWkstaUserLogon",
        214 => "SamOEMChangePassword",
        215 => "NetServerEnum3",
        other => return Cow::Owned(format!("rap_{other}")),
    })
}

/// Errors of servers that know no NTSTATUS: class and code (MS-CIFS 2.2.2.4).
pub(super) fn dos_error(class: u8, code: u16) -> Cow<'static, str> {
    Cow::Borrowed(match (class, code) {
        (1, 1) => "ERRbadfunc",
        (1, 2) => "ERRbadfile",
        (1, 3) => "ERRbadpath",
        (1, 4) => "ERRnofids",
        (1, 5) => "ERRnoaccess",
        (1, 6) => "ERRbadfid",
        (1, 18) => "ERRnofiles",
        (1, 32) => "ERRbadshare",
        (1, 33) => "ERRlock",
        (1, 80) => "ERRfilexists",
        (1, 87) => "ERRinvalidparam",
        (1, 234) => "ERRmoredata",
        (2, 1) => "ERRerror",
        (2, 2) => "ERRbadpw",
        (2, 4) => "ERRaccess",
        (2, 5) => "ERRinvtid",
        (2, 6) => "ERRinvnetname",
        (2, 64) => "ERRsmbcmd",
        (2, 91) => "ERRbaduid",
        (3, 19) => "ERRnowrite",
        (3, 31) => "ERRgeneral",
        (class, code) => return Cow::Owned(format!("{class}/{code}")),
    })
}
