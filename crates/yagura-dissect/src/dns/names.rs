//! Names of types, operations and response codes (IANA, Domain Name System parameters).

use crate::json;

/// An operation's name; `None` for one that no standard has.
pub fn opcode_name(number: u8) -> Option<&'static str> {
    Some(match number {
        0 => "query",
        1 => "inverse_query",
        2 => "status",
        4 => "notify",
        5 => "update",
        // The NetBIOS name service has these.
        6 => "stateful_operations",
        7 => "nbns_wait_for_acknowledgement",
        8 | 9 => "nbns_refresh",
        _ => return None,
    })
}

/// A response code's name.
pub fn rcode(number: u16) -> &'static str {
    match number {
        0 => "NOERROR",
        1 => "FORMERR",
        2 => "SERVFAIL",
        3 => "NXDOMAIN",
        4 => "NOTIMP",
        5 => "REFUSED",
        6 => "YXDOMAIN",
        7 => "YXRRSET",
        8 => "NXRRSET",
        9 => "NOTAUTH",
        10 => "NOTZONE",
        11 => "DSOTYPENI",
        _ => "unassigned_rcode",
    }
}

/// A type's name as a JSON text; of those without one the number.
pub fn push_type(out: &mut String, number: u16, netbios: bool) {
    let name = match number {
        32 if netbios => "NB",
        33 if netbios => "NBSTAT",
        1 => "A",
        2 => "NS",
        5 => "CNAME",
        6 => "SOA",
        10 => "NULL",
        12 => "PTR",
        13 => "HINFO",
        15 => "MX",
        16 => "TXT",
        17 => "RP",
        18 => "AFSDB",
        24 => "SIG",
        25 => "KEY",
        28 => "AAAA",
        29 => "LOC",
        33 => "SRV",
        35 => "NAPTR",
        37 => "CERT",
        39 => "DNAME",
        41 => "OPT",
        43 => "DS",
        44 => "SSHFP",
        45 => "IPSECKEY",
        46 => "RRSIG",
        47 => "NSEC",
        48 => "DNSKEY",
        49 => "DHCID",
        50 => "NSEC3",
        51 => "NSEC3PARAM",
        52 => "TLSA",
        53 => "SMIMEA",
        59 => "CDS",
        60 => "CDNSKEY",
        61 => "OPENPGPKEY",
        64 => "SVCB",
        65 => "HTTPS",
        99 => "SPF",
        249 => "TKEY",
        250 => "TSIG",
        251 => "IXFR",
        252 => "AXFR",
        255 => "ANY",
        256 => "URI",
        257 => "CAA",
        other => return json::push_text(out, &format!("TYPE{other}")),
    };
    json::push_text(out, name);
}
