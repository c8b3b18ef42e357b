//! Hosts that left the inventory and are cleared, because a human acknowledged that they left.
//!
//! Takes what the ledger remembers of hosts. Gives the inventory with those among them that may be cleared: they are
//! looked at through their last endpoint, take nothing new, and what is on them goes elsewhere.
//!
//! Never one with an instance that was not acknowledged: a mistyped name must not move anything.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::files::{Places, Span};
use crate::ledger::HOSTS;
use crate::model::desired::Inventory;
use crate::model::host::{Host, HostStatus};
use crate::model::record::{HostRecord, Ledger};
use crate::name::{HostName, InstanceId};
use crate::plan::brake;

pub fn with(mut inventory: Inventory, ledger: &Ledger, accepted: &BTreeSet<InstanceId>) -> Inventory {
    let is_acknowledged = |name: &HostName| {
        brake::on_hosts(ledger).filter(|(_, host)| *host == name).all(|(id, _)| accepted.contains(id))
    };
    let left = ledger.hosts.iter().filter(|(name, _)| !inventory.hosts.contains_key(*name));
    let left: Vec<Host> =
        left.filter(|(name, _)| is_acknowledged(name)).map(|(name, record)| host(name, record)).collect();
    inventory.hosts.extend(left.into_iter().map(|host| (host.name.clone(), Arc::new(host))));
    inventory
}

fn host(name: &HostName, record: &HostRecord) -> Host {
    Host {
        name: name.clone(),
        id: None,
        ip_address: record.address,
        publish_address: record.address,
        cpu: None,
        memory: None,
        datacenter: None,
        status: HostStatus::Left,
        labels: BTreeMap::new(),
        endpoint: record.endpoint.clone(),
        port_range: (0, 0),
        reserved_cpu: 0,
        reserved_memory: 0,
        at: Places::new(in_the_ledger(), BTreeMap::new()),
    }
}

fn in_the_ledger() -> Span {
    Span { path: HOSTS.into(), start: 0, end: 0, line: 1, column: 1 }
}
