//! One host: what was written, made into what was meant.

use std::net::IpAddr;

use super::scope::Scope;
use crate::diagnostic::Report;
use crate::diagnostic::code::Code;
use crate::model::host::{Endpoint, Host, HostStatus};
use crate::name::HostName;
use crate::parse::HostsFile;
use crate::parse::raw::Text;
use crate::parse::raw::host::RawHost;

/// Ports that may be chosen when a host says nothing: above the registered services, below the ephemeral range.
const PORT_RANGE: (u16, u16) = (20_000, 29_999);

/// The hosts of a file, as far as they could be understood; findings are added to the report.
pub fn hosts(file: &HostsFile, report: &mut Report) -> Vec<Host> {
    let hosts = file.hosts.iter().filter_map(|(pointer, raw)| {
        let mut scope = Scope { tree: &file.tree, pointer: pointer.clone(), report };
        host(raw, &mut scope)
    });
    hosts.collect()
}

fn host(raw: &RawHost, scope: &mut Scope<'_>) -> Option<Host> {
    let name = scope.name(&raw.name, "host name", "/name", HostName::new);
    let ip_address = scope.address(&raw.ip_address, "/ipAddress");
    if let Some(why) = ip_address.and_then(unreachable) {
        let message = format!("`ipAddress` is what other hosts connect to, and {why} address leads nowhere from there");
        let hint = "write the machine's own address; `publishAddress` is what ports bind to";
        scope.find_with_hint(Code::BadAddress, message, "/ipAddress", hint);
    }
    let publish_address = match &raw.publish_address {
        Some(text) => scope.address(text, "/publishAddress"),
        None => ip_address,
    };
    if raw.publish_address.is_some() && publish_address.is_some_and(|address| address.is_multicast()) {
        scope.find(Code::BadAddress, "ports cannot bind to a multicast address", "/publishAddress");
    }
    let count = raw.processor_count.map(|count| count.to_string());
    let cpu = scope.cpu(text(&raw.cpu), "/cpu");
    let count = scope.cpu(count.as_deref(), "/processorCount");
    let memory = scope.memory(text(&raw.memory), "/memory");
    let size = scope.memory(text(&raw.memory_size), "/memorySize");
    let endpoint = raw.endpoint.as_deref().and_then(|text| endpoint(text, "/endpoint", scope));
    let socket = raw.docker_socket.as_deref().and_then(|text| {
        let with_scheme = format!("unix://{text}");
        let text = if text.starts_with('/') { &with_scheme } else { text };
        self::endpoint(text, "/dockerSocket", scope)
    });
    let reserved = raw.reserved.clone().unwrap_or_default();
    let host = Host {
        name: name?,
        id: raw.id.clone().filter(|id| !id.is_empty()),
        ip_address: ip_address?,
        publish_address: publish_address?,
        cpu: one_of(cpu, count, ["cpu", "processorCount"], scope),
        memory: one_of(memory, size, ["memory", "memorySize"], scope),
        datacenter: one_of(raw.datacenter.clone(), raw.location.clone(), ["datacenter", "location"], scope),
        status: raw.status.as_deref().map_or(HostStatus::Active, status),
        labels: raw.labels.iter().map(|(key, Text(value))| (key.clone(), value.clone())).collect(),
        endpoint: one_of(endpoint, socket, ["endpoint", "dockerSocket"], scope),
        port_range: raw.port_range.as_deref().map_or(PORT_RANGE, |text| port_range(text, scope)),
        reserved_cpu: scope.cpu(text(&reserved.cpu), "/reserved/cpu").unwrap_or(0),
        reserved_memory: scope.memory(text(&reserved.memory), "/reserved/memory").unwrap_or(0),
        at: scope.tree.places(scope.tree.node(&scope.pointer), "", ""),
    };
    Some(host)
}

fn text(text: &Option<Text>) -> Option<&str> {
    text.as_ref().map(|Text(text)| text.as_str())
}

/// Why no other host can connect to an address; completes "and … address".
fn unreachable(address: IpAddr) -> Option<&'static str> {
    if address.is_loopback() {
        Some("a loopback")
    } else if address.is_unspecified() {
        Some("an unspecified")
    } else if address.is_multicast() {
        Some("a multicast")
    } else {
        None
    }
}

fn endpoint(text: &str, part: &str, scope: &mut Scope<'_>) -> Option<Endpoint> {
    if text.starts_with("ssh://") {
        let hint = "use `tcp://` with TLS, or `unix://` for an engine on this machine";
        scope.find_with_hint(Code::NotSupportedYet, "`ssh://` endpoints are not supported yet", part, hint);
        return None;
    }
    let endpoint = Endpoint::parse(text);
    if endpoint.is_none() {
        let message = format!("`{}` does not say where an engine listens", text.escape_debug());
        let hint = "write `unix:///var/run/docker.sock` or `tcp://address:2376`";
        scope.find_with_hint(Code::BadEndpoint, message, part, hint);
    }
    endpoint
}

/// Of two names of one field the one that is written.
fn one_of<T: PartialEq>(a: Option<T>, b: Option<T>, names: [&str; 2], scope: &mut Scope<'_>) -> Option<T> {
    if a.is_some() && b.is_some() && a != b {
        let [first, second] = names;
        let message = format!("`{first}` and `{second}` mean the same and say different things");
        scope.find(Code::BadValue, message, &format!("/{second}"));
    }
    a.or(b)
}

fn status(text: &str) -> HostStatus {
    let status = HostStatus::ALL.into_iter().find(|status| status.as_str() == text);
    status.expect("the schema lets no other status through")
}

fn port_range(text: &str, scope: &mut Scope<'_>) -> (u16, u16) {
    let range = text.split_once('-').and_then(|(first, last)| {
        let first: u16 = first.trim().parse().ok()?;
        let last: u16 = last.trim().parse().ok()?;
        (1 <= first && first <= last).then_some((first, last))
    });
    range.unwrap_or_else(|| {
        let message = "`portRange` is the first and the last port, such as `20000-29999`";
        scope.find(Code::BadValue, message, "/portRange");
        PORT_RANGE
    })
}
