//! Rule 2: whether a host may take some instances together, and rule 3: whether they may stay where they are.
//!
//! One walk serves all questions: [`AnyRefusal`] stops at the first "no" without writing it down, [`EveryRefusal`]
//! collects them all, and [`Everything`] every "yes", too. So what is explained is what was decided.

use std::ops::ControlFlow;

use crate::model::host::HostStatus;
use crate::model::record::HostCondition;
use crate::model::stack::{Constraints, OnHostLoss, Stack, Strategy};
use crate::name::ServiceName;
use crate::placement::assent::Assent;
use crate::placement::fleet::{Holder, Site};
use crate::placement::refusal::Refusal;
use crate::placement::work::{Member, Unit, Work};

/// How instances come to a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coming {
    /// The host must be active and reachable.
    New,
    /// They are there already, and [`may_stay`] agrees.
    Staying,
}

pub(super) trait Judge {
    /// Continues if further refusals are wanted.
    fn refuse(&mut self, refusal: impl FnOnce() -> Refusal) -> ControlFlow<()>;

    /// A rule that was asked, and passed.
    fn assent(&mut self, _: impl FnOnce() -> Assent) {}
}

pub(super) struct AnyRefusal;

impl Judge for AnyRefusal {
    fn refuse(&mut self, _: impl FnOnce() -> Refusal) -> ControlFlow<()> {
        ControlFlow::Break(())
    }
}

#[derive(Default)]
pub(super) struct EveryRefusal(pub Vec<Refusal>);

impl Judge for EveryRefusal {
    fn refuse(&mut self, refusal: impl FnOnce() -> Refusal) -> ControlFlow<()> {
        let refusal = refusal();
        if !self.0.contains(&refusal) {
            self.0.push(refusal);
        }
        ControlFlow::Continue(())
    }
}

/// Both sides of the answer, for people.
#[derive(Default)]
pub(super) struct Everything {
    pub assents: Vec<Assent>,
    pub refusals: EveryRefusal,
}

impl Judge for Everything {
    fn refuse(&mut self, refusal: impl FnOnce() -> Refusal) -> ControlFlow<()> {
        self.refusals.refuse(refusal)
    }

    fn assent(&mut self, assent: impl FnOnce() -> Assent) {
        let assent = assent();
        if !self.assents.contains(&assent) {
            self.assents.push(assent);
        }
    }
}

/// Whether these members of a unit fit a host beside what the mapping has there so far.
pub(super) fn may_take(work: &Work<'_>, unit: usize, members: &[usize], site: usize, coming: Coming) -> bool {
    judge(work, unit, members, site, coming, &mut AnyRefusal).is_continue()
}

/// Every reason against it.
pub(super) fn refusals(work: &Work<'_>, unit: usize, members: &[usize], site: usize, coming: Coming) -> Vec<Refusal> {
    let mut every = EveryRefusal::default();
    let _ = judge(work, unit, members, site, coming, &mut every);
    every.0
}

/// All that speaks for and against it.
pub(super) fn everything(work: &Work<'_>, unit: usize, members: &[usize], site: usize, coming: Coming) -> Everything {
    let mut everything = Everything::default();
    let _ = judge(work, unit, members, site, coming, &mut everything);
    everything
}

fn judge(
    work: &Work<'_>,
    unit: usize,
    members: &[usize],
    index: usize,
    coming: Coming,
    judge: &mut impl Judge,
) -> ControlFlow<()> {
    let unit = &work.units[unit];
    let site = &work.fleet.sites[index];
    match coming {
        Coming::New => status(site, judge)?,
        Coming::Staying => judge.assent(|| Assent::IsThere),
    }
    capacity(work, members, site, judge)?;
    volumes(work, unit, index, judge)?;
    let several =
        members.windows(2).any(|pair| work.members[pair[0]].service_index != work.members[pair[1]].service_index);
    let mut tagged = Tagged { judge, service: several.then(|| &work.members[members[0]].service.name) };
    for (n, number) in members.iter().enumerate() {
        let member = &work.members[*number];
        tagged.service = several.then_some(&member.service.name);
        // Replicas of one service ask for the same.
        if n == 0 || work.members[members[n - 1]].service_index != member.service_index {
            constraints(work, unit, member, site, &mut tagged)?;
        }
        ports(work, &members[..n], member, site, &mut tagged)?;
        not_with(work, &members[..n], member, index, &mut tagged)?;
    }
    ControlFlow::Continue(())
}

/// Says whose refusal it is where several services must be on one host.
struct Tagged<'j, J> {
    judge: &'j mut J,
    service: Option<&'j ServiceName>,
}

impl<J: Judge> Judge for Tagged<'_, J> {
    fn refuse(&mut self, refusal: impl FnOnce() -> Refusal) -> ControlFlow<()> {
        let service = self.service;
        self.judge.refuse(|| match service {
            None => refusal(),
            Some(service) => Refusal::Together { service: service.clone(), refusal: Box::new(refusal()) },
        })
    }

    fn assent(&mut self, assent: impl FnOnce() -> Assent) {
        self.judge.assent(assent);
    }
}

fn status(site: &Site<'_>, judge: &mut impl Judge) -> ControlFlow<()> {
    let status = site.host.status;
    if status != HostStatus::Active {
        judge.refuse(|| Refusal::Status(status))?;
    }
    match site.condition {
        HostCondition::Reachable => {
            if status == HostStatus::Active {
                judge.assent(|| Assent::TakesNew);
            }
            ControlFlow::Continue(())
        }
        HostCondition::Unreachable => judge.refuse(|| Refusal::Unreachable),
        HostCondition::Lost | HostCondition::Abandoned => judge.refuse(|| Refusal::Lost),
    }
}

fn capacity(work: &Work<'_>, members: &[usize], site: &Site<'_>, judge: &mut impl Judge) -> ControlFlow<()> {
    let (mut cpu, mut memory) = (0u128, 0u128);
    for number in members {
        let ask = work.members[*number].ask();
        cpu += u128::from(ask.0);
        memory += u128::from(ask.1);
    }
    let shown = |sum: u128| u64::try_from(sum).unwrap_or(u64::MAX);
    if let Some(free) = site.cpu.unpromised().filter(|free| u128::from(*free) < cpu) {
        let capacity = site.cpu.capacity().unwrap_or(free);
        judge.refuse(|| Refusal::Cpu { free, capacity, asked: shown(cpu) })?;
    } else if cpu > 0 {
        judge.assent(|| Assent::Cpu { free: site.cpu.unpromised(), asked: shown(cpu) });
    }
    if let Some(free) = site.memory.unpromised().filter(|free| u128::from(*free) < memory) {
        let capacity = site.memory.capacity().unwrap_or(free);
        judge.refuse(|| Refusal::Memory { free, capacity, asked: shown(memory) })?;
    } else if memory > 0 {
        judge.assent(|| Assent::Memory { free: site.memory.unpromised(), asked: shown(memory) });
    }
    ControlFlow::Continue(())
}

fn volumes(work: &Work<'_>, unit: &Unit<'_>, index: usize, judge: &mut impl Judge) -> ControlFlow<()> {
    for tie in &unit.ties {
        if tie.sites.binary_search(&index).is_ok() {
            judge.assent(|| Assent::Volume { volume: tie.volume.clone() });
            continue;
        }
        judge.refuse(|| Refusal::VolumeElsewhere {
            stack: work.stacks[unit.stack].slug.clone(),
            volume: tie.volume.clone(),
            hosts: tie.hosts.iter().map(|name| (*name).clone()).collect(),
        })?;
    }
    ControlFlow::Continue(())
}

/// What files say of a service and of a host, without regard to anything else that is placed.
fn constraints(
    work: &Work<'_>,
    unit: &Unit<'_>,
    member: &Member<'_>,
    site: &Site<'_>,
    judge: &mut impl Judge,
) -> ControlFlow<()> {
    let host = site.host;
    let stack = work.stacks[member.stack].stack;
    match member.pin {
        Some(target) if *target != host.name => judge.refuse(|| Refusal::NotTarget { target: target.clone() })?,
        Some(_) => judge.assent(|| Assent::Target),
        None if stack.placement == Strategy::Manual && unit.pin.is_none() => judge.refuse(|| Refusal::NoTarget)?,
        None => {}
    }
    asks_of_a_host(stack, &member.service.constraints, site, judge)
}

/// What depends on nothing but the host, so that it is judged once for all services that ask for the same.
pub(super) fn asks_of_a_host(
    stack: &Stack,
    constraints: &Constraints,
    site: &Site<'_>,
    judge: &mut impl Judge,
) -> ControlFlow<()> {
    let host = site.host;
    for wanted in [&stack.datacenter, &constraints.datacenter].into_iter().flatten() {
        if host.datacenter.as_ref() != Some(wanted) {
            judge.refuse(|| Refusal::Datacenter { wanted: wanted.clone(), found: host.datacenter.clone() })?;
        } else {
            judge.assent(|| Assent::Datacenter { name: wanted.clone() });
        }
    }
    for (label, wanted) in &constraints.labels {
        let found = host.labels.get(label);
        if found != Some(wanted) {
            judge.refuse(|| Refusal::Label { label: label.clone(), wanted: wanted.clone(), found: found.cloned() })?;
        } else {
            judge.assent(|| Assent::Label { label: label.clone(), value: wanted.clone() });
        }
    }
    if let Some(wanted) = constraints.min_cpu {
        match site.cpu.total {
            Some(has) if has < wanted => judge.refuse(|| Refusal::MinCpu { has, wanted })?,
            has => judge.assent(|| Assent::MinCpu { has, wanted }),
        }
    }
    if let Some(wanted) = constraints.min_memory {
        match site.memory.total {
            Some(has) if has < wanted => judge.refuse(|| Refusal::MinMemory { has, wanted })?,
            has => judge.assent(|| Assent::MinMemory { has, wanted }),
        }
    }
    if constraints.not_on.contains(&host.name) {
        judge.refuse(|| Refusal::NotOn)?;
    } else if !constraints.not_on.is_empty() {
        judge.assent(|| Assent::NotExcluded);
    }
    ControlFlow::Continue(())
}

fn ports(
    work: &Work<'_>,
    earlier: &[usize],
    member: &Member<'_>,
    site: &Site<'_>,
    judge: &mut impl Judge,
) -> ControlFlow<()> {
    let engine = &work.fleet.engines[site.engine];
    for port in &member.service.ports {
        let Some(wanted) = member.fixed_socket(port, site.host) else {
            continue;
        };
        let in_unit = || {
            let clashes = |number: &&usize| {
                let other = &work.members[**number];
                let sockets = other.service.ports.iter().filter_map(|p| other.fixed_socket(p, site.host));
                sockets.into_iter().any(|socket| {
                    let same_address = socket.ip == wanted.ip || socket.ip.is_none() || wanted.ip.is_none();
                    socket.port == wanted.port && socket.protocol == wanted.protocol && same_address
                })
            };
            earlier.iter().find(clashes).map(|number| Holder::Ours(*number))
        };
        if let Some(holder) = engine.holder(wanted).or_else(in_unit) {
            judge.refuse(|| Refusal::PortTaken {
                ip: wanted.ip,
                port: wanted.port,
                protocol: wanted.protocol,
                holder: match holder {
                    Holder::Others => None,
                    Holder::Ours(number) => Some(work.members[number].id.clone()),
                },
            })?;
        } else {
            judge.assent(|| Assent::PortFree { port: wanted.port, protocol: wanted.protocol });
        }
    }
    ControlFlow::Continue(())
}

fn not_with(
    work: &Work<'_>,
    earlier: &[usize],
    member: &Member<'_>,
    index: usize,
    judge: &mut impl Judge,
) -> ControlFlow<()> {
    let stack = &work.stacks[member.stack];
    let Some(enemies) = stack.enemies.get(member.service_index) else {
        return ControlFlow::Continue(());
    };
    for enemy in enemies {
        let is_here = stack.placed.of((index, *enemy)) > 0
            || earlier.iter().any(|number| work.members[*number].service_index == *enemy);
        if is_here {
            judge.refuse(|| Refusal::NotWith { service: stack.stack.services[*enemy].name.clone() })?;
        } else {
            judge.assent(|| Assent::Apart { service: stack.stack.services[*enemy].name.clone() });
        }
    }
    ControlFlow::Continue(())
}

/// Whether a unit may stay where it was, before rule 2 is asked: a sentence for people either way.
///
/// What is pinned or tied to the host by a volume's data stays on a draining one, because it has nowhere else to be; and
/// a change of the strategy does not move it either.
pub(super) fn may_stay(work: &Work<'_>, unit: usize, index: usize) -> Result<String, String> {
    let unit = &work.units[unit];
    let site = &work.fleet.sites[index];
    let host = &site.host.name;
    let status = site.host.status;
    let tie = unit.ties.iter().find(|tie| tie.sites == [index]);
    if status == HostStatus::Left {
        return Err(format!("leaves {host}, which left the inventory"));
    }
    if site.is_gone() {
        let gone = if status == HostStatus::Offline { "offline" } else { "lost" };
        let waits = |m: &Member<'_>| m.service.on_host_loss == OnHostLoss::Wait;
        if work.members[unit.members.clone()].iter().any(waits) {
            return Ok(format!("waits for {host}, which is {gone} (onHostLoss: wait)"));
        }
        return Err(format!("leaves {host}, which is {gone}"));
    }
    if status == HostStatus::Draining {
        return match (unit.pin, tie) {
            (Some(_), _) => Ok("stays where it is: pinned by targetHost".to_owned()),
            (None, Some(tie)) => Ok(format!("stays where it is: the volume `{}` is here", tie.volume)),
            (None, None) => Err(format!("leaves {host}, which is draining")),
        };
    }
    match &work.stacks[unit.stack].unstuck {
        Some(changed) if unit.pin.is_none() && tie.is_none() => return Err(format!("leaves {host}: {changed}")),
        Some(_) | None => {}
    }
    if site.condition == HostCondition::Lost {
        return Ok("stays where it is: too many hosts were lost at once, so nothing moves".to_owned());
    }
    Ok("stays where it is".to_owned())
}
