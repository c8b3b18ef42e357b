//! The demo's fleet: three hosts on the engine of this machine, or three engines inside this process.
//!
//! Takes what there is. Gives host files and the engines behind them, and takes all of it away again.
//!
//! Never touches what does not carry the demo's owner label.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::cli::demo::files::{IMAGE, Ports};
use crate::cli::demo::image;
use crate::cli::trouble::Trouble;
use crate::engine::docker::Docker;
use crate::engine::memory::MemoryEngine;
use crate::engine::memory::registry::MemoryRegistry;
use crate::engine::memory::script::ImageScript;
use crate::engine::{Engine, EngineError};
use crate::model::host::Endpoint;
use crate::model::request::LABEL_OWNER;
use crate::reconcile::site::Connect;

/// Everything that the demo makes carries this owner, so that a later demo finds what an earlier one left.
pub const OWNER: &str = "bayplan-demo";
pub const HOSTS: [&str; 3] = ["host-1", "host-2", "host-3"];

const SOCKET: &str = "/var/run/docker.sock";
/// Seldom used; if others use them after all, free ones are found.
const FIRST_PORT: u16 = 18081;
/// The demo's service ends at once when asked.
const GRACE: Duration = Duration::from_secs(2);

/// Three hosts.
pub struct Fleet {
    pub kind: Kind,
    /// By host.
    pub endpoints: BTreeMap<&'static str, Endpoint>,
    pub addresses: BTreeMap<&'static str, IpAddr>,
    pub ports: Ports,
    engines: BTreeMap<Endpoint, Arc<dyn Engine>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    Docker { version: String, socket: PathBuf, image_bytes: usize },
    InMemory { because: String },
}

/// What was taken away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Removed {
    pub containers: usize,
    pub networks: usize,
}

impl Fleet {
    /// On the engine of this machine; `Err` says why there is none that can be used.
    pub async fn on_docker() -> Result<Self, String> {
        let (engine, socket) = local_engine()?;
        let about = engine.about().await.map_err(|error| error.to_string())?;
        let address = address(&engine).await?;
        clean(&engine).await.map_err(|error| error.to_string())?;
        let root = image::root().map_err(|error| format!("no image can be made of this program: {error}"))?;
        let image_bytes = root.len();
        engine.import_image(IMAGE, root, &image::changes(OWNER)).await.map_err(|error| error.to_string())?;
        let endpoint = Endpoint::Unix(socket.clone());
        let [store, api, web] = free_ports(address)?;
        let engine: Arc<dyn Engine> = Arc::new(engine);
        Ok(Self {
            kind: Kind::Docker { version: about.version, socket, image_bytes },
            endpoints: HOSTS.map(|host| (host, endpoint.clone())).into(),
            addresses: HOSTS.map(|host| (host, address)).into(),
            ports: Ports { store, api, web },
            engines: [(endpoint, engine)].into(),
        })
    }

    /// Inside this process, one engine for each host.
    pub fn in_memory(because: String) -> Self {
        let registry = MemoryRegistry::default();
        let mut endpoints = BTreeMap::new();
        let mut addresses = BTreeMap::new();
        let mut engines: BTreeMap<Endpoint, Arc<dyn Engine>> = BTreeMap::new();
        for (host, last) in HOSTS.into_iter().zip(11..) {
            let engine = MemoryEngine::new(host, &registry);
            engine.load(
                IMAGE,
                ImageScript::runs().healthy_after(Duration::from_millis(300)).prints("listening on port 8080"),
            );
            let endpoint = Endpoint::Memory(host.to_owned());
            endpoints.insert(host, endpoint.clone());
            addresses.insert(host, IpAddr::V4(Ipv4Addr::new(10, 0, 0, last)));
            engines.insert(endpoint, Arc::new(engine));
        }
        let ports = Ports { store: FIRST_PORT + 2, api: FIRST_PORT + 1, web: FIRST_PORT };
        Self { kind: Kind::InMemory { because }, endpoints, addresses, ports, engines }
    }

    /// How a site reaches these engines.
    pub fn connect(&self) -> Connect {
        let engines = self.engines.clone();
        Arc::new(move |_, endpoint| {
            engines.get(endpoint).cloned().ok_or_else(|| format!("{endpoint} is no engine of the demo"))
        })
    }

    /// Removes all that carries the demo's label, and its image.
    pub async fn clean(&self) -> Result<Removed, EngineError> {
        let mut all = Removed::default();
        for engine in self.engines.values() {
            let removed = clean(engine.as_ref()).await?;
            all =
                Removed { containers: all.containers + removed.containers, networks: all.networks + removed.networks };
        }
        Ok(all)
    }
}

/// Removes what any demo left on the engine of this machine. `Ok(None)`: there is no engine.
pub async fn clean_docker() -> Result<Option<Removed>, Trouble> {
    let Ok((engine, _)) = local_engine() else { return Ok(None) };
    match engine.about().await {
        Ok(_) => clean(&engine).await.map(Some).map_err(Trouble::world),
        Err(_) => Ok(None),
    }
}

/// The engine that listens at a socket of this machine. Nothing is opened yet.
fn local_engine() -> Result<(Docker, PathBuf), String> {
    let socket = match std::env::var("DOCKER_HOST").ok().filter(|host| !host.is_empty()) {
        None => PathBuf::from(SOCKET),
        Some(host) => match Endpoint::parse(&host) {
            Some(Endpoint::Unix(path)) => path,
            Some(Endpoint::Tcp(..) | Endpoint::Memory(_)) | None => {
                return Err(format!("DOCKER_HOST is {host}, and the demo deploys to this machine alone"));
            }
        },
    };
    if !Path::new(&socket).exists() {
        return Err(format!("there is no Docker at {}", socket.display()));
    }
    Ok((Docker::unix(&socket), socket))
}

async fn clean(engine: &dyn Engine) -> Result<Removed, EngineError> {
    let is_ours = |labels: &BTreeMap<String, String>| labels.get(LABEL_OWNER).map(String::as_str) == Some(OWNER);
    let mut removed = Removed::default();
    for container in engine.containers().await?.iter().filter(|container| is_ours(&container.labels)) {
        engine.stop(&container.id, GRACE).await?;
        engine.remove(&container.id).await?;
        removed.containers += 1;
    }
    for network in engine.networks().await?.iter().filter(|network| is_ours(&network.labels)) {
        engine.remove_network(&network.id).await?;
        removed.networks += 1;
    }
    if engine.image(IMAGE).await?.is_some() {
        engine.remove_image(IMAGE).await?;
    }
    Ok(removed)
}

/// The address that containers and this process reach alike: the machine's own on the engine's default bridge, which is
/// the first of its subnet.
async fn address(engine: &Docker) -> Result<IpAddr, String> {
    let networks = engine.networks().await.map_err(|error| error.to_string())?;
    let subnets = networks.iter().filter(|network| network.name == "bridge").flat_map(|network| &network.subnets);
    let first = subnets.filter_map(|subnet| first_address(subnet)).find(|address| is_of_this_machine(*address));
    first.map(IpAddr::V4).ok_or_else(|| {
        "its default bridge has no address on this machine, so that containers and the demo could not meet".to_owned()
    })
}

fn first_address(subnet: &str) -> Option<Ipv4Addr> {
    let network: Ipv4Addr = subnet.split('/').next()?.parse().ok()?;
    Some(Ipv4Addr::from(u32::from(network).checked_add(1)?))
}

fn is_of_this_machine(address: Ipv4Addr) -> bool {
    TcpListener::bind((address, 0)).is_ok()
}

/// Three ports that nobody listens at now, the usual ones if they are free.
fn free_ports(address: IpAddr) -> Result<[u16; 3], String> {
    // All are held until all are found, so that no port is found twice.
    let mut held: Vec<TcpListener> = Vec::new();
    let usual = (FIRST_PORT..FIRST_PORT + 3).rev();
    for port in usual {
        let listener = TcpListener::bind((address, port)).or_else(|_| TcpListener::bind((address, 0)));
        held.push(listener.map_err(|error| format!("no port of {address} is free: {error}"))?);
    }
    let ports: Result<Vec<u16>, _> = held.iter().map(|listener| listener.local_addr().map(|at| at.port())).collect();
    let ports = ports.map_err(|error| error.to_string())?;
    Ok([ports[0], ports[1], ports[2]])
}

#[cfg(test)]
mod tests {
    use super::first_address;

    #[test]
    fn the_bridge_has_the_first_address_of_its_subnet() {
        assert_eq!(first_address("172.17.0.0/16").map(|a| a.to_string()), Some("172.17.0.1".to_owned()));
        assert_eq!(first_address("fd00::/64"), None);
    }
}
