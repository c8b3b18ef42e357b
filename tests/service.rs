//! The service: from a push to running containers, for as long as it is let.

#[path = "support/fleet.rs"]
mod fleet;
#[path = "support/repository.rs"]
mod repository;
#[path = "support/simulated.rs"]
mod simulated;
#[path = "support/site.rs"]
mod site;

use std::time::Duration;

use bayplan::controller::once::WrongFiles;
use bayplan::controller::{Event, run};
use bayplan::model::config::Config;
use bayplan::reconcile::site::Site;
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use repository::Repository;
use simulated::Simulated;

/// Far more than anything here takes, and little enough for somebody who waits for a failing test.
const LIMIT: Duration = Duration::from_secs(60);

struct Service {
    events: UnboundedReceiver<Event>,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Service {
    fn start(mut site: Site) -> Self {
        let (sender, events) = mpsc::unbounded_channel();
        let shutdown = CancellationToken::new();
        let stop = shutdown.clone();
        let task = tokio::spawn(async move { run::run(&mut site, sender, stop).await.expect("the service runs") });
        Self { events, shutdown, task }
    }

    /// Waits for a commit of the ledger with this sentence.
    async fn committed(&mut self, sentence: &str) {
        let mut seen = Vec::new();
        let found = tokio::time::timeout(LIMIT, async {
            while let Some(event) = self.events.recv().await {
                let Event::Committed { message, .. } = event else { continue };
                let is_it = message.starts_with(sentence);
                seen.push(message);
                if is_it {
                    return;
                }
            }
        });
        assert!(found.await.is_ok(), "no commit began with {sentence:?}; seen were {seen:#?}");
    }

    async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(LIMIT, self.task).await.expect("it stops").expect("it does not panic");
    }
}

fn shop(image: &str) -> String {
    format!(
        "name: shop\nplacement: auto\nitemListElement:\n  - name: web\n    position: 1\n    image: {image}\n    \
         requirements: [db]\n  - name: db\n    position: 2\n    image: db:1\n    ports: [{{containerPort: 5432}}]\n"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_push_is_deployed_and_a_dead_container_comes_back() {
    let repository = Repository::new();
    let simulated = Simulated::new(2);
    simulated.write_hosts(&repository);
    repository.write("stacks/shop.yaml", &shop("web:1")).push("Deploy the shop");
    let mut service = Service::start(simulated.site(&repository, Config::default()).await);
    service.committed("shop runs at").await;

    repository.write("stacks/shop.yaml", &shop("web:2")).push("A new web");
    service.committed("Deploying shop").await;
    service.committed("shop runs at").await;

    let (engine, id) = simulated
        .engines
        .values()
        .find_map(|engine| Some((engine, id_of(engine, "shop-web-1")?)))
        .expect("web runs on one of the hosts");
    engine.kill(&id).expect("the container is killed");
    service.committed("Deploying shop").await;
    service.committed("shop runs at").await;

    repository.remove("stacks/shop.yaml").push("No shop");
    service.committed("shop removed").await;
    service.stop().await;
    let left: usize = simulated.engines.values().map(|engine| names(engine).len()).sum();
    assert_eq!(left, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_stack_is_kept_and_the_others_go_on() {
    let repository = Repository::new();
    let simulated = Simulated::new(2);
    simulated.write_hosts(&repository);
    let other = "name: other\nitemListElement: [{name: web, position: 1, image: 'web:1'}]\n";
    repository.write("stacks/shop.yaml", &shop("web:1")).write("stacks/other.yaml", other).push("Two stacks");
    let mut service = Service::start(simulated.site(&repository, Config::default()).await);
    service.committed("other runs at").await;

    repository
        .write("stacks/shop.yaml", "name: shop\nplacement: everywhere\nitemListElement: []\n")
        .write("stacks/other.yaml", &other.replace("web:1", "web:2"))
        .push("One is wrong");
    service.committed("other runs at").await;
    service.stop().await;
    let all: Vec<String> = simulated.engines.values().flat_map(names).collect();
    assert!(all.contains(&"shop-web-1".to_owned()) && all.contains(&"shop-db-1".to_owned()), "{all:?}");
    assert!(repository.ledger("status/shop.json").contains("wrong-at-head"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_passes_with_nothing_to_do_make_no_commit_and_no_engine_write() {
    let repository = Repository::new();
    let simulated = Simulated::new(3);
    simulated.write_hosts(&repository);
    for number in 0..5 {
        let stack = shop("web:1").replace("name: shop", &format!("name: shop-{number}"));
        repository.write(&format!("stacks/shop-{number}.yaml"), &stack);
    }
    repository.push("Deploy five shops");
    let mut site = simulated.site(&repository, Config::default()).await;
    site::apply(&mut site, WrongFiles::Refuse).await;
    let commits = repository.ledger_log();
    let writes = simulated.writes();
    assert!(writes > 0 && commits.len() > 1);
    for _ in 0..1000 {
        let outcome = site::apply(&mut site, WrongFiles::Refuse).await;
        assert!(outcome.last.plan.is_empty(), "{:?}", outcome.last.plan);
    }
    assert_eq!(repository.ledger_log(), commits);
    assert_eq!(simulated.writes(), writes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_reaches_real_engines_and_a_stop_leaves_them_running() {
    let Some(fleet) = fleet::lease_or_leave_out("a_push_reaches_real_engines_and_a_stop_leaves_them_running") else {
        return;
    };
    let repository = Repository::new();
    site::write_hosts(&repository, &fleet);
    let stack = shop("bayplan-test/web:1").replace("db:1", "bayplan-test/db:1").replace("auto", "spread");
    repository.push("Nothing yet");
    let mut service = Service::start(site::site(&repository, site::config(&fleet)).await);
    repository.write("stacks/shop.yaml", &stack).push("Deploy the shop");
    service.committed("shop runs at").await;

    let host = fleet
        .hosts
        .iter()
        .find(|host| fleet.docker_text(&host.name, &["ps", "--format", "{{.Names}}"]).contains("shop-web-1"));
    let host = host.expect("web runs somewhere").name.clone();
    fleet.docker_text(&host, &["kill", "shop-web-1"]);
    service.committed("Deploying shop").await;
    service.committed("shop runs at").await;
    service.stop().await;
    assert_eq!(fleet.docker_text(&host, &["inspect", "-f", "{{.State.Running}}", "shop-web-1"]), "true");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repository_behind_a_url_is_polled_and_is_given_the_ledger() {
    let repository = Repository::new();
    let simulated = Simulated::new(2);
    simulated.write_hosts(&repository);
    repository.write("stacks/shop.yaml", &shop("web:1")).push("Deploy the shop");
    let config = Config { poll_interval: Duration::from_millis(100), ..Config::default() };
    let url = format!("file://{}", repository.bare().display());
    let mut service = Service::start(simulated.site_at(&url, &repository, config).await);
    service.committed("shop runs at").await;
    repository.write("stacks/shop.yaml", &shop("web:2")).push("A new web");
    service.committed("Deploying shop").await;
    service.committed("shop runs at").await;
    service.stop().await;
    let log = repository.ledger_log();
    assert!(log[0].starts_with("shop runs at"), "what was committed last was pushed: {log:#?}");
}

fn names(engine: &bayplan::engine::memory::MemoryEngine) -> Vec<String> {
    containers(engine).into_iter().map(|(name, _)| name).collect()
}

fn id_of(engine: &bayplan::engine::memory::MemoryEngine, name: &str) -> Option<String> {
    containers(engine).into_iter().find(|(found, _)| found == name).map(|(_, id)| id)
}

fn containers(engine: &bayplan::engine::memory::MemoryEngine) -> Vec<(String, String)> {
    use bayplan::engine::Engine;
    let list = futures_util::FutureExt::now_or_never(engine.containers()).expect("memory answers at once");
    list.expect("it answers").into_iter().map(|c| (c.name, c.id)).collect()
}
