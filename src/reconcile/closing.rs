//! Which stacks get nothing new in this pass, and why.
//!
//! Takes the operator's configuration, the files, the ledger and the moment. Gives the closed stacks.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::config::PlanDigest;
use crate::model::desired::Desired;
use crate::model::record::Ledger;
use crate::name::{Digest, Revision, StackName, StackSlug};
use crate::plan::closed::{self, Closed};
use crate::plan::{Plan, StackPlan};
use crate::reconcile::Context;
use crate::reconcile::site::Site;

/// The line of a commit that says which plan was reviewed.
pub const REVIEWED: &str = "Bayplan-Plan";

/// Fewer digits could mean several plans.
const SHORTEST: usize = 8;

pub fn closed(site: &Site, desired: &Desired, ledger: &Ledger, context: &Context) -> BTreeMap<StackSlug, Closed> {
    let head = desired.stacks.iter().map(|(slug, stack)| (slug, (&stack.name, stack.suspended.as_ref())));
    let mut stacks: BTreeMap<&StackSlug, _> =
        ledger.records.iter().map(|(slug, record)| (slug, (&record.name, None))).collect();
    stacks.extend(head);
    let why = |slug: &StackSlug, name: &StackName, suspended: Option<&crate::files::Span>| {
        let names = [name.as_str(), slug.as_str()];
        if names.iter().any(|name| site.config.suspended.contains(*name)) {
            return Some(Closed::ByOperator);
        }
        if let Some(at) = suspended {
            return Some(Closed::Suspended(at.clone()));
        }
        let now = context.now.filter(|_| !context.open.contains(slug));
        let by_time = now.and_then(|now| closed::now(&site.config.schedule, name, now));
        by_time.or_else(|| context.not_reviewed.get(slug).map(|digest| Closed::NotReviewed(digest.clone())))
    };
    let closed =
        stacks.into_iter().filter_map(|(slug, (name, suspended))| Some((slug.clone(), why(slug, name, suspended)?)));
    closed.collect()
}

/// The stacks that the revision changes although no commit since the last deployment names the plan, if one must.
///
/// Not those that were begun: the rest of a plan has another digest than the whole.
pub async fn not_reviewed(
    site: &Site,
    head: &Revision,
    ledger: &Ledger,
    plan: &Plan,
    context: &Context,
) -> BTreeMap<StackSlug, Digest> {
    if site.config.plan_digest == PlanDigest::NotNeeded || !context.not_reviewed.is_empty() || context.now.is_none() {
        return BTreeMap::new();
    }
    let is_begun = |slug: &StackSlug| ledger.records.get(slug).is_some_and(|record| record.next.is_some());
    let is_held_back =
        |(slug, stack): &(&StackSlug, &Arc<StackPlan>)| stack.is_changed_by_the_revision() && !is_begun(slug);
    let changed: Vec<&StackSlug> = plan.stacks.iter().filter(is_held_back).map(|(slug, _)| slug).collect();
    if changed.is_empty() {
        return BTreeMap::new();
    }
    let digest = plan.digest();
    let named = match site.source.trailers(head, ledger.head.as_ref()).await {
        Ok(trailers) => {
            let named = trailers.into_iter().filter(|trailer| trailer.key == REVIEWED);
            named.map(|trailer| trailer.value).collect::<Vec<String>>()
        }
        Err(error) => {
            tracing::warn!(%error, "the commits since the last deployment cannot be read for a reviewed plan");
            Vec::new()
        }
    };
    if named
        .iter()
        .chain(&context.reviewed)
        .any(|named| named.len() >= SHORTEST && digest.as_str().starts_with(named.as_str()))
    {
        return BTreeMap::new();
    }
    changed.into_iter().map(|slug| (slug.clone(), digest.clone())).collect()
}
