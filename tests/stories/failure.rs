//! What does not work: dependents wait, what ran before comes back, and nothing is tried twice.

use std::time::Duration;

use bayplan::model::record::StackStatus;
use bayplan::plan::change::Cause;

use crate::fleet::wait_for;
use crate::stage::Stage;

/// `db` works, `disk` is as asked, and `app` requires it.
fn three(disk: &str) -> String {
    format!(
        r#"
name: shop
placement: manual
itemListElement:
  - {{position: 1, name: db, image: "bayplan-test/db:1", targetHost: host-1}}
  - {{position: 2, name: disk, image: "bayplan-test/{disk}", targetHost: host-2, softwareRequirements: [{{name: db}}]}}
  - {{position: 3, name: app, image: "bayplan-test/web:1", targetHost: host-3, softwareRequirements: [{{name: disk}}]}}
"#
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_requires_a_service_that_never_gets_healthy_is_not_started() {
    let Some(mut stage) = Stage::set("what_requires_a_service_that_never_gets_healthy_is_not_started").await else {
        return;
    };
    let done = stage.deploy("stacks/shop.yaml", &three("unhealthy:1")).await;
    assert_eq!(done.status("shop"), Some(StackStatus::Failed), "{:#?}", done.outcome.ended);
    let [failure] = done.failures("shop") else { panic!("{:#?}", done.failures("shop")) };
    assert_eq!(failure.instance.as_ref().map(ToString::to_string).as_deref(), Some("shop/disk-1"));
    assert_eq!(failure.host.as_str(), "host-2");
    assert!(failure.why.contains("health check failed: the disk is not there"), "{}", failure.why);
    assert!(failure.log.iter().any(|line| line == "unhealthy 1: still waiting"), "{:?}", failure.log);
    assert!(done.steps.iter().any(|step| step == "host-2: start shop-disk-1"), "{:?}", done.steps);
    assert!(!done.steps.iter().any(|step| step.starts_with("host-3: create shop-app")), "{:?}", done.steps);
    assert!(stage.containers().is_empty(), "{:?}", stage.containers());
    let record = stage.ledger("status/shop.json");
    assert_eq!(record["status"], "failed", "{record:#}");
    assert!(record.to_string().contains("the disk is not there"), "{record:#}");

    let log = stage.repository.ledger_log();
    assert!(log.iter().any(|line| line.contains("shop failed") && line.contains("shop/disk-1")), "{log:#?}");
    let again = stage.once().await;
    assert!(again.steps.is_empty(), "it is not tried again: {:?}", again.steps);
    assert!(again.holds().iter().any(|hold| hold.starts_with("bad-content: ")), "{:?}", again.holds());
    assert_eq!(stage.repository.ledger_log(), log);
    stage.is_settled().await;

    let healed = stage.deploy("stacks/shop.yaml", &three("web:1")).await;
    assert_eq!(healed.status("shop"), Some(StackStatus::Running), "{:#?}", healed.outcome.ended);
    assert_eq!(healed.changes(), ["shop/app-1 create", "shop/db-1 create", "shop/disk-1 create"]);
    assert_eq!(stage.names("host-3"), ["shop-app-1"]);
    stage.is_settled().await;
}

/// `front` requires `back`, which holds a host port; `side` stands alone.
fn running(front: &str, back: &str, side: &str, more: &str) -> String {
    format!(
        r#"
name: shop
placement: manual
itemListElement:
  - {{position: 1, name: back, image: "{back}", targetHost: host-2, ports: [{{containerPort: 8080, hostPort: 8080}}]}}
  - position: 2
    name: front
    image: "{front}"
    targetHost: host-3
    softwareRequirements: [{{name: back}}]
    {more}
  - {{position: 3, name: side, image: "{side}", targetHost: host-1}}
"#
    )
}

const GOOD: &str = "bayplan-test/web:1";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_an_update_that_does_not_work_everything_runs_as_before() {
    let Some(mut stage) = Stage::set("after_an_update_that_does_not_work_everything_runs_as_before").await else {
        return;
    };
    let path = "stacks/shop.yaml";
    let done = stage.deploy(path, &running(GOOD, GOOD, GOOD, "")).await;
    assert_eq!(done.status("shop"), Some(StackStatus::Running), "{:#?}", done.outcome.ended);
    let before = stage.containers();
    assert_eq!(before.len(), 3);

    // Start-first: what ran is never touched, not even a healthy neighbour's replacement survives.
    for (bad, why) in [("exits:1", "it exited"), ("unhealthy:1", "the disk is not there")] {
        let done = stage.deploy(path, &running(&format!("bayplan-test/{bad}"), GOOD, "bayplan-test/web:2", "")).await;
        assert_eq!(done.status("shop"), Some(StackStatus::RolledBack), "{bad}: {:#?}", done.outcome.ended);
        let [failure] = done.failures("shop") else { panic!("{:#?}", done.failures("shop")) };
        assert!(failure.what.contains("shop-front-1"), "{failure:#?}");
        assert!(failure.why.contains(why), "{failure:#?}");
        assert!(!failure.log.is_empty(), "{failure:#?}");
        assert_eq!(stage.containers(), before, "{bad}");
        assert!(before.keys().all(|(host, name)| stage.is_running(host, name)), "{bad}");
        let log = stage.repository.ledger_log();
        assert!(log[0].starts_with("shop rolled back"), "{log:#?}");
        assert!(log.iter().any(|line| line.contains("shop/front-1")), "{log:#?}");
        let again = stage.once().await;
        assert!(again.steps.is_empty(), "{bad} is not tried again: {:?}", again.steps);
        assert_eq!(stage.repository.ledger_log(), log);
        let record = stage.ledger("status/shop.json");
        assert_eq!(record["status"], "rolled-back", "{record:#}");
        stage.is_settled().await;
    }

    // Stop-first: the one that was stopped for it comes back.
    let done = stage.deploy(path, &running(GOOD, "bayplan-test/exits:1", "bayplan-test/web:2", "")).await;
    assert_eq!(done.status("shop"), Some(StackStatus::RolledBack), "{:#?}", done.outcome.ended);
    assert!(done.failures("shop")[0].log.iter().any(|line| line.contains("cannot open /etc/exits.conf")));
    assert_eq!(stage.containers(), before);
    assert!(before.keys().all(|(host, name)| stage.is_running(host, name)));
    let asked = stage.answer("host-3", "shop-front-1", "http://back:8080/");
    assert_eq!(asked, "web 1");
    stage.is_settled().await;

    // What was replaced with a gap before another failed gets its port back.
    let done = stage.deploy(path, &running("bayplan-test/exits:1", "bayplan-test/web:2", GOOD, "")).await;
    assert_eq!(done.status("shop"), Some(StackStatus::RolledBack), "{:#?}", done.outcome.ended);
    assert!(done.steps.iter().any(|step| step.starts_with("host-2: wait until shop-back-1.")), "{:?}", done.steps);
    assert_eq!(stage.containers(), before);
    assert!(before.keys().all(|(host, name)| stage.is_running(host, name)));
    assert_eq!(stage.answer("host-3", "shop-front-1", "http://back:8080/"), "web 1");
    stage.is_settled().await;

    // The next good push deploys.
    let done = stage.deploy(path, &running(GOOD, GOOD, "bayplan-test/web:2", "")).await;
    assert_eq!(done.status("shop"), Some(StackStatus::Running), "{:#?}", done.outcome.ended);
    assert_eq!(done.changes(), ["shop/side-1 replace"]);
    assert_eq!(stage.ledger("status/shop.json")["status"], "running");
    stage.is_settled().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_action_runs_once_and_one_that_fails_goes_back() {
    let Some(mut stage) = Stage::set("an_action_runs_once_and_one_that_fails_goes_back").await else { return };
    let path = "stacks/shop.yaml";
    let action =
        |command: &str| format!("potentialAction: [{{name: migrate, target: back, command: [sh, -c, \"{command}\"]}}]");
    let done = stage.deploy(path, &running(GOOD, GOOD, GOOD, &action("echo ran >> /tmp/ran"))).await;
    assert_eq!(done.status("shop"), Some(StackStatus::Running), "{:#?}", done.outcome.ended);
    let lines = |stage: &Stage| stage.exec("host-2", "shop-back-1", &["cat", "/tmp/ran"]).lines().count();
    assert_eq!(lines(&stage), 1);
    stage.is_settled().await;
    assert_eq!(lines(&stage), 1, "it ran once");
    let before = stage.containers();

    // A neighbour's change does not run it again.
    let done = stage.deploy(path, &running(GOOD, GOOD, "bayplan-test/web:2", &action("echo ran >> /tmp/ran"))).await;
    assert_eq!(done.status("shop"), Some(StackStatus::Running), "{:#?}", done.outcome.ended);
    assert_eq!(lines(&stage), 1);
    let side = stage.containers();
    assert_eq!(side.len(), 3);

    // One that fails is bad content, and the service that it belongs to comes back.
    let failing = running("bayplan-test/web:2", GOOD, "bayplan-test/web:2", &action("echo no such table; exit 3"));
    let done = stage.deploy(path, &failing).await;
    assert_eq!(done.status("shop"), Some(StackStatus::RolledBack), "{:#?}", done.outcome.ended);
    let failure = &done.failures("shop")[0];
    assert!(failure.why.contains("the action migrate ended with 3"), "{failure:#?}");
    assert_eq!(failure.log, ["no such table"]);
    assert_eq!(stage.containers(), side);
    assert_eq!(before[&("host-3".to_owned(), "shop-front-1".to_owned())], stage.id("host-3", "shop-front-1"));
    assert_eq!(lines(&stage), 1);
    stage.is_settled().await;

    // In another shape of its service it is due again.
    let done = stage
        .deploy(path, &running("bayplan-test/web:2", GOOD, "bayplan-test/web:2", &action("echo ran >> /tmp/ran")))
        .await;
    assert_eq!(done.status("shop"), Some(StackStatus::Running), "{:#?}", done.outcome.ended);
    assert_eq!(lines(&stage), 2);
    stage.is_settled().await;
    assert_eq!(lines(&stage), 2);
    let causes = done.outcome.first.plan.stacks.values().flat_map(|stack| &stack.changes).map(|change| &change.cause);
    assert!(causes.into_iter().any(|cause| matches!(cause, Cause::Changed(_))));
}

fn with_job(image: &str, policy: &str) -> String {
    format!(
        r#"
name: shop
placement: manual
itemListElement:
  - {{position: 1, name: seed, image: "bayplan-test/{image}", restartPolicy: "{policy}", targetHost: host-1,
     update: {{minHealthy: 1}}}}
  - {{position: 2, name: app, image: "bayplan-test/web:1", targetHost: host-2, softwareRequirements: [{{name: seed}}]}}
"#
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_is_done_is_healthy_and_no_drift() {
    let Some(mut stage) = Stage::set("a_job_that_is_done_is_healthy_and_no_drift").await else { return };
    let path = "stacks/shop.yaml";
    let done = stage.deploy(path, &with_job("exits:1", "no")).await;
    assert_eq!(done.status("shop"), Some(StackStatus::Failed), "{:#?}", done.outcome.ended);
    assert!(done.failures("shop")[0].why.contains("it exited with code 1"), "{:#?}", done.failures("shop"));
    assert!(stage.containers().is_empty());

    let done = stage.deploy(path, &with_job("job:1", "no")).await;
    assert_eq!(done.status("shop"), Some(StackStatus::Running), "{:#?}", done.outcome.ended);
    assert_eq!(stage.inspect("host-1", "shop-seed-1", "{{.State.Status}} {{.State.ExitCode}}"), "exited 0");
    assert!(stage.repository.ledger("status/shop.json").contains("completed"));
    stage.is_settled().await;
    let seed = stage.id("host-1", "shop-seed-1");

    // In another shape it runs again, and once.
    let done = stage.deploy(path, &with_job("job:1", "on-failure")).await;
    assert_eq!(done.changes(), ["shop/seed-1 replace"]);
    assert_eq!(done.status("shop"), Some(StackStatus::Running), "{:#?}", done.outcome.ended);
    assert_ne!(stage.id("host-1", "shop-seed-1"), seed);
    stage.is_settled().await;
}

/// What `bayplan apply` ends with, and what it says.
fn apply(stage: &Stage) -> (Option<i32>, String) {
    bayplan(stage, &["apply"], &[])
}

/// What a command about the repository ends with, and what it says.
fn bayplan(stage: &Stage, before: &[&str], after: &[&str]) -> (Option<i32>, String) {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_bayplan"))
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", stage.repository.cache())
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .args(before)
        .arg(stage.repository.bare())
        .args(after)
        .output()
        .expect("the program runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code(), said)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_says_by_its_exit_code_what_became_of_the_stack() {
    let Some(stage) = Stage::set("the_command_says_by_its_exit_code_what_became_of_the_stack").await else { return };
    // Only what needs no certificate, for the program is given no configuration.
    for host in stage.fleet.hosts.iter().filter(|host| host.name != "host-1") {
        stage.repository.remove(&format!("hosts/{}.yaml", host.name));
    }
    // Where nothing ran before, one that ends at once could be seen while it still runs.
    let shop = |image: &str| {
        let web = format!("position: 1, name: web, image: 'bayplan-test/{image}', update: {{minHealthy: 1}}");
        format!("name: shop\nitemListElement: [{{{web}}}]\n")
    };
    let deploy = |image: &str| {
        stage.repository.write("stacks/shop.yaml", &shop(image)).push(image);
        tokio::task::block_in_place(|| apply(&stage))
    };
    let (code, said) = deploy("exits:1");
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("shop/web-1") && said.contains("it exited"), "which and why: {said}");
    assert!(said.contains("cannot open /etc/exits.conf"), "its last lines: {said}");
    let (code, said) = tokio::task::block_in_place(|| apply(&stage));
    assert_eq!(code, Some(3), "it is not tried again, and still is not what was asked for: {said}");
    let (code, said) = deploy("web:1");
    assert_eq!(code, Some(0), "{said}");
    let said = |more: &[&str]| {
        let logs = || bayplan(&stage, &["logs", "shop/web"], more);
        let (code, said) = tokio::task::block_in_place(logs);
        assert_eq!(code, Some(0), "{said}");
        said
    };
    wait_for("its first line", Duration::from_secs(60), || match said(&[]) {
        line if line == "web 1 listens on 8080\n" => Ok(()),
        other => Err(other),
    });
    let line: serde_json::Value = serde_json::from_str(&said(&["--format", "json"])).expect("one line of JSON");
    assert_eq!((&line["instance"], &line["host"]), (&"shop/web-1".into(), &"host-1".into()), "{line}");
    assert_eq!((&line["kind"], &line["text"]), (&"log".into(), &"web 1 listens on 8080".into()), "{line}");
    let (code, said) = deploy("exits:1', environment: {AGAIN: 'yes'}, user: '0");
    assert_eq!(code, Some(6), "{said}");
    assert!(said.contains("rolled back") && !said.contains("deployed"), "{said}");
    assert!(stage.is_running("host-1", "shop-web-1"));
}
