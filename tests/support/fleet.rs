//! The fleet of real engines, as tests see it: its hosts, the faults that can be done to them, and the Docker
//! command line as a witness that shares no code with us.
//!
//! Takes `fleet.json`, which `tests/fleet up` writes and `BAYPLAN_FLEET` names. The addresses in it are reachable
//! only from inside the fleet's network, where `tests/run` starts the tests.
//! Gives a [`Lease`] on the whole fleet, or nothing where there is none: such a test says `left out` and passes.
//!
//! Never undoes a fault by hope: each fault is a guard that mends it when dropped, also when the test panics.
//!
//! Because the engines are few, one test has all of them at a time; whoever gets the lease finds them wiped.
#![allow(dead_code, reason = "each test binary compiles this file and uses a part of it")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;

/// The label that tests put on what they make themselves, so that [`Fleet::wipe`] finds it.
pub const TEST_LABEL: &str = "bayplan-test";

/// Everything `fleet.json` says.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fleet {
    /// Version of the file's format; this code reads 1.
    pub format: u32,
    /// Where the fleet keeps its data, logs and TLS material.
    pub folder: PathBuf,
    pub switch: Switch,
    pub registry: Registry,
    /// Images that every engine has, such as `bayplan-test/web:1`; an image has one id on all of them.
    pub images: Vec<String>,
    pub hosts: Vec<Host>,
    /// What `tests/fleet up` could not provide, and why.
    pub left_out: Vec<String>,
}

/// The bridge that connects the hosts, in a network namespace where the tests run too.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Switch {
    pub netns: PathBuf,
    /// The address under which hosts and containers reach what listens in the switch's namespace.
    pub address: String,
}

/// A private registry without TLS, which every engine accepts.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registry {
    /// `ADDRESS:PORT`, as it begins an image's name.
    pub address: String,
    /// Image name with tag → digest (`sha256:…`) of its manifest. No engine has these before it pulls.
    pub images: BTreeMap<String, String>,
}

/// One Docker host.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    pub name: String,
    /// IPv4 address on the switch.
    pub address: String,
    /// Path of the engine's unix socket.
    pub socket: PathBuf,
    /// `tcp://ADDRESS:PORT` with TLS and client certificates, where the engine listens there.
    pub tcp: Option<String>,
    /// Folder with `ca.pem`, `cert.pem` and `key.pem` for `tcp`; `stranger/` below it holds a client's certificate
    /// and key from another CA.
    pub tls: Option<PathBuf>,
    /// The engine's version, such as `20.10.24+dfsg1`.
    pub engine: String,
    /// The highest API version that the engine speaks, such as `1.41`.
    pub api: String,
    /// Holds the engine's process id, as seen from the tests; rewritten by a restart.
    pub engine_pid_file: PathBuf,
    /// Holds the process id of the host's process 1.
    pub init_pid_file: PathBuf,
    pub netns: PathBuf,
    /// The host's port on the switch: taking it down cuts the host off.
    pub veth: String,
    /// What the engine logs.
    pub log: PathBuf,
}

/// The fleet, for one test alone. It ends when dropped.
pub struct Lease {
    fleet: Fleet,
    // In this order: the file belongs to other processes, and a thread of this one may ask for it only when it has
    // the mutex.
    _other_processes: File,
    _other_threads: MutexGuard<'static, ()>,
}

/// A fault that was done to a host, mended when this is dropped.
#[must_use = "the fault is mended when this is dropped"]
pub struct Fault<'a> {
    fleet: &'a Fleet,
    host: String,
    mend: fn(&Fleet, &str),
}

static OTHER_THREADS: Mutex<()> = Mutex::new(());

/// The fleet for this test alone, wiped; `None`, after saying so, where there is no fleet.
///
/// ```ignore
/// let Some(fleet) = fleet::lease_or_leave_out("a_container_answers") else { return };
/// ```
pub fn lease_or_leave_out(test: &str) -> Option<Lease> {
    let lease = Fleet::lease();
    if lease.is_none() {
        leave_out(test, "no fleet");
    }
    lease
}

/// Says that a test, or a part of one, was left out and why: on standard error, past the test harness, which would
/// show it for failed tests only; and in the file that `BAYPLAN_LEFT_OUT` names, for the summary of `tests/run`.
pub fn leave_out(test: &str, reason: &str) {
    // One write each, because other tests write at the same time.
    let line = format!("left out: {reason} ({test})\n");
    std::io::stderr().write_all(line.as_bytes()).expect("stderr takes a line");
    if let Some(path) = std::env::var_os("BAYPLAN_LEFT_OUT") {
        let mut file = File::options().append(true).create(true).open(path).expect("BAYPLAN_LEFT_OUT can be written");
        file.write_all(format!("{reason}\t{test}\n").as_bytes()).expect("BAYPLAN_LEFT_OUT can be written");
    }
}

/// Calls `check` until it gives `Ok`, and returns that. `Err` is what was seen instead.
///
/// # Panics
/// After `limit`, naming `what` and the last thing seen.
pub fn wait_for<T>(what: &str, limit: Duration, mut check: impl FnMut() -> Result<T, String>) -> T {
    // Short against anything an engine does, long against the cost of asking it.
    const PAUSE: Duration = Duration::from_millis(20);
    let start = Instant::now();
    loop {
        match check() {
            Ok(value) => return value,
            Err(seen) if start.elapsed() >= limit => {
                panic!("waited {limit:?} for {what}; the last thing seen was: {seen}")
            }
            Err(_) => thread::sleep(PAUSE),
        }
    }
}

impl Fleet {
    /// The fleet that `BAYPLAN_FLEET` names; `None` where it names none.
    ///
    /// # Panics
    /// When the file cannot be read: a fleet that was promised and is not there is no reason to leave tests out.
    pub fn from_env() -> Option<Fleet> {
        let path = PathBuf::from(std::env::var_os("BAYPLAN_FLEET").filter(|path| !path.is_empty())?);
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let fleet: Fleet = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(fleet.format, 1, "{}: another format than this code reads", path.display());
        Some(fleet)
    }

    /// Waits until no other test of this process or another has the fleet, wipes its hosts, and gives it.
    ///
    /// The wiping is at the start and not at the end, so that what a failed test left can be looked at.
    pub fn lease() -> Option<Lease> {
        let fleet = Fleet::from_env()?;
        // A test that panicked did no harm that wiping does not mend.
        let other_threads = OTHER_THREADS.lock().unwrap_or_else(PoisonError::into_inner);
        let other_processes = File::create(fleet.folder.join("lease")).expect("the fleet folder is ours to write");
        other_processes.lock().expect("a file in the fleet folder can be locked");
        fleet.wipe_all();
        Some(Lease { fleet, _other_processes: other_processes, _other_threads: other_threads })
    }

    /// # Panics
    /// When there is no such host.
    pub fn host(&self, name: &str) -> &Host {
        self.find(name).unwrap_or_else(|| panic!("the fleet has no host {name}; left out: {:?}", self.left_out))
    }

    /// A host that may have been left out, as `host-4` with its newer engine is where it cannot be had.
    pub fn find(&self, name: &str) -> Option<&Host> {
        self.hosts.iter().find(|host| host.name == name)
    }

    /// Runs the Docker command line against a host's socket, for a minute at most.
    pub fn docker(&self, host: &str, args: &[&str]) -> Output {
        Command::new("timeout")
            .args(["60", "docker", "-H"])
            .arg(format!("unix://{}", self.host(host).socket.display()))
            .args(args)
            .env("DOCKER_CONFIG", self.folder.join("docker-config"))
            .env_remove("DOCKER_TLS_VERIFY")
            .output()
            .expect("the Docker command line starts")
    }

    /// What `docker` prints, without surrounding blanks, or all that it said when it failed.
    pub fn try_docker(&self, host: &str, args: &[&str]) -> Result<String, String> {
        let output = self.docker(host, args);
        let out = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if output.status.success() {
            Ok(out)
        } else {
            Err(format!("{} {out} {}", output.status, String::from_utf8_lossy(&output.stderr).trim()))
        }
    }

    /// What `docker` prints.
    ///
    /// # Panics
    /// When it fails.
    pub fn docker_text(&self, host: &str, args: &[&str]) -> String {
        self.try_docker(host, args).unwrap_or_else(|error| panic!("docker {} on {host}: {error}", args.join(" ")))
    }

    /// Removes from a host what the product and the tests make: containers, networks and volumes with the label
    /// `bayplan.owner` or [`TEST_LABEL`], containers without either that tests started under a name that begins with
    /// that word, and what was pulled from the registry.
    pub fn wipe(&self, host: &str) {
        let filters =
            ["label=bayplan.owner".to_owned(), format!("label={TEST_LABEL}"), format!("name=^/?{TEST_LABEL}")];
        for filter in &filters {
            self.remove_listed(host, &["ps", "-aq", "--filter", filter], &["rm", "-f", "-v"]);
        }
        for filter in &filters[..2] {
            self.remove_networks(host, filter);
            self.remove_listed(host, &["volume", "ls", "-q", "--filter", filter], &["volume", "rm", "-f"]);
        }
        // By name and not by id: an image that was pulled is the one that was pushed, under one more name.
        let pulled = format!("reference={}/*", self.registry.address);
        for name in ["{{.Repository}}@{{.Digest}}", "{{.Repository}}:{{.Tag}}"] {
            self.remove_listed(host, &["images", "--digests", "--filter", &pulled, "--format", name], &["rmi"]);
        }
        self.restore_images(host);
    }

    /// Wipes all hosts, at the same time.
    pub fn wipe_all(&self) {
        thread::scope(|scope| {
            for host in &self.hosts {
                scope.spawn(|| self.wipe(&host.name));
            }
        });
    }

    /// Takes the host off the switch; its containers reach each other still.
    pub fn cut(&self, host: &str) -> Fault<'_> {
        self.set_link(host, "down");
        self.fault(host, Fleet::join)
    }

    /// Puts a host that was cut off back on the switch.
    pub fn join(&self, host: &str) {
        self.set_link(host, "up");
    }

    /// Stops the engine's process where it stands (`SIGSTOP`): connections are accepted and never answered.
    pub fn hang(&self, host: &str) -> Fault<'_> {
        self.signal_engine(host, "STOP");
        self.fault(host, Fleet::resume)
    }

    /// Stops two engines by one signal: nobody finds the one silent and the other not yet.
    pub fn hang_both(&self, hosts: [&str; 2]) -> [Fault<'_>; 2] {
        let pids = hosts.map(|host| self.engine_pid(host));
        succeed(Command::new("kill").args(["-s", "STOP"]).args(pids));
        hosts.map(|host| self.fault(host, Fleet::resume))
    }

    /// Lets an engine that hangs go on.
    pub fn resume(&self, host: &str) {
        self.signal_engine(host, "CONT");
    }

    /// Kills the engine (`SIGKILL`). Its containers run on, and are ended when it is started again.
    pub fn kill_engine(&self, host: &str) -> Fault<'_> {
        self.signal_engine(host, "KILL");
        self.fault(host, Fleet::restart)
    }

    /// Stops the engine, if it runs, and starts it again; returns when it answers.
    pub fn restart(&self, host: &str) {
        succeed(
            Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fleet"))
                .args(["restart", host])
                .env("BAYPLAN_FLEET_DIR", &self.folder),
        );
    }

    fn fault(&self, host: &str, mend: fn(&Fleet, &str)) -> Fault<'_> {
        Fault { fleet: self, host: host.to_owned(), mend }
    }

    fn set_link(&self, host: &str, state: &str) {
        let link = &self.host(host).veth;
        succeed(
            Command::new("nsenter")
                .arg(format!("--net={}", self.switch.netns.display()))
                .args(["ip", "link", "set", link, state]),
        );
    }

    fn signal_engine(&self, host: &str, signal: &str) {
        succeed(Command::new("kill").args(["-s", signal, &self.engine_pid(host)]));
    }

    fn engine_pid(&self, host: &str) -> String {
        let file = &self.host(host).engine_pid_file;
        let pid = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        pid.trim().to_owned()
    }

    /// An engine that was asked for several things at once may have miscounted who uses a network: it refuses to remove one
    /// that nobody is on, until it is started again.
    fn remove_networks(&self, host: &str, filter: &str) {
        let listed = self.docker_text(host, &["network", "ls", "-q", "--filter", filter]);
        let remove = |id: &str| self.try_docker(host, &["network", "rm", id]);
        let stuck: Vec<&str> = listed
            .split_whitespace()
            .filter(|id| match remove(id) {
                Ok(_) => false,
                Err(error) if self.is_miscounted(host, id, &error) => true,
                Err(error) => panic!("docker network rm {id} on {host}: {error}"),
            })
            .collect();
        if !stuck.is_empty() {
            self.restart(host);
            stuck.iter().for_each(|id| drop(self.docker_text(host, &["network", "rm", id])));
        }
    }

    fn is_miscounted(&self, host: &str, network: &str, error: &str) -> bool {
        let users = || self.docker_text(host, &["network", "inspect", "--format", "{{len .Containers}}", network]);
        error.contains("has active endpoints") && users() == "0"
    }

    fn remove_listed(&self, host: &str, list: &[&str], remove: &[&str]) {
        let listed = self.docker_text(host, list);
        // The lists of images have one line per name, with `<none>` where an image has a tag or a digest only.
        let ids: BTreeSet<&str> = listed.split_whitespace().filter(|id| !id.contains("<none>")).collect();
        let ids: Vec<&str> = ids.into_iter().collect();
        if !ids.is_empty() {
            self.docker_text(host, &[remove, &ids].concat());
        }
    }

    /// For a test that removed an image to see what happens.
    fn restore_images(&self, host: &str) {
        let present = self.docker_text(host, &["image", "ls", "--format", "{{.Repository}}:{{.Tag}}"]);
        if !self.images.iter().all(|image| present.lines().any(|line| line == image)) {
            let archive = self.folder.join("images/images.tar");
            self.docker_text(host, &["load", "-q", "-i", &archive.display().to_string()]);
        }
    }
}

impl Deref for Lease {
    type Target = Fleet;

    fn deref(&self) -> &Fleet {
        &self.fleet
    }
}

impl Drop for Fault<'_> {
    fn drop(&mut self) {
        (self.mend)(self.fleet, &self.host);
    }
}

/// Runs a command whose failure is ours and not what the test is about.
fn succeed(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {} {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
}
