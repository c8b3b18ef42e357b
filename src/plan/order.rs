//! Makes ordered steps of what was decided for a stack.
//!
//! First images are pulled, everywhere, before anything stops; then networks and volumes; then services by their
//! requirements. The old instances stay until every new one of the stack is healthy; only then they go.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::host::Endpoint;
use crate::model::record::ActionDone;
use crate::model::request::NetworkAttachment;
use crate::model::stack::{PotentialAction, Service, Stack, StartOrder, WaitForHealthy};
use crate::model::world::{EngineView, Health, State};
use crate::name::{Digest, HostName, InstanceId, ServiceName};
use crate::plan::Input;
use crate::plan::change::Bucket;
use crate::plan::decide::{Decided, Order, services_in_order};
use crate::plan::furnish::{network_to_make, volumes_to_make};
use crate::plan::health::Probe;
use crate::plan::index::Found;
use crate::plan::removal::{Leftover, grace, in_order, remove, stop};
use crate::plan::step::{Act, Awaited, RunAction, Step};

type Steps = BTreeSet<usize>;

/// Giving a name up takes the container off its network for about 0.1 s. A connection that was being made then is tried
/// again after 1 s (the first retransmission of a SYN), and one that was open within 0.2 s; both still want an answer.
const LINGER: Duration = Duration::from_millis(1500);

/// The steps so far, and what later ones have to wait for.
struct Line<'a> {
    input: &'a Input<'a>,
    stack: &'a Stack,
    decided: &'a [Decided<'a>],
    steps: Vec<Step>,
    pulls: BTreeMap<(&'a Endpoint, String), usize>,
    made: BTreeMap<(&'a Endpoint, String), usize>,
    /// Service → the steps after which it is started, and healthy with its actions run.
    started: BTreeMap<ServiceName, Steps>,
    ready: BTreeMap<ServiceName, Steps>,
    /// Services that something waits for which is brought up now.
    waited_for: BTreeSet<&'a ServiceName>,
    /// Containers that were stopped to make room, by id.
    stopped: BTreeMap<String, usize>,
    /// Actions in services that come later.
    late: Vec<(&'a Service, &'a PotentialAction, &'a Decided<'a>)>,
}

pub fn steps<'a>(
    input: &'a Input<'a>,
    stack: &'a Stack,
    decided: &'a [Decided<'a>],
    leftovers: &'a [Leftover<'a>],
) -> Vec<Step> {
    let mut line = Line {
        input,
        stack,
        decided,
        steps: Vec::new(),
        pulls: BTreeMap::new(),
        made: BTreeMap::new(),
        started: BTreeMap::new(),
        ready: BTreeMap::new(),
        waited_for: waited_for(decided),
        stopped: BTreeMap::new(),
        late: Vec::new(),
    };
    for one in decided {
        line.pull(one);
    }
    for one in decided {
        line.make_what_it_needs(one);
    }
    let mut before = Steps::new();
    for service in in_start_order(stack) {
        let of_service: Vec<&Decided<'_>> = decided.iter().filter(|one| one.service.name == service.name).collect();
        line.service(service, &of_service, leftovers, &before);
        if stack.start_order == StartOrder::Position {
            before.extend(line.ready[&service.name].iter().copied());
        }
    }
    line.late_actions();
    let healthy: Steps = line.ready.values().flatten().copied().collect();
    for one in decided {
        line.finish(one, &healthy);
    }
    line.remove_leftovers(leftovers, &healthy);
    line.steps
}

fn waited_for<'a>(decided: &'a [Decided<'a>]) -> BTreeSet<&'a ServiceName> {
    let brought_up = decided.iter().filter(|one| one.unproven).flat_map(|one| &one.service.requirements);
    brought_up.filter(|r| r.wait_for_healthy == WaitForHealthy::Yes).map(|r| &r.service).collect()
}

fn in_start_order(stack: &Stack) -> Vec<&Service> {
    match stack.start_order {
        StartOrder::Dependencies => services_in_order(stack),
        StartOrder::Position => stack.services.iter().map(AsRef::as_ref).collect(),
    }
}

impl<'a> Line<'a> {
    fn push(&mut self, one: &Decided<'_>, act: Act, after: Steps, because: impl Into<String>) -> usize {
        self.steps.push(Step {
            host: one.placed.host.clone(),
            endpoint: one.endpoint.clone(),
            instance: Some(one.id.clone()),
            act,
            after,
            because: because.into(),
        });
        self.steps.len() - 1
    }

    fn pull(&mut self, one: &'a Decided<'a>) {
        let Some(reference) = &one.pull else { return };
        let key = (one.endpoint, reference.clone());
        if !self.pulls.contains_key(&key) {
            let act = Act::Pull { reference: reference.clone() };
            let index = self.push(one, act, Steps::new(), format!("{} needs {}", one.id, one.service.image));
            self.pulls.insert(key, index);
        }
    }

    fn all_pulls(&self) -> Steps {
        self.pulls.values().copied().collect()
    }

    fn make_what_it_needs(&mut self, one: &'a Decided<'a>) {
        // Whoever takes its name may have lost its network while it was reconnected.
        if one.current.is_some() && one.bucket != Bucket::TakeName {
            return;
        }
        let Some(EngineView::Seen(seen)) = self.input.world.engines.get(one.endpoint) else {
            return;
        };
        let mut wanted = Vec::new();
        if let Some(request) = network_to_make(self.input, self.stack, one, seen) {
            wanted.push((request.name.to_string(), Act::CreateNetwork(request)));
        }
        if one.current.is_none() {
            let volumes = volumes_to_make(self.input, self.stack, one, seen).into_iter();
            wanted.extend(volumes.map(|r| (format!("volume {}", r.name), Act::CreateVolume(r))));
        }
        for (name, act) in wanted {
            let key = (one.endpoint, name);
            if !self.made.contains_key(&key) {
                let index = self.push(one, act, Steps::new(), format!("{} needs it", one.id));
                self.made.insert(key, index);
            }
        }
    }

    fn service(
        &mut self,
        service: &'a Service,
        instances: &[&'a Decided<'a>],
        leftovers: &'a [Leftover<'a>],
        before: &Steps,
    ) {
        let mut gate = before.clone();
        for requirement in &service.requirements {
            let steps = match requirement.wait_for_healthy {
                WaitForHealthy::Yes => self.ready.get(&requirement.service),
                WaitForHealthy::No => self.started.get(&requirement.service),
            };
            gate.extend(steps.into_iter().flatten().copied());
        }
        let mut started = Steps::new();
        let mut ready = gate.clone();
        let mut previous = Steps::new();
        for one in instances {
            let (start, await_) = self.instance(one, leftovers, &gate, &previous);
            started.extend(start);
            if let Some(await_) = await_ {
                ready.insert(await_);
                if one.order == Order::StopFirst && !one.olds.is_empty() {
                    // One after another, so that never two of one service are down because of us.
                    previous.insert(await_);
                }
            }
        }
        if let Some(first) = instances.first() {
            for action in actions_due(self.input, &first.id, service, &first.digest) {
                let target = action.target.as_ref().filter(|target| *target != &service.name);
                match target.map(|target| self.ready.get(target)) {
                    // It requires this service, or comes after it by its position: the action is run when it is there.
                    Some(None) => self.late.push((service, action, first)),
                    of_target => {
                        let of_target = of_target.flatten().into_iter().flatten();
                        let after = ready.iter().chain(of_target).copied().collect();
                        ready.extend(self.action(action, service, first, &after));
                    }
                }
            }
        }
        started.extend(gate);
        self.started.insert(service.name.clone(), started);
        self.ready.insert(service.name.clone(), ready);
    }

    /// Brings one instance up; gives the steps that start it and that find it healthy.
    fn instance(
        &mut self,
        one: &'a Decided<'a>,
        leftovers: &'a [Leftover<'a>],
        gate: &Steps,
        previous: &Steps,
    ) -> (Option<usize>, Option<usize>) {
        if !one.unproven {
            return (None, self.await_if_required(one, gate));
        }
        let mut after: Steps = gate | previous;
        if one.current.is_none() {
            let mut needs = after.clone();
            needs.extend(
                self.made.iter().filter(|((endpoint, _), _)| *endpoint == one.endpoint).map(|(_, index)| *index),
            );
            needs.extend(
                self.pulls.iter().filter(|((endpoint, _), _)| *endpoint == one.endpoint).map(|(_, index)| *index),
            );
            let mut request = one.request.clone();
            if waits_for_its_name(one) {
                unnamed(&mut request.network);
            }
            after.insert(self.push(one, Act::Create(Box::new(request)), needs, because(one)));
        }
        let mut start = None;
        if one.is_started() {
            after.extend(self.make_room(one, leftovers, &after));
            let index = self.push(one, Act::Start { container: one.container() }, after.clone(), because(one));
            start = Some(index);
            after = Steps::from([index]);
        }
        let of = match start {
            Some(_) => Awaited::New,
            None => Awaited::Found { grace: grace(self.input, &one.id) },
        };
        let act = Act::AwaitHealthy { container: one.container(), gate: one.gate.clone(), of };
        let index = self.push(one, act, after, "what follows builds on it");
        (start, Some(index))
    }

    /// What runs already is waited for if something that is started waits for it, unless all that can be known of its
    /// health was just seen.
    fn await_if_required(&mut self, one: &Decided<'_>, gate: &Steps) -> Option<usize> {
        let current = one.current?;
        let is_seen_healthy = matches!(
            (current.container.state, current.container.health, &one.gate.probe),
            (State::Running, Health::Healthy, Probe::Engine { .. } | Probe::Running)
                | (State::Running, Health::Unchecked, Probe::Running)
                | (State::Exited { .. }, _, _)
        );
        if is_seen_healthy || !self.waited_for.contains(&one.service.name) {
            return None;
        }
        let act = Act::AwaitHealthy { container: one.container(), gate: one.gate.clone(), of: Awaited::Required };
        Some(self.push(one, act, gate.clone(), "a service that is started requires it"))
    }

    /// Stops whatever of this stack must not run beside the new instance.
    fn make_room(&mut self, one: &'a Decided<'a>, leftovers: &'a [Leftover<'a>], after: &Steps) -> Steps {
        let mut stops = Steps::new();
        let mut in_the_way: Vec<(&Found<'_>, String)> = Vec::new();
        if one.order == Order::StopFirst {
            in_the_way.extend(one.olds.iter().map(|old| (*old, "its replacement cannot run beside it".to_owned())));
        }
        let others = self.decided.iter().filter(|other| other.id != one.id).flat_map(|other| &other.olds);
        let others = others.chain(leftovers.iter().flat_map(|leftover| &leftover.found));
        let needed = others.filter_map(|found| Some((*found, one.needs_of(self.input, found)?)));
        in_the_way.extend(needed.map(|(found, what)| (found, format!("{} needs its {what}", one.id))));
        let all_pulls = self.all_pulls();
        for (found, why) in in_the_way {
            let id = &found.container.id;
            if let Some(index) = self.stopped.get(id) {
                stops.insert(*index);
                continue;
            }
            let after: Steps = after | &all_pulls;
            let grace = grace(self.input, &found.ours.instance);
            let index = stop(&mut self.steps, &found.ours.instance, found, grace, &after, &why);
            if let Some(index) = index {
                self.stopped.insert(id.clone(), index);
                stops.insert(index);
            }
        }
        stops
    }

    /// Runs the actions whose targets came later. What requires their service did not wait for them.
    fn late_actions(&mut self) {
        for (service, action, first) in std::mem::take(&mut self.late) {
            let of = |service: &ServiceName| self.ready.get(service).into_iter().flatten().copied();
            let after = of(&service.name).chain(action.target.iter().flat_map(of)).collect();
            let index = self.action(action, service, first, &after);
            self.ready.entry(service.name.clone()).or_default().extend(index);
        }
    }

    fn action(
        &mut self,
        action: &PotentialAction,
        service: &Service,
        first: &Decided<'_>,
        after: &Steps,
    ) -> Option<usize> {
        // A target elsewhere in the stack is an instance of that service; validation saw that it exists.
        let container = match &action.target {
            Some(target) if target != &service.name => self.container_of(target)?,
            Some(_) | None => (first.container(), first.placed.host.clone(), first.endpoint.clone()),
        };
        let (container, host, endpoint) = container;
        self.steps.push(Step {
            host,
            endpoint,
            instance: Some(first.id.clone()),
            act: Act::RunAction(RunAction {
                container,
                service: service.name.clone(),
                action: action.name.clone(),
                command: action.command.clone(),
                working_dir: action.working_dir.clone(),
                timeout: action.timeout,
                digest: first.digest.clone(),
            }),
            after: after.clone(),
            because: format!("{} asks for it once in this shape", service.name),
        });
        Some(self.steps.len() - 1)
    }

    /// The lowest-numbered instance of another service: the one being made, else the one that runs.
    fn container_of(&self, target: &ServiceName) -> Option<(String, HostName, Endpoint)> {
        let is_target = |step: &&Step| step.instance.as_ref().is_some_and(|id| &id.service == target);
        let made = self.steps.iter().filter(is_target).find_map(|step| {
            let Act::AwaitHealthy { container, .. } = &step.act else { return None };
            Some((container.clone(), step.host.clone(), step.endpoint.clone()))
        });
        made.or_else(|| {
            let slug = self.stack.name.slug();
            let id = InstanceId { stack: slug.clone(), service: target.clone(), number: 1 };
            let placed = self.input.placement.mapping.get(&id)?;
            let endpoint = self.input.world.hosts.get(&placed.host)?;
            Some((id.name_at_rest().to_string(), placed.host.clone(), endpoint.clone()))
        })
    }

    /// After the whole stack is healthy: the new one takes the name, the old ones go.
    fn finish(&mut self, one: &'a Decided<'a>, healthy: &Steps) {
        if one.bucket == Bucket::Keep {
            return;
        }
        let mut after = healthy.clone();
        after.extend(self.all_pulls());
        let network = match &one.request.network {
            NetworkAttachment::Named { network, aliases } => Some((network.to_string(), aliases.clone())),
            NetworkAttachment::Host | NetworkAttachment::None => None,
        };
        let beside = |name: &str| name != one.id.name_at_rest().as_str();
        let name = one.current.map_or(one.request.name.as_str(), |c| c.container.name.as_str());
        let ended = one.current.is_some_and(|current| !current.runs()) && !one.unproven;
        // What has completed answers to nobody.
        let must_take_name = !ended
            && (waits_for_its_name(one) || one.bucket == Bucket::TakeName || (one.current.is_some() && beside(name)));
        if let Some((network, aliases)) = network.as_ref().filter(|_| must_take_name) {
            let act = Act::TakeName { container: one.container(), network: network.clone(), aliases: aliases.clone() };
            let made = self.made.iter().filter(|((endpoint, _), _)| *endpoint == one.endpoint);
            after.extend(made.map(|(_, index)| *index));
            after = Steps::from([self.push(one, act, after, "it is healthy and takes over")]);
        }
        let mut gone = Steps::new();
        for old in &one.olds {
            let mut after = after.clone();
            // Reconnecting would take its ports from it, and whoever is to go on must not lose them should this be cut short.
            let may_give_up = old.runs() && old.container.ports.is_empty();
            let answers = may_give_up && old.endpoint == one.endpoint && !self.stopped.contains_key(&old.container.id);
            let on_network = network.as_ref().filter(|(name, _)| answers && old.container.networks.contains_key(name));
            if let Some((network, _)) = on_network {
                let act =
                    Act::GiveUpName { container: old.container.id.clone(), network: network.clone(), linger: LINGER };
                after = Steps::from([self.push(one, act, after, "its replacement answers now")]);
            }
            let grace = grace(self.input, &one.id);
            gone.insert(self.remove_once(old, grace, &after, "its replacement is healthy"));
        }
        if beside(name) {
            gone.extend(after);
            let act = Act::Rename { container: one.container(), name: one.id.name_at_rest() };
            self.push(one, act, gone, "the name at rest is free");
        }
    }

    fn remove_once(&mut self, found: &Found<'_>, grace: Duration, after: &Steps, why: &str) -> usize {
        let mut after = after.clone();
        if let Some(index) = self.stopped.get(&found.container.id) {
            after.insert(*index);
        } else if let Some(index) = stop(&mut self.steps, &found.ours.instance, found, grace, &after, why) {
            after = Steps::from([index]);
        }
        self.steps.push(Step {
            host: found.ours.host.clone(),
            endpoint: found.endpoint.clone(),
            instance: Some(found.ours.instance.clone()),
            act: Act::Remove { container: found.container.id.clone() },
            after,
            because: why.to_owned(),
        });
        self.steps.len() - 1
    }

    fn remove_leftovers(&mut self, leftovers: &'a [Leftover<'a>], healthy: &Steps) {
        let before = self.input.before.get(self.stack.name.slug()).map(AsRef::as_ref);
        let mut first = healthy.clone();
        first.extend(self.all_pulls());
        in_order(leftovers, before, |leftover, after| {
            let after = first.union(after).copied().collect();
            let why = "it is not asked for any more";
            let remove = |found: &&Found<'_>| match self.stopped.contains_key(&found.container.id) {
                true => self.remove_once(found, Duration::ZERO, &after, why),
                false => {
                    let grace = grace(self.input, &leftover.id);
                    remove(&mut self.steps, &leftover.id, found, grace, &after, why)
                }
            };
            leftover.found.iter().map(remove).collect()
        });
    }
}

/// It replaces one that serves under the name now, and takes the name only when healthy.
fn waits_for_its_name(one: &Decided<'_>) -> bool {
    one.order == Order::StartFirst && one.olds.iter().any(|old| old.endpoint == one.endpoint && old.runs())
}

fn unnamed(network: &mut NetworkAttachment) {
    match network {
        NetworkAttachment::Named { aliases, .. } => aliases.clear(),
        NetworkAttachment::Host | NetworkAttachment::None => {}
    }
}

fn because(one: &Decided<'_>) -> String {
    match one.bucket {
        Bucket::Create => "it does not exist yet".to_owned(),
        Bucket::Replace => "it shall differ from the one that runs".to_owned(),
        Bucket::Move => format!("it shall run on {}", one.placed.host),
        Bucket::Start => "it exists and does not run".to_owned(),
        Bucket::Remove | Bucket::RunAction | Bucket::TakeName | Bucket::Keep => {
            "an earlier apply was interrupted".to_owned()
        }
    }
}

/// The actions of a service that have not run in the shape of this digest.
pub fn actions_due<'s>(
    input: &Input<'_>,
    id: &InstanceId,
    service: &'s Service,
    digest: &Digest,
) -> impl Iterator<Item = &'s PotentialAction> {
    let done: BTreeSet<ActionDone> =
        input.ledger.records.get(&id.stack).map(|record| record.actions.clone()).unwrap_or_default();
    let service_name = service.name.clone();
    let digest = digest.clone();
    let is_first = id.number == 1;
    service.actions.iter().filter(move |action| {
        let key = ActionDone { service: service_name.clone(), action: action.name.clone(), digest: digest.clone() };
        is_first && !done.contains(&key)
    })
}
