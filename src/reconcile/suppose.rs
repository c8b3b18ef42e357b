//! What if: a fleet that is not as its files say.
//!
//! Takes the inventory of a pass and what is supposed. Gives the inventory as it would be, for a pass that acts on nothing.
//!
//! A host that is supposed to be gone counts as declared offline: it is treated as lost at once, however many are.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use crate::files::SourceFile;
use crate::model::desired::Inventory;
use crate::model::host::{Endpoint, HostStatus};
use crate::model::mapping::Mapping;
use crate::model::world::{EngineView, World};
use crate::name::HostName;
use crate::parse::suggest::did_you_mean_or_all;
use crate::plan::Plan;
use crate::plan::hold::Hold;
use crate::source::Snapshot;

/// One "what if".
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Supposed {
    /// The host is gone.
    Without(HostName),
    /// It is to be emptied.
    Draining(HostName),
    /// All hosts of a datacenter are.
    DatacenterDraining(String),
    /// There is this host file, instead of one of the same path if there is one.
    HostFile(SourceFile),
}

impl fmt::Display for Supposed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Without(host) => write!(f, "without {host}"),
            Self::Draining(host) => write!(f, "with {host} draining"),
            Self::DatacenterDraining(datacenter) => write!(f, "with datacenter {datacenter} draining"),
            Self::HostFile(file) => write!(f, "with {} added", file.path),
        }
    }
}

/// What was supposed of something that is not there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SupposeError {
    #[error("there is no host {host} in the inventory: {hint}")]
    NoSuchHost { host: HostName, hint: String },
    #[error("no host is in datacenter {datacenter}: {hint}")]
    NoSuchDatacenter { datacenter: String, hint: String },
}

/// The files with those that are supposed.
pub(super) fn files(mut snapshot: Snapshot, supposed: &[Supposed]) -> Snapshot {
    for one in supposed {
        let Supposed::HostFile(file) = one else { continue };
        snapshot.files.retain(|known| known.path != file.path);
        let at = snapshot.files.partition_point(|known| known.path < file.path);
        snapshot.files.insert(at, file.clone());
    }
    snapshot
}

/// The inventory as it is supposed to be.
pub(super) fn inventory(mut inventory: Inventory, supposed: &[Supposed]) -> Result<Inventory, SupposeError> {
    for one in supposed {
        match one {
            Supposed::HostFile(_) => {}
            Supposed::Without(name) => set_status(&mut inventory, name, HostStatus::Offline)?,
            Supposed::Draining(name) => set_status(&mut inventory, name, HostStatus::Draining)?,
            Supposed::DatacenterDraining(datacenter) => {
                let mut hosts =
                    inventory.hosts.values_mut().filter(|host| host.datacenter.as_ref() == Some(datacenter)).peekable();
                if hosts.peek().is_none() {
                    drop(hosts);
                    let known: BTreeSet<&str> =
                        inventory.hosts.values().filter_map(|host| host.datacenter.as_deref()).collect();
                    let hint = did_you_mean_or_all(datacenter, known, "there is none");
                    return Err(SupposeError::NoSuchDatacenter { datacenter: datacenter.clone(), hint });
                }
                // One that is gone is not there to be emptied.
                for host in hosts.filter(|host| host.status != HostStatus::Offline) {
                    Arc::make_mut(host).status = HostStatus::Draining;
                }
            }
        }
    }
    Ok(inventory)
}

fn set_status(inventory: &mut Inventory, name: &HostName, status: HostStatus) -> Result<(), SupposeError> {
    match inventory.hosts.get_mut(name) {
        Some(host) => {
            Arc::make_mut(host).status = status;
            Ok(())
        }
        None => {
            let known = inventory.hosts.keys().map(HostName::as_str);
            let hint = did_you_mean_or_all(name.as_str(), known, "it is empty");
            Err(SupposeError::NoSuchHost { host: name.clone(), hint })
        }
    }
}

/// Says of each instance that stays on a host that is supposed to be gone that nobody serves there.
pub(super) fn down(plan: &mut Plan, mapping: &Mapping, supposed: &[Supposed]) {
    let gone: BTreeSet<&HostName> = supposed.iter().filter_map(lost).collect();
    for (id, placed) in mapping.iter().filter(|(_, placed)| gone.contains(&placed.host)) {
        if let Some(stack) = plan.stacks.get_mut(&id.stack) {
            let (instance, host) = (id.clone(), placed.host.clone());
            Arc::make_mut(stack).holds.push(Hold::WouldBeDown { instance, host });
        }
    }
}

/// The engines of hosts that are supposed to be gone do not answer, unless another host has the same.
pub(super) fn silence(world: &mut World, supposed: &[Supposed]) {
    let gone: BTreeSet<&HostName> = supposed.iter().filter_map(lost).collect();
    let of = |world: &World, host: &HostName| world.hosts.get(host).cloned();
    for host in &gone {
        let Some(endpoint) = of(world, host) else { continue };
        let is_shared = |(other, its): (&HostName, &Endpoint)| *its == endpoint && !gone.contains(other);
        if !world.hosts.iter().any(is_shared) {
            world.engines.insert(endpoint, EngineView::Unreachable("it is supposed to be gone".to_owned()));
        }
    }
}

fn lost(supposed: &Supposed) -> Option<&HostName> {
    match supposed {
        Supposed::Without(host) => Some(host),
        Supposed::Draining(_) | Supposed::DatacenterDraining(_) | Supposed::HostFile(_) => None,
    }
}
