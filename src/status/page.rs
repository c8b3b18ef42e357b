//! The deployment map as `STATUS.md`, for a person who looks at the status branch on a forge.
//!
//! Takes the ledger as it will be, or a map. Gives Markdown.
//!
//! Never holds a clock reading or a secret: a fleet at rest changes no line of it. Never lets a name or a message break
//! out of its cell.

use std::fmt::Write as _;

use crate::model::mapping::PublishedPort;
use crate::model::record::{InstanceHealth, InstanceRecord, Ledger, StackStatus};
use crate::name::InstanceId;
use crate::status::map::{self, Connection, HostOnMap, Map, StackOnMap};

/// Up to so many stacks each has its own part; beyond it only those that need a look, for nobody reads further, and a
/// page that is written at each deployment must stay small.
pub const MOST_DETAILED: usize = 100;

/// The page of a ledger, from what it says alone.
pub fn page(ledger: &Ledger) -> String {
    of_map(&map::map(&map::Input { ledger, inventory: None, stacks: &[] }))
}

/// The page of a map.
pub fn of_map(map: &Map) -> String {
    let mut text = "# What runs where\n\n".to_owned();
    text.push_str("Written by Bayplan after each deployment; `git log` of this branch is the history.\n");
    if map.stacks.is_empty() {
        text.push_str("\nNothing is deployed.\n");
    } else {
        text.push_str("\n| stack | status | revision | hosts |\n| --- | --- | --- | --- |\n");
        for stack in &map.stacks {
            let hosts: Vec<&str> = stack.berths.iter().map(|berth| berth.host.as_str()).collect();
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} |",
                cell(stack.name.as_str()),
                status(stack.status),
                revision(stack),
                hosts.join(", ")
            );
        }
    }
    let is_long = map.stacks.len() > MOST_DETAILED;
    if is_long {
        text.push_str("\nBelow are only the stacks that need a look; `status/` has a file for each.\n");
    }
    for stack in map.stacks.iter().filter(|stack| !is_long || stack.status != StackStatus::Running) {
        text.push_str(&of_stack(stack));
    }
    if !map.hosts.is_empty() {
        text.push_str(&of_hosts(&map.hosts));
    }
    text
}

fn of_stack(stack: &StackOnMap) -> String {
    let mut text = format!("\n## {}\n\n{}", cell(stack.name.as_str()), status(stack.status));
    if stack.revision.is_some() {
        let _ = write!(text, " at {}", revision(stack));
    }
    let files: Vec<String> = stack.files.iter().map(|path| code(path)).collect();
    if !files.is_empty() {
        let _ = write!(text, ", from {}", files.join(", "));
    }
    text.push('\n');
    if let Some(next) = &stack.next {
        let _ = writeln!(text, "\nBegun beside it: {}.", code(next.short()));
    }
    if !stack.conditions.is_empty() {
        text.push('\n');
        for condition in &stack.conditions {
            let (name, reason) = (cell(&condition.name), cell(&condition.reason));
            let _ = writeln!(text, "- **{name}** ({reason}): {}", cell(&condition.message));
        }
    }
    if !stack.berths.is_empty() {
        text.push_str(
            "\n| host | service | health | image | ports | why there |\n| --- | --- | --- | --- | --- | --- |\n",
        );
        for berth in &stack.berths {
            for (id, instance) in &berth.instances {
                let host = format!("{} ({})", berth.host, berth.address);
                text.push_str(&of_instance(&host, id, instance));
            }
        }
    }
    if !stack.connections.is_empty() {
        text.push('\n');
        for connection in &stack.connections {
            let _ = writeln!(text, "- {}", connects(connection));
        }
    }
    text
}

fn of_instance(host: &str, id: &InstanceId, instance: &InstanceRecord) -> String {
    let ports: Vec<String> = instance.ports.iter().map(port).collect();
    format!(
        "| {} | {}-{} | {} | {} | {} | {} |\n",
        cell(host),
        id.service,
        id.number,
        health(instance.health),
        code(&instance.image),
        ports.join("<br>"),
        cell(&instance.reason)
    )
}

fn connects(connection: &Connection) -> String {
    let Connection { from, to, host, port } = connection;
    let reach = match port {
        Some(port) if host.contains(':') => format!("[{host}]:{port}"),
        Some(port) => format!("{host}:{port}"),
        None => host.clone(),
    };
    format!("{}-{} connects to {} at {}", from.service, from.number, cell(to), code(&reach))
}

fn of_hosts(hosts: &[HostOnMap]) -> String {
    let mut text = "\n## Hosts\n\n| host | address | condition | cores | memory | instances |\n".to_owned();
    text.push_str("| --- | --- | --- | ---: | ---: | ---: |\n");
    for host in hosts {
        let condition = host.condition.map_or("not seen yet", |condition| condition.as_str());
        let (cpu, memory) = match host.facts {
            Some(facts) => (cores(facts.cpu), bytes(facts.memory)),
            None => (String::new(), String::new()),
        };
        let _ = writeln!(
            text,
            "| {} | {} | {condition} | {cpu} | {memory} | {} |",
            host.name, host.address, host.instances
        );
    }
    text
}

fn status(status: StackStatus) -> String {
    match status {
        StackStatus::Running => status.as_str().to_owned(),
        StackStatus::Deploying
        | StackStatus::Degraded
        | StackStatus::Held
        | StackStatus::Failed
        | StackStatus::RolledBack => format!("**{}**", status.as_str()),
    }
}

fn health(health: InstanceHealth) -> String {
    match health {
        InstanceHealth::Healthy | InstanceHealth::Completed => health.as_str().to_owned(),
        InstanceHealth::Starting | InstanceHealth::Unhealthy | InstanceHealth::Stopped | InstanceHealth::Unknown => {
            format!("**{}**", health.as_str())
        }
    }
}

fn revision(stack: &StackOnMap) -> String {
    stack.revision.as_ref().map(|revision| code(revision.short())).unwrap_or_default()
}

/// `address:port → port/protocol`.
pub fn port(port: &PublishedPort) -> String {
    let address = std::net::SocketAddr::new(port.host_ip, port.host_port);
    format!("{address} → {}/{}", port.container, port.protocol.as_str())
}

/// Cores, from thousandths, with at most one digit after the point.
pub fn cores(thousandths: u64) -> String {
    let tenths = (thousandths + 50) / 100;
    if tenths.is_multiple_of(10) { (tenths / 10).to_string() } else { format!("{}.{}", tenths / 10, tenths % 10) }
}

/// Bytes in the largest binary unit that leaves at least one, with at most one digit after the point.
pub fn bytes(bytes: u64) -> String {
    let units = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let Some((unit, shift)) = units.into_iter().find(|(_, shift)| bytes >> shift > 0) else {
        return format!("{bytes} B");
    };
    let tenths = (u128::from(bytes) * 10) >> shift;
    let (whole, rest) = (tenths / 10, tenths % 10);
    if rest == 0 { format!("{whole} {unit}") } else { format!("{whole}.{rest} {unit}") }
}

/// A text inside a table or a line: what Markdown or HTML would read as its own is escaped.
pub fn cell(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '|' | '*' | '_' | '`' | '[' | ']' | '#' | '~' | '!' => {
                safe.push('\\');
                safe.push(c);
            }
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '&' => safe.push_str("&amp;"),
            '\n' | '\t' => safe.push(' '),
            c if c.is_control() => {}
            c => safe.push(c),
        }
    }
    safe
}

/// A text as code. A table would still see its `|`, and a backtick would end it.
pub fn code(text: &str) -> String {
    if text.is_empty() {
        return String::new();
    }
    if text.contains(['`', '|', '\\']) || text.chars().any(char::is_control) {
        return cell(text);
    }
    format!("`{text}`")
}
