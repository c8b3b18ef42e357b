//! Branches that are rewritten or deleted, and others who write the same ledger.

#[path = "support/fleet.rs"]
mod fleet;
#[path = "support/repository.rs"]
mod repository;
#[path = "support/simulated.rs"]
mod simulated;
#[path = "support/site.rs"]
mod site;

use std::time::Duration;

use bayplan::controller::once::{Outcome, WrongFiles};
use bayplan::controller::{Event, run};
use bayplan::model::config::{Config, RewrittenHistory};
use bayplan::reconcile::site::Site;
use repository::{Repository, git};
use simulated::Simulated;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

const LIMIT: Duration = Duration::from_secs(60);

fn shop(image: &str) -> String {
    format!("name: shop\nitemListElement: [{{name: web, position: 1, image: '{image}'}}]\n")
}

/// The shop with `web:2` on top of `web:1`, deployed.
async fn deployed(config: Config) -> (Repository, Simulated, Site) {
    let repository = Repository::new();
    let simulated = Simulated::new(1);
    simulated.write_hosts(&repository);
    repository.write("stacks/shop.yaml", &shop("web:1")).push("The shop");
    repository.write("stacks/shop.yaml", &shop("web:2")).push("A newer shop");
    let mut site = simulated.site(&repository, config).await;
    site::apply(&mut site, WrongFiles::Refuse).await;
    (repository, simulated, site)
}

/// Takes the newest commit away, as somebody who pushes by force does.
fn rewind(repository: &Repository) {
    git(&repository.bare(), &["update-ref", "refs/heads/main", "refs/heads/main~1"]);
    git(&repository.work(), &["fetch", "-q", "origin"]);
    git(&repository.work(), &["reset", "-q", "--hard", "origin/main"]);
}

fn images(simulated: &Simulated) -> Vec<String> {
    let containers = simulated.engines["host-1"].holds().containers;
    containers.into_iter().map(|container| container.labels["bayplan.revision"].clone()).collect()
}

fn holds(outcome: &Outcome) -> Vec<&'static str> {
    outcome.last.plan.all_holds().map(|(_, hold)| hold.name()).collect()
}

#[tokio::test]
async fn a_rewritten_branch_is_not_followed_until_a_commit_says_so_and_what_runs_is_healed_meanwhile() {
    let (repository, simulated, mut site) = deployed(Config::default()).await;
    let newer = git(&repository.bare(), &["rev-parse", "main"]);
    let newer = newer.trim();
    rewind(&repository);
    let id = simulated.engines["host-1"].holds().containers[0].id.clone();
    simulated.engines["host-1"].remove_behind(&id).expect("it was there");
    let outcome = site::apply(&mut site, WrongFiles::Refuse).await;
    assert_eq!(holds(&outcome), ["history-rewritten"]);
    assert_eq!(images(&simulated), [newer], "what was deployed last is made again");

    repository.push(&format!("I mean it\n\nBayplan-Follow-Rewrite: {newer}"));
    let outcome = site::apply(&mut site, WrongFiles::Refuse).await;
    assert_eq!(holds(&outcome), Vec::<&str>::new());
    assert_ne!(images(&simulated), [newer]);
    let outcome = site::apply(&mut site, WrongFiles::Refuse).await;
    assert!(outcome.last.plan.is_empty() && holds(&outcome).is_empty());
}

#[tokio::test]
async fn what_was_never_deployed_is_not_when_it_is_taken_off_the_branch() {
    let (repository, simulated, _) = deployed(Config::default()).await;
    let runs = images(&simulated);
    repository.write("stacks/shop.yaml", &shop("web:1")).push("A mistake");
    let suspended = Config { suspended: ["shop".to_owned()].into(), ..Config::default() };
    let mut site = simulated.site(&repository, suspended).await;
    let outcome = site::apply(&mut site, WrongFiles::Refuse).await;
    assert_eq!(holds(&outcome), ["suspended-by-operator"]);
    assert!(repository.ledger("status/shop.json").contains("\"held\""), "the ledger has noted that commit");
    rewind(&repository);
    let mut site = simulated.site(&repository, Config::default()).await;
    let outcome = site::apply(&mut site, WrongFiles::Refuse).await;
    assert_eq!((holds(&outcome), images(&simulated)), (Vec::new(), runs));
}

#[tokio::test]
async fn a_rewritten_branch_is_followed_where_the_operator_says_so() {
    let config = Config { rewritten_history: RewrittenHistory::Follow, ..Config::default() };
    let (repository, simulated, mut site) = deployed(config).await;
    rewind(&repository);
    let outcome = site::apply(&mut site, WrongFiles::Refuse).await;
    assert_eq!(holds(&outcome), Vec::<&str>::new());
    let older = git(&repository.bare(), &["rev-parse", "main"]);
    assert_eq!(images(&simulated), [older.trim()]);
}

#[tokio::test]
async fn a_deleted_branch_leaves_everything_running() {
    let (repository, simulated, mut site) = deployed(Config::default()).await;
    let before = images(&simulated);
    git(&repository.bare(), &["update-ref", "-d", "refs/heads/main"]);
    let outcome = site::apply(&mut site, WrongFiles::Refuse).await;
    assert_eq!(holds(&outcome), ["branch-gone"]);
    assert_eq!(images(&simulated), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_controllers_converge_and_say_that_they_see_each_other() {
    let (repository, simulated, _) = deployed(Config::default()).await;
    let stop = CancellationToken::new();
    let mut controllers = Vec::new();
    for _ in 0..2 {
        let mut site = simulated.site(&repository, Config::default()).await;
        let (sender, events) = mpsc::unbounded_channel();
        let stop = stop.clone();
        let task = tokio::spawn(async move { run::run(&mut site, sender, stop).await.expect("the service runs") });
        controllers.push((task, events));
    }
    // Each push is a race; sooner or later each of them wins one.
    let mut newest = 0;
    let pushing = async {
        loop {
            newest += 1;
            let stack = shop("web:1").replace("image:", &format!("environment: {{NUMBER: '{newest}'}}, image:"));
            repository.write("stacks/shop.yaml", &stack).push(&format!("Push {newest}"));
            tokio::time::sleep(Duration::from_millis(700)).await;
        }
    };
    let both_say = async {
        for (_, events) in &mut controllers {
            while !matches!(events.recv().await.expect("it runs"), Event::OtherController(_)) {}
        }
    };
    tokio::select! {
        _ = pushing => unreachable!("it pushes for ever"),
        said = tokio::time::timeout(LIMIT, both_say) => said.expect("both say that they are not alone"),
    }
    stop.cancel();
    for (task, _) in controllers {
        tokio::time::timeout(LIMIT, task).await.expect("it stops").expect("it does not panic");
    }
    let mut site = simulated.site(&repository, Config::default()).await;
    let outcome = site::apply(&mut site, WrongFiles::Refuse).await;
    assert!(outcome.last.plan.is_empty() && holds(&outcome).is_empty(), "{:?}", outcome.last.plan);
    let engine = &simulated.engines["host-1"];
    let containers = engine.holds().containers;
    let numbers: Vec<String> = containers.iter().map(|c| engine.environment(&c.id)["NUMBER"].clone()).collect();
    assert_eq!(numbers, [newest.to_string()], "one container, of the newest push");
}
