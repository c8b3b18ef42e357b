//! Computes anew what the ledger says, and compares.
//!
//! Takes the site. Gives, stack by stack, what differs between the ledger and what placement computes from the revision and
//! the ledger commit that the ledger itself names; and, if asked, between the ledger and what hosts run.
//!
//! Never acts and never writes.
//!
//! Because placement is a pure function of a revision and one ledger commit, whoever has both can check the deployer.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::engine::EngineError;
use crate::ledger::history::{Asked, History};
use crate::ledger::{CONTROLLER, INPUTS, LedgerError, REVISION};
use crate::model::record::{Deployment, InstanceRecord, Ledger, Record};
use crate::model::request::ResolvedImage;
use crate::moment::Seconds;
use crate::name::{HostName, InstanceId, Revision, StackSlug};
use crate::plan::request::{Build, build};
use crate::plan::want::Want;
use crate::reconcile::site::Site;
use crate::reconcile::{self, Context, Known, Look, Pass, PassError};
use crate::status::history::{self, What};
use crate::status::verify::{Computed, Difference, Images, Live, of_git, of_hosts};

/// Whether hosts are asked, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    Git,
    Live,
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub struct Verified {
    /// The ledger's newest commit; none: there is no ledger.
    pub ledger: Option<Revision>,
    pub stacks: BTreeMap<StackSlug, Stack>,
}

#[derive(Debug, Clone)]
pub struct Stack {
    /// What the ledger says that was computed with; none: it does not say.
    pub origin: Option<Origin>,
    /// Against Git; none: it cannot be computed, and `why_not` says why.
    pub differences: Vec<Difference>,
    pub why_not: Option<String>,
    /// Commits of the ledger that no controller made since the stack was begun as it runs, the newest first: what they say was
    /// not decided by anybody's placement.
    pub by_hand: Vec<Revision>,
    /// Against the hosts.
    pub live: Option<Live>,
}

/// What a deployment was computed from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// The commit of the watched branch.
    pub revision: Revision,
    /// The commit of the ledger; none: there was none yet.
    pub inputs: Option<Revision>,
    /// The commit of the ledger that says so.
    pub told_by: Revision,
    /// When that was. What a window kept closed then was placed as it ran.
    pub at: Seconds,
}

impl Verified {
    pub fn differs(&self) -> bool {
        let live = |stack: &Stack| stack.live.as_ref().is_some_and(|live| !live.differences.is_empty());
        self.stacks.values().any(|stack| !stack.differences.is_empty() || !stack.by_hand.is_empty() || live(stack))
    }

    /// Whether everything that was asked about could be compared: computed from Git and, where hosts were asked, seen.
    pub fn is_whole(&self) -> bool {
        let unseen = |stack: &Stack| stack.live.as_ref().is_some_and(|live| !live.unseen.is_empty());
        self.ledger.is_some() && !self.stacks.values().any(|stack| stack.why_not.is_some() || unseen(stack))
    }
}

/// Verifies one stack, or all that the ledger says run.
///
/// # Errors
/// When the repository or the ledger cannot be read. A stack that cannot be computed is part of the answer.
pub async fn verify(site: &mut Site, only: Option<&StackSlug>, depth: Depth) -> Result<Verified, PassError> {
    let ledger = site.ledger.read().await?;
    let mut verified = Verified { ledger: ledger.commit.clone(), ..Verified::default() };
    let history = site.ledger.history(Asked::default()).await?;
    // What was begun at once was placed at once, also where only one of it is asked for.
    let mut then = BTreeMap::new();
    let mut by_origin: BTreeMap<Option<Origin>, Vec<(&StackSlug, &Record)>> = BTreeMap::new();
    for (slug, record) in &ledger.records {
        let Some(running) = &record.running else { continue };
        let origin = origin(site, &history, slug, running, &mut then).await?;
        by_origin.entry(origin).or_default().push((slug, record));
    }
    for (origin, stacks) in by_origin {
        let asked: Vec<_> = stacks.iter().filter(|(slug, _)| only.is_none_or(|only| only == *slug)).collect();
        if asked.is_empty() {
            continue;
        }
        let begun = stacks.iter().map(|(slug, _)| (*slug).clone()).collect();
        let pass = match &origin {
            Some(origin) => computed_from(site, origin, begun).await,
            None => Err("the ledger does not say what it was computed from".to_owned()),
        };
        for (slug, record) in asked {
            let stack = match (&origin, &pass) {
                (Some(origin), Ok(pass)) => of_pass(pass, slug, record, origin.clone()),
                (_, Err(why)) => Stack::unknown(origin.clone(), why.clone()),
                (None, Ok(_)) => continue,
            };
            let by_hand = by_hand(&history, slug, origin.as_ref());
            verified.stacks.insert((*slug).clone(), Stack { by_hand, ..stack });
        }
    }
    if depth == Depth::Live {
        look(site, &mut verified).await?;
    }
    Ok(verified)
}

impl Stack {
    fn unknown(origin: Option<Origin>, why: String) -> Self {
        Self { origin, differences: Vec::new(), why_not: Some(why), by_hand: Vec::new(), live: None }
    }
}

/// The newest beginning of what runs. What was healed later has been placed where it was; what was begun later and did not
/// come to run, or has not yet, made nothing of it. A revision that asks for the same content, such as a new comment, took
/// it over as it ran.
async fn origin(
    site: &Site,
    history: &History,
    slug: &StackSlug,
    running: &Deployment,
    then: &mut BTreeMap<Revision, Arc<Ledger>>,
) -> Result<Option<Origin>, LedgerError> {
    let mut became = None;
    for entry in history.entries.iter().filter(|entry| entry.stack.as_ref() == Some(slug)) {
        match entry.happened.what {
            What::Deploying => {}
            What::Runs | What::Degraded | What::Held | What::Failed | What::RolledBack => {
                became = Some(entry.happened.what);
                continue;
            }
            What::Removing | What::Removed | What::Noted | What::Measured | What::Joined | What::Unreadable => continue,
        }
        let is_of_revision = entry.happened.revision.as_ref() == Some(&running.revision);
        if is_of_revision && became == Some(What::Runs) {
            return Ok(origin_of(entry));
        }
        let ledger = match then.entry(entry.commit.clone()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(site.ledger.read_at(&entry.commit).await?),
        };
        let record = ledger.records.get(slug);
        let ran_already = record.and_then(|record| record.running.as_ref()) == Some(running);
        let is_begun =
            record.and_then(|record| record.next.as_ref()).is_some_and(|next| next.content == running.content);
        if is_begun && !ran_already {
            return Ok(origin_of(entry));
        }
    }
    Ok(None)
}

fn by_hand(history: &History, slug: &StackSlug, origin: Option<&Origin>) -> Vec<Revision> {
    let of_stack = history.entries.iter().filter(|entry| entry.stack.as_ref() == Some(slug));
    let since = of_stack.take_while(|entry| origin.is_none_or(|origin| entry.commit != origin.told_by));
    since.filter(|entry| entry.trailer(CONTROLLER).is_none()).map(|entry| entry.commit.clone()).collect()
}

fn origin_of(began: &history::Entry) -> Option<Origin> {
    Some(Origin {
        revision: Revision::new(began.trailer(REVISION)?).ok()?,
        inputs: began.trailer(INPUTS).and_then(|commit| Revision::new(commit).ok()),
        told_by: began.commit.clone(),
        at: began.at,
    })
}

async fn computed_from(site: &mut Site, origin: &Origin, open: BTreeSet<StackSlug>) -> Result<Pass, String> {
    let ledger = origin.inputs.clone().map_or(Known::Nothing, Known::Commit);
    let at = Some(origin.revision.clone());
    let context = Context { at, ledger, now: Some(origin.at), open, ..Context::default() };
    reconcile::pass(site, Look::Offline, &context).await.map_err(|error| {
        let revision = origin.revision.short();
        format!("what it was computed from cannot be read: the revision {revision} and its ledger commit: {error}")
    })
}

fn of_pass(pass: &Pass, slug: &StackSlug, record: &Record, origin: Origin) -> Stack {
    let recorded = record.running.iter().flat_map(|running| running.instances.clone()).collect();
    let Some(Want::Stack { stack, revision, .. }) = pass.wants.get(slug) else {
        let why = format!("the files of {} do not ask for it", origin.revision.short());
        return Stack::unknown(Some(origin), why);
    };
    let from = Build {
        stack,
        mapping: &pass.placement.mapping,
        inventory: &pass.desired.inventory,
        owner: &pass.owner,
        revision,
    };
    let mut computed = BTreeMap::new();
    for (id, placed) in pass.placement.mapping.iter().filter(|(id, _)| id.stack == *slug) {
        let Some(service) = stack.service(id.service.as_str()) else { continue };
        // What an image's text meant was found out then, and only the ledger remembers it.
        let unresolved = ResolvedImage::Local(service.image.to_string());
        let resolved = recorded_of(record, id).map_or(&unresolved, |record| &record.resolved);
        let Some((_, digest)) = build(&from, service, id, resolved) else { continue };
        let image = service.image.to_string();
        computed.insert(id.clone(), Computed { placed: placed.clone(), image, digest });
    }
    let differences = of_git(&recorded, &computed, record.status);
    Stack { origin: Some(origin), differences, why_not: None, by_hand: Vec::new(), live: None }
}

fn recorded_of<'a>(record: &'a Record, id: &InstanceId) -> Option<&'a InstanceRecord> {
    record.running.as_ref()?.instances.get(id)
}

/// Asks the hosts.
async fn look(site: &mut Site, verified: &mut Verified) -> Result<(), PassError> {
    let pass = reconcile::pass(site, Look::Hosts, &Context::default()).await?;
    for (slug, stack) in &mut verified.stacks {
        let running = pass.ledger.records.get(slug).and_then(|record| record.running.as_ref());
        let empty = BTreeMap::new();
        let recorded = running.map_or(&empty, |running| &running.instances);
        let images = images(site, &pass, recorded).await;
        stack.live = Some(of_hosts(slug, recorded, &pass.world, &pass.owner, &images));
    }
    Ok(())
}

/// The ids of the images that these instances name, on the hosts where they are. What an engine does not tell is absent.
async fn images(site: &Site, pass: &Pass, recorded: &BTreeMap<InstanceId, InstanceRecord>) -> Images {
    let mut wanted: BTreeSet<(HostName, String)> = BTreeSet::new();
    for record in recorded.values() {
        wanted.insert((record.host.clone(), record.image.clone()));
        wanted.insert((record.host.clone(), record.resolved.reference().to_owned()));
    }
    let asked = wanted.into_iter().filter_map(|(host, text)| {
        let engine = site.engines.get(pass.world.hosts.get(&host)?)?.clone();
        Some(async move {
            let image = engine.image(&text).await;
            ((host, text), image)
        })
    });
    let answers = futures_util::future::join_all(asked).await;
    let told = answers.into_iter().filter_map(|(key, image): (_, Result<_, EngineError>)| Some((key, image.ok()??.id)));
    told.collect()
}
