//! The laws of DESIGN section 9 that need to know what the line saw and did, each a check of its own.
//!
//! Takes what the line saw and did. Gives `Err` with the number of the law and what breaks it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bayplan::model::host::HostStatus;
use bayplan::model::record::{HostCondition, Ledger, Record};
use bayplan::model::stack::WaitForHealthy;
use bayplan::model::world::{EngineView, HostView, State};
use bayplan::name::{InstanceId, StackSlug};
use bayplan::plan::step::{Act, Step};
use bayplan::plan::want::{Gone, Want};

use crate::line::{Line, Pass, Witness};
use crate::verdict::{
    AtRest, Machines, OWNER, Verdict, check, hands_off, keeps_data, ours, said_of_step, service, silent,
};

pub fn machines(line: &Line) -> Machines {
    line.machines.iter().map(|(endpoint, machine)| (endpoint.clone(), machine.holds())).collect()
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
            let seen = Arc::make_mut(seen);
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
        accepted: pass.accepted.clone(),
        plan: pass.plan.clone(),
        lost: pass.lost.clone(),
        lost_volumes: pass.lost_volumes.clone(),
    };
    let plan = line.plan(&shuffled);
    check(law, plan == pass.plan, || {
        format!("engines that list in another order give\n{plan:#?}\nnot\n{:#?}", pass.plan)
    })
}

/// 5: what is recorded on a host that did not answer stays recorded there and is not made anywhere else.
pub fn blind_is_not_empty(pass: &Pass, before: &Machines, after: &Machines, ledger: &Ledger) -> Verdict {
    let law = "law 5, blind is not empty";
    let made: BTreeSet<InstanceId> = {
        let known: BTreeSet<&String> = ours(before).map(|(_, container, _)| &container.id).collect();
        ours(after).filter(|(_, c, _)| !known.contains(&c.id)).map(|(_, _, ours)| ours.instance.clone()).collect()
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

/// 13: what would run nowhere afterwards is at most what the brake lets through.
pub fn brake(line: &Line, pass: &Pass, before: &Machines, after: &Machines) -> Verdict {
    let recorded: BTreeSet<InstanceId> = pass
        .ledger
        .records
        .iter()
        .filter(|(slug, _)| !matches!(pass.wants.get(*slug), Some(Want::Nothing { why: Gone::BadContent(_), .. })))
        .flat_map(|(_, record)| record.running.iter().flat_map(|running| running.instances.keys().cloned()))
        .collect();
    let there: BTreeSet<InstanceId> = ours(before).map(|(_, _, ours)| ours.instance.clone()).collect();
    let left: BTreeSet<InstanceId> = ours(after).map(|(_, _, ours)| ours.instance.clone()).collect();
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

/// What there is on a line at rest.
pub fn at_rest<'a>(line: &'a Line, pass: &'a Pass) -> AtRest<'a> {
    AtRest {
        ledger: &line.ledger,
        machines: &line.machines,
        wants: &pass.wants,
        placement: &pass.placement,
        world: &pass.world,
        were_away: BTreeSet::new(),
    }
}

/// 15: no secret in anything that was said or written.
pub fn silence(line: &Line) -> Verdict {
    line.said.iter().try_for_each(|text| silent(text))
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
        for verdict in [starts_in_order(line, pass, step), goes_in_order(line, pass, step)] {
            self.note(verdict, step);
        }
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
                serving.insert(ours.instance.clone());
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
        let is_asked_for = service(&pass.wants, id)
            .is_some_and(|service| id.number <= service.replicas && !service.restart.may_complete());
        if is_asked_for {
            down.entry((&id.stack, id.service.as_str())).or_default().push(id);
        }
    }
    let two = down.values().find(|down| down.len() > 1);
    check("law 6, never two down", two.is_none(), || format!("down are {two:?}"))
}

const IN_ORDER: &str = "law 7, in order";

/// 7: a container is started only when what it waits for is healthy.
fn starts_in_order(line: &Line, pass: &Pass, step: &Step) -> Verdict {
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
            check(IN_ORDER, is_ready, || format!("{id} is started while {other} is not healthy"))?;
            let seen = planned.is_some_and(|p| matches!(pass.world.host(&p.placed.host), HostView::Seen(_)));
            check(IN_ORDER, seen, || format!("{id} is started while nobody sees whether {other} is healthy"))?;
        }
    }
    Ok(())
}

/// 7: what nothing asks for any more is stopped only when what required it, and goes too, does not run any more.
fn goes_in_order(line: &Line, pass: &Pass, step: &Step) -> Verdict {
    let (Act::Stop { .. }, Some(id)) = (&step.act, &step.instance) else { return Ok(()) };
    let Some(before) = pass.before.get(&id.stack).filter(|_| service(&pass.wants, id).is_none()) else { return Ok(()) };
    let requires = |other: &InstanceId| {
        let service = before.service(other.service.as_str());
        service.is_some_and(|service| service.requirements.iter().any(|r| r.service == id.service))
    };
    for other in &pass.plan.stacks[&id.stack].steps {
        let (Act::Stop { container, .. }, Some(dependent)) = (&other.act, &other.instance) else { continue };
        if service(&pass.wants, dependent).is_some() || !requires(dependent) {
            continue;
        }
        let runs = line.machines.values().flat_map(|machine| machine.holds().containers);
        let runs = runs.into_iter().any(|held| held.id == *container && held.state == State::Running);
        check(IN_ORDER, !runs, || format!("{id} is stopped while {dependent}, which goes too, requires it"))?;
    }
    Ok(())
}
