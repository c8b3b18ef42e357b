//! The door to a Docker engine.
//!
//! Takes where it listens. Gives the calls of [`Engine`], each ended by the deadline of its class, bodies included.
//!
//! Connects when first asked and agrees on the API version then, and again after any break: the engine that comes back
//! may be another one.

mod answer;
mod body;
mod failure;
mod named;
mod networks;
mod output;
#[cfg(test)]
mod tests;
pub mod wire;

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bollard::auth::DockerCredentials;
use bollard::errors::Error;
use bollard::models::VolumeCreateRequest;
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, CreateImageOptions, CreateImageOptionsBuilder, ListContainersOptionsBuilder,
    ListVolumesOptions, RemoveContainerOptionsBuilder, RemoveImageOptions, RenameContainerOptionsBuilder,
    StatsOptionsBuilder, StopContainerOptionsBuilder,
};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};

use crate::engine::{
    ContainerDetail, Engine, EngineError, EngineEvent, ExecOutcome, ExecRequest, ImageDetail, Locality, RegistryLogin,
    Usage, deadline,
};
use crate::failpoint::{self, Call};
use crate::model::request::{
    ContainerRequest, LABEL_DIGEST, LABEL_OWNER, NetworkAttachment, NetworkRequest, VolumeRequest,
};
use crate::model::world::{About, ContainerSeen, NetworkSeen, VolumeSeen};
use crate::name::ContainerName;
use crate::name::image::ImageRef;

/// Starts in flight per engine. 50 containers on a bridge (2 cores, engine 20.10 / 26.1): with 4 in flight 13.4 / 12.0 s,
/// with 8 11.5 / 10.3 s, with 16 13.5 / 10.0 s; but with 16 the slowest start takes 5 to 7 s instead of 3, which eats into
/// its deadline on a busy machine. More cores would allow more.
const STARTS_AT_ONCE: usize = 8;

/// One pull already runs its layers in parallel; a second hides the latency of the registry.
const PULLS_AT_ONCE: usize = 2;

const LIST_POLL: Duration = Duration::from_millis(10);
const LIST_WITHIN: Duration = deadline::READ;

/// The API library's own limit covers only the head of an answer; ours are the ones that count.
const LIBRARY_TIMEOUT_SECONDS: u64 = 7 * 24 * 3600;

/// One engine. Clones share its connections and limits.
#[derive(Clone)]
pub struct Docker {
    /// For people: `unix:///…` or `tcp://…`.
    place: String,
    api: bollard::Docker,
    pool: wire::Pool,
    agreed: wire::Agreed,
    starts: Arc<Semaphore>,
    pulls: Arc<Semaphore>,
    network_making: Arc<tokio::sync::Mutex<()>>,
    locality: Locality,
    /// How long a ping may take.
    patience: Duration,
}

impl fmt::Debug for Docker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Docker({})", self.place)
    }
}

impl Docker {
    /// An engine of this machine, by the path of its socket. Nothing is opened yet.
    pub fn unix(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let place = format!("unix://{}", path.display());
        Self::at(place, wire::Place::Unix(path), Locality::ThisMachine)
    }

    /// An engine that listens on TCP and is proven by TLS in both directions. Nothing is opened or read yet.
    pub fn tls(host: &str, port: u16, files: wire::TlsFiles) -> Self {
        let place = wire::Place::Tls { host: host.to_owned(), port, files };
        Self::at(format!("tcp://{host}:{port}"), place, Locality::Elsewhere)
    }

    fn at(text: String, place: wire::Place, locality: Locality) -> Self {
        let pool = wire::pool(place);
        let agreed = Arc::new(Mutex::new(None));
        let api = bollard::Docker::connect_with_custom_transport(
            wire::transport(pool.clone(), Arc::clone(&agreed)),
            Some(wire::BASE),
            LIBRARY_TIMEOUT_SECONDS,
            bollard::API_DEFAULT_VERSION,
        )
        .expect("a custom transport is taken as it is");
        Self {
            place: text,
            api,
            pool,
            agreed,
            starts: Arc::new(Semaphore::new(STARTS_AT_ONCE)),
            pulls: Arc::new(Semaphore::new(PULLS_AT_ONCE)),
            network_making: Arc::default(),
            locality,
            patience: deadline::PING,
        }
    }

    /// The same, for a machine that is slow to answer a ping.
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience: deadline::PING.max(patience), ..self }
    }

    fn api(&self) -> &bollard::Docker {
        &self.api
    }

    fn pool(&self) -> &wire::Pool {
        &self.pool
    }

    fn network_making(&self) -> &tokio::sync::Mutex<()> {
        &self.network_making
    }

    fn version(&self) -> Option<wire::ApiVersion> {
        *self.agreed.lock().expect("nothing panics while it holds the version")
    }

    /// Makes a call within its limit, after agreeing on a version if there is none.
    async fn ask<T>(
        &self,
        call: &'static str,
        limit: Duration,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, EngineError> {
        self.ask_or(limit, call, work, |error| failure::of(call, error)).await
    }

    /// As [`Docker::ask`], for calls whose errors have a meaning of their own.
    async fn ask_or<T>(
        &self,
        limit: Duration,
        call: &'static str,
        work: impl Future<Output = Result<T, Error>>,
        meaning: impl FnOnce(Error) -> EngineError,
    ) -> Result<T, EngineError> {
        if self.version().is_none() {
            self.agree().await?;
        }
        self.within(limit, call, work, meaning).await
    }

    async fn within<T>(
        &self,
        limit: Duration,
        call: &'static str,
        work: impl Future<Output = Result<T, Error>>,
        meaning: impl FnOnce(Error) -> EngineError,
    ) -> Result<T, EngineError> {
        let error = match failpoint::around(Call::Engine(call), timeout(limit, work)).await {
            Ok(Ok(done)) => return Ok(done),
            Ok(Err(error)) => meaning(error),
            Err(_) => EngineError::Timeout { call, limit },
        };
        if matches!(error, EngineError::Unreachable { .. } | EngineError::Timeout { .. }) {
            // Agreeing anew is also a ping: while the engine hangs, later calls end after 2 s and not by their own limit.
            self.set_version(None);
        }
        Err(error)
    }

    /// Agrees on the newest API version that both sides know.
    async fn agree(&self) -> Result<bollard::models::SystemVersion, EngineError> {
        const CALL: &str = "ping";
        let told = self.within(self.patience, CALL, self.api.version(), |error| failure::of(CALL, error)).await?;
        let theirs = told.api_version.as_deref().and_then(api_version);
        let theirs = theirs.ok_or_else(|| EngineError::NotUnderstood {
            call: CALL,
            why: format!("{:?} is no API version", told.api_version),
        })?;
        let ours = (bollard::API_DEFAULT_VERSION.major_version, bollard::API_DEFAULT_VERSION.minor_version);
        self.set_version(Some(ours.min(theirs)));
        Ok(told)
    }

    fn set_version(&self, version: Option<wire::ApiVersion>) {
        *self.agreed.lock().expect("nothing panics while it holds the version") = version;
    }

    /// The container of the requested name, if it is the one that was requested: a reply may have been lost.
    async fn adopt(&self, request: &ContainerRequest) -> Result<String, EngineError> {
        let there = self.container(request.name.as_str()).await?;
        let same = |detail: &ContainerDetail, label| {
            let wanted = request.labels.get(label);
            wanted.is_some() && detail.seen.labels.get(label) == wanted
        };
        match there {
            Some(detail) if same(&detail, LABEL_OWNER) && same(&detail, LABEL_DIGEST) => Ok(detail.seen.id),
            Some(_) | None => Err(EngineError::NameInUse { name: request.name.to_string() }),
        }
    }

    /// Waits until the list knows that a container was stopped.
    ///
    /// Engine 26 answers a stop some 5 to 60 ms before its list says `exited`, and a pass that lists in between would
    /// see what is no longer so. After [`LIST_WITHIN`] it is left at that: a full look comes every minute.
    async fn wait_for_list(&self, id: &str) -> Result<(), EngineError> {
        const CALL: &str = "list containers";
        let filters = HashMap::from([("id", vec![id])]);
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
        let begun = Instant::now();
        while begun.elapsed() < LIST_WITHIN {
            let work = self.api.list_containers(Some(options.clone()));
            let listed = self.ask(CALL, deadline::READ, work).await?;
            if listed.into_iter().all(|summary| answer::is_stopped(&summary)) {
                break;
            }
            sleep(LIST_POLL).await;
        }
        Ok(())
    }

    /// Reads the stream of a pull or an import, each part of which is progress.
    async fn follow_progress(
        &self,
        call: &'static str,
        image: &str,
        options: CreateImageOptions,
        root: Option<wire::Body>,
        login: Option<&RegistryLogin>,
    ) -> Result<(), EngineError> {
        let mut parts = Box::pin(self.api.create_image(Some(options), root, login.map(credentials)));
        loop {
            let next = async { parts.next().await.transpose() };
            let meaning = |error| failure::of_image(call, image, error);
            if self.ask_or(deadline::PULL_SILENCE, call, next, meaning).await?.is_none() {
                return Ok(());
            }
        }
    }
}

#[async_trait]
impl Engine for Docker {
    async fn about(&self) -> Result<About, EngineError> {
        let version = self.agree().await?;
        let info = self.ask("info", deadline::READ, self.api.info()).await?;
        Ok(answer::about(info, version))
    }

    async fn containers(&self) -> Result<Vec<ContainerSeen>, EngineError> {
        const CALL: &str = "list containers";
        let options = ListContainersOptionsBuilder::default().all(true).build();
        let listed = self.ask(CALL, deadline::READ, self.api.list_containers(Some(options))).await?;
        let seen: Result<Vec<_>, _> = listed.into_iter().map(answer::container).collect();
        seen.map_err(|why| EngineError::NotUnderstood { call: CALL, why })
    }

    async fn networks(&self) -> Result<Vec<NetworkSeen>, EngineError> {
        networks::list(self).await
    }

    async fn volumes(&self) -> Result<Vec<VolumeSeen>, EngineError> {
        let all = None::<ListVolumesOptions>;
        let listed = self.ask("list volumes", deadline::READ, self.api.list_volumes(all)).await?;
        let mut seen: Vec<VolumeSeen> = listed.volumes.unwrap_or_default().into_iter().map(answer::volume).collect();
        // An engine lists them in another order each time, and nothing has changed then.
        seen.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(seen)
    }

    async fn container(&self, id: &str) -> Result<Option<ContainerDetail>, EngineError> {
        const CALL: &str = "look at container";
        named::container(CALL, id)?;
        let look = self.ask(CALL, deadline::READ, self.api.inspect_container(id, None));
        match look.await {
            Ok(look) => answer::detail(look).map(Some).map_err(|why| EngineError::NotUnderstood { call: CALL, why }),
            Err(EngineError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn image(&self, reference: &str) -> Result<Option<ImageDetail>, EngineError> {
        const CALL: &str = "look at image";
        named::image(CALL, reference)?;
        match self.ask(CALL, deadline::READ, self.api.inspect_image(reference)).await {
            Ok(look) => Ok(Some(answer::image(look))),
            Err(EngineError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn ask_registry(&self, image: &ImageRef, login: Option<&RegistryLogin>) -> Result<String, EngineError> {
        const CALL: &str = "ask registry";
        let work = self.api.inspect_registry_image(image.as_str(), login.map(credentials));
        let meaning = |error| failure::of_image(CALL, image.as_str(), error);
        let told = self.ask_or(deadline::READ, CALL, work, meaning).await?;
        match told.descriptor.digest {
            Some(digest) => Ok(format!("{}@{digest}", image.repository())),
            None => Err(EngineError::NotUnderstood { call: CALL, why: format!("no digest was given for {image}") }),
        }
    }

    async fn pull(&self, reference: &str, login: Option<&RegistryLogin>) -> Result<(), EngineError> {
        const CALL: &str = "pull";
        named::image(CALL, reference)?;
        let _permit = self.pulls.acquire().await.expect("the semaphore is never closed");
        // Without a tag an engine pulls all tags of the repository.
        let tag = match ImageRef::new(reference) {
            Ok(image) if image.digest().is_none() => image.tag().unwrap_or("").to_owned(),
            Ok(_) | Err(_) => String::new(),
        };
        let options = CreateImageOptionsBuilder::default().from_image(reference).tag(&tag).build();
        self.follow_progress(CALL, reference, options, None, login).await
    }

    async fn import_image(&self, reference: &str, root: Vec<u8>, changes: &[String]) -> Result<(), EngineError> {
        const CALL: &str = "import image";
        let image = ImageRef::new(reference).map_err(|error| EngineError::Refused {
            call: CALL,
            status: 0,
            why: format!("{reference} {error}"),
        })?;
        let options = CreateImageOptionsBuilder::default()
            .from_src("-")
            .repo(image.repository())
            .tag(image.tag().unwrap_or("latest"))
            .changes(changes.to_vec())
            .build();
        let root = Some(bollard::body_full(root.into()));
        self.follow_progress(CALL, reference, options, root, None).await
    }

    async fn remove_image(&self, reference: &str) -> Result<(), EngineError> {
        const CALL: &str = "remove image";
        named::image(CALL, reference)?;
        let work = self.api.remove_image(reference, None::<RemoveImageOptions>, None);
        match self.ask(CALL, deadline::CHANGE, work).await {
            Ok(_) | Err(EngineError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn create_network(&self, request: &NetworkRequest) -> Result<String, EngineError> {
        networks::create(self, request).await
    }

    async fn remove_network(&self, id: &str) -> Result<(), EngineError> {
        networks::remove(self, id).await
    }

    async fn create_volume(&self, request: &VolumeRequest) -> Result<(), EngineError> {
        const CALL: &str = "create volume";
        let VolumeRequest { name, driver, labels } = request;
        let wanted = VolumeCreateRequest {
            name: Some(name.to_string()),
            driver: Some(driver.clone()),
            labels: Some(labels.iter().map(|(k, v)| (k.clone(), v.clone())).collect()),
            ..Default::default()
        };
        match self.ask(CALL, deadline::CHANGE, self.api.create_volume(wanted)).await {
            // One of that name exists with another driver.
            Ok(_) | Err(EngineError::Refused { status: 409, .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn create(&self, request: &ContainerRequest) -> Result<String, EngineError> {
        const CALL: &str = "create";
        let owner = request.labels.get(LABEL_OWNER).map(String::as_str);
        let attachment = match &request.network {
            NetworkAttachment::Named { network, aliases } => body::Attachment::Network {
                id: networks::to_attach(self, network, owner).await?,
                aliases: aliases.clone(),
            },
            NetworkAttachment::Host => body::Attachment::Host,
            NetworkAttachment::None => body::Attachment::None,
        };
        let options = CreateContainerOptionsBuilder::default().name(request.name.as_str()).build();
        let wanted = body::create_body(request, attachment);
        let made = self.ask(CALL, deadline::CHANGE, self.api.create_container(Some(options), wanted));
        match made.await {
            Ok(made) => Ok(made.id),
            Err(EngineError::Refused { status: 409, .. }) => self.adopt(request).await,
            Err(EngineError::NotFound { thing: why, .. }) if why.contains("image") => {
                Err(EngineError::ImageMissing { image: request.resolved.reference().to_owned(), why })
            }
            Err(error) => Err(error),
        }
    }

    async fn start(&self, id: &str) -> Result<(), EngineError> {
        const CALL: &str = "start";
        named::container(CALL, id)?;
        let _permit = self.starts.acquire().await.expect("the semaphore is never closed");
        let work = self.api.start_container(id, None);
        self.ask_or(deadline::CHANGE, CALL, work, failure::of_start).await
    }

    async fn stop(&self, id: &str, grace: Duration) -> Result<(), EngineError> {
        const CALL: &str = "stop";
        named::container(CALL, id)?;
        let seconds = i32::try_from(body::whole_seconds(grace)).unwrap_or(i32::MAX);
        let options = StopContainerOptionsBuilder::default().t(seconds).build();
        let work = self.api.stop_container(id, Some(options));
        match self.ask(CALL, deadline::stop(grace), work).await {
            Err(EngineError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
            Ok(()) => self.wait_for_list(id).await,
        }
    }

    async fn remove(&self, id: &str) -> Result<(), EngineError> {
        const CALL: &str = "remove";
        named::container(CALL, id)?;
        let options = RemoveContainerOptionsBuilder::default().v(false).force(false).build();
        let work = self.api.remove_container(id, Some(options));
        match self.ask(CALL, deadline::CHANGE, work).await {
            Err(EngineError::NotFound { .. }) => Ok(()),
            Err(EngineError::Refused { why, .. }) if why.contains("already in progress") => Ok(()),
            other => other,
        }
    }

    async fn rename(&self, id: &str, name: &ContainerName) -> Result<(), EngineError> {
        const CALL: &str = "rename";
        named::container(CALL, id)?;
        let options = RenameContainerOptionsBuilder::default().name(name.as_str()).build();
        let work = self.api.rename_container(id, options);
        let error = match self.ask(CALL, deadline::CHANGE, work).await {
            Err(error @ EngineError::Refused { .. }) => error,
            other => return other,
        };
        // Engines refuse the name that it has already, which is what a second try after a lost reply asks for.
        match (self.container(id).await?, error) {
            (Some(detail), _) if detail.seen.name == name.as_str() => Ok(()),
            (_, EngineError::Refused { status: 409, .. }) => Err(EngineError::NameInUse { name: name.to_string() }),
            (_, error) => Err(error),
        }
    }

    async fn set_aliases(&self, id: &str, network: &str, aliases: &[String]) -> Result<(), EngineError> {
        networks::set_aliases(self, id, network, aliases).await
    }

    async fn exec(&self, id: &str, command: &ExecRequest) -> Result<ExecOutcome, EngineError> {
        output::exec(self, id, command).await
    }

    async fn commands_running(&self, id: &str) -> Result<Vec<Vec<String>>, EngineError> {
        output::commands_running(self, id).await
    }

    async fn logs(&self, id: &str, lines: u32) -> Result<Vec<String>, EngineError> {
        output::logs(self, id, lines).await
    }

    async fn follow_logs(
        &self,
        id: &str,
        lines: u32,
    ) -> Result<BoxStream<'static, Result<String, EngineError>>, EngineError> {
        output::follow_logs(self, id, lines).await
    }

    async fn usage(&self, id: &str) -> Result<Usage, EngineError> {
        const CALL: &str = "usage";
        named::container(CALL, id)?;
        // Not one-shot: the processor's share is the difference of two samples, which the engine takes a second apart.
        let options = StatsOptionsBuilder::default().stream(false).one_shot(false).build();
        let mut samples = Box::pin(self.api.stats(id, Some(options)));
        let sample = self.ask(CALL, deadline::READ, async { samples.next().await.transpose() }).await?;
        Ok(answer::usage(sample.unwrap_or_default()))
    }

    async fn events(&self) -> Result<BoxStream<'static, Result<EngineEvent, EngineError>>, EngineError> {
        output::events(self).await
    }

    fn locality(&self) -> Locality {
        self.locality
    }
}

fn credentials(login: &RegistryLogin) -> DockerCredentials {
    DockerCredentials {
        username: Some(login.username.clone()),
        password: Some(login.password.expose().clone()),
        serveraddress: Some(login.server.clone()),
        ..Default::default()
    }
}

fn api_version(text: &str) -> Option<wire::ApiVersion> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
