//! A mirror that is damaged, locked or full, and a repository of the user's that is.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bayplan::ledger::{self, LedgerError, Pushed, StatusBranch};
use bayplan::name::Revision;
use bayplan::source::{self, Source, SourceError};

use crate::records::{change, record};
use crate::repo::Repo;

/// A mirror of a remote repository with three commits, and a ledger of which the last commit was not pushed.
struct Mirror {
    remote: Repo,
    cache: Repo,
    source: Source,
    ledger: StatusBranch,
    head: Revision,
    unpushed: Revision,
}

impl Mirror {
    async fn new() -> Self {
        let remote = Repo::new();
        remote.change("stacks/shop.yaml", "name: shop");
        remote.change("hosts/one.yaml", "name: one");
        let head = remote.change("stacks/blog.yaml", "name: blog");
        let cache = Repo::bare();
        let source = source::open(&remote.url(), Some("main"), &cache.cache()).await.unwrap();
        source.fetch().await.unwrap();
        let ledger = ledger::open(&source).await.unwrap();
        ledger.commit(change(&[record("shop", "host-1")])).await.unwrap();
        assert_eq!(ledger.push().await.unwrap(), Pushed::Done);
        let unpushed = ledger.commit(change(&[record("blog", "host-1")])).await.unwrap().unwrap();
        Self { remote, cache, source, ledger, head, unpushed }
    }

    fn folder(&self) -> PathBuf {
        self.source.git_dir().to_owned()
    }

    async fn reopened(&self) -> Source {
        source::open(&self.remote.url(), Some("main"), &self.cache.cache()).await.unwrap()
    }

    /// All is there again: the files, the history, and the ledger that was not pushed, which goes through now.
    async fn is_whole(&self) {
        self.serves().await;
        assert_eq!(self.ledger.read().await.unwrap().commit, Some(self.unpushed.clone()));
        assert_eq!(self.ledger.push().await.unwrap(), Pushed::Done);
        assert_eq!(self.remote.at("bayplan/status"), self.unpushed);
    }

    async fn serves(&self) {
        self.source.fetch().await.unwrap();
        assert_eq!(self.source.head().await.unwrap(), Some(self.head.clone()));
        assert_eq!(self.source.snapshot(&self.head).await.unwrap().files.len(), 3);
        let second = self.remote.at("main~1");
        assert_eq!(self.source.snapshot(&second).await.unwrap().files.len(), 2);
        self.source.root_commit(&self.head).await.unwrap();
        let left = names(&self.cache.cache());
        assert_eq!(left.len(), 1, "nothing is left beside the mirror: {left:?}");
    }

    /// The file of an object; everything here is loose or in one pack.
    fn object(&self, id: &str) -> PathBuf {
        self.folder().join("objects").join(&id[..2]).join(&id[2..])
    }

    fn damage_loose(&self, id: &str) {
        let path = self.object(id);
        writable(&path);
        fs::write(path, "").unwrap();
    }
}

fn names(folder: &Path) -> Vec<String> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Git writes objects for reading alone.
fn writable(path: &Path) {
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
}

fn all_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(all_files(&path)) } else { files.push(path) }
    }
    files
}

fn age(path: &Path, seconds: u64) {
    let then = SystemTime::now() - Duration::from_secs(seconds);
    fs::File::options().write(true).open(path).unwrap().set_modified(then).unwrap();
}

#[tokio::test]
async fn a_mirror_is_tidied_up_before_that_is_said_to_be_done_and_serves_on() {
    let mirror = Mirror::new().await;
    let mut config = git2::Repository::open(mirror.folder()).unwrap().config().unwrap();
    config.set_i32("gc.autoPackLimit", 1).unwrap();
    config.set_i32("fetch.unpackLimit", 1).unwrap();
    let packs = || all_files(&mirror.folder().join("objects/pack")).iter().filter(|path| ends_in(path, "pack")).count();
    let mut head = mirror.head.clone();
    for number in 0..3 {
        head = mirror.remote.change("stacks/blog.yaml", &format!("name: blog\ndescription: '{number}'"));
        mirror.source.fetch().await.unwrap();
    }
    assert!(packs() >= 3, "{} packs", packs());
    mirror.source.tidy_up().await.unwrap();
    assert_eq!(packs(), 1);
    assert_eq!(mirror.source.head().await.unwrap(), Some(head.clone()));
    assert_eq!(mirror.source.snapshot(&head).await.unwrap().files.len(), 3);
    assert_eq!(mirror.ledger.read().await.unwrap().commit, Some(mirror.unpushed.clone()));
}

fn ends_in(path: &Path, end: &str) -> bool {
    path.extension().is_some_and(|found| found == end)
}

#[tokio::test]
async fn a_mirror_whose_objects_are_gone_is_made_anew_while_it_is_used() {
    let mirror = Mirror::new().await;
    fs::rename(mirror.folder().join("objects"), mirror.folder().join("lost")).unwrap();
    assert_eq!(mirror.source.head().await.unwrap(), Some(mirror.head.clone()));
    mirror.serves().await;
    assert_eq!(mirror.ledger.read().await.unwrap().records.len(), 1, "what was pushed is there, the rest was lost");
    let next = mirror.ledger.commit(change(&[record("blog", "host-1")])).await.unwrap();
    assert_eq!(mirror.ledger.push().await.unwrap(), Pushed::Done);
    assert_eq!(Some(mirror.remote.at("bayplan/status")), next);
}

#[tokio::test]
async fn a_mirror_of_which_something_is_broken_is_made_anew_with_the_ledger_that_was_not_pushed() {
    for (what, act) in [
        ("config", "the remote is not known"),
        ("config", "[remote \"origin\n"),
        ("HEAD", ""),
        ("refs/remotes/origin/main", ""),
        ("refs/remotes/origin/main", "1111111111111111111111111111111111111111\n"),
    ] {
        let mirror = Mirror::new().await;
        fs::write(mirror.folder().join(what), act).unwrap();
        mirror.is_whole().await;
        fs::write(mirror.folder().join(what), act).unwrap();
        let again = mirror.reopened().await;
        again.fetch().await.unwrap();
        assert_eq!(again.head().await.unwrap(), Some(mirror.head.clone()), "{what}");
    }
}

#[tokio::test]
async fn each_object_that_is_cut_off_is_replaced() {
    let mirror = Mirror::new().await;
    let of = |what: &str| mirror.remote.git(&["rev-parse", what]);
    for object in [of("main"), of("main^{tree}"), of("main:stacks"), of("main:stacks/blog.yaml"), of("main~1")] {
        let mirror = Mirror::new().await;
        let object = if mirror.object(&object).exists() {
            object
        } else {
            // Another repository, another commit: the same place in it.
            mirror.remote.git(&["rev-parse", "main"])
        };
        mirror.damage_loose(&object);
        mirror.is_whole().await;
    }
}

#[tokio::test]
async fn a_mirror_whose_folder_is_removed_while_it_is_used_comes_back() {
    let mirror = Mirror::new().await;
    fs::remove_dir_all(mirror.cache.cache()).unwrap();
    assert_eq!(mirror.ledger.read().await.unwrap().records.len(), 1, "not an empty ledger: all would be placed anew");
    mirror.serves().await;
}

#[tokio::test]
async fn of_a_ledger_whose_newest_commit_is_cut_off_the_ones_before_are_kept() {
    let mirror = Mirror::new().await;
    let last = mirror.ledger.commit(change(&[record("late", "host-1")])).await.unwrap().unwrap();
    mirror.damage_loose(last.as_str());
    mirror.source.fetch().await.unwrap();
    mirror.is_whole().await;

    let mirror = Mirror::new().await;
    mirror.ledger.commit(change(&[record("late", "host-1")])).await.unwrap();
    let blob = git_in(&mirror, &["rev-parse", "bayplan/status:status/late.json"]);
    mirror.damage_loose(&blob);
    fs::write(mirror.folder().join("config"), "").unwrap();
    mirror.is_whole().await;
}

#[tokio::test]
async fn a_ledger_whose_history_is_damaged_keeps_what_it_says() {
    let mirror = Mirror::new().await;
    let last = mirror.ledger.commit(change(&[record("late", "host-1")])).await.unwrap().unwrap();
    mirror.damage_loose(mirror.unpushed.as_str());
    fs::remove_file(mirror.folder().join("HEAD")).unwrap();
    mirror.serves().await;
    let ledger = mirror.ledger.read().await.unwrap();
    assert_ne!(ledger.commit, Some(last));
    assert_eq!(ledger.records.len(), 3);
    assert_eq!(mirror.ledger.push().await.unwrap(), Pushed::Done);
}

#[tokio::test]
async fn a_damaged_mirror_stays_where_it_is_while_the_remote_is_away() {
    let mirror = Mirror::new().await;
    let tree = mirror.remote.git(&["rev-parse", "main:hosts"]);
    mirror.damage_loose(&tree);
    let away = mirror.remote.home.path().join("away");
    fs::rename(&mirror.remote.path, &away).unwrap();
    let error = mirror.source.snapshot(&mirror.head).await.unwrap_err();
    assert!(matches!(error, SourceError::Unmended { .. }) && error.is_transient(), "{error}");
    assert!(error.to_string().contains("damaged") && error.to_string().contains("no new one"), "{error}");
    // What can be read is read, also by the next start.
    let again = mirror.reopened().await;
    assert_eq!(again.head().await.unwrap(), Some(mirror.head.clone()));
    assert_eq!(mirror.ledger.read().await.unwrap().records.len(), 2);
    fs::rename(&away, &mirror.remote.path).unwrap();
    let again = mirror.reopened().await;
    assert_eq!(again.snapshot(&mirror.head).await.unwrap().files.len(), 3);
    mirror.is_whole().await;
}

#[tokio::test]
async fn what_a_killed_process_left_of_a_mirror_is_cleaned() {
    let mirror = Mirror::new().await;
    let folder = mirror.folder();
    let (new, old) = (folder.with_extension("new"), folder.with_extension("old"));
    // Killed while it made a new one.
    fs::create_dir_all(new.join("objects")).unwrap();
    fs::create_dir_all(&old).unwrap();
    mirror.reopened().await;
    mirror.is_whole().await;
    // Killed between the two renames of a file system that cannot exchange.
    fs::rename(&folder, &new).unwrap();
    mirror.reopened().await;
    mirror.serves().await;
    assert_eq!(mirror.ledger.read().await.unwrap().commit, Some(mirror.unpushed.clone()));
    // Killed during the first fetch.
    let never = Repo::bare();
    let half_made = never.cache().join(folder.file_name().unwrap());
    fs::create_dir_all(half_made.join("objects/pack")).unwrap();
    fs::write(half_made.join("HEAD"), "ref: refs/heads/master\n").unwrap();
    fs::write(half_made.join("objects/pack/tmp_pack_x"), "half").unwrap();
    let source = source::open(&mirror.remote.url(), Some("main"), &never.cache()).await.unwrap();
    source.fetch().await.unwrap();
    assert_eq!(source.head().await.unwrap(), Some(mirror.head.clone()));
    assert!(!half_made.join("objects/pack/tmp_pack_x").exists());
}

#[tokio::test]
async fn a_mirror_that_another_process_is_making_is_left_to_it() {
    let mirror = Mirror::new().await;
    let new = mirror.folder().with_extension("new");
    fs::create_dir(&new).unwrap();
    let held = fs::File::open(&new).unwrap();
    held.lock().unwrap();
    mirror.reopened().await;
    assert!(new.exists());
    drop(held);
    mirror.reopened().await;
    assert!(!new.exists());
}

#[tokio::test]
async fn a_damaged_repository_of_the_user_is_named_and_not_touched() {
    let repo = Repo::new();
    repo.change("stacks/shop.yaml", "name: shop");
    let head = repo.change("stacks/blog.yaml", "name: blog");
    let source = repo.source().await;
    let ledger = ledger::open(&source).await.unwrap();
    ledger.commit(change(&[record("shop", "host-1")])).await.unwrap();
    for name in ["main:stacks/blog.yaml", "bayplan/status:status/shop.json"] {
        let id = repo.git(&["rev-parse", name]);
        let object = repo.path.join(".git/objects").join(&id[..2]).join(&id[2..]);
        writable(&object);
        fs::write(object, "").unwrap();
    }
    let files = || {
        let mut files: Vec<_> = all_files(&repo.path);
        files.sort();
        files.into_iter().map(|path| (fs::read(&path).unwrap(), path)).collect::<Vec<_>>()
    };
    let before = files();
    let error = source.snapshot(&head).await.unwrap_err();
    assert!(matches!(error, SourceError::Damaged { .. }) && !error.is_transient(), "{error}");
    assert!(error.to_string().contains("fsck") && error.to_string().contains(".git"), "{error}");
    let fresh = ledger::open(&repo.source().await).await.unwrap();
    let error = fresh.read().await.unwrap_err();
    assert!(matches!(error, LedgerError::Source(SourceError::Damaged { .. })), "{error}");
    assert_eq!(files(), before);
}

#[tokio::test]
async fn an_old_lock_in_a_mirror_is_removed_and_a_young_one_is_named() {
    let mirror = Mirror::new().await;
    let lock = mirror.folder().join("refs/heads/bayplan/status.lock");
    fs::write(&lock, "").unwrap();
    let error = mirror.ledger.commit(change(&[record("late", "host-1")])).await.unwrap_err();
    assert!(matches!(&error, LedgerError::Locked { path } if *path == lock), "{error}");
    age(&lock, 61);
    assert!(mirror.ledger.commit(change(&[record("late", "host-1")])).await.unwrap().is_some());
    assert!(!lock.exists());
}

#[tokio::test]
async fn old_locks_that_keep_git_from_fetching_are_removed() {
    let mirror = Mirror::new().await;
    // A branch that goes takes the lock of the packed references.
    mirror.remote.git(&["branch", "main-2"]);
    mirror.source.fetch().await.unwrap();
    git_in(&mirror, &["pack-refs", "--all"]);
    mirror.remote.git(&["branch", "-D", "main-2"]);
    let next = mirror.remote.change("stacks/shop.yaml", "name: other");
    let locks = ["packed-refs.lock", "refs/remotes/origin/main.lock"].map(|lock| mirror.folder().join(lock));
    for lock in &locks {
        fs::write(lock, "").unwrap();
    }
    let error = mirror.source.fetch().await.unwrap_err();
    assert!(error.to_string().contains(".lock") && error.is_transient(), "{error}");
    for lock in &locks {
        age(lock, 61);
    }
    mirror.source.fetch().await.unwrap();
    assert_eq!(mirror.source.head().await.unwrap(), Some(next));
    assert!(locks.iter().all(|lock| !lock.exists()));
}

#[tokio::test]
async fn a_lock_in_a_repository_of_the_user_is_never_removed() {
    let repo = Repo::bare();
    let ledger = ledger::open(&repo.source().await).await.unwrap();
    ledger.commit(change(&[record("shop", "host-1")])).await.unwrap();
    let lock = repo.path.join("refs/heads/bayplan/status.lock");
    fs::write(&lock, "").unwrap();
    age(&lock, 100_000);
    let error = ledger.commit(change(&[record("blog", "host-1")])).await.unwrap_err();
    assert!(error.to_string().contains("remove that file") && error.to_string().contains("status.lock"), "{error}");
    assert!(lock.exists());
}

/// What one of us says beforehand who is killed while the ledger's branch is locked.
struct Killed {
    repo: Repo,
    ledger: StatusBranch,
    lock: PathBuf,
    claim: PathBuf,
}

impl Killed {
    async fn new() -> Self {
        let repo = Repo::bare();
        let ledger = ledger::open(&repo.source().await).await.unwrap();
        ledger.commit(change(&[record("shop", "host-1")])).await.unwrap();
        let lock = repo.path.join("refs/heads/bayplan/status.lock");
        let claim = repo.path.join("bayplan.moving");
        assert_eq!(fs::read(&claim).unwrap(), b"", "nobody moves anything");
        fs::write(&lock, "").unwrap();
        Self { repo, ledger, lock, claim }
    }

    /// As one of us who is about to take the lock, and has it.
    fn announces(&self) {
        fs::remove_file(&self.lock).unwrap();
        fs::write(&self.claim, "refs/heads/bayplan/status\n").unwrap();
        fs::write(&self.lock, "").unwrap();
    }

    fn pins(&self) {
        fs::hard_link(&self.lock, self.repo.path.join("bayplan.pinned")).unwrap();
    }

    async fn commits(&self) -> Result<(), LedgerError> {
        self.ledger.commit(change(&[record("blog", "host-1")])).await.map(drop)
    }

    fn is_well(&self) {
        assert!(!self.lock.exists());
        assert_eq!(fs::read(&self.claim).unwrap(), b"");
        assert!(!self.repo.path.join("bayplan.pinned").exists());
        self.repo.git(&["fsck", "--strict"]);
    }
}

#[tokio::test]
async fn the_lock_of_one_of_us_who_was_killed_is_removed() {
    let killed = Killed::new().await;
    killed.announces();
    killed.pins();
    // However long ago it was, and whatever is in it.
    fs::write(&killed.lock, "half").unwrap();
    age(&killed.lock, 100_000);
    killed.commits().await.unwrap();
    killed.is_well();
}

#[tokio::test]
async fn it_is_also_removed_where_nothing_is_to_be_written() {
    let killed = Killed::new().await;
    killed.announces();
    killed.pins();
    killed.ledger.clear_locks().await.unwrap();
    killed.is_well();
}

#[tokio::test]
async fn in_a_mirror_it_keeps_nobody_from_fetching() {
    let mirror = Mirror::new().await;
    let folder = mirror.folder();
    let next = mirror.remote.change("stacks/shop.yaml", "name: other");
    fs::write(folder.join("bayplan.moving"), "refs/remotes/origin/main\n").unwrap();
    let lock = folder.join("refs/remotes/origin/main.lock");
    fs::write(&lock, "").unwrap();
    fs::hard_link(&lock, folder.join("bayplan.pinned")).unwrap();
    mirror.source.fetch().await.unwrap();
    assert!(mirror.source.head().await.unwrap() == Some(next) && !lock.exists());
}

#[tokio::test]
async fn a_lock_that_was_only_announced_is_removed_when_it_was_made_just_then() {
    let killed = Killed::new().await;
    killed.announces();
    killed.commits().await.unwrap();
    killed.is_well();
}

#[tokio::test]
async fn a_lock_of_another_program_stays_beside_what_was_said_of_ours() {
    // Of another time; as Git makes them; beside a pinned one of ours that is gone.
    let made: [fn(&Killed); 4] = [
        |killed| age(&killed.claim, 100),
        |killed| age(&killed.lock, 100),
        |killed| fs::write(&killed.lock, "0123456789\n").unwrap(),
        |killed| {
            killed.pins();
            fs::remove_file(&killed.lock).unwrap();
            fs::write(&killed.lock, "").unwrap();
        },
    ];
    for made in made {
        let killed = Killed::new().await;
        killed.announces();
        made(&killed);
        let error = killed.commits().await.unwrap_err();
        assert!(matches!(&error, LedgerError::Locked { path } if *path == killed.lock), "{error}");
        assert!(killed.lock.exists());
        fs::remove_file(&killed.lock).unwrap();
        killed.commits().await.unwrap();
        killed.is_well();
    }
}

#[tokio::test]
async fn a_lock_of_one_of_us_who_lives_stays() {
    let killed = Killed::new().await;
    killed.announces();
    killed.pins();
    let alive = fs::File::open(&killed.claim).unwrap();
    alive.lock().unwrap();
    let error = killed.commits().await.unwrap_err();
    assert!(matches!(error, LedgerError::Race) && killed.lock.exists(), "{error}");
    // It is killed.
    drop(alive);
    killed.commits().await.unwrap();
    killed.is_well();
}

#[tokio::test]
async fn what_the_ledger_stands_beside_is_refused_and_nothing_is_written_over() {
    for (other, is_packed) in [("bayplan/status/x", false), ("bayplan/status/x", true)] {
        let repo = Repo::bare();
        let ledger = ledger::open(&repo.source().await).await.unwrap();
        let commit = repo.git(&["commit-tree", "-m", "x", "4b825dc642cb6eb9a060e54bf8d69288fbee4904"]);
        repo.git(&["update-ref", &format!("refs/heads/{other}"), commit.trim()]);
        if is_packed {
            repo.git(&["pack-refs", "--all"]);
        }
        let error = ledger.commit(change(&[record("shop", "host-1")])).await.unwrap_err();
        assert!(!matches!(error, LedgerError::Locked { .. } | LedgerError::Race), "{is_packed}: {error:?}");
        assert_eq!(repo.git(&["rev-parse", other]).trim(), commit.trim());
    }
}

#[tokio::test]
async fn a_branch_that_only_names_another_is_not_moved() {
    let repo = Repo::bare();
    let ledger = ledger::open(&repo.source().await).await.unwrap();
    ledger.commit(change(&[record("shop", "host-1")])).await.unwrap();
    repo.git(&["branch", "kept", "bayplan/status"]);
    repo.git(&["symbolic-ref", "refs/heads/bayplan/status", "refs/heads/kept"]);
    let kept = repo.at("kept");
    let error = ledger.commit(change(&[record("blog", "host-1")])).await.unwrap_err();
    assert!(matches!(error, LedgerError::Race), "{error}");
    assert_eq!(repo.at("kept"), kept);
    assert_eq!(repo.git(&["symbolic-ref", "refs/heads/bayplan/status"]).trim(), "refs/heads/kept");
}

#[tokio::test]
async fn what_is_no_reference_is_not_taken_for_one() {
    let outside = "outside.lock";
    for said in ["outside\n", "refs/heads/../../outside\n", "refs/heads/../../outside", "\u{0}\n"] {
        let killed = Killed::new().await;
        fs::remove_file(&killed.lock).unwrap();
        fs::write(&killed.claim, said).unwrap();
        // As a lock of ours looks.
        fs::write(killed.repo.path.join(outside), "").unwrap();
        killed.commits().await.unwrap();
        assert!(killed.repo.path.join(outside).exists(), "{said:?}");
        killed.is_well();
    }
}

fn git_in(mirror: &Mirror, arguments: &[&str]) -> String {
    let folder = mirror.folder();
    let mut all = vec!["--git-dir", folder.to_str().unwrap()];
    all.extend(arguments);
    mirror.cache.git(&all)
}

/// Where a test of a full disk finds the small one that it was started on.
const SMALL_DISK: &str = "BAYPLAN_TEST_SMALL_DISK";

#[test]
fn a_full_disk_is_said_and_what_is_mirrored_stays_readable() {
    let folder = tempfile::TempDir::new().unwrap();
    let script = "mount -t tmpfs -o size=1536k none \"$0\" && exec \"$@\"";
    let inner = "faults::on_a_small_disk";
    let this = std::env::current_exe().unwrap();
    let mut command = std::process::Command::new("unshare");
    command.args(["-m", "sh", "-c", script]).arg(folder.path()).arg(this);
    let started = command.args(["--exact", inner, "--nocapture"]).env(SMALL_DISK, folder.path()).output();
    let Ok(output) = started else {
        say("left out a_full_disk_is_said_and_what_is_mirrored_stays_readable: there is no unshare");
        return;
    };
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if !said.contains("running 1 test") {
        say(&format!("left out a_full_disk_is_said_and_what_is_mirrored_stays_readable: {said}"));
        return;
    }
    assert!(output.status.success(), "{said}");
}

/// Does nothing unless it was started on a small disk.
#[tokio::test]
async fn on_a_small_disk() {
    let Some(disk) = std::env::var_os(SMALL_DISK).map(PathBuf::from) else { return };
    let remote = Repo::new();
    let first = remote.change("stacks/shop.yaml", "name: shop");
    let source = source::open(&remote.url(), Some("main"), &disk.join("cache")).await.unwrap();
    source.fetch().await.unwrap();
    let ledger = ledger::open(&source).await.unwrap();
    let noted = ledger.commit(change(&[record("shop", "host-1")])).await.unwrap();
    // More than fits, and nothing that could be packed smaller.
    let noise: String =
        (0_u64..1_000_000).map(|n| format!("{:x}", n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40)).collect();
    remote.change("notes.txt", &noise);
    let says_so = |error: &SourceError| {
        assert!(matches!(error, SourceError::Unwritable { .. }) && error.is_transient(), "{error}");
        let text = error.to_string();
        assert!(text.contains("No space left") && text.contains("cache") && text.contains("make room"), "{text}");
    };
    says_so(&source.fetch().await.unwrap_err());
    assert_eq!(source.head().await.unwrap(), Some(first.clone()));
    fill(&disk);
    says_so(&source.fetch().await.unwrap_err());
    let LedgerError::Source(error) = ledger.commit(change(&[record("blog", "host-1")])).await.unwrap_err() else {
        panic!("it is the disk");
    };
    says_so(&error);
    assert_eq!(ledger.read().await.unwrap().commit, noted);
    let again = source::open(&remote.url(), None, &disk.join("cache")).await.unwrap();
    assert_eq!(again.head().await.unwrap(), Some(first.clone()));
    assert_eq!(again.snapshot(&first).await.unwrap().files.len(), 1);
    let never_seen = source::open(&format!("{}/.git", remote.url()), None, &disk.join("cache")).await.unwrap_err();
    says_so(&never_seen);
    fs::remove_file(disk.join("filler")).unwrap();
    fs::remove_file(remote.path.join("notes.txt")).unwrap();
    remote.git(&["reset", "--quiet", "--hard", "HEAD~1"]);
    let second = remote.change("stacks/shop.yaml", "name: two");
    source.fetch().await.unwrap();
    assert_eq!(source.head().await.unwrap(), Some(second));
    assert!(ledger.commit(change(&[record("blog", "host-1")])).await.unwrap().is_some());
}

fn fill(disk: &Path) {
    use std::io::Write;
    let mut filler = fs::File::create(disk.join("filler")).unwrap();
    for size in [4096, 1] {
        while filler.write_all(&vec![0; size]).is_ok() {}
    }
}

/// To whoever watches, also when nothing fails.
fn say(line: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "{line}");
}
