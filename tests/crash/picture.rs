//! What a site has on its hosts and in its ledger, as a text in which nothing is left that two runs of one story may
//! differ in: names, ports and addresses of the site, and which ids things happen to have.
//!
//! Ids become ordinals, so that what was equal stays equal: the digest on a
//! container and the one in the ledger.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::fleet::Host;
use crate::program::Site;
use crate::repository::git;
use crate::witness;

/// Everything of the site.
pub fn picture(site: &Site<'_>) -> String {
    let hosts: Vec<Value> = site.names().iter().map(|(role, host)| on_host(site, role, host)).collect();
    let whole = json!({ "hosts": hosts, "ledger": ledger(site) });
    let text = serde_json::to_string_pretty(&whole).expect("JSON can be written");
    with_roles(site, &with_ordinals(&without_names(site, &text)))
}

fn on_host(site: &Site<'_>, role: &str, host: &Host) -> Value {
    let listed = site.listed(host);
    let containers =
        listed.containers.iter().map(|id| container(&witness::get(host, &format!("/containers/{id}/json"))));
    let named = |things: &[Value]| {
        let things = things
            .iter()
            .map(|seen| json!({ "name": seen["Name"], "driver": seen["Driver"], "labels": labels(&seen["Labels"]) }));
        sorted(things.collect())
    };
    json!({
        "host": role,
        "containers": sorted(containers.collect()),
        "networks": named(&listed.networks),
        "volumes": named(&listed.volumes),
    })
}

fn sorted(mut things: Vec<Value>) -> Vec<Value> {
    things.sort_by_key(|thing| thing["name"].to_string());
    things
}

fn container(seen: &Value) -> Value {
    let id = seen["Id"].as_str().unwrap_or_default();
    let networks: BTreeMap<&String, Vec<&str>> = seen["NetworkSettings"]["Networks"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, endpoint)| {
            let aliases = endpoint["Aliases"].as_array().into_iter().flatten().filter_map(Value::as_str);
            // Older engines list the short id as an alias.
            let mut aliases: Vec<&str> = aliases.filter(|alias| alias.len() < 12 || !id.starts_with(alias)).collect();
            aliases.sort_unstable();
            aliases.dedup();
            (name, aliases)
        })
        .collect();
    let mut environment: Vec<&str> =
        seen["Config"]["Env"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    environment.sort_unstable();
    let host = &seen["HostConfig"];
    json!({
        "name": seen["Name"],
        "state": seen["State"]["Status"],
        "image": seen["Config"]["Image"],
        "command": seen["Config"]["Cmd"],
        "environment": environment,
        "labels": labels(&seen["Config"]["Labels"]),
        "ports": host["PortBindings"],
        "mounts": host["Mounts"],
        "restart": host["RestartPolicy"]["Name"],
        "hosts": host["ExtraHosts"],
        "networks": networks,
    })
}

/// All labels but the one that says at which revision a container was made: a neighbour's change is none for it.
fn labels(labels: &Value) -> BTreeMap<&String, &Value> {
    labels.as_object().into_iter().flatten().filter(|(name, _)| *name != "bayplan.revision").collect()
}

/// The files of the ledger, without what was measured.
fn ledger(site: &Site<'_>) -> Vec<Value> {
    let repository = site.repository.bare();
    let listed = git(&repository, &["ls-tree", "-r", "--name-only", "bayplan/status"]);
    let files = listed.lines().filter(|path| path.ends_with(".json"));
    files
        .map(|path| {
            let mut file: Value = serde_json::from_str(&site.repository.ledger(path)).expect("the ledger holds JSON");
            let hosts = file.get_mut("itemListElement").filter(|_| path == "hosts.json");
            for host in hosts.and_then(Value::as_array_mut).into_iter().flatten() {
                if let Some(host) = host.as_object_mut() {
                    host.retain(|name, _| ["name", "conditions", "volumes"].contains(&name.as_str()));
                }
            }
            json!({ "path": path, "file": file })
        })
        .collect()
}

fn without_names(site: &Site<'_>, text: &str) -> String {
    text.replace(&site.owner(), "OWNER").replace(&site.stack(), "STACK")
}

/// Only when there are no ids any more: the digits of a port may be in one.
fn with_roles(site: &Site<'_>, text: &str) -> String {
    let mut text = text.to_owned();
    for (role, host) in site.names() {
        text = text.replace(&host.address, &format!("ADDRESS-OF-{role}"));
    }
    text = without_what_was_waited_for(&text);
    for (index, port) in site.ports().enumerate() {
        text = text.replace(&port.to_string(), &format!("PORT-{index}"));
    }
    text
}

/// What was waited for is named as it was planned: a container that is to be made by its name, one that is there by its
/// id.
fn without_what_was_waited_for(text: &str) -> String {
    let mut parts = text.split("wait until ");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.split_once(' ').map_or("", |(_, rest)| rest);
        out.push_str(&format!("wait until it {rest}"));
    }
    out
}

/// Ids and digests, whole or shortened, are numbered as they come.
fn with_ordinals(text: &str) -> String {
    const SHORTEST: usize = 7;
    let mut seen: Vec<String> = Vec::new();
    let mut out = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let word = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        let (now, later) = rest.split_at(word.max(rest.chars().next().map_or(1, char::len_utf8)));
        let is_id = now.len() >= SHORTEST && now.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if is_id {
            let known = seen.iter().position(|id| id.starts_with(now) || now.starts_with(id.as_str()));
            let ordinal = known.unwrap_or_else(|| {
                seen.push(now.to_owned());
                seen.len() - 1
            });
            out.push_str(&format!("ID-{ordinal}"));
        } else {
            out.push_str(now);
        }
        rest = later;
    }
    out
}

/// The lines in which two pictures differ, with what is around them left out.
pub fn difference(expected: &str, seen: &str) -> String {
    let (a, b): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), seen.lines().collect());
    let same = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
    let tail = a[same..].iter().rev().zip(b[same..].iter().rev()).take_while(|(a, b)| a == b).count();
    let of = |lines: &[&str], sign: &str| -> String {
        lines[same..lines.len() - tail].iter().map(|line| format!("{sign} {line}\n")).collect()
    };
    let context: Vec<&str> = a[same.saturating_sub(12)..same].to_vec();
    format!("  {}\n{}{}", context.join("\n  "), of(&a, "-"), of(&b, "+"))
}

#[test]
fn ids_become_ordinals_and_what_is_equal_stays_equal() {
    let long = "0123456789abcdef";
    let text = format!("{long} web-1.01234567 deadbeefdeadbeef {long} 21000 face");
    assert_eq!(with_ordinals(&text), "ID-0 web-1.ID-0 ID-1 ID-0 21000 face");
}
