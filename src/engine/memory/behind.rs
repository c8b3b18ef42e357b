//! What happens to a simulated machine behind our back, and looks at it that no engine gives.
//!
//! Because tests must do to it what people, other programs and power cuts do to a real one.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use super::machine::refused;
use super::script::ImageScript;
use super::{MemoryEngine, life::Phase};
use crate::engine::EngineError;
use crate::model::request::{ContainerRequest, NetworkAttachment, ResolvedImage};
use crate::model::stack::{Protocol, Restart, Settings};
use crate::model::world::{EngineSeen, VolumeSeen};
use crate::name::ContainerName;

/// How an engine ended, which decides what it does with its containers when it is back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineEnd {
    /// It starts again what was not stopped.
    Stopped,
    /// It leaves everything exited.
    Killed,
}

impl MemoryEngine {
    /// `docker kill`: it stays exited, with 137, under every restart policy.
    ///
    /// # Errors
    /// When there is none, or it does not run; so for all of these.
    pub fn kill(&self, id: &str) -> Result<(), EngineError> {
        self.end_behind(id, 137)
    }

    /// `docker stop`: it stays exited, with 143.
    pub fn stop_behind(&self, id: &str) -> Result<(), EngineError> {
        self.end_behind(id, 143)
    }

    /// Its process ends by itself with this code; its restart policy decides what then.
    pub fn crash(&self, id: &str, code: i64) -> Result<(), EngineError> {
        self.with(|machine, now| {
            let container = machine.find_mut("crash", id)?;
            let id = container.id.clone();
            machine.exit(&id, code, now);
            Ok(())
        })
    }

    /// Says so many times that something happened to it, whether it did or not.
    pub fn tell_of(&self, id: &str, action: &str, times: usize) -> Result<(), EngineError> {
        self.with(|machine, _| {
            let container = machine.find_mut("tell", id)?.clone();
            (0..times).for_each(|_| machine.tell(&container, action, None));
            Ok(())
        })
    }

    /// `docker rm -f`.
    pub fn remove_behind(&self, id: &str) -> Result<(), EngineError> {
        self.with(|machine, _| {
            let container = machine.find_mut("remove", id)?;
            let id = container.id.clone();
            if matches!(container.life.phase, Phase::Running { .. } | Phase::Waiting { .. }) {
                machine.end(&id, 137);
            }
            machine.remove(&id)
        })
    }

    /// A running container of somebody else. Gives its id.
    pub fn add_foreign(&self, name: &str, labels: BTreeMap<String, String>) -> Result<String, EngineError> {
        self.with(|machine, now| {
            let name = ContainerName::new(name).map_err(|error| refused("create", 400, format!("{name} {error}")))?;
            let image = machine.hold_image(Some("foreign:latest".to_owned()), None, ImageScript::runs());
            let request = ContainerRequest {
                name,
                image: "foreign".to_owned(),
                resolved: ResolvedImage::Local(image),
                labels,
                environment: BTreeMap::new(),
                command: None,
                entrypoint: None,
                user: None,
                working_dir: None,
                health: None,
                restart: Restart::No,
                stop_grace_period: Duration::from_secs(10),
                mounts: Vec::new(),
                ports: Vec::new(),
                network: NetworkAttachment::None,
                extra_hosts: Vec::new(),
                settings: Settings::default(),
                cpu_limit: None,
                memory_limit: None,
            };
            let id = machine.create(&request)?;
            machine.start(&id, now)?;
            Ok(id)
        })
    }

    /// A network of somebody else, also where there is one of that name. Gives its id.
    pub fn add_network(&self, name: &str, labels: BTreeMap<String, String>) -> String {
        self.with(|machine, _| {
            let used: Vec<String> = machine.networks.iter().flat_map(|n| n.subnets.clone()).collect();
            let subnet = super::subnets::free(used.iter().map(String::as_str)).unwrap_or_default();
            machine.add_network(name, labels, subnet)
        })
    }

    /// `docker volume create`.
    pub fn add_volume(&self, name: &str) {
        let volume = VolumeSeen { name: name.to_owned(), driver: "local".to_owned(), labels: BTreeMap::new() };
        self.with(|machine, _| machine.volumes.insert(name.to_owned(), volume));
    }

    /// All containers and volumes go. The networks stay: one that is missing would be noticed, and hide what is not.
    pub fn lose_data(&self) {
        self.with(|machine, _| {
            machine.containers.clear();
            machine.volumes.clear();
        });
    }

    /// `docker network prune`: a network on which nothing runs goes, and whatever was stopped on it cannot be started again.
    pub fn prune_networks(&self) {
        self.with(|machine, _| {
            let ids: Vec<String> = machine.networks.iter().map(|network| network.id.clone()).collect();
            for id in ids {
                // One that is in use stays.
                let _ = machine.remove_network(&id);
            }
        });
    }

    /// `docker network disconnect`.
    pub fn disconnect(&self, id: &str, network: &str) -> Result<(), EngineError> {
        self.with(|machine, _| {
            let ids: BTreeSet<String> =
                machine.networks.iter().filter(|n| n.name == network).map(|n| n.id.clone()).collect();
            let container = machine.find_mut("disconnect", id)?;
            container.endpoints.retain(|id, _| !ids.contains(id));
            Ok(())
        })
    }

    /// A program that is no container listens.
    pub fn take_port(&self, address: IpAddr, port: u16, protocol: Protocol) {
        self.with(|machine, _| machine.taken_ports.insert((address, port, protocol)));
    }

    pub fn free_port(&self, address: IpAddr, port: u16, protocol: Protocol) {
        self.with(|machine, _| machine.taken_ports.remove(&(address, port, protocol)));
    }

    /// Ports can be published on these addresses only.
    pub fn set_addresses(&self, addresses: BTreeSet<IpAddr>) {
        self.with(|machine, _| machine.addresses = Some(addresses));
    }

    /// The engine ends and is there again; streams break.
    pub fn restart_engine(&self, end: EngineEnd) {
        self.with(|machine, now| {
            let up: Vec<(String, Restart)> = machine
                .containers
                .values()
                .filter(|c| matches!(c.life.phase, Phase::Running { .. } | Phase::Waiting { .. }))
                .map(|c| (c.id.clone(), c.request.restart))
                .collect();
            for (id, restart) in up {
                machine.end(&id, 0);
                match (end, restart) {
                    (EngineEnd::Stopped, Restart::UnlessStopped) => machine.start_again(&id, now),
                    (EngineEnd::Stopped, Restart::OnFailure | Restart::No) | (EngineEnd::Killed, _) => {}
                }
            }
        });
        self.break_streams();
    }

    /// Who answers to a name on a network: names of running containers, in order.
    pub fn who_answers(&self, network: &str, name: &str) -> Vec<String> {
        self.with(|machine, _| {
            let answers = |c: &&super::machine::Container| {
                c.endpoints.iter().any(|(id, endpoint)| {
                    let is_there = machine.networks.iter().any(|n| &n.id == id && n.name == network);
                    is_there && endpoint.address.is_some() && (endpoint.aliases.contains(name) || c.name == name)
                })
            };
            let names: BTreeSet<String> = machine.containers.values().filter(answers).map(|c| c.name.clone()).collect();
            names.into_iter().collect()
        })
    }

    /// The environment that a container was created with, as `docker inspect` would show it.
    pub fn environment(&self, id: &str) -> BTreeMap<String, String> {
        self.with(|machine, _| {
            let request = machine.find(id).map(|c| c.request.environment.clone());
            let exposed = request.unwrap_or_default().into_iter();
            exposed.map(|(key, value)| (key, value.expose().clone())).collect()
        })
    }

    /// All that it holds, whatever faults are in force.
    pub fn holds(&self) -> EngineSeen {
        let about = self.0.about.clone();
        self.with(|machine, now| EngineSeen {
            about,
            containers: machine.list(now),
            networks: machine.networks.clone(),
            volumes: machine.volumes.values().cloned().collect(),
        })
    }

    /// Whether a container runs and would pass its health check now, whoever makes it.
    pub fn is_well(&self, id: &str) -> bool {
        self.with(|machine, now| {
            machine.find(id).is_some_and(|container| match container.life.phase {
                Phase::Running { since, .. } => container.life.script.is_well(now.duration_since(since)),
                Phase::Created | Phase::Waiting { .. } | Phase::Exited { .. } => false,
            })
        })
    }

    /// The names that a container answers to beside its own, on all networks.
    pub fn aliases(&self, id: &str) -> BTreeSet<String> {
        self.with(|machine, _| {
            let endpoints = machine.find(id).into_iter().flat_map(|container| container.endpoints.values());
            endpoints.flat_map(|endpoint| endpoint.aliases.iter().cloned()).collect()
        })
    }

    fn end_behind(&self, id: &str, code: i64) -> Result<(), EngineError> {
        self.with(|machine, _| {
            let container = machine.find_mut("kill", id)?;
            let id = container.id.clone();
            if !matches!(container.life.phase, Phase::Running { .. } | Phase::Waiting { .. }) {
                return Err(refused("kill", 409, format!("container {id} is not running")));
            }
            machine.end(&id, code);
            Ok(())
        })
    }
}
