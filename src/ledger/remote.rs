//! Pushes the ledger to where others see it.
//!
//! Takes the local branch. Gives how the push ended; where the remote ledger had moved on, both are joined locally.
//!
//! Never pushes with force, and never pushes another branch.

use std::time::Duration;

use git2::ErrorCode;

use super::{LedgerError, Pushed, StatusBranch, branch, failed, join, local_ref, tracking_ref};
use crate::source::git::{last_lines, run, run_to_end};
use crate::source::{REMOTE, SourceError};

/// A server that has not answered by then will not do so for the sake of a few seconds more.
const LIMIT: Duration = Duration::from_secs(60);

pub(super) async fn push(ledger: &StatusBranch) -> Result<Pushed, LedgerError> {
    let state = ledger.with(|inner| {
        let repository = inner.repository();
        match repository.find_remote(REMOTE) {
            Ok(_) => {}
            Err(error) if matches!(error.code(), ErrorCode::NotFound | ErrorCode::InvalidSpec) => {
                return Ok(Err(Pushed::NoRemote));
            }
            Err(error) => return Err(failed("read the remote `origin`")(error)),
        }
        let Some(local) = branch::tip(&repository, &local_ref())? else {
            return Ok(Err(Pushed::UpToDate));
        };
        let remote = branch::tip(&repository, &tracking_ref())?;
        let has_it = match remote {
            Some(remote) if remote == local => true,
            Some(remote) => repository
                .graph_descendant_of(remote, local)
                .map_err(failed("compare the ledger with the remote one"))?,
            None => false,
        };
        Ok(if has_it { Err(Pushed::UpToDate) } else { Ok(local) })
    });
    let local = match state.await? {
        Ok(local) => local,
        Err(ended) => return Ok(ended),
    };
    let git_dir = &ledger.0.git_dir;
    // The id and not the branch: what is committed meanwhile is for the next push.
    let what = format!("{local}:{}", local_ref());
    let arguments = [
        "push",
        "--porcelain",
        "--no-verify",
        "--no-follow-tags",
        "--no-signed",
        "--recurse-submodules=no",
        "--end-of-options",
        REMOTE,
        &what,
    ];
    let done = run_to_end(git_dir, &arguments, LIMIT).await?;
    if done.success {
        let note = move |inner: &super::Inner| {
            inner
                .repository()
                .reference(&tracking_ref(), local, true, "ledger pushed")
                .map_err(failed("note what was pushed"))?;
            Ok(Pushed::Done)
        };
        return ledger.with(note).await;
    }
    let Some(refused) = done.stdout.lines().find_map(|line| line.strip_prefix("!\t")) else {
        // It came to no answer about the branch: no connection, no access.
        let message = last_lines(&done.stderr);
        let act = "push".to_owned();
        return Err(SourceError::Git { act, message }.into());
    };
    let why = refused.rsplit('\t').next().unwrap_or(refused).to_owned();
    fetch_and_join(ledger, why).await
}

/// Whatever the server's words were: if its ledger has commits that are not here, that is the reason.
async fn fetch_and_join(ledger: &StatusBranch, why: String) -> Result<Pushed, LedgerError> {
    let what = format!("+{}:{}", local_ref(), tracking_ref());
    let arguments = [
        "fetch",
        "--quiet",
        "--no-tags",
        "--no-recurse-submodules",
        "--no-write-fetch-head",
        "--end-of-options",
        REMOTE,
        &what,
    ];
    if run(&ledger.0.git_dir, &arguments, LIMIT).await.is_err() {
        return Err(LedgerError::Refused { why });
    }
    ledger
        .with(move |inner| {
            let repository = inner.repository();
            let local = branch::tip(&repository, &local_ref())?;
            let remote = branch::tip(&repository, &tracking_ref())?;
            let (Some(local), Some(remote)) = (local, remote) else {
                return Err(LedgerError::Refused { why });
            };
            let contained = local == remote
                || repository
                    .graph_descendant_of(local, remote)
                    .map_err(failed("compare the ledger with the remote one"))?;
            if contained {
                return Err(LedgerError::Refused { why });
            }
            join::join(&repository, local, remote)?;
            Ok(Pushed::Behind)
        })
        .await
}
