//! How often a stack is tried by who ends when all is settled: again after a success, again after what may pass, not for ever.
//!
//! Takes how a stack ended and after how long. Gives the pause before it is repeated.
//!
//! Never waits itself, and asks no clock.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::record::Record;
use crate::name::StackSlug;
use crate::plan::outcome::{Applied, Verdict};
use crate::status;

/// A new deployment, the way back from it, and the end of an interrupted one make three; one more is a loop.
const MOST_ROUNDS: u32 = 4;

/// What failed and may pass is tried again this often in a row; whoever called waits too, and may call again.
const MOST_REPEATS: u32 = 2;

/// Before the first repeat; before the second it is twice as long.
const REPEAT_AFTER: Duration = Duration::from_secs(2);

/// What failed only after it had waited for long is not waited for again.
const LONGEST_REPEATED: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
pub struct Tries {
    rounds: BTreeMap<StackSlug, u32>,
    repeats: BTreeMap<StackSlug, u32>,
    given_up: BTreeSet<StackSlug>,
}

/// What makes sense after a stack has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Another look, after a success.
    Round,
    /// The way back from bad content.
    Back,
    /// The same again, for what was in the way may pass.
    Repeat,
    Nothing,
}

impl Next {
    /// After these steps, by the stack's record before and after them.
    pub fn after(applied: &Applied, before: Option<&Record>, after: Option<&Record>) -> Self {
        let newly_bad = before.zip(after).is_some_and(|(before, after)| before.bad != after.bad);
        let failures = &applied.failures;
        // What the record does not say of the content, another try may mend.
        let may_pass = after.is_some_and(status::may_pass)
            || failures.iter().all(|failure| failure.verdict != Verdict::BadContent);
        match (newly_bad, failures.is_empty()) {
            (true, _) => Self::Back,
            (false, true) => Self::Round,
            (false, false) if may_pass => Self::Repeat,
            (false, false) => Self::Nothing,
        }
    }
}

impl Tries {
    pub fn may_begin(&self, stack: &StackSlug) -> bool {
        !self.given_up.contains(stack) && self.rounds.get(stack).is_none_or(|rounds| *rounds < MOST_ROUNDS)
    }

    /// Takes in what makes sense after a stack has ended, which took so long. Gives the pause if it is to be repeated.
    pub fn ended(&mut self, stack: &StackSlug, next: Next, took: Duration) -> Option<Duration> {
        match next {
            Next::Round | Next::Back => {
                *self.rounds.entry(stack.clone()).or_default() += 1;
                self.repeats.remove(stack);
                None
            }
            Next::Repeat => {
                let repeats = self.repeats.entry(stack.clone()).or_default();
                if *repeats >= MOST_REPEATS || took >= LONGEST_REPEATED {
                    self.given_up.insert(stack.clone());
                    return None;
                }
                *repeats += 1;
                Some(REPEAT_AFTER * *repeats)
            }
            Next::Nothing => {
                self.given_up.insert(stack.clone());
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Next, Tries};
    use crate::name::StackSlug;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn what_may_pass_is_repeated_twice_in_a_row_and_not_what_took_long() {
        let shop = StackSlug::new("shop").expect("a name");
        let mut tries = Tries::default();
        assert_eq!(tries.ended(&shop, Next::Repeat, SECOND), Some(SECOND * 2));
        assert_eq!(tries.ended(&shop, Next::Repeat, SECOND), Some(SECOND * 4));
        assert!(tries.may_begin(&shop));
        // The way back has as many of its own.
        assert_eq!(tries.ended(&shop, Next::Back, SECOND), None);
        assert_eq!(tries.ended(&shop, Next::Repeat, SECOND), Some(SECOND * 2));
        assert_eq!(tries.ended(&shop, Next::Repeat, SECOND * 30), None);
        assert!(!tries.may_begin(&shop));
    }

    #[test]
    fn nothing_is_tried_for_ever() {
        let shop = StackSlug::new("shop").expect("a name");
        let mut tries = Tries::default();
        let mut begun = 0;
        while tries.may_begin(&shop) {
            begun += 1;
            tries.ended(&shop, if begun % 3 == 0 { Next::Round } else { Next::Repeat }, SECOND);
        }
        assert_eq!(begun, 12);
        let mut tries = Tries::default();
        tries.ended(&shop, Next::Nothing, SECOND);
        assert!(!tries.may_begin(&shop));
    }
}
