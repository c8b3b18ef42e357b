//! Records for tests, and that they come back as they were written, in files that the schema describes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bayplan::ledger::{self, Change};
use bayplan::model::host::Endpoint;
use bayplan::model::mapping::{PortOrigin, PublishedPort};
use bayplan::model::record::{
    ActionDone, BadMark, Condition, Deployment, Facts, HostCondition, HostRecord, InstanceHealth, InstanceRecord,
    Record, StackStatus, TakenPort, Tried,
};
use bayplan::model::request::ResolvedImage;
use bayplan::model::stack::{OnFailure, Protocol, Strategy as Placement};
use bayplan::name::{Digest, HostName, InstanceId, Revision, ServiceName, StackName, StackSlug, VolumeName};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::sample::select;
use proptest::test_runner::{Config, RngSeed, TestRunner};

use crate::repo::Repo;

/// A record of a stack with one healthy instance of `web` on a host.
pub fn record(stack: &str, host: &str) -> Record {
    let name = StackName::new(stack).unwrap();
    let id = InstanceId { stack: name.slug().clone(), service: ServiceName::new("web").unwrap(), number: 1 };
    let instance = InstanceRecord {
        host: HostName::new(host).unwrap(),
        address: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)),
        container: Some("c0ffee".to_owned()),
        image: "web:1".to_owned(),
        resolved: ResolvedImage::Local("sha256:1".to_owned()),
        digest: Digest::of(b"web"),
        ports: Vec::new(),
        health: InstanceHealth::Healthy,
        reason: "most free memory".to_owned(),
    };
    Record {
        name,
        status: StackStatus::Running,
        running: Some(Deployment {
            revision: Revision::new(&"a".repeat(40)).unwrap(),
            content: Digest::of(stack.as_bytes()),
            files: vec![format!("stacks/{stack}.yaml")],
            placement: Placement::Auto,
            datacenter: None,
            instances: [(id, instance)].into(),
        }),
        next: None,
        bad: BTreeMap::new(),
        accepted: BTreeSet::new(),
        superseded: BTreeMap::new(),
        actions: BTreeSet::new(),
        conditions: Vec::new(),
    }
}

/// A change that records these stacks.
pub fn change(records: &[Record]) -> Change {
    Change {
        owner: "us".to_owned(),
        records: records.iter().map(|r| (r.name.slug().clone(), Some(r.clone()))).collect(),
        hosts: None,
        page: Some("# Deployed\n".to_owned()),
        message: "Deploy".to_owned(),
        trailers: Vec::new(),
    }
}

fn name_text() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9][a-zA-Z0-9_.-]{0,12}"
}

fn free_text() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "\\PC{0,20}", "[\"\\\\\n\t{}:]{1,6}"]
}

fn host_name() -> impl Strategy<Value = HostName> {
    name_text().prop_map(|text| HostName::new(&text).unwrap())
}

fn service_name() -> impl Strategy<Value = ServiceName> {
    name_text().prop_map(|text| ServiceName::new(&text).unwrap())
}

fn digest() -> impl Strategy<Value = Digest> {
    any::<u64>().prop_map(|seed| Digest::of(&seed.to_be_bytes()))
}

fn revision() -> impl Strategy<Value = Revision> {
    "[0-9a-f]{40}".prop_map(|text| Revision::new(&text).unwrap())
}

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<u32>().prop_map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits))),
        any::<u128>().prop_map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits))),
    ]
}

fn protocol() -> impl Strategy<Value = Protocol> {
    select(vec![Protocol::Tcp, Protocol::Udp, Protocol::Sctp])
}

fn port() -> impl Strategy<Value = PublishedPort> {
    let origin = select(vec![PortOrigin::Explicit, PortOrigin::Chosen, PortOrigin::ForOthers]);
    (any::<u16>(), protocol(), address(), any::<u16>(), origin).prop_map(
        |(container, protocol, host_ip, host_port, origin)| PublishedPort {
            container,
            protocol,
            host_ip,
            host_port,
            origin,
        },
    )
}

fn resolved() -> impl Strategy<Value = ResolvedImage> {
    prop_oneof![
        digest().prop_map(|digest| ResolvedImage::Registry(format!("library/web@sha256:{digest}"))),
        digest().prop_map(|digest| ResolvedImage::Local(format!("sha256:{digest}"))),
    ]
}

fn instance() -> impl Strategy<Value = InstanceRecord> {
    let what = (option::of(name_text()), free_text(), resolved(), digest());
    let how = (vec(port(), 0..3), select(InstanceHealth::ALL.to_vec()), free_text());
    (host_name(), address(), what, how).prop_map(|(host, address, what, how)| InstanceRecord {
        host,
        address,
        container: what.0,
        image: what.1,
        resolved: what.2,
        digest: what.3,
        ports: how.0,
        health: how.1,
        reason: how.2,
    })
}

fn deployment(stack: StackSlug) -> impl Strategy<Value = Deployment> {
    let instances = btree_map((service_name(), 1..4_u32), instance(), 0..4);
    let place = (select(Placement::ALL.to_vec()), option::of(free_text()));
    (revision(), digest(), vec(free_text(), 0..3), place, instances).prop_map(
        move |(revision, content, files, (placement, datacenter), instances)| Deployment {
            revision,
            content,
            files,
            placement,
            datacenter,
            instances: instances
                .into_iter()
                .map(|((service, number), record)| {
                    let stack = stack.clone();
                    (InstanceId { stack, service, number }, record)
                })
                .collect(),
        },
    )
}

fn bad_mark() -> impl Strategy<Value = BadMark> {
    let mark = (free_text(), select(OnFailure::ALL.to_vec()));
    mark.prop_map(|(reason, on_failure)| BadMark { reason, on_failure })
}

fn tried() -> impl Strategy<Value = Tried> {
    let tried = (digest(), btree_map(host_name(), digest(), 0..2));
    tried.prop_map(|(content, hosts)| Tried { content, hosts })
}

fn any_record() -> impl Strategy<Value = Record> {
    let name = "[A-Za-z][A-Za-z0-9 _-]{0,12}".prop_map(|text| StackName::new(&text).unwrap());
    name.prop_flat_map(|name| {
        let slug = name.slug().clone();
        let action = (service_name(), free_text(), digest()).prop_map(|(service, action, digest)| ActionDone {
            service,
            action,
            digest,
        });
        let condition = (free_text(), free_text(), free_text()).prop_map(|(name, reason, message)| Condition {
            name,
            reason,
            message,
        });
        (
            select(StackStatus::ALL.to_vec()),
            option::of(deployment(slug.clone())),
            option::of(deployment(slug)),
            btree_map(tried(), bad_mark(), 0..3),
            btree_set(action, 0..3),
            btree_set((service_name(), 1u32..4), 0..3),
            btree_map(host_name(), vec(free_text(), 1..3), 0..2),
            vec(condition, 0..3),
        )
            .prop_map(move |(status, running, next, bad, actions, accepted, superseded, conditions)| Record {
                name: name.clone(),
                status,
                running,
                next,
                bad,
                actions,
                accepted: accepted
                    .into_iter()
                    .map(|(service, number)| InstanceId { stack: name.slug().clone(), service, number })
                    .collect(),
                superseded,
                conditions,
            })
    })
}

fn any_host() -> impl Strategy<Value = HostRecord> {
    let endpoint = prop_oneof![
        "/[a-z/]{1,12}".prop_map(|path| Endpoint::Unix(path.into())),
        ("[a-z0-9.]{1,12}", 1..=u16::MAX).prop_map(|(host, port)| Endpoint::Tcp(host, port)),
        name_text().prop_map(Endpoint::Memory),
    ];
    let facts = (any::<u64>(), any::<u64>(), 0..=10_u8, 0..=10_u8).prop_map(|(cpu, memory, cpu_used, memory_used)| {
        Facts { cpu, memory, cpu_used: cpu_used * 10, memory_used: memory_used * 10 }
    });
    let taken = (option::of(address()), any::<u16>(), protocol());
    let taken = taken.prop_map(|(ip, port, protocol)| TakenPort { ip, port, protocol });
    let volume = name_text().prop_map(|text| VolumeName::new(&text).unwrap());
    let known = (option::of(endpoint), option::of(facts), select(HostCondition::ALL.to_vec()));
    (address(), known, btree_set(taken, 0..4), btree_set(volume, 0..4)).prop_map(
        |(address, (endpoint, facts, condition), taken, volumes)| HostRecord {
            address,
            endpoint,
            facts,
            condition,
            taken,
            volumes,
        },
    )
}

fn schema() -> jsonschema::Validator {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/schemas/status.schema.json")).unwrap();
    jsonschema::draft202012::new(&serde_json::from_str(&text).unwrap()).unwrap()
}

#[test]
fn what_was_recorded_is_read_back_and_the_schema_describes_it() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let schema = schema();
    let mut runner = TestRunner::new(Config {
        cases: 48,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(5),
        ..Config::default()
    });
    let ledgers = (vec(any_record(), 0..4), btree_map(host_name(), any_host(), 0..4), free_text());
    let checked = runner.run(&ledgers, |(records, hosts, owner)| {
        runtime.block_on(async {
            let repo = Repo::bare();
            let source = repo.source().await;
            let change = Change { owner: owner.clone(), hosts: Some(hosts.clone()), ..change(&records) };
            let commit = ledger::open(&source).await.unwrap().commit(change.clone()).await.unwrap();
            let read = ledger::open(&source).await.unwrap().read().await.unwrap();
            let records: BTreeMap<_, _> = change.records.into_iter().filter_map(|(k, v)| Some((k, v?))).collect();
            assert_eq!(read.commit, commit);
            assert_eq!(read.owner.as_ref(), Some(&owner));
            assert_eq!(read.records, records);
            assert_eq!(read.hosts, hosts);
            let git = git2::Repository::open(&repo.path).unwrap();
            let tree = git.revparse_single("bayplan/status").unwrap().peel_to_tree().unwrap();
            let mut files = vec!["hosts.json".to_owned()];
            files.extend(records.keys().map(|slug| format!("status/{slug}.json")));
            for file in files {
                let blob = tree.get_path(file.as_ref()).unwrap().to_object(&git).unwrap();
                let text = String::from_utf8(blob.peel_to_blob().unwrap().content().to_vec()).unwrap();
                assert!(text.ends_with("}\n"));
                let value = serde_json::from_str(&text).unwrap();
                let errors: Vec<String> =
                    schema.iter_errors(&value).map(|e| format!("{}: {e}", e.instance_path())).collect();
                assert!(errors.is_empty(), "{file}: {errors:?}\n{text}");
            }
        });
        Ok(())
    });
    if let Err(failure) = checked {
        panic!("{failure}");
    }
}

#[test]
fn every_property_of_the_schema_has_a_description() {
    fn look(value: &serde_json::Value, at: &str, missing: &mut Vec<String>, defs: &serde_json::Value) {
        if let Some(properties) = value.get("properties").and_then(|p| p.as_object()) {
            for (name, property) in properties {
                let referred = property["$ref"].as_str().and_then(|r| r.strip_prefix("#/$defs/"));
                let described = property.get("description").is_some()
                    || referred.is_some_and(|name| defs[name].get("description").is_some());
                if !described {
                    missing.push(format!("{at}/{name}"));
                }
            }
        }
        match value {
            serde_json::Value::Object(parts) => {
                for (name, part) in parts {
                    look(part, &format!("{at}/{name}"), missing, defs);
                }
            }
            serde_json::Value::Array(parts) => parts.iter().for_each(|part| look(part, at, missing, defs)),
            serde_json::Value::Null
            | serde_json::Value::Bool(_)
            | serde_json::Value::Number(_)
            | serde_json::Value::String(_) => {}
        }
    }
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/schemas/status.schema.json")).unwrap();
    let schema: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut missing = Vec::new();
    look(&schema, "", &mut missing, &schema["$defs"]);
    assert!(missing.is_empty(), "{missing:?}");
}
