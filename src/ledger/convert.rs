//! Turns records into the ledger's files and back.
//!
//! Takes values or texts. Gives texts that end with a newline and are the same for the same value, or values.
//!
//! Never reads a text that it would not have written for some value: a name that is none, a mapping that contradicts
//! the instances and a file under another stack's name are errors.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::wire::{self, ComputerSystem, ItemList, SchemaOrg, SoftwareApplication};
use super::{HOSTS, LedgerError, STACKS, VERSION};
use crate::model::host::Endpoint;
use crate::model::mapping::{PortOrigin, PublishedPort};
use crate::model::record::{
    ActionDone, BadMark, Condition, Deployment, Facts, HostCondition, HostRecord, InstanceHealth, InstanceRecord,
    Record, StackStatus, TakenPort, Tried,
};
use crate::model::request::ResolvedImage;
use crate::model::stack::{OnFailure, Protocol, Strategy};
use crate::name::{Digest, HostName, InstanceId, Revision, ServiceName, StackName, StackSlug, VolumeName};

/// Why a text was not understood; the caller knows the path.
type Read<T> = Result<T, String>;

pub(super) fn stack_path(slug: &str) -> String {
    format!("{STACKS}/{slug}.json")
}

pub(super) fn write_record(record: &Record) -> String {
    let running = record.running.as_ref().map(write_deployment);
    let mut file = wire::StackFile {
        context: SchemaOrg::SchemaOrg,
        kind: ItemList::ItemList,
        version: VERSION,
        name: record.name.as_str().to_owned(),
        status: record.status.as_str().to_owned(),
        revision: None,
        content: None,
        files: None,
        placement: None,
        datacenter: None,
        host_mapping: None,
        item_list_element: None,
        next: record.next.as_ref().map(write_deployment),
        bad_content: record
            .bad
            .iter()
            .map(|(tried, mark)| wire::BadContent {
                content: tried.content.to_string(),
                reason: mark.reason.clone(),
                on_failure: match mark.on_failure {
                    OnFailure::Rollback => None,
                    OnFailure::Hold => Some(mark.on_failure.as_str().to_owned()),
                },
                hosts: tried
                    .hosts
                    .iter()
                    .map(|(name, then)| wire::HostThen { name: name.to_string(), digest: then.to_string() })
                    .collect(),
            })
            .collect(),
        actions_done: record
            .actions
            .iter()
            .map(|done| wire::ActionDone {
                service: done.service.to_string(),
                action: done.action.clone(),
                digest: done.digest.to_string(),
            })
            .collect(),
        accepted_removals: record
            .accepted
            .iter()
            .map(|id| wire::AcceptedRemoval { service: id.service.to_string(), instance: id.number })
            .collect(),
        superseded_images: record
            .superseded
            .iter()
            .map(|(host, images)| wire::SupersededImages { host: host.to_string(), images: images.clone() })
            .collect(),
        conditions: record
            .conditions
            .iter()
            .map(|condition| wire::Condition {
                name: condition.name.clone(),
                reason: condition.reason.clone(),
                message: condition.message.clone(),
            })
            .collect(),
    };
    if let Some(running) = running {
        file.revision = Some(running.revision);
        file.content = Some(running.content);
        file.files = Some(running.files);
        file.placement = Some(running.placement);
        file.datacenter = running.datacenter;
        file.host_mapping = Some(running.host_mapping);
        file.item_list_element = Some(running.item_list_element);
    }
    pretty(&file)
}

pub(super) fn read_record(slug: &str, text: &str) -> Result<Record, LedgerError> {
    let path = stack_path(slug);
    let file: wire::StackFile = parse(&path, text)?;
    record(file, slug).map_err(|why| LedgerError::Broken { path, why })
}

/// Our record of a stack with what another ledger knows for good: content that failed, and actions that have run. Who wrote
/// it saw them, and to forget one means to do it again. None: there is nothing to add, or theirs is no record.
pub(super) fn join_records(slug: &str, ours: &str, theirs: &str) -> Option<String> {
    let (ours, theirs) = (read_record(slug, ours).ok()?, read_record(slug, theirs).ok()?);
    let mut joined = ours.clone();
    for (tried, mark) in theirs.bad {
        joined.bad.entry(tried).or_insert(mark);
    }
    joined.actions.extend(theirs.actions);
    (joined != ours).then(|| write_record(&joined))
}

pub(super) fn write_hosts(owner: &str, hosts: &BTreeMap<HostName, HostRecord>) -> String {
    let hosts = hosts.iter().map(|(name, host)| wire::Host {
        kind: ComputerSystem::ComputerSystem,
        name: name.to_string(),
        ip_address: host.address,
        endpoint: host.endpoint.as_ref().map(Endpoint::to_string),
        condition: host.condition.as_str().to_owned(),
        facts: host.facts.map(|facts| wire::Facts {
            cpu_millis: facts.cpu,
            memory_bytes: facts.memory,
            cpu_used_percent: facts.cpu_used,
            memory_used_percent: facts.memory_used,
        }),
        taken_ports: host
            .taken
            .iter()
            .map(|taken| wire::TakenPort {
                host_ip: taken.ip,
                host_port: taken.port,
                protocol: taken.protocol.as_str().to_owned(),
            })
            .collect(),
        volumes: host.volumes.iter().map(VolumeName::to_string).collect(),
    });
    pretty(&wire::HostsFile {
        context: SchemaOrg::SchemaOrg,
        kind: ItemList::ItemList,
        version: VERSION,
        owner: owner.to_owned(),
        item_list_element: hosts.collect(),
    })
}

/// The owner, and the hosts.
pub(super) fn read_hosts(text: &str) -> Result<(String, BTreeMap<HostName, HostRecord>), LedgerError> {
    let file: wire::HostsFile = parse(HOSTS, text)?;
    let hosts = file.item_list_element.into_iter().map(host).collect::<Read<Vec<_>>>();
    let broken = |why| LedgerError::Broken { path: HOSTS.to_owned(), why };
    let hosts = hosts.map_err(broken)?;
    let count = hosts.len();
    let hosts: BTreeMap<_, _> = hosts.into_iter().collect();
    if hosts.len() != count {
        return Err(broken("a host is named twice".to_owned()));
    }
    Ok((file.owner, hosts))
}

/// `service: host`, and `service-n: host` for each instance of a service that has several.
fn host_mapping(instances: &[wire::Instance]) -> Vec<String> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for instance in instances {
        *counts.entry(&instance.name).or_default() += 1;
    }
    let line = |instance: &wire::Instance| {
        if counts[instance.name.as_str()] == 1 && instance.instance == 1 {
            format!("{}: {}", instance.name, instance.host)
        } else {
            format!("{}-{}: {}", instance.name, instance.instance, instance.host)
        }
    };
    instances.iter().map(line).collect()
}

fn write_deployment(deployment: &Deployment) -> wire::Deployment {
    let instances = deployment.instances.iter().map(|(id, instance)| wire::Instance {
        kind: SoftwareApplication::SoftwareApplication,
        name: id.service.to_string(),
        instance: id.number,
        host: instance.host.to_string(),
        address: instance.address,
        container: instance.container.clone(),
        image: instance.image.clone(),
        resolved_image: instance.resolved.reference().to_owned(),
        digest: instance.digest.to_string(),
        ports: instance.ports.iter().map(write_port).collect(),
        health: instance.health.as_str().to_owned(),
        reason: instance.reason.clone(),
    });
    let instances: Vec<_> = instances.collect();
    wire::Deployment {
        kind: ItemList::ItemList,
        revision: deployment.revision.to_string(),
        content: deployment.content.to_string(),
        files: deployment.files.clone(),
        placement: deployment.placement.as_str().to_owned(),
        datacenter: deployment.datacenter.clone(),
        host_mapping: host_mapping(&instances),
        item_list_element: instances,
    }
}

fn write_port(port: &PublishedPort) -> wire::Port {
    wire::Port {
        container_port: port.container,
        host_port: port.host_port,
        protocol: port.protocol.as_str().to_owned(),
        host_ip: port.host_ip,
        origin: match port.origin {
            PortOrigin::Explicit => wire::PortOrigin::Explicit,
            PortOrigin::Chosen => wire::PortOrigin::Chosen,
            PortOrigin::ForOthers => wire::PortOrigin::ForOthers,
        },
    }
}

fn pretty(file: &impl Serialize) -> String {
    let mut text = serde_json::to_string_pretty(file).expect("names and numbers are always JSON");
    text.push('\n');
    text
}

fn parse<T: DeserializeOwned + wire::File>(path: &str, text: &str) -> Result<T, LedgerError> {
    // What is right is read once; what is not, again, for where and why.
    if let Ok(file) = serde_json::from_str::<T>(text)
        && (1..=VERSION).contains(&file.version())
    {
        return Ok(file);
    }
    let broken = |why: String| LedgerError::Broken { path: path.to_owned(), why };
    // The version alone first: of a newer file nothing else is known.
    let found: wire::Versioned = serde_json::from_str(text).map_err(|error| broken(error.to_string()))?;
    if found.version > u64::from(VERSION) {
        return Err(LedgerError::Newer { path: path.to_owned(), version: found.version });
    }
    if found.version == 0 {
        return Err(broken("there is no version 0".to_owned()));
    }
    let mut reader = serde_json::Deserializer::from_str(text);
    serde_path_to_error::deserialize(&mut reader)
        .map_err(|error| broken(format!("{}: {}", error.path(), error.inner())))
}

fn record(file: wire::StackFile, slug: &str) -> Read<Record> {
    let name = StackName::new(&file.name).map_err(|why| format!("the stack's name {why}"))?;
    if name.slug().as_str() != slug {
        return Err(format!("it is about the stack `{}`", name.slug()));
    }
    let running =
        match (file.revision, file.content, file.files, file.placement, file.host_mapping, file.item_list_element) {
            (
                Some(revision),
                Some(content),
                Some(files),
                Some(placement),
                Some(host_mapping),
                Some(item_list_element),
            ) => Some(wire::Deployment {
                kind: ItemList::ItemList,
                revision,
                content,
                files,
                placement,
                datacenter: file.datacenter,
                host_mapping,
                item_list_element,
            }),
            (None, None, None, None, None, None) if file.datacenter.is_none() => None,
            _ => return Err("what is running is not complete".to_owned()),
        };
    let slug = name.slug().clone();
    Ok(Record {
        status: one_of(&StackStatus::ALL, StackStatus::as_str, "status", &file.status)?,
        running: running.map(|running| deployment(running, &slug)).transpose()?,
        next: file.next.map(|next| deployment(next, &slug)).transpose()?,
        bad: file.bad_content.into_iter().map(bad_mark).collect::<Read<BTreeMap<_, _>>>()?,
        actions: file
            .actions_done
            .into_iter()
            .map(|done| {
                Ok(ActionDone { service: service(&done.service)?, digest: digest(&done.digest)?, action: done.action })
            })
            .collect::<Read<BTreeSet<_>>>()?,
        accepted: file
            .accepted_removals
            .into_iter()
            .map(|removal| {
                let (stack, service) = (slug.clone(), service(&removal.service)?);
                Ok(InstanceId { stack, service, number: removal.instance })
            })
            .collect::<Read<BTreeSet<_>>>()?,
        superseded: file
            .superseded_images
            .into_iter()
            .map(|superseded| Ok((host_name(&superseded.host)?, superseded.images)))
            .collect::<Read<BTreeMap<_, _>>>()?,
        conditions: file
            .conditions
            .into_iter()
            .map(|condition| Condition { name: condition.name, reason: condition.reason, message: condition.message })
            .collect(),
        name,
    })
}

fn bad_mark(bad: wire::BadContent) -> Read<(Tried, BadMark)> {
    let on_failure = match bad.on_failure {
        Some(text) => one_of(&OnFailure::ALL, OnFailure::as_str, "onFailure", &text)?,
        None => OnFailure::Rollback,
    };
    let then = |host: wire::HostThen| Ok((host_name(&host.name)?, digest(&host.digest)?));
    let hosts = bad.hosts.into_iter().map(then).collect::<Read<BTreeMap<_, _>>>()?;
    Ok((Tried { content: digest(&bad.content)?, hosts }, BadMark { reason: bad.reason, on_failure }))
}

fn deployment(file: wire::Deployment, stack: &StackSlug) -> Read<Deployment> {
    if file.host_mapping != host_mapping(&file.item_list_element) {
        return Err("`hostMapping` and `itemListElement` contradict each other".to_owned());
    }
    let mut instances = BTreeMap::new();
    for instance in file.item_list_element {
        if instance.instance == 0 {
            return Err(format!("an instance of `{}` has the number 0", instance.name));
        }
        let id = InstanceId { stack: stack.clone(), service: service(&instance.name)?, number: instance.instance };
        let record = InstanceRecord {
            host: host_name(&instance.host)?,
            address: instance.address,
            container: instance.container,
            image: instance.image,
            resolved: ResolvedImage::parse(&instance.resolved_image),
            digest: digest(&instance.digest)?,
            ports: instance.ports.into_iter().map(port).collect::<Read<_>>()?,
            health: one_of(&InstanceHealth::ALL, InstanceHealth::as_str, "health", &instance.health)?,
            reason: instance.reason,
        };
        if instances.insert(id.clone(), record).is_some() {
            return Err(format!("`{id}` is there twice"));
        }
    }
    Ok(Deployment {
        revision: Revision::new(&file.revision).map_err(|why| format!("the revision `{}` {why}", file.revision))?,
        content: digest(&file.content)?,
        files: file.files,
        placement: one_of(&Strategy::ALL, Strategy::as_str, "placement", &file.placement)?,
        datacenter: file.datacenter,
        instances,
    })
}

fn port(port: wire::Port) -> Read<PublishedPort> {
    Ok(PublishedPort {
        container: port.container_port,
        protocol: protocol(&port.protocol)?,
        host_ip: port.host_ip,
        host_port: port.host_port,
        origin: match port.origin {
            wire::PortOrigin::Explicit => PortOrigin::Explicit,
            wire::PortOrigin::Chosen => PortOrigin::Chosen,
            wire::PortOrigin::ForOthers => PortOrigin::ForOthers,
        },
    })
}

fn host(host: wire::Host) -> Read<(HostName, HostRecord)> {
    let name = host_name(&host.name)?;
    let endpoint = match host.endpoint {
        Some(text) => Some(Endpoint::parse(&text).ok_or_else(|| format!("`{text}` is no endpoint"))?),
        None => None,
    };
    let record = HostRecord {
        address: host.ip_address,
        endpoint,
        facts: host.facts.map(|facts| Facts {
            cpu: facts.cpu_millis,
            memory: facts.memory_bytes,
            cpu_used: facts.cpu_used_percent,
            memory_used: facts.memory_used_percent,
        }),
        condition: one_of(&HostCondition::ALL, HostCondition::as_str, "condition", &host.condition)?,
        taken: host
            .taken_ports
            .into_iter()
            .map(|taken| {
                Ok(TakenPort { ip: taken.host_ip, port: taken.host_port, protocol: protocol(&taken.protocol)? })
            })
            .collect::<Read<_>>()?,
        volumes: host
            .volumes
            .iter()
            .map(|name| VolumeName::new(name).map_err(|why| format!("the volume `{name}` {why}")))
            .collect::<Read<_>>()?,
    };
    Ok((name, record))
}

fn one_of<T: Copy>(all: &[T], text_of: impl Fn(T) -> &'static str, what: &str, text: &str) -> Read<T> {
    let found = all.iter().copied().find(|value| text_of(*value) == text);
    found.ok_or_else(|| format!("`{text}` is no {what}"))
}

fn digest(text: &str) -> Read<Digest> {
    Digest::parse(text).map_err(|why| format!("the digest `{text}` {why}"))
}

fn host_name(text: &str) -> Read<HostName> {
    HostName::new(text).map_err(|why| format!("the host `{text}` {why}"))
}

fn service(text: &str) -> Read<ServiceName> {
    ServiceName::new(text).map_err(|why| format!("the service `{text}` {why}"))
}

fn protocol(text: &str) -> Read<Protocol> {
    Protocol::parse(text).ok_or_else(|| format!("`{text}` is no protocol"))
}
