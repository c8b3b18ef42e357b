//! From the files of a commit to what they mean, checking each blob once.
//!
//! Takes a snapshot. Gives what it asks for, as far as it could be understood, and what is wrong with it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::diagnostic::Report;
use crate::files::SourceFile;
use crate::model::desired::Desired;
use crate::model::policy::Policy;
use crate::model::stack::Stack;
use crate::name::StackSlug;
use crate::parse::Refused;
use crate::source::{Snapshot, TreeProblemKind};
use crate::validate::{self, CheckedFile};

/// Files that were checked, by path and blob. Only those of the last snapshot are remembered.
#[derive(Debug, Default)]
pub struct Understood {
    files: BTreeMap<(Arc<str>, Arc<str>), Arc<CheckedFile>>,
}

/// What a snapshot asks for.
pub fn understand(known: &mut Understood, snapshot: &Snapshot, policy: &Policy) -> (Desired, Report) {
    let too_many = snapshot.problems.iter().find_map(|problem| match problem.why {
        TreeProblemKind::TooMany { count } => Some(count),
        TreeProblemKind::Symlink
        | TreeProblemKind::Submodule
        | TreeProblemKind::TooLarge { .. }
        | TreeProblemKind::NotUtf8
        | TreeProblemKind::TooDeep => None,
    });
    if let Some(count) = too_many {
        return validate::too_many(count);
    }
    let mut files = BTreeMap::new();
    for file in &snapshot.files {
        let key = (file.path.clone(), file.blob.clone());
        let checked = known.files.remove(&key).unwrap_or_else(|| Arc::new(validate::check(file, policy)));
        files.insert(key, checked);
    }
    known.files = files;
    let refused = snapshot.problems.iter().filter_map(|problem| {
        let why = refused(problem.why)?;
        Some(Arc::new(CheckedFile::refused(&problem.path, why)))
    });
    let all: Vec<Arc<CheckedFile>> = known.files.values().cloned().chain(refused).collect();
    validate::validate(&all)
}

fn refused(why: TreeProblemKind) -> Option<Refused> {
    Some(match why {
        TreeProblemKind::Symlink => Refused::Symlink,
        TreeProblemKind::Submodule => Refused::Submodule,
        // Sizes beyond the address space do not occur on disk.
        TreeProblemKind::TooLarge { bytes } => Refused::TooLarge(usize::try_from(bytes).unwrap_or(usize::MAX)),
        TreeProblemKind::NotUtf8 => Refused::NotText,
        TreeProblemKind::TooDeep => Refused::TooDeep,
        TreeProblemKind::TooMany { .. } => return None,
    })
}

/// A stack as an older revision's files ask for it, among the hosts of the last snapshot. `None` when it is not right
/// any more: a host that it names is gone, the policy became narrower.
pub fn stack(known: &Understood, files: &[SourceFile], slug: &StackSlug, policy: &Policy) -> Option<Arc<Stack>> {
    let hosts = known.files.values().filter(|file| file.path.starts_with("hosts/")).cloned();
    let then = files.iter().map(|file| Arc::new(validate::check(file, policy)));
    let (desired, _) = validate::validate(&hosts.chain(then).collect::<Vec<_>>());
    desired.stacks.get(slug).cloned()
}
