//! What is read of a repository in place.

use bayplan::source::{self, LARGEST_FILE, Snapshot, SourceError, TreeProblemKind};

use crate::repo::{Repo, open};

fn paths(snapshot: &Snapshot) -> Vec<&str> {
    snapshot.files.iter().map(|file| &*file.path).collect()
}

fn problems(snapshot: &Snapshot) -> Vec<(&str, TreeProblemKind)> {
    snapshot.problems.iter().map(|p| (&*p.path, p.why)).collect()
}

#[tokio::test]
async fn an_unborn_branch_has_no_head_until_its_first_commit() {
    let repo = Repo::new();
    let source = repo.source().await;
    assert_eq!(source.branch(), "main");
    assert_eq!(source.head().await.unwrap(), None);
    let first = repo.change("stacks/shop.yaml", "name: shop");
    assert_eq!(source.head().await.unwrap(), Some(first));
}

#[tokio::test]
async fn only_stack_and_host_files_are_read_and_sorted_by_path() {
    let repo = Repo::new();
    for path in [
        "stacks/b.yaml",
        "stacks/a/x.json",
        "stacks/a.yml",
        "stacks/a/deep/y.jsonld",
        "stacks/a-b.yaml",
        "stacks/notes.md",
        "stacks/.yaml",
        "hosts/one.yaml",
        "README.md",
        "other/x.yaml",
    ] {
        repo.write(path, path);
    }
    let head = repo.commit("all");
    let snapshot = repo.source().await.snapshot(&head).await.unwrap();
    assert_eq!(
        paths(&snapshot),
        [
            "hosts/one.yaml",
            "stacks/a-b.yaml",
            "stacks/a.yml",
            "stacks/a/deep/y.jsonld",
            "stacks/a/x.json",
            "stacks/b.yaml",
        ]
    );
    assert_eq!(&*snapshot.files[0].text, "hosts/one.yaml");
    assert_eq!(&*snapshot.files[0].blob, repo.git(&["rev-parse", "HEAD:hosts/one.yaml"]));
    assert!(snapshot.problems.is_empty());
    assert_eq!(source::read_work_tree(&repo.path).await.unwrap().files, snapshot.files);
}

#[tokio::test]
async fn a_bare_repository_and_a_linked_work_tree_are_read_alike() {
    let repo = Repo::new();
    let head = repo.change("stacks/shop.yaml", "name: shop");
    repo.git(&["worktree", "add", "--quiet", "-b", "next", "../next"]);
    let next = open(&repo.home.path().join("next")).await;
    assert_eq!(next.branch(), "next");
    assert_eq!(next.head().await.unwrap(), Some(head.clone()));
    assert_eq!(next.git_dir().file_name().unwrap(), ".git");
    let bare = Repo::bare();
    repo.git(&["push", "--quiet", &bare.url(), "main"]);
    let bare = bare.source().await;
    assert_eq!(bare.work_tree(), None);
    assert_eq!(paths(&bare.snapshot(&head).await.unwrap()), ["stacks/shop.yaml"]);
    assert!(bare.uncommitted().await.unwrap().is_empty());
}

#[tokio::test]
async fn an_unchanged_text_is_shared_between_snapshots_even_when_its_file_moved() {
    let repo = Repo::new();
    repo.write("stacks/a/one.yaml", "name: one");
    repo.write("stacks/two.yaml", "name: two");
    let first = repo.commit("first");
    let second = repo.change("stacks/two.yaml", "name: second");
    repo.git(&["mv", "stacks/a", "stacks/b"]);
    let third = repo.commit("third");
    let source = repo.source().await;
    let first = source.snapshot(&first).await.unwrap();
    let second = source.snapshot(&second).await.unwrap();
    let third = source.snapshot(&third).await.unwrap();
    assert_eq!(paths(&third), ["stacks/b/one.yaml", "stacks/two.yaml"]);
    for later in [&second, &third] {
        assert!(std::sync::Arc::ptr_eq(&first.files[0].text, &later.files[0].text));
        assert_eq!(&*later.files[1].text, "name: second");
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_a_problem_and_the_rest_is_read() {
    let repo = Repo::new();
    repo.write("stacks/good.yaml", "name: good");
    repo.write("stacks/large.yaml", &"#".repeat(usize::try_from(LARGEST_FILE).unwrap() + 1));
    std::fs::write(repo.path.join("stacks/latin.yaml"), b"name: caf\xe9").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", repo.path.join("stacks/link.yaml")).unwrap();
    let first = repo.commit("all");
    let module = format!("160000,{first},stacks/module");
    repo.git(&["update-index", "--add", "--cacheinfo", &module]);
    repo.git(&["commit", "--quiet", "--message", "module"]);
    let head = repo.at("HEAD");
    let snapshot = repo.source().await.snapshot(&head).await.unwrap();
    let expected = [
        ("stacks/large.yaml", TreeProblemKind::TooLarge { bytes: LARGEST_FILE + 1 }),
        ("stacks/latin.yaml", TreeProblemKind::NotUtf8),
        ("stacks/link.yaml", TreeProblemKind::Symlink),
    ];
    assert_eq!(paths(&snapshot), ["stacks/good.yaml"]);
    assert_eq!(problems(&snapshot)[..3], expected);
    assert_eq!(problems(&snapshot)[3], ("stacks/module", TreeProblemKind::Submodule));
    let on_disk = source::read_work_tree(&repo.path).await.unwrap();
    assert_eq!(paths(&on_disk), ["stacks/good.yaml"]);
    assert_eq!(problems(&on_disk), expected);
}

#[tokio::test]
async fn a_root_that_is_a_symlink_is_a_problem() {
    let repo = Repo::new();
    std::os::unix::fs::symlink("/etc", repo.path.join("stacks")).unwrap();
    let head = repo.commit("link");
    let expected = [("stacks", TreeProblemKind::Symlink)];
    let snapshot = repo.source().await.snapshot(&head).await.unwrap();
    assert_eq!(problems(&snapshot), expected);
    assert_eq!(problems(&source::read_work_tree(&repo.path).await.unwrap()), expected);
}

#[tokio::test]
async fn a_tree_with_too_many_files_ends_and_says_so() {
    let repo = Repo::new();
    let head = {
        // One folder of 1,001 files, under twenty names: small for Git, large for whoever reads it.
        let git = git2::Repository::open(&repo.path).unwrap();
        let blob = git.blob(b"name: x").unwrap();
        let mut folder = git.treebuilder(None).unwrap();
        for n in 0..1001 {
            folder.insert(format!("{n}.yaml"), blob, 0o100_644).unwrap();
        }
        let folder = folder.write().unwrap();
        let mut stacks = git.treebuilder(None).unwrap();
        for n in 0..20 {
            stacks.insert(format!("{n}"), folder, 0o040_000).unwrap();
        }
        let mut root = git.treebuilder(None).unwrap();
        root.insert("stacks", stacks.write().unwrap(), 0o040_000).unwrap();
        let tree = git.find_tree(root.write().unwrap()).unwrap();
        let who = git2::Signature::now("Tester", "tester@localhost").unwrap();
        let id = git.commit(Some("HEAD"), &who, &who, "many", &tree, &[]).unwrap();
        bayplan::name::Revision::new(&id.to_string()).unwrap()
    };
    let snapshot = repo.source().await.snapshot(&head).await.unwrap();
    assert_eq!(problems(&snapshot), [("stacks", TreeProblemKind::TooMany { count: 20_001 })]);
    assert!(snapshot.files.is_empty());
}

#[tokio::test]
async fn single_files_of_an_old_revision_are_read_wherever_they_are() {
    let repo = Repo::new();
    repo.write("env/shop.env", "A=1");
    let old = repo.change("stacks/shop.yaml", "name: old");
    repo.change("stacks/shop.yaml", "name: new");
    let wanted = ["stacks/shop.yaml", "env/shop.env", "gone", "../x", "env"].map(str::to_owned);
    let snapshot = repo.source().await.snapshot_paths(&old, &wanted).await.unwrap();
    assert_eq!(paths(&snapshot), ["env/shop.env", "stacks/shop.yaml"]);
    assert_eq!(&*snapshot.files[1].text, "name: old");
}

#[tokio::test]
async fn garbage_collection_and_packed_refs_change_nothing() {
    let repo = Repo::new();
    let first = repo.change("stacks/shop.yaml", "name: one");
    let source = repo.source().await;
    let before = source.snapshot(&first).await.unwrap();
    repo.git(&["gc", "--quiet", "--prune=now"]);
    assert_eq!(source.head().await.unwrap(), Some(first.clone()));
    let second = repo.change("stacks/shop.yaml", "name: two");
    repo.git(&["gc", "--quiet", "--prune=now"]);
    assert_eq!(source.head().await.unwrap(), Some(second.clone()));
    assert_eq!(&*source.snapshot(&second).await.unwrap().files[0].text, "name: two");
    assert_eq!(source.snapshot(&first).await.unwrap(), before);
}

#[tokio::test]
async fn uncommitted_files_are_named_and_ignored_ones_are_not() {
    let repo = Repo::new();
    repo.write(".gitignore", "*.secret.yaml");
    repo.write("stacks/a.yaml", "name: a");
    repo.change("stacks/b.yaml", "name: b");
    let source = repo.source().await;
    assert!(source.uncommitted().await.unwrap().is_empty());
    repo.write("stacks/a.yaml", "name: other");
    repo.write("stacks/new/c.yaml", "name: c");
    repo.write("stacks/d.secret.yaml", "");
    repo.write("README.md", "not ours to look at");
    std::fs::remove_file(repo.path.join("stacks/b.yaml")).unwrap();
    let named = source.uncommitted().await.unwrap();
    assert_eq!(named, ["stacks/a.yaml", "stacks/b.yaml", "stacks/new/c.yaml"]);
}

#[tokio::test]
async fn the_branch_is_the_one_that_was_checked_out_when_it_was_opened() {
    let repo = Repo::new();
    let main = repo.change("stacks/a.yaml", "name: a");
    let source = repo.source().await;
    repo.git(&["checkout", "--quiet", "-b", "other"]);
    repo.change("stacks/a.yaml", "name: other");
    assert_eq!(source.head().await.unwrap(), Some(main));
    repo.git(&["checkout", "--quiet", "--detach"]);
    let error = source::open(repo.path.to_str().unwrap(), None, &repo.cache()).await;
    assert!(matches!(error, Err(SourceError::Detached { .. })));
    let named = source::open(repo.path.to_str().unwrap(), Some("other"), &repo.cache()).await;
    assert_eq!(named.unwrap().branch(), "other");
}

#[tokio::test]
async fn a_branch_named_bayplan_is_refused_with_the_remedy() {
    let repo = Repo::new();
    repo.change("stacks/a.yaml", "name: a");
    repo.git(&["branch", "bayplan"]);
    let error = source::open(repo.path.to_str().unwrap(), None, &repo.cache()).await.unwrap_err();
    assert!(matches!(error, SourceError::BranchInTheWay) && error.to_string().contains("git branch -m"));
    assert!(!error.is_transient());
}

#[tokio::test]
async fn another_users_repository_is_refused_with_the_remedy() {
    let repo = Repo::bare();
    if std::os::unix::fs::chown(&repo.path, Some(65_534), None).is_err() {
        // Only root can give a folder away; without it there is nothing to see here.
        return;
    }
    let error = source::open(repo.path.to_str().unwrap(), None, &repo.cache()).await.unwrap_err();
    assert!(error.to_string().contains("safe.directory"), "{error}");
}

#[tokio::test]
async fn a_folder_without_git_is_no_repository_but_can_be_validated() {
    let folder = tempfile::TempDir::new().unwrap();
    let location = folder.path().to_str().unwrap();
    let error = source::open(location, None, folder.path()).await;
    assert!(matches!(error, Err(SourceError::NotARepository { .. })));
    assert!(source::read_work_tree(folder.path()).await.unwrap().files.is_empty());
    assert!(source::read_work_tree(&folder.path().join("missing")).await.is_err());
}
