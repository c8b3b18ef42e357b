//! How long each class of call to an engine may take.
//!
//! Gives one duration per class; both doors use these, so that a hang in the simulation ends as one on a wire does.
//!
//! Because one limit for all would be wrong for each: an engine that does not answer a ping in 2 s is hung, and a stop
//! takes what the user granted.

use std::time::Duration;

/// An engine on a busy machine answers in a few milliseconds; one that needs 2 s serves nobody.
pub const PING: Duration = Duration::from_secs(2);
/// Lists and looks. A list of 100 containers takes 5 ms; one stuck container can hang it for good.
pub const READ: Duration = Duration::from_secs(10);
/// Create and start, and the small changes to networks, volumes and names. A start takes 0.3 s, and 2 s when 16 are
/// started at once.
pub const CHANGE: Duration = Duration::from_secs(60);
/// A pull may take hours; this is how long it may show no progress.
pub const PULL_SILENCE: Duration = Duration::from_secs(120);
/// What an engine may need beyond the grace period: to kill, to unmount, to answer.
const STOP_MARGIN: Duration = Duration::from_secs(15);

/// A stop ends with a kill after the grace period.
pub fn stop(grace: Duration) -> Duration {
    grace.saturating_add(STOP_MARGIN)
}

/// An exec ends by its own timeout; this is how long the calls around it may take.
pub fn exec(timeout: Duration) -> Duration {
    timeout.saturating_add(READ)
}
