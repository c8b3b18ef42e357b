//! Says which networks and volumes an instance needs that are not there, and whose business it is to make them.

use std::collections::BTreeMap;

use crate::model::request::{
    LABEL_OWNER, LABEL_SCHEMA, LABEL_SCHEMA_VERSION, LABEL_STACK, MountKind, NetworkAttachment, NetworkRequest,
    VolumeRequest,
};
use crate::model::stack::{Creation, Stack};
use crate::model::world::{EngineSeen, EngineView};
use crate::plan::Input;
use crate::plan::decide::Decided;
use crate::plan::hold::Hold;

fn our_labels(input: &Input<'_>, stack: &Stack) -> BTreeMap<String, String> {
    BTreeMap::from([
        (LABEL_OWNER.to_owned(), input.owner.to_owned()),
        (LABEL_STACK.to_owned(), stack.name.slug().to_string()),
        (LABEL_SCHEMA.to_owned(), LABEL_SCHEMA_VERSION.to_owned()),
    ])
}

pub fn network_to_make(
    input: &Input<'_>,
    stack: &Stack,
    one: &Decided<'_>,
    seen: &EngineSeen,
) -> Option<NetworkRequest> {
    let NetworkAttachment::Named { network, .. } = &one.request.network else {
        return None;
    };
    let exists = seen.networks.iter().any(|n| n.name == network.as_str());
    (!exists && stack.network.creation == Creation::IfMissing).then(|| NetworkRequest {
        name: network.clone(),
        labels: our_labels(input, stack),
        subnet: None,
    })
}

pub fn volumes_to_make(input: &Input<'_>, stack: &Stack, one: &Decided<'_>, seen: &EngineSeen) -> Vec<VolumeRequest> {
    let mounted = one.request.mounts.iter().filter_map(|mount| match &mount.kind {
        MountKind::Volume(name) => stack.volumes.get(name).map(|volume| (name, volume)),
        MountKind::Bind(_) | MountKind::Tmpfs => None,
    });
    mounted
        .filter(|(name, volume)| {
            volume.creation == Creation::IfMissing && !seen.volumes.iter().any(|v| v.name == name.as_str())
        })
        .map(|(name, volume)| VolumeRequest {
            name: name.clone(),
            driver: volume.driver.clone(),
            labels: our_labels(input, stack),
        })
        .collect()
}

/// Whose the networks of a name are, where all of them are another owner's: its services would answer to our names.
fn of_another_owner<'a>(input: &Input<'_>, seen: &'a EngineSeen, name: &str) -> Option<&'a str> {
    let mut owners = seen.networks.iter().filter(|n| n.name == name).map(|n| n.labels.get(LABEL_OWNER));
    let first = owners.next()?;
    let is_another = |owner: Option<&String>| owner.is_some_and(|owner| owner != input.owner);
    (is_another(first) && owners.all(is_another)).then_some(first?.as_str())
}

/// What a new instance needs and somebody else should have made.
pub fn missing(input: &Input<'_>, stack: &Stack, one: &Decided<'_>) -> Vec<Hold> {
    let Some(EngineView::Seen(seen)) = input.world.engines.get(one.endpoint) else {
        return Vec::new();
    };
    let slug = stack.name.slug().clone();
    let host = one.placed.host.clone();
    let mut holds = Vec::new();
    if let NetworkAttachment::Named { network, .. } = &one.request.network {
        let of_another = of_another_owner(input, seen, network.as_str());
        match seen.networks.iter().find(|n| n.name == network.as_str()) {
            Some(_) if of_another.is_some() => holds.push(Hold::NetworkUnfit {
                stack: slug.clone(),
                host: host.clone(),
                network: network.clone(),
                why: format!(
                    "it belongs to another owner ({}); give the stack a `network` of another name",
                    of_another.unwrap_or_default()
                ),
            }),
            None if stack.network.creation == Creation::ByOthers => {
                holds.push(Hold::NetworkMissing { stack: slug.clone(), host: host.clone(), network: network.clone() });
            }
            Some(found) if found.driver != "bridge" => holds.push(Hold::NetworkUnfit {
                stack: slug.clone(),
                host: host.clone(),
                network: network.clone(),
                why: format!("its driver is `{}`, not `bridge`", found.driver),
            }),
            Some(_) | None => {}
        }
    }
    for mount in &one.request.mounts {
        let MountKind::Volume(name) = &mount.kind else { continue };
        let by_others = stack.volumes.get(name).is_some_and(|v| v.creation == Creation::ByOthers);
        if by_others && !seen.volumes.iter().any(|v| v.name == name.as_str()) {
            holds.push(Hold::VolumeMissing { stack: slug.clone(), host: host.clone(), volume: name.clone() });
        }
    }
    holds
}
