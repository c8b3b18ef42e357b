//! Says since when each instance is where it is.
//!
//! Takes what a commit of the ledger and its parent say of a stack. Gives the instances that were there before already.
//!
//! Because only what ran healthy as a whole is in `running`, an instance is there from the commit that says so: not from
//! the one that began it.

use std::collections::BTreeSet;

use crate::model::record::{InstanceRecord, Record};
use crate::name::{InstanceId, Revision};

/// An instance, and what put it on its host.
#[derive(Debug, Clone, PartialEq)]
pub struct Put {
    pub instance: InstanceId,
    /// As the newest record has it.
    pub now: InstanceRecord,
    /// The oldest commit of the ledger since which it is on this host without interruption.
    pub commit: Revision,
    /// Of that commit; seconds since 1970, UTC.
    pub at: i64,
    /// Of the stack, as that commit has it.
    pub revision: Revision,
}

/// Of these instances, those that an earlier record has on the host where a later one has them.
pub fn stayed(earlier: Option<&Record>, later: &Record, instances: &BTreeSet<InstanceId>) -> BTreeSet<InstanceId> {
    let host = |record: &Record, id: &InstanceId| {
        let running = record.running.as_ref()?;
        Some(running.instances.get(id)?.host.clone())
    };
    let has_stayed = |id: &&InstanceId| {
        let then = earlier.and_then(|earlier| host(earlier, id));
        then.is_some() && then == host(later, id)
    };
    instances.iter().filter(has_stayed).cloned().collect()
}
