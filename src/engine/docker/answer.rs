//! What an engine's answers mean, in our words.
//!
//! Takes the API library's records, whose every field may be absent. Gives our values, or the text of why an answer
//! was not understood.
//!
//! List and look say the same of a container, whatever the engine's version: health only while it runs, ports only where
//! published, addresses only where there is one.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use bollard::models::{
    ContainerCpuStats, ContainerInspectResponse, ContainerStateStatusEnum, ContainerStatsResponse, ContainerSummary,
    ContainerSummaryStateEnum, EndpointSettings, EventMessage, HealthStatusEnum, ImageInspect, MountPoint, Network,
    PortMap, PortSummary, PortSummaryTypeEnum, SystemInfo, SystemVersion, Volume,
};

use crate::engine::{ContainerDetail, EngineEvent, ImageDetail, Usage};
use crate::model::stack::Protocol;
use crate::model::world::{About, ContainerSeen, Health, LabelsRead, NetworkSeen, PortSeen, State, VolumeSeen};
use crate::secret::Secret;

pub fn about(info: SystemInfo, version: SystemVersion) -> About {
    About {
        id: info.id.unwrap_or_default(),
        version: version.version.or(info.server_version).unwrap_or_default(),
        api_version: version.api_version.unwrap_or_default(),
        cpu: unsigned(info.ncpu).saturating_mul(1000),
        memory: unsigned(info.mem_total),
    }
}

/// One line of the list call.
///
/// # Errors
/// When it has no id or a state that is unknown.
pub fn container(summary: ContainerSummary) -> Result<ContainerSeen, String> {
    let id = summary.id.ok_or("a container without an id")?;
    let status = summary.status.unwrap_or_default();
    let state = match summary.state {
        Some(ContainerSummaryStateEnum::CREATED) => State::Created,
        // One that is being stopped still runs.
        Some(ContainerSummaryStateEnum::RUNNING | ContainerSummaryStateEnum::STOPPING) => State::Running,
        Some(ContainerSummaryStateEnum::PAUSED) => State::Paused,
        Some(ContainerSummaryStateEnum::RESTARTING) => State::Restarting,
        Some(ContainerSummaryStateEnum::REMOVING) => State::Removing,
        Some(ContainerSummaryStateEnum::EXITED) => State::Exited {
            code: exit_code(&status).ok_or_else(|| format!("the status {status:?} of {id} has no exit code"))?,
        },
        Some(ContainerSummaryStateEnum::DEAD) => State::Dead,
        Some(ContainerSummaryStateEnum::EMPTY) | None => return Err(format!("{id} has no state")),
    };
    let networks = summary.network_settings.and_then(|n| n.networks).unwrap_or_default();
    Ok(ContainerSeen {
        name: own_name(summary.names.unwrap_or_default()),
        image_id: summary.image_id.unwrap_or_default(),
        health: while_running(state, health_in(&status)),
        state,
        labels: ordered(summary.labels),
        ports: listed_ports(summary.ports.unwrap_or_default()),
        networks: networks.into_iter().map(|(name, e)| (name, address(&e))).collect(),
        volumes: volumes_of(summary.mounts.unwrap_or_default()),
        read: LabelsRead::default(),
        id,
    })
}

/// Does the list say that nothing of it runs, or will by itself?
pub fn is_stopped(summary: &ContainerSummary) -> bool {
    use ContainerSummaryStateEnum as S;
    !matches!(summary.state, Some(S::RUNNING | S::RESTARTING | S::PAUSED | S::STOPPING))
}

/// A look at one container.
///
/// # Errors
/// When it has no id or a state that is unknown.
pub fn detail(mut look: ContainerInspectResponse) -> Result<ContainerDetail, String> {
    let id = look.id.ok_or("a container without an id")?;
    let told = look.state.ok_or_else(|| format!("{id} has no state"))?;
    let state = match told.status {
        Some(ContainerStateStatusEnum::CREATED) => State::Created,
        Some(ContainerStateStatusEnum::RUNNING | ContainerStateStatusEnum::STOPPING) => State::Running,
        Some(ContainerStateStatusEnum::PAUSED) => State::Paused,
        Some(ContainerStateStatusEnum::RESTARTING) => State::Restarting,
        Some(ContainerStateStatusEnum::REMOVING) => State::Removing,
        Some(ContainerStateStatusEnum::EXITED) => State::Exited { code: told.exit_code.unwrap_or_default() },
        Some(ContainerStateStatusEnum::DEAD) => State::Dead,
        Some(ContainerStateStatusEnum::EMPTY) | None => return Err(format!("{id} has no state")),
    };
    let (health, last_probe) = match told.health {
        None => (Health::Unchecked, String::new()),
        Some(told) => {
            let health = match told.status {
                Some(HealthStatusEnum::STARTING) => Health::Starting,
                Some(HealthStatusEnum::HEALTHY) => Health::Healthy,
                Some(HealthStatusEnum::UNHEALTHY) => Health::Unhealthy,
                Some(HealthStatusEnum::EMPTY | HealthStatusEnum::NONE) | None => Health::Unchecked,
            };
            let last = told.log.unwrap_or_default().pop();
            (health, last.and_then(|probe| probe.output).unwrap_or_default())
        }
    };
    let settings = look.network_settings.unwrap_or_default();
    let networks = settings.networks.unwrap_or_default();
    Ok(ContainerDetail {
        aliases: networks.iter().map(|(name, e)| (name.clone(), aliases(e, &id))).collect(),
        addresses: networks.iter().filter_map(|(name, e)| Some((name.clone(), address(e)?))).collect(),
        restarts: unsigned(look.restart_count),
        error: told.error.unwrap_or_default(),
        last_probe,
        variables: look.config.as_mut().and_then(|config| config.env.take()).map(values).unwrap_or_default(),
        seen: ContainerSeen {
            name: look.name.unwrap_or_default().trim_start_matches('/').to_owned(),
            image_id: look.image.unwrap_or_default(),
            state,
            health: while_running(state, health),
            labels: ordered(look.config.and_then(|c| c.labels)),
            ports: bound_ports(settings.ports.unwrap_or_default()),
            networks: networks.iter().map(|(name, e)| (name.clone(), address(e))).collect(),
            volumes: volumes_of(look.mounts.unwrap_or_default()),
            read: LabelsRead::default(),
            id,
        },
    })
}

/// What a container answers to on a network, in order, without the id that some engines add.
/// Of `NAME=value`. What images set for every program is no secret, and without it no log could be read.
fn values(variables: Vec<String>) -> BTreeSet<Secret<String>> {
    const OF_EVERY_PROGRAM: [&str; 4] = ["PATH", "HOME", "HOSTNAME", "LANG"];
    let pairs = variables.iter().filter_map(|variable| variable.split_once('='));
    let own = pairs.filter(|(name, _)| !OF_EVERY_PROGRAM.contains(name));
    own.map(|(_, value)| Secret::new(value.to_owned())).collect()
}

pub fn aliases(endpoint: &EndpointSettings, id: &str) -> Vec<String> {
    let given = endpoint.aliases.iter().flatten();
    let names: BTreeSet<&String> = given.filter(|alias| !(alias.len() >= 12 && id.starts_with(*alias))).collect();
    names.into_iter().cloned().collect()
}

/// The address on a network; engines write an empty text for none.
pub fn address(endpoint: &EndpointSettings) -> Option<IpAddr> {
    [&endpoint.ip_address, &endpoint.global_ipv6_address].into_iter().flatten().find_map(|text| text.parse().ok())
}

pub fn network(network: Network) -> NetworkSeen {
    let ranges = network.ipam.and_then(|ipam| ipam.config).unwrap_or_default();
    NetworkSeen {
        id: network.id.unwrap_or_default(),
        name: network.name.unwrap_or_default(),
        driver: network.driver.unwrap_or_default(),
        labels: ordered(network.labels),
        subnets: ranges.into_iter().filter_map(|range| range.subnet).collect(),
    }
}

pub fn volume(volume: Volume) -> VolumeSeen {
    VolumeSeen { name: volume.name, driver: volume.driver, labels: ordered(Some(volume.labels)) }
}

pub fn image(look: ImageInspect) -> ImageDetail {
    let check = look.config.and_then(|c| c.healthcheck).and_then(|h| h.test);
    ImageDetail {
        id: look.id.unwrap_or_default(),
        repo_digests: look.repo_digests.unwrap_or_default(),
        has_health_check: check.is_some_and(|test| test.first().is_some_and(|kind| kind != "NONE")),
    }
}

pub fn event(message: EventMessage) -> EngineEvent {
    let actor = message.actor.unwrap_or_default();
    EngineEvent {
        action: message.action.unwrap_or_default(),
        container: actor.id.unwrap_or_default(),
        labels: ordered(actor.attributes),
    }
}

/// The share of the processors between two samples, as the engine's own client reckons it, and the memory without what
/// the kernel would give back first.
pub fn usage(sample: ContainerStatsResponse) -> Usage {
    let now = sample.cpu_stats.unwrap_or_default();
    let before = sample.precpu_stats.unwrap_or_default();
    let own = |stats: &ContainerCpuStats| stats.cpu_usage.as_ref().and_then(|u| u.total_usage).unwrap_or_default();
    let used = own(&now).saturating_sub(own(&before));
    let machine = |stats: &ContainerCpuStats| stats.system_cpu_usage.unwrap_or_default();
    let passed = machine(&now).saturating_sub(machine(&before));
    let cores = u64::from(now.online_cpus.unwrap_or(1).max(1));
    let memory = sample.memory_stats.unwrap_or_default();
    let stats = memory.stats.unwrap_or_default();
    // The first is what a machine with the older control groups calls it.
    let cache = ["total_inactive_file", "inactive_file"].iter().find_map(|key| stats.get(*key));
    Usage {
        cpu: used.saturating_mul(1000).saturating_mul(cores).checked_div(passed).unwrap_or_default(),
        memory: memory.usage.unwrap_or_default().saturating_sub(*cache.unwrap_or(&0)),
    }
}

// A stopped container keeps its last health in a look but not in the list.
fn while_running(state: State, health: Health) -> Health {
    match state {
        State::Running | State::Paused => health,
        State::Created | State::Restarting | State::Removing | State::Exited { .. } | State::Dead => Health::Unchecked,
    }
}

// `Exited (137) 3 minutes ago`
fn exit_code(status: &str) -> Option<i64> {
    status.split_once('(')?.1.split_once(')')?.0.parse().ok()
}

// `Up 5 seconds (healthy)`, `Up 1 second (health: starting)`, `Up 2 minutes (unhealthy)`
fn health_in(status: &str) -> Health {
    if status.ends_with("(healthy)") {
        Health::Healthy
    } else if status.ends_with("(unhealthy)") {
        Health::Unhealthy
    } else if status.ends_with("(health: starting)") {
        Health::Starting
    } else {
        Health::Unchecked
    }
}

// `/name`; links of other containers are `/other/name`.
fn own_name(names: Vec<String>) -> String {
    names
        .iter()
        .map(|name| name.trim_start_matches('/'))
        .find(|name| !name.contains('/'))
        .unwrap_or_default()
        .to_owned()
}

fn listed_ports(ports: Vec<PortSummary>) -> Vec<PortSeen> {
    let seen: BTreeSet<PortSeen> = ports
        .into_iter()
        .filter_map(|port| {
            Some(PortSeen {
                container: port.private_port,
                protocol: match port.typ? {
                    PortSummaryTypeEnum::TCP => Protocol::Tcp,
                    PortSummaryTypeEnum::UDP => Protocol::Udp,
                    PortSummaryTypeEnum::SCTP => Protocol::Sctp,
                    PortSummaryTypeEnum::EMPTY => return None,
                },
                host_ip: host_ip(port.ip.as_deref()),
                host_port: port.public_port?,
            })
        })
        .collect();
    seen.into_iter().collect()
}

fn bound_ports(ports: PortMap) -> Vec<PortSeen> {
    let mut seen = BTreeSet::new();
    for (key, bindings) in ports {
        let Some((port, protocol)) = key.split_once('/') else {
            continue;
        };
        let (Ok(container), Some(protocol)) = (port.parse(), Protocol::parse(protocol)) else {
            continue;
        };
        for binding in bindings.unwrap_or_default() {
            let Some(host_port) = binding.host_port.and_then(|p| p.parse().ok()) else {
                continue;
            };
            seen.insert(PortSeen { container, protocol, host_ip: host_ip(binding.host_ip.as_deref()), host_port });
        }
    }
    seen.into_iter().collect()
}

fn host_ip(text: Option<&str>) -> Option<IpAddr> {
    text?.parse().ok().filter(|ip: &IpAddr| !ip.is_unspecified())
}

fn volumes_of(mounts: Vec<MountPoint>) -> BTreeSet<String> {
    mounts.into_iter().filter(|mount| mount.typ.as_deref() == Some("volume")).filter_map(|mount| mount.name).collect()
}

fn ordered(map: Option<HashMap<String, String>>) -> BTreeMap<String, String> {
    map.unwrap_or_default().into_iter().collect()
}

fn unsigned(number: Option<i64>) -> u64 {
    number.and_then(|n| u64::try_from(n).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use bollard::models::{ContainerSummary, ContainerSummaryStateEnum};

    use super::container;
    use crate::model::world::{Health, State};

    fn listed(state: ContainerSummaryStateEnum, status: &str) -> (State, Health) {
        let summary = ContainerSummary {
            id: Some("1".to_owned()),
            state: Some(state),
            status: Some(status.to_owned()),
            ..Default::default()
        };
        let seen = container(summary).expect("a container");
        (seen.state, seen.health)
    }

    #[test]
    fn state_exit_code_and_health_are_read_from_the_list() {
        use ContainerSummaryStateEnum as S;
        let exited = listed(S::EXITED, "Exited (137) 3 minutes ago");
        assert_eq!(exited, (State::Exited { code: 137 }, Health::Unchecked));
        let up = |status| listed(S::RUNNING, status).1;
        assert_eq!(up("Up 5 seconds (healthy)"), Health::Healthy);
        assert_eq!(up("Up Less than a second (health: starting)"), Health::Starting);
        assert_eq!(up("Up 2 minutes (unhealthy)"), Health::Unhealthy);
        assert_eq!(up("Up About an hour"), Health::Unchecked);
    }

    #[test]
    fn a_container_without_a_state_is_not_understood() {
        let summary = ContainerSummary { id: Some("1".to_owned()), ..Default::default() };
        assert!(container(summary).is_err());
    }
}
