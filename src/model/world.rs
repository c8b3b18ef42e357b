//! What engines were seen to hold.
//!
//! Not seen is not absent: [`HostView`] makes every reader say what it does about a host that did not answer.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use crate::model::host::Endpoint;
use crate::model::request::{self, ResolvedImage};
use crate::model::stack::Protocol;
use crate::name::{Digest, HostName, InstanceId, ServiceName, StackSlug};

/// One look at the fleet.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct World {
    /// One per engine; hosts with one endpoint share it.
    pub engines: BTreeMap<Endpoint, EngineView>,
    /// Hosts that have an endpoint. A host of the inventory that is not here cannot be asked at all.
    pub hosts: BTreeMap<HostName, Endpoint>,
    /// Stack and image text → host → what it resolves to there, or why it does not. Each stack has its own answer: one
    /// that asks again does not change what others run.
    pub images: BTreeMap<(StackSlug, String), BTreeMap<HostName, ImageView>>,
    /// Instances of ours that keep ending by themselves, as noticed over several looks.
    pub unsteady: BTreeMap<InstanceId, Unsteady>,
    /// Containers of ours that run and answer to no name, by id, as noticed beside the looks.
    pub nameless: BTreeSet<String>,
}

/// An instance that ended again soon after it had been started again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unsteady {
    /// What it printed last.
    pub log: Vec<String>,
}

/// What is known of the engine of one host.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum HostView<'a> {
    Seen(&'a EngineSeen),
    /// It did not answer; the text says how.
    Unreachable(&'a str),
    /// The inventory gives it no endpoint.
    NoEndpoint,
}

impl World {
    pub fn host(&self, host: &HostName) -> HostView<'_> {
        match self.hosts.get(host).map(|endpoint| self.engines.get(endpoint)) {
            Some(Some(EngineView::Seen(seen))) => HostView::Seen(seen),
            Some(Some(EngineView::Unreachable(why))) => HostView::Unreachable(why),
            Some(None) => HostView::Unreachable("it was not asked"),
            None => HostView::NoEndpoint,
        }
    }

    /// Whether any engine did not answer.
    pub fn has_a_silent_engine(&self) -> bool {
        self.engines.values().any(|view| matches!(view, EngineView::Unreachable(_)))
    }
}

#[derive(Debug, Clone, PartialEq)]
pub enum EngineView {
    /// Shared with the look before, where nothing changed.
    Seen(Arc<EngineSeen>),
    Unreachable(String),
}

/// One engine, listed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EngineSeen {
    pub about: About,
    /// All containers, stopped and foreign ones too.
    pub containers: Vec<ContainerSeen>,
    pub networks: Vec<NetworkSeen>,
    pub volumes: Vec<VolumeSeen>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct About {
    /// The engine's own id, for telling whether two endpoints are one engine.
    pub id: String,
    pub version: String,
    pub api_version: String,
    /// Thousandths of a core.
    pub cpu: u64,
    /// Bytes.
    pub memory: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ContainerSeen {
    pub id: String,
    pub name: String,
    pub image_id: String,
    pub state: State,
    pub health: Health,
    pub labels: BTreeMap<String, String>,
    pub ports: Vec<PortSeen>,
    /// Network name → address, if it has one now.
    pub networks: BTreeMap<String, Option<IpAddr>>,
    /// Names of mounted volumes.
    pub volumes: BTreeSet<String>,
    pub read: LabelsRead,
}

/// What the labels of a container say, kept once it was asked for. It follows from the labels, so that it makes no two
/// containers differ.
#[derive(Clone, Default)]
pub struct LabelsRead(OnceLock<Option<Box<Ours>>>);

impl PartialEq for LabelsRead {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl fmt::Debug for LabelsRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("..")
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    Created,
    Running,
    Paused,
    Restarting,
    Removing,
    Exited { code: i64 },
    Dead,
}

/// What the engine's own health check says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// The container has no health check.
    #[default]
    Unchecked,
    Starting,
    Healthy,
    Unhealthy,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PortSeen {
    pub container: u16,
    pub protocol: Protocol,
    /// Absent: all addresses.
    pub host_ip: Option<IpAddr>,
    pub host_port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkSeen {
    pub id: String,
    pub name: String,
    pub driver: String,
    pub labels: BTreeMap<String, String>,
    pub subnets: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeSeen {
    pub name: String,
    pub driver: String,
    pub labels: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageView {
    Resolved {
        image: ResolvedImage,
        presence: Presence,
        /// Whether the image brings a health check of its own; unknown before it is there.
        has_health_check: bool,
    },
    /// Nobody could say what it is; the text says why.
    Unresolved(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    OnHost,
    ToPull,
}

/// What our labels say of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ours {
    pub instance: InstanceId,
    pub host: HostName,
    pub digest: Digest,
    pub revision: String,
}

impl ContainerSeen {
    /// What our labels say, if they are all there and carry this owner. Anything else is not ours.
    pub fn ours(&self, owner: &str) -> Option<&Ours> {
        if self.labels.get(request::LABEL_OWNER).map(String::as_str) != Some(owner) {
            return None;
        }
        self.read.0.get_or_init(|| ours(&self.labels, owner).map(Box::new)).as_deref()
    }
}

/// What labels say of a container, if they are ours, all there, and carry this owner.
pub fn ours(labels: &BTreeMap<String, String>, owner: &str) -> Option<Ours> {
    let label = |key: &str| labels.get(key).map(String::as_str);
    if label(request::LABEL_OWNER) != Some(owner) {
        return None;
    }
    Some(Ours {
        instance: InstanceId {
            stack: StackSlug::new(label(request::LABEL_STACK)?).ok()?,
            service: ServiceName::new(label(request::LABEL_SERVICE)?).ok()?,
            number: label(request::LABEL_INSTANCE)?.parse().ok()?,
        },
        host: HostName::new(label(request::LABEL_HOST)?).ok()?,
        digest: Digest::parse(label(request::LABEL_DIGEST)?).ok()?,
        revision: label(request::LABEL_REVISION).unwrap_or("").to_owned(),
    })
}
