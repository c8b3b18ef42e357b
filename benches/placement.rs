//! How long one pass of placement takes: 10,000 services on 1,000 hosts, all new and all placed before.
//!
//! Prints the median of several runs per case, in milliseconds. Takes no part in tests: `cargo bench --bench placement`.

#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

#[path = "../tests/support/worlds.rs"]
mod worlds;

use std::time::Instant;

use bayplan::model::stack::{HostPort, Strategy};
use worlds::World;

const RUNS: usize = 31;

/// 1,000 stacks of 10 services each; a mix of strategies if none is given.
fn fleet(strategy: Option<Strategy>) -> World {
    let mut world = World::default();
    for n in 1..=1000 {
        let mut host = worlds::host(&format!("host-{n}"));
        host.cpu = Some(16_000);
        host.memory = Some(64 << 30);
        host.datacenter = Some(format!("dc-{}", n % 5));
        host.labels.insert("disk".to_owned(), ["ssd", "hdd"][n % 2].to_owned());
        world.add_host(host);
    }
    let mix = [Strategy::Auto, Strategy::Spread, Strategy::Single, Strategy::Datacenter];
    for n in 0..1000 {
        let services = (0..10).map(|k| {
            let mut service = worlds::service(&format!("service-{k}"));
            service.resources.cpu = Some(100 + 50 * (k % 7));
            service.resources.memory = Some((64 + 32 * (k % 5)) << 20);
            service.ports = vec![worlds::port(8080, HostPort::Unpublished)];
            if k > 0 {
                service.requirements = vec![worlds::requirement("service-0", None)];
            }
            if k == 3 {
                service.constraints.labels.insert("disk".to_owned(), "ssd".to_owned());
            }
            if k == 4 {
                service.ports = vec![worlds::port(8080, HostPort::Chosen)];
            }
            if k == 5 {
                service.mounts = vec![worlds::mount(&format!("data-{n}"))];
            }
            service
        });
        let strategy = strategy.unwrap_or(mix[n % mix.len()]);
        let mut stack = worlds::stack(&format!("stack-{n}"), strategy, services);
        if strategy == Strategy::Datacenter && n % 8 == 3 {
            stack.datacenter = Some(format!("dc-{}", n % 5));
        }
        world.add_stack(stack);
    }
    world
}

fn measure(name: &str, world: &World) {
    let placed = world.place();
    let mut times: Vec<u128> = (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            let placement = world.place();
            let time = start.elapsed().as_micros();
            std::hint::black_box(placement);
            time
        })
        .collect();
    times.sort_unstable();
    let ms = |at: usize| format!("{}.{:02}", times[at] / 1000, times[at] % 1000 / 10);
    println!(
        "{name:<30} least {:>7} ms   p50 {:>7} ms   p95 {:>7} ms   mapped {} held {}",
        ms(0),
        ms(RUNS / 2),
        ms(RUNS * 95 / 100),
        placed.mapping.len(),
        placed.held.len()
    );
}

fn main() {
    let all = [Strategy::Auto, Strategy::Spread, Strategy::Single, Strategy::Datacenter];
    for (name, strategy) in [("mixed", None)].into_iter().chain(all.map(|s| (s.as_str(), Some(s)))) {
        let mut world = fleet(strategy);
        measure(&format!("{name}, all new"), &world);
        world.settle();
        measure(&format!("{name}, all placed before"), &world);
    }
}
