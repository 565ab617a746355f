//! What a fuzzer's bytes mean, and what must hold whatever they are.
//!
//! [`input`] turns bytes into a conversation, [`connection`] lets a dissector read it the way the
//! capture layer does, [`packets`] gives whole packets to an engine, [`check`] judges the rows, and
//! [`seeds`] makes inputs from captures. The program (`src/main.rs`) joins them to libFuzzer; a
//! protocol gets its target by being registered.

pub mod check;
pub mod connection;
pub mod input;
pub mod packets;
pub mod seeds;
