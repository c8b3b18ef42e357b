//! Waits until a container is healthy, or until it is certain that it is not.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::apply::{Trouble, last_words};
use crate::engine::{ContainerDetail, Engine, ExecRequest, Locality};
use crate::model::world::{Health, State};
use crate::plan::health::{ASK_EVERY, Ask, Completion, HealthGate, Probe, Way};
use crate::plan::outcome::Verdict;
use crate::plan::step::Awaited;

/// The first questions come faster: most services are up within a moment, and a person waits.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// A published connection that is closed this fast was accepted by the engine's proxy alone.
const LASTING: Duration = Duration::from_millis(200);

/// An answer to one question.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Answer {
    Healthy,
    NotYet(String),
    /// This way cannot answer at all.
    Silence(String),
    /// The engine did not ask just now: that says nothing of the container.
    NotAsked(String),
}

/// Asks until the gate is satisfied, for at most its deadline.
pub(super) async fn await_healthy(
    engine: &dyn Engine,
    container: &str,
    gate: &HealthGate,
    of: Awaited,
) -> Result<(), Trouble> {
    match timeout(gate.deadline, watch(engine, container, gate, of)).await {
        Ok(verdict) => verdict,
        Err(_) => {
            let why = format!("it was not healthy within {} s", gate.deadline.as_secs());
            Err(trouble(engine, container, Verdict::BadContent, why).await)
        }
    }
}

async fn watch(engine: &dyn Engine, container: &str, gate: &HealthGate, of: Awaited) -> Result<(), Trouble> {
    let begun = Instant::now();
    let mut pause = FIRST_PAUSE;
    let mut healthy_since = None;
    let mut restarts = None;
    loop {
        let Some(detail) = engine.container(container).await? else {
            return Err(Trouble {
                verdict: Verdict::Transient,
                why: "the container is gone".to_owned(),
                log: Vec::new(),
            });
        };
        let known = *restarts.get_or_insert(detail.restarts);
        match condition(&detail, gate, known) {
            Condition::Completed => return Ok(()),
            Condition::Ended(why) => return Err(trouble(engine, container, of_an_end(of), why).await),
            Condition::Unhealthy(why) => return Err(trouble(engine, container, of_bad_health(of), why).await),
            Condition::Restarted(why) => return Err(trouble(engine, container, Verdict::BadContent, why).await),
            Condition::Up => {}
        }
        match ask(engine, container, &detail, gate).await {
            Answer::Healthy => {
                let since = *healthy_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= gate.min_healthy {
                    return Ok(());
                }
            }
            // It may have been asked to end, and then it will have soon.
            Answer::NotYet(_) if healthy_since.is_some() && of == Awaited::Found => healthy_since = None,
            Answer::NotYet(why) if healthy_since.is_some() => {
                let why = format!("it was healthy and is not any more: {why}");
                return Err(trouble(engine, container, Verdict::BadContent, why).await);
            }
            Answer::NotAsked(_) if healthy_since.is_some() => {}
            Answer::NotYet(why) | Answer::Silence(why) | Answer::NotAsked(why) => {
                if gate.patience.is_some_and(|patience| begun.elapsed() >= patience) {
                    let why = format!("it was not healthy within {} s: {why}", begun.elapsed().as_secs());
                    return Err(trouble(engine, container, Verdict::BadContent, why).await);
                }
            }
        }
        let left = healthy_since.map_or(pause, |since: Instant| gate.min_healthy.saturating_sub(since.elapsed()));
        sleep(pause.min(left.max(Duration::from_millis(10)))).await;
        pause = (pause * 2).min(ASK_EVERY);
    }
}

enum Condition {
    Up,
    Completed,
    /// It does not run any more, and nobody starts it again.
    Ended(String),
    Unhealthy(String),
    Restarted(String),
}

/// One that was found will be started by the next plan, and then has to prove itself: it cannot end like this twice.
fn of_an_end(of: Awaited) -> Verdict {
    match of {
        Awaited::New | Awaited::Required => Verdict::BadContent,
        Awaited::Found => Verdict::Transient,
    }
}

/// One that was found may fail its checks because it is ending; next time it has ended, or is as it was.
fn of_bad_health(of: Awaited) -> Verdict {
    match of {
        Awaited::New | Awaited::Required => Verdict::BadContent,
        Awaited::Found => Verdict::Stubborn,
    }
}

/// Whether it waits for that or has it behind it depends on the moment of the look, and must not change what is recorded.
const STARTED_AGAIN: &str = "it exited and was started again";

fn condition(detail: &ContainerDetail, gate: &HealthGate, known_restarts: u64) -> Condition {
    match detail.state() {
        State::Exited { code: 0 } if gate.completion == Completion::Healthy => Condition::Completed,
        State::Exited { code } => Condition::Ended(with_error(format!("it exited with code {code}"), &detail.error)),
        State::Restarting => Condition::Restarted(with_error(STARTED_AGAIN.to_owned(), &detail.error)),
        State::Dead | State::Removing => Condition::Ended("it is being removed".to_owned()),
        State::Running if detail.restarts > known_restarts => Condition::Restarted(STARTED_AGAIN.to_owned()),
        State::Running if detail.health() == Health::Unhealthy && matches!(gate.probe, Probe::Engine { .. }) => {
            Condition::Unhealthy(with_error("its health check failed".to_owned(), detail.last_probe.trim()))
        }
        State::Running | State::Created | State::Paused => Condition::Up,
    }
}

fn with_error(what: String, error: &str) -> String {
    if error.is_empty() { what } else { format!("{what}: {error}") }
}

async fn trouble(engine: &dyn Engine, container: &str, verdict: Verdict, why: String) -> Trouble {
    let words = last_words(engine, container).await;
    Trouble { verdict, why: words.clean(why), log: words.lines }
}

async fn ask(engine: &dyn Engine, container: &str, detail: &ContainerDetail, gate: &HealthGate) -> Answer {
    if detail.state() != State::Running {
        return Answer::NotYet("it does not run yet".to_owned());
    }
    match &gate.probe {
        Probe::Running => Answer::Healthy,
        Probe::Engine { .. } if detail.health() == Health::Healthy => Answer::Healthy,
        Probe::Engine { command: Some(command) } => inside(engine, container, command, gate.timeout).await,
        Probe::Engine { command: None } => Answer::NotYet(detail.last_probe.trim().to_owned()),
        Probe::Network(ways) => {
            let mut unanswered = Vec::new();
            for way in ways {
                match ask_by(engine, container, detail, way, gate.timeout).await {
                    Answer::Silence(why) => unanswered.push(why),
                    answer @ (Answer::Healthy | Answer::NotYet(_) | Answer::NotAsked(_)) => return answer,
                }
            }
            Answer::Silence(format!("no way to ask it works ({}); {}", unanswered.join("; "), gate.advice))
        }
    }
}

async fn ask_by(engine: &dyn Engine, container: &str, detail: &ContainerDetail, way: &Way, limit: Duration) -> Answer {
    let simulated = engine.locality() == Locality::Simulated;
    match way {
        Way::Published { .. } | Way::ContainerAddress { .. } if simulated => {
            Answer::Silence("the engine is a simulation".to_owned())
        }
        Way::Published { address, ask } if address.ip().is_loopback() => match engine.locality() {
            Locality::ThisMachine => match question(*address, ask, limit).await {
                Answer::Healthy => Answer::Healthy,
                // In a container of our own, or in another network, this is another loopback; only success proves it.
                Answer::NotYet(why) | Answer::Silence(why) | Answer::NotAsked(why) => Answer::Silence(why),
            },
            Locality::Elsewhere | Locality::Simulated => {
                Answer::Silence(format!("{address} is reached from its own machine only"))
            }
        },
        Way::Published { address, ask } => question(*address, ask, limit).await,
        Way::ContainerAddress { .. } if engine.locality() == Locality::Elsewhere => {
            Answer::Silence("its engine is on another machine".to_owned())
        }
        Way::ContainerAddress { network, port, ask } => match detail.addresses.get(network) {
            None => Answer::Silence(format!("it has no address on {network}")),
            Some(address) => match question(SocketAddr::new(*address, *port), ask, limit).await {
                // Nothing proves that this address is routed to the container from here; only success does.
                Answer::NotYet(why) | Answer::Silence(why) | Answer::NotAsked(why) => Answer::Silence(why),
                Answer::Healthy => Answer::Healthy,
            },
        },
        Way::Inside { command } => inside(engine, container, command, limit).await,
    }
}

async fn inside(engine: &dyn Engine, container: &str, command: &[String], limit: Duration) -> Answer {
    let request = ExecRequest { command: command.to_vec(), working_dir: None, timeout: limit };
    match engine.exec(container, &request).await {
        Ok(outcome) => match outcome.code {
            Some(0) => Answer::Healthy,
            // As shells and engines say it: the program cannot be run, or is not there.
            Some(126 | 127) => Answer::Silence(format!("`{}` cannot be run inside it", command.join(" "))),
            Some(_) if is_of_another_kind(&outcome.output) => {
                Answer::Silence(format!("its own `{}` does not know the options", command[0]))
            }
            Some(code) => Answer::NotYet(format!("`{}` ended with {code}", command.join(" "))),
            None => Answer::NotYet(format!("`{}` did not end in time", command.join(" "))),
        },
        Err(error) if error.is_transient() => Answer::NotAsked(error.to_string()),
        Err(error) => Answer::Silence(error.to_string()),
    }
}

/// Small images bring small versions of programs: `nc` of some has no `-z`.
fn is_of_another_kind(output: &str) -> bool {
    ["invalid option", "unrecognized option", "unknown option"].iter().any(|text| output.contains(text))
}

async fn question(address: SocketAddr, ask: &Ask, limit: Duration) -> Answer {
    let limit = limit.min(Duration::from_secs(2));
    let asked = match ask {
        Ask::Http { path } => timeout(limit, http(address, path)).await,
        Ask::Connection => timeout(limit, connection(address, Duration::ZERO)).await,
        Ask::LastingConnection => timeout(limit, connection(address, LASTING)).await,
    };
    match asked {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => Answer::NotYet(format!("{address}: {error}")),
        Err(_) => Answer::NotYet(format!("{address} did not answer in time")),
    }
}

async fn http(address: SocketAddr, path: &str) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(address).await?;
    let host = match address.ip() {
        IpAddr::V4(ip) => format!("{ip}:{}", address.port()),
        IpAddr::V6(ip) => format!("[{ip}]:{}", address.port()),
    };
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: bayplan\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    // The status line is all that counts, and it is short.
    let mut chunk = [0_u8; 256];
    while !head.contains(&b'\n') && head.len() < 1024 {
        let read = stream.read(&mut chunk).await?;
        if read == 0 {
            break;
        }
        head.extend_from_slice(&chunk[..read]);
    }
    let line = String::from_utf8_lossy(&head);
    let line = line.lines().next().unwrap_or_default();
    let status =
        line.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1)).and_then(|s| s.parse::<u16>().ok());
    Ok(match status {
        Some(200..=399) => Answer::Healthy,
        Some(status) => Answer::NotYet(format!("{address}{path} says {status}")),
        None => Answer::NotYet(format!("{address} does not speak HTTP")),
    })
}

/// Connects, and sees whether the connection lasts or says something.
async fn connection(address: SocketAddr, lasting: Duration) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(address).await?;
    if lasting.is_zero() {
        return Ok(Answer::Healthy);
    }
    let mut byte = [0_u8; 1];
    Ok(match timeout(lasting, stream.read(&mut byte)).await {
        Ok(Ok(0)) | Ok(Err(_)) => Answer::NotYet(format!("{address} closes connections at once")),
        Ok(Ok(_)) | Err(_) => Answer::Healthy,
    })
}
