//! What faults cost: a killed process, a service that is never healthy, a host that hangs, ten thousand passes.
//!
//! The first two take the fleet that `BAYPLAN_FLEET` names (`tests/fleet up`) and runs in its switch's namespace; the others
//! are simulated: `nsenter --net=NETNS cargo bench --bench faults`.

#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

#[path = "../tests/support/fleet.rs"]
mod fleet;
#[path = "../tests/support/repository.rs"]
mod repository;
#[path = "../tests/support/simulated.rs"]
mod simulated;
#[path = "../tests/support/site.rs"]
mod site;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bayplan::apply::Progress;
use bayplan::controller::once::WrongFiles;
use bayplan::controller::{Event, run};
use bayplan::engine::Engine;
use bayplan::engine::docker::Docker;
use bayplan::engine::memory::faults::{Fault, Times, Which};
use bayplan::model::config::{Config, Push};
use bayplan::model::world::{HostView, State};
use bayplan::name::HostName;
use bayplan::reconcile::site::Site;
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use fleet::{Fleet, Lease};
use repository::Repository;
use simulated::Simulated;

const KILLS: usize = 11;
/// `update.deadline`, and how often it is waited for.
const DEADLINE: Duration = Duration::from_secs(3);
const DECISIONS: usize = 5;
const HOSTS: usize = 10;
const STACKS: usize = 50;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    runtime.block_on(passes());
    runtime.block_on(a_host_that_hangs());
    match Fleet::lease() {
        Some(fleet) => {
            runtime.block_on(kills(&fleet));
            runtime.block_on(decisions(&fleet));
        }
        None => println!("left out: killed processes and decisions (no fleet: tests/fleet up, BAYPLAN_FLEET)"),
    }
}

struct Service {
    events: UnboundedReceiver<Event>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Service {
    fn start(mut site: Site) -> Self {
        let (sender, events) = mpsc::unbounded_channel();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = tokio::spawn(async move { run::run(&mut site, sender, stopped).await.expect("the service runs") });
        Self { events, stop, task }
    }

    /// Waits until so many different stacks have ended an apply.
    async fn ended(&mut self, stacks: usize) {
        let mut ended = BTreeSet::new();
        while ended.len() < stacks {
            if let Some(Event::Ended(one)) = self.events.recv().await {
                ended.insert(one.stack);
            }
        }
    }

    /// Waits for a pass that finds a host unreachable; what it finds is committed before the next.
    async fn unreachable(&mut self, host: &HostName) {
        loop {
            match self.events.recv().await {
                Some(Event::Passed(pass)) if matches!(pass.world.host(host), HostView::Unreachable(_)) => return,
                Some(_) => {}
                None => unreachable!("the service runs"),
            }
        }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.expect("it does not panic");
    }
}

/// Resident memory of this process, MiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("the status of this process");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("its resident memory");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number") / 1024
}

fn stack(name: &str, version: usize, host: &str) -> String {
    format!("name: {name}\nitemListElement: [{{name: web, position: 1, image: 'web:{version}', targetHost: {host}}}]\n")
}

async fn passes() {
    let repository = Repository::new();
    let simulated = Simulated::new(3);
    simulated.write_hosts(&repository);
    for number in 0..STACKS {
        let text = stack(&format!("shop-{number}"), 1, &format!("host-{}", number % 3 + 1));
        repository.write(&format!("stacks/shop-{number}.yaml"), &text);
    }
    repository.push("Fifty");
    let mut site = simulated.site(&repository, Config { push: Push::Never, ..Config::default() }).await;
    for number in 1..=10_000 {
        site::apply(&mut site, WrongFiles::Refuse).await;
        if number == 100 || number == 10_000 {
            println!("resident after {number} passes over {STACKS} stacks: {} MiB", resident());
        }
    }
}

async fn a_host_that_hangs() {
    let repository = Repository::new();
    let simulated = Simulated::new(HOSTS);
    simulated.write_hosts(&repository);
    let write = |version: usize| {
        for number in 0..STACKS {
            let name = format!("shop-{number}");
            repository
                .write(&format!("stacks/{name}.yaml"), &stack(&name, version, &format!("host-{}", number % HOSTS + 1)));
        }
        repository.push("All of them");
    };
    let config = Config { push: Push::Never, lost_after: Duration::from_secs(3600), ..Config::default() };
    write(1);
    let mut service = Service::start(simulated.site(&repository, config).await);
    service.ended(STACKS).await;
    let begun = Instant::now();
    write(2);
    service.ended(STACKS).await;
    let all_well = begun.elapsed();

    simulated.engines["host-3"].fault(Fault::Hang, Which::Every, Times::UntilLifted);
    let begun = Instant::now();
    service.unreachable(&HostName::new("host-3").expect("a name")).await;
    println!("one of {HOSTS} hosts hangs: said after {:.1} s (goal 10 s)", begun.elapsed().as_secs_f64());
    let begun = Instant::now();
    write(1);
    service.ended(STACKS - STACKS / HOSTS).await;
    let ratio = begun.elapsed().as_secs_f64() / all_well.as_secs_f64();
    println!("    the others' updates take {ratio:.2} x of what all take when all are well (goal 1.05)");
    service.stop().await;
}

async fn kills(fleet: &Lease) {
    fleet.wipe_all();
    let repository = Repository::new();
    let host = fleet.host("host-1");
    let text = format!("name: host-1\nipAddress: {}\nendpoint: unix://{}\n", host.address, host.socket.display());
    let service = |n: usize| format!("  - {{name: web-{n}, position: {n}, image: 'bayplan-test/web:1'}}\n");
    let services: String = (1..=KILLS).map(service).collect();
    repository.write("hosts/host-1.yaml", &text);
    repository.write("stacks/shop.yaml", &format!("name: shop\nitemListElement:\n{services}")).push("Deploy");
    let mut site = site::site(&repository, site::config(fleet)).await;
    site::apply(&mut site, WrongFiles::Refuse).await;
    let mut service = Service::start(site);
    let engine = Docker::unix(&host.socket);
    let mut figures = Vec::new();
    for number in 1..=KILLS {
        let name = format!("shop-web-{number}-1");
        fleet.docker_text("host-1", &["kill", &name]);
        let begun = Instant::now();
        loop {
            let detail = engine.container(&name).await.expect("the engine answers").expect("it is there");
            if detail.state() == State::Running {
                break;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        figures.push(begun.elapsed());
        service.ended(1).await;
    }
    figures.sort();
    println!(
        "a killed container runs again: p50 {:.2} s, worst {:.2} s of {KILLS} (goal 0.5 s)",
        figures[KILLS / 2].as_secs_f64(),
        figures[KILLS - 1].as_secs_f64()
    );
    service.stop().await;
    fleet.wipe_all();
}

/// From the first question about health to the commit that says that the content failed.
async fn decisions(fleet: &Lease) {
    fleet.wipe_all();
    let repository = Repository::new();
    let host = fleet.host("host-1");
    let text = format!("name: host-1\nipAddress: {}\nendpoint: unix://{}\n", host.address, host.socket.display());
    repository.write("hosts/host-1.yaml", &text).push("A host");
    let mut service = Service::start(site::site(&repository, site::config(fleet)).await);
    let mut figures = Vec::new();
    for number in 1..=DECISIONS {
        let stack = format!(
            "name: shop\nupdate: {{deadline: {}}}\nitemListElement:\n  - name: web\n    position: 1\n    \
             image: bayplan-test/web:1\n    environment: {{TRY: '{number}'}}\n    \
             healthCheck: {{type: tcp, port: 9, retries: 1000}}\n",
            DEADLINE.as_secs()
        );
        repository.write("stacks/shop.yaml", &stack).push("Never healthy");
        let mut begun = None;
        loop {
            let event = service.events.recv().await.expect("the service runs");
            if let Event::Progress(Progress::StepBegun { what, .. }) = &event
                && what.starts_with("wait")
            {
                begun = Some(Instant::now());
            }
            if let Event::Committed { message, .. } = &event
                && message.starts_with("shop failed")
            {
                figures.extend(begun.take().map(|begun: Instant| begun.elapsed().saturating_sub(DEADLINE)));
            }
            // What failed has been removed again.
            if matches!(event, Event::Ended(ended) if ended.failures.is_empty()) {
                break;
            }
        }
    }
    figures.sort();
    println!(
        "never healthy, `deadline: {}`: decided and recorded {} ms after it, worst {} ms of {} (goal 250 ms)",
        DEADLINE.as_secs(),
        figures[figures.len() / 2].as_millis(),
        figures[figures.len() - 1].as_millis(),
        figures.len()
    );
    service.stop().await;
    fleet.wipe_all();
}
