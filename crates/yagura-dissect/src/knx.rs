//! KNXnet/IP (ISO/IEC 14543-3, KNX Standard 3.8: core, device management, tunnelling, routing,
//! secure) with the common external message interface (cEMI, 3.6.3) inside.

use std::net::Ipv4Addr;

use yagura_event::clock::{Micros, SECOND};
use yagura_event::rows::IdentityRow;
use yagura_event::vocabulary::operation;

use crate::cursor::{Cursor, Cut};
use crate::exchange::{Draft, Exchanges};
use crate::framing::{Frame, Framed, Framing};
use crate::{Carrier, Cx, Dissector, FlowInfo, Glimpse, Probe, Protocol, Side, Transport, json};

/// The registry's entry.
pub const PROTOCOL: Protocol = Protocol {
    name: NAME,
    carriers: &[Carrier::udp(&[3671]), Carrier::tcp(&[3671])],
    probe,
    start,
    buffer_bytes_max: LENGTH_MAX,
    #[cfg(test)]
    sample: tests::sample,
};

const NAME: &str = "knx";
/// Connect and device configuration requests have ten seconds (3.8.2, 5.4).
const TIMEOUT: Micros = 10 * SECOND;
const HEADER: usize = 6;
/// The interface's word on what became of a telegram: L_Data.con.
const CONFIRMATION: u8 = 0x2e;
/// Larger than any service of the standard.
const LENGTH_MAX: usize = 2048;

fn start(_flow: &FlowInfo) -> Box<dyn Dissector> {
    Box::new(Framing::new(Knx { exchanges: Exchanges::new(NAME, TIMEOUT), secured: false }))
}

fn probe(glimpse: &Glimpse<'_>) -> Probe {
    match glimpse.bytes {
        [6, 0x10, family, service, high, low, ..] => {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            let known = SERVICES.iter().any(|s| s.code == u16::from_be_bytes([*family, *service]));
            let fits = (HEADER + 2..=LENGTH_MAX).contains(&length)
                && (glimpse.transport == Transport::Tcp
                    || matches!(glimpse.bytes.get(length..), Some([] | [6, 0x10, ..])));
            if known && fits { Probe::Yes } else { Probe::No }
        }
        [6, 0x10, ..] | [6] | [] if glimpse.transport == Transport::Tcp => Probe::More,
        _ => Probe::No,
    }
}

/// What a service says in its first bytes, and how it is answered.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// The reply is this other service.
    Asks(u16),
    /// Answers what waits for it.
    Answers,
    /// Stands alone.
    Alone,
}

struct Service {
    code: u16,
    name: &'static str,
    operation: &'static str,
    kind: Kind,
}

const fn service(code: u16, name: &'static str, operation: &'static str, kind: Kind) -> Service {
    Service { code, name, operation, kind }
}

use Kind::{Alone, Answers, Asks};

const SERVICES: [Service; 34] = [
    service(0x0201, "search_request", operation::DISCOVER, Alone),
    service(0x0202, "search_response", operation::DISCOVER, Alone),
    service(0x0203, "description_request", operation::DISCOVER, Asks(0x0204)),
    service(0x0204, "description_response", operation::DISCOVER, Answers),
    service(0x0205, "connect_request", operation::SESSION_OPEN, Asks(0x0206)),
    service(0x0206, "connect_response", operation::SESSION_OPEN, Answers),
    service(0x0207, "connectionstate_request", operation::SESSION_KEEP, Asks(0x0208)),
    service(0x0208, "connectionstate_response", operation::SESSION_KEEP, Answers),
    service(0x0209, "disconnect_request", operation::SESSION_CLOSE, Asks(0x020a)),
    service(0x020a, "disconnect_response", operation::SESSION_CLOSE, Answers),
    service(0x020b, "search_request_extended", operation::DISCOVER, Alone),
    service(0x020c, "search_response_extended", operation::DISCOVER, Alone),
    service(0x0310, "device_configuration_request", operation::CONFIGURE, Asks(0x0311)),
    service(0x0311, "device_configuration_ack", operation::CONFIGURE, Answers),
    service(0x0420, "tunnelling_request", operation::OTHER, Asks(0x0421)),
    service(0x0421, "tunnelling_ack", operation::OTHER, Answers),
    service(0x0422, "tunnelling_feature_get", operation::READ, Asks(0x0423)),
    service(0x0423, "tunnelling_feature_response", operation::READ, Answers),
    service(0x0424, "tunnelling_feature_set", operation::CONFIGURE, Asks(0x0423)),
    service(0x0425, "tunnelling_feature_info", operation::REPORT, Alone),
    service(0x0530, "routing_indication", operation::OTHER, Alone),
    service(0x0531, "routing_lost_message", operation::DIAGNOSE, Alone),
    service(0x0532, "routing_busy", operation::DIAGNOSE, Alone),
    service(0x0533, "routing_system_broadcast", operation::OTHER, Alone),
    service(0x0740, "remote_diagnostic_request", operation::DIAGNOSE, Alone),
    service(0x0741, "remote_diagnostic_response", operation::DIAGNOSE, Alone),
    service(0x0742, "remote_basic_configuration_request", operation::CONFIGURE, Alone),
    service(0x0743, "remote_reset_request", operation::CONTROL, Alone),
    service(0x0950, "secure_wrapper", operation::OTHER, Alone),
    service(0x0951, "session_request", operation::SESSION_OPEN, Asks(0x0952)),
    service(0x0952, "session_response", operation::SESSION_OPEN, Answers),
    service(0x0953, "session_authenticate", operation::AUTHENTICATE, Asks(0x0954)),
    service(0x0954, "session_status", operation::AUTHENTICATE, Answers),
    service(0x0955, "timer_notify", operation::SESSION_KEEP, Alone),
];

struct Knx {
    /// By the reply's service, the channel and the sequence counter.
    exchanges: Exchanges<(u16, u8, u8)>,
    /// Whether a secure wrapper was seen.
    secured: bool,
}

impl Framed for Knx {
    const PROTOCOL: &'static str = NAME;

    fn frame(&self, _side: Side, bytes: &[u8]) -> Frame {
        match bytes {
            [6, 0x10, _, _, high, low, ..] => match usize::from(u16::from_be_bytes([*high, *low])) {
                length @ HEADER..=LENGTH_MAX => Frame::Of(length),
                _ => Frame::Bad("total_length"),
            },
            [6, 0x10, ..] | [6] | [] => Frame::More,
            _ => Frame::Bad("header"),
        }
    }

    fn read(&mut self, cx: &mut Cx<'_>, side: Side, frame: &[u8]) -> Result<(), Cut> {
        let mut cursor = Cursor::new(frame);
        cursor.skip(2, "header")?;
        let code = cursor.u16_be("service")?;
        cursor.skip(2, "total_length")?;
        let known = SERVICES.iter().find(|s| s.code == code);
        let Some(service) = known else {
            let mut draft = self.exchanges.draft(cx, side, operation::OTHER, "unknown_service");
            json::member_number(&mut draft.detail, "service_type", u64::from(code));
            self.exchanges.one_way(cx, draft);
            return Ok(());
        };
        let key = key(service, cursor)?;
        match service.kind {
            // Over TCP the transport acknowledges.
            Asks(0x0421 | 0x0311) if cx.flow.transport == Transport::Tcp => {
                let draft = self.begin(cx, side, service, cursor)?;
                self.exchanges.one_way(cx, draft);
            }
            Asks(_) => {
                let draft = self.begin(cx, side, service, cursor)?;
                self.exchanges.ask(cx, key, draft);
            }
            Alone => {
                let draft = self.begin(cx, side, service, cursor)?;
                self.exchanges.one_way(cx, draft);
            }
            Answers => {
                if let Some(mut draft) = self.exchanges.answered(side, &key) {
                    let read = answer(cx, side, service, cursor, &mut draft);
                    if let Err(cut) = read {
                        draft.wrong(cut);
                    }
                    self.exchanges.pair(cx, draft);
                } else {
                    let mut draft = self.exchanges.draft(cx, side.other(), service.operation, service.name);
                    json::member_number(&mut draft.detail, "service_type", u64::from(code));
                    if key.1 != 0 {
                        json::push_number(&mut draft.session, u64::from(key.1));
                    }
                    answer(cx, side, service, cursor, &mut draft)?;
                    self.exchanges.unasked(cx, draft);
                }
            }
        }
        Ok(())
    }

    fn lost(&mut self, _cx: &mut Cx<'_>, _side: Side) {}

    fn expire(&mut self, cx: &mut Cx<'_>) {
        self.exchanges.expire(cx);
    }

    fn close(&mut self, cx: &mut Cx<'_>) {
        self.exchanges.close(cx);
    }
}

/// What a request and its reply have in common.
fn key(service: &Service, mut body: Cursor<'_>) -> Result<(u16, u8, u8), Cut> {
    let reply = if let Asks(reply) = service.kind { reply } else { service.code };
    Ok(match service.code {
        0x0207..=0x020a => (reply, body.u8("channel")?, 0),
        0x0310..=0x0425 => {
            body.skip(1, "structure_length")?;
            let channel = body.u8("channel")?;
            // A feature's response counts by itself.
            let counts = service.code < 0x0422;
            (reply, channel, if counts { body.u8("sequence_counter")? } else { 0 })
        }
        _ => (reply, 0, 0),
    })
}

impl Knx {
    /// A draft of a request or of a message that stands alone.
    fn begin(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        service: &Service,
        mut body: Cursor<'_>,
    ) -> Result<Draft, Cut> {
        let mut draft = self.exchanges.draft(cx, side, service.operation, service.name);
        let detail = &mut draft.detail;
        json::member_number(detail, "service_type", u64::from(service.code));
        match service.code {
            0x0201 | 0x0203 | 0x020b => endpoint(&mut body, detail, "discovery_endpoint")?,
            0x0202 | 0x020c => {
                draft.equipment = side;
                answer(cx, side, service, body, &mut draft)?;
            }
            0x0205 => {
                endpoint(&mut body, detail, "control_endpoint")?;
                endpoint(&mut body, detail, "data_endpoint")?;
                body.skip(1, "structure_length")?;
                let kind = match body.u8("connection_type")? {
                    3 => "device_management",
                    4 => "tunnel",
                    6 => "remote_logging",
                    7 => "remote_configuration",
                    8 => "object_server",
                    _ => "unknown",
                };
                draft.target.push_str(kind);
            }
            0x0207 | 0x0209 => json::push_number(&mut draft.session, u64::from(body.u8("channel")?)),
            0x0310 | 0x0420 => {
                connection_header(&mut body, &mut draft)?;
                cemi(cx, side, body, &mut draft)?;
            }
            0x0422 | 0x0424 | 0x0425 => {
                connection_header(&mut body, &mut draft)?;
                draft.target.push_str(feature(body.u8("feature")?));
                body.skip(1, "reserved")?;
                if !body.is_empty() {
                    draft.push_bytes(body.take_rest());
                }
                if service.code == 0x0425 {
                    draft.equipment = side;
                }
            }
            0x0530 | 0x0533 => cemi(cx, side, body, &mut draft)?,
            0x0531 => {
                body.skip(2, "structure_length")?;
                draft.equipment = side;
                draft.push_value(f64::from(body.u16_be("lost_messages")?));
            }
            0x0532 => {
                body.skip(2, "structure_length")?;
                draft.equipment = side;
                draft.push_value(f64::from(body.u16_be("wait_time")?));
            }
            0x0950 => {
                json::push_number(&mut draft.session, u64::from(body.u16_be("session")?));
                if !std::mem::replace(&mut self.secured, true) {
                    cx.opaque(NAME, "KNXnet/IP Secure: frames are encrypted");
                }
            }
            0x0951 => endpoint(&mut body, detail, "control_endpoint")?,
            0x0953 => {
                body.skip(1, "reserved")?;
                let user = body.u8("user")?;
                json::member_number(detail, "user", u64::from(user));
            }
            _ => {}
        }
        Ok(draft)
    }
}

/// Reads a reply into the draft of its request.
fn answer(
    cx: &mut Cx<'_>,
    side: Side,
    service: &Service,
    mut body: Cursor<'_>,
    draft: &mut Draft,
) -> Result<(), Cut> {
    match service.code {
        0x0202 | 0x020c => {
            endpoint(&mut body, &mut draft.detail, "control_endpoint")?;
            describe(cx, side, body, draft)?;
        }
        0x0204 => describe(cx, side, body, draft)?,
        0x0206 | 0x0208 | 0x020a => {
            let channel = body.u8("channel")?;
            if draft.session.is_empty() {
                json::push_number(&mut draft.session, u64::from(channel));
            }
            refuse(body.u8("status")?, draft);
        }
        0x0311 | 0x0421 => {
            body.skip(3, "connection_header")?;
            refuse(body.u8("status")?, draft);
        }
        0x0423 => {
            body.skip(4, "connection_header")?;
            let feature = feature(body.u8("feature")?);
            if draft.target.is_empty() {
                draft.target.push_str(feature);
            }
            refuse(body.u8("return_code")?, draft);
            if draft.count() == 0 && !body.is_empty() {
                draft.push_bytes(body.take_rest());
            }
        }
        0x0952 => json::push_number(&mut draft.session, u64::from(body.u16_be("session")?)),
        0x0954 => match body.u8("status")? {
            0 => {}
            1 => draft.deny("authentication_failed"),
            2 => draft.deny("unauthenticated"),
            3 => draft.deny("timeout"),
            _ => draft.deny("closed"),
        },
        _ => {}
    }
    Ok(())
}

fn refuse(status: u8, draft: &mut Draft) {
    match status {
        0 => {}
        0x01 => draft.deny("E_HOST_PROTOCOL_TYPE"),
        0x02 => draft.deny("E_VERSION_NOT_SUPPORTED"),
        0x04 => draft.deny("E_SEQUENCE_NUMBER"),
        0x0f => draft.deny("E_ERROR"),
        0x21 => draft.deny("E_CONNECTION_ID"),
        0x22 => draft.deny("E_CONNECTION_TYPE"),
        0x23 => draft.deny("E_CONNECTION_OPTION"),
        0x24 => draft.deny("E_NO_MORE_CONNECTIONS"),
        0x25 => draft.deny("E_NO_MORE_UNIQUE_CONNECTIONS"),
        0x26 => draft.deny("E_DATA_CONNECTION"),
        0x27 => draft.deny("E_KNX_CONNECTION"),
        0x28 => draft.deny("E_AUTHORISATION_ERROR"),
        0x29 => draft.deny("E_TUNNELLING_LAYER"),
        0x2d => draft.deny("E_NO_TUNNELLING_ADDRESS"),
        0x2e => draft.deny("E_CONNECTION_IN_USE"),
        other => draft.deny(format!("0x{other:02x}")),
    }
}

fn feature(code: u8) -> &'static str {
    match code {
        1 => "supported_emi_type",
        2 => "host_device_device_descriptor",
        3 => "bus_connection_status",
        4 => "knx_manufacturer_code",
        5 => "active_emi_type",
        6 => "interface_individual_address",
        7 => "max_apdu_length",
        8 => "interface_feature_info_service_enable",
        _ => "unknown_feature",
    }
}

fn connection_header(body: &mut Cursor<'_>, draft: &mut Draft) -> Result<(), Cut> {
    let length = body.u8("structure_length")?;
    body.check(length == 4, "structure_length")?;
    json::push_number(&mut draft.session, u64::from(body.u8("channel")?));
    json::member_number(&mut draft.detail, "sequence", u64::from(body.u8("sequence_counter")?));
    body.skip(1, "reserved")
}

/// A host protocol address information.
fn endpoint(body: &mut Cursor<'_>, detail: &mut String, name: &str) -> Result<(), Cut> {
    let length = body.u8("structure_length")?;
    body.check(length == 8, "structure_length")?;
    let transport = if body.u8("host_protocol")? == 2 { "tcp" } else { "udp" };
    let address = Ipv4Addr::from(body.array("address")?);
    let port = body.u16_be("port")?;
    json::member_text(detail, name, &format!("{transport} {address}:{port}"));
    Ok(())
}

/// Description information blocks: the device's own is its identity.
fn describe(cx: &mut Cx<'_>, side: Side, mut body: Cursor<'_>, draft: &mut Draft) -> Result<(), Cut> {
    while let Some(length) = body.peek() {
        let mut block = body.part(usize::from(length.max(2)), "description_block")?;
        block.skip(1, "structure_length")?;
        if block.u8("description_type")? != 1 {
            continue;
        }
        let medium = match block.u8("medium")? {
            2 => "TP1",
            4 => "PL110",
            0x10 => "RF",
            0x20 => "IP",
            _ => "unknown",
        };
        let programming = block.u8("device_status")? & 1 != 0;
        draft.target = individual(block.u16_be("individual_address")?);
        block.skip(2, "project")?;
        let mut serial = String::new();
        json::push_hex_digits(&mut serial, &block.array::<6>("serial")?);
        block.skip(10, "addresses")?;
        let name = block.take(30, "friendly_name")?;
        let name: String = name.iter().take_while(|b| **b != 0).map(|b| char::from(*b)).collect();
        let detail = format!("{{\"medium\":\"{medium}\",\"individual_address\":\"{}\"}}", draft.target);
        json::member_bool(&mut draft.detail, "programming_mode", programming);
        let row = IdentityRow { name: &name, serial: &serial, detail: &detail, ..IdentityRow::default() };
        cx.identity(NAME, side, row);
    }
    Ok(())
}

fn individual(address: u16) -> String {
    format!("{}.{}.{}", address >> 12, address >> 8 & 15, address & 255)
}

/// A cEMI frame: a telegram of the bus, or a property of the interface.
fn cemi(cx: &mut Cx<'_>, side: Side, mut body: Cursor<'_>, draft: &mut Draft) -> Result<(), Cut> {
    let code = body.u8("message_code")?;
    let (name, does) = match code {
        0x11 => ("L_Data.req", operation::WRITE),
        0x29 => ("L_Data.ind", operation::REPORT),
        CONFIRMATION => ("L_Data.con", operation::REPORT),
        0x10 => ("L_Raw.req", operation::WRITE),
        0x2b => ("L_Busmon.ind", operation::REPORT),
        0x2d => ("L_Raw.ind", operation::REPORT),
        0x2f => ("L_Raw.con", operation::REPORT),
        0xfc => ("M_PropRead.req", operation::READ),
        0xfb => ("M_PropRead.con", operation::READ),
        0xf6 => ("M_PropWrite.req", operation::CONFIGURE),
        0xf5 => ("M_PropWrite.con", operation::CONFIGURE),
        0xf7 => ("M_PropInfo.ind", operation::REPORT),
        0xf8 => ("M_FuncPropCommand.req", operation::CONTROL),
        0xf9 => ("M_FuncPropStateRead.req", operation::READ),
        0xfa => ("M_FuncProp.con", operation::CONTROL),
        0xf1 => ("M_Reset.req", operation::CONTROL),
        0xf0 => ("M_Reset.ind", operation::CONTROL),
        _ => ("unknown_cemi", operation::OTHER),
    };
    json::member_text(&mut draft.detail, "cemi", name);
    draft.operation = does;
    match code {
        0x11 | 0x29 | CONFIRMATION => {
            let information = body.u8("additional_information_length")?;
            body.skip(usize::from(information), "additional_information")?;
            telegram(cx, side, code == CONFIRMATION, body, draft)
        }
        0xf5..=0xfc => {
            draft.function = name.into();
            let object = body.u16_be("interface_object_type")?;
            let instance = body.u8("object_instance")?;
            let property = body.u8("property")?;
            draft.target = format!("object {object}/{instance} property {property}");
            if matches!(code, 0xfb | 0xf5 | 0xfc | 0xf6 | 0xf7) {
                let count = body.u16_be("count")? >> 12;
                // A confirmation of no element carries an error code.
                if count == 0 && code & 1 == 1 && code != 0xf7 {
                    draft.deny(format!("error_{}", body.u8("error_code")?));
                } else if !body.is_empty() {
                    draft.push_bytes(body.take_rest());
                }
            }
            Ok(())
        }
        0xf0 | 0xf1 => {
            draft.function = name.into();
            Ok(())
        }
        _ => Ok(()),
    }
}

/// A telegram: who, to which address, and which application service.
fn telegram(
    cx: &mut Cx<'_>,
    side: Side,
    confirms: bool,
    mut body: Cursor<'_>,
    draft: &mut Draft,
) -> Result<(), Cut> {
    let control = body.u8("control_1")?;
    let grouped = body.u8("control_2")? & 0x80 != 0;
    let source = individual(body.u16_be("source")?);
    let destination = body.u16_be("destination")?;
    json::member_text(&mut draft.detail, "source", &source);
    draft.target = if grouped {
        format!("{}/{}/{}", destination >> 11, destination >> 8 & 7, destination & 255)
    } else {
        individual(destination)
    };
    if confirms && control & 1 != 0 {
        draft.deny("not_acknowledged_on_the_bus");
    }
    let length = usize::from(body.u8("length")?);
    let transport = body.u8("tpci")?;
    if transport & 0x80 != 0 {
        draft.function = match transport & 0x83 {
            0x80 => "t_connect",
            0x81 => "t_disconnect",
            0x82 => "t_ack",
            _ => "t_nak",
        }
        .into();
        draft.operation = operation::SESSION_KEEP;
        return Ok(());
    }
    let second = body.u8("apci")?;
    let service = u16::from(transport & 3) << 8 | u16::from(second);
    let data = body.take(length.saturating_sub(1), "data")?;
    let (name, does) = application(service);
    draft.function = name.into();
    draft.operation = match does {
        // A telegram from the bus tells what others did.
        operation::WRITE if side == Side::Server && name == "group_value_write" => operation::REPORT,
        other => other,
    };
    let short = length <= 1;
    let value = if short { Some(second & 0x3f) } else { data.first().copied().filter(|_| data.len() == 1) };
    let carries = matches!(name, "group_value_write" | "group_value_response");
    match value {
        Some(value) if carries => {
            draft.push_value(f64::from(value));
            let signal = &draft.target;
            let path = format!("knx {signal} from {source}");
            cx.measured(Side::Server, signal, &path, f64::from(value), 0);
        }
        _ if name == "authorize_request" || name == "key_write" => {
            json::member_bool(&mut draft.detail, "key_presented", true);
        }
        _ if matches!(draft.operation, operation::PROGRAM_WRITE | operation::PROGRAM_READ) => {
            // Count and address, then the memory's content.
            let mut data = Cursor::new(data);
            let wide = name.starts_with("user_");
            let count = if wide { data.u8("count")? } else { second & 0x3f };
            let address = data.u16_be("address")?;
            json::member_number(&mut draft.detail, "address", u64::from(address));
            draft.set_count(u32::from(count));
            if !data.is_empty() {
                draft.seal(&cx.settings.plant_key, data.rest());
            }
        }
        _ if !data.is_empty() => draft.push_bytes(data),
        _ => {}
    }
    Ok(())
}

/// Application layer services (3.3.7): the first ten bits behind the transport control.
fn application(service: u16) -> (&'static str, &'static str) {
    match service >> 6 {
        0 => ("group_value_read", operation::READ),
        1 => ("group_value_response", operation::REPORT),
        2 => ("group_value_write", operation::WRITE),
        3 => ("individual_address_write", operation::CONFIGURE),
        4 => ("individual_address_read", operation::DISCOVER),
        5 => ("individual_address_response", operation::DISCOVER),
        6 => ("adc_read", operation::READ),
        7 => ("adc_response", operation::READ),
        8 => ("memory_read", operation::PROGRAM_READ),
        9 => ("memory_response", operation::PROGRAM_READ),
        10 => ("memory_write", operation::PROGRAM_WRITE),
        12 => ("device_descriptor_read", operation::DISCOVER),
        13 => ("device_descriptor_response", operation::DISCOVER),
        14 => ("restart", operation::CONTROL),
        _ => match service {
            0x2c0 => ("user_memory_read", operation::PROGRAM_READ),
            0x2c1 => ("user_memory_response", operation::PROGRAM_READ),
            0x2c2 => ("user_memory_write", operation::PROGRAM_WRITE),
            0x2c5 => ("user_manufacturer_info_read", operation::DISCOVER),
            0x2c6 => ("user_manufacturer_info_response", operation::DISCOVER),
            0x2c7 => ("function_property_command", operation::CONTROL),
            0x2c8 => ("function_property_state_read", operation::READ),
            0x2c9 => ("function_property_state_response", operation::READ),
            0x3d1 => ("authorize_request", operation::AUTHENTICATE),
            0x3d2 => ("authorize_response", operation::AUTHENTICATE),
            0x3d3 => ("key_write", operation::CONFIGURE),
            0x3d4 => ("key_response", operation::CONFIGURE),
            0x3d5 => ("property_value_read", operation::READ),
            0x3d6 => ("property_value_response", operation::READ),
            0x3d7 => ("property_value_write", operation::CONFIGURE),
            0x3d8 => ("property_description_read", operation::DISCOVER),
            0x3d9 => ("property_description_response", operation::DISCOVER),
            0x3e0 => ("domain_address_write", operation::CONFIGURE),
            0x3e1 => ("domain_address_read", operation::DISCOVER),
            0x3f1 => ("secure_service", operation::OTHER),
            _ => ("unknown_application_service", operation::OTHER),
        },
    }
}

#[cfg(test)]
mod tests;
