//! The plan in the pull request: what merging a branch would do, from Git alone, and that it is what then happens.

#[path = "support/fleet.rs"]
mod fleet;
#[path = "support/repository.rs"]
mod repository;
#[path = "support/simulated.rs"]
mod simulated;
#[path = "support/site.rs"]
mod site;

use std::collections::BTreeSet;

use bayplan::cli::show::markdown;
use bayplan::cli::show::plan::{Against, NOTHING, Shown};
use bayplan::controller::Event;
use bayplan::controller::once::{self, Options, Refused, WrongFiles};
use bayplan::engine::memory::faults::{Call, Fault, Times, Which};
use bayplan::model::config::Config;
use bayplan::reconcile::{self, Context, Look, Pass};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use repository::{Repository, git};
use simulated::Simulated;

fn shop(service: &str) -> String {
    format!("name: shop\nplacement: auto\nitemListElement:\n  - {{name: db, position: 1, image: 'db:1'}}\n{service}")
}

const WEB: &str = "  - {name: web, position: 2, image: 'web:1', environment: {TOKEN: swordfish}, requirements: [db]}\n";

/// A fleet with the shop on it, of which people work on a copy.
async fn deployed() -> (Repository, Simulated) {
    let repository = Repository::new();
    let simulated = Simulated::new(3);
    simulated.write_hosts(&repository);
    repository.write("stacks/shop.yaml", &shop(WEB)).push("Deploy the shop");
    let mut site = simulated.site(&repository, Config::default()).await;
    site::apply(&mut site, WrongFiles::Refuse).await;
    (repository, simulated)
}

/// Commits what was written to a branch, pushes that, and goes back to `main`.
fn branch(repository: &Repository, name: &str) {
    let work = repository.work();
    git(&work, &["checkout", "-q", "-b", name]);
    git(&work, &["add", "-A"]);
    git(&work, &["commit", "-q", "-m", "A change"]);
    git(&work, &["push", "-q", "origin", name]);
    git(&work, &["checkout", "-q", "main"]);
}

async fn planned(repository: &Repository, simulated: &Simulated, head: &str) -> Pass {
    let mut site = simulated.site(repository, Config::default()).await;
    let at = site.source.merged("main", head).await.expect("they merge");
    let context = Context { at: Some(at), ..Context::default() };
    reconcile::pass(&mut site, Look::Offline, &context).await.expect("a plan from Git alone")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_merge_does_is_what_the_review_said() {
    let edits: [(&str, &str, String); 4] = [
        (
            "more",
            "stacks/more.yaml",
            "name: more\nplacement: spread\nitemListElement:\n  - {name: a, position: 1, \
             image: 'web:1', replicas: 4}\n  - {name: b, position: 2, image: 'db:1'}\n"
                .to_owned(),
        ),
        ("other", "stacks/shop.yaml", shop(&WEB.replace("web:1", "web:2"))),
        ("scaled", "stacks/shop.yaml", shop(&WEB.replace("image:", "replicas: 3, image:"))),
        ("gone", "stacks/shop.yaml", shop("")),
    ];
    let (repository, simulated) = deployed().await;
    for (name, path, text) in edits {
        repository.write(path, &text);
        branch(&repository, name);
        // Somebody else was faster, so that it is no fast-forward.
        repository.write("README.md", &format!("Before {name}\n")).push("Something else");
        let said = planned(&repository, &simulated, name).await;
        assert!(!said.plan.is_empty(), "{name}");
        git(&repository.work(), &["merge", "-q", "--no-edit", name]);
        repository.push("Merged");
        let mut site = simulated.site(&repository, Config::default()).await;
        let then = reconcile::pass(&mut site, Look::Hosts, &Context::default()).await.expect("a pass");
        assert_eq!(said.ledger.commit, then.ledger.commit, "{name}");
        assert_eq!(said.placement.mapping, then.placement.mapping, "{name}");
        assert_eq!(said.plan.digest(), then.plan.digest(), "{name}");
        site::apply(&mut site, WrongFiles::Refuse).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_two_give_the_same_comment_and_no_branch_moves() {
    let (repository, simulated) = deployed().await;
    repository.write("stacks/shop.yaml", &shop(&WEB.replace("swordfish", "marlin")));
    branch(&repository, "token");
    repository.write("README.md", "Faster\n").push("Something else");
    let refs = || git(&repository.bare(), &["for-each-ref"]);
    let before = refs();
    let mut comments = Vec::new();
    for _ in 0..2 {
        let pass = planned(&repository, &simulated, "token").await;
        let against = Against::Ledger(pass.ledger.commit.as_ref());
        let shown = Shown { plan: &pass.plan, branch: "main", revision: &pass.revision, against, later: &NOTHING };
        comments.push(markdown::plan(&shown));
    }
    assert_eq!(comments[0], comments[1]);
    assert_eq!(refs(), before);
    assert!(comments[0].contains("### Bayplan: 1 replaced"), "{}", comments[0]);
    assert!(!comments[0].contains("swordfish") && !comments[0].contains("marlin"), "{}", comments[0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_what_ran_cannot_be_understood_any_more_everything_counts_as_newly_allowed() {
    let repository = Repository::new();
    let simulated = Simulated::new(3);
    let write = |datacenter: &str, more: &str| {
        simulated.write_hosts(&repository);
        for host in simulated.engines.keys() {
            let path = format!("hosts/{host}.yaml");
            let text = std::fs::read_to_string(repository.work().join(&path)).expect("a host");
            repository.write(&path, &format!("{text}datacenter: {datacenter}\n"));
        }
        let web = format!("  - {{name: web, position: 2, image: 'web:1'{more}}}\n");
        let shop = shop(&web).replace("placement: auto", &format!("placement: datacenter\ndatacenter: {datacenter}"));
        repository.write("stacks/shop.yaml", &shop);
    };
    write("old", "");
    repository.push("Deploy the shop");
    let mut site = simulated.site(&repository, Config::default()).await;
    site::apply(&mut site, WrongFiles::Refuse).await;
    // Among the hosts of the pull request, the stack as it runs names a datacenter that is not there.
    write("new", ", ports: [{containerPort: 80, hostPort: 8080}]");
    branch(&repository, "renamed");
    let pass = planned(&repository, &simulated, "renamed").await;
    let against = Against::Ledger(pass.ledger.commit.as_ref());
    let shown = Shown { plan: &pass.plan, branch: "main", revision: &pass.revision, against, later: &NOTHING };
    let comment = markdown::plan(&shown);
    assert!(comment.contains("port 80/tcp published at 10.0.0."), "{comment}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_would_be_down_without_a_host_is_said_and_not_counted_as_kept() {
    let repository = Repository::new();
    let simulated = Simulated::new(2);
    simulated.write_hosts(&repository);
    let db = "{name: db, position: 1, image: 'db:1', volumeMounts: [{source: data, target: /data}]}";
    repository.write("stacks/shop.yaml", &format!("name: shop\nplacement: auto\nitemListElement: [{db}]\n"));
    repository.push("A shop with data");
    let mut site = simulated.site(&repository, Config::default()).await;
    site::apply(&mut site, WrongFiles::Refuse).await;
    git(&repository.work(), &["fetch", "-q", "origin", "bayplan/status:bayplan/status"]);
    let output = repository.bayplan(&["plan", "--without", "host-1"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(5), "{said}");
    assert!(said.contains("shop/db-1") && said.contains("host-1"), "{said}");
    assert!(said.contains("would be down") || said.contains("waits for host-1"), "{said}");
    let output = repository.bayplan(&["plan", "--without", "host-2"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_apply_that_names_a_plan_carries_out_no_other() {
    let (repository, simulated) = deployed().await;
    repository.write("stacks/shop.yaml", &shop(&WEB.replace("web:1", "web:2"))).push("Another version");
    let mut site = simulated.site(&repository, Config::default()).await;
    let pass = reconcile::pass(&mut site, Look::Offline, &Context::default()).await.expect("a plan");
    let reviewed = pass.plan.digest().short().to_owned();
    repository.write("stacks/more.yaml", "name: more\nitemListElement: [{name: a, position: 1, image: 'web:1'}]\n");
    repository.push("Somebody adds a stack");
    let writes = simulated.writes();
    let options =
        Options { wrong_files: WrongFiles::Refuse, allowed_removals: BTreeSet::new(), reviewed: Some(reviewed) };
    let (events, _heard) = mpsc::unbounded_channel();
    let stop = CancellationToken::new();
    let refused = once::once(&mut site, &options, &events, &stop).await.expect("an answer");
    assert_eq!(refused.refused, Some(Refused::OtherPlan));
    assert_eq!(simulated.writes(), writes, "nothing was touched");
    let options = Options { reviewed: Some(refused.last.plan.digest().to_string()), ..options };
    let done = once::once(&mut site, &options, &events, &stop).await.expect("an answer");
    assert_eq!(done.refused, None);
    assert!(simulated.writes() > writes && done.last.plan.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_pushed_while_a_reviewed_plan_is_tried_again_is_not_part_of_it() {
    let (repository, simulated) = deployed().await;
    repository.write("stacks/shop.yaml", &shop(&WEB.replace("web:1", "web:2"))).push("Another version");
    let mut site = simulated.site(&repository, Config::default()).await;
    let pass = reconcile::pass(&mut site, Look::Offline, &Context::default()).await.expect("a plan");
    let reviewed = Some(pass.plan.digest().to_string());
    for engine in simulated.engines.values() {
        engine.fault(Fault::ReplyLost, Which::Only(Call::Start), Times::Next(1));
    }
    let options = Options { wrong_files: WrongFiles::Refuse, allowed_removals: BTreeSet::new(), reviewed };
    let (events, mut heard) = mpsc::unbounded_channel();
    let pushing = async {
        while !matches!(heard.recv().await, Some(Event::TriesAgain { .. })) {}
        repository.write("stacks/more.yaml", "name: more\nitemListElement: [{name: a, position: 1, image: 'web:1'}]\n");
        repository.push("Somebody adds a stack");
    };
    let stop = CancellationToken::new();
    let (done, ()) = tokio::join!(once::once(&mut site, &options, &events, &stop), pushing);
    let done = done.expect("an answer");
    assert_eq!(done.ended.keys().map(ToString::to_string).collect::<Vec<_>>(), ["shop"], "{:#?}", done.ended);
    assert_eq!((done.refused, done.last.revision == pass.revision), (None, true));
    let next = reconcile::pass(&mut site, Look::Offline, &Context::default()).await.expect("a plan");
    assert_eq!(next.plan.stacks.iter().filter(|(_, plan)| plan.is_changed_by_the_revision()).count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_compares_two_commits_and_names_what_is_in_the_way() {
    let (repository, _simulated) = deployed().await;
    let said = |arguments: &[&str], code: i32, words: &[&str]| {
        let output = repository.bayplan(arguments);
        let all = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{all}");
        for words in words {
            assert!(all.contains(words), "{arguments:?} does not say {words:?}:\n{all}");
        }
        all
    };
    repository.write("stacks/shop.yaml", &shop(&WEB.replace("web:1", "web:2")));
    branch(&repository, "newer");
    let no_ledger = said(&["plan", "--base", "main", "--head", "newer", "--format", "markdown"], 0, &[]);
    assert!(no_ledger.contains("**No ledger was found**"), "{no_ledger}");
    git(&repository.work(), &["fetch", "-q", "origin", "bayplan/status:bayplan/status"]);
    let words = ["### Bayplan: 1 replaced", "main with newer merged", "| shop/web-1 | replace |", "web:2"];
    said(&["plan", "--base", "main", "--head", "newer", "--format", "markdown"], 0, &words);
    said(&["plan", "--base", "main", "--head", "newer", "--exit-code"], 4, &["replace", "web-1"]);
    said(&["plan", "--base", "main"], 0, &["nothing to do"]);
    said(&["plan", "--base", "nowhere"], 2, &["`nowhere` names no commit here"]);
    said(&["plan", "--head", "newer"], 2, &["--base"]);
    said(&["apply", "--plan-digest", "12345"], 2, &["--plan-digest", "8 digits or more"]);
    repository.write("stacks/shop.yaml", &shop(&WEB.replace("web:1", "web:3"))).push("Another version");
    let words = ["newer cannot be merged into main", "stacks/shop.yaml", "merge or rebase"];
    said(&["plan", "--base", "main", "--head", "newer"], 1, &words);
}
