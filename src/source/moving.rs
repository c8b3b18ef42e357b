//! Moves a reference, but only from where it was seen, and takes away the lock of who was killed while doing so.
//!
//! Takes a reference, where it must be and where it shall be. Gives why it was not moved.
//!
//! Git locks a reference by a file, which stays when its maker is killed, and from then on nobody can move it. So each of us
//! says beforehand, in a file that the system locks for as long as we live, what is about to be locked: whoever finds that
//! said by nobody knows the lock that belongs to it.
//!
//! Never removes a lock of anybody else: those of other programs are theirs to judge.

use std::fs::{File, Metadata, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use git2::{ErrorCode, Oid, Reference, Repository};

use crate::failpoint::{self, Call, Side};

/// In the folder of the repository. Empty while nobody moves anything.
const CLAIM: &str = "bayplan.moving";

/// How long another one of us may take, who moves something just now.
const PATIENCE: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_millis(2);

/// No lock of which nobody said that it is his is removed before this age: other programs hold them for moments.
const OLD: Duration = Duration::from_secs(1);

/// Where a reference must be before it is moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    Nowhere,
    At(Oid),
    Anywhere,
}

#[derive(Debug)]
pub(crate) enum Unmoved {
    /// It is not where it was seen.
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
    let folder = repository.commondir();
    let lock = lock_of(folder, name);
    // Where nothing can be claimed, because of its rights or its kind, a lock that is left is for a person to judge.
    let mut claim = Claim::take(folder);
    if let Some(claim) = &mut claim {
        claim.take_away_what_was_left(folder);
        claim.say(name, None);
    }
    let mut transaction = repository.transaction()?;
    if let Err(source) = transaction.lock_ref(name) {
        let is_locked = source.code() == ErrorCode::Locked;
        return Err(if is_locked { Unmoved::Locked { path: lock, source } } else { Unmoved::Failed(source) });
    }
    if let Some(claim) = &mut claim {
        claim.say(name, lock.symlink_metadata().ok().as_ref());
    }
    failpoint::reach(Side::Before, Call::Git("move reference"));
    let now = match repository.find_reference(name) {
        Ok(found) => found.resolve()?.target(),
        Err(error) if error.code() == ErrorCode::NotFound => None,
        Err(error) => return Err(error.into()),
    };
    if expected != Expected::Anywhere && expected != Expected::from(now) {
        return Err(Unmoved::Elsewhere);
    }
    transaction.set_target(name, to, None, why)?;
    Ok(transaction.commit()?)
}

fn lock_of(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.lock"))
}

/// Held until it is dropped, or its holder is killed.
struct Claim(File);

impl Claim {
    fn take(folder: &Path) -> Option<Self> {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(folder.join(CLAIM)).ok()?;
        let until = Instant::now() + PATIENCE;
        loop {
            match file.try_lock() {
                Ok(()) => return Some(Self(file)),
                Err(TryLockError::WouldBlock) if Instant::now() < until => std::thread::sleep(PAUSE),
                Err(TryLockError::WouldBlock | TryLockError::Error(_)) => return None,
            }
        }
    }

    /// Says which reference is about to be locked, and the lock when it is there.
    fn say(&mut self, name: &str, lock: Option<&Metadata>) {
        let lock = lock.map(|lock| lock.ino().to_string()).unwrap_or_default();
        let said = format!("{name}\n{lock}\n");
        let written = self.0.rewind().and_then(|()| self.0.write_all(said.as_bytes()));
        // What could not be said helps nobody later; it hinders nobody now.
        let _ = written.and_then(|()| self.0.set_len(said.len() as u64));
    }

    /// Of one of us who was killed.
    fn take_away_what_was_left(&mut self, folder: &Path) {
        let mut said = String::new();
        if self.0.read_to_string(&mut said).is_err() {
            return;
        }
        let mut lines = said.lines();
        let Some(name) = lines.next().filter(|name| Reference::is_valid_name(name)) else { return };
        let lock = lock_of(folder, name);
        let Ok(found) = lock.symlink_metadata() else { return };
        let is_theirs = match lines.next().and_then(|line| line.parse::<u64>().ok()) {
            Some(number) => found.ino() == number,
            None => gets_old(&lock, &found),
        };
        if is_theirs && std::fs::remove_file(&lock).is_ok() {
            tracing::warn!(lock = %lock.display(), "a lock that one of us left behind when it was killed was removed");
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let _ = self.0.set_len(0);
    }
}

/// Whether a lock is there for so long that nobody works under it; waits for that.
fn gets_old(lock: &Path, found: &Metadata) -> bool {
    let age = found.modified().ok().and_then(|changed| SystemTime::now().duration_since(changed).ok());
    let Some(age) = age else { return false };
    std::thread::sleep(OLD.saturating_sub(age));
    lock.symlink_metadata().is_ok_and(|still| still.ino() == found.ino())
}
