//! What people and programs are shown, compared whole with files in `tests/faces/`.
//!
//! Takes values made by hand, so that each face is seen in every state. `BLESS=1 cargo test --test faces` writes the
//! files anew; look at the difference before committing it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use bayplan::cli::show::json::document;
use bayplan::cli::show::plan::{Against, NOTHING, Shown};
use bayplan::cli::show::{blame, history, hosts, map, markdown, plan, plan_json, rollback};
use bayplan::diagnostic::Report;
use bayplan::files::{Places, Span};
use bayplan::ledger::history::{Blamed, Ran};
use bayplan::model::desired::Inventory;
use bayplan::model::host::{Endpoint, Host, HostStatus};
use bayplan::model::mapping::{Placed, PortOrigin, PublishedPort};
use bayplan::model::record::{
    Condition, Deployment, Facts, HostCondition, HostRecord, InstanceHealth, InstanceRecord, Ledger, Record,
    StackStatus,
};
use bayplan::model::request::{
    ContainerRequest, MountKind, MountRequest, NetworkAttachment, PortRequest, ResolvedImage,
};
use bayplan::model::stack::{Access, Protocol, Restart, Settings, Strategy};
use bayplan::model::world::{About, EngineSeen, EngineView, World};
use bayplan::name::{
    ContainerName, Digest, HostName, InstanceId, Revision, ServiceName, StackName, StackSlug, VolumeName,
};
use bayplan::placement::Unplaced;
use bayplan::placement::refusal::Refusal;
use bayplan::plan::brake::{Braked, Why, removal_digest};
use bayplan::plan::change::{Before, Bucket, Cause, Change, FieldChange, Gap};
use bayplan::plan::closed::Closed;
use bayplan::plan::hold::Hold;
use bayplan::plan::step::{Act, Step};
use bayplan::plan::{Plan, Planned, StackPlan};
use bayplan::reconcile::rollback::{Rollback, Verdict, Why as Chosen};
use bayplan::source::Snapshot;
use bayplan::source::authored::Authored;
use bayplan::source::restore::Restored;
use bayplan::status::blame::Put;
use bayplan::status::history::{Entry, Happened, Move, Touched, What};
use bayplan::status::map as status_map;
use bayplan::status::page;

/// Compares with the golden file, or writes it.
fn check(file: &str, shown: &str) {
    let path = format!("tests/faces/{file}");
    let shown = anstream::adapter::strip_str(shown).to_string();
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, shown).expect("the golden file is written");
        return;
    }
    let golden = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(shown, golden, "\n{path} differs; BLESS=1 accepts what is shown now:\n{shown}");
}

fn check_plan(name: &str, plan: &Plan) {
    let revision = revision('a');
    let shown = Shown { plan, branch: "main", revision: &revision, against: Against::Hosts, later: &NOTHING };
    check(&format!("plan-{name}.txt"), &plan::plan(&shown));
    check(&format!("plan-{name}.json"), &document("plan", plan_json::members(&shown)));
    check(&format!("plan-{name}.md"), &markdown::plan(&shown));
}

fn revision(digit: char) -> Revision {
    Revision::new(&digit.to_string().repeat(40)).expect("a revision")
}

fn host(name: &str) -> HostName {
    HostName::new(name).expect("a name")
}

fn service(name: &str) -> ServiceName {
    ServiceName::new(name).expect("a name")
}

fn slug(name: &str) -> StackSlug {
    StackSlug::new(name).expect("a slug")
}

fn id(service_name: &str, number: u32) -> InstanceId {
    InstanceId { stack: slug("shop"), service: service(service_name), number }
}

fn at(line: u32) -> Span {
    Span { path: "stacks/shop.yaml".into(), start: 0, end: 1, line, column: 5 }
}

fn address(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, last))
}

fn change(service: &str, bucket: Bucket, from: Option<&str>, to: Option<&str>, cause: Cause) -> Change {
    Change {
        instance: id(service, 1),
        bucket,
        from: from.map(host),
        to: to.map(host),
        image: if bucket == Bucket::Remove { String::new() } else { format!("example/{service}:2") },
        cause,
        fields: Vec::new(),
        before: if bucket == Bucket::Create { Before::Unknown } else { Before::Known },
        gap: Gap::None,
        why_there: String::new(),
        published: Vec::new(),
    }
}

fn field(name: &str, before: Option<&str>, after: Option<&str>, line: Option<u32>) -> FieldChange {
    FieldChange {
        name: name.to_owned(),
        before: before.map(str::to_owned),
        after: after.map(str::to_owned),
        at: line.map(at),
    }
}

fn of_shop(stack: StackPlan) -> Plan {
    Plan { stacks: [(slug("shop"), Arc::new(stack))].into(), ..Plan::default() }
}

fn changes(changes: Vec<Change>) -> Plan {
    of_shop(StackPlan { content: Some(Digest::of(b"the shop")), changes, ..StackPlan::default() })
}

fn port(last: u8, host_port: u16) -> PublishedPort {
    PublishedPort {
        container: 8080,
        protocol: Protocol::Tcp,
        host_ip: address(last),
        host_port,
        origin: PortOrigin::Explicit,
    }
}

#[test]
fn a_new_service_says_where_it_goes_and_why() {
    let mut web = change("web", Bucket::Create, None, Some("host-1"), Cause::New(at(12)));
    web.why_there = "best score of 3 hosts, 71.2".to_owned();
    web.published = vec!["web:8080 at 10.0.0.1:80".to_owned()];
    let placed = |on: &str| Planned {
        placed: Placed { host: host(on), ports: vec![port(1, 80)], why: String::new() },
        image: "example/web:2".to_owned(),
        resolved: ResolvedImage::Local("sha256:1".to_owned()),
        digest: Digest::of(b"web"),
        secrets: BTreeSet::new(),
    };
    let step = |act: Act, after: &[usize]| Step {
        host: host("host-1"),
        endpoint: Endpoint::Memory("one".to_owned()),
        instance: Some(id("web", 1)),
        act,
        after: after.iter().copied().collect(),
        because: "it is new".to_owned(),
    };
    check_plan(
        "create",
        &of_shop(StackPlan {
            content: Some(Digest::of(b"the shop")),
            changes: vec![web],
            steps: vec![
                step(Act::Pull { reference: "example/web:2".to_owned() }, &[]),
                step(Act::Start { container: "shop-web-1".to_owned() }, &[0]),
            ],
            holds: Vec::new(),
            instances: [
                (id("web", 1), placed("host-1")),
                (id("job", 1), placed("host-2")),
                (id("job", 2), placed("host-1")),
            ]
            .into(),
        }),
    );
}

#[test]
fn a_replacement_names_its_fields_with_their_lines_and_no_value_of_a_variable() {
    let mut web = change("web", Bucket::Replace, Some("host-1"), Some("host-1"), Cause::Changed(at(14)));
    web.fields = vec![
        field("environment.LOG_LEVEL", Some("#0a1b2c3d"), Some("#4e5f6a7b"), Some(20)),
        field("environment.TOKEN", None, Some("#4e5f6a7b"), Some(21)),
        field("image", Some("example/web:1"), Some("example/web:2"), Some(14)),
        field("labels.note", Some("old\u{1b}[31m"), None, None),
    ];
    let mut api = change(
        "api",
        Bucket::Replace,
        Some("host-2"),
        Some("host-2"),
        Cause::Requirement("web is reached in another way".to_owned()),
    );
    api.gap = Gap::Gap("host port 5432 is held by the old instance".to_owned());
    let kept = change("cache", Bucket::Keep, Some("host-3"), Some("host-3"), Cause::Unchanged);
    check_plan("replace", &changes(vec![api, kept, web]));
}

#[test]
fn a_reviewer_sees_where_more_replicas_go_and_that_those_there_stay() {
    let numbered = |number: u32, bucket, from: Option<&str>, to: &str, cause| Change {
        instance: id("web", number),
        ..change("web", bucket, from, Some(to), cause)
    };
    let mut second = numbered(2, Bucket::Create, None, "host-2", Cause::New(at(9)));
    second.why_there = "spread: 0 of this stack there before, score 88.1, of 3 hosts".to_owned();
    let mut third = numbered(3, Bucket::Create, None, "host-3", Cause::New(at(9)));
    third.why_there = "spread: 0 of this stack there before, score 71.2, of 3 hosts".to_owned();
    let kept = numbered(1, Bucket::Keep, Some("host-1"), "host-1", Cause::Unchanged);
    check_plan("scale-up", &changes(vec![kept, second, third]));
}

#[test]
fn a_reviewer_sees_what_a_change_of_the_inventory_moves() {
    let drained = || Cause::Placed("leaves host-2, which is draining; auto: best score 88.1 of 3 hosts".to_owned());
    let mut web = change("web", Bucket::Move, Some("host-2"), Some("host-3"), drained());
    web.why_there = "leaves host-2, which is draining; auto: best score 88.1 of 3 hosts".to_owned();
    let mut db = change("db", Bucket::Move, Some("host-2"), Some("host-1"), drained());
    db.gap = Gap::Gap("host port 5432 goes to another host".to_owned());
    let stays = Hold::StaysOnDraining {
        instance: id("store", 1),
        host: host("host-2"),
        why: "stays where it is: the volume `data` is here".to_owned(),
    };
    check_plan(
        "inventory",
        &of_shop(StackPlan {
            content: Some(Digest::of(b"the shop")),
            changes: vec![db, web],
            holds: vec![stays],
            ..StackPlan::default()
        }),
    );
}

/// Of a container that may do much: a bind mount, two ports, two capabilities, privileged.
fn daring_request() -> ContainerRequest {
    let port = |host_port| PortRequest {
        container: 8000 + host_port,
        protocol: Protocol::Tcp,
        host_ip: address(1),
        host_port,
    };
    ContainerRequest {
        name: ContainerName::new("shop-web-1").expect("a name"),
        image: "example/web:2".to_owned(),
        resolved: ResolvedImage::Local("sha256:1".to_owned()),
        labels: BTreeMap::new(),
        environment: BTreeMap::new(),
        command: None,
        entrypoint: None,
        user: None,
        working_dir: None,
        health: None,
        restart: Restart::UnlessStopped,
        stop_grace_period: Duration::from_secs(10),
        mounts: vec![MountRequest {
            kind: MountKind::Bind("/srv/data".to_owned()),
            target: "/data".to_owned(),
            access: Access::ReadOnly,
        }],
        ports: vec![port(80), port(81)],
        network: NetworkAttachment::None,
        extra_hosts: Vec::new(),
        settings: Settings {
            privileged: Some(true),
            cap_add: vec!["NET_ADMIN".to_owned(), "SYS_TIME".to_owned()],
            ..Settings::default()
        },
        cpu_limit: None,
        memory_limit: None,
    }
}

#[test]
fn a_reviewer_sees_what_is_newly_allowed_and_nothing_that_was_before() {
    let mut web = change("web", Bucket::Replace, Some("host-1"), Some("host-1"), Cause::Changed(at(14)));
    web.fields = vec![
        field("capAdd", Some("NET_ADMIN"), Some("NET_ADMIN SYS_TIME"), Some(15)),
        field("ports", Some("10.0.0.1:80->8080/tcp"), Some("10.0.0.1:80->8080/tcp 10.0.0.1:81->8081/tcp"), Some(16)),
        field("privileged", None, Some("true"), Some(17)),
    ];
    let request = daring_request();
    let create = |service: &str, request: &ContainerRequest| Step {
        host: host("host-1"),
        endpoint: Endpoint::Memory("one".to_owned()),
        instance: Some(id(service, 1)),
        act: Act::Create(Box::new(request.clone())),
        after: BTreeSet::new(),
        because: "it shall differ".to_owned(),
    };
    let new = change("agent", Bucket::Create, None, Some("host-1"), Cause::New(at(30)));
    let steps =
        vec![create("web", &request), create("agent", &ContainerRequest { ports: Vec::new(), ..request.clone() })];
    check_plan(
        "capability",
        &of_shop(StackPlan {
            content: Some(Digest::of(b"the shop")),
            changes: vec![new, web],
            steps,
            ..StackPlan::default()
        }),
    );
}

#[test]
fn a_comment_fits_and_says_what_was_left_out() {
    let one = |number: u32| {
        let mut web = change("web", Bucket::Replace, Some("host-1"), Some("host-1"), Cause::Changed(at(14)));
        web.instance = id("web", number);
        web.fields = vec![field("labels.note", Some(&"x".repeat(500)), Some(&"y".repeat(500)), Some(20))];
        web
    };
    let comment = |count| {
        let (plan, head) = (changes((1..=count).map(one).collect()), revision('a'));
        markdown::plan(&Shown {
            plan: &plan,
            branch: "main",
            revision: &head,
            against: Against::Hosts,
            later: &NOTHING,
        })
    };
    let (fits, folded, all) = (comment(20), comment(100), comment(2000));
    assert!(!fits.contains("left out"), "{fits}");
    assert!(folded.len() <= 65_536 && folded.contains("| shop/web-100 |"), "{} bytes", folded.len());
    let left_out = folded.lines().find(|line| line.contains("left out")).expect("it says so");
    assert!(left_out.contains("51 instances' fields"), "{left_out}");
    assert!(all.len() <= 65_536 && all.contains(" rows of the table"), "{} bytes", all.len());
    assert!(all.contains("| shop/web-1 |"), "those that fit are there");
    assert!(all.starts_with(markdown::MARKER) && all.contains("2000 replaced") && all.contains("Plan `"));
}

#[test]
fn a_comment_on_far_too_much_still_says_what_matters_most() {
    let removals: BTreeSet<InstanceId> = (1..=5000).map(|number| id("web", number)).collect();
    let digest = removal_digest(&removals);
    let line = format!("Bayplan-Allow-Removal: {digest}");
    let braked = Braked { removals, why: Why::Many { fleet: 5000, allowed: 1000 }, digest };
    let new: Vec<Change> = (1..=2000)
        .map(|number| {
            let mut web = change("web", Bucket::Create, None, Some("host-1"), Cause::New(at(14)));
            web.instance = id("web", number);
            web
        })
        .collect();
    let steps = (1..=2000).map(|number| Step {
        host: host("host-1"),
        endpoint: Endpoint::Memory("host-1".to_owned()),
        instance: Some(id("web", number)),
        act: Act::Create(Box::new(daring_request())),
        after: BTreeSet::new(),
        because: "it is new".to_owned(),
    });
    let mut plan = of_shop(StackPlan { steps: steps.collect(), changes: new, ..StackPlan::default() });
    plan.holds.push(Hold::Brake(braked));
    let later: BTreeMap<StackSlug, Closed> =
        (0..5000).map(|number| (slug(&format!("stack-{number}")), Closed::OutsideWindows(None))).collect();
    let (head, against) = (revision('a'), Against::Hosts);
    let text = markdown::plan(&Shown { plan: &plan, branch: "main", revision: &head, against, later: &later });
    assert!(text.len() <= 65_536, "{} bytes", text.len());
    for said in [line.as_str(), "4950 more", "And 4950 other stacks later", "Newly allowed", "left out: "] {
        assert!(text.contains(said), "it does not say {said:?}:\n{text}");
    }
}

#[test]
fn a_move_shows_both_hosts() {
    let mut cache =
        change("cache", Bucket::Move, Some("host-2"), Some("host-3"), Cause::Placed("host-2 is draining".to_owned()));
    cache.why_there = "targetHost; reason: near the app".to_owned();
    check_plan("move", &changes(vec![cache]));
}

#[test]
fn what_goes_and_what_is_healed_say_why() {
    let start = change(
        "web",
        Bucket::Start,
        Some("host-1"),
        Some("host-1"),
        Cause::Drift("it was stopped behind our back".to_owned()),
    );
    let gone = change(
        "old",
        Bucket::Remove,
        Some("host-2"),
        None,
        Cause::NotWanted("stacks/shop.yaml asks for it no more".to_owned()),
    );
    let name = change("api", Bucket::TakeName, Some("host-2"), Some("host-2"), Cause::Unfinished);
    let action = change("db", Bucket::RunAction, Some("host-3"), Some("host-3"), Cause::Changed(at(30)));
    check_plan("remove", &changes(vec![name, action, gone, start]));
}

#[test]
fn a_hold_names_every_host_and_what_lifts_it() {
    let unplaced = Unplaced {
        why: "no host may take it".to_owned(),
        refusals: [
            (host("host-1"), vec![Refusal::Unreachable]),
            (host("host-2"), vec![Refusal::Status(HostStatus::Draining), Refusal::NotOn]),
        ]
        .into(),
    };
    let holds = vec![
        Hold::Unplaced { instance: id("web", 1), unplaced },
        Hold::HostUnreachable { host: host("host-1"), why: "connection refused".to_owned(), needed_for: id("api", 1) },
        Hold::ForeignName {
            instance: id("db", 1),
            host: host("host-2"),
            name: ContainerName::new("shop-db-1").expect("a name"),
            container: "0123456789abcdef".to_owned(),
        },
        Hold::VolumeMissing {
            stack: slug("shop"),
            host: host("host-2"),
            volume: VolumeName::new("data").expect("a name"),
        },
        Hold::VolumeLost {
            instance: id("db", 2),
            host: host("host-1"),
            volumes: ["data", "wal"].map(|name| VolumeName::new(name).expect("a name")).into(),
        },
    ];
    check_plan("hold", &of_shop(StackPlan { content: Some(Digest::of(b"the shop")), holds, ..StackPlan::default() }));
}

#[test]
fn the_brake_prints_the_line_that_lifts_it() {
    let removals: BTreeSet<InstanceId> = (1..=4).map(|number| id("web", number)).collect();
    let digest = removal_digest(&removals);
    let braked = Braked { removals: removals.clone(), why: Why::Many { fleet: 5, allowed: 3 }, digest };
    let mut plan = of_shop(StackPlan {
        content: Some(Digest::of(b"the shop")),
        holds: removals.iter().map(|instance| Hold::RemovalBraked { instance: instance.clone() }).collect(),
        ..StackPlan::default()
    });
    plan.holds.push(Hold::Brake(braked.clone()));
    plan.braked = vec![braked];
    check_plan("brake", &plan);
}

#[test]
fn going_back_says_what_failed_and_what_counts_instead() {
    let mut web = change(
        "web",
        Bucket::Replace,
        Some("host-1"),
        Some("host-1"),
        Cause::RollBack("shop/web-1 was unhealthy".to_owned()),
    );
    web.image = "example/web:1".to_owned();
    let holds = vec![Hold::BadContent { reason: "shop/web-1 was unhealthy".to_owned(), back_to: Some(revision('b')) }];
    check_plan(
        "rollback",
        &of_shop(StackPlan {
            content: Some(Digest::of(b"the shop")),
            changes: vec![web],
            holds,
            ..StackPlan::default()
        }),
    );
}

#[test]
fn an_empty_plan_is_one_line() {
    let plan = Plan::default();
    let (head, ledger) = (revision('a'), revision('c'));
    let shown = |against| plan::plan(&Shown { plan: &plan, branch: "main", revision: &head, against, later: &NOTHING });
    let all = [shown(Against::Hosts), shown(Against::Ledger(Some(&ledger))), shown(Against::Ledger(None))];
    check("plan-empty.txt", &all.join("\n"));
}

fn instance(on: &str, last: u8, image: &str, health: InstanceHealth) -> InstanceRecord {
    InstanceRecord {
        host: host(on),
        address: address(last),
        container: Some("c".repeat(64)),
        image: image.to_owned(),
        resolved: ResolvedImage::Registry(format!("{image}@sha256:{}", "d".repeat(64))),
        digest: Digest::of(image.as_bytes()),
        ports: vec![port(last, 18080)],
        health,
        reason: "most free | of <3> hosts".to_owned(),
    }
}

fn ledger() -> Ledger {
    let deployment = |digit, instances| Deployment {
        revision: revision(digit),
        content: Digest::of(b"content"),
        files: vec!["stacks/shop.yaml".to_owned()],
        placement: Strategy::Auto,
        datacenter: None,
        instances,
    };
    let shop = Record {
        name: StackName::new("Shop").expect("a name"),
        status: StackStatus::Degraded,
        running: Some(deployment(
            'b',
            BTreeMap::from([
                (id("web", 1), instance("host-1", 1, "example/web:1", InstanceHealth::Healthy)),
                (id("web", 2), instance("host-2", 2, "example/web:1", InstanceHealth::Stopped)),
                (id("cache", 1), instance("host-2", 2, "redis:7", InstanceHealth::Unknown)),
            ]),
        )),
        next: Some(deployment('d', BTreeMap::new())),
        bad: BTreeMap::new(),
        accepted: BTreeSet::new(),
        superseded: BTreeMap::new(),
        actions: BTreeSet::new(),
        conditions: vec![Condition {
            name: "held".to_owned(),
            reason: "host-unreachable".to_owned(),
            message: "shop/web-2 needs a step on host-2\nwhich does not answer".to_owned(),
        }],
    };
    let host_record = |last, condition| HostRecord {
        address: address(last),
        endpoint: Some(Endpoint::Unix("/run/docker.sock".into())),
        facts: Some(Facts { cpu: 4000, memory: 16 << 30, cpu_used: 30, memory_used: 0 }),
        condition,
        taken: BTreeSet::new(),
        volumes: BTreeSet::new(),
    };
    Ledger {
        head: None,
        controller: None,
        commit: Some(revision('e')),
        owner: Some("owner".to_owned()),
        records: [(slug("shop"), shop)].into(),
        hosts: BTreeMap::from([
            (host("host-1"), host_record(1, HostCondition::Reachable)),
            (host("host-2"), host_record(2, HostCondition::Unreachable)),
        ]),
    }
}

fn inventory() -> Inventory {
    let one = |name: &str, last, endpoint: Option<&str>| {
        let host = Host {
            name: host(name),
            id: None,
            ip_address: address(last),
            publish_address: address(last),
            cpu: (last == 3).then_some(1500),
            memory: None,
            datacenter: (last != 3).then(|| "fsn1".to_owned()),
            status: if last == 2 { HostStatus::Draining } else { HostStatus::Active },
            labels: BTreeMap::new(),
            endpoint: endpoint.and_then(Endpoint::parse),
            port_range: (20000, 29999),
            reserved_cpu: 0,
            reserved_memory: 0,
            at: Places::new(at(1), BTreeMap::new()),
        };
        (host.name.clone(), Arc::new(host))
    };
    let hosts = [
        one("host-1", 1, Some("unix:///run/docker.sock")),
        one("host-2", 2, Some("tcp://10.0.0.2:2376")),
        one("host-3", 3, None),
    ];
    Inventory { hosts: hosts.into(), wrong: BTreeSet::new() }
}

#[test]
fn the_map_shows_stacks_hosts_services_and_conditions() {
    let (ledger, inventory) = (ledger(), inventory());
    let mut drawn = status_map::map(&status_map::Input { ledger: &ledger, inventory: Some(&inventory), stacks: &[] });
    drawn.stacks[0].connections.push(status_map::Connection {
        from: id("web", 1),
        to: "cache".to_owned(),
        host: "10.0.0.2".to_owned(),
        port: Some("18080".to_owned()),
    });
    check("map.txt", &map::map(&drawn));
    check("map.json", &map::json(&drawn, ledger.commit.as_ref()));
    check("map-of-map.md", &page::of_map(&drawn));
    check("map.md", &page::page(&ledger));
}

#[test]
fn an_empty_ledger_has_a_page_and_a_map() {
    let empty = Ledger::default();
    let drawn = status_map::map(&status_map::Input { ledger: &empty, inventory: None, stacks: &[] });
    check("map-empty.txt", &map::map(&drawn));
    check("map-empty.md", &page::page(&empty));
}

#[test]
fn hosts_are_a_table_with_what_each_was_seen_to_have() {
    let (ledger, inventory) = (ledger(), inventory());
    let one = inventory.hosts[&host("host-1")].endpoint.clone().expect("an endpoint");
    let two = inventory.hosts[&host("host-2")].endpoint.clone().expect("an endpoint");
    let about = About {
        id: "x".to_owned(),
        version: "28.5.2".to_owned(),
        api_version: "1.51".to_owned(),
        cpu: 4000,
        memory: 16 << 30,
    };
    let world = World {
        engines: BTreeMap::from([
            (one.clone(), EngineView::Seen(Arc::new(EngineSeen { about, ..EngineSeen::default() }))),
            (two.clone(), EngineView::Unreachable("the engine cannot be reached: no route".to_owned())),
        ]),
        hosts: BTreeMap::from([(host("host-1"), one), (host("host-2"), two)]),
        ..World::default()
    };
    let shown = hosts::Shown { inventory: &inventory, world: &world, ledger: &ledger };
    check("hosts.txt", &hosts::table(&shown));
    check("hosts.json", &hosts::json(&shown));
}

/// Revision `b` is here, `d` is not.
fn authored() -> BTreeMap<Revision, Authored> {
    let one = |author: &str, subject: &str| Authored {
        author: author.to_owned(),
        email: format!("{}@example.org", author.to_lowercase()),
        subject: subject.to_owned(),
    };
    BTreeMap::from([
        (
            revision('a'),
            one("Ada", "A new web, with a subject that is longer than what fits into a line of a timeline"),
        ),
        (revision('b'), one("Bob", "Bring the \u{1b}[31mshop")),
    ])
}

fn entry(hour: i64, what: What, digit: Option<char>) -> Entry {
    let happened = Happened {
        what,
        revision: digit.map(revision),
        moves: Vec::new(),
        touched: BTreeSet::new(),
        reason: String::new(),
    };
    Entry {
        commit: revision('e'),
        at: 1_767_225_600 + hour * 3600,
        stack: Some(slug("shop")),
        happened,
        message: format!("shop {}", what.as_str()),
        // One that no controller wrote.
        trailers: if what == What::RolledBack {
            Vec::new()
        } else {
            vec![
                ("Bayplan-Revision".to_owned(), "a".repeat(40)),
                ("Bayplan-Controller".to_owned(), "one".to_owned()),
                ("Bayplan-Result".to_owned(), what.as_str().to_owned()),
            ]
        },
    }
}

#[test]
fn a_timeline_says_when_what_whose_and_where() {
    let moved = |name: &str, from: Option<&str>, to: Option<&str>| Move {
        instance: id(name, 1),
        from: from.map(host),
        to: to.map(host),
    };
    let mut removed = entry(9, What::Removed, Some('d'));
    removed.happened.moves = vec![moved("web", Some("host-2"), None)];
    let mut back = entry(8, What::RolledBack, Some('b'));
    back.happened.reason = "the content of this revision failed before".to_owned();
    let mut failed = entry(7, What::Failed, Some('a'));
    failed.happened.reason = "shop/web-1 on host-2 exited\nits last line: \u{7}no".to_owned();
    let mut runs = entry(5, What::Runs, Some('b'));
    runs.happened.moves = vec![moved("db", None, Some("host-1")), moved("web", Some("host-1"), Some("host-2"))];
    runs.happened.touched = BTreeSet::from([Touched { host: host("host-2"), instance: Some(id("web", 1)) }]);
    let measured = |hour, reason: &str| {
        let mut measured = entry(hour, What::Measured, None);
        measured.stack = None;
        measured.happened.touched = BTreeSet::from([Touched { host: host("host-3"), instance: None }]);
        measured.happened.reason = reason.to_owned();
        measured
    };
    let entries = [
        removed,
        back,
        failed,
        entry(6, What::Deploying, Some('a')),
        runs,
        measured(4, "host-3 is unreachable"),
        measured(3, ""),
    ];
    let (ledger, authored) = (revision('e'), authored());
    let shown = history::Shown { ledger: Some(&ledger), entries: &entries, authored: &authored };
    check("history.txt", &history::timeline(&shown));
    check("history.json", &history::json(&shown));
    check("history-empty.txt", &history::timeline(&history::Shown { entries: &[], ..shown }));
}

#[test]
fn blame_names_for_each_instance_who_put_it_there_since_when_and_why() {
    let record = ledger().records[&slug("shop")].clone();
    let running = record.running.clone().expect("it runs");
    let put = |(number, (instance, now)): (usize, (InstanceId, InstanceRecord))| Put {
        instance,
        now,
        commit: revision(if number == 0 { 'e' } else { 'c' }),
        at: 1_767_225_600 - 86_400 * i64::try_from(number).expect("few"),
        revision: revision(if number == 2 { 'd' } else { 'b' }),
    };
    let instances = running.instances.into_iter().enumerate().map(put).collect();
    let blamed = Blamed { head: revision('e'), record: Arc::new(record), instances };
    check("blame.txt", &blame::blame(&blamed, &authored()));
    check("blame.json", &blame::json(&blamed, &authored()));
}

#[test]
fn a_rollback_says_what_it_restores_why_that_and_what_to_do_next() {
    let running = ledger().records[&slug("shop")].running.clone().expect("it runs");
    let ran = Ran { commit: revision('e'), at: 1_767_225_600, deployment: running };
    let (head, to) = (revision('a'), revision('b'));
    let back = Rollback {
        stack: slug("shop"),
        head,
        to: to.clone(),
        why: Chosen::RanBefore(Box::new(ran)),
        removed: vec!["stacks/shop.yaml".into(), "stacks/team/shop.json".into()],
        restored: vec!["stacks/shop.yaml".into()],
        report: Report::default(),
        after: Snapshot { revision: None, files: Vec::new(), problems: Vec::new() },
        verdict: Verdict::Right,
    };
    let (asked, failed) = (
        Rollback { why: Chosen::Asked, ..back.clone() },
        Rollback { verdict: Verdict::FailedBefore("shop/web-1 exited".to_owned()), ..back.clone() },
    );
    let (commit, branch) = (revision('f'), "bayplan-rollback/shop-bbbbbbbbbb".to_owned());
    let new = Restored::NewBranch { commit: commit.clone(), branch: branch.clone() };
    let checked_out = Restored::CheckedOut { commit: commit.clone(), branch };
    let watched = Restored::Watched { commit };
    let authored = authored();
    let shown = |rollback, restored, place| rollback::Shown {
        rollback,
        restored,
        authored: authored.get(&to),
        branch: "main",
        place,
        repo: None,
    };
    let all = [
        shown(&back, Some(&new), rollback::Place::WorkTree),
        shown(&failed, Some(&new), rollback::Place::Bare),
        shown(&back, Some(&new), rollback::Place::Remote),
        shown(&asked, Some(&checked_out), rollback::Place::WorkTree),
        shown(&asked, Some(&watched), rollback::Place::Bare),
        shown(&asked, Some(&Restored::Same), rollback::Place::Bare),
        shown(&asked, None, rollback::Place::Bare),
    ];
    check("rollback.txt", &all.iter().map(rollback::rollback).collect::<Vec<_>>().join("\n"));
    check("rollback.json", &rollback::json(&all[0]));
}
