//! Which stacks get nothing new in this pass, and why.
//!
//! Takes the operator's configuration, the files, the ledger and the moment. Gives the closed stacks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::ledger::PLAN;
use crate::model::config::PlanDigest;
use crate::model::desired::Desired;
use crate::model::record::{Ledger, StackStatus};
use crate::moment::Seconds;
use crate::name::{Digest, Revision, StackName, StackSlug};
use crate::parse::suggest::did_you_mean_or_all;
use crate::plan::closed::{self, Closed};
use crate::plan::hold::Hold;
use crate::plan::{Plan, StackPlan};
use crate::reconcile::site::Site;
use crate::reconcile::{Context, Pass};
use crate::status;

/// Fewer digits could mean several plans.
const SHORTEST: usize = 8;

pub fn closed(site: &Site, desired: &Desired, ledger: &Ledger, context: &Context) -> BTreeMap<StackSlug, Closed> {
    let head = desired.stacks.iter().map(|(slug, stack)| (slug, (&stack.name, stack.suspended.as_ref())));
    let mut stacks: BTreeMap<&StackSlug, _> =
        ledger.records.iter().map(|(slug, record)| (slug, (&record.name, None))).collect();
    stacks.extend(head);
    let why = |slug: &StackSlug, name: &StackName, suspended: Option<&crate::files::Span>| {
        if context.open.contains(slug) {
            return None;
        }
        let names = [name.as_str(), slug.as_str()];
        if names.iter().any(|name| site.config.suspended.contains(*name)) {
            return Some(Closed::ByOperator);
        }
        if let Some(at) = suspended {
            return Some(Closed::Suspended(at.clone()));
        }
        let by_time = context.now.and_then(|now| closed::now(&site.config.schedule, name, now));
        by_time.or_else(|| context.not_reviewed.get(slug).map(|digest| Closed::NotReviewed(digest.clone())))
    };
    let closed =
        stacks.into_iter().filter_map(|(slug, (name, suspended))| Some((slug.clone(), why(slug, name, suspended)?)));
    closed.collect()
}

/// Stacks of which the operator's configuration speaks, and which nobody knows: a slip of the pen there opens what it should
/// close.
pub fn unknown(site: &Site, desired: &Desired, ledger: &Ledger) -> Vec<Hold> {
    let names = desired.stacks.values().map(|stack| &stack.name);
    let names: Vec<&StackName> = names.chain(ledger.records.values().map(|record| &record.name)).collect();
    let config = &site.config;
    let windows = config.schedule.windows.iter().flat_map(|window| &window.stacks);
    let freezes = config.schedule.freezes.iter().flat_map(|freeze| &freeze.stacks);
    let spoken: BTreeSet<&String> = config.suspended.iter().chain(windows).chain(freezes).collect();
    let is_known = |word: &str| {
        let is_it = |name: &StackName| name.as_str() == word || name.slug().as_str() == word;
        names.iter().any(|name| is_it(name)) || desired.wrong.iter().any(|slug| slug.as_str() == word)
    };
    let unknown = spoken.into_iter().filter(|word| !is_known(word));
    let hold = |word: &String| {
        let known: BTreeSet<&str> = names.iter().map(|name| name.slug().as_str()).collect();
        Hold::UnknownStack { name: word.clone(), hint: did_you_mean_or_all(word, known, "there is none") }
    };
    unknown.map(hold).collect()
}

/// The stacks that the revision changes although no commit since they were last deployed names the plan, if one must; with
/// those that were held back before. Empty: no others than those.
///
/// Not those that were begun: the rest of a plan has another digest than the whole.
pub async fn not_reviewed(
    site: &Site,
    head: &Revision,
    desired: &Desired,
    ledger: &Ledger,
    plan: &Plan,
    context: &Context,
) -> BTreeMap<StackSlug, Digest> {
    if site.config.plan_digest == PlanDigest::NotNeeded || context.now.is_none() {
        return BTreeMap::new();
    }
    let is_new = |(slug, stack): &(&StackSlug, &Arc<StackPlan>)| {
        stack.is_changed_by_the_revision()
            && !is_begun(slug, desired, ledger)
            && !context.open.contains(*slug)
            && !context.not_reviewed.contains_key(*slug)
    };
    let new: Vec<&StackSlug> = plan.stacks.iter().filter(is_new).map(|(slug, _)| slug).collect();
    if new.is_empty() {
        return BTreeMap::new();
    }
    // What takes the room of what is held back was in no review.
    let digest = match context.not_reviewed.values().next() {
        Some(digest) => digest.clone(),
        None => plan.digest(),
    };
    if context.not_reviewed.is_empty() && is_reviewed(site, head, &digest, &new, context).await {
        return BTreeMap::new();
    }
    let mut all = context.not_reviewed.clone();
    all.extend(new.into_iter().map(|slug| (slug.clone(), digest.clone())));
    all
}

/// The stacks of a plan that is only shown which would wait for a commit that names it.
pub async fn unreviewed(site: &Site, pass: &Pass, now: Seconds) -> BTreeMap<StackSlug, Digest> {
    let context = Context { now: Some(now), ..Context::default() };
    not_reviewed(site, &pass.revision, &pass.desired, &pass.ledger, &pass.plan, &context).await
}

/// Whether what the files ask for of a stack is already under way.
fn is_begun(slug: &StackSlug, desired: &Desired, ledger: &Ledger) -> bool {
    let Some(record) = ledger.records.get(slug) else { return false };
    match (desired.stacks.get(slug), &record.next) {
        (Some(stack), Some(next)) => next.content == stack.content,
        // Something of it may have gone already.
        (None, None) if record.status == StackStatus::Failed => status::may_pass(record),
        (None, None) => record.status == StackStatus::Deploying,
        (Some(_), None) | (None, Some(_)) => false,
    }
}

/// Whether the caller names the plan, or, for each of the stacks, a commit since it was last deployed.
async fn is_reviewed(site: &Site, head: &Revision, digest: &Digest, stacks: &[&StackSlug], context: &Context) -> bool {
    let is_it = |named: &str| named.len() >= SHORTEST && digest.as_str().starts_with(named);
    if context.reviewed.as_deref().is_some_and(is_it) {
        return true;
    }
    let mut since = BTreeSet::new();
    for slug in stacks {
        match site.ledger.last_planned(slug).await {
            Ok(revision) => since.insert(revision),
            Err(error) => {
                tracing::warn!(%error, "the ledger cannot be read for when {slug} was last deployed");
                return false;
            }
        };
    }
    for since in since {
        match site.source.trailers(head, since.as_ref()).await {
            Ok(trailers) if trailers.iter().any(|trailer| trailer.key == PLAN && is_it(&trailer.value)) => {}
            Ok(_) => return false,
            Err(error) => {
                tracing::warn!(%error, "the commits since the last deployment cannot be read for a reviewed plan");
                return false;
            }
        }
    }
    true
}
