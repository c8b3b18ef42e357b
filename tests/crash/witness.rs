//! An engine, asked without any code of ours in between: HTTP over its socket, written by hand.
//!
//! Because some thousand questions are asked, and each start of the Docker command line costs more than its answer.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::Value;

use crate::fleet::Host;
use crate::program::note;

/// Far more than a busy engine takes for a list or a removal.
const LIMIT: Duration = Duration::from_secs(60);

/// The status and the body of an answer.
pub fn ask(host: &Host, method: &str, path: &str) -> (u16, Value) {
    let mut stream = UnixStream::connect(&host.socket).expect("the engine listens");
    stream.set_read_timeout(Some(LIMIT)).expect("a limit can be set");
    // Version 1.0: the body ends with the connection and comes in one piece.
    stream
        .write_all(format!("{method} {path} HTTP/1.0\r\nHost: engine\r\n\r\n").as_bytes())
        .expect("it takes requests");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("it answers");
    let answer = String::from_utf8(answer).expect("it answers in text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head and a body");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a head has a status");
    (status, serde_json::from_str(body).unwrap_or(Value::Null))
}

/// # Panics
/// When the engine does not answer with 200.
pub fn get(host: &Host, path: &str) -> Value {
    let (status, answer) = ask(host, "GET", path);
    assert_eq!(status, 200, "GET {path}: {answer}");
    answer
}

/// Everything of one kind that carries the owner's label or has this in its name.
pub struct Listed {
    pub containers: Vec<String>,
    pub networks: Vec<Value>,
    pub volumes: Vec<Value>,
}

pub fn list(host: &Host, owner: &str, name: &str) -> Listed {
    let is_ours = |thing: &Value| {
        let names = thing["Names"].as_array().into_iter().flatten().chain([&thing["Name"]]);
        thing["Labels"]["bayplan.owner"] == owner
            || names.filter_map(Value::as_str).any(|candidate| candidate.contains(name))
    };
    let of = |all: &Value| -> Vec<Value> {
        all.as_array().into_iter().flatten().filter(|thing| is_ours(thing)).cloned().collect()
    };
    let containers = of(&get(host, "/containers/json?all=1"));
    Listed {
        containers: containers.iter().filter_map(|c| c["Id"].as_str()).map(str::to_owned).collect(),
        networks: of(&get(host, "/networks")),
        volumes: of(&get(host, "/volumes")["Volumes"]),
    }
}

/// What an engine says of a network that is used; one that says it of a network of which it names no user has miscounted.
pub const MISCOUNTED: &str = "has active endpoints";

pub fn nobody_uses(host: &Host, network: &str) -> bool {
    get(host, network)["Containers"].as_object().is_none_or(serde_json::Map::is_empty)
}

/// Removes it all.
///
/// # Panics
/// When something cannot be removed: then it is used by somebody who should not.
pub fn remove(host: &Host, listed: &Listed) {
    let paths = listed.containers.iter().map(|id| format!("/containers/{id}?force=1&v=1"));
    let networks = listed.networks.iter().filter_map(|n| n["Id"].as_str()).map(|id| format!("/networks/{id}"));
    let volumes = listed.volumes.iter().filter_map(|v| v["Name"].as_str()).map(|name| format!("/volumes/{name}"));
    for path in paths.chain(networks).chain(volumes) {
        let (status, answer) = ask(host, "DELETE", &path);
        // An engine may have miscounted who uses a network; the next lease of the fleet starts it again and removes it.
        if status == 403 && answer.to_string().contains(MISCOUNTED) && nobody_uses(host, &path) {
            note(&format!("crash: {} miscounted who uses {}", host.name, path));
            continue;
        }
        assert!(status == 204 || status == 404, "DELETE {path}: {status} {answer}");
    }
}
