//! Placement, seen from outside: one sentence per rule of DESIGN section 6, and the laws over generated worlds.

#[path = "support/worlds.rs"]
mod worlds;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bayplan::model::desired::Inventory;
use bayplan::model::host::Endpoint;
use bayplan::model::record::HostCondition;
use bayplan::model::stack::{MountSource, NetworkMode, Protocol};
use bayplan::name::{HostName, InstanceId};
use bayplan::placement::account::{Behind, Outcome, Standing};
use bayplan::placement::survival::losses;
use bayplan::placement::{Placement, explain};
use proptest::prelude::{ProptestConfig, prop_assert, prop_assert_eq, proptest};
use proptest::test_runner::RngSeed;
use worlds::{World, host};

fn hosts_of(placement: &Placement) -> BTreeMap<InstanceId, HostName> {
    let hosts = placement.mapping.iter().map(|(id, placed)| (id.clone(), placed.host.clone()));
    hosts.collect()
}

/// Every id that the stacks ask for.
fn asked(world: &World) -> BTreeSet<InstanceId> {
    let mut ids = BTreeSet::new();
    for (stack, content) in &world.stacks {
        for service in &content.services {
            ids.extend((1..=service.replicas).map(|number| InstanceId {
                stack: stack.clone(),
                service: service.name.clone(),
                number,
            }));
        }
    }
    ids
}

fn engine(inventory: &Inventory, name: &HostName) -> (Option<Endpoint>, Option<HostName>) {
    let endpoint = inventory.hosts[name].endpoint.clone();
    let own = endpoint.is_none().then(|| name.clone());
    (endpoint, own)
}

fn clash(a: IpAddr, b: IpAddr) -> bool {
    a == b || a.is_unspecified() || b.is_unspecified()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, rng_seed: RngSeed::Fixed(5), ..ProptestConfig::default() })]

    #[test]
    fn every_instance_is_either_mapped_or_held_with_a_reason_of_every_host(world in worlds::worlds()) {
        let placement = world.place();
        let mapped: BTreeSet<_> = placement.mapping.keys().cloned().collect();
        let held: BTreeSet<_> = placement.held.keys().cloned().collect();
        prop_assert!(mapped.is_disjoint(&held));
        prop_assert_eq!(mapped.union(&held).cloned().collect::<BTreeSet<_>>(), asked(&world));
        prop_assert!(placement.mapping.values().all(|placed| !placed.why.is_empty()));
        for unplaced in placement.held.values() {
            prop_assert!(!unplaced.why.is_empty());
            prop_assert!(unplaced.refusals.keys().eq(world.inventory.hosts.keys()));
            prop_assert!(unplaced.refusals.values().all(|reasons| !reasons.is_empty()), "{unplaced:?}");
        }
    }

    #[test]
    fn the_same_input_in_another_order_gives_the_same_output(world in worlds::worlds()) {
        let mut other = World { leave_volumes: world.leave_volumes.clone(), ..World::default() };
        for host in world.inventory.hosts.values().rev() {
            other.add_host((**host).clone());
        }
        for stack in world.stacks.values().rev() {
            other.add_stack((**stack).clone());
        }
        other.ledger.records.extend(world.ledger.records.clone().into_iter().rev());
        other.ledger.hosts.extend(world.ledger.hosts.clone().into_iter().rev());
        other.previous.extend(world.previous.clone().into_iter().rev());
        prop_assert_eq!(world.place(), other.place());
    }

    #[test]
    fn placing_again_moves_nothing_and_keeps_every_port(mut world in worlds::worlds()) {
        let first = world.settle();
        let second = world.place();
        for (id, placed) in &first.mapping {
            let again = second.mapping.get(id);
            prop_assert_eq!(again.map(|p| &p.host), Some(&placed.host), "{} was {:?}, is {:?}, {:?}", id, placed, again, second.held.get(id));
            for port in &placed.ports {
                prop_assert!(again.is_some_and(|p| p.ports.contains(port)), "{id} loses {port:?}: {again:?}");
            }
        }
    }

    #[test]
    fn a_new_host_moves_nothing(mut world in worlds::worlds()) {
        // How much is lost at once is a share of the fleet, which a new host changes.
        for record in world.ledger.hosts.values_mut() {
            if record.condition == HostCondition::Lost {
                record.condition = HostCondition::Unreachable;
            }
        }
        let first = world.settle();
        for name in ["a-new-one", "z-new-one"] {
            let mut new = host(name);
            new.cpu = Some(64_000);
            new.datacenter = world.inventory.hosts.values().find_map(|host| host.datacenter.clone());
            world.add_host(new);
        }
        let second = hosts_of(&world.place());
        let complete = |id: &InstanceId| first.held.keys().all(|held| held.stack != id.stack);
        for (id, host) in hosts_of(&first).into_iter().filter(|(id, _)| complete(id)) {
            prop_assert_eq!(second.get(&id), Some(&host), "{}", id);
        }
    }

    #[test]
    fn no_two_on_one_engine_share_a_host_port(world in worlds::worlds()) {
        let placement = world.place();
        let mut held: Vec<(_, IpAddr, u16, Protocol)> = Vec::new();
        for (name, record) in &world.ledger.hosts {
            for taken in &record.taken {
                let ip = taken.ip.unwrap_or(IpAddr::from([0, 0, 0, 0]));
                held.push((engine(&world.inventory, name), ip, taken.port, taken.protocol));
            }
        }
        for (id, placed) in &placement.mapping {
            let engine = engine(&world.inventory, &placed.host);
            let service = world.stacks[&id.stack].service(id.service.as_str()).expect("it is asked for");
            let mut own = Vec::new();
            for port in &placed.ports {
                let clashes = held.iter().any(|(other, ip, number, protocol)| {
                    *other == engine && clash(*ip, port.host_ip) && *number == port.host_port && *protocol == port.protocol
                });
                prop_assert!(!clashes, "{id} at {port:?} in {placement:?}");
                own.push((engine.clone(), port.host_ip, port.host_port, port.protocol));
            }
            prop_assert!(service.settings.network_mode != NetworkMode::None || own.is_empty());
            held.extend(own);
        }
    }

    #[test]
    fn no_host_is_promised_more_than_it_has(world in worlds::worlds()) {
        let placement = world.place();
        for (name, host) in &world.inventory.hosts {
            let facts = world.ledger.hosts.get(name).and_then(|record| record.facts);
            let here = placement.mapping.iter().filter(|(_, placed)| placed.host == *name);
            let (mut cpu, mut memory) = (0u128, 0u128);
            for (id, _) in here {
                let service = world.stacks[&id.stack].service(id.service.as_str()).expect("it is asked for");
                cpu += u128::from(service.resources.cpu.unwrap_or(0));
                memory += u128::from(service.resources.memory.unwrap_or(0));
            }
            let left = |total: Option<u64>, reserved: u64| total.map(|t| u128::from(t.saturating_sub(reserved)));
            let capacity = left(host.cpu.or(facts.map(|f| f.cpu)), host.reserved_cpu);
            prop_assert!(capacity.is_none_or(|capacity| cpu <= capacity), "{name}: {cpu} of {capacity:?}");
            let capacity = left(host.memory.or(facts.map(|f| f.memory)), host.reserved_memory);
            prop_assert!(capacity.is_none_or(|capacity| memory <= capacity), "{name}: {memory} of {capacity:?}");
        }
    }

    #[test]
    fn what_must_be_apart_is_apart_and_what_shares_a_volume_is_together(world in worlds::worlds()) {
        let placement = world.place();
        let mut volume_at = BTreeMap::new();
        for (id, placed) in &placement.mapping {
            let stack = &world.stacks[&id.stack];
            let service = stack.service(id.service.as_str()).expect("it is asked for");
            for (other, its) in &placement.mapping {
                let apart = other != id && other.stack == id.stack && its.host == placed.host;
                prop_assert!(!apart || !service.constraints.not_with.contains(&other.service), "{id} {other}");
            }
            prop_assert!(!service.constraints.not_on.contains(&placed.host));
            prop_assert!(service.target_host.as_ref().is_none_or(|target| *target == placed.host));
            for mount in &service.mounts {
                if let MountSource::Volume(volume) = &mount.source {
                    let at = volume_at.entry((id.stack.clone(), volume.clone())).or_insert_with(|| placed.host.clone());
                    prop_assert_eq!(&*at, &placed.host, "{} of {}", volume, id);
                }
            }
        }
    }

    #[test]
    fn what_is_explained_is_what_was_decided(world in worlds::worlds()) {
        let placement = world.place();
        for stack in world.stacks.keys() {
            let accounts = explain(&world.input(), stack);
            let explained: BTreeSet<_> = accounts.iter().map(|account| account.instance.clone()).collect();
            let of_stack: BTreeSet<_> = asked(&world).into_iter().filter(|id| id.stack == *stack).collect();
            prop_assert_eq!(explained, of_stack);
            for account in &accounts {
                prop_assert_eq!(account.candidates.len(), world.inventory.hosts.len());
                let chosen: Vec<_> = account.candidates.iter().filter(|c| c.standing == Standing::Chosen).collect();
                match (&account.outcome, placement.mapping.get(&account.instance), placement.held.get(&account.instance)) {
                    (Outcome::Placed { host, why }, Some(placed), None) => {
                        prop_assert_eq!(host, &placed.host);
                        prop_assert!(placed.why.starts_with(why), "{} and {}", placed.why, why);
                        prop_assert_eq!(chosen.len(), 1);
                        prop_assert_eq!(&chosen[0].host, host);
                    }
                    (Outcome::Held { why }, None, Some(unplaced)) => {
                        prop_assert_eq!(why, &unplaced.why);
                        prop_assert!(chosen.is_empty());
                    }
                    other => prop_assert!(false, "{} is {other:?}", account.instance),
                }
                for candidate in &account.candidates {
                    let refused = candidate.standing == Standing::Refused;
                    prop_assert_eq!(refused, !candidate.refusals.is_empty(), "{} {:?}", account.instance, candidate);
                    prop_assert!(candidate.refusals.iter().all(|refusal| !refusal.remedy().is_empty()));
                }
                for pair in account.candidates.windows(2) {
                    if let (Standing::Chosen, Standing::Behind(behind)) = (&pair[0].standing, &pair[1].standing) {
                        let (first, second) = (pair[0].score, pair[1].score);
                        let is_less = first.points > second.points;
                        prop_assert!(*behind != Behind::LowerScore || is_less, "{} {pair:?}", account.instance);
                    }
                }
            }
        }
    }

    #[test]
    fn a_loss_that_is_survived_leaves_an_instance_of_every_service(world in worlds::worlds()) {
        let before = hosts_of(&world.place());
        for loss in losses(&world.input()) {
            let hit: BTreeSet<_> =
                before.iter().filter(|(_, host)| **host == loss.host).map(|(id, _)| id).collect();
            prop_assert!(!hit.is_empty(), "nothing is on {}", loss.host);
            prop_assert!(loss.moved.iter().all(|id| hit.contains(id)));
            for id in hit {
                let of = (id.stack.clone(), id.service.clone());
                let accounted = loss.moved.contains(id) || loss.down.contains_key(&of) || loss.fewer.contains_key(&of);
                prop_assert!(accounted, "{id}: {loss:?}");
            }
            prop_assert_eq!(loss.is_survived(), loss.down.is_empty());
            prop_assert!(loss.down.values().all(|why| !why.is_empty()));
        }
    }
}
