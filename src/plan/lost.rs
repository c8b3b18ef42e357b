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

use crate::model::desired::Desired;
use crate::model::host::Endpoint;
use crate::model::record::{HostRecord, Ledger, Record};
use crate::model::request::LABEL_OWNER;
use crate::model::stack::{Service, Stack};
use crate::model::world::{EngineSeen, HostView, VolumeSeen, World};
use crate::name::{HostName, StackSlug, VolumeName};
use crate::placement::bonds::local_volumes;
use crate::plan::want::Want;

/// By host, volumes that are remembered though nothing there shows that they are ours: they are gone, or they are back
/// without our labels.
pub type Lost = BTreeMap<HostName, BTreeSet<VolumeName>>;

/// What it is decided from.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    pub ledger: &'a Ledger,
    pub desired: &'a Desired,
    pub wants: &'a BTreeMap<StackSlug, Want>,
    pub world: &'a World,
}

/// All that is lost, given up or not.
pub fn all(question: &Question<'_>) -> Lost {
    let of_host = |(host, record): (&HostName, &HostRecord)| {
        let HostView::Seen(seen) = question.world.host(host) else { return None };
        // Mostly everything is where it was: only for what a host lacks the stacks are asked.
        let there = by_name(seen);
        let shows =
            |volume: &VolumeName| there.get(volume.as_str()).is_some_and(|v| v.labels.contains_key(LABEL_OWNER));
        let gone = record.volumes.iter().filter(|volume| !shows(volume));
        let missed: BTreeSet<_> = gone.filter(|volume| is_missed(question, host, volume)).cloned().collect();
        (!missed.is_empty()).then(|| (host.clone(), missed))
    };
    question.ledger.hosts.iter().filter_map(of_host).collect()
}

/// Without what humans gave up, as `stack/volume`. Who ran on a host speaks for it; where nobody did, whoever asks.
pub fn without(lost: Lost, said: &BTreeSet<String>, question: &Question<'_>) -> Lost {
    let is_said = |host: &HostName, volume: &VolumeName| {
        let asks = question.wants.values().filter_map(Want::stack).filter(|stack| asks_for(stack, volume));
        let slugs: Vec<&StackSlug> = asks.map(|stack| stack.name.slug()).collect();
        let ran_here =
            |slug: &&&StackSlug| question.ledger.records.get(**slug).is_some_and(|record| has_instances(record, host));
        let here: Vec<&StackSlug> = slugs.iter().filter(ran_here).copied().collect();
        let speak = if here.is_empty() { slugs } else { here };
        speak.into_iter().any(|slug| said.contains(&format!("{slug}/{volume}")))
    };
    let mut left = Lost::new();
    for (host, volumes) in lost {
        let volumes: BTreeSet<_> = volumes.into_iter().filter(|volume| !is_said(&host, volume)).collect();
        if !volumes.is_empty() {
            left.insert(host, volumes);
        }
    }
    left
}

/// The ledger with the volumes that are where it says or are lost, and no others.
pub fn known(ledger: Arc<Ledger>, lost: &Lost, world: &World) -> Arc<Ledger> {
    let mut known = Arc::clone(&ledger);
    for (host, record) in &ledger.hosts {
        let HostView::Seen(seen) = world.host(host) else { continue };
        let (there, lost) = (by_name(seen), lost.get(host));
        let is_known =
            |volume: &VolumeName| there.contains_key(volume.as_str()) || lost.is_some_and(|lost| lost.contains(volume));
        if !record.volumes.iter().all(is_known)
            && let Some(record) = Arc::make_mut(&mut known).hosts.get_mut(host)
        {
            record.volumes.retain(is_known);
        }
    }
    known
}

/// The local volumes of a service that a host had, by the ledger, and that its engine does not have. Under each of its hosts'
/// names an engine is the same one.
pub fn of_service(
    ledger: &Ledger,
    stack: &Stack,
    service: &Service,
    (host, endpoint): (&HostName, &Endpoint),
    seen: &EngineSeen,
) -> BTreeSet<VolumeName> {
    let is_gone = |volume: &VolumeName| !seen.volumes.iter().any(|there| there.name == volume.as_str());
    let had = |volume: &VolumeName| {
        let mut hosts = ledger.hosts.iter();
        hosts.any(|(name, record)| {
            record.volumes.contains(volume) && (name == host || record.endpoint.as_ref() == Some(endpoint))
        })
    };
    local_volumes(stack, service).filter(|volume| is_gone(volume) && had(volume)).cloned().collect()
}

/// Whether somebody asks for a volume whose data was here, and not elsewhere.
fn is_missed(question: &Question<'_>, host: &HostName, volume: &VolumeName) -> bool {
    let Question { ledger, desired, wants, .. } = question;
    // A stack that goes, or that went, may be the one that comes under another name, even when that is not understood yet.
    let goes = |(slug, want): (&StackSlug, &Want)| match want {
        Want::Nothing { .. } => ledger.records.contains_key(slug),
        Want::Stack { .. } | Want::Keep { .. } => false,
    };
    let is_unclear =
        !desired.nameless.is_empty() || desired.wrong.iter().any(|slug| !ledger.records.contains_key(slug));
    let some_stack_goes = wants.iter().any(goes);
    is_unclear
        || wants.iter().any(|(slug, want)| {
            let record = ledger.records.get(slug);
            match want {
                Want::Stack { stack, .. } if asks_for(stack, volume) => record.map_or(some_stack_goes, |record| {
                    ran_with(record, stack, host, volume) || !is_elsewhere(question, record, host, volume)
                }),
                // Nobody knows what it asks for.
                Want::Keep { .. } => record.is_none_or(|record| has_instances(record, host)),
                Want::Stack { .. } | Want::Nothing { .. } => false,
            }
        })
}

/// Whether a stack has a volume of that name where it runs. Two hosts of one engine are not elsewhere from each other, and a
/// host that is not seen has what it had.
fn is_elsewhere(question: &Question<'_>, of: &Record, host: &HostName, volume: &VolumeName) -> bool {
    let Question { ledger, world, .. } = question;
    let here = world.hosts.get(host);
    let others = ledger.hosts.iter().filter(|(name, _)| world.hosts.get(*name) != here && has_instances(of, name));
    let mut has = others.map(|(name, record)| match world.host(name) {
        HostView::Seen(seen) => seen.volumes.iter().any(|there| there.name == volume.as_str()),
        HostView::Unreachable(_) | HostView::NoEndpoint => record.volumes.contains(volume),
    });
    has.any(|has| has)
}

/// A service that is not asked for any more may be the one that mounted it, under an earlier name.
fn ran_with(record: &Record, stack: &Stack, host: &HostName, volume: &VolumeName) -> bool {
    let deployments = record.running.iter().chain(&record.next);
    let here = deployments.flat_map(|deployment| &deployment.instances).filter(|(_, instance)| instance.host == *host);
    let mut services = here.map(|(id, _)| stack.service(id.service.as_str()));
    services.any(|service| service.is_none_or(|service| local_volumes(stack, service).any(|name| name == volume)))
}

fn has_instances(record: &Record, host: &HostName) -> bool {
    let mut deployments = record.running.iter().chain(&record.next);
    deployments.any(|deployment| deployment.instances.values().any(|instance| instance.host == *host))
}

fn by_name(seen: &EngineSeen) -> BTreeMap<&str, &VolumeSeen> {
    seen.volumes.iter().map(|volume| (volume.name.as_str(), volume)).collect()
}

fn asks_for(stack: &Stack, volume: &VolumeName) -> bool {
    stack.services.iter().any(|service| local_volumes(stack, service).any(|name| name == volume))
}
