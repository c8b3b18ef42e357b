//! Makes a mirror beside the place where it will stand, and puts it there.
//!
//! Takes the place, the URL and the branch. Gives a mirror that has all that the remote repository has, and the ledger of
//! the damaged one that stood there.
//!
//! Never leaves a place without a whole mirror, nor takes away what another process is making: who makes one holds a
//! lock on its folder, which the system gives back when they end, however they end.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use git2::{Repository, RepositoryInitOptions};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::carry::{self, Carried};
use super::home::{Home, MirrorOf};
use super::{LEDGER_BRANCH, REMOTE, SourceError, blocking, damage, mirror, reading};

/// In a mirror: everything was fetched once.
pub(super) const FETCHED: &str = "FETCHED";

/// A mirror in the making.
pub(super) struct Beside {
    pub(super) path: PathBuf,
    place: PathBuf,
    /// Held until it stands.
    _lock: File,
}

/// Puts a new mirror in the place of the damaged one that stands there.
pub(super) async fn replace(home: &Arc<Home>) -> Result<Carried, SourceError> {
    let Some(of) = home.mirror.clone() else {
        let (path, why) = (home.git_dir.clone(), "it is not ours".to_owned());
        return Err(SourceError::Unwritable { path, why });
    };
    let beside = beside(&home.git_dir, &of.url).await?;
    mirror::bring(&beside.path, &of.branch).await?;
    let home = Arc::clone(home);
    blocking(move || stand(&beside, &of, &home.stands)).await
}

/// The same before anybody works in it.
pub(super) async fn replace_at_start(place: &Path, url: &str, branch: Option<&str>) -> Result<Carried, SourceError> {
    let beside = beside(place, url).await?;
    let branch = match branch {
        Some(branch) => branch.to_owned(),
        None => mirror::ask(&beside.path).await?.ok_or_else(|| no_default(url))?,
    };
    mirror::bring(&beside.path, &branch).await?;
    let of = MirrorOf { url: url.to_owned(), branch };
    blocking(move || stand(&beside, &of, &RwLock::new(()))).await
}

pub(super) fn no_default(url: &str) -> SourceError {
    SourceError::NoDefaultBranch { location: url.to_owned() }
}

/// Makes the mirror that stands at a place for the first time; nothing is in it yet.
pub(super) fn make(place: &Path, url: &str) -> Result<(), SourceError> {
    let beside = Beside::make(place, url)?;
    beside.take_place().map(drop).map_err(unwritable(place))
}

async fn beside(place: &Path, url: &str) -> Result<Beside, SourceError> {
    let (place, url) = (place.to_owned(), url.to_owned());
    blocking(move || Beside::make(&place, &url)).await
}

fn stand(beside: &Beside, of: &MirrorOf, stands: &RwLock<()>) -> Result<Carried, SourceError> {
    let carrying = || reading("carry the ledger over");
    let _alone = stands.write().unwrap_or_else(PoisonError::into_inner);
    let carried = carry::ledger(&beside.place, &beside.path).map_err(carrying())?;
    remember_default(beside, of).map_err(carrying())?;
    let displaced = beside.take_place().map_err(unwritable(&beside.place))?;
    if let Some(displaced) = displaced {
        // It is of no use to anybody any more, and the next start tries again.
        let _ = std::fs::remove_dir_all(displaced);
    }
    Ok(carried)
}

/// So that a later start without a branch and without the server knows which it was.
fn remember_default(beside: &Beside, of: &MirrorOf) -> Result<(), git2::Error> {
    let old = Repository::open_bare(&beside.place).ok();
    let old = old.as_ref().and_then(|old| old.find_reference(&mirror::default_ref()).ok());
    let old = old.and_then(|reference| reference.symbolic_target().ok().flatten().map(str::to_owned));
    let target = old.unwrap_or_else(|| format!("refs/remotes/{REMOTE}/{}", of.branch));
    let new = Repository::open_bare(&beside.path)?;
    new.reference_symbolic(&mirror::default_ref(), &target, true, "default branch").map(drop)
}

impl Beside {
    fn make(place: &Path, url: &str) -> Result<Self, SourceError> {
        let path = place.with_extension("new");
        if path.exists() {
            let _held = lock(&path).map_err(unwritable(place))?;
            std::fs::remove_dir_all(&path).map_err(unwritable(place))?;
        }
        if let Some(cache) = place.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(cache).map_err(unwritable(place))?;
        }
        // What the watched repository holds is for this user only.
        DirBuilder::new().mode(0o700).create(&path).map_err(unwritable(place))?;
        let lock = lock(&path).map_err(unwritable(place))?;
        let making = |error: git2::Error| match damage::unwritable(&error) {
            Some(why) => SourceError::Unwritable { path: place.to_owned(), why },
            None => reading(&format!("make the mirror `{}`", place.display()))(error),
        };
        let mut options = RepositoryInitOptions::new();
        // No template: it could bring hooks and settings of the machine.
        options.bare(true).no_reinit(false).external_template(false);
        let repository = Repository::init_opts(&path, &options).map_err(making)?;
        let mut config = repository.config().map_err(making)?;
        config.set_str(&format!("remote.{REMOTE}.url"), url).map_err(making)?;
        Ok(Self { path, place: place.to_owned(), _lock: lock })
    }

    /// Gives where that is now which stood there.
    fn take_place(&self) -> io::Result<Option<PathBuf>> {
        if !self.place.exists() {
            std::fs::rename(&self.path, &self.place)?;
            return Ok(None);
        }
        if renameat_with(CWD, &self.path, CWD, &self.place, RenameFlags::EXCHANGE).is_ok() {
            return Ok(Some(self.path.clone()));
        }
        // Not every file system can exchange; a start after an end in between finds and mends it.
        let displaced = self.place.with_extension("old");
        if displaced.exists() {
            std::fs::remove_dir_all(&displaced)?;
        }
        std::fs::rename(&self.place, &displaced)?;
        std::fs::rename(&self.path, &self.place)?;
        Ok(Some(displaced))
    }
}

/// Takes away what killed processes left at and beside a place.
pub(super) fn tidy(place: &Path) {
    let (new, old) = (place.with_extension("new"), place.with_extension("old"));
    if new.exists() {
        // Somebody is making it just now.
        let Ok(_held) = lock(&new) else { return };
        if !place.exists() && new.join(FETCHED).exists() {
            let _ = std::fs::rename(&new, place);
        } else {
            remove_half_made(&new);
        }
    }
    if old.exists() && place.exists() {
        remove_half_made(&old);
    }
    let is_half_made = place.exists() && !place.join(FETCHED).exists();
    if is_half_made && !place.join(format!("refs/heads/{LEDGER_BRANCH}")).exists() {
        let Ok(_held) = lock(place) else { return };
        remove_half_made(place);
    }
}

fn remove_half_made(folder: &Path) {
    match std::fs::remove_dir_all(folder) {
        Ok(()) => tracing::warn!(folder = %folder.display(), "a mirror that was never finished was removed"),
        Err(error) => {
            let error = error.to_string();
            tracing::warn!(folder = %folder.display(), error, "a mirror that was never finished cannot be removed");
        }
    }
}

/// Held as long as what is given lives; an error if another process holds it.
pub(super) fn lock(folder: &Path) -> io::Result<File> {
    let opened = File::open(folder)?;
    opened.try_lock().map_err(|_| io::Error::other("another process is just making it"))?;
    Ok(opened)
}

pub(super) fn unwritable(place: &Path) -> impl FnOnce(io::Error) -> SourceError + use<> {
    let path = place.to_owned();
    move |error| SourceError::Unwritable { path, why: error.to_string() }
}
