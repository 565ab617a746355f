//! A way over loopback that can be cut, as a network is.

use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;

/// Connections to its address go on to another; dropping it ends it.
pub struct Way {
    /// Where to connect instead.
    pub address: SocketAddr,
    ends: Arc<Mutex<Ends>>,
}

#[derive(Default)]
struct Ends {
    is_cut: bool,
    is_over: bool,
    /// Both ends of what goes through.
    open: Vec<TcpStream>,
}

fn lock(ends: &Mutex<Ends>) -> MutexGuard<'_, Ends> {
    ends.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Way {
    /// One to `host:port`, which need not listen yet.
    pub fn to(target: &str) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let ends = Arc::<Mutex<Ends>>::default();
        let (shared, target) = (Arc::clone(&ends), target.to_string());
        std::thread::spawn(move || {
            for from in listener.incoming() {
                if lock(&shared).is_over {
                    return;
                }
                // A connection that fails is what whoever connects has to bear.
                let _ = from.map_err(anyhow::Error::from).and_then(|from| lead(&shared, from, &target));
            }
        });
        Ok(Self { address, ends })
    }

    /// Breaks what goes through, and lets nothing through until it is mended.
    pub fn cut(&self) {
        let mut ends = lock(&self.ends);
        ends.is_cut = true;
        for end in ends.open.drain(..) {
            let _ = end.shutdown(Shutdown::Both);
        }
    }

    /// Lets connections through again.
    pub fn mend(&self) {
        lock(&self.ends).is_cut = false;
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.cut();
        lock(&self.ends).is_over = true;
        // Whoever waits for connections gets one more, and ends.
        let _ = TcpStream::connect(self.address);
    }
}

fn lead(ends: &Mutex<Ends>, from: TcpStream, target: &str) -> Result<()> {
    if lock(ends).is_cut {
        return Ok(());
    }
    let to = TcpStream::connect(target)?;
    let (back, forth) = ((to.try_clone()?, from.try_clone()?), (from.try_clone()?, to.try_clone()?));
    let mut ends = lock(ends);
    // It may have been cut in between.
    if !ends.is_cut {
        ends.open.extend([from, to]);
        for (mut source, mut sink) in [back, forth] {
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut source, &mut sink);
                let _ = sink.shutdown(Shutdown::Write);
            });
        }
    }
    Ok(())
}
