//! Names of SNMP's numbers.

use std::borrow::Cow;

/// Error status (RFC 3416, 3).
pub fn error(code: i64) -> Cow<'static, str> {
    const NAMES: [&str; 19] = [
        "noError",
        "tooBig",
        "noSuchName",
        "badValue",
        "readOnly",
        "genErr",
        "noAccess",
        "wrongType",
        "wrongLength",
        "wrongEncoding",
        "wrongValue",
        "noCreation",
        "inconsistentValue",
        "resourceUnavailable",
        "commitFailed",
        "undoFailed",
        "authorizationError",
        "notWritable",
        "inconsistentName",
    ];
    match usize::try_from(code).ok().and_then(|code| NAMES.get(code)) {
        Some(name) => Cow::Borrowed(name),
        None => Cow::Owned(format!("error_{code}")),
    }
}

/// Generic traps of version 1 (RFC 1157, 4.1.6), which are notifications 1.3.6.1.6.3.1.1.5.1 and
/// following since (RFC 3418).
pub fn generic_trap(code: i64) -> Option<&'static str> {
    const NAMES: [&str; 6] =
        ["coldStart", "warmStart", "linkDown", "linkUp", "authenticationFailure", "egpNeighborLoss"];
    usize::try_from(code).ok().and_then(|code| NAMES.get(code)).copied()
}

/// A notification by its identifier, where it is one of the standard's.
pub fn notification(identifier: &str) -> Option<&'static str> {
    let last = identifier.strip_prefix("1.3.6.1.6.3.1.1.5.")?;
    generic_trap(last.parse::<i64>().ok()? - 1)
}

/// What a report counts: why a message of version 3 was not taken (RFC 3414, 5; RFC 3412, 5).
/// The flag says whether the credentials are at fault.
pub fn report(variable: &str) -> Option<(&'static str, bool)> {
    Some(match variable.trim_end_matches(".0") {
        "1.3.6.1.6.3.15.1.1.1" => ("usmStatsUnsupportedSecLevels", true),
        "1.3.6.1.6.3.15.1.1.2" => ("usmStatsNotInTimeWindows", false),
        "1.3.6.1.6.3.15.1.1.3" => ("usmStatsUnknownUserNames", true),
        "1.3.6.1.6.3.15.1.1.4" => ("usmStatsUnknownEngineIDs", false),
        "1.3.6.1.6.3.15.1.1.5" => ("usmStatsWrongDigests", true),
        "1.3.6.1.6.3.15.1.1.6" => ("usmStatsDecryptionErrors", true),
        "1.3.6.1.6.3.11.2.1.1" => ("snmpUnknownSecurityModels", true),
        "1.3.6.1.6.3.11.2.1.2" => ("snmpInvalidMsgs", false),
        "1.3.6.1.6.3.11.2.1.3" => ("snmpUnknownPDUHandlers", false),
        "1.3.6.1.6.3.12.1.4" => ("snmpUnavailableContexts", false),
        "1.3.6.1.6.3.12.1.5" => ("snmpUnknownContexts", false),
        _ => return None,
    })
}

/// Makers by their enterprise number (IANA), those that plants and their networks have.
pub fn enterprise(number: u64) -> Option<&'static str> {
    Some(match number {
        2 => "IBM",
        9 => "Cisco",
        11 => "HP",
        36 => "DEC",
        42 => "Oracle",
        43 => "3Com",
        119 => "NEC",
        171 => "D-Link",
        207 => "Allied Telesis",
        211 => "Fujitsu",
        232 => "HP",
        236 => "Samsung",
        248 => "Hirschmann",
        253 => "Xerox",
        311 => "Microsoft",
        318 => "APC",
        343 => "Intel",
        367 => "Ricoh",
        388 => "Symbol",
        476 => "Vertiv",
        534 => "Eaton",
        641 => "Lexmark",
        674 => "Dell",
        789 => "NetApp",
        890 => "Zyxel",
        1347 => "Kyocera",
        1588 => "Brocade",
        1602 => "Canon",
        1916 => "Extreme Networks",
        1991 => "Foundry",
        2011 => "Huawei",
        2435 => "Brother",
        2636 => "Juniper",
        3076 => "Cisco",
        3375 => "F5",
        3808 => "CyberPower",
        3833 => "Schneider Electric",
        4196 | 4329 => "Siemens",
        4346 => "Phoenix Contact",
        4526 => "Netgear",
        5528 => "NetBotz",
        6027 => "Force10",
        6486 => "Alcatel-Lucent",
        6574 => "Synology",
        6876 => "VMware",
        8072 => "Net-SNMP",
        8691 => "Moxa",
        10876 => "Supermicro",
        11863 => "TP-Link",
        12356 => "Fortinet",
        13576 => "WAGO",
        13742 => "Raritan",
        14823 => "Aruba",
        14988 => "MikroTik",
        15004 => "RuggedCom",
        24681 => "QNAP",
        25461 => "Palo Alto Networks",
        25506 => "H3C",
        30065 => "Arista",
        41112 => "Ubiquiti",
        _ => return None,
    })
}
