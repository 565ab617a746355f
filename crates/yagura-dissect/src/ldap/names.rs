//! Names of LDAP's numbers and identifiers.

use std::borrow::Cow;

/// Result codes (RFC 4511, appendix A; RFC 3909, RFC 4370, RFC 4528).
pub fn result(code: i64) -> Cow<'static, str> {
    Cow::Borrowed(match code {
        0 => "success",
        1 => "operationsError",
        2 => "protocolError",
        3 => "timeLimitExceeded",
        4 => "sizeLimitExceeded",
        5 => "compareFalse",
        6 => "compareTrue",
        7 => "authMethodNotSupported",
        8 => "strongerAuthRequired",
        10 => "referral",
        11 => "adminLimitExceeded",
        12 => "unavailableCriticalExtension",
        13 => "confidentialityRequired",
        14 => "saslBindInProgress",
        16 => "noSuchAttribute",
        17 => "undefinedAttributeType",
        18 => "inappropriateMatching",
        19 => "constraintViolation",
        20 => "attributeOrValueExists",
        21 => "invalidAttributeSyntax",
        32 => "noSuchObject",
        33 => "aliasProblem",
        34 => "invalidDNSyntax",
        36 => "aliasDereferencingProblem",
        48 => "inappropriateAuthentication",
        49 => "invalidCredentials",
        50 => "insufficientAccessRights",
        51 => "busy",
        52 => "unavailable",
        53 => "unwillingToPerform",
        54 => "loopDetect",
        64 => "namingViolation",
        65 => "objectClassViolation",
        66 => "notAllowedOnNonLeaf",
        67 => "notAllowedOnRDN",
        68 => "entryAlreadyExists",
        69 => "objectClassModsProhibited",
        71 => "affectsMultipleDSAs",
        80 => "other",
        118 => "canceled",
        119 => "noSuchOperation",
        120 => "tooLate",
        121 => "cannotCancel",
        122 => "assertionFailed",
        123 => "authorizationDenied",
        4096 => "syncRefreshRequired",
        other => return Cow::Owned(format!("result_{other}")),
    })
}

/// Whether a result is no refusal: done, compared, referred, or the next step of a bind.
pub fn is_good(code: i64) -> bool {
    matches!(code, 0 | 5 | 6 | 10 | 14)
}

/// Extended operations that have a name.
pub fn extended(identifier: &str) -> Option<&'static str> {
    Some(match identifier {
        "1.3.6.1.4.1.1466.20037" => "start_tls",
        "1.3.6.1.4.1.1466.20036" => "notice_of_disconnection",
        "1.3.6.1.4.1.4203.1.11.1" => "password_modify",
        "1.3.6.1.4.1.4203.1.11.3" => "who_am_i",
        "1.3.6.1.1.8" => "cancel",
        "1.3.6.1.1.21.1" => "start_transaction",
        "1.3.6.1.1.21.3" => "end_transaction",
        "1.3.6.1.4.1.1466.101.119.1" => "dynamic_refresh",
        "1.2.840.113556.1.4.1781" => "fast_bind",
        _ => return None,
    })
}

/// Scopes of a search.
pub fn scope(code: i64) -> &'static str {
    match code {
        0 => "base_object",
        1 => "single_level",
        2 => "whole_subtree",
        3 => "subordinate_subtree",
        _ => "scope_outside_the_standard",
    }
}

/// When aliases are followed.
pub fn dereference(code: i64) -> &'static str {
    match code {
        0 => "never",
        1 => "in_searching",
        2 => "finding_base",
        3 => "always",
        _ => "outside_the_standard",
    }
}

/// What a change does to an attribute.
pub fn change(code: i64) -> &'static str {
    match code {
        0 => "add",
        1 => "delete",
        2 => "replace",
        3 => "increment",
        _ => "outside_the_standard",
    }
}

/// Whether an attribute holds a secret, by its name: its values are not shown.
pub fn is_secret(attribute: &[u8]) -> bool {
    const PARTS: [&[u8]; 7] =
        [b"passw", b"pwd", b"secret", b"credential", b"principalkey", b"privatekey", b"recoverykey"];
    let has = |part: &[u8]| attribute.windows(part.len()).any(|w| w.eq_ignore_ascii_case(part));
    PARTS.into_iter().any(has)
}
