//! Decides what a rollback of a stack restores, and why that.
//!
//! Takes a stack, and the revision to go back to if one is named. Gives the files that go and that come back, checked as a
//! push of them would be.
//!
//! Never writes anything, and never acts on a host: a rollback is a commit like any other, and deploys like one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::diagnostic::Report;
use crate::ledger::LedgerError;
use crate::ledger::history::Ran;
use crate::name::{Digest, Revision, StackSlug};
use crate::parse::suggest::did_you_mean_or_all;
use crate::reconcile::site::Site;
use crate::reconcile::understand;
use crate::source::{Snapshot, SourceError};
use crate::validate::{self, Outcome};

/// What would be restored.
#[derive(Debug, Clone)]
pub struct Rollback {
    pub stack: StackSlug,
    /// The commit of the branch that it is built on.
    pub head: Revision,
    pub to: Revision,
    pub why: Why,
    /// Files of the stack at the head.
    pub removed: Vec<Arc<str>>,
    /// Files of the stack at the revision.
    pub restored: Vec<Arc<str>>,
    /// What is wrong with the files as they would be, and those files.
    pub report: Report,
    pub after: Snapshot,
    pub verdict: Verdict,
}

/// Why this revision.
#[derive(Debug, Clone, PartialEq)]
pub enum Why {
    Asked,
    /// It is the newest in the ledger that ran with another content than the head asks for.
    RanBefore(Box<Ran>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The files are the same at the head already.
    Same,
    Right,
    /// What once was right would be wrong today.
    Wrong,
    /// It is right, but the ledger remembers that this content failed, for this reason, and it would be held.
    FailedBefore(String),
}

/// What cannot be rolled back.
#[derive(Debug, thiserror::Error)]
pub enum RollbackError {
    #[error("the branch {branch} has no commit yet")]
    NoCommit { branch: String },
    #[error("there is no stack {stack}: {hint}")]
    NoSuchStack { stack: StackSlug, hint: String },
    #[error("{} has no stack {stack}", to.short())]
    NotThere { stack: StackSlug, to: Revision },
    #[error("the ledger knows no other content of {stack} that ran: name the revision with `--to`")]
    NothingBefore { stack: StackSlug },
    #[error("`{path}` belonged to {stack} and belongs to {other} now: it cannot be restored without taking that away")]
    Taken { path: Arc<str>, stack: StackSlug, other: StackSlug },
    #[error("the repository cannot be read")]
    Source(#[from] SourceError),
    #[error("the ledger cannot be read")]
    Ledger(#[from] LedgerError),
}

/// Decides. `to`: the revision by any name that Git has for it; none, the one that the ledger names.
///
/// # Errors
/// When there is no such stack, no such revision or none to go back to, a file is another stack's now, or the repository
/// or the ledger cannot be read.
pub async fn rollback(site: &mut Site, stack: &StackSlug, to: Option<&str>) -> Result<Rollback, RollbackError> {
    let Some(head) = site.source.head().await? else {
        return Err(RollbackError::NoCommit { branch: site.source.branch().to_owned() });
    };
    let now = site.source.snapshot(&head).await?;
    let (before, _) = understand::understand(&mut site.checked, &now);
    let ledger = site.ledger.read().await?;
    let here = files(site, &now);
    let is_known = here.values().any(|owner| owner.as_ref() == Some(stack)) || ledger.records.contains_key(stack);
    let named = || here.values().flatten().chain(ledger.records.keys()).cloned().collect();
    let asked_for = before.stacks.get(stack).map(|stack| &stack.content);
    let (to, why) = match to {
        Some(name) => (site.source.resolved(name).await?, Why::Asked),
        None => {
            let ran = site.ledger.ran_before(stack, asked_for).await?;
            let Some(ran) = ran else {
                let nothing = || RollbackError::NothingBefore { stack: stack.clone() };
                return Err(if is_known { nothing() } else { no_such_stack(stack, &named()) });
            };
            (ran.deployment.revision.clone(), Why::RanBefore(Box::new(ran)))
        }
    };
    let then = site.source.snapshot(&to).await?;
    let of = |files: &BTreeMap<Arc<str>, Option<StackSlug>>| -> Vec<Arc<str>> {
        files.iter().filter(|(_, owner)| owner.as_ref() == Some(stack)).map(|(path, _)| path.clone()).collect()
    };
    let there = files(site, &then);
    let (removed, restored) = (of(&here), of(&there));
    if restored.is_empty() {
        let not_there = || RollbackError::NotThere { stack: stack.clone(), to };
        return Err(if is_known { not_there() } else { no_such_stack(stack, &named()) });
    }
    // A file of which nobody can say whose it is at the head is most likely this stack's, broken.
    let taken = restored.iter().find_map(|path| {
        let owner = here.get(path)?.as_ref().filter(|owner| *owner != stack)?;
        Some((path.clone(), owner.clone()))
    });
    if let Some((path, other)) = taken {
        return Err(RollbackError::Taken { path, stack: stack.clone(), other });
    }
    let after = with_restored(&now, &then, &removed, &restored);
    let (desired, report) = understand::understand(&mut site.checked, &after);
    let newly_wrong = desired.wrong.difference(&before.wrong).next().is_some()
        || desired.nameless.difference(&before.nameless).next().is_some();
    let content = desired.stacks.get(stack).map(|stack| stack.content.clone());
    let verdict = match content {
        _ if after == now => Verdict::Same,
        Some(content) if !newly_wrong => match failed(&ledger, stack, &content) {
            Some(reason) => Verdict::FailedBefore(reason),
            None => Verdict::Right,
        },
        Some(_) | None => Verdict::Wrong,
    };
    Ok(Rollback { stack: stack.clone(), head, to, why, removed, restored, report, after, verdict })
}

/// The message of the commit that restores it.
pub fn message(rollback: &Rollback, subject: Option<&str>, branch: &str) -> String {
    let Rollback { stack, to, removed, restored, .. } = rollback;
    let mut text = format!("Roll {stack} back to {}\n\nRestores {}", to.short(), restored.join(", "));
    text.push_str(&format!(" as of {}", to.short()));
    if let Some(subject) = subject {
        text.push_str(&format!(" ({subject})"));
    }
    text.push_str(",\nand nothing else.");
    let gone: Vec<&str> = removed.iter().filter(|path| !restored.contains(path)).map(AsRef::as_ref).collect();
    if !gone.is_empty() {
        text.push_str(&format!("\n{} was not there then and goes.", gone.join(", ")));
    }
    text.push_str(&match &rollback.why {
        Why::Asked => "\nThe revision was asked for.".to_owned(),
        Why::RanBefore(ran) => format!(
            "\nIt is what ran last with another content than {branch} asks for,\nas commit {} of the ledger says.",
            ran.commit.short()
        ),
    });
    text.push_str(&format!("\n\n{ROLLBACK_TO}: {to}\n"));
    text
}

/// The trailer that names the revision whose files were restored.
const ROLLBACK_TO: &str = "Bayplan-Rollback-To";

/// The files under `stacks/`, each with the stack that it is of; none: it yields no name.
fn files(site: &Site, snapshot: &Snapshot) -> BTreeMap<Arc<str>, Option<StackSlug>> {
    let mut owners = BTreeMap::new();
    for file in &snapshot.files {
        let known = site.checked.get(&file.path, &file.blob).cloned();
        let checked = known.unwrap_or_else(|| Arc::new(validate::check(file, site.checked.policy())));
        let owner = match &checked.outcome {
            Outcome::Stack(checked) => Some(checked.stack.name.slug().clone()),
            Outcome::WrongStack(wrong) => wrong.name.as_ref().map(|name| name.slug().clone()),
            Outcome::Inert | Outcome::Hosts(_) | Outcome::WrongHosts => continue,
        };
        owners.insert(file.path.clone(), owner);
    }
    owners
}

/// The files as the new commit would have them.
fn with_restored(now: &Snapshot, then: &Snapshot, removed: &[Arc<str>], restored: &[Arc<str>]) -> Snapshot {
    let stays = |path: &Arc<str>| !removed.contains(path) && !restored.contains(path);
    let kept = now.files.iter().filter(|file| stays(&file.path));
    let mut files: Vec<_> =
        kept.chain(then.files.iter().filter(|file| restored.contains(&file.path))).cloned().collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let problems = now.problems.iter().filter(|problem| stays(&problem.path)).cloned().collect();
    Snapshot { revision: now.revision.clone(), files, problems }
}

/// Why the content failed before, on whatever hosts.
fn failed(ledger: &crate::model::record::Ledger, stack: &StackSlug, content: &Digest) -> Option<String> {
    let bad = &ledger.records.get(stack)?.bad;
    bad.iter().find(|(tried, _)| tried.content == *content).map(|(_, mark)| mark.reason.clone())
}

fn no_such_stack(stack: &StackSlug, known: &BTreeSet<StackSlug>) -> RollbackError {
    let hint = did_you_mean_or_all(stack.as_str(), known.iter().map(StackSlug::as_str), "there is none");
    RollbackError::NoSuchStack { stack: stack.clone(), hint }
}
