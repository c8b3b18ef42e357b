//! What an engine is: sentences that hold for the engine in memory and for Docker, of both generations, over each door.
//!
//! Because laws and transcripts are tried on the engine in memory, which may stand for Docker only where both obey.
//!
//! Without a fleet the sentences about Docker say `left out` and pass.

use std::time::Duration;

use bayplan::engine::EngineError;
use bayplan::engine::memory::faults::{Call, Fault, Times, Which};
use bayplan::model::request::{
    ContainerRequest, EngineHealthCheck, LABEL_DIGEST, LABEL_OWNER, MountKind, MountRequest, NetworkAttachment,
    PortRequest,
};
use bayplan::model::stack::{Access, Protocol, Restart};
use bayplan::model::world::{Health, State};
use bayplan::name::ContainerName;
use bayplan::name::image::ImageRef;
use futures_util::StreamExt;
use tokio::time::Instant;

use lab::{Behind, Lab, OWNER, SOON, exec};

#[path = "support/fleet.rs"]
mod fleet;
#[path = "contract/disturbed.rs"]
mod disturbed;
#[path = "contract/lab.rs"]
mod lab;

/// Each sentence as a test in memory and as one on the fleet.
macro_rules! contract {
    ($($sentence:ident),+ $(,)?) => {
        mod memory {
            $(#[test]
            fn $sentence() {
                crate::lab::in_memory(crate::$sentence);
            })+
        }
        mod docker {
            $(#[test]
            fn $sentence() {
                crate::lab::on_fleet(stringify!($sentence), crate::$sentence);
            })+
        }
    };
}

contract! {
    an_engine_says_what_it_is,
    a_name_in_use_is_refused,
    a_container_whose_reply_was_lost_is_adopted,
    a_missing_image_is_told_at_create,
    a_missing_network_is_told_at_create,
    a_taken_port_fails_the_start_and_the_container_stays_created,
    an_address_that_the_machine_does_not_have_is_a_port_that_cannot_be_had,
    what_is_already_so_is_fine,
    a_running_container_is_not_removed,
    a_stop_goes_on_though_who_asked_is_gone,
    the_list_knows_at_once_what_was_done,
    a_network_made_twice_is_one_with_a_small_subnet,
    a_network_in_use_is_not_removed,
    names_change_while_the_address_stays,
    a_container_that_lost_its_network_is_connected_again,
    a_volume_outlives_its_container_and_is_left_as_it_is,
    list_and_look_say_the_same,
    an_image_brings_its_health_check,
    a_request_brings_its_health_check,
    an_exec_gives_its_code_and_output,
    an_exec_that_does_not_end_goes_on_without_us,
    a_stopped_container_runs_no_command,
    logs_are_the_last_lines_and_follow_to_the_end,
    events_tell_of_a_death,
    exit_codes_are_in_the_list,
    a_killed_container_stays_exited_whatever_its_restart_policy,
    a_process_that_exits_is_started_again_by_its_policy,
    a_name_is_taken_by_renaming,
    use_is_measured,
    an_image_of_the_registry_is_resolved_pulled_and_removed,
    an_image_is_made_of_its_root,
}

async fn an_engine_says_what_it_is(lab: Lab) {
    let about = lab.engine.about().await.expect("an answer");
    assert!(!about.id.is_empty() && !about.version.is_empty(), "{}: {about:?}", lab.what);
    assert!(about.cpu >= 1000 && about.memory > 1 << 20, "{}: {about:?}", lab.what);
    if let Behind::Fleet { fleet, host } = &lab.behind {
        let host = fleet.host(host);
        assert_eq!((about.version.as_str(), about.api_version.as_str()), (host.engine.as_str(), host.api.as_str()));
    }
}

async fn a_name_in_use_is_refused(lab: Lab) {
    let mut request = lab.request("a", "web").await;
    lab.engine.create(&request).await.expect("it is created");
    request.labels.insert(LABEL_DIGEST.to_owned(), "d2".to_owned());
    let error = lab.engine.create(&request).await.expect_err("another digest");
    assert!(matches!(&error, EngineError::NameInUse { name } if *name == lab.name("a")), "{}: {error}", lab.what);
    request.labels.insert(LABEL_DIGEST.to_owned(), "d1".to_owned());
    request.labels.insert(LABEL_OWNER.to_owned(), "other".to_owned());
    let error = lab.engine.create(&request).await.expect_err("another owner");
    assert!(matches!(error, EngineError::NameInUse { .. }), "{}: {error}", lab.what);
}

async fn a_container_whose_reply_was_lost_is_adopted(lab: Lab) {
    let request = lab.request("a", "web").await;
    let first = match &lab.behind {
        Behind::Memory(engine) => {
            engine.fault(Fault::ReplyLost, Which::Only(Call::Create), Times::Next(1));
            let error = lab.engine.create(&request).await.expect_err("the reply is lost");
            assert!(error.is_transient(), "{error}");
            lab.detail(&lab.name("a")).await.seen.id
        }
        // What is left of a lost reply is a container, and that is all that a second call can see.
        Behind::Fleet { .. } => lab.engine.create(&request).await.expect("it is created"),
    };
    assert_eq!(lab.engine.create(&request).await.expect("it is adopted"), first, "{}", lab.what);
}

async fn a_missing_image_is_told_at_create(lab: Lab) {
    let mut request = lab.request("a", "web").await;
    request.resolved = bayplan::model::request::ResolvedImage::Local(format!("sha256:{}", "0".repeat(64)));
    let error = lab.engine.create(&request).await.expect_err("there is no such image");
    assert!(matches!(error, EngineError::ImageMissing { .. }), "{}: {error:?}", lab.what);
    request.resolved =
        bayplan::model::request::ResolvedImage::Registry(format!("nobody/nothing@sha256:{}", "0".repeat(64)));
    let error = lab.engine.create(&request).await.expect_err("there is no such image");
    assert!(matches!(error, EngineError::ImageMissing { .. }), "{}: {error:?}", lab.what);
}

async fn a_missing_network_is_told_at_create(lab: Lab) {
    let request = on_network(lab.request("a", "web").await, &lab, "nowhere", &[]);
    let error = lab.engine.create(&request).await.expect_err("there is no such network");
    assert!(matches!(error, EngineError::NotFound { .. }), "{}: {error:?}", lab.what);
}

async fn a_taken_port_fails_the_start_and_the_container_stays_created(lab: Lab) {
    lab.engine.create_network(&lab.network("n")).await.expect("a network");
    let mut holder = on_network(lab.request("holder", "web").await, &lab, "n", &[]);
    holder.ports = vec![port(&lab, lab.port)];
    let holder = lab.run(&holder).await;
    let mut request = on_network(lab.request("a", "web").await, &lab, "n", &[]);
    request.ports = vec![port(&lab, lab.port)];
    let id = lab.engine.create(&request).await.expect("creating takes no port");
    let error = lab.engine.start(&id).await.expect_err("the port is taken");
    assert!(matches!(error, EngineError::PortTaken { .. }), "{}: {error:?}", lab.what);
    let detail = lab.detail(&id).await;
    assert_eq!(detail.state(), State::Created, "{}", lab.what);
    assert!(!detail.error.is_empty(), "{}", lab.what);
    lab.engine.stop(&holder, Duration::from_secs(5)).await.expect("it stops");
    lab.engine.start(&id).await.expect("the port is free again");
    assert_eq!(lab.detail(&id).await.seen.ports[0].host_port, lab.port, "{}", lab.what);
}

async fn an_address_that_the_machine_does_not_have_is_a_port_that_cannot_be_had(lab: Lab) {
    lab.engine.create_network(&lab.network("n")).await.expect("a network");
    let mut request = on_network(lab.request("a", "web").await, &lab, "n", &[]);
    request.ports = vec![PortRequest { host_ip: "192.0.2.1".parse().expect("an address"), ..port(&lab, lab.port) }];
    let id = lab.engine.create(&request).await.expect("creating takes no port");
    let error = lab.engine.start(&id).await.expect_err("there is no such address");
    assert!(matches!(error, EngineError::PortTaken { .. }), "{}: {error:?}", lab.what);
}

async fn what_is_already_so_is_fine(lab: Lab) {
    let id = lab.run(&lab.request("a", "web").await).await;
    lab.engine.start(&id).await.expect("a running one is fine");
    let grace = Duration::from_secs(5);
    lab.engine.stop(&id, grace).await.expect("it stops");
    assert!(matches!(lab.state(&id).await, State::Exited { .. }), "{}", lab.what);
    lab.engine.stop(&id, grace).await.expect("a stopped one is fine");
    lab.engine.remove(&id).await.expect("it is removed");
    lab.engine.remove(&id).await.expect("a missing one is fine");
    lab.engine.stop(&id, grace).await.expect("a missing one is fine");
    lab.engine.remove_network("0123456789ab").await.expect("a missing one is fine");
    lab.engine.remove_image("nobody/nothing:1").await.expect("a missing one is fine");
    assert_eq!(lab.engine.container(&id).await.expect("an answer"), None, "{}", lab.what);
    assert_eq!(lab.engine.image("nobody/nothing:1").await.expect("an answer"), None, "{}", lab.what);
    let error = lab.engine.start(&id).await.expect_err("there is none");
    assert!(matches!(error, EngineError::NotFound { .. }), "{}: {error:?}", lab.what);
}

async fn the_list_knows_at_once_what_was_done(lab: Lab) {
    for _ in 0..5 {
        let id = lab.engine.create(&lab.request("a", "web").await).await.expect("it is created");
        assert_eq!(lab.state(&id).await, State::Created, "{}", lab.what);
        lab.engine.start(&id).await.expect("it starts");
        assert_eq!(lab.state(&id).await, State::Running, "{}", lab.what);
        let name = ContainerName::new(&lab.name("b")).expect("a name");
        lab.engine.rename(&id, &name).await.expect("it is renamed");
        let listed = lab.engine.containers().await.expect("a list");
        assert!(listed.iter().any(|c| c.id == id && c.name == name.as_str()), "{}", lab.what);
        lab.engine.stop(&id, Duration::from_secs(5)).await.expect("it stops");
        assert!(matches!(lab.state(&id).await, State::Exited { .. }), "{}", lab.what);
        lab.engine.remove(&id).await.expect("it is removed");
        let listed = lab.engine.containers().await.expect("a list");
        assert!(listed.iter().all(|c| c.id != id), "{}", lab.what);
    }
}

async fn a_running_container_is_not_removed(lab: Lab) {
    let id = lab.run(&lab.request("a", "web").await).await;
    let error = lab.engine.remove(&id).await.expect_err("it runs");
    assert!(matches!(error, EngineError::Refused { .. }), "{}: {error:?}", lab.what);
    assert_eq!(lab.state(&id).await, State::Running, "{}", lab.what);
}

async fn a_stop_goes_on_though_who_asked_is_gone(lab: Lab) {
    let id = lab.run(&lab.request_that_stays("a").await).await;
    let asked = lab.engine.stop(&id, Duration::from_secs(15));
    tokio::time::timeout(Duration::from_secs(1), asked).await.expect_err("it does not end by itself");
    assert_eq!(lab.state(&id).await, State::Running, "{}", lab.what);
    lab.wait_for_state(&id, State::Exited { code: 137 }).await;
}

async fn a_network_made_twice_is_one_with_a_small_subnet(lab: Lab) {
    let request = lab.network("n");
    let first = lab.engine.create_network(&request).await.expect("it is made");
    assert_eq!(lab.engine.create_network(&request).await.expect("it is there"), first, "{}", lab.what);
    let all = lab.engine.networks().await.expect("a list");
    let ours: Vec<_> = all.iter().filter(|n| n.name.starts_with(request.name.as_str())).collect();
    assert_eq!(ours.len(), 1, "{}: {ours:?}", lab.what);
    assert_eq!((ours[0].driver.as_str(), &ours[0].labels), ("bridge", &request.labels), "{}", lab.what);
    let [subnet] = ours[0].subnets.as_slice() else { panic!("{}: {:?}", lab.what, ours[0].subnets) };
    let (_, length) = subnet.split_once('/').expect("a length");
    assert!(length.parse::<u8>().expect("a number") >= 24, "{}: {subnet}", lab.what);
    lab.engine.remove_network(&first).await.expect("it is removed");
    // A range of the operator is used as it is, once.
    let mut request = request;
    request.subnet = Some(if lab.port == 21_000 { "10.99.7.0/26" } else { "10.99.8.0/26" }.to_owned());
    let id = lab.engine.create_network(&request).await.expect("it is made");
    let all = lab.engine.networks().await.expect("a list");
    let made = all.iter().find(|n| n.id == id).expect("it is listed");
    assert_eq!(Some(&made.subnets[0]), request.subnet.as_ref(), "{}", lab.what);
    let mut other = lab.network("other");
    other.subnet.clone_from(&request.subnet);
    let error = lab.engine.create_network(&other).await.expect_err("the range is taken");
    assert!(matches!(error, EngineError::Refused { .. } | EngineError::Failed { .. }), "{}: {error:?}", lab.what);
}

async fn a_network_in_use_is_not_removed(lab: Lab) {
    let network = lab.engine.create_network(&lab.network("n")).await.expect("a network");
    let id = lab.run(&on_network(lab.request("a", "web").await, &lab, "n", &[])).await;
    let error = lab.engine.remove_network(&network).await.expect_err("it is in use");
    assert!(matches!(error, EngineError::Refused { .. }), "{}: {error:?}", lab.what);
    lab.engine.stop(&id, Duration::from_secs(5)).await.expect("it stops");
    lab.engine.remove(&id).await.expect("it is removed");
    lab.engine.remove_network(&network).await.expect("nobody uses it");
}

async fn names_change_while_the_address_stays(lab: Lab) {
    let network = lab.name("n");
    lab.engine.create_network(&lab.network("n")).await.expect("a network");
    let asker = lab.run(&on_network(lab.request("asker", "web").await, &lab, "n", &[])).await;
    let id = lab.run(&on_network(lab.request("a", "web").await, &lab, "n", &["newcomer"])).await;
    // Somebody who starts in between must not be given the address.
    let before = lab.detail(&id).await;
    assert_eq!(before.aliases[&network], ["newcomer"], "{}", lab.what);
    assert!(lab.resolves(&asker, &network, "newcomer").await, "{}", lab.what);
    assert!(!lab.resolves(&asker, &network, "service").await, "{}", lab.what);
    let names = ["service".to_owned(), "other".to_owned()];
    lab.engine.set_aliases(&id, &network, &names).await.expect("they change");
    let after = lab.detail(&id).await;
    assert_eq!(after.aliases[&network], ["other", "service"], "{}", lab.what);
    assert_eq!(after.addresses, before.addresses, "{}", lab.what);
    assert!(lab.resolves(&asker, &network, "service").await, "{}", lab.what);
    assert!(!lab.resolves(&asker, &network, "newcomer").await, "{}", lab.what);
    // Already so: nothing is disconnected, not even for a moment.
    let mut events = lab.engine.events().await.expect("events");
    lab.engine.set_aliases(&id, &network, &names).await.expect("they are so");
    let is_same = lab.detail(&id).await == after;
    assert!(is_same, "{}", lab.what);
    lab.kill(&asker);
    // Another door of the same engine is tried at the same time; its events are not ours.
    let next = async {
        loop {
            let event = events.next().await.expect("an event").expect("an event");
            if event.container == id || event.container == asker {
                return event.container;
            }
        }
    };
    let next = tokio::time::timeout(SOON, next).await.expect("an event");
    assert_eq!(next, asker, "{}", lab.what);
    lab.engine.set_aliases(&id, &network, &[]).await.expect("they are given up");
    assert_eq!(lab.detail(&id).await.addresses, before.addresses, "{}", lab.what);
}

async fn a_container_that_lost_its_network_is_connected_again(lab: Lab) {
    let network = lab.name("n");
    lab.engine.create_network(&lab.network("n")).await.expect("a network");
    let id = lab.run(&on_network(lab.request("a", "web").await, &lab, "n", &["web"])).await;
    lab.disconnect(&id, &network);
    assert!(!lab.detail(&id).await.aliases.contains_key(&network), "{}", lab.what);
    lab.engine.set_aliases(&id, &network, &["web".to_owned()]).await.expect("it is connected");
    let detail = lab.detail(&id).await;
    assert_eq!(detail.aliases[&network], ["web"], "{}", lab.what);
    assert!(detail.addresses.contains_key(&network), "{}", lab.what);
}

async fn a_volume_outlives_its_container_and_is_left_as_it_is(lab: Lab) {
    let mut volume = lab.volume("v");
    let name = volume.name.clone();
    lab.engine.create_volume(&volume).await.expect("it is made");
    volume.labels.insert("more".to_owned(), "labels".to_owned());
    lab.engine.create_volume(&volume).await.expect("an existing one is fine");
    let mut request = lab.request("a", "db").await;
    request.mounts = vec![MountRequest {
        kind: MountKind::Volume(name.clone()),
        target: "/data".to_owned(),
        access: Access::ReadWrite,
    }];
    let id = lab.run(&request).await;
    assert!(lab.detail(&id).await.seen.volumes.contains(name.as_str()), "{}", lab.what);
    lab.engine.stop(&id, Duration::from_secs(5)).await.expect("it stops");
    lab.engine.remove(&id).await.expect("it is removed");
    let all = lab.engine.volumes().await.expect("a list");
    let kept = all.iter().find(|v| v.name == name.as_str());
    let kept = kept.unwrap_or_else(|| panic!("{}: the volume is gone", lab.what));
    assert_eq!(kept.labels.len(), 1, "{}: {kept:?}", lab.what);
}

async fn list_and_look_say_the_same(lab: Lab) {
    lab.engine.create_network(&lab.network("n")).await.expect("a network");
    // With a label, so that it is found and wiped.
    lab.engine.create_volume(&lab.volume("v")).await.expect("a volume");
    let mut full = on_network(lab.request("full", "slow").await, &lab, "n", &["full"]);
    full.ports = vec![
        port(&lab, lab.port),
        PortRequest {
            container: 53,
            protocol: Protocol::Udp,
            host_ip: "0.0.0.0".parse().expect("an address"),
            host_port: lab.port + 1,
        },
    ];
    full.mounts = vec![MountRequest {
        kind: MountKind::Volume(lab.volume("v").name),
        target: "/data".to_owned(),
        access: Access::ReadOnly,
    }];
    let full = lab.run(&full).await;
    let mut host = lab.request("host", "job").await;
    host.network = NetworkAttachment::Host;
    let exited = lab.run(&host).await;
    lab.wait_for_state(&exited, State::Exited { code: 0 }).await;
    let created = on_network(lab.request("created", "web").await, &lab, "n", &[]);
    let created = lab.engine.create(&created).await.expect("it is created");
    lab.wait_for("it to be healthy", async || {
        let health = lab.detail(&full).await.health();
        if health == Health::Healthy { Ok(()) } else { Err(format!("{health:?}")) }
    })
    .await;
    for id in [full, exited, created] {
        let listed = lab.engine.containers().await.expect("a list");
        let listed = listed.into_iter().find(|c| c.id == id).expect("it is listed");
        assert_eq!(listed, lab.detail(&id).await.seen, "{}", lab.what);
    }
}

async fn an_image_brings_its_health_check(lab: Lab) {
    for (image, brings) in [("web", false), ("slow", true)] {
        let held = lab.engine.image(&format!("bayplan-test/{image}:1")).await;
        let held = held.expect("an answer").expect("an image");
        assert_eq!(held.has_health_check, brings, "{}: {image}", lab.what);
        let by_id = lab.engine.image(&held.id).await.expect("an answer");
        assert_eq!(by_id, Some(held), "{}", lab.what);
    }
    let slow = lab.run(&lab.request("slow", "slow").await).await;
    let at_first = lab.detail(&slow).await.health();
    assert!(matches!(at_first, Health::Starting | Health::Healthy), "{}: {at_first:?}", lab.what);
    let sick = lab.run(&lab.request("sick", "unhealthy").await).await;
    let plain = lab.run(&lab.request("plain", "web").await).await;
    for (id, wanted) in [(&slow, Health::Healthy), (&sick, Health::Unhealthy), (&plain, Health::Unchecked)] {
        wait_for_health(&lab, id, wanted).await;
    }
    lab.engine.stop(&slow, Duration::from_secs(5)).await.expect("it stops");
    wait_for_health(&lab, &slow, Health::Unchecked).await;
}

async fn a_request_brings_its_health_check(lab: Lab) {
    let mut request = lab.request("a", "web").await;
    request.health = Some(EngineHealthCheck {
        test: ["CMD", "wget", "-q", "-O", "-", "http://127.0.0.1:8080/health"].map(str::to_owned).to_vec(),
        // Long enough to be asked for before the first of them.
        interval: Duration::from_secs(3),
        timeout: Duration::from_secs(2),
        retries: 3,
        start_period: Duration::from_secs(1),
    });
    let id = lab.run(&request).await;
    let at_first = lab.detail(&id).await.health();
    assert!(matches!(at_first, Health::Starting | Health::Healthy), "{}: {at_first:?}", lab.what);
    wait_for_health(&lab, &id, Health::Healthy).await;
}

async fn an_exec_gives_its_code_and_output(lab: Lab) {
    let id = lab.run(&lab.request("a", "web").await).await;
    let outcome = lab.exec(&id, &["sh", "-c", "echo out; echo err >&2; exit 3"]).await;
    assert_eq!(outcome.code, Some(3), "{}: {outcome:?}", lab.what);
    let mut lines: Vec<&str> = outcome.output.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["err", "out"], "{}", lab.what);
    assert_eq!(lab.exec(&id, &["true"]).await.code, Some(0), "{}", lab.what);
    assert!(lab.engine.commands_running(&id).await.expect("an answer").is_empty(), "{}", lab.what);
}

async fn an_exec_that_does_not_end_goes_on_without_us(lab: Lab) {
    let id = lab.run(&lab.request("a", "web").await).await;
    let command = ["sh", "-c", "echo begun; sleep 600"];
    let begun = Instant::now();
    let outcome = lab.engine.exec(&id, &exec(&command, Duration::from_secs(15))).await.expect("an outcome");
    assert_eq!((outcome.code, outcome.output.as_str()), (None, "begun\n"), "{}", lab.what);
    assert!(begun.elapsed() < Duration::from_secs(60), "{}: {:?}", lab.what, begun.elapsed());
    let running = lab.engine.commands_running(&id).await.expect("an answer");
    assert_eq!(running, [command.map(str::to_owned).to_vec()], "{}", lab.what);
}

async fn a_stopped_container_runs_no_command(lab: Lab) {
    let id = lab.engine.create(&lab.request("a", "web").await).await.expect("it is created");
    let error = lab.engine.exec(&id, &exec(&["true"], SOON)).await.expect_err("it does not run");
    assert!(matches!(error, EngineError::Refused { .. }), "{}: {error:?}", lab.what);
    let error = lab.engine.exec("nobody", &exec(&["true"], SOON)).await.expect_err("there is none");
    assert!(matches!(error, EngineError::NotFound { .. }), "{}: {error:?}", lab.what);
}

async fn logs_are_the_last_lines_and_follow_to_the_end(lab: Lab) {
    let id = lab.run(&lab.request("a", "web").await).await;
    lab.wait_for("its first line", async || {
        let lines = lab.engine.logs(&id, 5).await.expect("its log");
        if lines == ["web 1 listens on 8080"] { Ok(()) } else { Err(format!("{lines:?}")) }
    })
    .await;
    assert!(lab.engine.logs(&id, 0).await.expect("its log").is_empty(), "{}", lab.what);
    let mut lines = lab.engine.follow_logs(&id, 1).await.expect("its log");
    assert_eq!(lines.next().await.expect("a line").expect("a line"), "web 1 listens on 8080", "{}", lab.what);
    lab.kill(&id);
    let end = tokio::time::timeout(SOON, lines.next()).await.expect("it ends with the container");
    assert!(end.is_none(), "{}: {end:?}", lab.what);
    let error = lab.engine.logs("nobody", 1).await.expect_err("there is none");
    assert!(matches!(error, EngineError::NotFound { .. }), "{}: {error:?}", lab.what);
    let missing = lab.engine.follow_logs("nobody", 1).await;
    assert!(matches!(missing, Err(EngineError::NotFound { .. })), "{}", lab.what);
}

async fn events_tell_of_a_death(lab: Lab) {
    let mut events = lab.engine.events().await.expect("events");
    let id = lab.run(&lab.request("a", "exits").await).await;
    let died = async {
        loop {
            let event = events.next().await.expect("an event").expect("an event");
            if event.container == id && event.action == "die" {
                return event;
            }
        }
    };
    let event = tokio::time::timeout(SOON, died).await.expect("it is told");
    assert_eq!(event.labels.get(LABEL_OWNER).map(String::as_str), Some(OWNER), "{}", lab.what);
}

async fn exit_codes_are_in_the_list(lab: Lab) {
    let bad = lab.run(&lab.request("bad", "exits").await).await;
    let good = lab.run(&lab.request("good", "job").await).await;
    lab.wait_for_state(&bad, State::Exited { code: 1 }).await;
    lab.wait_for_state(&good, State::Exited { code: 0 }).await;
    assert_eq!(lab.detail(&bad).await.state(), State::Exited { code: 1 }, "{}", lab.what);
}

async fn a_killed_container_stays_exited_whatever_its_restart_policy(lab: Lab) {
    let mut request = lab.request("a", "web").await;
    request.restart = Restart::UnlessStopped;
    let id = lab.run(&request).await;
    lab.kill(&id);
    lab.wait_for_state(&id, State::Exited { code: 137 }).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(lab.state(&id).await, State::Exited { code: 137 }, "{}", lab.what);
}

async fn a_process_that_exits_is_started_again_by_its_policy(lab: Lab) {
    let mut request = lab.request("a", "exits").await;
    request.restart = Restart::UnlessStopped;
    let again = lab.run(&request).await;
    let mut request = lab.request("b", "job").await;
    request.restart = Restart::OnFailure;
    let done = lab.run(&request).await;
    lab.wait_for("a second restart", async || {
        let restarts = lab.detail(&again).await.restarts;
        if restarts >= 2 { Ok(()) } else { Err(format!("{restarts} restarts")) }
    })
    .await;
    lab.engine.stop(&again, Duration::from_secs(5)).await.expect("it stops");
    let state = lab.state(&again).await;
    assert!(matches!(state, State::Exited { .. }), "{}: {state:?}", lab.what);
    lab.wait_for_state(&done, State::Exited { code: 0 }).await;
}

async fn a_name_is_taken_by_renaming(lab: Lab) {
    let old = lab.engine.create(&lab.request("a", "web").await).await.expect("it is created");
    let new = lab.run(&lab.request("a.d2", "web").await).await;
    let name = ContainerName::new(&lab.name("a")).expect("a name");
    let error = lab.engine.rename(&new, &name).await.expect_err("it is in use");
    assert!(matches!(error, EngineError::NameInUse { .. }), "{}: {error:?}", lab.what);
    lab.engine.remove(&old).await.expect("it is removed");
    lab.engine.rename(&new, &name).await.expect("the name is free");
    assert_eq!(lab.detail(name.as_str()).await.seen.id, new, "{}", lab.what);
    lab.engine.rename(&new, &name).await.expect("it has that name already");
}

async fn use_is_measured(lab: Lab) {
    let id = lab.run(&lab.request("a", "web").await).await;
    let usage = lab.engine.usage(&id).await.expect("its use");
    assert!(usage.memory > 0 && usage.memory < 1 << 30, "{}: {usage:?}", lab.what);
    assert!(usage.cpu < 1000, "{}: {usage:?}", lab.what);
}

async fn an_image_of_the_registry_is_resolved_pulled_and_removed(lab: Lab) {
    let (text, resolved) = lab.registry.iter().next().expect("the registry has an image");
    let image = ImageRef::new(text).expect("a reference");
    assert_eq!(&lab.engine.ask_registry(&image, None).await.expect("it answers"), resolved, "{}", lab.what);
    lab.engine.pull(resolved, None).await.expect("it is pulled");
    let held = lab.engine.image(resolved).await.expect("an answer").expect("it is held");
    assert!(held.repo_digests.contains(resolved), "{}: {held:?}", lab.what);
    lab.engine.pull(text, None).await.expect("it is pulled by its tag");
    assert!(lab.engine.image(text).await.expect("an answer").is_some(), "{}", lab.what);
    let unknown = ImageRef::new(&format!("{}:nothing", image.repository())).expect("a reference");
    for error in [
        lab.engine.ask_registry(&unknown, None).await.expect_err("there is none"),
        lab.engine.pull(unknown.as_str(), None).await.expect_err("there is none"),
    ] {
        assert!(matches!(error, EngineError::ImageMissing { .. }), "{}: {error:?}", lab.what);
    }
}

async fn an_image_is_made_of_its_root(lab: Lab) {
    let name = format!("{}:1", lab.name("imported"));
    // Two empty blocks are an empty archive.
    let changes = ["CMD [\"/nothing\"]".to_owned(), "ENV A=b".to_owned()];
    lab.engine.import_image(&name, vec![0; 1024], &changes).await.expect("it is made");
    let held = lab.engine.image(&name).await.expect("an answer");
    assert!(held.is_some_and(|image| image.repo_digests.is_empty()), "{}", lab.what);
    lab.engine.remove_image(&name).await.expect("it is removed");
    assert_eq!(lab.engine.image(&name).await.expect("an answer"), None, "{}", lab.what);
}

fn on_network(mut request: ContainerRequest, lab: &Lab, network: &str, aliases: &[&str]) -> ContainerRequest {
    request.network = NetworkAttachment::Named {
        network: lab.network(network).name,
        aliases: aliases.iter().map(|alias| (*alias).to_owned()).collect(),
    };
    request
}

fn port(lab: &Lab, host_port: u16) -> PortRequest {
    PortRequest { container: 8080, protocol: Protocol::Tcp, host_ip: lab.address, host_port }
}

async fn wait_for_health(lab: &Lab, id: &str, wanted: Health) {
    lab.wait_for(&format!("{id} to be {wanted:?}"), async || {
        let health = lab.detail(id).await.health();
        if health == wanted { Ok(()) } else { Err(format!("{health:?}")) }
    })
    .await;
}
