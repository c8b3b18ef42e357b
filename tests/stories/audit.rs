//! Review and audit on real engines: what a pull request's plan says is what then happens, and who changes a host by hand is
//! found.

use bayplan::model::record::StackStatus;
use bayplan::reconcile::verify::{Depth, Stack, verify};
use bayplan::reconcile::{self, Context, Look};

use crate::repository::git;
use crate::stage::Stage;

fn shop(placement: &str, image: &str, replicas: u32) -> String {
    format!(
        "name: shop\nplacement: {placement}\nupdate: {{minHealthy: 0}}\nitemListElement:\n  - {{position: 1, name: db, image: \
         bayplan-test/db:1, stopGracePeriod: 1, ports: [{{containerPort: 5432}}]}}\n  - {{position: 2, name: web, image: \
         {image}, stopGracePeriod: 1, replicas: {replicas}, softwareRequirements: [{{name: db}}]}}\n"
    )
}

/// Every difference that `verify --live` finds.
async fn found(stage: &mut Stage) -> Vec<String> {
    let verified = verify(&mut stage.site, None, Depth::Live).await.expect("it can be read");
    let stacks = verified.stacks.values();
    assert!(stacks.clone().all(|stack| stack.why_not.is_none()), "{verified:?}");
    let of = |stack: &Stack| {
        let live = stack.live.clone().unwrap_or_default();
        assert!(live.unseen.is_empty(), "{live:?}");
        stack.differences.clone().into_iter().chain(live.differences)
    };
    stacks.flat_map(of).map(|difference| difference.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_reviewed_is_what_happens_and_what_was_changed_by_hand_is_found() {
    const TEST: &str = "what_was_reviewed_is_what_happens_and_what_was_changed_by_hand_is_found";
    let Some(mut stage) = Stage::set(TEST).await else { return };
    let path = "stacks/shop.yaml";
    let done = stage.deploy(path, &shop("spread", "bayplan-test/web:1", 1)).await;
    assert_eq!(done.status("shop"), Some(StackStatus::Running), "{:?} {:#?}", done.holds(), done.outcome.ended);
    assert_eq!(found(&mut stage).await, Vec::<String>::new());

    // The branch is reviewed, something else is merged first, and then the branch is.
    let work = stage.repository.work();
    git(&work, &["checkout", "-q", "-b", "more"]);
    stage.repository.write(path, &shop("spread", "bayplan-test/web:2", 2));
    git(&work, &["commit", "-q", "-a", "-m", "More of another version"]);
    git(&work, &["push", "-q", "origin", "more"]);
    git(&work, &["checkout", "-q", "main"]);
    stage.repository.write("README.md", "Something else\n").push("Something else");
    let at = Some(stage.site.source.merged("main", "more").await.expect("they merge"));
    let context = Context { at, ..Context::default() };
    let said = reconcile::pass(&mut stage.site, Look::Offline, &context).await.expect("a plan from Git alone");
    git(&work, &["merge", "-q", "--no-edit", "more"]);
    stage.repository.push("Merged");
    let then = stage.pass().await;
    assert_eq!(said.ledger.commit, then.ledger.commit);
    assert_eq!(said.placement, then.placement);
    assert_eq!(said.plan.digest(), then.plan.digest());
    let done = stage.once().await;
    assert_eq!(done.status("shop"), Some(StackStatus::Running), "{:?} {:#?}", done.holds(), done.outcome.ended);
    for (id, placed) in &said.placement.mapping {
        let name = id.name_at_rest().to_string();
        assert_eq!(stage.inspect(placed.host.as_str(), &name, "{{.State.Status}}"), "running", "{id}");
    }
    assert_eq!(found(&mut stage).await, Vec::<String>::new());

    // Somebody moves the database by hand, and swaps an image under its tag.
    let host = |id: &str| {
        let found = said.placement.mapping.iter().find(|(other, _)| other.to_string() == id).expect("it is placed");
        found.1.host.to_string()
    };
    let (db, web) = (host("shop/db-1"), host("shop/web-1"));
    let other = ["host-1", "host-2", "host-3"].into_iter().find(|host| *host != db).expect("another host");
    let labels = stage.inspect(&db, "shop-db-1", "{{range $k, $v := .Config.Labels}}--label={{$k}}={{$v}} {{end}}");
    stage.fleet.docker_text(&db, &["rm", "-f", "shop-db-1"]);
    let mut run = vec!["run", "-d", "--name", "shop-db-1"];
    run.extend(labels.split_whitespace());
    run.push("bayplan-test/db:1");
    stage.fleet.docker_text(other, &run);
    assert_eq!(found(&mut stage).await, [format!("shop/db-1 is on {db} in the ledger, and runs on {other}")]);
    stage.fleet.docker_text(other, &["rm", "-f", "shop-db-1"]);
    stage.once().await;
    assert_eq!(found(&mut stage).await, Vec::<String>::new());
    let was = stage.fleet.docker_text(&web, &["image", "inspect", "--format", "{{.Id}}", "bayplan-test/web:2"]);
    let was = was.trim();
    stage.fleet.docker_text(&web, &["tag", "bayplan-test/web:1", "bayplan-test/web:2"]);
    let swapped = found(&mut stage).await;
    stage.fleet.docker_text(&web, &["tag", was, "bayplan-test/web:2"]);
    assert!(!swapped.is_empty(), "the tag means something else");
    for said in &swapped {
        assert!(said.contains(&format!("on {web}, where bayplan-test/web:2 means ")), "{swapped:?}");
    }
    stage.is_settled().await;
}
