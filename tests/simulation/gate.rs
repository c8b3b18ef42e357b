//! The wire between one controller and an engine: cut off, slow, watched, and where the controller may die.
//!
//! Because a crash tears the program apart between any two calls, each call counts twice: before it reaches the engine and
//! after it was carried out, when its answer is not heard any more.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bayplan::engine::memory::MemoryEngine;
use bayplan::engine::memory::faults::Call;
use bayplan::engine::{
    ContainerDetail, Engine, EngineError, EngineEvent, ExecOutcome, ExecRequest, ImageDetail, Locality, RegistryLogin,
    Usage,
};
use bayplan::model::host::Endpoint;
use bayplan::model::request::{ContainerRequest, NetworkRequest, VolumeRequest};
use bayplan::model::world::{About, ContainerSeen, NetworkSeen, VolumeSeen};
use bayplan::name::ContainerName;
use bayplan::name::image::ImageRef;
use futures_util::stream::BoxStream;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::eyes::Eyes;

/// All wires of one controller.
pub struct Wires {
    pub controller: usize,
    pub eyes: Arc<Eyes>,
    cut: Mutex<BTreeSet<Endpoint>>,
    /// Moments left until the controller dies.
    left: Mutex<Option<u64>>,
    /// How often engines were listed at this instant.
    lists: Mutex<(Instant, u32)>,
    pub died: Notify,
}

impl Wires {
    pub fn new(controller: usize, eyes: Arc<Eyes>, cut: BTreeSet<Endpoint>) -> Self {
        Self {
            controller,
            eyes,
            cut: Mutex::new(cut),
            left: Mutex::new(None),
            lists: Mutex::new((Instant::now(), 0)),
            died: Notify::new(),
        }
    }

    pub fn cut(&self, endpoint: &Endpoint) {
        self.cut.lock().expect(UNBROKEN).insert(endpoint.clone());
    }

    pub fn mend(&self) {
        self.cut.lock().expect(UNBROKEN).clear();
    }

    /// The controller dies after so many moments.
    pub fn doom(&self, moments: u64) {
        *self.left.lock().expect(UNBROKEN) = Some(moments);
    }

    /// A controller that looks and looks while no time passes never ends: it is stopped and said to be broken.
    async fn count_look(&self) {
        let count = {
            let lists = &mut *self.lists.lock().expect(UNBROKEN);
            *lists = (Instant::now(), if lists.0 == Instant::now() { lists.1 + 1 } else { 1 });
            lists.1
        };
        if count > MOST_LOOKS {
            self.eyes.note(Err(format!("it looks and looks: {count} times at one instant")));
            std::future::pending::<()>().await;
        }
    }

    fn is_cut(&self, endpoint: &Endpoint) -> bool {
        self.cut.lock().expect(UNBROKEN).contains(endpoint)
    }

    /// One moment passes. Whoever was to hear what follows never does if it was the last.
    async fn moment(&self) {
        let is_last = match &mut *self.left.lock().expect(UNBROKEN) {
            Some(0) => true,
            Some(left) => {
                *left -= 1;
                false
            }
            None => false,
        };
        if is_last {
            self.died.notify_one();
            std::future::pending::<()>().await;
        }
    }
}

/// Far more than a pass for each of all events that can come at once.
const MOST_LOOKS: u32 = 400;

/// A long story has a few hundred.
const MOST_WRITES: u64 = 20_000;

const UNBROKEN: &str = "nothing panics while it holds a wire";

/// One wire.
pub struct Gate {
    pub engine: MemoryEngine,
    pub endpoint: Endpoint,
    pub wires: Arc<Wires>,
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Gate({})", self.endpoint)
    }
}

impl Gate {
    async fn through<T>(
        &self,
        call: Call,
        subject: &str,
        work: impl Future<Output = Result<T, EngineError>>,
    ) -> Result<T, EngineError> {
        self.wires.moment().await;
        if call == Call::Containers {
            self.wires.count_look().await;
        }
        if self.wires.is_cut(&self.endpoint) {
            tokio::time::sleep(Duration::from_millis(2)).await;
            return Err(EngineError::Unreachable { why: "no route to host".to_owned() });
        }
        if call.is_write() {
            // Long enough for something to happen meanwhile.
            tokio::time::sleep(Duration::from_millis(1)).await;
        } else {
            tokio::task::yield_now().await;
        }
        let eyes = &self.wires.eyes;
        let before = call.is_write().then(|| eyes.before(&self.endpoint, call, subject));
        let done = work.await;
        if let Some(before) = before {
            let writes = eyes.after(self.wires.controller, before, done.is_ok());
            if writes > MOST_WRITES {
                eyes.note(Err(format!("it writes and writes: {writes} times")));
                std::future::pending::<()>().await;
            }
        }
        self.wires.moment().await;
        done
    }
}

#[async_trait]
impl Engine for Gate {
    async fn about(&self) -> Result<About, EngineError> {
        self.through(Call::About, "", self.engine.about()).await
    }

    async fn containers(&self) -> Result<Vec<ContainerSeen>, EngineError> {
        self.through(Call::Containers, "", self.engine.containers()).await
    }

    async fn networks(&self) -> Result<Vec<NetworkSeen>, EngineError> {
        self.through(Call::Networks, "", self.engine.networks()).await
    }

    async fn volumes(&self) -> Result<Vec<VolumeSeen>, EngineError> {
        self.through(Call::Volumes, "", self.engine.volumes()).await
    }

    async fn container(&self, id: &str) -> Result<Option<ContainerDetail>, EngineError> {
        self.through(Call::Container, id, self.engine.container(id)).await
    }

    async fn image(&self, reference: &str) -> Result<Option<ImageDetail>, EngineError> {
        self.through(Call::Image, reference, self.engine.image(reference)).await
    }

    async fn ask_registry(&self, image: &ImageRef, login: Option<&RegistryLogin>) -> Result<String, EngineError> {
        self.through(Call::AskRegistry, image.as_str(), self.engine.ask_registry(image, login)).await
    }

    async fn pull(&self, reference: &str, login: Option<&RegistryLogin>) -> Result<(), EngineError> {
        self.through(Call::Pull, reference, self.engine.pull(reference, login)).await
    }

    async fn import_image(&self, reference: &str, root: Vec<u8>, changes: &[String]) -> Result<(), EngineError> {
        self.through(Call::ImportImage, reference, self.engine.import_image(reference, root, changes)).await
    }

    async fn remove_image(&self, reference: &str) -> Result<(), EngineError> {
        self.through(Call::RemoveImage, reference, self.engine.remove_image(reference)).await
    }

    async fn create_network(&self, request: &NetworkRequest) -> Result<String, EngineError> {
        self.through(Call::CreateNetwork, request.name.as_str(), self.engine.create_network(request)).await
    }

    async fn remove_network(&self, id: &str) -> Result<(), EngineError> {
        self.through(Call::RemoveNetwork, id, self.engine.remove_network(id)).await
    }

    async fn create_volume(&self, request: &VolumeRequest) -> Result<(), EngineError> {
        self.through(Call::CreateVolume, request.name.as_str(), self.engine.create_volume(request)).await
    }

    async fn create(&self, request: &ContainerRequest) -> Result<String, EngineError> {
        self.through(Call::Create, request.name.as_str(), self.engine.create(request)).await
    }

    async fn start(&self, id: &str) -> Result<(), EngineError> {
        self.through(Call::Start, id, self.engine.start(id)).await
    }

    async fn stop(&self, id: &str, grace: Duration) -> Result<(), EngineError> {
        self.through(Call::Stop, id, self.engine.stop(id, grace)).await
    }

    async fn remove(&self, id: &str) -> Result<(), EngineError> {
        self.through(Call::Remove, id, self.engine.remove(id)).await
    }

    async fn rename(&self, id: &str, name: &ContainerName) -> Result<(), EngineError> {
        self.through(Call::Rename, id, self.engine.rename(id, name)).await
    }

    async fn set_aliases(&self, id: &str, network: &str, aliases: &[String]) -> Result<(), EngineError> {
        self.through(Call::SetAliases, id, self.engine.set_aliases(id, network, aliases)).await
    }

    async fn exec(&self, id: &str, command: &ExecRequest) -> Result<ExecOutcome, EngineError> {
        self.through(Call::Exec, id, self.engine.exec(id, command)).await
    }

    async fn commands_running(&self, id: &str) -> Result<Vec<Vec<String>>, EngineError> {
        self.through(Call::CommandsRunning, id, self.engine.commands_running(id)).await
    }

    async fn logs(&self, id: &str, lines: u32) -> Result<Vec<String>, EngineError> {
        self.through(Call::Logs, id, self.engine.logs(id, lines)).await
    }

    async fn follow_logs(
        &self,
        id: &str,
        lines: u32,
    ) -> Result<BoxStream<'static, Result<String, EngineError>>, EngineError> {
        self.through(Call::Logs, id, self.engine.follow_logs(id, lines)).await
    }

    async fn usage(&self, id: &str) -> Result<Usage, EngineError> {
        self.through(Call::Usage, id, self.engine.usage(id)).await
    }

    async fn events(&self) -> Result<BoxStream<'static, Result<EngineEvent, EngineError>>, EngineError> {
        self.through(Call::Events, "", self.engine.events()).await
    }

    fn locality(&self) -> Locality {
        Locality::Simulated
    }
}
