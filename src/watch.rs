//! Says when the refs of a repository may have moved.
//!
//! Takes a repository's folder. Gives the same thing for every change: look again.
//!
//! Never says what changed, and never wakes for the ledger's own branch: our commits would be news to ourselves.
//!
//! Because events may be missed (a network file system, a folder made anew), a watch makes looking fast, not sure: who
//! uses it looks from time to time regardless, and does only that once the watch is dead.

use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;
use tokio::time::Instant;

/// Without pauses between events somebody must still be told: a push of many branches may take seconds.
pub const LONGEST_DELAY: Duration = Duration::from_millis(50);

/// Watches until it is dropped.
pub struct Watch {
    bell: Arc<Bell>,
    quiet: Duration,
    /// When the first event that nobody was told of yet was seen. It is kept here so that a call that is given up
    /// loses nothing.
    since: Option<Instant>,
    /// When somebody was last told.
    told: Option<Instant>,
    _watcher: RecommendedWatcher,
}

#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    #[error("`{}` is no folder of a Git repository", path.display())]
    NotARepository { path: PathBuf },
    #[error("failed to watch `{}`", path.display())]
    Start { path: PathBuf, source: notify::Error },
    #[error("watching the repository ended: {why}")]
    Dead { why: String },
}

impl WatchError {
    /// Will waiting help? A new watch may be tried later; meanwhile, look from time to time.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::NotARepository { .. } => false,
            Self::Start { .. } | Self::Dead { .. } => true,
        }
    }
}

/// Watches the refs of a repository: `.git`, a bare repository, or the folder of a linked work tree.
///
/// `quiet`: what happens within this time after an answer of [`Watch::changed`] belongs to the same burst: it is told when
/// the burst is over, so that a push of many branches is two changes. What comes after a rest is told at once.
///
/// # Errors
/// When the folder is none of these, or the machine's limit of watches is reached.
pub fn watch(git_dir: &Path, quiet: Duration) -> Result<Watch, WatchError> {
    let folder = common_dir(git_dir)?;
    let refs = folder.join("refs");
    if !refs.is_dir() {
        return Err(WatchError::NotARepository { path: folder });
    }
    let bell = Arc::new(Bell::default());
    let starting = || {
        let path = git_dir.to_owned();
        move |source| WatchError::Start { path, source }
    };
    let ears = Ears { folder: folder.clone(), bell: Arc::clone(&bell) };
    let mut watcher = notify::recommended_watcher(move |event| ears.hear(event)).map_err(starting())?;
    watcher.watch(&folder, RecursiveMode::NonRecursive).map_err(starting())?;
    watcher.watch(&refs, RecursiveMode::Recursive).map_err(starting())?;
    Ok(Watch { bell, quiet, since: None, told: None, _watcher: watcher })
}

impl Watch {
    /// Waits until refs may have moved since the last call. It may be given up at any point and loses nothing.
    ///
    /// # Errors
    /// When the watch is dead; it stays so, and the caller looks from time to time instead.
    pub async fn changed(&mut self) -> Result<(), WatchError> {
        let since = match self.since {
            Some(since) => since,
            None => {
                self.bell.rung.notified().await;
                let now = Instant::now();
                if self.told.is_none_or(|told| now - told > self.quiet) {
                    self.told = Some(now);
                    return self.bell.alive();
                }
                *self.since.insert(now)
            }
        };
        let end = since + LONGEST_DELAY;
        loop {
            self.bell.alive()?;
            let pause = (Instant::now() + self.quiet).min(end);
            if tokio::time::timeout_at(pause, self.bell.rung.notified()).await.is_err() || Instant::now() >= end {
                break;
            }
        }
        self.since = None;
        self.told = Some(Instant::now());
        self.bell.alive()
    }
}

/// Rung by the watcher's thread. However often it rings, it is heard once.
#[derive(Default)]
struct Bell {
    rung: Notify,
    dead: AtomicBool,
    why: Mutex<String>,
}

impl Bell {
    fn die(&self, why: String) {
        *self.why.lock().unwrap_or_else(PoisonError::into_inner) = why;
        self.dead.store(true, Ordering::Release);
        self.rung.notify_one();
    }

    fn alive(&self) -> Result<(), WatchError> {
        if !self.dead.load(Ordering::Acquire) {
            return Ok(());
        }
        // The next call must not wait for a bell that nobody rings any more.
        self.rung.notify_one();
        let why = self.why.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Err(WatchError::Dead { why })
    }
}

struct Ears {
    folder: PathBuf,
    bell: Arc<Bell>,
}

impl Ears {
    fn hear(&self, event: Result<Event, notify::Error>) {
        let event = match event {
            Ok(event) => event,
            Err(error) => return self.bell.die(error.to_string()),
        };
        if event.need_rescan() {
            self.bell.rung.notify_one();
        }
        if matches!(event.kind, EventKind::Access(_)) {
            return;
        }
        for path in &event.paths {
            let Ok(path) = path.strip_prefix(&self.folder) else {
                continue;
            };
            // A folder that was removed and made again goes deaf.
            let is_root = path == Path::new("") || path == Path::new("refs");
            if is_root && (matches!(event.kind, EventKind::Remove(_)) || !self.folder.join("refs").is_dir()) {
                return self.bell.die("its folder was removed".to_owned());
            }
            if matters(path) {
                self.bell.rung.notify_one();
            }
        }
    }
}

impl Drop for Ears {
    fn drop(&mut self) {
        self.bell.die("the watcher stopped".to_owned());
    }
}

/// Whether a change of this path, relative to the repository's folder, may have moved a ref that is not the ledger's.
fn matters(path: &Path) -> bool {
    let parts: Vec<&str> = path
        .components()
        .map(|part| match part {
            Component::Normal(part) => part.to_str().unwrap_or("\u{fffd}"),
            Component::Prefix(_) | Component::RootDir | Component::CurDir | Component::ParentDir => "",
        })
        .collect();
    if parts.last().is_some_and(|name| name.ends_with(".lock")) {
        return false;
    }
    match parts.as_slice() {
        ["HEAD" | "packed-refs"] => true,
        ["refs", "heads", "bayplan"] | ["refs", "heads", "bayplan", "status", ..] => false,
        ["refs", "remotes", _, "bayplan"] | ["refs", "remotes", _, "bayplan", "status", ..] => false,
        ["refs", _, ..] => true,
        _ => false,
    }
}

/// The folder that holds the refs. A linked work tree's own folder names it in the file `commondir`.
fn common_dir(git_dir: &Path) -> Result<PathBuf, WatchError> {
    let no_repository = || WatchError::NotARepository { path: git_dir.to_owned() };
    // Events name paths as they were watched, so that they are made plain before.
    let git_dir = git_dir.canonicalize().map_err(|_| no_repository())?;
    match std::fs::read_to_string(git_dir.join("commondir")) {
        Ok(text) => git_dir.join(text.trim_end()).canonicalize().map_err(|_| no_repository()),
        Err(_) => Ok(git_dir),
    }
}

#[cfg(test)]
mod tests {
    use super::matters;

    #[test]
    fn refs_matter_but_neither_locks_nor_the_ledgers_own() {
        for path in [
            "HEAD",
            "packed-refs",
            "refs/heads/main",
            "refs/heads/bayplan/next",
            "refs/heads/feature/bayplan",
            "refs/remotes/origin/main",
            "refs/tags/v1",
        ] {
            assert!(matters(path.as_ref()), "{path}");
        }
        for path in [
            "",
            "HEAD.lock",
            "packed-refs.lock",
            "index",
            "FETCH_HEAD",
            "refs",
            "refs/heads/main.lock",
            "refs/heads/bayplan",
            "refs/heads/bayplan/status",
            "refs/heads/bayplan/status.lock",
            "refs/remotes/origin/bayplan/status",
        ] {
            assert!(!matters(path.as_ref()), "{path}");
        }
    }
}
