//! What binds the instances of a stack: to each other, to where they were, and to data that exists.
//!
//! Takes a stack and what the ledger knows. Gives the sets of services that must be on one host, those that must not
//! meet, and the hosts that hold a volume's data.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::record::HostRecord;
use crate::model::stack::{MountSource, Service, Stack, Strategy};
use crate::name::{HostName, StackSlug, VolumeName};
use crate::placement::Input;
use crate::placement::fleet::Fleet;
use crate::placement::work::Member;

/// A local volume whose data exists.
pub(super) struct Tie<'a> {
    pub volume: &'a VolumeName,
    /// Hosts of the inventory that reach the data. Ascending.
    pub sites: Vec<usize>,
    /// All hosts that are known to have it, also those that left the inventory.
    pub hosts: Vec<&'a HostName>,
}

/// Why the place that a stack was recorded with does not count any more, if it does not.
pub(super) fn unstuck(input: &Input<'_>, slug: &StackSlug, stack: &Stack) -> Option<String> {
    let record = input.ledger.records.get(slug)?;
    // A deployment that placed nothing says nothing of where the stack is.
    let next = record.next.as_ref().filter(|next| !next.instances.is_empty());
    let was = next.or(record.running.as_ref())?;
    if was.placement != stack.placement {
        let (from, to) = (was.placement.as_str(), stack.placement.as_str());
        return Some(format!("placement changed from `{from}` to `{to}`"));
    }
    (was.datacenter != stack.datacenter).then(|| {
        let text = |name: &Option<String>| name.as_ref().map_or("none".to_owned(), |name| format!("`{name}`"));
        format!("datacenter changed from {} to {}", text(&was.datacenter), text(&stack.datacenter))
    })
}

/// Services of a stack in sets that must be on one host, by index, ordered by their first.
pub(super) fn together(stack: &Stack) -> Vec<Vec<usize>> {
    if stack.placement == Strategy::Single {
        return vec![(0..stack.services.len()).collect()];
    }
    let mut sets: Vec<Vec<usize>> = Vec::new();
    let mut set_of: BTreeMap<&VolumeName, usize> = BTreeMap::new();
    for (index, service) in stack.services.iter().enumerate() {
        let mut own: Option<usize> = None;
        for volume in local_volumes(stack, service) {
            match (set_of.get(volume).copied(), own) {
                (Some(set), None) => {
                    sets[set].push(index);
                    own = Some(set);
                }
                (Some(set), Some(mine)) if set != mine => {
                    // Two sets become one; the emptied one is dropped at the end.
                    let (keep, drop) = (set.min(mine), set.max(mine));
                    let moved = std::mem::take(&mut sets[drop]);
                    sets[keep].extend(moved);
                    for set in set_of.values_mut().filter(|set| **set == drop) {
                        *set = keep;
                    }
                    own = Some(keep);
                }
                (Some(_), Some(_)) => {}
                (None, Some(mine)) => {
                    set_of.insert(volume, mine);
                }
                (None, None) => {
                    sets.push(vec![index]);
                    own = Some(sets.len() - 1);
                    set_of.insert(volume, sets.len() - 1);
                }
            }
        }
        if own.is_none() {
            sets.push(vec![index]);
        }
    }
    sets.retain(|set| !set.is_empty());
    for set in &mut sets {
        set.sort_unstable();
    }
    sets.sort_unstable();
    sets
}

/// The volumes of a service that its host keeps: those of the driver `local`.
pub fn local_volumes<'a>(stack: &'a Stack, service: &'a Service) -> impl Iterator<Item = &'a VolumeName> {
    service.mounts.iter().filter_map(|mount| match &mount.source {
        MountSource::Volume(name) => {
            stack.volumes.get(name).is_none_or(|volume| volume.driver == "local").then_some(name)
        }
        MountSource::Bind(_) | MountSource::Tmpfs => None,
    })
}

pub(super) fn enemies(stack: &Stack) -> Vec<BTreeSet<usize>> {
    if stack.services.iter().all(|s| s.constraints.not_with.is_empty()) {
        return Vec::new();
    }
    let mut enemies = vec![BTreeSet::new(); stack.services.len()];
    for (index, service) in stack.services.iter().enumerate() {
        for (other, candidate) in stack.services.iter().enumerate() {
            if service.constraints.not_with.contains(&candidate.name) {
                enemies[index].insert(other);
                enemies[other].insert(index);
            }
        }
    }
    enemies
}

pub(super) fn volumes_by_name<'a>(input: &Input<'a>, fleet: &Fleet<'a>) -> BTreeMap<&'a VolumeName, Vec<&'a HostName>> {
    let mut hosts: BTreeMap<&VolumeName, Vec<&HostName>> = BTreeMap::new();
    let known = |(name, record): &(&'a HostName, &'a HostRecord)| {
        // Without a volume the entry of a host that left the inventory says nothing.
        !record.volumes.is_empty() || fleet.index(name).is_some()
    };
    for (name, record) in input.ledger.hosts.iter().filter(known) {
        for volume in &record.volumes {
            hosts.entry(volume).or_default().push(name);
        }
    }
    hosts
}

/// The volumes of a unit whose data exists, and where.
///
/// Where several hosts have a volume of one name, the data is where the unit last ran. Where the ledger knows nothing
/// of the host that it ran on, the volume is taken to exist there: not seen is not absent.
pub(super) fn ties<'a>(
    input: &Input<'a>,
    fleet: &Fleet<'a>,
    slug: &StackSlug,
    stack: &'a Stack,
    members: &[Member<'a>],
    volumes: &BTreeMap<&VolumeName, Vec<&'a HostName>>,
) -> Vec<Tie<'a>> {
    let mut ties: Vec<Tie<'a>> = Vec::new();
    for member in members {
        for volume in local_volumes(stack, member.service) {
            let left = input.leave_volumes.contains(&(slug.clone(), volume.clone()));
            if left || ties.iter().any(|tie| tie.volume == volume) {
                continue;
            }
            let mut hosts = volumes.get(volume).cloned().unwrap_or_default();
            let users = members.iter().filter(|m| local_volumes(stack, m.service).any(|other| other == volume));
            if let Some(last) = users.filter_map(|m| m.previous).map(|placed| &placed.host).next() {
                let unknown = !input.ledger.hosts.contains_key(last);
                if hosts.contains(&last) || (hosts.is_empty() && unknown) {
                    hosts = vec![last];
                }
            }
            if hosts.is_empty() {
                continue;
            }
            let engines: BTreeSet<usize> =
                hosts.iter().filter_map(|name| fleet.index(name)).map(|site| fleet.sites[site].engine).collect();
            let mut sites: Vec<usize> = engines.iter().flat_map(|e| fleet.engine_sites[*e].iter().copied()).collect();
            sites.sort_unstable();
            ties.push(Tie { volume, sites, hosts });
        }
    }
    ties
}
