//! Builds the complete request for an instance.

use std::collections::BTreeMap;

use crate::model::desired::Inventory;
use crate::model::mapping::Mapping;
use crate::model::policy::{Allowance, Policy};
use crate::model::request::{
    ContainerRequest, LABEL_DIGEST, LABEL_HOST, LABEL_INSTANCE, LABEL_OWNER, LABEL_REVISION, LABEL_SCHEMA,
    LABEL_SCHEMA_VERSION, LABEL_SERVICE, LABEL_STACK, MountKind, MountRequest, NetworkAttachment, PortRequest,
    ResolvedImage,
};
use crate::model::stack::{MountSource, NetworkMode, Service, Settings, Stack};
use crate::name::{Digest, InstanceId, Revision};
use crate::plan::connect::connections;
use crate::plan::health::engine_check;

/// What the requests of one stack are built from.
#[derive(Debug, Clone, Copy)]
pub struct Build<'a> {
    pub stack: &'a Stack,
    pub mapping: &'a Mapping,
    pub inventory: &'a Inventory,
    pub owner: &'a str,
    pub revision: &'a Revision,
}

/// The request for an instance under its name at rest, with its digest. `None` when the mapping does not place it.
pub fn build(
    from: &Build<'_>,
    service: &Service,
    id: &InstanceId,
    resolved: &ResolvedImage,
) -> Option<(ContainerRequest, Digest)> {
    let placed = from.mapping.get(id)?;
    let connections = connections(from.stack, service, &placed.host, from.mapping, from.inventory);
    let mut environment = connections.environment;
    // What the user set always wins.
    environment.extend(service.environment.iter().map(|(name, value)| (name.clone(), value.clone())));
    let network = match service.settings.network_mode {
        NetworkMode::Stack => NetworkAttachment::Named {
            network: from.stack.network.name.clone(),
            aliases: vec![service.name.to_string()],
        },
        NetworkMode::Host => NetworkAttachment::Host,
        NetworkMode::None => NetworkAttachment::None,
    };
    let mut extra_hosts = service.settings.extra_hosts.clone();
    if matches!(network, NetworkAttachment::Named { .. }) {
        extra_hosts.extend(connections.extra_hosts);
    }
    // In the host's own network a port is what the process listens on: there is nothing to bind.
    let bound = if network == NetworkAttachment::Host { &[] } else { placed.ports.as_slice() };
    let mut ports: Vec<PortRequest> = bound
        .iter()
        .map(|port| PortRequest {
            container: port.container,
            protocol: port.protocol,
            host_ip: port.host_ip,
            host_port: port.host_port,
        })
        .collect();
    ports.sort();
    let mut request = ContainerRequest {
        name: id.name_at_rest(),
        image: service.image.to_string(),
        resolved: resolved.clone(),
        labels: labels(from, service, id, placed.host.as_str()),
        environment,
        command: service.command.clone(),
        entrypoint: service.entrypoint.clone(),
        user: service.user.clone(),
        working_dir: service.working_dir.clone(),
        health: engine_check(service),
        restart: service.restart,
        stop_grace_period: service.stop_grace_period,
        mounts: service.mounts.iter().map(mount).collect(),
        ports,
        network,
        extra_hosts,
        settings: Settings { extra_hosts: Vec::new(), ..service.settings.clone() },
        cpu_limit: service.resources.cpu_limit,
        memory_limit: service.resources.memory_limit,
    };
    let digest = request.digest();
    request.labels.insert(LABEL_DIGEST.to_owned(), digest.to_string());
    Some((request, digest))
}

fn labels(from: &Build<'_>, service: &Service, id: &InstanceId, host: &str) -> BTreeMap<String, String> {
    let mut labels = service.labels.clone();
    let ours = [
        (LABEL_OWNER, from.owner.to_owned()),
        (LABEL_STACK, id.stack.to_string()),
        (LABEL_SERVICE, id.service.to_string()),
        (LABEL_INSTANCE, id.number.to_string()),
        (LABEL_HOST, host.to_owned()),
        (LABEL_REVISION, from.revision.to_string()),
        (LABEL_SCHEMA, LABEL_SCHEMA_VERSION.to_owned()),
    ];
    labels.extend(ours.map(|(key, value)| (key.to_owned(), value)));
    labels
}

fn mount(mount: &crate::model::stack::Mount) -> MountRequest {
    let kind = match &mount.source {
        MountSource::Volume(name) => MountKind::Volume(name.clone()),
        MountSource::Bind(path) => MountKind::Bind(path.clone()),
        MountSource::Tmpfs => MountKind::Tmpfs,
    };
    MountRequest { kind, target: mount.target.clone(), access: mount.access }
}

/// Judges a request in its final form: what of it the operator does not allow, if anything.
pub fn refusal(request: &ContainerRequest, policy: &Policy) -> Option<String> {
    let settings = &request.settings;
    let asks_for = |allowance: Allowance| match allowance {
        Allowance::Privileged => settings.privileged == Some(true),
        Allowance::CapAdd => !settings.cap_add.is_empty(),
        Allowance::Devices => !settings.devices.is_empty(),
        Allowance::SecurityOpt => !settings.security_opt.is_empty(),
        Allowance::Sysctls => !settings.sysctls.is_empty(),
        Allowance::HostNetwork => request.network == NetworkAttachment::Host,
    };
    let refused = Allowance::ALL.into_iter().find(|a| asks_for(*a) && !policy.allow.contains(a));
    if let Some(allowance) = refused {
        return Some(format!("`policy.allow` of the configuration does not list `{}`", allowance.as_str()));
    }
    request.mounts.iter().find_map(|mount| match &mount.kind {
        MountKind::Bind(path) if !policy.allows_bind(path) => {
            Some(format!("`policy.bindMounts` of the configuration does not cover {path}"))
        }
        MountKind::Bind(_) | MountKind::Volume(_) | MountKind::Tmpfs => None,
    })
}
