//! Reads and understands records of the ledger, several at a time.
//!
//! Takes ids of blobs. Gives records.
//!
//! Never understands a text twice, though it is the new one of its own commit and the old one of the next.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use git2::{Oid, Repository};

use super::walk::FileChange;
use crate::ledger::branch::text;
use crate::ledger::{HOSTS, LedgerError, convert};
use crate::model::record::{HostRecord, Record};
use crate::name::{HostName, StackSlug};
use crate::source::local::open_repository;

/// Texts of a stack that are kept: the old one of a commit is the new one of the next, on each line of a joined history.
const KEPT_RECORDS: usize = 4;

/// To read and understand a record takes some 50 µs; threads are worth their start from so many on.
const WORTH_THREADS: usize = 64;
const MOST_THREADS: usize = 8;

/// What one thread takes at a time: some 0.5 ms, so that all end together.
const PORTION: usize = 16;

pub(super) struct Records<'r> {
    repository: &'r Repository,
    kept: BTreeMap<StackSlug, VecDeque<(Oid, Arc<Record>)>>,
    /// What was read ahead for the commits in hand.
    ahead: BTreeMap<Oid, Arc<Record>>,
    /// The repository, opened once more for each that reads beside this one.
    helpers: Vec<Repository>,
}

impl<'r> Records<'r> {
    pub(super) fn of(repository: &'r Repository) -> Self {
        Self { repository, kept: BTreeMap::new(), ahead: BTreeMap::new(), helpers: Vec::new() }
    }

    /// # Errors
    /// When it cannot be read or understood.
    pub(super) fn record(&mut self, stack: &StackSlug, blob: Oid) -> Result<Arc<Record>, LedgerError> {
        if let Some(known) = self.ahead.get(&blob) {
            return Ok(Arc::clone(known));
        }
        let kept = self.kept.entry(stack.clone()).or_default();
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

    /// What cannot be understood tells of no host.
    pub(super) fn hosts(&mut self, blob: Option<Oid>) -> BTreeMap<HostName, HostRecord> {
        let text = blob.and_then(|blob| text(self.repository, blob, HOSTS).ok());
        text.and_then(|text| convert::read_hosts(&text).ok()).map(|(_, hosts)| hosts).unwrap_or_default()
    }

    /// Reads and understands the records of many changes, several at a time, while this thread does something else and then
    /// takes its part. What is wrong is left for who needs it.
    pub(super) fn read_ahead<'c, T>(
        &mut self,
        changes: impl Iterator<Item = &'c FileChange>,
        meanwhile: impl FnOnce() -> T,
    ) -> Result<T, LedgerError> {
        let last = std::mem::take(&mut self.ahead);
        let wanted: BTreeMap<Oid, &StackSlug> = changes
            .flat_map(|change| [change.before, change.after].into_iter().flatten().map(|blob| (blob, &change.stack)))
            .collect();
        let (known, new): (Vec<_>, Vec<_>) = wanted.into_iter().partition(|(blob, _)| last.contains_key(blob));
        self.ahead.extend(known.into_iter().filter_map(|(blob, _)| Some((blob, last.get(&blob)?.clone()))));
        if new.len() < WORTH_THREADS {
            return Ok(meanwhile());
        }
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS);
        while self.helpers.len() + 1 < threads {
            self.helpers.push(open_repository(self.repository.path())?);
        }
        let taken = AtomicUsize::new(0);
        let read = &|repository: &Repository| {
            let mut found = Vec::new();
            while let Some(portion) = new.chunks(PORTION).nth(taken.fetch_add(1, Ordering::Relaxed)) {
                let understood =
                    portion.iter().map(|(blob, stack)| Some((*blob, understand(repository, stack, *blob).ok()?)));
                found.extend(understood.flatten());
            }
            found
        };
        let mut done = None;
        let found: Vec<Vec<(Oid, Arc<Record>)>> = std::thread::scope(|scope| {
            let at_work: Vec<_> = self.helpers.iter_mut().map(|helper| scope.spawn(move || read(helper))).collect();
            done = Some(meanwhile());
            let mine = read(self.repository);
            let others = at_work.into_iter().map(|thread| thread.join().expect("reading does not panic"));
            others.chain([mine]).collect()
        });
        self.ahead.extend(found.into_iter().flatten());
        Ok(done.expect("it was done"))
    }
}

fn understand(repository: &Repository, stack: &StackSlug, blob: Oid) -> Result<Arc<Record>, LedgerError> {
    let text = text(repository, blob, &convert::stack_path(stack.as_str()))?;
    Ok(Arc::new(convert::read_record(stack.as_str(), &text)?))
}
