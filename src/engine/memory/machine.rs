//! What a simulated engine holds, and what each call does to it.
//!
//! Takes calls with the time at which they arrive. Gives their effects, at once.
//!
//! Never reads a clock: whoever calls brings the time up to date first ([`Machine::advance`]).

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use tokio::time::Instant;

use super::life::{Life, Phase};
use super::registry::tagged;
use super::script::{ImageCheck, ImageScript};
use super::subnets;
use crate::engine::{ContainerDetail, EngineError, EngineEvent, ImageDetail};
use crate::model::request::{
    ContainerRequest, LABEL_DIGEST, LABEL_OWNER, MountKind, NetworkAttachment, NetworkRequest, VolumeRequest,
};
use crate::model::stack::Protocol;
use crate::model::world::{ContainerSeen, LabelsRead, NetworkSeen, PortSeen, VolumeSeen};
use crate::name::Digest;
use crate::name::image::ImageRef;

#[derive(Debug, Clone, Default)]
pub struct Machine {
    /// Makes the ids of different engines differ.
    name: String,
    made: u64,
    pub containers: BTreeMap<String, Container>,
    pub networks: Vec<NetworkSeen>,
    pub volumes: BTreeMap<String, VolumeSeen>,
    images: Vec<Image>,
    /// Taken by something that is no container.
    pub taken_ports: BTreeSet<(IpAddr, u16, Protocol)>,
    /// Addresses that ports can be published on; absent: any.
    pub addresses: Option<BTreeSet<IpAddr>>,
    /// All since the beginning; streams read from where they began.
    pub events: Vec<EngineEvent>,
}

#[derive(Debug, Clone)]
struct Image {
    id: String,
    tags: BTreeSet<String>,
    repo_digests: BTreeSet<String>,
    script: ImageScript,
}

#[derive(Debug, Clone)]
pub struct Container {
    pub id: String,
    pub order: u64,
    pub name: String,
    pub image_id: String,
    pub request: ContainerRequest,
    pub life: Life,
    /// By network id.
    pub endpoints: BTreeMap<String, Endpoint>,
    pub ports: PortsState,
    pub error: String,
    pub log: Vec<String>,
    pub execs: Vec<(Vec<String>, Instant)>,
}

#[derive(Debug, Clone, Default)]
pub struct Endpoint {
    pub aliases: BTreeSet<String>,
    pub address: Option<Ipv4Addr>,
}

/// Reconnecting a container drops its published ports until it is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortsState {
    AsRequested,
    Dropped,
}

impl Machine {
    pub fn new(name: &str) -> Self {
        let mut machine = Self { name: name.to_owned(), ..Self::default() };
        for (name, driver) in [("bridge", "bridge"), ("host", "host"), ("none", "null")] {
            let id = machine.new_id("network");
            machine.networks.push(NetworkSeen {
                id,
                name: name.to_owned(),
                driver: driver.to_owned(),
                labels: BTreeMap::new(),
                subnets: if name == "bridge" { vec!["172.17.0.0/16".to_owned()] } else { Vec::new() },
            });
        }
        machine
    }

    pub fn new_id(&mut self, kind: &str) -> String {
        self.made += 1;
        Digest::of(format!("{} {kind} {}", self.name, self.made).as_bytes()).to_string()
    }

    // ---- looking

    pub fn find(&self, id: &str) -> Option<&Container> {
        match self.containers.get(id) {
            Some(found) => Some(found),
            None => self.containers.values().find(|c| c.name == id),
        }
    }

    /// # Errors
    /// When there is none.
    pub fn find_mut(&mut self, call: &'static str, id: &str) -> Result<&mut Container, EngineError> {
        let found = self.find(id).map(|c| c.id.clone());
        found
            .and_then(|id| self.containers.get_mut(&id))
            .ok_or_else(|| EngineError::NotFound { call, thing: format!("container: {id}") })
    }

    /// Newest first, as engines list them.
    pub fn list(&self, now: Instant) -> Vec<ContainerSeen> {
        let mut all: Vec<&Container> = self.containers.values().collect();
        all.sort_by_key(|c| std::cmp::Reverse(c.order));
        // A machine has as many networks as stacks, and a name is wanted for every container.
        let names: BTreeMap<&str, &str> = self.networks.iter().map(|n| (n.id.as_str(), n.name.as_str())).collect();
        let named = |id: &String| names.get(id.as_str()).map_or_else(|| id.clone(), |name| (*name).to_owned());
        all.into_iter().map(|c| self.seen(c, now, &named)).collect()
    }

    pub fn detail(&self, container: &Container, now: Instant) -> ContainerDetail {
        let named = |id: &String| self.network_name(id);
        let endpoints = || container.endpoints.iter();
        ContainerDetail {
            seen: self.seen(container, now, &named),
            aliases: endpoints().map(|(id, e)| (named(id), e.aliases.iter().cloned().collect())).collect(),
            addresses: endpoints().filter_map(|(id, e)| Some((named(id), IpAddr::V4(e.address?)))).collect(),
            restarts: container.life.restarts,
            error: container.error.clone(),
            last_probe: String::new(),
            variables: container.request.environment.values().cloned().collect(),
        }
    }

    fn seen(&self, container: &Container, now: Instant, named: &impl Fn(&String) -> String) -> ContainerSeen {
        let request = &container.request;
        let is_up = matches!(container.life.phase, Phase::Running { .. });
        let ports = if is_up && container.ports == PortsState::AsRequested {
            let ports: BTreeSet<PortSeen> = request
                .ports
                .iter()
                .map(|p| PortSeen {
                    container: p.container,
                    protocol: p.protocol,
                    host_ip: Some(p.host_ip).filter(|ip| !ip.is_unspecified()),
                    host_port: p.host_port,
                })
                .collect();
            ports.into_iter().collect()
        } else {
            Vec::new()
        };
        let mut networks: BTreeMap<String, Option<IpAddr>> =
            container.endpoints.iter().map(|(id, e)| (named(id), e.address.map(IpAddr::V4))).collect();
        match request.network {
            NetworkAttachment::Host => drop(networks.insert("host".to_owned(), None)),
            NetworkAttachment::None => drop(networks.insert("none".to_owned(), None)),
            NetworkAttachment::Named { .. } => {}
        }
        ContainerSeen {
            id: container.id.clone(),
            name: container.name.clone(),
            image_id: container.image_id.clone(),
            state: container.life.state(),
            health: container.life.health(request.health.as_ref(), now),
            labels: request.labels.clone(),
            ports,
            networks,
            volumes: volumes_of(request),
            read: LabelsRead::default(),
        }
    }

    fn network_name(&self, id: &str) -> String {
        let found = self.networks.iter().find(|n| n.id == id);
        found.map_or_else(|| id.to_owned(), |n| n.name.clone())
    }

    /// Of two of one name: the owner's, else the older one.
    pub fn find_network(&self, name: &str, owner: Option<&String>) -> Option<&NetworkSeen> {
        let mut found = self.networks.iter().filter(|n| n.name == name);
        let ours = |n: &&NetworkSeen| owner.is_some() && n.labels.get(LABEL_OWNER) == owner;
        found.clone().find(ours).or_else(|| found.next())
    }

    // ---- images

    /// Holds an image from now on, under a tag or a digest or both; an image that lost its last name stays by its id.
    pub fn hold_image(&mut self, tag: Option<String>, repo_digest: Option<String>, script: ImageScript) -> String {
        let id = match &repo_digest {
            Some(digest) => format!("sha256:{}", Digest::of(digest.as_bytes())),
            None => format!("sha256:{}", self.new_id("image")),
        };
        if let Some(tag) = &tag {
            for image in &mut self.images {
                image.tags.remove(tag);
            }
        }
        let place = self.images.iter().position(|i| i.id == id).unwrap_or_else(|| {
            self.images.push(Image { id: id.clone(), tags: BTreeSet::new(), repo_digests: BTreeSet::new(), script });
            self.images.len() - 1
        });
        let image = &mut self.images[place];
        image.tags.extend(tag);
        image.repo_digests.extend(repo_digest);
        id
    }

    pub fn image(&self, reference: &str) -> Option<ImageDetail> {
        self.find_image(reference).map(|image| ImageDetail {
            id: image.id.clone(),
            repo_digests: image.repo_digests.iter().cloned().collect(),
            has_health_check: image.script.check == ImageCheck::Brought,
        })
    }

    fn find_image(&self, reference: &str) -> Option<&Image> {
        let tag = ImageRef::new(reference).ok().map(|image| tagged(&image));
        self.images.iter().find(|image| {
            image.id == reference
                || image.repo_digests.contains(reference)
                || tag.as_ref().is_some_and(|tag| image.tags.contains(tag))
        })
    }

    /// # Errors
    /// When a container uses it.
    pub fn remove_image(&mut self, reference: &str) -> Result<(), EngineError> {
        let Some(id) = self.find_image(reference).map(|image| image.id.clone()) else {
            return Ok(());
        };
        if let Some(user) = self.containers.values().find(|c| c.image_id == id) {
            return Err(refused("remove image", 409, format!("image is being used by container {}", user.name)));
        }
        self.images.retain(|image| image.id != id);
        Ok(())
    }

    // ---- networks and volumes

    pub fn create_network(&mut self, request: &NetworkRequest) -> Result<String, EngineError> {
        if let Some(found) = self.find_network(request.name.as_str(), request.labels.get(LABEL_OWNER)) {
            return Ok(found.id.clone());
        }
        let used = || self.networks.iter().flat_map(|n| &n.subnets).map(String::as_str);
        let subnet = match &request.subnet {
            Some(subnet) if used().any(|other| subnets::overlap(subnet, other)) => {
                let why = "Pool overlaps with other one on this address space".to_owned();
                return Err(refused("create network", 403, why));
            }
            Some(subnet) => subnet.clone(),
            None => subnets::free(used()).ok_or_else(|| EngineError::Failed {
                call: "create network",
                why: "could not find an available, non-overlapping IPv4 address pool".to_owned(),
            })?,
        };
        Ok(self.add_network(request.name.as_str(), request.labels.clone(), subnet))
    }

    /// Also where there is one of that name already.
    pub fn add_network(&mut self, name: &str, labels: BTreeMap<String, String>, subnet: String) -> String {
        let id = self.new_id("network");
        self.networks.push(NetworkSeen {
            id: id.clone(),
            name: name.to_owned(),
            driver: "bridge".to_owned(),
            labels,
            subnets: vec![subnet],
        });
        id
    }

    pub fn remove_network(&mut self, id: &str) -> Result<(), EngineError> {
        let Some(found) = self.networks.iter().find(|n| n.id == id || n.name == id) else {
            return Ok(());
        };
        let id = found.id.clone();
        let is_in_use = |c: &Container| c.endpoints.get(&id).is_some_and(|e| e.address.is_some());
        if self.containers.values().any(is_in_use) {
            let why = format!("network {} has active endpoints", found.name);
            return Err(refused("remove network", 403, why));
        }
        self.networks.retain(|n| n.id != id);
        for container in self.containers.values_mut() {
            container.endpoints.remove(&id);
        }
        Ok(())
    }

    pub fn create_volume(&mut self, request: &VolumeRequest) {
        let VolumeRequest { name, driver, labels } = request;
        self.volumes.entry(name.to_string()).or_insert_with(|| VolumeSeen {
            name: name.to_string(),
            driver: driver.clone(),
            labels: labels.clone(),
        });
    }

    // ---- containers

    /// # Errors
    /// When the image or the network is missing or the name is in use by a container that was not asked for like this.
    pub fn create(&mut self, request: &ContainerRequest) -> Result<String, EngineError> {
        let mut endpoints = BTreeMap::new();
        if let NetworkAttachment::Named { network, aliases } = &request.network {
            let found = self.find_network(network.as_str(), request.labels.get(LABEL_OWNER));
            let found =
                found.ok_or_else(|| EngineError::NotFound { call: "create", thing: format!("network {network}") })?;
            let endpoint = Endpoint { aliases: aliases.iter().cloned().collect(), address: None };
            endpoints.insert(found.id.clone(), endpoint);
        }
        let reference = request.resolved.reference();
        let Some(image) = self.find_image(reference) else {
            return Err(EngineError::ImageMissing {
                image: reference.to_owned(),
                why: format!("No such image: {reference}"),
            });
        };
        let (image_id, script) = (image.id.clone(), image.script.clone());
        if let Some(there) = self.containers.values().find(|c| c.name == request.name.as_str()) {
            let same = |label| {
                let wanted = request.labels.get(label);
                wanted.is_some() && there.request.labels.get(label) == wanted
            };
            return if same(LABEL_OWNER) && same(LABEL_DIGEST) {
                Ok(there.id.clone())
            } else {
                Err(EngineError::NameInUse { name: request.name.to_string() })
            };
        }
        for name in volumes_of(request) {
            self.volumes.entry(name.clone()).or_insert_with(|| VolumeSeen {
                name,
                driver: "local".to_owned(),
                labels: BTreeMap::new(),
            });
        }
        let id = self.new_id("container");
        let container = Container {
            id: id.clone(),
            order: self.made,
            name: request.name.to_string(),
            image_id,
            request: request.clone(),
            life: Life::new(script),
            endpoints,
            ports: PortsState::AsRequested,
            error: String::new(),
            log: Vec::new(),
            execs: Vec::new(),
        };
        self.tell(&container, "create", None);
        self.containers.insert(id.clone(), container);
        Ok(id)
    }

    /// # Errors
    /// When it is missing, cannot be started, or a port is taken: then it stays as it was, with the reason in its `error`.
    pub fn start(&mut self, id: &str, now: Instant) -> Result<(), EngineError> {
        let container = self.find_mut("start", id)?;
        let id = container.id.clone();
        if matches!(container.life.phase, Phase::Running { .. }) {
            return Ok(());
        }
        if let Some(why) = self.taken_port(&id) {
            if let Some(container) = self.containers.get_mut(&id) {
                container.error.clone_from(&why);
            }
            return Err(EngineError::PortTaken { why });
        }
        let container = self.find_mut("start", &id)?;
        if let Some(why) = container.life.script.refuses.clone() {
            container.error.clone_from(&why);
            return Err(EngineError::Failed { call: "start", why });
        }
        self.give_addresses(&id);
        let container = self.find_mut("start", &id)?;
        container.error.clear();
        container.ports = PortsState::AsRequested;
        container.life.start(now);
        container.log.extend(container.life.script.output.iter().cloned());
        let container = container.clone();
        self.tell(&container, "start", None);
        Ok(())
    }

    fn taken_port(&self, id: &str) -> Option<String> {
        let container = self.containers.get(id)?;
        for port in &container.request.ports {
            let wanted = (port.host_ip, port.host_port, port.protocol);
            if let Some(addresses) = &self.addresses
                && !port.host_ip.is_unspecified()
                && !addresses.contains(&port.host_ip)
            {
                return Some(format!("listen {}: bind: cannot assign requested address", socket(wanted)));
            }
            let by_containers = self.containers.values().filter(|c| {
                c.id != id && matches!(c.life.phase, Phase::Running { .. }) && c.ports == PortsState::AsRequested
            });
            let mut bound = by_containers.flat_map(|c| &c.request.ports).map(|p| (p.host_ip, p.host_port, p.protocol));
            if bound.any(|other| clash(wanted, other)) {
                return Some(format!("Bind for {} failed: port is already allocated", socket(wanted)));
            }
            if self.taken_ports.iter().any(|other| clash(wanted, *other)) {
                return Some(format!("listen {}: bind: address already in use", socket(wanted)));
            }
        }
        None
    }

    fn give_addresses(&mut self, id: &str) {
        let Some(container) = self.containers.get(id) else {
            return;
        };
        let networks: Vec<String> = container.endpoints.keys().cloned().collect();
        for network in networks {
            let address = self.free_address(&network);
            if let Some(endpoint) = self.containers.get_mut(id).and_then(|c| c.endpoints.get_mut(&network)) {
                endpoint.address = endpoint.address.or(address);
            }
        }
    }

    fn free_address(&self, network: &str) -> Option<Ipv4Addr> {
        let subnet = self.networks.iter().find(|n| n.id == network)?.subnets.first()?;
        let used: BTreeSet<Ipv4Addr> =
            self.containers.values().filter_map(|c| c.endpoints.get(network)?.address).collect();
        subnets::addresses(subnet)?.find(|address| !used.contains(address))
    }

    pub fn remove(&mut self, id: &str) -> Result<(), EngineError> {
        let Some(container) = self.find(id) else { return Ok(()) };
        if matches!(container.life.phase, Phase::Running { .. } | Phase::Waiting { .. }) {
            let why = format!(
                "You cannot remove a running container {}. Stop the container before attempting removal",
                container.id
            );
            return Err(refused("remove", 409, why));
        }
        let container = container.clone();
        self.containers.remove(&container.id);
        self.tell(&container, "destroy", None);
        Ok(())
    }

    pub fn rename(&mut self, id: &str, name: &str) -> Result<(), EngineError> {
        let id = self.find_mut("rename", id)?.id.clone();
        if self.find(name).is_some_and(|other| other.id != id) {
            return Err(EngineError::NameInUse { name: name.to_owned() });
        }
        let container = self.find_mut("rename", &id)?;
        if container.name == name {
            return Ok(());
        }
        container.name = name.to_owned();
        let container = container.clone();
        self.tell(&container, "rename", None);
        Ok(())
    }

    /// # Errors
    /// When the container or the network is missing.
    pub fn set_aliases(&mut self, id: &str, network: &str, aliases: &[String]) -> Result<(), EngineError> {
        const CALL: &str = "set aliases";
        let id = self.find_mut(CALL, id)?.id.clone();
        let container = &self.containers[&id];
        let is_up = matches!(container.life.phase, Phase::Running { .. });
        let owner = container.request.labels.get(LABEL_OWNER).cloned();
        let connected = container
            .endpoints
            .keys()
            .find(|id| self.networks.iter().any(|n| &n.id == *id && n.name == network))
            .cloned();
        let found = connected.or_else(|| self.find_network(network, owner.as_ref()).map(|n| n.id.clone()));
        let network = found.ok_or_else(|| EngineError::NotFound { call: CALL, thing: format!("network {network}") })?;
        let free = self.free_address(&network).filter(|_| is_up);
        let container = self.find_mut(CALL, &id)?;
        let wanted: BTreeSet<String> = aliases.iter().cloned().collect();
        match container.endpoints.get_mut(&network) {
            Some(endpoint) if endpoint.aliases == wanted => return Ok(()),
            Some(endpoint) => endpoint.aliases = wanted,
            None => {
                let endpoint = Endpoint { aliases: wanted, address: free };
                container.endpoints.insert(network, endpoint);
            }
        }
        container.ports = PortsState::Dropped;
        Ok(())
    }

    /// Tells of something that happened to a container, to whoever listens.
    pub fn tell(&mut self, container: &Container, action: &str, exit_code: Option<i64>) {
        let mut labels = container.request.labels.clone();
        labels.insert("name".to_owned(), container.name.clone());
        labels.insert("image".to_owned(), container.request.resolved.reference().to_owned());
        if let Some(code) = exit_code {
            labels.insert("exitCode".to_owned(), code.to_string());
        }
        self.events.push(EngineEvent { action: action.to_owned(), container: container.id.clone(), labels });
    }
}

pub fn refused(call: &'static str, status: u16, why: String) -> EngineError {
    EngineError::Refused { call, status, why }
}

fn volumes_of(request: &ContainerRequest) -> BTreeSet<String> {
    let name = |kind: &MountKind| match kind {
        MountKind::Volume(name) => Some(name.to_string()),
        MountKind::Bind(_) | MountKind::Tmpfs => None,
    };
    request.mounts.iter().filter_map(|mount| name(&mount.kind)).collect()
}

type Socket = (IpAddr, u16, Protocol);

fn socket((ip, port, protocol): Socket) -> String {
    format!("{} {ip}:{port}", protocol.as_str())
}

fn clash((ip, port, protocol): Socket, other: Socket) -> bool {
    let same_address = ip == other.0 || ip.is_unspecified() || other.0.is_unspecified();
    same_address && (port, protocol) == (other.1, other.2)
}
