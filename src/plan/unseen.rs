//! What a host that was not seen means for a stack: nothing where all is as recorded, else the stack waits for it.
//!
//! Never takes what was not seen for gone, nor for healthy.

use crate::model::host::HostStatus;
use crate::model::mapping::Placed;
use crate::model::record::HostCondition;
use crate::model::stack::WaitForHealthy;
use crate::model::world::HostView;
use crate::name::{Digest, HostName, InstanceId};
use crate::plan::decide::{Decided, Scene};
use crate::plan::hold::Hold;

/// An instance, as its host was seen.
pub enum Unseen {
    Seen,
    /// It is recorded there as it is wanted: nothing has to happen to it.
    AsRecorded,
    Held(Hold),
}

pub fn judge(scene: &Scene<'_>, id: &InstanceId, placed: &Placed, digest: &Digest) -> Unseen {
    let recorded = scene.record.and_then(|r| r.running.as_ref()).and_then(|running| running.instances.get(id));
    if let Some(hold) = recorded.filter(|r| r.host != placed.host).and_then(|r| left_behind(scene, &r.host, id)) {
        return Unseen::Held(hold);
    }
    let Some(hold) = hold(scene, &placed.host, id) else { return Unseen::Seen };
    let is_as_wanted = recorded.is_some_and(|r| &r.digest == digest && r.host == placed.host);
    if is_as_wanted { Unseen::AsRecorded } else { Unseen::Held(hold) }
}

/// An instance that shall move off a host that was not seen may still run there. Only a host that is given up, by its
/// host file or because it is lost, is moved off without a look.
fn left_behind(scene: &Scene<'_>, host: &HostName, id: &InstanceId) -> Option<Hold> {
    let Some(known) = scene.input.inventory.hosts.get(host) else {
        return Some(Hold::HostLeft { host: host.clone(), instance: id.clone() });
    };
    let condition = scene.input.ledger.hosts.get(host).map(|record| record.condition);
    let is_given_up = match known.status {
        HostStatus::Offline | HostStatus::Left => true,
        HostStatus::Active | HostStatus::Maintenance | HostStatus::Draining => condition == Some(HostCondition::Lost),
    };
    if is_given_up { None } else { hold(scene, host, id) }
}

/// What is brought up now and waits for a service whose health cannot be seen.
pub fn requirements(scene: &Scene<'_>, decided: &[Decided<'_>]) -> Vec<Hold> {
    let mut holds = Vec::new();
    for one in decided.iter().filter(|one| one.bucket.brings_up()) {
        for requirement in one.service.requirements.iter().filter(|r| r.wait_for_healthy == WaitForHealthy::Yes) {
            let required = scene.mapping.iter().filter(|(id, _)| id.service == requirement.service);
            holds.extend(required.filter_map(|(_, placed)| hold(scene, &placed.host, &one.id)));
        }
    }
    holds
}

fn hold(scene: &Scene<'_>, host: &HostName, needed_for: &InstanceId) -> Option<Hold> {
    let (host, needed_for) = (host.clone(), needed_for.clone());
    match scene.input.world.host(&host) {
        HostView::Seen(_) => None,
        HostView::Unreachable(why) => {
            let why = why.to_owned();
            Some(Hold::HostUnreachable { host, why, needed_for })
        }
        HostView::NoEndpoint => Some(Hold::HostWithoutEndpoint { host, needed_for }),
    }
}
