//! A session as the host keeps it (SEMI E37, E37.1): which messages may come when, the timers, and the host's few
//! questions. No I/O: bytes to send and things to tell are collected, and the connection takes them.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::Deserialize;
use yagura_dissect::hsms::{HEADER, Header};
use yagura_dissect::secs2::{Item, Value};
use yagura_event::amounts::Time;
use yagura_event::clock::{Micros, SECOND};

use super::replies::{self, Question, Reply, When, control, control_header, data_header, push_frame};

/// The timers of SEMI E37, and two of the host's own.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Timers {
    /// How long a reply to a question is waited for.
    pub t3: Time,
    /// How long at least lies between two attempts to connect.
    pub t5: Time,
    /// How long a control message (select, linktest) may go unanswered.
    pub t6: Time,
    /// How long a connection may stay without a session.
    pub t7: Time,
    /// How long bytes of one message may lie apart.
    pub t8: Time,
    /// How often the link is tested; 0 for never.
    pub linktest: Time,
    /// How long after a failed attempt communications are established again (E30: EstablishCommunicationsTimeout).
    pub communication_delay: Time,
}

impl Default for Timers {
    fn default() -> Self {
        let seconds = |n| Time(n * SECOND);
        Timers {
            t3: seconds(45),
            t5: seconds(10),
            t6: seconds(5),
            t7: seconds(10),
            t8: seconds(5),
            linktest: seconds(30),
            communication_delay: seconds(10),
        }
    }
}

/// What the host asks for, if anything.
#[derive(Clone, Debug, Default)]
pub struct Asks {
    /// Status variables; none for all that there are.
    pub ids: Vec<Value>,
    /// How often their values are asked for; `None` for never.
    pub every: Option<Micros>,
}

/// What a session is about.
#[derive(Debug)]
pub struct Terms {
    /// The equipment.
    pub name: String,
    /// Its device id.
    pub device: u16,
    /// Whether the equipment connects.
    pub passive: bool,
    /// The timers.
    pub timers: Timers,
    /// What is asked for.
    pub asks: Asks,
    /// Whether S2F17 is answered.
    pub tell_time: bool,
}

/// Something that is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// A short name.
    pub event: &'static str,
    /// A sentence.
    pub text: String,
}

/// An equipment that rejects so many messages in a row because it has no session lost the one that it granted.
const NOT_SELECTED_MAX: u32 = 3;

/// Replies that came too late are known as such for so many questions.
const LATE_MAX: usize = 16;

/// The state of one connection.
pub struct Session {
    terms: Arc<Terms>,
    /// Bytes that are to be sent.
    pub out: Vec<u8>,
    /// Headers of messages whose replies wait until their rows are durable, with the replies.
    pub waiting: Vec<(Header, Reply)>,
    /// What is to be told.
    pub notes: Vec<Note>,
    /// Whether the session stands.
    pub selected: bool,
    /// Until when it must stand.
    select_by: Micros,
    select: Option<u32>,
    linktest: Option<(u32, Micros)>,
    linktest_at: Micros,
    asked: Option<Asked>,
    late: VecDeque<(u32, Question)>,
    communicating: bool,
    /// When the next question is due: establishing, then names and values.
    ask_at: Micros,
    names_asked: bool,
    wrong_device: bool,
    /// Messages in a row that were rejected because there is no session.
    not_selected: u32,
    next_system: u32,
}

struct Asked {
    question: Question,
    system: u32,
    until: Micros,
}

impl Session {
    /// A fresh connection at the time `now` of the steady clock. `first` is the first system bytes.
    pub fn new(terms: &Arc<Terms>, first: u32, now: Micros) -> Self {
        let timers = &terms.timers;
        let mut session = Session {
            terms: Arc::clone(terms),
            out: Vec::new(),
            waiting: Vec::new(),
            notes: Vec::new(),
            selected: false,
            select_by: now + if terms.passive { timers.t7.0 } else { timers.t6.0 },
            select: None,
            linktest: None,
            linktest_at: Micros::MAX,
            asked: None,
            late: VecDeque::new(),
            communicating: false,
            ask_at: Micros::MAX,
            names_asked: false,
            wrong_device: false,
            not_selected: 0,
            next_system: first,
        };
        if !terms.passive {
            let system = session.system();
            session.select = Some(system);
            push_frame(&mut session.out, control_header(control::SELECT_REQ, 0, system), &[]);
        }
        session
    }

    fn system(&mut self) -> u32 {
        self.next_system = self.next_system.wrapping_add(1);
        self.next_system
    }

    fn note(&mut self, event: &'static str, text: impl Into<String>) {
        self.notes.push(Note { event, text: text.into() });
    }

    /// When [`Session::tick`] is due.
    pub fn due(&self) -> Micros {
        let select = if self.selected { Micros::MAX } else { self.select_by };
        let link = self.linktest.map_or(self.linktest_at, |(_, until)| until);
        let ask = self.asked.as_ref().map_or(self.ask_at, |asked| asked.until);
        select.min(link).min(ask)
    }

    /// The connection was not read for a while, because the log took nothing: that is not the equipment's fault.
    pub fn held_up(&mut self, by: Micros) {
        self.select_by += by;
        if let Some((_, until)) = &mut self.linktest {
            *until += by;
        }
        if let Some(asked) = &mut self.asked {
            asked.until += by;
        }
    }

    /// Looks at the timers. An error ends the connection.
    pub fn tick(&mut self, now: Micros) -> Result<(), String> {
        if !self.selected && now >= self.select_by {
            return Err(match self.terms.passive {
                true => "no Select.req came within T7".into(),
                false => "Select.req was not answered within T6; something else may listen there, or an \
                          equipment that has a host"
                    .into(),
            });
        }
        if let Some((_, until)) = self.linktest {
            if now >= until {
                return Err("Linktest.req was not answered within T6".into());
            }
        } else if now >= self.linktest_at {
            let system = self.system();
            push_frame(&mut self.out, control_header(control::LINKTEST_REQ, 0, system), &[]);
            self.linktest = Some((system, now + self.terms.timers.t6.0));
        }
        if let Some(asked) = self.asked.take_if(|asked| now >= asked.until) {
            let name = asked.question.function();
            self.note("reply_timeout", format!("S1F{name} was not answered within T3"));
            if self.late.len() == LATE_MAX {
                self.late.pop_front();
            }
            self.late.push_back((asked.system, asked.question));
            self.failed(asked.question, now);
        }
        if self.asked.is_none() && now >= self.ask_at {
            self.ask_next(now);
        }
        Ok(())
    }

    /// Takes one message. An error ends the connection.
    pub fn take(&mut self, now: Micros, header: Header, text: &[u8]) -> Result<(), String> {
        if header.ptype != 0 {
            self.reject(&header, 2, header.ptype);
            return Ok(());
        }
        if header.is_data() {
            if self.selected {
                self.data(now, header, text);
            } else {
                self.reject(&header, 4, 0);
            }
            return Ok(());
        }
        match header.stype {
            control::SELECT_REQ => self.select_requested(now, &header),
            control::SELECT_RSP if self.select == Some(header.system) => {
                self.select = None;
                match header.byte3 {
                    0 => self.begin(now),
                    status => return Err(refused(status)),
                }
            }
            control::LINKTEST_REQ => {
                push_frame(&mut self.out, control_header(control::LINKTEST_RSP, 0, header.system), &[]);
            }
            control::LINKTEST_RSP if self.linktest.is_some_and(|(system, _)| system == header.system) => {
                self.linktest = None;
                self.linktest_again(now);
            }
            control::REJECT_REQ => return self.rejected(now, &header),
            control::SEPARATE_REQ => return Err("the equipment ended the session (Separate.req)".into()),
            control::SELECT_RSP | 4 | control::LINKTEST_RSP => {
                let stype = header.stype;
                self.note(
                    "unexpected_reply",
                    format!("a control reply (SType {stype}) that answers nothing"),
                );
            }
            // Deselect is not used between a single host and an equipment (E37.1), and others do not exist.
            stype => self.reject(&header, 1, stype),
        }
        Ok(())
    }

    /// The bytes that end the session in order.
    pub fn end(&mut self) {
        if self.selected {
            let system = self.system();
            push_frame(&mut self.out, control_header(control::SEPARATE_REQ, 0, system), &[]);
        }
    }

    fn reject(&mut self, header: &Header, reason: u8, what: u8) {
        let answer =
            Header { session: header.session, byte2: what, byte3: reason, ptype: 0, stype: 7, ..*header };
        push_frame(&mut self.out, answer, &[]);
        let why = match reason {
            1 => format!("SType {what} is not supported"),
            2 => format!("PType {what} is not SECS-II"),
            _ => "data came before the session was selected".into(),
        };
        self.note("rejected", format!("a message was rejected: {why}"));
    }

    fn select_requested(&mut self, now: Micros, header: &Header) {
        let status = u8::from(self.selected);
        push_frame(&mut self.out, control_header(control::SELECT_RSP, status, header.system), &[]);
        if self.selected {
            self.note("select_again", "Select.req in a session that is selected already");
        } else {
            self.begin(now);
        }
    }

    fn begin(&mut self, now: Micros) {
        self.selected = true;
        self.ask_at = now;
        self.linktest_again(now);
    }

    fn linktest_again(&mut self, now: Micros) {
        let every = self.terms.timers.linktest.0;
        self.linktest_at = if every > 0 { now + every } else { Micros::MAX };
    }

    fn rejected(&mut self, now: Micros, header: &Header) -> Result<(), String> {
        if self.select == Some(header.system) {
            return Err(format!("Select.req was rejected (reason {})", header.byte3));
        }
        if self.linktest.is_some_and(|(system, _)| system == header.system) {
            self.linktest = None;
            self.linktest_at = Micros::MAX;
            self.note("rejected", "the equipment does not support Linktest; the link is tested no more");
            return Ok(());
        }
        self.note("rejected", format!("the equipment rejected a message (reason {})", header.byte3));
        if header.byte3 == 4 {
            self.not_selected += 1;
            if self.not_selected == NOT_SELECTED_MAX {
                return Err(
                    "the equipment granted a session and rejects messages because there is none".into()
                );
            }
        }
        if let Some(asked) = self.asked.take_if(|asked| asked.system == header.system) {
            self.failed(asked.question, now);
        }
        Ok(())
    }

    fn data(&mut self, now: Micros, header: Header, text: &[u8]) {
        if header.session != self.terms.device && !self.wrong_device {
            self.wrong_device = true;
            let (is, device) = (header.session, self.terms.device);
            self.note("wrong_device", format!("messages have the device id {is}; the settings say {device}"));
        }
        if header.is_reply() {
            return self.answered(now, &header, text);
        }
        if header.stream() == 9 {
            self.refused(now, &header, text);
        }
        let reply = match self.terms.tell_time {
            true => replies::reply(&header, Some(&super::local_time)),
            false => replies::reply(&header, None),
        };
        match reply.when {
            When::Never => {}
            When::Now => replies::push_reply(&mut self.out, &header, &reply),
            When::Durable => self.waiting.push((header, reply)),
        }
        if (header.stream(), header.function()) == (1, 13) && header.wants_reply() {
            self.established(now);
        }
    }

    fn answered(&mut self, now: Micros, header: &Header, text: &[u8]) {
        let name = format!("S{}F{}", header.stream(), header.function());
        let Some(asked) = self.asked.take_if(|asked| asked.system == header.system) else {
            let late = self.late.iter().position(|(system, _)| *system == header.system);
            match late.and_then(|index| self.late.remove(index)) {
                Some((_, question)) => {
                    let asked = question.function();
                    self.note("late_reply", format!("{name} answers S1F{asked}, after T3 had passed"));
                }
                None => {
                    self.note("unexpected_reply", format!("{name} has system bytes that nobody waits for"))
                }
            }
            return;
        };
        let question = asked.question;
        self.not_selected = 0;
        if header.stream() != 1 || header.function() != question.function() + 1 {
            let what = if header.function() == 0 { "aborted" } else { "answered by another message" };
            self.note("denied", format!("S1F{} was {what}: {name}", question.function()));
            return self.failed(question, now);
        }
        let item = Item::message(text).ok().flatten();
        match question {
            Question::Establish => match item.and_then(|item| item.child(0)).and_then(|ack| ack.code()) {
                Some(0) => self.established(now),
                code => {
                    let code = code.map_or("unreadable".into(), |code| code.to_string());
                    self.note("denied", format!("the equipment does not communicate: COMMACK is {code}"));
                    self.failed(question, now);
                }
            },
            // The answer is a row; the next question has its time.
            _ => self.ask_later(question, now),
        }
    }

    /// S9: the equipment could not take what the host sent, and quotes its header.
    fn refused(&mut self, now: Micros, header: &Header, text: &[u8]) {
        let what = match header.function() {
            1 => "unknown device id",
            3 => "unknown stream",
            5 => "unknown function",
            7 => "illegal data",
            9 => "the reply did not come in its time",
            11 => "data too long",
            13 => "the conversation did not go on in its time",
            _ => "an error",
        };
        let item = Item::message(text).ok().flatten();
        let quoted = item.and_then(|item| item.data().first_chunk::<HEADER>().map(Header::of));
        let about = match &quoted {
            Some(quoted) => format!(", about S{}F{}", quoted.stream(), quoted.function()),
            None => String::new(),
        };
        self.note("error", format!("the equipment says S9F{}: {what}{about}", header.function()));
        if let Some(quoted) = quoted
            && let Some(asked) = self.asked.take_if(|asked| asked.system == quoted.system)
        {
            self.failed(asked.question, now);
        }
    }

    fn established(&mut self, now: Micros) {
        if !std::mem::replace(&mut self.communicating, true) {
            self.ask_at = if self.terms.asks.every.is_some() { now } else { Micros::MAX };
        }
    }

    /// A question came to nothing.
    fn failed(&mut self, question: Question, now: Micros) {
        match question {
            Question::Establish if !self.communicating => {
                self.ask_at = now + self.terms.timers.communication_delay.0;
            }
            _ => self.ask_later(question, now),
        }
    }

    fn ask_later(&mut self, question: Question, now: Micros) {
        self.ask_at = match (question, self.terms.asks.every) {
            (Question::StatusNames | Question::Establish, Some(_)) => now,
            (_, Some(every)) => self.ask_at.saturating_add(every).max(now),
            (_, None) => Micros::MAX,
        };
    }

    fn ask_next(&mut self, now: Micros) {
        let question = match (self.communicating, self.names_asked) {
            (false, _) => Question::Establish,
            (true, false) => Question::StatusNames,
            (true, true) => Question::Status,
        };
        self.names_asked |= question == Question::StatusNames;
        let system = self.system();
        let header = data_header(self.terms.device, 1, question.function(), true, system);
        push_frame(&mut self.out, header, &question.text(&self.terms.asks.ids));
        if question == Question::Status {
            self.ask_at = now;
        }
        self.asked = Some(Asked { question, system, until: now + self.terms.timers.t3.0 });
    }
}

/// Why an equipment refuses a session (E37).
pub fn refused(status: u8) -> String {
    let why = match status {
        1 => {
            "a session is in use already; who has it cannot be told from here: look which EAP, gateway or test host \
             is configured for this port, and whether it is a spare one"
        }
        2 => "the equipment is not ready; look whether its SECS interface is enabled",
        3 => "the equipment has no more connections to give; look who is connected to it",
        _ => "the equipment gives no reason that the standard knows",
    };
    format!("the equipment refused the session (SelectStatus {status}): {why}")
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
