//! Reads what the ledger said, back to its first commit.
//!
//! Takes what is asked for. Gives what happened, the newest first; or since when instances are where they are.
//!
//! Never reads a file that is the same as in the commit beneath, nor one of a stack that nobody asks for: trees are
//! compared by their ids first. Each text is understood once, though it is the new one of its own commit and the old one
//! of the next.
//!
//! Where two ledgers were joined each is followed, and what they say is told of the commit that said it first.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use git2::{Commit, Oid, Repository};

use super::branch::{head, revision, text, told};
use super::{Door, HOSTS, LedgerError, PLAN, REVISION, STACKS, StatusBranch, convert, failed, with};
use crate::model::record::{Deployment, HostRecord, Record};
use crate::name::{Digest, HostName, InstanceId, Revision, ServiceName, StackSlug};
use crate::plan::Plan;
use crate::source::history::trailers_of;
use crate::source::local::{is_cut_off_beneath, open_repository};
use crate::source::trees::{Entries, Trees};
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
    let mut reader = Reader::of(repository)?;
    let mut walk = Walk::from(repository, newest)?;
    let most = asked.most.unwrap_or(usize::MAX);
    let after = reader.ledger(&walk.commit(newest)?)?;
    told.named.stacks.extend(reader.names(after.stacks)?);
    if asked.host.is_some() {
        told.named.hosts.extend(reader.hosts(after.hosts).into_keys());
    }
    let mut at_once = FEW_AT_ONCE;
    while told.entries.len() < most {
        let mut steps = Vec::new();
        while steps.len() < at_once
            && let Some((commit, parents)) = walk.next()?
        {
            if parents.is_empty() && is_cut_off_beneath(repository, commit.id()) {
                // Whether anything is new here only the commit beneath could say.
                told.is_cut_off = true;
                continue;
            }
            let step = reader.step(commit, &parents, asked)?;
            told.named.stacks.extend(step.names.iter().cloned());
            steps.push(step);
        }
        if steps.is_empty() {
            break;
        }
        reader.read_ahead(&steps)?;
        for step in steps {
            let room = most - told.entries.len();
            let happened = reader.happened(&step, asked, &mut told.named).into_iter().take(room);
            told.entries.extend(happened.map(|(stack, happened)| entry(&step.commit, stack, happened)));
        }
        at_once = (2 * at_once).min(MOST_AT_ONCE);
    }
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

fn put_there(repository: &Repository, stack: &StackSlug) -> Result<Option<Blamed>, LedgerError> {
    let Some(newest) = head(repository)? else { return Ok(None) };
    let mut reader = Reader::of(repository)?;
    let first = repository.find_commit(newest).map_err(reading())?;
    let blob = reader.record_blob(&first, stack)?;
    let Some(record) = blob.map(|blob| reader.record(stack, blob)).transpose()? else { return Ok(None) };
    let running = record.running.clone();
    let all: BTreeSet<InstanceId> = running.iter().flat_map(|running| running.instances.keys().cloned()).collect();
    let mut put = BTreeMap::new();
    let mut open = BTreeMap::from([((first.time().seconds(), newest), all)]);
    while let Some(((at, id), mut here)) = open.pop_last() {
        let commit = repository.find_commit(id).map_err(reading())?;
        let Some(blob) = reader.record_blob(&commit, stack)? else { continue };
        let later = reader.record(stack, blob)?;
        // Ours before the other one's: a join takes our file where both changed it.
        let parents: Vec<Oid> = commit.parent_ids().collect();
        for parent in parents.into_iter().rev() {
            let Ok(parent) = repository.find_commit(parent) else { continue };
            let stayed = match reader.record_blob(&parent, stack)? {
                Some(same) if same == blob => here.clone(),
                // What cannot be understood says nothing of where it was.
                Some(other) => blame::stayed(reader.record(stack, other).ok().as_deref(), &later, &here),
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
    let mut reader = Reader::of(repository)?;
    let mut walk = Walk::from(repository, newest)?;
    let mut last = None;
    while let Some((commit, _)) = walk.next()? {
        let blob = reader.record_blob(&commit, stack)?;
        if blob == last {
            continue;
        }
        last = blob;
        let Some(record) = blob.and_then(|blob| reader.record(stack, blob).ok()) else { continue };
        let Some(running) = &record.running else { continue };
        if content != Some(&running.content) {
            let (commit, at) = (revision(commit.id()), commit.time().seconds());
            return Ok(Some(Ran { commit, at, deployment: running.clone() }));
        }
    }
    Ok(None)
}

/// The ledger's commits, the newest first. Of two lines that were joined, commits of one second come in any order.
struct Walk<'r> {
    repository: &'r Repository,
    /// By time and by when it was found, the newest last.
    open: BTreeMap<(i64, u64), Oid>,
    found: BTreeSet<Oid>,
}

impl<'r> Walk<'r> {
    fn from(repository: &'r Repository, newest: Oid) -> Result<Self, LedgerError> {
        let mut walk = Self { repository, open: BTreeMap::new(), found: BTreeSet::new() };
        let first = walk.commit(newest)?;
        walk.see(&first);
        Ok(walk)
    }

    fn commit(&self, id: Oid) -> Result<Commit<'r>, LedgerError> {
        self.repository.find_commit(id).map_err(reading())
    }

    fn see(&mut self, commit: &Commit<'_>) {
        if self.found.insert(commit.id()) {
            let earlier_first = u64::MAX - self.found.len() as u64;
            self.open.insert((commit.time().seconds(), earlier_first), commit.id());
        }
    }

    /// The next commit, and those beneath it.
    fn next(&mut self) -> Result<Option<(Commit<'r>, Vec<Commit<'r>>)>, LedgerError> {
        let Some((_, id)) = self.open.pop_last() else { return Ok(None) };
        let commit = self.commit(id)?;
        let parents = commit.parent_ids().map(|id| self.commit(id)).collect::<Result<Vec<_>, _>>()?;
        parents.iter().for_each(|parent| self.see(parent));
        Ok(Some((commit, parents)))
    }
}

/// The parts of one commit's tree.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Parts {
    /// The folder with the records.
    stacks: Option<Oid>,
    hosts: Option<Oid>,
}

/// One file of the folder of records, before and after.
struct FileChange {
    stack: StackSlug,
    before: Option<Oid>,
    after: Option<Oid>,
}

/// What a commit says otherwise than the one beneath it.
struct Step<'r> {
    commit: Commit<'r>,
    /// The stacks whose records differ, asked for or not.
    names: Vec<StackSlug>,
    /// Of those that are asked for.
    changes: Vec<FileChange>,
    quiet: QuietChange,
}

enum QuietChange {
    None,
    Joined,
    Hosts { before: Option<Oid>, after: Option<Oid> },
}

/// Texts of a stack that are kept: the old one of a commit is the new one of the next, on each line of a joined history.
const KEPT_RECORDS: usize = 4;

/// To read and understand a record takes some 50 µs; threads are worth their start from so many on.
const WORTH_THREADS: usize = 64;
const MOST_THREADS: usize = 8;

struct Reader<'r> {
    repository: &'r Repository,
    trees: Trees<'r>,
    records: BTreeMap<StackSlug, VecDeque<(Oid, Arc<Record>)>>,
    /// What was read ahead for the commits in hand.
    ahead: BTreeMap<Oid, Arc<Record>>,
    /// The repository, opened once more for each that reads ahead.
    helpers: Vec<Repository>,
}

impl<'r> Reader<'r> {
    fn of(repository: &'r Repository) -> Result<Self, LedgerError> {
        let trees = Trees::of(repository.odb().map_err(failed("open the object database"))?);
        Ok(Self { repository, trees, records: BTreeMap::new(), ahead: BTreeMap::new(), helpers: Vec::new() })
    }

    fn ledger(&mut self, commit: &Commit<'_>) -> Result<Parts, LedgerError> {
        let tree = self.trees.read(Some(commit.tree_id()))?;
        let mut parts = Parts::default();
        for entry in Entries(&tree) {
            if entry.name == STACKS.as_bytes() {
                parts.stacks = entry.folder();
            } else if entry.name == HOSTS.as_bytes() {
                parts.hosts = entry.file();
            }
        }
        Ok(parts)
    }

    fn names(&mut self, folder: Option<Oid>) -> Result<BTreeSet<StackSlug>, LedgerError> {
        let tree = self.trees.read(folder)?;
        Ok(Entries(&tree).filter_map(|entry| slug_of(entry.name)).collect())
    }

    fn record_blob(&mut self, commit: &Commit<'_>, stack: &StackSlug) -> Result<Option<Oid>, LedgerError> {
        let folder = self.ledger(commit)?.stacks;
        let tree = self.trees.read(folder)?;
        let name = format!("{stack}.json");
        Ok(Entries(&tree).find(|entry| entry.name == name.as_bytes()).and_then(|entry| entry.file()))
    }

    fn record(&mut self, stack: &StackSlug, blob: Oid) -> Result<Arc<Record>, LedgerError> {
        if let Some(known) = self.ahead.get(&blob) {
            return Ok(Arc::clone(known));
        }
        let kept = self.records.entry(stack.clone()).or_default();
        if let Some((_, known)) = kept.iter().find(|(id, _)| *id == blob) {
            return Ok(Arc::clone(known));
        }
        let record = understand(self.repository, stack, blob)?;
        if kept.len() == KEPT_RECORDS {
            kept.pop_front();
        }
        kept.push_back((blob, Arc::clone(&record)));
        Ok(record)
    }

    fn hosts(&mut self, blob: Option<Oid>) -> BTreeMap<HostName, HostRecord> {
        let text = blob.and_then(|blob| text(self.repository, blob, HOSTS).ok());
        text.and_then(|text| convert::read_hosts(&text).ok()).map(|(_, hosts)| hosts).unwrap_or_default()
    }

    /// Finds what a commit says that none beneath it did; reads no record.
    fn step<'c>(&mut self, commit: Commit<'c>, parents: &[Commit<'c>], asked: &Asked) -> Result<Step<'c>, LedgerError> {
        let tell_all = asked.quiet == Quiet::Told && asked.stack.is_none() && asked.service.is_none();
        if parents.len() > 1 {
            let quiet = if tell_all && asked.host.is_none() { QuietChange::Joined } else { QuietChange::None };
            return Ok(Step { commit, names: Vec::new(), changes: Vec::new(), quiet });
        }
        let after = self.ledger(&commit)?;
        let before = parents.first().map(|parent| self.ledger(parent)).transpose()?.unwrap_or_default();
        if before.stacks == after.stacks {
            let is_told = tell_all && before.hosts != after.hosts;
            let hosts = QuietChange::Hosts { before: before.hosts, after: after.hosts };
            let quiet = if is_told { hosts } else { QuietChange::None };
            return Ok(Step { commit, names: Vec::new(), changes: Vec::new(), quiet });
        }
        let mut changes = self.changes(before.stacks, after.stacks)?;
        let names = changes.iter().map(|change| change.stack.clone()).collect();
        changes.retain(|change| asked.stack.as_ref().is_none_or(|stack| *stack == change.stack));
        Ok(Step { commit, names, changes, quiet: QuietChange::None })
    }

    /// Reads and understands the records of many commits, several at a time. What is wrong is left for who needs it.
    fn read_ahead(&mut self, steps: &[Step<'_>]) -> Result<(), LedgerError> {
        let last = std::mem::take(&mut self.ahead);
        let wanted: BTreeMap<Oid, &StackSlug> = steps
            .iter()
            .flat_map(|step| &step.changes)
            .flat_map(|change| [change.before, change.after].into_iter().flatten().map(|blob| (blob, &change.stack)))
            .collect();
        let (known, new): (Vec<_>, Vec<_>) = wanted.into_iter().partition(|(blob, _)| last.contains_key(blob));
        self.ahead.extend(known.into_iter().filter_map(|(blob, _)| Some((blob, last.get(&blob)?.clone()))));
        if new.len() < WORTH_THREADS {
            return Ok(());
        }
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS);
        while self.helpers.len() < threads {
            self.helpers.push(open_repository(self.repository.path())?);
        }
        let each = new.len().div_ceil(threads);
        let read = |repository: &mut Repository, part: &[(Oid, &StackSlug)]| -> Vec<(Oid, Arc<Record>)> {
            part.iter().filter_map(|(blob, stack)| Some((*blob, understand(repository, stack, *blob).ok()?))).collect()
        };
        let found: Vec<Vec<(Oid, Arc<Record>)>> = std::thread::scope(|scope| {
            let parts = self.helpers.iter_mut().zip(new.chunks(each));
            let at_work: Vec<_> = parts.map(|(helper, part)| scope.spawn(move || read(helper, part))).collect();
            at_work.into_iter().map(|thread| thread.join().expect("reading does not panic")).collect()
        });
        self.ahead.extend(found.into_iter().flatten());
        Ok(())
    }

    /// What a commit tells, as far as it is asked for.
    fn happened(&mut self, step: &Step<'_>, asked: &Asked, named: &mut Named) -> Vec<(Option<StackSlug>, Happened)> {
        let mut within = |happened: Happened| {
            if asked.service.is_some() || asked.host.is_some() {
                named.take_in(&happened);
            }
            happened.within(asked.service.as_ref(), asked.host.as_ref())
        };
        match step.quiet {
            QuietChange::Joined => vec![(None, history::only(What::Joined, String::new()))],
            QuietChange::Hosts { before, after } => {
                let (then, now) = (self.hosts(before), self.hosts(after));
                let happened = history::of_hosts(&then, &now).and_then(within);
                happened.into_iter().map(|happened| (None, happened)).collect()
            }
            QuietChange::None => {
                let of = |change: &FileChange| Some((Some(change.stack.clone()), within(self.of_stack(change)?)?));
                step.changes.iter().filter_map(of).collect()
            }
        }
    }

    fn of_stack(&mut self, change: &FileChange) -> Option<Happened> {
        let mut read = |blob: Option<Oid>| blob.map(|blob| self.record(&change.stack, blob)).transpose();
        match (read(change.before), read(change.after)) {
            (_, Err(error)) => Some(history::only(What::Unreadable, error.to_string())),
            // What came before is not known: all of it counts as new.
            (Err(_), Ok(after)) => history::of_stack(None, after.as_deref()),
            (Ok(before), Ok(after)) => history::of_stack(before.as_deref(), after.as_deref()),
        }
    }

    /// The records that differ between two folders, in order of their names.
    fn changes(&mut self, before: Option<Oid>, after: Option<Oid>) -> Result<Vec<FileChange>, LedgerError> {
        let (before, after) = (self.trees.read(before)?, self.trees.read(after)?);
        let (mut old, mut new) = (Entries(&before).peekable(), Entries(&after).peekable());
        let mut changes = Vec::new();
        loop {
            let (was, is) = match (old.peek(), new.peek()) {
                (None, None) => return Ok(changes),
                (Some(_), None) => (old.next(), None),
                (None, Some(_)) => (None, new.next()),
                (Some(a), Some(b)) => match a.name.cmp(b.name) {
                    std::cmp::Ordering::Less => (old.next(), None),
                    std::cmp::Ordering::Greater => (None, new.next()),
                    std::cmp::Ordering::Equal => (old.next(), new.next()),
                },
            };
            if was == is {
                continue;
            }
            let Some(stack) = was.or(is).and_then(|entry| slug_of(entry.name)) else { continue };
            let file = |entry: Option<crate::source::trees::Entry<'_>>| entry.and_then(|entry| entry.file());
            changes.push(FileChange { stack, before: file(was), after: file(is) });
        }
    }
}

fn understand(repository: &Repository, stack: &StackSlug, blob: Oid) -> Result<Arc<Record>, LedgerError> {
    let text = text(repository, blob, &convert::stack_path(stack.as_str()))?;
    Ok(Arc::new(convert::read_record(stack.as_str(), &text)?))
}

fn slug_of(name: &[u8]) -> Option<StackSlug> {
    StackSlug::new(std::str::from_utf8(name).ok()?.strip_suffix(".json")?).ok()
}

fn reading() -> impl FnOnce(git2::Error) -> LedgerError {
    failed("read a commit of the ledger")
}
