//! The program as an operator runs it: a process of its own, with a repository, a configuration and two hosts of the
//! fleet.
//!
//! Because many of these work on the same engines at the same time, each has a number, and from it a stack name, an
//! owner, ports and a range of addresses that no other has.

use std::fs;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::fleet::{Fleet, Host, wait_for};
use crate::repository::Repository;
use crate::witness::{self, Listed};

/// Far more than a deployment of two services takes on a busy machine.
pub const LIMIT: Duration = Duration::from_secs(120);

/// How long the maintenance that a fetch starts may take.
const MAINTENANCE: Duration = Duration::from_secs(30);

/// Ports that one site may choose from.
const PORTS: u32 = 10;

pub struct Site<'f> {
    pub fleet: &'f Fleet,
    pub number: u32,
    /// `left` and `right` in its inventory.
    pub hosts: [&'f Host; 2],
    pub repository: Repository,
    /// What the program is told to watch.
    pub location: String,
    /// The commit that was pushed last.
    pub last_push: String,
}

/// How a process ended, and what it said.
pub struct Ended {
    pub status: ExitStatus,
    pub said: String,
}

impl Ended {
    pub fn was_killed(&self) -> bool {
        self.status.signal() == Some(9)
    }

    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }
}

impl<'f> Site<'f> {
    /// A repository with two hosts in it and no stack.
    pub fn new(fleet: &'f Fleet, number: u32) -> Self {
        let count = fleet.hosts.len();
        let first = number as usize % count;
        let hosts = [&fleet.hosts[first], &fleet.hosts[(first + 1) % count]];
        let repository = Repository::new();
        let location = repository.bare().display().to_string();
        let mut site = Self { fleet, number, hosts, repository, location, last_push: String::new() };
        for (name, host) in site.names() {
            let endpoint = host.tcp.clone().unwrap_or_else(|| format!("unix://{}", host.socket.display()));
            let (port, last) = (site.first_port() + 1, site.first_port() + PORTS - 1);
            let text =
                format!("name: {name}\nipAddress: {}\nendpoint: {endpoint}\nportRange: {port}-{last}\n", host.address);
            site.repository.write(&format!("hosts/{name}.yaml"), &text);
        }
        fs::write(site.config(), site.config_text()).expect("the configuration is written");
        site.last_push = site.repository.push("Two hosts");
        site
    }

    /// As [`Site::new`], watched by its URL.
    pub fn elsewhere(fleet: &'f Fleet, number: u32) -> Self {
        let mut site = Self::new(fleet, number);
        site.location = format!("file://{}", site.repository.bare().display());
        site
    }

    pub fn names(&self) -> [(&'static str, &'f Host); 2] {
        [("left", self.hosts[0]), ("right", self.hosts[1])]
    }

    /// With letters that no hexadecimal number has, so that it is in no digest.
    pub fn stack(&self) -> String {
        format!("z{:03}z", self.number)
    }

    pub fn owner(&self) -> String {
        format!("crash-{}", self.number)
    }

    pub fn first_port(&self) -> u32 {
        20_000 + self.number * PORTS
    }

    /// The ports that only this site uses.
    pub fn ports(&self) -> std::ops::Range<u32> {
        self.first_port()..self.first_port() + PORTS
    }

    fn folder(&self) -> PathBuf {
        self.repository.bare().parent().expect("a folder").to_owned()
    }

    fn config(&self) -> PathBuf {
        self.folder().join("bayplan.yaml")
    }

    fn config_text(&self) -> String {
        let mut text =
            format!("owner: {}\nsubnets: [10.{}.{}.0/24]\n", self.owner(), 130 + self.number / 256, self.number % 256);
        // Thousands of looks at engines with much to do: one that is slow once is not what is asked about here.
        text.push_str("answerWithin: 30\npollInterval: 1\nengines:\n");
        for (name, host) in self.names() {
            if let Some(tls) = &host.tls {
                let file = |file: &str| tls.join(file).display().to_string();
                text.push_str(&format!(
                    "  {name}: {{ca: {}, cert: {}, key: {}}}\n",
                    file("ca.pem"),
                    file("cert.pem"),
                    file("key.pem")
                ));
            }
        }
        text.strip_suffix("engines:\n").map(str::to_owned).unwrap_or(text)
    }

    /// Pushes the stack as it shall be; none: without it.
    pub fn push(&mut self, stack: Option<&str>) {
        let path = "stacks/stack.yaml";
        match stack {
            Some(text) => self.repository.write(path, &self.filled_in(text)),
            None => self.repository.remove(path),
        };
        self.last_push = self.repository.push("Change the stack");
    }

    /// `STACK` and `PORT` are this site's.
    fn filled_in(&self, text: &str) -> String {
        text.replace("STACK", &self.stack()).replace("PORT", &self.first_port().to_string())
    }

    /// The program, with nothing of the tester's account in its environment.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bayplan"));
        command
            .args(arguments)
            .arg("--config")
            .arg(self.config())
            .arg(&self.location)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.folder())
            .env("XDG_CACHE_HOME", self.repository.cache())
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .stdin(Stdio::null());
        command
    }

    /// Runs it until it ends.
    pub fn run_to_end(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Ended {
        let mut child = self.start(arguments, variables);
        wait_for(&format!("bayplan {}", arguments.join(" ")), LIMIT, || child.ended().ok_or_else(|| child.said()))
    }

    pub fn start(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Running {
        let out = tempfile::tempfile().expect("a file");
        let child = self
            .command(arguments)
            .envs(variables.iter().copied())
            .stdout(out.try_clone().expect("a file"))
            .stderr(out.try_clone().expect("a file"))
            .spawn()
            .expect("the program starts");
        Running { child, out }
    }

    /// The repositories that the program writes to: the watched one and its mirrors.
    fn repositories(&self) -> Vec<PathBuf> {
        let mirrors = fs::read_dir(self.repository.cache().join("bayplan")).into_iter().flatten();
        let mut all: Vec<PathBuf> = mirrors.map(|entry| entry.expect("an entry").path()).collect();
        all.push(self.repository.bare());
        all
    }

    /// What is broken in a repository, or which locks were left in one.
    pub fn check_repositories(&self) -> Result<(), String> {
        for repository in self.repositories() {
            try_git(&repository, &["fsck", "--strict", "--no-dangling", "--no-progress"])?;
            // What `git` itself does behind its own back may hold one for a moment.
            let until = Instant::now() + MAINTENANCE;
            let mut locks = locks_below(&repository);
            while !locks.is_empty() && Instant::now() < until {
                locks = locks_below(&repository);
            }
            if !locks.is_empty() {
                return Err(format!("left behind: {locks:?}"));
            }
        }
        Ok(())
    }

    /// Whether the ledger says that this revision runs, and nothing else is under way.
    pub fn runs(&self, revision: &str) -> Result<(), String> {
        let path = format!("bayplan/status:status/{}.json", self.stack());
        let file = try_git(&self.repository.bare(), &["show", &path])?;
        let record: Value = serde_json::from_str(&file).map_err(|error| error.to_string())?;
        let is_so = record["status"] == "running" && record["revision"] == revision && record.get("next").is_none();
        if is_so { Ok(()) } else { Err(record.to_string()) }
    }

    /// What it has on a host.
    pub fn listed(&self, host: &Host) -> Listed {
        witness::list(host, &self.owner(), &self.stack())
    }

    /// Whether an engine has a network of it of which it names no user.
    pub fn has_a_network_of_nobody(&self) -> bool {
        self.hosts.iter().any(|host| {
            let listed = self.listed(host).networks;
            let mut ids = listed.iter().filter_map(|network| network["Id"].as_str());
            ids.any(|id| witness::nobody_uses(host, &format!("/networks/{id}")))
        })
    }

    /// Removes what it has on its hosts.
    pub fn clean(&self) {
        for host in self.hosts {
            witness::remove(host, &self.listed(host));
        }
    }
}

fn locks_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(locks_below(&path));
        } else if path.extension().is_some_and(|extension| extension == "lock") {
            found.push(path);
        }
    }
    found
}

/// Runs git and gives what it printed, or all that it said when it failed.
fn try_git(repository: &Path, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("git").args(arguments).current_dir(repository).output().expect("git can be run");
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() { Ok(out) } else { Err(out + &String::from_utf8_lossy(&output.stderr)) }
}

/// A process that does not outlive its test.
pub struct Running {
    child: Child,
    out: fs::File,
}

impl Running {
    /// None: it runs still.
    pub fn ended(&mut self) -> Option<Ended> {
        let status = self.child.try_wait().expect("it can be waited for")?;
        Some(Ended { status, said: self.said() })
    }

    /// What it has said so far.
    pub fn said(&self) -> String {
        let mut bytes = Vec::new();
        let (mut offset, mut part) = (0, [0; 8192]);
        while let Ok(read @ 1..) = self.out.read_at(&mut part, offset) {
            bytes.extend_from_slice(&part[..read]);
            offset += read as u64;
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    pub fn kill(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it ends");
    }

    /// Tells it to end, and waits until it has.
    pub fn stop(&mut self) -> Ended {
        let id = self.child.id().to_string();
        Command::new("kill").args(["-s", "TERM", &id]).status().expect("it can be told");
        wait_for("bayplan to end as it is told", LIMIT, || self.ended().ok_or_else(|| self.said()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Says a measured figure, past the test harness.
pub fn note(text: &str) {
    std::io::stderr().write_all(format!("{text}\n").as_bytes()).expect("stderr takes a line");
}
