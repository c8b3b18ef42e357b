//! How an instance reaches the services that it requires: variables, and names in its hosts file.
//!
//! For a requirement on `db`: `DB_HOST`, `DB_PORT`, one `DB_PORT_<containerPort>` each, and `DB_URL` when there is a
//! `connectionString`. On the same host that is the service's name and the container port; from another host it is the
//! lowest-numbered instance's host address and published port, and the name is put into the hosts file.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::model::desired::Inventory;
use crate::model::mapping::{Mapping, Placed};
use crate::model::stack::{Requirement, Service, Stack};
use crate::name::{HostName, InstanceId, StackSlug};
use crate::secret::Secret;

/// What the connections of one instance add to its request.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Connections {
    pub environment: BTreeMap<String, Secret<String>>,
    /// `name:address`, sorted.
    pub extra_hosts: Vec<String>,
}

/// The connections of a service's instance that runs on `host`.
pub fn connections(
    stack: &Stack,
    service: &Service,
    host: &HostName,
    mapping: &Mapping,
    inventory: &Inventory,
) -> Connections {
    let mut found = Connections::default();
    for requirement in &service.requirements {
        if let Some(required) = stack.service(requirement.service.as_str()) {
            connect(&mut found, stack.name.slug(), requirement, required, host, mapping, inventory);
        }
    }
    found
}

fn connect(
    found: &mut Connections,
    stack: &StackSlug,
    requirement: &Requirement,
    required: &Service,
    host: &HostName,
    mapping: &Mapping,
    inventory: &Inventory,
) {
    let instances: Vec<&Placed> = (1..=required.replicas)
        .filter_map(|number| mapping.get(&InstanceId { stack: stack.clone(), service: required.name.clone(), number }))
        .collect();
    let Some(first) = instances.first() else { return };
    let is_here = instances.iter().any(|placed| &placed.host == host);
    let prefix = variable_name(required.name.as_str());
    let mut put = |name: String, value: String| {
        found.environment.insert(name, Secret::new(value));
    };

    let (reach, address) = if is_here {
        (required.name.to_string(), None)
    } else {
        let Some(address) = address_of(&first.host, inventory) else {
            return;
        };
        (address.to_string(), Some(address))
    };
    let reached_port = |container: u16| match address {
        None => Some(container),
        Some(address) => published(first, container, address),
    };
    put(format!("{prefix}_HOST"), reach.clone());
    for port in &required.ports {
        if let Some(reached) = reached_port(port.container) {
            put(format!("{prefix}_PORT_{}", port.container), reached.to_string());
        }
    }
    let written = requirement.connection_string.as_ref();
    let container_port = required
        .ports
        .first()
        .map(|port| port.container)
        .or_else(|| written.and_then(|text| port_of_url(text.expose())));
    let port = container_port.and_then(reached_port);
    if let Some(port) = port {
        put(format!("{prefix}_PORT"), port.to_string());
    }
    if let Some(written) = written {
        let template = template(written.expose(), container_port, |name| names_a_host(name, inventory));
        let port = port.map_or(String::new(), |port| port.to_string());
        let in_url = if reach.contains(':') { format!("[{reach}]") } else { reach };
        put(format!("{prefix}_URL"), template.replace("{host}", &in_url).replace("{port}", &port));
    }
    if address.is_some() {
        let addresses: BTreeSet<IpAddr> =
            instances.iter().filter_map(|placed| address_of(&placed.host, inventory)).collect();
        found.extra_hosts.extend(addresses.iter().map(|address| format!("{}:{address}", required.name)));
        found.extra_hosts.sort();
        found.extra_hosts.dedup();
    }
}

/// The container port of a URL's authority, if it names one.
pub fn port_of_url(url: &str) -> Option<u16> {
    let (_, authority, _) = split_url(url)?;
    let (_, port) = split_host(authority);
    port?.parse().ok()
}

/// Puts `{host}` for a host of the inventory, and then `{port}` for the container port. Only the authority is touched:
/// a password or a path may hold the same words.
fn template(url: &str, container_port: Option<u16>, is_host: impl Fn(&str) -> bool) -> String {
    let Some((before, authority, after)) = split_url(url) else {
        return url.to_owned();
    };
    let (host, port) = split_host(authority);
    if !is_host(host) {
        return url.to_owned();
    }
    let port = match port {
        None => String::new(),
        Some(port) if port.parse().ok() == container_port => ":{port}".to_owned(),
        Some(port) => format!(":{port}"),
    };
    format!("{before}{{host}}{port}{after}")
}

/// Up to the host, host and port, the rest.
fn split_url(url: &str) -> Option<(&str, &str, &str)> {
    let start = url.find("://")? + 3;
    let end = url[start..].find(['/', '?', '#']).map_or(url.len(), |at| start + at);
    let host = url[start..end].rfind('@').map_or(start, |at| start + at + 1);
    Some((&url[..host], &url[host..end], &url[end..]))
}

/// An address of IPv6 without its brackets.
fn split_host(authority: &str) -> (&str, Option<&str>) {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        Some(_) | None => (authority, None),
    };
    (host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host), port)
}

fn names_a_host(name: &str, inventory: &Inventory) -> bool {
    inventory.hosts.values().any(|host| {
        host.name.as_str() == name || host.id.as_deref() == Some(name) || host.ip_address.to_string() == name
    })
}

/// Variables are upper case; what a variable's name cannot hold becomes `_`.
pub fn variable_name(service: &str) -> String {
    service.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
}

fn address_of(host: &HostName, inventory: &Inventory) -> Option<IpAddr> {
    inventory.hosts.get(host).map(|host| host.ip_address)
}

/// The host port under which others reach a container port; one on the host's address before any other.
fn published(placed: &Placed, container: u16, address: IpAddr) -> Option<u16> {
    let of_port = || placed.ports.iter().filter(|port| port.container == container && !port.host_ip.is_loopback());
    let best = of_port().find(|port| port.host_ip == address).or_else(|| of_port().next());
    best.map(|port| port.host_port)
}

#[cfg(test)]
mod tests {
    use super::{port_of_url, template};

    #[test]
    fn only_the_host_part_of_a_url_is_compared_with_the_inventory() {
        let is_host = |name: &str| name == "host-1";
        let check = |url: &str| template(url, Some(5432), is_host);
        assert_eq!(check("postgres://host-1:5432"), "postgres://{host}:{port}");
        assert_eq!(
            check("postgres://host-1:host-1@host-1:5432/host-1?h=host-1"),
            "postgres://host-1:host-1@{host}:{port}/host-1?h=host-1"
        );
        assert_eq!(check("postgres://elsewhere:5432/x"), "postgres://elsewhere:5432/x");
        assert_eq!(check("postgres://host-1:6000/x"), "postgres://{host}:6000/x");
        assert_eq!(check("postgres://host-1/x"), "postgres://{host}/x");
        assert_eq!(check("Server=host-1"), "Server=host-1");
    }

    #[test]
    fn the_port_of_a_url_is_read_from_its_authority() {
        assert_eq!(port_of_url("redis://:6379@cache:6380/0"), Some(6380));
        assert_eq!(port_of_url("redis://[::1]/0"), None);
        assert_eq!(port_of_url("redis://cache"), None);
    }
}
