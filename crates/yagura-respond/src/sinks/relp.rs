//! RELP, the Reliable Event Logging Protocol (librelp's `doc/relp.md`, version 0.0.1 of
//! 2008-03-19), over TLS: each alert is an RFC 5424 line that the receiver acknowledges.
//!
//! Delivers at least once: what was not acknowledged when a connection broke is sent again, and
//! the receiver tells revisions apart by OCSF's `metadata.uid`. An acknowledgement is worth what
//! the receiver makes of it. rsyslog answers when the message is in its queue, so give the
//! ruleset a disk-assisted queue, or `queue.type="Direct"`, and raise `maxMessageSize` to 64k.

use std::collections::VecDeque;
use std::path::Path;

use bytes::{Buf, BytesMut};
use serde::Deserialize;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use crate::formats::Format;
use crate::message::Message;
use crate::sink::{Answer, Boxed, ConfigError, Connection, Meaning, Sink, SinkError, window_of};
use crate::syslog::Formatter;
use crate::tls::{PATIENCE, Peer, Stream, Tls};

/// What users write for a RELP sink.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// `host:port`; an IPv6 address in brackets.
    address: String,
    /// `{ ca, certificate, key, server_name }`, or `false` for a network that nobody else is on.
    tls: Tls,
    /// `ocsf` without an entry.
    #[serde(default)]
    format: Format,
    /// How many alerts may await their acknowledgement; 128 without an entry.
    window: Option<usize>,
}

/// The longest answer that is read. Answers are a line; this one is generous.
const ANSWER_BYTES_MAX: usize = 128 * 1024;

/// Transaction numbers go from 1 to here and begin again.
const TRANSACTION_MAX: u32 = 999_999_999;

impl super::Settings for Settings {
    const KIND: &'static str = "relp";

    fn build(self, name: &str, folder: &Path) -> Result<Box<dyn Sink>, ConfigError> {
        let window = window_of(name, self.window)?;
        let peer = Peer::new(name, self.address, self.tls, folder)?;
        Ok(Box::new(Relp { peer, window, formatter: Formatter::new(self.format) }))
    }
}

struct Relp {
    peer: Peer,
    window: usize,
    formatter: Formatter,
}

impl Sink for Relp {
    fn describe(&self) -> String {
        format!("relp{}://{}", if self.peer.is_tls() { "+tls" } else { "" }, self.peer.address)
    }

    fn meaning(&self) -> Meaning {
        Meaning::guaranteed(
            "the receiver has put it into its queue, which rsyslog keeps in memory unless it is told otherwise",
        )
    }

    fn window(&self) -> usize {
        self.window
    }

    fn connect(&self) -> Boxed<'_, Result<Box<dyn Connection>, SinkError>> {
        Box::pin(async move {
            let mut session = Session {
                stream: self.peer.connect().await?,
                peer: self.peer.clone(),
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

struct Session {
    stream: Box<dyn Stream>,
    peer: Peer,
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
        self.peer.write(&mut *self.stream, &self.output, "taking a frame").await?;
        Ok(self.transaction)
    }

    async fn answer_in_time(&mut self, transaction: u32, what: &'static str) -> Result<String, SinkError> {
        let answer = match timeout(PATIENCE, self.response()).await {
            Ok(response) => response?,
            Err(_) => return Err(self.peer.late(what)),
        };
        if answer.transaction != transaction {
            let what = format!("it answered transaction {}, not {transaction}", answer.transaction);
            return Err(self.protocol(what));
        }
        if answer.code != 200 {
            return Err(SinkError::Refused { address: self.peer.address.clone(), answer: answer.text });
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
                    return Err(SinkError::Closed { address: self.peer.address.clone(), cause });
                }
                None => {}
            }
            match self.stream.read_buf(&mut self.input).await {
                Ok(0) => return Err(self.peer.closed()),
                Ok(_) => {}
                Err(cause) => return Err(self.peer.broken(&cause)),
            }
        }
    }

    fn protocol(&self, what: String) -> SinkError {
        SinkError::Protocol { address: self.peer.address.clone(), protocol: "RELP", what }
    }
}

impl Connection for Session {
    fn send<'a>(&'a mut self, token: u64, message: &'a Message<'a>) -> Boxed<'a, Result<(), SinkError>> {
        Box::pin(async move {
            let line = self.formatter.line(message);
            let transaction = self.command("syslog", line.as_bytes()).await?;
            self.waiting.push_back((transaction, token));
            Ok(())
        })
    }

    fn acknowledged(&mut self) -> Boxed<'_, Result<Answer, SinkError>> {
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
                return Err(SinkError::Refused { address: self.peer.address.clone(), answer: response.text });
            }
            Ok(Answer::taken(token))
        })
    }

    fn close(&mut self) -> Boxed<'_, Result<(), SinkError>> {
        Box::pin(async move {
            if self.waiting.is_empty() {
                let transaction = self.command("close", b"").await?;
                self.answer_in_time(transaction, "closing the session").await?;
            }
            self.peer.close(&mut *self.stream).await
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
}
