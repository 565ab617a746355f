//! Printing to standard output. Whoever reads it may go away (`| head`): that ends the program
//! quietly, where `println!` would panic.

use std::fmt;
use std::io::{self, Write as _};

/// Prints a line.
macro_rules! say {
    ($($arguments:tt)*) => { $crate::say::line(format_args!($($arguments)*)) };
}

pub(crate) use say;

/// See [`say!`].
pub fn line(text: fmt::Arguments<'_>) {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        // A full disk behind a redirection: there is nobody left to tell.
        Err(_) => std::process::exit(1),
        Ok(()) => {}
    }
}

/// Writes over the terminal's present line; progress that cannot be shown is no reason to stop.
pub fn over(text: &str) {
    let mut out = io::stdout().lock();
    let _ = write!(out, "\r\x1b[K{text}").and_then(|()| out.flush());
}
