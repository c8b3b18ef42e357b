//! What the operator decides, outside the watched repository.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::model::policy::Policy;

/// The configuration. Its default is what counts without a file, and is safe.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Path or URL of the watched repository; the command line wins.
    pub repository: Option<String>,
    /// Absent: the branch that HEAD is on at the start.
    pub branch: Option<String>,
    pub push: Push,
    pub poll_interval: Duration,
    /// Absent: the root commit of the watched branch and its name.
    pub owner: Option<String>,
    /// How long a host is unreachable before it counts as lost.
    pub lost_after: Duration,
    pub brake: Brake,
    /// By endpoint as host files write it (`tcp://…`) or by host name.
    pub engines: BTreeMap<String, TlsFiles>,
    /// By registry, as images name it; `docker.io` for images that name none.
    pub registries: BTreeMap<String, RegistryLogin>,
    pub policy: Policy,
    /// IPv4 networks that the stacks' networks are cut from: address and prefix length, at most 24.
    pub subnets: Vec<(std::net::Ipv4Addr, u8)>,
    pub log: LogFormat,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            repository: None,
            branch: None,
            push: Push::Auto,
            poll_interval: Duration::from_secs(60),
            owner: None,
            lost_after: Duration::from_secs(60),
            brake: Brake::default(),
            engines: BTreeMap::new(),
            registries: BTreeMap::new(),
            policy: Policy::default(),
            subnets: Vec::new(),
            log: LogFormat::Text,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Push {
    /// When there is a remote.
    Auto,
    Never,
}

/// Held are more removals than both figures allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Brake {
    /// Percent of the fleet's instances.
    pub fleet_percent: u32,
    pub at_least: u32,
}

impl Default for Brake {
    fn default() -> Self {
        Self { fleet_percent: 20, at_least: 3 }
    }
}

/// PEM files; relative paths are as seen from the configuration file's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    pub ca: PathBuf,
    pub cert: PathBuf,
    pub key: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryLogin {
    pub username: String,
    pub password: PasswordSource,
}

/// Where a password is; never the password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PasswordSource {
    File(PathBuf),
    Environment(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}
