//! Reads what the ledger said, back to its first commit.
//!
//! Takes what is asked for. Gives what happened, the newest first; or since when instances are where they are.
//!
//! Never reads a file that is the same as in the commit beneath, nor one of a stack that nobody asks for: trees are
//! compared by their ids first. Each text is understood once, though it is the new one of its own commit and the old one
//! of the next.
//!
//! Where two ledgers were joined each is followed, and what they say is told of the commit that said it first.

mod records;
mod walk;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use git2::{Commit, Oid, Repository};

use self::records::Records;
use self::walk::{FileChange, QuietChange, Step, Walk};
use super::branch::{head, revision, told};
use super::{Door, LedgerError, PLAN, REVISION, StatusBranch, with};
use crate::model::record::{Deployment, Record};
use crate::name::{Digest, HostName, InstanceId, Revision, ServiceName, StackSlug};
use crate::plan::Plan;
use crate::source::history::trailers_of;
use crate::status::blame::{self, Put};
use crate::status::history::{self, Entry, Happened, What};

/// What of the history is told.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// None: all of them.
    pub stack: Option<StackSlug>,
    pub service: Option<ServiceName>,
    /// Only what came to this host, left it or changed there.
    pub host: Option<HostName>,
    /// None: all there is.
    pub most: Option<usize>,
    pub quiet: Quiet,
}

/// Commits that tell of no stack: hosts measured again, two ledgers joined.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Quiet {
    #[default]
    LeftOut,
    Told,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// The newest commit of the ledger; none: there is no ledger.
    pub head: Option<Revision>,
    /// The newest first.
    pub entries: Vec<Entry>,
    pub named: Named,
    /// This clone is shallow, and what is older is not in it.
    pub is_cut_off: bool,
}

/// What the ledger ever named, as far back as it was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Named {
    pub stacks: BTreeSet<StackSlug>,
    /// Of the stacks that are asked for; only where a service or a host is.
    pub services: BTreeSet<ServiceName>,
    /// Only where a service or a host is asked for.
    pub hosts: BTreeSet<HostName>,
}

impl Named {
    fn take_in(&mut self, happened: &Happened) {
        for touched in &happened.touched {
            self.hosts.insert(touched.host.clone());
            self.services.extend(touched.instance.as_ref().map(|id| id.service.clone()));
        }
        for moved in &happened.moves {
            self.hosts.extend([&moved.from, &moved.to].into_iter().flatten().cloned());
            self.services.insert(moved.instance.service.clone());
        }
    }
}

/// What the newest record of a stack says, with what put it there.
#[derive(Debug, Clone, PartialEq)]
pub struct Blamed {
    pub head: Revision,
    pub record: Arc<Record>,
    /// In order of their ids.
    pub instances: Vec<Put>,
}

/// What once ran of a stack.
#[derive(Debug, Clone, PartialEq)]
pub struct Ran {
    /// The newest commit of the ledger that says so.
    pub commit: Revision,
    /// Of that commit; seconds since 1970, UTC.
    pub at: i64,
    pub deployment: Deployment,
}

impl StatusBranch {
    /// What happened, the newest first. A ledger in memory keeps no times and tells nothing.
    ///
    /// # Errors
    /// When a commit or a tree cannot be read. A record that cannot be understood is told as such.
    pub async fn history(&self, asked: Asked) -> Result<History, LedgerError> {
        match &self.0 {
            Door::Git(inner) => with(inner, move |inner| tell(&*inner.repository()?, &asked)).await,
            Door::Memory(_) => Ok(History::default()),
        }
    }

    /// Since when the instances of a stack are where its newest record says. None: the ledger does not know the stack.
    ///
    /// # Errors
    /// When a commit or a tree cannot be read, or the newest record cannot be understood.
    pub async fn blame(&self, stack: &StackSlug) -> Result<Option<Blamed>, LedgerError> {
        let stack = stack.clone();
        match &self.0 {
            Door::Git(inner) => with(inner, move |inner| put_there(&*inner.repository()?, &stack)).await,
            Door::Memory(_) => Ok(None),
        }
    }

    /// The commit of the watched branch for which something new of a stack was last begun; what was only healed does not
    /// count. None: nothing ever was. A ledger in memory tells nothing.
    ///
    /// # Errors
    /// When a commit or a tree cannot be read.
    pub async fn last_planned(&self, stack: &StackSlug) -> Result<Option<Revision>, LedgerError> {
        let nothing = Plan::default().digest();
        // Mostly it is among the newest.
        for most in [Some(FEW_AT_ONCE), None] {
            let asked = Asked { stack: Some(stack.clone()), most, ..Asked::default() };
            let begins = |entry: &&Entry| {
                matches!(entry.happened.what, What::Deploying | What::Removing)
                    && entry.trailer(PLAN).is_some_and(|plan| plan != nothing.as_str())
            };
            if let Some(begun) = self.history(asked).await?.entries.iter().find(begins) {
                return Ok(begun.trailer(REVISION).and_then(|revision| Revision::new(revision).ok()));
            }
        }
        Ok(None)
    }

    /// The newest deployment of a stack that ran with another content than this one. None: none did.
    ///
    /// # Errors
    /// When a commit or a tree cannot be read.
    pub async fn ran_before(&self, stack: &StackSlug, content: Option<&Digest>) -> Result<Option<Ran>, LedgerError> {
        let (stack, content) = (stack.clone(), content.cloned());
        match &self.0 {
            Door::Git(inner) => {
                with(inner, move |inner| ran_before(&*inner.repository()?, &stack, content.as_ref())).await
            }
            Door::Memory(_) => Ok(None),
        }
    }
}

/// The newest few are what most ask for; who asks for more is read for by several at once.
const FEW_AT_ONCE: usize = 32;
const MOST_AT_ONCE: usize = 2048;

fn tell(repository: &Repository, asked: &Asked) -> Result<History, LedgerError> {
    let Some(newest) = head(repository)? else { return Ok(History::default()) };
    let mut told = History { head: Some(revision(newest)), ..History::default() };
    let mut walk = Walk::from(repository, newest)?;
    let mut records = Records::of(repository);
    let most = asked.most.unwrap_or(usize::MAX);
    let after = walk.parts(&walk.commit(newest)?)?;
    walk.stacks = walk.names(after.stacks)?;
    if asked.host.is_some() {
        told.named.hosts.extend(records.hosts(after.hosts).into_keys());
    }
    let mut at_once = FEW_AT_ONCE;
    let mut found = Vec::new();
    while told.entries.len() < most {
        let steps = if found.is_empty() { walk.steps(at_once, asked)? } else { std::mem::take(&mut found) };
        if steps.is_empty() {
            break;
        }
        at_once = (2 * at_once).min(MOST_AT_ONCE);
        let changes = || steps.iter().flat_map(|step| &step.changes);
        let tells = |step: &Step<'_>| step.changes.len() + usize::from(!matches!(step.quiet, QuietChange::None));
        let is_enough = told.entries.len() + steps.iter().map(tells).sum::<usize>() >= most;
        // While others read what these say, this one finds those beneath.
        found = records.read_ahead(changes(), || match is_enough {
            true => Ok(Vec::new()),
            false => walk.steps(at_once, asked),
        })??;
        for step in &steps {
            let room = most - told.entries.len();
            let happened = happened(&mut records, step, asked, &mut told.named).into_iter().take(room);
            told.entries.extend(happened.map(|(stack, happened)| entry(&step.commit, stack, happened)));
        }
    }
    told.named.stacks = walk.stacks;
    told.is_cut_off = walk.is_cut_off;
    Ok(told)
}

fn entry(commit: &Commit<'_>, stack: Option<StackSlug>, mut happened: Happened) -> Entry {
    let text = String::from_utf8_lossy(commit.message_bytes());
    let said = told(revision(commit.id()), &text, trailers_of(commit));
    if matches!(happened.what, What::Removing | What::Removed) {
        let made_for = said.trailers.iter().find(|(key, _)| key == REVISION);
        happened.revision = made_for.and_then(|(_, text)| Revision::new(text).ok());
    }
    Entry {
        commit: said.revision,
        at: commit.time().seconds(),
        stack,
        happened,
        message: said.message,
        trailers: said.trailers,
    }
}

/// What a commit tells, as far as it is asked for.
fn happened(
    records: &mut Records<'_>,
    step: &Step<'_>,
    asked: &Asked,
    named: &mut Named,
) -> Vec<(Option<StackSlug>, Happened)> {
    let mut within = |happened: Happened| {
        if asked.service.is_some() || asked.host.is_some() {
            named.take_in(&happened);
        }
        happened.within(asked.service.as_ref(), asked.host.as_ref())
    };
    match step.quiet {
        QuietChange::Joined => vec![(None, history::only(What::Joined, String::new()))],
        QuietChange::Hosts { before, after } => {
            let (then, now) = (records.hosts(before), records.hosts(after));
            let happened = history::of_hosts(&then, &now).and_then(within);
            happened.into_iter().map(|happened| (None, happened)).collect()
        }
        QuietChange::None => {
            let of = |change: &FileChange| Some((Some(change.stack.clone()), within(of_stack(records, change)?)?));
            step.changes.iter().filter_map(of).collect()
        }
    }
}

fn of_stack(records: &mut Records<'_>, change: &FileChange) -> Option<Happened> {
    let mut read = |blob: Option<Oid>| blob.map(|blob| records.record(&change.stack, blob)).transpose();
    match (read(change.before), read(change.after)) {
        (_, Err(error)) => Some(history::only(What::Unreadable, error.to_string())),
        // What came before is not known: all of it counts as new.
        (Err(_), Ok(after)) => history::of_stack(None, after.as_deref()),
        (Ok(before), Ok(after)) => history::of_stack(before.as_deref(), after.as_deref()),
    }
}

fn put_there(repository: &Repository, stack: &StackSlug) -> Result<Option<Blamed>, LedgerError> {
    let Some(newest) = head(repository)? else { return Ok(None) };
    let mut walk = Walk::from(repository, newest)?;
    let mut records = Records::of(repository);
    let first = walk.commit(newest)?;
    let blob = walk.record_blob(&first, stack)?;
    let Some(record) = blob.map(|blob| records.record(stack, blob)).transpose()? else { return Ok(None) };
    let running = record.running.clone();
    let all: BTreeSet<InstanceId> = running.iter().flat_map(|running| running.instances.keys().cloned()).collect();
    let mut put = BTreeMap::new();
    let mut open = BTreeMap::from([((first.time().seconds(), newest), all)]);
    while let Some(((at, id), mut here)) = open.pop_last() {
        let commit = walk.commit(id)?;
        let Some(blob) = walk.record_blob(&commit, stack)? else { continue };
        let later = records.record(stack, blob)?;
        // Ours before the other one's: a join takes our file where both changed it.
        let parents: Vec<Oid> = commit.parent_ids().collect();
        for parent in parents.into_iter().rev() {
            let Ok(parent) = repository.find_commit(parent) else { continue };
            let stayed = match walk.record_blob(&parent, stack)? {
                Some(same) if same == blob => here.clone(),
                // What cannot be understood says nothing of where it was.
                Some(other) => blame::stayed(records.record(stack, other).ok().as_deref(), &later, &here),
                None => BTreeSet::new(),
            };
            here.retain(|instance| !stayed.contains(instance));
            if !stayed.is_empty() {
                open.entry((parent.time().seconds(), parent.id())).or_default().extend(stayed);
            }
        }
        let Some(running) = &later.running else { continue };
        put.extend(here.into_iter().map(|instance| (instance, (revision(id), at, running.revision.clone()))));
    }
    let instances = running.into_iter().flat_map(|running| running.instances).filter_map(|(instance, now)| {
        let (commit, at, revision) = put.remove(&instance)?;
        Some(Put { instance, now, commit, at, revision })
    });
    let instances = instances.collect();
    Ok(Some(Blamed { head: revision(newest), record, instances }))
}

fn ran_before(
    repository: &Repository,
    stack: &StackSlug,
    content: Option<&Digest>,
) -> Result<Option<Ran>, LedgerError> {
    let Some(newest) = head(repository)? else { return Ok(None) };
    let mut walk = Walk::from(repository, newest)?;
    let mut records = Records::of(repository);
    let mut last = None;
    while let Some((commit, _)) = walk.next()? {
        let blob = walk.record_blob(&commit, stack)?;
        if blob == last {
            continue;
        }
        last = blob;
        let Some(record) = blob.and_then(|blob| records.record(stack, blob).ok()) else { continue };
        let Some(running) = &record.running else { continue };
        if content != Some(&running.content) {
            let (commit, at) = (revision(commit.id()), commit.time().seconds());
            return Ok(Some(Ran { commit, at, deployment: running.clone() }));
        }
    }
    Ok(None)
}
