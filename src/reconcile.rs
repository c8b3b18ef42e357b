//! One pass of the line: from a commit to a plan.
//!
//! Takes the site: the repository, its ledger, the engines and what the operator decided. Gives everything that the
//! pass found out, the plan among it.
//!
//! Never acts: `controller` decides whether a plan is carried out.

pub mod site;
mod acknowledge;
pub mod previous;
pub mod understand;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::diagnostic::Report;
use crate::ledger::LedgerError;
use crate::model::desired::Desired;
use crate::model::host::Host;
use crate::model::record::Ledger;
use crate::model::stack::Stack;
use crate::model::world::World;
use crate::name::{Revision, StackSlug};
use crate::observe::images;
use crate::placement::{self, Placement};
use crate::plan::want::{self, Want};
use crate::plan::{self, Plan, brake, offline};
use crate::reconcile::site::Site;
use crate::source::{Snapshot, SourceError};
use crate::status::hosts;

/// Where a pass looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// At the hosts.
    Hosts,
    /// At Git alone: the fleet is taken to be as the ledger says.
    Offline,
}

/// What the caller of a pass knows and the site does not.
#[derive(Debug, Clone, Default)]
pub struct Context {
    /// Stacks whose apply is under way.
    pub in_hand: BTreeSet<StackSlug>,
    /// Digests of removals that the operator allowed.
    pub allowed_removals: BTreeSet<crate::name::Digest>,
    /// Hosts that have been unreachable for longer than `lostAfter`.
    pub lost: BTreeSet<crate::name::HostName>,
}

/// Everything that a pass found out.
#[derive(Debug, Clone)]
pub struct Pass {
    pub revision: Revision,
    pub owner: String,
    /// The files at the head, for showing places in them.
    pub snapshot: Snapshot,
    /// What is wrong with them.
    pub report: Report,
    pub desired: Desired,
    /// The ledger that placement used.
    pub ledger: Arc<Ledger>,
    /// Hosts of the inventory that no ledger commit knows yet: what was measured there must be committed, and the pass
    /// done again, before anything is placed for good.
    pub unrecorded_hosts: BTreeSet<crate::name::HostName>,
    pub wants: BTreeMap<StackSlug, Want>,
    pub placement: Placement,
    pub world: World,
    pub before: BTreeMap<StackSlug, Arc<Stack>>,
    pub plan: Plan,
}

/// A pass could not be done.
#[derive(Debug, thiserror::Error)]
pub enum PassError {
    #[error("the branch {branch} has no commit yet")]
    NoCommit { branch: String },
    #[error("the repository cannot be read")]
    Source(#[from] SourceError),
    #[error("the ledger cannot be read or written")]
    Ledger(#[from] LedgerError),
}

impl PassError {
    /// Will waiting help?
    pub fn is_transient(&self) -> bool {
        match self {
            Self::NoCommit { .. } => true,
            Self::Source(error) => error.is_transient(),
            Self::Ledger(error) => error.is_transient(),
        }
    }
}

/// Does one pass.
///
/// # Errors
/// When the repository or the ledger cannot be read; wrong files and silent hosts are no errors but part of the answer.
pub async fn pass(site: &mut Site, look: Look, context: &Context) -> Result<Pass, PassError> {
    let head = site.source.head().await?;
    let branch = site.source.branch().to_owned();
    let revision = head.ok_or(PassError::NoCommit { branch })?;
    let owner = site.owner(&revision).await?;
    let snapshot = site.source.snapshot(&revision).await?;
    let (desired, report) = understand::understand(&mut site.checked, &snapshot);
    let ledger = site.ledger.read().await?;

    let before = last_good(site, &snapshot, &desired, &ledger).await?;
    let revisions = revisions(site, &revision, &desired).await?;
    site.connect(&desired.inventory);
    let mut world = match look {
        Look::Hosts => site.observer.observe(&desired.inventory, &site.engines).await,
        Look::Offline => {
            let stacks = desired.stacks.values().chain(before.values()).map(AsRef::as_ref);
            offline::world(&ledger, &desired.inventory, &owner, stacks)
        }
    };
    let seen = previous::stacks_seen(&world, &owner);
    let wants = want::wants(&want::Question {
        desired: &desired,
        ledger: &ledger,
        owner: &owner,
        revisions: &revisions,
        last_good: &before,
        seen: &seen,
    });
    let (ledger, unrecorded_hosts) = with_first_facts(site, ledger, &desired, &world, &owner, look, context);
    let previous = previous::mapping(&ledger, &world, &owner, &desired.inventory);
    let stacks: BTreeMap<StackSlug, Arc<Stack>> =
        wants.iter().filter_map(|(slug, want)| Some((slug.clone(), want.stack()?.clone()))).collect();
    let mut placement = placement::place(&placement::Input {
        stacks: &stacks,
        inventory: &desired.inventory,
        ledger: &ledger,
        previous: &previous,
        leave_volumes: &BTreeSet::new(),
    });
    if !placement.held.is_empty() {
        let leave_volumes = acknowledge::left_volumes(site, &revision, &ledger, &placement).await;
        if !leave_volumes.is_empty() {
            placement = placement::place(&placement::Input {
                stacks: &stacks,
                inventory: &desired.inventory,
                ledger: &ledger,
                previous: &previous,
                leave_volumes: &leave_volumes,
            });
        }
    }
    if look == Look::Hosts {
        let question = images::Question {
            wants: &wants,
            mapping: &placement.mapping,
            ledger: &ledger,
            owner: &owner,
            engines: &site.engines,
            logins: &site.logins,
        };
        images::resolve(&question, &mut world).await;
    }
    let mut input = plan::Input {
        wants: &wants,
        inventory: &desired.inventory,
        placement: &placement,
        world: &world,
        ledger: &ledger,
        before: &before,
        owner: &owner,
        policy: &site.config.policy,
        brake: site.config.brake,
        subnets: &site.config.subnets,
        in_hand: &context.in_hand,
        allowed_removals: &context.allowed_removals,
    };
    let acknowledged = match brake::judge(&input) {
        Some(braked) => acknowledge::removals(site, &revision, &ledger, &braked).await,
        None => BTreeSet::new(),
    };
    if !acknowledged.is_empty() {
        input.allowed_removals = &acknowledged;
    }
    let plan = plan::plan(&input);
    Ok(Pass {
        revision,
        owner,
        snapshot,
        report,
        desired,
        ledger,
        unrecorded_hosts,
        wants,
        placement,
        world,
        before,
        plan,
    })
}

/// The stacks as they last ran well, where that is not what the head says. One that cannot be read any more is absent.
async fn last_good(
    site: &mut Site,
    head: &Snapshot,
    desired: &Desired,
    ledger: &Ledger,
) -> Result<BTreeMap<StackSlug, Arc<Stack>>, PassError> {
    let needed = want::last_good_needed(desired, ledger);
    site.last_good.retain(|slug, (last, _)| needed.get(slug) == Some(last));
    for (slug, last) in needed {
        if site.last_good.contains_key(&slug) {
            continue;
        }
        let snapshot = match site.source.snapshot_paths(&last.revision, &last.files).await {
            Ok(snapshot) => snapshot,
            Err(SourceError::NoSuchRevision { .. }) => continue,
            Err(error) => return Err(error.into()),
        };
        let stack = understand::stack(&site.checked, head, &snapshot.files, &slug);
        site.last_good.insert(slug, (last, stack));
    }
    Ok(site.last_good.iter().filter_map(|(slug, (_, stack))| Some((slug.clone(), stack.clone()?))).collect())
}

/// The latest commit that changed each stack of the head.
async fn revisions(
    site: &Site,
    head: &Revision,
    desired: &Desired,
) -> Result<BTreeMap<StackSlug, Revision>, PassError> {
    let paths: BTreeSet<Arc<str>> = desired.stacks.values().flat_map(|stack| stack.files.iter().cloned()).collect();
    let changes = site.source.last_changes(head, &paths).await?;
    let of = |stack: &Stack| stack.files.iter().find_map(|path| changes.get(path)).unwrap_or(head).clone();
    Ok(desired.stacks.iter().map(|(slug, stack)| (slug.clone(), of(stack))).collect())
}

/// Hosts that the ledger does not know are placed with what was just measured, as it will be committed.
fn with_first_facts(
    site: &Site,
    ledger: Arc<Ledger>,
    desired: &Desired,
    world: &World,
    owner: &str,
    look: Look,
    context: &Context,
) -> (Arc<Ledger>, BTreeSet<crate::name::HostName>) {
    // A host with another endpoint is another machine, as far as anybody knows.
    let is_recorded = |host: &Host| ledger.hosts.get(&host.name).is_some_and(|record| record.endpoint == host.endpoint);
    let hosts = desired.inventory.hosts.values();
    let unrecorded: BTreeSet<_> = hosts.filter(|host| !is_recorded(host)).map(|host| host.name.clone()).collect();
    if unrecorded.is_empty() || look == Look::Offline {
        return (ledger, BTreeSet::new());
    }
    let records = hosts::records(&hosts::Input {
        inventory: &desired.inventory,
        world,
        ledger: &ledger,
        records: &ledger.records,
        changed: &BTreeMap::new(),
        owner,
        used: &site.used,
        lost: &context.lost,
    });
    let mut known = ledger.as_ref().clone();
    known.hosts.extend(records.into_iter().filter(|(host, _)| unrecorded.contains(host)));
    (Arc::new(known), unrecorded)
}
