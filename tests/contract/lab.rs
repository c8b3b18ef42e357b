//! Where the contract's sentences are tried: an engine, the same test images on each, and a hand to act behind its back.
//!
//! Gives one [`Lab`] in memory with paused time, or one per door of each host of the fleet.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bayplan::engine::docker::Docker;
use bayplan::engine::docker::wire::TlsFiles;
use bayplan::engine::memory::MemoryEngine;
use bayplan::engine::memory::registry::MemoryRegistry;
use bayplan::engine::memory::script::{ExecScript, ImageScript};
use bayplan::engine::{ContainerDetail, Engine, ExecRequest};
use bayplan::model::request::{
    ContainerRequest, LABEL_DIGEST, LABEL_OWNER, NetworkAttachment, NetworkRequest, ResolvedImage, VolumeRequest,
};
use bayplan::model::stack::{Restart, Settings};
use bayplan::model::world::State;
use bayplan::name::{ContainerName, NetworkName, VolumeName};

use crate::fleet::{Lease, TEST_LABEL, lease_or_leave_out};

/// Long against anything that an engine does here.
pub const SOON: Duration = Duration::from_secs(60);

pub const OWNER: &str = "contract";

/// In memory, an image that has to be killed.
const STAYS: &str = "bayplan-test/stays:1";

/// One engine to try a sentence on.
pub struct Lab {
    pub engine: Arc<dyn Engine>,
    /// Which engine and which door, for messages.
    pub what: String,
    /// Begins every name, so that two doors of one engine do not meet.
    prefix: String,
    /// Host ports that no other lab of the engine uses.
    pub port: u16,
    /// An address of the machine that ports can be published on.
    pub address: IpAddr,
    /// Registry image text → what it resolves to.
    pub registry: BTreeMap<String, String>,
    pub behind: Behind,
}

/// Whoever acts behind our back.
pub enum Behind {
    Memory(MemoryEngine),
    Fleet { fleet: Rc<Lease>, host: String },
}

/// Tries a sentence on an engine in memory.
pub fn in_memory<F: Future<Output = ()>>(sentence: impl Fn(Lab) -> F) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime");
    runtime.block_on(sentence(memory_lab()));
}

/// Tries a sentence on each engine of the fleet, over each of its doors, all at the same time.
pub fn on_fleet<F: Future<Output = ()>>(name: &str, sentence: impl Fn(Lab) -> F) {
    let Some(fleet) = lease_or_leave_out(name) else { return };
    let fleet = Rc::new(fleet);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let labs = fleet_labs(&fleet);
    runtime.block_on(async { futures_util::future::join_all(labs.into_iter().map(sentence)).await });
}

/// Tries a sentence that disturbs the whole engine, over one door of each host, one after another: its faults may block
/// the thread for seconds.
pub fn on_each_host<F: Future<Output = ()>>(name: &str, sentence: impl Fn(Lab) -> F) {
    let Some(fleet) = lease_or_leave_out(name) else { return };
    let fleet = Rc::new(fleet);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    // Where there are two doors, the one over TCP stands for the host.
    let mut hosts: BTreeMap<String, Lab> = BTreeMap::new();
    for lab in fleet_labs(&fleet) {
        hosts.insert(lab.host().to_owned(), lab);
    }
    for lab in hosts.into_values() {
        runtime.block_on(sentence(lab));
    }
}

fn memory_lab() -> Lab {
    let registry = MemoryRegistry::default();
    let engine = MemoryEngine::new("memory", &registry);
    let web = |version: u32| {
        ImageScript::runs()
            .prints(&format!("web {version} listens on 8080"))
            .answers(
                &["sh", "-c", "echo out; echo err >&2; exit 3"],
                ExecScript { code: 3, output: "out\nerr\n".to_owned(), takes: Duration::ZERO },
            )
            .answers(
                &["sh", "-c", "echo begun; sleep 600"],
                ExecScript { code: 0, output: "begun\n".to_owned(), takes: Duration::from_secs(600) },
            )
    };
    engine.load("bayplan-test/web:1", web(1));
    engine.load("bayplan-test/web:2", web(2));
    engine.load("bayplan-test/db:1", ImageScript::runs().prints("db 1 listens on 5432"));
    let exits = ImageScript::runs().prints("exits 1: cannot open /etc/exits.conf");
    engine.load("bayplan-test/exits:1", exits.exits(Duration::from_millis(5), 1));
    let job = ImageScript::runs().prints("job 1: done");
    engine.load("bayplan-test/job:1", job.exits(Duration::from_millis(5), 0));
    let unhealthy = ImageScript::runs().with_health_check().never_healthy();
    engine.load("bayplan-test/unhealthy:1", unhealthy);
    let slow = ImageScript::runs().with_health_check();
    engine.load("bayplan-test/slow:1", slow.healthy_after(Duration::from_secs(2)));
    engine.load(STAYS, ImageScript::runs().stops_in(Duration::MAX));
    let pushed = registry.push("registry:5000/web:1", web(1));
    let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
    engine.set_addresses([address].into());
    Lab {
        engine: Arc::new(engine.clone()),
        what: "memory".to_owned(),
        prefix: TEST_LABEL.to_owned(),
        port: 21_000,
        address,
        registry: [("registry:5000/web:1".to_owned(), pushed)].into(),
        behind: Behind::Memory(engine),
    }
}

fn fleet_labs(fleet: &Rc<Lease>) -> Vec<Lab> {
    let mut labs = Vec::new();
    let registry: BTreeMap<String, String> = fleet
        .registry
        .images
        .iter()
        .map(|(image, digest)| {
            let text = if image.starts_with(&fleet.registry.address) {
                image.clone()
            } else {
                format!("{}/{image}", fleet.registry.address)
            };
            let (repository, _) = text.rsplit_once(':').expect("an image of the registry has a tag");
            (text.clone(), format!("{repository}@{digest}"))
        })
        .collect();
    let mut add = |engine: Docker, host: &crate::fleet::Host, door: &str| {
        labs.push(Lab {
            engine: Arc::new(engine),
            what: format!("{} {} over {door}", host.name, host.engine),
            prefix: format!("{TEST_LABEL}-{door}"),
            port: if door == "tls" { 21_100 } else { 21_000 },
            address: host.address.parse().expect("a host's address"),
            registry: registry.clone(),
            behind: Behind::Fleet { fleet: Rc::clone(fleet), host: host.name.clone() },
        });
    };
    for host in &fleet.hosts {
        add(Docker::unix(&host.socket), host, "unix");
        if let (Some(tcp), Some(folder)) = (&host.tcp, &host.tls) {
            let (address, port) =
                tcp.strip_prefix("tcp://").and_then(|rest| rest.rsplit_once(':')).expect("an address and a port");
            let files =
                TlsFiles { ca: folder.join("ca.pem"), cert: folder.join("cert.pem"), key: folder.join("key.pem") };
            add(Docker::tls(address, port.parse().expect("a port"), files), host, "tls");
        }
    }
    labs
}

impl Lab {
    pub fn name(&self, name: &str) -> String {
        format!("{}-{name}", self.prefix)
    }

    pub fn host(&self) -> &str {
        match &self.behind {
            Behind::Memory(_) => "memory",
            Behind::Fleet { host, .. } => host,
        }
    }

    /// A container of a test image on no network, that stays exited once it is so.
    pub async fn request(&self, name: &str, image: &str) -> ContainerRequest {
        let text = format!("bayplan-test/{image}:1");
        let held = self.engine.image(&text).await.expect("an answer").expect("a test image");
        ContainerRequest {
            name: ContainerName::new(&self.name(name)).expect("a name"),
            image: text,
            resolved: ResolvedImage::Local(held.id),
            labels: labels(),
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
        }
    }

    /// A container that does not end when it is asked to.
    pub async fn request_that_stays(&self, name: &str) -> ContainerRequest {
        match self.behind {
            Behind::Memory(_) => self.request(name, "stays").await,
            Behind::Fleet { .. } => {
                let mut request = self.request(name, "web").await;
                request.settings.stop_signal = Some("SIGCONT".to_owned());
                request
            }
        }
    }

    /// Creates and starts one.
    pub async fn run(&self, request: &ContainerRequest) -> String {
        let id = self.engine.create(request).await.expect("it is created");
        self.engine.start(&id).await.expect("it is started");
        id
    }

    pub fn network(&self, name: &str) -> NetworkRequest {
        NetworkRequest {
            name: NetworkName::new(&self.name(name)).expect("a name"),
            labels: [(LABEL_OWNER.to_owned(), OWNER.to_owned())].into(),
            subnet: None,
        }
    }

    pub fn volume(&self, name: &str) -> VolumeRequest {
        VolumeRequest {
            name: VolumeName::new(&self.name(name)).expect("a name"),
            driver: "local".to_owned(),
            labels: [(LABEL_OWNER.to_owned(), OWNER.to_owned())].into(),
        }
    }

    pub async fn detail(&self, id: &str) -> ContainerDetail {
        let detail = self.engine.container(id).await.expect("an answer");
        detail.unwrap_or_else(|| panic!("{}: there is no {id}", self.what))
    }

    pub async fn state(&self, id: &str) -> State {
        let all = self.engine.containers().await.expect("a list");
        let seen = all.into_iter().find(|c| c.id == id);
        seen.unwrap_or_else(|| panic!("{}: {id} is not listed", self.what)).state
    }

    /// What was stopped or killed may need more than one call's time for its first answer.
    pub async fn answers_again(&self) {
        self.wait_for("it to answer again", async || self.engine.about().await.map(drop).map_err(|e| e.to_string()))
            .await;
    }

    pub async fn wait_for_state(&self, id: &str, state: State) {
        self.wait_for(&format!("{id} to be {state:?}"), async || {
            let seen = self.state(id).await;
            if seen == state { Ok(()) } else { Err(format!("{seen:?}")) }
        })
        .await;
    }

    /// Calls `check` until it gives `Ok`; `Err` is what was seen instead.
    pub async fn wait_for<T>(&self, what: &str, mut check: impl AsyncFnMut() -> Result<T, String>) -> T {
        let start = tokio::time::Instant::now();
        loop {
            match check().await {
                Ok(value) => return value,
                Err(seen) if start.elapsed() >= SOON => {
                    panic!("{}: waited for {what}; the last thing seen was: {seen}", self.what)
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    pub async fn exec(&self, id: &str, command: &[&str]) -> bayplan::engine::ExecOutcome {
        let command = exec(command, SOON);
        self.engine.exec(id, &command).await.expect("it is run")
    }

    /// Does `name` mean somebody, asked inside the container?
    pub async fn resolves(&self, from: &str, network: &str, name: &str) -> bool {
        match &self.behind {
            Behind::Memory(engine) => !engine.who_answers(network, name).is_empty(),
            Behind::Fleet { .. } => self.exec(from, &["nslookup", name]).await.code == Some(0),
        }
    }

    pub fn kill(&self, id: &str) {
        match &self.behind {
            Behind::Memory(engine) => engine.kill(id).expect("it is killed"),
            Behind::Fleet { fleet, host } => drop(fleet.docker_text(host, &["kill", id])),
        }
    }

    pub fn disconnect(&self, id: &str, network: &str) {
        match &self.behind {
            Behind::Memory(engine) => engine.disconnect(id, network).expect("it is disconnected"),
            Behind::Fleet { fleet, host } => drop(fleet.docker_text(host, &["network", "disconnect", network, id])),
        }
    }
}

pub fn exec(command: &[&str], timeout: Duration) -> ExecRequest {
    ExecRequest { command: command.iter().map(|part| (*part).to_owned()).collect(), working_dir: None, timeout }
}

fn labels() -> BTreeMap<String, String> {
    [(LABEL_OWNER, OWNER), (LABEL_DIGEST, "d1"), ("team", "shop")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}
