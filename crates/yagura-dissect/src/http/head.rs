//! Start lines and header fields (RFC 9112, 3 to 5), and what they mean.

use yagura_event::vocabulary::operation;

/// The first line of a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Start<'a> {
    /// A request. Without a version it is one of HTTP/0.9.
    Request { method: &'a str, target: &'a str, version: &'a str },
    /// A response.
    Response { version: &'a str, code: u16, reason: &'a str },
}

/// Longest method.
const METHOD_MAX: usize = 24;

/// Reads a first line; `None` where it is none.
pub(super) fn start(line: &str) -> Option<Start<'_>> {
    if let Some(rest) = line.strip_prefix("HTTP/") {
        let version = version(rest)?;
        let rest = rest[3..].strip_prefix(' ')?.trim_start();
        let (code, reason) = rest.split_at_checked(3)?;
        if !code.bytes().all(|b| b.is_ascii_digit()) || !(reason.is_empty() || reason.starts_with(' ')) {
            return None;
        }
        return Some(Start::Response { version, code: code.parse().ok()?, reason: reason.trim() });
    }
    let (method, rest) = line.split_once([' ', '\t'])?;
    if !is_method(method) {
        return None;
    }
    let rest = rest.trim();
    match rest.rsplit_once([' ', '\t']) {
        Some((target, last)) if last.starts_with("HTTP/") && last.len() == 8 => {
            Some(Start::Request { method, target: target.trim_end(), version: version(&last[5..])? })
        }
        _ if method == "GET" && rest.starts_with('/') && !rest.contains(' ') => {
            Some(Start::Request { method, target: rest, version: "" })
        }
        _ => None,
    }
}

/// The versions of this protocol: `1.1`, `1.0`, and what claims to be older.
fn version(text: &str) -> Option<&str> {
    let version = text.get(..3)?;
    matches!(version.as_bytes(), [b'0' | b'1', b'.', b'0'..=b'9']).then_some(version)
}

fn is_method(method: &str) -> bool {
    (1..=METHOD_MAX).contains(&method.len())
        && method.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        && method.as_bytes()[0].is_ascii_alphabetic()
}

/// Methods that a first line is believed for before its end has come (RFC 9110, 9; RFC 4918; RFC 5789).
pub(super) const METHODS: &[&str] = &[
    "GET",
    "POST",
    "HEAD",
    "PUT",
    "DELETE",
    "OPTIONS",
    "CONNECT",
    "PATCH",
    "TRACE",
    "PROPFIND",
    "PROPPATCH",
    "MKCOL",
    "COPY",
    "MOVE",
    "LOCK",
    "UNLOCK",
    "SEARCH",
    "REPORT",
    "CCM_POST",
    "BITS_POST",
    "RPC_IN_DATA",
    "RPC_OUT_DATA",
    "RPC_CONNECT",
    "SUBSCRIBE",
    "UNSUBSCRIBE",
    "NOTIFY",
    "POLL",
];

/// What a method does.
pub(super) fn operation_of(method: &str) -> &'static str {
    match method {
        "GET" | "HEAD" | "SEARCH" | "REPORT" | "POLL" => operation::READ,
        "OPTIONS" | "PROPFIND" => operation::DISCOVER,
        "TRACE" => operation::DIAGNOSE,
        "CONNECT" | "RPC_IN_DATA" | "RPC_OUT_DATA" | "RPC_CONNECT" => operation::SESSION_OPEN,
        "SUBSCRIBE" | "UNSUBSCRIBE" => operation::CONFIGURE,
        "NOTIFY" => operation::REPORT,
        "POST" | "PUT" | "PATCH" | "DELETE" | "PROPPATCH" | "MKCOL" | "COPY" | "MOVE" | "LOCK" | "UNLOCK" => {
            operation::WRITE
        }
        _ => operation::OTHER,
    }
}

/// The name at the end of a SOAP action (SOAP 1.1, 6.1.1; SOAP 1.2 part 2, 6.5.2): that of
/// `urn:semi-org:ws.E134-1.V0710:DefinePlan` is `DefinePlan`.
pub(super) fn action(value: &str) -> Option<&str> {
    let value = value.trim().trim_matches(['"', '\'']);
    let name = value.rsplit(['/', '#', ':', '.']).find(|part| !part.is_empty())?;
    let fits =
        name.len() <= 96 && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    (fits && name.as_bytes()[0].is_ascii_alphabetic()).then_some(name)
}

/// What a SOAP request does, by its name: sessions of SEMI E132, data collection plans of E134,
/// metadata of E125, OPC XML-DA, and names as they are usual.
pub(super) fn operation_of_action(name: &str, equipment_data: bool) -> &'static str {
    let lower = name.to_ascii_lowercase();
    let begins = |words: &[&str]| words.iter().any(|word| lower.starts_with(word));
    let holds = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    if holds(&["ping", "persistsession", "keepalive", "heartbeat"]) {
        operation::SESSION_KEEP
    } else if begins(&["login", "logon", "authenticate"]) {
        operation::AUTHENTICATE
    } else if holds(&["session"]) && begins(&["establish", "open", "create", "start"]) {
        operation::SESSION_OPEN
    } else if begins(&["logoff", "logout"])
        || (holds(&["session"]) && begins(&["close", "terminate", "delete", "abort", "sessionclosed"]))
    {
        operation::SESSION_CLOSE
    } else if begins(&[
        "newdata",
        "performance",
        "dcpdeactiv",
        "dcphibern",
        "sessionfrozen",
        "notif",
        "report",
    ]) || holds(&["notification"])
    {
        operation::REPORT
    } else if begins(&["getparametervalues", "read"]) {
        operation::READ
    } else if begins(&["get", "browse", "query", "list", "find", "search", "describe", "is", "has"]) {
        if equipment_data || begins(&["getstatus", "browse", "list", "find", "describe"]) {
            operation::DISCOVER
        } else {
            operation::READ
        }
    } else if begins(&["define", "activate", "deactivate", "subscribe", "unsubscribe", "configure"])
        || holds(&["acl", "plan", "privilege", "role"])
    {
        operation::CONFIGURE
    } else if begins(&["write", "set", "put", "update", "add", "delete", "remove", "create", "insert"]) {
        operation::WRITE
    } else if begins(&[
        "start", "stop", "abort", "pause", "resume", "execute", "run", "reboot", "restart", "reset",
    ]) {
        operation::CONTROL
    } else {
        operation::OTHER
    }
}

/// The first element inside `Body` of a SOAP envelope, without prefix and the suffix `Request`.
pub(super) fn first_element(envelope: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(envelope);
    let mut after_body = false;
    for part in text.split('<').skip(1) {
        let end = part.find(|c: char| c.is_whitespace() || matches!(c, '>' | '/')).filter(|end| *end > 0);
        let Some(end) = end else { continue };
        let name = part[..end].rsplit(':').next()?;
        if after_body && !part.starts_with(['!', '?']) {
            return action(name.strip_suffix("Request").filter(|n| !n.is_empty()).unwrap_or(name))
                .map(str::to_string);
        }
        after_body |= name == "Body";
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_lines() {
        let request = |method, target, version| Some(Start::Request { method, target, version });
        assert_eq!(start("GET /a b HTTP/1.1"), request("GET", "/a b", "1.1"));
        assert_eq!(start("BITS_POST  /x  HTTP/1.0"), request("BITS_POST", "/x", "1.0"));
        assert_eq!(start("GET /old"), request("GET", "/old", ""));
        for other in ["", "GET", "PRI * HTTP/2.0", "OPTIONS sip:a SIP/2.0", "250 HTTP/1.1", "USER a"] {
            assert_eq!(start(other), None, "{other}");
        }
        let response = |code, reason| Some(Start::Response { version: "1.1", code, reason });
        assert_eq!(start("HTTP/1.1 404 Not Found"), response(404, "Not Found"));
        assert_eq!(start("HTTP/1.1 200"), response(200, ""));
        assert_eq!(start("HTTP/1.1 2000"), None);
        assert_eq!(start("HTTP/1.1 €"), None);
    }

    #[test]
    fn actions_have_names_and_meanings() {
        assert_eq!(action("\"urn:semi-org:ws.E134-1.V0710:DefinePlan\""), Some("DefinePlan"));
        assert_eq!(action("http://opcfoundation.org/webservices/XMLDA/1.0/Read"), Some("Read"));
        assert_eq!(action("\"\""), None);
        for (name, equipment_data, means) in [
            ("EstablishSession", true, operation::SESSION_OPEN),
            ("CloseSession", true, operation::SESSION_CLOSE),
            ("SessionPing", true, operation::SESSION_KEEP),
            ("DefinePlan", true, operation::CONFIGURE),
            ("DeletePlan", true, operation::CONFIGURE),
            ("NewData", true, operation::REPORT),
            ("GetParameterValues", true, operation::READ),
            ("GetEquipmentStructure", true, operation::DISCOVER),
            ("Write", false, operation::WRITE),
            ("GetRecipe", false, operation::READ),
        ] {
            assert_eq!(operation_of_action(name, equipment_data), means, "{name}");
        }
        let envelope = b"<?xml?><s:Envelope><s:Header/><s:Body>\n<e:CreatePlanRequest a='1'>";
        assert_eq!(first_element(envelope).as_deref(), Some("CreatePlan"));
        assert_eq!(first_element(b"<s:Envelope><s:Body"), None);
    }
}
