//! Decides which host runs each instance, and which ports it is reachable at.
//!
//! Takes what the repository asks for, the inventory, and what one ledger commit says: facts, conditions, taken ports,
//! volumes and where everything was. Gives a host, ports and a reason for each instance, or every host's reasons why
//! there is none.
//!
//! Never moves an instance off a host that can still run it: a move is an outage. Never looks at a clock, at the world
//! or at the order in which its input was written: the same input gives the same mapping, byte for byte.
//!
//! What DESIGN leaves open, and what is done:
//!
//! - A host without a record in the ledger is reachable, with nothing used. Capacity that nobody knows is enough, also
//!   for `minCpu` and `minMemory`. Hosts that share an engine share its ports and its volumes; capacity is per host.
//! - Units reach as far as one stack. A volume name that two stacks use ties both to where its data already is.
//! - Where several hosts have a volume of one name, the unit's data is where it last ran. Where the ledger does not know
//!   that host at all, the volume is taken to be there.
//! - What is pinned, or tied by a volume's data, stays on a draining host, and keeps its host when the strategy changes.
//! - `onHostLoss: wait` of one service holds its whole unit. A host that is declared offline is gone on purpose: it
//!   counts neither to the lost nor to the fleet when too much is lost at once.
//! - "Promised before this pass" is what instances that still exist ask for now, on the host where they were.
//! - A held instance keeps its room and its ports where it was, for the plan leaves it alone.
//! - Ports that must be published for others: all ports of all instances of the required service. A port that is
//!   published where the host's `ipAddress` does not reach (loopback, another address) counts as not published.
//!   In the host's own network every declared port is its own number on all addresses.

pub mod account;
pub mod assent;
pub mod bonds;
mod choose;
mod datacenter;
mod fleet;
mod ports;
pub mod refusal;
mod rules;
pub mod survival;
mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::model::desired::Inventory;
use crate::model::mapping::{Mapping, Placed};
use crate::model::record::Ledger;
use crate::model::stack::Stack;
use crate::name::{HostName, InstanceId, StackSlug, VolumeName};
use crate::placement::account::Account;
use crate::placement::refusal::Refusal;
use crate::placement::work::Work;

/// All that placement may know.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// Every stack that is to be placed, those that are kept as their record says included.
    pub stacks: &'a BTreeMap<StackSlug, Arc<Stack>>,
    pub inventory: &'a Inventory,
    /// Facts, conditions, taken ports and volumes; and of each record the strategy that it was placed under.
    pub ledger: &'a Ledger,
    /// Where instances were: the record's `next`, else its running deployment, else labels.
    pub previous: &'a Mapping,
    /// Volumes whose data may stay behind, because a commit says so.
    pub leave_volumes: &'a BTreeSet<(StackSlug, VolumeName)>,
}

/// Every instance of every stack is in exactly one of the two.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Placement {
    pub mapping: Mapping,
    pub held: BTreeMap<InstanceId, Unplaced>,
}

/// An instance for which there is no host. What requires it is for the plan to judge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unplaced {
    /// In a sentence for people, without the hosts' reasons.
    pub why: String,
    /// Every host of the inventory, with at least one reason each.
    pub refusals: BTreeMap<HostName, Vec<Refusal>>,
}

/// Places every instance of every stack.
pub fn place(input: &Input<'_>) -> Placement {
    let mut work = Work::new(input);
    choose::choose_all(&mut work);
    finished(work)
}

/// Places everything as [`place`] does, and says of one stack why each of its instances is where it is.
pub fn explain(input: &Input<'_>, stack: &StackSlug) -> Vec<Account> {
    let mut work = Work::new(input);
    work.asked = input.stacks.get_key_value(stack).map(|(slug, _)| slug);
    choose::choose_all(&mut work);
    // One that finds no port has no host after all.
    let order = ports::by_name(&work);
    ports::assign(&mut work, &order);
    account::of_stack(&work, stack)
}

fn finished(mut work: Work<'_>) -> Placement {
    let order = ports::by_name(&work);
    let mut ports = ports::assign(&mut work, &order);
    let mut mapping = Vec::with_capacity(order.len());
    for number in order {
        let member = &mut work.members[number];
        let Some(site) = member.site else { continue };
        let mut why = std::mem::take(&mut member.why);
        if let Some(reason) = &member.service.reason {
            why.push_str("; reason: ");
            why.push_str(reason);
        }
        mapping.push((
            member.id.clone(),
            Placed { host: work.fleet.sites[site].host.name.clone(), ports: std::mem::take(&mut ports[number]), why },
        ));
    }
    Placement { mapping: mapping.into_iter().collect(), held: work.held }
}
