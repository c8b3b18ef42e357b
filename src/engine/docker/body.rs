//! A container request as the engine's API wants it.
//!
//! Takes our request and the id of its network. Gives the body of a create call.
//!
//! Never uses `Binds`, which makes a missing source directory as root: `Mounts` refuses it.
//!
//! Every field of the request is taken apart by name, so that a new one breaks the build here.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bollard::models::{
    ContainerCreateBody, DeviceMapping, EndpointIpamConfig, EndpointSettings, HealthConfig, HostConfig,
    HostConfigLogConfig, Mount, MountType, NetworkingConfig, PortBinding, ResourcesUlimits, RestartPolicy,
    RestartPolicyNameEnum,
};

use crate::model::request::{ContainerRequest, EngineHealthCheck, MountKind, MountRequest, PortRequest};
use crate::model::stack::{Access, Logging, Restart, Settings};

/// How the container is attached.
pub enum Attachment {
    Network { id: String, aliases: Vec<String> },
    Host,
    None,
}

/// The body of a create call; the name goes into the query.
pub fn create_body(request: &ContainerRequest, attachment: Attachment) -> ContainerCreateBody {
    let ContainerRequest {
        name: _,
        image: _,
        resolved,
        labels,
        environment,
        command,
        entrypoint,
        user,
        working_dir,
        health,
        restart,
        stop_grace_period,
        mounts,
        ports,
        network: _,
        extra_hosts,
        settings,
        cpu_limit,
        memory_limit,
    } = request;
    let Settings {
        hostname,
        domainname,
        dns,
        dns_search,
        dns_options,
        extra_hosts: _,
        cap_drop,
        cap_add,
        devices,
        security_opt,
        sysctls,
        group_add,
        ulimits,
        shm_size,
        init,
        read_only,
        privileged,
        tty,
        stdin_open,
        pids_limit,
        oom_score_adj,
        stop_signal,
        network_mode: _,
        logging,
    } = settings;
    let (network_mode, networking_config) = attach(attachment);
    let (exposed_ports, port_bindings) = publish(ports);
    let host_config = HostConfig {
        network_mode: Some(network_mode),
        port_bindings: Some(port_bindings),
        mounts: list(mounts.iter().map(mount).collect()),
        restart_policy: Some(restart_policy(*restart)),
        extra_hosts: list(extra_hosts.clone()),
        nano_cpus: cpu_limit.map(|thousandths| signed(thousandths.saturating_mul(1_000_000))),
        memory: memory_limit.map(signed),
        dns: list(dns.clone()),
        dns_search: list(dns_search.clone()),
        dns_options: list(dns_options.clone()),
        cap_drop: list(cap_drop.clone()),
        cap_add: list(cap_add.clone()),
        devices: list(devices.iter().map(|text| device(text)).collect()),
        security_opt: list(security_opt.clone()),
        sysctls: map(sysctls),
        group_add: list(group_add.clone()),
        ulimits: list(ulimits.iter().map(ulimit).collect()),
        shm_size: shm_size.map(signed),
        init: *init,
        readonly_rootfs: *read_only,
        privileged: *privileged,
        pids_limit: *pids_limit,
        oom_score_adj: *oom_score_adj,
        log_config: logging.as_ref().map(log_config),
        ..Default::default()
    };
    ContainerCreateBody {
        image: Some(resolved.reference().to_owned()),
        labels: map(labels),
        env: list(environment.iter().map(|(k, v)| format!("{k}={}", v.expose())).collect()),
        cmd: command.clone(),
        entrypoint: entrypoint.clone(),
        user: user.clone(),
        working_dir: working_dir.clone(),
        healthcheck: health.as_ref().map(health_config),
        stop_timeout: Some(whole_seconds(*stop_grace_period)),
        stop_signal: stop_signal.clone(),
        hostname: hostname.clone(),
        domainname: domainname.clone(),
        tty: *tty,
        open_stdin: *stdin_open,
        exposed_ports: list(exposed_ports),
        host_config: Some(host_config),
        networking_config,
        ..Default::default()
    }
}

/// Names and, where it must be kept, the address of a container on a network.
pub fn endpoint(aliases: Vec<String>, address: Option<std::net::IpAddr>) -> EndpointSettings {
    let ipam_config = address.map(|address| {
        let text = Some(address.to_string());
        match address {
            std::net::IpAddr::V4(_) => EndpointIpamConfig { ipv4_address: text, ..Default::default() },
            std::net::IpAddr::V6(_) => EndpointIpamConfig { ipv6_address: text, ..Default::default() },
        }
    });
    EndpointSettings { aliases: Some(aliases), ipam_config, ..Default::default() }
}

/// Engines count grace in whole seconds; rounded up, nobody gets less than was promised.
pub fn whole_seconds(grace: Duration) -> i64 {
    let up = u64::from(grace.subsec_nanos() > 0);
    signed(grace.as_secs().saturating_add(up))
}

fn attach(attachment: Attachment) -> (String, Option<NetworkingConfig>) {
    match attachment {
        Attachment::Host => ("host".to_owned(), None),
        Attachment::None => ("none".to_owned(), None),
        Attachment::Network { id, aliases } => {
            let config =
                NetworkingConfig { endpoints_config: Some(HashMap::from([(id.clone(), endpoint(aliases, None))])) };
            (id, Some(config))
        }
    }
}

type Bindings = HashMap<String, Option<Vec<PortBinding>>>;

fn publish(ports: &[PortRequest]) -> (Vec<String>, Bindings) {
    let mut bindings: BTreeMap<String, Vec<PortBinding>> = BTreeMap::new();
    for port in ports {
        let key = format!("{}/{}", port.container, port.protocol.as_str());
        bindings
            .entry(key)
            .or_default()
            .push(PortBinding { host_ip: Some(port.host_ip.to_string()), host_port: Some(port.host_port.to_string()) });
    }
    let exposed = bindings.keys().cloned().collect();
    (exposed, bindings.into_iter().map(|(k, v)| (k, Some(v))).collect())
}

fn mount(mount: &MountRequest) -> Mount {
    let MountRequest { kind, target, access } = mount;
    let (typ, source) = match kind {
        MountKind::Volume(name) => (MountType::VOLUME, Some(name.to_string())),
        MountKind::Bind(path) => (MountType::BIND, Some(path.clone())),
        MountKind::Tmpfs => (MountType::TMPFS, None),
    };
    Mount {
        typ: Some(typ),
        source,
        target: Some(target.clone()),
        read_only: match access {
            Access::ReadOnly => Some(true),
            Access::ReadWrite => None,
        },
        ..Default::default()
    }
}

fn restart_policy(restart: Restart) -> RestartPolicy {
    let name = match restart {
        Restart::UnlessStopped => RestartPolicyNameEnum::UNLESS_STOPPED,
        Restart::OnFailure => RestartPolicyNameEnum::ON_FAILURE,
        Restart::No => RestartPolicyNameEnum::NO,
    };
    RestartPolicy { name: Some(name), maximum_retry_count: None }
}

fn health_config(check: &EngineHealthCheck) -> HealthConfig {
    let EngineHealthCheck { test, interval, timeout, retries, start_period } = check;
    HealthConfig {
        test: Some(test.clone()),
        interval: Some(nanoseconds(*interval)),
        timeout: Some(nanoseconds(*timeout)),
        retries: Some(i64::from(*retries)),
        start_period: Some(nanoseconds(*start_period)),
        // Not before API 1.44; the first probes are ours on every engine.
        start_interval: None,
    }
}

/// `path[:target[:permissions]]`; with two parts the second is permissions if it can be.
fn device(text: &str) -> DeviceMapping {
    let mut parts = text.splitn(3, ':');
    let path = parts.next().unwrap_or("").to_owned();
    let is_permissions = |part: &str| !part.is_empty() && part.chars().all(|c| "rwm".contains(c));
    let (target, permissions) = match (parts.next(), parts.next()) {
        (Some(target), Some(permissions)) => (target.to_owned(), permissions),
        (Some(permissions), None) if is_permissions(permissions) => (path.clone(), permissions),
        (Some(target), None) => (target.to_owned(), "rwm"),
        (None, _) => (path.clone(), "rwm"),
    };
    DeviceMapping {
        path_on_host: Some(path),
        path_in_container: Some(target),
        cgroup_permissions: Some(permissions.to_owned()),
    }
}

fn ulimit((name, (soft, hard)): (&String, &(i64, i64))) -> ResourcesUlimits {
    ResourcesUlimits { name: Some(name.clone()), soft: Some(*soft), hard: Some(*hard) }
}

fn log_config(logging: &Logging) -> HostConfigLogConfig {
    let Logging { driver, options } = logging;
    HostConfigLogConfig { typ: Some(driver.clone()), config: map(options) }
}

fn list<T>(items: Vec<T>) -> Option<Vec<T>> {
    (!items.is_empty()).then_some(items)
}

fn map(items: &BTreeMap<String, String>) -> Option<HashMap<String, String>> {
    (!items.is_empty()).then(|| items.iter().map(|(k, v)| (k.clone(), v.clone())).collect())
}

fn nanoseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

fn signed(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{device, whole_seconds};

    #[test]
    fn a_device_is_a_path_a_target_and_permissions() {
        let parts = |text| {
            let d = device(text);
            let texts = [d.path_on_host, d.path_in_container, d.cgroup_permissions];
            texts.map(|t| t.expect("all three are given")).join(" ")
        };
        assert_eq!(parts("/dev/fuse"), "/dev/fuse /dev/fuse rwm");
        assert_eq!(parts("/dev/fuse:r"), "/dev/fuse /dev/fuse r");
        assert_eq!(parts("/dev/sda:/dev/xvda"), "/dev/sda /dev/xvda rwm");
        assert_eq!(parts("/dev/sda:/dev/xvda:rw"), "/dev/sda /dev/xvda rw");
    }

    #[test]
    fn a_grace_period_is_never_rounded_down() {
        assert_eq!(whole_seconds(Duration::from_millis(1500)), 2);
        assert_eq!(whole_seconds(Duration::from_secs(3)), 3);
    }
}
