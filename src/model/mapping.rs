//! Where instances go: the result of placement.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::model::stack::Protocol;
use crate::name::{HostName, InstanceId};

/// Instance → host and ports.
pub type Mapping = BTreeMap<InstanceId, Placed>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    pub host: HostName,
    pub ports: Vec<PublishedPort>,
    /// Why this host, in a sentence for people.
    pub why: String,
}

/// A container port that is reachable at an address of the host. Ordered by container port, protocol, address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PublishedPort {
    pub container: u16,
    pub protocol: Protocol,
    pub host_ip: IpAddr,
    pub host_port: u16,
    pub origin: PortOrigin,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PortOrigin {
    /// `hostPort` in the stack file.
    Explicit,
    /// `hostPort: 0`.
    Chosen,
    /// Published because an instance on another host requires it.
    ForOthers,
}
