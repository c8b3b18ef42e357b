//! A repository in this process, for the simulation.
//!
//! Takes commits, whole trees of texts, and faults. Gives what the Git repository would to whoever reads it as a source or
//! keeps a ledger in it: one contract holds for both (`tests/git_contract.rs`).
//!
//! Never runs anything in the background and reads no clock but tokio's, so that paused time works and two runs of one
//! script are the same.

pub mod faults;
mod history;
mod reader;
pub(crate) mod trouble;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::watch;

use super::{LEDGER_BRANCH, REMOTE, Source};
use crate::name::{Digest, Revision};
use faults::{Act, Fault, FaultId, Faults, Times, Trouble, Which};

pub(super) use reader::{Bell, Reader};

/// A tree: path to what is there.
pub type Files = BTreeMap<Arc<str>, Entry>;

/// What a tree has at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    Text(Arc<str>),
    Symlink,
}

/// A commit. Who made it and when is not asked by anybody.
#[derive(Debug, Clone)]
pub struct Commit {
    pub parents: Vec<Revision>,
    pub files: Arc<Files>,
    pub message: String,
}

/// A simulated repository. Clones are the same repository; [`MemoryRepository::cloned`] makes another one.
#[derive(Clone)]
pub struct MemoryRepository(Arc<Shared>);

struct Shared {
    name: String,
    origin: Option<MemoryRepository>,
    /// Of this repository and all that were cloned from it: fetching only moves refs.
    objects: Arc<Mutex<BTreeMap<Revision, Commit>>>,
    refs: Mutex<BTreeMap<String, Revision>>,
    faults: Mutex<Faults>,
    /// Rings when a branch moved that is not the ledger's.
    moved: watch::Sender<()>,
}

/// How a source sees the repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// As the user's own.
    InPlace,
    /// As a mirror, which sees what was fetched.
    Mirror,
}

/// A watched repository and branch in this process.
pub fn open(repository: &MemoryRepository, branch: &str, place: Place) -> Source {
    Source::in_memory(Reader::new(repository.clone(), branch, place))
}

impl std::fmt::Debug for MemoryRepository {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MemoryRepository({})", self.0.name)
    }
}

impl MemoryRepository {
    /// An empty repository without a remote one. The name tells it from others in messages.
    pub fn new(name: &str) -> Self {
        Self::with(name, None, Arc::default(), BTreeMap::new())
    }

    /// What `git clone` makes: this one is its `origin`, and its branches but the ledger's are local ones too.
    pub fn cloned(&self, name: &str) -> Self {
        let mut refs = BTreeMap::new();
        for (branch, revision) in self.branches() {
            if branch != LEDGER_BRANCH {
                refs.insert(local(&branch), revision.clone());
            }
            refs.insert(tracking(&branch), revision);
        }
        Self::with(name, Some(self.clone()), self.0.objects.clone(), refs)
    }

    fn with(
        name: &str,
        origin: Option<Self>,
        objects: Arc<Mutex<BTreeMap<Revision, Commit>>>,
        refs: BTreeMap<String, Revision>,
    ) -> Self {
        Self(Arc::new(Shared {
            name: name.to_owned(),
            origin,
            objects,
            refs: Mutex::new(refs),
            faults: Mutex::default(),
            moved: watch::Sender::new(()),
        }))
    }

    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Commits a whole tree on top of a branch, as a person does.
    pub fn commit(&self, branch: &str, message: &str, files: Files) -> Revision {
        let parents = self.head(branch).into_iter().collect();
        let revision = self.make(Commit { parents, files: Arc::new(files), message: message.to_owned() });
        self.set(branch, Some(&revision));
        revision
    }

    /// Makes a commit that no branch is at yet.
    pub fn make(&self, commit: Commit) -> Revision {
        let mut objects = self.objects();
        // Counted, because a real commit differs from another one by its time at least.
        let id = Digest::of(format!("{} {commit:?}", objects.len()).as_bytes());
        let revision = Revision::new(&id.as_str()[..40]).expect("forty hex digits are a commit id");
        objects.insert(revision.clone(), commit);
        revision
    }

    /// Moves a branch, wherever it was; `None` deletes it.
    pub fn set(&self, branch: &str, to: Option<&Revision>) {
        self.set_ref(&local(branch), to);
        if branch != LEDGER_BRANCH {
            self.0.moved.send_replace(());
        }
    }

    pub fn head(&self, branch: &str) -> Option<Revision> {
        self.get_ref(&local(branch))
    }

    pub fn find(&self, revision: &Revision) -> Option<Commit> {
        self.objects().get(revision).cloned()
    }

    /// Lets calls of those who use this repository go wrong from now on.
    pub fn fault(&self, fault: Fault, which: Which, times: Times) -> FaultId {
        self.faults().add(fault, which, times)
    }

    pub fn lift(&self, fault: FaultId) {
        self.faults().lift(fault);
    }

    pub fn lift_all(&self) {
        self.faults().lift_all();
    }

    pub(crate) fn origin(&self) -> Option<&Self> {
        self.0.origin.as_ref()
    }

    pub(crate) fn local_ledger(&self) -> Option<Revision> {
        self.get_ref(&local(LEDGER_BRANCH))
    }

    pub(crate) fn tracked_ledger(&self) -> Option<Revision> {
        self.get_ref(&tracking(LEDGER_BRANCH))
    }

    pub(crate) fn track_ledger(&self, to: &Revision) {
        self.set_ref(&tracking(LEDGER_BRANCH), Some(to));
    }

    /// Moves the local branch of the ledger, but only from where it was seen. Says whether it did.
    pub(crate) fn swap_ledger(&self, from: Option<&Revision>, to: &Revision) -> bool {
        let mut refs = self.refs();
        let name = local(LEDGER_BRANCH);
        if refs.get(&name) != from {
            return false;
        }
        refs.insert(name, to.clone());
        true
    }

    /// Waits as long as the call takes; a fault that strikes it is the answer.
    pub(crate) async fn begin(&self, act: Act) -> Result<(), Trouble> {
        let fault = self.faults().strike(act);
        faults::suffer(act, fault).await
    }

    fn branches(&self) -> Vec<(String, Revision)> {
        let refs = self.refs();
        let heads = refs.iter().filter_map(|(name, at)| Some((name.strip_prefix("refs/heads/")?, at)));
        heads.map(|(branch, at)| (branch.to_owned(), at.clone())).collect()
    }

    fn get_ref(&self, name: &str) -> Option<Revision> {
        self.refs().get(name).cloned()
    }

    fn set_ref(&self, name: &str, to: Option<&Revision>) {
        match to {
            Some(to) => self.refs().insert(name.to_owned(), to.clone()),
            None => self.refs().remove(name),
        };
    }

    /// What `git fetch --prune` does to the watched branch and the ledger's.
    fn fetch(&self, branch: &str) {
        let Some(origin) = self.origin() else { return };
        for branch in [branch, LEDGER_BRANCH] {
            self.set_ref(&tracking(branch), origin.head(branch).as_ref());
        }
    }

    fn objects(&self) -> MutexGuard<'_, BTreeMap<Revision, Commit>> {
        self.0.objects.lock().expect(UNBROKEN)
    }

    fn refs(&self) -> MutexGuard<'_, BTreeMap<String, Revision>> {
        self.0.refs.lock().expect(UNBROKEN)
    }

    fn faults(&self) -> MutexGuard<'_, Faults> {
        self.0.faults.lock().expect(UNBROKEN)
    }
}

const UNBROKEN: &str = "nothing panics while it holds a part of the repository";

fn local(branch: &str) -> String {
    format!("refs/heads/{branch}")
}

fn tracking(branch: &str) -> String {
    format!("refs/remotes/{REMOTE}/{branch}")
}
