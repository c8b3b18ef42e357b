//! Proves that the fleet of real engines is what other tests take it for.
//!
//! Takes the fleet and looks with the Docker command line and plain sockets only, so that a failure here is the
//! laboratory's and never the product's.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use fleet::{Fleet, TEST_LABEL, lease_or_leave_out, leave_out, wait_for};

#[path = "support/fleet.rs"]
mod fleet;

// A limit for a machine that is busy with other work; here all of it takes a second or three.
const SOON: Duration = Duration::from_secs(30);

#[test]
fn every_engine_answers_under_an_id_of_its_own() {
    let Some(fleet) = lease_or_leave_out("every_engine_answers_under_an_id_of_its_own") else {
        return;
    };
    let ids: BTreeSet<String> =
        fleet.hosts.iter().map(|host| fleet.docker_text(&host.name, &["info", "--format", "{{.ID}}"])).collect();
    assert_eq!(ids.len(), fleet.hosts.len(), "{ids:?}");
    for host in &fleet.hosts {
        assert_eq!(fleet.docker_text(&host.name, &["version", "--format", "{{.Server.Version}}"]), host.engine);
        assert_eq!(fleet.docker_text(&host.name, &["info", "--format", "{{.Name}}"]), host.name);
    }
}

#[test]
fn an_image_has_one_id_on_all_hosts() {
    let Some(fleet) = lease_or_leave_out("an_image_has_one_id_on_all_hosts") else {
        return;
    };
    for image in &fleet.images {
        let ids: BTreeSet<String> = fleet
            .hosts
            .iter()
            .map(|host| fleet.docker_text(&host.name, &["image", "inspect", "--format", "{{.Id}}", image]))
            .collect();
        assert_eq!(ids.len(), 1, "{image}: {ids:?}");
    }
}

#[test]
fn a_published_port_is_reached_from_another_host_and_from_the_test() {
    let Some(fleet) = lease_or_leave_out("a_published_port_is_reached_from_another_host_and_from_the_test") else {
        return;
    };
    for host in &fleet.hosts {
        start_web(&fleet, &host.name);
        wait_for("the web server to answer the test", SOON, || get(&host.address));
    }
    for (from, to) in [("host-2", "host-1"), ("host-1", "host-2")] {
        assert_eq!(get_from(&fleet, from, to), Ok("web 1".to_owned()), "from {from} to {to}");
    }
    if fleet.find("host-4").is_some() {
        assert_eq!(get_from(&fleet, "host-4", "host-1"), Ok("web 1".to_owned()));
        assert_eq!(get_from(&fleet, "host-1", "host-4"), Ok("web 1".to_owned()));
    }
}

/// After a mere chroot, `exec` and health checks would run in the machine's own file system.
#[test]
fn an_exec_sees_the_root_of_its_container_on_both_engine_generations() {
    let Some(fleet) = lease_or_leave_out("an_exec_sees_the_root_of_its_container_on_both_engine_generations") else {
        return;
    };
    for host in &fleet.hosts {
        start_web(&fleet, &host.name);
        let root = fleet.docker_text(&host.name, &["exec", "bayplan-test-web", "ls", "/"]);
        assert!(root.lines().any(|name| name == "entry"), "{}: {root}", host.name);
    }
}

#[test]
fn health_checks_tell_the_good_image_from_the_bad_one() {
    let Some(fleet) = lease_or_leave_out("health_checks_tell_the_good_image_from_the_bad_one") else {
        return;
    };
    let images = [("slow", "healthy"), ("unhealthy", "unhealthy")];
    for (host, (image, _)) in fleet.hosts.iter().flat_map(|host| images.map(|image| (host, image))) {
        let name = format!("bayplan-test-{image}");
        let reference = format!("bayplan-test/{image}:1");
        fleet.docker_text(&host.name, &["run", "-d", "--label", TEST_LABEL, "--name", &name, &reference]);
    }
    for (host, (image, expected)) in fleet.hosts.iter().flat_map(|host| images.map(|image| (host, image))) {
        let name = format!("bayplan-test-{image}");
        let status = ["inspect", "--format", "{{.State.Health.Status}}", &name];
        wait_for(&format!("{image} on {} to be {expected}", host.name), SOON, || {
            let seen = fleet.docker_text(&host.name, &status);
            if seen == expected { Ok(()) } else { Err(seen) }
        });
    }
}

#[test]
fn a_host_that_is_cut_off_is_back_when_the_fault_is_over() {
    let Some(fleet) = lease_or_leave_out("a_host_that_is_cut_off_is_back_when_the_fault_is_over") else {
        return;
    };
    let address = &fleet.host("host-1").address;
    start_web(&fleet, "host-1");
    wait_for("the web server to answer", SOON, || get(address));
    let fault = fleet.cut("host-1");
    assert!(get(address).is_err(), "a host that is cut off answered");
    drop(fault);
    wait_for("the web server to answer again", SOON, || get(address));
}

#[test]
fn an_engine_that_hangs_answers_nobody_until_it_goes_on() {
    let Some(fleet) = lease_or_leave_out("an_engine_that_hangs_answers_nobody_until_it_goes_on") else {
        return;
    };
    let hanging = fleet.hang("host-3");
    let socket = fleet.host("host-3").socket.display().to_string();
    let asked = Instant::now();
    let output = Command::new("timeout")
        .args(["1", "docker", "-H", &format!("unix://{socket}"), "version"])
        .output()
        .expect("timeout starts");
    assert!(!output.status.success() && asked.elapsed() >= Duration::from_secs(1), "{output:?}");
    drop(hanging);
    wait_for("host-3 to answer", SOON, || fleet.try_docker("host-3", &["version"]));
}

#[test]
fn containers_outlive_a_killed_engine_and_are_exited_when_it_is_back() {
    let Some(fleet) = lease_or_leave_out("containers_outlive_a_killed_engine_and_are_exited_when_it_is_back") else {
        return;
    };
    for host in ["host-2", "host-4"].into_iter().filter(|host| fleet.find(host).is_some()) {
        start_web(&fleet, host);
        let killed = fleet.kill_engine(host);
        wait_for("the engine to be gone", SOON, || match fleet.try_docker(host, &["version"]) {
            Ok(seen) => Err(seen),
            Err(_) => Ok(()),
        });
        // The rules that publish the port belong to the kernel.
        wait_for("the container to answer without its engine", SOON, || get(&fleet.host(host).address));
        drop(killed);
        let state = ["inspect", "--format", "{{.State.Status}}", "bayplan-test-web"];
        wait_for("the container to be seen as exited", SOON, || match fleet.docker_text(host, &state) {
            seen if seen == "exited" => Ok(()),
            seen => Err(seen),
        });
    }
}

#[test]
fn a_port_with_tls_lets_in_its_own_client_and_no_stranger_also_after_a_restart() {
    let test = "a_port_with_tls_lets_in_its_own_client_and_no_stranger_also_after_a_restart";
    let Some(fleet) = lease_or_leave_out(test) else {
        return;
    };
    let host = fleet.host("host-2");
    let (endpoint, tls) = host.tcp.as_ref().zip(host.tls.as_ref()).expect("host-2 listens with TLS");
    let version_for = |client: &str| {
        let file = |name: &str| tls.join(name).display().to_string();
        let output = Command::new("timeout")
            .args(["10", "docker", "-H", endpoint, "--tlsverify", "--tlscacert", &file("ca.pem"), "--tlscert"])
            .args([&file(&format!("{client}cert.pem")), "--tlskey", &file(&format!("{client}key.pem"))])
            .args(["version", "--format", "{{.Server.Version}}"])
            .output()
            .expect("the Docker command line starts");
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    };
    for _ in ["first", "restarted"] {
        assert_eq!(version_for(""), Ok(host.engine.clone()));
        assert!(version_for("stranger/").is_err(), "a client of another CA was let in");
        fleet.restart("host-2");
    }
}

#[test]
fn the_registry_serves_by_tag_and_by_digest_what_no_engine_has() {
    let Some(fleet) = lease_or_leave_out("the_registry_serves_by_tag_and_by_digest_what_no_engine_has") else {
        return;
    };
    for host in &fleet.hosts {
        for (image, digest) in &fleet.registry.images {
            assert!(fleet.try_docker(&host.name, &["image", "inspect", image]).is_err(), "{image} is there already");
            let (repository, _tag) = image.rsplit_once(':').expect("the registry's images have tags");
            let by_digest = format!("{repository}@{digest}");
            fleet.docker_text(&host.name, &["pull", &by_digest]);
            fleet.docker_text(&host.name, &["pull", image]);
            let known = fleet.docker_text(&host.name, &["image", "inspect", "--format", "{{.RepoDigests}}", image]);
            assert!(known.contains(&by_digest), "{image}: {known}");
        }
    }
}

#[test]
fn the_newer_engine_is_another_generation() {
    let Some(fleet) = lease_or_leave_out("the_newer_engine_is_another_generation") else {
        return;
    };
    let Some(newer) = fleet.find("host-4") else {
        return leave_out("the_newer_engine_is_another_generation", &fleet.left_out.join(", "));
    };
    assert_ne!(newer.api, fleet.host("host-1").api);
}

fn start_web(fleet: &Fleet, host: &str) {
    let name = "bayplan-test-web";
    let options = ["run", "-d", "--label", TEST_LABEL, "--name", name, "-p", "18080:8080", "bayplan-test/web:1"];
    fleet.docker_text(host, &options);
}

/// Asks from a container on `from` what the web server on `to` says.
fn get_from(fleet: &Fleet, from: &str, to: &str) -> Result<String, String> {
    let url = format!("http://{}:18080/", fleet.host(to).address);
    fleet.try_docker(
        from,
        &["run", "--rm", "--label", TEST_LABEL, "--entrypoint", "/bin/wget", "bayplan-test/db:1", "-qO-", &url],
    )
}

/// Asks the web server on a host from this process; an error says what was wrong.
fn get(address: &str) -> Result<String, String> {
    let limit = Duration::from_secs(1);
    let to: SocketAddr = format!("{address}:18080").parse().expect("the fleet's addresses are IPv4");
    let ask = || {
        let mut stream = TcpStream::connect_timeout(&to, limit)?;
        stream.set_read_timeout(Some(limit))?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply)?;
        std::io::Result::Ok(reply)
    };
    match ask() {
        Ok(reply) if reply.ends_with("web 1\n") => Ok(reply),
        Ok(reply) => Err(format!("{reply:?}")),
        Err(error) => Err(error.to_string()),
    }
}
