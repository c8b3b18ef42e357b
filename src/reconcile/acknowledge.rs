//! What humans acknowledged in commit messages.
//!
//! Counted are commits that are reachable from the head and newer than the records concerned: an old word for an old
//! removal must not serve twice.

use std::collections::BTreeSet;

use crate::model::record::Ledger;
use crate::name::{InstanceId, Revision, StackSlug, VolumeName};
use crate::placement::Placement;
use crate::plan::brake::Braked;
use crate::plan::lost::{self, Lost};
use crate::reconcile::site::Site;

const ALLOW_REMOVAL: &str = "Bayplan-Allow-Removal";
const LEAVE_VOLUME: &str = "Bayplan-Leave-Volume";
const EMPTY_VOLUME: &str = "Bayplan-Empty-Volume";

/// Whether a commit newer than every record concerned carries the removals' digest.
pub async fn removals(site: &Site, head: &Revision, ledger: &Ledger, braked: &Braked) -> bool {
    let values = values(site, head, ledger, braked.removals.iter(), ALLOW_REMOVAL).await;
    values.contains(braked.digest.as_str())
}

/// Volumes whose data may stay behind, of the stacks that have instances without a host.
pub async fn left_volumes(
    site: &Site,
    head: &Revision,
    ledger: &Ledger,
    placement: &Placement,
) -> BTreeSet<(StackSlug, VolumeName)> {
    let values = values(site, head, ledger, placement.held.keys(), LEAVE_VOLUME).await;
    let pair = |value: &String| {
        let (stack, volume) = value.split_once('/')?;
        Some((StackSlug::new(stack).ok()?, VolumeName::new(volume).ok()?))
    };
    values.iter().filter_map(pair).collect()
}

/// What is lost and was not given up. Counted are commits that are newer than what was deployed last, so that no word serves
/// twice: a stack's revision stays when a commit changes none of its files.
pub async fn still_lost(site: &Site, head: &Revision, question: &lost::Question<'_>) -> Lost {
    let lost = lost::all(question);
    if lost.is_empty() {
        return lost;
    }
    match site.source.trailers(head, question.ledger.head.as_ref()).await {
        Ok(trailers) => {
            let said = trailers.into_iter().filter(|t| t.key == EMPTY_VOLUME).map(|t| t.value).collect();
            lost::without(lost, &said, question)
        }
        Err(error) => {
            tracing::warn!(%error, "the newest commits cannot be read for acknowledgements");
            lost
        }
    }
}

/// The values of a trailer in commits that are newer than the records of all these instances. A commit that cannot be
/// read acknowledges nothing.
async fn values(
    site: &Site,
    head: &Revision,
    ledger: &Ledger,
    instances: impl Iterator<Item = &InstanceId>,
    key: &str,
) -> BTreeSet<String> {
    let stacks: BTreeSet<&StackSlug> = instances.map(|id| &id.stack).collect();
    let mut since: BTreeSet<&Revision> = stacks
        .iter()
        .filter_map(|slug| ledger.records.get(*slug))
        // What never ran as a whole was begun for a revision all the same.
        .filter_map(|record| record.running.as_ref().or(record.next.as_ref()))
        .map(|deployment| &deployment.revision)
        .collect();
    if since.is_empty() {
        // What is held from its beginning was begun for none: what was deployed last is as old.
        since.extend(&ledger.head);
    }
    let mut common: Option<BTreeSet<String>> = None;
    for revision in since {
        let found = match site.source.trailers(head, Some(revision)).await {
            Ok(trailers) => trailers.into_iter().filter(|t| t.key == key).map(|t| t.value).collect(),
            Err(error) => {
                tracing::warn!(%error, "the commits since {revision} cannot be read for acknowledgements");
                BTreeSet::new()
            }
        };
        common = Some(match common {
            None => found,
            Some(common) => common.intersection(&found).cloned().collect(),
        });
    }
    common.unwrap_or_default()
}
