//! Killed at every step, started again: the end is the same as without.
//!
//! `BAYPLAN_CRASH=all` kills at every point there is, which takes about an hour; `BAYPLAN_CRASH='SCENARIO: POINT'` is one
//! pair again, as a failure names it.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::fleet::{self, Fleet, wait_for};
use crate::picture::{difference, picture};
use crate::program::{Ended, LIMIT, Site, note};
use crate::scenarios::{Program, Scenario, Watched, scenarios};
use crate::witness::MISCOUNTED;

/// Pairs of a scenario and a point to die at that each run must have seen.
const FEWEST_PAIRS: usize = 200;

/// Per scenario: every point around a change of the world, and as many of the others as fit, but some in any case.
const POINTS: usize = 22;
const FEWEST_LOOKS: usize = 4;

/// On a busy machine no pair is begun after this, once there are enough.
const LONGEST: Duration = Duration::from_secs(300);

/// Most of a deployment is waiting for engines; more at once make engines slow and save nothing on two cores.
const AT_ONCE: usize = 8;

/// A service that has done its work passes some points more: it pushes, and looks again.
const REST: Duration = Duration::from_secs(2);

/// A scenario without a crash.
struct Reference {
    points: Vec<String>,
    picture: String,
    /// How `bayplan plan --exit-code` ends.
    plan_exit: Option<i32>,
}

enum Outcome {
    Same,
    /// What is asked again and again until it is so is not asked equally often each time.
    NotReached,
    Wrong(String),
}

#[test]
fn a_crash_at_any_step_ends_as_no_crash_does() {
    const TEST: &str = "a_crash_at_any_step_ends_as_no_crash_does";
    if !cfg!(debug_assertions) {
        return fleet::leave_out(TEST, "a release build has no points to die at");
    }
    let Some(fleet) = fleet::lease_or_leave_out(TEST) else { return };
    let started = Instant::now();
    let asked = std::env::var("BAYPLAN_CRASH").ok();
    let scenarios: Vec<Scenario> =
        scenarios().into_iter().filter(|scenario| is_asked_for(asked.as_deref(), scenario.name)).collect();
    let numbers = AtomicU32::new(0);
    let references = side_by_side(scenarios.iter().collect(), |scenario| {
        let site = prepared(&fleet, scenario, &numbers);
        let reference = without_crash(&site, scenario);
        site.clean();
        reference
    });
    let pairs = pairs(&scenarios, &references, asked.as_deref());
    let done = AtomicUsize::new(0);
    let outcomes = side_by_side(pairs, |(scenario, reference, point)| {
        if asked.is_none() && started.elapsed() > LONGEST && done.load(Ordering::Relaxed) >= FEWEST_PAIRS {
            return (scenario.name, point, Outcome::NotReached);
        }
        let site = prepared(&fleet, scenario, &numbers);
        let outcome = with_crash(&site, scenario, reference, &point);
        site.clean();
        done.fetch_add(usize::from(matches!(outcome, Outcome::Same)), Ordering::Relaxed);
        (scenario.name, point, outcome)
    });
    let mut same: BTreeMap<&str, usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (scenario, point, outcome) in outcomes {
        match outcome {
            Outcome::Same => *same.entry(scenario).or_default() += 1,
            Outcome::NotReached => {}
            Outcome::Wrong(why) => wrong.push(format!("BAYPLAN_CRASH='{scenario}: {point}'\n{why}")),
        }
    }
    let all: usize = same.values().sum();
    note(&format!("crash: {all} pairs of a point and a scenario in {} s: {same:?}", started.elapsed().as_secs()));
    assert!(wrong.is_empty(), "{} of {} ended otherwise:\n\n{}", wrong.len(), all + wrong.len(), wrong.join("\n\n"));
    if asked.as_deref().is_none_or(|asked| asked == "all") {
        assert!(all >= FEWEST_PAIRS, "only {all} pairs");
        assert_eq!(same.len(), scenarios.len(), "{same:?}");
    }
}

fn is_asked_for(asked: Option<&str>, scenario: &str) -> bool {
    asked.is_none_or(|asked| asked == "all" || asked.starts_with(&format!("{scenario}: ")))
}

/// Taken in turn from each scenario, so that whoever must stop early has seen something of all.
fn pairs<'a>(
    scenarios: &'a [Scenario],
    references: &'a [Reference],
    asked: Option<&str>,
) -> Vec<(&'a Scenario, &'a Reference, String)> {
    let mut pairs = Vec::new();
    for (scenario, reference) in scenarios.iter().zip(references) {
        let points = match asked {
            None => chosen(&reference.points),
            Some("all") => reference.points.clone(),
            Some(asked) => asked.split_once(": ").map(|(_, point)| point.to_owned()).into_iter().collect(),
        };
        pairs.extend(points.into_iter().enumerate().map(|(turn, point)| (turn, (scenario, reference, point))));
    }
    pairs.sort_by_key(|(turn, _)| *turn);
    pairs.into_iter().map(|(_, pair)| pair).collect()
}

/// Every point around what changes the world, and evenly chosen ones of the others.
fn chosen(points: &[String]) -> Vec<String> {
    let (changes, looks): (Vec<&String>, Vec<&String>) = points.iter().partition(|point| is_change(point));
    let room = POINTS.saturating_sub(changes.len()).max(FEWEST_LOOKS).min(looks.len());
    let evenly = (0..room).map(|index| looks[index * looks.len() / room]);
    let all: Vec<String> = changes.into_iter().chain(evenly).cloned().collect();
    // Every other one first: who must stop early has seen beginning and end.
    all.iter().step_by(2).chain(all.iter().skip(1).step_by(2)).cloned().collect()
}

fn is_change(point: &str) -> bool {
    const CHANGES: [&str; 17] = [
        "engine create",
        "engine start",
        "engine stop",
        "engine remove",
        "engine rename",
        "engine set aliases",
        "engine create network",
        "engine remove network",
        "engine create volume",
        "engine exec",
        "engine pull",
        "engine remove image",
        "ledger commit",
        "git move reference",
        "git fetch",
        "git push",
        "ledger remote push",
    ];
    let call = point.split_once(' ').map_or(point, |(_, call)| call);
    let call = call.rsplit_once(':').map_or(call, |(call, _)| call);
    CHANGES.contains(&call)
}

/// A site in the state before the scenario's change, with the change pushed.
fn prepared<'f>(fleet: &'f Fleet, scenario: &Scenario, numbers: &AtomicU32) -> Site<'f> {
    let number = numbers.fetch_add(1, Ordering::Relaxed);
    let mut site = match scenario.watched {
        Watched::InPlace => Site::new(fleet, number),
        Watched::Elsewhere => Site::elsewhere(fleet, number),
    };
    if let Some(before) = &scenario.before {
        site.push(Some(before));
        let done = site.run_to_end(&["apply"], &[]);
        assert_eq!(done.code(), Some(0), "{}: {}", scenario.name, done.said);
    }
    site.push(scenario.after.as_deref());
    site
}

fn without_crash(site: &Site<'_>, scenario: &Scenario) -> Reference {
    let trace = site.repository.cache().with_extension("trace");
    let done = first_start(site, scenario, ("BAYPLAN_FAILPOINT_TRACE", trace.to_str().expect("a path of text")));
    if scenario.killed == Program::Apply {
        assert_eq!(done.code(), Some(scenario.exit), "{}: {}", scenario.name, done.said);
    }
    let points = fs::read_to_string(&trace).expect("the trace").lines().map(str::to_owned).collect();
    let planned = plan(site);
    assert!(is_empty(&planned), "{}: {}", scenario.name, planned.said);
    assert_eq!(action_runs(site, scenario), *scenario.action_runs.start(), "{}", scenario.name);
    Reference { points, picture: picture(site), plan_exit: planned.code() }
}

fn with_crash(site: &Site<'_>, scenario: &Scenario, reference: &Reference, point: &str) -> Outcome {
    let first = first_start(site, scenario, ("BAYPLAN_FAILPOINT", point));
    if !first.was_killed() {
        return Outcome::NotReached;
    }
    let second = site.run_to_end(&["apply"], &[]);
    let mut wrong = Vec::new();
    if second.code() != Some(scenario.exit) {
        wrong.push(format!("the second start ended with {}", second.status));
    }
    let seen = picture(site);
    if seen != reference.picture {
        wrong.push(format!("the end differs:\n{}", difference(&reference.picture, &seen)));
    }
    let planned = plan(site);
    if planned.code() != reference.plan_exit || !is_empty(&planned) {
        wrong.push(format!("our own planner: {}\n{}", planned.status, planned.said));
    }
    let runs = action_runs(site, scenario);
    if !scenario.action_runs.contains(&runs) {
        wrong.push(format!("the action ran {runs} times"));
    }
    wrong.extend(site.check_repositories().err());
    if wrong.is_empty() {
        return Outcome::Same;
    }
    if second.said.contains(MISCOUNTED) && site.has_a_network_of_nobody() {
        // Engine 20.10 does that to whoever is killed; it removes the network when it has been started again.
        note(&format!("crash: an engine miscounted who uses a network: {point}"));
        return Outcome::NotReached;
    }
    // The difference is the longest, and whoever shows only the beginning shows why.
    Outcome::Wrong(format!("the first start said:\n{}\nthe second:\n{}\n{}", first.said, second.said, wrong.join("\n")))
}

/// Starts the program that may die; one that goes on for ever is stopped when it has done its work.
fn first_start(site: &Site<'_>, scenario: &Scenario, variable: (&str, &str)) -> Ended {
    match scenario.killed {
        Program::Apply => site.run_to_end(&["apply"], &[variable]),
        Program::Run => {
            let mut service = site.start(&["run"], &[variable]);
            let mut since = None;
            let died = wait_for("the service to die or to be done", LIMIT, || {
                if let Some(ended) = service.ended() {
                    return Ok(Some(ended));
                }
                site.runs(&site.last_push)?;
                let rests = since.get_or_insert_with(Instant::now).elapsed() >= REST;
                if rests { Ok(None) } else { Err(service.said()) }
            });
            died.unwrap_or_else(|| service.stop())
        }
    }
}

/// How often the action was run, by what it writes in `db`.
fn action_runs(site: &Site<'_>, scenario: &Scenario) -> usize {
    if *scenario.action_runs.end() == 0 {
        return 0;
    }
    let database = format!("{}-db-1", site.stack());
    let ran = site.fleet.try_docker(&site.hosts[0].name, &["exec", &database, "cat", "/tmp/ran"]);
    ran.map_or(0, |text| text.lines().count())
}

fn plan(site: &Site<'_>) -> Ended {
    site.run_to_end(&["plan", "--exit-code", "--format", "json"], &[])
}

fn is_empty(planned: &Ended) -> bool {
    let document: Value = serde_json::from_str(&planned.said).unwrap_or_default();
    document["steps"].as_array().is_some_and(Vec::is_empty)
}

/// Does all of it, a few at a time. Gives what came of each, in order.
fn side_by_side<T: Send, R: Send>(all: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let mut results: Vec<Option<R>> = all.iter().map(|_| None).collect();
    let queue = Mutex::new(all.into_iter().zip(&mut results));
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().expect("nobody panics while taking").next();
                    let Some((item, result)) = next else { break };
                    *result = Some(work(item));
                }
            });
        }
    });
    results.into_iter().map(|result| result.expect("all was done")).collect()
}
