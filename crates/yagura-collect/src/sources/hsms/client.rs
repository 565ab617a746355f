//! A short conversation with one equipment: connects, asks a question of stream 1, and separates. Used to see whether
//! the settings are right, and to ask an equipment for its names.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::time::Duration;

use yagura_dissect::hsms::{HEADER, Header, LENGTH_MAX, PREFIX};
use yagura_dissect::secs2::{Item, Value};
use yagura_event::clock::{self, Micros};

use super::replies::{self, Question, When, control, control_header, data_header, push_frame};
use super::session::{Timers, refused};
use crate::source::SourceError;

/// One equipment, and how it is reached.
#[derive(Clone, Debug)]
pub struct Target {
    /// Where it listens, `host:port`.
    pub address: Option<String>,
    /// Where it connects to, unless it listens.
    pub listen: Option<SocketAddr>,
    /// Its device id.
    pub device: u16,
    /// The timers.
    pub timers: Timers,
}

/// How long pieces of waiting are at most.
const LOOKS_UP_EVERY: Duration = Duration::from_millis(50);

/// The reason of a Reject.req that says that there is no session (E37), how often a question is asked until it is not
/// the answer, and the pause between.
const NOT_SELECTED: u8 = 4;
const NOT_SELECTED_MAX: u32 = 25;
const NOT_SELECTED_PAUSE: Duration = Duration::from_millis(200);

/// A session that stands.
pub struct Client {
    peer: String,
    stream: TcpStream,
    target: Target,
    system: u32,
    selected: bool,
}

/// What an equipment answered.
pub enum Answer {
    /// The text of the reply.
    Text(Vec<u8>),
    /// It does not answer that: a sentence.
    None(String),
}

/// Connects, asks who the equipment is, and says it in a line.
pub fn probe(target: &Target) -> Result<String, SourceError> {
    let mut client = Client::open(target)?;
    let (model, software) = client.identity()?;
    Ok(format!("model {model}, software {software}, device id {}", target.device))
}

impl Client {
    /// Connects (or waits until the equipment does, for T5), and opens a session.
    pub fn open(target: &Target) -> Result<Client, SourceError> {
        let (stream, peer) = match (&target.address, target.listen) {
            (Some(address), _) => (connect(address, &target.timers)?, address.clone()),
            (None, Some(own)) => accept(own, &target.timers)?,
            (None, None) => return Err(wrong("", "no address is given", "say `address` or `listen`")),
        };
        let mut client =
            Client { peer, stream, target: target.clone(), system: fastrand::u32(..), selected: false };
        client.stream.set_nodelay(true).map_err(|e| client.lost(&e))?;
        client.select()?;
        Ok(client)
    }

    /// Establishes communications (S1F13) and asks for model and software (S1F1).
    pub fn identity(&mut self) -> Result<(String, String), SourceError> {
        let established = self.ask(Question::Establish, &[])?;
        let pair = |item: Option<Item<'_>>| {
            let item = item?;
            Some((item.child(0)?.text()?.into_owned(), item.child(1)?.text()?.into_owned()))
        };
        if let Answer::Text(text) = &established {
            let item = Item::message(text).ok().flatten();
            let code = item.and_then(|item| item.child(0)).and_then(|code| code.code());
            if code.is_some_and(|code| code != 0) {
                let cause = format!("the equipment does not communicate (COMMACK {})", code.unwrap_or(1));
                return Err(wrong(&self.peer, &cause, "look whether its SECS interface is on-line"));
            }
            if let Some(pair) = pair(item.and_then(|item| item.child(1))) {
                return Ok(pair);
            }
        }
        match self.ask(Question::AreYouThere, &[])? {
            Answer::Text(text) => match pair(Item::message(&text).ok().flatten()) {
                Some(pair) => Ok(pair),
                None => Ok(("unknown".into(), "unknown".into())),
            },
            Answer::None(cause) => Err(wrong(
                &self.peer,
                &cause,
                &format!("look whether its device id is {}, and whether it is on-line", self.target.device),
            )),
        }
    }

    /// Asks a question; waits for T3 at most. Some equipment grants a session a moment before it is in it, and rejects
    /// what comes in between (reason 4): it is asked again.
    pub fn ask(&mut self, question: Question, ids: &[Value]) -> Result<Answer, SourceError> {
        for _ in 0..NOT_SELECTED_MAX {
            if let Some(answer) = self.ask_once(question, ids)? {
                return Ok(answer);
            }
            std::thread::park_timeout(NOT_SELECTED_PAUSE);
        }
        Ok(Answer::None(format!(
            "S1F{} was rejected: the equipment granted a session and then had none",
            question.function()
        )))
    }

    /// Asks a question; `None` when the equipment says that there is no session.
    fn ask_once(&mut self, question: Question, ids: &[Value]) -> Result<Option<Answer>, SourceError> {
        let system = self.next();
        let mut out = Vec::new();
        let header = data_header(self.target.device, 1, question.function(), true, system);
        push_frame(&mut out, header, &question.text(ids));
        self.send(&out)?;
        let until = clock::steady() + self.target.timers.t3.0;
        let name = format!("S1F{}", question.function());
        loop {
            let Some((header, text)) = self.receive(until)? else {
                return Ok(Some(Answer::None(format!("{name} was not answered within T3"))));
            };
            if header.stype == control::REJECT_REQ && header.system == system {
                let rejected = || Answer::None(format!("{name} was rejected (reason {})", header.byte3));
                return Ok((header.byte3 != NOT_SELECTED).then(rejected));
            }
            if !header.is_data() {
                continue;
            }
            if header.is_reply() && header.system == system {
                return Ok(Some(match header.function() {
                    0 => Answer::None(format!("{name} was aborted")),
                    _ => Answer::Text(text),
                }));
            }
            let quoted = Item::message(&text).ok().flatten();
            let quoted = quoted.and_then(|item| item.data().first_chunk::<HEADER>().map(Header::of));
            if header.stream() == 9 && quoted.is_some_and(|quoted| quoted.system == system) {
                let refused = format!("{name} was refused with S9F{}", header.function());
                return Ok(Some(Answer::None(refused)));
            }
        }
    }

    fn select(&mut self) -> Result<(), SourceError> {
        let timers = self.target.timers.clone();
        let passive = self.target.address.is_none();
        let system = self.next();
        if !passive {
            let mut out = Vec::new();
            push_frame(&mut out, control_header(control::SELECT_REQ, 0, system), &[]);
            self.send(&out)?;
        }
        let until = clock::steady() + if passive { timers.t7.0 } else { timers.t6.0 };
        while !self.selected {
            let Some((header, _)) = self.receive(until)? else {
                return Err(wrong(
                    &self.peer,
                    if passive {
                        "no Select.req came within T7"
                    } else {
                        "Select.req was not answered within T6"
                    },
                    "look whether an HSMS port of the equipment is meant, and whether it has a host already",
                ));
            };
            match header.stype {
                control::SELECT_RSP if header.system == system && header.byte3 == 0 => self.selected = true,
                control::SELECT_RSP if header.system == system => {
                    return Err(wrong(&self.peer, &refused(header.byte3), "then try again"));
                }
                control::REJECT_REQ => {
                    return Err(wrong(
                        &self.peer,
                        "Select.req was rejected",
                        "look whether it speaks HSMS-SS",
                    ));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The next message, after what a session demands was answered. Data is not acknowledged: nobody keeps it.
    fn receive(&mut self, until: Micros) -> Result<Option<(Header, Vec<u8>)>, SourceError> {
        let mut prefix = [0; PREFIX];
        if !self.fill(&mut prefix, until)? {
            return Ok(None);
        }
        let length = u32::from_be_bytes(prefix) as usize;
        if !(HEADER..=LENGTH_MAX).contains(&length) {
            return Err(wrong(
                &self.peer,
                "what answers there does not speak HSMS",
                "look which port of the equipment is its SECS port",
            ));
        }
        let mut frame = vec![0; length];
        if !self.fill(&mut frame, until.max(clock::steady() + self.target.timers.t8.0))? {
            return Err(wrong(&self.peer, "a message stopped in its middle", "look at the network"));
        }
        let Some((header, text)) = frame.split_first_chunk::<HEADER>() else { return Ok(None) };
        let (header, text) = (Header::of(header), text.to_vec());
        let mut out = Vec::new();
        match header.stype {
            0 if !header.is_reply() => {
                let reply = replies::reply(&header, None);
                if reply.when == When::Now {
                    replies::push_reply(&mut out, &header, &reply);
                }
            }
            control::SELECT_REQ => {
                self.selected = true;
                push_frame(&mut out, control_header(control::SELECT_RSP, 0, header.system), &[]);
            }
            control::LINKTEST_REQ => {
                push_frame(&mut out, control_header(control::LINKTEST_RSP, 0, header.system), &[]);
            }
            control::SEPARATE_REQ => {
                self.selected = false;
                return Err(wrong(&self.peer, "the equipment ended the session", "look at its log"));
            }
            _ => {}
        }
        self.send(&out)?;
        Ok(Some((header, text)))
    }

    /// Fills the buffer; `false` when the time is over before its first byte.
    fn fill(&mut self, buffer: &mut [u8], until: Micros) -> Result<bool, SourceError> {
        let mut filled = 0;
        while filled < buffer.len() {
            let left = until - clock::steady();
            if left <= 0 {
                return Ok(false);
            }
            let wait = Duration::from_micros(left as u64).clamp(Duration::from_millis(1), LOOKS_UP_EVERY);
            self.stream.set_read_timeout(Some(wait)).map_err(|e| self.lost(&e))?;
            match self.stream.read(&mut buffer[filled..]) {
                Ok(0) => {
                    return Err(wrong(
                        &self.peer,
                        "the equipment closed the connection",
                        "look whether it has a host already, and whether it admits this machine's address",
                    ));
                }
                Ok(n) => filled += n,
                Err(e)
                    if matches!(
                        e.kind(),
                        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                    ) => {}
                Err(e) => return Err(self.lost(&e)),
            }
        }
        Ok(true)
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), SourceError> {
        self.stream.write_all(bytes).map_err(|e| self.lost(&e))
    }

    fn next(&mut self) -> u32 {
        self.system = self.system.wrapping_add(1);
        self.system
    }

    fn lost(&self, cause: &std::io::Error) -> SourceError {
        wrong(&self.peer, &format!("the connection broke: {cause}"), "look at the equipment and the network")
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if self.selected {
            let mut out = Vec::new();
            push_frame(&mut out, control_header(control::SEPARATE_REQ, 0, self.next()), &[]);
            let _ = self.send(&out);
        }
    }
}

fn connect(address: &str, timers: &Timers) -> Result<TcpStream, SourceError> {
    let found = address.to_socket_addrs().map_err(|e| {
        wrong(address, &format!("the name cannot be resolved: {e}"), "look at `address`: `host:port`")
    })?;
    let mut last = wrong(address, "the name has no address", "look at `address`: `host:port`");
    for one in found {
        let e = match TcpStream::connect_timeout(&one, timers.t5.duration()) {
            Ok(stream) => return Ok(stream),
            Err(e) => e,
        };
        last = match e.kind() {
            ErrorKind::ConnectionRefused => wrong(
                address,
                "the port is closed",
                "look whether the equipment is passive and enabled, and which port it listens at; many close the \
                 port while they have a host",
            ),
            ErrorKind::TimedOut => wrong(
                address,
                "nothing answers",
                "look at the address, the equipment and the firewalls on the way",
            ),
            _ => wrong(address, &e.to_string(), "look at the address and the network"),
        };
    }
    Err(last)
}

fn accept(own: SocketAddr, timers: &Timers) -> Result<(TcpStream, String), SourceError> {
    let fail = |e: std::io::Error| {
        wrong(&own.to_string(), &format!("cannot be listened at: {e}"), "look who uses it (`ss -ltnp`)")
    };
    let listener = TcpListener::bind(own).map_err(fail)?;
    listener.set_nonblocking(true).map_err(fail)?;
    let until = clock::steady() + timers.t5.0;
    while clock::steady() < until {
        match listener.accept() {
            Ok((stream, peer)) => {
                stream.set_nonblocking(false).map_err(fail)?;
                return Ok((stream, peer.to_string()));
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => std::thread::park_timeout(LOOKS_UP_EVERY),
            Err(e) => return Err(fail(e)),
        }
    }
    Err(wrong(
        &own.to_string(),
        "no equipment connected within T5",
        "look whether the equipment is active and has this address and port as its host's",
    ))
}

fn wrong(peer: &str, cause: &str, remedy: &str) -> SourceError {
    SourceError::Peer { peer: peer.into(), cause: cause.into(), remedy: remedy.into() }
}
