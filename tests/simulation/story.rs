//! A story: a repository and what happens around it, turn by turn, from one number.

use bayplan::engine::memory::behind::EngineEnd;
use bayplan::engine::memory::faults::{Call, Fault, Times, Which};
use bayplan::source::memory::faults as git;
use proptest::prelude::{BoxedStrategy, Just, Strategy as _, prop_oneof};
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::time::Duration;

use crate::shape::{self, Edit, Image, Repo};

#[derive(Debug, Clone)]
pub struct Story {
    pub repo: Repo,
    pub place: Place,
    pub turns: Vec<Turn>,
    pub end: End,
    pub content: Content,
}

/// Whether anything that is committed, or that happens to it, may be said to be bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    MayFail,
    Works,
}

/// Where controllers read the repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In place; several share it, and there is no remote one.
    Here,
    /// From a mirror each, of one remote repository.
    Mirrors,
}

/// What happens before the fleet must settle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The service starts anew, as after an upgrade.
    Anew,
    /// It goes on with all that it remembers.
    GoesOn,
}

/// Something happens, and then time passes.
#[derive(Debug, Clone)]
pub struct Turn {
    pub event: Event,
    pub pause: Duration,
}

#[derive(Debug, Clone)]
pub enum Event {
    Commit(Edit),
    Spoil(Spoil),
    Mend,
    /// The newest commit is pushed away by force.
    Rewind,
    /// Of the removal that is held now, if one is.
    Acknowledge,
    /// To the n-th of our containers, as often as there are.
    Kill(usize),
    Crash(usize),
    Remove(usize),
    /// Reconnected by hand, without its names: that takes its published ports, too. Only in stories made by hand.
    Reconnect(usize),
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
    GitFault {
        controller: usize,
        fault: git::Fault,
        which: git::Which,
        times: git::Times,
    },
    Cut {
        controller: usize,
        engine: u8,
    },
    Lift,
    /// Somebody else writes the ledger.
    OtherWriter,
    /// The controller dies after so many polls of it, or moments of its calls.
    DieAfterPolls(usize, u64),
    DieAfterMoments(usize, u64),
    /// It is asked to end, and started again.
    Restart(usize),
    Second,
    NoSecond,
    Jump(Duration),
    Nothing,
}

/// A file that is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spoil {
    /// A stack that cannot be parsed.
    Syntax(u8),
    /// A stack with a field that there is none.
    Field(u8),
    /// A file without a name.
    Nameless,
    Host(u8),
    Symlink,
}

impl Story {
    /// The story of a seed, the same on any machine.
    pub fn of(seed: u64, strategies: &Strategies) -> Self {
        let mut bytes = [7_u8; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let chance = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let config = Config { failure_persistence: None, ..Config::default() };
        let mut runner = TestRunner::new_with_rng(config, chance);
        strategies.0.new_tree(&mut runner).expect("no story is refused").current()
    }

    pub fn without(&self, turns: std::ops::Range<usize>) -> Self {
        let mut story = self.clone();
        story.turns.drain(turns);
        story
    }
}

/// Made once, because making them takes longer than telling a story.
pub struct Strategies(BoxedStrategy<Story>);

impl Strategies {
    pub fn new() -> Self {
        let turn = (events(), pauses()).prop_map(|(event, pause)| Turn { event, pause });
        let turns = proptest::collection::vec(turn, 1..=8);
        let end = prop_oneof![3 => Just(End::Anew), 1 => Just(End::GoesOn)];
        let story = (shape::repos(shape::images()), select(vec![Place::Here, Place::Mirrors]), turns, end);
        Self(
            story
                .prop_map(|(repo, place, turns, end)| Story { repo, place, turns, end, content: Content::MayFail })
                .boxed(),
        )
    }

    /// Content that works, pushed again and again while controllers are killed, and nothing else: nobody may blame it.
    pub fn of_killed_controllers() -> Self {
        let turn = (pushes_and_kills(), pauses()).prop_map(|(event, pause)| Turn { event, pause });
        let turns = proptest::collection::vec(turn, 4..=16);
        let story = (shape::repos(shape::good_images()), turns);
        let whole = |(repo, turns)| {
            let (place, end, content) = (Place::Here, End::Anew, Content::Works);
            Story { repo, place, turns, end, content }
        };
        Self(story.prop_map(whole).boxed())
    }
}

fn pushes_and_kills() -> BoxedStrategy<Event> {
    let at = || (0u8..3, 0u8..4);
    prop_oneof![
        // Few versions: what is replaced now is asked for again soon.
        6 => (at(), 0u8..2).prop_map(|((s, n), version)| Event::Commit(Edit::Image(s, n, Image::Good(version)))),
        1 => (at(), shape::good_images()).prop_map(|((s, n), image)| Event::Commit(Edit::Image(s, n, image))),
        1 => (at(), 1u32..=3).prop_map(|((s, n), replicas)| Event::Commit(Edit::Replicas(s, n, replicas))),
        3 => (0u64..120).prop_map(|polls| Event::DieAfterPolls(0, polls)),
        3 => (0u64..120).prop_map(|moments| Event::DieAfterMoments(0, moments)),
        1 => Just(Event::Restart(0)),
    ]
    .boxed()
}

/// Short ones fall into the middle of a deployment.
fn pauses() -> BoxedStrategy<Duration> {
    prop_oneof![
        3 => (0u64..20).prop_map(Duration::from_millis),
        3 => (20u64..1_000).prop_map(Duration::from_millis),
        3 => (1u64..10).prop_map(Duration::from_secs),
        1 => (10u64..70).prop_map(Duration::from_secs),
        1 => (70u64..130).prop_map(Duration::from_secs),
    ]
    .boxed()
}

fn events() -> BoxedStrategy<Event> {
    let controller = || 0usize..2;
    prop_oneof![
        10 => shape::edits().prop_map(Event::Commit),
        2 => spoils().prop_map(Event::Spoil),
        1 => Just(Event::Mend),
        1 => Just(Event::Rewind),
        1 => Just(Event::Acknowledge),
        1 => (0usize..8).prop_map(Event::Kill),
        1 => (0usize..8).prop_map(Event::Crash),
        1 => (0usize..8).prop_map(Event::Remove),
        1 => (0u8..3, 0u8..3, 0u8..4).prop_map(|(engine, stack, service)| Event::Foreign { engine, stack, service }),
        1 => (0u8..3, 80u16..82).prop_map(|(engine, port)| Event::TakePort { engine, port }),
        1 => (0u8..3, select(vec![EngineEnd::Stopped, EngineEnd::Killed]))
            .prop_map(|(engine, end)| Event::RestartEngine(engine, end)),
        4 => faults(),
        3 => git_faults(),
        1 => (controller(), 0u8..3).prop_map(|(controller, engine)| Event::Cut { controller, engine }),
        2 => Just(Event::Lift),
        1 => Just(Event::OtherWriter),
        2 => (controller(), 0u64..120).prop_map(|(controller, polls)| Event::DieAfterPolls(controller, polls)),
        4 => (controller(), 0u64..120).prop_map(|(controller, moments)| Event::DieAfterMoments(controller, moments)),
        1 => controller().prop_map(Event::Restart),
        1 => Just(Event::Second),
        1 => Just(Event::NoSecond),
        1 => (1u64..4_000).prop_map(|seconds| Event::Jump(Duration::from_secs(seconds))),
        1 => Just(Event::Nothing),
    ]
    .boxed()
}

fn spoils() -> BoxedStrategy<Spoil> {
    prop_oneof![
        (0u8..3).prop_map(Spoil::Syntax),
        (0u8..3).prop_map(Spoil::Field),
        Just(Spoil::Nameless),
        (0u8..3).prop_map(Spoil::Host),
        Just(Spoil::Symlink),
    ]
    .boxed()
}

fn faults() -> BoxedStrategy<Event> {
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
        Call::CommandsRunning,
        Call::Logs,
        Call::Usage,
        Call::Events,
    ];
    let which = prop_oneof![1 => Just(Which::Every), 4 => select(calls).prop_map(Which::Only)];
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
    (0u8..3, fault, which, times)
        .prop_map(|(engine, fault, which, times)| Event::Fault { engine, fault, which, times })
        .boxed()
}

fn git_faults() -> BoxedStrategy<Event> {
    let acts = vec![
        git::Act::Fetch,
        git::Act::Head,
        git::Act::Files,
        git::Act::History,
        git::Act::ReadLedger,
        git::Act::CommitLedger,
        git::Act::PushLedger,
    ];
    let which = prop_oneof![
        1 => Just(git::Which::Every),
        2 => Just(git::Which::Remote),
        5 => select(acts).prop_map(git::Which::Only),
    ];
    let fault = select(vec![git::Fault::Fail, git::Fault::Hang, git::Fault::ReplyLost, git::Fault::Locked]);
    let times = prop_oneof![3 => (1u32..4).prop_map(git::Times::Next), 1 => Just(git::Times::UntilLifted)];
    (0usize..2, fault, which, times)
        .prop_map(|(controller, fault, which, times)| Event::GitFault { controller, fault, which, times })
        .boxed()
}
