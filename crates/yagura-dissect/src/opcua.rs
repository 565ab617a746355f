//! OPC UA over its binary transport (OPC 10000-6, clauses 6.7 and 7.1): chunks, secure channels
//! and the pairing of requests with their responses.
//!
//! Requests and responses are told apart by the encoding's node id and paired by the request id
//! of the sequence header. What the services of OPC 10000-4 say is read in [`services`], the
//! built-in types in [`types`]. Bodies of signed messages are plain and are read; encrypted ones
//! are said to be so, once a connection.

use yagura_event::clock::{Micros, SECOND};
use yagura_event::vocabulary::{coverage, operation};

use crate::cursor::{Cursor, Cut};
use crate::exchange::{Draft, Exchanges};
use crate::framing::{Frame, Framed, Framing};
use crate::{Carrier, Cx, FlowInfo, Probe, Protocol, Side, json};

mod certificate;
mod requests;
mod responses;
mod services;
mod types;

use services::{Known, Service};

/// The registry's entry.
pub(crate) const PROTOCOL: Protocol = Protocol {
    name: "opcua",
    carriers: &[Carrier::tcp(&[4840])],
    probe: |glimpse| match header(glimpse.bytes) {
        Frame::Of(_) | Frame::Head(..) => Probe::Yes,
        Frame::More => Probe::More,
        Frame::Bad(_) => Probe::No,
    },
    start: |_: &FlowInfo| Box::new(Framing::new(OpcUa::new())),
    buffer_bytes_max: CHUNK_BYTES_MAX,
    #[cfg(test)]
    sample: tests::sample,
};

/// A request without a response for that long gets a row of its own. Publish requests wait for
/// as long as nothing changes.
const REPLY_TIMEOUT: Micros = 60 * SECOND;
/// Largest chunk; the standard's smallest buffer is 8 KiB, and stacks offer 64 KiB by custom.
const CHUNK_BYTES_MAX: usize = 1 << 20;
/// Most bytes of a message that are put together; what is beyond is not read.
const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// What the connection protocol's and the secure conversation's messages begin with.
const KINDS: [&[u8; 3]; 7] = [b"HEL", b"ACK", b"ERR", b"RHE", b"OPN", b"MSG", b"CLO"];
/// Message type, chunk type and size.
const HEADER: usize = 8;
/// The policy that secures nothing.
const POLICY_NONE: &str = "None";

/// Clause 7.1.2.2, Message Header.
fn header(bytes: &[u8]) -> Frame {
    let seen = bytes.len().min(3);
    let Some(kind) = KINDS.iter().find(|kind| kind[..seen] == bytes[..seen]) else {
        return Frame::Bad("message_type");
    };
    let Some(&chunk) = bytes.get(3) else { return Frame::More };
    if chunk != b'F' && (*kind != b"MSG" || !matches!(chunk, b'C' | b'A')) {
        return Frame::Bad("chunk_type");
    }
    let Some(&[_, _, _, _, a, b, c, d]) = bytes.first_chunk::<HEADER>() else { return Frame::More };
    let size = u32::from_le_bytes([a, b, c, d]) as usize;
    let least = match *kind {
        b"ACK" => 28,
        b"HEL" => 32,
        b"MSG" | b"OPN" | b"CLO" => 24,
        _ => 16,
    };
    if (least..=CHUNK_BYTES_MAX).contains(&size) { Frame::Of(size) } else { Frame::Bad("message_size") }
}

/// What a message that waits is answered by.
#[derive(Debug, PartialEq)]
enum Key {
    /// Acknowledge or Error.
    Hello,
    /// OpenSecureChannel whose body is encrypted, which hides nothing of the order.
    Open(u32),
    /// A service's response.
    Request(u32, &'static Service),
}

/// Chunks of one direction that make a message.
#[derive(Default)]
struct Assembly {
    request: u32,
    body: Vec<u8>,
    under_way: bool,
    cut: bool,
    /// Chunks are missing: those that continue a message are passed over.
    lost: bool,
}

/// The state of a connection.
struct OpcUa {
    exchanges: Exchanges<Key>,
    assemblies: [Assembly; 2],
    known: Known,
    /// Whether the channel's policy secures messages; not known where the beginning was not seen.
    secured: Option<bool>,
    opaque: bool,
    /// A plain body was seen: what does not begin like a service is not encrypted.
    plain: bool,
    scratch: String,
}

impl OpcUa {
    fn new() -> Self {
        OpcUa {
            exchanges: Exchanges::new(PROTOCOL.name, REPLY_TIMEOUT),
            assemblies: Default::default(),
            known: Known::default(),
            secured: None,
            opaque: false,
            plain: false,
            scratch: String::new(),
        }
    }
}

impl Framed for OpcUa {
    const PROTOCOL: &'static str = PROTOCOL.name;

    fn frame(&self, _side: Side, bytes: &[u8]) -> Frame {
        header(bytes)
    }

    fn read(&mut self, cx: &mut Cx<'_>, side: Side, frame: &[u8]) -> Result<(), Cut> {
        let mut c = Cursor::new(frame);
        let kind = c.array::<3>("message_type")?;
        let chunk = c.u8("chunk_type")?;
        c.skip(4, "message_size")?;
        match &kind {
            b"HEL" => self.hello(cx, side, &mut c),
            b"ACK" => self.acknowledge(cx, side, &mut c),
            b"ERR" => self.error(cx, side, &mut c),
            b"RHE" => self.reverse_hello(cx, side, &mut c),
            b"OPN" => self.open(cx, side, &mut c),
            _ => self.chunk(cx, side, chunk, &mut c),
        }
    }

    fn lost(&mut self, _cx: &mut Cx<'_>, side: Side) {
        self.assemblies[side as usize] = Assembly { lost: true, ..Assembly::default() };
    }

    fn expire(&mut self, cx: &mut Cx<'_>) {
        self.exchanges.expire(cx);
    }

    fn close(&mut self, cx: &mut Cx<'_>) {
        self.exchanges.close(cx);
    }
}

impl OpcUa {
    /// Clause 7.1.2.3.
    fn hello(&mut self, cx: &mut Cx<'_>, side: Side, c: &mut Cursor<'_>) -> Result<(), Cut> {
        let mut draft = self.exchanges.draft(cx, side, operation::SESSION_OPEN, "hello");
        for name in ["version", "receive_buffer", "send_buffer", "max_message", "max_chunks"] {
            json::member_number(&mut draft.detail, name, u64::from(c.u32_le(name)?));
        }
        draft.target.push_str(&types::text(c, "endpoint_url")?);
        self.exchanges.ask(cx, Key::Hello, draft);
        Ok(())
    }

    /// Clause 7.1.2.4.
    fn acknowledge(&mut self, cx: &mut Cx<'_>, side: Side, c: &mut Cursor<'_>) -> Result<(), Cut> {
        let asked = self.exchanges.answered(side, &Key::Hello);
        let paired = asked.is_some();
        let mut draft =
            asked.unwrap_or_else(|| self.exchanges.draft(cx, side.other(), operation::SESSION_OPEN, "hello"));
        json::member_number(&mut draft.detail, "server_version", u64::from(c.u32_le("version")?));
        self.answer(cx, draft, paired);
        Ok(())
    }

    /// Clause 7.1.2.5.
    fn error(&mut self, cx: &mut Cx<'_>, side: Side, c: &mut Cursor<'_>) -> Result<(), Cut> {
        let code = types::status_name(c.u32_le("error")?);
        let reason = types::text(c, "reason")?;
        let asked = self.exchanges.answered_if(side, |key, _| !matches!(key, Key::Request(..)));
        let paired = asked.is_some();
        let mut draft = asked.unwrap_or_else(|| self.exchanges.draft(cx, side, operation::ERROR, "error"));
        draft.deny(code);
        json::member_text(&mut draft.detail, "reason", &reason);
        if paired {
            self.exchanges.pair(cx, draft);
        } else {
            self.exchanges.one_way(cx, draft);
        }
        Ok(())
    }

    /// Clause 7.1.2.6: the server opens the connection.
    fn reverse_hello(&mut self, cx: &mut Cx<'_>, side: Side, c: &mut Cursor<'_>) -> Result<(), Cut> {
        let mut draft = self.exchanges.draft(cx, side, operation::SESSION_OPEN, "reverse_hello");
        json::member_text(&mut draft.detail, "server_uri", &types::text(c, "server_uri")?);
        draft.target.push_str(&types::text(c, "endpoint_url")?);
        draft.equipment = side;
        self.exchanges.one_way(cx, draft);
        Ok(())
    }

    /// Clauses 6.7.2.3 and 6.7.4: OpenSecureChannel, of which a secured one shows its header only.
    fn open(&mut self, cx: &mut Cx<'_>, side: Side, c: &mut Cursor<'_>) -> Result<(), Cut> {
        let channel = c.u32_le("secure_channel_id")?;
        let uri = types::text(c, "security_policy_uri")?;
        let policy = uri.rsplit('#').next().unwrap_or(&uri);
        let certificate = types::bytes(c, "sender_certificate")?;
        let thumbprint = types::bytes(c, "receiver_thumbprint")?;
        let secured = policy != POLICY_NONE;
        self.secured = Some(secured);
        // The opener of the channel is the client, who also opened the connection unless reversed.
        let asks = side == self.known.client.unwrap_or(Side::Client);
        let request = if secured {
            None
        } else {
            c.skip(4, "sequence_number")?;
            Some(c.u32_le("request_id")?)
        };
        let mut draft = None;
        let mut paired = false;
        if secured {
            if !asks {
                draft = self.exchanges.answered_if(side, |key, _| matches!(key, Key::Open(_)));
                paired = draft.is_some();
            }
            let mut draft = draft.unwrap_or_else(|| {
                let asker = if asks { side } else { side.other() };
                self.exchanges.draft(cx, asker, operation::SESSION_OPEN, "open_secure_channel")
            });
            if asks || !paired {
                json::member_text(&mut draft.detail, "security_policy", policy);
            }
            let who = if asks { "client" } else { "server" };
            certificate::describe(&mut draft.detail, who, certificate, thumbprint);
            if asks {
                self.exchanges.ask(cx, Key::Open(channel), draft);
            } else {
                session(&mut draft, channel);
                self.answer(cx, draft, paired);
            }
            return Ok(());
        }
        self.message(cx, side, channel, request.unwrap_or(0), c.take_rest(), false)
    }

    /// Clause 6.7.2: one chunk of a secured message.
    fn chunk(&mut self, cx: &mut Cx<'_>, side: Side, chunk: u8, c: &mut Cursor<'_>) -> Result<(), Cut> {
        let channel = c.u32_le("secure_channel_id")?;
        c.skip(4, "token_id")?;
        c.skip(4, "sequence_number")?;
        let request = c.u32_le("request_id")?;
        let body = c.take_rest();
        let mut assembly = std::mem::take(&mut self.assemblies[side as usize]);
        if self.opaque {
            return Ok(());
        }
        if !assembly.under_way && chunk != b'A' {
            if begins_a_service(body) {
                assembly.lost = false;
                self.plain = true;
            } else if assembly.lost {
                self.assemblies[side as usize] = assembly;
                return Ok(());
            } else if !self.plain && self.secured != Some(false) {
                self.opaque = true;
                cx.opaque(PROTOCOL.name, "SignAndEncrypt: messages are encrypted");
                return Ok(());
            }
        }
        if assembly.under_way && assembly.request != request {
            cx.cover(PROTOCOL.name, coverage::MALFORMED, 1, "a message without its last chunk");
            assembly = Assembly::default();
        }
        let result = match chunk {
            b'A' => {
                let asked = self
                    .exchanges
                    .answered_if(side, |key, _| matches!(key, Key::Request(id, _) if *id == request));
                let paired = asked.is_some();
                let mut draft = asked
                    .unwrap_or_else(|| self.exchanges.draft(cx, side.other(), operation::ERROR, "abort"));
                let mut c = Cursor::new(body);
                draft.deny(types::status_name(c.u32_le("error")?));
                json::member_text(&mut draft.detail, "reason", &types::text(&mut c, "reason")?);
                self.answer(cx, draft, paired);
                return Ok(());
            }
            b'F' if !assembly.under_way => self.message(cx, side, channel, request, body, false),
            _ => {
                let room = MESSAGE_BYTES_MAX - assembly.body.len();
                assembly.cut |= room < body.len();
                assembly.body.extend_from_slice(&body[..body.len().min(room)]);
                assembly.request = request;
                assembly.under_way = true;
                if chunk == b'C' {
                    self.assemblies[side as usize] = assembly;
                    return Ok(());
                }
                self.message(cx, side, channel, request, &assembly.body, assembly.cut)
            }
        };
        // The space stays small between messages.
        if assembly.body.capacity() <= 1 << 16 {
            assembly.body.clear();
            assembly.under_way = false;
            assembly.cut = false;
            self.assemblies[side as usize] = assembly;
        }
        result
    }

    /// A whole message: its type and what follows.
    fn message(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        channel: u32,
        request: u32,
        body: &[u8],
        cut: bool,
    ) -> Result<(), Cut> {
        let mut c = Cursor::new(body);
        let id = types::type_id(&mut c)?;
        let Some((service, role)) = services::find(id) else {
            let mut draft = self.exchanges.draft(cx, side, operation::OTHER, format!("service_{id}"));
            session(&mut draft, channel);
            self.exchanges.one_way(cx, draft);
            return Ok(());
        };
        match role {
            services::Role::Request => {
                self.known.client = Some(side);
                let mut draft = self.exchanges.draft(cx, side, service.operation, service.name);
                json::member_number(&mut draft.detail, "request_id", u64::from(request));
                let result = requests::read(&mut self.known, service, request, &mut c, &mut draft);
                wrong_unless_cut(&mut draft, result, cut);
                if service.name == services::CLOSE_SECURE_CHANNEL {
                    session(&mut draft, channel);
                    self.exchanges.one_way(cx, draft);
                } else {
                    self.exchanges.ask(cx, Key::Request(request, service), draft);
                }
            }
            services::Role::Response => {
                let asked = self
                    .exchanges
                    .answered_if(side, |key, _| matches!(key, Key::Request(id, _) if *id == request));
                let paired = asked.is_some();
                let mut draft = asked.unwrap_or_else(|| {
                    let mut draft = self.exchanges.draft(cx, side.other(), service.operation, service.name);
                    json::member_number(&mut draft.detail, "request_id", u64::from(request));
                    draft
                });
                session(&mut draft, channel);
                let scratch = &mut self.scratch;
                let result = responses::read(
                    &mut self.known,
                    scratch,
                    cx,
                    side,
                    (service, request),
                    &mut c,
                    &mut draft,
                );
                wrong_unless_cut(&mut draft, result, cut);
                self.answer(cx, draft, paired);
            }
        }
        Ok(())
    }

    fn answer(&mut self, cx: &mut Cx<'_>, draft: Draft, paired: bool) {
        if paired {
            self.exchanges.pair(cx, draft);
        } else {
            self.exchanges.unasked(cx, draft);
        }
    }
}

/// Whether a body begins with a service's type, which encrypted ones do not.
fn begins_a_service(body: &[u8]) -> bool {
    types::type_id(&mut Cursor::new(body)).is_ok_and(|id| services::find(id).is_some())
}

fn session(draft: &mut Draft, channel: u32) {
    json::push_number(&mut draft.session, u64::from(channel));
}

fn wrong_unless_cut(draft: &mut Draft, result: Result<(), Cut>, cut: bool) {
    match result {
        Err(_) if cut => json::member_bool(&mut draft.detail, "message_cut", true),
        Err(wrong) => draft.wrong(wrong),
        Ok(()) => {}
    }
}

#[cfg(test)]
mod tests;
