//! How long it takes to tell what the ledger says of the past: ten thousand commits, twenty stacks.
//!
//! Prints medians and the least of each, beside the floor that was measured in the same run. Takes no part in tests: `cargo bench --bench audit`.

#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

#[path = "../tests/support/repository.rs"]
mod repository;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bayplan::ledger::history::{Asked, History};
use bayplan::ledger::{self, Change, StatusBranch};
use bayplan::model::record::{Deployment, InstanceHealth, InstanceRecord, Record, StackStatus};
use bayplan::model::request::ResolvedImage;
use bayplan::model::stack::Strategy;
use bayplan::name::{Digest, HostName, InstanceId, Revision, ServiceName, StackName};
use bayplan::source;

use repository::{Repository, git};

const COMMITS: u32 = 10_000;
const STACKS: u32 = 20;
const SERVICES: u32 = 5;
const RUNS: usize = 11;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let repository = Repository::new();
        repository.push("The first");
        fill(&ledger_of(&repository).await).await;
        println!("{COMMITS} commits of a ledger of {STACKS} stacks with {SERVICES} services, medians of {RUNS}\n");
        // As it is after months, and as it is where nothing ever packs it.
        measure(&repository, "every object a file").await;
        git(&repository.bare(), &["gc", "-q"]);
        measure(&repository, "packed by git gc").await;
    });
}

async fn ledger_of(repository: &Repository) -> StatusBranch {
    let location = repository.bare();
    let source = source::open(location.to_str().expect("text"), Some("main"), &repository.cache()).await;
    ledger::open(&source.expect("the repository opens")).await.expect("the ledger opens")
}

/// Each stack in turn is begun and runs, and every tenth time a service of it moves.
async fn fill(ledger: &StatusBranch) {
    for number in 0..COMMITS {
        let (turn, stack) = (number / 2 / STACKS, number / 2 % STACKS);
        let record = if number % 2 == 0 {
            let before = turn.checked_sub(1).map(|before| deployment(stack, before));
            record(stack, StackStatus::Deploying, before, Some(deployment(stack, turn)))
        } else {
            record(stack, StackStatus::Running, Some(deployment(stack, turn)), None)
        };
        let change = Change {
            owner: "bench".to_owned(),
            message: format!("{} {}", record.name, record.status.as_str()),
            records: BTreeMap::from([(record.name.slug().clone(), Some(record))]),
            hosts: None,
            page: Some(format!("# The page\n\nAfter commit {number}.\n")),
            trailers: vec![("Bayplan-Revision".to_owned(), format!("{number:040x}"))],
        };
        ledger.commit(change).await.expect("it is committed");
    }
}

fn record(stack: u32, status: StackStatus, running: Option<Deployment>, next: Option<Deployment>) -> Record {
    Record {
        name: name(stack),
        status,
        running,
        next,
        bad: BTreeMap::new(),
        actions: BTreeSet::new(),
        accepted: BTreeSet::new(),
        superseded: BTreeMap::new(),
        conditions: Vec::new(),
    }
}

fn name(stack: u32) -> StackName {
    StackName::new(&format!("stack-{stack}")).expect("a name")
}

fn deployment(stack: u32, turn: u32) -> Deployment {
    let instances = (0..SERVICES).map(|service| {
        let id = InstanceId {
            stack: name(stack).slug().clone(),
            service: ServiceName::new(&format!("service-{service}")).expect("a name"),
            number: 1,
        };
        let host = if service == 0 { turn / 10 % 5 } else { service };
        let digest = Digest::of(format!("{stack} {service} {turn}").as_bytes());
        let instance = InstanceRecord {
            host: HostName::new(&format!("host-{host}")).expect("a name"),
            address: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)),
            container: Some(digest.to_string()),
            image: format!("registry.example.org/service-{service}:{turn}"),
            resolved: ResolvedImage::Registry(format!("registry.example.org/service-{service}@sha256:{digest}")),
            digest,
            ports: Vec::new(),
            health: InstanceHealth::Healthy,
            reason: "best score of 5 hosts, 71.2".to_owned(),
        };
        (id, instance)
    });
    Deployment {
        revision: Revision::new(&format!("{turn:040x}")).expect("forty digits"),
        content: Digest::of(format!("{stack} {turn}").as_bytes()),
        files: vec![format!("stacks/stack-{stack}.yaml")],
        placement: Strategy::Auto,
        datacenter: None,
        instances: instances.collect(),
    }
}

async fn measure(repository: &Repository, how: &str) {
    println!("{how}");
    let stack = || Some(name(7).slug().clone());
    let twenty = Some(20);
    println!("  floor: git rev-list        {}", rev_list(repository));
    tell(repository, "the newest 20", Asked { most: twenty, ..Asked::default() }).await;
    tell(repository, "the newest 20 of a stack", Asked { stack: stack(), most: twenty, ..Asked::default() }).await;
    tell(repository, "all of a stack", Asked { stack: stack(), ..Asked::default() }).await;
    tell(repository, "all", Asked::default()).await;
    let host = Some(HostName::new("host-3").expect("a name"));
    tell(repository, "all of a host", Asked { host, ..Asked::default() }).await;
    let mut times = Vec::new();
    for _ in 0..RUNS {
        let ledger = ledger_of(repository).await;
        let began = Instant::now();
        let blamed = ledger.blame(name(7).slug()).await.expect("it is read").expect("it is known");
        times.push(began.elapsed());
        assert_eq!(blamed.instances.len(), SERVICES as usize);
    }
    println!("  {:<26} {}\n", "blame of a stack", median(times));
}

/// Of a program that has just begun: nothing of the repository is known.
async fn tell(repository: &Repository, what: &str, asked: Asked) {
    let mut times = Vec::new();
    let mut told = History::default();
    for _ in 0..RUNS {
        let ledger = ledger_of(repository).await;
        let began = Instant::now();
        told = ledger.history(asked.clone()).await.expect("it is read");
        times.push(began.elapsed());
    }
    println!("  {what:<26} {}   {} entries", median(times), told.entries.len());
}

/// `git` finds the commits and reads nothing of them.
fn rev_list(repository: &Repository) -> String {
    let run = || {
        let began = Instant::now();
        let mut command = Command::new("git");
        command.current_dir(repository.bare()).args(["rev-list", "bayplan/status"]).stdout(Stdio::null());
        assert!(command.status().expect("git runs").success());
        began.elapsed()
    };
    median((0..RUNS).map(|_| run()).collect())
}

fn median(mut times: Vec<Duration>) -> String {
    times.sort();
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    format!("{:8.2} ms (least {:8.2})", ms(times[times.len() / 2]), ms(times[0]))
}
