//! The deployment map on a terminal, and for programs.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::cli::show::json::document;
use crate::cli::show::paint::{BAD, FAINT, GOOD, STRONG, WARN, painted, plain, short};
use crate::cli::show::plan_json::host_names;
use crate::cli::show::table;
use crate::model::record::{HostCondition, InstanceHealth, InstanceRecord, StackStatus};
use crate::name::{InstanceId, Revision};
use crate::status::map::{Berth, Connection, HostOnMap, Map, StackOnMap};
use crate::status::page;

/// Images beyond this break the columns.
const LONGEST_IMAGE: usize = 50;

/// The map for people.
pub fn map(map: &Map) -> String {
    if map.stacks.is_empty() {
        return "Nothing is deployed.\n".to_owned();
    }
    let mut text = String::new();
    for (index, stack) in map.stacks.iter().enumerate() {
        if index > 0 {
            text.push('\n');
        }
        text.push_str(&of_stack(stack));
    }
    let silent = map.hosts.iter().filter(|host| host.condition.is_some_and(|c| c != HostCondition::Reachable));
    for host in silent {
        let condition = host.condition.map_or("", HostCondition::as_str);
        let line = format!("{} is {condition}: what is said of it is what was last seen", host.name);
        let _ = write!(text, "\n{} {line}\n", painted(WARN, "!"));
    }
    text
}

fn of_stack(stack: &StackOnMap) -> String {
    let mut head = format!("{}  {}", painted(STRONG, plain(stack.name.as_str())), status(stack.status));
    if let Some(revision) = &stack.revision {
        let files: Vec<String> = stack.files.iter().map(|path| plain(path)).collect();
        let _ = write!(head, "  {}", painted(FAINT, format!("{} at {}", files.join(", "), revision.short())));
    }
    let mut text = format!("{head}\n");
    if let Some(next) = &stack.next {
        let _ = writeln!(text, "  {} {} is begun beside it", painted(WARN, "…"), next.short());
    }
    let instances: Vec<Vec<String>> = stack.berths.iter().flat_map(|b| b.instances.iter().map(row)).collect();
    let mut lines = table::lines(&instances).into_iter();
    for berth in &stack.berths {
        let _ = writeln!(text, "  {}", berth_head(berth));
        for line in lines.by_ref().take(berth.instances.len()) {
            let _ = writeln!(text, "    {line}");
        }
    }
    if !stack.connections.is_empty() {
        let rows: Vec<Vec<String>> = stack.connections.iter().map(connects).collect();
        for line in table::lines(&rows) {
            let _ = writeln!(text, "  {line}");
        }
    }
    for condition in &stack.conditions {
        let name = painted(WARN, format!("! {} ({})", plain(&condition.name), plain(&condition.reason)));
        let mut lines = condition.message.lines();
        let _ = writeln!(text, "  {name} {}", plain(lines.next().unwrap_or_default()));
        for line in lines {
            let _ = writeln!(text, "      {}", plain(line));
        }
    }
    text
}

fn berth_head(berth: &Berth) -> String {
    let mut head = format!("{}  {}", painted(STRONG, &berth.host), berth.address);
    if let Some(datacenter) = &berth.datacenter {
        let _ = write!(head, "  {}", painted(FAINT, plain(datacenter)));
    }
    match berth.condition {
        Some(HostCondition::Reachable) | None => {}
        Some(condition) => {
            let _ = write!(head, "  {}", painted(BAD, condition.as_str()));
        }
    }
    head
}

fn row((id, instance): (&InstanceId, &InstanceRecord)) -> Vec<String> {
    let ports: Vec<String> = instance.ports.iter().map(page::port).collect();
    vec![
        format!("{}-{}", id.service, id.number),
        health(instance.health),
        short(&instance.image, LONGEST_IMAGE),
        ports.join(", "),
    ]
}

fn connects(connection: &Connection) -> Vec<String> {
    let from = format!("{}-{}", connection.from.service, connection.from.number);
    vec![
        from,
        painted(FAINT, "connects to"),
        plain(&connection.to),
        format!("{} {}", painted(FAINT, "at"), reach(connection)),
    ]
}

fn reach(connection: &Connection) -> String {
    let host = plain(&connection.host);
    match &connection.port {
        Some(port) if host.contains(':') => format!("[{host}]:{port}"),
        Some(port) => format!("{host}:{port}"),
        None => host,
    }
}

/// A stack's status in its colour.
pub fn status(status: StackStatus) -> String {
    let style = match status {
        StackStatus::Running => GOOD,
        StackStatus::Deploying | StackStatus::Held | StackStatus::RolledBack => WARN,
        StackStatus::Degraded | StackStatus::Failed => BAD,
    };
    painted(style, status.as_str())
}

fn health(health: InstanceHealth) -> String {
    let style = match health {
        InstanceHealth::Healthy | InstanceHealth::Completed => GOOD,
        InstanceHealth::Starting | InstanceHealth::Unknown => WARN,
        InstanceHealth::Unhealthy | InstanceHealth::Stopped => BAD,
    };
    painted(style, health.as_str())
}

/// The map for programs; `ledger` is the commit that it was drawn from.
pub fn json(map: &Map, ledger: Option<&Revision>) -> String {
    let stacks: Vec<Value> = map.stacks.iter().map(stack_json).collect();
    let hosts: Vec<Value> = map.hosts.iter().map(host_json).collect();
    let ledger = ledger.map(Revision::as_str);
    document("status", json!({"ledger": ledger, "stacks": stacks, "hosts": hosts}))
}

fn stack_json(stack: &StackOnMap) -> Value {
    let instances = || stack.berths.iter().flat_map(|berth| &berth.instances);
    let connections: Vec<Value> = stack
        .connections
        .iter()
        .map(|c| json!({"from": c.from.to_string(), "to": c.to, "host": c.host, "port": c.port}))
        .collect();
    let conditions: Vec<Value> =
        stack.conditions.iter().map(|c| json!({"name": c.name, "reason": c.reason, "message": c.message})).collect();
    json!({
        "name": stack.name.as_str(),
        "slug": stack.name.slug().as_str(),
        "status": stack.status.as_str(),
        "revision": stack.revision.as_ref().map(Revision::as_str),
        "next": stack.next.as_ref().map(Revision::as_str),
        "files": stack.files,
        "hostMapping": host_names(instances().map(|(id, instance)| (id, &instance.host))),
        "instances": instances().map(|(id, instance)| instance_json(id, instance)).collect::<Vec<_>>(),
        "connections": connections,
        "conditions": conditions,
    })
}

fn instance_json(id: &InstanceId, instance: &InstanceRecord) -> Value {
    let ports: Vec<Value> = instance
        .ports
        .iter()
        .map(|port| {
            json!({
                "containerPort": port.container,
                "protocol": port.protocol.as_str(),
                "hostIp": port.host_ip.to_string(),
                "hostPort": port.host_port,
            })
        })
        .collect();
    json!({
        "service": id.service.as_str(),
        "instance": id.number,
        "host": instance.host.as_str(),
        "address": instance.address.to_string(),
        "container": instance.container,
        "image": instance.image,
        "resolvedImage": instance.resolved.reference(),
        "health": instance.health.as_str(),
        "ports": ports,
        "placement": instance.reason,
    })
}

fn host_json(host: &HostOnMap) -> Value {
    json!({
        "name": host.name.as_str(),
        "address": host.address.to_string(),
        "datacenter": host.datacenter,
        "status": host.status.map(|status| status.as_str()),
        "condition": host.condition.map(HostCondition::as_str),
        "instances": host.instances,
    })
}
