//! Watches what controllers say and do, and judges it at once.
//!
//! Takes each call that changes an engine, with a look before and after it, and each event that a controller tells. Keeps
//! the laws that were broken, in order.
//!
//! Never helps: no controller sees what is seen here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};

use bayplan::apply::Progress;
use bayplan::controller::Event;
use bayplan::engine::memory::MemoryEngine;
use bayplan::engine::memory::faults::Call;
use bayplan::model::host::{Endpoint, HostStatus};
use bayplan::model::record::HostCondition;
use bayplan::model::world::{ContainerSeen, HostView, State};
use bayplan::name::{Digest, InstanceId};
use bayplan::plan::change::{Bucket, Gap};
use bayplan::plan::step::Act;
use bayplan::plan::want::{Gone, Want};
use bayplan::reconcile::Pass;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::Instant;

use crate::verdict::{self, Machines, OWNER, Verdict, check, said_of_step, silent};

pub struct Eyes(Mutex<Inside>);

struct Inside {
    machines: BTreeMap<Endpoint, MemoryEngine>,
    hearing: Vec<UnboundedReceiver<Event>>,
    /// What the newest plan of each stack promises its instances, as long as nobody else touches the machines.
    promises: BTreeMap<InstanceId, (Bucket, Gap)>,
    /// Stacks and services of which people want two at a time, whatever they write to.
    start_first: BTreeSet<(String, String)>,
    /// Two controllers do not know each other's plans.
    alone: bool,
    /// Machines whose lists showed what was long past: whoever believes them starts what runs.
    lying: BTreeSet<Endpoint>,
    /// Machines that did not answer somebody for a while.
    away: BTreeSet<Endpoint>,
    /// How often somebody else touched the machines.
    disturbances: u64,
    acknowledged: BTreeSet<Digest>,
    braked: Vec<Digest>,
    broken: Vec<String>,
    /// Kept only for a story that is told to a person.
    tale: Option<Vec<String>>,
    begun: Instant,
    pub counts: Counts,
}

/// What happened, for seeing that a run looks at something.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counts {
    pub passes: u64,
    pub writes: u64,
    pub ended: u64,
    pub rolled_back: u64,
    pub promises_kept: u64,
    pub others_seen: u64,
    pub failed_passes: u64,
}

impl Counts {
    pub fn add(&mut self, other: &Self) {
        self.passes += other.passes;
        self.writes += other.writes;
        self.ended += other.ended;
        self.rolled_back += other.rolled_back;
        self.promises_kept += other.promises_kept;
        self.others_seen += other.others_seen;
        self.failed_passes += other.failed_passes;
    }
}

/// A look at one machine before a call.
pub struct Before {
    endpoint: Endpoint,
    call: Call,
    subject: String,
    machine: Machines,
    served: Option<InstanceId>,
    disturbances: u64,
}

impl Eyes {
    pub fn new(tells: bool) -> Self {
        Self(Mutex::new(Inside {
            machines: BTreeMap::new(),
            hearing: Vec::new(),
            promises: BTreeMap::new(),
            start_first: BTreeSet::new(),
            alone: true,
            lying: BTreeSet::new(),
            away: BTreeSet::new(),
            disturbances: 0,
            acknowledged: BTreeSet::new(),
            braked: Vec::new(),
            broken: Vec::new(),
            tale: tells.then(Vec::new),
            begun: Instant::now(),
            counts: Counts::default(),
        }))
    }

    pub fn watch(&self, endpoint: &Endpoint, machine: &MemoryEngine) {
        self.lock().machines.insert(endpoint.clone(), machine.clone());
    }

    pub fn machine(&self, endpoint: &Endpoint) -> Option<MemoryEngine> {
        self.lock().machines.get(endpoint).cloned()
    }

    pub fn listen(&self, events: UnboundedReceiver<Event>) {
        self.lock().hearing.push(events);
    }

    pub fn start_first(&self, stack: String, service: String) {
        self.lock().start_first.insert((stack, service));
    }

    pub fn not_alone(&self) {
        self.lock().alone = false;
    }

    /// Somebody else touched the machines: what was promised may not be possible any more.
    pub fn disturbed(&self) {
        let inside = &mut *self.lock();
        inside.promises.clear();
        inside.disturbances += 1;
    }

    pub fn was_away(&self, endpoint: &Endpoint) {
        self.lock().away.insert(endpoint.clone());
    }

    pub fn were_away(&self) -> BTreeSet<Endpoint> {
        self.lock().away.clone()
    }

    pub fn lists_lie(&self, endpoint: &Endpoint) {
        self.lock().lying.insert(endpoint.clone());
    }

    pub fn braked(&self) -> Vec<Digest> {
        let inside = &mut *self.lock();
        inside.hear();
        inside.braked.clone()
    }

    pub fn acknowledged(&self, digest: &Digest) {
        self.lock().acknowledged.insert(digest.clone());
    }

    pub fn tell(&self, line: impl FnOnce() -> String) {
        self.lock().tell(line);
    }

    pub fn tale(&self) -> Vec<String> {
        self.lock().tale.clone().unwrap_or_default()
    }

    pub fn counts(&self) -> Counts {
        self.lock().counts
    }

    pub fn note(&self, verdict: Verdict) {
        self.lock().note(verdict);
    }

    /// The first law that was broken so far.
    pub fn verdict(&self) -> Verdict {
        let inside = &mut *self.lock();
        inside.hear();
        match inside.broken.first() {
            Some(broken) => Err(broken.clone()),
            None => Ok(()),
        }
    }

    pub fn before(&self, endpoint: &Endpoint, call: Call, subject: &str) -> Before {
        let inside = &mut *self.lock();
        inside.hear();
        let machine = Machines::from([(endpoint.clone(), inside.machines[endpoint].holds())]);
        let found = machine[endpoint].containers.iter().find(|c| c.id == subject || c.name == subject);
        let served = found.filter(|container| inside.serves(endpoint, container)).and_then(|container| {
            let ends = matches!(call, Call::Stop | Call::Remove | Call::SetAliases);
            Some(container.ours(OWNER)?.instance.clone()).filter(|_| ends)
        });
        let disturbances = inside.disturbances;
        Before { endpoint: endpoint.clone(), call, subject: subject.to_owned(), machine, served, disturbances }
    }

    /// Gives how many calls changed something so far.
    pub fn after(&self, controller: usize, before: Before, succeeded: bool) -> u64 {
        let inside = &mut *self.lock();
        inside.counts.writes += 1;
        let Before { endpoint, call, subject, machine, served, disturbances } = before;
        let told = || {
            let how = if succeeded { "" } else { ", failed" };
            format!("{controller} at {endpoint}: {} {}{how}", call.as_str(), short(&subject))
        };
        inside.tell(told);
        let now = Machines::from([(endpoint.clone(), inside.machines[&endpoint].holds())]);
        // Some calls are answered late, and what others did meanwhile is not theirs.
        let by_us = disturbances == inside.disturbances;
        let verdicts = [
            if by_us { verdict::hands_off(&machine, &now) } else { Ok(()) },
            if by_us { verdict::keeps_data(&machine, &now) } else { Ok(()) },
            inside.one_writer(&endpoint, call, &subject, &now),
            served.map_or(Ok(()), |served| inside.kept_serving(&served)),
        ];
        for verdict in verdicts {
            inside.note(verdict.map_err(|why| format!("{why}\n  after: {}", told())));
        }
        inside.counts.writes
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().expect("nothing panics while it judges")
    }
}

fn short(subject: &str) -> &str {
    if subject.len() == 64 { &subject[..12] } else { subject }
}

impl Inside {
    fn tell(&mut self, line: impl FnOnce() -> String) {
        if let Some(tale) = &mut self.tale {
            let line = format!("{:>9.3} {}", self.begun.elapsed().as_secs_f64(), line());
            tale.push(line);
        }
    }

    fn note(&mut self, verdict: Verdict) {
        if let Err(why) = verdict {
            self.tell(|| format!("BROKEN {why}"));
            self.broken.push(why);
        }
    }

    /// It runs, is well and answers to its service's name.
    fn serves(&self, endpoint: &Endpoint, container: &ContainerSeen) -> bool {
        let machine = &self.machines[endpoint];
        container.state == State::Running
            && machine.is_well(&container.id)
            && !machine.aliases(&container.id).is_empty()
    }

    /// 6: where the plan said that nobody would notice, somebody serves after every call.
    fn kept_serving(&mut self, of: &InstanceId) -> Verdict {
        let Some((bucket, Gap::None)) = self.promises.get(of) else { return Ok(()) };
        let replaces = matches!(bucket, Bucket::Replace | Bucket::Move | Bucket::TakeName);
        if !self.alone || !replaces {
            return Ok(());
        }
        let bucket = *bucket;
        let serves = self.machines.iter().any(|(endpoint, machine)| {
            machine.holds().containers.iter().any(|container| {
                let ours = container.ours(OWNER).map(|ours| &ours.instance);
                ours.is_some_and(|id| id.stack == of.stack && id.service == of.service)
                    && self.serves(endpoint, container)
            })
        });
        self.counts.promises_kept += 1;
        check("law 6, no gap", serves, || {
            format!("nobody serves for {of} any more; the plan says {} and no gap", bucket.as_str())
        })
    }

    /// 6: of one instance never two that write the same volume.
    fn one_writer(&self, endpoint: &Endpoint, call: Call, subject: &str, now: &Machines) -> Verdict {
        if call != Call::Start || !self.alone || self.lying.contains(endpoint) {
            return Ok(());
        }
        let containers = &now[endpoint].containers;
        let Some(started) = containers.iter().find(|c| c.id == subject || c.name == subject) else { return Ok(()) };
        let Some(ours) = started.ours(OWNER).filter(|_| started.state == State::Running) else { return Ok(()) };
        let name = (ours.instance.stack.to_string(), ours.instance.service.to_string());
        if self.start_first.contains(&name) {
            return Ok(());
        }
        let other = containers.iter().find(|other| {
            other.id != started.id
                && other.state == State::Running
                && other.ours(OWNER).is_some_and(|o| o.instance == ours.instance)
                && other.volumes.intersection(&started.volumes).next().is_some()
        });
        check("law 6, one writer", other.is_none(), || {
            format!("{} and {} write the same volume", started.name, other.map_or("", |other| &other.name))
        })
    }

    fn hear(&mut self) {
        for controller in 0..self.hearing.len() {
            while let Ok(event) = self.hearing[controller].try_recv() {
                self.heard(controller, &event);
            }
        }
    }

    fn heard(&mut self, controller: usize, event: &Event) {
        match event {
            Event::Passed(pass) => {
                self.counts.passes += 1;
                self.passed(controller, pass);
            }
            Event::PassFailed(why) => {
                self.counts.failed_passes += 1;
                self.tell(|| format!("{controller} failed: {why}"));
                self.note(silent(why));
            }
            Event::Progress(progress) => {
                self.note(silent(&format!("{progress:?}")));
                if let Progress::StepFailed { stack, failure } = progress {
                    let line =
                        format!("{controller} {stack} {}: {} failed: {}", failure.host, failure.what, failure.why);
                    self.tell(|| line);
                }
            }
            Event::Ended(ended) => {
                self.counts.ended += 1;
                let rolled = ended.status == Some(bayplan::model::record::StackStatus::RolledBack);
                self.counts.rolled_back += u64::from(rolled);
                self.note(silent(&format!("{ended:?}")));
                self.tell(|| format!("{controller} {} ended as {:?}", ended.stack, ended.status));
            }
            Event::TriesAgain { .. } => {}
            Event::Committed { message, .. } => {
                self.note(silent(message));
                self.tell(|| format!("{controller} wrote: {message}"));
            }
            Event::OtherController(other) => {
                self.counts.others_seen += 1;
                self.note(silent(other));
                // Its name is another one each time that the story is told.
                self.tell(|| format!("{controller} sees another"));
            }
            Event::PushFailed(why) | Event::FetchFailed(why) => {
                self.note(silent(why));
                self.tell(|| format!("{controller} could not reach the remote: {why}"));
            }
            Event::FetchedAgain | Event::PushedAgain => self.tell(|| format!("{controller} reaches the remote again")),
        }
    }

    fn passed(&mut self, controller: usize, pass: &Pass) {
        self.braked = pass.plan.braked.iter().map(|braked| braked.digest.clone()).collect();
        for stack in pass.plan.stacks.values() {
            for change in &stack.changes {
                // A service that becomes a job ends, as people asked.
                let may_end = verdict::service(&pass.wants, &change.instance).is_some_and(|s| s.restart.may_complete());
                if may_end {
                    self.promises.remove(&change.instance);
                } else {
                    self.promises.insert(change.instance.clone(), (change.bucket, change.gap.clone()));
                }
                self.note(silent(&format!("{} {} {}", change.cause, change.gap, change.why_there)));
            }
        }
        for step in pass.plan.stacks.values().flat_map(|stack| &stack.steps) {
            self.note(silent(&said_of_step(step)));
            self.tell(|| format!("{controller} plans {}", said_of_step(step)));
        }
        let holds: Vec<String> = pass.plan.all_holds().map(|(_, hold)| hold.to_string()).collect();
        for hold in holds {
            self.note(silent(&hold));
            self.tell(|| format!("{controller} holds: {hold}"));
        }
        for diagnostic in pass.report.iter().map(|d| format!("{d:?}")).collect::<Vec<_>>() {
            self.tell(|| format!("{controller} finds {diagnostic}"));
        }
        self.note(verdict::explains(&pass.plan, &pass.placement));
        self.note(blind_is_not_empty(pass));
        self.note(self.brake(pass));
    }

    /// 13: of what is recorded no more is removed than the brake lets through, unless a human said so.
    fn brake(&self, pass: &Pass) -> Verdict {
        if !self.acknowledged.is_empty() {
            return Ok(());
        }
        let mut fleet = 0;
        let mut gone = BTreeSet::new();
        for (slug, record) in &pass.ledger.records {
            let deployments = record.running.iter().chain(&record.next);
            let recorded: BTreeSet<&InstanceId> = deployments.flat_map(|d| d.instances.keys()).collect();
            fleet += recorded.len();
            if matches!(pass.wants.get(slug), Some(Want::Nothing { why: Gone::BadContent(_), .. })) {
                continue;
            }
            let steps = pass.plan.stacks.get(slug).map_or(&[][..], |stack| &stack.steps);
            let removed = steps.iter().filter(|step| matches!(step.act, Act::Remove { .. }));
            let removed: BTreeSet<&InstanceId> = removed.filter_map(|step| step.instance.as_ref()).collect();
            let runs = |id: &&&InstanceId| !pass.placement.mapping.contains_key(**id);
            gone.extend(recorded.intersection(&removed).filter(runs).copied());
        }
        let allowed = (fleet * 20 / 100).max(3);
        check("law 13, brake", gone.len() <= allowed, || format!("{allowed} may go, the plan removes {gone:?}"))
    }
}

/// 5: what is recorded on a host that did not answer is not made anywhere.
fn blind_is_not_empty(pass: &Pass) -> Verdict {
    for (slug, record) in &pass.ledger.records {
        for (id, instance) in record.running.iter().flat_map(|running| &running.instances) {
            let HostView::Unreachable(_) = pass.world.host(&instance.host) else { continue };
            let is_lost = pass.ledger.hosts.get(&instance.host).is_some_and(|h| h.condition == HostCondition::Lost);
            let host = pass.desired.inventory.hosts.get(&instance.host);
            // Who acknowledged that a host left said that it is to be made elsewhere.
            if is_lost || pass.accepted.contains(id) || host.is_none_or(|host| host.status == HostStatus::Offline) {
                continue;
            }
            let steps = pass.plan.stacks.get(slug).map_or(&[][..], |stack| &stack.steps);
            let makes =
                steps.iter().find(|step| step.instance.as_ref() == Some(id) && matches!(step.act, Act::Create(_)));
            check("law 5, blind is not empty", makes.is_none(), || {
                format!("{id} is made although {} is only silent", instance.host)
            })?;
        }
    }
    Ok(())
}
