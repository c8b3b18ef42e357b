//! What goes and what stays: services, stacks, volumes, networks, the brake, and what is not ours.

use bayplan::model::record::StackStatus;

use crate::fleet::TEST_LABEL;
use crate::stage::Stage;

const DB: &str = r#"  - {position: 1, name: db, image: "bayplan-test/db:1", targetHost: host-1, volumeMounts: [{source: shop-data, target: /data}]}
"#;
const WEB: &str = r#"  - {position: 2, name: web, image: "bayplan-test/web:1", targetHost: host-1, softwareRequirements: [{name: db}]}
"#;
const CACHE: &str = r#"  - {position: 3, name: cache, image: "bayplan-test/web:1", targetHost: host-2}
"#;

fn shop(services: &[&str]) -> String {
    format!("name: shop\nplacement: manual\nitemListElement:\n{}", services.concat())
}

fn label() -> String {
    format!("{TEST_LABEL}=foreign")
}

fn networks(stage: &Stage, host: &str, filter: &str) -> Vec<String> {
    let listed = stage.fleet.docker_text(host, &["network", "ls", "--format", "{{.Name}}", "--filter", filter]);
    listed.lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_asked_for_goes_and_its_data_stays() {
    let Some(mut stage) = Stage::set("what_is_not_asked_for_goes_and_its_data_stays").await else { return };
    let path = "stacks/shop.yaml";
    let done = stage.deploy(path, &shop(&[DB, WEB, CACHE])).await;
    assert_eq!(done.status("shop"), Some(StackStatus::Running), "{:#?}", done.outcome.ended);
    assert_eq!(networks(&stage, "host-2", "name=shop"), ["shop"]);
    let before = stage.containers();

    // A service goes, and with it the network of a host that has nothing else of the stack.
    let done = stage.deploy(path, &shop(&[DB, WEB])).await;
    assert_eq!(done.changes(), ["shop/cache-1 remove"]);
    assert_eq!(done.status("shop"), Some(StackStatus::Running), "{:#?}", done.outcome.ended);
    assert_eq!(stage.names("host-2"), Vec::<String>::new());
    assert_eq!(networks(&stage, "host-2", "name=shop"), Vec::<String>::new());
    let after = stage.containers();
    assert!(after.iter().all(|(key, id)| before.get(key) == Some(id)), "{after:#?}");
    assert!(!stage.repository.ledger("status/shop.json").contains("cache"));
    stage.is_settled().await;

    // A network that somebody else's container uses stays.
    let (name, label) = (format!("{TEST_LABEL}-guest"), label());
    let guest = ["run", "-d", "--name", &name, "--label", &label, "--network", "shop", "bayplan-test/web:1"];
    stage.fleet.docker_text("host-1", &guest);
    stage.repository.remove(path).push("Remove the stack");
    let done = stage.once().await;
    assert_eq!(done.changes(), ["shop/db-1 remove", "shop/web-1 remove"]);
    assert_eq!(done.status("shop"), None);
    let stops: Vec<&String> = done.steps.iter().filter(|step| step.contains(": stop ")).collect();
    assert_eq!(stops.len(), 2, "{:?}", done.steps);
    assert!(
        stops[0].contains(&after[&("host-1".to_owned(), "shop-web-1".to_owned())][..12]),
        "web goes first: {stops:?}"
    );
    assert_eq!(stage.names("host-1"), std::slice::from_ref(&name));
    assert_eq!(networks(&stage, "host-1", "name=shop"), ["shop"]);
    assert!(stage.fleet.docker_text("host-1", &["volume", "ls", "-q"]).lines().any(|volume| volume == "shop-data"));
    stage.is_settled().await;
    stage.fleet.docker_text("host-1", &["rm", "-f", &name]);
    stage.forget().await;
    stage.once().await;
    assert_eq!(networks(&stage, "host-1", "name=shop"), Vec::<String>::new(), "nothing uses it any more");
    assert!(!stage.repository.bare().join("status/shop.json").exists());

    // The data is there when the stack is back.
    stage.deploy(path, &shop(&[DB, WEB])).await;
    let starts = stage.exec("host-1", "shop-db-1", &["sh", "-c", "wc -l < /data/starts"]);
    assert_eq!(starts, "2", "what the first one wrote, and this one");
    stage.is_settled().await;
}

fn big(services: u32) -> String {
    let services: Vec<String> = (1..=services)
        .map(|n| {
            let port = if n == 5 { ", ports: [{containerPort: 8080, hostPort: 9000}]" } else { "" };
            let host = n % 3 + 1;
            format!("  - {{position: {n}, name: s{n}, image: \"bayplan-test/web:1\", targetHost: host-{host}{port}}}\n")
        })
        .collect();
    format!("name: big\nplacement: manual\nitemListElement:\n{}", services.concat())
}

fn acknowledgement(holds: &[String]) -> String {
    let brake = holds.iter().find(|hold| hold.starts_with("brake: ")).unwrap_or_else(|| panic!("{holds:#?}"));
    let line = brake.lines().map(str::trim).find(|line| line.starts_with("Bayplan-Allow-Removal: "));
    line.unwrap_or_else(|| panic!("{brake}")).to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn removals_beyond_the_brake_wait_for_a_word_in_a_commit() {
    let Some(mut stage) = Stage::set("removals_beyond_the_brake_wait_for_a_word_in_a_commit").await else { return };
    let path = "stacks/big.yaml";
    stage.repository.write("stacks/shop.yaml", &shop(&[CACHE])).write(path, &big(5)).push("Deploy");
    let done = stage.once().await;
    assert_eq!(done.status("big"), Some(StackStatus::Running), "{:#?}", done.outcome.ended);
    let before = stage.containers();
    assert_eq!(before.len(), 6);

    stage.repository.remove(path).push("Sweep it away");
    let offline = stage.offline().await;
    let done = stage.once().await;
    assert!(done.steps.is_empty(), "{:?}", done.steps);
    let line = acknowledgement(&done.holds());
    assert_eq!(acknowledgement(&crate::stage::holds(&offline)), line, "the line needs Git alone");
    assert_eq!(stage.containers(), before);
    assert_eq!(stage.ledger("status/big.json")["status"], "held");
    let idle = stage.once().await;
    assert_eq!(acknowledgement(&idle.holds()), line);

    stage.repository.push(&format!("Yes, sweep it away\n\n{line}"));
    let done = stage.once().await;
    assert_eq!(done.changes().len(), 5, "{:?}", done.changes());
    assert_eq!(stage.containers().len(), 1);
    stage.is_settled().await;

    // An old word does not serve twice.
    stage.deploy(path, &big(5)).await;
    assert_eq!(stage.containers().len(), 6);
    stage.repository.remove(path).push("Sweep it away again");
    let done = stage.once().await;
    assert!(done.steps.is_empty(), "{:?}", done.steps);
    assert_eq!(acknowledgement(&done.holds()), line, "the same removal has the same digest");

    // Most of a stack goes while the rest changes: the rest changes, the removals wait, and stay waiting, and so does
    // what needs the port of one of them.
    let heir = r#"  - {position: 9, name: heir, image: "bayplan-test/web:1", targetHost: host-3, ports: [{containerPort: 8080, hostPort: 9000}]}
"#;
    let one = big(1).replace("web:1", "web:2") + heir;
    let done = stage.deploy(path, &one).await;
    assert_eq!(done.changes(), ["big/s1-1 replace"]);
    assert_eq!(done.status("big"), Some(StackStatus::Held), "{:#?}", done.outcome.ended);
    let waits = |hold: &String| hold.starts_with("port-held: big/heir-1") && hold.contains("big-s5-1");
    assert!(done.holds().iter().any(waits), "{:#?}", done.holds());
    assert_eq!(stage.containers().len(), 6);
    let line = acknowledgement(&done.holds());
    for _ in 0..2 {
        stage.forget().await;
        let idle = stage.once().await;
        assert!(idle.steps.is_empty(), "{:?}", idle.steps);
        assert_eq!(acknowledgement(&idle.holds()), line);
    }
    assert_eq!(stage.containers().len(), 6);
    assert_eq!(stage.ledger("status/big.json")["status"], "held");
    stage.repository.push(&format!("Yes\n\n{line}"));
    let done = stage.once().await;
    let removed = ["big/s2-1 remove", "big/s3-1 remove", "big/s4-1 remove", "big/s5-1 remove"];
    assert_eq!(done.changes(), [&["big/heir-1 create"][..], &removed].concat());
    assert_eq!(stage.ledger("status/big.json")["status"], "running");
    stage.is_settled().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_ours_is_never_touched() {
    let Some(mut stage) = Stage::set("what_is_not_ours_is_never_touched").await else { return };
    let label = label();
    let docker = |arguments: &[&str]| stage.fleet.docker_text("host-1", arguments);
    docker(&["run", "-d", "--name", "shop-web-1", "--label", &label, "bayplan-test/web:2"]);
    docker(&["network", "create", "--label", &label, "shop"]);
    docker(&["volume", "create", "--label", &label, "shop-data"]);
    let foreign = stage.id("host-1", "shop-web-1");
    let network = docker(&["network", "inspect", "--format", "{{.Id}}", "shop"]);

    let path = "stacks/shop.yaml";
    let done = stage.deploy(path, &shop(&[DB, WEB, CACHE])).await;
    let hold = done.holds().into_iter().find(|hold| hold.starts_with("foreign-container: "));
    let hold = hold.unwrap_or_else(|| panic!("{:#?}", done.holds()));
    assert!(hold.contains("shop-web-1 on host-1") && hold.contains(&foreign[..12]), "{hold}");
    assert_eq!(done.status("shop"), Some(StackStatus::Held), "{:#?}", done.outcome.ended);
    assert_eq!(stage.id("host-1", "shop-web-1"), foreign);
    assert_eq!(stage.names("host-1"), ["shop-db-1", "shop-web-1"]);
    assert!(stage.inspect("host-1", "shop-db-1", "{{json .NetworkSettings.Networks}}").contains(&network));
    let idle = stage.once().await;
    assert!(idle.steps.is_empty(), "{:?}", idle.steps);

    stage.repository.remove(path).push("Remove the stack");
    stage.once().await;
    assert_eq!(stage.names("host-1"), ["shop-web-1"]);
    assert_eq!(stage.id("host-1", "shop-web-1"), foreign);
    assert!(stage.is_running("host-1", "shop-web-1"));
    let left = stage.fleet.docker_text("host-1", &["network", "inspect", "--format", "{{.Id}}", "shop"]);
    assert_eq!(left, network);
    assert!(stage.fleet.docker_text("host-1", &["volume", "ls", "-q"]).lines().any(|volume| volume == "shop-data"));
    stage.is_settled().await;

    // It waits until its owner takes it away, and then takes the name.
    stage.deploy(path, &shop(&[DB, WEB])).await;
    stage.fleet.docker_text("host-1", &["rm", "-f", "shop-web-1"]);
    let done = stage.once().await;
    assert_eq!(done.changes(), ["shop/web-1 create"]);
    assert_eq!(done.status("shop"), Some(StackStatus::Running), "{:#?}", done.outcome.ended);
    stage.is_settled().await;
}

fn sharing(name: &str, network: &str) -> String {
    format!(
        r#"
name: {name}
network: {{name: {network}}}
itemListElement:
  - {{position: 1, name: {name}-web, image: "bayplan-test/web:1", targetHost: host-1}}
"#
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_goes_with_the_last_stack_that_shares_it() {
    let Some(mut stage) = Stage::set("a_network_goes_with_the_last_stack_that_shares_it").await else { return };
    stage.repository.write("stacks/left.yaml", &sharing("left", "common"));
    let done = stage.deploy("stacks/right.yaml", &sharing("right", "common")).await;
    for name in ["left", "right"] {
        assert_eq!(done.status(name), Some(StackStatus::Running), "{name}: {:#?}", done.outcome.ended);
    }
    assert_eq!(networks(&stage, "host-1", "name=common"), ["common"], "made once");
    let ask = ["wget", "-q", "-O", "-", "http://left-web:8080/"];
    assert_eq!(stage.exec("host-1", "right-right-web-1", &ask), "web 1");
    stage.is_settled().await;
    let right = stage.id("host-1", "right-right-web-1");

    stage.repository.remove("stacks/left.yaml").push("Left goes");
    stage.once().await;
    assert_eq!(networks(&stage, "host-1", "name=common"), ["common"]);
    assert_eq!(stage.id("host-1", "right-right-web-1"), right);
    stage.is_settled().await;

    // It moves to a network of its own; the old one is nobody's then.
    let done = stage.deploy("stacks/right.yaml", &sharing("right", "own")).await;
    assert_eq!(done.status("right"), Some(StackStatus::Running), "{:#?}", done.outcome.ended);
    assert_eq!(networks(&stage, "host-1", "label=bayplan.owner"), ["own"], "{:?}", done.steps);
    stage.is_settled().await;

    stage.repository.remove("stacks/right.yaml").push("Right goes");
    stage.once().await;
    assert_eq!(networks(&stage, "host-1", "label=bayplan.owner"), Vec::<String>::new());
    stage.is_settled().await;
}
