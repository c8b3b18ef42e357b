//! Says which volumes a host had and has no more, though what ran there needs them.
//!
//! Takes what the ledger says of a host and what its engine was seen to have. Never takes an engine that came back empty, or
//! an endpoint that leads to another machine, for a host where everything is to be made anew: what starts on an empty volume
//! may well look healthy, and nobody notices until the data is wanted.
//!
//! What a human gave up is not lost; [`given_up`](fn@given_up) takes it out of the ledger that a plan is made from.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::model::record::{Ledger, Record};
use crate::model::stack::{MountSource, Service, Stack};
use crate::model::world::{EngineSeen, HostView, World};
use crate::name::{HostName, StackSlug, VolumeName};
use crate::plan::want::Want;

/// A volume of a stack, as acknowledgements name it.
pub type OfStack = (StackSlug, VolumeName);

/// A local volume of a service that the ledger knows on a host, for this stack, and that its engine does not have.
pub fn of_service<'s>(
    ledger: &Ledger,
    stack: &Stack,
    service: &'s Service,
    host: &HostName,
    seen: &EngineSeen,
) -> Option<&'s VolumeName> {
    let recorded = &ledger.hosts.get(host)?.volumes;
    let record = ledger.records.get(stack.name.slug())?;
    mounted(service).find(|volume| {
        let is_local = stack.volumes.get(*volume).is_none_or(|volume| volume.driver == "local");
        let is_there = seen.volumes.iter().any(|there| there.name == volume.as_str());
        is_local && !is_there && recorded.contains(*volume) && ran_with(record, stack, host, volume)
    })
}

/// All that is lost.
pub fn all(ledger: &Ledger, wants: &BTreeMap<StackSlug, Want>, world: &World) -> BTreeSet<OfStack> {
    let mut lost = BTreeSet::new();
    // Mostly everything is where it was: only what a host lacks is looked for among the stacks.
    for (host, record) in &ledger.hosts {
        let HostView::Seen(seen) = world.host(host) else { continue };
        let is_there = |volume: &VolumeName| seen.volumes.iter().any(|there| there.name == volume.as_str());
        if record.volumes.iter().all(is_there) {
            continue;
        }
        for stack in wants.values().filter_map(Want::stack) {
            let services = stack.services.iter().filter_map(|service| of_service(ledger, stack, service, host, seen));
            lost.extend(services.map(|volume| (stack.name.slug().clone(), volume.clone())));
        }
    }
    lost
}

/// The ledger without the volumes that a human gave up.
pub fn given_up(ledger: Arc<Ledger>, given_up: &BTreeSet<OfStack>) -> Arc<Ledger> {
    if given_up.is_empty() {
        return ledger;
    }
    let mut without = ledger.as_ref().clone();
    for (name, host) in &mut without.hosts {
        host.volumes.retain(|volume| !is_given_up(&ledger, given_up, name, volume));
    }
    Arc::new(without)
}

/// Whether a human gave up a volume where a stack ran with it.
pub fn is_given_up(ledger: &Ledger, given_up: &BTreeSet<OfStack>, host: &HostName, volume: &VolumeName) -> bool {
    let mut stacks = given_up.iter().filter(|(_, name)| name == volume).map(|(stack, _)| stack);
    stacks.any(|stack| ledger.records.get(stack).is_some_and(|record| has_instances(record, host)))
}

/// Whether a volume that a host is recorded to have is remembered although it was not seen there: some stack that ran with
/// it is not done with it.
pub fn is_missed(ledger: &Ledger, wants: &BTreeMap<StackSlug, Want>, host: &HostName, volume: &VolumeName) -> bool {
    ledger.records.iter().any(|(slug, record)| match wants.get(slug) {
        Some(Want::Stack { stack, .. }) => ran_with(record, stack, host, volume),
        // Nobody knows what it asks for.
        Some(Want::Keep { .. }) => has_instances(record, host),
        Some(Want::Nothing { .. }) | None => false,
    })
}

/// A service that is not asked for any more may be the one that mounted it, under an earlier name.
fn ran_with(record: &Record, stack: &Stack, host: &HostName, volume: &VolumeName) -> bool {
    let mounts = |service: &Service| mounted(service).any(|name| name == volume);
    let deployments = record.running.iter().chain(&record.next);
    let here = deployments.flat_map(|deployment| &deployment.instances).filter(|(_, instance)| instance.host == *host);
    let mut services = here.map(|(id, _)| stack.service(id.service.as_str()));
    services.any(|service| service.is_none_or(|service| mounts(service)))
        && stack.services.iter().any(|service| mounts(service))
}

fn has_instances(record: &Record, host: &HostName) -> bool {
    let mut deployments = record.running.iter().chain(&record.next);
    deployments.any(|deployment| deployment.instances.values().any(|instance| instance.host == *host))
}

fn mounted(service: &Service) -> impl Iterator<Item = &VolumeName> {
    service.mounts.iter().filter_map(|mount| match &mount.source {
        MountSource::Volume(name) => Some(name),
        MountSource::Bind(_) | MountSource::Tmpfs => None,
    })
}
