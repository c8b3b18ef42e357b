//! The rules of placement as sentences, each on the smallest fleet that shows it, and the distributed example.

#[path = "support/worlds.rs"]
mod worlds;

use bayplan::model::host::{Endpoint, Host, HostStatus};
use bayplan::model::mapping::{PortOrigin, PublishedPort};
use bayplan::model::record::{Facts, HostCondition, TakenPort};
use bayplan::model::stack::{HostPort, OnHostLoss, Protocol, Service, Strategy};
use bayplan::placement::Placement;
use worlds::{
    World, host, host_name, id, mount, port, recorded, requirement, service, slug, stack, volume_name, was_on,
};

fn hosts(names: &[&str]) -> Vec<Host> {
    names.iter().map(|name| host(name)).collect()
}

fn with(name: &str, change: impl FnOnce(&mut Service)) -> Service {
    let mut new = service(name);
    change(&mut new);
    new
}

fn host_of(placement: &Placement, instance: &str) -> String {
    placement.mapping.get(&id(instance)).map_or("held".to_owned(), |placed| placed.host.to_string())
}

fn why(placement: &Placement, instance: &str) -> String {
    placement.mapping[&id(instance)].why.clone()
}

/// `host: reason` of each host, joined.
fn against(placement: &Placement, instance: &str) -> String {
    let lines = placement.held[&id(instance)].refusals.iter().map(|(host, reasons)| {
        let reasons: Vec<String> = reasons.iter().map(ToString::to_string).collect();
        format!("{host} {}", reasons.join("; "))
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn ports(placement: &Placement, instance: &str) -> Vec<String> {
    let text = |p: &PublishedPort| format!("{}:{}->{}", p.host_ip, p.host_port, p.container);
    placement.mapping[&id(instance)].ports.iter().map(text).collect()
}

fn ask(cpu: u64) -> impl FnOnce(&mut Service) {
    move |service| service.resources.cpu = Some(cpu)
}

/// postgres, cache and an app that requires both.
fn distributed(placement: Strategy) -> World {
    let postgres = with("postgres", |s| {
        s.ports = vec![port(5432, HostPort::Explicit(5432))];
        s.mounts = vec![mount("postgres-data")];
        s.on_host_loss = OnHostLoss::Wait;
    });
    let cache = with("cache", |s| s.ports = vec![port(6379, HostPort::Unpublished)]);
    let app = with("app", |s| {
        s.ports = vec![port(3000, HostPort::Explicit(3000))];
        s.requirements = vec![requirement("postgres", Some("postgres://host-1:5432")), requirement("cache", None)];
    });
    World::of(hosts(&["host-1", "host-2", "host-3"]), [stack("distributed-app", placement, [postgres, cache, app])])
}

fn spots(placement: &Placement) -> [String; 3] {
    ["postgres", "cache", "app"].map(|name| host_of(placement, &format!("distributed-app/{name}-1")))
}

#[test]
fn manual_puts_each_service_on_its_target_host_and_publishes_what_others_need() {
    let mut world = distributed(Strategy::Manual);
    for (name, target) in [("postgres", "host-1"), ("cache", "host-2"), ("app", "host-3")] {
        world.change_service("distributed-app", name, |s| s.target_host = Some(host_name(target)));
    }
    world.change_service("distributed-app", "postgres", |s| s.reason = Some("fast disks".to_owned()));
    let placement = world.place();
    assert_eq!(spots(&placement), ["host-1", "host-2", "host-3"]);
    assert_eq!(why(&placement, "distributed-app/postgres-1"), "pinned by targetHost; reason: fast disks");
    assert_eq!(ports(&placement, "distributed-app/postgres-1"), ["10.0.0.1:5432->5432"]);
    let cache = &placement.mapping[&id("distributed-app/cache-1")].ports;
    assert_eq!(ports(&placement, "distributed-app/cache-1"), ["10.0.0.2:6379->6379"]);
    assert_eq!(cache[0].origin, PortOrigin::ForOthers);
}

#[test]
fn the_other_strategies_place_the_example_without_targets() {
    let placed = |strategy| spots(&distributed(strategy).place());
    assert_eq!(placed(Strategy::Auto), ["host-1", "host-2", "host-3"]);
    assert_eq!(placed(Strategy::Spread), ["host-1", "host-2", "host-3"]);
    assert_eq!(placed(Strategy::Single), ["host-1", "host-1", "host-1"]);
    assert_eq!(placed(Strategy::Datacenter), ["host-1", "host-2", "host-3"]);
    assert_eq!(placed(Strategy::Manual), ["held", "held", "held"]);
    let single = distributed(Strategy::Single).place();
    assert_eq!(ports(&single, "distributed-app/cache-1"), [""; 0]);
}

#[test]
fn auto_names_the_best_score_and_the_next() {
    let mut world = World::of(hosts(&["host-1", "host-2"]), [stack("shop", Strategy::Auto, [service("web")])]);
    world.record("host-1").facts = Some(Facts { cpu: 4000, memory: 16 << 30, cpu_used: 50, memory_used: 0 });
    let placement = world.place();
    assert_eq!(why(&placement, "shop/web-1"), "auto: best score 100.0 of 2 hosts (next host-1 80.0)");
}

#[test]
fn the_score_counts_the_larger_of_use_and_promise_and_what_was_placed_in_this_pass() {
    let services = [with("a", ask(2000)), with("b", ask(2000)), with("c", ask(0))];
    let mut world = World::of(hosts(&["host-1", "host-2"]), [stack("shop", Strategy::Auto, services)]);
    world.previous.insert(id("shop/a-1"), was_on("host-1"));
    let placement = world.place();
    // host-1 has a promise of half its cores and an instance: 20 + 40 + 19.8; host-2 the same after b.
    assert_eq!(why(&placement, "shop/b-1"), "auto: best score 100.0 of 2 hosts (next host-1 79.8)");
    assert_eq!(why(&placement, "shop/c-1"), "auto: best score 79.8 of 2 hosts (next host-2 79.8: the name decides)");
}

#[test]
fn no_host_gives_every_hosts_reason_with_its_numbers() {
    let big = with("big", |s| {
        s.resources.cpu = Some(5000);
        s.constraints.labels.insert("disk".to_owned(), "ssd".to_owned());
    });
    let mut world =
        World::of(hosts(&["host-1", "host-2", "host-3"]), [stack("shop", Strategy::Auto, [big, service("web")])]);
    world.change_host("host-2", |h| {
        h.cpu = Some(8000);
        h.labels.insert("disk".to_owned(), "hdd".to_owned());
    });
    world.change_host("host-3", |h| h.status = HostStatus::Maintenance);
    let placement = world.place();
    assert_eq!(
        against(&placement, "shop/big-1"),
        "host-1 has 4.0 of 4.0 cores free; 5.0 are asked for; has no label `disk`; `ssd` is asked for\n\
         host-2 has the label `disk: hdd`; `ssd` is asked for\n\
         host-3 is in maintenance and takes nothing new; has 4.0 of 4.0 cores free; 5.0 are asked for; \
         has no label `disk`; `ssd` is asked for"
    );
    assert_eq!(host_of(&placement, "shop/web-1"), "host-1");
}

#[test]
fn a_new_stack_does_not_displace_what_runs_but_a_pin_does() {
    let full = |name: &str| stack(name, Strategy::Auto, [with("web", ask(4000))]);
    let mut world = World::of(hosts(&["host-1", "host-2"]), [full("zebra"), full("ant")]);
    world.previous.insert(id("zebra/web-1"), was_on("host-1"));
    let placement = world.place();
    assert_eq!(host_of(&placement, "zebra/web-1"), "host-1");
    assert_eq!(host_of(&placement, "ant/web-1"), "host-2");
    world.change_service("ant", "web", |s| s.target_host = Some(host_name("host-1")));
    let placement = world.place();
    assert_eq!(host_of(&placement, "ant/web-1"), "host-1");
    assert_eq!(
        why(&placement, "zebra/web-1"),
        "leaves host-1, which has 0.0 of 4.0 cores free; 4.0 are asked for; \
         auto: best score 100.0 of 2 hosts (no other takes it)"
    );
}

#[test]
fn maintenance_and_unreachable_keep_what_they_have_and_get_nothing_new() {
    let services = [service("old"), service("new")];
    let mut world = World::of(hosts(&["host-1", "host-2"]), [stack("shop", Strategy::Auto, services)]);
    world.previous.insert(id("shop/old-1"), was_on("host-1"));
    for change in [
        |w: &mut World| w.change_host("host-1", |h| h.status = HostStatus::Maintenance),
        |w: &mut World| w.record("host-1").condition = HostCondition::Unreachable,
    ] {
        let mut world = world.clone();
        change(&mut world);
        let placement = world.place();
        assert_eq!(why(&placement, "shop/old-1"), "stays where it is");
        assert_eq!(host_of(&placement, "shop/old-1"), "host-1");
        assert_eq!(host_of(&placement, "shop/new-1"), "host-2");
    }
}

#[test]
fn a_draining_host_keeps_only_what_cannot_move() {
    let services = [
        service("web"),
        with("db", |s| s.mounts = vec![mount("data")]),
        with("pinned", |s| s.target_host = Some(host_name("host-1"))),
    ];
    let mut world = World::of(hosts(&["host-1", "host-2"]), [stack("shop", Strategy::Auto, services)]);
    for name in ["web", "db", "pinned"] {
        world.previous.insert(id(&format!("shop/{name}-1")), was_on("host-1"));
    }
    world.record("host-1").volumes.insert(volume_name("data"));
    world.change_host("host-1", |h| h.status = HostStatus::Draining);
    let placement = world.place();
    assert!(why(&placement, "shop/web-1").starts_with("leaves host-1, which is draining; auto: "));
    assert_eq!(host_of(&placement, "shop/web-1"), "host-2");
    assert_eq!(host_of(&placement, "shop/db-1"), "host-1");
    assert_eq!(why(&placement, "shop/db-1"), "stays where it is: the volume `data` is here");
    assert_eq!(host_of(&placement, "shop/pinned-1"), "host-1");
}

#[test]
fn a_lost_host_loses_only_what_may_move() {
    let services = [service("web"), with("db", |s| s.on_host_loss = OnHostLoss::Wait)];
    let mut world = World::of(hosts(&["host-1", "host-2", "host-3"]), [stack("shop", Strategy::Auto, services)]);
    world.previous.insert(id("shop/web-1"), was_on("host-1"));
    world.previous.insert(id("shop/db-1"), was_on("host-1"));
    let offline = {
        let mut world = world.clone();
        world.change_host("host-1", |h| h.status = HostStatus::Offline);
        world
    };
    world.record("host-1").condition = HostCondition::Lost;
    for (world, word) in [(world, "lost"), (offline, "offline")] {
        let placement = world.place();
        assert_eq!(host_of(&placement, "shop/web-1"), "host-2");
        assert_eq!(why(&placement, "shop/db-1"), format!("waits for host-1, which is {word} (onHostLoss: wait)"));
    }
}

#[test]
fn nothing_moves_when_too_much_is_lost_at_once() {
    let names = ["host-1", "host-2", "host-3", "host-4", "host-5", "host-6", "host-7"];
    let mut world = World::of(hosts(&names), [stack("shop", Strategy::Auto, [service("web")])]);
    world.previous.insert(id("shop/web-1"), was_on("host-1"));
    let lose = |world: &mut World, names: &[&str]| {
        for name in names {
            world.record(name).condition = HostCondition::Lost;
        }
    };
    lose(&mut world, &names[..3]);
    assert_eq!(host_of(&world.place(), "shop/web-1"), "host-4");
    let mut in_one = world.clone();
    for name in &names[..4] {
        in_one.change_host(name, |h| h.datacenter = Some("east".to_owned()));
    }
    assert_eq!(host_of(&in_one.place(), "shop/web-1"), "host-1");
    lose(&mut world, &names[..4]);
    assert_eq!(
        why(&world.place(), "shop/web-1"),
        "stays where it is: too many hosts were lost at once, so nothing moves"
    );
}

#[test]
fn a_target_host_against_a_volume_is_a_hold_until_a_commit_confirms() {
    let db = with("db", |s| {
        s.mounts = vec![mount("data")];
        s.target_host = Some(host_name("host-2"));
    });
    let mut world = World::of(hosts(&["host-1", "host-2"]), [stack("shop", Strategy::Manual, [db])]);
    world.previous.insert(id("shop/db-1"), was_on("host-1"));
    world.record("host-1").volumes.insert(volume_name("data"));
    assert_eq!(
        against(&world.place(), "shop/db-1"),
        "host-1 is not the targetHost host-2\n\
         host-2 does not have the volume `data`, whose data is on host-1 and would stay behind \
         (`Bayplan-Leave-Volume: shop/data` in a commit confirms that)"
    );
    world.leave_volumes.insert((slug("shop"), volume_name("data")));
    assert_eq!(host_of(&world.place(), "shop/db-1"), "host-2");
}

#[test]
fn services_that_share_a_local_volume_are_together_and_others_need_not_be() {
    let share = |name: &str| with(name, |s| s.mounts = vec![mount("shared")]);
    let mut world =
        World::of(hosts(&["host-1", "host-2"]), [stack("shop", Strategy::Spread, [share("a"), share("b")])]);
    let placement = world.place();
    assert_eq!(host_of(&placement, "shop/a-1"), host_of(&placement, "shop/b-1"));
    world.change_stack("shop", |s| {
        s.volumes.get_mut("shared").expect("it is mounted").driver = "nfs".to_owned();
    });
    let placement = world.place();
    assert_ne!(host_of(&placement, "shop/a-1"), host_of(&placement, "shop/b-1"));
}

#[test]
fn not_with_holds_in_both_directions() {
    let alone = with("alone", |s| {
        s.constraints.not_with.insert(worlds::service_name("web"));
    });
    let world = World::of(hosts(&["host-1"]), [stack("shop", Strategy::Auto, [alone, service("web")])]);
    assert_eq!(against(&world.place(), "shop/web-1"), "host-1 has `alone`, and notWith keeps the two apart");
}

#[test]
fn hosts_that_share_an_engine_share_its_ports() {
    let web =
        |name: &str| stack(name, Strategy::Auto, [with("web", |s| s.ports = vec![port(80, HostPort::Explicit(80))])]);
    let mut world = World::of(hosts(&["host-1", "host-2"]), [web("one"), web("two")]);
    assert_eq!(host_of(&world.place(), "two/web-1"), "host-2");
    for name in ["host-1", "host-2"] {
        world.change_host(name, |h| {
            h.endpoint = Some(Endpoint::Memory("laptop".to_owned()));
            h.publish_address = [0, 0, 0, 0].into();
        });
    }
    assert_eq!(
        against(&world.place(), "two/web-1"),
        "host-1 has port 80/tcp held by one/web-1\nhost-2 has port 80/tcp held by one/web-1"
    );
}

#[test]
fn an_explicit_port_that_somebody_else_holds_is_a_refusal() {
    let web = with("web", |s| s.ports = vec![port(80, HostPort::Explicit(80))]);
    let mut world = World::of(hosts(&["host-1"]), [stack("shop", Strategy::Auto, [web])]);
    let taken = |port| TakenPort { ip: None, port, protocol: Protocol::Tcp };
    world.record("host-1").taken.insert(taken(80));
    assert_eq!(against(&world.place(), "shop/web-1"), "host-1 has port 80/tcp of 10.0.0.1 held by somebody else");
}

#[test]
fn chosen_ports_are_the_lowest_free_ones_and_stay() {
    let chosen = |name: &str| with(name, |s| s.ports = vec![port(80, HostPort::Chosen)]);
    let mut world = World::of(hosts(&["host-1"]), [stack("shop", Strategy::Auto, [chosen("b"), chosen("a")])]);
    let taken = TakenPort { ip: None, port: 20_000, protocol: Protocol::Tcp };
    world.record("host-1").taken.insert(taken);
    let placement = world.settle();
    assert_eq!(ports(&placement, "shop/a-1"), ["10.0.0.1:20001->80"]);
    assert_eq!(ports(&placement, "shop/b-1"), ["10.0.0.1:20002->80"]);
    world.record("host-1").taken.clear();
    world.add_stack(stack("ant", Strategy::Auto, [chosen("web")]));
    let placement = world.place();
    assert_eq!(ports(&placement, "ant/web-1"), ["10.0.0.1:20000->80"]);
    assert_eq!(ports(&placement, "shop/b-1"), ["10.0.0.1:20002->80"]);
}

#[test]
fn a_range_without_a_free_port_is_a_hold() {
    let chosen = |name: &str| with(name, |s| s.ports = vec![port(80, HostPort::Chosen)]);
    let mut world = World::of(hosts(&["host-1"]), [stack("shop", Strategy::Auto, [chosen("a"), chosen("b")])]);
    world.change_host("host-1", |h| h.port_range = (20_000, 20_000));
    assert_eq!(
        against(&world.place(), "shop/b-1"),
        "host-1 has no port left from 20000 to 20000 for container port 80"
    );
}

#[test]
fn once_published_for_others_it_stays_so() {
    let mut world = distributed(Strategy::Spread);
    world.settle();
    world.change_service("distributed-app", "app", |s| s.requirements.clear());
    assert_eq!(ports(&world.place(), "distributed-app/cache-1"), ["10.0.0.2:6379->6379"]);
}

#[test]
fn a_port_for_others_that_is_not_free_comes_from_the_range() {
    let mut world = distributed(Strategy::Spread);
    world.record("host-2").taken.insert(TakenPort { ip: None, port: 6379, protocol: Protocol::Tcp });
    assert_eq!(ports(&world.place(), "distributed-app/cache-1"), ["10.0.0.2:20000->6379"]);
}

#[test]
fn a_loopback_port_is_published_once_more_for_others() {
    let mut world = distributed(Strategy::Spread);
    world.change_service("distributed-app", "postgres", |s| s.ports[0].host_ip = Some([127, 0, 0, 1].into()));
    assert_eq!(ports(&world.place(), "distributed-app/postgres-1"), ["10.0.0.1:5432->5432", "127.0.0.1:5432->5432"]);
}

#[test]
fn single_moves_as_one_only_if_what_is_added_does_not_fit() {
    let services = [with("a", ask(3000)), with("b", ask(500))];
    let mut world = World::of(hosts(&["host-1", "host-2"]), [stack("shop", Strategy::Single, services)]);
    world.previous.insert(id("shop/a-1"), was_on("host-1"));
    let placement = world.place();
    assert_eq!(why(&placement, "shop/a-1"), "stays where it is");
    assert_eq!(host_of(&placement, "shop/b-1"), "host-1");
    world.change_service("shop", "b", |s| s.resources.cpu = Some(2000));
    let placement = world.place();
    assert_eq!(host_of(&placement, "shop/a-1"), "host-1");
    assert_eq!(host_of(&placement, "shop/b-1"), "held");
    world.change_host("host-2", |h| h.cpu = Some(8000));
    let placement = world.place();
    assert_eq!(host_of(&placement, "shop/a-1"), "host-2");
    assert_eq!(host_of(&placement, "shop/b-1"), "host-2");
}

#[test]
fn an_unnamed_datacenter_is_the_best_one_that_fits_the_whole_stack() {
    let services = ["a", "b", "c"].map(|name| with(name, ask(3000)));
    let mut world = World::of(
        hosts(&["host-1", "host-2", "host-3", "host-4", "host-5"]),
        [stack("shop", Strategy::Datacenter, services)],
    );
    for n in 1..=5 {
        let name = if n < 3 { "east" } else { "west" };
        world.change_host(&format!("host-{n}"), |h| h.datacenter = Some(name.to_owned()));
    }
    let placement = world.settle();
    let spots = |p: &Placement| ["shop/a-1", "shop/b-1", "shop/c-1"].map(|name| host_of(p, name));
    assert_eq!(spots(&placement), ["host-3", "host-4", "host-5"]);
    assert_eq!(
        why(&placement, "shop/a-1"),
        "datacenter west (best total 300.0 of 2 datacenters): 0 of this stack there before, score 100.0, of 5 hosts"
    );
    world.change_host("host-5", |h| h.status = HostStatus::Draining);
    let placement = world.place();
    assert_eq!(spots(&placement), ["host-3", "host-4", "held"]);
    for n in 1..3 {
        world.change_host(&format!("host-{n}"), |h| h.cpu = Some(8000));
    }
    assert_eq!(spots(&world.place()), ["host-1", "host-2", "host-1"]);
}

#[test]
fn a_change_of_the_strategy_drops_stickiness() {
    let changed = stack("shop", Strategy::Auto, [service("web")]);
    let record = recorded(&changed, Strategy::Single, None);
    let mut world = World::of(hosts(&["host-1", "host-2"]), [changed]);
    world.previous.insert(id("shop/web-1"), was_on("host-2"));
    assert_eq!(host_of(&world.place(), "shop/web-1"), "host-2");
    world.ledger.records.insert(slug("shop"), record);
    assert!(
        why(&world.place(), "shop/web-1").starts_with("leaves host-2: placement changed from `single` to `auto`; ")
    );
}

#[test]
fn replicas_of_a_service_with_an_explicit_port_are_on_different_engines() {
    let web = with("web", |s| {
        s.replicas = 3;
        s.ports = vec![port(80, HostPort::Explicit(80))];
    });
    let placement = World::of(hosts(&["host-1", "host-2"]), [stack("shop", Strategy::Auto, [web])]).place();
    let spots = [1, 2, 3].map(|n| host_of(&placement, &format!("shop/web-{n}")));
    assert_eq!(spots, ["host-1", "host-2", "held"]);
}
