//! From the files of a commit to what they mean, checking each blob once.
//!
//! Takes a snapshot. Gives what it asks for, as far as it could be understood, and what is wrong with it.

use std::sync::Arc;

use crate::diagnostic::Report;
use crate::files::SourceFile;
use crate::model::desired::Desired;
use crate::model::stack::Stack;
use crate::name::StackSlug;
use crate::parse::{self, Kind, Refused};
use crate::source::{Snapshot, TreeProblemKind};
use crate::validate::cache::Cache;
use crate::validate::{self, CheckedFile};

/// What a snapshot asks for.
pub fn understand(checked: &mut Cache, snapshot: &Snapshot) -> (Desired, Report) {
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
    let refused = snapshot.problems.iter().filter_map(|problem| {
        let why = refused(problem.why)?;
        Some(Arc::new(CheckedFile::refused(&problem.path, why)))
    });
    let all: Vec<Arc<CheckedFile>> = checked.check(&snapshot.files).into_iter().chain(refused).collect();
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

/// A stack as an older revision's files ask for it, among the hosts of the head. `None` when it is not right any more:
/// a host that it names is gone, or the policy became narrower.
pub fn stack(checked: &Cache, head: &Snapshot, files: &[SourceFile], slug: &StackSlug) -> Option<Arc<Stack>> {
    let hosts = head.files.iter().filter(|file| parse::kind(&file.path) == Kind::Host);
    let hosts = hosts.filter_map(|file| checked.get(&file.path, &file.blob).cloned());
    let then = files.iter().map(|file| Arc::new(validate::check(file, checked.policy())));
    let (desired, _) = validate::validate(&hosts.chain(then).collect::<Vec<_>>());
    desired.stacks.get(slug).cloned()
}
