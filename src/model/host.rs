//! A host: a machine with a container engine, as the inventory describes it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use serde_json::json;

use crate::files::Places;
use crate::name::{Digest, HostName};

#[derive(Debug, Clone, PartialEq)]
pub struct Host {
    pub name: HostName,
    pub id: Option<String>,
    /// What other hosts connect to.
    pub ip_address: IpAddr,
    /// What ports bind to.
    pub publish_address: IpAddr,
    /// Thousandths of a core.
    pub cpu: Option<u64>,
    /// Bytes.
    pub memory: Option<u64>,
    pub datacenter: Option<String>,
    pub status: HostStatus,
    pub labels: BTreeMap<String, String>,
    /// None: planned for, never connected to.
    pub endpoint: Option<Endpoint>,
    /// First and last port that may be chosen.
    pub port_range: (u16, u16),
    /// Thousandths of a core that placement leaves alone.
    pub reserved_cpu: u64,
    /// Bytes that placement leaves alone.
    pub reserved_memory: u64,
    pub at: Places,
}

impl Host {
    /// Covers what its file says of it, wherever that is written.
    pub fn digest(&self) -> Digest {
        let text = json!({
            "id": self.id,
            "ipAddress": self.ip_address,
            "publishAddress": self.publish_address,
            "cpu": self.cpu,
            "memory": self.memory,
            "datacenter": self.datacenter,
            "status": self.status.as_str(),
            "labels": self.labels,
            "endpoint": self.endpoint.as_ref().map(Endpoint::to_string),
            "portRange": self.port_range,
            "reserved": [self.reserved_cpu, self.reserved_memory],
        });
        Digest::of(text.to_string().as_bytes())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostStatus {
    Active,
    /// Nothing new.
    Maintenance,
    /// Move off what may move.
    Draining,
    /// Treat as lost now.
    Offline,
    /// The inventory does not name it any more, a human acknowledged that, and something of ours may still be there.
    Left,
}

impl HostStatus {
    /// Those that a host file may give.
    pub const ALL: [Self; 4] = [Self::Active, Self::Maintenance, Self::Draining, Self::Offline];

    /// As host files write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Maintenance => "maintenance",
            Self::Draining => "draining",
            Self::Offline => "offline",
            Self::Left => "left",
        }
    }
}

/// Where an engine listens. Hosts with one endpoint share an engine.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Endpoint {
    Unix(PathBuf),
    /// TLS always; host and port.
    Tcp(String, u16),
    /// An engine inside this process, for tests and for a demo without Docker.
    Memory(String),
}

impl Endpoint {
    /// Reads `unix:///path` or `tcp://host:port`. What it does not read is for the caller to explain.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(path) = text.strip_prefix("unix://") {
            return path.starts_with('/').then(|| Self::Unix(path.into()));
        }
        if let Some(name) = text.strip_prefix("memory://") {
            return (!name.is_empty()).then(|| Self::Memory(name.to_owned()));
        }
        let (host, port) = text.strip_prefix("tcp://")?.trim_end_matches('/').rsplit_once(':')?;
        let port = port.parse().ok()?;
        // An address of IPv6 is written in brackets, and meant without.
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        (!host.is_empty() && !host.starts_with('-') && port != 0).then(|| Self::Tcp(host.to_owned(), port))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(host, port) if host.contains(':') => write!(f, "tcp://[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "tcp://{host}:{port}"),
            Self::Memory(name) => write!(f, "memory://{name}"),
        }
    }
}
