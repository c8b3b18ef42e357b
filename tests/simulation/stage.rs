//! Plays a story: the real controller between simulated engines and a simulated repository.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bayplan::controller::run;
use bayplan::engine::Engine;
use bayplan::engine::memory::MemoryEngine;
use bayplan::engine::memory::faults::Fault;
use bayplan::engine::memory::registry::MemoryRegistry;
use bayplan::ledger::{self, Change};
use bayplan::model::config::Config;
use bayplan::model::host::{Endpoint, Host};
use bayplan::model::record::{BadMark, Ledger, StackStatus};
use bayplan::model::request::{LABEL_OWNER, VolumeRequest};
use bayplan::model::stack::{Protocol, Service, UpdateOrder};
use bayplan::name::{Revision, StackSlug, VolumeName};
use bayplan::plan::hold::Hold;
use bayplan::plan::want::{Want, Why};
use bayplan::reconcile::site::Site;
use bayplan::reconcile::{self, Look, Pass, PassError};
use bayplan::source::LEDGER_BRANCH;
use bayplan::source::memory::{self, Entry, MemoryRepository};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::eyes::{Counts, Eyes};
use crate::gate::{Gate, Wires};
use crate::shape::{self, Repo};
use crate::story::{Content, End, Event, Place, Spoil, Story, Turn};
use crate::verdict::{self, AtRest, OWNER, Verdict, check, said_of_step, silent};
use crate::written;

/// The ledger's newest commit, and how often engines were written to.
type Mark = (Option<Revision>, u64);

const BRANCH: &str = "main";
const ANYWHERE: std::net::IpAddr = std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);

/// How a story ended.
pub struct Told {
    pub verdict: Verdict,
    pub counts: Counts,
    pub tale: Vec<String>,
}

/// Whether a person reads along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Telling {
    Silent,
    Aloud,
}

/// Time stands still but for sleeps, which so take none.
pub fn play(story: &Story, telling: Telling) -> Told {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .without_time()
        .with_max_level(tracing::Level::DEBUG)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, || {
        runtime.expect("a runtime without I/O").block_on(async {
            let mut stage = Stage::set(story, telling);
            let played = stage.play(story).await;
            let written = log.0.lock().expect("nobody panics while writing").clone();
            let verdict = stage.eyes.verdict().and(played).and_then(|()| silent(&String::from_utf8_lossy(&written)));
            Told { verdict, counts: stage.eyes.counts(), tale: stage.eyes.tale() }
        })
    })
}

/// What the program logs while a story is played.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("nobody panics while writing").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

struct Stage {
    eyes: Arc<Eyes>,
    repo: Repo,
    /// Files that are wrong.
    spoilt: BTreeMap<String, Entry>,
    /// Where people push to.
    server: MemoryRepository,
    /// What each controller reads and writes; its process may end, this stays.
    desks: Vec<Desk>,
    place: Place,
    registry: MemoryRegistry,
    machines: BTreeMap<Endpoint, MemoryEngine>,
    ports: Vec<(Endpoint, u16)>,
    others: u64,
    content: Content,
}

struct Desk {
    repository: MemoryRepository,
    cut: BTreeSet<Endpoint>,
    running: Option<Running>,
    /// Whether somebody starts it again when it ended.
    wanted: bool,
}

struct Running {
    wires: Arc<Wires>,
    polls_left: Arc<Mutex<Option<u64>>>,
    shutdown: CancellationToken,
    task: JoinHandle<Ended>,
}

enum Ended {
    Died,
    Returned(Result<(), PassError>),
}

impl Stage {
    fn set(story: &Story, telling: Telling) -> Self {
        let server = MemoryRepository::new("fleet");
        let mut stage = Self {
            eyes: Arc::new(Eyes::new(telling == Telling::Aloud)),
            repo: story.repo.clone(),
            spoilt: BTreeMap::new(),
            server,
            desks: Vec::new(),
            place: story.place,
            registry: shape::registry(),
            machines: BTreeMap::new(),
            ports: Vec::new(),
            others: 0,
            content: story.content,
        };
        stage.commit("The first commit");
        stage
    }

    async fn play(&mut self, story: &Story) -> Verdict {
        self.furnish().await;
        self.add_desk();
        self.start(0).await;
        tokio::time::sleep(Duration::from_secs(20)).await;
        for turn in &story.turns {
            self.turn(turn).await?;
            self.eyes.verdict()?;
        }
        self.finish(story.end).await
    }

    async fn turn(&mut self, turn: &Turn) -> Verdict {
        self.eyes.tell(|| format!("--- {:?}", turn.event));
        self.happens(&turn.event).await?;
        tokio::time::sleep(turn.pause).await;
        for number in 0..self.desks.len() {
            self.mind(number).await?;
        }
        Ok(())
    }

    // ---- the repository

    fn commit(&mut self, message: &str) -> Revision {
        let mut files = written::files(&self.repo);
        files.extend(self.spoilt.iter().map(|(path, entry)| (path.as_str().into(), entry.clone())));
        for (stack, shape) in &self.repo.stacks {
            let first = shape.services.iter().filter(|(_, service)| service.update == UpdateOrder::StartFirst);
            for (service, _) in first {
                self.eyes.start_first(shape::stack_named(*stack), shape::service_named(*service));
            }
        }
        for shape in self.repo.hosts.values() {
            let endpoint = shape::engine_named(shape.engine);
            let machine = self
                .machines
                .entry(endpoint.clone())
                .or_insert_with(|| MemoryEngine::new(&shape::engine_name(shape.engine), &self.registry));
            self.eyes.watch(&endpoint, machine);
        }
        self.server.commit(BRANCH, message, files)
    }

    fn spoil(&mut self, spoil: Spoil) {
        let text = |text: &str| Entry::Text(text.into());
        let (path, entry) = match spoil {
            Spoil::Syntax(number) => (written::stack_path(number), text("name: [\n")),
            Spoil::Field(number) => {
                let name = shape::stack_named(number);
                let wrong = format!("name: {name}\nitemListElement: [{{position: 1, name: a, image: b, imagee: c}}]\n");
                (written::stack_path(number), text(&wrong))
            }
            Spoil::Nameless => ("stacks/nameless.yaml".to_owned(), text("itemListElement: []\n")),
            Spoil::Host(number) => (written::host_path(number), text("name: 1\nipAddress: nowhere\n")),
            Spoil::Symlink => ("stacks/link.yaml".to_owned(), Entry::Symlink),
        };
        self.spoilt.insert(path, entry);
    }

    // ---- the machines

    /// Things of somebody else on every engine.
    async fn furnish(&mut self) {
        for machine in self.machines.values() {
            machine.add_foreign("somebody-elses", BTreeMap::new()).expect("an empty machine");
            let labels = BTreeMap::from([(LABEL_OWNER.to_owned(), "another".to_owned())]);
            machine.add_foreign("another-owners", labels.clone()).expect("an empty machine");
            machine.add_network("somebody-elses", BTreeMap::new());
            let name = VolumeName::new("stack-0-s0").expect("a name");
            let volume = VolumeRequest { name, driver: "local".to_owned(), labels };
            machine.create_volume(&volume).await.expect("an empty machine");
        }
    }

    fn ours(&self, number: usize) -> Option<(MemoryEngine, String)> {
        let all = self.machines.values().flat_map(|machine| {
            let containers = machine.holds().containers.into_iter();
            containers.filter(|c| c.ours(OWNER).is_some()).map(move |c| (machine.clone(), c.id))
        });
        let all: Vec<_> = all.collect();
        (!all.is_empty()).then(|| all[number % all.len()].clone())
    }

    fn lift(&mut self) {
        self.machines.values().for_each(MemoryEngine::lift_all);
        for (endpoint, port) in self.ports.drain(..) {
            self.machines[&endpoint].free_port(ANYWHERE, port, Protocol::Tcp);
        }
        for desk in &mut self.desks {
            desk.repository.lift_all();
            desk.cut.clear();
            if let Some(running) = &desk.running {
                running.wires.mend();
            }
        }
    }

    async fn happens(&mut self, event: &Event) -> Verdict {
        // What is not there, or does not run, cannot be hit, and that is fine.
        let engine = |number: &u8| self.machines.get(&shape::engine_named(*number)).cloned();
        match event {
            Event::Commit(edit) => {
                self.repo = self.repo.edited(&self.repo.aimed(edit));
                self.commit("An edit");
            }
            Event::Spoil(spoil) => {
                self.spoil(*spoil);
                self.commit("A mistake");
            }
            Event::Mend => {
                self.spoilt.clear();
                self.commit("All mistakes mended");
            }
            Event::Rewind => {
                let parent =
                    self.server.head(BRANCH).and_then(|head| self.server.find(&head)?.parents.first().cloned());
                if let Some(parent) = parent {
                    self.server.set(BRANCH, Some(&parent));
                }
            }
            Event::Acknowledge => {
                let braked = self.eyes.braked();
                if !braked.is_empty() {
                    let lines: Vec<String> = braked.iter().map(|d| format!("Bayplan-Allow-Removal: {d}")).collect();
                    braked.iter().for_each(|digest| self.eyes.acknowledged(digest));
                    self.commit(&format!("Yes, remove them\n\n{}", lines.join("\n")));
                }
            }
            Event::Kill(number) => self.hit(*number, |machine, id| drop(machine.kill(id))),
            Event::Crash(number) => self.hit(*number, |machine, id| drop(machine.crash(id, 3))),
            Event::Remove(number) => self.hit(*number, |machine, id| drop(machine.remove_behind(id))),
            Event::Reconnect(number) => {
                self.eyes.disturbed();
                if let Some((machine, id)) = self.ours(*number) {
                    let detail = machine.container(&id).await.expect("an answer").expect("it is there");
                    for network in detail.aliases.keys() {
                        machine.set_aliases(&id, network, &[]).await.expect("it is reconnected");
                    }
                }
            }
            Event::Foreign { engine: number, stack, service } => {
                self.eyes.disturbed();
                let name = format!("{}-{}-1", shape::stack_named(*stack), shape::service_named(*service));
                let _ = engine(number).map(|machine| machine.add_foreign(&name, BTreeMap::new()));
            }
            Event::TakePort { engine: number, port } => {
                self.eyes.disturbed();
                if let Some(machine) = engine(number) {
                    machine.take_port(ANYWHERE, *port, Protocol::Tcp);
                    self.ports.push((shape::engine_named(*number), *port));
                }
            }
            Event::RestartEngine(number, end) => {
                self.eyes.disturbed();
                let _ = engine(number).map(|machine| machine.restart_engine(*end));
            }
            Event::Fault { engine: number, fault, which, times } => {
                self.eyes.was_away(&shape::engine_named(*number));
                if *fault == Fault::Stale {
                    self.eyes.lists_lie(&shape::engine_named(*number));
                }
                let _ = engine(number).map(|machine| machine.fault(fault.clone(), *which, *times));
            }
            Event::GitFault { controller, fault, which, times } => {
                let desk = &self.desks[controller % self.desks.len()];
                desk.repository.fault(*fault, *which, *times);
            }
            Event::Cut { controller, engine } => {
                let number = controller % self.desks.len();
                let endpoint = shape::engine_named(*engine);
                self.eyes.was_away(&endpoint);
                let desk = &mut self.desks[number];
                if let Some(running) = &desk.running {
                    running.wires.cut(&endpoint);
                }
                desk.cut.insert(endpoint);
            }
            Event::Lift => self.lift(),
            Event::OtherWriter => self.write_the_ledger().await,
            Event::DieAfterPolls(controller, polls) => {
                let number = controller % self.desks.len();
                if let Some(running) = &self.desks[number].running {
                    *running.polls_left.lock().expect("nothing panics here") = Some(*polls);
                }
            }
            Event::DieAfterMoments(controller, moments) => {
                let number = controller % self.desks.len();
                if let Some(running) = &self.desks[number].running {
                    running.wires.doom(*moments);
                }
            }
            Event::Restart(controller) => {
                let number = controller % self.desks.len();
                self.stop(number).await?;
                self.start(number).await;
            }
            Event::Second => {
                if self.desks.len() < 2 {
                    self.add_desk();
                }
                self.eyes.not_alone();
                self.desks[1].wanted = true;
                self.mind(1).await?;
            }
            Event::NoSecond => {
                if self.desks.len() == 2 {
                    self.desks[1].wanted = false;
                    self.stop(1).await?;
                }
            }
            Event::Jump(time) => tokio::time::advance(*time).await,
            Event::Nothing => {}
        }
        Ok(())
    }

    fn hit(&self, number: usize, how: impl FnOnce(&MemoryEngine, &str)) {
        self.eyes.disturbed();
        if let Some((machine, id)) = self.ours(number) {
            how(&machine, &id);
        }
    }

    /// Another program of the same owner commits, which changes nothing that matters, and pushes.
    async fn write_the_ledger(&mut self) {
        self.others += 1;
        let theirs = match self.place {
            Place::Here => self.server.clone(),
            Place::Mirrors => self.server.cloned("another writer"),
        };
        let source = memory::open(&theirs, BRANCH, memory::Place::InPlace);
        let ledger = ledger::open(&source).await.expect("a ledger in memory opens");
        let change = Change {
            owner: OWNER.to_owned(),
            records: BTreeMap::new(),
            hosts: None,
            page: Some(format!("Somebody was here, {}\n", self.others)),
            message: "Somebody was here".to_owned(),
            trailers: Vec::new(),
        };
        // It may meet the faults that the controller meets, and has no time to wait.
        if ledger.commit(change).await.is_ok() {
            let _ = ledger.push().await;
        }
    }

    // ---- the controllers

    fn add_desk(&mut self) {
        let name = format!("mirror-{}", self.desks.len());
        let repository = match self.place {
            Place::Here => self.server.clone(),
            Place::Mirrors => self.server.cloned(&name),
        };
        self.desks.push(Desk { repository, cut: BTreeSet::new(), running: None, wanted: true });
    }

    async fn site(&self, number: usize, wires: &Arc<Wires>) -> Site {
        let place = match self.place {
            Place::Here => memory::Place::InPlace,
            Place::Mirrors => memory::Place::Mirror,
        };
        let source = memory::open(&self.desks[number].repository, BRANCH, place);
        let config =
            Config { owner: Some(OWNER.to_owned()), poll_interval: Duration::from_secs(30), ..Config::default() };
        let wires = wires.clone();
        let connect = Arc::new(move |_: &Host, endpoint: &Endpoint| {
            let engine = wires.eyes.machine(endpoint).ok_or("there is no such machine")?;
            let gate = Gate { engine, endpoint: endpoint.clone(), wires: wires.clone() };
            Ok(Arc::new(gate) as Arc<dyn Engine>)
        });
        Site::new(source, Arc::new(config), Arc::new(BTreeMap::new()), connect).await.expect("the ledger opens")
    }

    async fn start(&mut self, number: usize) {
        let wires = Arc::new(Wires::new(number, self.eyes.clone(), self.desks[number].cut.clone()));
        let mut site = self.site(number, &wires).await;
        let (events, hearing) = mpsc::unbounded_channel();
        self.eyes.listen(hearing);
        let shutdown = CancellationToken::new();
        let polls_left = Arc::new(Mutex::new(None));
        let task = tokio::spawn({
            let (wires, polls_left, shutdown) = (wires.clone(), polls_left.clone(), shutdown.clone());
            async move {
                let run = Mortal { life: Box::pin(run::run(&mut site, events, shutdown)), polls_left };
                tokio::select! {
                    biased;
                    ended = run => ended.map_or(Ended::Died, Ended::Returned),
                    () = wires.died.notified() => Ended::Died,
                }
            }
        });
        self.desks[number].running = Some(Running { wires, polls_left, shutdown, task });
    }

    /// Starts a controller that died.
    async fn mind(&mut self, number: usize) -> Verdict {
        if self.desks[number].running.as_ref().is_some_and(|running| running.task.is_finished()) {
            self.ended(number).await?;
        }
        if self.desks[number].running.is_none() && self.desks[number].wanted {
            self.start(number).await;
        }
        Ok(())
    }

    /// Asks a controller to end.
    async fn stop(&mut self, number: usize) -> Verdict {
        let Some(running) = &self.desks[number].running else { return Ok(()) };
        running.shutdown.cancel();
        self.ended(number).await
    }

    /// Waits for the end of a controller, and that nothing of it lives on.
    async fn ended(&mut self, number: usize) -> Verdict {
        let Some(running) = self.desks[number].running.take() else { return Ok(()) };
        let asked = running.shutdown.is_cancelled();
        // No call takes longer, and at a step's border it ends.
        let ended = tokio::time::timeout(Duration::from_secs(600), running.task).await;
        let verdict = match ended {
            Err(_) => Err("asked to end, it went on for ten minutes".to_owned()),
            Ok(Err(panic)) => Err(format!("law 12, total: {}", panic_text(panic))),
            Ok(Ok(Ended::Died)) => {
                self.eyes.tell(|| format!("{number} died"));
                Ok(())
            }
            Ok(Ok(Ended::Returned(Ok(())))) => check("it serves until it is told to end", asked, String::new),
            Ok(Ok(Ended::Returned(Err(error)))) => {
                Err(format!("it serves until it is told to end: it ended with {error}: {:?}", error))
            }
        };
        verdict?;
        if self.desks.iter().all(|desk| desk.running.is_none()) {
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
            let alive = tokio::runtime::Handle::current().metrics().num_alive_tasks();
            check("nothing outlives the controller", alive == 0, || format!("{alive} tasks live on"))?;
        }
        Ok(())
    }

    // ---- the end

    async fn finish(&mut self, end: End) -> Verdict {
        self.eyes.tell(|| "--- everything is well again".to_owned());
        self.lift();
        for number in 0..self.desks.len() {
            self.mind(number).await?;
            if end == End::Anew && self.desks[number].running.is_some() {
                self.stop(number).await?;
                self.start(number).await;
            }
            // Nobody dies any more.
            if let Some(running) = &self.desks[number].running {
                running.wires.doom(u64::MAX);
                *running.polls_left.lock().expect("nothing panics here") = None;
            }
        }
        let marks = self.settle(end).await;
        self.eyes.verdict()?;
        for number in 0..self.desks.len() {
            self.mind(number).await?;
        }
        for number in (0..self.desks.len()).rev() {
            self.stop(number).await?;
        }
        self.at_rest(&marks).await
    }

    fn mark(&self) -> Mark {
        let writes = self.machines.values().map(MemoryEngine::writes).sum();
        (self.desks[0].repository.head(LEDGER_BRANCH), writes)
    }

    /// Waits until nothing is written any more, but not for ever. Gives how far it was, from time to time.
    async fn settle(&mut self, end: End) -> Vec<Mark> {
        let mut marks = vec![self.mark()];
        // A push that hung when everything got well ends at its deadline, and its pause begins only then.
        let mut quiet_rounds = if end == End::GoesOn { 2 } else { 1 };
        for _ in 0..12 {
            if end == End::GoesOn {
                // Longer than any pause after failures, and over before anybody can count it.
                tokio::time::advance(Duration::from_secs(370)).await;
            }
            // Long enough to be tried again twice by a service that has just begun, and for its next look at everything:
            // no event tells it that an engine started a container again, or that one lost its names.
            tokio::time::sleep(Duration::from_secs(75)).await;
            let mark = self.mark();
            let is_quiet = marks.last() == Some(&mark);
            marks.push(mark);
            quiet_rounds -= i32::from(is_quiet);
            if quiet_rounds == 0 {
                break;
            }
        }
        marks
    }

    /// A controller that knows nothing but Git and the engines finds everything as it should be.
    async fn at_rest(&mut self, marks: &[Mark]) -> Verdict {
        let wires = Arc::new(Wires::new(9, self.eyes.clone(), BTreeSet::new()));
        let mut site = self.site(0, &wires).await;
        let pass = reconcile::pass(&mut site, Look::Hosts, &reconcile::Context::default()).await;
        let pass = pass.map_err(|error| format!("the last look failed: {error:?}"))?;
        // What cannot become well is tried again and again, ever more rarely.
        let restless: BTreeSet<&StackSlug> = pass.plan.stacks.keys().filter(|slug| self.is_sick(&pass, slug)).collect();
        let is_quiet = marks.ends_with(&[self.mark(), self.mark()]);
        check("law 1, settles", is_quiet || !restless.is_empty(), || format!("it writes and writes: {marks:?}"))?;
        let calm = pass.plan.stacks.iter().filter(|(slug, _)| !restless.contains(slug));
        let steps: Vec<String> = calm.flat_map(|(_, stack)| &stack.steps).map(said_of_step).collect();
        check("law 1, settles", steps.is_empty(), || format!("at rest there are steps: {steps:#?}"))?;
        let again = reconcile::pass(&mut self.site(0, &wires).await, Look::Hosts, &reconcile::Context::default()).await;
        let again = again.map_err(|error| format!("the last look failed: {error:?}"))?;
        let marks: Vec<&BadMark> = pass.ledger.records.values().flat_map(|record| record.bad.values()).collect();
        check("what works is not blamed", self.content == Content::MayFail || marks.is_empty(), || {
            format!("{marks:#?}")
        })?;
        check("law 2, same in, same out", again.plan == pass.plan && again.placement == pass.placement, || {
            format!("two looks at the same differ: {:#?} and {:#?}", pass.plan, again.plan)
        })?;
        let mut ledger = Ledger::clone(&pass.ledger);
        for slug in &restless {
            // It may be tried just now, and what is recorded of it changes with each try.
            if let Some(record) = ledger.records.get_mut(*slug) {
                (record.next, record.running) = (None, None);
            }
        }
        let rest = AtRest {
            ledger: &ledger,
            machines: &self.machines,
            wants: &pass.wants,
            placement: &pass.placement,
            world: &pass.world,
            were_away: self.eyes.were_away(),
        };
        verdict::truth(&rest)?;
        verdict::answers(&rest)?;
        let head = self.server.head(BRANCH);
        let rewritten = pass.plan.holds.iter().any(|hold| matches!(hold, Hold::HistoryRewritten { .. }));
        check("the last push counts", rewritten || head.as_ref() == Some(&pass.revision), || {
            format!("the head is {head:?}, looked at was {}", pass.revision)
        })?;
        for (slug, want) in &pass.wants {
            let Want::Stack { stack, why: Why::Head, .. } = want else { continue };
            let plan = &pass.plan.stacks[slug];
            if !plan.holds.is_empty() || restless.contains(slug) {
                continue;
            }
            let record = pass.ledger.records.get(slug);
            let runs = record.and_then(|record| record.running.as_ref()).is_some_and(|r| r.content == stack.content);
            let status = record.map(|record| record.status);
            check("the last push is what runs", runs && status == Some(StackStatus::Running), || {
                format!("{slug} is {status:?} and nothing holds it: {record:#?}")
            })?;
        }
        self.silence(&pass.ledger.commit)
    }

    /// Whether a stack is recorded as running although a part of it does not work: that part was held when the rest came
    /// up. It is tried again and again, ever more rarely, and takes nothing back with it.
    fn is_sick(&self, pass: &Pass, slug: &StackSlug) -> bool {
        let record = pass.ledger.records.get(slug);
        let running = record.and_then(|record| record.running.as_ref());
        let wanted = pass.wants.get(slug).and_then(Want::stack);
        let is_recorded = running.zip(wanted).is_some_and(|(running, wanted)| running.content == wanted.content);
        // Not what the head asks for: a stack may be kept as it was.
        let bad = |service: &Service| {
            let image = service.image.to_string();
            ["example/never-", "example/exits-", "example/missing:"].iter().any(|bad| image.starts_with(bad))
        };
        let status = record.map(|record| record.status);
        let is_tried = matches!(status, Some(StackStatus::Degraded | StackStatus::Failed | StackStatus::Deploying));
        is_recorded && is_tried && wanted.is_some_and(|wanted| wanted.services.iter().any(|service| bad(service)))
    }

    /// 15: no secret in any commit of the ledger.
    fn silence(&self, head: &Option<Revision>) -> Verdict {
        let mut open: Vec<Revision> = head.iter().cloned().collect();
        let mut seen = BTreeSet::new();
        let mut texts: BTreeSet<Arc<str>> = BTreeSet::new();
        while let Some(revision) = open.pop() {
            let Some(commit) = self.server.find(&revision).filter(|_| seen.insert(revision)) else { continue };
            silent(&commit.message)?;
            texts.extend(commit.files.values().filter_map(|entry| match entry {
                Entry::Text(text) => Some(text.clone()),
                Entry::Symlink => None,
            }));
            open.extend(commit.parents);
        }
        texts.iter().try_for_each(|text| silent(text))
    }
}

/// A service that may die at any poll.
struct Mortal<'a> {
    life: Pin<Box<dyn Future<Output = Result<(), PassError>> + Send + 'a>>,
    polls_left: Arc<Mutex<Option<u64>>>,
}

impl Future for Mortal<'_> {
    /// None: it died.
    type Output = Option<Result<(), PassError>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(left) = &mut *self.polls_left.lock().expect("nothing panics here") {
            if *left == 0 {
                return Poll::Ready(None);
            }
            *left -= 1;
        }
        self.life.as_mut().poll(context).map(Some)
    }
}

fn panic_text(error: tokio::task::JoinError) -> String {
    match error.try_into_panic() {
        Ok(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
        }
        Err(_) => "it was cancelled".to_owned(),
    }
}
