//! Says which volumes hosts had and have no more, though somebody needs what was in them.
//!
//! Takes what the ledger says of the hosts and what their engines were seen to have. Never takes an engine that came back
//! empty, or an endpoint that leads to another machine, for a host where everything is to be made anew: what starts on an
//! empty volume may well look healthy, and nobody notices until the data is wanted.
//!
//! The ledger's `hosts.json` is the memory: what is lost stays in it, under whatever name a stack or a service asks for it
//! next, until it is there again, a human gives it up, or nobody asks for it any more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::model::record::{HostRecord, Ledger, Record};
use crate::model::stack::{MountSource, Service, Stack};
use crate::model::world::{EngineSeen, HostView, World};
use crate::name::{HostName, StackSlug, VolumeName};
use crate::plan::want::Want;

/// By host, volumes that are not there any more and are not forgotten.
pub type Lost = BTreeMap<HostName, BTreeSet<VolumeName>>;

/// All that is lost, given up or not.
pub fn all(ledger: &Ledger, wants: &BTreeMap<StackSlug, Want>, world: &World) -> Lost {
    let of_host = |(host, record): (&HostName, &HostRecord)| {
        let HostView::Seen(seen) = world.host(host) else { return None };
        // Mostly everything is where it was: only for what a host lacks the stacks are asked.
        let gone = record.volumes.iter().filter(|volume| !has(seen, volume));
        let missed: BTreeSet<_> =
            gone.filter(|volume| is_missed(ledger, wants, world, host, volume)).cloned().collect();
        (!missed.is_empty()).then(|| (host.clone(), missed))
    };
    ledger.hosts.iter().filter_map(of_host).collect()
}

/// The volumes that are lost, as the stacks that ask for them name them.
pub fn of_stacks(lost: &Lost, wants: &BTreeMap<StackSlug, Want>) -> BTreeSet<(StackSlug, VolumeName)> {
    let volumes: BTreeSet<&VolumeName> = lost.values().flatten().collect();
    let stacks = volumes.into_iter().flat_map(|volume| {
        let asks = wants.values().filter_map(Want::stack).filter(|stack| asks_for(stack, volume));
        asks.map(|stack| (stack.name.slug().clone(), volume.clone()))
    });
    stacks.collect()
}

/// The ledger with the volumes that are where it says or are lost, and no others.
pub fn known(ledger: Arc<Ledger>, lost: &Lost, world: &World) -> Arc<Ledger> {
    let is_known = |host: &HostName, volume: &VolumeName| match world.host(host) {
        HostView::Seen(seen) => has(seen, volume) || lost.get(host).is_some_and(|lost| lost.contains(volume)),
        HostView::Unreachable(_) | HostView::NoEndpoint => true,
    };
    if ledger.hosts.iter().all(|(host, record)| record.volumes.iter().all(|volume| is_known(host, volume))) {
        return ledger;
    }
    let mut known = ledger.as_ref().clone();
    for (host, record) in &mut known.hosts {
        record.volumes.retain(|volume| is_known(host, volume));
    }
    Arc::new(known)
}

/// The local volumes of a service that a host had, by the ledger, and that its engine does not have.
pub fn of_service(
    ledger: &Ledger,
    stack: &Stack,
    service: &Service,
    host: &HostName,
    seen: &EngineSeen,
) -> Vec<VolumeName> {
    let Some(record) = ledger.hosts.get(host) else { return Vec::new() };
    mounted(stack, service).filter(|volume| record.volumes.contains(*volume) && !has(seen, volume)).cloned().collect()
}

/// Whether somebody asks for a volume whose data was here, and not elsewhere.
fn is_missed(
    ledger: &Ledger,
    wants: &BTreeMap<StackSlug, Want>,
    world: &World,
    host: &HostName,
    volume: &VolumeName,
) -> bool {
    // A stack that goes may be the one that comes under another name.
    let goes = |(slug, want): (&StackSlug, &Want)| match want {
        Want::Nothing { .. } => ledger.records.get(slug).is_some_and(|record| has_instances(record, host)),
        Want::Stack { .. } | Want::Keep { .. } => false,
    };
    let is_only_here = !is_elsewhere(ledger, world, host, volume);
    let some_stack_goes = is_only_here && wants.iter().any(goes);
    wants.iter().any(|(slug, want)| {
        let record = ledger.records.get(slug);
        match want {
            Want::Stack { stack, .. } if asks_for(stack, volume) => {
                record.is_some_and(|record| is_only_here || ran_with(record, stack, host, volume)) || some_stack_goes
            }
            // Nobody knows what it asks for.
            Want::Keep { .. } => record.is_some_and(|record| has_instances(record, host)),
            Want::Stack { .. } | Want::Nothing { .. } => false,
        }
    })
}

/// Two hosts of one engine are not elsewhere from each other. A host that is not seen has what it had.
fn is_elsewhere(ledger: &Ledger, world: &World, host: &HostName, volume: &VolumeName) -> bool {
    let here = world.hosts.get(host);
    ledger.hosts.iter().filter(|(name, _)| world.hosts.get(*name) != here).any(|(name, record)| {
        match world.host(name) {
            HostView::Seen(seen) => has(seen, volume),
            HostView::Unreachable(_) | HostView::NoEndpoint => record.volumes.contains(volume),
        }
    })
}

/// A service that is not asked for any more may be the one that mounted it, under an earlier name.
fn ran_with(record: &Record, stack: &Stack, host: &HostName, volume: &VolumeName) -> bool {
    let deployments = record.running.iter().chain(&record.next);
    let here = deployments.flat_map(|deployment| &deployment.instances).filter(|(_, instance)| instance.host == *host);
    let mut services = here.map(|(id, _)| stack.service(id.service.as_str()));
    services.any(|service| service.is_none_or(|service| mounted(stack, service).any(|name| name == volume)))
}

fn has_instances(record: &Record, host: &HostName) -> bool {
    let mut deployments = record.running.iter().chain(&record.next);
    deployments.any(|deployment| deployment.instances.values().any(|instance| instance.host == *host))
}

fn has(seen: &EngineSeen, volume: &VolumeName) -> bool {
    seen.volumes.iter().any(|there| there.name == volume.as_str())
}

fn asks_for(stack: &Stack, volume: &VolumeName) -> bool {
    stack.services.iter().any(|service| mounted(stack, service).any(|name| name == volume))
}

/// What another driver keeps is not kept by the host.
fn mounted<'s>(stack: &'s Stack, service: &'s Service) -> impl Iterator<Item = &'s VolumeName> {
    service.mounts.iter().filter_map(|mount| match &mount.source {
        MountSource::Volume(name) => {
            stack.volumes.get(name).is_none_or(|volume| volume.driver == "local").then_some(name)
        }
        MountSource::Bind(_) | MountSource::Tmpfs => None,
    })
}
