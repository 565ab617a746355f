//! Packet files, flows and TCP reassembly.
