//! The seed example, from a push to containers on three hosts that reach each other.

use bayplan::controller::once::{Outcome, WrongFiles};
use bayplan::model::record::StackStatus;
use bayplan::name::StackSlug;
use bayplan::plan::change::{Bucket, Change};
use bayplan::reconcile::{self, Context, Look};

use crate::fleet::{self, Fleet};
use crate::repository::Repository;
use crate::site;

const STACK: &str = r#"
"@context": https://schema.org
"@type": ItemList
name: distributed-app
placement: manual
itemListElement:
  - "@type": SoftwareApplication
    position: 1
    name: postgres
    image: bayplan-test/db:1
    targetHost: host-1
    ports: [{containerPort: 5432, hostPort: 5432}]
    healthCheck: {type: tcp, port: 5432, interval: 1, retries: 20}
  - "@type": SoftwareApplication
    position: 2
    name: cache
    image: bayplan-test/web:1
    targetHost: host-2
    ports: [{containerPort: 8080, hostPort: 8080}]
    healthCheck: {type: http, path: /, port: 8080, interval: 1, retries: 20}
  - "@type": SoftwareApplication
    position: 3
    name: app
    image: bayplan-test/web:2
    targetHost: host-3
    environment: {LOG_LEVEL: info}
    softwareRequirements:
      - "@type": SoftwareApplication
        name: postgres
        waitForHealthy: true
        remoteHost: host-1
        connectionString: postgres://host-1:5432
      - "@type": SoftwareApplication
        name: cache
        remoteHost: host-2
"#;

fn changes(outcome: &Outcome) -> Vec<(String, &'static str)> {
    let plan = &outcome.first.plan;
    let stacks = plan.stacks.values().flat_map(|stack| &stack.changes);
    stacks
        .filter(|change| change.bucket != Bucket::Keep)
        .map(|change: &Change| (change.instance.to_string(), change.bucket.as_str()))
        .collect()
}

fn status(outcome: &Outcome) -> Option<StackStatus> {
    outcome.ended.get(&StackSlug::new("distributed-app").expect("a slug")).and_then(|ended| ended.status)
}

fn exec(fleet: &Fleet, host: &str, container: &str, command: &[&str]) -> String {
    fleet.docker_text(host, &[&["exec", container], command].concat())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_puts_three_containers_on_three_hosts_that_reach_each_other() {
    let Some(fleet) = fleet::lease_or_leave_out("a_push_puts_three_containers_on_three_hosts_that_reach_each_other")
    else {
        return;
    };
    let repository = Repository::new();
    site::write_hosts(&repository, &fleet);
    repository.write("stacks/app.yaml", STACK).push("Deploy");
    let mut site = site::site(&repository, site::config(&fleet)).await;

    let outcome = site::apply(&mut site, WrongFiles::Refuse).await;
    assert!(!outcome.first.report.has_errors(), "{:?}", outcome.first.report);
    assert_eq!(status(&outcome), Some(StackStatus::Running), "{:#?}", outcome.ended);
    for (host, container) in [("host-1", "postgres"), ("host-2", "cache"), ("host-3", "app")] {
        let names = fleet.docker_text(host, &["ps", "--format", "{{.Names}}"]);
        assert_eq!(names, format!("distributed-app-{container}-1"), "on {host}");
    }
    let addresses = ["host-1", "host-2"].map(|name| fleet.host(name).address.clone());
    let environment = exec(&fleet, "host-3", "distributed-app-app-1", &["env"]);
    for line in [
        format!("POSTGRES_HOST={}", addresses[0]),
        "POSTGRES_PORT=5432".to_owned(),
        format!("POSTGRES_URL=postgres://{}:5432", addresses[0]),
        format!("CACHE_HOST={}", addresses[1]),
        "CACHE_PORT=8080".to_owned(),
    ] {
        assert!(environment.lines().any(|l| l == line), "{line} is not in\n{environment}");
    }
    let answer =
        exec(&fleet, "host-3", "distributed-app-app-1", &["sh", "-c", "nc postgres 5432 < /dev/null | head -c 1"]);
    assert!(!answer.is_empty(), "postgres:5432 answers by name");
    let record = repository.ledger("status/distributed-app.json");
    for line in ["postgres: host-1", "cache: host-2", "app: host-3"] {
        assert!(record.contains(line), "{line} is not in\n{record}");
    }

    let again = reconcile::pass(&mut site, Look::Hosts, &Context::default()).await.expect("a pass");
    assert!(again.plan.is_empty(), "{:#?}", again.plan);
    let offline = reconcile::pass(&mut site, Look::Offline, &Context::default()).await.expect("a pass");
    assert!(offline.plan.is_empty(), "{:#?}", offline.plan);

    repository.write("stacks/app.yaml", &STACK.replace("LOG_LEVEL: info", "LOG_LEVEL: debug")).push("Say more");
    let outcome = site::apply(&mut site, WrongFiles::Refuse).await;
    assert_eq!(changes(&outcome), [("distributed-app/app-1".to_owned(), "replace")]);
    assert_eq!(status(&outcome), Some(StackStatus::Running), "{:#?}", outcome.ended);
    assert!(outcome.last.plan.is_empty());

    let moved =
        STACK.replace("targetHost: host-2", "targetHost: host-3").replace("remoteHost: host-2", "remoteHost: host-3");
    repository.write("stacks/app.yaml", &moved).push("Move the cache");
    let outcome = site::apply(&mut site, WrongFiles::Refuse).await;
    assert_eq!(
        changes(&outcome),
        [("distributed-app/app-1".to_owned(), "replace"), ("distributed-app/cache-1".to_owned(), "move")]
    );
    assert_eq!(status(&outcome), Some(StackStatus::Running), "{:#?}", outcome.ended);
    assert!(outcome.last.plan.is_empty());
    assert_eq!(fleet.docker_text("host-2", &["ps", "-aq"]), "");
    let environment = exec(&fleet, "host-3", "distributed-app-app-1", &["env"]);
    assert!(environment.contains("CACHE_HOST=cache"), "{environment}");

    repository.remove("stacks/app.yaml").push("Stop");
    let outcome = site::apply(&mut site, WrongFiles::Refuse).await;
    assert!(outcome.last.plan.is_empty(), "{:#?}", outcome.last.plan);
    for host in ["host-1", "host-2", "host-3"] {
        assert_eq!(fleet.docker_text(host, &["ps", "-aq"]), "", "on {host}");
        let networks = fleet.docker_text(host, &["network", "ls", "-q", "--filter", "label=bayplan.owner"]);
        assert_eq!(networks, "", "on {host}");
    }
}
