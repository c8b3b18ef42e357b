//! What holds for a repository in Git and for the simulated one alike. Only what passes here may stand for Git.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bayplan::ledger::{self, Change, LedgerError, Pushed, StatusBranch};
use bayplan::model::record::{BadMark, Tried};
use bayplan::model::stack::OnFailure;
use bayplan::name::{Digest, HostName, Revision, StackSlug};
use bayplan::source::{LARGEST_FILE, SourceError, TreeProblemKind};

use crate::records::{change, record};
use crate::subject::{Kind, Subject};

/// Far above what an event takes, so that a slow machine fails nothing.
const LIMIT: Duration = Duration::from_secs(20);

fn slug(text: &str) -> StackSlug {
    StackSlug::new(text).unwrap()
}

fn wanted(paths: &[&str]) -> BTreeSet<Arc<str>> {
    paths.iter().map(|path| Arc::from(*path)).collect()
}

/// Each clause is a test for Git and one for memory.
macro_rules! contract {
    ($($clause:ident)*) => {
        mod git {
            $(#[tokio::test]
            async fn $clause() {
                super::$clause(crate::subject::Kind::Git).await;
            })*
        }
        mod in_memory {
            $(#[tokio::test]
            async fn $clause() {
                super::$clause(crate::subject::Kind::Memory).await;
            })*
        }
    };
}

contract! {
    a_branch_has_no_head_before_its_first_commit_nor_when_it_is_gone
    stack_and_host_files_are_read_in_order_with_the_ids_of_git
    what_cannot_be_read_is_a_problem
    files_of_an_old_revision_are_read_wherever_they_are
    the_last_change_is_the_first_that_git_log_shows
    trailers_are_those_of_newer_commits_the_newest_first
    the_root_commit_stays_as_the_history_grows
    a_commit_tells_of_itself_and_the_ledger_does_not
    a_mirror_sees_what_it_fetched
    what_is_committed_is_read_back_and_nothing_new_makes_no_commit
    stacks_that_a_change_does_not_name_stay
    the_log_has_sentences_and_trailers
    another_owners_ledger_is_not_written
    writers_at_once_lose_nothing_of_each_other
    a_lock_is_named_and_nothing_is_lost
    a_ledger_is_pushed_and_a_fresh_clone_builds_on_it
    a_remote_ledger_that_is_ahead_is_built_on
    a_lost_race_joins_both_ledgers
    ledgers_of_two_owners_are_not_joined
    a_remote_repository_that_is_away_is_worth_waiting_for
}

async fn a_branch_has_no_head_before_its_first_commit_nor_when_it_is_gone(kind: Kind) {
    let subject = Subject::new(kind);
    let source = subject.source().await;
    assert_eq!(
        (source.branch(), source.is_mirror(), source.work_tree().is_some()),
        ("main", false, matches!(kind, Kind::Git))
    );
    assert_eq!(source.head().await.unwrap(), None);
    let first = subject.change("stacks/shop.yaml", "name: shop");
    assert_eq!(source.head().await.unwrap().as_ref(), Some(&first));
    subject.change("stacks/shop.yaml", "name: other");
    subject.set_main(&first);
    assert_eq!(source.head().await.unwrap(), Some(first));
    subject.remove_main();
    assert_eq!(source.head().await.unwrap(), None);
    source.fetch().await.unwrap();
}

async fn stack_and_host_files_are_read_in_order_with_the_ids_of_git(kind: Kind) {
    let subject = Subject::new(kind);
    let inert = ["stacks/notes.md", "stacks/.yaml", "README.md", "other/x.yaml", "stacks-old/x.yaml", "x.yaml"];
    let read = [
        "hosts/one.yaml",
        "stacks/a-b.yaml",
        "stacks/a.yml",
        "stacks/a/deep/y.jsonld",
        "stacks/a/x.json",
        "stacks/b.yaml",
    ];
    inert.iter().chain(&read).for_each(|path| subject.write(path, path));
    let head = subject.commit("all");
    let source = subject.source().await;
    let snapshot = source.snapshot(&head).await.unwrap();
    let paths: Vec<&str> = snapshot.files.iter().map(|file| &*file.path).collect();
    assert_eq!(paths, read);
    assert_eq!(snapshot.revision, Some(head));
    let one = &snapshot.files[0];
    // `printf hosts/one.yaml | git hash-object --stdin`
    assert_eq!((&*one.text, &*one.blob), ("hosts/one.yaml", "e5394ad6f6c76fe6cee67e5b76bead128988c768"));
    assert!(snapshot.problems.is_empty());
    let nowhere = source.snapshot(&Revision::new(&"1".repeat(40)).unwrap()).await;
    assert!(matches!(nowhere, Err(SourceError::NoSuchRevision { .. })));
}

async fn what_cannot_be_read_is_a_problem(kind: Kind) {
    let subject = Subject::new(kind);
    subject.write("stacks/good.yaml", "name: good");
    subject.write("stacks/large.yaml", &"#".repeat(usize::try_from(LARGEST_FILE).unwrap() + 1));
    subject.link("stacks/link.yaml");
    let head = subject.commit("all");
    let snapshot = subject.source().await.snapshot(&head).await.unwrap();
    let problems: Vec<_> = snapshot.problems.iter().map(|p| (&*p.path, p.why)).collect();
    let large = TreeProblemKind::TooLarge { bytes: LARGEST_FILE + 1 };
    assert_eq!(problems, [("stacks/large.yaml", large), ("stacks/link.yaml", TreeProblemKind::Symlink)]);
    assert_eq!(snapshot.files.len(), 1);
}

async fn files_of_an_old_revision_are_read_wherever_they_are(kind: Kind) {
    let subject = Subject::new(kind);
    subject.write("env/shop.env", "A=1");
    let old = subject.change("stacks/shop.yaml", "name: old");
    subject.change("stacks/shop.yaml", "name: new");
    let wanted = ["stacks/shop.yaml", "env/shop.env", "gone", "../x", "env"].map(str::to_owned);
    let snapshot = subject.source().await.snapshot_paths(&old, &wanted).await.unwrap();
    let found: Vec<_> = snapshot.files.iter().map(|file| (&*file.path, &*file.text)).collect();
    assert_eq!(found, [("env/shop.env", "A=1"), ("stacks/shop.yaml", "name: old")]);
}

async fn the_last_change_is_the_first_that_git_log_shows(kind: Kind) {
    let subject = Subject::new(kind);
    let paths = wanted(&["stacks/a", "stacks/b", "stacks/c", "stacks/never"]);
    let source = subject.source().await;
    let first = subject.change("stacks/a", "1");
    let b = subject.change("stacks/b", "1");
    subject.change("stacks/a", "2");
    let back = subject.change("stacks/a", "1");
    let found = source.last_changes(&back, &paths).await.unwrap();
    assert_eq!(found, [(Arc::from("stacks/a"), back.clone()), (Arc::from("stacks/b"), b.clone())].into());
    assert_eq!(source.last_changes(&b, &paths).await.unwrap()["stacks/a"], first);
    subject.remove("stacks/b");
    let removed = subject.commit("b goes");
    let (side, merged) = subject.merge_beside("stacks/c", "1", &b);
    let found = source.last_changes(&merged, &paths).await.unwrap();
    let expected = [("stacks/a", back), ("stacks/b", removed), ("stacks/c", side)];
    assert_eq!(found, expected.map(|(path, at)| (Arc::from(path), at)).into());
}

async fn trailers_are_those_of_newer_commits_the_newest_first(kind: Kind) {
    let subject = Subject::new(kind);
    subject.commit("one\n\nBayplan-Allow-Removal: old");
    let record = subject.commit("two");
    let third =
        subject.commit("three\n\nSigned-off-by: A <a@b>\nbayplan-allow-removal: abc\nBayplan-Leave-Volume: a/b");
    let head = subject.commit("a Bayplan-Allow-Removal: in the text is none");
    let source = subject.source().await;
    let newer = source.trailers(&head, Some(&record)).await.unwrap();
    let found: Vec<_> = newer.iter().map(|t| (&t.revision, t.key.as_str(), t.value.as_str())).collect();
    assert_eq!(found, [(&third, "Bayplan-Allow-Removal", "abc"), (&third, "Bayplan-Leave-Volume", "a/b")]);
    let all = source.trailers(&head, None).await.unwrap();
    assert_eq!(all.iter().map(|t| t.value.as_str()).collect::<Vec<_>>(), ["abc", "a/b", "old"]);
    assert!(source.trailers(&head, Some(&head)).await.unwrap().is_empty());
    assert!(source.contains(&head, &record).await.unwrap() && !source.contains(&record, &head).await.unwrap());
    let nowhere = Revision::new(&"1".repeat(40)).unwrap();
    assert!(matches!(source.contains(&head, &nowhere).await, Err(SourceError::NoSuchRevision { .. })));
    assert!(matches!(source.trailers(&head, Some(&nowhere)).await, Err(SourceError::NoSuchRevision { .. })));
}

async fn the_root_commit_stays_as_the_history_grows(kind: Kind) {
    let subject = Subject::new(kind);
    let root = subject.change("stacks/a.yaml", "1");
    let source = subject.source().await;
    let second = subject.change("stacks/a.yaml", "2");
    assert_eq!(source.root_commit(&second).await.unwrap(), root);
    let (_, merged) = subject.merge_beside("stacks/b.yaml", "1", &root);
    assert_eq!(source.root_commit(&merged).await.unwrap(), root);
}

async fn a_commit_tells_of_itself_and_the_ledger_does_not(kind: Kind) {
    let subject = Subject::new(kind);
    subject.change("stacks/a.yaml", "1");
    let mut moves = subject.source().await.moves(Duration::from_millis(5)).unwrap();
    subject.ledger().await.commit(change(&[record("shop", "host-1")])).await.unwrap().unwrap();
    let silence = tokio::time::timeout(Duration::from_millis(100), moves.changed()).await;
    assert!(silence.is_err(), "the ledger's commit is no reason to look again");
    subject.change("stacks/a.yaml", "2");
    tokio::time::timeout(LIMIT, moves.changed()).await.expect("a commit is told").unwrap();
}

async fn a_mirror_sees_what_it_fetched(kind: Kind) {
    let subject = Subject::new(kind);
    let first = subject.change("stacks/a.yaml", "1");
    let mirror = subject.mirror().await;
    assert!(mirror.is_mirror() && mirror.uncommitted().await.unwrap().is_empty());
    mirror.fetch().await.unwrap();
    assert_eq!(mirror.head().await.unwrap(), Some(first.clone()));
    let second = subject.change("stacks/a.yaml", "2");
    assert_eq!(mirror.head().await.unwrap(), Some(first.clone()));
    mirror.fetch().await.unwrap();
    assert_eq!(mirror.head().await.unwrap(), Some(second));
    subject.set_main(&first);
    mirror.fetch().await.unwrap();
    assert_eq!(mirror.head().await.unwrap(), Some(first));
    let ledger = ledger::open(&mirror).await.unwrap();
    let commit = ledger.commit(change(&[record("shop", "host-1")])).await.unwrap();
    assert_eq!(subject.ledger_at(), None);
    assert_eq!(ledger.push().await.unwrap(), Pushed::Done);
    assert_eq!(subject.ledger_at(), commit);
    subject.remove_main();
    mirror.fetch().await.unwrap();
    assert_eq!(mirror.head().await.unwrap(), None);
}

async fn what_is_committed_is_read_back_and_nothing_new_makes_no_commit(kind: Kind) {
    let subject = Subject::bare(kind);
    let ledger = subject.ledger().await;
    assert_eq!(ledger.read().await.unwrap().commit, None);
    assert!(ledger.log(9).await.unwrap().is_empty());
    assert_eq!(ledger.push().await.unwrap(), Pushed::NoRemote);
    let both = change(&[record("shop", "host-1"), record("blog", "host-2")]);
    let commit = ledger.commit(both.clone()).await.unwrap();
    assert!(commit.is_some());
    assert_eq!(ledger.commit(Change { message: "again".to_owned(), ..both }).await.unwrap(), None);
    for ledger in [ledger, subject.ledger().await] {
        let read = ledger.read().await.unwrap();
        assert_eq!((&read.commit, read.owner.as_deref()), (&commit, Some("us")));
        assert_eq!(read.records.len(), 2);
        assert_eq!(read.records[&slug("shop")], record("shop", "host-1"));
    }
    assert_eq!(subject.ledger_at(), commit);
}

async fn stacks_that_a_change_does_not_name_stay(kind: Kind) {
    let subject = Subject::bare(kind);
    let ledger = subject.ledger().await;
    ledger.commit(change(&[record("shop", "host-1"), record("blog", "host-2")])).await.unwrap();
    let mut next = change(&[]);
    next.records.insert(slug("shop"), None);
    next.records.insert(slug("never-was"), None);
    ledger.commit(next.clone()).await.unwrap().unwrap();
    assert_eq!(ledger.commit(next).await.unwrap(), None);
    let read = ledger.read().await.unwrap();
    assert_eq!(read.records.keys().collect::<Vec<_>>(), [&slug("blog")]);
    let mut moved = record("blog", "host-1");
    moved.status = bayplan::model::record::StackStatus::Degraded;
    ledger.commit(change(std::slice::from_ref(&moved))).await.unwrap().unwrap();
    assert_eq!(subject.ledger().await.read().await.unwrap().records[&slug("blog")], moved);
}

async fn the_log_has_sentences_and_trailers(kind: Kind) {
    let subject = Subject::bare(kind);
    let ledger = subject.ledger().await;
    let mut first = change(&[record("shop", "host-1")]);
    first.message = "Deploy shop\n\nweb goes to host-1.".to_owned();
    first.trailers = [("Bayplan-Result", "running"), ("Bayplan-Plan", "a\nb")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
    ledger.commit(first).await.unwrap();
    let last = ledger.commit(change(&[record("blog", "host-1")])).await.unwrap();
    let log = ledger.log(9).await.unwrap();
    assert_eq!((log.len(), Some(&log[0].revision)), (2, last.as_ref()));
    assert_eq!((log[0].message.as_str(), log[0].trailers.len()), ("Deploy", 0));
    assert_eq!(log[1].message, "Deploy shop\n\nweb goes to host-1.");
    let trailers: Vec<_> = log[1].trailers.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(trailers, [("Bayplan-Result", "running"), ("Bayplan-Plan", "a b")]);
    assert_eq!(ledger.log(1).await.unwrap().len(), 1);
}

async fn another_owners_ledger_is_not_written(kind: Kind) {
    let subject = Subject::bare(kind);
    let ledger = subject.ledger().await;
    ledger.commit(change(&[record("shop", "host-1")])).await.unwrap();
    let mut theirs = change(&[]);
    theirs.owner = "them".to_owned();
    let error = ledger.commit(theirs).await.unwrap_err();
    assert!(matches!(error, LedgerError::OtherOwner { .. }) && !error.is_transient());
    assert_eq!(ledger.read().await.unwrap().owner.as_deref(), Some("us"));
}

async fn writers_at_once_lose_nothing_of_each_other(kind: Kind) {
    let subject = Subject::bare(kind);
    let write = async |ledger: StatusBranch, writer: u32| {
        for n in 0..10 {
            let change = change(&[record(&format!("w{writer}-{n}"), "host-1")]);
            // Losing five races in a row is an answer, too: the caller's next pass tries again.
            let begun = std::time::Instant::now();
            while let Err(error) = ledger.commit(change.clone()).await {
                assert!(error.is_transient() && begun.elapsed() < LIMIT, "{error}");
            }
        }
    };
    let (one, other) = (subject.ledger().await, subject.ledger().await);
    tokio::join!(write(one, 1), write(other, 2));
    let read = subject.ledger().await;
    assert_eq!(read.read().await.unwrap().records.len(), 20);
    assert_eq!(read.log(99).await.unwrap().len(), 20);
}

async fn a_lock_is_named_and_nothing_is_lost(kind: Kind) {
    let subject = Subject::bare(kind);
    let ledger = subject.ledger().await;
    ledger.commit(change(&[record("shop", "host-1")])).await.unwrap();
    let unlock = subject.lock();
    let error = ledger.commit(change(&[record("blog", "host-1")])).await.unwrap_err();
    assert!(matches!(error, LedgerError::Locked { .. }) && error.is_transient(), "{error}");
    assert!(error.to_string().contains(".lock"));
    assert_eq!(ledger.read().await.unwrap().records.len(), 1);
    unlock();
    assert!(ledger.commit(change(&[record("blog", "host-1")])).await.unwrap().is_some());
}

async fn a_ledger_is_pushed_and_a_fresh_clone_builds_on_it(kind: Kind) {
    let remote = Subject::bare(kind);
    let here = remote.cloned();
    let ledger = here.ledger().await;
    assert_eq!(ledger.push().await.unwrap(), Pushed::UpToDate);
    let commit = ledger.commit(change(&[record("shop", "host-1")])).await.unwrap();
    assert_eq!(ledger.push().await.unwrap(), Pushed::Done);
    assert_eq!(ledger.push().await.unwrap(), Pushed::UpToDate);
    assert_eq!(remote.ledger_at(), commit);
    let fresh = remote.cloned();
    assert_eq!(fresh.ledger_at(), None);
    let other = fresh.ledger().await;
    assert_eq!(other.read().await.unwrap().commit, commit);
    assert_eq!(other.push().await.unwrap(), Pushed::UpToDate);
    let next = other.commit(change(&[record("blog", "host-1")])).await.unwrap();
    assert_eq!(other.log(9).await.unwrap().len(), 2);
    assert_eq!(other.push().await.unwrap(), Pushed::Done);
    assert_eq!(remote.ledger_at(), next);
}

async fn a_remote_ledger_that_is_ahead_is_built_on(kind: Kind) {
    let remote = Subject::bare(kind);
    let (one, two) = (remote.cloned(), remote.cloned());
    let (first, second) = (one.ledger().await, two.ledger().await);
    first.commit(change(&[record("shop", "host-1")])).await.unwrap();
    first.push().await.unwrap();
    two.fetch().await;
    second.commit(change(&[record("blog", "host-1")])).await.unwrap();
    second.push().await.unwrap();
    one.fetch().await;
    assert_eq!(first.read().await.unwrap().records.len(), 2);
    assert_eq!(first.push().await.unwrap(), Pushed::UpToDate);
    first.commit(change(&[record("third", "host-1")])).await.unwrap();
    assert_eq!(first.push().await.unwrap(), Pushed::Done);
    assert_eq!(first.log(9).await.unwrap().len(), 3);
}

async fn a_lost_race_joins_both_ledgers(kind: Kind) {
    let remote = Subject::bare(kind);
    let (one, two) = (remote.cloned(), remote.cloned());
    let (first, second) = (one.ledger().await, two.ledger().await);
    first.commit(change(&[record("shop", "host-1"), record("both", "host-1")])).await.unwrap();
    assert_eq!(first.push().await.unwrap(), Pushed::Done);
    two.fetch().await;
    let mut theirs = record("both", "host-3");
    let tried = |host: &str| Tried {
        content: Digest::of(b"what failed there"),
        hosts: [(HostName::new("host-1").unwrap(), Digest::of(host.as_bytes()))].into(),
    };
    let mark = |reason: &str| BadMark { reason: reason.to_owned(), on_failure: OnFailure::Rollback };
    theirs.bad.insert(tried("as it is"), mark("it exited"));
    first.commit(change(&[theirs.clone(), record("one", "host-1")])).await.unwrap();
    assert_eq!(first.push().await.unwrap(), Pushed::Done);
    let mut ours = record("both", "host-2");
    ours.bad.insert(tried("as it was"), mark("it exited there too"));
    let mut moved = change(&[ours.clone(), record("two", "host-2")]);
    moved.records.insert(slug("shop"), None);
    second.commit(moved).await.unwrap();
    assert_eq!(second.push().await.unwrap(), Pushed::Behind);
    let joined = second.read().await.unwrap();
    let names: Vec<_> = joined.records.keys().map(StackSlug::as_str).collect();
    assert_eq!(names, ["both", "one", "two"]);
    ours.bad.extend(theirs.bad);
    assert_eq!(joined.records[&slug("both")], ours, "what the other saw fail has failed");
    assert_eq!(second.push().await.unwrap(), Pushed::Done);
    assert_eq!(second.log(9).await.unwrap().len(), 4);
    first.commit(change(&[record("late", "host-1")])).await.unwrap();
    assert_eq!(first.push().await.unwrap(), Pushed::Behind);
    assert_eq!(first.push().await.unwrap(), Pushed::Done);
}

async fn ledgers_of_two_owners_are_not_joined(kind: Kind) {
    let remote = Subject::bare(kind);
    let (ours, theirs) = (remote.cloned(), remote.cloned());
    let mut other = change(&[record("theirs", "host-1")]);
    other.owner = "them".to_owned();
    let commit = theirs.ledger().await.commit(other).await.unwrap();
    theirs.ledger().await.push().await.unwrap();
    let ledger = ours.ledger().await;
    ledger.commit(change(&[record("ours", "host-1")])).await.unwrap();
    let error = ledger.push().await.unwrap_err();
    assert!(matches!(error, LedgerError::OtherOwner { .. }), "{error}");
    assert_eq!(remote.ledger_at(), commit);
}

async fn a_remote_repository_that_is_away_is_worth_waiting_for(kind: Kind) {
    let remote = Subject::bare(kind);
    let here = remote.cloned();
    let ledger = here.ledger().await;
    let commit = ledger.commit(change(&[record("shop", "host-1")])).await.unwrap();
    let return_it = remote.vanish(&here);
    let error = ledger.push().await.unwrap_err();
    assert!(matches!(error, LedgerError::Source(SourceError::Git { .. })) && error.is_transient(), "{error}");
    assert_eq!(ledger.read().await.unwrap().commit, commit);
    return_it();
    assert_eq!(ledger.push().await.unwrap(), Pushed::Done);
}
