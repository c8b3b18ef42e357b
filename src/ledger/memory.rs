//! Keeps the ledger in a simulated repository.
//!
//! Takes and gives what the Git door does, with the same texts in its files, and shows the repository's faults.
//!
//! Never runs anything in the background, so that two runs of one script are the same.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use super::branch::{message, told};
use super::{Change, HOSTS, LedgerCommit, LedgerError, PAGE, Pushed, STACKS, Told, convert, told_by};
use crate::model::record::Ledger;
use crate::name::{Revision, StackSlug};
use crate::source::history::trailers_of_text;
use crate::source::memory::faults::{Act, Trouble};
use crate::source::memory::{Commit, Entry, Files, MemoryRepository, trouble};

/// The ledger in one repository.
pub(super) struct Keeper {
    repository: MemoryRepository,
    seen: Mutex<Seen>,
}

/// The ledger as it was last read, with the files that it was read from.
#[derive(Default)]
struct Seen {
    head: Option<Revision>,
    files: Arc<Files>,
    ledger: Arc<Ledger>,
}

impl Keeper {
    pub(super) fn of(repository: MemoryRepository) -> Self {
        Self { repository, seen: Mutex::default() }
    }

    pub(super) async fn read(&self) -> Result<Arc<Ledger>, LedgerError> {
        self.begin(Act::ReadLedger).await?;
        self.read_at(self.head()?)
    }

    /// Commits once; who lost a race builds again on what the other wrote.
    pub(super) async fn commit(&self, change: &Change) -> Result<Option<Revision>, LedgerError> {
        let local = self.repository.local_ledger();
        let head = self.head()?;
        let ledger = self.read_at(head.clone())?;
        if let Some(theirs) = &ledger.owner
            && *theirs != change.owner
        {
            return Err(LedgerError::OtherOwner { theirs: theirs.clone(), ours: change.owner.clone() });
        }
        let base = self.files(head.as_ref())?;
        let files = build(&base, change, &ledger);
        // Between the look and the swap others may write.
        let begun = self.repository.begin(Act::CommitLedger).await;
        match begun {
            Ok(()) | Err(Trouble::DoneButFailed) => {}
            Err(other) => return Err(self.failed(Act::CommitLedger, other)),
        }
        if files == *base {
            return Ok(None);
        }
        let parents = head.into_iter().collect();
        let new = self.repository.make(Commit { parents, files: Arc::new(files), message: message(change) });
        if !self.repository.swap_ledger(local.as_ref(), &new) {
            return Err(LedgerError::Race);
        }
        begun.map_err(|other| self.failed(Act::CommitLedger, other))?;
        Ok(Some(new))
    }

    pub(super) async fn push(&self) -> Result<Pushed, LedgerError> {
        let Some(origin) = self.repository.origin().cloned() else { return Ok(Pushed::NoRemote) };
        let Some(local) = self.repository.local_ledger() else { return Ok(Pushed::UpToDate) };
        if let Some(tracked) = self.repository.tracked_ledger()
            && self.contains(&tracked, &local)?
        {
            return Ok(Pushed::UpToDate);
        }
        let begun = self.repository.begin(Act::PushLedger).await;
        match begun {
            Ok(()) | Err(Trouble::DoneButFailed) => {}
            Err(other) => return Err(self.failed(Act::PushLedger, other)),
        }
        let remote = origin.local_ledger();
        if let Some(remote) = &remote
            && !self.contains(&local, remote)?
        {
            return self.fetch_and_join(&origin).await;
        }
        if !origin.swap_ledger(remote.as_ref(), &local) {
            return Err(LedgerError::Refused { why: "the branch moved".to_owned() });
        }
        begun.map_err(|other| self.failed(Act::PushLedger, other))?;
        self.repository.track_ledger(&local);
        Ok(Pushed::Done)
    }

    pub(super) async fn log(&self, limit: usize) -> Result<Vec<LedgerCommit>, LedgerError> {
        self.begin(Act::ReadLedger).await?;
        let Some(head) = self.head()? else { return Ok(Vec::new()) };
        let newest = self.repository.newest_first(&head)?.into_iter().take(limit);
        newest
            .map(|revision| {
                let commit = self.repository.commit_at(&revision)?;
                let trailers = trailers_of_text(&commit.message);
                Ok(told(revision, &commit.message, trailers))
            })
            .collect()
    }

    async fn fetch_and_join(&self, origin: &MemoryRepository) -> Result<Pushed, LedgerError> {
        let refused = || LedgerError::Refused { why: "fetch first".to_owned() };
        self.repository.begin(Act::Fetch).await.map_err(|_| refused())?;
        let (Some(local), Some(remote)) = (self.repository.local_ledger(), origin.local_ledger()) else {
            return Err(refused());
        };
        self.repository.track_ledger(&remote);
        if self.contains(&local, &remote)? {
            return Err(refused());
        }
        self.join(&local, &remote)?;
        Ok(Pushed::Behind)
    }

    /// Joins the remote ledger into the local one, unless it is ahead of it already.
    fn join(&self, local: &Revision, remote: &Revision) -> Result<(), LedgerError> {
        if self.contains(remote, local)? {
            return Ok(());
        }
        if let (Some(theirs), Some(ours)) = (self.owner_of(remote)?, self.owner_of(local)?)
            && theirs != ours
        {
            return Err(LedgerError::OtherOwner { theirs, ours });
        }
        let here = self.repository.ancestors(local)?;
        let base = self.repository.newest_first(remote)?.into_iter().find(|revision| here.contains(revision));
        let (base, ours, theirs) = (self.files(base.as_ref())?, self.files(Some(local))?, self.files(Some(remote))?);
        let paths: BTreeSet<&Arc<str>> = ours.keys().chain(theirs.keys()).collect();
        let pick = |path: &&Arc<str>| {
            let (b, o, t) = (base.get(*path), ours.get(*path), theirs.get(*path));
            let picked = if o == b && t != b { t } else { o };
            let joined = match (o, t) {
                (Some(Entry::Text(ours)), Some(Entry::Text(theirs))) if o != b && t != b => {
                    stack_of(path).and_then(|slug| convert::join_records(slug, ours, theirs))
                }
                _ => None,
            };
            let entry = joined.map_or_else(|| picked.cloned(), |text| Some(Entry::Text(text.into())));
            Some(((*path).clone(), entry?))
        };
        let files = Arc::new(paths.iter().filter_map(pick).collect());
        let parents = vec![remote.clone(), local.clone()];
        let message = "Join the ledger with the remote one\n".to_owned();
        let joined = self.repository.make(Commit { parents, files, message });
        if self.repository.swap_ledger(Some(local), &joined) { Ok(()) } else { Err(LedgerError::Race) }
    }

    /// The newest commit, local or remote, as the Git door picks it.
    fn head(&self) -> Result<Option<Revision>, LedgerError> {
        match (self.repository.local_ledger(), self.repository.tracked_ledger()) {
            (Some(local), Some(remote)) if local != remote => {
                Ok(Some(if self.contains(&remote, &local)? { remote } else { local }))
            }
            (local, remote) => Ok(local.or(remote)),
        }
    }

    /// Whether a commit is another one or has it beneath.
    fn contains(&self, above: &Revision, beneath: &Revision) -> Result<bool, LedgerError> {
        Ok(above == beneath || self.repository.ancestors(above)?.contains(beneath))
    }

    fn read_at(&self, head: Option<Revision>) -> Result<Arc<Ledger>, LedgerError> {
        let mut seen = self.seen.lock().expect("nothing panics while it reads the ledger");
        if seen.head == head {
            return Ok(Arc::clone(&seen.ledger));
        }
        let files = self.files(head.as_ref())?;
        let (made_for, controller) = match &head {
            Some(head) => told_by(head.clone(), |id| {
                let commit = self.repository.commit_at(id)?;
                Ok(Told { trailers: trailers_of_text(&commit.message), parents: commit.parents })
            })?,
            None => (None, None),
        };
        let mut ledger = Ledger { commit: head.clone(), head: made_for, controller, ..Ledger::default() };
        for (path, entry) in files.iter() {
            let is_same = seen.files.get(path) == Some(entry);
            let broken = |why: String| LedgerError::Broken { path: path.to_string(), why };
            let text = || match entry {
                Entry::Text(text) => Ok(text),
                Entry::Symlink => Err(broken("it is no file".to_owned())),
            };
            if let Some(slug) = stack_of(path) {
                let slug = StackSlug::new(slug).map_err(|why| broken(format!("its name {why}")))?;
                let record = match seen.ledger.records.get(&slug).filter(|_| is_same) {
                    Some(record) => record.clone(),
                    None => convert::read_record(slug.as_str(), text()?)?,
                };
                ledger.records.insert(slug, record);
            } else if &**path == HOSTS && is_same {
                ledger.owner.clone_from(&seen.ledger.owner);
                ledger.hosts = seen.ledger.hosts.clone();
            } else if &**path == HOSTS {
                let (owner, hosts) = convert::read_hosts(text()?)?;
                ledger.owner = Some(owner);
                ledger.hosts = hosts;
            }
        }
        *seen = Seen { head, files, ledger: Arc::new(ledger) };
        Ok(Arc::clone(&seen.ledger))
    }

    fn owner_of(&self, revision: &Revision) -> Result<Option<String>, LedgerError> {
        match self.files(Some(revision))?.get(HOSTS) {
            Some(Entry::Text(text)) => Ok(Some(convert::read_hosts(text)?.0)),
            Some(Entry::Symlink) | None => Ok(None),
        }
    }

    fn files(&self, revision: Option<&Revision>) -> Result<Arc<Files>, LedgerError> {
        match revision {
            Some(revision) => Ok(self.repository.commit_at(revision)?.files),
            None => Ok(Arc::default()),
        }
    }

    async fn begin(&self, act: Act) -> Result<(), LedgerError> {
        self.repository.begin(act).await.map_err(|other| self.failed(act, other))
    }

    fn failed(&self, act: Act, other: Trouble) -> LedgerError {
        match (act, other) {
            (_, Trouble::Locked) => LedgerError::Locked { path: format!("{}.lock", self.repository.name()).into() },
            (Act::CommitLedger, _) => LedgerError::Git { act: act.as_str().to_owned(), source: trouble::disk_error() },
            _ => trouble::failed(act, other).into(),
        }
    }
}

fn stack_of(path: &str) -> Option<&str> {
    path.strip_prefix(STACKS)?.strip_prefix('/')?.strip_suffix(".json")
}

fn build(base: &Files, change: &Change, ledger: &Ledger) -> Files {
    let mut files = base.clone();
    let mut put = |path: &str, text: &str| drop(files.insert(path.into(), Entry::Text(text.into())));
    for (slug, record) in &change.records {
        if let Some(record) = record.as_ref().filter(|record| ledger.records.get(slug) != Some(record)) {
            put(&convert::stack_path(slug.as_str()), &convert::write_record(record));
        }
    }
    let hosts = change.hosts.as_ref().unwrap_or(&ledger.hosts);
    if ledger.owner.is_none() || *hosts != ledger.hosts {
        put(HOSTS, &convert::write_hosts(&change.owner, hosts));
    }
    if let Some(page) = &change.page {
        put(PAGE, page);
    }
    let is_removed = |path: &str| {
        let slug = stack_of(path).and_then(|slug| StackSlug::new(slug).ok());
        slug.is_some_and(|slug| change.records.get(&slug) == Some(&None))
    };
    files.retain(|path, _| !is_removed(path));
    files
}
