//! What an engine is asked for, in our words.
//!
//! Gives complete requests: whoever carries one out chooses nothing. The digest of a container's request decides
//! whether a running container is still what is wanted.
//!
//! Never names an engine's API version, so that a newer engine changes no digest.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::model::stack::{Access, Logging, Protocol, Restart, Settings};
use crate::name::{ContainerName, Digest, NetworkName, VolumeName};
use crate::secret::Secret;

pub const LABEL_OWNER: &str = "bayplan.owner";
pub const LABEL_STACK: &str = "bayplan.stack";
pub const LABEL_SERVICE: &str = "bayplan.service";
pub const LABEL_INSTANCE: &str = "bayplan.instance";
pub const LABEL_HOST: &str = "bayplan.host";
pub const LABEL_DIGEST: &str = "bayplan.digest";
pub const LABEL_REVISION: &str = "bayplan.revision";
pub const LABEL_SCHEMA: &str = "bayplan.schema";
/// The version of the label format that this program writes.
pub const LABEL_SCHEMA_VERSION: &str = "1";

/// A container to create.
#[derive(Debug, Clone, PartialEq)]
pub struct ContainerRequest {
    pub name: ContainerName,
    /// The image as the stack file writes it.
    pub image: String,
    pub resolved: ResolvedImage,
    /// All labels, ours included.
    pub labels: BTreeMap<String, String>,
    /// All variables, those of the connections included.
    pub environment: BTreeMap<String, Secret<String>>,
    pub command: Option<Vec<String>>,
    pub entrypoint: Option<Vec<String>>,
    pub user: Option<String>,
    pub working_dir: Option<String>,
    pub health: Option<EngineHealthCheck>,
    pub restart: Restart,
    pub stop_grace_period: Duration,
    pub mounts: Vec<MountRequest>,
    pub ports: Vec<PortRequest>,
    pub network: NetworkAttachment,
    /// `name:address`, those of the connections included.
    pub extra_hosts: Vec<String>,
    /// Of these, `network_mode` and `extra_hosts` are already in the fields above.
    pub settings: Settings,
    /// Thousandths of a core.
    pub cpu_limit: Option<u64>,
    /// Bytes.
    pub memory_limit: Option<u64>,
}

/// What an image's text resolved to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ResolvedImage {
    /// `repository@sha256:…`: the same on every host.
    Registry(String),
    /// An image id of one host that no registry vouches for.
    Local(String),
}

impl ResolvedImage {
    /// What to create a container from.
    pub fn reference(&self) -> &str {
        match self {
            Self::Registry(reference) => reference,
            Self::Local(id) => id,
        }
    }

    /// Reads what [`ResolvedImage::reference`] gives.
    pub fn parse(text: &str) -> Self {
        if text.contains('@') { Self::Registry(text.to_owned()) } else { Self::Local(text.to_owned()) }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetworkAttachment {
    /// A network of the engine, with the names that the container answers to there.
    Named {
        network: NetworkName,
        aliases: Vec<String>,
    },
    Host,
    None,
}

/// A health check that the engine runs inside the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineHealthCheck {
    /// `["CMD", …]` or `["CMD-SHELL", line]`.
    pub test: Vec<String>,
    pub interval: Duration,
    pub timeout: Duration,
    pub retries: u32,
    pub start_period: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountRequest {
    pub kind: MountKind,
    pub target: String,
    pub access: Access,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountKind {
    Volume(VolumeName),
    Bind(String),
    Tmpfs,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PortRequest {
    pub container: u16,
    pub protocol: Protocol,
    pub host_ip: IpAddr,
    pub host_port: u16,
}

/// A bridge network to make. It gets an explicit subnet, so that a container can keep its address when reconnected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkRequest {
    pub name: NetworkName,
    pub labels: BTreeMap<String, String>,
    /// Absent: cut a /24 from a range that the engine itself found free.
    pub subnet: Option<String>,
}

/// A volume to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeRequest {
    pub name: VolumeName,
    pub driver: String,
    pub labels: BTreeMap<String, String>,
}

impl ContainerRequest {
    /// The digest of the complete request without its name, its aliases, `bayplan.digest` and `bayplan.revision`.
    ///
    /// Absent and empty fields are left out, so that a field that a later version adds changes no digest.
    pub fn digest(&self) -> Digest {
        let text = Value::Object(self.parts()).to_string();
        Digest::of(text.as_bytes())
    }

    /// The request as named parts, for the digest and for saying which fields differ. Secrets are exposed:
    /// parts must be compared or hashed, never shown.
    pub fn parts(&self) -> Map<String, Value> {
        let mut parts = Parts(Map::new());
        parts.put("image", json!(self.image));
        parts.put("resolved", json!(self.resolved.reference()));
        let labels: BTreeMap<_, _> = self
            .labels
            .iter()
            .filter(|(key, _)| key.as_str() != LABEL_DIGEST && key.as_str() != LABEL_REVISION)
            .collect();
        parts.put("labels", json!(labels));
        let environment: BTreeMap<_, _> = self.environment.iter().map(|(k, v)| (k, v.expose())).collect();
        parts.put("environment", json!(environment));
        parts.put("command", json!(self.command));
        parts.put("entrypoint", json!(self.entrypoint));
        parts.put("user", json!(self.user));
        parts.put("workingDir", json!(self.working_dir));
        if let Some(health) = &self.health {
            parts.put(
                "healthCheck",
                json!([
                    health.test,
                    health.interval.as_millis() as u64,
                    health.timeout.as_millis() as u64,
                    health.retries,
                    health.start_period.as_millis() as u64
                ]),
            );
        }
        let restart = match self.restart {
            Restart::UnlessStopped => "unless-stopped",
            Restart::OnFailure => "on-failure",
            Restart::No => "no",
        };
        parts.put("restartPolicy", json!(restart));
        parts.put("stopGracePeriod", json!(self.stop_grace_period.as_millis() as u64));
        let mounts: Vec<Value> = self.mounts.iter().map(mount_part).collect();
        parts.put("volumeMounts", json!(mounts));
        let ports: Vec<String> = self
            .ports
            .iter()
            .map(|p| format!("{}:{}->{}/{}", p.host_ip, p.host_port, p.container, p.protocol.as_str()))
            .collect();
        parts.put("ports", json!(ports));
        let network = match &self.network {
            NetworkAttachment::Named { network, .. } => network.as_str(),
            NetworkAttachment::Host => "(host)",
            NetworkAttachment::None => "(none)",
        };
        parts.put("network", json!(network));
        parts.put("extraHosts", json!(self.extra_hosts));
        parts.put("cpuLimit", json!(self.cpu_limit));
        parts.put("memoryLimit", json!(self.memory_limit));
        settings_parts(&mut parts, &self.settings);
        parts.0
    }
}

struct Parts(Map<String, Value>);

impl Parts {
    fn put(&mut self, name: &str, value: Value) {
        let absent = match &value {
            Value::Null => true,
            Value::Array(items) => items.is_empty(),
            Value::Object(items) => items.is_empty(),
            Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
        };
        if !absent {
            self.0.insert(name.to_owned(), value);
        }
    }
}

fn mount_part(mount: &MountRequest) -> Value {
    let source = match &mount.kind {
        MountKind::Volume(name) => format!("volume:{name}"),
        MountKind::Bind(path) => format!("bind:{path}"),
        MountKind::Tmpfs => "tmpfs".to_owned(),
    };
    match mount.access {
        Access::ReadWrite => json!([source, mount.target]),
        Access::ReadOnly => json!([source, mount.target, "ro"]),
    }
}

fn settings_parts(parts: &mut Parts, settings: &Settings) {
    // Named one by one, so that a new setting breaks the build here and cannot be forgotten in the digest.
    let Settings {
        hostname,
        domainname,
        dns,
        dns_search,
        dns_options,
        extra_hosts: _,
        cap_drop,
        cap_add,
        devices,
        security_opt,
        sysctls,
        group_add,
        ulimits,
        shm_size,
        init,
        read_only,
        privileged,
        tty,
        stdin_open,
        pids_limit,
        oom_score_adj,
        stop_signal,
        network_mode: _,
        logging,
    } = settings;
    parts.put("hostname", json!(hostname));
    parts.put("domainname", json!(domainname));
    parts.put("dns", json!(dns));
    parts.put("dnsSearch", json!(dns_search));
    parts.put("dnsOptions", json!(dns_options));
    parts.put("capDrop", json!(cap_drop));
    parts.put("capAdd", json!(cap_add));
    parts.put("devices", json!(devices));
    parts.put("securityOpt", json!(security_opt));
    parts.put("sysctls", json!(sysctls));
    parts.put("groupAdd", json!(group_add));
    parts.put("ulimits", json!(ulimits));
    parts.put("shmSize", json!(shm_size));
    parts.put("init", json!(init));
    parts.put("readOnly", json!(read_only));
    parts.put("privileged", json!(privileged));
    parts.put("tty", json!(tty));
    parts.put("stdinOpen", json!(stdin_open));
    parts.put("pidsLimit", json!(pids_limit));
    parts.put("oomScoreAdj", json!(oom_score_adj));
    parts.put("stopSignal", json!(stop_signal));
    if let Some(Logging { driver, options }) = logging {
        parts.put("logging", json!([driver, options]));
    }
}
