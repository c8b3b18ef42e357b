//! The real controller between simulated engines and a simulated repository, over many stories.
//!
//! A story follows from one number: commits, mistakes, faults of engines and of Git, crashes between any two calls, cut
//! wires, jumps of the clock, a second controller. The laws of DESIGN section 9 are judged after every call that changes
//! anything; at the end the faults are lifted and everything must come to rest.
//!
//! `SIM_SEEDS` says how many stories, `SIM_FIRST` where they begin, `SIM_SEED` tells one aloud. For many of them build with
//! `--profile simulation`.

#[path = "simulation/eyes.rs"]
mod eyes;
#[path = "simulation/gate.rs"]
mod gate;
#[path = "support/shape.rs"]
mod shape;
#[path = "simulation/stage.rs"]
mod stage;
#[path = "simulation/story.rs"]
mod story;
#[path = "support/verdict.rs"]
mod verdict;
#[path = "support/worlds.rs"]
mod worlds;
#[path = "support/written.rs"]
mod written;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bayplan::engine::memory::faults::{Call, Fault, Times, Which};
use bayplan::model::host::HostStatus;
use bayplan::model::stack::{StartOrder, Strategy, UpdateOrder, WaitForHealthy};

use eyes::Counts;
use shape::{Edit, HealthShape, HostShape, Image, PortShape, Repo, ServiceShape, StackShape};
use stage::{Telling, Told, play};
use story::{Content, End, Event, Place, Spoil, Story, Strategies, Turn};

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Takes turns away, many and then few, for as long as the story still breaks the same law.
fn shrunk(story: Story, law: &str) -> Story {
    let same = |story: &Story| play(story, Telling::Silent).verdict.is_err_and(|why| law_of(&why) == law);
    let mut story = story;
    let mut size = story.turns.len().max(1);
    while size > 0 {
        let mut at = 0;
        while at < story.turns.len() {
            let shorter = story.without(at..(at + size).min(story.turns.len()));
            if same(&shorter) {
                story = shorter;
            } else {
                at += size;
            }
        }
        size /= 2;
    }
    for stack in story.repo.stacks.keys().copied().collect::<Vec<_>>() {
        let mut smaller = story.clone();
        smaller.repo.stacks.remove(&stack);
        if same(&smaller) {
            story = smaller;
        }
    }
    story
}

/// The first words of what is wrong.
fn law_of(why: &str) -> String {
    why.split(':').next().unwrap_or_default().to_owned()
}

fn report(seed: u64, story: &Story, why: &str) -> String {
    let law = law_of(why);
    let story = shrunk(story.clone(), &law);
    let told = play(&story, Telling::Aloud);
    let thread = std::thread::current();
    let test = thread.name().unwrap_or_default();
    let mut text = format!("seed {seed}: {why}\n\nagain: SIM_SEED={seed} cargo test --test simulation {test}\n\n");
    let _ = writeln!(text, "what is left of the story ({:?}, {:?}):\n{:#?}", story.place, story.end, story.repo);
    for turn in &story.turns {
        let _ = writeln!(text, "  {:?}, then {:?} pass", turn.event, turn.pause);
    }
    let _ = writeln!(text, "\nas told:");
    for line in &told.tale {
        let _ = writeln!(text, "  {line}");
    }
    if let Err(why) = told.verdict {
        let _ = writeln!(text, "{why}");
    }
    text
}

/// A story takes some milliseconds.
const LONGEST_STORY: Duration = Duration::from_secs(60);

/// The story that a thread tells, and since when.
type Teller = Mutex<(u64, Instant)>;

/// Ends a run in which a story goes on and on, and says which: nothing else can stop one that never waits.
fn watch(tellers: &[Teller], left: &AtomicUsize) {
    while left.load(Ordering::Relaxed) > 0 {
        for teller in tellers {
            let (seed, since) = *teller.lock().expect("nobody panics here");
            if since.elapsed() > LONGEST_STORY {
                let why = format!("seed {seed} does not end\n\nagain: SIM_SEED={seed} cargo test --test simulation\n");
                std::io::stderr().write_all(why.as_bytes()).expect("stderr takes a line");
                std::process::exit(101);
            }
        }
        std::thread::park_timeout(Duration::from_millis(100));
    }
}

/// Tells the stories that are asked for, on all cores. Ends with the first in which a law is broken, made as short as it
/// gets. Gives nothing if a single one was asked for, which is told aloud.
fn tell(strategies: fn() -> Strategies) -> Option<Counts> {
    if let Some(seed) = number("SIM_SEED") {
        let story = Story::of(seed, &strategies());
        let told = play(&story, Telling::Aloud);
        if let Err(why) = told.verdict {
            panic!("{}", report(seed, &story, &why));
        }
        let story = format!("{story:#?}\n\n{}\n", told.tale.join("\n"));
        std::io::stdout().write_all(story.as_bytes()).expect("stdout takes a story");
        return None;
    }
    let first = number("SIM_FIRST").unwrap_or(0);
    let end = first + number("SIM_SEEDS").unwrap_or(200);
    let next = AtomicU64::new(first);
    let broken: Mutex<Vec<(u64, Story, String)>> = Mutex::default();
    let most = number("SIM_FAILURES").unwrap_or(1) as usize;
    let enough = AtomicBool::new(false);
    let counts = Mutex::new(Counts::default());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let tellers: Vec<Teller> = (0..threads).map(|_| Mutex::new((first, Instant::now()))).collect();
    let left = AtomicUsize::new(threads);
    std::thread::scope(|scope| {
        scope.spawn(|| watch(&tellers, &left));
        for teller in &tellers {
            let (left, next, enough, broken, counts) = (&left, &next, &enough, &broken, &counts);
            scope.spawn(move || {
                let strategies = strategies();
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end || enough.load(Ordering::Relaxed) {
                        break;
                    }
                    let story = Story::of(seed, &strategies);
                    *teller.lock().expect("nobody panics here") = (seed, Instant::now());
                    let told = play(&story, Telling::Silent);
                    counts.lock().expect("nobody panics here").add(&told.counts);
                    if let Err(why) = told.verdict {
                        let mut broken = broken.lock().expect("nobody panics here");
                        broken.push((seed, story, why));
                        enough.store(broken.len() >= most, Ordering::Relaxed);
                    }
                }
                left.fetch_sub(1, Ordering::Relaxed);
            });
        }
    });
    let mut broken = broken.into_inner().expect("nobody panics here");
    broken.sort_by_key(|(seed, ..)| *seed);
    let counts = counts.into_inner().expect("nobody panics here");
    if broken.len() > 1 {
        let list: Vec<String> =
            broken.iter().map(|(seed, _, why)| format!("{seed}: {}", why.lines().next().unwrap_or_default())).collect();
        panic!("{counts:#?}\n{}", list.join("\n"));
    }
    if let Some((seed, story, why)) = broken.first() {
        panic!("{}", report(*seed, story, why));
    }
    let told = format!("stories {first} to {end}: {counts:?}\n");
    std::io::stdout().write_all(told.as_bytes()).expect("stdout takes a line");
    Some(counts)
}

#[test]
fn whatever_happens_the_laws_hold_and_in_the_end_the_last_push_is_what_runs() {
    let Some(counts) = tell(Strategies::new) else { return };
    assert!(counts.writes > 0 && counts.rolled_back > 0 && counts.promises_kept > 0, "{counts:?}");
}

#[test]
fn content_that_works_is_not_blamed_for_what_killed_controllers_had_asked_for() {
    let Some(counts) = tell(Strategies::of_killed_controllers) else { return };
    assert!(counts.ended > 0 && counts.rolled_back == 0, "{counts:?}");
}

#[test]
fn a_story_is_told_the_same_way_each_time() {
    let strategies = Strategies::new();
    for seed in 0..10 {
        let story = Story::of(seed, &strategies);
        let (one, other) = (play(&story, Telling::Aloud).tale, play(&story, Telling::Aloud).tale);
        let differs = one.iter().zip(&other).find(|(one, other)| one != other);
        assert!(differs.is_none() && one.len() == other.len(), "seed {seed}: {differs:#?}");
    }
}

fn service(port: PortShape) -> ServiceShape {
    ServiceShape {
        image: Image::Good(1),
        secret: 0,
        port,
        volume: false,
        replicas: 1,
        needs: BTreeMap::new(),
        target: None,
        update: UpdateOrder::Auto,
        health: HealthShape::None,
        action: false,
        apart: false,
    }
}

fn stack(services: impl IntoIterator<Item = (u8, ServiceShape)>) -> StackShape {
    let services = services.into_iter().collect();
    StackShape { placement: Strategy::Auto, order: StartOrder::Dependencies, services }
}

/// Events half a minute apart around one stack and two hosts.
fn told_of(stack: StackShape, events: impl IntoIterator<Item = Event>) -> Told {
    told_with_pauses(stack, events.into_iter().map(|event| (event, Duration::from_secs(30))))
}

fn told_with_pauses(stack: StackShape, events: impl IntoIterator<Item = (Event, Duration)>) -> Told {
    let hosts = [0, 1].map(|number| (number, HostShape { engine: number, status: HostStatus::Active })).into();
    let repo = Repo { stacks: [(0, stack)].into(), hosts };
    let turns = events.into_iter().map(|(event, pause)| Turn { event, pause });
    play(
        &Story { repo, place: Place::Here, turns: turns.collect(), end: End::GoesOn, content: Content::MayFail },
        Telling::Aloud,
    )
}

#[test]
fn a_host_port_goes_from_one_service_of_a_stack_to_another() {
    let with_port = || service(PortShape::Explicit(80));
    let pinned = |service| ServiceShape { target: Some(0), ..service };
    let handed_over = stack([(0, pinned(service(PortShape::None))), (1, pinned(with_port()))]);
    let told = told_of(stack([(0, pinned(with_port()))]), [Event::Commit(Edit::Stack(0, handed_over))]);
    assert_eq!(told.verdict, Ok(()), "{:#?}", told.tale);
    let ends: Vec<&str> =
        told.tale.iter().filter_map(|line| line.split_once(" ended as ")).map(|(_, end)| end).collect();
    assert_eq!(ends, ["Some(Running)"; 2], "{:#?}", told.tale);
}

#[test]
fn what_an_engine_never_shows_is_made_again_only_after_pauses() {
    let blind = Event::Fault {
        engine: 0,
        fault: Fault::Stale,
        which: Which::Only(Call::Containers),
        times: Times::UntilLifted,
    };
    let elsewhere = Event::Commit(Edit::Host(1, HostShape { engine: 0, status: HostStatus::Active }));
    let there = ServiceShape { target: Some(1), ..service(PortShape::None) };
    let told = told_of(stack([(0, there)]), [blind, elsewhere]);
    assert_eq!(told.verdict, Ok(()), "{:#?}", told.tale);
    let made = told.tale.iter().filter(|line| line.contains("engine-0: create stack-0-s0-1")).count();
    assert!((2..10).contains(&made), "made {made} times: {:#?}", told.tale);
}

#[test]
fn what_last_ran_is_understood_again_when_its_host_is_back() {
    let there = stack([(0, ServiceShape { target: Some(1), ..service(PortShape::None) })]);
    let back = HostShape { engine: 0, status: HostStatus::Active };
    let events = [
        Event::Spoil(Spoil::Syntax(0)),
        Event::Commit(Edit::RemoveHost(1)),
        Event::Restart(0),
        Event::Commit(Edit::Host(1, back)),
    ];
    let told = told_of(there, events);
    assert_eq!(told.verdict, Ok(()), "{:#?}", told.tale);
    assert!(told.tale.iter().any(|line| line.contains("engine-0: start stack-0-s0-1")), "{:#?}", told.tale);
}

#[test]
fn a_removal_that_was_interrupted_is_not_taken_for_done() {
    let needs_it = ServiceShape { needs: BTreeMap::from([(0, WaitForHealthy::Yes)]), ..service(PortShape::None) };
    let events = [
        (Event::Commit(Edit::RemoveStack(0)), Duration::from_millis(2)),
        // It may be the stack that goes: what is left of it must not be forgotten.
        (Event::Spoil(Spoil::Nameless), Duration::from_secs(30)),
    ];
    let told = told_with_pauses(stack([(0, service(PortShape::None)), (1, needs_it)]), events);
    assert_eq!(told.verdict, Ok(()), "{:#?}", told.tale);
    assert!(told.tale.iter().any(|line| line.contains("interrupted, and goes on")), "{:#?}", told.tale);
}

#[test]
fn what_was_reconnected_by_hand_has_its_name_and_its_ports_again() {
    for (port, healed) in [(PortShape::None, "set aliases"), (PortShape::Explicit(80), "start stack-0-s0-1")] {
        let told = told_with_pauses(stack([(0, service(port))]), [(Event::Reconnect(0), Duration::from_secs(90))]);
        assert_eq!(told.verdict, Ok(()), "{:#?}", told.tale);
        let after = told.tale.iter().skip_while(|line| !line.contains("--- Reconnect"));
        let before_the_end = after.take_while(|line| !line.contains("--- everything is well"));
        assert!(before_the_end.clone().any(|line| line.contains(healed)), "{:#?}", told.tale);
    }
}
