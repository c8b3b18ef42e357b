//! How an image behaves in the simulation.
//!
//! Gives scripts made of small words: `ImageScript::runs().healthy_after(…).prints(…)`.
//!
//! Times count from each start of a container.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::engine::Usage;
use crate::model::request::EngineHealthCheck;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageScript {
    pub check: ImageCheck,
    pub health: HealthScript,
    /// Absent: it runs until it is stopped.
    pub exit: Option<Exit>,
    /// Lines that it prints when it starts.
    pub output: Vec<String>,
    /// What a command does; others succeed while the application would pass its health check.
    pub execs: BTreeMap<Vec<String>, ExecScript>,
    /// From the signal to the end; beyond the grace period it is killed.
    pub stops_in: Duration,
    /// The code that it ends with when it is stopped in time: 143 as most, or 0 as those that clean up.
    pub stop_code: i64,
    /// Why the engine cannot start it, if it cannot.
    pub refuses: Option<String>,
    pub usage: Usage,
}

/// Whether the image brings a health check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageCheck {
    Absent,
    Brought,
}

/// When the application inside would pass a check, whoever makes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HealthScript {
    After(Duration),
    Never,
    /// Healthy after the first, no longer after the second.
    Between(Duration, Duration),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    pub after: Duration,
    pub code: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecScript {
    pub code: i64,
    pub output: String,
    pub takes: Duration,
}

/// What an engine does when a request brings no times of its own.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(30);
const DEFAULT_RETRIES: u32 = 3;

impl ImageScript {
    /// Runs until stopped, without a health check; whoever probes it finds it well at once.
    pub fn runs() -> Self {
        Self {
            check: ImageCheck::Absent,
            health: HealthScript::After(Duration::ZERO),
            exit: None,
            output: Vec::new(),
            execs: BTreeMap::new(),
            stops_in: Duration::ZERO,
            stop_code: 143,
            refuses: None,
            usage: Usage { cpu: 10, memory: 16 << 20 },
        }
    }

    pub fn with_health_check(self) -> Self {
        Self { check: ImageCheck::Brought, ..self }
    }

    pub fn healthy_after(self, after: Duration) -> Self {
        Self { health: HealthScript::After(after), ..self }
    }

    pub fn never_healthy(self) -> Self {
        Self { health: HealthScript::Never, ..self }
    }

    pub fn healthy_between(self, from: Duration, to: Duration) -> Self {
        Self { health: HealthScript::Between(from, to), ..self }
    }

    pub fn exits(self, after: Duration, code: i64) -> Self {
        Self { exit: Some(Exit { after, code }), ..self }
    }

    pub fn prints(mut self, line: &str) -> Self {
        self.output.push(line.to_owned());
        self
    }

    pub fn answers(mut self, command: &[&str], script: ExecScript) -> Self {
        let command = command.iter().map(|part| (*part).to_owned()).collect();
        self.execs.insert(command, script);
        self
    }

    pub fn stops_well(self) -> Self {
        Self { stop_code: 0, ..self }
    }

    pub fn cannot_start(self, why: &str) -> Self {
        Self { refuses: Some(why.to_owned()), ..self }
    }

    pub fn stops_in(self, stops_in: Duration) -> Self {
        Self { stops_in, ..self }
    }

    /// Would a probe of any kind succeed this long after the start?
    pub fn is_well(&self, elapsed: Duration) -> bool {
        match self.health {
            HealthScript::After(from) => elapsed >= from,
            HealthScript::Never => false,
            HealthScript::Between(from, to) => elapsed >= from && elapsed < to,
        }
    }
}

/// When the engine's own check says so, counted from the start: it probes at every interval, first after one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdicts {
    pub healthy: Option<Duration>,
    pub unhealthy: Option<Duration>,
}

impl ImageScript {
    /// `check` is the request's; without one the image's own counts, if it brings one. `None`: nobody checks.
    pub fn verdicts(&self, check: Option<&EngineHealthCheck>) -> Option<Verdicts> {
        let (interval, failures, start) = match check {
            Some(check) if check.test.first().is_some_and(|kind| kind == "NONE") => return None,
            Some(check) => {
                let interval = if check.interval.is_zero() { DEFAULT_INTERVAL } else { check.interval };
                let retries = if check.retries == 0 { DEFAULT_RETRIES } else { check.retries };
                (interval, retries, check.start_period)
            }
            None if self.check == ImageCheck::Brought => (Duration::from_secs(1), DEFAULT_RETRIES, Duration::ZERO),
            None => return None,
        };
        let probe_after = |moment: Duration| {
            let whole = moment.as_nanos().div_ceil(interval.as_nanos()).max(1);
            interval.saturating_mul(u32::try_from(whole).unwrap_or(u32::MAX))
        };
        let failed_from = |moment: Duration| probe_after(moment).saturating_add(interval.saturating_mul(failures - 1));
        Some(match self.health {
            HealthScript::After(from) => Verdicts { healthy: Some(probe_after(from)), unhealthy: None },
            HealthScript::Never => Verdicts { healthy: None, unhealthy: Some(failed_from(start)) },
            HealthScript::Between(from, to) => {
                Verdicts { healthy: Some(probe_after(from)), unhealthy: Some(failed_from(to)) }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::ImageScript;
    use crate::model::request::EngineHealthCheck;

    #[test]
    fn the_engine_says_healthy_at_the_first_probe_that_finds_it_so() {
        let check = EngineHealthCheck {
            test: vec!["CMD".to_owned(), "true".to_owned()],
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(5),
            retries: 3,
            start_period: Duration::from_secs(10),
        };
        let healthy = |after| {
            let script = ImageScript::runs().healthy_after(Duration::from_secs(after));
            script.verdicts(Some(&check)).and_then(|v| v.healthy)
        };
        assert_eq!(healthy(0), Some(Duration::from_secs(10)));
        assert_eq!(healthy(11), Some(Duration::from_secs(20)));
        let never = ImageScript::runs().never_healthy().verdicts(Some(&check));
        assert_eq!(never.and_then(|v| v.unhealthy), Some(Duration::from_secs(30)));
        assert_eq!(ImageScript::runs().verdicts(None), None);
    }
}
