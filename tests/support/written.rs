//! Generated repositories as people would write them: one file per stack and per host.
#![allow(dead_code, reason = "each test binary compiles this file and uses a part of it")]

use bayplan::model::stack::{StartOrder, Strategy, UpdateOrder, WaitForHealthy};
use bayplan::source::memory::{Entry, Files};
use serde_json::{Map, Value, json};

use crate::shape::{
    self, HealthShape, HostShape, Image, PortShape, Repo, ServiceShape, StackShape, host_named, service_named,
    stack_named,
};

pub fn stack_path(number: u8) -> String {
    format!("stacks/{}.yaml", stack_named(number))
}

pub fn host_path(number: u8) -> String {
    format!("hosts/{}.yaml", host_named(number))
}

/// The whole tree.
pub fn files(repo: &Repo) -> Files {
    let stacks = repo.stacks.iter().map(|(number, shape)| (stack_path(*number), stack(*number, shape)));
    let hosts = repo.hosts.iter().map(|(number, shape)| (host_path(*number), host(*number, shape)));
    stacks.chain(hosts).map(|(path, value)| (path.into(), Entry::Text(value.to_string().into()))).collect()
}

fn host(number: u8, shape: &HostShape) -> Value {
    json!({
        "name": host_named(number),
        "ipAddress": format!("10.0.0.{}", number + 1),
        "cpu": "4",
        "memory": "16Gi",
        "status": shape.status.as_str(),
        "endpoint": format!("memory://{}", shape::engine_name(shape.engine)),
    })
}

fn stack(number: u8, shape: &StackShape) -> Value {
    let services = shape.services.iter().enumerate();
    let services: Vec<Value> =
        services.map(|(at, (name, service))| written(number, shape, at + 1, *name, service)).collect();
    json!({
        "name": stack_named(number),
        "placement": shape.placement.as_str(),
        "startOrder": match shape.order {
            StartOrder::Dependencies => "dependencies",
            StartOrder::Position => "position",
        },
        "itemListElement": services,
    })
}

fn written(stack: u8, of: &StackShape, position: usize, name: u8, shape: &ServiceShape) -> Value {
    let mut service = Map::new();
    let mut put = |key: &str, value: Value| drop(service.insert(key.to_owned(), value));
    put("position", json!(position));
    put("name", json!(service_named(name)));
    put("image", json!(shape::image_text(shape.image, shape.secret)));
    put("environment", json!({ "TOKEN": shape::secret(shape.secret) }));
    put("replicas", json!(shape.replicas));
    if shape.image == Image::Completes {
        put("restartPolicy", json!("no"));
    }
    let target = if of.placement == Strategy::Manual { shape.target.or(Some(0)) } else { shape.target };
    if let Some(target) = target.filter(|_| of.placement != Strategy::Single) {
        put("targetHost", json!(host_named(target)));
    }
    let container = 8000 + u16::from(name);
    match shape.port {
        PortShape::None => {}
        PortShape::Inside => put("ports", json!([{ "containerPort": container }])),
        PortShape::Chosen => put("ports", json!([{ "containerPort": container, "hostPort": 0 }])),
        PortShape::Explicit(port) => put("ports", json!([{ "containerPort": container, "hostPort": port }])),
    }
    if shape.volume {
        let volume = format!("{}-{}", stack_named(stack), service_named(name));
        put("volumeMounts", json!([{ "source": volume, "target": "/data" }]));
    }
    let needs = shape.needs.iter().filter(|(other, _)| of.services.contains_key(*other) && **other < name);
    let needs = needs.map(|(other, wait)| {
        json!({
            "name": service_named(*other),
            "waitForHealthy": *wait == WaitForHealthy::Yes,
            "connectionString": format!("http://user:{}@host-0:{}", shape::secret(shape.secret), 8000 + u16::from(*other)),
        })
    });
    put("softwareRequirements", needs.collect());
    let order = match shape.update {
        UpdateOrder::Auto => "auto",
        UpdateOrder::StartFirst => "start-first",
        UpdateOrder::StopFirst => "stop-first",
    };
    put("update", json!({ "order": order, "deadline": 30 }));
    let check = |kind: &str, key: &str, value: Value| {
        let mut check =
            json!({ "type": kind, "port": container, "interval": 2, "timeout": 1, "retries": 3, "startPeriod": 2 });
        check[key] = value;
        check
    };
    match shape.health {
        HealthShape::None => {}
        HealthShape::Command => {
            put(
                "healthCheck",
                json!({ "type": "command", "command": ["check"], "interval": 2, "timeout": 1, "retries": 3, "startPeriod": 2 }),
            );
        }
        HealthShape::Http => put("healthCheck", check("http", "path", json!("/"))),
    }
    if shape.action {
        put("potentialAction", json!([{ "name": "prepare", "command": ["prepare"], "timeout": 5 }]));
    }
    if shape.apart {
        put("constraints", json!({ "notWith": [service_named(name)] }));
    }
    Value::Object(service)
}
