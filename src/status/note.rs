//! Says in a few words what became of a stack, for the note beside the commit that was deployed.

use std::collections::BTreeSet;

use crate::model::record::{Record, StackStatus};
use crate::status::history::reason;

/// What became of it. `None`: nothing of it is left.
pub fn note(record: Option<&Record>) -> String {
    let Some(record) = record else { return "removed".to_owned() };
    let because = |what: &str| match reason(&record.conditions) {
        reason if reason.is_empty() => what.to_owned(),
        reason => format!("{what}: {reason}"),
    };
    match record.status {
        StackStatus::Running => {
            let instances = record.running.iter().flat_map(|running| running.instances.values());
            let hosts: BTreeSet<&str> = instances.map(|instance| instance.host.as_str()).collect();
            let hosts: Vec<&str> = hosts.into_iter().collect();
            if hosts.is_empty() { "running".to_owned() } else { format!("running on {}", hosts.join(", ")) }
        }
        StackStatus::RolledBack => because("rolled back"),
        StackStatus::Failed => because("failed"),
        StackStatus::Degraded => because("degraded"),
        StackStatus::Held => because("held"),
        StackStatus::Deploying => "interrupted, and goes on later".to_owned(),
    }
}
