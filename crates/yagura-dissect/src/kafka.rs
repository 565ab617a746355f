//! Kafka's protocol (Apache Kafka protocol guide): headers of requests and responses, paired by
//! their correlation number. What is produced and fetched is not looked into; what a client says
//! of itself is an identity.

use std::borrow::Cow;

use yagura_event::clock::{Micros, SECOND};
use yagura_event::rows::IdentityRow;
use yagura_event::vocabulary::operation;

use crate::cursor::{Cursor, Cut};
use crate::exchange::Exchanges;
use crate::framing::{Frame, Framed, Framing};
use crate::{Carrier, Cx, Glimpse, Probe, Protocol, Side, json};

/// The registry's entry.
pub const PROTOCOL: Protocol = Protocol {
    name: NAME,
    carriers: &[Carrier::tcp(&[9092, 9093, 9094])],
    probe,
    start: |_| {
        Box::new(Framing::new(Kafka { exchanges: Exchanges::new(NAME, TIMEOUT), client: String::new() }))
    },
    buffer_bytes_max: HEAD_MAX,
    #[cfg(test)]
    sample: tests::sample,
};

const NAME: &str = "kafka";
/// Clients wait that long by default (`request.timeout.ms`).
const TIMEOUT: Micros = 60 * SECOND;
/// The largest message that is believed.
const LENGTH_MAX: usize = 100 << 20;
/// Of a message, that many bytes are read: header and what stands first.
const HEAD_MAX: usize = 1024;
/// Key, version, correlation, client's length.
const REQUEST_HEADER: usize = 10;
/// The keys and versions in use.
const KEY_MAX: u16 = 92;
const VERSION_MAX: u16 = 20;

mod key {
    pub const PRODUCE: u16 = 0;
    pub const API_VERSIONS: u16 = 18;
}

/// The body's length and as much of the body as is there.
fn split(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    Some((u32::from_be_bytes(*length) as usize, rest))
}

/// Whether a body begins like a request: `None` where there are too few bytes to say.
fn request(length: usize, body: &[u8]) -> Option<bool> {
    let Some(&[a, b, c, d, _, _, _, _, e, f]) = body.first_chunk::<REQUEST_HEADER>() else {
        return if length < REQUEST_HEADER { Some(false) } else { None };
    };
    let (key, version) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    let client = i16::from_be_bytes([e, f]);
    let name = body.get(REQUEST_HEADER..).unwrap_or_default();
    let name = &name[..name.len().min(client.max(0) as usize)];
    Some(
        key <= KEY_MAX
            && version <= VERSION_MAX
            && (-1..=255).contains(&client)
            && length >= REQUEST_HEADER + client.max(0) as usize
            && name.iter().all(|byte| matches!(byte, 0x20..=0x7e)),
    )
}

fn probe(glimpse: &Glimpse<'_>) -> Probe {
    let Some((length, body)) = split(glimpse.bytes) else {
        return if glimpse.bytes.first().is_some_and(|byte| *byte > 6) { Probe::No } else { Probe::More };
    };
    if !(8..LENGTH_MAX).contains(&length) {
        return Probe::No;
    }
    // A response has no mark of its own: one that fills its packet is believed at the broker's port.
    if glimpse.side == Side::Server {
        return if glimpse.customary && body.len() == length { Probe::Yes } else { Probe::No };
    }
    match request(length, body) {
        None => Probe::More,
        Some(false) => Probe::No,
        // The first request asks for versions; elsewhere only that one is strange enough.
        Some(true) if glimpse.customary => Probe::Yes,
        Some(true) => {
            let versions = body[..2] == key::API_VERSIONS.to_be_bytes() && body[2] == 0 && body[3] <= 4;
            let named = i16::from_be_bytes([body[8], body[9]]) > 0;
            if versions && named && body.len() == length { Probe::Yes } else { Probe::No }
        }
    }
}

/// What waits is known by its number; how its response begins depends on what was asked.
struct Asked {
    correlation: u32,
    key: u16,
}

struct Kafka {
    exchanges: Exchanges<Asked>,
    /// The client's name, once it was said.
    client: String,
}

/// A request's name, and what it does.
fn named(key: u16) -> (&'static str, Cow<'static, str>) {
    let name = match key {
        0 => "Produce",
        1 => "Fetch",
        2 => "ListOffsets",
        3 => "Metadata",
        4 => "LeaderAndIsr",
        5 => "StopReplica",
        6 => "UpdateMetadata",
        7 => "ControlledShutdown",
        8 => "OffsetCommit",
        9 => "OffsetFetch",
        10 => "FindCoordinator",
        11 => "JoinGroup",
        12 => "Heartbeat",
        13 => "LeaveGroup",
        14 => "SyncGroup",
        15 => "DescribeGroups",
        16 => "ListGroups",
        17 => "SaslHandshake",
        18 => "ApiVersions",
        19 => "CreateTopics",
        20 => "DeleteTopics",
        21 => "DeleteRecords",
        22 => "InitProducerId",
        23 => "OffsetForLeaderEpoch",
        24 => "AddPartitionsToTxn",
        25 => "AddOffsetsToTxn",
        26 => "EndTxn",
        27 => "WriteTxnMarkers",
        28 => "TxnOffsetCommit",
        29 => "DescribeAcls",
        30 => "CreateAcls",
        31 => "DeleteAcls",
        32 => "DescribeConfigs",
        33 => "AlterConfigs",
        34 => "AlterReplicaLogDirs",
        35 => "DescribeLogDirs",
        36 => "SaslAuthenticate",
        37 => "CreatePartitions",
        38 => "CreateDelegationToken",
        42 => "DeleteGroups",
        43 => "ElectLeaders",
        44 => "IncrementalAlterConfigs",
        60 => "DescribeCluster",
        61 => "DescribeProducers",
        68 => "ConsumerGroupHeartbeat",
        71 => "GetTelemetrySubscriptions",
        72 => "PushTelemetry",
        _ => return (operation::OTHER, Cow::Owned(format!("ApiKey{key}"))),
    };
    let does = match key {
        0 => operation::WRITE,
        1 => operation::READ,
        4..=7 | 19..=21 | 30 | 31 | 33 | 34 | 37 | 38 | 42..=44 => operation::CONFIGURE,
        17 | 36 => operation::AUTHENTICATE,
        11 | 14 | 22 => operation::SESSION_OPEN,
        13 => operation::SESSION_CLOSE,
        8 | 12 | 24..=28 | 68 => operation::SESSION_KEEP,
        _ => operation::DISCOVER,
    };
    (does, Cow::Borrowed(name))
}

/// A compact string (an unsigned varint of its length plus one); the lengths here fit one octet.
fn compact(c: &mut Cursor<'_>) -> Result<String, Cut> {
    let length = c.u8("compact_length")?;
    c.check((1..0x80).contains(&length), "compact_length")?;
    Ok(String::from_utf8_lossy(c.take(usize::from(length) - 1, "compact_string")?).into_owned())
}

impl Kafka {
    fn request(&mut self, cx: &mut Cx<'_>, side: Side, length: usize, mut c: Cursor<'_>) -> Result<(), Cut> {
        let (key, version) = (c.u16_be("api_key")?, c.u16_be("api_version")?);
        let correlation = c.u32_be("correlation")?;
        let client = c.i16_be("client_id")?.max(0);
        let client = String::from_utf8_lossy(c.take(client as usize, "client_id")?).into_owned();
        let (does, name) = named(key);
        let mut draft = self.exchanges.draft(cx, side, does, name);
        draft.session.clone_from(&client);
        json::member_number(&mut draft.detail, "api_key", key.into());
        json::member_number(&mut draft.detail, "api_version", version.into());
        json::member_number(&mut draft.detail, "correlation", correlation.into());
        json::member_number(&mut draft.detail, "request_bytes", length as u64);
        let mut software = (String::new(), String::new());
        if key == key::API_VERSIONS && version >= 3 && c.u8("tags")? == 0 {
            software = (compact(&mut c)?, compact(&mut c)?);
            json::member_text(&mut draft.detail, "software", &software.0);
            json::member_text(&mut draft.detail, "software_version", &software.1);
        }
        if (self.client.is_empty() && !client.is_empty()) || !software.0.is_empty() {
            self.client.clone_from(&client);
            let row = IdentityRow {
                name: &client,
                model: &software.0,
                firmware: &software.1,
                ..IdentityRow::default()
            };
            cx.identity(NAME, side, row);
        }
        // A producer may want no answer (acks 0).
        if key == key::PRODUCE && silent(version, c) {
            self.exchanges.one_way(cx, draft);
        } else {
            self.exchanges.ask(cx, Asked { correlation, key }, draft);
        }
        Ok(())
    }

    fn response(&mut self, cx: &mut Cx<'_>, side: Side, length: usize, mut c: Cursor<'_>) -> Result<(), Cut> {
        let correlation = c.u32_be("correlation")?;
        let found = self.exchanges.take_if(side, |asked, _| asked.correlation == correlation);
        let Some((asked, mut draft)) = found else {
            let mut draft = self.exchanges.draft(cx, side.other(), operation::OTHER, "response");
            json::member_number(&mut draft.detail, "correlation", correlation.into());
            json::member_number(&mut draft.detail, "response_bytes", length as u64);
            self.exchanges.unasked(cx, draft);
            return Ok(());
        };
        json::member_number(&mut draft.detail, "response_bytes", length as u64);
        if asked.key == key::API_VERSIONS
            && let Ok(error) = c.i16_be("error")
            && error != 0
        {
            draft.deny(if error == 35 {
                "UNSUPPORTED_VERSION".into()
            } else {
                Cow::Owned(format!("error_{error}"))
            });
        }
        self.exchanges.pair(cx, draft);
        Ok(())
    }
}

/// Whether what is produced is not acknowledged: the transaction's name, then `acks`.
fn silent(version: u16, mut c: Cursor<'_>) -> bool {
    let mut acks = || -> Result<i16, Cut> {
        if version >= 9 {
            c.skip(1, "tags")?;
            let length = c.u8("transaction")?.saturating_sub(1);
            c.skip(length.into(), "transaction")?;
        } else if version >= 3 {
            let length = c.i16_be("transaction")?.max(0);
            c.skip(length as usize, "transaction")?;
        }
        c.i16_be("acks")
    };
    acks() == Ok(0)
}

impl Framed for Kafka {
    const PROTOCOL: &'static str = NAME;

    fn frame(&self, side: Side, bytes: &[u8]) -> Frame {
        let Some((length, body)) = split(bytes) else { return Frame::More };
        if !(4..LENGTH_MAX).contains(&length) {
            return Frame::Bad("length");
        }
        if side == Side::Client {
            match request(length, body) {
                None => return Frame::More,
                Some(false) => return Frame::Bad("request_header"),
                Some(true) => {}
            }
        }
        let whole = 4 + length;
        if whole <= HEAD_MAX { Frame::Of(whole) } else { Frame::Head(HEAD_MAX, (whole - HEAD_MAX) as u64) }
    }

    fn read(&mut self, cx: &mut Cx<'_>, side: Side, frame: &[u8]) -> Result<(), Cut> {
        let mut c = Cursor::new(frame);
        let length = c.u32_be("length")? as usize;
        match side {
            Side::Client => self.request(cx, side, length, c),
            Side::Server => self.response(cx, side, length, c),
        }
    }

    fn lost(&mut self, _cx: &mut Cx<'_>, _side: Side) {}

    fn expire(&mut self, cx: &mut Cx<'_>) {
        self.exchanges.expire(cx);
    }

    fn close(&mut self, cx: &mut Cx<'_>) {
        self.exchanges.close(cx);
    }
}

#[cfg(test)]
mod tests {
    use yagura_event::schema::Kind;

    use super::*;
    use crate::testing::{OTHERS, Run, Sample};

    fn message(body: &[u8]) -> Vec<u8> {
        [&(body.len() as u32).to_be_bytes()[..], body].concat()
    }

    fn asks(key: u8, version: u8, correlation: u8, rest: &[u8]) -> Vec<u8> {
        let mut body = vec![0, key, 0, version, 0, 0, 0, correlation, 0, 8];
        body.extend(b"recorder");
        body.extend_from_slice(rest);
        message(&body)
    }

    pub fn sample() -> Sample {
        use Side::{Client, Server};
        Sample::tcp(vec![
            (Client, asks(18, 3, 1, b"\0\x0blibrdkafka\x062.3.0\0")),
            (Server, message(&[0, 0, 0, 1, 0, 0, 0, 0, 0, 0])),
            (Client, asks(3, 2, 2, &[0, 0, 0, 0])),
            (Client, asks(0, 3, 3, &[0xff, 0xff, 0, 0, 0, 0, 0, 0])),
            (Server, message(&[0, 0, 0, 2, 0, 0, 0, 0])),
        ])
    }

    #[test]
    fn requests_are_paired_by_their_number() {
        let mut run = Run::new(&PROTOCOL);
        for (side, bytes) in sample().said {
            run.send(side, &bytes);
        }
        run.send(Side::Client, &asks(18, 9, 4, &[1]));
        run.send(Side::Server, &message(&[0, 0, 0, 4, 0, 35]));
        run.send(Side::Server, &message(&[0, 0, 0, 9, 0, 0]));
        assert_eq!(
            run.table(&["operation", "function", "session", "status", "status_code", "exchange"]),
            [
                "discover|ApiVersions|recorder|ok||pair",
                "write|Produce|recorder|one_way||request",
                "discover|Metadata|recorder|ok||pair",
                "discover|ApiVersions|recorder|denied|UNSUPPORTED_VERSION|pair",
                "other|response||unasked||reply",
            ]
        );
        let identity = run.of(Kind::Identity)[0];
        assert_eq!(
            ["name", "model", "firmware"].map(|column| identity.text(column)),
            ["recorder", "librdkafka", "2.3.0"]
        );
    }

    #[test]
    fn it_is_told_by_its_first_request() {
        let probed = |customary, bytes: &[u8]| {
            let transport = crate::Transport::Tcp;
            (PROTOCOL.probe)(&Glimpse { transport, side: Side::Client, customary, bytes })
        };
        assert_eq!(probed(false, &sample().said[0].1), Probe::Yes);
        assert_eq!(probed(false, &sample().said[2].1), Probe::No);
        assert_eq!(probed(true, &sample().said[2].1), Probe::Yes);
        for (name, bytes) in OTHERS {
            assert_ne!(probed(false, bytes), Probe::Yes, "{name}");
        }
    }
}
