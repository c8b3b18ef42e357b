//! Whether new content of a stack may be deployed now: windows, freezes, suspension, review.
//!
//! Takes the operator's schedule, a stack and a moment. Gives why not, and until when.
//!
//! Never a decision of the repository alone but for `suspended`, which only holds: nothing in a commit opens what the
//! operator has closed.

use std::collections::BTreeSet;
use std::fmt;

use crate::files::Span;
use crate::model::config::{Freeze, Schedule, Window};
use crate::moment::{Day, Seconds};
use crate::name::{Digest, StackName};

/// Why what the head asks for is not deployed now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Closed {
    /// `suspended: true` in the stack's file.
    Suspended(Span),
    /// The operator's configuration suspends it.
    ByOperator,
    /// It is outside of every window; the text says when the next one opens, if any does within a year.
    OutsideWindows(Option<String>),
    /// A freeze, with its reason, and when what comes after it may be deployed.
    Frozen { reason: String, until: Option<String> },
    /// No commit names the plan.
    NotReviewed(Digest),
}

impl Closed {
    /// Stable, kebab-case.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Suspended(_) => "suspended",
            Self::ByOperator => "suspended-by-operator",
            Self::OutsideWindows(_) => "outside-windows",
            Self::Frozen { .. } => "frozen",
            Self::NotReviewed(_) => "not-reviewed",
        }
    }

    /// Whether nothing of the stack is touched; else what ran last is wanted, and healed.
    pub fn leaves_alone(&self) -> bool {
        match self {
            Self::Suspended(_) | Self::ByOperator | Self::NotReviewed(_) => true,
            Self::OutsideWindows(_) | Self::Frozen { .. } => false,
        }
    }
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Suspended(at) => write!(f, "it is suspended at {at}; what runs is left as it is"),
            Self::ByOperator => f.write_str("the operator suspended it; what runs is left as it is"),
            Self::OutsideWindows(Some(opens)) => write!(f, "its next deploy window opens {opens}"),
            Self::OutsideWindows(None) => f.write_str("no deploy window opens within a year"),
            Self::Frozen { reason, until } => {
                write!(f, "deployments are frozen ({reason})")?;
                match until {
                    Some(until) => write!(f, " until {until}"),
                    None => f.write_str(" for more than a year"),
                }
            }
            Self::NotReviewed(digest) => write!(
                f,
                "no commit since the last deployment names this plan: a line `Bayplan-Plan: {}` in one, such as the merge, says that it was reviewed",
                digest.short()
            ),
        }
    }
}

/// How far ahead the next opening is looked for.
const LONGEST_SEARCH: i32 = 366;

/// Why the schedule keeps new content of a stack from being deployed at that moment, if it does.
pub fn now(schedule: &Schedule, stack: &StackName, now: Seconds) -> Option<Closed> {
    let windows: Vec<&Window> = schedule.windows.iter().filter(|window| concerns(&window.stacks, stack)).collect();
    let freezes: Vec<&Freeze> = schedule.freezes.iter().filter(|freeze| concerns(&freeze.stacks, stack)).collect();
    let (today, _) = schedule.zone.local(now);
    let frozen = freezes.iter().find(|freeze| (freeze.first..=freeze.last).contains(&today));
    let opens = || next_opening(schedule, &windows, &freezes, now).map(|at| schedule.zone.show(at));
    match frozen {
        Some(freeze) => Some(Closed::Frozen { reason: freeze.reason.clone(), until: opens() }),
        None if is_open(schedule, &windows, now) => None,
        None => Some(Closed::OutsideWindows(opens())),
    }
}

fn concerns(stacks: &BTreeSet<String>, stack: &StackName) -> bool {
    stacks.is_empty() || stacks.contains(stack.as_str()) || stacks.contains(stack.slug().as_str())
}

fn is_open(schedule: &Schedule, windows: &[&Window], now: Seconds) -> bool {
    let (today, _) = schedule.zone.local(now);
    // One that began yesterday may not have ended.
    let begins = [today.after(-1), today];
    windows.is_empty()
        || windows.iter().any(|window| {
            let on = begins.iter().filter(|day| window.days.contains(&day.of_week()));
            on.map(|day| span(schedule, window, *day)).any(|(from, to)| (from..to).contains(&now))
        })
}

/// Begin and end of a window that begins on a day.
fn span(schedule: &Schedule, window: &Window, day: Day) -> (Seconds, Seconds) {
    let end = if window.to > window.from { day } else { day.after(1) };
    // The day has no minute 1440: that is the next day's first.
    let (end, to) = if window.to == 1440 { (end.after(1), 0) } else { (end, window.to) };
    (schedule.zone.at(day, window.from), schedule.zone.at(end, to))
}

fn next_opening(schedule: &Schedule, windows: &[&Window], freezes: &[&Freeze], now: Seconds) -> Option<Seconds> {
    let (today, _) = schedule.zone.local(now);
    let is_frozen = |day: Day| freezes.iter().any(|freeze| (freeze.first..=freeze.last).contains(&day));
    (0..=LONGEST_SEARCH).map(|days| today.after(days)).filter(|day| !is_frozen(*day)).find_map(|day| {
        let midnight = schedule.zone.at(day, 0);
        // A freeze may end in the middle of a window.
        if midnight > now && is_open(schedule, windows, midnight) {
            return Some(midnight);
        }
        let begins = windows.iter().filter(|window| window.days.contains(&day.of_week()));
        // Where clocks are put forward, a whole window may be left out.
        let spans = begins.map(|window| span(schedule, window, day)).filter(|(from, to)| *from > now && from < to);
        spans.map(|(from, _)| from).min()
    })
}

#[cfg(test)]
mod tests {
    use super::{Closed, now};
    use crate::model::config::{Freeze, Schedule, Window};
    use crate::moment::{Day, Zone};
    use crate::name::StackName;

    fn day(text: &str) -> Day {
        Day::parse(text).expect("a day")
    }

    /// Monday to Thursday, in the night, across midnight.
    fn schedule() -> Schedule {
        let night = Window { days: [0, 1, 2, 3].into(), from: 23 * 60, to: 120, stacks: Default::default() };
        let noon = Window { days: (0..7).collect(), from: 720, to: 780, stacks: ["blog".to_owned()].into() };
        let christmas = Freeze {
            first: day("2026-12-21"),
            last: day("2027-01-03"),
            reason: "Christmas".to_owned(),
            stacks: Default::default(),
        };
        Schedule {
            zone: Zone::named("Europe/Berlin").expect("a zone"),
            windows: vec![night, noon],
            freezes: vec![christmas],
        }
    }

    fn asked(stack: &str, on: &str, minute: u16) -> Option<String> {
        let schedule = schedule();
        let at = schedule.zone.at(day(on), minute);
        now(&schedule, &StackName::new(stack).expect("a name"), at).map(|closed| closed.to_string())
    }

    #[test]
    fn a_window_is_open_until_it_ends_also_on_the_next_day() {
        // 2026-11-23 is a Monday.
        assert_eq!(asked("shop", "2026-11-23", 23 * 60), None);
        assert_eq!(asked("shop", "2026-11-24", 119), None);
        let closed = "its next deploy window opens 2026-11-24 23:00 Europe/Berlin";
        assert_eq!(asked("shop", "2026-11-24", 120).as_deref(), Some(closed));
        // Thursday's window ends on Friday; Friday has none.
        assert_eq!(asked("shop", "2026-11-27", 60), None);
        let closed = "its next deploy window opens 2026-11-30 23:00 Europe/Berlin";
        assert_eq!(asked("shop", "2026-11-27", 23 * 60).as_deref(), Some(closed));
    }

    #[test]
    fn a_window_of_its_own_counts_beside_those_of_all() {
        assert_eq!(asked("blog", "2026-11-28", 720), None);
        assert_ne!(asked("shop", "2026-11-28", 720), None);
        assert_eq!(asked("blog", "2026-11-23", 23 * 60), None);
    }

    #[test]
    fn a_freeze_closes_windows_and_tells_when_the_next_one_opens() {
        let closed = "deployments are frozen (Christmas) until 2027-01-04 23:00 Europe/Berlin";
        assert_eq!(asked("shop", "2026-12-21", 23 * 60).as_deref(), Some(closed));
        assert_eq!(asked("shop", "2027-01-04", 23 * 60), None);
    }

    #[test]
    fn a_window_that_falls_into_the_hour_that_is_left_out_does_not_open() {
        let early = Window { days: (0..7).collect(), from: 150, to: 180, stacks: Default::default() };
        let schedule = Schedule { windows: vec![early], freezes: Vec::new(), ..schedule() };
        let shop = StackName::new("shop").expect("a name");
        // In the night to 2026-03-29 it is 3 o'clock after 1:59.
        let at = schedule.zone.at(day("2026-03-28"), 600);
        let closed = Closed::OutsideWindows(Some("2026-03-30 02:30 Europe/Berlin".to_owned()));
        assert_eq!(now(&schedule, &shop, at), Some(closed));
    }

    #[test]
    fn without_windows_only_freezes_close() {
        let schedule = Schedule { windows: Vec::new(), ..schedule() };
        let shop = StackName::new("shop").expect("a name");
        assert_eq!(now(&schedule, &shop, schedule.zone.at(day("2026-11-28"), 0)), None);
        let until = Some("2027-01-04 00:00 Europe/Berlin".to_owned());
        let frozen = Some(Closed::Frozen { reason: "Christmas".to_owned(), until });
        assert_eq!(now(&schedule, &shop, schedule.zone.at(day("2026-12-24"), 600)), frozen);
    }
}
