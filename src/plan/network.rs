//! Gives new networks their subnets, and removes networks of ours that nothing uses any more.
//!
//! Never one that a container refers to, a stopped one included, or that a wanted stack would need again.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use crate::model::host::Endpoint;
use crate::model::request::{LABEL_OWNER, LABEL_STACK};
use crate::model::world::{EngineView, NetworkSeen};
use crate::name::{HostName, StackSlug};
use crate::plan::hold::Hold;
use crate::plan::step::{Act, Step};
use crate::plan::want::Want;
use crate::plan::{Input, Plan, StackPlan};

/// Gives every network that is to be made the first /24 of the operator's subnets that is free on its engine.
///
/// When none is free the engine finds a range: a network outside the operator's subnets is better than none.
pub fn give_subnets(input: &Input<'_>, plan: &mut Plan) {
    let is_new = |step: &Step| matches!(step.act, Act::CreateNetwork(_));
    let has_new = |stack: &StackPlan| stack.steps.iter().any(is_new);
    if input.subnets.is_empty() || !plan.stacks.values().any(|stack| has_new(stack)) {
        return;
    }
    let mut taken: BTreeMap<Endpoint, BTreeSet<u32>> = BTreeMap::new();
    for (endpoint, view) in &input.world.engines {
        let EngineView::Seen(seen) = view else { continue };
        let subnets = seen.networks.iter().flat_map(|network| &network.subnets);
        taken.insert(endpoint.clone(), subnets.flat_map(|subnet| blocks(subnet)).collect());
    }
    let with_new = plan.stacks.values_mut().filter(|stack| has_new(stack));
    for step in with_new.flat_map(|stack| &mut Arc::make_mut(stack).steps) {
        let Act::CreateNetwork(request) = &mut step.act else { continue };
        let taken = taken.entry(step.endpoint.clone()).or_default();
        let free = input.subnets.iter().flat_map(|(address, length)| blocks(&format!("{address}/{length}")));
        if let Some(block) = free.into_iter().find(|block| !taken.contains(block)) {
            taken.insert(block);
            request.subnet = Some(format!("{}/24", Ipv4Addr::from(block << 8)));
        }
    }
}

/// The /24 blocks that a subnet touches, as the first three bytes of their addresses. None for what is not IPv4.
fn blocks(subnet: &str) -> std::ops::Range<u32> {
    let parsed = subnet.split_once('/').and_then(|(address, length)| {
        Some((
            u32::from(address.parse::<Ipv4Addr>().ok()?),
            length.parse::<u32>().ok().filter(|l| *l >= 8 && *l <= 32)?,
        ))
    });
    let Some((address, length)) = parsed else { return 0..0 };
    let first = address >> 8;
    let count = if length >= 24 { 1 } else { 1_u32 << (24 - length) };
    let first = first & !(count - 1);
    first..first + count
}

pub fn remove_unused(input: &Input<'_>, plan: &mut Plan) {
    let wanted = Wanted::of(input);
    for (endpoint, view) in &input.world.engines {
        let EngineView::Seen(seen) = view else { continue };
        let Some(host) = input.world.hosts.iter().find(|(_, e)| *e == endpoint).map(|(host, _)| host) else {
            continue;
        };
        // Engines list in an order of their own, which must not decide anything.
        let mut ours: Vec<&NetworkSeen> = seen.networks.iter().filter(|n| is_ours(n, input.owner)).collect();
        ours.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        for network in ours {
            if wanted.has(endpoint, network) {
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

/// The networks that are left alone.
struct Wanted<'a> {
    /// Those that an instance which is placed on the engine joins.
    joined: BTreeSet<(&'a Endpoint, &'a str)>,
    /// Those that a stack made which nobody may touch now.
    made_by: BTreeSet<&'a str>,
}

impl<'a> Wanted<'a> {
    fn of(input: &Input<'a>) -> Self {
        let joined = input.placement.mapping.iter().filter_map(|(id, placed)| {
            let stack = input.wants.get(&id.stack)?.stack()?;
            Some((input.world.hosts.get(&placed.host)?, stack.network.name.as_str()))
        });
        let made_by = input.wants.iter().filter_map(|(slug, want)| {
            let kept = match want {
                Want::Keep { .. } => true,
                Want::Stack { .. } | Want::Nothing { .. } => false,
            };
            (kept || input.in_hand.contains(slug)).then_some(slug.as_str())
        });
        Self { joined: joined.collect(), made_by: made_by.collect() }
    }

    fn has(&self, endpoint: &Endpoint, network: &NetworkSeen) -> bool {
        self.joined.contains(&(endpoint, network.name.as_str()))
            || network.labels.get(LABEL_STACK).is_some_and(|slug| self.made_by.contains(slug.as_str()))
    }
}

fn remove(
    plan: &mut Plan,
    stack: &StackSlug,
    host: &HostName,
    endpoint: &Endpoint,
    network: &NetworkSeen,
    users: &[&str],
) {
    let of_stack = plan.stacks.entry(stack.clone()).or_default();
    if of_stack.holds.iter().any(Hold::holds_the_stack) {
        return;
    }
    let of_stack = Arc::make_mut(of_stack);
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

#[cfg(test)]
mod tests {
    use super::blocks;

    #[test]
    fn a_subnet_takes_every_block_of_256_addresses_that_it_touches() {
        assert_eq!(blocks("10.1.2.0/24"), 0x0a_01_02..0x0a_01_03);
        assert_eq!(blocks("10.1.2.128/25"), 0x0a_01_02..0x0a_01_03);
        assert_eq!(blocks("10.1.3.0/23"), 0x0a_01_02..0x0a_01_04);
        assert_eq!(blocks("fd00::/64"), 0..0);
    }
}
