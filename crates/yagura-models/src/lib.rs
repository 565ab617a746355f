//! Online models over slices. No I/O and no async.
//!
//! A model is free functions over a dense vector of small states: the caller resolves keys to
//! dense ids ("slots") beforehand, so that the loop touches no string and no hash map.

pub mod alarm;
pub mod conversation;
pub mod group;
pub mod guard;
pub mod kernel;
pub mod linear;
pub mod reference;
pub mod steps;
#[cfg(test)]
mod testing;

/// The models there are, by the name that pipelines use, with what each is for.
/// A new model is one file, its `mod` line and one line here.
pub const MODELS: &[(&str, &str)] = &[
    (guard::NAME, "one signal: shift, drift from the approved baseline, range, stuck, gap"),
    (group::NAME, "the signals of a tool or chamber together: relations, single signals, drift"),
    (conversation::NAME, "who speaks which protocol with whom: commands, order, rhythm, rate, values"),
];
