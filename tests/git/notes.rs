//! Notes beside commits: read by Git, compared and swapped, joined and pushed without force.

use bayplan::ledger::{self, Pushed, StatusBranch};
use bayplan::name::StackSlug;

use crate::repo::Repo;

async fn ledger_of(repo: &Repo) -> StatusBranch {
    ledger::open(&repo.source().await).await.expect("the repository opens")
}

fn slug(text: &str) -> StackSlug {
    StackSlug::new(text).expect("a slug")
}

fn note(repo: &Repo, of: &str) -> String {
    repo.git(&["notes", "--ref=bayplan", "show", of])
}

#[tokio::test]
async fn git_shows_what_became_of_each_commit_and_no_branch_moves() {
    let repo = Repo::new();
    let (first, second) = (repo.change("stacks/shop.yaml", "1"), repo.change("stacks/shop.yaml", "2"));
    let branches = || repo.git(&["for-each-ref", "refs/heads"]);
    let before = branches();
    let ledger = ledger_of(&repo).await;
    ledger.note(&first, &slug("shop"), "running on host-1").await.unwrap();
    ledger.note(&second, &slug("shop"), "failed: it exited").await.unwrap();
    ledger.note(&second, &slug("blog"), "running on host-2").await.unwrap();
    ledger.note(&second, &slug("shop"), "rolled back: it exited").await.unwrap();
    let log = repo.git(&["log", "--format=%s%n%N", "--notes=bayplan", "main"]);
    let said = "change stacks/shop.yaml\nblog: running on host-2\nshop: rolled back: it exited\n\n\
                change stacks/shop.yaml\nshop: running on host-1";
    assert_eq!(log, said);
    assert_eq!(branches(), before);
    let commits = || repo.git(&["rev-list", "--count", "refs/notes/bayplan"]);
    assert_eq!(commits(), "4");
    ledger.note(&first, &slug("shop"), "running on host-1").await.unwrap();
    assert_eq!(commits(), "4", "what is noted already makes no commit");
}

#[tokio::test]
async fn notes_are_found_and_kept_where_git_has_cut_them_into_folders() {
    let repo = Repo::new();
    let mut commits = Vec::new();
    for number in 0..300 {
        commits.push(repo.commit(&format!("Commit {number}")));
    }
    // Enough for Git to make folders, in one process.
    repo.git(&["notes", "--ref=bayplan", "add", "-m", "blog: running on host-9", commits[0].as_str()]);
    let copies: String = commits[1..].iter().map(|commit| format!("{} {commit}\n", commits[0])).collect();
    repo.write("copies", &copies);
    let copy = "alias.copy=!git notes --ref=bayplan copy --stdin < copies";
    repo.git(&["-c", copy, "copy"]);
    assert!(repo.git(&["ls-tree", "refs/notes/bayplan"]).contains("040000 tree"), "there are folders");
    let ledger = ledger_of(&repo).await;
    ledger.note(&commits[7], &slug("shop"), "running on host-1").await.unwrap();
    assert_eq!(note(&repo, commits[7].as_str()), "blog: running on host-9\nshop: running on host-1");
    assert_eq!(note(&repo, commits[8].as_str()), "blog: running on host-9");
    assert_eq!(repo.git(&["notes", "--ref=bayplan", "list"]).lines().count(), 300);
}

#[tokio::test]
async fn two_who_note_at_once_keep_each_others_lines() {
    let remote = Repo::bare();
    let one = Repo::clone_of(&remote);
    let commit = one.change("stacks/shop.yaml", "1");
    let other = one.change("stacks/shop.yaml", "2");
    one.git(&["push", "--quiet", "origin", "main"]);
    let two = Repo::clone_of(&remote);
    let (first, second) = (ledger_of(&one).await, ledger_of(&two).await);
    first.note(&commit, &slug("shop"), "running on host-1").await.unwrap();
    assert_eq!(first.push_notes().await.unwrap(), Pushed::Done);
    assert_eq!(first.push_notes().await.unwrap(), Pushed::UpToDate);
    second.note(&commit, &slug("blog"), "running on host-2").await.unwrap();
    second.note(&other, &slug("shop"), "removed").await.unwrap();
    assert_eq!(second.push_notes().await.unwrap(), Pushed::Behind);
    assert_eq!(second.push_notes().await.unwrap(), Pushed::Done);
    assert_eq!(note(&remote, commit.as_str()), "blog: running on host-2\nshop: running on host-1");
    assert_eq!(note(&remote, other.as_str()), "shop: removed");
    first.note(&other, &slug("blog"), "removed").await.unwrap();
    assert_eq!(first.push_notes().await.unwrap(), Pushed::Behind);
    assert_eq!(first.push_notes().await.unwrap(), Pushed::Done);
    assert_eq!(note(&remote, other.as_str()), "blog: removed\nshop: removed");
    // The ledger has nothing to do with it.
    assert_eq!(first.push().await.unwrap(), Pushed::UpToDate);
}
