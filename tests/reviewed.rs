//! Over generated repositories: what a review of a branch says, from Git alone, is what the pass after the merge plans; and
//! how the files are written makes no difference.

#[path = "support/fleet.rs"]
mod fleet;
#[path = "support/repository.rs"]
mod repository;
#[path = "support/shape.rs"]
mod shape;
#[path = "support/simulated.rs"]
mod simulated;
#[path = "support/site.rs"]
mod site;
#[path = "support/worlds.rs"]
mod worlds;
#[path = "support/written.rs"]
mod written;

use std::fs;

use bayplan::controller::once::WrongFiles;
use bayplan::engine::memory::MemoryEngine;
use bayplan::model::config::Config;
use bayplan::reconcile::{self, Context, Look, Pass};
use bayplan::source::memory::Entry;
use proptest::prelude::Strategy as _;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config as Cases, RngAlgorithm, TestRng, TestRunner};
use serde_json::Value;

use repository::{Repository, git};
use shape::{Image, Repo};
use simulated::Simulated;

/// Each deploys for real, Git and all.
const CASES: u8 = 16;

/// Images that come up: what fails is told by other tests, and takes its time.
fn generated(case: u8) -> (Repo, Repo) {
    let chance = TestRng::from_seed(RngAlgorithm::ChaCha, &[case; 32]);
    let mut runner = TestRunner::new_with_rng(Cases { failure_persistence: None, ..Cases::default() }, chance);
    let good = || (0u8..4).prop_map(Image::Good).boxed();
    let repo = shape::repos(good()).new_tree(&mut runner).expect("a repository").current();
    let mut after = repo.clone();
    for _ in 0..2 {
        let edit = shape::edits().new_tree(&mut runner).expect("an edit").current();
        after = after.edited(&repo.aimed(&edit));
    }
    for service in after.stacks.values_mut().flat_map(|stack| stack.services.values_mut()) {
        if !matches!(service.image, Image::Good(_)) {
            service.image = Image::Good(1);
        }
    }
    (repo, after)
}

fn write(repository: &Repository, repo: &Repo, change: impl Fn(&str, &mut Value) -> String) {
    for folder in ["stacks", "hosts"] {
        // There may be none yet.
        let _ = fs::remove_dir_all(repository.work().join(folder));
    }
    for (path, entry) in written::files(repo) {
        let Entry::Text(text) = entry else { continue };
        let mut value: Value = serde_json::from_str(&text).expect("JSON");
        let path = change(&path, &mut value);
        repository.write(&path, &value.to_string());
    }
}

fn as_it_is(path: &str, _: &mut Value) -> String {
    path.to_owned()
}

/// Other file names, and everything that has no order of its own the other way round.
fn shuffled(path: &str, value: &mut Value) -> String {
    if let Some(services) = value.get_mut("itemListElement").and_then(Value::as_array_mut) {
        services.reverse();
        for service in services {
            let Some(object) = service.as_object_mut() else { continue };
            let reversed = std::mem::take(object).into_iter().rev();
            object.extend(reversed);
        }
    }
    path.replace('/', "/z-").replace("-0", "-zero")
}

fn branch(repository: &Repository, name: &str, repo: &Repo, change: impl Fn(&str, &mut Value) -> String) {
    let work = repository.work();
    git(&work, &["checkout", "-q", "-B", name, "main"]);
    write(repository, repo, change);
    git(&work, &["add", "-A"]);
    git(&work, &["commit", "-q", "--allow-empty", "-m", name]);
    git(&work, &["push", "-q", "origin", name]);
    git(&work, &["checkout", "-q", "main"]);
}

async fn reviewed(repository: &Repository, simulated: &Simulated, head: &str) -> Pass {
    let mut site = simulated.site(repository, Config::default()).await;
    let at = site.source.merged("main", head).await.expect("they merge");
    let context = Context { at: Some(at), ..Context::default() };
    reconcile::pass(&mut site, Look::Offline, &context).await.expect("a plan from Git alone")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_review_says_what_the_merge_does_however_the_files_are_written() {
    let mut planned = 0;
    for case in 0..CASES {
        let (repo, after) = generated(case);
        let registry = shape::registry();
        let engines = (0..3).map(shape::engine_name).map(|name| (name.clone(), MemoryEngine::new(&name, &registry)));
        let simulated = Simulated { engines: engines.collect(), registry };
        let repository = Repository::new();
        write(&repository, &repo, as_it_is);
        repository.push("All of it");
        let mut site = simulated.site(&repository, Config::default()).await;
        site::apply(&mut site, WrongFiles::KeepGoing).await;
        branch(&repository, "change", &after, as_it_is);
        branch(&repository, "shuffled", &after, shuffled);
        repository.write("README.md", "Something else\n").push("Something else");
        let said = reviewed(&repository, &simulated, "change").await;
        let other = reviewed(&repository, &simulated, "shuffled").await;
        assert_eq!(said.placement.mapping, other.placement.mapping, "case {case}: {repo:#?} {after:#?}");
        assert_eq!(said.plan.digest(), other.plan.digest(), "case {case}: {repo:#?} {after:#?}");
        git(&repository.work(), &["merge", "-q", "--no-edit", "change"]);
        repository.push("Merged");
        let mut site = simulated.site(&repository, Config::default()).await;
        let then = reconcile::pass(&mut site, Look::Hosts, &Context::default()).await.expect("a pass");
        assert_eq!(said.ledger.commit, then.ledger.commit, "case {case}");
        assert_eq!(said.placement, then.placement, "case {case}: {repo:#?} {after:#?}");
        assert_eq!(said.plan.digest(), then.plan.digest(), "case {case}: {repo:#?} {after:#?}");
        planned += usize::from(!said.plan.is_empty());
    }
    assert!(planned >= usize::from(CASES / 2), "only {planned} of {CASES} changed anything");
}
