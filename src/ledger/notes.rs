//! Keeps notes beside the commits that were deployed, for `git log --notes=bayplan`.
//!
//! Takes what became of a stack at a commit. Gives a line for it in that commit's note; a later one of the same stack
//! takes its place.
//!
//! Never writes over what another writer noted meanwhile: the reference is compared and swapped, and pushed without force.
//! Where two wrote at once both are kept, line by line for one commit.

use std::time::Duration;

use git2::{Oid, Repository, Tree};

use super::branch::{swap_ref, tip, tree_of, write_commit};
use super::remote::{self, Line};
use super::{Door, Inner, LOCK_PAUSE, LedgerError, Pushed, StatusBranch, TRIES, failed, with};
use crate::name::{Revision, StackSlug};

/// Where Git looks for notes of this name.
const NOTES: &str = "refs/notes/bayplan";

/// Not below `refs/notes/`: it is no notes to be shown.
const TRACKING: &str = "refs/bayplan/origin-notes";

const LINE: Line = Line { local: || NOTES.to_owned(), tracking: || TRACKING.to_owned(), join, limit: LIMIT };

/// New commits are not fetched while notes are pushed, so a server that is slow gets less time for them than for the ledger.
const LIMIT: Duration = Duration::from_secs(20);

const FILE_MODE: i32 = 0o100_644;
const FOLDER_MODE: i32 = 0o040_000;

impl StatusBranch {
    /// Notes beside a commit what became of a stack there. A simulated repository keeps no notes.
    ///
    /// # Errors
    /// When objects cannot be read or written, the reference is locked, or others are faster five times.
    pub async fn note(&self, of: &Revision, stack: &StackSlug, result: &str) -> Result<(), LedgerError> {
        let Door::Git(inner) = &self.0 else { return Ok(()) };
        let mut tries = 0;
        loop {
            tries += 1;
            let (of, stack, result) = (of.clone(), stack.clone(), result.to_owned());
            let write = move |inner: &Inner| write(&*inner.repository()?, &of, &stack, &result);
            match with(inner, write).await {
                Err(LedgerError::Race) if tries < TRIES => {}
                Err(LedgerError::Locked { .. }) if tries < TRIES => tokio::time::sleep(LOCK_PAUSE).await,
                done => return done,
            }
        }
    }

    /// Pushes the notes to `origin`, without force.
    ///
    /// # Errors
    /// When `git` fails, is missing or takes longer than 20 s, or the remote repository refuses.
    pub async fn push_notes(&self) -> Result<Pushed, LedgerError> {
        match &self.0 {
            Door::Git(inner) => remote::push(inner, LINE).await,
            Door::Memory(_) => Ok(Pushed::NoRemote),
        }
    }
}

fn write(repository: &Repository, of: &Revision, stack: &StackSlug, result: &str) -> Result<(), LedgerError> {
    let head = tip(repository, NOTES)?;
    let base = head.map(|head| tree_of(repository, head)).transpose()?;
    let before = find(repository, base.as_ref(), of.as_str())?;
    let before = before.map(|blob| text(repository, blob)).transpose()?.unwrap_or_default();
    let after = with_line(&before, stack.as_str(), result);
    if after == before {
        return Ok(());
    }
    let tree = put(repository, base.as_ref(), of.as_str(), &after)?;
    let parents: Vec<Oid> = head.into_iter().collect();
    let new = write_commit(repository, tree, &parents, "Note what was deployed\n")?;
    swap_ref(repository, NOTES, head, new)
}

/// A note with the line of a stack, which takes the place of an earlier one. A result of several lines becomes one. In order
/// of the stacks, whichever ended first.
fn with_line(note: &str, stack: &str, result: &str) -> String {
    let result = result.split_whitespace().collect::<Vec<_>>().join(" ");
    let line = format!("{stack}: {result}");
    let is_of_stack = |line: &&str| line.split_once(": ").is_some_and(|(of, _)| of == stack);
    let mut lines: Vec<&str> = note.lines().filter(|line| !is_of_stack(line)).collect();
    lines.push(&line);
    lines.sort_unstable();
    lines.join("\n") + "\n"
}

/// Joins the remote notes into the local ones, unless one of them has the other beneath already.
fn join(repository: &Repository, local: Oid, remote: Oid) -> Result<(), LedgerError> {
    let comparing = || failed("compare the notes with the remote ones");
    if repository.graph_descendant_of(local, remote).map_err(comparing())? {
        return Ok(());
    }
    if repository.graph_descendant_of(remote, local).map_err(comparing())? {
        return swap_ref(repository, NOTES, Some(local), remote);
    }
    let mut joined = tree_of(repository, local)?;
    for (of, theirs) in all(repository, &tree_of(repository, remote)?)? {
        let ours = find(repository, Some(&joined), &of)?;
        if ours == Some(theirs) {
            continue;
        }
        let theirs = text(repository, theirs)?;
        let note = match ours {
            Some(ours) => union(&text(repository, ours)?, &theirs),
            None => theirs,
        };
        let id = put(repository, Some(&joined), &of, &note)?;
        joined = repository.find_tree(id).map_err(writing())?;
    }
    let new = write_commit(repository, joined.id(), &[remote, local], "Join the notes with the remote ones\n")?;
    swap_ref(repository, NOTES, Some(local), new)
}

/// The lines of one note, then those that only the other has.
fn union(ours: &str, theirs: &str) -> String {
    let known: Vec<&str> = ours.lines().collect();
    let new = theirs.lines().filter(|line| !known.contains(line));
    known.iter().copied().chain(new).collect::<Vec<_>>().join("\n") + "\n"
}

/// The note of a commit. Git names it by the commit's id, cut into folders of two digits where there are many.
fn find(repository: &Repository, tree: Option<&Tree<'_>>, of: &str) -> Result<Option<Oid>, LedgerError> {
    let Some(tree) = tree else { return Ok(None) };
    if let Some(note) = tree.get_name(of) {
        return Ok(Some(note.id()));
    }
    match folder(repository, tree, of)? {
        Some((folder, rest)) => find(repository, Some(&folder), rest),
        None => Ok(None),
    }
}

/// The folder that a note is in, and its name there.
fn folder<'r, 'n>(
    repository: &'r Repository,
    tree: &Tree<'_>,
    of: &'n str,
) -> Result<Option<(Tree<'r>, &'n str)>, LedgerError> {
    let Some((lead, rest)) = of.split_at_checked(2).filter(|(_, rest)| !rest.is_empty()) else { return Ok(None) };
    let Some(entry) = tree.get_name(lead).filter(|entry| entry.filemode() == FOLDER_MODE) else { return Ok(None) };
    let folder = repository.find_tree(entry.id()).map_err(failed("read a tree of the notes"))?;
    Ok(Some((folder, rest)))
}

/// The tree with a note in it, in the folder where Git would look for it.
fn put(repository: &Repository, tree: Option<&Tree<'_>>, of: &str, note: &str) -> Result<Oid, LedgerError> {
    let mut builder = repository.treebuilder(tree).map_err(writing())?;
    let inner = tree.map(|tree| folder(repository, tree, of)).transpose()?.flatten();
    match inner {
        Some((folder, rest)) if builder.get(of).map_err(writing())?.is_none() => {
            let id = put(repository, Some(&folder), rest, note)?;
            builder.insert(&of[..2], id, FOLDER_MODE).map_err(writing())?;
        }
        Some(_) | None => {
            let id = repository.blob(note.as_bytes()).map_err(writing())?;
            builder.insert(of, id, FILE_MODE).map_err(writing())?;
        }
    }
    builder.write().map_err(writing())
}

/// All notes by the id of their commit.
fn all(repository: &Repository, tree: &Tree<'_>) -> Result<Vec<(String, Oid)>, LedgerError> {
    let mut found = Vec::new();
    let mut open = vec![(String::new(), tree.id())];
    while let Some((lead, id)) = open.pop() {
        let tree = repository.find_tree(id).map_err(failed("read a tree of the notes"))?;
        for entry in &tree {
            let name = format!("{lead}{}", String::from_utf8_lossy(entry.name_bytes()));
            if entry.filemode() == FOLDER_MODE {
                open.push((name, entry.id()));
            } else {
                found.push((name, entry.id()));
            }
        }
    }
    Ok(found)
}

fn text(repository: &Repository, note: Oid) -> Result<String, LedgerError> {
    let blob = repository.find_blob(note).map_err(failed("read a note"))?;
    Ok(String::from_utf8_lossy(blob.content()).into_owned())
}

fn writing() -> impl FnOnce(git2::Error) -> LedgerError {
    failed("write a note")
}

#[cfg(test)]
mod tests {
    use super::{union, with_line};

    #[test]
    fn a_stack_has_one_line_which_its_next_result_replaces() {
        let first = with_line("", "shop", "failed: it\nexited");
        assert_eq!(first, "shop: failed: it exited\n");
        let second = with_line(&first, "blog", "running on host-1");
        let third = with_line(&second, "shop", "rolled back: it exited");
        assert_eq!(third, "blog: running on host-1\nshop: rolled back: it exited\n");
    }

    #[test]
    fn of_two_notes_every_line_is_kept_once() {
        assert_eq!(union("a: 1\nb: 2\n", "b: 2\na: 3\n"), "a: 1\nb: 2\na: 3\n");
    }
}
