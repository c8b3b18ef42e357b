//! The fleet as the ledger remembers it, for planning without a look at any host.
//!
//! Takes the ledger and the inventory. Gives a world in which every recorded instance runs as recorded; and, when it is known
//! where stacks are placed, every image is what it resolved to before, and networks and volumes are there.
//!
//! Because a review must need Git alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::model::desired::Inventory;
use crate::model::host::Endpoint;
use crate::model::mapping::Mapping;
use crate::model::record::{InstanceHealth, InstanceRecord, Ledger};
use crate::model::request::{
    LABEL_DIGEST, LABEL_HOST, LABEL_INSTANCE, LABEL_OWNER, LABEL_SERVICE, LABEL_STACK, ResolvedImage,
};
use crate::model::stack::Stack;
use crate::model::world::{
    ContainerSeen, EngineView, Health, ImageView, LabelsRead, NetworkSeen, PortSeen, Presence, State, VolumeSeen, World,
};
use crate::name::{HostName, InstanceId, StackSlug};

/// The world that the ledger remembers.
pub fn world(ledger: &Ledger, inventory: &Inventory, owner: &str) -> World {
    let mut world = World::default();
    for (name, host) in &inventory.hosts {
        let endpoint = host.endpoint.clone().unwrap_or_else(|| Endpoint::Memory(format!("planned-{name}")));
        world.hosts.insert(name.clone(), endpoint.clone());
        world.engines.entry(endpoint).or_insert_with(|| EngineView::Seen(Arc::default()));
    }
    for record in ledger.records.values() {
        for running in record.running.iter() {
            for (id, instance) in &running.instances {
                remember(&mut world, id, instance, owner);
            }
        }
    }
    world
}

/// Gives the hosts that stacks are on, or come to, all that those stacks need: their images are taken as resolvable.
pub fn furnish<'a>(
    world: &mut World,
    ledger: &Ledger,
    mapping: &Mapping,
    stacks: impl Iterator<Item = (&'a StackSlug, &'a Stack)>,
) {
    let mut hosts: BTreeMap<&StackSlug, BTreeSet<&HostName>> = BTreeMap::new();
    for (id, placed) in mapping {
        hosts.entry(&id.stack).or_default().insert(&placed.host);
    }
    let recorded = ledger.records.values().flat_map(|record| &record.running).flat_map(|running| &running.instances);
    for (id, instance) in recorded {
        hosts.entry(&id.stack).or_default().insert(&instance.host);
    }
    for (slug, stack) in stacks {
        if let Some(hosts) = hosts.get(slug) {
            furnish_one(world, ledger, stack, hosts);
        }
    }
}

fn remember(world: &mut World, id: &InstanceId, instance: &InstanceRecord, owner: &str) {
    let Some(endpoint) = world.hosts.get(&instance.host) else {
        return;
    };
    let Some(EngineView::Seen(seen)) = world.engines.get_mut(endpoint) else {
        return;
    };
    let seen = Arc::make_mut(seen);
    let state = match instance.health {
        InstanceHealth::Completed => State::Exited { code: 0 },
        InstanceHealth::Healthy
        | InstanceHealth::Starting
        | InstanceHealth::Unhealthy
        | InstanceHealth::Stopped
        | InstanceHealth::Unknown => State::Running,
    };
    let labels = [
        (LABEL_OWNER, owner.to_owned()),
        (LABEL_STACK, id.stack.to_string()),
        (LABEL_SERVICE, id.service.to_string()),
        (LABEL_INSTANCE, id.number.to_string()),
        (LABEL_HOST, instance.host.to_string()),
        (LABEL_DIGEST, instance.digest.to_string()),
    ];
    seen.containers.push(ContainerSeen {
        id: instance.container.clone().unwrap_or_else(|| id.name_at_rest().to_string()),
        name: id.name_at_rest().to_string(),
        image_id: String::new(),
        state,
        health: Health::Unchecked,
        labels: labels.into_iter().map(|(k, v)| (k.to_owned(), v)).collect(),
        ports: instance
            .ports
            .iter()
            .map(|p| PortSeen {
                container: p.container,
                protocol: p.protocol,
                host_ip: Some(p.host_ip),
                host_port: p.host_port,
            })
            .collect(),
        networks: BTreeMap::new(),
        volumes: BTreeSet::new(),
        read: LabelsRead::default(),
    });
}

/// Gives the engines of these hosts the networks and volumes of a stack, and says what its images are.
fn furnish_one(world: &mut World, ledger: &Ledger, stack: &Stack, hosts: &BTreeSet<&HostName>) {
    let recorded: Vec<&InstanceRecord> = ledger
        .records
        .get(stack.name.slug())
        .into_iter()
        .flat_map(|record| record.running.iter().flat_map(|running| running.instances.values()))
        .collect();
    let endpoints: BTreeSet<&Endpoint> = hosts.iter().filter_map(|host| world.hosts.get(*host)).collect();
    for endpoint in endpoints {
        let Some(EngineView::Seen(seen)) = world.engines.get_mut(endpoint) else { continue };
        let seen = Arc::make_mut(seen);
        seen.networks.push(NetworkSeen {
            id: stack.network.name.to_string(),
            name: stack.network.name.to_string(),
            driver: "bridge".to_owned(),
            labels: BTreeMap::new(),
            subnets: Vec::new(),
        });
        for container in &mut seen.containers {
            if container.labels.get(LABEL_STACK).map(String::as_str) == Some(stack.name.slug().as_str()) {
                container.networks.insert(stack.network.name.to_string(), None);
                container.volumes.extend(stack.volumes.keys().map(ToString::to_string));
            }
        }
        seen.volumes.extend(stack.volumes.iter().map(|(name, volume)| VolumeSeen {
            name: name.to_string(),
            driver: volume.driver.clone(),
            labels: BTreeMap::new(),
        }));
    }
    for service in &stack.services {
        let text = service.image.to_string();
        let of_text: Vec<&&InstanceRecord> = recorded.iter().filter(|r| r.image == text).collect();
        for host in hosts {
            let known = of_text
                .iter()
                .find(|r| r.host == **host)
                .or_else(|| of_text.iter().find(|r| matches!(r.resolved, ResolvedImage::Registry(_))));
            let image =
                known.map_or_else(|| ResolvedImage::Local(format!("unresolved:{text}")), |r| r.resolved.clone());
            let view = ImageView::Resolved { image, presence: Presence::OnHost, has_health_check: false };
            let key = (stack.name.slug().clone(), text.clone());
            world.images.entry(key).or_default().insert((*host).clone(), view);
        }
    }
}
