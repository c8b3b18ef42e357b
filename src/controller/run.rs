//! Runs passes for ever: the newest revision wins.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::apply::Progress;
use crate::controller::hand::{Done, InHand};
use crate::controller::once::chain;
use crate::controller::trigger::{self, Heard};
use crate::controller::{Ended, Event, write};
use crate::model::world::HostView;
use crate::name::{Digest, HostName, StackSlug};
use crate::observe::{self, FULL_LOOK_EVERY};
use crate::plan::outcome::Verdict;
use crate::reconcile::site::Site;
use crate::reconcile::{self, Context, Look, Pass, PassError};

/// How often engines are asked whether they are there. A host that hangs is so known within twice this.
const KNOCK_EVERY: Duration = Duration::from_secs(4);
/// The first pause after a failure that waiting may help, and the longest.
const RETRY_FIRST: Duration = Duration::from_secs(10);
const RETRY_LAST: Duration = Duration::from_secs(300);

/// When a stack that failed is tried again, unless its content changes before.
#[derive(Debug, Clone)]
struct Retry {
    tries: u32,
    at: Instant,
    content: Option<Digest>,
}

struct Run<'a> {
    site: &'a mut Site,
    events: UnboundedSender<Event>,
    in_hand: BTreeMap<StackSlug, InHand>,
    hands: JoinSet<Done>,
    retries: BTreeMap<StackSlug, Retry>,
    silent_since: BTreeMap<HostName, Instant>,
    again: Arc<Notify>,
    progress: UnboundedSender<Progress>,
    push: Arc<Notify>,
    failed_passes: u32,
    read: write::Read,
}

/// Runs until `shutdown`; then every apply ends at its step's border, and the ledger says so.
///
/// # Errors
/// When the ledger cannot be written any more for a reason that waiting does not mend.
pub async fn run(
    site: &mut Site,
    events: UnboundedSender<Event>,
    shutdown: CancellationToken,
) -> Result<(), PassError> {
    let again = Arc::new(Notify::new());
    let push = Arc::new(Notify::new());
    let (progress, reports) = mpsc::unbounded_channel();
    let (heard, mut hearing) = mpsc::unbounded_channel();
    let mut helpers = JoinSet::new();
    helpers.spawn(relay(reports, events.clone()));
    helpers.spawn(trigger::commits(site.source.clone(), site.config.poll_interval, again.clone(), events.clone()));
    helpers.spawn(trigger::pushes(site.ledger.clone(), site.config.push, push.clone(), again.clone(), events.clone()));
    let mut run = Run {
        site,
        events,
        in_hand: BTreeMap::new(),
        hands: JoinSet::new(),
        retries: BTreeMap::new(),
        silent_since: BTreeMap::new(),
        again: again.clone(),
        progress,
        push,
        failed_passes: 0,
        read: write::Read::default(),
    };
    let mut listeners = trigger::Listeners::default();
    let mut full_look = interval(FULL_LOOK_EVERY);
    full_look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut knock = interval(KNOCK_EVERY);
    knock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut due = true;
    let mut knocking = JoinSet::new();
    loop {
        if std::mem::take(&mut due) {
            run.pass().await?;
            listeners.listen(&run.site.engines, &again, &heard);
        }
        let wake = run.next_retry();
        tokio::select! {
            () = shutdown.cancelled() => break,
            () = again.notified() => due = true,
            Some(done) = run.hands.join_next() => {
                let done = done.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
                run.finish(done).await?;
                due = true;
            }
            _ = full_look.tick() => due = true,
            _ = knock.tick(), if knocking.is_empty() => {
                let engines = run.site.engines.clone();
                knocking.spawn(async move { observe::knock(&engines).await });
            }
            Some(answers) = knocking.join_next() => {
                let answers = answers.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
                due = run.site.observer.hear(answers) || run.somebody_got_lost();
            }
            Some(Heard::Use(endpoint, used)) = hearing.recv() => {
                run.site.used.insert(endpoint, used);
                due = true;
            }
            () = sleep_until(wake.unwrap_or_else(|| Instant::now() + FULL_LOOK_EVERY)), if wake.is_some() => due = true,
        }
    }
    for hand in run.in_hand.values() {
        hand.stop.cancel();
    }
    while let Some(done) = run.hands.join_next().await {
        let done = done.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
        run.finish(done).await?;
    }
    trigger::push_once(&run.site.ledger, run.site.config.push, &run.events).await;
    helpers.shutdown().await;
    Ok(())
}

async fn relay(mut reports: UnboundedReceiver<Progress>, events: UnboundedSender<Event>) {
    while let Some(progress) = reports.recv().await {
        let _ = events.send(Event::Progress(progress));
    }
}

impl Run<'_> {
    fn tell(&self, event: Event) {
        let _ = self.events.send(event);
    }

    async fn pass(&mut self) -> Result<(), PassError> {
        match self.try_pass().await {
            Ok(()) => self.failed_passes = 0,
            Err(error) => {
                // Also what waiting does not mend may be mended by somebody: the service stays, says it and looks again.
                let text = chain(&error);
                tracing::warn!(error = text, "the pass could not be done");
                self.tell(Event::PassFailed(text));
                self.failed_passes += 1;
                let again = self.again.clone();
                let pause = pause(self.failed_passes, "pass");
                tokio::spawn(async move {
                    tokio::time::sleep(pause).await;
                    again.notify_one();
                });
            }
        }
        Ok(())
    }

    async fn try_pass(&mut self) -> Result<(), PassError> {
        let lost = self.lost();
        let context = Context {
            in_hand: self.in_hand.keys().cloned().collect(),
            allowed_removals: BTreeSet::new(),
            lost: lost.clone(),
        };
        let pass = reconcile::pass(self.site, Look::Hosts, &context).await?;
        self.note_silence(&pass);
        if !pass.unrecorded_hosts.is_empty() && pass.desired.inventory.wrong.is_empty() {
            let written = write::first_facts(self.site, &pass).await?;
            self.written(written);
            self.again.notify_one();
            return Ok(());
        }
        for (slug, hand) in &self.in_hand {
            if hand.is_overtaken_by(&pass, slug) {
                hand.stop.cancel();
            }
        }
        let now = Instant::now();
        let with_steps = pass.plan.stacks.iter().filter(|(_, plan)| !plan.steps.is_empty()).map(|(slug, _)| slug);
        let begun: BTreeMap<StackSlug, InHand> = with_steps
            .filter(|slug| self.may_begin(&pass, slug, now))
            .filter_map(|slug| Some((slug.clone(), InHand::of(&pass, slug, CancellationToken::new())?)))
            .collect();
        let written = write::pass(self.site, &pass, &begun, &self.in_hand, &lost).await?;
        if written.as_ref().is_some_and(|written| written.hosts_changed) {
            self.again.notify_one();
        }
        self.read = write::Read::of(&pass);
        // A plan is told before its first step is.
        self.tell(Event::Passed(Box::new(pass)));
        self.written(written);
        for (slug, hand) in begun {
            self.hands.spawn(hand.work(&slug, self.site, self.progress.clone()));
            self.in_hand.insert(slug, hand);
        }
        Ok(())
    }

    fn written(&self, written: Option<write::Written>) {
        if let Some(written) = written {
            self.tell(Event::Committed { revision: written.revision, message: written.message });
            self.push.notify_one();
        }
    }

    fn may_begin(&self, pass: &Pass, slug: &StackSlug, now: Instant) -> bool {
        let content = pass.wants.get(slug).and_then(|want| want.stack()).map(|stack| stack.content.clone());
        self.retries.get(slug).is_none_or(|retry| retry.at <= now || retry.content != content)
    }

    async fn finish(&mut self, done: Done) -> Result<(), PassError> {
        let Some(hand) = self.in_hand.remove(&done.stack) else { return Ok(()) };
        for step in &hand.plan.steps {
            self.site.observer.forget(&step.endpoint);
        }
        let ledger = self.site.ledger.read().await?;
        let before = ledger.records.get(&done.stack);
        let record = hand.record(before, &done);
        let newly_bad = record.as_ref().zip(before).is_some_and(|(after, before)| after.bad != before.bad);
        let status = record.as_ref().map(|record| record.status);
        let written = write::end(self.site, &self.read, &done, &hand, record).await?;
        self.written(written);
        let failed = done.applied.failures.iter().any(|f| f.verdict == Verdict::Transient || !newly_bad);
        if failed {
            let tries = self.retries.get(&done.stack).map_or(1, |retry| retry.tries + 1);
            let at = Instant::now() + pause(tries, done.stack.as_str());
            let content = hand.want.stack().map(|stack| stack.content.clone());
            self.retries.insert(done.stack.clone(), Retry { tries, at, content });
        } else {
            self.retries.remove(&done.stack);
        }
        self.tell(Event::Ended(Ended { stack: done.stack, status, failures: done.applied.failures }));
        Ok(())
    }

    fn next_retry(&self) -> Option<Instant> {
        let now = Instant::now();
        self.retries
            .iter()
            .filter(|(slug, retry)| retry.at > now && !self.in_hand.contains_key(*slug))
            .map(|(_, r)| r.at)
            .min()
    }

    fn note_silence(&mut self, pass: &Pass) {
        for host in pass.desired.inventory.hosts.keys() {
            match pass.world.host(host) {
                HostView::Unreachable(_) => {
                    self.silent_since.entry(host.clone()).or_insert_with(Instant::now);
                }
                HostView::Seen(_) | HostView::NoEndpoint => {
                    self.silent_since.remove(host);
                }
            }
        }
        self.silent_since.retain(|host, _| pass.desired.inventory.hosts.contains_key(host));
    }

    fn lost(&self) -> BTreeSet<HostName> {
        let after = self.site.config.lost_after;
        self.silent_since.iter().filter(|(_, since)| since.elapsed() >= after).map(|(host, _)| host.clone()).collect()
    }

    /// Whether a host has just been silent for long enough that the next pass counts it as lost.
    fn somebody_got_lost(&self) -> bool {
        let after = self.site.config.lost_after;
        self.silent_since.values().any(|since| since.elapsed() >= after && since.elapsed() < after + KNOCK_EVERY * 2)
    }
}

/// Doubles from try to try. The jitter comes from the name, so that stacks do not retry in step and a run can be
/// repeated.
fn pause(tries: u32, name: &str) -> Duration {
    let doubled = RETRY_FIRST * 2_u32.saturating_pow(tries.saturating_sub(1).min(10));
    let jitter = name.bytes().fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte))) % 20;
    doubled.min(RETRY_LAST) * (100 + jitter) / 100
}
