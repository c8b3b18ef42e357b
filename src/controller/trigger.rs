//! What makes the controller look again. No trigger carries data.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::controller::Event;
use crate::controller::once::chain;
use crate::engine::{Engine, Engines};
use crate::ledger::{Pushed, StatusBranch};
use crate::model::config::Push;
use crate::model::host::Endpoint;
use crate::model::request::LABEL_OWNER;
use crate::observe::usage;
use crate::source::Source;
use crate::status::hosts::Use;
use crate::watch;

/// Several refs change in one push; a pass for each would be waste, and 10 ms is nothing to a person.
const QUIET: Duration = Duration::from_millis(5);
/// After a watcher or an event stream broke.
const LISTEN_AGAIN: Duration = Duration::from_secs(5);

/// An engine tells of a death before its own list shows it: a look at once would see the container running. The second
/// one is for an engine that is busy.
const LISTS_LAG: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(1)];

/// Events come in bursts; two looks that began at different times see all that a hundred would.
const LOOKS_AT_ONCE: usize = 2;

/// What helpers found out besides "look again".
#[derive(Debug)]
pub enum Heard {
    Use(Endpoint, Use),
}

/// New commits: a watch on a local repository, regular fetches of a remote one.
pub async fn commits(source: Source, poll: Duration, again: Arc<Notify>, events: UnboundedSender<Event>) {
    loop {
        if source.is_mirror() {
            if let Err(error) = source.fetch().await {
                let text = chain(&error);
                tracing::warn!(error = text, "the repository could not be fetched");
                let _ = events.send(Event::PassFailed(text));
            }
            again.notify_one();
            sleep(poll).await;
            continue;
        }
        match watch::watch(source.git_dir(), QUIET) {
            Ok(mut watch) => {
                again.notify_one();
                while watch.changed().await.is_ok() {
                    again.notify_one();
                }
            }
            Err(error) => tracing::warn!(error = chain(&error), "the repository cannot be watched; it is polled"),
        }
        sleep(poll.min(LISTEN_AGAIN)).await;
        again.notify_one();
    }
}

/// Pushes the ledger after each commit, one push at a time.
pub async fn pushes(
    ledger: StatusBranch,
    policy: Push,
    wanted: Arc<Notify>,
    again: Arc<Notify>,
    events: UnboundedSender<Event>,
) {
    loop {
        wanted.notified().await;
        if push_once(&ledger, policy, &events).await == Then::LookAgain {
            again.notify_one();
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    Nothing,
    /// The remote ledger had commits that are in the local one now.
    LookAgain,
}

pub async fn push_once(ledger: &StatusBranch, policy: Push, events: &UnboundedSender<Event>) -> Then {
    if policy == Push::Never {
        return Then::Nothing;
    }
    for _ in 0..2 {
        match ledger.push().await {
            Ok(Pushed::NoRemote | Pushed::UpToDate | Pushed::Done) => return Then::Nothing,
            Ok(Pushed::Behind) => {}
            Err(error) => {
                let text = chain(&error);
                tracing::warn!(error = text, "the ledger could not be pushed");
                let _ = events.send(Event::PushFailed(text));
                return Then::Nothing;
            }
        }
    }
    Then::LookAgain
}

/// Listens to the events of every engine, and samples what their containers use.
#[derive(Debug, Default)]
pub struct Listeners {
    known: BTreeMap<Endpoint, JoinSet<()>>,
}

impl Listeners {
    /// Has a listener for each of these engines and for no other.
    pub fn listen(&mut self, engines: &Engines, again: &Arc<Notify>, heard: &UnboundedSender<Heard>) {
        self.known.retain(|endpoint, _| engines.contains_key(endpoint));
        for (endpoint, engine) in engines {
            self.known.entry(endpoint.clone()).or_insert_with(|| {
                let mut tasks = JoinSet::new();
                tasks.spawn(container_events(engine.clone(), again.clone()));
                let of = endpoint.clone();
                tasks.spawn(usage::sample(engine.clone(), heard.clone(), move |used| Heard::Use(of.clone(), used)));
                tasks
            });
        }
    }
}

async fn container_events(engine: Arc<dyn Engine>, again: Arc<Notify>) {
    let mut looks = JoinSet::new();
    loop {
        if let Ok(mut events) = engine.events().await {
            while let Some(Ok(event)) = events.next().await {
                // What starts was started by us, or will be seen at the next look; what ends may need us now.
                let ends = matches!(event.action.as_str(), "die" | "destroy" | "pause" | "unpause" | "rename")
                    || event.action.starts_with("health_status");
                if ends && event.labels.contains_key(LABEL_OWNER) {
                    while looks.try_join_next().is_some() {}
                    if looks.len() < LOOKS_AT_ONCE {
                        looks.spawn(look_again(again.clone()));
                    }
                }
            }
        }
        sleep(LISTEN_AGAIN).await;
        again.notify_one();
    }
}

async fn look_again(again: Arc<Notify>) {
    for pause in LISTS_LAG {
        sleep(pause).await;
        again.notify_one();
    }
}
