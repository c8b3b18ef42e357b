//! The laws of DESIGN section 9, each a check of its own.
//!
//! Takes what the line saw and did. Gives `Err` with the number of the law and what breaks it.

use std::collections::{BTreeMap, BTreeSet};

use bayplan::model::host::{Endpoint, HostStatus};
use bayplan::model::record::{HostCondition, InstanceHealth, Ledger, Record, StackStatus};
use bayplan::model::request::LABEL_OWNER;
use bayplan::model::stack::{NetworkMode, Service, WaitForHealthy};
use bayplan::model::world::{ContainerSeen, EngineSeen, EngineView, HostView, Ours, State};
use bayplan::name::{InstanceId, StackSlug};
use bayplan::plan::step::{Act, Step};
use bayplan::plan::want::{Gone, Want};
use bayplan::status;

use crate::line::{Line, OWNER, Pass, Witness, said_of_step};
use crate::shape::SECRET;

pub type Verdict = Result<(), String>;
/// All engines as they are, whatever faults are in force.
pub type Machines = BTreeMap<Endpoint, EngineSeen>;

pub fn machines(line: &Line) -> Machines {
    line.machines.iter().map(|(endpoint, machine)| (endpoint.clone(), machine.holds())).collect()
}

fn check(law: &str, holds: bool, broken: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(format!("{law}: {}", broken())) }
}

fn ours(machines: &Machines) -> impl Iterator<Item = (&Endpoint, &ContainerSeen, Ours)> {
    let containers = machines.iter().flat_map(|(endpoint, seen)| seen.containers.iter().map(move |c| (endpoint, c)));
    containers.filter_map(|(endpoint, container)| Some((endpoint, container, container.ours(OWNER)?)))
}

fn same_stack(pass: &Pass, id: &InstanceId) -> Option<Service> {
    let stack = pass.wants.get(&id.stack)?.stack()?;
    stack.service(id.service.as_str()).map(|service| (**service).clone())
}

/// 1: after a pass that found nothing to do, another finds nothing, writes nothing and asks nothing of an engine.
pub async fn settled(line: &mut Line) -> Verdict {
    let law = "law 1, settles";
    let before = line.written;
    line.machines.values().for_each(|machine| machine.forget_calls());
    let done = line.pass(crate::line::Carry::Whole, &mut Nobody).await;
    let steps: Vec<String> = done.pass.plan.stacks.values().flat_map(|s| &s.steps).map(said_of_step).collect();
    check(law, steps.is_empty(), || format!("after a quiet pass there are steps: {steps:#?}"))?;
    check(law, line.written == before, || format!("a quiet pass wrote the ledger: {:#?}", line.ledger.records))?;
    let writes: u64 = line.machines.values().map(|machine| machine.writes()).sum();
    check(law, writes == 0, || format!("a quiet pass wrote {writes} times to engines"))
}

/// 2: the same input, also in another order, gives the same plan.
pub fn same_in_same_out(line: &Line, pass: &Pass) -> Verdict {
    let law = "law 2, same in, same out";
    check(law, line.plan(pass) == pass.plan, || "a second plan of one pass differs".to_owned())?;
    let mut world = pass.world.clone();
    for view in world.engines.values_mut() {
        if let EngineView::Seen(seen) = view {
            seen.containers.reverse();
            seen.networks.reverse();
            seen.volumes.reverse();
        }
    }
    let shuffled = Pass {
        desired: pass.desired.clone(),
        ledger: pass.ledger.clone(),
        wants: pass.wants.clone(),
        placement: pass.placement.clone(),
        world,
        before: pass.before.clone(),
        plan: pass.plan.clone(),
        lost: pass.lost.clone(),
    };
    let plan = line.plan(&shuffled);
    check(law, plan == pass.plan, || {
        format!("engines that list in another order give\n{plan:#?}\nnot\n{:#?}", pass.plan)
    })
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

/// 5: what is recorded on a host that did not answer stays recorded there and is not made anywhere else.
pub fn blind_is_not_empty(pass: &Pass, before: &Machines, after: &Machines, ledger: &Ledger) -> Verdict {
    let law = "law 5, blind is not empty";
    let made: BTreeSet<InstanceId> = {
        let known: BTreeSet<&String> = ours(before).map(|(_, container, _)| &container.id).collect();
        ours(after).filter(|(_, c, _)| !known.contains(&c.id)).map(|(_, _, ours)| ours.instance).collect()
    };
    for (slug, record) in &pass.ledger.records {
        for (id, instance) in record.running.iter().flat_map(|running| &running.instances) {
            let condition = pass.ledger.hosts.get(&instance.host).map(|host| host.condition);
            let is_gone_for_good = condition == Some(HostCondition::Lost)
                || pass.lost.contains(&instance.host)
                || pass.desired.inventory.hosts.get(&instance.host).is_none_or(|h| h.status == HostStatus::Offline);
            let HostView::Unreachable(_) = pass.world.host(&instance.host) else { continue };
            if is_gone_for_good {
                continue;
            }
            check(law, !made.contains(id), || format!("{id} was made although {} is only silent", instance.host))?;
            let now = ledger.records.get(slug).and_then(|r| r.running.as_ref()).and_then(|r| r.instances.get(id));
            // It may answer again at the end of the pass, and then its container is what is seen.
            let stays = now.is_some_and(|now| now.host == instance.host);
            check(law, stays, || format!("{id} was recorded as {instance:?} and is as {now:?}"))?;
        }
    }
    Ok(())
}

/// 11: every step, hold and change says why.
pub fn explains(pass: &Pass) -> Verdict {
    let law = "law 11, explains";
    for (slug, stack) in &pass.plan.stacks {
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
    for (_, hold) in pass.plan.all_holds() {
        check(law, hold.to_string().len() > 10, || format!("{hold:?}"))?;
    }
    let placed = pass.placement.mapping.iter().find(|(_, placed)| placed.why.is_empty());
    check(law, placed.is_none(), || format!("{placed:?} is placed without a reason"))
}

/// 13: what would run nowhere afterwards is at most what the brake lets through.
pub fn brake(line: &Line, pass: &Pass, before: &Machines, after: &Machines) -> Verdict {
    let recorded: BTreeSet<InstanceId> = pass
        .ledger
        .records
        .iter()
        .filter(|(slug, _)| !matches!(pass.wants.get(*slug), Some(Want::Nothing { why: Gone::BadContent(_), .. })))
        .flat_map(|(_, record)| record.running.iter().flat_map(|running| running.instances.keys().cloned()))
        .collect();
    let there: BTreeSet<InstanceId> = ours(before).map(|(_, _, ours)| ours.instance).collect();
    let left: BTreeSet<InstanceId> = ours(after).map(|(_, _, ours)| ours.instance).collect();
    let gone: Vec<&InstanceId> = recorded.iter().filter(|id| there.contains(id) && !left.contains(id)).collect();
    let percent = line.config.brake.fleet_percent as usize;
    let everything: usize = pass.ledger.records.values().map(instances_of).sum();
    let allowed = (everything * percent / 100).max(line.config.brake.at_least as usize);
    check("law 13, brake", gone.len() <= allowed, || format!("{allowed} may go, gone are {gone:?}"))
}

fn instances_of(record: &Record) -> usize {
    let all: BTreeSet<&InstanceId> =
        record.running.iter().chain(&record.next).flat_map(|deployment| deployment.instances.keys()).collect();
    all.len()
}

/// 14: at rest the ledger says what is seen.
pub fn truth(line: &Line, pass: &Pass) -> Verdict {
    let law = "law 14, truth";
    let machines = machines(line);
    for (slug, record) in &line.ledger.records {
        let is_held = record.status == StackStatus::Held;
        check(law, record.next.is_none() || is_held, || format!("at rest {slug} is still on its way: {record:#?}"))?;
        for (id, instance) in record.running.iter().flat_map(|running| &running.instances) {
            let HostView::Seen(_) = pass.world.host(&instance.host) else { continue };
            let endpoint = &pass.world.hosts[&instance.host];
            let container = instance.container.as_ref();
            let seen = container.and_then(|c| machines[endpoint].containers.iter().find(|seen| &seen.id == c));
            let is_one_shot = same_stack(pass, id).is_some_and(|service| service.restart.may_complete());
            let may_complete = is_one_shot || instance.health == InstanceHealth::Completed;
            let health = seen.map_or(InstanceHealth::Stopped, |seen| status::health(seen, may_complete));
            check(law, health == instance.health, || format!("{id} is {health:?}, recorded is {instance:?}"))?;
        }
        if record.status == StackStatus::Running {
            complete(pass, slug, record, &machines)?;
        }
    }
    let unknown = ours(&machines).find(|(endpoint, _, ours)| {
        pass.world.engines.contains_key(*endpoint) && !line.ledger.records.contains_key(&ours.instance.stack)
    });
    check(law, unknown.is_none(), || format!("the ledger knows nothing of {unknown:?}"))
}

/// A stack that is said to run has its containers and no others, under their names.
fn complete(pass: &Pass, slug: &StackSlug, record: &Record, machines: &Machines) -> Verdict {
    let law = "law 14, truth";
    let Some(Want::Stack { stack, .. }) = pass.wants.get(slug) else { return Ok(()) };
    let running = record.running.as_ref().map(|running| &running.instances);
    let mut asked = 0;
    for service in &stack.services {
        for number in 1..=service.replicas {
            asked += 1;
            let id = InstanceId { stack: slug.clone(), service: service.name.clone(), number };
            let recorded = running.and_then(|running| running.get(&id));
            let placed = pass.placement.mapping.get(&id);
            let same = recorded.map(|r| (&r.host, &r.ports)) == placed.map(|p| (&p.host, &p.ports));
            check(law, recorded.is_some() && same, || {
                format!("{id} is recorded as {recorded:?}, placed is {placed:?}")
            })?;
        }
    }
    let found: Vec<_> = ours(machines)
        .filter(|(endpoint, _, ours)| &ours.instance.stack == slug && pass.world.engines.contains_key(*endpoint))
        .collect();
    for (endpoint, container, ours) in &found {
        let named = container.name == ours.instance.name_at_rest().as_str();
        check(law, named, || format!("at rest {} on {endpoint} has the name {}", ours.instance, container.name))?;
    }
    let names: Vec<&str> = found.iter().map(|(_, container, _)| container.name.as_str()).collect();
    check(law, names.len() == asked, || format!("{slug} asks for {asked} containers, there are {names:?}"))
}

/// What runs answers to its service's name, and to no other of ours.
pub fn answers(line: &Line, pass: &Pass) -> Verdict {
    for (slug, record) in &line.ledger.records {
        if record.status != StackStatus::Running {
            continue;
        }
        for (endpoint, machine) in line.machines.iter().filter(|(e, _)| pass.world.engines.contains_key(*e)) {
            for container in machine.holds().containers {
                let Some(ours) = container.ours(OWNER).filter(|ours| &ours.instance.stack == slug) else { continue };
                let Some(service) = same_stack(pass, &ours.instance) else { continue };
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

/// 15: no secret in anything that was said or written.
pub fn silence(line: &Line) -> Verdict {
    line.said.iter().try_for_each(|text| silent(text))
}

pub fn silent(text: &str) -> Verdict {
    let leak = text.find(SECRET).map(|at| {
        let from = (0..=at.saturating_sub(300)).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        &text[from..at + SECRET.len()]
    });
    check("law 15, silence", leak.is_none(), || format!("a secret was said: {}", leak.unwrap_or_default()))
}

/// Looks at nothing.
pub struct Nobody;

impl Witness for Nobody {
    fn before(&mut self, _: &Line, _: &Pass, _: &StackSlug, _: &Step) {}
    fn after(&mut self, _: &Line, _: &Pass, _: &StackSlug, _: &Step) {}
}

/// Watches the laws that must hold between any two steps.
#[derive(Default)]
pub struct Watch {
    /// Instances of services with several that served when the pass began.
    served: Option<BTreeSet<InstanceId>>,
    begun: Option<Machines>,
    /// Instances of which we stopped a container.
    stopped: BTreeSet<InstanceId>,
    pub broken: Vec<String>,
}

impl Watch {
    pub fn verdict(&mut self) -> Verdict {
        self.served = None;
        self.begun = None;
        self.stopped.clear();
        let broken = std::mem::take(&mut self.broken);
        if broken.is_empty() { Ok(()) } else { Err(broken.join("\n")) }
    }

    fn note(&mut self, verdict: Verdict, step: &Step) {
        if let Err(why) = verdict {
            self.broken.push(format!("{why}\n  at the step {}", said_of_step(step)));
        }
    }
}

impl Witness for Watch {
    fn before(&mut self, line: &Line, pass: &Pass, _: &StackSlug, step: &Step) {
        if self.served.is_none() {
            self.served = Some(serving(line));
            self.begun = Some(machines(line));
        }
        let verdict = in_order(line, pass, step);
        self.note(verdict, step);
    }

    fn after(&mut self, line: &Line, pass: &Pass, _: &StackSlug, step: &Step) {
        if let (Act::Stop { .. } | Act::Remove { .. } | Act::GiveUpName { .. }, Some(id)) = (&step.act, &step.instance)
        {
            self.stopped.insert(id.clone());
        }
        let (Some(served), Some(begun)) = (&self.served, &self.begun) else { return };
        let served: BTreeSet<InstanceId> = served.intersection(&self.stopped).cloned().collect();
        let verdicts = [
            never_two_down(line, pass, &served),
            hands_off(begun, &machines(line)),
            keeps_data(begun, &machines(line)),
        ];
        for verdict in verdicts {
            self.note(verdict, step);
        }
    }
}

fn serving(line: &Line) -> BTreeSet<InstanceId> {
    let mut serving = BTreeSet::new();
    for machine in line.machines.values() {
        for container in machine.holds().containers {
            if let Some(ours) = container.ours(OWNER).filter(|_| machine.is_well(&container.id)) {
                serving.insert(ours.instance);
            }
        }
    }
    serving
}

/// 6: of a service with several instances never two that served are down.
fn never_two_down(line: &Line, pass: &Pass, served: &BTreeSet<InstanceId>) -> Verdict {
    let now = serving(line);
    let mut down: BTreeMap<(&StackSlug, &str), Vec<&InstanceId>> = BTreeMap::new();
    for id in served.difference(&now) {
        let is_asked_for = same_stack(pass, id)
            .is_some_and(|service| id.number <= service.replicas && !service.restart.may_complete());
        if is_asked_for {
            down.entry((&id.stack, id.service.as_str())).or_default().push(id);
        }
    }
    let two = down.values().find(|down| down.len() > 1);
    check("law 6, never two down", two.is_none(), || format!("down are {two:?}"))
}

/// 7: a container is started only when what it waits for is healthy.
fn in_order(line: &Line, pass: &Pass, step: &Step) -> Verdict {
    let law = "law 7, in order";
    let (Act::Start { .. }, Some(id)) = (&step.act, &step.instance) else { return Ok(()) };
    let Some(stack) = pass.wants.get(&id.stack).and_then(Want::stack) else { return Ok(()) };
    let Some(service) = stack.service(id.service.as_str()) else { return Ok(()) };
    for requirement in service.requirements.iter().filter(|r| r.wait_for_healthy == WaitForHealthy::Yes) {
        let Some(required) = stack.service(requirement.service.as_str()) else { continue };
        for number in 1..=required.replicas {
            let other = InstanceId { stack: id.stack.clone(), service: required.name.clone(), number };
            let planned = pass.plan.stacks[&id.stack].instances.get(&other);
            let wanted = planned.map(|planned| &planned.digest);
            let is_ready = line.machines.values().any(|machine| {
                machine.holds().containers.iter().any(|container| {
                    let ours = container.ours(OWNER).filter(|o| o.instance == other && Some(&o.digest) == wanted);
                    let completed = required.restart.may_complete() && container.state == State::Exited { code: 0 };
                    ours.is_some() && (completed || machine.is_well(&container.id))
                })
            });
            check(law, is_ready, || format!("{id} is started while {other} is not healthy"))?;
            let seen = planned.is_some_and(|p| matches!(pass.world.host(&p.placed.host), HostView::Seen(_)));
            check(law, seen, || format!("{id} is started while nobody sees whether {other} is healthy"))?;
        }
    }
    Ok(())
}
