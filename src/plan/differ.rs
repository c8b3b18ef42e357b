//! Names the fields in which an instance's request differs from the one that ran before.
//!
//! Never shows the value of a variable: two digests say that it differs.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::model::desired::Inventory;
use crate::model::mapping::{Mapping, Placed};
use crate::model::record::{Deployment, InstanceRecord};
use crate::model::request::ContainerRequest;
use crate::model::stack::{Service, Stack};
use crate::name::{Digest, InstanceId};
use crate::plan::Input;
use crate::plan::change::FieldChange;
use crate::plan::request::{Build, build};

/// The request that made the recorded instance, built again from the stack as it ran.
pub fn request_before(
    input: &Input<'_>,
    stack: &Stack,
    running: &Deployment,
    id: &InstanceId,
) -> Option<ContainerRequest> {
    let record = running.instances.get(id)?;
    let service = stack.service(id.service.as_str())?;
    let mapping: Mapping = running.instances.iter().map(|(id, record)| (id.clone(), placed(record))).collect();
    let inventory = inventory_before(input.inventory, running);
    let from =
        Build { stack, mapping: &mapping, inventory: &inventory, owner: input.owner, revision: &running.revision };
    build(&from, service, id, &record.resolved).map(|(request, _)| request)
}

/// The inventory with the addresses that hosts had then: others were told those.
fn inventory_before(now: &Inventory, running: &Deployment) -> Inventory {
    let mut then = now.clone();
    for record in running.instances.values() {
        if let Some(host) = then.hosts.get_mut(&record.host).filter(|host| host.ip_address != record.address) {
            Arc::make_mut(host).ip_address = record.address;
        }
    }
    then
}

fn placed(record: &InstanceRecord) -> Placed {
    Placed { host: record.host.clone(), ports: record.ports.clone(), why: record.reason.clone() }
}

/// The differing fields, in order of name.
pub fn fields(
    before: &ContainerRequest,
    after: &ContainerRequest,
    stack: &Stack,
    service: &Service,
) -> Vec<FieldChange> {
    let mut changes = Vec::new();
    let (before, after) = (before.parts(), after.parts());
    let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
    names.sort();
    names.dedup();
    for name in names {
        match (before.get(name), after.get(name)) {
            (old, new) if old == new => {}
            (old, new) if name == "environment" || name == "labels" => {
                members(&mut changes, name, object(old), object(new), service);
            }
            (old, new) => changes.push(FieldChange {
                name: name.clone(),
                before: old.map(shown),
                after: new.map(shown),
                at: place(name, stack, service),
            }),
        }
    }
    changes
}

fn object(value: Option<&Value>) -> Map<String, Value> {
    value.and_then(Value::as_object).cloned().unwrap_or_default()
}

fn members(
    changes: &mut Vec<FieldChange>,
    field: &str,
    before: Map<String, Value>,
    after: Map<String, Value>,
    service: &Service,
) {
    let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
    names.sort();
    names.dedup();
    // Our own labels follow from the rest and would only repeat it.
    for name in names.into_iter().filter(|name| !name.starts_with("bayplan.")) {
        let (old, new) = (before.get(name), after.get(name));
        if old == new {
            continue;
        }
        let written = match field {
            "environment" => service.environment.contains_key(name.as_str()),
            _ => service.labels.contains_key(name.as_str()),
        };
        let show = |value: &Value| {
            if field == "environment" { hidden(value) } else { shown(value) }
        };
        changes.push(FieldChange {
            name: format!("{field}.{name}"),
            before: old.map(show),
            after: new.map(show),
            at: written.then(|| service.at.of(&format!("/{field}/{}", escaped(name))).clone()),
        });
    }
}

/// A member's name inside a JSON pointer.
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

fn hidden(value: &Value) -> String {
    format!("#{}", Digest::of(value.as_str().unwrap_or_default().as_bytes()).short())
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) if items.iter().all(Value::is_string) => {
            items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" ")
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

/// Where a part of the request was written; none for parts that we add.
fn place(name: &str, stack: &Stack, service: &Service) -> Option<crate::files::Span> {
    match name {
        "resolved" | "extraHosts" => None,
        "network" => Some(stack.at.of("/network").clone()),
        "cpuLimit" | "memoryLimit" => Some(service.at.of(&format!("/resources/{name}")).clone()),
        _ => Some(service.at.of(&format!("/{name}")).clone()),
    }
}
