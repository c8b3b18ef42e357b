//! The status branch: written without a work tree, compared and swapped, pushed without force.

use bayplan::ledger::history::{Asked, Blamed, Quiet};
use bayplan::ledger::{self, Change, LedgerError, Pushed, StatusBranch};
use bayplan::model::record::StackStatus;
use bayplan::name::{HostName, StackSlug};
use bayplan::source;
use bayplan::status::history::{Entry, What};

use crate::records::{change, record};
use crate::repo::Repo;

async fn ledger_of(repo: &Repo) -> StatusBranch {
    ledger::open(&repo.source().await).await.expect("the repository opens")
}

fn slug(text: &str) -> StackSlug {
    StackSlug::new(text).expect("a slug")
}

fn text(repo: &Repo, path: &str) -> String {
    repo.git(&["show", &format!("bayplan/status:{path}")])
}

#[tokio::test]
async fn there_is_no_ledger_before_the_first_commit() {
    let repo = Repo::new();
    let ledger = ledger_of(&repo).await;
    assert_eq!(ledger.read().await.unwrap().commit, None);
    assert!(ledger.log(9).await.unwrap().is_empty());
    assert_eq!(ledger.push().await.unwrap(), Pushed::NoRemote);
}

#[tokio::test]
async fn a_commit_touches_neither_work_tree_nor_index_nor_another_branch() {
    let repo = Repo::new();
    repo.change("stacks/shop.yaml", "name: shop");
    repo.write("stacks/half-done.yaml", "name: half");
    let (status, main) = (repo.git(&["status", "--porcelain"]), repo.at("main"));
    let commit = ledger_of(&repo).await.commit(change(&[record("shop", "host-1")])).await.unwrap();
    assert_eq!(Some(repo.at("bayplan/status")), commit);
    assert_eq!(repo.git(&["status", "--porcelain"]), status);
    assert_eq!(repo.at("main"), main);
    assert!(
        repo.git(&["ls-tree", "-r", "--name-only", "bayplan/status"])
            .starts_with("STATUS.md\nhosts.json\nstatus/shop.json")
    );
    assert_eq!(repo.git(&["log", "-1", "--format=%an <%ae>", "bayplan/status"]), "Bayplan <bayplan@localhost>");
}

#[tokio::test]
async fn a_thousand_passes_with_nothing_to_say_make_no_commit_and_no_object() {
    let repo = Repo::bare();
    let ledger = ledger_of(&repo).await;
    let change = change(&[record("shop", "host-1"), record("blog", "host-2")]);
    let first = ledger.commit(change.clone()).await.unwrap();
    assert!(first.is_some());
    let objects = repo.git(&["count-objects"]);
    for _ in 0..1000 {
        let read = ledger.read().await.unwrap();
        assert_eq!(read.commit, first);
        let quiet = Change { message: "again".to_owned(), ..change.clone() };
        assert_eq!(ledger.commit(quiet).await.unwrap(), None);
    }
    assert_eq!(repo.git(&["count-objects"]), objects);
}

#[tokio::test]
async fn the_stack_file_says_where_everything_is() {
    let repo = Repo::bare();
    let mut shop = record("Web Shop", "host-1");
    let running = shop.running.as_mut().unwrap();
    let (id, web) = running.instances.pop_first().unwrap();
    for number in 1..=2 {
        let mut id = id.clone();
        id.number = number;
        running.instances.insert(id, web.clone());
    }
    let mut db = id;
    db.service = bayplan::name::ServiceName::new("db").unwrap();
    running.instances.insert(db, web);
    ledger_of(&repo).await.commit(change(&[shop])).await.unwrap();
    let file: serde_json::Value = serde_json::from_str(&text(&repo, "status/web-shop.json")).unwrap();
    assert_eq!(file["@type"], "ItemList");
    assert_eq!(file["name"], "Web Shop");
    assert_eq!(file["hostMapping"], serde_json::json!(["db: host-1", "web-1: host-1", "web-2: host-1"]));
    assert_eq!(file["itemListElement"][0]["address"], "10.0.0.1");
}

#[tokio::test]
async fn stacks_that_a_change_does_not_name_stay_and_removed_ones_go() {
    let repo = Repo::bare();
    let ledger = ledger_of(&repo).await;
    ledger.commit(change(&[record("shop", "host-1"), record("blog", "host-2")])).await.unwrap();
    let mut next = change(&[]);
    next.records.insert(slug("shop"), None);
    next.records.insert(slug("never-was"), None);
    ledger.commit(next).await.unwrap().unwrap();
    let read = ledger.read().await.unwrap();
    assert_eq!(read.records.keys().collect::<Vec<_>>(), [&slug("blog")]);
    let mut last = change(&[]);
    last.records.insert(slug("blog"), None);
    ledger.commit(last).await.unwrap().unwrap();
    assert!(ledger.read().await.unwrap().records.is_empty());
    assert_eq!(repo.git(&["ls-tree", "--name-only", "bayplan/status"]), "STATUS.md\nhosts.json");
}

#[tokio::test]
async fn the_log_has_the_sentence_and_the_trailers() {
    let repo = Repo::bare();
    let ledger = ledger_of(&repo).await;
    let mut first = change(&[record("shop", "host-1")]);
    first.message = "Deploy shop\n\nweb goes to host-1.".to_owned();
    first.trailers = [("Bayplan-Result", "running"), ("Bayplan-Plan", "a\nb")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
    ledger.commit(first).await.unwrap();
    ledger.commit(change(&[record("blog", "host-1")])).await.unwrap();
    let log = ledger.log(9).await.unwrap();
    assert_eq!(log.len(), 2);
    assert_eq!((log[0].message.as_str(), log[0].trailers.len()), ("Deploy", 0));
    assert_eq!(log[1].message, "Deploy shop\n\nweb goes to host-1.");
    let trailers: Vec<_> = log[1].trailers.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(trailers, [("Bayplan-Result", "running"), ("Bayplan-Plan", "a b")]);
    assert_eq!(ledger.log(1).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_writers_at_once_lose_nothing_of_each_other() {
    let repo = Repo::bare();
    ledger_of(&repo).await.commit(change(&[])).await.unwrap();
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..2 {
        let ledger = ledger_of(&repo).await;
        writers.spawn(async move {
            for n in 0..25 {
                let name = format!("w{writer}-{n}");
                let change = change(&[record(&name, "host-1")]);
                // Losing five races in a row is an answer, too: the caller's next pass tries again.
                let begun = std::time::Instant::now();
                while let Err(error) = ledger.commit(change.clone()).await {
                    assert!(error.is_transient() && begun.elapsed().as_secs() < 20, "{error}");
                }
            }
        });
    }
    writers.join_all().await;
    assert_eq!(ledger_of(&repo).await.read().await.unwrap().records.len(), 50);
    assert_eq!(repo.git(&["rev-list", "--count", "--first-parent", "bayplan/status"]), "51");
}

#[tokio::test]
async fn a_leftover_lock_is_named_with_the_remedy_and_nothing_is_lost() {
    let repo = Repo::bare();
    let ledger = ledger_of(&repo).await;
    ledger.commit(change(&[record("shop", "host-1")])).await.unwrap();
    let lock = repo.path.join("refs/heads/bayplan/status.lock");
    std::fs::write(&lock, "").unwrap();
    let error = ledger.commit(change(&[record("blog", "host-1")])).await.unwrap_err();
    assert!(
        matches!(&error, LedgerError::Locked { path } if path.ends_with("refs/heads/bayplan/status.lock")),
        "{error}"
    );
    assert!(error.is_transient() && error.to_string().contains("status.lock"));
    std::fs::remove_file(lock).unwrap();
    assert!(ledger.commit(change(&[record("blog", "host-1")])).await.unwrap().is_some());
}

#[tokio::test]
async fn packed_refs_and_garbage_collection_change_nothing() {
    let repo = Repo::bare();
    let ledger = ledger_of(&repo).await;
    ledger.commit(change(&[record("shop", "host-1")])).await.unwrap();
    repo.git(&["gc", "--quiet", "--prune=now"]);
    assert_eq!(ledger.commit(change(&[record("shop", "host-1")])).await.unwrap(), None);
    ledger.commit(change(&[record("blog", "host-1")])).await.unwrap().unwrap();
    repo.git(&["gc", "--quiet", "--prune=now"]);
    assert_eq!(ledger.read().await.unwrap().records.len(), 2);
    assert_eq!(ledger_of(&repo).await.read().await.unwrap().records.len(), 2);
}

#[tokio::test]
async fn what_cannot_be_understood_is_an_error_and_is_not_written_over() {
    let newer = "\"version\": 2";
    for (from, to, says) in [
        ("\"version\": 1", newer, "upgrade"),
        ("\"version\": 1", "\"version\": 1, \"surprise\": 1", "surprise"),
        ("\"name\": \"shop\"", "\"name\": \"other\"", "about the stack `other`"),
        ("web: host-1", "web: host-2", "contradict"),
        ("\"status\": \"running\"", "\"status\": \"odd\"", "`odd` is no status"),
    ] {
        let repo = Repo::new();
        let ledger = ledger_of(&repo).await;
        ledger.commit(change(&[record("shop", "host-1")])).await.unwrap();
        let changed = text(&repo, "status/shop.json").replacen(from, to, 1);
        repo.git(&["checkout", "--quiet", "bayplan/status"]);
        let head = repo.change("status/shop.json", &changed);
        for error in
            [ledger.read().await.unwrap_err(), ledger.commit(change(&[record("shop", "host-2")])).await.unwrap_err()]
        {
            assert!(error.to_string().contains("status/shop.json"), "{error}");
            assert!(error.to_string().contains(says), "{error}");
            assert_eq!(matches!(error, LedgerError::Newer { version: 2, .. }), to == newer);
            assert!(!error.is_transient());
        }
        assert_eq!(repo.at("bayplan/status"), head);
    }
}

#[tokio::test]
async fn another_owners_ledger_is_read_and_not_written() {
    let repo = Repo::bare();
    let ledger = ledger_of(&repo).await;
    ledger.commit(change(&[record("shop", "host-1")])).await.unwrap();
    let mut theirs = change(&[]);
    theirs.owner = "them".to_owned();
    let error = ledger.commit(theirs).await.unwrap_err();
    assert!(matches!(error, LedgerError::OtherOwner { .. }));
    assert_eq!(ledger.read().await.unwrap().owner.as_deref(), Some("us"));
}

#[tokio::test]
async fn the_ledger_is_pushed_and_a_fresh_clone_reads_it_from_the_remote_branch() {
    let remote = Repo::bare();
    let here = Repo::clone_of(&remote);
    let ledger = ledger_of(&here).await;
    assert_eq!(ledger.push().await.unwrap(), Pushed::UpToDate);
    let commit = ledger.commit(change(&[record("shop", "host-1")])).await.unwrap();
    assert_eq!(ledger.push().await.unwrap(), Pushed::Done);
    assert_eq!(ledger.push().await.unwrap(), Pushed::UpToDate);
    assert_eq!(Some(remote.at("bayplan/status")), commit);
    let fresh = Repo::clone_of(&remote);
    let other = ledger_of(&fresh).await;
    assert_eq!(other.read().await.unwrap().commit, commit);
    other.commit(change(&[record("blog", "host-1")])).await.unwrap();
    assert_eq!(fresh.at("bayplan/status~1"), commit.unwrap());
    assert_eq!(other.push().await.unwrap(), Pushed::Done);
}

#[tokio::test]
async fn a_remote_ledger_that_is_ahead_is_the_one_that_is_read_and_built_on() {
    let remote = Repo::bare();
    let (one, two) = (Repo::clone_of(&remote), Repo::clone_of(&remote));
    let (first, second) = (ledger_of(&one).await, ledger_of(&two).await);
    first.commit(change(&[record("shop", "host-1")])).await.unwrap();
    first.push().await.unwrap();
    two.git(&["fetch", "--quiet", "origin"]);
    second.commit(change(&[record("blog", "host-1")])).await.unwrap();
    second.push().await.unwrap();
    one.git(&["fetch", "--quiet", "origin"]);
    assert_eq!(first.read().await.unwrap().records.len(), 2);
    assert_eq!(first.push().await.unwrap(), Pushed::UpToDate);
    first.commit(change(&[record("third", "host-1")])).await.unwrap();
    assert_eq!(first.push().await.unwrap(), Pushed::Done);
    assert_eq!(remote.git(&["rev-list", "--count", "bayplan/status"]), "3");
}

#[tokio::test]
async fn a_mirror_reads_and_pushes_the_ledger_of_its_remote() {
    let remote = Repo::bare();
    let here = Repo::clone_of(&remote);
    ledger_of(&here).await.commit(change(&[record("shop", "host-1")])).await.unwrap();
    here.git(&["push", "--quiet", "origin", "bayplan/status"]);
    let source = source::open(&remote.url(), Some("main"), &here.cache()).await.unwrap();
    source.fetch().await.unwrap();
    let mirrored = ledger::open(&source).await.unwrap();
    assert_eq!(mirrored.read().await.unwrap().records.len(), 1);
    let commit = mirrored.commit(change(&[record("blog", "host-1")])).await.unwrap();
    assert_eq!(mirrored.push().await.unwrap(), Pushed::Done);
    assert_eq!(Some(remote.at("bayplan/status")), commit);
}

#[tokio::test]
async fn a_push_that_lost_a_race_joins_both_ledgers_and_then_goes_through() {
    let remote = Repo::bare();
    let (one, two) = (Repo::clone_of(&remote), Repo::clone_of(&remote));
    let (first, second) = (ledger_of(&one).await, ledger_of(&two).await);
    first.commit(change(&[record("shop", "host-1"), record("both", "host-1")])).await.unwrap();
    assert_eq!(first.push().await.unwrap(), Pushed::Done);
    two.git(&["fetch", "--quiet", "origin"]);
    let mut failed = record("both", "host-1");
    failed.status = StackStatus::Failed;
    first.commit(change(&[failed.clone(), record("one", "host-1")])).await.unwrap();
    assert_eq!(first.push().await.unwrap(), Pushed::Done);

    let mut moved = change(&[record("both", "host-2"), record("two", "host-2")]);
    moved.records.insert(slug("shop"), None);
    second.commit(moved).await.unwrap();
    assert_eq!(second.push().await.unwrap(), Pushed::Behind);
    let joined = second.read().await.unwrap();
    let names: Vec<_> = joined.records.keys().map(StackSlug::as_str).collect();
    assert_eq!(names, ["both", "one", "two"]);
    assert_eq!(joined.records[&slug("both")], record("both", "host-2"));
    assert_eq!(second.push().await.unwrap(), Pushed::Done);
    assert_eq!(remote.git(&["rev-list", "--count", "bayplan/status"]), "4");
    assert_eq!(first.commit(change(&[failed])).await.unwrap(), None);
    first.commit(change(&[record("late", "host-1")])).await.unwrap();
    assert_eq!(first.push().await.unwrap(), Pushed::Behind);
    assert_eq!(first.push().await.unwrap(), Pushed::Done);
}

#[tokio::test]
async fn of_joined_ledgers_each_change_is_told_once_and_blame_goes_on_where_an_instance_was() {
    let remote = Repo::bare();
    let (one, two) = (Repo::clone_of(&remote), Repo::clone_of(&remote));
    let (first, second) = (ledger_of(&one).await, ledger_of(&two).await);
    let began = first.commit(change(&[record("shop", "host-1"), record("both", "host-1")])).await.unwrap();
    first.push().await.unwrap();
    two.git(&["fetch", "--quiet", "origin"]);
    first.commit(change(&[record("both", "host-2"), record("one", "host-1")])).await.unwrap();
    first.push().await.unwrap();
    let ours = second.commit(change(&[record("both", "host-3"), record("two", "host-2")])).await.unwrap();
    assert_eq!(second.push().await.unwrap(), Pushed::Behind);
    assert_eq!(second.push().await.unwrap(), Pushed::Done);

    let told = |entries: &[Entry]| {
        let mut told: Vec<String> = entries
            .iter()
            .map(|entry| {
                let hosts = entry.happened.moves.iter().filter_map(|moved| moved.to.as_ref()).map(ToString::to_string);
                let stack = entry.stack.as_ref().map_or("-", StackSlug::as_str);
                format!("{stack} {} {}", entry.happened.what.as_str(), hosts.collect::<String>())
            })
            .collect();
        told.sort();
        told
    };
    let all = [
        "both runs host-1",
        "both runs host-2",
        "both runs host-3",
        "one runs host-1",
        "shop runs host-1",
        "two runs host-2",
    ];
    let history = second.history(Asked::default()).await.unwrap();
    assert_eq!(told(&history.entries), all);
    assert_eq!(history.entries.last().map(|entry| &entry.commit), began.as_ref());
    let quiet = second.history(Asked { quiet: Quiet::Told, ..Asked::default() }).await.unwrap();
    assert_eq!(told(&quiet.entries)[0], "- joined ");

    let put = |blamed: Option<Blamed>| blamed.unwrap().instances[0].commit.clone();
    assert_eq!(Some(put(second.blame(&slug("both")).await.unwrap())), ours);
    assert_eq!(Some(put(second.blame(&slug("shop")).await.unwrap())), began);
}

#[tokio::test]
async fn a_long_history_that_several_read_at_once_is_told_like_a_short_one() {
    const COMMITS: usize = 200;
    let repo = Repo::bare();
    let ledger = ledger_of(&repo).await;
    let mut made = Vec::new();
    for number in 0..COMMITS {
        let (stack, host) = (["shop", "blog", "mail"][number % 3], format!("host-{number}"));
        let commit = ledger.commit(change(&[record(stack, &host)])).await.unwrap().unwrap();
        let from = number.checked_sub(3).map(|before| format!("host-{before}"));
        made.push((commit, stack.to_owned(), from, Some(host)));
    }
    made.reverse();
    let history = ledger.history(Asked::default()).await.unwrap();
    let told: Vec<_> = history
        .entries
        .iter()
        .map(|entry| {
            let [moved] = entry.happened.moves.as_slice() else { panic!("one instance moves: {entry:?}") };
            let side = |host: &Option<HostName>| host.as_ref().map(ToString::to_string);
            let stack = entry.stack.as_ref().map(ToString::to_string).unwrap_or_default();
            (entry.commit.clone(), stack, side(&moved.from), side(&moved.to))
        })
        .collect();
    assert_eq!(told, made);
    let newest = ledger.history(Asked { most: Some(150), ..Asked::default() }).await.unwrap();
    assert_eq!(newest.entries, history.entries[..150]);
}

#[tokio::test]
async fn a_record_that_cannot_be_understood_is_told_as_such_and_ends_no_history() {
    let repo = Repo::new();
    let ledger = ledger_of(&repo).await;
    ledger.commit(change(&[record("shop", "host-1")])).await.unwrap();
    let work = repo.home.path().join("ledger");
    repo.git(&["worktree", "add", "--quiet", work.to_str().unwrap(), "bayplan/status"]);
    std::fs::write(work.join("status/shop.json"), "by hand").unwrap();
    repo.git(&["-C", work.to_str().unwrap(), "commit", "--quiet", "--all", "--message", "By hand"]);
    repo.git(&["-C", work.to_str().unwrap(), "revert", "--no-edit", "HEAD"]);
    let history = ledger.history(Asked::default()).await.unwrap();
    let what: Vec<What> = history.entries.iter().map(|entry| entry.happened.what).collect();
    assert_eq!(what, [What::Runs, What::Unreadable, What::Runs]);
    let blamed = ledger.blame(&slug("shop")).await.unwrap().unwrap();
    assert_eq!(Some(blamed.instances[0].commit.clone()), history.head, "nobody knows where it was meanwhile");
}

#[tokio::test]
async fn what_a_shallow_clone_lacks_is_not_taken_for_the_beginning() {
    let repo = Repo::new();
    let ledger = ledger_of(&repo).await;
    for host in ["host-1", "host-2", "host-3"] {
        ledger.commit(change(&[record("shop", host)])).await.unwrap();
    }
    repo.change("stacks/shop.yaml", "name: shop");
    let shallow = Repo::bare();
    let refs = ["main:main", "bayplan/status:bayplan/status"];
    shallow.git(&["fetch", "--quiet", "--depth", "2", &repo.url(), refs[0], refs[1]]);
    let history = ledger_of(&shallow).await.history(Asked::default()).await.unwrap();
    assert!(history.is_cut_off);
    assert_eq!(history.entries.len(), 1, "{:?}", history.entries);
}

#[tokio::test]
async fn ledgers_of_two_owners_are_not_joined() {
    let remote = Repo::bare();
    let (one, two) = (Repo::clone_of(&remote), Repo::clone_of(&remote));
    let (ours, theirs) = (ledger_of(&one).await, ledger_of(&two).await);
    let mut other = change(&[record("theirs", "host-1")]);
    other.owner = "them".to_owned();
    theirs.commit(other).await.unwrap();
    theirs.push().await.unwrap();
    ours.commit(change(&[record("ours", "host-1")])).await.unwrap();
    let error = ours.push().await.unwrap_err();
    assert!(matches!(error, LedgerError::OtherOwner { .. }), "{error}");
    assert_eq!(remote.at("bayplan/status"), two.at("bayplan/status"));
}

#[tokio::test]
async fn a_server_that_refuses_is_quoted() {
    let remote = Repo::bare();
    let here = Repo::clone_of(&remote);
    let hook = remote.path.join("hooks/update");
    std::fs::create_dir_all(hook.parent().unwrap()).unwrap();
    std::fs::write(&hook, "#!/bin/sh\nexit 1\n").unwrap();
    std::fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let ledger = ledger_of(&here).await;
    ledger.commit(change(&[record("shop", "host-1")])).await.unwrap();
    let error = ledger.push().await.unwrap_err();
    assert!(error.to_string().contains("hook declined") && error.is_transient(), "{error}");
    std::fs::remove_dir_all(&remote.path).unwrap();
    let error = ledger.push().await.unwrap_err();
    assert!(matches!(error, LedgerError::Source(_)) && error.is_transient(), "{error}");
    assert_eq!(ledger.read().await.unwrap().records.len(), 1);
}
