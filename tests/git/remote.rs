//! Repositories that are elsewhere.

use bayplan::source::{self, SourceError};

use crate::repo::Repo;

#[tokio::test]
async fn a_url_is_mirrored_and_fetched() {
    let remote = Repo::new();
    remote.git(&["checkout", "--quiet", "-b", "trunk"]);
    let first = remote.change("stacks/shop.yaml", "name: shop");
    let cache = Repo::bare();
    let source = source::open(&remote.url(), None, &cache.cache()).await.unwrap();
    assert_eq!(source.branch(), "trunk");
    assert!(source.is_mirror());
    source.fetch().await.unwrap();
    assert_eq!(source.head().await.unwrap(), Some(first.clone()));
    assert_eq!(source.snapshot(&first).await.unwrap().files.len(), 1);
    let second = remote.change("stacks/shop.yaml", "name: two");
    assert_eq!(source.head().await.unwrap(), Some(first));
    source.fetch().await.unwrap();
    assert_eq!(source.head().await.unwrap(), Some(second));
}

#[tokio::test]
async fn a_rewritten_branch_is_followed_and_a_removed_one_is_gone() {
    let remote = Repo::new();
    remote.change("stacks/a.yaml", "1");
    remote.change("stacks/a.yaml", "2");
    remote.git(&["branch", "other"]);
    let cache = Repo::bare();
    let source = source::open(&remote.url(), Some("main"), &cache.cache()).await.unwrap();
    source.fetch().await.unwrap();
    remote.git(&["reset", "--quiet", "--hard", "HEAD~1"]);
    let rewritten = remote.change("stacks/a.yaml", "3");
    source.fetch().await.unwrap();
    assert_eq!(source.head().await.unwrap(), Some(rewritten));
    remote.git(&["checkout", "--quiet", "other"]);
    remote.git(&["branch", "-D", "main"]);
    source.fetch().await.unwrap();
    assert_eq!(source.head().await.unwrap(), None);
}

#[tokio::test]
async fn an_empty_remote_repository_has_an_unborn_branch() {
    let remote = Repo::bare();
    let cache = Repo::bare();
    let source = source::open(&remote.url(), Some("main"), &cache.cache()).await.unwrap();
    source.fetch().await.unwrap();
    assert_eq!(source.head().await.unwrap(), None);
}

#[tokio::test]
async fn what_was_mirrored_is_readable_while_the_remote_is_away() {
    let remote = Repo::new();
    let head = remote.change("stacks/a.yaml", "1");
    let cache = Repo::bare();
    let source = source::open(&remote.url(), None, &cache.cache()).await.unwrap();
    source.fetch().await.unwrap();
    std::fs::rename(&remote.path, remote.home.path().join("away")).unwrap();
    let error = source.fetch().await.unwrap_err();
    assert!(matches!(&error, SourceError::Git { act, .. } if act == "fetch") && error.is_transient(), "{error}");
    let again = source::open(&remote.url(), None, &cache.cache()).await.unwrap();
    assert_eq!((again.branch(), again.head().await.unwrap()), ("main", Some(head)));
    let never_seen = Repo::bare();
    assert!(source::open(&remote.url(), None, &never_seen.cache()).await.is_err());
}

#[tokio::test]
async fn a_remote_branch_named_bayplan_is_refused() {
    let remote = Repo::new();
    remote.change("stacks/a.yaml", "1");
    remote.git(&["branch", "bayplan"]);
    let cache = Repo::bare();
    let error = source::open(&remote.url(), None, &cache.cache()).await;
    assert!(matches!(error, Err(SourceError::BranchInTheWay)));
}

#[tokio::test]
async fn hooks_and_settings_of_the_environment_are_not_used() {
    let remote = Repo::new();
    remote.change("stacks/a.yaml", "1");
    let cache = Repo::bare();
    let source = source::open(&remote.url(), None, &cache.cache()).await.unwrap();
    let hooks = source.git_dir().join("hooks");
    std::fs::create_dir_all(&hooks).unwrap();
    let hook = hooks.join("reference-transaction");
    std::fs::write(&hook, "#!/bin/sh\nexit 1\n").unwrap();
    std::fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    source.fetch().await.unwrap();
    assert!(source.head().await.unwrap().is_some());
}
