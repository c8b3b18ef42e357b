//! Updates as users see them: somebody asks all the time, and is answered all the time.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bayplan::model::record::StackStatus;

use crate::fleet::{Fleet, TEST_LABEL, wait_for};
use crate::stage::{Stage, address, note};

const PATH: &str = "stacks/shop.yaml";

fn shop(image: &str, more: &str) -> String {
    format!(
        r#"
name: shop
placement: manual
itemListElement:
  - {{position: 1, name: web, image: "{image}", targetHost: host-1{more}}}
"#
    )
}

/// A neighbour that opens a new connection by the service's name every 10 ms, and counts. It ends by itself.
const ASK: &str = "n=0; f=0; while [ ! -e /tmp/stop ] && [ $n -lt 20000 ]; do n=$((n+1)); \
    wget -q -O /dev/null http://web:8080/ 2>>/tmp/said || { f=$((f+1)); echo \"^ at $n\" >>/tmp/said; }; \
    echo \"$n $f\" >/tmp/count.new; mv /tmp/count.new /tmp/count; usleep 10000; done; echo done >/tmp/done";

struct Prober {
    name: String,
}

impl Prober {
    fn start(stage: &Stage) -> Self {
        let name = format!("{TEST_LABEL}-prober");
        let label = format!("{TEST_LABEL}=prober");
        let run = [
            "run",
            "-d",
            "--name",
            &name,
            "--label",
            &label,
            "--network",
            "shop",
            "--entrypoint",
            "sh",
            "bayplan-test/web:1",
            "-c",
            ASK,
        ];
        stage.fleet.docker_text("host-1", &run);
        let prober = Self { name };
        prober.asked_more(&stage.fleet, 20);
        prober
    }

    fn counts(&self, fleet: &Fleet) -> Result<(u64, u64), String> {
        let text = fleet.try_docker("host-1", &["exec", &self.name, "cat", "/tmp/count"])?;
        let (asked, failed) = text.split_once(' ').ok_or(text.clone())?;
        Ok((asked.parse().map_err(|_| text.clone())?, failed.parse().map_err(|_| text.clone())?))
    }

    /// Waits until it has asked so many times more.
    fn asked_more(&self, fleet: &Fleet, more: u64) {
        let from = self.counts(fleet).map_or(0, |(asked, _)| asked);
        wait_for("the prober to go on", Duration::from_secs(30), || match self.counts(fleet)? {
            (asked, _) if asked >= from + more => Ok(()),
            counts => Err(format!("{counts:?}")),
        });
    }

    /// How often it was not answered, of how many.
    fn stop(self, fleet: &Fleet) -> (u64, u64) {
        self.asked_more(fleet, 20);
        fleet.docker_text("host-1", &["exec", &self.name, "touch", "/tmp/stop"]);
        wait_for("the prober's end", Duration::from_secs(30), || fleet.try_docker("host-1", &["wait", &self.name]));
        let copy = fleet.docker("host-1", &["cp", &format!("{}:/tmp/count", self.name), "-"]).stdout;
        // A tar archive of one file: its text begins after the first block.
        let text = String::from_utf8_lossy(&copy[512..]).trim_matches(['\0', '\n']).to_owned();
        let (asked, failed) = text.split_once(' ').unwrap_or_else(|| panic!("{text}"));
        let counts = (asked.parse().expect("a number"), failed.trim().parse().expect("a number"));
        if counts.1 > 0 {
            let said = fleet.docker("host-1", &["cp", &format!("{}:/tmp/said", self.name), "-"]).stdout;
            note(String::from_utf8_lossy(&said[512..]).trim_matches('\0'));
        }
        fleet.docker_text("host-1", &["rm", "-f", &self.name]);
        counts
    }
}

/// Watches, as a witness, which addresses the containers of a stack have while `done` is not set.
fn addresses(fleet: &Fleet, done: &AtomicBool) -> Vec<(String, String)> {
    let mut seen = Vec::new();
    while !done.load(Ordering::Relaxed) {
        let format = "{{.Id}} {{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}";
        let ids = fleet.try_docker("host-1", &["ps", "-q", "--no-trunc", "--filter", "label=bayplan.stack=shop"]);
        for id in ids.unwrap_or_default().lines() {
            let shown = fleet.try_docker("host-1", &["inspect", "--format", format, id]).unwrap_or_default();
            if let Some((id, address)) = shown.trim().split_once(' ')
                && !address.is_empty()
            {
                let pair = (id.to_owned(), address.to_owned());
                if !seen.contains(&pair) {
                    seen.push(pair);
                }
            }
        }
    }
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_notices_an_update_good_or_bad() {
    let Some(mut stage) = Stage::set("nobody_notices_an_update_good_or_bad").await else { return };
    let done = stage.deploy(PATH, &shop("bayplan-test/web:1", "")).await;
    assert_eq!(done.status("shop"), Some(StackStatus::Running), "{:#?}", done.outcome.ended);
    let fleet = Fleet::from_env().expect("the fleet that is leased");
    let prober = Prober::start(&stage);

    // Good, three times.
    for round in 0..3 {
        let image = format!("bayplan-test/web:{}", 2 - round % 2);
        stage.repository.write(PATH, &shop(&image, "")).push("Update");
        let over = AtomicBool::new(false);
        let (done, seen) = std::thread::scope(|scope| {
            let watching = scope.spawn(|| addresses(&fleet, &over));
            let done = tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(stage.once()));
            over.store(true, Ordering::Relaxed);
            (done, watching.join().expect("the witness does not panic"))
        });
        assert_eq!(done.status("shop"), Some(StackStatus::Running), "{:#?}", done.outcome.ended);
        let now = stage.id("host-1", "shop-web-1");
        let of_new: Vec<&String> = seen.iter().filter(|(id, _)| *id == now).map(|(_, address)| address).collect();
        assert!(of_new.len() <= 1, "it keeps its address when it takes the name: {of_new:?}");
        let order: Vec<usize> =
            ["wait until", "answer to web", "answer to no name", ": stop ", ": remove ", ": rename "]
                .iter()
                .map(|part| {
                    done.steps
                        .iter()
                        .position(|step| step.contains(part))
                        .unwrap_or_else(|| panic!("{part}: {:#?}", done.steps))
                })
                .collect();
        assert!(order.is_sorted(), "{:#?}", done.steps);
        prober.asked_more(&stage.fleet, 20);
    }
    let good = prober.counts(&stage.fleet).expect("counts");
    note(&format!("good releases: {} of {} failed", good.1, good.0));

    // Bad, each way: it exits, it never gets healthy, its health does not last, its migration fails.
    let flaps = ", healthCheck: {type: command, command: [sh, -c, 'test $(( $(date +%s) / 3 % 2 )) = 0'], interval: 1, \
                 retries: 1}, update: {minHealthy: 5}";
    let migrates = ", potentialAction: [{name: migrate, command: [sh, -c, 'exit 7']}]";
    for (bad, more) in [("exits:1", ""), ("unhealthy:1", ""), ("web:2", flaps), ("web:2", migrates)] {
        let done = stage.deploy(PATH, &shop(&format!("bayplan-test/{bad}"), more)).await;
        assert_eq!(done.status("shop"), Some(StackStatus::RolledBack), "{bad}{more}: {:#?}", done.outcome.ended);
        assert_eq!(done.failures("shop").len(), 1, "{bad}{more}: {:#?}", done.failures("shop"));
        assert!(!done.steps.iter().any(|step| step.contains("let shop-web-1.")), "{:#?}", done.steps);
    }
    // An image that is not to be had is known before anything begins.
    let done = stage.deploy(PATH, &shop("bayplan-test/web:99", "")).await;
    assert_eq!(done.steps, Vec::<String>::new());
    assert!(done.holds().iter().any(|hold| hold.starts_with("image-unresolved")), "{:?}", done.holds());
    let (asked, failed) = prober.stop(&stage.fleet);
    note(&format!("all releases: {failed} of {asked} failed"));
    assert_eq!((good.1, failed), (0, 0), "of {asked}");
    let done = stage.deploy(PATH, &shop("bayplan-test/web:1", "")).await;
    assert_eq!(
        done.status("shop"),
        Some(StackStatus::Running),
        "the next good push deploys: {:#?}",
        done.outcome.ended
    );
    stage.is_settled().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_are_replaced_one_by_one() {
    let Some(mut stage) = Stage::set("replicas_are_replaced_one_by_one").await else { return };
    let more = ", replicas: 3, update: {order: stop-first}";
    stage.deploy(PATH, &shop("bayplan-test/web:1", more)).await;
    assert_eq!(stage.names("host-1"), ["shop-web-1", "shop-web-2", "shop-web-3"]);
    let before = stage.containers();
    let id = |number: u32| before[&("host-1".to_owned(), format!("shop-web-{number}"))][..12].to_owned();
    let done = stage.deploy(PATH, &shop("bayplan-test/web:2", more)).await;
    assert_eq!(done.status("shop"), Some(StackStatus::Running), "{:#?}", done.outcome.ended);
    let at = |what: String| {
        done.steps.iter().position(|step| step.contains(&what)).unwrap_or_else(|| panic!("{what}: {:#?}", done.steps))
    };
    for number in 1..3 {
        let healthy = at(format!("wait until shop-web-{number}."));
        let next = at(format!("stop {}", id(number + 1)));
        assert!(healthy < next, "{:#?}", done.steps);
    }
    assert_eq!(stage.names("host-1"), ["shop-web-1", "shop-web-2", "shop-web-3"]);
    stage.is_settled().await;

    // A bad one stops at the first: the others were never touched.
    let before = stage.containers();
    let done = stage.deploy(PATH, &shop("bayplan-test/exits:1", more)).await;
    assert_eq!(done.status("shop"), Some(StackStatus::RolledBack), "{:#?}", done.outcome.ended);
    assert_eq!(stage.containers(), before);
    assert!(before.keys().all(|(host, name)| stage.is_running(host, name)));
    let stops = done
        .steps
        .iter()
        .filter(|step| before.values().any(|id| step.contains(&format!("stop {}", &id[..12]))))
        .count();
    assert_eq!(stops, 1, "{:#?}", done.steps);
    stage.is_settled().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_port_survives_every_update() {
    let Some(mut stage) = Stage::set("a_host_port_survives_every_update").await else { return };
    let hosts: Vec<String> =
        ["host-1", "host-4"].iter().filter_map(|h| Some(stage.fleet.find(h)?.name.clone())).collect();
    for host in hosts {
        let at = address(&stage.fleet, &host);
        for (image, port) in [("web:1", 8080), ("web:2", 8080), ("web:2", 8081), ("web:1", 8082)] {
            let ports = format!(", ports: [{{containerPort: 8080, hostPort: {port}}}]");
            let text = shop(&format!("bayplan-test/{image}"), &ports).replace("host-1", &host);
            let done = stage.deploy(PATH, &text).await;
            assert_eq!(done.status("shop"), Some(StackStatus::Running), "{:#?}", done.outcome.ended);
            let published = stage.inspect(&host, "shop-web-1", "{{json .NetworkSettings.Ports}}");
            assert!(published.contains(&port.to_string()), "{host}: {image} at {port}: {published}");
            assert_eq!(asked(&at, port), format!("web {}", &image[4..]), "{host}: {image} at {port}");
            stage.is_settled().await;
        }
    }
}

/// A proxy comes in front of what was published so far: the most usual reason for a port to change hands.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_port_goes_to_another_service_of_the_stack() {
    let Some(mut stage) = Stage::set("a_host_port_goes_to_another_service_of_the_stack").await else { return };
    let published = ", ports: [{containerPort: 8080, hostPort: 8090}]";
    let done = stage.deploy(PATH, &shop("bayplan-test/web:1", published)).await;
    assert_eq!(done.status("shop"), Some(StackStatus::Running), "{:#?}", done.outcome.ended);
    let at = address(&stage.fleet, "host-1");
    assert_eq!(asked(&at, 8090), "web 1");
    let proxy = format!(
        "  - {{position: 2, name: proxy, image: \"bayplan-test/web:2\", targetHost: host-1, \
         softwareRequirements: [{{name: web}}]{published}}}\n"
    );
    let done = stage.deploy(PATH, &format!("{}{proxy}", shop("bayplan-test/web:1", ""))).await;
    assert_eq!(done.status("shop"), Some(StackStatus::Running), "{:#?}", done.outcome.ended);
    let gaps: Vec<String> =
        done.outcome.first.plan.stacks.values().flat_map(|s| &s.changes).map(|c| c.gap.to_string()).collect();
    assert!(gaps.contains(&"gap: host port 8090 goes to shop/proxy-1".to_owned()), "{gaps:?}");
    assert_eq!(asked(&at, 8090), "web 2");
    stage.is_settled().await;
    // And back, as one that takes the proxy away again.
    let done = stage.deploy(PATH, &shop("bayplan-test/web:1", published)).await;
    assert_eq!(done.status("shop"), Some(StackStatus::Running), "{:#?}", done.outcome.ended);
    assert_eq!(asked(&at, 8090), "web 1");
    stage.is_settled().await;
}

/// What answers at a published port, from outside.
fn asked(at: &str, port: u16) -> String {
    // The engine's proxy takes connections before the program behind it listens.
    wait_for("an answer", Duration::from_secs(30), || {
        let mut answer = String::new();
        let asked = TcpStream::connect((at, port)).and_then(|mut stream| {
            stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
            stream.read_to_string(&mut answer)
        });
        match asked {
            Ok(1..) => Ok(answer.lines().last().unwrap_or_default().to_owned()),
            Ok(0) => Err("nothing".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    })
}
