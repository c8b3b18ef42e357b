//! Looks at the fleet: which containers, networks and volumes its engines hold.
//!
//! Takes the hosts and the engines. Gives a [`World`] in which a host that did not answer is *unreachable*, never empty.
//!
//! Because a pass with nothing to do must be cheap, containers are listed each time and the rest only when it may have
//! changed: after a step on that engine, and every [`FULL_LOOK_EVERY`].

pub mod images;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::apply::Engines;
use crate::engine::{Engine, EngineError};
use crate::model::desired::Inventory;
use crate::model::host::{Endpoint, HostStatus};
use crate::model::world::{About, EngineSeen, EngineView, NetworkSeen, VolumeSeen, World};

/// Somebody may have removed a network or a volume by hand without any event reaching us.
pub const FULL_LOOK_EVERY: Duration = Duration::from_secs(60);

/// Remembers the slow-moving parts of what engines hold.
#[derive(Debug, Default)]
pub struct Observer {
    known: BTreeMap<Endpoint, Known>,
}

#[derive(Debug, Clone)]
struct Known {
    about: About,
    networks: Vec<NetworkSeen>,
    volumes: Vec<VolumeSeen>,
    at: Instant,
}

impl Observer {
    /// Networks and volumes of this engine may have changed.
    pub fn forget(&mut self, endpoint: &Endpoint) {
        self.known.remove(endpoint);
    }

    /// One look at all hosts of the inventory that have an endpoint, side by side.
    pub async fn observe(&mut self, inventory: &Inventory, engines: &Engines) -> World {
        let mut world = World::default();
        for host in inventory.hosts.values() {
            if let Some(endpoint) = &host.endpoint {
                world.hosts.insert(host.name.clone(), endpoint.clone());
            }
        }
        let offline: BTreeSet<&Endpoint> = inventory
            .hosts
            .values()
            .filter(|host| host.status == HostStatus::Offline)
            .filter_map(|host| host.endpoint.as_ref())
            .collect();
        let mut looks = JoinSet::new();
        let endpoints: BTreeSet<Endpoint> = world.hosts.values().cloned().collect();
        for endpoint in endpoints {
            if offline.contains(&endpoint) {
                world.engines.insert(endpoint, EngineView::Unreachable("its host file says `offline`".to_owned()));
                continue;
            }
            match engines.get(&endpoint) {
                None => {
                    let why = "there is no connection to it".to_owned();
                    world.engines.insert(endpoint, EngineView::Unreachable(why));
                }
                Some(engine) => {
                    let engine = engine.clone();
                    let known = self.known.get(&endpoint).filter(|k| k.at.elapsed() < FULL_LOOK_EVERY).cloned();
                    looks.spawn(async move { (endpoint, look(engine, known).await) });
                }
            }
        }
        while let Some(look) = looks.join_next().await {
            let (endpoint, seen) = look.expect("a look does not panic");
            let view = match seen {
                Ok((seen, known)) => {
                    self.known.insert(endpoint.clone(), known);
                    EngineView::Seen(seen)
                }
                Err(error) => {
                    self.known.remove(&endpoint);
                    EngineView::Unreachable(error.to_string())
                }
            };
            world.engines.insert(endpoint, view);
        }
        world
    }
}

async fn look(engine: Arc<dyn Engine>, known: Option<Known>) -> Result<(EngineSeen, Known), EngineError> {
    let (containers, known) = match known {
        Some(known) => (engine.containers().await?, known),
        None => {
            let (about, containers, networks, volumes) =
                tokio::try_join!(engine.about(), engine.containers(), engine.networks(), engine.volumes())?;
            (containers, Known { about, networks, volumes, at: Instant::now() })
        }
    };
    let seen = EngineSeen {
        about: known.about.clone(),
        containers,
        networks: known.networks.clone(),
        volumes: known.volumes.clone(),
    };
    Ok((seen, known))
}
