//! The line of data without Git: commits, ledger and engines in memory, and between them the real stages.
//!
//! Takes commits of a generated repository. Gives passes as `reconcile` and `controller` do them, whole, step by step,
//! or cut off at any point as a crash would.
//!
//! Because a law has to hold for the program and not for a model of it, only what reads or writes Git is done again here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bayplan::apply::{self, Progress, Work};
use bayplan::engine::memory::MemoryEngine;
use bayplan::engine::memory::registry::MemoryRegistry;
use bayplan::engine::{Engine, Engines, Logins};
use bayplan::model::config::Config;
use bayplan::model::desired::Desired;
use bayplan::model::host::Endpoint;
use bayplan::model::record::{Ledger, Record};
use bayplan::model::stack::Stack;
use bayplan::model::world::{HostView, World};
use bayplan::name::{Digest, HostName, InstanceId, Revision, StackName, StackSlug};
use bayplan::observe::images::{self, Unanswered};
use bayplan::observe::{self, Observer};
use bayplan::placement::{self, Placement};
use bayplan::plan::lost::{self, Lost};
use bayplan::plan::memo::{Facts, Memo};
use bayplan::plan::outcome::Applied;
use bayplan::plan::step::Step;
use bayplan::plan::want::{self, Gone, Want};
use bayplan::plan::{self, Plan, StackPlan, brake};
use bayplan::reconcile::previous;
use bayplan::status::{self, hosts};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::shape::{self, Repo};
use crate::verdict::{OWNER, said_of_step};

static NOBODY: BTreeSet<StackSlug> = BTreeSet::new();

/// One commit of the watched branch.
pub struct Commit {
    pub revision: Revision,
    pub desired: Desired,
    /// The latest commit that changed each stack.
    pub revisions: BTreeMap<StackSlug, Revision>,
}

pub struct Line {
    pub history: Vec<Commit>,
    pub ledger: Ledger,
    /// Commits of the ledger so far.
    pub written: u64,
    pub machines: BTreeMap<Endpoint, MemoryEngine>,
    pub config: Config,
    pub allowed_removals: BTreeSet<Digest>,
    /// All that was said to people, logs and files, for finding what must not be said.
    pub said: Vec<String>,
    registry: MemoryRegistry,
    observer: Observer,
    memo: Memo,
    silent_since: BTreeMap<HostName, Instant>,
}

/// What a pass found out.
pub struct Pass {
    pub desired: Desired,
    pub ledger: Ledger,
    pub wants: BTreeMap<StackSlug, Want>,
    pub placement: Placement,
    pub world: World,
    pub before: BTreeMap<StackSlug, Arc<Stack>>,
    pub accepted: BTreeSet<InstanceId>,
    pub plan: Plan,
    pub lost: BTreeSet<HostName>,
    pub lost_volumes: Lost,
}

/// How the steps of a pass are carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carry {
    /// As the program does it: all stacks and hosts side by side.
    Whole,
    /// One step at a time in an order that the number decides, with a look after each; a crash after so many.
    Stepwise { order: u64, crash_after: Option<usize> },
    /// As the program does it, and cut off after this time.
    CutOff(Duration),
}

/// A pass and what came of it.
pub struct Done {
    pub pass: Pass,
    /// None: it crashed.
    pub applied: Option<BTreeMap<StackSlug, Applied>>,
}

impl Line {
    pub fn new(repo: &Repo) -> Self {
        let mut line = Self {
            history: Vec::new(),
            ledger: Ledger::default(),
            written: 0,
            machines: BTreeMap::new(),
            config: Config::default(),
            allowed_removals: BTreeSet::new(),
            said: Vec::new(),
            registry: shape::registry(),
            observer: Observer::waiting(Config::default().answer_within),
            memo: Memo::default(),
            silent_since: BTreeMap::new(),
        };
        line.commit(repo.desired());
        line
    }

    pub fn commit(&mut self, desired: Desired) {
        let revision = revision(self.history.len() as u64 + 1);
        let last = self.history.last();
        let of = |(slug, stack): (&StackSlug, &Arc<Stack>)| {
            let same = last.filter(|last| last.desired.stacks.get(slug).is_some_and(|s| s.content == stack.content));
            let changed_at = same.and_then(|last| last.revisions.get(slug)).unwrap_or(&revision);
            (slug.clone(), changed_at.clone())
        };
        let revisions = desired.stacks.iter().map(of).collect();
        for host in desired.inventory.hosts.values() {
            let Some(Endpoint::Memory(name)) = &host.endpoint else { continue };
            let endpoint = Endpoint::Memory(name.clone());
            self.machines.entry(endpoint).or_insert_with(|| MemoryEngine::new(name, &self.registry));
        }
        self.history.push(Commit { revision, desired, revisions });
    }

    pub fn head(&self) -> &Commit {
        self.history.last().expect("there is a first commit")
    }

    fn engines(&self) -> Engines {
        let hosts = self.head().desired.inventory.hosts.values();
        let engine = |endpoint: &Endpoint| {
            let engine: Arc<dyn Engine> = Arc::new(self.machines[endpoint].clone());
            (endpoint.clone(), engine)
        };
        hosts.filter_map(|host| host.endpoint.as_ref()).map(engine).collect()
    }

    /// The process is gone, and with it all that it remembered.
    pub fn restart(&mut self) {
        self.observer = Observer::waiting(Config::default().answer_within);
        self.memo = Memo::default();
        self.silent_since.clear();
    }

    /// The stacks as they last ran well, where that is not what the head says.
    fn last_good(&self) -> BTreeMap<StackSlug, Arc<Stack>> {
        let head = self.head();
        let needed = want::last_good_needed(&head.desired, &self.ledger);
        let read = |(slug, last): (StackSlug, want::LastGood)| {
            let then = self.history.iter().find(|commit| commit.revision == last.revision)?;
            let stack = then.desired.stacks.get(&slug)?.clone();
            let mut names = stack.services.iter().filter_map(|s| s.target_host.as_ref()).chain(&stack.target_host);
            let is_right = names.all(|host| head.desired.inventory.hosts.contains_key(host));
            is_right.then_some((slug, stack))
        };
        needed.into_iter().filter_map(read).collect()
    }

    /// One pass of `reconcile`.
    pub async fn look(&mut self) -> Pass {
        let engines = self.engines();
        self.observer.hear(observe::knock(&engines, self.config.answer_within).await);
        let desired = self.head().desired.clone();
        let before = self.last_good();
        let mut world = self.observer.observe(&desired.inventory, &engines).await;
        self.note_silence(&desired, &world);
        let lost = self.lost();
        let seen = previous::stacks_seen(&world, OWNER);
        let wants = want::wants(&want::Question {
            desired: &desired,
            ledger: &self.ledger,
            owner: OWNER,
            revisions: &self.head().revisions,
            closed: &BTreeMap::new(),
            last_good: &before,
            seen: &seen,
        });
        let question = lost::Question { ledger: &self.ledger, desired: &desired, wants: &wants, world: &world };
        let lost_volumes = lost::all(&question);
        self.write_first_facts(&desired, &world, &lost_volumes, &lost);
        let previous = previous::mapping(&self.ledger, &world, OWNER, &desired.inventory);
        let stacks: BTreeMap<StackSlug, Arc<Stack>> =
            wants.iter().filter_map(|(slug, want)| Some((slug.clone(), want.stack()?.clone()))).collect();
        let placement = placement::place(&placement::Input {
            stacks: &stacks,
            inventory: &desired.inventory,
            ledger: &self.ledger,
            previous: &previous,
            leave_volumes: &BTreeSet::new(),
        });
        let ledger = Arc::unwrap_or_clone(lost::known(Arc::new(self.ledger.clone()), &lost_volumes, &world));
        self.memo.look(&Facts {
            owner: OWNER,
            inventory: &desired.inventory,
            ledger: &ledger,
            wants: &wants,
            before: &before,
            placement: &placement,
            world: &world,
        });
        let question = images::Question {
            wants: &wants,
            mapping: &placement.mapping,
            ledger: &self.ledger,
            owner: OWNER,
            engines: &engines,
            logins: &Logins::new(),
        };
        images::resolve(&question, &mut world, &mut self.memo, &mut Unanswered::default()).await;
        let mut pass = Pass {
            desired,
            ledger,
            wants,
            placement,
            world,
            before,
            accepted: BTreeSet::new(),
            plan: Plan::default(),
            lost,
            lost_volumes,
        };
        pass.accepted = self.accepted(&pass);
        let mut memo = std::mem::take(&mut self.memo);
        pass.plan = plan::plan_from(&self.plan_input(&pass, &pass.accepted), &mut memo);
        self.memo = memo;
        assert_eq!(pass.plan, self.plan(&pass), "what is known must be what would be planned");
        self.say_plan(&pass.plan);
        pass
    }

    /// The plan of what a pass saw, which is the pass's own.
    pub fn plan(&self, pass: &Pass) -> Plan {
        plan::plan(&self.plan_input(pass, &pass.accepted))
    }

    fn plan_input<'a>(&'a self, pass: &'a Pass, accepted: &'a BTreeSet<InstanceId>) -> plan::Input<'a> {
        plan::Input {
            wants: &pass.wants,
            inventory: &pass.desired.inventory,
            placement: &pass.placement,
            world: &pass.world,
            ledger: &pass.ledger,
            before: &pass.before,
            owner: OWNER,
            policy: &self.config.policy,
            brake: self.config.brake,
            in_hand: &NOBODY,
            accepted,
            subnets: &self.config.subnets,
        }
    }

    /// What may go: as the ledger remembers it, and by the digests that were allowed.
    fn accepted(&self, pass: &Pass) -> BTreeSet<InstanceId> {
        let mut accepted = brake::accepted(&pass.ledger);
        let braked = brake::judge(&self.plan_input(pass, &accepted));
        if let Some(braked) = braked.filter(|braked| self.allowed_removals.contains(&braked.digest)) {
            accepted.extend(braked.removals);
        }
        accepted
    }

    /// One pass of `controller`: looks, writes, carries out, writes.
    pub async fn pass(&mut self, carry: Carry, witness: &mut dyn Witness) -> Done {
        let pass = self.look().await;
        let begun = self.write_pass(&pass);
        let applied = match carry {
            Carry::Whole => Some(self.carry_whole(&begun).await),
            Carry::CutOff(limit) => tokio::time::timeout(limit, self.carry_whole(&begun)).await.ok(),
            Carry::Stepwise { order, crash_after } => {
                self.carry_stepwise(&pass, &begun, order, crash_after, witness).await
            }
        };
        match &applied {
            Some(applied) => self.finish(&pass, &begun, applied).await,
            None => self.restart(),
        }
        Done { pass, applied }
    }

    /// Passes until one has nothing to do and nothing to write, with the pauses of a service between them. Gives it.
    pub async fn settle(&mut self, witness: &mut dyn Witness) -> Result<Pass, String> {
        let mut last = Vec::new();
        for _ in 0..8 {
            let written = self.written;
            let done = self.pass(Carry::Whole, witness).await;
            if done.pass.plan.is_empty() && self.written == written {
                return Ok(done.pass);
            }
            last = done.pass.plan.stacks.values().flat_map(|s| &s.steps).map(said_of_step).collect();
            last.extend(done.applied.iter().flatten().flat_map(|(_, a)| &a.failures).map(|f| format!("{f:?}")));
            // Longer than any pause after a failure.
            tokio::time::sleep(Duration::from_secs(400)).await;
        }
        Err(format!("eight passes, and still: {last:#?} {:#?}", self.ledger.records))
    }

    fn note_silence(&mut self, desired: &Desired, world: &World) {
        for host in desired.inventory.hosts.keys() {
            match world.host(host) {
                HostView::Unreachable(_) => drop(self.silent_since.entry(host.clone()).or_insert_with(Instant::now)),
                HostView::Seen(_) | HostView::NoEndpoint => drop(self.silent_since.remove(host)),
            }
        }
        self.silent_since.retain(|host, _| desired.inventory.hosts.contains_key(host));
    }

    fn lost(&self) -> BTreeSet<HostName> {
        let is_lost = |since: &Instant| since.elapsed() >= self.config.lost_after;
        self.silent_since.iter().filter(|(_, since)| is_lost(since)).map(|(host, _)| host.clone()).collect()
    }

    fn hosts_input<'a>(
        &'a self,
        desired: &'a Desired,
        world: &'a World,
        lost_volumes: &'a Lost,
        lost: &'a BTreeSet<HostName>,
    ) -> hosts::Input<'a> {
        static NONE: BTreeMap<Endpoint, hosts::Use> = BTreeMap::new();
        static UNCHANGED: BTreeMap<StackSlug, Option<Record>> = BTreeMap::new();
        let (ledger, records) = (&self.ledger, &self.ledger.records);
        let inventory = &desired.inventory;
        hosts::Input {
            inventory,
            world,
            ledger,
            records,
            changed: &UNCHANGED,
            owner: OWNER,
            used: &NONE,
            lost,
            lost_volumes,
        }
    }

    fn write_first_facts(&mut self, desired: &Desired, world: &World, lost_volumes: &Lost, lost: &BTreeSet<HostName>) {
        let measured = hosts::records(&self.hosts_input(desired, world, lost_volumes, lost));
        let mut known = self.ledger.hosts.clone();
        for (host, record) in measured {
            if known.get(&host).is_none_or(|known| known.endpoint != record.endpoint) {
                known.insert(host, record);
            }
        }
        if known != self.ledger.hosts {
            self.ledger.hosts = known;
            self.committed();
        }
    }

    fn committed(&mut self) {
        self.written += 1;
        self.ledger.commit = Some(revision(1_000_000 + self.written));
        self.ledger.owner = Some(OWNER.to_owned());
        self.said.push(format!("{:?}", self.ledger));
    }

    /// Writes what the pass found and that stacks begin. Gives those that begin.
    fn write_pass(&mut self, pass: &Pass) -> BTreeMap<StackSlug, (Want, StackPlan)> {
        let mut records = self.ledger.records.clone();
        let empty = Arc::default();
        for (slug, want) in &pass.wants {
            let plan = pass.plan.stacks.get(slug).unwrap_or(&empty);
            let before = self.ledger.records.get(slug);
            let input = status_input(pass, before, want, plan, &pass.world, None);
            let is_at_rest = plan.steps.is_empty();
            let after = if is_at_rest { status::end(&input) } else { status::begin(&input) };
            if self.memo.is_settled(slug, plan) && is_at_rest {
                assert_eq!(after.as_ref(), before, "{slug} is settled");
            } else if after.as_ref() == before && is_at_rest {
                self.memo.settle(slug, plan);
            }
            set(&mut records, slug, after);
        }
        for id in pass.accepted.difference(&brake::accepted(&self.ledger)) {
            if let Some(record) = records.get_mut(&id.stack).filter(|_| self.ledger.records.contains_key(&id.stack)) {
                record.accepted.insert(id.clone());
            }
        }
        let changed = records != self.ledger.records;
        self.ledger.records = records;
        let hosts = hosts::records(&self.hosts_input(&pass.desired, &pass.world, &pass.lost_volumes, &pass.lost));
        let hosts_changed = pass.desired.inventory.wrong.is_empty() && hosts != self.ledger.hosts;
        if hosts_changed {
            self.ledger.hosts = hosts;
        }
        if changed || hosts_changed {
            self.committed();
        }
        let with_steps = pass.plan.stacks.iter().filter(|(_, plan)| !plan.steps.is_empty());
        with_steps
            .map(|(slug, plan)| {
                let leftover = || Want::Nothing {
                    name: StackName::new(slug.as_str()).expect("a slug is a name"),
                    why: Gone::NotAskedFor,
                };
                (slug.clone(), (pass.wants.get(slug).cloned().unwrap_or_else(leftover), StackPlan::clone(plan)))
            })
            .collect()
    }

    async fn carry_whole(&mut self, begun: &BTreeMap<StackSlug, (Want, StackPlan)>) -> BTreeMap<StackSlug, Applied> {
        let (progress, mut reports) = mpsc::unbounded_channel();
        let works = begun.iter().map(|(slug, (_, plan))| self.work(slug, plan, plan.steps.clone(), &progress));
        let works: Vec<Work> = works.collect();
        let applied = futures_util::future::join_all(works.iter().map(apply::apply)).await;
        while let Ok(report) = reports.try_recv() {
            self.said.push(format!("{report:?}"));
        }
        begun.keys().cloned().zip(applied).collect()
    }

    fn work(
        &self,
        slug: &StackSlug,
        plan: &StackPlan,
        steps: Vec<Step>,
        progress: &mpsc::UnboundedSender<Progress>,
    ) -> Work {
        Work {
            stack: slug.clone(),
            steps: Arc::new(steps),
            secrets: plan.secrets(),
            engines: self.engines(),
            logins: Arc::new(Logins::new()),
            stop: CancellationToken::new(),
            progress: progress.clone(),
        }
    }

    /// One step at a time. `None`: it crashed.
    async fn carry_stepwise(
        &mut self,
        pass: &Pass,
        begun: &BTreeMap<StackSlug, (Want, StackPlan)>,
        order: u64,
        crash_after: Option<usize>,
        witness: &mut dyn Witness,
    ) -> Option<BTreeMap<StackSlug, Applied>> {
        let (progress, mut reports) = mpsc::unbounded_channel();
        let mut applied: BTreeMap<StackSlug, Applied> =
            begun.keys().map(|slug| (slug.clone(), Applied::default())).collect();
        let mut chance = order;
        for carried in 0.. {
            if crash_after == Some(carried) {
                return None;
            }
            let ready: Vec<(&StackSlug, usize)> = begun
                .iter()
                .filter(|(slug, _)| applied[*slug].failures.is_empty())
                .flat_map(|(slug, (_, plan))| {
                    let done = &applied[slug].done;
                    let is_ready = |i: &usize| !done.contains(i) && plan.steps[*i].after.is_subset(done);
                    (0..plan.steps.len()).filter(is_ready).map(move |i| (slug, i)).collect::<Vec<_>>()
                })
                .collect();
            if ready.is_empty() {
                break;
            }
            chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (slug, index) = ready[(chance >> 33) as usize % ready.len()];
            let step = begun[slug].1.steps[index].clone();
            witness.before(self, pass, slug, &step);
            let alone = Step { after: BTreeSet::new(), ..step.clone() };
            let mut one = apply::apply(&self.work(slug, &begun[slug].1, vec![alone], &progress)).await;
            let so_far = applied.get_mut(slug).expect("it was begun");
            if one.failures.is_empty() {
                so_far.done.insert(index);
            }
            one.failures.iter_mut().for_each(|failure| failure.step = index);
            so_far.failures.extend(one.failures);
            witness.after(self, pass, slug, &step);
            while let Ok(report) = reports.try_recv() {
                self.said.push(format!("{report:?}"));
            }
        }
        Some(applied)
    }

    async fn finish(
        &mut self,
        pass: &Pass,
        begun: &BTreeMap<StackSlug, (Want, StackPlan)>,
        applied: &BTreeMap<StackSlug, Applied>,
    ) {
        let engines = self.engines();
        for (slug, (want, plan)) in begun {
            for step in &plan.steps {
                self.observer.forget(&step.endpoint);
            }
            let of_steps = plan.steps.iter().map(|step| (step.host.clone(), step.endpoint.clone()));
            let placed = plan.instances.values().map(|planned| planned.placed.host.clone());
            let of_instances = placed.filter_map(|host| {
                let endpoint = pass.desired.inventory.hosts.get(&host)?.endpoint.clone()?;
                Some((host, endpoint))
            });
            let world =
                observe::glance(&of_instances.chain(of_steps).collect(), &engines, self.config.answer_within).await;
            let before = self.ledger.records.get(slug);
            let input = status_input(pass, before, want, plan, &world, Some(&applied[slug]));
            let after = status::end(&input);
            let hosts = hosts::with_new_volumes(&self.ledger.hosts, &world, OWNER);
            if after.as_ref() != before || hosts != self.ledger.hosts {
                set(&mut self.ledger.records, slug, after);
                self.ledger.hosts = hosts;
                self.committed();
            }
        }
        for applied in applied.values() {
            self.said.push(format!("{applied:?}"));
        }
    }

    fn say_plan(&mut self, plan: &Plan) {
        self.said.push(format!("{plan:?}"));
        for (_, hold) in plan.all_holds() {
            self.said.push(hold.to_string());
        }
        for change in plan.stacks.values().flat_map(|stack| &stack.changes) {
            self.said.push(format!("{} {}", change.cause, change.gap));
        }
        for step in plan.stacks.values().flat_map(|stack| &stack.steps) {
            self.said.push(said_of_step(step));
        }
    }
}

/// Somebody who looks before and after each step.
pub trait Witness {
    fn before(&mut self, line: &Line, pass: &Pass, stack: &StackSlug, step: &Step);
    fn after(&mut self, line: &Line, pass: &Pass, stack: &StackSlug, step: &Step);
}

fn set(records: &mut BTreeMap<StackSlug, Record>, slug: &StackSlug, record: Option<Record>) {
    match record {
        Some(record) => drop(records.insert(slug.clone(), record)),
        None => drop(records.remove(slug)),
    }
}

fn status_input<'a>(
    pass: &'a Pass,
    before: Option<&'a Record>,
    want: &'a Want,
    plan: &'a StackPlan,
    world: &'a World,
    applied: Option<&'a Applied>,
) -> status::Input<'a> {
    status::Input { before, want, plan, inventory: &pass.desired.inventory, owner: OWNER, world, applied }
}

fn revision(number: u64) -> Revision {
    Revision::new(&format!("{number:040x}")).expect("forty hex digits")
}
