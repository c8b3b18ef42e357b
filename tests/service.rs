//! The service: from a push to running containers, for as long as it is let.

#[path = "support/fleet.rs"]
mod fleet;
#[path = "support/repository.rs"]
mod repository;
#[path = "support/simulated.rs"]
mod simulated;
#[path = "support/site.rs"]
mod site;

use std::collections::BTreeSet;
use std::time::Duration;

use bayplan::apply::Progress;
use bayplan::controller::once::WrongFiles;
use bayplan::controller::{Event, run};
use bayplan::engine::memory::script::ImageScript;
use bayplan::model::config::Config;
use bayplan::reconcile::site::Site;
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use repository::{Repository, git};
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

    /// Waits for an event. Gives those before it, and itself.
    async fn until(&mut self, what: &str, is_it: impl Fn(&Event) -> bool) -> Vec<Event> {
        let mut seen = Vec::new();
        let found = tokio::time::timeout(LIMIT, async {
            while let Some(event) = self.events.recv().await {
                let found = is_it(&event);
                seen.push(event);
                if found {
                    return;
                }
            }
        });
        assert!(found.await.is_ok(), "{what} did not happen");
        seen
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
async fn nobody_waits_for_the_health_of_what_a_newer_push_replaces_or_at_the_end() {
    let repository = Repository::new();
    let simulated = Simulated::new(1);
    simulated.write_hosts(&repository);
    simulated.engines["host-1"].load("slow:1", ImageScript::runs().with_health_check().never_healthy());
    repository.write("stacks/shop.yaml", &shop("web:1")).push("Deploy the shop");
    let mut service = Service::start(simulated.site(&repository, Config::default()).await);
    service.committed("shop runs at").await;
    // It may take ten minutes, and the deadline is five; the test waits for one.
    let slow = shop("slow:1").replace(
        "    requirements",
        "    healthCheck: {type: command, command: ask, startPeriod: 600}\n    requirements",
    );
    let waits = |event: &Event| matches!(event, Event::Progress(Progress::StepBegun { what, .. }) if what.starts_with("wait until shop-web-1."));
    repository.write("stacks/shop.yaml", &slow).push("One that takes long");
    service.until("the wait", waits).await;
    repository.write("stacks/shop.yaml", &shop("web:2")).push("Something better");
    service.committed("shop runs at").await;
    repository.write("stacks/shop.yaml", &slow).push("One that takes long, again");
    service.until("the wait", waits).await;
    service.stop().await;
    assert!(id_of(&simulated.engines["host-1"], "shop-web-1").is_some(), "what ran serves on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ends_late_does_not_name_its_older_commit_as_the_last_that_was_deployed() {
    let repository = Repository::new();
    let simulated = Simulated::new(1);
    simulated.write_hosts(&repository);
    let late = ImageScript::runs().with_health_check().healthy_after(Duration::from_secs(4));
    simulated.engines["host-1"].load("late:1", late);
    let stack = |name: &str, image: &str| {
        format!("name: {name}\nitemListElement: [{{name: web, position: 1, image: '{image}'}}]\n")
    };
    repository.write("stacks/late.yaml", &stack("late", "late:1")).push("One that takes its time");
    let mut service = Service::start(simulated.site(&repository, Config::default()).await);
    service.committed("Deploying late").await;
    repository.write("stacks/quick.yaml", &stack("quick", "web:1")).push("One that does not");
    service.committed("quick runs at").await;
    service.committed("late runs at").await;
    service.stop().await;
    let head = git(&repository.bare(), &["rev-parse", "main"]);
    let deployed = "--format=%s: %(trailers:key=Bayplan-Deployed,valueonly)";
    let last = git(&repository.bare(), &["log", "--grep=late runs at", "-1", deployed, "bayplan/status"]);
    assert!(last.starts_with("late runs at") && last.contains(head.trim()), "{last} and not {head}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_flood_of_events_there_are_few_passes_and_a_push_is_deployed_all_the_same() {
    let repository = Repository::new();
    let simulated = Simulated::new(1);
    simulated.write_hosts(&repository);
    repository.write("stacks/shop.yaml", &shop("web:1")).push("Deploy the shop");
    let mut service = Service::start(simulated.site(&repository, Config::default()).await);
    service.committed("shop runs at").await;

    let engine = simulated.engines["host-1"].clone();
    let db = id_of(&engine, "shop-db-1").expect("db runs");
    let flooding = CancellationToken::new();
    let stop = flooding.clone();
    let flood = std::thread::spawn(move || {
        let mut told = 0;
        while !stop.is_cancelled() {
            for action in ["health_status: unhealthy", "exec_die", "die"] {
                engine.tell_of(&db, action, 50).expect("it is there");
                told += 50;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        told
    });
    let began = std::time::Instant::now();
    repository.write("stacks/shop.yaml", &shop("web:2")).push("A new web");
    let runs = |event: &Event| matches!(event, Event::Committed { message, .. } if message.starts_with("shop runs at"));
    let mut seen = service.until("the deployment", runs).await;
    // A second deployment, for more than a moment of the flood.
    repository.write("stacks/shop.yaml", &shop("web:1")).push("The old web");
    seen.extend(service.until("the second deployment", runs).await);
    let took = began.elapsed();
    flooding.cancel();
    let told: u32 = flood.join().expect("no panic");
    let passes = seen.iter().filter(|event| matches!(event, Event::Passed(_))).count();
    // Two looks at a time, each twice within 1.1 s, and what the deployments themselves ask for.
    let most = 10 + 5 * usize::try_from(took.as_secs() + 1).expect("few seconds");
    assert!(passes <= most, "{passes} passes in {took:?}, with {told} events");
    assert!(told > 5000, "a flood of {told} in {took:?} is none");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_keeps_ending_is_said_with_its_last_words_and_started_again_after_a_pause() {
    let repository = Repository::new();
    let simulated = Simulated::new(1);
    simulated.write_hosts(&repository);
    let engine = &simulated.engines["host-1"];
    engine.load("moody:1", ImageScript::runs().prints("the secret is pa55word, and it is a bad day"));
    let stack = shop("moody:1").replace("requirements: [db]", "environment: {TOKEN: pa55word}");
    repository.write("stacks/shop.yaml", &stack).push("Deploy a moody shop");
    let mut service = Service::start(simulated.site(&repository, Config::default()).await);
    service.committed("shop runs at").await;

    let id = id_of(engine, "shop-web-1").expect("web runs");
    // A look that began just before an end may start the container again once more.
    for _ in 0..4 {
        if engine.kill(&id).is_err() {
            break;
        }
        service.committed("").await;
        while !engine.is_well(&id) && !repository.ledger("status/shop.json").contains("keeps-ending") {
            service.committed("").await;
        }
    }
    let words = "shop/web-1 keeps ending by itself; it last printed: the secret is [redacted], and it is a bad day";
    while !repository.ledger("status/shop.json").contains(words) {
        service.committed("Noted: shop degraded").await;
    }
    assert!(!engine.is_well(&id), "it waits");
    service.committed("Deploying shop").await;
    service.committed("shop runs at").await;
    assert!(!repository.ledger("status/shop.json").contains("keeps-ending"));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_stack_is_left_for_a_look_where_it_asks_for_that() {
    let repository = Repository::new();
    let simulated = Simulated::new(1);
    simulated.write_hosts(&repository);
    let engine = &simulated.engines["host-1"];
    engine.load("exits:1", ImageScript::runs().exits(Duration::ZERO, 3));
    let stack = |image: &str| shop(image).replace("requirements: [db]", "update: {onFailure: hold}");
    repository.write("stacks/shop.yaml", &stack("web:1")).push("Deploy the shop");
    let mut service = Service::start(simulated.site(&repository, Config::default()).await);
    service.committed("shop runs at").await;

    repository.write("stacks/shop.yaml", &stack("exits:1")).push("One that exits");
    service.committed("shop failed").await;
    service.committed("Noted: shop held").await;
    let scene = names(engine);
    assert!(scene.contains(&"shop-web-1".to_owned()), "what ran is there: {scene:?}");
    assert!(scene.iter().any(|name| name.starts_with("shop-web-1.")), "what failed is there too: {scene:?}");
    assert!(repository.ledger("status/shop.json").contains("left-for-a-look"));

    repository.write("stacks/shop.yaml", &stack("web:2")).push("Better");
    service.committed("shop runs at").await;
    service.stop().await;
    assert_eq!(BTreeSet::from_iter(names(engine)), BTreeSet::from(["shop-db-1", "shop-web-1"].map(str::to_owned)));
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

/// A service of a repository behind a URL that is asked often, with the shop deployed.
async fn shop_behind_a_url(repository: &Repository, simulated: &Simulated) -> Service {
    simulated.write_hosts(repository);
    repository.write("stacks/shop.yaml", &shop("web:1")).push("Deploy the shop");
    let config = Config { poll_interval: Duration::from_millis(100), ..Config::default() };
    let url = format!("file://{}", repository.bare().display());
    let mut service = Service::start(simulated.site_at(&url, repository, config).await);
    service.committed("shop runs at").await;
    service
}

/// Waits until the remote ledger is as it should be.
async fn remote_ledger(repository: &Repository, is_it: impl Fn(&[String]) -> bool) {
    let mut look = tokio::time::interval(Duration::from_millis(50));
    let mut log = Vec::new();
    let found = tokio::time::timeout(LIMIT, async {
        while !is_it(&log) {
            look.tick().await;
            if repository.bare().join("refs/heads/bayplan/status").exists() {
                log = repository.ledger_log();
            }
        }
    });
    let found = found.await.is_ok();
    assert!(found, "the remote ledger is {log:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_remote_repository_is_away_the_fleet_is_healed_and_the_ledger_is_pushed_when_it_is_back() {
    let repository = Repository::new();
    let simulated = Simulated::new(1);
    let mut service = shop_behind_a_url(&repository, &simulated).await;
    remote_ledger(&repository, |log| log.first().is_some_and(|subject| subject.starts_with("shop runs at"))).await;
    let pushed = repository.ledger_log().len();
    let away = repository.bare().with_extension("away");
    std::fs::rename(repository.bare(), &away).expect("it goes away");
    service.until("the failed fetch", |event| matches!(event, Event::FetchFailed(_))).await;
    let engine = &simulated.engines["host-1"];
    engine.kill(&id_of(engine, "shop-web-1").expect("web runs")).expect("the container is killed");
    let ended = |event: &Event| matches!(event, Event::Ended(_));
    let mut seen = service.until("the end of healing", ended).await;
    let push_failed = |event: &Event| matches!(event, Event::PushFailed(_));
    if !seen.iter().any(push_failed) {
        seen.extend(service.until("the failed push", push_failed).await);
    }
    assert!(engine.is_well(&id_of(engine, "shop-web-1").expect("web runs again")));

    std::fs::rename(&away, repository.bare()).expect("it comes back");
    for (what, is_it) in [
        ("the push", (|event| matches!(event, Event::PushedAgain)) as fn(&Event) -> bool),
        ("the fetch", |event| matches!(event, Event::FetchedAgain)),
    ] {
        if !seen.iter().any(is_it) {
            seen.extend(service.until(what, is_it).await);
        }
    }
    let count = |is_it: fn(&Event) -> bool| seen.iter().filter(|event| is_it(event)).count();
    assert_eq!(count(|event| matches!(event, Event::FetchFailed(_))), 0, "it was said before");
    assert_eq!(count(|event| matches!(event, Event::FetchedAgain)), 1);
    assert_eq!(count(|event| matches!(event, Event::PushFailed(_))), 1);
    remote_ledger(&repository, |log| log.len() > pushed && log[0].starts_with("shop runs at")).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_that_is_faster_four_times_running_does_not_keep_the_ledger_from_the_remote_repository() {
    let repository = Repository::new();
    let simulated = Simulated::new(1);
    let mut service = shop_behind_a_url(&repository, &simulated).await;
    remote_ledger(&repository, |log| log.first().is_some_and(|subject| subject.starts_with("shop runs at"))).await;
    // The server itself moves the branch between a push and its end.
    let hook = "#!/bin/sh\n[ \"$1\" = refs/heads/bayplan/status ] || exit 0\nn=$(cat wins 2>/dev/null || echo 0)\n\
                [ \"$n\" -lt 4 ] || exit 0\necho $((n + 1)) > wins\n\
                new=$(git -c user.name=O -c user.email=o@o commit-tree \"$1^{tree}\" -p \"$1\" -m \"Other $n\")\n\
                git update-ref \"$1\" \"$new\"\n";
    let path = repository.bare().join("hooks/update");
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    std::fs::write(&path, hook).expect("a hook");
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("it may run");

    repository.write("stacks/shop.yaml", &shop("web:2")).push("A new web");
    let mut seen = service.until("the deployment", |event| matches!(event, Event::Ended(_))).await;
    remote_ledger(&repository, |log| {
        let ours = log.iter().filter(|subject| subject.starts_with("shop runs at")).count();
        ours == 2 && (0..4).all(|n| log.contains(&format!("Other {n}")))
    })
    .await;
    while let Ok(event) = service.events.try_recv() {
        seen.push(event);
    }
    let failed = seen.iter().find(|event| matches!(event, Event::PushFailed(_)));
    assert!(failed.is_none(), "four lost races are no failure: {failed:?}");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirror_that_is_damaged_under_the_service_is_made_anew_and_the_next_push_is_deployed() {
    let repository = Repository::new();
    let simulated = Simulated::new(1);
    let mut service = shop_behind_a_url(&repository, &simulated).await;
    let mirror = std::fs::read_dir(repository.cache()).expect("the cache").next().expect("a mirror").expect("an entry");
    // Moved away at once: the service may be writing there.
    std::fs::rename(mirror.path().join("objects"), mirror.path().join("lost")).expect("the objects are gone");
    repository.write("stacks/shop.yaml", &shop("web:2")).push("A new web");
    service.committed("Deploying shop").await;
    service.committed("shop runs at").await;
    service.stop().await;
    assert!(repository.ledger_log()[0].starts_with("shop runs at"));
    let seen: usize = simulated.engines.values().map(|engine| names(engine).len()).sum();
    assert_eq!(seen, 2);
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
