//! Every kind of health check, on a real engine: what is well is found well, and what is not says what was asked.

use bayplan::model::record::StackStatus;

use crate::stage::Stage;

const WELL: &str = r#"
name: checks
placement: manual
itemListElement:
  - {position: 1, name: http-published, image: "bayplan-test/web:1", targetHost: host-1, ports: [{containerPort: 8080, hostPort: 18080}],
     healthCheck: {type: http, port: 8080, path: /health}}
  - {position: 2, name: http-inside, image: "bayplan-test/web:1", targetHost: host-2,
     healthCheck: {type: http, port: 8080, path: /health}}
  - {position: 3, name: tcp-published, image: "bayplan-test/db:1", targetHost: host-1, ports: [{containerPort: 5432, hostPort: 15432}],
     healthCheck: {type: tcp, port: 5432}}
  - {position: 4, name: tcp-loopback, image: "bayplan-test/db:1", targetHost: host-1,
     ports: [{containerPort: 5432, hostPort: 15433, hostIp: 127.0.0.1}], healthCheck: {type: command, command: [pg_isready]}}
  - {position: 5, name: line, image: "bayplan-test/web:1", targetHost: host-2,
     healthCheck: {type: command, command: "wget -q -O - http://127.0.0.1:8080/health | grep -q ok"}}
  - {position: 6, name: postgres, image: "bayplan-test/db:1", targetHost: host-1, healthCheck: {type: postgres, port: 5432}}
  - {position: 7, name: redis, image: "bayplan-test/db:1", targetHost: host-2, healthCheck: {type: redis, port: 5432}}
  - {position: 8, name: image-own, image: "bayplan-test/slow:1", targetHost: host-3}
  - {position: 9, name: none, image: "bayplan-test/web:1", targetHost: host-3}
"#;

/// A check that fails, and what has to be said of it.
const ILL: [(&str, &str); 4] = [
    ("{type: http, port: 8080, path: /nowhere, interval: 1, retries: 1, startPeriod: 8}", "says 404"),
    ("{type: tcp, port: 9, interval: 1, retries: 1, startPeriod: 1}", "was not healthy within"),
    ("{type: command, command: [\"false\"], interval: 1, retries: 1, startPeriod: 0}", "health check failed"),
    ("{type: command, command: \"exit 3\", interval: 1, retries: 1, startPeriod: 0}", "health check failed"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_check_finds_the_well_and_names_what_ails_the_ill() {
    let test = "every_kind_of_check_finds_the_well_and_names_what_ails_the_ill";
    let Some(mut stage) = Stage::set(test).await else { return };
    let done = stage.deploy("stacks/checks.yaml", WELL).await;
    assert_eq!(done.status("checks"), Some(StackStatus::Running), "{:?} {:#?}", done.holds(), done.outcome.ended);
    stage.is_settled().await;

    for (number, (check, said)) in ILL.iter().enumerate() {
        let text = format!(
            "name: ill-{number}\nplacement: manual\nitemListElement:\n  - {{position: 1, name: web, image: 'bayplan-test/web:1', \
             targetHost: host-3, ports: [{{containerPort: 8080, hostPort: 18081}}], healthCheck: {check}}}\n"
        );
        let done = stage.deploy("stacks/ill.yaml", &text).await;
        assert_eq!(done.status(&format!("ill-{number}")), Some(StackStatus::Failed), "{check}");
        let whys: Vec<String> = done.outcome.ended.values().flat_map(|e| &e.failures).map(|f| f.why.clone()).collect();
        assert!(whys.iter().any(|why| why.contains(said)), "{check}: {whys:?}");
        assert!(stage.names("host-3").iter().all(|name| !name.starts_with("ill")), "what failed is taken back");
    }
}
