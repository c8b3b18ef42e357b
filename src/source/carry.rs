//! Carries the ledger's own commits out of a damaged mirror.
//!
//! Takes the folder of the damaged mirror and the new one. Gives the local branch of the ledger there, as far as its
//! commits can still be read: it may hold some that were not pushed yet.
//!
//! Never gives a commit of which a part is missing, and never needs more of the damaged mirror than its objects: its
//! configuration may be what is broken.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use git2::{ErrorClass, ErrorCode, ObjectType, Odb, Oid, Repository, Signature};

use super::{LEDGER_BRANCH, REMOTE};

/// How it went, as the end of a sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Carried {
    /// There were no commits of the ledger but what the remote repository has.
    Nothing,
    All,
    /// What the newest commit says, but not all of the history beneath it.
    WithoutHistory,
    /// Up to this commit.
    UpTo(Oid),
    Lost,
}

impl fmt::Display for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("it had no ledger of its own"),
            Self::All => f.write_str("its ledger was carried over"),
            Self::WithoutHistory => f.write_str("its ledger was carried over without the damaged part of its history"),
            Self::UpTo(id) => write!(f, "its ledger was carried over up to commit {id}, the newest that is readable"),
            Self::Lost => f.write_str("no commit of its ledger could still be read, so what was not pushed is lost"),
        }
    }
}

/// What a damaged mirror's reference says.
enum Tip {
    None,
    At(Oid),
    Unreadable,
}

/// Carries the ledger's local branch over.
pub(super) fn ledger(from: &Path, into: &Path) -> Result<Carried, git2::Error> {
    let into = Repository::open_bare(into)?;
    let tracked = into.find_reference(&format!("refs/remotes/{REMOTE}/{LEDGER_BRANCH}")).ok();
    let tracked = tracked.and_then(|reference| reference.target());
    let tip = match tip_of(from) {
        Tip::None => return Ok(Carried::Nothing),
        Tip::At(tip) => Some(tip),
        Tip::Unreadable => None,
    };
    let old = Old { objects: Odb::new()?, into: into.odb()? };
    // Without objects there is nothing to read, which is found out soon enough.
    let _ = old.objects.add_disk_alternate(&from.join("objects").to_string_lossy());
    if let Some(tip) = tip {
        if let Ok(whole) = old.whole(tip) {
            old.write(&whole.objects)?;
            point(&into, tip)?;
            return Ok(Carried::All);
        }
        if let Ok(id) = graft(&old, &into, tip, tracked) {
            point(&into, id)?;
            return Ok(Carried::WithoutHistory);
        }
    }
    for candidate in old.commits_of_the_ledger() {
        let Ok(whole) = old.whole(candidate) else { continue };
        // One that does not build on what was pushed was given up once, in favour of one that does.
        if tracked.is_none_or(|tracked| whole.met.contains(&tracked)) {
            old.write(&whole.objects)?;
            point(&into, candidate)?;
            return Ok(Carried::UpTo(candidate));
        }
    }
    Ok(Carried::Lost)
}

/// Whether what the local ledger says can be read.
pub(super) fn tip_is_whole(repository: &Repository) -> Result<(), git2::Error> {
    let Ok(local) = repository.find_reference(&format!("refs/heads/{LEDGER_BRANCH}")) else { return Ok(()) };
    let Some(tip) = local.target() else { return Ok(()) };
    let odb = repository.odb()?;
    let commit = read(&odb, tip, ObjectType::Commit)?;
    let mut seen = BTreeMap::new();
    tree(&odb, links_of_commit(&commit)?.0, &|_| false, &mut seen)
}

/// Reads the reference without the repository's help.
fn tip_of(git_dir: &Path) -> Tip {
    let name = format!("refs/heads/{LEDGER_BRANCH}");
    let is_loose = git_dir.join(&name);
    if is_loose.exists() {
        let text = std::fs::read_to_string(is_loose).unwrap_or_default();
        return Oid::from_str(text.trim()).map_or(Tip::Unreadable, Tip::At);
    }
    let Ok(packed) = std::fs::read_to_string(git_dir.join("packed-refs")) else { return Tip::None };
    let line = packed.lines().find_map(|line| line.strip_suffix(&format!(" {name}")));
    match line {
        Some(id) => Oid::from_str(id).map_or(Tip::Unreadable, Tip::At),
        None => Tip::None,
    }
}

fn point(into: &Repository, at: Oid) -> Result<(), git2::Error> {
    into.reference(&format!("refs/heads/{LEDGER_BRANCH}"), at, true, "carried over").map(drop)
}

/// Puts what a commit says on top of what the remote repository has.
fn graft(old: &Old<'_>, into: &Repository, tip: Oid, onto: Option<Oid>) -> Result<Oid, git2::Error> {
    let commit = read(&old.objects, tip, ObjectType::Commit)?;
    let (root, _) = links_of_commit(&commit)?;
    let mut objects = BTreeMap::new();
    tree(&old.objects, root, &|id| old.into.exists(id), &mut objects)?;
    old.write(&objects)?;
    let message = String::from_utf8_lossy(&commit);
    let message = message.split_once("\n\n").map_or("Carry the ledger over\n", |(_, message)| message);
    let parents: Vec<git2::Commit<'_>> = onto.map(|id| into.find_commit(id)).transpose()?.into_iter().collect();
    let parents: Vec<&git2::Commit<'_>> = parents.iter().collect();
    let (name, address) = crate::source::LEDGER_COMMITTER;
    let committer = Signature::now(name, address)?;
    into.commit(None, &committer, &committer, message, &into.find_tree(root)?, &parents)
}

/// A damaged mirror's objects, beside those of the new one.
struct Old<'r> {
    objects: Odb<'r>,
    into: Odb<'r>,
}

/// All that a commit needs and the new mirror lacks.
struct Whole {
    objects: BTreeMap<Oid, ObjectType>,
    /// Commits that the new mirror has and that end the history to be carried.
    met: BTreeSet<Oid>,
}

impl Old<'_> {
    /// Reads a commit with all that is beneath it.
    fn whole(&self, tip: Oid) -> Result<Whole, git2::Error> {
        let mut whole = Whole { objects: BTreeMap::new(), met: BTreeSet::new() };
        let mut open = vec![tip];
        while let Some(id) = open.pop() {
            if self.into.exists(id) {
                whole.met.insert(id);
            } else if whole.objects.insert(id, ObjectType::Commit).is_none() {
                let commit = read(&self.objects, id, ObjectType::Commit)?;
                let (root, parents) = links_of_commit(&commit)?;
                tree(&self.objects, root, &|id| self.into.exists(id), &mut whole.objects)?;
                open.extend(parents);
            }
        }
        Ok(whole)
    }

    /// Read once more instead of kept: a long history would not fit into memory.
    fn write(&self, objects: &BTreeMap<Oid, ObjectType>) -> Result<(), git2::Error> {
        for (id, kind) in objects {
            self.into.write(*kind, &read(&self.objects, *id, *kind)?)?;
        }
        Ok(())
    }

    /// Commits that look like the ledger's, the newest first. The branch does not say any more which was the last.
    fn commits_of_the_ledger(&self) -> Vec<Oid> {
        let (name, address) = crate::source::LEDGER_COMMITTER;
        let committer = format!("\ncommitter {name} <{address}> ");
        let mut found: Vec<(i64, Oid)> = Vec::new();
        let mut parents: BTreeMap<Oid, Vec<Oid>> = BTreeMap::new();
        let mut ids = Vec::new();
        // It may end at damage; what it came to before can still be tried.
        let _ = self.objects.foreach(|id| {
            ids.push(*id);
            true
        });
        for id in ids {
            let Ok(commit) = read(&self.objects, id, ObjectType::Commit) else { continue };
            let text = String::from_utf8_lossy(&commit);
            let head = text.split_once("\n\n").map_or(&*text, |(head, _)| head);
            let Some((_, time)) = head.split_once(&committer) else { continue };
            let time = time.split(' ').next().and_then(|time| time.parse().ok()).unwrap_or(0);
            found.push((time, id));
            parents.insert(id, links_of_commit(&commit).map(|(_, parents)| parents).unwrap_or_default());
        }
        // Several may be of one second; then the one with the longer history is newer.
        let depths = depths(&parents);
        found.sort_by_key(|(time, id)| (std::cmp::Reverse((*time, depths[id])), *id));
        found.into_iter().map(|(_, id)| id).collect()
    }
}

/// How many generations are beneath each commit, as far as they are known.
fn depths(parents: &BTreeMap<Oid, Vec<Oid>>) -> BTreeMap<Oid, usize> {
    let mut depths: BTreeMap<Oid, usize> = BTreeMap::new();
    for start in parents.keys() {
        // A stack of its own, because a ledger's history is as long as it is.
        let mut open = vec![*start];
        while let Some(id) = open.last().copied() {
            let known = parents.get(&id).map(Vec::as_slice).unwrap_or_default();
            let known: Vec<Oid> = known.iter().copied().filter(|parent| parents.contains_key(parent)).collect();
            let missing: Vec<Oid> = known.iter().copied().filter(|parent| !depths.contains_key(parent)).collect();
            if missing.is_empty() {
                depths.insert(id, known.iter().map(|parent| depths[parent] + 1).max().unwrap_or(0));
                open.pop();
            } else {
                open.extend(missing);
            }
        }
    }
    depths
}

/// Notes a tree and all beneath it that is not known, after reading it.
fn tree(
    objects: &Odb<'_>,
    root: Oid,
    known: &impl Fn(Oid) -> bool,
    found: &mut BTreeMap<Oid, ObjectType>,
) -> Result<(), git2::Error> {
    let mut open = vec![(root, ObjectType::Tree)];
    while let Some((id, kind)) = open.pop() {
        if known(id) || found.insert(id, kind).is_some() {
            continue;
        }
        let bytes = read(objects, id, kind)?;
        if kind == ObjectType::Tree {
            open.extend(entries(&bytes)?);
        }
    }
    Ok(())
}

fn read(objects: &Odb<'_>, id: Oid, kind: ObjectType) -> Result<Vec<u8>, git2::Error> {
    let (_, found) = objects.read_header(id)?;
    if found != kind {
        return Err(broken("it is of another kind"));
    }
    Ok(objects.read(id)?.data().to_vec())
}

/// The tree and the parents of a commit, as Git stores them.
fn links_of_commit(commit: &[u8]) -> Result<(Oid, Vec<Oid>), git2::Error> {
    let text = String::from_utf8_lossy(commit);
    let mut lines = text.lines();
    let root = lines.next().and_then(|line| line.strip_prefix("tree ")).ok_or_else(|| broken("it has no tree"))?;
    let parents = lines.map_while(|line| line.strip_prefix("parent ")).map(Oid::from_str);
    Ok((Oid::from_str(root)?, parents.collect::<Result<_, _>>()?))
}

/// The entries of a tree, as Git stores them: mode, a space, the name, a zero, twenty bytes of the id.
fn entries(mut tree: &[u8]) -> Result<Vec<(Oid, ObjectType)>, git2::Error> {
    let mut found = Vec::new();
    while !tree.is_empty() {
        let end = tree.iter().position(|byte| *byte == 0).ok_or_else(|| broken("a tree ends early"))?;
        let id = tree.get(end + 1..end + 21).ok_or_else(|| broken("a tree ends early"))?;
        let kind = if tree.starts_with(b"40000 ") { ObjectType::Tree } else { ObjectType::Blob };
        found.push((Oid::from_bytes(id)?, kind));
        tree = &tree[end + 21..];
    }
    Ok(found)
}

fn broken(what: &str) -> git2::Error {
    git2::Error::new(ErrorCode::Invalid, ErrorClass::Object, what)
}
