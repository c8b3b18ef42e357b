//! Stacks, hosts and ledgers for tests: built by hand with few words, or generated.
//!
//! Gives valid model values directly, without files. [`World`] bundles what one pass of placement reads; [`worlds`]
//! generates small ones that are odd on purpose: no hosts, no capacity, shared engines, hosts that left.

#![allow(dead_code, reason = "every test binary uses its own part of this module")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use bayplan::files::{Places, Span};
use bayplan::model::desired::Inventory;
use bayplan::model::host::{Endpoint, Host, HostStatus};
use bayplan::model::mapping::{Mapping, Placed, PortOrigin, PublishedPort};
use bayplan::model::record::{Deployment, Facts, HostCondition, HostRecord, Ledger, Record, StackStatus, TakenPort};
use bayplan::model::stack::{
    Access, Constraints, Creation, HostPort, Mount, MountSource, NetworkMode, OnFailure, OnHostLoss, Port, Protocol,
    PullPolicy, Requirement, Resources, Restart, Service, Settings, Stack, StackNetwork, StackVolume, StartOrder,
    Strategy, Update, UpdateOrder, WaitForHealthy,
};
use bayplan::name::image::ImageRef;
use bayplan::name::{
    Digest, HostName, InstanceId, NetworkName, Revision, ServiceName, StackName, StackSlug, VolumeName,
};
use bayplan::placement::{Input, Placement, place};
use bayplan::secret::Secret;
use proptest::prelude::{BoxedStrategy, Just, Strategy as _, any, prop_oneof};

/// All that one pass of placement reads.
#[derive(Debug, Clone, Default)]
pub struct World {
    pub stacks: BTreeMap<StackSlug, Arc<Stack>>,
    pub inventory: Inventory,
    pub ledger: Ledger,
    pub previous: Mapping,
    pub leave_volumes: BTreeSet<(StackSlug, VolumeName)>,
}

impl World {
    pub fn of(hosts: impl IntoIterator<Item = Host>, stacks: impl IntoIterator<Item = Stack>) -> Self {
        let mut world = Self::default();
        for host in hosts {
            world.add_host(host);
        }
        for stack in stacks {
            world.add_stack(stack);
        }
        world
    }

    pub fn add_host(&mut self, host: Host) {
        self.inventory.hosts.insert(host.name.clone(), Arc::new(host));
    }

    pub fn add_stack(&mut self, stack: Stack) {
        self.stacks.insert(stack.name.slug().clone(), Arc::new(stack));
    }

    pub fn change_host(&mut self, name: &str, change: impl FnOnce(&mut Host)) {
        change(Arc::make_mut(self.inventory.hosts.get_mut(name).expect("a host of the world")));
    }

    pub fn change_stack(&mut self, slug: &str, change: impl FnOnce(&mut Stack)) {
        change(Arc::make_mut(self.stacks.get_mut(slug).expect("a stack of the world")));
    }

    pub fn change_service(&mut self, slug: &str, name: &str, change: impl FnOnce(&mut Service)) {
        self.change_stack(slug, |stack| {
            let service = stack.services.iter_mut().find(|s| s.name.as_str() == name);
            change(Arc::make_mut(service.expect("a service of the stack")));
        });
    }

    /// The ledger's record of a host; a reachable one without facts if there was none.
    pub fn record(&mut self, name: &str) -> &mut HostRecord {
        let address = self.inventory.hosts.get(name).map_or(address(250), |host| host.ip_address);
        self.ledger.hosts.entry(host_name(name)).or_insert_with(|| HostRecord {
            address,
            endpoint: None,
            facts: None,
            condition: HostCondition::Reachable,
            taken: BTreeSet::new(),
            volumes: BTreeSet::new(),
        })
    }

    pub fn input(&self) -> Input<'_> {
        Input {
            stacks: &self.stacks,
            inventory: &self.inventory,
            ledger: &self.ledger,
            previous: &self.previous,
            leave_volumes: &self.leave_volumes,
        }
    }

    pub fn place(&self) -> Placement {
        place(&self.input())
    }

    /// Places and makes the result what was before: what is placed is there, and what is held stays where it was.
    pub fn settle(&mut self) -> Placement {
        let placement = self.place();
        self.previous.retain(|id, _| placement.held.contains_key(id));
        self.previous.extend(placement.mapping.clone());
        let records = self.stacks.values().map(|stack| {
            let slug = stack.name.slug().clone();
            (slug, recorded(stack, stack.placement, stack.datacenter.clone()))
        });
        self.ledger.records = records.collect();
        placement
    }
}

pub fn address(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, last))
}

pub fn places() -> Places {
    let whole = Span { path: "stacks/test.yaml".into(), start: 0, end: 0, line: 1, column: 1 };
    Places::new(whole, BTreeMap::new())
}

pub fn host_name(name: &str) -> HostName {
    HostName::new(name).expect("a host's name")
}

pub fn service_name(name: &str) -> ServiceName {
    ServiceName::new(name).expect("a service's name")
}

pub fn volume_name(name: &str) -> VolumeName {
    VolumeName::new(name).expect("a volume's name")
}

pub fn slug(name: &str) -> StackSlug {
    StackName::new(name).expect("a stack's name").slug().clone()
}

/// Reads `stack/service-number`.
pub fn id(text: &str) -> InstanceId {
    let (stack, rest) = text.split_once('/').expect("a slash");
    let (service, number) = rest.rsplit_once('-').expect("a number");
    InstanceId { stack: slug(stack), service: service_name(service), number: number.parse().expect("a number") }
}

/// `host-3` has the address 10.0.0.3, 4 cores and 16 GiB; other names have 10.0.0.200.
pub fn host(name: &str) -> Host {
    let last = name.rsplit_once('-').and_then(|(_, n)| n.parse().ok()).unwrap_or(200);
    Host {
        name: host_name(name),
        id: None,
        ip_address: address(last),
        publish_address: address(last),
        cpu: Some(4000),
        memory: Some(16 << 30),
        datacenter: None,
        status: HostStatus::Active,
        labels: BTreeMap::new(),
        endpoint: Some(Endpoint::Memory(name.to_owned())),
        port_range: (20_000, 29_999),
        reserved_cpu: 0,
        reserved_memory: 0,
        at: places(),
    }
}

pub fn service(name: &str) -> Service {
    Service {
        name: service_name(name),
        position: 1,
        image: ImageRef::new("example/app:1").expect("an image"),
        environment: BTreeMap::new(),
        ports: Vec::new(),
        mounts: Vec::new(),
        health: None,
        command: None,
        entrypoint: None,
        user: None,
        working_dir: None,
        labels: BTreeMap::new(),
        restart: Restart::UnlessStopped,
        requirements: Vec::new(),
        actions: Vec::new(),
        settings: Settings::default(),
        target_host: None,
        reason: None,
        resources: Resources::default(),
        constraints: Constraints::default(),
        replicas: 1,
        stop_grace_period: Duration::from_secs(10),
        pull: PullPolicy::Missing,
        update: Update {
            order: UpdateOrder::Auto,
            min_healthy: None,
            deadline: Duration::from_secs(300),
            on_failure: OnFailure::Rollback,
        },
        on_host_loss: OnHostLoss::Move,
        at: places(),
    }
}

/// A stack whose services have the positions of the list, and whose mounted volumes are declared as local ones.
pub fn stack(name: &str, placement: Strategy, services: impl IntoIterator<Item = Service>) -> Stack {
    let name = StackName::new(name).expect("a stack's name");
    let mut volumes = BTreeMap::new();
    let services = services.into_iter().zip(1..).map(|(mut service, position)| {
        service.position = position;
        for mount in &service.mounts {
            if let MountSource::Volume(volume) = &mount.source {
                let local = StackVolume { driver: "local".to_owned(), creation: Creation::IfMissing };
                volumes.insert(volume.clone(), local);
            }
        }
        Arc::new(service)
    });
    let services = services.collect();
    Stack {
        files: vec!["stacks/test.yaml".into()],
        content: Digest::of(name.as_str().as_bytes()),
        placement,
        datacenter: None,
        target_host: None,
        network: StackNetwork {
            name: NetworkName::new(name.slug().as_str()).expect("a network's name"),
            creation: Creation::IfMissing,
        },
        name,
        volumes,
        start_order: StartOrder::Dependencies,
        suspended: None,
        services,
        at: places(),
    }
}

pub fn port(container: u16, host: HostPort) -> Port {
    Port { container, host, protocol: Protocol::Tcp, host_ip: None }
}

pub fn mount(volume: &str) -> Mount {
    Mount { source: MountSource::Volume(volume_name(volume)), target: format!("/{volume}"), access: Access::ReadWrite }
}

pub fn requirement(name: &str, connection_string: Option<&str>) -> Requirement {
    Requirement {
        service: service_name(name),
        wait_for_healthy: WaitForHealthy::Yes,
        remote_host: None,
        connection_string: connection_string.map(|text| Secret::new(text.to_owned())),
    }
}

/// An instance that was on a host, without ports.
pub fn was_on(host: &str) -> Placed {
    Placed { host: host_name(host), ports: Vec::new(), why: "it was there".to_owned() }
}

/// A record of a stack that ran under a strategy.
pub fn recorded(stack: &Stack, placement: Strategy, datacenter: Option<String>) -> Record {
    Record {
        name: stack.name.clone(),
        status: StackStatus::Running,
        running: Some(Deployment {
            revision: Revision::new(&"a".repeat(40)).expect("a revision"),
            content: stack.content.clone(),
            files: Vec::new(),
            placement,
            datacenter,
            instances: BTreeMap::new(),
        }),
        next: None,
        bad: BTreeMap::new(),
        accepted: BTreeSet::new(),
        superseded: BTreeMap::new(),
        actions: BTreeSet::new(),
        conditions: Vec::new(),
    }
}

/// Small worlds: up to 6 hosts and 4 stacks of up to 4 services, with records, volumes and places from before.
pub fn worlds() -> BoxedStrategy<World> {
    let hosts = proptest::collection::vec(hosts_and_records(), 0..=6);
    let stacks = proptest::collection::vec(stacks_and_places(), 0..=4);
    (hosts, stacks, any::<u16>())
        .prop_map(|(hosts, stacks, leave)| {
            let mut world = World::default();
            for (n, (mut host, record)) in hosts.into_iter().enumerate() {
                host.name = host_name(&format!("host-{n}"));
                let last = u8::try_from(n + 1).expect("few hosts");
                host.ip_address = address(last);
                if host.publish_address == address(0) {
                    host.publish_address = host.ip_address;
                }
                if host.endpoint == Some(Endpoint::Memory("own".to_owned())) {
                    host.endpoint = Some(Endpoint::Memory(format!("engine-{n}")));
                }
                if let Some(record) = record {
                    world.ledger.hosts.insert(host.name.clone(), record);
                }
                world.add_host(host);
            }
            for (n, (services, placement, datacenter, was)) in stacks.into_iter().enumerate() {
                let (services, before): (Vec<Service>, Vec<_>) = services.into_iter().unzip();
                let mut new = stack(&format!("stack-{n}"), placement, []);
                new.datacenter = datacenter.clone();
                let mut all = Vec::new();
                for (k, (mut service, before)) in services.into_iter().zip(before).enumerate() {
                    service.name = service_name(&format!("s{k}"));
                    service.requirements.retain(|r| r.service != service.name);
                    for (number, place) in (1..).zip(before) {
                        if let Some(place) = place {
                            let text = format!("stack-{n}/s{k}-{number}");
                            world.previous.insert(id(&text), place);
                        }
                    }
                    all.push(service);
                }
                let placed = stack(new.name.as_str(), placement, all);
                new.services = placed.services;
                new.volumes = placed.volumes;
                if let Some(was) = was {
                    let record = recorded(&new, was, datacenter);
                    world.ledger.records.insert(new.name.slug().clone(), record);
                }
                if leave % 5 == 0 {
                    world.leave_volumes.insert((new.name.slug().clone(), volume_name("v0")));
                }
                world.add_stack(new);
            }
            world
        })
        .boxed()
}

fn rarely<T: Clone + std::fmt::Debug + 'static>(often: T, rarely: &[T]) -> BoxedStrategy<T> {
    let others = rarely.to_vec();
    prop_oneof![4 => Just(often), 1 => proptest::sample::select(others)].boxed()
}

fn datacenters() -> BoxedStrategy<Option<String>> {
    proptest::sample::select(vec![None, Some("east".to_owned()), Some("west".to_owned())]).boxed()
}

fn hosts_and_records() -> BoxedStrategy<(Host, Option<HostRecord>)> {
    let amounts = proptest::sample::select(vec![None, Some(0), Some(1000), Some(4000), Some(u64::MAX)]);
    let shape = (
        (amounts.clone(), amounts, datacenters()),
        rarely(HostStatus::Active, &[HostStatus::Maintenance, HostStatus::Draining, HostStatus::Offline]),
        rarely("a", &["b"]),
        rarely(Some(Endpoint::Memory("own".to_owned())), &[Some(Endpoint::Memory("shared".to_owned())), None]),
        rarely((20_000, 29_999), &[(20_000, 20_001), (5, 4), (0, 2), (65_534, 65_535)]),
        rarely((0, 0), &[(500, 500)]),
        rarely(address(0), &[IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V4(Ipv4Addr::LOCALHOST)]),
    );
    let taken = (rarely(None, &[Some(address(1))]), proptest::sample::select(vec![80, 5432, 20_000]));
    let record = (
        rarely(HostCondition::Reachable, &[HostCondition::Unreachable, HostCondition::Lost]),
        proptest::option::of((proptest::sample::select(vec![0, 2000, 8000]), 0u8..=10)),
        proptest::collection::vec(taken, 0..2),
        proptest::collection::btree_set(proptest::sample::select(vec!["v0", "v1", "v2"]), 0..2),
    );
    (shape, proptest::option::weighted(0.8, record))
        .prop_map(|(shape, record)| {
            let ((cpu, memory, datacenter), status, zone, endpoint, port_range, reserved, publish_address) = shape;
            let host = Host {
                cpu,
                memory,
                datacenter,
                status,
                labels: [("zone".to_owned(), zone.to_owned())].into(),
                endpoint,
                port_range,
                reserved_cpu: reserved.0,
                reserved_memory: reserved.1,
                publish_address,
                ..host("host-0")
            };
            let record = record.map(|(condition, facts, taken, volumes)| HostRecord {
                address: host.ip_address,
                endpoint: host.endpoint.clone(),
                facts: facts.map(|(amount, tenths)| Facts {
                    cpu: amount,
                    memory: amount,
                    cpu_used: tenths * 10,
                    memory_used: tenths * 10,
                }),
                condition,
                taken: taken.into_iter().map(|(ip, port)| TakenPort { ip, port, protocol: Protocol::Tcp }).collect(),
                volumes: volumes.into_iter().map(volume_name).collect(),
            });
            (host, record)
        })
        .boxed()
}

type ServiceBefore = (Service, Vec<Option<Placed>>);
type StackBefore = (Vec<ServiceBefore>, Strategy, Option<String>, Option<Strategy>);

fn stacks_and_places() -> BoxedStrategy<StackBefore> {
    let strategy = proptest::sample::select(Strategy::ALL.to_vec());
    (
        proptest::collection::vec(services_and_places(), 1..=4),
        strategy.clone(),
        rarely(None, &[Some("east".to_owned())]),
        proptest::option::weighted(0.3, strategy),
    )
        .boxed()
}

fn services_and_places() -> BoxedStrategy<ServiceBefore> {
    let asks = proptest::sample::select(vec![None, Some(0), Some(300), Some(1500), Some(u64::MAX / 2)]);
    let names = |n: usize| proptest::collection::btree_set((0..4usize).prop_map(|k| format!("s{k}")), 0..n);
    let ports = (
        proptest::sample::select(vec![80u16, 5432, 20_000]),
        proptest::sample::select(vec![
            HostPort::Unpublished,
            HostPort::Chosen,
            HostPort::Explicit(80),
            HostPort::Explicit(20_000),
            HostPort::Explicit(5432),
        ]),
        rarely(None, &[Some(IpAddr::V4(Ipv4Addr::LOCALHOST)), Some(address(1))]),
    );
    let place = (0usize..8, proptest::option::of((20_000u16..20_004, any::<bool>())));
    let shape = (
        asks.clone(),
        asks,
        rarely(None, &[Some("host-0"), Some("host-1"), Some("host-9")]),
        rarely(1u32, &[2, 3]),
        rarely(OnHostLoss::Move, &[OnHostLoss::Wait]),
        rarely(NetworkMode::Stack, &[NetworkMode::Host, NetworkMode::None]),
        (rarely(None, &[Some("a")]), rarely(None, &[Some("west".to_owned())])),
        rarely(None, &[Some(2000u64)]),
    );
    (
        shape,
        proptest::collection::vec(ports, 0..3),
        proptest::collection::vec(proptest::sample::select(vec!["v0", "v1", "v2"]), 0..2),
        (names(2), names(3), rarely(None, &[Some("host-2")])),
        proptest::collection::vec(proptest::option::of(place), 3),
    )
        .prop_map(|(shape, ports, volumes, (enemies, needs, not_on), places)| {
            let (cpu, memory, target, replicas, on_host_loss, network_mode, (zone, datacenter), min) = shape;
            let mut new = service("s");
            new.resources = Resources { cpu, memory, ..Resources::default() };
            new.target_host = target.map(host_name);
            new.replicas = replicas;
            new.on_host_loss = on_host_loss;
            new.settings.network_mode = network_mode;
            new.constraints = Constraints {
                datacenter,
                labels: zone.iter().map(|z| ("zone".to_owned(), (*z).to_owned())).collect(),
                min_cpu: min,
                min_memory: None,
                not_with: enemies.iter().map(|name| service_name(name)).collect(),
                not_on: not_on.iter().map(|name| host_name(name)).collect(),
            };
            new.ports = ports
                .into_iter()
                .map(|(container, host, host_ip)| Port { container, host, protocol: Protocol::Tcp, host_ip })
                .collect();
            new.mounts = volumes.into_iter().map(mount).collect();
            new.requirements = needs.iter().map(|name| requirement(name, Some("redis://x:6379"))).collect();
            let before = places.into_iter().map(|place| {
                place.map(|(host, port)| Placed {
                    ports: port
                        .into_iter()
                        .map(|(number, others)| PublishedPort {
                            container: if others { 6379 } else { 80 },
                            protocol: Protocol::Tcp,
                            host_ip: address(1),
                            host_port: number,
                            origin: if others { PortOrigin::ForOthers } else { PortOrigin::Chosen },
                        })
                        .collect(),
                    ..was_on(&format!("host-{host}"))
                })
            });
            (new, before.collect())
        })
        .boxed()
}
