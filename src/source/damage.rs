//! Judges failures: is the repository damaged, is there no room for it, or is it something else?
//!
//! Takes an error of libgit2, or what `git` said. Gives the kind of trouble.
//!
//! Never takes a server's trouble for ours: what `git` says of one is not looked at for damage.

use std::path::Path;
use std::time::Duration;

use git2::{ErrorClass, ErrorCode};

use super::home::{Home, MirrorOf, Wound};
use super::{REMOTE, SourceError, blocking, carry, git};
use crate::source::local::open_repository;

/// To ask whether the server is there at all.
const ASK_LIMIT: Duration = Duration::from_secs(30);

/// Every object that is reachable is looked for once; a history of years takes seconds.
const LOOK_LIMIT: Duration = Duration::from_secs(120);

/// What the system says when it takes no more bytes.
const FULL: [&str; 3] = ["No space left on device", "Disk quota exceeded", "File too large"];

/// What it says when it would not take any.
const FORBIDDEN: [&str; 2] = ["Read-only file system", "Permission denied"];

impl Wound for SourceError {
    fn into_damage(self, home: &Home) -> Result<(String, git2::Error), Self> {
        // A mirror has the whole history unless the repository that it shows has not.
        let is_cut_off = matches!(self, Self::Shallow) && home.is_mirror() && !home.git_dir().join("shallow").exists();
        if is_cut_off {
            let source = git2::Error::new(ErrorCode::NotFound, ErrorClass::Odb, "a commit is missing");
            return Ok(("walk to the root commit".to_owned(), source));
        }
        if let Self::Read { act, source } = self {
            return if is_damage(&source) { Ok((act, source)) } else { Err(Self::Read { act, source }) };
        }
        if let Self::NotARepository { path, source } = self {
            let act = "open it".to_owned();
            return if home.is_mirror() { Ok((act, source)) } else { Err(Self::NotARepository { path, source }) };
        }
        Err(self)
    }
}

/// Whether what was found in a repository should not be there, or is missing from it.
pub(crate) fn is_damage(error: &git2::Error) -> bool {
    let about_content = matches!(
        error.class(),
        ErrorClass::Odb
            | ErrorClass::Object
            | ErrorClass::Zlib
            | ErrorClass::Tree
            | ErrorClass::Indexer
            | ErrorClass::Repository
            | ErrorClass::Config
            | ErrorClass::Reference
    );
    let about_others =
        matches!(error.code(), ErrorCode::Locked | ErrorCode::Modified | ErrorCode::Exists | ErrorCode::Owner);
    about_content && !about_others
}

/// Why nothing can be written, if that is what libgit2 says.
pub(crate) fn unwritable(error: &git2::Error) -> Option<String> {
    let text = FULL.iter().chain(&FORBIDDEN).find(|text| error.message().contains(**text))?;
    matches!(error.class(), ErrorClass::Os | ErrorClass::Filesystem | ErrorClass::Odb | ErrorClass::Reference)
        .then(|| (*text).to_owned())
}

/// Why nothing more can be written into a mirror, if that is why `git` failed there.
pub(super) fn unwritable_folder(git_dir: &Path, said: &str) -> Option<String> {
    if let Some(text) = FULL.iter().find(|text| said.contains(**text)) {
        return Some((*text).to_owned());
    }
    // `Permission denied` is also what a server says, so the folder is asked instead.
    let probe = git_dir.join("WRITABLE");
    let written = std::fs::write(&probe, [0; 4096]);
    let _ = std::fs::remove_file(&probe);
    match written {
        Err(error) if git_dir.exists() => Some(error.to_string()),
        Ok(()) | Err(_) => None,
    }
}

/// Finds what is wrong with the mirror of a URL without looking at every object.
pub(super) fn at_first_sight(git_dir: &Path, url: &str) -> Result<(), git2::Error> {
    let broken = |what: &str| git2::Error::new(ErrorCode::GenericError, ErrorClass::Repository, what);
    let repository = match open_repository(git_dir) {
        Ok(repository) => repository,
        Err(SourceError::NotARepository { source, .. }) => return Err(source),
        // Another user's, for instance: not for us to mend.
        Err(_) => return Ok(()),
    };
    let shows = repository.config()?.get_string(&format!("remote.{REMOTE}.url"))?;
    if shows != url {
        return Err(broken("its configuration does not name the remote repository"));
    }
    for reference in repository.references()? {
        let reference = reference?;
        // The default branch may be one that is not mirrored.
        if reference.symbolic_target_bytes().is_none() {
            reference.peel_to_tree()?;
        }
    }
    carry::tip_is_whole(&repository)
}

/// What is wrong with a mirror at first sight.
pub(crate) async fn seen(home: &Home) -> Option<String> {
    let MirrorOf { url, .. } = home.mirror.clone()?;
    let path = home.git_dir.clone();
    let seen = blocking(move || at_first_sight(&path, &url)).await;
    seen.err().map(|error| error.message().to_owned())
}

/// Looks for damage in a mirror where `git` failed. Gives what is wrong.
pub(crate) async fn behind_failed_git(home: &Home, error: &SourceError) -> Option<String> {
    if let Some(what) = seen(home).await {
        return Some(what);
    }
    if !home.is_mirror() || !matches!(error, SourceError::Git { .. }) {
        return None;
    }
    // While the server is away there is no telling, and nothing to mend with.
    git::run(&home.git_dir, &["ls-remote", "--end-of-options", REMOTE, "HEAD"], ASK_LIMIT).await.ok()?;
    let look = ["fsck", "--connectivity-only", "--no-dangling", "--no-progress"];
    let done = git::run_to_end(&home.git_dir, &look, LOOK_LIMIT).await.ok()?;
    (!done.success).then(|| git::last_lines(&format!("{}\n{}", done.stdout, done.stderr)))
}
