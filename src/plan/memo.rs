//! What of the last pass still holds, stack by stack.
//!
//! Takes everything that a stack's plan is made from. Gives what its images mean, its plan, and that its record says it
//! all already, where every part is what it was in the pass before.
//!
//! Never reuses on a guess: what is known of a stack counts only while all of an engine that it touches is the same, and
//! a stack with anything unusual about it (held by placement, unsteady, without its name, with steps) is not remembered
//! at all. A pass with an empty memo gives the same plan; the laws and every debug build compare the two.
//!
//! Because a push changes one stack of a thousand, and the time until it runs is the user's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::model::desired::Inventory;
use crate::model::host::{Endpoint, Host};
use crate::model::mapping::Placed;
use crate::model::record::{HostRecord, Ledger, Record};
use crate::model::stack::Stack;
use crate::model::world::{EngineView, ImageView, World};
use crate::name::{HostName, InstanceId, StackSlug};
use crate::placement::Placement;
use crate::plan::StackPlan;
use crate::plan::hold::Hold;
use crate::plan::want::Want;

/// What a stack's images mean on its hosts, by text.
pub type Images = Vec<(String, BTreeMap<HostName, ImageView>)>;

/// Of one site with one configuration: another policy is another memo.
#[derive(Debug, Default)]
pub struct Memo {
    around: Option<Around>,
    stacks: BTreeMap<StackSlug, Known>,
}

/// All that a pass knows before it asks for images.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    pub owner: &'a str,
    pub inventory: &'a Inventory,
    pub ledger: &'a Ledger,
    pub wants: &'a BTreeMap<StackSlug, Want>,
    pub before: &'a BTreeMap<StackSlug, Arc<Stack>>,
    pub placement: &'a Placement,
    pub world: &'a World,
}

/// What every stack may depend on.
#[derive(Debug)]
struct Around {
    owner: String,
    inventory: Inventory,
    hosts: BTreeMap<HostName, HostRecord>,
    endpoints: BTreeMap<HostName, Endpoint>,
    engines: BTreeMap<Endpoint, EngineView>,
}

/// What only one stack depends on, and what follows.
#[derive(Debug)]
struct Known {
    want: Want,
    record: Option<Record>,
    before: Option<Arc<Stack>>,
    placed: Vec<(InstanceId, Placed)>,
    images: Option<Images>,
    plan: Option<Arc<StackPlan>>,
    is_settled: bool,
}

impl Memo {
    /// Forgets what does not hold any more. To be called once a pass, before anything is asked for.
    pub fn look(&mut self, facts: &Facts<'_>) {
        let changed = match &self.around {
            Some(around) if around.is_same(facts) => around.changed(facts),
            Some(_) | None => {
                self.stacks.clear();
                Changed::default()
            }
        };
        let mut unusual: BTreeSet<&StackSlug> =
            facts.placement.held.keys().chain(facts.world.unsteady.keys()).map(|id| &id.stack).collect();
        unusual.extend(with_nameless(facts));
        let mut last = std::mem::take(&mut self.stacks).into_iter().peekable();
        let mut placed = facts.placement.mapping.iter().peekable();
        let mut stacks = Vec::with_capacity(facts.wants.len());
        let mut of_stack: Vec<(&InstanceId, &Placed)> = Vec::new();
        for (slug, want) in facts.wants {
            while last.next_if(|(known, _)| known < slug).is_some() {}
            let known = last.next_if(|(known, _)| known == slug).map(|(_, known)| known);
            while placed.next_if(|(id, _)| id.stack < *slug).is_some() {}
            of_stack.clear();
            while let Some(entry) = placed.next_if(|(id, _)| id.stack == *slug) {
                of_stack.push(entry);
            }
            if unusual.contains(slug) {
                continue;
            }
            let parts = Parts {
                want,
                record: facts.ledger.records.get(slug),
                before: facts.before.get(slug),
                placed: &of_stack,
            };
            let same = known.filter(|known| parts.are_of(known) && !changed.touches(slug, &parts));
            stacks.push((slug.clone(), same.unwrap_or_else(|| parts.unknown())));
        }
        self.stacks = stacks.into_iter().collect();
        self.around = Some(Around::of(facts));
    }

    pub fn images(&self, stack: &StackSlug) -> Option<&Images> {
        self.stacks.get(stack)?.images.as_ref()
    }

    /// Keeps what a stack's images mean. Only what was told without asking anybody: an answer may be another next time.
    pub fn keep_images(&mut self, stack: &StackSlug, images: Images) {
        if let Some(known) = self.stacks.get_mut(stack) {
            known.images = Some(images);
        }
    }

    pub fn plan(&self, stack: &StackSlug) -> Option<&Arc<StackPlan>> {
        self.stacks.get(stack)?.plan.as_ref()
    }

    /// Keeps the plan of a stack that is at rest, if its images were told. Not of one that waits for another stack to let go of
    /// a volume: whether that does depends on what is wanted of it.
    pub fn keep_plan(&mut self, stack: &StackSlug, plan: &Arc<StackPlan>) {
        let waits = plan.holds.iter().any(|hold| matches!(hold, Hold::VolumeHeld { .. }));
        let is_at_rest = plan.steps.is_empty() && !waits;
        if let Some(known) = self.stacks.get_mut(stack).filter(|known| known.images.is_some() && is_at_rest) {
            known.plan = Some(plan.clone());
        }
    }

    /// Whether the record of a stack with this plan was found to say everything already.
    pub fn is_settled(&self, stack: &StackSlug, plan: &Arc<StackPlan>) -> bool {
        let known = self.stacks.get(stack).filter(|known| known.is_settled);
        known.and_then(|known| known.plan.as_ref()).is_some_and(|known| Arc::ptr_eq(known, plan))
    }

    pub fn settle(&mut self, stack: &StackSlug, plan: &Arc<StackPlan>) {
        let known = self.stacks.get_mut(stack);
        if let Some(known) = known.filter(|known| known.plan.as_ref().is_some_and(|known| Arc::ptr_eq(known, plan))) {
            known.is_settled = true;
        }
    }
}

/// Stacks with a recorded container that answers to no name.
fn with_nameless<'a>(facts: &Facts<'a>) -> impl Iterator<Item = &'a StackSlug> {
    let nameless = &facts.world.nameless;
    let records = facts.ledger.records.iter().filter(|_| !nameless.is_empty());
    let has_one = move |(_, record): &(&StackSlug, &Record)| {
        let mut instances = record.running.iter().flat_map(|running| running.instances.values());
        instances.any(|instance| instance.container.as_ref().is_some_and(|container| nameless.contains(container)))
    };
    records.filter(has_one).map(|(slug, _)| slug)
}

impl Around {
    fn of(facts: &Facts<'_>) -> Self {
        Self {
            owner: facts.owner.to_owned(),
            inventory: facts.inventory.clone(),
            hosts: facts.ledger.hosts.clone(),
            endpoints: facts.world.hosts.clone(),
            engines: facts.world.engines.clone(),
        }
    }

    fn is_same(&self, facts: &Facts<'_>) -> bool {
        let is_same_host = |(a, b): (&Arc<Host>, &Arc<Host>)| Arc::ptr_eq(a, b) || a == b;
        self.owner == facts.owner
            && self.inventory.wrong == facts.inventory.wrong
            && self.inventory.hosts.len() == facts.inventory.hosts.len()
            && self.inventory.hosts.values().zip(facts.inventory.hosts.values()).all(is_same_host)
            && self.hosts == facts.ledger.hosts
            && self.endpoints == facts.world.hosts
    }

    /// The engines that are not what they were, and whom that concerns.
    fn changed(&self, facts: &Facts<'_>) -> Changed {
        let mut changed = Changed::default();
        let mut endpoints: BTreeSet<&Endpoint> = self.engines.keys().collect();
        endpoints.extend(facts.world.engines.keys());
        for endpoint in endpoints {
            let (then, now) = (self.engines.get(endpoint), facts.world.engines.get(endpoint));
            let is_same = match (then, now) {
                (Some(EngineView::Seen(then)), Some(EngineView::Seen(now))) => Arc::ptr_eq(then, now),
                (Some(EngineView::Unreachable(then)), Some(EngineView::Unreachable(now))) => then == now,
                (Some(EngineView::Seen(_) | EngineView::Unreachable(_)) | None, _) => false,
            };
            if is_same {
                continue;
            }
            let of_engine = facts.world.hosts.iter().filter(|(_, of)| *of == endpoint);
            changed.hosts.extend(of_engine.map(|(host, _)| host.clone()));
            let seen = [then, now].into_iter().flatten().filter_map(|view| match view {
                EngineView::Seen(seen) => Some(seen),
                EngineView::Unreachable(_) => None,
            });
            let ours = seen.flat_map(|seen| &seen.containers).filter_map(|container| container.ours(facts.owner));
            changed.stacks.extend(ours.map(|ours| ours.instance.stack.clone()));
        }
        changed
    }
}

#[derive(Debug, Default)]
struct Changed {
    hosts: BTreeSet<HostName>,
    stacks: BTreeSet<StackSlug>,
}

impl Changed {
    fn touches(&self, slug: &StackSlug, parts: &Parts<'_>) -> bool {
        if self.hosts.is_empty() && self.stacks.is_empty() {
            return false;
        }
        let deployments = parts.record.into_iter().flat_map(|record| record.running.iter().chain(&record.next));
        let recorded = deployments.flat_map(|deployment| deployment.instances.values()).map(|instance| &instance.host);
        let mut hosts = parts.placed.iter().map(|(_, placed)| &placed.host).chain(recorded);
        self.stacks.contains(slug) || hosts.any(|host| self.hosts.contains(host))
    }
}

/// What only one stack depends on, as it is now.
struct Parts<'a> {
    want: &'a Want,
    record: Option<&'a Record>,
    before: Option<&'a Arc<Stack>>,
    placed: &'a [(&'a InstanceId, &'a Placed)],
}

impl Parts<'_> {
    fn are_of(&self, known: &Known) -> bool {
        let is_same_before = match (self.before, &known.before) {
            (Some(now), Some(then)) => Arc::ptr_eq(now, then),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        let mut placed = self.placed.iter().zip(&known.placed);
        is_same_before
            && is_same_want(self.want, &known.want)
            && self.record == known.record.as_ref()
            && self.placed.len() == known.placed.len()
            && placed.all(|(now, then)| *now.0 == then.0 && *now.1 == then.1)
    }

    fn unknown(&self) -> Known {
        Known {
            want: self.want.clone(),
            record: self.record.cloned(),
            before: self.before.cloned(),
            placed: self.placed.iter().map(|(id, placed)| ((*id).clone(), (*placed).clone())).collect(),
            images: None,
            plan: None,
            is_settled: false,
        }
    }
}

/// Stacks are compared by where they are: a file that was not changed is not understood again.
fn is_same_want(now: &Want, then: &Want) -> bool {
    match (now, then) {
        (
            Want::Stack { stack: now, revision, why },
            Want::Stack { stack: then, revision: then_revision, why: then_why },
        ) => Arc::ptr_eq(now, then) && revision == then_revision && why == then_why,
        (Want::Stack { .. }, Want::Keep { .. } | Want::Nothing { .. }) => false,
        // Not remembered: there are few, and not for long.
        (Want::Keep { .. } | Want::Nothing { .. }, _) => false,
    }
}
