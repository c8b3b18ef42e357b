//! Guards the digests of requests: one that changes replaces every container of every user at the next update.
//!
//! The digests are written down. Where a change of one is meant, the release notes must say that containers are replaced.

#[path = "support/worlds.rs"]
mod worlds;

use std::collections::BTreeMap;
use std::time::Duration;

use bayplan::model::desired::Inventory;
use bayplan::model::mapping::Mapping;
use bayplan::model::request::{
    ContainerRequest, EngineHealthCheck, LABEL_DIGEST, LABEL_REVISION, MountKind, MountRequest, NetworkAttachment,
    PortRequest, ResolvedImage,
};
use bayplan::model::stack::{Access, HostPort, Logging, NetworkMode, Protocol, Restart, Settings, Strategy};
use bayplan::name::{ContainerName, NetworkName, Revision};
use bayplan::plan::request::{Build, build};
use bayplan::secret::Secret;

fn minimal() -> ContainerRequest {
    ContainerRequest {
        name: ContainerName::new("shop-web-1").expect("a name"),
        image: "example/web:1".to_owned(),
        resolved: ResolvedImage::Registry(format!("example/web@sha256:{}", "a".repeat(64))),
        labels: BTreeMap::new(),
        environment: BTreeMap::new(),
        command: None,
        entrypoint: None,
        user: None,
        working_dir: None,
        health: None,
        restart: Restart::UnlessStopped,
        stop_grace_period: Duration::from_secs(10),
        mounts: Vec::new(),
        ports: Vec::new(),
        network: NetworkAttachment::Named {
            network: NetworkName::new("shop").expect("a name"),
            aliases: vec!["web".to_owned()],
        },
        extra_hosts: Vec::new(),
        settings: Settings::default(),
        cpu_limit: None,
        memory_limit: None,
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn pairs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// Every field holds something.
fn full() -> ContainerRequest {
    let mount = |kind, access| MountRequest { kind, target: "/data".to_owned(), access };
    ContainerRequest {
        labels: pairs(&[("bayplan.stack", "shop"), ("team", "blue")]),
        environment: [("PASSWORD".to_owned(), Secret::new("geheim \u{e4}\n".to_owned()))].into(),
        command: Some(words(&["serve", "--port", "80"])),
        entrypoint: Some(words(&["/init"])),
        user: Some("1000:1000".to_owned()),
        working_dir: Some("/srv".to_owned()),
        health: Some(EngineHealthCheck {
            test: words(&["CMD-SHELL", "true"]),
            interval: Duration::from_millis(2500),
            timeout: Duration::from_secs(5),
            retries: 3,
            start_period: Duration::from_secs(10),
        }),
        restart: Restart::OnFailure,
        mounts: vec![
            mount(MountKind::Volume(worlds::volume_name("shop-data")), Access::ReadWrite),
            mount(MountKind::Bind("/etc/shop".to_owned()), Access::ReadOnly),
            mount(MountKind::Tmpfs, Access::ReadWrite),
        ],
        ports: vec![PortRequest {
            container: 80,
            protocol: Protocol::Tcp,
            host_ip: worlds::address(1),
            host_port: 8080,
        }],
        network: NetworkAttachment::Host,
        extra_hosts: words(&["db:10.0.0.2"]),
        settings: Settings {
            hostname: Some("web".to_owned()),
            domainname: Some("example.org".to_owned()),
            dns: words(&["10.0.0.53"]),
            dns_search: words(&["example.org"]),
            dns_options: words(&["ndots:1"]),
            extra_hosts: words(&["counted:elsewhere"]),
            cap_drop: words(&["ALL"]),
            cap_add: words(&["NET_BIND_SERVICE"]),
            devices: words(&["/dev/fuse"]),
            security_opt: words(&["no-new-privileges"]),
            sysctls: pairs(&[("net.core.somaxconn", "1024")]),
            group_add: words(&["audio"]),
            ulimits: [("nofile".to_owned(), (1024, 2048))].into(),
            shm_size: Some(64 << 20),
            init: Some(true),
            read_only: Some(true),
            privileged: Some(false),
            tty: Some(true),
            stdin_open: Some(false),
            pids_limit: Some(100),
            oom_score_adj: Some(-5),
            stop_signal: Some("SIGQUIT".to_owned()),
            network_mode: NetworkMode::Host,
            logging: Some(Logging { driver: "json-file".to_owned(), options: pairs(&[("max-size", "1m")]) }),
        },
        cpu_limit: Some(1500),
        memory_limit: Some(1 << 30),
        ..minimal()
    }
}

/// As the plan builds it: with our labels and the variables of a connection.
fn built() -> ContainerRequest {
    let mut web = worlds::service("web");
    web.requirements = vec![worlds::requirement("db", Some("postgres://shop@host-2:5432/shop"))];
    let mut db = worlds::service("db");
    db.ports = vec![worlds::port(5432, HostPort::Chosen)];
    let stack = worlds::stack("shop", Strategy::Auto, [db, web]);
    let mut inventory = Inventory::default();
    for name in ["host-1", "host-2"] {
        inventory.hosts.insert(worlds::host_name(name), worlds::host(name).into());
    }
    let mapping = Mapping::from([
        (worlds::id("shop/db-1"), worlds::was_on("host-2")),
        (worlds::id("shop/web-1"), worlds::was_on("host-2")),
    ]);
    let revision = Revision::new(&"a".repeat(40)).expect("a revision");
    let from = Build { stack: &stack, mapping: &mapping, inventory: &inventory, owner: "me", revision: &revision };
    let service = stack.service("web").expect("it was just made");
    let (request, digest) =
        build(&from, service, &worlds::id("shop/web-1"), &minimal().resolved).expect("it is placed");
    assert_eq!(request.digest(), digest);
    request
}

#[track_caller]
fn check(request: &ContainerRequest, written_down: &str) {
    let parts: Vec<String> = request.parts().keys().cloned().collect();
    assert_eq!(request.digest().as_str(), written_down, "the digest changed; it covers {parts:?}");
}

#[test]
fn the_digests_are_those_written_down() {
    check(&minimal(), "7d30a4429f0c6f1dbbc67d6b0f61abbb03d0eac6a71143a81ce16809316ba1a2");
    check(&full(), "0646c861620d56d5544bd1458b7d232fb35e3ca7b1c30842415bfeb2ab852da6");
    check(&built(), "eec16e9f3e06ab00ee794d5d662298d6cf45e5f3b85937b0991b2975be41c0c2");
    let local = ContainerRequest { resolved: ResolvedImage::Local(format!("sha256:{}", "b".repeat(64))), ..minimal() };
    check(&local, "4bf3f09ef7efd60d07da7bf5ef01b3ee09c245d11b2cffde3dde25619ee11c27");
    let alone = ContainerRequest { network: NetworkAttachment::None, restart: Restart::No, ..minimal() };
    check(&alone, "ca5d0a4c3343f3722f45cc4d2730f4fe1852208b2e8323ea83709de8d6924851");
}

#[test]
fn a_field_that_is_absent_is_no_part_of_a_digest() {
    let parts: Vec<String> = minimal().parts().keys().cloned().collect();
    assert_eq!(parts, ["image", "resolved", "restartPolicy", "stopGracePeriod", "network"]);
}

#[test]
fn name_aliases_revision_and_the_digest_itself_are_no_part_of_a_digest() {
    let mut other = full();
    other.name = ContainerName::new("shop-web-1.12345678").expect("a name");
    other.labels.insert(LABEL_REVISION.to_owned(), "b".repeat(40));
    other.labels.insert(LABEL_DIGEST.to_owned(), "c".repeat(64));
    assert_eq!(other.digest(), full().digest());
    let mut unnamed = minimal();
    unnamed.network = NetworkAttachment::Named { network: NetworkName::new("shop").expect("a name"), aliases: vec![] };
    assert_eq!(unnamed.digest(), minimal().digest());
}

#[test]
fn every_field_that_holds_something_is_a_part_of_the_digest() {
    let changes: Vec<(&str, fn(&mut ContainerRequest))> = vec![
        ("image", |r| r.image.push('x')),
        ("resolved", |r| r.resolved = ResolvedImage::Local("x".to_owned())),
        ("labels", |r| drop(r.labels.insert("x".to_owned(), String::new()))),
        ("environment", |r| drop(r.environment.insert("x".to_owned(), Secret::new(String::new())))),
        ("command", |r| r.command = None),
        ("entrypoint", |r| r.entrypoint = None),
        ("user", |r| r.user = None),
        ("workingDir", |r| r.working_dir = None),
        ("healthCheck", |r| r.health = None),
        ("restartPolicy", |r| r.restart = Restart::No),
        ("stopGracePeriod", |r| r.stop_grace_period += Duration::from_millis(1)),
        ("volumeMounts", |r| r.mounts.truncate(1)),
        ("ports", |r| r.ports.clear()),
        ("network", |r| r.network = NetworkAttachment::None),
        ("extraHosts", |r| r.extra_hosts.clear()),
        ("cpuLimit", |r| r.cpu_limit = None),
        ("memoryLimit", |r| r.memory_limit = None),
        ("hostname", |r| r.settings.hostname = None),
        ("privileged", |r| r.settings.privileged = None),
        ("logging", |r| r.settings.logging = None),
    ];
    for (part, change) in changes {
        let mut changed = full();
        change(&mut changed);
        assert_ne!(changed.digest(), full().digest(), "{part}");
        assert_ne!(changed.parts().get(part), full().parts().get(part), "{part}");
    }
}
