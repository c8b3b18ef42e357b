//! Decides how it is found out that a container is healthy.
//!
//! Gives a gate: ways to ask, tried in order until one can answer at all, and the times by which it must be decided.
//!
//! Because an engine runs its own check only after the first `interval`, the gate also runs the check's command itself.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::model::host::Host;
use crate::model::mapping::Placed;
use crate::model::request::EngineHealthCheck;
use crate::model::stack::{HealthCheck, HealthTest, Protocol, Service};

/// Between two questions of a gate. Users wait for the answer, and an exec costs an engine a few milliseconds.
pub const ASK_EVERY: Duration = Duration::from_millis(500);
/// How long a container must stay up or healthy when nothing else was asked for and something ran before.
const MIN_HEALTHY: Duration = Duration::from_secs(1);

/// When a container counts as healthy.
#[derive(Debug, Clone, PartialEq)]
pub struct HealthGate {
    pub probe: Probe,
    /// The verdict must be there by then, counted from the start of the wait.
    pub deadline: Duration,
    /// It must stay so for this long.
    pub min_healthy: Duration,
    /// An exit with 0 is as good as healthy.
    pub completion: Completion,
    /// How long one question may take.
    pub timeout: Duration,
    /// A service that was never healthy by then is not, as an engine would say. None: only the deadline says so.
    pub patience: Option<Duration>,
    /// What to write instead where no way works; empty when one always does.
    pub advice: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completion {
    Healthy,
    Failure,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Probe {
    /// Nothing is declared: it must stay up.
    Running,
    /// The engine's own check decides. The command, where we know it, is run beside it.
    Engine { command: Option<Vec<String>> },
    /// We ask over the network.
    Network(Vec<Way>),
}

/// A way to ask a container. Each is tried until one gives an answer, good or bad.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    Published {
        address: SocketAddr,
        ask: Ask,
    },
    /// The container's own address on this network of an engine on this machine.
    ContainerAddress {
        network: String,
        port: u16,
        ask: Ask,
    },
    /// With a program of the container's own.
    Inside {
        command: Vec<String>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// A status from 200 to 399.
    Http { path: String },
    /// A connection is enough.
    Connection,
    /// A connection alone proves nothing, since the engine's proxy accepts anyway: it must stay open or reply.
    LastingConnection,
}

/// The check that the engine itself shall run, if it can.
pub fn engine_check(service: &Service) -> Option<EngineHealthCheck> {
    let check = service.health.as_ref()?;
    let test = match &check.test {
        HealthTest::Command(arguments) => std::iter::once("CMD".to_owned()).chain(arguments.iter().cloned()).collect(),
        HealthTest::CommandLine(line) => vec!["CMD-SHELL".to_owned(), line.clone()],
        HealthTest::Postgres { .. } | HealthTest::Redis { .. } => {
            std::iter::once("CMD".to_owned()).chain(client_command(&check.test)?).collect()
        }
        HealthTest::Http { .. } | HealthTest::Tcp { .. } => return None,
    };
    Some(EngineHealthCheck {
        test,
        interval: check.interval,
        timeout: check.timeout,
        retries: check.retries,
        start_period: check.start_period,
    })
}

/// The clients that the images of these servers bring along.
fn client_command(test: &HealthTest) -> Option<Vec<String>> {
    let port_text;
    let words: &[&str] = match test {
        HealthTest::Postgres { port } => {
            port_text = port.to_string();
            &["pg_isready", "-q", "-h", "127.0.0.1", "-p", &port_text]
        }
        HealthTest::Redis { port } => {
            port_text = port.to_string();
            &["redis-cli", "-p", &port_text, "ping"]
        }
        HealthTest::Command(_) | HealthTest::CommandLine(_) | HealthTest::Http { .. } | HealthTest::Tcp { .. } => {
            return None;
        }
    };
    Some(words.iter().map(|w| (*w).to_owned()).collect())
}

/// What ran before decides how long the new one must prove itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    Something,
    Nothing,
}

/// The gate for an instance of a service.
pub fn gate(
    service: &Service,
    placed: &Placed,
    host: &Host,
    network: &str,
    image_check: bool,
    before: Before,
) -> HealthGate {
    let default = match before {
        Before::Something => MIN_HEALTHY,
        Before::Nothing => Duration::ZERO,
    };
    let check = service.health.as_ref();
    let patience = check
        .filter(|check| matches!(check.test, HealthTest::Http { .. } | HealthTest::Tcp { .. }))
        .map(|check| check.start_period + check.interval * check.retries.max(1));
    HealthGate {
        probe: probe(check, placed, host, network, image_check),
        deadline: service.update.deadline,
        min_healthy: service.update.min_healthy.unwrap_or(default),
        completion: if service.restart.may_complete() { Completion::Healthy } else { Completion::Failure },
        timeout: check.map_or(Duration::from_secs(5), |check| check.timeout),
        patience,
        advice: advice(check),
    }
}

fn probe(check: Option<&HealthCheck>, placed: &Placed, host: &Host, network: &str, image_check: bool) -> Probe {
    let Some(check) = check else {
        return if image_check { Probe::Engine { command: None } } else { Probe::Running };
    };
    match &check.test {
        HealthTest::Command(arguments) => Probe::Engine { command: Some(arguments.clone()) },
        // The line is for the container's own shell, exactly as the engine runs it.
        HealthTest::CommandLine(line) => {
            Probe::Engine { command: Some(vec!["/bin/sh".to_owned(), "-c".to_owned(), line.clone()]) }
        }
        HealthTest::Postgres { .. } | HealthTest::Redis { .. } => {
            Probe::Engine { command: client_command(&check.test) }
        }
        HealthTest::Http { port, path } => {
            let ask = Ask::Http { path: path.clone() };
            let url = format!("http://127.0.0.1:{port}{path}");
            let inside = vec!["wget".to_owned(), "-q".to_owned(), "-O".to_owned(), "/dev/null".to_owned(), url];
            Probe::Network(ways(placed, host, network, *port, &ask, &ask, inside))
        }
        HealthTest::Tcp { port } => {
            let inside = vec!["nc".to_owned(), "-z".to_owned(), "127.0.0.1".to_owned(), port.to_string()];
            Probe::Network(ways(placed, host, network, *port, &Ask::LastingConnection, &Ask::Connection, inside))
        }
    }
}

fn ways(
    placed: &Placed,
    host: &Host,
    network: &str,
    port: u16,
    published: &Ask,
    direct: &Ask,
    inside: Vec<String>,
) -> Vec<Way> {
    let mut ways = Vec::new();
    let tcp = placed.ports.iter().find(|p| p.container == port && p.protocol == Protocol::Tcp);
    if let Some(tcp) = tcp {
        let address = reachable(tcp.host_ip, host);
        ways.push(Way::Published { address: SocketAddr::new(address, tcp.host_port), ask: published.clone() });
    }
    ways.push(Way::ContainerAddress { network: network.to_owned(), port, ask: direct.clone() });
    ways.push(Way::Inside { command: inside });
    ways
}

/// A port bound to all addresses is reached under the host's own.
fn reachable(bound: IpAddr, host: &Host) -> IpAddr {
    if bound.is_unspecified() { host.ip_address } else { bound }
}

fn advice(check: Option<&HealthCheck>) -> String {
    match check.map(|check| &check.test) {
        Some(HealthTest::Http { port, .. }) => {
            format!("publish port {port} (`hostPort`), or use a `command` health check that the image can run")
        }
        Some(HealthTest::Tcp { port }) => {
            format!("publish port {port} (`hostPort`), or use a `command` health check that the image can run")
        }
        Some(
            HealthTest::Command(_)
            | HealthTest::CommandLine(_)
            | HealthTest::Postgres { .. }
            | HealthTest::Redis { .. },
        )
        | None => String::new(),
    }
}
