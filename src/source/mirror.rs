//! Keeps a mirror of a repository that is elsewhere.
//!
//! Takes a URL and the cache folder. Gives a bare repository of ours with the watched branch and the ledger as
//! remote-tracking branches.
//!
//! Never passes the URL as an argument: `git` reads it from the mirror's configuration, so it is in no list of processes
//! for longer than `git` itself needs.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use git2::Repository;

use super::home::{Home, MirrorOf};
use super::local::open_repository;
use super::mend::{self, FETCHED, no_default};
use super::{Inner, LEDGER_BRANCH, REMOTE, SourceError, blocking, damage, git, location, locks, moving};
use crate::causes::chain;
use crate::name::Digest;

/// A server that has not answered by then will not do so for the sake of a few seconds more.
const FETCH_LIMIT: Duration = Duration::from_secs(60);

/// The first fetch brings the whole history.
const FIRST_FETCH_LIMIT: Duration = Duration::from_secs(600);

const ASK_LIMIT: Duration = Duration::from_secs(30);

pub(super) async fn open(url: &str, branch: Option<&str>, cache: &Path) -> Result<Inner, SourceError> {
    if let Some(branch) = branch {
        location::check_branch(branch)?;
    }
    // `git` would take a relative path as one below its own folder.
    let cache = std::path::absolute(cache).map_err(mend::unwritable(cache))?;
    let path = cache.join(folder_name(url));
    let standing = {
        let (path, url) = (path.clone(), url.to_owned());
        blocking(move || stand(&path, &url)).await?
    };
    if let Err(what) = standing {
        mend_at_start(&path, url, branch, &what).await?;
    }
    let repository = {
        let path = path.clone();
        blocking(move || open_repository(&path)).await?
    };
    let asked = match ask(&path).await {
        Ok(default) => {
            remember_default(&repository, default.as_deref());
            default
        }
        // What was mirrored before can be read while the server is away.
        Err(error) if error.is_transient() && path.join(FETCHED).exists() => None,
        Err(error) => return Err(error),
    };
    let remembered = || {
        let head = repository.find_reference(&default_ref()).ok()?;
        let target = head.symbolic_target().ok()??.to_owned();
        target.strip_prefix(&format!("refs/remotes/{REMOTE}/")).map(str::to_owned)
    };
    let branch = branch.map(str::to_owned).or(asked).or_else(remembered).ok_or_else(|| no_default(url))?;
    location::check_branch(&branch)?;
    let of = MirrorOf { url: url.to_owned(), branch: branch.clone() };
    Ok(Inner::new(url.to_owned(), repository, Some(of), branch))
}

/// Has a mirror at the place. Gives what is wrong with the one that is there.
fn stand(path: &Path, url: &str) -> Result<Result<(), String>, SourceError> {
    mend::tidy(path);
    if !path.exists() {
        mend::make(path, url)?;
    }
    Ok(damage::at_first_sight(path, url).map_err(|error| error.message().to_owned()))
}

async fn mend_at_start(path: &Path, url: &str, branch: Option<&str>, what: &str) -> Result<(), SourceError> {
    match mend::replace_at_start(path, url, branch).await {
        Ok(carried) => {
            tracing::warn!(
                mirror = %path.display(),
                "the mirror was damaged ({what}) and was made anew from the remote repository; {carried}"
            );
            Ok(())
        }
        Err(error) => {
            let why = chain(&error);
            // A part of it may do: what is missing is found when it is needed, and then mended.
            if path.join(FETCHED).exists() && open_repository(path).is_ok() {
                tracing::warn!(mirror = %path.display(), "the mirror is damaged ({what}) and cannot be made anew: {why}");
                return Ok(());
            }
            Err(SourceError::Unmended { path: path.to_owned(), act: format!("open it: {what}"), why })
        }
    }
}

/// Asks the server for its default branch, and whether a branch is in the ledger's way.
pub(super) async fn ask(git_dir: &Path) -> Result<Option<String>, SourceError> {
    let question = ["ls-remote", "--symref", "--end-of-options", REMOTE, "HEAD", "refs/heads/bayplan"];
    let answer = git::run(git_dir, &question, ASK_LIMIT).await?;
    if answer.lines().any(|line| line.ends_with("\trefs/heads/bayplan")) {
        return Err(SourceError::BranchInTheWay);
    }
    Ok(default_branch(&answer))
}

/// Brings what is new. Locks that a killed process left are removed, and a damaged mirror is made anew.
pub(super) async fn fetch(home: &Arc<Home>, branch: &str) -> Result<(), SourceError> {
    let folder = home.folder();
    let git_dir = &home.git_dir;
    let _one = home.one_git().await;
    let mut failed = match bring(git_dir, branch).await {
        Ok(()) => return Ok(()),
        Err(error) => error,
    };
    let place = git_dir.clone();
    let was_ours = blocking(move || Ok::<_, SourceError>(moving::clear(&place))).await?;
    if was_ours || !locks::remove_stale(git_dir).is_empty() {
        match bring(git_dir, branch).await {
            Ok(()) => return Ok(()),
            Err(error) => failed = error,
        }
    }
    if let SourceError::Git { message, .. } = &failed
        && let Some(why) = damage::unwritable_folder(git_dir, message)
    {
        locks::remove_half_objects(git_dir);
        return Err(SourceError::Unwritable { path: git_dir.clone(), why });
    }
    match damage::behind_failed_git(home, &failed).await {
        Some(what) => home.mend(folder, &format!("fetch: {what}")).await,
        None => Err(failed),
    }
}

/// Packs what fetches brought, where that is worth it: thousands of small files make every reader slow.
pub(super) async fn tidy_up(home: &Arc<Home>) -> Result<(), SourceError> {
    let _one = home.one_git().await;
    git::run(&home.git_dir, &["gc", "--auto", "--quiet"], FIRST_FETCH_LIMIT).await.map(|_| ())
}

/// Runs `git fetch`.
pub(super) async fn bring(git_dir: &Path, branch: &str) -> Result<(), SourceError> {
    let fetched = git_dir.join(FETCHED);
    let is_first = !fetched.exists();
    // Tells others that this half-made mirror is not left behind. Who cannot have it is one of two that fetch at once.
    let _held = is_first.then(|| mend::lock(git_dir));
    let limit = if is_first { FIRST_FETCH_LIMIT } else { FETCH_LIMIT };
    // Patterns, because an exact name that the server does not have (an empty repository, no ledger yet) fails the whole
    // fetch; a branch with a longer name comes along and is not looked at.
    let watched = format!("+refs/heads/{branch}*:refs/remotes/{REMOTE}/{branch}*");
    let ledger = format!("+refs/heads/{LEDGER_BRANCH}*:refs/remotes/{REMOTE}/{LEDGER_BRANCH}*");
    let arguments = [
        "fetch",
        "--quiet",
        "--prune",
        "--no-tags",
        "--no-recurse-submodules",
        "--no-write-fetch-head",
        // Whoever waits for what is new does not wait for this; see `tidy_up`.
        "--no-auto-maintenance",
        "--end-of-options",
        REMOTE,
        &watched,
        &ledger,
    ];
    git::run(git_dir, &arguments, limit).await?;
    if is_first {
        std::fs::write(&fetched, "").map_err(mend::unwritable(git_dir))?;
    }
    Ok(())
}

/// A name that a person recognizes and that no other URL has.
fn folder_name(url: &str) -> String {
    let last = url.trim_end_matches('/').trim_end_matches(".git");
    let last = last.rsplit(['/', ':']).next().unwrap_or("");
    let word: String = last.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(40).collect();
    format!("{}-{}.git", word.trim_matches('-'), Digest::of(url.as_bytes()).short())
}

/// Reads `ref: refs/heads/main\tHEAD`.
fn default_branch(answer: &str) -> Option<String> {
    answer.lines().find_map(|line| {
        let target = line.strip_prefix("ref: ")?.strip_suffix("\tHEAD")?;
        target.strip_prefix("refs/heads/").map(str::to_owned)
    })
}

/// Only for a start without the server; that it cannot be written must not end one with it.
fn remember_default(repository: &Repository, default: Option<&str>) {
    if let Some(branch) = default {
        let target = format!("refs/remotes/{REMOTE}/{branch}");
        if let Err(error) = repository.reference_symbolic(&default_ref(), &target, true, "default branch") {
            tracing::warn!(error = error.message(), "the default branch cannot be remembered");
        }
    }
}

pub(super) fn default_ref() -> String {
    format!("refs/remotes/{REMOTE}/HEAD")
}

#[cfg(test)]
mod tests {
    use super::{default_branch, folder_name};

    #[test]
    fn a_mirror_is_named_after_its_repository_and_alone_with_its_url() {
        let one = folder_name("git@example.org:team/fleet.git");
        let other = folder_name("https://example.org/team/fleet.git");
        assert!(one.starts_with("fleet-") && other.starts_with("fleet-"), "{one} {other}");
        assert_ne!(one, other);
    }

    #[test]
    fn the_default_branch_is_what_head_points_to() {
        let answer = "ref: refs/heads/trunk\tHEAD\n0123\tHEAD\n";
        assert_eq!(default_branch(answer).as_deref(), Some("trunk"));
        assert_eq!(default_branch("0123\tHEAD\n"), None);
    }
}
