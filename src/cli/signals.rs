//! Turns the signals that ask the program to end into a token.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::cli::trouble::Trouble;

/// What a shell reports for a program that Ctrl-C ended.
const INTERRUPTED: i32 = 130;

/// Cancelled at the first SIGINT or SIGTERM. A second one ends the program at once: whoever asks twice means it, and a
/// stop at any instant loses nothing.
pub fn shutdown() -> Result<CancellationToken, Trouble> {
    let token = CancellationToken::new();
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Trouble::world)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(Trouble::world)?;
    let asked = token.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if asked.is_cancelled() {
                std::process::exit(INTERRUPTED);
            }
            asked.cancel();
        }
    });
    Ok(token)
}
