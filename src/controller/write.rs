//! What the controller writes into the ledger, and when.
//!
//! One commit when stacks begin, with what else the pass found; one when a stack ends; none when nothing changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::controller::hand::{Done, InHand};
use crate::controller::notes::{Beside, Noted};
use crate::ledger::{CONTROLLER, Change, DEPLOYED, INPUTS, LedgerError, NEVER, PLAN, REVISION};
use crate::model::config::Notes;
use crate::model::desired::Inventory;
use crate::model::record::{Ledger, Record, StackStatus};
use crate::model::stack::Stack;
use crate::name::{Digest, HostName, InstanceId, Revision, StackSlug};
use crate::plan::change::counted;
use crate::plan::want::{Want, Why};
use crate::plan::{StackPlan, brake};
use crate::reconcile::Pass;
use crate::reconcile::site::Site;
use crate::status::{self, hosts, map, note, page};

/// A commit of the ledger and its sentence.
#[derive(Debug, Clone)]
pub struct Written {
    pub revision: Revision,
    pub message: String,
    /// Whether what is known of hosts changed: placement may come out differently now.
    pub hosts_changed: bool,
    /// What is to be noted beside commits that were deployed; nothing where notes are off.
    pub notes: Vec<Noted>,
}

/// What the newest pass read: the page says who connects to whom, which the ledger does not.
#[derive(Debug, Default)]
pub struct Read {
    inventory: Inventory,
    stacks: Vec<Arc<Stack>>,
}

impl Read {
    pub fn of(pass: &Pass) -> Self {
        let stacks = pass.desired.stacks.values().chain(pass.before.values()).cloned().collect();
        Self { inventory: pass.desired.inventory.clone(), stacks }
    }
}

/// Writes what a pass found, and that these stacks begin.
pub async fn pass(
    site: &mut Site,
    pass: &Pass,
    begun: &BTreeMap<StackSlug, InHand>,
    in_hand: &BTreeMap<StackSlug, InHand>,
    lost: &BTreeSet<HostName>,
) -> Result<Option<Written>, LedgerError> {
    site.ledger.clear_locks().await?;
    let ledger = site.ledger.read().await?;
    let mut records: BTreeMap<StackSlug, Option<Record>> = BTreeMap::new();
    let empty = Arc::default();
    let is_as_read = ledger.commit == pass.ledger.commit;
    for (slug, want) in &pass.wants {
        if in_hand.contains_key(slug) {
            continue;
        }
        let before = ledger.records.get(slug);
        let plan = pass.plan.stacks.get(slug).unwrap_or(&empty);
        let input = status::Input {
            before,
            want,
            plan,
            inventory: &pass.desired.inventory,
            owner: &pass.owner,
            world: &pass.world,
            applied: None,
        };
        let has_steps = !plan.steps.is_empty();
        if is_as_read && !has_steps && site.memo.is_settled(slug, plan) {
            debug_assert_eq!(status::end(&input).as_ref(), before, "{slug} is settled");
            continue;
        }
        let after = match (begun.contains_key(slug), has_steps) {
            (true, _) => status::begin(&input),
            // It waits for its turn: what is recorded stays.
            (false, true) => continue,
            (false, false) => status::end(&input),
        };
        if after.as_ref() != before {
            records.insert(slug.clone(), after);
        } else if is_as_read && !has_steps {
            site.memo.settle(slug, plan);
        }
    }
    accept(&ledger, &pass.accepted, &mut records);
    let hosts = hosts::records(&hosts::Input {
        inventory: &pass.desired.inventory,
        world: &pass.world,
        ledger: &ledger,
        records: &ledger.records,
        changed: &records,
        owner: &pass.owner,
        used: &site.used,
        lost,
        lost_volumes: &pass.lost_volumes,
    });
    let hosts_changed = hosts != ledger.hosts && pass.desired.inventory.wrong.is_empty();
    if records.is_empty() && !hosts_changed {
        return Ok(None);
    }
    let message = pass_message(pass, begun, &records, hosts_changed);
    let result = if begun.is_empty() { "noted" } else { "deploying" };
    let digest = (!begun.is_empty()).then(|| pass.plan.digest());
    // What a record says now runs may be of a newer revision without a step: only a comment changed.
    let runs_anew = |(slug, after): (&StackSlug, &Option<Record>)| {
        let before = ledger.records.get(slug).and_then(|record| record.running.as_ref());
        let after = after.as_ref().and_then(|record| record.running.as_ref());
        before.map(|running| &running.revision) != after.map(|running| &running.revision)
    };
    let is_deployed = !begun.is_empty() || records.iter().any(runs_anew);
    let deployed = if is_deployed { Some(pass.revision.clone()) } else { ledger.head.clone() };
    // The world is about to change, and the first step waits for this commit: the page is drawn when the stacks have ended.
    let page =
        begun.is_empty().then(|| page_after(&Read::of(pass), &ledger, &records, hosts_changed.then_some(&hosts)));
    let change = Change {
        owner: pass.owner.clone(),
        page,
        records,
        hosts: hosts_changed.then_some(hosts),
        message: message.clone(),
        trailers: trailers(
            site,
            &pass.revision,
            deployed.as_ref(),
            digest.as_ref(),
            result,
            pass.ledger.commit.as_ref(),
        ),
    };
    let notes = notes_of_pass(site, pass, &ledger, &change.records);
    let revision = site.ledger.commit(change).await?;
    Ok(revision.map(|revision| Written { revision, message, hosts_changed, notes }))
}

/// Notes what a human allowed to go, for all stacks at once: when the first of it is gone, the digest that allowed it is
/// that of nothing any more.
fn accept(ledger: &Ledger, accepted: &BTreeSet<InstanceId>, records: &mut BTreeMap<StackSlug, Option<Record>>) {
    let known = brake::accepted(ledger);
    for id in accepted.difference(&known) {
        let Some(before) = ledger.records.get(&id.stack) else { continue };
        if let Some(record) = records.entry(id.stack.clone()).or_insert_with(|| Some(before.clone())) {
            record.accepted.insert(id.clone());
        }
    }
}

/// Writes what was measured on hosts that the ledger does not know, before anything is placed on them.
pub async fn first_facts(site: &Site, pass: &Pass) -> Result<Option<Written>, LedgerError> {
    let ledger = site.ledger.read().await?;
    let mut hosts = ledger.hosts.clone();
    let new =
        pass.unrecorded_hosts.iter().filter_map(|name| Some((name.clone(), pass.ledger.hosts.get(name)?.clone())));
    hosts.extend(new);
    let names: Vec<&str> = pass.unrecorded_hosts.iter().map(HostName::as_str).collect();
    let message = format!("Measured {}", names.join(", "));
    let change = Change {
        owner: pass.owner.clone(),
        page: Some(page_after(&Read::of(pass), &ledger, &BTreeMap::new(), Some(&hosts))),
        records: BTreeMap::new(),
        hosts: Some(hosts),
        message: message.clone(),
        trailers: trailers(site, &pass.revision, ledger.head.as_ref(), None, "noted", ledger.commit.as_ref()),
    };
    let revision = site.ledger.commit(change).await?;
    Ok(revision.map(|revision| Written { revision, message, hosts_changed: true, notes: Vec::new() }))
}

/// Writes how a stack ended.
pub async fn end(
    site: &Site,
    read: &Read,
    done: &Done,
    hand: &InHand,
    record: Option<Record>,
) -> Result<Option<Written>, LedgerError> {
    let ledger = site.ledger.read().await?;
    let message = end_message(&done.stack, hand, record.as_ref());
    let result = record.as_ref().map_or("removed", |record| record.status.as_str());
    let notes = match site.config.notes {
        Notes::On => vec![note_of_end(&done.stack, hand, record.as_ref())],
        Notes::Off => Vec::new(),
    };
    let records = BTreeMap::from([(done.stack.clone(), record)]);
    let hosts = hosts::with_new_volumes(&ledger.hosts, &done.world, &hand.owner);
    let hosts = Some(hosts).filter(|hosts| hosts != &ledger.hosts);
    // Something newer may have been begun meanwhile.
    let deployed = ledger.head.as_ref().or(Some(&hand.revision));
    let change = Change {
        owner: hand.owner.clone(),
        page: Some(page_after(read, &ledger, &records, hosts.as_ref())),
        records,
        hosts,
        message: message.clone(),
        trailers: trailers(site, &hand.revision, deployed, None, result, ledger.commit.as_ref()),
    };
    let revision = site.ledger.commit(change).await?;
    Ok(revision.map(|revision| Written { revision, message, hosts_changed: false, notes }))
}

/// That a stack is back at what ran before, where that took no step: what has steps says so when it ends.
fn notes_of_pass(
    site: &Site,
    pass: &Pass,
    ledger: &Ledger,
    records: &BTreeMap<StackSlug, Option<Record>>,
) -> Vec<Noted> {
    if site.config.notes == Notes::Off {
        return Vec::new();
    }
    let is_back = |record: &Record| record.status == StackStatus::RolledBack;
    let back = records.iter().filter_map(|(slug, record)| Some((slug, record.as_ref().filter(|r| is_back(r))?)));
    back.filter(|(slug, _)| !ledger.records.get(*slug).is_some_and(is_back))
        .map(|(slug, record)| Noted {
            stack: slug.clone(),
            result: note::note(Some(record)),
            beside: last_change(&pass.revision, record),
        })
        .collect()
}

fn note_of_end(slug: &StackSlug, hand: &InHand, record: Option<&Record>) -> Noted {
    let beside = match (&hand.want, record) {
        (Want::Stack { why: Why::BadContent(_) | Why::LeftForALook(_), .. }, Some(record)) => {
            last_change(&hand.revision, record)
        }
        (Want::Stack { revision, .. }, _) => Beside::Commit(revision.clone()),
        (Want::Nothing { .. } | Want::Keep { .. }, _) => Beside::Commit(hand.revision.clone()),
    };
    Noted { stack: slug.clone(), result: note::note(record), beside }
}

/// What failed is what the head asks for, and not what the record says runs.
fn last_change(head: &Revision, record: &Record) -> Beside {
    let files = record.running.iter().flat_map(|running| &running.files).map(|path| path.as_str().into());
    Beside::LastChange { head: head.clone(), files: files.collect() }
}

fn all_records(ledger: &Ledger, changed: &BTreeMap<StackSlug, Option<Record>>) -> BTreeMap<StackSlug, Record> {
    let mut records = ledger.records.clone();
    for (slug, record) in changed {
        match record {
            Some(record) => records.insert(slug.clone(), record.clone()),
            None => records.remove(slug),
        };
    }
    records
}

fn page_after(
    read: &Read,
    ledger: &Ledger,
    records: &BTreeMap<StackSlug, Option<Record>>,
    hosts: Option<&BTreeMap<HostName, crate::model::record::HostRecord>>,
) -> String {
    let after = Ledger {
        commit: None,
        head: None,
        controller: None,
        owner: ledger.owner.clone(),
        records: all_records(ledger, records),
        hosts: hosts.unwrap_or(&ledger.hosts).clone(),
    };
    // A long page does not show who connects to whom.
    let stacks = if after.records.len() > page::MOST_DETAILED { &[] } else { read.stacks.as_slice() };
    page::of_map(&map::map(&map::Input { ledger: &after, inventory: Some(&read.inventory), stacks }))
}

fn trailers(
    site: &Site,
    head: &Revision,
    deployed: Option<&Revision>,
    plan: Option<&Digest>,
    result: &str,
    inputs: Option<&Revision>,
) -> Vec<(String, String)> {
    let mut trailers = vec![(REVISION.to_owned(), head.to_string()), (CONTROLLER.to_owned(), site.identity.clone())];
    let deployed = deployed.map_or(NEVER.to_owned(), ToString::to_string);
    trailers.push((DEPLOYED.to_owned(), deployed));
    trailers.extend(plan.map(|digest| (PLAN.to_owned(), digest.to_string())));
    trailers.push(("Bayplan-Result".to_owned(), result.to_owned()));
    trailers.extend(inputs.map(|inputs| (INPUTS.to_owned(), inputs.to_string())));
    trailers
}

fn pass_message(
    pass: &Pass,
    begun: &BTreeMap<StackSlug, InHand>,
    records: &BTreeMap<StackSlug, Option<Record>>,
    hosts_changed: bool,
) -> String {
    if !begun.is_empty() {
        let stacks: Vec<String> = begun
            .iter()
            .map(|(slug, hand)| match &hand.want {
                Want::Stack { revision, .. } => format!("{slug} at {}: {}", revision.short(), counts(&hand.plan)),
                Want::Nothing { .. } | Want::Keep { .. } => format!("{slug}: {}", counts(&hand.plan)),
            })
            .collect();
        return shortened("Deploying ", &stacks, "; ");
    }
    let changed: Vec<String> = records
        .iter()
        .map(|(slug, record)| format!("{slug} {}", record.as_ref().map_or("removed", |r| r.status.as_str())))
        .collect();
    if !changed.is_empty() {
        return shortened("Noted: ", &changed, ", ");
    }
    debug_assert!(hosts_changed, "a commit without changes is not made");
    let silent: Vec<&str> = pass
        .world
        .hosts
        .keys()
        .filter(|host| matches!(pass.world.host(host), crate::model::world::HostView::Unreachable(_)))
        .map(HostName::as_str)
        .collect();
    if silent.is_empty() { "Hosts measured again".to_owned() } else { format!("Not reachable: {}", silent.join(", ")) }
}

/// The subject of a commit is read in lists: beyond this it only counts.
const MOST_NAMED: usize = 3;

fn shortened(lead: &str, parts: &[String], between: &str) -> String {
    let named = parts.iter().take(MOST_NAMED).cloned().collect::<Vec<_>>().join(between);
    match parts.len().checked_sub(MOST_NAMED) {
        Some(more) if more > 0 => format!("{lead}{named}{between}and {more} more"),
        Some(_) | None => format!("{lead}{named}"),
    }
}

fn counts(plan: &StackPlan) -> String {
    let counted = counted(plan.changes.iter());
    if counted.is_empty() { "tidying up".to_owned() } else { counted }
}

fn end_message(slug: &StackSlug, hand: &InHand, record: Option<&Record>) -> String {
    let Some(record) = record else { return format!("{slug} removed") };
    let reason = || {
        let said = record.conditions.iter().find(|c| c.name == "failed").or(record.conditions.first());
        said.map_or(String::new(), |condition| format!(": {}", condition.message))
    };
    let revision = match &hand.want {
        Want::Stack { revision, .. } => format!(" at {}", revision.short()),
        Want::Nothing { .. } | Want::Keep { .. } => String::new(),
    };
    match record.status {
        StackStatus::Running => format!("{slug} runs{revision}"),
        StackStatus::RolledBack => format!("{slug} rolled back, runs{revision}"),
        StackStatus::Deploying => format!("{slug} interrupted, and goes on in the next pass"),
        StackStatus::Degraded => format!("{slug} degraded{}", reason()),
        StackStatus::Held => format!("{slug} held{}", reason()),
        StackStatus::Failed => format!("{slug} failed{}", reason()),
    }
}
