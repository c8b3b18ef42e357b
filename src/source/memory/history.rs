//! What the history of a simulated repository says.
//!
//! Plain walks: a simulated history is short.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Commit, MemoryRepository};
use crate::name::Revision;
use crate::source::history::trailers_of_text;
use crate::source::{SourceError, Trailer};

impl MemoryRepository {
    pub(crate) fn commit_at(&self, revision: &Revision) -> Result<Commit, SourceError> {
        self.find(revision).ok_or_else(|| SourceError::NoSuchRevision { revision: revision.clone() })
    }

    /// A commit and all that are reachable from it.
    pub(crate) fn ancestors(&self, of: &Revision) -> Result<BTreeSet<Revision>, SourceError> {
        let mut found = BTreeSet::new();
        let mut open = vec![of.clone()];
        while let Some(revision) = open.pop() {
            if found.insert(revision.clone()) {
                open.extend(self.commit_at(&revision)?.parents);
            }
        }
        Ok(found)
    }

    /// What is reachable from `of`, children before their parents.
    pub(crate) fn newest_first(&self, of: &Revision) -> Result<Vec<Revision>, SourceError> {
        let mut children: BTreeMap<Revision, usize> = BTreeMap::new();
        for revision in self.ancestors(of)? {
            for parent in self.commit_at(&revision)?.parents {
                *children.entry(parent).or_default() += 1;
            }
        }
        let mut sorted = Vec::new();
        let mut open = vec![of.clone()];
        while let Some(revision) = open.pop() {
            for parent in self.commit_at(&revision)?.parents {
                let left = children.entry(parent.clone()).or_default();
                *left = left.saturating_sub(1);
                if *left == 0 {
                    open.push(parent);
                }
            }
            sorted.push(revision);
        }
        Ok(sorted)
    }

    /// The commit that changed a path last: from parent to parent that has it in the same shape.
    pub(super) fn last_change(&self, head: &Revision, path: &Arc<str>) -> Result<Option<Revision>, SourceError> {
        let mut at = head.clone();
        loop {
            let commit = self.commit_at(&at)?;
            let here = commit.files.get(path);
            let mut same = None;
            for parent in &commit.parents {
                if self.commit_at(parent)?.files.get(path) == here {
                    same = Some(parent.clone());
                    break;
                }
            }
            match same {
                Some(parent) => at = parent,
                None if commit.parents.is_empty() && here.is_none() => return Ok(None),
                None => return Ok(Some(at)),
            }
        }
    }

    pub(super) fn trailers(&self, head: &Revision, not_before: Option<&Revision>) -> Result<Vec<Trailer>, SourceError> {
        let hidden = not_before.map(|hidden| self.ancestors(hidden)).transpose()?.unwrap_or_default();
        let mut found = Vec::new();
        for revision in self.newest_first(head)?.into_iter().filter(|revision| !hidden.contains(revision)) {
            for (key, value) in trailers_of_text(&self.commit_at(&revision)?.message) {
                found.push(Trailer { revision: revision.clone(), key, value });
            }
        }
        Ok(found)
    }

    pub(super) fn root_commit(&self, head: &Revision) -> Result<Revision, SourceError> {
        let mut at = head.clone();
        while let Some(parent) = self.commit_at(&at)?.parents.first() {
            at = parent.clone();
        }
        Ok(at)
    }
}
