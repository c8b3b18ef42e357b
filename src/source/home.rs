//! Keeps a repository open, and notices that it is damaged or that another one stands in its place.
//!
//! Takes work to do with the repository. Gives its result; where the work found a *mirror* damaged, of a second try on a
//! new one.
//!
//! Never touches a damaged repository of the user's: it is named, with what to do.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use git2::Repository;
use tokio::time::Instant;

use super::local::open_repository;
use super::{SourceError, blocking, mend};
use crate::causes::chain;
use crate::failpoint::{self, Call};

/// A new mirror that is damaged too shows that it is not the mirror: another one would only cost the server work.
const MENDED_LASTS: Duration = Duration::from_secs(600);

/// Several ask at once; a server that is away for one of them is away for the others.
const TRY_AGAIN: Duration = Duration::from_secs(10);

/// Where a repository is: shared by all who keep it open.
pub(crate) struct Home {
    pub(super) git_dir: PathBuf,
    /// None: the user's own repository.
    pub(super) mirror: Option<MirrorOf>,
    /// Held together by all who work in the repository, and alone by who puts another one in its place.
    pub(super) stands: RwLock<()>,
    mended: tokio::sync::Mutex<Option<Mended>>,
    /// Two `git` processes that move references would take each other's locks for trouble.
    git: tokio::sync::Mutex<()>,
}

/// What a mirror shows.
#[derive(Clone)]
pub(super) struct MirrorOf {
    pub(super) url: String,
    pub(super) branch: String,
}

/// The last try to make a new mirror.
struct Mended {
    at: Instant,
    failed: Option<String>,
}

/// Tells one folder at a path from the next one there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Folder(u64);

/// One of those who keep a repository open.
pub(crate) struct Handle {
    pub(crate) home: Arc<Home>,
    opened: Mutex<Opened>,
}

struct Opened {
    /// None: it is to be opened again.
    folder: Option<Folder>,
    repository: Repository,
}

/// The repository, for as long as nobody puts another one in its place.
pub(crate) struct Open<'h> {
    opened: MutexGuard<'h, Opened>,
    _stands: RwLockReadGuard<'h, ()>,
}

impl Deref for Open<'_> {
    type Target = Repository;

    fn deref(&self) -> &Repository {
        &self.opened.repository
    }
}

impl Home {
    pub(super) fn new(git_dir: PathBuf, mirror: Option<MirrorOf>) -> Arc<Self> {
        let (stands, mended, git) = Default::default();
        Arc::new(Self { git_dir, mirror, stands, mended, git })
    }

    pub(crate) fn git_dir(&self) -> &Path {
        &self.git_dir
    }

    /// To be held while `git` moves references here.
    pub(crate) async fn one_git(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.git.lock().await
    }

    pub(crate) fn is_mirror(&self) -> bool {
        self.mirror.is_some()
    }

    pub(crate) fn folder(&self) -> Option<Folder> {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata(&self.git_dir).ok().map(|found| Folder(found.ino()))
    }

    /// Makes a new mirror, unless somebody did since `damaged` was seen to be damaged. `act` is what could not be done.
    pub(crate) async fn mend(self: &Arc<Self>, damaged: Option<Folder>, act: &str) -> Result<(), SourceError> {
        let path = self.git_dir.clone();
        let mut last = self.mended.lock().await;
        let now = self.folder();
        if now.is_some() && now != damaged {
            return Ok(());
        }
        let unmended = |why: String| SourceError::Unmended { path: path.clone(), act: act.to_owned(), why };
        match &*last {
            Some(Mended { at, failed: None }) if at.elapsed() < MENDED_LASTS => {
                return Err(unmended(format!("it was made anew {} s ago", at.elapsed().as_secs())));
            }
            Some(Mended { at, failed: Some(why) }) if at.elapsed() < TRY_AGAIN => return Err(unmended(why.clone())),
            Some(_) | None => {}
        }
        let done = mend::replace(self).await;
        let failed = done.as_ref().err().map(|error| chain(error));
        *last = Some(Mended { at: Instant::now(), failed: failed.clone() });
        match failed {
            None => {
                let carried = done.map(|carried| carried.to_string()).unwrap_or_default();
                tracing::warn!(
                    mirror = %path.display(),
                    "the mirror was damaged (failed to {act}) and was made anew from the remote repository; {carried}"
                );
                Ok(())
            }
            Some(why) => Err(unmended(why)),
        }
    }
}

impl Handle {
    pub(crate) fn new(home: Arc<Home>, repository: Repository) -> Self {
        let folder = home.folder();
        Self { home, opened: Mutex::new(Opened { folder, repository }) }
    }

    /// Opens the repository for one more.
    pub(crate) fn open(home: Arc<Home>) -> Result<Self, SourceError> {
        let repository = open_repository(&home.git_dir)?;
        Ok(Self::new(home, repository))
    }

    /// The repository as it stands now. Whoever holds it must not ask for it again.
    pub(crate) fn repository(&self) -> Result<Open<'_>, SourceError> {
        let stands = self.home.stands.read().unwrap_or_else(PoisonError::into_inner);
        // A panic elsewhere leaves nothing half-written behind this lock: it holds a handle.
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = if self.home.is_mirror() { self.home.folder() } else { opened.folder };
        if opened.folder.is_none() || folder != opened.folder {
            opened.repository = open_repository(&self.home.git_dir)?;
            opened.folder = self.home.folder();
        }
        Ok(Open { opened, _stands: stands })
    }

    /// What it has read of files that somebody replaced may be the damage.
    fn open_again(&self) {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner).folder = None;
    }
}

/// An error of work with a repository.
pub(crate) trait Wound: From<SourceError> {
    /// What could not be done because the repository is damaged, and what libgit2 said; else the error itself.
    fn into_damage(self, home: &Home) -> Result<(String, git2::Error), Self>;
}

/// Does blocking work with a repository. If that is damaged it is opened again, and a mirror is made anew.
pub(crate) async fn sound<I, T, E>(
    inner: &Arc<I>,
    handle: fn(&I) -> &Handle,
    work: impl Fn(&I) -> Result<T, E> + Send + Sync + 'static,
) -> Result<T, E>
where
    I: Send + Sync + 'static,
    T: Send + 'static,
    E: Wound + Send + 'static,
{
    let call = Call::of(&work);
    let work = Arc::new(work);
    let once = || {
        let (inner, work) = (Arc::clone(inner), Arc::clone(&work));
        failpoint::around(call, blocking(move || work(&inner)))
    };
    let home = &handle(inner).home;
    let folder = home.folder();
    let error = match once().await {
        Ok(done) => return Ok(done),
        Err(error) => error,
    };
    error.into_damage(home)?;
    handle(inner).open_again();
    let error = match once().await {
        Ok(done) => return Ok(done),
        Err(error) => error,
    };
    let (act, source) = error.into_damage(home)?;
    if !home.is_mirror() {
        return Err(SourceError::Damaged { path: home.git_dir.clone(), act, source }.into());
    }
    home.mend(folder, &format!("{act}: {}", source.message())).await?;
    once().await
}
