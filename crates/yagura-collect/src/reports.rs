//! What a source says about itself: `coverage` rows for start, stop, gaps, drops and silence.

use yagura_event::clock::Micros;
use yagura_event::rows::{CoverageRow, Row};
use yagura_event::vocabulary::coverage;

use crate::places::PlacedSink;

/// The coverage of one source, or of one of its peers.
pub struct Reports {
    subject: String,
    /// Since when nothing is seen, if nothing is.
    down: Option<Micros>,
    /// When something was heard last, and after how long without it is called silent.
    heard: Option<Micros>,
    silence: Option<Micros>,
    silent: bool,
    dropped: u64,
}

impl Reports {
    /// Reports on `subject`: a file, an address, a topic. Its silence is told after `silence`, if that is given.
    pub fn new(subject: &str, silence: Option<Micros>) -> Self {
        Reports { subject: subject.into(), down: None, heard: None, silence, silent: false, dropped: 0 }
    }

    /// Who it is.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// It can be read from now on. Whatever time it could not be read before becomes a gap.
    pub fn up(&mut self, now: Micros, detail: &str, out: &mut dyn PlacedSink) {
        match self.down.take() {
            Some(since) => self.say(coverage::GAP, (since, now), now, 1, detail, out),
            None => self.say(coverage::START, (now, now), now, 1, detail, out),
        }
        self.heard(now);
    }

    /// It can be read again, and nothing is missing of the time when it could not: what came then was kept for it.
    pub fn resumed(&mut self, now: Micros, detail: &str, out: &mut dyn PlacedSink) {
        self.down = None;
        self.say(coverage::START, (now, now), now, 1, detail, out);
        self.heard(now);
    }

    /// It cannot be read from now on. Told once until it is [`Reports::up`] again.
    pub fn down(&mut self, now: Micros, detail: &str, out: &mut dyn PlacedSink) {
        if self.down.is_none() {
            self.down = Some(now);
            self.say(coverage::DOWN, (now, now), now, 1, detail, out);
        }
    }

    /// Whether it cannot be read.
    pub fn is_down(&self) -> bool {
        self.down.is_some()
    }

    /// It ended in order.
    pub fn stop(&mut self, now: Micros, detail: &str, out: &mut dyn PlacedSink) {
        self.say(coverage::STOP, (now, now), now, 1, detail, out);
    }

    /// Something was heard.
    pub fn heard(&mut self, now: Micros) {
        self.heard = Some(now);
        self.silent = false;
    }

    /// Looks whether it has been silent for too long; told once until something is heard.
    pub fn look(&mut self, now: Micros, out: &mut dyn PlacedSink) {
        let (Some(heard), Some(silence)) = (self.heard, self.silence) else { return };
        if !self.silent && !self.is_down() && now - heard >= silence {
            self.silent = true;
            self.say(coverage::SILENT, (heard, now), now, 1, "nothing came", out);
        }
    }

    /// What was dropped in all so far; news of it are told.
    pub fn dropped(&mut self, total: u64, now: Micros, detail: &str, out: &mut dyn PlacedSink) {
        if total > self.dropped {
            self.say(coverage::DROP, (now, now), now, total - self.dropped, detail, out);
            self.dropped = total;
        }
    }

    /// Something that could not be read: `count` things, why and where.
    pub fn malformed(&self, now: Micros, count: u64, detail: &str, out: &mut dyn PlacedSink) {
        self.say(coverage::MALFORMED, (now, now), now, count, detail, out);
    }

    /// Any event of coverage over a time.
    pub fn say(
        &self,
        event: &str,
        (from, until): (Micros, Micros),
        now: Micros,
        count: u64,
        detail: &str,
        out: &mut dyn PlacedSink,
    ) {
        out.push(Row::Coverage(&CoverageRow {
            time: from,
            until,
            observed: now,
            event,
            subject: &self.subject,
            count,
            detail,
            ..Default::default()
        }));
    }
}
