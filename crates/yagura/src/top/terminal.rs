//! The terminal while `top` draws on it: its other screen, keys without Enter, no echo. All of it
//! is put back when this is dropped.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr,
};

use crate::run::listen_for_signals;

/// How often keys are looked for.
const LOOK: Duration = Duration::from_millis(50);
/// What is assumed of a terminal that does not say its size.
const ROWS: usize = 24;
const COLUMNS: usize = 80;

/// A terminal that is drawn on.
pub struct Terminal {
    before: Option<Termios>,
    /// A signal asked to end.
    signal: Arc<AtomicBool>,
    _runtime: tokio::runtime::Runtime,
}

impl Terminal {
    /// Takes the terminal.
    pub fn open() -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let signal = Arc::new(AtomicBool::new(false));
        listen_for_signals(&runtime, Arc::clone(&signal));
        // Without keys, as under `yes |`, a signal ends it.
        let before = tcgetattr(io::stdin()).ok();
        if let Some(before) = &before {
            let mut quiet = before.clone();
            quiet.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
            quiet.special_codes[SpecialCodeIndex::VMIN] = 0;
            quiet.special_codes[SpecialCodeIndex::VTIME] = 0;
            tcsetattr(io::stdin(), OptionalActions::Now, &quiet)?;
        }
        let terminal = Terminal { before, signal, _runtime: runtime };
        write(b"\x1b[?1049h\x1b[?25l")?;
        Ok(terminal)
    }

    /// Draws a page, as much of it as there is room for.
    pub fn draw(&self, page: &str) -> io::Result<()> {
        let (rows, columns) = match tcgetwinsize(io::stdout()) {
            Ok(size) if size.ws_row > 0 && size.ws_col > 0 => (size.ws_row.into(), size.ws_col.into()),
            _ => (ROWS, COLUMNS),
        };
        let lines: Vec<String> = page.lines().take(rows).map(|line| cut(line, columns)).collect();
        // From the top, each line's rest cleared: nothing flickers.
        write(format!("\x1b[H{}\x1b[K\x1b[J", lines.join("\x1b[K\r\n")).as_bytes())
    }

    /// Waits; answers whether somebody wants to leave: q, Ctrl-C, Ctrl-D or a signal.
    pub fn quit_within(&self, wait: Duration) -> bool {
        let mut left = wait;
        loop {
            let mut keys = [0; 64];
            let read = match self.before {
                Some(_) => rustix::io::read(io::stdin(), &mut keys).unwrap_or(0),
                None => 0,
            };
            let leaves = |key: &u8| matches!(key, b'q' | b'Q' | 3 | 4);
            if self.signal.load(Ordering::Acquire) || keys[..read].iter().any(leaves) {
                return true;
            }
            if left.is_zero() {
                return false;
            }
            let pause = left.min(LOOK);
            std::thread::park_timeout(pause);
            left -= pause;
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing put back.
        let _ = write(b"\x1b[?25h\x1b[?1049l");
        if let Some(before) = &self.before {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, before);
        }
    }
}

fn write(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

/// A line's first columns; escape sequences take none.
fn cut(line: &str, columns: usize) -> String {
    let mut out = String::new();
    let (mut used, mut escape) = (0, false);
    for c in line.chars() {
        match c {
            '\x1b' => escape = true,
            _ if escape => escape = !c.is_ascii_alphabetic(),
            _ if used == columns => continue,
            _ => used += 1,
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_by_what_is_seen() {
        assert_eq!(cut("\x1b[1mabcdef\x1b[0m", 3), "\x1b[1mabc\x1b[0m");
        assert_eq!(cut("ab", 3), "ab");
    }
}
