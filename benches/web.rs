//! How soon a push that a forge tells of is begun, and what a flood of forged webhooks costs.
//!
//! The flood comes from a process of its own, so that memory is the service's alone: `cargo bench --bench web`.

#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

#[path = "../tests/webhooks/client.rs"]
mod client;
#[path = "../tests/support/repository.rs"]
mod repository;
#[path = "../tests/support/simulated.rs"]
mod simulated;

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bayplan::apply::Progress;
use bayplan::controller::{Event, run};
use bayplan::model::config::{Config, Provider, Push, Webhooks};
use bayplan::reconcile::site::Site;
use bayplan::reconcile::{self, Context, Look};
use bayplan::secret::Secret;
use bayplan::web::limits::Limits;
use bayplan::web::{self, Hooks};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio_util::sync::CancellationToken;

use client::{send, signed};
use repository::Repository;
use simulated::Simulated;

const STACKS: usize = 10;
const HOSTS: usize = 3;
const RUNS: usize = 21;
const SECRET: &str = "a secret of a benchmark";
/// Stacks of the passes that the flood delays: enough that one takes a few milliseconds.
const MANY: usize = 200;
const FLOOD: Duration = Duration::from_secs(10);
const CONNECTIONS: u32 = 200;
const PER_SECOND: u32 = 10_000;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    if let Ok(address) = std::env::var("BAYPLAN_FLOOD") {
        return runtime.block_on(flood(address.parse().expect("an address")));
    }
    runtime.block_on(async {
        println!("{STACKS} stacks, {HOSTS} simulated hosts, medians of {RUNS}\n");
        pushes("a local repository", |repository| repository.bare().display().to_string()).await;
        pushes("a mirror of a URL", |repository| format!("file://{}", repository.bare().display())).await;
        forged().await;
    });
}

fn path(number: usize) -> String {
    format!("stacks/shop-{number}.yaml")
}

fn stack(number: usize, version: usize) -> String {
    format!(
        "name: shop-{number}\nplacement: auto\nitemListElement: [{{name: web, position: 1, image: 'web:{version}'}}]\n"
    )
}

fn median(mut figures: Vec<Duration>) -> f64 {
    figures.sort();
    figures[figures.len() / 2].as_secs_f64() * 1000.0
}

/// Listens with the limits of the default configuration.
async fn listen(site: &Site, stop: &CancellationToken) -> SocketAddr {
    let hooks = Hooks {
        branch: "main".to_owned(),
        secrets: [(Provider::Generic, Secret::new(SECRET.to_owned()))].into(),
        told: site.told.clone(),
        is_ready: Arc::default(),
        limits: Limits::new(Webhooks::PER_SECOND),
    };
    let listener = web::listen("127.0.0.1:0".parse().expect("an address")).await.expect("a free port");
    let address = listener.address();
    tokio::spawn(listener.serve(hooks, stop.clone()));
    address
}

async fn pushes(what: &str, location: impl Fn(&Repository) -> String) {
    let repository = Repository::new();
    let simulated = Simulated::new(HOSTS);
    simulated.write_hosts(&repository);
    for number in 0..STACKS {
        repository.write(&path(number), &stack(number, 1));
    }
    repository.push("The stacks");
    let config = Config { push: Push::Never, poll_interval: Duration::from_secs(6 * 3600), ..Config::default() };
    let mut site = simulated.site_at(&location(&repository), &repository, config).await;
    let stop = CancellationToken::new();
    let address = listen(&site, &stop).await;
    let (sender, mut events) = mpsc::unbounded_channel();
    let shutdown = stop.clone();
    let service = tokio::spawn(async move { run::run(&mut site, sender, shutdown).await });
    for _ in 0..STACKS {
        until(&mut events, |event| matches!(event, Event::Ended(_))).await;
    }
    let bare = git2::Repository::open(repository.bare()).expect("the repository");
    let body = br#"{"ref":"refs/heads/main"}"#;
    let signature = signed(SECRET, body);
    let headers = [("content-type", "application/json"), ("x-bayplan-signature", signature.as_str())];
    let mut first_call = Vec::new();
    let mut answered = Vec::new();
    for round in 0..RUNS {
        while let Ok(Some(_)) = tokio::time::timeout(Duration::from_millis(300), events.recv()).await {}
        let id = prepared(&bare, round % STACKS, 2 - round / STACKS % 2);
        let begun = Instant::now();
        bare.reference("refs/heads/main", id, true, "push").expect("the branch moves");
        let reply = send(address, "POST", "/webhook/generic", &headers, body).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        answered.push(begun.elapsed());
        until(&mut events, |event| matches!(event, Event::Progress(Progress::StepBegun { .. }))).await;
        first_call.push(begun.elapsed());
        until(&mut events, |event| matches!(event, Event::Ended(_))).await;
    }
    println!("{what}: the webhook is answered after      {:8.2} ms", median(answered));
    println!("{what}: push to the first engine call      {:8.2} ms (goal 20 ms)", median(first_call));
    stop.cancel();
    service.await.expect("no panic").expect("the service ends");
    if location(&repository).starts_with("file:") {
        floor(&repository);
    }
}

/// What `git fetch` alone takes, with one commit to bring.
fn floor(repository: &Repository) {
    let clone = repository.cache().join("floor");
    let clone = clone.to_str().expect("text");
    let url = format!("file://{}", repository.bare().display());
    repository::git(&repository.work(), &["clone", "-q", "--bare", &url, clone]);
    let bare = git2::Repository::open(repository.bare()).expect("the repository");
    let mut figures = Vec::new();
    for round in 0..RUNS {
        let id = prepared(&bare, round % STACKS, 3 + round);
        bare.reference("refs/heads/main", id, true, "push").expect("the branch moves");
        let begun = Instant::now();
        repository::git(clone.as_ref(), &["fetch", "--quiet", "origin", "+refs/heads/main:refs/remotes/origin/main"]);
        figures.push(begun.elapsed());
    }
    println!("floor: git fetch alone                             {:8.2} ms", median(figures));
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

async fn until(events: &mut UnboundedReceiver<Event>, is_it: impl Fn(&Event) -> bool) {
    let found = async { while !is_it(&events.recv().await.expect("the service runs")) {} };
    tokio::time::timeout(Duration::from_secs(120), found).await.expect("it happens");
}

/// Passes beside a listener: alone, beside a process that only computes, and beside one that floods.
async fn forged() {
    let repository = Repository::new();
    let simulated = Simulated::new(HOSTS);
    simulated.write_hosts(&repository);
    for number in 0..MANY {
        repository.write(&path(number), &stack(number, 1));
    }
    repository.push("Many stacks");
    let mut site = simulated.site(&repository, Config { push: Push::Never, ..Config::default() }).await;
    let stop = CancellationToken::new();
    let address = listen(&site, &stop).await;
    // What is warm after the first passes is no growth.
    passes(&mut site, FLOOD / 2).await;
    let alone = passes(&mut site, FLOOD).await;
    let before = resident();
    let mut sender = Command::new("nice")
        .args(["-n", "19"])
        .arg(std::env::current_exe().expect("this program"))
        .env("BAYPLAN_FLOOD", address.to_string())
        .stdout(Stdio::inherit())
        .spawn()
        .expect("the flood begins");
    let flooded = passes(&mut site, FLOOD).await;
    let after = resident();
    sender.wait().expect("the flood ends");
    // The machine may have become busier or quieter in between.
    let alone = (alone + passes(&mut site, FLOOD).await) / 2.0;
    println!("a pass over {MANY} stacks at rest                      {alone:8.2} ms");
    println!(
        "the same in the flood                              {flooded:8.2} ms ({:+.0} %; goal 10 %)",
        (flooded / alone - 1.0) * 100.0
    );
    println!("resident memory before, after                      {before:.1} MiB, {after:.1} MiB (goal +10 MiB)");
    stop.cancel();
}

async fn passes(site: &mut Site, how_long: Duration) -> f64 {
    let mut figures = Vec::new();
    let begun = Instant::now();
    while begun.elapsed() < how_long {
        let one = Instant::now();
        reconcile::pass(site, Look::Hosts, &Context::default()).await.expect("a pass");
        figures.push(one.elapsed());
        // As a service does: mostly it waits.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    median(figures)
}

/// Resident memory of this process, MiB.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("the status of this process");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("its resident memory");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok()).expect("a number") / 1024.0
}

/// Sends forged webhooks over some connections, each in its turn, and says how many were answered with what.
async fn flood(address: SocketAddr) {
    let body = format!("{{\"ref\":\"refs/heads/main\",\"x\":\"{}\"}}", "x".repeat(1000));
    let signature = signed("another secret", body.as_bytes());
    let headers = [("content-type", "application/json"), ("x-bayplan-signature", signature.as_str())];
    let request = client::head("POST", "/webhook/generic", &headers, body.len()) + &body;
    let request: Arc<str> = request.into();
    let mut tasks = tokio::task::JoinSet::new();
    let begun = Instant::now();
    for _ in 0..CONNECTIONS {
        let request = request.clone();
        tasks.spawn(async move {
            let mut beat = tokio::time::interval(Duration::from_secs(1) * CONNECTIONS / PER_SECOND);
            let mut answered = [0_u64; 3];
            let mut buffer = vec![0; 16 * 1024];
            while begun.elapsed() < FLOOD {
                let Ok(mut stream) = TcpStream::connect(address).await else { continue };
                while begun.elapsed() < FLOOD {
                    beat.tick().await;
                    if stream.write_all(request.as_bytes()).await.is_err() {
                        break;
                    }
                    answered[2] += 1;
                    // An answer fits into one read.
                    match stream.read(&mut buffer).await {
                        Ok(length) if length > 0 => {
                            let is_seen = buffer[..length].starts_with(b"HTTP/1.1 401");
                            answered[usize::from(is_seen)] += 1;
                        }
                        Ok(_) | Err(_) => break,
                    }
                }
            }
            answered
        });
    }
    let mut all = [0; 3];
    while let Some(answered) = tasks.join_next().await {
        let answered = answered.expect("no panic");
        all = [all[0] + answered[0], all[1] + answered[1], all[2] + answered[2]];
    }
    let rate = |count: u64| count as f64 / FLOOD.as_secs_f64();
    println!("forged webhooks over {CONNECTIONS} connections for {FLOOD:?}: {:.0} a second were sent", rate(all[2]));
    println!("    {} were looked at, and {:.0} a second told to come again", all[1], rate(all[0]));
}
