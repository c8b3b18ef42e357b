//! Runs passes and carries their plans out.
//!
//! Takes a site. Gives a settled fleet, once ([`once`]) or for as long as it is let ([`run`]).
//!
//! Never runs two passes at once, nor two applies of one stack. A stack that waits or fails delays no other.
//!
//! Because a trigger carries no data, a push, a timer, a dead container and a retry are all the same: another pass.

pub mod once;
pub mod report;
pub mod run;
mod hand;
mod notes;
mod pause;
mod retries;
mod steady;
mod tries;
mod trigger;
mod write;

use std::time::Duration;

use crate::apply::Progress;
use crate::model::record::StackStatus;
use crate::name::{Revision, StackSlug};
use crate::plan::outcome::Failure;
use crate::reconcile::Pass;

/// What happens, for whoever watches: a terminal, a log.
#[derive(Debug, Clone)]
pub enum Event {
    /// A pass was done.
    Passed(Box<Pass>),
    /// A pass could not be done; the error's chain.
    PassFailed(String),
    Progress(Progress),
    Ended(Ended),
    /// What failed may pass: it is tried again after this time.
    TriesAgain {
        stack: StackSlug,
        after: Duration,
    },
    /// The ledger has a new commit.
    Committed {
        revision: Revision,
        message: String,
    },
    /// Another controller, known by this name, writes the same ledger.
    OtherController(String),
    /// The remote repository could not be fetched; what is here goes on. Said once, until it is back.
    FetchFailed(String),
    /// It could be, after it could not.
    FetchedAgain,
    /// The ledger could not be pushed; deploying does not depend on it. Said once, until it could be.
    PushFailed(String),
    PushedAgain,
}

/// How one apply of a stack ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Ended {
    pub stack: StackSlug,
    /// None: nothing of the stack is left.
    pub status: Option<StackStatus>,
    pub failures: Vec<Failure>,
}
