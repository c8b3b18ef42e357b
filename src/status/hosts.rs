//! What the ledger shall remember of the hosts.
//!
//! Never forgets a host that still has recorded instances, and never takes an unreachable one's facts away.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::desired::Inventory;
use crate::model::host::{Endpoint, Host, HostStatus};
use crate::model::record::{Facts, HostCondition, HostRecord, Ledger, Record, TakenPort};
use crate::model::request::LABEL_OWNER;
use crate::model::world::{EngineSeen, HostView, World};
use crate::name::{HostName, StackSlug, VolumeName};
use crate::plan::lost::Lost;

/// What is in use on a host: per cent of its cores and of its memory.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Use {
    pub cpu: f64,
    pub memory: f64,
}

/// What the records of the hosts are made from.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    pub inventory: &'a Inventory,
    pub world: &'a World,
    pub ledger: &'a Ledger,
    /// A host with recorded instances is remembered even when it left the inventory.
    pub records: &'a BTreeMap<StackSlug, Record>,
    /// What becomes of those that change now.
    pub changed: &'a BTreeMap<StackSlug, Option<Record>>,
    pub owner: &'a str,
    /// Sampled use, of engines that were sampled.
    pub used: &'a BTreeMap<Endpoint, Use>,
    /// Hosts that did not answer for longer than `lostAfter`.
    pub lost: &'a BTreeSet<HostName>,
    /// Volumes that are not where they were, and that are not forgotten.
    pub lost_volumes: &'a Lost,
}

pub fn records(input: &Input<'_>) -> BTreeMap<HostName, HostRecord> {
    let mut records = BTreeMap::new();
    for host in input.inventory.hosts.values().filter(|host| !is_forgotten(input, host)) {
        let before = input.ledger.hosts.get(&host.name);
        // Lost until it is seen: whoever starts anew does not know for how long it has been silent.
        let is_lost = input.lost.contains(&host.name) || before.is_some_and(|b| b.condition == HostCondition::Lost);
        let condition = match (host.status, is_lost) {
            (HostStatus::Left, _) => HostCondition::Abandoned,
            (_, true) => HostCondition::Lost,
            (_, false) => HostCondition::Unreachable,
        };
        let mut record = HostRecord {
            address: host.ip_address,
            endpoint: host.endpoint.clone(),
            facts: before.and_then(|b| b.facts),
            condition,
            taken: before.map(|b| b.taken.clone()).unwrap_or_default(),
            volumes: before.map(|b| b.volumes.clone()).unwrap_or_default(),
        };
        match input.world.host(&host.name) {
            HostView::Seen(seen) => {
                record.condition = HostCondition::Reachable;
                record.facts = Some(facts(
                    seen,
                    record.facts,
                    host.endpoint.as_ref().and_then(|endpoint| input.used.get(endpoint)),
                ));
                record.taken = taken(seen, input.owner);
                record.volumes = volumes(seen, input.owner);
                record.volumes.extend(input.lost_volumes.get(&host.name).into_iter().flatten().cloned());
            }
            HostView::Unreachable(_) => {}
            // It cannot be asked, so nothing speaks against planning with it.
            HostView::NoEndpoint => record.condition = HostCondition::Reachable,
        }
        records.insert(host.name.clone(), record);
    }
    let gone = input.ledger.hosts.iter().filter(|(name, _)| !input.inventory.hosts.contains_key(*name));
    for (name, before) in gone {
        if has_instances(input, name) {
            records.insert(name.clone(), before.clone());
        }
    }
    records
}

/// A host that left is remembered until it was seen to have nothing of ours.
fn is_forgotten(input: &Input<'_>, host: &Host) -> bool {
    let is_empty = || match input.world.host(&host.name) {
        HostView::Seen(seen) => {
            let mut ours = seen.containers.iter().filter_map(|container| container.ours(input.owner));
            !ours.any(|ours| ours.host == host.name)
        }
        HostView::Unreachable(_) => false,
        // Nobody can ever look.
        HostView::NoEndpoint => true,
    };
    let is_missed = input.lost_volumes.contains_key(&host.name);
    host.status == HostStatus::Left && !has_instances(input, &host.name) && !is_missed && is_empty()
}

fn has_instances(input: &Input<'_>, host: &HostName) -> bool {
    let unchanged =
        input.records.iter().filter(|(slug, _)| !input.changed.contains_key(*slug)).map(|(_, record)| record);
    let mut records = unchanged.chain(input.changed.values().flatten());
    records.any(|record| {
        let deployments = record.running.iter().chain(&record.next);
        deployments.flat_map(|deployment| deployment.instances.values()).any(|instance| &instance.host == host)
    })
}

/// The hosts with the volumes that our containers were seen to mount after an apply. The next pass may already place
/// something else, and must know where the data is.
pub fn with_new_volumes(
    hosts: &BTreeMap<HostName, HostRecord>,
    world: &World,
    owner: &str,
) -> BTreeMap<HostName, HostRecord> {
    let mut hosts = hosts.clone();
    for (name, record) in &mut hosts {
        match world.host(name) {
            HostView::Seen(seen) => record.volumes.extend(volumes(seen, owner)),
            HostView::Unreachable(_) | HostView::NoEndpoint => {}
        }
    }
    hosts
}

fn facts(seen: &EngineSeen, before: Option<Facts>, used: Option<&Use>) -> Facts {
    let recorded = before.unwrap_or_default();
    Facts {
        cpu: seen.about.cpu,
        memory: seen.about.memory,
        cpu_used: used.map_or(recorded.cpu_used, |used| step(recorded.cpu_used, used.cpu)),
        memory_used: used.map_or(recorded.memory_used, |used| step(recorded.memory_used, used.memory)),
    }
}

/// Use in steps of 10 %, left only when it is half a step outside of the recorded one, so that noise makes no commit.
fn step(recorded: u8, percent: f64) -> u8 {
    let low = f64::from(recorded) - 5.0;
    let high = f64::from(recorded) + 15.0;
    if percent >= low && percent < high {
        return recorded;
    }
    // A value from 0 to 100, so it fits.
    ((percent.clamp(0.0, 100.0) / 10.0).floor() * 10.0) as u8
}

fn taken(seen: &EngineSeen, owner: &str) -> BTreeSet<TakenPort> {
    let foreign = seen.containers.iter().filter(|c| c.labels.get(LABEL_OWNER).map(String::as_str) != Some(owner));
    foreign
        .flat_map(|container| &container.ports)
        .map(|port| TakenPort { ip: port.host_ip, port: port.host_port, protocol: port.protocol })
        .collect()
}

fn volumes(seen: &EngineSeen, owner: &str) -> BTreeSet<VolumeName> {
    let is_ours = |labels: &BTreeMap<String, String>| labels.get(LABEL_OWNER).map(String::as_str) == Some(owner);
    let labelled = seen.volumes.iter().filter(|v| is_ours(&v.labels)).map(|v| v.name.as_str());
    // A volume that existed before is mounted and not relabelled: our containers tell that it is in our use.
    let mounted =
        seen.containers.iter().filter(|c| is_ours(&c.labels)).flat_map(|c| c.volumes.iter().map(String::as_str));
    labelled.chain(mounted).filter_map(|name| VolumeName::new(name).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::step;

    #[test]
    fn use_is_recorded_anew_only_half_a_step_outside_its_step() {
        assert_eq!(step(20, 15.0), 20);
        assert_eq!(step(20, 34.9), 20);
        assert_eq!(step(20, 35.0), 30);
        assert_eq!(step(20, 14.9), 10);
        assert_eq!(step(0, 250.0), 100);
    }
}
