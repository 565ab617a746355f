//! Names of SMB: commands, dialects, statuses, classes, control codes.

use std::borrow::Cow;
use std::fmt::Write;

use yagura_event::vocabulary::operation;

pub(super) const NEGOTIATE: u16 = 0;
pub(super) const SESSION_SETUP: u16 = 1;
pub(super) const LOGOFF: u16 = 2;
pub(super) const TREE_CONNECT: u16 = 3;
pub(super) const TREE_DISCONNECT: u16 = 4;
pub(super) const CREATE: u16 = 5;
pub(super) const CLOSE: u16 = 6;
pub(super) const FLUSH: u16 = 7;
pub(super) const READ: u16 = 8;
pub(super) const WRITE: u16 = 9;
pub(super) const LOCK: u16 = 10;
pub(super) const IOCTL: u16 = 11;
pub(super) const CANCEL: u16 = 12;
pub(super) const ECHO: u16 = 13;
pub(super) const QUERY_DIRECTORY: u16 = 14;
pub(super) const CHANGE_NOTIFY: u16 = 15;
pub(super) const QUERY_INFO: u16 = 16;
pub(super) const SET_INFO: u16 = 17;
pub(super) const OPLOCK_BREAK: u16 = 18;

/// SMB 1's command of the same meaning.
pub(super) const NEGOTIATE_1: u16 = 0x72;

pub(super) use crate::ntstatus::name as status;

pub(super) const PENDING: u32 = 0x103;
pub(super) const BUFFER_OVERFLOW: u32 = 0x8000_0005;
pub(super) const MORE_PROCESSING_REQUIRED: u32 = 0xc000_0016;

pub(super) const PIPE_TRANSCEIVE: u32 = 0x0011_c017;
pub(super) const PIPE_WAIT: u32 = 0x0011_0018;
pub(super) const DFS_GET_REFERRALS: u32 = 0x0006_0194;
pub(super) const COPYCHUNK: u32 = 0x0014_40f2;
pub(super) const COPYCHUNK_WRITE: u32 = 0x0014_80f2;

/// Name and operation of a command of SMB 2 (MS-SMB2 2.2.1).
pub(super) fn command2(command: u16) -> (&'static str, &'static str) {
    match command {
        NEGOTIATE => ("negotiate", operation::SESSION_OPEN),
        SESSION_SETUP => ("session_setup", operation::AUTHENTICATE),
        LOGOFF => ("logoff", operation::SESSION_CLOSE),
        TREE_CONNECT => ("tree_connect", operation::SESSION_OPEN),
        TREE_DISCONNECT => ("tree_disconnect", operation::SESSION_CLOSE),
        CREATE => ("create", operation::OTHER),
        CLOSE => ("close", operation::SESSION_CLOSE),
        FLUSH => ("flush", operation::OTHER),
        READ => ("read", operation::PROGRAM_READ),
        WRITE => ("write", operation::PROGRAM_WRITE),
        LOCK => ("lock", operation::OTHER),
        IOCTL => ("ioctl", operation::OTHER),
        CANCEL => ("cancel", operation::OTHER),
        ECHO => ("echo", operation::SESSION_KEEP),
        QUERY_DIRECTORY => ("query_directory", operation::DISCOVER),
        CHANGE_NOTIFY => ("change_notify", operation::DISCOVER),
        QUERY_INFO => ("query_info", operation::DISCOVER),
        SET_INFO => ("set_info", operation::CONFIGURE),
        _ => ("oplock_break", operation::OTHER),
    }
}

/// The size that a request's structure must state.
pub(super) fn request_size(command: u16) -> u16 {
    match command {
        NEGOTIATE => 36,
        SESSION_SETUP => 25,
        LOGOFF | TREE_DISCONNECT | ECHO | CANCEL => 4,
        TREE_CONNECT => 9,
        CREATE | IOCTL => 57,
        READ | WRITE => 49,
        LOCK => 48,
        QUERY_DIRECTORY | SET_INFO => 33,
        CHANGE_NOTIFY => 32,
        QUERY_INFO => 41,
        // CLOSE, FLUSH, OPLOCK_BREAK.
        _ => 24,
    }
}

/// The size that a response's structure must state.
pub(super) fn response_size(command: u16) -> u16 {
    match command {
        NEGOTIATE => 65,
        SESSION_SETUP | QUERY_DIRECTORY | CHANGE_NOTIFY | QUERY_INFO => 9,
        TREE_CONNECT => 16,
        CREATE => 89,
        CLOSE => 60,
        READ | WRITE => 17,
        IOCTL => 49,
        SET_INFO => 2,
        OPLOCK_BREAK => 24,
        _ => 4,
    }
}

pub(super) fn dialect(dialect: u16) -> Cow<'static, str> {
    Cow::Borrowed(match dialect {
        0x202 => "2.0.2",
        0x210 => "2.1",
        0x222 => "2.2",
        0x224 => "2.2.4",
        0x2ff => "2.?",
        0x300 => "3.0",
        0x302 => "3.0.2",
        0x311 => "3.1.1",
        other => return Cow::Owned(format!("0x{other:04x}")),
    })
}

/// Algorithms of a negotiation's contexts.
pub(super) fn algorithm(context: u16, id: u16) -> Cow<'static, str> {
    Cow::Borrowed(match (context, id) {
        (1, 1) => "SHA-512",
        (2, 1) => "AES-128-CCM",
        (2, 2) => "AES-128-GCM",
        (2, 3) => "AES-256-CCM",
        (2, 4) => "AES-256-GCM",
        (3, 0) => "none",
        (3, 1) => "LZNT1",
        (3, 2) => "LZ77",
        (3, 3) => "LZ77+Huffman",
        (3, 4) => "Pattern_V1",
        (3, 5) => "LZ4",
        (8, 0) => "HMAC-SHA256",
        (8, 1) => "AES-CMAC",
        (8, 2) => "AES-GMAC",
        (_, id) => return Cow::Owned(id.to_string()),
    })
}

/// A GUID as text: its first three numbers have the low byte first.
pub(super) fn guid(bytes: &[u8; 16]) -> String {
    let mut out = String::with_capacity(36);
    for (index, at) in [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15].into_iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            out.push('-');
        }
        let _ = write!(out, "{:02x}", bytes[at]);
    }
    out
}

pub(super) fn share(kind: u8) -> &'static str {
    match kind {
        1 => "disk",
        2 => "pipe",
        3 => "print",
        _ => "unknown",
    }
}

pub(super) fn disposition(disposition: u32) -> &'static str {
    match disposition {
        0 => "supersede",
        1 => "open",
        2 => "create",
        3 => "open_if",
        4 => "overwrite",
        5 => "overwrite_if",
        _ => "unknown",
    }
}

/// Why a NetBIOS session is refused (RFC 1002, 4.3.4).
pub(super) fn session_error(code: u8) -> Cow<'static, str> {
    Cow::Borrowed(match code {
        0x80 => "not_listening_on_called_name",
        0x81 => "not_listening_for_calling_name",
        0x82 => "called_name_not_present",
        0x83 => "insufficient_resources",
        0x8f => "unspecified_error",
        other => return Cow::Owned(format!("0x{other:02x}")),
    })
}

/// Information classes (MS-FSCC 2.4, 2.5) of files (1), file systems (2), security (3), quotas (4).
pub(super) fn class(kind: u8, class: u8) -> Cow<'static, str> {
    Cow::Borrowed(match (kind, class) {
        (1, 1) => "directory",
        (1, 2) => "full_directory",
        (1, 3) => "both_directory",
        (1, 4) => "basic",
        (1, 5) => "standard",
        (1, 6) => "internal",
        (1, 7) => "ea",
        (1, 8) => "access",
        (1, 9) => "name",
        (1, 10) => "rename",
        (1, 11) => "link",
        (1, 12) => "names",
        (1, 13) => "disposition",
        (1, 14) => "position",
        (1, 15) => "full_ea",
        (1, 16) => "mode",
        (1, 17) => "alignment",
        (1, 18) => "all",
        (1, 19) => "allocation",
        (1, 20) => "end_of_file",
        (1, 21) => "alternate_name",
        (1, 22) => "stream",
        (1, 23) => "pipe",
        (1, 24) => "pipe_local",
        (1, 25) => "pipe_remote",
        (1, 28) => "compression",
        (1, 34) => "network_open",
        (1, 35) => "attribute_tag",
        (1, 37) => "id_both_directory",
        (1, 38) => "id_full_directory",
        (1, 39) => "valid_data_length",
        (1, 40) => "short_name",
        (1, 48) => "normalized_name",
        (1, 59) => "id",
        (1, 60) => "id_extd_directory",
        (1, 64) => "disposition_ex",
        (1, 65) => "rename_ex",
        (2, 1) => "fs_volume",
        (2, 2) => "fs_label",
        (2, 3) => "fs_size",
        (2, 4) => "fs_device",
        (2, 5) => "fs_attribute",
        (2, 6) => "fs_control",
        (2, 7) => "fs_full_size",
        (2, 8) => "fs_object_id",
        (2, 11) => "fs_sector_size",
        (3, _) => "security",
        (4, _) => "quota",
        (kind, class) => return Cow::Owned(format!("{kind}/{class}")),
    })
}

/// Control codes (MS-FSCC 2.3, MS-SMB2 2.2.31).
pub(super) fn control(code: u32) -> Cow<'static, str> {
    Cow::Borrowed(match code {
        0x0006_0194 => "FSCTL_DFS_GET_REFERRALS",
        0x0006_01b0 => "FSCTL_DFS_GET_REFERRALS_EX",
        0x0009_003c => "FSCTL_GET_COMPRESSION",
        0x0009_0064 => "FSCTL_GET_NTFS_VOLUME_DATA",
        0x0009_009c => "FSCTL_GET_OBJECT_ID",
        0x0009_00a4 => "FSCTL_SET_REPARSE_POINT",
        0x0009_00a8 => "FSCTL_GET_REPARSE_POINT",
        0x0009_00ac => "FSCTL_DELETE_REPARSE_POINT",
        0x0009_00c0 => "FSCTL_CREATE_OR_GET_OBJECT_ID",
        0x0009_00c4 => "FSCTL_SET_SPARSE",
        0x0009_00eb => "FSCTL_READ_FILE_USN_DATA",
        0x0009_40cf => "FSCTL_QUERY_ALLOCATED_RANGES",
        0x0009_80c8 => "FSCTL_SET_ZERO_DATA",
        0x0009_8208 => "FSCTL_FILE_LEVEL_TRIM",
        0x0009_8268 => "FSCTL_OFFLOAD_WRITE",
        0x0009_4264 => "FSCTL_OFFLOAD_READ",
        0x0009_8344 => "FSCTL_DUPLICATE_EXTENTS_TO_FILE",
        0x0009_c040 => "FSCTL_SET_COMPRESSION",
        0x0009_027c => "FSCTL_GET_INTEGRITY_INFORMATION",
        0x0009_c280 => "FSCTL_SET_INTEGRITY_INFORMATION",
        0x0011_0018 => "FSCTL_PIPE_WAIT",
        0x0011_400c => "FSCTL_PIPE_PEEK",
        0x0011_c017 => "FSCTL_PIPE_TRANSCEIVE",
        0x0014_0078 => "FSCTL_SRV_REQUEST_RESUME_KEY",
        0x0014_01d4 => "FSCTL_LMR_REQUEST_RESILIENCY",
        0x0014_01fc => "FSCTL_QUERY_NETWORK_INTERFACE_INFO",
        0x0014_0204 => "FSCTL_VALIDATE_NEGOTIATE_INFO",
        0x0014_4064 => "FSCTL_SRV_ENUMERATE_SNAPSHOTS",
        0x0014_40f2 => "FSCTL_SRV_COPYCHUNK",
        0x0014_80f2 => "FSCTL_SRV_COPYCHUNK_WRITE",
        0x0014_41bb => "FSCTL_SRV_READ_HASH",
        other => return Cow::Owned(format!("0x{other:08x}")),
    })
}
