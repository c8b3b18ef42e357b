//! Runs passes for ever: the newest revision wins.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::mpsc::{self, Sender, UnboundedReceiver, UnboundedSender};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::apply::Progress;
use crate::causes::chain;
use crate::controller::hand::{Done, InHand};
use crate::controller::notes::{self, Noted, Notes};
use crate::controller::once::clock;
use crate::controller::pause::pause;
use crate::controller::retries::{self, Retries};
use crate::controller::steady::{End, Steadiness};
use crate::controller::trigger::{self, Bells, Heard};
use crate::controller::{Ended, Event, write};
use crate::engine::Engine;
use crate::model::host::Endpoint;
use crate::model::record::Ledger;
use crate::model::world::{HostView, ours};
use crate::name::{HostName, InstanceId, Revision, StackSlug};
use crate::observe::{self, FULL_LOOK_EVERY};
use crate::plan::outcome::Verdict;
use crate::reconcile::site::Site;
use crate::reconcile::{self, Context, Look, Pass, PassError};

/// How often engines are asked whether they are there. A host that hangs is so known within twice this.
const KNOCK_EVERY: Duration = Duration::from_secs(4);
/// How long the last notes may take when the service ends.
const NOTES_AT_END: Duration = Duration::from_secs(10);
/// How many lines of what an unsteady instance printed are kept.
const LOG_LINES: u32 = 5;

/// First facts, a port that is free again and what follows from both make three.
const REWRITES_AT_ONCE: u32 = 3;

struct Run<'a> {
    site: &'a mut Site,
    events: UnboundedSender<Event>,
    in_hand: BTreeMap<StackSlug, InHand>,
    hands: JoinSet<Done>,
    retries: Retries,
    silent_since: BTreeMap<HostName, Instant>,
    steadiness: Steadiness,
    /// By engine: containers that answered to no name when they were last asked.
    nameless: BTreeMap<Endpoint, BTreeSet<String>>,
    /// Of the newest pass; none before the first.
    owner: Option<String>,
    /// Where the ledger was when this run began.
    began_at: Option<Option<Revision>>,
    others: BTreeSet<String>,
    again: Arc<Notify>,
    progress: UnboundedSender<Progress>,
    push: Arc<Notify>,
    notes: UnboundedSender<Noted>,
    failed_passes: u32,
    shutdown: CancellationToken,
    /// How many passes in a row wrote what is known of hosts.
    rewritten: u32,
    /// How often in a row the end of a stack could not be written.
    unwritten: u32,
    /// Waits until a pass that could not be done is tried again.
    pause: JoinSet<()>,
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
    let (heard, mut hearing) = mpsc::channel(trigger::HEARD_AT_ONCE);
    let mut helpers = JoinSet::new();
    helpers.spawn(relay(reports, events.clone()));
    let bells = Bells { told: site.told.clone(), again: again.clone(), push: push.clone() };
    helpers.spawn(trigger::commits(site.source.clone(), site.config.poll_interval, bells, events.clone()));
    helpers.spawn(trigger::pushes(site.ledger.clone(), site.config.push, push.clone(), again.clone(), events.clone()));
    let (notes, noted) = mpsc::unbounded_channel();
    let noting = tokio::spawn(notes::keep(Notes::of(site), noted));
    let mut run = Run {
        site,
        events,
        in_hand: BTreeMap::new(),
        hands: JoinSet::new(),
        retries: Retries::default(),
        silent_since: BTreeMap::new(),
        steadiness: Steadiness::default(),
        nameless: BTreeMap::new(),
        owner: None,
        began_at: None,
        others: BTreeSet::new(),
        again: again.clone(),
        progress,
        push,
        notes,
        failed_passes: 0,
        shutdown: shutdown.clone(),
        rewritten: 0,
        unwritten: 0,
        pause: JoinSet::new(),
        read: write::Read::default(),
    };
    let mut listeners = trigger::Listeners::default();
    let mut full_look = interval(FULL_LOOK_EVERY);
    full_look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut knock = interval(KNOCK_EVERY);
    knock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut due = true;
    let mut knocking = JoinSet::new();
    let mut reading = JoinSet::new();
    let mut heard_since_pass = 0;
    loop {
        if std::mem::take(&mut due) {
            heard_since_pass = 0;
            run.pass().await?;
            listeners.listen(&run.site.engines, &again, &heard);
        }
        let retry = run.retries.next(Instant::now(), |stack| !run.in_hand.contains_key(stack));
        let wake = retry.into_iter().chain(run.steadiness.next(Instant::now())).min();
        tokio::select! {
            // Always in this order, so that two runs of one story are the same. What may come without end is last.
            biased;
            () = shutdown.cancelled() => break,
            Some(done) = run.hands.join_next() => {
                let done = done.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
                run.finish(done).await;
                due = true;
            }
            _ = full_look.tick() => due = true,
            _ = knock.tick(), if knocking.is_empty() => {
                let (engines, patience) = (run.site.engines.clone(), run.site.config.answer_within);
                knocking.spawn(async move { observe::knock(&engines, patience).await });
            }
            Some(answers) = knocking.join_next() => {
                let answers = answers.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
                due = run.site.observer.hear(answers) || run.somebody_got_lost();
            }
            // A flood must not keep the next pass away: whatever matters in it also asks for one.
            Some(heard_now) = hearing.recv(), if heard_since_pass < trigger::HEARD_AT_ONCE => {
                heard_since_pass += 1;
                match heard_now {
                Heard::Use(endpoint, used) => {
                    run.site.used.insert(endpoint, used);
                    due = true;
                }
                Heard::Nameless(endpoint, containers) => {
                    run.nameless.insert(endpoint, containers);
                    due = true;
                }
                Heard::Ended { endpoint, container, labels } => {
                    if let Some(id) = run.became_unsteady(&container, &labels).await {
                        let engine = run.site.engines.get(&endpoint).cloned();
                        reading.spawn(last_words(engine, container, id, heard.clone()));
                    }
                }
                Heard::Printed(id, log) => {
                    run.steadiness.printed(&id, log);
                    due = true;
                }
                }
            }
            Some(_) = reading.join_next() => {}
            () = again.notified() => due = true,
            () = sleep_until(wake.unwrap_or_else(|| Instant::now() + FULL_LOOK_EVERY)), if wake.is_some() => due = true,
        }
    }
    for hand in run.in_hand.values() {
        hand.stop.cancel();
    }
    while let Some(done) = run.hands.join_next().await {
        let done = done.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
        if let Err(error) = run.write_end(&done).await {
            run.tell(Event::PassFailed(chain(&error)));
        }
    }
    trigger::push_once(&run.site.ledger, run.site.config.push, &run.events).await;
    helpers.shutdown().await;
    drop(run);
    // What is noted is for people, and a server that is away is not worth a stop that hangs.
    let noting_ends = noting.abort_handle();
    if tokio::time::timeout(NOTES_AT_END, noting).await.is_err() {
        noting_ends.abort();
    }
    Ok(())
}

/// What an instance printed; nothing if it cannot be had now.
async fn last_words(engine: Option<Arc<dyn Engine>>, container: String, id: InstanceId, heard: Sender<Heard>) {
    let Some(engine) = engine else { return };
    if let Ok(words) = observe::words::last(engine.as_ref(), &container, LOG_LINES).await {
        // Nobody may be listening any more, and that is fine.
        let _ = heard.send(Heard::Printed(id, words.lines)).await;
    }
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
                // It may have been committed all the same, and only its answer got lost.
                self.push.notify_one();
                self.look_again_after(pause(self.failed_passes, "pass"));
            }
        }
        Ok(())
    }

    fn look_again_after(&mut self, pause: Duration) {
        let again = self.again.clone();
        // One pause at a time, and none that outlives the service.
        self.pause = JoinSet::new();
        self.pause.spawn(async move {
            tokio::time::sleep(pause).await;
            again.notify_one();
        });
    }

    /// What is known of hosts was written, and placement may come out differently. Somebody else who sees the hosts in
    /// another way writes that, and neither may keep the other busy.
    fn look_again_at_hosts(&mut self) {
        self.rewritten += 1;
        match self.rewritten.checked_sub(REWRITES_AT_ONCE) {
            Some(tries) if tries > 0 => self.look_again_after(pause(tries, "hosts")),
            Some(_) | None => self.again.notify_one(),
        }
    }

    async fn try_pass(&mut self) -> Result<(), PassError> {
        let lost = self.lost();
        let context = Context {
            at: None,
            ledger: reconcile::Known::Newest,
            in_hand: self.in_hand.keys().cloned().collect(),
            allowed_removals: BTreeSet::new(),
            lost: lost.clone(),
            unsteady: self.steadiness.unsteady(Instant::now()),
            nameless: self.nameless.values().flatten().cloned().collect(),
            now: Some(clock()),
            open: BTreeSet::new(),
            reviewed: None,
            not_reviewed: BTreeMap::new(),
            supposed: Vec::new(),
        };
        let pass = reconcile::pass(self.site, Look::Hosts, &context).await?;
        self.note_silence(&pass);
        self.owner = Some(pass.owner.clone());
        self.note_others(&pass.ledger);
        self.steadiness.forget(|id| !pass.placement.mapping.contains_key(id));
        if !pass.unrecorded_hosts.is_empty() && pass.desired.inventory.wrong.is_empty() {
            let written = write::first_facts(self.site, &pass).await?;
            self.written(written);
            self.look_again_at_hosts();
            return Ok(());
        }
        for (slug, hand) in &self.in_hand {
            if hand.is_overtaken_by(&pass, slug) {
                hand.stop.cancel();
            }
        }
        let now = Instant::now();
        self.retries.forget(now);
        let with_steps = pass.plan.stacks.iter().filter(|(_, plan)| !plan.steps.is_empty()).map(|(slug, _)| slug);
        let begun: BTreeMap<StackSlug, InHand> = with_steps
            .filter(|slug| self.may_begin(&pass, slug, now))
            .filter_map(|slug| Some((slug.clone(), InHand::of(&pass, slug, CancellationToken::new())?)))
            .collect();
        let written = write::pass(self.site, &pass, &begun, &self.in_hand, &lost).await?;
        if written.as_ref().is_some_and(|written| written.hosts_changed) {
            self.look_again_at_hosts();
        } else {
            self.rewritten = 0;
        }
        self.read = write::Read::of(&pass);
        // A plan is told before its first step is.
        self.tell(Event::Passed(Box::new(pass)));
        self.written(written);
        // What is made anew has not ended yet.
        let made_anew = |hand: &InHand, id: &InstanceId| {
            hand.plan.changes.iter().any(|change| &change.instance == id && change.is_caused_by_the_revision())
        };
        self.steadiness.forget(|id| begun.get(&id.stack).is_some_and(|hand| made_anew(hand, id)));
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
            for noted in written.notes {
                // Who keeps them ends with the service.
                let _ = self.notes.send(noted);
            }
        }
    }

    fn may_begin(&self, pass: &Pass, slug: &StackSlug, now: Instant) -> bool {
        let content = pass.wants.get(slug).and_then(|want| want.stack()).map(|stack| &stack.content);
        self.retries.may_begin(slug, content, &pass.plan.stacks[slug], now)
    }

    /// Writes how a stack ended. While that cannot be written it stays in hand: a later pass would not know how it ended.
    async fn finish(&mut self, done: Done) {
        let Err(error) = self.write_end(&done).await else { return };
        let text = chain(&error);
        tracing::warn!(stack = %done.stack, error = text, "its end could not be written");
        self.tell(Event::PassFailed(text));
        self.unwritten += 1;
        // As with a pass: it may have been committed.
        self.push.notify_one();
        let pause = pause(self.unwritten, done.stack.as_str());
        let shutdown = self.shutdown.clone();
        self.hands.spawn(async move {
            // The service does not wait for it when it ends.
            let _ = tokio::time::timeout(pause, shutdown.cancelled()).await;
            done
        });
    }

    async fn write_end(&mut self, done: &Done) -> Result<(), PassError> {
        let Some(hand) = self.in_hand.get(&done.stack).cloned() else { return Ok(()) };
        for step in &hand.plan.steps {
            self.site.observer.forget(&step.endpoint);
            // What was noticed before the steps may not be so any more.
            self.nameless.remove(&step.endpoint);
        }
        let ledger = self.site.ledger.read().await?;
        let before = ledger.records.get(&done.stack);
        let record = hand.record(before, done);
        let newly_bad = record.as_ref().zip(before).is_some_and(|(after, before)| after.bad != before.bad);
        let status = record.as_ref().map(|record| record.status);
        let written = write::end(self.site, &self.read, done, &hand, record).await?;
        self.in_hand.remove(&done.stack);
        self.unwritten = 0;
        self.written(written);
        let failed = done.applied.failures.iter().any(|f| f.verdict == Verdict::Transient || !newly_bad);
        let end = if failed { retries::End::Failed } else { retries::End::Done };
        let content = hand.want.stack().map(|stack| stack.content.clone());
        let after = self.retries.ended(&done.stack, end, content, &hand.plan, Instant::now());
        let failures = done.applied.failures.clone();
        self.tell(Event::Ended(Ended { stack: done.stack.clone(), status, failures }));
        if failed && !newly_bad && !self.shutdown.is_cancelled() {
            self.tell(Event::TriesAgain { stack: done.stack.clone(), after });
        }
        Ok(())
    }

    /// Takes in the end of a container. Gives the instance if that makes it unsteady just now.
    ///
    /// What its stack's steps end was ended by us, and so was what the ledger does not name any more.
    async fn became_unsteady(&mut self, container: &str, labels: &BTreeMap<String, String>) -> Option<InstanceId> {
        let ours = self.owner.as_deref().and_then(|owner| ours(labels, owner))?;
        if self.in_hand.get(&ours.instance.stack).is_some_and(|hand| hand.ends(container)) {
            return None;
        }
        // One that cannot be read now says so in the next pass, and its next end will count.
        let ledger = self.site.ledger.read().await.ok()?;
        let running = ledger.records.get(&ours.instance.stack).and_then(|record| record.running.as_ref());
        let recorded = running.and_then(|running| running.instances.get(&ours.instance));
        if recorded.is_none_or(|recorded| recorded.container.as_deref() != Some(container)) {
            return None;
        }
        let end = self.steadiness.ended(&ours.instance, Instant::now());
        (end == End::Second).then_some(ours.instance)
    }

    /// Says once of each that another controller writes this ledger. What an earlier run wrote is no sign of one.
    fn note_others(&mut self, ledger: &Ledger) {
        let began_at = self.began_at.get_or_insert_with(|| ledger.commit.clone());
        let Some(controller) = ledger.controller.as_ref().filter(|_| ledger.commit != *began_at) else { return };
        if *controller != self.site.identity && self.others.insert(controller.clone()) {
            tracing::warn!(controller, "another controller writes this ledger too");
            self.tell(Event::OtherController(controller.clone()));
        }
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
