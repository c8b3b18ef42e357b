//! Asks the history: who changed a path last, what commit messages confirm, where the history began.
//!
//! Takes a commit. Gives commits and trailers.
//!
//! Never walks what an earlier call has walked, as long as the history only grows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use git2::{Commit, ErrorCode, Oid, Repository, Sort};

use super::local::{is_cut_off_beneath, open_repository};
use super::trees::Trees;
use super::{Door, Inner, Source, SourceError, Trailer, find_commit, lock, reading, revision, with};
use crate::name::Revision;

/// About ten years of a busy team; a walk over so many takes seconds and happens once, at the start.
const MOST_COMMITS: usize = 50_000;

/// Between two passes there are a few commits; the limit is for a first look at a long history.
const MOST_TRAILER_COMMITS: usize = 10_000;

/// Paths that are remembered although nobody asked for them lately.
const MOST_REMEMBERED: usize = 100_000;

impl Source {
    /// The `Bayplan-…` trailers of the commits that are reachable from `head` and not from `not_before`, the newest
    /// commit first; of at most 10,000 commits.
    ///
    /// # Errors
    /// [`SourceError::NoSuchRevision`] when one of both is not, or no longer, in the repository; else when a commit
    /// cannot be read.
    pub async fn trailers(&self, head: &Revision, not_before: Option<&Revision>) -> Result<Vec<Trailer>, SourceError> {
        match self.door() {
            Door::Git(inner) => {
                let (head, not_before) = (head.clone(), not_before.cloned());
                with(inner, move |inner| trailers(&*inner.repository()?, &head, not_before.as_ref())).await
            }
            Door::Memory(memory) => memory.trailers(head, not_before).await,
        }
    }

    /// Whether a commit is another one or has it beneath.
    ///
    /// # Errors
    /// [`SourceError::NoSuchRevision`] when one of both is not, or no longer, in the repository; else when a commit
    /// cannot be read.
    pub async fn contains(&self, above: &Revision, beneath: &Revision) -> Result<bool, SourceError> {
        if above == beneath {
            return Ok(true);
        }
        match self.door() {
            Door::Git(inner) => {
                let (above, beneath) = (above.clone(), beneath.clone());
                with(inner, move |inner| contains(&*inner.repository()?, &above, &beneath)).await
            }
            Door::Memory(memory) => memory.contains(above, beneath).await,
        }
    }

    /// The commit at the end of the line of first parents: it names the repository for the owner label.
    ///
    /// # Errors
    /// [`SourceError::Shallow`] when the clone does not reach it; else when a commit cannot be read.
    pub async fn root_commit(&self, head: &Revision) -> Result<Revision, SourceError> {
        match self.door() {
            Door::Git(inner) => {
                let head = head.clone();
                with(inner, move |inner| {
                    let mut known = lock(&inner.root);
                    root_commit(&*inner.repository()?, &head, &mut known)
                })
                .await
            }
            Door::Memory(memory) => memory.root_commit(head).await,
        }
    }
}

/// Who changed which path last, as seen from one commit.
#[derive(Default)]
pub(super) struct Changes {
    head: Option<Revision>,
    /// None: no commit ever had the path.
    last: BTreeMap<Arc<str>, Option<Revision>>,
}

pub(super) fn last_changes(
    inner: &Inner,
    head: &Revision,
    paths: &BTreeSet<Arc<str>>,
    known: &mut Changes,
) -> Result<BTreeMap<Arc<str>, Revision>, SourceError> {
    if known.head.as_ref() != Some(head) || !paths.iter().all(|path| known.last.contains_key(path)) {
        if known.head.is_none() {
            // Opened for this long walk: libgit2 keeps what it has read for as long as a repository is open.
            learn(&open_repository(inner.home().git_dir())?, head, paths, known)?;
        } else {
            learn(&*inner.repository()?, head, paths, known)?;
        }
    }
    let answer = |path: &Arc<str>| {
        let last = known.last.get(path)?.clone()?;
        Some((Arc::clone(path), last))
    };
    Ok(paths.iter().filter_map(answer).collect())
}

fn learn(
    repository: &Repository,
    head: &Revision,
    paths: &BTreeSet<Arc<str>>,
    known: &mut Changes,
) -> Result<(), SourceError> {
    let first = find_commit(repository, head)?;
    let mut wanted = paths.clone();
    let same_head = known.head.as_ref() == Some(head);
    if same_head {
        wanted.retain(|path| !known.last.contains_key(path));
    } else if known.last.len() <= MOST_REMEMBERED {
        wanted.extend(known.last.keys().cloned());
    }
    let walk = Walk {
        repository,
        trees: Trees::of(repository.odb().map_err(reading("open the object database"))?),
        known_head: known.head.as_ref().and_then(|head| Oid::from_str(head.as_str()).ok()),
        known,
        at: BTreeMap::new(),
        found: BTreeMap::new(),
    };
    let found = walk.run(&first, wanted)?;
    if same_head {
        known.last.extend(found);
    } else {
        *known = Changes { head: Some(head.clone()), last: found };
    }
    Ok(())
}

/// One walk for many paths. Each path goes from a commit to the first parent that has it in the same shape; the commit
/// that has no such parent changed it. That is the first commit that `git log PATH` shows.
struct Walk<'a> {
    repository: &'a Repository,
    trees: Trees<'a>,
    known_head: Option<Oid>,
    known: &'a Changes,
    /// Paths by the commit that they have come to, the newest commit last.
    at: BTreeMap<(i64, Oid), BTreeSet<Arc<str>>>,
    found: BTreeMap<Arc<str>, Option<Revision>>,
}

impl Walk<'_> {
    fn run(
        mut self,
        head: &Commit<'_>,
        paths: BTreeSet<Arc<str>>,
    ) -> Result<BTreeMap<Arc<str>, Option<Revision>>, SourceError> {
        self.at.insert((head.time().seconds(), head.id()), paths);
        let mut commits = 0;
        while let Some(((_, id), paths)) = self.at.pop_last() {
            commits += 1;
            if commits > MOST_COMMITS {
                self.found_at(id, paths);
            } else {
                self.visit(id, paths)?;
            }
        }
        Ok(self.found)
    }

    fn visit(&mut self, id: Oid, mut paths: BTreeSet<Arc<str>>) -> Result<(), SourceError> {
        if self.known_head == Some(id) {
            paths.retain(|path| match self.known.last.get(path) {
                Some(last) => {
                    self.found.insert(Arc::clone(path), last.clone());
                    false
                }
                None => true,
            });
        }
        let commit = self.repository.find_commit(id).map_err(reading(&format!("read commit {id}")))?;
        let mut has_parent = false;
        for parent_id in commit.parent_ids() {
            if paths.is_empty() {
                return Ok(());
            }
            let parent = match self.repository.find_commit(parent_id) {
                Ok(parent) => parent,
                // A shallow clone ends here; so does `git log`.
                Err(error) if error.code() == ErrorCode::NotFound && self.repository.is_shallow() => continue,
                Err(error) => return Err(reading(&format!("read commit {parent_id}"))(error)),
            };
            has_parent = true;
            let changed = self.trees.changed(Some(parent.tree_id()), Some(commit.tree_id()), &paths)?;
            for path in &changed {
                paths.remove(path);
            }
            // What is the same there goes on from there; the rest tries the next parent.
            let mut same = std::mem::replace(&mut paths, changed);
            if !same.is_empty() {
                let at = (parent.time().seconds(), parent_id);
                self.at.entry(at).or_default().append(&mut same);
            }
        }
        if !has_parent {
            let made_here = self.trees.changed(None, Some(commit.tree_id()), &paths)?;
            let never = paths.difference(&made_here).map(|path| (Arc::clone(path), None));
            self.found.extend(never);
            paths = made_here;
        }
        self.found_at(id, paths);
        Ok(())
    }

    fn found_at(&mut self, commit: Oid, paths: BTreeSet<Arc<str>>) {
        let commit = Some(revision(commit));
        self.found.extend(paths.into_iter().map(|path| (path, commit.clone())));
    }
}

fn contains(repository: &Repository, above: &Revision, beneath: &Revision) -> Result<bool, SourceError> {
    let (above, beneath) = (find_commit(repository, above)?.id(), find_commit(repository, beneath)?.id());
    repository.graph_descendant_of(above, beneath).map_err(reading("walk the history"))
}

fn trailers(
    repository: &Repository,
    head: &Revision,
    not_before: Option<&Revision>,
) -> Result<Vec<Trailer>, SourceError> {
    let walking = || reading("walk the history");
    let mut walk = repository.revwalk().map_err(walking())?;
    walk.set_sorting(Sort::TOPOLOGICAL | Sort::TIME).map_err(walking())?;
    walk.push(find_commit(repository, head)?.id()).map_err(walking())?;
    if let Some(not_before) = not_before {
        walk.hide(find_commit(repository, not_before)?.id()).map_err(walking())?;
    }
    let mut found = Vec::new();
    for id in walk.take(MOST_TRAILER_COMMITS) {
        let id = id.map_err(walking())?;
        let commit = repository.find_commit(id).map_err(walking())?;
        for (key, value) in trailers_of(&commit) {
            found.push(Trailer { revision: revision(id), key, value });
        }
    }
    Ok(found)
}

/// The `Bayplan-…` trailers of a message, in the usual spelling. One that is not UTF-8 has none.
pub(crate) fn trailers_of(commit: &Commit<'_>) -> Vec<(String, String)> {
    commit.message().map_or_else(|_| Vec::new(), trailers_of_text)
}

pub(crate) fn trailers_of_text(message: &str) -> Vec<(String, String)> {
    let Ok(trailers) = git2::message_trailers_strs(message) else {
        return Vec::new();
    };
    let ours = trailers.iter().filter_map(|(key, value)| {
        let key = usual_spelling(key);
        key.starts_with("Bayplan-").then(|| (key, value.trim().to_owned()))
    });
    ours.collect()
}

/// Trailer names are read without regard to case; this is how ours are written.
fn usual_spelling(key: &str) -> String {
    let words = key.split('-').map(|word| {
        let mut chars = word.chars();
        match chars.next() {
            Some(first) => first.to_ascii_uppercase().to_string() + &chars.as_str().to_ascii_lowercase(),
            None => String::new(),
        }
    });
    words.collect::<Vec<_>>().join("-")
}

fn root_commit(
    repository: &Repository,
    head: &Revision,
    known: &mut Option<(Oid, Oid)>,
) -> Result<Revision, SourceError> {
    let mut commit = find_commit(repository, head)?;
    let head = commit.id();
    let root = loop {
        if let Some((from, root)) = *known
            && from == commit.id()
        {
            break root;
        }
        if commit.parent_count() == 0 {
            if is_cut_off_beneath(repository, commit.id()) {
                return Err(SourceError::Shallow);
            }
            break commit.id();
        }
        commit = match commit.parent(0) {
            Ok(parent) => parent,
            Err(error) if error.code() == ErrorCode::NotFound => return Err(SourceError::Shallow),
            Err(error) => return Err(reading("walk to the root commit")(error)),
        };
    };
    *known = Some((head, root));
    Ok(revision(root))
}

#[cfg(test)]
mod tests {
    use super::usual_spelling;

    #[test]
    fn trailer_names_are_read_in_any_case() {
        assert_eq!(usual_spelling("bayplan-ALLOW-removal"), "Bayplan-Allow-Removal");
    }
}
