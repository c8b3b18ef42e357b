//! What happens to containers while nobody calls: they get healthy, exit and are started again.
//!
//! Takes the time. Gives the state at that time, after telling of all that happened before it, in order.
//!
//! Because nothing runs in the background, time that a test holds still stands still here too.

use std::time::Duration;

use tokio::time::Instant;

use super::machine::Machine;
use super::script::ImageScript;
use crate::model::request::EngineHealthCheck;
use crate::model::stack::Restart;
use crate::model::world::{Health, State};

/// The state of one container.
#[derive(Debug, Clone)]
pub struct Life {
    pub script: ImageScript,
    pub phase: Phase,
    pub restarts: u64,
    /// It was asked to stop, and will have by then, with this code: whether or not who asked still listens.
    pub stopping: Option<(Instant, i64)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Created,
    Running {
        since: Instant,
        /// The last health that was told.
        told: Health,
    },
    /// It exited and will be started again.
    Waiting {
        until: Instant,
        code: i64,
    },
    Exited {
        code: i64,
    },
}

/// Doubles with each restart, as engines do.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LAST_BACKOFF: Duration = Duration::from_secs(60);

impl Life {
    pub fn new(script: ImageScript) -> Self {
        Self { script, phase: Phase::Created, restarts: 0, stopping: None }
    }

    /// As asked from outside, which forgets earlier restarts.
    pub fn start(&mut self, now: Instant) {
        self.restarts = 0;
        self.run(now);
    }

    fn run(&mut self, now: Instant) {
        self.phase = Phase::Running { since: now, told: Health::Starting };
        self.stopping = None;
    }

    pub fn state(&self) -> State {
        match self.phase {
            Phase::Created => State::Created,
            Phase::Running { .. } => State::Running,
            Phase::Waiting { .. } => State::Restarting,
            Phase::Exited { code } => State::Exited { code },
        }
    }

    pub fn health(&self, check: Option<&EngineHealthCheck>, now: Instant) -> Health {
        let (Phase::Running { since, .. }, Some(verdicts)) = (self.phase, self.script.verdicts(check)) else {
            return Health::Unchecked;
        };
        let has_come = |moment: Option<Duration>| moment.is_some_and(|m| now.duration_since(since) >= m);
        if has_come(verdicts.unhealthy) {
            Health::Unhealthy
        } else if has_come(verdicts.healthy) {
            Health::Healthy
        } else {
            Health::Starting
        }
    }

    /// When something happens next by itself, and what.
    fn next(&self, check: Option<&EngineHealthCheck>) -> Option<(Instant, Happening)> {
        let stops = self.stopping.map(|(moment, code)| (moment, Happening::Stops(code)));
        let by_itself = match self.phase {
            Phase::Created | Phase::Exited { .. } => None,
            Phase::Waiting { .. } if stops.is_some() => None,
            Phase::Waiting { until, .. } => Some((until, Happening::Restarts)),
            Phase::Running { since, told } => {
                let verdicts = self.script.verdicts(check);
                let health = match told {
                    Health::Starting => verdicts.and_then(|v| match (v.healthy, v.unhealthy) {
                        (Some(healthy), _) => Some((healthy, Health::Healthy)),
                        (None, Some(unhealthy)) => Some((unhealthy, Health::Unhealthy)),
                        (None, None) => None,
                    }),
                    Health::Healthy => verdicts.and_then(|v| Some((v.unhealthy?, Health::Unhealthy))),
                    Health::Unhealthy | Health::Unchecked => None,
                };
                let health = health.map(|(after, health)| (since + after, Happening::Health(health)));
                let exit = self.script.exit.map(|e| (since + e.after, Happening::Exits(e.code)));
                [health, exit].into_iter().flatten().min_by_key(|(moment, _)| *moment)
            }
        };
        [by_itself, stops].into_iter().flatten().min_by_key(|(moment, _)| *moment)
    }
}

#[derive(Debug, Clone, Copy)]
enum Happening {
    Health(Health),
    Exits(i64),
    Restarts,
    Stops(i64),
}

impl Machine {
    /// When something happens next by itself.
    pub fn next_moment(&self) -> Option<Instant> {
        self.next_happening().map(|(moment, _, _)| moment)
    }

    fn next_happening(&self) -> Option<(Instant, String, Happening)> {
        self.containers
            .values()
            .filter_map(|c| {
                let (moment, happening) = c.life.next(c.request.health.as_ref())?;
                Some((moment, c.order, c.id.clone(), happening))
            })
            .min_by_key(|(moment, order, _, _)| (*moment, *order))
            .map(|(moment, _, id, happening)| (moment, id, happening))
    }

    /// Lets happen what is due, in order.
    pub fn advance(&mut self, now: Instant) {
        while let Some((moment, id, happening)) = self.next_happening().filter(|(moment, _, _)| *moment <= now) {
            match happening {
                Happening::Health(health) => self.tell_health(&id, health),
                Happening::Exits(code) => self.exit(&id, code, moment),
                Happening::Restarts => self.start_again(&id, moment),
                Happening::Stops(code) => self.end(&id, code),
            }
        }
        for container in self.containers.values_mut() {
            container.execs.retain(|(_, until)| *until > now);
        }
    }

    fn tell_health(&mut self, id: &str, health: Health) {
        let Some(container) = self.containers.get_mut(id) else {
            return;
        };
        if let Phase::Running { told, .. } = &mut container.life.phase {
            *told = health;
        }
        let container = container.clone();
        let word = match health {
            Health::Healthy => "healthy",
            Health::Unhealthy => "unhealthy",
            Health::Starting | Health::Unchecked => return,
        };
        self.tell(&container, &format!("health_status: {word}"), None);
    }

    /// It is asked to stop. Gives how long that takes; none if there is nothing to stop.
    pub fn begin_to_stop(&mut self, id: &str, grace: Duration, now: Instant) -> Option<Duration> {
        let id = self.find(id).map(|container| container.id.clone())?;
        let life = &mut self.containers.get_mut(&id)?.life;
        if !matches!(life.phase, Phase::Running { .. } | Phase::Waiting { .. }) {
            return None;
        }
        let takes = life.script.stops_in.min(grace);
        let code = if life.script.stops_in <= grace { life.script.stop_code } else { 137 };
        let this = (now + takes, code);
        life.stopping = Some(life.stopping.map_or(this, |earlier| earlier.min(this)));
        Some(takes)
    }

    /// Its process ended by itself: the restart policy decides.
    pub fn exit(&mut self, id: &str, code: i64, now: Instant) {
        let Some(container) = self.containers.get(id) else {
            return;
        };
        let again = match container.request.restart {
            Restart::UnlessStopped => true,
            Restart::OnFailure => code != 0,
            Restart::No => false,
        };
        let again = again && container.life.stopping.is_none();
        self.end(id, code);
        if let Some(container) = self.containers.get_mut(id).filter(|_| again) {
            let doublings = u32::try_from(container.life.restarts).unwrap_or(u32::MAX).min(16);
            let backoff = FIRST_BACKOFF.saturating_mul(1 << doublings).min(LAST_BACKOFF);
            container.life.restarts += 1;
            container.life.phase = Phase::Waiting { until: now + backoff, code };
        }
    }

    /// Its process is gone for good, unless somebody starts it. One that waits to be started again has none to end.
    pub fn end(&mut self, id: &str, code: i64) {
        let Some(container) = self.containers.get_mut(id) else {
            return;
        };
        container.life.stopping = None;
        if let Phase::Waiting { code, .. } = container.life.phase {
            container.life.phase = Phase::Exited { code };
            return;
        }
        container.life.phase = Phase::Exited { code };
        container.execs.clear();
        for endpoint in container.endpoints.values_mut() {
            endpoint.address = None;
        }
        let container = container.clone();
        self.tell(&container, "die", Some(code));
    }

    /// Starts it again as the engine does by itself; a port that was taken meanwhile ends it.
    pub fn start_again(&mut self, id: &str, now: Instant) {
        let restarts = self.containers.get(id).map_or(0, |c| c.life.restarts);
        let started = self.start(id, now);
        if let Some(container) = self.containers.get_mut(id) {
            container.life.restarts = restarts;
            if started.is_err() {
                container.life.phase = Phase::Exited { code: 128 };
            }
        }
    }
}
