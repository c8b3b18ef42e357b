//! A forge is told what became of commits, and what a pull request would do.

#[path = "forge/fake.rs"]
mod fake;
#[path = "support/repository.rs"]
mod repository;
#[path = "forge/runner.rs"]
mod runner;
#[path = "support/simulated.rs"]
mod simulated;

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bayplan::controller::report::Reports;
use bayplan::controller::run;
use bayplan::engine::memory::script::ImageScript;
use bayplan::forge::reporter::{News, Reporter};
use bayplan::forge::{Commented, CommitStatus, Forge, ForgeError, Place, State};
use bayplan::model::config::{Config, ForgeKind};
use bayplan::name::Revision;
use bayplan::secret::Secret;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use fake::{Comment, Fake, REPOSITORY, TOKEN, Trouble};
use repository::{Repository, git};
use runner::From;
use simulated::Simulated;

const ALL: [ForgeKind; 3] = [ForgeKind::Github, ForgeKind::Gitlab, ForgeKind::Gitea];
/// How each is called, and where its file of checks is.
const CHECKS: [(ForgeKind, &str, &str); 3] = [
    (ForgeKind::Github, "github", ".github/workflows/bayplan.yaml"),
    (ForgeKind::Gitlab, "gitlab", ".gitlab-ci.yml"),
    (ForgeKind::Gitea, "gitea", ".gitea/workflows/bayplan.yaml"),
];
const LIMIT: Duration = Duration::from_secs(60);
const MARKER: &str = "<!-- bayplan plan -->";

fn forge(kind: ForgeKind, fake: &Fake) -> Forge {
    let place = Place { kind, url: fake.url(), repository: REPOSITORY.to_owned(), ca: None };
    Forge::new(&place, Secret::new(TOKEN.to_owned())).expect("an address")
}

fn commit(digit: char) -> Revision {
    Revision::new(&digit.to_string().repeat(40)).expect("a commit")
}

fn status(state: State, sentence: &str) -> CommitStatus {
    CommitStatus { state, sentence: sentence.to_owned(), link: Some("https://forge/STATUS.md".to_owned()) }
}

#[tokio::test]
async fn a_status_is_set_in_the_words_of_each_forge() {
    for kind in ALL {
        let fake = Fake::start(kind).await;
        let forge = forge(kind, &fake);
        let long = "x".repeat(500);
        for (state, sentence) in
            [(State::Pending, "deploying shop"), (State::Failure, "shop rolled back"), (State::Success, long.as_str())]
        {
            forge.set_status(&commit('a'), &status(state, sentence)).await.expect("it is set");
        }
        // GitLab refuses the same twice; nobody needs to know.
        forge.set_status(&commit('a'), &status(State::Success, "2 stacks run")).await.expect("it is so");
        let failure = if kind == ForgeKind::Gitlab { "failed" } else { "failure" };
        let states: Vec<String> = fake.statuses().into_iter().map(|(state, _)| state).collect();
        assert_eq!(states[..3], ["pending", failure, "success"]);
        fake.with(|seen| {
            assert_eq!(seen.statuses[0].0, "a".repeat(40));
            assert_eq!(seen.statuses[0].3.as_deref(), Some("https://forge/STATUS.md"));
        });
        fake.assert_right();
    }
}

#[tokio::test]
async fn there_is_one_comment_that_is_made_then_updated_and_never_repeated() {
    for kind in ALL {
        let fake = Fake::start(kind).await;
        let forge = forge(kind, &fake);
        // A lively pull request: ours will be on the third page, and somebody quoted the marker.
        let others = (0..230).map(|id| Comment { id, body: format!("{id}: I say {MARKER}"), is_ours: false });
        fake.with(|seen| seen.comments.extend(others));
        let text = |what: &str| format!("{MARKER}\n{what}\n");
        assert_eq!(forge.comment(7, MARKER, &text("one")).await.expect("it is made"), Commented::New);
        assert_eq!(forge.comment(7, MARKER, &text("one")).await.expect("it is there"), Commented::UpToDate);
        assert_eq!(forge.comment(7, MARKER, &text("two")).await.expect("it is updated"), Commented::Updated);
        fake.with(|seen| {
            let ours: Vec<&str> = seen.comments[230..].iter().map(|comment| comment.body.as_str()).collect();
            assert_eq!(ours, [text("two").as_str()]);
        });

        // One that begins like ours and is another's is left alone.
        fake.with(|seen| seen.comments.truncate(3));
        fake.with(|seen| seen.comments[1].body = text("not yours"));
        assert_eq!(forge.comment(7, MARKER, &text("three")).await.expect("it is made"), Commented::New);
        fake.with(|seen| assert_eq!(seen.comments[1].body, text("not yours")));
        fake.assert_right();
    }
}

#[tokio::test]
async fn a_refusal_is_said_with_what_to_do_and_without_the_token() {
    let fake = Fake::start(ForgeKind::Gitea).await;
    let forge = forge(ForgeKind::Gitea, &fake);
    for (status_code, message, retry, is_transient, said) in [
        (401, "Bad credentials", None, false, "answered 401: Bad credentials; the token is wrong or has ended"),
        (403, "no t0ken-of-the-forge here", None, false, "answered 403: no [redacted] here; the token may not do this"),
        (403, "secondary rate limit", Some(7), true, "answered 403: secondary rate limit"),
        (404, "Not Found", None, false, "answered 404: Not Found; the repository, the commit or the pull request"),
        (301, "Moved", None, false, "has moved"),
        (429, "", Some(30), true, "answered 429; it is asked too often"),
        (500, "oops\nand more", None, true, "answered 500: oopsand more; its own trouble"),
    ] {
        fake.with(|seen| seen.trouble = Trouble::Refuses(status_code, message, retry));
        let error = forge.set_status(&commit('a'), &status(State::Success, "")).await.expect_err("it is refused");
        let text = format!("{error} {error:?} {forge:?}");
        assert!(text.contains("failed to set a commit status: the forge"), "{text}");
        assert!(text.contains(said), "it does not say {said:?}: {text}");
        assert!(!text.contains(TOKEN), "{text}");
        assert_eq!(error.is_transient(), is_transient, "{text}");
    }
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("an address");
    let place =
        Place { kind: ForgeKind::Gitea, url: format!("http://{nobody}"), repository: REPOSITORY.to_owned(), ca: None };
    let away = Forge::new(&place, Secret::new(TOKEN.to_owned())).expect("an address");
    let error = away.comment(7, MARKER, MARKER).await.expect_err("nobody is there");
    assert!(matches!(error, ForgeError::Reach { .. }) && error.is_transient(), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_forge_that_hangs_is_given_up_after_ten_seconds() {
    let fake = Fake::start(ForgeKind::Github).await;
    fake.with(|seen| seen.trouble = Trouble::Hangs);
    let began = Instant::now();
    let error = forge(ForgeKind::Github, &fake).set_status(&commit('a'), &status(State::Success, "")).await;
    assert!(matches!(error, Err(ForgeError::Deadline { .. })), "{error:?}");
    assert_eq!(began.elapsed().as_secs(), 10);
}

#[tokio::test]
async fn over_tls_only_who_is_vouched_for_is_told() {
    let fake = Fake::start_tls(ForgeKind::Gitlab).await;
    let place = |name: &str, ca: Option<&str>| Place {
        kind: ForgeKind::Gitlab,
        url: format!("https://{name}:{}", fake.address.port()),
        repository: REPOSITORY.to_owned(),
        ca: ca.map(|file| fake::tls_folder().join(file)),
    };
    let open = |place: &Place| Forge::new(place, Secret::new(TOKEN.to_owned()));
    let known = open(&place("localhost", Some("ca.pem"))).expect("an authority");
    known.set_status(&commit('a'), &status(State::Success, "well")).await.expect("it is set");
    for strange in [place("127.0.0.1", Some("ca.pem")), place("localhost", None)] {
        // A machine without authorities of its own says so.
        let Ok(forge) = open(&strange) else { continue };
        let error = forge.set_status(&commit('b'), &status(State::Success, "well")).await;
        assert!(matches!(error, Err(ForgeError::Reach { .. })), "{error:?}");
    }
    for wrong in ["nowhere.pem", "server.key"] {
        let error = open(&place("localhost", Some(wrong))).expect_err("no authority is there");
        assert!(error.to_string().contains(wrong), "{error}");
    }
    assert_eq!(fake.statuses().len(), 1);
    fake.assert_right();
}

/// Waits until the forge was told as it should be.
async fn told(fake: &Fake, what: &str, is_it: impl Fn(&[(String, String)]) -> bool) {
    let mut look = tokio::time::interval(Duration::from_millis(20));
    let found = timeout(LIMIT, async {
        while !is_it(&fake.statuses()) {
            look.tick().await;
        }
    });
    let found = found.await.is_ok();
    assert!(found, "{what} was not said: {:#?}", fake.statuses());
}

#[tokio::test]
async fn an_outage_is_said_once_and_only_the_newest_of_each_commit_is_said_after_it() {
    let fake = Fake::start(ForgeKind::Github).await;
    fake.with(|seen| seen.trouble = Trouble::Refuses(502, "Bad Gateway", None));
    let news = Arc::new(Mutex::new(Vec::new()));
    let heard = news.clone();
    let reporter = Reporter::start(forge(ForgeKind::Github, &fake), move |item| {
        heard.lock().expect("no panic").push(item);
    });
    for round in 0..1000 {
        for digit in ['a', 'b'] {
            reporter.wish(commit(digit), status(State::Pending, &format!("round {round}")));
        }
    }
    // The reporter had no turn since, on this one thread.
    assert_eq!(fake.with(|seen| seen.calls.len()), 0, "nobody waits for a forge");
    reporter.wish(commit('a'), status(State::Success, "a runs"));
    reporter.wish(commit('b'), status(State::Failure, "b rolled back"));
    let mut look = tokio::time::interval(Duration::from_millis(20));
    let tried = async {
        while fake.with(|seen| seen.calls.len()) < 2 {
            look.tick().await;
        }
    };
    timeout(LIMIT, tried).await.expect("it is tried again");
    fake.with(|seen| seen.trouble = Trouble::None);
    told(&fake, "both", |said| said.len() >= 2).await;
    reporter.finish(LIMIT).await;
    let mut said = fake.statuses();
    said.sort();
    assert_eq!(said, [("failure", "b rolled back"), ("success", "a runs")].map(|(a, b)| (a.to_owned(), b.to_owned())));
    let news = news.lock().expect("no panic");
    assert!(matches!(news.as_slice(), [News::Failed(_), News::Again]), "{news:?}");
    fake.assert_right();
}

#[tokio::test]
async fn the_end_waits_for_a_hanging_forge_no_longer_than_it_is_told() {
    let fake = Fake::start(ForgeKind::Github).await;
    fake.with(|seen| seen.trouble = Trouble::Hangs);
    let reporter = Reporter::start(forge(ForgeKind::Github, &fake), |_| {});
    reporter.wish(commit('a'), status(State::Success, "a runs"));
    timeout(LIMIT, reporter.finish(Duration::from_millis(100))).await.expect("it ends");
}

fn shop(image: &str) -> String {
    format!("name: shop\nplacement: auto\nitemListElement: [{{name: web, position: 1, image: '{image}'}}]\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_deployed_commit_is_pending_and_then_a_success_or_a_failure_that_says_why() {
    let fake = Fake::start(ForgeKind::Github).await;
    let repository = Repository::new();
    let simulated = Simulated::new(1);
    simulated.write_hosts(&repository);
    let engine = &simulated.engines["host-1"];
    engine.load("exits:1", ImageScript::runs().exits(Duration::ZERO, 3));
    engine.load("slow:1", ImageScript::runs().with_health_check().never_healthy());
    let first = repository.write("stacks/shop.yaml", &shop("web:1")).push("Deploy the shop");
    let mut site = simulated.site(&repository, Config::default()).await;
    let (sender, mut events) = mpsc::unbounded_channel();
    let stop = CancellationToken::new();
    let shutdown = stop.clone();
    let service = tokio::spawn(async move { run::run(&mut site, sender, shutdown).await.expect("the service runs") });
    let reporter = Reporter::start(forge(ForgeKind::Github, &fake), |_| {});
    let telling = tokio::spawn(async move {
        let mut reports = Reports::default();
        while let Some(event) = events.recv().await {
            for said in reports.hear(&event) {
                reporter.wish(said.commit, CommitStatus { state: said.state, sentence: said.sentence, link: None });
            }
        }
        reporter
    });
    let ends = |state: &'static str, sentence: &'static str| {
        move |said: &[(String, String)]| said.last().is_some_and(|(s, text)| s == state && text.contains(sentence))
    };
    told(&fake, "the first success", ends("success", "1 stack runs")).await;
    let bad = repository.write("stacks/shop.yaml", &shop("exits:1")).push("One that exits");
    told(&fake, "the way back", ends("failure", "shop rolled back: ")).await;
    // While this one is not healthy, the next is pushed.
    let check = "healthCheck: {type: command, command: ask, startPeriod: 600}, image";
    let slow_shop = shop("slow:1").replace("image", check);
    let slow = repository.write("stacks/shop.yaml", &slow_shop).push("One that takes long");
    told(&fake, "the slow one", ends("pending", "deploying shop")).await;
    let good = repository.write("stacks/shop.yaml", &shop("web:2")).push("Better");
    told(&fake, "the second success", ends("success", "1 stack runs")).await;
    repository.write("stacks/shop.yaml", "name: shop\n").push("Wrong");
    told(&fake, "the wrong file", ends("failure", "a file is wrong")).await;

    // While the forge hangs, what is pushed is deployed all the same.
    fake.with(|seen| seen.trouble = Trouble::Hangs);
    repository.write("stacks/shop.yaml", &shop("web:1")).push("Back");
    let mut look = tokio::time::interval(Duration::from_millis(50));
    let deployed = async {
        while repository.ledger_log().iter().filter(|subject| subject.starts_with("shop runs at")).count() < 3 {
            look.tick().await;
        }
    };
    timeout(LIMIT, deployed).await.expect("it is deployed");
    stop.cancel();
    timeout(LIMIT, service).await.expect("it ends").expect("no panic");
    telling.await.expect("no panic").finish(Duration::from_millis(100)).await;

    fake.with(|seen| {
        for (commit, end) in [(first, "success"), (bad, "failure"), (slow, "error"), (good, "success")] {
            let of: Vec<&str> =
                seen.statuses.iter().filter(|(sha, ..)| *sha == commit).map(|(_, state, ..)| state.as_str()).collect();
            // A pending that was soon over may have been left out; nothing else comes before the end.
            assert_eq!(of.last(), Some(&end), "{:#?}", seen.statuses);
            assert!(of.iter().all(|state| *state == "pending" || *state == end), "{:#?}", seen.statuses);
        }
    });
    fake.assert_right();
}

/// The program with a configuration for the forge.
fn bayplan(folder: &Path, fake: &Fake, arguments: &[&str]) -> Output {
    let kind = "github";
    let config = format!("forge: {{kind: {kind}, url: '{}', repository: {REPOSITORY}, tokenEnv: T}}\n", fake.url());
    fs::write(folder.join("../ci.yaml"), config).expect("written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_bayplan"));
    command.args(arguments).args(["--config", "../ci.yaml"]).current_dir(folder).env_clear().env("T", TOKEN);
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", folder).stdin(Stdio::null());
    command.output().expect("it runs")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plan_comments_on_the_pull_request_and_updates_its_comment() {
    let fake = Fake::start(ForgeKind::Github).await;
    let repository = Repository::new();
    repository.write("hosts/host-1.yaml", "name: host-1\nipAddress: 10.0.0.1\n");
    repository.write("stacks/shop.yaml", &shop("web:1")).push("The shop");
    let work = repository.work();
    git(&work, &["checkout", "-q", "-b", "topic"]);
    repository.write(
        "stacks/shop.yaml",
        &shop("web:1").replace("auto", "manual").replace("image", "targetHost: host-1, image"),
    );
    git(&work, &["commit", "-q", "-a", "-m", "Pin it"]);
    let arguments = ["plan", "--base", "main", "--head", "topic", "--branch", "main", "--comment", "7"];
    for (said, comments) in [("the plan is a comment on pull request 7", 1), ("the comment says the same already", 1)] {
        let output = bayplan(&work, &fake, &arguments);
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(text.contains(said), "it does not say {said:?}:\n{text}");
        assert!(!text.contains(TOKEN));
        assert_eq!(fake.with(|seen| seen.comments.len()), comments);
    }
    fake.with(|seen| {
        assert!(seen.comments[0].body.starts_with(&format!("{MARKER}\n### Bayplan: ")), "{}", seen.comments[0].body);
        assert!(seen.comments[0].body.contains("shop/web-1"));
    });
    fake.with(|seen| seen.trouble = Trouble::Refuses(401, "Bad credentials", None));
    let output = bayplan(&work, &fake, &arguments);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(
        text.contains("the forge answered 401: Bad credentials; the token is wrong") && !text.contains(TOKEN),
        "{text}"
    );
    assert!(String::from_utf8_lossy(&output.stdout).contains("web-1"), "the plan itself is shown");
    fake.assert_right();

    fs::write(work.join("../ci.yaml"), "{}\n").expect("written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_bayplan"));
    command.args(arguments).args(["--config", "../ci.yaml"]).current_dir(&work).stdin(Stdio::null());
    let output = command.output().expect("it runs");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--comment needs `forge`"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_service_itself_tells_the_forge_with_a_link_and_ends_when_asked() {
    let fake = Fake::start(ForgeKind::Github).await;
    let repository = Repository::new();
    repository.write("hosts/host-1.yaml", "name: host-1\nipAddress: 10.0.0.1\n");
    let head = repository.write("stacks/shop.yaml", &shop("web:1")).push("The shop");
    let work = repository.work();
    let config =
        format!("forge: {{kind: github, url: '{}', repository: {REPOSITORY}, tokenFile: token}}\n", fake.url());
    fs::write(work.join("../run.yaml"), config).expect("written");
    fs::write(work.join("../token"), format!("{TOKEN}\n")).expect("written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_bayplan"));
    command.args(["run", "--config", "../run.yaml"]).current_dir(&work).env_clear().env("HOME", &work);
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).stdin(Stdio::null());
    let service = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    // Its host has no endpoint, so that the stack waits for one.
    told(&fake, "the hold", |said| said.iter().any(|(state, said)| state == "pending" && said.contains("shop"))).await;
    let id = rustix::process::Pid::from_child(&service);
    rustix::process::kill_process(id, rustix::process::Signal::TERM).expect("it is asked to end");
    let output = tokio::task::spawn_blocking(|| service.wait_with_output().expect("it ends")).await.expect("no panic");
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(!text.contains(TOKEN), "{text}");
    fake.with(|seen| {
        assert_eq!(seen.statuses[0].0, head);
        let page = format!("{}/{REPOSITORY}/blob/bayplan/status/STATUS.md", fake.url());
        assert_eq!(seen.statuses[0].3.as_deref(), Some(page.as_str()));
    });
    fake.assert_right();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_init_writes_checks_a_pull_request_and_comments_on_it() {
    for (kind, forge, path) in CHECKS {
        let fake = Fake::start(kind).await;
        let repository = Repository::new();
        repository.write("hosts/host-1.yaml", "name: host-1\nipAddress: 10.0.0.1\ncpu: 2\n");
        repository.write("stacks/shop.yaml", &shop("web:1")).push("The shop");
        let work = repository.work();
        assert!(repository.bayplan(&["init", ".", "--forge", forge]).status.success());
        let text = fs::read_to_string(work.join(path)).expect("it is there");
        git(&work, &["clean", "-q", "-d", "-f"]);
        git(&work, &["checkout", "-q", "-b", "topic"]);
        let propose = |text: &str| {
            repository.write("stacks/shop.yaml", text);
            git(&work, &["commit", "-q", "-a", "-m", "A proposal"]);
        };
        let comments =
            || fake.with(|seen| seen.comments.iter().map(|comment| comment.body.clone()).collect::<Vec<_>>());

        propose(&shop("web:2"));
        let job = runner::run(kind, &text, &fake, &work, From::Fork);
        assert!(job.success && comments().is_empty(), "{forge}: {}", job.log);
        let job = runner::run(kind, &text, &fake, &work, From::Branch);
        assert!(job.success && comments().len() == 1, "{forge}: {}", job.log);
        assert!(comments()[0].contains("web:2") || comments()[0].contains("shop/web-1"), "{}", comments()[0]);

        // What is held is told and does not fail the check; what is wrong does, and the comment says that it is.
        propose(&shop("web:2").replace("image", "resources: {cpu: 64}, image"));
        let job = runner::run(kind, &text, &fake, &work, From::Branch);
        assert!(job.success && comments()[0].contains("**Held"), "{forge}: {}\n{}", job.log, comments()[0]);
        propose("name: shop\nitemListElement: [{name: web}]\n");
        let job = runner::run(kind, &text, &fake, &work, From::Branch);
        assert!(!job.success && !comments()[0].contains("**Held"), "{forge}: {}\n{}", job.log, comments()[0]);
        assert_eq!(comments().len(), 1);
        assert!(!job.log.contains(TOKEN));
        fake.assert_right();
    }
}

#[test]
fn init_writes_the_file_of_the_forge_and_overwrites_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let init = |forge: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bayplan"));
        let output = command.args(["init", "fleet", "--forge", forge]).current_dir(folder.path()).output();
        let output = output.expect("it runs");
        assert_eq!(output.status.code(), Some(0));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    for (_, forge, path) in CHECKS {
        assert!(init(forge).contains(&format!("wrote {path}")));
        let file = folder.path().join("fleet").join(path);
        let text = fs::read_to_string(&file).expect("it is there");
        serde_yaml::from_str::<serde_json::Value>(&text).expect("YAML");
        fs::write(&file, "mine").expect("written");
        assert!(init(forge).contains(&format!("left as it is: {path}")));
        assert_eq!(fs::read_to_string(&file).expect("it is there"), "mine");
    }
}
