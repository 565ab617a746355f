//! A message with its reply, in the making.

use yagura_event::clock::Micros;
use yagura_event::vocabulary::{operation, status};

use super::frame::Header;
use super::gem;
use super::variables::Definition;
use crate::secs2::Item;
use crate::{Side, json};

/// A message and what is known of it, until its row is written. Its strings are used again.
#[derive(Default)]
pub(super) struct Exchange {
    pub(super) header: Option<Header>,
    pub(super) time: Micros,
    /// The end that asked.
    pub(super) asker: Option<Side>,
    pub(super) operation: &'static str,
    pub(super) function: String,
    pub(super) session: String,
    pub(super) target: String,
    pub(super) value: Option<f64>,
    pub(super) values: String,
    pub(super) values_cut: bool,
    pub(super) count: u32,
    pub(super) status: &'static str,
    pub(super) code: String,
    pub(super) hmac: String,
    pub(super) body_bytes: Option<u64>,
    pub(super) detail: String,
    pub(super) problem: String,
    /// What the message defines or asks for, which counts once the reply accepts it.
    pub(super) definition: Option<Box<Definition>>,
}

impl Exchange {
    pub(super) fn begin(&mut self, header: Header, time: Micros, asker: Side) {
        for text in [
            &mut self.function,
            &mut self.session,
            &mut self.target,
            &mut self.values,
            &mut self.code,
            &mut self.hmac,
            &mut self.detail,
            &mut self.problem,
        ] {
            text.clear();
        }
        self.header = Some(header);
        self.time = time;
        self.asker = Some(asker);
        self.operation = operation::OTHER;
        self.value = None;
        self.values_cut = false;
        self.count = 0;
        self.status = status::OK;
        self.body_bytes = None;
        self.definition = None;
        header.push_name(&mut self.function);
        json::push_number(&mut self.session, u64::from(header.session));
        json::member_number(&mut self.detail, "system", u64::from(header.system));
    }

    /// Notes the first thing that is wrong.
    pub(super) fn wrong(&mut self, problem: &str) {
        if self.problem.is_empty() {
            self.problem.push_str(problem);
        }
    }

    /// Adds a message's text to `values`, as the member `name`.
    pub(super) fn show(&mut self, name: &str, item: Item<'_>, hide: gem::Hide, limit: usize) {
        let hidden = match hide {
            gem::Hide::All => return,
            gem::Hide::Child(index) => Some(index),
            gem::Hide::Nothing => None,
        };
        let before = self.values.len();
        json::key(&mut self.values, name);
        let begun = self.values.len();
        let budget = limit.saturating_sub(begun + 1);
        self.values_cut |= item.push_json(&mut self.values, budget, hidden);
        if self.values.len() == begun {
            self.values.truncate(before);
        }
    }

    /// What a Reject says: the type that it refuses, and why (E37).
    pub(super) fn rejected(&mut self, header: Header) {
        let reason = match header.byte3 {
            1 => "stype_not_supported",
            2 => "ptype_not_supported",
            3 => "transaction_not_open",
            4 => "not_selected",
            _ => "other",
        };
        json::member_text(&mut self.detail, "reply", "Reject.req");
        json::member_number(&mut self.detail, "rejected_type", u64::from(header.byte2));
        json::member_text(&mut self.detail, "reason", reason);
        self.code.push_str("Reject=");
        json::push_number(&mut self.code, u64::from(header.byte3));
    }
}
