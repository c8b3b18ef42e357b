//! Where everything was: what placement must know in order to leave it there.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use crate::model::desired::Inventory;
use crate::model::mapping::{Mapping, Placed, PortOrigin, PublishedPort};
use crate::model::record::{InstanceRecord, Ledger};
use crate::model::world::{ContainerSeen, EngineView, Ours, World};
use crate::name::{InstanceId, StackSlug};

/// The record's `next`, else its running deployment, else (where there is no record) what our labels say.
pub fn mapping(ledger: &Ledger, world: &World, owner: &str, inventory: &Inventory) -> Mapping {
    // What runs also counts where the next deployment says nothing of it; of two the later counts.
    let deployments = ledger.records.values().flat_map(|record| record.running.iter().chain(&record.next));
    let mut mapping: Mapping = deployments.flat_map(|deployment| deployment.instances.iter().map(placed)).collect();
    for (container, ours) in ours(world, owner) {
        if ledger.records.contains_key(&ours.instance.stack) || mapping.contains_key(&ours.instance) {
            continue;
        }
        let fallback = inventory.hosts.get(&ours.host).map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |h| h.publish_address);
        let ports = container.ports.iter().map(|port| PublishedPort {
            container: port.container,
            protocol: port.protocol,
            host_ip: port.host_ip.unwrap_or(fallback),
            host_port: port.host_port,
            origin: PortOrigin::Chosen,
        });
        let placed = Placed { host: ours.host.clone(), ports: ports.collect(), why: "it runs there".to_owned() };
        mapping.insert(ours.instance.clone(), placed);
    }
    mapping
}

fn placed((id, instance): (&InstanceId, &InstanceRecord)) -> (InstanceId, Placed) {
    let placed = Placed { host: instance.host.clone(), ports: instance.ports.clone(), why: instance.reason.clone() };
    (id.clone(), placed)
}

/// The stacks that containers of ours name.
pub fn stacks_seen(world: &World, owner: &str) -> BTreeSet<StackSlug> {
    ours(world, owner).map(|(_, ours)| ours.instance.stack.clone()).collect()
}

fn ours<'a>(world: &'a World, owner: &'a str) -> impl Iterator<Item = (&'a ContainerSeen, &'a Ours)> {
    let seen = world.engines.values().filter_map(|view| match view {
        EngineView::Seen(seen) => Some(seen),
        EngineView::Unreachable(_) => None,
    });
    seen.flat_map(|seen| &seen.containers).filter_map(move |c| c.ours(owner).map(|ours| (c, ours)))
}
