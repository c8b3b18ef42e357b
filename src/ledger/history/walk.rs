//! Finds what each commit of the ledger says otherwise than the one beneath it, the newest first.
//!
//! Takes what is asked for. Gives the ids of the files that differ, stack by stack.
//!
//! Never reads a file that is the same as in the commit beneath, nor any record: trees are compared by their ids.

use std::collections::{BTreeMap, BTreeSet};

use git2::{Commit, Oid, Repository};

use super::{Asked, Quiet};
use crate::ledger::{HOSTS, LedgerError, STACKS, failed};
use crate::name::StackSlug;
use crate::source::local::is_cut_off_beneath;
use crate::source::trees::{Entries, Entry, Trees};

/// The parts of one commit's tree.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Parts {
    /// The folder with the records.
    pub(super) stacks: Option<Oid>,
    pub(super) hosts: Option<Oid>,
}

/// One file of the folder of records, before and after.
pub(super) struct FileChange {
    pub(super) stack: StackSlug,
    pub(super) before: Option<Oid>,
    pub(super) after: Option<Oid>,
}

/// What a commit says otherwise than the one beneath it.
pub(super) struct Step<'r> {
    pub(super) commit: Commit<'r>,
    /// Of the stacks that are asked for.
    pub(super) changes: Vec<FileChange>,
    pub(super) quiet: QuietChange,
}

pub(super) enum QuietChange {
    None,
    Joined,
    Hosts { before: Option<Oid>, after: Option<Oid> },
}

/// The ledger's commits, the newest first. Of two lines that were joined, commits of one second come in any order.
pub(super) struct Walk<'r> {
    repository: &'r Repository,
    trees: Trees<'r>,
    /// By time and by when it was found, the newest last.
    open: BTreeMap<(i64, u64), Oid>,
    found: BTreeSet<Oid>,
    /// Whose records differed anywhere so far, asked for or not.
    pub(super) stacks: BTreeSet<StackSlug>,
    /// Where it came to the end, this clone is shallow.
    pub(super) is_cut_off: bool,
}

impl<'r> Walk<'r> {
    pub(super) fn from(repository: &'r Repository, newest: Oid) -> Result<Self, LedgerError> {
        let mut walk = Self {
            repository,
            trees: Trees::of(repository.odb().map_err(failed("open the object database"))?),
            open: BTreeMap::new(),
            found: BTreeSet::new(),
            stacks: BTreeSet::new(),
            is_cut_off: false,
        };
        let first = walk.commit(newest)?;
        walk.see(&first);
        Ok(walk)
    }

    pub(super) fn commit(&self, id: Oid) -> Result<Commit<'r>, LedgerError> {
        self.repository.find_commit(id).map_err(reading())
    }

    fn see(&mut self, commit: &Commit<'_>) {
        if self.found.insert(commit.id()) {
            let earlier_first = u64::MAX - self.found.len() as u64;
            self.open.insert((commit.time().seconds(), earlier_first), commit.id());
        }
    }

    /// The next commit, and those beneath it.
    pub(super) fn next(&mut self) -> Result<Option<(Commit<'r>, Vec<Commit<'r>>)>, LedgerError> {
        let Some((_, id)) = self.open.pop_last() else { return Ok(None) };
        let commit = self.commit(id)?;
        let parents = commit.parent_ids().map(|id| self.commit(id)).collect::<Result<Vec<_>, _>>()?;
        parents.iter().for_each(|parent| self.see(parent));
        Ok(Some((commit, parents)))
    }

    /// The next of the commits, at most so many, with what they say otherwise. Empty: that was all.
    pub(super) fn steps(&mut self, most: usize, asked: &Asked) -> Result<Vec<Step<'r>>, LedgerError> {
        let mut steps = Vec::new();
        while steps.len() < most
            && let Some((commit, parents)) = self.next()?
        {
            if parents.is_empty() && is_cut_off_beneath(self.repository, commit.id()) {
                // Whether anything is new here only the commit beneath could say.
                self.is_cut_off = true;
                continue;
            }
            steps.push(self.step(commit, &parents, asked)?);
        }
        Ok(steps)
    }

    pub(super) fn parts(&mut self, commit: &Commit<'_>) -> Result<Parts, LedgerError> {
        let tree = self.trees.read(Some(commit.tree_id()))?;
        let mut parts = Parts::default();
        for entry in Entries(&tree) {
            if entry.name == STACKS.as_bytes() {
                parts.stacks = entry.folder();
            } else if entry.name == HOSTS.as_bytes() {
                parts.hosts = entry.file();
            }
        }
        Ok(parts)
    }

    pub(super) fn names(&mut self, folder: Option<Oid>) -> Result<BTreeSet<StackSlug>, LedgerError> {
        let tree = self.trees.read(folder)?;
        Ok(Entries(&tree).filter_map(|entry| slug_of(entry.name)).collect())
    }

    pub(super) fn record_blob(&mut self, commit: &Commit<'_>, stack: &StackSlug) -> Result<Option<Oid>, LedgerError> {
        let folder = self.parts(commit)?.stacks;
        let tree = self.trees.read(folder)?;
        let name = format!("{stack}.json");
        Ok(Entries(&tree).find(|entry| entry.name == name.as_bytes()).and_then(|entry| entry.file()))
    }

    /// What a commit says that none beneath it did.
    fn step(&mut self, commit: Commit<'r>, parents: &[Commit<'r>], asked: &Asked) -> Result<Step<'r>, LedgerError> {
        let tell_all = asked.quiet == Quiet::Told && asked.stack.is_none() && asked.service.is_none();
        if parents.len() > 1 {
            let quiet = if tell_all && asked.host.is_none() { QuietChange::Joined } else { QuietChange::None };
            return Ok(Step { commit, changes: Vec::new(), quiet });
        }
        let after = self.parts(&commit)?;
        let before = parents.first().map(|parent| self.parts(parent)).transpose()?.unwrap_or_default();
        if before.stacks == after.stacks {
            let is_told = tell_all && before.hosts != after.hosts;
            let hosts = QuietChange::Hosts { before: before.hosts, after: after.hosts };
            let quiet = if is_told { hosts } else { QuietChange::None };
            return Ok(Step { commit, changes: Vec::new(), quiet });
        }
        let mut changes = self.changes(before.stacks, after.stacks)?;
        self.stacks.extend(changes.iter().map(|change| change.stack.clone()));
        changes.retain(|change| asked.stack.as_ref().is_none_or(|stack| *stack == change.stack));
        Ok(Step { commit, changes, quiet: QuietChange::None })
    }

    /// The records that differ between two folders, in order of their names.
    fn changes(&mut self, before: Option<Oid>, after: Option<Oid>) -> Result<Vec<FileChange>, LedgerError> {
        let (before, after) = (self.trees.read(before)?, self.trees.read(after)?);
        let (mut old, mut new) = (Entries(&before).peekable(), Entries(&after).peekable());
        let mut changes = Vec::new();
        loop {
            let (was, is) = match (old.peek(), new.peek()) {
                (None, None) => return Ok(changes),
                (Some(_), None) => (old.next(), None),
                (None, Some(_)) => (None, new.next()),
                (Some(a), Some(b)) => match a.name.cmp(b.name) {
                    std::cmp::Ordering::Less => (old.next(), None),
                    std::cmp::Ordering::Greater => (None, new.next()),
                    std::cmp::Ordering::Equal => (old.next(), new.next()),
                },
            };
            if was == is {
                continue;
            }
            let Some(stack) = was.or(is).and_then(|entry| slug_of(entry.name)) else { continue };
            let file = |entry: Option<Entry<'_>>| entry.and_then(|entry| entry.file());
            changes.push(FileChange { stack, before: file(was), after: file(is) });
        }
    }
}

fn slug_of(name: &[u8]) -> Option<StackSlug> {
    StackSlug::new(std::str::from_utf8(name).ok()?.strip_suffix(".json")?).ok()
}

pub(super) fn reading() -> impl FnOnce(git2::Error) -> LedgerError {
    failed("read a commit of the ledger")
}
