//! The rules that need more than one file: hosts that exist, and names and ports that several stacks want.
//!
//! Takes checked files in the order of their paths. Gives the revision's model; findings are added to the report.
//!
//! Never judges a name of a host while a host file is wrong: the missing host may stand in that file.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{CheckedFile, CheckedStack, Outcome, RefersTo, ports};
use crate::diagnostic::code::Code;
use crate::diagnostic::{Diagnostic, Report};
use crate::files::Span;
use crate::model::desired::{Desired, Inventory};
use crate::model::host::Host;
use crate::model::stack::{NetworkMode, Service, Stack};
use crate::name::{HostName, NetworkName, StackSlug};
use crate::parse::suggest::did_you_mean;

/// See the module.
pub fn combine(files: &[&CheckedFile], report: &mut Report) -> Desired {
    let inventory = inventory(files, report);
    let mut desired = Desired { inventory, ..Desired::default() };
    let hosts = Hosts::of(&desired.inventory);
    let mut first: BTreeMap<StackSlug, &Span> = BTreeMap::new();
    let mut stacks: BTreeMap<StackSlug, Arc<Stack>> = BTreeMap::new();
    for file in files {
        let (slug, at) = match &file.outcome {
            Outcome::Stack(checked) => (checked.stack.name.slug(), checked.stack.at.of("/name")),
            Outcome::WrongStack(wrong) => match &wrong.name {
                Some(name) => (name.slug(), &wrong.at),
                None => {
                    desired.nameless.insert(file.path.clone());
                    continue;
                }
            },
            Outcome::Inert | Outcome::Hosts(_) | Outcome::WrongHosts => continue,
        };
        if let Some(first) = first.get(slug) {
            let message = format!("two stacks are named `{slug}`");
            let diagnostic = Diagnostic::new(Code::DuplicateStack, message, at);
            report.add(diagnostic.label("again here").also(first, "first here"));
            desired.wrong.insert(slug.clone());
            continue;
        }
        first.insert(slug.clone(), at);
        match &file.outcome {
            Outcome::Stack(checked) => match resolve(checked, &hosts, report) {
                Some(stack) => {
                    stacks.insert(slug.clone(), stack);
                }
                None => {
                    desired.wrong.insert(slug.clone());
                }
            },
            Outcome::WrongStack(_) | Outcome::Inert | Outcome::Hosts(_) | Outcome::WrongHosts => {
                desired.wrong.insert(slug.clone());
            }
        }
    }
    stacks.retain(|slug, _| !desired.wrong.contains(slug));
    let mut wrong = BTreeSet::new();
    container_names(&stacks, &mut wrong, report);
    shared_networks(&stacks, &mut wrong, report);
    ports::clashes(&stacks, &desired.inventory, &mut wrong, report);
    stacks.retain(|slug, _| !wrong.contains(slug));
    desired.wrong.extend(wrong);
    desired.stacks = stacks;
    desired
}

fn inventory(files: &[&CheckedFile], report: &mut Report) -> Inventory {
    let mut inventory = Inventory::default();
    for file in files {
        match &file.outcome {
            Outcome::WrongHosts => {
                inventory.wrong.insert(file.path.clone());
            }
            Outcome::Hosts(hosts) => {
                for host in hosts {
                    if let Some(first) = inventory.hosts.get(&host.name) {
                        let message = format!("two hosts are named `{}`", host.name);
                        let diagnostic = Diagnostic::new(Code::DuplicateHost, message, host.at.of("/name"));
                        report.add(diagnostic.label("again here").also(first.at.of("/name"), "first here"));
                        inventory.wrong.insert(file.path.clone());
                        inventory.wrong.insert(first.at.whole().path.clone());
                    } else {
                        inventory.hosts.insert(host.name.clone(), host.clone());
                    }
                }
            }
            Outcome::Inert | Outcome::Stack(_) | Outcome::WrongStack(_) => {}
        }
    }
    shared_addresses(&inventory, report);
    inventory
}

fn shared_addresses(inventory: &Inventory, report: &mut Report) {
    let mut by_address: BTreeMap<_, &Arc<Host>> = BTreeMap::new();
    for host in inventory.hosts.values() {
        let first = *by_address.entry(host.ip_address).or_insert(host);
        if let (Some(a), Some(b)) = (&first.endpoint, &host.endpoint)
            && a != b
        {
            let message = format!("`{}` has the address of `{}`, but another engine", host.name, first.name);
            let diagnostic = Diagnostic::new(Code::SharedAddress, message, host.at.of("/ipAddress"));
            report.add(diagnostic.also(first.at.of("/ipAddress"), format!("the address of `{}`", first.name)));
        }
    }
}

/// The inventory as references to it are looked up.
struct Hosts<'a> {
    inventory: &'a Inventory,
    /// `@id` → host; none where several have it.
    by_id: BTreeMap<&'a str, Option<&'a HostName>>,
    datacenters: BTreeSet<&'a str>,
}

impl<'a> Hosts<'a> {
    fn of(inventory: &'a Inventory) -> Self {
        let mut by_id = BTreeMap::new();
        for host in inventory.hosts.values() {
            if let Some(id) = &host.id {
                by_id.entry(id.as_str()).and_modify(|known| *known = None).or_insert(Some(&host.name));
            }
        }
        let datacenters = inventory.hosts.values().filter_map(|host| host.datacenter.as_deref()).collect();
        Self { inventory, by_id, datacenters }
    }

    fn find(&self, text: &str) -> Option<&HostName> {
        let by_name = self.inventory.hosts.get_key_value(text).map(|(name, _)| name);
        by_name.or_else(|| self.by_id.get(text).copied().flatten())
    }

    fn complete(&self) -> bool {
        self.inventory.wrong.is_empty()
    }
}

/// The stack with every host that it names, or findings. Shared with the cache where nothing had to be changed.
fn resolve(checked: &CheckedStack, hosts: &Hosts<'_>, report: &mut Report) -> Option<Arc<Stack>> {
    let before = report.count_errors();
    let mut stack = checked.stack.clone();
    let mut remote = Vec::new();
    for reference in &checked.host_refs {
        match hosts.find(&reference.text) {
            Some(host) => {
                if host.as_str() != reference.text {
                    put(&mut stack, &reference.refers_to, &reference.text, host);
                }
                if let RefersTo::RemoteHost(from, service) = &reference.refers_to {
                    remote.push((*from, service.clone(), host.clone(), &reference.at));
                }
            }
            None if hosts.complete() => report.add(unknown_host(&reference.text, &reference.at, hosts)),
            None => {}
        }
    }
    datacenters(&stack, hosts, report);
    for (from, service, said, at) in remote {
        let Some(required) = stack.service(service.as_str()) else {
            continue;
        };
        let pinned = stack.target_host.as_ref().or(required.target_host.as_ref());
        if let Some(pinned) = pinned.filter(|pinned| **pinned != said) {
            let is = refers(checked, |r| match r {
                RefersTo::StackHost => stack.target_host.is_some(),
                RefersTo::ServiceHost(i) => stack.services[*i].name == service,
                RefersTo::RemoteHost(..) | RefersTo::NotOn(_) => false,
            });
            let by = &stack.services[from].name;
            let message = format!("`{by}` says that `{service}` is on `{said}`, but it is pinned to `{pinned}`");
            let mut diagnostic = Diagnostic::new(Code::RemoteHostMismatch, message, at).label("says where it is");
            if let Some(is) = is {
                diagnostic = diagnostic.also(is, "pinned here");
            }
            report.add(diagnostic.hint(format!("write `remoteHost: {pinned}`, or leave `remoteHost` out")));
        }
    }
    (report.count_errors() == before).then_some(stack)
}

fn refers(checked: &CheckedStack, which: impl Fn(&RefersTo) -> bool) -> Option<&Span> {
    checked.host_refs.iter().find(|reference| which(&reference.refers_to)).map(|reference| &reference.at)
}

/// Replaces what was written (an `@id`) by the host's name.
fn put(stack: &mut Arc<Stack>, refers_to: &RefersTo, written: &str, host: &HostName) {
    let stack = Arc::make_mut(stack);
    match refers_to {
        RefersTo::StackHost => stack.target_host = Some(host.clone()),
        RefersTo::ServiceHost(i) => Arc::make_mut(&mut stack.services[*i]).target_host = Some(host.clone()),
        RefersTo::NotOn(i) => {
            let not_on = &mut Arc::make_mut(&mut stack.services[*i]).constraints.not_on;
            not_on.remove(written);
            not_on.insert(host.clone());
        }
        RefersTo::RemoteHost(i, service) => {
            let requirements = &mut Arc::make_mut(&mut stack.services[*i]).requirements;
            for requirement in requirements.iter_mut().filter(|r| r.service == *service) {
                requirement.remote_host = Some(host.clone());
            }
        }
    }
}

fn unknown_host(text: &str, at: &Span, hosts: &Hosts<'_>) -> Diagnostic {
    let message = format!("there is no host `{}`", text.escape_debug());
    let diagnostic = Diagnostic::new(Code::UnknownHost, message, at);
    let names = hosts.inventory.hosts.keys().map(HostName::as_str);
    match did_you_mean(text, names) {
        Some(hint) => diagnostic.hint(hint),
        None if hosts.inventory.hosts.is_empty() => diagnostic.hint("no file under `hosts/` declares a host"),
        None => diagnostic,
    }
}

fn datacenters(stack: &Stack, hosts: &Hosts<'_>, report: &mut Report) {
    if !hosts.complete() {
        return;
    }
    let own = stack.datacenter.iter().map(|name| (name, stack.at.of("/datacenter")));
    let services = stack.services.iter();
    let services =
        services.filter_map(|s| Some((s.constraints.datacenter.as_ref()?, s.at.of("/constraints/datacenter"))));
    for (name, at) in own.chain(services) {
        if !hosts.datacenters.contains(name.as_str()) {
            let message = format!("no host is in a datacenter `{}`", name.escape_debug());
            let diagnostic = Diagnostic::new(Code::UnknownDatacenter, message, at);
            report.add(match did_you_mean(name, hosts.datacenters.iter().copied()) {
                Some(hint) => diagnostic.hint(hint),
                None => diagnostic,
            });
        }
    }
}

/// Containers are `{stack}-{service}-{number}`, so equal are those with equal `{stack}-{service}`.
fn container_names(stacks: &BTreeMap<StackSlug, Arc<Stack>>, wrong: &mut BTreeSet<StackSlug>, report: &mut Report) {
    let mut taken: BTreeMap<String, (&StackSlug, &Service)> = BTreeMap::new();
    for (slug, stack) in stacks {
        for service in &stack.services {
            let name = format!("{slug}-{}", service.name);
            if let Some((other, first)) = taken.get(&name) {
                let message = format!("two containers would be named `{name}-1`");
                let diagnostic = Diagnostic::new(Code::DuplicateContainerName, message, service.at.of("/name"));
                let diagnostic = diagnostic.label(format!("`{}` of stack `{slug}`", service.name));
                report.add(diagnostic.also(first.at.of("/name"), format!("`{}` of stack `{other}`", first.name)));
                wrong.extend([slug.clone(), (*other).clone()]);
            } else {
                taken.insert(name, (slug, service));
            }
        }
    }
}

/// On one network a name must lead to one service.
fn shared_networks(stacks: &BTreeMap<StackSlug, Arc<Stack>>, wrong: &mut BTreeSet<StackSlug>, report: &mut Report) {
    let mut networks: BTreeMap<&NetworkName, Vec<&StackSlug>> = BTreeMap::new();
    for (slug, stack) in stacks {
        networks.entry(&stack.network.name).or_default().push(slug);
    }
    for (network, slugs) in networks.into_iter().filter(|(_, slugs)| slugs.len() > 1) {
        let mut taken: BTreeMap<&str, (&StackSlug, &Service)> = BTreeMap::new();
        for slug in slugs {
            let on_network = |service: &&Arc<Service>| service.settings.network_mode == NetworkMode::Stack;
            for service in stacks[slug].services.iter().filter(on_network) {
                if let Some((other, first)) = taken.get(service.name.as_str()) {
                    let name = &service.name;
                    let message = format!("stacks `{other}` and `{slug}` both have a `{name}` on network `{network}`");
                    let diagnostic = Diagnostic::new(Code::ServiceNameClash, message, service.at.of("/name"));
                    let diagnostic = diagnostic.label(format!("in stack `{slug}`"));
                    report.add(diagnostic.also(first.at.of("/name"), format!("in stack `{other}`")));
                    wrong.extend([slug.clone(), (*other).clone()]);
                } else {
                    taken.insert(service.name.as_str(), (slug, service));
                }
            }
        }
    }
}
