//! What the ledger says: the memory between passes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::model::host::Endpoint;
use crate::model::mapping::PublishedPort;
use crate::model::request::ResolvedImage;
use crate::model::stack::{OnFailure, Protocol, Strategy};
use crate::name::{Digest, HostName, InstanceId, Revision, ServiceName, StackName, StackSlug, VolumeName};

/// The ledger at one of its commits.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ledger {
    /// None: there is no ledger yet.
    pub commit: Option<Revision>,
    /// The commit of the watched branch that something was last deployed for.
    pub head: Option<Revision>,
    /// Who made its newest commit.
    pub controller: Option<String>,
    /// Whose ledger it is; another owner's holds everything.
    pub owner: Option<String>,
    pub records: BTreeMap<StackSlug, Record>,
    pub hosts: BTreeMap<HostName, HostRecord>,
}

/// What the ledger says of one stack.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    pub name: StackName,
    pub status: StackStatus,
    /// What last ran healthy as a whole.
    pub running: Option<Deployment>,
    /// What was begun and has not ended.
    pub next: Option<Deployment>,
    /// What failed, and why. It is not tried again.
    pub bad: BTreeMap<Tried, BadMark>,
    /// Actions that have run, so that they do not run again.
    pub actions: BTreeSet<ActionDone>,
    /// Instances that a human allowed to go, until they have.
    pub accepted: BTreeSet<InstanceId>,
    /// By host, images that instances ran from and nothing of the stack runs from any more; the oldest first.
    pub superseded: BTreeMap<HostName, Vec<String>>,
    pub conditions: Vec<Condition>,
}

/// A content on hosts. On hosts that are described otherwise it is worth another try, and what came of that says nothing of
/// the first one: two controllers that do not know the same description must not try by turns.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tried {
    pub content: Digest,
    /// The hosts, as the inventory described them then.
    pub hosts: BTreeMap<HostName, Digest>,
}

/// Why a content is not tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadMark {
    /// For people.
    pub reason: String,
    /// What the service that failed asked for.
    pub on_failure: OnFailure,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StackStatus {
    Deploying,
    Running,
    Degraded,
    Held,
    Failed,
    RolledBack,
}

impl StackStatus {
    pub const ALL: [Self; 6] =
        [Self::Deploying, Self::Running, Self::Degraded, Self::Held, Self::Failed, Self::RolledBack];

    /// As the status file writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deploying => "deploying",
            Self::Running => "running",
            Self::Degraded => "degraded",
            Self::Held => "held",
            Self::Failed => "failed",
            Self::RolledBack => "rolled-back",
        }
    }
}

/// One content of a stack on its hosts.
#[derive(Debug, Clone, PartialEq)]
pub struct Deployment {
    pub revision: Revision,
    pub content: Digest,
    pub files: Vec<String>,
    pub placement: Strategy,
    pub datacenter: Option<String>,
    pub instances: BTreeMap<InstanceId, InstanceRecord>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct InstanceRecord {
    pub host: HostName,
    /// Of the host, as other hosts connect to it.
    pub address: IpAddr,
    /// The container's id; none while it does not exist.
    pub container: Option<String>,
    pub image: String,
    pub resolved: ResolvedImage,
    /// Of the request that made it.
    pub digest: Digest,
    pub ports: Vec<PublishedPort>,
    pub health: InstanceHealth,
    /// Why it is on this host.
    pub reason: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum InstanceHealth {
    Healthy,
    Starting,
    Unhealthy,
    Stopped,
    /// It ended with 0, as its restart policy allows.
    Completed,
    /// Its host did not answer.
    Unknown,
}

impl InstanceHealth {
    pub const ALL: [Self; 6] =
        [Self::Healthy, Self::Starting, Self::Unhealthy, Self::Stopped, Self::Completed, Self::Unknown];

    /// As the status file writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Starting => "starting",
            Self::Unhealthy => "unhealthy",
            Self::Stopped => "stopped",
            Self::Completed => "completed",
            Self::Unknown => "unknown",
        }
    }
}

/// An action that has run for a service in the shape of one digest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ActionDone {
    pub service: ServiceName,
    pub action: String,
    /// Of the request of the service's first instance.
    pub digest: Digest,
}

/// A fact about a stack or a host with a stable name, for people and for machines.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Condition {
    /// Stable, kebab-case: `held`, `bad-content`, `host-unreachable`, …
    pub name: String,
    /// Stable, kebab-case.
    pub reason: String,
    /// For people.
    pub message: String,
}

/// What the ledger says of one host.
#[derive(Debug, Clone, PartialEq)]
pub struct HostRecord {
    pub address: IpAddr,
    /// Where it was last reached; kept after it left the inventory, so that it can be drained.
    pub endpoint: Option<Endpoint>,
    pub facts: Option<Facts>,
    pub condition: HostCondition,
    /// Ports that others than us hold.
    pub taken: BTreeSet<TakenPort>,
    /// Volumes of our stacks that exist there.
    pub volumes: BTreeSet<VolumeName>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostCondition {
    Reachable,
    /// It did not answer; nothing on it is assumed gone.
    Unreachable,
    /// It did not answer for longer than `lostAfter`.
    Lost,
    /// It left the inventory and does not answer: what runs there is out of reach.
    Abandoned,
}

impl HostCondition {
    pub const ALL: [Self; 4] = [Self::Reachable, Self::Unreachable, Self::Lost, Self::Abandoned];

    /// As `hosts.json` writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reachable => "reachable",
            Self::Unreachable => "unreachable",
            Self::Lost => "lost",
            Self::Abandoned => "abandoned",
        }
    }
}

/// Measured, and recorded in steps so that noise makes no commit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Facts {
    /// Thousandths of a core.
    pub cpu: u64,
    /// Bytes.
    pub memory: u64,
    /// In use by containers, in per cent of `cpu`; a multiple of 10.
    pub cpu_used: u8,
    /// In use by containers, in per cent of `memory`; a multiple of 10.
    pub memory_used: u8,
}

/// A host port in use. No address means all of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TakenPort {
    pub ip: Option<IpAddr>,
    pub port: u16,
    pub protocol: Protocol,
}
