//! What the ledger tells afterwards: what happened, who put what where, and the way back.

#[path = "support/fleet.rs"]
mod fleet;
#[path = "support/repository.rs"]
mod repository;
#[path = "support/simulated.rs"]
mod simulated;
#[path = "support/site.rs"]
mod site;

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use bayplan::controller::once::WrongFiles;
use bayplan::controller::{Event, run};
use bayplan::engine::memory::script::ImageScript;
use bayplan::ledger::history::{Asked, Quiet};
use bayplan::model::config::{Config, Notes};
use bayplan::name::{HostName, ServiceName, StackSlug};
use bayplan::reconcile::site::Site;
use bayplan::status::history::{Entry, What};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use repository::{Repository, git};
use simulated::Simulated;

fn shop(image: &str, host: &str) -> String {
    format!(
        "name: Shop\nplacement: manual\nitemListElement:\n  - {{name: web, position: 1, image: '{image}', targetHost: \
         {host}}}\n  - {{name: db, position: 2, image: 'db:1', targetHost: host-1}}\n"
    )
}

const BLOG: &str = "name: blog\nitemListElement: [{name: blog, position: 1, image: 'web:1', targetHost: host-2}]\n";

/// What a fleet went through, and the revisions of the shop: the first, another image, another host, one that exits.
struct Story {
    repository: Repository,
    simulated: Simulated,
    shop: [String; 4],
    config: Config,
}

impl Story {
    /// The shop is made, replaced, moved, and rolled back from content that is bad; a blog comes and goes.
    async fn told() -> Self {
        Self::told_with(Config::default()).await
    }

    async fn told_with(config: Config) -> Self {
        let repository = Repository::new();
        let simulated = Simulated::new(2);
        for engine in simulated.engines.values() {
            engine.load("bad:1", ImageScript::runs().exits(Duration::ZERO, 3));
        }
        simulated.write_hosts(&repository);
        let mut story = Self { repository, simulated, shop: Default::default(), config };
        story.repository.write("stacks/blog.yaml", BLOG);
        story.shop[0] = story.deploy("stacks/shop.yaml", &shop("web:1", "host-1"), "The shop").await;
        story.shop[1] = story.deploy("stacks/shop.yaml", &shop("web:2", "host-1"), "Another web").await;
        story.shop[2] = story.deploy("stacks/shop.yaml", &shop("web:2", "host-2"), "The web moves").await;
        story.shop[3] = story.deploy("stacks/shop.yaml", &shop("bad:1", "host-2"), "A web that exits").await;
        story.repository.remove("stacks/blog.yaml").push("No blog");
        story.settle().await;
        story
    }

    async fn deploy(&self, path: &str, text: &str, message: &str) -> String {
        let revision = self.repository.write(path, text).push(message);
        self.settle().await;
        revision
    }

    async fn site(&self) -> Site {
        self.simulated.site(&self.repository, self.config.clone()).await
    }

    async fn settle(&self) {
        site::apply(&mut self.site().await, WrongFiles::Refuse).await;
    }

    async fn history(&self, asked: Asked) -> Vec<Entry> {
        self.site().await.ledger.history(asked).await.expect("the ledger is read").entries
    }

    /// Runs the program on the bare repository.
    fn says(&self, arguments: &[&str], code: i32, words: &[&str]) -> String {
        let bare = self.repository.bare();
        let arguments: Vec<&str> = arguments.iter().copied().chain([bare.to_str().expect("text")]).collect();
        said(&bayplan(&self.repository, &arguments), &arguments, code, words)
    }
}

fn bayplan(repository: &Repository, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bayplan"));
    command.args(arguments).current_dir(repository.work()).env_clear().stdin(Stdio::null());
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", repository.cache());
    command.output().expect("the program runs")
}

fn said(output: &Output, arguments: &[&str], code: i32, words: &[&str]) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{out}{err}");
    for words in words {
        assert!(out.contains(words) || err.contains(words), "{arguments:?} does not say {words:?}:\n{out}{err}");
    }
    out.into_owned()
}

fn stack(name: &str) -> Option<StackSlug> {
    Some(StackSlug::new(name).expect("a slug"))
}

/// The oldest first: what happened, for which revision, and what moved.
fn told(entries: &[Entry]) -> Vec<(What, String, String)> {
    let one = |entry: &Entry| {
        let moves = entry.happened.moves.iter().map(|moved| {
            let side = |host: &Option<HostName>| host.as_ref().map_or("-".to_owned(), ToString::to_string);
            format!("{}: {} -> {}", moved.instance.service, side(&moved.from), side(&moved.to))
        });
        let revision = entry.happened.revision.as_ref().map(|r| r.as_str().to_owned()).unwrap_or_default();
        (entry.happened.what, revision, moves.collect::<Vec<_>>().join(", "))
    };
    entries.iter().rev().map(one).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ledger_tells_each_thing_that_happened_once() {
    let story = Story::told().await;
    let [first, image, moved, bad] = story.shop.clone();
    let of_shop = story.history(Asked { stack: stack("shop"), ..Asked::default() }).await;
    let none = String::new;
    let expected = [
        (What::Deploying, first.clone(), none()),
        (What::Runs, first, "db: - -> host-1, web: - -> host-1".to_owned()),
        (What::Deploying, image.clone(), none()),
        (What::Runs, image, none()),
        (What::Deploying, moved.clone(), none()),
        (What::Runs, moved.clone(), "web: host-1 -> host-2".to_owned()),
        (What::Deploying, bad.clone(), none()),
        (What::Failed, bad, none()),
    ];
    let shown = told(&of_shop);
    assert_eq!(shown[..expected.len()], expected, "{shown:#?}");
    assert_eq!(shown.last().map(|last| (last.0, last.1.clone())), Some((What::RolledBack, moved)), "{shown:#?}");
    let failed = of_shop.iter().find(|entry| entry.happened.what == What::Failed).expect("it failed");
    assert!(failed.happened.reason.contains("web-1"), "{}", failed.happened.reason);
    assert!(of_shop.is_sorted_by(|newer, older| newer.at >= older.at));

    let all = story.history(Asked::default()).await;
    assert_eq!(all.iter().filter(|entry| entry.stack == stack("shop")).count(), of_shop.len());
    let gone = &all[0];
    assert_eq!((gone.stack.clone(), gone.happened.what), (stack("blog"), What::Removed));
    assert_eq!((all[1].stack.clone(), all[1].happened.what), (stack("blog"), What::Removing));
    assert_eq!(all[1].happened.revision, gone.happened.revision);
    assert_eq!(gone.happened.revision.as_ref().map(ToString::to_string), Some(story.repository.head()));
    let with_hosts = story.history(Asked { quiet: Quiet::Told, ..Asked::default() }).await;
    assert_eq!(with_hosts.last().map(|entry| entry.happened.what), Some(What::Measured));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_for_narrows_what_is_told() {
    let story = Story::told().await;
    let service = |name: &str| Some(ServiceName::new(name).expect("a name"));
    let db = story.history(Asked { stack: stack("shop"), service: service("db"), ..Asked::default() }).await;
    let what: Vec<What> = db.iter().rev().map(|entry| entry.happened.what).collect();
    assert_eq!(what[..2], [What::Deploying, What::Runs], "only its own deployment, and what concerns all: {db:#?}");
    assert!(db.iter().filter(|entry| entry.happened.what == What::Runs).count() == 1);

    let host = Some(HostName::new("host-2").expect("a name"));
    let there = story.history(Asked { host, ..Asked::default() }).await;
    let moves: Vec<_> = told(&there).into_iter().map(|told| told.2).filter(|moves| !moves.is_empty()).collect();
    assert_eq!(moves, ["blog: - -> host-2", "web: host-1 -> host-2", "blog: host-2 -> -"]);

    let newest = story.history(Asked { most: Some(3), ..Asked::default() }).await;
    let all = story.history(Asked::default()).await;
    assert_eq!(newest, all[..3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blame_follows_an_instance_back_to_the_commit_that_put_it_there() {
    let story = Story::told().await;
    let blamed = story.site().await.ledger.blame(&stack("shop").expect("it")).await.expect("read").expect("known");
    let put: Vec<_> = blamed
        .instances
        .iter()
        .map(|put| (put.instance.service.to_string(), put.now.host.to_string(), put.revision.to_string()))
        .collect();
    let of = |service: &str, host: &str, revision: &String| (service.to_owned(), host.to_owned(), revision.clone());
    assert_eq!(put, [of("db", "host-1", &story.shop[0]), of("web", "host-2", &story.shop[2])]);
    let subject = git(&story.repository.bare(), &["log", "-1", "--format=%s", blamed.instances[1].commit.as_str()]);
    assert!(subject.starts_with("shop runs at"), "{subject}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_commands_tell_it_to_people_and_to_programs() {
    let story = Story::told().await;
    let words = ["Z  shop", "web-1: host-1 -> host-2", "The web moves (Tester)", "failed", "rolled-back"];
    story.says(&["history", "Shop"], 0, &words);
    story.says(&["history"], 0, &["blog", "removed", "No blog (Tester)"]);
    story.says(&["history", "--limit", "2"], 0, &["the newest 2; `--limit 0` shows all"]);
    story.says(&["history", "shp"], 2, &["the ledger names no stack shp", "did you mean `shop`?"]);
    story.says(&["history", "blog", "--host", "host-1"], 0, &["Nothing of that happened."]);
    let words = ["the ledger names no service of shop called wep", "did you mean `web`?"];
    story.says(&["history", "shop/wep"], 2, &words);
    story.says(&["history", "--host", "hsot-1"], 2, &["the ledger names no host hsot-1", "did you mean `host-1`?"]);
    story.says(&["blame", "shop"], 0, &["web-1  host-2  since 20", "The web moves (Tester)", "targetHost"]);
    story.says(&["blame", "blog"], 2, &["the ledger names no stack blog", "there is shop"]);
    let json = story.says(&["history", "shop", "--limit", "0", "--format", "json"], 0, &[]);
    let history: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!((&history["version"], &history["kind"]), (&1.into(), &"history".into()));
    let moves = history["entries"].as_array().expect("entries").iter().flat_map(|e| e["moves"].as_array());
    let moved = moves.flatten().find(|moved| moved["from"] == "host-1").expect("it moved");
    assert_eq!(moved["to"], "host-2");

    // A clone that did not fetch the ledger says so; one that did reads the remote-tracking branch.
    let work = story.repository.work();
    let in_work =
        |arguments: &[&str], words: &[&str]| said(&bayplan(&story.repository, arguments), arguments, 0, words);
    in_work(&["history"], &["there is no branch bayplan/status here"]);
    git(&work, &["fetch", "-q", "origin"]);
    in_work(&["history", "shop"], &["web-1: host-1 -> host-2"]);
}

/// A repository that says who commits in it.
fn sign(folder: &Path) {
    git(folder, &["config", "user.name", "Ada"]);
    git(folder, &["config", "user.email", "ada@example.org"]);
}

fn rev(folder: &Path, name: &str) -> String {
    git(folder, &["rev-parse", name]).trim().to_owned()
}

fn refs(folder: &Path) -> String {
    git(folder, &["for-each-ref", "refs/heads"])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_is_one_commit_that_restores_one_stack_and_the_next_pass_deploys_it() {
    let story = Story::told().await;
    let bare = story.repository.bare();
    sign(&bare);
    let (main, good) = (rev(&bare, "main"), story.shop[2].clone());
    let branch = format!("bayplan-rollback/shop-{}", &good[..10]);
    let words = ["shop back to", "The web moves (Tester)", "with another content than main asks for", " push . "];
    story.says(&["rollback", "Shop"], 0, &words);
    assert_eq!(rev(&bare, "main"), main, "the branch was not asked to move");
    assert_eq!(rev(&bare, &format!("{branch}^@")), main);
    assert_eq!(git(&bare, &["diff", "--name-only", "main", &branch]), "stacks/shop.yaml\n");
    let blob = |of: &str| rev(&bare, &format!("{of}:stacks/shop.yaml"));
    assert_eq!(blob(&branch), blob(&good), "byte for byte");
    let said =
        git(&bare, &["log", "-1", "--format=%an <%ae>%n%s%n%(trailers:key=Bayplan-Rollback-To,valueonly)", &branch]);
    assert_eq!(said, format!("Ada <ada@example.org>\nRoll shop back to {}\n{good}\n\n", &good[..10]));
    story.says(&["rollback", "shop"], 2, &["there is a branch", &branch, "git branch -D"]);

    story.says(&["rollback", "shop", "--push"], 0, &["is on main; the next pass deploys it"]);
    assert_eq!(rev(&bare, "main^@"), main);
    let written = story.simulated.writes();
    story.settle().await;
    let last = &story.history(Asked { stack: stack("shop"), ..Asked::default() }).await[0];
    assert_eq!(last.happened.what, What::Runs, "what runs is what is asked for again: {last:?}");
    assert_eq!(story.simulated.writes(), written, "and it ran already");

    // What ran before that is another image on another host, and is really deployed.
    story.says(&["rollback", "shop", "--push"], 0, &["Another web (Tester)"]);
    story.settle().await;
    let web = story.site().await.ledger.blame(&stack("shop").expect("it")).await.expect("read").expect("known");
    assert_eq!(web.instances[1].now.host.as_str(), "host-1");
    assert_eq!(blob("main"), blob(&story.shop[1]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_says_why_it_makes_no_commit() {
    let story = Story::told().await;
    let bare = story.repository.bare();
    let before = refs(&bare);
    story.says(&["rollback", "shop"], 2, &["git config user.name NAME"]);
    sign(&bare);
    story.says(&["rollback", "shpo"], 2, &["there is no stack shpo", "did you mean `shop`?"]);
    story.says(&["rollback", "shop", "--to", "nowhere"], 2, &["`nowhere` names no commit here"]);
    story.says(&["rollback", "shop", "--to", "bayplan/status"], 2, &["has no stack shop"]);
    let same = story.says(&["rollback", "shop", "--to", "main", "--format", "json"], 0, &[]);
    let same: Value = serde_json::from_str(&same).expect("JSON");
    assert_eq!((&same["outcome"], &same["commit"]), (&"same".into(), &Value::Null));

    // A host that the shop needed then is gone now.
    let repository = &story.repository;
    repository.write("stacks/shop.yaml", &shop("web:1", "host-1"));
    repository.remove("hosts/host-2.yaml").push("One host");
    let before_wrong = refs(&bare);
    assert_ne!(before_wrong, before);
    let words = ["error[unknown-host]", "host-2", "these files would be wrong today; nothing was committed"];
    story.says(&["rollback", "shop", "--to", &story.shop[2]], 1, &words);

    // Its file is another stack's now.
    repository.write("stacks/web.yaml", &shop("web:1", "host-1"));
    repository.write("stacks/shop.yaml", &BLOG.replace("host-2", "host-1")).push("Renamed");
    let after = refs(&bare);
    story.says(&["rollback", "shop", "--to", &story.shop[0]], 1, &["belonged to shop and belongs to blog now"]);
    assert_eq!(refs(&bare), after);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_was_renamed_goes_and_comes_back_and_others_stay() {
    let story = Story::told().await;
    let (bare, repository) = (story.repository.bare(), &story.repository);
    sign(&bare);
    repository.remove("stacks/shop.yaml").write("stacks/team/shop.json", r#"{"name": "Shop", "itemListElement": []}"#);
    repository.write("README.md", "Not ours\n").write("stacks/blog.yaml", BLOG).push("Moved and emptied");
    story.says(&["rollback", "shop", "--to", &story.shop[0], "--push"], 0, &["restored stacks/shop.yaml", "removed"]);
    let changed = git(&bare, &["diff", "--name-status", "--no-renames", "main^", "main"]);
    assert_eq!(changed, "A\tstacks/shop.yaml\nD\tstacks/team/shop.json\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_branch_that_is_checked_out_is_not_moved_and_nothing_of_the_work_tree_is_touched() {
    let story = Story::told().await;
    let work = story.repository.work();
    sign(&work);
    git(&work, &["fetch", "-q", "origin"]);
    story.repository.write("stacks/half.yaml", "name: half").write("README.md", "Staged\n");
    git(&work, &["add", "README.md"]);
    let state = || (git(&work, &["status", "--porcelain"]), rev(&work, "HEAD"), std::fs::read(work.join(".git/index")));
    let (status, head, index) = state();
    let arguments = ["rollback", "shop", "--push"];
    let words = ["as main is checked out", " merge --ff-only bayplan-rollback/shop-"];
    said(&bayplan(&story.repository, &arguments), &arguments, 0, &words);
    let (status_after, head_after, index_after) = state();
    assert_eq!((status, head), (status_after, head_after));
    assert_eq!(index.expect("an index"), index_after.expect("an index"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn through_a_url_the_commit_is_pushed_without_force() {
    let story = Story::told().await;
    let bare = story.repository.bare();
    std::fs::create_dir_all(story.repository.cache()).expect("a folder");
    let identity = "[user]\n\tname = Ada\n\temail = ada@example.org\n";
    std::fs::write(story.repository.cache().join(".gitconfig"), identity).expect("a file");
    let url = format!("file://{}", bare.display());
    let main = rev(&bare, "main");
    let run = |arguments: &[&str], code, words: &[&str]| {
        let arguments: Vec<&str> = arguments.iter().copied().chain(["--branch", "main", url.as_str()]).collect();
        said(&bayplan(&story.repository, &arguments), &arguments, code, words)
    };
    run(&["rollback", "shop"], 0, &["git fetch origin", "--base origin/main --head origin/bayplan-rollback/shop-"]);
    assert_eq!(rev(&bare, "main"), main);
    assert_eq!(rev(&bare, &format!("bayplan-rollback/shop-{}^@", &story.shop[2][..10])), main);
    run(&["rollback", "shop", "--push"], 0, &["is on main"]);
    assert_eq!(rev(&bare, "main^@"), main);
    assert_eq!(git(&bare, &["log", "-1", "--format=%an", "main"]), "Ada\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn git_bisect_finds_the_deployment_from_which_on_a_service_ran_elsewhere() {
    let story = Story::told().await;
    let bare = story.repository.bare();
    let of_shop = story.history(Asked { stack: stack("shop"), ..Asked::default() }).await;
    let first = of_shop.iter().rfind(|entry| entry.happened.what == What::Runs).expect("it ran");
    // The lines of docs/audit.md.
    git(&bare, &["bisect", "start", "--no-checkout", "bayplan/status", first.commit.as_str()]);
    let look = r#"git show BISECT_HEAD:status/shop.json | grep -q "\"web: host-1\"""#;
    assert!(include_str!("../docs/audit.md").contains(&format!("git bisect run sh -c '{look}'")));
    git(&bare, &["bisect", "run", "sh", "-c", look]);
    let found = rev(&bare, "refs/bisect/bad");
    let revision = git(&bare, &["log", "-1", "--format=%(trailers:key=Bayplan-Revision,valueonly)", "refs/bisect/bad"]);
    git(&bare, &["bisect", "reset"]);
    let blamed = story.site().await.ledger.blame(&stack("shop").expect("it")).await.expect("read").expect("known");
    assert_eq!(blamed.instances[1].commit.to_string(), found);
    assert_eq!(revision.trim(), story.shop[2]);
}

/// What `git log --notes=bayplan` shows: subject and note, the newest first.
fn log_with_notes(folder: &Path) -> Vec<(String, String)> {
    let log = git(folder, &["log", "--format=%s%x00%N%x01", "--notes=bayplan", "main"]);
    let commits = log.split('\u{1}').map(str::trim).filter(|commit| !commit.is_empty());
    let parts = commits.map(|commit| commit.split_once('\0').expect("a subject and a note"));
    parts.map(|(subject, note)| (subject.to_owned(), note.trim().to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn git_log_with_notes_reads_as_an_audit() {
    let story = Story::told_with(Config { notes: Notes::On, ..Config::default() }).await;
    let log = log_with_notes(&story.repository.bare());
    let subjects: Vec<&str> = log.iter().map(|(subject, _)| subject.as_str()).collect();
    assert_eq!(subjects, ["No blog", "A web that exits", "The web moves", "Another web", "The shop"]);
    assert_eq!(log[0].1, "blog: removed");
    assert!(log[1].1.starts_with("shop: rolled back: ") && log[1].1.lines().count() == 1, "{}", log[1].1);
    assert_eq!(log[2].1, "shop: running on host-1, host-2");
    assert_eq!(log[3].1, "shop: running on host-1");
    assert_eq!(log[4].1, "blog: running on host-2\nshop: running on host-1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_being_asked_nothing_is_noted() {
    let story = Story::told().await;
    assert_eq!(git(&story.repository.bare(), &["for-each-ref", "refs/notes"]), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_service_pushes_its_notes_and_one_that_cannot_deploys_all_the_same() {
    let repository = Repository::new();
    let simulated = Simulated::new(2);
    simulated.write_hosts(&repository);
    repository.write("stacks/shop.yaml", &shop("web:1", "host-1")).push("The shop");
    let refuse_notes = "#!/bin/sh\ntest \"$1\" != refs/notes/bayplan\n";
    let hook = repository.bare().join("hooks/update");
    let url = format!("file://{}", repository.bare().display());
    for (round, image) in [("refused", "web:1"), ("taken", "web:2")] {
        if round == "refused" {
            std::fs::create_dir_all(hook.parent().expect("a folder")).expect("a folder");
            std::fs::write(&hook, refuse_notes).expect("a hook");
            std::fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("it may run");
        } else {
            std::fs::remove_file(&hook).expect("the hook goes");
            repository.write("stacks/shop.yaml", &shop(image, "host-1")).push("Another web");
        }
        let config = Config { notes: Notes::On, ..Config::default() };
        let mut site = simulated.site_at(&url, &repository, config).await;
        site.source.fetch().await.expect("it is fetched");
        let (sender, mut events) = mpsc::unbounded_channel();
        let stop = CancellationToken::new();
        let stopping = stop.clone();
        let service = tokio::spawn(async move { run::run(&mut site, sender, stopping).await.expect("it runs") });
        let ends = async { while !matches!(events.recv().await.expect("it goes on"), Event::Ended(_)) {} };
        tokio::time::timeout(Duration::from_secs(60), ends).await.expect("the shop is deployed");
        stop.cancel();
        tokio::time::timeout(Duration::from_secs(60), service).await.expect("it stops").expect("it does not panic");
        let noted = git(&repository.bare(), &["for-each-ref", "refs/notes"]);
        assert_eq!(noted.is_empty(), round == "refused", "{noted}");
    }
    let notes: Vec<String> = log_with_notes(&repository.bare()).into_iter().map(|(_, note)| note).collect();
    assert_eq!(notes, ["shop: running on host-1"; 2], "also what could not be pushed at first");
}
