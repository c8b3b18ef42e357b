//! How fast everything is that is ours: reading, checking, planning, and from a push to the first engine call.
//!
//! Prints medians, each beside the floor that was measured in the same run. Takes no part in tests:
//! `cargo bench --bench line`.

#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

#[path = "../tests/support/repository.rs"]
mod repository;
#[path = "../tests/support/simulated.rs"]
mod simulated;

use std::fs;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bayplan::apply::Progress;
use bayplan::controller::{Event, run};
use bayplan::model::config::{Config, Push};
use bayplan::model::policy::Policy;
use bayplan::reconcile::understand::understand;
use bayplan::reconcile::{self, Context, Look};
use bayplan::source::{self, Snapshot};
use bayplan::validate::cache::Cache;
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio_util::sync::CancellationToken;

use repository::Repository;
use simulated::Simulated;

const STACKS: usize = 1000;
const HOSTS: usize = 10;
const RUNS: usize = 21;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let repository = Repository::new();
        let simulated = Simulated::new(HOSTS);
        simulated.write_hosts(&repository);
        for number in 0..STACKS {
            repository.write(&path(number), &stack(number, 1));
        }
        repository.push("A thousand stacks");
        println!("{STACKS} stacks of one service, {HOSTS} simulated hosts, medians of {RUNS}\n");
        checking(&repository).await;
        passes(&repository, &simulated).await;
        pushes(&repository, &simulated).await;
        memory();
    });
}

/// A thousand networks need more room than an engine finds by itself.
fn config() -> Config {
    Config { push: Push::Never, subnets: vec![(Ipv4Addr::new(10, 64, 0, 0), 10)], ..Config::default() }
}

fn path(number: usize) -> String {
    format!("stacks/team-{}/shop-{number}.yaml", number % 20)
}

fn stack(number: usize, version: usize) -> String {
    format!(
        "# The shop of customer {number}.\nname: shop-{number}\nplacement: auto\nitemListElement:\n  - name: web\n    \
         position: 1\n    image: web:{version}\n    environment:\n      CUSTOMER: \"{number}\"\n      LOG_LEVEL: info\n    \
         ports:\n      - {{containerPort: 8080}}\n    healthCheck: {{type: http, port: 8080, path: /health}}\n    \
         resources: {{cpu: 0.01, memory: 8Mi}}\n"
    )
}

fn median(mut figures: Vec<Duration>) -> String {
    figures.sort();
    format!("{:8.2} ms", figures[figures.len() / 2].as_secs_f64() * 1000.0)
}

async fn snapshot(repository: &Repository) -> Snapshot {
    let location = repository.bare();
    let source = source::open(location.to_str().expect("text"), Some("main"), &repository.cache()).await;
    let source = source.expect("the repository opens");
    let head = source.head().await.expect("a head").expect("a commit");
    source.snapshot(&head).await.expect("the files are read")
}

async fn checking(repository: &Repository) {
    let snapshot = snapshot(repository).await;
    let mut floor = Vec::new();
    let mut cold = Vec::new();
    let mut warm = Vec::new();
    for version in 0..RUNS {
        let begun = Instant::now();
        for file in &snapshot.files {
            let _: serde_yaml::Value = serde_yaml::from_str(&file.text).expect("YAML");
        }
        floor.push(begun.elapsed());
        let mut known = Cache::new(Policy::default());
        let begun = Instant::now();
        let (desired, _) = understand(&mut known, &snapshot);
        cold.push(begun.elapsed());
        assert_eq!(desired.stacks.len(), STACKS);
        let mut changed = snapshot.clone();
        let file = changed.files.iter_mut().find(|file| file.path.ends_with("shop-7.yaml")).expect("a file");
        file.text = stack(7, version + 2).into();
        file.blob = format!("{version}").into();
        let begun = Instant::now();
        understand(&mut known, &changed);
        warm.push(begun.elapsed());
    }
    println!("floor: serde_yaml reads {STACKS} stacks       {}", median(floor));
    println!("validate {STACKS} stacks, cold                {}", median(cold));
    println!("validate again, one changed              {}", median(warm));
}

async fn passes(repository: &Repository, simulated: &Simulated) {
    let mut site = simulated.site(repository, config()).await;
    let mut offline = Vec::new();
    for _ in 0..RUNS {
        let begun = Instant::now();
        reconcile::pass(&mut site, Look::Offline, &Context::default()).await.expect("a pass");
        offline.push(begun.elapsed());
    }
    println!("a pass over everything, nothing deployed {}", median(offline));
}

async fn pushes(repository: &Repository, simulated: &Simulated) {
    let mut site = simulated.site(repository, config()).await;
    let (sender, mut events) = mpsc::unbounded_channel();
    let stop = CancellationToken::new();
    let shutdown = stop.clone();
    let service = tokio::spawn(async move { run::run(&mut site, sender, shutdown).await });
    let begun = Instant::now();
    for _ in 0..STACKS {
        ended(&mut events).await;
    }
    println!("{STACKS} stacks deployed for the first time in  {:8.2} s", begun.elapsed().as_secs_f64());
    let bare = git2::Repository::open(repository.bare()).expect("the repository");
    let mut first_call = Vec::new();
    let mut running = Vec::new();
    let mut commit = Vec::new();
    for round in 0..RUNS {
        quiet(&mut events).await;
        let id = prepared(&bare, round * 7 % STACKS, 2 - round / 200 % 2);
        let begun = Instant::now();
        bare.reference("refs/heads/main", id, true, "push").expect("the branch moves");
        let moved = begun.elapsed();
        loop {
            if let Event::Progress(Progress::StepBegun { .. }) = next(&mut events).await {
                break;
            }
        }
        first_call.push(begun.elapsed());
        ended(&mut events).await;
        running.push(begun.elapsed());
        commit.push(moved);
    }
    println!("floor: git moves the branch              {}", median(commit));
    println!("push to the first engine call            {}", median(first_call));
    println!("push to the stack's end                  {}", median(running));
    stop.cancel();
    service.await.expect("no panic").expect("the service ends");
}

/// A commit on `main` that gives one stack another version, without moving the branch.
fn prepared(bare: &git2::Repository, number: usize, version: usize) -> git2::Oid {
    let head = bare.find_reference("refs/heads/main").expect("main").peel_to_commit().expect("a commit");
    let blob = bare.blob(stack(number, version).as_bytes()).expect("a blob");
    let mut update = git2::build::TreeUpdateBuilder::new();
    update.upsert(path(number), blob, git2::FileMode::Blob);
    let tree = update.create_updated(bare, &head.tree().expect("a tree")).expect("a tree");
    let tree = bare.find_tree(tree).expect("a tree");
    let signature = git2::Signature::now("Bench", "bench@example.org").expect("a signature");
    bare.commit(None, &signature, &signature, "Another version", &tree, &[&head]).expect("a commit")
}

async fn next(events: &mut UnboundedReceiver<Event>) -> Event {
    let event = tokio::time::timeout(Duration::from_secs(120), events.recv()).await;
    event.expect("something happens").expect("the service runs")
}

async fn ended(events: &mut UnboundedReceiver<Event>) {
    loop {
        if let Event::Ended(ended) = next(events).await {
            assert!(ended.failures.is_empty(), "{ended:?}");
            return;
        }
    }
}

/// Waits until the service has nothing more to say, so that a push meets it at rest.
async fn quiet(events: &mut UnboundedReceiver<Event>) {
    while let Ok(Some(_)) = tokio::time::timeout(Duration::from_millis(300), events.recv()).await {}
}

/// Resident memory of the service itself, over hosts that do not answer.
fn memory() {
    let repository = Repository::new();
    for number in 0..STACKS {
        repository.write(&path(number), &stack(number, 1));
    }
    for number in 1..=HOSTS {
        let text =
            format!("name: host-{number}\nipAddress: 10.0.0.{number}\nendpoint: unix:///nowhere/{number}.sock\n");
        repository.write(&format!("hosts/host-{number}.yaml"), &text);
    }
    repository.push("Hosts that do not answer");
    let mut service = Command::new(env!("CARGO_BIN_EXE_bayplan"))
        .arg("run")
        .arg(repository.bare())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the service starts");
    std::thread::sleep(Duration::from_secs(5));
    let status = fs::read_to_string(format!("/proc/{}/status", service.id())).expect("it runs");
    let resident = status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or("VmRSS: unknown").to_owned();
    service.kill().expect("it is killed");
    service.wait().expect("it ends");
    println!("resident memory of `run`, {STACKS} stacks       {}", resident.trim_start_matches("VmRSS:").trim());
}
