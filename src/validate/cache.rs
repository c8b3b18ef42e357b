//! Keeps checked files between revisions, so that work is proportional to what changed.
//!
//! Takes files by path and blob. Gives what [`check`] gave for them before, or gives now.
//!
//! Never outlives a policy: another policy is another cache.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{CheckedFile, check};
use crate::files::SourceFile;
use crate::model::policy::Policy;

/// Checked files of the last revision, by path and blob.
#[derive(Debug, Default)]
pub struct Cache {
    policy: Policy,
    files: BTreeMap<Arc<str>, (Arc<str>, Arc<CheckedFile>)>,
}

impl Cache {
    pub fn new(policy: Policy) -> Self {
        let files = BTreeMap::new();
        Self { policy, files }
    }

    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// What is kept for a path, if it was checked with this blob: then its text need not be read at all.
    pub fn get(&self, path: &str, blob: &str) -> Option<&Arc<CheckedFile>> {
        let (known, checked) = self.files.get(path)?;
        (**known == *blob).then_some(checked)
    }

    /// Checks files that are not kept yet, several at a time where there are many, and keeps them.
    pub fn add(&mut self, files: &[SourceFile]) {
        let new: Vec<&SourceFile> = files.iter().filter(|file| self.get(&file.path, &file.blob).is_none()).collect();
        for (file, checked) in new.iter().zip(check_all(&new, &self.policy)) {
            self.files.insert(file.path.clone(), (file.blob.clone(), Arc::new(checked)));
        }
    }

    /// Checks what is new among these files and gives the result for all of them, in their order. What is not among
    /// them is forgotten.
    pub fn check(&mut self, files: &[SourceFile]) -> Vec<Arc<CheckedFile>> {
        self.add(files);
        let listed: Vec<(&str, &str)> = files.iter().map(|file| (&*file.path, &*file.blob)).collect();
        self.keep(&listed);
        let kept = listed.iter().filter_map(|(path, blob)| self.get(path, blob).cloned());
        kept.collect()
    }

    /// Forgets everything but these (path, blob) pairs.
    pub fn keep(&mut self, listed: &[(&str, &str)]) {
        if listed.len() == self.files.len() && listed.iter().all(|(path, _)| self.files.contains_key(*path)) {
            return;
        }
        let mut files = BTreeMap::new();
        for (path, _) in listed {
            if let Some((path, entry)) = self.files.remove_entry(*path) {
                files.insert(path, entry);
            }
        }
        self.files = files;
    }
}

/// A file takes some 100 µs; threads are worth their start from so many on.
const WORTH_THREADS: usize = 64;

/// Results in the order of the files, however many threads there are.
fn check_all(files: &[&SourceFile], policy: &Policy) -> Vec<CheckedFile> {
    let one_by_one = |files: &[&SourceFile]| files.iter().map(|file| check(file, policy)).collect::<Vec<_>>();
    if files.len() < WORTH_THREADS {
        return one_by_one(files);
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(8);
    std::thread::scope(|scope| {
        let parts = files.chunks(files.len().div_ceil(threads));
        let running: Vec<_> = parts.map(|part| scope.spawn(move || one_by_one(part))).collect();
        let done = running.into_iter().flat_map(|thread| thread.join().expect("checking a file does not panic"));
        done.collect()
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::Cache;
    use crate::files::SourceFile;
    use crate::model::policy::Policy;
    use crate::validate::Outcome;

    fn files(count: usize) -> Vec<SourceFile> {
        let file = |i: usize| SourceFile {
            path: format!("stacks/{i}.yaml").into(),
            blob: "1".into(),
            text: format!("{{name: s{i}, itemListElement: [{{position: 1, name: a, image: b}}]}}").into(),
        };
        (0..count).map(file).collect()
    }

    #[test]
    fn only_what_changed_is_checked_again() {
        let mut cache = Cache::new(Policy::default());
        let mut files = files(3);
        let first = cache.check(&files);
        files[1].blob = "2".into();
        let second = cache.check(&files);
        let same: Vec<bool> = first.iter().zip(&second).map(|(a, b)| Arc::ptr_eq(a, b)).collect();
        assert_eq!(same, [true, false, true]);
        cache.check(&files[..1]);
        assert!(cache.get("stacks/2.yaml", "1").is_none(), "what is gone is forgotten");
    }

    #[test]
    fn many_files_at_once_keep_their_order() {
        let checked = Cache::new(Policy::default()).check(&files(200));
        for (i, file) in checked.iter().enumerate() {
            assert_eq!(*file.path, *format!("stacks/{i}.yaml"));
            assert!(matches!(file.outcome, Outcome::Stack(_)));
        }
    }
}
