//! Commits files as an older commit has them, on top of the branch.
//!
//! Takes the commit to build on, the one to restore from, and the paths that go and that come back. Gives the new commit,
//! on a new branch or on the watched one.
//!
//! Never touches a work tree, an index, or a branch that is checked out: a branch is compared and swapped, and a branch of
//! a remote repository is pushed to without force. What is not named stays as it is, byte for byte.

use std::sync::Arc;
use std::time::Duration;

use git2::build::TreeUpdateBuilder;
use git2::{ErrorCode, FileMode, Oid, Repository};

use super::git::run;
use super::moving::{Expected, Unmoved, move_reference};
use super::{Door, Inner, REMOTE, Source, SourceError, find_commit, reading, revision, with};
use crate::name::Revision;

/// A server that has not answered by then will not do so for the sake of a few seconds more.
const PUSH_LIMIT: Duration = Duration::from_secs(60);

/// What the new commit is.
#[derive(Debug, Clone)]
pub struct Restoring {
    /// The commit of the branch that it is built on.
    pub head: Revision,
    pub from: Revision,
    pub removed: Vec<Arc<str>>,
    pub restored: Vec<Arc<str>>,
    pub message: String,
    pub onto: Onto,
}

/// Where the new commit is put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Onto {
    NewBranch(String),
    /// On the watched branch; where that is checked out, on this new one instead.
    Watched {
        or: String,
    },
}

/// Where the new commit is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Restored {
    /// The files are the same at the head already: there is none.
    Same,
    NewBranch {
        commit: Revision,
        branch: String,
    },
    /// On a new branch, as the watched one is checked out: only who has it there may move it.
    CheckedOut {
        commit: Revision,
        branch: String,
    },
    Watched {
        commit: Revision,
    },
}

/// Why nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(
        "nobody is configured to be the commit's author: say who you are with `git config user.name NAME` and \
         `git config user.email ADDRESS`"
    )]
    NoIdentity,
    #[error("there is a branch {branch} already: merge it, or delete it with `git branch -D {branch}`")]
    BranchTaken { branch: String },
    #[error("{branch} moved on meanwhile: do it again")]
    Moved { branch: String },
    #[error("the remote repository did not take {branch}: nothing was changed")]
    NotTaken { branch: String, source: SourceError },
}

impl RestoreError {
    /// Will waiting help?
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Source(error) | Self::NotTaken { source: error, .. } => error.is_transient(),
            Self::Moved { .. } => true,
            Self::NoIdentity | Self::BranchTaken { .. } => false,
        }
    }
}

impl Source {
    /// Makes the commit, unless it would change nothing.
    ///
    /// # Errors
    /// When nobody is configured as its author, a branch is in the way or moved, the remote repository refuses, or
    /// objects cannot be read or written.
    pub async fn restore(&self, restoring: &Restoring) -> Result<Restored, RestoreError> {
        let Door::Git(inner) = self.door() else { return Err(RestoreError::NoIdentity) };
        let what = restoring.clone();
        let made = with(inner, move |inner| make(&*inner.repository()?, &what)).await?;
        let commit = match made {
            Made::Same => return Ok(Restored::Same),
            Made::NoIdentity => return Err(RestoreError::NoIdentity),
            Made::Commit(commit) => commit,
        };
        if inner.home().is_mirror() {
            return push(inner, commit, &restoring.onto).await;
        }
        let (branch, head, onto) = (inner.branch.clone(), restoring.head.clone(), restoring.onto.clone());
        let put = with(inner, move |inner| put(&*inner.repository()?, &branch, &head, &commit, &onto)).await?;
        put.map_err(|blocked| match blocked {
            Blocked::Taken(branch) => RestoreError::BranchTaken { branch },
            Blocked::Moved(branch) => RestoreError::Moved { branch },
        })
    }
}

enum Made {
    Same,
    NoIdentity,
    Commit(Revision),
}

fn make(repository: &Repository, restoring: &Restoring) -> Result<Made, SourceError> {
    let building = || reading("build the tree of the restored files");
    let head = find_commit(repository, &restoring.head)?;
    let base = head.tree().map_err(building())?;
    let from = find_commit(repository, &restoring.from)?.tree().map_err(building())?;
    let mut update = TreeUpdateBuilder::new();
    for path in restoring.removed.iter().filter(|path| !restoring.restored.contains(path)) {
        update.remove(path.as_bytes());
    }
    for path in &restoring.restored {
        let entry = from.get_path(path.as_ref().as_ref()).map_err(building())?;
        let mode = if entry.filemode() == 0o100_755 { FileMode::BlobExecutable } else { FileMode::Blob };
        update.upsert(path.as_bytes(), entry.id(), mode);
    }
    let tree = update.create_updated(repository, &base).map_err(building())?;
    if tree == base.id() {
        return Ok(Made::Same);
    }
    let author = match repository.signature() {
        Ok(author) => author,
        Err(error) if matches!(error.code(), ErrorCode::NotFound | ErrorCode::Invalid) => return Ok(Made::NoIdentity),
        Err(error) => return Err(reading("read who the author is")(error)),
    };
    let writing = || reading("write the commit");
    let tree = repository.find_tree(tree).map_err(writing())?;
    let commit = repository.commit(None, &author, &author, &restoring.message, &tree, &[&head]).map_err(writing())?;
    Ok(Made::Commit(revision(commit)))
}

/// A branch that cannot be put where it should be.
enum Blocked {
    Taken(String),
    Moved(String),
}

fn put(
    repository: &Repository,
    watched: &str,
    head: &Revision,
    commit: &Revision,
    onto: &Onto,
) -> Result<Result<Restored, Blocked>, SourceError> {
    let moving = || reading("move the branch");
    let id = |revision: &Revision| Oid::from_str(revision.as_str()).map_err(moving());
    let local = |branch: &str| format!("refs/heads/{branch}");
    let (new_branch, is_checked_out) = match onto {
        Onto::NewBranch(branch) => (branch, false),
        Onto::Watched { or } => {
            if !is_checked_out(repository, &local(watched)) {
                let (commit_id, head) = (id(commit)?, id(head)?);
                return match move_reference(repository, &local(watched), Expected::At(head), commit_id, "rollback") {
                    Ok(()) => Ok(Ok(Restored::Watched { commit: commit.clone() })),
                    Err(Unmoved::Elsewhere) => Ok(Err(Blocked::Moved(watched.to_owned()))),
                    Err(Unmoved::Locked { source, .. } | Unmoved::Failed(source)) => Err(moving()(source)),
                };
            }
            (or, true)
        }
    };
    let (commit, branch) = (commit.clone(), new_branch.clone());
    match move_reference(repository, &local(new_branch), Expected::Nowhere, id(&commit)?, "rollback") {
        Ok(()) if is_checked_out => Ok(Ok(Restored::CheckedOut { commit, branch })),
        Ok(()) => Ok(Ok(Restored::NewBranch { commit, branch })),
        Err(Unmoved::Elsewhere) => Ok(Err(Blocked::Taken(branch))),
        Err(Unmoved::Locked { source, .. } | Unmoved::Failed(source)) => Err(moving()(source)),
    }
}

/// Whether a work tree, the main one or a linked one, has the branch checked out. A bare repository has its HEAD on a branch
/// all the same.
fn is_checked_out(repository: &Repository, branch: &str) -> bool {
    let common = repository.commondir();
    let linked = std::fs::read_dir(common.join("worktrees")).into_iter().flatten().filter_map(Result::ok);
    let main = (!repository.is_bare()).then(|| common.to_owned());
    let head = format!("ref: {branch}");
    let mut places = main.into_iter().chain(linked.map(|entry| entry.path()));
    places.any(|place| std::fs::read_to_string(place.join("HEAD")).is_ok_and(|text| text.trim_end() == head))
}

/// To the repository that this one mirrors: a branch here nobody would find.
async fn push(inner: &Arc<Inner>, commit: Revision, onto: &Onto) -> Result<Restored, RestoreError> {
    let branch = match onto {
        Onto::NewBranch(branch) => branch.clone(),
        Onto::Watched { .. } => inner.branch.clone(),
    };
    let what = format!("{commit}:refs/heads/{branch}");
    let arguments = [
        "push",
        "--quiet",
        "--no-verify",
        "--no-follow-tags",
        "--no-signed",
        "--recurse-submodules=no",
        "--end-of-options",
        REMOTE,
        &what,
    ];
    let _one = inner.home().one_git().await;
    match run(inner.home().git_dir(), &arguments, PUSH_LIMIT).await {
        Ok(_) => Ok(match onto {
            Onto::NewBranch(_) => Restored::NewBranch { commit, branch },
            Onto::Watched { .. } => Restored::Watched { commit },
        }),
        Err(source) => Err(RestoreError::NotTaken { branch, source }),
    }
}
