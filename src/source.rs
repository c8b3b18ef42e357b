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

pub(crate) mod git;
pub(crate) mod history;
pub(crate) mod local;
mod location;
mod mirror;
mod snapshot;
mod trees;
mod work_tree;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use git2::{ErrorClass, ErrorCode, Oid, Repository};

use crate::files::SourceFile;
use crate::name::Revision;
use history::Changes;
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

/// The name of the remote that mirrors fetch from and that the ledger is pushed to.
pub const REMOTE: &str = "origin";

/// A watched repository and branch. Cloning it shares what was already read.
#[derive(Clone)]
pub struct Source(Arc<Inner>);

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
    #[error("failed to make the mirror `{}`", path.display())]
    Mirror { path: PathBuf, source: std::io::Error },
}

impl SourceError {
    /// Will waiting help?
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Git { .. } | Self::Deadline { .. } | Self::Run { .. } | Self::Folder { .. } | Self::Mirror { .. } => {
                true
            }
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
            | Self::NoGit => false,
        }
    }
}

/// Opens the repository at a path or URL. A URL is asked for its default branch if none is given; its commits come with
/// the first [`Source::fetch`].
///
/// `cache` is the folder for mirrors; it is not touched for a path.
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
    Ok(Source(Arc::new(opened)))
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
        &self.0.location
    }

    pub fn branch(&self) -> &str {
        &self.0.branch
    }

    /// The folder with the repository's refs, also for a linked work tree: what to watch for changes.
    pub fn git_dir(&self) -> &Path {
        &self.0.git_dir
    }

    /// The folder that the repository's files are checked out in, if it is local and not bare.
    pub fn work_tree(&self) -> Option<&Path> {
        self.0.work_tree.as_deref()
    }

    /// Whether [`Source::fetch`] must be called to see new commits; else watching `git_dir` is enough.
    pub fn is_mirror(&self) -> bool {
        match self.0.place {
            Place::InPlace => false,
            Place::Mirror => true,
        }
    }

    /// Brings new commits of the branch and of the ledger; nothing to do for a local path.
    ///
    /// # Errors
    /// When `git fetch` fails, is missing or takes longer than 60 s (ten minutes for the first one).
    pub async fn fetch(&self) -> Result<(), SourceError> {
        match self.0.place {
            Place::InPlace => Ok(()),
            Place::Mirror => mirror::fetch(&self.0.git_dir, &self.0.branch).await,
        }
    }

    /// The commit that the branch is at; none: it has no commit yet, or is gone.
    ///
    /// # Errors
    /// When the branch cannot be read.
    pub async fn head(&self) -> Result<Option<Revision>, SourceError> {
        self.with(|inner| {
            let repository = inner.repository();
            commit_of(&repository, &inner.branch_ref).map(|found| found.map(revision))
        })
        .await
    }

    /// The files of a commit. Folders and files that the last snapshot had in the same shape are not read again.
    ///
    /// # Errors
    /// When the commit or one of its objects cannot be read.
    pub async fn snapshot(&self, of: &Revision) -> Result<Snapshot, SourceError> {
        let of = of.clone();
        self.with(move |inner| {
            let repository = inner.repository();
            let mut seen = lock(&inner.seen);
            snapshot::read(&repository, &of, &mut seen)
        })
        .await
    }

    /// Some files of a commit, wherever they are in the tree. A path that the commit does not have is left out.
    ///
    /// # Errors
    /// When the commit or one of its objects cannot be read.
    pub async fn snapshot_paths(&self, of: &Revision, paths: &[String]) -> Result<Snapshot, SourceError> {
        let (of, paths) = (of.clone(), paths.to_vec());
        self.with(move |inner| {
            let repository = inner.repository();
            let mut seen = lock(&inner.seen);
            snapshot::read_paths(&repository, &of, &paths, &mut seen)
        })
        .await
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
        let (head, paths) = (head.clone(), paths.clone());
        self.with(move |inner| {
            let mut changes = lock(&inner.changes);
            history::last_changes(inner, &head, &paths, &mut changes)
        })
        .await
    }

    /// The `Bayplan-…` trailers of the commits that are reachable from `head` and not from `not_before`, the newest
    /// commit first; of at most 10,000 commits.
    ///
    /// # Errors
    /// [`SourceError::NoSuchRevision`] when one of both is not, or no longer, in the repository; else when a commit
    /// cannot be read.
    pub async fn trailers(&self, head: &Revision, not_before: Option<&Revision>) -> Result<Vec<Trailer>, SourceError> {
        let (head, not_before) = (head.clone(), not_before.cloned());
        self.with(move |inner| history::trailers(&inner.repository(), &head, not_before.as_ref())).await
    }

    /// The commit at the end of the line of first parents: it names the repository for the owner label.
    ///
    /// # Errors
    /// [`SourceError::Shallow`] when the clone does not reach it; else when a commit cannot be read.
    pub async fn root_commit(&self, head: &Revision) -> Result<Revision, SourceError> {
        let head = head.clone();
        self.with(move |inner| {
            let mut known = lock(&inner.root);
            history::root_commit(&inner.repository(), &head, &mut known)
        })
        .await
    }

    /// The paths under `stacks/` and `hosts/` that differ between the work tree and what is checked out, sorted.
    /// Ignored files do not count. Empty for a bare repository and for a mirror.
    ///
    /// # Errors
    /// When the work tree cannot be compared.
    pub async fn uncommitted(&self) -> Result<Vec<String>, SourceError> {
        self.with(|inner| match &inner.work_tree {
            Some(work_tree) => local::uncommitted(work_tree),
            None => Ok(Vec::new()),
        })
        .await
    }

    /// Runs blocking work on a thread for it.
    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, SourceError> + Send + 'static,
    ) -> Result<T, SourceError> {
        let inner = Arc::clone(&self.0);
        blocking(move || work(&inner)).await
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Source({} {})", self.0.location, self.0.branch)
    }
}

struct Inner {
    location: String,
    git_dir: PathBuf,
    work_tree: Option<PathBuf>,
    place: Place,
    branch: String,
    branch_ref: String,
    repository: Mutex<Repository>,
    seen: Mutex<Seen>,
    changes: Mutex<Changes>,
    /// A commit and the root of its line of first parents.
    root: Mutex<Option<(Oid, Oid)>>,
}

#[derive(Clone, Copy)]
enum Place {
    /// The user's own repository.
    InPlace,
    /// Ours, below the cache folder.
    Mirror,
}

impl Inner {
    fn new(location: String, repository: Repository, place: Place, branch: String) -> Self {
        let branch_ref = match place {
            Place::InPlace => format!("refs/heads/{branch}"),
            Place::Mirror => format!("refs/remotes/{REMOTE}/{branch}"),
        };
        Self {
            location,
            git_dir: repository.commondir().to_owned(),
            work_tree: match place {
                Place::InPlace => repository.workdir().map(Path::to_owned),
                Place::Mirror => None,
            },
            place,
            branch,
            branch_ref,
            repository: Mutex::new(repository),
            seen: Mutex::default(),
            changes: Mutex::default(),
            root: Mutex::default(),
        }
    }

    fn repository(&self) -> std::sync::MutexGuard<'_, Repository> {
        lock(&self.repository)
    }
}

/// A panic elsewhere leaves nothing half-written behind these locks: they hold handles and what was read.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
            let commit = found.peel_to_commit().map_err(reading(&format!("read the commit of {reference}")))?;
            Ok(Some(commit.id()))
        }
        Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
        Err(error) => Err(reading(&format!("read {reference}"))(error)),
    }
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
