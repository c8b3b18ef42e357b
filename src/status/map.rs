//! The deployment map: which stack runs where, how well, and who connects to whom.
//!
//! Takes the ledger; what the repository says of its hosts and stacks, as far as that is known. Gives one value that the
//! terminal, the page and programs show, each in its way.
//!
//! Never says more than was recorded: a connection is shown only for content that is known to be what runs.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::model::desired::Inventory;
use crate::model::host::HostStatus;
use crate::model::mapping::{Mapping, Placed};
use crate::model::record::{Condition, Deployment, Facts, HostCondition, InstanceRecord, Ledger, Record, StackStatus};
use crate::model::stack::Stack;
use crate::name::{HostName, InstanceId, Revision, StackName, StackSlug};
use crate::plan::connect;

/// What the map is drawn from.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    pub ledger: &'a Ledger,
    /// None: the ledger alone says what hosts there are.
    pub inventory: Option<&'a Inventory>,
    /// Stacks that could be read, of any revision: those whose content runs tell who connects to whom.
    pub stacks: &'a [Arc<Stack>],
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Map {
    /// In order of slug.
    pub stacks: Vec<StackOnMap>,
    /// In order of name.
    pub hosts: Vec<HostOnMap>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct StackOnMap {
    pub name: StackName,
    pub status: StackStatus,
    /// Of what runs, or of what is begun where nothing ran before.
    pub revision: Option<Revision>,
    /// Of what is begun beside what runs.
    pub next: Option<Revision>,
    pub files: Vec<String>,
    /// In order of host.
    pub berths: Vec<Berth>,
    pub connections: Vec<Connection>,
    pub conditions: Vec<Condition>,
}

/// A stack's instances on one host.
#[derive(Debug, Clone, PartialEq)]
pub struct Berth {
    pub host: HostName,
    pub address: IpAddr,
    pub datacenter: Option<String>,
    /// None: the ledger does not know the host.
    pub condition: Option<HostCondition>,
    pub instances: BTreeMap<InstanceId, InstanceRecord>,
}

/// An instance and what its variables say of a service that it requires.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Connection {
    pub from: InstanceId,
    pub to: String,
    /// The service's name on the same host, else an address.
    pub host: String,
    pub port: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct HostOnMap {
    pub name: HostName,
    pub address: IpAddr,
    pub datacenter: Option<String>,
    /// None: the inventory is not known, or names it no more.
    pub status: Option<HostStatus>,
    /// None: it was never recorded.
    pub condition: Option<HostCondition>,
    pub facts: Option<Facts>,
    /// Of all stacks, as recorded.
    pub instances: usize,
}

/// Draws the map.
pub fn map(input: &Input<'_>) -> Map {
    let mut read: Read<'_> = BTreeMap::new();
    for stack in input.stacks {
        read.entry(stack.name.slug()).or_default().push(stack);
    }
    Map {
        stacks: input.ledger.records.iter().map(|(slug, record)| stack(input, &read, slug, record)).collect(),
        hosts: hosts(input),
    }
}

/// The stacks that could be read, by slug: the head's, and what last ran well.
type Read<'a> = BTreeMap<&'a StackSlug, Vec<&'a Arc<Stack>>>;

fn stack(input: &Input<'_>, read: &Read<'_>, slug: &StackSlug, record: &Record) -> StackOnMap {
    let shown = record.running.as_ref().or(record.next.as_ref());
    let next = record.next.as_ref().filter(|_| record.running.is_some());
    StackOnMap {
        name: record.name.clone(),
        status: record.status,
        revision: shown.map(|deployment| deployment.revision.clone()),
        next: next.map(|deployment| deployment.revision.clone()),
        files: shown.map(|deployment| deployment.files.clone()).unwrap_or_default(),
        berths: shown.map(|deployment| berths(input, deployment)).unwrap_or_default(),
        connections: shown.map(|deployment| connections(input, read, slug, deployment)).unwrap_or_default(),
        conditions: record.conditions.clone(),
    }
}

fn berths(input: &Input<'_>, deployment: &Deployment) -> Vec<Berth> {
    let mut berths: BTreeMap<&HostName, Berth> = BTreeMap::new();
    for (id, instance) in &deployment.instances {
        let berth = berths.entry(&instance.host).or_insert_with(|| Berth {
            host: instance.host.clone(),
            address: instance.address,
            datacenter: datacenter(input, &instance.host),
            condition: input.ledger.hosts.get(&instance.host).map(|host| host.condition),
            instances: BTreeMap::new(),
        });
        berth.instances.insert(id.clone(), instance.clone());
    }
    berths.into_values().collect()
}

fn datacenter(input: &Input<'_>, host: &HostName) -> Option<String> {
    input.inventory?.hosts.get(host)?.datacenter.clone()
}

fn connections(input: &Input<'_>, read: &Read<'_>, slug: &StackSlug, deployment: &Deployment) -> Vec<Connection> {
    let stacks = read.get(slug).into_iter().flatten();
    let what_runs = stacks.copied().find(|stack| stack.content == deployment.content);
    let (Some(stack), Some(inventory)) = (what_runs, input.inventory) else {
        return Vec::new();
    };
    if stack.services.iter().all(|service| service.requirements.is_empty()) {
        return Vec::new();
    }
    let placed =
        |record: &InstanceRecord| Placed { host: record.host.clone(), ports: record.ports.clone(), why: String::new() };
    let mapping: Mapping = deployment.instances.iter().map(|(id, record)| (id.clone(), placed(record))).collect();
    let mut found = Vec::new();
    for (id, record) in &deployment.instances {
        let Some(service) = stack.service(id.service.as_str()) else { continue };
        let variables = connect::connections(stack, service, &record.host, &mapping, inventory).environment;
        for requirement in &service.requirements {
            let prefix = connect::variable_name(requirement.service.as_str());
            // An address and a port are no secrets; what the user wrote into the same variable is not looked at.
            let value = |part: &str| variables.get(&format!("{prefix}_{part}")).map(|value| value.expose().clone());
            if let Some(host) = value("HOST") {
                let to = requirement.service.to_string();
                found.push(Connection { from: id.clone(), to, host, port: value("PORT") });
            }
        }
    }
    found
}

fn hosts(input: &Input<'_>) -> Vec<HostOnMap> {
    let mut hosts: BTreeMap<HostName, HostOnMap> = BTreeMap::new();
    for (name, record) in &input.ledger.hosts {
        let host = HostOnMap {
            name: name.clone(),
            address: record.address,
            datacenter: None,
            status: None,
            condition: Some(record.condition),
            facts: record.facts,
            instances: 0,
        };
        hosts.insert(name.clone(), host);
    }
    for host in input.inventory.into_iter().flat_map(|inventory| inventory.hosts.values()) {
        let on_map = hosts.entry(host.name.clone()).or_insert_with(|| HostOnMap {
            name: host.name.clone(),
            address: host.ip_address,
            datacenter: None,
            status: None,
            condition: None,
            facts: None,
            instances: 0,
        });
        on_map.address = host.ip_address;
        on_map.datacenter = host.datacenter.clone();
        on_map.status = Some(host.status);
    }
    for deployment in input.ledger.records.values().filter_map(|record| record.running.as_ref()) {
        for instance in deployment.instances.values() {
            if let Some(host) = hosts.get_mut(&instance.host) {
                host.instances += 1;
            }
        }
    }
    hosts.into_values().collect()
}
