//! A service that is stopped after any step: the next one, which knows nothing, comes to the same end.

use crate::stage::Stage;

const PATH: &str = "stacks/shop.yaml";

/// `db` keeps data and a port, so it is replaced with a gap; `app` and `side` without.
fn shop(version: usize, cache: &str) -> String {
    let image = version / 2 % 2 + 1;
    format!(
        r#"
name: shop
placement: manual
itemListElement:
  - position: 1
    name: db
    image: bayplan-test/db:1
    targetHost: host-1
    ports: [{{containerPort: 5432, hostPort: 5432}}]
    volumeMounts: [{{source: shop-data, target: /data}}]
    environment: {{VERSION: "{version}"}}
    potentialAction: [{{name: migrate, command: [sh, -c, "echo {version} >> /data/migrated"]}}]
  - {{position: 2, name: app, image: "bayplan-test/web:{image}", targetHost: host-1, softwareRequirements: [{{name: db}}]}}
  - {{position: 3, name: side, image: "bayplan-test/web:{image}", targetHost: host-2}}
  - {{position: 4, name: {cache}, image: "bayplan-test/web:1", targetHost: host-2}}
"#
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_after_any_step_the_next_service_comes_to_the_same_end() {
    let Some(mut stage) = Stage::set("stopped_after_any_step_the_next_service_comes_to_the_same_end").await else {
        return;
    };
    stage.deploy(PATH, &shop(1, "cache")).await;
    stage.is_settled().await;
    // Every second border: the laws over the memory engine have them all.
    let mut round = 0;
    loop {
        round += 2;
        let (version, cache) = (round + 1, if round % 4 == 2 { "store" } else { "cache" });
        stage.repository.write(PATH, &shop(version, cache)).push("Change everything");
        let begun = stage.once_until(round).await;
        stage.forget().await;
        let done = stage.once().await;
        assert_eq!(stage.ledger("status/shop.json")["status"], "running", "{round}: {:#?}", done.outcome.ended);
        assert!(done.failures("shop").is_empty(), "{round}: {:#?}", done.failures("shop"));
        assert_eq!(stage.names("host-1"), ["shop-app-1", "shop-db-1"], "{round}");
        let mut expected = [format!("shop-{cache}-1"), "shop-side-1".to_owned()];
        expected.sort();
        assert_eq!(stage.names("host-2"), expected, "{round}");
        let side = stage.answer("host-2", "shop-side-1", "http://127.0.0.1:8080/");
        assert_eq!(side, format!("web {}", version / 2 % 2 + 1), "{round}");
        let db = stage.exec("host-1", "shop-app-1", &["sh", "-c", "nc db 5432 < /dev/null"]);
        assert!(db.starts_with("db 1 on "), "{round}: {db}");
        let migrated = stage.exec("host-1", "shop-db-1", &["tail", "-n", "1", "/data/migrated"]);
        assert_eq!(migrated, version.to_string(), "{round}");
        stage.is_settled().await;
        if begun < round {
            break;
        }
    }
    assert!(round > 10, "an update has more steps than {round}");
}
