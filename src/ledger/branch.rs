//! Reads and writes the ledger's branch without a work tree.
//!
//! Takes a change. Gives a commit on top of the newest one, or none when the tree would be the same.
//!
//! Never writes an object for what is already there: a pass with nothing to say leaves no trace.

use std::collections::BTreeMap;
use std::sync::Arc;

use git2::{Commit, ErrorCode, ObjectType, Oid, Repository, Signature, Sort, Tree, TreeBuilder};

use super::{
    COMMITTER, Change, HOSTS, LedgerCommit, LedgerError, PAGE, STACKS, Told, convert, failed, local_ref, told_by,
    tracking_ref,
};
use crate::model::record::Ledger;
use crate::name::{Revision, StackSlug};
use crate::source::commit_at;
use crate::source::history::trailers_of;
use crate::source::moving::{Expected, Unmoved, move_reference};

const FILE_MODE: i32 = 0o100_644;
const FOLDER_MODE: i32 = 0o040_000;

/// The ledger as it was last read, with the ids of the blobs that it was read from.
#[derive(Default)]
pub(super) struct Seen {
    ledger: Arc<Ledger>,
    head: Option<Oid>,
    stacks: BTreeMap<StackSlug, Oid>,
    hosts: Option<Oid>,
}

/// The newest commit: of the local and the remote-tracking branch the one that is ahead. If they have parted it is the
/// local one, which the next push joins with the other.
pub(super) fn head(repository: &Repository) -> Result<Option<Oid>, LedgerError> {
    let local = tip(repository, &local_ref())?;
    let remote = tip(repository, &tracking_ref())?;
    match (local, remote) {
        (Some(local), Some(remote)) if local != remote => {
            let behind = repository
                .graph_descendant_of(remote, local)
                .map_err(failed("compare the ledger with the remote one"))?;
            Ok(Some(if behind { remote } else { local }))
        }
        (Some(local), _) => Ok(Some(local)),
        (None, remote) => Ok(remote),
    }
}

pub(super) fn tip(repository: &Repository, name: &str) -> Result<Option<Oid>, LedgerError> {
    match repository.find_reference(name) {
        Ok(found) => Ok(Some(commit_at(repository, &found).map_err(failed(&format!("read {name}")))?)),
        Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
        Err(error) => Err(failed(&format!("read {name}"))(error)),
    }
}

pub(super) fn read(repository: &Repository, head: Option<Oid>, seen: &mut Seen) -> Result<Arc<Ledger>, LedgerError> {
    let Some(head) = head else {
        *seen = Seen::default();
        return Ok(Arc::clone(&seen.ledger));
    };
    if seen.head == Some(head) {
        return Ok(Arc::clone(&seen.ledger));
    }
    let tree = tree_of(repository, head)?;
    let (made_for, controller) = told_by(head, |id| {
        let commit = repository.find_commit(*id).map_err(failed("read a commit of the ledger"))?;
        Ok(Told { trailers: trailers_of(&commit), parents: commit.parent_ids().collect() })
    })?;
    let mut ledger = Ledger {
        commit: Some(revision(head)),
        head: made_for,
        controller,
        owner: seen.ledger.owner.clone(),
        records: seen.ledger.records.clone(),
        hosts: BTreeMap::new(),
    };
    let stacks = stack_blobs(repository, &tree)?;
    ledger.records.retain(|slug, _| stacks.contains_key(slug));
    for (slug, blob) in &stacks {
        if seen.stacks.get(slug) != Some(blob) {
            let text = text(repository, *blob, &convert::stack_path(slug.as_str()))?;
            ledger.records.insert(slug.clone(), convert::read_record(slug.as_str(), &text)?);
        }
    }
    let hosts = blob(&tree, HOSTS)?;
    match hosts {
        Some(same) if seen.hosts == Some(same) => ledger.hosts = seen.ledger.hosts.clone(),
        Some(changed) => {
            let (owner, hosts) = convert::read_hosts(&text(repository, changed, HOSTS)?)?;
            ledger.owner = Some(owner);
            ledger.hosts = hosts;
        }
        None => ledger.owner = None,
    }
    // Only now: had a file been broken, the next call must find it again.
    *seen = Seen { ledger: Arc::new(ledger), head: Some(head), stacks, hosts };
    Ok(Arc::clone(&seen.ledger))
}

/// Commits once; who lost a race builds again on what the other wrote.
pub(super) fn commit(
    repository: &Repository,
    change: &Change,
    seen: &mut Seen,
) -> Result<Option<Revision>, LedgerError> {
    let local = tip(repository, &local_ref())?;
    let head = head(repository)?;
    let ledger = read(repository, head, seen)?;
    if let Some(theirs) = &ledger.owner
        && *theirs != change.owner
    {
        return Err(LedgerError::OtherOwner { theirs: theirs.clone(), ours: change.owner.clone() });
    }
    let base = head.map(|head| tree_of(repository, head)).transpose()?;
    let tree = build(repository, base.as_ref(), change, &ledger)?;
    if base.is_some_and(|base| base.id() == tree) {
        return Ok(None);
    }
    let parents: Vec<Oid> = head.into_iter().collect();
    let new = write_commit(repository, tree, &parents, &message(change))?;
    swap(repository, local, new)?;
    Ok(Some(revision(new)))
}

pub(super) fn write_commit(
    repository: &Repository,
    tree: Oid,
    parents: &[Oid],
    message: &str,
) -> Result<Oid, LedgerError> {
    let writing = || failed("write a commit of the ledger");
    let find = |id: &Oid| repository.find_commit(*id);
    let parents = parents.iter().map(find).collect::<Result<Vec<_>, _>>().map_err(writing())?;
    let parents: Vec<&Commit<'_>> = parents.iter().collect();
    let tree = repository.find_tree(tree).map_err(writing())?;
    let (name, address) = COMMITTER;
    let committer = Signature::now(name, address).map_err(writing())?;
    repository.commit(None, &committer, &committer, message, &tree, &parents).map_err(writing())
}

/// Moves the local branch, but only from where it was seen.
pub(super) fn swap(repository: &Repository, from: Option<Oid>, to: Oid) -> Result<(), LedgerError> {
    swap_ref(repository, &local_ref(), from, to)
}

/// Moves a reference, but only from where it was seen.
pub(super) fn swap_ref(repository: &Repository, name: &str, from: Option<Oid>, to: Oid) -> Result<(), LedgerError> {
    move_reference(repository, name, Expected::from(from), to, "ledger").map_err(|unmoved| match unmoved {
        Unmoved::Elsewhere => LedgerError::Race,
        Unmoved::Locked { path, .. } => LedgerError::Locked { path },
        Unmoved::Failed(error) => failed(&format!("move {name}"))(error),
    })
}

pub(super) fn log(repository: &Repository, limit: usize) -> Result<Vec<LedgerCommit>, LedgerError> {
    let walking = || failed("walk the ledger's history");
    let Some(head) = head(repository)? else {
        return Ok(Vec::new());
    };
    let mut walk = repository.revwalk().map_err(walking())?;
    walk.set_sorting(Sort::TOPOLOGICAL | Sort::TIME).map_err(walking())?;
    walk.push(head).map_err(walking())?;
    let mut commits = Vec::new();
    for id in walk.take(limit) {
        let commit = repository.find_commit(id.map_err(walking())?).map_err(walking())?;
        let text = String::from_utf8_lossy(commit.message_bytes());
        commits.push(told(revision(commit.id()), &text, trailers_of(&commit)));
    }
    Ok(commits)
}

/// A commit, with its message without the trailers.
pub(super) fn told(revision: Revision, text: &str, trailers: Vec<(String, String)>) -> LedgerCommit {
    let message = match text.trim_end().rsplit_once("\n\n") {
        Some((message, _)) if !trailers.is_empty() => message,
        _ => text,
    };
    LedgerCommit { revision, message: message.trim().to_owned(), trailers }
}

pub(super) fn tree_of(repository: &Repository, commit: Oid) -> Result<Tree<'_>, LedgerError> {
    let commit = repository.find_commit(commit).map_err(failed("read a commit of the ledger"))?;
    commit.tree().map_err(failed("read a tree of the ledger"))
}

/// Reads the owner that a commit of the ledger names.
pub(super) fn owner_of(repository: &Repository, commit: Oid) -> Result<Option<String>, LedgerError> {
    match blob(&tree_of(repository, commit)?, HOSTS)? {
        Some(id) => Ok(Some(convert::read_hosts(&text(repository, id, HOSTS)?)?.0)),
        None => Ok(None),
    }
}

fn build(
    repository: &Repository,
    base: Option<&Tree<'_>>,
    change: &Change,
    ledger: &Ledger,
) -> Result<Oid, LedgerError> {
    let writing = || failed("write a tree of the ledger");
    let old_stacks = base.and_then(|base| base.get_name(STACKS)).map(|entry| entry.id());
    let old_stacks =
        old_stacks.map(|id| repository.find_tree(id)).transpose().map_err(failed("read a tree of the ledger"))?;
    let mut root = Folder::on(repository, base)?;
    let mut stacks = Folder::on(repository, old_stacks.as_ref())?;
    for (slug, record) in &change.records {
        let name = format!("{slug}.json");
        match record {
            Some(record) if ledger.records.get(slug) == Some(record) => {}
            Some(record) => stacks.put(&name, &convert::write_record(record))?,
            None => stacks.remove(&name)?,
        }
    }
    if stacks.changed {
        if stacks.builder.is_empty() {
            root.remove(STACKS)?;
        } else {
            let id = stacks.builder.write().map_err(writing())?;
            root.insert(STACKS, id, FOLDER_MODE)?;
        }
    }
    let hosts = change.hosts.as_ref().unwrap_or(&ledger.hosts);
    if ledger.owner.is_none() || *hosts != ledger.hosts {
        root.put(HOSTS, &convert::write_hosts(&change.owner, hosts))?;
    }
    if let Some(page) = &change.page {
        root.put(PAGE, page)?;
    }
    match base {
        Some(base) if !root.changed => Ok(base.id()),
        _ => root.builder.write().map_err(writing()),
    }
}

/// A folder of the tree that is being built.
struct Folder<'r> {
    repository: &'r Repository,
    builder: TreeBuilder<'r>,
    changed: bool,
}

impl<'r> Folder<'r> {
    fn on(repository: &'r Repository, base: Option<&Tree<'_>>) -> Result<Self, LedgerError> {
        let builder = repository.treebuilder(base).map_err(failed("read a tree of the ledger"))?;
        Ok(Self { repository, builder, changed: false })
    }

    fn put(&mut self, name: &str, text: &str) -> Result<(), LedgerError> {
        let writing = || failed("write a file of the ledger");
        let id = Oid::hash_object(ObjectType::Blob, text.as_bytes()).map_err(writing())?;
        let old = self.builder.get(name).map_err(writing())?;
        if old.is_some_and(|old| old.id() == id && old.filemode() == FILE_MODE) {
            return Ok(());
        }
        let id = self.repository.blob(text.as_bytes()).map_err(writing())?;
        self.insert(name, id, FILE_MODE)
    }

    fn insert(&mut self, name: &str, id: Oid, mode: i32) -> Result<(), LedgerError> {
        self.builder.insert(name, id, mode).map_err(failed("write a tree of the ledger"))?;
        self.changed = true;
        Ok(())
    }

    fn remove(&mut self, name: &str) -> Result<(), LedgerError> {
        let removing = || failed("remove a file from the ledger");
        if self.builder.get(name).map_err(removing())?.is_some() {
            self.builder.remove(name).map_err(removing())?;
            self.changed = true;
        }
        Ok(())
    }
}

/// The sentence, an empty line, the trailers.
pub(super) fn message(change: &Change) -> String {
    let mut text = git2::message_prettify(change.message.trim(), None).unwrap_or_else(|_| change.message.clone());
    if text.trim().is_empty() {
        text = "Record what is deployed\n".to_owned();
    }
    if !change.trailers.is_empty() {
        text.push('\n');
    }
    for (key, value) in &change.trailers {
        // One line each: a line break would end the trailers there.
        let value = value.split_whitespace().collect::<Vec<_>>().join(" ");
        text.push_str(&format!("{key}: {value}\n"));
    }
    text
}

fn stack_blobs(repository: &Repository, tree: &Tree<'_>) -> Result<BTreeMap<StackSlug, Oid>, LedgerError> {
    let broken = |path: String, why: &str| LedgerError::Broken { path, why: why.to_owned() };
    let mut blobs = BTreeMap::new();
    let Some(folder) = tree.get_name(STACKS) else {
        return Ok(blobs);
    };
    if folder.kind() != Some(ObjectType::Tree) {
        return Err(broken(STACKS.to_owned(), "it is no folder"));
    }
    let folder = repository.find_tree(folder.id()).map_err(failed("read a tree of the ledger"))?;
    for entry in &folder {
        let name = String::from_utf8_lossy(entry.name_bytes());
        let Some(slug) = name.strip_suffix(".json") else {
            continue;
        };
        let path = format!("{STACKS}/{name}");
        let slug = StackSlug::new(slug).map_err(|why| broken(path.clone(), &format!("its name {why}")))?;
        if entry.kind() != Some(ObjectType::Blob) || entry.filemode() == 0o120_000 {
            return Err(broken(path, "it is no file"));
        }
        blobs.insert(slug, entry.id());
    }
    Ok(blobs)
}

fn blob(tree: &Tree<'_>, name: &str) -> Result<Option<Oid>, LedgerError> {
    match tree.get_name(name) {
        Some(entry) if entry.kind() == Some(ObjectType::Blob) => Ok(Some(entry.id())),
        Some(_) => Err(LedgerError::Broken { path: name.to_owned(), why: "it is no file".to_owned() }),
        None => Ok(None),
    }
}

pub(super) fn text(repository: &Repository, blob: Oid, path: &str) -> Result<String, LedgerError> {
    let blob = repository.find_blob(blob).map_err(failed(&format!("read `{path}` of the ledger")))?;
    String::from_utf8(blob.content().to_vec())
        .map_err(|_| LedgerError::Broken { path: path.to_owned(), why: "it is not UTF-8".to_owned() })
}

pub(super) fn revision(id: Oid) -> Revision {
    Revision::new(&id.to_string()).expect("an object id is a full commit id")
}
