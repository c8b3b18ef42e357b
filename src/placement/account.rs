//! What every host had for and against an instance when its turn came, for people who ask.
//!
//! Takes the same input as placement, and one stack. Gives, for each of its instances, every host with the rules that it
//! passed and failed, its score in parts, and what put another host first.
//!
//! Because a pass fills hosts one instance after another, an account is taken while the very same pass decides: it holds
//! the numbers that decided, not those of the end.

use std::sync::Arc;

use crate::model::host::HostStatus;
use crate::model::stack::Strategy;
use crate::name::{HostName, InstanceId, StackSlug};
use crate::placement::assent::Assent;
use crate::placement::datacenter;
use crate::placement::refusal::Refusal;
use crate::placement::rules::{Coming, everything};
use crate::placement::work::Work;

/// Why an instance is where it is, or nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    pub instance: InstanceId,
    pub outcome: Outcome,
    /// Other instances that must be on the same host, and were judged with it.
    pub together: Vec<InstanceId>,
    pub strategy: Strategy,
    /// Every host of the inventory: the chosen one, those that would take it by their order, the others by name.
    pub candidates: Vec<Candidate>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Placed { host: HostName, why: String },
    Held { why: String },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    pub host: HostName,
    pub status: HostStatus,
    pub standing: Standing,
    pub assents: Vec<Assent>,
    pub refusals: Vec<Refusal>,
    pub score: Score,
    /// Instances of the same stack that it had.
    pub of_stack: u32,
    datacenter: Option<usize>,
}

/// The score of DESIGN section 6, before the instance was added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Score {
    /// Thousandths of a point, to 100,000.
    pub points: u32,
    /// Thousandths of a per cent of the cores that were neither used nor promised.
    pub cpu_free: u64,
    /// The same of the memory.
    pub memory_free: u64,
    /// Instances of ours that it had.
    pub instances: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    Chosen,
    Refused,
    /// It may take the instance, and another host came first.
    Behind(Behind),
}

/// What put another host first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Behind {
    /// The instance stays where it is.
    Stays,
    /// The stack is placed in one datacenter, and this host is in another.
    OtherDatacenter,
    MoreOfTheStack,
    LowerScore,
    /// Of two with one score.
    MoreInstances,
    /// Of two with one score and as many instances.
    LaterName,
}

/// How many members are judged together, and what of each host.
#[derive(Debug)]
pub(super) struct Turn {
    members: Vec<usize>,
    staying: bool,
    candidates: Vec<Candidate>,
}

/// Takes the account of some members of a unit, if its stack is the one that is asked about. A later one counts.
pub(super) fn note(work: &mut Work<'_>, unit: usize, members: &[usize], at_home: Option<(usize, Coming)>) {
    if work.asked.is_none() || work.asked != Some(work.stacks[work.units[unit].stack].slug) {
        return;
    }
    let candidates = candidates(work, unit, members, at_home);
    let staying = matches!(at_home, Some((_, Coming::Staying)));
    let turn = Arc::new(Turn { members: members.to_vec(), staying, candidates });
    work.turns.extend(members.iter().map(|member| (*member, turn.clone())));
}

fn candidates(work: &Work<'_>, unit: usize, members: &[usize], at_home: Option<(usize, Coming)>) -> Vec<Candidate> {
    let stack = work.units[unit].stack;
    let candidate = |index: usize| {
        let site = &work.fleet.sites[index];
        let coming = at_home.filter(|(home, _)| *home == index).map_or(Coming::New, |(_, coming)| coming);
        let judged = everything(work, unit, members, index, coming);
        Candidate {
            host: site.host.name.clone(),
            status: site.host.status,
            standing: Standing::Refused,
            assents: judged.assents,
            refusals: judged.refusals.0,
            score: Score {
                points: site.score(),
                cpu_free: site.cpu.free_share(),
                memory_free: site.memory.free_share(),
                instances: site.instances,
            },
            of_stack: work.of_stack(stack, index),
            datacenter: site.datacenter,
        }
    };
    (0..work.fleet.sites.len()).map(candidate).collect()
}

/// The accounts of a stack, when everything is decided.
pub(super) fn of_stack(work: &Work<'_>, slug: &StackSlug) -> Vec<Account> {
    let Some(number) = work.stacks.iter().position(|stack| stack.slug == slug) else { return Vec::new() };
    let members = work.stacks[number].members.clone();
    let mut accounts: Vec<Account> = members.map(|member| of_member(work, number, member)).collect();
    accounts.sort_by(|a, b| a.instance.cmp(&b.instance));
    accounts
}

fn of_member(work: &Work<'_>, stack: usize, member: usize) -> Account {
    let turn = work.turns.get(&member).cloned().unwrap_or_else(|| Arc::new(without_a_turn(work, stack, member)));
    let own = &work.members[member];
    let strategy = work.stacks[stack].stack.placement;
    let others = turn.members.iter().filter(|other| **other != member);
    let mut candidates = turn.candidates.clone();
    let held = work.held.get(&own.id);
    let chosen = own.site.map(|site| candidates[site].clone());
    for (site, candidate) in candidates.iter_mut().enumerate() {
        if let Some(unplaced) = held {
            // What decided in the end counts: a stack may not fit a datacenter where this one would.
            candidate.refusals = unplaced.refusals.get(&candidate.host).cloned().unwrap_or_default();
        }
        candidate.standing = match &chosen {
            Some(_) if own.site == Some(site) => Standing::Chosen,
            Some(chosen) if candidate.refusals.is_empty() => {
                let one = datacenter::is_kept_in_one(work, stack);
                Standing::Behind(behind(&turn, strategy, one, candidate, chosen))
            }
            Some(_) | None => Standing::Refused,
        };
        if candidate.standing == Standing::Chosen {
            candidate.refusals.clear();
        }
    }
    let rank = |candidate: &Candidate| match candidate.standing {
        Standing::Chosen => 0,
        Standing::Behind(_) => 1,
        Standing::Refused => 2,
    };
    let by_stack = |candidate: &Candidate| match strategy {
        Strategy::Spread | Strategy::Datacenter => candidate.of_stack,
        Strategy::Auto | Strategy::Single | Strategy::Manual => 0,
    };
    // By name within those that are refused, for they were in that order.
    candidates.sort_by_key(|candidate| match rank(candidate) {
        2 => (2, 0, 0, 0),
        rank => (rank, by_stack(candidate), 100_000 - candidate.score.points, candidate.score.instances),
    });
    Account {
        instance: own.id.clone(),
        outcome: match (own.site, held) {
            (Some(site), _) => Outcome::Placed { host: work.fleet.sites[site].host.name.clone(), why: own.why.clone() },
            (None, held) => Outcome::Held { why: held.map_or_else(String::new, |unplaced| unplaced.why.clone()) },
        },
        together: others.map(|other| work.members[*other].id.clone()).collect(),
        strategy,
        candidates,
    }
}

/// It was held before any host was asked: what hosts have against it is in the hold, the rest is as in the end.
fn without_a_turn(work: &Work<'_>, stack: usize, member: usize) -> Turn {
    let unit = work.stacks[stack].units.clone().find(|unit| work.units[*unit].members.contains(&member));
    let members = vec![member];
    let candidates = unit.map_or_else(Vec::new, |unit| candidates(work, unit, &members, None));
    Turn { members, staying: false, candidates }
}

fn behind(turn: &Turn, strategy: Strategy, one_datacenter: bool, candidate: &Candidate, chosen: &Candidate) -> Behind {
    if turn.staying {
        return Behind::Stays;
    }
    if one_datacenter && candidate.datacenter != chosen.datacenter {
        return Behind::OtherDatacenter;
    }
    let by_stack = match strategy {
        Strategy::Spread | Strategy::Datacenter => true,
        Strategy::Auto | Strategy::Single | Strategy::Manual => false,
    };
    if by_stack && candidate.of_stack > chosen.of_stack {
        Behind::MoreOfTheStack
    } else if candidate.score.points < chosen.score.points {
        Behind::LowerScore
    } else if candidate.score.instances > chosen.score.instances {
        Behind::MoreInstances
    } else {
        Behind::LaterName
    }
}
