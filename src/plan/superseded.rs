//! Removes images that instances of a stack ran from and nothing of it runs from any more, so that disks do not fill.
//!
//! Gives steps at the very end of an apply, when nothing can want to go back over them.
//!
//! Never the last two of a repository on a host, for they are what one goes back to; never an image that no registry
//! vouches for, for it could not be had again. What somebody else's container uses stays: engines see to that.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::record::Record;
use crate::model::request::ResolvedImage;
use crate::model::world::HostView;
use crate::name::HostName;
use crate::plan::step::{Act, Step};
use crate::plan::{Input, StackPlan};

/// Enough to go back over one that proved bad only later.
const KEPT: usize = 2;

/// Host → the images that were superseded there, the oldest first.
pub type Superseded = BTreeMap<HostName, Vec<String>>;

/// What the record remembers, and what is superseded once the plan's instances run.
pub fn after(record: &Record, plan: &StackPlan) -> Superseded {
    let used: BTreeSet<(&HostName, &str)> =
        plan.instances.values().map(|planned| (&planned.placed.host, planned.resolved.reference())).collect();
    let mut superseded = record.superseded.clone();
    for instance in record.running.iter().flat_map(|running| running.instances.values()) {
        let ResolvedImage::Registry(reference) = &instance.resolved else { continue };
        let of_host = superseded.entry(instance.host.clone()).or_default();
        if !of_host.contains(reference) {
            of_host.push(reference.clone());
        }
    }
    for (host, images) in &mut superseded {
        images.retain(|reference| !used.contains(&(host, reference.as_str())));
    }
    superseded.retain(|_, images| !images.is_empty());
    superseded
}

/// Adds the steps to an apply that changes the stack anyway: at rest nothing is touched.
pub fn remove(input: &Input<'_>, record: Option<&Record>, plan: &mut StackPlan) {
    let Some(record) = record.filter(|_| !plan.steps.is_empty()) else { return };
    let all: BTreeSet<usize> = (0..plan.steps.len()).collect();
    for (host, images) in after(record, plan) {
        let (Some(endpoint), HostView::Seen(_)) = (input.world.hosts.get(&host), input.world.host(&host)) else {
            continue;
        };
        for reference in too_old(&images) {
            plan.steps.push(Step {
                host: host.clone(),
                endpoint: endpoint.clone(),
                instance: None,
                act: Act::RemoveImage { reference: reference.to_owned() },
                after: all.clone(),
                because: format!("nothing runs from it any more, and {KEPT} newer ones are kept"),
            });
        }
    }
}

/// All but the last of each repository.
fn too_old(images: &[String]) -> Vec<&str> {
    let mut newer: BTreeMap<&str, usize> = BTreeMap::new();
    let mut old: Vec<&str> = images
        .iter()
        .rev()
        .filter(|reference| {
            let repository = reference.split_once('@').map_or(reference.as_str(), |(repository, _)| repository);
            let count = newer.entry(repository).or_default();
            *count += 1;
            *count > KEPT
        })
        .map(String::as_str)
        .collect();
    old.reverse();
    old
}

#[cfg(test)]
mod tests {
    use super::too_old;

    #[test]
    fn the_last_two_of_each_repository_are_kept() {
        let images = ["web@1", "db@1", "web@2", "web@3", "web@4", "db@2"].map(str::to_owned);
        assert_eq!(too_old(&images), ["web@1", "web@2"]);
        assert_eq!(too_old(&images[..3]), Vec::<&str>::new());
    }
}
