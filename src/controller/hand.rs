//! A stack in hand: its apply is under way.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::mpsc::UnboundedSender;
use tokio_util::sync::CancellationToken;

use crate::apply::{self, Progress, Work};
use crate::model::desired::Inventory;
use crate::model::host::Endpoint;
use crate::model::record::Record;
use crate::model::world::World;
use crate::name::{HostName, Revision, StackSlug};
use crate::observe;
use crate::plan::StackPlan;
use crate::plan::outcome::Applied;
use crate::plan::step::Act;
use crate::plan::want::Want;
use crate::reconcile::Pass;
use crate::reconcile::site::Site;
use crate::status;

/// What is being carried out for one stack.
#[derive(Debug, Clone)]
pub struct InHand {
    pub want: Want,
    pub plan: Arc<StackPlan>,
    pub inventory: Inventory,
    pub owner: String,
    /// The head that the pass was done for.
    pub revision: Revision,
    pub stop: CancellationToken,
}

/// What came of it, and how the hosts looked afterwards.
#[derive(Debug)]
pub struct Done {
    pub stack: StackSlug,
    pub applied: Applied,
    pub world: World,
}

impl InHand {
    pub fn of(pass: &Pass, slug: &StackSlug, stop: CancellationToken) -> Option<Self> {
        let plan = pass.plan.stacks.get(slug)?;
        let want = pass.wants.get(slug).cloned().or_else(|| leftover_network(slug))?;
        Some(Self {
            want,
            plan: plan.clone(),
            inventory: pass.desired.inventory.clone(),
            owner: pass.owner.clone(),
            revision: pass.revision.clone(),
            stop,
        })
    }

    /// Whether the pass wants the stack in another shape than the one that is being made.
    pub fn is_overtaken_by(&self, pass: &Pass, slug: &StackSlug) -> bool {
        let content = |want: &Want| want.stack().map(|stack| stack.content.clone());
        match pass.wants.get(slug) {
            Some(want @ (Want::Stack { .. } | Want::Nothing { .. })) => content(want) != content(&self.want),
            // A stack that cannot be read just now is not a newer one.
            Some(Want::Keep { .. }) | None => false,
        }
    }

    /// Whether a step of it ends this container.
    pub fn ends(&self, id: &str) -> bool {
        self.plan.steps.iter().any(|step| match &step.act {
            Act::Stop { container, .. } | Act::Remove { container } => container == id,
            Act::Pull { .. }
            | Act::CreateNetwork(_)
            | Act::CreateVolume(_)
            | Act::Create(_)
            | Act::Start { .. }
            | Act::AwaitHealthy { .. }
            | Act::RunAction(_)
            | Act::TakeName { .. }
            | Act::GiveUpName { .. }
            | Act::Rename { .. }
            | Act::RemoveNetwork { .. }
            | Act::RemoveImage { .. } => false,
        })
    }

    /// The stack's record when it has ended.
    pub fn record(&self, before: Option<&Record>, done: &Done) -> Option<Record> {
        status::end(&status::Input {
            before,
            want: &self.want,
            plan: &self.plan,
            inventory: &self.inventory,
            owner: &self.owner,
            world: &done.world,
            applied: Some(&done.applied),
        })
    }

    /// Carries the steps out and looks at the hosts afterwards.
    pub fn work(
        &self,
        slug: &StackSlug,
        site: &Site,
        progress: UnboundedSender<Progress>,
    ) -> impl Future<Output = Done> + Send + use<> {
        let work = Work {
            stack: slug.clone(),
            steps: Arc::new(self.plan.steps.clone()),
            secrets: self.plan.secrets(),
            engines: site.engines.clone(),
            logins: site.logins.clone(),
            stop: self.stop.clone(),
            progress,
        };
        let hosts = self.hosts();
        let patience = site.config.answer_within;
        async move {
            let applied = apply::apply(&work).await;
            let world = observe::glance(&hosts, &work.engines, patience).await;
            Done { stack: work.stack, applied, world }
        }
    }

    fn hosts(&self) -> BTreeMap<HostName, Endpoint> {
        let of_instances = self.plan.instances.values().map(|planned| &planned.placed.host);
        let named = of_instances.filter_map(|host| {
            let endpoint = self.inventory.hosts.get(host)?.endpoint.clone()?;
            Some((host.clone(), endpoint))
        });
        let of_steps = self.plan.steps.iter().map(|step| (step.host.clone(), step.endpoint.clone()));
        named.chain(of_steps).collect()
    }
}

/// A stack of which only a network is left is not wanted by anybody.
fn leftover_network(slug: &StackSlug) -> Option<Want> {
    let name = crate::name::StackName::new(slug.as_str()).ok()?;
    Some(Want::Nothing { name, why: crate::plan::want::Gone::NotAskedFor })
}
