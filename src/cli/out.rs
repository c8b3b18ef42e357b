//! Where text leaves the program.
//!
//! Never fails because a reader went away: what is done counts, not who listens. Colours are left out where no terminal
//! reads, and where `NO_COLOR` asks for it.

use std::io::Write as _;

/// What was asked for: to standard output.
pub fn say(text: &str) {
    let mut out = anstream::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// What is said beside it: to standard error.
pub fn note(text: &str) {
    let mut out = anstream::stderr().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
