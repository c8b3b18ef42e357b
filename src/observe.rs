//! Looks at the fleet: which containers, networks and volumes its engines hold.
//!
//! Takes the hosts and the engines. Gives a [`World`] in which a host that did not answer is *unreachable*, never empty.
//!
//! Because a pass with nothing to do must be cheap, containers and volumes are listed each time and the rest only when it
//! may have changed: after a step on that engine, and every [`FULL_LOOK_EVERY`]. Volumes, because an engine makes an empty
//! one for a container whose volume went, without being asked.

pub mod images;
pub mod names;
pub mod usage;
pub mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::engine::{Engine, EngineError, Engines};
use crate::model::desired::Inventory;
use crate::model::host::{Endpoint, HostStatus};
use crate::model::world::{EngineSeen, EngineView, World};
use crate::name::HostName;

/// Somebody may have removed a network by hand without any event reaching us.
pub const FULL_LOOK_EVERY: Duration = Duration::from_secs(60);

/// Remembers the slow-moving parts of what engines hold, and which engines do not answer.
#[derive(Debug)]
pub struct Observer {
    /// How long a pass waits for one engine. One that hangs must not delay the stacks on the others.
    patience: Duration,
    known: BTreeMap<Endpoint, Known>,
    /// Engines that did not answer, and how. They are not waited for until [`Observer::knock`] hears from them.
    silent: BTreeMap<Endpoint, String>,
    /// The engines that the last look was at.
    looked_at: BTreeSet<Endpoint>,
    begun: Begun,
}

/// Looks that are under way.
#[derive(Debug, Default)]
struct Begun {
    endpoints: BTreeSet<Endpoint>,
    looks: JoinSet<(Endpoint, Result<Known, String>)>,
}

impl Begun {
    fn look(&mut self, endpoint: &Endpoint, engine: &Arc<dyn Engine>, known: Option<Known>, patience: Duration) {
        if !self.endpoints.insert(endpoint.clone()) {
            return;
        }
        let (endpoint, engine) = (endpoint.clone(), engine.clone());
        self.looks.spawn(async move {
            let seen = within(patience, look(engine, known)).await;
            (endpoint, seen)
        });
    }
}

#[derive(Debug, Clone)]
struct Known {
    seen: Arc<EngineSeen>,
    /// When everything was last asked for; none: what moves slowly may have changed since.
    at: Option<Instant>,
}

impl Known {
    fn is_fresh(&self) -> bool {
        self.at.is_some_and(|at| at.elapsed() < FULL_LOOK_EVERY)
    }
}

/// What an engine answers, or why it does not.
async fn within<T>(patience: Duration, answer: impl Future<Output = Result<T, EngineError>>) -> Result<T, String> {
    match timeout(patience, answer).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err(format!("it did not answer within {} s", patience.as_secs_f64())),
    }
}

impl Observer {
    /// Waits so long for each engine.
    pub fn waiting(patience: Duration) -> Self {
        Self {
            patience,
            known: BTreeMap::new(),
            silent: BTreeMap::new(),
            looked_at: BTreeSet::new(),
            begun: Begun::default(),
        }
    }

    /// Networks of this engine may have changed.
    pub fn forget(&mut self, endpoint: &Endpoint) {
        if let Some(known) = self.known.get_mut(endpoint) {
            known.at = None;
        }
    }

    /// Begins to look at the engines that the last look was at, for [`Observer::observe`] to end it: what else a pass reads is read meanwhile.
    pub fn begin(&mut self, engines: &Engines) {
        // What a pass began that was given up is too old.
        self.begun = Begun::default();
        let again = self.looked_at.iter().filter(|endpoint| !self.silent.contains_key(*endpoint));
        for (endpoint, engine) in again.filter_map(|endpoint| engines.get_key_value(endpoint)) {
            self.begun.look(endpoint, engine, self.known.get(endpoint).cloned(), self.patience);
        }
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
        let mut begun = std::mem::take(&mut self.begun);
        self.looked_at.clear();
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
            begun.look(&endpoint, engine, self.known.get(&endpoint).cloned(), self.patience);
            self.looked_at.insert(endpoint);
        }
        let mut missing = self.looked_at.len();
        while missing > 0 {
            let look = begun.looks.join_next().await.expect("every engine that is looked at has a look");
            let (endpoint, seen) = look.expect("a look does not panic");
            // Begun for the inventory before this one.
            if !self.looked_at.contains(&endpoint) {
                continue;
            }
            missing -= 1;
            let view = match seen {
                Ok(known) => {
                    let view = EngineView::Seen(known.seen.clone());
                    self.known.insert(endpoint.clone(), known);
                    view
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

/// Asks every engine whether it is there, side by side, and waits so long for each.
pub async fn knock(engines: &Engines, patience: Duration) -> BTreeMap<Endpoint, Result<(), String>> {
    let asked = engines.iter().map(|(endpoint, engine)| async move {
        let answer = within(patience, engine.about()).await.map(|_| ());
        (endpoint.clone(), answer)
    });
    futures_util::future::join_all(asked).await.into_iter().collect()
}

/// The containers of some engines, and nothing else of them: what a stack looks like after its steps.
pub async fn glance(hosts: &BTreeMap<HostName, Endpoint>, engines: &Engines, patience: Duration) -> World {
    let endpoints: BTreeSet<&Endpoint> = hosts.values().collect();
    let asked = endpoints.into_iter().map(|endpoint| async move {
        let view = match engines.get(endpoint) {
            None => EngineView::Unreachable("there is no connection to it".to_owned()),
            Some(engine) => match within(patience, engine.containers()).await {
                Ok(containers) => EngineView::Seen(Arc::new(EngineSeen { containers, ..EngineSeen::default() })),
                Err(why) => EngineView::Unreachable(why),
            },
        };
        (endpoint.clone(), view)
    });
    let engines = futures_util::future::join_all(asked).await.into_iter().collect();
    World { engines, hosts: hosts.clone(), ..World::default() }
}

/// What an engine holds now. Where that is what it held before, it is the same value: whoever compares looks at nothing.
async fn look(engine: Arc<dyn Engine>, known: Option<Known>) -> Result<Known, EngineError> {
    let (seen, at) = match known.as_ref().filter(|known| known.is_fresh()) {
        Some(known) => {
            let (containers, volumes) = tokio::try_join!(engine.containers(), engine.volumes())?;
            if containers == known.seen.containers && volumes == known.seen.volumes {
                return Ok(known.clone());
            }
            let (about, networks) = (known.seen.about.clone(), known.seen.networks.clone());
            (EngineSeen { about, containers, networks, volumes }, known.at)
        }
        None => {
            let (about, containers, networks, volumes) =
                tokio::try_join!(engine.about(), engine.containers(), engine.networks(), engine.volumes())?;
            (EngineSeen { about, containers, networks, volumes }, Some(Instant::now()))
        }
    };
    let same = known.map(|known| known.seen).filter(|known| **known == seen);
    Ok(Known { seen: same.unwrap_or_else(|| Arc::new(seen)), at })
}
