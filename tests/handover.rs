//! What passes from one instance to another, and what happens when it cannot: volumes, ports, actions, and the way back.

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

use bayplan::controller::Ended;
use bayplan::controller::once::{Outcome, WrongFiles};
use bayplan::engine::memory::MemoryEngine;
use bayplan::engine::memory::faults::{Call, Fault, Times, Which};
use bayplan::engine::memory::script::{ExecScript, ImageScript};
use bayplan::model::config::Config;
use bayplan::model::record::StackStatus;
use bayplan::model::world::State;
use bayplan::name::StackSlug;
use bayplan::reconcile::site::Site;

use repository::Repository;
use simulated::Simulated;

struct Stage {
    repository: Repository,
    simulated: Simulated,
}

impl Stage {
    fn new() -> Self {
        let stage = Self { repository: Repository::new(), simulated: Simulated::new(1) };
        stage.simulated.write_hosts(&stage.repository);
        stage
    }

    fn engine(&self) -> &MemoryEngine {
        &self.simulated.engines["host-1"]
    }

    async fn push(&self, files: &[(&str, &str)]) -> Outcome {
        for (path, text) in files {
            if text.is_empty() {
                self.repository.remove(path);
            } else {
                self.repository.write(path, text);
            }
        }
        self.repository.push("A change");
        self.apply().await
    }

    async fn apply(&self) -> Outcome {
        site::apply(&mut self.site().await, WrongFiles::Refuse).await
    }

    async fn site(&self) -> Site {
        self.simulated.site(&self.repository, Config::default()).await
    }

    /// The names of what runs.
    fn running(&self) -> Vec<String> {
        let containers = self.engine().holds().containers.into_iter();
        let mut names: Vec<String> = containers.filter(|c| c.state == State::Running).map(|c| c.name).collect();
        names.sort();
        names
    }

    /// Where in the order of calls the first of a kind with this subject is.
    fn place(&self, call: Call, subject: impl Fn(&str) -> bool) -> usize {
        let calls = self.engine().calls();
        let place = calls.iter().position(|made| made.call == call && subject(&made.subject));
        place.unwrap_or_else(|| panic!("no {} of it: {calls:#?}", call.as_str()))
    }

    fn id(&self, name: &str) -> String {
        let containers = self.engine().holds().containers;
        containers.into_iter().find(|c| c.name == name).unwrap_or_else(|| panic!("no {name}")).id
    }
}

fn gaps(outcome: &Outcome) -> String {
    let changes = outcome.first.plan.stacks.values().flat_map(|stack| &stack.changes);
    changes.map(|change| format!("{}: {}\n", change.instance, change.gap)).collect()
}

fn ended<'o>(outcome: &'o Outcome, stack: &str) -> Option<&'o Ended> {
    outcome.ended.get(&StackSlug::new(stack).expect("a slug"))
}

fn status(outcome: &Outcome, stack: &str) -> Option<StackStatus> {
    ended(outcome, stack).and_then(|ended| ended.status)
}

fn one(stack: &str, service: &str, more: &str) -> String {
    format!("name: {stack}\nitemListElement: [{{name: {service}, position: 1, image: 'db:1', {more}}}]\n")
}

const DATA: &str = "volumeMounts: [{source: data, target: /data}]";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_is_renamed_does_not_write_to_its_volume_beside_itself() {
    let stage = Stage::new();
    stage.push(&[("stacks/shop.yaml", &one("shop", "db", DATA))]).await;
    let old = stage.id("shop-db-1");
    stage.engine().forget_calls();
    let outcome = stage.push(&[("stacks/shop.yaml", &one("shop", "postgres", DATA))]).await;
    assert_eq!(stage.running(), ["shop-postgres-1"]);
    let stopped = stage.place(Call::Stop, |subject| subject == old);
    assert!(stopped < stage.place(Call::Start, |_| true), "{:#?}", stage.engine().calls());
    assert!(gaps(&outcome).contains("shop/postgres-1: gap: takes over volume data of shop/db-1"), "{}", gaps(&outcome));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_goes_from_one_service_of_a_stack_to_another_with_one_writer_at_a_time() {
    let stage = Stage::new();
    let stack = |first: &str, second: &str| {
        let service = |name: &str, position: u32, more: &str| {
            format!("  - {{name: {name}, position: {position}, image: 'web:1', environment: {{A: '{first}'}}{more}}}\n")
        };
        format!("name: shop\nitemListElement:\n{}{}", service("a", 1, first), service("b", 2, second))
    };
    let data = format!(", {DATA}");
    stage.push(&[("stacks/shop.yaml", &stack(&data, ""))]).await;
    let old = stage.id("shop-a-1");
    stage.engine().forget_calls();
    let outcome = stage.push(&[("stacks/shop.yaml", &stack("", &data))]).await;
    assert_eq!(stage.running(), ["shop-a-1", "shop-b-1"]);
    let stopped = stage.place(Call::Stop, |subject| subject == old);
    let b = stage.id("shop-b-1");
    assert!(stopped < stage.place(Call::Start, |subject| subject == b || subject.starts_with("shop-b-1")));
    assert!(gaps(&outcome).contains("shop/a-1: gap: volume data goes to shop/b-1"), "{}", gaps(&outcome));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stack_that_is_renamed_waits_until_its_former_self_lets_go_of_the_volume() {
    let stage = Stage::new();
    stage.push(&[("stacks/shop.yaml", &one("shop", "db", DATA))]).await;
    let old = stage.id("shop-db-1");
    stage.engine().forget_calls();
    let outcome = stage.push(&[("stacks/shop.yaml", &one("store", "db", DATA))]).await;
    let holds: Vec<String> = outcome.first.plan.all_holds().map(|(_, hold)| hold.to_string()).collect();
    assert!(holds.iter().any(|hold| hold.contains("beside shop/db-1, which is to let go of it first")), "{holds:?}");
    assert_eq!(stage.running(), ["store-db-1"]);
    assert!(stage.place(Call::Remove, |subject| subject == old) < stage.place(Call::Start, |_| true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_stacks_that_share_a_volume_on_purpose_do_not_wait_for_each_other() {
    let stage = Stage::new();
    stage.push(&[("stacks/a.yaml", &one("a", "db", DATA)), ("stacks/b.yaml", &one("b", "backup", DATA))]).await;
    assert_eq!(stage.running(), ["a-db-1", "b-backup-1"]);
    let more = format!("environment: {{A: b}}, {DATA}");
    let outcome =
        stage.push(&[("stacks/a.yaml", &one("a", "db", &more)), ("stacks/b.yaml", &one("b", "backup", &more))]).await;
    assert_eq!(stage.running(), ["a-db-1", "b-backup-1"]);
    assert!(outcome.last.plan.is_empty() && outcome.last.plan.all_holds().next().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_volume_before_the_one_with_the_data_hides_nothing() {
    let stage = Stage::new();
    stage.push(&[("stacks/shop.yaml", &one("shop", "db", DATA))]).await;
    let both = "volumeMounts: [{source: more, target: /more}, {source: data, target: /data}]";
    let outcome = stage.push(&[("stacks/shop.yaml", &one("shop", "db", both))]).await;
    assert!(gaps(&outcome).contains("gap: volume data has a single writer"), "{}", gaps(&outcome));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_we_stopped_ourselves_has_not_completed_and_is_started_on_the_way_back() {
    let stage = Stage::new();
    stage.engine().load("daemon:1", ImageScript::runs().stops_well());
    stage.engine().load("bad:1", ImageScript::runs().exits(Duration::ZERO, 3));
    let shop = |image: &str| {
        let service = format!("name: d, position: 1, image: '{image}', restartPolicy: on-failure");
        format!("name: shop\nitemListElement: [{{{service}, ports: [{{containerPort: 80, hostPort: 8080}}]}}]\n")
    };
    stage.push(&[("stacks/shop.yaml", &shop("daemon:1"))]).await;
    let good = stage.id("shop-d-1");
    let outcome = stage.push(&[("stacks/shop.yaml", &shop("bad:1"))]).await;
    assert_eq!(status(&outcome, "shop"), Some(StackStatus::RolledBack));
    assert_eq!((stage.running(), stage.id("shop-d-1")), (vec!["shop-d-1".to_owned()], good));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_engine_cannot_start_in_the_same_words_twice_is_taken_back() {
    let stage = Stage::new();
    stage.engine().load("typo:1", ImageScript::runs().cannot_start("unable to find user postgrs"));
    let port = "ports: [{containerPort: 80, hostPort: 8080}]";
    stage.push(&[("stacks/shop.yaml", &one("shop", "db", port))]).await;
    let bad = one("shop", "db", port).replace("db:1", "typo:1");
    let outcome = stage.push(&[("stacks/shop.yaml", &bad)]).await;
    assert_eq!(status(&outcome, "shop"), Some(StackStatus::RolledBack), "{:#?}", outcome.ended);
    assert_eq!(
        ended(&outcome, "shop").map(|ended| ended.failures.len()),
        Some(2),
        "an engine may be wrong once: {:#?}",
        outcome.ended
    );
    assert_eq!(stage.running(), ["shop-db-1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_once_is_tried_again_before_apply_ends() {
    for call in [Call::Pull, Call::Create, Call::Start, Call::SetAliases, Call::Stop, Call::Remove, Call::Rename] {
        let stage = Stage::new();
        stage.push(&[("stacks/shop.yaml", &one("shop", "db", "user: a"))]).await;
        stage.engine().fault(Fault::ReplyLost, Which::Only(call), Times::Next(1));
        let outcome = stage.push(&[("stacks/shop.yaml", &one("shop", "db", "user: b"))]).await;
        assert_eq!(status(&outcome, "shop"), Some(StackStatus::Running), "{call:?}: {:#?}", outcome.ended);
        assert!(outcome.last.plan.is_empty() && stage.running() == ["shop-db-1"], "{call:?}: {:?}", stage.running());
        assert!(!stage.repository.ledger("status/shop.json").contains("badContent"), "{call:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_beside_one_that_somebody_stopped_is_tried_again_before_it_is_blamed() {
    let stage = Stage::new();
    stage.engine().load("web:1", ImageScript::runs());
    stage.engine().load("never:1", ImageScript::runs().never_healthy());
    let check = "healthCheck: {type: command, command: [ok], interval: 1, timeout: 1, retries: 1, startPeriod: 1}";
    let shop = |web: &str| {
        let db = "{name: db, position: 1, image: 'db:1'}";
        format!("name: shop\nitemListElement: [{db}, {{name: web, position: 2, image: '{web}', {check}}}]\n")
    };
    stage.push(&[("stacks/shop.yaml", &shop("web:1"))]).await;
    let db = stage.id("shop-db-1");
    stage.engine().forget_calls();
    let engine = stage.engine().clone();
    let somebody = tokio::spawn(async move {
        while !engine.calls().iter().any(|made| made.call == Call::Start) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        engine.stop_behind(&db).expect("it runs");
    });
    let outcome = stage.push(&[("stacks/shop.yaml", &shop("never:1"))]).await;
    somebody.await.expect("it is stopped");
    assert_eq!(status(&outcome, "shop"), Some(StackStatus::RolledBack), "{:#?}", outcome.ended);
    let failures = ended(&outcome, "shop").map(|ended| ended.failures.len());
    assert_eq!(failures, Some(2), "once with the excuse, once without: {:#?}", outcome.ended);
    assert_eq!(stage.running(), ["shop-db-1", "shop-web-1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_on_failing_is_given_up_by_apply_and_blames_nothing() {
    let stage = Stage::new();
    stage.push(&[("stacks/shop.yaml", &one("shop", "db", "user: a"))]).await;
    stage.engine().fault(Fault::Fail("the disk is gone".to_owned()), Which::Only(Call::Start), Times::UntilLifted);
    let outcome = stage.push(&[("stacks/shop.yaml", &one("shop", "db", "user: b"))]).await;
    assert_eq!(status(&outcome, "shop"), Some(StackStatus::Degraded), "{:#?}", outcome.ended);
    assert_eq!(ended(&outcome, "shop").map(|ended| ended.failures.len()), Some(3), "{:#?}", outcome.ended);
    stage.engine().lift_all();
    assert_eq!(status(&stage.apply().await, "shop"), Some(StackStatus::Running));
    assert!(!stage.repository.ledger("status/shop.json").contains("badContent"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_somebody_removed_before_its_container_was_made_blames_nothing() {
    let stage = Stage::new();
    stage.push(&[("stacks/shop.yaml", &one("shop", "db", "user: a"))]).await;
    let why = "No such image: db:1".to_owned();
    stage.engine().fault(Fault::Refuse(why), Which::Only(Call::Pull), Times::Next(1));
    stage.push(&[("stacks/shop.yaml", &one("shop", "db", "user: b"))]).await;
    let outcome = stage.apply().await;
    assert!(outcome.last.plan.is_empty());
    assert!(!stage.repository.ledger("status/shop.json").contains("badContent"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_action_waits_for_the_service_that_it_runs_in() {
    let stage = Stage::new();
    let ran = ExecScript { code: 0, output: String::new(), takes: Duration::ZERO };
    stage.engine().load("app:1", ImageScript::runs().answers(&["seed"], ran));
    let action = "potentialAction: [{name: seed, actionType: Action, target: app, command: [seed]}]";
    // `app` requires `db`, whose action is run in `app`; and once more without that requirement.
    for requirements in ["[db]", "[]"] {
        let stack = format!(
            "name: shop\nitemListElement:\n  - {{name: db, position: 1, image: 'db:1', {action}}}\n  - {{name: app, \
             position: 2, image: 'app:1', requirements: {requirements}, environment: {{A: '{requirements}'}}}}\n"
        );
        let outcome = stage
            .push(&[(
                "stacks/shop.yaml",
                &stack.replace("db:1', ", &format!("db:1', user: 'u{}', ", requirements.len())),
            )])
            .await;
        assert_eq!(status(&outcome, "shop"), Some(StackStatus::Running), "{:#?}", outcome.ended);
        assert!(outcome.last.plan.is_empty(), "{requirements}");
    }
    let seeds = stage.engine().calls().iter().filter(|made| made.call == Call::Exec).count();
    assert_eq!(seeds, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_container_whose_network_was_removed_is_made_anew() {
    let stage = Stage::new();
    stage.push(&[("stacks/shop.yaml", &one("shop", "db", "user: a"))]).await;
    let old = stage.id("shop-db-1");
    stage.engine().stop_behind(&old).expect("it is stopped");
    stage.engine().prune_networks();
    let outcome = stage.apply().await;
    assert_eq!(stage.running(), ["shop-db-1"], "{:#?}", outcome.ended);
    assert_ne!(stage.id("shop-db-1"), old);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_of_another_owner_is_not_joined() {
    let stage = Stage::new();
    stage.engine().add_network("shop", [("bayplan.owner".to_owned(), "somebody".to_owned())].into());
    let outcome = stage.push(&[("stacks/shop.yaml", &one("shop", "db", "user: a"))]).await;
    let holds: Vec<String> = outcome.last.plan.all_holds().map(|(_, hold)| hold.to_string()).collect();
    assert!(holds.iter().any(|hold| hold.contains("it belongs to another owner (somebody)")), "{holds:?}");
    assert!(stage.running().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_of_what_never_ran_as_a_whole_can_be_acknowledged() {
    let stage = Stage::new();
    let fault = stage.engine().fault(Fault::Down, Which::Only(Call::Start), Times::UntilLifted);
    let many = one("shop", "db", "replicas: 5");
    stage.push(&[("stacks/other.yaml", &one("other", "web", "user: a")), ("stacks/shop.yaml", &many)]).await;
    stage.engine().lift(fault);
    let outcome = stage.push(&[("stacks/shop.yaml", "")]).await;
    let held =
        outcome.last.plan.all_holds().map(|(_, hold)| hold.to_string()).find(|hold| hold.contains("Allow-Removal"));
    let held = held.expect("the brake holds it");
    let line = held.lines().find(|line| line.contains("Bayplan-Allow-Removal")).expect("the line").trim();
    let line = &line[line.find("Bayplan-Allow-Removal").expect("it is there")..];
    stage.repository.push(&format!("It is meant\n\n{}", line.trim_end_matches(['`', '.'])));
    stage.apply().await;
    assert_eq!(stage.running(), ["other-web-1"]);
    assert!(stage.engine().holds().containers.iter().all(|c| c.name.starts_with("other")));
}

fn said(outcome: &Outcome) -> Vec<String> {
    outcome.last.plan.all_holds().map(|(_, hold)| format!("{}: {hold}", hold.name())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_does_not_begin_on_an_empty_volume_where_its_data_was_until_somebody_says_so() {
    let stage = Stage::new();
    let web = "{name: web, position: 2, image: 'web:1', softwareRequirements: [{name: db}]}";
    let shop = format!(
        "name: shop\nitemListElement: [{{name: db, position: 1, image: 'db:1', {DATA}}}, {web},\n  \
         {{name: other, position: 3, image: 'web:1'}}]\n"
    );
    stage.push(&[("stacks/shop.yaml", &shop)]).await;
    let all = ["shop-db-1", "shop-other-1", "shop-web-1"];
    assert_eq!(stage.running(), all);
    // An old word does not serve twice.
    for round in 0..2 {
        // Who has looked before the loss must not believe it, and what is seen after it must make nobody forget.
        let mut site = stage.site().await;
        assert_eq!(said(&site::apply(&mut site, WrongFiles::Refuse).await), Vec::<String>::new());
        stage.engine().lose_data();
        for _ in 0..2 {
            let outcome = site::apply(&mut site, WrongFiles::Refuse).await;
            let said = said(&outcome);
            assert_eq!(said.len(), 2, "{said:?}");
            assert!(
                said[0]
                    .starts_with("volume-lost: shop/db-1 needs what host-1 had in data, which is not there any more"),
                "{said:?}"
            );
            assert!(said[0].ends_with("\n  Bayplan-Empty-Volume: shop/data"), "{said:?}");
            assert_eq!(said[1], "requirement-held: shop/web-1 requires db, which is held");
            assert!(stage.repository.ledger("hosts.json").contains("\"data\""), "it is still known to have been there");
        }
        assert_eq!(stage.running(), ["shop-other-1"], "round {round}: what has no data there is healed");
        stage.repository.push("Another stack's data\n\nBayplan-Empty-Volume: blog/data");
        assert_eq!(said(&stage.apply().await).len(), 2);
        stage.repository.push("The data is gone for good\n\nBayplan-Empty-Volume: shop/data");
        assert_eq!(said(&stage.apply().await), Vec::<String>::new());
        assert_eq!(stage.running(), all);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_that_is_brought_back_needs_no_word_nor_one_that_nobody_wants_any_more() {
    let stage = Stage::new();
    stage.push(&[("stacks/shop.yaml", &one("shop", "db", DATA))]).await;
    stage.engine().lose_data();
    stage.push(&[("stacks/shop.yaml", &one("shop", "db", "user: a"))]).await;
    assert_eq!(stage.running(), ["shop-db-1"]);
    let outcome = stage.push(&[("stacks/shop.yaml", &one("shop", "db", DATA))]).await;
    assert_eq!((said(&outcome), stage.running()), (Vec::new(), vec!["shop-db-1".to_owned()]), "it was forgotten");
    stage.engine().lose_data();
    assert_eq!(said(&stage.apply().await).len(), 1);
    // Somebody restores it, by hand and so without our labels.
    stage.engine().add_volume("data");
    assert_eq!(said(&stage.apply().await), Vec::<String>::new());
    assert_eq!(stage.running(), ["shop-db-1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_another_name_the_lost_data_is_the_same() {
    let after: [&[(&str, &str)]; 3] = [
        &[("stacks/shop.yaml", &one("shop", "postgres", DATA))],
        &[("stacks/shop.yaml", ""), ("stacks/store.yaml", &one("store", "db", DATA))],
        &[("stacks/reports.yaml", &one("reports", "web", DATA))],
    ];
    for change in after {
        let stage = Stage::new();
        stage.push(&[("stacks/shop.yaml", &one("shop", "db", DATA))]).await;
        stage.engine().lose_data();
        stage.push(change).await;
        for _ in 0..3 {
            // Whatever is recorded meanwhile of who had it before.
            let outcome = stage.apply().await;
            assert!(said(&outcome).iter().any(|hold| hold.starts_with("volume-lost: ")), "{:?}", said(&outcome));
            assert_eq!(stage.running(), Vec::<String>::new());
            assert!(stage.engine().holds().volumes.is_empty());
        }
        // Once more, and what has it now never ran.
        let paths = change.iter().map(|(path, _)| *path).chain(["stacks/shop.yaml"]);
        let there: BTreeSet<&str> = paths.filter(|path| stage.repository.work().join(path).exists()).collect();
        let last = one("last", "db", DATA);
        let renamed: Vec<_> =
            there.into_iter().map(|path| (path, "")).chain([("stacks/last.yaml", last.as_str())]).collect();
        stage.push(&renamed).await;
        let outcome = stage.apply().await;
        assert!(said(&outcome).iter().any(|hold| hold.starts_with("volume-lost: last/db-1 ")), "{:?}", said(&outcome));
        stage.repository.push("It is gone\n\nBayplan-Empty-Volume: last/data");
        stage.apply().await;
        assert_eq!(stage.running(), ["last-db-1"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_word_for_the_data_of_one_host_is_none_for_that_of_another() {
    let stage = Stage { repository: Repository::new(), simulated: Simulated::new(2) };
    stage.simulated.write_hosts(&stage.repository);
    let on = |stack: &str, host: &str| one(stack, "db", &format!("{DATA}, targetHost: {host}"));
    let (shop, blog) = (on("shop", "host-1"), on("blog", "host-2"));
    stage.push(&[("stacks/shop.yaml", &shop), ("stacks/blog.yaml", &blog)]).await;
    stage.simulated.engines.values().for_each(MemoryEngine::lose_data);
    assert_eq!(said(&stage.apply().await).len(), 2);
    stage.repository.push("The shop's data is gone\n\nBayplan-Empty-Volume: shop/data");
    let said = said(&stage.apply().await);
    assert!(said.len() == 1 && said[0].starts_with("volume-lost: blog/db-1 needs what host-2 had"), "{said:?}");
    assert_eq!(stage.running(), ["shop-db-1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_a_service_lost_is_named_at_once_and_given_up_at_once() {
    let stage = Stage::new();
    let both = "volumeMounts: [{source: data, target: /data}, {source: wal, target: /wal}]";
    stage.push(&[("stacks/shop.yaml", &one("shop", "db", both))]).await;
    stage.engine().lose_data();
    let held = said(&stage.apply().await).concat();
    let lines: Vec<&str> = held.lines().skip(1).map(str::trim).collect();
    assert_eq!(lines, ["Bayplan-Empty-Volume: shop/data", "Bayplan-Empty-Volume: shop/wal"], "{held}");
    stage.repository.push(&format!("Both are gone\n\n{}", lines.join("\n")));
    assert_eq!(said(&stage.apply().await), Vec::<String>::new());
    assert_eq!(stage.running(), ["shop-db-1"]);
}
