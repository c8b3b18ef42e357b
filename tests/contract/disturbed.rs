//! Sentences that disturb the whole engine, or that only one kind of engine can show.

use std::time::Duration;

use bayplan::engine::docker::Docker;
use bayplan::engine::docker::wire::TlsFiles;
use bayplan::engine::memory::faults::{Call, Fault, Times, Which};
use bayplan::engine::{Engine, EngineError, deadline};
use bayplan::model::request::{MountKind, MountRequest, NetworkAttachment};
use bayplan::model::stack::{Access, Logging, NetworkMode, Restart, Settings};
use bayplan::model::world::State;
use bayplan::secret::Secret;
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::fleet;
use crate::lab::{self, Behind, Lab, SOON};

#[test]
fn a_simulated_engine_that_hangs_ends_each_call_by_its_deadline() {
    lab::in_memory(async |lab: Lab| {
        let Behind::Memory(engine) = &lab.behind else { return };
        engine.fault(Fault::Hang, Which::Every, Times::UntilLifted);
        hangs(&lab).await;
        engine.lift_all();
        lab.answers_again().await;
    });
}

#[test]
fn an_engine_that_hangs_ends_each_call_by_its_deadline() {
    let name = "an_engine_that_hangs_ends_each_call_by_its_deadline";
    lab::on_each_host(name, async |lab: Lab| {
        let Behind::Fleet { fleet, host } = &lab.behind else {
            return;
        };
        lab.engine.about().await.expect("it answers");
        let id = lab.run(&lab.request("a", "web").await).await;
        let hung = fleet.hang(host);
        // A signal is only sent; the process may still answer a call that comes at once.
        lab.wait_for("the engine to stand still", async || {
            let pid = std::fs::read_to_string(&fleet.host(host).engine_pid_file).expect("its process id");
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).expect("it is there");
            if stat.contains(") T ") { Ok(()) } else { Err(stat) }
        })
        .await;
        hangs(&lab).await;
        drop(hung);
        lab.answers_again().await;
        assert_eq!(lab.state(&id).await, State::Running, "{}", lab.what);
    });
}

/// The first call of any kind ends by its own deadline, later ones by that of a ping.
async fn hangs(lab: &Lab) {
    let begun = Instant::now();
    let error = lab.engine.containers().await.expect_err("it hangs");
    assert!(matches!(error, EngineError::Timeout { .. }), "{}: {error:?}", lab.what);
    assert!(error.is_transient(), "{}", lab.what);
    let took = begun.elapsed();
    assert!(took >= deadline::PING && took < deadline::CHANGE, "{}: {took:?}", lab.what);
    let begun = Instant::now();
    let error = lab.engine.about().await.expect_err("it hangs");
    assert!(matches!(error, EngineError::Timeout { .. }), "{}: {error:?}", lab.what);
    let took = begun.elapsed();
    assert!(took < deadline::CHANGE, "{}: {took:?}", lab.what);
}

#[test]
fn an_engine_that_was_killed_is_unreachable_and_found_again() {
    let name = "an_engine_that_was_killed_is_unreachable_and_found_again";
    lab::on_each_host(name, async |lab: Lab| {
        let Behind::Fleet { fleet, host } = &lab.behind else {
            return;
        };
        let mut request = lab.request("a", "web").await;
        request.restart = Restart::UnlessStopped;
        let id = lab.run(&request).await;
        let mut events = lab.engine.events().await.expect("events");
        let killed = fleet.kill_engine(host);
        let last = async { while let Some(Ok(_)) = events.next().await {} };
        tokio::time::timeout(SOON, last).await.expect("the stream ends with the engine");
        let error = lab.engine.containers().await.expect_err("nobody listens");
        assert!(matches!(error, EngineError::Unreachable { .. }), "{}: {error:?}", lab.what);
        drop(killed);
        lab.answers_again().await;
        // Whatever the policy says, some engines leave it exited; that it is still there is what counts.
        let state = lab.state(&id).await;
        assert!(matches!(state, State::Running | State::Restarting | State::Exited { .. }), "{}: {state:?}", lab.what);
        lab.engine.start(&id).await.expect("it is started again");
        lab.wait_for_state(&id, State::Running).await;
    });
}

#[test]
fn a_simulated_engine_that_is_down_is_unreachable_and_found_again() {
    lab::in_memory(async |lab: Lab| {
        let Behind::Memory(engine) = &lab.behind else { return };
        let mut events = lab.engine.events().await.expect("events");
        engine.forget_calls();
        let down = engine.fault(Fault::Down, Which::Every, Times::UntilLifted);
        assert!(events.next().await.expect("its end").is_err());
        let error = lab.engine.containers().await.expect_err("nobody listens");
        assert!(matches!(error, EngineError::Unreachable { .. }), "{error:?}");
        assert!(engine.calls().is_empty(), "what does not arrive is not logged");
        engine.lift(down);
        lab.engine.containers().await.expect("it answers again");
        assert_eq!((engine.calls().len(), engine.writes()), (1, 0));
    });
}

#[test]
fn a_stale_list_shows_what_was_and_a_late_call_is_done() {
    lab::in_memory(async |lab: Lab| {
        let Behind::Memory(engine) = &lab.behind else { return };
        let request = lab.request("a", "web").await;
        engine.fault(Fault::Stale, Which::Only(Call::Containers), Times::Next(1));
        let late = Fault::Late(deadline::CHANGE + Duration::from_secs(1));
        engine.fault(late, Which::Only(Call::Create), Times::Next(1));
        let error = lab.engine.create(&request).await.expect_err("it is late");
        assert!(matches!(error, EngineError::Timeout { .. }), "{error:?}");
        assert!(lab.engine.containers().await.expect("a list").is_empty());
        assert_eq!(lab.engine.containers().await.expect("a list").len(), 1);
    });
}

#[test]
fn a_missing_directory_is_refused_and_not_made() {
    lab::on_fleet("a_missing_directory_is_refused_and_not_made", async |lab: Lab| {
        let mut request = lab.request("a", "web").await;
        request.mounts = vec![MountRequest {
            kind: MountKind::Bind("/nowhere/at/all".to_owned()),
            target: "/data".to_owned(),
            access: Access::ReadOnly,
        }];
        let error = lab.engine.create(&request).await.expect_err("there is no such directory");
        assert!(matches!(error, EngineError::Refused { status: 400, .. }), "{}: {error:?}", lab.what);
    });
}

#[test]
fn a_strange_certificate_and_a_missing_file_are_told() {
    let name = "a_strange_certificate_and_a_missing_file_are_told";
    let Some(fleet) = fleet::lease_or_leave_out(name) else {
        return;
    };
    let host = fleet.hosts.iter().find(|h| h.tcp.is_some()).expect("one host listens on TCP");
    let folder = host.tls.as_ref().expect("its TLS folder");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let about = |ca: &str, cert: &str, key: &str| {
            let files = TlsFiles { ca: folder.join(ca), cert: folder.join(cert), key: folder.join(key) };
            let engine = Docker::tls(&host.address, 2376, files);
            async move { engine.about().await }
        };
        about("ca.pem", "cert.pem", "key.pem").await.expect("ours is let in");
        for (ca, cert, key, told) in [
            ("ca.pem", "stranger/cert.pem", "stranger/key.pem", ""),
            ("stranger/ca.pem", "cert.pem", "key.pem", "UnknownIssuer"),
            ("ca.pem", "cert.pem", "nothing.pem", "nothing.pem"),
            ("ca.pem", "key.pem", "key.pem", "no certificate"),
            ("ca.pem", "stranger/cert.pem", "key.pem", "stranger/cert.pem"),
        ] {
            let error = about(ca, cert, key).await.expect_err("it cannot be let in");
            assert!(matches!(error, EngineError::Unreachable { .. }), "{ca} {cert} {key}: {error:?}");
            assert!(error.to_string().contains(told), "{ca} {cert} {key}: {error}");
        }
    });
}

#[test]
fn every_setting_reaches_the_engine() {
    lab::on_fleet("every_setting_reaches_the_engine", async |lab: Lab| {
        let Behind::Fleet { fleet, host } = &lab.behind else {
            return;
        };
        let text = |text: &str| Some(text.to_owned());
        let list = |text: &str| vec![text.to_owned()];
        let mut request = lab.request("a", "web").await;
        request.environment = [("KEY".to_owned(), Secret::new("a=b c".to_owned()))].into();
        request.command = Some(list("argument"));
        request.entrypoint = Some(list("/entry/web"));
        request.user = text("0:0");
        request.working_dir = text("/tmp");
        request.restart = Restart::OnFailure;
        request.stop_grace_period = Duration::from_millis(2500);
        request.extra_hosts = list("db:10.0.0.9");
        request.cpu_limit = Some(1500);
        request.memory_limit = Some(64 << 20);
        request.network = NetworkAttachment::None;
        request.mounts =
            vec![MountRequest { kind: MountKind::Tmpfs, target: "/scratch".to_owned(), access: Access::ReadWrite }];
        request.settings = Settings {
            hostname: text("box"),
            domainname: text("example"),
            dns: list("10.0.0.1"),
            dns_search: list("example"),
            dns_options: list("ndots:2"),
            extra_hosts: Vec::new(),
            cap_drop: list("CHOWN"),
            cap_add: list("NET_ADMIN"),
            devices: list("/dev/null:/dev/nothing:r"),
            security_opt: list("no-new-privileges"),
            sysctls: [("net.ipv4.ip_forward".to_owned(), "1".to_owned())].into(),
            group_add: list("7"),
            ulimits: [("nofile".to_owned(), (100, 200))].into(),
            shm_size: Some(1 << 20),
            init: Some(true),
            read_only: Some(true),
            privileged: Some(false),
            tty: Some(true),
            stdin_open: Some(true),
            pids_limit: Some(50),
            oom_score_adj: Some(100),
            stop_signal: text("SIGINT"),
            network_mode: NetworkMode::None,
            logging: Some(Logging {
                driver: "json-file".to_owned(),
                options: [("max-size".to_owned(), "1m".to_owned())].into(),
            }),
        };
        let id = lab.engine.create(&request).await.expect("it is created");
        let look: Value = serde_json::from_str(&fleet.docker_text(host, &["inspect", &id])).expect("JSON");
        let look = &look[0];
        for (path, wanted) in [
            ("/Config/Cmd", json!(["argument"])),
            ("/Config/Entrypoint", json!(["/entry/web"])),
            ("/Config/User", json!("0:0")),
            ("/Config/WorkingDir", json!("/tmp")),
            ("/Config/Hostname", json!("box")),
            ("/Config/Domainname", json!("example")),
            ("/Config/Tty", json!(true)),
            ("/Config/OpenStdin", json!(true)),
            ("/Config/StopSignal", json!("SIGINT")),
            ("/Config/StopTimeout", json!(3)),
            ("/Config/Labels/team", json!("shop")),
            ("/HostConfig/Binds", Value::Null),
            ("/HostConfig/NetworkMode", json!("none")),
            ("/HostConfig/RestartPolicy/Name", json!("on-failure")),
            ("/HostConfig/ExtraHosts", json!(["db:10.0.0.9"])),
            ("/HostConfig/NanoCpus", json!(1_500_000_000)),
            ("/HostConfig/Memory", json!(64 << 20)),
            ("/HostConfig/Mounts/0/Type", json!("tmpfs")),
            ("/HostConfig/Mounts/0/Target", json!("/scratch")),
            ("/HostConfig/Dns", json!(["10.0.0.1"])),
            ("/HostConfig/DnsSearch", json!(["example"])),
            ("/HostConfig/DnsOptions", json!(["ndots:2"])),
            ("/HostConfig/CapDrop/0", json!("CHOWN")),
            ("/HostConfig/CapAdd/0", json!("NET_ADMIN")),
            ("/HostConfig/Devices/0/PathInContainer", json!("/dev/nothing")),
            ("/HostConfig/Devices/0/CgroupPermissions", json!("r")),
            ("/HostConfig/SecurityOpt", json!(["no-new-privileges"])),
            ("/HostConfig/Sysctls/net.ipv4.ip_forward", json!("1")),
            ("/HostConfig/GroupAdd", json!(["7"])),
            ("/HostConfig/Ulimits/0", json!({"Name": "nofile", "Soft": 100, "Hard": 200})),
            ("/HostConfig/ShmSize", json!(1 << 20)),
            ("/HostConfig/Init", json!(true)),
            ("/HostConfig/ReadonlyRootfs", json!(true)),
            ("/HostConfig/PidsLimit", json!(50)),
            ("/HostConfig/OomScoreAdj", json!(100)),
            ("/HostConfig/LogConfig", json!({"Type": "json-file", "Config": {"max-size": "1m"}})),
        ] {
            let seen = look.pointer(path).unwrap_or(&Value::Null);
            if path.ends_with("/0") && seen.is_string() {
                // Some engines write `CAP_CHOWN`.
                let seen = seen.as_str().unwrap_or_default().trim_start_matches("CAP_");
                assert_eq!(json!(seen), wanted, "{}: {path}", lab.what);
            } else {
                assert_eq!(seen, &wanted, "{}: {path}", lab.what);
            }
        }
        let environment = look.pointer("/Config/Env").and_then(Value::as_array).expect("variables");
        assert!(environment.contains(&json!("KEY=a=b c")), "{}: {environment:?}", lab.what);
        let detail = lab.detail(&id).await;
        assert!(detail.variables.contains(&Secret::new("a=b c".to_owned())), "{}", lab.what);
    });
}
