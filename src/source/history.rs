//! Asks the history: who changed a path last, what commit messages confirm, where the history began.
//!
//! Takes a commit. Gives commits and trailers.
//!
//! Never walks what an earlier call has walked, as long as the history only grows.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use git2::{Commit, DiffOptions, ErrorCode, Oid, Repository, Sort, Tree};

use super::{SourceError, Trailer, find_commit, open_repository, reading, revision};
use crate::name::Revision;

/// About ten years of a busy team; a walk over so many takes seconds and happens once, at the start.
const MOST_COMMITS: usize = 50_000;

/// Between two passes there are a few commits; the limit is for a first look at a long history.
const MOST_TRAILER_COMMITS: usize = 10_000;

/// Paths that are remembered although nobody asked for them lately.
const MOST_REMEMBERED: usize = 100_000;

/// Who changed which path last, as seen from one commit.
#[derive(Default)]
pub(super) struct Changes {
    head: Option<Oid>,
    /// None: no commit ever had the path.
    last: BTreeMap<Arc<str>, Option<Oid>>,
}

pub(super) fn last_changes(
    git_dir: &Path,
    head: &Revision,
    paths: &BTreeSet<Arc<str>>,
    known: &mut Changes,
) -> Result<BTreeMap<Arc<str>, Revision>, SourceError> {
    // Opened for this walk: libgit2 keeps what it has read for as long as a repository is open.
    let repository = open_repository(git_dir)?;
    let head = find_commit(&repository, head)?.id();
    let mut wanted = paths.clone();
    if known.head == Some(head) {
        wanted.retain(|path| !known.last.contains_key(path));
    } else if known.last.len() <= MOST_REMEMBERED {
        wanted.extend(known.last.keys().cloned());
    }
    if !wanted.is_empty() {
        let found = Walk::from(&repository, known).run(head, wanted)?;
        if known.head != Some(head) {
            *known = Changes { head: Some(head), last: BTreeMap::new() };
        }
        known.last.extend(found);
    }
    let answer = |path: &Arc<str>| {
        let id = (*known.last.get(path)?)?;
        Some((Arc::clone(path), revision(id)))
    };
    Ok(paths.iter().filter_map(answer).collect())
}

/// One walk for many paths. Each path goes from a commit to the first parent that has it in the same shape; the commit
/// that has no such parent changed it. That is the first commit that `git log PATH` shows.
struct Walk<'a> {
    repository: &'a Repository,
    known: &'a Changes,
    /// Paths by the commit that they have come to, the newest commit last.
    at: BTreeMap<(i64, Oid), BTreeSet<Arc<str>>>,
    found: BTreeMap<Arc<str>, Option<Oid>>,
}

impl<'a> Walk<'a> {
    fn from(repository: &'a Repository, known: &'a Changes) -> Self {
        Self { repository, known, at: BTreeMap::new(), found: BTreeMap::new() }
    }

    fn run(mut self, head: Oid, paths: BTreeSet<Arc<str>>) -> Result<BTreeMap<Arc<str>, Option<Oid>>, SourceError> {
        let first = self.find(head)?;
        self.at.insert((first.time().seconds(), head), paths);
        let mut commits = 0;
        while let Some(((_, id), paths)) = self.at.pop_last() {
            commits += 1;
            if commits > MOST_COMMITS {
                self.found.extend(paths.into_iter().map(|path| (path, Some(id))));
            } else {
                self.visit(id, paths)?;
            }
        }
        Ok(self.found)
    }

    fn visit(&mut self, id: Oid, mut paths: BTreeSet<Arc<str>>) -> Result<(), SourceError> {
        if self.known.head == Some(id) {
            paths.retain(|path| match self.known.last.get(path) {
                Some(last) => {
                    self.found.insert(Arc::clone(path), *last);
                    false
                }
                None => true,
            });
            if paths.is_empty() {
                return Ok(());
            }
        }
        let commit = self.find(id)?;
        let tree = commit.tree().map_err(reading(&format!("read the tree of {id}")))?;
        let mut has_parent = false;
        for parent_id in commit.parent_ids() {
            let parent = match self.repository.find_commit(parent_id) {
                Ok(parent) => parent,
                // A shallow clone ends here; so does `git log`.
                Err(error) if error.code() == ErrorCode::NotFound => continue,
                Err(error) => return Err(reading(&format!("read commit {parent_id}"))(error)),
            };
            has_parent = true;
            let mut same = paths.clone();
            if parent.tree_id() != tree.id() {
                let parent_tree = parent.tree().map_err(reading(&format!("read the tree of {parent_id}")))?;
                for path in changed(self.repository, Some(&parent_tree), &tree)? {
                    same.remove(path.as_str());
                }
            }
            if !same.is_empty() {
                paths.retain(|path| !same.contains(path));
                self.at.entry((parent.time().seconds(), parent_id)).or_default().append(&mut same);
            }
            if paths.is_empty() {
                return Ok(());
            }
        }
        if !has_parent {
            let here: BTreeSet<String> = changed(self.repository, None, &tree)?.into_iter().collect();
            paths.retain(|path| {
                let made_here = here.contains(&**path);
                if !made_here {
                    self.found.insert(Arc::clone(path), None);
                }
                made_here
            });
        }
        self.found.extend(paths.into_iter().map(|path| (path, Some(id))));
        Ok(())
    }

    fn find(&self, id: Oid) -> Result<Commit<'a>, SourceError> {
        self.repository.find_commit(id).map_err(reading(&format!("read commit {id}")))
    }
}

/// Paths of files that differ between two trees. A path that is not UTF-8 is nobody's and left out.
fn changed(repository: &Repository, old: Option<&Tree<'_>>, new: &Tree<'_>) -> Result<Vec<String>, SourceError> {
    let mut options = DiffOptions::new();
    options.skip_binary_check(true).include_typechange(true);
    let diff = repository
        .diff_tree_to_tree(old, Some(new), Some(&mut options))
        .map_err(reading(&format!("compare the tree {}", new.id())))?;
    let paths = diff.deltas().flat_map(|delta| {
        let (old, new) = (delta.old_file(), delta.new_file());
        let path = |file: git2::DiffFile<'_>| Some(std::str::from_utf8(file.path_bytes()?).ok()?.to_owned());
        [path(old), path(new)]
    });
    let mut paths: Vec<String> = paths.flatten().collect();
    paths.dedup();
    Ok(paths)
}

pub(super) fn trailers(
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
    let Some(trailers) = commit.message().ok().and_then(|text| git2::message_trailers_strs(text).ok()) else {
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

pub(super) fn root_commit(
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
            // A shallow clone hides the parents of the commits that it ends at.
            if repository.is_shallow() {
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
