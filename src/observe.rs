//! Looks at the fleet: which containers, networks and volumes its engines hold.
//!
//! Takes the hosts and the engines. Gives a [`World`] in which a host that did not answer is *unreachable*, never empty.
//!
//! Because a pass with nothing to do must be cheap, containers are listed each time and the rest only when it may have
//! changed: after a step on that engine, and every [`FULL_LOOK_EVERY`].

pub mod images;
pub mod usage;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::engine::{Engine, EngineError, Engines};
use crate::model::desired::Inventory;
use crate::model::host::{Endpoint, HostStatus};
use crate::model::world::{About, EngineSeen, EngineView, NetworkSeen, VolumeSeen, World};
use crate::name::HostName;

/// Somebody may have removed a network or a volume by hand without any event reaching us.
pub const FULL_LOOK_EVERY: Duration = Duration::from_secs(60);

/// How long a pass waits for one engine. An engine that hangs must not delay the stacks on the others, and one that is
/// well lists a hundred containers in 5 ms.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// Remembers the slow-moving parts of what engines hold, and which engines do not answer.
#[derive(Debug, Default)]
pub struct Observer {
    known: BTreeMap<Endpoint, Known>,
    /// Engines that did not answer, and how. They are not waited for until [`Observer::knock`] hears from them.
    silent: BTreeMap<Endpoint, String>,
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
            let (Some(engine), None) = (engines.get(&endpoint), self.silent.get(&endpoint)) else {
                let why = self.silent.get(&endpoint).map_or("there is no connection to it", String::as_str);
                world.engines.insert(endpoint, EngineView::Unreachable(why.to_owned()));
                continue;
            };
            let engine = engine.clone();
            let known = self.known.get(&endpoint).filter(|k| k.at.elapsed() < FULL_LOOK_EVERY).cloned();
            looks.spawn(async move {
                let seen = timeout(PATIENCE, look(engine, known)).await;
                (endpoint, seen.map_err(|_| format!("it did not answer within {} s", PATIENCE.as_secs())))
            });
        }
        while let Some(look) = looks.join_next().await {
            let (endpoint, seen) = look.expect("a look does not panic");
            let view = match seen.and_then(|seen| seen.map_err(|error| error.to_string())) {
                Ok((seen, known)) => {
                    self.known.insert(endpoint.clone(), known);
                    EngineView::Seen(seen)
                }
                Err(why) => {
                    self.known.remove(&endpoint);
                    self.silent.insert(endpoint.clone(), why.clone());
                    EngineView::Unreachable(why)
                }
            };
            world.engines.insert(endpoint, view);
        }
        world
    }

    /// Takes in what [`knock`] heard. Says whether something changed: an engine is back, or one fell silent.
    pub fn hear(&mut self, answers: BTreeMap<Endpoint, Result<(), String>>) -> bool {
        let mut changed = false;
        for (endpoint, answer) in answers {
            changed |= match answer {
                Ok(()) => self.silent.remove(&endpoint).is_some(),
                Err(why) => self.silent.insert(endpoint, why).is_none(),
            };
        }
        changed
    }
}

/// Asks every engine whether it is there, side by side, for at most [`PATIENCE`].
pub async fn knock(engines: &Engines) -> BTreeMap<Endpoint, Result<(), String>> {
    let asked = engines.iter().map(|(endpoint, engine)| async {
        let answer = match timeout(PATIENCE, engine.about()).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("it did not answer within {} s", PATIENCE.as_secs())),
        };
        (endpoint.clone(), answer)
    });
    futures_util::future::join_all(asked).await.into_iter().collect()
}

/// The containers of some engines, and nothing else of them: what a stack looks like after its steps.
pub async fn glance(hosts: &BTreeMap<HostName, Endpoint>, engines: &Engines) -> World {
    let endpoints: BTreeSet<&Endpoint> = hosts.values().collect();
    let asked = endpoints.into_iter().map(|endpoint| async move {
        let view = match engines.get(endpoint) {
            None => EngineView::Unreachable("there is no connection to it".to_owned()),
            Some(engine) => match timeout(PATIENCE, engine.containers()).await {
                Ok(Ok(containers)) => EngineView::Seen(EngineSeen { containers, ..EngineSeen::default() }),
                Ok(Err(error)) => EngineView::Unreachable(error.to_string()),
                Err(_) => EngineView::Unreachable(format!("it did not answer within {} s", PATIENCE.as_secs())),
            },
        };
        (endpoint.clone(), view)
    });
    let engines = futures_util::future::join_all(asked).await.into_iter().collect();
    World { engines, hosts: hosts.clone(), images: BTreeMap::new() }
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
