//! Settles the fleet once: passes and applies, until nothing is left to do or what is left cannot be done now.

use std::collections::{BTreeMap, BTreeSet};

use tokio::sync::mpsc::{self, UnboundedSender};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::controller::hand::{Done, InHand};
use crate::controller::{Ended, Event, write};
use crate::ledger::Pushed;
use crate::model::config::Push;
use crate::name::{Digest, StackSlug};
use crate::reconcile::site::Site;
use crate::reconcile::{self, Context, Look, Pass, PassError};

/// A new deployment, the way back from it, and the end of an interrupted one make three; one more is a loop.
const MOST_ROUNDS: u32 = 4;

#[derive(Debug, Clone)]
pub struct Options {
    pub wrong_files: WrongFiles,
    /// Digests of removals that the operator allows.
    pub allowed_removals: BTreeSet<Digest>,
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
    /// Files are wrong, and so nothing was touched.
    pub refused: bool,
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
    let context = Context { allowed_removals: options.allowed_removals.clone(), ..Context::default() };
    let mut first = None;
    let mut ended: BTreeMap<StackSlug, Ended> = BTreeMap::new();
    let mut rounds: BTreeMap<StackSlug, u32> = BTreeMap::new();
    let mut given_up: BTreeSet<StackSlug> = BTreeSet::new();
    let mut looks = 0;
    loop {
        let pass = reconcile::pass(site, Look::Hosts, &context).await?;
        let refused = options.wrong_files == WrongFiles::Refuse && pass.report.has_errors();
        if refused {
            let first = first.unwrap_or_else(|| pass.clone());
            return Ok(Outcome { first, last: pass, ended, refused });
        }
        if first.is_none() && !pass.unrecorded_hosts.is_empty() && pass.desired.inventory.wrong.is_empty() {
            let written = write::first_facts(site, &pass).await?;
            tell(events, written);
            if site.ledger.read().await?.commit != pass.ledger.commit {
                continue;
            }
        }
        let _ = events.send(Event::Passed(Box::new(pass.clone())));
        let begun = begun(&pass, &given_up, &rounds, stop);
        let written = write::pass(site, &pass, &begun, &BTreeMap::new(), &BTreeSet::new()).await?;
        // What was just noted of hosts may give a place to what has none: a port is free again, a host is back.
        let is_better_known = written.as_ref().is_some_and(|written| written.hosts_changed);
        tell(events, written);
        if begun.is_empty() && is_better_known && !stop.is_cancelled() && looks < MOST_ROUNDS {
            looks += 1;
            continue;
        }
        if begun.is_empty() || stop.is_cancelled() {
            push(site, events).await;
            return Ok(Outcome { first: first.unwrap_or_else(|| pass.clone()), last: pass, ended, refused: false });
        }
        let (progress, mut reports) = mpsc::unbounded_channel();
        let mut hands = JoinSet::new();
        for (slug, hand) in &begun {
            *rounds.entry(slug.clone()).or_default() += 1;
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
        while let Some(done) = hands.join_next().await {
            let done = done.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
            let hand = &begun[&done.stack];
            let is_retried = finish(site, &read, hand, &done, events, &mut ended).await?;
            if !is_retried {
                given_up.insert(done.stack.clone());
            }
        }
        relaying.await.expect("relaying does not panic");
        first.get_or_insert(pass);
    }
}

fn begun(
    pass: &Pass,
    given_up: &BTreeSet<StackSlug>,
    rounds: &BTreeMap<StackSlug, u32>,
    stop: &CancellationToken,
) -> BTreeMap<StackSlug, InHand> {
    if stop.is_cancelled() {
        return BTreeMap::new();
    }
    let with_steps = pass.plan.stacks.iter().filter(|(_, plan)| !plan.steps.is_empty()).map(|(slug, _)| slug);
    with_steps
        .filter(|slug| !given_up.contains(*slug) && rounds.get(*slug).is_none_or(|rounds| *rounds < MOST_ROUNDS))
        .filter_map(|slug| Some((slug.clone(), InHand::of(pass, slug, stop.child_token())?)))
        .collect()
}

/// Writes how a stack ended. Says whether another round makes sense: after a success, and to go back from bad content.
async fn finish(
    site: &mut Site,
    read: &write::Read,
    hand: &InHand,
    done: &Done,
    events: &UnboundedSender<Event>,
    ended: &mut BTreeMap<StackSlug, Ended>,
) -> Result<bool, PassError> {
    for step in &hand.plan.steps {
        site.observer.forget(&step.endpoint);
    }
    let ledger = site.ledger.read().await?;
    let before = ledger.records.get(&done.stack);
    let record = hand.record(before, done);
    let newly_bad = match (&record, before) {
        (Some(after), Some(before)) => after.bad != before.bad,
        (Some(_) | None, _) => false,
    };
    let status = record.as_ref().map(|record| record.status);
    let written = write::end(site, read, done, hand, record).await?;
    tell(events, written);
    let entry = ended.entry(done.stack.clone()).or_insert_with(|| Ended {
        stack: done.stack.clone(),
        status,
        failures: Vec::new(),
    });
    entry.status = status;
    entry.failures.extend(done.applied.failures.iter().cloned());
    let _ = events.send(Event::Ended(entry.clone()));
    Ok(newly_bad || done.applied.failures.is_empty())
}

fn tell(events: &UnboundedSender<Event>, written: Option<write::Written>) {
    if let Some(written) = written {
        let _ = events.send(Event::Committed { revision: written.revision, message: written.message });
    }
}

/// Pushes the ledger; a failure is said and changes nothing else.
async fn push(site: &Site, events: &UnboundedSender<Event>) {
    if site.config.push == Push::Never {
        return;
    }
    match site.ledger.push().await {
        Ok(Pushed::NoRemote | Pushed::UpToDate | Pushed::Done) => {}
        Ok(Pushed::Behind) => {
            // What others wrote is beneath ours now, so one more try lands unless they write again.
            if let Err(error) = site.ledger.push().await {
                let _ = events.send(Event::PushFailed(chain(&error)));
            }
        }
        Err(error) => {
            let _ = events.send(Event::PushFailed(chain(&error)));
        }
    }
}

/// An error with its causes, in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
