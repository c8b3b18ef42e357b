//! What a pull request would make of the branch: its head merged into its base.
//!
//! Takes two commits by any name that Git has for them. Gives the commit that the merge makes, or the files in conflict.
//!
//! Never touches a branch, the index or a file: as `git merge-tree` does, it writes objects that nothing names.

use git2::{Commit, ErrorCode, MergeOptions, Repository, Signature};

use super::{Door, Revision, Source, SourceError, reading, revision, with};

/// Conflicts that are named.
const MOST_NAMED: usize = 5;

impl Source {
    /// The commit that a name means.
    ///
    /// # Errors
    /// [`SourceError::NoSuchName`] when it names no commit here.
    pub async fn named(&self, name: &str) -> Result<Revision, SourceError> {
        match self.door() {
            Door::Git(inner) => {
                let name = name.to_owned();
                with(inner, move |inner| Ok(revision(named(&*inner.repository()?, &name)?.id()))).await
            }
            Door::Memory(_) => Err(SourceError::NoSuchName { name: name.to_owned() }),
        }
    }

    /// The commit that merging `head` into `base` makes, the same for the same two. Where one contains the other, that one.
    ///
    /// # Errors
    /// [`SourceError::NoSuchName`] when a name names no commit here, [`SourceError::Conflict`] when they do not merge by
    /// themselves; else when objects cannot be read or written.
    pub async fn merged(&self, base: &str, head: &str) -> Result<Revision, SourceError> {
        match self.door() {
            Door::Git(inner) => {
                let (base, head) = (base.to_owned(), head.to_owned());
                with(inner, move |inner| merged(&*inner.repository()?, &base, &head)).await
            }
            Door::Memory(_) => Err(SourceError::NoSuchName { name: base.to_owned() }),
        }
    }

    /// The commit that a name means, as `git rev-parse` takes it.
    ///
    /// # Errors
    /// [`SourceError::NoSuchName`] when it means none here.
    pub async fn resolved(&self, name: &str) -> Result<Revision, SourceError> {
        match self.door() {
            Door::Git(inner) => {
                let name = name.to_owned();
                with(inner, move |inner| Ok(revision(named(&*inner.repository()?, &name)?.id()))).await
            }
            Door::Memory(_) => Err(SourceError::NoSuchName { name: name.to_owned() }),
        }
    }
}

fn merged(repository: &Repository, base_name: &str, head_name: &str) -> Result<Revision, SourceError> {
    let merging = || reading(&format!("merge {head_name} into {base_name}"));
    let (base, head) = (named(repository, base_name)?, named(repository, head_name)?);
    let common = match repository.merge_base(base.id(), head.id()) {
        Ok(common) => Some(common),
        Err(error) if error.code() == ErrorCode::NotFound => None,
        Err(error) => return Err(merging()(error)),
    };
    if common == Some(base.id()) {
        return Ok(revision(head.id()));
    }
    if common == Some(head.id()) {
        return Ok(revision(base.id()));
    }
    let mut index = repository.merge_commits(&base, &head, Some(&MergeOptions::new())).map_err(merging())?;
    if index.has_conflicts() {
        let conflicts = index.conflicts().map_err(merging())?.filter_map(Result::ok);
        let entry = conflicts.filter_map(|conflict| conflict.our.or(conflict.their).or(conflict.ancestor));
        let mut paths: Vec<String> = entry.map(|entry| String::from_utf8_lossy(&entry.path).into_owned()).collect();
        paths.sort();
        paths.dedup();
        if let Some(more) = paths.len().checked_sub(MOST_NAMED).filter(|more| *more > 0) {
            paths.truncate(MOST_NAMED);
            paths.push(format!("and {more} more"));
        }
        let (base, head) = (base_name.to_owned(), head_name.to_owned());
        return Err(SourceError::Conflict { base, head, paths: paths.join(", ") });
    }
    let tree = index.write_tree_to(repository).map_err(merging())?;
    let tree = repository.find_tree(tree).map_err(merging())?;
    // No clock: the same two make the same commit on any machine.
    let when = if base.time().seconds() > head.time().seconds() { base.time() } else { head.time() };
    let author = Signature::new("Bayplan", "bayplan@localhost", &when).map_err(merging())?;
    let message = "What a merge would bring\n";
    let commit = repository.commit(None, &author, &author, message, &tree, &[&base, &head]).map_err(merging())?;
    Ok(revision(commit))
}

fn named<'r>(repository: &'r Repository, name: &str) -> Result<Commit<'r>, SourceError> {
    let found = repository.revparse_single(name).and_then(|object| object.peel_to_commit());
    found.map_err(|_| SourceError::NoSuchName { name: name.to_owned() })
}
