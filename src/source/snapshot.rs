//! Reads the files of a commit from Git's object database.
//!
//! Takes a commit and what was read before. Gives its files under `stacks/` and `hosts/` as texts, and problems.
//!
//! Never reads a folder or a file again that the last snapshot had under the same object id: a push changes a few files
//! of thousands, and the time to see it is the user's.

use std::collections::BTreeMap;
use std::sync::Arc;

use git2::{ObjectType, Odb, Oid, Repository};

use super::{
    LARGEST_FILE, MOST_FILES, ROOTS, Snapshot, SourceError, TreeProblem, TreeProblemKind, find_commit, reading,
};
use crate::files::SourceFile;
use crate::name::Revision;

/// People nest a few; a tree made to exhaust the stack nests thousands.
pub(super) const DEEPEST: usize = 32;

/// Entries of any kind, so that a tree full of other files, or one that repeats itself, ends too.
pub(super) const MOST_ENTRIES: usize = 10 * MOST_FILES;

/// What was read before.
#[derive(Default)]
pub(super) struct Seen {
    /// By root folder, as the last snapshot had it.
    roots: BTreeMap<&'static str, Arc<Folder>>,
    /// Blob id to its text.
    texts: BTreeMap<Oid, Text>,
}

/// A folder of the tree and what is below it.
struct Folder {
    tree: Oid,
    /// In the order of their names.
    entries: Vec<(Arc<str>, Entry)>,
    /// Entries here and below, of any kind.
    count: usize,
    /// Files here and below.
    files: usize,
}

#[derive(Clone)]
enum Entry {
    Folder(Arc<Folder>),
    File(Oid, SourceFile),
    Problem(TreeProblem),
}

#[derive(Clone)]
enum Text {
    Read(Arc<str>),
    Problem(TreeProblemKind),
}

pub(super) fn read(repository: &Repository, of: &Revision, seen: &mut Seen) -> Result<Snapshot, SourceError> {
    let commit = find_commit(repository, of)?;
    let tree = commit.tree().map_err(reading(&format!("read the tree of {of}")))?;
    let odb = repository.odb().map_err(reading("open the object database"))?;
    let mut snapshot = Snapshot { revision: Some(of.clone()), files: Vec::new(), problems: Vec::new() };
    let mut reader = Reader { repository, odb, texts: &mut seen.texts, files: 0, entries: 0 };
    for root in ROOTS {
        let Some(entry) = tree.get_name(root) else {
            seen.roots.remove(root);
            continue;
        };
        if let Some(problem) = mode_problem(entry.filemode()) {
            snapshot.problems.push(TreeProblem { path: root.into(), why: problem });
        } else if entry.kind() == Some(ObjectType::Tree) {
            let folder = match reader.folder(root, entry.id(), seen.roots.get(root), 0) {
                Ok(folder) => folder,
                Err(Stop::TooMany) => {
                    snapshot
                        .problems
                        .push(TreeProblem { path: root.into(), why: TreeProblemKind::TooMany { count: reader.files } });
                    seen.roots.remove(root);
                    continue;
                }
                Err(Stop::Failed(error)) => return Err(error),
            };
            flatten(&folder, &mut snapshot);
            seen.roots.insert(root, folder);
        }
    }
    drop(reader);
    forget_unused(&mut seen.texts, snapshot.files.len());
    snapshot.problems.sort();
    Ok(snapshot)
}

/// Reads single files, wherever they are.
pub(super) fn read_paths(
    repository: &Repository,
    of: &Revision,
    paths: &[String],
    seen: &mut Seen,
) -> Result<Snapshot, SourceError> {
    let commit = find_commit(repository, of)?;
    let tree = commit.tree().map_err(reading(&format!("read the tree of {of}")))?;
    let odb = repository.odb().map_err(reading("open the object database"))?;
    let mut reader = Reader { repository, odb, texts: &mut seen.texts, files: 0, entries: 0 };
    let mut snapshot = Snapshot { revision: Some(of.clone()), files: Vec::new(), problems: Vec::new() };
    let mut paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    paths.sort_unstable();
    paths.dedup();
    for path in paths {
        let plain = !path.is_empty() && path.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
        if !plain {
            continue;
        }
        // Absent, or below something that is no folder.
        let Ok(entry) = tree.get_path(path.as_ref()) else {
            continue;
        };
        let path: Arc<str> = path.into();
        if let Some(why) = mode_problem(entry.filemode()) {
            snapshot.problems.push(TreeProblem { path, why });
        } else if entry.kind() == Some(ObjectType::Blob) {
            match reader.file(path, entry.id())? {
                Entry::File(_, file) => snapshot.files.push(file),
                Entry::Problem(problem) => snapshot.problems.push(problem),
                Entry::Folder(_) => {}
            }
        }
    }
    Ok(snapshot)
}

/// Whether a file of this name is read; others are inert.
pub(super) fn is_read(name: &str) -> bool {
    [".json", ".jsonld", ".yaml", ".yml"].iter().any(|ending| name.len() > ending.len() && name.ends_with(ending))
}

struct Reader<'r> {
    repository: &'r Repository,
    odb: Odb<'r>,
    texts: &'r mut BTreeMap<Oid, Text>,
    /// Counted so far, over all folders.
    files: usize,
    entries: usize,
}

enum Stop {
    TooMany,
    Failed(SourceError),
}

impl From<SourceError> for Stop {
    fn from(error: SourceError) -> Self {
        Self::Failed(error)
    }
}

impl Reader<'_> {
    fn folder(&mut self, path: &str, id: Oid, before: Option<&Arc<Folder>>, depth: usize) -> Result<Arc<Folder>, Stop> {
        if let Some(same) = before
            && same.tree == id
        {
            self.files += same.files;
            self.entries += same.count;
            self.within_limits()?;
            return Ok(Arc::clone(same));
        }
        let tree = self.repository.find_tree(id).map_err(reading(&format!("read the folder `{path}`")))?;
        let (files, count) = (self.files, self.entries);
        let mut entries: Vec<(Arc<str>, Entry)> = Vec::new();
        for entry in &tree {
            self.entries += 1;
            self.within_limits()?;
            let Ok(name) = entry.name() else {
                let path = format!("{path}/{}", String::from_utf8_lossy(entry.name_bytes()));
                let problem = TreeProblem { path: path.into(), why: TreeProblemKind::NotUtf8 };
                entries.push((String::from_utf8_lossy(entry.name_bytes()).into(), Entry::Problem(problem)));
                continue;
            };
            let earlier = before.and_then(|folder| folder.entry(name));
            let path = || -> String { format!("{path}/{name}") };
            let problem = |why| Entry::Problem(TreeProblem { path: path().into(), why });
            let found = if let Some(why) = mode_problem(entry.filemode()) {
                problem(why)
            } else if entry.kind() == Some(ObjectType::Tree) {
                if depth == DEEPEST {
                    problem(TreeProblemKind::TooDeep)
                } else {
                    let earlier = match earlier {
                        Some(Entry::Folder(folder)) => Some(folder),
                        Some(Entry::File(..) | Entry::Problem(_)) | None => None,
                    };
                    Entry::Folder(self.folder(&path(), entry.id(), earlier, depth + 1)?)
                }
            } else if is_read(name) {
                self.files += 1;
                self.within_limits()?;
                match earlier {
                    Some(same @ Entry::File(blob, _)) if *blob == entry.id() => same.clone(),
                    Some(Entry::File(_, file)) => self.file(Arc::clone(&file.path), entry.id())?,
                    Some(Entry::Folder(_) | Entry::Problem(_)) | None => self.file(path().into(), entry.id())?,
                }
            } else {
                continue;
            };
            entries.push((name.into(), found));
        }
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(Arc::new(Folder { tree: id, entries, count: self.entries - count, files: self.files - files }))
    }

    fn file(&mut self, path: Arc<str>, blob: Oid) -> Result<Entry, SourceError> {
        let text = match self.texts.get(&blob) {
            Some(text) => text.clone(),
            None => {
                let text = read_text(&self.odb, blob, &path)?;
                self.texts.insert(blob, text.clone());
                text
            }
        };
        Ok(match text {
            Text::Read(text) => {
                let id = blob.to_string().into();
                Entry::File(blob, SourceFile { path, blob: id, text })
            }
            Text::Problem(why) => Entry::Problem(TreeProblem { path, why }),
        })
    }

    fn within_limits(&self) -> Result<(), Stop> {
        if self.files > MOST_FILES || self.entries > MOST_ENTRIES { Err(Stop::TooMany) } else { Ok(()) }
    }
}

impl Folder {
    fn entry(&self, name: &str) -> Option<&Entry> {
        let at = self.entries.binary_search_by(|(known, _)| (**known).cmp(name)).ok()?;
        Some(&self.entries[at].1)
    }
}

fn read_text(odb: &Odb<'_>, blob: Oid, path: &str) -> Result<Text, SourceError> {
    let failed = || reading(&format!("read the file `{path}`"));
    // The size first: what is too large is never brought into memory.
    let (size, _) = odb.read_header(blob).map_err(failed())?;
    if size as u64 > LARGEST_FILE {
        return Ok(Text::Problem(TreeProblemKind::TooLarge { bytes: size as u64 }));
    }
    let object = odb.read(blob).map_err(failed())?;
    Ok(match std::str::from_utf8(object.data()) {
        Ok(text) => Text::Read(text.into()),
        Err(_) => Text::Problem(TreeProblemKind::NotUtf8),
    })
}

fn mode_problem(mode: i32) -> Option<TreeProblemKind> {
    match mode {
        0o120_000 => Some(TreeProblemKind::Symlink),
        0o160_000 => Some(TreeProblemKind::Submodule),
        _ => None,
    }
}

fn flatten(folder: &Folder, into: &mut Snapshot) {
    flatten_entries(folder, into);
    // Within a folder names are sorted as names, but paths compare with the `/` after a folder's name.
    if !into.files.is_sorted_by(|a, b| a.path <= b.path) {
        into.files.sort_by(|a, b| a.path.cmp(&b.path));
    }
}

fn flatten_entries(folder: &Folder, into: &mut Snapshot) {
    for (_, entry) in &folder.entries {
        match entry {
            Entry::Folder(folder) => flatten_entries(folder, into),
            Entry::File(_, file) => into.files.push(file.clone()),
            Entry::Problem(problem) => into.problems.push(problem.clone()),
        }
    }
}

/// Texts of files that are gone are kept until they outnumber those in use: a revert finds them again.
fn forget_unused(texts: &mut BTreeMap<Oid, Text>, in_use: usize) {
    const SLACK: usize = 256;
    if texts.len() > 2 * in_use + SLACK {
        texts.retain(|_, text| match text {
            // One is ours; the folders' and the snapshots' files hold the others.
            Text::Read(text) => Arc::strong_count(text) > 1,
            Text::Problem(_) => false,
        });
    }
}
