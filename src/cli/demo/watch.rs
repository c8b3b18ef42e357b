//! Follows the service until what was pushed has settled, and says what happens meanwhile.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedReceiver;
use tokio_util::sync::CancellationToken;

use crate::apply::Progress;
use crate::cli::exit::Exit;
use crate::cli::out;
use crate::cli::show::paint::{FAINT, painted};
use crate::cli::show::progress::{Narrator, Steps};
use crate::cli::trouble::Trouble;
use crate::controller::Event;
use crate::name::StackSlug;
use crate::reconcile::Pass;

/// Three containers of one small program start within seconds, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Who listens to the service.
pub struct Watch {
    events: UnboundedReceiver<Event>,
    narrator: Narrator,
    in_hand: BTreeSet<StackSlug>,
    stop: CancellationToken,
}

/// How a push ended.
pub struct Settled {
    /// The pass that found nothing more to do.
    pub pass: Box<Pass>,
    /// Since the push.
    pub took: Duration,
}

impl Watch {
    pub fn new(events: UnboundedReceiver<Event>, branch: &str, stop: CancellationToken) -> Self {
        Self { events, narrator: Narrator::new(branch, Steps::Quiet), in_hand: BTreeSet::new(), stop }
    }

    /// Waits until a pass at this commit has nothing to do and nothing is under way.
    pub async fn settled(&mut self, commit: &str) -> Result<Settled, Trouble> {
        let pushed = Instant::now();
        let mut last_failure = String::new();
        let deadline = tokio::time::sleep(PATIENCE);
        tokio::pin!(deadline);
        loop {
            let event = tokio::select! {
                event = self.events.recv() => event,
                () = self.stop.cancelled() => return Err(Trouble::shown(Exit::World)),
                () = &mut deadline => {
                    let limit = PATIENCE.as_secs();
                    return Err(Trouble::world(format!("nothing settled within {limit} s{last_failure}")));
                }
            };
            let Some(event) = event else {
                return Err(Trouble::world("the service ended"));
            };
            let is_new = match &event {
                Event::Passed(pass) => pass.revision.as_str() == commit,
                Event::Progress(_) | Event::Ended(_) => true,
                // Before the first push there is no commit to look at, and that is as it should be.
                Event::PassFailed(_)
                | Event::Committed { .. }
                | Event::TriesAgain { .. }
                | Event::OtherController(_)
                | Event::FetchFailed(_)
                | Event::FetchedAgain
                | Event::PushFailed(_)
                | Event::PushedAgain => false,
            };
            if is_new {
                out::say(&indented(&self.narrator.tell(&event)));
            }
            match event {
                Event::Progress(Progress::Begun { stack, .. }) => {
                    self.in_hand.insert(stack);
                }
                Event::Ended(ended) => {
                    self.in_hand.remove(&ended.stack);
                    if !ended.failures.is_empty() {
                        return Err(Trouble::world(format!("{} was not deployed", ended.stack)));
                    }
                }
                Event::Passed(pass) => {
                    let begun = pass.plan.stacks.iter().filter(|(_, plan)| !plan.steps.is_empty());
                    self.in_hand.extend(begun.map(|(slug, _)| slug.clone()));
                    if is_new && pass.plan.is_empty() && self.in_hand.is_empty() {
                        return Ok(Settled { pass, took: pushed.elapsed() });
                    }
                }
                Event::PassFailed(why) => last_failure = format!("; the last pass failed: {why}"),
                Event::FetchFailed(why) => last_failure = format!("; the last fetch failed: {why}"),
                Event::Progress(_)
                | Event::Committed { .. }
                | Event::TriesAgain { .. }
                | Event::OtherController(_)
                | Event::FetchedAgain
                | Event::PushFailed(_)
                | Event::PushedAgain => {}
            }
        }
    }
}

/// Each line a little to the right, so that what the service says stands apart.
pub fn indented(text: &str) -> String {
    let bar = painted(FAINT, "│");
    text.lines().map(|line| if line.is_empty() { format!("  {bar}\n") } else { format!("  {bar} {line}\n") }).collect()
}
