//! Wrong files: what is wrong is kept as it was, the others go on, and nothing is removed by mistake.

use bayplan::controller::once::Refused;
use bayplan::model::record::StackStatus;

use crate::stage::Stage;

fn stack(name: &str, host: &str, port: u16, version: u32) -> String {
    format!(
        r#"
name: {name}
placement: manual
itemListElement:
  - {{position: 1, name: web, image: "bayplan-test/web:{version}", targetHost: {host}, ports: [{{containerPort: 8080, hostPort: {port}}}]}}
"#
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_stack_file_touches_nothing_of_its_stack_and_stops_no_other() {
    let Some(mut stage) = Stage::set("a_wrong_stack_file_touches_nothing_of_its_stack_and_stops_no_other").await else {
        return;
    };
    stage.repository.write("stacks/left.json", &left(1)).write("stacks/right.yaml", &stack("right", "host-2", 8081, 1));
    stage.repository.write("stacks/third.yaml", &stack("third", "host-3", 8082, 1)).push("Deploy");
    let done = stage.once().await;
    for name in ["left", "right", "third"] {
        assert_eq!(done.status(name), Some(StackStatus::Running), "{name}: {:#?}", done.outcome.ended);
    }
    stage.is_settled().await;

    let wrong =
        ["{ not json".to_owned(), left(2).replace("\"image\"", "\"imige\""), left(2).replace("host-1", "host-9")];
    for (round, text) in wrong.iter().enumerate() {
        let version = 2 - round as u32 % 2;
        let before = stage.containers();
        let log = stage.repository.ledger_log();
        stage.repository.write("stacks/left.json", text);
        stage.repository.write("stacks/right.yaml", &stack("right", "host-2", 8081, version)).push("Break left");

        let refused = stage.once().await;
        assert_eq!(refused.outcome.refused, Some(Refused::WrongFiles), "{text}");
        assert!(refused.steps.is_empty(), "{:?}", refused.steps);
        assert_eq!(stage.containers(), before, "{text}");
        assert_eq!(stage.repository.ledger_log(), log, "{text}");

        let done = stage.keep_going().await;
        assert_eq!(done.outcome.refused, None);
        assert_eq!(done.status("right"), Some(StackStatus::Running), "{text}: {:#?}", done.outcome.ended);
        assert_eq!(done.changes(), ["right/web-1 replace"], "{text}");
        assert!(done.holds().iter().any(|hold| hold.contains("left")), "{text}: {:?}", done.holds());
        let after = stage.containers();
        for (host, name) in [("host-1", "left-web-1"), ("host-3", "third-web-1")] {
            let key = (host.to_owned(), name.to_owned());
            assert_eq!(after.get(&key), before.get(&key), "{text}: {name}");
        }
        assert!(stage.is_running("host-1", "left-web-1"));

        // What is wrong at the head is healed as it last ran well.
        stage.fleet.docker_text("host-1", &["kill", "left-web-1"]);
        let done = stage.keep_going().await;
        assert_eq!(done.changes(), ["left/web-1 start"], "{text}: {:?}", done.holds());
        assert!(stage.is_running("host-1", "left-web-1"), "{text}");

        // Its port stays its own.
        let thief = stack("third", "host-1", 8080, 1);
        stage.repository.write("stacks/third.yaml", &thief).push("Take the port of left");
        let done = stage.keep_going().await;
        assert!(done.steps.is_empty(), "{text}: {:?}", done.steps);
        assert!(done.holds().iter().any(|hold| hold.contains("8080")), "{text}: {:?}", done.holds());
        assert!(stage.is_running("host-3", "third-web-1"), "{text}");
        stage.repository.write("stacks/third.yaml", &stack("third", "host-3", 8082, 1)).push("Give it back");
        let done = stage.keep_going().await;
        assert!(done.steps.is_empty(), "{text}: {:?}", done.steps);
    }

    // A file that yields no name may be any stack that is absent: nothing is removed.
    stage
        .repository
        .write("stacks/left.json", "{ not json")
        .remove("stacks/third.yaml")
        .push("Third goes, left is broken");
    let before = stage.containers();
    let done = stage.keep_going().await;
    assert!(done.steps.is_empty(), "{:?}", done.steps);
    assert_eq!(stage.containers(), before);
    assert!(done.holds().iter().any(|hold| hold.starts_with("nameless-files: third")), "{:?}", done.holds());
    stage.repository.write("stacks/left.json", &left(2)).push("Mend left");
    let done = stage.once().await;
    assert_eq!(done.changes(), ["left/web-1 replace", "third/web-1 remove"]);
    assert_eq!(stage.names("host-3"), Vec::<String>::new());
    stage.is_settled().await;
}

fn left(version: u32) -> String {
    format!(
        r#"{{"name": "left", "placement": "manual", "itemListElement": [
  {{"position": 1, "name": "web", "image": "bayplan-test/web:{version}", "targetHost": "host-1", "ports": [{{"containerPort": 8080, "hostPort": 8080}}]}}
]}}"#
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_host_file_holds_everything() {
    let Some(mut stage) = Stage::set("a_wrong_host_file_holds_everything").await else { return };
    let path = "stacks/right.yaml";
    stage.deploy(path, &stack("right", "host-2", 8081, 1)).await;
    stage.is_settled().await;
    let before = stage.containers();
    stage.repository.write("hosts/host-3.yaml", "name: [host-3");
    stage.repository.write(path, &stack("right", "host-2", 8081, 2)).push("Break a host file");
    let refused = stage.once().await;
    assert_eq!(refused.outcome.refused, Some(Refused::WrongFiles));
    let done = stage.keep_going().await;
    assert!(done.steps.is_empty(), "{:?}", done.steps);
    assert!(
        done.holds().iter().any(|hold| hold.starts_with("inventory-wrong: hosts/host-3.yaml")),
        "{:?}",
        done.holds()
    );
    assert_eq!(stage.containers(), before);
    stage.repository.remove(path).push("Remove the stack meanwhile");
    let done = stage.keep_going().await;
    assert!(done.steps.is_empty(), "{:?}", done.steps);
    assert_eq!(stage.containers(), before);
    let hosts = stage.ledger("hosts.json");
    assert!(hosts.to_string().contains("host-3"), "what is known of it is not forgotten: {hosts:#}");

    crate::site::write_hosts(&stage.repository, &stage.fleet);
    stage.repository.write(path, &stack("right", "host-2", 8081, 2)).push("Mend it");
    let done = stage.once().await;
    assert_eq!(done.changes(), ["right/web-1 replace"]);
    assert_eq!(done.status("right"), Some(StackStatus::Running), "{:#?}", done.outcome.ended);
    stage.is_settled().await;
}
