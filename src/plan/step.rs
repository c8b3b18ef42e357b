//! A step: one effect on one host, complete with every name that the executor will use.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::model::host::Endpoint;
use crate::model::request::{ContainerRequest, NetworkRequest, VolumeRequest};
use crate::name::{ContainerName, Digest, HostName, InstanceId, ServiceName};
use crate::plan::health::HealthGate;

#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    pub host: HostName,
    pub endpoint: Endpoint,
    /// The instance that it is done for, if it is for one.
    pub instance: Option<InstanceId>,
    pub act: Act,
    /// Indices of the steps that must have been carried out before. All are smaller than its own.
    pub after: BTreeSet<usize>,
    pub because: String,
}

/// What is done. Containers are named by id where they exist, else by the name that they were created under.
#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    Pull {
        reference: String,
    },
    CreateNetwork(NetworkRequest),
    CreateVolume(VolumeRequest),
    Create(Box<ContainerRequest>),
    Start {
        container: String,
    },
    AwaitHealthy {
        container: String,
        gate: HealthGate,
        of: Awaited,
    },
    RunAction(RunAction),
    /// The container answers to these names from now on, under the address that it has.
    TakeName {
        container: String,
        network: String,
        aliases: Vec<String>,
    },
    /// The container answers to no name of ours any more, under the address that it has; then it is left alone for a
    /// while, so that whoever asked it in that moment is answered.
    GiveUpName {
        container: String,
        network: String,
        linger: Duration,
    },
    Stop {
        container: String,
        grace: Duration,
    },
    Remove {
        container: String,
    },
    Rename {
        container: String,
        name: ContainerName,
    },
    RemoveNetwork {
        id: String,
        name: String,
    },
    /// One that a container still uses stays, and that is fine.
    RemoveImage {
        reference: String,
    },
}

/// Whose health is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Awaited {
    /// It is brought up now, and has to prove itself.
    New,
    /// It was brought up by an earlier apply, of which nobody knows the end, and has to prove itself. Within its grace to
    /// stop it may be ending, because somebody asked for that who was killed since.
    Found { grace: Duration },
    /// It ran before, and something that requires it is brought up: whether it is well just now says nothing of that.
    Required,
}

/// A `potentialAction` to run inside a container.
#[derive(Debug, Clone, PartialEq)]
pub struct RunAction {
    pub container: String,
    pub service: ServiceName,
    pub action: String,
    pub command: Vec<String>,
    pub working_dir: Option<String>,
    pub timeout: Duration,
    /// Of the request of the service's first instance: what makes it due once.
    pub digest: Digest,
}

impl Awaited {
    /// Whether its end, its bad health or its silence may be what somebody asked for before, after so long a wait.
    pub fn may_be_ending(self, after: Duration) -> bool {
        match self {
            Self::New | Self::Required => false,
            Self::Found { grace } => after <= grace,
        }
    }

    /// How long it is waited for at most.
    pub fn limit(self, deadline: Duration) -> Duration {
        match self {
            Self::New | Self::Required => deadline,
            Self::Found { grace } => deadline.max(grace),
        }
    }
}

impl Act {
    /// Whether a refusal says something against the content. That an old one cannot be put away or renamed now does not:
    /// an engine may have started it since, for somebody who asked and was killed before the answer.
    pub fn can_blame_content(&self) -> bool {
        match self {
            Self::Pull { .. }
            | Self::CreateNetwork(_)
            | Self::CreateVolume(_)
            | Self::Create(_)
            | Self::Start { .. }
            | Self::AwaitHealthy { of: Awaited::New | Awaited::Found { .. }, .. }
            | Self::RunAction(_) => true,
            Self::AwaitHealthy { of: Awaited::Required, .. }
            | Self::TakeName { .. }
            | Self::GiveUpName { .. }
            | Self::Stop { .. }
            | Self::Remove { .. }
            | Self::Rename { .. }
            | Self::RemoveNetwork { .. }
            | Self::RemoveImage { .. } => false,
        }
    }

    /// A verb and its object, for people.
    pub fn describe(&self) -> String {
        match self {
            Self::Pull { reference } => format!("pull {reference}"),
            Self::CreateNetwork(request) => format!("create network {}", request.name),
            Self::CreateVolume(request) => format!("create volume {}", request.name),
            Self::Create(request) => format!("create {}", request.name),
            Self::Start { container } => format!("start {}", shown(container)),
            Self::AwaitHealthy { container, .. } => format!("wait until {} is healthy", shown(container)),
            Self::RunAction(action) => format!("run action {} in {}", action.action, shown(&action.container)),
            Self::TakeName { container, aliases, .. } => {
                format!("let {} answer to {}", shown(container), aliases.join(", "))
            }
            Self::GiveUpName { container, .. } => format!("let {} answer to no name", shown(container)),
            Self::Stop { container, .. } => format!("stop {}", shown(container)),
            Self::Remove { container } => format!("remove {}", shown(container)),
            Self::Rename { container, name } => format!("rename {} to {name}", shown(container)),
            Self::RemoveNetwork { name, .. } => format!("remove network {name}"),
            Self::RemoveImage { reference } => format!("remove image {reference}"),
        }
    }
}

/// Ids are 64 hex digits; people know their first twelve.
fn shown(container: &str) -> &str {
    let is_id = container.len() == 64 && container.bytes().all(|b| b.is_ascii_hexdigit());
    if is_id { &container[..12] } else { container }
}
