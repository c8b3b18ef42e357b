//! Forges tell of pushes: what is heard, what is refused and with which answer, and that it is deployed at once.
//!
//! The payloads below `tests/webhooks` have the shape of each forge's documented example, shortened.

#[path = "webhooks/client.rs"]
mod client;
#[path = "support/repository.rs"]
mod repository;
#[path = "support/simulated.rs"]
mod simulated;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bayplan::controller::{Event, run};
use bayplan::model::config::{Config, Provider};
use bayplan::secret::Secret;
use bayplan::web::limits::Limits;
use bayplan::web::{self, Hooks};
use futures_util::FutureExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use client::{Reply, answer, digits, head, send, signed};
use repository::Repository;
use simulated::Simulated;

const SECRET: &str = "correct horse battery staple";
const LIMIT: Duration = Duration::from_secs(60);

struct Server {
    address: SocketAddr,
    told: Arc<Notify>,
    is_ready: Arc<AtomicBool>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Server {
    /// Watches `main`; knows a secret of each provider but Bitbucket.
    async fn start(limits: Limits) -> Self {
        let known = [Provider::Github, Provider::Gitlab, Provider::Gitea, Provider::Generic];
        Self::start_with(&known, limits, Arc::default()).await
    }

    async fn start_with(providers: &[Provider], limits: Limits, told: Arc<Notify>) -> Self {
        let secrets = providers.iter().map(|provider| (*provider, Secret::new(SECRET.to_owned()))).collect();
        let is_ready = Arc::new(AtomicBool::new(false));
        let hooks =
            Hooks { branch: "main".to_owned(), secrets, told: told.clone(), is_ready: is_ready.clone(), limits };
        let listener = web::listen("127.0.0.1:0".parse().expect("an address")).await.expect("a free port");
        let address = listener.address();
        let stop = CancellationToken::new();
        let task = tokio::spawn(listener.serve(hooks, stop.clone()));
        Self { address, told, is_ready, stop, task }
    }

    async fn github(&self, event: &str, body: &str) -> Reply {
        let signature = signed(SECRET, body.as_bytes());
        let headers = [JSON, ("X-GitHub-Event", event), ("X-Hub-Signature-256", &signature)];
        send(self.address, "POST", "/webhook/github", &headers, body.as_bytes()).await
    }

    /// Whether it rang since this was last asked.
    fn rang(&self) -> bool {
        self.told.notified().now_or_never().is_some()
    }

    async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(LIMIT, self.task).await.expect("it stops").expect("it does not panic");
    }
}

const JSON: (&str, &str) = ("Content-Type", "application/json");

fn limits() -> Limits {
    Limits::new(1000)
}

fn payload(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/webhooks").join(name);
    fs::read_to_string(path).expect("a payload")
}

fn check(reply: &Reply, status: u16, outcome: &str, said: &str) {
    assert_eq!((reply.status, reply.text("outcome")), (status, outcome), "{reply:#?}");
    assert!(reply.text("reason").contains(said), "it does not say {said:?}: {reply:#?}");
    assert_eq!(reply.json["version"], 1);
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert!(!format!("{reply:?}").contains(SECRET));
}

#[tokio::test]
async fn a_push_to_the_watched_branch_is_heard_in_the_words_of_every_forge() {
    let server = Server::start_with(&Provider::ALL, limits(), Arc::default()).await;
    let token = |_: &str| SECRET.to_owned();
    let hub = |body: &str| signed(SECRET, body.as_bytes());
    let plain = |body: &str| digits(SECRET, body.as_bytes());
    type Proof<'a> = &'a dyn Fn(&str) -> String;
    let pushes: [(&str, &str, &str, &str, Proof<'_>, &str); 9] = [
        ("github", "github-push.json", "X-GitHub-Event", "push", &hub, "X-Hub-Signature-256"),
        ("gitlab", "gitlab-push.json", "X-Gitlab-Event", "Push Hook", &token, "X-Gitlab-Token"),
        ("gitea", "gitea-push.json", "X-Gitea-Event", "push", &plain, "X-Gitea-Signature"),
        ("gitea", "gitea-push.json", "X-Gitea-Event", "push", &plain, "X-Forgejo-Signature"),
        ("gitea", "gitea-push.json", "X-Gitea-Event", "push", &hub, "X-Hub-Signature-256"),
        ("bitbucket", "bitbucket-push.json", "X-Event-Key", "repo:push", &hub, "X-Hub-Signature"),
        ("bitbucket", "bitbucket-server-push.json", "X-Event-Key", "repo:refs_changed", &hub, "X-Hub-Signature"),
        ("generic", "generic-push.json", "X-Bayplan-Event", "push", &hub, "X-Bayplan-Signature"),
        ("generic", "generic-push.json", "X-Unrelated", "", &hub, "X-Bayplan-Signature"),
    ];
    for (provider, file, event_header, event, proof, proof_header) in pushes {
        let body = payload(file);
        let path = format!("/webhook/{provider}");
        let proof = proof(&body);
        let headers = [JSON, (event_header, event), (proof_header, &proof)];
        let reply = send(server.address, "POST", &path, &headers, body.as_bytes()).await;
        check(&reply, 200, "looking", "main is looked at now");
        assert_eq!((reply.text("provider"), reply.text("matched")), (provider, "main"));
        assert!(server.rang(), "{provider} {file}");

        let other =
            body.replace("refs/heads/main", "refs/heads/topic").replace("\"name\": \"main\"", "\"name\": \"topic\"");
        let proof = if provider == "gitlab" { proof } else { proof_again(proof_header, &other) };
        let headers = [JSON, (event_header, event), (proof_header, &proof)];
        let reply = send(server.address, "POST", &path, &headers, other.as_bytes()).await;
        check(&reply, 202, "ignored", "the push is to topic");
        assert!(!server.rang(), "{provider} {file}");

        let forged = [JSON, (event_header, event), (proof_header, "sha256=00")];
        let reply = send(server.address, "POST", &path, &forged, body.as_bytes()).await;
        check(&reply, 401, "wrong-signature", "does not fit the body and the secret");
        let unsigned = [JSON, (event_header, event)];
        let reply = send(server.address, "POST", &path, &unsigned, body.as_bytes()).await;
        check(&reply, 401, "wrong-signature", "does not fit the body and the secret");
        assert!(!server.rang(), "{provider} {file}");
    }
    server.stop().await;
}

/// The proof of another body, as the header carries it.
fn proof_again(header: &str, body: &str) -> String {
    match header {
        "X-Gitea-Signature" | "X-Forgejo-Signature" => digits(SECRET, body.as_bytes()),
        _ => signed(SECRET, body.as_bytes()),
    }
}

#[tokio::test]
async fn a_provider_without_a_secret_is_refused_and_so_is_one_that_nobody_knows() {
    let server = Server::start(limits()).await;
    let body = payload("bitbucket-push.json");
    let signature = signed("", body.as_bytes());
    let headers = [JSON, ("X-Event-Key", "repo:push"), ("X-Hub-Signature", &signature)];
    let reply = send(server.address, "POST", "/webhook/bitbucket", &headers, body.as_bytes()).await;
    check(&reply, 403, "no-secret", "no secret is configured for bitbucket");
    for path in ["/webhook/sourcehut", "/webhook", "/"] {
        check(&send(server.address, "POST", path, &headers, b"{}").await, 404, "not-found", "");
    }
    check(&send(server.address, "GET", "/webhook/github", &[], b"").await, 405, "wrong-method", "by POST");
    assert!(!server.rang());
    server.stop().await;
}

#[tokio::test]
async fn content_is_judged_only_after_its_signature_and_said_to_be_wrong_without_being_repeated() {
    let server = Server::start(limits()).await;
    for (event, body, said) in [
        ("push", "{\"ref\": hunter2", "the body is not JSON (line 1, column 9)"),
        ("push", "", "the body is not JSON"),
        ("push", "{\"ref\": 7}", "the body is not what this event has"),
        ("push", "[]", "the body is not what this event has"),
        ("ping", "hunter2", "the body is not JSON"),
        ("issues", "hunter2", "the body is not JSON"),
    ] {
        let reply = server.github(event, body).await;
        check(&reply, 400, "wrong-content", said);
        assert!(!format!("{reply:?}").contains("hunter2"));
    }
    let body = payload("github-push.json");
    let signature = signed(SECRET, body.as_bytes());
    for (headers, said) in [
        (
            vec![("Content-Type", "application/x-www-form-urlencoded"), ("X-GitHub-Event", "push")],
            "the content type is not application/json",
        ),
        (vec![("X-GitHub-Event", "push")], "the content type is not application/json"),
        (vec![JSON], "`X-GitHub-Event` does not say what happened"),
    ] {
        let mut headers = headers;
        let unsigned = send(server.address, "POST", "/webhook/github", &headers, body.as_bytes()).await;
        check(&unsigned, 401, "wrong-signature", "");
        headers.push(("X-Hub-Signature-256", &signature));
        let reply = send(server.address, "POST", "/webhook/github", &headers, body.as_bytes()).await;
        check(&reply, 400, "wrong-content", said);
    }
    assert!(!server.rang());
    server.stop().await;
}

#[tokio::test]
async fn what_is_right_and_no_push_to_the_watched_branch_is_answered_with_the_reason() {
    let server = Server::start(limits()).await;
    let push = |name: &str| payload("github-push.json").replace("refs/heads/main", name);
    check(&server.github("ping", &payload("github-ping.json")).await, 200, "pong", "pushes to main will be deployed");
    for (event, body, said) in [
        ("issues", "{\"action\": \"opened\"}".to_owned(), "this event is no push"),
        ("push", push("refs/heads/topic"), "the push is to topic; main is watched"),
        ("push", push("refs/tags/main"), "the push is to refs/tags/main; main is watched"),
        ("push", push("refs/heads/bayplan/status"), "bayplan/status is written here"),
    ] {
        let reply = server.github(event, &body).await;
        check(&reply, 202, "ignored", said);
        assert_eq!(reply.text("event"), event);
    }
    let long = "x".repeat(500);
    assert_eq!(server.github(&long, "{}").await.text("event").len(), 100);
    assert!(!server.rang());

    // A script that does not say to which branch is asked to be looked after.
    let signature = signed(SECRET, b"{}");
    let headers = [JSON, ("X-Bayplan-Signature", signature.as_str())];
    check(&send(server.address, "POST", "/webhook/generic", &headers, b"{}").await, 200, "looking", "main");
    assert!(server.rang());
    server.stop().await;
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_by_its_length_and_else_where_it_becomes_so() {
    let server = Server::start(limits()).await;
    // None of it is sent: the length alone decides.
    let mut stream = TcpStream::connect(server.address).await.expect("it listens");
    let announced = head("POST", "/webhook/github", &[JSON], 1024 * 1024 + 1);
    stream.write_all(announced.as_bytes()).await.expect("the head is sent");
    check(&answer(stream).await, 413, "too-large", "at most 1048576 bytes");

    let mut stream = TcpStream::connect(server.address).await.expect("it listens");
    let head = "POST /webhook/github HTTP/1.1\r\nhost: b\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("the head is sent");
    let piece = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    for _ in 0..17 {
        // It hangs up in between.
        if stream.write_all(piece.as_bytes()).await.is_err() {
            break;
        }
    }
    check(&answer(stream).await, 413, "too-large", "at most 1048576 bytes");

    let large = format!("{{\"ref\": \"refs/heads/main\", \"x\": \"{}\"}}", "x".repeat(1024 * 1024 - 40));
    check(&server.github("push", &large).await, 200, "looking", "main");
    server.stop().await;
}

#[tokio::test]
async fn bodies_that_would_take_too_much_memory_together_are_not_read() {
    let limits = Limits { all_bodies: 3 * 1024 * 1024, ..limits() };
    let server = Server::start(limits).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(server.address).await.expect("it listens");
        let head = head("POST", "/webhook/github", &[JSON, ("expect", "100-continue")], 1024 * 1024);
        stream.write_all(head.as_bytes()).await.expect("the head is sent");
        // That it asks for the body shows that it has made room for it.
        let mut asked = [0; 12];
        tokio::io::AsyncReadExt::read_exact(&mut stream, &mut asked).await.expect("it asks for the body");
        assert_eq!(&asked, b"HTTP/1.1 100");
        held.push(stream);
    }
    let reply = server.github("push", &payload("github-push.json")).await;
    check(&reply, 503, "busy", "other webhooks are being read");
    assert_eq!(reply.header("retry-after"), Some("1"));
    drop(held);
    server.stop().await;
}

#[tokio::test]
async fn a_body_or_a_head_that_comes_too_slowly_is_not_waited_for() {
    let server = Server::start(Limits { reading: Duration::from_millis(100), ..limits() }).await;
    let mut stream = TcpStream::connect(server.address).await.expect("it listens");
    let head = head("POST", "/webhook/github", &[JSON], 100);
    stream.write_all(format!("{head}{{\"ref\"").as_bytes()).await.expect("a part is sent");
    let reply = answer(stream).await;
    check(&reply, 408, "too-slow", "within 100ms");
    assert_eq!(reply.header("connection"), Some("close"));

    let mut stream = TcpStream::connect(server.address).await.expect("it listens");
    stream.write_all(b"POST /webhook/github HTTP/1.1\r\nhost: ").await.expect("a part is sent");
    let mut rest = Vec::new();
    let end = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut rest);
    let _ = tokio::time::timeout(LIMIT, end).await.expect("it hangs up");
    server.stop().await;
}

#[tokio::test]
async fn more_than_the_rate_is_told_when_to_come_again() {
    let server = Server::start(Limits::new(2)).await;
    let body = payload("github-push.json");
    let mut refused = None;
    for _ in 0..20 {
        let reply = server.github("push", &body).await;
        if reply.status == 429 {
            refused = Some(reply);
            break;
        }
    }
    let refused = refused.expect("twenty at once are more than two in a second");
    check(&refused, 429, "too-many", "come again");
    assert_eq!(refused.header("retry-after"), Some("1"));
    check(&send(server.address, "GET", "/healthz", &[], b"").await, 200, "alive", "");
    server.stop().await;
}

#[tokio::test]
async fn a_flood_of_forged_ones_does_not_use_up_the_rate_of_right_ones() {
    let server = Server::start(Limits { linger: Duration::ZERO, ..Limits::new(2) }).await;
    let body = payload("github-push.json");
    let forge = async |from: &str| {
        let mut stream = connect_from(from, server.address).await;
        let headers = [JSON, ("X-GitHub-Event", "push"), ("X-Hub-Signature-256", "sha256=00"), ("connection", "close")];
        let request = head("POST", "/webhook/github", &headers, body.len());
        stream.write_all(format!("{request}{body}").as_bytes()).await.expect("it is sent");
        answer(stream).await.status
    };
    let mut statuses = Vec::new();
    for _ in 0..20 {
        statuses.push(forge("127.0.0.2").await);
    }
    assert!(statuses[0] == 401 && statuses.contains(&429), "{statuses:?}");
    check(&server.github("push", &body).await, 200, "looking", "main");
    assert!(server.rang());
    server.stop().await;
}

/// A connection from another address of this machine.
async fn connect_from(from: &str, address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(format!("{from}:0").parse().expect("an address")).expect("an address of this machine");
    socket.connect(address).await.expect("it listens")
}

#[tokio::test]
async fn whoever_begins_bodies_that_do_not_come_takes_no_room_from_others_the_second_time() {
    let body = 64 * 1024;
    let limits = Limits { reading: Duration::from_secs(2), body, all_bodies: 2 * body, ..limits() };
    let server = Server::start(limits).await;
    let begin = async || {
        let mut stream = connect_from("127.0.0.2", server.address).await;
        stream.write_all(head("POST", "/webhook/github", &[JSON], body).as_bytes()).await.expect("the head is sent");
        stream
    };
    check(&answer(begin().await).await, 408, "too-slow", "did not come");
    let (one, other, third) = (begin().await, begin().await, begin().await);
    // All that a suspect may have is taken by one of them.
    let mut replies = futures_util::future::join_all([one, other, third].map(answer)).await;
    replies.sort_by_key(|reply| reply.status);
    assert_eq!(replies.iter().map(|reply| reply.status).collect::<Vec<_>>(), [408, 503, 503]);
    let (held, more) = (begin().await, begin().await);
    check(&server.github("push", &payload("github-push.json")).await, 200, "looking", "main");
    drop((held, more));
    server.stop().await;
}

#[tokio::test]
async fn one_sender_does_not_take_all_places() {
    let server = Server::start(Limits { connections: 4, of_one_sender: 3, ..limits() }).await;
    let idle = futures_util::future::join_all([(); 8].map(|()| connect_from("127.0.0.2", server.address))).await;
    check(&send_owned(server.address).await, 200, "alive", "");
    drop(idle);
    server.stop().await;
}

#[tokio::test]
async fn more_connections_than_there_are_places_wait_and_are_answered_when_one_is_free() {
    let server = Server::start(Limits { connections: 2, ..limits() }).await;
    let idle = [(); 2].map(|()| TcpStream::connect(server.address));
    let idle: Vec<_> = futures_util::future::join_all(idle).await;
    let waiting = tokio::spawn(send_owned(server.address));
    drop(idle);
    check(&waiting.await.expect("no panic"), 200, "alive", "");
    server.stop().await;
}

#[tokio::test]
async fn a_connection_goes_on_while_there_is_room_and_ends_with_its_answer_when_there_is_not() {
    for (connections, ends) in [(8, false), (1, true)] {
        let server = Server::start(Limits { connections, ..limits() }).await;
        let mut stream = TcpStream::connect(server.address).await.expect("it listens");
        for round in 0..2 {
            let request = head("GET", "/healthz", &[], 0);
            if stream.write_all(request.as_bytes()).await.is_err() {
                assert!(ends && round == 1);
                break;
            }
            let mut bytes = [0; 4096];
            let length = tokio::io::AsyncReadExt::read(&mut stream, &mut bytes).await.unwrap_or_default();
            let is_answered = bytes[..length].starts_with(b"HTTP/1.1 200");
            assert_eq!(is_answered, round == 0 || !ends, "{connections} connections, round {round}");
        }
        server.stop().await;
    }
}

async fn send_owned(address: SocketAddr) -> Reply {
    send(address, "GET", "/healthz", &[], b"").await
}

#[tokio::test]
async fn it_is_ready_after_the_first_pass() {
    let server = Server::start(limits()).await;
    check(&send(server.address, "GET", "/readyz", &[], b"").await, 503, "starting", "no pass was done yet");
    server.is_ready.store(true, Ordering::Release);
    check(&send(server.address, "GET", "/readyz", &[], b"").await, 200, "ready", "");
    // An idle connection does not keep it from ending.
    let idle = TcpStream::connect(server.address).await.expect("it listens");
    server.stop().await;
    drop(idle);
}

fn shop(image: &str) -> String {
    format!("name: shop\nplacement: auto\nitemListElement: [{{name: web, position: 1, image: '{image}'}}]\n")
}

/// Waits for a commit of the ledger that begins so.
async fn committed(events: &mut mpsc::UnboundedReceiver<Event>, sentence: &str) {
    let found = tokio::time::timeout(LIMIT, async {
        while let Some(event) = events.recv().await {
            if matches!(&event, Event::Committed { message, .. } if message.starts_with(sentence)) {
                return;
            }
        }
        panic!("the service ended");
    });
    assert!(found.await.is_ok(), "no commit began with {sentence:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_to_a_repository_that_is_polled_every_few_hours_is_deployed_when_the_forge_tells_of_it() {
    let repository = Repository::new();
    let simulated = Simulated::new(1);
    simulated.write_hosts(&repository);
    repository.write("stacks/shop.yaml", &shop("web:1")).push("Deploy the shop");
    let url = format!("file://{}", repository.bare().display());
    let config = Config { poll_interval: Duration::from_secs(6 * 3600), ..Config::default() };
    let mut site = simulated.site_at(&url, &repository, config).await;
    let server = Server::start_with(&[Provider::Github], limits(), site.told.clone()).await;
    let (sender, mut events) = mpsc::unbounded_channel();
    let stop = server.stop.clone();
    let service = tokio::spawn(async move { run::run(&mut site, sender, stop).await.expect("the service runs") });
    committed(&mut events, "shop runs at").await;

    repository.write("stacks/shop.yaml", &shop("web:2")).push("A new web");
    let reply = server.github("push", &payload("github-push.json")).await;
    check(&reply, 200, "looking", "main is looked at now");
    committed(&mut events, "Deploying shop").await;
    committed(&mut events, "shop runs at").await;
    server.stop().await;
    tokio::time::timeout(LIMIT, service).await.expect("it ends").expect("it does not panic");
}

/// The program with a configuration, in a folder with a repository in it.
fn program(folder: &Path, config: &str, environment: &BTreeMap<&str, &str>) -> Command {
    fs::write(folder.join("bayplan.yaml"), config).expect("written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_bayplan"));
    command.args(["run", "--config", "bayplan.yaml", "work"]).current_dir(folder).env_clear().envs(environment);
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", folder).stdin(Stdio::null());
    command
}

fn folder(repository: &Repository) -> PathBuf {
    repository.write("hosts/host-1.yaml", "name: host-1\nipAddress: 10.0.0.1\n").push("A host");
    repository.work().parent().expect("a folder").to_owned()
}

#[test]
fn a_port_that_is_taken_and_a_secret_that_is_not_there_are_said_and_end_the_program() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("an address");
    let repository = Repository::new();
    let folder = folder(&repository);
    fs::write(folder.join("empty"), "\n").expect("written");
    for (webhooks, code, said) in [
        (format!("listen: '{address}'"), 3, format!("failed to listen at {address}")),
        (
            "listen: '127.0.0.1:0', github: {secretEnv: HOOK}".to_owned(),
            2,
            "the variable HOOK with the secret of github's webhook is not set".to_owned(),
        ),
        (
            "listen: '127.0.0.1:0', github: {secretFile: empty}".to_owned(),
            2,
            "the secret of github's webhook is empty".to_owned(),
        ),
        (
            "listen: '127.0.0.1:0', github: {secretFile: nowhere}".to_owned(),
            2,
            "nowhere with the secret of github's webhook cannot be read".to_owned(),
        ),
        ("listen: 'here:0'".to_owned(), 2, "`listen` is an IP address and a port".to_owned()),
    ] {
        let output =
            program(&folder, &format!("webhooks: {{{webhooks}}}\n"), &BTreeMap::new()).output().expect("it runs");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert!(text.contains(&said), "it does not say {said:?}:\n{text}");
    }
}

#[test]
fn the_program_listens_says_where_and_ends_when_asked() {
    let repository = Repository::new();
    let config = "webhooks: {listen: '127.0.0.1:0', github: {secretEnv: HOOK}}\n";
    let mut command = program(&folder(&repository), config, &[("HOOK", SECRET)].into());
    let mut service = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut lines = BufReader::new(service.stdout.take().expect("its output")).lines();
    let line =
        lines.by_ref().map(|line| line.expect("text")).find(|line| line.contains("http://")).expect("it says where");
    let address = line.split("http://").nth(1).and_then(|rest| rest.split('/').next()).expect("an address");
    let address = address.parse().expect("an address");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let body = payload("github-push.json");
        let signature = signed(SECRET, body.as_bytes());
        let headers = [JSON, ("X-GitHub-Event", "push"), ("X-Hub-Signature-256", &signature)];
        let reply = send(address, "POST", "/webhook/github", &headers, body.as_bytes()).await;
        check(&reply, 200, "looking", "main is looked at now");
        let mut look = tokio::time::interval(Duration::from_millis(20));
        let ready = async {
            while send(address, "GET", "/readyz", &[], b"").await.status != 200 {
                look.tick().await;
            }
        };
        tokio::time::timeout(LIMIT, ready).await.expect("a pass is done");
    });
    let id = rustix::process::Pid::from_child(&service);
    rustix::process::kill_process(id, rustix::process::Signal::TERM).expect("it is asked to end");
    let rest: Vec<String> = lines.map(|line| line.expect("text")).collect();
    assert_eq!(service.wait().expect("it ends").code(), Some(0));
    assert!(rest.iter().any(|line| line.contains("stopped")), "{rest:#?}");
}
