//! Who sent a wrong signature lately, or began a body that did not come.
//!
//! Because these share a rate and a room of their own, a flood of forged webhooks does not use up those of right ones. One that
//! comes from very many addresses, or through the same proxy as the right ones, still does.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Long enough that a flood stays in it, and short enough for somebody who mends the secret.
const REMEMBERED: Duration = Duration::from_secs(60);
/// More are not kept apart: memory is bounded, whoever comes.
const MOST: usize = 1024;

/// Senders by address, each with the time of the last trouble.
#[derive(Debug, Default)]
pub struct Suspects(Mutex<BTreeMap<IpAddr, Instant>>);

impl Suspects {
    pub fn holds(&self, sender: IpAddr, now: Instant) -> bool {
        self.lock().get(&network(sender)).is_some_and(|last| now.duration_since(*last) < REMEMBERED)
    }

    pub fn add(&self, sender: IpAddr, now: Instant) {
        let mut suspects = self.lock();
        if suspects.len() >= MOST {
            suspects.retain(|_, last| now.duration_since(*last) < REMEMBERED);
        }
        if suspects.len() < MOST {
            suspects.insert(network(sender), now);
        }
    }

    pub fn clear(&self, sender: IpAddr) {
        self.lock().remove(&network(sender));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<IpAddr, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// With IPv6 one sender has as many addresses as it likes, in a network of 64 bits.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::time::Duration;

    use tokio::time::Instant;

    use super::Suspects;

    #[test]
    fn a_wrong_signature_is_remembered_for_a_minute_or_until_a_right_one() {
        let now = Instant::now();
        let suspects = Suspects::default();
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        suspects.add(address("2001:db8::1"), now);
        suspects.add(address("::ffff:10.0.0.1"), now);
        assert!(suspects.holds(address("2001:db8::2"), now), "it is the same network");
        assert!(suspects.holds(address("10.0.0.1"), now));
        assert!(!suspects.holds(address("2001:db8:1::1"), now));
        assert!(!suspects.holds(address("10.0.0.1"), now + Duration::from_secs(60)));
        suspects.clear(address("10.0.0.1"));
        assert!(!suspects.holds(address("10.0.0.1"), now));
    }

    #[test]
    fn very_many_are_not_kept_apart() {
        let now = Instant::now();
        let suspects = Suspects::default();
        for number in 0..10_000 {
            suspects.add(Ipv4Addr::from_bits(number).into(), now);
        }
        assert_eq!(suspects.lock().len(), 1024);
        suspects.add(Ipv4Addr::LOCALHOST.into(), now + Duration::from_secs(61));
        assert_eq!(suspects.lock().len(), 1);
    }
}
