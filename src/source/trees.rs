//! Finds which of some paths differ between two trees.
//!
//! Takes two trees and the paths that matter. Gives those of them that differ.
//!
//! Never reads a folder that no wanted path is below, nor one that is the same on both sides. Trees are compared as the
//! bytes that Git stores, and the last ones are kept: a walk over the history compares each tree twice, and to build
//! objects of all their entries would cost ten times the comparison.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use git2::{Odb, Oid};

use super::{SourceError, reading};

/// Two commits of each of a few lines that a walk alternates between, with their folders.
const KEPT_TREES: usize = 64;

pub(crate) struct Trees<'r> {
    odb: Odb<'r>,
    kept: BTreeMap<Oid, Arc<[u8]>>,
    /// Of `kept`, the oldest first.
    order: VecDeque<Oid>,
}

impl<'r> Trees<'r> {
    pub(crate) fn of(odb: Odb<'r>) -> Self {
        Self { odb, kept: BTreeMap::new(), order: VecDeque::new() }
    }

    /// The wanted paths whose file differs in content, mode or existence. No tree is an empty one.
    pub(super) fn changed(
        &mut self,
        old: Option<Oid>,
        new: Option<Oid>,
        wanted: &BTreeSet<Arc<str>>,
    ) -> Result<BTreeSet<Arc<str>>, SourceError> {
        let mut changed = BTreeSet::new();
        let mut open = vec![(String::new(), old, new)];
        while let Some((folder, old, new)) = open.pop() {
            if old == new {
                continue;
            }
            let (old, new) = (self.read(old)?, self.read(new)?);
            let (mut old, mut new) = (Entries(&old).peekable(), Entries(&new).peekable());
            loop {
                let (before, after) = match (old.peek(), new.peek()) {
                    (None, None) => break,
                    (Some(_), None) => (old.next(), None),
                    (None, Some(_)) => (None, new.next()),
                    (Some(a), Some(b)) => match a.place().cmp(&b.place()) {
                        std::cmp::Ordering::Less => (old.next(), None),
                        std::cmp::Ordering::Greater => (None, new.next()),
                        std::cmp::Ordering::Equal => (old.next(), new.next()),
                    },
                };
                if before == after {
                    continue;
                }
                let Some(entry) = before.or(after) else { continue };
                // A path that is not UTF-8 is nobody's.
                let Ok(name) = std::str::from_utf8(entry.name) else {
                    continue;
                };
                let path = format!("{folder}{name}");
                if let Some(path) = wanted.get(path.as_str()) {
                    changed.insert(Arc::clone(path));
                }
                let below = format!("{path}/");
                let has_wanted = wanted
                    .range::<str, _>((Bound::Included(below.as_str()), Bound::Unbounded))
                    .next()
                    .is_some_and(|path| path.starts_with(&below));
                if has_wanted {
                    open.push((below, before.and_then(Entry::folder), after.and_then(Entry::folder)));
                }
            }
        }
        Ok(changed)
    }

    /// The bytes of a tree; no tree is an empty one.
    pub(crate) fn read(&mut self, tree: Option<Oid>) -> Result<Arc<[u8]>, SourceError> {
        let Some(id) = tree else {
            return Ok(Arc::from([]));
        };
        if let Some(kept) = self.kept.get(&id) {
            return Ok(Arc::clone(kept));
        }
        let object = self.odb.read(id).map_err(reading(&format!("read the tree {id}")))?;
        let bytes: Arc<[u8]> = object.data().into();
        self.kept.insert(id, Arc::clone(&bytes));
        self.order.push_back(id);
        if self.order.len() > KEPT_TREES
            && let Some(oldest) = self.order.pop_front()
        {
            self.kept.remove(&oldest);
        }
        Ok(bytes)
    }
}

/// The entries of a tree as Git stores it: `mode name\0` and twenty bytes of id each, folders ordered as if their
/// names ended with `/`.
pub(crate) struct Entries<'t>(pub(crate) &'t [u8]);

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry<'t> {
    mode: &'t [u8],
    pub(crate) name: &'t [u8],
    id: &'t [u8],
}

impl<'t> Iterator for Entries<'t> {
    type Item = Entry<'t>;

    fn next(&mut self) -> Option<Entry<'t>> {
        const ID: usize = 20;
        let space = self.0.iter().position(|byte| *byte == b' ')?;
        let (mode, rest) = (&self.0[..space], &self.0[space + 1..]);
        let end = rest.iter().position(|byte| *byte == 0)?;
        let (name, rest) = (&rest[..end], &rest[end + 1..]);
        let id = rest.get(..ID)?;
        self.0 = &rest[ID..];
        Some(Entry { mode, name, id })
    }
}

impl<'t> Entry<'t> {
    /// What entries are ordered by. A file and a folder of one name are two places.
    fn place(&self) -> Place<'t> {
        let end: &[u8] = if self.is_folder() { b"/" } else { b"" };
        Place(self.name, end)
    }

    fn is_folder(&self) -> bool {
        self.mode == b"40000"
    }

    pub(crate) fn folder(self) -> Option<Oid> {
        self.is_folder().then(|| self.object()).flatten()
    }

    /// A symlink is none.
    pub(crate) fn file(self) -> Option<Oid> {
        self.mode.starts_with(b"100").then(|| self.object()).flatten()
    }

    fn object(self) -> Option<Oid> {
        Oid::from_bytes(self.id).ok()
    }
}

/// Compares as the two parts joined, without joining them.
struct Place<'t>(&'t [u8], &'t [u8]);

impl Ord for Place<'_> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let shared = self.0.len().min(other.0.len());
        self.0[..shared].cmp(&other.0[..shared]).then_with(|| {
            let mine = self.0[shared..].iter().chain(self.1);
            mine.cmp(other.0[shared..].iter().chain(other.1))
        })
    }
}

impl PartialOrd for Place<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Place<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Place<'_> {}

#[cfg(test)]
mod tests {
    use super::{Entries, Place};

    #[test]
    fn a_folder_is_ordered_as_if_its_name_ended_with_a_slash() {
        let mut places = [Place(b"a", b"/"), Place(b"a-b", b""), Place(b"a0", b""), Place(b"a", b"")];
        places.sort();
        let joined: Vec<Vec<u8>> = places.iter().map(|place| [place.0, place.1].concat()).collect();
        assert_eq!(joined, [&b"a"[..], b"a-b", b"a/", b"a0"]);
    }

    #[test]
    fn a_cut_off_tree_ends_at_its_last_whole_entry() {
        let tree = [b"100644 a\0".as_slice(), &[7; 20], b"100644 b\0", &[7; 19]].concat();
        assert_eq!(Entries(&tree).count(), 1);
        assert_eq!(Entries(b"").count(), 0);
    }
}
