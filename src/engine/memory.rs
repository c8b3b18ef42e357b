//! An engine in this process, for laws, transcripts and the demonstration without Docker.
//!
//! Takes the calls of [`Engine`], scripts of images, faults, and what happens behind our back. Gives what Docker would:
//! one contract holds for both (`tests/contract.rs`).
//!
//! Never runs anything in the background and reads no clock but tokio's, so that paused time works and two runs of one
//! script are the same.

pub mod behind;
pub mod faults;
pub mod life;
pub mod machine;
pub mod registry;
pub mod script;
mod streams;
mod subnets;

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use crate::engine::{
    ContainerDetail, Engine, EngineError, EngineEvent, ExecOutcome, ExecRequest, ImageDetail, Locality, RegistryLogin,
    Usage, deadline,
};
use crate::model::request::{ContainerRequest, NetworkRequest, VolumeRequest};
use crate::model::world::{About, ContainerSeen, NetworkSeen, VolumeSeen};
use crate::name::ContainerName;
use crate::name::image::ImageRef;

use faults::{Call, CallRecord, Fault, FaultId, Faults, Times, Which};
use life::Phase;
use machine::{Machine, refused};
use registry::{MemoryRegistry, tagged};
use script::{ExecScript, ImageScript};

/// One simulated engine. Clones are the same engine.
#[derive(Clone)]
pub struct MemoryEngine(Arc<Shared>);

struct Shared {
    about: About,
    registry: MemoryRegistry,
    inside: Mutex<Inside>,
    /// Something changed: streams look again.
    changed: Notify,
}

struct Inside {
    machine: Machine,
    faults: Faults,
    calls: Vec<CallRecord>,
    writes: u64,
    /// Streams that began under an earlier number are broken.
    era: u64,
}

/// As large as a small server.
const CPU: u64 = 4000;
const MEMORY: u64 = 8 << 30;

impl std::fmt::Debug for MemoryEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MemoryEngine({})", self.0.about.id)
    }
}

impl MemoryEngine {
    /// An empty engine on a machine of 4 cores and 8 GiB. `name` becomes its id.
    pub fn new(name: &str, registry: &MemoryRegistry) -> Self {
        let about = About {
            id: name.to_owned(),
            version: "memory".to_owned(),
            api_version: "1.41".to_owned(),
            cpu: CPU,
            memory: MEMORY,
        };
        Self::with_about(about, registry)
    }

    pub fn with_about(about: About, registry: &MemoryRegistry) -> Self {
        let inside = Inside {
            machine: Machine::new(&about.id),
            faults: Faults::default(),
            calls: Vec::new(),
            writes: 0,
            era: 0,
        };
        Self(Arc::new(Shared { about, registry: registry.clone(), inside: Mutex::new(inside), changed: Notify::new() }))
    }

    /// Puts an image on the machine that no registry vouches for. Gives its id.
    ///
    /// # Panics
    /// When the text is not an image reference.
    pub fn load(&self, text: &str, script: ImageScript) -> String {
        let image = ImageRef::new(text).expect("a loaded image has a valid reference");
        self.with(|machine, _| machine.hold_image(Some(tagged(&image)), None, script))
    }

    /// Lets calls go wrong from now on.
    pub fn fault(&self, fault: Fault, which: Which, times: Times) -> FaultId {
        let breaks_streams = fault == Fault::Down;
        let id = {
            let inside = &mut *self.lock();
            inside.machine.advance(Instant::now());
            inside.faults.add(fault, which, times, &inside.machine)
        };
        if breaks_streams {
            self.break_streams();
        }
        id
    }

    pub fn lift(&self, fault: FaultId) {
        self.lock().faults.lift(fault);
    }

    pub fn lift_all(&self) {
        self.lock().faults.lift_all();
    }

    /// All calls since the last [`MemoryEngine::forget_calls`], in order.
    pub fn calls(&self) -> Vec<CallRecord> {
        self.lock().calls.clone()
    }

    /// How many of them might have changed something.
    pub fn writes(&self) -> u64 {
        self.lock().writes
    }

    pub fn forget_calls(&self) {
        let inside = &mut *self.lock();
        inside.calls.clear();
        inside.writes = 0;
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.0.inside.lock().expect("nothing panics while it holds the machine")
    }

    /// Acts on the machine as it is now.
    fn with<T>(&self, act: impl FnOnce(&mut Machine, Instant) -> T) -> T {
        let now = Instant::now();
        let done = {
            let inside = &mut *self.lock();
            inside.machine.advance(now);
            act(&mut inside.machine, now)
        };
        self.0.changed.notify_waiters();
        done
    }

    fn break_streams(&self) {
        self.lock().era += 1;
        self.0.changed.notify_waiters();
    }

    /// Carries a call out, or the fault that strikes it.
    async fn call<T>(
        &self,
        call: Call,
        subject: &str,
        limit: Duration,
        act: impl FnOnce(&mut Machine, Instant) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        let strike = {
            let inside = &mut *self.lock();
            let strike = inside.faults.strike(call);
            let arrives = !matches!(&strike, Some(s) if s.fault == Fault::Down);
            if arrives {
                inside.calls.push(CallRecord { call, subject: subject.to_owned() });
                inside.writes += u64::from(call.is_write());
            }
            strike
        };
        let name = call.as_str();
        let timeout = || EngineError::Timeout { call: name, limit };
        let Some(strike) = strike else { return self.with(act) };
        match strike.fault {
            Fault::Refuse(why) => Err(refused(name, 400, why)),
            Fault::Fail(why) => Err(EngineError::Failed { call: name, why }),
            Fault::Hang => {
                sleep(limit).await;
                Err(timeout())
            }
            Fault::ReplyLost => {
                self.with(act)?;
                let why = "the connection broke before the reply".to_owned();
                Err(EngineError::Unreachable { why })
            }
            Fault::Late(delay) => {
                sleep(delay.min(limit)).await;
                let done = self.with(act);
                if delay < limit { done } else { Err(timeout()) }
            }
            Fault::Stale => match (call, strike.snapshot) {
                (Call::Containers | Call::Networks | Call::Volumes, Some(mut then)) => act(&mut then, Instant::now()),
                _ => self.with(act),
            },
            Fault::Down => Err(EngineError::Unreachable { why: "connection refused".to_owned() }),
        }
    }
}

#[async_trait]
impl Engine for MemoryEngine {
    async fn about(&self) -> Result<About, EngineError> {
        let about = self.0.about.clone();
        self.call(Call::About, "", deadline::PING, |_, _| Ok(about)).await
    }

    async fn containers(&self) -> Result<Vec<ContainerSeen>, EngineError> {
        self.call(Call::Containers, "", deadline::READ, |machine, now| Ok(machine.list(now))).await
    }

    async fn networks(&self) -> Result<Vec<NetworkSeen>, EngineError> {
        self.call(Call::Networks, "", deadline::READ, |machine, _| Ok(machine.networks.clone())).await
    }

    async fn volumes(&self) -> Result<Vec<VolumeSeen>, EngineError> {
        self.call(Call::Volumes, "", deadline::READ, |machine, _| Ok(machine.volumes.values().cloned().collect())).await
    }

    async fn container(&self, id: &str) -> Result<Option<ContainerDetail>, EngineError> {
        self.call(Call::Container, id, deadline::READ, |machine, now| {
            Ok(machine.find(id).map(|container| machine.detail(container, now)))
        })
        .await
    }

    async fn image(&self, reference: &str) -> Result<Option<ImageDetail>, EngineError> {
        self.call(Call::Image, reference, deadline::READ, |machine, _| Ok(machine.image(reference))).await
    }

    async fn ask_registry(&self, image: &ImageRef, _: Option<&RegistryLogin>) -> Result<String, EngineError> {
        self.call(Call::AskRegistry, image.as_str(), deadline::READ, |_, _| {
            self.0.registry.resolve(image).ok_or_else(|| unknown(image.as_str()))
        })
        .await
    }

    async fn pull(&self, reference: &str, _: Option<&RegistryLogin>) -> Result<(), EngineError> {
        self.call(Call::Pull, reference, deadline::PULL_SILENCE, |machine, _| {
            let image = ImageRef::new(reference).map_err(|_| unknown(reference))?;
            let resolved = self.0.registry.resolve(&image).ok_or_else(|| unknown(reference))?;
            let script = self.0.registry.image(&resolved).ok_or_else(|| unknown(reference))?;
            let tag = image.digest().is_none().then(|| tagged(&image));
            machine.hold_image(tag, Some(resolved), script);
            Ok(())
        })
        .await
    }

    async fn import_image(&self, reference: &str, _: Vec<u8>, _: &[String]) -> Result<(), EngineError> {
        self.call(Call::ImportImage, reference, deadline::PULL_SILENCE, |machine, _| {
            let image = ImageRef::new(reference)
                .map_err(|error| refused("import image", 400, format!("{reference} {error}")))?;
            machine.hold_image(Some(tagged(&image)), None, ImageScript::runs());
            Ok(())
        })
        .await
    }

    async fn remove_image(&self, reference: &str) -> Result<(), EngineError> {
        self.call(Call::RemoveImage, reference, deadline::CHANGE, |machine, _| machine.remove_image(reference)).await
    }

    async fn create_network(&self, request: &NetworkRequest) -> Result<String, EngineError> {
        self.call(Call::CreateNetwork, request.name.as_str(), deadline::CHANGE, |machine, _| {
            machine.create_network(request)
        })
        .await
    }

    async fn remove_network(&self, id: &str) -> Result<(), EngineError> {
        self.call(Call::RemoveNetwork, id, deadline::CHANGE, |machine, _| machine.remove_network(id)).await
    }

    async fn create_volume(&self, request: &VolumeRequest) -> Result<(), EngineError> {
        self.call(Call::CreateVolume, request.name.as_str(), deadline::CHANGE, |machine, _| {
            machine.create_volume(request);
            Ok(())
        })
        .await
    }

    async fn create(&self, request: &ContainerRequest) -> Result<String, EngineError> {
        self.call(Call::Create, request.name.as_str(), deadline::CHANGE, |machine, _| machine.create(request)).await
    }

    async fn start(&self, id: &str) -> Result<(), EngineError> {
        self.call(Call::Start, id, deadline::CHANGE, |machine, now| machine.start(id, now)).await
    }

    async fn stop(&self, id: &str, grace: Duration) -> Result<(), EngineError> {
        let limit = deadline::stop(grace);
        let takes = self.call(Call::Stop, id, limit, |machine, now| Ok(machine.begin_to_stop(id, grace, now))).await?;
        if let Some(takes) = takes {
            sleep(takes).await;
            self.with(|_, _| ());
        }
        Ok(())
    }

    async fn remove(&self, id: &str) -> Result<(), EngineError> {
        self.call(Call::Remove, id, deadline::CHANGE, |machine, _| machine.remove(id)).await
    }

    async fn rename(&self, id: &str, name: &ContainerName) -> Result<(), EngineError> {
        self.call(Call::Rename, id, deadline::CHANGE, |machine, _| machine.rename(id, name.as_str())).await
    }

    async fn set_aliases(&self, id: &str, network: &str, aliases: &[String]) -> Result<(), EngineError> {
        self.call(Call::SetAliases, id, deadline::CHANGE, |machine, _| machine.set_aliases(id, network, aliases)).await
    }

    async fn exec(&self, id: &str, request: &ExecRequest) -> Result<ExecOutcome, EngineError> {
        let limit = deadline::exec(request.timeout);
        let script = self.call(Call::Exec, id, limit, |machine, now| begin_exec(machine, now, id, request)).await?;
        sleep(script.takes.min(request.timeout)).await;
        let in_time = script.takes <= request.timeout;
        Ok(ExecOutcome { code: in_time.then_some(script.code), output: script.output })
    }

    async fn commands_running(&self, id: &str) -> Result<Vec<Vec<String>>, EngineError> {
        self.call(Call::CommandsRunning, id, deadline::READ, |machine, _| {
            let container = machine.find_mut("look at commands", id)?;
            Ok(container.execs.iter().map(|(command, _)| command.clone()).collect())
        })
        .await
    }

    async fn logs(&self, id: &str, lines: u32) -> Result<Vec<String>, EngineError> {
        self.call(Call::Logs, id, deadline::READ, |machine, _| {
            let log = &machine.find_mut("logs", id)?.log;
            let from = log.len().saturating_sub(usize::try_from(lines).unwrap_or(usize::MAX));
            Ok(log[from..].to_vec())
        })
        .await
    }

    async fn follow_logs(
        &self,
        id: &str,
        lines: u32,
    ) -> Result<BoxStream<'static, Result<String, EngineError>>, EngineError> {
        let (id, from) = self
            .call(Call::Logs, id, deadline::READ, |machine, _| {
                let container = machine.find_mut("logs", id)?;
                let lines = usize::try_from(lines).unwrap_or(usize::MAX);
                Ok((container.id.clone(), container.log.len().saturating_sub(lines)))
            })
            .await?;
        Ok(streams::log(self.clone(), id, from))
    }

    async fn usage(&self, id: &str) -> Result<Usage, EngineError> {
        let usage = self
            .call(Call::Usage, id, deadline::READ, |machine, _| {
                let life = &machine.find_mut("usage", id)?.life;
                let is_up = matches!(life.phase, Phase::Running { .. });
                Ok(if is_up { life.script.usage } else { Usage { cpu: 0, memory: 0 } })
            })
            .await?;
        sleep(Duration::from_secs(1)).await;
        Ok(usage)
    }

    async fn events(&self) -> Result<BoxStream<'static, Result<EngineEvent, EngineError>>, EngineError> {
        let from = self.call(Call::Events, "", deadline::READ, |machine, _| Ok(machine.events.len())).await?;
        Ok(streams::events(self.clone(), from))
    }

    fn locality(&self) -> Locality {
        Locality::Simulated
    }
}

fn begin_exec(machine: &mut Machine, now: Instant, id: &str, request: &ExecRequest) -> Result<ExecScript, EngineError> {
    let container = machine.find_mut("exec", id)?;
    let Phase::Running { since, .. } = container.life.phase else {
        let why = format!("Container {} is not running", container.id);
        return Err(refused("exec", 409, why));
    };
    let script = &container.life.script;
    let unscripted = || ExecScript {
        code: i64::from(!script.is_well(now.duration_since(since))),
        output: String::new(),
        takes: Duration::ZERO,
    };
    let script = script.execs.get(&request.command).cloned().unwrap_or_else(unscripted);
    container.execs.push((request.command.clone(), now + script.takes));
    Ok(script)
}

fn unknown(image: &str) -> EngineError {
    EngineError::ImageMissing { image: image.to_owned(), why: "manifest unknown".to_owned() }
}
