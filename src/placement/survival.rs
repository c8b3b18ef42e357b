//! Whether every service survives the loss of any one host.
//!
//! Takes the input of placement. Gives, for each host, which services would have no instance left that runs, and which
//! would have fewer than before.
//!
//! A lost host is one that is declared offline: what may move has moved. Because that is what happens `lostAfter` the loss
//! of a single host, and a required check must not depend on a clock.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::model::host::HostStatus;
use crate::model::mapping::Mapping;
use crate::name::{HostName, InstanceId, ServiceName, StackSlug};
use crate::placement::{Input, Placement, place};

/// What the loss of one host would mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    pub host: HostName,
    /// Instances that would be placed elsewhere.
    pub moved: BTreeSet<InstanceId>,
    /// Services without an instance that runs, and why.
    pub down: BTreeMap<Of, String>,
    /// Services with fewer instances: those that would run, of so many.
    pub fewer: BTreeMap<Of, (usize, usize)>,
}

/// A service of a stack.
pub type Of = (StackSlug, ServiceName);

impl Loss {
    pub fn is_survived(&self) -> bool {
        self.down.is_empty()
    }
}

/// Each host that something is placed on, lost by itself.
pub fn losses(input: &Input<'_>) -> Vec<Loss> {
    let now = place(input).mapping;
    let used: BTreeSet<&HostName> = now.values().map(|placed| &placed.host).collect();
    used.into_iter().filter(|host| is_up(input, host)).map(|host| loss(input, &now, host)).collect()
}

fn is_up(input: &Input<'_>, host: &HostName) -> bool {
    input.inventory.hosts.get(host).is_some_and(|host| host.status != HostStatus::Offline)
}

fn loss(input: &Input<'_>, now: &Mapping, host: &HostName) -> Loss {
    let mut inventory = input.inventory.clone();
    if let Some(lost) = inventory.hosts.get_mut(host) {
        Arc::make_mut(lost).status = HostStatus::Offline;
    }
    let after = place(&Input { inventory: &inventory, previous: now, ..*input });
    let mut loss = Loss { host: host.clone(), moved: BTreeSet::new(), down: BTreeMap::new(), fewer: BTreeMap::new() };
    let mut services: BTreeMap<Of, Vec<&InstanceId>> = BTreeMap::new();
    for id in now.keys() {
        services.entry((id.stack.clone(), id.service.clone())).or_default().push(id);
    }
    for (of, instances) in services {
        let was_there = |id: &&&InstanceId| now[**id].host == *host;
        if !instances.iter().any(|id| now[*id].host == *host) {
            continue;
        }
        let runs = |id: &&&InstanceId| after.mapping.get(**id).is_some_and(|placed| placed.host != *host);
        let running = instances.iter().filter(runs).count();
        loss.moved.extend(instances.iter().filter(was_there).filter(runs).map(|id| (*id).clone()));
        if running == 0 {
            loss.down.insert(of, why(&after, instances[0]));
        } else if running < instances.len() {
            loss.fewer.insert(of, (running, instances.len()));
        }
    }
    loss
}

fn why(after: &Placement, id: &InstanceId) -> String {
    match (after.mapping.get(id), after.held.get(id)) {
        (Some(placed), _) => placed.why.clone(),
        (None, Some(unplaced)) => {
            let reasons = unplaced.refusals.iter().filter_map(|(host, refusals)| {
                let first = refusals.first()?;
                Some(format!("{host} {first}"))
            });
            let reasons: Vec<String> = reasons.collect();
            if reasons.is_empty() { unplaced.why.clone() } else { format!("{}: {}", unplaced.why, reasons.join("; ")) }
        }
        (None, None) => "it is not placed".to_owned(),
    }
}
