//! Ports for servers that are told where to listen.
//!
//! A port that the system gave away and that was closed again may be somebody else's before the server that is
//! being started listens there: a Java program takes seconds. So these are below those that the system gives.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Result, bail};

/// The first port, and how many there are.
const FIRST: u32 = 18_000;
const COUNT: u32 = 14_000;

/// A port of the loopback interface that nobody uses, neither for TCP nor for UDP, and that is not given away again
/// by this process.
pub fn free_port() -> Result<u16> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Processes begin at different places.
    let begin = std::process::id().wrapping_mul(211) % COUNT;
    for _ in 0..COUNT {
        let nth = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = (FIRST + (begin + nth) % COUNT) as u16;
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
            && UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        if free {
            return Ok(port);
        }
    }
    bail!("no free port on loopback")
}
