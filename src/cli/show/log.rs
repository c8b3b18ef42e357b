//! What happens, as lines of a log: what came of each push, for whoever reads no terminal.
//!
//! Takes events in order. Writes a line for each thing that is new; what engines and Git say of themselves is logged where it
//! happens.

use std::collections::BTreeSet;

use crate::controller::Event;
use crate::reconcile::Pass;

/// What was said of the last pass, so that the same is not said each minute.
#[derive(Debug, Default)]
pub struct Logged {
    said: BTreeSet<(String, String)>,
}

impl Logged {
    pub fn hear(&mut self, event: &Event) {
        match event {
            Event::Passed(pass) => self.passed(pass),
            Event::Committed { revision, message } => {
                let subject = message.lines().next().unwrap_or_default();
                tracing::info!(commit = %revision.short(), "ledger: {subject}");
            }
            Event::Ended(ended) => {
                let (stack, status) = (&ended.stack, ended.status.map_or("removed", |status| status.as_str()));
                match ended.failures.first() {
                    None => tracing::info!(%stack, status, "the stack's steps ended"),
                    Some(failure) => {
                        let (host, step, why) = (&failure.host, &failure.what, &failure.why);
                        tracing::error!(%stack, status, %host, step, why, "the stack's steps failed");
                    }
                }
            }
            Event::TriesAgain { stack, after } => {
                tracing::info!(%stack, seconds = after.as_secs(), "the stack is tried again");
            }
            Event::PassFailed(_)
            | Event::Progress(_)
            | Event::OtherController(_)
            | Event::FetchFailed(_)
            | Event::FetchedAgain
            | Event::PushFailed(_)
            | Event::PushedAgain => {}
        }
    }

    fn passed(&mut self, pass: &Pass) {
        let holds = pass.plan.all_holds().map(|(_, hold)| (hold.name().to_owned(), hold.to_string()));
        let problems = pass.report.iter().map(|problem| {
            let place = problem.place().map(|at| format!("{at}: ")).unwrap_or_default();
            (problem.code.as_str().to_owned(), format!("{place}{}", problem.message))
        });
        let now: BTreeSet<(String, String)> = holds.chain(problems).collect();
        for (reason, what) in now.difference(&self.said) {
            tracing::warn!(revision = %pass.revision.short(), reason, "{what}");
        }
        self.said = now;
    }
}
