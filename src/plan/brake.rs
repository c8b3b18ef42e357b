//! The brake: mass removals wait until a human acknowledges them.
//!
//! Counted are recorded instances that would run nowhere afterwards. Moves and replacements do not count.

use std::collections::BTreeSet;
use std::fmt;

use crate::model::record::Record;
use crate::name::{Digest, InstanceId};
use crate::plan::Input;
use crate::plan::want::{Gone, Want};

/// Removals that are held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Braked {
    pub removals: BTreeSet<InstanceId>,
    /// All recorded instances.
    pub fleet: usize,
    pub allowed: usize,
    pub digest: Digest,
}

impl fmt::Display for Braked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} instances would be removed, more than the {} that go without a word; \
             to allow it, push a commit (an empty one will do) with the line\n  Bayplan-Allow-Removal: {}",
            self.removals.len(),
            self.fleet,
            self.allowed,
            self.digest
        )
    }
}

/// The digest of a set of removals: of the sorted instances, a line each. It can be computed offline, and does not
/// change with the commit that carries it.
pub fn removal_digest(removals: &BTreeSet<InstanceId>) -> Digest {
    let lines: Vec<String> = removals.iter().map(InstanceId::to_string).collect();
    Digest::of(lines.join("\n").as_bytes())
}

/// What the brake holds, if it does.
pub fn judge(input: &Input<'_>) -> Option<Braked> {
    let mut fleet = 0;
    let mut removals = BTreeSet::new();
    for (slug, record) in &input.ledger.records {
        let recorded = recorded_instances(record);
        fleet += recorded.len();
        match input.wants.get(slug) {
            Some(Want::Stack { .. }) => {
                let runs =
                    |id: &InstanceId| input.placement.mapping.contains_key(id) || input.placement.held.contains_key(id);
                removals.extend(recorded.into_iter().filter(|id| !runs(id)));
            }
            Some(Want::Nothing { why: Gone::NotAskedFor, .. }) => removals.extend(recorded),
            // Undoing what never ran well takes nothing away.
            Some(Want::Nothing { why: Gone::BadContent(_), .. } | Want::Keep { .. }) | None => {}
        }
    }
    let share = fleet * input.brake.fleet_percent as usize / 100;
    let allowed = share.max(input.brake.at_least as usize);
    let digest = removal_digest(&removals);
    if removals.len() <= allowed || input.allowed_removals.contains(&digest) {
        return None;
    }
    Some(Braked { removals, fleet, allowed, digest })
}

/// Instances that ran, and those of a deployment that was begun: it may have made them.
fn recorded_instances(record: &Record) -> BTreeSet<InstanceId> {
    let deployments = record.running.iter().chain(&record.next);
    deployments.flat_map(|deployment| deployment.instances.keys().cloned()).collect()
}
