//! Moves a reference, but only from where it was seen, and takes away the lock of who was killed while doing so.
//!
//! Takes a reference, where it must be and where it shall be. Gives why it was not moved.
//!
//! Git locks a reference by a file, which stays when its maker is killed, and from then on nobody can move it. So each of us
//! first says which reference that will be, in a file that the system locks for as long as we live, and then gives the lock
//! a second name. Who finds that said by nobody, and the lock to be the very file of that name, knows it for ours.
//!
//! Never removes a lock of anybody else: Git would then put an empty file in the reference's place. In doubt it stays.

use std::fs::{File, Metadata, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::{Duration, Instant};

use git2::{ErrorClass, ErrorCode, Oid, Reference, Repository};

use crate::failpoint::{self, Call, Side};

/// In the folder of the repository: the name of the reference that is about to be locked. Empty while none is.
const CLAIM: &str = "bayplan.moving";

/// Beside it: the lock under a second name, so that no other file can be taken for it.
const PIN: &str = "bayplan.pinned";

/// We hold a lock for less than a millisecond. One that is looked at twice, this long apart, is held by nobody of us.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// How long another one of us may take, who perhaps looks twice at a lock.
const PATIENCE: Duration = Duration::from_millis(2500);
const PAUSE: Duration = Duration::from_millis(2);

/// Where a reference must be before it is moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    Nowhere,
    At(Oid),
    Anywhere,
}

#[derive(Debug)]
pub(crate) enum Unmoved {
    /// It is not where it was seen, or others were moving it all the time.
    Elsewhere,
    Locked {
        path: PathBuf,
        source: git2::Error,
    },
    Failed(git2::Error),
}

impl From<Option<Oid>> for Expected {
    fn from(seen: Option<Oid>) -> Self {
        seen.map_or(Self::Nowhere, Self::At)
    }
}

impl From<git2::Error> for Unmoved {
    fn from(error: git2::Error) -> Self {
        Self::Failed(error)
    }
}

/// Moves a reference, or makes it. `why` is for its reflog.
pub(crate) fn move_reference(
    repository: &Repository,
    name: &str,
    expected: Expected,
    to: Oid,
    why: &str,
) -> Result<(), Unmoved> {
    repository.find_commit(to)?;
    let lock = lock_of(repository.commondir(), name);
    let claim = match Claim::take(repository.commondir()) {
        Taken::Ours(mut claim) => {
            claim.clear();
            if claim.is_stuck || lock.symlink_metadata().is_ok() {
                let source = git2::Error::new(ErrorCode::Locked, ErrorClass::Reference, "it is locked");
                return Err(Unmoved::Locked { path: lock, source });
            }
            claim.announce(name);
            Some(claim)
        }
        Taken::Busy => return Err(Unmoved::Elsewhere),
        // Where nothing can be claimed a lock that is left is for a person to judge.
        Taken::Impossible => None,
    };
    let mut transaction = repository.transaction()?;
    if let Err(source) = transaction.lock_ref(name) {
        return Err(match source.code() == ErrorCode::Locked {
            true => Unmoved::Locked { path: lock, source },
            // Whoever packs references takes folders away that are empty for a moment.
            false if source.code() == ErrorCode::NotFound => Unmoved::Elsewhere,
            false => Unmoved::Failed(source),
        });
    }
    if let Some(claim) = &claim {
        claim.pin(&lock);
    }
    failpoint::reach(Side::Before, Call::Git("move reference"));
    let now = match repository.find_reference(name) {
        // One that only names another one is moved by moving that, which is not locked.
        Ok(found) if found.target().is_none() => return Err(Unmoved::Elsewhere),
        Ok(found) => found.target(),
        Err(error) if error.code() == ErrorCode::NotFound => None,
        Err(error) => return Err(error.into()),
    };
    if expected != Expected::Anywhere && expected != Expected::from(now) {
        return Err(Unmoved::Elsewhere);
    }
    if now.is_none() {
        has_room(repository, name)?;
    }
    transaction.set_target(name, to, None, why)?;
    Ok(transaction.commit()?)
}

/// Takes away the lock that one of us left who was killed; nothing while one of us is at work. Says whether there was any.
pub(crate) fn clear(folder: &Path) -> bool {
    let is_announced = std::fs::metadata(folder.join(CLAIM)).is_ok_and(|claim| claim.len() > 0);
    if !is_announced {
        return false;
    }
    match Claim::take(folder) {
        Taken::Ours(mut claim) => claim.clear(),
        Taken::Busy | Taken::Impossible => false,
    }
}

fn lock_of(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.lock"))
}

/// Of `a/b` and `a/b/c` one only can be. Git sees to that where both are files; packed ones are none.
fn has_room(repository: &Repository, name: &str) -> Result<(), git2::Error> {
    let above = name.match_indices('/').map(|(end, _)| &name[..end]).filter(|above| above.starts_with("refs/heads/"));
    let mut above = above.filter(|above| repository.find_reference(above).is_ok());
    let mut below = repository.references_glob(&format!("{name}/*"))?;
    let in_the_way = above.next().map(str::to_owned).or_else(|| Some(below.names().next()?.ok()?.to_owned()));
    match in_the_way {
        None => Ok(()),
        Some(other) => {
            let why = format!("{name} cannot be made beside {other}");
            Err(git2::Error::new(ErrorCode::Exists, ErrorClass::Reference, why))
        }
    }
}

/// Held until it is dropped, or its holder is killed.
struct Claim {
    file: File,
    folder: PathBuf,
    /// What was left cannot be removed: who comes next shall know it still.
    is_stuck: bool,
}

enum Taken {
    Ours(Claim),
    Busy,
    Impossible,
}

impl Claim {
    fn take(folder: &Path) -> Taken {
        let opened = File::options().read(true).write(true).create(true).truncate(false).open(folder.join(CLAIM));
        let taken = opened.and_then(|file| {
            let until = Instant::now() + PATIENCE;
            loop {
                match file.try_lock() {
                    Ok(()) => return Ok(Taken::Ours(Self { file, folder: folder.to_owned(), is_stuck: false })),
                    Err(TryLockError::WouldBlock) if Instant::now() < until => std::thread::sleep(PAUSE),
                    Err(TryLockError::WouldBlock) => return Ok(Taken::Busy),
                    Err(TryLockError::Error(error)) => return Err(error),
                }
            }
        });
        taken.unwrap_or_else(|error: io::Error| {
            static SAID: Once = Once::new();
            SAID.call_once(|| {
                let folder = folder.display();
                tracing::warn!(%folder, %error, "should this be killed while it moves a branch, Git's lock would stay");
            });
            Taken::Impossible
        })
    }

    /// Says which reference is about to be locked. What cannot be said helps nobody later, and hinders nobody now.
    fn announce(&mut self, name: &str) {
        let _ = self.file.write_all(format!("{name}\n").as_bytes());
    }

    fn pin(&self, lock: &Path) {
        // Some file systems know no second names; then the announcement has to do.
        let _ = std::fs::hard_link(lock, self.folder.join(PIN));
    }

    /// Takes away the lock that the last one of us left, if it was killed, and what it said. Says whether there was one.
    fn clear(&mut self) -> bool {
        let mut said = String::new();
        let _ = self.file.read_to_string(&mut said);
        let name = said.strip_suffix('\n').filter(|name| Reference::is_valid_name(name));
        let left = name.map(|name| lock_of(&self.folder, name)).filter(|lock| self.is_left(lock));
        if let Some(lock) = &left {
            let removed = std::fs::remove_file(lock);
            let lock = lock.display();
            if let Err(error) = removed {
                tracing::warn!(%lock, %error, "a lock that one of us left behind cannot be removed");
                self.is_stuck = true;
                return false;
            }
            tracing::warn!(%lock, "a lock that one of us left behind when it was killed was removed");
        }
        self.forget();
        left.is_some()
    }

    fn is_left(&self, lock: &Path) -> bool {
        let look = || lock.symlink_metadata().ok().filter(|found| self.is_ours(found));
        let Some(first) = look() else { return false };
        std::thread::sleep(LOOK_AGAIN);
        look().is_some_and(|second| is_one(&first, &second) && first.mtime_nsec() == second.mtime_nsec())
    }

    /// Whether it is the file of the second name. If there is none: whether it was made right after it was announced, and
    /// is empty as ours are, and those of Git only for as long as it writes into them.
    fn is_ours(&self, lock: &Metadata) -> bool {
        if let Ok(pinned) = self.folder.join(PIN).symlink_metadata() {
            return is_one(&pinned, lock);
        }
        let announced = self.file.metadata().and_then(|claim| claim.modified());
        let after = announced.and_then(|announced| {
            let made = lock.modified()?;
            made.duration_since(announced).map_err(io::Error::other)
        });
        lock.len() == 0 && after.is_ok_and(|after| after <= LOOK_AGAIN)
    }

    fn forget(&mut self) {
        // The second name first: an announcement without one is judged more strictly.
        let _ = std::fs::remove_file(self.folder.join(PIN));
        let _ = self.file.rewind().and_then(|()| self.file.set_len(0));
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.is_stuck {
            self.forget();
        }
    }
}

fn is_one(a: &Metadata, b: &Metadata) -> bool {
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}
