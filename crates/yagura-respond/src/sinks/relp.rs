//! RELP, the Reliable Event Logging Protocol (librelp's `doc/relp.md`, version 0.0.1 of
//! 2008-03-19), over TLS: each alert is an RFC 5424 line that the receiver acknowledges.
//!
//! Delivers at least once: what was not acknowledged when a connection broke is sent again, and
//! the receiver tells revisions apart by OCSF's `metadata.uid`. An acknowledgement is worth what
//! the receiver makes of it. rsyslog answers when the message is in its queue, so give the
//! ruleset a disk-assisted queue, or `queue.type="Direct"`, and raise `maxMessageSize` to 64k.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use yagura_event::alert::Alert;

use crate::sink::{Boxed, ConfigError, Connection, Sink, SinkError};
use crate::syslog::Formatter;

/// What users write for a RELP sink.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// `host:port`; an IPv6 address in brackets.
    address: String,
    /// `{ ca, certificate, key, server_name }`, or `false` for a network that nobody else is on.
    tls: Tls,
    /// How many alerts may await their acknowledgement.
    #[serde(default = "window_default")]
    window: usize,
}

fn window_default() -> usize {
    128
}

/// The largest window: it bounds the alerts held in memory.
const WINDOW_MAX: usize = 4096;

/// How long the receiver may take to accept a connection, to answer `open` and to take a frame.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest answer that is read. Answers are a line; this one is generous.
const ANSWER_BYTES_MAX: usize = 128 * 1024;

/// Transaction numbers go from 1 to here and begin again.
const TRANSACTION_MAX: u32 = 999_999_999;

impl super::Settings for Settings {
    const KIND: &'static str = "relp";

    fn build(self, name: &str, folder: &Path) -> Result<Box<dyn Sink>, ConfigError> {
        let bad = |problem: String| ConfigError::Setting { sink: name.into(), problem };
        let host = host_of(&self.address).ok_or_else(|| {
            bad(format!("`address: {}` is not host:port, such as siem.fab.example:2514", self.address))
        })?;
        if !(1..=WINDOW_MAX).contains(&self.window) {
            return Err(bad(format!("`window` is 1 to {WINDOW_MAX}, not {}", self.window)));
        }
        let tls = match self.tls {
            Tls::Off => None,
            Tls::On(files) => {
                let files = files.within(folder);
                if files.certificate.is_some() != files.key.is_some() {
                    return Err(bad("`tls.certificate` and `tls.key` belong together".into()));
                }
                let text = files.server_name.clone().unwrap_or(host);
                let server_name = ServerName::try_from(text.clone()).map_err(|_| {
                    bad(format!("`{text}` is neither a host name nor an address; set `tls.server_name`"))
                })?;
                // Read now, so that a missing file is found at start; and again at each connection,
                // so that renewed certificates need no restart.
                files.client()?;
                Some((files, server_name))
            }
        };
        Ok(Box::new(Relp { address: self.address, tls, window: self.window, formatter: Formatter::new() }))
    }
}

#[derive(Clone, Debug)]
enum Tls {
    Off,
    On(TlsFiles),
}

/// Certificates of a connection, all in PEM.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TlsFiles {
    /// Authorities that may have signed the receiver's certificate.
    ca: PathBuf,
    /// This side's certificate with its chain, when the receiver asks for one.
    certificate: Option<PathBuf>,
    /// Its key.
    key: Option<PathBuf>,
    /// The name in the receiver's certificate, when it is not the host of `address`.
    server_name: Option<String>,
}

impl TlsFiles {
    /// With paths that begin in `folder` where they are relative.
    fn within(self, folder: &Path) -> Self {
        let place = |file: PathBuf| folder.join(file);
        TlsFiles {
            ca: place(self.ca),
            certificate: self.certificate.map(place),
            key: self.key.map(place),
            server_name: self.server_name,
        }
    }

    fn client(&self) -> Result<Arc<rustls::ClientConfig>, ConfigError> {
        let bad =
            |file: &PathBuf, problem: String| ConfigError::File { file: file.display().to_string(), problem };
        let certificates = |file: &PathBuf| -> Result<Vec<CertificateDer<'static>>, ConfigError> {
            let read: Result<Vec<_>, _> = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
            match read {
                Ok(found) if found.is_empty() => Err(bad(file, "holds no PEM certificate".into())),
                Ok(found) => Ok(found),
                Err(error) => Err(bad(file, format!("cannot be read as PEM certificates: {error}"))),
            }
        };
        let mut roots = rustls::RootCertStore::empty();
        for certificate in certificates(&self.ca)? {
            roots.add(certificate).map_err(|e| bad(&self.ca, format!("holds an unusable authority: {e}")))?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| bad(&self.ca, e.to_string()))?
            .with_root_certificates(roots);
        let config = match (&self.certificate, &self.key) {
            (Some(certificate), Some(key_file)) => {
                let chain = certificates(certificate)?;
                let key = PrivateKeyDer::from_pem_file(key_file)
                    .map_err(|e| bad(key_file, format!("cannot be read as a PEM private key: {e}")))?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|e| bad(certificate, format!("does not go with {}: {e}", key_file.display())))?
            }
            _ => builder.with_no_client_auth(),
        };
        Ok(Arc::new(config))
    }
}

impl<'de> Deserialize<'de> for Tls {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Tls;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("`tls: { ca: FILE }`, or `tls: false` for a connection that anybody can read")
            }

            fn visit_bool<E: de::Error>(self, on: bool) -> Result<Tls, E> {
                if on {
                    return Err(E::custom(
                        "`tls: true` does not say whom to trust: write `tls: { ca: FILE }`",
                    ));
                }
                Ok(Tls::Off)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Tls, A::Error> {
                TlsFiles::deserialize(de::value::MapAccessDeserializer::new(map)).map(Tls::On)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// The host of `host:port`.
fn host_of(address: &str) -> Option<String> {
    let (host, port) = address.rsplit_once(':')?;
    let port: u16 = port.parse().ok()?;
    let host = match host.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']')?,
        None => host,
    };
    (port > 0 && !host.is_empty()).then(|| host.to_string())
}

struct Relp {
    address: String,
    tls: Option<(TlsFiles, ServerName<'static>)>,
    window: usize,
    formatter: Formatter,
}

impl Relp {
    async fn stream(&self) -> Result<Box<dyn Stream>, SinkError> {
        let refused = |cause| SinkError::Connect { address: self.address.clone(), cause };
        let late =
            |what| SinkError::Timeout { address: self.address.clone(), seconds: PATIENCE.as_secs(), what };
        let tcp = timeout(PATIENCE, TcpStream::connect(&self.address))
            .await
            .map_err(|_| late("connecting"))?
            .map_err(refused)?;
        tcp.set_nodelay(true).map_err(refused)?;
        let Some((files, server_name)) = &self.tls else { return Ok(Box::new(tcp)) };
        let connector = TlsConnector::from(files.client()?);
        let stream = timeout(PATIENCE, connector.connect(server_name.clone(), tcp))
            .await
            .map_err(|_| late("shaking hands"))?
            .map_err(|cause| SinkError::Tls { address: self.address.clone(), cause })?;
        Ok(Box::new(stream))
    }
}

impl Sink for Relp {
    fn describe(&self) -> String {
        format!("relp{}://{}", if self.tls.is_some() { "+tls" } else { "" }, self.address)
    }

    fn window(&self) -> usize {
        self.window
    }

    fn connect(&self) -> Boxed<'_, Result<Box<dyn Connection>, SinkError>> {
        Box::pin(async move {
            let mut session = Session {
                stream: self.stream().await?,
                address: self.address.clone(),
                tls: self.tls.is_some(),
                formatter: self.formatter.clone(),
                transaction: 0,
                waiting: VecDeque::new(),
                input: BytesMut::new(),
                output: Vec::new(),
            };
            session.open().await?;
            Ok(Box::new(session) as Box<dyn Connection>)
        })
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

struct Session {
    stream: Box<dyn Stream>,
    address: String,
    tls: bool,
    formatter: Formatter,
    /// The last transaction number used.
    transaction: u32,
    /// Transactions without an answer and the tokens of their alerts: the receiver answers in order.
    waiting: VecDeque<(u32, u64)>,
    input: BytesMut,
    output: Vec<u8>,
}

impl Session {
    /// Offers version 0, which librelp and rsyslog speak and call experimental; the
    /// specification's version 1 differs in nothing that is used here.
    async fn open(&mut self) -> Result<(), SinkError> {
        let offers =
            concat!("relp_version=0\nrelp_software=yagura,", env!("CARGO_PKG_VERSION"), "\ncommands=syslog");
        let transaction = self.command("open", offers.as_bytes()).await?;
        let answer = self.answer_in_time(transaction, "opening the session").await?;
        let supported = answer.lines().any(|line| {
            line.strip_prefix("commands=").is_some_and(|list| list.split(',').any(|c| c == "syslog"))
        });
        if !supported {
            return Err(self.protocol(format!("its offer has no `syslog` command: {answer:?}")));
        }
        Ok(())
    }

    async fn command(&mut self, command: &str, data: &[u8]) -> Result<u32, SinkError> {
        self.transaction = if self.transaction >= TRANSACTION_MAX { 1 } else { self.transaction + 1 };
        write_frame(&mut self.output, self.transaction, command, data);
        let sent = timeout(PATIENCE, async {
            self.stream.write_all(&self.output).await?;
            self.stream.flush().await
        });
        match sent.await {
            Ok(Ok(())) => Ok(self.transaction),
            Ok(Err(cause)) => Err(self.broken(&cause)),
            Err(_) => Err(self.late("taking a frame")),
        }
    }

    async fn answer_in_time(&mut self, transaction: u32, what: &'static str) -> Result<String, SinkError> {
        let answer = match timeout(PATIENCE, self.response()).await {
            Ok(response) => response?,
            Err(_) => return Err(self.late(what)),
        };
        if answer.transaction != transaction {
            let what = format!("it answered transaction {}, not {transaction}", answer.transaction);
            return Err(self.protocol(what));
        }
        if answer.code != 200 {
            return Err(SinkError::Refused { address: self.address.clone(), answer: answer.text });
        }
        Ok(answer.text)
    }

    /// The next `rsp` frame. May be dropped at any time: what was read stays in `input`.
    async fn response(&mut self) -> Result<Response, SinkError> {
        loop {
            match take_frame(&mut self.input).map_err(|what| self.protocol(what))? {
                Some(Frame::Response(response)) => return Ok(response),
                Some(Frame::ServerClose) => {
                    let cause = "the receiver is closing".to_string();
                    return Err(SinkError::Closed { address: self.address.clone(), cause });
                }
                None => {}
            }
            match self.stream.read_buf(&mut self.input).await {
                Ok(0) => {
                    let cause = "the receiver closed it".to_string();
                    return Err(SinkError::Closed { address: self.address.clone(), cause });
                }
                Ok(_) => {}
                Err(cause) => return Err(self.broken(&cause)),
            }
        }
    }

    fn broken(&self, cause: &std::io::Error) -> SinkError {
        // With TLS 1.3 a receiver refuses a certificate after the handshake, in an alert.
        let refusal = cause.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        let address = self.address.clone();
        match refusal {
            Some(refusal) if self.tls => {
                SinkError::Tls { address, cause: std::io::Error::other(refusal.clone()) }
            }
            _ => SinkError::Closed { address, cause: cause.to_string() },
        }
    }

    fn late(&self, what: &'static str) -> SinkError {
        SinkError::Timeout { address: self.address.clone(), seconds: PATIENCE.as_secs(), what }
    }

    fn protocol(&self, what: String) -> SinkError {
        SinkError::Protocol { address: self.address.clone(), protocol: "RELP", what }
    }
}

impl Connection for Session {
    fn send<'a>(&'a mut self, token: u64, alert: &'a Alert) -> Boxed<'a, Result<(), SinkError>> {
        Box::pin(async move {
            let line = self.formatter.line(alert);
            let transaction = self.command("syslog", line.as_bytes()).await?;
            self.waiting.push_back((transaction, token));
            Ok(())
        })
    }

    fn acknowledged(&mut self) -> Boxed<'_, Result<u64, SinkError>> {
        Box::pin(async move {
            let response = self.response().await?;
            let Some((transaction, token)) = self.waiting.pop_front() else {
                return Err(self.protocol("it answered what nobody asked".into()));
            };
            if response.transaction != transaction {
                let what = format!("it answered transaction {} before {transaction}", response.transaction);
                return Err(self.protocol(what));
            }
            if response.code != 200 {
                return Err(SinkError::Refused { address: self.address.clone(), answer: response.text });
            }
            Ok(token)
        })
    }

    fn close(&mut self) -> Boxed<'_, Result<(), SinkError>> {
        Box::pin(async move {
            if self.waiting.is_empty() {
                let transaction = self.command("close", b"").await?;
                self.answer_in_time(transaction, "closing the session").await?;
            }
            match timeout(PATIENCE, self.stream.shutdown()).await {
                Ok(Ok(())) => Ok(()),
                Ok(Err(cause)) => Err(self.broken(&cause)),
                Err(_) => Err(self.late("closing the connection")),
            }
        })
    }
}

/// `TXNR SP COMMAND SP DATALEN [SP DATA] LF`, replacing what is in `out`.
fn write_frame(out: &mut Vec<u8>, transaction: u32, command: &str, data: &[u8]) {
    out.clear();
    out.extend_from_slice(format!("{transaction} {command} {}", data.len()).as_bytes());
    if !data.is_empty() {
        out.push(b' ');
        out.extend_from_slice(data);
    }
    out.push(b'\n');
}

#[derive(Debug, PartialEq, Eq)]
enum Frame {
    Response(Response),
    ServerClose,
}

#[derive(Debug, PartialEq, Eq)]
struct Response {
    transaction: u32,
    code: u16,
    /// The receiver's words, and for `open` its offers on further lines.
    text: String,
}

/// Takes one whole frame off the front of `input`; `None` while bytes are missing.
fn take_frame(input: &mut BytesMut) -> Result<Option<Frame>, String> {
    let mut at = 0;
    let Some(transaction) = token(input, &mut at, 9)? else { return Ok(None) };
    let Some(command) = token(input, &mut at, 32)? else { return Ok(None) };
    // Without data the length is followed by the trailer, not by a space.
    let Some(length) = token(input, &mut at, 9)? else { return Ok(None) };
    let transaction = number(transaction)?;
    let length = number(length)? as usize;
    if length > ANSWER_BYTES_MAX {
        return Err(format!("it announced an answer of {length} bytes"));
    }
    let begin = at;
    // With data, `at` is behind the space and the trailer follows the data; without, `at` is
    // behind the trailer, or behind a space that some servers write all the same.
    let end = if length == 0 && input[at - 1] == b'\n' { at } else { begin + length + 1 };
    if input.len() < end {
        return Ok(None);
    }
    if input[end - 1] != b'\n' {
        return Err("a frame does not end where its length says".into());
    }
    let is_response = command == b"rsp";
    let is_close = command == b"serverclose";
    let frame = if is_response {
        let data = &input[begin..begin + length];
        let text = String::from_utf8_lossy(data);
        let code = text.get(..3).and_then(|code| code.parse().ok());
        let code = code.ok_or_else(|| format!("an answer has no status: {:?}", cut(&text)))?;
        Frame::Response(Response { transaction, code, text: text.into_owned() })
    } else if is_close {
        Frame::ServerClose
    } else {
        return Err(format!("it sent a `{}` command", String::from_utf8_lossy(command)));
    };
    input.advance(end);
    Ok(Some(frame))
}

/// Bytes up to the next space or line feed, which is passed over.
fn token<'a>(input: &'a [u8], at: &mut usize, bytes_max: usize) -> Result<Option<&'a [u8]>, String> {
    let rest = &input[*at..];
    match rest.iter().take(bytes_max + 1).position(|b| matches!(b, b' ' | b'\n')) {
        Some(0) => Err("a frame's header has an empty field".into()),
        Some(length) => {
            *at += length + 1;
            Ok(Some(&rest[..length]))
        }
        None if rest.len() > bytes_max => {
            Err(format!("its bytes are no frame: {:?}", cut(&String::from_utf8_lossy(&rest[..bytes_max]))))
        }
        None => Ok(None),
    }
}

fn number(digits: &[u8]) -> Result<u32, String> {
    let digits = std::str::from_utf8(digits).unwrap_or_default();
    let plain = digits.bytes().all(|b| b.is_ascii_digit());
    digits.parse().ok().filter(|_| plain).ok_or_else(|| format!("`{}` is not a number", cut(digits)))
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(64)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> (Result<Option<Frame>, String>, usize) {
        let mut input = BytesMut::from(bytes);
        (take_frame(&mut input), input.len())
    }

    #[test]
    fn frames_are_written_as_specified() {
        let mut out = Vec::new();
        write_frame(&mut out, 1, "close", b"");
        assert_eq!(out, b"1 close 0\n");
        write_frame(&mut out, 2, "syslog", b"<1>x y");
        assert_eq!(out, b"2 syslog 6 <1>x y\n");
    }

    #[test]
    fn answers_are_read_whole_or_not_at_all() {
        let bytes = b"12 rsp 6 200 OK\n0 serverclose 0\n";
        for end in 0..16 {
            assert_eq!(read(&bytes[..end]), (Ok(None), end), "{end} bytes");
        }
        let mut input = BytesMut::from(&bytes[..]);
        let response = Response { transaction: 12, code: 200, text: "200 OK".into() };
        assert_eq!(take_frame(&mut input), Ok(Some(Frame::Response(response))));
        assert_eq!(take_frame(&mut input), Ok(Some(Frame::ServerClose)));
        assert!(input.is_empty());
        assert_eq!(read(b"0 serverclose 0 \n").0, Ok(Some(Frame::ServerClose)), "with a stray space");
    }

    #[test]
    fn anything_else_is_an_error_and_never_a_panic() {
        for bytes in [
            &b"SSH-2.0-OpenSSH_9.2p1\r\n"[..],
            b" rsp 0\n",
            b"x rsp 6 200 OK\n",
            b"1 rsp 6 200 OK!",
            b"1 rsp 999999999 200",
            b"1 rsp 9999999999 2",
            b"1 rsp 2 OK\n",
            b"1 rsp 0\n",
            b"1 syslog 1 x\n",
            b"1 \xff\xff 3 abc\n",
            b"+1 rsp 6 200 OK\n",
            b"1 rsp 4 \xf0\x9f\x8f\xaf\n",
        ] {
            let (result, _) = read(bytes);
            assert!(result.is_err(), "{:?} gave {result:?}", String::from_utf8_lossy(bytes));
        }
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..20_000 {
            let length = random.usize(..40);
            let bytes: Vec<u8> =
                (0..length).map(|_| b"0123456789 rspevclo\n\xff"[random.usize(..20)]).collect();
            let mut input = BytesMut::from(&bytes[..]);
            while let Ok(Some(_)) = take_frame(&mut input) {}
        }
    }

    #[test]
    fn addresses_have_a_host_and_a_port() {
        assert_eq!(host_of("siem:2514").as_deref(), Some("siem"));
        assert_eq!(host_of("[::1]:2514").as_deref(), Some("::1"));
        for wrong in ["siem", ":1", "siem:0", "siem:x", "[::1:2514", "siem:65536"] {
            assert_eq!(host_of(wrong), None, "{wrong}");
        }
    }
}
