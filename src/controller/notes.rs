//! Writes what became of deployed commits beside them, behind everything else.
//!
//! Takes what is to be noted. Gives notes, here and in the remote repository.
//!
//! Never delays a deployment and never fails one: what cannot be noted is said in the log, and what cannot be pushed is
//! pushed with the next note, or after a pause.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{sleep, timeout};

use crate::causes::chain;
use crate::controller::pause::pause;
use crate::ledger::{LedgerError, Pushed, StatusBranch};
use crate::model::config::Push;
use crate::name::{Revision, StackSlug};
use crate::reconcile::site::Site;
use crate::source::{Source, SourceError};

/// What became of a stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Noted {
    pub stack: StackSlug,
    pub result: String,
    pub beside: Beside,
}

/// The commit that it is noted beside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Beside {
    Commit(Revision),
    /// The last one beneath a head that changed the stack's files: who failed is not who runs again.
    LastChange {
        head: Revision,
        files: BTreeSet<Arc<str>>,
    },
}

/// Writes notes, and pushes them.
#[derive(Clone)]
pub struct Notes {
    source: Source,
    ledger: StatusBranch,
    push: Push,
}

/// Reading and writing a few objects takes milliseconds; a disk that stands still for longer is not waited for.
const WRITE_LIMIT: Duration = Duration::from_secs(30);

/// Each lost race means that another writer got its notes in, and that ours are joined with them now.
const PUSH_TRIES: u32 = 5;

/// Notes what comes, until nothing more will.
pub async fn keep(notes: Notes, mut coming: UnboundedReceiver<Noted>) {
    let mut failed = 0;
    // What an earlier run could not push goes with the first note of this one.
    loop {
        let next = if failed == 0 {
            coming.recv().await
        } else {
            tokio::select! {
                next = coming.recv() => next,
                () = sleep(pause(failed, "notes")) => {
                    failed = if notes.pushed().await { 0 } else { failed + 1 };
                    continue;
                }
            }
        };
        let Some(first) = next else { return };
        let mut all = vec![first];
        while let Ok(more) = coming.try_recv() {
            all.push(more);
        }
        notes.write(&all).await;
        failed = if notes.pushed().await { 0 } else { failed.max(1) };
    }
}

impl Notes {
    pub fn of(site: &Site) -> Self {
        Self { source: site.source.clone(), ledger: site.ledger.clone(), push: site.config.push }
    }

    /// Writes some notes; what cannot be written is said in the log.
    pub async fn write(&self, all: &[Noted]) {
        for noted in all {
            let trouble = match timeout(WRITE_LIMIT, self.write_one(noted)).await {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => chain(&error),
                Err(_) => format!("it took longer than {} s", WRITE_LIMIT.as_secs()),
            };
            tracing::warn!(stack = %noted.stack, error = trouble, "what became of it could not be noted");
        }
    }

    async fn write_one(&self, noted: &Noted) -> Result<(), LedgerError> {
        let commit = match &noted.beside {
            Beside::Commit(commit) => commit.clone(),
            Beside::LastChange { head, files } => self.last_change(head, files).await?,
        };
        self.ledger.note(&commit, &noted.stack, &noted.result).await
    }

    async fn last_change(&self, head: &Revision, files: &BTreeSet<Arc<str>>) -> Result<Revision, SourceError> {
        let changes = self.source.last_changes(head, files).await?;
        Ok(files.iter().find_map(|path| changes.get(path)).unwrap_or(head).clone())
    }

    /// Pushes them; says whether nothing is left to be pushed.
    pub async fn pushed(&self) -> bool {
        if self.push == Push::Never {
            return true;
        }
        for _ in 0..PUSH_TRIES {
            match self.ledger.push_notes().await {
                Ok(Pushed::NoRemote | Pushed::UpToDate | Pushed::Done) => return true,
                Ok(Pushed::Behind) | Err(LedgerError::Race) => {}
                Err(error) => {
                    tracing::warn!(error = chain(&error), "the notes could not be pushed");
                    return false;
                }
            }
        }
        tracing::warn!("others kept writing to the remote notes ({PUSH_TRIES} tries)");
        false
    }
}
