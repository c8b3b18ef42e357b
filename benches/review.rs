//! What a review takes: the whole program, from its start to its last line, over 1,000 stacks on 100 hosts.
//!
//! `cargo bench --bench review`. Nothing is deployed anywhere: the ledger is that of simulated engines.

#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

#[path = "../tests/support/fleet.rs"]
mod fleet;
#[path = "../tests/support/repository.rs"]
mod repository;
#[path = "../tests/support/simulated.rs"]
mod simulated;
#[path = "../tests/support/site.rs"]
mod site;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bayplan::controller::once::WrongFiles;
use bayplan::model::config::Config;

use repository::{Repository, git};
use simulated::Simulated;

const STACKS: usize = 1000;
const HOSTS: usize = 100;
const RUNS: usize = 11;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let repository = runtime.expect("a runtime").block_on(deployed());
    let work = repository.work();
    git(&work, &["fetch", "-q", "origin", "bayplan/status:bayplan/status"]);
    git(&work, &["checkout", "-q", "-b", "change"]);
    repository.write("stacks/shop-500.yaml", &stack(500, 2));
    git(&work, &["commit", "-q", "-a", "-m", "A change"]);
    git(&work, &["checkout", "-q", "main"]);
    repository.write("README.md", "Something else\n").push("Something else");
    git(&work, &["gc", "-q"]);
    println!("{STACKS} stacks of one service on {HOSTS} hosts; medians of {RUNS}, the program's start included");
    report("floor: `git merge-tree`", "", || time(Path::new("git"), &work, &["merge-tree", "main", "change"], 0));
    let program = Path::new(env!("CARGO_BIN_EXE_bayplan"));
    let review = ["plan", "--base", "main", "--head", "change", "--format", "markdown"];
    report("plan --base --head", " (goal 150 ms)", || time(program, &work, &review, 0));
    report("explain of one stack", " (goal 100 ms)", || time(program, &work, &["explain", "shop-500"], 0));
    report("plan --without one host", "", || time(program, &work, &["plan", "--without", "host-50"], 0));
    report("plan --survives", "", || time(program, &work, &["plan", "--survives"], 0));
    report("verify", "", || time(program, &work, &["verify"], 0));
}

fn stack(number: usize, version: usize) -> String {
    format!(
        "name: shop-{number}\nplacement: auto\nitemListElement: [{{name: web, position: 1, image: 'web:{version}'}}]\n"
    )
}

async fn deployed() -> Repository {
    let repository = Repository::new();
    let simulated = Simulated::new(HOSTS);
    simulated.write_hosts(&repository);
    for number in 0..STACKS {
        repository.write(&format!("stacks/shop-{number}.yaml"), &stack(number, 1));
    }
    repository.push("All of them");
    let mut site = simulated.site(&repository, Config::default()).await;
    site::apply(&mut site, WrongFiles::Refuse).await;
    repository
}

fn time(program: &Path, folder: &Path, arguments: &[&str], code: i32) -> Duration {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder).stdin(Stdio::null()).env_remove("BAYPLAN_CONFIG");
    let begun = Instant::now();
    let output = command.output().expect("the program runs");
    let took = begun.elapsed();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    took
}

fn report(what: &str, goal: &str, run: impl Fn() -> Duration) {
    let mut figures: Vec<Duration> = (0..RUNS).map(|_| run()).collect();
    figures.sort();
    println!("{what}: {:.0} ms{goal}", figures[RUNS / 2].as_secs_f64() * 1000.0);
}
