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
    let limit = of.limit(gate.deadline);
    match timeout(limit, watch(engine, container, gate, of)).await {
        Ok(verdict) => verdict,
        Err(_) => {
            let why = format!("it was not healthy within {} s", limit.as_secs());
            Err(trouble(engine, container, Verdict::BadContent, why).await)
        }
    }
}

async fn watch(engine: &dyn Engine, container: &str, gate: &HealthGate, of: Awaited) -> Result<(), Trouble> {
    let begun = Instant::now();
    let mut pause = FIRST_PAUSE;
    let mut well = None::<Well>;
    let mut restarts = None;
    loop {
        let Some(detail) = engine.container(container).await? else {
            return Err(Trouble {
                verdict: Verdict::Transient,
                why: "the container is gone".to_owned(),
                log: Vec::new(),
            });
        };
        let may_be_ending = of.may_be_ending(begun.elapsed());
        let known = *restarts.get_or_insert(detail.restarts);
        let answer = match condition(&detail, gate, known) {
            // The next plan starts it, and then it has to prove itself.
            Condition::Completed | Condition::Ended(_) if may_be_ending => {
                let why = "it ended, perhaps because that was asked for before".to_owned();
                return Err(trouble(engine, container, Verdict::Transient, why).await);
            }
            Condition::Completed => return Ok(()),
            Condition::Unhealthy(why) if may_be_ending => Answer::NotYet(why),
            Condition::Ended(why) | Condition::Unhealthy(why) | Condition::Restarted(why) => {
                return Err(trouble(engine, container, Verdict::BadContent, why).await);
            }
            Condition::Up => ask(engine, container, &detail, gate).await,
        };
        match answer {
            Answer::Healthy => {
                let well = well.get_or_insert_with(Well::default);
                well.look();
                if well.so_far >= gate.min_healthy {
                    return Ok(());
                }
            }
            Answer::NotYet(_) if may_be_ending => well = None,
            Answer::NotYet(why) if well.is_some() => {
                let why = format!("it was healthy and is not any more: {why}");
                return Err(trouble(engine, container, Verdict::BadContent, why).await);
            }
            Answer::NotAsked(_) if well.is_some() => {}
            Answer::NotYet(why) | Answer::Silence(why) | Answer::NotAsked(why) => {
                if !may_be_ending && gate.patience.is_some_and(|patience| begun.elapsed() >= patience) {
                    let why = format!("it was not healthy within {} s: {why}", begun.elapsed().as_secs());
                    return Err(trouble(engine, container, Verdict::BadContent, why).await);
                }
            }
        }
        let left = well.as_ref().map_or(pause, |well| gate.min_healthy.saturating_sub(well.so_far));
        let until_next = pause.min(left.max(Duration::from_millis(10)));
        if let Some(well) = &mut well {
            well.until_next = until_next;
        }
        sleep(until_next).await;
        pause = (pause * 2).min(ASK_EVERY);
    }
}

/// For how long it was seen to be well. A machine that stood still between two looks has not seen it.
#[derive(Debug, Default)]
struct Well {
    so_far: Duration,
    last: Option<Instant>,
    until_next: Duration,
}

impl Well {
    fn look(&mut self) {
        let now = Instant::now();
        let since = self.last.map_or(Duration::ZERO, |last| now.duration_since(last));
        self.so_far += since.min(self.until_next * 2);
        self.last = Some(now);
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use tokio::time::{Instant, sleep};

    use super::await_healthy;
    use crate::engine::memory::MemoryEngine;
    use crate::engine::memory::registry::MemoryRegistry;
    use crate::plan::health::{Ask, Completion, HealthGate, Probe, Way};
    use crate::plan::outcome::Verdict;
    use crate::plan::step::Awaited;

    const SECOND: Duration = Duration::from_secs(1);
    const FOUND: Awaited = Awaited::Found { grace: Duration::from_secs(10) };

    fn gate(probe: Probe) -> HealthGate {
        HealthGate {
            probe,
            deadline: SECOND * 300,
            min_healthy: SECOND * 20,
            completion: Completion::Failure,
            timeout: SECOND,
            patience: None,
            advice: String::new(),
        }
    }

    /// What is said of a container to which something happens after a time, and when.
    async fn said(
        gate: &HealthGate,
        of: Awaited,
        after: Duration,
        happens: fn(&MemoryEngine, &str),
    ) -> (Option<Verdict>, Duration) {
        let engine = MemoryEngine::new("host-1", &MemoryRegistry::default());
        let id = engine.add_foreign("web", BTreeMap::new()).expect("it runs");
        let begun = Instant::now();
        let waiting = await_healthy(&engine, &id, gate, of);
        let happening = async {
            sleep(after).await;
            happens(&engine, &id);
        };
        let (said, ()) = tokio::join!(waiting, happening);
        (said.err().map(|trouble| trouble.verdict), begun.elapsed())
    }

    fn is_stopped(engine: &MemoryEngine, id: &str) {
        engine.stop_behind(id).expect("it runs");
    }

    fn completes(engine: &MemoryEngine, id: &str) {
        engine.crash(id, 0).expect("it runs");
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_what_was_found_is_no_fault_while_it_may_have_been_asked_for() {
        let gate = gate(Probe::Running);
        assert_eq!(said(&gate, FOUND, SECOND * 3, is_stopped).await.0, Some(Verdict::Transient));
        assert_eq!(said(&gate, FOUND, SECOND * 12, is_stopped).await.0, Some(Verdict::BadContent));
        assert_eq!(said(&gate, Awaited::New, SECOND * 3, is_stopped).await.0, Some(Verdict::BadContent));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_found_has_not_completed_if_it_may_have_been_stopped() {
        let gate = HealthGate { completion: Completion::Healthy, ..gate(Probe::Running) };
        assert_eq!(said(&gate, FOUND, SECOND * 3, completes).await.0, Some(Verdict::Transient));
        assert_eq!(said(&gate, FOUND, SECOND * 12, completes).await.0, None);
        assert_eq!(said(&gate, Awaited::New, SECOND * 3, completes).await.0, None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_found_and_does_not_answer_is_bad_after_its_grace() {
        let nowhere = Way::ContainerAddress { network: "none".to_owned(), port: 80, ask: Ask::Connection };
        let gate = HealthGate { patience: Some(SECOND * 3), ..gate(Probe::Network(vec![nowhere])) };
        let nothing = |_: &MemoryEngine, _: &str| {};
        let (verdict, after) = said(&gate, FOUND, SECOND, nothing).await;
        assert!(verdict == Some(Verdict::BadContent) && after > SECOND * 10 && after < SECOND * 12, "{after:?}");
        let (verdict, after) = said(&gate, Awaited::New, SECOND, nothing).await;
        assert!(verdict == Some(Verdict::BadContent) && after < SECOND * 4, "{after:?}");
    }
}
