//! What is to be said at the forge of each commit that is deployed.
//!
//! Takes the service's events in order. Gives the status of a commit when it changed: pending while its stacks begin,
//! success or failure when they have ended, superseded when a newer commit came before that.
//!
//! Because a commit asks for the whole fleet, its status is that of all stacks: content that failed and is still asked
//! for is a failure of each commit that asks for it.

use std::collections::BTreeMap;

use crate::controller::{Ended, Event};
use crate::forge::State;
use crate::model::record::{Record, StackStatus};
use crate::name::{Revision, StackSlug};
use crate::reconcile::Pass;

/// A status in words, without the link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    pub commit: Revision,
    pub state: State,
    pub sentence: String,
}

/// What was said, so that the same is not said again.
#[derive(Debug, Default)]
pub struct Reports {
    head: Option<Revision>,
    last: Option<Said>,
    /// The commit that an apply of a stack began for.
    begun: BTreeMap<StackSlug, Revision>,
}

impl Reports {
    /// What is to be said now, in this order.
    pub fn hear(&mut self, event: &Event) -> Vec<Said> {
        let (old, said) = match event {
            Event::Passed(pass) => (self.superseded(&pass.revision), self.passed(pass)),
            Event::Ended(ended) => (None, self.ended(ended)),
            Event::PassFailed(_)
            | Event::Progress(_)
            | Event::Committed { .. }
            | Event::TriesAgain { .. }
            | Event::OtherController(_)
            | Event::FetchFailed(_)
            | Event::FetchedAgain
            | Event::PushFailed(_)
            | Event::PushedAgain => (None, None),
        };
        let said = said.filter(|said| self.last.as_ref() != Some(said));
        if said.is_some() {
            self.last.clone_from(&said);
        }
        old.into_iter().chain(said).collect()
    }

    /// The last head, if it was left pending: nothing more will be said of it.
    fn superseded(&self, head: &Revision) -> Option<Said> {
        let old = self.head.as_ref().filter(|old| *old != head)?;
        let last = self.last.as_ref().filter(|last| last.commit == *old && last.state == State::Pending)?;
        let sentence = format!("superseded by {}", head.short());
        Some(Said { commit: last.commit.clone(), state: State::Superseded, sentence })
    }

    fn passed(&mut self, pass: &Pass) -> Option<Said> {
        let is_new = self.head.replace(pass.revision.clone()).as_ref() != Some(&pass.revision);
        let said = |state, sentence| Some(Said { commit: pass.revision.clone(), state, sentence });
        let with_steps = pass.plan.stacks.iter().filter(|(_, plan)| !plan.steps.is_empty());
        let with_steps: Vec<&StackSlug> = with_steps.map(|(slug, _)| slug).collect();
        for slug in &with_steps {
            self.begun.insert((*slug).clone(), pass.revision.clone());
        }
        let records: Vec<(&StackSlug, &Record)> =
            pass.wants.keys().filter_map(|slug| Some((slug, pass.ledger.records.get(slug)?))).collect();
        let is_in_hand = records.iter().any(|(_, record)| record.status == StackStatus::Deploying);
        if !with_steps.is_empty() || is_in_hand {
            // What is healed or tried again is no new deployment of the commit.
            return if is_new && !with_steps.is_empty() {
                said(State::Pending, format!("deploying {}", named(&with_steps)))
            } else {
                None
            };
        }
        let of = |status| records.iter().find(move |(_, record)| record.status == status);
        for status in [StackStatus::Failed, StackStatus::RolledBack, StackStatus::Degraded] {
            if let Some((slug, record)) = of(status) {
                return said(State::Failure, sentence(slug, record));
            }
        }
        match pass.report.count_errors() {
            0 => {}
            1 => return said(State::Failure, "a file is wrong; what it asks for is kept as it ran".to_owned()),
            _ => return said(State::Failure, "files are wrong; what they ask for is kept as it ran".to_owned()),
        }
        if let Some((slug, record)) = of(StackStatus::Held) {
            return said(State::Pending, sentence(slug, record));
        }
        // What only is said keeps nothing from being deployed.
        if let Some((_, hold)) = pass.plan.all_holds().find(|(_, hold)| hold.holds_the_stack()) {
            let hold = hold.to_string();
            return said(State::Pending, format!("held: {}", hold.lines().next().unwrap_or_default()));
        }
        let count = records.len();
        said(State::Success, if count == 1 { "1 stack runs".to_owned() } else { format!("{count} stacks run") })
    }

    /// A failure is said at once; that all is well, by the next pass.
    fn ended(&mut self, ended: &Ended) -> Option<Said> {
        let commit = self.begun.remove(&ended.stack)?;
        let failure = ended.failures.first()?;
        let sentence = format!("{} failed: {}: {}", ended.stack, failure.what, failure.why);
        Some(Said { commit, state: State::Failure, sentence })
    }
}

fn sentence(slug: &StackSlug, record: &Record) -> String {
    let said = record.conditions.iter().find(|condition| condition.name == "failed").or(record.conditions.first());
    let why = said.map(|condition| format!(": {}", condition.message)).unwrap_or_default();
    let status = match record.status {
        StackStatus::RolledBack => "rolled back",
        StackStatus::Running
        | StackStatus::Deploying
        | StackStatus::Degraded
        | StackStatus::Held
        | StackStatus::Failed => record.status.as_str(),
    };
    format!("{slug} {status}{why}")
}

/// The rest is only counted.
const MOST_NAMED: usize = 3;

fn named(stacks: &[&StackSlug]) -> String {
    let named: Vec<&str> = stacks.iter().take(MOST_NAMED).map(|slug| slug.as_str()).collect();
    match stacks.len().checked_sub(MOST_NAMED) {
        Some(more) if more > 0 => format!("{} and {more} more", named.join(", ")),
        Some(_) | None => named.join(", "),
    }
}
