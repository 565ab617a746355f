//! TLS for sources that connect and sources that listen, with rustls and ring.

pub mod client;
pub mod server;
