//! Killed at random while it is pushed to: the last push is what runs, nothing else.

use std::thread;
use std::time::{Duration, Instant};

use crate::fleet::{self, wait_for};
use crate::picture::{difference, picture};
use crate::program::{LIMIT, Site, note};

const PUSHES: u32 = 100;

/// Deployments that a kill must have cut short, else nothing was shown.
const FEWEST_CUT_SHORT: usize = 10;

/// Milliseconds.
const LONGEST_LIFE: u64 = 15_000;

/// On a slow machine no push is begun after this, once there were enough.
const LONGEST: Duration = Duration::from_secs(420);
const FEWEST_PUSHES: u32 = 40;

/// Every push changes something, and one never asks for what the one before it asked for: images, hosts, order of
/// replacement, a service that comes and goes.
fn stack(push: u32) -> String {
    let web = ["bayplan-test/web:1", "bayplan-test/web:2"][(push % 2) as usize];
    let host = ["left", "right"][(push / 2 % 2) as usize];
    let mut text = format!(
        r#"name: STACK
placement: manual
update: {{minHealthy: 0}}
itemListElement:
  - position: 1
    name: db
    image: bayplan-test/db:1
    targetHost: left
    stopGracePeriod: 1
    ports: [{{containerPort: 5432, hostPort: PORT}}]
    volumeMounts: [{{source: STACK-data, target: /data}}]
    environment: {{GENERATION: "{}"}}
  - position: 2
    name: web
    image: {web}
    targetHost: {host}
    stopGracePeriod: 1
    softwareRequirements: [{{name: db}}]
    environment: {{PUSH: "{push}"}}
"#,
        push / 10
    );
    if push.is_multiple_of(3) {
        text.push_str(
            "  - {position: 3, name: extra, image: bayplan-test/web:1, targetHost: right, stopGracePeriod: 1}\n",
        );
    }
    text
}

/// From a seed, so that a run can be repeated as far as the machine lets it.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

#[test]
fn after_a_hundred_kills_during_a_hundred_pushes_the_last_push_runs_and_nothing_else() {
    const TEST: &str = "after_a_hundred_kills_during_a_hundred_pushes_the_last_push_runs_and_nothing_else";
    let Some(fleet) = fleet::lease_or_leave_out(TEST) else { return };
    let started = Instant::now();
    let mut site = Site::new(&fleet, 700);
    let mut longest_life = LONGEST_LIFE;
    // The longest life is half as long again as a deployment takes: so some are killed at their start, some at their end, and
    // some run on into the next push.
    for push in [PUSHES + 1, PUSHES + 2] {
        site.push(Some(&stack(push)));
        let begun = Instant::now();
        let done = site.run_to_end(&["apply"], &[]);
        assert_eq!(done.code(), Some(0), "{}", done.said);
        longest_life = u64::try_from(begun.elapsed().as_millis() * 3 / 2).expect("seconds").min(LONGEST_LIFE);
    }
    let mut chance = Chance(0x5eed_0000_0001);
    let mut service = site.start(&["run"], &[]);
    let mut last = 0;
    for push in 1..=PUSHES {
        if push > FEWEST_PUSHES && started.elapsed() > LONGEST {
            break;
        }
        last = push;
        site.push(Some(&stack(push)));
        // This is the fault and not a wait: it dies wherever it is then.
        thread::sleep(Duration::from_millis(chance.below(longest_life)));
        service.kill();
        service = site.start(&["run"], &[]);
    }
    wait_for("the last push to run", LIMIT, || site.runs(&site.last_push));
    service.stop();
    let log = site.repository.ledger_log();
    let count = |word: &str| log.iter().filter(|line| line.contains(word)).count();
    let (begun, ended) = (count("Deploying ") - 2, count(" runs at ").saturating_sub(2));
    note(&format!(
        "crash: {last} kills during {last} pushes in {} s; {begun} deployments were begun and {ended} ended",
        started.elapsed().as_secs()
    ));
    assert!(ended > 1 && begun >= ended + FEWEST_CUT_SHORT, "the kills missed the deployments");

    let seen = picture(&site);
    site.check_repositories().expect("the repository is whole");
    let planned = site.run_to_end(&["plan", "--exit-code"], &[]);
    assert_eq!(planned.code(), Some(0), "{}", planned.said);

    // Somebody who was never disturbed has the same.
    let mut other = Site::new(&fleet, 700 + fleet.hosts.len() as u32);
    other.push(Some(&stack(last)));
    let done = other.run_to_end(&["apply"], &[]);
    assert_eq!(done.code(), Some(0), "{}", done.said);
    let expected = picture(&other);
    assert_eq!(seen, expected, "{}", difference(&expected, &seen));
}
