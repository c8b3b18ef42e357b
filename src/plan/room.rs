//! Says what an instance needs that another has: host ports and volumes, and whether two may run side by side.
//!
//! Takes an instance that is to be started and the containers that were seen. Gives what it waits for, and in which order it
//! and its predecessor run.
//!
//! Never two that write to one volume because of us, whatever they are called.

use std::net::IpAddr;

use crate::model::host::Endpoint;
use crate::model::mapping::Placed;
use crate::model::request::{ContainerRequest, NetworkAttachment, PortRequest};
use crate::model::stack::{Access, MountSource, NetworkMode, Protocol, Service, UpdateOrder};
use crate::model::world::{ContainerSeen, PortSeen};
use crate::name::{InstanceId, VolumeName};
use crate::plan::Input;
use crate::plan::decide::{Order, Scene};
use crate::plan::hold::Hold;
use crate::plan::index::Found;
use crate::plan::want::Want;

/// A port that something outside this stack holds now is waited for; one of this stack is stopped first.
pub fn port_is_free(
    scene: &Scene<'_>,
    endpoint: &Endpoint,
    id: &InstanceId,
    placed: &Placed,
    request: &ContainerRequest,
) -> Result<(), Option<Hold>> {
    for port in &request.ports {
        for holder in scene.index.holding(endpoint, port.host_port, port.protocol) {
            let same_stack = holder.ours(scene.input.owner).is_some_and(|ours| ours.instance.stack == id.stack);
            let clashes = holder.ports.iter().any(|held| clash(held, port.host_ip, port.host_port, port.protocol));
            let stays = is_braked(scene, holder);
            if clashes && (!same_stack || stays) {
                return Err(Some(Hold::PortHeld {
                    instance: id.clone(),
                    host: placed.host.clone(),
                    port: port.host_port,
                    by: format!("the container {}{}", holder.name, if stays { " (its removal waits)" } else { "" }),
                }));
            }
        }
    }
    Ok(())
}

/// The volumes that a service writes to.
fn written_volumes(service: &Service) -> impl Iterator<Item = &VolumeName> {
    service.mounts.iter().filter(|mount| mount.access == Access::ReadWrite).filter_map(|mount| match &mount.source {
        MountSource::Volume(name) => Some(name),
        MountSource::Bind(_) | MountSource::Tmpfs => None,
    })
}

fn mounts(service: &Service, volume: &VolumeName) -> bool {
    service.mounts.iter().any(|mount| matches!(&mount.source, MountSource::Volume(name) if name == volume))
}

/// Whether a container mounts a volume that its instance, as it is wanted, does not. Who goes on using a volume that another
/// uses too shares it on purpose.
fn lets_go(input: &Input<'_>, found: &Found<'_>, volume: &VolumeName) -> bool {
    let id = &found.ours.instance;
    match input.wants.get(&id.stack) {
        Some(Want::Stack { stack, .. }) => {
            let service = stack.service(id.service.as_str()).filter(|service| id.number <= service.replicas);
            service.is_none_or(|service| !mounts(service, volume))
        }
        Some(Want::Nothing { .. }) => true,
        Some(Want::Keep { .. }) | None => false,
    }
}

/// The volume that a service is to write to and that a running container, whose instance lets go of it, mounts now.
pub fn volume_from<'s>(
    input: &Input<'_>,
    service: &'s Service,
    endpoint: &Endpoint,
    found: &Found<'_>,
) -> Option<&'s VolumeName> {
    let is_there = found.endpoint == endpoint && found.runs();
    let mut volumes = written_volumes(service).filter(|_| is_there);
    volumes.find(|name| found.container.volumes.contains(name.as_str()) && lets_go(input, found, name))
}

/// A volume has one writer, and one that is to let go of it, or whose removal waits for a word, still writes.
pub fn volume_is_free(
    scene: &Scene<'_>,
    service: &Service,
    endpoint: &Endpoint,
    id: &InstanceId,
    placed: &Placed,
) -> Result<(), Option<Hold>> {
    let waiting = scene.braked.into_iter().flat_map(|braked| &braked.removals);
    let waiting = waiting.flat_map(|removal| scene.index.instance(removal));
    let waiting: Vec<&Found<'_>> = waiting.filter(|found| found.endpoint == endpoint && found.runs()).collect();
    for name in written_volumes(service) {
        let braked = waiting.iter().find(|found| found.container.volumes.contains(name.as_str()));
        let others = || scene.index.mounting(endpoint, name.as_str()).iter();
        let leaving =
            || others().find(|found| found.ours.instance.stack != id.stack && lets_go(scene.input, found, name));
        if let Some(found) = braked.copied().or_else(leaving) {
            let (volume, by) = (name.to_string(), found.ours.instance.to_string());
            return Err(Some(Hold::VolumeHeld { instance: id.clone(), host: placed.host.clone(), volume, by }));
        }
    }
    Ok(())
}

fn is_braked(scene: &Scene<'_>, container: &ContainerSeen) -> bool {
    let ours = container.ours(scene.input.owner);
    ours.is_some_and(|ours| scene.braked.is_some_and(|braked| braked.removals.contains(&ours.instance)))
}

/// Start-first unless something forbids that two run at once; then the text says what.
pub fn update_order(
    scene: &Scene<'_>,
    id: &InstanceId,
    service: &Service,
    request: &ContainerRequest,
    olds: &[&Found<'_>],
    endpoint: &Endpoint,
) -> (Order, Option<String>) {
    let here: Vec<&&Found<'_>> = olds.iter().filter(|old| old.endpoint == endpoint).collect();
    if olds.iter().all(|old| !old.runs()) {
        return (Order::StopFirst, None);
    }
    let clash = request.ports.iter().find(|port| here.iter().any(|old| holds_port(old, port)));
    if let Some(port) = clash {
        return (Order::StopFirst, Some(format!("host port {} is held by the old instance", port.host_port)));
    }
    if let Some((port, other)) = goes_to_another(scene, id, olds) {
        return (Order::StopFirst, Some(format!("host port {port} goes to {other}")));
    }
    if let Some((volume, other)) = volume_goes_to_another(scene, id, olds) {
        return (Order::StopFirst, Some(format!("volume {volume} goes to {other}")));
    }
    let is_named_later =
        matches!(request.network, NetworkAttachment::Named { .. }) && here.iter().any(|old| old.runs());
    if is_named_later && !request.ports.is_empty() {
        let why = "it publishes ports, and an engine drops them when a container takes a name over";
        return (Order::StopFirst, Some(why.to_owned()));
    }
    match service.update.order {
        UpdateOrder::StartFirst => return (Order::StartFirst, None),
        UpdateOrder::StopFirst => return (Order::StopFirst, Some("`update.order` is `stop-first`".to_owned())),
        UpdateOrder::Auto => {}
    }
    let mut written = service.mounts.iter().filter(|mount| mount.access == Access::ReadWrite);
    let single = written.find_map(|mount| match &mount.source {
        MountSource::Volume(name) if olds.iter().any(|old| old.container.volumes.contains(name.as_str())) => {
            Some(format!("volume {name} has a single writer"))
        }
        MountSource::Bind(path) if !here.is_empty() => Some(format!("{path} has a single writer")),
        MountSource::Volume(_) | MountSource::Bind(_) | MountSource::Tmpfs => None,
    });
    match single {
        Some(why) => (Order::StopFirst, Some(why)),
        _ if service.settings.network_mode == NetworkMode::Host && !here.is_empty() => {
            (Order::StopFirst, Some("both would use the host's own network".to_owned()))
        }
        _ if service.constraints.not_with.contains(&service.name) && !here.is_empty() => {
            (Order::StopFirst, Some("`notWith` forbids two on one host".to_owned()))
        }
        _ => (Order::StartFirst, None),
    }
}

/// A host port that an old container holds and another instance of the stack is given.
fn goes_to_another<'s>(scene: &'s Scene<'_>, id: &InstanceId, olds: &[&Found<'_>]) -> Option<(u16, &'s InstanceId)> {
    scene.mapping.iter().filter(|(other, _)| *other != id).find_map(|(other, placed)| {
        let endpoint = scene.input.world.hosts.get(&placed.host)?;
        let olds = olds.iter().filter(|old| old.runs() && old.endpoint == endpoint);
        let taken = placed.ports.iter().find(|port| {
            olds.clone().any(|old| {
                old.container.ports.iter().any(|held| clash(held, port.host_ip, port.host_port, port.protocol))
            })
        });
        taken.map(|port| (port.host_port, other))
    })
}

/// A volume that an old container mounts, its service does not any more, and another instance of the stack is to write to.
fn volume_goes_to_another<'s>(
    scene: &'s Scene<'_>,
    id: &InstanceId,
    olds: &[&Found<'_>],
) -> Option<(&'s VolumeName, &'s InstanceId)> {
    scene.mapping.iter().filter(|(other, _)| *other != id).find_map(|(other, placed)| {
        let endpoint = scene.input.world.hosts.get(&placed.host)?;
        let service = scene.stack.service(other.service.as_str())?;
        let volume = olds.iter().find_map(|old| volume_from(scene.input, service, endpoint, old))?;
        Some((volume, other))
    })
}

/// Whether a container holds a port that is asked for.
pub fn holds_port(found: &Found<'_>, port: &PortRequest) -> bool {
    found.container.ports.iter().any(|held| clash(held, port.host_ip, port.host_port, port.protocol))
}

fn clash(held: &PortSeen, ip: IpAddr, port: u16, protocol: Protocol) -> bool {
    held.host_port == port
        && held.protocol == protocol
        && held.host_ip.is_none_or(|held| held == ip || held.is_unspecified() || ip.is_unspecified())
}
