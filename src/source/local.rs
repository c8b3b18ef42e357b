//! Opens a repository that is on this machine, and compares its work tree.
//!
//! Takes a path. Gives the repository that it is in, read in place.
//!
//! Never lets the environment (`GIT_DIR`, …) say which repository is meant, and never opens another user's: its
//! configuration could name programs to run.

use std::path::Path;

use git2::{ErrorCode, Oid, Repository, Status, StatusOptions};

use super::{Inner, ROOTS, SourceError, location, reading};

pub(super) fn open(path: &Path, branch: Option<&str>) -> Result<Inner, SourceError> {
    let repository = open_repository(path)?;
    if repository.find_reference("refs/heads/bayplan").is_ok() {
        return Err(SourceError::BranchInTheWay);
    }
    let branch = match branch {
        Some(branch) => branch.to_owned(),
        None => checked_out(&repository, path)?,
    };
    location::check_branch(&branch)?;
    let location = path.display().to_string();
    Ok(Inner::new(location, repository, None, branch))
}

/// Opens the repository that a path is in, as `git` finds it, but whatever the environment says.
pub(crate) fn open_repository(path: &Path) -> Result<Repository, SourceError> {
    let none: [&std::ffi::OsStr; 0] = [];
    Repository::open_ext(path, git2::RepositoryOpenFlags::empty(), none).map_err(|error| {
        if error.code() == ErrorCode::Owner {
            let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
            SourceError::OtherUser { path }
        } else {
            SourceError::NotARepository { path: path.to_owned(), source: error }
        }
    })
}

/// Whether a shallow clone was cut off beneath a commit, which then looks like one that has no parents.
pub(crate) fn is_cut_off_beneath(repository: &Repository, commit: Oid) -> bool {
    let cut = std::fs::read_to_string(repository.commondir().join("shallow"));
    cut.is_ok_and(|ids| ids.lines().any(|id| id == commit.to_string()))
}

fn checked_out(repository: &Repository, path: &Path) -> Result<String, SourceError> {
    let head = repository.find_reference("HEAD").map_err(reading("read HEAD"))?;
    let target = head.symbolic_target().map_err(reading("read HEAD"))?;
    match target.and_then(|target| target.strip_prefix("refs/heads/")) {
        Some(branch) => Ok(branch.to_owned()),
        None => Err(SourceError::Detached { path: path.to_owned() }),
    }
}

pub(super) fn uncommitted(work_tree: &Path) -> Result<Vec<String>, SourceError> {
    // Opened for this one question: an index that is kept open would have to be told of each change on disk.
    let repository = open_repository(work_tree)?;
    let mut options = StatusOptions::new();
    options.include_untracked(true).recurse_untracked_dirs(true).exclude_submodules(true).disable_pathspec_match(true);
    for root in ROOTS {
        options.pathspec(root);
    }
    let statuses = repository.statuses(Some(&mut options)).map_err(reading("compare the work tree"))?;
    let mut paths: Vec<String> = statuses
        .iter()
        .filter(|entry| entry.status() != Status::CURRENT && !entry.status().is_ignored())
        .map(|entry| String::from_utf8_lossy(entry.path_bytes()).into_owned())
        .filter(|path| ROOTS.contains(&path.split('/').next().unwrap_or("")))
        .collect();
    paths.sort();
    Ok(paths)
}
