//! Says what became of a stack, as the ledger shall remember it.
//!
//! Takes the record before, the plan, what became of its steps, and a look at the world afterwards. Gives the record.
//!
//! Never says that something runs which was not seen to run, and holds no clock readings: a fleet at rest changes no
//! record.

pub mod blame;
pub mod history;
pub mod hosts;
pub mod map;
pub mod note;
pub mod page;
pub mod verify;

use std::collections::{BTreeMap, BTreeSet};

use crate::model::desired::Inventory;
use crate::model::host::HostStatus;
use crate::model::record::{
    ActionDone, BadMark, Condition, Deployment, InstanceHealth, InstanceRecord, Record, StackStatus, Tried,
};
use crate::model::request::LABEL_DIGEST;
use crate::model::stack::{OnFailure, Stack};
use crate::model::world::{ContainerSeen, EngineView, Health, HostView, State, Unsteady, World};
use crate::name::{HostName, InstanceId, Revision};
use crate::plan::change::Bucket;
use crate::plan::hold::Hold;
use crate::plan::outcome::{Applied, Failure, Verdict};
use crate::plan::step::Act;
use crate::plan::superseded::{self, Superseded};
use crate::plan::want::{Gone, Want, Why};
use crate::plan::{Planned, StackPlan};
use crate::secret;

/// More marks of bad content than anybody reverts to.
const MOST_BAD_MARKS: usize = 32;

/// The reason of a condition, by which it is found again.
const KEEPS_ENDING: &str = "keeps-ending";

/// What a record is made from.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    pub before: Option<&'a Record>,
    pub want: &'a Want,
    pub plan: &'a StackPlan,
    pub inventory: &'a Inventory,
    pub owner: &'a str,
    /// As seen after the steps, or in the pass if there were none.
    pub world: &'a World,
    /// None: there were no steps.
    pub applied: Option<&'a Applied>,
}

/// The reason of a condition that a passing failure leaves.
const TRANSIENT: &str = "transient";

/// Whether what failed last may succeed when it is tried again.
pub fn may_pass(record: &Record) -> bool {
    record.conditions.iter().any(|condition| condition.reason == TRANSIENT)
}

/// The record while the steps are under way: what is begun stands beside what ran.
pub fn begin(input: &Input<'_>) -> Option<Record> {
    let mut record = base(input)?;
    record.status = StackStatus::Deploying;
    record.conditions = conditions(input);
    // What an earlier try of the same content said counts when this one says the same.
    let tried = input.before.and_then(|record| record.next.as_ref()).map(|next| &next.content);
    if tried.is_some() && tried == input.want.stack().map(|stack| &stack.content) {
        let said = input.before.into_iter().flat_map(|record| &record.conditions);
        record.conditions.extend(said.filter(|condition| condition.reason == TRANSIENT).cloned());
    }
    record.next = match input.want {
        Want::Stack { stack, revision, .. } => Some(deployment(input, stack, revision)),
        Want::Keep { .. } | Want::Nothing { .. } => None,
    };
    Some(record)
}

/// The record when the steps have ended, or when there were none. `None`: nothing of the stack is left to remember.
pub fn end(input: &Input<'_>) -> Option<Record> {
    let mut record = base(input)?;
    record.conditions = conditions(input);
    match input.want {
        Want::Keep { .. } => {
            refresh(input, &mut record);
            record.status = StackStatus::Held;
        }
        Want::Nothing { why, .. } => return gone(input, record, why),
        Want::Stack { stack, revision, why } => {
            wanted(input, &mut record, stack, revision, why);
            forget_accepted(input, &mut record, stack);
        }
    }
    Some(record)
}

/// What was allowed to go and has gone, or is wanted again where it may be, would be removed without a word later.
fn forget_accepted(input: &Input<'_>, record: &mut Record, stack: &Stack) {
    let deployments: Vec<&Deployment> = record.running.iter().chain(&record.next).collect();
    let still_goes = |id: &InstanceId| {
        let is_asked_for =
            stack.service(id.service.as_str()).is_some_and(|service| (1..=service.replicas).contains(&id.number));
        let host_left =
            |host: &HostName| input.inventory.hosts.get(host).is_none_or(|host| host.status == HostStatus::Left);
        let mut recorded = deployments.iter().filter_map(|deployment| deployment.instances.get(id));
        recorded.any(|instance| !is_asked_for || host_left(&instance.host))
    };
    let accepted = record.accepted.iter().filter(|id| still_goes(id)).cloned().collect();
    record.accepted = accepted;
}

fn base(input: &Input<'_>) -> Option<Record> {
    if let Some(before) = input.before {
        let mut record = before.clone();
        if let Want::Stack { stack, .. } = input.want {
            record.name = stack.name.clone();
        }
        return Some(record);
    }
    let name = match input.want {
        Want::Stack { stack, .. } => stack.name.clone(),
        Want::Keep { .. } => return None,
        Want::Nothing { name, .. } => name.clone(),
    };
    Some(Record {
        name,
        status: StackStatus::Deploying,
        running: None,
        next: None,
        bad: BTreeMap::new(),
        actions: BTreeSet::new(),
        accepted: BTreeSet::new(),
        superseded: Superseded::new(),
        conditions: Vec::new(),
    })
}

fn gone(input: &Input<'_>, mut record: Record, why: &Gone) -> Option<Record> {
    let failed = input.applied.is_some_and(|applied| !applied.failures.is_empty());
    let held = input.plan.holds.iter().any(Hold::holds_the_stack);
    let stopped = input.applied.is_some_and(|applied| applied.stopped);
    if failed || held || stopped {
        record.status = match (held, failed) {
            (true, _) => StackStatus::Held,
            (false, true) => StackStatus::Failed,
            (false, false) => StackStatus::Deploying,
        };
        let failure = input.applied.and_then(|applied| applied.failures.first());
        record.conditions.extend(failure.map(failed_in_passing));
        refresh(input, &mut record);
        return Some(record);
    }
    match why {
        Gone::NotAskedFor => None,
        Gone::BadContent(_) => {
            record.status = StackStatus::Failed;
            record.next = None;
            Some(record)
        }
    }
}

fn wanted(input: &Input<'_>, record: &mut Record, stack: &Stack, revision: &Revision, why: &Why) {
    record.actions.extend(actions_done(input));
    let mut now = deployment(input, stack, revision);
    let failures: &[Failure] = input.applied.map_or(&[], |applied| &applied.failures);
    let is_new = record.running.as_ref().is_none_or(|running| running.content != stack.content);
    let held = input.plan.holds.iter().any(Hold::holds_the_stack);
    let failure = failures.iter().find(|f| is_bad(input, f) && !ended_meanwhile(input, f, &now));
    let failure = failure.map(|f| bad_mark(stack, reason_of(f), f.instance.as_ref()));
    // A container may have ended between its last probe and this look.
    let fell = input.applied.and_then(|applied| fallen(input, stack, applied, &now));
    // Whatever else failed may be why it does not run; that it could not be given its name because it had ended is not.
    let is_of = |failure: &Failure, id: &InstanceId| {
        failure.instance.as_ref() == Some(id) && !input.plan.steps[failure.step].act.can_blame_content()
    };
    let fell = fell.filter(|(id, _)| failures.iter().all(|failure| is_of(failure, id))).map(|(_, mark)| mark);
    if let Some(mark) = failure.or(fell) {
        let reason = mark.reason.clone();
        if is_new {
            mark_bad(input, record, stack, mark);
            record.next = None;
            record.status = StackStatus::Failed;
        } else {
            record.status = StackStatus::Degraded;
        }
        record.conditions.push(Condition {
            name: "failed".to_owned(),
            reason: "bad-content".to_owned(),
            message: reason,
        });
        refresh(input, record);
        return;
    }
    if let Some(failure) = failures.first() {
        record.status = if record.running.is_some() { StackStatus::Degraded } else { StackStatus::Failed };
        record.conditions.push(failed_in_passing(failure));
        refresh(input, record);
        return;
    }
    if input.applied.is_some_and(|applied| applied.stopped) {
        record.status = StackStatus::Deploying;
        return;
    }
    // A new content of which nothing is there was not touched: what ran is what runs.
    let begun = now.instances.values().any(|instance| instance.container.is_some());
    if held && is_new && !begun {
        record.status = StackStatus::Held;
        record.next = None;
        refresh(input, record);
        forget_removed(record, stack);
        return;
    }
    // One that was begun and is held before its end goes on from there.
    let waits = input.plan.holds.iter().any(Hold::holds_whole);
    if waits && (is_new || record.next.is_some()) {
        record.status = StackStatus::Held;
        refresh(input, record);
        return;
    }
    let healths: BTreeSet<InstanceHealth> = now.instances.values().map(|instance| instance.health).collect();
    let unsteady = now.instances.keys().any(|id| input.world.unsteady.contains_key(id));
    let sick = healths.iter().any(|health| match health {
        InstanceHealth::Unhealthy | InstanceHealth::Stopped => true,
        InstanceHealth::Healthy | InstanceHealth::Starting | InstanceHealth::Completed | InstanceHealth::Unknown => {
            false
        }
    });
    record.status = match why {
        _ if held => StackStatus::Held,
        _ if sick || unsteady || healths.contains(&InstanceHealth::Unknown) => StackStatus::Degraded,
        Why::BadContent(_) => StackStatus::RolledBack,
        Why::Head | Why::WrongAtHead | Why::MayBeIn(_) | Why::Closed(_) | Why::LeftForALook(_) => StackStatus::Running,
    };
    record.superseded = still_superseded(input, record);
    let left_alone = left_alone(input, record, stack, &now);
    now.instances.extend(left_alone);
    record.running = Some(now);
    record.next = None;
}

/// The superseded images that were not removed.
fn still_superseded(input: &Input<'_>, record: &Record) -> Superseded {
    let mut superseded = superseded::after(record, input.plan);
    for index in input.applied.into_iter().flat_map(|applied| &applied.done) {
        let step = &input.plan.steps[*index];
        let Act::RemoveImage { reference } = &step.act else { continue };
        if let Some(images) = superseded.get_mut(&step.host) {
            images.retain(|image| image != reference);
        }
    }
    superseded.retain(|_, images| !images.is_empty());
    superseded
}

/// What nothing asks for and was seen to be gone.
fn forget_removed(record: &mut Record, stack: &Stack) {
    let is_asked_for =
        |id: &InstanceId| stack.service(id.service.as_str()).is_some_and(|service| id.number <= service.replicas);
    if let Some(running) = &mut record.running {
        running.instances.retain(|id, instance| {
            is_asked_for(id) || instance.health != InstanceHealth::Stopped || instance.container.is_some()
        });
    }
}

/// Recorded instances that a hold leaves as they are: those that nothing asks for and that the brake or a silent host
/// keeps, and those of which what is wanted does not exist. Forgotten, they would be made again elsewhere, or go without a word.
fn left_alone(
    input: &Input<'_>,
    record: &Record,
    stack: &Stack,
    now: &Deployment,
) -> BTreeMap<InstanceId, InstanceRecord> {
    let is_held = |id: &InstanceId| input.plan.holds.iter().any(|hold| hold.instance() == Some(id));
    let held = input.plan.holds.iter().any(Hold::holds_the_stack);
    let is_asked_for =
        |id: &InstanceId| stack.service(id.service.as_str()).is_some_and(|service| id.number <= service.replicas);
    let is_there = |id: &InstanceId| now.instances.get(id).is_some_and(|instance| instance.container.is_some());
    let is_left = |id: &InstanceId| (is_held(id) || (held && is_asked_for(id))) && !is_there(id);
    let running = record.running.iter().flat_map(|running| &running.instances);
    let mut waiting: BTreeMap<_, _> =
        running.filter(|(id, _)| is_left(id)).map(|(id, instance)| (id.clone(), instance.clone())).collect();
    // After the steps only the hosts that had some were looked at.
    for (id, instance) in waiting.iter_mut().filter(|(_, instance)| input.world.hosts.contains_key(&instance.host)) {
        let service = stack.service(id.service.as_str());
        let may_complete = instance.health == InstanceHealth::Completed
            || service.is_some_and(|service| service.restart.may_complete());
        look(input, id, instance, may_complete);
    }
    waiting
}

fn bad_mark(stack: &Stack, reason: String, instance: Option<&InstanceId>) -> BadMark {
    let service = instance.and_then(|id| stack.service(id.service.as_str()));
    // What failed for no service is undone.
    BadMark { reason, on_failure: service.map_or(OnFailure::Rollback, |service| service.update.on_failure) }
}

fn mark_bad(input: &Input<'_>, record: &mut Record, stack: &Stack, mark: BadMark) {
    let placed = input.plan.instances.values().map(|planned| &planned.placed.host);
    let hosts = placed.filter_map(|name| Some((name.clone(), input.inventory.hosts.get(name)?.digest()))).collect();
    while record.bad.len() >= MOST_BAD_MARKS {
        record.bad.pop_first();
    }
    record.bad.insert(Tried { content: stack.content.clone(), hosts }, mark);
}

fn failed_in_passing(failure: &Failure) -> Condition {
    Condition { name: "failed".to_owned(), reason: TRANSIENT.to_owned(), message: reason_of(failure) }
}

fn reason_of(failure: &Failure) -> String {
    match &failure.instance {
        Some(instance) => format!("{instance} on {}: {}: {}", failure.host, failure.what, failure.why),
        None => format!("{}: {}: {}", failure.host, failure.what, failure.why),
    }
}

/// Whether a failure is said of the content. What an engine may be wrong about once it has said before, in the same words.
fn is_bad(input: &Input<'_>, failure: &Failure) -> bool {
    let said = || input.before.into_iter().flat_map(|record| &record.conditions);
    match failure.verdict {
        Verdict::BadContent => true,
        // The container is called by its name first, and then by its id.
        Verdict::Stubborn => failure.instance.as_ref().is_some_and(|id| {
            let is_of = |message: &str| message.starts_with(&format!("{id} ")) && message.ends_with(&failure.why);
            said().any(|condition| is_of(&condition.message))
        }),
        Verdict::Transient => false,
    }
}

/// Whether another instance, which ran when the plan was made and was to go on, has ended: somebody stopped it, and what fails
/// beside it may fail for that. The next plan starts it, and then that is no excuse any more.
fn ended_meanwhile(input: &Input<'_>, failure: &Failure, now: &Deployment) -> bool {
    input.plan.changes.iter().any(|change| {
        let goes_on = match change.bucket {
            Bucket::Keep | Bucket::TakeName | Bucket::RunAction => true,
            Bucket::Create | Bucket::Replace | Bucket::Move | Bucket::Start | Bucket::Remove => false,
        };
        let health = now.instances.get(&change.instance).map(|instance| instance.health);
        goes_on && health == Some(InstanceHealth::Stopped) && failure.instance.as_ref() != Some(&change.instance)
    })
}

/// An instance that was brought up and does not run any more.
fn fallen<'a>(
    input: &Input<'a>,
    stack: &Stack,
    applied: &Applied,
    now: &Deployment,
) -> Option<(&'a InstanceId, BadMark)> {
    let brought_up = applied.done.iter().filter_map(|index| match &input.plan.steps[*index].act {
        Act::Start { .. } => input.plan.steps[*index].instance.as_ref(),
        Act::Pull { .. }
        | Act::CreateNetwork(_)
        | Act::CreateVolume(_)
        | Act::Create(_)
        | Act::AwaitHealthy { .. }
        | Act::RunAction(_)
        | Act::TakeName { .. }
        | Act::GiveUpName { .. }
        | Act::Stop { .. }
        | Act::Remove { .. }
        | Act::Rename { .. }
        | Act::RemoveNetwork { .. }
        | Act::RemoveImage { .. } => None,
    });
    brought_up.filter_map(|id| now.instances.get(id).map(|record| (id, record))).find_map(|(id, record)| {
        let down = record.health == InstanceHealth::Stopped;
        let reason = || format!("{id} on {} ended right after it was started", record.host);
        down.then(|| (id, bad_mark(stack, reason(), Some(id))))
    })
}

fn actions_done(input: &Input<'_>) -> Vec<ActionDone> {
    let done = input.applied.map(|applied| &applied.done);
    let steps = done.into_iter().flatten().map(|index| &input.plan.steps[*index].act);
    steps
        .filter_map(|act| {
            let Act::RunAction(action) = act else { return None };
            Some(ActionDone {
                service: action.service.clone(),
                action: action.action.clone(),
                digest: action.digest.clone(),
            })
        })
        .collect()
}

fn deployment(input: &Input<'_>, stack: &Stack, revision: &Revision) -> Deployment {
    let instances = input.plan.instances.iter();
    Deployment {
        revision: revision.clone(),
        content: stack.content.clone(),
        files: stack.files.iter().map(ToString::to_string).collect(),
        placement: stack.placement,
        datacenter: stack.datacenter.clone(),
        instances: instances
            .filter_map(|(id, planned)| Some((id.clone(), instance(input, stack, id, planned)?)))
            .collect(),
    }
}

fn instance(input: &Input<'_>, stack: &Stack, id: &InstanceId, planned: &Planned) -> Option<InstanceRecord> {
    let host = input.inventory.hosts.get(&planned.placed.host)?;
    let mut record = InstanceRecord {
        host: host.name.clone(),
        address: host.ip_address,
        container: None,
        image: planned.image.clone(),
        resolved: planned.resolved.clone(),
        digest: planned.digest.clone(),
        ports: planned.placed.ports.clone(),
        health: InstanceHealth::Unknown,
        reason: planned.placed.why.clone(),
    };
    let may_complete = stack.service(id.service.as_str()).is_some_and(|service| service.restart.may_complete());
    let recorded = input.before.and_then(|r| r.running.as_ref()).and_then(|running| running.instances.get(id));
    // Once it is there, "it stays" is no news: the ledger keeps saying why it came.
    if let Some(recorded) = recorded.filter(|recorded| recorded.host == record.host) {
        record.reason = recorded.reason.clone();
    }
    look(input, id, &mut record, may_complete);
    if record.health == InstanceHealth::Unknown {
        record.container = recorded.filter(|r| r.digest == record.digest).and_then(|r| r.container.clone());
    }
    Some(record)
}

/// Updates the health of what ran before from what was seen.
fn refresh(input: &Input<'_>, record: &mut Record) {
    let stack = input.want.stack().cloned();
    let Some(running) = &mut record.running else { return };
    for (id, instance) in &mut running.instances {
        let service = stack.as_ref().and_then(|stack| stack.service(id.service.as_str()));
        let completed = instance.health == InstanceHealth::Completed;
        let may_complete = completed || service.is_some_and(|service| service.restart.may_complete());
        look(input, id, instance, may_complete);
    }
}

fn look(input: &Input<'_>, id: &InstanceId, record: &mut InstanceRecord, may_complete: bool) {
    let HostView::Seen(_) = input.world.host(&record.host) else {
        record.health = InstanceHealth::Unknown;
        return;
    };
    // Reading all labels costs more than comparing one, and most containers are others.
    let has_digest = |container: &&ContainerSeen| {
        container.labels.get(LABEL_DIGEST).map(String::as_str) == Some(record.digest.as_str())
    };
    let found = containers(input, &record.host).filter(has_digest).find(|container| {
        container
            .ours(input.owner)
            .is_some_and(|ours| &ours.instance == id && ours.digest == record.digest && ours.host == record.host)
    });
    record.container = found.map(|container| container.id.clone());
    record.health = match found.map(|container| (container, health(container, may_complete))) {
        None => InstanceHealth::Stopped,
        Some((container, InstanceHealth::Starting)) if is_proven(input, id, container) => InstanceHealth::Healthy,
        Some((container, InstanceHealth::Completed)) if was_stopped(input, id, container) => InstanceHealth::Stopped,
        Some((_, health)) => health,
    };
}

/// Whether one that ended with 0 was stopped to make room for another, and has not completed.
fn was_stopped(input: &Input<'_>, id: &InstanceId, container: &ContainerSeen) -> bool {
    let done = input.applied.into_iter().flat_map(|applied| &applied.done).map(|index| &input.plan.steps[*index].act);
    let mut stops = done.filter(|act| matches!(act, Act::Stop { container: stopped, .. } if *stopped == container.id));
    let running = input.before.and_then(|record| record.running.as_ref());
    let recorded = running.and_then(|running| running.instances.get(id));
    let was = recorded.filter(|r| r.container.as_deref() == Some(container.id.as_str())).map(|r| r.health);
    stops.next().is_some() || (was == Some(InstanceHealth::Stopped) && is_beside_another(input, id, container))
}

fn is_beside_another(input: &Input<'_>, id: &InstanceId, container: &ContainerSeen) -> bool {
    input.world.engines.values().any(|view| match view {
        EngineView::Seen(seen) => seen
            .containers
            .iter()
            .any(|other| other.id != container.id && other.ours(input.owner).is_some_and(|ours| &ours.instance == id)),
        EngineView::Unreachable(_) => false,
    })
}

/// Whether a container was found healthy by our own questions, though its engine has not yet asked its first.
fn is_proven(input: &Input<'_>, id: &InstanceId, container: &ContainerSeen) -> bool {
    let running = input.before.and_then(|record| record.running.as_ref());
    let recorded = running.and_then(|running| running.instances.get(id));
    let is_recorded = recorded
        .is_some_and(|r| r.health == InstanceHealth::Healthy && r.container.as_deref() == Some(container.id.as_str()));
    let mut done = input.applied.into_iter().flat_map(|applied| &applied.done).map(|index| &input.plan.steps[*index]);
    is_recorded || done.any(|step| step.instance.as_ref() == Some(id) && matches!(step.act, Act::AwaitHealthy { .. }))
}

fn containers<'a>(input: &Input<'a>, host: &HostName) -> impl Iterator<Item = &'a ContainerSeen> {
    let view = input.world.hosts.get(host).and_then(|endpoint| input.world.engines.get(endpoint));
    let seen = match view {
        Some(EngineView::Seen(seen)) => Some(seen),
        Some(EngineView::Unreachable(_)) | None => None,
    };
    seen.into_iter().flat_map(|seen| &seen.containers)
}

/// What a container's state means for those who use it.
pub fn health(container: &ContainerSeen, may_complete: bool) -> InstanceHealth {
    match (container.state, container.health) {
        (State::Running, Health::Unchecked | Health::Healthy) => InstanceHealth::Healthy,
        (State::Running, Health::Starting) => InstanceHealth::Starting,
        (State::Running, Health::Unhealthy) | (State::Restarting | State::Paused, _) => InstanceHealth::Unhealthy,
        (State::Exited { code: 0 }, _) if may_complete => InstanceHealth::Completed,
        (State::Created | State::Exited { .. } | State::Removing | State::Dead, _) => InstanceHealth::Stopped,
    }
}

fn conditions(input: &Input<'_>) -> Vec<Condition> {
    let mut conditions: Vec<Condition> = input
        .plan
        .holds
        .iter()
        .map(|hold| Condition {
            name: if hold.holds_the_stack() { "held".to_owned() } else { "kept".to_owned() },
            reason: hold.name().to_owned(),
            message: hold.to_string(),
        })
        .collect();
    let of_stack = input.world.unsteady.iter().filter(|(id, _)| input.plan.instances.contains_key(*id));
    conditions.extend(of_stack.map(|(id, unsteady)| keeps_ending(input, id, unsteady)));
    conditions.sort();
    conditions.dedup();
    conditions
}

/// What it printed the first time stays: a new last line each time it ends would be a commit each time.
fn keeps_ending(input: &Input<'_>, id: &InstanceId, unsteady: &Unsteady) -> Condition {
    let lead = format!("{id} keeps ending by itself");
    let said = input.before.into_iter().flat_map(|record| &record.conditions);
    let mut said = said.filter(|condition| condition.reason == KEEPS_ENDING).map(|condition| &condition.message);
    let known = said.find(|message| message.strip_prefix(&lead).is_some_and(|rest| !rest.is_empty()));
    let secrets = input.plan.secrets();
    let lines: Vec<String> = unsteady.log.iter().map(|line| secret::without(&secrets, line.clone())).collect();
    let message = match (known, lines.is_empty()) {
        (Some(known), _) => known.clone(),
        (None, true) => lead,
        (None, false) => format!("{lead}; it last printed: {}", lines.join(" / ")),
    };
    Condition { name: "degraded".to_owned(), reason: KEEPS_ENDING.to_owned(), message }
}
