//! Settles the fleet once: passes and applies, until nothing is left to do or what is left cannot be done now.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc::{self, UnboundedSender};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::controller::hand::{Done, InHand};
use crate::controller::notes::{Noted, Notes};
use crate::controller::tries::{Next, Tries};
use crate::controller::{Ended, Event, trigger, write};
use crate::moment::Seconds;
use crate::name::{Digest, StackSlug};
use crate::observe;
use crate::reconcile::site::Site;
use crate::reconcile::{self, Context, Look, Pass, PassError};

/// How often what was noted of hosts leads to another look, when nothing else does.
const MOST_LOOKS: u32 = 4;

#[derive(Debug, Clone)]
pub struct Options {
    pub wrong_files: WrongFiles,
    /// Digests of removals that the operator allows.
    pub allowed_removals: BTreeSet<Digest>,
    /// The plan that was reviewed: its digest, or how it begins. Another one is not begun.
    pub reviewed: Option<String>,
}

/// What to do while files of the repository are wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WrongFiles {
    /// Touch nothing.
    Refuse,
    /// Carry on with the stacks that are right.
    KeepGoing,
}

#[derive(Debug, Clone)]
pub struct Outcome {
    /// The pass whose plan was begun with.
    pub first: Pass,
    /// The pass that found nothing more to do.
    pub last: Pass,
    /// How the stacks ended that had steps; failures of all their rounds.
    pub ended: BTreeMap<StackSlug, Ended>,
    /// Why nothing was touched.
    pub refused: Option<Refused>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Files are wrong.
    WrongFiles,
    /// The plan is not the one that was reviewed: the repository or the fleet moved on.
    OtherPlan,
}

/// What is told: at once, at the end, and beside the commits that were deployed.
struct Told<'a> {
    events: &'a UnboundedSender<Event>,
    ended: BTreeMap<StackSlug, Ended>,
    noted: Vec<Noted>,
}

/// Settles the fleet.
///
/// # Errors
/// When the repository or the ledger cannot be read or written. What engines did not do is in the outcome.
pub async fn once(
    site: &mut Site,
    options: &Options,
    events: &UnboundedSender<Event>,
    stop: &CancellationToken,
) -> Result<Outcome, PassError> {
    let mut context = Context {
        allowed_removals: options.allowed_removals.clone(),
        now: Some(clock()),
        reviewed: options.reviewed.clone(),
        ..Context::default()
    };
    let mut first = None;
    let mut told = Told { events, ended: BTreeMap::new(), noted: Vec::new() };
    let mut tries = Tries::default();
    let mut looks = 0;
    let mut may_knock = true;
    loop {
        let pass = reconcile::pass(site, Look::Hosts, &context).await?;
        if std::mem::take(&mut may_knock) && pass.world.has_a_silent_engine() {
            // One that did not answer just now is asked once more: here nobody looks again in a minute.
            let answers = observe::knock(&site.engines, site.config.answer_within).await;
            if site.observer.hear(answers) {
                continue;
            }
        }
        if first.is_none() && options.wrong_files == WrongFiles::Refuse && pass.report.has_errors() {
            return Ok(Outcome {
                first: pass.clone(),
                last: pass,
                ended: told.ended,
                refused: Some(Refused::WrongFiles),
            });
        }
        if first.is_none() && !pass.unrecorded_hosts.is_empty() && pass.desired.inventory.wrong.is_empty() {
            let written = write::first_facts(site, &pass).await?;
            told.committed(written);
            if site.ledger.read().await?.commit != pass.ledger.commit {
                continue;
            }
        }
        if first.is_none()
            && let Some(reviewed) = &options.reviewed
            && !pass.plan.digest().as_str().starts_with(reviewed.as_str())
        {
            return Ok(Outcome {
                first: pass.clone(),
                last: pass,
                ended: told.ended,
                refused: Some(Refused::OtherPlan),
            });
        }
        let _ = events.send(Event::Passed(Box::new(pass.clone())));
        let begun = begun(&pass, &tries, stop);
        let written = write::pass(site, &pass, &begun, &BTreeMap::new(), &BTreeSet::new()).await?;
        // What was just noted of hosts may give a place to what has none: a port is free again, a host is back.
        let is_better_known = written.as_ref().is_some_and(|written| written.hosts_changed);
        told.committed(written);
        if begun.is_empty() && is_better_known && !stop.is_cancelled() && looks < MOST_LOOKS {
            looks += 1;
            continue;
        }
        if begun.is_empty() || stop.is_cancelled() {
            trigger::push_once(&site.ledger, site.config.push, events).await;
            // Going back may take no step at all, and then only the last pass knows that it is done.
            let ledger = site.ledger.read().await?;
            if !told.noted.is_empty() {
                let notes = Notes::of(site);
                notes.write(&told.noted).await;
                notes.pushed().await;
            }
            for (slug, ended) in &mut told.ended {
                ended.status = ledger.records.get(slug).map(|record| record.status);
            }
            return Ok(Outcome {
                first: first.unwrap_or_else(|| pass.clone()),
                last: pass,
                ended: told.ended,
                refused: None,
            });
        }
        let (progress, mut reports) = mpsc::unbounded_channel();
        let mut hands = JoinSet::new();
        for (slug, hand) in &begun {
            hands.spawn(hand.work(slug, site, progress.clone()));
        }
        drop(progress);
        let relay = events.clone();
        let relaying = tokio::spawn(async move {
            while let Some(progress) = reports.recv().await {
                let _ = relay.send(Event::Progress(progress));
            }
        });
        let read = write::Read::of(&pass);
        let begun_at = Instant::now();
        let (mut later, mut goes_back) = (BTreeMap::new(), false);
        while let Some(done) = hands.join_next().await {
            let done = done.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
            let next = finish(site, &read, &begun[&done.stack], &done, &mut told).await?;
            goes_back |= next == Next::Back;
            if let Some(pause) = tries.ended(&done.stack, next, begun_at.elapsed()) {
                later.insert(done.stack, pause);
            }
        }
        relaying.await.expect("relaying does not panic");
        // What goes back does not wait for what failed beside it.
        let pause = later.values().max().copied().filter(|_| !goes_back).unwrap_or_default();
        for stack in later.keys().filter(|_| !stop.is_cancelled()) {
            let _ = events.send(Event::TriesAgain { stack: stack.clone(), after: pause });
        }
        let _ = timeout(pause, stop.cancelled()).await;
        may_knock = !later.is_empty();
        if options.reviewed.is_some() {
            // What was pushed meanwhile was in no review.
            context.at = Some(pass.revision.clone());
        }
        first.get_or_insert(pass);
    }
}

fn begun(pass: &Pass, tries: &Tries, stop: &CancellationToken) -> BTreeMap<StackSlug, InHand> {
    if stop.is_cancelled() {
        return BTreeMap::new();
    }
    let with_steps = pass.plan.stacks.iter().filter(|(_, plan)| !plan.steps.is_empty()).map(|(slug, _)| slug);
    with_steps
        .filter(|slug| tries.may_begin(slug))
        .filter_map(|slug| Some((slug.clone(), InHand::of(pass, slug, stop.child_token())?)))
        .collect()
}

/// Writes how a stack ended. Says what makes sense then.
async fn finish(
    site: &mut Site,
    read: &write::Read,
    hand: &InHand,
    done: &Done,
    told: &mut Told<'_>,
) -> Result<Next, PassError> {
    for step in &hand.plan.steps {
        site.observer.forget(&step.endpoint);
    }
    let ledger = site.ledger.read().await?;
    let before = ledger.records.get(&done.stack);
    let record = hand.record(before, done);
    let next = Next::after(&done.applied, before, record.as_ref());
    let status = record.as_ref().map(|record| record.status);
    let written = write::end(site, read, done, hand, record).await?;
    told.committed(written);
    let entry = told.ended.entry(done.stack.clone()).or_insert_with(|| Ended {
        stack: done.stack.clone(),
        status,
        failures: Vec::new(),
    });
    entry.status = status;
    entry.failures.extend(done.applied.failures.iter().cloned());
    let _ = told.events.send(Event::Ended(entry.clone()));
    Ok(next)
}

impl Told<'_> {
    fn committed(&mut self, written: Option<write::Written>) {
        if let Some(written) = written {
            self.noted.extend(written.notes);
            let _ = self.events.send(Event::Committed { revision: written.revision, message: written.message });
        }
    }
}

/// Now. Windows and freezes open and close by the calendar.
pub fn clock() -> Seconds {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Seconds::try_from(since.as_secs()).unwrap_or(Seconds::MAX)
}
