//! One service: what was written, made into what was meant. Rules that need the other services are `stack`'s.

use std::collections::{BTreeMap, BTreeSet};

use super::allowed;
use super::scope::{Scope, part, seconds, seconds_or};
use super::values;
use crate::diagnostic::Diagnostic;
use crate::diagnostic::code::Code;
use crate::model::policy::Policy;
use crate::model::stack::{
    Access, Constraints, HealthCheck, HealthTest, HostPort, Logging, Mount, MountSource, NetworkMode, OnFailure,
    OnHostLoss, Port, PotentialAction, Protocol, PullPolicy, Requirement, Resources, Restart, Service, Settings,
    Update, UpdateOrder, WaitForHealthy,
};
use crate::name::image::ImageRef;
use crate::name::{HostName, ServiceName, VolumeName};
use crate::parse::raw::stack::{RawAction, RawHealthCheck, RawMount, RawPort, RawRequirement, RawService, RawUpdate};
use crate::parse::raw::{Text, Words};
use crate::secret::Secret;

/// What a service falls back on.
pub struct Defaults<'a> {
    pub update: &'a RawUpdate,
    pub on_host_loss: Option<&'a str>,
    pub policy: &'a Policy,
}

/// The service, if it could be understood. Its target host is the text that was written, where that is a host's name.
pub fn service(raw: &RawService, defaults: &Defaults<'_>, scope: &mut Scope<'_>) -> Option<Service> {
    let name = scope.name(&raw.name, "service name", "/name", ServiceName::new);
    let image = match ImageRef::new(&raw.image) {
        Ok(image) => Some(image),
        Err(why) => {
            let message = format!("the image reference `{}` {why}", raw.image.escape_debug());
            scope.find(Code::BadImage, message, "/image");
            None
        }
    };
    let ports: Vec<Port> = each(&raw.ports, "/ports", scope, port);
    let mounts = mounts(&raw.volume_mounts, defaults.policy, scope);
    let settings = settings(raw, scope);
    allowed::settings(raw, defaults.policy, scope);
    if let Some(dir) = &raw.working_dir {
        scope.absolute(dir, "`workingDir`", "/workingDir");
    }
    let has_data = mounts.iter().any(keeps_data);
    let service = Service {
        position: raw.position,
        environment: environment(raw, scope),
        health: raw.health_check.as_ref().and_then(|raw| health(raw, &ports, &mut scope.below("/healthCheck"))),
        command: raw.command.as_ref().and_then(|raw| command(raw, "/command", scope)),
        entrypoint: raw.entrypoint.as_ref().and_then(|raw| command(raw, "/entrypoint", scope)),
        user: raw.user.as_ref().map(|Text(text)| text.clone()),
        working_dir: raw.working_dir.clone(),
        labels: labels(raw, scope),
        restart: match raw.restart_policy.as_deref() {
            Some("no") => Restart::No,
            Some("on-failure") => Restart::OnFailure,
            _ => Restart::UnlessStopped,
        },
        requirements: requirements(raw, scope),
        actions: each(&raw.potential_action, "/potentialAction", scope, action),
        settings,
        target_host: raw.target_host.as_deref().and_then(|text| HostName::new(text).ok()),
        reason: raw.reason.clone(),
        resources: resources(raw, scope),
        constraints: constraints(raw, scope),
        replicas: raw.replicas.unwrap_or(1),
        stop_grace_period: raw.stop_grace_period.map_or(std::time::Duration::from_secs(10), seconds),
        pull: match raw.pull_policy.as_deref() {
            Some("always") => PullPolicy::Always,
            Some("never") => PullPolicy::Never,
            _ => PullPolicy::Missing,
        },
        update: update(raw.update.as_ref(), defaults.update),
        on_host_loss: match raw.on_host_loss.as_deref().or(defaults.on_host_loss) {
            Some("move") => OnHostLoss::Move,
            Some(_) => OnHostLoss::Wait,
            None if has_data => OnHostLoss::Wait,
            None => OnHostLoss::Move,
        },
        at: scope.tree.places(scope.tree.node(&scope.pointer), "ports", ""),
        name: name?,
        image: image?,
        ports,
        mounts,
    };
    Some(service)
}

/// Checks every entry of a list in a scope of its own.
fn each<R, T>(raw: &[R], field: &str, scope: &mut Scope<'_>, one: fn(&R, &mut Scope<'_>) -> Option<T>) -> Vec<T> {
    let numbered = raw.iter().enumerate();
    numbered.filter_map(|(i, raw)| one(raw, &mut scope.below(&format!("{field}/{i}")))).collect()
}

/// Whether losing the host loses something that was written there.
fn keeps_data(mount: &Mount) -> bool {
    match mount.source {
        MountSource::Volume(_) => true,
        MountSource::Bind(_) => mount.access == Access::ReadWrite,
        MountSource::Tmpfs => false,
    }
}

fn environment(raw: &RawService, scope: &mut Scope<'_>) -> BTreeMap<String, Secret<String>> {
    for name in raw.environment.keys() {
        if name.is_empty() || name.contains(['=', '\0']) {
            let at = scope.key(&part("/environment", name));
            let message = format!("`{}` cannot be the name of a variable", name.escape_debug());
            scope.report.add(Diagnostic::new(Code::BadName, message, &at));
        }
    }
    let entries = raw.environment.iter();
    entries.map(|(name, Text(value))| (name.clone(), Secret::new(value.clone()))).collect()
}

fn labels(raw: &RawService, scope: &mut Scope<'_>) -> BTreeMap<String, String> {
    for label in raw.labels.keys().filter(|label| label.starts_with("bayplan.")) {
        let at = scope.key(&part("/labels", label));
        let message = format!("the label `{label}` is reserved");
        scope.report.add(Diagnostic::new(Code::ReservedLabel, message, &at));
    }
    texts(&raw.labels)
}

fn texts(raw: &BTreeMap<String, Text>) -> BTreeMap<String, String> {
    raw.iter().map(|(key, Text(value))| (key.clone(), value.clone())).collect()
}

fn port(raw: &RawPort, scope: &mut Scope<'_>) -> Option<Port> {
    Some(Port {
        container: raw.container_port,
        host: match raw.host_port {
            None => HostPort::Unpublished,
            Some(0) => HostPort::Chosen,
            Some(port) => HostPort::Explicit(port),
        },
        protocol: match raw.protocol.as_deref() {
            Some("udp") => Protocol::Udp,
            Some("sctp") => Protocol::Sctp,
            _ => Protocol::Tcp,
        },
        host_ip: raw.host_ip.as_deref().and_then(|text| scope.address(text, "/hostIp")),
    })
}

fn mounts(raw: &[RawMount], policy: &Policy, scope: &mut Scope<'_>) -> Vec<Mount> {
    let mut mounts: Vec<Mount> = Vec::new();
    for (index, raw) in raw.iter().enumerate() {
        let mut scope = scope.below(&format!("/volumeMounts/{index}"));
        scope.absolute(&raw.target, "`target`", "/target");
        if mounts.iter().any(|mount| mount.target == raw.target) {
            scope.find(Code::BadValue, format!("`{}` is mounted twice", raw.target.escape_debug()), "/target");
        }
        let source = mount_source(raw, policy, &mut scope);
        mounts.extend(source.map(|source| Mount {
            source,
            target: raw.target.clone(),
            access: match raw.read_only {
                Some(true) => Access::ReadOnly,
                Some(false) | None => Access::ReadWrite,
            },
        }));
    }
    mounts
}

fn mount_source(raw: &RawMount, policy: &Policy, scope: &mut Scope<'_>) -> Option<MountSource> {
    let source = raw.source.as_deref().unwrap_or("");
    match raw.kind.as_deref() {
        Some("tmpfs") => Some(MountSource::Tmpfs),
        _ if source.is_empty() => {
            let message = "the mount has no `source`";
            scope.find(Code::MissingField, message, "/target");
            None
        }
        Some("bind") => {
            scope.absolute(source, "`source` of a bind mount", "/source");
            allowed::bind(source, policy, scope);
            Some(MountSource::Bind(source.to_owned()))
        }
        _ if source.starts_with(['/', '.']) => {
            let message = "the `source` of a volume is its name, not a path";
            scope.find_with_hint(Code::BadName, message, "/source", "for a path of the host write `type: bind`");
            None
        }
        _ => scope.name(source, "volume name", "/source", VolumeName::new).map(MountSource::Volume),
    }
}

fn health(raw: &RawHealthCheck, ports: &[Port], scope: &mut Scope<'_>) -> Option<HealthCheck> {
    let given = raw.port.filter(|port| *port != 0);
    let first = given.or_else(|| ports.first().map(|port| port.container));
    let test = match raw.kind.as_str() {
        "" => return None,
        "command" => match &raw.command {
            None => {
                scope.find(Code::BadValue, "a health check of type `command` needs a `command`", "/type");
                return None;
            }
            Some(Words::List(list)) if list.is_empty() => {
                scope.find(Code::BadValue, "the `command` of the health check is empty", "/command");
                return None;
            }
            Some(Words::List(list)) => HealthTest::Command(list.clone()),
            Some(Words::Line(line)) => HealthTest::CommandLine(line.clone()),
        },
        kind @ ("http" | "tcp") => {
            let Some(port) = first else {
                let message =
                    format!("a health check of type `{kind}` needs a `port`, because the service has no `ports`");
                scope.find(Code::BadValue, message, "/type");
                return None;
            };
            let path = raw.path.clone().unwrap_or_else(|| "/".to_owned());
            match kind {
                "http" if !path.starts_with('/') => {
                    scope.find(Code::BadValue, "the `path` of a health check begins with `/`", "/path");
                    return None;
                }
                "http" => HealthTest::Http { port, path },
                _ => HealthTest::Tcp { port },
            }
        }
        "postgres" => HealthTest::Postgres { port: first.unwrap_or(5432) },
        _ => HealthTest::Redis { port: first.unwrap_or(6379) },
    };
    Some(HealthCheck {
        test,
        interval: seconds_or(raw.interval, 10),
        timeout: seconds_or(raw.timeout, 5),
        retries: raw.retries.filter(|retries| *retries > 0).unwrap_or(3),
        start_period: raw.start_period.map_or(std::time::Duration::from_secs(10), seconds),
    })
}

fn command(raw: &Words, field: &str, scope: &mut Scope<'_>) -> Option<Vec<String>> {
    match raw {
        Words::List(list) => Some(list.clone()),
        Words::Line(line) => {
            let words = values::words(line);
            if words.is_none() {
                let name = field.rsplit('/').next().unwrap_or(field);
                let message = format!("`{name}` has a quote that is not closed, or ends in a backslash");
                scope.find(Code::BadValue, message, field);
            }
            words
        }
    }
}

/// Both lists together; where a service is in both, the one with details counts.
fn requirements(raw: &RawService, scope: &mut Scope<'_>) -> Vec<Requirement> {
    let mut requirements: Vec<Requirement> = Vec::new();
    let detailed: Vec<Requirement> = each(&raw.software_requirements, "/softwareRequirements", scope, requirement);
    for (index, name) in raw.requirements.iter().enumerate() {
        let field = format!("/requirements/{index}");
        let Some(service) = scope.name(name, "service name", &field, ServiceName::new) else {
            continue;
        };
        if detailed.iter().chain(&requirements).all(|known| known.service != service) {
            requirements.push(Requirement {
                service,
                wait_for_healthy: WaitForHealthy::Yes,
                remote_host: None,
                connection_string: None,
            });
        }
    }
    for requirement in detailed {
        match requirements.iter().find(|known| known.service == requirement.service) {
            None => requirements.push(requirement),
            Some(known) if *known == requirement => {}
            Some(_) => {
                let message = format!("`{}` is required twice, in different ways", requirement.service);
                scope.find(Code::DuplicateName, message, "/softwareRequirements");
            }
        }
    }
    requirements
}

fn requirement(raw: &RawRequirement, scope: &mut Scope<'_>) -> Option<Requirement> {
    Some(Requirement {
        service: scope.name(&raw.name, "service name", "/name", ServiceName::new)?,
        wait_for_healthy: match raw.wait_for_healthy {
            Some(false) => WaitForHealthy::No,
            Some(true) | None => WaitForHealthy::Yes,
        },
        remote_host: raw.remote_host.as_deref().and_then(|text| HostName::new(text).ok()),
        connection_string: raw.connection_string.clone().map(Secret::new),
    })
}

fn action(raw: &RawAction, scope: &mut Scope<'_>) -> Option<PotentialAction> {
    if let Some(dir) = &raw.working_directory {
        scope.absolute(dir, "`workingDirectory`", "/workingDirectory");
    }
    let command = command(&raw.command, "/command", scope)?;
    if command.is_empty() {
        scope.find(Code::BadValue, "the `command` of the action is empty", "/command");
    }
    let target = raw.target.as_deref().filter(|target| !target.is_empty());
    Some(PotentialAction {
        name: raw.name.clone(),
        target: target.and_then(|target| scope.name(target, "service name", "/target", ServiceName::new)),
        command,
        timeout: seconds_or(raw.timeout, 60),
        working_dir: raw.working_directory.clone(),
    })
}

fn settings(raw: &RawService, scope: &mut Scope<'_>) -> Settings {
    for (index, address) in raw.dns.iter().enumerate() {
        scope.address(address, &format!("/dns/{index}"));
    }
    for (index, line) in raw.extra_hosts.iter().enumerate() {
        let whole = line.split_once(':').is_some_and(|(name, address)| !name.is_empty() && !address.is_empty());
        if !whole {
            let message = "an entry of `extraHosts` is `name:address`";
            scope.find(Code::BadValue, message, &format!("/extraHosts/{index}"));
        }
    }
    Settings {
        hostname: raw.hostname.clone(),
        domainname: raw.domainname.clone(),
        dns: raw.dns.clone(),
        dns_search: raw.dns_search.clone(),
        dns_options: raw.dns_options.clone(),
        extra_hosts: raw.extra_hosts.clone(),
        cap_drop: raw.cap_drop.clone(),
        cap_add: raw.cap_add.clone(),
        devices: raw.devices.clone(),
        security_opt: raw.security_opt.clone(),
        sysctls: texts(&raw.sysctls),
        group_add: raw.group_add.iter().map(|Text(text)| text.clone()).collect(),
        ulimits: raw.ulimits.iter().map(|(name, limit)| (name.clone(), (limit.soft, limit.hard))).collect(),
        shm_size: scope.memory(raw.shm_size.as_ref().map(|Text(text)| text.as_str()), "/shmSize"),
        init: raw.init,
        read_only: raw.read_only,
        privileged: raw.privileged,
        tty: raw.tty,
        stdin_open: raw.stdin_open,
        pids_limit: raw.pids_limit,
        oom_score_adj: raw.oom_score_adj,
        stop_signal: raw.stop_signal.clone(),
        network_mode: match raw.network_mode.as_deref() {
            Some("host") => NetworkMode::Host,
            Some("none") => NetworkMode::None,
            _ => NetworkMode::Stack,
        },
        logging: raw.logging.as_ref().map(|raw| Logging { driver: raw.driver.clone(), options: texts(&raw.options) }),
    }
}

fn resources(raw: &RawService, scope: &mut Scope<'_>) -> Resources {
    let Some(raw) = &raw.resources else {
        return Resources::default();
    };
    let text = |text: &Option<Text>| text.as_ref().map(|Text(text)| text.clone());
    let resources = Resources {
        cpu: scope.cpu(text(&raw.cpu).as_deref(), "/resources/cpu"),
        memory: scope.memory(text(&raw.memory).as_deref(), "/resources/memory"),
        cpu_limit: scope.cpu(text(&raw.cpu_limit).as_deref(), "/resources/cpuLimit"),
        memory_limit: scope.memory(text(&raw.memory_limit).as_deref(), "/resources/memoryLimit"),
    };
    let over = |asked: Option<u64>, limit: Option<u64>| asked.zip(limit).is_some_and(|(asked, limit)| asked > limit);
    if over(resources.cpu, resources.cpu_limit) {
        scope.find(Code::BadValue, "`cpu` is more than `cpuLimit` allows", "/resources/cpu");
    }
    if over(resources.memory, resources.memory_limit) {
        scope.find(Code::BadValue, "`memory` is more than `memoryLimit` allows", "/resources/memory");
    }
    resources
}

fn constraints(raw: &RawService, scope: &mut Scope<'_>) -> Constraints {
    let Some(raw) = &raw.constraints else {
        return Constraints::default();
    };
    let text = |text: &Option<Text>| text.as_ref().map(|Text(text)| text.clone());
    let mut not_with = BTreeSet::new();
    for (index, name) in raw.not_with.iter().enumerate() {
        let field = format!("/constraints/notWith/{index}");
        not_with.extend(scope.name(name, "service name", &field, ServiceName::new));
    }
    Constraints {
        datacenter: raw.datacenter.clone(),
        labels: texts(&raw.labels),
        min_cpu: scope.cpu(text(&raw.min_cpu).as_deref(), "/constraints/minCpu"),
        min_memory: scope.memory(text(&raw.min_memory).as_deref(), "/constraints/minMemory"),
        not_with,
        // Hosts are known only when all files are; see `fleet`.
        not_on: raw.not_on.iter().filter_map(|text| HostName::new(text).ok()).collect(),
    }
}

fn update(own: Option<&RawUpdate>, default: &RawUpdate) -> Update {
    let none = RawUpdate::default();
    let own = own.unwrap_or(&none);
    Update {
        order: match own.order.as_deref().or(default.order.as_deref()) {
            Some("start-first") => UpdateOrder::StartFirst,
            Some("stop-first") => UpdateOrder::StopFirst,
            _ => UpdateOrder::Auto,
        },
        min_healthy: own.min_healthy.or(default.min_healthy).map(seconds),
        deadline: seconds_or(own.deadline.or(default.deadline), 300),
        on_failure: match own.on_failure.as_deref().or(default.on_failure.as_deref()) {
            Some("hold") => OnFailure::Hold,
            _ => OnFailure::Rollback,
        },
    }
}
