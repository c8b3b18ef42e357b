//! Keeps a mirror of a repository that is elsewhere.
//!
//! Takes a URL and the cache folder. Gives a bare repository of ours with the watched branch and the ledger as
//! remote-tracking branches.
//!
//! Never passes the URL as an argument: `git` reads it from the mirror's configuration, so it is in no list of processes
//! for longer than `git` itself needs.

use std::path::Path;
use std::time::Duration;

use git2::{Repository, RepositoryInitOptions};

use super::local::open_repository;
use super::{Inner, LEDGER_BRANCH, Place, REMOTE, SourceError, blocking, git, location, reading};
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
    let path = cache.join(folder_name(url));
    let repository = {
        let (path, url) = (path.clone(), url.to_owned());
        blocking(move || open_mirror(&path, &url)).await?
    };
    let answer = git::run(
        &path,
        &["ls-remote", "--symref", "--end-of-options", REMOTE, "HEAD", "refs/heads/bayplan"],
        ASK_LIMIT,
    )
    .await;
    let (repository, asked) = match answer {
        Ok(answer) if answer.lines().any(|line| line.ends_with("\trefs/heads/bayplan")) => {
            return Err(SourceError::BranchInTheWay);
        }
        Ok(answer) => {
            let default = default_branch(&answer);
            (remember_default(repository, default.as_deref())?, default)
        }
        // What was mirrored before can be read while the server is away.
        Err(error) if error.is_transient() && path.join("FETCHED").exists() => (repository, None),
        Err(error) => return Err(error),
    };
    let remembered = || {
        let head = repository.find_reference(&default_ref()).ok()?;
        let target = head.symbolic_target().ok()??.to_owned();
        target.strip_prefix(&format!("refs/remotes/{REMOTE}/")).map(str::to_owned)
    };
    let branch = branch
        .map(str::to_owned)
        .or(asked)
        .or_else(remembered)
        .ok_or_else(|| SourceError::NoDefaultBranch { location: url.to_owned() })?;
    location::check_branch(&branch)?;
    Ok(Inner::new(url.to_owned(), repository, Place::Mirror, branch))
}

pub(super) async fn fetch(git_dir: &Path, branch: &str) -> Result<(), SourceError> {
    let fetched = git_dir.join("FETCHED");
    let limit = if fetched.exists() { FETCH_LIMIT } else { FIRST_FETCH_LIMIT };
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
        "--end-of-options",
        REMOTE,
        &watched,
        &ledger,
    ];
    git::run(git_dir, &arguments, limit).await?;
    if limit == FIRST_FETCH_LIMIT {
        std::fs::write(&fetched, "").map_err(|source| SourceError::Mirror { path: fetched, source })?;
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

fn open_mirror(path: &Path, url: &str) -> Result<Repository, SourceError> {
    if path.join("HEAD").exists() {
        return open_repository(path);
    }
    make_private_folder(path).map_err(|source| SourceError::Mirror { path: path.to_owned(), source })?;
    let making = || reading(&format!("make the mirror `{}`", path.display()));
    let mut options = RepositoryInitOptions::new();
    // No template: it could bring hooks and settings of the machine.
    options.bare(true).no_reinit(false).external_template(false);
    let repository = Repository::init_opts(path, &options).map_err(making())?;
    {
        let mut config = repository.config().map_err(making())?;
        config.set_str(&format!("remote.{REMOTE}.url"), url).map_err(making())?;
    }
    Ok(repository)
}

/// What the watched repository holds is for this user only.
fn make_private_folder(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Reads `ref: refs/heads/main\tHEAD`.
fn default_branch(answer: &str) -> Option<String> {
    answer.lines().find_map(|line| {
        let target = line.strip_prefix("ref: ")?.strip_suffix("\tHEAD")?;
        target.strip_prefix("refs/heads/").map(str::to_owned)
    })
}

fn remember_default(repository: Repository, default: Option<&str>) -> Result<Repository, SourceError> {
    if let Some(branch) = default {
        let target = format!("refs/remotes/{REMOTE}/{branch}");
        repository
            .reference_symbolic(&default_ref(), &target, true, "default branch")
            .map_err(reading("remember the default branch"))?;
    }
    Ok(repository)
}

fn default_ref() -> String {
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
