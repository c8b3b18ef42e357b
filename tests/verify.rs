//! Whoever has the repository can check the deployer: the ledger is computed anew, and hosts are compared with it.

#[path = "support/fleet.rs"]
mod fleet;
#[path = "support/repository.rs"]
mod repository;
#[path = "support/simulated.rs"]
mod simulated;
#[path = "support/site.rs"]
mod site;

use std::collections::BTreeMap;
use std::fs;

use bayplan::controller::once::{WrongFiles, clock};
use bayplan::engine::Engine;
use bayplan::engine::memory::script::ImageScript;
use bayplan::model::config::{Config, Freeze, PlanDigest, Schedule};
use bayplan::moment::Zone;
use bayplan::reconcile::verify::{Depth, Verified, verify};

use repository::{Repository, git};
use simulated::Simulated;

fn shop(web: &str) -> String {
    format!(
        "name: shop\nplacement: spread\nitemListElement:\n  - {{name: db, position: 1, image: 'db:1', ports: \
         [{{containerPort: 5432, hostPort: 0}}]}}\n  - {{name: web, position: 2, image: '{web}', requirements: [db], \
         replicas: 2}}\n"
    )
}

async fn deployed() -> (Repository, Simulated) {
    let repository = Repository::new();
    let simulated = Simulated::new(3);
    simulated.write_hosts(&repository);
    repository.write("stacks/shop.yaml", &shop("web:1")).push("Deploy the shop");
    deploy(&repository, &simulated).await;
    (repository, simulated)
}

async fn deploy(repository: &Repository, simulated: &Simulated) {
    let mut site = simulated.site(repository, Config::default()).await;
    site::apply(&mut site, WrongFiles::Refuse).await;
}

async fn verified(repository: &Repository, simulated: &Simulated, depth: Depth) -> Verified {
    let mut site = simulated.site(repository, Config::default()).await;
    verify(&mut site, None, depth).await.expect("it can be read")
}

/// Every difference, as it is said.
fn said(verified: &Verified) -> Vec<String> {
    let mut said = Vec::new();
    for stack in verified.stacks.values() {
        assert_eq!(stack.why_not, None);
        let live = stack.live.iter().flat_map(|live| &live.differences);
        said.extend(stack.differences.iter().chain(live).map(ToString::to_string));
    }
    said
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_was_deployed_is_what_is_computed_again() {
    let (repository, simulated) = deployed().await;
    let other = "name: blog\nplacement: auto\nitemListElement: [{name: a, position: 1, image: 'web:1', replicas: 3}]\n";
    let changes: [(&str, Option<String>); 6] = [
        ("stacks/shop.yaml", Some(shop("web:2"))),
        ("stacks/blog.yaml", Some(other.to_owned())),
        ("stacks/shop.yaml", Some(shop("web:2").replace("replicas: 2", "replicas: 4"))),
        ("stacks/shop.yaml", Some(shop("gone:1"))),
        ("stacks/shop.yaml", Some(shop("web:1").replace("placement: spread", "placement: single"))),
        ("stacks/blog.yaml", None),
    ];
    for (path, text) in changes {
        match &text {
            Some(text) => repository.write(path, text),
            None => repository.remove(path),
        };
        repository.push("A change");
        deploy(&repository, &simulated).await;
        let verified = verified(&repository, &simulated, Depth::Live).await;
        assert_eq!(said(&verified), Vec::<String>::new(), "after {text:?}");
        assert!(verified.stacks.values().all(|stack| stack.origin.is_some()), "{verified:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ledger_that_was_written_by_hand_is_found() {
    let (repository, simulated) = deployed().await;
    let record = repository.ledger("status/shop.json");
    let hosts: BTreeMap<&str, &str> = [("host-1", "host-2"), ("host-2", "host-3"), ("host-3", "host-1")].into();
    let db = record.lines().find(|line| line.contains("\"db: ")).expect("where db is");
    let was = hosts.keys().find(|host| db.contains(**host)).expect("a host");
    let mut instances = record.replacen(&format!("\"db: {was}\""), &format!("\"db: {}\"", hosts[was]), 1);
    let of_db = instances.find("\"name\": \"db\"").expect("the instance of db");
    let host = instances[of_db..].find(&format!("\"host\": \"{was}\"")).expect("its host") + of_db;
    instances.replace_range(host..host + "\"host\": \"host-1\"".len(), &format!("\"host\": \"{}\"", hosts[was]));
    write_by_hand(&repository, &instances);
    let expected = format!("shop/db-1 is on {} in the ledger, and placement gives {was}", hosts[was]);
    assert_eq!(said(&verified(&repository, &simulated, Depth::Git).await).join("\n"), expected);
    git(&repository.work(), &["fetch", "-q", "origin", "bayplan/status:bayplan/status"]);
    let output = repository.bayplan(&["verify"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(4), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(
        text.contains(&expected) && text.contains("2 differences.") && text.contains("was not written by this program"),
        "{text}"
    );
    let json = repository.bayplan(&["verify", "--stack", "shop", "--format", "json"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!(json["verified"], false);
    assert_eq!(json["stacks"][0]["differences"][0]["kind"], "host");
}

/// Somebody replaces the record of the shop.
fn write_by_hand(repository: &Repository, record: &str) {
    let work = repository.work();
    git(&work, &["fetch", "-q", "origin", "bayplan/status"]);
    git(&work, &["checkout", "-q", "-B", "by-hand", "FETCH_HEAD"]);
    fs::write(work.join("status/shop.json"), record).expect("a file");
    git(&work, &["commit", "-q", "-a", "-m", "Nobody will see"]);
    git(&work, &["push", "-q", "origin", "HEAD:bayplan/status"]);
    git(&work, &["checkout", "-q", "main"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_names_another_origin_by_hand_is_found_and_what_names_none_was_not_verified() {
    let (repository, _simulated) = deployed().await;
    let record = repository.ledger("status/shop.json");
    let verify = |code: i32, words: &[&str]| {
        git(&repository.work(), &["fetch", "-q", "origin", "bayplan/status:bayplan/status"]);
        let output = repository.bayplan(&["verify"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert!(words.iter().all(|words| text.contains(words)) && !text.contains("Yes"), "{text}");
        let json = repository.bayplan(&["verify", "--format", "json"]);
        let json: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
        assert_eq!(json["verified"], false);
    };
    write_by_hand(&repository, &record.replace(&repository.head(), &"a".repeat(40)));
    verify(4, &["was not written by this program"]);
    // Another content, too: nothing was ever begun for that.
    let content: serde_json::Value = serde_json::from_str(&record).expect("JSON");
    let content = content["content"].as_str().expect("a digest").to_owned();
    let other = record.replace(&content, &"b".repeat(64)).replace(&repository.head(), &"a".repeat(40));
    write_by_hand(&repository, &other);
    verify(3, &["not computed", "was not written by this program"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_that_is_not_done_is_no_difference() {
    use bayplan::engine::memory::faults::{Call, Fault, Times, Which};
    let (repository, simulated) = deployed().await;
    let (host, _) = holder(&simulated, "shop-web-1");
    let file = repository.work().join(format!("hosts/{host}.yaml"));
    let text = fs::read_to_string(&file).expect("the host's file");
    repository.write(&format!("hosts/{host}.yaml"), &format!("{text}status: draining\n")).push("Drain it");
    let faults: Vec<_> = simulated
        .engines
        .values()
        .map(|engine| (engine, engine.fault(Fault::Down, Which::Only(Call::Create), Times::UntilLifted)))
        .collect();
    deploy(&repository, &simulated).await;
    assert!(repository.ledger("status/shop.json").contains("\"next\""), "the move was begun and is not done");
    assert_eq!(said(&verified(&repository, &simulated, Depth::Git).await), Vec::<String>::new());
    faults.into_iter().for_each(|(engine, fault)| engine.lift(fault));
    deploy(&repository, &simulated).await;
    assert_ne!(holder(&simulated, "shop-web-1").0, host);
    assert_eq!(said(&verified(&repository, &simulated, Depth::Live).await), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_comment_in_a_file_hides_nothing_of_where_it_was_computed() {
    let (repository, simulated) = deployed().await;
    repository.write("stacks/shop.yaml", &format!("# a comment\n{}", shop("web:1"))).push("A comment");
    deploy(&repository, &simulated).await;
    assert!(repository.ledger("status/shop.json").contains(&repository.head()), "the record is of the newer revision");
    let verified = verified(&repository, &simulated, Depth::Live).await;
    assert_eq!(said(&verified), Vec::<String>::new());
    assert!(verified.is_whole());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_operator_suspends_later_was_deployed_all_the_same() {
    let (repository, simulated) = deployed().await;
    repository.write("stacks/shop.yaml", &shop("web:2")).push("Another web");
    deploy(&repository, &simulated).await;
    let config =
        Config { suspended: ["shop".to_owned()].into(), plan_digest: PlanDigest::Required, ..Config::default() };
    let mut site = simulated.site(&repository, config).await;
    let verified = verify(&mut site, None, Depth::Git).await.expect("it can be read");
    assert_eq!((said(&verified), verified.stacks.len()), (Vec::new(), 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_freeze_kept_back_then_is_placed_as_it_ran() {
    let repository = Repository::new();
    let simulated = Simulated::new(3);
    simulated.write_hosts(&repository);
    let blog = |replicas: u32| {
        format!(
            "name: blog\nplacement: spread\nitemListElement: [{{name: a, position: 1, image: 'web:1', replicas: {replicas}}}]\n"
        )
    };
    repository.write("stacks/blog.yaml", &blog(1)).push("A blog");
    deploy(&repository, &simulated).await;
    let (today, _) = Zone::utc().local(clock());
    let freeze = Freeze {
        first: today.after(-1),
        last: today.after(1),
        reason: "not now".to_owned(),
        stacks: ["blog".to_owned()].into(),
    };
    let schedule = Schedule { freezes: vec![freeze], ..Schedule::default() };
    let config = || Config { schedule: schedule.clone(), ..Config::default() };
    // Were there a second blog, the shop would find its place elsewhere.
    let shop = "name: shop\nplacement: auto\nitemListElement: [{name: web, position: 1, image: 'web:2'}]\n";
    repository.write("stacks/blog.yaml", &blog(2)).write("stacks/shop.yaml", shop).push("More of it, and a shop");
    let mut site = simulated.site(&repository, config()).await;
    site::apply(&mut site, WrongFiles::Refuse).await;
    let mut site = simulated.site(&repository, config()).await;
    let verified = verify(&mut site, None, Depth::Git).await.expect("it can be read");
    assert_eq!((said(&verified), verified.stacks.len()), (Vec::new(), 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_that_was_moved_by_hand_is_found() {
    let (repository, simulated) = deployed().await;
    let (from, engine) = holder(&simulated, "shop-db-1");
    let (to, other) = simulated.engines.iter().find(|(name, _)| **name != from).expect("another host");
    let container = engine.holds().containers.into_iter().find(|c| c.name == "shop-db-1").expect("it is there");
    engine.remove_behind(&container.id).expect("it is removed");
    other.add_foreign("shop-db-1", container.labels.clone()).expect("it runs there");
    let found = said(&verified(&repository, &simulated, Depth::Live).await);
    assert_eq!(found, [format!("shop/db-1 is on {from} in the ledger, and runs on {to}")]);
}

fn holder<'a>(simulated: &'a Simulated, container: &str) -> (String, &'a bayplan::engine::memory::MemoryEngine) {
    let mut engines = simulated.engines.iter();
    let holds = |(_, engine): &(&String, &bayplan::engine::memory::MemoryEngine)| {
        engine.holds().containers.iter().any(|c| c.name == container)
    };
    let (name, engine) = engines.find(holds).expect("one has it");
    (name.clone(), engine)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_was_swapped_under_its_tag_and_a_container_that_ended_are_found() {
    let (repository, simulated) = deployed().await;
    let (host, engine) = holder(&simulated, "shop-db-1");
    engine.load("db:1", ImageScript::runs().prints("another program"));
    let found = said(&verified(&repository, &simulated, Depth::Live).await);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("shop/db-1 runs ") && found[0].contains(&format!("on {host}, where db:1 means")));
    let container = engine.container("shop-db-1").await.expect("an answer").expect("it is there");
    engine.kill(&container.seen.id).expect("it is killed");
    let found = said(&verified(&repository, &simulated, Depth::Live).await);
    assert!(
        found.iter().any(|said| said.contains(&format!("does not run on {host}: its container is exited"))),
        "{found:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_does_not_answer_is_no_difference_and_not_verified() {
    use bayplan::engine::memory::faults::{Fault, Times, Which};
    let (repository, simulated) = deployed().await;
    let (host, engine) = holder(&simulated, "shop-db-1");
    engine.fault(Fault::Down, Which::Every, Times::UntilLifted);
    let verified = verified(&repository, &simulated, Depth::Live).await;
    assert_eq!(said(&verified), Vec::<String>::new());
    let live = verified.stacks.values().next().and_then(|stack| stack.live.as_ref()).expect("hosts were asked");
    assert!(live.unseen.iter().any(|unseen| unseen.as_str() == host), "{live:?}");
}
