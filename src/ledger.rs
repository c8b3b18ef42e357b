//! Keeps the ledger: what was deployed where, as commits of the branch `bayplan/status`.
//!
//! Takes records of stacks and hosts, and a page for people. Gives them back as they were written, from the local branch
//! or the remote-tracking one, whichever is ahead.
//!
//! Never touches a work tree, an index or another branch, never pushes with force, and never writes over what it cannot
//! read: a file that is newer or broken is an error, so nothing in it is lost.
//!
//! Because the ledger is what remains after a crash, a commit is compared and swapped: of two writers one builds again
//! on what the other wrote.

mod branch;
mod convert;
mod join;
mod remote;
mod wire;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use git2::{ErrorClass, ErrorCode, Repository};

use crate::model::record::{HostRecord, Ledger, Record};
use crate::name::{HostName, Revision, StackSlug};
use crate::source::local::open_repository;
use crate::source::{LEDGER_BRANCH, REMOTE, Source, SourceError, blocking};
use branch::Seen;

/// The version of the files that this program writes, and the newest that it reads.
pub const VERSION: u32 = 1;

/// The folder of the ledger with one file per stack.
pub const STACKS: &str = "status";

/// The file of the ledger with what is known of the hosts, and with the owner.
pub const HOSTS: &str = "hosts.json";

/// The page of the ledger for people.
pub const PAGE: &str = "STATUS.md";

/// Author and committer of the ledger's commits.
pub const COMMITTER: (&str, &str) = ("Bayplan", "bayplan@localhost");

/// Each lost race means that another writer got its commit in; five in a row means that something is wrong.
const TRIES: u32 = 5;

/// Another writer holds the lock for about a millisecond.
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// The ledger of one repository. Cloning it shares what was already read.
#[derive(Clone)]
pub struct StatusBranch(Arc<Inner>);

/// What one commit of the ledger changes.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Whose ledger it is; another owner's is not written to.
    pub owner: String,
    /// Stacks that are not named stay as they are; none removes a stack's file.
    pub records: BTreeMap<StackSlug, Option<Record>>,
    /// All hosts; none: they stay as they are.
    pub hosts: Option<BTreeMap<HostName, HostRecord>>,
    /// The text of `STATUS.md`, about the ledger as it will be; none: it stays as it is.
    pub page: Option<String>,
    /// In a sentence what happened.
    pub message: String,
    /// `Bayplan-…` keys and their values.
    pub trailers: Vec<(String, String)>,
}

/// How a push ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// There is no remote repository named `origin`.
    NoRemote,
    /// The remote repository has it all, or there is no ledger yet.
    UpToDate,
    Done,
    /// The remote ledger had commits that were not here. They are now, beneath the local ones: read the ledger again,
    /// commit what is still to be said, and push again.
    Behind,
}

/// A commit of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerCommit {
    pub revision: Revision,
    /// Without the trailers.
    pub message: String,
    /// `Bayplan-…` keys and their values, in order.
    pub trailers: Vec<(String, String)>,
}

#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("failed to {act}")]
    Git { act: String, source: git2::Error },
    #[error("`{path}` of the ledger (branch {LEDGER_BRANCH}) cannot be read: {why}")]
    Broken { path: String, why: String },
    #[error(
        "`{path}` of the ledger (branch {LEDGER_BRANCH}) has version {version}, and this program reads up to {VERSION}: \
         upgrade it"
    )]
    Newer { path: String, version: u64 },
    #[error("the ledger (branch {LEDGER_BRANCH}) belongs to the owner `{theirs}`, and this is `{ours}`")]
    OtherOwner { theirs: String, ours: String },
    #[error(
        "the ledger's branch is locked by `{path}`: if no other process writes to the repository, remove that file",
        path = path.display()
    )]
    Locked { path: PathBuf },
    #[error("others kept changing the ledger while it was written ({TRIES} tries)")]
    Race,
    #[error("the remote repository refused the ledger: {why}")]
    Refused { why: String },
}

impl LedgerError {
    /// Will waiting help?
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Source(error) => error.is_transient(),
            Self::Git { source, .. } => {
                matches!(source.class(), ErrorClass::Os | ErrorClass::Filesystem)
                    || matches!(source.code(), ErrorCode::Locked | ErrorCode::Modified)
            }
            Self::Locked { .. } | Self::Race | Self::Refused { .. } => true,
            Self::Broken { .. } | Self::Newer { .. } | Self::OtherOwner { .. } => false,
        }
    }
}

/// The ledger in the repository of a source.
///
/// # Errors
/// When the repository cannot be opened.
pub async fn open(source: &Source) -> Result<StatusBranch, LedgerError> {
    let git_dir = source.git_dir().to_owned();
    blocking(move || {
        // Not the source's: a long walk over the history there must not hold up a commit here.
        let repository = open_repository(&git_dir)?;
        Ok(StatusBranch(Arc::new(Inner { repository: Mutex::new(repository), seen: Mutex::default(), git_dir })))
    })
    .await
}

impl StatusBranch {
    /// The ledger at its newest commit; an empty one without a commit if there is none. Files that did not change since
    /// the last call are not read again.
    ///
    /// # Errors
    /// When a file is newer than this program or broken, or an object cannot be read.
    pub async fn read(&self) -> Result<Arc<Ledger>, LedgerError> {
        self.with(|inner| {
            let repository = inner.repository();
            let head = branch::head(&repository)?;
            branch::read(&repository, head, &mut inner.seen())
        })
        .await
    }

    /// Commits a change to the local branch, on top of the newest commit; none when it changes nothing.
    ///
    /// # Errors
    /// When the ledger is another owner's or cannot be read, the branch is locked, or others are faster five times.
    pub async fn commit(&self, change: Change) -> Result<Option<Revision>, LedgerError> {
        let change = Arc::new(change);
        let mut tries = 0;
        loop {
            tries += 1;
            let this_time = Arc::clone(&change);
            let done = self.with(move |inner| branch::commit(&inner.repository(), &this_time, &mut inner.seen())).await;
            match done {
                Err(LedgerError::Race) if tries < TRIES => {}
                Err(LedgerError::Locked { .. }) if tries < TRIES => tokio::time::sleep(LOCK_PAUSE).await,
                done => return done,
            }
        }
    }

    /// Pushes the local branch to `origin`, without force; asks no server when there is nothing new.
    ///
    /// # Errors
    /// When `git` fails, is missing or takes longer than 60 s, the remote repository refuses, or its ledger is another
    /// owner's.
    pub async fn push(&self) -> Result<Pushed, LedgerError> {
        remote::push(self).await
    }

    /// The newest commits of the ledger, the newest first.
    ///
    /// # Errors
    /// When a commit cannot be read.
    pub async fn log(&self, limit: usize) -> Result<Vec<LedgerCommit>, LedgerError> {
        self.with(move |inner| branch::log(&inner.repository(), limit)).await
    }

    /// Runs blocking work on a thread for it.
    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let inner = Arc::clone(&self.0);
        blocking(move || work(&inner)).await
    }
}

struct Inner {
    repository: Mutex<Repository>,
    seen: Mutex<Seen>,
    git_dir: PathBuf,
}

impl Inner {
    fn repository(&self) -> MutexGuard<'_, Repository> {
        self.repository.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn failed(act: &str) -> impl FnOnce(git2::Error) -> LedgerError + use<> {
    let act = act.to_owned();
    move |source| LedgerError::Git { act, source }
}

fn local_ref() -> String {
    format!("refs/heads/{LEDGER_BRANCH}")
}

fn tracking_ref() -> String {
    format!("refs/remotes/{REMOTE}/{LEDGER_BRANCH}")
}
