//! Says what has to happen, and what must not: steps and holds, as data.
//!
//! Takes what each stack is wanted as, where placement puts it, what engines were seen to hold and what the ledger
//! remembers. Gives, per stack, the changes that a person reads, the steps that an executor carries out, and the holds.
//!
//! Never touches the world, and leaves nothing for the executor to choose.
//!
//! Because every decision is here, a crash needs no special case: whatever was half done is part of what is seen next.

pub mod brake;
pub mod capability;
pub mod change;
pub mod closed;
pub mod connect;
pub mod health;
pub mod hold;
pub mod lost;
pub mod memo;
pub mod offline;
pub mod outcome;
pub mod request;
pub mod step;
pub mod want;

mod cause;
mod decide;
mod differ;
mod furnish;
mod index;
mod network;
mod order;
mod removal;
mod room;
pub mod superseded;
mod unseen;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::model::config::Brake;
use crate::model::desired::Inventory;
use crate::model::mapping::Placed;
use crate::model::policy::Policy;
use crate::model::record::Ledger;
use crate::model::request::ResolvedImage;
use crate::model::stack::Stack;
use crate::model::world::World;
use crate::name::{Digest, InstanceId, StackSlug};
use crate::placement::Placement;
use crate::plan::change::Change;
use crate::plan::hold::Hold;
use crate::plan::memo::Memo;
use crate::plan::step::Step;
use crate::plan::want::Want;
use crate::secret::Secret;

/// Everything that a plan is computed from.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    pub wants: &'a BTreeMap<StackSlug, Want>,
    pub inventory: &'a Inventory,
    pub placement: &'a Placement,
    pub world: &'a World,
    pub ledger: &'a Ledger,
    /// The stacks as they ran before, for naming the fields that differ.
    pub before: &'a BTreeMap<StackSlug, Arc<Stack>>,
    pub owner: &'a str,
    pub policy: &'a Policy,
    pub brake: Brake,
    /// What the operator gives for the stacks' networks: address and prefix length. None: engines find ranges.
    pub subnets: &'a [(Ipv4Addr, u8)],
    /// Stacks whose apply is under way: they are somebody's else's now.
    pub in_hand: &'a BTreeSet<StackSlug>,
    /// Instances that a human allowed to go.
    pub accepted: &'a BTreeSet<InstanceId>,
}

/// What has to happen, per stack, and what is held as a whole.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// Shared with the last pass, where nothing changed.
    pub stacks: BTreeMap<StackSlug, Arc<StackPlan>>,
    /// Holds that belong to no single stack.
    pub holds: Vec<Hold>,
    /// What waits for a human to acknowledge its removal.
    pub braked: Vec<brake::Braked>,
}

/// One stack's part of a plan.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StackPlan {
    /// What is wanted of it; none where nothing is.
    pub content: Option<Digest>,
    /// In order of instance. Kept instances are listed too.
    pub changes: Vec<Change>,
    /// Each step names those that must have been carried out before, by index.
    pub steps: Vec<Step>,
    pub holds: Vec<Hold>,
    /// Its placed instances, as they are wanted.
    pub instances: BTreeMap<InstanceId, Planned>,
}

/// An instance as it is wanted.
#[derive(Debug, Clone, PartialEq)]
pub struct Planned {
    pub placed: Placed,
    /// As written.
    pub image: String,
    pub resolved: ResolvedImage,
    /// Of its request.
    pub digest: Digest,
    /// The values of its variables: its container may print them, and they must not be shown then.
    pub secrets: BTreeSet<Secret<String>>,
}

impl Plan {
    pub fn is_empty(&self) -> bool {
        self.stacks.values().all(|stack| stack.steps.is_empty())
    }

    /// All holds, those of the stacks first.
    pub fn all_holds(&self) -> impl Iterator<Item = (Option<&StackSlug>, &Hold)> {
        let of_stacks = self.stacks.iter().flat_map(|(slug, stack)| stack.holds.iter().map(move |h| (Some(slug), h)));
        of_stacks.chain(self.holds.iter().map(|h| (None, h)))
    }

    /// Covers what the revision causes: instance, from and to, bucket, changed fields, image as written, and all that the
    /// stack's files ask for. Not revisions, places in files, ids, resolved digests, drift or time.
    ///
    /// Because whoever reviewed a changed field has seen its value too, the names alone would approve any other value.
    pub fn digest(&self) -> Digest {
        let of_change = |stack: &StackPlan, change: &Change| {
            json!([
                change.instance.to_string(),
                change.from.as_ref().map(|h| h.as_str()),
                change.to.as_ref().map(|h| h.as_str()),
                change.bucket.as_str(),
                change.fields.iter().map(|f| f.name.as_str()).collect::<Vec<_>>(),
                change.image,
                stack.content.as_ref().map(Digest::as_str),
            ])
        };
        let changes = self.stacks.values().flat_map(|stack| {
            let caused = stack.changes.iter().filter(|change| change.is_caused_by_the_revision());
            caused.map(|change| of_change(stack, change))
        });
        Digest::of(Value::from_iter(changes).to_string().as_bytes())
    }
}

impl StackPlan {
    /// Whether something of it is done because the revision asks for it, and not to heal it.
    pub fn is_changed_by_the_revision(&self) -> bool {
        !self.steps.is_empty() && self.changes.iter().any(|change| change.is_caused_by_the_revision())
    }

    /// The values of all variables of its instances.
    pub fn secrets(&self) -> BTreeSet<Secret<String>> {
        self.instances.values().flat_map(|planned| planned.secrets.iter().cloned()).collect()
    }
}

/// Computes the plan.
pub fn plan(input: &Input<'_>) -> Plan {
    plan_from(input, &mut Memo::default())
}

/// Computes the same plan, with what is known of stacks for which nothing changed. The memo must have looked at the facts
/// of this pass.
pub fn plan_from(input: &Input<'_>, memo: &mut Memo) -> Plan {
    let mut plan = Plan::default();
    let braked = brake::judge(input);
    let index = index::Index::of(input);
    for (slug, want) in input.wants {
        if input.in_hand.contains(slug) {
            continue;
        }
        // What the brake holds depends on all stacks.
        if let Some(known) = memo.plan(slug).filter(|_| braked.is_none()) {
            plan.stacks.insert(slug.clone(), known.clone());
            continue;
        }
        let stack = Arc::new(match want {
            Want::Stack { stack, .. } => StackPlan {
                content: Some(stack.content.clone()),
                ..decide::stack(input, &index, slug, want, braked.as_ref())
            },
            Want::Keep { .. } => StackPlan { holds: want.holds(slug), ..StackPlan::default() },
            Want::Nothing { .. } => removal::stack(input, &index, slug, want, braked.as_ref()),
        });
        if braked.is_none() {
            memo.keep_plan(slug, &stack);
        }
        plan.stacks.insert(slug.clone(), stack);
    }
    network::give_subnets(input, &mut plan);
    network::remove_unused(input, &mut plan);
    plan.braked = brake::left(input.ledger, input.inventory, input.accepted).into_iter().chain(braked).collect();
    plan.holds.extend(plan.braked.iter().cloned().map(Hold::Brake));
    plan
}
