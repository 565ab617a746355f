//! Names of DCE-RPC: faults, reasons, authentication, errors that operations return.

use std::borrow::Cow;

use super::interfaces::Returns;

/// Why a call failed (C706, appendix E; MS-RPCE 2.2.2.13, Win32 errors of RPC).
pub(crate) fn fault(status: u32) -> Cow<'static, str> {
    Cow::Borrowed(match status {
        0x0000_0005 => "access_denied",
        0x0000_06f7 => "RPC_X_BAD_STUB_DATA",
        0x0000_06d1 => "RPC_S_PROCNUM_OUT_OF_RANGE",
        0x0000_06d9 => "EPT_S_NOT_REGISTERED",
        0x0000_06e4 => "RPC_S_CANNOT_SUPPORT",
        0x0000_0721 => "RPC_S_SEC_PKG_ERROR",
        0x1c01_0001 => "nca_s_comm_failure",
        0x1c01_0002 => "nca_s_op_rng_error",
        0x1c01_0003 => "nca_s_unk_if",
        0x1c01_0006 => "nca_s_wrong_boot_time",
        0x1c01_0009 => "nca_s_you_crashed",
        0x1c01_000b => "nca_s_proto_error",
        0x1c01_0013 => "nca_s_out_args_too_big",
        0x1c01_0014 => "nca_s_server_too_busy",
        0x1c01_0015 => "nca_s_fault_string_too_long",
        0x1c01_0017 => "nca_s_unsupported_type",
        0x1c00_0001 => "nca_s_fault_int_div_by_zero",
        0x1c00_0002 => "nca_s_fault_addr_error",
        0x1c00_0009 => "nca_s_fault_remote_no_memory",
        0x1c00_000d => "nca_s_fault_cancel",
        0x1c00_0012 => "nca_s_fault_unspec",
        0x1c00_001a => "nca_s_fault_context_mismatch",
        0x1c00_001b => "nca_s_fault_remote_no_memory",
        0x1c00_001c => "nca_s_invalid_pres_context_id",
        0x1c00_001d => "nca_s_unsupported_authn_level",
        0x1c00_001f => "nca_s_invalid_checksum",
        0x1c00_0020 => "nca_s_invalid_crc",
        0x1c00_0024 => "nca_s_fault_codeset_conv_error",
        0x8001_0001 => "RPC_E_CALL_REJECTED",
        0x8001_0108 => "RPC_E_DISCONNECTED",
        0x8001_011d => "CO_E_OBJNOTCONNECTED",
        0x8007_0005 => "E_ACCESSDENIED",
        0xc002_100b => "nca_s_access_denied",
        other => return Cow::Owned(format!("0x{other:08x}")),
    })
}

/// Why a bind is refused (C706, 12.6.3.1: p_reject_reason_t).
pub(super) fn refusal(reason: u16) -> Cow<'static, str> {
    Cow::Borrowed(match reason {
        0 => "reason_not_specified",
        1 => "temporary_congestion",
        2 => "local_limit_exceeded",
        4 => "protocol_version_not_supported",
        8 => "authentication_type_not_recognized",
        9 => "invalid_checksum",
        other => return Cow::Owned(format!("reason_{other}")),
    })
}

/// Why one interface of a bind is (p_provider_reason_t).
pub(super) fn provider(reason: u16) -> &'static str {
    match reason {
        1 => "abstract_syntax_not_supported",
        2 => "proposed_transfer_syntaxes_not_supported",
        3 => "local_limit_exceeded",
        _ => "reason_not_specified",
    }
}

/// Security providers (MS-RPCE 2.2.1.1.7).
pub(super) fn authentication(kind: u8) -> &'static str {
    match kind {
        0 => "none",
        9 => "spnego",
        10 => "ntlm",
        14 => "schannel",
        16 => "kerberos",
        68 => "netlogon",
        _ => "other",
    }
}

/// Levels of protection (MS-RPCE 2.2.1.1.8).
pub(super) fn level(level: u8) -> &'static str {
    match level {
        0 => "default",
        1 => "none",
        2 => "connect",
        3 => "call",
        4 => "packet",
        5 => "integrity",
        6 => "privacy",
        _ => "unknown",
    }
}

/// What an operation returned, where it is a failure or says more than success: the name, and
/// whether it is a refusal.
pub(super) fn returned(returns: Returns, code: u32) -> Option<(Cow<'static, str>, bool)> {
    if code == 0 {
        return None;
    }
    let digits = || Cow::Owned(format!("0x{code:08x}"));
    let (name, refused) = match returns {
        Returns::Other => return None,
        Returns::Nt => (crate::ntstatus::name(code), code >> 30 == 3),
        Returns::Com => (hresult(code).map_or_else(digits, Cow::Borrowed), code >> 31 == 1),
        // More is there, or the caller only asks how much.
        Returns::Win32 => {
            let name = win32(code).map_or_else(digits, Cow::Borrowed);
            (name, !matches!(code, 122 | 234 | 259 | 261 | 997))
        }
    };
    Some((name, refused))
}

fn win32(code: u32) -> Option<&'static str> {
    Some(match code {
        1 => "ERROR_INVALID_FUNCTION",
        2 => "ERROR_FILE_NOT_FOUND",
        3 => "ERROR_PATH_NOT_FOUND",
        5 => "ERROR_ACCESS_DENIED",
        6 => "ERROR_INVALID_HANDLE",
        50 => "ERROR_NOT_SUPPORTED",
        53 => "ERROR_BAD_NETPATH",
        87 => "ERROR_INVALID_PARAMETER",
        122 => "ERROR_INSUFFICIENT_BUFFER",
        123 => "ERROR_INVALID_NAME",
        124 => "ERROR_INVALID_LEVEL",
        234 => "ERROR_MORE_DATA",
        259 => "ERROR_NO_MORE_ITEMS",
        997 => "ERROR_IO_PENDING",
        1053 => "ERROR_SERVICE_REQUEST_TIMEOUT",
        1056 => "ERROR_SERVICE_ALREADY_RUNNING",
        1058 => "ERROR_SERVICE_DISABLED",
        1060 => "ERROR_SERVICE_DOES_NOT_EXIST",
        1062 => "ERROR_SERVICE_NOT_ACTIVE",
        1069 => "ERROR_SERVICE_LOGON_FAILED",
        1072 => "ERROR_SERVICE_MARKED_FOR_DELETE",
        1073 => "ERROR_SERVICE_EXISTS",
        1801 => "ERROR_INVALID_PRINTER_NAME",
        2310 => "NERR_NetNameNotFound",
        8418 => "ERROR_DS_DRA_SCHEMA_MISMATCH",
        8453 => "ERROR_DS_DRA_ACCESS_DENIED",
        _ => return None,
    })
}

fn hresult(code: u32) -> Option<&'static str> {
    Some(match code {
        1 => "S_FALSE",
        0x8000_4001 => "E_NOTIMPL",
        0x8000_4002 => "E_NOINTERFACE",
        0x8000_4005 => "E_FAIL",
        0x8000_ffff => "E_UNEXPECTED",
        0x8001_0108 => "RPC_E_DISCONNECTED",
        0x8004_0154 => "REGDB_E_CLASSNOTREG",
        0x8004_0200 => "CONNECT_E_NOCONNECTION",
        0x8004_0202 => "CONNECT_E_CANNOTCONNECT",
        0x8007_0005 => "E_ACCESSDENIED",
        0x8007_000e => "E_OUTOFMEMORY",
        0x8007_0057 => "E_INVALIDARG",
        0x8008_0005 => "CO_E_SERVER_EXEC_FAILURE",
        0xc004_0001 => "OPC_E_INVALIDHANDLE",
        0xc004_0004 => "OPC_E_BADTYPE",
        0xc004_0005 => "OPC_E_PUBLIC",
        0xc004_0006 => "OPC_E_BADRIGHTS",
        0xc004_0007 => "OPC_E_UNKNOWNITEMID",
        0xc004_0008 => "OPC_E_INVALIDITEMID",
        0xc004_0009 => "OPC_E_INVALIDFILTER",
        0xc004_000a => "OPC_E_UNKNOWNPATH",
        0xc004_000b => "OPC_E_RANGE",
        0xc004_000c => "OPC_E_DUPLICATENAME",
        0x0004_000d => "OPC_S_UNSUPPORTEDRATE",
        0x0004_000e => "OPC_S_CLAMP",
        _ => return None,
    })
}
