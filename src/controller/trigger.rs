//! What makes the controller look again. No trigger carries data.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::Notify;
use tokio::sync::mpsc::{Sender, UnboundedSender};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::causes::chain;
use crate::controller::Event;
use crate::controller::pause::pause;
use crate::engine::{Engine, Engines};
use crate::ledger::{LedgerError, Pushed, StatusBranch};
use crate::model::config::Push;
use crate::model::host::Endpoint;
use crate::model::request::LABEL_OWNER;
use crate::name::InstanceId;
use crate::observe::{names, usage};
use crate::source::Source;
use crate::status::hosts::Use;

/// Several refs may change in one push: the first is looked at once, and the others together.
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
    /// A container with an owner label ended, whosever it is and whoever ended it.
    Ended {
        endpoint: Endpoint,
        container: String,
        labels: BTreeMap<String, String>,
    },
    /// What an instance printed before it ended.
    Printed(InstanceId, Vec<String>),
    /// All containers of an engine that answer to no name.
    Nameless(Endpoint, BTreeSet<String>),
}

/// More events than this at once tell nothing that a look does not.
pub const HEARD_AT_ONCE: usize = 256;

/// Fetches after which the mirror is looked at for tidying up; about once an hour where nothing is pushed.
const TIDY_UP_EVERY: u32 = 50;

/// What is said of an outage: each trouble once, so that hours of it do not fill a log.
#[derive(Debug, Default)]
struct Outage(BTreeSet<String>);

impl Outage {
    /// Whether this is to be said.
    fn is_news(&mut self, trouble: &str) -> bool {
        self.0.len() < MOST_SAID && self.0.insert(trouble.to_owned())
    }

    /// Whether there was one.
    fn ends(&mut self) -> bool {
        !std::mem::take(&mut self.0).is_empty()
    }
}

/// Troubles whose words differ each time are not worth more lines.
const MOST_SAID: usize = 4;

/// What helpers wait for and ring.
#[derive(Debug, Clone, Default)]
pub struct Bells {
    /// Somebody says that there are new commits: a webhook.
    pub told: Arc<Notify>,
    /// A pass is due.
    pub again: Arc<Notify>,
    /// The ledger is to be pushed.
    pub push: Arc<Notify>,
}

/// New commits: a watch on a local repository, regular fetches of a remote one, and both at once when told. When the
/// remote one is back after an outage, what was not pushed is to be.
pub async fn commits(source: Source, poll: Duration, bells: Bells, events: UnboundedSender<Event>) {
    let mut outage = Outage::default();
    let mut asked = Asked::ByTheClock;
    let mut untidied = 0;
    loop {
        if source.is_mirror() {
            match source.fetch().await {
                Ok(()) => {
                    asked = Asked::ByTheClock;
                    untidied += 1;
                    if outage.ends() {
                        tracing::info!("the repository can be fetched again");
                        let _ = events.send(Event::FetchedAgain);
                        bells.push.notify_one();
                    }
                }
                Err(error) => {
                    let text = chain(&error);
                    if outage.is_news(&text) {
                        tracing::warn!(error = text, "the repository could not be fetched");
                        let _ = events.send(Event::FetchFailed(text));
                    }
                }
            }
            bells.again.notify_one();
            if untidied >= TIDY_UP_EVERY {
                untidied = 0;
                // It works as well untidied, only slower; the next time may do it.
                if let Err(error) = source.tidy_up().await {
                    tracing::warn!(error = chain(&error), "the mirror could not be tidied up");
                }
            }
            tokio::select! {
                biased;
                () = bells.told.notified() => asked = Asked::ByAPush { tries: 0 },
                () = sleep(asked.again_after(poll)) => {}
            }
            continue;
        }
        match source.moves(QUIET) {
            Ok(mut moves) => loop {
                bells.again.notify_one();
                tokio::select! {
                    biased;
                    moved = moves.changed() => if moved.is_err() { break },
                    () = bells.told.notified() => {}
                }
            },
            Err(error) => tracing::warn!(error = chain(&error), "the repository cannot be watched; it is polled"),
        }
        tokio::select! {
            biased;
            () = bells.told.notified() => {}
            () = sleep(poll.min(LISTEN_AGAIN)) => {}
        }
        bells.again.notify_one();
    }
}

/// Why the remote repository is fetched. A push that somebody told of, and that could not be fetched, is not left to the
/// poll, which may be hours away.
enum Asked {
    ByTheClock,
    ByAPush { tries: u32 },
}

impl Asked {
    fn again_after(&mut self, poll: Duration) -> Duration {
        match self {
            Self::ByTheClock => poll,
            Self::ByAPush { tries } => {
                *tries += 1;
                pause(*tries, "fetch").min(poll)
            }
        }
    }
}

/// Pushes the ledger after each commit, one push at a time; also what an earlier run left, and, after a pause, what could
/// not be pushed.
pub async fn pushes(
    ledger: StatusBranch,
    policy: Push,
    wanted: Arc<Notify>,
    again: Arc<Notify>,
    events: UnboundedSender<Event>,
) {
    let mut outage = Outage::default();
    let mut tries = 0;
    loop {
        let ended = push(&ledger, policy).await;
        if ended.joined {
            again.notify_one();
        }
        match ended.failed {
            None => {
                tries = 0;
                if outage.ends() {
                    tracing::info!("the ledger could be pushed again");
                    let _ = events.send(Event::PushedAgain);
                }
                wanted.notified().await;
            }
            Some(text) => {
                if outage.is_news(&text) {
                    tracing::warn!(error = text, "the ledger could not be pushed");
                    let _ = events.send(Event::PushFailed(text));
                }
                // Only time lengthens the pause: many commits in an outage say nothing of how long it takes.
                tokio::select! {
                    () = wanted.notified() => tries = tries.max(1),
                    () = sleep(pause(tries + 1, "push")) => tries += 1,
                }
            }
        }
    }
}

/// Pushes now, and says it if that fails.
pub async fn push_once(ledger: &StatusBranch, policy: Push, events: &UnboundedSender<Event>) {
    if let Some(text) = push(ledger, policy).await.failed {
        tracing::warn!(error = text, "the ledger could not be pushed");
        let _ = events.send(Event::PushFailed(text));
    }
}

/// How pushing ended.
struct Ended {
    /// The remote ledger had commits that are in the local one now.
    joined: bool,
    failed: Option<String>,
}

/// Each lost race means that another writer got its commit in, and that ours is on top of it now.
const PUSH_TRIES: u32 = 5;

async fn push(ledger: &StatusBranch, policy: Push) -> Ended {
    let mut ended = Ended { joined: false, failed: None };
    if policy == Push::Never {
        return ended;
    }
    for _ in 0..PUSH_TRIES {
        match ledger.push().await {
            Ok(Pushed::NoRemote | Pushed::UpToDate | Pushed::Done) => {
                ended.failed = None;
                break;
            }
            Ok(Pushed::Behind) => {
                ended.joined = true;
                ended.failed = Some(format!("others kept writing to the remote ledger ({PUSH_TRIES} tries)"));
            }
            // Our own next commit came between.
            Err(error @ LedgerError::Race) => ended.failed = Some(chain(&error)),
            Err(error) => {
                ended.failed = Some(chain(&error));
                break;
            }
        }
    }
    ended
}

/// Listens to the events of every engine, and samples what their containers use.
#[derive(Debug, Default)]
pub struct Listeners {
    known: BTreeMap<Endpoint, JoinSet<()>>,
}

impl Listeners {
    /// Has a listener for each of these engines and for no other.
    pub fn listen(&mut self, engines: &Engines, again: &Arc<Notify>, heard: &Sender<Heard>) {
        self.known.retain(|endpoint, _| engines.contains_key(endpoint));
        for (endpoint, engine) in engines {
            self.known.entry(endpoint.clone()).or_insert_with(|| {
                let mut tasks = JoinSet::new();
                tasks.spawn(container_events(endpoint.clone(), engine.clone(), again.clone(), heard.clone()));
                let of = endpoint.clone();
                tasks.spawn(usage::sample(engine.clone(), heard.clone(), move |used| Heard::Use(of.clone(), used)));
                let of = endpoint.clone();
                tasks.spawn(names::watch(engine.clone(), heard.clone(), move |ids| Heard::Nameless(of.clone(), ids)));
                tasks
            });
        }
    }
}

async fn container_events(endpoint: Endpoint, engine: Arc<dyn Engine>, again: Arc<Notify>, heard: Sender<Heard>) {
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
                    if event.action == "die" {
                        let (endpoint, container) = (endpoint.clone(), event.container);
                        // In a flood one more end tells nothing new.
                        let _ = heard.try_send(Heard::Ended { endpoint, container, labels: event.labels });
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::sync::Notify;
    use tokio::sync::mpsc;
    use tokio::time::{Instant, timeout};

    use super::{Bells, commits, pushes};
    use crate::controller::Event;
    use crate::ledger::{self, Change};
    use crate::model::config::Push;
    use crate::source::LEDGER_BRANCH;
    use crate::source::memory::faults::{Act, Fault, Times, Which};
    use crate::source::memory::{self, MemoryRepository, Place};

    fn change() -> Change {
        Change {
            owner: "us".to_owned(),
            records: BTreeMap::new(),
            hosts: None,
            page: Some("all is well".to_owned()),
            message: "Noted".to_owned(),
            trailers: Vec::new(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_could_not_be_pushed_is_pushed_later_without_a_new_commit_and_both_are_said_once() {
        let remote = MemoryRepository::new("remote");
        let here = remote.cloned("here");
        let ledger = ledger::open(&memory::open(&here, "main", Place::InPlace)).await.expect("it opens");
        let commit = ledger.commit(change()).await.expect("it is committed");
        here.fault(Fault::Fail, Which::Only(Act::PushLedger), Times::Next(3));
        let (sender, mut events) = mpsc::unbounded_channel();
        let began = Instant::now();
        // Nobody asks for it: an earlier run made the commit.
        let task = tokio::spawn(pushes(ledger, Push::Auto, Arc::default(), Arc::default(), sender));
        let next = |event: Option<Event>| event.expect("it goes on");
        assert!(matches!(next(events.recv().await), Event::PushFailed(_)));
        assert!(began.elapsed() < Duration::from_secs(1));
        assert!(matches!(next(events.recv().await), Event::PushedAgain));
        // 10, 20 and 40 s, each up to a fifth longer.
        let took = began.elapsed().as_secs();
        assert!((70..=85).contains(&took), "{took} s");
        assert_eq!(remote.head(LEDGER_BRANCH), commit);
        assert!(timeout(Duration::from_secs(3600), events.recv()).await.is_err(), "there is nothing more to say");
        task.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_remote_repository_that_is_away_is_said_once_and_when_it_is_back_the_ledger_is_pushed() {
        let here = MemoryRepository::new("remote").cloned("here");
        let source = memory::open(&here, "main", Place::Mirror);
        here.fault(Fault::Fail, Which::Only(Act::Fetch), Times::Next(5));
        let (sender, mut events) = mpsc::unbounded_channel();
        let (again, wanted) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let poll = Duration::from_secs(30);
        let began = Instant::now();
        let bells = Bells { again: again.clone(), push: wanted.clone(), ..Bells::default() };
        let task = tokio::spawn(commits(source, poll, bells, sender));
        let next = |event: Option<Event>| event.expect("it goes on");
        assert!(matches!(next(events.recv().await), Event::FetchFailed(_)));
        // Passes go on with what is there.
        again.notified().await;
        assert!(matches!(next(events.recv().await), Event::FetchedAgain));
        assert!(began.elapsed() >= poll * 5);
        wanted.notified().await;
        assert!(timeout(poll * 100, events.recv()).await.is_err(), "there is nothing more to say");
        task.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_push_that_somebody_told_of_is_fetched_at_once_and_if_that_fails_before_the_next_poll() {
        let here = MemoryRepository::new("remote").cloned("here");
        let source = memory::open(&here, "main", Place::Mirror);
        let (sender, mut events) = mpsc::unbounded_channel();
        let bells = Bells::default();
        let hours = Duration::from_secs(6 * 3600);
        let task = tokio::spawn(commits(source, hours, bells.clone(), sender));
        bells.again.notified().await;
        let began = Instant::now();
        here.fault(Fault::Fail, Which::Only(Act::Fetch), Times::Next(2));
        bells.told.notify_one();
        bells.again.notified().await;
        assert!(began.elapsed() < Duration::from_secs(1));
        assert!(matches!(events.recv().await, Some(Event::FetchFailed(_))));
        assert!(matches!(events.recv().await, Some(Event::FetchedAgain)));
        // 10 and 20 s, each up to a fifth longer.
        let took = began.elapsed().as_secs();
        assert!((30..=37).contains(&took), "{took} s");
        task.abort();
    }
}
