//! Reads a simulated repository as a source does.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use git2::{ObjectType, Oid};
use tokio::sync::watch;

use super::faults::{Act, Trouble};
use super::trouble::failed;
use super::{Entry, MemoryRepository, Place, local, tracking};
use crate::files::SourceFile;
use crate::name::Revision;
use crate::source::snapshot::is_read;
use crate::source::{LARGEST_FILE, ROOTS, Snapshot, SourceError, Trailer, TreeProblem, TreeProblemKind};

/// A repository as one source sees it.
pub struct Reader {
    pub(crate) repository: MemoryRepository,
    pub(crate) branch: String,
    pub(crate) place: Place,
    /// There is no folder; it is for messages.
    pub(crate) git_dir: PathBuf,
}

/// Waits until the repository's branches may have moved.
pub struct Bell(watch::Receiver<()>);

impl Bell {
    pub(crate) async fn rung(&mut self) {
        if self.0.changed().await.is_err() {
            // The repository is gone, and with it whoever could move a branch.
            std::future::pending::<()>().await;
        }
    }
}

impl Reader {
    pub(super) fn new(repository: MemoryRepository, branch: &str, place: Place) -> Self {
        let git_dir = PathBuf::from(repository.name());
        Self { repository, branch: branch.to_owned(), place, git_dir }
    }

    pub(crate) fn bell(&self) -> Bell {
        Bell(self.repository.0.moved.subscribe())
    }

    pub(crate) async fn fetch(&self) -> Result<(), SourceError> {
        match self.place {
            Place::InPlace => Ok(()),
            Place::Mirror => {
                let begun = self.repository.begin(Act::Fetch).await;
                if matches!(begun, Ok(()) | Err(Trouble::DoneButFailed)) {
                    self.repository.fetch(&self.branch);
                }
                begun.map_err(|trouble| failed(Act::Fetch, trouble))
            }
        }
    }

    pub(crate) async fn head(&self) -> Result<Option<Revision>, SourceError> {
        self.begin(Act::Head).await?;
        Ok(self.repository.get_ref(&match self.place {
            Place::InPlace => local(&self.branch),
            Place::Mirror => tracking(&self.branch),
        }))
    }

    pub(crate) async fn snapshot(&self, of: &Revision) -> Result<Snapshot, SourceError> {
        self.begin(Act::Files).await?;
        let commit = self.repository.commit_at(of)?;
        let mut snapshot = Snapshot { revision: Some(of.clone()), files: Vec::new(), problems: Vec::new() };
        for (path, entry) in commit.files.iter() {
            let root = path.split('/').next().unwrap_or_default();
            let name = path.rsplit('/').next().unwrap_or_default();
            let is_link = *entry == Entry::Symlink;
            if ROOTS.contains(&root) && (is_link || (name != &**path && is_read(name))) {
                put(&mut snapshot, path, entry);
            }
        }
        Ok(snapshot)
    }

    pub(crate) async fn snapshot_paths(&self, of: &Revision, paths: &[String]) -> Result<Snapshot, SourceError> {
        self.begin(Act::Files).await?;
        let commit = self.repository.commit_at(of)?;
        let mut snapshot = Snapshot { revision: Some(of.clone()), files: Vec::new(), problems: Vec::new() };
        let paths: BTreeSet<&str> = paths.iter().map(String::as_str).collect();
        for (path, entry) in paths.into_iter().filter_map(|path| commit.files.get_key_value(path)) {
            put(&mut snapshot, path, entry);
        }
        Ok(snapshot)
    }

    pub(crate) async fn last_changes(
        &self,
        head: &Revision,
        paths: &BTreeSet<Arc<str>>,
    ) -> Result<BTreeMap<Arc<str>, Revision>, SourceError> {
        self.begin(Act::History).await?;
        let mut found = BTreeMap::new();
        for path in paths {
            if let Some(last) = self.repository.last_change(head, path)? {
                found.insert(path.clone(), last);
            }
        }
        Ok(found)
    }

    pub(crate) async fn trailers(
        &self,
        head: &Revision,
        not_before: Option<&Revision>,
    ) -> Result<Vec<Trailer>, SourceError> {
        self.begin(Act::History).await?;
        self.repository.trailers(head, not_before)
    }

    pub(crate) async fn contains(&self, above: &Revision, beneath: &Revision) -> Result<bool, SourceError> {
        self.begin(Act::History).await?;
        self.repository.commit_at(beneath)?;
        Ok(self.repository.ancestors(above)?.contains(beneath))
    }

    pub(crate) async fn root_commit(&self, head: &Revision) -> Result<Revision, SourceError> {
        self.begin(Act::History).await?;
        self.repository.root_commit(head)
    }

    async fn begin(&self, act: Act) -> Result<(), SourceError> {
        self.repository.begin(act).await.map_err(|trouble| failed(act, trouble))
    }
}

fn put(snapshot: &mut Snapshot, path: &Arc<str>, entry: &Entry) {
    let path = path.clone();
    match entry {
        Entry::Symlink => snapshot.problems.push(TreeProblem { path, why: TreeProblemKind::Symlink }),
        Entry::Text(text) if text.len() as u64 > LARGEST_FILE => {
            let why = TreeProblemKind::TooLarge { bytes: text.len() as u64 };
            snapshot.problems.push(TreeProblem { path, why });
        }
        Entry::Text(text) => {
            let blob = Oid::hash_object(ObjectType::Blob, text.as_bytes()).expect("a text can be hashed");
            snapshot.files.push(SourceFile { path, blob: blob.to_string().into(), text: text.clone() });
        }
    }
}
