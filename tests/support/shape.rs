//! A repository in few numbers: what generated commits ask for.
//!
//! Gives shapes that shrink well, and of each the model values that parsing and validating would give. Every secret
//! holds the word [`SECRET`], so that a leak is found by searching for one word.
//!
//! Never gives what validation refuses: a stack that names a host which is not there is *wrong*, as it would be.
#![allow(dead_code, reason = "each test binary compiles this file and uses a part of it")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bayplan::engine::memory::registry::MemoryRegistry;
use bayplan::engine::memory::script::ImageScript;
use bayplan::model::desired::Desired;
use bayplan::model::host::{Endpoint, Host, HostStatus};
use bayplan::model::stack::{
    HealthCheck, HealthTest, HostPort, OnHostLoss, PotentialAction, Restart, Stack, StartOrder, Strategy, UpdateOrder,
    WaitForHealthy,
};
use bayplan::name::Digest;
use bayplan::name::image::ImageRef;
use bayplan::secret::Secret;
use proptest::prelude::{BoxedStrategy, Just, Strategy as _, prop_oneof};

use crate::worlds;

/// Part of every secret value, and of nothing else.
pub const SECRET: &str = "hush-hush";

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Repo {
    pub stacks: BTreeMap<u8, StackShape>,
    pub hosts: BTreeMap<u8, HostShape>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct HostShape {
    /// Hosts with one number share an engine.
    pub engine: u8,
    pub status: HostStatus,
}

#[derive(Debug, Clone, PartialEq)]
pub struct StackShape {
    pub placement: Strategy,
    pub order: StartOrder,
    pub services: BTreeMap<u8, ServiceShape>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ServiceShape {
    pub image: Image,
    pub secret: u8,
    pub port: PortShape,
    pub volume: bool,
    pub replicas: u32,
    /// Services of smaller numbers, and whether they are waited for.
    pub needs: BTreeMap<u8, WaitForHealthy>,
    pub target: Option<u8>,
    pub update: UpdateOrder,
    pub health: HealthShape,
    pub action: bool,
    /// Must not be beside another instance of itself.
    pub apart: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Image {
    Good(u8),
    HealthyLater,
    NeverHealthy,
    Exits,
    Completes,
    /// In no registry.
    Missing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortShape {
    None,
    Inside,
    Chosen,
    Explicit(u16),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HealthShape {
    None,
    Command,
    Http,
}

pub fn host_named(number: u8) -> String {
    format!("host-{number}")
}

pub fn service_named(number: u8) -> String {
    format!("s{number}")
}

pub fn stack_named(number: u8) -> String {
    format!("stack-{number}")
}

pub fn engine_name(number: u8) -> String {
    format!("engine-{number}")
}

pub fn engine_named(number: u8) -> Endpoint {
    Endpoint::Memory(engine_name(number))
}

pub fn secret(number: u8) -> String {
    format!("{SECRET}-{number}")
}

/// The text of an image. An image prints the secret that its service is given, as applications do.
pub fn image_text(image: Image, number: u8) -> String {
    match image {
        Image::Good(version) => format!("example/good:{version}"),
        Image::HealthyLater => "example/later:1".to_owned(),
        Image::NeverHealthy => format!("example/never-{number}:1"),
        Image::Exits => format!("example/exits-{number}:1"),
        Image::Completes => "example/completes:1".to_owned(),
        Image::Missing => "example/missing:1".to_owned(),
    }
}

/// A registry with all images of the shapes.
pub fn registry() -> MemoryRegistry {
    let registry = MemoryRegistry::default();
    for version in 0..4 {
        // Some take their time to end, and go on doing so when who asked them was killed.
        let stops_in = Duration::from_secs(2) * u32::from(version % 2);
        registry.push(&image_text(Image::Good(version), 0), ImageScript::runs().stops_in(stops_in));
    }
    let later = ImageScript::runs().healthy_after(Duration::from_secs(3)).stops_in(Duration::from_millis(700));
    registry.push(&image_text(Image::HealthyLater, 0), later);
    registry.push(&image_text(Image::Completes, 0), ImageScript::runs().exits(Duration::from_millis(20), 0));
    for number in 0..4 {
        let says = |script: ImageScript| script.prints(&format!("my token is {}", secret(number)));
        registry.push(&image_text(Image::NeverHealthy, number), says(ImageScript::runs().never_healthy()));
        registry.push(&image_text(Image::Exits, number), says(ImageScript::runs().exits(Duration::ZERO, 1)));
    }
    registry
}

impl Repo {
    /// What parsing and validating would give.
    pub fn desired(&self) -> Desired {
        let mut desired = Desired::default();
        for (number, shape) in &self.hosts {
            let host = Host {
                endpoint: Some(engine_named(shape.engine)),
                status: shape.status,
                ..worlds::host(&host_named(*number))
            };
            desired.inventory.hosts.insert(host.name.clone(), Arc::new(host));
        }
        for (number, shape) in &self.stacks {
            let stack = shape.stack(*number);
            let slug = stack.name.slug().clone();
            let names = stack.services.iter().filter_map(|s| s.target_host.as_ref()).chain(&stack.target_host);
            let all_known = names.into_iter().all(|host| desired.inventory.hosts.contains_key(host));
            if all_known && !stack.services.is_empty() {
                desired.stacks.insert(slug, Arc::new(stack));
            } else {
                desired.wrong.insert(slug);
            }
        }
        desired
    }
}

impl StackShape {
    pub fn stack(&self, number: u8) -> Stack {
        let services = self.services.iter().map(|(name, shape)| {
            let mut service = worlds::service(&service_named(*name));
            let single = self.placement == Strategy::Single;
            let target = if self.placement == Strategy::Manual { shape.target.or(Some(0)) } else { shape.target };
            service.target_host = target.filter(|_| !single).map(|host| worlds::host_name(&host_named(host)));
            let text = image_text(shape.image, shape.secret);
            service.image = ImageRef::new(&text).expect("an image");
            service.restart = if shape.image == Image::Completes { Restart::No } else { Restart::UnlessStopped };
            service.environment.insert("TOKEN".to_owned(), Secret::new(secret(shape.secret)));
            let port = match shape.port {
                PortShape::None => None,
                PortShape::Inside => Some(HostPort::Unpublished),
                PortShape::Chosen => Some(HostPort::Chosen),
                PortShape::Explicit(port) => Some(HostPort::Explicit(port)),
            };
            service.ports = port.into_iter().map(|host| worlds::port(8000 + u16::from(*name), host)).collect();
            if shape.volume {
                service.mounts.push(worlds::mount(&format!("{}-{}", stack_named(number), service.name)));
            }
            service.replicas = shape.replicas;
            let of_stack = |(other, _): &(&u8, &WaitForHealthy)| self.services.contains_key(*other) && *other < name;
            let needs = shape.needs.iter().filter(of_stack).map(|(other, wait)| {
                let url = format!("http://user:{}@host-0:{}", secret(shape.secret), 8000 + u16::from(*other));
                let mut requirement = worlds::requirement(&service_named(*other), Some(&url));
                requirement.wait_for_healthy = *wait;
                requirement
            });
            service.requirements = needs.collect();
            service.update.order = shape.update;
            service.update.deadline = Duration::from_secs(30);
            service.health = health(shape);
            if shape.action {
                service.actions.push(PotentialAction {
                    name: "prepare".to_owned(),
                    target: None,
                    command: vec!["prepare".to_owned()],
                    timeout: Duration::from_secs(5),
                    working_dir: None,
                });
            }
            if shape.apart {
                service.constraints.not_with.insert(service.name.clone());
            }
            let waits = !service.mounts.is_empty() || service.target_host.is_some();
            service.on_host_loss = if waits { OnHostLoss::Wait } else { OnHostLoss::Move };
            service
        });
        let mut stack = worlds::stack(&stack_named(number), self.placement, services.collect::<Vec<_>>());
        stack.files = vec![format!("stacks/{number}.yaml").into()];
        stack.start_order = self.order;
        stack.content = Digest::of(format!("{self:?}").as_bytes());
        stack
    }
}

fn health(shape: &ServiceShape) -> Option<HealthCheck> {
    let test = match shape.health {
        HealthShape::None => return None,
        HealthShape::Command => HealthTest::Command(vec!["check".to_owned()]),
        HealthShape::Http => HealthTest::Http { port: 8000, path: "/".to_owned() },
    };
    Some(HealthCheck {
        test,
        interval: Duration::from_secs(2),
        timeout: Duration::from_secs(1),
        retries: 3,
        start_period: Duration::from_secs(2),
    })
}

fn mostly<T: Clone + std::fmt::Debug + 'static>(often: T, others: &[T]) -> BoxedStrategy<T> {
    prop_oneof![3 => Just(often), 1 => proptest::sample::select(others.to_vec())].boxed()
}

pub fn images() -> BoxedStrategy<Image> {
    prop_oneof![
        8 => good_images(),
        1 => Just(Image::Completes),
        1 => bad_images(),
    ]
    .boxed()
}

/// Of which nothing bad can be said.
pub fn good_images() -> BoxedStrategy<Image> {
    prop_oneof![3 => (0u8..4).prop_map(Image::Good), 1 => Just(Image::HealthyLater)].boxed()
}

fn bad_images() -> BoxedStrategy<Image> {
    proptest::sample::select(vec![Image::NeverHealthy, Image::Exits, Image::Missing]).boxed()
}

/// Services whose images work, or may fail.
pub fn services(images: BoxedStrategy<Image>) -> BoxedStrategy<ServiceShape> {
    let ports = vec![PortShape::Inside, PortShape::Chosen, PortShape::Explicit(80), PortShape::Explicit(81)];
    let needs = proptest::collection::btree_map(0u8..3, mostly(WaitForHealthy::Yes, &[WaitForHealthy::No]), 0..=2);
    (
        (images, 0u8..4, mostly(PortShape::None, &ports), mostly(false, &[true])),
        (mostly(1u32, &[2, 3]), needs, mostly(None, &[Some(0u8), Some(1), Some(2)])),
        mostly(UpdateOrder::Auto, &[UpdateOrder::StartFirst, UpdateOrder::StopFirst]),
        mostly(HealthShape::None, &[HealthShape::Command, HealthShape::Http]),
        (mostly(false, &[true]), mostly(false, &[true])),
    )
        .prop_map(|((image, secret, port, volume), (replicas, needs, target), update, health, (action, apart))| {
            // What never answers is only found out by asking.
            let health = match image {
                Image::NeverHealthy | Image::HealthyLater if health == HealthShape::None => HealthShape::Command,
                Image::Completes => HealthShape::None,
                Image::Good(_) | Image::Exits | Image::Missing | Image::NeverHealthy | Image::HealthyLater => health,
            };
            let action = action && image != Image::Completes;
            ServiceShape { image, secret, port, volume, replicas, needs, target, update, health, action, apart }
        })
        .boxed()
}

pub fn strategies() -> BoxedStrategy<Strategy> {
    proptest::sample::select(Strategy::ALL.to_vec()).boxed()
}

pub fn stacks(images: BoxedStrategy<Image>) -> BoxedStrategy<StackShape> {
    let services = proptest::collection::btree_map(0u8..4, services(images), 1..=3);
    (strategies(), mostly(StartOrder::Dependencies, &[StartOrder::Position]), services)
        .prop_map(|(placement, order, services)| StackShape { placement, order, services })
        .boxed()
}

pub fn hosts() -> BoxedStrategy<HostShape> {
    (0u8..3, mostly(HostStatus::Active, &[HostStatus::Maintenance, HostStatus::Draining]))
        .prop_map(|(engine, status)| HostShape { engine, status })
        .boxed()
}

/// Two or three hosts, of which some may share an engine, and up to two stacks.
pub fn repos(images: BoxedStrategy<Image>) -> BoxedStrategy<Repo> {
    let shared = proptest::collection::vec(mostly(None, &[Some(0u8)]), 2..=3);
    let stacks = proptest::collection::btree_map(0u8..3, stacks(images), 1..=2);
    (shared, stacks)
        .prop_map(|(shared, stacks)| {
            let hosts = (0u8..).zip(shared).map(|(number, engine)| {
                (number, HostShape { engine: engine.unwrap_or(number), status: HostStatus::Active })
            });
            Repo { stacks, hosts: hosts.collect() }
        })
        .boxed()
}

/// What one commit changes.
#[derive(Debug, Clone, PartialEq)]
pub enum Edit {
    Stack(u8, StackShape),
    RemoveStack(u8),
    Service(u8, u8, ServiceShape),
    RemoveService(u8, u8),
    Image(u8, u8, Image),
    Secret(u8, u8, u8),
    Replicas(u8, u8, u32),
    Target(u8, u8, Option<u8>),
    Placement(u8, Strategy),
    Host(u8, HostShape),
    RemoveHost(u8),
}

impl Repo {
    /// The same edit of something that is there, if there is anything.
    pub fn aimed(&self, edit: &Edit) -> Edit {
        let nth = |number: u8, keys: Vec<u8>| keys.get(usize::from(number) % keys.len().max(1)).copied();
        let stack = |number: u8| nth(number, self.stacks.keys().copied().collect()).unwrap_or(number);
        let service = |of: u8, number: u8| {
            let services = self.stacks.get(&of).map(|shape| shape.services.keys().copied().collect());
            nth(number, services.unwrap_or_default()).unwrap_or(number)
        };
        let both = |s: u8, n: u8| (stack(s), service(stack(s), n));
        match edit.clone() {
            Edit::Stack(..) | Edit::Host(..) | Edit::RemoveHost(_) => edit.clone(),
            Edit::RemoveStack(number) => Edit::RemoveStack(stack(number)),
            Edit::Service(number, name, shape) => Edit::Service(stack(number), name, shape),
            Edit::RemoveService(s, n) => Edit::RemoveService(both(s, n).0, both(s, n).1),
            Edit::Image(s, n, image) => Edit::Image(both(s, n).0, both(s, n).1, image),
            Edit::Secret(s, n, secret) => Edit::Secret(both(s, n).0, both(s, n).1, secret),
            Edit::Replicas(s, n, replicas) => Edit::Replicas(both(s, n).0, both(s, n).1, replicas),
            Edit::Target(s, n, target) => Edit::Target(both(s, n).0, both(s, n).1, target),
            Edit::Placement(number, placement) => Edit::Placement(stack(number), placement),
        }
    }

    /// The repository after the commit. What is not there is not changed.
    pub fn edited(&self, edit: &Edit) -> Self {
        let mut repo = self.clone();
        let mut of = |stack: &u8, service: &u8, change: &dyn Fn(&mut ServiceShape)| {
            if let Some(shape) = repo.stacks.get_mut(stack).and_then(|s| s.services.get_mut(service)) {
                change(shape);
            }
        };
        match edit {
            Edit::Stack(number, shape) => drop(repo.stacks.insert(*number, shape.clone())),
            Edit::RemoveStack(number) => drop(repo.stacks.remove(number)),
            Edit::Service(stack, number, shape) => {
                if let Some(stack) = repo.stacks.get_mut(stack) {
                    stack.services.insert(*number, shape.clone());
                }
            }
            Edit::RemoveService(stack, number) => {
                if let Some(stack) = repo.stacks.get_mut(stack).filter(|stack| stack.services.len() > 1) {
                    stack.services.remove(number);
                }
            }
            Edit::Image(stack, service, image) => of(stack, service, &|shape| {
                let checked = shape.health != HealthShape::None;
                shape.image = match image {
                    Image::HealthyLater | Image::NeverHealthy if !checked => Image::Good(3),
                    Image::Completes => Image::Good(2),
                    Image::Good(_) | Image::HealthyLater | Image::NeverHealthy | Image::Exits | Image::Missing => {
                        *image
                    }
                };
            }),
            Edit::Secret(stack, service, secret) => of(stack, service, &|shape| shape.secret = *secret),
            Edit::Replicas(stack, service, replicas) => of(stack, service, &|shape| shape.replicas = *replicas),
            Edit::Target(stack, service, target) => of(stack, service, &|shape| shape.target = *target),
            Edit::Placement(stack, placement) => {
                if let Some(stack) = repo.stacks.get_mut(stack) {
                    stack.placement = *placement;
                }
            }
            Edit::Host(number, shape) => drop(repo.hosts.insert(*number, shape.clone())),
            Edit::RemoveHost(number) => drop(repo.hosts.remove(number)),
        }
        repo
    }
}

pub fn edits() -> BoxedStrategy<Edit> {
    let at = || (0u8..3, 0u8..4);
    prop_oneof![
        2 => (0u8..3, stacks(images())).prop_map(|(n, shape)| Edit::Stack(n, shape)),
        1 => (0u8..3).prop_map(Edit::RemoveStack),
        3 => (at(), services(images())).prop_map(|((s, n), shape)| Edit::Service(s, n, shape)),
        1 => at().prop_map(|(s, n)| Edit::RemoveService(s, n)),
        4 => (at(), images()).prop_map(|((s, n), image)| Edit::Image(s, n, image)),
        1 => (at(), bad_images()).prop_map(|((s, n), image)| Edit::Image(s, n, image)),
        2 => (at(), 0u8..4).prop_map(|((s, n), secret)| Edit::Secret(s, n, secret)),
        2 => (at(), 1u32..=3).prop_map(|((s, n), replicas)| Edit::Replicas(s, n, replicas)),
        2 => (at(), proptest::option::of(0u8..3)).prop_map(|((s, n), target)| Edit::Target(s, n, target)),
        1 => (0u8..3, strategies()).prop_map(|(n, placement)| Edit::Placement(n, placement)),
        2 => (0u8..4, hosts()).prop_map(|(n, shape)| Edit::Host(n, shape)),
        1 => (0u8..3).prop_map(Edit::RemoveHost),
    ]
    .boxed()
}
