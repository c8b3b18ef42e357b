//! What requests may cost, all together.
//!
//! Never asks a clock: the time is given.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The bounds of everything that a stranger can make the service spend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Webhooks that are looked at in a second.
    pub per_second: u32,
    /// Bytes of one body. Forges send some ten kilobytes, of a push of many commits a few hundred.
    pub body: usize,
    /// Bytes of all bodies that are being read.
    pub all_bodies: usize,
    /// How long the head of a request may take, and then its body.
    pub reading: Duration,
    /// How long a connection may last, however many requests come over it.
    pub connection: Duration,
    /// Connections at once; others wait to be accepted.
    pub connections: usize,
    /// Of those, the ones from one address: a few stay for others, such as whoever asks whether the service is there.
    pub of_one_sender: usize,
    /// How long who comes too often waits for that answer. With the number of connections it bounds what a flood costs,
    /// however fast it comes.
    pub linger: Duration,
}

impl Limits {
    pub fn new(per_second: u32) -> Self {
        Self {
            per_second,
            body: 1024 * 1024,
            all_bodies: 4 * 1024 * 1024,
            reading: Duration::from_secs(5),
            connection: Duration::from_secs(30),
            connections: 64,
            of_one_sender: 48,
            linger: Duration::from_millis(50),
        }
    }
}

/// So many in a second, and as many at once.
#[derive(Debug)]
pub struct Rate {
    per_second: u32,
    bucket: Mutex<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    /// When it would have been full, had nothing been taken since; up to a second ahead.
    full_at: Instant,
}

impl Rate {
    pub fn new(per_second: u32, now: Instant) -> Self {
        Self { per_second: per_second.max(1), bucket: Mutex::new(Bucket { full_at: now }) }
    }

    /// Takes one.
    ///
    /// # Errors
    /// How long to wait for one, when all are taken.
    pub fn take(&self, now: Instant) -> Result<(), Duration> {
        let one = Duration::from_secs(1) / self.per_second;
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let full_at = bucket.full_at.max(now) + one;
        match (full_at - now).checked_sub(Duration::from_secs(1)) {
            Some(wait) if !wait.is_zero() => Err(wait),
            Some(_) | None => {
                bucket.full_at = full_at;
                Ok(())
            }
        }
    }
}

/// What is said at most once a minute.
#[derive(Debug, Default)]
pub struct Seldom(Mutex<Unsaid>);

#[derive(Debug, Default)]
struct Unsaid {
    last: Option<Instant>,
    since: u64,
}

impl Seldom {
    const PAUSE: Duration = Duration::from_secs(60);

    /// Whether it is to be said again, and how often it was not since it was last.
    pub fn is_due(&self, now: Instant) -> Option<u64> {
        let mut unsaid = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if unsaid.last.is_some_and(|last| now - last < Self::PAUSE) {
            unsaid.since = unsaid.since.saturating_add(1);
            return None;
        }
        unsaid.last = Some(now);
        Some(std::mem::take(&mut unsaid.since))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{Rate, Seldom};

    #[test]
    fn a_second_holds_so_many_and_then_one_comes_back_after_its_part_of_it() {
        let now = Instant::now();
        let rate = Rate::new(4, now);
        for _ in 0..4 {
            assert_eq!(rate.take(now), Ok(()));
        }
        let wait = rate.take(now).expect_err("all are taken");
        assert_eq!(wait, Duration::from_millis(250));
        assert_eq!(rate.take(now + wait), Ok(()));
        assert!(rate.take(now + wait).is_err());
        let later = now + Duration::from_secs(3600);
        assert_eq!((0..9).filter(|_| rate.take(later).is_ok()).count(), 4, "a long rest is worth no more");
    }

    #[test]
    fn a_flood_is_one_line_a_minute_with_its_size() {
        let now = Instant::now();
        let seldom = Seldom::default();
        assert_eq!(seldom.is_due(now), Some(0));
        assert_eq!((0..1000).filter(|_| seldom.is_due(now).is_some()).count(), 0);
        assert_eq!(seldom.is_due(now + Duration::from_secs(60)), Some(1000));
    }
}
