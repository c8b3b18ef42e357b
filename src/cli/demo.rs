//! `bayplan demo`: the whole way, on this machine, with nothing prepared.
//!
//! Makes a bare repository and a clone in a temporary folder, starts the service on the first, pushes three times to it
//! from the second, and shows after each what was planned, what runs, and what the ledger says.
//!
//! Never leaves anything behind unless asked to, also when it is interrupted; what an earlier demo left goes first.

mod files;
mod fleet;
mod git;
mod image;
pub mod service;
mod watch;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::cli::command::status;
use crate::cli::demo::fleet::{Fleet, HOSTS, Kind, OWNER, Removed};
use crate::cli::demo::git::Repositories;
use crate::cli::demo::watch::{Settled, Watch, indented};
use crate::cli::exit::Exit;
use crate::cli::show::map;
use crate::cli::show::paint::{FAINT, GONE, NEW, STRONG, WARN, count, painted};
use crate::cli::trouble::Trouble;
use crate::cli::{out, signals};
use crate::controller::run;
use crate::model::config::{Config, Push};
use crate::reconcile::site::Site;
use crate::source;
use crate::status::page::bytes;

/// Temporary folders of the demo begin like this, so that a later demo finds them.
const FOLDER: &str = "bayplan-demo-";
/// Commits of the ledger that are shown.
const MOST_COMMITS: usize = 6;
/// Where `store` is moved to in the second push.
const MOVED_TO: &str = "host-2";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engines {
    DockerIfThere,
    InMemory,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    CleanUp,
    /// Leave everything standing, and say how to look at it.
    Keep,
}

/// Shows it all.
pub async fn demo(engines: Engines, end: End) -> Result<Exit, Trouble> {
    let _only = only_one()?;
    let stop = signals::shutdown()?;
    remove_folders();
    out::say(&format!("{}\n\n", painted(STRONG, "Bayplan: from a push to running containers on several hosts")));
    let fleet = prepare(engines).await;
    let folder = tempfile::Builder::new().prefix(FOLDER).tempdir().map_err(Trouble::world)?;
    let shown = show(&fleet, folder.path(), &stop).await;
    let is_kept = end == End::Keep && shown.is_ok() && !stop.is_cancelled();
    if is_kept {
        let folder = folder.keep();
        out::say(&how_to_look(&fleet, &folder));
        return shown;
    }
    heading("Cleaning up");
    let removed = fleet.clean().await.map_err(Trouble::world);
    folder.close().map_err(Trouble::world)?;
    out::say(&format!("  {}\n", said_removed(removed?)));
    if stop.is_cancelled() {
        out::note("interrupted\n");
    }
    shown
}

/// Removes what an earlier demo left.
pub async fn clean() -> Result<Exit, Trouble> {
    let _only = only_one()?;
    let removed = fleet::clean_docker().await?;
    let folders = remove_folders();
    let containers = removed.map_or("no Docker to clean".to_owned(), said_removed);
    out::say(&format!("{containers}; {} removed\n", count(folders, "folder", "folders")));
    Ok(Exit::AsAsked)
}

/// Two demos would clean up behind each other. The name is the kernel's alone and goes with the process.
fn only_one() -> Result<std::os::unix::net::UnixListener, Trouble> {
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::net::{SocketAddr, UnixListener};

    let address = SocketAddr::from_abstract_name(OWNER).map_err(Trouble::world)?;
    UnixListener::bind_addr(&address)
        .map_err(|_| Trouble::usage("another demo runs on this machine: wait until it has ended"))
}

async fn prepare(engines: Engines) -> Fleet {
    let docker = match engines {
        Engines::InMemory => Err("it was asked for".to_owned()),
        Engines::DockerIfThere => Fleet::on_docker().await,
    };
    let fleet = docker.unwrap_or_else(Fleet::in_memory);
    match &fleet.kind {
        Kind::Docker { version, socket, image_bytes } => {
            let hosts = format!("{} share Docker {version} at {}", HOSTS.join(", "), socket.display());
            let size = bytes(u64::try_from(*image_bytes).unwrap_or(u64::MAX));
            out::say(&format!("  hosts       {hosts}\n"));
            out::say(&format!(
                "  image       {}, made of this program ({size}); nothing is downloaded\n",
                files::IMAGE
            ));
        }
        Kind::InMemory { because } => {
            let warning = painted(WARN, "no real containers:");
            out::say(&format!("  hosts       {}, engines inside this process\n", HOSTS.join(", ")));
            out::say(&format!("  {warning} {because}; all else is as it would be\n"));
        }
    }
    fleet
}

/// The story: the service starts, and three pushes come.
async fn show(fleet: &Fleet, folder: &Path, stop: &CancellationToken) -> Result<Exit, Trouble> {
    let repositories = Repositories::make(folder).await?;
    let location = repositories.bare.display().to_string();
    out::say(&format!("  repository  {location}; the service watches it\n"));
    std::fs::write(folder.join("bayplan.yaml"), format!("owner: {OWNER}\n")).map_err(Trouble::world)?;

    let config = Config { owner: Some(OWNER.to_owned()), push: Push::Never, ..Config::default() };
    let source = source::open(&location, Some("main"), folder).await?;
    let mut site = Site::new(source, Arc::new(config), Arc::default(), fleet.connect()).await?;
    let (events, heard) = mpsc::unbounded_channel();
    let end_of_story = stop.child_token();
    let shutdown = end_of_story.clone();
    let service = tokio::spawn(async move { run::run(&mut site, events, shutdown).await });
    let mut watch = Watch::new(heard, "main", stop.clone());
    let told = tell(fleet, &repositories, &mut watch).await;
    end_of_story.cancel();
    let ended = service.await.expect("the service does not panic");
    told?;
    ended?;
    Ok(Exit::AsAsked)
}

async fn tell(fleet: &Fleet, repositories: &Repositories, watch: &mut Watch) -> Result<(), Trouble> {
    heading("1. A first push: three services; Bayplan chooses their hosts");
    for host in HOSTS {
        let file = files::host(host, &fleet.endpoints[host], fleet.addresses[host]);
        repositories.write(&format!("hosts/{host}.yaml"), &file)?;
    }
    repositories.write(files::STACK_PATH, &files::first(fleet.ports))?;
    pushed("stacks/shop.yaml (web requires api, api requires store), hosts/host-{1,2,3}.yaml");
    let commit = repositories.push("shop: store, api and web").await?;
    let settled = watch.settled(&commit).await?;
    after(fleet, repositories, &settled).await?;

    heading("2. A push that moves a service");
    repositories.write(files::STACK_PATH, &files::moved(fleet.ports, MOVED_TO))?;
    changed(repositories).await?;
    let commit = repositories.push("shop: store beside api").await?;
    let settled = watch.settled(&commit).await?;
    if let Kind::Docker { .. } = fleet.kind {
        let note =
            "these hosts share an engine, so that a host port forces a gap; on engines of their own it would not";
        out::say(&format!("\n  {}\n", painted(FAINT, note)));
    }
    after(fleet, repositories, &settled).await?;

    heading("3. A push that is wrong");
    repositories.write(files::STACK_PATH, &files::wrong(fleet.ports, MOVED_TO))?;
    changed(repositories).await?;
    let commit = repositories.push("shop: in a hurry").await?;
    let settled = watch.settled(&commit).await?;
    out::say(&format!("\n  {}\n", painted(STRONG, "Nothing was touched: what ran is what runs.")));
    after(fleet, repositories, &settled).await
}

fn heading(text: &str) {
    out::say(&format!("\n{}\n\n", painted(STRONG, text)));
}

fn pushed(what: &str) {
    out::say(&format!("  $ git push   {}\n\n", painted(FAINT, what)));
}

/// The lines that a push changes.
async fn changed(repositories: &Repositories) -> Result<(), Trouble> {
    pushed(files::STACK_PATH);
    for line in repositories.changed_lines().await? {
        let style = if line.starts_with('+') { NEW } else { GONE };
        out::say(&format!("    {}\n", painted(style, line)));
    }
    out::say("\n");
    Ok(())
}

/// The map, what the first service says of its connections, and the ledger.
async fn after(fleet: &Fleet, repositories: &Repositories, settled: &Settled) -> Result<(), Trouble> {
    let took = settled.took.as_millis();
    let took = if took < 1000 { format!("{took} ms") } else { format!("{:.1} s", settled.took.as_secs_f64()) };
    out::say(&format!("\n  settled {took} after the push\n\n  $ bayplan status\n"));
    out::say(&indented(&map::map(&status::of_pass(&settled.pass))));
    if let Kind::Docker { .. } = fleet.kind {
        for (service, port) in [("web", fleet.ports.web), ("api", fleet.ports.api)] {
            let address = format!("{}:{port}", fleet.addresses[HOSTS[0]]);
            out::say(&format!("\n  $ curl http://{address}/   {}\n", painted(FAINT, service)));
            let said = service::get(&address, "/").await.map_err(Trouble::world)?;
            let body = said.split_once("\r\n\r\n").map_or(said.as_str(), |(_, body)| body);
            out::say(&indented(body));
        }
    }
    out::say(&format!("\n  $ git log --oneline bayplan/status   {}\n", painted(FAINT, "the ledger, newest first")));
    out::say(&indented(&repositories.ledger_log(MOST_COMMITS).await?));
    Ok(())
}

fn said_removed(removed: Removed) -> String {
    let containers = count(removed.containers, "container", "containers");
    let networks = count(removed.networks, "network", "networks");
    format!("{containers}, {networks} and the image removed")
}

fn how_to_look(fleet: &Fleet, folder: &Path) -> String {
    let repository = folder.join("fleet.git");
    let (repository, clone, config) = (repository.display(), folder.join("fleet"), folder.join("bayplan.yaml"));
    let mut text = format!("\n{}\n\n", painted(STRONG, "Everything was left standing"));
    let mut line = |what: &str, how: String| text.push_str(&format!("  {what:<22}{how}\n"));
    if let Kind::Docker { .. } = fleet.kind {
        line("the containers", format!("docker ps --filter label=bayplan.owner={OWNER}"));
        line("a service", format!("curl http://{}:{}/", fleet.addresses[HOSTS[0]], fleet.ports.web));
    }
    line("the map", format!("bayplan status {repository}"));
    line("the ledger", format!("git -C {repository} log -p bayplan/status"));
    line("push more", format!("cd {}", clone.display()));
    line("deploy it", format!("bayplan run {repository} --config {}", config.display()));
    line("clean up", "bayplan demo --clean".to_owned());
    text
}

/// Removes the folders of earlier demos; gives how many.
fn remove_folders() -> usize {
    use std::os::unix::fs::MetadataExt as _;

    let owner = |path: &Path| std::fs::symlink_metadata(path).ok().map(|metadata| metadata.uid());
    let myself = owner(Path::new("/proc/self/"));
    let mut removed = 0;
    let Ok(entries) = std::fs::read_dir(std::env::temp_dir()) else { return 0 };
    let folders: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    for folder in folders {
        let is_named = folder.file_name().is_some_and(|name| name.to_string_lossy().starts_with(FOLDER));
        // A folder that merely has the name, or that another user has made, is not ours.
        let is_ours = || folder.join("fleet.git").is_dir() && owner(&folder).is_some_and(|user| Some(user) == myself);
        if is_named && is_ours() && std::fs::remove_dir_all(&folder).is_ok() {
            removed += 1;
        }
    }
    removed
}
