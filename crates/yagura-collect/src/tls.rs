//! TLS of sources, with rustls and ring.

pub mod client;
