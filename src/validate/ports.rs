//! Host ports that two containers would need at one address of one engine.
//!
//! Judges what is certain from the files alone: services that are pinned to hosts, and services that are placed
//! together whatever the host. For all others placement finds a host where the port is free, or holds the instance.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use crate::diagnostic::code::Code;
use crate::diagnostic::{Diagnostic, Report};
use crate::files::Span;
use crate::model::desired::Inventory;
use crate::model::host::{Endpoint, Host};
use crate::model::stack::{HostPort, Protocol, Service, Stack, Strategy};
use crate::name::{HostName, ServiceName, StackSlug};

/// Where ports are taken from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Place<'a> {
    /// Hosts with one endpoint share an engine.
    Engine(&'a Endpoint),
    /// A host without an endpoint is one of its own.
    Host(&'a HostName),
    /// Wherever the stack goes: it goes there as one.
    Together(&'a StackSlug),
    /// Wherever one instance of the service goes.
    Instance(&'a StackSlug, &'a ServiceName),
}

struct Taken<'a> {
    slug: &'a StackSlug,
    service: &'a Service,
    /// None: the host's `publishAddress`, whichever host that is.
    address: Option<IpAddr>,
    at: &'a Span,
}

/// Adds a finding for each pair that clashes, and the stacks of both to `wrong`.
pub fn clashes(
    stacks: &BTreeMap<StackSlug, Arc<Stack>>,
    inventory: &Inventory,
    wrong: &mut BTreeSet<StackSlug>,
    report: &mut Report,
) {
    let mut taken: BTreeMap<(Place<'_>, Protocol, u16), Vec<Taken<'_>>> = BTreeMap::new();
    for (slug, stack) in stacks {
        for service in &stack.services {
            let (place, host) = place(slug, stack, service, inventory);
            let together = !matches!(place, Place::Instance(..));
            for (index, port) in service.ports.iter().enumerate() {
                let HostPort::Explicit(number) = port.host else {
                    continue;
                };
                let new = Taken {
                    slug,
                    service,
                    address: port.host_ip.or(host.map(|host| host.publish_address)),
                    at: service.at.of(&format!("/ports/{index}/hostPort")),
                };
                if together && service.replicas > 1 {
                    report.add(with_itself(&new, number, port.protocol));
                    wrong.insert(slug.clone());
                }
                let others = taken.entry((place.clone(), port.protocol, number)).or_default();
                if let Some(other) = others.iter().find(|other| meet(other.address, new.address)) {
                    report.add(clash(other, &new, number, port.protocol, host));
                    wrong.extend([slug.clone(), other.slug.clone()]);
                }
                others.push(new);
            }
        }
    }
}

/// Where a service's ports are taken, and its host if that is certain.
fn place<'a>(
    slug: &'a StackSlug,
    stack: &'a Stack,
    service: &'a Service,
    inventory: &'a Inventory,
) -> (Place<'a>, Option<&'a Host>) {
    let pinned = service.target_host.as_ref().or(stack.target_host.as_ref());
    let host = pinned.and_then(|name| inventory.hosts.get(name));
    match host {
        Some(host) => match &host.endpoint {
            Some(endpoint) => (Place::Engine(endpoint), Some(host)),
            None => (Place::Host(&host.name), Some(host)),
        },
        None if stack.placement == Strategy::Single => (Place::Together(slug), None),
        None => (Place::Instance(slug, &service.name), None),
    }
}

/// Whether two addresses take a port from each other; all addresses meet every one.
fn meet(a: Option<IpAddr>, b: Option<IpAddr>) -> bool {
    let any = |address: Option<IpAddr>| address.is_some_and(|address| address.is_unspecified());
    a == b || any(a) || any(b)
}

fn clash(other: &Taken<'_>, new: &Taken<'_>, number: u16, protocol: Protocol, host: Option<&Host>) -> Diagnostic {
    let protocol = protocol.as_str();
    let who = |taken: &Taken<'_>| format!("`{}` of stack `{}`", taken.service.name, taken.slug);
    let place = match host {
        Some(host) => format!("on `{}`", host.name),
        None => "on one host".to_owned(),
    };
    let message = format!("port {number}/{protocol} {place} is wanted twice");
    let diagnostic = Diagnostic::new(Code::PortClash, message, new.at).label(who(new));
    diagnostic.also(other.at, who(other)).hint("write another `hostPort`, or `0` for one that is free")
}

fn with_itself(taken: &Taken<'_>, number: u16, protocol: Protocol) -> Diagnostic {
    let service = taken.service;
    let message = format!(
        "{} instances of `{}` on one host all want port {number}/{}",
        service.replicas,
        service.name,
        protocol.as_str()
    );
    let diagnostic = Diagnostic::new(Code::PortClash, message, taken.at);
    let diagnostic = diagnostic.also(service.at.of("/replicas"), "so many instances");
    diagnostic.hint("write `hostPort: 0`, or do not pin the service to one host")
}
