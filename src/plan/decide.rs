//! Decides, instance by instance, what happens to a stack that shall run.
//!
//! Gives for each instance the container that is right, the older ones beside it and the bucket; `order` then makes
//! steps of it.
//!
//! Never lets half a stack through: where a step is needed on a host that was not seen, the whole stack waits.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::host::{Endpoint, HostStatus};
use crate::model::mapping::{Mapping, Placed};
use crate::model::record::{InstanceHealth, Record};
use crate::model::request::{ContainerRequest, NetworkAttachment, ResolvedImage};
use crate::model::stack::{NetworkMode, Requirement, Service, Stack, WaitForHealthy};
use crate::model::world::{ContainerSeen, EngineView, Health, ImageView, Presence, State};
use crate::name::{Digest, InstanceId, Revision, ServiceName, StackSlug};
use crate::plan::brake::Braked;
use crate::plan::change::Bucket;
use crate::plan::health::{Before, HealthGate, gate};
use crate::plan::hold::Hold;
use crate::plan::index::{Found, Index};
use crate::plan::request::{Build, build, refusal};
use crate::plan::room::{holds_port, port_is_free, update_order, volume_from, volume_is_free};
use crate::plan::unseen::{self, Unseen};
use crate::plan::want::{Want, Why};
use crate::plan::{Input, Planned, StackPlan, cause, furnish, lost, order, removal, superseded};

/// One instance, decided.
#[derive(Debug)]
pub struct Decided<'a> {
    pub id: InstanceId,
    pub service: &'a Service,
    pub placed: &'a Placed,
    pub endpoint: &'a Endpoint,
    /// Under the name that it will be created with.
    pub request: ContainerRequest,
    pub digest: Digest,
    /// The container that is already what is wanted.
    pub current: Option<&'a Found<'a>>,
    /// Ours, of the same instance, and not what is wanted.
    pub olds: Vec<&'a Found<'a>>,
    pub bucket: Bucket,
    pub gate: HealthGate,
    /// It has to prove its health before anything is built on it.
    pub unproven: bool,
    pub order: Order,
    /// Why two must not run at once.
    pub one_at_a_time: Option<String>,
    /// What it takes over from an instance that goes, which is stopped before.
    pub takes_over: Option<String>,
    pub pull: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    StartFirst,
    StopFirst,
}

impl Decided<'_> {
    /// Whether a container of it is started.
    pub fn is_started(&self) -> bool {
        self.unproven
            && self.current.is_none_or(|current| {
                current.container.state != State::Running && current.container.state != State::Restarting
            })
    }

    /// What a container that is not wanted has to let go of before this one is started.
    pub fn needs_of(&self, input: &Input<'_>, found: &Found<'_>) -> Option<String> {
        let is_here = found.endpoint == self.endpoint;
        let port = self.request.ports.iter().find(|port| is_here && holds_port(found, port));
        let volume = || volume_from(input, self.service, self.endpoint, found);
        let port = port.map(|port| format!("host port {}", port.host_port));
        port.or_else(|| volume().map(|volume| format!("volume {volume}")))
    }

    /// What steps call its container.
    pub fn container(&self) -> String {
        self.current.map_or_else(|| self.request.name.to_string(), |found| found.container.id.clone())
    }
}

/// What is the same for all instances of a stack.
pub struct Scene<'a> {
    pub input: &'a Input<'a>,
    pub index: &'a Index<'a>,
    pub stack: &'a Stack,
    pub revision: &'a Revision,
    pub why: &'a Why,
    pub mapping: &'a Mapping,
    pub record: Option<&'a Record>,
    pub braked: Option<&'a Braked>,
}

pub fn stack(
    input: &Input<'_>,
    index: &Index<'_>,
    slug: &StackSlug,
    want: &Want,
    braked: Option<&Braked>,
) -> StackPlan {
    let Want::Stack { stack, revision, why } = want else {
        return StackPlan::default();
    };
    let mapping: Mapping = of_stack(&input.placement.mapping, slug);
    let scene =
        Scene { input, index, stack, revision, why, mapping: &mapping, record: input.ledger.records.get(slug), braked };
    let mut plan = StackPlan { holds: want.holds(slug), ..StackPlan::default() };
    let mut decided = Vec::new();
    let mut held = BTreeSet::new();
    // What is brought up waits for these; what runs beside them goes on.
    let mut awaited = BTreeSet::new();
    for service in services_in_order(stack) {
        let requires = service.requirements.iter().find(|r| held.contains(&r.service));
        let waits = |r: &&Requirement| r.wait_for_healthy == WaitForHealthy::Yes && awaited.contains(&r.service);
        let waits = service.requirements.iter().find(waits).map(|r| r.service.clone());
        for number in 1..=service.replicas {
            let id = InstanceId { stack: slug.clone(), service: service.name.clone(), number };
            let outcome = match requires {
                Some(r) => Err(Some(Hold::Requires { instance: id.clone(), service: r.service.clone() })),
                None => instance(&scene, service, &id, &mut plan),
            };
            match outcome {
                Ok(Some(one)) => match backs_off(&scene, &one) {
                    Some(hold) => {
                        plan.holds.push(hold);
                        awaited.insert(service.name.clone());
                    }
                    None => match waits.as_ref().filter(|_| one.bucket.brings_up()) {
                        Some(waits) => {
                            plan.holds.push(Hold::Requires { instance: id, service: waits.clone() });
                            awaited.insert(service.name.clone());
                        }
                        None => decided.push(one),
                    },
                },
                Ok(None) => {}
                Err(hold) => {
                    plan.holds.extend(hold);
                    held.insert(service.name.clone());
                }
            }
        }
    }
    plan.holds.extend(missing_by_others(&scene, &decided));
    plan.holds.extend(unseen::requirements(&scene, &decided));
    let leftovers = removal::leftovers(input, index, slug, stack, braked, &mut plan);
    for one in decided.iter_mut().filter(|one| one.is_started()) {
        let mut gone = leftovers.iter().flat_map(|leftover| &leftover.found);
        one.takes_over =
            gone.find_map(|found| Some(format!("{} of {}", one.needs_of(input, found)?, found.ours.instance)));
    }
    let whole = plan.holds.iter().any(Hold::holds_whole);
    for one in &decided {
        plan.changes.push(cause::change(&scene, one));
    }
    plan.changes.extend(leftovers.iter().map(|l| l.change.clone()));
    plan.changes.sort_by(|a, b| a.instance.cmp(&b.instance));
    if whole {
        plan.changes.retain(|change| change.bucket == Bucket::Keep);
    } else {
        plan.steps = order::steps(input, stack, &decided, &leftovers);
        superseded::remove(input, scene.record, &mut plan);
    }
    plan
}

/// An instance that is as it was left, but for having ended once more.
fn backs_off(scene: &Scene<'_>, one: &Decided<'_>) -> Option<Hold> {
    scene.input.world.unsteady.get(&one.id)?;
    let recorded = scene.record.and_then(|r| r.running.as_ref()).and_then(|running| running.instances.get(&one.id));
    let is_as_recorded = recorded.is_some_and(|r| r.digest == one.digest && r.host == one.placed.host);
    let is_down = matches!(one.bucket, Bucket::Start | Bucket::Create) && one.olds.is_empty();
    (is_as_recorded && is_down).then(|| Hold::BacksOff { instance: one.id.clone(), host: one.placed.host.clone() })
}

fn of_stack(mapping: &Mapping, slug: &StackSlug) -> Mapping {
    // No name sorts before `0`, so the stack's instances begin here; a thousand stacks make a scan for each too dear.
    let first = InstanceId { stack: slug.clone(), service: ServiceName::new("0").expect("a name"), number: 0 };
    let of_stack = mapping.range(first..).take_while(|(id, _)| &id.stack == slug);
    of_stack.map(|(id, placed)| (id.clone(), placed.clone())).collect()
}

/// Required services before those that require them; within that, by position.
pub fn services_in_order(stack: &Stack) -> Vec<&Service> {
    let mut left: Vec<&Service> = stack.services.iter().map(AsRef::as_ref).collect();
    let mut done: BTreeSet<&str> = BTreeSet::new();
    let mut ordered = Vec::new();
    while !left.is_empty() {
        let is_ready = |service: &&Service| {
            service
                .requirements
                .iter()
                .all(|r| done.contains(r.service.as_str()) || stack.service(r.service.as_str()).is_none())
                && acts_in(stack, service).all(|target| done.contains(target.as_str()))
        };
        // Validation refuses cycles; should one come through, position breaks it rather than a panic.
        let next = left.iter().position(is_ready).unwrap_or(0);
        let service = left.remove(next);
        done.insert(service.name.as_str());
        ordered.push(service);
    }
    ordered
}

/// Other services in which the actions of one are run, and which can be there before: those that require it cannot.
fn acts_in<'s>(stack: &'s Stack, service: &'s Service) -> impl Iterator<Item = &'s ServiceName> {
    let others = service.actions.iter().filter_map(|action| action.target.as_ref());
    let others = others.filter(|target| *target != &service.name && stack.service(target.as_str()).is_some());
    others.filter(|target| !requires(stack, target, &service.name))
}

/// Whether a service requires another, itself or by what it requires; actions count as requirements here.
fn requires(stack: &Stack, from: &ServiceName, to: &ServiceName) -> bool {
    let mut open = vec![from];
    let mut seen = BTreeSet::new();
    while let Some(name) = open.pop() {
        let Some(service) = stack.service(name.as_str()).filter(|_| seen.insert(name)) else { continue };
        let needs = service.requirements.iter().map(|r| &r.service);
        for needed in needs.chain(service.actions.iter().filter_map(|action| action.target.as_ref())) {
            if needed == to {
                return true;
            }
            open.push(needed);
        }
    }
    false
}

/// `Ok(None)`: nothing to do and nothing to see. `Err`: the instance is held, with the hold unless it was said before.
fn instance<'a>(
    scene: &Scene<'a>,
    service: &'a Service,
    id: &InstanceId,
    plan: &mut StackPlan,
) -> Result<Option<Decided<'a>>, Option<Hold>> {
    let input = scene.input;
    let Some(placed) = scene.mapping.get(id) else {
        let unplaced = input.placement.held.get(id).cloned();
        return Err(unplaced.map(|unplaced| Hold::Unplaced { instance: id.clone(), unplaced }));
    };
    if let Some(hold) = remote_host_disagrees(scene, service, id) {
        return Err(Some(hold));
    }
    let host = input
        .inventory
        .hosts
        .get(&placed.host)
        .ok_or_else(|| Some(Hold::HostLeft { host: placed.host.clone(), instance: id.clone() }))?;
    if host.status == HostStatus::Draining {
        let (instance, host, why) = (id.clone(), placed.host.clone(), placed.why.clone());
        plan.holds.push(Hold::StaysOnDraining { instance, host, why });
    }
    let (resolved, presence, image_check) = resolved_image(scene, service, id, placed)?;
    let from = Build {
        stack: scene.stack,
        mapping: scene.mapping,
        inventory: input.inventory,
        owner: input.owner,
        revision: scene.revision,
    };
    let (mut request, digest) =
        build(&from, service, id, &resolved).expect("the instance was just found in the mapping");
    if let Some(what) = refusal(&request, input.policy) {
        return Err(Some(Hold::NotAllowed { instance: id.clone(), what }));
    }
    plan.instances.insert(
        id.clone(),
        Planned {
            placed: placed.clone(),
            image: service.image.to_string(),
            resolved,
            digest: digest.clone(),
            secrets: request.environment.values().cloned().collect(),
        },
    );
    match unseen::judge(scene, id, placed, &digest) {
        Unseen::Seen => {}
        Unseen::AsRecorded => return Ok(None),
        Unseen::Held(hold) => return Err(Some(hold)),
    }
    let endpoint = input.world.hosts.get(&placed.host).expect("a seen host has an endpoint");
    let found = scene.index.instance(id);
    let is_current = |f: &&Found<'_>| {
        f.endpoint == endpoint
            && f.ours.digest == digest
            && f.ours.host == placed.host
            && !f.is_gone()
            && !has_lost_its_ports(f, &request)
            && (service.restart.may_complete() || !has_lost_its_network(input, f, &request))
    };
    let current = found.iter().find(is_current);
    let olds: Vec<&Found<'_>> =
        found.iter().filter(|f| current.is_none_or(|c| c.container.id != f.container.id)).collect();
    if let Some(current) = current.filter(|c| c.container.state == State::Paused) {
        return Err(Some(Hold::Paused { instance: id.clone(), container: current.container.id.clone() }));
    }
    if current.is_none() {
        request.name = free_name(scene, endpoint, id, &digest, placed)?;
    }
    let runs = current.is_some_and(|c| c.container.state == State::Running || c.container.state == State::Restarting);
    if !runs {
        port_is_free(scene, endpoint, id, placed, &request)?;
        volume_is_free(scene, service, endpoint, id, placed)?;
    }
    let completed = service.restart.may_complete()
        && current.is_some_and(|c| {
            c.container.state == State::Exited { code: 0 } && !was_stopped_for_another(scene.record, id, c, &olds)
        });
    let nameless = current.is_some_and(|current| {
        is_unrecorded(scene.record, id, current) || input.world.nameless.contains(&current.container.id)
    });
    let mut bucket = bucket(service, placed, &request, current, &olds, completed, nameless);
    if bucket == Bucket::Create && recorded_elsewhere(scene.record, id, placed) {
        // Where it was cannot be seen, or is empty: for the reader it moves all the same.
        bucket = Bucket::Move;
    }
    if bucket.brings_up()
        && let Some(EngineView::Seen(seen)) = input.world.engines.get(endpoint)
    {
        let volumes = lost::of_service(input.ledger, scene.stack, service, (&placed.host, endpoint), seen);
        if !volumes.is_empty() {
            return Err(Some(Hold::VolumeLost { instance: id.clone(), host: placed.host.clone(), volumes }));
        }
    }
    let before = if olds.iter().any(|f| f.runs()) { Before::Something } else { Before::Nothing };
    let network = scene.stack.network.name.as_str();
    let unproven = match current {
        None => true,
        Some(_) if completed => false,
        Some(_) if !runs => true,
        Some(c) => {
            let starting = c.container.health == Health::Starting && !is_recorded_healthy(scene.record, id, c);
            !olds.is_empty() || starting || is_unrecorded(scene.record, id, c)
        }
    };
    let (order, one_at_a_time) = update_order(scene, id, service, &request, &olds, endpoint);
    Ok(Some(Decided {
        id: id.clone(),
        service,
        placed,
        endpoint,
        gate: gate(service, placed, host, network, image_check, before),
        order,
        one_at_a_time,
        takes_over: None,
        pull: (presence == Presence::ToPull && current.is_none()).then(|| request.resolved.reference().to_owned()),
        request,
        digest,
        current,
        olds,
        bucket,
        unproven,
    }))
}

fn resolved_image(
    scene: &Scene<'_>,
    service: &Service,
    id: &InstanceId,
    placed: &Placed,
) -> Result<(ResolvedImage, Presence, bool), Option<Hold>> {
    let text = service.image.to_string();
    let key = (id.stack.clone(), text.clone());
    let seen = scene.input.world.images.get(&key).and_then(|hosts| hosts.get(&placed.host));
    match seen {
        Some(ImageView::Resolved { image, presence, has_health_check }) => {
            Ok((image.clone(), *presence, *has_health_check))
        }
        Some(ImageView::Unresolved(why)) => Err(Some(Hold::ImageUnresolved {
            instance: id.clone(),
            host: placed.host.clone(),
            image: text,
            why: why.clone(),
        })),
        // Only an unseen host was not asked. What the record says is all that is known, and enough to compare with.
        None => {
            let running = scene.record.and_then(|r| r.running.as_ref());
            let recorded = running.and_then(|r| r.instances.get(id)).filter(|r| r.image == text);
            let resolved = recorded.map_or_else(|| ResolvedImage::Local(text), |r| r.resolved.clone());
            Ok((resolved, Presence::OnHost, false))
        }
    }
}

fn remote_host_disagrees(scene: &Scene<'_>, service: &Service, id: &InstanceId) -> Option<Hold> {
    service.requirements.iter().find_map(|requirement| {
        let says = requirement.remote_host.as_ref()?;
        let mut hosts = scene
            .mapping
            .iter()
            .filter(|(other, _)| other.service == requirement.service)
            .map(|(_, placed)| &placed.host)
            .peekable();
        let first = (*hosts.peek()?).clone();
        (!hosts.any(|host| host == says)).then(|| Hold::RemoteHostDisagrees {
            instance: id.clone(),
            service: requirement.service.clone(),
            says: says.clone(),
            is: first,
        })
    })
}

/// The name at rest, or the one beside it while an older one of ours has it.
fn free_name(
    scene: &Scene<'_>,
    endpoint: &Endpoint,
    id: &InstanceId,
    digest: &Digest,
    placed: &Placed,
) -> Result<crate::name::ContainerName, Option<Hold>> {
    let owner = scene.input.owner;
    for name in [id.name_at_rest(), id.name_beside(digest)] {
        let holder = scene.index.named(endpoint, name.as_str());
        let is_ours = |c: &&ContainerSeen| c.ours(owner).is_some_and(|ours| &ours.instance == id);
        let (Some(foreign), host) = (holder.filter(|c| !is_ours(c)), placed.host.clone()) else {
            if holder.is_none() {
                return Ok(name);
            }
            continue;
        };
        let container = foreign.id.clone();
        return Err(Some(Hold::ForeignName { instance: id.clone(), host, name, container }));
    }
    // Both are ours: the one beside is on its way out and frees the name at the latest in the next pass.
    Ok(id.name_beside(&Digest::of(format!("{digest}{}", id).as_bytes())))
}

fn recorded_elsewhere(record: Option<&Record>, id: &InstanceId, placed: &Placed) -> bool {
    let recorded = record.and_then(|r| r.running.as_ref()).and_then(|running| running.instances.get(id));
    recorded.is_some_and(|instance| instance.host != placed.host)
}

fn bucket(
    service: &Service,
    placed: &Placed,
    request: &ContainerRequest,
    current: Option<&Found<'_>>,
    olds: &[&Found<'_>],
    completed: bool,
    nameless: bool,
) -> Bucket {
    match current {
        Some(c) if !c.runs() && !completed => Bucket::Start,
        Some(c) => {
            let off_network = service.settings.network_mode == NetworkMode::Stack
                && c.runs()
                && !c.container.networks.contains_key(network_name(request));
            let at_rest = c.container.name == c.ours.instance.name_at_rest().as_str();
            // Whoever publishes ports has its name from its start, and would lose the ports by taking it.
            let nameless = nameless
                && c.runs()
                && request.ports.is_empty()
                && matches!(request.network, NetworkAttachment::Named { .. });
            if olds.is_empty() && at_rest && !off_network && !nameless { Bucket::Keep } else { Bucket::TakeName }
        }
        None if olds.is_empty() => Bucket::Create,
        None if olds.iter().any(|old| old.ours.host == placed.host) => Bucket::Replace,
        None => Bucket::Move,
    }
}

fn network_name(request: &ContainerRequest) -> &str {
    match &request.network {
        NetworkAttachment::Named { network, .. } => network.as_str(),
        NetworkAttachment::Host => "host",
        NetworkAttachment::None => "none",
    }
}

/// Whoever is reconnected to a network while it runs may lose its published ports, and then only a new container has them
/// again. One that is off its network is reconnected first: that may bring them back.
fn has_lost_its_ports(found: &Found<'_>, request: &ContainerRequest) -> bool {
    let runs = found.container.state == State::Running;
    let is_connected = found.container.networks.contains_key(network_name(request));
    runs && is_connected && !request.ports.is_empty() && !request.ports.iter().any(|port| holds_port(found, port))
}

/// One that does not run refers to its network by an id, and cannot be started when somebody removed that.
fn has_lost_its_network(input: &Input<'_>, found: &Found<'_>, request: &ContainerRequest) -> bool {
    let (NetworkAttachment::Named { network, .. }, Some(EngineView::Seen(seen))) =
        (&request.network, input.world.engines.get(found.endpoint))
    else {
        return false;
    };
    !found.runs() && !seen.networks.iter().any(|known| known.name == network.as_str())
}

/// It was found healthy before, though its engine has not yet asked its first question.
fn is_recorded_healthy(record: Option<&Record>, id: &InstanceId, found: &Found<'_>) -> bool {
    let recorded = record.and_then(|r| r.running.as_ref()).and_then(|running| running.instances.get(id));
    recorded.is_some_and(|r| {
        r.health == InstanceHealth::Healthy && r.container.as_deref() == Some(found.container.id.as_str())
    })
}

/// It ran, as far as anybody knows, and beside it is what was to take its place: it did not end by itself.
fn was_stopped_for_another(record: Option<&Record>, id: &InstanceId, found: &Found<'_>, olds: &[&Found<'_>]) -> bool {
    let recorded = record.and_then(|r| r.running.as_ref()).and_then(|running| running.instances.get(id));
    !olds.is_empty()
        && recorded.is_some_and(|r| {
            r.health != InstanceHealth::Completed && r.container.as_deref() == Some(found.container.id.as_str())
        })
}

/// It was made by an apply of which nobody knows the end, or that failed: it may not work, and another apply may have taken
/// its name. A stack without a record is one of which the ledger was lost, and is taken as it is.
fn is_unrecorded(record: Option<&Record>, id: &InstanceId, found: &Found<'_>) -> bool {
    record.is_some_and(|record| {
        let recorded = record.running.as_ref().and_then(|running| running.instances.get(id));
        recorded.is_none_or(|recorded| match &recorded.container {
            Some(container) => container != &found.container.id,
            None => recorded.digest != found.ours.digest,
        })
    })
}

/// Networks and volumes that somebody else should have made.
fn missing_by_others(scene: &Scene<'_>, decided: &[Decided<'_>]) -> Vec<Hold> {
    let mut holds: BTreeMap<String, Hold> = BTreeMap::new();
    for one in decided.iter().filter(|one| one.current.is_none()) {
        for hold in furnish::missing(scene.input, scene.stack, one) {
            holds.insert(format!("{hold}"), hold);
        }
    }
    holds.into_values().collect()
}
