//! When a stack may be begun again: at once for something new, after a pause for what was just tried.
//!
//! Takes how applies ended. Says whether a plan may begin now, and when to look again.
//!
//! Never lets the same steps follow each other without a pause, whatever came of them: an engine that shows what is gone, or
//! somebody who takes away what is made, would keep the service and the ledger busy.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::controller::pause::pause;
use crate::name::{Digest, StackSlug};
use crate::plan::StackPlan;

#[derive(Debug, Default)]
pub struct Retries(BTreeMap<StackSlug, Retry>);

#[derive(Debug, Clone)]
struct Retry {
    tries: u32,
    at: Instant,
    content: Option<Digest>,
    steps: Digest,
    end: End,
}

/// How an apply ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Waiting may help.
    Failed,
    Done,
}

impl Retries {
    /// Takes in how the steps of a plan for this content ended. Gives the time until the same is tried again.
    pub fn ended(
        &mut self,
        stack: &StackSlug,
        end: End,
        content: Option<Digest>,
        plan: &StackPlan,
        now: Instant,
    ) -> Duration {
        let steps = digest(plan);
        let again = |last: &&Retry| match end {
            End::Failed => last.end == End::Failed || last.steps == steps,
            End::Done => last.steps == steps,
        };
        let tries = self.0.get(stack).filter(again).map_or(1, |last| last.tries + 1);
        let after = pause(tries, stack.as_str());
        self.0.insert(stack.clone(), Retry { tries, at: now + after, content, steps, end });
        after
    }

    pub fn may_begin(&self, stack: &StackSlug, content: Option<&Digest>, plan: &StackPlan, now: Instant) -> bool {
        self.0.get(stack).is_none_or(|last| {
            let is_new = last.content.as_ref() != content || (last.end == End::Done && last.steps != digest(plan));
            last.at <= now || is_new
        })
    }

    /// The next time at which a stack of which this is asked may begin.
    pub fn next(&self, now: Instant, asked: impl Fn(&StackSlug) -> bool) -> Option<Instant> {
        self.0.iter().filter(|(stack, last)| last.at > now && asked(stack)).map(|(_, last)| last.at).min()
    }

    /// Forgets what is so long past that it would not count any more.
    pub fn forget(&mut self, now: Instant) {
        self.0.retain(|_, last| now.saturating_duration_since(last.at) < LONG);
    }
}

/// Longer than the longest pause: what is tried again after it fails for a reason of its own.
const LONG: Duration = Duration::from_secs(600);

/// Secrets are not part of how a step is written.
fn digest(plan: &StackPlan) -> Digest {
    Digest::of(format!("{:?}", plan.steps).as_bytes())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{End, Retries};
    use crate::model::host::Endpoint;
    use crate::name::{Digest, HostName, StackSlug};
    use crate::plan::StackPlan;
    use crate::plan::step::{Act, Step};

    fn removing(container: &str) -> StackPlan {
        let step = Step {
            host: HostName::new("host-1").expect("a name"),
            endpoint: Endpoint::Memory("host-1".to_owned()),
            instance: None,
            act: Act::Remove { container: container.to_owned() },
            after: BTreeSet::new(),
            because: "nothing asks for it".to_owned(),
        };
        StackPlan { steps: vec![step], ..StackPlan::default() }
    }

    #[test]
    fn the_same_steps_wait_longer_each_time_and_others_begin_at_once() {
        let shop = StackSlug::new("shop").expect("a name");
        let (content, other) = (Digest::of(b"content"), Digest::of(b"other"));
        let now = Instant::now();
        let mut retries = Retries::default();
        let (same, another) = (removing("a"), removing("b"));
        assert!(retries.may_begin(&shop, Some(&content), &same, now));
        retries.ended(&shop, End::Done, Some(content.clone()), &same, now);
        assert!(!retries.may_begin(&shop, Some(&content), &same, now + Duration::from_secs(9)));
        assert!(retries.may_begin(&shop, Some(&content), &another, now));
        assert!(retries.may_begin(&shop, Some(&other), &same, now));
        assert!(retries.may_begin(&shop, Some(&content), &same, now + Duration::from_secs(12)));
        retries.ended(&shop, End::Done, Some(content.clone()), &same, now);
        assert!(!retries.may_begin(&shop, Some(&content), &same, now + Duration::from_secs(19)));
    }

    #[test]
    fn what_failed_waits_whatever_its_steps_are_now() {
        let shop = StackSlug::new("shop").expect("a name");
        let now = Instant::now();
        let mut retries = Retries::default();
        retries.ended(&shop, End::Failed, None, &removing("a"), now);
        assert!(!retries.may_begin(&shop, None, &removing("b"), now));
        assert_eq!(retries.next(now, |_| false), None);
        let next = retries.next(now, |stack| stack == &shop).expect("it is tried again");
        assert!(retries.may_begin(&shop, None, &removing("b"), next));
    }
}
