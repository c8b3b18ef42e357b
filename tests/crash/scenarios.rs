//! What is deployed while the program is killed.
//!
//! `STACK` stands for the stack's name and `PORT` for a host port. `db` is replaced stop-first, because it has a volume
//! and a port; `web` is replaced start-first.

use std::ops::RangeInclusive;

/// One change of a fleet, from one state at rest to another.
pub struct Scenario {
    pub name: &'static str,
    /// What is at rest before; none: nothing was ever deployed.
    pub before: Option<String>,
    /// What is pushed; none: the stack goes.
    pub after: Option<String>,
    /// How `bayplan apply` ends.
    pub exit: i32,
    pub watched: Watched,
    /// Who dies. Whoever is started afterwards is `bayplan apply`.
    pub killed: Program,
    /// How often the action of `web` may have run. At least once is what is promised over a crash.
    pub action_runs: RangeInclusive<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Watched {
    /// The repository is read in place.
    InPlace,
    /// It is mirrored, and the ledger is pushed to it.
    Elsewhere,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// `bayplan apply`, once.
    Apply,
    /// `bayplan run`, for as long as it is let.
    Run,
}

const DB: &str = r#"
  - position: 1
    name: db
    image: bayplan-test/db:1
    targetHost: left
    stopGracePeriod: 1
    ports: [{containerPort: 5432, hostPort: PORT}]
    volumeMounts: [{source: STACK-data, target: /data}]
"#;

const WEB: &str = r#"
  - position: 2
    name: web
    image: bayplan-test/web:1
    targetHost: right
    stopGracePeriod: 1
    softwareRequirements: [{name: db}]
"#;

/// It takes long enough for the next start to meet it.
const ACTION: &str = r#"
    potentialAction: [{name: migrate, target: db, command: [sh, -c, "sleep 1; echo ran >> /tmp/ran"]}]
"#;

fn stack(services: &[&str]) -> String {
    format!("name: STACK\nplacement: manual\nupdate: {{minHealthy: 0}}\nitemListElement:{}", services.concat())
}

pub fn scenarios() -> Vec<Scenario> {
    let two = || stack(&[DB, WEB]);
    let change = |name, after: String| Scenario {
        name,
        before: Some(two()),
        after: Some(after),
        exit: 0,
        watched: Watched::InPlace,
        killed: Program::Apply,
        action_runs: 0..=0,
    };
    let web = |image: &str| WEB.replace("bayplan-test/web:1", image);
    let start_first = || stack(&[DB, &web("bayplan-test/web:2")]);
    let moved = || stack(&[DB, &WEB.replace("targetHost: right", "targetHost: left")]);
    let other_db = || format!("{DB}    environment: {{A: b}}\n");
    let bad = |text: String| text.replace("minHealthy: 0", "minHealthy: 1");
    vec![
        Scenario { before: None, ..change("a first deployment", two()) },
        change("one is replaced start-first", start_first()),
        change("one is replaced stop-first", stack(&[&other_db(), WEB])),
        change("both are replaced", stack(&[&other_db(), &web("bayplan-test/web:2")])),
        change("one moves to another host", moved()),
        Scenario { exit: 6, ..change("a bad start-first goes back", bad(stack(&[DB, &web("bayplan-test/exits:1")]))) },
        Scenario {
            exit: 6,
            ..change("a bad stop-first goes back", bad(stack(&[&DB.replace("db:1", "exits:1"), WEB])))
        },
        Scenario {
            exit: 6,
            ..change("a good and a bad one go back", bad(stack(&[&other_db(), &web("bayplan-test/exits:1")])))
        },
        change("a service goes", stack(&[DB])),
        Scenario { after: None, ..change("the stack goes", String::new()) },
        Scenario {
            action_runs: 1..=2,
            ..change("an action runs", stack(&[DB, &(web("bayplan-test/web:2") + ACTION)]))
        },
        Scenario { watched: Watched::Elsewhere, ..change("the repository is elsewhere", start_first()) },
        Scenario { killed: Program::Run, ..change("the service replaces one start-first", start_first()) },
        Scenario {
            killed: Program::Run,
            watched: Watched::Elsewhere,
            ..change("the service moves one, the repository is elsewhere", moved())
        },
    ]
}
