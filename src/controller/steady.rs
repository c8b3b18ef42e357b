//! Which instances keep ending by themselves.
//!
//! Takes each end of a container that nobody of us ended. Gives the instances that are not to be trusted for a while:
//! they are not started again at once, and their stack counts as degraded even while they happen to run.
//!
//! Because a container that ended once is started again at once: only the second end in a row makes it unsteady.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::controller::pause::pause;
use crate::model::world::Unsteady;
use crate::name::InstanceId;

/// Twice the longest pause: whoever ran for that long has earned to be started again at once.
const FORGIVEN_AFTER: Duration = Duration::from_secs(600);

#[derive(Debug, Default)]
pub struct Steadiness(BTreeMap<InstanceId, Streak>);

#[derive(Debug)]
struct Streak {
    ends: u32,
    last: Instant,
    log: Vec<String>,
}

impl Streak {
    /// From when on it is trusted again, if it is not.
    fn trusted_at(&self, id: &InstanceId) -> Option<Instant> {
        (self.ends > 1).then(|| self.last + pause(self.ends - 1, &id.to_string()))
    }
}

/// What an end means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It may be an accident.
    First,
    /// It has just become unsteady: what it printed is of interest.
    Second,
    Further,
}

impl Steadiness {
    /// A container of the instance ended, and nobody of us ended it.
    pub fn ended(&mut self, id: &InstanceId, now: Instant) -> End {
        self.0.retain(|_, streak| now.duration_since(streak.last) < FORGIVEN_AFTER);
        let streak = self.0.entry(id.clone()).or_insert(Streak { ends: 0, last: now, log: Vec::new() });
        streak.ends = streak.ends.saturating_add(1);
        streak.last = now;
        match streak.ends {
            1 => End::First,
            2 => End::Second,
            _ => End::Further,
        }
    }

    /// What the instance printed before it ended.
    pub fn printed(&mut self, id: &InstanceId, log: Vec<String>) {
        if let Some(streak) = self.0.get_mut(id) {
            streak.log = log;
        }
    }

    /// The instance has another content now, or is not wanted any more.
    pub fn forget(&mut self, is_forgotten: impl Fn(&InstanceId) -> bool) {
        self.0.retain(|id, _| !is_forgotten(id));
    }

    pub fn unsteady(&self, now: Instant) -> BTreeMap<InstanceId, Unsteady> {
        let unsteady = self.0.iter().filter(|(id, streak)| streak.trusted_at(id).is_some_and(|at| at > now));
        unsteady.map(|(id, streak)| (id.clone(), Unsteady { log: streak.log.clone() })).collect()
    }

    /// When the next instance is trusted again.
    pub fn next(&self, now: Instant) -> Option<Instant> {
        self.0.iter().filter_map(|(id, streak)| streak.trusted_at(id)).filter(|at| *at > now).min()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{End, Steadiness};
    use crate::name::{InstanceId, ServiceName, StackSlug};

    fn id() -> InstanceId {
        let (stack, service) = (StackSlug::new("shop").unwrap(), ServiceName::new("web").unwrap());
        InstanceId { stack, service, number: 1 }
    }

    #[test]
    fn one_end_is_an_accident_and_two_are_a_habit() {
        let mut steadiness = Steadiness::default();
        let now = Instant::now();
        assert_eq!(steadiness.ended(&id(), now), End::First);
        assert!(steadiness.unsteady(now).is_empty());
        assert_eq!(steadiness.ended(&id(), now), End::Second);
        assert!(steadiness.unsteady(now).contains_key(&id()));
        assert_eq!(steadiness.ended(&id(), now), End::Further);
    }

    #[test]
    fn it_is_trusted_again_after_a_pause_that_grows() {
        let mut steadiness = Steadiness::default();
        let now = Instant::now();
        for _ in 0..2 {
            steadiness.ended(&id(), now);
        }
        let first = steadiness.next(now).expect("it is unsteady");
        assert!(first >= now + Duration::from_secs(10) && first < now + Duration::from_secs(12));
        assert!(steadiness.unsteady(first).is_empty());
        steadiness.ended(&id(), first);
        assert!(steadiness.next(first).expect("it is unsteady again") >= first + Duration::from_secs(20));
    }

    #[test]
    fn whoever_ran_for_long_may_end_once_more() {
        let mut steadiness = Steadiness::default();
        let now = Instant::now();
        steadiness.ended(&id(), now);
        steadiness.ended(&id(), now);
        let later = now + Duration::from_secs(600);
        assert_eq!(steadiness.ended(&id(), later), End::First);
        assert!(steadiness.unsteady(later).is_empty());
    }
}
