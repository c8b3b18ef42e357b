//! A stack: what one ItemList of the repository asks for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::files::{Places, Span};
use crate::name::image::ImageRef;
use crate::name::{Digest, HostName, NetworkName, ServiceName, StackName, VolumeName};
use crate::secret::Secret;

/// One stack, checked. Services are ordered by `position`.
#[derive(Debug, Clone, PartialEq)]
pub struct Stack {
    pub name: StackName,
    /// The file that declares it first, then the files that it names.
    pub files: Vec<Arc<str>>,
    /// Of everything that its files ask for: equal digests ask for the same.
    pub content: Digest,
    pub placement: Strategy,
    pub datacenter: Option<String>,
    pub target_host: Option<HostName>,
    pub network: StackNetwork,
    /// Declared volumes and those that mounts imply.
    pub volumes: BTreeMap<VolumeName, StackVolume>,
    pub start_order: StartOrder,
    /// Where the file says that what runs is kept and nothing changed, if it does.
    pub suspended: Option<Span>,
    pub services: Vec<Arc<Service>>,
    pub at: Places,
}

impl Stack {
    pub fn service(&self, name: &str) -> Option<&Arc<Service>> {
        self.services.iter().find(|s| s.name.as_str() == name)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Strategy {
    Auto,
    Manual,
    Datacenter,
    Spread,
    Single,
}

impl Strategy {
    pub const ALL: [Self; 5] = [Self::Auto, Self::Manual, Self::Datacenter, Self::Spread, Self::Single];

    /// As stack files write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Manual => "manual",
            Self::Datacenter => "datacenter",
            Self::Spread => "spread",
            Self::Single => "single",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartOrder {
    /// As parallel as requirements allow.
    Dependencies,
    /// One after another, by `position`.
    Position,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StackNetwork {
    pub name: NetworkName,
    pub creation: Creation,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StackVolume {
    pub driver: String,
    pub creation: Creation,
}

/// `createIfNotExists`: who makes a network or a volume that is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Creation {
    IfMissing,
    /// Somebody else makes it; where it is missing the stack is held.
    ByOthers,
}

/// One service of a stack.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    pub name: ServiceName,
    pub position: u32,
    pub image: ImageRef,
    pub environment: BTreeMap<String, Secret<String>>,
    pub ports: Vec<Port>,
    pub mounts: Vec<Mount>,
    pub health: Option<HealthCheck>,
    pub command: Option<Vec<String>>,
    pub entrypoint: Option<Vec<String>>,
    pub user: Option<String>,
    pub working_dir: Option<String>,
    pub labels: BTreeMap<String, String>,
    pub restart: Restart,
    pub requirements: Vec<Requirement>,
    pub actions: Vec<PotentialAction>,
    pub settings: Settings,
    pub target_host: Option<HostName>,
    /// Why this host, in the user's words.
    pub reason: Option<String>,
    pub resources: Resources,
    pub constraints: Constraints,
    /// At least 1.
    pub replicas: u32,
    pub stop_grace_period: Duration,
    pub pull: PullPolicy,
    pub update: Update,
    pub on_host_loss: OnHostLoss,
    pub at: Places,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    pub container: u16,
    pub host: HostPort,
    pub protocol: Protocol,
    /// Overrides the host's `publishAddress`.
    pub host_ip: Option<std::net::IpAddr>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum HostPort {
    /// Reachable inside the stack only.
    Unpublished,
    /// `0`: one from the host's range, the same every time.
    Chosen,
    Explicit(u16),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }

    /// Reads what [`Protocol::as_str`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Tcp, Self::Udp, Self::Sctp].into_iter().find(|p| p.as_str() == text)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    pub source: MountSource,
    /// Absolute path in the container.
    pub target: String,
    pub access: Access,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    ReadWrite,
    ReadOnly,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountSource {
    Volume(VolumeName),
    /// An absolute path on the host; only where the policy allows it.
    Bind(String),
    Tmpfs,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    pub test: HealthTest,
    pub interval: Duration,
    pub timeout: Duration,
    pub retries: u32,
    pub start_period: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HealthTest {
    /// An argument list, run in the container.
    Command(Vec<String>),
    /// One line for the container's own `/bin/sh`.
    CommandLine(String),
    /// A status from 200 to 399 is healthy.
    Http {
        port: u16,
        path: String,
    },
    Tcp {
        port: u16,
    },
    Postgres {
        port: u16,
    },
    Redis {
        port: u16,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// Also what `always` means.
    UnlessStopped,
    OnFailure,
    No,
}

impl Restart {
    /// With these an exit with 0 is *completed*: healthy for dependents, no drift.
    pub fn may_complete(self) -> bool {
        match self {
            Self::UnlessStopped => false,
            Self::OnFailure | Self::No => true,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    pub service: ServiceName,
    pub wait_for_healthy: WaitForHealthy,
    /// An assertion about placement.
    pub remote_host: Option<HostName>,
    pub connection_string: Option<Secret<String>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitForHealthy {
    Yes,
    /// Started is enough.
    No,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PotentialAction {
    pub name: String,
    /// The service in whose instance it runs; absent: the service that declares it.
    pub target: Option<ServiceName>,
    pub command: Vec<String>,
    pub timeout: Duration,
    pub working_dir: Option<String>,
}

/// The usual settings of a container, under compose's names in camel case; absent ones are the engine's defaults.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Settings {
    pub hostname: Option<String>,
    pub domainname: Option<String>,
    pub dns: Vec<String>,
    pub dns_search: Vec<String>,
    pub dns_options: Vec<String>,
    /// `name:address`.
    pub extra_hosts: Vec<String>,
    pub cap_drop: Vec<String>,
    pub cap_add: Vec<String>,
    pub devices: Vec<String>,
    pub security_opt: Vec<String>,
    pub sysctls: BTreeMap<String, String>,
    pub group_add: Vec<String>,
    /// Name → (soft, hard).
    pub ulimits: BTreeMap<String, (i64, i64)>,
    /// Bytes.
    pub shm_size: Option<u64>,
    pub init: Option<bool>,
    pub read_only: Option<bool>,
    pub privileged: Option<bool>,
    pub tty: Option<bool>,
    pub stdin_open: Option<bool>,
    pub pids_limit: Option<i64>,
    pub oom_score_adj: Option<i64>,
    pub stop_signal: Option<String>,
    pub network_mode: NetworkMode,
    pub logging: Option<Logging>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum NetworkMode {
    /// The stack's network.
    #[default]
    Stack,
    /// The host's own; only where the policy allows it.
    Host,
    None,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logging {
    pub driver: String,
    pub options: BTreeMap<String, String>,
}

/// Asked for (`cpu`, `memory`: placement) and allowed at most (`cpu_limit`, `memory_limit`: the engine).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Resources {
    /// Thousandths of a core.
    pub cpu: Option<u64>,
    /// Bytes.
    pub memory: Option<u64>,
    /// Thousandths of a core.
    pub cpu_limit: Option<u64>,
    /// Bytes.
    pub memory_limit: Option<u64>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Constraints {
    pub datacenter: Option<String>,
    pub labels: BTreeMap<String, String>,
    /// Thousandths of a core that the host must have.
    pub min_cpu: Option<u64>,
    /// Bytes that the host must have.
    pub min_memory: Option<u64>,
    /// Services of the stack that must not be on the same host.
    pub not_with: BTreeSet<ServiceName>,
    pub not_on: BTreeSet<HostName>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullPolicy {
    Missing,
    Always,
    Never,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Update {
    pub order: UpdateOrder,
    /// Absent: 1 s, and 0 where nothing ran before.
    pub min_healthy: Option<Duration>,
    pub deadline: Duration,
    pub on_failure: OnFailure,
}

/// What becomes of a stack whose new content failed because of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// Everything returns to what ran before.
    Rollback,
    /// Everything is left as it is, for a look.
    Hold,
}

impl OnFailure {
    pub const ALL: [Self; 2] = [Self::Rollback, Self::Hold];

    /// As stacks and status files write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rollback => "rollback",
            Self::Hold => "hold",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpdateOrder {
    Auto,
    StartFirst,
    StopFirst,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnHostLoss {
    Wait,
    Move,
}
