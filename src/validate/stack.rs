//! One stack: what was written, made into what was meant, and the rules that one file can break alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::cycle;
use super::scope::{Scope, part};
use super::service::{self, Defaults};
use super::{CheckedStack, HostRef, RefersTo};
use crate::diagnostic::code::Code;
use crate::diagnostic::{Diagnostic, Report};
use crate::files::Span;
use crate::model::policy::Policy;
use crate::model::stack::{
    Creation, MountSource, OnHostLoss, Service, Stack, StackNetwork, StackVolume, StartOrder, Strategy,
};
use crate::name::{HostName, NetworkName, ServiceName, StackName, VolumeName};
use crate::parse::StackFile;
use crate::parse::raw::stack::{RawService, RawStack, RawUpdate};
use crate::parse::suggest::did_you_mean;

/// The stack, if enough of it could be understood to build one; findings are added to the report.
pub fn stack(file: &StackFile, policy: &Policy, report: &mut Report) -> Option<CheckedStack> {
    let raw = &file.raw;
    let mut scope = Scope { tree: &file.tree, pointer: String::new(), report };
    let name = scope.name(&raw.name, "stack name", "/name", StackName::new);
    let strategy = raw.placement.as_deref().map_or(Strategy::Single, strategy);
    not_supported(raw, &mut scope);
    let pins = pins(raw, strategy, &mut scope);
    let volumes = declared_volumes(raw, &mut scope);
    let network = network(raw, name.as_ref(), &mut scope);
    let services = services(raw, policy, &mut scope);
    let complete = services.len() == raw.item_list_element.len();
    unique(raw, &mut scope);
    references(raw, &mut scope);
    cycle::check(raw, &mut scope);
    host_loss(raw, &volumes, &mut scope);
    // A stack is built only from services that are all there.
    let (name, network) = (name?, network?);
    if !complete {
        return None;
    }
    let mut services = services;
    for (index, service) in services.iter_mut().enumerate() {
        let own = &raw.item_list_element[index];
        let pin = pins.services[index].as_ref();
        service.target_host = pin.and_then(|pin| HostName::new(&pin.text).ok());
        let pinned = pin.is_some() || pins.stack.is_some();
        if pinned && own.on_host_loss.is_none() && raw.on_host_loss.is_none() {
            service.on_host_loss = OnHostLoss::Wait;
        }
    }
    let host_refs = host_refs(raw, &pins, &scope);
    let mut order: Vec<usize> = (0..services.len()).collect();
    order.sort_by_key(|index| services[*index].position);
    let host_refs = host_refs.into_iter().map(|reference| reference.reordered(&order)).collect();
    let mut services: Vec<Arc<Service>> = services.into_iter().map(Arc::new).collect();
    services.sort_by_key(|service| service.position);
    let stack = Stack {
        files: vec![file.tree.path.clone()],
        content: file.content.clone(),
        placement: strategy,
        datacenter: raw.datacenter.clone(),
        target_host: pins.stack.as_ref().and_then(|pin| HostName::new(&pin.text).ok()),
        network,
        volumes: with_implied(volumes, &services),
        start_order: match raw.start_order.as_deref() {
            Some("position") => StartOrder::Position,
            _ => StartOrder::Dependencies,
        },
        suspended: (raw.suspended == Some(true)).then(|| file.tree.of("/suspended")),
        // The places of services are theirs.
        at: file.tree.places(&file.tree.root, "volumes", "itemListElement"),
        name,
        services,
    };
    Some(CheckedStack { stack: Arc::new(stack), host_refs })
}

fn strategy(text: &str) -> Strategy {
    let strategy = Strategy::ALL.into_iter().find(|strategy| strategy.as_str() == text);
    strategy.expect("the schema lets no other placement through")
}

fn not_supported(raw: &RawStack, scope: &mut Scope<'_>) {
    if raw.network.as_ref().and_then(|network| network.driver.as_deref()) == Some("overlay") {
        let hint = "use `bridge`: service names work across hosts without an overlay";
        let message = "`overlay` networks are not supported yet";
        scope.find_with_hint(Code::NotSupportedYet, message, "/network/driver", hint);
    }
}

/// A host that something is pinned to, as written, and where.
#[derive(Debug, Clone)]
struct Pin {
    text: String,
    at: Span,
}

struct Pins {
    /// Of the whole stack, under `single`.
    stack: Option<Pin>,
    /// Of each service, in the order of the file.
    services: Vec<Option<Pin>>,
}

/// Folds `targetHost` and `hostMapping` together.
fn pins(raw: &RawStack, strategy: Strategy, scope: &mut Scope<'_>) -> Pins {
    let own = raw.target_host.as_ref().map(|text| Pin { text: text.clone(), at: scope.at("/targetHost") });
    if let Some(pin) = &own
        && strategy != Strategy::Single
    {
        let message = format!("`targetHost` of a stack goes with `placement: single`, not `{}`", strategy.as_str());
        let hint = "write `placement: single`, or `targetHost` on the services";
        let diagnostic = Diagnostic::new(Code::TargetHostMismatch, message, &pin.at);
        scope.report.add(diagnostic.hint(hint));
    }
    let mut services = Vec::new();
    for (index, service) in raw.item_list_element.iter().enumerate() {
        let pin = service_pin(raw, service, index, scope);
        if pin.is_none() && strategy == Strategy::Manual {
            let message =
                format!("`{}` names no `targetHost`, and the placement is `manual`", service.name.escape_debug());
            let at = scope.at(&format!("/itemListElement/{index}/name"));
            let diagnostic = Diagnostic::new(Code::MissingTargetHost, message, &at).label("needs a `targetHost`");
            scope.report.add(diagnostic.also(&scope.tree.of("/placement"), "every service names its host"));
        }
        services.push(pin);
    }
    let mut stack = None;
    if strategy == Strategy::Single {
        let mut named: Vec<&Pin> = own.iter().chain(services.iter().flatten()).collect();
        named.sort_by(|a, b| a.at.cmp(&b.at));
        if let Some(first) = named.first() {
            if let Some(other) = named.iter().find(|pin| pin.text != first.text) {
                let message = "the placement is `single`, but two hosts are named";
                let diagnostic = Diagnostic::new(Code::SeveralTargetHosts, message, &other.at);
                let diagnostic = diagnostic.label("a second host").also(&first.at, "the first host");
                let hint = "name one host, or write another `placement`";
                scope.report.add(diagnostic.hint(hint));
            }
            stack = Some((*first).clone());
        }
    }
    Pins { stack, services }
}

fn service_pin(raw: &RawStack, service: &RawService, index: usize, scope: &mut Scope<'_>) -> Option<Pin> {
    let own = service
        .target_host
        .as_ref()
        .map(|text| Pin { text: text.clone(), at: scope.at(&format!("/itemListElement/{index}/targetHost")) });
    let mapped = raw
        .host_mapping
        .get(&service.name)
        .map(|text| Pin { text: text.clone(), at: scope.at(&part("/hostMapping", &service.name)) });
    if let (Some(own), Some(mapped)) = (&own, &mapped)
        && own.text != mapped.text
    {
        let message = format!("`targetHost` and `hostMapping` name different hosts for `{}`", service.name);
        let diagnostic = Diagnostic::new(Code::TargetHostMismatch, message, &own.at);
        let diagnostic = diagnostic.label("one host").also(&mapped.at, "another host");
        scope.report.add(diagnostic.hint("keep one of them"));
    }
    own.or(mapped)
}

/// Every place of the stack that names a host, for when the hosts are known.
fn host_refs(raw: &RawStack, pins: &Pins, scope: &Scope<'_>) -> Vec<HostRef> {
    let mut references = Vec::new();
    let mut add = |text: &str, at: Span, refers_to: RefersTo| {
        references.push(HostRef { text: text.to_owned(), at, refers_to });
    };
    if let Some(pin) = &pins.stack {
        add(&pin.text, pin.at.clone(), RefersTo::StackHost);
    }
    for (index, service) in raw.item_list_element.iter().enumerate() {
        if let Some(pin) = &pins.services[index] {
            add(&pin.text, pin.at.clone(), RefersTo::ServiceHost(index));
        }
        for (i, requirement) in service.software_requirements.iter().enumerate() {
            if let (Some(text), Ok(name)) = (&requirement.remote_host, ServiceName::new(&requirement.name)) {
                let at = scope.at(&format!("/itemListElement/{index}/softwareRequirements/{i}/remoteHost"));
                add(text, at, RefersTo::RemoteHost(index, name));
            }
        }
        let not_on = service.constraints.iter().flat_map(|constraints| &constraints.not_on);
        for (i, text) in not_on.enumerate() {
            let at = scope.at(&format!("/itemListElement/{index}/constraints/notOn/{i}"));
            add(text, at, RefersTo::NotOn(index));
        }
    }
    references
}

fn services(raw: &RawStack, policy: &Policy, scope: &mut Scope<'_>) -> Vec<Service> {
    let none = RawUpdate::default();
    let defaults =
        Defaults { update: raw.update.as_ref().unwrap_or(&none), on_host_loss: raw.on_host_loss.as_deref(), policy };
    let numbered = raw.item_list_element.iter().enumerate();
    let services = numbered.filter_map(|(index, raw)| {
        service::service(raw, &defaults, &mut scope.below(&format!("/itemListElement/{index}")))
    });
    services.collect()
}

fn network(raw: &RawStack, stack: Option<&StackName>, scope: &mut Scope<'_>) -> Option<StackNetwork> {
    let declared = raw.network.as_ref().filter(|network| !network.name.is_empty());
    let Some(declared) = declared else {
        let slug = stack?.slug().as_str();
        let name = NetworkName::new(slug).expect("a slug is a network's name");
        let creation = Creation::IfMissing;
        return Some(StackNetwork { name, creation });
    };
    Some(StackNetwork {
        name: scope.name(&declared.name, "network name", "/network/name", NetworkName::new)?,
        creation: creation(declared.create_if_not_exists),
    })
}

fn creation(create_if_not_exists: Option<bool>) -> Creation {
    match create_if_not_exists {
        Some(false) => Creation::ByOthers,
        Some(true) | None => Creation::IfMissing,
    }
}

fn declared_volumes(raw: &RawStack, scope: &mut Scope<'_>) -> BTreeMap<VolumeName, StackVolume> {
    let mut volumes = BTreeMap::new();
    for (index, raw) in raw.volumes.iter().enumerate() {
        let field = format!("/volumes/{index}/name");
        let Some(name) = scope.name(&raw.name, "volume name", &field, VolumeName::new) else {
            continue;
        };
        let driver = raw.driver.clone().filter(|driver| !driver.is_empty());
        let volume = StackVolume {
            driver: driver.unwrap_or_else(|| "local".to_owned()),
            creation: creation(raw.create_if_not_exists),
        };
        if volumes.insert(name.clone(), volume).is_some() {
            scope.find(Code::DuplicateName, format!("the volume `{name}` is listed twice"), &field);
        }
    }
    volumes
}

fn with_implied(
    mut volumes: BTreeMap<VolumeName, StackVolume>,
    services: &[Arc<Service>],
) -> BTreeMap<VolumeName, StackVolume> {
    for mount in services.iter().flat_map(|service| &service.mounts) {
        if let MountSource::Volume(name) = &mount.source {
            volumes
                .entry(name.clone())
                .or_insert_with(|| StackVolume { driver: "local".to_owned(), creation: Creation::IfMissing });
        }
    }
    volumes
}

/// Names and positions that occur twice, and names that an instance of another service gets.
fn unique(raw: &RawStack, scope: &mut Scope<'_>) {
    let mut names: BTreeMap<&str, usize> = BTreeMap::new();
    let mut positions: BTreeMap<u32, usize> = BTreeMap::new();
    let place = |index: usize, field: &str| format!("/itemListElement/{index}/{field}");
    for (index, service) in raw.item_list_element.iter().enumerate() {
        if let Some(first) = names.get(service.name.as_str()) {
            let message = format!("two services are named `{}`", service.name.escape_debug());
            let diagnostic = Diagnostic::new(Code::DuplicateName, message, &scope.at(&place(index, "name")));
            let first = scope.at(&place(*first, "name"));
            scope.report.add(diagnostic.label("again here").also(&first, "first here"));
        }
        names.entry(&service.name).or_insert(index);
        if let Some(first) = positions.get(&service.position) {
            let message = format!("two services have position {}", service.position);
            let diagnostic = Diagnostic::new(Code::DuplicatePosition, message, &scope.at(&place(index, "position")));
            let first = scope.at(&place(*first, "position"));
            let diagnostic = diagnostic.label("again here").also(&first, "first here");
            let free = raw.item_list_element.iter().map(|service| service.position).max().unwrap_or(0) + 1;
            scope.report.add(diagnostic.hint(format!("{free} is free")));
        }
        positions.entry(service.position).or_insert(index);
    }
    for (index, service) in raw.item_list_element.iter().enumerate() {
        let Some((base, number)) = service.name.rsplit_once('-') else {
            continue;
        };
        let Some(of) = names.get(base) else { continue };
        let replicas = raw.item_list_element[*of].replicas.unwrap_or(1);
        let number = number.parse::<u32>().ok().filter(|n| n.to_string() == number);
        if replicas > 1 && number.is_some_and(|number| (1..=replicas).contains(&number)) {
            let message = format!("`{}` is also what an instance of `{base}` is called", service.name);
            let diagnostic = Diagnostic::new(Code::InstanceNameClash, message, &scope.at(&place(index, "name")));
            let of = scope.at(&place(*of, "replicas"));
            scope.report.add(diagnostic.also(&of, format!("`{base}` has {replicas} instances")));
        }
    }
}

/// Services that are spoken of and do not exist, or that speak of themselves.
fn references(raw: &RawStack, scope: &mut Scope<'_>) {
    let names: Vec<&str> = raw.item_list_element.iter().map(|service| service.name.as_str()).collect();
    for service in raw.host_mapping.keys() {
        if !names.contains(&service.as_str()) {
            let at = scope.key(&part("/hostMapping", service));
            unknown_service("`hostMapping`", service, &names, &at, scope);
        }
    }
    for (index, service) in raw.item_list_element.iter().enumerate() {
        let base = format!("/itemListElement/{index}");
        let mut spoken: Vec<(&str, &str, String)> = Vec::new();
        for (i, name) in service.requirements.iter().enumerate() {
            spoken.push(("requires", name, format!("{base}/requirements/{i}")));
        }
        for (i, requirement) in service.software_requirements.iter().enumerate() {
            let field = format!("{base}/softwareRequirements/{i}/name");
            spoken.push(("requires", &requirement.name, field));
        }
        for (i, action) in service.potential_action.iter().enumerate() {
            if let Some(target) = action.target.as_deref().filter(|target| !target.is_empty()) {
                spoken.push(("acts in", target, format!("{base}/potentialAction/{i}/target")));
            }
        }
        let not_with = service.constraints.iter().flat_map(|constraints| &constraints.not_with);
        for (i, name) in not_with.enumerate() {
            spoken.push(("keeps away from", name, format!("{base}/constraints/notWith/{i}")));
        }
        for (verb, name, field) in spoken {
            let at = scope.at(&field);
            if !names.contains(&name) {
                let subject = format!("`{}` {verb}", service.name.escape_debug());
                unknown_service(&subject, name, &names, &at, scope);
            } else if name == service.name && verb == "requires" {
                let message = format!("`{name}` {verb} itself");
                scope.report.add(Diagnostic::new(Code::SelfRequirement, message, &at));
            }
        }
    }
}

fn unknown_service(subject: &str, name: &str, names: &[&str], at: &Span, scope: &mut Scope<'_>) {
    let verb = if subject.ends_with("hostMapping`") { " names" } else { "" };
    let message = format!("{subject}{verb} `{}`, which is no service of this stack", name.escape_debug());
    let diagnostic = Diagnostic::new(Code::UnknownService, message, at);
    scope.report.add(match did_you_mean(name, names.iter().copied()) {
        Some(hint) => diagnostic.hint(hint),
        None => diagnostic,
    });
}

/// `onHostLoss: move` for a service whose data could not move with it.
fn host_loss(raw: &RawStack, volumes: &BTreeMap<VolumeName, StackVolume>, scope: &mut Scope<'_>) {
    for (index, service) in raw.item_list_element.iter().enumerate() {
        let base = format!("/itemListElement/{index}");
        let (moves, at) = match (service.on_host_loss.as_deref(), raw.on_host_loss.as_deref()) {
            (Some(own), _) => (own == "move", scope.at(&format!("{base}/onHostLoss"))),
            (None, default) => (default == Some("move"), scope.at("/onHostLoss")),
        };
        let local = service.volume_mounts.iter().position(|mount| {
            let volume = matches!(mount.kind.as_deref(), None | Some("volume" | ""));
            let source = mount.source.as_deref().unwrap_or("");
            volume && volumes.get(source).is_none_or(|volume| volume.driver == "local")
        });
        if let (true, Some(mount)) = (moves, local) {
            let name = &service.name;
            let message = format!("`{name}` has a local volume and cannot move when its host is lost");
            let volume = scope.at(&format!("{base}/volumeMounts/{mount}/source"));
            let diagnostic = Diagnostic::new(Code::VolumeCannotMove, message, &at);
            let diagnostic = diagnostic.label("asks for a move").also(&volume, "this stays on the host");
            scope.report.add(diagnostic.hint("write `onHostLoss: wait` for this service"));
        }
    }
}
