//! Removes networks of ours that nothing uses any more.
//!
//! Never one that a container refers to, a stopped one included, or that a wanted stack would need again.

use std::collections::BTreeSet;

use crate::model::request::{LABEL_OWNER, LABEL_STACK};
use crate::model::world::{EngineView, NetworkSeen};
use crate::name::{HostName, StackSlug};
use crate::plan::step::{Act, Step};
use crate::plan::want::Want;
use crate::plan::{Input, Plan};

pub fn remove_unused(input: &Input<'_>, plan: &mut Plan) {
    for (endpoint, view) in &input.world.engines {
        let EngineView::Seen(seen) = view else { continue };
        let Some(host) = input.world.hosts.iter().find(|(_, e)| *e == endpoint).map(|(host, _)| host) else {
            continue;
        };
        for network in seen.networks.iter().filter(|n| is_ours(n, input.owner)) {
            if is_wanted(input, network) {
                continue;
            }
            let Some(stack) = network.labels.get(LABEL_STACK).and_then(|s| StackSlug::new(s).ok()) else {
                continue;
            };
            let users: Vec<&str> = seen
                .containers
                .iter()
                .filter(|c| c.networks.contains_key(&network.name))
                .map(|c| c.id.as_str())
                .collect();
            remove(plan, &stack, host, endpoint, network, &users);
        }
    }
}

fn is_ours(network: &NetworkSeen, owner: &str) -> bool {
    network.labels.get(LABEL_OWNER).map(String::as_str) == Some(owner)
}

fn is_wanted(input: &Input<'_>, network: &NetworkSeen) -> bool {
    input.wants.iter().any(|(slug, want)| match want {
        Want::Stack { stack, .. } => stack.network.name.as_str() == network.name,
        Want::Keep { .. } => network.labels.get(LABEL_STACK).map(String::as_str) == Some(slug.as_str()),
        Want::Nothing { .. } => {
            input.in_hand.contains(slug) && network.labels.get(LABEL_STACK).map(String::as_str) == Some(slug.as_str())
        }
    })
}

fn remove(
    plan: &mut Plan,
    stack: &StackSlug,
    host: &HostName,
    endpoint: &crate::model::host::Endpoint,
    network: &NetworkSeen,
    users: &[&str],
) {
    let of_stack = plan.stacks.entry(stack.clone()).or_default();
    let mut after = BTreeSet::new();
    for user in users {
        // A user that stays keeps the network; one that goes in this plan must be gone first.
        let removal =
            of_stack.steps.iter().position(|step| matches!(&step.act, Act::Remove { container } if container == user));
        match removal {
            Some(index) => after.insert(index),
            None => return,
        };
    }
    of_stack.steps.push(Step {
        host: host.clone(),
        endpoint: endpoint.clone(),
        instance: None,
        act: Act::RemoveNetwork { id: network.id.clone(), name: network.name.clone() },
        after,
        because: "nothing uses it any more".to_owned(),
    });
}
