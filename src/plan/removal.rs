//! What goes: instances that nothing asks for, and whole stacks.
//!
//! Never removes a volume, and never anything that the brake holds.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::host::Endpoint;
use crate::model::stack::Stack;
use crate::model::world::HostView;
use crate::name::{HostName, InstanceId, ServiceName, StackSlug};
use crate::plan::brake::Braked;
use crate::plan::change::{Before, Bucket, Cause, Change, Gap};
use crate::plan::decide::services_in_order;
use crate::plan::hold::Hold;
use crate::plan::index::{Found, Index};
use crate::plan::step::{Act, Step};
use crate::plan::want::{Gone, Want};
use crate::plan::{Input, StackPlan};

/// Containers of an instance that is not asked for any more.
#[derive(Debug)]
pub struct Leftover<'a> {
    pub id: InstanceId,
    pub found: Vec<&'a Found<'a>>,
    pub change: Change,
}

/// How long a container may take to stop of which nobody knows any more what it was given.
const GRACE: Duration = Duration::from_secs(10);

/// How long an instance's containers may take to stop: what its service was or is given, whichever is longer.
pub fn grace(input: &Input<'_>, id: &InstanceId) -> Duration {
    let of = |stack: &Stack| stack.service(id.service.as_str()).map(|service| service.stop_grace_period);
    let before = input.before.get(&id.stack).and_then(|stack| of(stack));
    let now = input.wants.get(&id.stack).and_then(Want::stack).and_then(|stack| of(stack));
    before.max(now).unwrap_or(GRACE)
}

/// The instances of a stack that shall run which are not among those asked for.
pub fn leftovers<'a>(
    input: &Input<'_>,
    index: &'a Index<'a>,
    slug: &StackSlug,
    stack: &Stack,
    braked: Option<&Braked>,
    plan: &mut StackPlan,
) -> Vec<Leftover<'a>> {
    let is_asked_for = |id: &InstanceId| {
        stack.service(id.service.as_str()).is_some_and(|service| id.number >= 1 && id.number <= service.replicas)
    };
    let gone: BTreeSet<InstanceId> =
        recorded(input, slug).into_iter().filter(|(id, _)| !is_asked_for(id)).map(|(id, _)| id).collect();
    hold_unseen(input, slug, &gone, plan);
    index
        .stack(slug)
        .filter(|(id, _)| !is_asked_for(id))
        .filter_map(|(id, found)| leftover(id, found, braked, "it is not asked for any more", plan))
        .collect()
}

fn leftover<'a>(
    id: &InstanceId,
    found: &'a [Found<'a>],
    braked: Option<&Braked>,
    why: &str,
    plan: &mut StackPlan,
) -> Option<Leftover<'a>> {
    if braked.is_some_and(|braked| braked.removals.contains(id)) {
        plan.holds.push(Hold::RemovalBraked { instance: id.clone() });
        return None;
    }
    let change = Change {
        instance: id.clone(),
        bucket: Bucket::Remove,
        from: found.first().map(|f| f.ours.host.clone()),
        to: None,
        image: String::new(),
        cause: Cause::NotWanted(why.to_owned()),
        fields: Vec::new(),
        before: Before::Known,
        gap: Gap::None,
        why_there: String::new(),
        published: Vec::new(),
    };
    Some(Leftover { id: id.clone(), found: found.iter().collect(), change })
}

/// A whole stack goes.
pub fn stack(
    input: &Input<'_>,
    index: &Index<'_>,
    slug: &StackSlug,
    want: &Want,
    braked: Option<&Braked>,
) -> StackPlan {
    let mut plan = StackPlan { holds: want.holds(slug), ..StackPlan::default() };
    let why = match want {
        Want::Nothing { why: Gone::BadContent(reason), .. } => format!("it failed ({reason}), and nothing ran before"),
        Want::Nothing { why: Gone::NotAskedFor, .. } | Want::Stack { .. } | Want::Keep { .. } => {
            "no file asks for it any more".to_owned()
        }
    };
    let all: BTreeSet<InstanceId> = recorded(input, slug).into_iter().map(|(id, _)| id).collect();
    hold_unseen(input, slug, &all, &mut plan);
    let leftovers: Vec<Leftover<'_>> =
        index.stack(slug).filter_map(|(id, found)| leftover(id, found, braked, &why, &mut plan)).collect();
    if plan.holds.iter().any(|hold| matches!(hold, Hold::HostUnreachable { .. })) {
        return plan;
    }
    plan.changes.extend(leftovers.iter().map(|leftover| leftover.change.clone()));
    in_order(&leftovers, input.before.get(slug).map(AsRef::as_ref), |leftover, after| {
        let removals = leftover
            .found
            .iter()
            .map(|found| remove(&mut plan.steps, &leftover.id, found, grace(input, &leftover.id), after, &why));
        removals.collect()
    });
    plan
}

/// What requires goes before what is required, as the stack was before; where that cannot be read, all goes at once.
///
/// `remove` adds the steps for one, after those that it is given, and gives those that end it.
pub fn in_order<'a>(
    leftovers: &'a [Leftover<'a>],
    before: Option<&Stack>,
    mut remove: impl FnMut(&'a Leftover<'a>, &BTreeSet<usize>) -> BTreeSet<usize>,
) {
    let order = before.map(services_in_order).unwrap_or_default();
    let rank = |leftover: &Leftover<'_>| order.iter().position(|service| service.name == leftover.id.service);
    let mut ordered: Vec<&Leftover<'_>> = leftovers.iter().collect();
    ordered.sort_by_key(|leftover| std::cmp::Reverse(rank(leftover)));
    let mut removed: BTreeMap<&ServiceName, BTreeSet<usize>> = BTreeMap::new();
    for leftover in ordered {
        let requires = |service: &ServiceName| {
            let service = order.iter().find(|known| known.name == *service);
            service.is_some_and(|service| service.requirements.iter().any(|r| r.service == leftover.id.service))
        };
        let dependents = removed.iter().filter(|(service, _)| requires(service));
        let after = dependents.flat_map(|(_, steps)| steps).copied().collect();
        let steps = remove(leftover, &after);
        removed.entry(&leftover.id.service).or_default().extend(steps);
    }
}

/// Recorded instances and where they were.
fn recorded(input: &Input<'_>, slug: &StackSlug) -> Vec<(InstanceId, HostName)> {
    let record = input.ledger.records.get(slug);
    let deployments = record.into_iter().flat_map(|r| r.running.iter().chain(&r.next));
    deployments.flat_map(|d| d.instances.iter().map(|(id, i)| (id.clone(), i.host.clone()))).collect()
}

/// An instance that shall go but whose host was not seen may still run there: the stack waits for the host.
fn hold_unseen(input: &Input<'_>, slug: &StackSlug, gone: &BTreeSet<InstanceId>, plan: &mut StackPlan) {
    for (id, host) in recorded(input, slug) {
        if !gone.contains(&id) {
            continue;
        }
        let hold = match input.world.host(&host) {
            HostView::Seen(_) => continue,
            HostView::Unreachable(why) => Hold::HostUnreachable { host, why: why.to_owned(), needed_for: id },
            HostView::NoEndpoint if input.inventory.hosts.contains_key(&host) => {
                Hold::HostWithoutEndpoint { host, needed_for: id }
            }
            HostView::NoEndpoint => Hold::HostLeft { host, instance: id },
        };
        if !plan.holds.contains(&hold) {
            plan.holds.push(hold);
        }
    }
}

/// Adds the steps that stop and remove a container; gives the index of the removal.
pub fn remove(
    steps: &mut Vec<Step>,
    id: &InstanceId,
    found: &Found<'_>,
    grace: Duration,
    after: &BTreeSet<usize>,
    why: &str,
) -> usize {
    let stop = stop(steps, id, found, grace, after, why);
    let after = stop.map_or_else(|| after.clone(), |stop| BTreeSet::from([stop]));
    push(steps, id, &found.ours.host, found.endpoint, Act::Remove { container: found.container.id.clone() }, after, why)
}

/// Adds the step that stops a container, if it runs.
pub fn stop(
    steps: &mut Vec<Step>,
    id: &InstanceId,
    found: &Found<'_>,
    grace: Duration,
    after: &BTreeSet<usize>,
    why: &str,
) -> Option<usize> {
    let act = Act::Stop { container: found.container.id.clone(), grace };
    found.runs().then(|| push(steps, id, &found.ours.host, found.endpoint, act, after.clone(), why))
}

fn push(
    steps: &mut Vec<Step>,
    id: &InstanceId,
    host: &HostName,
    endpoint: &Endpoint,
    act: Act,
    after: BTreeSet<usize>,
    because: &str,
) -> usize {
    steps.push(Step {
        host: host.clone(),
        endpoint: endpoint.clone(),
        instance: Some(id.clone()),
        act,
        after,
        because: because.to_owned(),
    });
    steps.len() - 1
}
