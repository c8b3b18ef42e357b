//! What the operator or the stack itself closes is not deployed: freezes, windows, suspension, plans that nobody reviewed.

#[path = "support/fleet.rs"]
mod fleet;
#[path = "support/repository.rs"]
mod repository;
#[path = "support/simulated.rs"]
mod simulated;
#[path = "support/site.rs"]
mod site;

use bayplan::controller::once::{Outcome, WrongFiles, clock};
use bayplan::engine::Engine;
use bayplan::engine::memory::faults::{Call, Fault, Times, Which};
use bayplan::model::config::{Config, Freeze, PlanDigest, Schedule};
use bayplan::model::world::State;
use bayplan::moment::Zone;

use repository::{Repository, git};
use simulated::Simulated;

fn shop(image: &str, more: &str) -> String {
    format!("name: shop\n{more}itemListElement: [{{name: web, position: 1, image: '{image}'}}]\n")
}

async fn deployed() -> (Repository, Simulated) {
    let repository = Repository::new();
    let simulated = Simulated::new(1);
    simulated.write_hosts(&repository);
    repository.write("stacks/shop.yaml", &shop("web:1", "")).push("Deploy the shop");
    apply(&repository, &simulated, Config::default()).await;
    assert_eq!(running(&simulated).await, ["web:1"]);
    (repository, simulated)
}

async fn apply(repository: &Repository, simulated: &Simulated, config: Config) -> Outcome {
    let mut site = simulated.site(repository, config).await;
    site::apply(&mut site, WrongFiles::Refuse).await
}

/// The images of what runs.
async fn running(simulated: &Simulated) -> Vec<String> {
    let mut images = Vec::new();
    for engine in simulated.engines.values() {
        for text in ["web:1", "web:2", "db:1"] {
            let image = engine.image(text).await.expect("an answer").expect("it is there");
            let containers = engine.holds().containers.into_iter();
            let of_image = containers.filter(|c| c.state == State::Running && c.image_id == image.id);
            images.extend(of_image.map(|_| text.to_owned()));
        }
    }
    images
}

fn kill_all(simulated: &Simulated) {
    for engine in simulated.engines.values() {
        for container in engine.holds().containers {
            engine.kill(&container.id).expect("it runs");
        }
    }
}

/// The holds of the last pass, as they are said.
fn holds(outcome: &Outcome) -> String {
    outcome.last.plan.all_holds().map(|(_, hold)| format!("{}: {hold}\n", hold.name())).collect()
}

/// Frozen from yesterday until tomorrow.
fn frozen() -> Config {
    let (today, _) = Zone::utc().local(clock());
    let freeze = Freeze {
        first: today.after(-1),
        last: today.after(1),
        reason: "Christmas".to_owned(),
        stacks: Default::default(),
    };
    Config { schedule: Schedule { freezes: vec![freeze], ..Schedule::default() }, ..Config::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_freeze_nothing_new_is_deployed_and_what_runs_is_healed() {
    let (repository, simulated) = deployed().await;
    repository.write("stacks/shop.yaml", &shop("web:2", ""));
    repository.write("stacks/new.yaml", "name: new\nitemListElement: [{name: a, position: 1, image: 'db:1'}]\n");
    repository.push("Another version, and something new");
    kill_all(&simulated);
    let outcome = apply(&repository, &simulated, frozen()).await;
    assert_eq!(running(&simulated).await, ["web:1"], "{}", holds(&outcome));
    let said = holds(&outcome);
    assert!(said.contains("frozen: shop is not deployed now: deployments are frozen (Christmas) until "), "{said}");
    assert!(said.contains("frozen: new is not deployed now"), "{said}");
    let _ = repository.remove("stacks/new.yaml").remove("stacks/shop.yaml").push("Nothing any more");
    let outcome = apply(&repository, &simulated, frozen()).await;
    assert_eq!(running(&simulated).await, ["web:1"], "a removal waits, too: {}", holds(&outcome));
    repository.write("stacks/shop.yaml", &shop("web:2", "")).push("The shop again");
    let outcome = apply(&repository, &simulated, Config::default()).await;
    assert_eq!((running(&simulated).await, holds(&outcome)), (vec!["web:2".to_owned()], String::new()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspended_stack_is_left_as_it_is_until_it_is_resumed() {
    let (repository, simulated) = deployed().await;
    repository.write("stacks/shop.yaml", &shop("web:2", "suspended: true\n")).push("Wait with this");
    kill_all(&simulated);
    let outcome = apply(&repository, &simulated, Config::default()).await;
    assert_eq!(running(&simulated).await, Vec::<String>::new(), "{}", holds(&outcome));
    assert!(repository.ledger("status/shop.json").contains("\"status\": \"held\""));
    assert!(holds(&outcome).contains("suspended: shop is not deployed now: it is suspended at stacks/shop.yaml:2:12"));
    let by_operator = || Config { suspended: ["shop".to_owned()].into(), ..Config::default() };
    repository.write("stacks/shop.yaml", &shop("web:2", "")).push("Go on");
    let outcome = apply(&repository, &simulated, by_operator()).await;
    assert_eq!(running(&simulated).await, Vec::<String>::new(), "no commit lifts what the operator says");
    assert!(holds(&outcome).contains("suspended-by-operator: "), "{}", holds(&outcome));
    let outcome = apply(&repository, &simulated, Config::default()).await;
    assert_eq!((running(&simulated).await, holds(&outcome)), (vec!["web:2".to_owned()], String::new()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_that_nobody_reviewed_waits_for_a_commit_that_names_it() {
    let (repository, simulated) = deployed().await;
    let outcome = apply(&repository, &simulated, reviewed()).await;
    assert_eq!(holds(&outcome), "", "what runs needs no review");
    repository.write("stacks/shop.yaml", &shop("web:2", "")).push("Another version\n\nBayplan-Plan: 0123456789");
    let outcome = apply(&repository, &simulated, reviewed()).await;
    let said = holds(&outcome);
    assert_eq!(running(&simulated).await, ["web:1"], "{said}");
    let digest = asked_for(&said);
    git(&repository.work(), &["fetch", "-q", "origin", "bayplan/status:bayplan/status"]);
    let offline = bayplan(&repository, &["plan", "--offline"]);
    assert!(offline.contains(&format!("(plan {digest})")), "a reviewer sees the same digest: {offline}");
    repository.write("../bayplan.yaml", "requirePlanDigest: true\n");
    let offline = bayplan(&repository, &["--config", "../bayplan.yaml", "plan", "--offline"]);
    assert!(offline.contains(&format!("`Bayplan-Plan: {digest}`")), "and the line to write: {offline}");
    repository.push(&format!("Reviewed\n\nBayplan-Plan: {digest}"));
    let offline = bayplan(&repository, &["--config", "../bayplan.yaml", "plan", "--offline"]);
    assert!(!offline.contains("Bayplan-Plan"), "{offline}");
    let outcome = apply(&repository, &simulated, reviewed()).await;
    assert_eq!((running(&simulated).await, holds(&outcome)), (vec!["web:2".to_owned()], String::new()));
}

/// The digest that a hold asks for.
fn asked_for(said: &str) -> &str {
    said.split("`Bayplan-Plan: ").nth(1).and_then(|rest| rest.split('`').next()).expect("the line to write")
}

fn reviewed() -> Config {
    Config { plan_digest: PlanDigest::Required, ..Config::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reviewed_plan_that_had_to_wait_needs_no_second_review_and_serves_once() {
    let (repository, simulated) = deployed().await;
    repository.write("stacks/shop.yaml", &shop("web:2", "")).push("Another version");
    let said = holds(&apply(&repository, &simulated, reviewed()).await);
    let digest = asked_for(&said);
    repository.push(&format!("Reviewed\n\nBayplan-Plan: {digest}"));
    // The freeze is written down for this head, and what is healed in it is no new deployment.
    kill_all(&simulated);
    apply(&repository, &simulated, Config { plan_digest: PlanDigest::Required, ..frozen() }).await;
    assert_eq!(running(&simulated).await, ["web:1"]);
    let outcome = apply(&repository, &simulated, reviewed()).await;
    assert_eq!((running(&simulated).await, holds(&outcome)), (vec!["web:2".to_owned()], String::new()));

    // The same once more is the same plan, and its review is used up.
    repository.write("stacks/shop.yaml", &shop("web:1", "")).push("Back");
    let said = holds(&apply(&repository, &simulated, reviewed()).await);
    repository.push(&format!("Reviewed\n\nBayplan-Plan: {}", asked_for(&said)));
    apply(&repository, &simulated, reviewed()).await;
    assert_eq!(running(&simulated).await, ["web:1"]);
    repository.write("stacks/shop.yaml", &shop("web:2", "")).push("And forth");
    let said = holds(&apply(&repository, &simulated, reviewed()).await);
    assert_eq!((running(&simulated).await, asked_for(&said)), (vec!["web:1".to_owned()], digest));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reviewed_removal_that_fails_half_way_goes_on_without_another_review() {
    let repository = Repository::new();
    let simulated = Simulated::new(2);
    simulated.write_hosts(&repository);
    let service = |name: &str, host: u32| {
        format!("  - {{name: {name}, position: {host}, image: 'web:1', targetHost: host-{host}}}\n")
    };
    let two = format!("name: two\nplacement: manual\nitemListElement:\n{}{}", service("a", 1), service("b", 2));
    repository.write("stacks/two.yaml", &two).push("Two");
    apply(&repository, &simulated, Config::default()).await;
    assert_eq!(running(&simulated).await, ["web:1", "web:1"]);
    repository.remove("stacks/two.yaml").push("None");
    let said = holds(&apply(&repository, &simulated, reviewed()).await);
    repository.push(&format!("Reviewed\n\nBayplan-Plan: {}", asked_for(&said)));
    simulated.engines["host-2"].fault(Fault::ReplyLost, Which::Only(Call::Stop), Times::Next(1));
    let outcome = apply(&repository, &simulated, reviewed()).await;
    assert_eq!((holds(&outcome), running(&simulated).await), (String::new(), Vec::new()));
    assert!(simulated.engines.values().all(|engine| engine.holds().containers.is_empty()));
    let log = repository.ledger_log();
    assert!(log.iter().any(|line| line.starts_with("two failed: two/b-1 on host-2: stop ")), "{log:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_review_is_of_what_the_fields_say_and_not_only_of_their_names() {
    let (repository, simulated) = deployed().await;
    let with = |command: &str| shop("web:1", "").replace("'}]", &format!("', command: [{command}]}}]"));
    repository.write("stacks/shop.yaml", &with("one")).push("A command");
    let said = holds(&apply(&repository, &simulated, reviewed()).await);
    let digest = asked_for(&said);
    repository.write("stacks/shop.yaml", &with("two")).push(&format!("Another\n\nBayplan-Plan: {digest}"));
    let said = holds(&apply(&repository, &simulated, reviewed()).await);
    assert_ne!(asked_for(&said), digest, "{said}");
    repository.write("stacks/shop.yaml", &with("one")).push("The one that was reviewed");
    let outcome = apply(&repository, &simulated, reviewed()).await;
    assert_eq!(holds(&outcome), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_while_a_reviewed_plan_is_not_done_needs_its_own_review() {
    let (repository, simulated) = deployed().await;
    repository.write("stacks/shop.yaml", &shop("web:2", "")).push("Another version");
    let said = holds(&apply(&repository, &simulated, reviewed()).await);
    repository.push(&format!("Reviewed\n\nBayplan-Plan: {}", asked_for(&said)));
    let engine = &simulated.engines["host-1"];
    engine.fault(Fault::Down, Which::Only(Call::Create), Times::UntilLifted);
    apply(&repository, &simulated, reviewed()).await;
    assert!(repository.ledger("status/shop.json").contains("\"next\""), "it was begun and is not done");
    engine.lift_all();
    repository.write("stacks/shop.yaml", &shop("db:1", "")).push("Something else");
    let said = holds(&apply(&repository, &simulated, reviewed()).await);
    assert_ne!(running(&simulated).await, ["db:1"], "{said}");
    assert!(said.contains("not-reviewed"), "{said}");
}

fn bayplan(repository: &Repository, arguments: &[&str]) -> String {
    let output = repository.bayplan(arguments);
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_plan_says_that_what_is_merged_now_is_deployed_later() {
    let (repository, _simulated) = deployed().await;
    repository.write("stacks/shop.yaml", &shop("web:2", "")).push("Another version");
    git(&repository.work(), &["fetch", "-q", "origin", "bayplan/status:bayplan/status"]);
    let config = "timeZone: Europe/Berlin\nfreezes: [{from: '2000-01-01', to: '2200-01-01', reason: Forever}]\n";
    repository.write("../bayplan.yaml", config);
    let arguments = |format| ["--config", "../bayplan.yaml", "plan", "--offline", "--format", format];
    let said = bayplan(&repository, &arguments("human"));
    assert!(said.contains("shop is deployed later: deployments are frozen (Forever) for more than a year"), "{said}");
    assert!(said.contains("1 to replace"), "{said}");
    let said = bayplan(&repository, &arguments("markdown"));
    assert!(said.contains("**Merges now, is deployed later**: shop; deployments are frozen (Forever)"), "{said}");
    let said = bayplan(&repository, &["plan", "--offline"]);
    assert!(!said.contains("later"), "{said}");
}
