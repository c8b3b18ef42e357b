//! Rules 1, 3 and 4: who comes first, who stays, and which host the others get.
//!
//! Pinned units come first, then those that stay, then the rest; so nothing new ever displaces what runs, except what a
//! person pinned. Of a unit that is partly new, what was there stays first and the rest joins it afterwards; if the
//! rest does not fit, the unit moves as a whole, and if nothing takes it as a whole, what was there stays and the rest
//! is held. It never moves as a whole off a host that merely takes nothing new (maintenance, unreachable, waited for).

use std::collections::BTreeMap;

use crate::model::stack::Strategy;
use crate::name::HostName;
use crate::placement::account::note;
use crate::placement::datacenter;
use crate::placement::fleet::Rank;
use crate::placement::refusal::Refusal;
use crate::placement::rules::{Coming, may_stay, may_take, refusals};
use crate::placement::work::{State, Work, unplaced};

/// The host that a unit gets, and the numbers that decided.
#[derive(Debug, Clone, Copy)]
pub(super) struct Choice {
    pub site: usize,
    pub rank: Rank,
    /// Instances of the stack on it before.
    pub of_stack: u32,
    /// The next best host that would take it, under strategies that go by score alone.
    pub next: Option<Rank>,
}

/// Decides a host, or a hold, for every member.
pub(super) fn choose_all(work: &mut Work<'_>) {
    for unit in 0..work.units.len() {
        if work.units[unit].pin.is_some() {
            place_pinned(work, unit);
        }
    }
    for stack in 0..work.stacks.len() {
        let kept_in = datacenter::home(work, stack);
        for unit in work.stacks[stack].units.clone() {
            if work.units[unit].state == State::Open {
                stay(work, unit, kept_in);
            }
        }
    }
    work.fleet.rank_all();
    for stack in 0..work.stacks.len() {
        if datacenter::is_kept_in_one(work, stack) {
            datacenter::place_rest(work, stack);
        } else {
            for unit in work.stacks[stack].units.clone() {
                place_rest(work, unit);
            }
        }
    }
}

fn place_pinned(work: &mut Work<'_>, unit: usize) {
    let Some(pin) = work.units[unit].pin else { return };
    let members = work.numbers(work.units[unit].members.clone()).to_vec();
    let others = |work: &mut Work<'_>, why: &str| {
        let refused = everywhere(work, unit, &members);
        hold_rest(work, unit, why, &refused);
    };
    let Some(site) = work.fleet.index(pin) else {
        let why = format!("its targetHost {pin} is not in the inventory");
        return others(work, &why);
    };
    let stays = may_stay(work, unit, site).ok();
    let all_there = members.iter().all(|m| work.members[*m].previous_site == Some(site));
    let coming = match &stays {
        Some(_) if all_there => Coming::Staying,
        Some(_) | None => Coming::New,
    };
    note(work, unit, &members, Some((site, coming)));
    if may_take(work, unit, &members, site, coming) {
        for member in &members {
            let why = pinned_why(work, unit, *member, stays.as_deref());
            work.occupy(*member, site, why);
        }
        work.units[unit].state = State::Done;
        return;
    }
    let refused = everywhere(work, unit, &members);
    if let Some(stays) = stays {
        stay_alone(work, unit, site, &stays);
    }
    let why = format!("its targetHost {pin} does not take it");
    hold_rest(work, unit, &why, &refused);
}

fn pinned_why(work: &Work<'_>, unit: usize, member: usize, stays: Option<&str>) -> String {
    let own = &work.members[member];
    let first = if own.pin.is_some() {
        "pinned by targetHost".to_owned()
    } else {
        let other = work.members[work.units[unit].members.clone()].iter().find(|m| m.pin.is_some());
        let name = other.map_or("its stack", |m| m.service.name.as_str());
        format!("goes with `{name}`, which is pinned by targetHost")
    };
    match stays {
        Some(waits) if waits.starts_with("waits") && own.previous_site.is_some() => format!("{first}; {waits}"),
        Some(_) | None => first,
    }
}

/// Rule 3 for what was at home. `kept_in` is the datacenter that the whole stack stays in, if it is placed in one.
fn stay(work: &mut Work<'_>, unit: usize, kept_in: Option<usize>) {
    let Some(home) = work.units[unit].home else { return };
    if kept_in.is_some() && work.fleet.sites[home].datacenter != kept_in {
        return;
    }
    let why = match may_stay(work, unit, home) {
        Ok(why) => why,
        Err(left) => {
            work.units[unit].left = Some(left);
            return;
        }
    };
    let (there, others) = split(work, unit, home);
    if !may_take(work, unit, &there, home, Coming::Staying) {
        let host = &work.fleet.sites[home].host.name;
        let first = refusals(work, unit, &there, home, Coming::Staying).into_iter().next();
        let first = first.map_or_else(|| "does not take it".to_owned(), |r| r.to_string());
        work.units[unit].left = Some(format!("leaves {host}, which {first}"));
        return;
    }
    note(work, unit, &there, Some((home, Coming::Staying)));
    for member in there {
        work.occupy(member, home, why.clone());
    }
    work.units[unit].state = if others.is_empty() { State::Done } else { State::Joining };
}

fn place_rest(work: &mut Work<'_>, unit: usize) {
    match work.units[unit].state {
        State::Done => {}
        State::Open => {
            let members = work.numbers(work.units[unit].members.clone()).to_vec();
            note(work, unit, &members, None);
            if let Some(choice) = best(work, unit, &members, None) {
                let why = why(work, unit, &choice, None);
                settle(work, unit, &members, choice.site, &why);
            } else {
                hold_whole(work, unit);
            }
        }
        State::Joining => {
            if !join(work, unit) {
                move_whole_or_hold(work, unit);
            }
        }
    }
}

/// Puts the new members of a unit beside those that stayed.
pub(super) fn join(work: &mut Work<'_>, unit: usize) -> bool {
    let Some(home) = work.units[unit].home else {
        return false;
    };
    let (_, joining) = split(work, unit, home);
    note(work, unit, &joining, None);
    let fits = may_take(work, unit, &joining, home, Coming::New);
    if fits {
        let strategy = work.stacks[work.units[unit].stack].stack.placement.as_str();
        let why = format!("{strategy}: joins what it must be on one host with");
        settle(work, unit, &joining, home, &why);
    }
    fits
}

fn move_whole_or_hold(work: &mut Work<'_>, unit: usize) {
    let Some(home) = work.units[unit].home else { return };
    let members = work.numbers(work.units[unit].members.clone()).to_vec();
    let (there, joining) = split(work, unit, home);
    let name = work.fleet.sites[home].host.name.clone();
    let at_home = refusals(work, unit, &joining, home, Coming::New);
    let stayed: Vec<String> = there.iter().map(|m| work.members[*m].why.clone()).collect();
    for member in &there {
        work.vacate(*member);
    }
    note(work, unit, &members, None);
    if work.fleet.sites[home].takes_new()
        && let Some(choice) = best(work, unit, &members, None)
    {
        let first = at_home.first().map_or_else(String::new, ToString::to_string);
        work.units[unit].left = Some(format!("leaves {name}, which {first}"));
        let why = why(work, unit, &choice, None);
        return settle(work, unit, &members, choice.site, &why);
    }
    let mut refused = everywhere(work, unit, &members);
    for (host, reasons) in &mut refused {
        if *host == name {
            reasons.clone_from(&at_home);
        } else if reasons.is_empty() {
            reasons.push(Refusal::Anchored { host: name.clone() });
        }
    }
    for (member, why) in there.iter().zip(stayed) {
        work.occupy(*member, home, why);
    }
    let why = format!("it must be with what stays on {name}, which does not take it");
    hold_rest(work, unit, &why, &refused);
}

/// Members of a unit that were on a site, and the others.
pub(super) fn split(work: &Work<'_>, unit: usize, site: usize) -> (Vec<usize>, Vec<usize>) {
    let was_there = |member: &usize| work.members[*member].previous_site == Some(site);
    work.units[unit].members.clone().partition(was_there)
}

pub(super) fn settle(work: &mut Work<'_>, unit: usize, members: &[usize], site: usize, why: &str) {
    for member in members {
        work.occupy(*member, site, why.to_owned());
    }
    work.units[unit].state = State::Done;
}

/// Of a unit for which there is no host: what may stay where it is by itself stays, the rest is held.
pub(super) fn hold_whole(work: &mut Work<'_>, unit: usize) {
    let members = work.numbers(work.units[unit].members.clone()).to_vec();
    let refused = everywhere(work, unit, &members);
    keep_what_may_stay(work, unit);
    let why = match refused.len() {
        0 => "the inventory has no host".to_owned(),
        1 => "the only host does not take it".to_owned(),
        n => format!("none of {n} hosts takes it"),
    };
    hold_rest(work, unit, &why, &refused);
}

/// Of a unit that nothing takes as a whole: what may stay at home by itself, stays.
pub(super) fn keep_what_may_stay(work: &mut Work<'_>, unit: usize) {
    if work.units[unit].members.len() > 1
        && let Some(home) = work.units[unit].home
        && let Ok(stays) = may_stay(work, unit, home)
    {
        stay_alone(work, unit, home, &stays);
    }
}

fn stay_alone(work: &mut Work<'_>, unit: usize, home: usize, why: &str) {
    let (there, _) = split(work, unit, home);
    for member in there {
        let open = work.members[member].site.is_none();
        if open && may_take(work, unit, &[member], home, Coming::Staying) {
            work.occupy(member, home, why.to_owned());
        }
    }
}

pub(super) fn hold_rest(work: &mut Work<'_>, unit: usize, why: &str, refused: &BTreeMap<HostName, Vec<Refusal>>) {
    let mut sentence = why.to_owned();
    for tie in work.units[unit].ties.iter().filter(|tie| tie.sites.is_empty()) {
        if let Some(host) = tie.hosts.first() {
            let volume = tie.volume;
            sentence.push_str(&format!("; the volume `{volume}` is on {host}, which is not in the inventory"));
        }
    }
    for member in work.units[unit].members.clone() {
        if work.members[member].site.is_none() {
            work.hold(member, unplaced(sentence.clone(), refused.clone()));
        }
    }
    work.units[unit].state = State::Done;
}

/// What every host has against some members that come new.
pub(super) fn everywhere(work: &Work<'_>, unit: usize, members: &[usize]) -> BTreeMap<HostName, Vec<Refusal>> {
    let judged = |site: usize| {
        let name = work.fleet.sites[site].host.name.clone();
        (name, refusals(work, unit, members, site, Coming::New))
    };
    (0..work.fleet.sites.len()).map(judged).collect()
}

/// The best host for some members of a unit, within a datacenter if one is given.
pub(super) fn best(work: &Work<'_>, unit: usize, members: &[usize], within: Option<usize>) -> Option<Choice> {
    match work.units[unit].ties.first() {
        None => best_of(work, unit, members, within, work.fleet.ranked()),
        Some(tie) => {
            let mut ranks: Vec<Rank> = tie.sites.iter().filter_map(|site| work.fleet.rank(*site)).collect();
            ranks.sort_unstable();
            best_of(work, unit, members, within, ranks.into_iter())
        }
    }
}

fn best_of(
    work: &Work<'_>,
    unit: usize,
    members: &[usize],
    within: Option<usize>,
    ranks: impl Iterator<Item = Rank>,
) -> Option<Choice> {
    let stack = work.units[unit].stack;
    let suited = work.suited(members);
    let takes = |rank: &Rank| {
        let site = rank.2 as usize;
        (within.is_none() || work.fleet.sites[site].datacenter == within)
            && suited.contains(site)
            && may_take(work, unit, members, site, Coming::New)
    };
    let choice = |rank: Rank, of_stack, next| Choice { site: rank.2 as usize, rank, of_stack, next };
    match work.stacks[stack].stack.placement {
        Strategy::Auto | Strategy::Single | Strategy::Manual => {
            let mut taking = ranks.filter(takes);
            let first = taking.next()?;
            Some(choice(first, work.of_stack(stack, first.2 as usize), taking.next()))
        }
        Strategy::Spread | Strategy::Datacenter => {
            let mut best: Option<(u32, Rank)> = None;
            for rank in ranks {
                let of_stack = work.of_stack(stack, rank.2 as usize);
                if best.is_none_or(|(fewest, _)| of_stack < fewest) && takes(&rank) {
                    best = Some((of_stack, rank));
                    if of_stack == 0 {
                        break;
                    }
                }
            }
            best.map(|(of_stack, rank)| choice(rank, of_stack, None))
        }
    }
}

/// Why a host was chosen, with the numbers that decided. `datacenter` names the one that was decided before.
pub(super) fn why(work: &Work<'_>, unit: usize, choice: &Choice, datacenter: Option<&str>) -> String {
    let stack = &work.stacks[work.units[unit].stack];
    let hosts = work.fleet.sites.len();
    let score = Points(u64::from(100_000 - choice.rank.0));
    let mut text = match &work.units[unit].left {
        Some(left) if work.units[unit].home != Some(choice.site) => format!("{left}; "),
        Some(_) | None => String::new(),
    };
    let strategy = stack.stack.placement.as_str();
    match stack.stack.placement {
        Strategy::Auto | Strategy::Single | Strategy::Manual => {
            let whole = if stack.stack.placement == Strategy::Single { " for the whole stack" } else { "" };
            text.push_str(&format!("{strategy}: best score {score} of {hosts} hosts{whole}"));
            match choice.next {
                None => text.push_str(" (no other takes it)"),
                Some(next) => {
                    let name = &work.fleet.sites[next.2 as usize].host.name;
                    let points = Points(u64::from(100_000 - next.0));
                    let tie = match (next.0 == choice.rank.0, next.1 == choice.rank.1) {
                        (false, _) => "",
                        (true, false) => ": fewer instances decide",
                        (true, true) => ": the name decides",
                    };
                    text.push_str(&format!(" (next {name} {points}{tie})"));
                }
            }
        }
        Strategy::Spread | Strategy::Datacenter => {
            let place = match (datacenter, &stack.stack.datacenter) {
                (Some(decided), _) => decided.to_owned(),
                (None, Some(named)) if stack.stack.placement == Strategy::Datacenter => format!(" {named}"),
                (None, _) => String::new(),
            };
            let count = choice.of_stack;
            text.push_str(&format!(
                "{strategy}{place}: {count} of this stack there before, score {score}, of {hosts} hosts"
            ));
        }
    }
    if let Some(tie) = work.units[unit].ties.first() {
        text.push_str(&format!("; the volume `{}` is there", tie.volume));
    }
    text
}

/// Thousandths, shown with one decimal.
pub(super) struct Points(pub u64);

impl std::fmt::Display for Points {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.0 / 1000, self.0 % 1000 / 100)
    }
}
