//! Decides as what each stack is wanted: as the head says, as it last ran well, as it is, or not at all.
//!
//! Takes what the head asks for, as far as it was understood, and the ledger. Gives one [`Want`] per stack that either
//! of them knows.
//!
//! Never takes a stack that cannot be read for one that was removed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::model::desired::Desired;
use crate::model::record::{Ledger, Record, Tried};
use crate::model::stack::{OnFailure, Stack};
use crate::name::{Revision, StackName, StackSlug};
use crate::plan::closed::Closed;
use crate::plan::hold::Hold;

#[derive(Debug, Clone, PartialEq)]
pub enum Want {
    /// It shall run like this.
    Stack { stack: Arc<Stack>, revision: Revision, why: Why },
    /// It is left exactly as it is.
    Keep { name: StackName, why: Vec<Hold> },
    /// All of it goes.
    Nothing { name: StackName, why: Gone },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// The head asks for it.
    Head,
    /// Its files are wrong at the head: its last good revision counts.
    WrongAtHead,
    /// No file asks for it, but these cannot be read and may be it: it keeps its place and is left alone.
    MayBeIn(Vec<Arc<str>>),
    /// What the head asks for is not deployed now: what ran last counts.
    Closed(Closed),
    /// What the head asks for failed before, for this reason: its last good revision counts.
    BadContent(String),
    /// The same, but the service that failed asked for the scene to be left as it is.
    LeftForALook(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gone {
    /// No file asks for it any more.
    NotAskedFor,
    /// What the head asks for failed, and nothing ran before it.
    BadContent(String),
}

impl Want {
    pub fn name(&self) -> &StackName {
        match self {
            Self::Stack { stack, .. } => &stack.name,
            Self::Keep { name, .. } | Self::Nothing { name, .. } => name,
        }
    }

    pub fn stack(&self) -> Option<&Arc<Stack>> {
        match self {
            Self::Stack { stack, .. } => Some(stack),
            Self::Keep { .. } | Self::Nothing { .. } => None,
        }
    }

    /// The holds that the want itself means.
    pub fn holds(&self, slug: &StackSlug) -> Vec<Hold> {
        match self {
            Self::Stack { why: Why::Head, .. } | Self::Nothing { why: Gone::NotAskedFor, .. } => Vec::new(),
            Self::Stack { why: Why::WrongAtHead, revision, .. } => {
                vec![Hold::WrongAtHead { stack: slug.clone(), kept: Some(revision.clone()) }]
            }
            Self::Stack { why: Why::MayBeIn(files), .. } => {
                vec![Hold::NamelessFiles { stack: slug.clone(), files: files.clone() }]
            }
            Self::Stack { why: Why::BadContent(reason), revision, .. } => {
                vec![Hold::BadContent { reason: reason.clone(), back_to: Some(revision.clone()) }]
            }
            Self::Stack { why: Why::Closed(why), .. } => vec![Hold::Closed { stack: slug.clone(), why: why.clone() }],
            Self::Stack { why: Why::LeftForALook(reason), .. } => {
                vec![Hold::LeftForALook { stack: slug.clone(), reason: reason.clone() }]
            }
            Self::Nothing { why: Gone::BadContent(reason), .. } => {
                vec![Hold::BadContent { reason: reason.clone(), back_to: None }]
            }
            Self::Keep { why, .. } => why.clone(),
        }
    }
}

/// Where to read the stacks as they last ran well: needed for going back to, and for naming the fields that differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastGood {
    pub revision: Revision,
    pub files: Vec<String>,
}

/// The stacks whose last good revision is needed, beside the head.
pub fn last_good_needed(desired: &Desired, ledger: &Ledger) -> BTreeMap<StackSlug, LastGood> {
    let needed = |slug: &StackSlug, record: &Record| {
        let running = record.running.as_ref()?;
        let same = desired.stacks.get(slug).is_some_and(|stack| stack.content == running.content);
        (!same).then(|| LastGood { revision: running.revision.clone(), files: running.files.clone() })
    };
    ledger.records.iter().filter_map(|(slug, record)| Some((slug.clone(), needed(slug, record)?))).collect()
}

/// What the wants are decided from.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    pub desired: &'a Desired,
    pub ledger: &'a Ledger,
    /// The owner label of this repository and branch.
    pub owner: &'a str,
    /// The latest commit that changed each stack of the head.
    pub revisions: &'a BTreeMap<StackSlug, Revision>,
    /// What [`last_good_needed`] asked for, as far as it could be read.
    pub last_good: &'a BTreeMap<StackSlug, Arc<Stack>>,
    /// Stacks of which nothing new is deployed now.
    pub closed: &'a BTreeMap<StackSlug, Closed>,
    /// Stacks that containers with our owner label name.
    pub seen: &'a BTreeSet<StackSlug>,
}

/// Decides for every stack that the head or the ledger knows.
pub fn wants(question: &Question<'_>) -> BTreeMap<StackSlug, Want> {
    let desired = question.desired;
    let ledger = question.ledger;
    let mut slugs: Vec<&StackSlug> = desired.stacks.keys().chain(ledger.records.keys()).chain(question.seen).collect();
    slugs.sort();
    slugs.dedup();
    let everything = holds_of_everything(question);
    slugs
        .into_iter()
        .filter_map(|slug| {
            let want = match &everything {
                Some(hold) => Want::Keep { name: name_of(question, slug)?, why: vec![hold.clone()] },
                None => want(question, slug)?,
            };
            Some((slug.clone(), want))
        })
        .collect()
}

fn holds_of_everything(question: &Question<'_>) -> Option<Hold> {
    if let Some(owner) = question.ledger.owner.as_deref().filter(|owner| *owner != question.owner) {
        return Some(Hold::OtherOwner { owner: owner.to_owned() });
    }
    let wrong = &question.desired.inventory.wrong;
    (!wrong.is_empty()).then(|| Hold::InventoryWrong { files: wrong.iter().cloned().collect() })
}

fn name_of(question: &Question<'_>, slug: &StackSlug) -> Option<StackName> {
    let head = question.desired.stacks.get(slug).map(|stack| stack.name.clone());
    let recorded = || question.ledger.records.get(slug).map(|record| record.name.clone());
    head.or_else(recorded).or_else(|| StackName::new(slug.as_str()).ok())
}

fn want(question: &Question<'_>, slug: &StackSlug) -> Option<Want> {
    let record = question.ledger.records.get(slug);
    let name = name_of(question, slug)?;
    let running = record.and_then(|r| r.running.as_ref());
    if let Some(stack) = question.desired.stacks.get(slug) {
        let bad =
            record.and_then(|r| r.bad.iter().find(|(tried, _)| is_tried(question, tried, stack)).map(|(_, mark)| mark));
        return Some(match (bad, running) {
            // Content that is running now cannot be the bad one, whatever an old mark says.
            (Some(mark), Some(running)) if running.content != stack.content => {
                let why = match mark.on_failure {
                    OnFailure::Rollback => Why::BadContent(mark.reason.clone()),
                    OnFailure::Hold => Why::LeftForALook(mark.reason.clone()),
                };
                last_good(question, slug, name, why)
            }
            (Some(mark), None) => match mark.on_failure {
                OnFailure::Rollback => Want::Nothing { name, why: Gone::BadContent(mark.reason.clone()) },
                OnFailure::Hold => {
                    let hold = Hold::LeftForALook { stack: slug.clone(), reason: mark.reason.clone() };
                    Want::Keep { name, why: vec![hold] }
                }
            },
            (Some(_), Some(_)) | (None, _) => match closed(question, slug, &name, stack) {
                Some(closed) => closed,
                None => Want::Stack {
                    stack: stack.clone(),
                    revision: question.revisions.get(slug)?.clone(),
                    why: Why::Head,
                },
            },
        });
    }
    if question.ledger.commit.is_none() {
        // Without a ledger nothing says that it was ours to remove, only a label does.
        return Some(Want::Keep { name, why: vec![Hold::NoLedger { stack: slug.clone() }] });
    }
    let nameless = &question.desired.nameless;
    // A file that yields no name is known by the path that the stack last came from.
    let own_file_is_nameless =
        running.is_some_and(|running| running.files.iter().any(|file| nameless.contains(file.as_str())));
    if own_file_is_nameless || question.desired.wrong.contains(slug) {
        return Some(match running {
            Some(_) => last_good(question, slug, name, Why::WrongAtHead),
            None => Want::Keep { name, why: vec![Hold::WrongAtHead { stack: slug.clone(), kept: None }] },
        });
    }
    if !nameless.is_empty() {
        let files: Vec<Arc<str>> = nameless.iter().cloned().collect();
        return Some(match running {
            Some(_) => last_good(question, slug, name, Why::MayBeIn(files)),
            None => Want::Keep { name, why: vec![Hold::NamelessFiles { stack: slug.clone(), files }] },
        });
    }
    if let (Some(why), Some(_)) = (question.closed.get(slug), running) {
        return Some(last_good(question, slug, name, Why::Closed(why.clone())));
    }
    Some(Want::Nothing { name, why: Gone::NotAskedFor })
}

/// What is wanted of a stack of which nothing new is deployed now, if that makes a difference.
fn closed(question: &Question<'_>, slug: &StackSlug, name: &StackName, stack: &Arc<Stack>) -> Option<Want> {
    let why = question.closed.get(slug)?;
    let record = question.ledger.records.get(slug);
    // What was begun is brought to its end.
    if record.and_then(|record| record.next.as_ref()).is_some_and(|next| next.content == stack.content) {
        return None;
    }
    let running = record.and_then(|record| record.running.as_ref());
    match running {
        None => {
            let hold = Hold::Closed { stack: slug.clone(), why: why.clone() };
            Some(Want::Keep { name: name.clone(), why: vec![hold] })
        }
        Some(running) if running.content != stack.content => {
            Some(last_good(question, slug, name.clone(), Why::Closed(why.clone())))
        }
        Some(running) => why.leaves_alone().then(|| Want::Stack {
            stack: stack.clone(),
            revision: running.revision.clone(),
            why: Why::Closed(why.clone()),
        }),
    }
}

/// What failed on hosts that are described otherwise now may do better on them.
fn is_tried(question: &Question<'_>, tried: &Tried, stack: &Stack) -> bool {
    let hosts = &question.desired.inventory.hosts;
    tried.content == stack.content
        && tried.hosts.iter().all(|(name, then)| hosts.get(name).is_some_and(|host| host.digest() == *then))
}

fn last_good(question: &Question<'_>, slug: &StackSlug, name: StackName, why: Why) -> Want {
    let running = question.ledger.records.get(slug).and_then(|record| record.running.as_ref());
    match (question.last_good.get(slug), running) {
        (Some(stack), Some(running)) => Want::Stack { stack: stack.clone(), revision: running.revision.clone(), why },
        (None, _) | (_, None) => {
            let revision = running.map(|r| r.revision.clone());
            Want::Keep { name, why: vec![Hold::LastGoodUnreadable { stack: slug.clone(), revision }] }
        }
    }
}
