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
pub mod history;
mod join;
mod memory;
pub mod notes;
mod remote;
mod wire;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use git2::{ErrorClass, ErrorCode, Oid};

use crate::model::record::{HostRecord, Ledger, Record};
use crate::name::{HostName, Revision, StackSlug};
use crate::source::damage::{is_damage, unwritable};
use crate::source::home::{self, Handle, Home, Open, Wound};
use crate::source::local::open_repository;
use crate::source::{Door as SourceDoor, LEDGER_BRANCH, REMOTE, Source, SourceError, blocking};
use crate::source::{locks, moving};
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
pub const COMMITTER: (&str, &str) = crate::source::LEDGER_COMMITTER;

/// Each lost race means that another writer got its commit in; five in a row means that something is wrong.
const TRIES: u32 = 5;

/// Another writer holds the lock for about a millisecond.
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// The ledger of one repository. Cloning it shares what was already read.
#[derive(Clone)]
pub struct StatusBranch(Door);

/// Where its repository is.
#[derive(Clone)]
enum Door {
    Git(Arc<Inner>),
    /// In this process.
    Memory(Arc<memory::Keeper>),
}

/// The trailers that the ledger itself reads again: the head that a commit was made for, and who made it.
pub const REVISION: &str = "Bayplan-Revision";
pub const CONTROLLER: &str = "Bayplan-Controller";
/// The commit of the watched branch that something was last deployed for; what was only noted since is not. `none`: nothing
/// ever was.
pub const DEPLOYED: &str = "Bayplan-Deployed";
pub const NEVER: &str = "none";
/// The commit of the ledger that placement used.
pub const INPUTS: &str = "Bayplan-Inputs";

/// The trailer that names a plan by its digest: in the ledger the one that was begun, in the watched branch the one that was
/// reviewed.
pub const PLAN: &str = "Bayplan-Plan";

/// A commit of the ledger: its trailers, and the commits beneath it.
struct Told<Id> {
    trailers: Vec<(String, String)>,
    parents: Vec<Id>,
}

/// Others write a few commits between two of ours, not more.
const MOST_BY_OTHERS: usize = 1_000;

/// The commit that something was last deployed for, and who made the ledger's newest commit. One that joins two says what
/// they do; one that says nothing, because a person or another program made it, leaves it as those beneath it say.
fn told_by<Id>(
    newest: Id,
    mut look: impl FnMut(&Id) -> Result<Told<Id>, LedgerError>,
) -> Result<(Option<Revision>, Option<String>), LedgerError> {
    let value =
        |told: &Told<Id>, key: &str| told.trailers.iter().find(|(name, _)| name == key).map(|(_, value)| value.clone());
    let mut controller = None;
    let mut next = Some(newest);
    for tries in 0..MOST_BY_OTHERS {
        let Some(id) = next else { break };
        let mut told = look(&id)?;
        if told.parents.len() > 1 {
            for parent in &told.parents {
                let of_parent = look(parent)?.trailers;
                told.trailers.extend(of_parent);
            }
        }
        if tries == 0 {
            controller = value(&told, CONTROLLER);
        }
        // Older programs named only the commit that a pass was done for.
        let Some(said) = value(&told, DEPLOYED).or_else(|| value(&told, REVISION)) else {
            next = told.parents.into_iter().next();
            continue;
        };
        if said == NEVER {
            return Ok((None, controller));
        }
        if let Ok(deployed) = Revision::new(&said) {
            return Ok((Some(deployed), controller));
        }
        next = told.parents.into_iter().next();
    }
    Ok((None, controller))
}

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
    let home = match source.door() {
        SourceDoor::Git(watched) => Arc::clone(watched.home()),
        SourceDoor::Memory(reader) => {
            let keeper = memory::Keeper::of(reader.repository.clone());
            return Ok(StatusBranch(Door::Memory(Arc::new(keeper))));
        }
    };
    blocking(move || {
        // Not the source's: a long walk over the history there must not hold up a commit here.
        let inner = Inner { repository: Handle::open(home)?, seen: Mutex::default() };
        Ok(StatusBranch(Door::Git(Arc::new(inner))))
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
        match &self.0 {
            Door::Git(inner) => {
                with(inner, |inner| {
                    let repository = inner.repository()?;
                    let head = branch::head(&repository)?;
                    branch::read(&repository, head, &mut inner.seen())
                })
                .await
            }
            Door::Memory(keeper) => keeper.read().await,
        }
    }

    /// Reads what the ledger said at one of its commits.
    ///
    /// # Errors
    /// As [`StatusBranch::read`], and when there is no such commit here.
    pub async fn read_at(&self, commit: &Revision) -> Result<Arc<Ledger>, LedgerError> {
        match &self.0 {
            Door::Git(inner) => {
                let commit = commit.clone();
                with(inner, move |inner| {
                    let id = Oid::from_str(commit.as_str()).map_err(failed("read a commit of the ledger"))?;
                    branch::read(&*inner.repository()?, Some(id), &mut inner.seen())
                })
                .await
            }
            Door::Memory(keeper) => keeper.read().await,
        }
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
            let done = match &self.0 {
                Door::Git(inner) => {
                    let change = Arc::clone(&change);
                    let commit = move |inner: &Inner| branch::commit(&*inner.repository()?, &change, &mut inner.seen());
                    with(inner, commit).await.map_err(|error| error.if_unwritable(inner.home()))
                }
                Door::Memory(keeper) => keeper.commit(&change).await,
            };
            match done {
                Err(LedgerError::Race) if tries < TRIES => {}
                Err(LedgerError::Locked { .. }) if tries < TRIES => tokio::time::sleep(LOCK_PAUSE).await,
                Err(LedgerError::Locked { .. }) if self.remove_stale_locks().await => {}
                done => return done,
            }
        }
    }

    /// Takes away the lock of one of us who was killed while it moved a branch, also one that is not the ledger's: somebody
    /// else may wait for it. Nothing if there is none.
    pub async fn clear_locks(&self) -> Result<(), LedgerError> {
        match &self.0 {
            Door::Git(inner) => with(inner, |inner| Ok(moving::clear(inner.repository()?.commondir()))).await.map(drop),
            Door::Memory(_) => Ok(()),
        }
    }

    async fn remove_stale_locks(&self) -> bool {
        match &self.0 {
            Door::Git(inner) => inner.remove_stale_locks().await,
            Door::Memory(_) => false,
        }
    }

    /// Pushes the local branch to `origin`, without force; asks no server when there is nothing new.
    ///
    /// # Errors
    /// When `git` fails, is missing or takes longer than 60 s, the remote repository refuses, or its ledger is another
    /// owner's.
    pub async fn push(&self) -> Result<Pushed, LedgerError> {
        match &self.0 {
            Door::Git(inner) => remote::push(inner, remote::LEDGER).await,
            Door::Memory(keeper) => keeper.push().await,
        }
    }

    /// The newest commits of the ledger, the newest first.
    ///
    /// # Errors
    /// When a commit cannot be read.
    pub async fn log(&self, limit: usize) -> Result<Vec<LedgerCommit>, LedgerError> {
        match &self.0 {
            Door::Git(inner) => with(inner, move |inner| branch::log(&*inner.repository()?, limit)).await,
            Door::Memory(keeper) => keeper.log(limit).await,
        }
    }
}

/// Runs blocking work with the repository on a thread for it.
async fn with<T: Send + 'static>(
    inner: &Arc<Inner>,
    work: impl Fn(&Inner) -> Result<T, LedgerError> + Send + Sync + 'static,
) -> Result<T, LedgerError> {
    home::sound(inner, |inner| &inner.repository, work).await
}

impl LedgerError {
    fn if_unwritable(self, home: &Home) -> Self {
        match &self {
            Self::Git { source, .. } => match unwritable(source) {
                Some(why) => SourceError::Unwritable { path: home.git_dir().to_owned(), why }.into(),
                None => self,
            },
            Self::Source(_)
            | Self::Broken { .. }
            | Self::Newer { .. }
            | Self::OtherOwner { .. }
            | Self::Locked { .. }
            | Self::Race
            | Self::Refused { .. } => self,
        }
    }
}

impl Wound for LedgerError {
    fn into_damage(self, home: &Home) -> Result<(String, git2::Error), Self> {
        if let Self::Git { act, source } = self {
            return if is_damage(&source) { Ok((act, source)) } else { Err(Self::Git { act, source }) };
        }
        if let Self::Source(error) = self {
            return error.into_damage(home).map_err(Self::Source);
        }
        Err(self)
    }
}

struct Inner {
    repository: Handle,
    seen: Mutex<Seen>,
}

impl Inner {
    fn repository(&self) -> Result<Open<'_>, LedgerError> {
        Ok(self.repository.repository()?)
    }

    fn home(&self) -> &Arc<Home> {
        &self.repository.home
    }

    /// Removes what a killed process left, in a repository of the user's only what was ours; says whether there was anything.
    async fn remove_stale_locks(&self) -> bool {
        let (git_dir, is_mirror) = (self.home().git_dir().to_owned(), self.home().is_mirror());
        let removed = blocking(move || {
            let was_ours = moving::clear(open_repository(&git_dir)?.commondir());
            Ok::<_, LedgerError>(was_ours || (is_mirror && !locks::remove_stale(&git_dir).is_empty()))
        });
        removed.await.unwrap_or(false)
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
