//! `datacenter` without a name: the whole stack in one datacenter, which placement picks.
//!
//! The stack stays in the datacenter where most of it was; within it, single instances may move. If it does not fit
//! there any more it moves as a whole to the one with the best total score that fits it; if there is none, what may
//! stay stays, what else fits is added, and the rest is held. A pinned service decides the datacenter. If no host of
//! the inventory names a datacenter, the fleet counts as one.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::model::stack::Strategy;
use crate::name::ServiceName;
use crate::placement::account::note;
use crate::placement::choose::{
    Choice, Points, best, everywhere, hold_rest, hold_whole, join, keep_what_may_stay, settle, why,
};
use crate::placement::fleet::WHOLE_FLEET;
use crate::placement::refusal::Refusal;
use crate::placement::work::{State, Work, most_common};

pub(super) fn is_kept_in_one(work: &Work<'_>, stack: usize) -> bool {
    let stack = work.stacks[stack].stack;
    stack.placement == Strategy::Datacenter && stack.datacenter.is_none()
}

/// The datacenter where a stack that is kept in one is pinned to, else where most of it was.
pub(super) fn home(work: &Work<'_>, stack: usize) -> Option<usize> {
    if !is_kept_in_one(work, stack) {
        return None;
    }
    if let Some(pinned) = pinned_to(work, stack) {
        return Some(pinned);
    }
    let members = &work.members[work.stacks[stack].members.clone()];
    let sites = members.iter().filter_map(|m| m.previous_site);
    most_common(sites.filter_map(|site| work.fleet.sites[site].datacenter))
}

fn pinned_to(work: &Work<'_>, stack: usize) -> Option<usize> {
    let units = &work.units[work.stacks[stack].units.clone()];
    let pins = units.iter().filter_map(|unit| unit.pin);
    pins.filter_map(|pin| work.fleet.index(pin)).find_map(|site| work.fleet.sites[site].datacenter)
}

/// Places what neither is pinned nor stayed.
pub(super) fn place_rest(work: &mut Work<'_>, stack: usize) {
    work.fleet.begin_trial();
    try_all(work, stack);
    work.fleet.end_trial();
}

fn try_all(work: &mut Work<'_>, stack: usize) {
    let range = work.stacks[stack].units.clone();
    let units: Vec<usize> = range.filter(|unit| work.units[*unit].pin.is_none()).collect();
    let open: Vec<usize> = units.iter().copied().filter(|u| work.units[*u].state != State::Done).collect();
    if open.is_empty() {
        return;
    }
    let pinned = pinned_to(work, stack);
    let home = home(work, stack).filter(|_| pinned.is_some() || stays_anywhere(work, &units));
    let mut failed: BTreeMap<usize, ServiceName> = BTreeMap::new();
    if let Some(home) = home {
        match fill(work, &open, home) {
            Ok(filled) => return explain(work, &filled, &where_it_is(work, home)),
            Err(service) => {
                failed.insert(home, service);
            }
        }
    }
    let stayed = vacate_all(work, &units);
    let may_leave = stayed.iter().all(|(_, site, _)| work.fleet.sites[*site].takes_new());
    let candidates: Vec<usize> = match pinned {
        Some(_) => Vec::new(),
        None if !may_leave => Vec::new(),
        None => {
            let all = work.fleet.datacenters.iter().enumerate();
            all.filter(|(_, d)| d.takes_new).map(|(index, _)| index).collect()
        }
    };
    let mut choices = Vec::new();
    for candidate in candidates.iter().copied().filter(|candidate| Some(*candidate) != home) {
        let instances = work.fleet.datacenters[candidate].instances;
        match fill(work, &units, candidate) {
            Ok(filled) => {
                let total: u64 = filled.iter().map(|(_, c)| u64::from(100_000 - c.rank.0)).sum();
                // The index is in the order of names.
                choices.push((Reverse(total), instances, candidate));
                vacate_all(work, &units);
            }
            Err(service) => {
                failed.insert(candidate, service);
            }
        }
    }
    choices.sort_unstable();
    if let Some((Reverse(total), _, chosen)) = choices.first().copied() {
        if let Ok(filled) = fill(work, &units, chosen) {
            let text = format!(
                " {} (best total {} of {} datacenters)",
                work.fleet.datacenters[chosen].name.trim_start(),
                Points(total),
                candidates.len()
            );
            explain(work, &filled, &text);
        }
        return;
    }
    for (member, site, why) in stayed {
        work.occupy(member, site, why);
    }
    for unit in &units {
        let members = work.units[*unit].members.clone();
        let missing = work.members[members].iter().filter(|m| m.site.is_none()).count();
        work.units[*unit].state = match missing {
            0 => State::Done,
            n if n < work.units[*unit].members.len() => State::Joining,
            _ => State::Open,
        };
    }
    place_what_fits(work, &open, home, &failed);
}

fn stays_anywhere(work: &Work<'_>, units: &[usize]) -> bool {
    let mut members = units.iter().flat_map(|unit| work.units[*unit].members.clone());
    members.any(|member| work.members[member].site.is_some())
}

/// Places units in one datacenter, in order, or none of them; then it names the service that found no host.
fn fill(work: &mut Work<'_>, units: &[usize], datacenter: usize) -> Result<Vec<(usize, Choice)>, ServiceName> {
    let mut filled = Vec::new();
    let mut joined: Vec<(usize, Vec<usize>)> = Vec::new();
    for unit in units.iter().copied() {
        let members: Vec<usize> = {
            let all = work.units[unit].members.clone();
            all.filter(|m| work.members[*m].site.is_none()).collect()
        };
        let done = match work.units[unit].state {
            State::Done => continue,
            State::Joining => {
                let done = join(work, unit);
                if done {
                    joined.push((unit, members.clone()));
                }
                done
            }
            State::Open => match noted_best(work, unit, &members, datacenter) {
                Some(choice) => {
                    settle(work, unit, &members, choice.site, "");
                    filled.push((unit, choice));
                    true
                }
                None => false,
            },
        };
        if !done {
            let service = work.members[members[0]].service.name.clone();
            for (unit, _) in &filled {
                vacate_all(work, &[*unit]);
            }
            for (unit, members) in joined {
                for member in members {
                    work.vacate(member);
                }
                work.units[unit].state = State::Joining;
            }
            return Err(service);
        }
    }
    Ok(filled)
}

fn noted_best(work: &mut Work<'_>, unit: usize, members: &[usize], datacenter: usize) -> Option<Choice> {
    note(work, unit, members, None);
    best(work, unit, members, Some(datacenter))
}

fn where_it_is(work: &Work<'_>, home: usize) -> String {
    format!(" {}, where the stack is", work.fleet.datacenters[home].name.trim_start())
}

fn explain(work: &mut Work<'_>, filled: &[(usize, Choice)], place: &str) {
    for (unit, choice) in filled {
        let text = why(work, *unit, choice, Some(place));
        for member in work.units[*unit].members.clone() {
            work.members[member].why.clone_from(&text);
        }
    }
}

/// Opens units again; gives what they had.
fn vacate_all(work: &mut Work<'_>, units: &[usize]) -> Vec<(usize, usize, String)> {
    let mut had = Vec::new();
    for unit in units {
        for member in work.units[*unit].members.clone() {
            if let Some(site) = work.members[member].site {
                had.push((member, site, std::mem::take(&mut work.members[member].why)));
                work.vacate(member);
            }
        }
        work.units[*unit].state = State::Open;
    }
    had
}

fn place_what_fits(work: &mut Work<'_>, open: &[usize], home: Option<usize>, failed: &BTreeMap<usize, ServiceName>) {
    for unit in open.iter().copied() {
        if let Some(home) = home
            && let Ok(filled) = fill(work, &[unit], home)
        {
            explain(work, &filled, &where_it_is(work, home));
            continue;
        }
        hold_unfit(work, unit, home, failed);
    }
}

fn hold_unfit(work: &mut Work<'_>, unit: usize, home: Option<usize>, failed: &BTreeMap<usize, ServiceName>) {
    let members: Vec<usize> = {
        let all = work.units[unit].members.clone();
        all.filter(|m| work.members[*m].site.is_none()).collect()
    };
    let mut refused = everywhere(work, unit, &members);
    let anchor = {
        let all = work.members[work.stacks[work.units[unit].stack].members.clone()].iter();
        all.filter_map(|m| m.site).min()
    };
    for (site, reasons) in refused.values_mut().enumerate() {
        let datacenter = work.fleet.sites[site].datacenter;
        match datacenter {
            None => reasons.push(Refusal::NoDatacenter),
            Some(index) if reasons.is_empty() => reasons.push(match (failed.get(&index), anchor) {
                (Some(service), _) if Some(index) != home => Refusal::DatacenterTooSmall {
                    datacenter: work.fleet.datacenters[index].name.trim_start().to_owned(),
                    service: service.clone(),
                },
                (_, Some(anchor)) => Refusal::Anchored { host: work.fleet.sites[anchor].host.name.clone() },
                (Some(service), None) => Refusal::DatacenterTooSmall {
                    datacenter: work.fleet.datacenters[index].name.trim_start().to_owned(),
                    service: service.clone(),
                },
                (None, None) => Refusal::NoDatacenter,
            }),
            Some(_) => {}
        }
    }
    if refused.is_empty() {
        return hold_whole(work, unit);
    }
    keep_what_may_stay(work, unit);
    let why = match home.map(|home| work.fleet.datacenters[home].name) {
        Some(home) if home != WHOLE_FLEET => format!("the stack stays in datacenter `{home}`, where nothing takes it"),
        Some(_) | None => "no datacenter fits the whole stack".to_owned(),
    };
    hold_rest(work, unit, &why, &refused);
}
