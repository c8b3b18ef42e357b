//! Rule 5: which host ports instances get, once all have a host.
//!
//! Explicit ports are held since their instance was placed. Then, in name order: recorded ports stay, ports that others
//! need are published under their own number if that is free, and `hostPort: 0` gets the lowest free one of its host's
//! range. A recorded port gives way to an explicit one.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::model::mapping::{PortOrigin, PublishedPort};
use crate::model::stack::{HostPort, NetworkMode, Port, Protocol};
use crate::name::ServiceName;
use crate::placement::fleet::{Holder, socket};
use crate::placement::refusal::Refusal;
use crate::placement::work::{Member, Work, unplaced};

/// Members in name order: by stack, service and number.
pub(super) fn by_name(work: &Work<'_>) -> Vec<usize> {
    let mut order = Vec::with_capacity(work.members.len());
    for stack in &work.stacks {
        let start = order.len();
        order.extend(stack.members.clone());
        order[start..].sort_unstable_by(|a, b| {
            let (a, b) = (&work.members[*a], &work.members[*b]);
            (&a.service.name, a.id.number).cmp(&(&b.service.name, b.id.number))
        });
    }
    order
}

/// A port that still needs a number.
struct Wanted {
    member: usize,
    container: u16,
    protocol: Protocol,
    address: IpAddr,
    origin: PortOrigin,
}

/// Which recorded ports count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Address {
    AsBefore,
    Any,
}

/// The ports of each member, by its index; `order` is that of [`by_name`]. A member that gets none of those that it needs is held.
pub(super) fn assign(work: &mut Work<'_>, order: &[usize]) -> Vec<Vec<PublishedPort>> {
    let mut published: Vec<Vec<PublishedPort>> = vec![Vec::new(); work.members.len()];
    let mut for_others = Vec::new();
    let mut chosen = Vec::new();
    for number in order.iter().copied() {
        let member = &work.members[number];
        let Some(site) = member.site else { continue };
        let host = work.fleet.sites[site].host;
        for port in &member.service.ports {
            let address = member.address(port, host);
            if let Some(host_port) = member.fixed_port(port) {
                published[number].push(PublishedPort {
                    container: port.container,
                    protocol: port.protocol,
                    host_ip: address,
                    host_port,
                    origin: PortOrigin::Explicit,
                });
            } else if is_chosen(member, port) {
                chosen.push(Wanted {
                    member: number,
                    container: port.container,
                    protocol: port.protocol,
                    address,
                    origin: PortOrigin::Chosen,
                });
            }
        }
    }
    for stack in 0..work.stacks.len() {
        needed_by_others(work, stack, &mut for_others);
    }
    for_others.append(&mut chosen);
    let mut wanted = for_others;
    // A number at the address that it had comes before one whose address changed.
    for address in [Address::AsBefore, Address::Any] {
        wanted.retain(|wanted| !keep_recorded(work, wanted, address, &mut published[wanted.member]));
    }
    for wanted in &wanted {
        take(work, wanted, &mut published[wanted.member]);
    }
    for ports in &mut published {
        ports.sort_unstable();
    }
    published
}

fn is_chosen(member: &Member<'_>, port: &Port) -> bool {
    member.service.settings.network_mode == NetworkMode::Stack && port.host == HostPort::Chosen
}

/// Gives a port the number that it had on the same host, if nobody else holds that now.
fn keep_recorded(work: &mut Work<'_>, wanted: &Wanted, address: Address, published: &mut Vec<PublishedPort>) -> bool {
    let member = &work.members[wanted.member];
    let (Some(site), Some(previous)) = (member.site, member.previous) else {
        return false;
    };
    if member.previous_site != Some(site) {
        return false;
    }
    let engine = &mut work.fleet.engines[work.fleet.sites[site].engine];
    for was in &previous.ports {
        let same = was.container == wanted.container
            && was.protocol == wanted.protocol
            && was.origin == wanted.origin
            && (address == Address::Any || was.host_ip == wanted.address);
        let socket = socket(Some(wanted.address), was.host_port, wanted.protocol);
        if same && engine.holder(socket).is_none() {
            engine.hold(socket, Holder::Ours(wanted.member));
            published.push(publish(wanted, was.host_port));
            return true;
        }
    }
    false
}

fn take(work: &mut Work<'_>, wanted: &Wanted, published: &mut Vec<PublishedPort>) {
    let Some(site) = work.members[wanted.member].site else {
        return;
    };
    let host = work.fleet.sites[site].host;
    let engine = &mut work.fleet.engines[work.fleet.sites[site].engine];
    let holder = Holder::Ours(wanted.member);
    let own = socket(Some(wanted.address), wanted.container, wanted.protocol);
    let number = if wanted.origin == PortOrigin::ForOthers && engine.holder(own).is_none() {
        engine.hold(own, holder);
        Some(wanted.container)
    } else {
        engine.take_lowest(wanted.protocol, own.ip, host.port_range, holder)
    };
    match (number, wanted.origin) {
        (Some(number), _) => published.push(publish(wanted, number)),
        (None, PortOrigin::ForOthers) => hold_dependents(work, wanted),
        (None, PortOrigin::Chosen | PortOrigin::Explicit) => {
            let refusal = Refusal::NoFreePort { container: wanted.container, range: host.port_range };
            hold_for_port(work, wanted.member, refusal);
        }
    }
}

fn publish(wanted: &Wanted, host_port: u16) -> PublishedPort {
    PublishedPort {
        container: wanted.container,
        protocol: wanted.protocol,
        host_ip: wanted.address,
        host_port,
        origin: wanted.origin,
    }
}

/// Holds a placed instance that lacks a port on the host that was chosen for it.
fn hold_for_port(work: &mut Work<'_>, number: usize, refusal: Refusal) {
    let member = &mut work.members[number];
    let Some(site) = member.site.take() else { return };
    let name = &work.fleet.sites[site].host.name;
    let why = format!("{name} was chosen, and {name} {refusal}");
    let others = Refusal::AnotherChosen { host: name.clone() };
    let refusals = work.fleet.sites.iter().enumerate().map(|(index, other)| {
        let reason = if index == site { refusal.clone() } else { others.clone() };
        (other.host.name.clone(), vec![reason])
    });
    let held = unplaced(why, refusals.collect());
    work.held.insert(work.members[number].id.clone(), held);
}

/// Holds what requires a service of another host that cannot be reached there; the required one runs on.
fn hold_dependents(work: &mut Work<'_>, wanted: &Wanted) {
    let required = &work.members[wanted.member];
    let (stack, service) = (&work.stacks[required.stack], required.service_index);
    let Some(site) = required.site else { return };
    let refusal = Refusal::NoPortForOthers {
        service: required.service.name.clone(),
        container: wanted.container,
        range: work.fleet.sites[site].host.port_range,
    };
    let needs = |number: &usize| {
        let member = &work.members[*number];
        let requires = member.service.requirements.iter().any(|r| r.service == required.service.name);
        requires && member.site.is_some_and(|own| stack.placed.of((own, service)) == 0)
    };
    let dependents: Vec<usize> = stack.members.clone().filter(needs).collect();
    for number in dependents {
        hold_for_port(work, number, refusal.clone());
    }
}

/// The ports of a stack that must be reachable from other hosts: those that are needed now, and those that were
/// published for others before and still exist.
fn needed_by_others(work: &Work<'_>, stack: usize, wanted: &mut Vec<Wanted>) {
    let stack = &work.stacks[stack];
    let services = &stack.stack.services;
    let mut needs: BTreeMap<usize, BTreeSet<(u16, Protocol)>> = BTreeMap::new();
    let index_of = |name: &ServiceName| services.iter().position(|service| service.name == *name);
    for number in stack.members.clone() {
        let member = &work.members[number];
        if let Some(previous) = member.previous {
            for port in previous.ports.iter().filter(|p| p.origin == PortOrigin::ForOthers) {
                let own = &member.service.ports;
                let exists = |p: &Port| p.container == port.container && p.protocol == port.protocol;
                if own.is_empty() || own.iter().any(exists) {
                    let ports = needs.entry(member.service_index).or_default();
                    ports.insert((port.container, port.protocol));
                }
            }
        }
        let Some(site) = member.site else { continue };
        for requirement in &member.service.requirements {
            let Some(required) = index_of(&requirement.service) else {
                continue;
            };
            if stack.placed.of((site, required)) > 0 {
                continue;
            }
            let ports = needs.entry(required).or_default();
            ports.extend(services[required].ports.iter().map(|p| (p.container, p.protocol)));
            if services[required].ports.is_empty() {
                let text = requirement.connection_string.as_ref();
                let port = text.and_then(|text| port_of(text.expose()));
                ports.extend(port.map(|port| (port, Protocol::Tcp)));
            }
        }
    }
    if needs.is_empty() {
        return;
    }
    for number in stack.members.clone() {
        let member = &work.members[number];
        let (Some(site), Some(ports)) = (member.site, needs.get(&member.service_index)) else {
            continue;
        };
        if member.service.settings.network_mode != NetworkMode::Stack {
            continue;
        }
        let host = work.fleet.sites[site].host;
        for (container, protocol) in ports.iter().copied() {
            let reaches = |port: &Port| {
                let address = member.address(port, host);
                port.container == container
                    && port.protocol == protocol
                    && port.host != HostPort::Unpublished
                    && (address.is_unspecified() || address == host.ip_address)
            };
            if !member.service.ports.iter().any(reaches) {
                wanted.push(Wanted {
                    member: number,
                    container,
                    protocol,
                    address: host.ip_address,
                    origin: PortOrigin::ForOthers,
                });
            }
        }
    }
}

/// The port of `scheme://user:password@host:port/path`, if it names one as a number.
fn port_of(text: &str) -> Option<u16> {
    let (_, rest) = text.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let (_, port) = host.rsplit_once(':')?;
    port.parse().ok().filter(|port| *port != 0)
}

#[cfg(test)]
mod tests {
    use super::port_of;

    #[test]
    fn the_port_of_a_connection_string_is_behind_its_host() {
        assert_eq!(port_of("postgres://user:pa:55@host-1:5432/db?x=1:2"), Some(5432));
        assert_eq!(port_of("redis://[::1]:6379"), Some(6379));
        for text in ["postgres://host-1/db", "host-1:5432", "redis://[::1]", "http://h:port", "x://h:0"] {
            assert_eq!(port_of(text), None, "{text}");
        }
    }
}
