//! The brake: mass removals wait until a human acknowledges them, and so does what runs on a host that the inventory does
//! not name any more.
//!
//! Counted are recorded instances that would run nowhere afterwards. Moves and replacements do not count. An instance that
//! was acknowledged once stays so until it is gone, whatever of the others goes first.

use std::collections::BTreeSet;
use std::fmt;

use crate::model::desired::Inventory;
use crate::model::record::{Ledger, Record};
use crate::name::{Digest, HostName, InstanceId};
use crate::plan::Input;
use crate::plan::want::{Gone, Want};

/// Removals that are held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Braked {
    pub removals: BTreeSet<InstanceId>,
    pub why: Why,
    pub digest: Digest,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// They are more than go without a word.
    Many {
        /// All recorded instances.
        fleet: usize,
        allowed: usize,
    },
    /// They run on these hosts, which the inventory does not name any more.
    HostsLeft(BTreeSet<HostName>),
}

impl fmt::Display for Braked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.removals.len();
        match &self.why {
            Why::Many { fleet, allowed } => write!(
                f,
                "{count} of {fleet} instances would be removed, more than the {allowed} that go without a word; \
                 to allow it, push a commit (an empty one will do) with the line\n  Bayplan-Allow-Removal: {}",
                self.digest
            ),
            Why::HostsLeft(hosts) => {
                let hosts: Vec<&str> = hosts.iter().map(HostName::as_str).collect();
                write!(
                    f,
                    "{count} recorded {} on {}, which left the inventory; bring the host file back, or, to place them \
                     elsewhere and clear the host, push a commit (an empty one will do) with the line\n  \
                     Bayplan-Allow-Removal: {}",
                    if count == 1 { "instance is" } else { "instances are" },
                    hosts.join(", "),
                    self.digest
                )
            }
        }
    }
}

/// The digest of a set of removals: of the sorted instances, a line each. It can be computed offline, and does not
/// change with the commit that carries it.
pub fn removal_digest(removals: &BTreeSet<InstanceId>) -> Digest {
    let lines: Vec<String> = removals.iter().map(InstanceId::to_string).collect();
    Digest::of(lines.join("\n").as_bytes())
}

/// What a human acknowledged, as the ledger remembers it.
pub fn accepted(ledger: &Ledger) -> BTreeSet<InstanceId> {
    ledger.records.values().flat_map(|record| record.accepted.iter().cloned()).collect()
}

/// What is recorded on hosts that the inventory does not name, and was not acknowledged.
pub fn left(ledger: &Ledger, inventory: &Inventory, accepted: &BTreeSet<InstanceId>) -> Option<Braked> {
    let mut removals = BTreeSet::new();
    let mut hosts = BTreeSet::new();
    for (id, host) in on_hosts(ledger) {
        if !inventory.hosts.contains_key(host) && !accepted.contains(id) {
            removals.insert(id.clone());
            hosts.insert(host.clone());
        }
    }
    let digest = removal_digest(&removals);
    (!removals.is_empty()).then_some(Braked { removals, why: Why::HostsLeft(hosts), digest })
}

/// Recorded instances with each host that they may be on.
pub fn on_hosts(ledger: &Ledger) -> impl Iterator<Item = (&InstanceId, &HostName)> {
    let deployments = ledger.records.values().flat_map(|record| record.running.iter().chain(&record.next));
    deployments.flat_map(|deployment| deployment.instances.iter().map(|(id, instance)| (id, &instance.host)))
}

/// The removals that are too many, if they are.
pub fn judge(input: &Input<'_>) -> Option<Braked> {
    let mut fleet = 0;
    let mut removals = BTreeSet::new();
    for (slug, record) in &input.ledger.records {
        fleet += recorded_instances(record).count();
        match input.wants.get(slug) {
            Some(Want::Stack { .. }) => {
                let runs =
                    |id: &InstanceId| input.placement.mapping.contains_key(id) || input.placement.held.contains_key(id);
                removals.extend(recorded_instances(record).filter(|id| !runs(id)).cloned());
            }
            Some(Want::Nothing { why: Gone::NotAskedFor, .. }) => {
                removals.extend(recorded_instances(record).cloned());
            }
            // Undoing what never ran well takes nothing away.
            Some(Want::Nothing { why: Gone::BadContent(_), .. } | Want::Keep { .. }) | None => {}
        }
    }
    removals.retain(|id| !input.accepted.contains(id));
    let share = fleet * input.brake.fleet_percent as usize / 100;
    let allowed = share.max(input.brake.at_least as usize);
    let digest = removal_digest(&removals);
    (removals.len() > allowed).then_some(Braked { removals, why: Why::Many { fleet, allowed }, digest })
}

/// Instances that ran, and those of a deployment that was begun: it may have made them.
fn recorded_instances(record: &Record) -> impl Iterator<Item = &InstanceId> {
    let running = record.running.as_ref().map(|running| &running.instances);
    let next = record.next.iter().flat_map(|next| next.instances.keys());
    let only_next = next.filter(move |id| running.is_none_or(|running| !running.contains_key(*id)));
    running.into_iter().flat_map(|running| running.keys()).chain(only_next)
}
