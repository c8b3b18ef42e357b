//! How fast real engines are deployed to, as a ratio to what the engine itself takes, measured in the same run.
//!
//! Takes the fleet that `BAYPLAN_FLEET` names (`tests/fleet up`), and runs in its switch's namespace:
//! `nsenter --net=NETNS cargo bench --bench engines`.

#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

#[path = "../tests/support/fleet.rs"]
mod fleet;
#[path = "../tests/support/repository.rs"]
mod repository;
#[path = "../tests/support/site.rs"]
mod site;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bayplan::controller::once::WrongFiles;
use bayplan::engine::Engine;
use bayplan::engine::docker::Docker;
use bayplan::model::request::{ContainerRequest, NetworkAttachment, NetworkRequest, ResolvedImage};
use bayplan::model::stack::{Restart, Settings};
use bayplan::name::{ContainerName, NetworkName};
use bayplan::reconcile::{self, Context, Look};
use futures_util::StreamExt;

use fleet::Fleet;
use repository::Repository;

const SERVICES: usize = 50;
const ROUNDS: usize = 3;

fn main() {
    let Some(fleet) = Fleet::lease() else {
        println!("left out: no fleet (tests/fleet up, BAYPLAN_FLEET)");
        return;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    for host in ["host-1", "host-4"] {
        if let Some(found) = fleet.find(host) {
            println!("\nengine {}, {SERVICES} services on one bridge network, medians of {ROUNDS}", found.engine);
            runtime.block_on(measure(&fleet, host));
        }
    }
}

fn stack(changed: bool) -> String {
    let mut text = "name: fifty\nplacement: single\nitemListElement:\n".to_owned();
    for number in 1..=SERVICES {
        let value = if changed && number == 7 { "b" } else { "a" };
        text.push_str(&format!(
            "  - {{name: web-{number}, position: {number}, image: 'bayplan-test/web:1', environment: {{VALUE: {value}}}}}\n"
        ));
    }
    text
}

fn median(mut figures: Vec<Duration>) -> f64 {
    figures.sort();
    figures[figures.len() / 2].as_secs_f64() * 1000.0
}

async fn measure(fleet: &Fleet, host: &str) {
    let found = fleet.host(host).clone();
    let (mut floors, mut colds, mut idles, mut changes, mut lists) = (vec![], vec![], vec![], vec![], vec![]);
    for _ in 0..ROUNDS {
        for in_flight in [4, 8, 16] {
            fleet.wipe(host);
            floors.push((in_flight, floor(&found.socket, in_flight).await));
        }
        fleet.wipe(host);
        let repository = Repository::new();
        let text = format!("name: {host}\nipAddress: {}\nendpoint: unix://{}\n", found.address, found.socket.display());
        repository.write("hosts/one.yaml", &text).write("stacks/fifty.yaml", &stack(false)).push("Fifty");
        let mut site = site::site(&repository, site::config(fleet)).await;
        let begun = Instant::now();
        let outcome = site::apply(&mut site, WrongFiles::Refuse).await;
        colds.push(begun.elapsed());
        assert!(outcome.ended.values().all(|ended| ended.failures.is_empty()), "{:?}", outcome.ended);
        let engine = Docker::unix(found.socket.clone());
        engine.containers().await.expect("a list");
        for _ in 0..10 {
            let begun = Instant::now();
            engine.containers().await.expect("a list");
            lists.push(begun.elapsed());
            let begun = Instant::now();
            let pass = reconcile::pass(&mut site, Look::Hosts, &Context::default()).await.expect("a pass");
            idles.push(begun.elapsed());
            assert!(pass.plan.is_empty());
        }
        repository.write("stacks/fifty.yaml", &stack(true)).push("One changed");
        let begun = Instant::now();
        site::apply(&mut site, WrongFiles::Refuse).await;
        changes.push(begun.elapsed());
    }
    let best = [4, 8, 16]
        .map(|n| (n, median(floors.iter().filter(|(in_flight, _)| *in_flight == n).map(|(_, took)| *took).collect())));
    let (in_flight, floor) = best.into_iter().min_by(|a, b| a.1.total_cmp(&b.1)).expect("three floors");
    let cold = median(colds);
    println!("floor: create and start, {in_flight} in flight  {floor:9.1} ms   (4, 8, 16: {best:.0?})");
    println!("cold deploy                       {cold:9.1} ms   {:.2} x floor", cold / floor);
    println!("floor: one list                   {:9.1} ms", median(lists));
    println!("nothing to do                     {:9.1} ms", median(idles));
    println!("one of {SERVICES} changed                  {:9.1} ms", median(changes));
    fleet.wipe(host);
}

/// The engine alone: the same containers, created and started with some in flight, by a client that does nothing else.
async fn floor(socket: &Path, in_flight: usize) -> Duration {
    let engine = Arc::new(Docker::unix(socket));
    let network = NetworkName::new("bayplan-test-floor").expect("a name");
    let labels = BTreeMap::from([(fleet::TEST_LABEL.to_owned(), "floor".to_owned())]);
    let begun = Instant::now();
    engine
        .create_network(&NetworkRequest { name: network.clone(), labels: labels.clone(), subnet: None })
        .await
        .expect("a network");
    futures_util::stream::iter(1..=SERVICES)
        .for_each_concurrent(in_flight, |number| {
            let (engine, network, labels) = (engine.clone(), network.clone(), labels.clone());
            async move {
                let request = request(number, network, labels);
                let id = engine.create(&request).await.expect("created");
                engine.start(&id).await.expect("started");
            }
        })
        .await;
    begun.elapsed()
}

fn request(number: usize, network: NetworkName, labels: BTreeMap<String, String>) -> ContainerRequest {
    ContainerRequest {
        name: ContainerName::new(&format!("bayplan-test-floor-{number}")).expect("a name"),
        image: "bayplan-test/web:1".to_owned(),
        resolved: ResolvedImage::Local("bayplan-test/web:1".to_owned()),
        labels,
        environment: BTreeMap::new(),
        command: None,
        entrypoint: None,
        user: None,
        working_dir: None,
        health: None,
        restart: Restart::UnlessStopped,
        stop_grace_period: Duration::from_secs(1),
        mounts: Vec::new(),
        ports: Vec::new(),
        network: NetworkAttachment::Named { network, aliases: vec![format!("web-{number}")] },
        extra_hosts: Vec::new(),
        settings: Settings::default(),
        cpu_limit: None,
        memory_limit: None,
    }
}
