//! Sources with real peers: what each of them does alone, and the contract that all keep.

mod contract;
mod peers;
mod rig;

mod files;
mod foreign;
mod http;
#[cfg(feature = "pcap")]
mod interface;
mod kafka;
mod modbus;
mod mqtt;
mod opcua;
mod secs;
mod syslog;
