//! Images from a registry: a tag is resolved once, and the digest is what runs everywhere.

use bayplan::model::record::StackStatus;

use crate::stage::Stage;

fn shop(name: &str, image: &str, hosts: &[&str], more: &str) -> String {
    let services: Vec<String> = hosts
        .iter()
        .enumerate()
        .map(|(n, host)| {
            let position = n + 1;
            format!("  - {{position: {position}, name: s{position}, image: \"{image}\", targetHost: {host}{more}}}\n")
        })
        .collect();
    format!("name: {name}\nplacement: manual\nitemListElement:\n{}", services.concat())
}

/// Pushes one of the fleet's images under another name; gives the digest of its manifest.
fn publish(stage: &Stage, local: &str, name: &str) -> String {
    stage.fleet.docker_text("host-3", &["tag", local, name]);
    let said = stage.fleet.docker_text("host-3", &["push", name]);
    let digest = said.split_whitespace().find(|word| word.starts_with("sha256:")).expect("a digest").to_owned();
    let listed = stage.fleet.docker_text("host-3", &["images", "--digests", "--format", "{{.Repository}}@{{.Digest}}"]);
    let repository = name.rsplit_once(':').expect("a tag").0;
    for reference in listed.lines().filter(|line| line.starts_with(repository)).chain([name]) {
        // The host that pushed must not be the one that has it.
        let _ = stage.fleet.docker("host-3", &["rmi", reference]);
    }
    digest
}

fn shows(stage: &Stage, host: &str, container: &str) -> String {
    stage.answer(host, container, "http://127.0.0.1:8080/")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tag_is_resolved_once_and_its_digest_runs_everywhere() {
    let Some(mut stage) = Stage::set("a_tag_is_resolved_once_and_its_digest_runs_everywhere").await else { return };
    let image = format!("{}/story:1", stage.fleet.registry.address);
    let repository = format!("{}/story", stage.fleet.registry.address);
    let first = publish(&stage, "bayplan-test/web:1", &image);
    let path = "stacks/shop.yaml";
    let done = stage.deploy(path, &shop("shop", &image, &["host-1"], "")).await;
    assert_eq!(done.status("shop"), Some(StackStatus::Running), "{:?} {:#?}", done.holds(), done.outcome.ended);
    assert!(done.steps.contains(&format!("host-1: pull {repository}@{first}")), "{:?}", done.steps);
    assert_eq!(stage.inspect("host-1", "shop-s1-1", "{{.Config.Image}}"), format!("{repository}@{first}"));
    let record = stage.repository.ledger("status/shop.json");
    assert!(record.contains(&image) && record.contains(&first), "{record}");
    stage.is_settled().await;
    let before = stage.containers();

    // The tag means something else now: nothing happens, and a host that joins gets what the others run.
    let second = publish(&stage, "bayplan-test/web:2", &image);
    assert_ne!(first, second);
    stage.is_settled().await;
    stage.repository.write("stacks/other.yaml", &shop("other", &image, &["host-2"], ""));
    let done = stage.deploy(path, &shop("shop", &image, &["host-1", "host-2"], "")).await;
    assert_eq!(done.changes(), ["other/s1-1 create", "shop/s2-1 create"]);
    assert_eq!(done.status("shop"), Some(StackStatus::Running), "{:?} {:#?}", done.holds(), done.outcome.ended);
    assert_eq!(stage.inspect("host-2", "shop-s2-1", "{{.Config.Image}}"), format!("{repository}@{first}"));
    assert_eq!([shows(&stage, "host-1", "shop-s1-1"), shows(&stage, "host-2", "shop-s2-1")], ["web 1", "web 1"]);
    assert!(before.iter().all(|(key, id)| stage.containers().get(key) == Some(id)));
    assert_eq!(shows(&stage, "host-2", "other-s1-1"), "web 2", "to another stack the tag is new");
    stage.is_settled().await;
    let others = stage.id("host-2", "other-s1-1");

    // Until the stack asks for it.
    let always = shop("shop", &image, &["host-1", "host-2"], ", pullPolicy: always");
    let done = stage.deploy(path, &always).await;
    assert_eq!(done.changes(), ["shop/s1-1 replace", "shop/s2-1 replace"], "another stack's word is its own");
    assert_eq!(done.status("shop"), Some(StackStatus::Running), "{:?} {:#?}", done.holds(), done.outcome.ended);
    for (host, container) in [("host-1", "shop-s1-1"), ("host-2", "shop-s2-1")] {
        assert_eq!(stage.inspect(host, container, "{{.Config.Image}}"), format!("{repository}@{second}"));
        assert_eq!(shows(&stage, host, container), "web 2");
    }
    assert_eq!(stage.id("host-2", "other-s1-1"), others);
    stage.is_settled().await;
    publish(&stage, "bayplan-test/web:1", &image);
    stage.is_settled().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_superseded_images_the_last_two_stay_for_going_back() {
    let Some(mut stage) = Stage::set("of_superseded_images_the_last_two_stay_for_going_back").await else { return };
    let repository = format!("{}/pruned", stage.fleet.registry.address);
    let mut digests = Vec::new();
    for (number, local) in ["web:1", "web:2", "db:1", "slow:1"].into_iter().enumerate() {
        let image = format!("{repository}:{number}");
        digests.push(publish(&stage, &format!("bayplan-test/{local}"), &image));
        let done = stage.deploy("stacks/pruned.yaml", &shop("pruned", &image, &["host-1"], "")).await;
        assert_eq!(done.status("pruned"), Some(StackStatus::Running), "{local}: {:#?}", done.outcome.ended);
    }
    let listed = stage.fleet.docker_text("host-1", &["images", "--digests", "--format", "{{.Repository}} {{.Digest}}"]);
    let is_there = |digest: &str| listed.contains(&format!("{repository} {digest}"));
    let there: Vec<bool> = digests.iter().map(|digest| is_there(digest)).collect();
    assert_eq!(there, [false, true, true, true], "{listed}");
    stage.is_settled().await;
}
