//! One pass of the line: from a commit to a plan.
//!
//! Takes the site: the repository, its ledger, the engines and what the operator decided. Gives everything that the
//! pass found out, the plan among it.
//!
//! Never acts: `controller` decides whether a plan is carried out.

pub mod site;
mod acknowledge;
pub mod closing;
mod followed;
mod leaving;
pub mod previous;
pub mod rollback;
pub mod suppose;
pub mod understand;
pub mod verify;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::diagnostic::Report;
use crate::files::SourceFile;
use crate::ledger::LedgerError;
use crate::model::desired::Desired;
use crate::model::host::Host;
use crate::model::mapping::Mapping;
use crate::model::record::Ledger;
use crate::model::stack::Stack;
use crate::model::world::{Unsteady, World};
use crate::moment::Seconds;
use crate::name::{Digest, InstanceId, Revision, StackSlug, VolumeName};
use crate::observe::images;
use crate::parse::{self, Kind};
use crate::placement::{self, Placement};
use crate::plan::brake::Braked;
use crate::plan::lost::{self, Lost};
use crate::plan::memo::Facts;
use crate::plan::want::{self, Want};
use crate::plan::{self, Plan, brake, offline};
use crate::reconcile::site::Site;
use crate::reconcile::suppose::{SupposeError, Supposed};
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

/// Which commit of the ledger a pass starts from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Known {
    #[default]
    Newest,
    /// An older one, for what is only asked.
    Commit(Revision),
    /// As if there were none.
    Nothing,
}

/// What the caller of a pass knows and the site does not.
#[derive(Debug, Clone, Default)]
pub struct Context {
    /// The commit to work from, instead of the branch's head: for what is only asked.
    pub at: Option<Revision>,
    /// What is known from before.
    pub ledger: Known,
    /// Stacks whose apply is under way.
    pub in_hand: BTreeSet<StackSlug>,
    /// Digests of removals that the operator allowed.
    pub allowed_removals: BTreeSet<Digest>,
    /// Hosts that have been unreachable for longer than `lostAfter`.
    pub lost: BTreeSet<crate::name::HostName>,
    /// Instances that keep ending.
    pub unsteady: BTreeMap<InstanceId, Unsteady>,
    /// Containers that answer to no name.
    pub nameless: BTreeSet<String>,
    /// What is closed at this moment is not deployed; none: no window and no freeze counts.
    pub now: Option<Seconds>,
    /// Stacks that were begun at that moment, and so were open, whatever the configuration says of it today.
    pub open: BTreeSet<StackSlug>,
    /// The digest of a plan that the caller has reviewed, as if a commit named it.
    pub reviewed: Option<String>,
    /// Stacks that are left alone because their plan was not reviewed.
    pub not_reviewed: BTreeMap<StackSlug, Digest>,
    /// What if. Only for a pass that looks at Git alone, and is only asked for.
    pub supposed: Vec<Supposed>,
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
    /// Where everything was, as placement took it.
    pub previous: Mapping,
    /// Volumes whose data may stay behind.
    pub leave_volumes: BTreeSet<(StackSlug, VolumeName)>,
    /// Volumes that are not where they were and that nobody gave up: the ledger remembers them.
    pub lost_volumes: Lost,
    pub placement: Placement,
    pub world: World,
    pub before: BTreeMap<StackSlug, Arc<Stack>>,
    /// Instances that a human allowed to go; the ledger must say so before the first of them does.
    pub accepted: BTreeSet<InstanceId>,
    pub plan: Plan,
}

/// A pass could not be done.
#[derive(Debug, thiserror::Error)]
pub enum PassError {
    #[error("the branch {branch} has no commit yet")]
    NoCommit { branch: String },
    #[error(
        "{branch} is at {}, which does not contain {deployed}, which is deployed and not in this repository: the history was \
         rewritten, or this repository is behind; fetch, or, to follow the new history, push a commit with the line \
         `Bayplan-Follow-Rewrite: {deployed}`", head.short()
    )]
    Rewritten { branch: String, head: Revision, deployed: Revision },
    #[error("the repository cannot be read")]
    Source(#[from] SourceError),
    #[error("the ledger cannot be read or written")]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Supposed(#[from] SupposeError),
}

impl PassError {
    /// Will waiting help?
    pub fn is_transient(&self) -> bool {
        match self {
            Self::NoCommit { .. } | Self::Rewritten { .. } => true,
            Self::Source(error) => error.is_transient(),
            Self::Ledger(error) => error.is_transient(),
            Self::Supposed(_) => false,
        }
    }
}

impl Pass {
    /// What placement took, for asking it once more. Takes the stacks, as [`Pass::stacks`] gives them.
    pub fn placement_input<'a>(&'a self, stacks: &'a BTreeMap<StackSlug, Arc<Stack>>) -> placement::Input<'a> {
        placement::Input {
            stacks,
            inventory: &self.desired.inventory,
            ledger: &self.ledger,
            previous: &self.previous,
            leave_volumes: &self.leave_volumes,
        }
    }

    /// The stacks that were placed.
    pub fn stacks(&self) -> BTreeMap<StackSlug, Arc<Stack>> {
        wanted_stacks(&self.wants)
    }
}

fn wanted_stacks(wants: &BTreeMap<StackSlug, Want>) -> BTreeMap<StackSlug, Arc<Stack>> {
    wants.iter().filter_map(|(slug, want)| Some((slug.clone(), want.stack()?.clone()))).collect()
}

/// Does one pass.
///
/// # Errors
/// When the repository or the ledger cannot be read; wrong files and silent hosts are no errors but part of the answer.
pub async fn pass(site: &mut Site, look: Look, context: &Context) -> Result<Pass, PassError> {
    if look == Look::Hosts {
        site.observer.begin(&site.engines);
    }
    let ledger = match &context.ledger {
        Known::Newest => site.ledger.read().await?,
        Known::Commit(commit) => site.ledger.read_at(commit).await?,
        Known::Nothing => Arc::default(),
    };
    let followed::Followed { revision, hold } = match &context.at {
        Some(at) => followed::Followed { revision: at.clone(), hold: None },
        None => followed::followed(site, &ledger, look).await?,
    };
    let owner = site.owner(&revision).await?;
    let snapshot = suppose::files(site.source.snapshot(&revision).await?, &context.supposed);
    let (mut desired, report) = understand::understand(&mut site.checked, &snapshot);
    let mut accepted = brake::accepted(&ledger);
    if let Some(left) = brake::left(&ledger, &desired.inventory, &accepted)
        && is_allowed(site, &revision, &ledger, &left, context).await
    {
        accepted.extend(left.removals);
    }
    desired.inventory = leaving::with(desired.inventory, &ledger, &accepted);
    desired.inventory = suppose::inventory(desired.inventory, &context.supposed)?;

    let closed = closing::closed(site, &desired, &ledger, context);
    let before = last_good(site, &snapshot, &desired, &ledger).await?;
    let revisions = revisions(site, &revision, &desired).await?;
    site.connect(&desired.inventory);
    let mut world = match look {
        Look::Hosts => site.observer.observe(&desired.inventory, &site.engines).await,
        Look::Offline => offline::world(&ledger, &desired.inventory, &owner),
    };
    world.unsteady = context.unsteady.clone();
    world.nameless = context.nameless.clone();
    suppose::silence(&mut world, &context.supposed);
    let seen = previous::stacks_seen(&world, &owner);
    let wants = want::wants(&want::Question {
        desired: &desired,
        ledger: &ledger,
        owner: &owner,
        revisions: &revisions,
        last_good: &before,
        closed: &closed,
        seen: &seen,
    });
    // Without a look at the hosts nothing is known to be gone.
    let lost_volumes = match look {
        Look::Hosts => {
            let question = lost::Question { ledger: &ledger, desired: &desired, wants: &wants, world: &world };
            acknowledge::still_lost(site, &revision, &question).await
        }
        Look::Offline => Lost::new(),
    };
    let (ledger, unrecorded_hosts) = match look {
        Look::Hosts => with_first_facts(site, ledger, &desired, &world, &lost_volumes, &owner, context),
        Look::Offline => (ledger, BTreeSet::new()),
    };
    let previous = previous::mapping(&ledger, &world, &owner, &desired.inventory);
    let stacks = wanted_stacks(&wants);
    let mut leave_volumes = BTreeSet::new();
    let mut placement = placement::place(&placement::Input {
        stacks: &stacks,
        inventory: &desired.inventory,
        ledger: &ledger,
        previous: &previous,
        leave_volumes: &leave_volumes,
    });
    if !placement.held.is_empty() {
        leave_volumes = acknowledge::left_volumes(site, &revision, &ledger, &placement).await;
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
    if look == Look::Offline {
        let wanted = stacks.iter().map(|(slug, stack)| (slug, stack.as_ref()));
        offline::furnish(&mut world, &ledger, &placement.mapping, wanted);
    }
    let known = match look {
        Look::Hosts => lost::known(Arc::clone(&ledger), &lost_volumes, &world),
        Look::Offline => Arc::clone(&ledger),
    };
    site.memo.look(&Facts {
        owner: &owner,
        inventory: &desired.inventory,
        ledger: &known,
        wants: &wants,
        before: &before,
        placement: &placement,
        world: &world,
    });
    if look == Look::Hosts {
        let question = images::Question {
            wants: &wants,
            mapping: &placement.mapping,
            ledger: &ledger,
            owner: &owner,
            engines: &site.engines,
            logins: &site.logins,
        };
        images::resolve(&question, &mut world, &mut site.memo, &mut site.unanswered).await;
    }
    let mut input = plan::Input {
        wants: &wants,
        inventory: &desired.inventory,
        placement: &placement,
        world: &world,
        ledger: &known,
        before: &before,
        owner: &owner,
        policy: &site.config.policy,
        brake: site.config.brake,
        subnets: &site.config.subnets,
        in_hand: &context.in_hand,
        accepted: &accepted,
    };
    let mut with_many = accepted.clone();
    if let Some(many) = brake::judge(&input)
        && is_allowed(site, &revision, &ledger, &many, context).await
    {
        with_many.extend(many.removals);
        input.accepted = &with_many;
    }
    let mut plan = plan::plan_from(&input, &mut site.memo);
    debug_assert_eq!(plan, plan::plan(&input), "what is known must be what would be planned");
    plan.holds.extend(hold);
    plan.holds.extend(closing::unknown(site, &desired, &ledger));
    suppose::down(&mut plan, &placement.mapping, &context.supposed);
    let not_reviewed = closing::not_reviewed(site, &revision, &desired, &ledger, &plan, context).await;
    if !not_reviewed.is_empty() {
        // Once more, with what ran last in their place.
        let context = Context { not_reviewed, ..context.clone() };
        return Box::pin(pass(site, look, &context)).await;
    }
    Ok(Pass {
        revision,
        owner,
        snapshot,
        report,
        desired,
        ledger,
        unrecorded_hosts,
        wants,
        previous,
        leave_volumes,
        lost_volumes,
        placement,
        world,
        before,
        accepted: with_many,
        plan,
    })
}

/// Whether the operator, or a commit, said that these removals are meant.
async fn is_allowed(site: &Site, head: &Revision, ledger: &Ledger, braked: &Braked, context: &Context) -> bool {
    context.allowed_removals.contains(&braked.digest) || acknowledge::removals(site, head, ledger, braked).await
}

/// The stacks as they last ran well, where that is not what the head says. One that cannot be read any more is absent.
async fn last_good(
    site: &mut Site,
    head: &Snapshot,
    desired: &Desired,
    ledger: &Ledger,
) -> Result<BTreeMap<StackSlug, Arc<Stack>>, PassError> {
    let needed = want::last_good_needed(desired, ledger);
    // Which hosts there are decides what a stack means, and whether it means anything.
    let is_host = |file: &&SourceFile| parse::kind(&file.path) == Kind::Host;
    let hosts = head.files.iter().filter(is_host).map(|file| (file.path.clone(), file.blob.clone())).collect();
    if site.last_good_among != hosts {
        site.last_good.clear();
        site.last_good_among = hosts;
    }
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
    lost_volumes: &Lost,
    owner: &str,
    context: &Context,
) -> (Arc<Ledger>, BTreeSet<crate::name::HostName>) {
    // A host with another endpoint is another machine, as far as anybody knows.
    let is_recorded = |host: &Host| ledger.hosts.get(&host.name).is_some_and(|record| record.endpoint == host.endpoint);
    let hosts = desired.inventory.hosts.values();
    let unrecorded: BTreeSet<_> = hosts.filter(|host| !is_recorded(host)).map(|host| host.name.clone()).collect();
    if unrecorded.is_empty() {
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
        lost_volumes,
    });
    let mut known = ledger.as_ref().clone();
    known.hosts.extend(records.into_iter().filter(|(host, _)| unrecorded.contains(host)));
    (Arc::new(known), unrecorded)
}
