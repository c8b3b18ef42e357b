//! Reads the watched repository: its head, its files and what its history says of them.
//!
//! Takes a path, read in place, or a URL, mirrored below a cache folder; and a branch, which is fixed when opened.
//! Gives the files under `stacks/` and `hosts/` of a commit as texts, what is wrong with the tree, and facts of the
//! history. Work is proportional to what changed since the last call.
//!
//! Never checks anything out, never follows a symlink and never runs a hook. Never shows or passes on a password: a URL
//! that holds one is refused.
//!
//! Because credential helpers, ssh configuration and proxies should work as people know them, the network is the `git`
//! executable's; objects are read by libgit2. libgit2 blocks, so each method works on a thread for blocking work.

pub(crate) mod damage;
pub(crate) mod git;
pub(crate) mod history;
pub(crate) mod home;
pub(crate) mod local;
pub(crate) mod locks;
pub(crate) mod moving;
pub mod authored;
mod carry;
mod location;
pub mod memory;
mod mend;
mod mirror;
pub mod restore;
mod review;
mod snapshot;
pub(crate) mod trees;
mod work_tree;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use git2::{ErrorClass, ErrorCode, Oid, Repository};

use crate::files::SourceFile;
use crate::name::Revision;
use crate::watch::{self, Watch, WatchError};
use history::Changes;
use home::{Handle, Home, MirrorOf, Open};
use location::Location;
use snapshot::Seen;

/// The folders of the watched repository that are read.
pub const ROOTS: [&str; 2] = ["hosts", "stacks"];

/// The most bytes that a file may have.
pub const LARGEST_FILE: u64 = 256 * 1024;

/// The most files that `stacks/` and `hosts/` may hold together.
pub const MOST_FILES: usize = 20_000;

/// The branch of the ledger; it lives in the same repository.
pub const LEDGER_BRANCH: &str = "bayplan/status";

/// Author and committer of the ledger's commits.
pub const LEDGER_COMMITTER: (&str, &str) = ("Bayplan", "bayplan@localhost");

/// The name of the remote that mirrors fetch from and that the ledger is pushed to.
pub const REMOTE: &str = "origin";

/// A watched repository and branch. Cloning it shares what was already read.
#[derive(Clone)]
pub struct Source(Door);

/// Where the repository is.
#[derive(Clone)]
pub(crate) enum Door {
    Git(Arc<Inner>),
    /// In this process ([`memory`]).
    Memory(Arc<memory::Reader>),
}

/// Tells that branches may have moved, until it is dropped.
pub struct Moves(Told);

enum Told {
    Watch(Watch),
    Bell(memory::Bell),
}

impl Moves {
    /// Waits until branches may have moved since the last call. It may be given up at any point and loses nothing.
    ///
    /// # Errors
    /// When the watch is dead; it stays so, and the caller looks from time to time instead.
    pub async fn changed(&mut self) -> Result<(), WatchError> {
        match &mut self.0 {
            Told::Watch(watch) => watch.changed().await,
            Told::Bell(bell) => {
                bell.rung().await;
                Ok(())
            }
        }
    }
}

/// The files of one commit, or of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// None: a folder was read, not a commit.
    pub revision: Option<Revision>,
    /// Sorted by path. Texts are shared between snapshots.
    pub files: Vec<SourceFile>,
    /// Sorted by path. A file with a problem is not in `files`.
    pub problems: Vec<TreeProblem>,
}

/// Something in the tree that is not read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TreeProblem {
    /// Relative to the repository's root; for [`TreeProblemKind::TooMany`] the folder that was not read to its end.
    pub path: Arc<str>,
    pub why: TreeProblemKind,
}

/// Why something in the tree is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TreeProblemKind {
    Symlink,
    Submodule,
    /// More than [`LARGEST_FILE`].
    TooLarge {
        bytes: u64,
    },
    /// The text, or the path itself.
    NotUtf8,
    /// More than [`MOST_FILES`], or ten times as many entries of any kind; `count` is where reading ended.
    TooMany {
        count: usize,
    },
    /// Folders in folders beyond what a person would make.
    TooDeep,
}

/// A `Bayplan-…` line at the end of a commit message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trailer {
    pub revision: Revision,
    /// In the usual spelling: `bayplan-allow-removal` is given as `Bayplan-Allow-Removal`.
    pub key: String,
    pub value: String,
}

/// What may go wrong with the repository as such; wrong files are no error of this door.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("`{location}` is no repository that can be watched: it {why}")]
    Location { location: String, why: String },
    #[error("`{}` is not in a Git repository", path.display())]
    NotARepository { path: PathBuf, source: git2::Error },
    #[error(
        "`{path}` belongs to another user: run as its owner, or say that you trust it with \
         `git config --global --add safe.directory {path}`", path = path.display()
    )]
    OtherUser { path: PathBuf },
    #[error(
        "a branch named `bayplan` blocks the ledger's branch `bayplan/status`: rename it with \
         `git branch -m bayplan NAME`, also in the remote repository"
    )]
    BranchInTheWay,
    #[error("`{branch}` cannot be watched: it {why}")]
    Branch { branch: String, why: String },
    #[error("no branch is checked out in `{}`: name the branch to watch", path.display())]
    Detached { path: PathBuf },
    #[error("`{location}` does not say which branch is its default: name the branch to watch")]
    NoDefaultBranch { location: String },
    #[error(
        "the history ends before its root commit, as this clone is shallow: run `git fetch --unshallow`, or set \
         `owner` in the configuration"
    )]
    Shallow,
    #[error("commit {revision} is not in the repository")]
    NoSuchRevision { revision: Revision },
    #[error("`{name}` names no commit here: fetch it, or write it as `git rev-parse` takes it")]
    NoSuchName { name: String },
    #[error("{head} cannot be merged into {base} as it is, both changed {paths}: merge or rebase it first")]
    Conflict { base: String, head: String, paths: String },
    #[error("the `git` executable was not found: install it, it is needed to fetch and to push")]
    NoGit,
    #[error("failed to run `git {act}`")]
    Run { act: String, source: std::io::Error },
    #[error("`git {act}` failed: {message}")]
    Git { act: String, message: String },
    #[error("`git {act}` did not end within {} s", limit.as_secs())]
    Deadline { act: String, limit: Duration },
    #[error("failed to {act}")]
    Read { act: String, source: git2::Error },
    #[error("failed to read `{}`", path.display())]
    Folder { path: PathBuf, source: std::io::Error },
    #[error(
        "`{}` cannot be written ({why}): make room there, or make it writable for this user", path.display()
    )]
    Unwritable { path: PathBuf, why: String },
    #[error(
        "failed to {act}: the repository `{path}` is damaged; `git -C {path} fsck` shows how: restore it, or clone it \
         again. Nothing in it was changed", path = path.display()
    )]
    Damaged { path: PathBuf, act: String, source: git2::Error },
    #[error("the mirror `{}` is damaged (failed to {act}), and no new one could be made: {why}", path.display())]
    Unmended { path: PathBuf, act: String, why: String },
}

impl SourceError {
    /// Will waiting help?
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Git { .. }
            | Self::Deadline { .. }
            | Self::Run { .. }
            | Self::Folder { .. }
            | Self::Unwritable { .. }
            | Self::Unmended { .. } => true,
            Self::Read { source, .. } => {
                matches!(source.class(), ErrorClass::Os | ErrorClass::Filesystem)
                    || matches!(source.code(), ErrorCode::Locked | ErrorCode::Modified)
            }
            Self::Location { .. }
            | Self::NotARepository { .. }
            | Self::OtherUser { .. }
            | Self::BranchInTheWay
            | Self::Branch { .. }
            | Self::Detached { .. }
            | Self::NoDefaultBranch { .. }
            | Self::Shallow
            | Self::NoSuchRevision { .. }
            | Self::NoSuchName { .. }
            | Self::Conflict { .. }
            | Self::Damaged { .. }
            | Self::NoGit => false,
        }
    }
}

/// Opens the repository at a path or URL. A URL is asked for its default branch if none is given; its commits come with
/// the first [`Source::fetch`].
///
/// `cache` is the folder for mirrors; it is not touched for a path.
///
/// A mirror that is damaged is made anew, now or when that is found out; what was never finished is removed.
///
/// # Errors
/// When the location or the branch is refused, the repository is another user's or none, or a URL does not answer and
/// was not mirrored before.
pub async fn open(location: &str, branch: Option<&str>, cache: &Path) -> Result<Source, SourceError> {
    let opened = match location::read(location)? {
        Location::Path(path) => {
            let branch = branch.map(str::to_owned);
            blocking(move || local::open(&path, branch.as_deref())).await?
        }
        Location::Url(url) => mirror::open(&url, branch, cache).await?,
    };
    Ok(Source(Door::Git(Arc::new(opened))))
}

/// Reads the folders `stacks/` and `hosts/` below a path as they are on disk, with the same limits as for a commit.
/// No Git is needed; symlinks are problems.
///
/// # Errors
/// When a folder or a file cannot be read.
pub async fn read_work_tree(path: &Path) -> Result<Snapshot, SourceError> {
    let path = path.to_owned();
    blocking(move || work_tree::read(&path)).await
}

impl Source {
    /// The path or URL as it was given.
    pub fn location(&self) -> &str {
        match &self.0 {
            Door::Git(inner) => &inner.location,
            Door::Memory(memory) => memory.repository.name(),
        }
    }

    pub fn branch(&self) -> &str {
        match &self.0 {
            Door::Git(inner) => &inner.branch,
            Door::Memory(memory) => &memory.branch,
        }
    }

    /// The folder with the repository's refs, also for a linked work tree.
    pub fn git_dir(&self) -> &Path {
        match &self.0 {
            Door::Git(inner) => inner.home().git_dir(),
            Door::Memory(memory) => &memory.git_dir,
        }
    }

    /// The folder that the repository's files are checked out in, if it is local and not bare.
    pub fn work_tree(&self) -> Option<&Path> {
        match &self.0 {
            Door::Git(inner) => inner.work_tree.as_deref(),
            Door::Memory(_) => None,
        }
    }

    /// Whether [`Source::fetch`] must be called to see new commits; else [`Source::moves`] tells of them.
    pub fn is_mirror(&self) -> bool {
        match &self.0 {
            Door::Git(inner) => inner.home().is_mirror(),
            Door::Memory(memory) => memory.place == memory::Place::Mirror,
        }
    }

    /// What tells of branches that move in the repository itself, but not of the ledger's.
    ///
    /// `quiet`: how long nothing must happen before [`Moves::changed`] answers, so that one push is one change.
    ///
    /// # Errors
    /// When the machine's limit of watches is reached, or the repository is gone.
    pub fn moves(&self, quiet: Duration) -> Result<Moves, WatchError> {
        Ok(Moves(match &self.0 {
            Door::Git(inner) => Told::Watch(watch::watch(inner.home().git_dir(), quiet)?),
            Door::Memory(memory) => Told::Bell(memory.bell()),
        }))
    }

    /// Brings new commits of the branch and of the ledger; nothing to do for a local path.
    ///
    /// # Errors
    /// When `git fetch` fails, is missing or takes longer than 60 s (ten minutes for the first one).
    pub async fn fetch(&self) -> Result<(), SourceError> {
        match &self.0 {
            Door::Git(inner) if inner.home().is_mirror() => mirror::fetch(inner.home(), &inner.branch).await,
            Door::Git(_) => Ok(()),
            Door::Memory(memory) => memory.fetch().await,
        }
    }

    /// Packs what many fetches brought; nothing to do for a local path, which is somebody else's.
    ///
    /// # Errors
    /// When `git gc` fails or takes longer than ten minutes.
    pub async fn tidy_up(&self) -> Result<(), SourceError> {
        match &self.0 {
            Door::Git(inner) if inner.home().is_mirror() => mirror::tidy_up(inner.home()).await,
            Door::Git(_) | Door::Memory(_) => Ok(()),
        }
    }

    /// The commit that the branch is at; none: it has no commit yet, or is gone.
    ///
    /// # Errors
    /// When the branch cannot be read.
    pub async fn head(&self) -> Result<Option<Revision>, SourceError> {
        match &self.0 {
            Door::Git(inner) => {
                with(inner, |inner| {
                    let repository = inner.repository()?;
                    commit_of(&repository, &inner.branch_ref).map(|found| found.map(revision))
                })
                .await
            }
            Door::Memory(memory) => memory.head().await,
        }
    }

    /// The files of a commit. Folders and files that the last snapshot had in the same shape are not read again.
    ///
    /// # Errors
    /// When the commit or one of its objects cannot be read.
    pub async fn snapshot(&self, of: &Revision) -> Result<Snapshot, SourceError> {
        match &self.0 {
            Door::Git(inner) => {
                let of = of.clone();
                with(inner, move |inner| {
                    let repository = inner.repository()?;
                    let mut seen = lock(&inner.seen);
                    snapshot::read(&repository, &of, &mut seen)
                })
                .await
            }
            Door::Memory(memory) => memory.snapshot(of).await,
        }
    }

    /// Some files of a commit, wherever they are in the tree. A path that the commit does not have is left out.
    ///
    /// # Errors
    /// When the commit or one of its objects cannot be read.
    pub async fn snapshot_paths(&self, of: &Revision, paths: &[String]) -> Result<Snapshot, SourceError> {
        match &self.0 {
            Door::Git(inner) => {
                let (of, paths) = (of.clone(), paths.to_vec());
                with(inner, move |inner| {
                    let repository = inner.repository()?;
                    let mut seen = lock(&inner.seen);
                    snapshot::read_paths(&repository, &of, &paths, &mut seen)
                })
                .await
            }
            Door::Memory(memory) => memory.snapshot_paths(of, paths).await,
        }
    }

    /// The latest commit that changed each path, as `git log -1 PATH` names it. Paths that no commit ever had are left
    /// out. One walk serves all paths, so ask for all at once; the next call walks only commits that are new.
    ///
    /// A walk ends after 50,000 commits: what is older is given the commit that the walk ended at.
    ///
    /// # Errors
    /// When a commit or a tree cannot be read.
    pub async fn last_changes(
        &self,
        head: &Revision,
        paths: &BTreeSet<Arc<str>>,
    ) -> Result<BTreeMap<Arc<str>, Revision>, SourceError> {
        match &self.0 {
            Door::Git(inner) => {
                let (head, paths) = (head.clone(), paths.clone());
                with(inner, move |inner| {
                    let mut changes = lock(&inner.changes);
                    history::last_changes(inner, &head, &paths, &mut changes)
                })
                .await
            }
            Door::Memory(memory) => memory.last_changes(head, paths).await,
        }
    }

    /// The paths under `stacks/` and `hosts/` that differ between the work tree and what is checked out, sorted.
    /// Ignored files do not count. Empty for a bare repository and for a mirror.
    ///
    /// # Errors
    /// When the work tree cannot be compared.
    pub async fn uncommitted(&self) -> Result<Vec<String>, SourceError> {
        match &self.0 {
            Door::Git(inner) => {
                with(inner, |inner| match &inner.work_tree {
                    Some(work_tree) => local::uncommitted(work_tree),
                    None => Ok(Vec::new()),
                })
                .await
            }
            Door::Memory(_) => Ok(Vec::new()),
        }
    }

    pub(crate) fn door(&self) -> &Door {
        &self.0
    }

    fn in_memory(reader: memory::Reader) -> Self {
        Self(Door::Memory(Arc::new(reader)))
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Source({} {})", self.location(), self.branch())
    }
}

pub(crate) struct Inner {
    location: String,
    work_tree: Option<PathBuf>,
    branch: String,
    branch_ref: String,
    repository: Handle,
    seen: Mutex<Seen>,
    changes: Mutex<Changes>,
    /// A commit and the root of its line of first parents.
    root: Mutex<Option<(Oid, Oid)>>,
}

impl Inner {
    fn new(location: String, repository: Repository, mirror: Option<MirrorOf>, branch: String) -> Self {
        let (branch_ref, work_tree) = match mirror {
            None => (format!("refs/heads/{branch}"), repository.workdir().map(Path::to_owned)),
            Some(_) => (format!("refs/remotes/{REMOTE}/{branch}"), None),
        };
        let home = Home::new(repository.commondir().to_owned(), mirror);
        Self {
            location,
            work_tree,
            branch,
            branch_ref,
            repository: Handle::new(home, repository),
            seen: Mutex::default(),
            changes: Mutex::default(),
            root: Mutex::default(),
        }
    }

    pub(crate) fn home(&self) -> &Arc<Home> {
        &self.repository.home
    }

    fn repository(&self) -> Result<Open<'_>, SourceError> {
        self.repository.repository()
    }
}

/// A panic elsewhere leaves nothing half-written behind these locks: they hold handles and what was read.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs blocking work with the repository on a thread for it.
async fn with<T: Send + 'static>(
    inner: &Arc<Inner>,
    work: impl Fn(&Inner) -> Result<T, SourceError> + Send + Sync + 'static,
) -> Result<T, SourceError> {
    home::sound(inner, |inner| &inner.repository, work).await
}

/// Runs blocking work on a thread for it.
pub(crate) async fn blocking<T: Send + 'static, E: Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, E> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(stopped) => match stopped.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => panic!("work that has begun is not cancelled, and none begins while the program ends"),
        },
    }
}

fn commit_of(repository: &Repository, reference: &str) -> Result<Option<Oid>, SourceError> {
    match repository.find_reference(reference) {
        Ok(found) => {
            let commit = commit_at(repository, &found).map_err(reading(&format!("read the commit of {reference}")))?;
            Ok(Some(commit))
        }
        Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
        Err(error) => Err(reading(&format!("read {reference}"))(error)),
    }
}

/// The commit of a branch. To peel it would say less of an object that is damaged.
pub(crate) fn commit_at(repository: &Repository, branch: &git2::Reference<'_>) -> Result<Oid, git2::Error> {
    let resolved = branch.resolve()?;
    let id = resolved.target().ok_or_else(|| git2::Error::from_str("it names no object"))?;
    Ok(repository.find_commit(id)?.id())
}

fn revision(id: Oid) -> Revision {
    Revision::new(&id.to_string()).expect("an object id is a full commit id")
}

fn find_commit<'r>(repository: &'r Repository, of: &Revision) -> Result<git2::Commit<'r>, SourceError> {
    let id = Oid::from_str(of.as_str()).map_err(|_| SourceError::NoSuchRevision { revision: of.clone() })?;
    repository.find_commit(id).map_err(|error| {
        if error.code() == ErrorCode::NotFound {
            SourceError::NoSuchRevision { revision: of.clone() }
        } else {
            reading(&format!("read commit {of}"))(error)
        }
    })
}

fn reading(act: &str) -> impl FnOnce(git2::Error) -> SourceError + use<> {
    let act = act.to_owned();
    move |source| SourceError::Read { act, source }
}
