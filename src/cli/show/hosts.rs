//! The inventory and what is known of it, as a table and for programs.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::cli::show::json::document;
use crate::cli::show::paint::{BAD, FAINT, GOOD, WARN, painted, plain};
use crate::cli::show::table;
use crate::model::desired::Inventory;
use crate::model::host::{Host, HostStatus};
use crate::model::record::Ledger;
use crate::model::world::{HostView, World};
use crate::name::HostName;
use crate::status::page::{bytes, cores};

/// What the table is made from.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a> {
    pub inventory: &'a Inventory,
    /// As just seen, or as the ledger remembers it.
    pub world: &'a World,
    pub ledger: &'a Ledger,
}

/// One host, with everything that is known of it.
struct Row<'a> {
    host: &'a Host,
    condition: Condition<'a>,
    version: Option<&'a str>,
    /// Thousandths of a core: declared, else measured.
    cpu: Option<u64>,
    /// Bytes: declared, else measured.
    memory: Option<u64>,
    /// In use, in per cent, as the ledger remembers it.
    used: Option<(u8, u8)>,
    instances: usize,
}

enum Condition<'a> {
    Reachable,
    Unreachable(&'a str),
    NoEndpoint,
}

impl Condition<'_> {
    fn as_str(&self) -> &'static str {
        match self {
            Self::Reachable => "reachable",
            Self::Unreachable(_) => "unreachable",
            Self::NoEndpoint => "no endpoint",
        }
    }
}

fn rows<'a>(shown: &Shown<'a>) -> Vec<Row<'a>> {
    let mut instances: BTreeMap<&HostName, usize> = BTreeMap::new();
    for deployment in shown.ledger.records.values().filter_map(|record| record.running.as_ref()) {
        for instance in deployment.instances.values() {
            *instances.entry(&instance.host).or_default() += 1;
        }
    }
    let row = |host: &'a Arc<Host>| {
        let facts = shown.ledger.hosts.get(&host.name).and_then(|record| record.facts);
        let (condition, about) = match shown.world.host(&host.name) {
            HostView::Seen(seen) => (Condition::Reachable, Some(&seen.about)),
            HostView::Unreachable(why) => (Condition::Unreachable(why), None),
            HostView::NoEndpoint => (Condition::NoEndpoint, None),
        };
        let measured = |of: fn(&crate::model::world::About) -> u64| about.map(of).filter(|value| *value > 0);
        Row {
            host: host.as_ref(),
            condition,
            version: about.map(|about| about.version.as_str()).filter(|version| !version.is_empty()),
            cpu: host.cpu.or(measured(|about| about.cpu)).or(facts.map(|facts| facts.cpu)),
            memory: host.memory.or(measured(|about| about.memory)).or(facts.map(|facts| facts.memory)),
            used: facts.map(|facts| (facts.cpu_used, facts.memory_used)),
            instances: instances.get(&host.name).copied().unwrap_or(0),
        }
    };
    shown.inventory.hosts.values().map(row).collect()
}

/// The table for people.
pub fn table(shown: &Shown<'_>) -> String {
    let rows = rows(shown);
    if rows.is_empty() {
        return "The inventory is empty: put a host file below `hosts/` (`bayplan init` writes an example).\n"
            .to_owned();
    }
    let titles = ["host", "address", "datacenter", "status", "condition", "engine", "cores", "memory", "instances"];
    let mut cells = vec![titles.iter().map(|title| painted(FAINT, title)).collect::<Vec<_>>()];
    for row in &rows {
        let used = |value: Option<u8>| value.filter(|v| *v > 0).map(|v| format!(" ({v} % used)")).unwrap_or_default();
        cells.push(vec![
            row.host.name.to_string(),
            row.host.ip_address.to_string(),
            row.host.datacenter.as_deref().map(plain).unwrap_or_else(|| "-".to_owned()),
            status(row.host.status),
            condition(&row.condition),
            row.version.map_or("-".to_owned(), plain),
            row.cpu.map_or("-".to_owned(), |cpu| format!("{}{}", cores(cpu), used(row.used.map(|u| u.0)))),
            row.memory.map_or("-".to_owned(), |m| format!("{}{}", bytes(m), used(row.used.map(|u| u.1)))),
            row.instances.to_string(),
        ]);
    }
    let mut text = String::new();
    for line in table::lines(&cells) {
        text.push_str(&line);
        text.push('\n');
    }
    for row in &rows {
        if let Condition::Unreachable(why) = row.condition {
            text.push_str(&format!("{} {}: {}\n", painted(WARN, "!"), row.host.name, plain(why)));
        }
    }
    text
}

fn status(status: HostStatus) -> String {
    match status {
        HostStatus::Active => status.as_str().to_owned(),
        HostStatus::Maintenance | HostStatus::Draining | HostStatus::Offline | HostStatus::Left => {
            painted(WARN, status.as_str())
        }
    }
}

fn condition(condition: &Condition<'_>) -> String {
    let style = match condition {
        Condition::Reachable => GOOD,
        Condition::Unreachable(_) => BAD,
        Condition::NoEndpoint => FAINT,
    };
    painted(style, condition.as_str())
}

/// The same for programs.
pub fn json(shown: &Shown<'_>) -> String {
    let hosts: Vec<Value> = rows(shown).iter().map(row_json).collect();
    document("hosts", json!({"hosts": hosts}))
}

fn row_json(row: &Row<'_>) -> Value {
    let why = match row.condition {
        Condition::Unreachable(why) => Some(why),
        Condition::Reachable | Condition::NoEndpoint => None,
    };
    json!({
        "name": row.host.name.as_str(),
        "address": row.host.ip_address.to_string(),
        "datacenter": row.host.datacenter,
        "labels": row.host.labels,
        "endpoint": row.host.endpoint.as_ref().map(ToString::to_string),
        "status": row.host.status.as_str(),
        "condition": row.condition.as_str().replace(' ', "-"),
        "why": why,
        "engine": row.version,
        "cpuMillis": row.cpu,
        "memoryBytes": row.memory,
        "cpuUsedPercent": row.used.map(|used| used.0),
        "memoryUsedPercent": row.used.map(|used| used.1),
        "instances": row.instances,
    })
}
