//! Carries a stack's steps out: each as soon as those before it are done, hosts side by side.
//!
//! Takes the steps of one stack and the engines. Gives what became of each step.
//!
//! Never chooses: a step holds every name and deadline. After the first failure no further step begins; the next pass
//! sees what is there and plans from it, so nothing is retried here.

mod health;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::engine::{Engine, EngineError, Engines, ExecRequest, Logins, RegistryLogin};
use crate::model::world::State;
use crate::name::image::ImageRef;
use crate::name::{HostName, StackSlug};
use crate::observe::words::{self, Words};
use crate::plan::health::ASK_EVERY;
use crate::plan::outcome::{Applied, Failure, Verdict};
use crate::plan::step::{Act, RunAction, Step};
use crate::secret::{self, Secret};

/// How many of a failing container's last log lines are shown.
const LOG_LINES: u32 = 20;

/// What happens while steps are carried out, for whoever watches.
#[derive(Debug, Clone, PartialEq)]
pub enum Progress {
    Begun { stack: StackSlug, steps: usize },
    StepBegun { stack: StackSlug, step: usize, host: HostName, what: String },
    StepDone { stack: StackSlug, step: usize, host: HostName, what: String },
    StepFailed { stack: StackSlug, failure: Failure },
    Ended { stack: StackSlug, done: usize, failed: usize },
}

/// Everything that carrying out one stack's steps needs.
#[derive(Debug, Clone)]
pub struct Work {
    pub stack: StackSlug,
    pub steps: Arc<Vec<Step>>,
    /// The values of the stack's variables. A container that was made in an earlier apply prints them too, and an action
    /// may run in another service's container.
    pub secrets: BTreeSet<Secret<String>>,
    pub engines: Engines,
    pub logins: Arc<Logins>,
    /// Ends the work at the next step's border.
    pub stop: CancellationToken,
    pub progress: UnboundedSender<Progress>,
}

/// Carries the steps out.
pub async fn apply(work: &Work) -> Applied {
    let steps = &work.steps;
    work.tell(Progress::Begun { stack: work.stack.clone(), steps: steps.len() });
    let mut applied = Applied::default();
    let mut waiting: BTreeSet<usize> = (0..steps.len()).collect();
    let mut running = JoinSet::new();
    loop {
        applied.stopped = work.stop.is_cancelled() && !waiting.is_empty();
        if applied.failures.is_empty() && !applied.stopped {
            let ready: Vec<usize> =
                waiting.iter().copied().filter(|index| steps[*index].after.is_subset(&applied.done)).collect();
            for index in ready {
                waiting.remove(&index);
                let work = work.clone();
                running.spawn(async move { (index, work.perform(index).await) });
            }
        }
        match running.join_next().await {
            None => break,
            Some(Ok((index, Ok(Came::Done)))) => {
                applied.done.insert(index);
            }
            Some(Ok((index, Ok(Came::GivenUp)))) => {
                waiting.insert(index);
            }
            Some(Ok((_, Err(failure)))) => applied.failures.push(failure),
            Some(Err(panic)) => std::panic::resume_unwind(panic.into_panic()),
        }
    }
    applied.failures.sort_by_key(|failure| failure.step);
    let (done, failed) = (applied.done.len(), applied.failures.len());
    work.tell(Progress::Ended { stack: work.stack.clone(), done, failed });
    applied
}

/// What became of a step that did not fail.
enum Came {
    Done,
    /// It only waited, and nobody waits any more.
    GivenUp,
}

impl Work {
    /// Nobody may be watching, and that is fine.
    fn tell(&self, progress: Progress) {
        let _ = self.progress.send(progress);
    }

    async fn perform(&self, index: usize) -> Result<Came, Failure> {
        let step = &self.steps[index];
        let what = step.act.describe();
        let (stack, host) = (self.stack.clone(), step.host.clone());
        tracing::info!(stack = %stack, host = %host, step = what, because = step.because, "step begins");
        self.tell(Progress::StepBegun { stack: stack.clone(), step: index, host: host.clone(), what: what.clone() });
        match self.act(step).await {
            Ok(Came::Done) => {
                self.tell(Progress::StepDone { stack, step: index, host, what });
                Ok(Came::Done)
            }
            Ok(Came::GivenUp) => Ok(Came::GivenUp),
            Err(Trouble { verdict, why, log }) => {
                let why = secret::without(&self.secrets, why);
                let verdict = if step.act.can_blame_content() { verdict } else { Verdict::Transient };
                tracing::warn!(stack = %stack, host = %host, step = what, why, "step failed");
                let log = self.without_secrets(log);
                let failure = Failure { step: index, host, instance: step.instance.clone(), what, verdict, why, log };
                self.tell(Progress::StepFailed { stack, failure: failure.clone() });
                Err(failure)
            }
        }
    }

    async fn act(&self, step: &Step) -> Result<Came, Trouble> {
        let engine = self.engines.get(&step.endpoint).ok_or_else(|| Trouble {
            verdict: Verdict::Transient,
            why: format!("no connection to {}", step.endpoint),
            log: Vec::new(),
        })?;
        match &step.act {
            Act::Pull { reference } => engine.pull(reference, self.login(reference)).await?,
            Act::CreateNetwork(request) => {
                engine.create_network(request).await?;
            }
            Act::CreateVolume(request) => engine.create_volume(request).await?,
            Act::Create(request) => {
                engine.create(request).await?;
            }
            Act::Start { container } => match engine.start(container).await {
                Ok(()) => {}
                Err(error) => return Err(refused_start(engine.as_ref(), container, error).await),
            },
            // A wait changes nothing: who asks for something else, or for an end, need not wait for it too.
            Act::AwaitHealthy { container, gate, of } => tokio::select! {
                biased;
                () = self.stop.cancelled() => return Ok(Came::GivenUp),
                healthy = health::await_healthy(engine.as_ref(), container, gate, *of) => healthy?,
            },
            Act::RunAction(action) => run_action(engine.as_ref(), action).await?,
            Act::TakeName { container, network, aliases } => {
                engine.set_aliases(container, network, aliases).await?;
            }
            Act::GiveUpName { container, network, linger } => {
                give_up_name(engine.as_ref(), container, network, *linger).await?;
            }
            Act::Stop { container, grace } => engine.stop(container, *grace).await?,
            Act::Remove { container } => engine.remove(container).await?,
            Act::Rename { container, name } => engine.rename(container, name).await?,
            Act::RemoveNetwork { id, .. } => engine.remove_network(id).await?,
            Act::RemoveImage { reference } => match engine.remove_image(reference).await {
                Ok(()) | Err(EngineError::Refused { .. }) => {}
                Err(error) => return Err(error.into()),
            },
        }
        Ok(Came::Done)
    }

    fn login(&self, reference: &str) -> Option<&RegistryLogin> {
        let image = ImageRef::new(reference).ok()?;
        self.logins.get(image.registry().unwrap_or_default())
    }

    /// A container may print its own variables; what was given to it as one is not shown.
    fn without_secrets(&self, log: Vec<String>) -> Vec<String> {
        log.into_iter().map(|line| secret::without(&self.secrets, line)).collect()
    }
}

/// Why a step did not succeed, before it is known which step it was.
#[derive(Debug)]
struct Trouble {
    verdict: Verdict,
    why: String,
    log: Vec<String>,
}

impl From<EngineError> for Trouble {
    fn from(error: EngineError) -> Self {
        // A container or network that vanished while we worked is a race, and the next look tells.
        let transient = error.is_transient()
            || matches!(error, EngineError::NotFound { .. } | EngineError::NameInUse { .. })
            || is_away_for_now(&error);
        let verdict = if transient { Verdict::Transient } else { Verdict::BadContent };
        Self { verdict, why: error.to_string(), log: Vec::new() }
    }
}

/// An image that was to be had when the plan was made: somebody removed it meanwhile, or a login has run out, which says nothing
/// of the content. That its registry knows it no more does.
fn is_away_for_now(error: &EngineError) -> bool {
    let EngineError::ImageMissing { why, .. } = error else { return false };
    !["manifest unknown", "no matching manifest"].iter().any(|words| why.contains(words))
}

async fn last_words(engine: &dyn Engine, container: &str) -> Words {
    // The failure is what matters; that its log cannot be had must not hide it.
    words::last(engine, container, LOG_LINES).await.unwrap_or_default()
}

async fn refused_start(engine: &dyn Engine, container: &str, error: EngineError) -> Trouble {
    let words = last_words(engine, container).await;
    let is_answered = match &error {
        // An engine that has noted the error with the container has tried.
        EngineError::Failed { why, .. } if !names_a_shortage(why) => {
            engine.container(container).await.is_ok_and(|detail| detail.is_some_and(|detail| !detail.error.is_empty()))
        }
        EngineError::Failed { .. }
        | EngineError::Unreachable { .. }
        | EngineError::Timeout { .. }
        | EngineError::ImageMissing { .. }
        | EngineError::NameInUse { .. }
        | EngineError::PortTaken { .. }
        | EngineError::NotFound { .. }
        | EngineError::Refused { .. }
        | EngineError::NotUnderstood { .. } => false,
    };
    let trouble = Trouble::from(error);
    let verdict = if is_answered { Verdict::Stubborn } else { trouble.verdict };
    Trouble { why: words.clean(trouble.why), log: words.lines, verdict }
}

/// What an engine lacks for a while is no fault of the content, however often it says so.
fn names_a_shortage(why: &str) -> bool {
    const WORDS: [&str; 6] = [
        "no space left",
        "cannot allocate memory",
        "too many open files",
        "temporarily unavailable",
        "deadline exceeded",
        "timeout",
    ];
    let why = why.to_lowercase();
    WORDS.iter().any(|words| why.contains(words))
}

/// One that answers to no name, as it never took over, is asked by nobody: there is nothing to linger for.
async fn give_up_name(
    engine: &dyn Engine,
    container: &str,
    network: &str,
    linger: Duration,
) -> Result<(), EngineError> {
    let detail = engine.container(container).await?;
    let answers = detail.is_some_and(|d| d.aliases.get(network).is_some_and(|names| !names.is_empty()));
    if answers {
        let begun = Instant::now();
        engine.set_aliases(container, network, &[]).await?;
        // Whoever asked while it was off its network asks again so much later.
        sleep(linger + begun.elapsed()).await;
    }
    Ok(())
}

/// Never two at a time: a command outlives whoever started it, and an earlier apply may have been cut off. What it came
/// to nobody can tell any more, so it is run once more when it has ended.
async fn run_action(engine: &dyn Engine, action: &RunAction) -> Result<(), Trouble> {
    if timeout(action.timeout, earlier_run_ended(engine, action)).await.unwrap_or(Ok(Earlier::Runs))? == Earlier::Runs {
        let limit = action.timeout.as_secs();
        let why = format!("an earlier run of the action {} did not end within {limit} s", action.action);
        return Err(Trouble { verdict: Verdict::Transient, why, log: Vec::new() });
    }
    let request = ExecRequest {
        command: action.command.clone(),
        working_dir: action.working_dir.clone(),
        timeout: action.timeout,
    };
    let outcome = engine.exec(&action.container, &request).await?;
    let why = match outcome.code {
        Some(0) => return Ok(()),
        Some(code) => format!("the action {} ended with {code}", action.action),
        None => format!("the action {} did not end within {} s", action.action, action.timeout.as_secs()),
    };
    let log = outcome.output.lines().map(str::to_owned).collect();
    // Perhaps it was cut off.
    let was_killed = matches!(outcome.code, Some(137 | 143)) || !runs(engine, &action.container).await;
    Err(Trouble { verdict: if was_killed { Verdict::Stubborn } else { Verdict::BadContent }, why, log })
}

async fn runs(engine: &dyn Engine, container: &str) -> bool {
    engine.container(container).await.is_ok_and(|detail| detail.is_some_and(|detail| detail.state() == State::Running))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Earlier {
    Ended,
    Runs,
}

async fn earlier_run_ended(engine: &dyn Engine, action: &RunAction) -> Result<Earlier, EngineError> {
    while engine.commands_running(&action.container).await?.contains(&action.command) {
        sleep(ASK_EVERY).await;
    }
    Ok(Earlier::Ended)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::Arc;

    use tokio::sync::mpsc;
    use tokio_util::sync::CancellationToken;

    use super::{Work, apply};
    use crate::engine::Engine;
    use crate::engine::memory::MemoryEngine;
    use crate::engine::memory::registry::MemoryRegistry;
    use crate::model::host::Endpoint;
    use crate::name::{HostName, StackSlug};
    use crate::plan::outcome::Verdict;
    use crate::plan::step::{Act, Step};

    #[tokio::test]
    async fn what_runs_again_when_it_is_to_be_removed_is_no_sign_of_bad_content() {
        let engine = MemoryEngine::new("host-1", &MemoryRegistry::default());
        let container = engine.add_foreign("shop-web-1", BTreeMap::new()).expect("it runs");
        let endpoint = Endpoint::Memory("host-1".to_owned());
        let step = Step {
            host: HostName::new("host-1").expect("a name"),
            endpoint: endpoint.clone(),
            instance: None,
            act: Act::Remove { container },
            after: BTreeSet::new(),
            because: "an earlier apply was interrupted".to_owned(),
        };
        let applied = apply(&Work {
            stack: StackSlug::new("shop").expect("a slug"),
            steps: Arc::new(vec![step]),
            secrets: BTreeSet::new(),
            engines: BTreeMap::from([(endpoint, Arc::new(engine) as Arc<dyn Engine>)]),
            logins: Arc::default(),
            stop: CancellationToken::new(),
            progress: mpsc::unbounded_channel().0,
        })
        .await;
        let [failure] = applied.failures.as_slice() else { panic!("{applied:?}") };
        assert!(failure.why.contains("refused remove"), "{failure:?}");
        assert_eq!(failure.verdict, Verdict::Transient);
    }
}
