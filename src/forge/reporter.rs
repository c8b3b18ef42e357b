//! Says at the forge what became of commits, beside everything else.
//!
//! Takes the newest status of each commit. Gives it to the forge when it can be had.
//!
//! Never makes anybody wait, and never keeps more than a few commits: what an outage makes old is not said any more. An
//! outage is said once.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::causes::chain;
use crate::forge::{CommitStatus, Forge};
use crate::name::Revision;

/// Commits whose status waits to be said; of more, the oldest are not of interest any more.
const MOST_WAITING: usize = 32;
/// Pauses after tries that failed one after another; the last goes on.
const PAUSES: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(25), Duration::from_secs(120)];
/// A forge may want longer, and then the next try shows it.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// What is to be said of the forge itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// It could not be told; the error's chain.
    Failed(String),
    /// It could, after it could not.
    Again,
}

/// Says statuses until it is finished or dropped.
#[derive(Debug)]
pub struct Reporter {
    waiting: Arc<Waiting>,
    finishing: CancellationToken,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Waiting {
    queue: Mutex<VecDeque<(Revision, CommitStatus)>>,
    more: Notify,
}

impl Waiting {
    fn queue(&self) -> MutexGuard<'_, VecDeque<(Revision, CommitStatus)>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes it out, unless a newer one is in its place by now.
    fn done(&self, done: &(Revision, CommitStatus)) {
        self.queue().retain(|waiting| waiting != done);
    }
}

impl Reporter {
    /// `tell` is called when an outage begins, and when it ends.
    pub fn start(forge: Forge, tell: impl Fn(News) + Send + 'static) -> Self {
        let waiting = Arc::new(Waiting::default());
        let finishing = CancellationToken::new();
        let task = tokio::spawn(work(forge, waiting.clone(), finishing.clone(), tell));
        Self { waiting, finishing, task }
    }

    /// Has this said of a commit, in place of what waits to be said of it.
    pub fn wish(&self, commit: Revision, status: CommitStatus) {
        let mut queue = self.waiting.queue();
        match queue.iter_mut().find(|(waiting, _)| *waiting == commit) {
            Some((_, waiting)) => *waiting = status,
            None => queue.push_back((commit, status)),
        }
        if queue.len() > MOST_WAITING {
            queue.pop_front();
        }
        drop(queue);
        self.waiting.more.notify_one();
    }

    /// Says what still waits, once each and within the limit, and ends.
    pub async fn finish(mut self, limit: Duration) {
        self.finishing.cancel();
        // What is not said by then is said when the service starts again.
        let _ = timeout(limit, &mut self.task).await;
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn work(forge: Forge, waiting: Arc<Waiting>, finishing: CancellationToken, tell: impl Fn(News)) {
    let mut is_away = false;
    let mut tries = 0;
    loop {
        let first = waiting.queue().front().cloned();
        let Some(first) = first else {
            tries = 0;
            tokio::select! {
                () = waiting.more.notified() => continue,
                () = finishing.cancelled() => return,
            }
        };
        match forge.set_status(&first.0, &first.1).await {
            Ok(()) => {
                waiting.done(&first);
                tries = 0;
                if std::mem::take(&mut is_away) {
                    tracing::info!("the forge can be told again");
                    tell(News::Again);
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut is_away, true) {
                    let text = chain(&error);
                    tracing::warn!(error = text, "the forge could not be told of a commit");
                    tell(News::Failed(text));
                }
                if !error.is_transient() || finishing.is_cancelled() {
                    waiting.done(&first);
                    continue;
                }
                // The trouble may be with this commit alone.
                waiting.queue().rotate_left(1);
                let pause = PAUSES[tries.min(PAUSES.len() - 1)];
                tries += 1;
                tokio::select! {
                    () = sleep(error.retry_after().map_or(pause, |wanted| wanted.min(LONGEST_PAUSE))) => {}
                    () = finishing.cancelled() => {}
                }
            }
        }
    }
}
