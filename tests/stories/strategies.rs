//! Placement on real hosts: each strategy puts the seed stack where it promises, and it works from there.

use bayplan::model::record::StackStatus;
use bayplan::reconcile::{self, Context, Look};

use crate::fleet::Fleet;
use crate::repository::Repository;
use crate::site;
use crate::stage::{Stage, address, mapping};

/// The seed stack without `targetHost` and `remoteHost`.
fn seed(placement: &str) -> String {
    format!(
        r#"
name: distributed-app
placement: {placement}
itemListElement:
  - position: 1
    name: postgres
    image: bayplan-test/db:1
    ports: [{{containerPort: 5432}}]
    healthCheck: {{type: postgres, port: 5432, interval: 1, retries: 20}}
  - position: 2
    name: cache
    image: bayplan-test/web:1
    ports: [{{containerPort: 8080}}]
    healthCheck: {{type: http, path: /health, port: 8080, interval: 1, retries: 20}}
  - position: 3
    name: app
    image: bayplan-test/web:2
    softwareRequirements:
      - {{name: postgres, connectionString: "postgres://{{host}}:{{port}}/app"}}
      - {{name: cache}}
"#
    )
}

/// The same with every list and member in another order.
fn shuffled(placement: &str) -> String {
    format!(
        r#"{{"itemListElement": [
  {{"softwareRequirements": [{{"name": "cache"}}, {{"connectionString": "postgres://{{host}}:{{port}}/app", "name": "postgres"}}],
    "image": "bayplan-test/web:2", "name": "app", "position": 3}},
  {{"healthCheck": {{"retries": 20, "interval": 1, "port": 8080, "path": "/health", "type": "http"}},
    "ports": [{{"containerPort": 8080}}], "image": "bayplan-test/web:1", "name": "cache", "position": 2}},
  {{"healthCheck": {{"retries": 20, "interval": 1, "port": 5432, "type": "postgres"}},
    "ports": [{{"containerPort": 5432}}], "image": "bayplan-test/db:1", "name": "postgres", "position": 1}}
], "placement": "{placement}", "name": "distributed-app"}}"#
    )
}

/// The host files as one list, last one first.
fn hosts_in_one_list(fleet: &Fleet) -> String {
    let of_host = |host: &crate::fleet::Host| {
        let endpoint = host.tcp.clone().unwrap_or_else(|| format!("unix://{}", host.socket.display()));
        format!(
            "  - {{datacenter: dc-1, endpoint: \"{endpoint}\", ipAddress: {}, name: {}}}\n",
            host.address, host.name
        )
    };
    let lines: String = fleet.hosts.iter().rev().map(of_host).collect();
    format!("\"@type\": ItemList\nitemListElement:\n{lines}")
}

fn environment(stage: &Stage, host: &str) -> Vec<String> {
    stage.exec(host, "distributed-app-app-1", &["env"]).lines().map(str::to_owned).collect()
}

fn reaches(stage: &Stage, host: &str) {
    let postgres = stage.exec(host, "distributed-app-app-1", &["sh", "-c", "nc postgres 5432 < /dev/null"]);
    assert!(postgres.starts_with("db 1 on "), "{postgres}");
    let cache = stage.answer(host, "distributed-app-app-1", "http://cache:8080/");
    assert_eq!(cache, "web 1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_strategy_puts_the_seed_stack_where_it_promises() {
    let Some(mut stage) = Stage::set("each_strategy_puts_the_seed_stack_where_it_promises").await else { return };
    let apart = ["app-1 host-3", "cache-1 host-2", "postgres-1 host-1"];
    let together = ["app-1 host-1", "cache-1 host-1", "postgres-1 host-1"];
    let path = "stacks/app.yaml";
    for (strategy, expected) in [("auto", apart), ("single", together), ("spread", apart), ("datacenter", apart)] {
        let done = stage.deploy(path, &seed(strategy)).await;
        assert_eq!(mapping(&done.outcome.first, "distributed-app"), expected, "{strategy}");
        assert!(done.failures("distributed-app").is_empty(), "{strategy}: {:#?}", done.outcome.ended);
        assert_eq!(stage.ledger("status/distributed-app.json")["status"], "running", "{strategy}");
        stage.is_settled().await;
        let app = expected[0].rsplit(' ').next().expect("a host");
        reaches(&stage, app);
        let found = environment(&stage, app);
        let (postgres, cache) = match strategy {
            "single" => ("postgres".to_owned(), "cache".to_owned()),
            _ => (address(&stage.fleet, "host-1"), address(&stage.fleet, "host-2")),
        };
        for line in [
            format!("POSTGRES_HOST={postgres}"),
            "POSTGRES_PORT=5432".to_owned(),
            format!("POSTGRES_URL=postgres://{postgres}:5432/app"),
            format!("CACHE_HOST={cache}"),
            "CACHE_PORT=8080".to_owned(),
        ] {
            assert!(found.contains(&line), "{strategy}: {line} is not in {found:#?}");
        }
        let record = stage.repository.ledger("status/distributed-app.json");
        assert!(record.contains(&format!("\"app: {app}\"")), "{record}");

        // Twice the same: from Git alone, and for other files in another order.
        let offline = stage.offline().await;
        assert_eq!(mapping(&offline, "distributed-app"), expected, "{strategy}");
        let other = Repository::new();
        other.write("hosts/all.yaml", &hosts_in_one_list(&stage.fleet));
        other.write("stacks/z/another-name.json", &shuffled(strategy)).push("The same in another order");
        let mut elsewhere = site::site(&other, site::config(&stage.fleet)).await;
        let fresh = reconcile::pass(&mut elsewhere, Look::Offline, &Context::default()).await.expect("a pass");
        assert!(!fresh.report.has_errors(), "{:?}", fresh.report);
        assert_eq!(mapping(&fresh, "distributed-app"), expected, "{strategy}");
    }
}

fn web(replicas: u32) -> String {
    format!(
        r#"
name: shop
placement: auto
itemListElement:
  - {{position: 1, name: web, image: "bayplan-test/web:1", replicas: {replicas}, ports: [{{containerPort: 8080}}], constraints: {{notWith: [web]}}}}
  - {{position: 2, name: app, image: "bayplan-test/web:2", softwareRequirements: [{{name: web}}], constraints: {{notWith: [web], notOn: [host-4]}}}}
"#
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_stay_apart_and_leave_a_host_that_drains() {
    let Some(mut stage) = Stage::set("replicas_stay_apart_and_leave_a_host_that_drains").await else { return };
    if stage.fleet.find("host-4").is_none() {
        crate::fleet::leave_out("replicas_stay_apart_and_leave_a_host_that_drains", "there are only three hosts");
        return;
    }
    let path = "stacks/shop.yaml";
    let done = stage.deploy(path, &web(2)).await;
    assert_eq!(mapping(&done.outcome.last, "shop"), ["app-1 host-3", "web-1 host-1", "web-2 host-2"]);
    assert_eq!(done.status("shop"), Some(StackStatus::Running), "{:#?}", done.outcome.ended);
    let record = stage.repository.ledger("status/shop.json");
    for line in ["\"web-1: host-1\"", "\"web-2: host-2\"", "\"app: host-3\""] {
        assert!(record.contains(line), "{line} is not in {record}");
    }
    let hosts = stage.exec("host-3", "shop-app-1", &["cat", "/etc/hosts"]);
    for host in ["host-1", "host-2"] {
        let line = format!("{}\tweb", address(&stage.fleet, host));
        assert!(hosts.lines().any(|l| l == line), "{line} is not in {hosts}");
    }
    assert_eq!(stage.answer("host-3", "shop-app-1", "http://web:8080/"), "web 1");
    stage.is_settled().await;
    let before = stage.containers();

    // A host drains: what is on it moves, what knew its address is told, and the rest stays.
    let file = "hosts/host-1.yaml";
    let as_it_was = std::fs::read_to_string(stage.repository.work().join(file)).expect("a host file");
    let done = stage.deploy(file, &format!("{as_it_was}status: draining\n")).await;
    assert_eq!(done.changes(), ["shop/app-1 replace", "shop/web-1 move"]);
    assert_eq!(mapping(&done.outcome.last, "shop"), ["app-1 host-3", "web-1 host-4", "web-2 host-2"]);
    assert_eq!(done.status("shop"), Some(StackStatus::Running), "{:#?}", done.outcome.ended);
    assert_eq!(stage.names("host-1"), Vec::<String>::new());
    let second = ("host-2".to_owned(), "shop-web-2".to_owned());
    assert_eq!(stage.containers().get(&second), before.get(&second));
    assert_eq!(stage.answer("host-3", "shop-app-1", "http://web:8080/"), "web 1");
    stage.is_settled().await;

    // It comes back, and nothing moves that need not.
    let after = stage.containers();
    let done = stage.deploy(file, &as_it_was).await;
    assert!(done.steps.is_empty(), "{:?}", done.steps);
    assert_eq!(stage.containers(), after);

    // One replica less: the highest number goes.
    let done = stage.deploy(path, &web(1)).await;
    assert!(done.changes().contains(&"shop/web-2 remove".to_owned()), "{:?}", done.changes());
    assert_eq!(stage.names("host-2"), Vec::<String>::new());
    stage.is_settled().await;
}
