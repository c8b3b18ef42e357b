//! Pushes the ledger, and its notes, to where others see them.
//!
//! Takes a local reference. Gives how the push ended; where the remote one had moved on, both are joined locally.
//!
//! Never pushes with force, and never pushes another reference.

use std::sync::Arc;
use std::time::Duration;

use git2::{ErrorCode, Oid, Repository};

use super::{Inner, LedgerError, Pushed, branch, failed, join, local_ref, tracking_ref, with};
use crate::source::damage::{behind_failed_git, seen};
use crate::source::git::{last_lines, run, run_to_end};
use crate::source::moving::{Expected, Unmoved, move_reference};
use crate::source::{REMOTE, SourceError};

/// A server that has not answered by then will not do so for the sake of a few seconds more.
const LIMIT: Duration = Duration::from_secs(60);

/// What is pushed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line {
    pub(super) local: fn() -> String,
    /// Where the remote one was last seen.
    pub(super) tracking: fn() -> String,
    /// Joins the remote one into the local one.
    pub(super) join: fn(&Repository, Oid, Oid) -> Result<(), LedgerError>,
    /// How long the server may take. Nothing is fetched meanwhile.
    pub(super) limit: Duration,
}

/// The ledger itself.
pub(super) const LEDGER: Line = Line { local: local_ref, tracking: tracking_ref, join: join::join, limit: LIMIT };

/// Pushes; once more if a mirror had to be put right for it.
pub(super) async fn push(ledger: &Arc<Inner>, line: Line) -> Result<Pushed, LedgerError> {
    let home = ledger.home();
    let folder = home.folder();
    let _one = home.one_git().await;
    let error = match push_once(ledger, line).await {
        Ok(pushed) => return Ok(pushed),
        Err(error) => error,
    };
    if ledger.remove_stale_locks().await {
        return push_once(ledger, line).await;
    }
    let damage = match &error {
        LedgerError::Source(error) => behind_failed_git(home, error).await,
        LedgerError::Refused { .. } => seen(home).await,
        LedgerError::Git { .. }
        | LedgerError::Broken { .. }
        | LedgerError::Newer { .. }
        | LedgerError::OtherOwner { .. }
        | LedgerError::Locked { .. }
        | LedgerError::Race => None,
    };
    let Some(what) = damage else { return Err(error) };
    home.mend(folder, &format!("push: {what}")).await?;
    push_once(ledger, line).await
}

async fn push_once(ledger: &Arc<Inner>, line: Line) -> Result<Pushed, LedgerError> {
    let state = with(ledger, move |inner| {
        let repository = inner.repository()?;
        match repository.find_remote(REMOTE) {
            Ok(_) => {}
            Err(error) if matches!(error.code(), ErrorCode::NotFound | ErrorCode::InvalidSpec) => {
                return Ok(Err(Pushed::NoRemote));
            }
            Err(error) => return Err(failed("read the remote `origin`")(error)),
        }
        let Some(local) = branch::tip(&repository, &(line.local)())? else {
            return Ok(Err(Pushed::UpToDate));
        };
        let remote = branch::tip(&repository, &(line.tracking)())?;
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
    let git_dir = ledger.home().git_dir();
    // The id and not the branch: what is committed meanwhile is for the next push.
    let what = format!("{local}:{}", (line.local)());
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
    let done = run_to_end(git_dir, &arguments, line.limit).await?;
    if done.success {
        let note = move |inner: &Inner| {
            let noted = (line.tracking)();
            let moved = move_reference(&*inner.repository()?, &noted, Expected::Anywhere, local, "ledger pushed");
            moved.map_err(|unmoved| match unmoved {
                Unmoved::Elsewhere => LedgerError::Race,
                Unmoved::Locked { source, .. } | Unmoved::Failed(source) => failed("note what was pushed")(source),
            })?;
            Ok(Pushed::Done)
        };
        return with(ledger, note).await;
    }
    let Some(refused) = done.stdout.lines().find_map(|line| line.strip_prefix("!\t")) else {
        // It came to no answer about the branch: no connection, no access.
        let message = last_lines(&done.stderr);
        let act = "push".to_owned();
        return Err(SourceError::Git { act, message }.into());
    };
    let why = refused.rsplit('\t').next().unwrap_or(refused).to_owned();
    fetch_and_join(ledger, line, why).await
}

/// Whatever the server's words were: if its ledger has commits that are not here, that is the reason.
async fn fetch_and_join(ledger: &Arc<Inner>, line: Line, why: String) -> Result<Pushed, LedgerError> {
    let what = format!("+{}:{}", (line.local)(), (line.tracking)());
    let arguments = [
        "fetch",
        "--quiet",
        "--no-tags",
        "--no-recurse-submodules",
        "--no-write-fetch-head",
        "--no-auto-maintenance",
        "--end-of-options",
        REMOTE,
        &what,
    ];
    if let Err(error) = run(ledger.home().git_dir(), &arguments, line.limit).await {
        return Err(LedgerError::Refused { why: format!("{why}; and why cannot be seen, as {error}") });
    }
    with(ledger, move |inner| {
        let refused = || LedgerError::Refused { why: why.clone() };
        let repository = inner.repository()?;
        let local = branch::tip(&repository, &(line.local)())?;
        let remote = branch::tip(&repository, &(line.tracking)())?;
        let (Some(local), Some(remote)) = (local, remote) else {
            return Err(refused());
        };
        let contained = local == remote
            || repository
                .graph_descendant_of(local, remote)
                .map_err(failed("compare the ledger with the remote one"))?;
        if contained {
            return Err(refused());
        }
        (line.join)(&repository, local, remote)?;
        Ok(Pushed::Behind)
    })
    .await
}
