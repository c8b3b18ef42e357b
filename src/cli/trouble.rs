//! What ends a command early, and how it is told.
//!
//! Because errors keep their causes until here: the chain is printed once, at the border.

use std::error::Error;
use std::fmt::Write as _;

use crate::cli::exit::Exit;
use crate::cli::show::paint::{BAD, FAINT, painted};
use crate::forge::ForgeError;
use crate::ledger::LedgerError;
use crate::reconcile::PassError;
use crate::reconcile::rollback::RollbackError;
use crate::source::SourceError;
use crate::source::restore::RestoreError;
use crate::web::WebError;

/// An error, or a report that was shown already.
#[derive(Debug)]
pub struct Trouble {
    exit: Exit,
    error: Option<Box<dyn Error + Send + Sync>>,
}

impl Trouble {
    /// The command line asks for what cannot be.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, error: Some(message.into().into()) }
    }

    /// The world did not do its part.
    pub fn world(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { exit: Exit::World, error: Some(error.into()) }
    }

    /// What was wrong has been shown.
    pub fn shown(exit: Exit) -> Self {
        Self { exit, error: None }
    }

    pub fn exit(&self) -> Exit {
        self.exit
    }

    /// The error and its causes, a line each; empty when it was shown already.
    pub fn text(&self) -> String {
        let Some(error) = &self.error else { return String::new() };
        let mut text = format!("{} {error}\n", painted(BAD, "error:"));
        let mut last = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            let message = error.to_string();
            // A transparent error says the words of its cause.
            if message != last {
                let _ = writeln!(text, "  {} {message}", painted(FAINT, "because:"));
            }
            last = message;
            cause = error.source();
        }
        text
    }
}

impl From<SourceError> for Trouble {
    fn from(error: SourceError) -> Self {
        Self { exit: of_source(&error), error: Some(error.into()) }
    }
}

impl From<LedgerError> for Trouble {
    fn from(error: LedgerError) -> Self {
        Self { exit: of_ledger(&error), error: Some(error.into()) }
    }
}

impl From<ForgeError> for Trouble {
    fn from(error: ForgeError) -> Self {
        let exit = match &error {
            ForgeError::Address { .. } | ForgeError::Authorities { .. } => Exit::Usage,
            ForgeError::Reach { .. }
            | ForgeError::Deadline { .. }
            | ForgeError::Refused { .. }
            | ForgeError::Answer { .. } => Exit::World,
        };
        Self { exit, error: Some(error.into()) }
    }
}

impl From<WebError> for Trouble {
    fn from(error: WebError) -> Self {
        Self::world(error)
    }
}

impl From<PassError> for Trouble {
    fn from(error: PassError) -> Self {
        let exit = match &error {
            PassError::NoCommit { .. } => Exit::Repository,
            PassError::Rewritten { .. } => Exit::Held,
            PassError::Source(error) => of_source(error),
            PassError::Ledger(error) => of_ledger(error),
            PassError::Supposed(_) => Exit::Usage,
        };
        Self { exit, error: Some(error.into()) }
    }
}

impl From<RollbackError> for Trouble {
    fn from(error: RollbackError) -> Self {
        let exit = match &error {
            RollbackError::NoCommit { .. } | RollbackError::Taken { .. } => Exit::Repository,
            RollbackError::NoSuchStack { .. }
            | RollbackError::NotThere { .. }
            | RollbackError::NothingBefore { .. } => Exit::Usage,
            RollbackError::Source(error) => of_source(error),
            RollbackError::Ledger(error) => of_ledger(error),
        };
        Self { exit, error: Some(error.into()) }
    }
}

impl From<RestoreError> for Trouble {
    fn from(error: RestoreError) -> Self {
        let exit = match &error {
            RestoreError::Source(error) => of_source(error),
            RestoreError::NoIdentity | RestoreError::BranchTaken { .. } => Exit::Usage,
            RestoreError::Moved { .. } | RestoreError::NotTaken { .. } => Exit::World,
        };
        Self { exit, error: Some(error.into()) }
    }
}

/// A repository that was named wrongly is a matter of the command line; one that does not answer is not.
fn of_source(error: &SourceError) -> Exit {
    match error {
        SourceError::Location { .. }
        | SourceError::NotARepository { .. }
        | SourceError::OtherUser { .. }
        | SourceError::BranchInTheWay
        | SourceError::Branch { .. }
        | SourceError::Detached { .. }
        | SourceError::NoDefaultBranch { .. }
        | SourceError::NoSuchName { .. }
        | SourceError::Shallow => Exit::Usage,
        SourceError::Conflict { .. } => Exit::Repository,
        SourceError::NoSuchRevision { .. }
        | SourceError::NoGit
        | SourceError::Run { .. }
        | SourceError::Git { .. }
        | SourceError::Deadline { .. }
        | SourceError::Read { .. }
        | SourceError::Folder { .. }
        | SourceError::Unwritable { .. }
        | SourceError::Damaged { .. }
        | SourceError::Unmended { .. } => Exit::World,
    }
}

fn of_ledger(error: &LedgerError) -> Exit {
    match error {
        LedgerError::Source(error) => of_source(error),
        LedgerError::OtherOwner { .. } => Exit::Held,
        LedgerError::Git { .. }
        | LedgerError::Broken { .. }
        | LedgerError::Newer { .. }
        | LedgerError::Locked { .. }
        | LedgerError::Race
        | LedgerError::Refused { .. } => Exit::World,
    }
}
