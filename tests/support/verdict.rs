//! Laws of DESIGN section 9 that are judged from what is there, each a check of its own.
//!
//! Takes machines, plans and ledgers. Gives `Err` with the number of the law and what breaks it.
#![allow(dead_code, reason = "each test binary compiles this file and uses a part of it")]

use std::collections::{BTreeMap, BTreeSet};

use bayplan::engine::memory::MemoryEngine;
use bayplan::model::host::Endpoint;
use bayplan::model::record::{InstanceHealth, Ledger, Record, StackStatus};
use bayplan::model::request::LABEL_OWNER;
use bayplan::model::stack::{NetworkMode, Service};
use bayplan::model::world::{ContainerSeen, EngineSeen, HostView, Ours, State, World};
use bayplan::name::{InstanceId, StackSlug};
use bayplan::placement::Placement;
use bayplan::plan::Plan;
use bayplan::plan::step::Step;
use bayplan::plan::want::Want;
use bayplan::status;

use crate::shape::SECRET;

/// The owner label of all that the tests deploy.
pub const OWNER: &str = "laws";

/// What there is when nothing is left to do.
pub struct AtRest<'a> {
    pub ledger: &'a Ledger,
    pub machines: &'a BTreeMap<Endpoint, MemoryEngine>,
    pub wants: &'a BTreeMap<StackSlug, Want>,
    pub placement: &'a Placement,
    pub world: &'a World,
    /// Engines that could not be asked for a while: what was left on one when its stack went is found again, and may have to
    /// wait for a wrong file.
    pub were_away: BTreeSet<Endpoint>,
}

impl AtRest<'_> {
    fn machines(&self) -> Machines {
        self.machines.iter().map(|(endpoint, machine)| (endpoint.clone(), machine.holds())).collect()
    }
}

pub type Verdict = Result<(), String>;
/// All engines as they are, whatever faults are in force.
pub type Machines = BTreeMap<Endpoint, EngineSeen>;

pub fn check(law: &str, holds: bool, broken: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(format!("{law}: {}", broken())) }
}

pub fn ours(machines: &Machines) -> impl Iterator<Item = (&Endpoint, &ContainerSeen, &Ours)> {
    let containers = machines.iter().flat_map(|(endpoint, seen)| seen.containers.iter().map(move |c| (endpoint, c)));
    containers.filter_map(|(endpoint, container)| Some((endpoint, container, container.ours(OWNER)?)))
}

/// 3: containers, networks and volumes that are not ours are as they were.
pub fn hands_off(before: &Machines, after: &Machines) -> Verdict {
    let law = "law 3, hands off";
    for (endpoint, seen) in before {
        let now = &after[endpoint];
        let is_foreign = |labels: &BTreeMap<String, String>| labels.get(LABEL_OWNER).is_none_or(|o| o != OWNER);
        for container in seen.containers.iter().filter(|c| is_foreign(&c.labels)) {
            check(law, now.containers.contains(container), || format!("{endpoint} had {container:#?}"))?;
        }
        for network in seen.networks.iter().filter(|n| is_foreign(&n.labels)) {
            check(law, now.networks.contains(network), || format!("{endpoint} had {network:#?}"))?;
        }
        for volume in seen.volumes.iter().filter(|v| is_foreign(&v.labels)) {
            check(law, now.volumes.contains(volume), || format!("{endpoint} had {volume:#?}"))?;
        }
    }
    Ok(())
}

/// 4: no volume ever disappears.
pub fn keeps_data(before: &Machines, after: &Machines) -> Verdict {
    for (endpoint, seen) in before {
        for volume in &seen.volumes {
            let is_there = after[endpoint].volumes.contains(volume);
            check("law 4, keeps data", is_there, || format!("{endpoint} had the volume {}", volume.name))?;
        }
    }
    Ok(())
}

pub fn service(wants: &BTreeMap<StackSlug, Want>, id: &InstanceId) -> Option<Service> {
    let stack = wants.get(&id.stack)?.stack()?;
    stack.service(id.service.as_str()).map(|service| (**service).clone())
}

/// 11: every step, hold and change says why.
pub fn explains(plan: &Plan, placement: &Placement) -> Verdict {
    let law = "law 11, explains";
    for (slug, stack) in &plan.stacks {
        for step in &stack.steps {
            check(law, !step.because.is_empty(), || format!("{slug}: {}", said_of_step(step)))?;
        }
        for change in &stack.changes {
            check(law, !change.cause.to_string().is_empty(), || format!("{slug}: {change:?}"))?;
        }
        let touched: BTreeSet<&InstanceId> = stack.steps.iter().filter_map(|step| step.instance.as_ref()).collect();
        for id in touched {
            let is_said = stack.changes.iter().any(|change| &change.instance == id);
            check(law, is_said, || format!("{id} has steps and no change: {:#?}", stack.changes))?;
        }
    }
    for (_, hold) in plan.all_holds() {
        check(law, hold.to_string().len() > 10, || format!("{hold:?}"))?;
    }
    let placed = placement.mapping.iter().find(|(_, placed)| placed.why.is_empty());
    check(law, placed.is_none(), || format!("{placed:?} is placed without a reason"))
}

/// 14: at rest the ledger says what is seen.
pub fn truth(rest: &AtRest<'_>) -> Verdict {
    let law = "law 14, truth";
    let machines = rest.machines();
    for (slug, record) in &rest.ledger.records {
        let is_held = record.status == StackStatus::Held;
        check(law, record.next.is_none() || is_held, || format!("at rest {slug} is still on its way: {record:#?}"))?;
        for (id, instance) in record.running.iter().flat_map(|running| &running.instances) {
            let HostView::Seen(_) = rest.world.host(&instance.host) else { continue };
            let endpoint = &rest.world.hosts[&instance.host];
            let container = instance.container.as_ref();
            let seen = container.and_then(|c| machines[endpoint].containers.iter().find(|seen| &seen.id == c));
            let is_one_shot = service(rest.wants, id).is_some_and(|service| service.restart.may_complete());
            let may_complete = is_one_shot || instance.health == InstanceHealth::Completed;
            let health = seen.map_or(InstanceHealth::Stopped, |seen| status::health(seen, may_complete));
            check(law, health == instance.health, || format!("{id} is {health:?}, recorded is {instance:?}"))?;
        }
        if record.status == StackStatus::Running {
            complete(rest, slug, record, &machines)?;
        }
    }
    let unknown = ours(&machines).find(|(endpoint, _, ours)| {
        let is_found_again = rest.were_away.contains(*endpoint)
            && matches!(rest.wants.get(&ours.instance.stack), Some(Want::Keep { .. }));
        let is_recorded = rest.ledger.records.contains_key(&ours.instance.stack);
        rest.world.engines.contains_key(*endpoint) && !is_recorded && !is_found_again
    });
    check(law, unknown.is_none(), || format!("the ledger knows nothing of {unknown:?}"))
}

/// A stack that is said to run has its containers and no others, under their names.
fn complete(rest: &AtRest<'_>, slug: &StackSlug, record: &Record, machines: &Machines) -> Verdict {
    let law = "law 14, truth";
    let Some(Want::Stack { stack, .. }) = rest.wants.get(slug) else { return Ok(()) };
    let running = record.running.as_ref().map(|running| &running.instances);
    let mut asked = 0;
    for service in &stack.services {
        for number in 1..=service.replicas {
            asked += 1;
            let id = InstanceId { stack: slug.clone(), service: service.name.clone(), number };
            let recorded = running.and_then(|running| running.get(&id));
            let placed = rest.placement.mapping.get(&id);
            let same = recorded.map(|r| (&r.host, &r.ports)) == placed.map(|p| (&p.host, &p.ports));
            check(law, recorded.is_some() && same, || {
                format!("{id} is recorded as {recorded:?}, placed is {placed:?}")
            })?;
        }
    }
    let found: Vec<_> = ours(machines)
        .filter(|(endpoint, _, ours)| &ours.instance.stack == slug && rest.world.engines.contains_key(*endpoint))
        .collect();
    for (endpoint, container, ours) in &found {
        let named = container.name == ours.instance.name_at_rest().as_str();
        check(law, named, || format!("at rest {} on {endpoint} has the name {}", ours.instance, container.name))?;
    }
    let names: Vec<&str> = found.iter().map(|(_, container, _)| container.name.as_str()).collect();
    check(law, names.len() == asked, || format!("{slug} asks for {asked} containers, there are {names:?}"))
}

/// What runs answers to its service's name, and to no other of ours.
pub fn answers(rest: &AtRest<'_>) -> Verdict {
    for (slug, record) in &rest.ledger.records {
        if record.status != StackStatus::Running {
            continue;
        }
        for (endpoint, machine) in rest.machines.iter().filter(|(e, _)| rest.world.engines.contains_key(*e)) {
            for container in machine.holds().containers {
                let Some(ours) = container.ours(OWNER).filter(|ours| &ours.instance.stack == slug) else { continue };
                let Some(service) = service(rest.wants, &ours.instance) else { continue };
                if container.state != State::Running || service.settings.network_mode != NetworkMode::Stack {
                    continue;
                }
                let names = machine.aliases(&container.id);
                let wanted = BTreeSet::from([service.name.to_string()]);
                check("names (DESIGN 5)", names == wanted, || {
                    format!("{} on {endpoint} answers to {names:?}", ours.instance)
                })?;
                let published = container.ports.len();
                let asked =
                    record.running.as_ref().and_then(|r| r.instances.get(&ours.instance)).map(|i| i.ports.len());
                check("ports (DESIGN 5)", asked == Some(published), || {
                    format!("{} on {endpoint} publishes {:?}, asked are {asked:?}", ours.instance, container.ports)
                })?;
            }
        }
    }
    Ok(())
}

/// 15: no secret in what was said.
pub fn silent(text: &str) -> Verdict {
    let leak = text.find(SECRET).map(|at| {
        let from = (0..=at.saturating_sub(300)).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        &text[from..at + SECRET.len()]
    });
    check("law 15, silence", leak.is_none(), || format!("a secret was said: {}", leak.unwrap_or_default()))
}

pub fn said_of_step(step: &Step) -> String {
    format!("{}: {} because {}", step.host, step.act.describe(), step.because)
}
