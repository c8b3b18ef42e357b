//! Hosts that do not answer: what needs them waits, everything else goes on, and nothing on them is assumed gone.

use std::time::{Duration, Instant};

use bayplan::model::record::StackStatus;
use bayplan::plan::outcome::Verdict;
use serde_json::Value;

use crate::fleet::wait_for;
use crate::stage::Stage;

fn stack(name: &str, host: &str, version: u32) -> String {
    format!(
        r#"
name: {name}
placement: manual
itemListElement:
  - {{position: 1, name: web, image: "bayplan-test/web:{version}", targetHost: {host}, ports: [{{containerPort: 8080, hostPort: 8080}}]}}
"#
    )
}

/// `db` on host-2; `app` requires it from host-1; `side` on host-1 requires nothing.
fn span(app: u32, side: u32) -> String {
    format!(
        r#"
name: span
placement: manual
itemListElement:
  - {{position: 1, name: db, image: "bayplan-test/db:1", targetHost: host-2, ports: [{{containerPort: 5432, hostPort: 5432}}]}}
  - {{position: 2, name: app, image: "bayplan-test/web:{app}", targetHost: host-1, softwareRequirements: [{{name: db}}]}}
  - {{position: 3, name: side, image: "bayplan-test/web:{side}", targetHost: host-1}}
"#
    )
}

fn push_all(stage: &Stage, version: u32) {
    stage.repository.write("stacks/one.yaml", &stack("one", "host-1", version));
    stage.repository.write("stacks/two.yaml", &stack("two", "host-2", version));
    stage.repository.write("stacks/three.yaml", &stack("three", "host-3", version));
}

/// Generous on a busy machine, and far from the deadlines that a hanging engine would use up.
const USUAL: Duration = Duration::from_secs(60);

fn condition(stage: &Stage, host: &str) -> String {
    let hosts = stage.ledger("hosts.json");
    let text = hosts.to_string();
    let found = find(&hosts, host).unwrap_or_else(|| panic!("{host} is not in {text}"));
    found["condition"].as_str().unwrap_or_else(|| panic!("{found:#}")).to_owned()
}

fn find<'a>(value: &'a Value, host: &str) -> Option<&'a Value> {
    match value {
        Value::Object(members) if members.get("name").is_some_and(|name| name == host) => Some(value),
        Value::Object(members) => {
            members.iter().find_map(|(key, member)| if key == host { Some(member) } else { find(member, host) })
        }
        Value::Array(items) => items.iter().find_map(|item| find(item, host)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_hangs_delays_nobody_and_loses_nothing() {
    let Some(mut stage) = Stage::set("an_engine_that_hangs_delays_nobody_and_loses_nothing").await else { return };
    push_all(&stage, 1);
    stage.repository.write("stacks/span.yaml", &span(1, 1)).push("Deploy");
    let done = stage.once().await;
    for name in ["one", "two", "three", "span"] {
        assert_eq!(done.status(name), Some(StackStatus::Running), "{name}: {:#?}", done.outcome.ended);
    }
    stage.is_settled().await;
    let before = stage.containers();

    let fleet = crate::fleet::Fleet::from_env().expect("the fleet that is leased");
    let hanging = fleet.hang("host-2");
    push_all(&stage, 2);
    stage.repository.write("stacks/span.yaml", &span(2, 1)).push("Change everything");
    stage.forget().await;
    let begun = Instant::now();
    let done = stage.once().await;
    assert!(begun.elapsed() < USUAL, "{:?}", begun.elapsed());
    for name in ["one", "three"] {
        assert_eq!(done.status(name), Some(StackStatus::Running), "{name}: {:#?}", done.outcome.ended);
    }
    let holds = done.holds();
    for held in ["two/web-1", "span/app-1"] {
        let says =
            |hold: &&String| hold.starts_with("host-unreachable: ") && hold.contains(held) && hold.contains("host-2");
        assert!(holds.iter().any(|hold| says(&hold)), "{held}: {holds:#?}");
    }
    assert!(!done.steps.iter().any(|step| step.starts_with("host-2") || step.contains("span-")), "{:?}", done.steps);
    assert_eq!(condition(&stage, "host-2"), "unreachable");
    assert_eq!(condition(&stage, "host-1"), "reachable");
    assert_eq!(stage.ledger("status/two.json")["status"], "held");
    assert_eq!(stage.ledger("status/span.json")["status"], "held");

    // What a stack asks for that needs nothing there is done.
    stage.repository.write("stacks/span.yaml", &span(1, 2)).push("Change what stands alone");
    let done = stage.once().await;
    assert_eq!(done.changes(), ["span/side-1 replace"], "{:?}", done.holds());
    // Who moves off it may still run there, and two of one would be worse than one in the old place.
    stage.repository.write("stacks/two.yaml", &stack("two", "host-1", 1).replace("hostPort: 8080", "hostPort: 8082"));
    stage.repository.push("Move two");
    let done = stage.once().await;
    assert!(done.steps.is_empty(), "{:?}", done.steps);
    assert!(done.holds().iter().any(|hold| hold.starts_with("host-unreachable: two/web-1")), "{:?}", done.holds());
    // Nobody asks for `two` any more, but nothing is known of it either.
    stage.repository.remove("stacks/two.yaml").push("Remove two");
    let done = stage.once().await;
    assert!(done.steps.is_empty(), "{:?}", done.steps);
    let ledger = stage.repository.ledger("status/two.json");
    assert!(ledger.contains("host-2"), "what runs there is not forgotten: {ledger}");
    assert!(done.holds().iter().any(|hold| hold.starts_with("host-unreachable: two/web-1")), "{:?}", done.holds());

    drop(hanging);
    let after = stage.containers();
    let of_host_2 = |(host, _): &(String, String)| host == "host-2";
    assert!(before.iter().filter(|(k, _)| of_host_2(k)).all(|(k, id)| after.get(k) == Some(id)), "{after:#?}");
    stage.knock().await;
    stage.repository.write("stacks/two.yaml", &stack("two", "host-2", 2)).push("Bring two back");
    let done = stage.once().await;
    assert_eq!(done.changes(), ["two/web-1 replace"], "{:?}", done.holds());
    assert_eq!(condition(&stage, "host-2"), "reachable");
    stage.is_settled().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_is_down_is_healed_when_it_is_back() {
    let Some(mut stage) = Stage::set("an_engine_that_is_down_is_healed_when_it_is_back").await else { return };
    push_all(&stage, 1);
    stage.repository.push("Deploy");
    stage.once().await;
    stage.is_settled().await;
    let before = stage.containers();

    let fleet = crate::fleet::Fleet::from_env().expect("the fleet that is leased");
    let dead = fleet.kill_engine("host-3");
    push_all(&stage, 2);
    stage.repository.push("Change everything");
    stage.forget().await;
    let done = stage.once().await;
    for name in ["one", "two"] {
        assert_eq!(done.status(name), Some(StackStatus::Running), "{name}: {:#?}", done.outcome.ended);
    }
    assert!(done.holds().iter().any(|hold| hold.starts_with("host-unreachable: three/web-1")), "{:?}", done.holds());
    assert_eq!(condition(&stage, "host-3"), "unreachable");
    let log = stage.repository.ledger_log();
    let idle = stage.once().await;
    assert!(idle.steps.is_empty());
    assert_eq!(stage.repository.ledger_log(), log, "waiting makes no commit");

    drop(dead);
    stage.knock().await;
    let key = ("host-3".to_owned(), "three-web-1".to_owned());
    assert_eq!(stage.containers().get(&key), before.get(&key));
    let done = stage.once().await;
    assert_eq!(done.changes(), ["three/web-1 replace"], "{:?}", done.holds());
    assert_eq!(done.status("three"), Some(StackStatus::Running), "{:#?}", done.outcome.ended);
    assert_eq!(condition(&stage, "host-3"), "reachable");
    stage.is_settled().await;
}

const CHAIN: &str = r#"
name: chain
placement: manual
itemListElement:
  - {position: 1, name: first, image: "bayplan-test/web:1", targetHost: host-1,
     healthCheck: {type: command, command: [test, -e, /tmp/go], retries: 60}}
  - {position: 2, name: second, image: "bayplan-test/web:1", targetHost: host-3, softwareRequirements: [{name: first}]}
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_goes_away_midway_is_waited_for_and_then_done() {
    let Some(mut stage) = Stage::set("a_host_that_goes_away_midway_is_waited_for_and_then_done").await else { return };
    let fleet = crate::fleet::Fleet::from_env().expect("the fleet that is leased");
    stage.repository.write("stacks/chain.yaml", CHAIN).push("Deploy");
    let (done, dead) = std::thread::scope(|scope| {
        let killing = scope.spawn(|| {
            wait_for("the first to run", Duration::from_secs(30), || {
                let format = ["inspect", "--format", "{{.State.Running}}", "chain-first-1"];
                fleet.try_docker("host-1", &format).and_then(|text| if text == "true" { Ok(()) } else { Err(text) })
            });
            let dead = fleet.kill_engine("host-3");
            // Only now it gets healthy, and the second one's turn comes.
            fleet.docker("host-1", &["exec", "chain-first-1", "touch", "/tmp/go"]);
            dead
        });
        let done = tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(stage.once()));
        (done, killing.join().expect("the engine is killed"))
    });
    let [failure] = done.failures("chain") else { panic!("{:#?}", done.failures("chain")) };
    assert_eq!(failure.host.as_str(), "host-3", "{failure:#?}");
    assert_eq!(failure.verdict, Verdict::Transient, "waiting may help: {failure:#?}");
    assert!(stage.is_running("host-1", "chain-first-1"), "what is healthy is kept");
    let first = stage.id("host-1", "chain-first-1");
    let record = stage.ledger("status/chain.json");
    assert!(record["badContent"].as_array().is_none_or(Vec::is_empty), "its content is not to blame: {record:#}");
    stage.forget().await;
    let held = stage.once().await;
    assert!(held.steps.is_empty(), "{:?}", held.steps);
    assert!(held.holds().iter().any(|hold| hold.starts_with("host-unreachable: chain/second-1")), "{:?}", held.holds());
    drop(dead);
    stage.knock().await;
    let done = stage.once().await;
    assert_eq!(done.status("chain"), Some(StackStatus::Running), "{:?} {:#?}", done.holds(), done.outcome.ended);
    assert_eq!(stage.id("host-1", "chain-first-1"), first);
    stage.is_settled().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_runs_on_a_host_that_left_the_inventory_is_not_made_a_second_time() {
    let Some(mut stage) = Stage::set("what_runs_on_a_host_that_left_the_inventory_is_not_made_a_second_time").await
    else {
        return;
    };
    let text =
        "name: lone\nplacement: auto\nitemListElement:\n  - {position: 1, name: web, image: \"bayplan-test/web:1\"}\n";
    let done = stage.deploy("stacks/lone.yaml", text).await;
    assert_eq!(done.status("lone"), Some(StackStatus::Running), "{:#?}", done.outcome.ended);
    assert_eq!(stage.names("host-1"), ["lone-web-1"]);
    let before = stage.containers();
    let file = std::fs::read_to_string(stage.repository.work().join("hosts/host-1.yaml")).expect("a host file");
    stage.repository.remove("hosts/host-1.yaml").push("Forget a host");
    let done = stage.once().await;
    assert!(done.steps.is_empty(), "{:?}", done.steps);
    assert!(done.holds().iter().any(|hold| hold.starts_with("host-left: lone/web-1")), "{:?}", done.holds());
    assert_eq!(stage.containers(), before);
    assert!(stage.repository.ledger("status/lone.json").contains("host-1"));
    assert!(stage.repository.ledger("hosts.json").contains("host-1"), "where it was reached is remembered");
    let done = stage.deploy("hosts/host-1.yaml", &file).await;
    assert!(done.steps.is_empty(), "{:?}", done.steps);
    assert_eq!(stage.containers(), before);
    assert_eq!(stage.ledger("status/lone.json")["status"], "running");
    stage.is_settled().await;
}
