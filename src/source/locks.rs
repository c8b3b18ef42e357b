//! Removes what a killed or failed `git` left behind in a mirror: locks, and halves of objects.
//!
//! Takes a mirror's folder. Gives the locks that it removed.
//!
//! Never looks into a repository of the user's: whose lock it is there, only they know. In a mirror nobody but us writes,
//! and none of our writes holds a lock for more than moments.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// A fetch takes its locks at the very end, a commit for a millisecond.
const LEFT_BEHIND: Duration = Duration::from_secs(60);

/// References nest a few folders deep.
const DEEPEST: usize = 8;

/// Removes what was left behind; says so.
pub(crate) fn remove_stale(git_dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    locks_in(git_dir, 0, &mut found);
    for folder in ["refs", "objects/info"] {
        locks_in(&git_dir.join(folder), DEEPEST, &mut found);
    }
    found.retain(|lock| is_left_behind(lock) && std::fs::remove_file(lock).is_ok());
    for lock in &found {
        tracing::warn!(lock = %lock.display(), "a lock that a killed process left behind in the mirror was removed");
    }
    found
}

/// Removes what fetches have received and could not store: on a full disk it would keep the next one, which may be small,
/// from succeeding. Where another process is fetching just now its disk is as full.
pub(super) fn remove_half_objects(git_dir: &Path) {
    let entries = |folder: &Path| std::fs::read_dir(folder).into_iter().flatten().flatten();
    for folder in entries(&git_dir.join("objects")) {
        for entry in entries(&folder.path()) {
            if entry.file_name().to_string_lossy().starts_with("tmp_") {
                // What cannot be removed is in nobody's way but the disk's.
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}

fn locks_in(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() && depth > 0 {
            locks_in(&path, depth - 1, found);
        } else if kind.is_file() && path.extension().is_some_and(|extension| extension == "lock") {
            found.push(path);
        }
    }
}

fn is_left_behind(lock: &Path) -> bool {
    let Ok(changed) = std::fs::metadata(lock).and_then(|found| found.modified()) else { return false };
    // A clock that was set back makes it look young; then it is removed a little later.
    SystemTime::now().duration_since(changed).is_ok_and(|age| age >= LEFT_BEHIND)
}
