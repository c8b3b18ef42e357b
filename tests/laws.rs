//! The laws of DESIGN section 9, over generated repositories, fleets, mishaps and crashes.
//!
//! Each test is a kind of story; the checks themselves are in `support/checks.rs`. `LAWS_CASES` multiplies the number of
//! stories for a long run, and `LAWS_SEED` gives another set of them.

#[path = "support/checks.rs"]
mod checks;
#[path = "support/line.rs"]
mod line;
#[path = "support/shape.rs"]
mod shape;
#[path = "support/verdict.rs"]
mod verdict;
#[path = "support/worlds.rs"]
mod worlds;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bayplan::engine::Engine as _;
use bayplan::engine::memory::behind::EngineEnd;
use bayplan::engine::memory::faults::{Call, Fault, Times, Which};
use bayplan::model::host::{Endpoint, HostStatus};
use bayplan::model::record::StackStatus;
use bayplan::model::request::VolumeRequest;
use bayplan::model::stack::Protocol;
use bayplan::name::{HostName, InstanceId, VolumeName};
use bayplan::plan::step::Act;
use checks::{Nobody, Watch, machines};
use line::{Carry, Line};
use proptest::prelude::{BoxedStrategy, Just, ProptestConfig, Strategy as _, any, prop_oneof};
use proptest::test_runner::{TestCaseError, TestRunner};
use shape::{Edit, HostShape, Image, Repo};
use verdict::{OWNER, Verdict};

/// Something that happens between two passes.
#[derive(Debug, Clone)]
enum Event {
    Commit(Edit),
    /// To the n-th of our containers, as often as there are.
    Kill(usize),
    Crash(usize),
    Remove(usize),
    Foreign {
        engine: u8,
        stack: u8,
        service: u8,
    },
    TakePort {
        engine: u8,
        port: u16,
    },
    RestartEngine(u8, EngineEnd),
    Fault {
        engine: u8,
        fault: Fault,
        which: Which,
        times: Times,
    },
    LiftFaults,
    Rest(Duration),
}

#[derive(Debug, Clone)]
struct Turn {
    event: Event,
    carry: Carry,
}

fn carries() -> BoxedStrategy<Carry> {
    let crash = proptest::option::weighted(0.3, 0usize..12);
    prop_oneof![
        1 => Just(Carry::Whole),
        2 => (any::<u64>(), crash).prop_map(|(order, crash_after)| Carry::Stepwise { order, crash_after }),
        1 => (0u64..6000).prop_map(|millis| Carry::CutOff(Duration::from_millis(millis))),
    ]
    .boxed()
}

fn calls() -> BoxedStrategy<Which> {
    let calls = vec![
        Call::About,
        Call::Containers,
        Call::Networks,
        Call::Volumes,
        Call::Container,
        Call::Image,
        Call::AskRegistry,
        Call::Pull,
        Call::CreateNetwork,
        Call::RemoveNetwork,
        Call::CreateVolume,
        Call::Create,
        Call::Start,
        Call::Stop,
        Call::Remove,
        Call::Rename,
        Call::SetAliases,
        Call::Exec,
        Call::Logs,
    ];
    prop_oneof![1 => Just(Which::Every), 4 => proptest::sample::select(calls).prop_map(Which::Only)].boxed()
}

fn restarts() -> BoxedStrategy<Event> {
    let ends = proptest::sample::select(vec![EngineEnd::Stopped, EngineEnd::Killed]);
    (0u8..3, ends).prop_map(|(engine, end)| Event::RestartEngine(engine, end)).boxed()
}

fn faults() -> BoxedStrategy<Event> {
    let fault = prop_oneof![
        Just(Fault::Refuse("no".to_owned())),
        Just(Fault::Fail("oh".to_owned())),
        Just(Fault::Hang),
        Just(Fault::ReplyLost),
        (1u64..100).prop_map(|seconds| Fault::Late(Duration::from_secs(seconds))),
        Just(Fault::Down),
        Just(Fault::Stale),
    ];
    let times = prop_oneof![(1u32..4).prop_map(Times::Next), Just(Times::UntilLifted)];
    (0u8..3, fault, calls(), times)
        .prop_map(|(engine, fault, which, times)| Event::Fault { engine, fault, which, times })
        .boxed()
}

fn events() -> BoxedStrategy<Event> {
    prop_oneof![
        8 => shape::edits().prop_map(Event::Commit),
        1 => (0usize..8).prop_map(Event::Kill),
        1 => (0usize..8).prop_map(Event::Crash),
        1 => (0usize..8).prop_map(Event::Remove),
        1 => (0u8..3, 0u8..3, 0u8..4).prop_map(|(engine, stack, service)| Event::Foreign { engine, stack, service }),
        1 => (0u8..3, 80u16..82).prop_map(|(engine, port)| Event::TakePort { engine, port }),
        1 => restarts(),
        3 => faults(),
        1 => Just(Event::LiftFaults),
        1 => (1u64..200).prop_map(|seconds| Event::Rest(Duration::from_secs(seconds))),
    ]
    .boxed()
}

fn turns(events: BoxedStrategy<Event>, most: usize) -> BoxedStrategy<Vec<Turn>> {
    proptest::collection::vec((events, carries()).prop_map(|(event, carry)| Turn { event, carry }), 1..=most).boxed()
}

/// A line with its repository, watched.
struct Stage {
    repo: Repo,
    line: Line,
    watch: Watch,
    ports: Vec<(Endpoint, u16)>,
}

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

impl Stage {
    fn new(repo: &Repo) -> Self {
        Self { repo: repo.clone(), line: Line::new(repo), watch: Watch::default(), ports: Vec::new() }
    }

    fn commit(&mut self, edit: &Edit) {
        self.repo = self.repo.edited(edit);
        self.line.commit(self.repo.desired());
    }

    /// Things of somebody else on every engine.
    async fn furnish(&mut self) {
        for machine in self.line.machines.values() {
            machine.add_foreign("somebody-elses", BTreeMap::new()).expect("an empty machine");
            let labels = BTreeMap::from([(bayplan::model::request::LABEL_OWNER.to_owned(), "another".to_owned())]);
            machine.add_foreign("another-owners", labels.clone()).expect("an empty machine");
            machine.add_network("somebody-elses", BTreeMap::new());
            let name = VolumeName::new("stack-0-s0").expect("a name");
            let volume = VolumeRequest { name, driver: "local".to_owned(), labels };
            machine.create_volume(&volume).await.expect("an empty machine");
        }
    }

    fn happens(&mut self, event: &Event) {
        let engine = |number: &u8| self.line.machines.get(&shape::engine_named(*number));
        let ours = |number: &usize| {
            let all = self.line.machines.values().flat_map(|machine| {
                let containers = machine.holds().containers.into_iter();
                containers.filter(|c| c.ours(OWNER).is_some()).map(move |c| (machine.clone(), c.id))
            });
            let all: Vec<_> = all.collect();
            (!all.is_empty()).then(|| all[number % all.len()].clone())
        };
        // What is not there, or does not run, cannot be hit, and that is fine.
        match event {
            Event::Commit(edit) => self.commit(edit),
            Event::Kill(number) => drop(ours(number).map(|(machine, id)| machine.kill(&id))),
            Event::Crash(number) => drop(ours(number).map(|(machine, id)| machine.crash(&id, 3))),
            Event::Remove(number) => drop(ours(number).map(|(machine, id)| machine.remove_behind(&id))),
            Event::Foreign { engine: number, stack, service } => {
                let name = format!("{}-{}-1", shape::stack_named(*stack), shape::service_named(*service));
                let _ = engine(number).map(|machine| machine.add_foreign(&name, BTreeMap::new()));
            }
            Event::TakePort { engine: number, port } => {
                if let Some(machine) = engine(number) {
                    machine.take_port(LOCAL, *port, Protocol::Tcp);
                    self.ports.push((shape::engine_named(*number), *port));
                }
            }
            Event::RestartEngine(number, end) => drop(engine(number).map(|machine| machine.restart_engine(*end))),
            Event::Fault { engine: number, fault, which, times } => {
                let _ = engine(number).map(|machine| machine.fault(fault.clone(), *which, *times));
            }
            Event::LiftFaults => self.calm(),
            Event::Rest(_) => {}
        }
    }

    /// The world is in nobody's way any more.
    fn calm(&mut self) {
        self.line.machines.values().for_each(|machine| machine.lift_all());
        for (endpoint, port) in self.ports.drain(..) {
            self.line.machines[&endpoint].free_port(LOCAL, port, Protocol::Tcp);
        }
    }

    /// A pass, with everything that must hold after any.
    async fn pass(&mut self, carry: Carry) -> Verdict {
        let before = machines(&self.line);
        let done = self.line.pass(carry, &mut self.watch).await;
        let after = machines(&self.line);
        self.watch.verdict()?;
        checks::same_in_same_out(&self.line, &done.pass)?;
        verdict::hands_off(&before, &after)?;
        verdict::keeps_data(&before, &after)?;
        checks::blind_is_not_empty(&done.pass, &before, &after, &self.line.ledger)?;
        verdict::explains(&done.pass.plan, &done.pass.placement)?;
        checks::brake(&self.line, &done.pass, &before, &after)?;
        checks::silence(&self.line)?;
        self.line.said.clear();
        Ok(())
    }

    /// Settles, with everything that must hold at rest.
    async fn rest(&mut self) -> Verdict {
        // What was hit just now is started again by its engine, which takes up to a minute.
        tokio::time::sleep(Duration::from_secs(100)).await;
        let pass = self.line.settle(&mut Nobody).await.map_err(|why| format!("law 1, settles: {why}"))?;
        checks::settled(&mut self.line).await?;
        verdict::truth(&checks::at_rest(&self.line, &pass))?;
        verdict::answers(&checks::at_rest(&self.line, &pass))?;
        checks::silence(&self.line)?;
        self.line.said.clear();
        Ok(())
    }

    /// What there is, without what may differ between two ways to the same end.
    fn picture(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (endpoint, machine) in &self.line.machines {
            let seen = machine.holds();
            for container in seen.containers {
                let ours = container.ours(OWNER);
                let names = machine.aliases(&container.id);
                let (name, state) = (&container.name, container.state);
                let digest = ours.map(|ours| &ours.digest);
                lines.push(format!("{endpoint} container {name} {digest:?} {state:?} {names:?} {:?}", container.ports));
            }
            lines.extend(seen.networks.iter().map(|network| format!("{endpoint} network {}", network.name)));
            lines.extend(seen.volumes.iter().map(|volume| format!("{endpoint} volume {}", volume.name)));
        }
        for (slug, record) in &self.line.ledger.records {
            lines.push(format!("{slug} {} bad {:?}", record.status.as_str(), record.bad.keys()));
            for (id, i) in record.running.iter().flat_map(|running| &running.instances) {
                lines.push(format!("{id} on {} {:?} {:?} {:?}", i.host, i.digest, i.ports, i.health));
            }
        }
        lines.sort();
        lines
    }

    fn hosts(&self) -> BTreeMap<InstanceId, HostName> {
        let records = self.line.ledger.records.values().filter_map(|record| record.running.as_ref());
        records.flat_map(|running| running.instances.iter().map(|(id, i)| (id.clone(), i.host.clone()))).collect()
    }
}

/// Time stands still but for sleeps, which so take none.
fn played(story: impl Future<Output = Verdict>) -> Result<(), TestCaseError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let told =
        tracing::subscriber::with_default(subscriber, || runtime.expect("a runtime without I/O").block_on(story));
    let written = log.0.lock().expect("nobody panics while writing").clone();
    told.and_then(|()| verdict::silent(&String::from_utf8_lossy(&written))).map_err(TestCaseError::fail)
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

/// Tells so many stories, the same ones each time unless `LAWS_SEED` says otherwise.
fn stories<T: std::fmt::Debug>(cases: u32, of: &BoxedStrategy<T>, story: impl Fn(&T) -> Result<(), TestCaseError>) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u32>().ok());
    let cases = cases * number("LAWS_CASES").unwrap_or(1);
    let config =
        ProptestConfig { cases, failure_persistence: None, max_shrink_iters: 400, ..ProptestConfig::default() };
    let mut seed = [7_u8; 32];
    seed[..4].copy_from_slice(&number("LAWS_SEED").unwrap_or(0).to_le_bytes());
    let chance = proptest::test_runner::TestRng::from_seed(proptest::test_runner::RngAlgorithm::ChaCha, &seed);
    let mut runner = TestRunner::new_with_rng(config, chance);
    if let Err(broken) = runner.run(of, |told| story(&told)) {
        panic!("{broken}");
    }
}

fn good_images() -> BoxedStrategy<Image> {
    prop_oneof![3 => (0u8..4).prop_map(Image::Good), 1 => Just(Image::HealthyLater)].boxed()
}

#[test]
fn whatever_is_committed_settles_and_is_as_recorded() {
    let of = (shape::repos(shape::images()), proptest::collection::vec((shape::edits(), any::<u64>()), 0..4)).boxed();
    stories(180, &of, |(repo, edits)| {
        played(async {
            let mut stage = Stage::new(repo);
            stage.furnish().await;
            stage.pass(Carry::Stepwise { order: 1, crash_after: None }).await?;
            stage.rest().await?;
            for (edit, order) in edits {
                stage.commit(edit);
                stage.pass(Carry::Stepwise { order: *order, crash_after: None }).await?;
                stage.rest().await?;
            }
            Ok(())
        })
    });
}

#[test]
fn whatever_happens_the_laws_hold_and_afterwards_the_fleet_settles() {
    let of = (shape::repos(shape::images()), turns(events(), 6)).boxed();
    stories(300, &of, |(repo, turns)| {
        played(async {
            let mut stage = Stage::new(repo);
            stage.furnish().await;
            stage.pass(Carry::Whole).await?;
            for turn in turns {
                stage.happens(&turn.event);
                if let Event::Rest(time) = turn.event {
                    tokio::time::sleep(time).await;
                }
                stage.pass(turn.carry).await?;
            }
            stage.calm();
            stage.rest().await
        })
    });
}

#[test]
fn a_crash_after_any_step_ends_where_it_would_have_ended_without() {
    let of =
        (shape::repos(shape::images()), shape::edits(), any::<u64>(), 0usize..30, proptest::option::of(0usize..10));
    stories(180, &of.boxed(), |(repo, edit, order, crash, again)| {
        played(async {
            let mut calm = Stage::new(repo);
            let mut crashed = Stage::new(repo);
            for stage in [&mut calm, &mut crashed] {
                stage.rest().await?;
                stage.commit(edit);
            }
            calm.rest().await?;
            crashed.pass(Carry::Stepwise { order: *order, crash_after: Some(*crash) }).await?;
            if let Some(again) = again {
                crashed.pass(Carry::Stepwise { order: order.rotate_left(9), crash_after: Some(*again) }).await?;
            }
            crashed.rest().await?;
            let (expected, found) = (calm.picture(), crashed.picture());
            let missing: Vec<_> = expected.iter().filter(|line| !found.contains(line)).collect();
            let odd: Vec<_> = found.iter().filter(|line| !expected.contains(line)).collect();
            let same = missing.is_empty() && odd.is_empty() && expected.len() == found.len();
            if same { Ok(()) } else { Err(format!("law 9, survives: missing {missing:#?}, and instead {odd:#?}")) }
        })
    });
}

#[test]
fn what_did_not_change_and_depends_on_nothing_that_did_has_no_steps() {
    let of = (
        shape::repos(good_images()),
        (0u8..3, 0u8..4),
        prop_oneof![
            (0u8..4).prop_map(|secret| (Some(secret), None)),
            (0u8..4).prop_map(|version| (None, Some(version))),
        ],
    );
    stories(180, &of.boxed(), |(repo, (stack, service), (secret, version))| {
        played(async {
            let mut stage = Stage::new(repo);
            stage.rest().await?;
            let edit = match (secret, version) {
                (Some(secret), _) => Edit::Secret(*stack, *service, *secret),
                (None, version) => Edit::Image(*stack, *service, Image::Good(version.unwrap_or(0))),
            };
            stage.commit(&edit);
            let pass = stage.line.look().await;
            let slug = worlds::slug(&shape::stack_named(*stack));
            let name = worlds::service_name(&shape::service_named(*service));
            for (of, plan) in &pass.plan.stacks {
                for step in &plan.steps {
                    let is_of_it = step.instance.as_ref().is_some_and(|id| id.stack == slug && id.service == name);
                    // To ask whether a requirement is healthy changes nothing of it.
                    let asks = matches!(step.act, Act::AwaitHealthy { .. });
                    if !is_of_it && !asks {
                        return Err(format!(
                            "law 8, minimal: {edit:?} makes a step of {of}: {}",
                            verdict::said_of_step(step)
                        ));
                    }
                }
            }
            Ok(())
        })
    });
}

#[test]
fn a_new_host_moves_nothing() {
    stories(120, &shape::repos(shape::images()), |repo| {
        played(async {
            let mut stage = Stage::new(repo);
            stage.rest().await?;
            let (before, held) = (stage.hosts(), stage.line.look().await.placement.held);
            stage.commit(&Edit::Host(9, HostShape { engine: 9, status: HostStatus::Active }));
            let pass = stage.line.look().await;
            for (id, host) in before.iter().filter(|(id, _)| held.keys().all(|held| held.stack != id.stack)) {
                let now = pass.placement.mapping.get(id).map(|placed| &placed.host);
                if now != Some(host) {
                    return Err(format!("law 10, stays put: {id} was on {host} and goes to {now:?}"));
                }
            }
            Ok(())
        })
    });
}

#[test]
fn a_host_that_falls_silent_loses_nothing_and_finds_itself_as_it_was() {
    let silence = prop_oneof![Just(Fault::Hang), Just(Fault::Down), Just(Fault::Fail("oh".to_owned()))];
    let of = (shape::repos(good_images()), 0u8..3, silence, proptest::option::of(shape::edits()));
    stories(120, &of.boxed(), |(repo, engine, silence, edit)| {
        played(async {
            let mut stage = Stage::new(repo);
            stage.rest().await?;
            let (picture, all_runs) = (stage.picture(), all_run(&stage));
            stage.happens(&Event::Fault {
                engine: *engine,
                fault: silence.clone(),
                which: Which::Every,
                times: Times::UntilLifted,
            });
            if let Some(edit) = edit {
                stage.commit(edit);
            }
            stage.pass(Carry::Whole).await?;
            stage.pass(Carry::Whole).await?;
            stage.calm();
            stage.rest().await?;
            let same = edit.is_some() || !all_runs || stage.picture() == picture;
            if same { Ok(()) } else { Err(format!("law 5: it was {picture:#?} and is {:#?}", stage.picture())) }
        })
    });
}

fn all_run(stage: &Stage) -> bool {
    stage.line.ledger.records.values().all(|record| record.status == StackStatus::Running)
}

#[test]
fn what_is_hit_behind_our_back_is_healed_to_what_it_was() {
    let hit = prop_oneof![
        (0usize..8).prop_map(Event::Kill),
        (0usize..8).prop_map(Event::Crash),
        (0usize..8).prop_map(Event::Remove),
        restarts(),
    ];
    let of = (shape::repos(good_images()), proptest::collection::vec(hit, 1..4), carries());
    stories(120, &of.boxed(), |(repo, hits, carry)| {
        played(async {
            let mut stage = Stage::new(repo);
            stage.rest().await?;
            let (picture, all_runs) = (stage.picture(), all_run(&stage));
            for hit in hits {
                stage.happens(hit);
            }
            stage.pass(*carry).await?;
            stage.rest().await?;
            let same = !all_runs || stage.picture() == picture;
            if same { Ok(()) } else { Err(format!("healed to {:#?}, was {picture:#?}", stage.picture())) }
        })
    });
}

#[test]
fn everything_removed_at_once_waits_for_a_word_and_goes_with_it() {
    stories(60, &(shape::repos(good_images()), any::<u64>()).boxed(), |(repo, order)| {
        played(async {
            let mut stage = Stage::new(repo);
            stage.rest().await?;
            let before: BTreeSet<InstanceId> = stage.hosts().into_keys().collect();
            for number in 0..3 {
                stage.commit(&Edit::RemoveStack(number));
            }
            stage.pass(Carry::Whole).await?;
            let braked = stage.line.look().await.plan.braked;
            let Some(braked) = braked.into_iter().next() else {
                let few = before.len() <= 3;
                return if few { Ok(()) } else { Err(format!("law 13, brake: {before:?} went without a word")) };
            };
            stage.line.allowed_removals.insert(braked.digest);
            stage.line.pass(Carry::Stepwise { order: *order, crash_after: None }, &mut stage.watch).await;
            stage.watch.verdict()?;
            stage.line.settle(&mut Nobody).await?;
            let left: Vec<String> = stage.picture().into_iter().filter(|line| line.contains(" container ")).collect();
            if left.is_empty() { Ok(()) } else { Err(format!("after the word there is still {left:#?}")) }
        })
    });
}
