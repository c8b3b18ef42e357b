//! What wakes the watch, and what does not.

use std::time::{Duration, Instant};

use bayplan::ledger;
use bayplan::watch::{self, Watch, WatchError};

use crate::records::{change, record};
use crate::repo::{Repo, open};

const QUIET: Duration = Duration::from_millis(5);

/// Far above what an event takes, so that a slow machine fails nothing.
const LIMIT: Duration = Duration::from_secs(20);

async fn must_wake(watch: &mut Watch, what: &str) -> Result<(), WatchError> {
    match tokio::time::timeout(LIMIT, watch.changed()).await {
        Ok(answer) => answer,
        Err(_) => panic!("nothing woke within {LIMIT:?} after {what}"),
    }
}

#[tokio::test]
async fn a_commit_a_push_and_packed_refs_wake() {
    let repo = Repo::new();
    repo.commit("first");
    let mut watch = watch::watch(&repo.path.join(".git"), QUIET).unwrap();
    repo.commit("second");
    must_wake(&mut watch, "a commit").await.unwrap();
    repo.git(&["branch", "deep/er/branch"]);
    must_wake(&mut watch, "a new branch").await.unwrap();
    repo.git(&["pack-refs", "--all"]);
    must_wake(&mut watch, "pack-refs").await.unwrap();

    let bare = Repo::bare();
    let mut watch = watch::watch(&bare.path, QUIET).unwrap();
    repo.git(&["push", "--quiet", &bare.url(), "main"]);
    must_wake(&mut watch, "a push").await.unwrap();
}

#[tokio::test]
async fn a_linked_work_tree_wakes_by_the_common_folder() {
    let repo = Repo::new();
    repo.commit("first");
    repo.git(&["worktree", "add", "--quiet", "-b", "next", "../next"]);
    let mut watch = watch::watch(&repo.path.join(".git/worktrees/next"), QUIET).unwrap();
    repo.commit("second");
    must_wake(&mut watch, "a commit").await.unwrap();
}

#[tokio::test]
async fn our_own_ledger_commit_does_not_wake() {
    let repo = Repo::new();
    repo.commit("first");
    let ledger = ledger::open(&open(&repo.path).await).await.unwrap();
    let mut watch = watch::watch(&repo.path.join(".git"), QUIET).unwrap();
    for n in 0..20 {
        ledger.commit(change(&[record(&format!("s{n}"), "host-1")])).await.unwrap().unwrap();
    }
    // Events come in order: had one of ours counted, it would have been told before this commit was made.
    let early = tokio::time::timeout(Duration::from_millis(200), watch.changed()).await;
    assert!(early.is_err(), "a ledger commit woke");
    repo.commit("second");
    must_wake(&mut watch, "a commit").await.unwrap();
}

#[tokio::test]
async fn a_change_is_not_lost_when_waiting_is_given_up() {
    let repo = Repo::new();
    let mut watch = watch::watch(&repo.path.join(".git"), Duration::from_millis(40)).unwrap();
    repo.commit("first");
    let begun = Instant::now();
    // Given up again and again, also in the midst of the quiet period.
    while tokio::time::timeout(Duration::from_millis(3), watch.changed()).await.is_err() {
        assert!(begun.elapsed() < LIMIT, "the change was lost");
    }
}

#[tokio::test]
async fn many_changes_at_once_are_few_awakenings() {
    let repo = Repo::new();
    repo.commit("first");
    let mut watch = watch::watch(&repo.path.join(".git"), QUIET).unwrap();
    let head = repo.at("HEAD");
    let commands: String = (0..500).map(|n| format!("create refs/heads/b{n} {head}\n")).collect();
    let script = repo.home.path().join("refs.txt");
    std::fs::write(&script, commands).unwrap();
    let mut update = std::process::Command::new("git")
        .args(["update-ref", "--stdin"])
        .current_dir(&repo.path)
        .stdin(std::fs::File::open(&script).unwrap())
        .spawn()
        .unwrap();
    let mut awakenings = 0;
    must_wake(&mut watch, "500 new branches").await.unwrap();
    assert!(update.wait().unwrap().success());
    while tokio::time::timeout(Duration::from_millis(200), watch.changed()).await.is_ok() {
        awakenings += 1;
    }
    assert!(awakenings < 50, "{awakenings}");
}

#[tokio::test]
async fn a_repository_that_is_removed_ends_the_watch_with_an_error() {
    let repo = Repo::bare();
    let mut watch = watch::watch(&repo.path, QUIET).unwrap();
    std::fs::remove_dir_all(&repo.path).unwrap();
    while must_wake(&mut watch, "the removal").await.is_ok() {}
    assert!(must_wake(&mut watch, "the end").await.is_err());
}

#[tokio::test]
async fn what_is_no_repository_is_not_watched() {
    let folder = tempfile::TempDir::new().unwrap();
    let error = watch::watch(folder.path(), QUIET);
    assert!(matches!(error, Err(WatchError::NotARepository { .. })));
    assert!(watch::watch(&folder.path().join("missing"), QUIET).is_err());
}
