//! TLS for sources that connect and sources that listen.

pub mod server;
