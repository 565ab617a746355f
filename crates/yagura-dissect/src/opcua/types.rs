//! Built-in types of OPC 10000-6, clause 5.2.2, and the common status codes of its annex A.

use std::borrow::Cow;
use std::fmt::Write;

use crate::cursor::{Cursor, Cut};
use crate::json;

/// Deepest nesting of variants, extension objects and diagnostic information that is followed.
const DEPTH_MAX: u8 = 16;
/// Most elements of an array that are written.
const SHOWN_ELEMENTS_MAX: usize = 32;
/// Longest text that is written, in bytes.
const SHOWN_TEXT_MAX: usize = 256;

/// A String or ByteString; the null one is empty.
pub(super) fn bytes<'a>(c: &mut Cursor<'a>, what: &'static str) -> Result<&'a [u8], Cut> {
    match c.i32_le(what)? {
        -1 => Ok(&[]),
        length => c.take(usize::try_from(length).map_err(|_| c.cut(what))?, what),
    }
}

/// A String.
pub(super) fn text<'a>(c: &mut Cursor<'a>, what: &'static str) -> Result<Cow<'a, str>, Cut> {
    bytes(c, what).map(shown)
}

/// Bytes as text, cut where it becomes too long.
pub(super) fn shown(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN_TEXT_MAX)])
}

/// How many elements an array has; each takes at least one byte.
pub(super) fn array(c: &mut Cursor<'_>, what: &'static str) -> Result<usize, Cut> {
    match c.i32_le(what)? {
        -1 => Ok(0),
        length => match usize::try_from(length) {
            Ok(length) if length <= c.remaining() => Ok(length),
            _ => Err(c.cut(what)),
        },
    }
}

/// Appends a NodeId or an ExpandedNodeId in the notation of clause 5.3.1.10: `ns=2;s=Tool.Pressure`.
pub(super) fn node_id(c: &mut Cursor<'_>, out: &mut String) -> Result<(), Cut> {
    let form = c.u8("node_id")?;
    let mut space = 0;
    let mut id = String::new();
    match form & 0x3f {
        0 => put(&mut id, format_args!("i={}", c.u8("node_id")?)),
        1 => {
            space = u16::from(c.u8("node_id")?);
            put(&mut id, format_args!("i={}", c.u16_le("node_id")?));
        }
        2 => {
            space = c.u16_le("node_id")?;
            put(&mut id, format_args!("i={}", c.u32_le("node_id")?));
        }
        3 => {
            space = c.u16_le("node_id")?;
            put(&mut id, format_args!("s={}", text(c, "node_id")?));
        }
        4 => {
            space = c.u16_le("node_id")?;
            id.push_str("g=");
            guid(c, &mut id)?;
        }
        5 => {
            space = c.u16_le("node_id")?;
            id.push_str("b=");
            let opaque = bytes(c, "node_id")?;
            json::push_hex_digits(&mut id, &opaque[..opaque.len().min(SHOWN_TEXT_MAX)]);
        }
        _ => return Err(c.cut("node_id")),
    }
    let uri = if form & 0x80 != 0 { Some(text(c, "namespace_uri")?) } else { None };
    if form & 0x40 != 0 {
        put(out, format_args!("svr={};", c.u32_le("server_index")?));
    }
    match uri {
        Some(uri) => put(out, format_args!("nsu={uri};")),
        None if space != 0 => put(out, format_args!("ns={space};")),
        None => {}
    }
    out.push_str(&id);
    Ok(())
}

/// The number of a type of namespace 0; 0 for every other node.
pub(super) fn type_id(c: &mut Cursor<'_>) -> Result<u32, Cut> {
    let rest = *c;
    match rest.rest() {
        [0, id, ..] => c.skip(2, "type_id").map(|()| u32::from(*id)),
        [1, 0, low, high, ..] => c.skip(4, "type_id").map(|()| u32::from(u16::from_le_bytes([*low, *high]))),
        _ => {
            let mut name = String::new();
            node_id(c, &mut name)?;
            Ok(name.strip_prefix("i=").and_then(|id| id.parse().ok()).unwrap_or(0))
        }
    }
}

fn put(out: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _ = out.write_fmt(arguments);
}

fn guid(c: &mut Cursor<'_>, out: &mut String) -> Result<(), Cut> {
    let (a, b, d) = (c.u32_le("guid")?, c.u16_le("guid")?, c.u16_le("guid")?);
    let rest = c.take(8, "guid")?;
    put(out, format_args!("{a:08x}-{b:04x}-{d:04x}-"));
    for (index, byte) in rest.iter().enumerate() {
        put(out, format_args!("{}{byte:02x}", if index == 2 { "-" } else { "" }));
    }
    Ok(())
}

/// A QualifiedName's name.
pub(super) fn qualified_name<'a>(c: &mut Cursor<'a>) -> Result<Cow<'a, str>, Cut> {
    c.skip(2, "qualified_name")?;
    text(c, "qualified_name")
}

/// A LocalizedText's text.
pub(super) fn localized_text<'a>(c: &mut Cursor<'a>) -> Result<Cow<'a, str>, Cut> {
    let mask = c.u8("localized_text")?;
    c.check(mask & !3 == 0, "localized_text")?;
    if mask & 1 != 0 {
        bytes(c, "locale")?;
    }
    if mask & 2 != 0 { text(c, "localized_text") } else { Ok(Cow::Borrowed("")) }
}

/// An ExtensionObject: its type and its body.
pub(super) fn extension<'a>(c: &mut Cursor<'a>) -> Result<(u32, &'a [u8]), Cut> {
    let kind = type_id(c)?;
    match c.u8("extension_object")? {
        0 => Ok((kind, &[])),
        1 | 2 => bytes(c, "extension_object").map(|body| (kind, body)),
        _ => Err(c.cut("extension_object")),
    }
}

/// Passes a DiagnosticInfo.
pub(super) fn diagnostic(c: &mut Cursor<'_>) -> Result<(), Cut> {
    // Each level holds one more at its end: a loop does.
    for _ in 0..DEPTH_MAX {
        let mask = c.u8("diagnostic_info")?;
        c.check(mask & 0x80 == 0, "diagnostic_info")?;
        c.skip(4 * (mask & 0x0f).count_ones() as usize, "diagnostic_info")?;
        if mask & 0x10 != 0 {
            bytes(c, "additional_info")?;
        }
        if mask & 0x20 != 0 {
            c.skip(4, "inner_status_code")?;
        }
        if mask & 0x40 == 0 {
            return Ok(());
        }
    }
    Err(c.cut("depth"))
}

/// One value: the number that it is, and its quality as of a sample.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Reading {
    /// The number, of a scalar that is one.
    pub number: Option<f64>,
    /// The status code.
    pub status: u32,
}

impl Reading {
    /// 0 good, 1 uncertain, 2 bad.
    pub fn quality(self) -> u8 {
        (self.status >> 30).min(2) as u8
    }
}

/// Appends a DataValue's value as JSON.
pub(super) fn data_value(c: &mut Cursor<'_>, out: &mut String) -> Result<Reading, Cut> {
    data_value_in(c, Some(out), 0)
}

fn data_value_in(c: &mut Cursor<'_>, out: Option<&mut String>, depth: u8) -> Result<Reading, Cut> {
    let mask = c.u8("data_value")?;
    c.check(mask & 0xc0 == 0, "data_value")?;
    let mut reading = Reading::default();
    if mask & 1 != 0 {
        reading.number = variant_in(c, out, depth)?;
    } else if let Some(out) = out {
        out.push_str("null");
    }
    if mask & 2 != 0 {
        reading.status = c.u32_le("status_code")?;
    }
    for (bit, length) in [(4, 8), (0x10, 2), (8, 8), (0x20, 2)] {
        if mask & bit != 0 {
            c.skip(length, "timestamp")?;
        }
    }
    Ok(reading)
}

/// Appends a Variant as JSON: the number that it is, if it is one.
pub(super) fn variant(c: &mut Cursor<'_>, out: &mut String) -> Result<Option<f64>, Cut> {
    variant_in(c, Some(out), 0)
}

fn variant_in(c: &mut Cursor<'_>, mut out: Option<&mut String>, depth: u8) -> Result<Option<f64>, Cut> {
    c.check(depth < DEPTH_MAX, "depth")?;
    let mask = c.u8("variant")?;
    let kind = mask & 0x3f;
    if mask & 0x80 == 0 {
        return scalar(c, kind, out, depth);
    }
    let length = if kind == 0 { c.i32_le("variant_array").map(|_| 0)? } else { array(c, "variant_array")? };
    if let Some(out) = out.as_deref_mut() {
        out.push('[');
    }
    for index in 0..length {
        let mut place = out.as_deref_mut().filter(|_| index < SHOWN_ELEMENTS_MAX);
        if let (Some(out), true) = (&mut place, index > 0) {
            out.push(',');
        }
        scalar(c, kind, place, depth)?;
    }
    if let Some(out) = out {
        out.push(']');
    }
    if mask & 0x40 != 0 {
        let dimensions = array(c, "array_dimensions")?;
        c.skip(4 * dimensions, "array_dimensions")?;
    }
    Ok(None)
}

#[expect(clippy::cast_precision_loss, reason = "samples are doubles")]
fn scalar(c: &mut Cursor<'_>, kind: u8, out: Option<&mut String>, depth: u8) -> Result<Option<f64>, Cut> {
    let number = match kind {
        1 => f64::from(u8::from(c.u8("boolean")? != 0)),
        2 => f64::from(c.u8("sbyte")?.cast_signed()),
        3 => f64::from(c.u8("byte")?),
        4 => f64::from(c.i16_le("int16")?),
        5 => f64::from(c.u16_le("uint16")?),
        6 => f64::from(c.i32_le("int32")?),
        7 => f64::from(c.u32_le("uint32")?),
        8 => c.i64_le("int64")? as f64,
        9 => c.u64_le("uint64")? as f64,
        10 => f64::from(c.f32_le("float")?),
        11 => c.f64_le("double")?,
        _ => {
            let mut spare = String::new();
            other_scalar(c, kind, &mut spare, out.is_some(), depth)?;
            if let Some(out) = out {
                out.push_str(if spare.is_empty() { "null" } else { &spare });
            }
            return Ok(None);
        }
    };
    if let Some(out) = out {
        json::push_float(out, number);
    }
    Ok(Some(number))
}

/// Scalars that are no numbers.
fn other_scalar(c: &mut Cursor<'_>, kind: u8, out: &mut String, show: bool, depth: u8) -> Result<(), Cut> {
    match kind {
        0 => {}
        12 => json::push_text(out, &text(c, "string")?),
        13 => json::push_number(out, c.u64_le("date_time")?),
        14 => {
            out.push('"');
            guid(c, out)?;
            out.push('"');
        }
        // Byte strings may be files: only how long they are.
        15 | 16 => {
            let length = bytes(c, "byte_string")?.len();
            put(out, format_args!("{{\"bytes\":{length}}}"));
        }
        17 | 18 => {
            let mut name = String::new();
            node_id(c, &mut name)?;
            json::push_text(out, &name);
        }
        19 => json::push_text(out, &status_name(c.u32_le("status_code")?)),
        20 => json::push_text(out, &qualified_name(c)?),
        21 => json::push_text(out, &localized_text(c)?),
        22 => {
            let (kind, body) = extension(c)?;
            put(out, format_args!("{{\"type\":{kind},\"bytes\":{}}}", body.len()));
        }
        23 => drop(data_value_in(c, show.then_some(out), depth + 1)?),
        24 => drop(variant_in(c, show.then_some(out), depth + 1)?),
        25 => diagnostic(c)?,
        _ => return Err(c.cut("variant")),
    }
    Ok(())
}

/// A status code's name of OPC 10000-6 annex A, without its flags; hexadecimal for a rare one.
pub(super) fn status_name(code: u32) -> Cow<'static, str> {
    let name = match code >> 16 {
        0 => "Good",
        0x8001 => "BadUnexpectedError",
        0x8002 => "BadInternalError",
        0x8003 => "BadOutOfMemory",
        0x8004 => "BadResourceUnavailable",
        0x8005 => "BadCommunicationError",
        0x8006 => "BadEncodingError",
        0x8007 => "BadDecodingError",
        0x8008 => "BadEncodingLimitsExceeded",
        0x8009 => "BadUnknownResponse",
        0x800a => "BadTimeout",
        0x800b => "BadServiceUnsupported",
        0x800c => "BadShutdown",
        0x800d => "BadServerNotConnected",
        0x800e => "BadServerHalted",
        0x800f => "BadNothingToDo",
        0x8010 => "BadTooManyOperations",
        0x8012 => "BadCertificateInvalid",
        0x8013 => "BadSecurityChecksFailed",
        0x8014 => "BadCertificateTimeInvalid",
        0x801a => "BadCertificateUntrusted",
        0x801f => "BadUserAccessDenied",
        0x8020 => "BadIdentityTokenInvalid",
        0x8021 => "BadIdentityTokenRejected",
        0x8022 => "BadSecureChannelIdInvalid",
        0x8025 => "BadSessionIdInvalid",
        0x8026 => "BadSessionClosed",
        0x8027 => "BadSessionNotActivated",
        0x8028 => "BadSubscriptionIdInvalid",
        0x8031 => "BadNoCommunication",
        0x8032 => "BadWaitingForInitialData",
        0x8033 => "BadNodeIdInvalid",
        0x8034 => "BadNodeIdUnknown",
        0x8035 => "BadAttributeIdInvalid",
        0x8036 => "BadIndexRangeInvalid",
        0x8037 => "BadIndexRangeNoData",
        0x803a => "BadNotReadable",
        0x803b => "BadNotWritable",
        0x803c => "BadOutOfRange",
        0x803d => "BadNotSupported",
        0x803e => "BadNotFound",
        0x8040 => "BadNotImplemented",
        0x8042 => "BadMonitoredItemIdInvalid",
        0x804a => "BadContinuationPointInvalid",
        0x804b => "BadNoContinuationPoints",
        0x8054 => "BadSecurityModeRejected",
        0x8055 => "BadSecurityPolicyRejected",
        0x8056 => "BadTooManySessions",
        0x8057 => "BadUserSignatureInvalid",
        0x805b => "BadParentNodeIdInvalid",
        0x805c => "BadReferenceNotAllowed",
        0x805d => "BadNodeIdRejected",
        0x805e => "BadNodeIdExists",
        0x805f => "BadNodeClassInvalid",
        0x8060 => "BadBrowseNameInvalid",
        0x8061 => "BadBrowseNameDuplicated",
        0x8062 => "BadNodeAttributesInvalid",
        0x8063 => "BadTypeDefinitionInvalid",
        0x8069 => "BadNoDeleteRights",
        0x806f => "BadNoMatch",
        0x8073 => "BadWriteNotSupported",
        0x8074 => "BadTypeMismatch",
        0x8075 => "BadMethodInvalid",
        0x8076 => "BadArgumentsMissing",
        0x8078 => "BadTooManyPublishRequests",
        0x8079 => "BadNoSubscription",
        0x807d => "BadTcpServerTooBusy",
        0x807e => "BadTcpMessageTypeInvalid",
        0x807f => "BadTcpSecureChannelUnknown",
        0x8080 => "BadTcpMessageTooLarge",
        0x8082 => "BadTcpInternalError",
        0x8083 => "BadTcpEndpointUrlInvalid",
        0x8086 => "BadSecureChannelClosed",
        0x8087 => "BadSecureChannelTokenUnknown",
        0x808b => "BadDeviceFailure",
        0x808c => "BadSensorFailure",
        0x808d => "BadOutOfService",
        0x80ab => "BadInvalidArgument",
        0x80ac => "BadConnectionRejected",
        0x80ad => "BadDisconnect",
        0x80ae => "BadConnectionClosed",
        0x80af => "BadInvalidState",
        0x80b8 => "BadRequestTooLarge",
        0x80b9 => "BadResponseTooLarge",
        0x80be => "BadProtocolVersionUnsupported",
        0x80e6 => "BadSecurityModeInsufficient",
        0x8111 => "BadNotExecutable",
        _ => return Cow::Owned(format!("0x{code:08X}")),
    };
    Cow::Borrowed(name)
}
