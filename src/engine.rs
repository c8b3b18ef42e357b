//! A container engine, in our words.
//!
//! One trait, two doors: [`docker`] over the engine's HTTP API, [`memory`] inside this process. Both pass one contract
//! (`tests/contract.rs`), which is why the second may stand for the first.
//!
//! Never judges: whether something is ours, allowed or wise was decided in the plan.

pub mod connect;
pub mod deadline;
pub mod docker;
pub mod memory;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;

use crate::model::host::Endpoint;
use crate::model::request::{ContainerRequest, NetworkRequest, VolumeRequest};
use crate::model::world::{About, ContainerSeen, Health, NetworkSeen, State, VolumeSeen};
use crate::name::ContainerName;
use crate::name::image::ImageRef;
use crate::secret::Secret;

/// The engines of the fleet, by where they listen.
pub type Engines = BTreeMap<Endpoint, Arc<dyn Engine>>;

/// Logins by registry host (`""`: the registry of image names that have none).
pub type Logins = BTreeMap<String, RegistryLogin>;

/// What can be asked of an engine. Every call ends by the deadline of its class: ping 2 s, read 10 s, create and start
/// 60 s, stop the grace period + 15 s, pull 2 min without progress.
#[async_trait]
pub trait Engine: Send + Sync + std::fmt::Debug {
    /// Version and size of the engine and its machine; also the cheapest proof that it answers.
    async fn about(&self) -> Result<About, EngineError>;
    /// All containers, stopped and foreign ones too, in one list call.
    async fn containers(&self) -> Result<Vec<ContainerSeen>, EngineError>;
    async fn networks(&self) -> Result<Vec<NetworkSeen>, EngineError>;
    async fn volumes(&self) -> Result<Vec<VolumeSeen>, EngineError>;
    /// By id or name; `None` when there is none.
    async fn container(&self, id: &str) -> Result<Option<ContainerDetail>, EngineError>;
    /// By any reference or id; `None` when the engine does not hold it.
    async fn image(&self, reference: &str) -> Result<Option<ImageDetail>, EngineError>;
    /// What the tag means at its registry now: `repository@sha256:…`.
    async fn ask_registry(&self, image: &ImageRef, login: Option<&RegistryLogin>) -> Result<String, EngineError>;
    async fn pull(&self, reference: &str, login: Option<&RegistryLogin>) -> Result<(), EngineError>;
    /// Makes an image named `reference` from a tar of its root file system, as `docker import` does.
    async fn import_image(&self, reference: &str, root: Vec<u8>, changes: &[String]) -> Result<(), EngineError>;
    /// A missing one is fine.
    async fn remove_image(&self, reference: &str) -> Result<(), EngineError>;
    /// Gives the network's id. Lists first: some engines make two of one name.
    async fn create_network(&self, request: &NetworkRequest) -> Result<String, EngineError>;
    /// A missing one is fine.
    async fn remove_network(&self, id: &str) -> Result<(), EngineError>;
    /// An existing one is fine and left as it is.
    async fn create_volume(&self, request: &VolumeRequest) -> Result<(), EngineError>;
    /// Gives the container's id.
    async fn create(&self, request: &ContainerRequest) -> Result<String, EngineError>;
    /// A running one is fine.
    async fn start(&self, id: &str) -> Result<(), EngineError>;
    /// A stopped or missing one is fine.
    async fn stop(&self, id: &str, grace: Duration) -> Result<(), EngineError>;
    /// Removes a stopped container and its anonymous volumes are kept; a missing one is fine.
    async fn remove(&self, id: &str) -> Result<(), EngineError>;
    /// One that has the name already is fine.
    async fn rename(&self, id: &str, name: &ContainerName) -> Result<(), EngineError>;
    /// Changes the names that a container answers to on a network, keeping its address, so that its connections survive.
    /// Does nothing when they are already so.
    async fn set_aliases(&self, id: &str, network: &str, aliases: &[String]) -> Result<(), EngineError>;
    /// Runs a command in a running container and waits for it, for at most `timeout`.
    async fn exec(&self, id: &str, command: &ExecRequest) -> Result<ExecOutcome, EngineError>;
    /// Commands that were started by exec and still run: an exec outlives whoever asked for it.
    async fn commands_running(&self, id: &str) -> Result<Vec<Vec<String>>, EngineError>;
    /// The last lines, standard output and error as they came.
    async fn logs(&self, id: &str, lines: u32) -> Result<Vec<String>, EngineError>;
    /// The last lines and then every new one, until dropped.
    async fn follow_logs(
        &self,
        id: &str,
        lines: u32,
    ) -> Result<BoxStream<'static, Result<String, EngineError>>, EngineError>;
    /// What a running container uses now; takes about a second.
    async fn usage(&self, id: &str) -> Result<Usage, EngineError>;
    /// Container events from now on. They are hints: a silent stream proves nothing.
    async fn events(&self) -> Result<BoxStream<'static, Result<EngineEvent, EngineError>>, EngineError>;
    /// The address of a container's network as it may be reached from this process, which is so only for an engine on
    /// this machine.
    fn locality(&self) -> Locality;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Locality {
    /// Reached by a socket of this machine: container addresses may answer.
    ThisMachine,
    Elsewhere,
    /// Only a simulation: nothing can be connected to; probes ask the engine.
    Simulated,
}

/// What a look at one container says beyond the list.
#[derive(Debug, Clone, PartialEq)]
pub struct ContainerDetail {
    pub seen: ContainerSeen,
    /// Network name → names it answers to there.
    pub aliases: BTreeMap<String, Vec<String>>,
    /// Network name → address.
    pub addresses: BTreeMap<String, IpAddr>,
    pub restarts: u64,
    /// The engine's own words on why it does not run; empty if none.
    pub error: String,
    /// Output of the last probe of the engine's health check; empty if none.
    pub last_probe: String,
    /// The values of its variables, for taking them out of what it prints.
    pub variables: BTreeSet<Secret<String>>,
}

impl ContainerDetail {
    pub fn state(&self) -> State {
        self.seen.state
    }

    pub fn health(&self) -> Health {
        self.seen.health
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageDetail {
    pub id: String,
    /// `repository@sha256:…`, one per registry that it came from.
    pub repo_digests: Vec<String>,
    pub has_health_check: bool,
}

#[derive(Debug, Clone)]
pub struct RegistryLogin {
    pub username: String,
    pub password: Secret<String>,
    pub server: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecRequest {
    pub command: Vec<String>,
    pub working_dir: Option<String>,
    pub timeout: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecOutcome {
    /// None: it did not end within the timeout.
    pub code: Option<i64>,
    /// The last 4 KiB of its output.
    pub output: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Thousandths of a core.
    pub cpu: u64,
    /// Bytes.
    pub memory: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineEvent {
    /// `start`, `die`, `destroy`, `health_status: healthy`, …
    pub action: String,
    pub container: String,
    pub labels: BTreeMap<String, String>,
}

/// The engine did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error("the engine cannot be reached: {why}")]
    Unreachable { why: String },
    #[error("{call} did not end within {} s", .limit.as_secs())]
    Timeout { call: &'static str, limit: Duration },
    #[error("the image {image} is not to be had: {why}")]
    ImageMissing { image: String, why: String },
    #[error("the container name {name} is in use")]
    NameInUse { name: String },
    #[error("a host port is taken: {why}")]
    PortTaken { why: String },
    #[error("{call}: there is no such {thing}")]
    NotFound { call: &'static str, thing: String },
    #[error("the engine refused {call}: {why}")]
    Refused { call: &'static str, status: u16, why: String },
    #[error("the engine failed at {call}: {why}")]
    Failed { call: &'static str, why: String },
    #[error("the engine's answer to {call} was not understood: {why}")]
    NotUnderstood { call: &'static str, why: String },
}

impl EngineError {
    /// Will waiting help?
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Timeout { .. } | Self::Failed { .. } => true,
            Self::ImageMissing { .. }
            | Self::NameInUse { .. }
            | Self::PortTaken { .. }
            | Self::NotFound { .. }
            | Self::Refused { .. }
            | Self::NotUnderstood { .. } => false,
        }
    }
}
