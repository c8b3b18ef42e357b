//! Hosts that are lost: too many at once is our own fault, and one is a loss.

use std::time::Duration;

use bayplan::controller::run;
use bayplan::model::config::Config;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::fleet::wait_for;
use crate::site;
use crate::stage::Stage;

/// Longer than anything here takes on a busy machine.
const LIMIT: Duration = Duration::from_secs(90);

const ROAM: &str = r#"
name: roam
placement: spread
itemListElement:
  - {position: 1, name: a, image: "bayplan-test/web:1"}
  - {position: 2, name: b, image: "bayplan-test/web:1"}
  - {position: 3, name: c, image: "bayplan-test/web:1"}
"#;

fn beside(version: u32) -> String {
    format!(
        "name: beside\nitemListElement: [{{position: 1, name: web, image: 'bayplan-test/web:{version}', targetHost: host-1}}]\n"
    )
}

fn conditions(stage: &Stage) -> Vec<(String, String)> {
    let hosts = stage.ledger("hosts.json");
    let text = |host: &Value, key: &str| host[key].as_str().unwrap_or_default().to_owned();
    let list = hosts["itemListElement"].as_array().cloned().unwrap_or_default();
    list.iter().map(|host| (text(host, "name"), text(host, "condition"))).collect()
}

fn wait_until_it_is(stage: &Stage, wanted: [&str; 3]) {
    wait_for("the hosts' conditions", LIMIT, || {
        let now = conditions(stage);
        let are: Vec<&str> = now.iter().map(|(_, condition)| condition.as_str()).collect();
        if are == wanted { Ok(()) } else { Err(format!("{now:?}")) }
    });
}

fn of_roam(stage: &Stage, host: &str) -> Vec<String> {
    // Only this host: others may hang.
    let listed = stage.fleet.docker_text(host, &["ps", "-a", "--format", "{{.Names}}"]);
    listed.lines().filter(|name| name.starts_with("roam-")).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_of_three_lost_hosts_move_nothing_and_one_is_moved_off() {
    let Some(mut stage) = Stage::set("two_of_three_lost_hosts_move_nothing_and_one_is_moved_off").await else { return };
    for host in stage.fleet.hosts.iter().filter(|host| !["host-1", "host-2", "host-3"].contains(&host.name.as_str())) {
        stage.repository.remove(&format!("hosts/{}.yaml", host.name));
    }
    stage.repository.write("stacks/roam.yaml", ROAM).write("stacks/beside.yaml", &beside(1)).push("Deploy");
    stage.once().await;
    for host in ["host-1", "host-2", "host-3"] {
        assert_eq!(of_roam(&stage, host).len(), 1, "{:?}", stage.containers());
    }
    let fleet = crate::fleet::Fleet::from_env().expect("the fleet that is leased");
    // Before the service begins, so that no look falls between the two.
    let [second, third] = fleet.hang_both(["host-2", "host-3"]);
    let config = Config { lost_after: Duration::from_secs(10), ..site::config(&stage.fleet) };
    let mut site = site::site(&stage.repository, config).await;
    let (events, _seen) = mpsc::unbounded_channel();
    let stop = CancellationToken::new();
    let service = tokio::spawn({
        let stop = stop.clone();
        async move { run::run(&mut site, events, stop).await.expect("the service runs") }
    });
    tokio::task::block_in_place(|| wait_until_it_is(&stage, ["reachable", "lost", "lost"]));
    // What is pushed after both were lost is done by a pass that knows it.
    stage.repository.write("stacks/beside.yaml", &beside(2)).push("Go on");
    tokio::task::block_in_place(|| {
        wait_for("the other stack's update", LIMIT, || match stage.repository.ledger_log() {
            log if log[0].starts_with("beside runs") => Ok(()),
            log => Err(format!("{:?}", &log[..log.len().min(4)])),
        });
    });
    assert_eq!(of_roam(&stage, "host-1").len(), 1, "nothing moves while most of the fleet is gone");

    drop(third);
    tokio::task::block_in_place(|| {
        wait_for("what was on host-2 to run elsewhere", LIMIT, || {
            let there = [of_roam(&stage, "host-1"), of_roam(&stage, "host-3")].concat();
            let runs = stage.ledger("status/roam.json")["status"] == "running";
            if there.len() == 3 && runs { Ok(()) } else { Err(format!("{there:?} {:?}", conditions(&stage))) }
        });
    });
    drop(second);
    tokio::task::block_in_place(|| {
        wait_for("host-2 to be cleaned", LIMIT, || match of_roam(&stage, "host-2") {
            none if none.is_empty() => Ok(()),
            some => Err(format!("{some:?}")),
        });
        wait_until_it_is(&stage, ["reachable", "reachable", "reachable"]);
    });
    stop.cancel();
    service.await.expect("the service does not panic");
    let mut all = [of_roam(&stage, "host-1"), of_roam(&stage, "host-2"), of_roam(&stage, "host-3")].concat();
    all.sort();
    assert_eq!(all, ["roam-a-1", "roam-b-1", "roam-c-1"], "one copy each");
    stage.is_settled().await;
}

const KEEPS: &str = r#"
name: keeps
itemListElement:
  - {position: 1, name: db, image: "bayplan-test/web:1", targetHost: host-2, volumeMounts: [{source: keeps-data, target: /data}]}
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_lost_a_volume_gets_no_empty_one_until_somebody_gives_it_up() {
    let Some(mut stage) = Stage::set("an_engine_that_lost_a_volume_gets_no_empty_one_until_somebody_gives_it_up").await
    else {
        return;
    };
    stage.deploy("stacks/keeps.yaml", KEEPS).await;
    stage.is_settled().await;
    let volumes = |stage: &Stage| stage.fleet.docker_text("host-2", &["volume", "ls", "-q", "-f", "name=keeps-data"]);
    // A container alone is made again on its data.
    stage.fleet.docker_text("host-2", &["exec", "keeps-db-1", "touch", "/data/orders"]);
    stage.fleet.docker_text("host-2", &["rm", "-f", "keeps-db-1"]);
    assert_eq!(stage.once().await.changes(), ["keeps/db-1 create"]);
    assert_eq!(stage.fleet.docker_text("host-2", &["exec", "keeps-db-1", "ls", "/data"]).trim(), "orders");
    stage.fleet.docker_text("host-2", &["rm", "-f", "keeps-db-1"]);
    stage.fleet.docker_text("host-2", &["volume", "rm", "keeps-data"]);
    for _ in 0..2 {
        let done = stage.once().await;
        assert!(done.steps.is_empty(), "{:?}", done.steps);
        assert!(done.holds().iter().any(|hold| hold.starts_with("volume-lost: keeps/db-1")), "{:?}", done.holds());
        assert_eq!(volumes(&stage), "");
        assert_eq!(stage.ledger("status/keeps.json")["status"], "held");
    }
    stage.repository.push("Its data is gone\n\nBayplan-Empty-Volume: keeps/keeps-data");
    let done = stage.once().await;
    assert_eq!((done.changes(), done.holds()), (vec!["keeps/db-1 create".to_owned()], Vec::new()));
    assert!(stage.is_running("host-2", "keeps-db-1"));
    assert_eq!(stage.fleet.docker_text("host-2", &["exec", "keeps-db-1", "ls", "/data"]), "");
    stage.is_settled().await;
}
