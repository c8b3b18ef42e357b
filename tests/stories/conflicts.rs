//! The world is in the way: ports, images, and containers that somebody stops behind our back.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bayplan::model::record::StackStatus;

use crate::fleet::{Fleet, TEST_LABEL, wait_for};
use crate::stage::{Stage, address};

fn shop(web_port: u16, image: &str) -> String {
    format!(
        r#"
name: shop
placement: manual
itemListElement:
  - {{position: 1, name: web, image: "{image}", targetHost: host-1, ports: [{{containerPort: 8080, hostPort: {web_port}}}]}}
  - {{position: 2, name: side, image: "bayplan-test/web:1", targetHost: host-2}}
"#
    )
}

const GOOD: &str = "bayplan-test/web:1";
const PATH: &str = "stacks/shop.yaml";

/// A process of a host that no engine knows, listening on a port; ended when dropped.
struct Listener(Child);

impl Listener {
    fn on(fleet: &Fleet, host: &str, port: u16) -> Self {
        let at = address(fleet, host);
        let child = Command::new("nsenter")
            .arg(format!("--net={}", fleet.host(host).netns.display()))
            .args(["busybox", "nc", "-ll", "-p", &port.to_string(), "-e", "/bin/cat"])
            .stdin(Stdio::null())
            .spawn()
            .expect("busybox listens");
        wait_for("the listener", Duration::from_secs(60), || {
            std::net::TcpStream::connect((at.as_str(), port)).map_err(|error| error.to_string())
        });
        Self(child)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.0.kill().expect("it runs until now");
        self.0.wait().expect("it ends");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_another_holds_is_named_and_nothing_is_lost() {
    let Some(mut stage) = Stage::set("a_port_that_another_holds_is_named_and_nothing_is_lost").await else { return };
    stage.deploy(PATH, &shop(8080, GOOD)).await;
    stage.is_settled().await;
    let before = stage.containers();

    // A container that is not ours: seen before anything is done.
    let (name, label) = (format!("{TEST_LABEL}-thief"), format!("{TEST_LABEL}=foreign"));
    let publish = format!("{}:9090:8080", address(&stage.fleet, "host-1"));
    let run = ["run", "-d", "--name", &name, "--label", &label, "-p", &publish, GOOD];
    stage.fleet.docker_text("host-1", &run);
    let done = stage.deploy(PATH, &shop(9090, GOOD)).await;
    assert!(done.steps.is_empty(), "{:?}", done.steps);
    let hold = |holds: Vec<String>| holds.into_iter().find(|hold| hold.contains("9090"));
    let said = hold(done.holds()).unwrap_or_else(|| panic!("{:#?}", done.holds()));
    assert!(said.contains("shop/web-1") && said.contains("host-1"), "{said}");
    assert_eq!(stage.ledger("status/shop.json")["status"], "held");
    stage.forget().await;
    let idle = stage.once().await;
    assert!(idle.steps.is_empty(), "{:?}", idle.steps);
    assert!(before.iter().all(|(key, id)| stage.containers().get(key) == Some(id)));
    stage.fleet.docker_text("host-1", &["rm", "-f", &name]);
    stage.forget().await;
    let done = stage.once().await;
    assert_eq!(done.status("shop"), Some(StackStatus::Running), "{:?} {:#?}", done.holds(), done.outcome.ended);
    assert!(stage.inspect("host-1", "shop-web-1", "{{json .NetworkSettings.Ports}}").contains("9090"));
    stage.is_settled().await;

    // A process that no engine knows: the start is refused, and what ran before is back.
    let before = stage.containers();
    let listener = Listener::on(&stage.fleet, "host-1", 7070);
    let done = stage.deploy(PATH, &shop(7070, GOOD)).await;
    let failures = done.failures("shop");
    assert!(failures.iter().any(|failure| failure.why.contains("7070")), "{failures:#?}");
    assert_eq!(stage.containers(), before, "{:#?}", done.outcome.ended);
    assert!(before.keys().all(|(host, name)| stage.is_running(host, name)));
    let answers = |port: u16| {
        let at = format!("http://{}:{port}/", address(&stage.fleet, "host-1"));
        stage.answer("host-2", "shop-side-1", &at)
    };
    assert_eq!(answers(9090), "web 1");
    drop(listener);
    let done = stage.deploy(PATH, &shop(7070, "bayplan-test/web:2")).await;
    assert_eq!(done.status("shop"), Some(StackStatus::Running), "{:?} {:#?}", done.holds(), done.outcome.ended);
    stage.is_settled().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_is_not_to_be_had_stops_nothing() {
    let Some(mut stage) = Stage::set("an_image_that_is_not_to_be_had_stops_nothing").await else { return };
    stage.deploy(PATH, &shop(8080, GOOD)).await;
    stage.is_settled().await;
    let before = stage.containers();
    let unknown = format!("{}/web:99", stage.fleet.registry.address);
    for missing in [unknown.as_str(), "10.77.0.1:5999/web:1"] {
        let done = stage.deploy(PATH, &shop(8080, missing)).await;
        assert!(done.steps.is_empty(), "{:?}", done.steps);
        let holds = done.holds();
        let says = |hold: &&String| hold.starts_with("image-unresolved: shop/web-1") && hold.contains(missing);
        assert!(holds.iter().any(|hold| says(&hold)), "{holds:#?}");
        assert_eq!(stage.containers(), before);
        assert!(before.keys().all(|(host, name)| stage.is_running(host, name)));
        assert_eq!(stage.ledger("status/shop.json")["status"], "held");
        let log = stage.repository.ledger_log();
        stage.once().await;
        assert_eq!(stage.repository.ledger_log(), log, "waiting makes no commit");
    }
    let done = stage.deploy(PATH, &shop(8080, "bayplan-test/web:2")).await;
    assert_eq!(done.changes(), ["shop/web-1 replace"]);
    stage.is_settled().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_somebody_stops_behind_our_back_is_put_back() {
    let Some(mut stage) = Stage::set("what_somebody_stops_behind_our_back_is_put_back").await else { return };
    stage.deploy(PATH, &shop(8080, GOOD)).await;
    stage.is_settled().await;
    let cases: [(&[&str], &str, &str); 4] = [
        (&["kill", "shop-web-1"], "shop/web-1 start", "its container is stopped (exit code 137)"),
        (&["stop", "shop-web-1"], "shop/web-1 start", "its container is stopped (exit code 0)"),
        (&["rm", "-f", "shop-web-1"], "shop/web-1 create", "its container is gone from host-1"),
        (&["network", "disconnect", "shop", "shop-web-1"], "shop/web-1 take-name", "off the stack's network"),
    ];
    for (fault, change, cause) in cases {
        let before = stage.containers();
        stage.fleet.docker_text("host-1", fault);
        let done = stage.once().await;
        assert_eq!(done.changes(), [change], "{fault:?}");
        let changes = done.outcome.first.plan.stacks.values().flat_map(|stack| &stack.changes);
        let causes: Vec<String> = changes.map(|change| change.cause.to_string()).collect();
        assert!(causes.iter().any(|text| text.contains(cause)), "{fault:?}: {causes:?}");
        assert_eq!(done.status("shop"), Some(StackStatus::Running), "{fault:?}: {:#?}", done.outcome.ended);
        assert!(stage.is_running("host-1", "shop-web-1"), "{fault:?}");
        let at = format!("http://{}:8080/", address(&stage.fleet, "host-1"));
        assert_eq!(stage.answer("host-2", "shop-side-1", &at), "web 1", "{fault:?}");
        let after = stage.containers();
        let side = ("host-2".to_owned(), "shop-side-1".to_owned());
        assert_eq!(after.get(&side), before.get(&side), "{fault:?}");
        stage.is_settled().await;
    }
    // Somebody who pauses a container means something by it: it is said, and left to them.
    stage.fleet.docker_text("host-1", &["pause", "shop-web-1"]);
    let done = stage.once().await;
    assert!(done.steps.is_empty(), "{:?}", done.steps);
    assert!(done.holds().iter().any(|hold| hold.starts_with("paused: shop/web-1")), "{:?}", done.holds());
    stage.fleet.docker_text("host-1", &["unpause", "shop-web-1"]);
    stage.once().await;
    assert_eq!(stage.ledger("status/shop.json")["status"], "running");
    stage.is_settled().await;
}
