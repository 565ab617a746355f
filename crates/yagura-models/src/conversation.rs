//! D4, behaviour of protocol conversations: who speaks which protocol with whom, what they ask of one
//! another and in which order, how fast, in which rhythm, and which values are written.
//!
//! A conversation is a client, a server and a protocol; a command is what it does to which target; a place
//! is a target of a server that is written, by whomever. Whoever calls gives each a dense number.
//!
//! - **Novelty** (peer, command, value): in the latter half of what was learned, how often was anything
//!   new? Where one message in a hundred was, the next new one means nothing; where none in a thousand was,
//!   it is worth ten bits. This is the estimate of Good and Turing (Good 1953), taken as things come.
//! - **Sequence**: prediction by partial matching, method C (Cleary and Witten 1984, Moffat 1990), backing
//!   off from the two commands before to one and to none. Bits above the usual are accumulated (CUSUM).
//! - **Mix**: relative entropy of the last 50 commands against what was learned; **rate**: how fast they came.
//! - **Rhythm**: a command that came sooner after itself than it does, accumulated: one that is slipped into
//!   a poll cycle leaves two short pauses, before it and after it. Long pauses say nothing here.
//!
//! A single message that is lost, or sent again, is granted. Limits of sequence, mix, rate and rhythm are never
//! below what the same conversation reached in the latter half of learning, when each message was judged before
//! it was learned: calibrated on what was not fitted.
//!
//! What was approved is read and never changed by what comes after. What was new is kept apart, and is
//! learned by the next approval: who introduces himself slowly stays a stranger.
//!
//! Logarithms are the module's own, from a number's bits: the same on every machine.

use serde::{Deserialize, Serialize};

use self::contexts::Contexts;
use self::novelty::{Novelty, Peak, Rhythm};
use self::values::Place;

mod contexts;
mod novelty;
mod values;

/// The name in pipelines.
pub const NAME: &str = "conversation";

/// What the user may set; the defaults are those of `models/conversation.yaml`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Parameters {
    /// Messages that a conversation must have had before its approval for sequence, mix, rate and rhythm
    /// to be judged.
    pub warm_up_messages: u32,
    /// How unlikely anything new must be to be reported, in bits: 5 is one in 32.
    pub novelty_bits: f32,
    /// How unlikely a new value must be.
    pub value_bits: f32,
    /// A number counts as new when it is outside of those seen by more than this part of their range.
    pub value_margin: f64,
    /// Accumulated surprise at the order of commands that is reported.
    pub sequence_bits: f32,
    /// Accumulated surprise at commands that come too soon that is reported.
    pub rhythm_bits: f32,
    /// Relative entropy of the last 50 commands that is reported.
    pub mix_bits: f32,
    /// How many times as fast as it ever was a conversation is reported.
    pub rate_factor: f32,
    /// Limits are at least this many times what was reached while learning.
    pub margin: f32,
}

impl Default for Parameters {
    fn default() -> Self {
        Parameters {
            warm_up_messages: 100,
            novelty_bits: 5.0,
            value_bits: 4.0,
            value_margin: 0.1,
            sequence_bits: 24.0,
            rhythm_bits: 12.0,
            mix_bits: 1.0,
            rate_factor: 3.0,
            margin: 2.0,
        }
    }
}

/// What a message gave away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Finding {
    /// These two were never heard to speak this protocol.
    Peer,
    /// These two are known; the command is not.
    Command,
    /// The command is known; the value is not.
    Value,
    /// Known commands came in an unusual order.
    Sequence,
    /// A known command came too soon after itself, again and again or at an odd moment of the cycle.
    Rhythm,
    /// Commands came faster than ever.
    Rate,
    /// Known commands came in unusual proportions.
    Mix,
}

impl Finding {
    /// All of them.
    pub const ALL: [Finding; 7] = [
        Finding::Peer,
        Finding::Command,
        Finding::Value,
        Finding::Sequence,
        Finding::Rhythm,
        Finding::Rate,
        Finding::Mix,
    ];

    /// The word in alerts.
    pub fn name(self) -> &'static str {
        match self {
            Finding::Peer => "peer",
            Finding::Command => "command",
            Finding::Value => "value",
            Finding::Sequence => "sequence",
            Finding::Rhythm => "rhythm",
            Finding::Rate => "rate",
            Finding::Mix => "mix",
        }
    }
}

/// No number: a message that writes nothing has no place.
pub const NONE: u32 = u32::MAX;

/// What a message writes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Written {
    /// Nothing, or nothing that is known.
    #[default]
    Nothing,
    /// One number.
    Number(f64),
    /// Something that can only be the same as before or another: several values, by their hash.
    Word(u64),
}

/// One message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Event {
    /// Number of its conversation.
    pub conversation: u32,
    /// Number of its command, one of this conversation alone.
    pub command: u32,
    /// Number of the place that it writes, or [`NONE`].
    pub place: u32,
    /// Microseconds.
    pub time: i64,
    /// What it writes.
    pub written: Written,
    /// Whether a session begins with it: what was said before has no part in what is said next.
    pub begins: bool,
}

/// One finding: which message of the slice, what, and the numbers that explain it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hit {
    /// Index into the slice given to [`Model::judge`].
    pub index: u32,
    /// What.
    pub finding: Finding,
    /// What was expected: the nearest known value; the usual pause of the command in seconds; the highest
    /// rate of commands a second; bits of the mix or of a command's surprise. None for peers and commands.
    pub expected: Option<f64>,
    /// What was seen, in the same unit; of peers and commands, how often by now. None for a word.
    pub seen: Option<f64>,
    /// On how many messages (of a value, writes) the judgement rests.
    pub learned: u32,
    /// How far over the limit: 1 is at the limit.
    pub score: f32,
    /// The time of the first message that has a part in it.
    pub since: i64,
}

/// What is usual between a client and a server: what was approved of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Usual {
    /// Messages that were learned.
    pub messages: u32,
    /// Commands that came most often, and how often, the most frequent first.
    pub commands: Vec<(u32, u32)>,
    /// Hours of the day (UTC) in which they came, the hour h as bit h.
    pub hours: u32,
}

/// What was written to a place.
#[derive(Clone, Debug, PartialEq)]
pub enum UsualValues {
    /// One of some few numbers, in the order in which they came first.
    Numbers(Vec<f64>),
    /// Numbers from the lowest to the highest.
    Range(f64, f64),
    /// So many different words, or more where there are as many as are remembered.
    Words(usize),
}

/// Commands that are told of what is usual.
const OFTEN: usize = 4;
const HOUR_US: i64 = 3_600_000_000;
/// The last commands that mix and rate look at.
const RECENT: usize = 50;
/// After a pause of so many microseconds what was said before has no part in what is said next.
const SILENCE: i64 = 30_000_000;
/// An order of commands is no accident when it is as surprising as so many steps that were never learned: a
/// single lost message makes up to three.
const STEPS: f32 = 3.25;
/// The same for pauses: one that is too short may be a message that was sent again.
const PAUSES: f32 = 1.25;
/// A message older than the newest by more than this many microseconds is no late one.
const CLOCK_BACK: i64 = 3_600_000_000;
/// Weight of a message in the usual surprise.
const USUAL_WEIGHT: f32 = 1.0 / 64.0;
/// Surprise above the usual that is granted to each message.
const SEQUENCE_SLACK: f32 = 1.0;
/// Surprise at a pause that is granted; of pauses without any rhythm it is 1.44 on average.
const RHYTHM_SLACK: f32 = 2.5;
/// After so many learned messages all counts are halved, so that what is old weighs less.
const HALVED_AFTER: u32 = 1 << 22;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Conversation {
    known: bool,
    /// Messages, known and candidates.
    messages: u32,
    /// Messages at the approval.
    learned: u32,
    commands: Novelty,
    /// Serials of the last two commands; 0 where none came within [`SILENCE`].
    before: [u32; 2],
    last: i64,
    usual: f32,
    surprise: f32,
    /// When there began to be surprise.
    surprised: i64,
    /// Commands that came most often as of the approval, with their counts.
    often: Vec<(u32, u32)>,
    /// Hours of the day, learned and since the approval.
    hours: [u32; 2],
    recent: Vec<Recent>,
    at: u8,
    /// The latest time of a full window.
    newest: i64,
    /// Sum of `weight` of the recent.
    weights: i64,
    /// Sum over commands of f(count among the recent), see [`novelty::count_bits`].
    counts: i64,
    sequence: Peak,
    rhythm: Peak,
    mix: Peak,
    rate: Peak,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Recent {
    command: u32,
    weight: i32,
    time: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Command {
    known: bool,
    conversation: u32,
    /// Never given again, unlike its number.
    serial: u32,
    count: u32,
    last: Option<i64>,
    early: f32,
    /// When it began to be early.
    early_since: i64,
    /// How often it is among the conversation's recent ones.
    recent: u8,
    /// Surprise of its share as approved, in 1/65536 bits.
    weight: i32,
    rhythm: Rhythm,
}

/// All conversations of a cell.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Model {
    approved: bool,
    conversations: Vec<Conversation>,
    commands: Vec<Command>,
    places: Vec<Place>,
    /// What was learned…
    contexts: Contexts,
    /// …and what came since the approval.
    since: Contexts,
    peers: Novelty,
    serials: u32,
    until_halved: u32,
}

impl Model {
    /// Makes room for a conversation of this number, or begins it anew.
    pub fn begin_conversation(&mut self, number: u32) {
        *place_of(&mut self.conversations, number) = Conversation::default();
    }

    /// Makes room for a command of this number, or begins it anew.
    pub fn begin_command(&mut self, number: u32) {
        self.serials = self.serials.wrapping_add(1).max(1);
        let serial = self.serials;
        *place_of(&mut self.commands, number) = Command { serial, ..Command::default() };
    }

    /// Makes room for a place of this number, or begins it anew.
    pub fn begin_place(&mut self, number: u32) {
        *place_of(&mut self.places, number) = Place::default();
    }

    /// Whether it judges.
    pub fn is_approved(&self) -> bool {
        self.approved
    }

    /// How many conversations are judged.
    pub fn known_conversations(&self) -> usize {
        self.conversations.iter().filter(|c| c.known).count()
    }

    /// Makes all that was seen so far known.
    pub fn approve(&mut self) {
        self.approved = true;
        self.contexts.absorb(&mut self.since);
        for conversation in &mut self.conversations {
            conversation.known = conversation.messages > 0;
            conversation.learned = conversation.messages;
            conversation.surprise = 0.0;
            conversation.often.clear();
            conversation.hours = [conversation.hours[0] | conversation.hours[1], 0];
            conversation.peaks().into_iter().for_each(Peak::approve);
            (conversation.counts, conversation.weights, conversation.at) = (0, 0, 0);
            for recent in conversation.recent.drain(..) {
                if let Some(command) = self.commands.get_mut(recent.command as usize) {
                    command.recent = 0;
                }
            }
        }
        for (number, command) in (0..).zip(&mut self.commands) {
            command.known = command.count > 0;
            command.early = 0.0;
            if let Some(conversation) = self.conversations.get_mut(command.conversation as usize) {
                command.weigh(conversation.messages);
                if command.known {
                    conversation.note(number, command.count);
                }
            }
            command.rhythm.approve();
        }
        for place in &mut self.places {
            place.approve();
        }
    }

    /// What is usual between those two; none of a conversation that is not known.
    pub fn usual(&self, conversation: u32) -> Option<Usual> {
        let known = self.conversations.get(conversation as usize).filter(|known| known.known)?;
        let (messages, commands, hours) = (known.learned, known.often.clone(), known.hours[0]);
        Some(Usual { messages, commands, hours })
    }

    /// What was written to a place; none while nothing was.
    pub fn usual_values(&self, place: u32) -> Option<UsualValues> {
        self.places.get(place as usize)?.usual()
    }

    /// Judges messages in order. Findings are appended to `hits`; `scores` gets one for each message: the
    /// highest, 1 at the limit, 0 while it learns.
    pub fn judge(
        &mut self,
        events: &[Event],
        parameters: &Parameters,
        hits: &mut Vec<Hit>,
        scores: &mut Vec<f32>,
    ) {
        scores.reserve(events.len());
        for (index, event) in events.iter().enumerate() {
            let mut found = Found { index: index as u32, hits, score: 0.0 };
            self.one(event, parameters, &mut found);
            scores.push(found.score);
        }
    }

    fn one(&mut self, event: &Event, parameters: &Parameters, found: &mut Found<'_>) {
        let Some(conversation) = self.conversations.get_mut(event.conversation as usize) else { return };
        let Some(command) = self.commands.get_mut(event.command as usize) else { return };
        let known = self.approved && conversation.known && command.known;
        if known {
            compare(conversation, command, &self.contexts, &mut self.since, event, parameters, found);
            self.recent(event, parameters, Some(found));
        } else {
            if self.approved {
                let (finding, novelty) = match conversation.known {
                    false => (Finding::Peer, &self.peers),
                    true => (Finding::Command, &conversation.commands),
                };
                found.novel(finding, novelty, parameters.novelty_bits, event.time, || match finding {
                    Finding::Peer => f64::from(conversation.messages) + 1.0,
                    _ => f64::from(command.count) + 1.0,
                });
            } else {
                self.peers.trial(conversation.messages == 0);
                conversation.commands.trial(command.count == 0);
            }
            let contexts = if self.approved { &mut self.since } else { &mut self.contexts };
            learn(conversation, command, contexts, event, self.approved);
            if !self.approved {
                self.recent(event, parameters, None);
                self.age();
            }
        }
        if let Some(place) = self.places.get_mut(event.place as usize) {
            let new = place.take(event.written, self.approved, parameters);
            if known && let Some(new) = new {
                found.value(new, parameters, event.time);
            }
        }
    }

    /// Mix and rate, with this message among the recent ones.
    fn recent(&mut self, event: &Event, parameters: &Parameters, found: Option<&mut Found<'_>>) {
        let conversation = &mut self.conversations[event.conversation as usize];
        let full = conversation.shift(&mut self.commands, event, found.is_none());
        let (Some(Full { bits, rate, since }), Some(found)) = (full, found) else { return };
        if conversation.learned < parameters.warm_up_messages {
            return;
        }
        let (learned, usual) = (conversation.learned, conversation.mix.value());
        let mix = bits / parameters.mix_bits.max(parameters.margin * usual);
        let (usual_rate, limit) = (conversation.rate.value(), parameters.rate_factor);
        let fast = rate / (limit * usual_rate).max(f32::MIN_POSITIVE);
        found.score = found.score.max(mix).max(fast);
        if mix >= 1.0 {
            conversation.mix.candidate(bits);
            let (usual, bits) = (Some(usual.into()), Some(bits.into()));
            found.hit(Finding::Mix, (usual, bits), learned, mix, since);
        }
        if fast >= 1.0 && usual_rate > 0.0 {
            conversation.rate.candidate(rate);
            let (usual, rate) = (Some(usual_rate.into()), Some(rate.into()));
            found.hit(Finding::Rate, (usual, rate), learned, fast, since);
        }
        if mix.max(fast) >= 1.0 {
            conversation.forget_recent(&mut self.commands);
        }
    }

    /// Halves all counts from time to time while it learns.
    fn age(&mut self) {
        self.until_halved += 1;
        if self.until_halved >= HALVED_AFTER {
            self.until_halved = 0;
            self.contexts.halve();
            for command in &mut self.commands {
                command.count = command.count.div_ceil(2);
                command.rhythm.halve();
            }
            self.conversations.iter_mut().for_each(|c| c.messages = c.messages.div_ceil(2));
        }
    }
}

fn place_of<T: Default>(all: &mut Vec<T>, number: u32) -> &mut T {
    let number = number as usize;
    if all.len() <= number {
        all.resize_with(number + 1, T::default);
    }
    &mut all[number]
}

/// Where findings on one message go.
struct Found<'a> {
    index: u32,
    hits: &'a mut Vec<Hit>,
    score: f32,
}

impl Found<'_> {
    fn hit(
        &mut self,
        finding: Finding,
        (expected, seen): (Option<f64>, Option<f64>),
        learned: u32,
        score: f32,
        since: i64,
    ) {
        self.score = self.score.max(score);
        self.hits.push(Hit { index: self.index, finding, expected, seen, learned, score, since });
    }

    fn novel(&mut self, finding: Finding, novelty: &Novelty, limit: f32, time: i64, seen: impl Fn() -> f64) {
        let score = novelty.bits() / limit;
        self.score = self.score.max(score);
        if score >= 1.0 {
            self.hit(finding, (None, Some(seen())), novelty.trials(), score, time);
        }
    }

    fn value(&mut self, new: values::New, parameters: &Parameters, time: i64) {
        let score = new.bits / parameters.value_bits;
        self.score = self.score.max(score);
        if score >= 1.0 {
            self.hit(Finding::Value, (new.expected, new.seen), new.learned, score, time);
        }
    }
}

/// A message of which everything is known: rhythm and sequence.
#[inline]
fn compare(
    conversation: &mut Conversation,
    command: &mut Command,
    contexts: &Contexts,
    since: &mut Contexts,
    event: &Event,
    parameters: &Parameters,
    found: &mut Found<'_>,
) {
    command.count = command.count.saturating_add(1);
    conversation.messages = conversation.messages.saturating_add(1);
    let judged = conversation.learned >= parameters.warm_up_messages;
    if let Some(pause) = command.pause(event.time) {
        let bits = command.rhythm.bits(pause);
        if command.early == 0.0 {
            command.early_since = event.time;
        }
        command.early = (command.early + bits - RHYTHM_SLACK).max(0.0);
        if command.early > 0.0 && judged {
            let pauses = PAUSES * novelty::log2_ratio(command.rhythm.learned(), 1);
            let reached = parameters.margin * conversation.rhythm.value();
            let limit = parameters.rhythm_bits.max(pauses).max(reached);
            let score = command.early / limit;
            found.score = found.score.max(score);
            if score >= 1.0 {
                conversation.rhythm.candidate(command.early);
                command.early = 0.0;
                let usual = command.rhythm.usual_s();
                let seen = Some(pause as f64 * 1e-6);
                let (learned, since) = (command.rhythm.learned(), command.early_since);
                found.hit(Finding::Rhythm, (usual, seen), learned, score, since);
            }
        }
        if bits > RHYTHM_SLACK {
            command.rhythm.candidate(pause);
        }
    }
    let before = conversation.follow(event, command.serial);
    let bits = contexts.bits(before, command.serial, command.weight);
    if !bits.found {
        since.learn(before, command.serial);
    }
    if conversation.surprise == 0.0 {
        conversation.surprised = event.time;
    }
    conversation.surprise =
        (conversation.surprise + bits.bits - conversation.usual - SEQUENCE_SLACK).max(0.0);
    if conversation.surprise > 0.0 && judged {
        let steps = STEPS * novelty::log2_ratio(conversation.learned, 1);
        let reached = parameters.margin * conversation.sequence.value();
        let limit = parameters.sequence_bits.max(steps).max(reached);
        let score = conversation.surprise / limit;
        found.score = found.score.max(score);
        if score >= 1.0 {
            conversation.sequence.candidate(conversation.surprise);
            conversation.surprise = 0.0;
            let (expected, seen) = (Some(conversation.usual.into()), Some(bits.bits.into()));
            let (learned, since) = (conversation.learned, conversation.surprised);
            found.hit(Finding::Sequence, (expected, seen), learned, score, since);
        }
    }
}

/// A message that is learned, or kept until the next approval; judged before it is, to know what is usual.
fn learn(
    conversation: &mut Conversation,
    command: &mut Command,
    contexts: &mut Contexts,
    event: &Event,
    approved: bool,
) {
    command.count = command.count.saturating_add(1);
    conversation.messages = conversation.messages.saturating_add(1);
    conversation.hours[usize::from(approved)] |= 1 << event.time.div_euclid(HOUR_US).rem_euclid(24);
    command.conversation = event.conversation;
    command.weigh(conversation.messages);
    if let Some(pause) = command.pause(event.time) {
        let bits = command.rhythm.bits(pause);
        command.early = (command.early + bits - RHYTHM_SLACK).max(0.0);
        conversation.rhythm.raise(command.early);
        command.rhythm.learn(pause);
    }
    let before = conversation.follow(event, command.serial);
    let bits = contexts.bits(before, command.serial, command.weight).bits;
    contexts.learn(before, command.serial);
    conversation.usual += USUAL_WEIGHT * (bits - conversation.usual);
    conversation.surprise = (conversation.surprise + bits - conversation.usual - SEQUENCE_SLACK).max(0.0);
    conversation.sequence.raise(conversation.surprise);
    if conversation.messages.is_power_of_two() {
        conversation.surprise = 0.0;
        conversation.peaks().into_iter().for_each(Peak::turn);
    }
}

impl Command {
    /// Its share of a conversation's messages, as surprise.
    fn weigh(&mut self, messages: u32) {
        self.weight = novelty::fixed(novelty::log2_ratio(messages, self.count));
    }

    /// Since it came last; none the first time, or when its time is before.
    fn pause(&mut self, time: i64) -> Option<i64> {
        let last = self.last.replace(time)?;
        let pause = time.checked_sub(last).filter(|&pause| pause >= 0);
        if pause.is_none() {
            self.last = Some(last);
        }
        pause
    }
}

/// What a full window of the recent commands says.
struct Full {
    /// Their relative entropy in bits.
    bits: f32,
    /// Commands a second.
    rate: f32,
    /// When the first of them came.
    since: i64,
}

impl Conversation {
    /// Takes note of a command that is known, if it is one of those that came most often.
    fn note(&mut self, command: u32, count: u32) {
        let at = self.often.partition_point(|(_, more)| *more >= count);
        self.often.insert(at, (command, count));
        self.often.truncate(OFTEN);
    }

    fn peaks(&mut self) -> [&mut Peak; 4] {
        [&mut self.sequence, &mut self.rhythm, &mut self.mix, &mut self.rate]
    }

    /// Takes a message among the recent ones; answers what a full window says.
    fn shift(&mut self, commands: &mut [Command], event: &Event, learning: bool) -> Option<Full> {
        let mut add = |commands: &mut [Command], number: u32, by: i8, weight: i32| {
            let Some(command) = commands.get_mut(number as usize) else { return };
            let was = command.recent;
            command.recent = was.saturating_add_signed(by);
            self.counts += novelty::count_bits(command.recent) - novelty::count_bits(was);
            self.weights += i64::from(by) * i64::from(weight);
        };
        let weight = commands.get(event.command as usize).map_or(0, |c| c.weight);
        let new = Recent { command: event.command, weight, time: event.time };
        let mut first = None;
        if self.recent.len() < RECENT {
            self.recent.push(new);
            add(commands, new.command, 1, weight);
        } else {
            let old = std::mem::replace(&mut self.recent[usize::from(self.at)], new);
            add(commands, old.command, -1, old.weight);
            add(commands, new.command, 1, weight);
            first = Some(old.time);
            self.at = (self.at + 1) % RECENT as u8;
        }
        let since = first?;
        let bits = novelty::relative_entropy(self.counts, self.weights, RECENT as u8);
        // What waited in vain for an answer comes late, with its time; a clock may also be set back.
        if event.time > self.newest || self.newest.saturating_sub(event.time) > CLOCK_BACK {
            self.newest = event.time;
        }
        let span = self.newest.saturating_sub(since).max(0) as f32 * 1e-6;
        let rate = RECENT as f32 / span.max(1e-3);
        if learning {
            self.mix.raise(bits);
            self.rate.raise(rate);
        }
        Some(Full { bits, rate, since })
    }

    /// The two commands before this one, which is then the last.
    fn follow(&mut self, event: &Event, serial: u32) -> [u32; 2] {
        if event.begins || event.time.saturating_sub(self.last) > SILENCE {
            self.before = [0, 0];
        }
        self.last = event.time;
        let before = self.before;
        self.before = [before[1], serial];
        before
    }

    fn forget_recent(&mut self, commands: &mut [Command]) {
        for recent in self.recent.drain(..) {
            if let Some(command) = commands.get_mut(recent.command as usize) {
                command.recent = 0;
            }
        }
        (self.at, self.counts, self.weights) = (0, 0, 0);
    }
}

#[cfg(test)]
mod tests;
