//! Joins two ledgers that have parted.
//!
//! Takes the local and the remote commit. Gives a commit on top of both, so that a push needs no force and no commit of
//! either is lost from the history.
//!
//! Never mixes two versions of one file line by line: half a record is none. A file that both changed is taken from the
//! local ledger, because the local one saw the world last; a stack's record keeps what the other knows for good.

use std::collections::BTreeSet;

use git2::{ErrorCode, ObjectType, Oid, Repository, Tree};

use super::branch::{owner_of, swap, tree_of, write_commit};
use super::{LedgerError, convert, failed};

/// Joins the remote ledger into the local one, unless one of them is ahead of the other already.
pub(super) fn join(repository: &Repository, local: Oid, remote: Oid) -> Result<(), LedgerError> {
    let comparing = || failed("compare the ledger with the remote one");
    let base = match repository.merge_base(local, remote) {
        Ok(base) if base == local || base == remote => return Ok(()),
        Ok(base) => Some(base),
        Err(error) if error.code() == ErrorCode::NotFound => None,
        Err(error) => return Err(comparing()(error)),
    };
    if let (Some(theirs), Some(ours)) = (owner_of(repository, remote)?, owner_of(repository, local)?)
        && theirs != ours
    {
        return Err(LedgerError::OtherOwner { theirs, ours });
    }
    let base = base.map(|base| tree_of(repository, base)).transpose()?;
    let ours = tree_of(repository, local)?;
    let theirs = tree_of(repository, remote)?;
    let tree = join_folders(repository, base.as_ref(), Some(&ours), Some(&theirs))?;
    let tree = match tree {
        Some(tree) => tree,
        None => ours.id(),
    };
    let message = "Join the ledger with the remote one\n";
    let joined = write_commit(repository, tree, &[remote, local], message)?;
    swap(repository, Some(local), joined)
}

/// One entry of a folder: mode and id.
type Entry = Option<(i32, Oid)>;

fn join_folders(
    repository: &Repository,
    base: Option<&Tree<'_>>,
    ours: Option<&Tree<'_>>,
    theirs: Option<&Tree<'_>>,
) -> Result<Option<Oid>, LedgerError> {
    let joining = || failed("join the ledger with the remote one");
    let mut builder = repository.treebuilder(None).map_err(joining())?;
    let names: BTreeSet<Vec<u8>> = [ours, theirs]
        .into_iter()
        .flatten()
        .flat_map(|tree| tree.iter().map(|entry| entry.name_bytes().to_vec()).collect::<Vec<_>>())
        .collect();
    for name in &names {
        let (b, o, t) = (entry(base, name), entry(ours, name), entry(theirs, name));
        let folders = [&b, &o, &t].map(|entry| folder(repository, entry));
        let picked = if o == t || t == b {
            o
        } else if o == b {
            t
        } else if let [b, Some(o), Some(t)] = &folders {
            join_folders(repository, b.as_ref(), Some(o), Some(t))?.map(|id| (0o040_000, id))
        } else {
            join_files(repository, name, o, t)?
        };
        if let Some((mode, id)) = picked {
            builder.insert(name.as_slice(), id, mode).map_err(joining())?;
        }
    }
    if builder.is_empty() {
        return Ok(None);
    }
    builder.write().map(Some).map_err(joining())
}

/// A file that both changed.
fn join_files(repository: &Repository, name: &[u8], ours: Entry, theirs: Entry) -> Result<Entry, LedgerError> {
    let (Some((mode, o)), Some((_, t))) = (ours, theirs) else { return Ok(ours) };
    let Some(slug) = std::str::from_utf8(name).ok().and_then(|name| name.strip_suffix(".json")) else {
        return Ok(ours);
    };
    let text = |id| repository.find_blob(id).ok().and_then(|blob| String::from_utf8(blob.content().to_vec()).ok());
    let joined = text(o).zip(text(t)).and_then(|(ours, theirs)| convert::join_records(slug, &ours, &theirs));
    let Some(joined) = joined else { return Ok(ours) };
    let id = repository.blob(joined.as_bytes()).map_err(failed("join the ledger with the remote one"))?;
    Ok(Some((mode, id)))
}

fn entry(tree: Option<&Tree<'_>>, name: &[u8]) -> Entry {
    let entry = tree?.iter().find(|entry| entry.name_bytes() == name)?;
    Some((entry.filemode(), entry.id()))
}

fn folder<'r>(repository: &'r Repository, entry: &Entry) -> Option<Tree<'r>> {
    let (_, id) = (*entry)?;
    let object = repository.find_object(id, Some(ObjectType::Tree)).ok()?;
    object.into_tree().ok()
}
