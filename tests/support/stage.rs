//! The stage of a story: a wiped fleet of real engines, a repository that is pushed to, and the controller's view of both.
//!
//! Gives what was done, what was said, and what Docker itself shows; the witness is the Docker command line.
#![allow(dead_code, reason = "each test binary compiles this file and uses a part of it")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::time::{Duration, Instant};

use bayplan::apply::Progress;
use bayplan::controller::Event;
use bayplan::controller::once::{self, Options, Outcome, WrongFiles};
use bayplan::model::record::StackStatus;
use bayplan::name::StackSlug;
use bayplan::observe;
use bayplan::plan::change::Bucket;
use bayplan::plan::outcome::Failure;
use bayplan::reconcile::site::Site;
use bayplan::reconcile::{self, Context, Look, Pass};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::fleet::{self, Fleet, Lease, wait_for};
use crate::repository::{Repository, git};
use crate::site;

pub struct Stage {
    pub fleet: Lease,
    pub repository: Repository,
    pub site: Site,
}

/// What one settling of the fleet did and said.
pub struct Done {
    pub outcome: Outcome,
    /// The steps that were begun, as `HOST: WHAT`.
    pub steps: Vec<String>,
}

/// Host and name → id, of all containers, stopped ones included.
pub type Containers = BTreeMap<(String, String), String>;

impl Stage {
    /// A stage with all hosts of the fleet in the inventory, and no stack. `None`, after saying so, without a fleet.
    pub async fn set(test: &str) -> Option<Self> {
        let fleet = fleet::lease_or_leave_out(test)?;
        let repository = Repository::new();
        site::write_hosts(&repository, &fleet);
        repository.push("Hosts");
        let site = site::site(&repository, site::config(&fleet)).await;
        Some(Self { fleet, repository, site })
    }

    /// Writes a stack file, pushes it and settles the fleet.
    pub async fn deploy(&mut self, path: &str, text: &str) -> Done {
        self.repository.write(path, text).push(&format!("Change {path}"));
        self.once().await
    }

    /// Settles the fleet as `bayplan apply` does.
    pub async fn once(&mut self) -> Done {
        self.settle(WrongFiles::Refuse).await
    }

    /// Settles the fleet as `bayplan apply --keep-going` does.
    pub async fn keep_going(&mut self) -> Done {
        self.settle(WrongFiles::KeepGoing).await
    }

    /// A new controller, which knows only what Git and the engines say.
    pub async fn forget(&mut self) {
        self.site = site::site(&self.repository, site::config(&self.fleet)).await;
    }

    /// Asks silent engines whether they are back, as the service does every few seconds, until all are.
    pub async fn knock(&mut self) {
        let begun = Instant::now();
        loop {
            let answers = observe::knock(&self.site.engines, self.site.config.answer_within).await;
            let silent = answers.values().filter_map(|answer| answer.as_ref().err()).cloned().collect::<Vec<_>>();
            self.site.observer.hear(answers);
            if silent.is_empty() {
                return;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "{silent:?}");
        }
    }

    pub async fn pass(&mut self) -> Pass {
        reconcile::pass(&mut self.site, Look::Hosts, &Context::default()).await.expect("a pass")
    }

    pub async fn offline(&mut self) -> Pass {
        reconcile::pass(&mut self.site, Look::Offline, &Context::default()).await.expect("a pass")
    }

    /// The law of every story's end: a controller without memory finds nothing to do, and writes nothing.
    pub async fn is_settled(&mut self) {
        let log = self.repository.ledger_log();
        self.forget().await;
        let done = self.once().await;
        let plan = &done.outcome.last.plan;
        assert!(plan.is_empty(), "{:#?}", plan.stacks);
        assert_eq!(done.steps, Vec::<String>::new());
        if self.repository.ledger_log() != log {
            let last = git(&self.repository.bare(), &["log", "-p", "-2", "bayplan/status"]);
            panic!("nothing to do makes no commit:\n{last}");
        }
    }

    /// All containers of all hosts.
    pub fn containers(&self) -> Containers {
        let mut found = Containers::new();
        for host in &self.fleet.hosts {
            let listed =
                self.fleet.docker_text(&host.name, &["ps", "-a", "--no-trunc", "--format", "{{.Names}} {{.ID}}"]);
            let pairs = listed.lines().filter_map(|line| line.split_once(' '));
            found.extend(pairs.map(|(name, id)| ((host.name.clone(), name.to_owned()), id.to_owned())));
        }
        found
    }

    /// Names of the containers of a host, stopped ones included, sorted.
    pub fn names(&self, host: &str) -> Vec<String> {
        self.containers().into_keys().filter(|(on, _)| on == host).map(|(_, name)| name).collect()
    }

    pub fn id(&self, host: &str, container: &str) -> String {
        self.inspect(host, container, "{{.Id}}")
    }

    pub fn inspect(&self, host: &str, container: &str, format: &str) -> String {
        self.fleet.docker_text(host, &["inspect", "--type", "container", "--format", format, container])
    }

    pub fn is_running(&self, host: &str, container: &str) -> bool {
        self.inspect(host, container, "{{.State.Running}}") == "true"
    }

    pub fn exec(&self, host: &str, container: &str, command: &[&str]) -> String {
        self.fleet.docker_text(host, &[&["exec", container], command].concat())
    }

    /// What somebody in a container is answered at a URL. That a service runs does not say that it listens already.
    pub fn answer(&self, host: &str, container: &str, url: &str) -> String {
        let ask = ["exec", container, "wget", "-q", "-O", "-", url];
        wait_for(&format!("an answer from {url}"), Duration::from_secs(30), || self.fleet.try_docker(host, &ask))
    }

    /// A file of the ledger, parsed.
    pub fn ledger(&self, path: &str) -> serde_json::Value {
        serde_json::from_str(&self.repository.ledger(path)).expect("the ledger holds JSON")
    }

    /// Settles the fleet until so many steps were begun; then stops at the next border, as a service does that is told
    /// to end. Gives how many steps were begun.
    pub async fn once_until(&mut self, begun: usize) -> usize {
        let options = Options { wrong_files: WrongFiles::Refuse, allowed_removals: BTreeSet::new(), reviewed: None };
        let (events, mut seen) = mpsc::unbounded_channel();
        let stop = CancellationToken::new();
        let watching = tokio::spawn({
            let stop = stop.clone();
            async move {
                let mut count = 0;
                while let Some(event) = seen.recv().await {
                    count += usize::from(matches!(event, Event::Progress(Progress::StepBegun { .. })));
                    if count >= begun {
                        stop.cancel();
                    }
                }
                count
            }
        });
        once::once(&mut self.site, &options, &events, &stop).await.expect("the passes are done");
        drop(events);
        watching.await.expect("counting does not panic")
    }

    async fn settle(&mut self, wrong_files: WrongFiles) -> Done {
        let options = Options { wrong_files, allowed_removals: BTreeSet::new(), reviewed: None };
        let (events, mut seen) = mpsc::unbounded_channel();
        let stop = CancellationToken::new();
        let outcome = once::once(&mut self.site, &options, &events, &stop).await.expect("the passes are done");
        drop(events);
        let mut steps = Vec::new();
        while let Some(event) = seen.recv().await {
            if let Event::Progress(Progress::StepBegun { host, what, .. }) = event {
                steps.push(format!("{host}: {what}"));
            }
        }
        Done { outcome, steps }
    }
}

impl Done {
    /// How a stack ended. `None`: it had no steps, or nothing of it is left.
    pub fn status(&self, stack: &str) -> Option<StackStatus> {
        self.outcome.ended.get(&slug(stack)).and_then(|ended| ended.status)
    }

    pub fn failures(&self, stack: &str) -> &[Failure] {
        self.outcome.ended.get(&slug(stack)).map_or(&[], |ended| &ended.failures)
    }

    /// What the first plan changes, as `INSTANCE BUCKET`.
    pub fn changes(&self) -> Vec<String> {
        changes(&self.outcome.first)
    }

    /// The last pass's holds, as `NAME: TEXT`.
    pub fn holds(&self) -> Vec<String> {
        holds(&self.outcome.last)
    }
}

pub fn slug(text: &str) -> StackSlug {
    StackSlug::new(text).expect("a slug")
}

pub fn changes(pass: &Pass) -> Vec<String> {
    let all = pass.plan.stacks.values().flat_map(|stack| &stack.changes);
    let real = all.filter(|change| change.bucket != Bucket::Keep);
    real.map(|change| format!("{} {}", change.instance, change.bucket.as_str())).collect()
}

pub fn holds(pass: &Pass) -> Vec<String> {
    pass.plan.all_holds().map(|(_, hold)| format!("{}: {hold}", hold.name())).collect()
}

/// What the mapping of a pass says of a stack, as `SERVICE-N HOST`.
pub fn mapping(pass: &Pass, stack: &str) -> Vec<String> {
    let of_stack = pass.placement.mapping.iter().filter(|(id, _)| id.stack.as_str() == stack);
    of_stack.map(|(id, placed)| format!("{}-{} {}", id.service, id.number, placed.host)).collect()
}

/// Says a measured figure, past the test harness.
pub fn note(text: &str) {
    std::io::stderr().write_all(format!("{text}\n").as_bytes()).expect("stderr takes a line");
}

/// The address of a host of the fleet.
pub fn address(fleet: &Fleet, host: &str) -> String {
    fleet.host(host).address.clone()
}
