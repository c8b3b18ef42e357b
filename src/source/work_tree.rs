//! Reads the files of a folder as they are on disk, for checking them before they are committed.
//!
//! Takes a folder. Gives what a snapshot of a commit would give: the same files, the same problems, the same ids.
//!
//! Never follows a symlink and never opens what is no regular file.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use git2::{ObjectType, Oid};

use super::snapshot::{DEEPEST, MOST_ENTRIES, is_read};
use super::{LARGEST_FILE, MOST_FILES, ROOTS, Snapshot, SourceError, TreeProblem, TreeProblemKind};
use crate::files::SourceFile;

pub(super) fn read(path: &Path) -> Result<Snapshot, SourceError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| SourceError::Folder { path, source }
    };
    if !fs::metadata(path).map_err(failed(path))?.is_dir() {
        return Err(failed(path)(std::io::ErrorKind::NotADirectory.into()));
    }
    let mut reader =
        Reader { snapshot: Snapshot { revision: None, files: Vec::new(), problems: Vec::new() }, entries: 0 };
    for root in ROOTS {
        let folder = path.join(root);
        match fs::symlink_metadata(&folder) {
            Ok(found) if found.is_symlink() => reader.problem(root, TreeProblemKind::Symlink),
            Ok(found) if found.is_dir() => {
                if let Err(TooMany) = reader.folder(&folder, root, 0)? {
                    let count = reader.snapshot.files.len();
                    reader.snapshot.files.retain(|file| !file.path.starts_with(&format!("{root}/")));
                    reader.problem(root, TreeProblemKind::TooMany { count });
                }
            }
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(&folder)(error)),
        }
    }
    let mut snapshot = reader.snapshot;
    snapshot.files.sort_by(|a, b| a.path.cmp(&b.path));
    snapshot.problems.sort();
    Ok(snapshot)
}

struct Reader {
    snapshot: Snapshot,
    entries: usize,
}

struct TooMany;

impl Reader {
    fn problem(&mut self, path: &str, why: TreeProblemKind) {
        self.snapshot.problems.push(TreeProblem { path: path.into(), why });
    }

    fn folder(&mut self, folder: &Path, path: &str, depth: usize) -> Result<Result<(), TooMany>, SourceError> {
        let failed = |at: &Path| {
            let at = at.to_owned();
            move |source| SourceError::Folder { path: at, source }
        };
        for entry in fs::read_dir(folder).map_err(failed(folder))? {
            let entry = entry.map_err(failed(folder))?;
            self.entries += 1;
            if self.entries > MOST_ENTRIES {
                return Ok(Err(TooMany));
            }
            let at = entry.path();
            let kind = entry.file_type().map_err(failed(&at))?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else {
                self.problem(&format!("{path}/{}", name.to_string_lossy()), TreeProblemKind::NotUtf8);
                continue;
            };
            let path = format!("{path}/{name}");
            if kind.is_symlink() {
                self.problem(&path, TreeProblemKind::Symlink);
            } else if kind.is_dir() {
                if at.join(".git").exists() {
                    self.problem(&path, TreeProblemKind::Submodule);
                } else if depth == DEEPEST {
                    self.problem(&path, TreeProblemKind::TooDeep);
                } else if let Err(TooMany) = self.folder(&at, &path, depth + 1)? {
                    return Ok(Err(TooMany));
                }
            } else if kind.is_file() && is_read(name) {
                if self.snapshot.files.len() == MOST_FILES {
                    return Ok(Err(TooMany));
                }
                let bytes = entry.metadata().map_err(failed(&at))?.len();
                if bytes > LARGEST_FILE {
                    self.problem(&path, TreeProblemKind::TooLarge { bytes });
                    continue;
                }
                let text = fs::read(&at).map_err(failed(&at))?;
                match String::from_utf8(text) {
                    Ok(text) => self.snapshot.files.push(file(&path, text)),
                    Err(_) => self.problem(&path, TreeProblemKind::NotUtf8),
                }
            }
        }
        Ok(Ok(()))
    }
}

fn file(path: &str, text: String) -> SourceFile {
    let blob = Oid::hash_object(ObjectType::Blob, text.as_bytes()).expect("any bytes can be hashed");
    SourceFile { path: path.into(), blob: blob.to_string().into(), text: Arc::from(text) }
}
