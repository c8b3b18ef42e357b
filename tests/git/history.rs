//! What is asked of the history.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bayplan::name::Revision;
use bayplan::source::{self, Source, SourceError};

use crate::repo::{Repo, open};

const FILES: [&str; 5] = ["stacks/a.yaml", "stacks/b.yaml", "stacks/c/d.yaml", "hosts/h.yaml", "env/x"];

fn wanted(paths: &[&str]) -> BTreeSet<Arc<str>> {
    paths.iter().map(|path| Arc::from(*path)).collect()
}

/// What `git log` says of each file.
fn by_git(repo: &Repo, head: &Revision, paths: &BTreeSet<Arc<str>>) -> BTreeMap<Arc<str>, Revision> {
    let last = |path: &Arc<str>| {
        let id = repo.git(&["log", "-1", "--format=%H", head.as_str(), "--", path]);
        Some((Arc::clone(path), Revision::new(&id).ok()?))
    };
    paths.iter().filter_map(last).collect()
}

async fn check(repo: &Repo, source: &Source, head: &Revision) {
    let paths = wanted(&FILES);
    let found = source.last_changes(head, &paths).await.unwrap();
    assert_eq!(found, by_git(repo, head, &paths), "{}", repo.git(&["log", "--graph", "--stat"]));
}

#[tokio::test]
async fn the_last_change_is_what_git_log_says_over_random_histories_with_merges() {
    // A small generator of its own, so that a failure can be seen again by its seed.
    for seed in 1..=6_u64 {
        let repo = Repo::new();
        let source = repo.source().await;
        let mut state = seed;
        let mut next = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        repo.change(FILES[0], "first");
        for step in 0..14 {
            let file = FILES[usize::try_from(next(5)).unwrap()];
            match next(6) {
                0 => {
                    repo.git(&["checkout", "--quiet", "-B", &format!("side{}", next(2))]);
                }
                1 if repo.try_git(&["rev-parse", "--verify", "side0"]).status.success() => {
                    let strategy = ["ours", "theirs"][usize::try_from(next(2)).unwrap()];
                    repo.try_git(&["merge", "--quiet", "--no-ff", "--no-edit", "-X", strategy, "side0"]);
                    repo.commit("merged");
                }
                2 if repo.path.join(file).exists() && next(2) == 0 => {
                    std::fs::remove_file(repo.path.join(file)).unwrap();
                    repo.commit("removed");
                }
                3 => {
                    repo.git(&["checkout", "--quiet", "-B", "main"]);
                }
                _ => {
                    repo.change(file, &format!("{}", next(3) + step));
                }
            }
            if step % 3 == 0 {
                check(&repo, &source, &repo.at("HEAD")).await;
            }
        }
        let head = repo.at("HEAD");
        check(&repo, &source, &head).await;
        check(&repo, &repo.source().await, &head).await;
    }
}

#[tokio::test]
async fn last_changes_follow_a_history_that_was_rewritten() {
    let repo = Repo::new();
    repo.change(FILES[0], "1");
    let source = repo.source().await;
    check(&repo, &source, &repo.change(FILES[1], "1")).await;
    check(&repo, &source, &repo.change(FILES[0], "2")).await;
    repo.git(&["reset", "--quiet", "--hard", "HEAD~2"]);
    check(&repo, &source, &repo.change(FILES[2], "other")).await;
}

#[tokio::test]
async fn a_path_that_is_asked_for_later_is_found_beneath_what_was_walked() {
    let repo = Repo::new();
    let first = repo.change("stacks/a.yaml", "1");
    let head = repo.change("stacks/b.yaml", "1");
    let source = repo.source().await;
    source.last_changes(&head, &wanted(&["stacks/b.yaml"])).await.unwrap();
    let newer = repo.change("stacks/b.yaml", "2");
    let both = source.last_changes(&newer, &wanted(&["stacks/a.yaml", "stacks/b.yaml", "never"])).await;
    let expected = [("stacks/a.yaml", first), ("stacks/b.yaml", newer)];
    assert_eq!(both.unwrap(), expected.map(|(path, id)| (Arc::from(path), id)).into());
}

#[tokio::test]
async fn trailers_are_those_of_commits_after_the_given_one() {
    let repo = Repo::new();
    repo.commit("one\n\nBayplan-Allow-Removal: old");
    let record = repo.commit("two");
    repo.commit("three\n\nSigned-off-by: A <a@b>\nbayplan-allow-removal: abc\nBayplan-Leave-Volume: shop/data");
    let head = repo.commit("a Bayplan-Allow-Removal: in the text is none");
    let source = repo.source().await;
    let found = |trailers: Vec<source::Trailer>| -> Vec<(String, String)> {
        trailers.into_iter().map(|t| (t.key, t.value)).collect()
    };
    let expected = [
        ("Bayplan-Allow-Removal".to_owned(), "abc".to_owned()),
        ("Bayplan-Leave-Volume".to_owned(), "shop/data".to_owned()),
    ];
    let newer = source.trailers(&head, Some(&record)).await.unwrap();
    assert_eq!(newer[0].revision, repo.at("HEAD~1"));
    assert_eq!(found(newer), expected);
    assert_eq!(found(source.trailers(&head, None).await.unwrap()).len(), 3);
    assert!(source.trailers(&head, Some(&head)).await.unwrap().is_empty());
    let nowhere = Revision::new(&"1".repeat(40)).unwrap();
    let error = source.trailers(&head, Some(&nowhere)).await;
    assert!(matches!(error, Err(SourceError::NoSuchRevision { .. })));
}

#[tokio::test]
async fn the_root_commit_is_the_same_as_the_history_grows() {
    let repo = Repo::new();
    let root = repo.commit("root");
    let source = repo.source().await;
    for _ in 0..3 {
        let head = repo.commit("more");
        assert_eq!(source.root_commit(&head).await.unwrap(), root);
    }
}

#[tokio::test]
async fn a_shallow_clone_does_not_know_its_root_and_says_what_to_do() {
    let repo = Repo::new();
    repo.change("stacks/a.yaml", "1");
    let head = repo.change("stacks/b.yaml", "1");
    repo.git(&["clone", "--quiet", "--depth=1", &repo.url(), "../shallow"]);
    let shallow = open(&repo.home.path().join("shallow")).await;
    let error = shallow.root_commit(&head).await.unwrap_err();
    assert!(matches!(error, SourceError::Shallow) && error.to_string().contains("--unshallow"));
    // As `git log` there: everything is as old as the clone.
    let last = shallow.last_changes(&head, &wanted(&["stacks/a.yaml"])).await.unwrap();
    assert_eq!(last["stacks/a.yaml"], head);
}
