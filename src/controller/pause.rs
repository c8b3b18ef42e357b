//! How long to wait before something is tried again.
//!
//! Never asks a clock or chance: the jitter comes from the name, so that stacks do not retry in step and a run can be
//! repeated.

use std::time::Duration;

/// The first pause after a failure that waiting may help, and the longest.
const FIRST: Duration = Duration::from_secs(10);
const LAST: Duration = Duration::from_secs(300);

/// The pause after so many tries: it doubles from try to try, and is up to a fifth longer by the name.
pub fn pause(tries: u32, name: &str) -> Duration {
    let doubled = FIRST * 2_u32.saturating_pow(tries.saturating_sub(1).min(10));
    let jitter = name.bytes().fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte))) % 20;
    doubled.min(LAST) * (100 + jitter) / 100
}

#[cfg(test)]
mod tests {
    use super::{FIRST, LAST, pause};

    #[test]
    fn pauses_double_up_to_a_limit_and_differ_by_name() {
        assert!(pause(1, "shop") >= FIRST && pause(1, "shop") < FIRST * 12 / 10);
        assert_eq!(pause(2, "shop"), pause(1, "shop") * 2);
        assert!(pause(u32::MAX, "shop") >= LAST && pause(u32::MAX, "shop") < LAST * 12 / 10);
        assert_ne!(pause(1, "shop"), pause(1, "shoq"));
    }
}
